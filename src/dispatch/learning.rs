//! What a provider's answers say of its quota, for the ledger.
//!
//! The ledger owns windows: which one is spent, for whom and until when. A breaker owns calls: it
//! opens at a refusal, for no less time than the ledger says, and lets one probe pass after it.

use std::time::Duration;

use crate::catalog::Period;
use crate::catalog::TargetId;
use crate::clock::Now;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::rate_limits::RateLimit;
use crate::quota::AsOf;
use crate::quota::Ledger;
use crate::quota::Observation;
use crate::quota::Refusal;

/// Takes over what the headers of an answer said, of the moment its call was made.
pub(super) fn headers(
    ledger: &Ledger,
    target: TargetId,
    (limits, as_of): (&[RateLimit], &AsOf),
    now: Now,
) {
    for it in limits {
        let seen = Observation {
            unit: it.unit,
            period: it.period,
            // No answer comes under a limit of nothing; that nothing is left is told beside it, and
            // for how long.
            limit: it.limit.filter(|it| *it > 0),
            remaining: Some(it.remaining),
            reset_at: it.resets_in.map(|it| now.monotonic.saturating_add(it)),
            refills_evenly: it.refills_evenly,
            account_wide: false,
        };
        ledger.learn(target, seen, as_of, now);
    }
}

