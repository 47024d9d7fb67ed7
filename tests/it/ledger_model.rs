//! The ledger against a list of everything that ever happened: random schedules of calls, news,
//! restarts, other configurations and clocks that are set, over rolling and calendar windows, keys, models and accounts.

use std::time::Duration;

use proptest::prelude::*;
use relayfreellm::catalog::{AccountId, Limit, ModelId, Period, QuotaScope, Reset, TargetId, Unit};
use relayfreellm::clock::Now;
use relayfreellm::quota::{
    AsOf, Bound, Demand, FreeAt, Ledger, Observation, Refusal, Reservation, TargetBooks,
};

use crate::quota_yield::lab::calendar::{HOUR_MS, pacific_day, utc_day, utc_month};

/// Saturday, 2026-10-31, 22:00 UTC: the clocks in Los Angeles are set back in eleven hours, and a
/// month ends in two.
const BEGINNING: u64 = 1_793_484_000_000;
/// The same for March: 2027-03-13, 22:00 UTC, and the clocks are set forward.
const SPRING: u64 = 1_804_975_200_000;

const fn limit(unit: Unit, period: Period, max: u64) -> Limit {
    Limit { unit, period, max }
}

/// A bucket of quota, its targets and its limits.
struct Bucket {
    account: u32,
    scope: QuotaScope,
    reset: Reset,
    targets: &'static [(u32, u32)],
    limits: &'static [Limit],
}

/// Two keys with a bucket for each of two models, an account with one for two models, two keys of
/// one account, and two calendars.
const BUCKETS: [Bucket; 5] = [
    rolling(1, &[(0, 1)]),
    rolling(1, &[(1, 2)]),
    rolling(2, &[(2, 1)]),
    daily(QuotaScope::Account, &[(3, 3), (4, 4)]),
    PACIFIC,
];

/// The same after somebody has changed the configuration: the two keys belong to one account, and the
/// account's two models have a bucket each.
const REGROUPED: [Bucket; 5] = [
    rolling(1, &[(0, 1), (2, 1)]),
    rolling(1, &[(1, 2)]),
    daily(QuotaScope::Model, &[(3, 3)]),
    daily(QuotaScope::Model, &[(4, 4)]),
    PACIFIC,
];
/// Who draws on another bucket then.
const MOVED: [u32; 3] = [2, 3, 4];

const PACIFIC: Bucket = Bucket {
    account: 4,
    scope: QuotaScope::Model,
    reset: Reset::PacificDay,
    targets: &[(5, 5), (6, 5)],
    limits: &[limit(Unit::Requests, Period::Day, 9), limit(Unit::Tokens, Period::Month, 9_000)],
};

const ROLLING: &[Limit] = &[
    limit(Unit::Requests, Period::Second, 3),
    limit(Unit::Requests, Period::Minute, 8),
    limit(Unit::Tokens, Period::Minute, 1_200),
    limit(Unit::Requests, Period::Day, 40),
];

const fn rolling(account: u32, targets: &'static [(u32, u32)]) -> Bucket {
    Bucket { account, scope: QuotaScope::Model, reset: Reset::Rolling, targets, limits: ROLLING }
}

const DAILY: &[Limit] =
    &[limit(Unit::Requests, Period::Minute, 5), limit(Unit::Requests, Period::Day, 12)];

const fn daily(scope: QuotaScope, targets: &'static [(u32, u32)]) -> Bucket {
    Bucket { account: 3, scope, reset: Reset::UtcDay, targets, limits: DAILY }
}

/// The target that may have but two calls under way.
const NARROW: u32 = 2;
const TARGETS: u32 = 7;

fn books(buckets: &'static [Bucket]) -> impl Iterator<Item = TargetBooks> {
    buckets.iter().flat_map(|bucket| {
        bucket.targets.iter().map(|(target, model)| TargetBooks {
            target: TargetId(*target),
            account: AccountId(bucket.account),
            model: ModelId(*model),
            limits: bucket.limits.to_vec(),
            scope: bucket.scope,
            reset: bucket.reset,
            max_concurrent: (*target == NARROW).then_some(2),
        })
    })
}

