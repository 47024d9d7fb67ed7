//! Passing a stream on: chunk by chunk, under one id, through the normaliser.

use std::borrow::Cow;
use std::collections::VecDeque;
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
use crate::dispatch::structured::Draft;
use crate::dispatch::structured::TRUNCATED;
use crate::dispatch::structured::Wanted;
use crate::dispatch::whole::Begun;
use crate::dispatch::whole::Spare;
use crate::dispatch::whole::Unanswered;
use crate::normalize::Mode;
use crate::normalize::Normalizer;
use crate::openai::ApiError;
use crate::openai::Chunk;
use crate::openai::ChunkChoice;
use crate::openai::Heads;
use crate::openai::TokenUsage;
use crate::openai::json_string;
use crate::provider::Pieces;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Waited;
use crate::telemetry::OpenStream;

/// Chunks that may come before the first content. Most providers send one or two; some send empty
/// ones for as long as they think.
const PREAMBLE: usize = 4096;
/// Choices followed in one stream; `n` beyond it is passed on as it comes.
const CHOICES: usize = 128;

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
    id: String,
    model: String,
    created: String,
    terms: Terms,
    choices: Vec<ChoiceState>,
    ready: VecDeque<Bytes>,
    /// Bytes held back, where the answer is held.
    held: usize,
    /// Is there anything in what is ready, or has gone out, that a caller could use?
    said: bool,
    /// Has a choice ended for a reason that asking elsewhere would not change?
    ended_on_purpose: bool,
    /// The provider's own figures, where they came with a choice.
    usage_json: Option<String>,
    /// The provider's usage chunk, kept back until the end.
    usage_chunk: Option<Chunk>,
    target: String,
    reason: &'static str,
    story: Option<Story>,
    _open: OpenStream,
}

/// What has gone out of one choice.
struct ChoiceState {
    index: u64,
    normalizer: Normalizer,
    role_sent: bool,
    finished: bool,
    text_came: bool,
    /// Its whole text, where it is held.
    draft: Option<Draft>,
    /// It refuses or calls tools: its text is not the answer.
    excused: bool,
}

