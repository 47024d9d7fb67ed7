//! Counting units over a window of time, with bounded memory and every error on the safe side: a
//! unit may come back a little late, never early.
//!
//! Windows either roll (each unit comes back one length after it was used) or follow a calendar
//! (everything comes back at once at the boundary). Rolling ones live by the monotonic clock alone;
//! calendar ones need the wall clock and distrust it when it jumps, see [`Calendar`].

mod calendar;
mod rolling;

use std::time::Duration;

use crate::clock::Now;
use crate::window::calendar::CalendarCount;
use crate::window::rolling::RollingCount;

pub use crate::window::calendar::Calendar;

/// How a window forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Each unit this long after it was used, or a little later: up to 1/1024 of it where it is no
    /// longer than a minute, 1/512 up to an hour, 1/128 beyond.
    Rolling(Duration),
    /// All units at the calendar's boundary.
    Calendar(Calendar),
}

impl Shape {
    /// What a window of this shape says of its units, with each at the latest time it can have been
    /// used: for a window of another shape, in which none may come back too early.
    pub fn at_the_latest(self, entries: &[(u64, u64)], now: Now) -> Vec<(u64, u64)> {
        let latest = |unix_ms| match self {
            Self::Rolling(_) => unix_ms,
            Self::Calendar(calendar) => calendar.last_of(unix_ms).min(now.unix_ms),
        };
        entries.iter().map(|(unix_ms, amount)| (latest(*unix_ms), *amount)).collect()
    }
}

/// Whose units they are. They count together and can be told apart again, should they no longer
/// have to be counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u32);

impl Owner {
    /// Where there is but one.
    pub const ONLY: Self = Self(0);
}

/// Where in a window a charge was put. A correction goes to the same place, or nowhere when that
/// place has been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    place: u64,
    owner: Owner,
}

/// How many units were used within the window that ends now.
///
/// Readings of the clock may arrive slightly out of order (threads take `now` before they take a
/// lock); one that is older than the latest is treated as the latest.
#[derive(Debug)]
pub struct Window {
    count: Count,
}

#[derive(Debug)]
enum Count {
    Rolling(RollingCount),
    Calendar(CalendarCount),
}

impl Window {
    /// An empty window.
    pub fn new(shape: Shape) -> Self {
        let count = match shape {
            Shape::Rolling(length) => Count::Rolling(RollingCount::new(length)),
            Shape::Calendar(calendar) => Count::Calendar(CalendarCount::new(calendar)),
        };
        Self { count }
    }

    /// Units in the window.
    pub fn used(&mut self, now: Now) -> u64 {
        match &mut self.count {
            Count::Rolling(count) => count.used(now),
            Count::Calendar(count) => count.used(now),
        }
    }

    /// Adds `amount` units used now by `owner`. Asks no questions: see [`Self::next_free`] for those.
    pub fn charge(&mut self, amount: u64, owner: Owner, now: Now) -> Stamp {
        match &mut self.count {
            Count::Rolling(count) => count.charge(amount, owner, now),
            Count::Calendar(count) => count.charge(amount, owner, now),
        }
    }

    /// Adds `amount` units that somebody else is known to have used at the cost of `owner`, to come
    /// back at the monotonic time `leaves` where the window rolls: never later than units used now
    /// would, and not at all when that time is past. A calendar's own boundary stands.
    pub fn charge_until(&mut self, amount: u64, owner: Owner, leaves: Duration, now: Now) {
        match &mut self.count {
            Count::Rolling(count) => count.charge_until(amount, owner, leaves, now),
            Count::Calendar(count) if leaves > now.monotonic => {
                count.charge(amount, owner, now);
            }
            Count::Calendar(_) => {}
        }
    }

    /// Replaces `was` units of the charge at `stamp` by `is` units.
    pub fn adjust(&mut self, stamp: Stamp, was: u64, is: u64) {
        match &mut self.count {
            Count::Rolling(count) => count.adjust(stamp, was, is),
            Count::Calendar(count) => count.adjust(stamp, was, is),
        }
    }

    /// The monotonic time from which `need` more units fit under `max`, if nothing else is charged:
    /// `now` when they fit already, `None` when they never will.
    pub fn next_free(&mut self, need: u64, max: u64, now: Now) -> Option<Duration> {
        if need > max {
            return None;
        }
        match &mut self.count {
            Count::Rolling(count) => count.next_free(need, max, now),
            Count::Calendar(count) => Some(count.next_free(need, max, now)),
        }
    }

    /// The most units that can be let in under `max` from now until `within` has passed, whenever they
    /// are used; what was used and is given back before its time not counted.
    pub fn most_within(&mut self, max: u64, within: Duration, now: Now) -> u64 {
        match &mut self.count {
            Count::Rolling(count) => count.most_within(max, within, now),
            Count::Calendar(count) => count.most_within(max, within, now),
        }
    }

    /// How long until every unit used so far has come back; zero when a rolling window is empty.
    pub fn resets_in(&mut self, now: Now) -> Duration {
        match &mut self.count {
            Count::Rolling(count) => count.resets_in(now),
            Count::Calendar(count) => count.resets_in(now),
        }
    }

    /// How long until the calendar's boundary; `None` where the window rolls.
    pub fn boundary_in(&mut self, now: Now) -> Option<Duration> {
        match &mut self.count {
            Count::Rolling(_) => None,
            Count::Calendar(count) => Some(count.resets_in(now)),
        }
    }

    /// Units a second that can be used steadily under `max`, from now until all that was used so far
    /// has come back, without ever running dry. In a calendar's window that is what is left over the
    /// time to the boundary; in a rolling one, what was used comes back meanwhile.
    pub fn pace(&mut self, max: u64, now: Now) -> f64 {
        match &mut self.count {
            Count::Rolling(count) => count.pace(max, now),
            Count::Calendar(count) => {
                let left = max.saturating_sub(count.used(now));
                float(left) / count.resets_in(now).as_secs_f64().max(0.001)
            }
        }
    }

    /// What the window holds of `owner`, as (milliseconds since 1970, units). A calendar's also tells
    /// of the window before, which one that rolls would still hold.
    pub fn snapshot(&mut self, owner: Owner, now: Now) -> Vec<(u64, u64)> {
        match &mut self.count {
            Count::Rolling(count) => count.snapshot(owner, now),
            Count::Calendar(count) => count.snapshot(owner, now),
        }
    }

    /// Takes all out that is of `owner`. Corrections of its charges come to nothing from now on.
    pub fn remove(&mut self, owner: Owner) {
        match &mut self.count {
            Count::Rolling(count) => count.remove(owner),
            Count::Calendar(count) => count.remove(owner),
        }
    }

    /// Adds what an earlier process saved of `owner`. Entries that have expired are left out; entries
    /// from the future (the wall clock was moved back) count as if they were made now, so that a
    /// restart never frees quota.
    pub fn restore(&mut self, entries: &[(u64, u64)], owner: Owner, now: Now) {
        match &mut self.count {
            Count::Rolling(count) => count.restore(entries, owner, now),
            Count::Calendar(count) => count.restore(entries, owner, now),
        }
    }
}

/// Exact below 2^32, which is more than any pace needs.
fn float(units: u64) -> f64 {
    f64::from(u32::try_from(units).unwrap_or(u32::MAX))
}

/// `total` with `was` of it replaced by `is`, never below zero or above what a counter holds.
fn replace(total: u64, was: u64, is: u64) -> u64 {
    total.saturating_sub(was).saturating_add(is)
}
