//! Waiting for quota in a fair line.
//!
//! Requests that may go to the same targets stand in one line. In it callers take turns, so one who sends a
//! hundred requests does not keep out one who sends a single one. Only the first in a line watches the
//! quota; the others sleep until it is their turn, so a unit that comes free wakes one request, not all of
//! them. A place is given up by dropping it: callers who hang up leave the line at once. A line holds so
//! many requests of one caller and no more: nobody fills it, or the gateway, for the others.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

/// Requests that wait for the same quota.
pub(super) type LineId = u64;

/// Requests of one caller in one line; the next is told to come back.
pub(super) const MOST_OF_ONE: usize = 1_000;

/// All lines. Memory is bounded by the requests the server lets in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: Mutex<HashMap<LineId, Line>>,
    waiting: AtomicUsize,
    next: AtomicU64,
}

/// Who waits in one line. No caller in it is without a request.
#[derive(Debug, Default)]
struct Line {
    /// Whose turn it is comes first.
    callers: VecDeque<Caller>,
}

#[derive(Debug)]
struct Caller {
    id: u64,
    requests: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Rung when it comes first, and whenever quota may have come free while it is.
    bell: Arc<Notify>,
}

/// A place in a line; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    line: LineId,
    caller: u64,
    number: u64,
    bell: Arc<Notify>,
}

impl Queue {
    /// Does anybody wait in this line? Costs one atomic read while nobody waits at all.
    pub(super) fn has(&self, line: impl FnOnce() -> LineId) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 && self.lock().contains_key(&line())
    }

    /// Stands at the end of the caller's own requests; `None` when these are too many.
    pub(super) fn join(self: &Arc<Self>, line: LineId, caller: u64) -> Option<Place> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Notify::new());
        let waiter = Waiter { number, bell: Arc::clone(&bell) };
        let mut lines = self.lock();
        let callers = &mut lines.entry(line).or_default().callers;
        match callers.iter_mut().find(|it| it.id == caller) {
            Some(it) if it.requests.len() >= MOST_OF_ONE => return None,
            Some(it) => it.requests.push_back(waiter),
            None => callers.push_back(Caller { id: caller, requests: [waiter].into() }),
        }
        self.waiting.fetch_add(1, Ordering::Release);
        drop(lines);
        Some(Place { queue: Arc::clone(self), line, caller, number, bell })
    }

    /// How many stand in a line.
    pub(super) fn length(&self, line: LineId) -> u64 {
        let lines = self.lock();
        let callers = lines.get(&line).into_iter().flat_map(|it| &it.callers);
        callers.map(|it| it.requests.len()).fold(0, |sum, it| sum.saturating_add(it as u64))
    }

    /// Quota may have come free before its time: whoever is first in a line looks again.
    pub(super) fn stir(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.lock().values().for_each(Line::ring);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LineId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a waiter out; `served`: its caller's turn is over.
    fn leave(&self, place: &Place, served: bool) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(&place.line) else { return };
        if line.remove(place, served) {
            self.waiting.fetch_sub(1, Ordering::Release);
        }
        if line.callers.is_empty() {
            lines.remove(&place.line);
        } else {
            line.ring();
        }
    }
}

impl Line {
    fn first(&self) -> Option<&Waiter> {
        self.callers.front().and_then(|it| it.requests.front())
    }

    fn ring(&self) {
        if let Some(first) = self.first() {
            first.bell.notify_one();
        }
    }

    fn remove(&mut self, place: &Place, served: bool) -> bool {
        let Some(at) = self.callers.iter().position(|it| it.id == place.caller) else {
            return false;
        };
        let Some(caller) = self.callers.get_mut(at) else { return false };
        let before = caller.requests.len();
        caller.requests.retain(|it| it.number != place.number);
        let found = caller.requests.len() < before;
        if caller.requests.is_empty() {
            self.callers.remove(at);
        } else if served && let Some(caller) = self.callers.remove(at) {
            self.callers.push_back(caller);
        }
        found
    }
}

impl Place {
    /// Is it this one's turn?
    pub(super) fn is_first(&self) -> bool {
        let lines = self.queue.lock();
        let first = lines.get(&self.line).and_then(Line::first);
        first.is_some_and(|it| it.number == self.number)
    }

    /// Waits until something has changed that concerns this place: it has come first, or it is first and
    /// quota may have come free.
    pub(super) async fn bell(&self) {
        self.bell.notified().await;
    }

    /// Leaves with what it waited for; the caller's next request waits for its turn to come again.
    pub(super) fn served(self) {
        self.queue.leave(&self, true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.leave(self, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which places get their turn, by caller.
    fn turns(queue: &Queue, mut places: Vec<Place>) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(at) = places.iter().position(Place::is_first) {
            let place = places.remove(at);
            order.push(place.caller);
            place.served();
        }
        assert!(places.is_empty(), "somebody never came first");
        assert!(!queue.has(|| 1));
        order
    }

    #[test]
    fn callers_take_turns_whatever_their_appetite() {
        let queue = Arc::new(Queue::default());
        let callers = [1, 1, 1, 1, 2, 3, 3];
        let places = callers.map(|it| queue.join(1, it).unwrap()).into();
        assert_eq!(turns(&queue, places), [1, 2, 3, 1, 3, 1, 1]);
    }

    #[test]
    fn lines_do_not_mix() {
        let queue = Arc::new(Queue::default());
        let [one, other] = [1, 2].map(|it| queue.join(it, 1).unwrap());
        assert!(one.is_first() && other.is_first());
        drop(one);
        assert!(!queue.has(|| 1) && queue.has(|| 2));
    }

    #[test]
    fn who_leaves_frees_the_place_at_once() {
        let queue = Arc::new(Queue::default());
        let [first, second, third] = [1, 1, 2].map(|it| queue.join(1, it).unwrap());
        drop(second);
        assert!(first.is_first() && !third.is_first());
        drop(first);
        assert!(third.is_first());
        drop(third);
        assert!(queue.lock().is_empty());
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nobody_fills_a_line_for_the_others() {
        let queue = Arc::new(Queue::default());
        let mut places: Vec<Place> =
            std::iter::from_fn(|| queue.join(1, 1)).take(MOST_OF_ONE + 1).collect();
        assert_eq!((places.len(), queue.length(1)), (MOST_OF_ONE, 1_000));
        places.push(queue.join(1, 2).unwrap());
        places.push(queue.join(2, 1).unwrap());
        assert!(queue.join(1, 1).is_none());
        drop(places);
        assert_eq!((queue.length(1), queue.waiting.load(Ordering::Relaxed)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_bell_rings_for_the_first_alone() {
        let soon = std::time::Duration::from_millis(1);
        let rings = async |it: &Place| tokio::time::timeout(soon, it.bell()).await.is_ok();
        let queue = Arc::new(Queue::default());
        let [first, second] = [1, 2].map(|it| queue.join(1, it).unwrap());
        queue.stir();
        assert!(rings(&first).await && !rings(&second).await);
        first.served();
        assert!(rings(&second).await, "it has come first");
    }
}
