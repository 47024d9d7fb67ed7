//! The most anybody could have answered: an upper bound that no gateway can pass.
//!
//! Time is cut into minutes, each request belongs to the minute it came in (or the next, as far as
//! it may wait), and each minute of each bucket gives to its hour, that to its day, that to its
//! month, each bounded by its limit. The most that flows from the requests to the buckets is the
//! bound. It knows the future, chooses without error and wastes no moment. Rolling windows are
//! taken as if they began at whole minutes, hours and days, which only loosens it; over the whole
//! run each gives no more than it could if all that was asked came to it alone. A window of tokens
//! holds as many requests as the mean of those that were answered fits into it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use relayfreellm::catalog::{Period, Reset, Unit};

use super::calendar::{HOUR_MS, pacific_day, utc_day, utc_month};
use super::flow::Network;
use super::pool::House;
use super::provider::Mean;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Parts of a request that flow on their own, so that windows need not hold whole numbers of them.
const PARTS: u64 = 100;
/// More than anybody asks.
const PLENTY: u64 = 1 << 40;
/// More than any call is under way before its provider counts it.
const TRAVEL: Duration = Duration::from_secs(1);

/// What is asked, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// When requests came; none = at any time as many as are wanted.
    pub(super) arrivals: Option<&'a [Duration]>,
    /// How long a request may wait.
    pub(super) patience: Duration,
    /// Milliseconds since 1970 at the beginning, a whole hour.
    pub(super) start: u64,
    pub(super) minutes: u64,
}

/// What one provider has to give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) house: &'a House,
    /// The requests it answers, on the average.
    pub(super) mean: Mean,
    /// When others used a request of it.
    pub(super) foreign: &'a [Duration],
}

