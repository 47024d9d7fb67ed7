//! What a fault means: for the books, and for the rest of the journey.

use std::time::Duration;

use crate::breaker::Outcome;
use crate::catalog::Period;
use crate::clock::Now;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Scope;
use crate::provider::fault::Waited;

/// What to do after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The caller has to mend the request: no other candidate would take it.
    GiveBack,
    /// The same target once more, without these members.
    RepeatWithout(Vec<String>),
    /// The same target once more, on a connection of its own.
    Again,
    /// The next candidate. Is the model to blame, so that its other keys can wait?
    Candidate { model_to_blame: bool },
}

/// What becomes of the quota that was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// The provider refused: it comes back, unless the provider counts refusals.
    Refused,
    /// The provider may have done the work: what was reserved is spent.
    Spent,
}

/// Rest after a 429 of a daily limit that doesn't say for how long: then it is tried again, for
/// many providers' days roll.
const SPENT_FOR_THE_DAY: Duration = Duration::from_secs(3600);
/// The same for a monthly limit.
const SPENT_FOR_THE_MONTH: Duration = Duration::from_secs(6 * 3600);
/// Rest after "we are full".
const BUSY: Duration = Duration::from_secs(5);
/// A 429 is taken seriously even when it asks for no rest at all.
const SHORTEST: Duration = Duration::from_millis(250);

/// Where the journey goes, as far as the fault alone can tell.
pub(super) fn next(fault: &Fault) -> Next {
    match &fault.kind {
        FaultKind::BadRequest => Next::GiveBack,
        FaultKind::FieldUnknown(fields) => Next::RepeatWithout(fields.clone()),
        FaultKind::Stale => Next::Again,
        // Not for this key's account; another may have it.
        FaultKind::ModelGone if fault.scope == Scope::Target => {
            Next::Candidate { model_to_blame: false }
        }
        FaultKind::RateLimited(_)
        | FaultKind::TooManyInFlight
        | FaultKind::KeyRejected
        | FaultKind::Barred
        | FaultKind::NoCredit => Next::Candidate { model_to_blame: false },
        _ => Next::Candidate { model_to_blame: true },
    }
}

/// What the breakers are told.
pub(super) fn outcome(fault: &Fault, now: Now) -> Outcome {
    let until =
        |otherwise: Duration| now.monotonic + fault.retry_after.unwrap_or(otherwise).max(SHORTEST);
    match &fault.kind {
        FaultKind::RateLimited(period) => match fault.retry_after.or(rest(*period)) {
            Some(rest) => throttled(fault.scope, until(rest)),
            None if is_wide(fault.scope) => Outcome::AccountThrottledUntold,
            None => Outcome::ThrottledUntold,
        },
        FaultKind::TooManyInFlight => throttled(fault.scope, until(BUSY)),
        // A 429 is about quota even when the words speak of the whole pool: it is to be waited for.
        FaultKind::Busy if fault.status == Some(429) => throttled(fault.scope, until(BUSY)),
        FaultKind::Busy => Outcome::Overloaded { until: until(BUSY) },
        FaultKind::Server if fault.retry_after.is_some() => {
            Outcome::Overloaded { until: until(BUSY) }
        }
        // Too dear a request says nothing of the next.
        FaultKind::NoCredit if fault.scope == Scope::Request => Outcome::Neutral,
        // A barred key opens like a refused one: when somebody has repaired something.
        FaultKind::KeyRejected | FaultKind::Barred | FaultKind::NoCredit => Outcome::KeyRejected,
        FaultKind::ModelGone if fault.scope == Scope::Target => Outcome::ModelWithheld,
        FaultKind::ModelGone => Outcome::ModelGone,
        FaultKind::ContextTooLong
        | FaultKind::FieldUnknown(_)
        | FaultKind::BadRequest
        | FaultKind::NotHere
        | FaultKind::OffSchema
        | FaultKind::NoJson
        | FaultKind::Stale
        | FaultKind::Astray
        | FaultKind::Timeout(Waited::WhatWasLeft) => Outcome::Neutral,
        FaultKind::Unanswered => Outcome::Unanswered,
        FaultKind::Connect => Outcome::ConnectFault,
        FaultKind::Timeout(Waited::FirstToken) => Outcome::Slow,
        FaultKind::Server
        | FaultKind::Unreadable
        | FaultKind::TooLarge
        | FaultKind::Empty
        | FaultKind::Cut
        | FaultKind::Timeout(_) => Outcome::Fault,
    }
}

/// The rest after a limit of that period that doesn't say for how long; `None` where it is short at
/// first, and longer each time.
fn rest(period: Option<Period>) -> Option<Duration> {
    match period? {
        Period::Day => Some(SPENT_FOR_THE_DAY),
        Period::Month => Some(SPENT_FOR_THE_MONTH),
        Period::Second | Period::Minute | Period::Hour => None,
    }
}

fn throttled(scope: Scope, until: Duration) -> Outcome {
    if is_wide(scope) { Outcome::AccountThrottled { until } } else { Outcome::Throttled { until } }
}

/// Does it hold for everything the key may ask?
fn is_wide(scope: Scope) -> bool {
    matches!(scope, Scope::Key | Scope::Account | Scope::Provider)
}

/// What becomes of the reserved quota.
pub(super) fn quota(fault: &Fault) -> Quota {
    match fault.kind {
        FaultKind::Unreadable
        | FaultKind::TooLarge
        | FaultKind::Empty
        | FaultKind::OffSchema
        | FaultKind::NoJson
        | FaultKind::Astray
        | FaultKind::Cut
        // It may have been read before the connection was closed.
        | FaultKind::Unanswered
        | FaultKind::Stale
        | FaultKind::Timeout(_) => Quota::Spent,
        _ => Quota::Refused,
    }
}

