//! What many open streams and idle connections cost a gateway: memory for each stream, and how long
//! short requests take beside them.
//!
//! `cargo build --release && cargo run --release --example crowd [STREAMS [IDLE]]`; 5,000 and 10,000
//! unless told otherwise. The gateway needs a descriptor for each idle connection and two for each
//! stream (`ulimit -n`).

use std::error::Error;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use relayfreellm::clock::SharedClock;
use relayfreellm::clock::SystemClock;
use relayfreellm::sim::Answer;
use relayfreellm::sim::Flavour;
use relayfreellm::sim::Pace;
use relayfreellm::sim::ProviderSpec;
use relayfreellm::sim::SimConfig;
use relayfreellm::sim::SimServer;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Connections opened at once, and short requests under way at once.
const AT_ONCE: usize = 64;
const SHORT_AT_ONCE: usize = 8;
/// Short requests measured.
const SHORT: usize = 4_000;
/// Words of a slow answer, one every other second: it outlasts the measurement.
const WORDS: usize = 400;

#[tokio::main]
async fn main() -> Fallible<()> {
    let mut sizes = std::env::args().skip(1).map(|it| it.parse::<usize>());
    let streams = sizes.next().transpose()?.unwrap_or(5_000);
    let idle = sizes.next().transpose()?.unwrap_or(10_000);
    let upstream = upstream()?;
    let dir = tempfile::tempdir()?;
    let gateway = Gateway::start(dir.path(), &upstream)?;
    tell(&format!("idle, just started: {} KiB", gateway.memory()?))?;
    gateway.short_requests().await?;
    tell(&format!("alone: {}", gateway.short_requests().await?))?;

    let before = gateway.memory()?;
    let kept = gateway.idle_connections(idle).await?;
    let with_idle = gateway.memory()?;
    tell(&format!("{} idle connections: {}", kept.len(), each(before, with_idle, kept.len())))?;
    let open = gateway.open_streams(streams).await?;
    let with_streams = gateway.memory()?;
    tell(&format!("{} open streams: {}", open.len(), each(with_idle, with_streams, open.len())))?;
    tell(&format!("beside them: {}", gateway.short_requests().await?))?;
    tell(&format!("at the end: {} KiB", gateway.memory()?))?;
    drop((kept, open));
    Ok(())
}

fn tell(text: &str) -> Fallible<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

fn each(before: u64, after: u64, count: usize) -> String {
    let grown = after.saturating_sub(before);
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    let tenths = grown * 10 / count;
    format!("{grown} KiB, {}.{} KiB each", tenths / 10, tenths % 10)
}

/// One provider that answers at once and one that takes its time.
fn upstream() -> std::io::Result<SimServer> {
    let clock: SharedClock = Arc::new(SystemClock::start());
    let fast = ProviderSpec {
        answer: Answer::Fixed("Short.".to_owned()),
        ..ProviderSpec::new("fast", Flavour::OpenAi)
    };
    let slow = ProviderSpec {
        answer: Answer::Fixed("word ".repeat(WORDS)),
        pace: Pace { per_chunk: Duration::from_secs(2), ..Pace::default() },
        ..ProviderSpec::new("slow", Flavour::OpenAi)
    };
    let config = SimConfig { keep_records: 0, ..SimConfig::new(vec![fast, slow]) };
    SimServer::start(config, SocketAddr::from(([127, 0, 0, 1], 0)), &clock)
}

/// The program in a process of its own; ended when dropped.
struct Gateway {
    child: Child,
    addr: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Gateway {
    fn start(dir: &Path, upstream: &SimServer) -> Fallible<Self> {
        let provider = |name: &str| {
            json!({"name": name, "url": upstream.base_url(name), "kind": "openai",
                "models": [{"name": "m", "type": "text", "scale": "medium"}]})
        };
        let limits = json!({"providers": [provider("fast"), provider("slow")]});
        let file = dir.join("limits.json");
        std::fs::write(&file, limits.to_string())?;
        let program = std::env::current_exe()?;
        let program = program.parent().and_then(Path::parent).ok_or("no directory of programs")?;
        let mut child = Command::new(program.join("relayfreellm"))
            .args(["--port", "0", "--data-dir", "none", "--limits"])
            .arg(file)
            .current_dir(dir)
            .env_clear()
            .envs([("FAST_APIKEY", "fast-key-0123"), ("SLOW_APIKEY", "slow-key-0123")])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut line)?;
        let addr = line.split("http://").nth(1).and_then(|it| it.split('/').next());
        let addr = addr.ok_or("it did not start")?.to_owned();
        Ok(Self { child, addr, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// What it keeps in memory, in KiB.
    fn memory(&self) -> Fallible<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    async fn ask(&self, model: &str, streamed: bool) -> Fallible<Incoming> {
        let messages = json!([{"role": "user", "content": "Why is the sky blue?"}]);
        let body = json!({"model": model, "stream": streamed, "messages": messages}).to_string();
        let url = format!("http://{}/v1/chat/completions", self.addr);
        let request = Request::post(url).body(Full::new(Bytes::from(body)))?;
        let answer = self.client.request(request).await?;
        if !answer.status().is_success() {
            return Err(format!("{model}: {}", answer.status()).into());
        }
        Ok(answer.into_body())
    }

    /// The times of many short requests, in words.
    async fn short_requests(&self) -> Fallible<String> {
        let one = |_| async {
            let began = Instant::now();
            self.ask("fast/m", false).await?.collect().await?;
            Fallible::Ok(began.elapsed())
        };
        let times = stream::iter(0..SHORT).map(one).buffer_unordered(SHORT_AT_ONCE);
        let mut times: Vec<Duration> =
            times.collect::<Vec<_>>().await.into_iter().collect::<Fallible<_>>()?;
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        Ok(format!("{SHORT} short requests: p50 {:?}, p99 {:?}", at(50), at(99)))
    }

    /// Connections that have had one answer each and are kept.
    async fn idle_connections(&self, count: usize) -> Fallible<Vec<TcpStream>> {
        let one = |_| async {
            let mut kept = TcpStream::connect(&self.addr).await?;
            kept.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
            let mut answer = [0; 1024];
            if kept.read(&mut answer).await? == 0 {
                return Err("a connection was closed at once".into());
            }
            Fallible::Ok(kept)
        };
        let all = stream::iter(0..count).map(one).buffer_unordered(AT_ONCE);
        all.collect::<Vec<_>>().await.into_iter().collect()
    }

    /// Streams that have begun and go on.
    async fn open_streams(&self, count: usize) -> Fallible<Vec<Incoming>> {
        let one = |_| async {
            let mut body = self.ask("slow/m", true).await?;
            body.frame().await.ok_or("an empty stream")??;
            Fallible::Ok(body)
        };
        let all = stream::iter(0..count).map(one).buffer_unordered(AT_ONCE);
        all.collect::<Vec<_>>().await.into_iter().collect()
    }
}
