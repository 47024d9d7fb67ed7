//! What one caller may spend in a day: the accounts, windows and reservations that targets have, for
//! somebody who is no target.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::catalog::AccountId;
use crate::catalog::Limit;
use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::TargetBooks;
use crate::quota::account::Account;
use crate::quota::denial::Bound;
use crate::quota::denial::Denial;
use crate::quota::denial::FreeAt;
use crate::quota::reservation::Reservation;
use crate::quota::target::Target;
use crate::window::Owner;
use crate::window::Window;

/// Both are always counted, bounded or not.
const UNITS: [Unit; 2] = [Unit::Requests, Unit::Tokens];

/// Requests and tokens of a day, which begins at midnight UTC.
#[derive(Clone, Debug)]
pub struct Budget {
    target: Arc<Target>,
    /// Taken before the account's lock.
    open: Arc<Mutex<Open>>,
}

/// What open reservations of one day hold.
#[derive(Debug, Default)]
struct Open {
    /// Since 1970.
    day: u64,
    held: Demand,
}

/// One request's part of a budget. Dropped without [`settle`](Self::settle) it gives everything back.
#[derive(Debug)]
#[must_use = "dropping it gives it back"]
pub struct Slice {
    /// `None` once it is settled.
    reservation: Option<Reservation>,
    taken: Demand,
    /// Whose day it was taken from.
    day: u64,
    open: Arc<Mutex<Open>>,
}

impl Slice {
    /// The request was answered. More tokens than were taken are owed, fewer come back.
    pub fn settle(mut self, tokens: u64) {
        self.close(Some(tokens));
    }

