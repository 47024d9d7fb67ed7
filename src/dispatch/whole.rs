//! Turning a provider's whole answer into the caller's.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use crate::dispatch::attempt::Attempt;
use crate::dispatch::beside;
use crate::dispatch::continuation::Thread;
use crate::dispatch::outcome::Answer;
use crate::dispatch::outcome::Events;
use crate::dispatch::outcome::Route;
use crate::dispatch::outcome::RouteReason;
use crate::dispatch::relay::Relay;
use crate::dispatch::story::Story;
use crate::dispatch::structured::Came;
use crate::dispatch::structured::Draft;
use crate::dispatch::structured::MISSING;
use crate::dispatch::structured::TRUNCATED;
use crate::dispatch::structured::Wanted;
use crate::dispatch::telling::answer_id;
use crate::normalize::Mode;
use crate::openai::Completion;
use crate::openai::TokenUsage;
use crate::openai::Written;
use crate::provider::Whole;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// How the answer is to be given.
pub(super) struct Terms {
    /// `<provider>/<model>`.
    pub(super) model: Arc<str>,
    pub(super) mode: Mode,
    /// What its text has to be.
    pub(super) wanted: Option<Arc<Wanted>>,
    /// Unix seconds.
    pub(super) created: u64,
}

/// A call that gave no answer, still to be told so, and why it didn't.
pub(super) struct Unanswered {
    pub(super) fault: Fault,
    pub(super) left: Left,
}

/// What is left of such a call.
pub(super) enum Left {
    /// The call, where it is still open. Boxed to keep the good path's results small.
    Call(Option<Box<Attempt>>),
    /// An answer that is not what was asked for, but better than none.
    Spare(Spare),
}

impl Unanswered {
    pub(super) fn call(attempt: Option<Attempt>, fault: Fault) -> Self {
        Self { fault, left: Left::Call(attempt.map(Box::new)) }
    }

    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.left {
            Left::Call(attempt) => attempt.as_deref(),
            Left::Spare(spare) => spare.attempt(),
        }
    }
}

/// An answer that only lacks the story to be told when it ends.
pub(super) enum Begun {
    Whole { route: Route, body: Bytes, usage: TokenUsage, mode: Mode, changed: bool },
    Stream { route: Route, relay: Box<Relay> },
}

impl Begun {
    pub(super) fn route(&self) -> &Route {
        match self {
            Self::Whole { route, .. } | Self::Stream { route, .. } => route,
        }
    }

    /// What the normaliser was to do with it.
    pub(super) fn mode(&self) -> &'static str {
        match self {
            Self::Whole { mode, .. } => mode.name(),
            Self::Stream { relay, .. } => relay.terms.mode.name(),
        }
    }

    /// Hands the story to whoever knows how the answer ends, and a stream what it takes to go on.
    pub(super) fn into_answer(self, story: Option<Story>, thread: Option<Box<Thread>>) -> Answer {
        match self {
            Self::Whole { route, body, usage, changed, .. } => {
                if let Some(mut story) = story {
                    story.normalized(changed);
                    let target = format!("{}/{}", route.provider, route.model);
                    let tokens = (usage.prompt, usage.completion);
                    story.answered(target, route.reason.as_str(), tokens);
                }
                Answer::Whole { route, body }
            }
            Self::Stream { route, relay } => {
                let events: Events = relay.into_events(story, thread);
                Answer::Stream { route, events }
            }
        }
    }
}

/// An answer without the JSON that was asked for, kept for when nobody has a better one. Its call
/// is open until it is given or failed.
pub(super) enum Spare {
    Whole(Box<Complete>),
    Stream { route: Route, relay: Box<Relay> },
}

