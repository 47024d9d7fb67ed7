//! Names and ids that nobody would think of: an error that speaks OpenAI, and nothing is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::Flavour;
use serde_json::{Value, json};

use crate::support::{Gateway, SOON, Upstream, ask, stranger, with};

/// Providers whose models have odd names themselves.
async fn odd_pool() -> Gateway {
    let alpha = Upstream::new("Alpha", Flavour::OpenAi)
        .model("org/team/deep/model")
        .model("@cf/meta/llama:free")
        .model("Alpha/own-name")
        .model("Beta/m")
        .model("with space & 100% + ?x=1#y");
    let beta = Upstream::plain("Beta").model("MiXeD-Case");
    Gateway::with([alpha, beta]).start().await
}

#[tokio::test]
async fn odd_names_lead_where_they_say() {
    let gateway = odd_pool().await;
    for (name, expected) in [
        ("Alpha/org/team/deep/model", "Alpha/org/team/deep/model"),
        ("ALPHA/org/team/deep/model", "Alpha/org/team/deep/model"),
        ("org/team/deep/model", "Alpha/org/team/deep/model"),
        ("alpha/@cf/meta/llama:free", "Alpha/@cf/meta/llama:free"),
        ("@cf/meta/llama:free", "Alpha/@cf/meta/llama:free"),
        ("alpha/Alpha/own-name", "Alpha/Alpha/own-name"),
        ("alpha/Beta/m", "Alpha/Beta/m"),
        ("alpha/with space & 100% + ?x=1#y", "Alpha/with space & 100% + ?x=1#y"),
        ("with space & 100% + ?x=1#y", "Alpha/with space & 100% + ?x=1#y"),
        ("beta/MiXeD-Case", "Beta/MiXeD-Case"),
    ] {
        for stream in [false, true] {
            let told = if stream {
                gateway.stream(&ask(name)).await.expect_done().events[0]["model"].clone()
            } else {
                gateway.chat(&ask(name)).await.expect(200).json()["model"].clone()
            };
            assert_eq!(told, expected, "{name}");
        }
    }
    let asked = gateway.upstream("alpha").records().into_iter().map(|it| it.model);
    let expected = [
        "@cf/meta/llama:free",
        "Alpha/own-name",
        "Beta/m",
        "org/team/deep/model",
        "with space & 100% + ?x=1#y",
    ];
    assert_eq!(asked.collect::<BTreeSet<_>>(), expected.map(str::to_owned).into());
}

/// Each byte that stands for more than itself in a URL, escaped.
fn escaped(id: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    let written = |it| if plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") };
    id.bytes().map(written).collect()
}

#[tokio::test]
async fn every_model_on_the_list_is_found_by_its_id() {
    let gateway = odd_pool().await;
    let list = gateway.get("/v1/models").await.expect(200).json();
    let entries = list["data"].as_array().expect("a list");
    assert!(entries.len() >= 7, "{list}");
    for entry in entries {
        let id = entry["id"].as_str().expect("an id");
        assert_eq!(gateway.model(&escaped(id)).await, *entry, "{id}");
    }
}

#[tokio::test]
async fn names_of_nothing_are_404_everywhere() {
    let gateway = odd_pool().await;
    let names = [
        "/",
        "//",
        "///",
        "alpha",
        "alpha/",
        "/alpha",
        "alpha//",
        "/org/team/deep/model",
        "alpha//org/team/deep/model",
        "org/team/deep/model/",
        "org//team/deep/model",
        "org/team",
        "alpha/org",
        "deep/model",
        "alpha/../beta/m",
        "../../etc/passwd",
        "alpha/./m",
        "beta/M",
        "beta\\m",
        "beta /m",
        " beta/m",
        "beta/m ",
        "beta/mixed-case",
        "BETA/MIXED-CASE",
        "beta/m\u{0}",
        "\u{0}",
        "\u{feff}beta/m",
        "beta/\u{ff4d}",
        "\u{3b2}eta/m",
        "be\u{301}ta/m",
        "\u{202e}m/ateb",
        "\u{1f916}/\u{1f916}",
        "alpha/\u{130}",
        "%62eta/m",
        "beta%2Fm",
        "beta/*",
        "*",
        ".*",
        "'; DROP TABLE usage; --",
        "{{7*7}}",
        "<script>alert(1)</script>",
        "null",
        "undefined",
        "NaN",
        "meta-model/",
        "/meta-model",
        "Meta-Model ",
        "a\r\nx-relay-provider: x",
    ];
    for name in names {
        for stream in [false, true] {
            let answer = gateway.chat(&with(ask(name), json!({"stream": stream}))).await;
            let error = answer.expect(404).error();
            assert_eq!(error["code"], "model_not_found", "{name:?}: {error}");
            assert!(error["message"].is_string(), "{name:?}: {error}");
        }
        let answer = gateway.get(&format!("/v1/models/{}", escaped(name))).await.expect(404);
        assert!(answer.error()["message"].is_string(), "{name:?}");
    }
    assert_eq!(gateway.reached("alpha") + gateway.reached("beta"), 0);
    for (kind, name) in [("number", json!(7)), ("list", json!(["m"])), ("object", json!({"m": 1}))]
    {
        let answer = gateway.chat(&with(ask("m"), json!({"model": name}))).await.expect(400);
        assert_eq!(answer.error()["param"], "model", "{kind}");
    }
    gateway.chat(&ask("beta/m")).await.expect(200);
}

