//! Which path answers what, ids and the headers that say how an answer came to be.

use std::time::Duration;

use crate::dispatch::outcome::{Failure, Journey, Route, RouteReason};
use crate::openai::ApiError;
use crate::server::Params;

use super::support::{Script, WHOLE, ask, at_once, chat, request, route, start, whole};

#[tokio::test]
async fn each_route_answers() {
    let server = start(Params::default(), Script::hello()).await;
    let check = async |line: &str, status, body: &str| {
        let reply = ask(&server, request(line, &[], "")).await;
        assert_eq!((reply.status, &*reply.body), (status, body), "{line}");
        assert_eq!(reply.header("content-type"), "application/json");
    };
    check("GET /health", 200, r#"{"status":"ok"}"#).await;
    check("GET /v1/usage", 200, r#"{"total":{}}"#).await;
    check("GET /v1/models", 200, r#"{"type":None,"scale":None}"#).await;
    let filtered = r#"{"type":Some("text"),"scale":Some("a b")}"#;
    check("GET /v1/models?type=text&scale=a%20b&x=1", 200, filtered).await;
    check("GET /v1/models?type=&scale=", 200, r#"{"type":None,"scale":None}"#).await;
    check("GET /v1/models/groq/qwen/qwen3", 200, r#"{"id":"groq/qwen/qwen3"}"#).await;
    check("GET /v1/models/groq%2Fqwen%2fqwen3", 200, r#"{"id":"groq/qwen/qwen3"}"#).await;
    let reply = ask(&server, chat(&[], WHOLE)).await;
    assert_eq!((reply.status, &*reply.body), (200, r#"{"hello":1}"#));
    assert_eq!(reply.header("content-type"), "application/json");
}

#[tokio::test]
async fn what_is_not_there_is_an_openai_error() {
    let server = start(Params::default(), Script::hello()).await;
    let check = async |line: &str, status, code: &str, allow: &str| {
        let reply = ask(&server, request(line, &[], "")).await;
        assert_eq!((reply.status, &*reply.error("code")), (status, code), "{line}");
        assert_eq!(reply.error("type"), "invalid_request_error");
        assert_eq!(reply.error("request_id"), reply.header("x-request-id"));
        assert_eq!(reply.header("allow"), allow, "{line}");
    };
    check("GET /", 404, "unknown_url", "").await;
    check("GET /chat/completions", 404, "unknown_url", "").await;
    check("POST /v1/chat/completions/", 404, "unknown_url", "").await;
    check("GET /v1/models/", 404, "unknown_url", "").await;
    check("GET /v1/models/none", 404, "model_not_found", "").await;
    check("GET /v1/models/%ff", 404, "model_not_found", "").await;
    check("GET /v1/chat/completions", 405, "method_not_allowed", "POST").await;
    check("OPTIONS /v1/chat/completions", 405, "method_not_allowed", "POST").await;
    check("POST /v1/models", 405, "method_not_allowed", "GET,HEAD").await;
    check("DELETE /health", 405, "method_not_allowed", "GET,HEAD").await;
    check("BREW /v1/usage", 405, "method_not_allowed", "GET,HEAD").await;
}

#[tokio::test]
async fn a_doubled_filter_is_refused() {
    let server = start(Params::default(), Script::hello()).await;
    let reply = ask(&server, request("GET /v1/models?type=a&type=b", &[], "")).await;
    assert_eq!((reply.status, &*reply.error("type")), (400, "invalid_request_error"));
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = start(Params::default(), Script::hello()).await;
    let mut client = super::support::Client::connect(&server).await;
    client.send(request("HEAD /health", &["Connection: close"], "")).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-length: 15\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn every_answer_has_an_id() {
    let server = start(
        Params::default(),
        Script::new(|call| {
            let error = Box::new(ApiError::new(503, "server_error", &*call.request_id));
            at_once(Err(Failure { error, route: None }))
        }),
    )
    .await;
    let check = async |given: &str, kept: bool| {
        let header = format!("X-Request-Id: {given}");
        for text in [chat(&[&header], WHOLE), request("GET /health", &[&header], "")] {
            let reply = ask(&server, text).await;
            let id = reply.header("x-request-id");
            assert_eq!(id == given, kept, "{given} became {id}");
            assert!(kept || (id.starts_with("req_") && id.len() == 28), "{id}");
            if reply.status == 503 {
                assert_eq!([reply.error("request_id"), reply.error("message")], [id, id]);
            }
        }
    };
    check("my-id.7", true).await;
    check("two words", false).await;
    check("a\tb", false).await;
    check("\u{e9}", false).await;
    check(&"x".repeat(129), false).await;
    check("", false).await;
}

#[tokio::test]
async fn the_route_stands_in_the_headers() {
    let told = Route {
        model: "mod\u{e8}le".into(),
        requested: "x\ny".into(),
        reason: RouteReason::Failover,
        attempts: 3,
        context: Some("mode=reservoir; kept=15".to_owned()),
        warnings: vec!["dropped=seed,user".to_owned(), "second".to_owned()],
        upstream_id: Some("chatcmpl-1".to_owned()),
        ..route()
    };
    let error = Box::new(
        ApiError::new(429, "rate_limit_error", "Later.")
            .with_retry_after(Duration::from_millis(2100)),
    );
    let script = Script::new(move |call| {
        let failure = Failure { error: error.clone(), route: Some(told.clone()) };
        let failing = call.request.model.as_deref() == Some("fail");
        at_once(if failing { Err(failure) } else { Ok(whole(&told)) })
    });
    let server = start(Params::default(), script).await;
    for (body, status) in [(WHOLE, 200), (&*WHOLE.replace("\"m\"", "\"fail\""), 429)] {
        let reply = ask(&server, chat(&[], body)).await;
        assert_eq!(reply.status, status);
        for (name, value) in [
            ("x-relay-provider", "Groq"),
            ("x-relay-model", "mod%C3%A8le"),
            ("x-relay-requested-model", "x%0Ay"),
            ("x-relay-route-reason", "failover"),
            ("x-relay-attempts", "3"),
            ("x-relay-context", "mode=reservoir; kept=15"),
            ("x-relay-upstream-id", "chatcmpl-1"),
            ("retry-after", if status == 429 { "3" } else { "" }),
        ] {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert_eq!(reply.all("x-relay-warning"), ["dropped=seed,user", "second"]);
        if status == 429 {
            assert_eq!(reply.error("retry_after_ms"), "2100");
        }
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_nothing_more() {
    let script = Script::new(|call| match call.request.model.as_deref() {
        Some("begin") => panic!("in begin"),
        Some("answer") => Journey {
            progress: std::sync::Arc::default(),
            answer: Box::pin(async { panic!("in answer") }),
        },
        _ => at_once(Ok(whole(&route()))),
    });
    let server = start(Params::default(), script).await;
    let mut client = super::support::Client::connect(&server).await;
    for (model, status) in [("begin", 500), ("answer", 500), ("fine", 200)] {
        client.send(chat(&[], &WHOLE.replace("\"m\"", &format!("{model:?}")))).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{model}");
        if status == 500 {
            assert_eq!(
                [reply.error("type"), reply.error("code")],
                ["server_error", "internal_error"]
            );
            assert_eq!(reply.error("request_id"), reply.header("x-request-id"));
        }
    }
}
