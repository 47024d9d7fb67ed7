//! Answers as providers send them, and as callers get them.

use std::sync::Arc;

use fastrand::Rng;
use futures::StreamExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::clock::VirtualClock;
use crate::provider::openai_compatible::given;
use crate::provider::transport::AnswerBody;

use super::*;

/// A stream, joined.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    reasoning: String,
    /// Id, name and arguments of each call.
    calls: Vec<(String, String, String)>,
    finish: Option<String>,
    usage: Option<(u64, u64)>,
}

/// The chunks of the first choice, joined as OpenAI's clients join them: what breaks their rules
/// panics.
fn join(chunks: &[Value]) -> Said {
    let mut said = Said::default();
    for chunk in chunks {
        let count = |key: &str| chunk["usage"][key].as_u64();
        said.usage = count("prompt_tokens").zip(count("completion_tokens")).or(said.usage);
        let Some(choice) = chunk["choices"].get(0) else { continue };
        assert_eq!(said.finish, None, "nothing comes behind the finish: {chunk}");
        assert_eq!(choice["index"].as_u64().unwrap_or(0), 0, "{chunk}");
        let delta = &choice["delta"];
        assert!(delta["content"].is_null() || delta["content"].is_string(), "{chunk}");
        said.text += delta["content"].as_str().unwrap_or_default();
        said.reasoning += delta["reasoning_content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            let arguments = call["function"]["arguments"].as_str().expect("a string");
            if at == said.calls.len() {
                assert_eq!(call["type"], "function");
                let text = |it: &Value| it.as_str().unwrap().to_owned();
                said.calls.push((
                    text(&call["id"]),
                    text(&call["function"]["name"]),
                    String::new(),
                ));
            } else {
                assert!(call.get("id").is_none() && call["function"].get("name").is_none());
            }
            said.calls[at].2 += arguments;
        }
        said.finish = choice["finish_reason"].as_str().map(str::to_owned);
    }
    said
}

/// The chunks made of a body that comes in these pieces, and what it broke off with.
fn read(provider: &'static str, pieces: Vec<Bytes>) -> (Vec<Value>, Option<FaultKind>) {
    let clock = Arc::new(VirtualClock::starting_at(0));
    let body = AnswerBody::Given(futures::stream::iter(pieces).boxed());
    let mut stream = given::stream(provider, body, clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut chunks = Vec::new();
        loop {
            match stream.next().await {
                Some(Ok(chunk)) => chunks.push(serde_json::from_slice(chunk.body()).unwrap()),
                Some(Err(fault)) => return (chunks, Some(fault.kind)),
                None => return (chunks, None),
            }
        }
    })
}

/// Events with these data, and the end mark.
fn events(data: &[Value]) -> Bytes {
    let event = |it: &Value| format!("data: {it}\n\n");
    let events: Vec<_> = data.iter().map(event).chain(["data: [DONE]\n\n".to_owned()]).collect();
    Bytes::from(events.concat())
}

/// A chunk with one choice.
fn chunk(delta: Value, finish: &Value) -> Value {
    let mut chunk = json!({"choices": [{"index": 0, "finish_reason": finish}]});
    chunk["choices"][0]["delta"] = delta;
    chunk
}

/// What becomes of these chunks, which are mended only once.
fn mended(provider: &'static str, chunks: &[Value]) -> Vec<Value> {
    let (out, fault) = read(provider, vec![events(chunks)]);
    assert_eq!(fault, None, "{chunks:?}");
    let (again, fault) = read(provider, vec![events(&out)]);
    assert_eq!((&again, fault), (&out, None), "mended twice: {chunks:?}");
    out
}

/// Checks what a stream of deltas says, where the last has this finish.
fn check(deltas: &[Value], finish: &str, expected: &Said) {
    let last = deltas.len() - 1;
    let chunks = deltas.iter().enumerate().map(|(at, delta)| {
        chunk(delta.clone(), &if at == last { finish.into() } else { Value::Null })
    });
    let chunks: Vec<_> = chunks.collect();
    assert_eq!(&join(&mended("", &chunks)), expected, "{deltas:?}");
}

fn said(reasoning: &str, text: &str, finish: &str) -> Said {
    Said {
        text: text.to_owned(),
        reasoning: reasoning.to_owned(),
        finish: Some(finish.to_owned()),
        ..Said::default()
    }
}

