//! `check` and `status` as a user runs them, against simulated providers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relayfreellm::clock::SystemClock;
use relayfreellm::sim::{Fault, Flavour, LimitSpec, ModelSpec, ProviderSpec, SimServer, What};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{Program, call_with, run, simulate};

const GOOD: &str = "sk-good-4Tq8ZpW1mX";
const BAD: &str = "sk-bad-9Lr3VnK7yC";

/// Runs the program in `dir` while the simulated providers go on beside it.
async fn run_beside(
    dir: &Path,
    arguments: &'static [&'static str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let dir = dir.to_owned();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables: Vec<(String, String)> = variables.iter().map(owned).collect();
    let running = tokio::task::spawn_blocking(move || {
        let variables: Vec<_> = variables.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        run(&dir, arguments, &variables)
    });
    running.await.expect("it runs")
}

/// Providers of these names, each with the good key and the models `m` and `n`.
fn providers(names: &[(&str, Flavour)]) -> SimServer {
    let specs = names.iter().map(|(name, flavour)| {
        let spec = ProviderSpec::new(name, *flavour).key(GOOD);
        spec.model(ModelSpec::new("m")).model(ModelSpec::new("n"))
    });
    simulate(specs.collect(), &(Arc::new(SystemClock::start()) as _))
}

/// A directory with a limits file that knows these providers at these addresses.
fn directory(sim: &SimServer, names: &[(&str, Flavour)]) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    let model = |name: &str| json!({"name": name, "type": "text", "scale": "small"});
    let kind = |flavour: Flavour| match flavour {
        Flavour::Gemini | Flavour::Anthropic | Flavour::Ollama | Flavour::Cloudflare => {
            flavour.name()
        }
        _ => "openai",
    };
    let entries: Vec<_> = names
        .iter()
        .map(|(name, flavour)| {
            json!({"name": name, "url": sim.base_url(name), "kind": kind(*flavour),
                "models": [model("m"), model("n")]})
        })
        .collect();
    let file = dir.path().join("provider_model_limits.json");
    std::fs::write(file, json!({"providers": entries}).to_string()).expect("a file");
    dir
}

/// The line of the table that names both.
fn line<'a>(text: &'a str, provider: &str, model: &str) -> Vec<&'a str> {
    let mut words = text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>());
    let found = words.find(|it| it.get(1) == Some(&provider) && it.get(3) == Some(&model));
    found.unwrap_or_else(|| panic!("no line for {provider} {model}:\n{text}"))
}

#[tokio::test]
async fn check_passes_every_dialect() {
    let names = [
        ("Alpha", Flavour::OpenAi),
        ("Groq", Flavour::Groq),
        ("Mistral", Flavour::Mistral),
        ("Cerebras", Flavour::Cerebras),
        ("Gemini", Flavour::Gemini),
        ("Anthropic", Flavour::Anthropic),
        ("OllamaCloud", Flavour::Ollama),
        ("Cloudflare", Flavour::Cloudflare),
    ];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    let variables = names.map(|(name, _)| format!("{}_APIKEY", name.to_uppercase()));
    let variables: Vec<_> = variables.iter().map(|it| (it.as_str(), GOOD)).collect();
    let (code, text) = run_beside(dir.path(), &["check"], &variables).await;
    assert_eq!(code, Some(0), "{text}");
    for (name, _) in names {
        for model in ["m", "n"] {
            assert_eq!(line(&text, name, model)[0], "PASS", "{text}");
        }
        assert_eq!(sim.provider(name).expect("it is there").count_reached(), 2, "{name}");
    }
    assert!(text.contains("16 passed, 0 failed"), "{text}");
    assert!(!text.contains(GOOD), "{text}");
    assert!(!text.contains('\r'), "a progress line is for terminals: {text}");
    assert!(!dir.path().join("data").exists(), "the data directory is left alone");
}

