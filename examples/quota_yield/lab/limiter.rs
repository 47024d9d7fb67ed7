//! Limits as a strict provider holds them: every use is remembered with its very time.

use std::collections::VecDeque;
use std::time::Duration;

use relayfreellm::catalog::{Limit, Period, Reset, Unit};
use relayfreellm::clock::Now;
use relayfreellm::provider::rate_limits::RateLimit;

use super::calendar::{HOUR_MS, pacific_day, utc_day, utc_month};
use super::pool::House;

/// What one request is to a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Tokens of the prompt, in the provider's own counting.
    pub(super) prompt: u64,
    /// Tokens the answer may have.
    pub(super) allowed: u64,
    /// Tokens the answer has.
    pub(super) answer: u64,
}

impl Job {
    pub(super) fn total(self) -> u64 {
        self.prompt + self.answer
    }
}

/// A use of a bucket, to be corrected when its real size is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

/// A refusal: what is spent, and when it would fit again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) unit: Unit,
    pub(super) period: Period,
    pub(super) wait: Duration,
}

/// All windows of one account, or of one model of it.
#[derive(Debug)]
pub(super) struct Bucket {
    counts: Vec<Count>,
    /// Is the longest answer allowed taken off until the answer is complete?
    reserves: bool,
    /// Does a refusal use up a request?
    refusals_count: bool,
    next: u64,
}

#[derive(Debug)]
struct Count {
    limit: Limit,
    reset: Reset,
    /// Number, monotonic time and amount; oldest first.
    uses: VecDeque<(u64, Duration, u64)>,
    used: u64,
    /// The calendar's day or month that `uses` are of.
    page: u64,
}

impl Bucket {
    pub(super) fn new(house: &House) -> Self {
        let count = |limit: &Limit| Count {
            limit: *limit,
            reset: house.reset,
            uses: VecDeque::new(),
            used: 0,
            page: 0,
        };
        Self {
            counts: house.limits.iter().map(count).collect(),
            reserves: house.reserves,
            refusals_count: house.refusals_count,
            next: 0,
        }
    }

    /// Lets a job in, or says why not.
    pub(super) fn admit(&mut self, job: Job, now: Now) -> Result<Ticket, Refused> {
        // An answer as long as it may be has to fit, so that no window is ever overdrawn.
        let most = job.prompt + job.allowed;
        let tokens = if self.reserves { most } else { job.total() };
        let refusals = self.counts.iter_mut().filter_map(|it| it.refuses(most, now));
        let refused = refusals.max_by_key(|it| it.wait);
        if refused.is_none() || self.refusals_count {
            self.next += 1;
            for count in &mut self.counts {
                let amount = match count.limit.unit {
                    Unit::Requests => 1,
                    Unit::Tokens if refused.is_none() => tokens,
                    Unit::Tokens => 0,
                };
                count.uses.push_back((self.next, now.monotonic, amount));
                count.used += amount;
            }
        }
        refused.map_or(Ok(Ticket(self.next)), Err)
    }

    /// How long until such a job would be let in; zero when it would now.
    pub(super) fn opens_in(&mut self, job: Job, now: Now) -> Duration {
        let most = job.prompt + job.allowed;
        let refusals = self.counts.iter_mut().filter_map(|it| it.refuses(most, now));
        refusals.map(|it| it.wait).max().unwrap_or_default()
    }

    /// Jobs a second that can be let in steadily until all that was used is back: the more, the
    /// sooner something is lost that nobody takes. Nothing where one would not be let in.
    pub(super) fn urgency(&mut self, job: Job, now: Now) -> f64 {
        if !self.opens_in(job, now).is_zero() {
            return 0.0;
        }
        self.counts.iter_mut().map(|it| it.pace(job, now)).fold(f64::INFINITY, f64::min)
    }

    /// The answer is complete: what it really took stands in the place of what was taken.
    pub(super) fn settle(&mut self, ticket: Ticket, job: Job) {
        for count in self.counts.iter_mut().filter(|it| it.limit.unit == Unit::Tokens) {
            let Ok(at) = count.uses.binary_search_by_key(&ticket.0, |it| it.0) else { continue };
            let amount = &mut count.uses[at].2;
            count.used = count.used - *amount + job.total();
            *amount = job.total();
        }
    }

