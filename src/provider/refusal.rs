//! What a 400 or 422 means, by its words: providers give these for much else than a bad request.

use crate::provider::error_body::Said;
use crate::provider::fault::FaultKind;
use crate::provider::unknown_members::unknown_members;

/// The kind of such a refusal; `message` is its words in lower case.
pub(super) fn kind_of(said: &Said, message: &str) -> FaultKind {
    let code = said.code.as_deref().unwrap_or_default();
    let kind = said.kind.as_deref().unwrap_or_default();
    let says_nothing = message.trim().is_empty() && code.is_empty() && said.param.is_none();
    if said.is_page || says_nothing {
        return FaultKind::NotHere;
    }
    if code == "context_length_exceeded" || speaks_of_context(message) {
        return FaultKind::ContextTooLong;
    }
    if code == "tool_use_failed" {
        // The model wrote a tool call that the provider could not read. It may do better next time.
        return FaultKind::Unreadable;
    }
    if [code, kind].iter().any(|it| KEY_CODES.contains(it)) || has(message, KEY_WORDS) {
        return FaultKind::KeyRejected;
    }
    if speaks_of_money(message) {
        return FaultKind::NoCredit;
    }
    if message.contains("does not support thinking") {
        return unknown("reasoning_effort");
    }
    let is_schema = message.contains("invalid schema");
    if !is_schema && refuses_format(message) {
        return unknown("response_format");
    }
    if let Some(names) = unknown_members(said).filter(|_| !is_schema) {
        return if names.is_empty() { FaultKind::NotHere } else { FaultKind::FieldUnknown(names) };
    }
    if speaks_of_missing_model(message) {
        return FaultKind::ModelGone;
    }
    if message.contains("not support") || is_above_its_own_bound(message) {
        FaultKind::NotHere
    } else {
        FaultKind::BadRequest
    }
}

fn has(message: &str, words: &[&str]) -> bool {
    words.iter().any(|it| message.contains(it))
}

fn unknown(member: &str) -> FaultKind {
    FaultKind::FieldUnknown(vec![member.to_owned()])
}

/// Codes and types of a key that is not accepted.
const KEY_CODES: &[&str] = &["invalid_api_key", "authentication_error", "unauthorized"];
/// The same in words.
const KEY_WORDS: &[&str] = &[
    "incorrect api key",
    "invalid api key",
    "api key not valid",
    "api key is invalid",
    "api key expired",
];

/// No money is left, whatever the status.
pub(super) fn speaks_of_money(message: &str) -> bool {
    const WORDS: &[&str] = &[
        "insufficient balance",
        "balance is insufficient",
        "insufficient credit",
        "credit balance is too low",
    ];
    has(message, WORDS)
}

fn speaks_of_context(message: &str) -> bool {
    const WORDS: &[&str] = &[
        "maximum context length",
        "context length",
        "context window",
        "max context",
        "context limit",
        "reduce the length of the messages",
        "too many tokens",
        "prompt is too long",
        "prompt too long",
        "prompt exceeds",
        "input is too long",
        "input too long",
        "inputs are too long",
        "input token count",
        "input length",
        "exceeds the maximum number of tokens",
        "token count exceeds",
        // `inputs` tokens + `max_new_tokens` must be <= 4097
        "`max_new_tokens` must be",
    ];
    has(message, WORDS)
}

/// The JSON mode asked for, or any, is not there: the answer may be instructed instead. That a schema
/// is no good is another thing.
fn refuses_format(message: &str) -> bool {
    const MODE: &[&str] =
        &["response_format", "response format", "json_schema", "json_object", "json mode"];
    const REFUSED: &[&str] = &["not support", "unsupported", "unavailable", "isn't supported"];
    has(message, MODE) && has(message, REFUSED)
}

/// "The model `x` does not exist", "Model x not found".
fn speaks_of_missing_model(message: &str) -> bool {
    const GONE: &[&str] = &[
        "not found",
        "does not exist",
        "decommissioned",
        "no longer supported",
        "no longer available",
        "has been deprecated",
    ];
    const OTHERS: &[&str] = &["tool", "function", "image", "file", "property", "field"];
    let Some((before, after)) = message.split_once("model") else { return false };
    has(after, GONE) && !has(before, OTHERS) && !has(after, OTHERS)
}

/// A longer answer is asked for than this model gives; another's may be as long.
fn is_above_its_own_bound(message: &str) -> bool {
    has(message, &["max_tokens", "max_completion_tokens"])
        && has(message, &["less than or equal", "at most", "maximum", "too large", "exceed"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::provider::error_body;

    use super::*;

    fn check(body: &str, expected: &FaultKind) {
        let said = error_body::read(body.as_bytes());
        let message = said.message.to_ascii_lowercase();
        assert_eq!(&kind_of(&said, &message), expected, "{body}");
    }

    fn says(message: &str, expected: &FaultKind) {
        check(&json!({"error": {"message": message}}).to_string(), expected);
        // The same from the host behind a relay.
        let raw = json!({"error": {"message": message}}).to_string();
        for raw in [raw.as_str(), message] {
            let relayed = json!({"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}});
            check(&json!({ "error": relayed }).to_string(), expected);
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_called_many_things() {
        for message in [
            "This model's maximum context length is 8192 tokens",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000",
            "Input is too long for requested model.",
            "AiError: input too long",
            "The input token count (9) exceeds the maximum number of tokens allowed (8)",
            "Requested token count exceeds the model's limit of 8192",
            "prompt too long; exceeded max context by 3 tokens",
            "Prompt exceeds max length",
        ] {
            says(message, &FaultKind::ContextTooLong);
        }
    }

    #[test]
    fn what_has_a_status_of_its_own_comes_with_this_one_too() {
        says("Incorrect API key provided: sk-x.", &FaultKind::KeyRejected);
        says("API key not valid. Please pass a valid API key.", &FaultKind::KeyRejected);
        says("Your credit balance is too low to access the API", &FaultKind::NoCredit);
        for message in [
            "Model m not found",
            "Model not found: m",
            "The model `m` does not exist",
            "The model m has been decommissioned and is no longer supported",
        ] {
            says(message, &FaultKind::ModelGone);
        }
        for (code, kind) in [("invalid_api_key", "x"), ("x", "authentication_error")] {
            let body = json!({"error": {"message": "no", "code": code, "type": kind}});
            check(&body.to_string(), &FaultKind::KeyRejected);
        }
    }

    #[test]
    fn a_mode_that_is_missing_is_the_member_that_asks_for_it() {
        for message in [
            "This model does not support response format `json_schema`.",
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "This response_format type is unavailable now",
            "response_format is not supported",
            "JSON mode is not supported for this model",
        ] {
            says(message, &unknown("response_format"));
        }
        let wrong =
            "Invalid schema for response_format 'x': In context=(), 'anyOf' is not supported.";
        says(wrong, &FaultKind::NotHere);
    }

    #[test]
    fn who_says_nothing_speaks_of_itself() {
        check("", &FaultKind::NotHere);
        check("<html><h1>400 Bad Request</h1></html>", &FaultKind::NotHere);
        check("{}", &FaultKind::NotHere);
        check(r#"{"error":{"message":"no"}}"#, &FaultKind::BadRequest);
    }
}
