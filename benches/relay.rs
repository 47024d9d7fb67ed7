//! Passing a stream of 50 pieces on, from the provider's bytes to the caller's events: reading
//! (`sse`), the mender, and the relay with its normaliser. With chunks that are read already, the
//! relay alone.
//!
//! `cargo bench --bench relay`

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use relayfreellm::breaker::Breakers;
use relayfreellm::catalog::{Catalog, IdBook};
use relayfreellm::clock::{SharedClock, SystemClock};
use relayfreellm::config;
use relayfreellm::config::{FileChoice, Flags};
use relayfreellm::context;
use relayfreellm::dispatch::outcome::{Answer, ChatCall, ChatService as _, Requirements, Who};
use relayfreellm::dispatch::{Books, Dispatcher, Params, Pool};
use relayfreellm::normalize;
use relayfreellm::openai::{ChatRequest, Chunk};
use relayfreellm::provider::fault::Fault;
use relayfreellm::provider::openai_compatible::OpenAiCompatible;
use relayfreellm::provider::quirks;
use relayfreellm::provider::transport::Transport;
use relayfreellm::provider::{Call, ChatProvider, Pieces, Reply, Unmet};
use relayfreellm::quota::{Ledger, TargetBooks};
use relayfreellm::select;
use relayfreellm::select::{Latencies, Selector};
use relayfreellm::session;
use relayfreellm::session::Sessions;
use relayfreellm::telemetry::Metrics;
use relayfreellm::usage::UsageBook;

const PIECES: usize = 50;
/// With the end and the usage.
const EVENTS: usize = PIECES + 2;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn events() -> impl Iterator<Item = String> {
    let chunk = |choices: &str, usage: &str| {
        format!(
            r#"{{"id":"chatcmpl-measured","object":"chat.completion.chunk","created":1785600000,"model":"measured","system_fingerprint":"fp_measured","choices":[{choices}],"usage":{usage}}}"#
        )
    };
    let content = move |number| {
        let delta = format!(r#"{{"content":" word{number}"}}"#);
        chunk(
            &format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}"#),
            "null",
        )
    };
    let end = chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "null");
    let usage = chunk("", r#"{"prompt_tokens":128,"completion_tokens":50,"total_tokens":178}"#);
    (0..PIECES).map(content).chain([end, usage])
}

/// A provider whose chunks have come already.
struct Read(Vec<Bytes>);

impl ChatProvider for Read {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        call.sent.set();
        let chunks: Vec<_> = self.0.iter().filter_map(|it| Chunk::parse(it).ok()).map(Ok).collect();
        let chunks = futures::stream::iter(chunks).boxed();
        Box::pin(async { Ok(Reply::Stream(Pieces { chunks, unmet: Unmet::default() })) })
    }
}

/// A provider on loopback that answers one connection's requests with the whole stream at once;
/// its base URL.
fn provider() -> Fallible<String> {
    let all: Vec<String> = events().chain(["[DONE]\n\n".to_owned()]).collect();
    let body = format!("data: {}", all.join("\n\ndata: "));
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    std::thread::spawn(move || -> std::io::Result<()> {
        for socket in listener.incoming() {
            let mut socket = socket?;
            socket.set_nodelay(true)?;
            let mut request = [0; 4096];
            // A request of this benchmark is shorter, and comes in one piece.
            while socket.read(&mut request)? > 0 {
                socket.write_all(answer.as_bytes())?;
            }
        }
        Ok(())
    });
    Ok(url)
}

