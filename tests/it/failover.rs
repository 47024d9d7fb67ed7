//! What goes wrong with a provider before the first content stays between the gateway and it; what
//! goes wrong after it, or everywhere, is told truly.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Gateway, Setup, Upstream, ask, with};

/// `Bad`, which is asked first, and `Good`, each with the model `m`, and short time-outs.
fn bad_and_good() -> Setup {
    bad_and(Upstream::plain("Good"))
}

fn bad_and(good: Upstream) -> Setup {
    Gateway::with([Upstream::plain("Bad"), good]).settings(json!({
        "http": {"timeout_seconds": 0.4, "first_token_timeout_seconds": 0.4}
    }))
}

fn one(name: &str) -> Setup {
    Gateway::with([Upstream::plain(name)])
}

/// Every way to fail before there is anything to pass on.
fn faults() -> Vec<Fault> {
    let statuses = [401, 402, 403, 404, 408, 410, 413, 429, 500, 502, 503, 504, 524, 529];
    let mut faults: Vec<Fault> = statuses.into_iter().map(Fault::Status).collect();
    faults.extend([
        Fault::RateLimited { retry_after: None },
        Fault::RateLimited { retry_after: Some(Duration::from_secs(7)) },
        Fault::Hang,
        Fault::SlowFirstToken(Duration::from_secs(20)),
        Fault::CutAfterChunks(0),
        Fault::StallAfterChunks(0),
        Fault::Garbage,
        Fault::Html,
        Fault::EmptyAnswer,
        Fault::Reset,
        Fault::Down,
        Fault::ErrorIn200Stream,
        Fault::ErrorAfterChunks(0),
        Fault::NeverEndingHeaders,
        Fault::HugeBody(40 << 20),
        redirect(),
    ]);
    faults
}

fn redirect() -> Fault {
    let headers = vec![("location".to_owned(), "http://127.0.0.1:1/".to_owned())];
    Fault::RawResponse { status: 302, headers, body: "moved".into() }
}

async fn is_invisible(fault: Fault, stream: bool) {
    // However busy the machine is, the good one is not too slow.
    let good = Upstream::plain("Good").entry(json!({"first_token_timeout_seconds": 60}));
    let gateway = bad_and(good).start().await;
    gateway.upstream("bad").set_fault(Some(fault.clone()));
    let (headers, said) = if stream {
        let answer = gateway.stream(&ask("m")).await.expect_done();
        let said = answer.said();
        (answer.headers, said)
    } else {
        let answer = gateway.chat(&ask("m")).await.expect(200);
        let said = answer.said();
        (answer.headers, said)
    };
    let good = &gateway.upstream("good").records()[0];
    assert_eq!(said, good.sent_content, "{fault:?}");
    for (name, value) in [
        ("x-relay-provider", "Good"),
        ("x-relay-model", "m"),
        ("x-relay-route-reason", "failover"),
        ("x-relay-attempts", "2"),
        ("x-relay-requested-model", "m"),
    ] {
        assert_eq!(headers[name], value, "{name} after {fault:?}, stream: {stream}");
    }
    assert_eq!(gateway.reached("bad"), 1, "{fault:?}, stream: {stream}");
    let usage = gateway.usage().await;
    assert_eq!(usage["total"]["requests"], 1, "{fault:?}: a failed attempt is no answer");
    assert_eq!(usage["providers"]["Bad"]["prompt_tokens"], 0, "{fault:?}");
}

#[tokio::test]
async fn a_fault_before_a_whole_answer_is_invisible() {
    join_all(faults().into_iter().chain([Fault::NoDone]).map(|it| is_invisible(it, false))).await;
}

#[tokio::test]
async fn a_fault_before_the_first_content_of_a_stream_is_invisible() {
    join_all(faults().into_iter().map(|it| is_invisible(it, true))).await;
}

#[tokio::test]
async fn a_provider_nobody_listens_at_is_invisible() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", closed.local_addr().expect("an address"));
    drop(closed);
    let gateway = bad_and_good().url("bad", &url).start().await;
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(answer.header("x-relay-provider"), "Good");
}