macro_rules! wire {
    ($($name:literal => $expected:expr),* $(,)?) => {
        [$((
            $name,
            Bytes::from_static(include_bytes!(concat!("../../../../tests/wire/", $name))),
            $expected,
        )),*]
    };
}

#[test]
fn whole_samples_come_out_in_openais_form() {
    for (name, body, (reasoning, usage)) in wire! {
        "cerebras/completion.json" => ("Greet back.", Some((72, 18))),
        "cloudflare/completion.json" => ("Greet back.", Some((70, 20))),
        "cohere/compat_completion.json" => ("", Some((5, 3))),
        "deepseek/completion.json" => ("Greet back.", Some((10, 32))),
        "deepseek/completion_keepalive_blank_lines.json" => ("Greet back.", Some((10, 32))),
        "gemini-openai/completion.json" => ("", Some((8, 44))),
        "huggingface/completion.json" => ("Greet back.", Some((71, 20))),
        "mistral/completion.json" => ("", Some((14, 4))),
        "mistral/completion_magistral_array.json" => ("User greets.", Some((14, 24))),
        "nvidia/completion.json" => ("Greet back.", Some((71, 19))),
        "ollama/v1_completion.json" => ("", Some((26, 5))),
        "openai/completion.json" => ("", Some((12, 9))),
        "openrouter/completion.json" => ("Greet back.", Some((14, 20))),
        "others/aihorde_completion.json" => ("", None),
        "sambanova/completion.json" => ("", Some((43, 4))),
        "together/completion.json" => ("", Some((15, 4))),
        "zai/completion.json" => ("Greet back.", Some((8, 265))),
    } {
        let provider = name.split('/').next().unwrap();
        let answer =
            complete(&given::asked(provider), &body, Now::default(), &mut Rng::with_seed(7))
                .unwrap();
        let json: Value = serde_json::from_slice(answer.body()).unwrap();
        let choice = &json["choices"][0];
        let message = &choice["message"];
        assert_eq!(message["content"], "Hello there.", "{name}");
        assert_eq!(message["reasoning_content"].as_str().unwrap_or_default(), reasoning, "{name}");
        assert_eq!(
            (&choice["finish_reason"], &choice["index"]),
            (&json!("stop"), &json!(0)),
            "{name}"
        );
        assert_eq!(answer.usage.map(|it| (it.prompt, it.completion)), usage, "{name}");
        let again = complete(
            &given::asked(provider),
            answer.body(),
            Now::default(),
            &mut Rng::with_seed(7),
        )
        .unwrap();
        assert_eq!(again.body(), answer.body(), "{name}: mended twice");
        if json == serde_json::from_slice::<Value>(&body).unwrap() {
            assert_eq!(answer.body(), &body, "{name}: nothing to change, nothing changed");
        }
    }
}

#[test]
fn streamed_samples_come_out_in_openais_form() {
    for (name, stream, (reasoning, usage)) in wire! {
        "cerebras/stream.sse" => ("Greet back.", Some((72, 18))),
        "cloudflare/stream.sse" => ("", Some((70, 20))),
        "cohere/compat_stream.sse" => ("", None),
        "deepseek/stream.sse" => ("Greet back.", Some((10, 32))),
        "gemini-openai/stream.sse" => ("", Some((8, 44))),
        "groq/stream.sse" => ("Reply briefly.", None),
        "groq/stream_include_usage.sse" => ("", Some((75, 22))),
        "huggingface/stream.sse" => ("", None),
        "mistral/stream.sse" => ("", Some((14, 4))),
        "nvidia/stream.sse" => ("Greet back.", Some((71, 19))),
        "ollama/v1_stream.sse" => ("", Some((26, 5))),
        "openai/stream_include_usage.sse" => ("", Some((12, 9))),
        "openrouter/stream.sse" => ("Greet back.", Some((14, 20))),
        "sambanova/stream.sse" => ("", Some((43, 4))),
        "together/stream.sse" => ("", Some((15, 4))),
        "zai/stream.sse" => ("Greet back.", Some((8, 265))),
    } {
        let provider = name.split('/').next().unwrap();
        let (chunks, fault) = read(provider, vec![stream.clone()]);
        let expected = Said { usage, ..said(reasoning, "Hello there.", "stop") };
        assert_eq!((join(&chunks), fault), (expected, None), "{name}");
        assert_eq!(mended(provider, &chunks), chunks, "{name}: mended twice");
        let by_byte = stream.chunks(1).map(Bytes::copy_from_slice).collect();
        assert_eq!(read(provider, by_byte), (chunks, None), "{name}: byte by byte");
    }
}

