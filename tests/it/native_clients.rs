//! The clients for wires that are not quite OpenAI's, each against its simulated twin.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use secrecy::SecretString;
use serde_json::{Value, json};

use relayfreellm::clock::SharedClock;
use relayfreellm::clock::SystemClock;
use relayfreellm::openai::ChatRequest;
use relayfreellm::openai::Heads;
use relayfreellm::openai::RequestEdits;
use relayfreellm::provider::Call;
use relayfreellm::provider::ChatProvider;
use relayfreellm::provider::Pieces;
use relayfreellm::provider::Reply;
use relayfreellm::provider::SentMark;
use relayfreellm::provider::anthropic::AnthropicClient;
use relayfreellm::provider::fault::Fault;
use relayfreellm::provider::fault::FaultKind;
use relayfreellm::provider::fault::Scope;
use relayfreellm::provider::ollama::DiscoveredModel;
use relayfreellm::provider::ollama::OllamaClient;
use relayfreellm::provider::ollama::discover;
use relayfreellm::provider::openai_compatible::OpenAiCompatible;
use relayfreellm::provider::quirks;
use relayfreellm::provider::transport::Transport;
use relayfreellm::sim::Answer;
use relayfreellm::sim::Fault as Trouble;
use relayfreellm::sim::Flavour;
use relayfreellm::sim::ModelSpec;
use relayfreellm::sim::Pace;
use relayfreellm::sim::ProviderSpec;
use relayfreellm::sim::Record;
use relayfreellm::sim::SimConfig;
use relayfreellm::sim::SimProvider;
use relayfreellm::sim::SimServer;
use relayfreellm::sim::What;

const FLAVOURS: [Flavour; 3] = [Flavour::Anthropic, Flavour::Ollama, Flavour::Cloudflare];
const SOON: Duration = Duration::from_secs(5);

/// A simulated provider with the models `m` and `thinker`, and the client for its wire.
struct Bench {
    server: SimServer,
    client: Arc<dyn ChatProvider>,
}

/// A stream's chunks, what it left out, and the fault it ended with.
struct Streamed {
    chunks: Vec<Value>,
    dropped: Vec<&'static str>,
    fault: Option<Fault>,
}

impl Bench {
    fn new(flavour: Flavour) -> Self {
        let context = Some(50_000);
        let plain = ModelSpec { context, ..ModelSpec::new("m") };
        let thinker = ModelSpec { reasoning: true, ..ModelSpec::new("thinker") };
        Self::of(ProviderSpec::new("p", flavour).key("k1").model(plain).model(thinker))
    }

    fn of(spec: ProviderSpec) -> Self {
        let flavour = spec.flavour;
        let clock: SharedClock = Arc::new(SystemClock::start());
        let config = SimConfig::new(vec![spec]);
        let server = SimServer::start(config, "127.0.0.1:0".parse().unwrap(), &clock).unwrap();
        let (url, transport) = (server.base_url("p"), Transport::default());
        let client: Arc<dyn ChatProvider> = match flavour {
            Flavour::Anthropic => Arc::new(AnthropicClient::new(&url, transport, clock).unwrap()),
            Flavour::Ollama => Arc::new(OllamaClient::new(&url, transport, clock).unwrap()),
            _ => {
                let quirks = quirks::of(flavour.name());
                Arc::new(OpenAiCompatible::new(&url, quirks, transport, clock).unwrap())
            }
        };
        Self { server, client }
    }

    fn p(&self) -> SimProvider {
        self.server.provider("p").unwrap()
    }

