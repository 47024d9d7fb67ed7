//! Taking a call's quota and settling it. The goals: under 1 µs on one thread, and two threads on
//! one target lose less than half of what they do alone.
//!
//! `cargo bench --bench quota`

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use relayfreellm::catalog::{AccountId, Limit, ModelId, Period, QuotaScope, Reset, TargetId, Unit};
use relayfreellm::clock::Now;
use relayfreellm::quota::{Demand, Ledger, TargetBooks};

const DEMAND: Demand = Demand { requests: 1, tokens: 1_000 };

/// Calls in one turn of a thread: enough to forget what starting it costs.
const TURN: u64 = 10_000;

/// Two targets of accounts of their own, each with the windows that Groq's models have.
fn ledger() -> Ledger {
    let limit = |unit, period| Limit { unit, period, max: 1 << 50 };
    let books = [1, 2].map(|id| TargetBooks {
        target: TargetId(id),
        account: AccountId(id),
        model: ModelId(id),
        limits: vec![
            limit(Unit::Requests, Period::Second),
            limit(Unit::Requests, Period::Minute),
            limit(Unit::Requests, Period::Hour),
            limit(Unit::Requests, Period::Day),
            limit(Unit::Tokens, Period::Minute),
            limit(Unit::Tokens, Period::Hour),
            limit(Unit::Tokens, Period::Day),
        ],
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        max_concurrent: Some(1 << 20),
    });
    let ledger = Ledger::new();
    ledger.configure(books, Now::default());
    ledger
}

/// 10 ms of the provider's life pass from call to call.
#[expect(clippy::expect_used, reason = "a benchmark may stop")]
fn call(ledger: &Ledger, target: u32, turn: u64) {
    let now = Now::default().plus(Duration::from_millis(turn * 10));
    let reservation = ledger.reserve(TargetId(target), DEMAND, now).expect("room");
    reservation.mark_sent();
    reservation.settle(black_box(900));
}

/// How long `calls` calls take on each of two threads at once.
fn together(ledger: &Ledger, targets: [u32; 2], calls: u64) -> Duration {
    let ready = Barrier::new(2);
    let times = std::thread::scope(|scope| {
        let start = |target| {
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                #[expect(clippy::disallowed_methods, reason = "it measures")]
                let begun = Instant::now();
                (0..calls).for_each(|turn| call(ledger, target, turn));
                begun.elapsed()
            })
        };
        let threads = targets.map(start);
        threads.map(|it| it.join().unwrap_or_default())
    });
    times.into_iter().max().unwrap_or_default()
}

fn reserve_and_settle(c: &mut Criterion) {
    let ledger = ledger();
    let mut turn = 0;
    c.bench_function("reserve + settle, 7 windows, one thread", |b| {
        b.iter(|| {
            turn += 1;
            call(&ledger, 1, turn);
        });
    });
    // Calls one after another on each of two threads: the time of one call.
    for (name, targets) in
        [("two threads, a target each", [1, 2]), ("two threads, one target", [1, 1])]
    {
        c.bench_function(&format!("reserve + settle, 7 windows, {name}"), |b| {
            b.iter_custom(|iterations| {
                let calls = iterations.max(TURN);
                let took = together(&ledger, targets, calls);
                // Scaled to what was asked for.
                took.mul_f64(ratio(iterations, calls))
            });
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few million")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

criterion_group!(benches, reserve_and_settle);
criterion_main!(benches);
