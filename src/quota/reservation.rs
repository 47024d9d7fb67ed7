//! The guard of one call's quota.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::account::Closing;
use crate::quota::hints::Observation;
use crate::quota::target::Target;
use crate::window::Stamp;

/// Stands for "never told" in [`Reservation::told`].
const UNTOLD: u64 = u64::MAX;

/// Quota taken for one call, charged to the windows of the moment it was made.
///
/// It ends by [`settle`](Self::settle), [`failed`](Self::failed) or [`refund`](Self::refund).
/// Dropped instead (the caller hung up, a panic), it gives everything back as long as the upstream
/// request had not been written; after that the request counts, with the tokens last told, or the
/// reserved ones if none were.
#[derive(Debug)]
#[must_use = "dropping a reservation gives it back"]
pub struct Reservation {
    target: Arc<Target>,
    reserved: Demand,
    stamps: Vec<Stamp>,
    sent: AtomicBool,
    told: AtomicU64,
    closed: bool,
}

impl Reservation {
    pub(crate) fn new(target: Arc<Target>, reserved: Demand, stamps: Vec<Stamp>) -> Self {
        Self {
            target,
            reserved,
            stamps,
            sent: AtomicBool::new(false),
            told: AtomicU64::new(UNTOLD),
            closed: false,
        }
    }

    /// What was taken.
    pub fn reserved(&self) -> Demand {
        self.reserved
    }

    /// The upstream request is being written: from now on it counts.
    pub fn mark_sent(&self) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            let mut state = self.target.account.lock();
            if let Some(book) = state.book(self.target.book) {
                book.mark_sent(self.reserved);
            }
        }
    }

    /// Prompt and answer have come to `so_far` tokens: what is charged if the call is abandoned.
    pub fn note_tokens(&self, so_far: u64) {
        self.told.store(so_far.min(UNTOLD - 1), Ordering::Release);
    }

    /// What the provider said of its limits in the answer to this very call; see
    /// [`Ledger::learn`](crate::quota::Ledger::learn).
    pub fn learn(&self, seen: Observation, now: Now) {
        let own = if self.is_sent() { self.reserved } else { Demand::default() };
        self.target.learn(seen, own, now);
    }

    /// The call was answered. More tokens than were reserved are owed, fewer come back. `None`:
    /// the last told, or the reserved ones, stand.
    pub fn settle(mut self, tokens_used: Option<u64>) {
        let tokens = tokens_used.unwrap_or_else(|| self.known_tokens(self.reserved.tokens));
        self.close(Demand { requests: self.reserved.requests, tokens });
    }

    /// The call failed with the provider. The request comes back unless the provider counts
    /// failures or it delivered something; tokens stay as last told. A request that was never
    /// written comes back whole.
    pub fn failed(mut self, failed_requests_count: bool) {
        let tokens = self.known_tokens(0);
        let counts = self.is_sent() && (failed_requests_count || tokens > 0);
        self.close(if counts {
            Demand { requests: self.reserved.requests, tokens }
        } else {
            Demand::default()
        });
    }

    /// Gives everything back.
    pub fn refund(mut self) {
        self.close(Demand::default());
    }

    fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    fn known_tokens(&self, otherwise: u64) -> u64 {
        match self.told.load(Ordering::Acquire) {
            UNTOLD => otherwise,
            tokens => tokens,
        }
    }

    fn close(&mut self, real: Demand) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let closing =
            Closing { stamps: &self.stamps, reserved: self.reserved, real, sent: self.is_sent() };
        self.target.account.lock().close(&self.target, &closing);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let real = if self.is_sent() {
            let tokens = self.known_tokens(self.reserved.tokens);
            Demand { requests: self.reserved.requests, tokens }
        } else {
            Demand::default()
        };
        self.close(real);
    }
}
