//! HTTP as a user or a script sees it: ids, headers, errors, the guard, and the read-only routes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Gateway, SOON, Setup, Upstream, ask, with};

const CHAT: &str = "/v1/chat/completions";

fn plain() -> Setup {
    Gateway::with([Upstream::plain("Alpha")])
}

/// An OpenAI error of this status, wherever it comes from.
fn check_error(answer: &Answer, status: u16, kind: &str) -> Value {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    let error = answer.error();
    assert_eq!(error["type"], kind, "{error}");
    assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{error}");
    assert!(error.get("param").is_some() && error.get("code").is_some(), "{error}");
    assert_eq!(error["request_id"], answer.header("x-request-id"), "{error}");
    error
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_sane_one_is_the_callers() {
    let gateway = plain().start().await;
    for path in ["/health", "/v1/models", "/v1/usage", "/nowhere", CHAT] {
        let answer = gateway.get(path).await;
        assert!(answer.header("x-request-id").len() > 8, "{path}");
    }
    let long = "x".repeat(1_000);
    for (given, kept) in
        [("abc-123_X.y", true), (long.as_str(), false), ("two words", false), ("\"quoted\"", false)]
    {
        let answer = gateway.chat_with(&ask("m"), &[("x-request-id", given)]).await.expect(200);
        let id = answer.header("x-request-id");
        assert_eq!(id == given, kept, "{given} became {id}");
        assert!(!id.is_empty());
    }
    let stream = gateway.open(&ask("m"), &[("x-request-id", "mine")]).await.finish().await;
    assert_eq!(stream.header("x-request-id"), "mine");
}

#[tokio::test]
async fn the_route_stands_in_the_headers() {
    let gateway = plain().start().await;
    let whole = gateway.chat(&ask("auto")).await.expect(200).headers;
    let stream = gateway.stream(&ask("auto")).await.expect_done().headers;
    for headers in [whole, stream] {
        for (name, value) in [
            ("x-relay-provider", "Alpha"),
            ("x-relay-model", "m"),
            ("x-relay-requested-model", "auto"),
            ("x-relay-route-reason", "meta"),
            ("x-relay-attempts", "1"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert!(
            !headers.contains_key("x-relay-warning") && !headers.contains_key("x-relay-context")
        );
    }
}

#[tokio::test]
async fn wrong_methods_and_paths_are_openai_errors() {
    let gateway = plain().start().await;
    for (method, path, allow) in [
        (Method::GET, CHAT, "POST"),
        (Method::DELETE, CHAT, "POST"),
        (Method::POST, "/v1/models", "GET"),
        (Method::PUT, "/v1/usage", "GET"),
        (Method::POST, "/health", "GET"),
    ] {
        let answer = gateway.send(gateway.request(method, path, &[], "")).await;
        check_error(&answer, 405, "invalid_request_error");
        assert!(answer.header("allow").contains(allow), "{path}: {:?}", answer.headers);
    }
    for path in ["/", "/v1", "/v1/", "/v1/completions", "/v1/chat/completions/", "/v1/chat"] {
        check_error(&gateway.get(path).await, 404, "invalid_request_error");
    }
}

#[tokio::test]
async fn malformed_bodies_name_the_member_at_fault() {
    let gateway = plain().start().await;
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let deep = format!(r#"{{"model":"m","x":{}1{},{hi}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let table: Vec<(Vec<u8>, Option<&str>)> = [
        ("", None),
        ("{", None),
        ("null", None),
        ("[]", None),
        ("\"text\"", None),
        (r#"{"model":"m","messages":[{"role":"user","content":"hi"}]"#, None),
        (r#"{"model":"m","messages":[{"role":"user","content":"hi"}]} trailing"#, None),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":"m","messages":[]}"#, Some("messages")),
        (r#"{"model":"m","messages":{}}"#, Some("messages")),
        (r#"{"model":"m","messages":"hi"}"#, Some("messages")),
        (r#"{"model":"m","messages":[null]}"#, Some("messages[0]")),
        (r#"{"model":"m","messages":[{"content":"hi"}]}"#, Some("messages[0].role")),
        (r#"{"model":"m","messages":[{"role":1,"content":"hi"}]}"#, Some("messages[0].role")),
        (r#"{"model":"m","messages":[{"role":"user","content":{}}]}"#, Some("messages[0].content")),
        (&format!(r#"{{"model":7,{hi}}}"#), Some("model")),
        (&format!(r#"{{"model":"m","stream":"yes",{hi}}}"#), Some("stream")),
        (&format!(r#"{{"model":"m","stream":1,{hi}}}"#), Some("stream")),
        (&format!(r#"{{"model":"m","temperature":"hot",{hi}}}"#), Some("temperature")),
        (&format!(r#"{{"model":"m","max_tokens":"5",{hi}}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"m","max_tokens":-5,{hi}}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"m","max_tokens":1e400,{hi}}}"#), Some("max_tokens")),
        (&format!(r#"{{"model":"m","n":0,{hi}}}"#), Some("n")),
        (&format!(r#"{{"model":"m","n":1.5,{hi}}}"#), Some("n")),
        (&format!(r#"{{"model":"m","tools":"all",{hi}}}"#), Some("tools")),
        (&format!(r#"{{"model":"m","tool_choice":3,{hi}}}"#), Some("tool_choice")),
        (&format!(r#"{{"model":"m","stop":{{}},{hi}}}"#), Some("stop")),
        (&format!(r#"{{"model":"m","stream_options":true,{hi}}}"#), Some("stream_options")),
        (&format!(r#"{{"model":"m","response_format":"json",{hi}}}"#), Some("response_format")),
        (&format!(r#"{{"model_scale":3,{hi}}}"#), Some("model_scale")),
        (deep.as_str(), None),
    ]
    .into_iter()
    .map(|(body, param)| (body.as_bytes().to_vec(), param))
    .chain([
        (
            b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}"
                .to_vec(),
            None,
        ),
        (b"\x00\x01\x02".to_vec(), None),
        // A byte order mark is no part of JSON (RFC 8259).
        (format!("\u{feff}{{{hi}}}").into_bytes(), None),
    ])
    .collect();
    for (body, param) in table {
        let shown = String::from_utf8_lossy(body.get(..100).unwrap_or(&body)).into_owned();
        let answer = gateway.post(body).await;
        assert_eq!(answer.status, 400, "{shown}: {:?}", answer.body);
        let error = check_error(&answer, 400, "invalid_request_error");
        assert_eq!(error["param"].as_str(), param, "{shown}: {error}");
    }
    assert_eq!(gateway.reached("alpha"), 0);
}

#[tokio::test]
async fn bodies_that_are_unusual_but_sound_are_taken() {
    let gateway = plain().start().await;
    for body in ["\u{feff}"] {
        // A byte order mark is no part of JSON (RFC 8259), and refused like any other fault.
        let body = format!(r#"{body}{{"messages":[{{"role":"user","content":"hi"}}]}}"#);
        check_error(&gateway.post(body).await, 400, "invalid_request_error");
    }
    for body in [
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"model":"m"}"#,
        r#"{"messages":[{"role":"developer","content":"be brief"},{"role":"user","content":"hi"}],"model":"m"}"#,
        r#"{"messages":[{"role":"user","content":"hi","name":"Bo"}],"model":null,"tools":null,"stop":null,"n":null}"#,
        r#"{"messages":[{"role":"user","content":""}],"model":"m"}"#,
        "\r\n\t{ \"messages\" : [ {\"role\":\"user\",\"content\":\"\\u0000\\ud83d\\ude00\"} ] }\n",
    ] {
        gateway.post(body).await.expect(200);
    }
}

#[tokio::test]
async fn extreme_values_break_nothing() {
    let tight = Upstream::plain("Alpha").limits(json!({"tokens_per_minute": 1_000_000}));
    let settings = json!({"routing": {"max_quota_wait_seconds": 0}});
    let gateway = Gateway::with([tight]).settings(settings).start().await;
    for more in [
        json!({"max_tokens": u64::MAX}),
        json!({"max_tokens": u64::MAX, "n": u64::MAX}),
        json!({"max_completion_tokens": u64::MAX, "max_tokens": 1}),
        json!({"n": u64::MAX}),
        json!({"temperature": 1e308, "seed": i64::MIN, "top_p": -0.0}),
        json!({"model_name": "", "model_type": "", "model_scale": ""}),
        json!({"stop": [], "tools": [], "logit_bias": {}, "stream_options": {}}),
        json!({"messages": [{"role": "user", "content": "\u{0}\u{ffff}\u{10ffff}"}]}),
        json!({"messages": vec![json!({"role": "user", "content": ""}); 5_000]}),
    ] {
        for stream in [false, true] {
            let body = with(with(ask("auto"), more.clone()), json!({"stream": stream}));
            let status = gateway.chat(&body).await.status;
            // One that asks for all tokens of a minute may have to wait for them.
            assert!([200, 400, 429].contains(&status), "{status} for {more}");
        }
    }
    gateway.chat(&ask("m")).await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_without_being_read() {
    let gateway = plain().settings(json!({"http": {"max_body_bytes": 2_000}})).start().await;
    let fitting = with(ask("m"), json!({"user": "x".repeat(1_800)}));
    gateway.chat(&fitting).await.expect(200);
    let answer = gateway.chat(&with(ask("m"), json!({"user": "x".repeat(2_000)}))).await;
    check_error(&answer, 413, "request_too_large");

    // Announced: refused before a single byte of it was sent.
    let mut socket = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000000000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("a writable socket");
    let mut start = [0; 12];
    let reading = tokio::time::timeout(SOON, socket.read_exact(&mut start)).await;
    reading.expect("in time").expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 413");

    // Not announced: refused when it has grown too large, though it has no end.
    let mut socket = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("a writable socket");
    for _ in 0..3 {
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1_000));
        socket.write_all(chunk.as_bytes()).await.expect("a writable socket");
    }
    let reading = tokio::time::timeout(SOON, socket.read_exact(&mut start)).await;
    reading.expect("in time").expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 413");
    assert_eq!(gateway.reached("alpha"), 1);
}

#[tokio::test]
async fn a_session_id_that_could_not_be_kept_is_400() {
    let gateway = plain().start().await;
    let long = "s".repeat(5_000);
    let answer = gateway.chat_with(&ask("m"), &[("x-session-id", &long)]).await;
    let error = check_error(&answer, 400, "invalid_request_error");
    assert_eq!(error["param"].as_str().map(str::to_lowercase).as_deref(), Some("x-session-id"));
    for bytes in ["\u{1}\u{2}", "caf\u{e9}", "a\tb"] {
        let body = ask("m").to_string();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-session-id: {bytes}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(gateway.raw(request).await.status(), 400, "{bytes:?}");
    }
    assert_eq!(gateway.reached("alpha"), 0);
}

#[tokio::test]
async fn control_characters_in_a_request_id_are_never_echoed() {
    let gateway = plain().start().await;
    for bytes in ["a\u{1}b", "a\u{7f}b", "caf\u{e9}", "a\tb", "a\u{0}b"] {
        let request = format!(
            "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: {bytes}\r\n\r\n"
        );
        let answer = gateway.raw(request).await;
        assert!([200, 400].contains(&answer.status()), "{bytes:?}: {answer:?}");
        assert!(!answer.0.contains(bytes), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let gateway = plain().start().await;
    for bytes in [
        "hello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n",
    ] {
        assert_eq!(gateway.raw(bytes).await.status() / 100, 4, "{bytes:?}");
    }
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn without_a_master_key_web_pages_are_kept_out() {
    let gateway = plain().start().await;
    for path in ["/v1/models", "/v1/usage", "/health"] {
        for headers in [
            [("host", "evil.example")],
            [("host", "localhost.evil.example:8000")],
            [("origin", "https://evil.example")],
            [("origin", "null")],
            [("origin", "http://localhost:3000")],
        ] {
            let answer = gateway.send(gateway.request(Method::GET, path, &headers, "")).await;
            check_error(&answer, 403, "permission_error");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000"] {
            let request = gateway.request(Method::GET, path, &[("host", host)], "");
            gateway.send(request).await.expect(200);
        }
    }
    for headers in [[("host", "evil.example")], [("origin", "https://evil.example")]] {
        check_error(&gateway.chat_with(&ask("m"), &headers).await, 403, "permission_error");
    }
    assert_eq!(gateway.reached("alpha"), 0);
    // Any key or none is accepted.
    for key in ["Bearer anything", "Basic x", "nonsense"] {
        gateway.chat_with(&ask("m"), &[("authorization", key)]).await.expect(200);
    }
}

#[tokio::test]
async fn a_master_key_is_asked_for_on_every_v1_route() {
    let gateway = plain().variable("RELAY_API_KEY", "sesame-1").start().await;
    for path in ["/v1/models", "/v1/models/Alpha/m", "/v1/usage", "/v1/nowhere"] {
        for key in
            ["", "Bearer ", "Bearer sesame-2", "Bearer sesame-12", "Basic sesame-1", "sesame-1"]
        {
            let headers = [("authorization", key)];
            let headers = if key.is_empty() { &[][..] } else { &headers[..] };
            let answer = gateway.send(gateway.request(Method::GET, path, headers, "")).await;
            check_error(&answer, 401, "authentication_error");
        }
    }
    check_error(&gateway.chat(&ask("m")).await, 401, "authentication_error");
    assert_eq!(gateway.reached("alpha"), 0);
    gateway.get("/health").await.expect(200);
    let key = ("authorization", "Bearer sesame-1");
    gateway.chat_with(&ask("m"), &[key]).await.expect(200);
    // With the key it does not matter where a caller is.
    gateway.chat_with(&ask("m"), &[key, ("host", "gateway.example")]).await.expect(200);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    let allowed = json!({"http": {"allowed_origins": ["http://localhost:3000"]}});
    let gateway = plain().settings(allowed).start().await;
    let origin = ("origin", "http://localhost:3000");
    let answer = gateway.chat_with(&ask("m"), &[origin]).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    assert!(answer.header("access-control-expose-headers").to_lowercase().contains("x-request-id"));
    let answer = gateway.chat_with(&ask("nothing"), &[origin]).await.expect(404);
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    let preflight = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,x-session-id"),
    ];
    let asked = [&[origin][..], &preflight].concat();
    let answer = gateway.send(gateway.request(Method::OPTIONS, CHAT, &asked, "")).await;
    assert_eq!(answer.status / 100, 2, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").contains("x-session-id"));
    let other = [&[("origin", "http://localhost:3001")][..], &preflight].concat();
    let answer = gateway.send(gateway.request(Method::OPTIONS, CHAT, &other, "")).await;
    check_error(&answer, 403, "permission_error");
}

#[tokio::test]
async fn health_needs_no_key_and_says_something() {
    let gateway = plain().variable("RELAY_API_KEY", "sesame-1").start().await;
    let answer = gateway.get("/health").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.json().is_object());
}

/// Two providers with three models.
async fn three_models() -> Gateway {
    let alpha = Upstream::new("Alpha", Flavour::OpenAi)
        .model_with("big", json!({"scale": "large", "max_context_length": 8_000}))
        .model_with("org/coder", json!({"type": "coding", "scale": "small"}));
    Gateway::with([alpha, Upstream::plain("Beta")]).start().await
}

#[tokio::test]
async fn models_are_listed_with_their_facts() {
    let gateway = three_models().await;
    let list = gateway.get("/v1/models").await.expect(200).json();
    assert_eq!(list["object"], "list");
    let entries = list["data"].as_array().expect("a list");
    let ids: Vec<_> = entries.iter().filter_map(|it| it["id"].as_str()).collect();
    for id in ["meta-model", "free-fast", "free-smart", "Alpha/big", "Alpha/org/coder", "Beta/m"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    for entry in entries {
        assert_eq!(entry["object"], "model");
        assert!(entry["created"].is_u64() && entry["owned_by"].is_string(), "{entry}");
        for key in ["type", "scale", "max_context_length", "status", "cooldown_remaining_sec"] {
            assert!(entry.get(key).is_some(), "{key} is not in {entry}");
        }
    }
    let big = entries.iter().find(|it| it["id"] == "Alpha/big").expect("it is listed");
    let facts = ["type", "scale", "max_context_length", "status", "cooldown_remaining_sec"];
    let facts = facts.map(|it| big[it].clone());
    assert_eq!(facts, [json!("text"), json!("large"), json!(8_000), json!("available"), json!(0)]);
    let meta = entries.iter().find(|it| it["id"] == "meta-model").expect("it is listed");
    assert_eq!((&meta["type"], &meta["max_context_length"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn models_are_filtered_by_type_and_scale() {
    let gateway = three_models().await;
    for (query, expected) in [
        ("?type=coding", &["Alpha/org/coder"][..]),
        ("?scale=large", &["Alpha/big"]),
        ("?type=text", &["Alpha/big", "Beta/m"]),
        ("?type=text&scale=medium", &["Beta/m"]),
        ("?type=ocr", &[]),
    ] {
        let list = gateway.get(&format!("/v1/models{query}")).await.expect(200).json();
        let entries = list["data"].as_array().expect("a list");
        let ids: Vec<_> = entries.iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn one_model_is_found_by_its_id() {
    let gateway = three_models().await;
    for (id, expected) in [
        ("Alpha/big", "Alpha/big"),
        ("alpha/org/coder", "Alpha/org/coder"),
        ("Alpha%2Forg%2Fcoder", "Alpha/org/coder"),
        ("meta-model", "meta-model"),
    ] {
        assert_eq!(gateway.model(id).await["id"], expected);
    }
    for id in ["Alpha/none", "%ff", "Alpha"] {
        let answer = gateway.get(&format!("/v1/models/{id}")).await;
        let error = check_error(&answer, 404, "invalid_request_error");
        assert_eq!(error["code"], "model_not_found", "{id}");
    }
}

#[tokio::test]
async fn a_resting_model_says_for_how_long() {
    let gateway = plain().settings(json!({"routing": {"max_quota_wait_seconds": 0}})).start().await;
    let fault = Fault::RateLimited { retry_after: Some(Duration::from_secs(40)) };
    gateway.upstream("alpha").script(None, vec![fault]);
    gateway.chat(&ask("m")).await.expect(429);
    let model = gateway.model("Alpha/m").await;
    assert_eq!(model["status"], "cooldown");
    let rest = model["cooldown_remaining_sec"].as_u64().expect("a number");
    assert!((30..=40).contains(&rest), "{rest}");
}

/// Answers and tokens as a provider told them.
fn told(gateway: &Gateway, name: &str) -> (u64, u64, u64) {
    let records = gateway.upstream(name).records();
    let answered = records.iter().filter(|it| it.fault.is_none());
    let answered = answered.filter_map(|it| it.reported_usage);
    answered.fold((0, 0, 0), |sum, (prompt, completion)| {
        (sum.0 + 1, sum.1 + prompt, sum.2 + completion)
    })
}

fn figures(usage: &Value) -> (u64, u64, u64) {
    let number = |key: &str| usage[key].as_u64().unwrap_or_else(|| panic!("{key}: {usage}"));
    (number("requests"), number("prompt_tokens"), number("completion_tokens"))
}

#[tokio::test]
async fn usage_is_the_sum_of_what_the_providers_told() {
    let flavours = [
        ("Alpha", Flavour::OpenAi),
        ("Groq", Flavour::Groq),
        ("Mistral", Flavour::Mistral),
        ("Cerebras", Flavour::Cerebras),
    ];
    let upstreams = flavours.map(|(name, flavour)| {
        let upstream = Upstream::new(name, flavour).model("m").model("n");
        upstream.simulated(|it| it.flaky = Some((0.2, 7)))
    });
    let settings = json!({"routing": {"max_retries": 50}});
    let gateway = Gateway::with(upstreams).settings(settings).start().await;
    let requests = (0..200).map(|i| {
        let gateway = &gateway;
        async move {
            let question = "word ".repeat(i % 17 + 1);
            let body = with(
                ask("auto"),
                json!({
                    "messages": [{"role": "user", "content": question}],
                    "max_tokens": i % 23 + 1,
                }),
            );
            match i % 3 {
                0 => drop(gateway.chat(&body).await.expect(200)),
                1 => drop(gateway.stream(&body).await.expect_done()),
                _ => {
                    let body = with(body, json!({"stream_options": {"include_usage": true}}));
                    drop(gateway.stream(&body).await.expect_done());
                }
            }
        }
    });
    join_all(requests).await;
    let usage = gateway.usage().await;
    let mut total = (0, 0, 0);
    for (name, _) in flavours {
        let told = told(&gateway, name);
        let mine = &usage["providers"][name];
        assert_eq!(figures(mine), told, "{name}");
        let models = mine["models"].as_object().expect("models");
        let by_model = models.values().map(figures);
        let sum = by_model.fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        assert_eq!(sum, told, "{name}");
        total = (total.0 + told.0, total.1 + told.1, total.2 + told.2);
    }
    assert_eq!(figures(&usage["total"]), total);
    assert_eq!(total.0, 200);
}

#[tokio::test]
async fn an_answer_is_in_the_figures_when_its_last_byte_has_come() {
    let gateway = plain().start().await;
    for done in 1..=30_u64 {
        if done % 2 == 0 {
            gateway.chat(&ask("m")).await.expect(200);
        } else {
            gateway.stream(&ask("m")).await.expect_done();
        }
        assert_eq!(gateway.usage().await["total"]["requests"], done);
    }
}

#[tokio::test]
async fn unused_providers_stand_in_the_usage_too() {
    let gateway = three_models().await;
    let usage = gateway.usage().await;
    let names: BTreeMap<String, Value> =
        serde_json::from_value(usage["providers"].clone()).expect("an object");
    assert_eq!(names.keys().collect::<Vec<_>>(), ["Alpha", "Beta"]);
    assert_eq!(figures(&usage["providers"]["Alpha"]["models"]["org/coder"]), (0, 0, 0));
}

#[tokio::test]
async fn more_requests_at_once_than_set_are_told_to_come_back() {
    let gateway = plain().settings(json!({"http": {"max_concurrent_requests": 2}})).start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::Hang));
    let (first, second) =
        (gateway.chat_on_socket(&ask("m")).await, gateway.chat_on_socket(&ask("m")).await);
    let both = gateway.upstream("alpha").wait_for(SOON, |it| it.len() == 2).await;
    assert!(both.is_some());
    let answer = gateway.chat(&ask("m")).await;
    check_error(&answer, 503, "server_error");
    assert!(!answer.header("retry-after").is_empty());
    gateway.get("/health").await.expect(200);
    drop((first, second));
    gateway.upstream("alpha").mend();
    let gone = gateway.upstream("alpha");
    let gone = gone.wait_for(SOON, |it| it.iter().all(|it| it.client_gone_at.is_some())).await;
    assert!(gone.is_some());
    gateway.chat(&ask("m")).await.expect(200);
}
