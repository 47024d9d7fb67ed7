//! Answers as OpenAI gives them, whole and streamed, whoever they come from.

use bytes::Bytes;
use relayfreellm::sim::{Answer as Says, Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, StreamAnswer, Upstream, ask, streamed, with};

/// One provider of each flavour under the name whose quirks the gateway knows.
const FLAVOURS: [(&str, Flavour); 4] = [
    ("Alpha", Flavour::OpenAi),
    ("Groq", Flavour::Groq),
    ("Mistral", Flavour::Mistral),
    ("Cerebras", Flavour::Cerebras),
];

async fn of_flavour(name: &str, flavour: Flavour) -> Gateway {
    Gateway::with([Upstream::new(name, flavour).model("m")]).start().await
}

/// The body of the last request that reached `name`.
fn last_body(gateway: &Gateway, name: &str) -> Bytes {
    gateway.upstream(name).records().last().expect("a request").body.clone()
}

#[tokio::test]
async fn a_whole_answer_is_openais() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        let answer = gateway.chat(&ask("m")).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert!(json["id"].as_str().is_some_and(|it| it.starts_with("chatcmpl-")), "{json}");
        assert_eq!(json["object"], "chat.completion");
        assert_eq!(json["model"], format!("{name}/m"));
        assert!(json["created"].is_u64());
        let choice = &json["choices"][0];
        assert_eq!(choice["message"]["role"], "assistant");
        assert_eq!(choice["finish_reason"], "stop");
        let record = &gateway.upstream(name).records()[0];
        assert_eq!(answer.said(), record.sent_content);
        assert!(!record.stream);
        let usage =
            (json["usage"]["prompt_tokens"].as_u64(), json["usage"]["completion_tokens"].as_u64());
        let told = record.reported_usage.expect("usage");
        assert_eq!(usage, (Some(told.0), Some(told.1)), "{name}");
    }
}

