//! JSON text changed member by member: what nobody touches is written again as it came.

use std::fmt;

use serde_json::value::RawValue;

use super::raw::{RawObject, Unreadable, json_string};

/// An object's members in their order, each value as the text it was written with. Where a key
/// stands twice the last one counts.
#[derive(Clone, Debug, Default)]
pub struct JsonObject {
    members: Vec<(String, String)>,
    changed: bool,
}

impl JsonObject {
    /// Reads one object, a level deep.
    ///
    /// # Errors
    /// When `text` is no JSON object.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let RawObject(members) = serde_json::from_str(text)?;
        let owned = |(key, value): (_, &RawValue)| (String::from(key), value.get().to_owned());
        Ok(Self { members: members.into_iter().map(owned).collect(), changed: false })
    }

    /// Has anything been set, removed or renamed?
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| key.as_str())
    }

    /// The text of a member's value, `null` included.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().rfind(|(it, _)| it == key).map(|(_, value)| value.as_str())
    }

    /// The text of a value that is not `null`, `""`, `[]` or `{}`.
    pub fn said(&self, key: &str) -> Option<&str> {
        let value = self.get(key)?;
        let empty = matches!(value, "null" | "\"\"" | "[]" | "{}");
        (!empty).then_some(value)
    }

    /// The string a member holds. Halves of characters in it become U+FFFD.
    pub fn text(&self, key: &str) -> Option<String> {
        whole_string(self.get(key)?)
    }

    /// Gives a member the value written as `value`: in its place, or as the last.
    pub fn set(&mut self, key: &str, value: String) {
        match self.members.iter_mut().rfind(|(it, _)| it == key) {
            Some((_, old)) if *old == value => return,
            Some((_, old)) => *old = value,
            None => self.members.push((key.to_owned(), value)),
        }
        self.changed = true;
    }

    /// Gives a member a string as its value.
    pub fn set_text(&mut self, key: &str, text: &str) {
        let same = |it: &str| is_plain_string(it) && whole_string(it).as_deref() == Some(text);
        if !self.get(key).is_some_and(same) {
            self.set(key, json_string(text));
        }
    }

    /// Takes a member out and gives the text of its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let value = self.get(key)?.to_owned();
        self.members.retain(|(it, _)| it != key);
        self.changed = true;
        Some(value)
    }

    /// Gives a member another name, in its place.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some((key, _)) = self.members.iter_mut().rfind(|(it, _)| it == from) {
            to.clone_into(key);
            self.changed = true;
        }
    }
}

impl fmt::Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.members.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", json_string(key))?;
        }
        f.write_str("}")
    }
}

/// The elements of a JSON list, each as its text; `None` when it is none.
pub fn json_list(text: &str) -> Option<Vec<&str>> {
    let list: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(list.into_iter().map(RawValue::get).collect())
}

/// A JSON list of elements given as their text.
pub fn json_list_of(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

/// Is this the text of a string that every reader takes, no half of a character in it?
pub fn is_plain_string(json: &str) -> bool {
    let escaped = json.contains("\\u");
    json.starts_with('"')
        && (!escaped || serde_json::from_str::<std::borrow::Cow<'_, str>>(json).is_ok())
}

/// The string written as `json`, alone: halves of characters in it become U+FFFD. `None` when it
/// is no string.
pub fn whole_string(json: &str) -> Option<String> {
    let mut half = None;
    let mut text = string_in(json, &mut half)?;
    if half.is_some() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Some(text)
}

/// The string written as `json`, one piece of a longer one. Characters beyond the basic plane are
/// written as two escapes, and a piece may end between them: `half` holds the first from piece to
/// piece. A half without its other becomes U+FFFD. `None` when it is no string.
pub fn string_in(json: &str, half: &mut Option<u16>) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(next) = rest.next() {
        let said = match (next, (next == '\\').then(|| rest.next()).flatten()) {
            ('\\', Some('u')) => {
                let digits: String = rest.by_ref().take(4).collect();
                match joined(u16::from_str_radix(&digits, 16).ok()?, half, &mut out) {
                    Some(said) => said,
                    None => continue,
                }
            }
            ('\\', escape) => escaped(escape?),
            (plain, _) => plain,
        };
        if half.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        out.push(said);
    }
    Some(out)
}

/// The character that `unit` ends or is; `None` when it is only the beginning of one.
fn joined(unit: u16, half: &mut Option<u16>, out: &mut String) -> Option<char> {
    match unit {
        0xD800..=0xDBFF => {
            if half.replace(unit).is_some() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            None
        }
        0xDC00..=0xDFFF => {
            let both = half.take().map(|it| char::decode_utf16([it, unit]).next());
            Some(both.flatten().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        _ => Some(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
    }
}

fn escaped(letter: char) -> char {
    match letter {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_touches_is_written_as_it_came() {
        let source = r#"{"b":2.50,"a":{"x": [1, 2]},"n":null,"\n":12345678901234567890123}"#;
        let mut object = JsonObject::parse(source).unwrap();
        assert_eq!((object.to_string().as_str(), object.is_changed()), (source, false));
        object.set("b", "2.50".to_owned());
        object.set_text("none", "");
        assert!(object.is_changed());
        object.rename("n", "m");
        assert_eq!(object.remove("a").as_deref(), Some(r#"{"x": [1, 2]}"#));
        assert_eq!(object.remove("a"), None);
        assert_eq!(
            object.to_string(),
            r#"{"b":2.50,"m":null,"\n":12345678901234567890123,"none":""}"#
        );
        assert_eq!((object.said("m"), object.get("m")), (None, Some("null")));
        assert!(JsonObject::parse("[]").is_err());
    }

    fn check(pieces: &[&str], expected: &[&str], left: bool) {
        let mut half = None;
        let read: Vec<_> = pieces.iter().map(|it| string_in(it, &mut half).unwrap()).collect();
        assert_eq!(
            (read, half.is_some()),
            (expected.iter().map(ToString::to_string).collect(), left)
        );
    }

    #[test]
    fn halves_of_characters_meet() {
        check(&[r#""a\ud83d""#, r#""\ude00b""#], &["a", "😀b"], false);
        check(&[r#""\ud83d""#, r#""""#, r#""\ude00""#], &["", "", "😀"], false);
        check(&[r#""\ud83dx""#, r#""\ude00""#], &["\u{fffd}x", "\u{fffd}"], false);
        check(&[r#""\ud83d""#, r#""\ud83d\ude00""#], &["", "\u{fffd}😀"], false);
        check(&[r#""\ud83d""#], &[""], true);
        check(&[r#""\"\\\/\b\f\n\r\t\u00e9""#], &["\"\\/\u{8}\u{c}\n\r\té"], false);
        assert_eq!(whole_string(r#""\ud83d""#).as_deref(), Some("\u{fffd}"));
        assert_eq!((whole_string("7"), whole_string("null")), (None, None));
        assert!(is_plain_string(r#""\ud83d\ude00""#) && !is_plain_string(r#""\ud83d""#));
    }

    proptest! {
        #[test]
        fn a_readable_string_is_read_as_serde_reads_it(text in any::<String>(), ascii in any::<bool>()) {
            let json = if ascii {
                let units = text.encode_utf16().map(|it| format!("\\u{it:04x}"));
                format!("\"{}\"", units.collect::<String>())
            } else {
                json_string(&text)
            };
            prop_assert_eq!(whole_string(&json), Some(text));
        }
    }
}
