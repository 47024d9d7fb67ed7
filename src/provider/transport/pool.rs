//! Connections that nobody uses at the moment, kept for the next request to the same host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;

use crate::provider::transport::connection::Connection;
use crate::provider::transport::connection::Origin;

/// How often they are looked at: one that was closed by the other side is let go of then.
const ROUND: Duration = Duration::from_secs(5);
/// How many rounds one is kept: up to 55 s. Providers close theirs after 60 to 120 s.
const ROUNDS: u8 = 11;
/// Unused connections kept per host.
const MOST: usize = 64;

/// Unused connections.
#[derive(Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    plain: Hosts,
    secure: Hosts,
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
    /// A connection that leads there, if there is one. It may have been closed since.
    pub(super) fn take(&self, secure: bool, authority: &str) -> Option<Box<Connection>> {
        let mut idle = self.lock();
        Some(idle.hosts(secure).get_mut(authority)?.pop()?.connection)
    }

    /// Keeps a connection.
    pub(super) fn keep(self: &Arc<Self>, connection: Box<Connection>) {
        connection.rest();
        let mut idle = self.lock();
        if !idle.watched {
            // Nothing has to wait for it: it holds nothing, and ends when there is nothing to look at.
            let Ok(runtime) = Handle::try_current() else { return };
            runtime.spawn(watch(Arc::downgrade(self)));
            idle.watched = true;
        }
        let Origin { secure, authority, .. } = &connection.origin;
        let hosts = idle.hosts(*secure);
        let unused = match hosts.get_mut(authority) {
            Some(unused) => unused,
            None => hosts.entry(authority.clone()).or_default(),
        };
        if unused.len() < MOST {
            unused.push(Unused { connection, age: 0 });
        }
    }

    /// Lets go of those that are closed or old. Are there others?
    pub(super) fn sweep(&self) -> bool {
        let mut idle = self.lock();
        let keeps = |it: &mut Unused| {
            it.age += 1;
            it.age < ROUNDS && it.connection.is_quiet()
        };
        let Idle { plain, secure, .. } = &mut *idle;
        for hosts in [plain, secure] {
            hosts.retain(|_, unused| {
                unused.retain_mut(keeps);
                !unused.is_empty()
            });
        }
        idle.watched = !(idle.plain.is_empty() && idle.secure.is_empty());
        idle.watched
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
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
