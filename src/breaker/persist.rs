//! What survives a restart: breakers that are not closed.

use std::time::Duration;

use crate::breaker::Breakers;
use crate::breaker::Scope;
use crate::breaker::Shard;
use crate::breaker::cell::Cell;
use crate::breaker::outcome::Reason;
use crate::catalog::ProviderId;
use crate::clock::Now;

/// A breaker that is open or half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedBreaker {
    /// The provider its scope belongs to.
    pub provider: ProviderId,
    /// What it is for.
    pub scope: Scope,
    /// What opened it.
    pub reason: Reason,
    /// How often in a row it has opened.
    pub level: u32,
    /// Until when it is open, in milliseconds since 1970.
    pub until_unix_ms: u64,
}

impl Breakers {
    /// All breakers that are not closed, in order of their scopes.
    pub fn snapshot(&self, now: Now) -> Vec<SavedBreaker> {
        let mut saved = Vec::new();
        for cells in self.shards.iter().filter_map(Shard::lock_if_troubled) {
            for (scope, cell) in cells.iter() {
                let Some(until) = cell.open_until() else { continue };
                let wait = until.saturating_sub(now.monotonic).as_millis();
                let wait = u64::try_from(wait).unwrap_or(u64::MAX);
                saved.push(SavedBreaker {
                    provider: cell.provider(),
                    scope: *scope,
                    reason: cell.reason(),
                    level: cell.level(),
                    until_unix_ms: now.unix_ms.saturating_add(wait),
                });
            }
        }
        saved.sort_by_key(|it| it.scope);
        saved
    }

    /// Opens what an earlier process left open; one whose time has passed meanwhile is half-open.
    /// However the wall clock was moved, a breaker stays open no longer than its reason allows.
    pub fn restore(&self, saved: impl IntoIterator<Item = SavedBreaker>, now: Now) {
        for it in saved {
            let Some(shard) = self.shard(it.provider) else { continue };
            let wait = Duration::from_millis(it.until_unix_ms.saturating_sub(now.unix_ms));
            let until = now.monotonic.saturating_add(wait);
            let mut cells = shard.lock();
            let cell = Cell::new(it.provider, it.reason).reopened(it.level, until, now);
            cells.insert(it.scope, cell);
            shard.count(&cells);
        }
    }
}
