//! A bound inferred from refusals, for providers that tell none.
//!
//! A refusal at a count of n says that the limit was n at most. It may have changed since, or
//! somebody else may have used the rest, so after a quiet time the bound is raised: by a little
//! first, by twice as much each further time. A raise that is refused at once doubles the quiet
//! time before the next, so a limit that stands is probed ever more rarely (each hour in the end),
//! and one that was lifted is found within a few raises.

use std::time::Duration;

/// The first raise is one in so many of the bound.
const FIRST_STEP: u64 = 20;
/// Longest quiet time before a raise.
const LONGEST: Duration = Duration::from_secs(3_600);
/// After so many raises without a refusal it says nothing any more.
const RAISES: u32 = 10;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inferred {
    max: u64,
    step: u64,
    raises: u32,
    /// The window's length: the shortest quiet time.
    period: Duration,
    /// Time without a refusal before the next raise.
    quiet: Duration,
    /// The same before the last raise, or before the first when there was none.
    waited: Duration,
    /// Monotonic times.
    refused_at: Duration,
    raise_at: Duration,
}

impl Inferred {
    /// Refused with `used` units in a window of the length `period`, for the first time.
    pub(crate) fn new(used: u64, period: Duration, now: Duration) -> Self {
        Self {
            max: used,
            step: first_step(used),
            raises: 0,
            period,
            quiet: period,
            waited: period,
            refused_at: now,
            raise_at: now.saturating_add(period),
        }
    }

    /// Refused again.
    pub(crate) fn refused(&mut self, used: u64, now: Duration) {
        // Calls under way at the first refusal are refused together; that is one piece of news.
        let same = now < self.refused_at.saturating_add(self.period);
        if !same {
            self.quiet = self.waited.saturating_mul(2).min(LONGEST.max(self.period));
            self.waited = self.quiet;
            self.refused_at = now;
        }
        let max = if same { self.max.min(used) } else { used };
        let raise_at = self.refused_at.saturating_add(self.quiet);
        *self = Self { max, step: first_step(max), raises: 0, raise_at, ..*self };
    }

    /// The bound that holds now; `None` when it has been raised out of sight.
    pub(crate) fn max(&mut self, now: Duration) -> Option<u64> {
        while self.raises < RAISES && self.raise_at <= now {
            self.max = self.max.saturating_add(self.step);
            self.step = self.step.saturating_mul(2);
            self.raises += 1;
            // If it goes well the next may come sooner.
            self.waited = self.quiet;
            self.quiet = (self.quiet / 2).max(self.period);
            self.raise_at = self.raise_at.saturating_add(self.quiet);
        }
        (self.raises < RAISES).then_some(self.max)
    }

    /// When the bound is raised next, in monotonic time.
    pub(crate) fn raise_at(&self) -> Duration {
        self.raise_at
    }
}

fn first_step(max: u64) -> u64 {
    (max / FIRST_STEP).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Saturates a provider that allows `limit(minute)` a minute for so many minutes. Gives the
    /// refusals and the calls that were answered.
    fn saturate(minutes: u64, limit: impl Fn(u64) -> u64) -> (u64, u64) {
        let mut inferred: Option<Inferred> = None;
        let (mut refusals, mut answered) = (0, 0);
        for minute in 0..minutes {
            let now = MINUTE * u32::try_from(minute).expect("few");
            let wanted = inferred.as_mut().and_then(|it| it.max(now)).unwrap_or(100).min(100);
            let allowed = limit(minute);
            answered += wanted.min(allowed);
            if wanted > allowed {
                refusals += 1;
                match &mut inferred {
                    Some(it) => it.refused(allowed, now),
                    None => inferred = Some(Inferred::new(allowed, MINUTE, now)),
                }
            }
        }
        (refusals, answered)
    }

    #[test]
    fn a_limit_that_stands_is_hardly_probed_and_used_up() {
        for limit in [1, 7, 29, 99] {
            let (refusals, answered) = saturate(1_440, |_| limit);
            assert!((2..40).contains(&refusals), "{limit}: {refusals}");
            assert_eq!(answered, 1_440 * limit, "{limit}");
        }
    }

    #[test]
    fn a_limit_that_is_lifted_is_found_again() {
        let (_, answered) = saturate(1_440, |minute| if minute < 120 { 10 } else { 60 });
        let optimum = 120 * 10 + 1_320 * 60;
        assert!(answered * 100 >= optimum * 85, "{answered} of {optimum}");
        let (refusals, answered) = saturate(1_440, |minute| if minute < 120 { 60 } else { 10 });
        let optimum = 120 * 60 + 1_320 * 10;
        assert!(answered * 100 >= optimum * 99 && refusals < 60, "{answered}, {refusals}");
    }

    #[test]
    fn one_bad_moment_is_soon_made_up_for() {
        let (refusals, answered) = saturate(60, |minute| if minute == 20 { 3 } else { 100 });
        assert_eq!(refusals, 1);
        assert!(answered >= 5_300, "{answered}");
    }

    #[test]
    fn raises_come_at_their_time() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        let at = Duration::from_secs;
        let mut check = |seconds, expected| {
            assert_eq!(inferred.max(at(seconds)), expected, "after {seconds} s");
        };
        check(59, Some(40));
        check(60, Some(42));
        check(119, Some(42));
        check(120, Some(46));
        check(180, Some(54));
        check(599, Some(40 + 2 * 511));
        check(600, None);
        check(u64::MAX / 2, None);
    }

    #[test]
    fn refusals_of_one_burst_are_one() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        for second in 1..60 {
            inferred.refused(40 - second / 2, Duration::from_secs(second));
        }
        assert_eq!(inferred.max(Duration::from_secs(59)), Some(11));
        assert_eq!(inferred.raise_at(), MINUTE);
        inferred.refused(20, MINUTE);
        assert_eq!(inferred.max(MINUTE * 2), Some(20));
        assert_eq!(inferred.raise_at(), MINUTE * 3);
    }
}
