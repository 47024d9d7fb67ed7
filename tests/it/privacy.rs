//! Who asks that nobody trains on a prompt goes to nobody of whom that is not known, whatever happens.

use std::time::Duration;

use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gateway, SOON, Setup, Upstream, ask, run, stranger, with};

const HEADER: [(&str, &str); 1] = [("x-relay-privacy", "no-training")];

/// A provider with the model `m` and this posture, which may be none.
fn upstream(name: &str, posture: &str) -> Upstream {
    let entry = if posture.is_empty() { json!({}) } else { json!({"privacy": posture}) };
    Upstream::plain(name).entry(entry)
}

/// One of each posture; only `Kept` and `Home` are fit to be told secrets.
fn all() -> Setup {
    Gateway::with([
        upstream("Silent", ""),
        upstream("Trainer", "trains"),
        upstream("Either", "configurable"),
        upstream("Unsure", "unknown"),
        upstream("Kept", "no-training"),
        upstream("Home", "local"),
    ])
}

const UNFIT: [&str; 4] = ["silent", "trainer", "either", "unsure"];

fn nobody_unfit_was_asked(gateway: &Gateway) {
    for name in UNFIT {
        assert_eq!(gateway.reached(name), 0, "{name}");
    }
}

#[tokio::test]
async fn only_fit_providers_are_asked_by_any_name_and_in_any_strategy() {
    for strategy in ["roundrobin", "random", "weighted"] {
        let settings = json!({"routing": {"provider_strategy": strategy}});
        let gateway = all().settings(settings).start().await;
        for at in 0..40 {
            let name = ["auto", "free-fast", "free-smart", "m"][at % 4];
            let header = [["x-relay-privacy", "x-freellm-privacy"][at % 2]];
            let headers = [(header[0], "no-training")];
            let answer = gateway.chat_with(&ask(name), &headers).await.expect(200);
            assert!(["Kept", "Home"].contains(&answer.header("x-relay-provider")));
            gateway.open(&ask(name), &headers).await.finish().await.expect_done();
        }
        nobody_unfit_was_asked(&gateway);
        gateway.chat(&ask("Trainer/m")).await.expect(200);
    }
}

#[tokio::test]
async fn failover_and_continuation_stay_among_the_fit() {
    let gateway = all().start().await;
    for name in ["kept", "home"] {
        gateway.upstream(name).set_fault(Some(Fault::Status(500)));
    }
    let answer = gateway.chat_with(&ask("auto"), &HEADER).await.expect(503);
    assert_eq!(answer.error()["code"], "all_providers_failed");
    let told = answer.error()["providers"].to_string() + &answer.error()["suggestions"].to_string();
    for name in ["Silent", "Trainer", "Either", "Unsure"] {
        assert!(!told.contains(name), "{told}");
    }
    nobody_unfit_was_asked(&gateway);

    let gateway = all().start().await;
    gateway.upstream("kept").set_fault(Some(Fault::CutAfterChunks(3)));
    gateway.upstream("home").set_fault(Some(Fault::CutAfterChunks(3)));
    let stream = gateway.open(&ask("auto"), &HEADER).await.finish().await;
    assert_eq!(stream.error()["code"], "stream_interrupted");
    nobody_unfit_was_asked(&gateway);
}

#[tokio::test]
async fn a_session_that_lives_elsewhere_does_not_take_it_along() {
    let gateway = Gateway::with([upstream("Trainer", "trains"), upstream("Kept", "no-training")])
        .start()
        .await;
    let session = ("x-session-id", "s");
    gateway.upstream("kept").set_fault(Some(Fault::Status(500)));
    gateway.chat_with(&ask("auto"), &[session]).await.expect(200);
    let before = gateway.reached("trainer");
    gateway.upstream("kept").mend();
    let answer = gateway.chat_with(&ask("auto"), &[session, HEADER[0]]).await.expect(200);
    assert_eq!(answer.header("x-relay-provider"), "Kept");
    assert_eq!(gateway.reached("trainer"), before);
}

#[tokio::test]
async fn where_nothing_fits_nobody_is_asked() {
    let gateway = Gateway::with(UNFIT.map(|name| upstream(name, ""))).start().await;
    for name in ["auto", "m", "trainer/m"] {
        let answer = gateway.chat_with(&ask(name), &HEADER).await.expect(400);
        assert_eq!(answer.error()["code"], "model_not_supported", "{name}");
        assert_eq!(answer.error()["param"], "X-Relay-Privacy");
    }
    nobody_unfit_was_asked(&gateway);
}