#[tokio::test]
async fn a_provider_without_connections_is_skipped_with_all_its_keys_and_models() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", closed.local_addr().expect("an address"));
    drop(closed);
    let bad = (0..8).fold(Upstream::plain("Bad"), |it, key| it.key(&format!("k{key}")));
    let bad = (0..4).fold(bad, |it, model| it.model(&format!("other{model}")));
    let gateway = Gateway::with([bad, Upstream::plain("Good")]).url("bad", &url).start().await;
    let mut vain = 0;
    for _ in 0..12 {
        let answer = gateway.chat(&ask("auto")).await.expect(200);
        vain += answer.header("x-relay-attempts").parse::<u64>().expect("a number") - 1;
    }
    assert!(vain <= 2, "{vain} attempts to connect, of 40 targets");
}

#[tokio::test]
async fn a_slow_first_token_moves_on_and_does_not_open_the_breaker_at_once() {
    let good = Upstream::plain("Good").entry(json!({"first_token_timeout_seconds": 60}));
    let gateway = bad_and(good).start().await;
    let bad = gateway.upstream("bad");
    bad.set_fault(Some(Fault::SlowFirstToken(Duration::from_secs(20))));
    for slow in 1..=5 {
        while bad.count_reached() < slow {
            let answer = gateway.stream(&ask("m")).await.expect_done();
            assert_eq!(answer.header("x-relay-provider"), "Good");
        }
        assert_eq!(gateway.model("Bad/m").await["status"], "available", "after {slow}");
    }
    while gateway.model("Bad/m").await["status"] == "available" {
        gateway.stream(&ask("m")).await.expect_done();
    }
    assert_eq!(bad.count_reached(), 6);
}

/// A provider with the keys `k1` and `k2`, and the models `m` and `other`.
async fn two_keys() -> Gateway {
    let upstream = Upstream::plain("Alpha").model("other").key("k1").key("k2");
    Gateway::with([upstream]).start().await
}

/// The keys used for `model`, in order.
fn keys_used(gateway: &Gateway, model: &str) -> Vec<String> {
    let records = gateway.upstream("alpha").records();
    records.into_iter().filter(|it| it.model == model).map(|it| it.key).collect()
}

#[tokio::test]
async fn a_429_rests_that_key_for_that_model_alone() {
    for retry_after in [None, Some(Duration::from_secs(30))] {
        let gateway = two_keys().await;
        let alpha = gateway.upstream("alpha");
        alpha.script(Some("m"), vec![Fault::RateLimited { retry_after }]);
        for _ in 0..4 {
            gateway.chat(&ask("m")).await.expect(200);
        }
        let used = keys_used(&gateway, "m");
        assert_eq!(used.len(), 5);
        assert!(used[1..].iter().all(|it| *it != used[0]), "{used:?}");
        for _ in 0..4 {
            gateway.chat(&ask("other")).await.expect(200);
        }
        let used = keys_used(&gateway, "other");
        assert!(["k1", "k2"].iter().all(|key| used.iter().any(|it| it == key)), "{used:?}");
    }
}

#[tokio::test]
async fn a_refused_key_is_out_for_every_model_and_the_other_serves() {
    for status in [401, 403] {
        let gateway = two_keys().await;
        gateway.upstream("alpha").script(None, vec![Fault::Status(status)]);
        for _ in 0..4 {
            gateway.chat(&ask("m")).await.expect(200);
            gateway.chat(&ask("other")).await.expect(200);
        }
        let used = keys_used(&gateway, "m");
        let refused = used.first().expect("a request").clone();
        assert!(used[1..].iter().all(|it| *it != refused), "{status}: {used:?}");
        assert!(keys_used(&gateway, "other").iter().all(|it| *it != refused), "{status}");
    }
}

#[tokio::test]
async fn a_providers_401_is_not_the_callers() {
    for status in [401, 403] {
        let gateway = one("Alpha").start().await;
        gateway.upstream("alpha").set_fault(Some(Fault::Status(status)));
        let answer = gateway.chat(&ask("m")).await.expect(503);
        let error = answer.error();
        assert_eq!(error["code"], "all_providers_failed", "{error}");
        assert_eq!(error["providers"][0]["keys_available"], 0, "{error}");
    }
}

