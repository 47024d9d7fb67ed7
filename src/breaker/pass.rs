//! The leave to make one call.

use std::sync::Arc;

use crate::breaker::Breakers;
use crate::breaker::Path;
use crate::breaker::Scope;
use crate::breaker::Shard;
use crate::breaker::cell::Cell;
use crate::breaker::outcome::Outcome;
use crate::breaker::outcome::Reason;
use crate::breaker::outcome::Verdict;
use crate::clock::Now;

/// A call that was let pass. It reports once how it went; dropped without a report it gives back
/// its probe places and says nothing.
#[derive(Debug)]
#[must_use = "report how the call went"]
pub struct Pass {
    breakers: Arc<Breakers>,
    path: Path,
    serial: u64,
    probing: bool,
}

impl Pass {
    pub(crate) fn new(breakers: Arc<Breakers>, path: Path, serial: u64, probing: bool) -> Self {
        Self { breakers, path, serial, probing }
    }

    /// Is this call a probe of at least one breaker?
    pub fn is_probe(&self) -> bool {
        self.probing
    }

    /// Says how the call went.
    pub fn report(mut self, outcome: Outcome, now: Now) {
        let probing = std::mem::take(&mut self.probing);
        let Some(shard) = self.shard() else { return };
        let quiet = matches!(outcome, Outcome::Success | Outcome::Neutral);
        let cells = if quiet { shard.lock_if_troubled() } else { Some(shard.lock()) };
        let Some(mut cells) = cells else { return };
        for scope in self.path.scopes() {
            let verdict = outcome.verdict(scope);
            if let Some(cell) = cells.get_mut(&scope) {
                let probed = probing && cell.release_probe(self.serial);
                let nothing_new = self.is_silent(outcome, scope, cell) && !probed;
                cell.report(if nothing_new { Verdict::None } else { verdict }, probed, now);
                if cell.is_healed() {
                    cells.remove(&scope);
                }
            } else if let Some(reason) = first_trouble(verdict) {
                let mut cell = Cell::new(self.path.provider, reason);
                self.is_silent(outcome, scope, &mut cell);
                cell.report(verdict, false, now);
                cells.insert(scope, cell);
            }
        }
        shard.count(&cells);
    }

    /// Takes note in a provider's cell of who closed a connection without an answer. Was it the one that
    /// had done so last? One key with one model may have its own trouble; a run over several is the
    /// provider's.
    fn is_silent(&self, outcome: Outcome, scope: Scope, cell: &mut Cell) -> bool {
        matches!((outcome, scope), (Outcome::Unanswered, Scope::Provider(_)))
            && cell.is_silent_again(self.path.target)
    }

    fn shard(&self) -> Option<&Shard> {
        self.breakers.shard(self.path.provider)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.probing {
            return;
        }
        if let Some(mut cells) = self.shard().and_then(Shard::lock_if_troubled) {
            for scope in self.path.scopes() {
                if let Some(cell) = cells.get_mut(&scope) {
                    cell.release_probe(self.serial);
                }
            }
        }
    }
}

/// The reason to remember a scope that was never in trouble before, if there is one.
fn first_trouble(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Good | Verdict::None => None,
        Verdict::Until(reason, _) | Verdict::Bad(reason) | Verdict::Strike { reason, .. } => {
            Some(reason)
        }
    }
}
