//! A bound inferred from refusals, for providers that tell none.
//!
//! A refusal at a count of n may mean that the limit is n, or that somebody else uses the key, or
//! that two calls came too close. So it is a *doubt* at first: the bound is n at once, but soon
//! raised, by a little, then by twice as much each further time. A refusal of what a raise let in
//! confirms n; an answer to it shows that there is more, and what stood before holds again, or what
//! was answered where nothing did. What *stands* is raised like that after a quiet time that each
//! refused raise doubles. So a limit that stands is probed ever more rarely (each hour in the end),
//! one that was lifted is found within a few raises, and refusals by chance do not add up: what lies
//! below a bound that stands leaves it and its times as they are.

use std::time::Duration;

/// The first raise is one in so many of the bound.
const FIRST_STEP: u64 = 20;
/// Shortest time before a raise, however short the window.
const SHORTEST: Duration = Duration::from_secs(10);
/// Longest time before a raise.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Calls under way at a refusal are refused together: so long it is one piece of news, or a sixth
/// of the window where that is longer.
const TOGETHER: Duration = Duration::from_secs(1);
/// After so many raises without a refusal a bound says nothing any more.
const RAISES: u32 = 10;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inferred {
    /// The window's length.
    period: Duration,
    /// When the latest news came, in monotonic time.
    refused_at: Duration,
    stands: Option<Bound>,
    doubt: Option<Bound>,
}

/// A bound that is raised step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    /// What it was at the refusal, or the most that has been answered since.
    sure: u64,
    max: u64,
    step: u64,
    raises: u32,
    /// Time without a refusal before the next raise: the shortest, the present one, and that before
    /// the last raise (or the first, when there was none).
    shortest: Duration,
    quiet: Duration,
    waited: Duration,
    /// Monotonic.
    raise_at: Duration,
}

impl Inferred {
    /// Refused with `used` units in a window of the length `period`, for the first time.
    pub(crate) fn new(used: u64, period: Duration, now: Duration) -> Self {
        let doubt = Some(Bound::new(used, trial(period), now));
        Self { period, refused_at: now, stands: None, doubt }
    }

    /// Refused again.
    pub(crate) fn refused(&mut self, used: u64, now: Duration) {
        self.raise(now);
        if now < self.refused_at.saturating_add(TOGETHER.max(self.period / 6)) {
            if let Some(it) = self.doubt.as_mut().or(self.stands.as_mut()) {
                it.lower(used);
            }
            return;
        }
        self.refused_at = now;
        let quiet = self.period.max(SHORTEST);
        match (&mut self.doubt, &mut self.stands) {
            (Some(doubt), _) if used >= doubt.sure => {
                self.stands = Some(Bound::new(used, quiet, now));
                self.doubt = None;
            }
            (None, Some(stands)) if used >= stands.sure => stands.refuse(used, now),
            _ => self.doubt = Some(Bound::new(used, trial(self.period), now)),
        }
    }

    /// A call that was made after the latest news was answered, with `used` units in the window, its
    /// own among them.
    pub(crate) fn answered(&mut self, used: u64) {
        if let Some(it) = self.doubt.take_if(|it| used > it.sure) {
            let quiet = self.period.max(SHORTEST);
            self.stands.get_or_insert_with(|| Bound::new(used, quiet, it.raise_at));
        }
        if let Some(it) = &mut self.stands {
            it.sure = it.sure.max(used);
        }
    }

    /// The bound that holds now, and when it is raised next, in monotonic time; `None` when it has
    /// been raised out of sight.
    pub(crate) fn max(&mut self, now: Duration) -> Option<(u64, Duration)> {
        self.raise(now);
        let bounds = self.doubt.iter().chain(&self.stands);
        bounds.min_by_key(|it| it.max).map(|it| (it.max, it.raise_at))
    }

    fn raise(&mut self, now: Duration) {
        for bound in [&mut self.doubt, &mut self.stands] {
            if let Some(it) = bound {
                it.raise(now);
            }
            bound.take_if(|it| it.raises >= RAISES);
        }
        let stands = self.stands.map_or(u64::MAX, |it| it.max);
        self.doubt.take_if(|it| it.max >= stands);
    }
}

impl Bound {
    fn new(max: u64, quiet: Duration, now: Duration) -> Self {
        Self {
            sure: max,
            max,
            step: first_step(max),
            raises: 0,
            shortest: quiet,
            quiet,
            waited: quiet,
            raise_at: now.saturating_add(quiet),
        }
    }

    /// It was refused at the same time with fewer.
    fn lower(&mut self, used: u64) {
        let max = self.sure.min(used);
        *self = Self { sure: max, max, step: first_step(max), ..*self };
    }

