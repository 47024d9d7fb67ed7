//! JSON mode: the value alone, without the fence and the prose around it.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memchr2;
use memchr::memrchr;

use crate::normalize::repair::Mended;
use crate::normalize::repair::mend;
use crate::normalize::scan::value_end;
use crate::normalize::trimmer::JsonTrimmer;

/// How far is looked to tell a value from a bracket in prose. Undecided there means a value.
pub(super) const LOOKAHEAD_BYTES: usize = 64;

/// Brackets in prose that are looked into for what could be mended.
const LOOKED_INTO: usize = 64;

/// What JSON is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// An object. Lists in prose are none of it.
    Object,
    /// An object or an array.
    Any,
}

/// The JSON object or array in an answer, without white space, code fence and prose around it.
///
/// A value at the very start is taken first, then one that fills a fenced block, then the first
/// in prose. In `According to [1]` a source is named: a list of numbers is passed over where
/// it stands in a line of text and something else follows, and where an object is asked for every list without one in it is, unless it
/// is all there is. Brackets that cannot begin JSON (`[see below]`, `{name}`) are passed over. `None`
/// where there is no value or where the first is broken: nothing inside a broken value is ever
/// taken for the answer, and nothing is mended.
///
/// A stream takes the first thing that begins like a value, since it cannot look ahead: it differs
/// from this function for broken values and for a bracketed list in the prose before a fence.
pub fn json_only(text: &str, root: Root) -> Option<&str> {
    match find(text, root) {
        Found::Value(value) => Some(value),
        Found::Mended(_) | Found::Broken | Found::Nothing => None,
    }
}

/// A whole answer's value; all of its text where there is none. In one that is `complete` the
/// mistakes that models make are mended ([`mend`]). One that is not may have been cut within the
/// value: then what there is of it.
pub(super) fn whole(text: &str, root: Root, complete: bool) -> Cow<'_, str> {
    match find(text, root) {
        Found::Value(value) => Cow::Borrowed(value),
        Found::Mended(value) if complete => Cow::Owned(value),
        _ if complete => Cow::Borrowed(text),
        _ => {
            let mut trimmer = JsonTrimmer::new(root);
            let out = trimmer.push(text);
            let rest = trimmer.finish();
            if rest.is_empty() { out } else { Cow::Owned(out.into_owned() + &rest) }
        }
    }
}

/// What there is in an answer.
enum Found<'a> {
    Value(&'a str),
    /// What is a value once its mistakes are mended.
    Mended(String),
    /// What was meant to be one.
    Broken,
    Nothing,
}

fn find(text: &str, root: Root) -> Found<'_> {
    let start = text.trim_start();
    if let Some(all) = only_value(start) {
        return Found::Value(all);
    }
    if start.starts_with(['{', '[']) && !may_be_source("", start, root) {
        let found = value_at(start);
        if !matches!(found, Found::Nothing) {
            return found;
        }
    }
    fenced_value(text).unwrap_or_else(|| value_in_prose(text, root))
}

/// May the bracket at the beginning of `text` be that of a source or a remark, where a value of
/// this kind is looked for? `before` stands before it.
fn may_be_source(before: &str, text: &str, root: Root) -> bool {
    let inner = |it: &u8| *it != b'[' && !it.is_ascii_whitespace();
    text.starts_with('[')
        && match root {
            Root::Object => text.bytes().take(LOOKAHEAD_BYTES).find(inner) != Some(b'{'),
            Root::Any => is_prose(before) && numbers(text).is_some(),
        }
}

/// Does what follows `before` stand behind text on its line?
pub(super) fn is_prose(before: &str) -> bool {
    let mut line = before.bytes().rev().take(LOOKAHEAD_BYTES).take_while(|it| *it != b'\n');
    line.any(|it| !it.is_ascii_whitespace())
}

/// The list of nothing but numbers at the beginning of `text`, if it is short.
pub(super) fn numbers(text: &str) -> Option<&str> {
    let end = text.bytes().take(LOOKAHEAD_BYTES).position(|it| it == b']')?;
    let (list, inner) = (text.get(..=end)?, text.get(1..end)?);
    let plain = |it: u8| it.is_ascii_digit() || it.is_ascii_whitespace() || b",-.".contains(&it);
    let has_number = inner.bytes().any(|it| it.is_ascii_digit());
    (has_number && inner.bytes().all(plain)).then_some(list)
}

/// What the brace or bracket at the beginning of `text` opens.
fn value_at(text: &str) -> Found<'_> {
    let begins_one = begins(text.as_bytes(), Root::Any) == Begins::Value;
    if let Some(value) = begins_one.then(|| value_at_start(text)).flatten() {
        return Found::Value(value);
    }
    match mend(text) {
        Mended::Value(value, _) => Found::Mended(value),
        Mended::Prose if !begins_one => Found::Nothing,
        Mended::Prose | Mended::Broken => Found::Broken,
    }
}

