//! Tries with a wrong key: each waits longer for its answer than the one before, by address.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::callers::lru::Lru;
use crate::clock::Now;

/// Addresses remembered.
const MOST: usize = 4_096;
/// The first try waits so long, each further one twice as long as the one before.
const FIRST: Duration = Duration::from_millis(50);
/// Doublings at most: 800 ms.
const DOUBLINGS: u32 = 4;
/// An address is forgiven when it has not failed for so long.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Who has failed lately.
#[derive(Debug)]
pub struct FailedTries(Mutex<Lru<u128, Try>>);

#[derive(Clone, Copy, Debug)]
struct Try {
    count: u32,
    last: Duration,
}

impl Default for FailedTries {
    fn default() -> Self {
        Self(Mutex::new(Lru::new(MOST)))
    }
}

impl FailedTries {
    /// Somebody at `address` has shown a wrong key: how long the answer has to wait.
    pub fn wait(&self, address: u128, now: Now) -> Duration {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let it = tries.of(address, || Try { count: 0, last: now.monotonic });
        if now.monotonic.saturating_sub(it.last) >= FORGIVEN {
            it.count = 0;
        }
        let wait = FIRST * 2_u32.pow(it.count.min(DOUBLINGS));
        *it = Try { count: it.count.saturating_add(1), last: now.monotonic };
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_and_less_than_a_second() {
        let tries = FailedTries::default();
        let check = |address: u128, at: u64, expected: u64| {
            let wait = tries.wait(address, Now::default().plus(Duration::from_secs(at)));
            assert_eq!(wait, Duration::from_millis(expected), "{address} at {at}");
        };
        for expected in [50, 100, 200, 400, 800, 800, 800] {
            check(1, 0, expected);
        }
        check(2, 0, 50);
        check(1, 59, 800);
        check(1, 119, 50);
    }
}
