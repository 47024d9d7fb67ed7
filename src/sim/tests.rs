//! The whole room over real sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::clock::SharedClock;
use crate::clock::SystemClock;

use super::*;

const SOON: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const FLAVOURS: [Flavour; 4] =
    [Flavour::OpenAi, Flavour::Groq, Flavour::Mistral, Flavour::Cerebras];

/// A server with one provider, `p`, and a client.
struct Bench {
    server: SimServer,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back: the body is an error when the connection ended early.
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Result<String, ()>,
}

impl Got {
    fn text(&self) -> &str {
        self.body.as_deref().expect("a whole body")
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The events of a stream that ended in order, `[DONE]` left out.
    fn chunks(&self) -> Vec<Value> {
        let data = self.text().split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|it| *it != "[DONE]").map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    fn said(&self) -> String {
        let chunks = self.chunks();
        let texts = chunks.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str());
        texts.collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Bench {
    fn of(spec: ProviderSpec) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let config = SimConfig::new(vec![spec]);
        let server = SimServer::start(config, "127.0.0.1:0".parse().unwrap(), &clock).unwrap();
        Self { server, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    fn new(flavour: Flavour) -> Self {
        Self::of(ProviderSpec::new("p", flavour))
    }

    fn p(&self) -> SimProvider {
        self.server.provider("P").expect("names are found in any case")
    }

    async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ()> {
        let response = tokio::time::timeout(SOON, self.client.request(request));
        response.await.expect("in time").map_err(|_| ())
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Got, ()> {
        let (parts, body) = self.open(request).await?.into_parts();
        let body = tokio::time::timeout(SOON, body.collect()).await.expect("in time");
        let body = body.map(|it| String::from_utf8(it.to_bytes().to_vec()).unwrap());
        Ok(Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.map_err(|_| ()),
        })
    }

    fn chat_request(&self, body: &Value) -> Request<Full<Bytes>> {
        Request::post(format!("{}/chat/completions", self.server.base_url("p")))
            .header("authorization", "Bearer k1")
            .body(Full::from(body.to_string()))
            .unwrap()
    }

    async fn try_chat(&self, more: Value) -> Result<Got, ()> {
        self.send(self.chat_request(&question(more))).await
    }

    async fn chat(&self, more: Value) -> Got {
        self.try_chat(more).await.expect("an answer")
    }

    async fn at(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
        let uri = format!("http://{}{path}", self.server.addr());
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default()).unwrap()).await.expect("an answer")
    }
}

/// A chat body with `more` fields.
fn question(more: Value) -> Value {
    let mut body = json!({
        "model": "m", "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    });
    if let Value::Object(more) = more {
        body.as_object_mut().unwrap().extend(more);
    }
    body
}

#[tokio::test]
async fn every_flavour_says_the_same_whole_and_streamed_and_counts_what_it_tells() {
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let whole = bench.chat(json!({})).await.json();
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("sky"), "{text}");
        let streamed =
            bench.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await;
        assert_eq!(streamed.header("content-type"), "text/event-stream");
        assert_eq!(streamed.said(), text, "{flavour:?}");
        assert!(streamed.text().ends_with("data: [DONE]\n\n"));

        let records = bench.p().records();
        let usage = &whole["usage"];
        let told = (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64());
        for record in &records {
            assert_eq!(record.reported_usage, Some((told.0, told.1.unwrap())), "{flavour:?}");
            assert_eq!((record.sent_content.as_str(), record.status), (text, Some(200)));
            assert!(record.ended && record.client_gone_at.is_none());
            assert_eq!((record.key.as_str(), record.model.as_str()), ("k1", "m"));
        }
        assert_eq!((records[0].stream, records[1].stream), (false, true));
        assert_eq!(records[0].body, question(json!({})).to_string());
        assert_eq!((bench.p().count_reached(), bench.p().count_served()), (2, 2));
    }
}

#[tokio::test]
async fn a_fixed_answer_is_exact_however_it_is_split() {
    let bench = Bench::new(Flavour::Mistral);
    let text = "Certainly! Ça va, 日本 🎉.";
    for chars in [None, Some(1), Some(3), Some(100)] {
        bench.p().set_answer(Answer::Fixed(text.to_owned()), chars);
        assert_eq!(bench.chat(json!({"stream": true})).await.said(), text);
    }
    let last = bench.chat(json!({"stream": true})).await.chunks().pop().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["choices"][0]["delta"]["content"], text);
}

