//! What takes long by its nature. All of it in one test, since waits can be had at once.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::Fault;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::{Gateway, SOON, Upstream, ask};

const SECOND: Duration = Duration::from_secs(1);

/// Headers are held for 10 s; then they name the provider being tried, and comments follow.
async fn a_silent_stream_is_kept_alive(gateway: &Gateway) {
    gateway.upstream("alpha").script(None, vec![Fault::SlowFirstToken(16 * SECOND)]);
    let begun = Instant::now();
    let stream = gateway.open(&ask("m"), &[]).await;
    let held = begun.elapsed();
    assert!((9 * SECOND..13 * SECOND).contains(&held), "{held:?}");
    let answer = stream.finish().await.expect_done();
    assert_eq!(answer.header("x-relay-provider"), "Alpha");
    assert!(!answer.comments.is_empty());
    assert!(!answer.said().is_empty());
}

/// A stream that waits for quota longer than headers are held is told that somebody is there.
async fn a_waiting_stream_is_kept_alive() {
    let settings = json!({"routing": {"max_quota_wait_seconds": 40}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
    let limited = Fault::RateLimited { retry_after: Some(22 * SECOND) };
    gateway.upstream("alpha").script(None, vec![limited]);
    let begun = Instant::now();
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert!(begun.elapsed() > 20 * SECOND, "{:?}", begun.elapsed());
    assert!(!answer.comments.is_empty());
    assert_eq!(gateway.reached("alpha"), 2);
}

/// Whoever sends a head a byte at a time, or none at all, is cut off.
async fn a_slow_head_is_cut_off(gateway: &Gateway, head: &[u8]) {
    let (mut reader, mut writer) = gateway.connect().await.into_split();
    let trickle = async {
        for byte in head.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SECOND / 4).await;
        }
        std::future::pending::<()>().await;
    };
    let begun = Instant::now();
    let mut read = Vec::new();
    tokio::select! {
        () = trickle => {}
        // A reset is an end too.
        _ended = tokio::time::timeout(SOON, reader.read_to_end(&mut read)) => {}
    }
    assert!(begun.elapsed() < 25 * SECOND, "{:?}", begun.elapsed());
    let answer = String::from_utf8_lossy(&read);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}

/// Fails until nothing reaches it any more while another can answer; gives how long that is said to
/// last.
async fn open_the_breaker(gateway: &Gateway) -> Duration {
    let alpha = gateway.upstream("alpha");
    alpha.set_fault(Some(Fault::Status(500)));
    let state = async || gateway.model("Alpha/m").await;
    for _ in 0..20 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    let asked = alpha.count_reached();
    assert!((2..=6).contains(&asked), "opened after {asked} faults");
    let model = state().await;
    assert_eq!(model["status"], "cooldown");
    Duration::from_secs_f64(model["cooldown_remaining_sec"].as_f64().expect("seconds"))
}

/// After repeated faults nothing reaches a provider for a while, then a probe does.
async fn a_breaker_closes_when_a_probe_succeeds() {
    let gateway = Gateway::with(["Alpha", "Other"].map(Upstream::plain)).start().await;
    let wait = open_the_breaker(&gateway).await;
    let alpha = gateway.upstream("alpha");
    alpha.mend();
    alpha.clear();
    tokio::time::sleep(wait + SECOND).await;
    let question = ask("m");
    for _ in 0..2 {
        gateway.chat(&question).await.expect(200);
    }
    assert_eq!(alpha.count_reached(), 1, "it takes its turn again");
    let all = join_all((0..10).map(|_| gateway.chat(&question))).await;
    assert!(all.iter().all(|it| it.status == 200));
    assert_eq!(gateway.model("Alpha/m").await["status"], "available");
}

#[tokio::test]
async fn slow_providers_are_waited_for_and_slow_callers_are_not() {
    let gateway = Gateway::plain().await;
    tokio::join!(
        a_silent_stream_is_kept_alive(&gateway),
        a_waiting_stream_is_kept_alive(),
        a_slow_head_is_cut_off(
            &gateway,
            b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: bbbbbbbbbbbbbbbbbbbb"
        ),
        a_slow_head_is_cut_off(&gateway, b""),
        a_breaker_closes_when_a_probe_succeeds(),
    );
    gateway.chat(&ask("m")).await.expect(200);
}