    fn close(&mut self, used: Option<u64>) {
        let Some(reservation) = self.reservation.take() else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.day == self.day {
            open.held.requests = open.held.requests.saturating_sub(self.taken.requests);
            open.held.tokens = open.held.tokens.saturating_sub(self.taken.tokens);
        }
        match used {
            Some(tokens) => reservation.settle(tokens),
            None => drop(reservation),
        }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl Open {
    fn turn_to(&mut self, day: u64) {
        if self.day != day {
            *self = Self { day, held: Demand::default() };
        }
    }

    fn add(&mut self, taken: Demand) {
        self.held.requests = self.held.requests.saturating_add(taken.requests);
        self.held.tokens = self.held.tokens.saturating_add(taken.tokens);
    }
}

fn day_of(now: Now) -> u64 {
    now.unix_ms / 86_400_000
}

impl Budget {
    /// Nothing spent. `None` = no bound.
    pub fn daily(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self::of(Account::new(AccountId(0)), Arc::default(), [requests, tokens])
    }

    /// The same counts under other bounds; reservations of either are charged to both.
    #[must_use]
    pub fn bounded(&self, requests: Option<u64>, tokens: Option<u64>) -> Self {
        let (account, open) = (Arc::clone(&self.target.account), Arc::clone(&self.open));
        Self::of(account, open, [requests, tokens])
    }

    fn of(account: Arc<Account>, open: Arc<Mutex<Open>>, bounds: [Option<u64>; 2]) -> Self {
        let mut state = account.lock();
        // One model of none, so that its book is the account's only one.
        let place = state.book_of(Some(ModelId(0)));
        if let Some(book) = state.book(place) {
            for unit in UNITS {
                book.counter_of(unit, Period::Day, Reset::UtcDay, Now::default());
            }
        }
        drop(state);
        let limit = |(unit, max): (Unit, Option<u64>)| {
            max.map(|max| Limit { unit, period: Period::Day, max })
        };
        let books = TargetBooks {
            target: TargetId(0),
            account: account.id,
            model: ModelId(0),
            limits: UNITS.into_iter().zip(bounds).filter_map(limit).collect(),
            scope: QuotaScope::Model,
            reset: Reset::UtcDay,
            max_concurrent: None,
        };
        Self { target: Arc::new(Target::new(books, account, Arc::default(), Now::default())), open }
    }

    /// Takes one request with as many tokens as there are, from `least` to `most`, or nothing. Few
    /// answers are as long as they may be: the last of a day's tokens must not lie idle for it.
    ///
    /// # Errors
    /// [`Denial`] when a request with `least` tokens does not fit; [`FreeAt::Unknown`] when it would,
    /// were it not for what is set aside for requests under way.
    pub fn reserve(&self, least: u64, most: u64, now: Now) -> Result<Slice, Denial> {
        let mut open = self.lock_open();
        open.turn_to(day_of(now));
        let demand = |tokens| Demand { requests: 1, tokens };
        let mut state = self.target.account.lock();
        if let Err(denial) = state.check(&self.target, demand(least), now) {
            drop(state);
            return Err(self.explained(denial, demand(least), open.held, now));
        }
        let place = self.target.book;
        let left = state.book(place).and_then(|it| it.left(&self.target, Unit::Tokens, now));
        let taken = demand(left.map_or(most, |it| most.min(it)).max(least));
        let stamps = state.open(&self.target, taken, now);
        drop(state);
        open.add(taken);
        let reservation = Some(Reservation::new(Arc::clone(&self.target), taken, stamps));
        Ok(Slice { reservation, taken, day: open.day, open: Arc::clone(&self.open) })
    }

    /// The denial with the unit that is really spent, if one is.
    fn explained(&self, denial: Denial, need: Demand, held: Demand, now: Now) -> Denial {
        if denial.free == FreeAt::Never {
            return denial;
        }
        let mut state = self.target.account.lock();
        let counters = state.book(self.target.book).map(|it| it.counters.iter_mut().enumerate());
        for (place, it) in counters.into_iter().flatten() {
            let used = it.window.used(now).saturating_sub(held.of(it.unit));
            let max = self.target.configured(place);
            if max.is_some_and(|max| used.saturating_add(need.of(it.unit)) > max) {
                let bound = Bound::Window { unit: it.unit, period: it.period };
                return Denial { bound, ..denial };
            }
        }
        Denial { free: FreeAt::Unknown, ..denial }
    }

    /// Used and reserved since midnight: requests and tokens.
    pub fn used(&self, now: Now) -> [u64; 2] {
        UNITS.map(|unit| self.of_unit(unit, |it| it.used(now)))
    }

    /// When the units were used, and how many: requests and tokens. Open reservations are not in it: a
    /// caller whose answer a crash has taken has had nothing.
    pub fn snapshot(&self, now: Now) -> [Vec<(u64, u64)>; 2] {
        let mut open = self.lock_open();
        open.turn_to(day_of(now));
        let held = open.held;
        UNITS.map(|unit| {
            let mut held = held.of(unit);
            let mut entries = self.of_unit(unit, |it| it.snapshot(Owner::ONLY, now));
            for (_, units) in entries.iter_mut().rev() {
                let less = held.min(*units);
                (*units, held) = (*units - less, held - less);
            }
            entries.retain(|(_, units)| *units > 0);
            entries
        })
    }

    /// Adds what an earlier process saved.
    pub fn restore(&self, saved: &[Vec<(u64, u64)>; 2], now: Now) {
        for (unit, entries) in UNITS.into_iter().zip(saved) {
            self.of_unit(unit, |it| it.restore(entries, Owner::ONLY, now));
        }
    }

    fn lock_open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_unit<T: Default>(&self, unit: Unit, visit: impl FnOnce(&mut Window) -> T) -> T {
        let mut state = self.target.account.lock();
        let counters = state.book(self.target.book).map(|it| it.counters.iter_mut());
        let counter = counters.into_iter().flatten().find(|it| it.unit == unit);
        counter.map(|it| visit(&mut it.window)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn noon() -> Now {
        Now {
            monotonic: Duration::from_secs(9),
            unix_ms: 1_780_000_000_000 / 86_400_000 * 86_400_000 + 43_200_000,
        }
    }

    /// How many tokens are reserved for a request that wants 10 to 100; `None` = it is refused.
    fn taken(budget: &Budget, now: Now) -> Option<Slice> {
        budget.reserve(10, 100, now).ok()
    }

    #[test]
    fn a_request_takes_what_is_left_of_the_tokens() {
        let budget = Budget::daily(None, Some(215));
        let mut open = Vec::new();
        for expected in [Some(100), Some(100), Some(15), None] {
            let reservation = taken(&budget, noon());
            assert_eq!(reservation.as_ref().map(|it| it.taken.tokens), expected);
            open.extend(reservation);
        }
        open.remove(0).settle(20);
        assert_eq!(budget.used(noon()), [3, 135]);
        drop(open);
        assert_eq!(budget.used(noon()), [1, 20]);
        let all = budget.reserve(216, 216, noon()).unwrap_err();
        assert_eq!(all.free.time(), None);
    }

    #[test]
    fn a_day_begins_at_midnight() {
        let budget = Budget::daily(Some(1), None);
        taken(&budget, noon()).unwrap().settle(7);
        let denial = budget.reserve(1, 1, noon()).unwrap_err();
        assert_eq!(denial.bound, Bound::Window { unit: Unit::Requests, period: Period::Day });
        assert_eq!(denial.free.time(), Some(noon().monotonic + DAY / 2));
        assert_eq!(budget.used(noon().plus(DAY / 2)), [0, 0]);
        assert!(taken(&budget, noon().plus(DAY / 2)).is_some());
    }

    #[test]
    fn counts_outlive_bounds_and_restarts() {
        let budget = Budget::daily(Some(5), None);
        taken(&budget, noon()).unwrap().settle(7);
        let open = taken(&budget, noon());
        assert!(budget.bounded(Some(2), None).reserve(0, 0, noon()).is_err());
        let after = Budget::daily(Some(2), Some(107));
        after.restore(&budget.snapshot(noon()), noon());
        // What was under way when it was saved has come to nothing.
        assert_eq!(after.used(noon()), [1, 7]);
        assert!(taken(&after, noon()).is_some());
        drop(open);
        assert_eq!(budget.bounded(None, None).used(noon()), [1, 7]);
    }

    #[test]
    fn what_is_only_set_aside_may_come_back_at_any_time() {
        let budget = Budget::daily(Some(2), Some(100));
        let check = |least: u64, unit: Unit, free: Option<FreeAt>| {
            let denial = budget.reserve(least, least, noon()).map(drop).err();
            let bound = Bound::Window { unit, period: Period::Day };
            assert_eq!(denial.map(|it| it.free), free);
            assert!(denial.is_none_or(|it| it.bound == bound || it.free == FreeAt::Unknown));
        };
        let midnight = Some(FreeAt::At(noon().monotonic + DAY / 2));
        let open = budget.reserve(60, 60, noon()).unwrap();
        check(40, Unit::Tokens, None);
        check(41, Unit::Tokens, Some(FreeAt::Unknown));
        check(101, Unit::Tokens, Some(FreeAt::Never));
        budget.reserve(10, 10, noon()).unwrap().settle(30);
        // Tokens are spent, and the requests that are short may come back.
        check(71, Unit::Tokens, midnight);
        check(1, Unit::Requests, Some(FreeAt::Unknown));
        drop(open);
        budget.reserve(10, 10, noon()).unwrap().settle(10);
        check(1, Unit::Requests, midnight);
        // A reservation of yesterday holds nothing of today.
        let late = noon().plus(DAY / 2);
        let budget = Budget::daily(Some(1), None);
        let open = taken(&budget, noon());
        taken(&budget, late).unwrap().settle(7);
        drop(open);
        assert_eq!(budget.snapshot(late)[0].iter().map(|it| it.1).sum::<u64>(), 1);
    }

    #[test]
    fn of_many_at_once_exactly_as_many_as_there_are_pass() {
        let budget = Budget::daily(Some(100), None);
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..125 {
                        if let Some(reservation) = taken(&budget, noon()) {
                            reservation.settle(1);
                            passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
        assert_eq!(budget.used(noon()), [100, 100]);
    }
}
