//! Waiting for quota in a fair line.
//!
//! Requests that may take from the same buckets stand in one line. Callers take turns: first the keys, so
//! that nobody gains by naming many sessions or many models, then the sessions of one key. Lines that
//! share a bucket keep one order: what is free there goes to whoever has waited for its turn longest, in
//! whichever line. Only the first in a line watches the quota; the others sleep until it is their turn, so
//! a unit that comes free wakes one request of a line, not all of them. A place is given up by dropping it:
//! callers who hang up leave the line at once. So many requests of one caller may wait and no more:
//! nobody fills it, or the gateway, for the others.

mod lines;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::dispatch::outcome::Who;
use crate::dispatch::queue::lines::Lines;
use crate::dispatch::queue::lines::Ticket;

pub(super) use crate::dispatch::queue::lines::Bucket;
pub(super) use crate::dispatch::queue::lines::Choice;
#[cfg(test)]
pub(super) use crate::dispatch::queue::lines::MOST_OF_SESSION;
pub(super) use crate::dispatch::queue::lines::Others;

/// All lines. Memory is bounded by the requests the server lets in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    waiting: AtomicUsize,
    next: AtomicU64,
}

/// A place in a line; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    ticket: Ticket,
    /// Rung when it comes first, and whenever quota may have come free while it is.
    bell: Arc<Notify>,
}

impl Queue {
    /// Does anybody wait for exactly this choice? Costs one atomic read while nobody waits at all.
    pub(super) fn has(&self, choice: impl FnOnce() -> Choice) -> bool {
        self.is_used() && self.lock().has(&choice())
    }

    /// Stands behind the session's own requests; `None` when these, or the key's, are too many.
    pub(super) fn join(self: &Arc<Self>, choice: Choice, who: Who) -> Option<Place> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { choice, who, number };
        let bell = Arc::new(Notify::new());
        if !self.lock().join(&ticket, Arc::clone(&bell)) {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Release);
        Some(Place { queue: Arc::clone(self), ticket, bell })
    }

    /// What others wait for, seen from a request with that place, or with none yet.
    pub(super) fn others(&self, place: Option<&Place>) -> Others {
        if !self.is_used() {
            return Others::default();
        }
        self.lock().others(place.map(|it| &it.ticket))
    }

    /// At least so many are served before a request with that place, or one that would join now.
    pub(super) fn before(&self, choice: &Choice, who: Who, place: Option<&Place>) -> u64 {
        self.lock().before(choice, who, place.map(|it| it.ticket.number))
    }

    /// Quota may have come free before its time: whoever is first in a line looks again.
    pub(super) fn stir(&self) {
        if self.is_used() {
            self.lock().ring(None);
        }
    }

    fn is_used(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request out; `served`: its turn is over.
    fn leave(&self, ticket: &Ticket, served: bool) {
        let mut lines = self.lock();
        if lines.leave(ticket, served) {
            self.waiting.fetch_sub(1, Ordering::Release);
            lines.ring(Some(&ticket.choice));
        }
    }
}

impl Place {
    /// Is it this one's turn?
    pub(super) fn is_first(&self) -> bool {
        self.queue.lock().is_first(&self.ticket)
    }

    /// What it waits for.
    pub(super) fn choice(&self) -> &Choice {
        &self.ticket.choice
    }

    /// Waits until something has changed that concerns this place: it has come first, or it is first and
    /// quota may have come free.
    pub(super) async fn bell(&self) {
        self.bell.notified().await;
    }

    /// Leaves with what it waited for; the next of its key and session wait for their turn to come again.
    pub(super) fn served(self) {
        self.queue.leave(&self.ticket, true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.leave(&self.ticket, false);
    }
}

#[cfg(test)]
mod tests;