#[tokio::test]
async fn a_404_benches_the_model_with_all_its_keys() {
    let gateway = two_keys().await;
    gateway.upstream("alpha").script(Some("m"), vec![Fault::Status(404)]);
    gateway.chat(&ask("m")).await.expect(503);
    gateway.chat(&ask("m")).await.expect(503);
    assert_eq!(keys_used(&gateway, "m").len(), 1, "one answer speaks for all keys");
    gateway.chat(&ask("other")).await.expect(200);
    let model = gateway.model("Alpha/m").await;
    assert_eq!(model["status"], "cooldown");
    assert!(model["cooldown_remaining_sec"].as_u64() > Some(60), "{model}");
}

#[tokio::test]
async fn a_value_any_provider_would_refuse_comes_back_to_the_caller() {
    let gateway = bad_and_good().start().await;
    let body = r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error","param":"temperature","code":"decimal_above_max_value"}}"#;
    let fault = Fault::RawResponse { status: 400, headers: Vec::new(), body: body.into() };
    gateway.upstream("bad").set_fault(Some(fault));
    let routed = gateway.chat(&with(ask("auto"), json!({"temperature": 3}))).await.expect(400);
    assert_eq!(routed.header("x-relay-attempts"), "1");
    for stream in [false, true] {
        let body = with(ask("bad/m"), json!({"temperature": 3, "stream": stream}));
        let answer = gateway.chat(&body).await.expect(400);
        let error = answer.error();
        assert_eq!(error["message"], "temperature must be at most 2");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], "temperature");
        assert_eq!(error["code"], "decimal_above_max_value");
        assert_eq!(error["request_id"], answer.header("x-request-id"));
        assert_eq!(answer.header("x-relay-provider"), "Bad");
        assert_eq!(answer.header("x-relay-attempts"), "1");
    }
    assert_eq!(gateway.reached("good"), 0);
    // It was the caller's fault: Bad is as well as before.
    gateway.upstream("bad").mend();
    for _ in 0..5 {
        gateway.chat(&ask("bad/m")).await.expect(200);
    }
}

/// Providers whose quirks the gateway does not know, so that it learns from their refusals.
const STRANGERS: [(Flavour, &str); 2] = [(Flavour::Groq, "store"), (Flavour::Mistral, "user")];

#[tokio::test]
async fn a_member_a_provider_does_not_know_is_left_out_and_the_call_repeated() {
    for (flavour, member) in STRANGERS {
        for stream in [false, true] {
            let gateway = Gateway::with([Upstream::new("Stranger", flavour).model("m")]);
            let gateway = gateway.start().await;
            let body = with(ask("m"), json!({member: "x"}));
            let headers = if stream {
                gateway.stream(&body).await.expect_done().headers
            } else {
                gateway.chat(&body).await.expect(200).headers
            };
            assert_eq!(headers["x-relay-warning"], format!("dropped={member}"), "{flavour:?}");
            let records = gateway.upstream("stranger").records();
            let sent =
                |at: usize| -> Value { serde_json::from_slice(&records[at].body).expect("JSON") };
            assert_eq!(records.len(), 2, "{flavour:?}");
            assert!(sent(0).get(member).is_some() && sent(1).get(member).is_none());
            assert_eq!(sent(0)["messages"], sent(1)["messages"]);
        }
    }
}

#[tokio::test]
async fn several_unknown_members_are_left_out_one_by_one() {
    let gateway = Gateway::with([Upstream::new("Stranger", Flavour::Groq).model("m")]);
    let gateway = gateway.start().await;
    let body = with(ask("m"), json!({"store": true, "safety_identifier": "x"}));
    let answer = gateway.chat(&body).await.expect(200);
    let warning = answer.header("x-relay-warning");
    for member in ["store", "safety_identifier"] {
        assert!(warning.contains(member), "{warning}");
    }
}

