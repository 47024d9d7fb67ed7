//! Waiting for quota: in a fair line, woken one by one, and never past the time for it.

use std::io::Write as _;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::config;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Gateway, SOON, Upstream, ask};

const SECOND: Duration = Duration::from_secs(1);
/// Seconds that are waited for quota where many compete for it.
const WAIT: u64 = 3;

/// One that allows so many requests a second.
fn paced(per_second: u64) -> Upstream {
    Upstream::plain("Paced").limits(json!({"requests_per_second": per_second}))
}

/// Over sockets, and so in real time, which a busy machine stretches: that nobody waits for too long, and
/// how much a thousand of them get, is shown in virtual time beside the queue. `WAITERS=1000` makes as
/// many of it and tells the figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_unequal_appetite_are_served_alike() {
    let set = config::process_environment("WAITERS");
    let waiters: usize = set.as_ref().map_or(200, |it| it.parse().expect("a number"));
    let per_second = u32::try_from(waiters / 25).expect("a small number");
    let gateway = Gateway::with([paced(per_second.into())])
        .settings(json!({"routing": {"max_quota_wait_seconds": WAIT}}))
        .start()
        .await;
    // What is there at once goes to whom comes first; the rest is waited for.
    let body = ask("m");
    join_all((0..per_second).map(|_| gateway.chat(&body))).await;
    let shares = [20, 40, 60, 80, 100, 100, 120, 140, 160, 180];
    // Each caller's requests come evenly among the others': in a line without turns the greediest
    // would have nine times as much as the most modest, an index of 0.81.
    let all = (0..180).flat_map(|round| (0..10).map(move |caller| (round, caller)));
    let asks = |&(round, caller): &(usize, usize)| {
        let share = |round| round * shares[caller] * waiters / 180_000;
        share(round + 1) > share(round)
    };
    let gateway = &gateway;
    let calls = all.filter(asks).map(|(_, caller)| async move {
        let (began, name) = (Instant::now(), caller.to_string());
        let answer = gateway.chat_with(&ask("m"), &[("authorization", &*name)]).await;
        (caller, answer, began.elapsed())
    });
    let (mut served, mut latest) = ([0.0_f64; 10], Duration::ZERO);
    for (caller, answer, after) in join_all(calls).await {
        latest = latest.max(after);
        match answer.status {
            200 => served[caller] += 1.0,
            429 => assert!(!answer.header("retry-after").is_empty(), "{}", answer.text()),
            other => panic!("HTTP {other}: {}", answer.text()),
        }
    }
    let total: f64 = served.iter().sum();
    let squares: f64 = served.iter().map(|it| it * it).sum();
    let index = total * total / (10.0 * squares);
    if set.is_some() {
        let figures =
            format!("{served:?} of {waiters}, index {index:.4}, the last after {latest:?}");
        writeln!(std::io::stdout(), "{figures}").expect("an open output");
    }
    assert!(index > 0.95, "fairness index {index}: {served:?}");
    assert!(total > f64::from(per_second), "some have waited and been served: {served:?}");
}

#[tokio::test]
async fn who_hangs_up_leaves_the_line_at_once() {
    let gateway = Gateway::with([paced(1)])
        .settings(json!({"routing": {"max_quota_wait_seconds": 5}}))
        .start()
        .await;
    gateway.chat(&ask("m")).await.expect(200);
    // Ten that would take ten seconds together give up; one who stays is next.
    let body = ask("m");
    let impatient = join_all((0..10).map(|_| gateway.chat(&body)));
    assert!(tokio::time::timeout(Duration::from_millis(300), impatient).await.is_err());
    let began = Instant::now();
    gateway.chat(&ask("m")).await.expect(200);
    assert!(began.elapsed() < SECOND + SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_comes_later_does_not_overtake() {
    let gateway = Gateway::with([paced(1)])
        .settings(json!({"routing": {"max_quota_wait_seconds": 8}}))
        .start()
        .await;
    gateway.chat(&ask("m")).await.expect(200);
    let gateway = &gateway;
    let calls = (0..4_u64).map(|place| async move {
        tokio::time::sleep(Duration::from_millis(50 * place)).await;
        gateway.chat(&ask("m")).await.expect(200);
        (Instant::now(), place)
    });
    let mut ends = join_all(calls).await;
    ends.sort();
    let order: Vec<u64> = ends.into_iter().map(|(_, place)| place).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_call_that_ends_lets_the_next_one_in_at_once() {
    let narrow = Upstream::plain("Narrow").entry(json!({"max_concurrent": 1}));
    let narrow = narrow.simulated(|it| it.pace.first_token = Duration::from_millis(100));
    let gateway = Gateway::with([narrow]).start().await;
    let (began, body) = (Instant::now(), ask("m"));
    for answer in join_all((0..5).map(|_| gateway.chat(&body))).await {
        answer.expect(200);
    }
    let took = began.elapsed();
    assert!((500..800).contains(&took.as_millis()), "one after the other, no pause: {took:?}");
}
