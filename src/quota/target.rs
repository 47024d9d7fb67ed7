//! A target's own bounds and its place in its account.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog::Limit;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::clock::Now;
use crate::quota::TargetBooks;
use crate::quota::account::Account;
use crate::quota::ratio::Ratio;
use crate::window::Owner;

/// One target as last configured. Never changed: a reload makes a new one, and open reservations
/// keep the one they were made with.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) account: Arc<Account>,
    /// Its book in the account. Books, and the counters in them, are never removed or reordered.
    pub(crate) book: usize,
    /// The mark of its units in that book.
    pub(crate) owner: Owner,
    /// Its seat in the account, where its open reservations are counted.
    pub(crate) seat: usize,
    pub(crate) scope: QuotaScope,
    pub(crate) reset: Reset,
    pub(crate) max_concurrent: Option<u32>,
    /// Its model's, whatever the key.
    pub(crate) ratio: Arc<Ratio>,
    /// The configured bound for each of the book's counters; those added later have none.
    configured: Vec<Option<u64>>,
    /// Until when somebody else is held to use its quota, in milliseconds of monotonic time.
    used_elsewhere_until: AtomicU64,
}

/// Somebody else who was seen to use a target's quota is held to do so for this long.
const USED_ELSEWHERE: Duration = Duration::from_secs(600);

impl Target {
    /// Opens what is missing in `account`.
    pub(crate) fn new(
        books: TargetBooks,
        account: Arc<Account>,
        ratio: Arc<Ratio>,
        now: Now,
    ) -> Self {
        let mut state = account.lock();
        let owner = match books.scope {
            QuotaScope::Model => Some(books.model),
            QuotaScope::Account => None,
        };
        let book = state.book_of(owner);
        let seat = state.seat_of(books.target);
        let mut configured: Vec<Option<u64>> = Vec::new();
        let mut mark = Owner::ONLY;
        if let Some(book) = state.book(book) {
            mark = book.owner_of(books.target);
            for Limit { unit, period, max } in books.limits {
                let counter = book.counter_of(unit, period, books.reset, now);
                if configured.len() <= counter {
                    configured.resize(counter + 1, None);
                }
                if let Some(bound) = configured.get_mut(counter) {
                    *bound = Some(bound.map_or(max, |it| it.min(max)));
                }
            }
        }
        drop(state);
        Self {
            account,
            book,
            owner: mark,
            seat,
            scope: books.scope,
            reset: books.reset,
            max_concurrent: books.max_concurrent,
            ratio,
            configured,
            used_elsewhere_until: AtomicU64::new(0),
        }
    }

    /// Somebody else has been seen to use its quota, or so it seems.
    pub(crate) fn mark_used_elsewhere(&self, now: Now) {
        let until = now.monotonic.saturating_add(USED_ELSEWHERE);
        self.used_elsewhere_until.store(millis(until), Ordering::Relaxed);
    }

    /// Has somebody else been seen to use its quota of late? Takes no lock.
    pub(crate) fn is_used_elsewhere(&self, now: Now) -> bool {
        self.used_elsewhere_until.load(Ordering::Relaxed) > millis(now.monotonic)
    }

    /// The configured bound on the book's counter number `counter`.
    pub(crate) fn configured(&self, counter: usize) -> Option<u64> {
        self.configured.get(counter).copied().flatten()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
