//! Striking keys out of what a provider said before anybody else reads it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::find_iter;
use secrecy::ExposeSecret;
use secrecy::SecretString;

/// Stands where a key stood.
const STRUCK: &str = "[key]";
/// Characters of a key's beginning or end that are too many to be shown; a label has four.
const TELLING: usize = 5;
/// A key shorter than this has no pieces: they would be words.
const SHORT: usize = 12;
/// Shorter ones of the other keys are words (`none`, `dummy`) rather than secrets, and texts have words in
/// them.
const SHORTEST: usize = 8;
/// How often text may have been escaped: a body in a string in a body.
const LAYERS: usize = 3;

/// `text` with the key `asked_with` struck out, shortened or cut in two as providers show it, and with
/// `others` struck out where they stand whole; escaped as in JSON or a URL, too. `None` when there is
/// none of them in it.
pub fn struck<'a>(
    text: &str,
    asked_with: Option<&SecretString>,
    others: impl IntoIterator<Item = &'a SecretString>,
) -> Option<String> {
    let part = asked_with.map(|it| it.expose_secret().as_bytes());
    let others = others.into_iter().map(|it| it.expose_secret().as_bytes());
    let whole: Vec<&[u8]> = others.filter(|it| it.len() >= SHORTEST).chain(part).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut layer = Layer { text: text.as_bytes().into(), places: (0..=text.len()).collect() };
    for _ in 0..=LAYERS {
        for key in whole.iter().filter(|it| !it.is_empty()) {
            found.extend(find_iter(&layer.text, key).map(|at| layer.place(at..at + key.len())));
        }
        if let Some(key) = part.filter(|it| it.len() >= SHORT) {
            found.extend(pieces(&layer.text, key).map(|it| layer.place(it)));
        }
        match layer.unescaped() {
            Some(below) => layer = below,
            None => break,
        }
    }
    (!found.is_empty()).then(|| without(text, found))
}

/// Where the beginning or the end of `key` stands, as far as it goes.
fn pieces(text: &[u8], key: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let same =
        |pairs: &mut dyn Iterator<Item = (&u8, &u8)>| pairs.take_while(|(a, b)| a == b).count();
    let begins = move |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        at..at + same(&mut rest.iter().zip(key))
    };
    let ends = move |at: usize| {
        let end = at + TELLING;
        let before = text.get(..end).unwrap_or_default();
        end - same(&mut before.iter().rev().zip(key.iter().rev()))..end
    };
    let (head, tail) =
        (key.get(..TELLING), key.len().checked_sub(TELLING).and_then(|it| key.get(it..)));
    let heads = find_iter(text, head.unwrap_or(key)).map(begins).collect::<Vec<_>>();
    let tails = find_iter(text, tail.unwrap_or(key)).map(ends).collect::<Vec<_>>();
    heads.into_iter().chain(tails)
}

/// Text from which some escapes are undone.
struct Layer<'a> {
    text: Cow<'a, [u8]>,
    /// For each of its bytes, and its end, the place in the text as it came.
    places: Vec<usize>,
}

impl Layer<'_> {
    fn place(&self, range: Range<usize>) -> Range<usize> {
        let at = |it: usize| self.places.get(it).copied().unwrap_or_default();
        at(range.start)..at(range.end)
    }

    /// The same with one more layer of escapes undone; `None` when it has none.
    fn unescaped(&self) -> Option<Layer<'static>> {
        let (mut text, mut places) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(rest) = self.text.get(at..).filter(|it| !it.is_empty()) {
            let (byte, long) = unescaped(rest);
            text.push(byte);
            places.push(self.place(at..at).start);
            at += long;
        }
        places.push(self.place(at..at).start);
        (text.len() < self.text.len()).then_some(Layer { text: text.into(), places })
    }
}

/// The byte that is written at the beginning of `text`, and how long it is written.
fn unescaped(text: &[u8]) -> (u8, usize) {
    match text {
        [b'\\', b'u', b'0', b'0', high, low, ..] => {
            hex(*high, *low).filter(u8::is_ascii).map_or((b'\\', 1), |it| (it, 6))
        }
        [b'\\', mark, ..] if mark.is_ascii_punctuation() => (*mark, 2),
        [b'%', high, low, ..] => hex(*high, *low).map_or((b'%', 1), |it| (it, 3)),
        [first, ..] => (*first, 1),
        [] => (0, 1),
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// `text` with something else in these places, which may overlap.
fn without(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.sort_by_key(|it| (it.start, it.end));
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for place in places {
        if place.start >= end {
            out.push_str(text.get(end..place.start).unwrap_or_default());
            out.push_str(STRUCK);
        }
        end = end.max(place.end);
    }
    out.push_str(text.get(end..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_struck_out_however_it_is_written() {
        let key = SecretString::from("sk-ab/cd+ef0123456789");
        let check = |text: &str, expected: &str| {
            let got = struck(text, Some(&key), []);
            assert_eq!(got.as_deref().unwrap_or(text), expected, "{text}");
            assert_eq!(got.is_some(), text != expected);
        };
        check("sk-ab/cd+ef0123456789", "[key]");
        check(
            "bad key sk-ab/cd+ef0123456789, and sk-ab/cd+ef0123456789.",
            "bad key [key], and [key].",
        );
        check(r#"{"k":"sk-ab\/cd+ef0123456789"}"#, r#"{"k":"[key]"}"#);
        check(r"sk\u002dab\u002Fcd\u002bef0123456789", "[key]");
        check("?key=sk-ab%2Fcd%2bef0123456789&x=%41", "?key=[key]&x=%41");
        check(
            r#"{"body":"{\"k\":\"sk-ab\\\/cd+ef0123456789\"}"}"#,
            r#"{"body":"{\"k\":\"[key]\"}"}"#,
        );
        check("provided: sk-ab/cd", "provided: [key]");
        check("provided: sk-ab/c**********456789.", "provided: [key]**********[key].");
        check("bad key sk-ab/cd+ef01…", "bad key [key]…");
        check("sk-ab, 56789", "[key], [key]");
        check("sk-a, 6789", "sk-a, 6789");
        check("é%", "é%");
        check("é sk-ab/cd+ef0123456789é", "é [key]é");
        check("no key: \\", "no key: \\");
    }

    #[test]
    fn others_are_struck_out_whole() {
        let (own, others) =
            (SecretString::from("sk-own-0123456789"), ["master of all", "sk-two-4567", "none"]);
        let others = others.map(SecretString::from);
        let check = |text: &str, expected: &str| {
            assert_eq!(struck(text, Some(&own), &others).as_deref().unwrap_or(text), expected);
        };
        check("sk-two-4567, sk-own-0123456789 and master of all", "[key], [key] and [key]");
        check("the master of some", "the master of some");
        check("there is none", "there is none");
        check("", "");
    }

    #[test]
    fn a_short_key_has_no_pieces() {
        let key = SecretString::from("secret-key");
        assert_eq!(struck("a secret that is no key", Some(&key), []), None);
        assert_eq!(struck("a secret-key", Some(&key), []).as_deref(), Some("a [key]"));
        assert_eq!(struck("anything", Some(&SecretString::from("")), []), None);
    }
}