fn bucket_of(buckets: &[Bucket], target: u32) -> usize {
    let place = buckets.iter().position(|it| it.targets.iter().any(|(id, _)| *id == target));
    place.expect("a bucket")
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Milliseconds pass.
    Wait(u64),
    /// The wall clock is set by so many.
    Set(i64),
    Reserve(u32, u64),
    Send(usize),
    Settle(usize, u64),
    Fail(usize, bool),
    Drop(usize),
    /// A provider says what is left of one of a target's windows.
    Learn(u32, usize, u64),
    /// It says that one is spent for so many milliseconds.
    Exhausted(u32, usize, u64),
    Restart,
    /// The configuration is changed, or changed back.
    Regroup,
}

fn step() -> impl Strategy<Value = Step> {
    let hour = 3_600_000_u64;
    let edges = prop_oneof![
        Just(1_u64),
        Just(999),
        Just(1_000),
        Just(1_040),
        Just(59_999),
        Just(60_000),
        Just(60_250),
        Just(hour),
        Just(2 * hour - 1),
        Just(9 * hour),
        Just(24 * hour),
        Just(25 * hour)
    ];
    prop_oneof![
        6 => (0..2_000_u64).prop_map(Step::Wait),
        2 => edges.prop_map(Step::Wait),
        1 => (0..40 * hour).prop_map(Step::Wait),
        1 => (-30 * 3_600_000_i64..30 * 3_600_000).prop_map(Step::Set),
        14 => (0..TARGETS, 1..600_u64).prop_map(|(target, tokens)| Step::Reserve(target, tokens)),
        5 => any::<usize>().prop_map(Step::Send),
        5 => (any::<usize>(), 0..900_u64).prop_map(|(which, used)| Step::Settle(which, used)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, counts)| Step::Fail(which, counts)),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => (0..TARGETS, 0..4_usize, 0..12_u64).prop_map(|(it, window, left)| Step::Learn(it, window, left)),
        1 => (0..TARGETS, 0..4_usize, 1..100_000_u64)
            .prop_map(|(it, window, ms)| Step::Exhausted(it, window, ms)),
        1 => Just(Step::Restart),
        1 => Just(Step::Regroup),
    ]
}

/// Everything that was ever charged, and what time it is.
struct World {
    ledger: Ledger,
    /// As configured.
    buckets: &'static [Bucket],
    /// Milliseconds since the beginning.
    time: u64,
    /// When this process began.
    born: u64,
    /// What the wall clock says beyond the time that has passed.
    wall: i64,
    /// Was the wall clock ever set back?
    set_back: bool,
    restarts: u64,
    charges: Vec<Charge>,
    /// By bucket: has a provider said something of it? Then it may have less than we know.
    told: Vec<bool>,
    /// By bucket: until when nothing may pass.
    spent_until: Vec<u64>,
}

/// One reservation, and what became of it.
struct Charge {
    target: u32,
    at: u64,
    /// Tokens.
    reserved: u64,
    /// What became of it.
    demand: Demand,
    sent: bool,
    open: Option<Reservation>,
    day: Page,
    month: Page,
}

/// A calendar's day or month that a charge was made in.
#[derive(Clone, Copy)]
struct Page {
    /// `None` where the window rolls.
    end: Option<u64>,
    /// Has the wall clock been seen at its end or later?
    over: bool,
    /// When it ends by the time that passes, if the wall clock was right when it was charged.
    due: u64,
}

impl World {
    fn new(beginning: u64) -> Self {
        let ledger = Ledger::new();
        ledger.configure(books(&BUCKETS), Now { monotonic: Duration::ZERO, unix_ms: beginning });
        Self {
            ledger,
            buckets: &BUCKETS,
            time: 0,
            born: 0,
            wall: i64::try_from(beginning).expect("in this age"),
            set_back: false,
            restarts: 0,
            charges: Vec::new(),
            told: vec![false; BUCKETS.len()],
            spent_until: vec![0; BUCKETS.len()],
        }
    }