impl Spare {
    fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Whole(it) => Some(&it.attempt),
            Self::Stream { relay, .. } => relay.attempt(),
        }
    }

    /// The call alone, for answers of no use.
    pub(super) fn into_attempt(self) -> Option<Attempt> {
        match self {
            Self::Whole(it) => Some(it.attempt),
            Self::Stream { relay, .. } => relay.into_attempt(),
        }
    }

    /// Somebody else had a better one.
    pub(super) fn fail(self, fault: &Fault) {
        if let Some(attempt) = self.into_attempt() {
            attempt.fail(fault);
        }
    }

    /// Nobody had a better one: it is the answer, the last of `attempts`.
    pub(super) async fn give(mut self, attempts: u32) -> Begun {
        let route = match &mut self {
            Self::Whole(it) => &mut it.route,
            Self::Stream { route, .. } => route,
        };
        route.warnings.push(MISSING.to_owned());
        route.attempts = attempts;
        if attempts > 1 {
            route.reason = RouteReason::Failover;
        }
        match self {
            Self::Whole(it) => it.give().await,
            Self::Stream { route, relay } => relay.give(route),
        }
    }
}

/// Takes a whole answer in, unless there is nothing in it or not what was asked for.
pub(super) async fn answer(
    attempt: Attempt,
    reply: Box<Whole>,
    route: Route,
    terms: Terms,
) -> Result<Begun, Unanswered> {
    if reply.completion.is_empty() {
        let fault = Fault::new(FaultKind::Empty, "an answer with nothing in it");
        return Err(Unanswered::call(Some(attempt), fault));
    }
    let mut complete = Complete::of(attempt, reply.completion, route, terms);
    if let Some(wanted) = complete.terms.wanted.clone() {
        let mode = complete.terms.mode;
        let drafts = complete.completion.spoken().filter_map(|it| Draft::of(it, mode)).collect();
        match wanted.check(drafts).await {
            Came::Wanted => {}
            Came::Cut => complete.route.warnings.push(TRUNCATED.to_owned()),
            Came::Other => return Err(wanted.unanswered(Spare::Whole(complete))),
        }
    }
    Ok(complete.give().await)
}

/// A whole answer that has come. Boxed throughout: what an await keeps every journey has to carry.
pub(super) struct Complete {
    attempt: Attempt,
    completion: Completion,
    route: Route,
    terms: Terms,
}

impl Complete {
    fn of(
        mut attempt: Attempt,
        completion: Completion,
        mut route: Route,
        terms: Terms,
    ) -> Box<Self> {
        attempt.usage = completion.usage;
        route.upstream_id.clone_from(&completion.id);
        Box::new(Self { attempt, completion, route, terms })
    }

    /// Puts it into the books and into the caller's form.
    async fn give(self: Box<Self>) -> Begun {
        match self.attempt.usage {
            Some(usage) => self.give_told(usage),
            None => Box::pin(self.give_counted()).await,
        }
    }

    fn give_told(self: Box<Self>, usage: TokenUsage) -> Begun {
        let Self { mut attempt, completion, route, terms } = *self;
        attempt.begin();
        attempt.succeed_with(usage);
        rendered(&completion, route, &terms, usage)
    }

    async fn give_counted(self: Box<Self>) -> Begun {
        let Self { mut attempt, mut completion, route, terms } = *self;
        attempt.begin();
        completion.counted().for_each(|it| attempt.delivered.push(it));
        let usage = attempt.succeed().await;
        if completion.usage.is_none() {
            completion.tell_usage(usage);
        }
        rendered(&completion, route, &terms, usage)
    }
}

fn rendered(completion: &Completion, route: Route, terms: &Terms, usage: TokenUsage) -> Begun {
    let changed = Cell::new(false);
    let rewrite = |came: Written<'_>| match terms.mode.apply(came.text, came.complete) {
        Cow::Borrowed(same) if same.len() == came.text.len() => None,
        other => {
            changed.set(changed.get() || *other != *came.text);
            let kept = terms.mode.kept(came.text, &other);
            Some(beside::edited(came, other.into_owned(), kept.as_ref()))
        }
    };
    let body = completion.render(&answer_id(), &terms.model, terms.created, rewrite);
    Begun::Whole { route, body, usage, mode: terms.mode, changed: changed.get() }
}
