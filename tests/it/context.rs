//! A conversation that is too long is cut so that it still makes sense, or refused.

use serde_json::{Value, json};

use crate::support::{Gateway, Log, Upstream, ask, with};

async fn of_size(tokens: u64) -> Gateway {
    with_context(tokens, json!({})).await
}

/// A model of that size, with settings of `context`, and no style guide.
async fn with_context(tokens: u64, context: Value) -> Gateway {
    let model = json!({"max_context_length": tokens});
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi).model_with("m", model);
    let routing = json!({"use_server_side_system_prompt": false});
    let settings = json!({"context": context, "routing": routing});
    Gateway::with([alpha]).settings(settings).start().await
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// A system message, so many turns of about 100 tokens each, and a last question.
fn conversation(turns: usize) -> Value {
    let mut messages = vec![message("system", "Be brief.")];
    for turn in 0..turns {
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        messages.push(message(role, &format!("turn {turn} {}", "word ".repeat(95))));
    }
    messages.push(message("user", "The last question?"));
    with(ask("m"), json!({"messages": messages}))
}

fn sent(gateway: &Gateway) -> Vec<Value> {
    let record = gateway.upstream("alpha").records().pop().expect("a request");
    let body: Value = serde_json::from_slice(&record.body).expect("JSON");
    body["messages"].as_array().expect("messages").clone()
}

#[tokio::test]
async fn a_conversation_that_fits_is_not_touched() {
    let gateway = of_size(8_000).await;
    let body = conversation(20);
    let answer = gateway.chat(&body).await.expect(200);
    assert_eq!(json!(sent(&gateway)), body["messages"]);
    assert_eq!(answer.header("x-relay-context"), "");
}

#[tokio::test]
async fn of_one_that_does_not_fit_the_latest_turns_stay() {
    let gateway = of_size(2_000).await;
    let body = conversation(60);
    for stream in [false, true] {
        let headers = if stream {
            gateway.stream(&body).await.expect_done().headers
        } else {
            gateway.chat(&body).await.expect(200).headers
        };
        let said = headers["x-relay-context"].to_str().expect("text");
        for part in ["mode=", "kept=", "dropped="] {
            assert!(said.contains(part), "{said}");
        }
        let sent = sent(&gateway);
        assert!(said.contains("mode=reservoir") && said.contains("summary_tokens="), "{said}");
        assert!((3..20).contains(&sent.len()), "{}", sent.len());
        assert_eq!(sent.first().map(|it| it["content"].clone()), Some(json!("Be brief.")));
        assert_eq!(sent.last().map(|it| it["content"].clone()), Some(json!("The last question?")));
        let text = json!(sent).to_string();
        assert!(text.contains("turn 59 ") && text.contains("Earlier conversation, shortened"));
        let verbatim: Vec<_> = sent.iter().skip(2).map(Value::to_string).collect();
        assert!(!verbatim.concat().contains("turn 3 "), "{text}");
    }
}

fn said(answer: &crate::support::Answer) -> String {
    answer.header("x-relay-context").to_owned()
}

#[tokio::test]
async fn every_mode_cuts_in_its_way() {
    for (mode, keep, starts) in [
        ("static", 10, "mode=static; kept=11; dropped=51"),
        ("dynamic", 10, "mode=dynamic; kept=1"),
        ("reservoir", 15, "mode=reservoir; kept=1"),
        ("adaptive", 15, "mode=adaptive; kept="),
    ] {
        let gateway = with_context(4_000, json!({"management_mode": mode})).await;
        let answer = gateway.chat(&conversation(60)).await.expect(200);
        assert!(said(&answer).starts_with(starts), "{mode}: {}", said(&answer));
        let summed = sent(&gateway).iter().any(|it| {
            it["content"].as_str().is_some_and(|it| it.starts_with("[Earlier conversation"))
        });
        assert_eq!(summed, keep == 15, "{mode}");
    }
    let gateway = with_context(4_000, json!({"management_mode": "disabled"})).await;
    let error = gateway.chat(&conversation(60)).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    gateway.chat(&conversation(10)).await.expect(200);
}

#[tokio::test]
async fn always_cuts_in_dynamic_mode_too() {
    let context = json!({"apply": "always", "management_mode": "dynamic", "static_recent_keep": 5});
    let gateway = with_context(8_000, context).await;
    let answer = gateway.chat(&conversation(30)).await.expect(200);
    assert_eq!(answer.header("x-relay-context"), "mode=dynamic; kept=6; dropped=26");
}

#[tokio::test]
async fn always_cuts_what_would_fit_to_what_the_mode_keeps() {
    let context = json!({"apply": "always", "management_mode": "static", "static_recent_keep": 5});
    let gateway = with_context(100_000, context).await;
    let answer = gateway.chat(&conversation(20)).await.expect(200);
    assert_eq!(said(&answer), "mode=static; kept=6; dropped=16");
    let answer = gateway.chat(&conversation(4)).await.expect(200);
    assert_eq!(said(&answer), "");
    assert_eq!(json!(sent(&gateway)), conversation(4)["messages"]);
}

