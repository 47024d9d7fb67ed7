//! JSON that is asked for comes, from models with a JSON mode and without, and comes checked.

use std::time::Duration;

use relayfreellm::sim::Answer as Says;
use relayfreellm::sim::{Fault, Flavour, Pace, Voice};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, StreamAnswer, Upstream, ask, with};

const GOOD: &str = r#"{"city":"Paris","people":2102650}"#;
const WRAPPED: &str =
    "Here it is:\n\n```json\n{\"city\":\"Paris\",\"people\":2102650}\n```\nAnything else?";
const OFF: &str = r#"{"city":"Paris","people":"many"}"#;
const PROSE: &str = "Paris is a lovely city.";
/// `GOOD` cut after its first 20 bytes.
const CUT: &str = r#"{"city":"Paris","peo"#;

fn schema() -> Value {
    json!({"type": "object", "required": ["city", "people"], "additionalProperties": false,
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}})
}

fn by_schema(model: &str) -> Value {
    with_schema(model, &schema())
}

fn with_schema(model: &str, schema: &Value) -> Value {
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": schema}});
    with(ask(model), json!({ "response_format": format }))
}

fn any_json(model: &str) -> Value {
    with(ask(model), json!({"response_format": {"type": "json_object"}}))
}

/// One with both JSON modes, which says `text`.
fn native(name: &str, text: &str) -> Upstream {
    Upstream::plain(name).simulated(|it| it.answer = Says::Fixed(text.to_owned()))
}

/// One with no JSON mode, which says `text` in chunks of three characters.
fn plain(name: &str, text: &str) -> Upstream {
    limited(name, text, &json!({"json_object": false, "json_schema": false}))
}

fn limited(name: &str, text: &str, capabilities: &Value) -> Upstream {
    Upstream::new(name, Flavour::OpenAi)
        .model_with("m", json!({ "capabilities": capabilities }))
        .simulated(|it| {
            it.answer = Says::Fixed(text.to_owned());
            it.chunk_chars = Some(3);
        })
}

/// The body that reached the provider of that name in its only request.
fn body_at(gateway: &Gateway, name: &str) -> Value {
    let records = gateway.upstream(name).records();
    assert_eq!(records.len(), 1, "{name}");
    serde_json::from_slice(&records[0].body).expect("JSON")
}

fn served_by(answer: &Answer, provider: &str, attempts: &str) {
    assert_eq!(answer.header("x-relay-provider"), provider);
    assert_eq!(answer.header("x-relay-attempts"), attempts);
}

fn streamed_by(answer: &StreamAnswer, provider: &str, attempts: &str) {
    assert_eq!(answer.header("x-relay-provider"), provider);
    assert_eq!(answer.header("x-relay-attempts"), attempts);
    assert_eq!(answer.events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(answer.finishes(0).len(), 1, "{:?}", answer.data);
    let heads = |it: &Value| (it["id"].clone(), it["created"].clone());
    let same = answer.events.iter().all(|it| heads(it) == heads(&answer.events[0]));
    assert!(same, "{:?}", answer.data);
}

#[tokio::test]
async fn a_model_with_the_mode_is_asked_as_it_is_and_its_bytes_stay() {
    let gateway = Gateway::with([native("Alpha", GOOD)]).start().await;
    let body = by_schema("m");
    let answer = gateway.chat(&body).await.expect(200);
    assert_eq!((answer.said().as_str(), answer.header("x-relay-warning")), (GOOD, ""));
    let sent = body_at(&gateway, "alpha");
    assert_eq!(sent["response_format"], body["response_format"]);
    assert_eq!(sent["messages"], body["messages"]);
}

#[tokio::test]
async fn an_answer_off_its_schema_is_asked_for_elsewhere() {
    for bad in [native("Bad", OFF), native("Bad", PROSE), plain("Bad", OFF)] {
        let gateway = Gateway::with([bad, native("Good", GOOD)]).start().await;
        let answer = gateway.chat(&by_schema("m")).await.expect(200);
        assert_eq!(answer.said(), GOOD);
        served_by(&answer, "Good", "2");
        let usage = gateway.usage().await;
        assert_eq!(usage["total"]["requests"], 1, "a failed attempt is no answer");
        assert_eq!(usage["providers"]["Bad"]["prompt_tokens"], 0);
        // Its next answer may fit: it is not benched.
        gateway.upstream("bad").set_answer(Says::Fixed(GOOD.to_owned()), None);
        served_by(&gateway.chat(&by_schema("Bad/m")).await.expect(200), "Bad", "1");
    }
}

#[tokio::test]
async fn what_was_off_its_schema_has_spent_its_quota() {
    let bad = native("Bad", OFF).limits(json!({"requests_per_day": 1}));
    let gateway = Gateway::with([bad, native("Good", GOOD)]).start().await;
    for _ in 0..2 {
        let answer = gateway.chat(&by_schema("m")).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Good");
    }
    assert_eq!(gateway.reached("bad"), 1);
}

#[tokio::test]
async fn when_nothing_fits_the_error_says_so() {
    let two_keys = native("Alpha", OFF).key("k1").key("k2");
    for (upstream, model) in [(two_keys, "m"), (plain("Alpha", PROSE), "Alpha/m")] {
        let gateway = Gateway::with([upstream]).start().await;
        let answer = gateway.chat(&by_schema(model)).await.expect(503);
        let error = answer.error();
        assert_eq!(error["code"], "all_providers_failed");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("answer did not fit the schema"), "{message}");
        // The same model by another key would say the same.
        assert_eq!(gateway.reached("alpha"), 1);
    }
}

