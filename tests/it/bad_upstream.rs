//! Providers that say what nobody expects harm no caller and take no more than their share of
//! memory and time.

use std::time::Duration;

use bytes::Bytes;
use relayfreellm::sim::Fault;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Gateway, StreamAnswer, Upstream, ask, with};

async fn alone() -> Gateway {
    let settings = json!({"http": {"timeout_seconds": 1, "first_token_timeout_seconds": 1},
        "routing": {"max_retries": 0}});
    Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await
}

/// A 200 with these bytes.
fn raw(content_type: &str, body: impl Into<Bytes>) -> Fault {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    Fault::RawResponse { status: 200, headers, body: body.into() }
}

/// Alone with its fault, a provider makes an error that speaks OpenAI, with this status.
async fn check_refused(fault: Fault, status: u16) {
    for stream in [false, true] {
        let gateway = alone().await;
        gateway.upstream("alpha").set_fault(Some(fault.clone()));
        let begun = Instant::now();
        let answer = gateway.chat(&with(ask("m"), json!({"stream": stream}))).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let error = answer.expect(status).error();
        let message = error["message"].as_str().expect("a message");
        assert!(message.len() < 2_000, "{message}");
        assert_eq!(gateway.usage().await["total"]["requests"], 0);
    }
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    check_refused(Fault::Html, 503).await;
    check_refused(raw("text/plain", "OK"), 503).await;
}

