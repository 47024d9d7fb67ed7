//! What the headers of a chat request ask for: privacy, strictness, and a trace.

use http::{HeaderMap, HeaderName};

use crate::dispatch::outcome::Requirements;
use crate::openai::ApiError;

/// What a header may say, and what it means.
type Words = &'static [(&'static str, bool)];

const PRIVACY: Words = &[("no-training", true)];
const YES_OR_NO: Words = &[("true", true), ("false", false)];

/// Reads them off, each under its own name and the one that other gateways use.
///
/// # Errors
/// A 400 that names the header: a wish that was misspelt, or whose variable was empty, must not be
/// passed over in silence.
pub(super) fn read(headers: &HeaderMap) -> Result<Requirements, ApiError> {
    let mut requires = Requirements::default();
    // Most requests have none of them, and a look at every name is cheaper than a search for each.
    for (name, value) in headers {
        let (wish, words) = match name.as_str() {
            "x-relay-privacy" | "x-freellm-privacy" => (&mut requires.no_training, PRIVACY),
            "x-relay-strict" | "x-freellm-strict" => (&mut requires.strict, YES_OR_NO),
            "x-relay-trace" => (&mut requires.trace, YES_OR_NO),
            _ => continue,
        };
        let is_said = |it: &&(&str, bool)| value.as_bytes().eq_ignore_ascii_case(it.0.as_bytes());
        let Some((_, yes)) = words.iter().find(is_said) else {
            return Err(unknown(written(name), words));
        };
        *wish |= yes;
    }
    Ok(requires)
}

/// A header's name as people write it.
fn written(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "x-freellm-privacy" => "X-FreeLLM-Privacy",
        "x-relay-strict" => "X-Relay-Strict",
        "x-freellm-strict" => "X-FreeLLM-Strict",
        "x-relay-trace" => "X-Relay-Trace",
        _ => "X-Relay-Privacy",
    }
}

fn unknown(name: &str, words: Words) -> ApiError {
    let wanted: Vec<&str> = words.iter().map(|it| it.0).collect();
    let message = format!("{name} must be {}, or be left out.", wanted.join(" or "));
    ApiError::invalid(message, Some(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: Option<[bool; 3]>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let read = read(&map).ok().map(|it| [it.no_training, it.strict, it.trace]);
        assert_eq!(read, expected, "{headers:?}");
    }

    #[test]
    fn wishes_are_read_under_both_names_and_misspelt_ones_refused() {
        check(&[], Some([false; 3]));
        check(&[("x-relay-privacy", "no-training")], Some([true, false, false]));
        check(&[("x-freellm-privacy", "No-Training")], Some([true, false, false]));
        check(&[("x-relay-privacy", "")], None);
        check(&[("x-freellm-privacy", "no-training"), ("x-relay-privacy", "")], None);
        check(&[("x-relay-strict", "")], None);
        check(&[("x-relay-privacy", "none")], None);
        check(&[("x-relay-privacy", "no-training"), ("x-freellm-privacy", "any")], None);
        check(&[("x-relay-strict", "true"), ("x-relay-trace", "true")], Some([false, true, true]));
        check(
            &[("x-freellm-strict", "true"), ("x-relay-strict", "false")],
            Some([false, true, false]),
        );
        check(&[("x-relay-strict", "1")], None);
        check(&[("x-relay-strict", "false"), ("x-relay-strict", "maybe")], None);
        check(&[("x-relay-trace", "yes")], None);
    }
}
