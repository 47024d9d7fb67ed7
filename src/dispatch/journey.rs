//! One request's journey: legs of candidates, attempts, rests, and what the caller gets.

use std::sync::Arc;
use std::time::Duration;

use crate::callers::Tab;
use crate::catalog::TargetId;
use crate::clock::Now;
use crate::dispatch::Core;
use crate::dispatch::Pool;
use crate::dispatch::continuation::Goal;
use crate::dispatch::destination::destination;
use crate::dispatch::destination::shown;
use crate::dispatch::exhausted;
use crate::dispatch::fitting::Styled;
use crate::dispatch::key;
use crate::dispatch::legs::Leg;
use crate::dispatch::noting::story;
use crate::dispatch::outcome::Answer;
use crate::dispatch::outcome::ChatCall;
use crate::dispatch::outcome::Failure;
use crate::dispatch::outcome::Progress;
use crate::dispatch::outcome::Requirements;
use crate::dispatch::outcome::Route;
use crate::dispatch::outcome::Who;
use crate::dispatch::queue::Place;
use crate::dispatch::refit::Told;
use crate::dispatch::story::Story;
use crate::dispatch::strict::Refusal;
use crate::dispatch::structured::Wanted;
use crate::dispatch::verdict;
use crate::dispatch::verdict::Next;
use crate::dispatch::waiting::Pardons;
use crate::dispatch::whole::Begun;
use crate::dispatch::whole::Spare;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::provider::fault::Fault;
use crate::select::Asked;
use crate::select::Eligible;

/// How often members are left out, as a provider names them, before the next candidate is asked.
const REPEATS: usize = 3;

/// Takes one request through the pool.
pub(super) async fn travel(
    core: Arc<Core>,
    call: ChatCall,
    progress: Arc<Progress>,
) -> Result<Answer, Failure> {
    let pool = core.pool.load_full();
    let requested = shown(call.request.model.as_deref().unwrap_or("meta-model"));
    let no_training = call.requires.no_training || core.params.no_training;
    let requires = Requirements { no_training, ..call.requires };
    let mut story = story(&core, &call, &progress, (&requested, requires));
    let found = destination(&pool, (&call.request, requires), story.record()).await;
    let found = found.and_then(|found| {
        let tab = call.key.as_ref().map(|it| key::admit(&core, it, &call.request, &found.0));
        Ok((found, tab.transpose()?))
    });
    let ((asked, eligible, wanted), tab) = match found {
        Ok(found) => found,
        Err(error) => {
            story.refused(&error);
            progress.tell_trace(story.summary().filter(|_| requires.trace));
            return Err(Failure { error: Box::new(error), route: None });
        }
    };
    let (style, normalize) = (call.style, call.normalize);
    let request = Arc::new(call.request);
    // Boxed, so that the journey, which is moved when it begins, stays small.
    let travel = Travel::new((core, pool), request, (asked, eligible), (requested, progress));
    let mut travel = Box::new(travel);
    travel.requires = requires;
    if !requires.strict && !matches!(travel.asked, Asked::Direct { .. }) {
        travel.session = call.session;
    }
    travel.wanted = wanted;
    if !requires.strict {
        travel.take_style(style);
    }
    travel.normalize = normalize && !requires.strict;
    travel.story = Some(story);
    travel.who = call.who;
    travel.tab = tab;
    let ending = travel.run().await;
    let ending = travel.with_spare(ending).await;
    travel.note_ending(&ending);
    let begun = ending?;
    let story = travel.story.take();
    Ok(begun.into_answer(story, travel.thread()))
}

