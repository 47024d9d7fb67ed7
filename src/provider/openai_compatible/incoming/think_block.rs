//! A leading `<think>…</think>` block, told from the answer that follows it.
//!
//! A block counts only where it opens the message; white space may stand before it. The white space
//! that parts the block from its tags and from the answer goes with the tags.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
/// White space held back while it may be followed by a tag, in bytes.
const HELD_BYTES: usize = 1024;

/// Where in a message a stream of text is.
#[derive(Debug)]
pub(super) enum ThinkBlock {
    /// This is all that came, and may be the beginning of the tag.
    Start(String),
    /// Within the block.
    Within {
        /// What may be the beginning of its end.
        held: String,
        /// Has the block said anything yet?
        begun: bool,
    },
    /// Behind the block, before the first letter of the answer.
    Behind,
    /// In the answer, to its end.
    Answer,
}

/// A text, parted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parted {
    pub(super) reasoning: String,
    pub(super) text: String,
}

impl Default for ThinkBlock {
    fn default() -> Self {
        Self::Start(String::new())
    }
}

impl ThinkBlock {
    /// Would `text`, coming next, pass as it is?
    pub(super) fn pass(&self, text: &str) -> bool {
        match self {
            Self::Answer => true,
            Self::Start(held) if held.is_empty() => {
                let mut letters = text.bytes().filter(|it| !it.is_ascii_whitespace());
                text.is_empty() || letters.next().is_some_and(|it| it != b'<')
            }
            _ => text.is_empty(),
        }
    }

    /// Takes note of text that passes.
    pub(super) fn passed(&mut self, text: &str) {
        if !text.is_empty() {
            *self = Self::Answer;
        }
    }

    /// Looks for no tag: reasoning came in a member of its own.
    pub(super) fn skip(&mut self) {
        if matches!(self, Self::Start(held) if held.is_empty()) {
            *self = Self::Answer;
        }
    }

    /// Is anything held back?
    pub(super) fn hold(&self) -> bool {
        match self {
            Self::Start(held) | Self::Within { held, .. } => !held.is_empty(),
            Self::Behind | Self::Answer => false,
        }
    }

    /// Parts the text that comes next.
    pub(super) fn push(&mut self, text: &str) -> Parted {
        if text.is_empty() {
            return Parted::default();
        }
        match std::mem::replace(self, Self::Answer) {
            Self::Start(held) => self.open(held + text),
            Self::Within { held, begun } => self.think(&(held + text), begun),
            Self::Behind => self.answer(text),
            Self::Answer => Parted { text: text.to_owned(), ..Parted::default() },
        }
    }

    /// What is held back, when nothing more comes.
    pub(super) fn finish(&mut self) -> Parted {
        match std::mem::replace(self, Self::Answer) {
            Self::Start(text) => Parted { text, ..Parted::default() },
            Self::Within { held, .. } => {
                Parted { reasoning: held.trim_end().to_owned(), ..Parted::default() }
            }
            Self::Behind | Self::Answer => Parted::default(),
        }
    }

    fn open(&mut self, text: String) -> Parted {
        let begun = text.trim_start();
        if let Some(thought) = begun.strip_prefix(OPEN) {
            return self.think(thought, false);
        }
        if OPEN.starts_with(begun) && text.len() <= HELD_BYTES {
            *self = Self::Start(text);
            return Parted::default();
        }
        Parted { text, ..Parted::default() }
    }

    fn think(&mut self, text: &str, begun: bool) -> Parted {
        let text = if begun { text } else { text.trim_start() };
        if let Some((thought, rest)) = text.split_once(CLOSE) {
            let answered = self.answer(rest);
            return Parted { reasoning: thought.trim_end().to_owned(), text: answered.text };
        }
        let tag = (1..CLOSE.len())
            .rev()
            .find(|it| CLOSE.get(..*it).is_some_and(|begin| text.ends_with(begin)));
        let tagless = text.len() - tag.unwrap_or(0);
        let solid = text.get(..tagless).map_or(0, |it| it.trim_end().len());
        let end = if text.len() - solid > HELD_BYTES { tagless } else { solid };
        let (said, held) = text.split_at_checked(end).unwrap_or((text, ""));
        *self = Self::Within { held: held.to_owned(), begun: begun || !said.is_empty() };
        Parted { reasoning: said.to_owned(), ..Parted::default() }
    }

    fn answer(&mut self, text: &str) -> Parted {
        let text = text.trim_start();
        *self = if text.is_empty() { Self::Behind } else { Self::Answer };
        Parted { text: text.to_owned(), ..Parted::default() }
    }
}

