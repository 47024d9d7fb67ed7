//! What a body and its known members must look like, before anything is made of them.

use serde_json::value::RawValue;

use super::error::ApiError;

/// How deep JSON may be nested. Providers refuse far less; the bound keeps every reader of the
/// body, theirs and ours, from being led into the depths.
pub(super) const MAX_DEPTH: usize = 128;

/// The first characters a JSON number may have.
const NUMBER: &[char] = &['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// What known members must look like, told by their first character. `null` is always allowed: the
/// SDKs send it for "not given".
const SHAPES: &[(&str, &[char], &str)] = &[
    ("model", &['"'], "a string"),
    ("messages", &['['], "a list of messages"),
    ("stream", &['t', 'f'], "true or false"),
    ("stream_options", &['{'], "an object"),
    ("temperature", NUMBER, "a number"),
    ("top_p", NUMBER, "a number"),
    ("frequency_penalty", NUMBER, "a number"),
    ("presence_penalty", NUMBER, "a number"),
    ("max_tokens", NUMBER, "a whole number of at least 1"),
    ("max_completion_tokens", NUMBER, "a whole number of at least 1"),
    ("n", NUMBER, "a whole number of at least 1"),
    ("seed", NUMBER, "a whole number"),
    ("top_logprobs", NUMBER, "a whole number"),
    ("stop", &['"', '['], "a string or a list of strings"),
    ("tools", &['['], "a list of tools"),
    ("tool_choice", &['"', '{'], "a string or an object"),
    ("parallel_tool_calls", &['t', 'f'], "true or false"),
    ("response_format", &['{'], "an object"),
    ("logit_bias", &['{'], "an object"),
    ("logprobs", &['t', 'f'], "true or false"),
    ("user", &['"'], "a string"),
    ("model_type", &['"'], "a string"),
    ("model_scale", &['"'], "a string"),
    ("model_name", &['"'], "a string"),
];

/// Refuses a member that is not what it must be.
pub(super) fn check_shape(key: &str, value: &RawValue) -> Result<(), ApiError> {
    let Some((_, starts, wanted)) = SHAPES.iter().find(|(it, _, _)| *it == key) else {
        return Ok(());
    };
    let text = value.get();
    if text == "null" || text.starts_with(*starts) {
        return Ok(());
    }
    let got = match text.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    };
    Err(ApiError::invalid(format!("{key} must be {wanted}, not {got}."), Some(key)))
}

/// Is the text nested deeper than [`MAX_DEPTH`]? Most bodies have fewer brackets than the bound in all, so they are counted before they are
/// followed: counting runs at memory speed.
pub(super) fn nested_too_deep(text: &[u8]) -> bool {
    let opening = |it: &&u8| matches!(**it, b'[' | b'{');
    if text.iter().filter(opening).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
