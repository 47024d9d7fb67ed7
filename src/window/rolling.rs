//! A rolling window: units are gathered in granules, small parts of its length, and a granule leaves
//! when its latest unit does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;
use crate::window::Owner;
use crate::window::Stamp;
use crate::window::float;
use crate::window::replace;

/// Granules a window of this length is cut into. It bounds memory (at most two more entries than
/// this) and how late a unit may come back (one granule). A short window is used up and comes back
/// over and over, and each time what its units wait for each other is lost; a day's is hardly.
fn granules(length: Duration) -> u64 {
    match length.as_secs() {
        0..=60 => 1_024,
        61..=3_600 => 512,
        _ => 128,
    }
}

/// Added to the monotonic clock, which starts at zero, so that units used before this process
/// started have a time too. Longer than any window.
const BEFORE_START: Duration = Duration::from_secs(400 * 86_400);

/// The units of one owner in one granule.
#[derive(Clone, Copy, Debug)]
struct Granule {
    /// Time divided by the granule's length.
    index: u64,
    owner: Owner,
    /// When the latest unit was used, in nanoseconds; the same for all owners of the granule.
    latest: u64,
    amount: u64,
}

/// Units used within the last `length` nanoseconds.
#[derive(Debug)]
pub(crate) struct RollingCount {
    length: u64,
    granule: u64,
    /// The latest time seen, in nanoseconds.
    seen: u64,
    /// The sum over `granules`.
    used: u64,
    /// Oldest first, each index with each owner at most once.
    granules: VecDeque<Granule>,
}

impl RollingCount {
    pub(crate) fn new(length: Duration) -> Self {
        let granules = granules(length);
        let length = nanos(length).max(1);
        Self {
            length,
            granule: length.div_ceil(granules),
            seen: 0,
            used: 0,
            granules: VecDeque::new(),
        }
    }

    pub(crate) fn used(&mut self, now: Now) -> u64 {
        self.advance(now);
        self.used
    }

    pub(crate) fn charge(&mut self, amount: u64, owner: Owner, now: Now) -> Stamp {
        let time = self.advance(now);
        self.put(amount, owner, time)
    }

    pub(crate) fn charge_until(&mut self, amount: u64, owner: Owner, leaves: Duration, now: Now) {
        let time = self.advance(now);
        let leaves = nanos(leaves.saturating_add(BEFORE_START));
        if leaves > time {
            self.put(amount, owner, leaves.saturating_sub(self.length).min(time));
        }
    }

    pub(crate) fn adjust(&mut self, stamp: Stamp, was: u64, is: u64) {
        if let Some(granule) = self.granule_at(stamp) {
            let before = granule.amount;
            let amount = replace(before, was, is);
            granule.amount = amount;
            self.used = replace(self.used, before, amount);
        }
    }

    pub(crate) fn next_free(&mut self, need: u64, max: u64, now: Now) -> Option<Duration> {
        self.advance(now);
        let mut over = self.used.saturating_add(need).saturating_sub(max);
        if over == 0 {
            return Some(now.monotonic);
        }
        for granule in &self.granules {
            over = over.saturating_sub(granule.amount);
            if over == 0 {
                return Some(self.leaves(granule));
            }
        }
        None
    }

    pub(crate) fn most_within(&mut self, max: u64, within: Duration, now: Now) -> u64 {
        let (time, within) = (self.advance(now), nanos(within));
        // How often a place can be taken that is free after `wait`.
        let turns = |wait: u64| within.checked_sub(wait).map_or(0, |it| it / self.length + 1);
        let mut most = max.saturating_sub(self.used).saturating_mul(turns(0));
        // What is owed comes back first, and to nobody.
        let mut owed = self.used.saturating_sub(max);
        for granule in &self.granules {
            let back = granule.amount.saturating_sub(owed);
            owed = owed.saturating_sub(granule.amount);
            let wait = granule.latest.saturating_add(self.length).saturating_sub(time);
            most = most.saturating_add(back.saturating_mul(turns(wait)));
        }
        most
    }

    pub(crate) fn pace(&mut self, max: u64, now: Now) -> f64 {
        let time = self.advance(now);
        let mut free = max.saturating_sub(self.used);
        let mut pace = f64::INFINITY;
        for granule in self.granules.iter().filter(|it| it.amount > 0) {
            let wait = granule.latest.saturating_add(self.length).saturating_sub(time);
            pace = pace.min(float(free) / Duration::from_nanos(wait).as_secs_f64().max(0.001));
            free = free.saturating_add(granule.amount).min(max);
        }
        pace.min(float(max) / Duration::from_nanos(self.length).as_secs_f64())
    }

