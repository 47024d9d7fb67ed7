//! The yield over real sockets and in real time, to compare with the virtual one: the built program
//! in front of simulated providers, saturated for a minute and a half.
//!
//! `cargo build && cargo run --example quota_sockets [-- SECONDS]` prints, for each provider, what was answered of
//! what its windows held, and how many requests it refused.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement may stop where it can't go on"
)]

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use relayfreellm::clock::{SharedClock, SystemClock};
use relayfreellm::sim::{
    Flavour, ModelSpec, Pace, ProviderSpec, SimConfig, SimProvider, SimServer, What,
};
use serde_json::json;
use tempfile::TempDir;

#[path = "../crash/lab/http.rs"]
mod http;
#[path = "../crash/lab/program.rs"]
mod program;

use http::Connection;
use program::Program;

/// Name, keys, what is counted, over how many seconds, and how much of it may be used.
const PROVIDERS: &[(&str, usize, What, u64, u64)] = &[
    ("Second", 3, What::Requests, 1, 1),
    ("Minute", 3, What::Requests, 60, 20),
    ("Words", 1, What::Tokens, 60, 6_000),
];
const CALLERS: usize = 16;
const BODY: &str =
    r#"{"model":"auto","max_tokens":60,"messages":[{"role":"user","content":"Is it on?"}]}"#;

fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).map_or(90, |it| it.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new()?;
    let _inside = runtime.enter();
    let clock: SharedClock = Arc::new(SystemClock::start());
    let config = SimConfig::new(PROVIDERS.iter().map(spec).collect());
    let sim = SimServer::start(config, SocketAddr::from(([127, 0, 0, 1], 0)), &clock)?;

    let dir = TempDir::new()?;
    write_files(dir.path(), &sim)?;
    let names: Vec<String> =
        PROVIDERS.iter().map(|it| format!("{}_APIKEY", it.0.to_uppercase())).collect();
    let keys: Vec<String> = PROVIDERS.iter().map(|it| keys(it).join(",")).collect();
    let variables: Vec<(&str, &str)> =
        names.iter().zip(&keys).map(|(name, keys)| (name.as_str(), keys.as_str())).collect();
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).expect("target/debug/examples lies deep");
    let mut gateway = Program::spawn(&target.join("relayfreellm"), dir.path(), &variables);
    let addr = gateway.addr();

    let end = clock.now().monotonic + Duration::from_secs(seconds);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| call_until(&addr, &clock, end));
        }
    });
    gateway.kill();
    let mut out = std::io::stdout().lock();
    for provider in PROVIDERS {
        let simulated = sim.provider(provider.0).expect("it was started");
        writeln!(out, "{}", row(provider, &simulated, seconds))?;
    }
    Ok(())
}

fn keys((name, keys, ..): &(&str, usize, What, u64, u64)) -> Vec<String> {
    (0..*keys).map(|it| format!("key-of-{}-{it}", name.to_lowercase())).collect()
}

fn spec(provider: &(&str, usize, What, u64, u64)) -> ProviderSpec {
    let (name, _, what, window, max) = *provider;
    let model = ModelSpec::new("m").limit(what, Duration::from_secs(window), max);
    let pace = Pace { first_token: Duration::from_millis(200), ..Pace::default() };
    let spec = ProviderSpec::new(name, Flavour::OpenAi).model(model);
    let spec = ProviderSpec { pace, ..spec };
    keys(provider).iter().fold(spec, |spec, key| spec.key(key))
}

fn write_files(dir: &Path, sim: &SimServer) -> std::io::Result<()> {
    let entries = PROVIDERS.iter().map(|(name, _, what, window, max)| {
        let period = if *window == 1 { "second" } else { "minute" };
        let limit = format!("{}_per_{period}", what.name());
        json!({"name": name, "url": sim.base_url(name), "models": [
            {"name": "m", "type": "text", "scale": "medium", "limits": {limit: max}}]})
    });
    let limits = json!({"providers": entries.collect::<Vec<_>>()});
    fs::write(dir.join("provider_model_limits.json"), limits.to_string())
}

/// Asks again as soon as it is answered; who is refused comes back when told.
fn call_until(addr: &str, clock: &SharedClock, end: Duration) {
    let mut connection = Connection::to(addr).expect("it listens");
    while clock.now().monotonic < end {
        let (status, answer) =
            connection.ask("POST /v1/chat/completions", BODY).expect("an answer");
        if status == 429 {
            let error: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            let rest = error["error"]["retry_after_ms"].as_u64().expect("a time");
            let left = end.saturating_sub(clock.now().monotonic);
            thread::sleep(Duration::from_millis(rest).min(left));
        } else {
            assert_eq!(status, 200, "{answer}");
        }
    }
}

/// What a provider let in until the end, of what its windows hold.
fn row(
    (name, keys, what, window, max): &(&str, usize, What, u64, u64),
    simulated: &SimProvider,
    seconds: u64,
) -> String {
    let records = simulated.records();
    let first = records.iter().map(|it| it.at.monotonic).min().unwrap_or_default();
    let end = first + Duration::from_secs(seconds);
    let let_in: Vec<_> =
        records.iter().filter(|it| it.status == Some(200) && it.at.monotonic < end).collect();
    let refused = records.iter().filter(|it| it.status == Some(429)).count();
    let used: u64 = match what {
        What::Requests => u64::try_from(let_in.len()).expect("few"),
        What::Tokens => {
            let tokens = let_in.iter().filter_map(|it| it.reported_usage);
            tokens.map(|(prompt, completion)| prompt + completion).sum()
        }
    };
    let windows = seconds.div_ceil(*window);
    let held = max * windows * u64::try_from(*keys).expect("few");
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let share = used as f64 / held as f64;
    format!(
        "{name}: {used} of {held} {} in {windows} windows of {window} s with {keys} keys: {share:.3}; {refused} of {} \
         requests refused",
        what.name(),
        records.len()
    )
}
