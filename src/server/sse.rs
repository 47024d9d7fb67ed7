//! The body of a streamed answer: server-sent events, with comments where it is silent for long.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http_body::{Body, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::dispatch::outcome::{Answer, Event, Events, Failure};
use crate::openai::ApiError;

use super::arrival::Parting;
use super::errors::{broken, stopping};
use super::slots::Slot;

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Where the events come from.
pub(super) enum Source {
    /// Nothing has come yet, and the headers have gone out without waiting on.
    Silent(BoxFuture<'static, Result<Answer, Failure>>),
    /// The answer has begun.
    Events(Events),
    /// All has been said. What gave the events has been dropped, so the journey is settled before
    /// the last bytes go out.
    Over,
}

/// A stream's body. Dropping it drops what gives the events.
pub(super) struct EventBody {
    /// First, for what is dropped first.
    parting: Parting,
    source: Source,
    request_id: Arc<str>,
    ticks: Interval,
    /// Has anything been sent since the last tick?
    spoke: bool,
    time_is_up: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: Slot,
}

/// What the source has to say.
enum Said {
    Event(Event),
    Error(Box<ApiError>),
    Complete,
}

impl EventBody {
    /// A body that is never silent for longer than `keep_alive`.
    pub(super) fn new(
        source: Source,
        request_id: Arc<str>,
        keep_alive: Duration,
        (parting, slot): (Parting, Slot),
    ) -> Self {
        // A comment follows a whole tick without a word, so silence lasts two ticks at most. To
        // set a timer anew with every event would be exact and cost more than the event.
        let mut ticks = interval((keep_alive / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let time_is_up = Box::pin(parting.ending.wait());
        Self { parting, source, request_id, ticks, spoke: false, time_is_up, _slot: slot }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if matches!(self.source, Source::Over) {
            return Poll::Ready(None);
        }
        // The source is not used again after it has panicked.
        let said = catch_unwind(AssertUnwindSafe(|| self.source.poll(cx)));
        let said = said.unwrap_or_else(|_| {
            tracing::error!(request_id = &*self.request_id, "a stream panicked");
            Poll::Ready(Said::Error(Box::new(broken())))
        });
        let bytes = match said {
            Poll::Ready(Said::Event(Event::Chunk(data))) => event(&data),
            Poll::Ready(Said::Event(Event::Comment(text))) => comment(&text),
            Poll::Ready(Said::Error(error)) => {
                self.source = Source::Over;
                event(error.to_json(&self.request_id).as_bytes())
            }
            Poll::Ready(Said::Complete) => {
                self.source = Source::Over;
                DONE
            }
            Poll::Pending if self.time_is_up.as_mut().poll(cx).is_ready() => {
                self.parting.ending.count();
                self.parting.progress.tell_cut("the gateway stops");
                self.source = Source::Over;
                event(stopping().to_json(&self.request_id).as_bytes())
            }
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                COMMENT
            }
        };
        self.spoke = true;
        Poll::Ready(Some(bytes))
    }

    /// Ready when a comment is due.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.ticks.poll_tick(cx));
            if !std::mem::take(&mut self.spoke) {
                return Poll::Ready(());
            }
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Said> {
        if let Self::Silent(answer) = self {
            match ready!(answer.poll_unpin(cx)) {
                Ok(Answer::Stream { events, .. }) => *self = Self::Events(events),
                // A stream was asked for, and its headers have promised one.
                Ok(Answer::Whole { .. }) => return Poll::Ready(Said::Error(Box::new(broken()))),
                Err(failure) => return Poll::Ready(Said::Error(failure.error)),
            }
        }
        let Self::Events(events) = self else { return Poll::Ready(Said::Complete) };
        Poll::Ready(match ready!(events.poll_next_unpin(cx)) {
            Some(Ok(data)) => Said::Event(data),
            Some(Err(error)) => Said::Error(Box::new(error)),
            None => Said::Complete,
        })
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll_bytes(cx).map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A comment, in one line.
fn comment(text: &str) -> Bytes {
    format!(": {}\n\n", text.replace(['\n', '\r'], " ")).into()
}

/// One event, in one piece. In JSON a line end can only be white space between tokens, where a
/// blank means the same; in an event it would begin another line.
fn event(data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(data);
    if memchr::memchr2(b'\n', b'\r', data).is_some() {
        event.iter_mut().filter(|it| matches!(it, b'\n' | b'\r')).for_each(|it| *it = b' ');
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_a_blank_one() {
        let check = |data: &str, expected: &str| assert_eq!(event(data.as_bytes()), expected);
        check(r#"{"a":"\n"}"#, "data: {\"a\":\"\\n\"}\n\n");
        check("{\r\n \"a\":1\n}", "data: {   \"a\":1 }\n\n");
        assert_eq!(comment("by\na/m"), ": by a/m\n\n");
    }
}
