//! An upstream that says what it is told to, byte by byte, and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::Sample;

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Script {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Script {
    /// The sample as it came.
    pub(super) fn of(sample: &Sample) -> Self {
        let headers = sample.headers.clone().into_iter().collect();
        Self { status: sample.status, headers, body: sample.body() }
    }

    /// A short answer in OpenAI's form.
    pub(super) fn plain() -> Self {
        let body = r#"{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Here."},"finish_reason":"stop"}]}"#;
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status: 200, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    fn bytes(&self) -> Vec<u8> {
        let line = |(name, value): &(String, String)| format!("{name}: {value}\r\n");
        let headers: String = self.headers.iter().map(line).collect();
        let head = format!(
            "HTTP/1.1 {} As-Scripted\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            self.status,
            self.body.len(),
        );
        [head.as_bytes(), &self.body].concat()
    }
}

#[derive(Debug, Default)]
struct Book {
    scripts: VecDeque<Script>,
    sent: Vec<Value>,
}

/// A server of scripts.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    addr: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Scripted {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let book = Arc::new(Mutex::new(Book::default()));
        let served = Arc::clone(&book);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&served)));
            }
        });
        Self { addr, book }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What comes next; forgets what was asked before.
    pub(super) fn script(&self, scripts: impl IntoIterator<Item = Script>) {
        let scripts = scripts.into_iter().collect();
        *self.book.lock().expect("a whole book") = Book { scripts, sent: Vec::new() };
    }

    /// The bodies asked with since the last script.
    pub(super) fn sent(&self) -> Vec<Value> {
        self.book.lock().expect("a whole book").sent.clone()
    }
}

/// Answers one request. Whoever only looks around (GET) finds nothing.
async fn serve(mut stream: TcpStream, book: Arc<Mutex<Book>>) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.is_err() || line.trim().is_empty() {
            break;
        }
        head.push(line.to_ascii_lowercase());
    }
    let posts = head.first().is_some_and(|it| it.starts_with("post "));
    let length = head.iter().find_map(|it| it.strip_prefix("content-length:"));
    let mut body = vec![0; length.and_then(|it| it.trim().parse().ok()).unwrap_or(0)];
    if reader.read_exact(&mut body).await.is_err() {
        return;
    }
    let script = {
        let mut book = book.lock().expect("a whole book");
        if posts {
            book.sent.push(serde_json::from_slice(&body).expect("a JSON body"));
        }
        if posts { book.scripts.pop_front() } else { None }
    };
    let nothing = Script { status: 404, headers: Vec::new(), body: Bytes::new() };
    // A caller that has read enough may leave.
    let _left = writer.write_all(&script.unwrap_or(nothing).bytes()).await;
}
