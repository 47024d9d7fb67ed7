//! A calendar window: units count from one boundary to the next.

use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::Offset;
use jiff::tz::TimeZone;

use crate::clock::Now;
use crate::window::Owner;
use crate::window::Stamp;
use crate::window::replace;

const DAY_MS: u64 = 86_400_000;
/// No window is shorter, in seconds: where clocks are put forward a day loses an hour.
const SHORTEST: u64 = 23 * 3_600;

/// Los Angeles since 2007, written as a rule because a pure room reads no time zone files. Should
/// the law change, this line has to.
const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

/// Where a calendar's boundaries are.
///
/// A wall clock that jumps forward is believed (most often the machine was asleep). One that jumps
/// back frees nothing: what was counted stays counted until both the old window's end, told by the
/// monotonic clock, and the new window's end have passed, so at most about one period; then the
/// window follows the wall clock as it is. That holds for the last few windows that a clock set
/// forward has left, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// Midnight UTC.
    UtcDay,
    /// Midnight in Los Angeles, so days of 23 and 25 hours happen.
    PacificDay,
    /// Midnight UTC on the first of the month.
    UtcMonth,
}

/// One window, in milliseconds since 1970: from `start` until just before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    start: u64,
    end: u64,
}

impl Calendar {
    /// The last millisecond of the window that `unix_ms` is in.
    pub(crate) fn last_of(self, unix_ms: u64) -> u64 {
        self.bounds(unix_ms).end.saturating_sub(1)
    }

    fn bounds(self, unix_ms: u64) -> Bounds {
        match self {
            Self::UtcDay => even_bounds(unix_ms, DAY_MS),
            Self::PacificDay => {
                pacific_bounds(unix_ms).unwrap_or_else(|| even_bounds(unix_ms, DAY_MS))
            }
            Self::UtcMonth => {
                month_bounds(unix_ms).unwrap_or_else(|| even_bounds(unix_ms, 31 * DAY_MS))
            }
        }
    }
}

/// Windows of one length from 1970 on; also for dates no calendar reaches.
fn even_bounds(unix_ms: u64, length: u64) -> Bounds {
    let start = unix_ms - unix_ms % length;
    Bounds { start, end: start.saturating_add(length) }
}

fn pacific_bounds(unix_ms: u64) -> Option<Bounds> {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(|| {
        TimeZone::posix(PACIFIC).unwrap_or_else(|_| TimeZone::fixed(Offset::constant(-8)))
    });
    let time = timestamp(unix_ms)?.to_zoned(ZONE.clone());
    let end = time.tomorrow().ok()?.start_of_day().ok()?;
    bounds_around(unix_ms, time.start_of_day().ok()?.timestamp(), end.timestamp())
}

fn month_bounds(unix_ms: u64) -> Option<Bounds> {
    let first = timestamp(unix_ms)?.to_zoned(TimeZone::UTC).first_of_month().ok()?;
    let end = first.last_of_month().ok()?.tomorrow().ok()?.start_of_day().ok()?;
    bounds_around(unix_ms, first.start_of_day().ok()?.timestamp(), end.timestamp())
}

fn timestamp(unix_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()
}

fn bounds_around(unix_ms: u64, start: Timestamp, end: Timestamp) -> Option<Bounds> {
    // In January 1970 a Pacific day begins before zero.
    let start = u64::try_from(start.as_millisecond()).unwrap_or(0);
    let end = u64::try_from(end.as_millisecond()).ok()?;
    (start <= unix_ms && unix_ms < end).then_some(Bounds { start, end })
}

/// May something that was used in that window still be in one as long that rolls?
fn matters_at(bounds: Bounds, unix_ms: u64) -> bool {
    bounds.end.saturating_add(bounds.end - bounds.start) > unix_ms
}

/// A sum, and whose it is.
#[derive(Clone, Debug, Default)]
struct Shares {
    sum: u64,
    of: Vec<(Owner, u64)>,
}

impl Shares {
    fn add(&mut self, owner: Owner, amount: u64) {
        self.replace(owner, 0, amount);
    }