    fn unix_ms(&self) -> u64 {
        self.time.checked_add_signed(self.wall).expect("after 1970")
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.time - self.born), unix_ms: self.unix_ms() }
    }

    /// What must count in a window, and what may; `None` where that can't be told: when the clock is
    /// set back, charges are kept for longer, and some of them can't be corrected any more.
    fn used(&self, bucket: usize, limit: Limit) -> (u64, Option<u64>) {
        let calendar = end_of(self.buckets[bucket].reset, limit.period, self.unix_ms()).is_some();
        let lost = calendar && self.set_back;
        let (mut must, mut may) = (0, 0);
        for it in self.charges.iter().filter(|it| bucket_of(self.buckets, it.target) == bucket) {
            let (amount, reserved) = match limit.unit {
                Unit::Requests => (it.demand.requests, 1),
                Unit::Tokens => (it.demand.tokens, it.reserved),
            };
            let (surely, perhaps) = self.counts(it, limit.period);
            must += if surely { amount.min(if lost { reserved } else { u64::MAX }) } else { 0 };
            may += if perhaps { amount } else { 0 };
        }
        (must, (!lost).then_some(may))
    }

    /// Must a charge count, and may it?
    fn counts(&self, it: &Charge, period: Period) -> (bool, bool) {
        let page = if period == Period::Month { it.month } else { it.day };
        if page.end.is_none() || period < Period::Day {
            let length = u64::try_from(period.rolling().as_millis()).expect("a month");
            // Up to the grace and a granule late; a restart sorts the granules anew.
            let late = (length / 25).min(250) + (length / 100) * (1 + self.restarts);
            return (self.time < it.at + length, self.time < it.at + length + late);
        }
        // Over by the wall clock, which may be wrong, or by the time that has passed.
        let passed = self.time >= page.due;
        (!page.over && !passed, !page.over)
    }

    /// Looks at the clock, as the ledger does.
    fn look(&mut self) {
        let now = self.unix_ms();
        for it in &mut self.charges {
            for page in [&mut it.day, &mut it.month] {
                page.over |= page.end.is_some_and(|end| now >= end);
            }
        }
    }

    fn open(&self, which: usize) -> Option<usize> {
        let open: Vec<usize> =
            (0..self.charges.len()).filter(|it| self.charges[*it].open.is_some()).collect();
        (!open.is_empty()).then(|| open[which % open.len()])
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Wait(by) => self.time += by,
            Step::Set(by) => {
                self.wall += by;
                self.set_back |= by < 0;
            }
            Step::Reserve(target, tokens) => self.reserve(target, tokens)?,
            Step::Send(which) => {
                if let Some(it) = self.open(which).map(|it| &mut self.charges[it]) {
                    it.open.as_ref().expect("open").mark_sent();
                    it.sent = true;
                }
            }
            Step::Settle(which, used) => {
                if let Some(it) = self.open(which).map(|it| &mut self.charges[it]) {
                    it.open.take().expect("open").settle(used);
                    it.demand.tokens = used;
                }
            }
            Step::Fail(which, counts) => {
                if let Some(it) = self.open(which).map(|it| &mut self.charges[it]) {
                    it.open.take().expect("open").failed(counts);
                    it.demand = Demand { requests: u64::from(counts && it.sent), tokens: 0 };
                }
            }
            Step::Drop(which) => {
                if let Some(it) = self.open(which).map(|it| &mut self.charges[it]) {
                    drop(it.open.take());
                    if !it.sent {
                        it.demand = Demand::default();
                    }
                }
            }
            Step::Learn(target, window, left) => self.learn(target, window, left)?,
            Step::Exhausted(target, window, ms) => self.exhausted(target, window, ms),
            Step::Restart => self.restart(),
            Step::Regroup => self.regroup(),
        }
        self.look();
        self.check()
    }

    fn reserve(&mut self, target: u32, tokens: u64) -> Result<(), TestCaseError> {
        let (bucket, demand) = (bucket_of(self.buckets, target), Demand { requests: 1, tokens });
        let need = |limit: &Limit| if limit.unit == Unit::Requests { 1 } else { tokens };
        let limits = self.buckets[bucket].limits;
        let under_way =
            self.charges.iter().filter(|it| it.target == target && it.open.is_some()).count();
        let crowded = target == NARROW && under_way >= 2;
        match self.ledger.reserve(TargetId(target), demand, self.now()) {
            Ok(open) => {
                prop_assert!(!crowded, "a third call at once");
                prop_assert!(self.time >= self.spent_until[bucket], "it was said to be spent");
                for limit in limits {
                    let (must, _) = self.used(bucket, *limit);
                    prop_assert!(must + need(limit) <= limit.max, "{must} used of {limit:?}");
                }
                let (reset, unix_ms) = (self.buckets[bucket].reset, self.unix_ms());
                let page = |period| {
                    let end = end_of(reset, period, unix_ms);
                    Page { end, over: false, due: end.map_or(0, |it| self.time + it - unix_ms) }
                };
                self.charges.push(Charge {
                    target,
                    at: self.time,
                    reserved: tokens,
                    demand,
                    sent: false,
                    open: Some(open),
                    day: page(Period::Day),
                    month: page(Period::Month),
                });
            }
            Err(denial) => {
                let over =
                    |it: &Limit| self.used(bucket, *it).1.is_none_or(|may| may + need(it) > it.max);
                let full = limits.iter().any(over);
                let spent = self.time < self.spent_until[bucket] + 1_000;
                let why = full || crowded || spent || self.told[bucket];
                prop_assert!(why, "refused without a reason: {denial:?}");
                if let FreeAt::At(time) = denial.free {
                    let wait = time.saturating_sub(self.now().monotonic);
                    prop_assert!(!wait.is_zero(), "{denial:?} names the past");
                    prop_assert!(wait <= Duration::from_secs(32 * 86_400), "{denial:?}");
                }
                let never = denial.free == FreeAt::Never;
                prop_assert!(
                    !never || limits.iter().any(|it| need(it) > it.max) || self.told[bucket]
                );
                prop_assert_eq!(denial.bound == Bound::Concurrency, denial.free == FreeAt::Unknown);
            }
        }
        Ok(())
    }

    fn learn(&mut self, target: u32, window: usize, left: u64) -> Result<(), TestCaseError> {
        let bucket = bucket_of(self.buckets, target);
        let Some(Limit { unit, period, .. }) = self.buckets[bucket].limits.get(window).copied()
        else {
            return Ok(());
        };
        let seen = Observation {
            unit,
            period,
            limit: None,
            remaining: Some(left),
            reset_at: None,
            refills_evenly: false,
            account_wide: false,
        };
        self.ledger.learn(TargetId(target), seen, &AsOf::default(), self.now());
        self.told[bucket] = true;
        let views = self.ledger.view(TargetId(target), self.now());
        let view = views.iter().find(|it| (it.unit, it.period) == (unit, period));
        prop_assert!(view.and_then(|it| it.left).is_some_and(|it| it <= left), "{views:?}");
        Ok(())
    }

    fn exhausted(&mut self, target: u32, window: usize, ms: u64) {
        let bucket = bucket_of(self.buckets, target);
        let Some(Limit { unit, period, .. }) = self.buckets[bucket].limits.get(window).copied()
        else {
            return;
        };
        let until = self.now().monotonic + Duration::from_millis(ms);
        let refusal = Refusal { unit, period, until: Some(until), account_wide: false };
        let until = self.ledger.exhausted(TargetId(target), refusal, self.now());
        let until = self.born + u64::try_from(until.as_millis()).expect("soon");
        self.spent_until[bucket] = self.spent_until[bucket].max(until);
    }

    /// The process is killed and comes back a moment later, with what it saved last.
    fn restart(&mut self) {
        let saved = self.ledger.snapshot(self.now());
        self.time += 7;
        self.born = self.time;
        self.restarts += 1;
        self.ledger = Ledger::new();
        self.ledger.configure(books(self.buckets), self.now());
        self.ledger.restore(saved, self.now());
        for it in &mut self.charges {
            // Nobody can settle it any more: what was reserved stands.
            drop(it.open.take());
        }
        self.take_over();
    }

    /// What is taken over tells the window of a charge, and not when in it it was made.
    fn take_over(&mut self) {
        let (time, now) = (self.time, self.unix_ms());
        for it in &mut self.charges {
            for page in [&mut it.day, &mut it.month] {
                let left = page.end.map_or(0, |it| it.saturating_sub(now));
                page.due = page.due.min(time + left);
            }
        }
    }

    /// Another configuration is put in force.
    fn regroup(&mut self) {
        let before = self.buckets;
        let changed = before.iter().map(|it| it.scope).eq(BUCKETS.iter().map(|it| it.scope));
        self.buckets = if changed { &REGROUPED } else { &BUCKETS };
        self.ledger.configure(books(self.buckets), self.now());
        // It sorts granules anew like a restart, and of calls under way what was reserved stands.
        self.restarts += 1;
        for it in self.charges.iter_mut().filter(|it| MOVED.contains(&it.target)) {
            drop(it.open.take());
        }
        self.take_over();
        let old = |it: &Bucket| -> Vec<usize> {
            it.targets.iter().map(|(target, _)| bucket_of(before, *target)).collect()
        };
        let old: Vec<Vec<usize>> = self.buckets.iter().map(old).collect();
        self.told = old.iter().map(|it| it.iter().any(|it| self.told[*it])).collect();
        let spent = old.iter().map(|it| it.iter().map(|it| self.spent_until[*it]).max());
        self.spent_until = spent.map(Option::unwrap_or_default).collect();
    }

    /// Every window shows what happened, and no bound was raised.
    fn check(&self) -> Result<(), TestCaseError> {
        for target in 0..TARGETS {
            let bucket = bucket_of(self.buckets, target);
            let views = self.ledger.view(TargetId(target), self.now());
            for limit in self.buckets[bucket].limits {
                let view =
                    views.iter().find(|it| (it.unit, it.period) == (limit.unit, limit.period));
                let view = view.expect("a configured window");
                let (must, may) = self.used(bucket, *limit);
                prop_assert!(view.used >= must, "{must} were used: {view:?}");
                let may = may.filter(|_| !self.told[bucket]).unwrap_or(u64::MAX);
                prop_assert!(view.used <= may, "{may} at most: {view:?}");
                prop_assert!(view.max.is_some_and(|it| it <= limit.max), "{view:?}");
            }
        }
        Ok(())
    }
}

/// When the calendar's day or month that holds this time ends; `None` where the window rolls.
fn end_of(reset: Reset, period: Period, unix_ms: u64) -> Option<u64> {
    let page = match (reset, period) {
        (Reset::UtcDay, Period::Day) => utc_day,
        (Reset::PacificDay, Period::Day) => pacific_day,
        (Reset::UtcDay | Reset::PacificDay, Period::Month) => utc_month,
        _ => return None,
    };
    let mut end = unix_ms / HOUR_MS * HOUR_MS;
    while page(end + 24 * HOUR_MS) == page(unix_ms) {
        end += 24 * HOUR_MS;
    }
    while page(end) == page(unix_ms) {
        end += HOUR_MS;
    }
    Some(end)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn it_agrees_with_a_list_of_everything(
        autumn in any::<bool>(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut world = World::new(if autumn { BEGINNING } else { SPRING });
        for step in steps {
            world.take(step)?;
        }
    }
}