/// Might the very same target answer if it were asked again at once?
pub(super) fn may_pass(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::Server
            | FaultKind::Unreadable
            | FaultKind::Empty
            | FaultKind::Cut
            | FaultKind::Connect
            | FaultKind::Unanswered
            | FaultKind::Stale
            | FaultKind::TooManyInFlight
    )
}

/// Has it only too much to do, for this key or for all?
pub(super) fn is_throttle(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::RateLimited(_) | FaultKind::TooManyInFlight => true,
        FaultKind::Busy => fault.status == Some(429),
        _ => false,
    }
}

/// Would the model's other keys give the same answer?
pub(super) fn speaks_of_model(fault: &Fault) -> bool {
    speaks_of_request(fault) || matches!(fault.kind, FaultKind::OffSchema | FaultKind::NoJson)
}

/// Does this fault speak of the request rather than of the provider?
pub(super) fn speaks_of_request(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::BadRequest
            | FaultKind::NotHere
            | FaultKind::ContextTooLong
            | FaultKind::FieldUnknown(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind) -> Fault {
        Fault::new(kind, "")
    }

    #[test]
    fn a_throttle_rests_as_long_as_it_was_told() {
        let now = Now { monotonic: Duration::from_secs(100), unix_ms: 0 };
        let check = |kind, retry_after: Option<u64>, rest_ms: u64| {
            let mut fault = fault(kind);
            fault.retry_after = retry_after.map(Duration::from_millis);
            let until = now.monotonic + Duration::from_millis(rest_ms);
            assert_eq!(outcome(&fault, now), Outcome::Throttled { until });
        };
        check(FaultKind::RateLimited(None), Some(7_000), 7_000);
        check(FaultKind::RateLimited(None), Some(0), 250);
        check(FaultKind::RateLimited(Some(Period::Day)), None, 3_600_000);
        check(FaultKind::TooManyInFlight, None, 5_000);
    }

    #[test]
    fn a_throttle_without_a_time_is_the_breakers_to_measure() {
        let mut fault = fault(FaultKind::RateLimited(Some(Period::Minute)));
        assert_eq!(outcome(&fault, Now::default()), Outcome::ThrottledUntold);
        fault.scope = Scope::Account;
        let untold = outcome(&fault, Now::default());
        assert_eq!(untold, Outcome::AccountThrottledUntold);
        let until = Duration::from_secs(7);
        assert_eq!(untold.lasting_until(Some(until)), Outcome::AccountThrottled { until });
    }

    #[test]
    fn an_overload_is_no_quota_unless_it_is_a_429() {
        let check = |kind, status, hint: Option<u64>, expected: fn(Duration) -> Outcome, rest| {
            let mut fault = fault(kind);
            (fault.status, fault.retry_after) = (Some(status), hint.map(Duration::from_millis));
            let until = Duration::from_millis(rest);
            assert_eq!(outcome(&fault, Now::default()), expected(until));
        };
        let overloaded = |until| Outcome::Overloaded { until };
        let throttled = |until| Outcome::Throttled { until };
        check(FaultKind::Server, 503, Some(2_000), overloaded, 2_000);
        check(FaultKind::Busy, 503, None, overloaded, 5_000);
        check(FaultKind::Busy, 429, None, throttled, 5_000);
        assert_eq!(outcome(&fault(FaultKind::Server), Now::default()), Outcome::Fault);
    }

    #[test]
    fn what_is_withheld_from_one_key_is_asked_of_the_next() {
        let mut gone = fault(FaultKind::ModelGone);
        assert_eq!(next(&gone), Next::Candidate { model_to_blame: true });
        assert_eq!(outcome(&gone, Now::default()), Outcome::ModelGone);
        gone.scope = Scope::Target;
        assert_eq!(next(&gone), Next::Candidate { model_to_blame: false });
        assert_eq!(outcome(&gone, Now::default()), Outcome::ModelWithheld);
    }

    #[test]
    fn a_request_that_is_too_dear_does_not_cost_the_key() {
        let mut dear = fault(FaultKind::NoCredit);
        assert_eq!(outcome(&dear, Now::default()), Outcome::KeyRejected);
        dear.scope = Scope::Request;
        assert_eq!(outcome(&dear, Now::default()), Outcome::Neutral);
        assert_eq!(next(&dear), Next::Candidate { model_to_blame: false });
    }

    #[test]
    fn an_accounts_quota_rests_the_whole_key() {
        let mut fault = fault(FaultKind::RateLimited(Some(Period::Day)));
        (fault.scope, fault.retry_after) = (Scope::Account, Some(Duration::from_secs(60)));
        let until = Duration::from_secs(60);
        assert_eq!(outcome(&fault, Now::default()), Outcome::AccountThrottled { until });
    }

    #[test]
    fn the_callers_own_fault_says_nothing_of_the_provider() {
        let now = Now::default();
        for kind in [
            FaultKind::BadRequest,
            FaultKind::ContextTooLong,
            FaultKind::NotHere,
            FaultKind::FieldUnknown(vec!["x".to_owned()]),
        ] {
            assert_eq!(outcome(&fault(kind), now), Outcome::Neutral);
        }
        assert_eq!(next(&fault(FaultKind::BadRequest)), Next::GiveBack);
    }
}
