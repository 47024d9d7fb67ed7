//! Between two rounds: a short rest where faults may pass, a place in line where quota is spent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::Path;
use crate::breaker::State;
use crate::catalog::Model;
use crate::catalog::ProviderId;
use crate::catalog::QuotaScope;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::dispatch::exhausted;
use crate::dispatch::exhausted::LeastBad;
use crate::dispatch::exhausted::Wait;
use crate::dispatch::journey::Travel;
use crate::dispatch::queue::Bucket;
use crate::dispatch::queue::Choice;
use crate::dispatch::queue::Others;

/// Rest before targets that failed in passing are asked again; doubled with each round.
const ROUND_REST: Duration = Duration::from_millis(100);
/// How often a request looks whether another's probe has ended.
const PROBE_REST: Duration = Duration::from_millis(50);
/// Longest wait for the probes of others in one journey.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// Rounds that may follow at once because quota came free just after the one before. Were it for something
/// else that nobody was asked, there would be no end.
const MISSES: u32 = 8;
/// Shortest time after which a request in line looks whether there is still hope.
const LAST_LOOK: Duration = Duration::from_millis(250);

/// What a journey has made of breakers that faults keep open.
#[derive(Debug, Default)]
pub(super) struct Pardons {
    /// With nobody left, the one whose breaker is passed by in this round.
    pub(super) now: Option<TargetId>,
    /// Those that have failed all the same, whoever asked them: one chance is all they get.
    pub(super) had: Vec<TargetId>,
    /// Time spent on waiting for the probes of others.
    watched: Duration,
}

impl Travel {
    /// Where others wait for the same quota, nobody overtakes them. `false`: too many of its caller's
    /// wait already, or it would wait in vain.
    pub(super) fn line_up(&mut self) -> bool {
        let patience = self.patience_left();
        if !self.core.queue.has(|| self.choice()) || patience.is_zero() {
            return true;
        }
        self.join(patience)
    }

    /// Stands in line, unless there is no hope in it for `patience`.
    fn join(&mut self, patience: Duration) -> bool {
        if self.is_hopeless(patience) {
            return false;
        }
        self.place = self.core.queue.join(self.choice(), self.who);
        self.place.is_some()
    }

    /// Is it certain that its turn does not come within `patience`? So many are served before it that
    /// the windows of all it may go to let in no more by then, even if each call under way gives its
    /// own back. Those in line are taken to stay.
    fn is_hopeless(&self, patience: Duration) -> bool {
        let counts =
            |it: TargetView<'_>| it.model.limits.iter().any(|it| it.unit == Unit::Requests);
        if !exhausted::targets(self).all(counts) {
            return false;
        }
        let (now, before) = (self.core.clock.now(), self.line_before());
        let targets = exhausted::targets(self).map(|it| it.id);
        before > 0 && !self.core.books.ledger.may_let_in(targets, before, (patience, now))
    }

    /// At least so many are served before it.
    pub(super) fn line_before(&self) -> u64 {
        let queue = &self.core.queue;
        match &self.place {
            Some(place) => queue.before(place.choice(), self.who, Some(place)),
            None if queue.has(|| self.choice()) => queue.before(&self.choice(), self.who, None),
            None => 0,
        }
    }

    /// What others in line want or have a right to before it. Who has had its turn and met a
    /// fault goes on as it can.
    pub(super) fn others_in_line(&self) -> Others {
        if self.place.is_none() && self.attempts > 0 {
            return Others::default();
        }
        self.core.queue.others(self.place.as_ref())
    }

    /// Waits until it comes first in its line; at once when it stands in none. `false`: the time is up,
    /// or will be before it comes first.
    pub(super) async fn turn(&mut self) -> bool {
        let (began, patience) = (Instant::now(), self.patience_left());
        let in_time = loop {
            let Some(place) = self.place.as_ref().filter(|it| !it.is_first()) else { break true };
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() || self.is_hopeless(left) {
                break false;
            }
            // Others may come whose turn is before its own: it looks again, the more often the less
            // time is left, and a dozen times at most.
            let look = (left / 2).max(LAST_LOOK).min(left);
            tokio::time::timeout(look, place.bell()).await.ok();
        };
        self.waited += began.elapsed();
        in_time
    }

    /// Rests before another round. `false`: there is nothing to hope for in time.
    pub(super) async fn rest(&mut self, passing: bool) -> bool {
        let left = self.time_left();
        if self.attempts > self.core.params.max_retries || left.is_zero() {
            return false;
        }
        if passing {
            self.rounds += 1;
            let rest = ROUND_REST.saturating_mul(1 << self.rounds.min(4));
            if rest < left {
                tokio::time::sleep(rest).await;
            }
            return rest < left;
        }
        let began = Instant::now();
        let hope = self.watch().await;
        self.waited += began.elapsed();
        hope
    }