#[tokio::test]
async fn filters_of_rubbish_match_nothing_and_say_so() {
    let gateway = odd_pool().await;
    let long = "x".repeat(50_000);
    for rubbish in ["\u{0}", "\u{1f916}", "text ", " ", "*", "%", "te\u{301}xt", long.as_str()] {
        for param in ["model_type", "model_scale", "model_name"] {
            // A blank and a percent sign stand in a name.
            if param == "model_name" && ["%", " "].contains(&rubbish) {
                continue;
            }
            let answer = gateway.chat(&with(ask("auto"), json!({param: rubbish}))).await;
            let answer = answer.expect(400);
            assert_eq!(answer.error()["param"], param, "{}", answer.text());
            assert!(answer.body.len() < 2_000, "{}", answer.body.len());
        }
        let short: String = rubbish.chars().take(100).collect();
        let list = gateway.get(&format!("/v1/models?type={}", escaped(&short))).await.expect(200);
        assert_eq!(list.json()["data"], json!([]), "{rubbish:?}");
    }
    for (param, wrong) in
        [("model_type", json!(7)), ("model_scale", json!([])), ("model_name", json!({}))]
    {
        let error =
            gateway.chat(&with(ask("auto"), json!({param: wrong}))).await.expect(400).error();
        assert_eq!(error["param"], param, "{error}");
    }
    for query in ["?type=a&type=b", "?scale=%ff", "?type=%zz&&&=", "?=", "?type", "?a=1&type="] {
        let answer = gateway.get(&format!("/v1/models{query}")).await;
        assert!([200, 400].contains(&answer.status), "{query}: {answer:?}");
        assert!(answer.json().is_object(), "{query}");
    }
}

#[tokio::test]
async fn sessions_of_rubbish_are_sessions_or_refused() {
    let upstreams = ["A", "B", "C"].map(|it| Upstream::plain(it).model("n"));
    let gateway = Gateway::with(upstreams).start().await;
    let longest = "s".repeat(256);
    for id in [
        "0",
        "-1",
        "null",
        "{\"a\":1}",
        "a,b",
        "a;b=c",
        "../../x",
        "'; DROP TABLE sessions; --",
        "a  b",
        "%00%ff",
        "<b>",
        "\"",
        "\\",
        "=?utf-8?q?x?=",
        longest.as_str(),
    ] {
        let mut homes = BTreeSet::new();
        for turn in 0..3 {
            let answer = gateway.chat_with(&ask("auto"), &[("x-session-id", id)]).await.expect(200);
            let reason = if turn == 0 { "meta" } else { "affinity" };
            assert_eq!(answer.header("x-relay-route-reason"), reason, "{id}");
            homes.insert(answer.json()["model"].to_string());
        }
        assert_eq!(homes.len(), 1, "{id}: {homes:?}");
    }
    // Nothing is no session.
    for headers in [&[("x-session-id", "")][..], &[("x-session-id", "  ")]] {
        for _ in 0..2 {
            let answer = gateway.chat_with(&ask("auto"), headers).await.expect(200);
            assert_eq!(answer.header("x-relay-route-reason"), "meta", "{headers:?}");
        }
    }
    let too_long = "s".repeat(257);
    let answer = gateway.chat_with(&ask("auto"), &[("x-session-id", &too_long)]).await;
    assert_eq!(answer.expect(400).error()["param"], "x-session-id");
    // Of two the first counts.
    let one = gateway.chat_with(&ask("auto"), &[("x-session-id", "one")]).await.expect(200);
    let both = [("x-session-id", "one"), ("x-session-id", "two")];
    let both = gateway.chat_with(&ask("auto"), &both).await.expect(200);
    assert_eq!(both.header("x-relay-route-reason"), "affinity");
    assert_eq!(both.json()["model"], one.json()["model"]);
}

