//! Waiting for quota: in a fair line, woken one by one, and never past the time for it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Gateway, SOON, Upstream, ask};

const SECOND: Duration = Duration::from_secs(1);

/// One that allows so many requests a second.
fn paced(per_second: u64) -> Upstream {
    Upstream::plain("Paced").limits(json!({"requests_per_second": per_second}))
}

#[tokio::test]
async fn a_thousand_waiters_of_unequal_appetite_are_served_alike() {
    let wait = 3;
    let gateway = Gateway::with([paced(40)])
        .settings(json!({"routing": {"max_quota_wait_seconds": wait}}))
        .start()
        .await;
    // What is there at once goes to whom comes first; the rest is waited for.
    let body = ask("m");
    join_all((0..40).map(|_| gateway.chat(&body))).await;
    let appetites = [20, 40, 60, 80, 100, 100, 120, 140, 160, 180];
    // Each caller's requests come evenly among the others': in a line without turns the greediest
    // would have nine times as much as the most modest, an index of 0.81.
    let all = (0..180).flat_map(|round| (0..10).map(move |caller| (round, caller)));
    let asks = |&(round, caller): &(usize, usize)| {
        let share = |round| round * appetites[caller] / 180;
        share(round + 1) > share(round)
    };
    let gateway = &gateway;
    let calls = all.filter(asks).map(|(_, caller)| async move {
        let (began, caller) = (Instant::now(), caller.to_string());
        let answer = gateway.chat_with(&ask("m"), &[("authorization", &*caller)]).await;
        (caller, answer, began.elapsed())
    });
    let mut served: BTreeMap<String, f64> = BTreeMap::new();
    for (caller, answer, after) in join_all(calls).await {
        // A thousand sockets of one thread take a while by themselves.
        assert!(after < Duration::from_secs(wait + 5), "past its time: {after:?}");
        match answer.status {
            200 => *served.entry(caller).or_default() += 1.0,
            429 => assert!(!answer.header("retry-after").is_empty(), "{}", answer.text()),
            other => panic!("HTTP {other}: {}", answer.text()),
        }
    }
    let total: f64 = served.values().sum();
    let squares: f64 = served.values().map(|it| it * it).sum();
    let index = total * total / (10.0 * squares);
    assert!(index > 0.95, "fairness index {index}: {served:?}");
    assert!(total >= 120.0, "all that is to be had in three seconds: {total}");
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
