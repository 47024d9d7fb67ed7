use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::catalog::Period;

const TARGET: TargetId = TargetId(1);
const ONE: Demand = Demand { requests: 1, tokens: 100 };
/// 2026-05-04 00:00 UTC.
const MONDAY: u64 = 1_777_852_800_000;

/// When what was taken at the beginning of a minute's window comes back: a moment after the minute,
/// for the provider may have counted it a moment later.
const MINUTE_OVER: u64 = 60_250;

fn at(millis: u64) -> Now {
    Now { monotonic: Duration::ZERO, unix_ms: MONDAY }.plus(Duration::from_millis(millis))
}

fn requests(period: Period, max: u64) -> Limit {
    Limit { unit: Unit::Requests, period, max }
}

fn tokens(period: Period, max: u64) -> Limit {
    Limit { unit: Unit::Tokens, period, max }
}

fn books(limits: &[Limit]) -> TargetBooks {
    TargetBooks {
        target: TARGET,
        account: AccountId(1),
        model: ModelId(1),
        limits: limits.to_vec(),
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        max_concurrent: None,
    }
}

fn ledger(limits: &[Limit]) -> Ledger {
    let ledger = Ledger::new();
    ledger.configure([books(limits)], at(0));
    ledger
}

/// Takes `ONE` and lets it count.
fn spend(ledger: &Ledger, now: Now) {
    ledger.reserve(TARGET, ONE, now).expect("fits").settle(ONE.tokens);
}

fn used(ledger: &Ledger, unit: Unit, now: Now) -> u64 {
    ledger.view(TARGET, now).iter().find(|it| it.unit == unit).expect("a window").used
}

fn free_at(ledger: &Ledger, demand: Demand, now: Now) -> Option<FreeAt> {
    ledger.peek(TARGET, demand, now).err().map(|it| it.free)
}

#[test]
fn a_denial_names_the_moment_and_is_right_about_it() {
    let ledger = ledger(&[requests(Period::Minute, 2)]);
    spend(&ledger, at(0));
    spend(&ledger, at(10_000));
    let denial = ledger.reserve(TARGET, ONE, at(20_000)).expect_err("spent");
    let bound = Bound::Window { unit: Unit::Requests, period: Period::Minute };
    let free = FreeAt::At(Duration::from_millis(MINUTE_OVER));
    assert_eq!(denial, Denial { bound, free, scope: QuotaScope::Model });
    let check = |millis, fits: bool| {
        assert_eq!(ledger.peek(TARGET, ONE, at(millis)).is_ok(), fits, "at {millis}");
    };
    check(MINUTE_OVER - 1, false);
    check(MINUTE_OVER, true);
    check(MINUTE_OVER + 1, true);
}

#[test]
fn the_latest_of_all_violated_windows_counts() {
    let ledger = ledger(&[
        requests(Period::Second, 1),
        requests(Period::Minute, 1),
        tokens(Period::Minute, 1_000),
    ]);
    spend(&ledger, at(0));
    assert_eq!(free_at(&ledger, ONE, at(0)), Some(FreeAt::At(Duration::from_millis(MINUTE_OVER))));
    let huge = Demand { requests: 1, tokens: 1_001 };
    assert_eq!(free_at(&ledger, huge, at(0)), Some(FreeAt::Never));
    let denial = ledger.peek(TargetId(9), ONE, at(0)).expect_err("unknown");
    assert_eq!(denial.bound, Bound::NotConfigured);
}

#[test]
fn nothing_is_taken_unless_everything_fits() {
    let limits =
        [requests(Period::Minute, 10), tokens(Period::Minute, 50), tokens(Period::Minute, 500)];
    let ledger = ledger(&limits);
    ledger.reserve(TARGET, ONE, at(0)).expect_err("too many tokens");
    assert_eq!(used(&ledger, Unit::Requests, at(0)), 0);
}

#[test]
fn every_ending_charges_what_it_should() {
    type End = fn(Reservation);
    let check = |end: End, expected: (u64, u64)| {
        let ledger = ledger(&[requests(Period::Minute, 10), tokens(Period::Minute, 1_000)]);
        end(ledger.reserve(TARGET, ONE, at(0)).expect("fits"));
        let now = at(1_000);
        let spent = (used(&ledger, Unit::Requests, now), used(&ledger, Unit::Tokens, now));
        assert_eq!(spent, expected);
    };
    check(drop, (0, 0));
    check(|it| it.settle(70), (1, 70));
    check(|it| it.settle(5_000), (1, 5_000));
    check(|it| it.failed(true), (0, 0));
    check(|it| it.failed(false), (0, 0));
    check(
        |it| {
            it.mark_sent();
            drop(it);
        },
        (1, 100),
    );
    check(
        |it| {
            it.mark_sent();
            it.failed(true);
        },
        (1, 0),
    );
    check(
        |it| {
            it.mark_sent();
            it.failed(false);
        },
        (0, 0),
    );
}

#[test]
fn a_panic_settles_too() {
    let ledger = ledger(&[requests(Period::Minute, 10)]);
    for (sent, expected) in [(false, 0), (true, 1)] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let reservation = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
            if sent {
                reservation.mark_sent();
            }
            panic!("while a reservation is open");
        }));
        assert!(result.is_err());
        assert_eq!(used(&ledger, Unit::Requests, at(0)), expected);
    }
}

#[test]
fn overage_is_owed() {
    let ledger = ledger(&[tokens(Period::Minute, 200)]);
    ledger.reserve(TARGET, ONE, at(0)).expect("fits").settle(500);
    let none = Demand { requests: 1, tokens: 0 };
    assert_eq!(
        free_at(&ledger, none, at(MINUTE_OVER - 1)),
        Some(FreeAt::At(Duration::from_millis(MINUTE_OVER)))
    );
    assert_eq!(free_at(&ledger, none, at(MINUTE_OVER)), None);
}