#[test]
fn streamed_calls_come_out_in_openais_form() {
    let paris = r#"{"city":"Paris"}"#;
    for (name, stream, ids) in wire! {
        "cerebras/stream_tool_call.sse" => &["1f2e3d4c5"][..],
        "cloudflare/stream_tool_call.sse" => &["chatcmpl-tool-1a2b"],
        "deepseek/stream_tool_call.sse" => &["call_0_9f1c"],
        "gemini-openai/stream_tool_call_no_index.sse" => &["call_297140"],
        "gemini-openai/stream_two_tool_calls_no_index.sse" => &["call_297140", "call_297141"],
        "groq/stream_tool_call.sse" => &["call_ab12cd34"],
        "mistral/stream_tool_call.sse" => &["D681PevKs"],
        "nvidia/stream_tool_call.sse" => &["chatcmpl-tool-2b3c"],
        "ollama/v1_stream_tool_call.sse" => &["call_ejieksiz"],
        "ollama/v1_stream_tool_call_flattened.sse" => &["call_ejieksiz"],
        "openai/stream_tool_call.sse" => &["call_DdmO9pD3xa9XTPNJ32zg2hcA"],
        "openrouter/stream_tool_call.sse" => &["call_1a2b"],
        "together/stream_tool_call.sse" => &["call_k2x9"],
        "zai/stream_tool_call.sse" => &["call_-8231168139794583938"],
    } {
        let (chunks, fault) = read("", vec![stream.clone()]);
        let got = join(&chunks);
        assert_eq!((got.finish.as_deref(), fault), (Some("tool_calls"), None), "{name}");
        assert_eq!(got.calls.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ids, "{name}");
        assert_eq!(got.calls[0].1, "get_weather", "{name}");
        assert_eq!(got.calls[0].2.replace(' ', ""), paris, "{name}");
        assert_eq!(mended("", &chunks), chunks, "{name}: mended twice");
        if name.starts_with("gemini") {
            let signature = &chunks[0]["choices"][0]["delta"]["tool_calls"][0]["extra_content"];
            assert!(signature["google"]["thought_signature"].is_string(), "{name}");
        }
    }
}

