//! Taking the middle out of a text that is too long by itself.

use crate::context::tokens;

/// A text of so many tokens can't be told from its beginning and end.
pub(super) const FEWEST: u64 = 48;

/// Times the text is cut again before its bytes are taken for tokens.
const TRIES: u32 = 6;

/// The beginning and the end of `text` with a mark between them, in at most `most` tokens; `None`
/// when there is no room for them. Two thirds of it are beginning.
pub(super) fn without_middle(text: &str, most: u64) -> Option<String> {
    if most < FEWEST {
        return None;
    }
    // No more bytes than a tokenizer reads at once; tokens of more than 16 bytes are white space.
    let mut bytes = usize::try_from(most.saturating_mul(16)).unwrap_or(usize::MAX).min(text.len());
    for _ in 0..TRIES {
        let cut = around_middle(text, bytes);
        let tokens = tokens::count(&cut);
        if tokens <= most {
            return Some(cut);
        }
        let scaled = u128::from(most) * bytes as u128 * 15 / 16 / u128::from(tokens);
        bytes = usize::try_from(scaled).unwrap_or(0);
    }
    let mark = around_middle(text, 0).len();
    let cut = around_middle(text, usize::try_from(most).ok()?.checked_sub(mark)?);
    (tokens::count(&cut) <= most).then_some(cut)
}

fn around_middle(text: &str, bytes: usize) -> String {
    let begin = head(text, bytes / 3 * 2);
    let end = tail(text, bytes / 3);
    let begin = begin.get(..break_before(begin)).unwrap_or(begin);
    let gone = text.len().saturating_sub(begin.len() + end.len());
    format!("{begin}\n[… {gone} bytes left out here …]\n{end}")
}

/// The end of the last line, if it is near.
fn break_before(head: &str) -> usize {
    let line = head.rfind('\n').filter(|at| head.len() - at < head.len() / 8);
    line.unwrap_or(head.len())
}

/// The first `bytes` bytes, or a few fewer where a character would be cut.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The last `bytes` bytes, or a few fewer where a character would be cut.
pub(super) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len() - bytes.min(text.len());
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_stay_and_it_fits() {
        for unit in ["word ", "x", "日本語", "🦀", "line\n", " "] {
            let text = format!("BEGIN {} END", unit.repeat(40_000 / unit.len()));
            for most in [48, 60, 200, 1_000] {
                let cut = without_middle(&text, most).unwrap_or_else(|| panic!("{unit} {most}"));
                assert!(tokens::count(&cut) <= most, "{unit:?} {most}");
                assert!(cut.starts_with("BEGIN ") && cut.ends_with(" END"), "{unit:?}: {cut}");
                assert!(cut.contains("left out here"));
            }
            assert_eq!(without_middle(&text, FEWEST - 1), None);
        }
    }
}