    pub(crate) fn resets_in(&mut self, now: Now) -> Duration {
        self.advance(now);
        let last = self.granules.iter().rev().find(|it| it.amount > 0);
        last.map_or(Duration::ZERO, |it| self.leaves(it).saturating_sub(now.monotonic))
    }

    pub(crate) fn snapshot(&mut self, owner: Owner, now: Now) -> Vec<(u64, u64)> {
        let time = self.advance(now);
        // Ages are rounded down: a unit that seems younger comes back later.
        let age_ms = |it: &Granule| time.saturating_sub(it.latest) / 1_000_000;
        self.granules
            .iter()
            .filter(|it| it.amount > 0 && it.owner == owner)
            .map(|it| (now.unix_ms.saturating_sub(age_ms(it)), it.amount))
            .collect()
    }

    pub(crate) fn remove(&mut self, owner: Owner) {
        let theirs = self.granules.iter().filter(|it| it.owner == owner);
        self.used = self.used.saturating_sub(theirs.map(|it| it.amount).sum());
        self.granules.retain(|it| it.owner != owner);
    }

    pub(crate) fn restore(&mut self, entries: &[(u64, u64)], owner: Owner, now: Now) {
        let time = self.advance(now);
        for (unix_ms, amount) in entries {
            let age = now.unix_ms.saturating_sub(*unix_ms).saturating_mul(1_000_000);
            if age < self.length {
                self.put(*amount, owner, time.saturating_sub(age));
            }
        }
    }

    /// Moves on to `now`, drops what has left and says the time in nanoseconds.
    fn advance(&mut self, now: Now) -> u64 {
        self.seen = self.seen.max(nanos(now.monotonic.saturating_add(BEFORE_START)));
        while let Some(oldest) = self.granules.front() {
            if oldest.latest.saturating_add(self.length) > self.seen {
                break;
            }
            self.used = self.used.saturating_sub(oldest.amount);
            self.granules.pop_front();
        }
        self.seen
    }

    /// Adds `amount` at `time`, which may lie back. A granule of nothing is kept all the same: the
    /// charge may be corrected upwards later.
    fn put(&mut self, amount: u64, owner: Owner, time: u64) -> Stamp {
        let index = time / self.granule;
        self.used = self.used.saturating_add(amount);
        let mine = |it: &Granule| (it.index, it.owner) == (index, owner);
        let before = self.granules.len().checked_sub(2).and_then(|it| self.granules.get(it));
        let shared = before.is_some_and(|it| it.index == index);
        if !shared && let Some(last) = self.granules.back_mut().filter(|it| mine(it)) {
            last.amount = last.amount.saturating_add(amount);
            last.latest = last.latest.max(time);
            return Stamp { place: index, owner };
        }
        let mut at = self.granules.partition_point(|it| (it.index, it.owner) < (index, owner));
        match self.granules.get_mut(at) {
            Some(it) if (it.index, it.owner) == (index, owner) => {
                it.amount = it.amount.saturating_add(amount);
                it.latest = it.latest.max(time);
            }
            _ => self.granules.insert(at, Granule { index, owner, latest: time, amount }),
        }
        // Whoever shares the granule stays as long.
        while at > 0 && self.granules.get(at - 1).is_some_and(|it| it.index == index) {
            at -= 1;
        }
        let same = || self.granules.iter().skip(at).take_while(|it| it.index == index);
        if let Some(latest) = same().map(|it| it.latest).max()
            && same().any(|it| it.latest != latest)
        {
            for it in self.granules.iter_mut().skip(at).take_while(|it| it.index == index) {
                it.latest = latest;
            }
        }
        Stamp { place: index, owner }
    }

    /// Where a charge was put, most often the latest granule.
    fn granule_at(&mut self, stamp: Stamp) -> Option<&mut Granule> {
        let place = (stamp.place, stamp.owner);
        if self.granules.back().is_some_and(|it| (it.index, it.owner) == place) {
            return self.granules.back_mut();
        }
        let at = self.granules.binary_search_by_key(&place, |it| (it.index, it.owner)).ok()?;
        self.granules.get_mut(at)
    }

    /// The monotonic time at which `granule` leaves.
    fn leaves(&self, granule: &Granule) -> Duration {
        let leaves = granule.latest.saturating_add(self.length);
        Duration::from_nanos(leaves).saturating_sub(BEFORE_START)
    }
}

