//! What survives this process.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::clock::SharedClock;
use crate::dispatch;
use crate::store::OpenError;
use crate::store::Rooms;
use crate::store::Saving;
use crate::store::Store;
use crate::store::Unopened;

/// Opens the store, gives back what is in it, and saves from then on. A disk that can't be used
/// (read-only, full, forbidden) takes the memory, not the service: the log says so, what can be read
/// is taken over, and all is kept as soon as the disk can be used.
///
/// # Errors
/// When the directory is not for this process.
pub(super) fn remember(
    dir: &Path,
    (books, callers): (&dispatch::Books, &Arc<Callers>),
    catalog: &Arc<ArcSwap<Catalog>>,
    clock: &SharedClock,
) -> Result<Option<Saving>, OpenError> {
    let rooms = Rooms {
        ledger: Arc::clone(&books.ledger),
        usage: Arc::clone(&books.usage),
        sessions: Arc::clone(&books.sessions),
        breakers: Arc::clone(&books.breakers),
        callers: Arc::clone(callers),
    };
    let begun = match Store::open(dir, clock.now()) {
        Ok(mut store) => {
            store.restore(&rooms, &catalog.load_full(), clock.now());
            store.start_saving(rooms, Arc::clone(catalog), Arc::clone(clock))
        }
        Err(fault @ OpenError::Unusable { .. }) => {
            let unopened = Unopened::recall(dir, &rooms, &catalog.load_full(), clock.now());
            if unopened.has_read() {
                tracing::warn!("took over what {} holds, to be read alone", dir.display());
            }
            tracing::warn!(
                "{fault}; serving goes on, with usage and quota in memory alone until it can be used"
            );
            unopened.start_saving(rooms, Arc::clone(catalog), Arc::clone(clock))
        }
        Err(fault) => return Err(fault),
    };
    match begun {
        Err(fault @ OpenError::Unusable { .. }) => {
            tracing::warn!(
                "{fault}; serving goes on, but usage and quota are lost with this process"
            );
            Ok(None)
        }
        begun => begun.map(Some),
    }
}
