//! Gemini's errors: `{"error":{code,message,status,details[]}}`, or a list of one such object.
//!
//! The status line says little: a rejected key is a 400, and a 429 may mean a minute, a day or a
//! model that is not for this account at all. The details say which.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::catalog::Period;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::provider::classify::classify;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::QuotaSaid;
use crate::provider::fault::Scope;
use crate::provider::retry_hint::LONGEST;
use crate::provider::retry_hint::go_duration;

/// Names of this API's members that stand for one of OpenAI's: without it an answer is still to be
/// had.
const MEMBERS: &[(&str, &str)] = &[
    ("temperature", "temperature"),
    ("topp", "top_p"),
    ("topk", "top_k"),
    ("presencepenalty", "presence_penalty"),
    ("frequencypenalty", "frequency_penalty"),
    ("maxoutputtokens", "max_tokens"),
    ("stopsequences", "stop"),
    ("seed", "seed"),
    ("candidatecount", "n"),
    ("thinkingconfig", "reasoning_effort"),
    ("thinkingbudget", "reasoning_effort"),
    ("thinkinglevel", "reasoning_effort"),
    ("includethoughts", "reasoning_effort"),
    ("responsemimetype", "response_format"),
    ("responseschema", "response_format"),
];

#[derive(Deserialize)]
struct Envelope {
    error: Said,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::provider) struct Said {
    code: Option<u16>,
    message: String,
    status: Option<String>,
    details: Vec<Value>,
}

/// Makes the fault of an error answer.
pub(in crate::provider) fn fault(status: u16, said: &Said) -> Fault {
    let (kind, param) = kind_of(status, said);
    let words =
        if said.message.is_empty() { format!("HTTP {status}") } else { said.message.clone() };
    let mut fault = Fault::new(kind, words);
    fault.status = Some(status);
    fault.code = said.status.as_deref().map(Box::from);
    fault.param = param.map(String::into_boxed_str);
    if fault.kind == FaultKind::ModelGone && status == 429 {
        // Another account may be one that has it.
        fault.scope = Scope::Target;
    }
    // A daily limit's hint speaks of the next minute; it is the day that has to pass. And no wait
    // gives a model that is not for this account.
    let hint = match fault.kind {
        FaultKind::RateLimited(Some(Period::Day)) | FaultKind::ModelGone => None,
        _ => said.wait(),
    };
    fault.retry_after = hint;
    if matches!(fault.kind, FaultKind::RateLimited(_)) {
        fault.quota = said.violations().filter_map(|it| quota(it, hint)).collect();
        let shared = fault.quota.iter().any(|it| it.account_wide);
        if shared {
            fault.scope = Scope::Account;
        }
    }
    fault
}

/// One limit that was exceeded. Its `quotaId` says all: `GenerateRequestsPerDayPerProjectPerModel`,
/// `GenerateContentInputTokensPerModelPerMinute`.
fn quota(violation: &Value, hint: Option<Duration>) -> Option<QuotaSaid> {
    let id = violation.get("quotaId")?.as_str()?;
    let period = period_of(id)?;
    let unit = if id.contains("Token") {
        Unit::Tokens
    } else if id.contains("Request") {
        Unit::Requests
    } else {
        return None;
    };
    let value = violation.get("quotaValue");
    let limit = value.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
    let account_wide = !id.contains("PerModel");
    Some(QuotaSaid {
        unit,
        period,
        limit,
        remaining: None,
        exhausted: true,
        until: hint,
        account_wide,
    })
}

fn period_of(quota_id: &str) -> Option<Period> {
    [("PerDay", Period::Day), ("PerMinute", Period::Minute)]
        .into_iter()
        .find_map(|(name, period)| quota_id.contains(name).then_some(period))
}

/// Reads an error that stands where an answer should: inside a 200, or as an event of a stream.
pub(super) fn classify_inside_answer(body: &[u8], now: Now) -> Fault {
    let said = read(body, "gemini");
    let code = said.and_then(|it| it.code).filter(|it| (400..600).contains(it));
    let mut fault = classify("gemini", code.unwrap_or(500), &HeaderMap::new(), body, now);
    if matches!(fault.kind, FaultKind::BadRequest) {
        // The same request was accepted before, so it is this answer that failed, not the request.
        fault.kind = FaultKind::NotHere;
    }
    fault.status = code;
    fault
}

