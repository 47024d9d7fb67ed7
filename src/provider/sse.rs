//! Server-sent events, read without trust in their size: a state machine fed with bytes.
//!
//! Follows the WHATWG event stream grammar. Every byte is looked at once however the stream is cut
//! into chunks, and memory is bounded by the size allowed for one event. A `data:` line that lies
//! whole in one chunk is handed on as a slice of it, uncopied.

use std::collections::VecDeque;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use memchr::memchr;
use memchr::memchr2;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event. Its bytes are the provider's: nothing checks that they are UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name from the `event` field, if it has one.
    pub event: Option<Bytes>,
    /// The `data` lines, joined by LF. May be empty.
    pub data: Bytes,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// The lines of one event are longer than allowed.
    #[error("a stream event is larger than {limit} bytes")]
    EventTooLarge {
        /// The bytes allowed for one event.
        limit: usize,
    },
}

/// Reads events out of the chunks of a response body.
///
/// After each [`feed`](Self::feed), call [`next_event`](Self::next_event) until it gives `None`,
/// and at the end of the body [`finish`](Self::finish) in the same way.
#[derive(Debug)]
pub struct SseReader {
    max_event_bytes: usize,
    /// What has been fed and not yet read. One chunk at most, if events are taken as told.
    chunks: VecDeque<Bytes>,
    start: Start,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    /// Reading a comment: it is dropped as it comes.
    in_comment: bool,
    /// The last byte was CR: an LF now belongs to the same line end.
    after_cr: bool,
    event: Pending,
    failed: bool,
}

/// Whether the byte order mark may still come.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// This many of its bytes have been read.
    Bom(usize),
    Over,
}

/// The event whose blank line has not arrived.
#[derive(Debug, Default)]
struct Pending {
    name: Option<Bytes>,
    data: Data,
    /// Bytes in its lines so far.
    size: usize,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Joined(BytesMut),
}

impl SseReader {
    /// A reader at the beginning of a stream.
    ///
    /// `max_event_bytes` bounds the lines of one event, field names included, line ends and
    /// comments not.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            chunks: VecDeque::new(),
            start: Start::Bom(0),
            partial: BytesMut::new(),
            in_comment: false,
            after_cr: false,
            event: Pending::default(),
            failed: false,
        }
    }

    /// Takes the next piece of the body.
    pub fn feed(&mut self, chunk: Bytes) {
        if !chunk.is_empty() && !self.failed {
            self.chunks.push_back(chunk);
        }
    }

    /// The next event, or `None` when more must be fed first.
    ///
    /// # Errors
    /// [`SseError::EventTooLarge`]; the stream is of no more use then, and every later call says
    /// the same.
    pub fn next_event(&mut self) -> Result<Option<Event>, SseError> {
        if self.failed {
            return Err(self.too_large());
        }
        while let Some(mut chunk) = self.chunks.pop_front() {
            let found = self.read(&mut chunk);
            if !chunk.is_empty() && !self.failed {
                self.chunks.push_front(chunk);
            }
            if let Some(event) = found? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Ends the stream: what is left, event by event, then `None`.
    ///
    /// The grammar discards a last event without its blank line. Here it counts if it has data:
    /// some providers close the connection right behind the last line, which is often the one with
    /// the usage figures or `[DONE]`. It may also be a line that was torn apart, so the caller must
    /// be ready for data that does not parse.
    ///
    /// # Errors
    /// As for [`next_event`](Self::next_event).
    pub fn finish(&mut self) -> Result<Option<Event>, SseError> {
        if let Some(event) = self.next_event()? {
            return Ok(Some(event));
        }
        self.end_bom();
        let line = self.partial.split().freeze();
        self.in_comment = false;
        self.line(line)?;
        Ok(self.event.take())
    }

    /// Reads `chunk` up to the end of the first event in it.
    fn read(&mut self, chunk: &mut Bytes) -> Result<Option<Event>, SseError> {
        self.skip_bom(chunk);
        loop {
            let Some(&byte) = chunk.first() else { return Ok(None) };
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                chunk.advance(1);
                continue;
            }
            if self.partial.is_empty() && byte == b':' {
                self.in_comment = true;
            }
            let Some(end) = memchr2(b'\n', b'\r', chunk) else {
                let rest = std::mem::take(chunk);
                return self.hold(&rest).map(|()| None);
            };
            let piece = chunk.split_to(end);
            self.after_cr = chunk.first() == Some(&b'\r');
            chunk.advance(1);
            if self.end_line(piece)?
                && let Some(event) = self.event.take()
            {
                return Ok(Some(event));
            }
        }
    }

    /// Keeps the beginning of a line until the rest arrives.
    fn hold(&mut self, piece: &[u8]) -> Result<(), SseError> {
        if self.in_comment {
            return Ok(());
        }
        self.check_size(self.partial.len() + piece.len())?;
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    /// Reads the line that ends with `piece`. Answers whether it ends the event.
    fn end_line(&mut self, piece: Bytes) -> Result<bool, SseError> {
        if std::mem::take(&mut self.in_comment) {
            return Ok(false);
        }
        let line = if self.partial.is_empty() {
            piece
        } else {
            self.hold(&piece)?;
            self.partial.split().freeze()
        };
        if line.is_empty() {
            return Ok(true);
        }
        self.line(line).map(|()| false)
    }

    /// Takes one whole line, which is no comment, into the event.
    fn line(&mut self, line: Bytes) -> Result<(), SseError> {
        self.check_size(line.len())?;
        self.event.size += line.len();
        let (name, value) = split_field(line);
        match name.as_ref() {
            b"data" => self.event.data.push(value),
            b"event" => self.event.name = Some(value).filter(|name| !name.is_empty()),
            // `id` and `retry` are for browsers that reconnect.
            _ => {}
        }
        Ok(())
    }

    /// Checks the event's size with a line of `line` bytes added.
    fn check_size(&mut self, line: usize) -> Result<(), SseError> {
        if self.event.size + line <= self.max_event_bytes {
            return Ok(());
        }
        self.failed = true;
        self.chunks.clear();
        self.partial = BytesMut::new();
        self.event = Pending::default();
        Err(self.too_large())
    }

    fn too_large(&self) -> SseError {
        SseError::EventTooLarge { limit: self.max_event_bytes }
    }

    /// Skips a byte order mark at the start of the stream.
    fn skip_bom(&mut self, chunk: &mut Bytes) {
        while let Start::Bom(read) = self.start {
            let Some(byte) = chunk.first() else { return };
            if BOM.get(read) != Some(byte) {
                self.end_bom();
            } else if read + 1 == BOM.len() {
                self.start = Start::Over;
                chunk.advance(1);
            } else {
                self.start = Start::Bom(read + 1);
                chunk.advance(1);
            }
        }
    }

    /// What looked like a byte order mark is not one: it belongs to the first line.
    fn end_bom(&mut self) {
        if let Start::Bom(read) = self.start {
            self.partial.extend_from_slice(BOM.get(..read).unwrap_or_default());
            self.start = Start::Over;
        }
    }
}

impl Pending {
    /// Ends the event. Without a `data` line it is none.
    fn take(&mut self) -> Option<Event> {
        let Self { name, data, .. } = std::mem::take(self);
        let data = match data {
            Data::None => return None,
            Data::One(data) => data,
            Data::Joined(data) => data.freeze(),
        };
        Some(Event { event: name, data })
    }
}

impl Data {
    fn push(&mut self, line: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(line),
            Self::One(first) => Self::Joined(joined(BytesMut::from(first), &line)),
            Self::Joined(lines) => Self::Joined(joined(lines, &line)),
        };
    }
}

