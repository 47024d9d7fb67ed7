//! Arguments of calls: JSON text that is an object's, whatever the caller's client made of it.

use std::borrow::Cow;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::written::string_of;

/// JSON nested deeper than this is sent as a string: providers bound the depth of objects.
const DEEPEST_OBJECT: usize = 48;

/// The arguments as an object. They are written as JSON in a string, by some clients twice over, by
/// some as the object itself.
pub(super) fn arguments(written: Option<&RawValue>) -> Box<RawValue> {
    let Some(written) = written else { return empty_object() };
    let mut text = string_of(written).unwrap_or(Cow::Borrowed(written.get()));
    if let Ok(inner) = serde_json::from_str::<String>(&text) {
        text = inner.into();
    }
    if matches!(text.trim(), "" | "null") {
        return empty_object();
    }
    // A model wrote what is no object; it is to see what it wrote.
    object_of(&text)
        .or_else(|| to_raw_value(&json!({ "arguments": text })).ok())
        .unwrap_or_else(empty_object)
}

/// `{}`.
fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// The object that `text` holds, if it is one that a provider can take.
pub(in crate::provider) fn object_of(text: &str) -> Option<Box<RawValue>> {
    let text = text.trim();
    let fits = text.starts_with('{') && depth(text) <= DEEPEST_OBJECT;
    // Reading a raw value checks it without following it into the depths.
    fits.then(|| serde_json::from_str::<Box<RawValue>>(text).ok()).flatten()
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(written: serde_json::Value, expected: &str) {
        let written = to_raw_value(&written).unwrap();
        assert_eq!(arguments(Some(&written)).get(), expected, "{written}");
    }

    #[test]
    fn arguments_are_always_an_object() {
        check(
            json!("{\"b\": 1.50, \"a\":12345678901234567890123}"),
            "{\"b\": 1.50, \"a\":12345678901234567890123}",
        );
        check(json!("\"{\\\"a\\\":1}\""), "{\"a\":1}");
        check(json!({"a": 1}), "{\"a\":1}");
        check(json!(" "), "{}");
        check(json!("null"), "{}");
        check(json!("\"\""), "{}");
        check(json!("{\"a\":"), r#"{"arguments":"{\"a\":"}"#);
        check(json!("[1]"), r#"{"arguments":"[1]"}"#);
        check(json!([1]), r#"{"arguments":"[1]"}"#);
        check(json!(7), r#"{"arguments":"7"}"#);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        check(json!(deep), &json!({ "arguments": deep }).to_string());
        assert_eq!(arguments(None).get(), "{}");
    }
}
