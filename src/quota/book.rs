//! A bucket of an account: the counters that some or all of its models draw on.

use std::time::Duration;

use smallvec::SmallVec;

use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::account::Closing;
use crate::quota::denial::Bound;
use crate::quota::denial::Denial;
use crate::quota::denial::FreeAt;
use crate::quota::inferred::Inferred;
use crate::quota::origin::FORMER;
use crate::quota::origin::NOBODY;
use crate::quota::target::Target;
use crate::window::Calendar;
use crate::window::Owner;
use crate::window::Shape;
use crate::window::Stamp;
use crate::window::Window;

/// The part of a window that is kept free for somebody else who uses it too: one in so many.
const KEPT_FREE: u64 = 50;

/// The counters of one model of an account, or of all its models.
#[derive(Debug)]
pub(crate) struct Book {
    /// Whose; `None` = all models of the account.
    pub(crate) model: Option<ModelId>,
    /// Those that draw on it, or did, in the order of their marks as owners. Only grows.
    pub(crate) owners: Vec<TargetId>,
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
    /// All that was ever charged to it.
    pub(crate) charged: u64,
    /// When somebody else was last seen to use it, in monotonic time.
    pub(crate) foreign_at: Option<Duration>,
    /// What the provider says its limit is.
    pub(crate) learned: Option<Learned>,
    /// What its refusals say the limit is, where it does not tell.
    pub(crate) inferred: Option<Inferred>,
    /// All that had been charged when it was last refused without a word.
    pub(crate) refused_at: u64,
    /// Monotonic time before which the provider says there is nothing left.
    pub(crate) spent_until: Option<Duration>,
}

/// One charge to one counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Where it was put.
    pub(crate) stamp: Stamp,
    /// What had been charged by then, with it.
    pub(crate) charged: u64,
    /// What of that was counted then.
    pub(crate) used: u64,
}

/// The charges of one call, in the order of the book's counters: no book of a known provider has
/// more.
pub(crate) type Marks = SmallVec<[Mark; 7]>;

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
        Self { model, owners: Vec::new(), counters: Vec::new() }
    }

    /// The mark of a target's units in this book.
    pub(crate) fn owner_of(&mut self, target: TargetId) -> Owner {
        let place = self.owners.iter().position(|it| *it == target).unwrap_or_else(|| {
            self.owners.push(target);
            self.owners.len() - 1
        });
        Owner(u32::try_from(place).unwrap_or(NOBODY.0))
    }

    /// The place of a counter, added when there is none. What one that begins anew in another way
    /// holds is in it from the start.
    pub(crate) fn counter_of(
        &mut self,
        unit: Unit,
        period: Period,
        reset: Reset,
        now: Now,
    ) -> usize {
        let reset = reset_of(period, reset);
        let same = |it: &Counter| it.unit == unit && it.period == period && it.reset == reset;
        self.counters.iter().position(same).unwrap_or_else(|| {
            let akin = |it: &Counter| it.unit == unit && it.period == period;
            let mut counter = Counter::new(unit, period, reset);
            if self.counters.iter().any(akin) {
                for owner in self.everybody() {
                    counter.take_in(&self.parts(owner, now), owner, now);
                }
            }
            self.counters.push(counter);
            self.counters.len() - 1
        })
    }

    /// The marks of all whose units may be in it.
    pub(crate) fn everybody(&self) -> Vec<Owner> {
        let targets = (0..).zip(&self.owners).map(|(place, _)| Owner(place));
        targets.chain([NOBODY, FORMER]).collect()
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

    /// The most requests of `target` that its configured windows let in within a time; `None` = nothing
    /// configured bounds them. What was learned may be forgotten by then.
    pub(crate) fn most_within(
        &mut self,
        target: &Target,
        within: Duration,
        now: Now,
    ) -> Option<u64> {
        let counters = self.counters.iter_mut().enumerate();
        let requests = counters.filter(|(_, it)| it.unit == Unit::Requests);
        let most = requests.filter_map(|(place, it)| {
            Some(it.window.most_within(target.configured(place)?, within, now))
        });
        most.min()
    }

    /// Of the windows that are said to be spent, the one that is so for longest.
    pub(crate) fn check_spent(&self, scope: QuotaScope, now: Now) -> Result<(), Denial> {
        let spent = self.counters.iter().filter_map(|it| Some((it.spent_until(now)?, it)));
        let longest = spent.max_by_key(|(until, _)| *until);
        longest.map_or(Ok(()), |(until, it)| Err(it.denial(FreeAt::At(until), scope)))
    }

    /// Every counter is charged, also those that this target has no bound for: others may.
    pub(crate) fn open(&mut self, demand: Demand, owner: Owner, now: Now) -> Marks {
        self.counters.iter_mut().map(|it| it.charge(demand.of(it.unit), owner, now)).collect()
    }

    pub(crate) fn close(&mut self, closing: &Closing<'_>) {
        for (counter, mark) in self.counters.iter_mut().zip(closing.marks) {
            let (was, is) = (closing.reserved.of(counter.unit), closing.real.of(counter.unit));
            if was != is {
                counter.window.adjust(mark.stamp, was, is);
                counter.charged = counter.charged.saturating_add(is.saturating_sub(was));
            }
            // Of calls that were under way at the refusal nobody knows which came first.
            if let Some(inferred) = &mut counter.inferred
                && closing.answered
                && mark.charged > counter.refused_at
            {
                inferred.answered(mark.used);
            }
        }
    }
}

