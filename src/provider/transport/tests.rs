//! The client against servers that write what a test tells them to, byte by byte where that matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use http::header::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server that gives each request on a connection the next of `answers`, and how many connections
/// were made to it.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
}

/// What it does after an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Waits,
    Closes,
}

impl Server {
    async fn start(answers: &[(&'static str, Then)], piece: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/chat?a=b", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let answers = answers.to_vec();
        tokio::task::spawn_local(async move {
            let mut next = answers.iter();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                while heard(&mut stream).await.is_some() {
                    let Some((answer, then)) = next.next() else { return };
                    for part in answer.as_bytes().chunks(piece) {
                        if stream.write_all(part).await.is_err() {
                            break;
                        }
                        if piece < answer.len() {
                            tokio::task::yield_now().await;
                        }
                    }
                    if *then == Then::Closes {
                        break;
                    }
                }
            }
        });
        Self { url, connections }
    }

    fn request(&self) -> Request<Bytes> {
        let request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        request.body(Bytes::from_static(b"{\"a\":1}")).unwrap()
    }

    async fn ask(&self, client: &Transport) -> Result<(u16, String), Fault> {
        let answer = client.send(self.request(), SentMark::default()).await?;
        let status = answer.status().as_u16();
        let body = read_answer(answer.into_body()).await?;
        Ok((status, String::from_utf8(body.into()).unwrap()))
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One request with a body of 7 bytes, as text.
async fn heard(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n{\"a\":1}") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        all.push(byte[0]);
    }
    String::from_utf8(all).ok()
}

/// Runs a test with its server on one thread.
fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs");
    });
}

