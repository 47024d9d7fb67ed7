//! A server on a port of its own, what answers behind it, and a client that sees every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispatch::outcome::{
    Answer, ChatCall, ChatService, Event, Events, Failure, Journey, Progress, Route, RouteReason,
};
use crate::openai::ApiError;
use crate::server::{Control, Desk, Order, Params, Reloaded, Reset, Stop, front, serve};
use crate::status::Views;

/// A chat request whose answer is whole, and one whose answer is streamed.
pub(super) const WHOLE: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
pub(super) const STREAM: &str =
    r#"{"stream":true,"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shutdown: CancellationToken,
    pub(super) ended: JoinHandle<usize>,
}

/// A chat service that does what it is told.
pub(super) struct Script(Box<dyn Fn(ChatCall) -> Journey + Send + Sync>);

impl Script {
    pub(super) fn new(act: impl Fn(ChatCall) -> Journey + Send + Sync + 'static) -> Self {
        Self(Box::new(act))
    }

    /// Answers everything with `Hello`.
    pub(super) fn hello() -> Self {
        Self::new(|_| at_once(Ok(whole(&route()))))
    }
}

impl ChatService for Script {
    fn begin(&self, call: ChatCall) -> Journey {
        (self.0)(call)
    }
}

struct FixedViews;

impl Views for FixedViews {
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn status(&self) -> String {
        r#"{"view":"status"}"#.to_owned()
    }

