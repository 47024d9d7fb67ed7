//! A response body read as server-sent events.

use bytes::Bytes;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::sse::SseError;
use crate::provider::sse::SseReader;
use crate::provider::transport::AnswerBody;

/// Longest event of a stream, in bytes. Events of text are under 1 KiB; a whole tool call in one
/// event may be some hundred KiB.
const EVENT_BYTES: usize = 1024 * 1024;

/// The events of a body under way. Dropping it closes the connection.
pub struct EventStream {
    body: AnswerBody,
    events: SseReader,
    over: bool,
}

/// What comes next in an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The data of a whole event; never empty.
    Data(Bytes),
    /// What stood at the end of the body without the blank line that ends an event. It may be an
    /// event whose provider was careless, or one that was torn.
    Rest(Bytes),
    /// The body is over.
    End,
}

impl EventStream {
    /// Reads `body`.
    pub fn new(body: impl Into<AnswerBody>) -> Self {
        Self { body: body.into(), events: SseReader::new(EVENT_BYTES), over: false }
    }

    /// The next event with data in it.
    ///
    /// # Errors
    /// [`FaultKind::Cut`] when the connection breaks, [`FaultKind::TooLarge`] when an event is
    /// too long.
    pub async fn next(&mut self) -> Result<Next, Fault> {
        let too_long = |it: SseError| Fault::new(FaultKind::TooLarge, it.to_string());
        loop {
            let event = if self.over { self.events.finish() } else { self.events.next_event() };
            let event = event.map_err(too_long)?;
            match event {
                Some(event) if event.data.trim_ascii().is_empty() => {}
                Some(event) if self.over => return Ok(Next::Rest(event.data)),
                Some(event) => return Ok(Next::Data(event.data)),
                None if self.over => return Ok(Next::End),
                None => self.read().await?,
            }
        }
    }

    /// The last event that matters has been read. Unlike dropping it, this keeps the connection where
    /// the body ends here.
    pub fn leave(self) {
        self.body.leave();
    }

    async fn read(&mut self) -> Result<(), Fault> {
        match self.body.next().await? {
            Some(piece) => self.events.feed(piece),
            None => self.over = true,
        }
        Ok(())
    }
}
