//! Where a JSON value ends, if it is one: strict JSON, read once. What is accepted is what `serde_json`
//! accepts: a test holds the two against each other.

use crate::openai::stop_or;

/// The bytes of the object or array at the beginning of `text`; `None` where there is none, or where it
/// is not JSON. What follows it is not looked at.
pub(super) fn value_end(text: &str) -> Option<usize> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    if !text.starts_with(['{', '[']) {
        return None;
    }
    // The brackets that close what is open.
    let mut open: Vec<u8> = Vec::with_capacity(16);
    loop {
        match scan.next()? {
            b'{' => {
                scan.space();
                if !scan.takes(b'}') {
                    open.push(b'}');
                    scan.key()?;
                    continue;
                }
            }
            b'[' => {
                scan.space();
                if !scan.takes(b']') {
                    open.push(b']');
                    continue;
                }
            }
            b'"' => scan.string()?,
            b't' => scan.word(b"rue")?,
            b'f' => scan.word(b"alse")?,
            b'n' => scan.word(b"ull")?,
            first @ (b'-' | b'0'..=b'9') => scan.number(first)?,
            _ => return None,
        }
        loop {
            let Some(closing) = open.last().copied() else { return Some(scan.at) };
            scan.space();
            let byte = scan.next()?;
            if byte == closing {
                open.pop();
                continue;
            }
            if byte != b',' {
                return None;
            }
            scan.space();
            if closing == b'}' {
                scan.key()?;
            }
            break;
        }
    }
}

/// Is `text` a number as JSON has it?
pub(super) fn is_number(text: &str) -> bool {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let read = scan.next().and_then(|first| scan.number(first));
    read.is_some() && scan.at == text.len()
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let takes = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(takes);
        takes
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// A key with its colon, and the white space after it.
    fn key(&mut self) -> Option<()> {
        self.takes(b'"').then_some(())?;
        self.string()?;
        self.space();
        self.takes(b':').then_some(())?;
        self.space();
        Some(())
    }

    /// A string, behind its first quotation mark.
    fn string(&mut self) -> Option<()> {
        loop {
            self.at += stop_or::<b'"'>(self.bytes.get(self.at..)?)?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..self.at + rest.len())?;
        self.at += rest.len();
        (found == rest).then_some(())
    }

    /// A number, behind its `first` byte.
    fn number(&mut self, first: u8) -> Option<()> {
        let first = if first == b'-' { self.next()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.takes(b'.') {
            self.some_digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.some_digits()?;
        }
        // "01" is none, nor is "1.": what follows a zero is not read as the beginning of another value.
        Some(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let start = self.at;
        self.digits();
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn by_serde(text: &str) -> Option<usize> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        Some(values.byte_offset())
    }

    fn check(text: &str) {
        assert_eq!(value_end(text), by_serde(text), "{text:?}");
    }

    #[test]
    fn it_agrees_with_serde_on_what_json_is() {
        for text in [
            "{}",
            "[]",
            "[ ]",
            "{ }x",
            "[1,2]",
            "[01]",
            "[-]",
            "[-0.5e+3]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[+1]",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "[\"\\u12g4\"]",
            "[\"\\ud800\"]",
            "[\"\\x\"]",
            "[\"a\nb\"]",
            "[\"\u{7f}\"]",
            "[tru]",
            "[true]",
            "[nul",
            "[\"",
            "[\"a",
            "[\"\\",
            "[\"\\u00",
            "{\"a\" :\t1 , \"b\":[{}]} rest",
            "[1 2]",
            "[[[[]]]",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "[1}",
            "[\"日本語 and a long text with no end of words in it\"]",
            "[1e999]",
            "[99999999999999999999]",
        ] {
            check(text);
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(value_end(&deep), Some(200_000));
    }

    #[test]
    fn a_number_is_nothing_but_one() {
        let check = |text: &str, expected| assert_eq!(is_number(text), expected, "{text}");
        for text in ["0", "-1", "1.5", "2e9", "-0.1E-7"] {
            check(text, true);
        }
        for text in ["", "-", "01", "1.", "e5", "1e999x", "+1", "--1", "nan"] {
            check(text, false);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_reads_it(
            text in r#"[\[{]([a{}\[\]":,0-9 \\.eE+\-]|"a":|true|null|\\u00e9|\\n|é|\n|"[a-z"\\]{0,20}"){0,24}"#,
        ) {
            prop_assert_eq!(value_end(&text), by_serde(&text));
        }
    }
}
