//! `keys`, as a user types it, and the keys file as the program reads it.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Program, ask, call_with, run};

fn keys(dir: &Path, port: &str, arguments: &[&str]) -> (Option<i32>, String) {
    run(dir, &[&["keys"], arguments, &["--port", port]].concat(), &[])
}

/// The status of a chat request with this key.
fn chat(addr: &str, key: &str) -> u16 {
    let header = format!("x-api-key: {key}\r\n");
    let answer =
        call_with(addr, "POST /v1/chat/completions", &header, &ask("free-smart").to_string());
    answer.get(9..12).and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn port_of(addr: &str) -> &str {
    addr.rsplit(':').next().expect("a port")
}

/// A port that nobody listens on.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

fn first_line(text: &str) -> String {
    text.lines().next().expect("a line").to_owned()
}

#[test]
fn a_running_gateway_is_asked() {
    let dir = TempDir::new().expect("a directory");
    let (mut program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    let port = port_of(&addr);
    let create =
        ["create", "--label", "My app", "--daily-requests", "2", "--models", "auto,free-smart"];
    let (code, text) = keys(dir.path(), port, &create);
    assert_eq!(code, Some(0), "{text}");
    let key = first_line(&text);
    assert!(key.starts_with("sk-relay-") && text.contains("2 requests a day"), "{text}");
    assert!(text.contains("only meta-model, free-smart"), "{text}");
    assert_eq!([chat(&addr, &key), chat(&addr, "none")], [200, 401]);
    let (code, text) = keys(dir.path(), port, &["list"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("My app") && text.contains("1 of 2"), "{text}");
    assert!(!text.contains(&key), "{text}");
    let (code, text) = keys(dir.path(), port, &["revoke", "My app"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(chat(&addr, &key), 401);
    // What is wrong is said as the gateway says it.
    for (arguments, part) in [
        (&["create", "--label", "a", "--daily-tokens", "0"][..], "daily_tokens: got 0"),
        (&["create", "--label", "a", "--expires", "2020-01-01"], "which is past"),
        (&["create", "--label", "a", "--models", "grok/x"], "\"grok/x\""),
        (&["create", "--label", "a", "--privacy", "some"], "no-training"),
        (&["revoke", "nobody"], "no key"),
    ] {
        let (code, text) = keys(dir.path(), port, arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(part), "{text}");
    }
    for usage in [&["create"][..], &["create", "--label", "a", "--daily-requests", "x"], &["dance"]]
    {
        assert_eq!(keys(dir.path(), port, usage).0, Some(2));
    }
    program.terminate();
}

#[test]
fn without_a_gateway_the_data_directory_is_opened() {
    let dir = TempDir::new().expect("a directory");
    let nobody = free_port();
    let own = |arguments: &[&str]| {
        keys(dir.path(), &nobody, &[arguments, &["--data-dir", "kept"]].concat())
    };
    let (code, text) = own(&["list"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no data directory"), "{text}");
    let (code, text) = own(&["create", "--label", "a", "--daily-requests", "0"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(!dir.path().join("kept").exists());
    let (code, text) = own(&["create", "--label", "a", "--daily-requests", "1"]);
    assert_eq!(code, Some(0), "{text}");
    // Whom it has asked, and where the key is now.
    let kept = dir.path().join("kept");
    assert!(text.contains(&nobody) && text.contains(&kept.display().to_string()), "{text}");
    let key = first_line(&text);
    let gone = first_line(&own(&["create", "--label", "b"]).1);
    assert_eq!(own(&["revoke", "b"]).0, Some(0));
    let (_, text) = own(&["list"]);
    assert!(text.contains("active") && text.contains("revoked"), "{text}");

    let (program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    assert_eq!([chat(&addr, &key), chat(&addr, &key), chat(&addr, &gone)], [200, 429, 401]);
    // The directory is the gateway's now, wherever it listens.
    let (code, text) = own(&["create", "--label", "c"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("in use"), "{text}");
    // What was counted outlives a sudden end.
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    program.kill();
    let (program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    assert_eq!([chat(&addr, &key), chat(&addr, &gone)], [429, 401]);
    program.kill();
}

#[test]
fn a_key_is_on_the_disk_when_it_is_shown() {
    let dir = TempDir::new().expect("a directory");
    let (program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    let (_, text) = keys(dir.path(), port_of(&addr), &["create", "--label", "a"]);
    program.kill();
    let key = first_line(&text);
    let (program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    assert_eq!(chat(&addr, &key), 200);
    keys(dir.path(), port_of(&addr), &["revoke", "a"]);
    program.kill();
    let (program, addr) = Program::demo(dir.path(), &["--data-dir", "kept"]);
    assert_eq!(chat(&addr, &key), 401);
    program.kill();
}

#[test]
fn with_nowhere_to_keep_them_it_says_so() {
    let dir = TempDir::new().expect("a directory");
    let none = ["create", "--label", "a", "--data-dir", "none"];
    let (code, text) = keys(dir.path(), &free_port(), &none);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("without a data directory"), "{text}");
    let (mut program, addr) = Program::demo(dir.path(), &[]);
    let (code, text) = keys(dir.path(), port_of(&addr), &["create", "--label", "a"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("keeps nothing"), "{text}");
    program.terminate();
}

#[test]
fn every_fault_of_a_keys_file_is_told_at_the_start() {
    let dir = TempDir::new().expect("a directory");
    let good = "sk-freellm-abcdef-0001";
    let file = json!({"keys": [
        {"id": good, "label": "a", "dailyRequestCap": 0, "dailyTokenCap": -5},
        {"id": good, "label": "b", "expiresAt": "2020-01-01T00:00:00Z"},
        {"id": "sk-tainted key!", "label": "c"},
        {"id": "short", "label": ""},
        {"label": "no id", "allowedModels": ["groq/no-such", "free-fats"], "colour": "red"},
        {"id": "sk-freellm-abcdef-0002", "allowedModels": "all", "expiresAt": "soon"},
        {"id": "relay-master-7f3a9c1e", "label": "mine"},
        {"id": "sk-master-0123456789", "label": "mine"},
        7
    ], "version": 1});
    std::fs::write(dir.path().join("keys.json"), file.to_string()).expect("written");
    let variables = [
        ("RELAY_VIRTUAL_KEYS_PATH", "keys.json"),
        ("RELAY_API_KEY", "sk-master-0123456789"),
        ("GROQ_APIKEY", "gsk_0123456789abcdef"),
        ("RELAY_IDENTIFIER_LIMIT", "60"),
        ("RELAY_IDENTIFIER_MAX_BUCKETS", "0"),
    ];
    let (code, text) = run(dir.path(), &["--port", "0", "--data-dir", "none"], &variables);
    assert_eq!(code, Some(2), "{text}");
    for part in [
        "keys[0].dailyRequestCap: got 0",
        "keys[0].dailyTokenCap: got -5",
        "keys[1].id: got the id of keys[0]",
        "keys[2].id: got something else",
        "keys[3].id: got something else",
        "keys[3].label: got nothing",
        "keys[4].id: got nothing",
        "keys[4].allowedModels: got \"groq/no-such\"",
        "keys[4].allowedModels: got \"free-fats\"; wanted the name of a model; closest: free-fast",
        "keys[4].colour: got an unknown key",
        "keys[5].allowedModels: got \"all\"; wanted a list",
        "keys[5].expiresAt: got \"soon\"",
        "keys[7].id: got the gateway's own key",
        "keys[8]: got 7; wanted an object",
        "version: got an unknown key",
        "RELAY_IDENTIFIER_LIMIT: got \"60\"",
        "RELAY_IDENTIFIER_MAX_BUCKETS: got 0",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    for secret in [good, "tainted", "relay-master", "sk-master"] {
        assert!(!text.contains(secret), "{text}");
    }
    for (content, part) in [("{", "malformed JSON"), ("[]", "got a list; wanted an object")] {
        std::fs::write(dir.path().join("keys.json"), content).expect("written");
        let (code, text) = run(dir.path(), &["--demo"], &variables[..1]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
    }
    let missing = [("RELAY_VIRTUAL_KEYS_PATH", "none.json")];
    let (code, text) = run(dir.path(), &["--demo"], &missing);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("none.json: got no such file"), "{text}");
}
