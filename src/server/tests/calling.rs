//! Who may call.

use secrecy::SecretString;

use crate::server::Params;

use super::support::{Client, Reply, Script, Server, WHOLE, ask, chat, request, start};

const PAGE: &str = "https://app.example";

async fn server(key: Option<&str>, insecure: bool) -> Server {
    let params = Params {
        master_key: key.map(SecretString::from),
        insecure,
        allowed_origins: vec![PAGE.to_owned()],
        ..Params::default()
    };
    start(params, Script::hello()).await
}

/// A chat request with `Host` and whatever else as given.
fn post(target: &str, version: &str, headers: &[&str]) -> String {
    let length = format!("Content-Length: {}", WHOLE.len());
    let line = format!("POST {target} {version}");
    let head = [&[&*line], headers, &[&*length]].concat().join("\r\n");
    format!("{head}\r\n\r\n{WHOLE}")
}

fn refused(reply: &Reply, code: &str) {
    assert_eq!((reply.status, &*reply.error("code")), (403, code));
    assert_eq!(reply.error("type"), "permission_error");
    assert_eq!(reply.error("request_id"), reply.header("x-request-id"));
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

const PATH: &str = "/v1/chat/completions";
const ABSOLUTE: &str = "http://evil.example/v1/chat/completions";

/// Requests that a page could make or that name no host, and what is wrong with each.
const FOREIGN: &[(&str, &str, &[&str], &str)] = &[
    (PATH, "HTTP/1.1", &["Host: evil.example"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: evil.example:8000"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: 127.0.0.1.nip.io:8000"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: 192.168.0.7"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: "], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: localhost", "Host: evil.example"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &[], "host_not_allowed"),
    (PATH, "HTTP/1.0", &[], "host_not_allowed"),
    (ABSOLUTE, "HTTP/1.1", &["Host: localhost"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: evil.example", "Origin: https://app.example"], "host_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: localhost", "Origin: null"], "origin_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: localhost", "Origin: http://localhost"], "origin_not_allowed"),
    (PATH, "HTTP/1.1", &["Host: localhost", "Origin: "], "origin_not_allowed"),
    (
        PATH,
        "HTTP/1.1",
        &["Host: localhost", "Origin: https://evil.example", "Content-Type: text/plain"],
        "origin_not_allowed",
    ),
    (
        PATH,
        "HTTP/1.1",
        &["Host: localhost", "Origin: https://app.example", "Origin: https://evil.example"],
        "origin_not_allowed",
    ),
];

#[tokio::test]
async fn strangers_are_kept_out_of_an_open_gateway() {
    let server = server(None, false).await;
    for (target, version, headers, code) in FOREIGN {
        refused(&ask(&server, post(target, version, headers)).await, code);
    }
    for path in ["/health", "/v1/models", "/nowhere"] {
        let get = |header| format!("GET {path} HTTP/1.1\r\n{header}\r\n\r\n");
        refused(&ask(&server, get("Host: evil.example")).await, "host_not_allowed");
        let from_page = "Host: localhost\r\nOrigin: https://evil.example";
        refused(&ask(&server, get(from_page)).await, "origin_not_allowed");
    }
    for host in ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"] {
        let host = format!("Host: {host}");
        assert_eq!(ask(&server, post(PATH, "HTTP/1.1", &[&host])).await.status, 200, "{host}");
    }
    let here = post("http://127.0.0.1:1/v1/chat/completions", "HTTP/1.1", &["Host: localhost"]);
    assert_eq!(ask(&server, here).await.status, 200);
    assert_eq!(ask(&server, post(PATH, "HTTP/1.0", &["Host: localhost"])).await.status, 200);
}

#[tokio::test]
async fn a_key_or_the_users_word_lifts_the_loopback_rule() {
    for (key, insecure) in [(None, true), (Some("k"), false), (Some("k"), true)] {
        let server = server(key, insecure).await;
        for (target, version, headers, _) in FOREIGN {
            let mut headers = headers.to_vec();
            headers.push("Authorization: Bearer k");
            let reply = ask(&server, post(target, version, &headers)).await;
            assert_eq!(reply.status, 200, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn the_master_key_is_asked_for() {
    let server = server(Some("sk-relay-1"), false).await;
    let check = async |line: &str, header: &str, expected: u16| {
        let reply = ask(&server, request(line, &[header], "")).await;
        assert_eq!(reply.status, expected, "{line} {header}");
        if expected == 401 {
            assert_eq!(reply.error("type"), "authentication_error");
            assert_eq!(reply.error("code"), "invalid_api_key");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            assert!(!reply.body.contains("sk-relay"), "{}", reply.body);
        }
    };
    for (header, expected) in [
        ("Authorization: Bearer sk-relay-1", 200),
        ("authorization: bearer    sk-relay-1", 200),
        ("Authorization: Bearer sk-relay-2", 401),
        ("Authorization: Bearer sk-relay-", 401),
        ("Authorization: Bearer sk-relay-1x", 401),
        ("Authorization: Bearer SK-RELAY-1", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: sk-relay-1", 401),
        ("Authorization: Basic sk-relay-1", 401),
        ("Authorization: Bearer \u{e9}", 401),
        ("X-Api-Key: sk-relay-1", 200),
        ("Api-Key: sk-relay-1", 200),
        ("X-Api-Key: sk-relay-2", 401),
    ] {
        check("GET /v1/models", header, expected).await;
        check("GET /v1/usage", header, expected).await;
        check("GET /health", header, 200).await;
    }
    let none = "X-Nothing: x";
    check("GET /v1/nowhere", none, 401).await;
    check("GET /v1/chat/completions", none, 401).await;
    check("POST /v1/chat/completions", none, 401).await;
    check("OPTIONS /v1/models", none, 401).await;
    check("GET /nowhere", none, 404).await;
}

#[tokio::test]
async fn any_key_will_do_where_none_is_set() {
    let server = server(None, false).await;
    let reply = ask(&server, chat(&["Authorization: Bearer anything"], WHOLE)).await;
    assert_eq!(reply.status, 200);
}

async fn preflight(server: &Server, origin: &str) -> Reply {
    let mut client = Client::connect(server).await;
    let origin = format!("Origin: {origin}");
    let method = "Access-Control-Request-Method: POST";
    let names = "Access-Control-Request-Headers: authorization,x-session-id";
    let line = "OPTIONS /v1/chat/completions";
    client.send(request(line, &[&origin, method, names], "")).await;
    client.reply().await
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    for key in [None, Some("k")] {
        let server = server(key, false).await;
        let asked = preflight(&server, PAGE).await;
        assert_eq!(asked.status, 200);
        assert_eq!(asked.header("access-control-allow-origin"), PAGE);
        assert_eq!(asked.header("access-control-allow-methods"), "GET,HEAD,POST,PATCH,DELETE");
        assert_eq!(asked.header("access-control-allow-headers"), "authorization,x-session-id");
        assert!(asked.header("x-request-id").starts_with("req_"));

        let sent =
            ask(&server, chat(&["Origin: https://app.example", "Authorization: Bearer k"], WHOLE));
        let sent = sent.await;
        assert_eq!((sent.status, sent.header("access-control-allow-origin")), (200, PAGE));
        let exposed = sent.header("access-control-expose-headers");
        for name in ["x-request-id", "x-relay-provider", "x-relay-warning", "retry-after"] {
            assert!(exposed.split(',').any(|it| it == name), "{name} in {exposed}");
        }
        let foreign = preflight(&server, "https://evil.example").await;
        if key.is_none() {
            refused(&foreign, "origin_not_allowed");
        } else {
            // Whoever shows the key may call; a browser still tells the page nothing.
            assert_eq!(foreign.header("access-control-allow-origin"), "");
        }
    }
    let server = server(Some("k"), false).await;
    let refused = ask(&server, chat(&["Origin: https://app.example"], WHOLE)).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, PAGE));
    let foreign = ["Origin: https://evil.example", "Authorization: Bearer k"];
    let foreign = ask(&server, chat(&foreign, WHOLE)).await;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (200, ""));
}

#[tokio::test]
async fn an_options_that_is_no_preflight_is_a_wrong_method() {
    let server = server(None, false).await;
    let reply =
        ask(&server, request("OPTIONS /v1/models", &["Origin: https://app.example"], "")).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "GET,HEAD"));
}
