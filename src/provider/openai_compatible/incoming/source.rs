//! Where the events of a stream come from.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;
use http::Response;
use http::header::CONTENT_TYPE;
use memchr::memchr_iter;

use crate::clock::Now;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::exchange::check_is_stream;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::incoming::Asked;
use crate::provider::openai_compatible::incoming::complete::as_event;
use crate::provider::openai_compatible::incoming::complete::complete;
use crate::provider::transport::Incoming;
use crate::provider::transport::read_answer;

pub(in crate::provider::openai_compatible) enum Source {
    /// Server-sent events.
    Events(Box<EventStream>),
    /// What came at once, as JSON.
    Given(VecDeque<Bytes>),
}

impl Source {
    /// Reads the answer to a request for a stream. Some providers give a whole answer all the
    /// same, or a chunk on every line.
    ///
    /// # Errors
    /// What stands there in place of an answer; for anything but events and JSON,
    /// [`crate::provider::fault::FaultKind::Unreadable`].
    pub(super) async fn of(
        asked: &Asked,
        answer: Response<Incoming>,
        now: Now,
    ) -> Result<Self, Fault> {
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        if kind.is_some_and(|it| it.contains("json")) {
            let body = read_answer(answer.into_body()).await?;
            return Ok(Self::Given(events_of(asked, &body, now)?));
        }
        check_is_stream(&answer, "event-stream")?;
        Ok(Self::Events(Box::new(EventStream::new(answer.into_body()))))
    }

    pub(super) async fn next(&mut self) -> Result<Next, Fault> {
        match self {
            Self::Events(events) => events.next().await,
            Self::Given(events) => Ok(events.pop_front().map_or(Next::End, Next::Data)),
        }
    }

    /// All has been said; nothing more is read.
    pub(super) fn leave(&mut self) {
        if let Self::Events(events) = std::mem::replace(self, Self::Given(VecDeque::new())) {
            events.leave();
        }
    }
}

/// The events that a body of JSON stands for: one for a whole answer, or one for each line.
fn events_of(asked: &Asked, body: &Bytes, now: Now) -> Result<VecDeque<Bytes>, Fault> {
    let lines = lines(body);
    match lines.len() {
        2.. => Ok(lines),
        _ => Ok([as_event(&complete(asked, body, now, &mut Rng::new())?)?].into()),
    }
}

/// The lines of a body if each is an object of its own; none for a text that goes on over lines.
fn lines(body: &Bytes) -> VecDeque<Bytes> {
    let ends = memchr_iter(b'\n', body).chain([body.len()]);
    let mut start = 0;
    let mut lines = VecDeque::new();
    for end in ends {
        let line = body.get(start..end).unwrap_or_default().trim_ascii();
        start = end + 1;
        if line.is_empty() {
            continue;
        }
        if !(line.starts_with(b"{") && line.ends_with(b"}")) {
            return VecDeque::new();
        }
        lines.push_back(body.slice_ref(line));
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::provider::fault::FaultKind;

    use crate::provider::openai_compatible::incoming::written::Tools;

    use super::*;

    fn nobody() -> Asked {
        Asked { provider: "", tools: Tools::default(), choices: 1, shelf: None, verbatim: false }
    }

    fn check(body: &str, expected: &[&str]) {
        let events = events_of(&nobody(), &body.to_owned().into(), Now::default()).unwrap();
        assert_eq!(events, expected, "{body}");
    }

    #[test]
    fn a_whole_answer_is_one_event() {
        check(
            "\n\n{\"object\":\"chat.completion\",\n\"choices\":[{\"index\":0,\n\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n",
            &[
                r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            ],
        );
        check(
            r#"{"choices":[{"index":0,"message":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
            &[
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"index":0}]},"finish_reason":"tool_calls"}],"object":"chat.completion.chunk"}"#,
            ],
        );
    }

    #[test]
    fn lines_are_an_event_each() {
        check("{\"choices\":[]}\r\n\n {\"a\":{}}\n", &[r#"{"choices":[]}"#, r#"{"a":{}}"#]);
    }

    #[test]
    fn an_error_is_one() {
        for (body, kind) in [
            (r#"{"error":{"message":"x","code":503}}"#, FaultKind::Server),
            (r#"[{"error":{"message":"x","code":503}}]"#, FaultKind::Server),
            ("null", FaultKind::Unreadable),
        ] {
            let fault = events_of(&nobody(), &body.to_owned().into(), Now::default()).unwrap_err();
            assert_eq!(fault.kind, kind, "{body}");
        }
    }
}
