//! The samples of answers, whole and streamed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::clock::VirtualClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::TokenUsage;
use crate::provider::example::shelf;
use crate::provider::example::shown;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::gemini::answer::Response;
use crate::provider::gemini::stream::{Reading, Source};
use crate::provider::steps::chunks;

macro_rules! sample {
    ($name:literal) => {
        &include_bytes!(concat!("../../../../tests/wire/gemini/", $name))[..]
    };
}

const MODEL: &str = "gemini-2.5-flash";
const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

fn whole(body: &[u8]) -> Value {
    let made = read(body).expect("an answer");
    assert!(!made.is_empty());
    let id = made.id.clone().unwrap_or_default();
    serde_json::from_slice(&made.render(&id, MODEL, 0, |_| None)).unwrap()
}

fn read(body: &[u8]) -> Result<Completion, Fault> {
    Response::parse(body)?.completion(&shelf(MODEL), NOW)
}

fn usage(prompt: u64, completion: u64, total: u64, reasoning: u64) -> Value {
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    })
}

fn completion(id: &str, choice: &Value, usage: &Value) -> Value {
    json!({
        "id": id, "object": "chat.completion", "created": 7, "model": "gemini-2.5-flash",
        "choices": [choice], "usage": usage,
    })
}

#[test]
fn every_whole_sample_becomes_openais() {
    let said = |message: Value, finish: &str| json!({"index": 0, "message": message, "finish_reason": finish});
    let hello = json!({"role": "assistant", "content": "Hello there."});
    assert_eq!(
        whole(sample!("completion.json")),
        completion("rEsPoNsEiD0001", &said(hello, "stop"), &usage(8, 44, 52, 41))
    );
    let nothing = json!({"role": "assistant", "content": ""});
    assert_eq!(
        whole(sample!("completion_max_tokens_empty.json")),
        completion("rEsPoNsEiD0002", &said(nothing, "length"), &usage(8, 64, 72, 64))
    );
    let thought = json!({
        "role": "assistant", "content": "Hello there.", "reasoning_content": "The user greets me.",
    });
    assert_eq!(
        whole(sample!("completion_thoughts.json")),
        completion("rEsPoNsEiD0001", &said(thought, "stop"), &usage(8, 44, 52, 41))
    );
    let blocked = json!({
        "role": "assistant", "content": null,
        "refusal": "The prompt was blocked: PROHIBITED_CONTENT.",
    });
    let expected = completion("", &said(blocked, "content_filter"), &usage(8, 0, 8, 0));
    assert_eq!(whole(sample!("blocked_prompt.json")), expected);
}

#[test]
fn a_call_gets_an_id_and_keeps_its_signature() {
    let mut made = whole(sample!("completion_tool_call.json"));
    let id = made["choices"][0]["message"]["tool_calls"][0]["id"].take();
    check_made_id(&id);
    let call = json!({
        "id": null, "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"},
        "extra_content": {"google": {
            "thought_signature": "CiQBVKhc7mExampleSignature==", "model": MODEL}},
    });
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let expected = completion("rEsPoNsEiD0001", &choice, &usage(61, 66, 127, 52));
    assert_eq!(made, expected);
}

fn check_made_id(id: &Value) {
    let digits = id.as_str().and_then(|it| it.strip_prefix("call_")).expect("an id");
    assert!(digits.len() == 24 && digits.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
}

/// A whole answer of one candidate.
fn candidate(candidate: &Value) -> Value {
    json!({ "candidates": [candidate] })
}

#[test]
fn reasons_for_the_end() {
    let text = json!({"parts": [{"text": "x"}]});
    let call = json!({"parts": [{"text": "x"}, {"functionCall": {"id": "c1", "name": "f"}}]});
    for (content, reason, finish, refused) in [
        (&text, "STOP", "stop", false),
        (&text, "MAX_TOKENS", "length", false),
        (&text, "SAFETY", "content_filter", false),
        (&json!({}), "SAFETY", "content_filter", true),
        (&Value::Null, "RECITATION", "content_filter", true),
        (&text, "OTHER", "stop", false),
        (&text, "SOMETHING_NEW", "stop", false),
        (&call, "STOP", "tool_calls", false),
        (&call, "MAX_TOKENS", "length", false),
    ] {
        let body = candidate(&json!({"content": content, "finishReason": reason}));
        let made = whole(body.to_string().as_bytes());
        let choice = &made["choices"][0];
        assert_eq!(choice["finish_reason"], finish, "{body}");
        assert_eq!(choice["message"]["refusal"].is_string(), refused, "{body}");
        assert_eq!(choice["message"]["content"].is_null(), refused, "{body}");
    }
    let made = whole(candidate(&json!({ "content": call })).to_string().as_bytes());
    let call = &made["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("c1"), &json!("{}")));
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for body in [
        "",
        "[]",
        "<html>",
        r#"{"candidates":{}}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{}}}]}}]}"#,
        r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"f("}]}"#,
        r#"{"candidates":[{"finishReason":"UNEXPECTED_TOOL_CALL"}]}"#,
    ] {
        assert!(read(body.as_bytes()).is_err_and(|it| it.kind == FaultKind::Unreadable), "{body}");
    }
    let deep = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{{"a":{}{}}}}}}}]}}}}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    // However deep, it is passed on as text and nothing here follows it.
    assert!(read(deep.as_bytes()).is_ok());
    assert!(read(b"{}").unwrap().is_empty());
}

