//! Whether a Markdown text ends inside a fenced code block.

use memchr::memchr2;

/// Columns of indentation from which a line is indented code: nothing in it has a meaning.
pub(super) const CODE_INDENT: usize = 4;
/// Deeper list nesting than this is read as text.
const MAX_ITEMS: usize = 16;

/// Follows fences through a text that may arrive in any pieces.
///
/// Two readings are kept, and a fence counts as open only when both agree, because a fence added
/// wrongly does more harm than one left out:
/// * `CommonMark`: a fence stands at most three columns inside its list item (or the page), is
///   closed by a bare run at least as long of the same character, and ends with its list item;
/// * a flat count of lines that look like fences at any indentation, where one with an info
///   string opens and a bare one closes. It spares answers that balance by eye but not by rule:
///   code in a list whose lines were not indented, or a fenced example inside a fence.
///
/// Text that continues a list item's paragraph without indentation is taken to leave the list.
/// Fences in block quotes end with the quote and are ignored. A bare `~~~` followed by a blank
/// line, or by nothing, is taken for the ornament it usually is in poems.
///
/// Costs a scan for line ends plus a few steps at each line's beginning; the state is small
/// whatever the text.
#[derive(Debug, Default)]
pub(super) struct Fences {
    line: Line,
    /// Content columns of the list items the line is in, outermost first.
    items: Vec<usize>,
    /// How many of them began on earlier lines.
    outer_items: usize,
    open: Option<Open>,
    /// The flat count.
    unmatched: usize,
    /// The last byte was no line end.
    mid_line: bool,
    /// The last byte was CR: an LF now belongs to the same line end.
    after_cr: bool,
}

/// A fence that is open by `CommonMark`'s reading.
#[derive(Clone, Copy, Debug)]
struct Open {
    byte: u8,
    len: usize,
    /// Content column of the list item it is in; 0 outside lists.
    container: usize,
    ornament: Ornament,
}

/// Whether what reads like a fence is an ornament. While it is or may be, nothing is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ornament {
    No,
    /// The next line tells.
    Perhaps,
    Yes,
}

/// How far the current line has been read.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// In white space at `column`, at the line's start or behind a list marker that ended at
    /// column `marker`.
    Blank { column: usize, marker: Option<usize> },
    /// In the digits of what may be a list marker.
    Number { digits: u8, column: usize },
    /// Behind a list marker, if white space follows.
    Marker { end: usize },
    /// In a run of fence characters, or behind it.
    Run(Run),
    /// Nothing of interest until the next line.
    Rest,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    byte: u8,
    len: usize,
    /// Indented so far that by `CommonMark` it is no fence.
    deep: bool,
    /// The run has ended.
    ended: bool,
    /// Only white space has followed it.
    bare: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self::Blank { column: 0, marker: None }
    }
}