#[tokio::test]
async fn a_misspelt_wish_is_refused_and_not_passed_over() {
    let gateway = all().start().await;
    for headers in [
        [("x-relay-privacy", "no-trainig")],
        [("x-relay-privacy", "true")],
        [("x-freellm-privacy", "any")],
        [("x-relay-strict", "yes")],
        [("x-freellm-strict", "1")],
        [("x-relay-trace", "on")],
        // A template whose variable was not set.
        [("x-relay-privacy", "")],
        [("x-freellm-privacy", "")],
        [("x-relay-strict", "")],
    ] {
        let answer = gateway.chat_with(&ask("auto"), &headers).await.expect(400);
        let param = answer.error()["param"].as_str().expect("a header").to_owned();
        assert!(param.starts_with("X-") && param.eq_ignore_ascii_case(headers[0].0), "{param}");
        assert_eq!(answer.error()["type"], "invalid_request_error");
    }
    nobody_unfit_was_asked(&gateway);
}

#[tokio::test]
async fn the_server_and_a_model_can_ask_for_it_too() {
    let settings = json!({"routing": {"privacy": "no-training"}});
    let gateway = all().settings(settings).start().await;
    for _ in 0..12 {
        gateway.chat(&ask("auto")).await.expect(200);
    }
    nobody_unfit_was_asked(&gateway);
    gateway.chat(&ask("Trainer/m")).await.expect(400);

    // What a model says of itself counts before what its provider says.
    let mixed = Upstream::new("Mixed", Flavour::OpenAi)
        .model("plain")
        .model_with("kept", json!({"privacy": "no-training"}))
        .entry(json!({"privacy": "trains"}));
    let gateway = Gateway::with([mixed]).start().await;
    for _ in 0..4 {
        let answer = gateway.chat_with(&ask("auto"), &HEADER).await.expect(200);
        assert_eq!(answer.header("x-relay-model"), "kept");
    }
}

#[tokio::test]
async fn the_status_says_where_a_posture_is_known_from() {
    let entry = json!({
        "privacy": "no-training", "privacy_source": "its terms, section 4", "last_verified": "2026-11-01"
    });
    let gateway = Gateway::with([Upstream::plain("Kept").entry(entry)]).start().await;
    let status = gateway.get("/v1/status").await.expect(200).json();
    let target = &status["providers"][0]["targets"][0];
    assert_eq!(target["privacy"], "no-training");
    assert_eq!(target["privacy_source"], "its terms, section 4");
    assert_eq!(target["last_verified"], "2026-11-01");
}

#[test]
fn old_entries_are_named_when_the_program_starts() {
    let dir = TempDir::new().expect("a directory");
    let model = json!({"name": "m", "type": "text", "scale": "small"});
    let entry = |name: &str, date: Value| {
        let usual = json!({"name": name, "url": "http://127.0.0.1:9/v1", "api_key_env": "",
            "models": [model]});
        with(usual, json!({"last_verified": date}))
    };
    let limits = json!({"providers": [entry("Old", json!("2020-02-03")), entry("New", json!("2999-01-01"))]});
    std::fs::write(dir.path().join("limits.json"), limits.to_string()).expect("a file");
    let (_, text) =
        run(dir.path(), &["check", "--limits", "limits.json"], &[("REQUEST_TIMEOUT_SECONDS", "1")]);
    let line = text.lines().find(|it| it.contains("not verified for 90 days"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("Old (1 entry, the oldest of 2020-02-03)"), "{line}");
    assert!(!line.contains("New"), "{line}");
}

#[tokio::test]
async fn a_model_that_a_local_server_passes_on_is_not_local() {
    let list = json!({"models": [
        {"name": "llama3:8b"},
        {"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443"}
    ]});
    let list = list.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        list.len()
    );
    let url = stranger((head + &list).into_bytes(), false).await;
    let variables = vec![("OLLAMA_BASE_URL".to_owned(), url)];
    let gateway = Gateway::without_files(vec![], |_| variables).await;
    let found = async {
        while gateway.get("/v1/models/Ollama/llama3:8b").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, found).await.expect("it is found");
    let status = gateway.get("/v1/status").await.expect(200).json();
    let targets = status["providers"][0]["targets"].as_array().expect("a list");
    let postures: Vec<_> = targets.iter().map(|it| (&it["model"], &it["privacy"])).collect();
    assert_eq!(postures.len(), 2, "{status}");
    for (model, posture) in postures {
        let cloud = model.as_str().is_some_and(|it| it.contains("cloud"));
        assert_eq!(posture, if cloud { "unknown" } else { "local" }, "{model}");
    }
    let asked = ask("Ollama/gpt-oss:120b-cloud");
    let answer = gateway.chat_with(&asked, &HEADER).await.expect(400);
    assert_eq!(answer.error()["code"], "model_not_supported");
}
