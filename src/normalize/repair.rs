//! Mending what is nearly JSON: trailing commas, single quotes, comments and unquoted keys, the
//! mistakes that models make. Text is read token by token, copied, and changed where that is wrong;
//! what can't be JSON even so is told apart. A second reading to prove it took a third of the time; the tests
//! still do it.

use crate::normalize::scan::is_number;
use crate::normalize::scan::value_end;
use crate::openai::stop_or;

/// Deeper nesting is left alone: the parser would refuse it too.
const MAX_DEPTH: usize = 120;

/// What a text begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// A value that could be mended, as JSON, and the bytes it took.
    Value(String, usize),
    /// What was meant to be a value and can't be mended.
    Broken,
    /// Something else: a bracket in prose, say.
    Prose,
}

/// Mends the object or array that `text` begins with. What follows it is not looked at.
pub(super) fn mend(text: &str) -> Mended {
    let mut mender = Mender {
        text,
        at: 0,
        copied: 0,
        quotes: Vec::new(),
        out: Vec::new(),
        begun: false,
        faulty: false,
    };
    let whole = mender.value().and_then(|()| mender.written());
    debug_assert!(whole.as_ref().is_none_or(|json| value_end(json) == Some(json.len())));
    match whole {
        Some(json) => Mended::Value(json, mender.at),
        None if mender.begun => Mended::Broken,
        None => Mended::Prose,
    }
}

/// What `out` has room for at first, in bytes, where the text is as long.
const ROOM: usize = 64 * 1024;

/// Quotation marks that are noted before they are written: what is noted has to stay small.
const NOTED: usize = 256;

struct Mender<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
    /// Bytes that are in `out` or were left out; those from there to `at` are still to be copied.
    copied: usize,
    /// Where single quotation marks stand among these that become double ones: to copy what lies between
    /// two of them by itself takes far longer.
    quotes: Vec<usize>,
    out: Vec<u8>,
    /// Has more been read of it than a bracket and what may be a word behind it?
    begun: bool,
    /// Is there something in a string that can't be mended?
    faulty: bool,
}

/// An array or an object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// An entry, or the end.
    First,
    /// An entry, or the end after a comma too many.
    Entry,
    /// A comma or the end.
    Comma,
}