#[tokio::test]
async fn tools_are_called_and_their_results_quoted() {
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}}]);
    for flavour in FLAVOURS {
        let bench = Bench::new(flavour);
        let whole = bench.chat(json!({"tools": tools})).await.json();
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let call = choice["message"]["tool_calls"][0].clone();
        assert_eq!(call["function"]["name"], "weather");
        let streamed = bench.chat(json!({"tools": tools, "stream": true})).await.chunks();
        let ends = streamed.iter().filter_map(|it| it["choices"][0]["finish_reason"].as_str());
        assert_eq!(ends.collect::<Vec<_>>(), ["tool_calls"]);

        let messages = json!([{"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "21 degrees"}]);
        let answer = bench.chat(json!({"tools": tools, "messages": messages})).await.json();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("21 degrees"), "{flavour:?}: {text}");
    }
}

#[tokio::test]
async fn exactly_the_limit_is_served_however_many_come_at_once() {
    let limited = ModelSpec::new("m").limit(What::Requests, MINUTE, 30);
    let bench = Bench::of(ProviderSpec::new("p", Flavour::Groq).key("k1").key("k2").model(limited));
    let got = futures::future::join_all((0..200).map(|_| bench.chat(json!({})))).await;
    let served = got.iter().filter(|it| it.status == 200).count();
    assert_eq!(served, 30);
    for refused in got.iter().filter(|it| it.status != 200) {
        assert_eq!(refused.status, 429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((58..=60).contains(&wait), "{wait}");
        assert!(refused.text().contains("(RPM): Limit 30, Used 30, Requested 1"));
    }
    assert_eq!((bench.p().count_reached(), bench.p().count_served()), (200, 30));
    let mut other_key = bench.chat_request(&question(json!({})));
    other_key.headers_mut().insert("authorization", "Bearer k2".parse().unwrap());
    assert_eq!(bench.send(other_key).await.unwrap().status, 200);
}

#[tokio::test]
async fn headers_show_the_live_counters() {
    let day = Duration::from_secs(86_400);
    let model =
        ModelSpec::new("m").limit(What::Requests, day, 1_000).limit(What::Tokens, MINUTE, 8_000);
    for (flavour, left_requests, left_tokens) in [
        (Flavour::Groq, "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"),
        (
            Flavour::Cerebras,
            "x-ratelimit-remaining-requests-day",
            "x-ratelimit-remaining-tokens-minute",
        ),
    ] {
        let bench = Bench::of(ProviderSpec::new("p", flavour).model(model.clone()));
        let got = bench.chat(json!({})).await;
        let used = got.json()["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(got.header(left_requests), "999");
        assert_eq!(got.header(left_tokens), (8_000 - used).to_string());
        assert_eq!(got.header("retry-after"), "");
    }
}

#[tokio::test]
async fn what_a_flavour_refuses_comes_back_in_its_own_status() {
    for (flavour, more, status) in [
        (Flavour::OpenAi, json!({"user": "u", "anything": 1}), 200),
        (Flavour::Groq, json!({"logprobs": true}), 400),
        (Flavour::Mistral, json!({"user": "u"}), 422),
        (Flavour::Cerebras, json!({"logit_bias": {}}), 400),
        (Flavour::OpenAi, json!({"model": "other"}), 404),
        (Flavour::Mistral, json!({"model": "other"}), 400),
        (Flavour::Groq, json!({"max_tokens": 9_000}), 413),
        (Flavour::OpenAi, json!({"messages": []}), 400),
        (
            Flavour::OpenAi,
            json!({"messages": [{"role": "user", "content": "x".repeat(5_000)}]}),
            400,
        ),
    ] {
        let model = ModelSpec {
            context: Some(1_000),
            ..ModelSpec::new("m").limit(What::Tokens, MINUTE, 8_000)
        };
        let bench = Bench::of(ProviderSpec::new("p", flavour).model(model));
        let got = bench.chat(more.clone()).await;
        assert_eq!(got.status, status, "{flavour:?} {more}: {}", got.text());
        assert!(got.json().is_object());
        assert_eq!(bench.p().records()[0].status, Some(status));
    }
    let bench = Bench::of(ProviderSpec::new("p", Flavour::Groq).key("another"));
    assert_eq!(bench.chat(json!({})).await.status, 401);
}

#[tokio::test]
async fn faults_that_are_a_status_or_a_body() {
    let bench = Bench::new(Flavour::Groq);
    let raw = Fault::RawResponse {
        status: 418,
        headers: vec![("x-tea".to_owned(), "pot".to_owned())],
        body: Bytes::from_static(b"short"),
    };
    let limited = |seconds| Fault::RateLimited { retry_after: seconds };
    bench.p().script(
        None,
        vec![
            limited(Some(Duration::from_millis(2_500))),
            limited(None),
            Fault::Status(503),
            Fault::Status(402),
            raw,
            Fault::Garbage,
            Fault::Html,
            Fault::ErrorIn200Stream,
            Fault::EmptyAnswer,
            Fault::NoUsage,
            Fault::Healthy,
        ],
    );
    let mut got = Vec::new();
    for _ in 0..11 {
        got.push(bench.chat(json!({})).await);
    }
    let statuses: Vec<u16> = got.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [429, 429, 503, 402, 418, 200, 200, 200, 200, 200, 200]);
    assert_eq!((got[0].header("retry-after"), got[1].header("retry-after")), ("3", ""));
    assert_eq!((got[4].header("x-tea"), got[4].text()), ("pot", "short"));
    assert!(serde_json::from_str::<Value>(got[5].text()).is_err());
    assert_eq!(got[6].header("content-type"), "text/html");
    assert!(got[7].json()["error"].is_object());
    assert_eq!(got[8].json()["choices"][0]["message"]["content"], "");
    assert_eq!(got[8].json()["usage"]["completion_tokens"], 0);
    assert!(got[9].json().get("usage").is_none());
    assert_eq!(bench.p().records()[9].reported_usage, None);
    assert_eq!(bench.p().count_served(), 2);
}

#[tokio::test]
async fn faults_in_the_middle_of_a_stream() {
    let bench = Bench::new(Flavour::Mistral);
    let stream = || json!({"stream": true});
    bench.p().set_answer(Answer::Fixed("one two three".to_owned()), None);
    for (fault, said, whole) in [
        (Fault::CutAfterChunks(0), "", false),
        (Fault::CutAfterChunks(2), "one two ", false),
        (Fault::CutAfterChunks(9), "one two three", false),
        (Fault::NoDone, "one two three", true),
        (Fault::ErrorAfterChunks(1), "one ", true),
        (Fault::ErrorIn200Stream, "", true),
        (Fault::EmptyAnswer, "", true),
    ] {
        bench.p().script(None, vec![fault.clone()]);
        let response = bench.open(bench.chat_request(&question(stream()))).await.unwrap();
        let mut body = response.into_body();
        let mut text = String::new();
        let mut in_order = true;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap(),
                Err(_) => in_order = false,
            }
        }
        let got = Got { status: 200, headers: HeaderMap::new(), body: Ok(text) };
        assert_eq!((got.said().as_str(), in_order), (said, whole), "{fault:?}");
        assert_eq!(got.text().contains("[DONE]"), fault == Fault::EmptyAnswer, "{fault:?}");
        assert_eq!(got.text().contains("error"), format!("{fault:?}").starts_with("Error"));
        let record = bench.p().records().pop().unwrap();
        assert_eq!((record.sent_content.as_str(), record.ended), (said, true), "{fault:?}");
    }
    assert_eq!(bench.p().count_served(), 0);
    bench.p().script(None, vec![Fault::Garbage]);
    assert!(bench.chat(stream()).await.text().contains("data: upstream connect error"));
}