#[tokio::test]
async fn other_json_is_no_answer() {
    for body in [
        "null",
        "[]",
        "7",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":7}"#,
        r#"{"choices":[7]}"#,
        "{\"choices\":",
    ] {
        check_refused(raw("application/json", body), 503).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Gateway::plain().await;
    let target = format!("http://{}/v1/chat/completions", elsewhere.addr());
    for status in [301, 302, 303, 307, 308] {
        let headers = vec![("location".to_owned(), target.clone())];
        check_refused(Fault::RawResponse { status, headers, body: Bytes::new() }, 503).await;
    }
    assert_eq!(elsewhere.reached("alpha"), 0);
}

#[tokio::test]
async fn headers_without_end_are_given_up() {
    let gateway = alone().await;
    gateway.upstream("alpha").set_fault(Some(Fault::NeverEndingHeaders));
    let begun = Instant::now();
    let status = gateway.chat(&ask("m")).await.status;
    assert!([503, 504].contains(&status), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// The most memory this process has held at any time, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).expect("a peak");
    let kib = line.split_whitespace().nth(1).and_then(|it| it.parse::<usize>().ok());
    kib.expect("a number") * 1024
}

#[tokio::test]
async fn a_huge_body_is_given_up_before_it_fills_the_memory() {
    let gateway = alone().await;
    let before = peak_memory();
    gateway.upstream("alpha").set_fault(Some(Fault::HugeBody(8 << 30)));
    for stream in [false, true] {
        let begun = Instant::now();
        let status = gateway.chat(&with(ask("m"), json!({"stream": stream}))).await.status;
        assert!([503, 504].contains(&status), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // Other tests run beside this one and need some too.
    let more = peak_memory() - before;
    assert!(more < 512 << 20, "{more} bytes");
}

/// One chunk of a stream with this delta.
fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

fn say(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

const DONE: &str = "data: [DONE]\n\n";

async fn stream_of(events: &[&str]) -> StreamAnswer {
    let gateway = alone().await;
    gateway.upstream("alpha").set_fault(Some(raw("text/event-stream", events.concat())));
    gateway.stream(&ask("alpha/m")).await
}

#[tokio::test]
async fn garbage_within_a_stream_ends_it_with_an_error() {
    for garbage in [
        "data: {\"choices\":\n\n",
        "data: \u{7}\n\n",
        "data: [1,2]\n\n",
        "data: {\"choices\":7}\n\n",
        "data: {\"error\":\"overloaded\"}\n\n",
        "data: {\"error\":{\"message\":\"x\"}}\n\n",
    ] {
        let answer = stream_of(&[&say("Hello"), &say(" you"), garbage, &say(" there"), DONE]).await;
        assert!(!answer.done, "{garbage}");
        assert!(answer.error()["message"].is_string(), "{garbage}: {:?}", answer.data);
        assert_eq!(answer.said(), "Hello you", "{garbage}");
    }
}

#[tokio::test]
async fn what_is_no_data_in_a_stream_is_passed_over() {
    let end = chunk(&json!({}), Some("stop"));
    let answer = stream_of(&[
        ": a comment\n\n",
        "event: ping\ndata:\n\n",
        "id: 1\nretry: 5\n",
        &say("Hello"),
        "\r\n",
        ":\n\n",
        &end,
        DONE,
    ])
    .await
    .expect_done();
    assert_eq!(answer.said(), "Hello");
}

#[tokio::test]
async fn an_event_of_more_than_a_mebibyte_ends_the_stream() {
    let answer = stream_of(&[&say("Hello"), &say(&"x".repeat(1 << 20)), DONE]).await;
    assert!(!answer.done && answer.error().is_object());
    assert_eq!(answer.said(), "Hello");
    // One that is just large passes.
    let large = "x".repeat(1_000_000);
    // Usage is told, for to count so much would take long.
    let end = chunk(&json!({}), Some("stop"));
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let end = end.replace("}\n\n", &format!(",{usage}\n\n"));
    let answer = stream_of(&[&say("Hello"), &say(&large), &end, DONE]).await.expect_done();
    assert_eq!(answer.said().len(), 5 + large.len());
}

#[tokio::test]
async fn an_end_is_known_by_its_mark_or_its_reason() {
    let (hello, end) = (say("Hello"), chunk(&json!({}), Some("stop")));
    // Both, the reason alone, the mark alone.
    for events in [&[&hello[..], &end, DONE][..], &[&hello, &end], &[&hello, DONE]] {
        let answer = stream_of(events).await.expect_done();
        assert_eq!(answer.said(), "Hello", "{events:?}");
        assert_eq!(answer.finishes(0), ["stop"], "{events:?}");
    }
    // Neither.
    let answer = stream_of(&[&hello]).await;
    assert!(!answer.done && answer.error().is_object(), "{:?}", answer.data);
    // A torn last line.
    let answer = stream_of(&[&hello, "data: {\"choices\":[{\"index\":0,\"delta\":{\"con"]).await;
    assert!(!answer.done && answer.error().is_object(), "{:?}", answer.data);
}

#[tokio::test]
async fn an_error_body_without_end_is_done_without() {
    let gateway = alone().await;
    let body = "x".repeat(10 << 20);
    let fault = Fault::RawResponse { status: 500, headers: Vec::new(), body: body.into() };
    gateway.upstream("alpha").set_fault(Some(fault));
    let answer = gateway.chat(&ask("m")).await.expect(503);
    assert!(answer.body.len() < 4_000, "{}", answer.body.len());
}

#[tokio::test]
async fn strange_error_bodies_are_read() {
    for body in [
        "",
        "null",
        "[]",
        "[{\"error\":{\"message\":\"x\"}}]",
        "{\"error\":null}",
        "{\"error\":[]}",
        "{\"detail\":[]}",
        "{\"message\":{\"detail\":[{}]}}",
        "\u{0}\u{1}",
        "{\"error\":{\"message\":\"line\\r\\nline\\u0000\",\"code\":1.5,\"param\":[],\"type\":{}}}",
    ] {
        for status in [400, 401, 404, 409, 418, 422, 429, 500, 599] {
            let settings = json!({"routing": {"max_retries": 0, "max_quota_wait_seconds": 0}});
            let gateway =
                Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
            let fault = Fault::RawResponse {
                status,
                headers: Vec::new(),
                body: Bytes::from_static(body.as_bytes()),
            };
            gateway.upstream("alpha").set_fault(Some(fault));
            let answer = gateway.chat(&ask("m")).await;
            assert!([400, 429, 503].contains(&answer.status), "{status} {body:?}: {answer:?}");
            assert!(answer.error()["message"].is_string(), "{status} {body:?}");
        }
    }
}
