//! When faults have shut everybody: the least bad is asked rather than nobody, and whoever has said
//! when to come back is left alone until then.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Pace};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Gateway, Upstream, ask};

fn impatient(retries: u32) -> Value {
    json!({"routing": {"max_quota_wait_seconds": 0, "max_retries": retries}})
}

/// Opens the breaker of a provider by three faults in a row.
async fn break_down(gateway: &Gateway, name: &str) {
    gateway.upstream(name).script(None, vec![Fault::Status(500); 3]);
    gateway.chat(&ask(&format!("{name}/m"))).await.expect(503);
    assert_eq!(gateway.model(&format!("{name}/m")).await["status"], "cooldown");
}

#[tokio::test]
async fn the_least_bad_is_asked_when_faults_have_shut_everybody() {
    let gateway = Gateway::with(["Early", "Late"].map(Upstream::plain));
    let gateway = gateway.settings(impatient(2)).start().await;
    break_down(&gateway, "early").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    break_down(&gateway, "late").await;
    gateway.upstream("early").clear();
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(answer.header("x-relay-provider"), "Early", "it would be asked again soonest");
    // The answer has closed its breaker.
    gateway.chat(&ask("early/m")).await.expect(200);
    assert_eq!(gateway.reached("early"), 2);
}

#[tokio::test]
async fn an_open_breaker_is_passed_by_once_in_a_journey() {
    for (faults, status) in [(3, 200), (4, 503)] {
        let gateway = Gateway::with([Upstream::plain("Alpha")]);
        let gateway = gateway.settings(impatient(8)).start().await;
        gateway.upstream("alpha").script(None, vec![Fault::Status(500); faults]);
        let answer = gateway.chat(&ask("m")).await.expect(status);
        assert_eq!(answer.header("x-relay-attempts"), "4", "three open it, one passes it by");
    }
}

#[tokio::test]
async fn a_dead_provider_keeps_nobody_waiting() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).start().await;
    let alpha = gateway.upstream("alpha");
    alpha.set_fault(Some(Fault::Status(500)));
    alpha.set_pace(Pace { first_token: Duration::from_millis(200), ..Pace::default() });
    let (began, body) = (Instant::now(), ask("m"));
    let calls = (0..30_u64).map(|place| {
        let body = &body;
        let gateway = &gateway;
        async move {
            tokio::time::sleep(Duration::from_millis(20 * place)).await;
            gateway.chat(body).await
        }
    });
    for answer in join_all(calls).await {
        let answer = answer.expect(503);
        let rest = answer.error()["retry_after_ms"].as_u64().expect("a number");
        assert!((5_000..=10_000).contains(&rest), "as long as its breaker rests: {rest}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // Who comes when it is known to be dead asks it once.
    let before = alpha.count_reached();
    gateway.chat(&body).await.expect(503);
    assert_eq!(alpha.count_reached(), before + 1);
}

#[tokio::test]
async fn one_at_a_time_finds_out() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(impatient(2)).start().await;
    break_down(&gateway, "alpha").await;
    let alpha = gateway.upstream("alpha");
    alpha.clear();
    alpha.set_pace(Pace { first_token: Duration::from_millis(400), ..Pace::default() });
    let body = ask("m");
    let (answers, during) = tokio::join!(join_all((0..5).map(|_| gateway.chat(&body))), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        alpha.count_reached()
    });
    assert_eq!(during, 1, "the others wait for what it finds out");
    for answer in answers {
        answer.expect(200);
    }
}

#[tokio::test]
async fn who_has_said_when_to_come_back_is_not_asked_before() {
    let gateway = Gateway::with(["Broken", "Limited"].map(Upstream::plain));
    let gateway = gateway.settings(impatient(2)).start().await;
    break_down(&gateway, "broken").await;
    let limited = Fault::RateLimited { retry_after: Some(Duration::from_secs(60)) };
    gateway.upstream("limited").set_fault(Some(limited));
    gateway.chat(&ask("limited/m")).await.expect(429);
    // A probe of the one, and not of the other.
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(answer.header("x-relay-provider"), "Broken");
    assert_eq!(gateway.reached("limited"), 1);
}

#[tokio::test]
async fn spent_quota_is_not_passed_by() {
    let once = Upstream::plain("Once").limits(json!({"requests_per_minute": 3}));
    let gateway = Gateway::with([once]).settings(impatient(2)).start().await;
    let once = gateway.upstream("once");
    // Answers with nothing in them count, and so the window is full when the breaker opens.
    once.script(None, vec![Fault::EmptyAnswer; 3]);
    gateway.chat(&ask("m")).await;
    assert_eq!(once.count_reached(), 3);
    let answer = gateway.chat(&ask("m")).await;
    assert!(matches!(answer.status, 429 | 503), "{}", answer.text());
    assert_eq!(once.count_reached(), 3);
}