/// Parts a whole message. A block without its opening tag, which some templates swallow, counts
/// where nothing else can be meant: one closing tag, at the end of a line, no opening one, and no
/// code before it.
pub(super) fn part(text: &str) -> Option<Parted> {
    let mut thoughts = ThinkBlock::default();
    if !thoughts.pass(text) {
        let parted = thoughts.push(text);
        let rest = thoughts.finish();
        let parted = Parted {
            reasoning: parted.reasoning + &rest.reasoning,
            text: parted.text + &rest.text,
        };
        return (parted.text != text).then_some(parted);
    }
    let (thought, answer) = text.split_once(CLOSE)?;
    let alone = !answer.contains(CLOSE) && !text.contains(OPEN) && !thought.contains('`');
    let ends_line = answer.starts_with(['\n', '\r']) || thought.ends_with('\n');
    (alone && ends_line).then(|| Parted {
        reasoning: thought.trim().to_owned(),
        text: answer.trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Parted {
        let mut thoughts = ThinkBlock::default();
        let mut all = Parted::default();
        for piece in pieces {
            let parted = if thoughts.pass(piece) {
                thoughts.passed(piece);
                Parted { text: piece.to_owned(), ..Parted::default() }
            } else {
                thoughts.push(piece)
            };
            all.reasoning += &parted.reasoning;
            all.text += &parted.text;
        }
        let rest = thoughts.finish();
        Parted { reasoning: all.reasoning + &rest.reasoning, text: all.text + &rest.text }
    }

    fn check(text: &str, reasoning: &str, answer: &str) {
        let expected = Parted { reasoning: reasoning.to_owned(), text: answer.to_owned() };
        assert_eq!(stream([text]), expected, "{text}");
        let letters: Vec<_> = text.chars().map(String::from).collect();
        assert_eq!(stream(letters.iter().map(String::as_str)), expected, "{text} by letter");
        assert_eq!(
            part(text).unwrap_or(Parted { text: text.to_owned(), ..Parted::default() }),
            expected
        );
    }

    #[test]
    fn a_leading_block_is_parted_from_the_answer() {
        check("<think>hm</think>Hello", "hm", "Hello");
        check(
            "\n<think>\nhm\n hm\n</think>\n\nHello <think>x</think>\n",
            "hm\n hm",
            "Hello <think>x</think>\n",
        );
        check("<think>\n\n</think>\n\nHello", "", "Hello");
        check("<think>a </thin b < c</think>d", "a </thin b < c", "d");
        check("<think>cut off </th", "cut off </th", "");
        check("<think>cut off \n", "cut off", "");
        check("<think>日本</think>語", "日本", "語");
    }

    #[test]
    fn anything_else_stays() {
        for text in [
            "Hello",
            " Hello",
            "",
            "<",
            "<thin",
            "<thinking>x",
            "a <think>b</think>",
            "\n \n",
            "<b>",
        ] {
            check(text, "", text);
        }
    }

    #[test]
    fn a_block_whose_opening_was_swallowed_is_known_in_a_whole_message_alone() {
        let parted = |reasoning: &str, text: &str| {
            Some(Parted { reasoning: reasoning.to_owned(), text: text.to_owned() })
        };
        assert_eq!(part("I greet.\n</think>\n\nHello"), parted("I greet.", "Hello"));
        assert_eq!(part("I greet.</think>\nHello"), parted("I greet.", "Hello"));
        for text in [
            "The tag </think> ends it.",
            "Write `<b>`\n</think>\nthen",
            "a\n</think>\nb\n</think>\nc",
            "Between <think> and\n</think>\nit thinks",
        ] {
            assert_eq!(part(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut thoughts = ThinkBlock::default();
        assert_eq!(thoughts.push("<think>a").reasoning, "a");
        let space = " ".repeat(4 * HELD_BYTES);
        assert_eq!(thoughts.push(&space).reasoning, space);
        let mut start = ThinkBlock::default();
        assert_eq!(start.push(&space).text, space);
    }

    proptest! {
        #[test]
        fn any_splitting_parts_the_same_and_loses_no_letter(
            text in "(<think>)?([a<>/ \\n]|think|</think>){0,12}",
            cuts in prop::collection::vec(1_usize..5, 1..8),
        ) {
            let mut rest = text.as_str();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            let parted = stream(pieces);
            prop_assert_eq!(&parted, &stream([text.as_str()]));
            let solid = |it: &str| it.split_whitespace().collect::<String>();
            let block = text.trim_start().strip_prefix(OPEN);
            let expected = block.map_or(text.clone(), |it| it.replacen(CLOSE, "", 1));
            prop_assert_eq!(solid(&(parted.reasoning + &parted.text)), solid(&expected));
        }
    }
}