impl Mender<'_> {
    /// Reads one value to its end. `None` where it is none.
    fn value(&mut self) -> Option<()> {
        let mut open: Vec<Open> = vec![self.opened()?];
        let mut next = Next::First;
        // Where the last comma stands.
        let mut comma = 0;
        while let Some(inside) = open.last().copied() {
            self.space()?;
            if self.closed(inside) {
                if next == Next::Entry {
                    self.take_out(comma);
                }
                self.begun = true;
                open.pop();
                next = Next::Comma;
                continue;
            }
            if next == Next::Comma {
                comma = self.at;
                self.taken(b',').then_some(())?;
                next = Next::Entry;
                continue;
            }
            if inside == Open::Object {
                self.key()?;
            }
            match self.opened() {
                Some(_) if open.len() >= MAX_DEPTH => return None,
                Some(inner) => {
                    self.begun = true;
                    open.push(inner);
                    next = Next::First;
                }
                None => {
                    self.scalar()?;
                    self.begun = true;
                    next = Next::Comma;
                }
            }
        }
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Copies what was read and stays.
    fn copy(&mut self) {
        if self.out.capacity() == 0 {
            self.out.reserve(self.text.len().min(ROOM));
        }
        let begin = self.out.len();
        let read = self.text.as_bytes().get(self.copied..self.at);
        self.out.extend_from_slice(read.unwrap_or_default());
        for quote in self.quotes.drain(..) {
            if let Some(byte) = self.out.get_mut(begin + (quote - self.copied)) {
                *byte = b'"';
            }
        }
        self.copied = self.at;
    }

    /// All that was read, mended, if it can be.
    fn written(&mut self) -> Option<String> {
        if self.faulty {
            return None;
        }
        self.copy();
        String::from_utf8(std::mem::take(&mut self.out)).ok()
    }

    /// Passes by what ends at `end`, and puts `new` in its place.
    fn replace(&mut self, end: usize, new: &str) {
        self.copy();
        self.out.extend_from_slice(new.as_bytes());
        (self.at, self.copied) = (end, end);
    }

    /// Takes a single quotation mark over as a double one.
    fn requote(&mut self) {
        if self.quotes.len() >= NOTED {
            self.copy();
        }
        self.quotes.push(self.at);
        self.at += 1;
    }

    /// Takes out the comma that was read at `comma`, behind which were only white space, comments and a
    /// bracket.
    fn take_out(&mut self, comma: usize) {
        if comma < self.copied {
            // There was a comment.
            if let Some(last) = self.out.iter().rposition(|it| *it == b',') {
                self.out.remove(last);
            }
            return;
        }
        let end = std::mem::replace(&mut self.at, comma);
        self.copy();
        (self.at, self.copied) = (end, comma + 1);
    }

    /// Takes `byte` over, if it comes next.
    fn taken(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn opened(&mut self) -> Option<Open> {
        if self.taken(b'{') { Some(Open::Object) } else { self.taken(b'[').then_some(Open::Array) }
    }

    fn closed(&mut self, inside: Open) -> bool {
        self.taken(if inside == Open::Object { b'}' } else { b']' })
    }

    /// Takes white space over and passes comments by. `None` for a comment without end.
    fn space(&mut self) -> Option<()> {
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let is_space = |it: &&u8| matches!(it, b' ' | b'\t' | b'\r' | b'\n');
            self.at += rest.iter().take_while(is_space).count();
            match self.peek() {
                Some(b'#') => self.replace(self.line_end(), ""),
                Some(b'/') => {
                    let rest = self.text.get(self.at..)?;
                    if rest.starts_with("//") {
                        self.replace(self.line_end(), "");
                    } else if rest.starts_with("/*") {
                        // From here on it can be nothing else than a value.
                        self.begun = true;
                        self.replace(self.at + rest.get(2..)?.find("*/")? + 4, "");
                    } else {
                        return None;
                    }
                }
                _ => return Some(()),
            }
        }
    }

    fn line_end(&self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        memchr::memchr2(b'\n', b'\r', rest).map_or(self.text.len(), |it| self.at + it)
    }

    /// A key with its colon.
    fn key(&mut self) -> Option<()> {
        match self.peek()? {
            quote @ (b'"' | b'\'') => self.string(quote)?,
            _ => self.bare_key()?,
        }
        self.space()?;
        self.taken(b':').then_some(())?;
        self.begun = true;
        self.space()
    }

    fn bare_key(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let within = |it: char| it.is_alphanumeric() || matches!(it, '_' | '$' | '-');
        let key = rest.get(..rest.find(|it: char| !within(it))?)?;
        let starts = key.starts_with(|it: char| it.is_alphabetic() || matches!(it, '_' | '$'));
        starts.then_some(())?;
        self.replace(self.at, "\"");
        self.at += key.len();
        self.replace(self.at, "\"");
        Some(())
    }

    /// A string, in double quotes whichever it has.
    fn string(&mut self, quote: u8) -> Option<()> {
        if quote == b'"' {
            self.at += 1;
        } else {
            self.requote();
        }
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let single = quote == b'\'';
            let stop = if single { stop_or::<b'\''>(rest) } else { stop_or::<b'"'>(rest) };
            let Some(stop) = stop else {
                // A quotation mark without another is prose only where nothing came before it.
                self.begun |= !single;
                return None;
            };
            self.at += stop;
            match self.peek()? {
                b'\\' => {
                    let escaped = self.text.get(self.at + 1..)?.chars().next()?;
                    if escaped == '\'' {
                        self.replace(self.at + 1, "");
                    } else {
                        self.faulty |= !self.is_escape(escaped);
                        self.at += 1;
                    }
                    self.at += escaped.len_utf8();
                }
                b'"' if quote == b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\'' => {
                    self.requote();
                    return Some(());
                }
                b'"' => self.replace(self.at + 1, "\\\""),
                // A control character.
                _ => {
                    self.faulty = true;
                    self.at += 1;
                }
            }
        }
    }

    /// Is the backslash that comes next, with this behind it, an escape that JSON has?
    fn is_escape(&self, escaped: char) -> bool {
        let digits = self.text.as_bytes().get(self.at + 2..self.at + 6);
        match escaped {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => true,
            'u' => digits.is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit)),
            _ => false,
        }
    }

    /// A string, a number, or a literal.
    fn scalar(&mut self) -> Option<()> {
        if let Some(quote @ (b'"' | b'\'')) = self.peek() {
            return self.string(quote);
        }
        let rest = self.text.get(self.at..)?;
        let within = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.');
        let word = rest.get(..rest.bytes().position(|it| !within(it))?)?;
        let literal = matches!(word, "true" | "false" | "null");
        (literal || is_number(word)).then_some(())?;
        self.at += word.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn check(text: &str, expected: &str) {
        let Mended::Value(json, _) = mend(text) else { panic!("{text} is {:?}", mend(text)) };
        assert_eq!(json, expected, "{text}");
    }

    #[test]
    fn the_mistakes_that_models_make_are_mended() {
        check("{\"a\": [1, 2, ], }", "{\"a\": [1, 2 ] }");
        check("{'a': 'it\\'s \"so\"'}", "{\"a\": \"it's \\\"so\\\"\"}");
        check("{a: 1, $b_2: {c-d: null}}", "{\"a\": 1, \"$b_2\": {\"c-d\": null}}");
        check("{ // first\n \"a\": 1, /* , */ # so\n}", "{ \n \"a\": 1  \n}");
        check("{größe: 1}", "{\"größe\": 1}");
        check("[{'a':-1.5e3,},]", "[{\"a\":-1.5e3}]");
        check("['a', 'b' ,\n]", "[\"a\", \"b\" \n]");
        check("{\"url\": \"http://x/*y*/#z\",}", "{\"url\": \"http://x/*y*/#z\"}");
        check("{'a': '\\u00e9\\n\\\\'}", "{\"a\": \"\\u00e9\\n\\\\\"}");
        check("{'a': {}, 'b': []} and then prose, it's fine", "{\"a\": {}, \"b\": []}");
        check("[]", "[]");
    }

    #[test]
    fn what_can_not_be_mended_is_told_from_prose() {
        let check = |text: &str, expected: Mended| assert_eq!(mend(text), expected, "{text}");
        for prose in ["", "x", "[see below]", "{name}", "{", "[", "{'tis", "[/x]"] {
            check(prose, Mended::Prose);
        }
        for broken in [
            "{\"a\": [1, 2",
            "{'a': oops}",
            "[1 2]",
            "[1,,2]",
            "{\"a\": 1, b c}",
            "{\"a\": \"two\nlines\"}",
            "{a: 1e999x}",
            "{/* no end",
            "{\"no end",
            "[[see]]",
            "{'a': 'it's'}",
            "{\"a\": undefined}",
            "[1}",
        ] {
            check(broken, Mended::Broken);
        }
        check(&"[".repeat(1_000_000), Mended::Broken);
        check(&"[1,".repeat(1_000_000), Mended::Broken);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z '\"\\\\/,:{}\\[\\]#é\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_]{1,4}", inner, 0..4)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    /// `value` as a careless model writes it.
    fn careless(value: &Value, dice: &mut impl FnMut() -> bool) -> String {
        let comment = |on: bool| if on { "/* ], } */" } else { "" };
        let list = |items: Vec<String>, extra: bool| {
            let comma = if extra && !items.is_empty() { "," } else { "" };
            format!("{}{comma}", items.join(","))
        };
        match value {
            Value::String(it) if dice() => {
                let inner = serde_json::to_string(it).unwrap();
                let inner = inner[1..inner.len() - 1].replace("\\\"", "\"").replace('\'', "\\'");
                format!("'{inner}'")
            }
            Value::Array(all) => {
                let items = all.iter().map(|it| careless(it, dice)).collect();
                format!("[{}{}]", list(items, dice()), comment(dice()))
            }
            Value::Object(all) => {
                let entry = |(key, it): (&String, &Value)| {
                    let key = if dice() { key.clone() } else { format!("'{key}'") };
                    format!("{key}{}: {}", comment(dice()), careless(it, dice))
                };
                let items = all.iter().map(entry).collect();
                format!("{{{}// so\n}}", list(items, dice()))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn what_was_meant_comes_out(meant in value(), seed in any::<u64>()) {
            prop_assume!(meant.is_array() || meant.is_object());
            let mut state = seed | 1;
            let mut dice = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 60 & 1 == 1
            };
            let text = careless(&meant, &mut dice);
            let Mended::Value(json, end) = mend(&text) else {
                return Err(TestCaseError::fail(format!("{text}: {:?}", mend(&text))));
            };
            prop_assert_eq!(end, text.len());
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), meant);
        }

        #[test]
        fn json_stays_byte_for_byte(value in value()) {
            prop_assume!(value.is_array() || value.is_object());
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(mend(&text), Mended::Value(text.clone(), text.len()));
            }
        }

        #[test]
        fn what_comes_out_is_json(text in r#"[\[{]([a'"{}\[\]:,1 \\#]|/\*|\*/|//|\n|true|'a':|b:){0,24}"#) {
            if let Mended::Value(json, end) = mend(&text) {
                let value: Value = serde_json::from_str(&json).unwrap();
                prop_assert!(value.is_object() || value.is_array());
                prop_assert!(text.is_char_boundary(end));
            }
        }
    }
}
