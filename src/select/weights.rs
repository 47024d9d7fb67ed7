//! What weighted draws go by, remembered for a moment in large pools.
//!
//! A weight takes a look at every window of every key, under the account's lock: about half a
//! microsecond a model. With a thousand models that would be most of a request's cost, for figures
//! that hardly move within a tenth of a second. Whether quota is really there is checked exactly
//! when it is reserved, so a weight that is a little old costs nothing but a little evenness.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalog::Catalog;
use crate::catalog::Model;
use crate::select::walk::Gates;

/// Pools up to this many models are weighed anew for each request.
const SMALL: usize = 64;
/// How long a weight holds in larger ones, in milliseconds.
const HOLDS_MS: u64 = 100;

/// The last weight of each model, by place.
#[derive(Debug)]
pub(super) struct Weights(Vec<Vec<Cell>>);

#[derive(Debug, Default)]
struct Cell {
    /// The bits of the weight.
    weight: AtomicU64,
    /// Monotonic milliseconds of the measurement, plus one; 0 = never measured.
    at: AtomicU64,
}

impl Weights {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let cells = |n: usize| (0..n).map(|_| Cell::default()).collect();
        Self(catalog.providers().iter().map(|it| cells(it.models.len())).collect())
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
        let cell = self.0.get(p).and_then(|it| it.get(m)).filter(|_| models > SMALL);
        let Some(cell) = cell else { return measure(model, gates) };
        let now = u64::try_from(gates.now.monotonic.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let at = cell.at.load(Ordering::Relaxed);
        if at > 0 && now.saturating_sub(at) < HOLDS_MS {
            return f64::from_bits(cell.weight.load(Ordering::Relaxed));
        }
        let weight = measure(model, gates);
        cell.weight.store(weight.to_bits(), Ordering::Relaxed);
        cell.at.store(now, Ordering::Relaxed);
        weight
    }
}

/// The quota left in the tightest window divided by the time until it resets, over all keys.
fn measure(model: &Model, gates: &Gates<'_>) -> f64 {
    let demand = (gates.demand)(model);
    model.targets.iter().map(|it| gates.ledger.headroom(*it, demand, gates.now)).sum()
}