/// Whole nanoseconds; five centuries fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const ME: Owner = Owner(0);

    fn at(millis: u64) -> Now {
        Now::default().plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_unit_leaves_exactly_one_length_after_it_was_used() {
        let mut count = RollingCount::new(MINUTE);
        count.charge(1, ME, at(1_000));
        let check = |count: &mut RollingCount, millis, used| {
            assert_eq!(count.used(at(millis)), used, "at {millis} ms");
        };
        check(&mut count, 1_000, 1);
        check(&mut count, 60_999, 1);
        check(&mut count, 61_000, 0);
        check(&mut count, 61_001, 0);
    }

    #[test]
    fn next_free_names_the_unit_that_has_to_leave() {
        let mut count = RollingCount::new(MINUTE);
        for second in 0..10 {
            count.charge(1, ME, at(second * 1_000));
        }
        let check = |count: &mut RollingCount, need, max, expected: Option<u64>| {
            let free = count.next_free(need, max, at(10_000));
            assert_eq!(free, expected.map(Duration::from_millis), "{need} of {max}");
        };
        check(&mut count, 1, 11, Some(10_000));
        check(&mut count, 1, 10, Some(60_000));
        check(&mut count, 2, 10, Some(61_000));
        check(&mut count, 10, 10, Some(69_000));
        check(&mut count, 1, 5, Some(65_000));
    }

    #[test]
    fn no_more_is_let_in_within_a_time_than_is_said() {
        let check = |used: &[u64], max, seconds: u64, within: u64, expected| {
            let mut count = RollingCount::new(MINUTE);
            for second in used {
                count.charge(1, ME, at(second * 1_000));
            }
            let within = Duration::from_secs(within);
            let most = count.most_within(max, within, at(seconds * 1_000));
            assert_eq!(most, expected, "{used:?} of {max}, {within:?}");
        };
        check(&[], 3, 0, 10, 3);
        check(&[0, 20, 40], 3, 50, 9, 0);
        check(&[0, 20, 40], 3, 50, 10, 1);
        check(&[0, 20, 40], 3, 50, 31, 2);
        check(&[0, 20, 40], 3, 50, 59, 3);
        check(&[0, 20, 40], 3, 50, 60, 3);
        check(&[0, 20, 40], 3, 50, 70, 4);
        check(&[0, 20], 3, 50, 60, 4);
        check(&[], 3, 0, 120, 9);
        check(&[0, 0, 0, 0], 3, 50, 9, 0);
        check(&[0, 0, 0, 40], 3, 50, 49, 2);
        check(&[0, 0, 0, 40], 3, 50, 50, 3);
    }

    proptest! {
        /// Whoever takes a unit whenever one is free never gets more than was said.
        #[test]
        fn the_greediest_gets_no_more_than_was_said(
            used in prop::collection::vec(0_u64..90_000, 0..20),
            max in 1_u64..8,
            within in 0_u64..200_000,
        ) {
            let mut count = RollingCount::new(MINUTE);
            let mut used = used;
            used.sort_unstable();
            for time in used {
                if count.used(at(time)) < max {
                    count.charge(1, ME, at(time));
                }
            }
            let most = count.most_within(max, Duration::from_millis(within), at(90_000));
            let mut taken = 0;
            for time in (90_000..=90_000 + within).step_by(250) {
                while count.used(at(time)) < max {
                    count.charge(1, ME, at(time));
                    taken += 1;
                }
            }
            prop_assert!(taken <= most, "{taken} of {most}");
        }
    }

    #[test]
    fn a_correction_goes_to_the_place_of_the_charge_or_nowhere() {
        let mut count = RollingCount::new(MINUTE);
        let first = count.charge(100, ME, at(0));
        count.charge(10, ME, at(30_000));
        count.adjust(first, 100, 150);
        assert_eq!(count.used(at(30_000)), 160);
        assert_eq!(count.used(at(60_000)), 10);
        count.adjust(first, 150, 0);
        assert_eq!(count.used(at(60_000)), 10);
    }

    #[test]
    fn a_charge_of_nothing_can_be_owed_more_later() {
        let mut count = RollingCount::new(MINUTE);
        let stamp = count.charge(0, ME, at(0));
        count.adjust(stamp, 0, 7);
        assert_eq!(count.used(at(1)), 7);
    }

    #[test]
    fn the_pace_is_the_steepest_that_never_runs_dry() {
        let check = |used: &[u64], seconds: u64, a_minute: f64| {
            let mut count = RollingCount::new(MINUTE);
            for second in used {
                count.charge(10, ME, at(second * 1_000));
            }
            let pace = count.pace(60, at(seconds * 1_000)) * 60.0;
            assert!((pace - a_minute).abs() < 0.001, "{used:?} after {seconds} s: {pace}");
        };
        check(&[], 0, 60.0);
        check(&[0, 10, 20, 30, 40], 50, 60.0);
        check(&[0, 0, 0, 0, 0], 0, 10.0);
        check(&[0, 0, 0, 0, 0], 30, 20.0);
        check(&[0, 0, 0, 0, 0], 59, 60.0);
        check(&[0, 0, 0, 0, 0, 0], 30, 0.0);
        check(&[0, 0, 0, 0, 0, 0, 0], 30, 0.0);
    }

    #[test]
    fn use_by_others_leaves_when_they_say() {
        let mut count = RollingCount::new(MINUTE);
        count.charge_until(5, ME, Duration::from_secs(20), at(10_000));
        count.charge_until(3, ME, Duration::from_secs(500), at(10_000));
        count.charge_until(9, ME, Duration::from_secs(10), at(10_000));
        assert_eq!(count.used(at(19_999)), 8);
        assert_eq!(count.used(at(20_000)), 3);
        assert_eq!(count.used(at(70_000)), 0);
    }

    #[test]
    fn a_restart_frees_nothing_when_the_wall_clock_was_moved_back() {
        let mut before = RollingCount::new(MINUTE);
        let now = Now { monotonic: Duration::from_secs(1_000), unix_ms: 5_000_000 };
        before.charge(4, ME, now);
        let saved = before.snapshot(ME, now.plus(Duration::from_secs(10)));
        assert_eq!(saved, [(5_000_000, 4)]);

        let check = |unix_ms, used_for: u64| {
            let mut after = RollingCount::new(MINUTE);
            let start = Now { monotonic: Duration::from_millis(3), unix_ms };
            after.restore(&saved, ME, start);
            let used =
                |count: &mut RollingCount, ms| count.used(start.plus(Duration::from_millis(ms)));
            if used_for > 0 {
                assert_eq!(used(&mut after, used_for - 1), 4, "{unix_ms}");
            }
            assert_eq!(used(&mut after, used_for), 0, "{unix_ms}");
        };
        check(5_020_000, 40_000);
        check(5_000_000, 60_000);
        check(4_000_000, 60_000);
        check(5_060_000, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut count = RollingCount::new(MINUTE);
        for millis in 0..300_000 {
            count.charge(1, ME, at(millis));
        }
        assert!(count.granules.len() <= 1_026, "{}", count.granules.len());
    }

    #[test]
    fn an_older_reading_of_the_clock_frees_and_breaks_nothing() {
        let mut count = RollingCount::new(MINUTE);
        count.charge(1, ME, at(10_000));
        count.charge(1, ME, at(9_000));
        assert_eq!(count.used(at(69_999)), 2);
        assert_eq!(count.used(at(0)), 2);
        assert_eq!(count.used(at(70_000)), 0);
    }

    proptest! {
        /// Against a list of every unit: never fewer than the exact count, never more than the
        /// exact count of a window longer by one granule; and `next_free` tells the truth.
        #[test]
        fn between_exact_and_one_granule_late(
            steps in prop::collection::vec((0_u64..3_000, 0_u64..5, any::<bool>()), 1..300),
            max in 1_u64..40,
        ) {
            let length = 60_000_u64;
            let mut count = RollingCount::new(MINUTE);
            let mut exact: Vec<(u64, u64)> = Vec::new();
            let mut millis = 0;
            for (step, amount, refund) in steps {
                millis += step;
                let now = at(millis);
                let stamp = count.charge(amount, ME, now);
                if refund {
                    count.adjust(stamp, amount, 0);
                } else {
                    exact.push((millis, amount));
                }
                // Time and length in units of 1/1024 ms, so that a granule more is a whole number.
                let within = |length: u64| -> u64 {
                    exact.iter().filter(|(t, _)| t * 1_024 + length > millis * 1_024)
                        .map(|(_, amount)| amount).sum()
                };
                let used = count.used(now);
                prop_assert!(used >= within(length * 1_024));
                prop_assert!(used <= within(length * 1_025));
                let free = count.next_free(1, max, now).expect("one fits under one");
                let mut later = Now { monotonic: free, unix_ms: 0 };
                let clone = || RollingCount { granules: count.granules.clone(), ..count };
                prop_assert!(clone().used(later) < max);
                if free > now.monotonic {
                    later.monotonic -= Duration::from_nanos(1);
                    prop_assert!(clone().used(later) >= max);
                }
            }
        }
    }
}