    fn request(&self, id: &str, _key: Option<&str>) -> Option<String> {
        (id == "known").then(|| r#"{"view":"request"}"#.to_owned())
    }

    fn quota(&self) -> String {
        r#"{"view":"quota"}"#.to_owned()
    }

    fn models(&self, kind: Option<&str>, scale: Option<&str>) -> String {
        format!(r#"{{"type":{kind:?},"scale":{scale:?}}}"#)
    }

    fn model(&self, id: &str) -> Option<String> {
        (id != "none").then(|| format!(r#"{{"id":"{id}"}}"#))
    }

    fn known_model(&self, name: &str) -> Result<String, Vec<String>> {
        Ok(name.to_owned())
    }

    fn usage(&self) -> String {
        r#"{"total":{}}"#.to_owned()
    }

    fn health(&self) -> String {
        r#"{"status":"ok"}"#.to_owned()
    }
}

struct Untouched;

impl Control for Untouched {
    fn reset(&self, _: &str) -> Option<Reset> {
        None
    }

    fn route(&self, order: Order) -> Result<Order, String> {
        Ok(order)
    }

    fn reload(&self) -> Result<Reloaded, Vec<String>> {
        Ok(Reloaded::default())
    }
}

pub(super) async fn start(params: Params, script: Script) -> Server {
    start_with_grace(params, script, Duration::from_secs(5)).await
}

pub(super) async fn start_with_grace(params: Params, script: Script, grace: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stop = Stop { asked: shutdown.clone(), hurried: CancellationToken::new(), grace };
    let ended = TaskTracker::new().spawn(async move {
        let app = front(
            params.clone(),
            (Desk::empty(), Arc::new(Untouched)),
            Arc::new(script),
            Arc::new(FixedViews),
        );
        serve(listener, app, &params, stop).await
    });
    Server { address, shutdown, ended }
}

pub(super) fn route() -> Route {
    Route {
        provider: "Groq".into(),
        model: "qwen/qwen3-32b".into(),
        requested: "meta-model".into(),
        reason: RouteReason::Meta,
        attempts: 1,
        context: None,
        warnings: Vec::new(),
        upstream_id: None,
    }
}

pub(super) fn whole(route: &Route) -> Answer {
    Answer::Whole { route: route.clone(), body: Bytes::from_static(br#"{"hello":1}"#) }
}

pub(super) fn streamed(events: Events) -> Answer {
    Answer::Stream { route: route(), events }
}

/// These events, and then the end.
pub(super) fn events<const N: usize>(events: [Result<&'static str, ApiError>; N]) -> Events {
    stream::iter(events.map(|it| it.map(|it| Event::Chunk(Bytes::from_static(it.as_bytes())))))
        .boxed()
}

pub(super) fn at_once(answer: Result<Answer, Failure>) -> Journey {
    Journey { progress: Arc::default(), answer: Box::pin(async { answer }) }
}

pub(super) fn after(wait: Duration, answer: Result<Answer, Failure>) -> Journey {
    let progress = Progress::default();
    progress.set(route());
    Journey {
        progress: Arc::new(progress),
        answer: Box::pin(async move {
            tokio::time::sleep(wait).await;
            answer
        }),
    }
}

/// A client's side of one connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) seen: Vec<u8>,
}

/// One answer as it stood on the wire.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    /// All values of a header, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|it| it.split_once(": "));
        fields.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// A header that stands there at most once; empty when it doesn't.
    pub(super) fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} twice in {}", self.head);
        all.first().copied().unwrap_or_default()
    }

    /// A member of the error in the body, as JSON text.
    pub(super) fn error(&self, member: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        match &body["error"][member] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Client {
    pub(super) async fn connect(server: &Server) -> Self {
        Self { stream: TcpStream::connect(server.address).await.unwrap(), seen: Vec::new() }
    }

    /// Sends `text`; a server that has closed meanwhile is no fault here.
    pub(super) async fn send(&mut self, text: impl AsRef<[u8]>) {
        drop(timeout(PATIENCE, self.stream.write_all(text.as_ref())).await.expect("a full pipe"));
    }

    /// Takes in what comes next; `false` when the server has closed.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("silence");
        let read = read.unwrap_or(0);
        self.seen.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// Everything until `mark` has come, `mark` included; what follows is kept for the next call.
    pub(super) async fn until(&mut self, mark: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(at) = text.find(mark) {
                let rest = self.seen.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
            }
            assert!(self.more().await, "closed before {mark:?}: {text}");
        }
    }

    /// Everything until the server closes.
    pub(super) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.seen)).unwrap()
    }

    /// One answer that has a length.
    pub(super) async fn reply(&mut self) -> Reply {
        let head = self.until("\r\n\r\n").await;
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: String::new() };
        let length: usize = reply.header("content-length").parse().expect("a length");
        while self.seen.len() < length {
            assert!(self.more().await, "closed within a body");
        }
        let rest = self.seen.split_off(length);
        reply.body = String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
        reply
    }
}

/// A request's head for this machine, with more header lines, and its body.
pub(super) fn request(line: &str, headers: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let length: &[&str] = if body.is_empty() { &[] } else { &[&length] };
    let head = [&["Host: localhost"], headers, length].concat().join("\r\n");
    format!("{line} HTTP/1.1\r\n{head}\r\n\r\n{body}")
}

pub(super) fn chat(headers: &[&str], body: &str) -> String {
    request("POST /v1/chat/completions", headers, body)
}

/// Sends one request over a connection of its own.
pub(super) async fn ask(server: &Server, request: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::connect(server).await;
    client.send(request).await;
    client.reply().await
}

/// Sends one chat request and takes the stream to its end, chunk lengths left out.
pub(super) async fn ask_stream(server: &Server, body: &str) -> (Reply, Vec<String>) {
    let mut client = Client::connect(server).await;
    client.send(chat(&["Connection: close"], body)).await;
    let head = client.until("\r\n\r\n").await;
    let status = head[9..12].parse().unwrap();
    let text = client.rest().await;
    let chunks = text.split("\r\n").skip(1).step_by(2).filter(|it| !it.is_empty());
    // Events that come together travel in one chunk.
    let events = chunks.flat_map(|it| it.split_inclusive("\n\n"));
    let events = events.map(str::to_owned).collect();
    (Reply { status, head, body: String::new() }, events)
}
