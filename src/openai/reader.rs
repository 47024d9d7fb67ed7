//! Reading JSON text once, from front to back, without building anything: whoever reads says of each
//! value whether it is looked into or passed over, and gets slices of the text.
//!
//! Why not serde's: its raw values are read again at every level they are looked into, and its
//! strings are searched eight bytes at a time. On the short requests and answers of a chat that is
//! most of what reading costs (`scripts/instructions.sh` counts it). What is accepted and what is
//! refused is the same: a test holds the two against each other.

use std::borrow::Cow;

use super::raw::Unreadable;
use super::stops::stop;

/// How deep JSON may be nested. Providers refuse far less; the bound keeps every reader of a body,
/// theirs and ours, from being led into the depths.
pub(super) const MAX_DEPTH: usize = 128;

/// A place in JSON text.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// It is not JSON. Why is found out by those who have to say so.
#[derive(Debug)]
pub(super) struct Broken;

impl<'a> Reader<'a> {
    /// Before the first value of `text`.
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The first byte of the value that comes next.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.pass_space();
        self.byte()
    }

    /// Reads an object. `each` gets every key and has to pass or read its value.
    pub(super) fn object<F>(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), F>,
    ) -> Result<(), F>
    where
        F: From<Broken>,
    {
        self.enter(b'{')?;
        if self.leaves(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            each(self, key)?;
            if self.goes_on(b'}')? {
                continue;
            }
            return Ok(());
        }
    }

    /// Reads a list. `each` has to pass or read every element.
    pub(super) fn list<F>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), F>,
    ) -> Result<(), F>
    where
        F: From<Broken>,
    {
        self.enter(b'[')?;
        if self.leaves(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.goes_on(b']')? {
                continue;
            }
            return Ok(());
        }
    }

    /// Passes over a value and gives its text.
    pub(super) fn raw(&mut self) -> Result<&'a str, Broken> {
        self.pass_space();
        let start = self.at;
        self.pass()?;
        self.text.get(start..self.at).ok_or(Broken)
    }

    /// Is the next value `null`?
    pub(super) fn is_null(&mut self) -> bool {
        self.peek() == Some(b'n')
    }

    /// Reads a whole number of at least 0, or `null`.
    pub(super) fn count(&mut self) -> Result<Option<u64>, Broken> {
        match self.raw()? {
            "null" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| Broken),
        }
    }

    /// Reads with `look` and gives the text of what was read.
    pub(super) fn raw_of<T, F: From<Broken>>(
        &mut self,
        look: impl FnOnce(&mut Self) -> Result<T, F>,
    ) -> Result<(&'a str, T), F> {
        self.pass_space();
        let start = self.at;
        let found = look(self)?;
        Ok((self.text.get(start..self.at).ok_or(Broken)?, found))
    }

    /// Reads a string, borrowed unless it is written with escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        self.pass_space();
        let start = self.at;
        let escaped = self.pass_string()?;
        if escaped {
            let raw = self.text.get(start..self.at).ok_or(Broken)?;
            return serde_json::from_str(raw).map(Cow::Owned).map_err(|_| Broken);
        }
        self.text.get(start + 1..self.at - 1).map(Cow::Borrowed).ok_or(Broken)
    }

    /// Nothing but white space may follow.
    pub(super) fn end(mut self) -> Result<(), Broken> {
        self.pass_space();
        if self.at == self.text.len() { Ok(()) } else { Err(Broken) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn pass_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Broken> {
        self.pass_space();
        if self.byte() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(Broken)
    }

    fn enter(&mut self, opening: u8) -> Result<(), Broken> {
        self.expect(opening)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Broken) } else { Ok(()) }
    }

    fn leaves(&mut self, closing: u8) -> bool {
        self.pass_space();
        let leaves = self.byte() == Some(closing);
        if leaves {
            self.at += 1;
            self.depth -= 1;
        }
        leaves
    }

    /// After a member or an element: does another follow?
    fn goes_on(&mut self, closing: u8) -> Result<bool, Broken> {
        if self.leaves(closing) {
            return Ok(false);
        }
        self.expect(b',')?;
        Ok(true)
    }

    fn pass(&mut self) -> Result<(), Broken> {
        match self.peek() {
            Some(b'"') => self.pass_string().map(drop),
            Some(b'{') => self.pass_object(),
            Some(b'[') => self.list(Self::pass),
            Some(b't') => self.pass_word("true"),
            Some(b'f') => self.pass_word("false"),
            Some(b'n') => self.pass_word("null"),
            Some(b'-' | b'0'..=b'9') => self.pass_number(),
            _ => Err(Broken),
        }
    }

    /// As [`Reader::object`], but the keys are nobody's concern.
    fn pass_object(&mut self) -> Result<(), Broken> {
        self.enter(b'{')?;
        if self.leaves(b'}') {
            return Ok(());
        }
        loop {
            self.pass_space();
            let _escaped = self.pass_string()?;
            self.expect(b':')?;
            self.pass()?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    fn pass_word(&mut self, word: &str) -> Result<(), Broken> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(Broken)
    }

    fn pass_number(&mut self) -> Result<(), Broken> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.pass_digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.pass_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    /// At least one.
    fn pass_digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Broken) }
    }

    /// Passes over a string and says whether escapes are in it.
    fn pass_string(&mut self) -> Result<bool, Broken> {
        if self.byte() != Some(b'"') {
            return Err(Broken);
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).ok_or(Broken)?;
            self.at += stop(rest).ok_or(Broken)?;
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.pass_escape()?,
                _ => return Err(Broken),
            }
            escaped = true;
        }
        self.at += 1;
        Ok(escaped)
    }

    fn pass_escape(&mut self) -> Result<(), Broken> {
        let rest = self.text.as_bytes().get(self.at + 1..).ok_or(Broken)?;
        self.at += match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(Broken),
        };
        Ok(())
    }
}

