//! As much of HTTP/1.1 as a caller or a provider of these checks needs: messages with a length on a
//! connection that stays open.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection.
pub(super) struct Connection(BufReader<TcpStream>);

/// A message: its first line with its headers, each on a line, and its body.
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: String,
}

impl Connection {
    pub(super) fn to(addr: &str) -> Result<Self> {
        Self::over(TcpStream::connect(addr)?)
    }

    pub(super) fn over(socket: TcpStream) -> Result<Self> {
        socket.set_nodelay(true)?;
        // Nothing here takes longer unless something is broken.
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(BufReader::new(socket)))
    }

    /// Sends one message in one piece.
    pub(super) fn send(&mut self, line: &str, body: &str) -> Result<()> {
        let length = body.len();
        let message = format!(
            "{line}\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(message.as_bytes())
    }

    /// Reads one message.
    pub(super) fn receive(&mut self) -> Result<Message> {
        let (mut head, mut length) = (self.line()?, 0);
        loop {
            let header = self.line()?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| Error::from(ErrorKind::InvalidData))?;
            }
            head.push('\n');
            head.push_str(&header);
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(|_| Error::from(ErrorKind::InvalidData))?;
        Ok(Message { head, body })
    }

    /// Asks and reads the answer: its status and its body.
    pub(super) fn ask(&mut self, line: &str, body: &str) -> Result<(u16, String)> {
        self.send(&format!("{line} HTTP/1.1"), body)?;
        let answer = self.receive()?;
        let status = answer.head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Ok((status.ok_or(ErrorKind::InvalidData)?, answer.body))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