#[tokio::test]
async fn a_model_without_the_mode_is_instructed_and_its_wrapping_goes() {
    for model in ["m", "Alpha/m"] {
        let gateway = Gateway::with([plain("Alpha", WRAPPED)]).start().await;
        let system = json!({"role": "system", "content": "Be brief."});
        let user = json!({"role": "user", "content": "Where?"});
        let body = with(by_schema(model), json!({"messages": [system, user]}));
        let answer = gateway.chat(&body).await.expect(200);
        assert_eq!((answer.said().as_str(), answer.header("x-relay-warning")), (GOOD, ""));
        let sent = body_at(&gateway, "alpha");
        assert_eq!(sent["response_format"], Value::Null);
        assert_eq!(
            (&sent["messages"][1], sent["messages"].as_array().map(Vec::len)),
            (&user, Some(2))
        );
        let text = sent["messages"][0]["content"].as_str().expect("text");
        assert!(text.starts_with("Be brief.\n\nAnswer with one JSON value"), "{text}");
        assert!(text.ends_with(&schema().to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_model_for_any_object_gets_the_schema_beside_it() {
    let gateway = Gateway::with([limited("Alpha", GOOD, &json!({"json_schema": false}))]);
    let gateway = gateway.start().await;
    assert_eq!(gateway.chat(&by_schema("m")).await.expect(200).said(), GOOD);
    let sent = body_at(&gateway, "alpha");
    assert_eq!(sent["response_format"], json!({"type": "json_object"}));
    assert!(sent["messages"][0]["content"].as_str().expect("text").contains("JSON Schema"));
}

#[tokio::test]
async fn tools_and_a_json_mode_may_exclude_each_other() {
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let gateway = Gateway::with([limited("Alpha", GOOD, &json!({"json_with_tools": false}))]);
    let gateway = gateway.start().await;
    assert_eq!(gateway.chat(&with(any_json("m"), tools)).await.expect(200).said(), GOOD);
    let sent = body_at(&gateway, "alpha");
    assert_eq!(
        (&sent["response_format"], &sent["tools"][0]["type"]),
        (&Value::Null, &json!("function"))
    );
}

#[tokio::test]
async fn nvidias_own_member_is_left_out_with_the_mode() {
    let nvidia = limited("Nvidia", WRAPPED, &json!({"json_object": false, "json_schema": false}));
    let gateway = Gateway::with([nvidia]).start().await;
    assert_eq!(gateway.chat(&by_schema("m")).await.expect(200).said(), GOOD);
    let sent = body_at(&gateway, "nvidia");
    assert_eq!((&sent["guided_json"], &sent["response_format"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_model_that_turns_out_not_to_know_the_mode_is_instructed() {
    for (stream, instructable) in [(false, true), (true, true), (false, false)] {
        let mut alpha = limited("Alpha", WRAPPED, &json!({ "instructed_json": instructable }));
        alpha = alpha.simulated(|it| it.models[0].refuses.push("response_format".to_owned()));
        let gateway = Gateway::with([alpha, native("Good", GOOD)]).start().await;
        let body = by_schema("m");
        let (headers, said) = if stream {
            let answer = gateway.stream(&body).await.expect_done();
            let said = answer.said();
            (answer.headers, said)
        } else {
            let answer = gateway.chat(&body).await.expect(200);
            let said = answer.said();
            (answer.headers, said)
        };
        assert_eq!(said, GOOD);
        let provider = if instructable { "Alpha" } else { "Good" };
        assert_eq!(
            (&headers["x-relay-provider"], headers.get("x-relay-warning")),
            (&provider.parse().expect("a value"), None)
        );
    }
}

#[tokio::test]
async fn what_can_be_neither_asked_nor_instructed_is_ruled_out() {
    let none = json!({"json_object": false, "json_schema": false, "instructed_json": false});
    let gateway = Gateway::with([limited("Ocr", GOOD, &none), plain("Good", GOOD)]).start().await;
    for body in [by_schema("m"), any_json("m")] {
        served_by(&gateway.chat(&body).await.expect(200), "Good", "1");
        let body = with(body, json!({"model": "Ocr/m"}));
        assert_eq!(gateway.chat(&body).await.expect(400).error()["param"], "response_format");
    }
}

#[tokio::test]
async fn a_stream_without_the_mode_is_held_until_it_is_checked() {
    for body in [by_schema("m"), any_json("m")] {
        let gateway = Gateway::with([plain("Alpha", WRAPPED)]).start().await;
        let answer = gateway.stream(&body).await.expect_done();
        assert_eq!(answer.said(), GOOD);
        streamed_by(&answer, "Alpha", "1");
    }
}

#[tokio::test]
async fn of_a_held_stream_that_fails_nothing_is_seen() {
    for (text, fault) in [(OFF, None), (PROSE, None), (GOOD, Some(Fault::CutAfterChunks(4)))] {
        let bad = plain("Bad", text);
        let gateway = Gateway::with([bad, plain("Good", WRAPPED)]).start().await;
        gateway.upstream("bad").set_fault(fault);
        let answer = gateway.stream(&by_schema("m")).await.expect_done();
        assert_eq!(answer.said(), GOOD);
        streamed_by(&answer, "Good", "2");
        assert_eq!(gateway.counted(1).await["requests"], 1);
    }
}

#[tokio::test]
async fn a_held_stream_ends_in_time_or_is_given_up() {
    let settings = json!({"routing": {"deadline_seconds": 1, "max_retries": 0}});
    let slow = plain("Slow", WRAPPED).simulated(|it| {
        it.pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(300) };
    });
    let gateway = Gateway::with([slow]).settings(settings).start().await;
    let body = with(by_schema("m"), json!({"stream": true}));
    assert_eq!(gateway.chat(&body).await.expect(504).error()["code"], "all_providers_timed_out");
}

#[tokio::test]
async fn a_native_stream_flows_unchecked() {
    let gateway = Gateway::with([native("Alpha", OFF)]).start().await;
    let answer = gateway.stream(&by_schema("m")).await.expect_done();
    assert_eq!(answer.said(), OFF);
    streamed_by(&answer, "Alpha", "1");
}

#[tokio::test]
async fn usage_comes_with_a_held_stream_too() {
    let gateway = Gateway::with([plain("Alpha", WRAPPED)]).start().await;
    let body = with(any_json("m"), json!({"stream_options": {"include_usage": true}}));
    let answer = gateway.stream(&body).await.expect_done();
    let last = answer.events.last().expect("events");
    let used = last["usage"]["completion_tokens"].as_u64();
    assert_eq!(gateway.counted(1).await["completion_tokens"].as_u64(), used);
    assert!(used > Some(0), "{last}");
}

#[tokio::test]
async fn an_answer_without_json_is_asked_for_elsewhere_or_else_given() {
    for bad in [native("Bad", PROSE), plain("Bad", PROSE)] {
        let gateway = Gateway::with([bad, native("Good", GOOD)]).start().await;
        let answer = gateway.chat(&any_json("m")).await.expect(200);
        assert_eq!(answer.said(), GOOD);
        served_by(&answer, "Good", "2");
        assert_eq!(gateway.usage().await["total"]["requests"], 1);
    }
    for model in ["m", "Bad/m"] {
        let gateway = Gateway::with([plain("Bad", PROSE)]).start().await;
        let answer = gateway.chat(&any_json(model)).await.expect(200);
        assert_eq!(
            (answer.said().as_str(), answer.header("x-relay-warning")),
            (PROSE, "json-missing")
        );
        served_by(&answer, "Bad", "1");
        let usage = gateway.usage().await;
        assert_eq!(usage["total"]["requests"], 1);
        assert!(usage["total"]["completion_tokens"].as_u64() > Some(0));
    }
}

#[tokio::test]
async fn the_last_answer_without_json_is_given_when_nobody_has_a_better_one() {
    let broken = Upstream::plain("Broken");
    let gateway = Gateway::with([plain("One", PROSE), plain("Two", "No JSON here."), broken]);
    let gateway = gateway.settings(json!({"routing": {"max_retries": 2}})).start().await;
    gateway.upstream("broken").set_fault(Some(Fault::Status(500)));
    for stream in [false, true] {
        let (headers, said) = if stream {
            let answer = gateway.stream(&any_json("m")).await.expect_done();
            let said = answer.said();
            (answer.headers, said)
        } else {
            let answer = gateway.chat(&any_json("m")).await.expect(200);
            let said = answer.said();
            (answer.headers, said)
        };
        assert!([PROSE, "No JSON here."].contains(&said.as_str()), "{said}");
        assert_eq!(headers["x-relay-warning"], "json-missing");
        assert_eq!(
            (&headers["x-relay-attempts"], &headers["x-relay-route-reason"]),
            (&"3".parse().expect("a value"), &"failover".parse().expect("a value"))
        );
    }
    assert_eq!(gateway.usage().await["total"]["requests"], 2);
}

#[tokio::test]
async fn json_cut_by_the_token_limit_is_given_with_a_warning() {
    let cut = json!({"max_tokens": 5});
    for upstream in [native("Alpha", GOOD), plain("Alpha", GOOD)] {
        let gateway = Gateway::with([upstream]).start().await;
        for body in [by_schema("m"), any_json("m")] {
            let answer = gateway.chat(&with(body, cut.clone())).await.expect(200);
            assert_eq!(answer.said(), CUT);
            assert_eq!(answer.header("x-relay-warning"), "json-possibly-truncated");
        }
    }
    let gateway = Gateway::with([plain("Alpha", &format!("Well: {GOOD}"))]).start().await;
    let body = with(by_schema("m"), json!({"max_tokens": 6}));
    let answer = gateway.stream(&body).await.expect_done();
    assert_eq!((answer.said().as_str(), answer.finishes(0)), (&CUT[..18], vec!["length"]));
    assert_eq!(answer.header("x-relay-warning"), "json-possibly-truncated");
    // What is cut after the JSON has cost nobody anything.
    let gateway = Gateway::with([plain("Alpha", &format!("{GOOD} and more of it"))]).start().await;
    let answer = gateway.chat(&with(by_schema("m"), json!({"max_tokens": 9}))).await.expect(200);
    assert_eq!((answer.said().as_str(), answer.header("x-relay-warning")), (GOOD, ""));
}

/// A 200 with one whole answer that holds this message.
fn message(message: &Value, finish: &str) -> Fault {
    let body = json!({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::RawResponse { status: 200, headers, body: body.to_string().into() }
}

#[tokio::test]
async fn refusals_filters_and_calls_are_no_schema_failures() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (said, finish) in [
        (json!({"role": "assistant", "content": null, "refusal": "No."}), "stop"),
        (json!({"role": "assistant", "content": "I can't"}), "content_filter"),
        (
            json!({"role": "assistant", "content": "Let me see.", "tool_calls": [call]}),
            "tool_calls",
        ),
    ] {
        for upstream in [native("Alpha", GOOD), plain("Alpha", GOOD)] {
            let gateway = Gateway::with([upstream]).start().await;
            gateway.upstream("alpha").set_fault(Some(message(&said, finish)));
            let answer = gateway.chat(&by_schema("m")).await.expect(200);
            assert_eq!(answer.json()["choices"][0]["message"], said);
            assert_eq!(answer.header("x-relay-warning"), "");
        }
    }
}

#[tokio::test]
async fn a_held_stream_may_call_tools_instead() {
    let tool = json!({"type": "function", "function": {"name": "f",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}});
    let alpha = plain("Alpha", "").simulated(|it| it.answer = Says::Woven(Voice::default()));
    let gateway = Gateway::with([alpha]).start().await;
    let answer =
        gateway.stream(&with(by_schema("m"), json!({"tools": [tool]}))).await.expect_done();
    assert_eq!(answer.finishes(0), ["tool_calls"]);
    let called = answer.events.iter().any(|it| it["choices"][0]["delta"]["tool_calls"].is_array());
    assert!(called, "{:?}", answer.data);
}

#[tokio::test]
async fn every_choice_is_checked() {
    let choice = |index: u64, text: &str| json!({"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}});
    let body = json!({"id": "x", "choices": [choice(0, GOOD), choice(1, OFF)],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let half = Fault::RawResponse { status: 200, headers, body: body.to_string().into() };
    let gateway = Gateway::with([native("Bad", GOOD), plain("Good", WRAPPED)]).start().await;
    gateway.upstream("bad").set_fault(Some(half));
    let two = with(by_schema("m"), json!({"n": 2}));
    let answer = gateway.chat(&two).await.expect(200);
    served_by(&answer, "Good", "2");
    for index in 0..2 {
        assert_eq!(answer.json()["choices"][index]["message"]["content"], GOOD);
    }
    let answer = gateway.stream(&with(two, json!({"model": "Good/m"}))).await.expect_done();
    assert_eq!((answer.said_by(0), answer.said_by(1)), (GOOD.to_owned(), GOOD.to_owned()));
}

#[tokio::test]
async fn a_schema_that_is_none_is_the_callers_fault() {
    let gateway = Gateway::with([plain("Alpha", GOOD)]).start().await;
    for schema in [
        json!({"type": "strng"}),
        json!({"$ref": "http://127.0.0.1:1/schema.json"}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"pattern": "("}),
        json!("x"),
    ] {
        for stream in [false, true] {
            let body = with(with_schema("m", &schema), json!({ "stream": stream }));
            let error = gateway.chat(&body).await.expect(400).error();
            assert_eq!(error["param"], "response_format.json_schema.schema", "{schema}");
            assert_eq!(error["type"], "invalid_request_error");
        }
    }
    assert_eq!(gateway.reached("alpha"), 0);
    let lenient = json!({"type": "object", "nullable": true, "x-order": ["city"]});
    assert_eq!(gateway.chat(&with_schema("m", &lenient)).await.expect(200).said(), GOOD);
}

#[tokio::test]
async fn the_normaliser_switched_off_leaves_native_answers_alone() {
    let off = json!({"normalizer": {"enabled": false}});
    let gateway = Gateway::with([native("Alpha", WRAPPED), plain("Beta", WRAPPED)]);
    let gateway = gateway.settings(off).start().await;
    assert_eq!(gateway.chat(&by_schema("Alpha/m")).await.expect(200).said(), WRAPPED);
    assert_eq!(gateway.chat(&by_schema("Beta/m")).await.expect(200).said(), GOOD);
    assert_eq!(gateway.stream(&by_schema("Beta/m")).await.expect_done().said(), GOOD);
}
