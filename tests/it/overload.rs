//! More than a provider, or the gateway itself, takes on at once.

use std::time::Duration;

use bytes::Bytes;
use relayfreellm::sim::{Fault, Flavour, Pace};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Gateway, SOON, Upstream, ask};

/// A provider that finds too many calls under way gets fewer, and the others wait for one to end.
#[tokio::test]
async fn too_many_in_flight_lowers_how_many_are() {
    let settings = json!({"routing": {"max_quota_wait_seconds": 10}});
    let zai = Upstream::new("Zai", Flavour::OpenAi).model("m");
    let gateway = Gateway::with([zai]).settings(settings).start().await;
    let zai = gateway.upstream("zai");
    zai.set_pace(Pace { first_token: Duration::from_millis(300), ..Pace::default() });
    let too_many = Fault::RawResponse {
        status: 429,
        headers: Vec::new(),
        body: Bytes::from_static(br#"{"error":{"code":"1302","message":"High concurrency"}}"#),
    };
    let body = ask("m");
    let (first, second, third) = tokio::join!(
        gateway.chat(&body),
        async {
            zai.wait_for(SOON, |it| it.len() == 1).await.expect("the first");
            zai.script(None, vec![too_many]);
            gateway.chat(&body).await
        },
        async {
            zai.wait_for(SOON, |it| it.len() == 2).await.expect("the second");
            // Refused, and so nobody else is sent beside the first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            gateway.chat(&body).await
        }
    );
    for answer in [first, second, third] {
        answer.expect(200);
    }
    let records = zai.records();
    assert_eq!(records.len(), 4, "three answers and one refusal");
    // Without waiting for the five seconds of a refusal that names no time.
    let times: Vec<Duration> = records.iter().map(|it| it.at.monotonic).collect();
    let between = |a: usize, b: usize| times[b].saturating_sub(times[a]);
    assert!(between(0, 3) < Duration::from_secs(4), "{times:?}");
    for (earlier, later) in [(0, 2), (2, 3)] {
        // None is sent before the one before it has been answered.
        assert!(between(earlier, later) >= Duration::from_millis(300), "{times:?}");
    }
}

/// One request is all it takes; whoever watches it still gets an answer.
#[tokio::test]
async fn a_full_gateway_says_so_and_can_be_watched() {
    let settings = json!({"http": {"max_concurrent_requests": 1}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
    let alpha = gateway.upstream("alpha");
    alpha.script(None, vec![Fault::StallAfterChunks(3)]);
    let mut open = gateway.open(&ask("m"), &[]).await;
    open.read_some().await;
    let refused = gateway.chat(&ask("m")).await.expect(503);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.error()["code"], "overloaded");
    for path in ["/health", "/metrics", "/v1/models"] {
        gateway.get(path).await.expect(200);
    }
    drop(open);
    let free = async {
        while gateway.chat(&ask("m")).await.status == 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("the place is free again");
}

/// Whoever takes long to send a body keeps nobody out.
#[tokio::test]
async fn bodies_on_their_way_take_no_place() {
    let settings = json!({"http": {"max_concurrent_requests": 2}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut socket = gateway.connect().await;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                    content-length: 100000\r\n\r\n{\"mess";
        socket.write_all(head.as_bytes()).await.expect("a writable socket");
        slow.push(socket);
    }
    gateway.get("/health").await.expect(200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.chat(&ask("m")).await.expect(200);
}
