//! The words of a text, in a form that can be compared.

use std::collections::HashSet;
use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;

use unicode_segmentation::UnicodeSegmentation as _;

/// A word, lower case, by its hash: that two share one is as rare as it is harmless.
pub(super) type Term = u64;

/// A set of words.
pub(super) type Terms = HashSet<Term>;

pub(super) fn term(word: &str) -> Term {
    let mut hasher = DefaultHasher::new();
    if word.is_ascii() {
        word.bytes().for_each(|it| it.to_ascii_lowercase().hash(&mut hasher));
    } else {
        word.chars().flat_map(char::to_lowercase).for_each(|it| hash_char(it, &mut hasher));
    }
    hasher.finish()
}

/// As `term` hashes the bytes of ASCII words.
fn hash_char(it: char, hasher: &mut DefaultHasher) {
    let mut bytes = [0; 4];
    it.encode_utf8(&mut bytes).bytes().for_each(|it| it.hash(hasher));
}

/// The words of `text` in order. Scripts without spaces between words give each pair of neighbouring
/// characters, which tell as much.
pub(super) fn terms(text: &str) -> Vec<Term> {
    let mut terms = Vec::with_capacity(text.len() / 5);
    let mut before: Option<(usize, &str)> = None;
    for (at, word) in text.unicode_word_indices() {
        let unspaced = word.chars().all(unspaced);
        if !unspaced {
            terms.push(term(word));
            before = None;
            continue;
        }
        for (offset, letter) in word.char_indices() {
            let here = at + offset;
            let end = here + letter.len_utf8();
            if let Some((start, previous)) = before
                && start + previous.len() == here
            {
                terms.extend(text.get(start..end).map(term));
            }
            before = text.get(here..end).map(|it| (here, it));
        }
    }
    terms
}

/// Is this of a script that is written without spaces between words?
pub(super) fn unspaced(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_134F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_equal_in_any_case_and_script() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<Term> = expected.iter().map(|it| term(it)).collect();
            assert_eq!(terms(text), expected, "{text}");
        };
        check("The Größe, it's 3.5!", &["the", "größe", "it's", "3.5"]);
        check("我喜欢猫 abc", &["我喜", "喜欢", "欢猫", "abc"]);
        check("データを削除", &["デー", "ータ", "タを", "を削", "削除"]);
        assert_eq!(term("ÉCOLE"), term("école"));
    }
}