/// An id in OpenAI's form.
pub(super) fn answer_id() -> String {
    format!("chatcmpl-{:024x}", fastrand::u128(..) >> 32)
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
        match wanted.check(relay.drafts()).await {
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
            id: json_string(&answer_id()),
            model: json_string(&terms.model),
            created: terms.created.to_string(),
            target: format!("{}/{}", route.provider, route.model),
            reason: route.reason.as_str(),
            terms,
            choices: Vec::new(),
            ready: VecDeque::new(),
            held: 0,
            said: false,
            ended_on_purpose: false,
            usage_json: None,
            usage_chunk: None,
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
                None if self.said => return Ok(()),
                Some(hold) if self.has_begun() => {
                    by = hold.until.min(Instant::now() + self.terms.silence);
                }
                _ if chunks > PREAMBLE => {
                    let message = "4096 chunks and nothing said";
                    return Err(Fault::new(FaultKind::Unreadable, message));
                }
                _ => {}
            }
            if self.held > MOST_HELD {
                let message = format!("more than {MOST_HELD} bytes to be checked");
                return Err(Fault::new(FaultKind::Unreadable, message));
            }
        }
    }

    /// The stream has ended and nothing has gone out. It may be over without content: cut by its
    /// token limit, or by a filter. One whose whole text was held back has it to say now.
    fn over(&mut self) -> Result<(), Fault> {
        if !self.has_begun() && !self.ended_on_purpose {
            return Err(Fault::new(FaultKind::Empty, "a stream with nothing in it"));
        }
        self.said = true;
        if self.terms.hold.is_some() {
            self.flush();
        }
        Ok(())
    }

    fn late(&self) -> Fault {
        if self.has_begun() && self.terms.hold.is_some() {
            let waited = FaultKind::Timeout(Waited::NextEvent);
            return Fault::new(waited, "it was not complete in time");
        }
        self.terms.late.clone()
    }

    /// Has anything come that a caller could use, whether it has gone out or not?
    fn has_begun(&self) -> bool {
        self.said || self.choices.iter().any(|it| it.text_came)
    }

    /// What has to be checked of an answer that was held.
    fn drafts(&self) -> Vec<Draft> {
        let mine = self.choices.iter().filter(|it| !it.excused);
        mine.filter_map(|it| it.draft.clone()).collect()
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
            if let Some(event) = self.ready.pop_front() {
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

    /// Takes in one chunk and makes ready what may go out.
    fn take(&mut self, mut chunk: Chunk) {
        if let (Some(attempt), Some(usage)) = (&mut self.attempt, chunk.usage) {
            attempt.usage = Some(usage);
        }
        if chunk.is_usage_only() {
            self.usage_chunk = Some(chunk);
            return;
        }
        let mut texts = Vec::with_capacity(1);
        let mut role_due = Vec::with_capacity(1);
        let mut goes_out = chunk.choices.is_empty();
        for choice in &mut chunk.choices {
            let had_text = !choice.text.is_empty();
            let (text, due) = self.pass(choice);
            let says_text = text.as_ref().map_or(had_text, |it| !it.is_empty());
            goes_out |= says_text || due || !had_text || choice.adds_else;
            self.said |= says_text || choice.adds_else;
            self.ended_on_purpose |=
                matches!(choice.finish.as_deref(), Some("length" | "content_filter"));
            texts.push(text);
            role_due.push(due);
        }
        if goes_out {
            let heads = Heads { id: &self.id, model: &self.model, created: &self.created };
            // The figures are told once, at the end: a client that adds up what it sees must not
            // count them twice.
            let told_later = self.terms.include_usage && chunk.usage_json().is_some();
            let usage = told_later.then_some("null");
            if told_later {
                self.usage_json = chunk.usage_json().map(str::to_owned);
            }
            let event = chunk.render(&heads, &texts, &role_due, usage);
            self.held += event.len();
            self.ready.push_back(event);
        }
    }

    /// The text to send in place of a choice's own (`None` = its own), and whether its role is due.
    fn pass(&mut self, choice: &ChunkChoice) -> (Option<String>, bool) {
        let mode = self.terms.mode;
        let known = self.choices.iter().position(|it| it.index == choice.index);
        if known.is_none() && self.choices.len() < CHOICES {
            self.choices.push(ChoiceState {
                index: choice.index,
                normalizer: Normalizer::new(mode),
                role_sent: false,
                finished: false,
                text_came: false,
                draft: None,
                excused: false,
            });
        }
        let at = known.unwrap_or(self.choices.len().saturating_sub(1));
        let Some(state) = self.choices.get_mut(at).filter(|it| it.index == choice.index) else {
            return (None, false);
        };
        let due = !std::mem::replace(&mut state.role_sent, true);
        let holds = self.terms.hold.is_some();
        state.text_came |= !choice.text.is_empty();
        state.excused |= choice.calls_or_refuses;
        let out = state.normalizer.push(&choice.text);
        let text = match (&choice.finish, out) {
            (Some(finish), out) if !state.finished => {
                state.finished = true;
                let rest = state.normalizer.finish(finish == "stop");
                state.excused |= finish == "content_filter";
                if holds {
                    state.draft = Some(Draft { text: rest.clone(), cut: finish == "length" });
                }
                if rest.is_empty() { out } else { Cow::Owned(out.into_owned() + &rest) }
            }
            (_, out) => out,
        };
        self.held += choice.text.len();
        if let Some(attempt) = &mut self.attempt {
            // What is cut off around the JSON has cost tokens too.
            attempt.delivered.push(if holds { &choice.text } else { &text });
            attempt.delivered.push(&choice.uncounted);
        }
        let changed = *text != *choice.text;
        (changed.then(|| text.into_owned()), due)
    }

    /// What is held back of choices that did not say why they ended goes out.
    fn flush(&mut self) {
        let holds = self.terms.hold.is_some();
        for state in &mut self.choices {
            if std::mem::replace(&mut state.finished, true) {
                continue;
            }
            // A provider that marks the end but not the reason has simply stopped.
            let rest = state.normalizer.finish(true);
            if holds {
                state.draft = Some(Draft { text: rest.clone(), cut: false });
            } else if let Some(attempt) = &mut self.attempt {
                attempt.delivered.push(&rest);
            }
            let delta = if rest.is_empty() {
                "{}".to_owned()
            } else {
                format!(r#"{{"content":{}}}"#, json_string(&rest))
            };
            let index = state.index;
            let choices =
                format!(r#"[{{"index":{index},"delta":{delta},"finish_reason":"stop"}}]"#);
            let (id, model, created) = (&self.id, &self.model, &self.created);
            self.ready.push_back(made(id, model, created, &choices, ""));
        }
    }

    /// The provider is done: what is held goes out, the call goes into the books, and the usage
    /// chunk is the last.
    async fn end(&mut self) {
        self.flush();
        let Some(attempt) = self.attempt.take() else { return };
        let usage = attempt.succeed().await;
        if self.terms.include_usage {
            self.ready.push_back(self.usage_event(usage));
        }
        if let Some(mut story) = self.story.take() {
            let tokens = (usage.prompt, usage.completion);
            story.answered(std::mem::take(&mut self.target), self.reason, tokens);
        }
    }

    fn usage_event(&self, usage: TokenUsage) -> Bytes {
        let heads = Heads { id: &self.id, model: &self.model, created: &self.created };
        match &self.usage_chunk {
            // The provider's own, with every detail it has.
            Some(chunk) if chunk.usage.is_some() => chunk.render(&heads, &[], &[], None),
            _ => {
                let own = self.usage_json.clone().unwrap_or_else(|| usage.to_json());
                let usage = format!(r#","usage":{own}"#);
                made(&self.id, &self.model, &self.created, "[]", &usage)
            }
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
        self.ready.clear();
        let message = format!("The answer broke off: {} ({summary}).", self.target);
        ApiError::new(502, "server_error", message).with_code("stream_interrupted")
    }
}

/// A chunk of our own making.
fn made(id: &str, model: &str, created: &str, choices: &str, rest: &str) -> Bytes {
    format!(
        r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model},"choices":{choices}{rest}}}"#
    )
    .into()
}
