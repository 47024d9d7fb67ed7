//! Gemini's client against its simulated twin, which refuses what the real one refuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use relayfreellm::catalog::Period;
use relayfreellm::clock::{SharedClock, SystemClock};
use relayfreellm::openai::{ChatRequest, Completion, Heads, RequestEdits, TokenUsage};
use relayfreellm::provider::fault::{Fault, FaultKind};
use relayfreellm::provider::gemini::GeminiClient;
use relayfreellm::provider::transport::Transport;
use relayfreellm::provider::{Call, ChatProvider, Reply, SentMark};
use relayfreellm::sim::{
    Answer, Fault as Wrong, Flavour, ModelSpec, ProviderSpec, SimConfig, SimProvider, SimServer,
    What,
};
use serde_json::{Value, json};

const FLASH: &str = "gemini-2.5-flash";
const THIRD: &str = "gemini-3.6-flash";
const SOON: Duration = Duration::from_secs(5);

fn call(model: &str, body: &Value) -> Call {
    let request = ChatRequest::parse(&Bytes::from(body.to_string())).expect("a proper request");
    Call {
        model: model.into(),
        secret: Some("k1".to_owned().into()),
        request: Arc::new(request),
        edits: RequestEdits::default(),
        verbatim: false,
        sent: SentMark::default(),
    }
}

struct Bench {
    server: SimServer,
    client: GeminiClient,
}

impl Bench {
    fn new() -> Self {
        Self::of(&[FLASH, THIRD, "gemma-3-27b-it"].map(ModelSpec::new))
    }

    fn of(models: &[ModelSpec]) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let mut spec = ProviderSpec::new("Gemini", Flavour::Gemini).key("k1").key("k2");
        spec.models = models.to_vec();
        let config = SimConfig::new(vec![spec]);
        let server = SimServer::start(config, "127.0.0.1:0".parse().expect("an address"), &clock);
        let server = server.expect("a free port");
        let base = server.base_url("Gemini");
        assert!(base.ends_with("/gemini/v1beta"), "{base}");
        let client = GeminiClient::new(&base, Transport::default(), clock).expect("a URL");
        Self { server, client }
    }

    fn twin(&self) -> SimProvider {
        self.server.provider("gemini").expect("it is hosted")
    }

    async fn whole(&self, model: &str, body: Value) -> Result<(Value, Completion), Fault> {
        match self.client.send(call(model, &body)).await? {
            Reply::Whole(whole) => {
                let json = whole.completion.render("i", "m", 0, |_| None);
                Ok((serde_json::from_slice(&json).expect("JSON"), whole.completion))
            }
            Reply::Stream(_) => panic!("a stream"),
        }
    }

    async fn streamed(&self, model: &str, mut body: Value) -> Result<Streamed, Fault> {
        body["stream"] = true.into();
        let Reply::Stream(mut pieces) = self.client.send(call(model, &body)).await? else {
            panic!("no stream")
        };
        let mut read = Streamed::default();
        while let Some(chunk) = pieces.chunks.next().await {
            let chunk = chunk?;
            read.usage = chunk.usage.or(read.usage);
            let heads = Heads { id: "\"i\"", model: "\"m\"", created: "7" };
            let json: Value =
                serde_json::from_slice(&chunk.render(&heads, &[], None)).expect("JSON");
            let choice = &json["choices"][0];
            let delta = &choice["delta"];
            read.text.push_str(delta["content"].as_str().unwrap_or_default());
            read.reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
            read.calls.extend(delta["tool_calls"].as_array().cloned().unwrap_or_default());
            read.finish = choice["finish_reason"].as_str().map(str::to_owned).or(read.finish);
        }
        Ok(read)
    }
}

#[derive(Default)]
struct Streamed {
    text: String,
    reasoning: String,
    calls: Vec<Value>,
    finish: Option<String>,
    usage: Option<TokenUsage>,
}

fn question(text: &str, more: Value) -> Value {
    let mut body = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": text},
    ]});
    if let Value::Object(more) = more {
        body.as_object_mut().expect("an object").extend(more);
    }
    body
}

fn sky() -> Value {
    question("Why is the sky blue?", json!({"temperature": 0.5, "user": "u", "max_tokens": 500}))
}

