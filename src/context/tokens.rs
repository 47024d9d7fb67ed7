//! Tokens of text: cheap bounds and estimates, and the exact count where it is worth its cost.
//!
//! Counts are in `cl100k_base` tokens. The [vocabulary](super::vocabulary) is indexed by the first
//! exact count and never at start.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::context::vocabulary::Vocabulary;

/// Bytes of different pieces that one count gives to the tokenizer, which takes about 10 MB/s.
/// More of them than a long English novel has, and few enough for 30 ms.
const WORK: usize = 256 * 1024;

/// The longer a piece, the longer the tokenizer takes over each of its bytes: a byte is charged as
/// many times as the piece is longer than this, at most [`LONG_COST`] times. Longer than this are
/// no words, but sentences of languages that part none.
const LONG_PIECE: usize = 48;
const LONG_COST: usize = 8;

/// Where the vocabulary parts text before it merges bytes; no token reaches over a part's end.
/// Tokenizers look ahead at the end of white space, which this engine can't: see [`part_end`].
const PARTS: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n]|\s+";

static PARTED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(PARTS).ok());

/// More tokens than text of so many bytes can have: no token is shorter than a byte.
pub fn most(bytes: usize) -> u64 {
    bytes as u64
}

/// Tokens that text of so many bytes is likely to have. English has about four bytes a token; JSON
/// and code have fewer, which the quotes and braces around them make up for.
pub fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// The tokens of `text`, as [`Counter::count`] says. Takes about 1 ms for 15 KB of text like none
/// before; never call it on a thread that serves requests.
pub fn count(text: &str) -> u64 {
    Counter::default().count(text)
}

/// Counts texts that have words in common, each word once.
#[derive(Debug, Default)]
pub struct Counter<'a> {
    known: HashMap<&'a str, u32>,
    worked: usize,
}

impl<'a> Counter<'a> {
    /// The number of tokens in `text`: exact, unless there is more in it than [`WORK`] allows (a
    /// megabyte of one letter, say). Then every further part counts with its bytes, of which it
    /// can't have more tokens.
    pub fn count(&mut self, text: &'a str) -> u64 {
        let Some(parted) = &*PARTED else { return most(text.len()) };
        let (mut at, mut tokens) = (0, 0);
        while let Some(found) = parted.find_at(text, at) {
            let end = part_end(text, found.start(), found.end());
            tokens += text.get(found.start()..end).map_or(0, |it| self.part(it));
            at = end;
        }
        tokens
    }

    fn part(&mut self, part: &'a str) -> u64 {
        if let Some(known) = self.known.get(part) {
            return u64::from(*known);
        }
        let cost = part.len() * (part.len() / LONG_PIECE).clamp(1, LONG_COST);
        if self.worked + cost > WORK {
            return most(part.len());
        }
        self.worked += cost;
        let tokens = Vocabulary::get().count(part.as_bytes());
        self.known.insert(part, u32::try_from(tokens).unwrap_or(u32::MAX));
        tokens as u64
    }
}

/// Of white space before something else the last character belongs to what follows.
fn part_end(text: &str, start: usize, end: usize) -> usize {
    let Some(part) = text.get(start..end).filter(|_| end < text.len()) else { return end };
    match part.char_indices().next_back() {
        Some((at, last)) if at > 0 && last.is_whitespace() && !matches!(last, '\r' | '\n') => {
            start + at
        }
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str) -> u64 {
        tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len() as u64
    }

    #[test]
    fn counts_lie_within_their_bounds() {
        for text in ["", "a", "Hello, world!", "été 日本語 🦀", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert!(count(text) <= most(text.len()), "{text}");
        }
        assert_eq!(count("Hello, world!"), 4);
        assert_eq!(estimate(9), 3);
    }

    #[test]
    fn what_is_too_much_work_is_bounded_by_its_bytes() {
        for unit in ["a", " ", "🦀", "\n", "ab1 "] {
            let text = unit.repeat((1 << 20) / unit.len());
            let tokens = count(&text);
            assert!(tokens <= most(text.len()), "{unit:?}");
            assert!(tokens > most(text.len()) / 12, "{unit:?}: {tokens}");
        }
    }

    #[test]
    fn of_sentences_without_spaces_each_is_counted() {
        let letters: Vec<char> = ('あ'..='ん').collect();
        let letter = |i: usize| letters.get(i * i % 83).copied().unwrap_or('日');
        let sentence = |i: usize| (i..i + 20 + i % 10).map(letter).collect::<String>() + "、";
        let text: String = (0..800).map(sentence).collect();
        assert!(text.len() > WORK / LONG_COST);
        assert_eq!(count(&text), exact(&text));
    }

    proptest! {
        #[test]
        fn text_is_parted_as_the_tokenizer_parts_it(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[ \t\r\n\u{a0}\u{3000}]{1,4}",
                    "['’](s|LL|ve|x|ſ)",
                    "[a-zA-Zé日本ไทยعر]{1,6}",
                    "[0-9٣Ⅷ½]{1,5}",
                    "[.,!?/{}🦀\u{301}-]{1,4}[\r\n]{0,2}",
                    "\\PC{0,6}",
                ],
                0..20,
            ),
        ) {
            let text = parts.concat();
            prop_assert_eq!(count(&text), exact(&text));
        }
    }
}