    fn replace(&mut self, owner: Owner, was: u64, is: u64) {
        let place = self.of.iter().position(|it| it.0 == owner).unwrap_or_else(|| {
            self.of.push((owner, 0));
            self.of.len() - 1
        });
        if let Some((_, amount)) = self.of.get_mut(place) {
            let new = replace(*amount, was, is);
            self.sum = replace(self.sum, *amount, new);
            *amount = new;
        }
    }

    fn get(&self, owner: Owner) -> u64 {
        self.of.iter().find(|it| it.0 == owner).map_or(0, |it| it.1)
    }

    fn remove(&mut self, owner: Owner) {
        self.sum = self.sum.saturating_sub(self.get(owner));
        self.of.retain(|it| it.0 != owner);
    }

    fn merge(&mut self, others: Self) {
        for (owner, amount) in others.of {
            self.add(owner, amount);
        }
    }
}

/// The count of one window.
#[derive(Clone, Debug)]
struct Open {
    /// Told apart from every other window of this count, also when the wall clock comes by twice.
    serial: u64,
    bounds: Bounds,
    used: Shares,
    /// Monotonic time at which it ends, as the wall clock said when it was last charged or when it
    /// was left, whichever is later: it may have been set forward between the two.
    ends: Duration,
}

/// The most windows remembered that the wall clock has left.
const MOST_PAST: usize = 5;

/// Units that a jump of the wall clock must not free.
#[derive(Debug)]
struct Held {
    amount: Shares,
    /// Monotonic time at which they come back.
    until: Duration,
    /// The windows they came from.
    serials: RangeInclusive<u64>,
}

/// Units used since the calendar's last boundary.
#[derive(Debug)]
pub(crate) struct CalendarCount {
    calendar: Calendar,
    seen: Now,
    next_serial: u64,
    current: Open,
    /// The windows before, should the wall clock step back: the last one, and of those before it
    /// what has not ended yet, since a clock was set forward. Oldest first.
    past: Vec<Open>,
    held: Option<Held>,
}

impl CalendarCount {
    pub(crate) fn new(calendar: Calendar) -> Self {
        let bounds = Bounds { start: 0, end: 0 };
        let current = Open { serial: 0, bounds, used: Shares::default(), ends: Duration::ZERO };
        Self {
            calendar,
            seen: Now::default(),
            next_serial: 1,
            current,
            past: Vec::new(),
            held: None,
        }
    }

    pub(crate) fn used(&mut self, now: Now) -> u64 {
        self.advance(now);
        self.current.used.sum.saturating_add(self.held_amount())
    }

    pub(crate) fn charge(&mut self, amount: u64, owner: Owner, now: Now) -> Stamp {
        let now = self.advance(now);
        self.current.ends = self.current_ends(now);
        self.current.used.add(owner, amount);
        Stamp { place: self.current.serial, owner }
    }

    pub(crate) fn adjust(&mut self, stamp: Stamp, was: u64, is: u64) {
        let serial = stamp.place;
        let mut open = std::iter::once(&mut self.current).chain(&mut self.past);
        let place = open.find(|it| it.serial == serial).map(|it| &mut it.used).or_else(|| {
            let held = self.held.as_mut().filter(|it| it.serials.contains(&serial));
            held.map(|it| &mut it.amount)
        });
        // Who was taken out has nothing to be corrected.
        if let Some(shares) = place.filter(|it| it.of.iter().any(|it| it.0 == stamp.owner)) {
            shares.replace(stamp.owner, was, is);
        }
    }

    pub(crate) fn next_free(&mut self, need: u64, max: u64, asked: Now) -> Duration {
        let now = self.advance(asked);
        let room = |used: u64| used.saturating_add(need) <= max;
        let held = self.held_amount();
        if room(self.current.used.sum.saturating_add(held)) {
            return asked.monotonic;
        }
        let end = now.monotonic.saturating_add(self.until_end(now));
        let released = self.held.as_ref().map_or(now.monotonic, |it| it.until);
        let (first, rest) =
            if released < end { (released, self.current.used.sum) } else { (end, held) };
        if room(rest) { first } else { end.max(released) }
    }

