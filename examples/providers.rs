//! Simulated providers as a process of their own, for tests that are not written in Rust.
//!
//! It reads one line of JSON from standard input, `[{"name","flavour","models":[{"name","reasoning",
//! "older","requests"}]}]`, prints the address it listens at, and serves until that input
//! ends. `GET /` there lists the providers with their base URLs. `requests` is how many requests a
//! model takes in a day; without it any number.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use relayfreellm::clock::SharedClock;
use relayfreellm::clock::SystemClock;
use relayfreellm::sim::Flavour;
use relayfreellm::sim::ModelSpec;
use relayfreellm::sim::ProviderSpec;
use relayfreellm::sim::SimConfig;
use relayfreellm::sim::SimServer;
use relayfreellm::sim::What;

#[derive(Deserialize)]
struct Provider {
    name: String,
    flavour: String,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    reasoning: bool,
    #[serde(default)]
    older: bool,
    requests: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let cast: Vec<Provider> = serde_json::from_str(&line)?;
    let cast = cast.iter().map(spec).collect::<Result<Vec<_>, _>>()?;
    let clock: SharedClock = Arc::new(SystemClock::start());
    let config = SimConfig { keep_records: 0, ..SimConfig::new(cast) };
    let server = SimServer::start(config, SocketAddr::from(([127, 0, 0, 1], 0)), &clock)?;
    writeln!(std::io::stdout().lock(), "http://{}", server.addr())?;
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
    Ok(())
}

fn spec(provider: &Provider) -> Result<ProviderSpec, String> {
    let unknown = || format!("there is no flavour {}", provider.flavour);
    let flavour = Flavour::from_name(&provider.flavour).ok_or_else(unknown)?;
    let spec = ProviderSpec::new(&provider.name, flavour);
    Ok(provider.models.iter().map(model).fold(spec, ProviderSpec::model))
}

fn model(model: &Model) -> ModelSpec {
    let spec =
        ModelSpec { reasoning: model.reasoning, older: model.older, ..ModelSpec::new(&model.name) };
    match model.requests {
        Some(most) => spec.limit(What::Requests, Duration::from_secs(86_400), most),
        None => spec,
    }
}
