//! The log: a line for each request under its id, in words or as JSON, and never a key, a prompt or
//! an answer.

use http::Method;
use relayfreellm::sim::Fault;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gateway, Log, Program, Upstream, ask, call_with, run, with};

const PROMPT: &str = "the-dog-is-called-Bella";

/// What a demo logs of one good request and one that is refused.
fn log(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let dir = TempDir::new().expect("a directory");
    let (program, addr) = Program::start(dir.path(), &[&["--demo"], arguments].concat(), variables);
    let key = "authorization: Bearer sk-relay-not-a-key-0123456789\r\n";
    for (id, model) in [("good-1", "auto"), ("bad-1", "nobody/nothing")] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": PROMPT}]});
        let headers = format!("x-request-id: {id}\r\n");
        let answer = call_with(&addr, "POST /v1/chat/completions", &headers, &body.to_string());
        assert!(answer.to_ascii_lowercase().contains(&format!("x-request-id: {id}")), "{answer}");
    }
    let refused = call_with(
        &addr,
        "POST /v1/chat/completions",
        &format!("x-request-id: ugly-1\r\n{key}"),
        "{\"messages\": 7}",
    );
    assert!(refused.contains(r#""request_id":"ugly-1""#), "{refused}");
    program.log()
}

fn holds_no_secret(log: &str) {
    for secret in [PROMPT, "demo-", "sk-relay-not", "Rayleigh", "scatter"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn human_lines_carry_the_request_id() {
    for variables in [&[][..], &[("RUST_LOG", "debug")]] {
        let log = log(&[], variables);
        for id in ["good-1", "bad-1", "ugly-1"] {
            assert!(log.lines().any(|it| it.contains(id)), "{id}: {log}");
        }
        assert!(log.lines().any(|it| it.contains("auto -> ") && it.contains("good-1")), "{log}");
        holds_no_secret(&log);
    }
}

#[test]
fn json_lines_are_one_object_each() {
    let by_flag = log(&["--log-format", "json"], &[]);
    let by_variable = log(&[], &[("RELAY_LOG_FORMAT", "json")]);
    for log in [by_flag, by_variable] {
        let lines: Vec<Value> = log
            .lines()
            .map(|it| serde_json::from_str(it).unwrap_or_else(|_| panic!("{it}")))
            .collect();
        for line in &lines {
            for member in ["time", "level", "message"] {
                assert!(line[member].is_string(), "{line}");
            }
        }
        for (id, level) in [("good-1", "info"), ("bad-1", "warn"), ("ugly-1", "info")] {
            let mine = lines.iter().find(|it| it["request_id"] == id);
            assert_eq!(mine.map(|it| &it["level"]), Some(&json!(level)), "{id}: {log}");
        }
        holds_no_secret(&log);
    }
}

#[test]
fn a_flag_beats_the_variable_and_another_word_is_refused() {
    let human = log(&["--log-format", "human"], &[("RELAY_LOG_FORMAT", "json")]);
    assert!(human.lines().all(|it| !it.starts_with('{')), "{human}");
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &["--demo"], &[("RELAY_LOG_FORMAT", "xml")]);
    assert_eq!(code, Some(2));
    assert!(text.contains(r#"RELAY_LOG_FORMAT: got "xml""#), "{text}");
    assert_eq!(run(dir.path(), &["--log-format", "xml"], &[]).0, Some(2));
}

#[tokio::test]
async fn what_callers_and_providers_make_up_is_not_logged() {
    let word = "the dog is called Bella";
    let key = format!("sk-relay-{}", "0123456789".repeat(4));
    let log = Log::catch();
    let gateway = Gateway::with([Upstream::plain("Alpha")]).start().await;
    let schema = |it: Value| {
        json!({"response_format": {"type": "json_schema",
        "json_schema": {"name": "a", "schema": it}}})
    };
    for more in [
        json!({"model": word}),
        json!({"model": key}),
        json!({"model_type": word}),
        json!({"model_scale": word}),
        json!({"model_name": word}),
        schema(json!({"$ref": word.repeat(2_000)})),
        schema(json!({"$ref": format!("#/{word}")})),
        schema(json!({"type": word})),
        schema(json!({"pattern": format!("({word}")})),
        json!({"messages": [{"role": word, "content": word}]}),
    ] {
        let answer = gateway.chat(&with(ask("m"), more)).await;
        assert!([400, 404].contains(&answer.status), "{}", answer.text());
        assert!(answer.text().len() < 1_000, "{}", answer.text());
    }
    // The caller is told what is wrong in their own words.
    let answer = gateway.chat(&with(ask("m"), json!({"model_type": word}))).await.expect(400);
    assert!(answer.text().contains(word));
    let path = format!("/v1/{}", word.replace(' ', "%20"));
    for path in [&path, &format!("/v1/models/{key}"), &format!("/v1/requests/{key}")] {
        gateway.get(path).await.expect(404);
    }
    gateway
        .send(gateway.request(Method::PUT, &format!("/v1/models/{key}"), &[], ""))
        .await
        .expect(405);
    let member = word.replace(' ', "_");
    for (status, said) in [
        (400, json!({"message": word, "param": word, "code": word, "type": word})),
        (
            400,
            json!({"message": format!("Unknown parameter: '{member}'"), "param": member,
            "code": "unknown_parameter", "type": "invalid_request_error"}),
        ),
        (500, json!({"message": word, "code": word})),
    ] {
        let body = json!({"error": said}).to_string().into();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::RawResponse { status, headers, body };
        gateway.upstream("alpha").set_fault(Some(fault));
        let body = with(ask("Alpha/m"), json!({&member: 1}));
        assert!(gateway.chat(&body).await.status >= 400);
    }
    let text = log.text();
    for word in ["dog", "Bella", "0123456789"] {
        let line = text.lines().find(|it| it.contains(word));
        assert!(line.is_none(), "{line:?}");
    }
    assert!(text.lines().all(|it| it.len() < 600), "a line without bounds");
    assert!(text.contains("model_type"), "{text}");
}

#[tokio::test]
async fn a_key_that_is_refused_is_named_once() {
    let provider = Upstream::plain("One").key("sk-of-this-one-0001");
    let gateway = Gateway::with([provider, Upstream::plain("Two")]).start().await;
    let log = Log::catch();
    gateway.upstream("one").set_fault(Some(Fault::Status(401)));
    for _ in 0..6 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    let text = log.text();
    let told: Vec<&str> = text.lines().filter(|it| it.contains("is no good")).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains("One: key …0001 is no good: 401 key rejected"), "{told:?}");
    assert!(told[0].contains("WARN"), "{told:?}");
}

#[test]
fn a_log_level_that_is_none_is_told() {
    let text = log(&[], &[("RUST_LOG", "relayfreellm=loudly")]);
    assert!(text.contains("WARN RUST_LOG can't be read"), "{text}");
    assert!(text.contains("good-1"), "it logs all the same: {text}");
}