/// Takes over what a refusal said, beside its headers' `limits`. Gives the monotonic time until
/// which a window is spent, where it named one.
pub(super) fn refusal(
    ledger: &Ledger,
    target: TargetId,
    (fault, limits, as_of): (&Fault, &[RateLimit], &AsOf),
    now: Now,
) -> Option<Duration> {
    let mut spent_until = None;
    for said in &fault.quota {
        let until = said.until.map(|it| now.monotonic.saturating_add(it));
        let seen = Observation {
            unit: said.unit,
            period: said.period,
            limit: said.limit,
            remaining: said.remaining.filter(|_| !said.exhausted),
            reset_at: until,
            refills_evenly: false,
            account_wide: said.account_wide,
        };
        ledger.learn(target, seen, as_of, now);
        if said.exhausted {
            let (unit, period, account_wide) = (said.unit, said.period, said.account_wide);
            let exhausted = |until| {
                ledger.exhausted(target, Refusal { unit, period, until, account_wide }, now)
            };
            // A wait that the provider asks for beside it may be longer, never shorter.
            let asked = fault.retry_after.map(|it| now.monotonic.saturating_add(it));
            let mut spent = exhausted(until);
            if let Some(asked) = asked.filter(|it| *it > spent) {
                spent = exhausted(Some(asked));
            }
            spent_until = spent_until.max(Some(spent));
        }
    }
    let told = !fault.quota.is_empty() || limits.iter().any(|it| it.remaining == 0);
    let short = fault.retry_after.is_none_or(|it| it <= Period::Minute.rolling());
    if let FaultKind::RateLimited(period @ (None | Some(Period::Second | Period::Minute))) =
        fault.kind
        && short
        && !told
    {
        ledger.refused(target, (period, fault.retry_after), now);
    }
    spent_until
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::AccountId;
    use crate::catalog::Limit;
    use crate::catalog::ModelId;
    use crate::catalog::QuotaScope;
    use crate::catalog::Reset;
    use crate::catalog::Unit;
    use crate::provider::fault::QuotaSaid;
    use crate::quota::Demand;
    use crate::quota::TargetBooks;

    const TARGET: TargetId = TargetId(1);
    const HOUR: Duration = Duration::from_secs(3_600);
    /// 2026-08-01 16:00:00 UTC.
    const NOW: Now = Now { monotonic: HOUR, unix_ms: 1_785_600_000_000 };

    /// Three calls were made, of thirty a minute and five hundred a day.
    fn ledger() -> Ledger {
        let limit = |period, max| Limit { unit: Unit::Requests, period, max };
        let ledger = Ledger::new();
        ledger.configure(
            [TargetBooks {
                target: TARGET,
                account: AccountId(1),
                model: ModelId(1),
                limits: vec![limit(Period::Minute, 30), limit(Period::Day, 500)],
                scope: QuotaScope::Model,
                reset: Reset::UtcDay,
                max_concurrent: None,
            }],
            NOW,
        );
        for _ in 0..3 {
            let demand = Demand { requests: 1, tokens: 10 };
            ledger.reserve(TARGET, demand, NOW).expect("fits").settle(10);
        }
        ledger
    }

    const SAID: QuotaSaid = QuotaSaid {
        unit: Unit::Requests,
        period: Period::Day,
        limit: None,
        remaining: None,
        exhausted: true,
        until: None,
        account_wide: false,
    };

    fn limited(period: Option<Period>, quota: &[QuotaSaid], retry_after: Option<u64>) -> Fault {
        let mut fault = Fault::new(FaultKind::RateLimited(period), "");
        fault.quota = quota.into();
        fault.retry_after = retry_after.map(Duration::from_secs);
        fault
    }

    #[test]
    fn a_spent_window_lasts_as_long_as_is_told_or_its_calendar_says() {
        let check = |fault: Fault, expected: Option<Duration>| {
            let ledger = ledger();
            let until = refusal(&ledger, TARGET, (&fault, &[], &AsOf::default()), NOW);
            assert_eq!(until, expected.map(|it| NOW.monotonic + it), "{fault:?}");
        };
        let until = |seconds| QuotaSaid { until: Some(Duration::from_secs(seconds)), ..SAID };
        let day = Some(Period::Day);
        check(limited(day, &[SAID], None), Some(HOUR * 8));
        check(limited(day, &[SAID], Some(36)), Some(HOUR * 8));
        check(limited(day, &[SAID], Some(9 * 3_600)), Some(HOUR * 9));
        check(limited(day, &[until(90)], Some(90)), Some(Duration::from_secs(90)));
        check(limited(day, &[until(90), until(70)], None), Some(Duration::from_secs(90)));
        check(limited(day, &[], Some(36)), None);
        check(limited(day, &[QuotaSaid { exhausted: false, ..SAID }], Some(36)), None);
    }

    #[test]
    fn a_limit_of_nothing_is_spent_until_its_reset_and_no_longer() {
        let said = |resets_in| RateLimit {
            unit: Unit::Requests,
            period: Period::Minute,
            limit: Some(0),
            remaining: 0,
            resets_in,
            refills_evenly: false,
        };
        let seconds = Duration::from_secs;
        for (configured, resets_in, spent_for) in [
            (Some(30), Some(seconds(5)), Some(5)),
            (Some(30), None, Some(61)),
            (None, Some(seconds(5)), Some(5)),
            (None, None, None),
        ] {
            let ledger = Ledger::new();
            ledger.configure(
                [TargetBooks {
                    target: TARGET,
                    account: AccountId(1),
                    model: ModelId(1),
                    limits: configured
                        .map(|max| Limit { unit: Unit::Requests, period: Period::Minute, max })
                        .into_iter()
                        .collect(),
                    scope: QuotaScope::Model,
                    reset: Reset::UtcDay,
                    max_concurrent: None,
                }],
                NOW,
            );
            headers(&ledger, TARGET, (&[said(resets_in)], &AsOf::default()), NOW);
            let demand = Demand { requests: 1, tokens: 1 };
            let case = format!("{configured:?} {resets_in:?}");
            assert_eq!(ledger.peek(TARGET, demand, NOW).is_err(), spent_for.is_some(), "{case}");
            let later = NOW.monotonic + seconds(spent_for.unwrap_or(0));
            let later = Now { monotonic: later, ..NOW };
            assert_eq!(ledger.peek(TARGET, demand, later), Ok(()), "{case}");
        }
    }

    #[test]
    fn only_a_refusal_that_tells_nothing_is_guessed_at() {
        let check = |fault: Fault, limits: &[RateLimit], expected: Option<u64>| {
            let ledger = ledger();
            refusal(&ledger, TARGET, (&fault, limits, &AsOf::default()), NOW);
            let views = ledger.view(TARGET, NOW);
            let minute = views.iter().find(|it| it.period == Period::Minute).expect("a window");
            assert_eq!(minute.learned, expected, "{fault:?}");
        };
        let spent = RateLimit {
            unit: Unit::Requests,
            period: Period::Day,
            limit: None,
            remaining: 0,
            resets_in: None,
            refills_evenly: false,
        };
        check(limited(None, &[], None), &[], Some(3));
        check(limited(Some(Period::Minute), &[], Some(60)), &[], Some(3));
        check(limited(Some(Period::Minute), &[], Some(1)), &[], Some(3));
        check(limited(None, &[], Some(2)), &[], Some(3));
        check(limited(None, &[], Some(1)), &[], None);
        check(limited(Some(Period::Second), &[], None), &[], None);
        check(limited(None, &[], None), &[RateLimit { remaining: 1, ..spent }], Some(3));
        check(limited(None, &[], None), &[spent], None);
        check(limited(None, &[SAID], None), &[], None);
        check(limited(None, &[], Some(61)), &[], None);
        check(limited(Some(Period::Day), &[], None), &[], None);
        check(Fault::new(FaultKind::Busy, ""), &[], None);
        check(Fault::new(FaultKind::TooManyInFlight, ""), &[], None);
        let told = QuotaSaid {
            period: Period::Minute,
            limit: Some(20),
            remaining: Some(4),
            exhausted: false,
            ..SAID
        };
        check(limited(None, &[told], None), &[], Some(20));
    }

    #[test]
    fn who_is_to_wait_for_a_second_has_spent_a_second() {
        for fault in [limited(None, &[], Some(1)), limited(Some(Period::Second), &[], None)] {
            let ledger = ledger();
            refusal(&ledger, TARGET, (&fault, &[], &AsOf::default()), NOW);
            let views = ledger.view(TARGET, NOW);
            let second = views.iter().find(|it| it.period == Period::Second);
            assert_eq!(second, None, "the calls were made before a second was counted");
            ledger.reserve(TARGET, Demand { requests: 1, tokens: 1 }, NOW).expect("fits").settle(1);
            refusal(&ledger, TARGET, (&fault, &[], &AsOf::default()), NOW);
            let views = ledger.view(TARGET, NOW);
            let second = views.iter().find(|it| it.period == Period::Second).expect("a window");
            assert_eq!((second.learned, second.left), (Some(1), Some(0)), "{fault:?}");
        }
    }
}
