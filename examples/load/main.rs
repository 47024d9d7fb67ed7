//! Load for a gateway, from one thread.
//!
//! `load drive URL BODY-FILE` asks as often as it can; `load soak URL BODY-FILE...` asks at a steady
//! rate, leaves some answers unread and checks all others. Both print JSON, a line for each result.
//! `benches/load` runs them.

mod awake;
mod drive;
mod events;
mod soak;
mod times;
mod wire;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tokio::task::JoinSet;

use wire::Address;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Load for a gateway, from one thread")]
struct Flags {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// As many requests as the connections carry.
    Drive {
        #[command(flatten)]
        shared: Shared,
        /// The request's body; without `stream` in it.
        body: PathBuf,
        /// Ask for streams.
        #[arg(long)]
        stream: bool,
        /// Never sleep.
        #[arg(long)]
        awake: bool,
    },
    /// Requests of all bodies, plain and streamed, at a steady rate, with every answer checked.
    Soak {
        #[command(flatten)]
        shared: Shared,
        /// Bodies of requests, each as often as the others.
        #[arg(required = true)]
        bodies: Vec<PathBuf>,
        /// Where the right answers come from; asked before the rest begins.
        #[arg(long)]
        truth: String,
        /// Requests a second; as many as can be when 0.
        #[arg(long, default_value_t = 0.0)]
        rate: f64,
        /// Callers in a hundred that leave before their answer is complete.
        #[arg(long, default_value_t = 0)]
        aborts: u8,
        /// Seconds between two lines.
        #[arg(long, default_value_t = 10.0)]
        tick: f64,
    },
}

#[derive(Args)]
struct Shared {
    /// The URL of chat completions.
    url: String,
    /// Connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// For how long.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A line of the request's head, such as `authorization: Bearer key`.
    #[arg(long = "header")]
    headers: Vec<String>,
}

/// What is asked where.
pub(crate) struct Target {
    pub(crate) address: Address,
    /// Head and body.
    pub(crate) request: Vec<u8>,
    pub(crate) streamed: bool,
}

impl Target {
    fn new(url: &str, headers: &[String], body: &[u8], streamed: bool) -> Fallible<Self> {
        let address = Address::parse(url).ok_or("not a URL like http://host:port/path")?;
        let request = if streamed {
            let asks = br#"{"stream":true,"stream_options":{"include_usage":true},"#;
            let rest = body.strip_prefix(b"{").ok_or("a body begins with {")?;
            address.post(headers, &[asks, rest].concat())
        } else {
            address.post(headers, body)
        };
        Ok(Self { address, request, streamed })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    match Flags::parse().mode {
        Mode::Drive { shared, body, stream, awake } => {
            let target = Target::new(&shared.url, &shared.headers, &std::fs::read(body)?, stream)?;
            let mut watch = JoinSet::new();
            if awake {
                watch.spawn(async {
                    loop {
                        awake::look().await;
                    }
                });
            }
            tell(&drive::drive(target, shared.connections, shared.seconds).await?)
        }
        Mode::Soak { shared, bodies, truth, rate, aborts, tick } => {
            let bodies = bodies.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
            let plan = soak::Plan::new(&shared, &bodies, rate, aborts, tick)?;
            plan.run(&truth, &bodies).await
        }
    }
}

/// Prints a line.
fn tell(line: &str) -> Fallible<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
