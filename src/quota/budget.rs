//! What one caller may spend in a day: the accounts, windows and reservations that targets have, for
//! somebody who is no target.

use std::sync::Arc;

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
use crate::quota::denial::Denial;
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
}

impl Budget {
    /// Nothing spent. `None` = no bound.
    pub fn daily(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self::of(Account::new(AccountId(0)), [requests, tokens])
    }

    /// The same counts under other bounds; reservations of either are charged to both.
    #[must_use]
    pub fn bounded(&self, requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self::of(Arc::clone(&self.target.account), [requests, tokens])
    }

    fn of(account: Arc<Account>, bounds: [Option<u64>; 2]) -> Self {
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
        Self { target: Arc::new(Target::new(books, account, Arc::default(), Now::default())) }
    }

    /// Takes one request with as many tokens as there are, from `least` to `most`, or nothing. Few
    /// answers are as long as they may be: the last of a day's tokens must not lie idle for it.
    ///
    /// # Errors
    /// [`Denial`] when a request with `least` tokens does not fit.
    pub fn reserve(&self, least: u64, most: u64, now: Now) -> Result<Reservation, Denial> {
        let mut state = self.target.account.lock();
        let demand = |tokens| Demand { requests: 1, tokens };
        state.check(&self.target, demand(least), now)?;
        let place = self.target.book;
        let left = state.book(place).and_then(|it| it.left(&self.target, Unit::Tokens, now));
        let demand = demand(left.map_or(most, |it| most.min(it)).max(least));
        let stamps = state.open(&self.target, demand, now);
        drop(state);
        Ok(Reservation::new(Arc::clone(&self.target), demand, stamps))
    }

    /// Used and reserved since midnight: requests and tokens.
    pub fn used(&self, now: Now) -> [u64; 2] {
        UNITS.map(|unit| self.of_unit(unit, |it| it.used(now)))
    }

    /// When the units were used, and how many: requests and tokens. Open reservations are in it as
    /// if they were used: a crash must not free what was under way.
    pub fn snapshot(&self, now: Now) -> [Vec<(u64, u64)>; 2] {
        UNITS.map(|unit| self.of_unit(unit, |it| it.snapshot(Owner::ONLY, now)))
    }

    /// Adds what an earlier process saved.
    pub fn restore(&self, saved: &[Vec<(u64, u64)>; 2], now: Now) {
        for (unit, entries) in UNITS.into_iter().zip(saved) {
            self.of_unit(unit, |it| it.restore(entries, Owner::ONLY, now));
        }
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
    use crate::quota::Bound;

    const DAY: Duration = Duration::from_secs(86_400);

    fn noon() -> Now {
        Now {
            monotonic: Duration::from_secs(9),
            unix_ms: 1_780_000_000_000 / 86_400_000 * 86_400_000 + 43_200_000,
        }
    }

    /// How many tokens are reserved for a request that wants 10 to 100; `None` = it is refused.
    fn taken(budget: &Budget, now: Now) -> Option<Reservation> {
        budget.reserve(10, 100, now).ok()
    }

    #[test]
    fn a_request_takes_what_is_left_of_the_tokens() {
        let budget = Budget::daily(None, Some(215));
        let mut open = Vec::new();
        for expected in [Some(100), Some(100), Some(15), None] {
            let reservation = taken(&budget, noon());
            assert_eq!(reservation.as_ref().map(|it| it.reserved().tokens), expected);
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
        assert_eq!(after.used(noon()), [2, 107]);
        assert!(after.reserve(0, 0, noon()).is_err());
        drop(open);
        assert_eq!(budget.bounded(None, None).used(noon()), [1, 7]);
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
