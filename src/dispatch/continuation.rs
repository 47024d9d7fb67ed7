//! Going on with a stream that was cut after its first content.
//!
//! Another candidate is given the conversation and the text as it was sent, and is asked to go on
//! from its last words. Nothing of its reply goes out before [`Seam`] has found where the text left off;
//! a reply in which that place is not found is a failed attempt like any other.

use std::sync::Arc;

use crate::callers::Tab;
use crate::catalog::TargetId;
use crate::context::tokens;
use crate::dispatch::Core;
use crate::dispatch::Pool;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::Progress;
use crate::dispatch::outcome::Who;
use crate::dispatch::relay::Relay;
use crate::dispatch::story::Story;
use crate::dispatch::telling::Room;
use crate::dispatch::whole::Begun;
use crate::normalize::seam::Seam;
use crate::openai::ChatRequest;
use crate::openai::JsonMode;
use crate::openai::RequestEdits;
use crate::openai::json_string;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::select::Asked;
use crate::select::Eligible;

/// Tokens a reply may have beside what is left of the caller's bound: it says the cue again, and some
/// models greet.
const SPARE_TOKENS: u64 = 64;

/// What goes out may be longer than the bound by one part in so many: tokens are not the same at
/// every provider, and nothing may be cut from an answer that kept its bound.
const MARGIN: u64 = 8;

/// Where the reply of a journey that goes on has to set in.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// Anywhere: no text has gone out yet.
    Anew,
    /// Where the text broke off.
    Seam(Box<Seam>),
}

/// What a stream takes with it to go on elsewhere: what was asked, and who could answer.
pub(super) struct Thread {
    core: Arc<Core>,
    pool: Arc<Pool>,
    request: Arc<ChatRequest>,
    asked: Asked,
    eligible: Eligible,
    requested: Arc<str>,
    session: Option<String>,
    guide: Option<Arc<str>>,
    normalize: bool,
    who: Who,
    tab: Option<Arc<Tab>>,
    progress: Arc<Progress>,
    attempts: u32,
    /// Were the tokens of a part of the answer counted here?
    pub(super) estimated: bool,
    /// Who has answered so far; all but the last have broken off.
    answered: Vec<TargetId>,
    /// Who has begun another text: they would again.
    astray: Vec<TargetId>,
}

/// A stream that goes on.
pub(super) struct Resumed {
    pub(super) relay: Box<Relay>,
    pub(super) room: Room,
    pub(super) thread: Option<Box<Thread>>,
    pub(super) story: Option<Story>,
}

impl Travel {
    /// May the answer be gone on with elsewhere? Several answers at once and JSON are never spliced.
    pub(super) fn goes_on(&self) -> bool {
        let request = &self.request;
        let fit = request.stream && request.n == 1 && request.json_mode == JsonMode::Off;
        fit && !self.requires.strict && self.core.params.stream_continuation
    }

    /// Those that have begun another text in this journey.
    fn astray(&self) -> impl Iterator<Item = TargetId> {
        let other = |it: &&(TargetId, Fault)| it.1.kind == FaultKind::Astray;
        self.faults.iter().filter(other).map(|(it, _)| *it)
    }

    /// What the stream that has begun needs to go on elsewhere, taken out of the journey that is
    /// over.
    pub(super) fn thread(&mut self) -> Option<Box<Thread>> {
        if !self.goes_on() {
            return None;
        }
        Some(Box::new(Thread {
            core: Arc::clone(&self.core),
            pool: Arc::clone(&self.pool),
            request: Arc::clone(&self.request),
            asked: self.asked.clone(),
            eligible: std::mem::take(&mut self.eligible),
            requested: Arc::clone(&self.requested),
            session: self.session.take(),
            guide: self.style.guide.take(),
            normalize: self.normalize,
            who: self.who,
            tab: self.tab.clone(),
            progress: Arc::clone(&self.progress),
            attempts: self.attempts,
            estimated: self.rest_of.unwrap_or_default(),
            answered: vec![self.answered_by?],
            astray: Vec::new(),
        }))
    }
}

