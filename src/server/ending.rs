//! The end of the time that running answers have once the gateway is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How the gateway is told to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Once cancelled, nothing new is taken on.
    pub asked: CancellationToken,
    /// Once cancelled too, what is under way has no more time.
    pub hurried: CancellationToken,
    /// How long what is under way may take otherwise.
    pub grace: Duration,
}

/// Tells every answer under way that its time is up. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ending {
    time_is_up: CancellationToken,
    ended: Arc<AtomicUsize>,
}

impl Ending {
    /// Answers end with an error from now on.
    pub(super) fn announce(&self) {
        self.time_is_up.cancel();
    }

    /// Is the time up?
    pub(super) fn is_now(&self) -> bool {
        self.time_is_up.is_cancelled()
    }

    /// Ready once the time is up.
    pub(super) fn wait(&self) -> WaitForCancellationFutureOwned {
        self.time_is_up.clone().cancelled_owned()
    }

    /// What `answer` comes to; `None` when the time is up first.
    pub(super) async fn before<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let ended = self.time_is_up.run_until_cancelled(answer).await;
        if ended.is_none() {
            self.count();
        }
        ended
    }

    /// An answer has ended with an error because of it.
    pub(super) fn count(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers that have ended so.
    pub(super) fn counted(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}