    async fn send(&self, model: &str, more: Value) -> Result<Reply, Fault> {
        let mut body = json!({"messages": [{"role": "user", "content": "Why is the sky blue?"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let call = Call {
            model: model.into(),
            secret: Some(SecretString::from("k1")),
            request: Arc::new(ChatRequest::parse(&Bytes::from(body.to_string())).unwrap()),
            edits: RequestEdits::default(),
            verbatim: false,
            sent: SentMark::default(),
        };
        tokio::time::timeout(SOON, self.client.send(call)).await.expect("in time")
    }

    async fn whole(&self, model: &str, more: Value) -> Result<Value, Fault> {
        match self.send(model, more).await? {
            Reply::Whole(whole) => {
                let bytes = whole.completion.render("i", "m", 0, |_| None);
                Ok(serde_json::from_slice(&bytes).unwrap())
            }
            Reply::Stream(_) => panic!("a stream that was not asked for"),
        }
    }

    async fn pieces(&self, model: &str, mut more: Value) -> Result<Pieces, Fault> {
        more["stream"] = json!(true);
        match self.send(model, more).await? {
            Reply::Stream(pieces) => Ok(pieces),
            Reply::Whole(_) => panic!("no stream"),
        }
    }

    async fn stream(&self, model: &str, more: Value) -> Result<Streamed, Fault> {
        let Pieces { mut chunks, unmet } = self.pieces(model, more).await?;
        let mut read = Streamed { chunks: Vec::new(), dropped: unmet.dropped, fault: None };
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => {
                    let heads = Heads { id: "\"i\"", model: "\"m\"", created: "7" };
                    let bytes = chunk.render(&heads, &[], None);
                    read.chunks.push(serde_json::from_slice(&bytes).unwrap());
                }
                Err(fault) => read.fault = Some(fault),
            }
        }
        Ok(read)
    }
}

impl Streamed {
    fn deltas(&self) -> impl Iterator<Item = &Value> {
        self.chunks.iter().filter_map(|it| it.pointer("/choices/0/delta"))
    }

    fn joined(&self, member: &str) -> String {
        self.deltas().filter_map(|it| it[member].as_str()).collect()
    }

    fn finish(&self) -> Vec<&str> {
        let reasons = self.chunks.iter().filter_map(|it| it.pointer("/choices/0/finish_reason"));
        reasons.filter_map(Value::as_str).collect()
    }

    fn usage(&self) -> (u64, u64) {
        let told: Vec<&Value> = self.chunks.iter().filter_map(|it| it.get("usage")).collect();
        let [usage] = told[..] else { panic!("{told:?}") };
        figures(usage)
    }

    /// Its calls put together again, as a client does it.
    fn calls(&self) -> Vec<Value> {
        let mut calls: Vec<Value> = Vec::new();
        for delta in self.deltas().filter_map(|it| it["tool_calls"].as_array()).flatten() {
            let at = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
            if at == calls.len() {
                assert!(delta["id"].is_string() && delta["type"] == "function", "{delta}");
                let function =
                    json!({"name": delta["function"]["name"].as_str().unwrap(), "arguments": ""});
                calls.push(json!({"id": delta["id"], "type": "function", "function": function}));
            }
            let arguments = &mut calls[at]["function"]["arguments"];
            let more = delta["function"]["arguments"].as_str().unwrap_or_default();
            *arguments = json!(arguments.as_str().unwrap().to_owned() + more);
        }
        calls
    }
}

fn figures(usage: &Value) -> (u64, u64) {
    (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap())
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "description": "Tells it.",
        "parameters": {"type": "object", "required": ["city"],
            "properties": {"city": {"type": "string"}}, "additionalProperties": false}}}])
}

#[tokio::test]
async fn a_plain_answer_is_the_same_whole_and_streamed() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let whole = bench.whole("m", json!({})).await.unwrap();
        let message = &whole["choices"][0]["message"];
        let text = message["content"].as_str().unwrap();
        assert!(text.contains("sky"), "{flavour:?}: {text}");
        assert_eq!(message["role"], "assistant");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        let streamed = bench.stream("m", json!({})).await.unwrap();
        assert_eq!(streamed.joined("content"), text, "{flavour:?}");
        assert_eq!((streamed.finish(), streamed.fault.is_none()), (vec!["stop"], true));

        let records = bench.p().records();
        assert_eq!(records.len(), 2);
        for record in &records {
            assert_eq!((record.key.as_str(), record.model.as_str()), ("k1", "m"));
            assert_eq!(record.reported_usage, Some(figures(&whole["usage"])), "{flavour:?}");
        }
        assert_eq!(streamed.usage(), figures(&whole["usage"]), "{flavour:?}");
        assert_eq!((records[0].stream, records[1].stream), (false, true));
    }
}

