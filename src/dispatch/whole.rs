//! Turning a provider's whole answer into the caller's.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::dispatch::attempt::Attempt;
use crate::dispatch::outcome::Answer;
use crate::dispatch::outcome::Events;
use crate::dispatch::outcome::Route;
use crate::dispatch::relay::Relay;
use crate::dispatch::relay::answer_id;
use crate::dispatch::story::Story;
use crate::normalize::Mode;
use crate::openai::TokenUsage;
use crate::provider::Whole;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// How the answer is to be given.
pub(super) struct Terms {
    /// `<provider>/<model>`.
    pub(super) model: Arc<str>,
    pub(super) mode: Mode,
    /// Unix seconds.
    pub(super) created: u64,
}

/// A call that gave no answer, still to be told so, and why it didn't.
pub(super) type Unanswered = (Option<Attempt>, Fault);

/// An answer that only lacks the story to be told when it ends.
pub(super) enum Begun {
    Whole { route: Route, body: Bytes, usage: TokenUsage },
    Stream { route: Route, relay: Box<Relay> },
}

impl Begun {
    /// Hands the story to whoever knows how the answer ends.
    pub(super) fn into_answer(self, story: Option<Story>) -> Answer {
        match self {
            Self::Whole { route, body, usage } => {
                if let Some(mut story) = story {
                    let target = format!("{}/{}", route.provider, route.model);
                    let tokens = (usage.prompt, usage.completion);
                    story.answered(target, route.reason.as_str(), tokens);
                }
                Answer::Whole { route, body }
            }
            Self::Stream { route, relay } => {
                let events: Events = relay.into_events(story);
                Answer::Stream { route, events }
            }
        }
    }
}

/// Takes a whole answer in, unless there is nothing in it.
pub(super) async fn answer(
    mut attempt: Attempt,
    reply: Whole,
    mut route: Route,
    terms: Terms,
) -> Result<Begun, Unanswered> {
    let completion = reply.completion;
    if completion.is_empty() {
        return Err((Some(attempt), Fault::new(FaultKind::Empty, "an answer with nothing in it")));
    }
    attempt.begin();
    attempt.usage = completion.usage;
    if attempt.usage.is_none() {
        completion.counted().for_each(|it| attempt.delivered.push(it));
    }
    let usage = attempt.succeed().await;
    let body =
        completion.render(&answer_id(), &terms.model, terms.created, |text, complete| match terms
            .mode
            .apply(text, complete)
        {
            Cow::Borrowed(same) if same.len() == text.len() => None,
            changed => Some(changed.into_owned()),
        });
    route.upstream_id = completion.id;
    Ok(Begun::Whole { route, body, usage })
}
