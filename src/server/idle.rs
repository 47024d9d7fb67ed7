//! How long a connection may wait for a request, and for the rest of its head once that has begun.
//!
//! The HTTP engine knows one bound for both. A kept connection may be idle for as long as other
//! servers allow, or clients that use it again find it closed; a head that has begun may not take that
//! long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Bytes a connection has read so far.
pub(super) type BytesRead = Arc<AtomicU64>;

/// Makes the engine's one bound two: it is to be set to [`Self::head`].
#[derive(Clone)]
pub(super) struct HeadTimer {
    pub(super) read: BytesRead,
    /// For a head, from its first byte; for the first one from the beginning of the connection.
    pub(super) head: Duration,
    /// For the first byte of any other head.
    pub(super) idle: Duration,
}

/// Until the engine gives up.
struct Waiting {
    timer: HeadTimer,
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// Bytes read when it began to wait.
    before: u64,
    /// Has a head begun?
    begun: bool,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(tokio::time::Instant::now().into_std() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let before = self.read.load(Ordering::Relaxed);
        let begun = before == 0;
        let more = if begun { Duration::ZERO } else { self.idle.saturating_sub(self.head) };
        let sleep = Box::pin(tokio::time::sleep_until((deadline + more).into()));
        Box::pin(Waiting { timer: self.clone(), sleep, before, begun })
    }
}

impl Future for Waiting {
    type Output = ();

    /// The engine asks whenever it has read something.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.timer.read.load(Ordering::Relaxed) != self.before {
            self.begun = true;
            let until = tokio::time::Instant::now() + self.timer.head;
            let until = until.min(self.sleep.deadline());
            self.sleep.as_mut().reset(until);
        }
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(())
    }
}

impl Sleep for Waiting {}