#[tokio::test]
async fn tools_are_called_and_their_results_come_back() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let question = json!([{"role": "user", "content": "Weather in Paris and Rome, both?"}]);
        let asked = json!({"messages": question, "tools": weather()});
        let whole = bench.whole("m", asked.clone()).await.unwrap();
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{flavour:?}");
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 2, "{flavour:?}");
        assert_ne!(calls[0]["id"], calls[1]["id"]);

        let streamed = bench.stream("m", asked).await.unwrap();
        assert_eq!(streamed.finish(), ["tool_calls"], "{flavour:?}");
        let functions = |calls: &[Value]| -> Vec<Value> {
            calls.iter().map(|it| it["function"].clone()).collect()
        };
        assert_eq!(functions(&streamed.calls()), functions(calls), "{flavour:?}");
        let arguments = calls[0]["function"]["arguments"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(arguments).unwrap()["city"].is_string());

        let result = |at: usize, said: &str| json!({"role": "tool", "tool_call_id": calls[at]["id"], "content": said});
        let messages =
            json!([question[0], choice["message"], result(0, "wet"), result(1, "21 degrees")]);
        let answer = bench.whole("m", json!({"messages": messages, "tools": weather()})).await;
        let answer = answer.unwrap();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("21 degrees"), "{flavour:?}: {text}");
    }
}

#[tokio::test]
async fn anthropics_model_thinks_on_after_a_result() {
    let thinker = ModelSpec { reasoning: true, ..ModelSpec::new("thinker") };
    let spec = ProviderSpec::new("p", Flavour::Anthropic).key("k1").model(thinker);
    let bench = Bench::of(spec);
    let question = json!({"role": "user", "content": "Weather in Paris?"});
    for stream in [false, true] {
        let asked = json!({"messages": [question], "tools": weather(), "reasoning_effort": "low"});
        let calls = if stream {
            bench.stream("thinker", asked).await.unwrap().calls()
        } else {
            let answer = bench.whole("thinker", asked).await.unwrap();
            answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone()
        };
        let step = |id: &Value| {
            let mut call = calls[0].clone();
            call["id"] = id.clone();
            let result = json!({"role": "tool", "tool_call_id": id, "content": "21 degrees"});
            json!({"messages": [question, {"role": "assistant", "tool_calls": [call]}, result],
                "tools": weather(), "reasoning_effort": "low"})
        };
        // The call's own id; then one whose thought nobody has.
        for (id, thinks) in [(calls[0]["id"].clone(), true), (json!("elsewhere"), false)] {
            let answer = bench.stream("thinker", step(&id)).await.unwrap();
            assert!(answer.joined("content").contains("21 degrees"));
            let left_out = if thinks { vec![] } else { vec!["reasoning_effort"] };
            assert_eq!(answer.dropped, left_out, "{id}");
            let sent: Value =
                serde_json::from_slice(&bench.p().records().pop().unwrap().body).unwrap();
            assert_eq!(sent["thinking"]["type"] == "enabled", thinks);
            let first = &sent["messages"][1]["content"][0];
            assert_eq!(first["type"] == "thinking" && first["signature"].is_string(), thinks);
        }
    }
}

#[tokio::test]
async fn what_clients_really_send_is_accepted() {
    let call = |id: &str| {
        json!({"id": id, "type": "function", "function": {
        "name": "weather", "arguments": "{\"city\":\"Paris\"}"}})
    };
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "name": "ann"},
        {"role": "user", "content": "In Paris."},
        {"role": "assistant", "content": null, "tool_calls": [call("functions.weather:0")],
         "reasoning_content": "hm", "refusal": null},
        {"role": "tool", "tool_call_id": "functions.weather:0", "content": [
            {"type": "text", "text": "wet"}]},
        {"role": "assistant", "content": "", "tool_calls": null},
        {"role": "assistant", "content": null, "tool_calls": [call("a")]},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Why is the sky blue?"},
    ]);
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        for tools in [Value::Null, weather()] {
            let asked = json!({"messages": messages, "tools": tools, "tool_choice": "none",
                "temperature": 1.3, "top_p": 1, "stop": ["never said"], "store": true,
                "response_format": {"type": "text"}});
            let answer = bench.stream("m", asked).await.unwrap();
            let text = answer.joined("content");
            assert!(text.contains("sky"), "{flavour:?}: {text}");
        }
    }
}

