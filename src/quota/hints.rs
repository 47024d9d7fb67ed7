//! What providers say of their limits, in headers and in refusals. It may lower what is left or
//! supply a bound that is not configured; it never raises a configured one.

use std::time::Duration;

use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::AsOf;
use crate::quota::Ledger;
use crate::quota::book::Book;
use crate::quota::book::Counter;
use crate::quota::book::Learned;
use crate::quota::inferred::Inferred;
use crate::quota::target::Target;
use crate::window::Owner;

/// A learned limit is trusted for two periods, and at least this long, after it was last told.
/// The same bounds how far ahead a window can be called spent.
const TRUST: Duration = Duration::from_secs(3_600);
/// Parts in which what somebody else used comes back where a window refills evenly.
const PARTS: u32 = 16;

/// What a provider told of one window, as far as it did.
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
    /// Does it come back bit by bit until then, rather than all at once?
    pub refills_evenly: bool,
    /// Does it speak of all models of the account?
    pub account_wide: bool,
}

/// A refusal that named the window it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the window counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// Monotonic time at which something is left again, where it was told.
    pub until: Option<Duration>,
    /// Is it spent for all models of the account, and for all of its keys?
    pub account_wide: bool,
}

impl Ledger {
    /// Takes over what a provider said.
    ///
    /// A `limit` holds beside the configured one; the lower counts. `remaining` below what we
    /// believe is left means that somebody else uses the key: the difference is charged, until
    /// `reset_at` or for one window. Open reservations count as contained in the figure, though a
    /// request may still be on its way, or its tokens be counted only when it ends; the next
    /// answers correct that. A `remaining` above our own is ignored, and so answers may arrive in
    /// any order: the lowest figure holds. A `remaining` whose `reset_at` has passed is no news.
    ///
    /// `as_of` is the call that brought the figure, which is as old as the call: what has come back
    /// to us since had not come back when it was taken.
    ///
    /// Call it once the answer that brought the figure is settled: what it cost more than was
    /// reserved would be taken for somebody else's otherwise, and charged twice.
    pub fn learn(&self, target: TargetId, seen: Observation, as_of: &AsOf, now: Now) {
        let Some(target) = self.target(target) else { return };
        if seen.account_wide && target.scope == QuotaScope::Model {
            // A figure for all models says nothing of the count of one.
            return;
        }
        let mut state = target.account.lock();
        let elsewhere =
            state.book(target.book).is_some_and(|it| it.learn(&target, (seen, as_of), now));
        drop(state);
        if elsewhere {
            target.mark_used_elsewhere(now);
        }
    }

    /// Has somebody else been seen to use the quota of `target` within the last ten minutes? What he
    /// takes is known too late, so such a key is asked best when the others have nothing left.
    pub fn is_used_elsewhere(&self, target: TargetId, now: Now) -> bool {
        self.targets.load().get(&target).is_some_and(|it| it.is_used_elsewhere(now))
    }

    /// A refusal said that a window is spent. Gives the monotonic time until which it is: as told,
    /// though at most two periods (and an hour) ahead; else until the calendar's boundary; else,
    /// where the window rolls, for a part of it. The latest such time holds.
    pub fn exhausted(&self, target: TargetId, refusal: Refusal, now: Now) -> Duration {
        let Some(target) = self.target(target) else { return now.monotonic };
        let mut state = target.account.lock();
        let place = if refusal.account_wide { state.book_of(None) } else { target.book };
        let Some(book) = state.book(place) else { return now.monotonic };
        let place = book.counter_of(refusal.unit, refusal.period, target.reset, now);
        let Some(counter) = book.counters.get_mut(place) else { return now.monotonic };
        // By our own count there was something left.
        let room = counter
            .max(target.configured(place), now)
            .is_some_and(|max| counter.window.used(now) < max);
        if room {
            target.mark_used_elsewhere(now);
        }
        let until = refusal.until.unwrap_or_else(|| counter.comes_back(now));
        counter.spend_until(until, now);
        counter.spent_until(now).unwrap_or(now.monotonic)
    }

    /// The call was refused and nothing told which window it was, but perhaps its `period` or how
    /// long to `wait`. A window of a minute is taken for it; one of a second, where that is told, or
    /// where the wait is as short and none of a minute is half full. Of several it is the fullest,
    /// and that of requests where none is known. What it holds is from now on its bound, raised step
    /// by step, to the configured one at most.
    ///
    /// Call it once the refused call's own reservation is closed.
    pub fn refused(
        &self,
        target: TargetId,
        (period, wait): (Option<Period>, Option<Duration>),
        now: Now,
    ) {
        let Some(target) = self.target(target) else { return };
        let mut state = target.account.lock();
        let Some(book) = state.book(target.book) else { return };
        let brief = wait.is_some_and(|it| it <= Period::Second.rolling());
        let minute = book.fullest(&target, Period::Minute, now).is_some_and(|it| it.1 >= 500);
        let period = match period {
            Some(period) => period,
            None if brief && !minute => Period::Second,
            None => Period::Minute,
        };
        book.refused(&target, period, now);
    }
}

