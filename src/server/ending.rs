//! The end of the time that running answers have once the gateway is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tells every stream that its time is up. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ending {
    time_is_up: CancellationToken,
    ended: Arc<AtomicUsize>,
}

impl Ending {
    /// Streams end with an error from now on.
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

    /// A stream has ended with an error because of it.
    pub(super) fn count(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Streams that have ended so.
    pub(super) fn counted(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}