    /// The last raise was refused.
    fn refuse(&mut self, used: u64, now: Duration) {
        let quiet = self.waited.saturating_mul(2).min(LONGEST.max(self.shortest));
        *self = Self { shortest: self.shortest, ..Self::new(used, quiet, now) };
    }

    fn raise(&mut self, now: Duration) {
        while self.raises < RAISES && self.raise_at <= now {
            self.max = self.max.saturating_add(self.step);
            self.step = self.step.saturating_mul(2);
            self.raises += 1;
            // If it goes well the next may come sooner.
            self.waited = self.quiet;
            self.quiet = (self.quiet / 2).max(self.shortest);
            self.raise_at = self.raise_at.saturating_add(self.quiet);
        }
    }
}

/// How soon a doubt is put to the test.
fn trial(period: Duration) -> Duration {
    (period / 2).max(SHORTEST)
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
            let wanted =
                inferred.as_mut().and_then(|it| it.max(now)).map_or(100, |it| it.0).min(100);
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

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The bounds after so many seconds.
    fn check(inferred: &mut Inferred, expected: &[(u64, Option<u64>)]) {
        for (seconds, max) in expected {
            let bound = inferred.max(at(*seconds));
            assert_eq!(bound.map(|it| it.0), *max, "after {seconds} s: {inferred:?}");
        }
    }

    #[test]
    fn a_doubt_is_soon_raised_and_gone() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        check(&mut inferred, &[(0, Some(40)), (29, Some(40)), (30, Some(42)), (60, Some(46))]);
        check(&mut inferred, &[(90, Some(54)), (299, Some(40 + 2 * 511)), (300, None)]);
        check(&mut inferred, &[(u64::MAX / 2, None)]);
    }

    #[test]
    fn what_is_confirmed_stands_and_is_raised_ever_more_rarely() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        check(&mut inferred, &[(30, Some(42))]);
        inferred.refused(40, at(31));
        check(&mut inferred, &[(90, Some(40)), (91, Some(42))]);
        inferred.refused(41, at(95));
        check(&mut inferred, &[(95 + 119, Some(41)), (95 + 120, Some(43))]);
        inferred.refused(42, at(220));
        check(&mut inferred, &[(220 + 239, Some(42)), (220 + 240, Some(44))]);
    }

    #[test]
    fn a_refusal_below_what_stands_is_another_doubt() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        inferred.refused(40, at(30));
        inferred.refused(20, at(50));
        check(&mut inferred, &[(50, Some(20)), (80, Some(21)), (110, Some(23)), (140, Some(27))]);
        // What stands has been raised at its own times.
        check(&mut inferred, &[(170, Some(35)), (200, Some(46)), (210, Some(54))]);
        // A lower limit is confirmed like the first.
        inferred.refused(20, at(230));
        inferred.refused(20, at(262));
        check(&mut inferred, &[(262, Some(20)), (262 + 59, Some(20)), (262 + 60, Some(21))]);
    }

    #[test]
    fn refusals_of_one_burst_are_one() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        for second in 1..10 {
            inferred.refused(40 - second / 2, at(second));
        }
        check(&mut inferred, &[(29, Some(36)), (30, Some(37))]);
    }

    #[test]
    fn an_answer_above_a_doubt_ends_it() {
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        inferred.answered(40);
        check(&mut inferred, &[(30, Some(42))]);
        inferred.answered(41);
        check(&mut inferred, &[(30, Some(41)), (119, Some(41)), (120, Some(43))]);
        // What stood before it still does.
        let mut inferred = Inferred::new(40, MINUTE, Duration::ZERO);
        inferred.refused(40, at(30));
        inferred.refused(20, at(50));
        check(&mut inferred, &[(80, Some(21))]);
        inferred.answered(21);
        check(&mut inferred, &[(80, Some(40))]);
    }

    /// Another program that now and then takes what a call of ours was meant to have, whatever our
    /// pace: the bound must not fall with each such refusal until nothing is left.
    #[test]
    fn refusals_by_chance_do_not_add_up() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut inferred: Option<Inferred> = None;
        let (mut used, mut rounds) = (0, 0);
        for second in (0..86_400).step_by(10) {
            let now = at(second);
            let bound = inferred.as_mut().and_then(|it| it.max(now)).map_or(50, |it| it.0);
            let busy = bound.min(50);
            (used, rounds) = (used + busy, rounds + 1);
            let by_chance = rng.u8(..6) == 0;
            let count = rng.u64(busy * 3 / 4..=busy);
            match &mut inferred {
                Some(it) if by_chance => it.refused(count, now),
                None if by_chance => inferred = Some(Inferred::new(count, MINUTE, now)),
                Some(it) => it.answered(busy),
                None => {}
            }
        }
        assert!(used > rounds * 35, "{used} in {rounds}");
    }
}