/// The value that `text` begins with, if it is whole.
fn value_at_start(text: &str) -> Option<&str> {
    text.get(..value_end(text)?)
}

/// The first fenced block that is one value and nothing else; if there is none, the first that is
/// one once it is mended.
fn fenced_value(text: &str) -> Option<Found<'_>> {
    let mut open: Option<(&str, usize)> = None;
    let mut nearly = None;
    let mut at = 0;
    while let Some((begin, line)) = line_with_fence(text, at) {
        at = begin + line.len();
        let (fence, info) = split_fence(line.trim());
        match open {
            None if fence.len() >= 3 => open = Some((fence, at)),
            Some((opener, content)) if info.is_empty() && fence.starts_with(opener) => {
                let block = text.get(content..begin).unwrap_or_default();
                if let Some(value) = only_value(block) {
                    return Some(Found::Value(value));
                }
                nearly = nearly.or_else(|| only_mended(block));
                open = None;
            }
            _ => {}
        }
    }
    let last = open.and_then(|(_, content)| text.get(content..)).unwrap_or_default();
    let mended = || nearly.or_else(|| only_mended(last)).map(Found::Mended);
    only_value(last).map(Found::Value).or_else(mended)
}

/// The next line from byte `from` on that has what fences are made of, and where it begins. `from` is
/// the beginning of a line.
fn line_with_fence(text: &str, from: usize) -> Option<(usize, &str)> {
    let rest = text.get(from..)?;
    let found = memchr2(b'`', b'~', rest.as_bytes())?;
    let begin = memrchr(b'\n', rest.as_bytes().get(..found)?).map_or(0, |it| it + 1);
    let end = memchr(b'\n', rest.as_bytes().get(found..)?).map_or(rest.len(), |it| found + it + 1);
    Some((from + begin, rest.get(begin..end)?))
}

/// Splits a line into its run of fence characters and the rest.
fn split_fence(line: &str) -> (&str, &str) {
    let fence = line.chars().next().filter(|c| matches!(c, '`' | '~')).unwrap_or('`');
    let info = line.trim_start_matches(fence);
    line.split_at_checked(line.len() - info.len()).unwrap_or(("", line))
}

fn only_value(block: &str) -> Option<&str> {
    let block = block.trim();
    let value = block.starts_with(['{', '[']).then(|| value_at_start(block)).flatten()?;
    (value.len() == block.len()).then_some(value)
}

fn only_mended(block: &str) -> Option<String> {
    let block = block.trim();
    match block.starts_with(['{', '[']).then(|| mend(block))? {
        Mended::Value(value, end) if end == block.len() => Some(value),
        _ => None,
    }
}

fn value_in_prose(text: &str, root: Root) -> Found<'_> {
    let mut rest = text;
    let mut looked_into = 0;
    let mut source = None;
    while let Some(at) = memchr2(b'{', b'[', rest.as_bytes()) {
        rest = rest.get(at..).unwrap_or_default();
        let mut passed = 1;
        let begins_one = begins(rest.as_bytes(), Root::Any) == Begins::Value;
        let before = text.get(..text.len() - rest.len()).unwrap_or_default();
        if may_be_source(before, rest, root) {
            let list = if looked_into < LOOKED_INTO { value_at_start(rest) } else { None };
            looked_into += 1;
            match list {
                // Something else than numbers may be meant.
                Some(list) if list.contains('{') => return Found::Value(list),
                Some(list) => {
                    passed = list.len();
                    source = source.or(Some(list).filter(|_| root == Root::Any));
                }
                None => {}
            }
        } else if begins_one || looked_into < LOOKED_INTO {
            looked_into += 1;
            let found = value_at(rest);
            if !matches!(found, Found::Nothing) {
                return found;
            }
        }
        rest = rest.get(passed..).unwrap_or_default();
    }
    source.map_or(Found::Nothing, Found::Value)
}

/// What an opening brace or bracket turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Value,
    Prose,
    /// The text ends too early to tell.
    Unknown,
}

