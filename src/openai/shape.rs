//! What a body and its known members must look like, before anything is made of them.

use super::error::ApiError;
use super::reader::MAX_DEPTH;

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

/// Refuses a member that is not what it must be, told by the first byte of its value. Gives the name
/// of one that is known.
pub(super) fn check_shape(key: &str, first: u8) -> Result<Option<&'static str>, ApiError> {
    let Some((known, starts, wanted)) = SHAPES.iter().find(|(it, _, _)| *it == key) else {
        return Ok(None);
    };
    if first == b'n' || starts.contains(&char::from(first)) {
        return Ok(Some(known));
    }
    let got = match first {
        b'"' => "a string",
        b'[' => "a list",
        b'{' => "an object",
        b't' | b'f' => "true or false",
        _ => "a number",
    };
    Err(ApiError::invalid(format!("{key} must be {wanted}, not {got}."), Some(key)))
}

/// Is text that could not be read nested deeper than [`MAX_DEPTH`]?
pub(super) fn nested_too_deep(text: &[u8]) -> bool {
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
