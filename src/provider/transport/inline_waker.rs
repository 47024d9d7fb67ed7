//! Wakes who moves a connection, and not while they move it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

const RESTS: u8 = 0;
const MOVES: u8 = 1;
const CALLED: u8 = 2;

/// The waker a connection is polled with. hyper's halves of a connection call each other through it
/// whenever one has done something for the other. Both are polled by the same task, one after the
/// other, so such a call tells nothing new: passed on, it would have the task polled once more
/// for each piece of a stream.
#[derive(Debug, Default)]
pub(super) struct InlineWaker {
    state: AtomicU8,
    waiting: Mutex<Option<Waker>>,
}

impl InlineWaker {
    /// From now on calls are only noted; after [`Self::leave`] they go to `waiting`.
    pub(super) fn enter(&self, waiting: &Waker) {
        let mut known = self.known();
        match &*known {
            Some(it) if it.will_wake(waiting) => {}
            _ => *known = Some(waiting.clone()),
        }
        drop(known);
        self.state.store(MOVES, Ordering::Release);
    }

    /// The end of what [`Self::enter`] began. Has anybody called since?
    pub(super) fn leave(&self) -> bool {
        self.state.swap(RESTS, Ordering::AcqRel) == CALLED
    }

    /// Nobody waits any longer.
    pub(super) fn forget(&self) {
        self.known().take();
    }

    fn known(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for InlineWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self.state.compare_exchange(MOVES, CALLED, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(RESTS) {
            let waiting = self.known().take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn calls_while_it_is_moved_are_noted_and_all_others_passed_on() {
        let count = Arc::new(Count::default());
        let woken = || count.0.load(Ordering::SeqCst);
        let task = Waker::from(Arc::clone(&count));
        let inline = Arc::new(InlineWaker::default());
        let waker = Waker::from(Arc::clone(&inline));
        waker.wake_by_ref();
        inline.enter(&task);
        assert!(!inline.leave());
        inline.enter(&task);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(woken(), 0);
        assert!(inline.leave());
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        inline.enter(&task);
        inline.leave();
        inline.forget();
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        drop(task);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