#[tokio::test]
async fn images_are_shown_to_those_that_see() {
    let png = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}});
    let far = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    let what = json!({"type": "text", "text": "What is it?"});
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let shows =
            |image: &Value| json!({"messages": [{"role": "user", "content": [what, image]}]});
        bench.whole("m", shows(&png)).await.unwrap();
        let body = bench.p().records().pop().unwrap().body;
        assert!(String::from_utf8_lossy(&body).contains("iVBORw0K"), "{flavour:?}");
        let fetched = bench.whole("m", shows(&far)).await;
        match flavour {
            Flavour::Ollama => assert_eq!(fetched.unwrap_err().kind, FaultKind::NotHere),
            Flavour::Cloudflare => assert_eq!(fetched.unwrap_err().status, Some(400)),
            _ => assert!(fetched.is_ok(), "{flavour:?}"),
        }
    }
}

#[tokio::test]
async fn thoughts_come_out_beside_the_answer() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let asked = || json!({"reasoning_effort": "low"});
        let whole = bench.whole("thinker", asked()).await.unwrap();
        let message = &whole["choices"][0]["message"];
        let thought = message["reasoning_content"].as_str().unwrap();
        assert!(thought.contains("sky") && message["content"].is_string(), "{flavour:?}");
        let streamed = bench.stream("thinker", asked()).await.unwrap();
        assert_eq!(streamed.joined("reasoning_content"), thought, "{flavour:?}");
        assert_eq!(streamed.joined("content"), message["content"], "{flavour:?}");
    }
    let ollama = Bench::new(Flavour::Ollama);
    let refused = ollama.whole("m", json!({"reasoning_effort": "low"})).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::FieldUnknown(vec!["reasoning_effort".to_owned()]));
    let silent = Bench::new(Flavour::Anthropic).whole("thinker", json!({})).await.unwrap();
    assert!(silent["choices"][0]["message"].get("reasoning_content").is_none());
}

#[tokio::test]
async fn what_cannot_be_taken_is_left_out_and_named() {
    for (flavour, expected) in [
        (Flavour::Anthropic, &["frequency_penalty", "logprobs", "seed", "unknown_fields"][..]),
        (Flavour::Ollama, &["logprobs", "user", "unknown_fields"]),
        (Flavour::Cloudflare, &["logprobs"]),
    ] {
        let bench = Bench::new(flavour);
        let asked = json!({"logprobs": true, "seed": 1, "user": "u", "frequency_penalty": 0.1,
            "odd": {"a": 1}});
        let answer = bench.stream("m", asked).await.unwrap();
        assert_eq!((answer.dropped.as_slice(), answer.finish()), (expected, vec!["stop"]));
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let status = Trouble::Status;
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        for (trouble, expected) in [
            (status(401), FaultKind::KeyRejected),
            (status(404), FaultKind::ModelGone),
            (status(500), FaultKind::Server),
            (status(503), FaultKind::Server),
            (status(402), FaultKind::NoCredit),
        ] {
            for stream in [false, true] {
                bench.p().script(None, vec![trouble.clone()]);
                let fault = bench.send("m", json!({"stream": stream})).await.err().unwrap();
                assert_eq!(fault.kind, expected, "{flavour:?} {trouble:?}");
            }
        }
        let gone = bench.whole("other", json!({})).await.unwrap_err();
        assert_eq!(gone.kind, FaultKind::ModelGone, "{flavour:?}");
        let long = json!({"messages": [{"role": "user", "content": "x ".repeat(150_000)}]});
        match (flavour, bench.whole("m", long).await) {
            // The window was asked for, so the prompt was not cut to the server's own.
            (Flavour::Ollama, answer) => {
                assert!(figures(&answer.unwrap()["usage"]).0 > 70_000);
            }
            (_, answer) => assert_eq!(answer.unwrap_err().kind, FaultKind::ContextTooLong),
        }
    }
    let anthropic = Bench::new(Flavour::Anthropic);
    anthropic.p().script(None, vec![status(529)]);
    assert_eq!(anthropic.whole("m", json!({})).await.unwrap_err().kind, FaultKind::Busy);
}

