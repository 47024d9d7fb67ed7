//! How connections to providers end, and what that says of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relayfreellm::sim::Flavour;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::support::{Gateway, Upstream, ask};

/// What a provider does with the request number so many of one connection, from 0 on, which is for
/// that model.
enum Act {
    Answer,
    Close,
    /// These pieces of a stream, each so many milliseconds after the one before.
    Stream(Vec<(u64, String)>),
}

/// A provider of bytes on a socket: its URL, and how many connections it has taken.
async fn server(act: fn(usize, &str) -> Act) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let count = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&count);
    // They end with the test's runtime.
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            taken.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(serve(socket, act));
        }
    });
    (url, count)
}

async fn serve(mut socket: TcpStream, act: fn(usize, &str) -> Act) {
    for number in 0.. {
        let Some(model) = question(&mut socket).await else { return };
        match act(number, &model) {
            Act::Answer => {
                let body = json!({"choices": [{"message": {"role": "assistant", "content": "Hi"},
                    "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
                let body = body.to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                let all = format!("{head}{}\r\n\r\n{body}", body.len());
                socket.write_all(all.as_bytes()).await.expect("a writable socket");
            }
            Act::Close => return,
            Act::Stream(pieces) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                            connection: close\r\n\r\n";
                let mut all = vec![(0, head.to_owned())];
                all.extend(pieces);
                for (pause, piece) in all {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    if socket.write_all(piece.as_bytes()).await.is_err() {
                        return;
                    }
                }
                return;
            }
        }
    }
}

/// The model that the next request names; `None` when the connection is over.
async fn question(socket: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        if let Some(at) = read.windows(4).position(|it| it == b"\r\n\r\n")
            && let Ok(body) = serde_json::from_slice::<Value>(&read[at + 4..])
        {
            return body["model"].as_str().map(str::to_owned);
        }
        let mut chunk = [0; 4_096];
        let count = socket.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return None;
        }
        read.extend_from_slice(&chunk[..count]);
    }
}

fn six_keys(name: &str) -> Upstream {
    let upstream = Upstream::new(name, Flavour::OpenAi).model("m");
    (0..6).fold(upstream, |it, key| it.key(&format!("key-{key}")))
}

#[tokio::test]
async fn a_provider_that_closes_every_connection_is_skipped_whole() {
    let (url, connections) = server(|_, _| Act::Close).await;
    let gateway = Gateway::with([six_keys("Dead"), Upstream::plain("Alive")]);
    let gateway = gateway.url("Dead", &url).start().await;
    for _ in 0..30 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3, "three in a row, on different keys");
    assert_eq!(gateway.model("Dead/m").await["status"], "cooldown");
}

#[tokio::test]
async fn a_model_whose_connections_are_closed_does_not_bench_its_siblings() {
    let act = |_: usize, model: &str| if model == "m" { Act::Close } else { Act::Answer };
    let (url, _) = server(act).await;
    let two = Upstream::new("Two", Flavour::OpenAi).model("m").model("n");
    let gateway = Gateway::with([two]).url("Two", &url).start().await;
    for _ in 0..5 {
        gateway.chat(&ask("two/m")).await.expect(503);
    }
    assert_eq!(gateway.model("Two/m").await["status"], "cooldown");
    assert_eq!(gateway.model("Two/n").await["status"], "available");
    gateway.chat(&ask("two/n")).await.expect(200);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_fault_of_anybody() {
    let act = |number, _: &str| if number == 0 { Act::Answer } else { Act::Close };
    let (url, connections) = server(act).await;
    let gateway = Gateway::with([Upstream::plain("Alpha")]).url("Alpha", &url).start().await;
    for round in 0..6 {
        let answer = gateway.chat(&ask("m")).await.expect(200);
        let attempts = answer.header("x-relay-attempts").to_owned();
        assert!(["1", "2"].contains(&&*attempts), "{attempts} in round {round}");
    }
    assert!(connections.load(Ordering::Relaxed) >= 4);
    assert_eq!(gateway.model("Alpha/m").await["status"], "available");
    assert_eq!(gateway.usage().await["total"]["requests"], 6);
}

const DONE: &str = "data: [DONE]\n\n";

fn event(delta: &Value, finish: Option<&str>) -> String {
    let event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {event}\n\n")
}

#[tokio::test]
async fn signs_of_life_are_waited_for_thrice_as_long_and_no_longer() {
    /// Half a second of silence is all that is allowed.
    fn stream(signs: usize, sign: &str) -> Act {
        let mut pieces = vec![(0, event(&json!({"content": "Think"}), None))];
        pieces.extend((0..signs).map(|_| (300, sign.to_owned())));
        pieces.push((100, event(&json!({"content": "ing"}), Some("stop")) + DONE));
        Act::Stream(pieces)
    }
    let acts: [fn(usize, &str) -> Act; 4] = [
        |_, _| stream(3, ": OPENROUTER PROCESSING\n\n"),
        |_, _| stream(3, &event(&json!({"content": ""}), None)),
        |_, _| stream(100, ": OPENROUTER PROCESSING\n\n"),
        |_, _| stream(100, &event(&json!({}), None)),
    ];
    for (at, act) in acts.into_iter().enumerate() {
        let (url, _) = server(act).await;
        let settings = json!({"http": {"timeout_seconds": 0.5},
            "routing": {"stream_continuation": false, "max_retries": 0}});
        let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings);
        let gateway = gateway.url("Alpha", &url).start().await;
        let began = Instant::now();
        let answer = gateway.stream(&ask("m")).await;
        let took = began.elapsed();
        if at < 2 {
            assert_eq!(answer.expect_done().said(), "Thinking", "{at}");
        } else {
            assert_eq!(answer.error()["code"], "stream_interrupted", "{at}");
            assert!(took >= Duration::from_millis(1_500), "{at}: {took:?}");
            assert!(took < Duration::from_secs(6), "{at}: {took:?}");
        }
    }
}