#[test]
fn errors_inside_a_stream_are_told() {
    for (name, stream, expected) in wire! {
        "groq/stream_error_in_200.sse" => FaultKind::Unreadable,
        "openrouter/stream_error_mid.sse" => FaultKind::Server,
    } {
        assert_eq!(read(name.split('/').next().unwrap(), vec![stream]).1, Some(expected), "{name}");
    }
    for (event, expected) in [
        (r#"{"message":"slow down","code":429}"#, FaultKind::RateLimited(None)),
        (r#"{"message":"slow down","code":"429","object":"error"}"#, FaultKind::RateLimited(None)),
        (r#"{"error":"overloaded"}"#, FaultKind::Server),
        (r#"[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]"#, FaultKind::Server),
        (r#"{"success":false,"errors":[{"code":3040,"message":"x"}]}"#, FaultKind::Server),
        (
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"network_error"}]}"#,
            FaultKind::Server,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}]}"#,
            FaultKind::Busy,
        ),
        ("Internal Server Error", FaultKind::Unreadable),
        (r#"{"choices":7}"#, FaultKind::Unreadable),
        (&format!(r#"{{"choices":[{}{{}}]}}"#, "{},".repeat(128)), FaultKind::Unreadable),
    ] {
        let stream = format!(": hi\r\n\r\nevent: error\r\ndata:{event}\r\n\r\n");
        let kind = read("", vec![stream.into()]).1;
        assert_eq!(kind, Some(expected), "{event}");
    }
}

#[test]
fn an_error_behind_a_complete_answer_takes_nothing_of_it_away() {
    let event = |delta, finish: &str| {
        let finish = if finish.is_empty() { Value::Null } else { finish.into() };
        format!("data: {}\n\n", chunk(delta, &finish))
    };
    let says = |text: &str, finish: &str| event(json!({"content": text}), finish);
    let error = "data: {\"error\":{\"message\":\"x\",\"code\":503}}\n\n";
    let torn = "data: {\"choi\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\
                 \"total_tokens\":2}}\n\n";
    for (stream, expected) in [
        (says("a", "stop") + error, None),
        (says("a", "") + &event(json!({}), "stop") + error, None),
        (says("a", "stop") + usage + error, None),
        (says("a", "stop") + torn, None),
        (says("a", "") + error, Some(FaultKind::Server)),
        (event(json!({}), "stop") + error, Some(FaultKind::Server)),
        // Here a reason is no end.
        (says("a", "stop") + &says("b", "stop") + error, Some(FaultKind::Server)),
    ] {
        let (chunks, fault) = read("", vec![Bytes::from(stream.clone())]);
        assert_eq!(fault, expected, "{stream}");
        if fault.is_none() {
            let told: Vec<_> = chunks.into_iter().filter(|it| it["usage"].is_null()).collect();
            assert_eq!(join(&told), said("", "a", "stop"), "{stream}");
        }
    }
}

#[test]
fn an_end_is_told_from_a_cut() {
    let text = |finish: Value| format!("data: {}\n\n", chunk(json!({"content": "a"}), &finish));
    for (stream, expected) in [
        (text(Value::Null) + "data: [DONE]\n\n", None),
        (text(Value::Null) + "data: [DONE]", None),
        (text("stop".into()), None),
        (text("stop".into()).trim_end().to_owned(), None),
        (text(Value::Null), Some(FaultKind::Cut)),
        (text(Value::Null) + "data: {\"choices\":[{\"ind", Some(FaultKind::Cut)),
        (String::new(), Some(FaultKind::Cut)),
        ("event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(), Some(FaultKind::Cut)),
    ] {
        let (chunks, fault) = read("", vec![Bytes::from(stream.clone())]);
        assert_eq!(fault, expected, "{stream}");
        if fault.is_none() {
            assert_eq!(join(&chunks), said("", "a", "stop"), "{stream}");
        }
    }
    let endless = Bytes::from(format!("data: {}", "x".repeat(2 << 20)));
    assert_eq!(read("", vec![endless]).1, Some(FaultKind::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn an_end_is_not_waited_for_much_longer_than_the_reason() {
    let said =
        json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]});
    let first = Bytes::from(format!("data: {said}\n\n"));
    let pieces = futures::stream::iter([first]).chain(futures::stream::pending());
    let clock = Arc::new(VirtualClock::starting_at(0));
    let mut stream = given::stream("", AnswerBody::Given(pieces.boxed()), clock);
    let begun = tokio::time::Instant::now();
    assert!(
        stream.next().await.is_some_and(|it| it.is_ok_and(|it| it.choices[0].finish.is_some()))
    );
    assert_eq!(begun.elapsed(), LAST_WAIT);
    assert!(stream.next().await.is_none());
    assert_eq!(begun.elapsed(), LAST_WAIT + END_WAIT);
}

fn clock() -> SharedClock {
    Arc::new(VirtualClock::starting_at(0))
}

#[test]
fn a_clean_chunk_passes_as_the_bytes_it_came_as() {
    for clean in [
        r#"{ "x":1.50,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[ {"index":0,"delta":{"content":"Hi \u00e9 < \ud83d\ude00"},"logprobs":{}}]}"#,
        r#"{"choices":[{"delta":{"content":"no index"}}] }"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"a", "content":null}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[ {"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        r#"{"choices":[{"index":0,"delta":{ },"finish_reason":"stop"}]}"#,
        r#"{"choices":[ ],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    ] {
        let mut mender = Mender::new(given::asked(""), Rng::with_seed(7), clock());
        let data = Bytes::from_static(clean.as_bytes());
        mender.take(&data).unwrap();
        mender.release();
        let chunk = mender.ready().remove(0);
        assert_eq!(chunk.body().as_ptr(), data.as_ptr(), "{clean}");
    }
}

#[test]
fn the_finish_is_in_the_last_chunk_of_its_choice() {
    // A reason with every chunk.
    let stop = || json!("stop");
    let every = [chunk(json!({"content": "a"}), &stop()), chunk(json!({"content": "b"}), &stop())];
    assert_eq!(join(&mended("", &every)), said("", "ab", "stop"));
    // A second one, and nothing more.
    let twice = [chunk(json!({"content": "a"}), &stop()), chunk(json!({}), &stop())];
    assert_eq!(join(&mended("", &twice)), said("", "a", "stop"));
    // A choice with nothing in it takes no reason back.
    let bare = json!({"choices": [{"index": 0}]});
    let out = mended("", &[chunk(json!({"content": "a"}), &json!("length")), bare]);
    assert_eq!(join(&out), said("", "a", "length"));
    // The usage behind it stays without its choice.
    let mut last = chunk(json!({"role": "assistant", "content": ""}), &Value::Null);
    last["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    let out = mended("", &[chunk(json!({"content": "a"}), &stop()), last]);
    assert_eq!(join(&out), Said { usage: Some((1, 2)), ..said("", "a", "stop") });
    assert_eq!(out[1]["choices"], json!([]));
    // One choice ends while another goes on, and is not taken up again.
    let two = |index: u64, text: &str, finish: Value| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]});
    let out = mended(
        "",
        &[
            two(0, "a", stop()),
            two(1, "b", Value::Null),
            two(0, "c", Value::Null),
            two(1, "d", stop()),
        ],
    );
    assert_eq!(out, [two(0, "a", stop()), two(1, "b", Value::Null), two(1, "d", stop())]);
}

#[test]
fn a_reason_is_told_where_the_provider_tells_none() {
    let call = json!({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]});
    let out = mended("", &[chunk(call, &Value::Null)]);
    assert_eq!(join(&out).finish.as_deref(), Some("tool_calls"));
    let out = mended("", &[chunk(json!({"content": "a"}), &"".into())]);
    assert_eq!(join(&out), said("", "a", "stop"));
    let out = mended("", &[chunk(json!({"content": "a"}), &"MAX_TOKENS".into())]);
    assert_eq!(join(&out), said("", "a", "length"));
    assert_eq!(out[0]["choices"][0]["native_finish_reason"], "MAX_TOKENS");
}

