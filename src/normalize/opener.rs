//! Which words at the start of an answer are filler.

/// The closed list, in lower case. "A" and "an" are both taken before "large language model":
/// models write either. No entry is the beginning of another, so a full match is final.
const OPENERS: [&str; 10] = [
    "certainly!",
    "sure!",
    "sure thing!",
    "of course!",
    "absolutely!",
    "as an ai,",
    "as an ai assistant,",
    "as an ai language model,",
    "as a large language model,",
    "as an large language model,",
];

/// Content must begin before this many bytes, counted from the opener's first letter. It bounds
/// what a stream holds back to 63 bytes; an opener with more white space than that stays.
const HOLD_BYTES: usize = 64;

/// What the beginning of an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More text is needed; if none comes, the text stays.
    Undecided,
    /// Not an opener: the text stays.
    Keep,
    /// An opener: this many bytes go, the white space after the opener included.
    Drop(usize),
}

/// Judges the beginning of an answer. Once decided, more text never changes the verdict.
pub(super) fn judge(text: &str) -> Verdict {
    let mut undecided = false;
    for opener in OPENERS {
        let seen = text.len().min(opener.len());
        let matches = match (text.as_bytes().get(..seen), opener.as_bytes().get(..seen)) {
            (Some(have), Some(want)) => have.eq_ignore_ascii_case(want),
            _ => false,
        };
        if matches && seen == opener.len() {
            return judge_after(text, seen);
        }
        undecided |= matches;
    }
    if undecided { Verdict::Undecided } else { Verdict::Keep }
}

/// Is this an opener and nothing else?
pub(super) fn is_opener(text: &str) -> bool {
    OPENERS.iter().any(|it| it.eq_ignore_ascii_case(text))
}

/// Judges what follows an opener that ends at byte `end`.
///
/// White space must come first: `Sure!!`, `sure!(x)` and a password like `Sure!Thing7` are no
/// openers. The white space goes up to the last line break; what follows that is the indentation
/// of the first line and belongs to it (code, lists and poems depend on it).
fn judge_after(text: &str, end: usize) -> Verdict {
    let mut last_line = None;
    for (offset, c) in text.get(end..).unwrap_or_default().char_indices() {
        let at = end + offset;
        if at >= HOLD_BYTES || (offset == 0 && !c.is_whitespace()) {
            return Verdict::Keep;
        }
        if !c.is_whitespace() {
            return Verdict::Drop(last_line.unwrap_or(at));
        }
        if matches!(c, '\n' | '\r') {
            last_line = Some(at + 1);
        }
    }
    if text.len() < HOLD_BYTES { Verdict::Undecided } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Verdict) {
        assert_eq!(judge(text), expected, "{text:?}");
    }

    #[test]
    fn undecided_while_it_could_still_be_an_opener() {
        for text in ["", "S", "sure", "SURE T", "Sure!", "Sure! \n", "As a", "as an AI l"] {
            check(text, Verdict::Undecided);
        }
    }

    #[test]
    fn decided_at_the_first_letter_that_differs() {
        for text in ["X", "Sure,", "Surely", "Sure!!", "As an AI I", "As an artificial", "Sure!x"] {
            check(text, Verdict::Keep);
        }
    }

    #[test]
    fn white_space_goes_but_the_first_lines_indentation_stays() {
        check("Sure! x", Verdict::Drop(6));
        check("Sure! \t x", Verdict::Drop(8));
        check("Sure!\n\nx", Verdict::Drop(7));
        check("Sure! \r\n    x", Verdict::Drop(8));
        check("Sure!\u{3000}x", Verdict::Drop(8));
    }

    #[test]
    fn the_hold_is_bounded() {
        let padded = |spaces: usize| format!("Sure!{}", " ".repeat(spaces));
        check(&padded(58), Verdict::Undecided);
        check(&format!("{}x", padded(58)), Verdict::Drop(63));
        check(&padded(59), Verdict::Keep);
        check(&format!("{}x", padded(59)), Verdict::Keep);
    }
}
