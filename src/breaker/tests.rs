use super::*;

const PATH: Path =
    Path { provider: ProviderId(1), key: KeyId(2), model: ModelId(3), target: TargetId(4) };
const TARGET: Scope = Scope::Target(PATH.target);

fn at(millis: u64) -> Now {
    Now { monotonic: Duration::ZERO, unix_ms: 1_000_000 }.plus(Duration::from_millis(millis))
}

fn breakers() -> Arc<Breakers> {
    Arc::new(Breakers::new())
}

fn report(breakers: &Arc<Breakers>, outcome: Outcome, millis: u64) {
    breakers.enter(&PATH, at(millis)).expect("passes").report(outcome, at(millis));
}

fn report_all(breakers: &Arc<Breakers>, outcomes: &[Outcome], millis: u64) {
    for outcome in outcomes {
        report(breakers, *outcome, millis);
    }
}

/// Who blocks `PATH`, and for how many milliseconds.
fn blocked_for(breakers: &Breakers, path: &Path, millis: u64) -> Option<(Scope, u128)> {
    let blocked = breakers.check(path, at(millis)).err()?;
    let wait = breakers.cooldown(path, at(millis))?;
    assert_eq!(at(millis).monotonic + wait, blocked.until);
    Some((blocked.scope, wait.as_millis()))
}

fn cells(breakers: &Breakers) -> usize {
    breakers.shards.iter().map(|it| it.lock().len()).sum()
}

#[test]
fn each_outcome_opens_its_own_scope() {
    let check = |outcomes: &[Outcome], expected: Option<(Scope, u128)>| {
        let breakers = breakers();
        report_all(&breakers, outcomes, 0);
        assert_eq!(blocked_for(&breakers, &PATH, 0), expected, "{outcomes:?}");
    };
    let throttled = Outcome::Throttled { until: Duration::from_secs(7) };
    let (fault, slow, gone) = (Outcome::Fault, Outcome::Slow, Outcome::ModelGone);
    let connect = Outcome::ConnectFault;
    check(&[Outcome::Success, Outcome::Neutral], None);
    check(&[Outcome::Neutral; 20], None);
    check(&[throttled], Some((TARGET, 7_000)));
    check(&[Outcome::ThrottledUntold], Some((TARGET, 2_000)));
    check(&[Outcome::AccountThrottledUntold], Some((Scope::Key(PATH.key), 2_000)));
    check(&[Outcome::KeyRejected], Some((Scope::Key(PATH.key), 300_000)));
    check(&[gone], Some((Scope::Model(PATH.model), 3_600_000)));
    check(&[fault, fault], None);
    check(&[fault, fault, fault], Some((TARGET, 10_000)));
    check(&[fault, Outcome::Neutral, fault, connect, fault], Some((TARGET, 10_000)));
    check(&[fault, fault, Outcome::Success, fault, fault], None);
    check(&[slow; 5], None);
    check(&[slow; 6], Some((TARGET, 10_000)));
    check(&[fault, slow, fault, slow], Some((TARGET, 10_000)));
    check(&[connect], None);
    check(&[connect, connect], Some((Scope::Provider(PATH.provider), 5_000)));
    check(&[connect, fault, connect], None);
}

#[test]
fn trouble_of_one_model_does_not_touch_its_siblings() {
    let breakers = breakers();
    let sibling = Path { model: ModelId(30), target: TargetId(40), ..PATH };
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    assert_eq!(blocked_for(&breakers, &sibling, 0), None);
    let same_key = Path { model: ModelId(31), target: TargetId(41), ..PATH };
    breakers.enter(&sibling, at(0)).expect("passes").report(Outcome::KeyRejected, at(0));
    assert!(blocked_for(&breakers, &same_key, 0).is_some());
    // Of several the latest counts.
    assert_eq!(blocked_for(&breakers, &PATH, 0), Some((Scope::Key(PATH.key), 300_000)));
    let other_provider = Path { provider: ProviderId(17), ..PATH };
    let other_provider =
        Path { key: KeyId(18), model: ModelId(19), target: TargetId(20), ..other_provider };
    assert_eq!(blocked_for(&breakers, &other_provider, 0), None);
}

#[test]
fn connections_closed_by_several_keys_in_a_row_are_the_providers_affair() {
    let silent = Outcome::Unanswered;
    let check = |calls: &[(u32, Outcome)], expected: Option<Scope>| {
        let breakers = breakers();
        for (key, outcome) in calls {
            let path = Path { key: KeyId(*key), target: TargetId(*key), ..PATH };
            breakers.enter(&path, at(0)).expect("passes").report(*outcome, at(0));
        }
        let other = Path { key: KeyId(99), target: TargetId(99), ..PATH };
        assert_eq!(blocked_for(&breakers, &other, 0).map(|it| it.0), expected, "{calls:?}");
    };
    let provider = Some(Scope::Provider(PATH.provider));
    check(&[(1, silent), (2, silent)], None);
    check(&[(1, silent), (2, silent), (3, silent)], provider);
    check(&[(1, silent), (2, silent), (1, silent)], provider);
    check(&[(1, silent), (1, silent), (1, silent)], None);
    check(&[(1, silent), (2, silent), (4, Outcome::Fault), (3, silent)], None);
    check(&[(1, silent), (2, Outcome::ConnectFault)], provider);
    let alone = breakers();
    report_all(&alone, &[silent; 3], 0);
    assert_eq!(blocked_for(&alone, &PATH, 0), Some((TARGET, 10_000)));
}

