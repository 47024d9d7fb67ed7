//! Who gets how much: turns, draws, speed and sessions, counted over many requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Flavour, Pace};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Upstream, ask};

/// `<provider>/<model>` that answered.
fn target(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    format!("{}/{}", answer.header("x-relay-provider"), answer.header("x-relay-model"))
}

/// Who answers so many of these requests, one after another, and how often.
async fn tally(gateway: &Gateway, body: &Value, count: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..count {
        *tally.entry(target(&gateway.chat(body).await)).or_default() += 1;
    }
    tally
}

/// Draws come from the generator of the thread, and a test has a thread of its own: with a seed
/// they are the same every time.
fn seed() {
    fastrand::seed(20_261_121);
}

/// Checks that of `count` draws each got its share, within `sigmas` standard deviations.
fn check_shares(tally: &BTreeMap<String, usize>, shares: &[(&str, f64)], sigmas: f64) {
    let count: usize = tally.values().sum();
    let all: f64 = shares.iter().map(|(_, it)| it).sum();
    assert_eq!(tally.len(), shares.len(), "{tally:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    for (name, share) in shares {
        let (n, p) = (count as f64, share / all);
        let (mean, sigma) = (n * p, (n * p * (1.0 - p)).sqrt());
        let off = (tally[*name] as f64 - mean).abs();
        assert!(off <= sigmas * sigma, "{name}: {mean:.0} ± {sigma:.1} expected: {tally:?}");
    }
}

fn strategies(strategy: &str) -> Value {
    json!({"routing": {"provider_strategy": strategy, "model_strategy": strategy}})
}

#[tokio::test]
async fn weighted_draws_follow_the_given_weights() {
    seed();
    let weighing = |name: &str, weights: &[(&str, f64)]| {
        weights.iter().fold(Upstream::new(name, Flavour::OpenAi), |it, (model, weight)| {
            it.model_with(model, json!({"weight": weight}))
        })
    };
    let alpha = weighing("A", &[("m", 1.0), ("n", 2.0)]);
    let beta = weighing("B", &[("m", 6.5), ("n", 0.5)]);
    for strategy in ["weighted", "weight"] {
        let upstreams = [weighing("A", &[("m", 1.0)]), weighing("B", &[("m", 3.0)])];
        let gateway = Gateway::with(upstreams).settings(strategies(strategy)).start().await;
        let tally = tally(&gateway, &ask("m"), 400).await;
        check_shares(&tally, &[("A/m", 1.0), ("B/m", 3.0)], 3.0);
    }
    let gateway = Gateway::with([alpha, beta]).settings(strategies("weighted")).start().await;
    let tally = tally(&gateway, &ask("auto"), 1_000).await;
    check_shares(&tally, &[("A/m", 1.0), ("A/n", 2.0), ("B/m", 6.5), ("B/n", 0.5)], 3.0);
}

#[tokio::test]
async fn weighted_draws_follow_the_quota_that_is_left() {
    seed();
    let limited = |name, limits| Upstream::plain(name).limits(limits);
    let upstreams = [
        limited("A", json!({"requests_per_hour": 48_000})),
        // More at first glance, but less for each minute.
        limited("B", json!({"requests_per_minute": 900, "requests_per_day": 288_000})),
        // No limit counts as 1,000 a minute.
        limited("C", json!({})),
    ];
    let gateway = Gateway::with(upstreams).settings(strategies("weighted")).start().await;
    let tally = tally(&gateway, &ask("m"), 600).await;
    check_shares(&tally, &[("A/m", 800.0), ("B/m", 200.0), ("C/m", 1_000.0)], 3.0);
}

#[tokio::test]
async fn a_spent_target_is_never_drawn() {
    seed();
    let alpha = Upstream::new("A", Flavour::OpenAi)
        .model_with("m", json!({"weight": 1_000}))
        .limits(json!({"requests_per_hour": 5}));
    let gateway = Gateway::with([alpha, Upstream::plain("B")]).settings(strategies("weighted"));
    let gateway = gateway.start().await;
    let tally = tally(&gateway, &ask("m"), 50).await;
    assert_eq!(tally, BTreeMap::from([("A/m".to_owned(), 5), ("B/m".to_owned(), 45)]));
    assert_eq!(gateway.reached("a"), 5);
}