impl Book {
    /// Has somebody else used it?
    fn learn(&mut self, target: &Target, (seen, as_of): (Observation, &AsOf), now: Now) -> bool {
        let place = self.counter_of(seen.unit, seen.period, target.reset, now);
        let Some(counter) = self.counters.get_mut(place) else { return false };
        if let Some(max) = seen.limit {
            counter.learn(Learned { max, until: Duration::MAX }, now);
        }
        let Some(remaining) = seen.remaining else { return false };
        let Some(max) = counter.max(target.configured(place), now) else {
            // How much a window of unknown size holds cannot be told, but that it is empty can.
            if let (0, Some(reset)) = (remaining, seen.reset_at) {
                counter.spend_until(reset, now);
            }
            return false;
        };
        let left = max.saturating_sub(counter.used_since(as_of.mark(place, seen.unit), now));
        let foreign = left.saturating_sub(remaining);
        if foreign > 0 {
            counter.charge_foreign(foreign, (&seen, target.owner), now);
        }
        foreign > 0
    }

    fn refused(&mut self, target: &Target, period: Period, now: Now) {
        let requests = self.counter_of(Unit::Requests, period, target.reset, now);
        let fullest = self.fullest(target, period, now).map_or(requests, |it| it.0);
        let Some(counter) = self.counters.get_mut(fullest) else { return };
        let used = counter.window.used(now);
        if used > 0 {
            counter.infer(used, now.monotonic);
        }
    }

    /// The place of the fullest window of that period that has a known bound, and the thousandths of
    /// it that are used; `None` when none is used at all.
    fn fullest(&mut self, target: &Target, period: Period, now: Now) -> Option<(usize, u64)> {
        let counters = self.counters.iter_mut().enumerate();
        let full = counters.filter(|(_, it)| it.period == period).filter_map(|(place, counter)| {
            let max = counter.max(target.configured(place), now)?;
            Some((place, counter.window.used(now).saturating_mul(1_000) / max.max(1)))
        });
        full.filter(|it| it.1 > 0).max_by_key(|it| it.1)
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

    fn infer(&mut self, used: u64, now: Duration) {
        self.refused_at = self.charged;
        match &mut self.inferred {
            Some(it) => it.refused(used, now),
            None => self.inferred = Some(Inferred::new(used, self.period.rolling(), now)),
        }
    }

    /// Charges what somebody else has used, as seen by `owner`.
    fn charge_foreign(&mut self, amount: u64, (seen, owner): (&Observation, Owner), now: Now) {
        self.charged = self.charged.saturating_add(amount);
        self.foreign_at = Some(now.monotonic);
        let Some(reset) = seen.reset_at.filter(|it| *it > now.monotonic || !seen.refills_evenly)
        else {
            return self.window.charge_until(amount, owner, Duration::MAX, now);
        };
        if !seen.refills_evenly {
            return self.window.charge_until(amount, owner, reset, now);
        }
        // A short window's units are charged as they are noticed, so they come back no earlier
        // than our own: a little late, but never a refusal too early. A long one's would be late
        // by hours.
        if self.period.rolling() <= Period::Minute.rolling() {
            return self.window.charge_until(amount, owner, Duration::MAX, now);
        }
        let step = reset.saturating_sub(now.monotonic) / PARTS;
        let mut rest = amount;
        for part in 1..=PARTS {
            let share = (rest / u64::from(PARTS + 1 - part)).min(rest);
            rest -= share;
            self.window.charge_until(share, owner, now.monotonic + step * part, now);
        }
    }

    /// When something is left again of a window that is spent, by nobody's word.
    fn comes_back(&mut self, now: Now) -> Duration {
        let rest = match (self.window.boundary_in(now), self.period) {
            (Some(boundary), _) => boundary,
            // Where a window rolls something may come back any moment; it is tried now and then.
            (None, Period::Second) => Duration::from_secs(1),
            (None, Period::Minute) => Duration::from_secs(10),
            (None, Period::Hour) => Duration::from_secs(5 * 60),
            (None, Period::Day) => Duration::from_secs(3_600),
            (None, Period::Month) => Duration::from_secs(6 * 3_600),
        };
        now.monotonic.saturating_add(rest)
    }
}

fn horizon(period: Period, now: Now) -> Duration {
    now.monotonic.saturating_add(TRUST.max(period.rolling() * 2))
}
