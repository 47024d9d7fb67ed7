//! A gateway that runs is looked into, told another order, freed of its caution, and given another
//! configuration, while it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use relayfreellm::sim::{Fault, Pace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Gateway, Program, Setup, Upstream, ask, call};

/// Sends `body` to `path`.
async fn tell(gateway: &Gateway, method: Method, path: &str, body: &str) -> Answer {
    gateway.send(gateway.request(method, path, &[], body.to_owned())).await
}

async fn reload(gateway: &Gateway) -> Answer {
    tell(gateway, Method::POST, "/v1/admin/reload", "").await
}

async fn order(gateway: &Gateway, wish: Value) -> Answer {
    tell(gateway, Method::PATCH, "/v1/status/routing", &wish.to_string()).await
}

async fn status(gateway: &Gateway) -> Value {
    gateway.get("/v1/status").await.expect(200).json()
}

fn two() -> Setup {
    Gateway::with([Upstream::plain("Alpha").key("sk-alpha-0123456789"), Upstream::plain("Beta")])
}

#[tokio::test]
async fn the_status_tells_times_and_faults_and_no_key() {
    let gateway = two().start().await;
    let pace = Pace { first_token: Duration::from_millis(60), per_chunk: Duration::ZERO };
    gateway.upstream("alpha").set_pace(pace);
    for _ in 0..5 {
        gateway.chat(&ask("Alpha/m")).await.expect(200);
    }
    gateway.stream(&ask("Alpha/m")).await.expect_done();
    gateway.upstream("alpha").script(None, vec![Fault::Status(500), Fault::Garbage]);
    gateway.chat(&ask("Alpha/m")).await.expect(200);
    let answer = gateway.get("/v1/status").await.expect(200);
    assert!(!answer.text().contains("sk-alpha"), "{}", answer.text());
    let status = answer.json();
    let alpha = &status["providers"][0];
    for figures in [&alpha["recent"], &alpha["models"][0]] {
        for time in ["latency_ms", "first_token_ms"] {
            let (p50, p95) = (&figures[time]["p50"], &figures[time]["p95"]);
            assert!((60..5_000).contains(&p50.as_u64().expect("a time")), "{figures}");
            assert!(p95.as_u64() >= p50.as_u64(), "{figures}");
        }
        assert_eq!(figures["errors"], json!({"server_error": 1, "unreadable": 1}));
    }
    assert_eq!(alpha["keys"][0]["key"], "…6789");
    assert_eq!(alpha["circuit"]["state"], "closed");
    let beta = &status["providers"][1];
    assert_eq!(beta["recent"]["latency_ms"], json!({"p50": null, "p95": null}));
    assert_eq!(beta["models"], json!([]));
    assert_eq!(status["routing"]["strategy"], "roundrobin");
}

#[tokio::test]
async fn a_reset_closes_breakers_and_forgets_what_was_said_of_quota() {
    let alpha = Upstream::plain("Alpha").limits(json!({"requests_per_day": 100}));
    let settings = json!({"routing": {"max_quota_wait_seconds": 0}});
    let gateway = Gateway::with([alpha]).settings(settings).start().await;
    let spent = Fault::RawResponse {
        status: 429,
        headers: vec![("retry-after".to_owned(), "3000".to_owned())],
        body: r#"{"error":{"message":"Rate limit reached: requests per day (RPD)"}}"#.into(),
    };
    gateway.upstream("alpha").script(None, vec![spent]);
    gateway.chat(&ask("Alpha/m")).await.expect(429);
    gateway.chat(&ask("Alpha/m")).await.expect(429);
    assert_eq!(gateway.reached("alpha"), 1, "it rests");
    // Its name is taken in any case.
    let path = "/v1/status/providers/ALPHA/reset";
    let answer = tell(&gateway, Method::POST, path, "").await.expect(200).json();
    assert_eq!(answer, json!({"provider": "Alpha", "reset": true, "breakers_closed": 1}));
    gateway.chat(&ask("Alpha/m")).await.expect(200);
    let windows = status(&gateway).await["providers"][0]["targets"][0]["windows"].clone();
    assert_eq!(windows[0]["configured"], 100, "{windows}");
    assert!(windows[0]["used"].as_u64() >= Some(1), "counts stay: {windows}");
    let path = "/v1/status/providers/nobody/reset";
    let answer = tell(&gateway, Method::POST, path, "").await.expect(404);
    assert_eq!(answer.error()["code"], "provider_not_found");
}