#[test]
fn concurrency_is_held_until_the_end_of_the_call() {
    let ledger = Ledger::new();
    ledger.configure([TargetBooks { max_concurrent: Some(2), ..books(&[]) }], at(0));
    let first = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    let second = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    let denial = ledger.reserve(TARGET, ONE, at(900_000)).expect_err("two are open");
    assert_eq!((denial.bound, denial.free), (Bound::Concurrency, FreeAt::Unknown));
    first.settle(ONE.tokens);
    drop(ledger.reserve(TARGET, ONE, at(0)).expect("one is open"));
    drop(second);
    assert_eq!(ledger.peek(TARGET, ONE, at(0)), Ok(()));
}

#[test]
fn an_accounts_models_share_a_count_and_keep_their_own_bound() {
    let ledger = Ledger::new();
    let book = |target, max| TargetBooks {
        target: TargetId(target),
        model: ModelId(target),
        scope: QuotaScope::Account,
        ..books(&[requests(Period::Day, max)])
    };
    let unbound = TargetBooks { limits: Vec::new(), ..book(3, 0) };
    let stranger = TargetBooks { account: AccountId(2), ..book(4, 1) };
    ledger.configure([book(1, 2), book(2, 4), unbound, stranger], at(0));
    let fits = |target| ledger.peek(TargetId(target), ONE, at(0)).is_ok();
    let spend =
        |target| ledger.reserve(TargetId(target), ONE, at(0)).expect("fits").settle(ONE.tokens);
    spend(3);
    spend(2);
    assert!(!fits(1));
    assert!(fits(2));
    spend(2);
    spend(2);
    assert!(!fits(2));
    assert!(fits(3) && fits(4));
}

#[test]
fn a_reload_keeps_counts_and_open_reservations() {
    let ledger = Ledger::new();
    let capped =
        |max| TargetBooks { max_concurrent: Some(1), ..books(&[requests(Period::Day, max)]) };
    ledger.configure([capped(10)], at(0));
    let open = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    ledger.configure([], at(0));
    assert!(ledger.peek(TARGET, ONE, at(0)).is_err());
    ledger.configure([capped(1)], at(0));
    let denial = ledger.peek(TARGET, ONE, at(0)).expect_err("spent");
    let bound = Bound::Window { unit: Unit::Requests, period: Period::Day };
    assert_eq!(denial.bound, bound);
    drop(open);
    assert_eq!(ledger.peek(TARGET, ONE, at(0)), Ok(()));
}

#[test]
fn pacific_days_follow_daylight_saving() {
    let check = |midnight_utc_ms: u64, hours: u64| {
        let ledger = Ledger::new();
        let pacific =
            TargetBooks { reset: Reset::PacificDay, ..books(&[requests(Period::Day, 1)]) };
        ledger.configure([pacific], at(0));
        let midnight = Now { monotonic: Duration::from_secs(5), unix_ms: midnight_utc_ms };
        spend(&ledger, midnight);
        let next = midnight.plus(Duration::from_secs(hours * 3_600));
        assert_eq!(free_at(&ledger, ONE, midnight), Some(FreeAt::At(next.monotonic)));
        let before = midnight.plus(Duration::from_millis(hours * 3_600_000 - 1));
        assert!(ledger.peek(TARGET, ONE, before).is_err(), "{hours}");
        assert!(ledger.peek(TARGET, ONE, next).is_ok(), "{hours}");
    };
    // Midnights in Los Angeles: 2026-03-08, 2026-11-01, and an ordinary day.
    check(1_772_956_800_000, 23);
    check(1_793_516_400_000, 25);
    check(1_777_878_000_000, 24);
}

fn seen(limit: Option<u64>, remaining: Option<u64>, reset_secs: Option<u64>) -> Observation {
    Observation {
        unit: Unit::Requests,
        period: Period::Minute,
        limit,
        remaining,
        reset_at: reset_secs.map(Duration::from_secs),
        refills_evenly: false,
        account_wide: false,
    }
}

fn left(ledger: &Ledger, now: Now) -> Option<u64> {
    ledger.view(TARGET, now).first().and_then(|it| it.left)
}

#[test]
fn what_providers_say_lowers_and_never_raises() {
    let check = |seen: Observation, expected: u64| {
        let ledger = ledger(&[requests(Period::Minute, 30)]);
        spend(&ledger, at(1_000));
        ledger.learn(TARGET, seen, &AsOf::default(), at(2_000));
        assert_eq!(left(&ledger, at(2_000)), Some(expected), "{seen:?}");
    };
    check(seen(None, Some(29), None), 29);
    check(seen(None, Some(500), None), 29);
    check(seen(Some(1_000), Some(999), None), 29);
    check(seen(None, Some(20), None), 20);
    check(seen(None, Some(0), None), 0);
    check(seen(Some(10), None, None), 9);
    check(seen(Some(10), Some(4), None), 4);
    check(seen(Some(0), Some(0), None), 0);
    // Told before a reset that has happened since; the limit is still one.
    check(seen(None, Some(0), Some(2)), 29);
    check(seen(Some(10), Some(0), Some(2)), 9);
}

#[test]
fn another_programs_use_comes_back_at_the_reset_it_told() {
    let ledger = ledger(&[requests(Period::Minute, 30)]);
    ledger.learn(TARGET, seen(None, Some(10), Some(15)), &AsOf::default(), at(0));
    ledger.learn(TARGET, seen(None, Some(12), Some(15)), &AsOf::default(), at(0));
    assert_eq!(left(&ledger, at(14_999)), Some(10));
    assert_eq!(left(&ledger, at(15_000)), Some(30));
}

#[test]
fn a_little_is_kept_free_for_somebody_else_who_was_seen() {
    let ledger = ledger(&[requests(Period::Minute, 100)]);
    let demand = |requests| Demand { requests, tokens: 0 };
    assert_eq!(free_at(&ledger, demand(100), at(0)), None);
    ledger.learn(TARGET, seen(None, Some(90), Some(30)), &AsOf::default(), at(0));
    assert_eq!(free_at(&ledger, demand(88), at(0)), None);
    assert!(free_at(&ledger, demand(89), at(0)).is_some());
    assert_eq!(left(&ledger, at(0)), Some(90), "it is there all the same");
    assert_eq!(free_at(&ledger, demand(100), at(30_000)), None, "what fits but once fits");
    ledger.reserve(TARGET, demand(50), at(31_000)).expect("fits").settle(0);
    assert!(free_at(&ledger, demand(49), at(31_000)).is_some());
    assert_eq!(free_at(&ledger, demand(50), at(120_000)), None, "nobody was seen for two minutes");
}

