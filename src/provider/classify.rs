//! From a provider's error answer to a [`Fault`]: by status and typed body first, by the words of
//! its message only where these say no more.

use http::HeaderMap;
use serde_json::Value;

use crate::catalog::Period;
use crate::clock::Now;
use crate::provider::error_rules;
use crate::provider::error_rules::Rule;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Scope;
use crate::provider::retry_hint;
use crate::window::Shape;
use crate::window::Window;

/// What an error body says, whichever of the known shapes it has.
#[derive(Debug, Default, PartialEq)]
struct Said {
    message: String,
    code: Option<String>,
    kind: Option<String>,
    param: Option<String>,
    /// When the limit is whole again, as the body writes it.
    reset: Option<String>,
}

/// Reads an error answer of the provider of that name (any case; one that isn't known is read by
/// the rules that hold for all).
pub fn classify(provider: &str, status: u16, headers: &HeaderMap, body: &[u8], now: Now) -> Fault {
    let said = read(body);
    let message = said.message.to_ascii_lowercase();
    let rule = rule_for(provider, status, &said, &message);
    let mut kind = rule.map_or_else(|| kind_of(status, &said, &message), |it| it.kind.clone());
    if let FaultKind::RateLimited(period @ None) = &mut kind {
        let spent = || retry_hint::spent(headers, now).and_then(|it| it.period);
        *period = period_of(&message).or_else(spent);
    }
    let retry_after = retry_hint::retry_after(headers, said.reset.as_deref(), &said.message, now);
    let boundary = || {
        let calendar = rule?.until?;
        Some(Window::new(Shape::Calendar(calendar)).resets_in(now))
    };
    let message = if said.message.is_empty() { format!("HTTP {status}") } else { said.message };
    let mut fault = Fault::new(kind, message);
    fault.status = Some(status);
    fault.code = said.code.map(String::into_boxed_str);
    fault.param = said.param.map(String::into_boxed_str);
    fault.retry_after = retry_after.or_else(boundary);
    if rule.is_some_and(|it| it.account_wide) {
        fault.scope = Scope::Account;
    }
    fault
}

fn rule_for(provider: &str, status: u16, said: &Said, message: &str) -> Option<&'static Rule> {
    let codes = [said.code.as_deref(), said.kind.as_deref()].map(Option::unwrap_or_default);
    error_rules::of(provider).iter().find(|it| it.fits(status, codes, message))
}

/// Reads an error that stands where an answer should: inside a 200, or as an event of a stream.
/// What it says of itself decides; without a word on the matter it is the provider's failure.
pub fn classify_inside_answer(provider: &str, error: &str, now: Now) -> Fault {
    let body: Value = serde_json::from_str(error).unwrap_or_default();
    let number = |key| {
        body.get(key).and_then(|it: &Value| match it {
            Value::Number(it) => it.as_u64(),
            Value::String(it) => it.parse().ok(),
            _ => None,
        })
    };
    let status = ["code", "status_code", "status"]
        .into_iter()
        .filter_map(number)
        .find_map(|it| u16::try_from(it).ok().filter(|it| (400..600).contains(it)));
    let wrapped = serde_json::json!({ "error": body }).to_string();
    let mut fault =
        classify(provider, status.unwrap_or(500), &HeaderMap::new(), wrapped.as_bytes(), now);
    if matches!(fault.kind, FaultKind::BadRequest) {
        // The same request was accepted before, so it is this answer that failed, not the request.
        fault.kind = FaultKind::NotHere;
    }
    fault.status = status;
    fault
}

/// The shapes seen: `{error:{…}}`, `[{error:{…}}]`, `{error:"text"}`, `{errors:[{…}]}`, the members
/// at top level, `{detail:"text"}` or `{title:"text"}`, and `{detail:[{type,loc,msg}]}`.
fn read(body: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Said { message: first_words(body), ..Said::default() };
    };
    let top = value.get(0).unwrap_or(&value);
    let inner = match top.get("error") {
        Some(Value::String(text)) => return Said { message: text.clone(), ..Said::default() },
        Some(inner @ Value::Object(_)) => inner,
        _ => top.pointer("/errors/0").filter(|it| it.is_object()).unwrap_or(top),
    };
    let text = |key: &str| inner.get(key).and_then(word);
    let detail = [top.get("detail"), top.pointer("/message/detail"), top.get("message")]
        .into_iter()
        .flatten()
        .find_map(|it| it.get(0));
    let words = ["message", "detail", "title"].into_iter().find_map(text);
    let at = |path: &str| inner.pointer(path).and_then(word);
    let mut said = Said {
        message: words.unwrap_or_default(),
        code: text("code"),
        // OpenRouter's errors have no type; which of its limits was met stands with the details.
        kind: text("type").or_else(|| at("/metadata/limit_source")),
        param: text("param"),
        reset: at("/metadata/headers/X-RateLimit-Reset").or_else(|| at("/retry_after")),
    };
    if let Some(detail) = detail {
        // pydantic's list: the member's path ends with its name, the words are in `msg`.
        let word = |key| detail.get(key).and_then(Value::as_str).map(str::to_owned);
        let loc = detail.get("loc").and_then(Value::as_array);
        said.kind = word("type");
        said.param = loc.and_then(|it| it.last()).and_then(Value::as_str).map(str::to_owned);
        said.message = word("msg").unwrap_or(said.message);
    }
    said
}

