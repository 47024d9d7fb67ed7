//! A provider's own enforcement of its limits: an exact sliding log for each, on purpose not the
//! gateway's arithmetic.

use std::collections::VecDeque;
use std::time::Duration;

use super::spec::{LimitSpec, What};

/// The limits of one key and model.
#[derive(Debug)]
pub(super) struct Meter {
    logs: Vec<Log>,
}

/// One limit and what is in its window. Every entry holds at least one unit, so there are never
/// more entries than `max` plus the last answer's overshoot.
#[derive(Debug)]
struct Log {
    spec: LimitSpec,
    used: u64,
    /// When each use stops counting, and how much it is; ordered by time.
    entries: VecDeque<(Duration, u64)>,
}

/// A limit that has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    pub(super) what: What,
    pub(super) window: Duration,
    pub(super) max: u64,
    pub(super) used: u64,
    pub(super) requested: u64,
    /// Until there is room.
    pub(super) wait: Duration,
}

/// A limit as rate-limit headers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gauge {
    pub(super) what: What,
    pub(super) window: Duration,
    pub(super) max: u64,
    pub(super) left: u64,
    /// While something is left, how long a bucket that refills evenly would take to be full (what
    /// the real headers show); when nothing is, until the next unit comes back.
    pub(super) reset: Duration,
}

impl Meter {
    /// Starts with what each limit says was spent before.
    pub(super) fn new(limits: &[LimitSpec], now: Duration) -> Self {
        let start = |spec: &LimitSpec| {
            let spent = spec.spent.filter(|(amount, _)| *amount > 0);
            Log {
                spec: *spec,
                used: spent.map_or(0, |(amount, _)| amount),
                entries: spent
                    .map(|(amount, frees_in)| (now + frees_in, amount))
                    .into_iter()
                    .collect(),
            }
        };
        Self { logs: limits.iter().map(start).collect() }
    }

    /// Admits a request if every limit has room for it (one request, its prompt tokens), and then
    /// charges `prompt + completion` tokens. A refused one leaves no trace; of several limits
    /// without room the one with the longest wait is named.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        prompt: u64,
        completion: u64,
    ) -> Result<(), Breach> {
        let worst = self
            .logs
            .iter_mut()
            .filter_map(|log| {
                log.prune(now);
                log.breach(now, prompt)
            })
            .max_by_key(|breach| breach.wait);
        if let Some(breach) = worst {
            return Err(breach);
        }
        for log in &mut self.logs {
            let amount = match log.spec.what {
                What::Requests => 1,
                What::Tokens => prompt + completion,
            };
            if amount > 0 {
                log.used += amount;
                log.entries.push_back((now + log.spec.window, amount));
            }
        }
        Ok(())
    }

    /// Every limit as it stands.
    pub(super) fn gauges(&mut self, now: Duration) -> Vec<Gauge> {
        self.logs
            .iter_mut()
            .map(|log| {
                log.prune(now);
                log.gauge(now)
            })
            .collect()
    }
}

impl Log {
    fn prune(&mut self, now: Duration) {
        while let Some((_, amount)) = self.entries.front().filter(|(ends, _)| *ends <= now) {
            self.used -= amount;
            self.entries.pop_front();
        }
    }

    fn breach(&self, now: Duration, prompt: u64) -> Option<Breach> {
        let LimitSpec { what, window, max, .. } = self.spec;
        let requested = match what {
            What::Requests => 1,
            What::Tokens => prompt,
        };
        (self.used + requested > max).then(|| Breach {
            what,
            window,
            max,
            used: self.used,
            requested,
            wait: self.until_room_for(requested, now),
        })
    }

    fn until_room_for(&self, requested: u64, now: Duration) -> Duration {
        let mut used = self.used;
        for (ends, amount) in &self.entries {
            used -= amount;
            if used + requested <= self.spec.max {
                return ends.saturating_sub(now);
            }
        }
        self.spec.window
    }

    fn gauge(&self, now: Duration) -> Gauge {
        let LimitSpec { what, window, max, .. } = self.spec;
        let left = max.saturating_sub(self.used);
        let reset = if left == 0 {
            self.until_room_for(1, now)
        } else {
            let nanos = window.as_nanos() * u128::from(self.used) / u128::from(max);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        Gauge { what, window, max, left, reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn limit(what: What, max: u64) -> LimitSpec {
        LimitSpec { what, window: MINUTE, max, spent: None }
    }

    #[test]
    fn a_request_comes_back_exactly_one_window_after_it_was_made() {
        let mut meter = Meter::new(&[limit(What::Requests, 2)], Duration::ZERO);
        assert_eq!(meter.admit(SECOND, 1, 1), Ok(()));
        assert_eq!(meter.admit(SECOND * 2, 1, 1), Ok(()));
        assert_eq!(meter.admit(SECOND * 3, 1, 1).unwrap_err().wait, SECOND * 58);
        let just_before = Duration::from_nanos(60_999_999_999);
        assert_eq!(meter.admit(just_before, 1, 1).unwrap_err().wait, Duration::from_nanos(1));
        assert_eq!(meter.admit(SECOND * 61, 1, 1), Ok(()));
    }

    #[test]
    fn a_refused_request_counts_in_no_limit() {
        let limits = [limit(What::Requests, 10), limit(What::Tokens, 5)];
        let mut meter = Meter::new(&limits, Duration::ZERO);
        let breach = meter.admit(Duration::ZERO, 6, 1).unwrap_err();
        assert_eq!((breach.what, breach.requested), (What::Tokens, 6));
        assert_eq!(meter.gauges(Duration::ZERO)[0].left, 10);
    }

    #[test]
    fn the_real_headers_figures_come_out() {
        let limits = [limit(What::Tokens, 8_000)];
        let mut meter = Meter::new(&limits, Duration::ZERO);
        assert_eq!(meter.admit(Duration::ZERO, 75, 22), Ok(()));
        let gauge = meter.gauges(Duration::ZERO)[0];
        assert_eq!((gauge.left, gauge.reset), (7_903, Duration::from_micros(727_500)));
    }

    #[test]
    fn what_was_spent_before_the_start_comes_back_when_it_says() {
        let spec = LimitSpec { spent: Some((2, SECOND * 5)), ..limit(What::Requests, 2) };
        let mut meter = Meter::new(&[spec], SECOND);
        assert_eq!(meter.admit(SECOND, 1, 1).unwrap_err().wait, SECOND * 5);
        assert_eq!(meter.gauges(SECOND)[0].reset, SECOND * 5);
        assert_eq!(meter.admit(SECOND * 6, 1, 1), Ok(()));
    }
}