#[test]
fn reasoning_comes_out_in_one_member() {
    let text = |it: &str| json!({"content": it});
    check(
        &[text("<th"), text("ink>\nhm"), text(" hm</thi"), text("nk>\n\nHi"), json!({})],
        "stop",
        &said("hm hm", "Hi", "stop"),
    );
    check(&[text("<think>hm</think>Hi")], "stop", &said("hm", "Hi", "stop"));
    check(&[text("<think>h"), text("m</th")], "length", &said("hm</th", "", "length"));
    check(&[text("<"), text("b>")], "stop", &said("", "<b>", "stop"));
    check(&[text("<th")], "stop", &said("", "<th", "stop"));
    check(&[json!({"reasoning": "hm"}), text("<think>")], "stop", &said("hm", "<think>", "stop"));
    let part =
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]});
    check(&[part, text("Hi")], "stop", &said("hm", "Hi", "stop"));
    let message = json!({"choices": [{"message": {"content": "<think>hm</think>Hi"}, "finish_reason": "stop"}]});
    assert_eq!(join(&mended("", &[message])), said("hm", "Hi", "stop"));
}

#[test]
fn a_choice_always_has_a_delta() {
    for none in [json!({}), json!({"delta": null}), json!({"index": 0, "logprobs": null})] {
        let out = mended("", &[json!({"choices": [none]})]);
        assert_eq!(out[0]["choices"][0]["delta"], json!({}), "{none}");
        assert_eq!(out[0]["choices"][0]["index"], 0, "{none}");
    }
}