#[tokio::test]
async fn whole_bodies_can_end_early_too() {
    let bench = Bench::new(Flavour::OpenAi);
    // Half of this may end within a character: that must not matter.
    bench.p().set_answer(Answer::Fixed("日".repeat(500)), None);
    bench.p().script(None, vec![Fault::CutAfterChunks(1), Fault::NoDone]);
    let mut body = bench.open(bench.chat_request(&question(json!({})))).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"{\"id\"") && first.len() > 500, "{}", first.len());
    assert!(body.frame().await.unwrap().is_err());
    let half = bench.open(bench.chat_request(&question(json!({})))).await.unwrap();
    let half = half.into_body().collect().await.unwrap().to_bytes();
    assert!(half.len() > 500 && serde_json::from_slice::<Value>(&half).is_err());
}

#[tokio::test]
async fn connections_end_before_any_answer_when_reset_or_down() {
    let bench = Bench::new(Flavour::OpenAi);
    for fault in [Fault::Reset, Fault::Down] {
        bench.p().script(None, vec![fault]);
        assert!(bench.try_chat(json!({})).await.is_err());
        let record = bench.p().records().pop().unwrap();
        assert_eq!((record.status, record.client_gone_at), (None, None));
    }
    bench.p().set_fault(Some(Fault::Down));
    let models = Request::get(format!("{}/models", bench.server.base_url("p")));
    assert!(bench.send(models.body(Full::default()).unwrap()).await.is_err());
    bench.p().mend();
    assert_eq!(bench.chat(json!({})).await.status, 200);
}

