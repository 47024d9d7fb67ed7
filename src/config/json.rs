//! JSON as it was written: an object keeps its order and the keys that were given twice.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Number;

/// A JSON value. Configuration is read once, so it may be copied freely.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Why some bytes are no JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// `line 3, column 7`.
    pub(super) position: String,
    /// What is wrong there.
    pub(super) problem: String,
}

impl Json {
    /// Reads one document. A byte order mark, which some editors write, is skipped.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|bad| {
            let before = bytes.get(..bad.valid_up_to()).unwrap_or_default();
            Malformed { position: position_after(before), problem: "invalid UTF-8".to_owned() }
        })?;
        serde_json::from_str(text).map_err(|bad| {
            let said = bad.to_string();
            let problem = said.split(" at line ").next().unwrap_or_default();
            Malformed {
                position: format!("line {}, column {}", bad.line(), bad.column()),
                problem: format!("malformed JSON ({problem})"),
            }
        })
    }

    /// The value in a few words, for a fault.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(it) => it.to_string(),
            Self::Number(it) => it.to_string(),
            Self::Text(it) => quoted(it),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

/// `text` in quotation marks, escaped and cut to a readable length.
pub(super) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 60;
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{:?}", format!("{}…", text.get(..end).unwrap_or_default())),
        None => format!("{text:?}"),
    }
}

fn position_after(bytes: &[u8]) -> String {
    let lines = bytes.split(|it| *it == b'\n');
    let column = lines.clone().next_back().map_or(0, <[u8]>::len) + 1;
    format!("line {}, column {column}", lines.count())
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(Json::Bool(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(Json::Number(it.into()))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(Json::Number(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(Number::from_f64(it).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(Json::Text(it.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], position: &str, problem: &str) {
        let wanted = Malformed { position: position.to_owned(), problem: problem.to_owned() };
        assert_eq!(Json::parse(bytes), Err(wanted));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        check(b"{\n  \"a\": 1,\n}", "line 3, column 1", "malformed JSON (trailing comma)");
        check(b"{\n\"a\": \xff}", "line 2, column 6", "invalid UTF-8");
        check(b"", "line 1, column 0", "malformed JSON (EOF while parsing a value)");
        check(b"{} x", "line 1, column 4", "malformed JSON (trailing characters)");
        let deep = "[".repeat(100_000);
        assert!(Json::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_double_keys_are_kept() {
        let read = Json::parse(b"\xef\xbb\xbf{\"a\":1,\"a\":true}").unwrap();
        let entries =
            vec![("a".to_owned(), Json::Number(1.into())), ("a".to_owned(), Json::Bool(true))];
        assert_eq!(read, Json::Object(entries));
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(quoted("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 63);
    }
}
