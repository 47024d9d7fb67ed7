//! How fast quota is being used now.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::Now;
use crate::usage::Usage;

/// What "now" is: a pace is measured over the last ten minutes, or since the start.
const SPAN: Duration = Duration::from_secs(600);
/// A pace over less than this says nothing.
const LEAST: Duration = Duration::from_secs(1);

/// How often [`Pace::sample`] wants to be called.
pub const EVERY: Duration = Duration::from_secs(15);

/// Totals of the last minutes, from which a pace is read. Bounded by [`EVERY`] and its span.
#[derive(Debug, Default)]
pub struct Pace(Mutex<VecDeque<(Duration, Usage)>>);

/// Units a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PerMinute {
    pub(super) requests: f64,
    pub(super) tokens: f64,
}

impl Pace {
    /// Remembers the totals of this moment.
    pub fn sample(&self, total: Usage, now: Now) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One sample older than the span stays: the pace is measured from it.
        while samples.get(1).is_some_and(|it| it.0 + SPAN <= now.monotonic) {
            samples.pop_front();
        }
        samples.push_back((now.monotonic, total));
    }

    /// The pace, with `total` as it is now; `None` while too little time has passed.
    pub(super) fn measure(&self, total: Usage, now: Now) -> Option<PerMinute> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, before) = *samples.front()?;
        let elapsed = now.monotonic.saturating_sub(since);
        if elapsed < LEAST {
            return None;
        }
        let per_minute = |now: u64, before: u64| {
            float(now.saturating_sub(before)) * 60.0 / elapsed.as_secs_f64()
        };
        let tokens = |it: Usage| it.prompt_tokens.saturating_add(it.completion_tokens);
        Some(PerMinute {
            requests: per_minute(total.requests, before.requests),
            tokens: per_minute(tokens(total), tokens(before)),
        })
    }
}

/// Exact below 2^32, which is more than ten minutes bring.
fn float(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_ms: 0 }
    }

    fn total(requests: u64) -> Usage {
        Usage {
            requests,
            prompt_tokens: requests * 2,
            completion_tokens: requests,
            ..Usage::default()
        }
    }

    #[test]
    fn the_pace_is_that_of_the_last_ten_minutes() {
        let pace = Pace::default();
        assert_eq!(pace.measure(total(0), at(0)), None, "nothing sampled");
        pace.sample(total(1_000), at(0));
        assert_eq!(pace.measure(total(1_001), at(0)), None, "no time has passed");
        let check = |requests, seconds, expected: f64| {
            let pace = pace.measure(total(requests), at(seconds)).expect("a pace");
            assert!((pace.requests - expected).abs() < 0.01, "{pace:?}");
            assert!((pace.tokens - 3.0 * expected).abs() < 0.01, "{pace:?}");
        };
        // Ten a minute for twenty minutes, then none.
        for minute in 0..=20 {
            pace.sample(total(1_000 + minute * 10), at(minute * 60));
        }
        check(1_200, 1_200, 10.0);
        for minute in 21..=30 {
            pace.sample(total(1_200), at(minute * 60));
        }
        check(1_200, 1_800, 0.0);
        assert!(pace.0.lock().expect("whole").len() <= 12);
    }
}