#[tokio::test]
async fn a_huge_body_is_as_long_as_asked() {
    let bench = Bench::new(Flavour::OpenAi);
    bench.p().set_fault(Some(Fault::HugeBody(1_000_000)));
    let whole = bench.chat(json!({})).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"].as_str().unwrap().len(), 1_000_000);
    assert_eq!(bench.chat(json!({"stream": true})).await.said().len(), 1_000_000);
}

/// The provider sees within 100 ms that a caller who got as far as `until` hung up.
async fn check_hang_up(fault: Fault, stream: bool, until: Duration) {
    let bench = Bench::new(Flavour::OpenAi);
    bench.p().set_pace(Pace { per_chunk: Duration::from_secs(3), ..Pace::default() });
    bench.p().set_fault(Some(fault.clone()));
    let request = bench.client.request(bench.chat_request(&question(json!({"stream": stream}))));
    let reading = async { request.await.unwrap().into_body().collect().await };
    let ended = tokio::time::timeout(until, reading).await;
    assert!(ended.is_err(), "{fault:?} did not last {until:?}");
    let gone = |records: &[Record]| records.iter().any(|it| it.client_gone_at.is_some());
    let seen = bench.p().wait_for(Duration::from_millis(100), gone).await;
    let records = seen.unwrap_or_else(|| panic!("{fault:?}: not seen"));
    let after = records[0].gone_after().unwrap();
    assert!(after < until + Duration::from_millis(100), "{fault:?}: {after:?}");
    assert!(!records[0].ended, "{fault:?}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_seen_at_once() {
    let until = Duration::from_millis(150);
    check_hang_up(Fault::Hang, false, until).await;
    check_hang_up(Fault::SlowFirstToken(MINUTE), true, until).await;
    check_hang_up(Fault::SlowFirstToken(MINUTE), false, until).await;
    check_hang_up(Fault::Healthy, true, until).await;
    check_hang_up(Fault::StallAfterChunks(0), true, until).await;
    check_hang_up(Fault::StallAfterChunks(1), false, until).await;
}

#[tokio::test]
async fn headers_that_never_end_last_until_the_caller_has_had_enough() {
    let bench = Bench::new(Flavour::OpenAi);
    bench.p().set_fault(Some(Fault::NeverEndingHeaders));
    assert!(bench.try_chat(json!({})).await.is_err());
    let gone = |records: &[Record]| records.iter().any(|it| it.client_gone_at.is_some());
    assert!(bench.p().wait_for(SOON, gone).await.is_some());
}

#[tokio::test]
async fn control_breaks_mends_and_lists() {
    let limited = ModelSpec::new("m").limit(What::Requests, MINUTE, 5);
    let bench = Bench::of(ProviderSpec::new("p", Flavour::Mistral).model(limited));
    assert_eq!(bench.at("POST", "/p/fault?kind=503", &[]).await.status, 200);
    assert_eq!(bench.chat(json!({})).await.status, 503);
    let listed = bench.at("GET", "/", &[]).await.json();
    assert_eq!(listed["providers"][0]["state"], "fault: 503");
    assert_eq!(bench.at("POST", "/p/mend", &[]).await.status, 200);
    assert_eq!(bench.chat(json!({})).await.status, 200);
    let listed = bench.at("GET", "/", &[]).await.json();
    assert_eq!(listed["providers"][0]["limits"][0]["left"], 4);
    assert_eq!(listed["providers"][0]["requests_reached"], 2);

    let bad = bench.at("POST", "/p/fault?kind=explode", &[]).await;
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("hang") && bad.text().contains("down"));
    assert_eq!(bench.at("GET", "/p/fault?kind=503", &[]).await.status, 405);
    for (method, path) in [("POST", "/p/fault?kind=503"), ("POST", "/p/mend"), ("GET", "/")] {
        let page = [("origin", "http://evil.example")];
        assert_eq!(bench.at(method, path, &page).await.status, 403, "{path}");
    }
    assert_eq!(bench.at("GET", "/nobody/v1/models", &[]).await.status, 404);
    let models = bench.at("GET", "/p/v1/models", &[]).await.json();
    assert_eq!(models["data"][0]["max_context_length"], 131_072);
}