/// The bound.
pub(super) fn optimum(offers: &[Offer<'_>], asked: Asked<'_>) -> u64 {
    let Asked { start, patience, .. } = asked;
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let minutes = usize::try_from(asked.minutes).expect("few");
    let waiting = came(asked.arrivals, minutes, patience).into_iter().map(|(prompt, late)| {
        let nodes = (network.node(), network.node());
        network.edge(source, nodes.0, prompt);
        network.edge(source, nodes.1, late);
        nodes
    });
    let waiting: Vec<(usize, usize)> = waiting.collect();
    for offer in offers {
        let used = used_by_others(offer, start);
        let all = network.node();
        network.edge(all, sink, rolled(offer, asked));
        let mut holders: HashMap<(Period, u64), usize> = HashMap::new();
        let mut before: Option<usize> = None;
        for (at, minute) in waiting.iter().zip(0_u64..) {
            let time = start + minute * MINUTE_MS;
            let bucket = network.node();
            network.edge(at.0, bucket, u64::MAX);
            network.edge(at.1, bucket, u64::MAX);
            // Those who came late in the minute before may have waited until now.
            if let Some((_, late)) = before.and_then(|it| waiting.get(it)) {
                network.edge(*late, bucket, u64::MAX);
            }
            before = usize::try_from(minute).ok();
            climb(&mut network, (offer, &used), (bucket, all), (time, start), &mut holders);
        }
    }
    network.most(source, sink) / PARTS
}

/// How many came in each minute, apart those who may wait into the next.
fn came(arrivals: Option<&[Duration]>, minutes: usize, patience: Duration) -> Vec<(u64, u64)> {
    let Some(arrivals) = arrivals else { return vec![(PLENTY, 0); minutes] };
    let mut came = vec![(0, 0); minutes];
    for time in arrivals {
        let minute = usize::try_from(time.as_secs() / 60).expect("few minutes");
        let late = time.as_millis() % 60_000 + patience.as_millis() >= 60_000;
        let (prompt, tardy) = &mut came[minute];
        *(if late { tardy } else { prompt }) += PARTS;
    }
    came
}

/// Requests that others made, by window.
type Used = HashMap<(Period, u64), u64>;

fn used_by_others(offer: &Offer<'_>, start: u64) -> Used {
    let mut used = Used::new();
    for at in offer.foreign {
        let time = start + u64::try_from(at.as_millis()).expect("a day");
        for period in [Period::Minute, Period::Hour, Period::Day, Period::Month] {
            *used.entry((period, page(offer.house.reset, period, time, start))).or_default() +=
                PARTS;
        }
    }
    used
}

/// The most that the rolling windows of a house take in the whole run, were it the only one that is
/// asked. A place in such a window is free again one length after it was taken, and all places last
/// equally long: so nobody gets more than who takes one whenever one is free.
fn rolled(offer: &Offer<'_>, asked: Asked<'_>) -> u64 {
    let Some(arrivals) = asked.arrivals else { return PLENTY };
    let mut times: Vec<Duration> = arrivals.iter().chain(offer.foreign).copied().collect();
    times.sort();
    let buckets = u64::try_from(offer.house.buckets()).expect("few");
    let windows = offer.house.limits.iter().filter(|it| it.unit == Unit::Requests);
    let windows = windows.filter(|it| rolls(it.period, offer.house.reset));
    let most = windows.map(|it| {
        // Who waits may begin late, and the next in his place promptly.
        let length = it.period.rolling().saturating_sub(asked.patience + TRAVEL);
        greedy(&times, it.max * buckets, length)
    });
    let others = u64::try_from(offer.foreign.len()).expect("few");
    most.min().map_or(PLENTY, |most| most.saturating_sub(others) * PARTS)
}

/// How many of `times` find a place, of so many that are taken for a `length` each.
fn greedy(times: &[Duration], places: u64, length: Duration) -> u64 {
    let places = usize::try_from(places).expect("few");
    let mut taken: VecDeque<Duration> = VecDeque::new();
    let mut most = 0;
    for time in times {
        if taken.len() == places && taken.front().is_some_and(|it| *it + length <= *time) {
            taken.pop_front();
        }
        if taken.len() < places {
            taken.push_back(*time);
            most += 1;
        }
    }
    most
}

fn rolls(period: Period, reset: Reset) -> bool {
    match period {
        Period::Second | Period::Minute | Period::Hour => true,
        Period::Day => matches!(reset, Reset::Rolling | Reset::Month),
        Period::Month => reset == Reset::Rolling,
    }
}

/// Joins a bucket's minute to its hour, day and month.
fn climb(
    network: &mut Network,
    (offer, used): (&Offer<'_>, &Used),
    (bucket, all): (usize, usize),
    (time, start): (u64, u64),
    holders: &mut HashMap<(Period, u64), usize>,
) {
    let page_of = |period| page(offer.house.reset, period, time, start);
    let left = |period| {
        let used = used.get(&(period, page_of(period))).copied().unwrap_or(0);
        let seconds =
            if period == Period::Minute { capacity(offer, Period::Second) } else { PLENTY };
        capacity(offer, period).min(seconds).saturating_sub(used)
    };
    let mut below = (bucket, left(Period::Minute));
    // A month begins within a day that rolls: only what is limited has a node of its own.
    let is_limited = |it: &Period| offer.house.limits.iter().any(|limit| limit.period == *it);
    for period in [Period::Hour, Period::Day, Period::Month].into_iter().filter(is_limited) {
        let key = (period, page_of(period));
        let known = holders.get(&key).copied();
        let holder = known.unwrap_or_else(|| network.node());
        network.edge(below.0, holder, below.1);
        if known.is_some() {
            return;
        }
        holders.insert(key, holder);
        below = (holder, left(period));
    }
    network.edge(below.0, all, below.1);
}

/// Requests that all buckets of a house together take in one such window; for a second's limit, in
/// a minute.
fn capacity(offer: &Offer<'_>, period: Period) -> u64 {
    let Offer { house, mean, .. } = offer;
    let times = if period == Period::Second { 60 } else { 1 };
    let buckets = u64::try_from(house.buckets()).expect("few");
    let limits = house.limits.iter().filter(|it| it.period == period);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "thousands to millions"
    )]
    let most = limits.map(|it| match it.unit {
        Unit::Requests => it.max * times * buckets * PARTS,
        // The last that is let in has to fit with the longest answer, and takes the mean one.
        Unit::Tokens => {
            let room = (it.max * times) as f64 - mean.spare;
            (room / mean.took * (buckets * PARTS) as f64) as u64
        }
    });
    most.min().unwrap_or(PLENTY)
}

/// Which minute, hour, day or month a time belongs to.
fn page(reset: Reset, period: Period, time: u64, start: u64) -> u64 {
    match (period, reset) {
        (Period::Day, Reset::UtcDay) => utc_day(time),
        (Period::Day, Reset::PacificDay) => pacific_day(time),
        (Period::Day, _) => (time - start) / DAY_MS,
        (Period::Month, Reset::Rolling) => 0,
        (Period::Month, _) => utc_month(time),
        (Period::Hour, _) => (time - start) / HOUR_MS,
        _ => (time - start) / MINUTE_MS,
    }
}