#[tokio::test]
async fn a_session_that_uses_little_gets_a_wider_window() {
    let context = json!({"management_mode": "dynamic", "dynamic_min_utilization": 0});
    let gateway = with_context(8_000, context).await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        let answer = gateway.chat_with(&conversation(90), &[("x-session-id", "s")]).await;
        kept.push(said(&answer.expect(200)));
    }
    assert!(kept[0].contains("kept=11"), "{kept:?}");
    assert!(kept[3].contains("kept=15"), "{kept:?}");
}

#[tokio::test]
async fn a_result_that_is_too_long_alone_loses_its_middle() {
    let gateway = of_size(2_000).await;
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = with(
        ask("m"),
        json!({"messages": [message("user", "Read it."),
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": format!("A{}Z", "r ".repeat(9_000))}]}),
    );
    let answer = gateway.chat(&body).await.expect(200);
    assert_eq!(said(&answer), "mode=reservoir; kept=3; dropped=0; without_middle=1");
    let text = sent(&gateway)[2]["content"].as_str().expect("text").to_owned();
    assert!(text.starts_with('A') && text.ends_with('Z') && text.contains("left out here"));
}

#[tokio::test]
async fn the_debug_log_says_which_messages_went() {
    let log = Log::catch();
    let context = json!({"management_mode": "static", "static_recent_keep": 5});
    let gateway = with_context(2_000, context).await;
    let answer = gateway.chat(&conversation(40)).await.expect(200);
    assert_eq!(said(&answer), "mode=static; kept=6; dropped=36");
    // The system message is the first of them, and the last five are left.
    assert!(log.text().contains("history cut") && log.text().contains("dropped=[1..37]"));
    assert!(!log.text().contains("word word"), "what they said is not in it");
}

#[tokio::test]
async fn images_are_not_counted_by_their_letters() {
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi);
    let model = json!({"max_context_length": 8_000, "modality": "vision"});
    let gateway = Gateway::with([alpha.model_with("m", model)]).start().await;
    let image = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(9_000));
    let parts = json!([{"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": image}}]);
    let body = with(ask("m"), json!({"messages": [{"role": "user", "content": parts}]}));
    assert_eq!(said(&gateway.chat(&body).await.expect(200)), "");
    let many = json!([parts[1], parts[1], parts[1], parts[1]]);
    let body = with(ask("m"), json!({"messages": [{"role": "user", "content": many}]}));
    let error = gateway.chat(&body).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
}

#[tokio::test]
async fn a_photo_takes_little_of_a_window_of_tokens() {
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi);
    let model = json!({"max_context_length": 16_000, "modality": "vision",
        "limits": {"tokens_per_minute": 10_000}});
    let gateway = Gateway::with([alpha.model_with("m", model)])
        .settings(json!({"routing": {"max_quota_wait_seconds": 0}}))
        .start()
        .await;
    let image = format!("data:image/jpeg;base64,{}", "/9j4AAQSkZJRg".repeat(15_000));
    let parts = json!([{"type": "image_url", "image_url": {"url": image}}]);
    let messages = json!([{"role": "user", "content": parts}]);
    for _ in 0..2 {
        let body = with(ask("m"), json!({"max_tokens": 7_000, "messages": messages}));
        assert_eq!(said(&gateway.chat(&body).await.expect(200)), "");
        let record = gateway.upstream("alpha").records().pop().expect("a request");
        let sent: Value = serde_json::from_slice(&record.body).expect("JSON");
        assert_eq!(sent["max_tokens"], 7_000);
    }
}

#[tokio::test]
async fn a_tools_result_never_loses_its_call() {
    let gateway = of_size(2_000).await;
    let mut body = conversation(40);
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = body["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": "r ".repeat(300)}));
    gateway.chat(&body).await.expect(200);
    let sent = sent(&gateway);
    let tail: Vec<_> = sent.iter().rev().take(3).map(|it| it["role"].as_str()).collect();
    assert_eq!(tail, [Some("tool"), Some("assistant"), Some("user")]);
}

#[tokio::test]
async fn the_model_that_takes_it_whole_goes_first() {
    let small = json!({"max_context_length": 2_000});
    let large = json!({"max_context_length": 50_000});
    let flavour = relayfreellm::sim::Flavour::OpenAi;
    let gateway = Gateway::with([
        Upstream::new("Small", flavour).model_with("m", small),
        Upstream::new("Large", flavour).model_with("m", large),
    ]);
    let gateway = gateway.start().await;
    for _ in 0..4 {
        let answer = gateway.chat(&conversation(60)).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Large");
        assert_eq!(answer.header("x-relay-context"), "");
    }
}

