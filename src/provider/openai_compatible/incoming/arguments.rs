//! What a call hands its function: always a string, the text of a JSON object.

use serde::de::IgnoredAny;

use crate::openai::JsonObject;
use crate::openai::string_in;
use crate::openai::whole_string;

/// The arguments as a string. What is no string is the object itself; `null` and nothing are empty.
pub(super) fn text_of(json: Option<&str>, half: &mut Option<u16>) -> String {
    match json {
        None | Some("null") => String::new(),
        Some(json) => string_in(json, half).unwrap_or_else(|| json.to_owned()),
    }
}

/// How far arguments that come in pieces have got.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    depth: usize,
    begun: bool,
    quoted: bool,
    escaped: bool,
}

impl Reach {
    /// Takes in the next piece.
    pub(super) fn add(&mut self, piece: &str) {
        for it in piece.bytes() {
            match it {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                b'{' | b'[' if !self.quoted => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Has every bracket found its other?
    pub(super) fn is_whole(&self) -> bool {
        self.begun && self.depth == 0 && !self.quoted
    }
}

/// Is this the whole text of an object?
pub(super) fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Is this the whole text of a string?
pub(super) fn is_string(text: &str) -> bool {
    let outer = text.trim_ascii();
    outer.starts_with('"')
        && outer.ends_with('"')
        && serde_json::from_str::<IgnoredAny>(outer).is_ok()
}

/// Arguments that were made a string twice, made one once.
pub(super) fn once(text: String) -> String {
    let inner = is_string(&text).then(|| whole_string(text.trim_ascii())).flatten();
    inner.filter(|it| is_object(it)).unwrap_or(text)
}

/// Takes a call's function out of it. Some providers put its name and arguments beside it.
pub(super) fn take_function(call: &mut JsonObject) -> JsonObject {
    let own = call.get("function").and_then(|it| JsonObject::parse(it).ok());
    if let Some(function) = own {
        let _taken = call.remove("function");
        return function;
    }
    let mut function = JsonObject::default();
    for (name, keys) in
        [("name", &["name"][..]), ("arguments", &["arguments", "parameters", "input"])]
    {
        if let Some(value) = keys.iter().find_map(|it| call.remove(it)) {
            function.set(name, value);
        }
    }
    function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_string() {
        for (json, expected) in [
            (None, ""),
            (Some("null"), ""),
            (Some(r#""{\"a\":1}""#), r#"{"a":1}"#),
            (Some(r#"{"a": 1.0}"#), r#"{"a": 1.0}"#),
        ] {
            assert_eq!(text_of(json, &mut None), expected, "{json:?}");
        }
    }

    #[test]
    fn what_was_made_a_string_twice_is_one_once() {
        for (text, expected) in [
            (r#""{\"a\":\"b\\n\"}""#, r#"{"a":"b\n"}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#""{\"a\":1""#, r#""{\"a\":1""#),
            (r#""hello""#, r#""hello""#),
            (r#""{}" "x""#, r#""{}" "x""#),
            ("", ""),
        ] {
            assert_eq!(once(text.to_owned()), expected, "{text}");
        }
    }
}