fn joined(mut lines: BytesMut, line: &[u8]) -> BytesMut {
    lines.reserve(line.len() + 1);
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(line);
    lines
}

/// Splits a line at its first colon; one space after the colon is not part of the value.
fn split_field(mut line: Bytes) -> (Bytes, Bytes) {
    let Some(colon) = memchr(b':', &line) else { return (line, Bytes::new()) };
    let name = line.split_to(colon);
    line.advance(if line.get(1) == Some(&b' ') { 2 } else { 1 });
    (name, line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and data of each event.
    type Events = Vec<(Vec<u8>, Vec<u8>)>;
    type Read = (Events, Option<SseError>);

    fn drain(reader: &mut SseReader, read: &mut Read, end: bool) {
        loop {
            match if end { reader.finish() } else { reader.next_event() } {
                Ok(Some(Event { event, data })) => {
                    read.0.push((event.unwrap_or_default().to_vec(), data.to_vec()));
                }
                Ok(None) => return,
                Err(error) => {
                    assert_eq!(reader.next_event(), Err(error), "an error stays");
                    read.1 = Some(error);
                    return;
                }
            }
        }
    }

    fn read<'a>(limit: usize, chunks: impl Iterator<Item = &'a [u8]>) -> Read {
        let mut reader = SseReader::new(limit);
        let mut read = Read::default();
        for chunk in chunks {
            reader.feed(Bytes::copy_from_slice(chunk));
            drain(&mut reader, &mut read, false);
        }
        drain(&mut reader, &mut read, true);
        read
    }

    /// The grammar in plain words, on the whole stream, without limits. The events, and the size
    /// of the largest.
    fn oracle(stream: &[u8]) -> (Events, usize) {
        let bytes =
            |text: &str| text.chars().filter_map(|c| u8::try_from(c).ok()).collect::<Vec<u8>>();
        let text: String = stream.iter().copied().map(char::from).collect();
        let text = text.strip_prefix("\u{ef}\u{bb}\u{bf}").unwrap_or(&text).to_owned();
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), None::<String>);
        let (mut size, mut largest) = (0, 0);
        for line in text.split('\n').chain([""]) {
            if line.is_empty() {
                if let Some(data) = data.take() {
                    events.push((bytes(&name), bytes(&data)));
                }
                (name, size) = (String::new(), 0);
                continue;
            }
            if line.starts_with(':') {
                continue;
            }
            size += line.chars().count();
            largest = largest.max(size);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data = Some(data.map_or(value.to_owned(), |data| data + "\n" + value)),
                "event" => value.clone_into(&mut name),
                _ => {}
            }
        }
        (events, largest)
    }

    fn check(stream: &[u8], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| (name.as_bytes().to_vec(), data.as_bytes().to_vec()))
            .collect();
        let limit = 1 << 20;
        let shown = String::from_utf8_lossy(stream);
        assert_eq!(read(limit, [stream].into_iter()), (expected.clone(), None), "{shown:?}");
        assert_eq!(read(limit, stream.chunks(1)), (expected.clone(), None), "{shown:?} by byte");
        assert_eq!(oracle(stream).0, expected, "{shown:?} by the oracle");
    }

    #[test]
    fn the_grammar() {
        check(b"", &[]);
        check(b"data: a\n\n", &[("", "a")]);
        check(b"data:a\n\ndata:  b\n\n", &[("", "a"), ("", " b")]);
        check(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", &[("", "a"), ("", "b"), ("", "c")]);
        check(b"data: a\r\ndata: b\r\n\r\n", &[("", "a\nb")]);
        check(b"data: a\r\n\ndata: b\n\r\n", &[("", "a"), ("", "b")]);
        check(b"data: a\ndata\ndata:\ndata: b\n\n", &[("", "a\n\n\nb")]);
        check(b"data\n\ndata:\n\n", &[("", ""), ("", "")]);
        check(b"event: ping\ndata: {}\n\n", &[("ping", "{}")]);
        check(b"event: ping\n\ndata: x\n\n", &[("", "x")]);
        check(b"event: a\nevent:\ndata: x\n\n", &[("", "x")]);
        check(b": hello\n\n: again\ndata: x\n: more\n\n", &[("", "x")]);
        check(b"id: 7\nretry: 10\nfoo\nbar: baz\ndata: x\n\n", &[("", "x")]);
        check(b"Data: no\n data: no\ndata : no\n\n", &[]);
        check(b"data: a:b: c\n\n", &[("", "a:b: c")]);
        check(b"\n\n\r\n\rdata: x\n\n\n\n", &[("", "x")]);
        check("data: é😀日\n\n".as_bytes(), &[("", "é😀日")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        check(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", &[("", "a")]);
        check(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", &[]);
        check(b"\xef\xbbdata: a\n\ndata: b\n\n", &[("", "b")]);
        check(b"\xef\xbb\xbf: comment\n\xef\xbb", &[]);
        check(b"\xef\xbb", &[]);
    }

    #[test]
    fn an_event_without_its_blank_line_counts_at_the_end() {
        check(b"data: a\n\ndata: [DONE]", &[("", "a"), ("", "[DONE]")]);
        check(b"data: a\n", &[("", "a")]);
        check(b"data: a\r\n\r", &[("", "a")]);
        check(b"event: end\n", &[]);
        check(b"data: a\n\n: bye", &[("", "a")]);
    }

    #[test]
    fn what_is_larger_than_allowed_is_an_error() {
        let error = SseError::EventTooLarge { limit: 10 };
        assert_eq!(error.to_string(), "a stream event is larger than 10 bytes");
        let too_large = Some(error);
        for (stream, events, error) in [
            ("data: 1234\n\n", 1, None),
            ("data: 12345\n\n", 0, too_large),
            ("data: 1\n\ndata: 12345\n\ndata: 2\n\n", 1, too_large),
            ("data:1\ndata\n\n", 1, None),
            ("data:1\ndata:\n\n", 0, too_large),
            ("event: 1234\n\n", 0, too_large),
            ("unknown: too long", 0, too_large),
            ("data: 1\n: a comment of any length counts nothing\n\n", 1, None),
        ] {
            let whole = read(10, [stream.as_bytes()].into_iter());
            assert_eq!((whole.0.len(), whole.1), (events, error), "{stream:?}");
            assert_eq!(read(10, stream.as_bytes().chunks(1)), whole, "{stream:?} by byte");
        }
    }

    #[test]
    fn an_endless_line_is_never_kept() {
        let mut reader = SseReader::new(1000);
        reader.feed(Bytes::from_static(b": "));
        for _ in 0..1000 {
            reader.feed(Bytes::from_static(&[b'x'; 1000]));
            assert_eq!(reader.next_event(), Ok(None));
        }
        assert_eq!(reader.partial.capacity(), 0);
        reader.feed(Bytes::from_static(b"\ndata"));
        let failed = (0..1000).any(|_| {
            reader.feed(Bytes::from_static(&[b'x'; 100]));
            reader.next_event().is_err()
        });
        assert!(failed);
        assert_eq!((reader.partial.capacity(), reader.chunks.len()), (0, 0));
        reader.feed(Bytes::from_static(b"data: a\n\n"));
        assert!(reader.next_event().is_err());
        assert!(reader.finish().is_err());
    }

    #[test]
    fn a_line_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: {\"a\":1}\n\n");
        let mut reader = SseReader::new(100);
        reader.feed(chunk.clone());
        let event = reader.next_event().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn a_large_event_fed_byte_by_byte_takes_linear_time() {
        // Scanning again what has arrived would take hours here.
        let line = Bytes::from([b"data: ".as_slice(), &vec![b'x'; 4 << 20], b"\n\n"].concat());
        let mut reader = SseReader::new(line.len());
        let mut events = Vec::new();
        for at in 0..line.len() {
            reader.feed(line.slice(at..=at));
            events.extend(reader.next_event().unwrap());
        }
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].data.len(), 4 << 20);
    }

    #[test]
    fn chunks_may_be_fed_before_events_are_taken() {
        let mut reader = SseReader::new(100);
        for piece in [&b"data: a\n\nda"[..], b"", b"ta: b\n", b"\ndata: c"] {
            reader.feed(Bytes::from_static(piece));
        }
        let mut read = Read::default();
        drain(&mut reader, &mut read, true);
        let data: Vec<_> = read.0.iter().map(|(_, data)| data.as_slice()).collect();
        assert_eq!(data, [b"a", b"b", b"c"]);
    }

    #[test]
    fn providers_streams_are_read_whole() {
        macro_rules! wire {
            ($($name:literal => $events:literal),* $(,)?) => {
                [$(($name, &include_bytes!(concat!("../../tests/wire/", $name))[..], $events)),*]
            };
        }
        for (name, stream, events) in wire! {
            "cerebras/stream.sse" => 5,
            "cerebras/stream_tool_call.sse" => 4,
            "deepseek/stream.sse" => 5,
            "deepseek/stream_tool_call.sse" => 6,
            "gemini/stream.sse" => 2,
            "gemini/stream_crlf.sse" => 1,
            "gemini/stream_tool_call.sse" => 3,
            "groq/stream.sse" => 6,
            "groq/stream_error_in_200.sse" => 2,
            "groq/stream_include_usage.sse" => 5,
            "groq/stream_tool_call.sse" => 4,
            "mistral/stream.sse" => 4,
            "mistral/stream_tool_call.sse" => 3,
            "openrouter/stream.sse" => 6,
            "openrouter/stream_error_mid.sse" => 2,
            "openrouter/stream_tool_call.sse" => 4,
        } {
            let at_once = read(1 << 16, [stream].into_iter());
            assert_eq!((at_once.0.len(), at_once.1), (events, None), "{name}");
            assert_eq!(at_once.0, oracle(stream).0, "{name} by the oracle");
            for (_, data) in &at_once.0 {
                assert!(data == b"[DONE]" || data.starts_with(b"{") && data.ends_with(b"}"));
            }
            for size in 1..=16 {
                assert_eq!(read(1 << 16, stream.chunks(size)), at_once, "{name} by {size}");
            }
        }
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => prop::sample::select(vec![
                "data: ", "data:", "data", "event: ", "event:x", ":", ": ping", "id: 1", "a", " ",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            4 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\r\r"])
                .prop_map(|text| text.as_bytes().to_vec()),
            1 => Just(BOM.to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_events_of_the_grammar(
            stream in streams(),
            limit in 0_usize..40,
            sizes in prop::collection::vec(1_usize..12, 1..40),
        ) {
            let (events, largest) = oracle(&stream);
            let mut rest = stream.as_slice();
            let chunks = sizes.iter().cycle().map_while(|&size| {
                let (chunk, tail) = rest.split_at(size.min(rest.len()));
                rest = tail;
                (!chunk.is_empty()).then_some(chunk)
            });
            let in_chunks: Vec<&[u8]> = chunks.collect();
            prop_assert_eq!(read(1 << 20, in_chunks.iter().copied()), (events.clone(), None));

            let at_once = read(limit, [stream.as_slice()].into_iter());
            prop_assert_eq!(read(limit, in_chunks.iter().copied()), at_once.clone());
            prop_assert_eq!(at_once.1.is_some(), largest > limit);
            prop_assert_eq!(&at_once.0[..], &events[..at_once.0.len()]);
        }
    }
}
