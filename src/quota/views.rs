//! What is left, for people and for weighted selection.

use std::time::Duration;

use crate::catalog::Period;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::Ledger;
use crate::quota::book::Counter;
use crate::quota::target::Target;

/// The headroom of a target without limits, and the most any has, in requests a minute.
const UNLIMITED: f64 = 1_000.0;

/// The place of a counter that is not of the target's own book: nothing is configured there.
const NO_PLACE: usize = usize::MAX;

/// One window of one target. Targets under one account may show the same count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// What it counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// The configured bound.
    pub configured: Option<u64>,
    /// The bound the provider told, or its refusals show.
    pub learned: Option<u64>,
    /// The lower of the two; `None` when the size is unknown and the window only known as spent.
    pub max: Option<u64>,
    /// Units used and reserved; above `max` by what is owed.
    pub used: u64,
    /// Units left, zero while the provider says that it is spent; `None` when unknown.
    pub left: Option<u64>,
    /// Units that can be spent from now until midnight UTC, with what comes back until then; `None`
    /// when unknown.
    pub today: Option<u64>,
    /// Until everything used has come back.
    pub resets_in: Duration,
    /// Has the provider said that it is spent?
    pub spent: bool,
}

/// What is left in the tightest window of each unit; `None` where no bound is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Left {
    /// Upstream requests.
    pub requests: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
}

impl Ledger {
    /// What `target` has left, without a list of its windows.
    pub fn left(&self, target: TargetId, now: Now) -> Left {
        let mut left = Left::default();
        self.each_counter(target, now, |target, place, counter| {
            let unit = match counter.unit {
                Unit::Requests => &mut left.requests,
                Unit::Tokens => &mut left.tokens,
            };
            let mine = counter.view(target.configured(place), now).and_then(|it| it.left);
            *unit = (*unit).into_iter().chain(mine).min();
        });
        left
    }

    /// Takes back what was learned of these targets from what their providers said: limits, and that
    /// nothing is left. What was counted and configured stays.
    pub fn forget_learned(&self, targets: impl IntoIterator<Item = TargetId>, now: Now) {
        for target in targets {
            self.each_counter(target, now, |_, _, counter| counter.forget_learned());
            if let Some(it) = self.target(target) {
                it.account.lock().uncrowd(&it);
            }
        }
    }

    /// The windows that bind `target`, in a stable order; none for an unknown target.
    pub fn view(&self, target: TargetId, now: Now) -> Vec<WindowView> {
        let mut views = Vec::new();
        self.each_counter(target, now, |target, place, counter| {
            let view = counter.view(target.configured(place), now);
            views.extend(view.map(|it| WindowView { today: counter.today(&it, now), ..it }));
        });
        views.sort_by_key(|it| (it.unit, it.period));
        views
    }

    /// Calls like `demand` a minute that the tightest window can take steadily until it is whole
    /// again, from 0 to 1000; an unlimited target has 1000, an unknown one 0. In a calendar window
    /// that is what is left over the time to the boundary, so it grows as the boundary comes near:
    /// quota that would expire is spent first. In a rolling one what was used counts from when it
    /// comes back, for what is idle there is lost as time goes by.
    pub fn headroom(&self, target: TargetId, demand: Demand, now: Now) -> f64 {
        let mut headroom = UNLIMITED;
        let known = self.each_counter(target, now, |target, place, counter| {
            let view = counter.view(target.configured(place), now);
            if let Some(WindowView { left: Some(left), max, .. }) = view {
                let pace = match max {
                    Some(max) if left > 0 => counter.window.pace(max, now),
                    _ => 0.0,
                };
                headroom = headroom.min(pace * 60.0 / float(demand.of(counter.unit).max(1)));
            }
        });
        if known { headroom } else { 0.0 }
    }

    /// Was there such a target?
    fn each_counter(
        &self,
        target: TargetId,
        now: Now,
        mut visit: impl FnMut(&Target, usize, &mut Counter),
    ) -> bool {
        let Some(target) = self.target(target) else { return false };
        let mut state = target.account.lock();
        let counters = state.book(target.book).map(|it| it.counters.iter_mut());
        for (place, counter) in counters.into_iter().flatten().enumerate() {
            visit(&target, place, counter);
        }
        let shared = state.shared_beside(&target).map(|it| it.counters.iter_mut());
        for counter in shared.into_iter().flatten().filter(|it| it.spent_until(now).is_some()) {
            visit(&target, NO_PLACE, counter);
        }
        true
    }
}

impl Counter {
    fn forget_learned(&mut self) {
        (self.learned, self.inferred, self.spent_until) = (None, None, None);
    }

    /// `None` when this window does not bind a target with that configured bound.
    fn view(&mut self, configured: Option<u64>, now: Now) -> Option<WindowView> {
        let max = self.max(configured, now);
        let spent_for = self.spent_until(now).map(|it| it.saturating_sub(now.monotonic));
        if max.is_none() && spent_for.is_none() {
            return None;
        }
        let used = self.window.used(now);
        let left = max.map(|it| it.saturating_sub(used));
        Some(WindowView {
            unit: self.unit,
            period: self.period,
            configured,
            learned: self.learned(now).map(|it| it.max),
            max,
            used,
            left: if spent_for.is_some() { Some(0) } else { left },
            today: None,
            resets_in: self.window.resets_in(now).max(spent_for.unwrap_or_default()),
            spent: spent_for.is_some(),
        })
    }

    /// What can be spent until midnight UTC; `None` when no bound is known.
    fn today(&mut self, view: &WindowView, now: Now) -> Option<u64> {
        let (max, rest) = (view.max?, rest_of_day(now));
        let most = self.window.most_within(max, rest, now);
        let Some(until) = self.spent_until(now) else { return Some(most) };
        // How much is back then is not said: as much as if all had been used just now.
        let Some(after) = rest.checked_sub(until.saturating_sub(now.monotonic)) else {
            return Some(0);
        };
        let windows = after.as_nanos() / self.period.rolling().as_nanos().max(1) + 1;
        Some(most.min(max.saturating_mul(u64::try_from(windows).unwrap_or(u64::MAX))))
    }
}

/// Until the last millisecond of the day.
fn rest_of_day(now: Now) -> Duration {
    const DAY_MS: u64 = 86_400_000;
    Duration::from_millis(DAY_MS - 1 - now.unix_ms % DAY_MS)
}

/// Exact below 2^32, which is more than any headroom needs.
fn float(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
