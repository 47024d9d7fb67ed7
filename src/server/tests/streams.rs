//! Streamed answers: their grammar, their silences and their ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::dispatch::outcome::{Event, Failure, Journey, Progress};
use crate::openai::ApiError;
use crate::server::Params;

use super::support::{
    Client, STREAM, Script, Server, WHOLE, after, ask, ask_stream, at_once, chat, events, route,
    start, start_with_grace, streamed,
};

fn unavailable() -> ApiError {
    ApiError::new(503, "server_error", "Gone.").with_code("all_providers_failed")
}

fn failure() -> Failure {
    Failure { error: Box::new(unavailable()), route: Some(route()) }
}

/// Is it the last word of a stream that did not end well?
fn is_error(chunk: &str, code: &str, id: &str) -> bool {
    let data = chunk.strip_prefix("data: ").and_then(|it| it.strip_suffix("\n\n"));
    let json: serde_json::Value = serde_json::from_str(data.unwrap_or("0")).unwrap();
    json["error"]["code"] == code && json["error"]["request_id"] == id
}

#[tokio::test]
async fn a_stream_is_events_and_done() {
    let script = Script::new(|_| {
        at_once(Ok(streamed(events([Ok(r#"{"a":1}"#), Ok("{\n\"b\":2}"), Ok("{}")]))))
    });
    let server = start(Params::default(), script).await;
    let (reply, chunks) = ask_stream(&server, STREAM).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_eq!(reply.header("x-relay-provider"), "Groq");
    assert!(reply.header("x-request-id").starts_with("req_"));
    let expected =
        ["data: {\"a\":1}\n\n", "data: { \"b\":2}\n\n", "data: {}\n\n", "data: [DONE]\n\n"];
    assert_eq!(chunks, expected);
}

#[tokio::test]
async fn what_comes_at_once_goes_out_in_one_piece_and_waits_for_nothing() {
    let more = Arc::new(Notify::new());
    let awaited = Arc::clone(&more);
    let script = Script::new(move |_| {
        let awaited = Arc::clone(&awaited);
        let later = stream::once(async move {
            awaited.notified().await;
            Ok(Event::Chunk(Bytes::from_static(b"3")))
        });
        at_once(Ok(streamed(events([Ok("1"), Ok("2")]).chain(later).boxed())))
    });
    let server = start(Params::default(), script).await;
    let mut client = Client::connect(&server).await;
    client.send(chat(&["Connection: close"], STREAM)).await;
    let first = client.until("data: 2\n\n\r\n").await;
    assert!(first.ends_with("\r\n12\r\ndata: 1\n\ndata: 2\n\n\r\n"), "{first}");
    more.notify_one();
    let rest = client.rest().await;
    assert_eq!(rest, "17\r\ndata: 3\n\ndata: [DONE]\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_failure_before_the_first_content_has_a_status() {
    let script = Script::new(|_| after(Duration::from_millis(50), Err(failure())));
    let server = start(Params::default(), script).await;
    let reply = ask(&server, chat(&[], STREAM)).await;
    assert_eq!((reply.status, &*reply.error("code")), (503, "all_providers_failed"));
    assert_eq!(reply.header("x-relay-provider"), "Groq");
}

#[tokio::test]
async fn an_error_within_ends_it_without_done() {
    let script =
        Script::new(|_| at_once(Ok(streamed(events([Ok("{}"), Err(unavailable()), Ok("{}")])))));
    let server = start(Params::default(), script).await;
    let (reply, chunks) = ask_stream(&server, STREAM).await;
    assert_eq!((reply.status, chunks.len(), &*chunks[0]), (200, 2, "data: {}\n\n"));
    assert!(is_error(&chunks[1], "all_providers_failed", reply.header("x-request-id")));
}

#[tokio::test]
async fn a_panic_within_is_such_an_error() {
    let script = Script::new(|_| {
        let panicking = stream::once(async { Ok(Event::Chunk(Bytes::from_static(b"{}"))) })
            .chain(stream::once(async { panic!("in a stream") }));
        at_once(Ok(streamed(panicking.boxed())))
    });
    let server = start(Params::default(), script).await;
    let (reply, chunks) = ask_stream(&server, STREAM).await;
    assert_eq!((reply.status, chunks.len()), (200, 2));
    assert!(is_error(&chunks[1], "internal_error", reply.header("x-request-id")));
}

async fn silent_server(journey: fn() -> Journey) -> Server {
    let params = Params {
        hold_headers: Duration::from_millis(200),
        keep_alive: Duration::from_millis(200),
        ..Params::default()
    };
    start(params, Script::new(move |_| journey())).await
}

#[tokio::test]
async fn headers_wait_for_the_first_content_but_not_for_ever() {
    let server =
        silent_server(|| after(Duration::from_millis(600), Ok(streamed(events([Ok("{}")]))))).await;
    let begun = Instant::now();
    let mut client = Client::connect(&server).await;
    client.send(chat(&["Connection: close"], STREAM)).await;
    let head = client.until("\r\n\r\n").await;
    let waited = begun.elapsed().as_millis();
    assert!((200..450).contains(&waited), "headers after {waited} ms");
    // They name what is being tried.
    assert!(head.contains("x-relay-provider: Groq"), "{head}");
    let rest = client.rest().await;
    let comments = rest.matches(": keep-alive\n\n").count();
    assert!((2..=4).contains(&comments), "{rest}");
    assert!(rest.find("keep-alive") < rest.find("data: {}\n\n"), "{rest}");
    assert!(rest.contains("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn content_that_comes_in_time_is_not_held() {
    let server =
        silent_server(|| after(Duration::from_millis(50), Ok(streamed(events([Ok("{}")]))))).await;
    let (_, chunks) = ask_stream(&server, STREAM).await;
    assert_eq!(chunks, ["data: {}\n\n", "data: [DONE]\n\n"]);
}

#[tokio::test]
async fn a_failure_after_silence_is_an_event() {
    let server = silent_server(|| after(Duration::from_millis(900), Err(failure()))).await;
    let (reply, chunks) = ask_stream(&server, STREAM).await;
    assert_eq!(reply.status, 200);
    assert!(is_error(chunks.last().unwrap(), "all_providers_failed", reply.header("x-request-id")));
    assert!(!chunks.iter().any(|it| it.contains("[DONE]")));
}

#[tokio::test]
async fn silence_is_never_longer_than_set() {
    let server = silent_server(|| {
        let slow = stream::iter(0..3).then(|_| async {
            sleep(Duration::from_millis(450)).await;
            Ok(Event::Chunk(Bytes::from_static(b"{}")))
        });
        at_once(Ok(streamed(slow.boxed())))
    })
    .await;
    let mut client = Client::connect(&server).await;
    client.send(chat(&[], STREAM)).await;
    client.until("\r\n\r\n").await;
    let mut last = Instant::now();
    let mut words = 0;
    loop {
        let word = client.until("\n\n").await;
        let silent = last.elapsed().as_millis();
        // Twice what is set is the sign of a comment left out; the rest is a busy machine's.
        assert!(silent < 390, "{silent} ms before {word}");
        last = Instant::now();
        words += 1;
        if word.contains("[DONE]") {
            break;
        }
    }
    assert!(words > 6, "{words}");
}

/// Begins a journey that holds one end of a wire, hangs up, and sees the other end tell of it.
async fn hang_up(body: &str, journey: fn(oneshot::Sender<()>) -> Journey) {
    let (wire, mut dropped) = oneshot::channel();
    let wire = Mutex::new(Some(wire));
    let params = Params { hold_headers: Duration::from_millis(150), ..Params::default() };
    let script = Script::new(move |_| journey(wire.lock().unwrap().take().expect("one request")));
    let server = start(params, script).await;
    let mut client = Client::connect(&server).await;
    client.send(chat(&[], body)).await;
    sleep(Duration::from_millis(if body == STREAM { 250 } else { 100 })).await;
    assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    drop(client);
    let told = timeout(Duration::from_millis(100), dropped).await;
    assert!(told.is_ok(), "still held 100 ms after the caller has gone");
}

fn never(wire: oneshot::Sender<()>) -> Journey {
    let answer = async move {
        std::future::pending::<()>().await;
        drop(wire);
        Err(failure())
    };
    Journey { progress: Arc::default(), answer: Box::pin(answer) }
}

#[tokio::test]
async fn whoever_hangs_up_ends_the_journey() {
    // While a whole answer is awaited, in the silence after the headers, and amid a stream.
    hang_up(WHOLE, never).await;
    hang_up(STREAM, never).await;
    hang_up(STREAM, |wire| {
        let endless = stream::unfold(wire, |wire| async {
            sleep(Duration::from_millis(10)).await;
            Some((Ok(Event::Chunk(Bytes::from_static(b"{}"))), wire))
        });
        at_once(Ok(streamed(endless.boxed())))
    })
    .await;
    // And where no word has come since the first.
    hang_up(STREAM, |wire| {
        let stuck = stream::unfold((wire, false), |(wire, spoke)| async move {
            if spoke {
                std::future::pending::<()>().await;
            }
            Some((Ok(Event::Chunk(Bytes::from_static(b"{}"))), (wire, true)))
        });
        at_once(Ok(streamed(stuck.boxed())))
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_read_is_cut_off() {
    let (wire, dropped) = oneshot::channel::<()>();
    let wire = Mutex::new(Some(wire));
    let params = Params { write_timeout: Duration::from_millis(200), ..Params::default() };
    let script = Script::new(move |_| {
        let wire = wire.lock().unwrap().take();
        let flood = stream::unfold(wire, |wire| async {
            Some((Ok(Event::Chunk(Bytes::from(vec![b' '; 100_000]))), wire))
        });
        at_once(Ok(streamed(flood.boxed())))
    });
    let server = start(params, script).await;
    let mut client = Client::connect(&server).await;
    client.send(chat(&[], STREAM)).await;
    client.until("\r\n\r\n").await;
    let told = timeout(Duration::from_secs(5), dropped).await;
    assert!(told.is_ok(), "still held for a caller who does not read");
}

/// Tells, when its answer is dropped, whether that was this gateway's doing, and why.
struct Witness {
    progress: Arc<Progress>,
    tell: Option<oneshot::Sender<Option<&'static str>>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell.send(self.progress.cut()).ok();
        }
    }
}

/// Why an answer of such `events` was dropped once `meanwhile` has happened to its caller.
async fn dropped_for(
    event: &'static [u8],
    meanwhile: impl AsyncFnOnce(&Server, Client),
) -> Option<&'static str> {
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let script = Script::new(move |_| {
        let progress = Arc::new(Progress::default());
        let tell = tell.lock().unwrap().take();
        let witness = Witness { progress: Arc::clone(&progress), tell };
        let endless = stream::unfold(witness, move |witness| async move {
            sleep(Duration::from_millis(5)).await;
            Some((Ok(Event::Chunk(Bytes::from_static(event))), witness))
        });
        let answer = streamed(endless.boxed());
        Journey { progress, answer: Box::pin(async { Ok(answer) }) }
    });
    let params = Params { write_timeout: Duration::from_millis(200), ..Params::default() };
    let server = start_with_grace(params, script, Duration::from_millis(300)).await;
    let mut client = Client::connect(&server).await;
    client.send(chat(&[], STREAM)).await;
    client.until("\r\n\r\n").await;
    meanwhile(&server, client).await;
    timeout(Duration::from_secs(5), told).await.expect("it is dropped").unwrap()
}

static LARGE: [u8; 100_000] = [b' '; 100_000];

#[tokio::test]
async fn whoever_ends_an_answer_early_is_told() {
    assert_eq!(dropped_for(b"{}", async |_, client| drop(client)).await, None);
    let left = async |_: &Server, client| {
        // Long enough for all that the system keeps for it, and for the time it may be left there.
        sleep(Duration::from_secs(3)).await;
        drop::<Client>(client);
    };
    let why = dropped_for(&LARGE, left).await;
    assert_eq!(why, Some("the caller left it unread for too long"));
    let stopped = async |server: &Server, mut client: Client| {
        server.shutdown.cancel();
        client.until("}}\n\n").await;
    };
    assert_eq!(dropped_for(b"{}", stopped).await, Some("the gateway stops"));
}
