//! `GET /metrics` and `GET /v1/status`: what machines and people read of the pool.

use std::collections::BTreeMap;
use std::time::Duration;

use relayfreellm::sim::{Fault, Flavour, Pace};
use serde_json::json;

use crate::support::{Answer, Gateway, SOON, Setup, Upstream, ask, streamed};

/// Names of labels with their values.
type Labels = BTreeMap<String, String>;

/// One line of the text form.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_');
    first && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b':')
}

/// Reads `name="value",...`, with the three escapes there are.
fn labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {rest}"));
        assert!(is_name(name), "{name}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("no end: {after}")) {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().map(|(_, it)| it) {
                    Some('n') => '\n',
                    Some(it @ ('"' | '\\')) => it,
                    other => panic!("no escape: {other:?}"),
                }),
                (_, it) => value.push(it),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice: {text}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}

/// Reads the text form; strict where a scraper is.
fn parse(text: &str) -> Vec<Sample> {
    let mut kinds = BTreeMap::new();
    let mut samples = Vec::new();
    let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next(), words.next(), words.next());
            match (word, name, rest) {
                (Some("TYPE"), Some(name), Some(kind)) => {
                    assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                }
                (Some("HELP" | "UNIT"), Some(_), Some(_)) => {}
                _ => panic!("no comment of theirs: {line}"),
            }
            continue;
        }
        let (before, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, inner) = match before.split_once('{') {
            Some((name, inner)) => (name, inner.strip_suffix('}').expect("a closing brace")),
            None => (before, ""),
        };
        assert!(is_name(name), "{line}");
        let known = kinds.keys().any(|it| name.starts_with(it.as_str()));
        assert!(known, "no type was told: {line}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        samples.push(Sample { name: name.to_owned(), labels: labels(inner), value });
    }
    let mut seen: Vec<_> = samples.iter().map(|it| (&it.name, &it.labels)).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), samples.len(), "a series twice: {text}");
    samples
}

async fn scrape(gateway: &Gateway) -> Vec<Sample> {
    let answer = gateway.get("/metrics").await.expect(200);
    assert!(answer.header("content-type").contains("text"), "{:?}", answer.headers);
    parse(answer.text())
}

/// The sum of the samples of that name with these labels among theirs.
fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |it: &&Sample| {
        it.name == name
            && labels.iter().all(|(name, value)| it.labels.get(*name).is_some_and(|it| it == value))
    };
    samples.iter().filter(fits).map(|it| it.value).sum()
}

#[expect(clippy::float_cmp, reason = "counts are whole numbers")]
fn check(samples: &[Sample], name: &str, labels: &[(&str, &str)], expected: f64) {
    assert_eq!(sum(samples, name, labels), expected, "{name} {labels:?} in {samples:#?}");
}

const KEYS: [&str; 3] =
    ["sk-proj-Ab3dEf6hIj9kLm2n", "sk-ant-Op5qRs8tUv1wXy4z", "gsk_Qw2eRt5yUi8oPa1s"];

fn setup() -> Setup {
    let alpha = Upstream::plain("Alpha")
        .key(KEYS[0])
        .grouped_key("acct", KEYS[1])
        .limits(json!({"requests_per_hour": 10, "tokens_per_day": 100_000}));
    let odd =
        Upstream::new("Beta", Flavour::OpenAi).model("org/odd \"name\" \\ {x=\"y\"}").key(KEYS[2]);
    let settings = json!({"routing": {"max_retries": 1, "max_quota_wait_seconds": 0}});
    Gateway::with([alpha, odd]).settings(settings)
}

#[tokio::test]
async fn metrics_count_requests_attempts_and_what_is_left() {
    let gateway = setup().start().await;
    let before = scrape(&gateway).await;
    check(&before, "relay_requests_total", &[], 0.0);
    // Two keys with ten requests each.
    check(&before, "relay_quota_left", &[("unit", "requests"), ("period", "hour")], 20.0);
    gateway.chat(&ask("alpha/m")).await.expect(200);
    gateway.stream(&ask("alpha/m")).await.expect_done();
    gateway.upstream("alpha").script(None, vec![Fault::Status(500)]);
    gateway.chat(&ask("alpha/m")).await.expect(200);
    gateway.upstream("alpha").set_fault(Some(Fault::Status(500)));
    gateway.chat(&ask("alpha/m")).await.expect(503);
    gateway.chat(&ask("beta/org/odd \"name\" \\ {x=\"y\"}")).await.expect(200);
    gateway.chat(&ask("no-such-model")).await.expect(404);
    let after = scrape(&gateway).await;
    let alpha = [("provider", "Alpha"), ("model", "m")];
    check(&after, "relay_requests_total", &alpha, 4.0);
    check(&after, "relay_attempts_total", &alpha, 6.0);
    check(&after, "relay_first_token_seconds_count", &alpha, 3.0);
    let odd = [("provider", "Beta"), ("model", "org/odd \"name\" \\ {x=\"y\"}")];
    check(&after, "relay_requests_total", &odd, 1.0);
    check(&after, "relay_open_streams", &[], 0.0);
    // A call that failed gives its quota back.
    check(&after, "relay_quota_left", &[("unit", "requests"), ("period", "hour")], 17.0);
    for sample in &after {
        assert!(sample.value >= 0.0, "{sample:?}");
        let key = sample.labels.get("key").map(|it| it.parse::<u64>());
        assert!(key.is_none_or(|it| it.is_ok_and(|it| (1..=2).contains(&it))), "{sample:?}");
    }
}

