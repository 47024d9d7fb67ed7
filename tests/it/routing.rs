//! Which model answers: by name, by filter, by turn, by session.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Flavour, Pace};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, Gateway, Upstream, ask, with};

/// Three providers with models of all kinds.
async fn mixed() -> Gateway {
    let alpha = Upstream::new("Alpha", Flavour::OpenAi)
        .model_with("big-chat", json!({"scale": "large", "max_context_length": 100_000}))
        .model_with("org/small-chat", json!({"scale": "small"}))
        .model_with("retired", json!({"successor": "big-chat"}));
    let beta = Upstream::new("Beta", Flavour::OpenAi)
        .model_with("big-chat", json!({"scale": "large", "max_context_length": 30_000}))
        .model_with("Coder-7B", json!({"type": "coding", "capabilities": {"tools": false}}));
    let gamma = Upstream::new("Gamma", Flavour::OpenAi)
        .model_with("eyes", json!({"type": "ocr", "scale": "small", "modality": "vision"}));
    Gateway::with([alpha, beta, gamma]).start().await
}

/// `<provider>/<model>` that answered.
fn target(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let target =
        format!("{}/{}", answer.header("x-relay-provider"), answer.header("x-relay-model"));
    assert_eq!(answer.json()["model"], target);
    target
}

/// Who answers so many of these requests, and how often.
async fn tally(gateway: &Gateway, body: &Value, count: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..count {
        *tally.entry(target(&gateway.chat(body).await)).or_default() += 1;
    }
    tally
}

async fn targets(gateway: &Gateway, body: &Value) -> Vec<String> {
    tally(gateway, body, 12).await.into_keys().collect()
}

const ALL: [&str; 5] =
    ["Alpha/big-chat", "Alpha/org/small-chat", "Beta/Coder-7B", "Beta/big-chat", "Gamma/eyes"];

#[tokio::test]
async fn a_meta_name_means_any_model() {
    let gateway = mixed().await;
    for name in ["meta-model", "auto", "free", "relay", "freerelay-auto"] {
        assert_eq!(targets(&gateway, &ask(name)).await, ALL, "{name}");
        let answer = gateway.chat(&ask(name)).await;
        assert_eq!(answer.header("x-relay-route-reason"), "meta");
        assert_eq!(answer.header("x-relay-requested-model"), name);
        assert_eq!(answer.header("x-relay-attempts"), "1");
    }
    for nameless in [json!({"model": null}), json!({})] {
        let mut body = with(ask(""), nameless.clone());
        if nameless == json!({}) {
            body.as_object_mut().expect("an object").remove("model");
        }
        assert_eq!(targets(&gateway, &body).await, ALL);
    }
}

#[tokio::test]
async fn a_direct_name_means_exactly_that_model() {
    let gateway = mixed().await;
    for (name, expected) in [
        ("Alpha/big-chat", "Alpha/big-chat"),
        ("aLPHA/big-chat", "Alpha/big-chat"),
        ("alpha/org/small-chat", "Alpha/org/small-chat"),
        ("gamma/eyes", "Gamma/eyes"),
    ] {
        for _ in 0..3 {
            let answer = gateway.chat(&ask(name)).await;
            assert_eq!(target(&answer), expected);
            assert_eq!(answer.header("x-relay-route-reason"), "direct");
            assert_eq!(answer.header("x-relay-requested-model"), name);
        }
    }
}

#[tokio::test]
async fn a_bare_name_means_any_provider_of_that_model() {
    let gateway = mixed().await;
    assert_eq!(targets(&gateway, &ask("big-chat")).await, ["Alpha/big-chat", "Beta/big-chat"]);
    assert_eq!(targets(&gateway, &ask("org/small-chat")).await, ["Alpha/org/small-chat"]);
}

