//! What comes back: a whole answer or a stream, and the errors inside them.

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use hyper::body::Incoming;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::classify::classify_inside_answer;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::exchange::check_is_stream;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::transport::read_answer;

pub(super) async fn whole(
    provider: &str,
    answer: Response<Incoming>,
    dropped: Vec<&'static str>,
    now: Now,
) -> Result<Reply, Fault> {
    let body = read_answer(answer.into_body()).await?;
    let completion =
        Completion::parse(&body).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
    if let Some(error) = &completion.error {
        return Err(classify_inside_answer(provider, error, now));
    }
    Ok(Reply::Whole(Box::new(Whole { completion, dropped })))
}

pub(super) fn stream(
    provider: &'static str,
    answer: Response<Incoming>,
    dropped: Vec<&'static str>,
    clock: SharedClock,
) -> Result<Reply, Fault> {
    check_is_stream(&answer, "event-stream")?;
    let reading = Reading {
        provider,
        events: EventStream::new(answer.into_body()),
        clock,
        finished: false,
        ended: false,
    };
    let chunks = futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    });
    Ok(Reply::Stream(Pieces { chunks: chunks.boxed(), dropped }))
}

/// A stream under way.
struct Reading {
    provider: &'static str,
    events: EventStream,
    clock: SharedClock,
    /// Has a choice said why it ends? Some providers close after it without an end mark.
    finished: bool,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Chunk, Fault>> {
        if self.ended {
            return None;
        }
        let next = self.read().await.transpose();
        if !matches!(next, Some(Ok(_))) {
            self.ended = true;
        }
        next
    }

    async fn read(&mut self) -> Result<Option<Chunk>, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed without an end mark");
        match self.events.next().await? {
            Next::Data(data) | Next::Rest(data) if data.trim_ascii() == b"[DONE]" => Ok(None),
            Next::Data(data) => self.chunk(&data).map(Some),
            // What can't be read here is a line that was torn, not one that was written badly.
            Next::Rest(data) => match self.chunk(&data) {
                Err(it) if it.kind == FaultKind::Unreadable => Err(cut()),
                read => read.map(Some),
            },
            Next::End if self.finished => Ok(None),
            Next::End => Err(cut()),
        }
    }

    fn chunk(&mut self, data: &Bytes) -> Result<Chunk, Fault> {
        let chunk =
            Chunk::parse(data).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
        if let Some(error) = &chunk.error {
            return Err(classify_inside_answer(self.provider, error, self.clock.now()));
        }
        self.finished |= chunk.choices.iter().any(|it| it.finish.is_some());
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::sse::SseReader;

    use super::*;

    macro_rules! wire {
        ($($name:literal => $expected:expr),* $(,)?) => {
            [$((
                $name,
                &include_bytes!(concat!("../../../tests/wire/", $name))[..],
                $expected,
            )),*]
        };
    }

    #[test]
    fn whole_samples_are_read() {
        for (name, body, tokens) in wire! {
            "cloudflare/completion.json" => (70, 20),
            "cohere/compat_completion.json" => (5, 3),
            "deepseek/completion.json" => (10, 32),
            "deepseek/completion_keepalive_blank_lines.json" => (10, 32),
            "huggingface/completion.json" => (71, 20),
            "nvidia/completion.json" => (71, 19),
            "openai/completion.json" => (12, 9),
            "openrouter/completion.json" => (14, 20),
            "sambanova/completion.json" => (43, 4),
            "together/completion.json" => (15, 4),
            "zai/completion.json" => (8, 265),
        } {
            let answer = Completion::parse(&Bytes::from_static(body)).unwrap();
            let usage = answer.usage.map(|it| (it.prompt, it.completion));
            let text = answer.counted().next();
            assert_eq!((usage, text), (Some(tokens), Some("Hello there.")), "{name}");
        }
        let error = include_bytes!("../../../tests/wire/openrouter/error_in_200.json");
        let answer = Completion::parse(&Bytes::from_static(error)).unwrap();
        let fault = classify_inside_answer("openrouter", &answer.error.unwrap(), Now::default());
        assert_eq!((fault.kind, fault.status), (FaultKind::Server, Some(502)));
    }

    #[test]
    fn streamed_samples_are_read() {
        for (name, stream, expected) in wire! {
            "cloudflare/stream.sse" => ("Hello there.", "stop", Some((70, 20))),
            "deepseek/stream.sse" => ("Hello there.", "stop", Some((10, 32))),
            "deepseek/stream_tool_call.sse" => ("", "tool_calls", Some((10, 32))),
            "nvidia/stream.sse" => ("Hello there.", "stop", Some((71, 19))),
            "openai/stream_include_usage.sse" => ("Hello there.", "stop", Some((12, 9))),
            "openai/stream_tool_call.sse" => ("", "tool_calls", None),
            "openrouter/stream.sse" => ("Hello there.", "stop", Some((14, 20))),
            "openrouter/stream_tool_call.sse" => ("", "tool_calls", None),
            "sambanova/stream.sse" => ("Hello there.", "stop", Some((43, 4))),
            "zai/stream.sse" => ("Hello there.", "stop", Some((8, 265))),
        } {
            let mut events = SseReader::new(1 << 16);
            events.feed(Bytes::from_static(stream));
            let (mut text, mut finish, mut usage, mut done) = (String::new(), None, None, false);
            while let Some(event) = events.next_event().unwrap() {
                if event.data == "[DONE]" {
                    done = true;
                    continue;
                }
                let chunk = Chunk::parse(&event.data).unwrap();
                usage = chunk.usage.or(usage);
                for choice in chunk.choices {
                    assert_eq!(choice.index, 0, "{name}");
                    text.push_str(&choice.text);
                    finish = choice.finish.or(finish);
                }
            }
            let usage = usage.map(|it| (it.prompt, it.completion));
            let read = (text.as_str(), finish.as_deref().unwrap_or_default(), usage);
            assert_eq!((read, done), (expected, true), "{name}");
        }
    }
}
