//! What providers say of their limits. It may lower what is left or supply a bound that is not
//! configured; it never raises a configured one.

use std::time::Duration;

use crate::catalog::Period;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::Ledger;
use crate::quota::book::Book;
use crate::quota::book::Counter;
use crate::quota::book::Learned;
use crate::quota::target::Target;

/// A learned limit is trusted for two periods, and at least this long, after it was last told.
/// The same bounds how far ahead a window can be called spent.
const TRUST: Duration = Duration::from_secs(3_600);

/// A provider's rate-limit headers for one window, as far as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the window counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// Its size.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// Monotonic time at which it is whole again.
    pub reset_at: Option<Duration>,
}

impl Ledger {
    /// Takes over what a provider said.
    ///
    /// A `limit` holds beside the configured one; the lower counts. `remaining` below what we
    /// believe is left means that somebody else uses the key: the difference is charged, until
    /// `reset_at` or for one window. Open reservations the figure cannot contain yet are taken off
    /// it first: those not written, and, where the provider counts tokens when an answer ends, the
    /// tokens of all that are under way. Requests that were written count as contained, though one
    /// may still be on the wire; the next answer corrects that. A `remaining` above our own is
    /// ignored, and so answers may arrive in any order: the lowest figure holds. A
    /// `remaining` whose `reset_at` has passed is no news.
    pub fn learn(&self, target: TargetId, seen: Observation, now: Now) {
        if let Some(target) = self.target(target) {
            target.learn(seen, Demand::default(), now);
        }
    }

    /// A refusal said that this window is spent until the monotonic time `until`. Times more than
    /// two periods (and an hour) ahead are cut to that. The latest such time holds.
    pub fn exhausted(
        &self,
        target: TargetId,
        (unit, period): (Unit, Period),
        until: Duration,
        now: Now,
    ) {
        let Some(target) = self.target(target) else { return };
        let mut state = target.account.lock();
        let Some(book) = state.book(target.book) else { return };
        let place = book.counter_of(unit, period, target.reset);
        if let Some(counter) = book.counters.get_mut(place) {
            counter.spend_until(until, now);
        }
    }
}

impl Target {
    /// `own` is the demand of the call that brought the figure, where it is open and sent.
    pub(crate) fn learn(&self, seen: Observation, own: Demand, now: Now) {
        if seen.limit.is_none() && seen.remaining.is_none() {
            return;
        }
        if let Some(book) = self.account.lock().book(self.book) {
            book.learn(self, seen, own, now);
        }
    }
}

impl Book {
    fn learn(&mut self, target: &Target, seen: Observation, own: Demand, now: Now) {
        let place = self.counter_of(seen.unit, seen.period, target.reset);
        let flying = self.not_yet_told(seen.unit, target.reserves_max_tokens, own);
        let Some(counter) = self.counters.get_mut(place) else { return };
        if let Some(max) = seen.limit {
            counter.learn(Learned { max, until: Duration::MAX }, now);
        }
        let Some(remaining) = seen.remaining else { return };
        let Some(max) = counter.max(target.configured(place), now) else {
            // How much a window of unknown size holds cannot be told, but that it is empty can.
            if let (0, Some(reset)) = (remaining, seen.reset_at) {
                counter.spend_until(reset, now);
            }
            return;
        };
        let left = max.saturating_sub(counter.window.used(now));
        let foreign = left.saturating_sub(remaining.saturating_sub(flying));
        if foreign > 0 {
            let leaves = seen.reset_at.unwrap_or(Duration::MAX);
            counter.window.charge_until(foreign, leaves, now);
        }
    }
}

impl Counter {
    pub(crate) fn learn(&mut self, learned: Learned, now: Now) {
        let until = learned.until.min(horizon(self.period, now));
        self.learned = Some(Learned { until, ..learned });
    }

    pub(crate) fn spend_until(&mut self, until: Duration, now: Now) {
        let until = until.min(horizon(self.period, now));
        self.spent_until = self.spent_until.max(Some(until));
    }
}

fn horizon(period: Period, now: Now) -> Duration {
    now.monotonic.saturating_add(TRUST.max(period.rolling() * 2))
}
