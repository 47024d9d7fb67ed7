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
use super::bell::Bell;
use super::errors::{broken, stopping};
use super::slots::Slot;

const DONE: &[u8] = b"data: [DONE]\n\n";
const COMMENT: &[u8] = b": keep-alive\n\n";
/// Once so many bytes are there to be sent, no more are waited for.
const PIECE: usize = 16 * 1024;

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
    calls: Bell,
    request_id: Arc<str>,
    ticks: Interval,
    /// Has anything been sent since the last tick?
    spoke: bool,
    time_is_up: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Of what may speak while the source is silent.
    interrupts: Bell,
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
        let (calls, interrupts) = (Bell::new(), Bell::new());
        Self {
            parting,
            source,
            calls,
            request_id,
            ticks,
            spoke: false,
            time_is_up,
            interrupts,
            _slot: slot,
        }
    }

    /// All that there is to say now, in one piece: what came together goes out with one write.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = Vec::new();
        while out.len() < PIECE && !matches!(self.source, Source::Over) {
            match self.poll_source(cx) {
                Poll::Ready(said) => self.say(said, &mut out),
                Poll::Pending if out.is_empty() => ready!(self.poll_interrupts(cx, &mut out)),
                Poll::Pending => break,
            }
        }
        self.spoke = true;
        Poll::Ready((!out.is_empty()).then(|| out.into()))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Said> {
        let Self { calls, source, .. } = self;
        // The source is not used again after it has panicked.
        let said = catch_unwind(AssertUnwindSafe(|| calls.poll(cx, |cx| source.poll(cx))));
        said.unwrap_or_else(|_| {
            tracing::error!(request_id = &*self.request_id, "a stream panicked");
            Poll::Ready(Said::Error(Box::new(broken())))
        })
    }

    fn say(&mut self, said: Said, out: &mut Vec<u8>) {
        match said {
            Said::Event(Event::Chunk(data)) => write_event(out, &data),
            Said::Event(Event::Comment(text)) => write_comment(out, &text),
            Said::Error(error) => {
                self.source = Source::Over;
                write_event(out, error.to_json(&self.request_id).as_bytes());
            }
            Said::Complete => {
                self.source = Source::Over;
                out.extend_from_slice(DONE);
            }
        }
    }

    /// Ready when something is to be said although the source is silent.
    fn poll_interrupts(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let Self { interrupts, time_is_up, ticks, spoke, .. } = self;
        let time_is_up = ready!(interrupts.poll(cx, |cx| {
            if time_is_up.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            poll_silence(ticks, spoke, cx).map(|()| false)
        }));
        if time_is_up {
            self.parting.ending.count();
            self.parting.progress.tell_cut("the gateway stops");
            self.source = Source::Over;
            write_event(out, stopping().to_json(&self.request_id).as_bytes());
        } else {
            out.extend_from_slice(COMMENT);
        }
        Poll::Ready(())
    }
}

/// Ready when a comment is due.
fn poll_silence(ticks: &mut Interval, spoke: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        ready!(ticks.poll_tick(cx));
        if !std::mem::take(spoke) {
            return Poll::Ready(());
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

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Over)
    }
}

/// A comment, in one line.
fn write_comment(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!(": {}\n\n", text.replace(['\n', '\r'], " ")).as_bytes());
}

/// One event, in one piece. In JSON a line end can only be white space between tokens, where a
/// blank means the same; in an event it would begin another line.
fn write_event(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() + 8);
    out.extend_from_slice(b"data: ");
    let start = out.len();
    out.extend_from_slice(data);
    if memchr::memchr2(b'\n', b'\r', data).is_some() {
        let data = out.iter_mut().skip(start);
        data.filter(|it| matches!(it, b'\n' | b'\r')).for_each(|it| *it = b' ');
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_a_blank_one() {
        let check = |data: &str, expected: &str| {
            let mut out = b"data: 1\n\n".to_vec();
            write_event(&mut out, data.as_bytes());
            assert_eq!(str::from_utf8(&out), Ok(&*format!("data: 1\n\n{expected}")));
        };
        check(r#"{"a":"\n"}"#, "data: {\"a\":\"\\n\"}\n\n");
        check("{\r\n \"a\":1\n}", "data: {   \"a\":1 }\n\n");
        let mut out = Vec::new();
        write_comment(&mut out, "by\na/m");
        assert_eq!(out, b": by a/m\n\n");
    }
}
