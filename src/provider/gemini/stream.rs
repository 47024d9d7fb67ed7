//! A streamed answer: each event is a whole response that holds what is new.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::value::RawValue;

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::answer::{Progress, Response, UsageMetadata};
use super::errors;
use super::page::{Page, Usage};

/// Where the events come from.
pub(super) enum Source {
    /// Server-sent events.
    Events(Box<EventStream>),
    /// A list of responses, which is what comes where `alt=sse` was lost on the way.
    List(VecDeque<Bytes>),
}

impl Source {
    /// Reads a body that is one JSON text: a list of events, or one alone.
    pub(super) fn of_json(body: &Bytes) -> Self {
        let list: Vec<&RawValue> = serde_json::from_slice(body).unwrap_or_default();
        let events: VecDeque<_> =
            list.iter().map(|it| body.slice_ref(it.get().as_bytes())).collect();
        Self::List(if events.is_empty() { [body.clone()].into() } else { events })
    }

    async fn next(&mut self) -> Result<Next, Fault> {
        match self {
            Self::Events(events) => events.next().await,
            Self::List(events) => Ok(events.pop_front().map_or(Next::End, Next::Data)),
        }
    }
}

/// The chunks of an answer. There is no end mark: it ends when the body does after every choice
/// has said why it ends; then the usage follows.
pub(super) fn chunks(
    source: Source,
    clock: SharedClock,
) -> BoxStream<'static, Result<Chunk, Fault>> {
    let reading = Reading {
        source,
        clock,
        progress: Progress::default(),
        usage: None,
        id: None,
        model: None,
        ended: false,
    };
    let chunks = futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    });
    chunks.boxed()
}

/// A stream under way.
struct Reading {
    source: Source,
    clock: SharedClock,
    progress: Progress,
    /// The latest figures: each event's include those before it.
    usage: Option<UsageMetadata>,
    id: Option<String>,
    model: Option<String>,
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
        let cut = || Fault::new(FaultKind::Cut, "closed before a finishReason");
        loop {
            let next = match self.source.next().await {
                // All had been said.
                Err(it) if it.kind == FaultKind::Cut && self.progress.is_finished() => Next::End,
                next => next?,
            };
            let chunk = match next {
                Next::Data(data) => self.chunk(&data)?,
                // What can't be read here is a line that was torn, not one that was written badly.
                Next::Rest(data) => match self.chunk(&data) {
                    Err(it) if it.kind == FaultKind::Unreadable => return Err(cut()),
                    read => read?,
                },
                Next::End if self.progress.is_finished() => {
                    self.ended = true;
                    return self.last();
                }
                Next::End => return Err(cut()),
            };
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    fn chunk(&mut self, data: &Bytes) -> Result<Option<Chunk>, Fault> {
        let response = Response::parse(data)?;
        if response.error.is_some() {
            return Err(errors::classify_inside_answer(data, self.clock.now()));
        }
        self.usage = response.usage_metadata.or(self.usage);
        self.id = response.id.clone().or_else(|| self.id.take());
        self.model = response.model.clone().or_else(|| self.model.take());
        let chunk = response.chunk(self.created(), &mut self.progress)?;
        chunk.map(parse).transpose()
    }

    /// The usage in a chunk of its own; nothing where none was told.
    fn last(&self) -> Result<Option<Chunk>, Fault> {
        let Some(usage) = self.usage else { return Ok(None) };
        let page = Page {
            id: self.id.as_deref(),
            object: "chat.completion.chunk",
            created: self.created(),
            model: self.model.as_deref(),
            choices: Vec::new(),
            usage: Some(Usage::from(usage)),
        };
        page.to_json().and_then(parse).map(Some)
    }

    fn created(&self) -> u64 {
        self.clock.now().unix_ms / 1_000
    }
}

fn parse(json: Vec<u8>) -> Result<Chunk, Fault> {
    Chunk::parse(&json.into()).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))
}