#[tokio::test]
async fn a_member_with_a_wrong_value_is_never_left_out() {
    for body in [
        r#"{"error":{"message":"Unsupported value: 'temperature' does not support 3","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}"#,
        r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error","param":"temperature"}}"#,
        r#"{"detail":[{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5"}]}"#,
    ] {
        let gateway = one("Alpha").start().await;
        let fault = Fault::RawResponse { status: 422, headers: Vec::new(), body: body.into() };
        gateway.upstream("alpha").set_fault(Some(fault));
        let answer = gateway.chat(&with(ask("m"), json!({"temperature": 3}))).await.expect(400);
        assert_eq!(answer.error()["param"], "temperature", "{body}");
        for record in gateway.upstream("alpha").records() {
            let sent: Value = serde_json::from_slice(&record.body).expect("JSON");
            assert_eq!(sent["temperature"], 3, "{body}");
        }
    }
}

#[tokio::test]
async fn a_conversation_too_long_for_one_goes_to_the_next() {
    let small = Upstream::plain("Small").simulated(|it| it.models[0].context = Some(20));
    let gateway = Gateway::with([small, Upstream::plain("Large")]).start().await;
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(100)}]});
    for _ in 0..3 {
        let answer = gateway.chat(&with(ask("m"), long.clone())).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Large");
    }
    // It says nothing against Small.
    gateway.chat(&ask("small/m")).await.expect(200);
}

#[tokio::test]
async fn a_conversation_too_long_for_all_is_the_callers() {
    let small = |name| Upstream::plain(name).simulated(|it| it.models[0].context = Some(20));
    let gateway = Gateway::with([small("One"), small("Two")]).start().await;
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(100)}]});
    let answer = gateway.chat(&with(ask("m"), long)).await.expect(400);
    let error = answer.error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(error["type"], "invalid_request_error", "{error}");
    assert_eq!((gateway.reached("one"), gateway.reached("two")), (1, 1));
}

/// A cut stream stays cut.
fn uncontinued() -> Value {
    json!({"routing": {"stream_continuation": false}})
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_without_done() {
    for fault in [Fault::CutAfterChunks(3), Fault::ErrorAfterChunks(3), Fault::NoDone] {
        let gateway = one("Alpha").settings(uncontinued()).start().await;
        gateway.upstream("alpha").set_fault(Some(fault.clone()));
        let answer = gateway.stream(&ask("alpha/m")).await;
        assert!(!answer.done, "{fault:?}");
        let error = answer.error();
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{fault:?} {error}");
        assert!(error["type"].is_string() && error["code"].is_string(), "{error}");
        assert_eq!(error["request_id"], answer.header("x-request-id"), "{error}");
        let record = &gateway.upstream("alpha").records()[0];
        assert!(!record.sent_content.is_empty());
        assert_eq!(answer.said(), record.sent_content, "nothing delivered may be lost: {fault:?}");
        let usage = gateway.counted(1).await;
        assert_eq!(usage["requests"], 1, "what was delivered counts: {usage}");
        assert!(usage["completion_tokens"].as_u64() > Some(0), "{usage}");
    }
}

#[tokio::test]
async fn a_cut_stream_is_in_the_figures_when_its_last_byte_has_been_sent() {
    let gateway = one("Alpha").settings(uncontinued()).start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::CutAfterChunks(3)));
    assert!(!gateway.stream(&ask("alpha/m")).await.done);
    assert_eq!(gateway.usage().await["total"]["requests"], 1);
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut() {
    let setup = one("Alpha").settings(json!({"http": {"timeout_seconds": 0.3}}));
    let gateway = setup.start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::StallAfterChunks(2)));
    let begun = Instant::now();
    let answer = gateway.stream(&ask("alpha/m")).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!answer.done && answer.error().is_object(), "{:?}", answer.data);
    assert!(!answer.said().is_empty());
}

#[tokio::test]
async fn a_provider_known_to_be_slow_gets_its_own_time() {
    let slow = Upstream::plain("Slow").entry(json!({"first_token_timeout_seconds": 20}));
    let settings = json!({"http": {"timeout_seconds": 0.2, "first_token_timeout_seconds": 0.2}});
    let gateway = Gateway::with([slow]).settings(settings).start().await;
    gateway.upstream("slow").set_fault(Some(Fault::SlowFirstToken(Duration::from_millis(600))));
    gateway.stream(&ask("m")).await.expect_done();
    // Its longer time for the first token lengthens the time for a whole answer too.
    gateway.chat(&ask("m")).await.expect(200);
}

