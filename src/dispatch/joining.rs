//! How a stream that was cut goes on with another one's chunks.

use crate::dispatch::continuation::Goal;
use crate::dispatch::continuation::Resumed;
use crate::dispatch::outcome::RouteReason;
use crate::dispatch::relay::Relay;
use crate::dispatch::settlement::Delivered;
use crate::normalize::seam::Joint;
use crate::normalize::seam::Seam;
use crate::openai::ApiError;
use crate::openai::Chunk;
use crate::openai::TokenUsage;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// What a relay knows of going on.
#[derive(Default)]
pub(super) struct Joining {
    /// Has a reply that has to find its place said anything?
    pub(super) heard: bool,
    /// It can't be the same text.
    pub(super) astray: bool,
    /// The reply's place was found: this is the first of it that goes out.
    found: Option<Found>,
    /// What those that broke off have used.
    pub(super) spent: TokenUsage,
    /// Who went on, in order; bounded by the attempts a request may make.
    pub(super) by: Vec<String>,
}

/// The first of a reply that goes out.
enum Found {
    Chunk(Box<Chunk>),
    Text { rest: String, finish: Option<String>, seam: Box<Seam> },
}

/// The fault of a reply that is another text.
pub(super) fn astray() -> Fault {
    Fault::new(FaultKind::Astray, "the reply is another text than the one that broke off")
}

impl Joining {
    /// Has the reply come to the place where it sets in?
    pub(super) fn has_found(&self) -> bool {
        self.found.is_some()
    }

    /// Looks for the place where a reply goes on, and gives the goal back while it has not come.
    pub(super) fn seek(
        &mut self,
        goal: Goal,
        chunk: Chunk,
        delivered: &mut Delivered,
    ) -> Option<Goal> {
        let Some(choice) = chunk.choices.iter().find(|it| it.index == 0) else { return Some(goal) };
        let finish = choice.finish.clone();
        let Goal::Seam(mut seam) = goal else {
            let on_purpose = matches!(finish.as_deref(), Some("length" | "content_filter"));
            if choice.text.is_empty() && !choice.calls_or_refuses && !on_purpose {
                return Some(goal);
            }
            self.found = Some(Found::Chunk(Box::new(chunk)));
            return None;
        };
        delivered.push(&choice.text);
        delivered.push(&choice.uncounted);
        self.heard |= !choice.text.is_empty();
        match seam.push(&choice.text) {
            Joint::Joined(rest) => {
                self.heard = false;
                self.found = Some(Found::Text { rest, finish, seam });
                None
            }
            Joint::Seeking if finish.is_none() && !choice.calls_or_refuses => {
                Some(Goal::Seam(seam))
            }
            Joint::Seeking | Joint::Apart => {
                self.astray = true;
                None
            }
        }
    }
}

impl Relay {
    /// After a fault: the rest comes from another candidate, if one finds the place.
    ///
    /// # Errors
    /// The last event of a stream that could not be continued.
    pub(super) async fn mend(&mut self, fault: Fault) -> Result<(), ApiError> {
        if self.telling.is_complete() {
            // All was said; only the end mark is missing.
            self.end().await;
            return Ok(());
        }
        let sent = self.telling.sent().map(str::to_owned);
        let Some((sent, mut thread)) = sent.zip(self.thread.take()) else {
            return Err(self.break_off(&fault).await);
        };
        if let Some(attempt) = self.attempt.take() {
            if let Some(story) = &mut self.story {
                story.failed(&self.target, &fault, attempt.age());
            }
            thread.estimated |= attempt.usage.is_none();
            self.joining.spent = self.joining.spent.plus(attempt.break_off(&fault).await);
            if let Some(story) = &mut self.story {
                story.settled();
            }
        }
        match thread.go_on(&sent, self.story.take()).await {
            Ok(resumed) => {
                self.absorb(resumed);
                Ok(())
            }
            Err(story) => {
                self.story = story;
                Err(self.break_off(&fault).await)
            }
        }
    }

    /// From here on the chunks are another one's.
    fn absorb(&mut self, resumed: Resumed) {
        let Resumed { mut relay, room, thread, story } = resumed;
        self.attempt = relay.attempt.take();
        std::mem::swap(&mut self.chunks, &mut relay.chunks);
        std::mem::swap(&mut self.target, &mut relay.target);
        self.joining.by.push(self.target.clone());
        let spent = self.joining.spent;
        // By now more than one has been asked.
        self.reason = RouteReason::Failover.as_str();
        self.terms.silence = relay.terms.silence;
        self.watch_anew();
        self.thread = thread;
        self.story = story;
        self.telling.room = room;
        match relay.joining.found.take() {
            Some(Found::Chunk(chunk)) => {
                self.telling.join(None, spent);
                self.take(*chunk);
            }
            Some(Found::Text { rest, finish, seam }) => {
                self.telling.join(Some(seam), spent);
                self.telling.say(&rest, finish.as_deref());
            }
            None => self.telling.join(None, spent),
        }
    }
}
