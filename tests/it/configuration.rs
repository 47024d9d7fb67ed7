//! Strict start: every fault is named, all at once, and nothing usable is an exit code of its own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use relayfreellm::app::{App, StartError};
use relayfreellm::catalog::IdBook;
use relayfreellm::config::{self, FileChoice, Flags, Refusal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Program, call, run};

/// What is in the files, and what in the environment.
struct Start<'a> {
    settings: &'a str,
    limits: &'a str,
    env_file: &'a str,
    environment: &'a [(&'a str, &'a str)],
}

const SOUND: Start<'_> = Start {
    settings: "{}",
    limits: r#"{"providers":[{"name":"Alpha","url":"http://localhost:1/v1","models":[{"name":"m","type":"text","scale":"small"}]}]}"#,
    env_file: "",
    environment: &[("ALPHA_APIKEY", "a-key")],
};

impl Start<'_> {
    fn load(&self) -> Result<config::Config, Refusal> {
        let dir = TempDir::new().expect("a directory");
        let environment: HashMap<_, _> = self.environment.iter().copied().collect();
        let get = |name: &str| environment.get(name).map(|it| (*it).to_owned());
        config::load(&self.flags(dir.path()), &get, &mut IdBook::default())
    }

    fn flags(&self, dir: &Path) -> Flags {
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            std::fs::write(&path, content).expect("a writable directory");
            FileChoice::named(path)
        };
        Flags {
            port: Some(0),
            settings: file("settings.json", self.settings),
            limits: file("limits.json", self.limits),
            env_file: file("test.env", self.env_file),
            data_dir: Some("none".into()),
            ..Flags::default()
        }
    }

    /// Checks that there is one fault for each of `expected`, which names the place, the key, and
    /// something of what was got or wanted.
    fn check_faults(&self, expected: &[[&str; 3]]) {
        let faults = match self.load() {
            Err(Refusal::Faults(faults)) => faults,
            other => panic!("{other:?}"),
        };
        let listed = Refusal::Faults(faults.clone()).to_string();
        for [place, key, word] in expected {
            let found = faults.iter().any(|it| {
                it.place.ends_with(place)
                    && it.key.contains(key)
                    && (it.got.contains(word) || it.wanted.contains(word))
            });
            assert!(found, "{place}: {key}: {word} is not in\n{listed}");
        }
        assert_eq!(faults.len(), expected.len(), "{listed}");
        for fault in &faults {
            assert!(listed.contains(&fault.to_string()), "{listed}");
        }
    }
}

#[test]
fn sound_files_load() {
    let config = SOUND.load().expect("a configuration");
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 0));
    assert_eq!(config.catalog.providers().len(), 1);
}

#[test]
fn all_faults_of_all_files_are_listed_at_once() {
    let limits = json!({"providers": [
        {"name": "Alpha", "url": "not a url", "colour": 1, "models": [
            {"name": "m", "type": "text", "scale": "enormous", "limits": {"requests_per_minute": -5}},
            {"name": "m", "type": "text", "scale": "small", "limits": {"requests_per_fortnight": 5}},
            {"name": "n", "type": 7, "scale": "small", "max_context_length": "long"},
        ]},
        {"name": "Beta", "models": []},
    ]});
    let start = Start {
        settings: r#"{"routing": {"max_retries": "many", "provider_strategy": "best"}, "htpp": {}, "session": {"ttl_hours": -1}}"#,
        limits: &limits.to_string(),
        env_file: "THIS IS NO VARIABLE\nPORT=99999\n",
        environment: &[
            ("ALPHA_APIKEY", "white space"),
            ("REQUEST_TIMEOUT_SECONDS", "soon"),
            ("HOST", "0.0.0.0"),
        ],
    };
    let port = Flags { port: None, ..Flags::default() }.port;
    assert_eq!(port, None);
    start.check_faults(&[
        ["settings.json", "routing.max_retries", "whole number"],
        ["settings.json", "routing.provider_strategy", "roundrobin"],
        ["settings.json", "htpp", "unknown key"],
        ["settings.json", "session.ttl_hours", "-1"],
        ["limits.json", "providers[0].url", "URL"],
        ["limits.json", "providers[0].colour", "unknown key"],
        ["limits.json", "providers[0].models[0].scale", "enormous"],
        ["limits.json", "providers[0].models[0].limits.requests_per_minute", "-5"],
        ["limits.json", "providers[0].models[1].name", "a second time"],
        ["limits.json", "providers[0].models[1].limits.requests_per_fortnight", "unknown key"],
        ["limits.json", "providers[0].models[2].type", "7"],
        ["limits.json", "providers[0].models[2].max_context_length", "long"],
        ["test.env", "line 1", "cannot be read"],
        ["environment", "ALPHA_APIKEY", "blank"],
        ["environment", "REQUEST_TIMEOUT_SECONDS", "soon"],
        ["environment", "HOST", "RELAY_API_KEY"],
        ["limits.json", "providers[1].url", "nothing for Beta"],
    ]);
}

