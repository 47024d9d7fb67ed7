//! What weighted draws go by, remembered for a moment in large pools.
//!
//! A weight takes a look at every window of every key, under the account's lock: about half a
//! microsecond a model. With a thousand models that would be most of a request's cost, for figures
//! that hardly move within a tenth of a second. Whether quota is really there is checked exactly
//! when it is reserved, so a weight that is a little old costs nothing but a little evenness.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::AccountId;
use crate::catalog::Catalog;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::select::walk::Gates;

/// Pools up to this many models are weighed anew for each request.
const SMALL: usize = 64;
/// How long a weight holds in larger ones, in milliseconds.
const HOLDS_MS: u64 = 100;

/// The last weight of each model, by place.
#[derive(Debug)]
pub(super) struct Weights(Vec<Vec<Cell>>);

#[derive(Debug)]
struct Cell {
    /// The part of what its keys have that counts, for some have the same.
    share: f64,
    /// The bits of the weight.
    weight: AtomicU64,
    /// Monotonic milliseconds of the measurement, plus one; 0 = never measured.
    at: AtomicU64,
}

impl Weights {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let cells = |provider: &Provider| {
            let share = share(provider);
            let cell = |_| Cell { share, weight: AtomicU64::new(0), at: AtomicU64::new(0) };
            provider.models.iter().map(cell).collect()
        };
        Self(catalog.providers().iter().map(cells).collect())
    }

    /// The weight of the model at place (`p`, `m`), one of `models` that may be drawn.
    pub(super) fn of(
        &self,
        (p, m): (usize, usize),
        model: &Model,
        models: usize,
        gates: &Gates<'_>,
    ) -> f64 {
        if let Some(given) = model.weight {
            return given;
        }
        let Some(cell) = self.0.get(p).and_then(|it| it.get(m)) else { return 0.0 };
        if models <= SMALL {
            return cell.share * measure(model, gates);
        }
        let now = u64::try_from(gates.now.monotonic.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let at = cell.at.load(Ordering::Relaxed);
        if at > 0 && now.saturating_sub(at) < HOLDS_MS {
            return f64::from_bits(cell.weight.load(Ordering::Relaxed));
        }
        let weight = cell.share * measure(model, gates);
        cell.weight.store(weight.to_bits(), Ordering::Relaxed);
        cell.at.store(now, Ordering::Relaxed);
        weight
    }
}

/// Keys of one account have one bucket between them.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn share(provider: &Provider) -> f64 {
    let accounts: HashSet<AccountId> = provider.keys.iter().map(|it| it.account).collect();
    accounts.len() as f64 / provider.keys.len().max(1) as f64
}

/// The quota left in the tightest window divided by the time until it resets, over all keys.
fn measure(model: &Model, gates: &Gates<'_>) -> f64 {
    let demand = (gates.demand)(model);
    model.targets.iter().map(|it| gates.ledger.headroom(*it, demand, gates.now)).sum()
}