impl Thread {
    /// Asks the others, and when none of them could go on, once more those that broke off. The story comes
    /// back also when nobody could.
    pub(super) async fn go_on(
        self: Box<Self>,
        sent: &str,
        story: Option<Story>,
    ) -> Result<Resumed, Option<Story>> {
        let goal = if sent.trim().is_empty() {
            Goal::Anew
        } else {
            match Seam::new(sent) {
                Some(seam) => Goal::Seam(Box::new(seam)),
                None => return Err(story),
            }
        };
        let used = self.used(&goal, sent).await;
        let Some(request) = self.request(&goal, used.unwrap_or(0)) else { return Err(story) };
        let asked = self.asked.clone();
        let mut travel = Travel::new(
            (Arc::clone(&self.core), Arc::clone(&self.pool)),
            Arc::new(request),
            (asked, self.eligible.clone()),
            (Arc::clone(&self.requested), Arc::clone(&self.progress)),
        );
        travel.session.clone_from(&self.session);
        travel.style.guide.clone_from(&self.guide);
        travel.normalize = self.normalize;
        travel.who = self.who;
        travel.tab.clone_from(&self.tab);
        travel.attempts = self.attempts;
        travel.story = story;
        travel.rest_of = Some(self.estimated);
        travel.goal = Some(goal);
        travel.out = [&*self.answered, &*self.astray].concat();
        let mut ending = travel.run().await;
        let mut astray = self.astray.clone();
        if ending.is_err() {
            astray.extend(travel.astray());
            // It may go elsewhere now, and so waits for something else.
            travel.place = None;
            travel.out.retain(|it| astray.contains(it) || !self.answered.contains(it));
            ending = travel.run().await;
        }
        let story = travel.story.take();
        let Ok(Begun::Stream { relay, .. }) = ending else { return Err(story) };
        let room =
            used.and_then(|it| self.room(it, sent.len())).map_or(Room::Unbounded, Room::Left);
        let (attempts, by) = (travel.attempts, travel.answered_by);
        let answered = self.answered.iter().copied().chain(by).collect();
        astray.extend(travel.astray());
        let thread = Some(Box::new(Self { attempts, answered, astray, ..*self }));
        Ok(Resumed { relay, room, thread, story })
    }

    /// The caller's bounds on an answer's tokens.
    fn bounds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bound = |name| Some((name, self.request.member(name)?.parse().ok()?));
        ["max_tokens", "max_completion_tokens"].into_iter().filter_map(bound)
    }

    /// Tokens of what was sent, where a bound makes them matter.
    async fn used(&self, goal: &Goal, sent: &str) -> Option<u64> {
        if matches!(goal, Goal::Anew) {
            return None;
        }
        self.bounds().next()?;
        let (text, estimate) = (sent.to_owned(), tokens::estimate(sent.len()));
        let counting = tokio::task::spawn_blocking(move || tokens::count(&text));
        Some(counting.await.unwrap_or(estimate))
    }

    /// Bytes that may go out behind `sent` ones of `used` tokens, if the rest has as many to a
    /// token.
    fn room(&self, used: u64, sent: usize) -> Option<usize> {
        let most = self.bounds().map(|(_, most)| most).min()?;
        let most = most.saturating_add((most / MARGIN).max(1));
        let bytes = most.saturating_mul(sent as u64) / used.max(1);
        Some(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(sent))
    }

    /// The conversation with what was sent (of `used` tokens), and what the next model is to do with it.
    fn request(&self, goal: &Goal, used: u64) -> Option<ChatRequest> {
        let Goal::Seam(seam) = goal else { return Some((*self.request).clone()) };
        let messages = self.request.member("messages")?.trim_end().strip_suffix(']')?;
        let shown = match seam.shown() {
            "" => String::new(),
            shown => format!(r#",{{"role":"assistant","content":{}}}"#, json_string(shown)),
        };
        let told = json_string(&instruction(seam));
        let messages = format!(r#"{messages}{shown},{{"role":"user","content":{told}}}]"#);
        let mut edits = RequestEdits::default();
        edits.set.push(("messages", messages.into()));
        for (bound, most) in self.bounds() {
            let again = tokens::most(seam.cue().len()) + SPARE_TOKENS;
            edits
                .set
                .push((bound, most.saturating_sub(used).saturating_add(again).to_string().into()));
        }
        ChatRequest::parse(&self.request.render(&edits).joined()).ok()
    }
}

fn instruction(seam: &Seam) -> String {
    let before = if seam.shown().is_empty() {
        "Your answer broke off right after its first words, which were:"
    } else {
        "Your answer above was cut by a failing connection. The words that came next in it were:"
    };
    format!(
        "{before}\n\n{}\n\nGo on with that answer: write these words first, exactly as they stand \
         here, and then everything that follows them, as if nothing had happened. Do not begin anew, \
         do not repeat what stands before them, and do not comment on this.",
        seam.cue()
    )
}