/// A limits file with everything in it that may be there.
fn whole_limits() -> Value {
    let limits = json!({
        "requests_per_second": 1, "requests_per_minute": 2, "requests_per_hour": 3,
        "requests_per_day": 4, "requests_per_month": 5, "tokens_per_minute": 6,
        "tokens_per_hour": 7, "tokens_per_day": 8, "tokens_per_month": -1,
    });
    let model = json!({
        "name": "m", "type": "text", "scale": "small", "modality": "vision", "weight": 2.5,
        "max_context_length": 8_000, "successor": "n", "quota_scope": "model", "reset": "month",
        "max_concurrent": 2, "failed_requests_count": false, "reserves_max_tokens": false,
        "last_verified": "2026-11-01", "limits": limits,
        "capabilities": {"tools": true, "json_schema": false, "reasoning": true},
    });
    let other = json!({"name": "n", "type": "text", "scale": "large", "limits": {}});
    let provider = json!({
        "name": "Alpha", "url": "http://localhost:1/v1", "kind": "openai",
        "api_key_env": "ALPHA_APIKEY", "privacy": "trains", "quota_scope": "account",
        "reset": "utc_day", "max_concurrent": 4, "failed_requests_count": true,
        "reserves_max_tokens": true, "first_token_timeout_seconds": 20,
        "last_verified": "2026-11-01", "models": [model, other],
    });
    json!({"__why": "a comment", "providers": [provider]})
}

/// Every place in `json`, as a pointer and as faults name it.
fn places(json: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
    let inner: Vec<(String, String, &Value)> = match json {
        Value::Object(members) => {
            let path_of = |key: &str| match path {
                "" => key.to_owned(),
                _ => format!("{path}.{key}"),
            };
            let members = members.iter().filter(|(key, _)| !key.starts_with("__"));
            members.map(|(key, it)| (format!("{pointer}/{key}"), path_of(key), it)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(at, it)| (format!("{pointer}/{at}"), format!("{path}[{at}]"), it)).collect()
        }
        _ => Vec::new(),
    };
    for (pointer, path, json) in inner {
        places(json, &pointer, &path, found);
        found.push((pointer, path));
    }
}

#[test]
fn every_field_of_the_limits_file_is_checked() {
    let sound = whole_limits();
    let load = |limits: &Value| Start { limits: &limits.to_string(), ..SOUND }.load();
    load(&sound).expect("a configuration");
    let mut found = Vec::new();
    places(&sound, "", "", &mut found);
    assert!(found.len() > 45, "{found:?}");
    let long = "x".repeat(1_000);
    let all_wrong = [
        json!(null),
        json!({"rubbish": 1}),
        json!([[]]),
        json!(-7),
        json!(1e300),
        json!("\u{1f916} \u{0}\n"),
        json!(long),
    ];
    for (pointer, path) in &found {
        for wrong in &all_wrong {
            let mut limits = sound.clone();
            *limits.pointer_mut(pointer).expect("a place") = wrong.clone();
            let short: String = wrong.to_string().chars().take(30).collect();
            let faults = match load(&limits) {
                Err(Refusal::Faults(faults)) => faults,
                // A date is a note to people.
                Ok(_) if path.ends_with("last_verified") && wrong.is_string() => continue,
                other => panic!("{path} = {short}: {other:?}"),
            };
            let named = faults.iter().any(|it| it.key.starts_with(path.as_str()));
            let listed = Refusal::Faults(faults).to_string();
            assert!(named, "{path} = {short}: {listed}");
            assert!(listed.len() < 4_000, "{path} = {short}: {listed}");
        }
    }
}