impl Fences {
    /// Reads on.
    pub(super) fn feed(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        if let Some(last) = rest.last() {
            self.mid_line = !matches!(last, b'\n' | b'\r');
        }
        loop {
            if matches!(self.line, Line::Rest) {
                let Some(end) = memchr2(b'\n', b'\r', rest) else { return };
                rest = rest.get(end..).unwrap_or_default();
            }
            let Some((&byte, tail)) = rest.split_first() else { return };
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_line();
                }
                _ => {
                    self.after_cr = false;
                    self.step(byte);
                }
            }
            rest = tail;
        }
    }

    /// What must be appended to close a fence that is open at the end of the text.
    pub(super) fn closing(mut self) -> Option<String> {
        self.end_line();
        let open = self.open.filter(|open| self.unmatched > 0 && open.ornament == Ornament::No)?;
        let mut closing = String::new();
        if self.mid_line {
            closing.push('\n');
        }
        closing.extend(std::iter::repeat_n(' ', open.container));
        closing.extend(std::iter::repeat_n(char::from(open.byte), open.len));
        Some(closing)
    }

    /// Is a fence open at the end of the text by either reading?
    pub(super) fn may_be_open(mut self) -> bool {
        self.end_line();
        self.open.is_some() || self.unmatched > 0
    }

    /// Reads one byte that is no line end.
    fn step(&mut self, byte: u8) {
        self.line = match self.line {
            Line::Blank { column, marker } => match byte {
                b' ' | b'\t' => Line::Blank { column: advance(column, byte), marker },
                _ => self.first(byte, column, marker),
            },
            Line::Number { digits, column } => match byte {
                b'0'..=b'9' if digits < 9 => {
                    Line::Number { digits: digits + 1, column: column + 1 }
                }
                b'.' | b')' => Line::Marker { end: column + 1 },
                _ => Line::Rest,
            },
            Line::Marker { end } => match byte {
                b' ' | b'\t' => Line::Blank { column: advance(end, byte), marker: Some(end) },
                _ => Line::Rest,
            },
            Line::Run(run) => run.step(byte),
            Line::Rest => Line::Rest,
        };
    }

    /// Reads the first byte behind white space.
    fn first(&mut self, byte: u8, column: usize, marker: Option<usize>) -> Line {
        let base = match marker {
            Some(end) => self.begin_item(end, column),
            None => self.leave_items(column),
        };
        let deep = column - base >= CODE_INDENT;
        self.settle_ornament(Ornament::No);
        match byte {
            b'`' | b'~' => Line::Run(Run { byte, len: 1, deep, ended: false, bare: true }),
            _ if deep || self.open.is_some() || self.items.len() >= MAX_ITEMS => Line::Rest,
            b'-' | b'+' | b'*' => Line::Marker { end: column + 1 },
            b'0'..=b'9' => Line::Number { digits: 1, column: column + 1 },
            _ => Line::Rest,
        }
    }

    /// Enters the list item whose marker ended at column `end` and whose text begins at `column`.
    /// Answers its content column.
    fn begin_item(&mut self, end: usize, column: usize) -> usize {
        // White space of five columns and more is one column and then indented code.
        let content = if column - end > CODE_INDENT { end + 1 } else { column };
        self.items.push(content);
        content
    }

    /// Leaves the list items that text at `column` is outside of, and a fence in one of them.
    /// Answers the content column of what it is inside of.
    fn leave_items(&mut self, column: usize) -> usize {
        self.open = self.open.filter(|open| open.container <= column);
        if let Some(open) = self.open {
            return open.container;
        }
        while self.items.last().is_some_and(|&content| content > column) {
            self.items.pop();
        }
        self.outer_items = self.items.len();
        self.items.last().copied().unwrap_or(0)
    }

    fn end_line(&mut self) {
        match std::mem::take(&mut self.line) {
            Line::Run(run) if run.len >= 3 => self.fence(run),
            // `* * *` is a rule, not three lists.
            Line::Marker { .. } | Line::Blank { marker: Some(_), .. }
                if self.items.len() >= self.outer_items + 2 =>
            {
                self.items.truncate(self.outer_items);
            }
            Line::Marker { end } | Line::Blank { marker: Some(end), .. } => {
                self.items.push(end + 1);
            }
            Line::Blank { .. } => self.settle_ornament(Ornament::Yes),
            _ => {}
        }
    }

    fn settle_ornament(&mut self, ornament: Ornament) {
        if let Some(open) = &mut self.open
            && open.ornament == Ornament::Perhaps
        {
            open.ornament = ornament;
        }
    }

    /// Takes a line that looks like a fence into both readings.
    fn fence(&mut self, run: Run) {
        let covered = self.open.is_some_and(|open| run.byte != open.byte || run.len < open.len);
        if covered {
            return;
        }
        self.unmatched = match self.unmatched {
            0 => 1,
            n if run.bare => n - 1,
            n => n.saturating_add(1),
        };
        if run.deep {
            return;
        }
        if self.open.is_none() {
            self.open = Some(Open {
                byte: run.byte,
                len: run.len,
                container: self.items.last().copied().unwrap_or(0),
                ornament: if run.byte == b'~' && run.bare {
                    Ornament::Perhaps
                } else {
                    Ornament::No
                },
            });
        } else if run.bare {
            self.open = None;
        }
    }
}