/// A journey under way.
pub(super) struct Travel {
    pub(super) core: Arc<Core>,
    pub(super) pool: Arc<Pool>,
    pub(super) request: Arc<ChatRequest>,
    pub(super) eligible: Eligible,
    pub(super) requires: Requirements,
    /// What the answer has to be; `None` when nothing has to be checked.
    pub(super) wanted: Option<Arc<Wanted>>,
    /// An answer without the JSON that was asked for, with its fault.
    pub(super) spare: Option<(Spare, Fault)>,
    pub(super) faults: Vec<(TargetId, Fault)>,
    pub(super) asked: Asked,
    pub(super) requested: Arc<str>,
    pub(super) session: Option<String>,
    pub(super) progress: Arc<Progress>,
    /// Handed to the stream when one begins; written into the log when it is dropped.
    pub(super) story: Option<Story>,
    pub(super) started: Now,
    pub(super) attempts: u32,
    pub(super) rounds: u32,
    pub(super) waited: Duration,
    /// Rounds that ended just before quota came free.
    pub(super) missed: u32,
    /// Who asks, for taking turns.
    pub(super) who: Who,
    /// What the key that was shown runs up, if one was.
    pub(super) tab: Option<Arc<Tab>>,
    /// Where it stands in line for quota, if it does.
    pub(super) place: Option<Place>,
    /// Has it waited where its session lives after it was refused there?
    pub(super) stayed_home: bool,
    /// Does the next call need a connection of its own?
    pub(super) on_new_connection: bool,
    /// Targets that would give the same fault again.
    pub(super) out: Vec<TargetId>,
    /// Those of them whose fault is of the request: no time will change it.
    pub(super) refused: Vec<TargetId>,
    /// Who may be asked with a shorter conversation.
    pub(super) told: Told,
    pub(super) pardons: Pardons,
    pub(super) last_route: Option<Route>,
    /// What the provider of a strict request has said last.
    pub(super) refusal: Option<Refusal>,
    pub(super) answered_by: Option<TargetId>,
    /// Does it go on with an answer that broke off, and were a part's tokens counted here?
    pub(super) rest_of: Option<bool>,
    /// Where the answer has to set in, when this journey goes on with one that broke off.
    pub(super) goal: Option<Goal>,
    pub(super) style: Styled,
    /// Does the caller leave the answer's text to the normaliser?
    pub(super) normalize: bool,
    pub(super) rng: fastrand::Rng,
}

