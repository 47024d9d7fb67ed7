//! What must hold for any text however its stream is cut.

use serde::de::IgnoredAny;

use crate::normalize::Mode;
use crate::normalize::Normalizer;
use crate::normalize::Root;

/// Bytes that a stream of text may hold back.
const HELD: usize = 63;

/// Normalises the text whole and as a stream, in pieces whose sizes its own bytes say.
///
/// # Panics
/// When the two differ, when more is held back than may be, or when JSON is made that is none.
pub fn fuzz(text: &str) {
    let whole = Mode::Text.apply(text, true);
    assert_eq!(streamed(text, Mode::Text), whole, "in pieces");
    for mode in [Mode::Json(Root::Any), Mode::Json(Root::Object)] {
        let mut at_once = Normalizer::new(mode);
        let expected = at_once.push(text).into_owned() + &at_once.finish(true);
        assert_eq!(streamed(text, mode), expected, "JSON in pieces");
        let json = mode.apply(text, true);
        if json != text {
            // Half a surrogate pair is JSON, though no text.
            assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "{json}");
            assert_eq!(mode.apply(&json, true), json, "twice");
        }
    }
}

fn streamed(text: &str, mode: Mode) -> String {
    let mut normalizer = Normalizer::new(mode);
    let (mut out, mut rest, mut taken) = (String::new(), text, 0);
    while let Some(next) = rest.bytes().next() {
        let mut size = usize::from(next % 9) + 1;
        while !rest.is_char_boundary(size.min(rest.len())) {
            size += 1;
        }
        let (piece, tail) = rest.split_at_checked(size).unwrap_or((rest, ""));
        out += &normalizer.push(piece);
        taken += piece.len();
        // What has gone for good is at most an opener, which was held before.
        let kept = out.len() + 2 * HELD >= taken;
        assert!(mode != Mode::Text || kept, "{} of {taken} bytes are out", out.len());
        rest = tail;
    }
    out + &normalizer.finish(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_treated_alike(
            text in r#"((Sure|Of course|as an AI)[!,]?[ \n]{0,3})?([a{}\[\]'":,1 \\#]|```\n|//|/\*|\*/|true|'a':|b:|é|\PC|\n){0,30}"#,
        ) {
            super::fuzz(&text);
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_json() {
        super::fuzz(r#"Aa"usage":{"x\ud83d":2}"#);
    }

    /// As the fuzzer gives it: up to what is no UTF-8.
    #[test]
    fn the_kept_corpus_is_treated_as_any_text() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/normalizer");
        let mut files = 0;
        for file in fs::read_dir(folder).unwrap() {
            let data = fs::read(file.unwrap().path()).unwrap();
            super::fuzz(data.utf8_chunks().next().map_or("", |it| it.valid()));
            files += 1;
        }
        assert!(files > 0);
    }
}