    pub(crate) fn most_within(&mut self, max: u64, within: Duration, asked: Now) -> u64 {
        let left = max.saturating_sub(self.used(asked));
        let now = self.advance(asked);
        let held = self.held.as_ref().map(|it| it.until.saturating_sub(now.monotonic));
        let first = held.into_iter().fold(self.until_end(now), Duration::min);
        let Some(beyond) = within.checked_sub(first) else { return left };
        // What is held comes back apart from the rest.
        let times = beyond.as_secs() / SHORTEST + 1 + u64::from(held.is_some());
        left.saturating_add(max.saturating_mul(times))
    }

    pub(crate) fn resets_in(&mut self, now: Now) -> Duration {
        let now = self.advance(now);
        let held =
            self.held.as_ref().map_or(Duration::ZERO, |it| it.until.saturating_sub(now.monotonic));
        self.until_end(now).max(held)
    }

    pub(crate) fn snapshot(&mut self, owner: Owner, now: Now) -> Vec<(u64, u64)> {
        let now = self.advance(now);
        // What is held goes by the last moment it is held for: it may lie in the window after this.
        let (until, held) =
            self.held.as_ref().map_or((Duration::ZERO, 0), |it| (it.until, it.amount.get(owner)));
        let wait = until.saturating_sub(now.monotonic).as_millis();
        let last = u64::try_from(wait).unwrap_or(u64::MAX).saturating_sub(1);
        let last = now.unix_ms.saturating_add(last);
        let matters = |it: &&Open| it.ends > now.monotonic || matters_at(it.bounds, now.unix_ms);
        let open = self.past.iter().filter(matters);
        let open = open.chain([&self.current]).map(|it| (it.bounds.start, it.used.get(owner)));
        open.chain([(last, held)]).filter(|(_, amount)| *amount > 0).collect()
    }

    pub(crate) fn remove(&mut self, owner: Owner) {
        let open = std::iter::once(&mut self.current).chain(&mut self.past);
        let held = self.held.as_mut().map(|it| &mut it.amount);
        for shares in open.map(|it| &mut it.used).chain(held) {
            shares.remove(owner);
        }
    }

    pub(crate) fn restore(&mut self, entries: &[(u64, u64)], owner: Owner, now: Now) {
        let now = self.advance(now);
        for (unix_ms, amount) in entries {
            if *unix_ms > now.unix_ms {
                // Until the end of the window it was used in, but a date in the far future must
                // not lock for longer than one window.
                let bounds = self.calendar.bounds(*unix_ms);
                let wait = bounds.end.saturating_sub(now.unix_ms).min(bounds.end - bounds.start);
                let until = now.monotonic.saturating_add(Duration::from_millis(wait));
                // No charge of this process has this serial: nobody can refund them.
                let serial = self.take_serial();
                let mut shares = Shares::default();
                shares.add(owner, *amount);
                self.hold(shares, until, serial);
            } else if *unix_ms >= self.current.bounds.start {
                self.current.ends = self.current_ends(now);
                self.current.used.add(owner, *amount);
            } else {
                self.restore_before(*unix_ms, *amount, owner, now);
            }
        }
    }

    /// What was used before the current window counts no more; only the window before is remembered.
    fn restore_before(&mut self, unix_ms: u64, amount: u64, owner: Owner, now: Now) {
        let bounds = self.calendar.bounds(unix_ms);
        let known = self.past.last().map_or(0, |it| it.bounds.start);
        if !matters_at(bounds, now.unix_ms) || bounds.start < known {
            return;
        }
        if self.past.last().is_none_or(|it| it.bounds != bounds) {
            let serial = self.take_serial();
            let ends = Duration::ZERO;
            self.past.pop();
            self.past.push(Open { serial, bounds, used: Shares::default(), ends });
        }
        if let Some(before) = self.past.last_mut() {
            before.used.add(owner, amount);
        }
    }