#[test]
fn what_came_back_while_the_answer_was_on_its_way_is_nobody_elses() {
    let check = |remaining, expected| {
        let ledger = ledger(&[requests(Period::Minute, 30)]);
        for _ in 0..10 {
            spend(&ledger, at(0));
        }
        let call = ledger.reserve(TARGET, ONE, at(MINUTE_OVER - 100)).expect("fits");
        let as_of = call.as_of();
        call.settle(ONE.tokens);
        let later = at(MINUTE_OVER + 400);
        spend(&ledger, later);
        ledger.learn(TARGET, seen(None, Some(remaining), None), &as_of, later);
        assert_eq!(left(&ledger, later), Some(expected), "{remaining} remained");
    };
    // Eleven were used when the call was made, and perhaps the one made since.
    check(19, 28);
    check(18, 28);
    check(13, 23);
    // What another call gave back meanwhile is its own too.
    let ledger = ledger(&[tokens(Period::Minute, 1_000)]);
    let other = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    let call = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    other.settle(10);
    let seen = Observation { unit: Unit::Tokens, ..seen(None, Some(800), None) };
    ledger.learn(TARGET, seen, &call.as_of(), at(0));
    assert_eq!(left(&ledger, at(0)), Some(890));
}

#[test]
fn what_a_call_reserved_and_did_not_use_hides_nobody() {
    let check = |unused: bool, expected| {
        let ledger = ledger(&[tokens(Period::Minute, 6_000)]);
        let call =
            ledger.reserve(TARGET, Demand { requests: 1, tokens: 4_000 }, at(0)).expect("fits");
        let as_of = if unused { call.as_of_used(10) } else { call.as_of() };
        call.settle(10);
        let seen = Observation { unit: Unit::Tokens, ..seen(None, Some(1_000), Some(50)) };
        ledger.learn(TARGET, seen, &as_of, at(100));
        assert_eq!(left(&ledger, at(100)), Some(expected), "{unused}");
    };
    check(true, 1_000);
    // There it may be that the bound of the call is held against it.
    check(false, 4_990);
    // More than was reserved is in what was charged since.
    let ledger = ledger(&[tokens(Period::Minute, 6_000)]);
    let call = ledger.reserve(TARGET, Demand { requests: 1, tokens: 10 }, at(0)).expect("fits");
    let as_of = call.as_of_used(500);
    call.settle(500);
    let seen = Observation { unit: Unit::Tokens, ..seen(None, Some(5_500), Some(50)) };
    ledger.learn(TARGET, seen, &as_of, at(100));
    assert_eq!(left(&ledger, at(100)), Some(5_500));
}

#[test]
fn a_limit_that_is_not_configured_is_supplied_and_forgotten() {
    let ledger = ledger(&[]);
    assert!(ledger.view(TARGET, at(0)).is_empty());
    ledger.learn(TARGET, seen(Some(3), Some(1), None), &AsOf::default(), at(0));
    let view = ledger.view(TARGET, at(0));
    assert_eq!((view[0].configured, view[0].learned, view[0].left), (None, Some(3), Some(1)));
    spend(&ledger, at(0));
    assert_eq!(free_at(&ledger, ONE, at(0)), Some(FreeAt::At(Duration::from_millis(MINUTE_OVER))));
    let four = Demand { requests: 4, tokens: 0 };
    assert_eq!(free_at(&ledger, four, at(0)), Some(FreeAt::At(Duration::from_secs(3_600))));
    assert_eq!(free_at(&ledger, four, at(3_600_000)), None);
}

fn refusal(unit: Unit, period: Period, until: Option<Duration>) -> Refusal {
    Refusal { unit, period, until, account_wide: false }
}

#[test]
fn a_refusal_spends_a_window_until_it_says() {
    let ledger = ledger(&[requests(Period::Minute, 30)]);
    let until = |seconds| Some(Duration::from_secs(seconds));
    ledger.exhausted(TARGET, refusal(Unit::Tokens, Period::Day, until(7_200)), at(0));
    ledger.exhausted(TARGET, refusal(Unit::Tokens, Period::Day, until(10)), at(0));
    assert_eq!(free_at(&ledger, ONE, at(0)), Some(FreeAt::At(Duration::from_secs(7_200))));
    assert!(ledger.view(TARGET, at(0)).iter().any(|it| it.spent && it.left == Some(0)));
    assert!(ledger.headroom(TARGET, ONE, at(0)) == 0.0);
    assert_eq!(free_at(&ledger, ONE, at(7_200_000)), None);
    // Also where the window is known, has room, and the time is absurd.
    let ledger = self::ledger(&[requests(Period::Minute, 30)]);
    let forever = refusal(Unit::Requests, Period::Minute, Some(Duration::MAX));
    assert_eq!(ledger.exhausted(TARGET, forever, at(0)), Duration::from_secs(3_600));
    assert_eq!(free_at(&ledger, ONE, at(0)), Some(FreeAt::At(Duration::from_secs(3_600))));
    assert_eq!(free_at(&ledger, ONE, at(3_600_000)), None);
}

#[test]
fn a_spent_window_comes_back_by_its_own_calendar_when_nothing_tells() {
    let check = |reset, period, expected_secs| {
        let ledger = Ledger::new();
        ledger.configure([TargetBooks { reset, ..books(&[requests(period, 500)]) }], at(0));
        // Monday at six in the morning, UTC; 23 in Los Angeles.
        let six = at(6 * 3_600_000);
        let until = ledger.exhausted(TARGET, refusal(Unit::Requests, period, None), six);
        assert_eq!(until, six.monotonic + Duration::from_secs(expected_secs), "{reset:?}");
        assert_eq!(free_at(&ledger, ONE, six), Some(FreeAt::At(until)));
        let then = |millis: u64| six.plus(Duration::from_millis(expected_secs * 1_000 + millis));
        let before = six.plus(Duration::from_millis(expected_secs * 1_000 - 1));
        assert!(ledger.peek(TARGET, ONE, before).is_err());
        assert!(ledger.peek(TARGET, ONE, then(0)).is_ok());
        assert!(ledger.peek(TARGET, ONE, then(1)).is_ok());
    };
    check(Reset::UtcDay, Period::Day, 18 * 3_600);
    check(Reset::PacificDay, Period::Day, 3_600);
    check(Reset::Month, Period::Month, 27 * 86_400 + 18 * 3_600);
    check(Reset::Rolling, Period::Day, 3_600);
    check(Reset::PacificDay, Period::Minute, 10);
}

