//! With `X-Relay-Strict` a request goes to one provider as it is, and what that says comes back as
//! it is.

use relayfreellm::sim::Answer as Says;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, Setup, Upstream, ask, with};

const STRICT: [(&str, &str); 1] = [("x-relay-strict", "true")];

fn two() -> Setup {
    Gateway::with([
        Upstream::plain("Alpha").key("sk-alpha-key-one").key("sk-alpha-key-two"),
        Upstream::plain("Beta"),
    ])
}

fn raw(status: u16, body: &str) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
    Fault::RawResponse { status, headers, body: body.to_owned().into() }
}

#[tokio::test]
async fn names_that_leave_a_choice_are_refused() {
    let gateway = two().start().await;
    let unnamed = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let metas =
        ["meta-model", "auto", "free", "relay", "freerelay-auto", "free-fast", "free-smart"];
    let bodies = metas.iter().map(|it| ask(it)).chain([unnamed]);
    for body in bodies {
        for header in ["x-relay-strict", "x-freellm-strict"] {
            let answer = gateway.chat_with(&body, &[(header, "true")]).await.expect(400);
            assert_eq!(answer.error()["code"], "strict_mode", "{body}");
            assert_eq!(answer.error()["param"], "model");
        }
        gateway.chat_with(&body, &[("x-relay-strict", "false")]).await.expect(200);
    }
}

#[tokio::test]
async fn a_retired_model_is_not_replaced() {
    let alpha = Upstream::plain("Alpha").model_with("old", json!({"successor": "m"}));
    let gateway = Gateway::with([alpha]).start().await;
    gateway.chat(&ask("Alpha/old")).await.expect(200);
    let answer = gateway.chat_with(&ask("Alpha/old"), &STRICT).await.expect(400);
    assert_eq!(answer.error()["code"], "strict_mode");
    assert_eq!(gateway.reached("alpha"), 1);
}