/// The error a body tells; `None` for a body of another form. Those of a provider that is not
/// called Gemini are known by the status in words, which no one else sends.
pub(in crate::provider) fn read(body: &[u8], provider: &str) -> Option<Said> {
    // serde would take a list for a struct as well, so the form is looked at first.
    let envelope = if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<Vec<Envelope>>(body).ok()?.into_iter().next()?
    } else {
        serde_json::from_slice(body).ok()?
    };
    let in_words = |it: &str| it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
    let said: Said = envelope.error;
    let own =
        provider.eq_ignore_ascii_case("gemini") || said.status.as_deref().is_some_and(in_words);
    own.then_some(said)
}

/// What happened, and the member of OpenAI's request it concerns.
fn kind_of(status: u16, said: &Said) -> (FaultKind, Option<String>) {
    let message = said.message.to_ascii_lowercase();
    let kind = match status {
        400 => return kind_of_refusal(said, &message),
        403 if said.reasons().any(|it| it == "SERVICE_DISABLED") => FaultKind::Barred,
        401 | 403 => FaultKind::KeyRejected,
        402 => FaultKind::NoCredit,
        404 | 410 => FaultKind::ModelGone,
        429 if said.has_no_free_tier() => FaultKind::ModelGone,
        429 => FaultKind::RateLimited(said.period()),
        503 if message.contains("overloaded") || message.contains("high demand") => FaultKind::Busy,
        408 | 500.. => FaultKind::Server,
        _ => FaultKind::NotHere,
    };
    (kind, None)
}

fn kind_of_refusal(said: &Said, message: &str) -> (FaultKind, Option<String>) {
    let has = |words: &[&str]| words.iter().all(|it| message.contains(it));
    if said.reasons().any(|it| it.starts_with("API_KEY_")) || has(&["api key", "valid"]) {
        return (FaultKind::KeyRejected, None);
    }
    if has(&["api key expired"]) {
        return (FaultKind::KeyRejected, None);
    }
    if said.status.as_deref() == Some("FAILED_PRECONDITION") {
        // The country this gateway stands in, or billing: nothing that a caller could mend.
        let barred = has(&["location"]) || has(&["billing"]);
        return (if barred { FaultKind::Barred } else { FaultKind::NotHere }, None);
    }
    if has(&["token count", "exceeds the maximum"]) {
        return (FaultKind::ContextTooLong, Some("messages".to_owned()));
    }
    if has(&["unknown name"]) {
        return unknown_name(&said.message);
    }
    if has(&["penalty", "not enabled"]) {
        // It doesn't say which of them.
        let both = ["frequency_penalty", "presence_penalty"].map(str::to_owned);
        return (FaultKind::FieldUnknown(both.into()), None);
    }
    if has(&["thinking", "not supported"]) || has(&["thinking", "not enabled"]) {
        return spared("reasoning_effort");
    }
    // A value out of range is so everywhere; anything else may be a rule of this API alone.
    let out_of_range = has(&["range"]) || has(&["must be in"]) || has(&["invalid value"]);
    match message.split_once("generation_config.").filter(|_| out_of_range) {
        Some((_, rest)) => match openai_member(word(rest)) {
            Some(member) => (FaultKind::BadRequest, Some(member.to_owned())),
            None => (FaultKind::NotHere, None),
        },
        None => (FaultKind::NotHere, None),
    }
}

/// `Unknown name "seed" at 'generation_config': Cannot find field.` A name within a message's parts,
/// tools or a schema is no member that could be left out: then only another provider helps.
fn unknown_name(message: &str) -> (FaultKind, Option<String>) {
    let name = message.split('"').nth(1).unwrap_or_default();
    let place = message.split_once(" at '").and_then(|(_, it)| it.split('\'').next());
    let place = place.unwrap_or_default();
    let outer =
        place.is_empty() || place.starts_with("generation_config") && !place.contains("schema");
    // The compatible endpoint is sent OpenAI's members by their own names, and those of messages.
    let of_message = place.starts_with("messages[") && place.find(']') == Some(place.len() - 1);
    let own = place.is_empty() || of_message;
    match openai_member(name).filter(|_| outer) {
        Some(member) => spared(member),
        None if own && !name.is_empty() && word(name) == name => spared(name),
        None => (FaultKind::NotHere, Some(format!("{place}.{name}")).filter(|it| it.len() <= 200)),
    }
}

