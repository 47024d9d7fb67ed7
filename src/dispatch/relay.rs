//! Passing a stream on: chunk by chunk, under one id, through the normaliser.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use futures::stream::Fuse;
use tokio::time::Instant;

use crate::dispatch::attempt::Attempt;
use crate::dispatch::outcome::Events;
use crate::dispatch::outcome::Route;
use crate::dispatch::story::Story;
use crate::dispatch::structured::Came;
use crate::dispatch::structured::TRUNCATED;
use crate::dispatch::structured::Wanted;
use crate::dispatch::telling::Telling;
use crate::dispatch::whole::Begun;
use crate::dispatch::whole::Spare;
use crate::dispatch::whole::Unanswered;
use crate::normalize::Mode;
use crate::openai::ApiError;
use crate::openai::Chunk;
use crate::provider::Pieces;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Waited;
use crate::telemetry::OpenStream;

/// Chunks that may come before the first content. Most providers send one or two; some send empty
/// ones for as long as they think.
const PREAMBLE: usize = 4096;
/// Text and events held back of one answer, in bytes.
const MOST_HELD: usize = 4 * 1024 * 1024;

/// How the answer is to be given.
pub(super) struct Terms {
    /// `<provider>/<model>`.
    pub(super) model: Arc<str>,
    pub(super) mode: Mode,
    /// The answer is held until it has been checked.
    pub(super) hold: Option<Hold>,
    /// Did the caller ask for a usage chunk?
    pub(super) include_usage: bool,
    pub(super) first_content_by: Instant,
    /// The fault it is when the first content comes later.
    pub(super) late: Fault,
    /// Longest silence between two events.
    pub(super) silence: Duration,
    /// Unix seconds.
    pub(super) created: u64,
}

/// What a held answer is held for.
pub(super) struct Hold {
    pub(super) wanted: Arc<Wanted>,
    /// When it has to be complete.
    pub(super) until: Instant,
}

/// A stream under way.
pub(super) struct Relay {
    /// `None` once the call is in the books.
    attempt: Option<Attempt>,
    /// Fused: it is asked again after its end when all the text was held back.
    chunks: Fuse<BoxStream<'static, Result<Chunk, Fault>>>,
    telling: Telling,
    terms: Terms,
    target: String,
    reason: &'static str,
    story: Option<Story>,
    _open: OpenStream,
}

/// Reads until there is something to say to the caller, or, where the answer is held, to its end.
/// Until then a fault is one of this attempt alone, and text that is held back because it may be an
/// opener has not been said.
pub(super) async fn begin(
    attempt: Attempt,
    pieces: Pieces,
    mut route: Route,
    terms: Terms,
) -> Result<Begun, Unanswered> {
    let mut relay = Box::new(Relay::new(attempt, pieces, &route, terms));
    if let Err(fault) = relay.read_beginning(&mut route).await {
        return Err(Unanswered::call(relay.into_attempt(), fault));
    }
    if let Some(Hold { wanted, .. }) = &relay.terms.hold {
        let wanted = Arc::clone(wanted);
        match wanted.check(relay.telling.drafts()).await {
            Came::Wanted => {}
            Came::Cut => route.warnings.push(TRUNCATED.to_owned()),
            Came::Other => return Err(wanted.unanswered(Spare::Stream { route, relay })),
        }
    }
    Ok(relay.give(route))
}

impl Relay {
    fn new(attempt: Attempt, pieces: Pieces, route: &Route, terms: Terms) -> Self {
        let open = attempt.stream();
        Self {
            attempt: Some(attempt),
            chunks: pieces.chunks.fuse(),
            telling: Telling::new(&terms),
            target: format!("{}/{}", route.provider, route.model),
            reason: route.reason.as_str(),
            terms,
            story: None,
            _open: open,
        }
    }

