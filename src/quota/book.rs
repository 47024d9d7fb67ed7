//! A bucket of an account: the counters that some or all of its models draw on.

use std::time::Duration;

use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::account::Closing;
use crate::quota::denial::Bound;
use crate::quota::denial::Denial;
use crate::quota::denial::FreeAt;
use crate::quota::inferred::Inferred;
use crate::quota::target::Target;
use crate::window::Calendar;
use crate::window::Shape;
use crate::window::Stamp;
use crate::window::Window;

/// The counters of one model of an account, or of all its models.
#[derive(Debug)]
pub(crate) struct Book {
    /// Whose; `None` = all models of the account.
    pub(crate) model: Option<ModelId>,
    /// At most one for each unit, period and way to reset.
    pub(crate) counters: Vec<Counter>,
}

/// One window, and what is known of its bound beside the configuration.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) unit: Unit,
    pub(crate) period: Period,
    pub(crate) reset: Reset,
    pub(crate) window: Window,
    /// What the provider says its limit is.
    pub(crate) learned: Option<Learned>,
    /// What its refusals say the limit is, where it does not tell.
    pub(crate) inferred: Option<Inferred>,
    /// Monotonic time before which the provider says there is nothing left.
    pub(crate) spent_until: Option<Duration>,
}

/// A limit the provider told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) max: u64,
    /// Monotonic time from which it is no longer trusted unless it is told again: a wrong one must
    /// not keep a target from ever being asked again.
    pub(crate) until: Duration,
}

impl Book {
    pub(crate) fn new(model: Option<ModelId>) -> Self {
        Self { model, counters: Vec::new() }
    }

    /// The place of a counter, added when there is none.
    pub(crate) fn counter_of(&mut self, unit: Unit, period: Period, reset: Reset) -> usize {
        let reset = reset_of(period, reset);
        let same = |it: &Counter| it.unit == unit && it.period == period && it.reset == reset;
        self.counters.iter().position(same).unwrap_or_else(|| {
            self.counters.push(Counter {
                unit,
                period,
                reset,
                window: Window::new(shape_of(period, reset)),
                learned: None,
                inferred: None,
                spent_until: None,
            });
            self.counters.len() - 1
        })
    }

    pub(crate) fn check(
        &mut self,
        target: &Target,
        demand: Demand,
        now: Now,
    ) -> Result<(), Denial> {
        let mut worst: Option<Denial> = None;
        for (place, counter) in self.counters.iter_mut().enumerate() {
            let need = demand.of(counter.unit);
            if let Some(free) = counter.blocked_until(need, target.configured(place), now)
                && worst.is_none_or(|it| it.free < free)
            {
                worst = Some(counter.denial(free, target.scope));
            }
        }
        worst.map_or(Ok(()), Err)
    }

    /// What is left of `unit` in the tightest of the windows that bind `target`; `None` = no bound.
    pub(crate) fn left(&mut self, target: &Target, unit: Unit, now: Now) -> Option<u64> {
        let counters = self.counters.iter_mut().enumerate().filter(|(_, it)| it.unit == unit);
        let left = counters.filter_map(|(place, it)| {
            let max = it.max(target.configured(place), now)?;
            Some(max.saturating_sub(it.window.used(now)))
        });
        left.min()
    }

    /// Of the windows that are said to be spent, the one that is so for longest.
    pub(crate) fn check_spent(&self, scope: QuotaScope, now: Now) -> Result<(), Denial> {
        let spent = self.counters.iter().filter_map(|it| Some((it.spent_until(now)?, it)));
        let longest = spent.max_by_key(|(until, _)| *until);
        longest.map_or(Ok(()), |(until, it)| Err(it.denial(FreeAt::At(until), scope)))
    }

    /// Every counter is charged, also those that this target has no bound for: others may.
    pub(crate) fn open(&mut self, demand: Demand, now: Now) -> Vec<Stamp> {
        self.counters.iter_mut().map(|it| it.window.charge(demand.of(it.unit), now)).collect()
    }

    pub(crate) fn close(&mut self, closing: &Closing<'_>) {
        for (counter, stamp) in self.counters.iter_mut().zip(closing.stamps) {
            let (was, is) = (closing.reserved.of(counter.unit), closing.real.of(counter.unit));
            if was != is {
                counter.window.adjust(*stamp, was, is);
            }
        }
    }
}

impl Counter {
    /// The bound that holds now: the lowest of those that are known.
    pub(crate) fn max(&mut self, configured: Option<u64>, now: Now) -> Option<u64> {
        let learned = self.learned(now).map(|it| it.max);
        configured.into_iter().chain(learned).min()
    }

    /// The lower of the told and the inferred bound, while it holds.
    pub(crate) fn learned(&mut self, now: Now) -> Option<Learned> {
        let told = self.learned.filter(|it| it.until > now.monotonic);
        let Some(inferred) = &mut self.inferred else { return told };
        let inferred =
            inferred.max(now.monotonic).map(|max| Learned { max, until: inferred.raise_at() });
        told.into_iter().chain(inferred).min_by_key(|it| it.max)
    }

    /// How long the provider has said there is nothing left, if it has.
    pub(crate) fn spent_until(&self, now: Now) -> Option<Duration> {
        self.spent_until.filter(|it| *it > now.monotonic)
    }

    /// When `need` units fit; `None` when they do now.
    fn blocked_until(&mut self, need: u64, configured: Option<u64>, now: Now) -> Option<FreeAt> {
        let spent = self.spent_until(now).map(FreeAt::At);
        let Some(max) = self.max(configured, now) else { return spent };
        let full = match self.window.next_free(need, max, now) {
            Some(time) => (time > now.monotonic).then_some(FreeAt::At(time)),
            None => Some(self.outlasts(need, configured, now)),
        };
        spent.max(full)
    }

    fn denial(&self, free: FreeAt, scope: QuotaScope) -> Denial {
        Denial { bound: Bound::Window { unit: self.unit, period: self.period }, free, scope }
    }

    /// When a demand above the whole window may be tried again: once a learned bound in its way is
    /// no longer trusted, but never above a configured one.
    fn outlasts(&mut self, need: u64, configured: Option<u64>, now: Now) -> FreeAt {
        match self.learned(now) {
            Some(learned) if configured.is_none_or(|max| need <= max) => FreeAt::At(learned.until),
            _ => FreeAt::Never,
        }
    }
}

/// The part of `reset` that matters for `period`, so that equal windows are one.
fn reset_of(period: Period, reset: Reset) -> Reset {
    match (period, reset) {
        (Period::Day, Reset::UtcDay | Reset::PacificDay) => reset,
        (Period::Month, Reset::UtcDay | Reset::PacificDay | Reset::Month) => Reset::Month,
        _ => Reset::Rolling,
    }
}

/// The window of a `reset` that [`reset_of`] has simplified.
fn shape_of(period: Period, reset: Reset) -> Shape {
    match reset {
        Reset::Rolling => Shape::Rolling(period.rolling()),
        Reset::UtcDay => Shape::Calendar(Calendar::UtcDay),
        Reset::PacificDay => Shape::Calendar(Calendar::PacificDay),
        Reset::Month => Shape::Calendar(Calendar::UtcMonth),
    }
}