#[test]
fn what_is_spent_for_an_account_is_so_for_every_key_and_model_of_it() {
    let ledger = Ledger::new();
    let book = |target, account| TargetBooks {
        target: TargetId(target),
        account: AccountId(account),
        model: ModelId(target),
        ..books(&[requests(Period::Minute, 30)])
    };
    // Two models of two keys in one group, and a key that stands alone.
    ledger.configure([book(1, 1), book(2, 1), book(3, 1), book(4, 2)], at(0));
    let noon = at(0);
    let spent = Refusal {
        account_wide: true,
        ..refusal(Unit::Requests, Period::Day, Some(Duration::from_secs(7_200)))
    };
    ledger.exhausted(TargetId(1), spent, noon);
    for target in [1, 2, 3] {
        let denial = ledger.peek(TargetId(target), ONE, noon).expect_err("spent");
        let bound = Bound::Window { unit: Unit::Requests, period: Period::Day };
        let free = FreeAt::At(Duration::from_secs(7_200));
        assert_eq!(denial, Denial { bound, free, scope: QuotaScope::Account });
        assert!(ledger.view(TargetId(target), noon).iter().any(|it| it.spent));
        assert!(ledger.headroom(TargetId(target), ONE, noon) == 0.0);
    }
    assert!(ledger.peek(TargetId(4), ONE, noon).is_ok());
    assert!(ledger.peek(TargetId(2), ONE, at(7_200_000)).is_ok());
    // A figure for all models is nothing to hold against the count of one.
    let all = Observation { account_wide: true, ..seen(Some(3), Some(0), None) };
    ledger.learn(TargetId(4), all, &AsOf::default(), noon);
    assert_eq!(ledger.view(TargetId(4), noon)[0].left, Some(30));
}

#[test]
fn a_spent_day_leaves_the_minute_alone() {
    let ledger = ledger(&[requests(Period::Minute, 30), requests(Period::Day, 500)]);
    spend(&ledger, at(0));
    let until = Some(Duration::from_secs(7_200));
    ledger.exhausted(TARGET, refusal(Unit::Requests, Period::Day, until), at(0));
    let views = ledger.view(TARGET, at(0));
    let left = |period| views.iter().find(|it| it.period == period).and_then(|it| it.left);
    assert_eq!((left(Period::Minute), left(Period::Day)), (Some(29), Some(0)));
}

#[test]
fn a_bound_is_inferred_from_a_refusal_that_tells_nothing() {
    let bare = ledger(&[]);
    bare.refused(TARGET, (None, None), at(0));
    assert!(bare.view(TARGET, at(0)).is_empty(), "nothing was used, so nothing is known");
    for _ in 0..20 {
        spend(&bare, at(0));
    }
    bare.refused(TARGET, (None, None), at(1_000));
    let view = bare.view(TARGET, at(1_000))[0];
    assert_eq!((view.configured, view.learned, view.left), (None, Some(20), Some(0)));
    assert_eq!(
        free_at(&bare, ONE, at(1_000)),
        Some(FreeAt::At(Duration::from_millis(MINUTE_OVER)))
    );
    assert_eq!(left(&bare, at(30_999)), Some(0));
    assert_eq!(left(&bare, at(31_000)), Some(1), "raised after half a minute");

    // Never above the configured one, and only the fullest window is blamed.
    let full = ledger(&[requests(Period::Minute, 24), tokens(Period::Minute, 1_000_000)]);
    for _ in 0..20 {
        spend(&full, at(0));
    }
    full.refused(TARGET, (None, None), at(1_000));
    let views = full.view(TARGET, at(1_000));
    let figures: Vec<_> = views.iter().map(|it| (it.configured, it.learned, it.max)).collect();
    let whole = Some(1_000_000);
    assert_eq!(figures, [(Some(24), Some(20), Some(20)), (whole, None, whole)]);
    let views = full.view(TARGET, at(600_000));
    assert_eq!(views[0].max, Some(24));
}

#[test]
fn a_refusal_that_asks_for_a_second_is_of_a_second_unless_a_minute_is_full() {
    let check = |limits: &[Limit], told, wait: u64, expected: &[(Period, u64)]| {
        let ledger = ledger(limits);
        // Both are counted from the first refusal on.
        for period in [Period::Second, Period::Minute] {
            ledger.refused(TARGET, (Some(period), None), at(0));
        }
        (0..10).for_each(|_| spend(&ledger, at(0)));
        ledger.refused(TARGET, (told, Some(Duration::from_secs(wait))), at(0));
        let views = ledger.view(TARGET, at(0));
        let learned = views.iter().filter_map(|it| Some((it.period, it.learned?)));
        assert_eq!(learned.collect::<Vec<_>>(), expected, "{limits:?} {told:?} {wait}");
    };
    let (second, minute) = ([(Period::Second, 10)], [(Period::Minute, 10)]);
    check(&[], None, 1, &second);
    check(&[], None, 2, &minute);
    check(&[requests(Period::Minute, 21)], None, 1, &second);
    check(&[requests(Period::Minute, 20)], None, 1, &minute);
    check(&[requests(Period::Minute, 20)], Some(Period::Second), 1, &second);
    check(&[requests(Period::Minute, 90)], Some(Period::Minute), 1, &minute);
}