#[tokio::test]
async fn unknown_request_members_pass_byte_for_byte() {
    let settings = json!({"routing": {"use_server_side_system_prompt": false}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
    let members = r#""zeta":{"x" : 1.50e3, "y":"é😀"},"messages":[{"role":"user","content":"hi","odd":[1, 2]}],"big":12345678901234567890123,"temperature":0.70,"$strange key":null"#;
    let body = format!(r#" {{ "model":"auto","model_type":"text", {members} }} "#);
    gateway.post(body).await.expect(200);
    let sent = String::from_utf8(last_body(&gateway, "Alpha").to_vec()).expect("UTF-8");
    assert!(sent.contains(members), "{sent}");
    let json: Value = serde_json::from_str(&sent).expect("JSON");
    assert_eq!(json["model"], "m");
    assert!(json.get("model_type").is_none(), "{sent}");
}

#[tokio::test]
async fn a_request_goes_out_with_the_providers_key_and_none_of_the_callers_headers() {
    let gateway = Gateway::plain().await;
    let headers = [
        ("authorization", "Bearer callers-own"),
        ("cookie", "session=callers"),
        ("x-session-id", "s1"),
        ("x-custom", "callers"),
        ("openai-organization", "callers"),
    ];
    gateway.chat_with(&ask("m"), &headers).await.expect(200);
    let record = &gateway.upstream("Alpha").records()[0];
    assert_eq!(record.key, "key-of-Alpha");
    assert_eq!(record.path, "/alpha/v1/chat/completions");
    for (name, value) in &record.headers {
        assert!(!value.contains("callers"), "{name}: {value}");
    }
    assert!(!record.headers.contains_key("cookie") && !record.headers.contains_key("x-session-id"));
}

/// `body` with every `"id":"up"`, `"model":"up"` as the gateway's own.
fn under_our_name(body: &str, id: &Value) -> String {
    body.replace(r#""id":"up""#, &format!(r#""id":{id}"#))
        .replace(r#""model":"up""#, r#""model":"Alpha/m""#)
}

#[tokio::test]
async fn unknown_answer_members_pass_byte_for_byte() {
    let gateway = Gateway::plain().await;
    let body = r#"{ "id":"up","object":"chat.completion", "created":1700000000,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \u00e9","refusal":null,"annotations":[ ],"reasoning_content":"hm","x":1.0e2},"logprobs":{"content":[{"token":"Hi","logprob":-0.10}]},"finish_reason":"stop","extra":{}}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}},"system_fingerprint":"fp_1","service_tier":"default","huge":12345678901234567890123}"#;
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let fault =
        Fault::RawResponse { status: 200, headers, body: Bytes::from_static(body.as_bytes()) };
    gateway.upstream("alpha").set_fault(Some(fault));
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert_eq!(answer.text(), under_our_name(body, &answer.json()["id"]));
    assert_eq!(answer.header("x-relay-upstream-id"), "up");
}

/// A provider's stream in raw bytes.
fn raw_stream(events: &[&str]) -> Fault {
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    let body: Vec<_> = events.iter().flat_map(|it| ["data: ", it, "\n\n"]).collect();
    Fault::RawResponse { status: 200, headers, body: body.concat().into() }
}

#[tokio::test]
async fn unknown_members_of_a_stream_pass_byte_for_byte() {
    let gateway = Gateway::plain().await;
    let created = "1700000000";
    let events = [
        r#"{ "id":"up","object":"chat.completion.chunk","created":1700000000,"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"obfuscation":"abc"}"#,
        r#"{ "id":"up","object":"chat.completion.chunk","created":1700000000,"model":"up","choices":[{"index":0,"delta":{"reasoning_content":"hm \u00e9"},"logprobs":null,"finish_reason":null}]}"#,
        r#"{ "id":"up","object":"chat.completion.chunk","created":1700000000,"model":"up","choices":[{"index":0,"delta":{"content":"Hi","x":[1, 2.50]},"finish_reason":null}]}"#,
        r#"{ "id":"up","object":"chat.completion.chunk","created":1700000000,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_up":{"k" : null}}"#,
    ];
    gateway.upstream("alpha").set_fault(Some(raw_stream(&[&events[..], &["[DONE]"]].concat())));
    let answer = gateway.stream(&ask("m")).await.expect_done();
    let first = &answer.events[0];
    let ours: Vec<String> = events
        .iter()
        .map(|it| under_our_name(it, &first["id"]).replace(created, &first["created"].to_string()))
        .collect();
    assert_eq!(answer.data, ours);
}

/// What every stream must be.
fn check_grammar(answer: &StreamAnswer, model: &str) {
    let (first, last) = (&answer.events[0], answer.events.last().expect("events"));
    for event in &answer.events {
        assert_eq!(event["object"], "chat.completion.chunk", "{event}");
        assert_eq!(event["model"], model, "{event}");
        assert_eq!((&event["id"], &event["created"]), (&first["id"], &first["created"]));
    }
    assert!(first["id"].as_str().is_some_and(|it| it.starts_with("chatcmpl-")), "{first}");
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    let of_choices = answer.events.iter().filter(|it| it["choices"] != json!([]));
    let last_of_choices = of_choices.clone().next_back().expect("choices");
    assert!(last_of_choices["choices"][0]["finish_reason"].is_string(), "{last_of_choices}");
    assert_eq!(answer.finishes(0).len(), 1, "{:?}", answer.data);
    let chunks_without = answer.events.len() - of_choices.count();
    assert!(chunks_without == 0 || (chunks_without == 1 && last["choices"] == json!([])));
}

#[tokio::test]
async fn a_stream_keeps_the_grammar() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        let answer = gateway.stream(&ask("m")).await.expect_done();
        assert!(answer.header("content-type").starts_with("text/event-stream"), "{name}");
        check_grammar(&answer, &format!("{name}/m"));
        let record = &gateway.upstream(name).records()[0];
        assert_eq!(answer.said(), record.sent_content);
        let no_usage_chunk = answer.events.iter().all(|it| it["choices"] != json!([]));
        assert!(no_usage_chunk, "{name} was not asked for usage: {:?}", answer.data);
    }
}

#[tokio::test]
async fn the_usage_chunk_comes_last_and_only_when_asked_for() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        for (options, wanted) in [
            (json!({"include_usage": true}), true),
            (json!({"include_usage": false}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            let body = with(ask("m"), json!({"stream_options": options}));
            let answer = gateway.stream(&body).await.expect_done();
            check_grammar(&answer, &format!("{name}/m"));
            let last = answer.events.last().expect("events");
            assert_eq!(last["choices"] == json!([]), wanted, "{name} {options}: {last}");
            if wanted {
                let records = gateway.upstream(name).records();
                let told = records.last().and_then(|it| it.reported_usage).expect("usage");
                assert_eq!(last["usage"]["prompt_tokens"], told.0, "{name}");
                assert_eq!(last["usage"]["completion_tokens"], told.1, "{name}");
                assert_eq!(last["usage"]["total_tokens"], told.0 + told.1, "{name}");
            }
        }
    }
}

fn with_tools(question: &str) -> Value {
    json!({
        "model": "m",
        "messages": [{"role": "user", "content": question}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {
            "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}}],
    })
}

#[tokio::test]
async fn tool_calls_come_whole() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        let answer = gateway.chat(&with_tools("Paris or Rome, both")).await.expect(200).json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{name}");
        let calls = choice["message"]["tool_calls"].as_array().expect("calls");
        assert_eq!(calls.len(), 2, "{name}");
        for call in calls {
            assert_eq!(call["function"]["name"], "weather");
            let arguments = call["function"]["arguments"].as_str().expect("text");
            let arguments: Value = serde_json::from_str(arguments).expect("JSON");
            assert!(arguments["city"].is_string(), "{name} {arguments}");
            assert!(call["id"].is_string());
        }
    }
}

#[tokio::test]
async fn tool_calls_come_streamed() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        let body = with_tools("Paris or Rome, both");
        let answer = gateway.stream(&body).await.expect_done();
        check_grammar(&answer, &format!("{name}/m"));
        assert_eq!(answer.finishes(0), ["tool_calls"], "{name}");
        let mut calls: Vec<(String, String)> = Vec::new();
        let deltas = answer.events.iter().filter_map(|it| it["choices"][0]["delta"].as_object());
        for piece in deltas.filter_map(|it| it.get("tool_calls")?.as_array()).flatten() {
            let index = piece["index"].as_u64().and_then(|it| usize::try_from(it).ok());
            let index = index.expect("an index");
            calls.resize(calls.len().max(index + 1), Default::default());
            let text = |key: &str| piece["function"][key].as_str().unwrap_or_default();
            calls[index].0.push_str(text("name"));
            calls[index].1.push_str(text("arguments"));
        }
        assert_eq!(calls.len(), 2, "{name}");
        for (tool, arguments) in calls {
            assert_eq!(tool, "weather", "{name}");
            let arguments: Value = serde_json::from_str(&arguments).expect("whole arguments");
            assert!(arguments["city"].is_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_tools_result_goes_back_to_a_model() {
    for (name, flavour) in FLAVOURS {
        let gateway = of_flavour(name, flavour).await;
        let call = json!({"id": "abcdefghi", "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}});
        let exchange = json!({"messages": [
            {"role": "user", "content": "Weather in Paris?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "21 degrees"},
        ]});
        let answer = gateway.chat(&with(with_tools(""), exchange)).await.expect(200);
        assert!(answer.said().contains("21 degrees"), "{name}: {}", answer.said());
    }
}

#[tokio::test]
async fn usage_that_is_not_told_is_counted() {
    for body in
        [ask("m"), with(streamed(ask("m")), json!({"stream_options": {"include_usage": true}}))]
    {
        let gateway = Gateway::plain().await;
        gateway.upstream("alpha").set_fault(Some(Fault::NoUsage));
        if body["stream"] == true {
            let answer = gateway.stream(&body).await.expect_done();
            let usage = &answer.events.last().expect("events")["usage"];
            assert!(usage["prompt_tokens"].as_u64() > Some(5), "{usage}");
            assert!(usage["completion_tokens"].as_u64() > Some(5), "{usage}");
        } else {
            gateway.chat(&body).await.expect(200);
        }
        let usage = gateway.usage().await;
        let total = &usage["total"];
        assert_eq!(total["requests"], 1, "{total}");
        // "Why is the sky blue?" has 6 tokens, and a message some more around it.
        assert!((6..30).contains(&total["prompt_tokens"].as_u64().expect("a number")), "{total}");
        assert!(total["completion_tokens"].as_u64() > Some(5), "{total}");
        assert_eq!(usage["providers"]["Alpha"]["models"]["m"]["estimated_requests"], 1, "{usage}");
    }
}

#[tokio::test]
async fn several_choices_are_kept_apart() {
    let gateway = Gateway::plain().await;
    let body = with(ask("m"), json!({"n": 3}));
    let whole = gateway.chat(&body).await.expect(200).json();
    assert_eq!(whole["choices"].as_array().map(Vec::len), Some(3));
    let answer = gateway.stream(&body).await.expect_done();
    let said = whole["choices"][0]["message"]["content"].as_str().expect("text");
    for index in 0..3 {
        assert_eq!(answer.said_by(index), said, "choice {index}");
        assert_eq!(answer.finishes(index), ["stop"], "choice {index}");
    }
}

#[tokio::test]
async fn logprobs_pass() {
    let gateway = Gateway::plain().await;
    let body = with(ask("m"), json!({"logprobs": true, "top_logprobs": 1}));
    let whole = gateway.chat(&body).await.expect(200).json();
    assert!(whole["choices"][0]["logprobs"]["content"].is_array(), "{whole}");
    let answer = gateway.stream(&body).await.expect_done();
    let told = answer.events.iter().any(|it| it["choices"][0]["logprobs"]["content"].is_array());
    assert!(told, "{:?}", answer.data);
}

#[tokio::test]
async fn an_answer_cut_by_its_token_limit_says_so() {
    let gateway = Gateway::plain().await;
    let body = with(ask("m"), json!({"max_tokens": 3}));
    let whole = gateway.chat(&body).await.expect(200).json();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(gateway.stream(&body).await.expect_done().finishes(0), ["length"]);
}

#[tokio::test]
async fn in_json_mode_only_the_json_stays() {
    let gateway = Gateway::plain().await;
    let wordy = "Sure! Here it is:\n```json\n{\"answer\": 42}\n```\nAnything else?";
    gateway.upstream("alpha").set_answer(Says::Fixed(wordy.to_owned()), Some(3));
    let body = with(ask("m"), json!({"response_format": {"type": "json_object"}}));
    for said in [
        gateway.chat(&body).await.expect(200).said(),
        gateway.stream(&body).await.expect_done().said(),
    ] {
        assert_eq!(said, r#"{"answer": 42}"#);
    }
}

#[tokio::test]
async fn members_a_provider_is_known_to_refuse_are_left_out_with_a_warning() {
    let all = json!({
        "logprobs": true, "logit_bias": {"1": 1}, "seed": 7, "user": "u", "frequency_penalty": 0.5,
        "presence_penalty": 0.5, "max_completion_tokens": 50,
    });
    for (name, flavour, gone) in [
        ("Alpha", Flavour::OpenAi, &[][..]),
        ("Groq", Flavour::Groq, &["logprobs", "logit_bias"]),
        ("Mistral", Flavour::Mistral, &["logprobs", "logit_bias", "user"]),
        (
            "Cerebras",
            Flavour::Cerebras,
            &["frequency_penalty", "presence_penalty", "logit_bias", "logprobs"],
        ),
    ] {
        let gateway = of_flavour(name, flavour).await;
        let answer = gateway.chat(&with(ask("m"), all.clone())).await.expect(200);
        // Known before the call, so that there is but one.
        assert_eq!(gateway.reached(name), 1, "{name}");
        let warning = answer.header("x-relay-warning");
        let dropped = warning.strip_prefix("dropped=").unwrap_or_default();
        let mut dropped: Vec<_> = dropped.split(',').filter(|it| !it.is_empty()).collect();
        let mut gone = gone.to_vec();
        dropped.sort_unstable();
        gone.sort_unstable();
        assert_eq!(dropped, gone, "{name}");
        let sent: Value = serde_json::from_slice(&last_body(&gateway, name)).expect("JSON");
        for member in gone {
            assert!(sent.get(member).is_none(), "{name} got {member}");
        }
        let seed = if name == "Mistral" { "random_seed" } else { "seed" };
        assert_eq!(sent[seed], 7, "{name}");
    }
}
