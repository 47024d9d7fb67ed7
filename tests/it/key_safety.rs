//! A gateway that asked for keys does not open by accident, and nobody gets more than their key.

use std::path::Path;

use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Gateway, Setup, Upstream, ask, run};
use crate::virtual_keys::{MASTER, asked, chat, declaring, make, owned, plain};

const SITE: &str = "sk-freellm-portfolio-abc123";

/// Without a master key, with this keys file.
fn file_alone(root: &Path) -> Setup {
    let file = root.join("keys.json");
    Gateway::with([Upstream::plain("Alpha")])
        .data_dir(&root.join("data"))
        .variable("RELAY_VIRTUAL_KEYS_PATH", file.to_str().expect("a path"))
}

fn declare(root: &Path, keys: &serde_json::Value) {
    let file = root.join("keys.json");
    std::fs::write(file, json!({"keys": keys}).to_string()).expect("written");
}

#[tokio::test]
async fn with_the_last_declared_key_gone_it_does_not_open() {
    let root = TempDir::new().expect("a directory");
    declare(root.path(), &json!([{"id": SITE, "label": "site"}]));
    let gateway = file_alone(root.path()).start().await;
    chat(&gateway, SITE, &ask("m")).await.expect(200);
    gateway.chat(&ask("m")).await.expect(401);
    declare(root.path(), &json!([]));
    let reload = gateway.request(Method::POST, "/v1/admin/reload", &[], "");
    gateway.send(reload).await.expect(200);
    chat(&gateway, SITE, &ask("m")).await.expect(401);
    gateway.chat(&ask("m")).await.expect(401);
    gateway.stop().await;
    let gateway = file_alone(root.path()).start().await;
    gateway.chat(&ask("m")).await.expect(401);
    gateway.stop().await;
    // The way back is one that nobody goes by accident.
    std::fs::remove_file(root.path().join("data/relayfreellm.had-keys")).expect("it is there");
    let gateway = file_alone(root.path()).start().await;
    gateway.chat(&ask("m")).await.expect(200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_damaged_database_does_not_open_the_gateway() {
    let root = TempDir::new().expect("a directory");
    let data = root.path().join("data");
    let start = || Gateway::with([Upstream::plain("Alpha")]).data_dir(&data).start();
    let gateway = start().await;
    gateway.chat(&ask("m")).await.expect(200);
    let request = gateway.request(Method::POST, "/v1/keys", &[], r#"{"label": "first"}"#);
    let made = gateway.send(request).await.expect(201).json();
    gateway.stop().await;
    let damage = || {
        std::fs::write(data.join("relayfreellm.sqlite3"), "garbage".repeat(1_000))
            .expect("written");
    };
    damage();
    // A look at the keys leaves it where it is, and says what is the matter.
    for command in [&["keys", "list"][..], &["keys", "create", "--label", "second"]] {
        let arguments = [command, &["--port", "1", "--data-dir", "data"]].concat();
        let (code, text) = run(root.path(), &arguments, &[]);
        assert!(code == Some(1) && text.contains("is damaged"), "{code:?}: {text}");
        assert!(data.join("relayfreellm.sqlite3").exists());
    }
    let gateway = start().await;
    gateway.chat(&ask("m")).await.expect(401);
    let key = made["key"].as_str().expect("a key");
    chat(&gateway, key, &ask("m")).await.expect(401);
    // Whoever sits at the machine makes another.
    let request = gateway.request(Method::POST, "/v1/keys", &[], r#"{"label": "second"}"#);
    let made = gateway.send(request).await.expect(201).json();
    chat(&gateway, made["key"].as_str().expect("a key"), &ask("m")).await.expect(200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_that_was_made_is_not_declared() {
    let gateway = plain().start().await;
    let (key, id) = make(&gateway, json!({})).await;
    let dir = TempDir::new().expect("a directory");
    declare(dir.path(), &json!([{"id": key, "label": "again"}]));
    let (code, text) =
        run(dir.path(), &["check", "--demo"], &[("RELAY_VIRTUAL_KEYS_PATH", "keys.json")]);
    assert!(
        code == Some(2) && text.contains("keys[0].id") && text.contains(&id),
        "{code:?}: {text}"
    );
    assert!(!text.contains(&key[9..]), "{text}");
}

#[tokio::test]
async fn a_key_that_expires_does_not_keep_the_gateway_from_starting() {
    let root = TempDir::new().expect("a directory");
    let keys = json!([{"id": SITE, "label": "old", "expiresAt": "2020-01-01"},
        {"id": "sk-freellm-wide-open-0002", "label": "good"}]);
    let gateway = declaring(root.path(), &keys).await;
    let refused = chat(&gateway, SITE, &ask("m")).await.expect(401);
    assert!(refused.text().contains("expired at 2020-01-01"), "{}", refused.text());
    chat(&gateway, "sk-freellm-wide-open-0002", &ask("m")).await.expect(200);
    let reload = asked(&gateway, Method::POST, "/v1/admin/reload", MASTER.1).await.expect(200);
    assert!(
        reload.json()["notes"].to_string().contains("\\\"old\\\" expired"),
        "{}",
        reload.text()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn of_two_right_keys_the_one_that_opens_more_counts() {
    let gateway = plain().variable("RELAY_ADMIN_KEY", "the-admin-key-0123456789").start().await;
    let admin = ("x-api-key", "the-admin-key-0123456789");
    let made = gateway.request(Method::POST, "/v1/keys", &[admin], r#"{"label": "a"}"#);
    let made = gateway.send(made).await.expect(201).json();
    let key = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let master = format!("Bearer {}", MASTER.1);
    let get = async |path: &str, headers: &[(&str, &str)], status: u16| {
        gateway.send(gateway.request(Method::GET, path, headers, "")).await.expect(status);
    };
    get("/v1/keys", &[("authorization", &master), admin], 200).await;
    get("/v1/status", &[("authorization", &key), MASTER], 200).await;
    get("/v1/status", &[("authorization", &key), ("x-api-key", "wrong")], 403).await;
    get("/v1/models", &[("authorization", &key), ("x-api-key", "wrong")], 200).await;
}

#[tokio::test]
async fn a_list_is_no_description_of_a_key_and_no_order() {
    let gateway = plain().start().await;
    for (method, path, body) in [
        (Method::POST, "/v1/keys", r#"["arr", 5, null, null, null, null]"#),
        (Method::POST, "/v1/keys", "7"),
        (Method::PATCH, "/v1/status/routing", r#"["random", null, null, false]"#),
    ] {
        let answer = gateway.send(gateway.request(method, path, &[MASTER], body)).await.expect(400);
        assert!(answer.text().contains("JSON object"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_session_is_its_callers_own() {
    let gateway = owned([Upstream::plain("Alpha"), Upstream::plain("Beta")]).start().await;
    let (one, _) = make(&gateway, json!({"label": "one"})).await;
    let (two, _) = make(&gateway, json!({"label": "two"})).await;
    let session = ("x-session-id", "chat-1");
    let served = async |key: &str| {
        let answer = gateway.chat_with(&ask("auto"), &[("x-api-key", key), session]).await;
        answer.expect(200).header("x-relay-provider").to_owned()
    };
    let home = served(&one).await;
    // The other's first request of that name is a first one.
    assert_ne!(served(&two).await, home);
    for _ in 0..3 {
        assert_eq!(served(&one).await, home);
        assert_ne!(served(&two).await, home);
    }
}
