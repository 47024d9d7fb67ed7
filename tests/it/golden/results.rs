//! What is compared: a fault or an answer, without what is another each time.

use std::time::Duration;

use relayfreellm::catalog::Period;
use relayfreellm::provider::fault::{Fault, FaultKind, QuotaSaid};
use serde_json::{Value, json};

use super::form;
use crate::support::{Answer, StreamAnswer};

/// All that a fault says.
pub(super) fn fault(fault: &Fault) -> Value {
    let ms = |it: Duration| u64::try_from(it.as_millis()).expect("milliseconds");
    let quota = |it: &QuotaSaid| {
        json!({
            "unit": it.unit.name(),
            "period": it.period.name(),
            "limit": it.limit,
            "remaining": it.remaining,
            "exhausted": it.exhausted,
            "until_ms": it.until.map(ms),
            "account_wide": it.account_wide,
        })
    };
    let mut result = json!({
        "fault": fault.kind.label(),
        "scope": format!("{:?}", fault.scope).to_lowercase(),
        "retry_after_ms": fault.retry_after.map(ms),
        "quota": fault.quota.iter().map(quota).collect::<Vec<_>>(),
        "code": fault.code,
        "param": fault.param,
        "message": fault.message,
    });
    match &fault.kind {
        FaultKind::RateLimited(period) => result["period"] = json!(period.map(Period::name)),
        FaultKind::FieldUnknown(fields) => result["field"] = json!(fields.join(", ")),
        _ => {}
    }
    result
}

/// What a fault is, and no more.
pub(super) fn kind(fault: &Fault) -> Value {
    json!({"fault": fault.kind.label()})
}

/// A whole answer, or the refusal that came instead. `sample` is the provider's body.
pub(super) fn whole(answer: &Answer, sample: &str) -> Value {
    let mut body = answer.json();
    if answer.status != 200 {
        return json!({"outcome": "refused", "status": answer.status, "error": said(&body["error"])});
    }
    settle(&mut body, sample);
    with(
        &form::of_answer(&body),
        json!({
            "outcome": "answered",
            "upstream_id": header(answer.header("x-relay-upstream-id")),
            "warning": header(answer.header("x-relay-warning")),
            "body": body,
        }),
    )
}

/// The result with what is wrong about its form, if anything is.
fn with(wrong: &[String], mut result: Value) -> Value {
    if !wrong.is_empty() {
        result["wrong"] = json!(wrong);
    }
    result
}

/// A stream to its end.
pub(super) fn stream(answer: &StreamAnswer, sample: &str) -> Value {
    let mut chunks = answer.events.clone();
    for chunk in &mut chunks {
        settle(chunk, sample);
    }
    let error = chunks.pop_if(|it| it.get("error").is_some());
    assert_eq!(answer.done, error.is_none(), "a stream ends with [DONE] or with an error");
    let header_of =
        |name: &str| header(answer.headers.get(name).map_or("", |it| it.to_str().expect("text")));
    let wrong = if answer.done { form::of_stream(&chunks) } else { Vec::new() };
    with(
        &wrong,
        json!({
            "outcome": if answer.done { "answered" } else { "cut" },
            "upstream_id": header_of("x-relay-upstream-id"),
            "warning": header_of("x-relay-warning"),
            "chunks": chunks,
            "error": error.map(|it| said(&it["error"])),
        }),
    )
}

fn header(value: &str) -> Option<&str> {
    Some(value).filter(|it| !it.is_empty())
}

/// The lasting part of an error.
fn said(error: &Value) -> Value {
    json!({"message": error["message"], "type": error["type"], "code": error["code"]})
}

/// Takes out what is another each time: the answer's own id and time, and ids of calls that the
/// provider did not send.
fn settle(answer: &mut Value, sample: &str) {
    for (member, stands_for) in [("id", json!("(ours)")), ("created", json!(0))] {
        if let Some(value) = answer.get_mut(member) {
            *value = stands_for;
        }
    }
    let Some(choices) = answer.get_mut("choices").and_then(Value::as_array_mut) else { return };
    for choice in choices {
        for part in ["message", "delta"] {
            let calls = choice.get_mut(part).and_then(|it| it.get_mut("tool_calls"));
            for call in calls.and_then(Value::as_array_mut).into_iter().flatten() {
                let made = |it: &&mut Value| it.as_str().is_some_and(|it| !sample.contains(it));
                if let Some(id) = call.get_mut("id").filter(made) {
                    *id = json!("(made)");
                }
            }
        }
    }
}
