//! A provider that answers at once and refuses nothing, for measurements.
//!
//! It prints the base URL to ask and serves until it is ended.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use relayfreellm::clock::SharedClock;
use relayfreellm::clock::SystemClock;
use relayfreellm::sim::Answer;
use relayfreellm::sim::Flavour;
use relayfreellm::sim::ProviderSpec;
use relayfreellm::sim::SimConfig;
use relayfreellm::sim::SimServer;

/// Repeated to an answer of about 1 KB.
const SENTENCE: &str = "A second provider, a queue with a limit, and a clear message to visitors. ";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::start());
    let answer = Answer::Fixed(SENTENCE.repeat(14));
    let mock = ProviderSpec { answer, ..ProviderSpec::new("mock", Flavour::OpenAi) };
    let config = SimConfig { keep_records: 0, ..SimConfig::new(vec![mock]) };
    let server = SimServer::start(config, SocketAddr::from(([127, 0, 0, 1], 0)), &clock)?;
    writeln!(std::io::stdout().lock(), "{}", server.base_url("mock"))?;
    std::future::pending().await
}