#[test]
fn arguments_are_compact_and_otherwise_as_they_came() {
    let body = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{
        "z": 1.50, "a": [ 1,
        2 ], "s": "two  words \" \\", "n": 123456789012345678901234567890 }}}]}}]}"#;
    let made = whole(body);
    assert_eq!(
        made["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
        r#"{"z":1.50,"a":[1,2],"s":"two  words \" \\","n":123456789012345678901234567890}"#
    );
}

#[test]
fn several_answers_and_their_sources() {
    let body = json!({"candidates": [
        {"content": {"parts": [{"text": "a"}, {"text": "b", "thoughtSignature": "c2ln"}]}},
        {"index": 1, "content": {"parts": [{"text": "c"}]},
         "citationMetadata": {"citationSources": [{"uri": "u"}]}},
    ], "usageMetadata": {"promptTokenCount": 3, "cachedContentTokenCount": 2}});
    let made = whole(body.to_string().as_bytes());
    let [first, second] = [&made["choices"][0], &made["choices"][1]];
    assert_eq!(first["message"]["content"], "ab");
    assert_eq!(first["message"]["extra_content"]["google"]["thought_signature"], "c2ln");
    assert_eq!((&second["index"], &second["message"]["content"]), (&json!(1), &json!("c")));
    let uri = "/extra_content/google/citation_metadata/citationSources/0/uri";
    assert_eq!(second.pointer(uri), Some(&json!("u")));
    assert_eq!(made["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(made["usage"]["total_tokens"], 3);
}

/// The chunks of a stream, and the fault it ends with.
async fn streamed(list: &Value) -> (Vec<Chunk>, Option<Fault>) {
    let body = Bytes::from(list.to_string());
    let clock: SharedClock = Arc::new(VirtualClock::starting_at(7_000));
    let mut chunks = chunks(Reading::new(Source::of_json(&body), shelf(MODEL), clock));
    let mut read = Vec::new();
    while let Some(next) = chunks.next().await {
        match next {
            Ok(chunk) => read.push(chunk),
            Err(fault) => return (read, Some(fault)),
        }
    }
    (read, None)
}

/// The data of a sample's events.
fn events(sse: &[u8]) -> Value {
    let text = std::str::from_utf8(sse).unwrap();
    text.lines()
        .filter_map(|it| it.strip_prefix("data: "))
        .map(|it| serde_json::from_str::<Value>(it).unwrap())
        .collect()
}

fn piece(delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "i", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}

fn last(usage: &Value) -> Value {
    json!({
        "id": "i", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [], "usage": usage,
    })
}

async fn check_stream(list: &Value, expected: &[Value]) {
    let (chunks, fault) = streamed(list).await;
    assert_eq!(fault, None);
    let shown: Vec<Value> = chunks.iter().map(shown).collect();
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn every_streamed_sample_becomes_openais() {
    let role_and = |text: &str| json!({"role": "assistant", "content": text});
    let hello = [
        piece(&role_and("Hello"), None),
        piece(&json!({"content": " there."}), Some("stop")),
        last(&usage(8, 44, 52, 41)),
    ];
    check_stream(&events(sample!("stream.sse")), &hello).await;
    let list: Value = serde_json::from_slice(sample!("stream_array.json")).unwrap();
    let mut unthinking = hello.clone();
    unthinking[2] = last(&usage(8, 3, 11, 0));
    check_stream(&list, &unthinking).await;
    let crlf = [piece(&role_and("Hello there."), Some("stop")), last(&usage(8, 44, 52, 41))];
    check_stream(&events(sample!("stream_crlf.sse")), &crlf).await;
    let blocked: Value = serde_json::from_slice(sample!("blocked_prompt.json")).unwrap();
    let refusal =
        json!({"role": "assistant", "refusal": "The prompt was blocked: PROHIBITED_CONTENT."});
    let expected = [piece(&refusal, Some("content_filter")), last(&usage(8, 0, 8, 0))];
    check_stream(&json!([blocked]), &expected).await;
}

#[tokio::test]
async fn streamed_calls_are_numbered_across_events() {
    let (chunks, fault) = streamed(&events(sample!("stream_tool_call.sse"))).await;
    assert_eq!(fault, None);
    let mut shown: Vec<Value> = chunks.iter().map(shown).collect();
    for chunk in shown.iter_mut().take(2) {
        check_made_id(&chunk["choices"][0]["delta"]["tool_calls"][0]["id"].take());
    }
    let call = |index, city: &str| {
        json!({
            "index": index, "id": null, "type": "function",
            "function": {"name": "get_weather", "arguments": format!("{{\"city\":\"{city}\"}}")},
        })
    };
    let mut paris = call(0, "Paris");
    paris["extra_content"] =
        json!({"google": {"thought_signature": "CiQBVKhc7mExampleSignature==", "model": MODEL}});
    let expected = [
        piece(&json!({"role": "assistant", "tool_calls": [paris]}), None),
        piece(&json!({"tool_calls": [call(1, "Rome")]}), None),
        piece(&json!({}), Some("tool_calls")),
        last(&usage(61, 80, 141, 52)),
    ];
    assert_eq!(shown, expected);
    assert_eq!(chunks[3].usage, Some(TokenUsage { prompt: 61, completion: 80 }));
    assert!(chunks[3].is_usage_only());
}

#[tokio::test]
async fn a_stream_that_ends_badly_says_so() {
    let text = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}}]});
    let two = json!({"candidates": [
        {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"},
        {"index": 1, "content": {"parts": [{"text": "y"}]}}]});
    let overloaded = json!({"error": {"code": 503, "message": "The model is overloaded."}});
    let malformed = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let many: Vec<Value> = (0..65).map(|index| json!({ "index": index })).collect();
    for (list, chunks, kind) in [
        (json!([text]), 1, FaultKind::Cut),
        (json!([two]), 1, FaultKind::Cut),
        (json!([text, overloaded]), 1, FaultKind::Busy),
        (json!([text, malformed]), 1, FaultKind::Unreadable),
        (json!([text, 3]), 1, FaultKind::Unreadable),
        (json!([{"candidates": many}]), 0, FaultKind::Unreadable),
        (json!({}), 0, FaultKind::Cut),
        (json!([]), 0, FaultKind::Unreadable),
    ] {
        let (read, fault) = streamed(&list).await;
        assert_eq!((read.len(), fault.map(|it| it.kind)), (chunks, Some(kind)), "{list}");
    }
}