    /// With nobody left to ask or to wait for: whoever faults alone keep shut is asked all the same, the
    /// least bad first, each once in a journey and by one request at a time. `false`: there is no such
    /// target, or no attempt left.
    pub(super) async fn pardon(&mut self) -> bool {
        if self.attempts > self.core.params.max_retries || self.time_left().is_zero() {
            return false;
        }
        match exhausted::least_bad(self) {
            LeastBad::Target(target) => {
                self.pardons.now = Some(target);
                self.pardons.had.push(target);
                true
            }
            LeastBad::Probed(target) => self.await_probe(target).await,
            LeastBad::Nobody => false,
        }
    }

    /// Waits for another request's probe and takes over what it finds out. `false`: it takes too long.
    async fn await_probe(&mut self, target: TargetId) -> bool {
        let found = self.pool.selector.catalog.target(target);
        let Some(path) = found.as_ref().map(Path::from) else { return false };
        let (core, began) = (Arc::clone(&self.core), Instant::now());
        let look = || core.books.breakers.check(&path, core.clock.now()).err();
        let open_until = |it: State, until| (it == State::Open).then_some(until);
        let before = look().and_then(|it| open_until(it.state, it.until));
        let patience = PROBE_WAIT.saturating_sub(self.pardons.watched).min(self.time_left());
        while began.elapsed() < patience {
            tokio::time::sleep(PROBE_REST).await;
            let now = look();
            let until = now.and_then(|it| open_until(it.state, it.until));
            if until.is_some() && until != before {
                self.pardons.had.push(target);
            } else if now.is_some_and(|it| it.probed) {
                continue;
            }
            self.pardons.watched += began.elapsed();
            return true;
        }
        false
    }

    /// Stands in line, and while it is first there, waits for the time at which quota comes free or
    /// for the call that frees some earlier.
    async fn watch(&mut self) -> bool {
        let until = Instant::now() + self.patience_left();
        loop {
            let rest = match exhausted::soonest(self) {
                Wait::For(rest) => Instant::now() + rest + self.a_little_more(),
                Wait::ForACall => until,
                // Its time has passed while another call was answered.
                Wait::InVain if exhausted::is_back(self) => Instant::now() + self.a_little_more(),
                // It came free since the round in which it was not.
                Wait::InVain if self.missed < MISSES && exhausted::is_ready(self) => {
                    self.missed += 1;
                    return true;
                }
                Wait::InVain => return false,
            };
            if rest > until || until <= Instant::now() {
                return false;
            }
            if self.place.is_none() && !self.join(until.saturating_duration_since(Instant::now())) {
                return false;
            }
            let Some(place) = &self.place else { return false };
            if !place.is_first() {
                return true;
            }
            match tokio::time::timeout_at(rest, place.bell()).await {
                Err(_) => return rest < until || exhausted::is_ready(self),
                Ok(()) if exhausted::is_ready(self) => return true,
                Ok(()) => {}
            }
        }
    }

    /// What is left of the time until the answer's first byte.
    pub(super) fn time_left(&self) -> Duration {
        self.time_left_at(self.core.clock.now())
    }

    /// The same at a time that is known.
    pub(super) fn time_left_at(&self, now: Now) -> Duration {
        let spent = now.monotonic.saturating_sub(self.started.monotonic);
        self.core.params.deadline.saturating_sub(spent)
    }

    /// What is left of the time for waiting.
    fn patience_left(&self) -> Duration {
        self.core.params.max_quota_wait.saturating_sub(self.waited).min(self.time_left())
    }

    /// The quota that it may be given.
    fn choice(&self) -> Choice {
        let catalog = &self.pool.selector.catalog;
        let left = self.eligible.iter().filter_map(|(p, m)| {
            let provider = catalog.providers().get(*p)?;
            let model = provider.models.get(*m)?;
            let gone = model.targets.iter().all(|it| self.out.contains(it));
            (!gone).then(|| bucket(provider.id, model))
        });
        Choice::of(left.collect())
    }
}

/// What requests for a model compete for.
pub(super) fn bucket(provider: ProviderId, model: &Model) -> Bucket {
    match model.scope {
        QuotaScope::Model => Bucket::Model(model.id),
        QuotaScope::Account => Bucket::Accounts(provider),
    }
}