#[tokio::test]
async fn a_retired_name_leads_to_its_successor_with_a_warning() {
    let gateway = mixed().await;
    for name in ["alpha/retired", "retired"] {
        let answer = gateway.chat(&ask(name)).await;
        assert_eq!(target(&answer), "Alpha/big-chat");
        assert!(answer.header("x-relay-warning").contains("retired"), "{name}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_404_with_the_closest_names() {
    let gateway = mixed().await;
    for (name, closest) in [
        ("Alpha/big-chad", "Alpha/big-chat"),
        ("big-chatt", "Beta/big-chat"),
        ("coder-7b", "Beta/Coder-7B"),
        ("BIG-CHAT", "Alpha/big-chat"),
        ("meta-modal", "meta-model"),
        ("delta/eyes", "Gamma/eyes"),
        ("gamma/", "Gamma/eyes"),
        ("", ""),
        ("gpt-4o\u{1f600}\n\"", ""),
    ] {
        for stream in [false, true] {
            let answer = gateway.chat(&with(ask(name), json!({"stream": stream}))).await;
            let error = answer.expect(404).error();
            assert_eq!(error["code"], "model_not_found", "{error}");
            assert_eq!(error["type"], "invalid_request_error", "{error}");
            assert_eq!(error["param"], "model", "{error}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(closest), "{name}: {message}");
        }
    }
    let long = "x".repeat(100_000);
    let answer = gateway.chat(&ask(&long)).await.expect(404);
    assert!(answer.body.len() < 2_000, "{}", answer.body.len());
}

#[tokio::test]
async fn filters_choose_among_routed_models() {
    let gateway = mixed().await;
    for (filters, expected) in [
        (json!({"model_type": "coding"}), &["Beta/Coder-7B"][..]),
        (
            json!({"model_type": "TEXT"}),
            &["Alpha/big-chat", "Alpha/org/small-chat", "Beta/big-chat"],
        ),
        (json!({"model_scale": "small"}), &["Alpha/org/small-chat", "Gamma/eyes"]),
        (
            json!({"model_name": "CHAT"}),
            &["Alpha/big-chat", "Alpha/org/small-chat", "Beta/big-chat"],
        ),
        (json!({"model_name": "7b", "model_type": "coding"}), &["Beta/Coder-7B"]),
        (
            json!({"model_scale": "large", "model": "big-chat"}),
            &["Alpha/big-chat", "Beta/big-chat"],
        ),
        (json!({"model_type": null, "model_scale": "medium"}), &["Beta/Coder-7B"]),
    ] {
        assert_eq!(
            targets(&gateway, &with(ask("auto"), filters.clone())).await,
            expected,
            "{filters}"
        );
    }
    for upstream in ["alpha", "beta", "gamma"] {
        for record in gateway.upstream(upstream).records() {
            assert!(!String::from_utf8_lossy(&record.body).contains("model_"), "{record:?}");
        }
    }
}

#[tokio::test]
async fn filters_that_leave_no_model_are_400() {
    let gateway = mixed().await;
    for (filters, param) in [
        (json!({"model_type": "audio"}), "model_type"),
        (json!({"model_scale": "huge"}), "model_scale"),
        (json!({"model_name": "nothing-like-it"}), "model_name"),
        (json!({"model_type": "coding", "model_scale": "large"}), "model_scale"),
        (json!({"model": "big-chat", "model_scale": "small"}), "model_scale"),
    ] {
        let error = gateway.chat(&with(ask("auto"), filters.clone())).await.expect(400).error();
        assert_eq!(error["param"], param, "{filters}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn images_go_to_models_that_see_and_tools_to_those_that_take_them() {
    let gateway = mixed().await;
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]});
    assert_eq!(targets(&gateway, &with(ask("auto"), image.clone())).await, ["Gamma/eyes"]);
    gateway.chat(&with(ask("big-chat"), image)).await.expect(400);
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
    let takers: Vec<_> = ALL.into_iter().filter(|it| *it != "Beta/Coder-7B").collect();
    assert_eq!(targets(&gateway, &with(ask("auto"), tools.clone())).await, takers);
    let error = gateway.chat(&with(ask("beta/Coder-7B"), tools)).await.expect(400).error();
    assert_eq!(error["param"], "tools", "{error}");
}

/// Three providers with two models each.
fn three_by_two() -> Vec<Upstream> {
    ["A", "B", "C"].map(|it| Upstream::plain(it).model("n")).into()
}

#[tokio::test]
async fn turns_are_exactly_fair() {
    let gateway = Gateway::with(three_by_two()).start().await;
    let tally = tally(&gateway, &ask("auto"), 60).await;
    let expected = ["A/m", "A/n", "B/m", "B/n", "C/m", "C/n"].map(|it| (it.to_owned(), 10));
    assert_eq!(tally, BTreeMap::from(expected));
}

#[tokio::test]
async fn turns_are_fair_among_requests_at_once() {
    let gateway = Gateway::with(three_by_two()).start().await;
    let body = ask("auto");
    let answers = join_all((0..60).map(|_| gateway.chat(&body))).await;
    assert!(answers.iter().all(|it| it.status == 200));
    for name in ["a", "b", "c"] {
        assert_eq!(gateway.reached(name), 20, "{name}");
    }
}

#[tokio::test]
async fn keys_take_turns() {
    let upstream = Upstream::plain("Alpha").key("k1").key("k2").key("k3");
    let gateway = Gateway::with([upstream]).start().await;
    tally(&gateway, &ask("auto"), 30).await;
    let mut used = BTreeMap::<String, u64>::new();
    for record in gateway.upstream("alpha").records() {
        *used.entry(record.key).or_default() += 1;
    }
    assert_eq!(used.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test]
async fn free_smart_is_the_most_capable() {
    let gateway = mixed().await;
    assert_eq!(targets(&gateway, &ask("free-smart")).await, ["Alpha/big-chat"]);
    gateway.upstream("alpha").set_fault(Some(Fault::Down));
    let answer = gateway.chat(&ask("free-smart")).await;
    assert_eq!(target(&answer), "Beta/big-chat");
}

#[tokio::test]
async fn free_fast_is_the_fastest_that_was_measured() {
    let gateway = mixed().await;
    let slow = Pace { first_token: Duration::from_millis(500), per_chunk: Duration::ZERO };
    gateway.upstream("alpha").set_pace(slow);
    gateway.upstream("beta").set_pace(slow);
    let bodies = ALL.map(ask);
    let measured = join_all(bodies.iter().map(|it| gateway.chat(it))).await;
    assert!(measured.iter().all(|it| it.status == 200));
    assert_eq!(targets(&gateway, &ask("free-fast")).await, ["Gamma/eyes"]);
}

#[tokio::test]
async fn a_random_strategy_reaches_all() {
    let settings = json!({"routing": {"provider_strategy": "random", "model_strategy": "random"}});
    let gateway = Gateway::with(three_by_two()).settings(settings).start().await;
    let tally = tally(&gateway, &ask("auto"), 120).await;
    assert_eq!(tally.len(), 6, "{tally:?}");
}

const SESSION: [(&str, &str); 1] = [("x-session-id", "s-1")];

async fn in_session(gateway: &Gateway) -> (String, String) {
    let answer = gateway.chat_with(&ask("auto"), &SESSION).await;
    (target(&answer), answer.header("x-relay-route-reason").to_owned())
}

#[tokio::test]
async fn a_session_stays_where_it_is_and_moves_for_good_when_it_must() {
    let gateway = Gateway::with(three_by_two()).start().await;
    let (home, reason) = in_session(&gateway).await;
    assert_eq!(reason, "meta");
    for _ in 0..10 {
        gateway.chat(&ask("auto")).await.expect(200);
        assert_eq!(in_session(&gateway).await, (home.clone(), "affinity".to_owned()));
    }
    let provider = home.split('/').next().expect("a provider").to_owned();
    gateway.upstream(&provider).set_fault(Some(Fault::Status(500)));
    let (new_home, reason) = in_session(&gateway).await;
    assert_ne!(new_home, home);
    assert_eq!(reason, "failover");
    gateway.upstream(&provider).mend();
    for _ in 0..10 {
        gateway.chat(&ask("auto")).await.expect(200);
        assert_eq!(in_session(&gateway).await, (new_home.clone(), "affinity".to_owned()));
    }
}

#[tokio::test]
async fn a_session_keeps_its_model_in_streams_too() {
    let gateway = Gateway::with(three_by_two()).start().await;
    let (home, _) = in_session(&gateway).await;
    for _ in 0..7 {
        let answer = gateway.open(&ask("auto"), &SESSION).await.finish().await.expect_done();
        assert_eq!(answer.events[0]["model"], home);
        assert_eq!(answer.header("x-relay-route-reason"), "affinity");
    }
}

#[tokio::test]
async fn first_requests_of_one_session_at_once_agree() {
    let gateway = Gateway::with(three_by_two()).start().await;
    for round in 0..5 {
        let id = format!("session {round}");
        let (body, headers) = (ask("auto"), [("x-session-id", id.as_str())]);
        let answers = join_all((0..50).map(|_| gateway.chat_with(&body, &headers))).await;
        let mut homes: Vec<_> = answers.iter().map(target).collect();
        homes.sort_unstable();
        homes.dedup();
        assert_eq!(homes.len(), 1, "{homes:?}");
    }
}

#[tokio::test]
async fn a_direct_request_neither_follows_nor_moves_a_session() {
    let gateway = Gateway::with(three_by_two()).start().await;
    let (home, _) = in_session(&gateway).await;
    for direct in ["A/m", "B/n", "C/m"] {
        let answer = gateway.chat_with(&ask(direct), &SESSION).await;
        assert_eq!(
            (target(&answer).as_str(), answer.header("x-relay-route-reason")),
            (direct, "direct")
        );
    }
    assert_eq!(in_session(&gateway).await.0, home);
}

#[tokio::test]
async fn affinity_follows_the_settings() {
    let off = json!({"session": {"affinity_enabled": false}});
    let gateway = Gateway::with(three_by_two()).settings(off).start().await;
    let (first, second) = (in_session(&gateway).await.0, in_session(&gateway).await.0);
    assert_ne!(first, second);
    let renamed = json!({"session": {"id_header": "X-Chat"}});
    let gateway = Gateway::with(three_by_two()).settings(renamed).start().await;
    let home = target(&gateway.chat_with(&ask("auto"), &[("x-chat", "1")]).await);
    for _ in 0..4 {
        assert_eq!(target(&gateway.chat_with(&ask("auto"), &[("x-chat", "1")]).await), home);
    }
    let short = json!({"session": {"ttl_hours": 0.0001}});
    let gateway = Gateway::with(three_by_two()).settings(short).start().await;
    let (home, _) = in_session(&gateway).await;
    assert_eq!(in_session(&gateway).await.0, home);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(in_session(&gateway).await.1, "meta", "forgotten after 0.36 s");
}

#[tokio::test]
async fn a_session_waits_for_a_short_throttle_of_its_own_target() {
    let alpha = Upstream::plain("A").limits(json!({"requests_per_second": 1}));
    let gateway = Gateway::with([alpha, Upstream::plain("B")]).start().await;
    let session = [("x-session-id", "s-1")];
    for reason in ["meta", "affinity", "affinity"] {
        let answer = gateway.chat_with(&ask("auto"), &session).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "A");
        assert_eq!(answer.header("x-relay-route-reason"), reason);
    }
}

#[tokio::test]
async fn a_session_moves_at_once_where_its_own_target_is_throttled_for_longer() {
    // A minute is too long, and where nothing is waited for a second is.
    for (wait, limit) in [(10, "requests_per_minute"), (0, "requests_per_second")] {
        let settings = json!({"routing": {"max_quota_wait_seconds": wait}});
        let both = ["A", "B"].map(|it| Upstream::plain(it).limits(json!({limit: 1})));
        let gateway = Gateway::with(both).settings(settings).start().await;
        let session = [("x-session-id", "s-1")];
        let begun = gateway.chat_with(&ask("auto"), &session).await.expect(200);
        let since = Instant::now();
        let moved = gateway.chat_with(&ask("auto"), &session).await.expect(200);
        assert_ne!(moved.header("x-relay-provider"), begun.header("x-relay-provider"), "{limit}");
        assert!(since.elapsed() < Duration::from_millis(900), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn several_choices_go_to_providers_that_can_give_them() {
    let gateway =
        Gateway::with([Upstream::new("Groq", Flavour::Groq).model("m"), Upstream::plain("Alpha")]);
    let gateway = gateway.start().await;
    let body = with(ask("m"), json!({"n": 2}));
    for _ in 0..6 {
        let answer = gateway.chat(&body).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Alpha");
    }
    assert_eq!(gateway.reached("groq"), 0, "ruled out beforehand");
}
