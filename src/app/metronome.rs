//! A timer that is always due soon.
//!
//! Whoever sets a timer that is due before all others wakes the thread that waits for timers and
//! sockets, so that it waits less long: a system call, and a second one to hear of the first. Each
//! request and each stream sets timers, of seconds. With one that is due sooner theirs are never the
//! first.

use std::time::Duration;

use tokio::time::interval;

/// Shorter than any bound of a request that is going well.
const EVERY: Duration = Duration::from_millis(400);

/// Ticks, for ever.
pub(super) async fn tick() {
    let mut due = interval(EVERY);
    loop {
        due.tick().await;
    }
}
