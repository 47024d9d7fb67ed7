//! A provider that costs next to nothing, for measurements: the same answer of about 1 KB to
//! everything, or the same stream of 50 pieces, each written to the connection on its own.
//!
//! It prints the base URL to ask and serves until it is ended. `GET /stats` there tells what it was
//! asked and which faults it made.

#[path = "load/awake.rs"]
mod awake;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::task::TaskTracker;

/// Repeated to an answer of about 1 KB.
const SENTENCE: &str = "A second provider, a queue with a limit, and a clear message to visitors.";
/// In a request it asks for a pause after the stream's first piece: who measures when that arrives
/// is not to wait until this program, on the same processor, has written all others.
const PAUSES: &[u8] = b"\"pause\"";
const PAUSE: Duration = Duration::from_millis(2);
/// How long an answer that is a fault by being slow waits.
const SLOW: Duration = Duration::from_millis(300);
/// How long after the last request it stays awake, where it is to.
const ATTENTION: Duration = Duration::from_millis(50);

#[derive(Parser)]
#[command(about = "A provider for measurements")]
struct Flags {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Content pieces of a stream.
    #[arg(long, default_value_t = 50)]
    pieces: usize,
    /// Milliseconds between two pieces.
    #[arg(long, default_value_t = 0)]
    pace: u64,
    /// Faulty answers in a hundred.
    #[arg(long, default_value_t = 0)]
    faults: u64,
    /// Sleep only when nobody has asked for a while.
    #[arg(long)]
    awake: bool,
    /// Read each request as JSON and write each whole answer anew, as most servers do.
    #[arg(long)]
    thorough: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    let listener = TcpListener::bind(flags.addr).await?;
    writeln!(std::io::stdout().lock(), "http://{}/v1", listener.local_addr()?)?;
    let house = Arc::new(House::new(&flags));
    let connections = TaskTracker::new();
    if flags.awake {
        connections.spawn(stay_awake(Arc::clone(&house)));
    }
    loop {
        // Out of descriptors or a caller gone already: the next one may fare better.
        let Ok((socket, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        socket.set_nodelay(true)?;
        let house = Arc::clone(&house);
        connections.spawn(async move {
            let service = service_fn(|request| house.answer(request));
            let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            // An error is a caller that left, or a connection cut on purpose.
            let _ended = served.await;
        });
    }
}

async fn stay_awake(house: Arc<House>) {
    let (mut asked, mut since) = (0, Instant::now());
    loop {
        let now = house.asked.load(Ordering::Relaxed);
        if now != asked {
            (asked, since) = (now, Instant::now());
        }
        if since.elapsed() < ATTENTION {
            awake::look().await;
        } else {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What can be wrong with an answer, as often each.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Limited,
    Broken,
    Busy,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// The connection is closed instead of an answer.
    Closed,
    Slow,
    /// An error where an answer should be, with status 200.
    Inside,
}

const FAULTS: [Fault; 7] = [
    Fault::Limited,
    Fault::Broken,
    Fault::Busy,
    Fault::Cut,
    Fault::Closed,
    Fault::Slow,
    Fault::Inside,
];

/// What all connections share.
struct House {
    whole: Arc<[Bytes]>,
    stream: Arc<[Bytes]>,
    pace: Duration,
    faults: u64,
    thorough: bool,
    asked: AtomicU64,
    made: [AtomicU64; FAULTS.len()],
}

impl House {
    fn new(flags: &Flags) -> Self {
        Self {
            whole: Arc::new([whole().into()]),
            stream: stream(flags.pieces).map(Bytes::from).collect(),
            pace: Duration::from_millis(flags.pace),
            faults: flags.faults,
            thorough: flags.thorough,
            asked: AtomicU64::new(0),
            made: Default::default(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Pieces>, Cut> {
        if request.method() != Method::POST {
            return Ok(self.stats());
        }
        let body = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
        let streamed = wants_stream(&body);
        let pieces = Arc::clone(if streamed { &self.stream } else { &self.whole });
        let kind = if streamed { "text/event-stream" } else { "application/json" };
        let mut answer = Pieces::new(pieces, self.pace);
        if self.thorough {
            let read = serde_json::from_slice::<serde::de::IgnoredAny>(&body);
            if read.is_err() {
                return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request_error"));
            }
            if !streamed {
                answer = Pieces::one(whole());
            }
        }
        answer.pauses = streamed && memchr::memmem::find(&body, PAUSES).is_some();
        match self.fault() {
            None => {}
            Some(Fault::Limited) => {
                let mut refusal = refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
                refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return Ok(refusal);
            }
            Some(Fault::Broken) => {
                return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error"));
            }
            Some(Fault::Busy) => {
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
            }
            Some(Fault::Closed) => return Err(Cut),
            Some(Fault::Cut) => answer.cut(),
            Some(Fault::Slow) => sleep(SLOW).await,
            Some(Fault::Inside) => {
                let error = error("server_error");
                let text = if streamed { format!("data: {error}\n\n") } else { error };
                answer = Pieces::one(text);
            }
        }
        Ok(respond(StatusCode::OK, kind, answer))
    }

    /// What is to be wrong with the next answer: drawn by its number, the same in every run.
    fn fault(&self) -> Option<Fault> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.faults == 0 {
            return None;
        }
        let mut rng = fastrand::Rng::with_seed(number);
        if rng.u64(0..100) >= self.faults {
            return None;
        }
        let drawn = rng.usize(0..FAULTS.len());
        self.made.get(drawn)?.fetch_add(1, Ordering::Relaxed);
        FAULTS.get(drawn).copied()
    }

    fn stats(&self) -> Response<Pieces> {
        let made = FAULTS.iter().zip(&self.made);
        let made: serde_json::Map<_, _> = made
            .map(|(fault, count)| {
                (format!("{fault:?}").to_lowercase(), count.load(Ordering::Relaxed).into())
            })
            .collect();
        let stats = json!({"requests": self.asked.load(Ordering::Relaxed), "faults": made});
        respond(StatusCode::OK, "application/json", Pieces::one(stats.to_string()))
    }
}

/// Does a chat request ask for a stream? Read without parsing, to leave the processor to others.
fn wants_stream(body: &[u8]) -> bool {
    let key = b"\"stream\"";
    memchr::memmem::find(body, key).is_some_and(|at| {
        let value = body.get(at + key.len()..).unwrap_or_default();
        let value = value.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
        value.trim_ascii_start().starts_with(b"true")
    })
}

fn whole() -> String {
    let text = [SENTENCE; 13].join(" ");
    json!({
        "id": "chatcmpl-measured", "object": "chat.completion", "created": 1_785_600_000,
        "model": "measured",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 128, "completion_tokens": 182, "total_tokens": 310},
        "system_fingerprint": "fp_measured",
    })
    .to_string()
}

/// The events of a stream: its pieces, the end, the usage, the mark.
fn stream(pieces: usize) -> impl Iterator<Item = String> {
    let event = |choices: serde_json::Value, usage: serde_json::Value| {
        let chunk = json!({"id": "chatcmpl-measured", "object": "chat.completion.chunk",
            "created": 1_785_600_000, "model": "measured", "system_fingerprint": "fp_measured",
            "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let content = move |number| {
        let mut text = String::new();
        // Each piece another one, so that a lost or doubled one is seen.
        let _infallible = write!(text, "{}word{number}", if number == 0 { "" } else { " " });
        let delta = if number == 0 {
            json!({"role": "assistant", "content": text})
        } else {
            json!({"content": text})
        };
        event(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
            json!(null),
        )
    };
    let end = event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), json!(null));
    let tokens = json!({"prompt_tokens": 128, "completion_tokens": pieces,
        "total_tokens": 128 + pieces});
    let usage = event(json!([]), tokens);
    (0..pieces).map(content).chain([end, usage, "data: [DONE]\n\n".to_owned()])
}

fn error(code: &str) -> String {
    json!({"error": {"message": "made to fail", "type": code, "param": null, "code": code}})
        .to_string()
}

fn refusal(status: StatusCode, code: &str) -> Response<Pieces> {
    respond(status, "application/json", Pieces::one(error(code)))
}

fn respond(status: StatusCode, kind: &'static str, body: Pieces) -> Response<Pieces> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The connection is to end here. hyper closes it when a body or a service fails.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A body of pieces that go out one by one.
struct Pieces {
    all: Arc<[Bytes]>,
    next: usize,
    pace: Duration,
    /// Is the pause after the first piece still to come?
    pauses: bool,
    rest: Rest,
    /// It breaks off before this piece.
    cut: Option<usize>,
}

/// What is waited for before the next piece.
enum Rest {
    /// Until what was given has been written: hyper writes when it is told to wait.
    Write,
    /// For the pace.
    Time(Pin<Box<Sleep>>),
    Over,
}

impl Pieces {
    fn new(all: Arc<[Bytes]>, pace: Duration) -> Self {
        Self { all, next: 0, pace, pauses: false, rest: Rest::Over, cut: None }
    }

    fn one(text: String) -> Self {
        Self::new(Arc::new([text.into()]), Duration::ZERO)
    }

    /// Half of it, then nothing.
    fn cut(&mut self) {
        if let [whole] = &*self.all {
            let half = whole.slice(..whole.len() / 2);
            self.all = Arc::new([half, Bytes::new()]);
        }
        self.cut = Some(self.all.len() / 2);
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.rest {
            Rest::Write => {
                self.rest = Rest::Over;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Rest::Time(sleep) => ready!(sleep.as_mut().poll(cx)),
            Rest::Over => {}
        }
        Poll::Ready(())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        ready!(self.poll_rest(cx));
        if self.cut == Some(self.next) {
            return Poll::Ready(Some(Err(Cut)));
        }
        let Some(piece) = self.all.get(self.next).cloned() else { return Poll::Ready(None) };
        self.next += 1;
        let wait = if self.pauses { PAUSE } else { self.pace };
        self.pauses = false;
        self.rest = if wait.is_zero() { Rest::Write } else { Rest::Time(Box::pin(sleep(wait))) };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.all.len() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.all {
            [whole] => SizeHint::with_exact(u64::try_from(whole.len()).unwrap_or(u64::MAX)),
            _ => SizeHint::default(),
        }
    }
}
