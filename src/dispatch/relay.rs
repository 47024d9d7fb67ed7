//! Passing a stream on: chunk by chunk, under one id, through the normaliser.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use futures::stream::Fuse;
use tokio::time::Instant;

use crate::dispatch::alarm::Alarm;
use crate::dispatch::attempt::Attempt;
use crate::dispatch::continuation::Goal;
use crate::dispatch::continuation::Thread;
use crate::dispatch::joining::Joining;
use crate::dispatch::joining::astray;
use crate::dispatch::keeping::Keeping;
use crate::dispatch::keeping::Kept;
use crate::dispatch::outcome::Event;
use crate::dispatch::outcome::Events;
use crate::dispatch::outcome::Route;
use crate::dispatch::story::Story;
use crate::dispatch::structured::Came;
use crate::dispatch::structured::TRUNCATED;
use crate::dispatch::structured::Wanted;
use crate::dispatch::telling::Room;
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
/// For so many silences a stream that has begun may go without content while its connection shows that
/// it lives: comments, pings, empty events. Some models think between words; some providers keep up
/// appearances for ever.
const SIGNS: u32 = 3;
/// Text and events held back of one answer, in bytes.
const MOST_HELD: usize = 4 * 1024 * 1024;

/// How the answer is to be given.
pub(super) struct Terms {
    /// `<provider>/<model>`.
    pub(super) model: Arc<str>,
    pub(super) mode: Mode,
    /// The answer is held until it has been checked.
    pub(super) hold: Option<Hold>,
    /// For what goes out of it, if it may be gone on with when it is cut; taken by what tells of it.
    pub(super) sent: Option<Kept>,
    pub(super) texts: Keeping,
    /// Where it has to set in, and by when, if it goes on with one that broke off.
    pub(super) goal: Option<(Goal, Instant)>,
    /// Did the caller ask for a usage chunk?
    pub(super) include_usage: bool,
    pub(super) first_content_by: Instant,
    /// The fault it is when the first content comes later.
    pub(super) late: Fault,
    /// Longest silence of the connection; content may take [`SIGNS`] times as long.
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
    pub(super) attempt: Option<Attempt>,
    /// Fused: it is asked again after its end when all the text was held back.
    pub(super) chunks: Fuse<BoxStream<'static, Result<Chunk, Fault>>>,
    pub(super) telling: Telling,
    pub(super) terms: Terms,
    pub(super) target: String,
    pub(super) reason: &'static str,
    pub(super) story: Option<Story>,
    /// What it takes to go on elsewhere.
    pub(super) thread: Option<Box<Thread>>,
    pub(super) joining: Joining,
    vigil: Vigil,
    alarm: Alarm,
    _open: OpenStream,
}

/// Since when nothing has come.
struct Vigil {
    /// No content.
    content: Instant,
    /// No sign of life at all.
    sign: Instant,
    /// Bytes read by then.
    bytes: u64,
}

impl Vigil {
    fn begin() -> Self {
        let now = Instant::now();
        Self { content: now, sign: now, bytes: 0 }
    }

    /// When a stream with that silence is given up, unless something comes.
    fn end(&self, silence: Duration) -> Instant {
        (self.sign + silence).min(self.content + silence * SIGNS)
    }

    fn event(&mut self, says_something: bool) {
        self.sign = Instant::now();
        if says_something {
            self.content = self.sign;
        }
    }