/// A string, or a number as it is written.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(it) => Some(it.clone()),
        Value::Number(it) => Some(it.to_string()),
        _ => None,
    }
}

/// The start of a body that is not JSON, on one line.
fn first_words(body: &[u8]) -> String {
    let start = body.get(..200).unwrap_or(body);
    String::from_utf8_lossy(start).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind_of(status: u16, said: &Said, message: &str) -> FaultKind {
    let code = said.code.as_deref().unwrap_or_default();
    match status {
        401 | 403 => FaultKind::KeyRejected,
        402 => FaultKind::NoCredit,
        404 | 410 => FaultKind::ModelGone,
        408 | 504 | 524 => FaultKind::Server,
        413 => FaultKind::ContextTooLong,
        429 if is_shared_capacity(code, message) => FaultKind::Busy,
        429 => FaultKind::RateLimited(period_of(message)),
        400 | 422 => kind_of_refusal(said, message),
        400..500 => FaultKind::NotHere,
        _ => FaultKind::Server,
    }
}

/// 429 that says the model's pool is full, not that this key has had its share.
fn is_shared_capacity(code: &str, message: &str) -> bool {
    matches!(code, "3505" | "queue_exceeded" | "queue_full")
        || message.contains("high traffic")
        || message.contains("capacity exceeded")
}

/// Which window a 429 speaks of: Groq writes `(RPD)`, Cerebras "per day", Gemini `PerDay`.
fn period_of(message: &str) -> Option<Period> {
    let has = |words: &[&str]| words.iter().any(|it| message.contains(it));
    if has(&["(rpd)", "(tpd)", "per day", "per-day", "perday", "daily"]) {
        Some(Period::Day)
    } else if has(&["per month", "/ month", "monthly"]) {
        Some(Period::Month)
    } else if has(&["(rpm)", "(tpm)", "per minute", "per min", "per-min", "perminute"]) {
        Some(Period::Minute)
    } else {
        None
    }
}

fn kind_of_refusal(said: &Said, message: &str) -> FaultKind {
    let code = said.code.as_deref().unwrap_or_default();
    let kind = said.kind.as_deref().unwrap_or_default();
    if code == "context_length_exceeded" || speaks_of_context(message) {
        return FaultKind::ContextTooLong;
    }
    if matches!(code, "model_decommissioned" | "model_not_found" | "invalid_model" | "1500") {
        return FaultKind::ModelGone;
    }
    if message.contains("does not support thinking") {
        return FaultKind::FieldUnknown("reasoning_effort".to_owned());
    }
    if let Some(field) = unknown_field(said, kind, message) {
        return FaultKind::FieldUnknown(field);
    }
    let of_this_model =
        ["tool_use_failed", "3230", "3280"].contains(&code) || message.contains("not support");
    if of_this_model { FaultKind::NotHere } else { FaultKind::BadRequest }
}

fn speaks_of_context(message: &str) -> bool {
    [
        "maximum context length",
        "context length",
        "reduce the length of the messages",
        "too many tokens",
    ]
    .iter()
    .any(|it| message.contains(it))
}

/// The member a provider says it doesn't know. Only words that mean unknown, unsupported or extra
/// count: a member whose value is wrong is the caller's to mend and is never dropped.
fn unknown_field(said: &Said, kind: &str, message: &str) -> Option<String> {
    let unknown = kind == "extra_forbidden"
        || [
            "is unsupported",
            "unsupported parameter",
            "unrecognized",
            "unknown field",
            "unknown name",
            "extra inputs are not permitted",
            "unknown parameter",
        ]
        .iter()
        .any(|it| message.contains(it));
    if !unknown {
        return None;
    }
    // The words name the member more reliably than `param`, which may hold the error's own name.
    let quoted = said.message.split(['\'', '"', '`']).nth(1);
    let last = said.message.rsplit(": ").next().filter(|it| it.len() < said.message.len());
    [quoted, said.param.as_deref(), last]
        .into_iter()
        .flatten()
        .map(|it| it.trim_start_matches("body.").trim_end_matches('.'))
        .find(|it| is_plain(it))
        .map(str::to_owned)
}

fn is_plain(field: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    !field.is_empty() && field.len() <= 64 && field.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { monotonic: std::time::Duration::ZERO, unix_ms: 0 };

    fn check(status: u16, body: &str, expected: &FaultKind) -> Fault {
        let fault = classify("any", status, &HeaderMap::new(), body.as_bytes(), NOW);
        assert_eq!(&fault.kind, expected, "{status} {body}");
        fault
    }

    #[test]
    fn samples_of_three_dialects() {
        let day = check(
            429,
            r#"{"error":{"message":"Rate limit reached on requests per day (RPD): Limit 1000, Used 1000, Requested 1. Please try again in 1m26.4s. Need more tokens?","type":"requests","code":"rate_limit_exceeded"}}"#,
            &FaultKind::RateLimited(Some(Period::Day)),
        );
        assert_eq!(day.retry_after.map(|it| it.as_millis()), Some(86_400));
        check(
            429,
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#,
            &FaultKind::RateLimited(None),
        );
        check(
            429,
            r#"{"object":"error","message":"Service tier capacity exceeded for this model.","code":"3505"}"#,
            &FaultKind::Busy,
        );
        check(
            429,
            r#"{"message":"Requests per minute limit exceeded - too many requests sent.","type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}"#,
            &FaultKind::RateLimited(Some(Period::Minute)),
        );
        check(401, r#"{"detail":"Unauthorized"}"#, &FaultKind::KeyRejected);
        check(404, r#"{"error":{"code":"model_not_found"}}"#, &FaultKind::ModelGone);
        check(
            400,
            r#"{"message":"Please reduce the length of the messages or completion.","code":"context_length_exceeded"}"#,
            &FaultKind::ContextTooLong,
        );
        check(503, "<html>bad gateway</html>", &FaultKind::Server);
        check(400, r#"[{"error":{"code":400,"message":"x"}}]"#, &FaultKind::BadRequest);
    }

    #[test]
    fn a_field_counts_as_unknown_only_when_the_body_says_so() {
        let unknown = |it: &str| FaultKind::FieldUnknown(it.to_owned());
        check(
            422,
            r#"{"object":"Error","detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}],"type":"invalid_request_error","code":3001}"#,
            &unknown("seed"),
        );
        check(
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","user"],"msg":"Extra inputs are not permitted"}]}}"#,
            &unknown("user"),
        );
        check(
            400,
            r#"{"error":{"message":"property 'store' is unsupported, did you mean 'stop'?","type":"invalid_request_error"}}"#,
            &unknown("store"),
        );
        check(
            400,
            r#"{"message":"body.logit_bias: property 'body.logit_bias' is unsupported","type":"invalid_request_error","param":"validation_error","code":"wrong_api_format"}"#,
            &unknown("logit_bias"),
        );
        check(
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: logit_bias","type":"invalid_request_error","param":null,"code":null}}"#,
            &unknown("logit_bias"),
        );
        check(
            400,
            r#"{"error":"\"llama3.2\" does not support thinking"}"#,
            &unknown("reasoning_effort"),
        );
        let bad = check(
            400,
            r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error","param":"temperature"}}"#,
            &FaultKind::BadRequest,
        );
        assert_eq!(bad.param.as_deref(), Some("temperature"));
        check(
            422,
            r#"{"detail":[{"type":"less_than_equal","loc":["body","top_p"],"msg":"Input should be less than or equal to 1"}]}"#,
            &FaultKind::BadRequest,
        );
    }

    #[test]
    fn errors_inside_an_answer_are_never_the_callers() {
        let fault = classify_inside_answer(
            "any",
            r#"{"message":"Failed to call a function.","code":"tool_use_failed","status_code":400}"#,
            NOW,
        );
        assert_eq!(fault.kind, FaultKind::NotHere);
        let fault = classify_inside_answer("any", r#"{"code":429,"message":"slow down"}"#, NOW);
        assert_eq!(fault.kind, FaultKind::RateLimited(None));
        let fault = classify_inside_answer("any", "\"overloaded\"", NOW);
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Server, "overloaded"));
    }
}
