//! Virtual keys: made once, kept as hashes, bounded exactly, and gone when they are taken back.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use relayfreellm::sim::{Answer as SimAnswer, Fault, Pace};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{Answer, Gateway, SOON, Setup, Upstream, ask, with};

pub(crate) const MASTER: (&str, &str) = ("x-api-key", "relay-master-7f3a9c1e");

pub(crate) fn plain() -> Setup {
    owned([Upstream::plain("Alpha")])
}

pub(crate) fn owned(upstreams: impl IntoIterator<Item = Upstream>) -> Setup {
    Gateway::with(upstreams).variable("RELAY_API_KEY", MASTER.1)
}

pub(crate) async fn asked(gateway: &Gateway, method: Method, path: &str, key: &str) -> Answer {
    gateway.send(gateway.request(method, path, &[("x-api-key", key)], "")).await
}

async fn post(gateway: &Gateway, draft: &Value) -> Answer {
    gateway.send(gateway.request(Method::POST, "/v1/keys", &[MASTER], draft.to_string())).await
}

/// Makes a key; gives the key itself and its id.
pub(crate) async fn make(gateway: &Gateway, draft: Value) -> (String, String) {
    let made = post(gateway, &with(json!({"label": "a slice"}), draft)).await.expect(201).json();
    let text = |it: &str| made[it].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    (text("key"), text("id"))
}

pub(crate) async fn chat(gateway: &Gateway, key: &str, body: &Value) -> Answer {
    gateway.chat_with(body, &[("x-api-key", key)]).await
}

/// Asks with `key` until its statuses are these.
pub(crate) async fn check(gateway: &Gateway, key: &str, statuses: &[u16]) {
    for status in statuses {
        chat(gateway, key, &ask("m")).await.expect(*status);
    }
}

pub(crate) async fn today(gateway: &Gateway, id: &str) -> (u64, u64) {
    let path = format!("/v1/keys/{id}");
    let key = asked(gateway, Method::GET, &path, MASTER.1).await.expect(200).json();
    let number = |it: &str| key["today"][it].as_u64().expect("a number");
    (number("requests"), number("tokens"))
}

#[tokio::test]
async fn a_key_lives_until_it_is_taken_back() {
    let gateway = plain().start().await;
    let (key, id) = make(&gateway, json!({"label": "My app"})).await;
    assert!(key.starts_with("sk-relay-") && key.len() == 49, "{key}");
    for header in [("x-api-key", key.clone()), ("authorization", format!("Bearer {key}"))] {
        gateway.chat_with(&ask("m"), &[(header.0, header.1.as_str())]).await.expect(200);
    }
    // It opens what it is for.
    for (path, status) in [
        ("/v1/models", 200),
        ("/v1/models/Alpha/m", 200),
        ("/v1/usage", 200),
        ("/v1/status", 403),
        ("/v1/quota", 403),
        ("/v1/keys", 403),
        ("/metrics", 403),
        ("/v1/nowhere", 403),
    ] {
        asked(&gateway, Method::GET, path, &key).await.expect(status);
    }
    // It is listed without what it is.
    let list = asked(&gateway, Method::GET, "/v1/keys", MASTER.1).await.expect(200);
    assert!(!list.text().contains(&key[9..]), "{}", list.text());
    let listed = &list.json()["data"][0];
    assert_eq!((&listed["id"], &listed["label"]), (&json!(id), &json!("My app")));
    assert_eq!(listed["status"], "active");
    assert_eq!(listed["today"]["requests"], 2);

    let revoked = asked(&gateway, Method::DELETE, &format!("/v1/keys/{id}"), MASTER.1).await;
    assert_eq!(revoked.expect(200).json(), json!({"id": id, "object": "api_key", "deleted": true}));
    // One that was taken back and one that never was are told the same.
    let unknown = key.replace(&key[40..], "000000000");
    let texts = [key.as_str(), &unknown, "wrong", "sk-freellm-abcdefgh"].map(async |it| {
        let answer = chat(&gateway, it, &ask("m")).await.expect(401);
        let mut error = answer.error();
        error["request_id"].take();
        error
    });
    let texts = join_all(texts).await;
    assert_eq!(texts[0]["code"], "invalid_api_key");
    assert!(texts.iter().all(|it| *it == texts[0]), "{texts:?}");
    // Once more is no mistake; another one is.
    let path = format!("/v1/keys/{id}");
    asked(&gateway, Method::DELETE, &path, MASTER.1).await.expect(200);
    let nobody = asked(&gateway, Method::DELETE, "/v1/keys/key_0", MASTER.1).await.expect(404);
    assert_eq!(nobody.error()["code"], "key_not_found");
    let listed = asked(&gateway, Method::GET, &path, MASTER.1).await.json();
    assert_eq!(listed["status"], "revoked");
    assert_eq!(gateway.reached("alpha"), 2);
}