    /// Its end has come. Is it put off, because bytes have come that made no event?
    fn is_put_off(&mut self, bytes: u64, silence: Duration) -> bool {
        let now = Instant::now();
        let lives = std::mem::replace(&mut self.bytes, bytes) != bytes;
        self.sign = if lives { now } else { self.sign };
        self.end(silence) > now
    }
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
    fn new(attempt: Attempt, pieces: Pieces, route: &Route, mut terms: Terms) -> Self {
        let open = attempt.stream();
        Self {
            attempt: Some(attempt),
            chunks: pieces.chunks.fuse(),
            telling: Telling::new(&mut terms),
            target: format!("{}/{}", route.provider, route.model),
            reason: route.reason.as_str(),
            terms,
            story: None,
            thread: None,
            joining: Joining::default(),
            vigil: Vigil::begin(),
            alarm: Alarm::default(),
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
                route.upstream_id = chunk.id().map(Cow::into_owned);
            }
            self.take(chunk);
            chunks += 1;
            if self.joining.astray {
                return Err(astray());
            }
            match &self.terms.hold {
                None if self.telling.said || self.joining.has_found() => return Ok(()),
                // It may have to pass over much of what was sent before.
                None if self.joining.heard => {
                    let until = self.terms.goal.as_ref().map_or(by, |(_, until)| *until);
                    by = until.min(Instant::now() + self.terms.silence);
                }
                Some(hold) if self.telling.has_begun() => {
                    by = hold.until.min(Instant::now() + self.terms.silence);
                }
                _ if chunks > PREAMBLE => {
                    let message = "4096 chunks and nothing said";
                    return Err(Fault::new(FaultKind::Unreadable, message));
                }
                _ => {}
            }
            let held = self.telling.held;
            let holds = self.terms.hold.is_some();
            if held > MOST_HELD || holds && !self.telling.room_held.grow_to(held) {
                let message = format!("{held} bytes to be checked are too many");
                return Err(Fault::new(FaultKind::Unreadable, message));
            }
        }
    }

    /// The stream has ended and nothing has gone out. It may be over without content: cut by its
    /// token limit, or by a filter. One whose whole text was held back has it to say now.
    fn over(&mut self) -> Result<(), Fault> {
        if self.joining.heard {
            return Err(astray());
        }
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
        self.watch_anew();
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
    pub(super) fn into_events(
        mut self: Box<Self>,
        story: Option<Story>,
        thread: Option<Box<Thread>>,
    ) -> Events {
        self.story = story;
        self.thread = thread;
        futures::stream::unfold(self, |mut relay| async move {
            let next = relay.next().await?;
            Some((next, relay))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        loop {
            if let Some(event) = self.telling.next_event() {
                return Some(Ok(event));
            }
            self.attempt.as_ref()?;
            if self.telling.room == Room::Full {
                self.end().await;
                continue;
            }
            let (silence, by) = (self.terms.silence, self.vigil.end(self.terms.silence));
            let fault = match self.alarm.next(&mut self.chunks, by).await {
                Some(Some(Ok(chunk))) => {
                    self.vigil.event(chunk.adds_something());
                    self.take(chunk);
                    continue;
                }
                Some(None) => {
                    self.end().await;
                    continue;
                }
                Some(Some(Err(fault))) => fault,
                None => {
                    let bytes = self.bytes_read();
                    if self.vigil.is_put_off(bytes, silence) {
                        continue;
                    }
                    let message = format!("no content for {:?}", self.vigil.content.elapsed());
                    Fault::new(FaultKind::Timeout(Waited::NextEvent), message)
                }
            };
            if let Err(error) = self.mend(fault).await {
                return Some(Err(error));
            }
        }
    }

    /// From now on silence counts.
    pub(super) fn watch_anew(&mut self) {
        self.vigil = Vigil::begin();
        self.vigil.bytes = self.bytes_read();
    }

    /// Bytes that have come by the call's connection.
    fn bytes_read(&self) -> u64 {
        self.attempt.as_ref().map_or(0, |it| it.sent.bytes_read())
    }

    pub(super) fn take(&mut self, chunk: Chunk) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.usage = chunk.usage.or(attempt.usage);
        if let Some((goal, until)) = self.terms.goal.take() {
            self.terms.goal =
                self.joining.seek(goal, chunk, &mut attempt.delivered).map(|it| (it, until));
            return;
        }
        self.telling.take(chunk, &mut attempt.delivered);
    }

    fn flush(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            self.telling.flush(&mut attempt.delivered);
        }
    }

    /// The provider is done: what is held goes out, the call goes into the books, and the usage
    /// chunk is the last.
    pub(super) async fn end(&mut self) {
        self.flush();
        let Some(attempt) = self.attempt.take() else { return };
        let usage = attempt.succeed().await;
        let usage = usage.plus(self.joining.spent);
        self.telling.tell_usage(usage);
        if !self.joining.by.is_empty() {
            self.telling.comment(format!("continued by {}", self.joining.by.join(", ")));
        }
        if let Some(mut story) = self.story.take() {
            let tokens = (usage.prompt, usage.completion);
            story.normalized(self.telling.is_changed());
            story.answered(std::mem::take(&mut self.target), self.reason, tokens);
        }
    }

    pub(super) async fn break_off(&mut self, fault: &Fault) -> ApiError {
        let summary = fault.summary();
        let story = self.story.take();
        if let Some(attempt) = self.attempt.take() {
            attempt.break_off(fault).await;
        }
        if let Some(mut story) = story {
            story.broke(self.target.clone(), fault);
        }
        self.telling.take_back();
        let message = format!("The answer broke off: {} ({summary}).", self.target);
        ApiError::new(502, "server_error", message).with_code("stream_interrupted")
    }
}
