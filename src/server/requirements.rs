//! What the headers of a chat request ask for: privacy, strictness, and a trace.

use http::HeaderMap;

use crate::dispatch::outcome::Requirements;
use crate::openai::ApiError;

/// Each header under its own name and the one that other gateways use.
const PRIVACY: [&str; 2] = ["x-relay-privacy", "x-freellm-privacy"];
const STRICT: [&str; 2] = ["x-relay-strict", "x-freellm-strict"];
const TRACE: [&str; 1] = ["x-relay-trace"];

/// Reads them off. An empty header asks for nothing.
///
/// # Errors
/// A 400 that names the header: a wish that was misspelt must not be passed over in silence.
pub(super) fn read(headers: &HeaderMap) -> Result<Requirements, ApiError> {
    let yes = [("true", true), ("false", false)];
    Ok(Requirements {
        no_training: any(headers, &PRIVACY, &[("no-training", true)])?,
        strict: any(headers, &STRICT, &yes)?,
        trace: any(headers, &TRACE, &yes)?,
    })
}

/// Is one of `names` set to what means yes?
fn any(headers: &HeaderMap, names: &[&str], known: &[(&str, bool)]) -> Result<bool, ApiError> {
    let mut found = false;
    for name in names {
        for value in headers.get_all(*name).iter().filter(|it| !it.is_empty()) {
            let means =
                known.iter().find(|it| value.as_bytes().eq_ignore_ascii_case(it.0.as_bytes()));
            let Some((_, yes)) = means else { return Err(unknown(name, known)) };
            found |= yes;
        }
    }
    Ok(found)
}

fn unknown(name: &str, known: &[(&str, bool)]) -> ApiError {
    let wanted: Vec<&str> = known.iter().map(|it| it.0).collect();
    let message = format!("{name} must be {}, or be left out.", wanted.join(" or "));
    ApiError::invalid(message, Some(name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

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
        check(&[("x-relay-privacy", "")], Some([false; 3]));
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
