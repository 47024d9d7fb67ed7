//! Many times, kept in little room.

use std::time::Duration;

/// Buckets for each doubling: a bucket is at most 0.8 % wide.
const FINE: u32 = 7;

/// How often each time was seen.
pub(crate) struct Times {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The time that `percent` of all are below, in microseconds; 0 when there are none.
    pub(crate) fn percentile(&self, percent: u64) -> f64 {
        let mut left = self.total * percent / 100;
        for (at, count) in self.counts.iter().enumerate() {
            if *count > left {
                return middle(at);
            }
            left -= count;
        }
        0.0
    }
}

/// Times below 2^FINE ns have a bucket each; from there on each doubling has 2^FINE.
fn bucket(nanos: u64) -> usize {
    let doublings = nanos.max(1).ilog2().saturating_sub(FINE);
    let within = nanos >> doublings;
    usize::try_from((u64::from(doublings) << FINE) + within).unwrap_or(usize::MAX)
}

/// The middle of a bucket, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a bucket is 0.8 % wide")]
fn middle(bucket: usize) -> f64 {
    let size = 1 << FINE;
    let doublings = (bucket / size).saturating_sub(1);
    let within = bucket - doublings * size;
    (within as f64 + 0.5) * (1_u64 << doublings) as f64 / 1_000.0
}
