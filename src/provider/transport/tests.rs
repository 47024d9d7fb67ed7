//! The client against servers that write what a test tells them to, byte by byte where that matters.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

/// A server that gives each request on a connection the next of `answers`, and how many connections
/// were made to it.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    /// Connections whose other end has closed them.
    left: Arc<AtomicUsize>,
}

/// What it does after an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Waits,
    Closes,
}

fn a_body() -> Payload {
    Bytes::from_static(b"{\"a\":1}").into()
}

impl Server {
    async fn start(answers: &[(&'static str, Then)], piece: usize) -> Self {
        let (listener, url) = listener().await;
        let server = Self { url, connections: Arc::default(), left: Arc::default() };
        let (connections, left) = (Arc::clone(&server.connections), Arc::clone(&server.left));
        let answers = Arc::new(answers.to_vec());
        let next = Arc::new(AtomicUsize::new(0));
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let serving = serve(stream, Arc::clone(&answers), Arc::clone(&next), piece);
                let left = Arc::clone(&left);
                tokio::task::spawn_local(async move {
                    if serving.await {
                        left.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        server
    }

    fn request(&self) -> Request<Payload> {
        let request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        request.body(a_body()).unwrap()
    }

    async fn ask(&self, client: &Transport) -> Result<String, Fault> {
        let answer = client.send(self.request(), SentMark::default()).await?;
        let body = read_answer(answer.into_body()).await?;
        Ok(String::from_utf8(body.into()).unwrap())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many connections were closed by the client.
    async fn left(&self, count: usize) {
        while self.left.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Serves one connection. Was it the client that closed it?
async fn serve(
    mut stream: TcpStream,
    answers: Arc<Vec<(&'static str, Then)>>,
    next: Arc<AtomicUsize>,
    piece: usize,
) -> bool {
    while heard(&mut stream).await.is_some() {
        let Some((answer, then)) = answers.get(next.fetch_add(1, Ordering::SeqCst)) else {
            return false;
        };
        for part in answer.as_bytes().chunks(piece) {
            if stream.write_all(part).await.is_err() {
                return true;
            }
            if piece < answer.len() {
                tokio::task::yield_now().await;
            }
        }
        if *then == Then::Closes {
            return false;
        }
    }
    true
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/chat?a=b", listener.local_addr().unwrap());
    (listener, url)
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
fn check(answers: &[(&'static str, Then)], expected: &[Result<&str, FaultKind>], lines: usize) {
    for piece in [1, 2, 7, 10_000] {
        local(async {
            let server = Server::start(answers, piece).await;
            let client = Transport::default();
            for expected in expected {
                let came = server.ask(&client).await.map_err(|it| it.kind);
                let came = came.as_ref().map(String::as_str).map_err(FaultKind::clone);
                assert_eq!(came, *expected, "{answers:?} by {piece}");
            }
            assert_eq!(server.connections(), lines, "{answers:?} by {piece}");
        });
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                      3;ext=\"1\"\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 7\r\n\r\n";

#[test]
fn a_connection_serves_one_request_after_another() {
    use Then::Waits;
    check(&[(WHOLE, Waits), (CHUNKS, Waits), (WHOLE, Waits)], &[const { Ok("hello") }; 3], 1);
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    check(&[(empty, Waits), (WHOLE, Waits)], &[Ok(""), Ok("hello")], 1);
    let first = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
                 HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    check(&[(first, Waits), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 1);
    let old = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx";
    check(&[(old, Waits), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 1);
}

#[test]
fn a_connection_that_will_close_is_not_used_again() {
    use Then::{Closes, Waits};
    let last = "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\nx";
    for then in [Closes, Waits] {
        check(&[(last, then), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 2);
    }
    let old = "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx";
    check(&[(old, Waits), (WHOLE, Waits)], &[Ok("x"), Ok("hello")], 2);
    let unbounded = "HTTP/1.1 200 OK\r\n\r\nall until the end";
    check(&[(unbounded, Closes), (WHOLE, Waits)], &[Ok("all until the end"), Ok("hello")], 2);
}

#[test]
fn what_breaks_off_or_is_no_http_is_a_fault() {
    for (answer, expected) in [
        ("", FaultKind::Unanswered),
        ("HTTP/1.1 200 OK\r\ncontent-", FaultKind::Unanswered),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", FaultKind::Cut),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", FaultKind::Cut),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", FaultKind::Cut),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", FaultKind::Cut),
        ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na", FaultKind::Cut),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", FaultKind::Cut),
    ] {
        check(&[(answer, Then::Closes)], &[Err(expected)], 1);
    }
}

#[test]
fn a_kept_connection_that_closes_when_it_is_used_is_called_stale() {
    use Then::{Closes, Waits};
    check(&[(WHOLE, Waits), ("", Closes)], &[Ok("hello"), Err(FaultKind::Stale)], 1);
}

#[test]
fn one_that_was_closed_while_it_was_kept_is_replaced() {
    local(async {
        let server = Server::start(&[(WHOLE, Then::Closes), (WHOLE, Then::Waits)], 10_000).await;
        let client = Transport::default();
        assert_eq!(server.ask(&client).await.unwrap(), "hello");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.ask(&client).await.unwrap(), "hello");
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn one_that_says_more_than_it_was_asked_is_not_used_again() {
    const MORE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\
                        content-length: 4\r\n\r\nevil";
    for piece in [39, 10_000] {
        local(async {
            let answers = &[(MORE, Then::Waits), (WHOLE, Then::Waits)];
            let server = Server::start(answers, piece).await;
            let client = Transport::default();
            assert_eq!(server.ask(&client).await.unwrap(), "x");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(server.ask(&client).await.unwrap(), "hello");
            assert_eq!(server.connections(), 2);
        });
    }
}

#[test]
fn a_body_left_at_its_end_mark_keeps_its_connection_and_one_left_before_closes_it() {
    for (pieces, connections) in [(2, 1), (1, 2), (0, 2)] {
        local(async {
            let answers = &[(CHUNKS, Then::Waits), (WHOLE, Then::Waits)];
            let server = Server::start(answers, 10_000).await;
            let client = Transport::default();
            let answer = client.send(server.request(), SentMark::default()).await.unwrap();
            let mut body = AnswerBody::from(answer.into_body());
            for piece in ["hel", "lo"].into_iter().take(pieces) {
                assert_eq!(body.next().await.unwrap().unwrap(), piece);
            }
            drop(body);
            if connections == 2 {
                server.left(1).await;
            }
            assert_eq!(server.ask(&client).await.unwrap(), "hello");
            assert_eq!(server.connections(), connections, "after {pieces}");
        });
    }
}

/// A body is left at what the first of `parts` says; the others come later. Is its connection used again?
fn check_left(parts: &'static [&'static str], expected: bool) {
    local(async {
        let (listener, url) = listener().await;
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::task::spawn_local(async move {
                    while heard(&mut stream).await.is_some() {
                        for part in parts {
                            stream.write_all(part.as_bytes()).await.unwrap();
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                });
            }
        });
        tokio::time::pause();
        let client = Transport::default();
        for _ in 0..2 {
            let request = Request::post(&url).body(a_body()).unwrap();
            let answer = client.send(request, SentMark::default()).await.unwrap();
            let mut body = AnswerBody::from(answer.into_body());
            assert_eq!(body.next().await.unwrap().unwrap(), "DONE");
            body.leave();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        assert_eq!(taken.load(Ordering::SeqCst), if expected { 1 } else { 2 }, "{parts:?}");
    });
}

#[test]
fn a_body_that_ends_soon_after_what_matters_keeps_its_connection() {
    const BEGIN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nDONE\r\n";
    check_left(&[BEGIN, "0\r\n\r\n"], true);
    check_left(&[BEGIN, "0\r\n", "\r\n"], true);
    check_left(&[BEGIN], false);
    check_left(&[BEGIN, "1\r\nx\r\n"], false);
}

#[test]
fn a_call_nobody_waits_for_closes_its_connection() {
    local(async {
        let server = Server::start(&[("HTTP/1.1 ", Then::Waits)], 10_000).await;
        let client = Transport::default();
        let asked = tokio::time::timeout(Duration::from_millis(20), server.ask(&client));
        assert!(asked.await.is_err());
        server.left(1).await;
    });
}

#[test]
fn a_connection_of_its_own_is_new_and_not_kept() {
    local(async {
        let server = Server::start(&[(WHOLE, Then::Waits); 3], 10_000).await;
        let client = Transport::default();
        assert_eq!(server.ask(&client).await.unwrap(), "hello");
        let sent = SentMark::on_new_connection();
        let answer = client.send(server.request(), sent).await.unwrap();
        assert_eq!(read_answer(answer.into_body()).await.unwrap(), "hello");
        assert_eq!(server.connections(), 2);
        server.left(1).await;
        assert_eq!(server.ask(&client).await.unwrap(), "hello");
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn unused_connections_are_let_go_of_when_closed_or_old() {
    local(async {
        let server = Server::start(&[(WHOLE, Then::Closes), (WHOLE, Then::Waits)], 10_000).await;
        let client = Transport::default();
        server.ask(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!client.pool.sweep());
        server.ask(&client).await.unwrap();
        for _ in 0..10 {
            assert!(client.pool.sweep());
        }
        assert!(!client.pool.sweep());
        server.left(1).await;
    });
}

#[test]
fn no_more_unused_connections_are_kept_than_sockets_can_be_spared() {
    local(async {
        let sockets = Arc::new(Semaphore::new(15));
        let client = Transport::new(&Network::default(), Arc::clone(&sockets));
        let busy = Server::start(&[(WHOLE, Then::Waits); 9], 10_000).await;
        let answers = (0..5).map(|_| busy.ask(&client));
        assert!(futures::future::join_all(answers).await.iter().all(Result::is_ok));
        assert_eq!(busy.connections(), 5);
        busy.left(2).await;
        // Who has most makes room for another.
        let other = Server::start(&[(WHOLE, Then::Waits); 9], 10_000).await;
        other.ask(&client).await.unwrap();
        busy.left(3).await;
        for server in [&busy, &other] {
            server.ask(&client).await.unwrap();
        }
        assert_eq!((busy.connections(), other.connections()), (5, 1));
        // Those that are kept go when others want the sockets.
        let _wanted = sockets.try_acquire_many(13).unwrap();
        assert!(client.pool.sweep());
        busy.left(4).await;
        other.ask(&client).await.unwrap();
        assert_eq!(other.connections(), 1);
        let _rest = sockets.try_acquire_many(2).unwrap();
        other.ask(&client).await.unwrap();
        other.left(1).await;
        assert!(!client.pool.sweep());
        busy.left(5).await;
    });
}

#[test]
fn nothing_is_sent_where_nobody_listens() {
    local(async {
        // Its own all the while, or another test's server might get the port.
        let port = TcpSocket::new_v4().unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/v1/chat", port.local_addr().unwrap());
        let sent = SentMark::default();
        let request = Request::post(url).body(Payload::default()).unwrap();
        let fault = Transport::default().send(request, sent.clone()).await.err().unwrap();
        assert_eq!((fault.kind, sent.is_set()), (FaultKind::Connect, false));
        assert!(fault.message.contains("refused"), "{}", fault.message);
    });
}

#[test]
fn an_answer_that_comes_before_all_is_sent_is_taken() {
    local(async {
        let (listener, url) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 100];
            stream.read_exact(&mut some).await.unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(answer).await.unwrap();
            // Reads no more of it, and does not close either.
            std::future::pending::<()>().await;
        });
        let request = Request::post(url).body(Bytes::from(vec![b' '; 64 << 20]).into()).unwrap();
        let answer = Transport::default().send(request, SentMark::default()).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(read_error(answer.into_body()).await, "no");
    });
}

#[test]
fn a_long_request_goes_on_while_its_answer_comes() {
    const STEP: usize = 1 << 20;
    const STEPS: usize = 8;
    local(async {
        let (listener, url) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {STEPS}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut read = vec![0; STEP];
            for _ in 0..STEPS {
                stream.read_exact(&mut read).await.unwrap();
                stream.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let request =
            Request::post(url).body(Bytes::from(vec![b' '; STEP * STEPS]).into()).unwrap();
        let answer = Transport::default().send(request, SentMark::default()).await.unwrap();
        assert_eq!(read_answer(answer.into_body()).await.unwrap(), "x".repeat(STEPS));
    });
}

#[test]
fn who_reads_a_stream_is_woken_once_for_each_piece() {
    const PIECES: usize = 20;
    local(async {
        let (listener, url) = listener().await;
        let (go_on, mut told) = tokio::sync::mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            heard(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while told.recv().await.is_some() {
                stream.write_all(b"x").await.unwrap();
            }
        });
        let request = Request::post(url).body(a_body()).unwrap();
        let answer = Transport::default().send(request, SentMark::default()).await.unwrap();
        let mut body = answer.into_body();
        let mut polls = 0;
        for _ in 0..PIECES {
            let mut next = pin!(body.next());
            let piece = std::future::poll_fn(|cx| {
                polls += 1;
                let polled = next.as_mut().poll(cx);
                if polled.is_pending() {
                    go_on.send(()).unwrap();
                }
                polled
            });
            assert_eq!(piece.await.unwrap().unwrap(), "x");
        }
        // Once in vain, which is when the server is told to go on, and once for the piece.
        assert!(polls <= 2 * PIECES + 2, "{polls}");
        drop(go_on);
        assert_eq!(body.next().await.unwrap(), None);
    });
}

#[test]
fn a_head_without_an_end_is_not_read_for_ever() {
    local(async {
        let (listener, url) = listener().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        let request = Request::post(url).body(a_body()).unwrap();
        let fault = Transport::default().send(request, SentMark::default()).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::Cut);
        assert!(fault.message.contains("too large"), "{}", fault.message);
    });
}

#[test]
fn a_request_is_written_as_servers_expect_it() {
    local(async {
        let (listener, url) = listener().await;
        let host = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let heard = tokio::task::spawn_local(async move {
            heard(&mut listener.accept().await.unwrap().0).await.unwrap()
        });
        let request = Request::post(url).header("X-A", "b");
        let request = request.body(a_body()).unwrap();
        let client = Transport::default();
        let (_, heard) = tokio::join!(client.send(request, SentMark::default()), heard);
        assert_eq!(
            heard.unwrap(),
            format!(
                "POST /v1/chat?a=b HTTP/1.1\r\nx-a: b\r\nhost: {host}\r\ncontent-length: 7\r\n\r\n\
                 {{\"a\":1}}"
            )
        );
    });
}

#[test]
fn the_host_is_named_without_the_usual_port() {
    for (url, expected) in [
        ("https://user@api.example.com:443/v1", "api.example.com"),
        ("https://api.example.com:80/v1", "api.example.com:80"),
        ("http://api.example.com:80/v1", "api.example.com"),
        ("http://[::1]:443", "[::1]:443"),
        ("http://a", "a"),
    ] {
        assert_eq!(origin(&url.parse().unwrap()).unwrap().host, expected, "{url}");
    }
    assert!(origin(&Uri::from_static("/v1")).is_err());
}
