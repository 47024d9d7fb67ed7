//! What providers say in dialects of their own comes out as OpenAI would say it.

use bytes::Bytes;
use relayfreellm::sim::Fault;
use serde_json::{Value, json};

use crate::support::{Gateway, StreamAnswer, ask, with};

/// A 200 with these bytes.
fn raw(content_type: &str, body: impl Into<Bytes>) -> Fault {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    Fault::RawResponse { status: 200, headers, body: body.into() }
}

async fn whole_of(answer: &Value) -> Value {
    let gateway = Gateway::plain().await;
    gateway.upstream("alpha").set_fault(Some(raw("application/json", answer.to_string())));
    gateway.chat(&ask("alpha/m")).await.expect(200).json()
}

async fn stream_of(content_type: &str, body: String) -> StreamAnswer {
    let gateway = Gateway::plain().await;
    gateway.upstream("alpha").set_fault(Some(raw(content_type, body)));
    let usage = json!({"stream_options": {"include_usage": true}});
    gateway.stream(&with(ask("alpha/m"), usage)).await.expect_done()
}

fn events(data: &[Value]) -> String {
    let events: Vec<_> = data.iter().map(|it| format!("data:{it}\r\n\r\n")).collect();
    events.concat()
}

fn delta(delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"delta": delta, "finish_reason": finish}]})
}

/// What a client joins of a member of the deltas.
fn joined(answer: &StreamAnswer, member: &str) -> String {
    let text = |it: &Value| it["choices"][0]["delta"][member].as_str().map(str::to_owned);
    answer.events.iter().filter_map(text).collect()
}

#[tokio::test]
async fn thoughts_stand_apart_from_the_answer() {
    let message = json!({"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"});
    let answer = json!({"choices": [{"message": message, "finish_reason": "eos"}]});
    let choice = &whole_of(&answer).await["choices"][0];
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(choice["message"]["content"], "Hello");
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));

    let text = |it: &str| delta(&json!({"content": it}), None);
    let stream = events(&[
        text("<thi"),
        text("nk>hm</think"),
        text("> Sure! Hello"),
        text(" you there, and welcome to a long answer of more than sixty-four bytes."),
        delta(&json!({}), Some("eos")),
    ]);
    let answer = stream_of("text/event-stream", stream).await;
    assert_eq!(joined(&answer, "reasoning_content"), "hm");
    assert!(answer.said().starts_with("Hello you there"), "{}", answer.said());
    assert_eq!(answer.finishes(0), ["stop"]);
}

#[tokio::test]
async fn a_call_in_a_providers_own_form_reaches_the_client_in_openais() {
    let call = json!({"id": "a", "function": {"name": "f", "arguments": {"x": 1}}});
    let stream =
        events(&[delta(&json!({"tool_calls": [call]}), None), delta(&json!({}), Some("stop"))]);
    let answer = stream_of("text/event-stream", stream).await;
    let calls = &answer.events[0]["choices"][0]["delta"]["tool_calls"];
    let expected = json!([{"index": 0, "id": "a", "type": "function",
        "function": {"name": "f", "arguments": "{\"x\":1}"}}]);
    assert_eq!(calls, &expected);
    assert_eq!(answer.finishes(0), ["tool_calls"]);
}

#[tokio::test]
async fn a_whole_answer_to_a_request_for_a_stream_is_streamed() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "Hello", "tool_calls": [call]});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9});
    let answer = json!({"id": "up", "object": "chat.completion", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let answer = stream_of("application/json", format!("\n\n{answer}")).await;
    assert_eq!(answer.said(), "Hello");
    assert_eq!(answer.events[0]["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
    let last = answer.events.last().expect("usage");
    assert_eq!(last["usage"]["completion_tokens"], 6);
    let lines =
        [delta(&json!({"content": "He"}), None), delta(&json!({"content": "llo"}), Some("stop"))];
    let lines: Vec<_> = lines.iter().map(|it| format!("{it}\n")).collect();
    let answer = stream_of("application/x-ndjson", lines.concat()).await;
    assert_eq!((answer.said(), answer.finishes(0)), ("Hello".to_owned(), vec!["stop"]));
}

#[tokio::test]
async fn the_usage_of_a_provider_comes_once_with_its_details() {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "completion_tokens_details": {"reasoning_tokens": 2}, "queue_time": 0.25});
    let mut groq = delta(&json!({}), Some("stop"));
    groq["x_groq"] = json!({"usage": usage});
    let stream = events(&[delta(&json!({"content": "Hello"}), None), groq]);
    let answer = stream_of("text/event-stream", stream).await;
    let told: Vec<_> = answer.events.iter().filter(|it| it["usage"].is_object()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["usage"], usage);
    // DeepSeek's cache, told with an empty choice behind the finish as OpenRouter does.
    let mut last = delta(&json!({"content": ""}), None);
    last["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "prompt_cache_hit_tokens": 7});
    let hello = delta(&json!({"content": "Hello"}), Some("stop"));
    let answer = stream_of("text/event-stream", events(&[hello, last])).await;
    let usage = &answer.events.last().expect("usage")["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 7);
    let choices: Vec<_> = answer.events.iter().filter(|it| it["choices"][0].is_object()).collect();
    assert_eq!(choices.last().expect("choices")["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_reason_that_tells_of_a_failure_moves_on() {
    for reason in ["network_error", "insufficient_system_resource", "error"] {
        let gateway = Gateway::plain().await;
        let message = json!({"role": "assistant", "content": "Hel"});
        let answer =
            json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}]});
        gateway.upstream("alpha").set_fault(Some(raw("application/json", answer.to_string())));
        gateway.chat(&ask("alpha/m")).await.expect(503);
    }
}