#[tokio::test]
async fn open_streams_are_counted_while_they_are_open() {
    let gateway = setup().start().await;
    let pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(20) };
    gateway.upstream("alpha").set_pace(pace);
    let body = ask("alpha/m");
    let mut streams = Vec::new();
    for open in 1_u8..=3 {
        let mut stream = gateway.open(&body, &[]).await;
        stream.read_some().await;
        streams.push(stream);
        check(&scrape(&gateway).await, "relay_open_streams", &[], f64::from(open));
    }
    drop(streams);
    let closing = async {
        while sum(&scrape(&gateway).await, "relay_open_streams", &[]) > 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, closing).await.expect("they are closed");
    // What ends in an error is no open stream either.
    gateway.upstream("alpha").set_fault(Some(Fault::Status(500)));
    gateway.chat(&streamed(body)).await.expect(503);
    check(&scrape(&gateway).await, "relay_open_streams", &[], 0.0);
}

#[tokio::test]
async fn callers_cannot_add_to_the_metrics() {
    let gateway = setup().start().await;
    gateway.chat(&ask("alpha/m")).await.expect(200);
    let lines = scrape(&gateway).await.len();
    for at in 0..50 {
        gateway.chat(&ask(&format!("made-up-{at}"))).await.expect(404);
        gateway.chat(&ask(&format!("alpha/made-up-{at}"))).await.expect(404);
        gateway.get(&format!("/v1/made-up-{at}")).await.expect(404);
    }
    let after = scrape(&gateway).await;
    // One series for requests that were never routed is fair.
    assert!(after.len() <= lines + 1, "{after:#?}");
    assert!(after.iter().flat_map(|it| it.labels.values()).all(|it| !it.contains("made-up")));
}

/// No part of a key that is long enough to be of use to anyone.
fn check_keyless(answer: &Answer) {
    for key in KEYS {
        for part in key.as_bytes().windows(6) {
            let part = std::str::from_utf8(part).expect("ASCII");
            assert!(!answer.text().contains(part), "{part} of {key}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn no_view_shows_a_key() {
    let gateway = setup().start().await;
    let words = json!({"error": {"message": format!("bad key {}", KEYS[0]), "code": KEYS[1]}});
    let echo =
        Fault::RawResponse { status: 401, headers: Vec::new(), body: words.to_string().into() };
    gateway.upstream("alpha").script(None, vec![echo]);
    for model in ["alpha/m", "alpha/m", "auto"] {
        gateway.chat(&ask(model)).await;
    }
    for path in [
        "/metrics",
        "/v1/status",
        "/v1/quota",
        "/v1/usage",
        "/v1/models",
        "/v1/models/Alpha/m",
        "/health",
    ] {
        check_keyless(&gateway.get(path).await.expect(200));
    }
    let metrics = gateway.get("/metrics").await;
    assert!(!metrics.text().contains("acct"), "{}", metrics.text());
}

#[tokio::test]
async fn the_status_tells_circuits_and_windows() {
    let gateway = setup().start().await;
    gateway.chat(&ask("alpha/m")).await.expect(200);
    gateway.upstream("alpha").script(None, vec![Fault::Status(401)]);
    gateway.chat(&ask("alpha/m")).await.expect(200);
    let status = gateway.get("/v1/status").await.expect(200).json();
    let providers = status["providers"].as_array().expect("providers");
    assert_eq!(providers.len(), 2);
    let alpha = &providers[0];
    assert_eq!((&alpha["id"], &alpha["circuit"]["state"]), (&json!("Alpha"), &json!("closed")));
    let keys = alpha["keys"].as_array().expect("keys").iter();
    let mut states: Vec<_> = keys.filter_map(|it| it["circuit"]["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["closed", "open"], "{alpha}");
    let targets = alpha["targets"].as_array().expect("targets");
    assert_eq!(targets.len(), 2);
    let used = targets.iter().filter_map(|it| it["windows"].as_array()).flatten();
    let used = used.filter(|it| it["unit"] == "requests" && it["period"] == "hour");
    let used: u64 = used.filter_map(|it| it["used"].as_u64()).sum();
    assert_eq!(used, 2, "{alpha}");
    let resting: Vec<_> =
        targets.iter().filter(|it| it["cooldown_remaining_sec"].as_u64() > Some(0)).collect();
    assert_eq!(resting.len(), 1, "{alpha}");
    assert!(resting[0]["reason"].is_string(), "{alpha}");
}