#[tokio::test]
async fn check_names_what_fails_and_exits_with_1() {
    let names = [("Alpha", Flavour::OpenAi), ("Beta", Flavour::OpenAi), ("Gamma", Flavour::OpenAi)];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    let beta = sim.provider("beta").expect("it is there");
    let rest = Fault::RateLimited { retry_after: Some(Duration::from_secs(3_600)) };
    beta.script(Some("m"), vec![rest]);
    beta.script(Some("n"), vec![Fault::Html]);
    let gamma = sim.provider("gamma").expect("it is there");
    gamma.script(Some("m"), vec![Fault::Status(404)]);
    gamma.script(Some("n"), vec![Fault::Status(503)]);
    let both = format!("{GOOD},{BAD}");
    let variables =
        [("ALPHA_APIKEY", both.as_str()), ("BETA_APIKEY", GOOD), ("GAMMA_APIKEY", GOOD)];
    let (code, text) = run_beside(dir.path(), &["check"], &variables).await;
    assert_eq!(code, Some(1), "{text}");
    for (provider, model, words) in [
        ("Beta", "m", "the key is good, but its quota is used up"),
        ("Beta", "n", "is the URL right?"),
        ("Gamma", "m", "no such model"),
    ] {
        let line = line(&text, provider, model);
        assert_eq!(line[0], "FAIL", "{text}");
        assert!(line.join(" ").contains(words), "{words}: {text}");
    }
    assert_eq!(line(&text, "Gamma", "n")[0], "FAIL", "{text}");
    let of_alpha: Vec<_> = text.lines().filter(|it| it.contains("Alpha")).collect();
    let refused: Vec<_> = of_alpha.iter().filter(|it| it.starts_with("FAIL")).collect();
    assert_eq!((of_alpha.len(), refused.len()), (4, 2), "{text}");
    assert!(refused.iter().all(|it| it.contains("the key was refused")), "{text}");
    assert!(text.contains("2 passed, 6 failed"), "{text}");
    for key in [GOOD, BAD] {
        assert!(!text.contains(key) && !text.contains(&key[7..]), "{text}");
    }
}

#[tokio::test]
async fn check_strikes_a_key_out_of_what_a_provider_says() {
    let names = [("Alpha", Flavour::OpenAi)];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    let body = json!({"error": {"message": format!("bad key Bearer {GOOD}"), "code": GOOD}});
    let echo =
        Fault::RawResponse { status: 401, headers: Vec::new(), body: body.to_string().into() };
    sim.provider("alpha").expect("it is there").set_fault(Some(echo));
    let (code, text) = run_beside(dir.path(), &["check"], &[("ALPHA_APIKEY", GOOD)]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("bad key Bearer [key]") && !text.contains(GOOD), "{text}");
}

#[tokio::test]
async fn check_waits_out_a_short_throttle_and_asks_no_more_than_is_allowed() {
    let clock = Arc::new(SystemClock::start()) as _;
    let second = LimitSpec {
        what: What::Requests,
        window: Duration::from_secs(1),
        max: 1,
        spent: Some((1, Duration::from_millis(500))),
    };
    let model = ModelSpec { limits: vec![second], ..ModelSpec::new("m") };
    let spec = ProviderSpec::new("Alpha", Flavour::OpenAi).key(GOOD);
    let sim = simulate(vec![spec.model(model).model(ModelSpec::new("n"))], &clock);
    let dir = directory(&sim, &[("Alpha", Flavour::OpenAi)]);
    let (code, text) = run_beside(dir.path(), &["check"], &[("ALPHA_APIKEY", GOOD)]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 passed, 0 failed"), "{text}");
}

#[tokio::test]
async fn check_gives_up_what_hangs_and_does_not_ask_one_after_another() {
    let names = [("Alpha", Flavour::OpenAi), ("Beta", Flavour::OpenAi), ("Gamma", Flavour::OpenAi)];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    for (name, fault) in [
        ("alpha", Fault::Hang),
        ("beta", Fault::NeverEndingHeaders),
        ("gamma", Fault::HugeBody(2 << 30)),
    ] {
        sim.provider(name).expect("it is there").set_fault(Some(fault));
    }
    let variables = [
        ("ALPHA_APIKEY", GOOD),
        ("BETA_APIKEY", GOOD),
        ("GAMMA_APIKEY", GOOD),
        ("REQUEST_TIMEOUT_SECONDS", "1"),
    ];
    let begun = Instant::now();
    let (code, text) = run_beside(dir.path(), &["check"], &variables).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("0 passed, 6 failed"), "{text}");
    assert!(text.contains("no answer in time"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn check_passes_a_model_that_spends_its_token_on_thinking() {
    let names = [("Groq", Flavour::Groq), ("Gemini", Flavour::Gemini)];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    let say = |name: &str, body: serde_json::Value| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::RawResponse { status: 200, headers, body: body.to_string().into() };
        sim.provider(name).expect("it is there").set_fault(Some(fault));
    };
    say(
        "groq",
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "length",
                "message": {"role": "assistant", "content": "", "reasoning": "We"}}],
            "usage": {"prompt_tokens": 70, "completion_tokens": 1, "total_tokens": 71}}),
    );
    say(
        "gemini",
        json!({"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 4, "thoughtsTokenCount": 1},
            "modelVersion": "m"}),
    );
    let variables = [("GROQ_APIKEY", GOOD), ("GEMINI_APIKEY", GOOD)];
    let (code, text) = run_beside(dir.path(), &["check"], &variables).await;
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test]
async fn check_can_be_run_beside_a_running_gateway() {
    let names = [("Alpha", Flavour::OpenAi)];
    let sim = providers(&names);
    let dir = directory(&sim, &names);
    let path = dir.path().to_owned();
    let variables = [("ALPHA_APIKEY", GOOD)];
    let (program, _) = tokio::task::spawn_blocking(move || Program::start(&path, &[], &variables))
        .await
        .expect("it starts");
    assert!(dir.path().join("data").exists());
    let (code, text) = run_beside(dir.path(), &["check"], &[("ALPHA_APIKEY", GOOD)]).await;
    assert_eq!(code, Some(0), "{text}");
    program.kill();
}