/// Reads `text` as one value with `read`. Why it can't be is serde's to say: it tells the place.
///
/// # Errors
/// What `read` found wrong, or that `text` is no JSON.
pub(super) fn read<'a, T>(
    text: &'a str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Broken>,
) -> Result<T, Unreadable> {
    let mut reader = Reader::of(text);
    let found = read(&mut reader).and_then(|it| reader.end().map(|()| it));
    found.map_err(|Broken| why_broken(text))
}

/// What is wrong with text that could not be read.
pub(super) fn why_broken(text: &str) -> Unreadable {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(fault) => fault.into(),
        Ok(_) => Unreadable("not of the expected form".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use crate::openai::RawObject;

    use super::*;

    /// Is it JSON to this reader, and what are the keys and values at its top if it is an object?
    fn seen(text: &str) -> Result<Vec<(String, String)>, Unreadable> {
        read(text, |it| {
            let mut members = Vec::new();
            if it.peek() == Some(b'{') {
                it.object(|it, key| {
                    members.push((key.into_owned(), it.raw()?.to_owned()));
                    Ok::<_, Broken>(())
                })?;
            } else {
                let _value = it.raw()?;
            }
            Ok(members)
        })
    }

    fn check(text: &str) {
        let serdes = serde_json::from_str::<IgnoredAny>(text);
        let ours = seen(text);
        assert_eq!(ours.is_ok(), serdes.is_ok(), "{text:?} {ours:?}");
        if let (Ok(ours), Ok(RawObject(theirs))) = (ours, serde_json::from_str(text)) {
            let theirs =
                theirs.into_iter().map(|(key, it)| (key.into_owned(), it.get().to_owned()));
            assert_eq!(ours, theirs.collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn what_serde_takes_is_taken_and_nothing_else() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            " { } ",
            "[ ]",
            "{",
            "[",
            "}",
            "]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            "{a:1}",
            r#"{"a":1 "b":2}"#,
            r#"{"a" : 1 , "b":[ {} ,[]]}"#,
            "null",
            "nul",
            "nulll",
            "true",
            "tru",
            "false",
            "falsee",
            "0",
            "-0",
            "01",
            "-",
            "+1",
            "1.",
            ".1",
            "1.0",
            "1e5",
            "1e",
            "1E+5",
            "1e-",
            "1.5e-3",
            "-1.",
            "1a",
            "\"\"",
            "\"",
            "\"a",
            "\"\\",
            "\"\\\"",
            r#""\n\t\u00e9\/""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            "\"a\nb\"",
            "\"a\u{7f}\"",
            "\"\u{1f}\"",
            "{\"a\nb\":1}",
            "[\n1\n]",
            "1 1",
            "{} {}",
            "\u{feff}{}",
            r#"{"\u0061":1,"a":2}"#,
            r#""\ud800""#,
            "\"é😀\"",
            "[\"\\\\\"]",
            "[\"\\\\\\\"\"]",
        ] {
            check(text);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(seen(&nested(MAX_DEPTH)).is_ok());
        assert!(seen(&nested(MAX_DEPTH + 1)).is_err());
        assert!(seen(&"[{\"a\":".repeat(1_000_000)).is_err());
        let wide = format!("[{}[]]", "[],".repeat(1_000));
        assert!(seen(&wide).is_ok());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,40}".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".{0,8}", inner, 0..6)
                    .prop_map(|it| it.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_read_as_serde_reads_it(value in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            check(&text);
        }

        #[test]
        fn broken_json_is_broken_to_both(value in json(), at in any::<prop::sample::Index>(), with in ".?") {
            let text: Vec<char> = value.to_string().chars().collect();
            let at = at.index(text.len());
            let broken = text.iter().take(at).copied().chain(with.chars()).chain(text.iter().skip(at + 1).copied());
            check(&broken.collect::<String>());
        }

        #[test]
        fn anything_is_read_as_serde_reads_it(text in r#"[\[\]{}",:\\ntu0-9e.\- a]{0,24}"#) {
            check(&text);
        }
    }
}
