//! What a key has used.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::callers::key::Digest;
use crate::clock::Now;
use crate::quota::Budget;
use crate::usage::Spent;
use crate::usage::Usage;

/// The counts of one key. They outlive what the key is allowed, which may be declared anew.
#[derive(Debug)]
pub(super) struct Counts {
    digest: Digest,
    /// Without bounds: those are the key's.
    day: Budget,
    total: Mutex<Usage>,
}

/// What a key has used, over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCounts {
    /// Whose.
    pub digest: Digest,
    /// Since the beginning.
    pub total: Usage,
    /// Of the current day: requests and tokens, as (milliseconds since 1970, units).
    pub day: [Vec<(u64, u64)>; 2],
}

impl Counts {
    pub(super) fn new(digest: Digest) -> Arc<Self> {
        Arc::new(Self { digest, day: Budget::daily(None, None), total: Mutex::default() })
    }

    /// The day's counts under these bounds.
    pub(super) fn budget(&self, requests: Option<u64>, tokens: Option<u64>) -> Budget {
        self.day.bounded(requests, tokens)
    }

    /// A request was answered.
    pub(super) fn record(&self, spent: Spent) {
        self.add(spent.into());
    }

    pub(super) fn total(&self) -> Usage {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when it has used nothing.
    pub(super) fn save(&self, now: Now) -> Option<SavedCounts> {
        let (total, day) = (self.total(), self.day.snapshot(now));
        let used = total != Usage::default() || day.iter().any(|it| !it.is_empty());
        used.then_some(SavedCounts { digest: self.digest, total, day })
    }

    pub(super) fn restore(&self, saved: &SavedCounts, now: Now) {
        self.add(saved.total);
        self.day.restore(&saved.day, now);
    }

    fn add(&self, usage: Usage) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        *total = total.plus(usage);
    }
}