#[test]
fn an_answer_above_an_inferred_bound_ends_it() {
    let ledger = ledger(&[requests(Period::Minute, 30)]);
    let early = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    (0..20).for_each(|_| spend(&ledger, at(0)));
    let late = ledger.reserve(TARGET, ONE, at(0)).expect("fits");
    ledger.refused(TARGET, (None, None), at(0));
    let max = |millis| ledger.view(TARGET, at(millis))[0].max;
    early.settle(ONE.tokens);
    late.settle(ONE.tokens);
    assert_eq!(max(0), Some(22), "they were under way with the one that was refused");
    assert_eq!(max(30_000), Some(23));
    ledger.reserve(TARGET, ONE, at(30_000)).expect("raised").failed(false);
    assert_eq!(max(30_000), Some(23), "a failure shows nothing");
    spend(&ledger, at(30_000));
    assert_eq!((max(90_000), max(119_999), max(120_000)), (Some(23), Some(23), Some(24)));
    assert_eq!(max(600_000), Some(30));
}

#[test]
fn an_inferred_bound_outlives_a_restart_until_it_would_be_raised() {
    let before = ledger(&[requests(Period::Minute, 30)]);
    for _ in 0..20 {
        spend(&before, at(0));
    }
    before.refused(TARGET, (None, None), at(0));
    let after = ledger(&[requests(Period::Minute, 30)]);
    after.restore(before.snapshot(at(10_000)), at(10_000));
    assert_eq!(after.view(TARGET, at(29_999))[0].max, Some(20));
    assert_eq!(after.view(TARGET, at(30_000))[0].max, Some(30));
}

#[test]
fn what_others_used_comes_back_as_the_window_refills() {
    let ledger = ledger(&[requests(Period::Day, 1_000)]);
    let day = Observation {
        period: Period::Day,
        refills_evenly: true,
        ..seen(None, Some(200), Some(16 * 3_600))
    };
    ledger.learn(TARGET, day, &AsOf::default(), at(0));
    let left_after = |hours: u64| left(&ledger, at(hours * 3_600_000)).expect("a window");
    assert_eq!((left_after(0), left_after(1), left_after(8)), (200, 250, 600));
    assert_eq!(left_after(16), 1_000);
    // In a short one it comes back as our own would.
    let ledger = self::ledger(&[requests(Period::Minute, 30)]);
    let minute = Observation { refills_evenly: true, ..seen(None, Some(10), Some(40)) };
    ledger.learn(TARGET, minute, &AsOf::default(), at(0));
    assert_eq!(left(&ledger, at(MINUTE_OVER - 1)), Some(10));
    assert_eq!(left(&ledger, at(MINUTE_OVER)), Some(30));
}

#[test]
fn a_models_tokens_are_its_own_whatever_the_key() {
    let ledger = Ledger::new();
    let other = TargetBooks { target: TargetId(2), account: AccountId(2), ..books(&[]) };
    let stranger = TargetBooks { target: TargetId(3), model: ModelId(3), ..books(&[]) };
    ledger.configure([books(&[]), other.clone(), stranger], at(0));
    let learn = || ledger.reserve(TARGET, ONE, at(0)).expect("fits").note_prompt(1_000, 1_500);
    (0..100).for_each(|_| learn());
    let check = |target, expected: std::ops::RangeInclusive<u64>| {
        let tokens = ledger.tokens(TargetId(target), 1_000);
        assert!(expected.contains(&tokens), "{tokens}");
    };
    check(1, 1_490..=1_500);
    check(2, 1_490..=1_500);
    check(3, 1_000..=1_000);
    check(9, 1_000..=1_000);
    // A reload forgets nothing.
    ledger.configure([other], at(0));
    check(2, 1_490..=1_500);
}

#[test]
fn headroom_is_the_tightest_windows_left_by_its_time() {
    let check = |books: TargetBooks, millis, expected: f64| {
        let ledger = Ledger::new();
        ledger.configure([books], at(0));
        let headroom = ledger.headroom(TARGET, ONE, at(millis));
        assert!((headroom / expected - 1.0).abs() < 0.01, "{headroom} instead of {expected}");
    };
    check(books(&[]), 0, 1_000.0);
    check(books(&[requests(Period::Minute, 30)]), 0, 30.0);
    check(books(&[requests(Period::Second, 5), requests(Period::Hour, 60)]), 0, 1.0);
    check(books(&[tokens(Period::Minute, 1_000)]), 0, 10.0);
    check(books(&[requests(Period::Second, 500)]), 0, 1_000.0);
    let daily = TargetBooks { reset: Reset::UtcDay, ..books(&[requests(Period::Day, 1_440)]) };
    check(daily.clone(), 0, 1.0);
    check(daily, 12 * 3_600_000, 2.0);
    assert!(Ledger::new().headroom(TARGET, ONE, at(0)) == 0.0);
}

#[test]
fn a_restart_keeps_everything() {
    let daily = || TargetBooks {
        reset: Reset::UtcDay,
        ..books(&[requests(Period::Minute, 5), requests(Period::Day, 50)])
    };
    let before = Ledger::new();
    before.configure([daily()], at(0));
    let noon = at(12 * 3_600_000);
    for _ in 0..3 {
        spend(&before, noon);
    }
    let _open = before.reserve(TARGET, ONE, noon).expect("fits");
    before.learn(TARGET, seen(Some(4), None, None), &AsOf::default(), noon);
    let later = refusal(Unit::Tokens, Period::Hour, Some(noon.monotonic * 2));
    before.exhausted(TARGET, later, noon);
    let saved = before.snapshot(noon);

    let after = Ledger::new();
    let start = Now { monotonic: Duration::from_millis(7), ..noon };
    after.configure([daily()], start);
    after.restore(saved.clone(), start);
    let summary = |ledger: &Ledger, now| -> Vec<_> {
        let views = ledger.view(TARGET, now);
        views.into_iter().map(|it| (it.period, it.used, it.max, it.left, it.spent)).collect()
    };
    assert_eq!(summary(&after, start), summary(&before, noon));
    let again = after.snapshot(start);
    assert_eq!(again, saved);
}