    async fn read_beginning(&mut self, route: &mut Route) -> Result<(), Fault> {
        let mut by = self.terms.first_content_by;
        let mut chunks = 0;
        loop {
            let Ok(next) = tokio::time::timeout_at(by, self.chunks.next()).await else {
                return Err(self.late());
            };
            let Some(chunk) = next.transpose()? else { return self.over() };
            if route.upstream_id.is_none() {
                route.upstream_id.clone_from(&chunk.id);
            }
            self.take(chunk);
            chunks += 1;
            match &self.terms.hold {
                None if self.telling.said => return Ok(()),
                Some(hold) if self.telling.has_begun() => {
                    by = hold.until.min(Instant::now() + self.terms.silence);
                }
                _ if chunks > PREAMBLE => {
                    let message = "4096 chunks and nothing said";
                    return Err(Fault::new(FaultKind::Unreadable, message));
                }
                _ => {}
            }
            if self.telling.held > MOST_HELD {
                let message = format!("more than {MOST_HELD} bytes to be checked");
                return Err(Fault::new(FaultKind::Unreadable, message));
            }
        }
    }

    /// The stream has ended and nothing has gone out. It may be over without content: cut by its
    /// token limit, or by a filter. One whose whole text was held back has it to say now.
    fn over(&mut self) -> Result<(), Fault> {
        if !self.telling.has_begun() && !self.telling.ended_on_purpose {
            return Err(Fault::new(FaultKind::Empty, "a stream with nothing in it"));
        }
        self.telling.said = true;
        if self.terms.hold.is_some() {
            self.flush();
        }
        Ok(())
    }

    fn late(&self) -> Fault {
        if self.telling.has_begun() && self.terms.hold.is_some() {
            let waited = FaultKind::Timeout(Waited::NextEvent);
            return Fault::new(waited, "it was not complete in time");
        }
        self.terms.late.clone()
    }

    /// The answer goes to the caller.
    pub(super) fn give(mut self: Box<Self>, route: Route) -> Begun {
        self.reason = route.reason.as_str();
        if let Some(attempt) = &mut self.attempt {
            attempt.begin();
        }
        Begun::Stream { route, relay: self }
    }

    /// The call, when it is still open.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// The call alone, for when nothing of it goes out.
    pub(super) fn into_attempt(mut self: Box<Self>) -> Option<Attempt> {
        self.attempt.take()
    }

    /// The caller's events.
    pub(super) fn into_events(mut self: Box<Self>, story: Option<Story>) -> Events {
        self.story = story;
        futures::stream::unfold(self, |mut relay| async move {
            let next = relay.next().await?;
            Some((next, relay))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, ApiError>> {
        loop {
            if let Some(event) = self.telling.next_event() {
                return Some(Ok(event));
            }
            self.attempt.as_ref()?;
            match tokio::time::timeout(self.terms.silence, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => self.take(chunk),
                Ok(Some(Err(fault))) => return Some(Err(self.break_off(&fault).await)),
                Ok(None) => self.end().await,
                Err(_) => {
                    let message = format!("nothing for {:?}", self.terms.silence);
                    let fault = Fault::new(FaultKind::Timeout(Waited::NextEvent), message);
                    return Some(Err(self.break_off(&fault).await));
                }
            }
        }
    }

    fn take(&mut self, chunk: Chunk) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.usage = chunk.usage.or(attempt.usage);
        self.telling.take(chunk, &mut attempt.delivered);
    }

    fn flush(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            self.telling.flush(&mut attempt.delivered);
        }
    }

    /// The provider is done: what is held goes out, the call goes into the books, and the usage
    /// chunk is the last.
    async fn end(&mut self) {
        self.flush();
        let Some(attempt) = self.attempt.take() else { return };
        let usage = attempt.succeed().await;
        self.telling.tell_usage(usage);
        if let Some(mut story) = self.story.take() {
            let tokens = (usage.prompt, usage.completion);
            story.answered(std::mem::take(&mut self.target), self.reason, tokens);
        }
    }

    async fn break_off(&mut self, fault: &Fault) -> ApiError {
        let summary = fault.summary();
        if let Some(mut story) = self.story.take() {
            story.broke(self.target.clone(), summary.clone());
        }
        if let Some(attempt) = self.attempt.take() {
            attempt.break_off(fault).await;
        }
        self.telling.take_back();
        let message = format!("The answer broke off: {} ({summary}).", self.target);
        ApiError::new(502, "server_error", message).with_code("stream_interrupted")
    }
}