#[test]
fn half_open_lets_one_probe_pass() {
    let breakers = breakers();
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    let state = |millis| breakers.state(TARGET, at(millis)).state;
    assert_eq!(breakers.check(&PATH, at(9_999)).expect_err("open").state, State::Open);
    assert_eq!((state(9_999), state(10_000)), (State::Open, State::HalfOpen));
    let probe = breakers.enter(&PATH, at(10_000)).expect("the probe");
    assert!(probe.is_probe());
    let blocked = breakers.enter(&PATH, at(10_000)).expect_err("one is under way");
    assert_eq!((blocked.state, blocked.reason), (State::HalfOpen, Reason::Faults));
    drop(probe);
    assert_eq!(state(10_000), State::HalfOpen);
    let probe = breakers.enter(&PATH, at(10_000)).expect("its place is free again");
    probe.report(Outcome::Neutral, at(10_000));
    report(&breakers, Outcome::Slow, 10_000);
    assert_eq!(state(10_000), State::HalfOpen);
    report(&breakers, Outcome::Success, 10_000);
    assert_eq!(state(10_000), State::Closed);
    assert!(!breakers.enter(&PATH, at(10_000)).expect("passes").is_probe());
}

#[test]
fn cooldowns_grow_to_a_bound_and_heal() {
    let check = |outcomes: &[Outcome], seconds: &[u128]| {
        let breakers = breakers();
        let mut millis = 0;
        report_all(&breakers, outcomes, millis);
        for expected in seconds {
            let (_, wait) = blocked_for(&breakers, &PATH, millis).expect("open");
            assert_eq!(wait, expected * 1_000, "{outcomes:?}");
            millis += u64::try_from(wait).expect("short");
            report(&breakers, outcomes[0], millis);
        }
    };
    check(&[Outcome::Fault; 3], &[10, 20, 40, 80, 160, 300, 300]);
    check(&[Outcome::ConnectFault; 2], &[5, 10, 20, 40, 80, 120, 120]);
    let key = [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 21_600, 21_600];
    check(&[Outcome::KeyRejected], &key);
    check(&[Outcome::ModelGone], &[3_600, 3_600]);

    let breakers = breakers();
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    report(&breakers, Outcome::Fault, 10_000);
    report(&breakers, Outcome::Success, 30_000);
    report_all(&breakers, &[Outcome::Fault; 3], 30_000);
    assert_eq!(blocked_for(&breakers, &PATH, 30_000), Some((TARGET, 40_000)));
    report_all(&breakers, &[Outcome::Success; 4], 70_000);
    assert_eq!(breakers.state(TARGET, at(70_000)), Status::default());
    assert_eq!(cells(&breakers), 0);
}

#[test]
fn old_trouble_is_forgiven_after_a_quiet_time() {
    let breakers = breakers();
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    report(&breakers, Outcome::Fault, 10_000);
    report(&breakers, Outcome::Success, 30_000);
    let later = 30_000 + 3_600_001;
    report_all(&breakers, &[Outcome::Fault; 3], later);
    assert_eq!(blocked_for(&breakers, &PATH, later), Some((TARGET, 10_000)));
}

#[test]
fn calls_from_before_the_trouble_have_no_say() {
    let breakers = breakers();
    let enter = || breakers.enter(&PATH, at(0)).expect("passes");
    let throttle = |secs| Outcome::Throttled { until: Duration::from_secs(secs) };
    let old: Vec<Pass> = (0..5).map(|_| enter()).collect();
    report(&breakers, throttle(20), 0);
    let mut old = old.into_iter();
    let mut next = || old.next().expect("five");
    next().report(Outcome::Success, at(1_000));
    next().report(Outcome::Fault, at(1_000));
    next().report(throttle(10), at(1_000));
    assert_eq!(blocked_for(&breakers, &PATH, 1_000), Some((TARGET, 19_000)));
    let probe = breakers.enter(&PATH, at(20_000)).expect("the probe");
    next().report(Outcome::Success, at(20_000));
    assert_eq!(breakers.state(TARGET, at(20_000)).state, State::HalfOpen);
    // A longer throttle found while the probe was under way outlives its success.
    next().report(throttle(60), at(21_000));
    probe.report(Outcome::Success, at(22_000));
    assert_eq!(blocked_for(&breakers, &PATH, 22_000), Some((TARGET, 38_000)));
}

