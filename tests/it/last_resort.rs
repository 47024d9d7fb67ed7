//! When faults have shut everybody: the least bad is asked rather than nobody, and whoever has said
//! when to come back is left alone until then.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Pace};
use serde_json::{Value, json};

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
async fn a_journey_that_meets_open_breakers_alone_tries_as_often_as_any_other() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(impatient(5)).start().await;
    gateway.upstream("alpha").script(None, vec![Fault::Reset; 5]);
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(answer.header("x-relay-attempts"), "6");
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