#[test]
fn check_of_the_demo_names_the_one_that_is_out_of_quota() {
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &["check", "--demo"], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "nvidia", "meta/llama-3.3-70b-instruct")[0] == "PASS", "{text}");
    let groq = line(&text, "groq", "openai/gpt-oss-120b");
    assert!(groq[0] == "FAIL" && groq.join(" ").contains("today's quota is used up"), "{text}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn check_refuses_a_faulty_configuration() {
    let dir = TempDir::new().expect("a directory");
    let (code, text) = run(dir.path(), &["check"], &[("PORT", "x"), ("GROQ_APIKEY", "k k")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("PORT") && text.contains("GROQ_APIKEY"), "{text}");
}

#[tokio::test]
async fn status_shows_providers_quota_and_who_rests() {
    let names = [("Alpha", Flavour::OpenAi), ("Beta", Flavour::OpenAi)];
    let sim = providers(&names);
    let dir = TempDir::new().expect("a directory");
    let model = |limits| json!([{"name": "m", "type": "text", "scale": "small", "limits": limits}]);
    let limits = json!({"providers": [
        {"name": "Alpha", "url": sim.base_url("alpha"), "models": model(json!({"requests_per_day": 7}))},
        {"name": "Beta", "url": sim.base_url("beta"), "models": model(json!({"tokens_per_minute": 9_000}))},
    ]});
    let file = dir.path().join("provider_model_limits.json");
    std::fs::write(file, limits.to_string()).expect("a file");
    let rest = Fault::RateLimited { retry_after: Some(Duration::from_secs(600)) };
    sim.provider("beta").expect("it is there").script(None, vec![rest]);
    let running = tokio::task::spawn_blocking(move || {
        let master = "relay-master-7f3a9c1e";
        let both = format!("{GOOD},{BAD}");
        let variables =
            [("ALPHA_APIKEY", both.as_str()), ("BETA_APIKEY", GOOD), ("RELAY_API_KEY", master)];
        let (_program, addr) = Program::start(dir.path(), &["--data-dir", "none"], &variables);
        for model in ["alpha/m", "beta/m"] {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
            let key = format!("authorization: Bearer {master}\r\n");
            call_with(&addr, "POST /v1/chat/completions", &key, &body.to_string());
        }
        let port = addr.rsplit(':').next().expect("a port");
        let ask = |key| run(dir.path(), &["status", "--port", port], &[("RELAY_API_KEY", key)]);
        let wrong = ask("relay-wrong");
        let none = run(dir.path(), &["status", "--port", port], &[]);
        (ask(master), wrong, none)
    });
    let ((code, text), wrong, none) = running.await.expect("it runs");
    assert_eq!(code, Some(0), "{text}");
    let row = |name: &str| text.lines().filter(|it| it.starts_with(name)).collect::<Vec<_>>();
    let first_of = |name: &str| row(name).first().map(|it| (*it).to_owned()).expect(name);
    assert!(first_of("Alpha ").contains("ok"), "{text}");
    assert_eq!(row("Alpha/m").len(), 2, "{text}");
    // One key answered, and then one was refused.
    assert!(text.contains("of 7 requests/day"), "{text}");
    assert!(first_of("Beta/m").contains("resting") && first_of("Beta/m").contains("min"), "{text}");
    for (code, text) in [wrong, none] {
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("RELAY_API_KEY"), "{text}");
    }
    for key in [GOOD, BAD, "relay-master"] {
        assert!(!text.contains(key), "{text}");
    }
}

#[tokio::test]
async fn status_says_so_when_nobody_or_a_stranger_answers() {
    let dir = TempDir::new().expect("a directory");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = nobody.local_addr().expect("an address").port().to_string();
    drop(nobody);
    let (code, text) = run(dir.path(), &["status", "--port", &dead], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is it running") && text.contains(&dead), "{text}");
    // A stranger: the simulated providers' own server.
    let sim = providers(&[]);
    let port = sim.addr().port().to_string();
    let path = dir.path().to_owned();
    let asking = tokio::task::spawn_blocking(move || run(&path, &["status", "--port", &port], &[]));
    let (code, text) = asking.await.expect("it runs");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not the answer of this program"), "{text}");
    // One that accepts and stays silent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let begun = Instant::now();
    let (code, text) = run(dir.path(), &["status", "--port", &port], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no answer"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
