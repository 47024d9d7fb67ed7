//! JSON mode in a stream: the value goes out as it comes.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use crate::normalize::json::Begins;
use crate::normalize::json::LOOKAHEAD_BYTES;
use crate::normalize::json::Root;
use crate::normalize::json::begins;
use crate::normalize::json::is_prose;
use crate::normalize::json::numbers;
use crate::normalize::kept::Kept;

/// Text before the value is held back up to this many bytes; after that everything passes.
pub(super) const HOLD_BYTES: usize = 64 * 1024;

/// Takes the value out of a stream: holds what comes before it, passes it on as it comes, drops
/// what follows it. If no value ever begins, the text comes out unchanged at the end, or as soon as
/// 64 KiB have gone by.
#[derive(Debug)]
pub(super) struct JsonTrimmer {
    stage: Stage,
    kept: Kept,
}

#[derive(Debug)]
enum Stage {
    Before(Before),
    Inside(Nesting),
    After,
    Passing,
}

/// What came before the value.
#[derive(Debug)]
struct Before {
    root: Root,
    held: String,
    /// No value begins before this byte of `held`.
    searched: usize,
    /// The first list of numbers in prose, which is the value if there is no other.
    source: Option<Range<usize>>,
}

/// Where in a value the text is.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl JsonTrimmer {
    pub(super) fn new(root: Root) -> Self {
        let before = Before { root, held: String::new(), searched: 0, source: None };
        Self { stage: Stage::Before(before), kept: Kept::default() }
    }

    /// What stays of the text so far; all of it while that is undecided.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Bytes that are held back.
    pub(super) fn held(&self) -> usize {
        match &self.stage {
            Stage::Before(before) => before.held.len(),
            _ => 0,
        }
    }

    pub(super) fn push<'a>(&mut self, delta: &'a str) -> Cow<'a, str> {
        match &mut self.stage {
            Stage::Before(before) => {
                before.held.push_str(delta);
                match before.search() {
                    Some(Begins::Value) => {
                        self.kept = Kept::without_beginning(0, &before.held, before.searched);
                        let value = before.held.split_off(before.searched);
                        self.stage = Stage::Inside(Nesting::default());
                        Cow::Owned(self.pass(&value).to_owned())
                    }
                    Some(_) => Cow::Borrowed(""),
                    None => {
                        let all = std::mem::take(&mut before.held);
                        self.stage = Stage::Passing;
                        Cow::Owned(all)
                    }
                }
            }
            Stage::Inside(_) => Cow::Borrowed(self.pass(delta)),
            Stage::After => Cow::Borrowed(""),
            Stage::Passing => Cow::Borrowed(delta),
        }
    }

    /// Passes on what belongs to the value.
    fn pass<'a>(&mut self, delta: &'a str) -> &'a str {
        let Stage::Inside(nesting) = &mut self.stage else { return "" };
        let end = nesting.advance(delta.as_bytes());
        if end.is_some() {
            self.stage = Stage::After;
        }
        let value = end.and_then(|end| delta.get(..end)).unwrap_or(delta);
        self.kept.goes_on(value);
        value
    }

    pub(super) fn finish(&mut self) -> String {
        match std::mem::replace(&mut self.stage, Stage::Passing) {
            Stage::Before(Before { mut held, source, .. }) => {
                if let Some(source) = source {
                    self.kept = Kept::only(&held, &source);
                    held.truncate(source.end);
                    held.drain(..source.start);
                }
                held
            }
            _ => String::new(),
        }
    }
}

impl Before {
    /// Searches on for the beginning of a value. `None` means that the search is given up.
    fn search(&mut self) -> Option<Begins> {
        while self.searched < HOLD_BYTES {
            let rest = self.held.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr2(b'{', b'[', rest.as_bytes()) else {
                self.searched = self.held.len();
                break;
            };
            self.searched += at;
            if self.searched >= HOLD_BYTES {
                break;
            }
            let text = rest.get(at..).unwrap_or_default();
            match begins(text.as_bytes(), self.root) {
                Begins::Prose => self.searched += 1,
                Begins::Value if self.is_prose() && begins_with_number(text) => {
                    match numbers(text) {
                        Some(list) => {
                            let place = self.searched..self.searched + list.len();
                            self.searched = place.end;
                            self.source = self.source.take().or(Some(place));
                        }
                        None if may_become_numbers(text) => return Some(Begins::Unknown),
                        None => return Some(Begins::Value),
                    }
                }
                found => return Some(found),
            }
        }
        (self.searched < HOLD_BYTES).then_some(Begins::Unknown)
    }

    fn is_prose(&self) -> bool {
        is_prose(self.held.get(..self.searched).unwrap_or_default())
    }
}

fn begins_with_number(text: &str) -> bool {
    let inner = text.get(1..).unwrap_or_default().trim_start();
    text.starts_with('[') && inner.starts_with(|it: char| it.is_ascii_digit() || it == '-')
}

/// Is the text too short to tell that it begins with no short list of numbers?
fn may_become_numbers(text: &str) -> bool {
    let plain = |it: u8| it.is_ascii_digit() || it.is_ascii_whitespace() || b",-.".contains(&it);
    text.len() < LOOKAHEAD_BYTES && text.bytes().skip(1).all(plain)
}

impl Nesting {
    /// Reads on. Answers where the outermost value ends, if it ends in `text`.
    fn advance(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if self.escaped {
                self.escaped = false;
                at += 1;
            } else if self.in_string {
                let found = memchr2(b'"', b'\\', rest)?;
                at += found + 1;
                self.escaped = rest.get(found) == Some(&b'\\');
                self.in_string = self.escaped;
            } else {
                let found = rest
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
                at += found + 1;
                match rest.get(found) {
                    Some(b'"') => self.in_string = true,
                    Some(b'{' | b'[') => self.depth += 1,
                    _ => self.depth = self.depth.saturating_sub(1),
                }
                if self.depth == 0 {
                    return Some(at);
                }
            }
        }
        None
    }
}
