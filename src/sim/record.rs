//! What arrived at a simulated provider and how it ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Now;
use crate::clock::SharedClock;

use super::fault::Fault;

/// Bodies beyond this are recorded by their beginning.
const BODY_CAP: usize = 256 * 1024;
/// What one provider's records may hold in bodies; older records give way.
const BODIES_CAP: usize = 64 * 1024 * 1024;

/// One chat request as it arrived, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// When its body had been read.
    pub at: Now,
    /// The model it named; empty when the body could not be read.
    pub model: String,
    /// Its bearer key; empty when it had none.
    pub key: String,
    /// Its path with the query.
    pub path: String,
    /// Its headers by lower-case name; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// Its body, byte for byte; the first 256 KiB of a longer one.
    pub body: Bytes,
    /// Did it ask for a stream?
    pub stream: bool,
    /// The fault it met.
    pub fault: Option<Fault>,
    /// The status sent; `None` before, and for good when there was no answer.
    pub status: Option<u16>,
    /// Prompt and completion tokens as told to the caller; `None` when nothing was told.
    pub reported_usage: Option<(u64, u64)>,
    /// The text of the answer as far as it was sent (the first choice's where there are several).
    pub sent_content: String,
    /// Has the answer ended as meant (be it by a simulated cut)?
    pub ended: bool,
    /// When the caller hung up, if it did so before the answer had ended.
    pub client_gone_at: Option<Now>,
}

impl Record {
    /// How long after its arrival the caller hung up, if it did.
    pub fn gone_after(&self) -> Option<Duration> {
        self.client_gone_at.map(|gone| gone.monotonic.saturating_sub(self.at.monotonic))
    }
}

/// One provider's records and counters.
pub(super) struct Records {
    kept: Mutex<Kept>,
    keep: usize,
    reached: AtomicU64,
    served: AtomicU64,
    changed: Notify,
    clock: SharedClock,
    stopping: CancellationToken,
}

#[derive(Default)]
struct Kept {
    entries: VecDeque<Entry>,
    body_bytes: usize,
}

struct Entry {
    record: Arc<Mutex<Record>>,
    body_bytes: usize,
}

impl Records {
    pub(super) fn new(keep: usize, clock: SharedClock, stopping: CancellationToken) -> Self {
        Self {
            kept: Mutex::default(),
            keep,
            reached: AtomicU64::new(0),
            served: AtomicU64::new(0),
            changed: Notify::new(),
            clock,
            stopping,
        }
    }

    /// Are requests remembered at all?
    pub(super) fn remembers(&self) -> bool {
        self.keep > 0
    }

    /// Counts one arrival and remembers it.
    pub(super) fn open(self: &Arc<Self>, mut record: Record) -> Trace {
        self.reached.fetch_add(1, Ordering::Relaxed);
        if record.body.len() > BODY_CAP {
            // A copy, or the cut slice would keep the whole body alive.
            record.body = Bytes::copy_from_slice(record.body.get(..BODY_CAP).unwrap_or_default());
        }
        let body_bytes = record.body.len();
        let record = Arc::new(Mutex::new(record));
        if self.remembers() {
            let mut kept = lock(&self.kept);
            kept.body_bytes += body_bytes;
            kept.entries.push_back(Entry { record: Arc::clone(&record), body_bytes });
            while kept.entries.len() > self.keep || kept.body_bytes > BODIES_CAP {
                let Some(old) = kept.entries.pop_front() else { break };
                kept.body_bytes -= old.body_bytes;
            }
        }
        self.changed.notify_waiters();
        Trace { records: Arc::clone(self), record, ended: false }
    }

    pub(super) fn all(&self) -> Vec<Record> {
        let entries: Vec<_> =
            lock(&self.kept).entries.iter().map(|entry| Arc::clone(&entry.record)).collect();
        entries.iter().map(|record| lock(record).clone()).collect()
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        *lock(&self.kept) = Kept::default();
        self.reached.store(0, Ordering::Relaxed);
        self.served.store(0, Ordering::Relaxed);
    }

    /// Waits until `done` holds of the records; `None` when it does not within `timeout`.
    pub(super) async fn wait_for(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&[Record]) -> bool,
    ) -> Option<Vec<Record>> {
        let held = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Listen first, look second: a change in between is not missed.
                changed.as_mut().enable();
                let records = self.all();
                if done(&records) {
                    return records;
                }
                changed.await;
            }
        };
        tokio::time::timeout(timeout, held).await.ok()
    }
}

/// Follows one request to its end. Dropped before [`Trace::end`], the caller has hung up: hyper
/// drops the answer, and this with it, as soon as the connection is gone.
pub(super) struct Trace {
    records: Arc<Records>,
    record: Arc<Mutex<Record>>,
    ended: bool,
}

impl Trace {
    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.record));
        self.records.changed.notify_waiters();
    }

    pub(super) fn status(&self, status: u16) {
        self.change(|record| record.status = Some(status));
    }

    pub(super) fn said(&self, text: &str) {
        self.change(|record| record.sent_content.push_str(text));
    }

    pub(super) fn told_usage(&self, usage: (u64, u64)) {
        self.change(|record| record.reported_usage = Some(usage));
    }

    /// The answer is over; `served` when it was a whole and proper one.
    pub(super) fn end(mut self, served: bool) {
        self.ended = true;
        if served {
            self.records.served.fetch_add(1, Ordering::Relaxed);
        }
        self.change(|record| record.ended = true);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // A server that stops drops its answers too; then nobody hung up.
        if !self.ended && !self.records.stopping.is_cancelled() {
            let now = self.records.clock.now();
            self.change(|record| record.client_gone_at = Some(now));
        }
    }
}

/// A panic elsewhere leaves plain data behind; it is still good.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
