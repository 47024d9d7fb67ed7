//! What comes back: a whole answer or a stream, and the errors inside them.

mod arguments;
mod calls;
mod choice;
pub(super) mod complete;
mod finish;
pub(super) mod mender;
mod message;
mod signed;
pub(super) mod source;
mod stray;
#[cfg(test)]
mod tests;
mod think_block;
pub(super) mod written;

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::stream::BoxStream;
use http::Response;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::Call;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Unmet;
use crate::provider::Whole;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::openai_compatible::incoming::complete::complete;
use crate::provider::openai_compatible::incoming::mender::Mender;
use crate::provider::openai_compatible::incoming::source::Source;
use crate::provider::openai_compatible::incoming::written::Tools;
use crate::provider::steps::Step;
use crate::provider::steps::Steps;
use crate::provider::steps::chunks;
use crate::provider::thoughts::Shelf;
use crate::provider::transport::Incoming;
use crate::provider::transport::read_answer;

/// How long the end of an answer is kept back for what may follow it. What does follow comes at
/// once; some providers leave the connection open.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// How long the end mark, or the usage, is waited for once every choice has ended.
const END_WAIT: Duration = Duration::from_secs(5);

/// Who is asked, and for what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The provider's name in small letters; empty for one that isn't known.
    pub(super) provider: &'static str,
    /// The tools it may call.
    pub(super) tools: Tools,
    /// How many answers.
    pub(super) choices: usize,
    /// Where the signatures of the model's calls are kept, if it makes any.
    pub(super) shelf: Option<Shelf>,
    /// Is its text passed on with the tags that are in it?
    pub(super) verbatim: bool,
}

impl Asked {
    pub(super) fn new(provider: &'static str, call: &Call, shelf: Option<Shelf>) -> Self {
        let choices = usize::try_from(call.request.n).unwrap_or(usize::MAX);
        // Calls are looked for in the text where there are tools to be called.
        let tools = if call.verbatim { Tools::default() } else { Tools::offered(&call.request) };
        Self { provider, tools, choices, shelf, verbatim: call.verbatim }
    }

    /// Z.ai puts a whole answer into the reasoning at times.
    fn thinks_aloud(&self) -> bool {
        self.provider == "zai" && !self.verbatim
    }
}

pub(super) async fn whole(
    asked: &Asked,
    answer: Response<Incoming>,
    unmet: Unmet,
    now: Now,
) -> Result<Reply, Fault> {
    let body = read_answer(answer.into_body()).await?;
    let completion = complete(asked, &body, now, &mut Rng::new())?;
    Ok(Reply::Whole(Box::new(Whole { completion, unmet })))
}

pub(super) async fn stream(
    asked: Asked,
    answer: Response<Incoming>,
    unmet: Unmet,
    clock: SharedClock,
) -> Result<Reply, Fault> {
    let source = Source::of(&asked, answer, clock.now()).await?;
    let mender = Mender::new(asked, Rng::new(), clock);
    Ok(Reply::Stream(Pieces { chunks: reading(source, mender), unmet }))
}

/// The chunks of a stream.
pub(super) fn reading(source: Source, mender: Mender) -> BoxStream<'static, Result<Chunk, Fault>> {
    chunks(Reading { source, mender })
}

/// A stream under way.
struct Reading {
    source: Source,
    mender: Mender,
}

impl Steps for Reading {
    async fn step(&mut self) -> Result<Step, Fault> {
        let over = match self.read().await {
            // Some providers add an error to a complete answer.
            Err(_) if self.mender.has_told_all() => self.mender.end().map(|()| true)?,
            read => read?,
        };
        if over {
            self.source.leave();
        }
        Ok(Step { chunks: self.mender.ready(), over })
    }
}

impl Reading {
    /// Reads one event. Was it the last?
    async fn read(&mut self) -> Result<bool, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed without an end mark");
        let wait = match (self.mender.holds(), self.mender.has_all_finished()) {
            (true, _) => Some(LAST_WAIT),
            (false, true) => Some(END_WAIT),
            (false, false) => None,
        };
        let next = match wait {
            None => self.source.next().await,
            Some(wait) => match tokio::time::timeout(wait, self.source.next()).await {
                Ok(next) => next,
                Err(_) if self.mender.holds() => {
                    self.mender.release();
                    return Ok(false);
                }
                Err(_) => Ok(Next::End),
            },
        };
        let next = match next {
            // All had been said.
            Err(it) if it.kind == FaultKind::Cut && self.mender.is_finished() => Next::End,
            next => next?,
        };
        match next {
            Next::Data(data) | Next::Rest(data) if data.trim_ascii() == b"[DONE]" => {
                self.mender.end().map(|()| true)
            }
            Next::Data(data) => self.take(&data).map(|()| false),
            // What can't be read here is a line that was torn, not one that was written badly.
            Next::Rest(data) => match self.take(&data) {
                Err(it) if it.kind == FaultKind::Unreadable => Err(cut()),
                read => read.map(|()| false),
            },
            Next::End if self.mender.is_finished() => self.mender.end().map(|()| true),
            Next::End => Err(cut()),
        }
    }

    fn take(&mut self, data: &Bytes) -> Result<(), Fault> {
        self.mender.take(data)
    }
}
