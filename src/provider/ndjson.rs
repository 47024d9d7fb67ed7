//! A response body read as lines of JSON.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::transport::AnswerBody;

/// Longest line, in bytes. Lines of text are under 1 KiB; a whole tool call in one line may be some
/// hundred KiB.
const LINE_BYTES: usize = 1024 * 1024;

/// The lines of a body under way. Dropping it closes the connection.
pub struct LineStream {
    body: AnswerBody,
    lines: Lines,
    over: bool,
}

impl LineStream {
    /// Reads `body`.
    pub fn new(body: impl Into<AnswerBody>) -> Self {
        Self { body: body.into(), lines: Lines::new(LINE_BYTES), over: false }
    }

    /// Has the body ended?
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next line that is not blank, without its end; `None` when the body is over. The last
    /// line counts whether it is ended or not.
    ///
    /// # Errors
    /// [`FaultKind::Cut`] when the connection breaks, [`FaultKind::TooLarge`] when a line is too
    /// long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(line) = self.lines.next().map_err(too_long)? {
                return Ok(Some(line));
            }
            if self.over {
                return Ok(self.lines.finish());
            }
            match self.body.next().await? {
                Some(piece) => self.lines.feed(piece),
                None => self.over = true,
            }
        }
    }
}

fn too_long(fault: TooLong) -> Fault {
    Fault::new(FaultKind::TooLarge, format!("a line is longer than {} bytes", fault.limit))
}

/// A line is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooLong {
    limit: usize,
}

/// Splits pieces that end anywhere into lines. Every byte is looked at once, and no more than one
/// line is kept beside the piece it came in.
struct Lines {
    pieces: VecDeque<Bytes>,
    /// The beginning of a line that is not over.
    partial: BytesMut,
    limit: usize,
}

impl Lines {
    fn new(limit: usize) -> Self {
        Self { pieces: VecDeque::new(), partial: BytesMut::new(), limit }
    }

    fn feed(&mut self, piece: Bytes) {
        self.pieces.push_back(piece);
    }

    fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(piece) = self.pieces.front_mut() {
            let end = memchr(b'\n', piece);
            let length = self.partial.len() + end.unwrap_or(piece.len());
            if length > self.limit {
                return Err(TooLong { limit: self.limit });
            }
            let Some(end) = end else {
                self.partial.extend_from_slice(piece);
                self.pieces.pop_front();
                continue;
            };
            let mut line = piece.split_to(end + 1);
            line.truncate(end);
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(&line);
                line = self.partial.split().freeze();
            }
            if let Some(line) = trimmed(&line) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// What stands after the last line end.
    fn finish(&mut self) -> Option<Bytes> {
        trimmed(&self.partial.split().freeze())
    }
}

/// The line without white space around it; `None` when nothing is left.
fn trimmed(line: &Bytes) -> Option<Bytes> {
    let trimmed = line.trim_ascii();
    (!trimmed.is_empty()).then(|| line.slice_ref(trimmed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Bytes>, TooLong> {
        let mut lines = Lines::new(limit);
        let mut read = Vec::new();
        for piece in pieces {
            lines.feed(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next()? {
                read.push(line);
            }
        }
        read.extend(lines.finish());
        Ok(read)
    }

    fn check(pieces: &[&[u8]], expected: &[&str]) {
        assert_eq!(read(100, pieces).unwrap(), expected, "{pieces:?}");
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_with_the_body() {
        check(&[b"{}\n{\"a\":1}\r\n\r\n \n[]"], &["{}", "{\"a\":1}", "[]"]);
        check(&[b"{", b"\"a\"", b":1}\r", b"\n", b"x\n"], &["{\"a\":1}", "x"]);
        check(&["\"é".as_bytes().split_at(2).0, b"\xa9\"\n"], &["\"é\""]);
        check(&[b"", b"\n"], &[]);
    }

    #[test]
    fn a_line_has_a_bound() {
        assert_eq!(read(3, &[b"abc\nd"]).unwrap().len(), 2);
        assert_eq!(read(3, &[b"ab", b"cd"]), Err(TooLong { limit: 3 }));
        assert_eq!(read(3, &[b"abcd\n"]), Err(TooLong { limit: 3 }));
    }

    #[test]
    fn a_long_line_fed_byte_by_byte_takes_linear_time() {
        // Looking again at what has arrived would take hours here.
        let mut lines = Lines::new(4 << 20);
        let byte = Bytes::from_static(b"x");
        for _ in 0..4 << 20 {
            lines.feed(byte.clone());
            assert_eq!(lines.next(), Ok(None));
        }
        assert_eq!(lines.finish().map(|it| it.len()), Some(4 << 20));
    }

    proptest! {
        #[test]
        fn any_splitting_gives_the_same_lines(
            text in "[ab \\r\\n]{0,40}",
            sizes in prop::collection::vec(1_usize..6, 1..20),
        ) {
            let expected: Vec<&str> =
                text.split('\n').map(str::trim_ascii).filter(|it| !it.is_empty()).collect();
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(read(100, &pieces).unwrap(), expected);
        }
    }
}
