//! Limits for each user of an app that calls with one key for all.

use http::Method;
use serde_json::json;

use crate::support::{Answer, Gateway, Setup, Upstream, ask};

fn limited(limit: &str) -> Setup {
    Gateway::with([Upstream::plain("Alpha")]).variable("RELAY_IDENTIFIER_LIMIT", limit)
}

async fn named(gateway: &Gateway, name: &str) -> Answer {
    gateway.chat_with(&ask("m"), &[("x-relay-identifier", name)]).await
}

fn told(answer: &Answer) -> (&str, &str) {
    (answer.header("x-relay-identifier"), answer.header("x-relay-identifier-remaining"))
}

#[tokio::test]
async fn each_user_has_a_limit_of_their_own() {
    let gateway = limited("2/60000").start().await;
    for left in ["1", "0"] {
        let answer = named(&gateway, "user-1").await.expect(200);
        assert_eq!(told(&answer), ("user-1", left));
        let reset: u64 = answer.header("x-relay-identifier-reset").parse().expect("a number");
        assert!((1..=60_000).contains(&reset), "{reset}");
    }
    let refused = named(&gateway, "user-1").await.expect(429);
    assert_eq!(told(&refused), ("user-1", "0"));
    assert_eq!(refused.error()["code"], "identifier_rate_limited");
    let seconds: u64 = refused.header("retry-after").parse().expect("a number");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(gateway.reached("alpha"), 2);
    assert_eq!(told(&named(&gateway, "user-2").await.expect(200)), ("user-2", "1"));
    // The other name of the header, and a stream.
    let other = gateway.chat_with(&ask("m"), &[("x-freellm-identifier", "user-2")]).await;
    assert_eq!(told(&other.expect(200)), ("user-2", "0"));
    let stream = gateway.open(&ask("m"), &[("x-relay-identifier", "user-3")]).await.finish().await;
    assert_eq!(stream.header("x-relay-identifier"), "user-3");
    assert_eq!(stream.header("x-relay-identifier-remaining"), "1");
    // An error of the request's own tells it too.
    let headers = [("x-relay-identifier", "user-3")];
    let answer = gateway.chat_with(&ask("nothing"), &headers).await.expect(404);
    assert_eq!(told(&answer), ("user-3", "0"));
}

#[tokio::test]
async fn a_window_gives_back_what_it_took() {
    let gateway = limited("1/400").start().await;
    named(&gateway, "u").await.expect(200);
    named(&gateway, "u").await.expect(429);
    tokio::time::sleep(std::time::Duration::from_millis(450)).await;
    named(&gateway, "u").await.expect(200);
}

#[tokio::test]
async fn who_is_not_named_is_an_address() {
    let gateway = limited("3/60000").start().await;
    for name in ["undefined", "null"] {
        let answer = named(&gateway, name).await.expect(200);
        assert_eq!(told(&answer).0, "ip:127.0.0.1");
    }
    // Only these two words say that nobody is named.
    for name in ["Undefined", "NULL"] {
        assert_eq!(told(&named(&gateway, name).await.expect(200)), (name, "2"));
    }
    gateway.chat(&ask("m")).await.expect(200);
    let answer = gateway.chat(&ask("m")).await.expect(429);
    assert_eq!(told(&answer), ("ip:127.0.0.1", "0"));
    // Nobody takes what is an address's by its name.
    assert_eq!(told(&named(&gateway, "ip:127.0.0.1").await.expect(200)), ("ip:127.0.0.1", "2"));
}

#[tokio::test]
async fn tainted_names_are_refused() {
    let gateway = limited("100/60000").start().await;
    let long = "a".repeat(129);
    for name in ["has spaces", "a/b", "a;b", "a\tb", "<b>", "%00", "é", "", &long] {
        let answer = named(&gateway, name).await.expect(400);
        assert_eq!(answer.error()["code"], "invalid_identifier", "{name}");
        assert_eq!(answer.error()["param"], "x-relay-identifier");
        assert_eq!(told(&answer), ("", ""));
    }
    named(&gateway, &"a".repeat(128)).await.expect(200);
    assert_eq!(gateway.reached("alpha"), 1);
    // Where users are not told apart nobody looks at their names.
    let gateway = Gateway::plain().await;
    let answer = named(&gateway, "has spaces").await.expect(200);
    assert_eq!(told(&answer), ("", ""));
}

#[tokio::test]
async fn only_so_many_users_are_remembered() {
    let gateway = limited("1/60000").variable("RELAY_IDENTIFIER_MAX_BUCKETS", "2").start().await;
    for (name, status) in
        [("a", 200), ("b", 200), ("a", 429), ("c", 200), ("a", 429), ("b", 200), ("c", 200)]
    {
        named(&gateway, name).await.expect(status);
    }
}

#[tokio::test]
async fn users_of_two_keys_are_not_the_same() {
    let gateway = limited("1/60000").start().await;
    let mut keys = Vec::new();
    for label in ["one", "two"] {
        let draft = json!({"label": label}).to_string();
        let made = gateway.send(gateway.request(Method::POST, "/v1/keys", &[], draft)).await;
        keys.push(made.expect(201).json()["key"].as_str().expect("a key").to_owned());
    }
    for status in [200, 429] {
        for key in &keys {
            let headers = [("x-api-key", key.as_str()), ("x-relay-identifier", "1")];
            gateway.chat_with(&ask("m"), &headers).await.expect(status);
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_address_it_is() {
    let trusting = json!({"http": {"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]}});
    let gateway = limited("9/60000").settings(trusting).start().await;
    let shown = async |gateway: &Gateway, forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        let answer = gateway.chat_with(&ask("m"), &headers).await.expect(200);
        told(&answer).0.to_owned()
    };
    for (forwarded, expected) in [
        ("203.0.113.7", "ip:203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "ip:203.0.113.7"),
        ("203.0.113.8, 10.1.2.3", "ip:203.0.113.8"),
        ("nonsense", "ip:127.0.0.1"),
        ("2001:db8::7", "ip:2001:db8::7"),
    ] {
        assert_eq!(shown(&gateway, forwarded).await, expected, "{forwarded}");
    }
    let gateway = limited("9/60000").start().await;
    assert_eq!(shown(&gateway, "203.0.113.7").await, "ip:127.0.0.1");
}