/// What comes of `answers`, however they are cut into pieces, and over how many connections.
fn check(answers: &[(&'static str, Then)], expected: &[Result<&str, &str>], lines: usize) {
    for piece in [1, 2, 7, 10_000] {
        local(async {
            let server = Server::start(answers, piece).await;
            let client = Transport::default();
            for expected in expected {
                let came = server.ask(&client).await;
                let came = came.map(|(_, body)| body).map_err(|it| it.message);
                match expected {
                    Ok(body) => assert_eq!(came.as_deref(), Ok(*body), "{answers:?} by {piece}"),
                    Err(part) => {
                        let fault = came.expect_err(part);
                        assert!(fault.contains(part), "{fault:?} is not {part:?}");
                    }
                }
            }
            assert_eq!(server.connections(), lines, "{answers:?} by {piece}");
        });
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n\
                      3;ext=\"1\"\r\nhel\r\n2 \r\nlo\r\n000\r\nx-sum: 7\r\n\r\n";

#[test]
fn a_connection_serves_one_request_after_another() {
    use Then::Waits;
    check(&[(WHOLE, Waits), (CHUNKS, Waits), (WHOLE, Waits)], &[Ok("hello"); 3], 1);
    let empty = "HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n";
    check(&[(empty, Waits), (WHOLE, Waits)], &[Ok(""), Ok("hello")], 1);
    let first = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n\
                 content-length: 1, 1\r\ncontent-length: 1\r\n\r\nx";
    check(&[(first, Waits), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 1);
    let old = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx";
    check(&[(old, Waits), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 1);
}

#[test]
fn a_connection_that_will_close_is_not_used_again() {
    use Then::{Closes, Waits};
    let last = "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\nx";
    check(&[(last, Closes), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 2);
    let old = "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx";
    check(&[(old, Closes), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 2);
    let unbounded = "HTTP/1.1 200 OK\r\n\r\nall until the end";
    check(&[(unbounded, Closes), (WHOLE, Waits)], &[Ok("all until the end"), Ok("hello")], 2);
    let coded = "HTTP/1.1 200 OK\r\ntransfer-encoding: br\r\n\r\nall";
    check(&[(coded, Closes), (WHOLE, Waits)], &[Ok("all"), Ok("hello")], 2);
}

#[test]
fn what_breaks_off_or_is_no_http_is_a_fault() {
    use Then::Closes;
    for (answer, expected) in [
        ("", "before the head"),
        ("HTTP/1.1 200 OK\r\ncontent-", "before the head"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "before the end"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "before the end"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "before the end"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "no length"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1 2\r\n", "no length"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\na\n", "carriage return"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "Transfer-Encoding"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "two lengths"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na", "no number"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "another protocol"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"),
    ] {
        check(&[(answer, Closes)], &[Err(expected)], 1);
    }
}

#[test]
fn one_that_was_closed_while_it_was_kept_is_replaced() {
    local(async {
        let server = Server::start(&[(WHOLE, Then::Closes), (WHOLE, Then::Waits)], 10_000).await;
        let client = Transport::default();
        assert_eq!(server.ask(&client).await.unwrap().1, "hello");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.ask(&client).await.unwrap().1, "hello");
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn one_that_says_more_than_it_was_asked_is_not_used_again() {
    const MORE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\
                        content-length: 4\r\n\r\nevil";
    for piece in [39, 10_000] {
        local(async {
            let answers = &[(MORE, Then::Closes), (WHOLE, Then::Waits)];
            let server = Server::start(answers, piece).await;
            let client = Transport::default();
            assert_eq!(server.ask(&client).await.unwrap().1, "x");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(server.ask(&client).await.unwrap().1, "hello");
        });
    }
}

#[test]
fn a_body_left_at_its_end_mark_keeps_its_connection() {
    local(async {
        let server = Server::start(&[(CHUNKS, Then::Waits), (WHOLE, Then::Waits)], 10_000).await;
        let client = Transport::default();
        let answer = client.send(server.request(), SentMark::default()).await.unwrap();
        let mut body = AnswerBody::from(answer.into_body());
        assert_eq!(body.next().await.unwrap().unwrap(), "hel");
        drop(body);
        assert_eq!(server.ask(&client).await.unwrap().1, "hello");
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn nothing_is_sent_where_nobody_listens() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let sent = SentMark::default();
        let request = Request::post(url).body(Bytes::new()).unwrap();
        let fault = Transport::default().send(request, sent.clone()).await.err().unwrap();
        assert_eq!((fault.kind, sent.is_set()), (FaultKind::Connect, false));
        assert!(fault.message.contains("refused"), "{}", fault.message);
    });
}

#[test]
fn an_answer_that_comes_before_all_is_sent_is_taken() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 100];
            stream.read_exact(&mut some).await.unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(answer).await.unwrap();
            // Reads no more of it, and does not close either.
            std::future::pending::<()>().await;
        });
        let request = Request::post(url).body(vec![b' '; 64 << 20].into()).unwrap();
        let answer = Transport::default().send(request, SentMark::default()).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(read_error(answer.into_body()).await, "no");
    });
}

#[test]
fn a_head_without_an_end_is_not_read_for_ever() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let fault = Transport::default().send(request, SentMark::default()).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::Cut);
        assert!(fault.message.contains("too long"), "{}", fault.message);
    });
}

#[test]
fn a_request_is_written_as_servers_expect_it() {
    let written = |method: Method, url: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(url).header("X-A", "b");
        let request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
        String::from_utf8(head::written(&request).into()).unwrap()
    };
    assert_eq!(
        written(Method::POST, "https://user@api.example.com:443/v1/chat?x=%20", "{}"),
        "POST /v1/chat?x=%20 HTTP/1.1\r\nhost: api.example.com\r\nx-a: b\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!(
        written(Method::GET, "http://[::1]:443", ""),
        "GET / HTTP/1.1\r\nhost: [::1]:443\r\nx-a: b\r\n\r\n"
    );
    let empty = written(Method::POST, "http://a/", "");
    assert!(empty.contains("host: a\r\n") && empty.contains("content-length: 0\r\n"), "{empty}");
}
