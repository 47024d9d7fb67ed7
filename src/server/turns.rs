//! A connection, polled without being called back by its own request.
//!
//! hyper's connection hands a request's body over in pieces, and is called for the next one whenever
//! a piece has been taken. It and who takes it are polled together, so that the call for what comes
//! after the last piece would have the whole request asked once more for nothing, and wake a
//! second thread for that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// A connection and the calls it gets while it is polled.
pub(super) struct Turns<C> {
    connection: C,
    calls: Arc<Calls>,
    /// The same as a waker.
    waker: Waker,
}

/// Calls for a connection.
#[derive(Default)]
pub(super) struct Calls {
    /// Nought while it is not polled, else one more than have called since that began.
    count: AtomicU32,
    /// Has the last piece of a body been taken since then?
    taken: AtomicBool,
    task: AtomicWaker,
}

impl Calls {
    /// The last piece of a body has just been taken, and nothing more has to come.
    pub(super) fn take_in(&self) {
        self.taken.store(true, Ordering::Relaxed);
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let one_more = |it: u32| (it > 0).then_some(it.saturating_add(1));
        if self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            self.task.wake();
        }
    }
}

impl<C> Turns<C> {
    pub(super) fn new(connection: C, calls: Arc<Calls>) -> Self {
        Self { connection, waker: Waker::from(Arc::clone(&calls)), calls }
    }
}

impl<C: Unpin> Turns<C> {
    /// The connection itself.
    pub(super) fn polled(&mut self) -> Pin<&mut C> {
        Pin::new(&mut self.connection)
    }
}

impl<C: Future + Unpin> Future for Turns<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.calls.task.register(cx.waker());
        this.calls.count.store(1, Ordering::Release);
        let polled = Pin::new(&mut this.connection).poll(&mut Context::from_waker(&this.waker));
        let called = this.calls.count.swap(0, Ordering::AcqRel).saturating_sub(1);
        // Taking the last piece is one call; any other asks for something.
        let void = u32::from(this.calls.taken.swap(false, Ordering::Relaxed));
        if polled.is_pending() && called > void {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How often a task is woken whose connection is called so often while it is polled.
    fn check(calls: u32, takes_last: bool, expected: u32) {
        let known = Arc::new(Calls::default());
        let during = Arc::clone(&known);
        let connection = poll_fn(move |cx| {
            (0..calls).for_each(|_| cx.waker().wake_by_ref());
            if takes_last {
                during.take_in();
            }
            Poll::<()>::Pending
        });
        let mut turns = Turns::new(connection, Arc::clone(&known));
        let woken = Arc::new(Woken::default());
        let task = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(&mut turns).poll(&mut Context::from_waker(&task)).is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), expected, "{calls} {takes_last}");
        Waker::from(known).wake();
        assert_eq!(woken.0.load(Ordering::SeqCst), expected + 1, "{calls} {takes_last}");
    }

    #[test]
    fn only_the_call_of_the_last_piece_is_void() {
        check(0, false, 0);
        check(1, false, 1);
        check(3, false, 1);
        check(1, true, 0);
        check(2, true, 1);
        check(0, true, 0);
    }
}
