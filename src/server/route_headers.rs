//! The `X-Relay-*` headers: how an answer came to be.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::dispatch::outcome::Route;

const PROVIDER: HeaderName = HeaderName::from_static("x-relay-provider");
const MODEL: HeaderName = HeaderName::from_static("x-relay-model");
const REQUESTED_MODEL: HeaderName = HeaderName::from_static("x-relay-requested-model");
const ROUTE_REASON: HeaderName = HeaderName::from_static("x-relay-route-reason");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-relay-attempts");
const CONTEXT: HeaderName = HeaderName::from_static("x-relay-context");
const WARNING: HeaderName = HeaderName::from_static("x-relay-warning");
const UPSTREAM_ID: HeaderName = HeaderName::from_static("x-relay-upstream-id");

const TRACE: HeaderName = HeaderName::from_static("x-relay-trace");

/// Every one of them, for browsers that ask which they may read.
pub(super) const ALL: [HeaderName; 9] = [
    PROVIDER,
    MODEL,
    REQUESTED_MODEL,
    ROUTE_REASON,
    ATTEMPTS,
    CONTEXT,
    WARNING,
    UPSTREAM_ID,
    TRACE,
];

/// The longest value written, in bytes. Some of them repeat what a caller sent, which may be long.
const MAX_LEN: usize = 512;

/// The most warnings written.
const MAX_WARNINGS: usize = 16;

/// Writes `route` into the headers of an answer.
pub(super) fn describe(route: &Route, headers: &mut HeaderMap) {
    headers.insert(PROVIDER, value(&route.provider));
    headers.insert(MODEL, value(&route.model));
    headers.insert(REQUESTED_MODEL, value(&route.requested));
    headers.insert(ROUTE_REASON, HeaderValue::from_static(route.reason.as_str()));
    headers.insert(ATTEMPTS, HeaderValue::from(route.attempts));
    if let Some(context) = &route.context {
        headers.insert(CONTEXT, value(context));
    }
    for warning in route.warnings.iter().take(MAX_WARNINGS) {
        headers.append(WARNING, value(warning));
    }
    if let Some(id) = &route.upstream_id {
        headers.insert(UPSTREAM_ID, value(id));
    }
}

/// Writes how an answer came to be in a line.
pub(super) fn trace(trace: &str, headers: &mut HeaderMap) {
    headers.insert(TRACE, value(trace));
}

/// `text` as a header's value: what is not printable ASCII is percent-encoded, and what is too
/// long is cut.
fn value(text: &str) -> HeaderValue {
    // Of ASCII nothing but what is printable is taken there, and tabs.
    if text.len() <= MAX_LEN
        && text.is_ascii()
        && !text.contains('\t')
        && let Ok(value) = HeaderValue::from_str(text)
    {
        return value;
    }
    let printable = |it: u8| (b' '..=b'~').contains(&it);
    let mut safe = String::with_capacity(MAX_LEN);
    for byte in text.bytes() {
        if safe.len() + 3 > MAX_LEN {
            break;
        }
        if printable(byte) {
            safe.push(char::from(byte));
        } else {
            safe.push('%');
            safe.extend([byte >> 4, byte & 0xf].map(hex_digit));
        }
    }
    HeaderValue::from_str(&safe).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn hex_digit(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_fit_for_a_header() {
        let check =
            |text: &str, expected: &str| assert_eq!(value(text).as_bytes(), expected.as_bytes());
        check("qwen/qwen3-32b", "qwen/qwen3-32b");
        check("mode=reservoir; kept=15", "mode=reservoir; kept=15");
        check("", "");
        check("a\r\nSet-Cookie: x", "a%0D%0ASet-Cookie: x");
        check("mod\u{e8}le", "mod%C3%A8le");
        check("a\tb\u{7f}", "a%09b%7F");
        check(&"m".repeat(MAX_LEN), &"m".repeat(MAX_LEN));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_value_unfit(text in ".{0,700}") {
            let value = value(&text);
            prop_assert!(value.to_str().is_ok());
            prop_assert!(value.len() <= MAX_LEN);
            prop_assert_eq!(value.is_empty(), text.is_empty());
        }
    }
}
