//! Asking only those who have called.
//!
//! Who waits for several things asks all of them whenever one of them calls, and most of what a stream's
//! event or a request's answer would cost the others is taking their locks to hear that there is nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Lets one future, or whatever else is polled, be asked again only once it has called.
pub(super) struct Bell {
    cord: Arc<Cord>,
    waker: Waker,
}

struct Cord {
    pulled: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Cord {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.pulled.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Bell {
    /// For what has not been asked yet.
    pub(super) fn new() -> Self {
        let cord = Arc::new(Cord { pulled: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: Waker::from(Arc::clone(&cord)), cord }
    }

    /// What `ask` comes to. It has to be of the same thing each time.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Cord { pulled, task } = &*self.cord;
        task.register(cx.waker());
        if !pulled.load(Ordering::Relaxed) || !pulled.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let said = ask(&mut Context::from_waker(&self.waker));
        if said.is_ready() {
            // It may have more to say, and does not call for that.
            pulled.store(true, Ordering::Relaxed);
        }
        said
    }
}

/// What `work` comes to; `None` when `order` comes first. Both are pinned by the caller: a future that is
/// handed over whole takes its room twice, in each connection.
pub(super) async fn unless<T>(
    mut work: impl Future<Output = T> + Unpin,
    mut order: impl Future<Output = ()> + Unpin,
) -> Option<T> {
    let bell = Bell::new();
    poll_fn(|cx| {
        if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Some(done));
        }
        bell.poll(cx, |cx| Pin::new(&mut order).poll(cx)).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn it_is_asked_when_it_has_called_and_not_before() {
        let (bell, notify) = (Bell::new(), Notify::new());
        let mut called = pin!(notify.notified());
        let mut asked = 0;
        let mut poll = |cx: &mut Context<'_>| {
            bell.poll(cx, |cx| {
                asked += 1;
                called.as_mut().poll(cx).map(|()| asked)
            })
        };
        poll_fn(|cx| {
            for _ in 0..3 {
                assert!(poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        notify.notify_one();
        assert_eq!(poll_fn(&mut poll).await, 2);
    }

    #[tokio::test]
    async fn who_says_something_is_asked_for_more() {
        let (bell, mut left) = (Bell::new(), 3);
        let mut next = async || {
            poll_fn(|cx| {
                bell.poll(cx, |_| {
                    left -= 1;
                    Poll::Ready(left)
                })
            })
            .await
        };
        assert_eq!([next().await, next().await, next().await], [2, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_ends_work_at_once() {
        assert_eq!(unless(pin!(async { 7 }), pending()).await, Some(7));
        let order = pin!(sleep(Duration::from_secs(1)));
        // Work that calls often does not keep the order from being heard.
        let work = pin!(async {
            loop {
                sleep(Duration::from_millis(300)).await;
            }
        });
        let ended = timeout(Duration::from_millis(1_100), unless::<()>(work, order)).await;
        assert_eq!(ended, Ok(None));
    }
}
