//! How long a stream may be silent.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use futures::Stream;
use futures::StreamExt as _;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

/// One timer for all events of a stream: to set one anew with each costs as much as passing it on.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// The next item of `items`; `None` when it has not come by `until`.
    pub(super) async fn next<S: Stream + Unpin>(
        &mut self,
        items: &mut S,
        until: Instant,
    ) -> Option<Option<S::Item>> {
        let alarm = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        poll_fn(|cx| {
            if let Poll::Ready(item) = items.poll_next_unpin(cx) {
                return Poll::Ready(Some(item));
            }
            // It was set for an earlier event, and goes off too early as long as others come.
            loop {
                if alarm.deadline() > until {
                    alarm.as_mut().reset(until);
                }
                ready!(alarm.as_mut().poll(cx));
                if alarm.deadline() >= until {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(until);
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_after_a_silence_however_many_events_came_before() {
        let (mut alarm, silence) = (Alarm::default(), Duration::from_secs(10));
        let mut slow = Box::pin(stream::unfold(0_u64, |n| async move {
            tokio::time::sleep(Duration::from_secs(n)).await;
            Some((n, n + 3))
        }));
        for expected in [0, 3, 6, 9] {
            assert_eq!(alarm.next(&mut slow, Instant::now() + silence).await, Some(Some(expected)));
        }
        let began = Instant::now();
        assert_eq!(alarm.next(&mut slow, Instant::now() + silence).await, None);
        assert_eq!(began.elapsed().as_secs(), 10);
        // A shorter one is kept to, too, and the end of the stream is an item.
        let mut never = stream::pending::<u64>();
        let began = Instant::now();
        assert_eq!(alarm.next(&mut never, began + Duration::from_secs(1)).await, None);
        assert_eq!(began.elapsed().as_secs(), 1);
        assert_eq!(alarm.next(&mut stream::empty::<u64>(), began + silence).await, Some(None));
    }
}