#[tokio::test]
async fn thoughts_stream_as_reasoning_and_empty_events_not_at_all() {
    let list = json!([
        {"usageMetadata": {"promptTokenCount": 1}},
        {"candidates": [{"content": {"parts": [{"text": "Hm.", "thought": true}]}}]},
        {"candidates": [{"content": {"parts": [{"text": ""}]}}]},
        {"candidates": [{"finishReason": "SAFETY"}]},
    ]);
    let reasoning = json!({"role": "assistant", "reasoning_content": "Hm."});
    let refusal = json!({"refusal": "The answer was kept back: SAFETY."});
    let expected = [
        piece(&reasoning, None),
        piece(&refusal, Some("content_filter")),
        last(&usage(1, 0, 1, 0)),
    ];
    check_stream(&list, &expected).await;
}

#[test]
fn what_openai_has_no_member_for_is_passed_on() {
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
    let answer = |parts: Value| {
        json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP", "avgLogprobs": -0.5,
            "safetyRatings": [{"category": "X", "probability": "LOW"}]}]})
    };
    let mixed = answer(json!([{"text": "see"}, image, code])).to_string();
    let choice = &whole(mixed.as_bytes())["choices"][0];
    assert_eq!(choice["message"]["content"], "see");
    assert_eq!(choice["message"]["content_parts"], json!([image, code]));
    let google = &choice["extra_content"]["google"];
    assert_eq!(google["avg_logprobs"], -0.5);
    assert_eq!(google["safety_ratings"][0]["probability"], "LOW");
    // Alone it is an answer as well, which `whole` makes sure of.
    let alone = answer(json!([image])).to_string();
    let message = &whole(alone.as_bytes())["choices"][0]["message"];
    assert_eq!((&message["content"], &message["content_parts"]), (&Value::Null, &json!([image])));
    let chunks = Response::parse(alone.as_bytes()).unwrap();
    let mut progress = crate::provider::gemini::answer::Progress::default();
    let pieces = chunks.pieces(&mut progress, &shelf(MODEL), NOW).unwrap();
    let delta = serde_json::to_value(&pieces[0].delta).unwrap();
    assert_eq!(delta["content_parts"], json!([image]));
}