#[test]
fn halves_of_characters_meet_over_deltas() {
    let stream = |pieces: &[&str]| {
        let event =
            |it: &&str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{it}}}]}}\n\n");
        let events: String = pieces.iter().map(event).collect();
        join(&read("", vec![(events + "data: [DONE]\n\n").into()]).0)
    };
    for member in ["content", "reasoning_content", "reasoning"] {
        let said = stream(&[
            &format!(r#"{{"{member}":"a\ud83d"}}"#),
            &format!(r#"{{"{member}":"\ude00b"}}"#),
        ]);
        assert_eq!(said.text + &said.reasoning, "a😀b", "{member}");
    }
    assert_eq!(stream(&[r#"{"content":"a\ud83d"}"#]).text, "a\u{fffd}");
    assert_eq!(stream(&[r#"{"content":"a\ud83d"}"#, r#"{"content":"b"}"#]).text, "a\u{fffd}b");
    assert_eq!(stream(&[r#"{"content":"\ude00b"}"#]).text, "\u{fffd}b");
}

#[test]
fn a_blocked_answer_is_a_refusal() {
    for reason in ["content_filter", "sensitive"] {
        let out = mended("", &[chunk(json!({"content": ""}), &reason.into())]);
        let choice = &out[0]["choices"][0];
        assert!(choice["delta"]["refusal"].is_string(), "{choice}");
        assert_eq!(choice["finish_reason"], "content_filter");
        let whole = json!({"choices": [{"message": {"content": null}, "finish_reason": reason}]});
        let choice = &whole_of("", &whole).unwrap()["choices"][0];
        assert!(choice["message"]["refusal"].is_string(), "{choice}");
    }
    let told =
        [chunk(json!({"content": "a"}), &Value::Null), chunk(json!({}), &"content_filter".into())];
    assert_eq!(mended("", &told), told);
}

#[test]
fn an_answer_in_the_reasoning_alone_is_one_where_a_provider_does_so() {
    let chunks = [
        chunk(json!({"reasoning_content": "Hi", "content": ""}), &Value::Null),
        chunk(json!({"content": ""}), &"stop".into()),
    ];
    assert_eq!(join(&mended("zai", &chunks)), said("Hi", "Hi", "stop"));
    assert_eq!(join(&mended("deepseek", &chunks)), said("Hi", "", "stop"));
    let whole = json!({"choices": [{"message": {"content": "", "reasoning_content": "Hi"}, "finish_reason": "stop"}]});
    assert_eq!(whole_of("zai", &whole).unwrap()["choices"][0]["message"]["content"], "Hi");
    assert_eq!(whole_of("deepseek", &whole).unwrap()["choices"][0]["message"]["content"], "");
}

/// What becomes of a whole answer, which is mended only once.
fn whole_of(provider: &'static str, answer: &Value) -> Result<Value, FaultKind> {
    let read = |body: Bytes| {
        complete(&given::asked(provider), &body, Now::default(), &mut Rng::with_seed(7))
    };
    let mended = read(answer.to_string().into()).map_err(|it| it.kind)?;
    let again = read(mended.body().clone()).map_err(|it| it.kind)?;
    assert_eq!(again.body(), mended.body(), "mended twice: {answer}");
    Ok(serde_json::from_slice(mended.body()).unwrap())
}

fn check_calls(calls: &Value, expected: &Value) {
    let answer = json!({"choices": [{"message": {"content": null, "tool_calls": calls}, "finish_reason": "stop"}]});
    let choice = &whole_of("", &answer).unwrap()["choices"][0];
    assert_eq!(&choice["message"]["tool_calls"], expected, "{calls}");
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&Value::Null, &json!("tool_calls"))
    );
    assert_eq!(choice["native_finish_reason"], "stop");
}

#[test]
fn calls_that_stand_in_the_text_are_made_ones() {
    let text = |it: &str| json!({"content": it});
    let parts =
        ["I look.\n<tool", "_call>{\"name\":\"f\",\"argu", "ments\":{\"x\":1}}</tool_call>\n"];
    let deltas: Vec<_> = parts.iter().map(|it| chunk(text(it), &Value::Null)).collect();
    let last = chunk(json!({}), &"stop".into());
    let expected_calls = |got: &Said| {
        let calls: Vec<_> = got.calls.iter().map(|it| (it.1.as_str(), it.2.as_str())).collect();
        assert_eq!(calls, [("f", "{\"x\":1}")]);
    };
    let got = join(&mended("", &[&deltas[..], &[last]].concat()));
    assert_eq!((got.text.as_str(), got.finish.as_deref()), ("I look.\n", Some("tool_calls")));
    expected_calls(&got);
    let got = join(&mended("", &deltas));
    assert_eq!((got.text.as_str(), got.finish.as_deref()), ("I look.\n", Some("tool_calls")));
    let whole =
        json!({"choices": [{"message": {"content": parts.concat()}, "finish_reason": "stop"}]});
    let choice = &whole_of("", &whole).unwrap()["choices"][0];
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"],
        json!({"name": "f", "arguments": "{\"x\":1}"})
    );
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("I look.\n"), &json!("tool_calls"))
    );
    // What is no call in the end comes as text.
    let broken =
        [chunk(text("<tool_call>{\"name\""), &Value::Null), chunk(json!({}), &"length".into())];
    assert_eq!(join(&mended("", &broken)), said("", "<tool_call>{\"name\"", "length"));
    let call = json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let got =
        join(&mended("", &[chunk(text("<tool_call>"), &Value::Null), chunk(call, &"stop".into())]));
    assert_eq!((got.text.as_str(), got.calls.len()), ("<tool_call>", 1));
}

#[test]
fn whole_calls_come_out_in_openais_form() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let clean = json!([call("a", r#"{"x": 1}"#), call("b", "{}")]);
    check_calls(&clean, &clean);
    let flat = json!([{"id": "a", "name": "f", "arguments": {"x": 1}}]);
    check_calls(&flat, &json!([call("a", r#"{"x":1}"#)]));
    for none in [json!(""), json!(null), json!({}), json!("{}")] {
        let call_of =
            json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": none}}]);
        check_calls(&call_of, &json!([call("a", "{}")]));
    }
    check_calls(&json!([call("a", r#""{\"x\":1}""#)]), &json!([call("a", r#"{"x":1}"#)]));
    let custom = json!([{"id": "a", "type": "custom", "custom": {"name": "g", "input": "x"}}]);
    check_calls(&custom, &custom);
    // A call of nothing.
    let named = call("a", "{}");
    for name in [json!(""), json!(null)] {
        let none =
            json!({"id": "b", "type": "function", "function": {"name": name, "arguments": "{}"}});
        check_calls(&json!([named, none]), &json!([named]));
        let answer = json!({"choices": [{"message": {"content": "Hi", "tool_calls": [none]}, "finish_reason": "stop"}]});
        let choice = &whole_of("", &answer).unwrap()["choices"][0];
        assert_eq!(
            (choice["message"].get("tool_calls"), &choice["finish_reason"]),
            (None, &json!("stop"))
        );
    }
    let twins = json!({"choices": [{"message": {"tool_calls": [call("a", "{}"), call("a", "{}"), call("", "{}")]}}]});
    let calls = &whole_of("", &twins).unwrap()["choices"][0]["message"]["tool_calls"];
    let ids: std::collections::BTreeSet<_> =
        (0..3).map(|it| calls[it]["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|it| !it.is_empty()), "{ids:?}");
}

#[test]
fn each_choice_has_a_number_of_its_own() {
    let choice = |index: Value| json!({"index": index, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"});
    let check = |given: [Value; 3], expected: [u64; 3]| {
        let answer = json!({"choices": given.map(choice)});
        let sent = whole_of("", &answer).unwrap();
        let numbers = [0, 1, 2].map(|at| sent["choices"][at]["index"].as_u64().unwrap());
        assert_eq!(numbers, expected, "{answer}");
    };
    check([json!(0), json!(0), json!(0)], [0, 1, 2]);
    check([json!(null), json!(null), json!(null)], [0, 1, 2]);
    check([json!(2), json!(0), json!(1)], [2, 0, 1]);
    check([json!(1), json!(1), json!(2)], [1, 0, 2]);
}

#[test]
fn signatures_are_kept_and_marked_with_their_model() {
    let shelf = crate::provider::example::shelf("gemini-3-pro");
    let asked = || Asked { shelf: Some(shelf.clone()), ..given::asked("gemini") };
    let signed = |more: Value| {
        let mut call = json!({"id": "a", "type": "function", "extra_content": {"google": {"thought_signature": "s"}},
            "function": {"name": "f", "arguments": "{}"}});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([call])
    };
    let marked = json!({"google": {"thought_signature": "s", "model": "gemini-3-pro"}});
    let body = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null, "tool_calls": signed(json!({}))}}]});
    let now = Now::default();
    let whole = complete(&asked(), &body.to_string().into(), now, &mut Rng::with_seed(7)).unwrap();
    let whole: Value = serde_json::from_slice(whole.body()).unwrap();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["extra_content"], marked);
    assert_eq!(shelf.find("a", now).as_deref(), Some("s"));
    let mut mender = Mender::new(asked(), Rng::with_seed(7), clock());
    for more in [json!({"index": 0, "id": "b"}), json!({"id": "c"})] {
        let id = more["id"].as_str().unwrap().to_owned();
        let event = chunk(json!({"tool_calls": signed(more)}), &Value::Null);
        mender.take(&event.to_string().into()).unwrap();
        let sent: Value = serde_json::from_slice(mender.ready()[0].body()).unwrap();
        assert_eq!(sent["choices"][0]["delta"]["tool_calls"][0]["extra_content"], marked);
        assert_eq!(shelf.find(&id, now).as_deref(), Some("s"));
    }
}

#[test]
fn whole_answers_with_errors_are_faults() {
    for (answer, expected) in [
        (json!({"error": {"message": "x", "code": 502}}), FaultKind::Server),
        (json!({"success": false, "errors": [{"code": 1, "message": "x"}]}), FaultKind::Server),
        (json!({"message": "slow down", "code": 429}), FaultKind::RateLimited(None)),
        (json!([{"error": {"message": "x", "code": 429}}]), FaultKind::RateLimited(None)),
        (
            json!({"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}),
            FaultKind::Server,
        ),
        (json!({"choices": 7}), FaultKind::Unreadable),
    ] {
        assert_eq!(whole_of("", &answer), Err(expected), "{answer}");
    }
}

proptest! {
    #[test]
    fn any_splitting_of_a_stream_gives_the_same_chunks(
        deltas in prop::collection::vec(delta(), 1..6),
        finish in prop::option::of("stop|length|eos|"),
        crlf in any::<bool>(),
        sizes in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let last = deltas.len() - 1;
        let chunks = deltas.into_iter().enumerate().map(|(at, it)| {
            chunk(it, &json!(finish.as_ref().filter(|_| at == last)))
        });
        let mut stream = events(&chunks.collect::<Vec<_>>());
        if crlf {
            stream = String::from_utf8_lossy(&stream).replace('\n', "\r\n").replace("data: ", "data:").into();
        }
        let whole = read("", vec![stream.clone()]);
        prop_assert_eq!(&whole.1, &None);
        join(&whole.0);
        let mut pieces = Vec::new();
        for size in sizes.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            pieces.push(stream.split_to((*size).min(stream.len())));
        }
        prop_assert_eq!(read("", pieces), whole.clone());
        // An answer with a tag in it that came to be text may be taken for another the second time.
        let said = join(&whole.0);
        if !said.text.contains('<') {
            let again = read("", vec![events(&whole.0)]);
            prop_assert_eq!(join(&again.0), said);
            prop_assert_eq!(but_for_text(again), but_for_text(whole));
        }
    }
}

/// Chunks without their content: a blank may come a chunk later where no call written as text
/// follows it any more.
fn but_for_text(mut read: (Vec<Value>, Option<FaultKind>)) -> (Vec<Value>, Option<FaultKind>) {
    let deltas = read.0.iter_mut().filter_map(|chunk| chunk.pointer_mut("/choices/0/delta"));
    deltas.filter_map(Value::as_object_mut).for_each(|delta| drop(delta.remove("content")));
    read
}

fn delta() -> impl Strategy<Value = Value> {
    let text = "[a<>/é😀 \\n]{0,4}|<think>|</think>|<th|ink>|<function=f>|\\{\\}";
    let call = (
        prop::option::of(0_u64..3),
        prop::option::of("[ab]"),
        prop::option::of("f|g"),
        "\\{\\}|\\{|x|",
    )
        .prop_map(|(index, id, name, arguments)| {
            let mut call = json!({"function": {"arguments": arguments}});
            for (key, value) in [("index", json!(index)), ("id", json!(id))] {
                if !value.is_null() {
                    call[key] = value;
                }
            }
            if let Some(name) = name {
                call["function"]["name"] = name.into();
            }
            json!({"tool_calls": [call]})
        });
    prop_oneof![
        text.prop_map(|it| json!({"content": it})),
        text.prop_map(|it| json!({"reasoning": it})),
        text.prop_map(|it| json!({"content": [{"type": "text", "text": it}]})),
        call,
    ]
}