impl Run {
    fn step(mut self, byte: u8) -> Line {
        if !self.ended && byte == self.byte {
            self.len += 1;
            return Line::Run(self);
        }
        self.ended = true;
        match byte {
            // Inline code, or a run too short for a fence.
            b'`' if self.byte == b'`' => return Line::Rest,
            _ if self.len < 3 => return Line::Rest,
            b' ' | b'\t' => {}
            _ => self.bare = false,
        }
        Line::Run(self)
    }
}

/// The column behind one space or tab at `column`.
pub(super) fn advance(column: usize, byte: u8) -> usize {
    if byte == b'\t' { (column / 4 + 1) * 4 } else { column + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let mut at_once = Fences::default();
        at_once.feed(text);
        assert_eq!(at_once.closing().as_deref(), expected, "{text:?}");
        let mut in_pieces = Fences::default();
        for c in text.chars() {
            in_pieces.feed(c.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(in_pieces.closing().as_deref(), expected, "{text:?} letter by letter");
    }

    #[test]
    fn an_open_fence_is_closed_with_its_own_run() {
        check("```\ncode", Some("\n```"));
        check("```rust\ncode\n", Some("```"));
        check("Text\r\n```\r\ncode\r\n", Some("```"));
        check("````md\n```\ninner\n```\n", Some("````"));
        check("~~~python\n\nprint()", Some("\n~~~"));
        check("~~~\nprint()", Some("\n~~~"));
        check("   ```\ncode", Some("\n```"));
        check("```", Some("\n```"));
        check("one\n```\na\n```\ntwo\n```sh\nls", Some("\n```"));
        check("```\ncode ```", Some("\n```"));
        check("```\ncode\n~~~\n", Some("```"));
        check("```python\na\n```js\nb", Some("\n```"));
    }

    #[test]
    fn an_open_fence_in_a_list_is_closed_inside_the_item() {
        check("- ```js\n  code", Some("\n  ```"));
        check("1. Run\n\n   ```sh\n   ls\n", Some("   ```"));
        check("1. Run\n    ```sh\n    ls", Some("\n   ```"));
        check("- a\n  - b\n    ```\n    x", Some("\n    ```"));
        check("- a\n\ntext\n\n```\nx", Some("\n```"));
    }

    #[test]
    fn a_closed_fence_is_left_alone() {
        check("```\ncode\n```", None);
        check("```\ncode\n`````  \n", None);
        check("   ```\ncode\n ```", None);
        check("- ```js\n  code\n  ```\n", None);
        check("1. Run\n   ```sh\n   ls\n   ```\n2. Done", None);
        check("````md\n```\nx\n```\n````", None);
        check("```\r\ncode\r\n```\r\n", None);
    }

    #[test]
    fn what_is_no_fence_is_left_alone() {
        check("", None);
        check("Use ``` to open a block", None);
        check("```inline``` code", None);
        check("``\nx", None);
        check("~~struck~~ out", None);
        check("    ```\n    shown as text", None);
        check("> ```\n> quoted", None);
        check("Verse one\n\n~~~\n\nVerse two", None);
        check("The end\r\n\r\n~~~\r\n", None);
        check("~~~\n\nVerse\n\n~~~\n\nVerse\n\n~~~", None);
        check("~~~\n\n```\nx", None);
        check("* * *\n     ```\nx", None);
    }

    #[test]
    fn where_renderers_disagree_nothing_is_added() {
        // Ended by its list item.
        check("- ```js\n  code\n\nThen text", None);
        // Code that was not indented with its item.
        check("- Step\n  ```sh\nls\n  ```\nThen text", None);
        // A fenced example inside a fence of the same length.
        check("```md\n```js\nx\n```\n```\n", None);
        // Indented too far to close by rule.
        check("```\ncode\n    ```\n", None);
    }

    #[test]
    fn absurd_nesting_is_text() {
        check(&"- ".repeat(100_000), None);
        check(&format!("{}```", "- ".repeat(100)), None);
    }
}