#[tokio::test]
async fn whole_and_streamed_say_and_cost_the_same() {
    let bench = Bench::new();
    for model in [FLASH, THIRD, "models/gemma-3-27b-it"] {
        let (json, completion) = bench.whole(model, sky()).await.unwrap();
        let text = json["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("sky"), "{text}");
        assert_eq!(json["choices"][0]["finish_reason"], "stop");
        let streamed = bench.streamed(model, sky()).await.unwrap();
        assert_eq!((streamed.text.as_str(), streamed.finish.as_deref()), (text, Some("stop")));
        let records = bench.twin().records();
        let told = records.last().unwrap().reported_usage.unwrap();
        let told = Some(TokenUsage { prompt: told.0, completion: told.1 });
        assert_eq!((completion.usage, streamed.usage), (told, told));
    }
    let record = bench.twin().records().swap_remove(1);
    assert_eq!(record.path, "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(record.headers.get("x-goog-api-key").map(String::as_str), Some("k1"));
    assert!(!record.headers.contains_key("authorization"));
    assert_eq!(bench.twin().count_served(), 6);
}

fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather", "description": "The weather.", "strict": true,
        "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "additionalProperties": false, "required": ["city", "unit"],
            "properties": {
                "city": {"$ref": "#/$defs/City"},
                "unit": {"anyOf": [{"const": "c"}, {"type": "null"}], "default": null},
                "days": {"type": ["integer", "null"], "exclusiveMinimum": 0},
                "where": {"oneOf": [{"type": "string", "format": "uri"}, {"type": "array"}]},
            },
            "$defs": {"City": {"type": "string", "title": "City", "examples": ["Paris"]}},
        },
    }}])
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_told() {
    let bench = Bench::new();
    for model in [FLASH, THIRD] {
        let asked = question("Compare Paris and Rome, both", json!({"tools": tools()}));
        let (json, _) = bench.whole(model, asked.clone()).await.unwrap();
        let choice = &json["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        let cities: Vec<Value> = calls
            .iter()
            .map(|it| serde_json::from_str(it["function"]["arguments"].as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(
            cities,
            [json!({"city": "Paris", "unit": "c"}), json!({"city": "Rome", "unit": "c"})]
        );

        let streamed = bench.streamed(model, asked.clone()).await.unwrap();
        assert_eq!(streamed.finish.as_deref(), Some("tool_calls"));
        assert_eq!(streamed.calls.len(), 2);
        for (at, (piece, call)) in streamed.calls.iter().zip(calls).enumerate() {
            assert_eq!((&piece["index"], &piece["type"]), (&json!(at), &json!("function")));
            assert_eq!(piece["function"], call["function"]);
            assert!(piece["id"].as_str().is_some_and(|it| it.starts_with("call_")));
        }

        // The turn with the results: with the calls as they came, and as a client leaves them that
        // knows no signatures.
        let mut forgetful = calls.clone();
        for call in &mut forgetful {
            call.as_object_mut().unwrap().remove("extra_content");
        }
        assert!(calls[0]["extra_content"]["google"]["thought_signature"].is_string());
        for calls in [calls, &forgetful] {
            let mut next = asked.clone();
            let messages = next["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            for (call, text) in calls.iter().zip(["21 degrees", "30 degrees"]).rev() {
                messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": text}));
            }
            let (json, _) = bench.whole(model, next.clone()).await.unwrap();
            let text = json["choices"][0]["message"]["content"].as_str().unwrap();
            assert!(text.contains("The tool says: 21 degrees and 30 degrees"), "{text}");
            assert_eq!(bench.streamed(model, next).await.unwrap().text, text);
        }
    }
}

/// The signatures that the parts of the last request carried.
fn signatures(bench: &Bench) -> Vec<String> {
    let record = bench.twin().records().pop().expect("a request");
    let body: Value = serde_json::from_slice(&record.body).expect("JSON");
    let contents = body["contents"].as_array().into_iter().flatten();
    let parts = contents.filter_map(|it| it["parts"].as_array()).flatten();
    parts.filter_map(|it| it["thoughtSignature"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_signature_comes_back_to_its_model_and_key_alone() {
    let other = "gemini-3-flash-preview";
    let bench = Bench::of(&[THIRD, other, FLASH].map(ModelSpec::new));
    let asked = question("Compare Paris and Rome, both", json!({"tools": tools()}));
    for streamed in [false, true] {
        let calls = if streamed {
            bench.streamed(THIRD, asked.clone()).await.unwrap().calls
        } else {
            let (json, _) = bench.whole(THIRD, asked.clone()).await.unwrap();
            json["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone()
        };
        let first = calls[0]["extra_content"]["google"]["thought_signature"].as_str().unwrap();
        let turn = |keeps: bool| {
            let mut next = asked.clone();
            let messages = next["messages"].as_array_mut().unwrap();
            let mut calls = calls.clone();
            for call in calls.iter_mut().filter(|_| !keeps) {
                call.as_object_mut().unwrap().remove("extra_content");
            }
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            for call in &calls {
                let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "21"});
                messages.push(result);
            }
            next
        };
        let skip = "skip_thought_signature_validator";
        for (model, key, keeps, expected) in [
            (THIRD, "k1", false, vec![first]),
            (THIRD, "k1", true, vec![first]),
            (THIRD, "k2", false, vec![skip]),
            (other, "k1", false, vec![skip]),
            (other, "k1", true, vec![skip]),
            (FLASH, "k1", true, vec![]),
        ] {
            let mut next = call(model, &turn(keeps));
            next.secret = Some(key.to_owned().into());
            assert!(bench.client.send(next).await.is_ok());
            assert_eq!(signatures(&bench), expected, "{model} {key} {keeps} {streamed}");
        }
    }
}

#[tokio::test]
async fn images_and_schemas_are_taken() {
    let bench = Bench::new();
    let shown = json!([
        {"type": "text", "text": "What is this about volcanoes?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    ]);
    let body = json!({"messages": [{"role": "user", "content": shown}]});
    let (json, _) = bench.whole(FLASH, body).await.unwrap();
    assert!(json["choices"][0]["message"]["content"].as_str().unwrap().contains("volcanoes"));

    let format = json!({"response_format": {"type": "json_schema", "json_schema": {
    "name": "s", "strict": true, "schema": {
        "type": "object", "additionalProperties": false, "required": ["topic", "score", "tags"],
        "properties": {
            "topic": {"type": "string", "format": "hostname"},
            "score": {"type": "integer", "enum": [3, 4]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}},
        },
        "$defs": {"Tag": {"const": "x"}},
    }}}});
    for model in [FLASH, THIRD] {
        let (json, _) =
            bench.whole(model, question("Explain volcanoes", format.clone())).await.unwrap();
        let text = json["choices"][0]["message"]["content"].as_str().unwrap();
        let answer: Value = serde_json::from_str(text).unwrap();
        assert_eq!(answer, json!({"topic": "volcanoes", "score": 3, "tags": ["x"]}));
    }
    let (json, _) = bench
        .whole(FLASH, question("Hi", json!({"response_format": {"type": "json_object"}})))
        .await
        .unwrap();
    let text = json["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap().is_object());
}

#[tokio::test]
async fn thoughts_are_paid_for_and_shown_when_asked_for() {
    let reasoning = |name| ModelSpec { reasoning: true, ..ModelSpec::new(name) };
    let bench = Bench::of(&[reasoning(FLASH), reasoning(THIRD)]);
    let (json, _) = bench.whole(FLASH, sky()).await.unwrap();
    assert_eq!(json["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
    let (json, _) = bench.whole(THIRD, sky()).await.unwrap();
    let tokens = json["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64();
    assert!(tokens.is_some_and(|it| it > 0));
    assert_eq!(json["choices"][0]["message"].get("reasoning_content"), None);
    let asked = question("Why is the sky blue?", json!({"reasoning_effort": "low"}));
    let (json, completion) = bench.whole(THIRD, asked.clone()).await.unwrap();
    let thought = json["choices"][0]["message"]["reasoning_content"].as_str().unwrap();
    let streamed = bench.streamed(THIRD, asked).await.unwrap();
    assert_eq!((streamed.reasoning.as_str(), streamed.usage), (thought, completion.usage));
}

#[tokio::test]
async fn a_blocked_prompt_is_a_refusal() {
    let bench = Bench::new();
    let sample = include_bytes!("../wire/gemini/blocked_prompt.json");
    let blocked = |kind: &str, body: Bytes| Wrong::RawResponse {
        status: 200,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body,
    };
    let flat: Value = serde_json::from_slice(sample).unwrap();
    let event = format!("data: {flat}\r\n\r\n");
    bench.twin().script(
        None,
        vec![
            blocked("application/json; charset=UTF-8", Bytes::from_static(sample)),
            blocked("text/event-stream", event.into()),
        ],
    );
    let (json, completion) = bench.whole(FLASH, sky()).await.unwrap();
    assert_eq!(json["choices"][0]["finish_reason"], "content_filter");
    assert!(json["choices"][0]["message"]["refusal"].is_string() && !completion.is_empty());
    let streamed = bench.streamed(FLASH, sky()).await.unwrap();
    assert_eq!(streamed.finish.as_deref(), Some("content_filter"));
    assert_eq!(streamed.usage, Some(TokenUsage { prompt: 8, completion: 0 }));
}

#[tokio::test]
async fn the_samples_of_streams_are_read_byte_for_byte() {
    let bench = Bench::new();
    let cases: [(&'static [u8], &str, usize, u64); 3] = [
        (include_bytes!("../wire/gemini/stream.sse"), "Hello there.", 0, 44),
        (include_bytes!("../wire/gemini/stream_crlf.sse"), "Hello there.", 0, 44),
        (include_bytes!("../wire/gemini/stream_tool_call.sse"), "", 2, 80),
    ];
    for (body, text, calls, completion) in cases {
        let kind = ("content-type".to_owned(), "text/event-stream".to_owned());
        let body = Bytes::from_static(body);
        bench
            .twin()
            .script(None, vec![Wrong::RawResponse { status: 200, headers: vec![kind], body }]);
        let read = bench.streamed(FLASH, sky()).await.unwrap();
        let used = read.usage.map(|it| it.completion);
        assert_eq!((read.text.as_str(), read.calls.len(), used), (text, calls, Some(completion)));
    }
}

#[tokio::test]
async fn limits_are_told_with_their_period() {
    let day = Duration::from_secs(86_400);
    let minute = Duration::from_secs(60);
    let bench = Bench::of(&[
        ModelSpec::new(FLASH).limit(What::Requests, minute, 1),
        ModelSpec::new(THIRD).limit(What::Requests, day, 1),
        ModelSpec::new("gemini-2.5-pro").limit(What::Tokens, minute, 1),
        ModelSpec::new("gemini-2.0-flash").limit(What::Requests, day, 0),
    ]);
    assert!(bench.whole(FLASH, sky()).await.is_ok() && bench.whole(THIRD, sky()).await.is_ok());
    let fault = bench.whole(FLASH, sky()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::RateLimited(Some(Period::Minute)));
    assert!(fault.retry_after.is_some_and(|it| it > Duration::from_secs(50) && it <= minute));
    let fault = bench.streamed(THIRD, sky()).await.err().unwrap();
    assert_eq!(fault.kind, FaultKind::RateLimited(Some(Period::Day)));
    assert_eq!((fault.retry_after, fault.code.as_deref()), (None, Some("RESOURCE_EXHAUSTED")));
    let fault = bench.whole("gemini-2.5-pro", sky()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::RateLimited(Some(Period::Minute)));
    let fault = bench.whole("gemini-2.0-flash", sky()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::ModelGone);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let tight = ModelSpec { context: Some(5), ..ModelSpec::new(FLASH) };
    let choosy = ModelSpec { refuses: vec!["seed".to_owned()], ..ModelSpec::new(THIRD) };
    let bench = Bench::of(&[tight, choosy, ModelSpec::new("gemini-2.5-pro")]);
    let kind = |it: Result<(Value, Completion), Fault>| it.map(|_| ()).map_err(|it| it.kind);
    assert_eq!(kind(bench.whole(FLASH, sky()).await), Err(FaultKind::ContextTooLong));
    assert_eq!(kind(bench.whole("gemini-9", sky()).await), Err(FaultKind::ModelGone));
    let seeded = question("x", json!({"seed": 7}));
    let unknown = FaultKind::FieldUnknown(vec!["seed".to_owned()]);
    assert_eq!(kind(bench.whole(THIRD, seeded.clone()).await), Err(unknown));
    let mut without = call(THIRD, &seeded);
    without.edits.leave_out.push("seed".to_owned());
    assert!(bench.client.send(without).await.is_ok());
    let hot = question("x", json!({"temperature": 3}));
    let fault = bench.whole(THIRD, hot).await.unwrap_err();
    assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::BadRequest, Some("temperature")));
    let mut stranger = call(THIRD, &sky());
    stranger.secret = Some("k3".to_owned().into());
    let fault = bench.client.send(stranger.clone()).await.err().unwrap();
    assert_eq!((fault.kind, fault.status), (FaultKind::KeyRejected, Some(400)));
    stranger.secret = None;
    let fault = bench.client.send(stranger).await.err().unwrap();
    assert_eq!(fault.kind, FaultKind::KeyRejected);
}

#[tokio::test]
async fn an_https_image_is_refused_before_anything_is_sent() {
    let bench = Bench::new();
    let shown = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let asked = call(FLASH, &json!({"messages": [{"role": "user", "content": shown}]}));
    let sent = asked.sent.clone();
    let fault = bench.client.send(asked).await.err().unwrap();
    assert_eq!(fault.kind, FaultKind::NotHere);
    assert!(!sent.is_set() && bench.twin().count_reached() == 0);
}

#[tokio::test]
async fn every_way_to_break_is_told() {
    let bench = Bench::new();
    for (wrong, whole, streamed) in [
        // First, while no connection has been kept.
        (Wrong::Reset, FaultKind::Unanswered, FaultKind::Unanswered),
        (Wrong::Status(503), FaultKind::Server, FaultKind::Server),
        (Wrong::Status(500), FaultKind::Server, FaultKind::Server),
        (Wrong::Garbage, FaultKind::Unreadable, FaultKind::Unreadable),
        (Wrong::Html, FaultKind::Unreadable, FaultKind::Unreadable),
        (Wrong::CutAfterChunks(2), FaultKind::Cut, FaultKind::Cut),
        (Wrong::NoDone, FaultKind::Unreadable, FaultKind::Cut),
        (Wrong::ErrorIn200Stream, FaultKind::Server, FaultKind::Server),
        (Wrong::ErrorAfterChunks(2), FaultKind::Server, FaultKind::Server),
    ] {
        bench.twin().script(None, vec![wrong.clone(), wrong.clone()]);
        let fault = bench.whole(FLASH, sky()).await.unwrap_err();
        assert_eq!(fault.kind, whole, "{wrong:?} {fault:?}");
        let fault = bench.streamed(FLASH, sky()).await.err().unwrap();
        assert_eq!(fault.kind, streamed, "{wrong:?} {fault:?}");
    }
    bench.twin().script(None, vec![Wrong::EmptyAnswer, Wrong::NoUsage]);
    let (_, completion) = bench.whole(FLASH, sky()).await.unwrap();
    assert!(completion.is_empty());
    assert_eq!(bench.streamed(FLASH, sky()).await.unwrap().usage, None);
}

#[tokio::test]
async fn a_dropped_call_closes_the_connection() {
    let bench = Bench::new();
    bench.twin().set_answer(Answer::Fixed("one two three".to_owned()), None);
    bench.twin().script(None, vec![Wrong::Hang, Wrong::StallAfterChunks(1)]);
    let asked = call(FLASH, &sky());
    let waiting = tokio::time::timeout(Duration::from_millis(200), bench.client.send(asked));
    assert!(waiting.await.is_err());
    let mut body = sky();
    body["stream"] = true.into();
    let Ok(Reply::Stream(mut pieces)) = bench.client.send(call(FLASH, &body)).await else {
        panic!("no stream")
    };
    let first = pieces.chunks.next().await.unwrap().unwrap();
    assert_eq!(first.choices[0].text, "one ");
    drop(pieces);
    let twin = bench.twin();
    let gone = twin.wait_for(SOON, |records| {
        records.len() == 2 && records.iter().all(|it| it.client_gone_at.is_some())
    });
    assert!(gone.await.is_some(), "{:?}", twin.records());
}

#[tokio::test]
async fn a_bad_address_is_refused_and_an_odd_model_name_is_not() {
    let clock: SharedClock = Arc::new(SystemClock::start());
    assert!(GeminiClient::new("no url at all", Transport::default(), clock).is_err());
    let bench = Bench::new();
    for model in ["a b/ü?#%", "../../v1beta"] {
        let fault = bench.whole(model, sky()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::ModelGone, "{model} {fault:?}");
    }
}