    /// Moves on to `now`, or stays at the latest reading when `now` is older.
    fn advance(&mut self, now: Now) -> Now {
        let previous = self.seen;
        if now.monotonic < previous.monotonic {
            return previous;
        }
        self.seen = now;
        if self.held.as_ref().is_some_and(|it| it.until <= now.monotonic) {
            self.held = None;
        }
        if now.unix_ms >= self.current.bounds.end {
            self.step_on(previous, now);
        } else if now.unix_ms < self.current.bounds.start {
            self.step_back(previous, now);
        }
        now
    }

    /// The current window is over, as the wall clock says.
    fn step_on(&mut self, previous: Now, now: Now) {
        let next = self.open(now);
        self.current.ends = self.current_ends(previous);
        let over = std::mem::replace(&mut self.current, next);
        self.past.retain(|it| it.ends > now.monotonic);
        self.past.push(over);
        if self.past.len() > MOST_PAST {
            self.past.remove(0);
        }
    }

    /// The wall clock went from `previous` back to `now`, out of the current window.
    fn step_back(&mut self, previous: Now, now: Now) {
        self.current.ends = self.current_ends(previous);
        let mut known = std::mem::take(&mut self.past);
        let before = known.pop();
        known.retain(|it| it.ends > now.monotonic);
        known.extend(before);
        let is_now = |it: &Open| it.bounds.start <= now.unix_ms && now.unix_ms < it.bounds.end;
        let resumed = known.iter().rposition(is_now).map(|it| known.remove(it));
        let next = resumed.unwrap_or_else(|| self.open(now));
        let over = std::mem::replace(&mut self.current, next);
        let new_end = now.monotonic.saturating_add(self.until_end(now));
        for it in known {
            if it.bounds.start < now.unix_ms {
                self.past.push(it);
            } else if it.ends > now.monotonic {
                // It was left by a clock set forward: nothing of it has come back yet.
                self.hold(it.used, it.ends.max(new_end), it.serial);
            }
        }
        let until = over.ends.max(new_end);
        if over.used.sum > 0 && until > now.monotonic {
            self.hold(over.used, until, over.serial);
        }
    }

    /// The monotonic time at which the current window ends by the wall clock as it was at `seen`, or
    /// as it was before, if that is later.
    fn current_ends(&self, seen: Now) -> Duration {
        let rest = self.current.bounds.end.saturating_sub(seen.unix_ms);
        self.current.ends.max(seen.monotonic.saturating_add(Duration::from_millis(rest)))
    }

    fn open(&mut self, now: Now) -> Open {
        Open {
            serial: self.take_serial(),
            bounds: self.calendar.bounds(now.unix_ms),
            used: Shares::default(),
            ends: Duration::ZERO,
        }
    }

