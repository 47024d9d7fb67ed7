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

/// Opens the store, gives back what is in it, and saves from then on. A disk that can't be used
/// (read-only, full, forbidden) takes the memory, not the service: the log says so, what can be read
/// is taken over, and nothing more is kept.
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
            store.start_saving(rooms, Arc::clone(catalog), Arc::clone(clock)).map(Some)
        }
        Err(fault) => {
            let unusable = matches!(fault, OpenError::Unusable { .. });
            if unusable && Store::recall(dir, &rooms, &catalog.load_full(), clock.now()) {
                tracing::warn!("took over what {} holds, to be read alone", dir.display());
            }
            Err(fault)
        }
    };
    match begun {
        Err(fault @ OpenError::Unusable { .. }) => {
            tracing::warn!(
                "{fault}; serving goes on, but usage and quota are lost with this process"
            );
            Ok(None)
        }
        begun => begun,
    }
}
