//! When nobody can answer: the times that are told are true, and so are the ways out.

use std::time::Duration;

use bytes::Bytes;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Gateway, Upstream, ask, streamed};

fn impatient() -> Value {
    json!({"routing": {"max_quota_wait_seconds": 0}})
}

fn limited(seconds: u64) -> Fault {
    Fault::RateLimited { retry_after: Some(Duration::from_secs(seconds)) }
}

/// Milliseconds until each provider may be asked, by name.
fn rests(error: &Value) -> Vec<(&str, Option<u64>)> {
    let providers = error["providers"].as_array().expect("providers").iter();
    providers
        .map(|it| (it["id"].as_str().expect("a name"), it["retry_after_ms"].as_u64()))
        .collect()
}

/// Checks that `ms` is what is left of `seconds`.
fn check_rest(ms: u64, seconds: u64, what: &Value) {
    assert!(
        (seconds * 1_000 - 2_000..=seconds * 1_000).contains(&ms),
        "{ms} of {seconds} s: {what}"
    );
}

#[tokio::test]
async fn every_provider_tells_its_own_time_and_the_soonest_counts() {
    let minute = Upstream::plain("Minute").limits(json!({"requests_per_minute": 1}));
    let other = Upstream::new("Other", Flavour::OpenAi).model("elsewhere");
    let names = ["Long", "Short"].map(Upstream::plain);
    let gateway = Gateway::with(names.into_iter().chain([minute, other]));
    let gateway = gateway.settings(impatient()).start().await;
    gateway.upstream("long").script(None, vec![limited(90)]);
    gateway.upstream("short").script(None, vec![limited(20)]);
    gateway.chat(&ask("minute/m")).await.expect(200);
    for body in [ask("m"), streamed(ask("m")), ask("m")] {
        let answer = gateway.chat(&body).await.expect(429);
        let error = answer.error();
        let [("Long", Some(long)), ("Short", Some(short)), ("Minute", Some(minute))] =
            rests(&error)[..]
        else {
            panic!("{error}")
        };
        check_rest(long, 90, &error);
        check_rest(short, 20, &error);
        // A unit of a minute is kept a quarter of a second longer than the provider keeps it.
        check_rest(minute.saturating_sub(250), 60, &error);
        assert_eq!(error["retry_after_ms"], short, "{error}");
        assert_eq!(answer.header("retry-after"), short.div_ceil(1_000).to_string());
        let suggestions = error["suggestions"].as_array().expect("suggestions");
        let models: Vec<_> = suggestions.iter().filter_map(|it| it["model"].as_str()).collect();
        assert_eq!(models, ["Other/elsewhere", "Short/m", "Minute/m", "Long/m"], "{error}");
        let times: Vec<_> =
            suggestions.iter().filter_map(|it| it["available_in_ms"].as_u64()).collect();
        assert_eq!(times.first(), Some(&0), "{error}");
        assert!(times.is_sorted(), "{error}");
    }
    for name in ["long", "short", "minute"] {
        assert_eq!(gateway.reached(name), 1, "{name} is left alone");
    }
    // What is suggested works.
    gateway.chat(&ask("Other/elsewhere")).await.expect(200);
}

/// Waits as long as the provider's 429 says, and no longer; then it answers.
async fn comes_true(gateway: &Gateway, provider: &str, most: u64) {
    let body = ask(&format!("{provider}/m"));
    let answer = gateway.chat(&body).await.expect(429);
    let ms = answer.error()["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=most).contains(&ms), "{provider}: {ms}");
    let due = Instant::now() + Duration::from_millis(ms);
    tokio::time::sleep_until(due).await;
    let answer = gateway.chat(&body).await.expect(200);
    assert_eq!(answer.header("x-relay-attempts"), "1", "{provider}");
}

#[tokio::test]
async fn what_is_told_comes_true() {
    let second = Upstream::plain("Second").limits(json!({"requests_per_second": 1}));
    let gateway = Gateway::with([Upstream::plain("Rested"), second]);
    let gateway = gateway.settings(impatient()).start().await;
    gateway.upstream("rested").script(None, vec![limited(2)]);
    gateway.chat(&ask("rested/m")).await.expect(429);
    gateway.chat(&ask("second/m")).await.expect(200);
    // A unit of a second is kept 40 ms longer than the provider keeps it.
    tokio::join!(comes_true(&gateway, "second", 1_040), comes_true(&gateway, "rested", 2_000));
}

#[tokio::test]
async fn keys_that_are_out_are_not_available() {
    let alpha = Upstream::plain("Alpha").key("k1").key("k2").key("k3");
    let gateway = Gateway::with([alpha]).settings(impatient()).start().await;
    gateway
        .upstream("alpha")
        .script(None, vec![Fault::Status(401), Fault::Status(403), limited(30)]);
    let error = gateway.chat(&ask("m")).await.expect(429).error();
    assert_eq!(error["providers"][0]["keys_available"], 1, "{error}");
    check_rest(error["retry_after_ms"].as_u64().expect("a number"), 30, &error);
    // No key left at all: to wait is in vain.
    let gateway = Gateway::with([Upstream::plain("Alpha").key("k1").key("k2")]).start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::Status(401)));
    let answer = gateway.chat(&ask("m")).await.expect(503);
    let error = answer.error();
    assert_eq!(error["code"], "all_providers_failed", "{error}");
    assert_eq!(error["providers"][0]["keys_available"], 0, "{error}");
    assert_eq!(error["providers"][0]["circuit_state"], "open", "{error}");
    assert!(!answer.header("retry-after").is_empty());
}

/// A provider that is overloaded and says until when has not run out of quota.
#[tokio::test]
async fn an_overload_is_told_with_its_time_and_is_no_quota() {
    let busy = |status| Fault::RawResponse {
        status,
        headers: vec![("retry-after".to_owned(), "30".to_owned())],
        body: Bytes::from_static(b"{\"error\":{\"message\":\"Service Unavailable\"}}"),
    };
    for (status, expected, code) in [
        (503, 503, "all_providers_failed"),
        (529, 503, "all_providers_failed"),
        (429, 429, "all_providers_exhausted"),
    ] {
        let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(impatient()).start().await;
        gateway.upstream("alpha").set_fault(Some(busy(status)));
        for _ in 0..2 {
            let answer = gateway.chat(&ask("m")).await.expect(expected);
            let error = answer.error();
            assert_eq!(error["code"], code, "{status}: {error}");
            check_rest(error["retry_after_ms"].as_u64().expect("a number"), 30, &error);
        }
        assert_eq!(gateway.reached("alpha"), 1, "{status}: it is left alone until then");
    }
}

#[tokio::test]
async fn suggestions_are_few_and_never_retired_models() {
    let many =
        (0..40).fold(Upstream::new("Many", Flavour::OpenAi), |it, at| it.model(&format!("m{at}")));
    let many = many.model_with("old", json!({"successor": "m0"}));
    let gateway =
        Gateway::with([Upstream::plain("Alpha"), many]).settings(impatient()).start().await;
    gateway.upstream("alpha").script(None, vec![limited(30)]);
    let error = gateway.chat(&ask("alpha/m")).await.expect(429).error();
    let suggestions = error["suggestions"].as_array().expect("suggestions");
    assert!((1..=10).contains(&suggestions.len()), "{error}");
    assert!(suggestions.iter().all(|it| it["model"] != "Many/old"), "{error}");
}