#[tokio::test]
async fn wrong_unknown_and_revoked_keys_wait_alike() {
    let gateway = plain().start().await;
    let (key, id) = make(&gateway, json!({})).await;
    asked(&gateway, Method::DELETE, &format!("/v1/keys/{id}"), MASTER.1).await.expect(200);
    // Warmed up to the longest wait, so that all are to wait the same.
    let body = ask("m");
    join_all((0..5).map(|_| chat(&gateway, "wrong", &body))).await;
    let took =
        ["wrong", "sk-relay-0000000000000000000000000000000000000000", &key].map(async |it| {
            let begun = Instant::now();
            chat(&gateway, it, &ask("m")).await.expect(401);
            begun.elapsed()
        });
    for took in join_all(took).await {
        let expected = Duration::from_millis(795)..Duration::from_secs(1);
        assert!(expected.contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_spent_cap_is_told_before_anybody_is_asked() {
    let gateway = plain().start().await;
    let (key, id) = make(&gateway, json!({"daily_requests": 3})).await;
    check(&gateway, &key, &[200, 200, 200]).await;
    let refused = chat(&gateway, &key, &ask("m")).await.expect(429);
    assert_eq!(refused.error()["type"], "rate_limit_error");
    assert_eq!(refused.error()["code"], "virtual_key_cap_reached");
    let seconds: u64 = refused.header("retry-after").parse().expect("a number");
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-relay-provider"), "");
    assert_eq!(gateway.reached("alpha"), 3);
    assert_eq!(today(&gateway, &id).await.0, 3);
    // Another key has its own.
    let (other, _) = make(&gateway, json!({"daily_requests": 1})).await;
    check(&gateway, &other, &[200, 429]).await;
    check(&gateway, MASTER.1, &[200]).await;
}

#[tokio::test]
async fn only_what_is_delivered_counts() {
    let gateway = plain().start().await;
    let alpha = gateway.upstream("alpha");
    let (key, id) = make(&gateway, json!({"daily_requests": 2, "daily_tokens": 100_000})).await;
    for status in [503, 400] {
        let fault = if status == 400 { Fault::Status(400) } else { Fault::Down };
        alpha.set_fault(Some(fault));
        let answer = chat(&gateway, &key, &ask("m")).await;
        assert!(answer.status >= 400, "{answer:?}");
        assert_eq!(today(&gateway, &id).await, (0, 0), "{status}");
        alpha.set_fault(None);
    }
    chat(&gateway, &key, &ask("nothing")).await.expect(404);
    chat(&gateway, &key, &json!({"messages": []})).await.expect(400);
    assert_eq!(today(&gateway, &id).await, (0, 0));
    // The provider's breaker may be open for a moment.
    let answered = async {
        while chat(&gateway, &key, &ask("m")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, answered).await.expect("it is well again");
    assert_eq!(today(&gateway, &id).await.0, 1);
}

#[tokio::test]
async fn streams_count_and_so_does_what_an_abandoned_one_has_delivered() {
    let gateway = plain().start().await;
    let pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(20) };
    let (key, id) = make(&gateway, json!({"daily_requests": 2})).await;
    let headers = [("x-api-key", key.as_str())];
    gateway.open(&ask("m"), &headers).await.finish().await.expect_done();
    let (requests, tokens) = today(&gateway, &id).await;
    assert!(requests == 1 && tokens > 0, "{tokens}");
    gateway.upstream("alpha").set_pace(pace);
    let mut stream = gateway.open(&ask("m"), &headers).await;
    stream.read_some().await;
    drop(stream);
    let counted = async {
        loop {
            let path = format!("/v1/usage?key={id}");
            let usage = asked(&gateway, Method::GET, &path, MASTER.1).await.expect(200).json();
            if usage["total"]["requests"] == 2 {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let usage = tokio::time::timeout(SOON, counted).await.expect("it counts");
    let all = usage["total"]["prompt_tokens"].as_u64().expect("a number")
        + usage["total"]["completion_tokens"].as_u64().expect("a number");
    assert_eq!(today(&gateway, &id).await, (2, all));
    check(&gateway, &key, &[429]).await;
}

#[tokio::test]
async fn a_stream_that_goes_on_elsewhere_is_one_request() {
    let gateway = owned([Upstream::plain("Alpha"), Upstream::plain("Beta")]).start().await;
    for name in ["alpha", "beta"] {
        let answer = "the quick brown fox jumps over the lazy dog and runs away ".repeat(3);
        gateway.upstream(name).set_answer(SimAnswer::Fixed(answer), None);
    }
    gateway.upstream("alpha").script(None, vec![Fault::CutAfterChunks(5)]);
    gateway.upstream("beta").script(None, vec![Fault::CutAfterChunks(5)]);
    let (key, id) = make(&gateway, json!({"daily_requests": 1})).await;
    let body = with(ask("m"), json!({"stream_options": {"include_usage": true}}));
    let stream = gateway.open(&body, &[("x-api-key", &key)]).await.finish().await.expect_done();
    let calls = gateway.reached("alpha") + gateway.reached("beta");
    assert!(calls > 1, "it was cut");
    let told = stream.events.last().expect("an event")["usage"]["total_tokens"].as_u64();
    let (requests, tokens) = today(&gateway, &id).await;
    assert_eq!((requests, Some(tokens)), (1, told));
}

#[tokio::test]
async fn tokens_are_counted_as_they_were_used() {
    let gateway = plain().start().await;
    let alpha = gateway.upstream("alpha");
    alpha.set_answer(SimAnswer::Fixed("word ".repeat(200)), None);
    let one = chat(&gateway, MASTER.1, &ask("m")).await.expect(200).json();
    let one = one["usage"]["total_tokens"].as_u64().expect("a number");
    let cap = one + one / 2;
    let (key, id) = make(&gateway, json!({"daily_tokens": cap})).await;
    // The second is let in for what is left, and overdraws by what it uses beyond.
    check(&gateway, &key, &[200, 200, 429]).await;
    let (requests, tokens) = today(&gateway, &id).await;
    assert_eq!(requests, 2);
    let usage = asked(&gateway, Method::GET, "/v1/usage", &key).await.expect(200).json();
    let total = &usage["total"];
    let spent = |it: &str| total[it].as_u64().expect("a number");
    assert_eq!(spent("prompt_tokens") + spent("completion_tokens"), tokens, "{usage}");
    assert_eq!(tokens, 2 * one);
    // A prompt that no day has room for is no matter of waiting.
    let (small, _) = make(&gateway, json!({"daily_tokens": 100})).await;
    let body = json!({"messages": [{"role": "user", "content": "word ".repeat(1_000)}]});
    let refused = chat(&gateway, &small, &body).await.expect(400);
    assert_eq!(refused.error()["code"], "virtual_key_cap_exceeded");
    assert_eq!(gateway.reached("alpha"), 3);
}

#[tokio::test]
async fn of_a_thousand_at_once_exactly_as_many_as_are_left_pass() {
    let gateway = plain().start().await;
    // So slow that all have come before the first is answered.
    let pace = Pace { first_token: Duration::from_millis(1_500), ..Pace::default() };
    gateway.upstream("alpha").set_pace(pace);
    let (key, id) = make(&gateway, json!({"daily_requests": 100})).await;
    let body = ask("m");
    let answers = join_all((0..1_000).map(|_| chat(&gateway, &key, &body))).await;
    let count = |status| answers.iter().filter(|it| it.status == status).count();
    assert_eq!((count(200), count(429)), (100, 900));
    assert_eq!(gateway.reached("alpha"), 100);
    assert_eq!(today(&gateway, &id).await.0, 100);
}

pub(crate) fn in_data(dir: &Path) -> Setup {
    plain().data_dir(dir)
}

#[tokio::test]
async fn keys_caps_and_counts_survive_and_the_key_itself_is_nowhere() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = in_data(&dir).start().await;
    let draft = json!({"daily_requests": 3, "models": ["auto", "ALPHA/m"], "privacy": "no-training",
        "expires": "2999-01-01"});
    let (key, id) = make(&gateway, draft).await;
    let (gone, gone_id) = make(&gateway, json!({"label": "gone"})).await;
    let alpha = ask("alpha/m");
    for _ in 0..2 {
        chat(&gateway, &key, &with(alpha.clone(), json!({"n": 1}))).await;
    }
    let used = today(&gateway, &id).await;
    asked(&gateway, Method::DELETE, &format!("/v1/keys/{gone_id}"), MASTER.1).await.expect(200);
    let path = format!("/v1/keys/{id}");
    let before = asked(&gateway, Method::GET, &path, MASTER.1).await.expect(200).json();
    gateway.stop().await;

    for file in std::fs::read_dir(&dir).expect("a directory") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        for secret in [&key, &gone] {
            let shown = memchr::memmem::find(&bytes, &secret.as_bytes()[9..]);
            assert!(shown.is_none(), "a key is in the data directory");
        }
    }
    let gateway = in_data(&dir).start().await;
    let after = asked(&gateway, Method::GET, &path, MASTER.1).await.expect(200).json();
    assert_eq!(after, before);
    assert_eq!(today(&gateway, &id).await, used);
    assert_eq!(after["models"], json!(["meta-model", "Alpha/m"]));
    assert_eq!(after["privacy"], "no-training");
    assert_eq!(after["expires_at"], "2999-01-01T00:00:00Z");
    chat(&gateway, &gone, &ask("m")).await.expect(401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_cap_holds_over_restarts() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = in_data(&dir).start().await;
    let (key, _) = make(&gateway, json!({"daily_requests": 3})).await;
    check(&gateway, &key, &[200, 200]).await;
    gateway.stop().await;
    for statuses in [&[200, 429][..], &[429]] {
        let gateway = in_data(&dir).start().await;
        check(&gateway, &key, statuses).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn models_are_allowed_by_name() {
    let upstreams = [Upstream::plain("Alpha").model("n"), Upstream::plain("Beta")];
    let gateway = owned(upstreams).start().await;
    let allow = async |allowed: Value, expected: &[(&str, u16)]| {
        let (key, _) = make(&gateway, json!({"models": allowed})).await;
        for (model, status) in expected {
            let answer = chat(&gateway, &key, &ask(model)).await.expect(*status);
            if *status == 403 {
                assert_eq!(answer.error()["code"], "model_not_allowed", "{model}");
                assert_eq!(answer.error()["param"], "model");
            }
        }
    };
    let (all, none) = (200, 403);
    allow(json!([]), &[("alpha/m", all), ("free-smart", all)]).await;
    allow(json!(["auto"]), &[("meta-model", all), ("free", all), ("free-fast", none), ("m", none)])
        .await;
    allow(
        json!(["ALPHA/m", "free-fast"]),
        &[
            ("alpha/m", all),
            ("Alpha/m", all),
            ("free-fast", all),
            ("alpha/n", none),
            ("beta/m", none),
        ],
    )
    .await;
    allow(json!(["m"]), &[("m", all), ("beta/m", all), ("alpha/n", none), ("x", 404)]).await;
    // A request that names none asks for any.
    let (key, _) = make(&gateway, json!({"models": ["alpha/m"]})).await;
    let any = json!({"messages": [{"role": "user", "content": "Hi"}]});
    chat(&gateway, &key, &any).await.expect(403);
}

#[tokio::test]
async fn what_is_wrong_with_a_draft_is_told_at_once() {
    let gateway = plain().start().await;
    let draft = json!({"label": "", "daily_requests": 0, "daily_tokens": 0, "models": ["alpha/mm"],
        "expires": "2020-01-01", "privacy": "none"});
    let error = post(&gateway, &draft).await.expect(400).error();
    let message = error["message"].as_str().expect("a text");
    for part in
        ["label", "daily_requests", "daily_tokens", "\"alpha/mm\"", "Alpha/m", "past", "privacy"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    for faulty in [
        json!({"label": "a", "colour": "red"}),
        json!({"label": 7}),
        json!({"label": "a", "daily_requests": -1}),
        json!({"label": "a", "daily_tokens": "many"}),
        json!({"label": "a\u{0}"}),
        json!({"label": "a", "expires": "tomorrow"}),
        json!([]),
        json!("x".repeat(300_000)),
    ] {
        let answer = post(&gateway, &faulty).await.expect(400);
        assert_eq!(answer.error()["type"], "invalid_request_error");
    }
    let none = asked(&gateway, Method::GET, "/v1/keys", MASTER.1).await.json();
    assert_eq!(none["data"], json!([]));
}

#[tokio::test]
async fn an_expired_key_says_so() {
    let gateway = plain().start().await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let (key, id) = make(&gateway, json!({"expires": soon.to_string()})).await;
    check(&gateway, &key, &[200]).await;
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    let refused = chat(&gateway, &key, &ask("m")).await.expect(401);
    assert_eq!(refused.error()["code"], "invalid_api_key");
    assert!(refused.text().contains("expired at"), "{}", refused.text());
    let listed = asked(&gateway, Method::GET, &format!("/v1/keys/{id}"), MASTER.1).await.json();
    assert_eq!(listed["status"], "expired");
}

#[tokio::test]
async fn usage_is_told_by_key() {
    let gateway = plain().start().await;
    let (one, id) = make(&gateway, json!({"label": "one"})).await;
    let (two, _) = make(&gateway, json!({"label": "two and more"})).await;
    check(&gateway, &one, &[200, 200]).await;
    check(&gateway, &two, &[200]).await;
    let usage = async |query: &str, key: &str| {
        asked(&gateway, Method::GET, &format!("/v1/usage{query}"), key).await
    };
    let requests = async |query: &str, key: &str| {
        usage(query, key).await.expect(200).json()["total"]["requests"].clone()
    };
    assert_eq!(requests("", MASTER.1).await, 3);
    assert_eq!(requests(&format!("?key={id}"), MASTER.1).await, 2);
    assert_eq!(requests("?key=two%20and%20more", MASTER.1).await, 1);
    assert_eq!(requests("", &one).await, 2);
    assert_eq!(requests("?key=one", &one).await, 2);
    let other = usage("?key=two%20and%20more", &one).await.expect(403);
    assert_eq!(other.error()["code"], "key_not_allowed");
    assert_eq!(usage("?key=three", MASTER.1).await.expect(404).error()["code"], "key_not_found");
    usage("?key=a&key=b", MASTER.1).await.expect(400);
    make(&gateway, json!({"label": "one"})).await;
    let both = usage("?key=one", MASTER.1).await.expect(409);
    assert!(both.text().contains(&id), "{}", both.text());
}

#[tokio::test]
async fn from_the_first_key_on_one_has_to_be_shown() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).start().await;
    gateway.chat_with(&ask("m"), &[("x-api-key", "any")]).await.expect(200);
    // What says that it is a virtual key has to be one.
    let none = format!("sk-relay-{}", "0".repeat(40));
    chat(&gateway, &none, &ask("m")).await.expect(401);
    let request = gateway.request(Method::POST, "/v1/keys", &[], r#"{"label": "first"}"#);
    let made = gateway.send(request).await.expect(201).json();
    let warnings = made["warnings"].to_string();
    assert!(warnings.contains("RELAY_API_KEY") && warnings.contains("keeps nothing"), "{made}");
    let (key, id) = (made["key"].as_str().expect("a key"), made["id"].as_str().expect("an id"));
    gateway.chat(&ask("m")).await.expect(401);
    gateway.chat_with(&ask("m"), &[("x-api-key", "any")]).await.expect(401);
    chat(&gateway, key, &ask("m")).await.expect(200);
    // The owner, who has no key to show, still sees and changes everything from this machine.
    for path in ["/v1/usage", "/v1/status", "/v1/quota", "/v1/models", "/v1/keys", "/metrics"] {
        gateway.get(path).await.expect(200);
        let foreign = gateway.request(Method::GET, path, &[("x-forwarded-for", "127.0.0.1")], "");
        gateway.send(foreign).await.expect(401);
    }
    let path = format!("/v1/keys/{id}");
    gateway.send(gateway.request(Method::DELETE, &path, &[], "")).await.expect(200);
    // With the last one gone it does not open to all.
    chat(&gateway, key, &ask("m")).await.expect(401);
    gateway.chat(&ask("m")).await.expect(401);
}

/// A keys file, and a gateway that reads it.
pub(crate) async fn declaring(root: &Path, keys: &Value) -> Gateway {
    let file = root.join("keys.json");
    std::fs::write(&file, json!({"keys": keys}).to_string()).expect("written");
    let file = file.to_str().expect("a path");
    in_data(&root.join("data")).variable("RELAY_VIRTUAL_KEYS_PATH", file).start().await
}

#[tokio::test]
async fn a_file_declares_keys() {
    let root = TempDir::new().expect("a directory");
    let site = "sk-freellm-portfolio-abc123";
    let keys = |cap: u64| {
        json!([
            {"id": site, "label": "My portfolio site", "dailyRequestCap": cap, "dailyTokenCap": 200_000,
             "allowedModels": ["alpha/m", "m"], "expiresAt": "2999-07-01T00:00:00Z"},
            {"id": "sk-freellm-wide-open-0002", "label": "wide open", "__why": "for tests"}
        ])
    };
    let gateway = declaring(root.path(), &keys(2)).await;
    check(&gateway, site, &[200, 200, 429]).await;
    chat(&gateway, site, &ask("auto")).await.expect(403);
    check(&gateway, "sk-freellm-wide-open-0002", &[200]).await;
    check(&gateway, "sk-freellm-wide-open-0003", &[401]).await;
    let list = asked(&gateway, Method::GET, "/v1/keys", MASTER.1).await.expect(200);
    assert!(!list.text().contains("portfolio-abc"), "{}", list.text());
    let listed = &list.json()["data"][0];
    assert_eq!((&listed["declared"], &listed["today"]["requests"]), (&json!(true), &json!(2)));
    assert_eq!(listed["models"], json!(["Alpha/m", "m"]));
    let id = listed["id"].as_str().expect("an id");
    let refused = asked(&gateway, Method::DELETE, &format!("/v1/keys/{id}"), MASTER.1).await;
    assert_eq!(refused.expect(409).error()["code"], "key_is_declared");
    gateway.stop().await;
    // What it has used is known after a restart, whatever it may use from then on.
    let gateway = declaring(root.path(), &keys(3)).await;
    check(&gateway, site, &[200, 429]).await;
    gateway.stop().await;
    let gateway = declaring(root.path(), &json!([])).await;
    check(&gateway, site, &[401]).await;
    gateway.stop().await;
    let gateway = declaring(root.path(), &keys(3)).await;
    check(&gateway, site, &[429]).await;
    gateway.stop().await;
}
