//! Connections: how many, how long, and how they end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::server::Params;

use crate::dispatch::outcome::Event;

use super::support::{
    Client, STREAM, Script, Server, WHOLE, after, at_once, chat, request, route, start,
    start_with_grace, streamed, whole,
};

/// A stream of ten events, 50 ms apart.
fn half_a_second() -> Script {
    Script::new(|_| {
        let slow = stream::iter(0..10).then(|_| async {
            sleep(Duration::from_millis(50)).await;
            Ok(Event::Chunk(Bytes::from_static(b"{}")))
        });
        at_once(Ok(streamed(slow.boxed())))
    })
}

async fn ended(server: Server) -> usize {
    timeout(Duration::from_secs(3), server.ended).await.expect("still serving").unwrap()
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = start(Params::default(), Script::hello()).await;
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        client.send(chat(&[], WHOLE)).await;
        assert_eq!(client.reply().await.status, 200);
        client.send(request("GET /nowhere", &[], "")).await;
        assert_eq!(client.reply().await.status, 404);
    }
}

#[tokio::test]
async fn a_stop_lets_running_answers_finish() {
    let server = start(Params::default(), half_a_second()).await;
    let address = server.address;
    let mut running = Client::connect(&server).await;
    let mut idle = Client::connect(&server).await;
    idle.send(request("GET /health", &[], "")).await;
    assert_eq!(idle.reply().await.status, 200);
    let mut silent = Client::connect(&server).await;
    running.send(chat(&[], STREAM)).await;
    running.until("data: {}\n\n").await;
    server.shutdown.cancel();
    // Those with nothing under way are closed, and nobody new is let in.
    assert_eq!([idle.rest().await, silent.rest().await], ["", ""]);
    assert!(TcpStream::connect(address).await.is_err());
    let rest = running.rest().await;
    assert_eq!(rest.matches("data: {}\n\n").count(), 9, "{rest}");
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
    assert_eq!(ended(server).await, 0);
}

#[tokio::test]
async fn a_stop_cuts_what_takes_too_long() {
    let grace = Duration::from_millis(150);
    let server = start_with_grace(Params::default(), half_a_second(), grace).await;
    let mut running = Client::connect(&server).await;
    running.send(chat(&[], STREAM)).await;
    running.until("data: {}\n\n").await;
    let begun = Instant::now();
    server.shutdown.cancel();
    assert_eq!(ended(server).await, 1);
    assert!((100..400).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let rest = running.rest().await;
    assert!(!rest.contains("[DONE]"));
    assert!(rest.contains(r#""code":"stream_interrupted""#), "it is told why: {rest}");
}

#[tokio::test]
async fn a_whole_answer_that_takes_too_long_is_refused() {
    let (came, mut comes) = mpsc::unbounded_channel();
    let never = Script::new(move |_| {
        came.send(()).unwrap();
        after(Duration::from_secs(60), Ok(whole(&route())))
    });
    let grace = Duration::from_millis(150);
    let server = start_with_grace(Params::default(), never, grace).await;
    let mut running = Client::connect(&server).await;
    running.send(chat(&[], WHOLE)).await;
    timeout(Duration::from_secs(3), comes.recv()).await.unwrap();
    server.shutdown.cancel();
    let reply = running.reply().await;
    assert_eq!((reply.status, &*reply.error("code")), (503, "stream_interrupted"));
    assert_eq!(ended(server).await, 1);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_told_so_and_may_ask_how_it_is() {
    let server = start(Params { max_connections: 1, ..Params::default() }, Script::hello()).await;
    let mut first = Client::connect(&server).await;
    first.send(request("GET /health", &[], "")).await;
    assert_eq!(first.reply().await.status, 200);
    for (asked, status) in [
        (request("GET /health", &[], ""), 200),
        (request("GET /metrics", &[], ""), 200),
        (chat(&[], WHOLE), 503),
    ] {
        let mut second = Client::connect(&server).await;
        second.send(asked).await;
        let reply = second.reply().await;
        assert_eq!(reply.status, status);
        if status == 503 {
            assert_eq!((reply.header("retry-after"), &*reply.error("code")), ("1", "overloaded"));
            assert!(!reply.header("x-request-id").is_empty());
        }
        assert_eq!(second.rest().await, "", "it does not stay");
    }
    drop(first);
    let again = async {
        loop {
            let mut next = Client::connect(&server).await;
            next.send(chat(&[], WHOLE)).await;
            if next.reply().await.status == 200 {
                return;
            }
        }
    };
    timeout(Duration::from_secs(3), again).await.expect("the place is free again");
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let params = Params {
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(900),
        ..Params::default()
    };
    let server = start(params, Script::hello()).await;
    let mut kept = Client::connect(&server).await;
    for _ in 0..2 {
        kept.send(request("GET /health", &[], "")).await;
        assert_eq!(kept.reply().await.status, 200);
        sleep(Duration::from_millis(500)).await;
    }
    // Half a head has as long as ever.
    let begun = Instant::now();
    kept.send("GET /health HTT").await;
    kept.rest().await;
    assert!((150..700).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let mut idle = Client::connect(&server).await;
    idle.send(request("GET /health", &[], "")).await;
    assert_eq!(idle.reply().await.status, 200);
    let begun = Instant::now();
    assert_eq!(idle.rest().await, "");
    assert!((700..1_400).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_free_connection() {
    let server = start(Params { max_connections: 1, ..Params::default() }, Script::hello()).await;
    let mut first = Client::connect(&server).await;
    first.send(request("GET /health", &[], "")).await;
    assert_eq!(first.reply().await.status, 200);
    server.shutdown.cancel();
    assert_eq!(ended(server).await, 0);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = start(Params::default(), Script::hello()).await;
    for text in [
        "\x16\x03\x01\x02 hello\r\n\r\n",
        "GET / HTTP/3.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Client::connect(&server).await;
        client.send(text).await;
        let answer = client.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{text}: {answer}");
    }
    let smuggled = request("POST /v1/models", &["Content-Length: 5", "Content-Length: 6"], "");
    let mut client = Client::connect(&server).await;
    client.send(smuggled).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn where_sockets_are_few_some_are_left_for_calls() {
    let sockets = Arc::new(Semaphore::new(3));
    let server = start(Params { sockets, ..Params::default() }, half_a_second()).await;
    // Its connection and its call take two; the third is the next caller's, who has none for a call.
    let mut first = Client::connect(&server).await;
    first.send(chat(&[], STREAM)).await;
    first.until("data: {}\n\n").await;
    let mut second = Client::connect(&server).await;
    second.send(request("GET /v1/models", &[], "")).await;
    assert_eq!(second.reply().await.status, 200);
    second.send(chat(&[], WHOLE)).await;
    assert_eq!(second.reply().await.status, 503);
    let mut third = Client::connect(&server).await;
    third.send(request("GET /health", &[], "")).await;
    assert_eq!(third.reply().await.status, 200, "one connection too many, but it may ask");
    first.until("data: [DONE]\n\n").await;
    drop((second, third));
    let again = async {
        let mut status = 503;
        while status == 503 {
            let mut next = Client::connect(&server).await;
            next.send(chat(&[], STREAM)).await;
            status = if next.until("\r\n\r\n").await.contains(" 200 ") { 200 } else { 503 };
        }
    };
    timeout(Duration::from_secs(3), again).await.expect("the sockets are free again");
}
