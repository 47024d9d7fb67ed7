//! The guard of one call's quota.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::catalog::Unit;
use crate::quota::Demand;
use crate::quota::account::Closing;
use crate::quota::book::Mark;
use crate::quota::book::Marks;
use crate::quota::target::Target;

/// Quota taken for one call, charged to the windows of the moment it was made.
///
/// It ends by [`settle`](Self::settle) or [`failed`](Self::failed). Dropped instead (a call that was
/// never made, a panic), it gives everything back as long as the upstream request had not been
/// written; after that what was reserved is spent.
#[derive(Debug)]
#[must_use = "dropping a reservation gives it back"]
pub struct Reservation {
    target: Arc<Target>,
    reserved: Demand,
    marks: Marks,
    sent: AtomicBool,
    closed: bool,
}

/// A moment in the life of a target's windows: that of a call, or, by default, the present one.
#[derive(Clone, Debug, Default)]
pub struct AsOf {
    marks: Marks,
    /// What the call had reserved and did not use.
    unused: Demand,
}

impl AsOf {
    /// The mark of the counter number `place`, which counts `unit`.
    pub(crate) fn mark(&self, place: usize, unit: Unit) -> Option<Mark> {
        let mark = *self.marks.get(place)?;
        Some(Mark { used: mark.used.saturating_sub(self.unused.of(unit)), ..mark })
    }
}

impl Reservation {
    pub(crate) fn new(target: Arc<Target>, reserved: Demand, marks: Marks) -> Self {
        Self { target, reserved, marks, sent: AtomicBool::new(false), closed: false }
    }

    /// What was taken.
    pub fn reserved(&self) -> Demand {
        self.reserved
    }

    /// The moment it was made, to compare with what the call's answer will tell.
    pub fn as_of(&self) -> AsOf {
        AsOf { marks: self.marks.clone(), unused: Demand::default() }
    }

    /// The same moment, had no more been reserved than the `tokens_used`: to compare with what is
    /// told by a provider that counts a call with what it used.
    pub fn as_of_used(&self, tokens_used: u64) -> AsOf {
        let tokens = self.reserved.tokens.saturating_sub(tokens_used);
        AsOf { unused: Demand { requests: 0, tokens }, ..self.as_of() }
    }

    /// The upstream request is being written: from now on it counts.
    pub fn mark_sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// The prompt, estimated at `estimated` tokens, had `real` ones: see
    /// [`Ledger::tokens`](crate::quota::Ledger::tokens).
    pub fn note_prompt(&self, estimated: u64, real: u64) {
        self.target.ratio.learn(estimated, real);
    }

    /// The call was answered. More tokens than were reserved are owed, fewer come back.
    pub fn settle(mut self, tokens_used: u64) {
        self.close(Demand { requests: self.reserved.requests, tokens: tokens_used }, true);
    }

    /// The provider refused the call, or failed before it had done any work. The tokens come back,
    /// and so does the request unless the provider counts failures. One that was never written
    /// comes back whatever the provider does.
    pub fn failed(mut self, failed_requests_count: bool) {
        let counts = failed_requests_count && self.is_sent();
        let requests = if counts { self.reserved.requests } else { 0 };
        self.close(Demand { requests, tokens: 0 }, false);
    }

    fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    fn close(&mut self, real: Demand, answered: bool) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let closing = Closing { marks: &self.marks, reserved: self.reserved, real, answered };
        self.target.account.lock().close(&self.target, &closing);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let real = if self.is_sent() { self.reserved } else { Demand::default() };
        self.close(real, false);
    }
}
