//! The style guide is added to the caller's own instructions where it helps, and nowhere else.

use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

const HEADER: &str = "x-use-serverside-system-prompt";

fn sent(gateway: &Gateway) -> Vec<Value> {
    let record = gateway.upstream("alpha").records().pop().expect("a request");
    let body: Value = serde_json::from_slice(&record.body).expect("JSON");
    body["messages"].as_array().expect("messages").clone()
}

fn guided(sent: &[Value]) -> bool {
    json!(sent).to_string().contains("Unless instructed otherwise")
}

async fn check(more: Value, header: Option<&str>, expected: bool) {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).start().await;
    let headers: Vec<_> = header.into_iter().map(|it| (HEADER, it)).collect();
    let body = with(ask("m"), more.clone());
    let answer = gateway.chat_with(&body, &headers).await.expect(200);
    assert_eq!(guided(&sent(&gateway)), expected, "{more} {header:?}");
    let refused = header == Some("true") && !expected;
    assert_eq!(answer.header("x-relay-warning").contains("style-guide"), refused, "{more}");
}

#[tokio::test]
async fn it_goes_with_routed_requests_that_people_read() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    check(json!({}), None, true).await;
    check(json!({"model": "auto"}), None, true).await;
    check(json!({"model": "Alpha/m"}), None, false).await;
    check(json!({}), Some("false"), false).await;
    check(json!({"model": "Alpha/m"}), Some("True"), true).await;
    check(json!({"tools": tools}), None, false).await;
    check(json!({"tools": tools}), Some("true"), false).await;
    check(json!({"response_format": {"type": "json_object"}}), None, false).await;
}

#[tokio::test]
async fn the_callers_own_message_is_kept() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).start().await;
    let own =
        json!([{"role": "system", "content": "Be \"brief\"."}, {"role": "user", "content": "Hi"}]);
    gateway.stream(&with(ask("m"), json!({"messages": own}))).await.expect_done();
    let messages = sent(&gateway);
    assert_eq!(messages.len(), 2);
    let text = messages[0]["content"].as_str().expect("text");
    assert!(text.starts_with("Be \"brief\".\n\nUnless"), "{text}");
    assert_eq!(messages[1], own[1]);
}

#[tokio::test]
async fn settings_have_their_say() {
    let routing =
        json!({"use_server_side_system_prompt": false, "style_guide": "Talk like a pirate."});
    let setup = Gateway::with([Upstream::plain("Alpha")]).settings(json!({"routing": routing}));
    let gateway = setup.start().await;
    gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(json!(sent(&gateway)), ask("m")["messages"]);
    gateway.chat_with(&ask("m"), &[(HEADER, "true")]).await.expect(200);
    assert_eq!(sent(&gateway)[0], json!({"role": "system", "content": "Talk like a pirate."}));
    let error = gateway.chat_with(&ask("m"), &[(HEADER, "perhaps")]).await.expect(400).error();
    assert!(error["message"].as_str().is_some_and(|it| it.contains("true or false")), "{error}");
}

#[tokio::test]
async fn it_is_left_out_where_there_is_no_room() {
    let model = json!({"max_context_length": 400});
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi).model_with("m", model);
    let gateway = Gateway::with([alpha]).start().await;
    let tight = json!([{"role": "user", "content": "word ".repeat(270)}]);
    let answer = gateway.chat(&with(ask("m"), json!({"messages": tight}))).await.expect(200);
    assert_eq!((json!(sent(&gateway)), answer.header("x-relay-context")), (tight.clone(), ""));
    assert_eq!(answer.header("x-relay-warning"), "");
    let body = with(ask("m"), json!({"messages": tight}));
    let answer = gateway.chat_with(&body, &[(HEADER, "true")]).await.expect(200);
    assert_eq!(answer.header("x-relay-warning"), "style-guide-left-out");
}

#[tokio::test]
async fn what_the_caller_wrote_has_its_room_first() {
    let model = json!({"max_context_length": 2_000});
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi).model_with("m", model);
    let gateway = Gateway::with([alpha]).start().await;
    let said = |role: &str, words: usize| json!({"role": role, "content": "word ".repeat(words)});
    let messages = json!([said("user", 200), said("assistant", 200), said("user", 1_850)]);
    let body = with(ask("m"), json!({"messages": messages, "max_tokens": 100}));
    gateway.chat(&body).await.expect(200);
    assert_eq!(json!(sent(&gateway)), json!([messages[2]]));
}

#[tokio::test]
async fn the_word_to_a_new_model_takes_room() {
    let model = || json!({"max_context_length": 400});
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi);
    let alpha = alpha.model_with("m", model()).model_with("other", model());
    let settings = json!({"session": {"handoff_note": true},
        "routing": {"use_server_side_system_prompt": false}});
    let gateway = Gateway::with([alpha]).settings(settings).start().await;
    let said = |role: &str, words: usize| json!({"role": role, "content": "word ".repeat(words)});
    let messages = json!([said("user", 160), said("assistant", 160), said("user", 3)]);
    let headers = [("x-session-id", "s")];
    for (name, kept) in [("m", 3), ("other", 3)] {
        let body = with(ask(name), json!({"messages": messages, "max_tokens": 50}));
        let answer = gateway.chat_with(&body, &headers).await.expect(200);
        let cut = answer.header("x-relay-context");
        let turns = sent(&gateway).iter().filter(|it| it["role"] != "system").count();
        assert_eq!((turns < kept, cut.is_empty()), (name == "other", name == "m"), "{name}: {cut}");
    }
}

#[tokio::test]
async fn a_model_is_told_when_it_takes_a_session_over() {
    let setup = || Gateway::with([Upstream::plain("Alpha").model("other")]);
    for (on, told) in [(true, true), (false, false)] {
        let settings = json!({"session": {"handoff_note": on},
            "routing": {"use_server_side_system_prompt": false}});
        let gateway = setup().settings(settings).start().await;
        let headers = [("x-session-id", "s")];
        gateway.chat_with(&ask("m"), &headers).await.expect(200);
        gateway.chat_with(&ask("m"), &headers).await.expect(200);
        assert_eq!(json!(sent(&gateway)), ask("m")["messages"], "it stays where it was");
        gateway.chat_with(&ask("other"), &headers).await.expect(200);
        let text = json!(sent(&gateway)).to_string();
        assert_eq!(text.contains("another assistant"), told, "{text}");
    }
}