fn spared(member: &str) -> (FaultKind, Option<String>) {
    (FaultKind::FieldUnknown(vec![member.to_owned()]), Some(member.to_owned()))
}

/// The member of OpenAI's request that `name` comes from, be it written in camel or in snake case.
fn openai_member(name: &str) -> Option<&'static str> {
    let plain: String =
        name.chars().filter(|it| *it != '_').map(|it| it.to_ascii_lowercase()).collect();
    MEMBERS.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours)
}

/// The name at the start of `text`.
fn word(text: &str) -> &str {
    let end = text.find(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

impl Said {
    /// The reasons of every `ErrorInfo`.
    fn reasons(&self) -> impl Iterator<Item = &str> {
        self.details.iter().filter_map(|it| it.get("reason")?.as_str())
    }

    /// The limits that were exceeded.
    fn violations(&self) -> impl Iterator<Item = &Value> {
        self.details.iter().filter_map(|it| it.get("violations")?.as_array()).flatten()
    }

    /// The longest of the periods whose limits were exceeded.
    fn period(&self) -> Option<Period> {
        self.violations().filter_map(|it| period_of(it.get("quotaId")?.as_str()?)).max()
    }

    /// A limit of nothing: the model is not for accounts like this one, and no wait will help.
    fn has_no_free_tier(&self) -> bool {
        let zero = |it: &Value| it.get("quotaValue").is_some_and(|it| it == "0" || it == 0);
        let in_words = |rest: &str| {
            let rest = rest.strip_prefix('0');
            rest.is_some_and(|it| {
                !it.starts_with(|next: char| next.is_ascii_digit() || next == '.')
            })
        };
        self.violations().any(zero) || self.message.split("limit: ").skip(1).any(in_words)
    }

    /// How long to wait. `RetryInfo` is cut to whole seconds, the message is exact: the longer one
    /// is right.
    fn wait(&self) -> Option<Duration> {
        let info = self.details.iter().find_map(|it| it.get("retryDelay")?.as_str());
        let words = self.message.split_once("retry in ").map(|(_, it)| it);
        let words = words.and_then(|it| it.split_whitespace().next());
        [info, words.map(|it| it.trim_end_matches('.'))]
            .into_iter()
            .flatten()
            .filter_map(go_duration)
            .filter(|it| *it <= LONGEST)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! sample {
        ($name:literal) => {
            &include_bytes!(concat!("../../../tests/wire/gemini/", $name))[..]
        };
    }

    fn check(status: u16, body: &[u8], expected: &FaultKind, wait_ms: Option<u128>) -> Fault {
        let fault = classify("gemini", status, &HeaderMap::new(), body, Now::default());
        let wait = fault.retry_after.map(|it| it.as_millis());
        let text = String::from_utf8_lossy(body);
        assert_eq!((&fault.kind, wait, fault.status), (expected, wait_ms, Some(status)), "{text}");
        // The compatible endpoint wraps the same in a list of one.
        let listed = [b"[", body, b"]"].concat();
        assert_eq!(classify("gemini", status, &HeaderMap::new(), &listed, Now::default()), fault);
        fault
    }

    #[test]
    fn every_sample_is_what_it_means() {
        let limited = |it| FaultKind::RateLimited(Some(it));
        check(400, sample!("error_400_context_length.json"), &FaultKind::ContextTooLong, None);
        check(400, sample!("error_400_function_parts.json"), &FaultKind::NotHere, None);
        let key = sample!("error_400_invalid_key.json");
        let fault = check(400, key, &FaultKind::KeyRejected, None);
        assert_eq!(fault.code.as_deref(), Some("INVALID_ARGUMENT"));
        check(400, sample!("error_400_location.json"), &FaultKind::Barred, None);
        let schema = check(400, sample!("error_400_unknown_name.json"), &FaultKind::NotHere, None);
        assert!(schema.param.unwrap().ends_with("properties[0].value.const"));
        check(403, sample!("error_403_service_disabled.json"), &FaultKind::Barred, None);
        check(404, sample!("error_404_model.json"), &FaultKind::ModelGone, None);
        check(429, sample!("error_429_day.json"), &limited(Period::Day), None);
        let zero = sample!("error_429_limit_zero.json");
        check(429, zero, &FaultKind::ModelGone, None);
        check(429, sample!("error_429_minute.json"), &limited(Period::Minute), Some(38_912));
        check(429, sample!("error_429_plain.json"), &FaultKind::RateLimited(None), None);
        let tokens = sample!("error_429_tokens_minute.json");
        check(429, tokens, &limited(Period::Minute), Some(26_100));
        check(503, sample!("error_503_overloaded.json"), &FaultKind::Busy, None);
    }

    #[test]
    fn what_no_sample_shows() {
        let body = |message: &str| {
            serde_json::json!({"error": {"message": message, "status": "INVALID_ARGUMENT"}})
                .to_string()
        };
        let field = |it: &str| FaultKind::FieldUnknown(vec![it.to_owned()]);
        let unknown = |name: &str, place: &str| {
            body(&format!(
                "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
            ))
        };
        for (status, body, expected) in [
            (400, unknown("seed", " at 'generation_config'"), field("seed")),
            (400, unknown("presencePenalty", " at 'generation_config'"), field("presence_penalty")),
            (
                400,
                unknown("thinking_level", " at 'generation_config.thinking_config'"),
                field("reasoning_effort"),
            ),
            (400, unknown("title", " at 'generation_config.response_schema'"), FaultKind::NotHere),
            (400, unknown("id", " at 'contents[1].parts[0].function_call'"), FaultKind::NotHere),
            (400, unknown("topK", ""), field("top_k")),
            (
                400,
                body("Penalty is not enabled for models/gemini-x"),
                FaultKind::FieldUnknown(vec![
                    "frequency_penalty".to_owned(),
                    "presence_penalty".to_owned(),
                ]),
            ),
            (400, body("Thinking is not enabled for models/gemini-x"), field("reasoning_effort")),
            (400, unknown("refusal", " at 'messages[1]'"), field("refusal")),
            (400, unknown("id", " at 'messages[1].tool_calls[0]'"), FaultKind::NotHere),
            (
                400,
                body("Thinking level is not supported for this model."),
                field("reasoning_effort"),
            ),
            (400, body("API key expired. Please renew the API key."), FaultKind::KeyRejected),
            (
                400,
                body(
                    "* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0]",
                ),
                FaultKind::BadRequest,
            ),
            (
                400,
                body("Budget 0 is invalid. This model only works in thinking mode."),
                FaultKind::NotHere,
            ),
            (400, body("Multiple candidates is not enabled for this model"), FaultKind::NotHere),
            (401, body("x"), FaultKind::KeyRejected),
            (413, body("x"), FaultKind::NotHere),
            (
                429,
                body("Quota exceeded for metric: x, limit: 0\nPlease wait"),
                FaultKind::ModelGone,
            ),
            (429, body("Quota exceeded for metric: x, limit: 05"), FaultKind::RateLimited(None)),
            (500, body("An internal error has occurred."), FaultKind::Server),
            (503, body("The service is currently unavailable."), FaultKind::Server),
            (504, body("Deadline expired before operation could complete."), FaultKind::Server),
        ] {
            check(status, body.as_bytes(), &expected, None);
        }
    }

    #[test]
    fn a_body_of_another_kind_is_read_as_any_other() {
        for (status, body, expected) in [
            (502, "<html>bad gateway</html>", FaultKind::Server),
            (429, "[]", FaultKind::RateLimited(None)),
            (400, "", FaultKind::NotHere),
            (404, r#"{"detail":"no"}"#, FaultKind::ModelGone),
        ] {
            let fault =
                classify("gemini", status, &HeaderMap::new(), body.as_bytes(), Now::default());
            assert_eq!(fault.kind, expected, "{body}");
        }
    }

    #[test]
    fn an_error_inside_an_answer_is_never_the_callers() {
        let inside = |body: &[u8]| classify_inside_answer(body, Now::default());
        let overloaded = inside(sample!("error_503_overloaded.json"));
        assert_eq!((overloaded.kind, overloaded.status), (FaultKind::Busy, Some(503)));
        let refused =
            inside(br#"{"error":{"code":400,"message":"generation_config.seed out of range"}}"#);
        assert_eq!((refused.kind, refused.status), (FaultKind::NotHere, Some(400)));
        let bare = inside(br#"{"error":{}}"#);
        assert_eq!((bare.kind, bare.status), (FaultKind::Server, None));
    }
}
