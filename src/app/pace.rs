//! Keeps the pace of spending measured.

use std::future::Future;
use std::sync::Arc;

use crate::status::Books;
use crate::status::pace::EVERY;

/// Samples what was spent, for ever.
pub(super) fn watch(books: &Books) -> impl Future<Output = ()> + Send + use<> {
    let (usage, pace) = (Arc::clone(&books.usage), Arc::clone(&books.pace));
    let clock = Arc::clone(&books.clock);
    async move {
        let mut due = tokio::time::interval(EVERY);
        loop {
            due.tick().await;
            pace.sample(usage.total(), clock.now());
        }
    }
}
