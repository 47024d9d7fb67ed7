//! Where a body ends: what of the bytes that come belongs to it.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;

/// The most that lines between chunks and after them may take, in bytes: one, and all after the last.
const MAX_LINE: usize = 16 * 1024;

/// How a body is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks, each after a line with its length.
    Chunked(Chunked),
    /// By the end of the connection.
    UntilClosed,
}

/// What is taken of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A piece of the body; never empty.
    Data(Bytes),
    /// Nothing: more has to be read, this many bytes if that is known, and else 0.
    More(usize),
    /// Nothing: it is over.
    Over,
}

/// Where in a body of chunks the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In the line before a chunk.
    Size,
    /// So far from the end of a chunk.
    Data(u64),
    /// In the line end after a chunk.
    AfterData,
    /// After the last chunk, where so many bytes of lines may follow.
    Trailers(usize),
    Over,
}

impl Framing {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Size)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the chunks are not written as they have to be.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> io::Result<Taken> {
        match self {
            Self::Length(0) => Ok(Taken::Over),
            Self::Length(rest) => Ok(take_some(rest, read)),
            Self::Chunked(chunked) => chunked.take(read),
            Self::UntilClosed if read.is_empty() => Ok(Taken::More(0)),
            Self::UntilClosed => Ok(Taken::Data(read.split().freeze())),
        }
    }

    /// Is nothing more to come?
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// The bytes it is known to have yet, at the least.
    pub(super) fn least(&self) -> u64 {
        match self {
            Self::Length(rest) => *rest,
            Self::Chunked(_) | Self::UntilClosed => 0,
        }
    }
}

impl Chunked {
    fn take(&mut self, read: &mut BytesMut) -> io::Result<Taken> {
        loop {
            *self = match self {
                Self::Size => match line(read)? {
                    None => return Ok(Taken::More(0)),
                    Some(line) => match size(&line)? {
                        0 => Self::Trailers(MAX_LINE),
                        size => Self::Data(size),
                    },
                },
                Self::Data(0) => Self::AfterData,
                Self::Data(rest) => return Ok(take_some(rest, read)),
                Self::AfterData => match read.get(..2) {
                    None => return Ok(Taken::More(0)),
                    Some(b"\r\n") => {
                        read.advance(2);
                        Self::Size
                    }
                    Some(_) => return Err(bad("a chunk is longer than it says")),
                },
                Self::Trailers(most) => match line(read)? {
                    None => return Ok(Taken::More(0)),
                    Some(line) if line.is_empty() => Self::Over,
                    Some(line) => match most.checked_sub(line.len()) {
                        Some(rest) => Self::Trailers(rest),
                        None => return Err(bad("too much follows the last chunk")),
                    },
                },
                Self::Over => return Ok(Taken::Over),
            };
        }
    }
}

fn take_some(rest: &mut u64, read: &mut BytesMut) -> Taken {
    let wanted = usize::try_from(*rest).unwrap_or(usize::MAX);
    if read.is_empty() {
        return Taken::More(wanted);
    }
    let piece = read.split_to(wanted.min(read.len())).freeze();
    *rest = rest.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    Taken::Data(piece)
}

/// The next line without its end; `None` while that has not come.
fn line(read: &mut BytesMut) -> io::Result<Option<BytesMut>> {
    let Some(end) = memchr(b'\n', read) else {
        return if read.len() > MAX_LINE { Err(bad("a line is too long")) } else { Ok(None) };
    };
    let mut line = read.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(bad("a line ends without a carriage return"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The length before a chunk; what may follow it is of no concern.
fn size(line: &[u8]) -> io::Result<u64> {
    let digits = line.iter().take_while(|it| it.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let follows = rest.trim_ascii_start();
    if !(follows.is_empty() || follows.starts_with(b";")) {
        return Err(bad("a chunk tells no length"));
    }
    let digits = str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| bad("a chunk tells no length"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a body that can't be read: {what}"))
}