#[test]
fn broken_json_is_named_by_its_place() {
    for (content, word) in
        [("", "JSON"), ("{", "JSON"), ("{\"routing\": }", "JSON"), ("[]", "object")]
    {
        let settings = Start { settings: content, ..SOUND };
        settings.check_faults(&[["settings.json", "", word]]);
        let fault = Start { limits: content, ..SOUND }.load().expect_err("a refusal").to_string();
        assert!(fault.contains("limits.json"), "{fault}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = TempDir::new().expect("a directory");
    let missing = dir.path().join("not-there.json");
    for change in [
        |flags: &mut Flags, path: &Path| flags.settings = FileChoice::named(path),
        |flags: &mut Flags, path: &Path| flags.limits = FileChoice::named(path),
        |flags: &mut Flags, path: &Path| flags.env_file = FileChoice::named(path),
    ] {
        for path in [&missing, dir.path()] {
            let mut flags = SOUND.flags(dir.path());
            change(&mut flags, path);
            let key = |name: &str| (name == "ALPHA_APIKEY").then(|| "a-key".to_owned());
            let refusal =
                config::load(&flags, &key, &mut IdBook::default()).expect_err("a refusal");
            assert!(refusal.to_string().contains(&path.display().to_string()), "{refusal}");
        }
    }
}

#[test]
fn a_key_is_never_shown() {
    for (variable, value) in [
        ("ALPHA_APIKEY", "secret-\u{e9}-0123"),
        ("ALPHA_APIKEY", "secret-with blank"),
        ("RELAY_API_KEY", "secret-with blank"),
    ] {
        let environment = [("ALPHA_APIKEY", "fine"), (variable, value)];
        let refusal = Start { environment: &environment, ..SOUND }.load().expect_err("a refusal");
        assert!(refusal.to_string().contains(variable), "{refusal}");
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
    let refusal = Start { env_file: "ALPHA_APIKEY secret-0123\n", ..SOUND }.load();
    let refusal = refusal.expect_err("a refusal").to_string();
    assert!(!refusal.contains("secret"), "{refusal}");
}

#[test]
fn a_provider_without_a_key_is_left_out_with_a_word() {
    let limits = json!({"providers": [
        {"name": "Alpha", "url": "http://localhost:1/v1", "models": [{"name": "m", "type": "text", "scale": "small"}]},
        {"name": "Beta", "url": "http://localhost:1/v1", "models": [{"name": "m", "type": "text", "scale": "small"}]},
    ]});
    let config = Start { limits: &limits.to_string(), ..SOUND }.load().expect("a configuration");
    assert_eq!(config.catalog.providers().len(), 1);
    assert_eq!(
        config.notes.iter().filter(|it| it.contains("Beta")).count(),
        1,
        "{:?}",
        config.notes
    );
    assert!(config.notes.iter().any(|it| it.contains("BETA_APIKEY")), "{:?}", config.notes);
}

#[test]
fn no_usable_provider_says_what_to_do() {
    let refusal = Start { environment: &[], ..SOUND }.load().expect_err("a refusal");
    assert!(matches!(refusal, Refusal::NothingUsable(_)), "{refusal:?}");
    let text = refusal.to_string();
    assert!(text.contains("ALPHA_APIKEY") && text.contains("--demo"), "{text}");
}

#[test]
fn environment_beats_file_and_flags_beat_environment() {
    let environment = [
        ("ALPHA_APIKEY", "a-key"),
        ("SESSION_TTL_HOURS", "3"),
        ("PORT", "1234"),
        ("HOST", "127.0.0.2"),
    ];
    let start = Start {
        settings: r#"{"session": {"ttl_hours": 2}}"#,
        env_file: "SESSION_TTL_HOURS=4\nPROVIDER_STRATEGY=random\n",
        environment: &environment,
        ..SOUND
    };
    let config = start.load().expect("a configuration");
    assert_eq!(config.settings.session.ttl.as_secs(), 3 * 3_600);
    assert_eq!(config.settings.routing.provider_strategy, config::Strategy::Random);
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.2", 0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let mut config = SOUND.load().expect("a configuration");
    config.port = port;
    let Err(fault) =
        App::start(config, IdBook::default(), Arc::new(|_| unreachable!("nobody asks"))).await
    else {
        panic!("it started on a port that is taken");
    };
    assert!(matches!(fault, StartError::Listen { .. }), "{fault:?}");
    assert!(fault.to_string().contains(&port.to_string()), "{fault}");
}

#[test]
fn the_program_exits_with_2_when_its_configuration_cannot_be_used() {
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &[], &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("GROQ_APIKEY") && text.contains("--demo"), "{text}");

    std::fs::write(dir.path().join("settings.json"), r#"{"a": 1, "b": 2}"#).expect("a file");
    let (code, text) = run(dir.path(), &["serve", "--demo"], &[("PORT", "x")]);
    assert_eq!(code, Some(2), "{text}");
    for part in ["settings.json: a:", "settings.json: b:", "PORT"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was started");
}

#[test]
fn the_program_names_a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &["--demo", "--port", &port], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&port), "{text}");
}

#[test]
fn others_reach_it_only_with_a_key_or_by_the_users_word() {
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &["--demo", "--host", "0.0.0.0", "--port", "0"], &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("RELAY_API_KEY") && text.contains("--insecure"), "{text}");
}

#[test]
fn the_demo_runs_from_nothing_and_stops_when_told() {
    let dir = TempDir::new().expect("a directory");
    let (mut demo, addr) = Program::demo(dir.path(), &[]);
    assert!(call(&addr, "GET /health", "").starts_with("HTTP/1.1 200"), "{addr}");
    let models = call(&addr, "GET /v1/models", "");
    let body = models.split("\r\n\r\n").nth(1).expect("a body");
    let models: Value = serde_json::from_str(body).expect("JSON");
    assert!(models["data"].as_array().is_some_and(|it| it.len() > 5), "{models}");
    assert_eq!(demo.terminate().code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a directory").collect();
    assert!(left.is_empty(), "it keeps nothing: {left:?}");
}