/// The dispatcher over one model of one provider.
fn dispatcher(client: &Arc<dyn ChatProvider>, clock: &SharedClock) -> Fallible<Dispatcher> {
    let catalog = Arc::new(catalog()?);
    let ledger = Arc::new(Ledger::new());
    ledger.configure(catalog.targets().map(TargetBooks::from), clock.now());
    let books = Books {
        ledger,
        breakers: Arc::new(Breakers::new()),
        sessions: Arc::new(Sessions::new(session::Params {
            enabled: true,
            ttl: Duration::from_secs(3_600),
            max_sessions: 1_000,
        })),
        usage: Arc::new(UsageBook::new()),
        latencies: Arc::new(Latencies::default()),
        metrics: Arc::new(Metrics::new()),
        traces: Arc::default(),
    };
    let clients: HashMap<_, _> =
        catalog.providers().iter().map(|it| (it.id, Arc::clone(client))).collect();
    let pool = Pool { selector: Selector::new(catalog, select::Params::default()), clients };
    let params = Params {
        max_retries: 8,
        max_quota_wait: Duration::from_secs(10),
        deadline: Duration::from_secs(120),
        timeout: Duration::from_secs(60),
        stream_continuation: true,
        no_training: false,
        first_token_timeout: Duration::from_secs(30),
        context: context(),
        normalizer: normalize::Params { enabled: true },
        own_keys: Vec::new(),
    };
    // The provider tells its usage, so nothing is ever settled behind its back.
    let (dispatcher, _settlements) = Dispatcher::new(pool, books, Arc::clone(clock), params);
    Ok(dispatcher)
}

/// As the built-in settings have it.
fn context() -> context::Params {
    context::Params {
        mode: context::Mode::Reservoir,
        apply: context::Apply::WhenNeeded,
        static_keep: 10,
        dynamic: context::Dynamic { target: 0.8, least: 0.3, most_boost: 3.0 },
        reservoir_keep: 15,
        reservoir_summary: 400,
        adaptive_summary: 200,
        summary_timeout: Duration::from_secs(2),
        answer_reserve: 1_024,
        style: context::Style { enabled: true, guide: context::style::GUIDE.into(), handoff: true },
    }
}

fn catalog() -> Fallible<Catalog> {
    let dir = tempfile::tempdir()?;
    let limits = dir.path().join("limits.json");
    let model = r#"{"name":"m","type":"text","scale":"medium"}"#;
    let provider = format!(
        r#"{{"name":"mock","url":"http://127.0.0.1:1/v1","api_key_env":"","models":[{model}]}}"#
    );
    std::fs::write(&limits, format!(r#"{{"providers":[{provider}]}}"#))?;
    let flags = Flags { limits: FileChoice::named(limits), ..Flags::default() };
    let config = config::load(&flags, &|_| None, &mut IdBook::default());
    Ok(config.map_err(|it| it.to_string())?.catalog)
}

/// One stream from its request to its last event; how many events it had.
async fn stream(dispatcher: &Dispatcher, request: &ChatRequest) -> usize {
    let request = request.clone();
    let call = ChatCall {
        request,
        session: None,
        who: Who::default(),
        request_id: "measured".into(),
        style: None,
        normalize: true,
        key: None,
        requires: Requirements::default(),
    };
    let Ok(Answer::Stream { events, .. }) = dispatcher.begin(call).answer.await else { return 0 };
    events
        .fold(0, |count, event| async move { count + usize::from(black_box(event).is_ok()) })
        .await
}

fn relay(c: &mut Criterion) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock: SharedClock = Arc::new(SystemClock::start());
    let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;
    let request = ChatRequest::parse(&Bytes::from_static(body)).map_err(|it| it.message)?;
    let transport = Transport::default();
    let read = Read(events().map(Bytes::from).collect());
    let wire =
        OpenAiCompatible::new(&provider()?, quirks::of("mock"), transport, Arc::clone(&clock))?;
    let mut group = c.benchmark_group("stream of 50 pieces");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let clients: [(&str, Arc<dyn ChatProvider>); 2] = [
        ("chunks read, relayed", Arc::new(read)),
        ("loopback, events, mended, relayed", Arc::new(wire)),
    ];
    for (name, client) in clients {
        let dispatcher = dispatcher(&client, &clock)?;
        let came = runtime.block_on(stream(&dispatcher, &request));
        if came != EVENTS {
            return Err(format!("{name}: {came} events").into());
        }
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(stream(&dispatcher, &request)));
        });
    }
    group.finish();
    Ok(())
}

#[expect(clippy::expect_used, reason = "a benchmark may stop")]
fn measured(c: &mut Criterion) {
    relay(c).expect("a provider, a pool and its streams");
}

criterion_group!(benches, measured);
criterion_main!(benches);
