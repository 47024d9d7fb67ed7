//! Connections that nobody uses at the moment, kept for the next request to the same host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::provider::transport::connection::Connection;
use crate::provider::transport::connection::Origin;

/// How often they are looked at: one that was closed by the other side is let go of then.
const ROUND: Duration = Duration::from_secs(5);
/// How many rounds one is kept: up to 55 s. Providers close theirs after 60 to 120 s.
const ROUNDS: u8 = 11;
/// Unused connections kept, to all hosts together. A host that is asked a hundred things at once needs a
/// hundred: with fewer, each that is let go of has to be made again.
const MOST: usize = 1024;

/// Unused connections.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    /// How many are kept at most.
    most: usize,
    /// Those the process may still open.
    sockets: Arc<Semaphore>,
}

#[derive(Default)]
struct Idle {
    plain: Hosts,
    secure: Hosts,
    count: usize,
    /// Is somebody looking at them?
    watched: bool,
}

/// By host and port, the one used last at the end.
type Hosts = FxHashMap<String, Vec<Unused>>;

struct Unused {
    connection: Box<Connection>,
    /// Rounds since it was used.
    age: u8,
}

impl Pool {
    /// Keeps a fifth of `sockets` at most.
    pub(super) fn new(sockets: Arc<Semaphore>) -> Self {
        let most = MOST.min(sockets.available_permits() / 5);
        Self { idle: Mutex::default(), most, sockets }
    }

    /// A connection that leads there, if there is one. It may have been closed since.
    pub(super) fn take(&self, secure: bool, authority: &str) -> Option<Box<Connection>> {
        let mut idle = self.lock();
        let kept = idle.hosts(secure).get_mut(authority)?.pop()?;
        idle.count -= 1;
        Some(kept.connection)
    }

    /// Keeps a connection.
    pub(super) fn keep(self: &Arc<Self>, connection: Box<Connection>) {
        connection.rest();
        let most = self.most();
        let mut idle = self.lock();
        if !idle.watched {
            // Nothing has to wait for it: it holds nothing, and ends when there is nothing to look at.
            let Ok(runtime) = Handle::try_current() else { return };
            runtime.spawn(watch(Arc::downgrade(self)));
            idle.watched = true;
        }
        let gone = if idle.count >= most { idle.least_needed() } else { None };
        if idle.count >= most {
            // There were more than may be kept by now, or none may be.
            drop(idle);
            drop(gone);
            return;
        }
        let Origin { secure, authority, .. } = &connection.origin;
        let hosts = idle.hosts(*secure);
        let unused = match hosts.get_mut(authority) {
            Some(unused) => unused,
            None => hosts.entry(authority.clone()).or_default(),
        };
        unused.push(Unused { connection, age: 0 });
        idle.count += 1;
        drop(idle);
        // Closing takes a while.
        drop(gone);
    }

    /// Lets go of those that are closed or old, and of some when too many are kept. Are there others?
    pub(super) fn sweep(&self) -> bool {
        let most = self.most();
        let mut idle = self.lock();
        let keeps = |it: &mut Unused| {
            it.age += 1;
            it.age < ROUNDS && it.connection.is_quiet()
        };
        let Idle { plain, secure, .. } = &mut *idle;
        for unused in plain.values_mut().chain(secure.values_mut()) {
            unused.retain_mut(keeps);
        }
        idle.count = idle.plain.values().chain(idle.secure.values()).map(Vec::len).sum();
        while idle.count > most && idle.least_needed().is_some() {}
        idle.plain.retain(|_, unused| !unused.is_empty());
        idle.secure.retain(|_, unused| !unused.is_empty());
        idle.watched = idle.count > 0;
        idle.watched
    }

    /// How many may be kept now: calls and callers go before.
    fn most(&self) -> usize {
        self.most.min(self.sockets.available_permits())
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// Takes the oldest connection to the host that has most of them.
    fn least_needed(&mut self) -> Option<Unused> {
        let hosts = self.plain.values_mut().chain(self.secure.values_mut());
        let most = hosts.max_by_key(|it| it.len()).filter(|it| !it.is_empty())?;
        self.count -= 1;
        Some(most.remove(0))
    }

    fn hosts(&mut self, secure: bool) -> &mut Hosts {
        if secure { &mut self.secure } else { &mut self.plain }
    }
}

async fn watch(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(ROUND).await;
        if !pool.upgrade().is_some_and(|it| it.sweep()) {
            return;
        }
    }
}