#[test]
fn eight_threads_never_take_more_than_there_is() {
    let ledger = Arc::new(Ledger::new());
    let limits = [requests(Period::Minute, 1_000), tokens(Period::Day, 90_000)];
    ledger.configure([TargetBooks { max_concurrent: Some(5), ..books(&limits) }], at(0));
    let admitted = AtomicU64::new(0);
    let open = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (ledger, admitted, open) = (&ledger, &admitted, &open);
            scope.spawn(move || {
                for turn in 0..2_000 {
                    let Ok(it) = ledger.reserve(TARGET, ONE, at(turn % 50)) else { continue };
                    assert!(open.fetch_add(1, Ordering::SeqCst) < 5);
                    it.mark_sent();
                    open.fetch_sub(1, Ordering::SeqCst);
                    if (turn + thread) % 3 == 0 {
                        it.failed(false);
                    } else {
                        admitted.fetch_add(1, Ordering::SeqCst);
                        it.settle(100);
                    }
                }
            });
        }
    });
    let admitted = admitted.into_inner();
    assert!((890..=900).contains(&admitted), "{admitted}");
    assert_eq!(used(&ledger, Unit::Requests, at(50)), admitted);
}

/// A provider that counts each request by itself, exactly.
struct Strict {
    windows: Vec<StrictWindow>,
    tokens: u64,
}

struct StrictWindow {
    limit: Limit,
    used: u64,
    log: VecDeque<(Duration, u64)>,
}

impl Strict {
    fn new(limits: &[Limit]) -> Self {
        let window = |limit: &Limit| StrictWindow { limit: *limit, used: 0, log: VecDeque::new() };
        Self { windows: limits.iter().map(window).collect(), tokens: 0 }
    }

    fn accepts(&mut self, demand: Demand, now: Now) -> bool {
        for it in &mut self.windows {
            while let Some((time, amount)) = it.log.front()
                && *time + it.limit.period.rolling() <= now.monotonic
            {
                it.used -= amount;
                it.log.pop_front();
            }
        }
        let fits = self.windows.iter().all(|it| it.used + demand.of(it.limit.unit) <= it.limit.max);
        if fits {
            self.tokens += demand.tokens;
            for it in &mut self.windows {
                it.used += demand.of(it.limit.unit);
                it.log.push_back((now.monotonic, demand.of(it.limit.unit)));
            }
        }
        fits
    }
}

#[test]
fn a_day_of_mixed_limits_yields_all_and_is_never_refused() {
    let limits = [
        requests(Period::Second, 2),
        requests(Period::Minute, 30),
        requests(Period::Hour, 900),
        tokens(Period::Minute, 6_000),
        requests(Period::Day, 14_400),
        tokens(Period::Day, 1_000_000),
    ];
    let ledger = ledger(&limits);
    let (mut provider, mut best) = (Strict::new(&limits), Strict::new(&limits));
    let mut random = 7_u64;
    let mut millis = 0;
    while millis < 86_400_000 {
        // Bursts of calls at uneven distances, more than the limits allow.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        millis += random >> 51;
        let demand = Demand { requests: 1, tokens: 20 + (random >> 40) % 150 };
        for _ in 0..3 {
            best.accepts(demand, at(millis));
            if let Ok(it) = ledger.reserve(TARGET, demand, at(millis)) {
                assert!(provider.accepts(demand, at(millis)), "refused at {millis}");
                it.settle(demand.tokens);
            }
        }
    }
    let (got, optimum) = (provider.tokens, best.tokens);
    assert!(got * 100 >= optimum * 99, "{got} of {optimum} tokens");
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Reserve(u64),
    Send(usize),
    Settle(usize, u64),
    Fail(usize, bool),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..30_000).prop_map(Step::Wait),
        8 => (0_u64..300).prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Send),
        3 => (any::<usize>(), 0_u64..500).prop_map(|(which, used)| Step::Settle(which, used)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, count)| Step::Fail(which, count)),
        2 => any::<usize>().prop_map(Step::Drop),
    ]
}

/// One charge as the oracle keeps it: when, what, and its reservation while that is open.
struct Charge {
    time: u64,
    demand: Demand,
    sent: bool,
    open: Option<Reservation>,
}