    fn take_serial(&mut self) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        serial
    }

    fn hold(&mut self, amount: Shares, until: Duration, serial: u64) {
        self.held = Some(match self.held.take() {
            None => Held { amount, until, serials: serial..=serial },
            Some(mut held) => {
                // A gap means windows that ended as they should: their refunds must find nothing
                // here, so only the newest keeps its way back.
                let adjacent = *held.serials.end() + 1 == serial;
                let first = if adjacent { *held.serials.start() } else { serial };
                held.amount.merge(amount);
                Held { amount: held.amount, until: held.until.max(until), serials: first..=serial }
            }
        });
    }

    fn held_amount(&self) -> u64 {
        self.held.as_ref().map_or(0, |it| it.amount.sum)
    }

    fn until_end(&self, now: Now) -> Duration {
        Duration::from_millis(self.current.bounds.end.saturating_sub(now.unix_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const ME: Owner = Owner(0);

    fn unix(text: &str) -> u64 {
        let time: Timestamp = text.parse().expect("a timestamp");
        u64::try_from(time.as_millisecond()).expect("after 1970")
    }

    fn now(seconds: u64, wall: &str) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_ms: unix(wall) }
    }

    #[test]
    fn boundaries() {
        let check = |calendar: Calendar, time: &str, start: &str, end: &str| {
            let expected = Bounds { start: unix(start), end: unix(end) };
            assert_eq!(calendar.bounds(unix(time)), expected, "{calendar:?} {time}");
        };
        let (day, pacific, month) = (Calendar::UtcDay, Calendar::PacificDay, Calendar::UtcMonth);
        check(day, "2026-05-01T00:00:00Z", "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z");
        check(day, "2026-05-01T23:59:59.999Z", "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z");
        check(month, "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        check(month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check(pacific, "2026-01-15T07:59:59Z", "2026-01-14T08:00:00Z", "2026-01-15T08:00:00Z");
        check(pacific, "2026-01-15T08:00:00Z", "2026-01-15T08:00:00Z", "2026-01-16T08:00:00Z");
        // 2026-03-08 has 23 hours, 2026-11-01 has 25.
        check(pacific, "2026-03-08T12:00:00Z", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z");
        check(pacific, "2026-03-09T07:00:00Z", "2026-03-09T07:00:00Z", "2026-03-10T07:00:00Z");
        check(pacific, "2026-11-01T12:00:00Z", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z");
        check(pacific, "2026-11-02T07:59:59Z", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z");
    }

    #[test]
    fn the_rule_agrees_with_the_zone_files_where_there_are_any() {
        let Ok(zone) = TimeZone::get("America/Los_Angeles") else { return };
        for hour in (unix("2025-01-01T00:00:00Z")..unix("2029-01-01T00:00:00Z")).step_by(3_600_000)
        {
            let local = timestamp(hour).expect("in range").to_zoned(zone.clone());
            let start = local.start_of_day().expect("in range").timestamp().as_millisecond();
            let found = Calendar::PacificDay.bounds(hour).start;
            assert_eq!(i64::try_from(found), Ok(start), "{local}");
        }
    }

    #[test]
    fn a_clock_set_forward_for_a_while_does_not_bring_the_end_nearer() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(2, ME, now(0, "2026-05-02T16:00:00Z"));
        // Eight hours are left; the clock goes forward to the last minutes, and back by a day.
        assert_eq!(count.used(now(0, "2026-05-02T23:45:00Z")), 2);
        assert_eq!(count.used(now(0, "2026-05-01T21:00:00Z")), 2);
        assert_eq!(count.used(now(5 * 3_600, "2026-05-02T02:00:00Z")), 2, "five hours later");
        assert_eq!(count.used(now(9 * 3_600, "2026-05-02T06:00:00Z")), 0, "nine hours later");
    }

    #[test]
    fn dates_beyond_the_calendar_do_no_harm() {
        for calendar in [Calendar::UtcDay, Calendar::PacificDay, Calendar::UtcMonth] {
            for time in [0, 1, DAY_MS, u64::MAX - 1, u64::MAX] {
                let mut count = CalendarCount::new(calendar);
                let now = Now { monotonic: Duration::ZERO, unix_ms: time };
                count.charge(1, ME, now);
                count.charge(1, ME, Now { monotonic: Duration::from_secs(1), unix_ms: 0 });
                assert!(count.used(Now { monotonic: Duration::from_secs(2), unix_ms: 0 }) >= 1);
            }
        }
    }

    #[test]
    fn everything_comes_back_at_the_boundary() {
        let mut count = CalendarCount::new(Calendar::PacificDay);
        let start = now(10, "2026-03-08T08:00:00Z");
        count.charge(5, ME, start);
        assert_eq!(count.next_free(1, 5, start), Duration::from_secs(10 + 23 * 3_600));
        assert_eq!(count.next_free(1, 6, start), Duration::from_secs(10));
        assert_eq!(count.used(start.plus(Duration::from_millis(23 * HOUR - 1))), 5);
        assert_eq!(count.used(start.plus(Duration::from_millis(23 * HOUR))), 0);
    }

    #[test]
    fn corrections_find_their_own_day_or_nothing() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        let monday = now(0, "2026-05-04T23:00:00Z");
        let stamp = count.charge(5, ME, monday);
        let tuesday = monday.plus(Duration::from_secs(7_200));
        count.charge(2, ME, tuesday);
        count.adjust(stamp, 5, 0);
        assert_eq!(count.used(tuesday), 2);
        count.adjust(stamp, 0, 100);
        assert_eq!(count.used(tuesday), 2);
    }

    #[test]
    fn a_clock_set_back_frees_nothing_and_does_not_lock() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        let stamp = count.charge(5, ME, now(0, "2030-01-01T18:00:00Z"));
        let back = now(60, "2026-05-04T12:00:00Z");
        assert_eq!(count.used(back), 5);
        // The old window would have ended after 6 hours, the new one ends after 12.
        assert_eq!(count.next_free(1, 5, back), Duration::from_secs(60 + 12 * 3_600));
        count.charge(1, ME, back);
        count.adjust(stamp, 5, 4);
        assert_eq!(count.used(back), 5);
        let midnight = back.plus(Duration::from_secs(12 * 3_600));
        assert_eq!(count.used(midnight), 0);
    }

    #[test]
    fn a_clock_wrongly_set_back_just_before_midnight_frees_nothing_at_that_midnight() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-04T12:00:00Z"));
        count.charge(0, ME, now(10, "2026-05-03T23:59:00Z"));
        assert_eq!(count.used(now(80, "2026-05-04T00:00:10Z")), 5);
        assert_eq!(count.used(now(12 * 3_600 - 1, "2026-05-04T11:59:00Z")), 5);
        assert_eq!(count.used(now(12 * 3_600, "2026-05-04T12:00:00Z")), 0);
    }

    #[test]
    fn what_is_held_outlives_a_restart_after_the_midnight_it_is_held_over() {
        let mut before = CalendarCount::new(Calendar::UtcDay);
        before.charge(5, ME, now(0, "2026-05-04T00:00:05Z"));
        let saved = before.snapshot(ME, now(1, "2026-05-03T23:59:59Z"));
        let mut after = CalendarCount::new(Calendar::UtcDay);
        after.restore(&saved, ME, now(0, "2026-05-04T00:00:06Z"));
        assert_eq!(after.used(now(1, "2026-05-04T00:00:07Z")), 5);
        assert_eq!(after.used(now(2 * 86_400, "2026-05-06T00:00:06Z")), 0);
    }

    #[test]
    fn a_step_forward_and_back_again_forgets_nothing() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-04T12:00:00Z"));
        count.charge(2, ME, now(10, "2026-05-05T12:00:00Z"));
        assert_eq!(count.used(now(10, "2026-05-05T12:00:00Z")), 2);
        assert_eq!(count.used(now(20, "2026-05-04T12:00:20Z")), 7);
    }

    #[test]
    fn steps_forward_past_several_days_and_back_again_forget_nothing() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        let first = count.charge(5, ME, now(0, "2026-05-04T12:00:00Z"));
        let second = count.charge(2, ME, now(10, "2026-05-05T12:00:00Z"));
        count.charge(3, ME, now(20, "2026-06-06T12:00:00Z"));
        assert_eq!(count.used(now(30, "2026-06-06T12:00:10Z")), 3);
        // A restart with the right time knows all of it too.
        let saved = count.snapshot(ME, now(30, "2026-06-06T12:00:10Z"));
        let mut after = CalendarCount::new(Calendar::UtcDay);
        after.restore(&saved, ME, now(0, "2026-05-04T12:00:40Z"));
        assert_eq!(after.used(now(1, "2026-05-04T12:00:41Z")), 10);
        // And so does this process; corrections find their place.
        let back = now(40, "2026-05-04T12:00:40Z");
        assert_eq!(count.used(back), 10);
        count.adjust(first, 5, 4);
        count.adjust(second, 2, 1);
        assert_eq!(count.used(back), 8);
        // Nothing is kept for longer than a window.
        assert_eq!(count.used(back.plus(Duration::from_secs(11 * 3_600))), 8);
        assert_eq!(count.used(back.plus(Duration::from_secs(12 * 3_600))), 0);
    }

    #[test]
    fn a_step_back_past_the_day_that_was_left_frees_nothing_of_it() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-04T12:00:00Z"));
        count.charge(2, ME, now(10, "2026-05-05T12:00:00Z"));
        assert_eq!(count.used(now(20, "2026-05-02T12:00:00Z")), 7);
        // A day that had ended by the time that passed is over.
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-04T12:00:00Z"));
        count.charge(2, ME, now(86_400, "2026-05-05T12:00:00Z"));
        assert_eq!(count.used(now(86_410, "2026-05-02T12:00:00Z")), 2);
    }

    #[test]
    fn a_clock_that_jumps_all_the_time_is_remembered_within_bounds() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        for day in 0..100 {
            let wall = unix("2026-05-04T12:00:00Z") + day * 24 * HOUR;
            count.charge(1, ME, Now { monotonic: Duration::from_secs(day), unix_ms: wall });
        }
        assert_eq!(count.past.len(), MOST_PAST);
        assert_eq!(count.snapshot(ME, count.seen).len(), MOST_PAST + 1);
    }

    #[test]
    fn what_a_jumping_clock_has_left_between_two_steps_back_is_kept_and_can_be_refunded() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-06T12:00:00Z"));
        count.used(now(1, "2026-05-03T12:00:00Z"));
        count.charge(1, ME, now(2, "2026-05-03T12:00:01Z"));
        let left = count.charge(3, ME, now(3, "2026-05-04T12:00:00Z"));
        count.used(now(4, "2026-05-05T12:00:00Z"));
        count.charge(2, ME, now(5, "2026-05-06T12:00:00Z"));
        let back = now(6, "2026-05-03T12:00:01Z");
        assert_eq!(count.used(back), 11);
        count.adjust(left, 3, 0);
        assert_eq!(count.used(back), 8);
        assert_eq!(count.used(back.plus(Duration::from_secs(12 * 3_600))), 0);
    }

    #[test]
    fn what_has_ended_as_it_should_cannot_be_refunded_from_what_is_held() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(5, ME, now(0, "2026-05-06T12:00:00Z"));
        count.used(now(1, "2026-05-03T23:00:00Z"));
        let ended = count.charge(3, ME, now(2, "2026-05-03T23:00:01Z"));
        // Midnight, and then so late that nobody steps back into the day before.
        count.charge(2, ME, now(3_700, "2026-05-04T00:01:39Z"));
        assert_eq!(count.used(now(3_701, "2026-05-01T12:00:00Z")), 7);
        count.adjust(ended, 3, 0);
        assert_eq!(count.used(now(3_702, "2026-05-01T12:00:01Z")), 7);
    }

    #[test]
    fn an_older_reading_of_the_clock_is_no_step_back() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        count.charge(1, ME, now(100, "2026-05-05T00:00:00Z"));
        count.charge(1, ME, now(99, "2026-05-04T23:59:59Z"));
        let older = now(98, "2026-05-04T23:59:58Z");
        assert_eq!(count.next_free(1, 3, older), older.monotonic);
        assert_eq!(count.used(now(101, "2026-05-05T00:00:01Z")), 2);
        assert!(count.held.is_none());
    }

    #[test]
    fn restarts() {
        let mut count = CalendarCount::new(Calendar::UtcDay);
        let monday = now(500, "2026-05-04T18:00:00Z");
        count.charge(5, ME, monday);
        let saved = count.snapshot(ME, monday);
        let check = |wall: &str, hours: u64| {
            let mut count = CalendarCount::new(Calendar::UtcDay);
            let start = now(0, wall);
            count.restore(&saved, ME, start);
            let end = start.plus(Duration::from_millis(hours * HOUR));
            if hours > 0 {
                let before = start.plus(Duration::from_millis(hours * HOUR - 1));
                assert_eq!(count.used(before), 5, "{wall}");
            }
            assert_eq!(count.used(end), 0, "{wall}");
        };
        check("2026-05-04T18:00:00Z", 6);
        check("2026-05-05T00:00:00Z", 0);
        // Set back by a few hours, into the day before: until the day it was used in ends, though
        // no longer than a day.
        check("2026-05-03T22:00:00Z", 24);
        check("2001-01-01T00:00:00Z", 24);
    }
}
