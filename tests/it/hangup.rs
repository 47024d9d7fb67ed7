//! A caller that hangs up: the provider sees it at once, and the books stay true.

use std::time::Duration;

use relayfreellm::sim::{Fault, Pace};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Gateway, SOON, Upstream, ask, streamed, with};

/// The provider must see it within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Waits until the provider has seen its only caller go; gives how long that took since `hung_up`.
async fn seen_after(gateway: &Gateway, hung_up: Duration) -> Duration {
    let alpha = gateway.upstream("alpha");
    let gone = alpha.wait_for(SOON, |it| it.iter().all(|it| it.client_gone_at.is_some())).await;
    let records = gone.expect("the provider sees it");
    assert_eq!(records.len(), 1, "an abandoned request is not tried elsewhere");
    let gone_at = records[0].client_gone_at.expect("a time");
    gone_at.monotonic.saturating_sub(hung_up)
}

async fn one_a_minute() -> Gateway {
    let alpha = Upstream::plain("Alpha").limits(json!({"requests_per_minute": 1}));
    Gateway::with([alpha, Upstream::plain("Beta")]).start().await
}

#[tokio::test]
async fn while_it_waits_for_a_whole_answer() {
    for stream in [false, true] {
        let gateway = one_a_minute().await;
        gateway.upstream("alpha").set_fault(Some(Fault::Hang));
        let body = with(ask("alpha/m"), json!({"stream": stream}));
        let socket = gateway.chat_on_socket(&body).await;
        let arrived = gateway.upstream("alpha").wait_for(SOON, |it| it.len() == 1).await;
        assert!(arrived.is_some());
        let hung_up = gateway.now().monotonic;
        drop(socket);
        let took = seen_after(&gateway, hung_up).await;
        assert!(took < AT_ONCE, "{took:?}, stream: {stream}");
        // The request was written, so it counts, once, with its prompt.
        let usage = gateway.counted(1).await;
        assert_eq!(usage["requests"], 1, "{usage}");
        assert!(usage["prompt_tokens"].as_u64() > Some(0), "{usage}");
        assert_eq!(usage["completion_tokens"], 0, "{usage}");
        assert_eq!(gateway.model("Alpha/m").await["status"], "cooldown", "its quota is spent");
        assert_eq!(gateway.reached("beta"), 0);
    }
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    let gateway = one_a_minute().await;
    let pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(20) };
    gateway.upstream("alpha").set_pace(pace);
    let mut stream = gateway.open(&ask("alpha/m"), &[]).await;
    stream.read_some().await;
    let hung_up = gateway.now().monotonic;
    drop(stream);
    let took = seen_after(&gateway, hung_up).await;
    assert!(took < AT_ONCE, "{took:?}");
    let usage = gateway.counted(1).await;
    assert_eq!(usage["requests"], 1, "{usage}");
    assert!(usage["completion_tokens"].as_u64() > Some(0), "what was delivered counts: {usage}");
    let record = &gateway.upstream("alpha").records()[0];
    let sent = record.sent_content.len();
    // No token is shorter than a byte.
    assert!(usage["completion_tokens"].as_u64() <= u64::try_from(sent).ok(), "{usage}");
    gateway.get("/health").await.expect(200);
    assert_eq!(gateway.usage().await["total"]["requests"], 1, "once");
}

#[tokio::test]
async fn after_half_of_its_own_request() {
    let gateway = one_a_minute().await;
    let mut socket = gateway.connect().await;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("a writable socket");
    socket.write_all(br#"{"model":"alpha/m","#).await.expect("a writable socket");
    drop(socket);
    gateway.chat(&ask("alpha/m")).await.expect(200);
    assert_eq!(gateway.usage().await["total"]["requests"], 1);
}

/// A listener whose queue is full, so that connecting to it takes for ever, and what fills it.
async fn full_house() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let addr = listener.local_addr().expect("an address");
    let mut fillers = Vec::new();
    while let Ok(filler) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        fillers.push(filler.expect("a connection"));
        assert!(fillers.len() < 100, "the queue is never full");
    }
    (listener, fillers)
}

#[tokio::test]
async fn before_its_request_was_written_to_a_provider() {
    let (listener, fillers) = full_house().await;
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let alpha = Upstream::plain("Alpha").limits(json!({"requests_per_minute": 1}));
    let gateway = Gateway::with([alpha]).url("alpha", &url).start().await;
    let socket = gateway.chat_on_socket(&streamed(ask("alpha/m"))).await;
    let status = |wanted: &'static str| {
        let gateway = &gateway;
        let waiting = async move {
            while gateway.model("Alpha/m").await["status"] != wanted {
                tokio::task::yield_now().await;
            }
        };
        async { tokio::time::timeout(SOON, waiting).await.expect(wanted) }
    };
    // The only request a minute is reserved while the connection is being made ...
    status("cooldown").await;
    drop(socket);
    // ... and comes back, for nothing reached the provider.
    status("available").await;
    assert_eq!(gateway.usage().await["total"]["requests"], 0);
    drop((listener, fillers));
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_half_still_gets_its_answer_or_is_taken_for_gone() {
    let gateway = Gateway::plain().await;
    let mut socket = gateway.chat_on_socket(&ask("m")).await;
    socket.shutdown().await.expect("a half-closed socket");
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await;
    reading.expect("no caller is left hanging").expect("an orderly end");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn many_at_once_leave_nothing_behind() {
    let alpha = Upstream::plain("Alpha").entry(json!({"max_concurrent": 20}));
    let gateway = Gateway::with([alpha]).start().await;
    let alpha = gateway.upstream("alpha");
    alpha.set_fault(Some(Fault::Hang));
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(gateway.chat_on_socket(&ask("m")).await);
    }
    assert!(alpha.wait_for(SOON, |it| it.len() == 20).await.is_some());
    drop(sockets);
    let gone = alpha.wait_for(SOON, |it| it.iter().all(|it| it.client_gone_at.is_some())).await;
    assert!(gone.is_some());
    alpha.mend();
    // All twenty places are free again.
    let body = ask("m");
    let answers = futures::future::join_all((0..20).map(|_| gateway.chat(&body))).await;
    assert!(answers.iter().all(|it| it.status == 200));
}
