//! Virtual keys while no gateway runs: in its data directory.

use std::path::Path;
use std::sync::Arc;

use crate::breaker::Breakers;
use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::clock::Now;
use crate::quota::Ledger;
use crate::session;
use crate::session::Sessions;
use crate::store::OpenError;
use crate::store::Rooms;
use crate::store::SaveError;
use crate::store::Store;
use crate::usage::UsageBook;

/// The keys in a data directory, which is this process's while the value lives.
pub struct StoredKeys {
    store: Store,
    rooms: Rooms,
    catalog: Arc<Catalog>,
}

impl StoredKeys {
    /// Opens the directory. What it holds of quota and usage is left alone: it speaks of providers, and
    /// none is known here.
    ///
    /// # Errors
    /// Whatever keeps a gateway from using it does, too.
    pub fn open(dir: &Path, now: Now) -> Result<Self, OpenError> {
        let nobody =
            session::Params { enabled: false, ttl: std::time::Duration::ZERO, max_sessions: 0 };
        let rooms = Rooms {
            ledger: Arc::new(Ledger::new()),
            usage: Arc::new(UsageBook::new()),
            sessions: Arc::new(Sessions::new(nobody)),
            breakers: Arc::new(Breakers::new()),
            callers: Arc::new(Callers::new()),
        };
        let mut store = Store::open(dir, now)?;
        let catalog = Arc::default();
        store.restore(&rooms, &catalog, now);
        Ok(Self { store, rooms, catalog })
    }

    /// The keys.
    pub fn callers(&self) -> &Callers {
        &self.rooms.callers
    }

    /// Writes what was changed.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn save(&mut self, now: Now) -> Result<(), SaveError> {
        self.store.save(&self.rooms, &self.catalog, now).map(|_| ())
    }
}