#[tokio::test]
async fn a_flood_of_sessions_is_forgotten_again() {
    let settings = json!({"session": {"max_sessions": 50}});
    let upstreams = ["A", "B"].map(Upstream::plain);
    let gateway = Gateway::with(upstreams).settings(settings).start().await;
    let gateway = &gateway;
    let flood = (0..300).map(|it| async move {
        let id = format!("flood-{it}");
        gateway.chat_with(&ask("auto"), &[("x-session-id", &id)]).await.expect(200);
    });
    join_all(flood).await;
    let mut known = 0;
    for it in 0..300 {
        let id = format!("flood-{it}");
        let answer = gateway.chat_with(&ask("auto"), &[("x-session-id", &id)]).await.expect(200);
        known += usize::from(answer.header("x-relay-route-reason") == "affinity");
    }
    assert!(known <= 50, "{known} sessions are known");
}

fn whole(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// A gateway whose local server is at `url`, beside one that is well.
async fn beside(url: &str) -> Gateway {
    let groq = Upstream::plain("Groq");
    let setup = Gateway::with([groq, Upstream::new("Ollama", Flavour::Ollama).model("mine")]);
    let settings = json!({"routing": {"max_retries": 0}});
    setup.url("ollama", url).settings(settings).start().await
}

/// The ids of the local server's models.
async fn local(gateway: &Gateway) -> Vec<String> {
    let list = gateway.get("/v1/models").await.expect(200).json();
    let entries = list["data"].as_array().expect("a list").iter();
    let mine = entries.filter(|it| it["owned_by"] == "Ollama");
    mine.map(|it| it["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_local_server_that_is_none_adds_nothing() {
    let page = "<html><body>It works!</body></html>";
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    for (answer, endless) in [
        (whole("200 OK", "text/html", page), false),
        (whole("404 Not Found", "text/html", page), false),
        (whole("500 Oops", "application/json", "{}"), false),
        (whole("200 OK", "application/json", "{}"), false),
        (whole("200 OK", "application/json", "[]"), false),
        (whole("200 OK", "application/json", r#"{"models":7}"#), false),
        (whole("200 OK", "application/json", r#"{"models":[{"name":7}]}"#), false),
        (whole("200 OK", "application/json", r#"{"models":[{"#), false),
        (redirect.to_vec(), false),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), false),
        (Vec::new(), false),
        // Headers without end.
        (b"HTTP/1.1 200 OK\r\nx: y\r\n".to_vec(), false),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(60_000)).into_bytes(), true),
    ] {
        let gateway = beside(&stranger(answer.clone(), endless).await).await;
        gateway.chat(&ask("groq/m")).await.expect(200);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
        assert_eq!(local(&gateway).await, ["Ollama/mine"], "{shown}");
        gateway.chat(&ask("ollama/unheard-of")).await.expect(404);
    }
}

#[tokio::test]
async fn a_local_servers_odd_models_break_nothing() {
    let names = [
        "mine",
        "fine:1b",
        "a\"b",
        "a\\b",
        "caf\u{e9}:1b",
        "\u{1f916}",
        "a\nb",
        "a\r\nx-evil: 1",
        "\u{0}",
        "org/deep/name:7b",
    ];
    let models: Vec<Value> = names.iter().map(|it| json!({"name": it, "model": it})).collect();
    let list = json!({"models": models}).to_string();
    let gateway = beside(&stranger(whole("200 OK", "application/json", &list), false).await).await;
    let looking = async {
        while !local(&gateway).await.contains(&"Ollama/org/deep/name:7b".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("they are found");
    let found = local(&gateway).await;
    for name in ["mine", "fine:1b", "a\"b", "a\\b", "org/deep/name:7b"] {
        assert_eq!(found.iter().filter(|it| it["Ollama/".len()..] == *name).count(), 1, "{name}");
    }
    for id in &found {
        // Whatever is on the list can be asked; this server only ever answers with its list.
        let answer = gateway.chat(&ask(id)).await;
        assert_eq!(answer.status, 503, "{id:?}: {answer:?}");
        assert_eq!(answer.header("x-relay-provider"), "Ollama", "{id:?}");
        assert!(answer.headers.get("x-evil").is_none(), "{id:?}");
        gateway.get(&format!("/v1/models/{}", escaped(id))).await.expect(200);
    }
    let metrics = gateway.get("/metrics").await.expect(200);
    let sound = |it: &str| it.starts_with("relay_") || it.starts_with("# ");
    assert!(metrics.text().split('\n').all(|it| it.is_empty() || sound(it)), "{}", metrics.text());
    gateway.chat(&ask("groq/m")).await.expect(200);
}