impl Travel {
    /// A journey that has not begun, without a session.
    pub(super) fn new(
        (core, pool): (Arc<Core>, Arc<Pool>),
        request: Arc<ChatRequest>,
        (asked, eligible): (Asked, Eligible),
        (requested, progress): (Arc<str>, Arc<Progress>),
    ) -> Self {
        Self {
            started: core.clock.now(),
            request,
            session: None,
            asked,
            eligible,
            requires: Requirements::default(),
            wanted: None,
            spare: None,
            requested,
            progress,
            story: None,
            attempts: 0,
            rounds: 0,
            waited: Duration::ZERO,
            missed: 0,
            who: Who::default(),
            tab: None,
            place: None,
            stayed_home: false,
            on_new_connection: false,
            faults: Vec::new(),
            out: Vec::new(),
            refused: Vec::new(),
            told: Told::default(),
            pardons: Pardons::default(),
            last_route: None,
            refusal: None,
            answered_by: None,
            rest_of: None,
            goal: None,
            style: Styled::default(),
            normalize: true,
            rng: fastrand::Rng::new(),
            core,
            pool,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Begun, Failure> {
        if !self.line_up() {
            return Err(self.failure(exhausted::error(self)));
        }
        loop {
            if self.place.is_some()
                && !Box::pin(self.turn()).await
                && !Box::pin(self.pardon()).await
            {
                return Err(self.failure(exhausted::error(self)));
            }
            let failures = self.faults.len();
            let answer = self.round().await?;
            let early = self.pardons.now.take().is_some();
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if self.requires.strict && self.faults.len() > failures {
                return Err(self.failure(self.as_it_came()));
            }
            if early && exhausted::is_ready(self) {
                continue;
            }
            // Whoever has failed although its breaker was passed by is not rested for.
            let mut failed = self.faults.iter().skip(failures);
            let passing = !early && failed.any(|(_, it)| verdict::may_pass(it));
            if !Box::pin(self.rest(passing)).await && !Box::pin(self.pardon()).await {
                return Err(self.failure(exhausted::error(self)));
            }
        }
    }

    /// Walks the candidates of one leg.
    pub(super) async fn leg(&mut self, leg: &Leg) -> Result<Option<Begun>, Failure> {
        self.wait_for_home(leg).await;
        let mut now = self.core.clock.now();
        let mut walk = self.walk(leg, now);
        let mut noted = 0;
        while self.attempts <= self.core.params.max_retries && !self.time_left_at(now).is_zero() {
            let Some(candidate) = self.next_candidate(&mut walk, leg, now) else {
                self.note_rejected(&walk, &mut noted);
                return Ok(None);
            };
            self.note_rejected(&walk, &mut noted);
            let mut left_out = self.refused_before(candidate.target, now);
            let mut repeats = 0;
            let mut edits = leg.edits.clone();
            edits.leave_out.extend(left_out.iter().cloned());
            loop {
                let tried = self.attempt(candidate, &edits, leg, &left_out).await;
                let next = match tried {
                    Ok(answer) => return Ok(Some(answer)),
                    Err(None) => break,
                    Err(Some(fault)) => self.take_in(candidate.target, fault),
                };
                match next {
                    Next::GiveBack => return Err(self.failure(self.given_back())),
                    Next::RepeatWithout(fields)
                        if repeats < REPEATS
                            && fields.iter().any(|it| !left_out.contains(it))
                            && self.attempts <= self.core.params.max_retries =>
                    {
                        repeats += 1;
                        for field in fields {
                            self.remember_refused(candidate.target, &field);
                            edits.leave_out.push(field.clone());
                            left_out.push(field);
                        }
                    }
                    Next::Again
                        if repeats < REPEATS && self.attempts <= self.core.params.max_retries =>
                    {
                        repeats += 1;
                        self.on_new_connection = true;
                    }
                    Next::Candidate { model_to_blame } => {
                        if Box::pin(self.stays_home(leg, candidate)).await {
                            walk = self.walk(leg, self.core.clock.now());
                        } else if model_to_blame {
                            walk.blame_model();
                        }
                        walk.skip(&self.out);
                        walk.skip(&self.told.waiting);
                        break;
                    }
                    Next::RepeatWithout(_) | Next::Again => {
                        walk.skip(&self.out);
                        break;
                    }
                }
            }
            now = self.core.clock.now();
        }
        Ok(None)
    }

    /// A little more than the exact time: the provider's clock is not ours.
    pub(super) fn a_little_more(&mut self) -> Duration {
        Duration::from_millis(5 + self.rng.u64(..20))
    }

    /// Remembers a fault and says where it leads.
    fn take_in(&mut self, target: TargetId, fault: Fault) -> Next {
        let next = match self.next_after(&fault, target) {
            Next::RepeatWithout(_) if self.requires.strict => {
                Next::Candidate { model_to_blame: true }
            }
            next => next,
        };
        let repeats = verdict::may_pass(&fault) || verdict::is_throttle(&fault);
        if fault.context().is_some() && self.may_fit_again(target) {
            // It is passed by until the conversation has been cut for it.
        } else if verdict::speaks_of_model(&fault) {
            // The model's other keys would say the same, and each would be charged for it.
            let same: Vec<TargetId> = self.keys_of_the_same_model(target);
            self.out.extend_from_slice(&same);
            if verdict::speaks_of_request(&fault) {
                self.refused.extend(same);
            }
        } else if !repeats {
            self.out.push(target);
        }
        self.note_key(target, &fault);
        self.faults.push((target, fault));
        next
    }

    pub(super) fn failure(&self, error: ApiError) -> Failure {
        Failure { error: Box::new(self.masked(error)), route: self.last_route.clone() }
    }

    fn keys_of_the_same_model(&self, target: TargetId) -> Vec<TargetId> {
        let found = self.pool.selector.catalog.target(target);
        found.map_or_else(Vec::new, |it| it.model.targets.clone())
    }
}
