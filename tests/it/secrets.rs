//! No key appears in an answer, a header or the log, whatever a provider says about it.

use relayfreellm::sim::Fault;
use serde_json::{Value, json};

use crate::support::{Gateway, Log, Upstream, ask, with};

const KEY: &str = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t";
const MASTER_KEY: &str = "relay-master-7f3a9c1e5b8d2f46";

fn check_clean(place: &str, text: &str) {
    for key in [KEY, MASTER_KEY] {
        assert!(!text.contains(key), "{place} shows {key}: {text}");
        // What follows the prefix is as secret as the whole.
        assert!(!text.contains(&key[12..]), "{place} shows the rest of {key}: {text}");
    }
}

/// An error of this status that repeats the key wherever an error may.
fn echo(status: u16) -> Fault {
    let error = json!({"error": {
        "message": format!("Incorrect API key provided: {KEY} (Bearer {KEY}). Unknown name '{KEY}'"),
        "type": KEY, "param": KEY, "code": KEY,
    }});
    let headers = vec![
        ("x-echo".to_owned(), KEY.to_owned()),
        ("www-authenticate".to_owned(), KEY.to_owned()),
    ];
    Fault::RawResponse { status, headers, body: error.to_string().into() }
}

/// The same as an event of a stream that began well.
fn echo_in_stream() -> Fault {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": null}]});
    let error = json!({"error": {"message": format!("bad key {KEY}"), "code": KEY, "type": KEY}});
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    let body = format!("data: {chunk}\n\ndata: {error}\n\n");
    Fault::RawResponse { status: 200, headers, body: body.into() }
}

async fn gateway() -> Gateway {
    let settings = json!({"routing": {"max_retries": 1, "max_quota_wait_seconds": 0}});
    let upstream = Upstream::plain("Alpha").key(KEY);
    let setup = Gateway::with([upstream]).settings(settings);
    setup.variable("RELAY_API_KEY", MASTER_KEY).start().await
}

/// Asks with the master key; gives all that came back, headers included.
async fn all_of_the_answer(gateway: &Gateway, body: &Value) -> String {
    let bearer = format!("Bearer {MASTER_KEY}");
    let answer = gateway.chat_with(body, &[("authorization", &bearer), ("cookie", "c=1")]).await;
    format!("{} {:?} {}", answer.status, answer.headers, answer.text())
}

#[tokio::test]
async fn no_key_is_shown_when_all_is_well() {
    let log = Log::catch();
    let gateway = gateway().await;
    let bearer = format!("Bearer {MASTER_KEY}");
    for stream in [false, true] {
        let body = with(ask("m"), json!({"stream": stream}));
        check_clean("the answer", &all_of_the_answer(&gateway, &body).await);
    }
    for path in ["/v1/models", "/v1/usage", "/health", "/v1/nowhere"] {
        let headers = [("authorization", bearer.as_str())];
        let answer = gateway.send(gateway.request(http::Method::GET, path, &headers, "")).await;
        check_clean(path, &format!("{:?} {}", answer.headers, answer.text()));
    }
    for wrong in ["Bearer wrong", &format!("Basic {MASTER_KEY}")] {
        let answer = gateway.chat_with(&ask("m"), &[("authorization", wrong)]).await.expect(401);
        check_clean("the refusal", &format!("{:?} {}", answer.headers, answer.text()));
    }
    assert!(log.text().contains("Alpha/m"), "the log was caught");
    check_clean("the log", &log.text());
}

#[tokio::test]
async fn a_provider_that_repeats_the_key_is_not_repeated_to_the_caller() {
    for status in [200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503] {
        for stream in [false, true] {
            let gateway = gateway().await;
            gateway.upstream("alpha").set_fault(Some(echo(status)));
            let body = with(ask("m"), json!({"stream": stream}));
            let answer = all_of_the_answer(&gateway, &body).await;
            check_clean(&format!("the answer after {status}"), &answer);
        }
    }
}

#[tokio::test]
async fn a_provider_that_repeats_the_key_is_not_repeated_in_the_log() {
    for status in [200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503] {
        let log = Log::catch();
        let gateway = gateway().await;
        gateway.upstream("alpha").set_fault(Some(echo(status)));
        all_of_the_answer(&gateway, &ask("m")).await;
        let text = log.text();
        assert!(text.contains("Alpha/m"), "the log was caught");
        let ours: Vec<_> = text.lines().filter(|it| it.contains("relayfreellm")).collect();
        check_clean(&format!("the log after {status}"), &ours.join("\n"));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_over_the_key_does_not_show_it() {
    let log = Log::catch();
    let gateway = gateway().await;
    gateway.upstream("alpha").set_fault(Some(echo_in_stream()));
    let body = with(ask("alpha/m"), json!({"stream": true}));
    let answer = all_of_the_answer(&gateway, &body).await;
    assert!(answer.contains("Hello"), "{answer}");
    check_clean("the stream", &answer);
    check_clean("the log", &log.text());
}