#[tokio::test]
async fn a_spent_limit_says_how_long() {
    for flavour in FLAVOURS {
        let day = Duration::from_secs(86_400);
        let model = ModelSpec::new("m").limit(What::Requests, day, 1);
        let bench = Bench::of(ProviderSpec::new("p", flavour).key("k1").model(model));
        bench.whole("m", json!({})).await.unwrap();
        let fault = bench.whole("m", json!({})).await.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::RateLimited(_)), "{flavour:?}: {fault:?}");
        match flavour {
            Flavour::Anthropic => assert!(fault.retry_after > Some(day / 2)),
            // Until midnight, whenever that is.
            Flavour::Cloudflare => {
                assert!(
                    fault.scope == Scope::Account && fault.retry_after.is_some_and(|it| it <= day)
                );
            }
            _ => assert_eq!(fault.retry_after, None),
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_cut_and_one_that_fails_says_so() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        bench.p().set_answer(Answer::Fixed("one two three".to_owned()), None);
        for (trouble, said, expected) in [
            (Trouble::CutAfterChunks(0), "", FaultKind::Cut),
            (Trouble::CutAfterChunks(2), "one two ", FaultKind::Cut),
            (Trouble::NoDone, "one two three", FaultKind::Cut),
            (Trouble::Garbage, "", FaultKind::Unreadable),
            (Trouble::ErrorIn200Stream, "", FaultKind::Server),
            (Trouble::ErrorAfterChunks(1), "one ", FaultKind::Server),
        ] {
            bench.p().script(None, vec![trouble.clone()]);
            let streamed = bench.stream("m", json!({})).await.unwrap();
            assert_eq!(streamed.joined("content"), said, "{flavour:?} {trouble:?}");
            let fault = streamed.fault.unwrap_or_else(|| panic!("{flavour:?} {trouble:?}"));
            assert_eq!(fault.kind, expected, "{flavour:?} {trouble:?}");
        }
        for (trouble, expected) in [
            (Trouble::Html, FaultKind::Unreadable),
            (Trouble::Garbage, FaultKind::Unreadable),
            (Trouble::CutAfterChunks(1), FaultKind::Cut),
        ] {
            bench.p().script(None, vec![trouble.clone()]);
            let fault = bench.whole("m", json!({})).await.unwrap_err();
            assert_eq!(fault.kind, expected, "{flavour:?} {trouble:?}");
        }
        bench.p().script(None, vec![Trouble::ErrorIn200Stream]);
        match bench.send("m", json!({})).await {
            Err(fault) => assert_eq!(fault.kind, FaultKind::Server, "{flavour:?}"),
            // Cloudflare's errors have no `error` in them; what is left is an empty answer.
            Ok(Reply::Whole(whole)) => {
                assert!(flavour == Flavour::Cloudflare && whole.completion.is_empty());
            }
            Ok(Reply::Stream(_)) => panic!("no stream was asked for"),
        }
        bench.p().script(None, vec![Trouble::Html]);
        let fault = bench.stream("m", json!({})).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::Unreadable);
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_seen_at_once() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        bench.p().set_pace(Pace { per_chunk: Duration::from_secs(60), ..Pace::default() });
        let mut pieces = bench.pieces("m", json!({})).await.unwrap();
        // Its beginning, if the wire has one, comes at once; then it is silent.
        let waiting = Duration::from_millis(200);
        while tokio::time::timeout(waiting, pieces.chunks.next()).await.is_ok() {}
        assert!(bench.p().records()[0].client_gone_at.is_none());
        drop(pieces);
        let gone = |records: &[Record]| records[0].client_gone_at.is_some();
        assert!(bench.p().wait_for(SOON, gone).await.is_some(), "{flavour:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_bound_is_not_cut_short() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        bench.p().set_answer(Answer::Fixed("word ".repeat(1_000)), None);
        let whole = bench.whole("m", json!({})).await.unwrap();
        assert_eq!(whole["choices"][0]["finish_reason"], "stop", "{flavour:?}");
        let bounded = bench.whole("m", json!({"max_tokens": 10})).await.unwrap();
        assert_eq!(bounded["choices"][0]["finish_reason"], "length", "{flavour:?}");
        let bounded = bench.stream("m", json!({"max_completion_tokens": 10})).await.unwrap();
        assert_eq!(bounded.finish(), ["length"], "{flavour:?}");
    }
}

#[tokio::test]
async fn ollamas_models_are_found() {
    let bench = Bench::new(Flavour::Ollama);
    let transport = Transport::default();
    let found = discover(&bench.server.base_url("p"), &transport).await.unwrap();
    let model = |name: &str, context| DiscoveredModel {
        name: name.to_owned(),
        context: Some(context),
        vision: false,
        tools: true,
        hosted: false,
    };
    assert_eq!(found, [model("m", 50_000), model("thinker", 131_072)]);
    let nobody = discover("http://127.0.0.1:9", &transport).await.unwrap_err();
    assert_eq!(nobody.kind, FaultKind::Connect);
}
