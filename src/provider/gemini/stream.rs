//! A streamed answer: each event is a whole response that holds what is new.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::page::Head;
use crate::provider::page::Usage;
use crate::provider::steps::Step;
use crate::provider::steps::Steps;
use crate::provider::thoughts::Shelf;

use super::answer::{Progress, Response, UsageMetadata};
use super::errors;

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

/// A stream under way. There is no end mark: it ends when the body does after every choice has said
/// why it ends; then the usage follows.
pub(super) struct Reading {
    source: Source,
    clock: SharedClock,
    shelf: Shelf,
    head: Head,
    progress: Progress,
    /// The latest figures: each event's include those before it.
    usage: Option<UsageMetadata>,
}

impl Reading {
    pub(super) fn new(source: Source, shelf: Shelf, clock: SharedClock) -> Self {
        let head = Head { created: clock.now().unix_ms / 1_000, ..Head::default() };
        Self { source, clock, shelf, head, progress: Progress::default(), usage: None }
    }

    fn chunk(&mut self, data: &Bytes) -> Result<Option<Chunk>, Fault> {
        let response = Response::parse(data)?;
        let now = self.clock.now();
        if response.error.is_some() {
            return Err(errors::classify_inside_answer(data, now));
        }
        self.usage = response.usage_metadata.or(self.usage);
        self.head.id = response.id.clone().or_else(|| self.head.id.take());
        self.head.model = response.model.clone().or_else(|| self.head.model.take());
        let choices = response.pieces(&mut self.progress, &self.shelf, now)?;
        (!choices.is_empty()).then(|| self.head.chunk(choices, None)).transpose()
    }
}

impl Steps for Reading {
    async fn step(&mut self) -> Result<Step, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed before a finishReason");
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
                let usage = self.usage.map(|it| self.head.chunk(Vec::new(), Some(Usage::from(it))));
                let chunks = usage.transpose()?.into_iter().collect();
                return Ok(Step { chunks, over: true });
            }
            Next::End => return Err(cut()),
        };
        Ok(Step { chunks: chunk.into_iter().collect(), over: false })
    }
}
