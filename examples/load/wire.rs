//! The client's side of HTTP/1.1, as cheap as it can be: the processor it needs is the measured
//! one's neighbour.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Most that is read at once, in bytes.
const READ: usize = 64 * 1024;
/// The longest head that is taken, in bytes.
const MOST_HEAD: usize = 64 * 1024;

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Host and port.
    pub(crate) host: String,
    path: String,
}

impl Address {
    /// Reads `http://host:port/path`.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
        Some(Self { host: host.to_owned(), path: format!("/{path}") })
    }

    /// The bytes of a POST of JSON there. `headers` are whole lines without their ends.
    pub(crate) fn post(&self, headers: &[String], body: &[u8]) -> Vec<u8> {
        let more: String = headers.iter().flat_map(|it| [it.as_str(), "\r\n"]).collect();
        let (host, path, length) = (&self.host, &self.path, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{more}\
             content-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(host: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(host).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: vec![0; READ] })
    }

    /// Sends a request and nothing more.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.socket.write_all(request).await
    }

    /// Reads the answer; its body goes to `sink` piece by piece, until that returns false. Gives
    /// the status.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub(crate) async fn receive(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> io::Result<u16> {
        let mut answer = Answer::default();
        loop {
            let count = self.socket.read(&mut self.buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut bytes = self.buffer.get(..count).unwrap_or_default();
            while !bytes.is_empty() && answer.state != State::Done {
                let body = answer.take(&mut bytes)?;
                if !body.is_empty() && !sink(body) {
                    return Ok(answer.status);
                }
            }
            if answer.state == State::Done {
                return Ok(answer.status);
            }
        }
    }
}

/// An answer being read.
#[derive(Default)]
struct Answer {
    state: State,
    status: u16,
    /// What of the head, or of a line between chunks, has come.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body of known length are left.
    Body(usize),
    /// The line with a chunk's length.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(usize),
    /// The line end behind a chunk.
    After,
    /// Lines behind the last chunk.
    Trailer,
    Done,
}

impl Answer {
    /// Takes some of `bytes` and gives what of that belongs to the body.
    fn take<'a>(&mut self, bytes: &mut &'a [u8]) -> io::Result<&'a [u8]> {
        match self.state {
            State::Body(left) | State::Chunk(left) => {
                let (body, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                let left = left - body.len();
                self.state = match self.state {
                    State::Body(_) if left == 0 => State::Done,
                    State::Body(_) => State::Body(left),
                    _ if left == 0 => State::After,
                    _ => State::Chunk(left),
                };
                return Ok(body);
            }
            State::Head => self.head(bytes)?,
            State::Size | State::After | State::Trailer => self.lines(bytes)?,
            State::Done => {}
        }
        Ok(&[])
    }

    fn head(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        let had = self.line.len();
        self.line.extend_from_slice(bytes);
        let from = had.saturating_sub(3);
        let unread = self.line.get(from..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(unread, b"\r\n\r\n").map(|it| from + it + 4) else {
            *bytes = &[];
            return if self.line.len() > MOST_HEAD { Err(no_http()) } else { Ok(()) };
        };
        *bytes = bytes.get(end - had..).unwrap_or_default();
        self.line.truncate(end);
        let head = String::from_utf8_lossy(&self.line).to_ascii_lowercase();
        let mut lines = head.lines();
        let status = lines.next().and_then(|it| it.split(' ').nth(1)?.parse().ok());
        self.status = status.ok_or_else(no_http)?;
        let header = |name: &str| {
            let mut fields = head.lines().filter_map(|it| it.split_once(':'));
            fields.find(|(it, _)| *it == name).map(|(_, value)| value.trim())
        };
        self.state = match header("content-length") {
            Some(length) => match length.parse().map_err(|_| no_http())? {
                0 => State::Done,
                length => State::Body(length),
            },
            None if header("transfer-encoding") == Some("chunked") => State::Size,
            None => return Err(no_http()),
        };
        self.line.clear();
        Ok(())
    }

    /// One line between chunks.
    fn lines(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            *bytes = &[];
            return if self.line.len() > MOST_HEAD { Err(no_http()) } else { Ok(()) };
        };
        let (line, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        self.line.extend_from_slice(line);
        let line = self.line.trim_ascii();
        self.state = match self.state {
            State::Size => {
                let digits = line.split(|it| *it == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits).map_err(|_| no_http())?;
                match usize::from_str_radix(digits, 16).map_err(|_| no_http())? {
                    0 => State::Trailer,
                    size => State::Chunk(size),
                }
            }
            State::After => State::Size,
            _ if line.is_empty() => State::Done,
            other => other,
        };
        self.line.clear();
        Ok(())
    }
}

fn no_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no answer of HTTP/1.1")
}