#[tokio::test]
async fn the_order_changes_at_once() {
    let gateway = two().start().await;
    let names = [
        ("random", "random"),
        ("round_robin", "roundrobin"),
        ("weight", "weighted"),
        ("weighted", "weighted"),
        ("roundrobin", "roundrobin"),
    ];
    for (wish, name) in names {
        let answer = order(&gateway, json!({"strategy": wish})).await.expect(200).json();
        assert_eq!(answer["strategy"], name);
        assert_eq!(answer["persisted"], false);
        let routing = status(&gateway).await["routing"].clone();
        assert_eq!(
            routing,
            json!({"strategy": name, "provider_strategy": name, "model_strategy": name})
        );
    }
    order(&gateway, json!({"model_strategy": "random"})).await.expect(200);
    let routing = status(&gateway).await["routing"].clone();
    assert_eq!(routing["provider_strategy"], "roundrobin");
    assert_eq!(routing["model_strategy"], "random");
}

#[tokio::test]
async fn a_faulty_order_changes_nothing() {
    let gateway = two().start().await;
    for wish in [
        json!({}),
        json!({"strategy": "best"}),
        json!({"strategy": 1}),
        json!({"strategy": "random", "when": "now"}),
        json!({"provider_strategy": "random", "model_strategy": "best"}),
        json!({"strategy": "random", "persist": "yes"}),
        // There is nowhere to keep it.
        json!({"strategy": "random", "persist": true}),
        json!([]),
        json!("x".repeat(10_000)),
    ] {
        let answer = order(&gateway, wish.clone()).await.expect(400);
        assert_eq!(answer.error()["type"], "invalid_request_error", "{wish}");
    }
    assert_eq!(status(&gateway).await["routing"]["strategy"], "roundrobin");
}

#[tokio::test]
async fn an_order_that_is_kept_outlives_a_restart_and_a_reload() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = two().data_dir(&dir).start().await;
    let answer = order(&gateway, json!({"strategy": "weighted", "persist": true})).await;
    assert_eq!(answer.expect(200).json()["persisted"], true);
    gateway.stop().await;
    let gateway = two().data_dir(&dir).start().await;
    assert_eq!(status(&gateway).await["routing"]["strategy"], "weighted");
    gateway
        .rewrite("settings.json", |it| *it = json!({"routing": {"provider_strategy": "random"}}));
    reload(&gateway).await.expect(200);
    assert_eq!(status(&gateway).await["routing"]["strategy"], "weighted");
}

