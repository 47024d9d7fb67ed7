//! Raw slices of JSON text: finding them, and writing the text again with some of them replaced.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::stops::stop;

/// A body that could not be read as what it should be. The text says why, without quoting it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

impl From<serde_json::Error> for Unreadable {
    fn from(fault: serde_json::Error) -> Self {
        Self(fault.to_string())
    }
}

/// An object's members in the order they were written, values unread.
pub struct RawObject<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawObject<'a> {
    /// A member's value; of two with one key the last.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(it, _)| it == key).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(RawObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// An object's key, borrowed unless it is written with escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Key)
    }
}

/// Reads a JSON string, borrowed unless it is written with escapes.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }
    deserializer.deserialize_str(Text)
}

/// The string a raw value holds; `None` when it is something else.
pub fn string_of(value: &RawValue) -> Option<Cow<'_, str>> {
    text_of(value.get())
}

/// The string that a value's JSON text holds; `None` when it is something else, or not Unicode.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    match memchr::memchr(b'\\', inside.as_bytes()) {
        None => Some(Cow::Borrowed(inside)),
        Some(_) => serde_json::from_str(json).ok().map(Cow::Owned),
    }
}

/// Is the JSON text of a value anything but `null`, `""`, `[]` and `{}`?
pub fn says_something(json: Option<&str>) -> bool {
    json.is_some_and(|it| !matches!(it, "null" | "\"\"" | "[]" | "{}"))
}

/// Is this the `error` of something that went wrong? Some providers send an empty one with every
/// answer.
pub(super) fn is_error(json: &str) -> bool {
    says_something(Some(json)) && json != "false"
}

/// Where `part`, a slice of `whole`, stands in it.
pub(super) fn span_of(whole: &[u8], part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let end = start.saturating_add(part.len()).min(whole.len());
    start.min(end)..end
}

/// `text` as a JSON string with its quotes.
pub fn json_string(text: &str) -> String {
    // Most have nothing to be escaped, which is quickly seen.
    if stop(text.as_bytes()).is_none() {
        return ["\"", text, "\""].concat();
    }
    // A string can always be written.
    serde_json::to_string(text).unwrap_or_default()
}

/// Writes a member's key with the colon behind it.
pub(super) fn write_key(out: &mut Vec<u8>, key: &str) {
    if key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') {
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(json_string(key).as_bytes());
    }
    out.push(b':');
}

/// JSON text with some slices replaced and some inserted; the rest is copied as it stands.
#[derive(Debug)]
pub struct Patch<'a> {
    edits: Vec<(Range<usize>, Cow<'a, str>)>,
}

impl Default for Patch<'_> {
    fn default() -> Self {
        // As many as one chunk of a stream takes.
        Self { edits: Vec::with_capacity(6) }
    }
}

impl<'a> Patch<'a> {
    /// Nothing changed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `with` in the place of the bytes at `span`. Spans must not overlap.
    pub fn replace(&mut self, span: Range<usize>, with: impl Into<Cow<'a, str>>) {
        self.edits.push((span, with.into()));
    }

    /// Puts `text` before the byte at `at`.
    pub fn insert(&mut self, at: usize, text: impl Into<Cow<'a, str>>) {
        self.edits.push((at..at, text.into()));
    }

    /// Where the byte at `at` will stand, or what is put in its place.
    pub fn place(&self, at: usize) -> usize {
        let before = self.edits.iter().filter(|(span, _)| span.start < at);
        before.fold(at, |place, (span, text)| (place + text.len()).saturating_sub(span.len()))
    }

    /// The text with all edits made. Without edits it is the source itself, not copied.
    pub fn apply(mut self, source: &Bytes) -> Bytes {
        if self.edits.is_empty() {
            return source.clone();
        }
        self.edits.sort_by_key(|(span, _)| span.start);
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let removed: usize = self.edits.iter().map(|(span, _)| span.len()).sum();
        // No more than that, or the bytes would have to be told how many they may be.
        let mut out = Vec::with_capacity((source.len() + added).saturating_sub(removed));
        let mut at = 0;
        for (span, text) in &self.edits {
            out.extend_from_slice(source.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            at = span.end.max(at);
        }
        out.extend_from_slice(source.get(at..).unwrap_or_default());
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let source = Bytes::from_static(br#"{"a":1,"b":2}"#);
        let mut patch = Patch::new();
        patch.replace(11..12, "3");
        patch.insert(1, r#""z":0,"#);
        assert_eq!(patch.apply(&source), r#"{"z":0,"a":1,"b":3}"#);
        assert_eq!(Patch::new().apply(&source).as_ptr(), source.as_ptr());
    }

    #[test]
    fn spans_are_found_and_null_is_kept() {
        let source = r#"{"a": null, "b\n": "x"}"#;
        let object: RawObject<'_> = serde_json::from_str(source).unwrap();
        assert_eq!(object.0[0].1.get(), "null");
        assert_eq!(object.0[1].0, "b\n");
        assert_eq!(span_of(source.as_bytes(), object.0[1].1.get()), 19..22);
    }
}