/// What was charged within the last `period`, lengthened by `late` times 1/128.
fn exact(charges: &[Charge], unit: Unit, now: u64, (period, late): (Period, u64)) -> u64 {
    // What leaves late does so by the grace and one granule of the longer window.
    let (length, grace) =
        (period.rolling().as_secs() * 1_000, if period == Period::Second { 40 } else { 250 });
    let length = length * 128 + late * (length + grace * 129);
    let recent = charges.iter().filter(|it| it.time * 128 + length > now * 128);
    recent.map(|it| it.demand.of(unit)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Random interleavings against a list of every charge: an admission never overdraws a window,
    /// and nothing is refused that a window longer by its grace and 1/128 would admit.
    #[test]
    fn admissions_are_exact(steps in prop::collection::vec(step(), 1..200)) {
        const NOTHING: Demand = Demand { requests: 0, tokens: 0 };
        let limits = [
            requests(Period::Second, 3),
            requests(Period::Minute, 8),
            tokens(Period::Minute, 1_200),
            requests(Period::Hour, 60),
        ];
        let ledger = ledger(&limits);
        let mut charges: Vec<Charge> = Vec::new();
        let mut millis = 0;
        for step in steps {
            let pick = |charges: &mut Vec<Charge>, which: usize| {
                let open: Vec<usize> =
                    (0..charges.len()).filter(|it| charges[*it].open.is_some()).collect();
                (!open.is_empty()).then(|| open[which % open.len()])
            };
            match step {
                Step::Wait(by) => millis += by,
                Step::Reserve(tokens) => {
                    let demand = Demand { requests: 1, tokens };
                    let fits = |charges: &[Charge], late| limits.iter().all(|it| {
                        let used = exact(charges, it.unit, millis, (it.period, late));
                        used + demand.of(it.unit) <= it.max
                    });
                    match ledger.reserve(TARGET, demand, at(millis)) {
                        Ok(open) => {
                            prop_assert!(fits(&charges, 0));
                            let open = Some(open);
                            charges.push(Charge { time: millis, demand, sent: false, open });
                        }
                        Err(denial) => {
                            prop_assert!(!fits(&charges, 1));
                            let free = denial.free.time().expect("windows come back");
                            prop_assert!(free > at(millis).monotonic);
                            let then = Now { monotonic: free, unix_ms: 0 };
                            prop_assert!(ledger_at_rest(&ledger, millis, then, demand));
                        }
                    }
                }
                Step::Send(which) => if let Some(it) = pick(&mut charges, which) {
                    charges[it].open.as_ref().expect("open").mark_sent();
                    charges[it].sent = true;
                },
                Step::Settle(which, used) => if let Some(it) = pick(&mut charges, which) {
                    charges[it].open.take().expect("open").settle(used);
                    charges[it].demand.tokens = used;
                },
                Step::Fail(which, count) => if let Some(it) = pick(&mut charges, which) {
                    charges[it].open.take().expect("open").failed(count);
                    let requests = u64::from(count && charges[it].sent);
                    charges[it].demand = Demand { requests, tokens: 0 };
                },
                Step::Drop(which) => if let Some(it) = pick(&mut charges, which) {
                    drop(charges[it].open.take());
                    if !charges[it].sent {
                        charges[it].demand = NOTHING;
                    }
                },
            }
        }
    }
}

/// What a provider tells in its answers while this program and another use one key, in the order in
/// which they were sent.
fn told(uses: &[bool], max: u64) -> Vec<Observation> {
    let mut left = max;
    let tell = |_: &bool| {
        left = left.saturating_sub(1);
        seen(Some(max), Some(left), None)
    };
    uses.iter().map(tell).collect()
}

proptest! {
    /// Whatever the order in which a provider's figures arrive, what is left is its last word.
    #[test]
    fn figures_out_of_order_converge(
        uses in prop::collection::vec(any::<bool>(), 1..60),
        order in prop::collection::vec(any::<usize>(), 60),
        configured in 1_u64..200,
    ) {
        const MAX: u64 = 80;
        let ledger = ledger(&[requests(Period::Minute, configured)]);
        // Those that are ours are charged here too.
        for _ in uses.iter().filter(|it| **it) {
            if let Ok(it) = ledger.reserve(TARGET, ONE, at(0)) {
                it.mark_sent();
                it.settle(0);
            }
        }
        let mut told = told(&uses, MAX);
        let last = told.last().and_then(|it| it.remaining).expect("some");
        for place in order {
            if told.is_empty() {
                break;
            }
            let it = told.swap_remove(place % told.len());
            ledger.learn(TARGET, it, &AsOf::default(), at(0));
        }
        for it in told {
            ledger.learn(TARGET, it, &AsOf::default(), at(0));
        }
        let ours = u64::try_from(uses.iter().filter(|it| **it).count()).expect("few");
        let believed = left(&ledger, at(0)).expect("a window");
        prop_assert_eq!(believed, configured.saturating_sub(ours).min(last));
    }

    /// Nobody's word, however wrong, raises a bound, panics, or closes a target for good.
    #[test]
    fn any_word_is_survived(
        words in prop::collection::vec(
            (any::<bool>(), 0_usize..5, any::<Option<u64>>(), any::<Option<u64>>(),
             any::<Option<u32>>(), any::<bool>(), 0_u64..100_000),
            1..40,
        ),
    ) {
        const PERIODS: [Period; 5] =
            [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month];
        let ledger = ledger(&[requests(Period::Minute, 30), tokens(Period::Day, 10_000)]);
        let mut millis = 0;
        for (tokens, period, limit, remaining, reset, flag, wait) in words {
            millis += wait;
            let now = at(millis);
            let unit = if tokens { Unit::Tokens } else { Unit::Requests };
            let period = PERIODS[period];
            let reset_at = reset.map(|it| Duration::from_secs(it.into()));
            let word = Observation {
                unit, period, limit, remaining, reset_at, refills_evenly: flag, account_wide: false,
            };
            ledger.learn(TARGET, word, &AsOf::default(), now);
            if flag {
                let account_wide = tokens;
                ledger.exhausted(TARGET, Refusal { unit, period, until: reset_at, account_wide }, now);
                ledger.refused(TARGET, (tokens.then_some(period), reset_at), now);
            }
            for it in ledger.view(TARGET, now) {
                let max = it.max.unwrap_or(u64::MAX);
                prop_assert!(it.configured.is_none_or(|configured| max <= configured));
                prop_assert!(it.left.is_none_or(|left| left <= max));
            }
            if let Ok(it) = ledger.reserve(TARGET, ONE, now) {
                it.mark_sent();
                it.settle(ONE.tokens);
            }
        }
        // All trust has run out after two of the longest periods and an hour.
        let much_later = at(millis).plus(Duration::from_secs(61 * 86_400));
        prop_assert_eq!(ledger.peek(TARGET, ONE, much_later), Ok(()));
    }
}

/// Would a copy of `ledger`, left alone from `millis` on, admit `demand` at `then`?
fn ledger_at_rest(ledger: &Ledger, millis: u64, then: Now, demand: Demand) -> bool {
    let copy = Ledger::new();
    copy.configure(
        [books(&[
            requests(Period::Second, 3),
            requests(Period::Minute, 8),
            tokens(Period::Minute, 1_200),
            requests(Period::Hour, 60),
        ])],
        at(0),
    );
    copy.restore(ledger.snapshot(at(millis)), at(millis));
    copy.peek(TARGET, demand, then).is_ok()
}

#[test]
fn a_crowd_is_thinned_and_grows_again() {
    let ledger = Ledger::new();
    ledger.configure([books(&[])], at(0));
    let reserve = |at| ledger.reserve(TARGET, ONE, at);
    assert!(!ledger.crowded(TARGET, at(0)), "nobody else is there");
    let first = reserve(at(0)).expect("no bound");
    let second = reserve(at(0)).expect("no bound");
    drop(reserve(at(0)).expect("no bound"));
    assert!(ledger.crowded(TARGET, at(0)));
    let denial = reserve(at(9_999)).expect_err("two were taken");
    assert_eq!((denial.bound, denial.free), (Bound::Concurrency, FreeAt::Unknown));
    drop(first);
    drop(reserve(at(9_999)).expect("one is gone"));
    let third = reserve(at(10_000)).expect("one is gone");
    let fourth = reserve(at(10_000)).expect("and one more is tried");
    reserve(at(10_000)).expect_err("but one");
    let many: Vec<_> = (0..100).map(|_| reserve(at(600_000)).expect("forgotten")).collect();
    drop((second, third, fourth, many));
}

/// What target `TARGET` has of a day after `spent` (millis, target, requests) under the books
/// `before`, when they become `after` at `edit`: by a reload, and by a restart. Told at `then`.
fn after_edit(
    (before, after): (&[TargetBooks], &[TargetBooks]),
    spent: &[(u64, u32, u64)],
    (edit, then): (u64, u64),
) -> u64 {
    let ledger = Ledger::new();
    ledger.configure(before.to_vec(), at(0));
    for (millis, target, requests) in spent {
        let demand = Demand { requests: *requests, tokens: 0 };
        ledger.reserve(TargetId(*target), demand, at(*millis)).expect("fits").settle(0);
    }
    let saved = ledger.snapshot(at(edit));
    ledger.configure(after.to_vec(), at(edit));
    let restarted = Ledger::new();
    restarted.configure(after.to_vec(), at(edit));
    restarted.restore(saved, at(edit));
    let day = |ledger: &Ledger| {
        let views = ledger.view(TARGET, at(then));
        views.iter().find(|it| it.period == Period::Day).expect("a window").used
    };
    assert_eq!(day(&ledger), day(&restarted), "a reload and a restart are alike");
    day(&ledger)
}

#[test]
fn what_was_used_goes_with_its_target_into_another_account_or_scope() {
    let book = |target, account, model, scope| TargetBooks {
        target: TargetId(target),
        account: AccountId(account),
        model: ModelId(model),
        scope,
        ..books(&[requests(Period::Day, 50)])
    };
    let alone = [book(1, 1, 1, QuotaScope::Model), book(2, 2, 1, QuotaScope::Model)];
    let group = [book(1, 3, 1, QuotaScope::Model), book(2, 3, 1, QuotaScope::Model)];
    let shared = [book(1, 1, 1, QuotaScope::Account), book(2, 1, 2, QuotaScope::Account)];
    let apart = [book(1, 1, 1, QuotaScope::Model), book(2, 1, 2, QuotaScope::Model)];
    let check = |before: &[TargetBooks], after: &[TargetBooks], expected: u64| {
        let used = after_edit((before, after), &[(5, 1, 3), (6, 2, 4)], (60_000, 60_000));
        assert_eq!(used, expected, "{before:?} {after:?}");
    };
    check(&alone, &group, 7);
    check(&group, &alone, 3);
    check(&shared, &apart, 3);
    check(&apart, &shared, 7);
    check(&alone, &shared, 7);
}

#[test]
fn changed_back_and_forth_nothing_is_counted_twice() {
    let book = |target, account| TargetBooks {
        target: TargetId(target),
        account: AccountId(account),
        ..books(&[requests(Period::Day, 50)])
    };
    let ledger = Ledger::new();
    let under_way = |ledger: &Ledger| ledger.reserve(TARGET, ONE, at(1)).expect("fits");
    for round in 0..5 {
        ledger.configure([book(1, 1), book(2, 2)], at(round));
        spend(&ledger, at(round));
        let open = under_way(&ledger);
        ledger.configure([book(1, 3), book(2, 3)], at(round));
        // It counts where its target is now, and stands.
        drop(open);
        let used = [1, 2].map(|it| ledger.view(TargetId(it), at(round))[0].used);
        assert_eq!(used, [2 * (round + 1); 2]);
    }
    ledger.configure([book(1, 1), book(2, 2)], at(9));
    assert_eq!([1, 2].map(|it| ledger.view(TargetId(it), at(9))[0].used), [10, 0]);
}

#[test]
fn what_a_provider_has_said_goes_along_too() {
    let book = |account| TargetBooks { account: AccountId(account), ..books(&[]) };
    let ledger = Ledger::new();
    ledger.configure([book(1)], at(0));
    let minute = refusal(Unit::Requests, Period::Minute, Some(Duration::from_secs(40)));
    ledger.exhausted(TARGET, minute, at(0));
    let day = Observation { period: Period::Day, ..seen(Some(70), Some(60), None) };
    ledger.learn(TARGET, day, &AsOf::default(), at(0));
    ledger.configure([book(2)], at(1_000));
    assert!(ledger.peek(TARGET, ONE, at(39_999)).is_err());
    let views = ledger.view(TARGET, at(40_000));
    let day = views.iter().find(|it| it.period == Period::Day).expect("a window");
    assert_eq!((day.learned, day.used), (Some(70), 10));
}

#[test]
fn another_way_to_reset_frees_nothing_too_early() {
    const HOUR: u64 = 3_600_000;
    let book = |reset| TargetBooks { reset, ..books(&[requests(Period::Day, 50)]) };
    // Three on Monday at six, four at seven in the evening, one on Tuesday at half past midnight.
    let spent = [(6 * HOUR, 1, 3), (19 * HOUR, 1, 4), (24 * HOUR + HOUR / 2, 1, 1)];
    let edit = 25 * HOUR;
    let check = |before, after, hours: u64, expected: u64| {
        let books = (&[book(before)][..], &[book(after)][..]);
        let used = after_edit(books, &spent, (edit, hours * HOUR));
        assert_eq!(used, expected, "{before:?} {after:?} after {hours} h");
    };
    // Each unit may have been used as late as its day allows.
    check(Reset::UtcDay, Reset::Rolling, 25, 8);
    check(Reset::UtcDay, Reset::Rolling, 47, 8);
    check(Reset::UtcDay, Reset::Rolling, 49, 1);
    check(Reset::UtcDay, Reset::Rolling, 50, 0);
    // When each was used is known.
    check(Reset::Rolling, Reset::UtcDay, 25, 1);
    check(Reset::Rolling, Reset::PacificDay, 25, 5);
    check(Reset::UtcDay, Reset::PacificDay, 25, 8);
    check(Reset::UtcDay, Reset::PacificDay, 32, 0);
    check(Reset::PacificDay, Reset::UtcDay, 25, 5);
    check(Reset::UtcDay, Reset::UtcDay, 25, 1);
}
