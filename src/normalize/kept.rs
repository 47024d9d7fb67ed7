//! Which part of an answer's text stays, for those who have to move what points into it.

use std::ops::Range;

/// What of a text stays where one stretch of it is taken out, and all from some place on cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    bytes: Cut,
    characters: Cut,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cut {
    /// What is taken out.
    gone: Range<usize>,
    /// From where on all goes; `None` = to its end it stays.
    until: Option<usize>,
}

impl Kept {
    /// All of it stays.
    pub fn is_all(&self) -> bool {
        self.bytes.gone.is_empty() && self.bytes.until.is_none()
    }

    /// Does all stay of what stands in these bytes?
    pub fn has_bytes(&self, span: &Range<usize>) -> bool {
        let Cut { gone, until } = &self.bytes;
        let apart = gone.is_empty() || span.end <= gone.start || span.start >= gone.end;
        apart && until.is_none_or(|it| span.end <= it)
    }

    /// Where that stands afterwards which stood in these characters (Unicode scalar values, counted from 0;
    /// `end` is the first one behind it). Of what was cut in two, what is left of it; `None` where
    /// that is nothing.
    pub fn characters(&self, span: Range<usize>) -> Option<Range<usize>> {
        let Cut { gone, until } = &self.characters;
        let place = |it: usize| {
            let it = until.map_or(it, |until| it.min(until));
            if it <= gone.start { it } else { it.max(gone.end) - gone.len() }
        };
        let moved = place(span.start)..place(span.end);
        (!moved.is_empty()).then_some(moved)
    }

    /// `text`, which follows `led` bytes of ASCII, loses its first `bytes`.
    pub(super) fn without_beginning(led: usize, text: &str, bytes: usize) -> Self {
        let characters = text.get(..bytes).unwrap_or_default().chars().count();
        let cut = |length: usize| Cut { gone: led..led + length, until: None };
        Self { bytes: cut(bytes), characters: cut(characters) }
    }

    /// Of `text` nothing stays but the bytes in `span`.
    pub(super) fn only(text: &str, span: &Range<usize>) -> Self {
        let count = |bytes: usize| text.get(..bytes).unwrap_or_default().chars().count();
        let cut = |start: usize, end: usize| Cut { gone: 0..start, until: Some(end) };
        Self {
            bytes: cut(span.start, span.end),
            characters: cut(count(span.start), count(span.end)),
        }
    }

    /// After what was taken out comes `more`, and stays.
    pub(super) fn goes_on(&mut self, more: &str) {
        let cuts = [(&mut self.bytes, more.len()), (&mut self.characters, more.chars().count())];
        for (cut, length) in cuts {
            cut.until = Some(cut.until.unwrap_or(cut.gone.end) + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_behind_what_went_move_up() {
        let kept = Kept::without_beginning(2, "Sure!\u{3000}Hé", 8);
        let check = |span: Range<usize>, expected: Option<Range<usize>>| {
            assert_eq!(kept.characters(span.clone()), expected, "{span:?}");
        };
        check(0..2, Some(0..2));
        check(2..8, None);
        check(3..5, None);
        check(0..9, Some(0..3));
        check(4..10, Some(2..4));
        check(8..10, Some(2..4));
        check(20..30, Some(14..24));
        assert!(kept.has_bytes(&(0..2)) && kept.has_bytes(&(10..12)));
        assert!(!kept.has_bytes(&(1..3)) && !kept.has_bytes(&(9..11)));
    }

    #[test]
    fn of_one_stretch_alone_nothing_else_stays() {
        let whole = Kept::only("é{é}é", &(2..6));
        let mut streamed = Kept::without_beginning(0, "é{é}é", 2);
        streamed.goes_on("{é");
        streamed.goes_on("}");
        assert_eq!(whole, streamed);
        assert_eq!(whole.characters(0..5), Some(0..3));
        assert_eq!(whole.characters(2..3), Some(1..2));
        assert_eq!((whole.characters(0..1), whole.characters(4..5)), (None, None));
        assert!(whole.has_bytes(&(2..6)) && !whole.has_bytes(&(5..7)) && !whole.has_bytes(&(0..2)));
    }
}
