//! Whose turn it is: when each provider, model and key was chosen last.
//!
//! Round robin is "whoever has waited longest", which stays exactly fair when candidates come and
//! go. The cells are plain atomics, so choosing takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::Catalog;

/// The last turn of everyone in one catalog, by place.
#[derive(Debug)]
pub struct Turns {
    next: AtomicU64,
    providers: Vec<ProviderTurns>,
}

#[derive(Debug)]
struct ProviderTurns {
    last: AtomicU64,
    models: Vec<AtomicU64>,
    keys: Vec<AtomicU64>,
}

impl Turns {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        let providers = catalog.providers().iter().map(|it| ProviderTurns {
            last: AtomicU64::new(0),
            models: zeros(it.models.len()),
            keys: zeros(it.keys.len()),
        });
        Self { next: AtomicU64::new(1), providers: providers.collect() }
    }

    pub(super) fn provider(&self, provider: usize) -> u64 {
        self.providers.get(provider).map_or(0, |it| it.last.load(Ordering::Relaxed))
    }

    pub(super) fn model(&self, provider: usize, model: usize) -> u64 {
        let cell = self.providers.get(provider).and_then(|it| it.models.get(model));
        cell.map_or(0, |it| it.load(Ordering::Relaxed))
    }

    pub(super) fn key(&self, provider: usize, key: usize) -> u64 {
        let cell = self.providers.get(provider).and_then(|it| it.keys.get(key));
        cell.map_or(0, |it| it.load(Ordering::Relaxed))
    }

    /// Gives the next turn to a candidate whose provider was seen to have had its last at `seen`.
    /// False when another request has taken that turn meanwhile.
    pub(super) fn take(&self, at: (usize, usize, usize), seen: u64) -> bool {
        let (provider, model, key) = at;
        let Some(cells) = self.providers.get(provider) else { return true };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let taken = cells.last.compare_exchange(seen, turn, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        for cell in [cells.models.get(model), cells.keys.get(key)].into_iter().flatten() {
            cell.store(turn, Ordering::Relaxed);
        }
        true
    }
}