/// Whether `text` begins like JSON that is asked for.
pub(super) fn begins(text: &[u8], root: Root) -> Begins {
    let mut rest = text;
    loop {
        let Some((&opening, inner)) = rest.split_first() else { return Begins::Unknown };
        if !matches!(opening, b'{' | b'[') {
            return Begins::Prose;
        }
        rest = inner.trim_ascii_start();
        if text.len() - rest.len() >= LOOKAHEAD_BYTES {
            return Begins::Value;
        }
        return match (opening, rest.first()) {
            (_, None) => Begins::Unknown,
            (b'[', Some(inner)) if root == Root::Object && !b"{[".contains(inner) => Begins::Prose,
            (b'{', Some(b'"' | b'}')) | (b'[', Some(b'"' | b']' | b'-' | b'0'..=b'9')) => {
                Begins::Value
            }
            (b'[', Some(b'{' | b'[')) => continue,
            (b'[', Some(b't')) => literal(rest, b"true"),
            (b'[', Some(b'f')) => literal(rest, b"false"),
            (b'[', Some(b'n')) => literal(rest, b"null"),
            _ => Begins::Prose,
        };
    }
}

fn literal(text: &[u8], word: &[u8]) -> Begins {
    if text.starts_with(word) {
        Begins::Value
    } else if word.starts_with(text) {
        Begins::Unknown
    } else {
        Begins::Prose
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize::trimmer::HOLD_BYTES;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(json_only(text, Root::Any), expected, "{text:?}");
    }

    /// What a stream of `text` makes, cut at every character and not at all.
    fn check_stream(text: &str, expected: &str) {
        let mut letters = JsonTrimmer::new(Root::Any);
        let mut out = String::new();
        for c in text.chars() {
            out += &letters.push(c.encode_utf8(&mut [0; 4]));
        }
        out += &letters.finish();
        assert_eq!(out, expected, "{text:?} letter by letter");
        let mut at_once = JsonTrimmer::new(Root::Any);
        let out = at_once.push(text).into_owned() + &at_once.finish();
        assert_eq!(out, expected, "{text:?} at once");
    }

    fn check_both(text: &str, expected: &str) {
        check(text, Some(expected));
        check_stream(text, expected);
    }

    #[test]
    fn the_value_alone() {
        check_both(r#"{"a":1}"#, r#"{"a":1}"#);
        check_both(" \n{ }\n", "{ }");
        check_both("```json\n{\"a\": [1, 2]}\n```", r#"{"a": [1, 2]}"#);
        check_both("Here it is:\n\n```\n[1,\n2]\n```\nEnjoy {it}!", "[1,\n2]");
        check_both("Sure! {\"a\":\"}\"} is it", r#"{"a":"}"}"#);
        check_both(r#"{"a":"\\\"}{"}"#, r#"{"a":"\\\"}{"}"#);
        check_both("See [the notes] and {name}: [true]", "[true]");
        check_both("[null, {}] [false]", "[null, {}]");
        check_both("{\"code\": \"```json\\n{}\\n```\"}", "{\"code\": \"```json\\n{}\\n```\"}");
        check_both("日本語です {\"é\":\"😀\"} 以上", "{\"é\":\"😀\"}");
    }

    #[test]
    fn a_source_is_not_taken_for_the_value() {
        let check = |text: &str, root: Root, expected: &str| {
            assert_eq!(whole(text, root, true), expected, "{root:?} {text:?}");
            for size in [1, 3, text.len()] {
                let mut trimmer = JsonTrimmer::new(root);
                let mut out = String::new();
                for piece in text.as_bytes().chunks(size) {
                    out += &trimmer.push(std::str::from_utf8(piece).unwrap());
                }
                out += &trimmer.finish();
                assert_eq!(out, expected, "{root:?} {text:?} by {size}");
            }
        };
        for root in [Root::Object, Root::Any] {
            check(r#"According to [1], here it is: {"a":1}"#, root, r#"{"a":1}"#);
            check(r#"By [1, 2] and [ 3 ]: {"a":[4]} [5]"#, root, r#"{"a":[4]}"#);
            check(r#"As [1] says: [{"a":1}]"#, root, r#"[{"a":1}]"#);
            check("[1, 2]", root, "[1, 2]");
            check(r#"[{"a":1}, 2]"#, root, r#"[{"a":1}, 2]"#);
        }
        check(r#"[1] says: {"a":1}"#, Root::Object, r#"{"a":1}"#);
        check(r#"See ["x"] and [true]: {"a":1}"#, Root::Object, r#"{"a":1}"#);
        check("As [1] says, no.", Root::Object, "As [1] says, no.");
        check("Here: [1, 2] it is", Root::Any, "[1, 2]");
        check("By [1]:\n[2, 3]", Root::Any, "[2, 3]");
        check(r#"Here: [1, "x"]"#, Root::Any, r#"[1, "x"]"#);
        let long = format!("Here: [{}7]", "1234, ".repeat(40));
        check(&long, Root::Any, &long[6..]);
    }

    #[test]
    fn a_whole_answer_prefers_the_fenced_value() {
        check("As [1] says:\n```json\n{\"a\":1}\n```", Some(r#"{"a":1}"#));
        check("A list [1]:\n~~~~\n~~~\n~~~~\n```\n{}\n````\n", Some("{}"));
        check("One [1]:\n```json\n{\"a\":1}", Some(r#"{"a":1}"#));
        check("```python\nx = [1]\n```\n```json\n[2]\n```", Some("[2]"));
    }

    #[test]
    fn nothing_is_taken_from_text_without_a_whole_value() {
        check("", None);
        check("No value here.", None);
        check("\"text\" 42 true", None);
        check("[see below] {name} {'a': 1}", None);
        check(r#"{"a": [1, 2], }"#, None);
        check(r#"{"a": [1, 2"#, None);
        check(r#"It is {"a": [1], b: 2}"#, None);
        check(&"[".repeat(1_000_000), None);
    }

    #[test]
    fn what_is_nearly_json_is_mended_in_whole_answers() {
        let check = |text: &str, expected: &str| {
            assert_eq!(whole(text, Root::Any, true), expected, "{text:?}");
            check(text, None);
        };
        check(r#"{"a": [1, 2], }"#, r#"{"a": [1, 2] }"#);
        check("Here: {'a': [1]} is it.", r#"{"a": [1]}"#);
        check("See [1, x].\n```json\n{a: 1,}\n```", r#"{"a": 1}"#);
        check("As {name} says [here]:\n```\n[1,]\n", "[1]");
        check("{'a': 'it's'}", "{'a': 'it's'}");
        check("{'a': [1], oops}", "{'a': [1], oops}");
        check("{not json}", "{not json}");
        assert_eq!(
            whole("```python\n{'a': 1}\n```\n```json\n{\"a\": 2}\n```", Root::Any, true),
            "{\"a\": 2}"
        );
        assert_eq!(whole("{'a': 1} and", Root::Any, false), "{'a': 1} and");
        let brackets = "{'a ".repeat(100_000);
        check(&brackets, &brackets);
    }

    #[test]
    fn a_stream_without_a_value_comes_out_unchanged() {
        for text in ["", "No value here.", "42", "[see below] {name}", "{'a': 1}", "an open ["] {
            check_stream(text, text);
        }
    }

    #[test]
    fn a_cut_value_goes_out_as_far_as_it_came() {
        check_stream("Well: {\"a\": [1, 2", r#"{"a": [1, 2"#);
    }

    #[test]
    fn the_hold_is_bounded() {
        let long = "x".repeat(HOLD_BYTES);
        check_stream(&format!("{}{{}} y", &long[1..]), "{}");
        check_stream(&format!("{long}{{}} y"), &format!("{long}{{}} y"));
        let mut trimmer = JsonTrimmer::new(Root::Any);
        assert_eq!(trimmer.push(&long[1..]), "");
        assert_eq!(trimmer.push("x"), long);
        assert_eq!(trimmer.push("{}"), "{}");
    }

    #[test]
    fn brackets_without_end_cost_no_more_than_their_length() {
        let brackets = "[ ".repeat(HOLD_BYTES);
        check_stream(&brackets, &brackets);
        let prose = "{x".repeat(HOLD_BYTES);
        check_stream(&prose, &prose);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            text in r#"([a{}\[\]":,1 \\]|```\n|true|"a":|é){0,24}"#,
            cuts in prop::collection::vec(0_usize..80, 0..8),
        ) {
            let mut at_once = JsonTrimmer::new(Root::Any);
            let expected = at_once.push(&text).into_owned() + &at_once.finish();
            let mut pieces = JsonTrimmer::new(Root::Any);
            let mut out = String::new();
            for piece in crate::normalize::tests::pieces(&text, &cuts) {
                out += &pieces.push(piece);
            }
            out += &pieces.finish();
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn a_value_is_found_between_prose(
            before in "[A-Za-z .,\n`]{0,40}",
            entries in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
            after in ".{0,40}",
        ) {
            let value = serde_json::to_string(&entries).unwrap();
            let text = format!("{before}{value}{after}");
            let mut trimmer = JsonTrimmer::new(Root::Any);
            let streamed = trimmer.push(&text).into_owned() + &trimmer.finish();
            prop_assert_eq!(&streamed, &value);
            prop_assert_eq!(json_only(&text, Root::Any), Some(value.as_str()));
        }

        #[test]
        fn what_is_found_is_json(text in r#"([a{}\[\]":,1 ]|```\n|true|"a":){0,24}"#) {
            if let Some(found) = json_only(&text, Root::Any) {
                let value: serde_json::Value = serde_json::from_str(found).unwrap();
                prop_assert!(value.is_object() || value.is_array());
            }
        }
    }
}
