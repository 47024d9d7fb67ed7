//! Who may call, who may change the gateway's state, and how long those wait who guess.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Answer, Gateway, Setup, Upstream, ask};

const MASTER: &str = "relay-master-7f3a9c1e";
const ADMIN: &str = "relay-admin-55d0b2aa";

fn plain() -> Setup {
    Gateway::with([Upstream::plain("Alpha")])
}

async fn keys(gateway: &Gateway, method: Method, headers: &[(&str, &str)]) -> Answer {
    let body = if method == Method::POST { r#"{"label": "a"}"# } else { "" };
    gateway.send(gateway.request(method, "/v1/keys", headers, body)).await
}

#[tokio::test]
async fn a_key_is_read_from_three_headers() {
    let gateway = plain().variable("RELAY_API_KEY", MASTER).start().await;
    let bearer = format!("Bearer {MASTER}");
    for (header, value, status) in [
        ("authorization", &*bearer, 200),
        ("x-api-key", MASTER, 200),
        ("api-key", MASTER, 200),
        ("x-api-key", "relay-master-7f3a9c1f", 401),
        ("api-key", "relay", 401),
        ("cookie", MASTER, 401),
    ] {
        gateway.chat_with(&ask("m"), &[(header, value)]).await.expect(status);
    }
    // A client that fills both, one of them with something else.
    let both = [("authorization", "Bearer none"), ("x-api-key", MASTER)];
    gateway.chat_with(&ask("m"), &both).await.expect(200);
    assert_eq!(gateway.reached("alpha"), 4);
    // None of them goes on to the provider.
    for record in gateway.upstream("alpha").records() {
        assert!(!format!("{record:?}").contains(MASTER));
    }
}

#[tokio::test]
async fn guesses_wait_and_the_right_key_never_does() {
    let gateway = plain().variable("RELAY_API_KEY", MASTER).start().await;
    let guess = async || {
        let begun = Instant::now();
        let answer = gateway.chat_with(&ask("m"), &[("x-api-key", "wrong")]).await.expect(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        (begun.elapsed(), answer.error()["message"].clone())
    };
    let mut waits = Vec::new();
    for _ in 0..6 {
        waits.push(guess().await.0);
    }
    assert!(waits[0] < Duration::from_millis(400), "{waits:?}");
    assert!(waits[4] > Duration::from_millis(750), "{waits:?}");
    assert!(waits.iter().all(|it| *it < Duration::from_secs(1)), "{waits:?}");
    // In the middle of it, from the same address.
    let (guessed, ()) = tokio::join!(guess(), async {
        for _ in 0..5 {
            let begun = Instant::now();
            gateway.chat_with(&ask("m"), &[("x-api-key", MASTER)]).await.expect(200);
            assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
        }
    });
    assert!(guessed.0 > Duration::from_millis(750), "{guessed:?}");
    // Who shows no key has guessed nothing.
    let begun = Instant::now();
    gateway.chat(&ask("m")).await.expect(401);
    assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn state_is_changed_with_the_admin_key() {
    let setup = plain().variable("RELAY_API_KEY", MASTER).variable("RELAY_ADMIN_KEY", ADMIN);
    let gateway = setup.start().await;
    for (key, status, code) in [
        ("", 401, "invalid_api_key"),
        ("wrong", 401, "invalid_api_key"),
        (MASTER, 403, "admin_only"),
    ] {
        let headers = [("x-api-key", key)];
        for method in [Method::POST, Method::GET] {
            let answer = keys(&gateway, method, &headers).await.expect(status);
            assert_eq!(answer.error()["code"], code);
            assert_eq!(answer.error()["request_id"], answer.header("x-request-id"));
        }
    }
    // From anywhere, by any name, through whatever proxy.
    let bearer = format!("Bearer {ADMIN}");
    let far = [
        ("authorization", bearer.as_str()),
        ("host", "gateway.example"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    keys(&gateway, Method::POST, &far).await.expect(201);
    assert_eq!(keys(&gateway, Method::GET, &far).await.expect(200).json()["data"][0]["label"], "a");
    // It opens everything else, too.
    gateway.chat_with(&ask("m"), &[("x-api-key", ADMIN)]).await.expect(200);
    let status = gateway.request(Method::GET, "/v1/status", &[("x-api-key", ADMIN)], "");
    gateway.send(status).await.expect(200);
}

#[tokio::test]
async fn without_an_admin_key_only_this_machine_changes_state() {
    let origins = json!({"http": {"allowed_origins": ["http://localhost:3000"]}});
    let gateway = plain().settings(origins).variable("RELAY_API_KEY", MASTER).start().await;
    let key = ("x-api-key", MASTER);
    keys(&gateway, Method::POST, &[key]).await.expect(201);
    keys(&gateway, Method::POST, &[key, ("host", "localhost")]).await.expect(201);
    // The master key is asked for all the same.
    keys(&gateway, Method::POST, &[]).await.expect(401);
    for foreign in [
        ("host", "gateway.example"),
        ("host", "127.0.0.1.nip.io"),
        ("origin", "http://localhost:3000"),
        ("origin", "null"),
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "127.0.0.1"),
        ("cf-connecting-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ] {
        let answer = keys(&gateway, Method::POST, &[key, foreign]).await.expect(403);
        assert_eq!(answer.error()["code"], "admin_only", "{foreign:?}");
        let message = answer.error()["message"].as_str().expect("a text").to_owned();
        assert!(message.contains("RELAY_ADMIN_KEY"), "{message}");
    }
    let listed = keys(&gateway, Method::GET, &[key]).await.expect(200).json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn without_any_key_the_owner_may_and_a_page_may_not() {
    let gateway = plain().start().await;
    keys(&gateway, Method::GET, &[]).await.expect(200);
    for foreign in [("host", "evil.example"), ("origin", "https://evil.example"), ("via", "x")] {
        keys(&gateway, Method::POST, &[foreign]).await.expect(403);
    }
    assert_eq!(keys(&gateway, Method::GET, &[]).await.json()["data"], json!([]));
    // An admin key alone guards changes, and nothing else.
    let gateway = plain().variable("RELAY_ADMIN_KEY", ADMIN).start().await;
    keys(&gateway, Method::POST, &[]).await.expect(401);
    keys(&gateway, Method::POST, &[("x-api-key", "wrong")]).await.expect(401);
    gateway.chat_with(&ask("m"), &[("x-api-key", "any")]).await.expect(200);
    keys(&gateway, Method::POST, &[("x-api-key", ADMIN)]).await.expect(201);
}