#[tokio::test]
async fn random_draws_are_even() {
    seed();
    let upstreams = ["A", "B", "C"].map(|it| Upstream::plain(it).model("n"));
    let gateway = Gateway::with(upstreams).settings(strategies("random")).start().await;
    let tally = tally(&gateway, &ask("auto"), 600).await;
    let even = ["A/m", "A/n", "B/m", "B/n", "C/m", "C/n"].map(|it| (it, 1.0));
    check_shares(&tally, &even, 3.0);
}

#[tokio::test]
async fn turns_stay_fair_when_some_answers_take_longer() {
    let upstreams = ["A", "B", "C"].map(Upstream::plain);
    let gateway = Gateway::with(upstreams).start().await;
    let slow = Pace { first_token: Duration::from_millis(100), per_chunk: Duration::ZERO };
    gateway.upstream("b").set_pace(slow);
    let body = ask("auto");
    for _ in 0..4 {
        let answers = join_all((0..30).map(|_| gateway.chat(&body))).await;
        assert!(answers.iter().all(|it| it.status == 200));
    }
    for name in ["a", "b", "c"] {
        assert_eq!(gateway.reached(name), 40, "{name}");
    }
}

#[tokio::test]
async fn free_smart_prefers_large_models_and_then_long_contexts() {
    let one = |name, model, scale, context| {
        let facts = json!({"scale": scale, "max_context_length": context});
        Upstream::new(name, Flavour::OpenAi).model_with(model, facts)
    };
    let gateway = Gateway::with([
        one("A", "small", "small", 1_000_000),
        one("B", "medium", "medium", 1_000_000),
        one("C", "large", "large", 30_000),
        one("D", "larger", "large", 60_000),
    ]);
    let gateway = gateway.settings(json!({"routing": {"max_quota_wait_seconds": 0}})).start().await;
    for expected in ["D/larger", "C/large", "B/medium", "A/small"] {
        let tally = tally(&gateway, &ask("free-smart"), 5).await;
        assert_eq!(tally, BTreeMap::from([(expected.to_owned(), 5)]));
        let rest = Fault::RateLimited { retry_after: Some(Duration::from_secs(60)) };
        gateway.upstream(&expected[..1]).set_fault(Some(rest));
    }
    gateway.chat(&ask("free-smart")).await.expect(429);
}

#[tokio::test]
async fn free_fast_tries_everyone_once_and_then_the_fastest() {
    let upstreams = ["A", "B", "C", "D"].map(Upstream::plain);
    let gateway = Gateway::with(upstreams).start().await;
    let pace = |ms| Pace { first_token: Duration::from_millis(ms), per_chunk: Duration::ZERO };
    for (name, ms) in [("a", 150), ("b", 80), ("c", 0), ("d", 150)] {
        gateway.upstream(name).set_pace(pace(ms));
    }
    let mut explored = BTreeSet::new();
    for stream in [false, true, false, true] {
        let provider = if stream {
            gateway.stream(&ask("free-fast")).await.header("x-relay-provider").to_owned()
        } else {
            gateway.chat(&ask("free-fast")).await.header("x-relay-provider").to_owned()
        };
        explored.insert(provider);
    }
    assert_eq!(explored.len(), 4, "{explored:?}");
    let fastest = BTreeMap::from([("C/m".to_owned(), 20)]);
    assert_eq!(tally(&gateway, &ask("free-fast"), 20).await, fastest);
    // A fast one that becomes slow loses its place to the next.
    gateway.upstream("c").set_pace(pace(600));
    let mut slow = 0;
    while target(&gateway.chat(&ask("free-fast")).await) == "C/m" {
        slow += 1;
        assert!(slow < 5, "it is not noticed");
    }
    assert_eq!(
        tally(&gateway, &ask("free-fast"), 10).await,
        BTreeMap::from([("B/m".to_owned(), 10)])
    );
}