impl Counter {
    /// One of a `reset` that [`reset_of`] has simplified.
    fn new(unit: Unit, period: Period, reset: Reset) -> Self {
        Self {
            unit,
            period,
            reset,
            window: Window::new(shape_of(period, reset)),
            charged: 0,
            foreign_at: None,
            learned: None,
            inferred: None,
            refused_at: 0,
            spent_until: None,
        }
    }

    fn charge(&mut self, amount: u64, owner: Owner, now: Now) -> Mark {
        let stamp = self.window.charge(amount, owner, now);
        self.charged = self.charged.saturating_add(amount);
        Mark { stamp, charged: self.charged, used: self.window.used(now) }
    }

    /// What would be used now if nothing had come back, or been given back, since `mark`.
    pub(crate) fn used_since(&mut self, mark: Option<Mark>, now: Now) -> u64 {
        let used = self.window.used(now);
        let since = |it: Mark| self.charged.saturating_sub(it.charged).saturating_add(it.used);
        mark.map_or(used, |it| used.max(since(it)))
    }

    /// The bound that holds now: the lowest of those that are known.
    pub(crate) fn max(&mut self, configured: Option<u64>, now: Now) -> Option<u64> {
        let learned = self.learned(now).map(|it| it.max);
        configured.into_iter().chain(learned).min()
    }

    /// The lower of the told and the inferred bound, while it holds.
    pub(crate) fn learned(&mut self, now: Now) -> Option<Learned> {
        let told = self.learned.filter(|it| it.until > now.monotonic);
        let Some(inferred) = &mut self.inferred else { return told };
        let inferred = inferred.max(now.monotonic).map(|(max, until)| Learned { max, until });
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
        // What is kept free never keeps out what would fit into the whole window.
        let bound = max.saturating_sub(self.kept_free(max, now)).max(need.min(max));
        let full = match self.window.next_free(need, bound, now) {
            Some(time) => (time > now.monotonic).then_some(FreeAt::At(time)),
            None => Some(self.outlasts(need, configured, now)),
        };
        spent.max(full)
    }

    /// What is left of `max` to somebody else who was seen to use it lately: what he takes is known
    /// only by the next answer, and until then a window filled to the brim earns refusals.
    fn kept_free(&self, max: u64, now: Now) -> u64 {
        let lately = |it: Duration| it.saturating_add(self.period.rolling() * 2) > now.monotonic;
        if self.foreign_at.is_some_and(lately) { max / KEPT_FREE } else { 0 }
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

/// How long a rolling window of `period` keeps a unit here: a little longer than the provider. It counts a call when the call arrives, we when
/// it is admitted, and no two calls travel equally long: without this the second of two calls that
/// are exactly one period apart may arrive too early.
pub fn kept_for(period: Period) -> Duration {
    period.rolling() + (period.rolling() / 25).min(Duration::from_millis(250))
}

/// The window of a `reset` that [`reset_of`] has simplified.
pub(crate) fn shape_of(period: Period, reset: Reset) -> Shape {
    match reset {
        Reset::Rolling => Shape::Rolling(kept_for(period)),
        Reset::UtcDay => Shape::Calendar(Calendar::UtcDay),
        Reset::PacificDay => Shape::Calendar(Calendar::PacificDay),
        Reset::Month => Shape::Calendar(Calendar::UtcMonth),
    }
}
