//! What a request must look like, and how much of it is taken.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use crate::server::Params;

use super::support::{
    Client, Script, Server, WHOLE, after, ask, at_once, chat, request, route, start, whole,
};

const CHUNKED: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";

fn small() -> Params {
    Params { max_body_bytes: 1000, ..Params::default() }
}

/// A chat request of exactly `bytes` bytes.
fn body_of(bytes: usize) -> String {
    WHOLE.replace("Hi", &"x".repeat(bytes - WHOLE.len() + 2))
}

#[tokio::test]
async fn a_body_may_have_as_many_bytes_as_set_and_no_more() {
    let server = start(small(), Script::hello()).await;
    let check = async |request: String, status| {
        let reply = ask(&server, request).await;
        assert_eq!(reply.status, status);
        if status == 413 {
            assert_eq!(reply.error("type"), "request_too_large");
            assert_eq!(reply.error("code"), "request_too_large");
            assert_eq!(reply.header("connection"), "close");
        }
    };
    check(chat(&[], &body_of(1000)), 200).await;
    check(chat(&[], &body_of(1001)), 413).await;
    let chunked = |body: &str| {
        let (head, tail) = body.split_at(400);
        format!("{CHUNKED}190\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n", tail.len())
    };
    check(chunked(&body_of(1000)), 200).await;
    check(chunked(&body_of(1001)), 413).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_need_not_be_sent() {
    let server = start(small(), Script::hello()).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
    for length in ["1001", "99999999999999999"] {
        let reply = ask(&server, format!("{head}Content-Length: {length}\r\n\r\n")).await;
        assert_eq!(reply.status, 413);
    }
    // Chunks without an end are cut as soon as they are too many.
    let reply = ask(&server, format!("{CHUNKED}7d0\r\n{}", "x".repeat(1500))).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn callers_who_send_it_all_still_read_the_refusal() {
    let server = start(small(), Script::hello()).await;
    let mut client = Client::connect(&server).await;
    // Many clients take a failed write for the end, and never look for an answer.
    let sent = client.stream.write_all(chat(&[], &body_of(8_000_000)).as_bytes()).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!(client.reply().await.status, 413);
    assert_eq!(client.rest().await, "");
}

async fn is_cut_between(server: &Server, texts: [&str; 2], least: u64, most: u64) -> String {
    let begun = Instant::now();
    let mut client = Client::connect(server).await;
    client.send(texts[0]).await;
    let (mut reader, mut writer) = client.stream.into_split();
    let drip = texts[1].as_bytes().to_vec();
    let answer = async {
        let mut answer = Vec::new();
        drop(reader.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    };
    let dripping = async {
        for byte in drip.iter().cycle() {
            sleep(Duration::from_millis(20)).await;
            drop(writer.write_all(&[*byte]).await);
        }
        unreachable!("a cycle has no end")
    };
    let answer = tokio::select! { it = answer => it, it = dripping => it };
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert!((least..most).contains(&took), "cut after {took} ms");
    answer
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let params = Params { header_timeout: Duration::from_millis(300), ..Params::default() };
    let server = start(params, Script::hello()).await;
    let answer = is_cut_between(&server, ["GET /health HTTP/1.1\r\nX-A: ", "a"], 300, 1500).await;
    assert_eq!(answer, "");
    let answer = is_cut_between(&server, ["", "\r\n"], 300, 1500).await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn slow_bodies_are_cut() {
    let params = Params {
        body_timeout: Duration::from_millis(300),
        linger: Duration::from_millis(100),
        ..Params::default()
    };
    let server = start(params, Script::hello()).await;
    let head = chat(&["Content-Length: 5000"], "");
    let answer = is_cut_between(&server, [&head, "x"], 300, 1500).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn heads_have_a_size() {
    let server = start(Params::default(), Script::hello()).await;
    let check = async |bytes: usize, status: &str| {
        let header = format!("X-Big: {}", "x".repeat(bytes));
        let mut client = Client::connect(&server).await;
        client.send(request("GET /health", &[&header, "Connection: close"], "")).await;
        assert!(client.rest().await.starts_with(status), "{bytes}");
    };
    check(60_000, "HTTP/1.1 200 ").await;
    check(66_000, "HTTP/1.1 431 ").await;
}

#[tokio::test]
async fn bad_bodies_and_headers_are_the_callers_to_mend() {
    let script = Script::new(|call| {
        let mut told = route();
        told.upstream_id = call.session;
        at_once(Ok(whole(&told)))
    });
    let server = start(Params::default(), script).await;
    let check = async |header: &str, body: &str, status, param: &str| {
        let reply = ask(&server, chat(&[header], body)).await;
        assert_eq!(reply.status, status, "{header} {body}");
        assert_eq!([reply.error("type"), reply.error("param")], ["invalid_request_error", param]);
    };
    check("X-A: a", "{", 400, "null").await;
    check("X-A: a", "[]", 400, "null").await;
    check("X-A: a", r#"{"messages":[]}"#, 400, "messages").await;
    check("X-A: a", r#"{"messages":7}"#, 400, "messages").await;
    check("X-A: a", "", 400, "null").await;
    check("Content-Encoding: gzip", WHOLE, 415, "null").await;
    check("Content-Encoding: identity, gzip", WHOLE, 415, "null").await;
    check("X-Session-ID: a\tb", WHOLE, 400, "x-session-id").await;
    check("X-Session-ID: caf\u{e9}", WHOLE, 400, "x-session-id").await;
    check(&format!("X-Session-ID: {}", "s".repeat(257)), WHOLE, 400, "x-session-id").await;

    let longest = "s".repeat(256);
    for (given, session) in [("", ""), ("abc", "abc"), ("a b", "a b"), (&*longest, &*longest)] {
        let header = format!("X-Session-ID: {given}");
        let reply = ask(&server, chat(&[&header, "Content-Encoding: identity"], WHOLE)).await;
        assert_eq!((reply.status, reply.header("x-relay-upstream-id")), (200, session));
    }
}

#[tokio::test]
async fn the_session_header_has_the_name_that_was_set() {
    let session_header = http::HeaderName::from_static("x-thread");
    let server = start(Params { session_header, ..Params::default() }, Script::hello()).await;
    let reply = ask(&server, chat(&["X-Thread: a\tb", "X-Session-ID: c\td"], WHOLE)).await;
    assert_eq!((reply.status, &*reply.error("param")), (400, "x-thread"));
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let script = Script::new(|call| {
        let mut told = route();
        told.context = Some(call.request.prompt_bytes().to_string());
        at_once(Ok(whole(&told)))
    });
    let server = start(Params::default(), script).await;
    let body = body_of(300_000);
    let expected = (300_000 - r#"{"model":"m","messages":}"#.len()).to_string();
    let reply = ask(&server, chat(&[], &body)).await;
    assert_eq!((reply.status, reply.header("x-relay-context")), (200, &*expected));

    let mut client = Client::connect(&server).await;
    client.send(chat(&["Content-Length: 57"], "")).await;
    for piece in WHOLE.as_bytes().chunks(20) {
        client.send(piece).await;
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(WHOLE.len(), 57);
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn what_is_too_much_at_once_is_told_to_come_back() {
    let params = Params { max_concurrent_requests: 1, ..Params::default() };
    let script = Script::new(|_| after(Duration::from_millis(400), Ok(whole(&route()))));
    let server = start(params, script).await;
    let mut first = Client::connect(&server).await;
    first.send(chat(&[], WHOLE)).await;
    sleep(Duration::from_millis(100)).await;
    let second = ask(&server, chat(&[], WHOLE)).await;
    assert_eq!((second.status, second.header("retry-after")), (503, "1"));
    assert_eq!([second.error("type"), second.error("code")], ["server_error", "overloaded"]);
    for line in ["GET /health", "GET /v1/models", "GET /v1/usage"] {
        assert_eq!(ask(&server, request(line, &[], "")).await.status, 200);
    }
    assert_eq!(first.reply().await.status, 200);
    assert_eq!(ask(&server, chat(&[], WHOLE)).await.status, 200);
}

#[tokio::test]
async fn bodies_share_a_bound_on_memory() {
    let params = Params { max_body_bytes: 1000, max_body_memory: 1000, ..Params::default() };
    let script = Script::new(|_| after(Duration::from_millis(400), Ok(whole(&route()))));
    let server = start(params, script).await;
    let mut first = Client::connect(&server).await;
    first.send(chat(&[], &body_of(900))).await;
    sleep(Duration::from_millis(100)).await;
    let large = ask(&server, chat(&[], &body_of(200))).await;
    assert_eq!((large.status, &*large.error("code")), (503, "overloaded"));
    assert_eq!(ask(&server, chat(&[], &body_of(90))).await.status, 200);
    assert_eq!(first.reply().await.status, 200);
}
