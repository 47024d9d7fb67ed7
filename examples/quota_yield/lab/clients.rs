//! Those who ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use relayfreellm::openai::ChatRequest;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::provider::{ALLOWED, TEXT};
use super::scenario::Asking;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// By so many at once as fast as they are answered; who is refused comes back when told.
    Saturating,
    /// Half of what the pool can sustain, and five minutes of every half hour, at random, four
    /// times of it. Who is refused is gone.
    Bursty,
}

impl Demand {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Saturating => "saturating",
            Self::Bursty => "bursty",
        }
    }
}

/// Callers that ask again as soon as they are answered.
const CROWD: usize = 16;
/// Rest of a caller that was not told when to come back.
const AT_A_LOSS: Duration = Duration::from_secs(5);

/// Asks without end until `minutes` have passed.
pub(super) async fn saturate(gateway: &Arc<dyn Asking>, minutes: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let answered = AtomicU64::new(0);
    let caller = || async {
        while Instant::now() < end {
            match gateway.ask(request()).await {
                Ok(()) if Instant::now() < end => {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(()) => {}
                Err(rest) => {
                    let back = Instant::now() + rest.unwrap_or(AT_A_LOSS);
                    tokio::time::sleep_until(back.min(end)).await;
                }
            }
        }
    };
    join_all((0..CROWD).map(|_| caller())).await;
    answered.into_inner()
}

/// Asks at these times since now, each once.
pub(super) async fn follow(gateway: &Arc<dyn Asking>, arrivals: &[Duration]) -> u64 {
    let start = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let tasks = TaskTracker::new();
    for time in arrivals {
        tokio::time::sleep_until(start + *time).await;
        let (gateway, answered) = (Arc::clone(gateway), Arc::clone(&answered));
        tasks.spawn(async move {
            if gateway.ask(request()).await.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.close();
    tasks.wait().await;
    answered.load(Ordering::Relaxed)
}

/// The times of a bursty run of some half hours: `sustained` is what the pool can answer a minute
/// all the time.
pub(super) fn bursts(sustained: f64, minutes: u64, rng: &mut fastrand::Rng) -> Vec<Duration> {
    let mut arrivals = Vec::new();
    for half_hour in 0..minutes / 30 {
        let burst = rng.u64(..25);
        for minute in 0..30 {
            let busy = (burst..burst + 5).contains(&minute);
            let rate = sustained * if busy { 4.0 } else { 0.5 };
            let from = Duration::from_secs((half_hour * 30 + minute) * 60);
            // Exponential gaps: callers who know nothing of each other.
            let mut at = Duration::ZERO;
            loop {
                at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() * 60.0 / rate);
                if at >= Duration::from_secs(60) {
                    break;
                }
                arrivals.push(from + at);
            }
        }
    }
    arrivals
}

fn request() -> ChatRequest {
    let text = "x".repeat(TEXT);
    let body =
        format!(r#"{{"max_tokens":{ALLOWED},"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    ChatRequest::parse(&Bytes::from(body)).expect("a good request")
}
