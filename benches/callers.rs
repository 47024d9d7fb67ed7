//! What a virtual key costs a request, at 10,000 keys: finding it, taking a request from its day, settling
//! that, and counting its user. The goal: under 5 µs together.
//!
//! `cargo bench --bench callers`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use relayfreellm::callers::identifiers::{Bucket, Identifiers, Params, User};
use relayfreellm::callers::{Callers, Standing, Tab, Terms};
use relayfreellm::clock::Now;
use relayfreellm::usage::Spent;

const KEYS: u64 = 10_000;
const SPENT: Spent = Spent { prompt: 400, completion: 300, estimated: false };

fn now(turn: u64) -> Now {
    let start = Now { monotonic: Duration::from_secs(5), unix_ms: 1_780_000_000_000 };
    start.plus(Duration::from_millis(turn / 100))
}

/// All keys, with both caps and an end.
#[expect(clippy::expect_used, reason = "a benchmark may stop")]
fn registry() -> (Callers, Vec<String>) {
    let callers = Callers::new();
    let issue = |number: u64| {
        let mut random = [0; 20];
        random[..8].copy_from_slice(&number.to_le_bytes());
        let terms = Terms {
            label: format!("app {number}").into(),
            daily_requests: Some(1 << 50),
            daily_tokens: Some(1 << 50),
            models: None,
            expires_unix_ms: Some(u64::MAX),
            no_training: false,
        };
        callers.issue(terms, random, now(0)).expect("room").0
    };
    let secrets = (0..KEYS).map(issue).collect();
    (callers, secrets)
}

#[expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark may stop")]
fn checks(bench: &mut Criterion) {
    let (callers, secrets) = registry();
    let params = Params { max: 1 << 40, window: Duration::from_secs(60), max_buckets: 10_000 };
    let identifiers = Identifiers::new(params);
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        // Another key each time, far from the last.
        (turn, usize::try_from(turn * 7_919 % KEYS).expect("small"))
    };
    bench.bench_function("find", |bench| {
        bench.iter(|| {
            let key = callers.find(black_box(secrets[next().1].as_bytes())).expect("it is there");
            key.standing(now(0)) == Standing::Good
        });
    });
    bench.bench_function("find, admit and settle", |bench| {
        bench.iter(|| {
            let (turn, at) = next();
            let key = callers.find(black_box(secrets[at].as_bytes())).expect("it is there");
            assert_eq!(key.standing(now(turn)), Standing::Good);
            let tab = Tab::open(&key, (400, 1_424), now(turn)).expect("room");
            tab.record(SPENT);
        });
    });
    bench.bench_function("count a user", |bench| {
        bench.iter(|| {
            let (turn, at) = next();
            let bucket = Bucket { key: None, user: User::Named(format!("user-{at}")) };
            assert!(identifiers.take(bucket, now(turn)).passes);
        });
    });
    bench.bench_function("turn a wrong key away", |bench| {
        let wrong = b"sk-relay-00000000000000000000000000000000000000ff";
        bench.iter(|| callers.find(black_box(wrong)).is_none());
    });
}

criterion_group! {
    name = callers;
    config = Criterion::default().without_plots().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = checks
}
criterion_main!(callers);