#[tokio::test]
async fn what_changes_state_is_not_for_everybody() {
    let setup = two()
        .variable("RELAY_API_KEY", "the-master-key")
        .variable("RELAY_ADMIN_KEY", "the-admin-key");
    let gateway = setup.start().await;
    let master = ("authorization", "Bearer the-master-key");
    let admin = ("authorization", "Bearer the-admin-key");
    for (method, path) in [
        (Method::POST, "/v1/admin/reload"),
        (Method::POST, "/v1/status/providers/alpha/reset"),
        (Method::PATCH, "/v1/status/routing"),
    ] {
        let body = r#"{"strategy":"random"}"#;
        let send = |headers: &[(&str, &str)]| {
            gateway.send(gateway.request(method.clone(), path, headers, body))
        };
        send(&[]).await.expect(401);
        send(&[master]).await.expect(403);
        send(&[admin]).await.expect(200);
    }
    for path in ["/v1/status", "/v1/requests/x"] {
        let get = |headers: &[(&str, &str)]| {
            gateway.send(gateway.request(Method::GET, path, headers, ""))
        };
        get(&[]).await.expect(401);
        assert_ne!(get(&[master]).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_reload_brings_and_takes_providers_and_keeps_every_count() {
    let alpha = Upstream::plain("Alpha").limits(json!({"requests_per_day": 50}));
    let gateway = Gateway::with([alpha, Upstream::plain("Beta")]).start().await;
    for _ in 0..3 {
        gateway.chat(&ask("Alpha/m")).await.expect(200);
    }
    gateway
        .upstream("beta")
        .script(None, vec![Fault::RateLimited { retry_after: Some(Duration::from_secs(500)) }]);
    gateway.chat_with(&ask("Beta/m"), &[("x-relay-strict", "true")]).await.expect(429);
    let resting =
        status(&gateway).await["providers"][1]["targets"][0]["cooldown_remaining_sec"].clone();
    assert!(resting.as_u64() > Some(400), "{resting}");

    let mut beta = Value::Null;
    gateway.rewrite("limits.json", |it| {
        let providers = it["providers"].as_array_mut().expect("a list");
        beta = providers.pop().expect("two");
        providers[0]["models"][0]["limits"]["requests_per_day"] = json!(5);
    });
    let answer = reload(&gateway).await.expect(200).json();
    assert_eq!(answer["providers_removed"], json!(["Beta"]));
    assert_eq!(answer["providers_changed"], json!(["Alpha"]));
    assert_eq!(answer["providers_added"], json!([]));
    gateway.chat(&ask("Beta/m")).await.expect(404);
    gateway.chat(&ask("Alpha/m")).await.expect(200);
    let window = status(&gateway).await["providers"][0]["targets"][0]["windows"][0].clone();
    assert_eq!((&window["used"], &window["configured"]), (&json!(4), &json!(5)));
    gateway.chat(&ask("Alpha/m")).await.expect(200);
    gateway.chat(&ask("Alpha/m")).await.expect(429);

    gateway.rewrite("limits.json", |it| {
        it["providers"].as_array_mut().expect("a list").push(beta);
    });
    let answer = reload(&gateway).await.expect(200).json();
    assert_eq!(answer["providers_added"], json!(["Beta"]));
    let target = status(&gateway).await["providers"][1]["targets"][0].clone();
    assert!(target["cooldown_remaining_sec"].as_u64() > Some(400), "it still rests: {target}");
    assert_eq!(gateway.usage().await["total"]["requests"], 5);
}

#[tokio::test]
async fn settings_hold_from_the_next_request_on() {
    let gateway = two().start().await;
    let answer = reload(&gateway).await.expect(200).json();
    for changed in ["providers_added", "providers_removed", "providers_changed", "after_restart"] {
        assert_eq!(answer[changed], json!([]), "{changed}");
    }
    gateway.rewrite("settings.json", |it| {
        *it = json!({
            "routing": {"provider_strategy": "random", "privacy": "no-training"},
            "http": {"max_body_bytes": 2048}, "session": {"max_sessions": 7}
        });
    });
    let answer = reload(&gateway).await.expect(200).json();
    assert_eq!(answer["after_restart"], json!(["session", "http.max_body_bytes"]));
    assert_eq!(answer["settings_changed"], json!(["routing"]));
    assert_eq!(status(&gateway).await["routing"]["provider_strategy"], "random");
    gateway.chat(&ask("auto")).await.expect(400);
    // An order that was given stays while the settings say what they said.
    order(&gateway, json!({"strategy": "weighted"})).await.expect(200);
    let answer = reload(&gateway).await.expect(200).json();
    assert_eq!(status(&gateway).await["routing"]["strategy"], "weighted");
    // What runs is still what it was started with.
    assert_eq!(answer["after_restart"], json!(["session", "http.max_body_bytes"]));
    assert_eq!(answer["settings_changed"], json!([]));
    gateway.rewrite("settings.json", |it| *it = json!({}));
    let answer = reload(&gateway).await.expect(200).json();
    assert_eq!(answer["after_restart"], json!([]));
}

#[tokio::test]
async fn a_faulty_file_changes_nothing_and_every_fault_is_named() {
    let gateway = two().start().await;
    let before = status(&gateway).await;
    gateway
        .rewrite("settings.json", |it| *it = json!({"routing": {"max_retries": -1, "privcy": 1}}));
    gateway.rewrite("limits.json", |it| it["providers"][0]["models"][0]["scale"] = json!("huge"));
    let answer = reload(&gateway).await.expect(422);
    assert_eq!(answer.error()["code"], "configuration_refused");
    let message = answer.error()["message"].as_str().expect("words").to_owned();
    for fault in ["routing.max_retries", "routing.privcy", "providers[0].models[0].scale"] {
        assert!(message.contains(fault), "{fault}: {message}");
    }
    assert_eq!(status(&gateway).await, before);
    gateway.chat(&ask("Alpha/m")).await.expect(200);
    gateway.rewrite("limits.json", |it| it["providers"] = json!([]));
    gateway.rewrite("settings.json", |it| *it = json!({}));
    let answer = reload(&gateway).await.expect(422);
    assert!(answer.text().contains("No provider can be used"), "{}", answer.text());
    gateway.chat(&ask("Alpha/m")).await.expect(200);
}

#[tokio::test]
async fn a_running_stream_ends_well_though_its_provider_is_taken_away() {
    let gateway = two().start().await;
    let pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(20) };
    gateway.upstream("beta").set_pace(pace);
    let mut stream = gateway.open(&ask("Beta/m"), &[]).await;
    stream.read_some().await;
    gateway
        .rewrite("limits.json", |it| drop(it["providers"].as_array_mut().expect("a list").pop()));
    reload(&gateway).await.expect(200);
    let stream = stream.finish().await.expect_done();
    assert!(!stream.said().is_empty());
    gateway.counted(1).await;
}

/// 1,000 reloads, every fourth with other limits, while four callers ask one thing after another.
#[tokio::test]
async fn a_thousand_reloads_under_load_lose_no_request_and_no_count() {
    let limits = json!({"requests_per_day": 1_000_000, "tokens_per_day": 1_000_000_000});
    let upstream = |name| Upstream::plain(name).limits(limits.clone());
    let gateway = Gateway::with([upstream("Alpha"), upstream("Beta")]).start().await;
    let over = AtomicBool::new(false);
    let asking = || async {
        let mut answers = 0_u64;
        while !over.load(Ordering::Relaxed) {
            gateway.chat(&ask("auto")).await.expect(200);
            gateway.stream(&ask("auto")).await.expect_done();
            answers += 2;
        }
        answers
    };
    let reloading = async {
        for at in 0..1_000 {
            if at % 4 == 0 {
                gateway.rewrite("limits.json", |it| {
                    it["providers"][0]["models"][0]["limits"]["requests_per_day"] =
                        json!(1_000_000 + at);
                });
            }
            reload(&gateway).await.expect(200);
        }
        over.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = futures::join!(join_all((0..4).map(|_| asking())), reloading);
    let answers: u64 = answers.iter().sum();
    assert!(answers > 100, "{answers}");
    let total = gateway.counted(answers).await;
    assert_eq!(total["requests"], answers);
    assert_eq!(total["failed_attempts"], 0);
    assert_eq!(gateway.reached("alpha") + gateway.reached("beta"), answers);
    let status = status(&gateway).await;
    let used: u64 = (0..2)
        .map(|at| status["providers"][at]["targets"][0]["windows"].clone())
        .map(|it| {
            it.as_array().expect("windows").iter().find(|it| it["unit"] == "requests").cloned()
        })
        .map(|it| it.expect("a window")["used"].as_u64().expect("a count"))
        .sum();
    assert_eq!(used, answers);
}

#[cfg(unix)]
#[test]
fn a_hangup_signal_reads_the_configuration_anew() {
    let dir = TempDir::new().expect("a directory");
    let settings = dir.path().join("settings.json");
    std::fs::write(&settings, "{}").expect("a file");
    let (mut program, addr) = Program::demo(dir.path(), &[]);
    let strategy = |wanted: &str| {
        let seen =
            || call(&addr, "GET /v1/status", "").contains(&format!(r#""strategy":"{wanted}""#));
        (0..300).any(|_| {
            seen() || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        })
    };
    assert!(strategy("roundrobin"));
    std::fs::write(&settings, r#"{"routing":{"provider_strategy":"weighted"}}"#).expect("a file");
    program.signal("HUP");
    assert!(strategy("weighted"));
    std::fs::write(&settings, r#"{"routing":{"provider_strategy":"best"}}"#).expect("a file");
    program.signal("HUP");
    assert!(program.terminate().success());
}