#[tokio::test]
async fn a_session_stays_where_its_conversation_still_fits() {
    let flavour = relayfreellm::sim::Flavour::OpenAi;
    let of_size = |name: &'static str, tokens: u64| {
        Upstream::new(name, flavour).model_with("m", json!({"max_context_length": tokens}))
    };
    let gateway = Gateway::with([of_size("Small", 5_000), of_size("Large", 50_000)]);
    let gateway = gateway.start().await;
    for session in ["a", "b"] {
        let headers = [("x-session-id", session)];
        let home = gateway.chat_with(&ask("m"), &headers).await.expect(200);
        // More bytes than the small one has tokens: whether it fits has to be counted.
        let later = gateway.chat_with(&conversation(20), &headers).await.expect(200);
        assert_eq!(later.header("x-relay-provider"), home.header("x-relay-provider"));
        assert_eq!(later.header("x-relay-route-reason"), "affinity");
        assert_eq!(later.header("x-relay-context"), "");
    }
    assert_eq!((gateway.reached("small"), gateway.reached("large")), (2, 2));
}

#[tokio::test]
async fn a_model_that_tells_how_much_it_holds_is_believed() {
    let flavour = relayfreellm::sim::Flavour::DeepSeek;
    let alpha = Upstream::new("Alpha", flavour).model("m").key("one").key("two");
    let alpha = alpha.simulated(|it| it.models[0].context = Some(2_000));
    let settings = json!({"routing": {"use_server_side_system_prompt": false}});
    let gateway = Gateway::with([alpha]).settings(settings).start().await;
    let shown =
        async || gateway.get("/v1/models/Alpha/m").await.json()["max_context_length"].clone();
    assert_eq!(shown().await, json!(null));
    let answer = gateway.chat(&conversation(60)).await.expect(200);
    assert_eq!(answer.header("x-relay-attempts"), "2");
    assert!(said(&answer).starts_with("mode=reservoir; kept="), "{}", said(&answer));
    assert_eq!(shown().await, json!(2_000));
    let answer = gateway.chat(&conversation(60)).await.expect(200);
    assert_eq!(answer.header("x-relay-attempts"), "1", "it is remembered");
    assert!(said(&answer).starts_with("mode=reservoir; kept="), "{}", said(&answer));
    assert_eq!(said(&gateway.chat(&conversation(5)).await.expect(200)), "");
    let long = message("user", &"word ".repeat(4_000));
    let body = with(ask("m"), json!({"messages": [long]}));
    let before = gateway.reached("alpha");
    let error = gateway.chat(&body).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(gateway.reached("alpha"), before, "nobody is asked in vain");
}

#[tokio::test]
async fn what_a_told_bound_leaves_no_room_for_is_400() {
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::DeepSeek).model("m");
    let alpha = alpha.simulated(|it| it.models[0].context = Some(2_000));
    let gateway = Gateway::with([alpha]).start().await;
    let long = message("user", &"word ".repeat(4_000));
    let body = with(ask("m"), json!({"messages": [long]}));
    let error = gateway.chat(&body).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(gateway.reached("alpha"), 1);
}

#[tokio::test]
async fn turns_that_have_to_alternate_do_so_after_a_cut_too() {
    for (mode, turns) in [("reservoir", 61), ("static", 60), ("static", 61)] {
        let model = json!({"max_context_length": 3_000});
        let alpha = Upstream::new("NVIDIA", relayfreellm::sim::Flavour::Nvidia);
        let alpha = alpha.model_with("google/gemma-3-27b-it", model);
        let settings = json!({"context": {"management_mode": mode},
            "routing": {"use_server_side_system_prompt": false}});
        let gateway = Gateway::with([alpha]).settings(settings).start().await;
        let body = with(conversation(turns), json!({"model": "google/gemma-3-27b-it"}));
        let answer = gateway.chat(&body).await.expect(200);
        assert!(said(&answer).contains("dropped="), "{}", said(&answer));
        let record = gateway.upstream("nvidia").records().pop().expect("a request");
        let sent: Value = serde_json::from_slice(&record.body).expect("JSON");
        let roles: Vec<_> = sent["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .filter_map(|it| it["role"].as_str())
            .filter(|it| *it != "system")
            .collect();
        assert_eq!(roles.first(), Some(&"user"), "{mode} {turns}: {roles:?}");
        assert!(roles.windows(2).all(|it| it[0] != it[1]), "{mode} {turns}: {roles:?}");
    }
}

#[tokio::test]
async fn who_takes_it_whole_goes_before_who_has_it_cut() {
    let flavour = relayfreellm::sim::Flavour::DeepSeek;
    let small = Upstream::new("Small", flavour).model("m");
    let small = small.simulated(|it| it.models[0].context = Some(2_000));
    let large = Upstream::new("Large", flavour).model("m");
    let gateway = Gateway::with([small, large]).start().await;
    for _ in 0..4 {
        let answer = gateway.chat(&conversation(60)).await.expect(200);
        assert_eq!((answer.header("x-relay-provider"), said(&answer)), ("Large", String::new()));
    }
    assert_eq!(gateway.reached("small"), 1, "once it is known it is not asked");
}

#[tokio::test]
async fn what_may_not_be_cut_and_does_not_fit_is_400() {
    let gateway = of_size(500).await;
    let body = with(ask("m"), json!({"messages": [message("user", &"word ".repeat(2_000))]}));
    let error = gateway.chat(&body).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(error["param"], "messages", "{error}");
    assert_eq!(gateway.reached("alpha"), 0);
}