#[tokio::test]
async fn the_kind_may_stand_in_the_body() {
    let bench = Bench::new(Flavour::OpenAi);
    for (body, state) in [("kind=hang", "hang"), ("empty\n", "empty"), (r#"{"kind":"cut"}"#, "cut")]
    {
        let uri = format!("http://{}/p/fault", bench.server.addr());
        let request = Request::post(uri).body(Full::from(body)).unwrap();
        let got = bench.send(request).await.unwrap().json();
        assert_eq!(got["state"], format!("fault: {state}"));
    }
}

#[tokio::test]
async fn a_stopped_server_is_gone() {
    let Bench { server, .. } = Bench::new(Flavour::OpenAi);
    let addr = server.addr();
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn the_demo_cast_is_out_of_quota_slow_flaky_and_well() {
    let clock: SharedClock = Arc::new(SystemClock::start());
    let server = SimServer::start(demo(), "127.0.0.1:0".parse().unwrap(), &clock).unwrap();
    let bench = Bench { server, client: Client::builder(TokioExecutor::new()).build_http() };
    for cast in demo_providers() {
        let provider = bench.server.provider(cast.name).unwrap();
        provider.set_pace(Pace::default());
        let mut ok = 0;
        for _ in 0..10 {
            let body = question(json!({"model": cast.models[0].name, "stream": true}));
            let request =
                Request::post(format!("{}/chat/completions", bench.server.base_url(cast.name)))
                    .header("authorization", format!("Bearer {}", cast.key))
                    .body(Full::from(body.to_string()));
            match bench.send(request.unwrap()).await {
                Ok(got) if got.status == 200 && got.body.is_ok() && !got.said().is_empty() => {
                    ok += 1;
                }
                Ok(got) if got.status == 429 => assert!(!got.header("retry-after").is_empty()),
                _ => {}
            }
        }
        let want = match cast.name {
            "groq" => 0..=0,
            "cerebras" => 2..=5,
            _ => 10..=10,
        };
        assert!(want.contains(&ok), "{}: {ok} of 10", cast.name);
    }
}

#[tokio::test]
async fn gemini_has_paths_and_a_key_header_of_its_own() {
    let bench =
        Bench::of(ProviderSpec::new("p", Flavour::Gemini).model(ModelSpec::new("g")).key("k1"));
    let list = bench.at("GET", "/p/v1beta/models?pageSize=1000", &[]).await.json();
    assert_eq!(list["models"][0]["name"], "models/g");
    let methods = &list["models"][0]["supportedGenerationMethods"];
    assert!(methods.as_array().unwrap().contains(&json!("generateContent")), "{methods}");
    assert_eq!(bench.at("GET", "/p/v1beta/models/g:generateContent", &[]).await.status, 405);
    for path in ["/p/v1/models", "/p/v1beta/models/g:countTokens"] {
        assert_eq!(bench.at("POST", path, &[]).await.status, 404, "{path}");
    }
    let ask = async |key: (&str, &str), query: &str| {
        let uri = format!("{}/models/g:generateContent{query}", bench.server.base_url("p"));
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
        let request = Request::post(uri).header(key.0, key.1);
        bench.send(request.body(Full::from(body.to_string())).unwrap()).await.unwrap().status
    };
    assert_eq!(ask(("x-goog-api-key", "k1"), "").await, 200);
    assert_eq!(ask(("accept", "*/*"), "?key=k1").await, 200);
    assert_eq!(ask(("authorization", "Bearer k1"), "").await, 400);
    assert_eq!(bench.p().records()[0].key, "k1");
}