#[tokio::test]
async fn all_failed_is_503_with_the_way_out() {
    let settings = json!({"routing": {"max_retries": 2}});
    let gateway = bad_and_good().settings(settings).start().await;
    for name in ["bad", "good"] {
        gateway.upstream(name).set_fault(Some(Fault::Status(500)));
    }
    for stream in [false, true] {
        let answer = gateway.chat(&with(ask("m"), json!({"stream": stream}))).await.expect(503);
        let error = answer.error();
        assert_eq!(error["code"], "all_providers_failed", "{error}");
        assert!(error["type"].is_string() && error["message"].is_string());
        assert_eq!(error["request_id"], answer.header("x-request-id"));
        let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
        let ms = error["retry_after_ms"].as_u64().expect("milliseconds");
        assert_eq!(ms.div_ceil(1000), seconds);
        let providers = error["providers"].as_array().expect("providers");
        let ids: Vec<_> = providers.iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(ids, ["Bad", "Good"]);
        for provider in providers {
            assert_eq!(provider["keys_available"], 1, "{error}");
            assert!(provider["circuit_state"].is_string(), "{error}");
            assert!(provider.get("retry_after_ms").is_some(), "{error}");
        }
        assert!(error["suggestions"].is_array(), "{error}");
        assert_eq!(answer.header("x-relay-attempts"), "3");
    }
}

#[tokio::test]
async fn other_models_are_suggested() {
    let gateway =
        Gateway::with([Upstream::plain("Bad"), Upstream::new("Good", Flavour::OpenAi).model("x")]);
    let gateway = gateway.settings(json!({"routing": {"max_retries": 0}})).start().await;
    gateway.upstream("bad").set_fault(Some(Fault::Status(500)));
    let error = gateway.chat(&ask("bad/m")).await.expect(503).error();
    assert_eq!(error["suggestions"], json!([{"model": "Good/x", "available_in_ms": 0}]));
    assert_eq!(gateway.reached("good"), 0, "a direct request stays on its model");
}

#[tokio::test]
async fn all_too_slow_is_504() {
    let settings = json!({
        "http": {"timeout_seconds": 0.1, "first_token_timeout_seconds": 0.1},
        "routing": {"max_retries": 3},
    });
    let gateway = bad_and_good().settings(settings).start().await;
    for name in ["bad", "good"] {
        gateway.upstream(name).set_fault(Some(Fault::Hang));
    }
    for stream in [false, true] {
        let answer = gateway.chat(&with(ask("m"), json!({"stream": stream}))).await.expect(504);
        let error = answer.error();
        assert_eq!(error["providers"].as_array().map(Vec::len), Some(2), "{error}");
        assert!(!answer.header("retry-after").is_empty());
    }
}

#[tokio::test]
async fn all_rate_limited_is_429_and_its_retry_after_is_true() {
    let gateway = one("Alpha").settings(json!({"routing": {"max_quota_wait_seconds": 0}}));
    let gateway = gateway.start().await;
    let fault = Fault::RateLimited { retry_after: Some(Duration::from_secs(1)) };
    gateway.upstream("alpha").script(None, vec![fault]);
    for _ in 0..2 {
        let answer = gateway.chat(&ask("m")).await.expect(429);
        let error = answer.error();
        assert_eq!(error["type"], "rate_limit_error", "{error}");
        assert_eq!(error["code"], "all_providers_exhausted", "{error}");
        assert_eq!(answer.header("retry-after"), "1");
        assert!((1..=1000).contains(&error["retry_after_ms"].as_u64().expect("a number")));
    }
    assert_eq!(gateway.reached("alpha"), 1, "it asked to be left alone");
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.chat(&ask("m")).await.expect(200);
}