/// One request of a session; every third is a stream.
async fn in_session(gateway: &Gateway, session: usize, turn: usize) -> String {
    let id = format!("session {session}");
    let headers = [("x-session-id", id.as_str())];
    if turn % 3 == 2 {
        let answer = gateway.open(&ask("auto"), &headers).await.finish().await.expect_done();
        return format!("{}/{}", answer.header("x-relay-provider"), answer.header("x-relay-model"));
    }
    target(&gateway.chat_with(&ask("auto"), &headers).await)
}

const SESSIONS: usize = 20;

/// 200 requests at once, ten of each session; gives the homes of every session.
async fn burst(gateway: &Gateway) -> Vec<BTreeSet<String>> {
    let all = (0..200).map(|it| in_session(gateway, it % SESSIONS, it / SESSIONS));
    let mut homes = vec![BTreeSet::new(); SESSIONS];
    for (at, home) in join_all(all).await.into_iter().enumerate() {
        homes[at % SESSIONS].insert(home);
    }
    homes
}

#[tokio::test]
async fn sessions_are_stable_at_once_and_through_a_providers_death() {
    let upstreams = ["A", "B", "C"].map(|it| Upstream::plain(it).model("n"));
    let gateway = Gateway::with(upstreams).start().await;
    let settled = burst(&gateway).await;
    assert!(settled.iter().all(|it| it.len() == 1), "{settled:?}");
    assert_eq!(burst(&gateway).await, settled);
    let of_a = |it: &BTreeSet<String>| it.iter().any(|it| it.starts_with("A/"));
    let lost = settled.iter().filter(|it| of_a(it)).count();
    assert!((1..SESSIONS).contains(&lost), "{settled:?}");

    gateway.upstream("a").set_fault(Some(Fault::Down));
    let dying = burst(&gateway).await;
    let moved = burst(&gateway).await;
    for ((before, dying), after) in settled.iter().zip(&dying).zip(&moved) {
        if of_a(before) {
            assert!(!of_a(dying) && dying.is_superset(after), "{before:?} {dying:?} {after:?}");
        } else {
            assert_eq!((dying, after), (before, before), "it had no reason to move");
        }
        assert_eq!(after.len(), 1, "{dying:?} {after:?}");
    }
    gateway.upstream("a").mend();
    assert_eq!(burst(&gateway).await, moved, "nobody goes back");
}

#[tokio::test]
async fn a_session_moves_when_its_quota_is_spent_and_stays_at_its_new_home() {
    let alpha = Upstream::plain("A").limits(json!({"requests_per_hour": 4}));
    let gateway = Gateway::with([alpha, Upstream::plain("B")]).start().await;
    let mut homes = Vec::new();
    for turn in 0..10 {
        homes.push(in_session(&gateway, 0, turn).await);
    }
    let expected = [["A/m"; 4].as_slice(), ["B/m"; 6].as_slice()].concat();
    assert_eq!(homes, expected);
}

#[tokio::test]
async fn the_sessions_used_least_recently_are_forgotten_first() {
    let settings = json!({"session": {"max_sessions": 2}});
    let upstreams = ["A", "B", "C"].map(Upstream::plain);
    let gateway = Gateway::with(upstreams).settings(settings).start().await;
    let reason = async |session: &str| {
        let answer = gateway.chat_with(&ask("auto"), &[("x-session-id", session)]).await;
        answer.expect(200).header("x-relay-route-reason").to_owned()
    };
    for (session, expected) in [
        ("one", "meta"),
        ("two", "meta"),
        ("one", "affinity"),
        ("three", "meta"),
        ("one", "affinity"),
        ("two", "meta"),
        ("three", "meta"),
    ] {
        assert_eq!(reason(session).await, expected, "{session}");
    }
}
