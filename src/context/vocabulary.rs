//! The vocabulary `cl100k_base`: which bytes are a token, and in which order bytes are merged into
//! them.
//!
//! Its file holds every token in the order of its rank, each as its length, a byte, and itself: what
//! OpenAI publishes (with `tiktoken`, under the MIT licence) as base64 text, in less than half the
//! room. It is read where it lies in the program, so that the index is all that takes memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hasher;
use std::sync::LazyLock;

use rustc_hash::FxHasher;

static FILE: &[u8] = include_bytes!("cl100k_base.bin");

/// Twice as many places as there are tokens, and more: 100,256 of them.
const PLACES: usize = 1 << 18;
/// A place holds a rank, and above it bits of its token's hash, which tell most others apart.
const RANK_BITS: u32 = 17;
const EMPTY: u32 = u32::MAX;

/// Tokens by their bytes.
pub(super) struct Vocabulary {
    /// Where each token begins in the file, by rank. Its length stands before it.
    begins: Vec<u32>,
    /// Ranks, by hash; a place that is taken sends on to the next.
    places: Vec<u32>,
}

/// Two neighbours that are a token together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    rank: u32,
    start: usize,
    middle: usize,
    end: usize,
}

/// What a text is made of at some moment: its bytes at first, and each merge makes one of two.
struct Pieces<'a> {
    text: &'a [u8],
    /// Where the piece that begins at a byte ends; 0 where none begins.
    ends: Vec<usize>,
    /// Where the piece before it begins.
    before: Vec<usize>,
    /// What can be merged, and could be: the lowest rank first, and of equals the first in the text.
    merges: BinaryHeap<Reverse<Merge>>,
}

impl Vocabulary {
    /// The one there is. The first call takes some milliseconds and 1.4 MiB.
    pub(super) fn get() -> &'static Self {
        static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);
        &VOCABULARY
    }

    fn new() -> Self {
        let mut it = Self { begins: Vec::new(), places: vec![EMPTY; PLACES] };
        let mut left = FILE;
        while let Some((length, rest)) = left.split_first() {
            let begin = FILE.len() - rest.len();
            let Some((token, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
            it.add(token, begin);
            left = rest;
        }
        it
    }

    fn add(&mut self, token: &[u8], begin: usize) {
        let rank = u32::try_from(self.begins.len()).unwrap_or(EMPTY);
        let (mut at, tag) = place_of(token);
        while self.places.get(at).is_some_and(|it| *it != EMPTY) {
            at = (at + 1) % PLACES;
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = tag << RANK_BITS | rank;
            self.begins.push(u32::try_from(begin).unwrap_or(u32::MAX));
        }
    }

    /// How many tokens `text` is, merged with no regard to words.
    pub(super) fn count(&self, text: &[u8]) -> usize {
        if text.len() < 2 || self.rank(text).is_some() {
            return text.len().min(1);
        }
        let mut pieces = Pieces::of(text, self);
        let mut count = text.len();
        while let Some(Reverse(merge)) = pieces.merges.pop() {
            count -= usize::from(pieces.merge(&merge, self));
        }
        count
    }

    fn rank(&self, bytes: &[u8]) -> Option<u32> {
        let (mut at, tag) = place_of(bytes);
        loop {
            let place = *self.places.get(at)?;
            let rank = place & ((1 << RANK_BITS) - 1);
            if place == EMPTY {
                return None;
            }
            if place >> RANK_BITS == tag && self.token(rank) == Some(bytes) {
                return Some(rank);
            }
            at = (at + 1) % PLACES;
        }
    }

    fn token(&self, rank: u32) -> Option<&'static [u8]> {
        let begin = usize::try_from(*self.begins.get(usize::try_from(rank).ok()?)?).ok()?;
        let length = usize::from(*FILE.get(begin.checked_sub(1)?)?);
        FILE.get(begin..begin + length)
    }
}

/// Where a token's rank is looked for first, and what stands above it there.
fn place_of(token: &[u8]) -> (usize, u32) {
    let mut hasher = FxHasher::default();
    hasher.write(token);
    let hash = hasher.finish();
    let (low, high) = (hash & (PLACES as u64 - 1), hash >> (32 + RANK_BITS));
    (usize::try_from(low).unwrap_or(0), u32::try_from(high).unwrap_or(0))
}

impl<'a> Pieces<'a> {
    fn of(text: &'a [u8], vocabulary: &Vocabulary) -> Self {
        let starts = 0..text.len();
        let mut it = Self {
            text,
            ends: starts.clone().map(|it| it + 1).collect(),
            before: starts.map(|it| it.saturating_sub(1)).collect(),
            merges: BinaryHeap::with_capacity(text.len()),
        };
        for end in 2..=text.len() {
            it.offer((end - 2, end - 1, end), vocabulary);
        }
        it
    }

    /// Makes one of two pieces, if they are still what they were. Were they?
    fn merge(&mut self, merge: &Merge, vocabulary: &Vocabulary) -> bool {
        let Merge { start, middle, end, .. } = *merge;
        if (self.end(start), self.end(middle)) != (middle, end) {
            return false;
        }
        for (at, is) in [(start, end), (middle, 0)] {
            if let Some(it) = self.ends.get_mut(at) {
                *it = is;
            }
        }
        if let Some(before) = self.before.get_mut(end) {
            *before = start;
            self.offer((start, end, self.end(end)), vocabulary);
        }
        if start > 0 {
            let before = self.before.get(start).copied().unwrap_or(0);
            self.offer((before, start, end), vocabulary);
        }
        true
    }

    /// Two neighbours may be a token together.
    fn offer(&mut self, (start, middle, end): (usize, usize, usize), vocabulary: &Vocabulary) {
        if let Some(rank) = self.text.get(start..end).and_then(|it| vocabulary.rank(it)) {
            self.merges.push(Reverse(Merge { rank, start, middle, end }));
        }
    }

    fn end(&self, start: usize) -> usize {
        self.ends.get(start).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With `UPDATE_GOLDEN` set it writes the file.
    #[test]
    fn the_file_holds_what_is_published() {
        let published = tiktoken_rs::cl100k_base_singleton();
        let tokens = (0..100_256).map(|it| published.decode_bytes(&[it]).expect("a token"));
        let file: Vec<u8> = tokens
            .flat_map(|it| std::iter::once(u8::try_from(it.len()).expect("short")).chain(it))
            .collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write("src/context/cl100k_base.bin", &file).expect("written");
        }
        assert!(file == FILE, "run it with UPDATE_GOLDEN=1");
        assert!(tokens_are_found(), "each by its bytes");
    }

    fn tokens_are_found() -> bool {
        let vocabulary = Vocabulary::get();
        (0..100_256).all(|it| vocabulary.token(it).and_then(|it| vocabulary.rank(it)) == Some(it))
    }

    fn check(text: &str) {
        // Beyond words the published merges apply to letters alone, which are one word.
        let expected = tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len();
        assert_eq!(Vocabulary::get().count(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn pieces_are_merged_in_the_order_of_their_ranks() {
        for text in ["", "a", "the", "antidisestablishmentarianism", "ååå", "日本語のテキスト"]
        {
            check(text);
        }
        check(&"a".repeat(1_000));
        check(&"naïveté".repeat(200));
    }

    proptest! {
        #[test]
        fn any_word_is_merged_as_published(text in "\\p{L}{1,60}") {
            check(&text);
        }
    }
}