    /// What is left in each window, and how long until it is whole.
    pub(super) fn tell(&mut self, now: Now) -> Vec<RateLimit> {
        let tell = |it: &mut Count| {
            it.forget(now);
            RateLimit {
                unit: it.limit.unit,
                period: it.limit.period,
                limit: Some(it.limit.max),
                remaining: it.limit.max.saturating_sub(it.used),
                resets_in: Some(it.whole_in(now)),
                refills_evenly: it.rolls(),
            }
        };
        self.counts.iter_mut().map(tell).collect()
    }

    /// Somebody else uses it for one such job. Was it let in?
    pub(super) fn foreign(&mut self, job: Job, now: Now) -> bool {
        let admitted = self.admit(job, now);
        if let Ok(ticket) = admitted {
            self.settle(ticket, job);
        }
        admitted.is_ok()
    }
}

impl Count {
    fn refuses(&mut self, tokens: u64, now: Now) -> Option<Refused> {
        self.forget(now);
        let need = match self.limit.unit {
            Unit::Requests => 1,
            Unit::Tokens => tokens,
        };
        let mut over = (self.used + need).saturating_sub(self.limit.max);
        if over == 0 {
            return None;
        }
        let Limit { unit, period, .. } = self.limit;
        if self.rolls() {
            for (_, time, amount) in &self.uses {
                over = over.saturating_sub(*amount);
                if over == 0 {
                    let wait = (*time + period.rolling()).saturating_sub(now.monotonic);
                    return Some(Refused { unit, period, wait });
                }
            }
            return Some(Refused { unit, period, wait: period.rolling() });
        }
        Some(Refused { unit, period, wait: self.whole_in(now) })
    }

    #[expect(clippy::cast_precision_loss, reason = "thousands to millions")]
    fn pace(&mut self, job: Job, now: Now) -> f64 {
        self.forget(now);
        let size = match self.limit.unit {
            Unit::Requests => 1.0,
            Unit::Tokens => job.total() as f64,
        };
        let over = |units: u64, time: Duration| units as f64 / size / time.as_secs_f64().max(0.001);
        let mut free = self.limit.max - self.used;
        if !self.rolls() {
            return over(free, self.whole_in(now));
        }
        let length = self.limit.period.rolling();
        let mut pace = over(self.limit.max, length);
        for (_, time, amount) in &self.uses {
            pace = pace.min(over(free, (*time + length).saturating_sub(now.monotonic)));
            free += amount;
        }
        pace
    }

    fn forget(&mut self, now: Now) {
        if self.rolls() {
            let length = self.limit.period.rolling();
            while self.uses.front().is_some_and(|it| it.1 + length <= now.monotonic) {
                self.used -= self.uses.pop_front().map_or(0, |it| it.2);
            }
        } else if self.page_at(now.unix_ms) != self.page {
            self.page = self.page_at(now.unix_ms);
            self.uses.clear();
            self.used = 0;
        }
    }

    /// How long until all that was used is back.
    fn whole_in(&self, now: Now) -> Duration {
        if self.rolls() {
            let last = self.uses.back().map(|it| it.1 + self.limit.period.rolling());
            return last.map_or(Duration::ZERO, |it| it.saturating_sub(now.monotonic));
        }
        let mut hour = now.unix_ms / HOUR_MS * HOUR_MS;
        while self.page_at(hour) == self.page_at(now.unix_ms) {
            hour += HOUR_MS;
        }
        Duration::from_millis(hour - now.unix_ms)
    }

    fn rolls(&self) -> bool {
        match self.limit.period {
            Period::Second | Period::Minute | Period::Hour => true,
            Period::Day => matches!(self.reset, Reset::Rolling | Reset::Month),
            Period::Month => self.reset == Reset::Rolling,
        }
    }

    fn page_at(&self, unix_ms: u64) -> u64 {
        match (self.limit.period, self.reset) {
            (Period::Month, _) => utc_month(unix_ms),
            (_, Reset::PacificDay) => pacific_day(unix_ms),
            _ => utc_day(unix_ms),
        }
    }
}