#[tokio::test]
async fn a_short_throttle_is_waited_for() {
    let gateway = one("Alpha").start().await;
    let fault = Fault::RateLimited { retry_after: Some(Duration::from_secs(1)) };
    gateway.upstream("alpha").script(None, vec![fault]);
    let begun = Instant::now();
    gateway.chat(&ask("m")).await.expect(200);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(gateway.reached("alpha"), 2);
}

#[tokio::test]
async fn one_probe_at_a_time_passes_a_half_open_breaker() {
    let gateway = one("Alpha").settings(json!({"routing": {"max_quota_wait_seconds": 0}}));
    let gateway = gateway.start().await;
    let alpha = gateway.upstream("alpha");
    let rest = Duration::from_secs(1);
    alpha.script(None, vec![Fault::RateLimited { retry_after: Some(rest) }]);
    gateway.chat(&ask("m")).await.expect(429);
    tokio::time::sleep(rest).await;
    alpha.set_fault(Some(Fault::SlowFirstToken(Duration::from_millis(400))));
    let question = ask("m");
    let answers = join_all((0..10).map(|_| gateway.chat(&question))).await;
    assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|it| it.status == 429).count(), 9);
    assert_eq!(alpha.count_reached(), 2);
    // It has passed, so that all may.
    let answers = join_all((0..10).map(|_| gateway.chat(&question))).await;
    assert!(answers.iter().all(|it| it.status == 200));
}

#[tokio::test]
async fn with_nobody_else_the_same_provider_is_asked_again() {
    for stream in [false, true] {
        let gateway = one("Alpha").start().await;
        gateway.upstream("alpha").script(None, vec![Fault::Status(500), Fault::CutAfterChunks(0)]);
        let headers = if stream {
            gateway.stream(&ask("alpha/m")).await.expect_done().headers
        } else {
            gateway.chat(&ask("alpha/m")).await.expect(200).headers
        };
        assert_eq!(headers["x-relay-attempts"], "3");
        assert_eq!(headers["x-relay-route-reason"], "failover");
    }
}

#[tokio::test]
async fn max_retries_are_further_attempts_after_the_first() {
    for (retries, expected) in [(0, 1), (1, 2), (5, 6)] {
        let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
        let gateway = Gateway::with(names.map(Upstream::plain))
            .settings(json!({"routing": {"max_retries": retries}}))
            .start()
            .await;
        for name in names {
            gateway.upstream(name).set_fault(Some(Fault::Status(500)));
        }
        let answer = gateway.chat(&ask("auto")).await.expect(503);
        assert_eq!(answer.header("x-relay-attempts"), expected.to_string());
        let reached: u64 = names.iter().map(|it| gateway.reached(it)).sum();
        assert_eq!(reached, expected);
    }
}

#[tokio::test]
async fn the_deadline_bounds_the_whole_request() {
    let gateway = Gateway::with([Upstream::plain("One"), Upstream::plain("Two")])
        .settings(json!({"routing": {"deadline_seconds": 0.3}}))
        .start()
        .await;
    for name in ["one", "two"] {
        gateway.upstream(name).set_fault(Some(Fault::Hang));
    }
    for stream in [false, true] {
        let begun = Instant::now();
        gateway.chat(&with(ask("auto"), json!({"stream": stream}))).await.expect(504);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(300), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn a_member_a_provider_does_not_know_is_found_in_its_own_words() {
    for flavour in [Flavour::Cerebras, Flavour::OpenAi] {
        let stranger = Upstream::new("Stranger", flavour).model("m");
        let stranger = stranger.simulated(|it| it.models[0].refuses.push("logit_bias".to_owned()));
        let gateway = Gateway::with([stranger]).start().await;
        let body = with(ask("m"), json!({"logit_bias": {"50256": -100}}));
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status, 200, "{flavour:?}: {answer:?}");
        assert_eq!(answer.header("x-relay-warning"), "dropped=logit_bias", "{flavour:?}");
        let records = gateway.upstream("stranger").records();
        assert_eq!(records.len(), 2, "{flavour:?}");
        let sent: Value = serde_json::from_slice(&records[1].body).expect("JSON");
        assert!(sent.get("logit_bias").is_none(), "{flavour:?}");
    }
}
