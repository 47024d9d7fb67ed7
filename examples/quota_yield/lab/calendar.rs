//! Where days and months begin, worked out here a second time: the gateway and the providers it is
//! measured against must not share a mistake.

pub(crate) const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Which day it is in UTC.
pub(crate) fn utc_day(unix_ms: u64) -> u64 {
    unix_ms / DAY_MS
}

/// Which day it is in Los Angeles.
pub(crate) fn pacific_day(unix_ms: u64) -> u64 {
    let hours_behind = if is_summer(unix_ms) { 7 } else { 8 };
    (unix_ms - hours_behind * HOUR_MS) / DAY_MS
}

/// Which month it is in UTC, counted from year 0.
pub(crate) fn utc_month(unix_ms: u64) -> u64 {
    let (year, month) = year_and_month(utc_day(unix_ms));
    year * 12 + month
}

/// Daylight saving holds from the second Sunday in March to the first in November, 2 o'clock local
/// time, which is 10:00 UTC when it begins and 9:00 UTC when it ends.
fn is_summer(unix_ms: u64) -> bool {
    let (year, _) = year_and_month(utc_day(unix_ms));
    let begins = first_sunday(year, 3) + 7;
    let ends = first_sunday(year, 11);
    unix_ms >= begins * DAY_MS + 10 * HOUR_MS && unix_ms < ends * DAY_MS + 9 * HOUR_MS
}

/// As a day since 1970, which began on a Thursday.
fn first_sunday(year: u64, month: u64) -> u64 {
    let mut day = first_of(year, month);
    while !(day + 4).is_multiple_of(7) {
        day += 1;
    }
    day
}

fn first_of(year: u64, month: u64) -> u64 {
    let years: u64 = (1970..year).map(|it| if is_leap(it) { 366 } else { 365 }).sum();
    years + (1..month).map(|it| days_in(year, it)).sum::<u64>()
}

fn year_and_month(mut day: u64) -> (u64, u64) {
    for year in 1970.. {
        for month in 1..=12 {
            let days = days_in(year, month);
            if day < days {
                return (year, month);
            }
            day -= days;
        }
    }
    unreachable!("the years do not end")
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}