#[tokio::test]
async fn one_provider_is_tried_with_all_its_keys() {
    let gateway = two().start().await;
    for name in ["alpha", "beta"] {
        gateway.upstream(name).set_fault(Some(Fault::Status(500)));
    }
    // A bare name that both have: whoever's turn it is, and nobody else.
    gateway.chat_with(&ask("m"), &STRICT).await.expect(500);
    let reached = (gateway.reached("alpha"), gateway.reached("beta"));
    assert!([(2, 0), (1, 0), (0, 1)].contains(&reached), "{reached:?}");

    let gateway = two().start().await;
    let alpha = gateway.upstream("alpha");
    alpha.script(None, vec![Fault::RateLimited { retry_after: None }]);
    let answer = gateway.chat_with(&ask("Alpha/m"), &STRICT).await.expect(200);
    assert_eq!(answer.header("x-relay-attempts"), "2");
    let keys: Vec<String> = alpha.records().into_iter().map(|it| it.key).collect();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn the_providers_error_comes_back_in_its_status_and_body() {
    let body = r#"{"oops":"sk-alpha/key-one and sk-alpha\/key-one",  "code": 17}"#;
    for status in [400, 402, 404, 409, 413, 418, 422, 429, 500, 503, 529] {
        for stream in [false, true] {
            let gateway =
                Gateway::with([Upstream::plain("Alpha").key("sk-alpha/key-one")]).start().await;
            gateway.upstream("alpha").set_fault(Some(raw(status, body)));
            let asked = with(ask("Alpha/m"), json!({"stream": stream}));
            let answer = gateway.chat_with(&asked, &STRICT).await.expect(status);
            assert_eq!(answer.text(), r#"{"oops":"[key] and [key]",  "code": 17}"#, "{status}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.header("x-relay-provider"), "Alpha");
            assert!(!answer.header("x-request-id").is_empty());
        }
    }
}

#[tokio::test]
async fn no_key_of_the_gateway_is_in_an_error_whoever_was_asked() {
    let keys = ["sk-alpha/key-one", "sk-alpha/key-two", "sk-beta-key-three", "the-master-of-keys"];
    let gateway = Gateway::with([
        Upstream::plain("Alpha").key(keys[0]).key(keys[1]),
        Upstream::plain("Beta").key(keys[2]),
    ])
    .variable("RELAY_API_KEY", keys[3])
    .start()
    .await;
    let master = ("x-api-key", keys[3]);
    let all = keys.map(|it| format!("{it}, {}", it.replace('/', "%2f"))).join(" and ");
    let error = json!({"error": {"message": all, "param": keys[2], "code": keys[3],
        "type": "invalid_request_error"}});
    gateway.upstream("alpha").set_fault(Some(raw(400, &error.to_string())));
    for headers in [&[master][..], &[master, STRICT[0]]] {
        let answer = gateway.chat_with(&ask("Alpha/m"), headers).await.expect(400);
        assert!(answer.text().matches("[key]").count() >= 8, "{}", answer.text());
        for part in ["sk-alpha", "key-one", "key-two", "sk-beta", "key-three", "of-keys"] {
            assert!(!answer.text().contains(part), "{part}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_providers_401_and_403_are_not_the_callers() {
    for status in [401, 403] {
        let gateway = two().start().await;
        gateway.upstream("alpha").set_fault(Some(raw(status, r#"{"error":"bad key"}"#)));
        let answer = gateway.chat_with(&ask("Alpha/m"), &STRICT).await.expect(503);
        assert_eq!(answer.error()["code"], "all_providers_failed");
        assert_eq!((gateway.reached("alpha"), gateway.reached("beta")), (2, 0));
    }
}

#[tokio::test]
async fn a_long_error_is_bounded_and_a_silent_provider_has_ours() {
    let gateway = two().start().await;
    let long = "x".repeat(10 << 20);
    gateway.upstream("alpha").set_fault(Some(raw(500, &long)));
    let answer = gateway.chat_with(&ask("Alpha/m"), &STRICT).await.expect(500);
    assert_eq!(answer.text(), "x".repeat(64 * 1024));
    gateway.upstream("alpha").set_fault(Some(Fault::Down));
    let answer = gateway.chat_with(&ask("Alpha/m"), &STRICT).await;
    assert!([503, 429].contains(&answer.status), "{answer:?}");
    assert!(answer.error()["request_id"].is_string());
}

#[tokio::test]
async fn nothing_of_the_answer_is_touched() {
    let gateway = two().start().await;
    let said = "Certainly! As an AI, here: ```rust\nfn f() {";
    gateway.upstream("alpha").set_answer(Says::Fixed(said.to_owned()), Some(3));
    let json_mode = json!({"response_format": {"type": "json_object"}});
    for body in [ask("Alpha/m"), with(ask("Alpha/m"), json_mode)] {
        assert_eq!(gateway.chat_with(&body, &STRICT).await.expect(200).said(), said);
        let stream = gateway.open(&body, &STRICT).await.finish().await.expect_done();
        assert_eq!(stream.said(), said);
    }
}

#[tokio::test]
async fn tags_in_an_answer_are_left_where_they_are() {
    let gateway = two().start().await;
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f",
        "parameters": {"type": "object"}}}]});
    let body = with(ask("Alpha/m"), tools);
    for said in
        ["<think>abc</think>the answer", r#"<tool_call>{"name": "f", "arguments": {}}</tool_call>"#]
    {
        gateway.upstream("alpha").set_answer(Says::Fixed(said.to_owned()), None);
        let answer = gateway.chat_with(&body, &STRICT).await.expect(200);
        assert_eq!(answer.said(), said);
        let message = &answer.json()["choices"][0]["message"];
        assert!(message["reasoning_content"].is_null() && message["tool_calls"].is_null());
        let stream = gateway.open(&body, &STRICT).await.finish().await.expect_done();
        assert_eq!(stream.said(), said);
        // Without the header they are read.
        assert_ne!(gateway.chat(&body).await.expect(200).text().matches(said).count(), 1);
    }
}

#[tokio::test]
async fn nothing_of_the_request_is_touched() {
    let model = json!({"max_context_length": 600});
    let alpha = Upstream::new("Alpha", Flavour::OpenAi).model_with("m", model);
    let gateway = Gateway::with([alpha]).start().await;
    let turns = (0..80).map(|at| {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        json!({"role": role, "content": format!("turn {at} of a long conversation")})
    });
    let turns: Vec<Value> = turns.chain([json!({"role": "user", "content": "last"})]).collect();
    let body = json!({"model": "Alpha/m", "messages": turns, "max_tokens": 100_000});
    let answer = gateway.chat_with(&body, &STRICT).await.expect(200);
    assert_eq!(answer.header("x-relay-context"), "");
    let record = gateway.upstream("alpha").records().pop().expect("a request");
    let sent: Value = serde_json::from_slice(&record.body).expect("JSON");
    assert_eq!(sent, with(body.clone(), json!({"model": "m"})));
    // The same without the header is cut.
    let answer = gateway.chat(&body).await.expect(200);
    assert!(answer.header("x-relay-context").contains("dropped="), "{answer:?}");
}

#[tokio::test]
async fn a_member_that_is_refused_is_not_left_out() {
    let said = r#"{"error":{"message":"Unknown parameter: 'seed'","param":"seed","code":"unknown_parameter","type":"invalid_request_error"}}"#;
    let gateway = two().start().await;
    let body = with(ask("Alpha/m"), json!({"seed": 1}));
    gateway.upstream("alpha").script(None, vec![raw(400, said), raw(400, said)]);
    // Learned without the header, it is still sent with it.
    gateway.chat(&body).await.expect(400);
    gateway.upstream("alpha").script(None, vec![raw(400, said)]);
    let answer = gateway.chat_with(&body, &STRICT).await.expect(400);
    assert_eq!(answer.text(), said);
    let last = gateway.upstream("alpha").records().pop().expect("a request");
    assert!(String::from_utf8_lossy(&last.body).contains("seed"));
}

#[tokio::test]
async fn a_cut_stream_is_not_continued_elsewhere() {
    let gateway = two().start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::CutAfterChunks(3)));
    let stream = gateway.open(&ask("Alpha/m"), &STRICT).await.finish().await;
    assert_eq!(stream.error()["code"], "stream_interrupted");
    assert!(!stream.done);
    assert_eq!(gateway.reached("alpha"), 1);
}
