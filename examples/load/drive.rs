//! As many requests as a number of connections can carry.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::Fallible;
use crate::Target;
use crate::events::Counted;
use crate::times::Times;
use crate::wire::Connection;

/// How long what is under way at the end may still take.
const LEAVE: Duration = Duration::from_secs(30);

/// Sends `target`'s request over `connections` for `seconds`, one after the other on each, and gives
/// what came of it as JSON.
pub(crate) async fn drive(target: Target, connections: usize, seconds: f64) -> Fallible<String> {
    let target = Arc::new(target);
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(work(Arc::clone(&target), until));
    }
    let mut all = Tally::default();
    while let Some(tally) = workers.join_next().await {
        all.merge(&tally?);
    }
    let took = began.elapsed().as_secs_f64();
    let each = |it: u64| (to_float(it) / took).round();
    let times = |it: &Times| json!([it.percentile(50), it.percentile(90), it.percentile(99)]);
    Ok(json!({
        "seconds": took, "requests": all.good, "bad": all.bad, "rate": each(all.good),
        "events": all.events, "event_rate": each(all.events),
        "us": times(&all.times), "first_us": times(&all.first),
    })
    .to_string())
}

#[expect(clippy::cast_precision_loss, reason = "a few million")]
fn to_float(count: u64) -> f64 {
    count as f64
}

#[derive(Default)]
struct Tally {
    good: u64,
    bad: u64,
    events: u64,
    times: Times,
    first: Times,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.events += other.events;
        self.times.merge(&other.times);
        self.first.merge(&other.first);
    }
}

async fn work(target: Arc<Target>, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until {
        let Ok(connection) = Connection::open(&target.address.host).await else {
            tally.bad += 1;
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        converse(connection, &target, until, &mut tally).await;
    }
    tally
}

/// Until the time is over or the connection is.
async fn converse(mut connection: Connection, target: &Target, until: Instant, tally: &mut Tally) {
    loop {
        let began = Instant::now();
        if began >= until {
            return;
        }
        let mut counted = Counted::default();
        let asking = async {
            connection.send(&target.request).await?;
            let sink = |it: &[u8]| {
                if target.streamed {
                    counted.take(it, began.elapsed());
                }
                true
            };
            connection.receive(sink).await
        };
        let Ok(Ok(status)) = timeout_at(until + LEAVE, asking).await else {
            tally.bad += 1;
            return;
        };
        let Counted { events, done, first, .. } = counted;
        if status != 200 || done != target.streamed {
            tally.bad += 1;
            continue;
        }
        tally.good += 1;
        tally.events += events;
        tally.times.add(began.elapsed());
        if let Some(first) = first {
            tally.first.add(first);
        }
    }
}
