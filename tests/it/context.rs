//! A conversation that is too long is cut so that it still makes sense, or refused.

use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

async fn of_size(tokens: u64) -> Gateway {
    let model = json!({"max_context_length": tokens});
    let alpha = Upstream::new("Alpha", relayfreellm::sim::Flavour::OpenAi).model_with("m", model);
    Gateway::with([alpha]).start().await
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
        assert!((3..20).contains(&sent.len()), "{}", sent.len());
        assert_eq!(sent.first().map(|it| it["content"].clone()), Some(json!("Be brief.")));
        assert_eq!(sent.last().map(|it| it["content"].clone()), Some(json!("The last question?")));
        let text = json!(sent).to_string();
        assert!(text.contains("turn 59 ") && !text.contains("turn 3 "), "{text}");
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
async fn what_may_not_be_cut_and_does_not_fit_is_400() {
    let gateway = of_size(500).await;
    let body = with(ask("m"), json!({"messages": [message("user", &"word ".repeat(2_000))]}));
    let error = gateway.chat(&body).await.expect(400).error();
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert_eq!(error["param"], "messages", "{error}");
    assert_eq!(gateway.reached("alpha"), 0);
}