#[test]
fn many_refusals_of_one_key_at_once_count_as_one() {
    let breakers = breakers();
    let passes: Vec<Pass> = (0..50).map(|_| breakers.enter(&PATH, at(0)).expect("ok")).collect();
    for pass in passes {
        pass.report(Outcome::KeyRejected, at(5));
    }
    assert_eq!(blocked_for(&breakers, &PATH, 5), Some((Scope::Key(PATH.key), 300_000)));
}

#[test]
fn a_throttle_leaves_no_trace_once_it_is_over() {
    let breakers = breakers();
    report(&breakers, Outcome::Throttled { until: Duration::MAX }, 0);
    let month = 31 * 86_400_000;
    assert_eq!(blocked_for(&breakers, &PATH, 0), Some((TARGET, u128::from(month))));
    report(&breakers, Outcome::Success, month);
    assert_eq!(cells(&breakers), 0);
}

#[test]
fn only_one_of_many_threads_gets_the_probe() {
    let breakers = breakers();
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    let barrier = std::sync::Barrier::new(8);
    let passes: Vec<_> = std::thread::scope(|scope| {
        let enter = || {
            barrier.wait();
            breakers.enter(&PATH, at(10_000)).ok()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(enter)).collect();
        threads.into_iter().filter_map(|it| it.join().expect("no panic")).collect()
    });
    assert_eq!(passes.len(), 1);
}

#[test]
fn a_restart_keeps_what_is_open() {
    let before = breakers();
    report_all(&before, &[Outcome::Fault; 3], 0);
    report(&before, Outcome::Fault, 10_000);
    let saved = before.snapshot(at(15_000));
    assert_eq!(saved.len(), 1);

    let check = |unix_ms, expected: Option<u128>| {
        let after = breakers();
        after.restore(saved.clone(), Now { monotonic: Duration::ZERO, unix_ms });
        let blocked = blocked_for(&after, &PATH, 0);
        assert_eq!(blocked.map(|it| it.1), expected);
        after
    };
    check(at(20_000).unix_ms, Some(10_000));
    check(0, Some(300_000));
    let after = check(at(30_000).unix_ms, None);
    assert_eq!(after.state(TARGET, at(0)).state, State::HalfOpen);
    report(&after, Outcome::Fault, 0);
    assert_eq!(blocked_for(&after, &PATH, 0), Some((TARGET, 40_000)));
}

#[test]
fn a_probe_before_its_time_passes_what_faults_have_opened_and_nothing_else() {
    let check = |outcomes: &[Outcome], expected: Option<Reason>| {
        let breakers = breakers();
        report_all(&breakers, outcomes, 0);
        assert!(breakers.check(&PATH, at(1)).is_err(), "{outcomes:?}");
        let refused = breakers.check_early(&PATH, at(1)).err().map(|it| it.reason);
        assert_eq!(refused, expected, "{outcomes:?}");
        assert_eq!(breakers.enter_early(&PATH, at(1)).is_ok(), expected.is_none());
    };
    let until = Duration::from_secs(7);
    check(&[Outcome::Fault; 3], None);
    check(&[Outcome::Slow; 6], None);
    check(&[Outcome::ConnectFault; 2], None);
    check(&[Outcome::Throttled { until }], Some(Reason::Throttled));
    check(&[Outcome::Overloaded { until }], Some(Reason::Overloaded));
    check(&[Outcome::KeyRejected], Some(Reason::KeyRejected));
    check(&[Outcome::ModelGone], Some(Reason::ModelGone));
    let breakers = breakers();
    let sibling = Path { model: ModelId(30), target: TargetId(40), ..PATH };
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    breakers.enter(&sibling, at(0)).expect("passes").report(Outcome::KeyRejected, at(0));
    let refused = breakers.check_early(&PATH, at(1)).expect_err("its key is out as well");
    assert_eq!(refused.reason, Reason::KeyRejected);
}

#[test]
fn one_probe_before_its_time_passes_at_once() {
    let breakers = breakers();
    report_all(&breakers, &[Outcome::Fault; 3], 0);
    let probe = breakers.enter_early(&PATH, at(1_000)).expect("passes");
    assert!(probe.is_probe());
    let blocked = breakers.enter_early(&PATH, at(1_000)).expect_err("one at a time");
    assert!(blocked.probed);
    drop(probe);
    // It failed: shut for as long again, and no longer, for it had no time to heal.
    breakers.enter_early(&PATH, at(2_000)).expect("passes").report(Outcome::Fault, at(2_000));
    assert_eq!(blocked_for(&breakers, &PATH, 2_000), Some((TARGET, 10_000)));
    breakers.enter_early(&PATH, at(3_000)).expect("passes").report(Outcome::Success, at(3_000));
    assert_eq!(blocked_for(&breakers, &PATH, 3_000), None);
    // After its time a failed probe doubles it.
    report_all(&breakers, &[Outcome::Fault; 3], 4_000);
    assert_eq!(blocked_for(&breakers, &PATH, 4_000), Some((TARGET, 20_000)));
}
