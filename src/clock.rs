//! The one place that reads a clock. Everywhere else the time is an argument.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// One reading of both clocks.
///
/// `monotonic` orders events and measures waits; it never goes back and means nothing outside this
/// process. `unix_ms` is for calendars, records and people; it may jump either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Time since this process took its clock.
    pub monotonic: Duration,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

impl Now {
    /// The same moment moved on by `by` on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            monotonic: self.monotonic.saturating_add(by),
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }
}

/// Something that tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// A clock shared by the rooms that act.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks. The monotonic one is tokio's, so that tests may pause it.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Now {
        // A wall clock before 1970 is a machine without a battery: zero is as good as any.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: self.start.elapsed(),
            unix_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A clock that moves with tokio's (paused or not) from a chosen date on: for tests that sleep
/// through hours in virtual time.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    base_unix_ms: u64,
}

impl VirtualClock {
    /// Starts at `base_unix_ms` milliseconds since 1970.
    #[must_use]
    pub fn starting_at(base_unix_ms: u64) -> Self {
        Self { start: Instant::now(), base_unix_ms }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        Now { monotonic: Duration::ZERO, unix_ms: self.base_unix_ms }.plus(self.start.elapsed())
    }
}
