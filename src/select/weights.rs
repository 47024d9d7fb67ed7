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
use crate::catalog::QuotaScope;
use crate::select::eligible::Eligible;
use crate::select::walk::Gates;

/// Pools up to this many models are weighed anew for each request.
const SMALL: usize = 64;
/// How long a weight holds in larger ones, in milliseconds.
const HOLDS_MS: u64 = 100;

/// The last weights of each provider's models, by place.
#[derive(Debug)]
pub(super) struct Weights(Vec<Scales>);

/// One provider's.
#[derive(Debug)]
struct Scales {
    /// The part of what its keys have that counts, for some have the same.
    share: f64,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// Is its quota that of all models of the account, and its weight with it?
    shares: bool,
    /// The bits of the weight.
    weight: AtomicU64,
    /// Monotonic milliseconds of the measurement, plus one; 0 = never measured; [`GIVEN`].
    at: AtomicU64,
}

/// The time of a weight that was not measured and holds for ever.
const GIVEN: u64 = u64::MAX;

impl Weights {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let scales = |it: &Provider| Scales {
            share: share(it),
            cells: it.models.iter().map(Cell::new).collect(),
        };
        Self(catalog.providers().iter().map(scales).collect())
    }

    /// What the models at `places`, all of one provider, weigh among those that are `eligible`.
    pub(super) fn of(
        &self,
        places: &[(usize, usize)],
        (catalog, eligible): (&Catalog, &Eligible),
        gates: &Gates<'_>,
    ) -> Vec<f64> {
        let provider = places.first().map_or(usize::MAX, |it| it.0);
        let models = catalog.providers().get(provider).map(|it| it.models.as_slice());
        let (Some(scales), Some(models)) = (self.0.get(provider), models) else {
            return vec![0.0; places.len()];
        };
        let holds = if eligible.len() <= SMALL { 0 } else { HOLDS_MS };
        let sharing = scales.sharing(places);
        let weigh = |(_, m): &(usize, usize)| {
            let (Some(cell), Some(model)) = (scales.cells.get(*m), models.get(*m)) else {
                return 0.0;
            };
            let measured = || scales.share * measure(model, gates);
            let weight = cell.weight(holds, gates.now.monotonic.as_millis(), measured);
            if cell.shares { weight / sharing } else { weight }
        };
        places.iter().map(weigh).collect()
    }
}

impl Scales {
    /// How many of the models at `places` draw on their account's one bucket.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn sharing(&self, places: &[(usize, usize)]) -> f64 {
        let cells = places.iter().filter_map(|(_, m)| self.cells.get(*m));
        cells.filter(|it| it.shares).count() as f64
    }
}

impl Cell {
    fn new(model: &Model) -> Self {
        let (weight, at) = model.weight.map_or((0.0, 0), |it| (it, GIVEN));
        Self {
            shares: model.scope == QuotaScope::Account && model.weight.is_none(),
            weight: AtomicU64::new(f64::to_bits(weight)),
            at: AtomicU64::new(at),
        }
    }

    /// The weight at `now`, in monotonic milliseconds; measured if it is older than `holds`.
    fn weight(&self, holds: u64, now: u128, measured: impl FnOnce() -> f64) -> f64 {
        let now = u64::try_from(now).unwrap_or(GIVEN - 2) + 1;
        let at = self.at.load(Ordering::Relaxed);
        if at == GIVEN || (at > 0 && now.saturating_sub(at) < holds) {
            return f64::from_bits(self.weight.load(Ordering::Relaxed));
        }
        let weight = measured();
        self.weight.store(weight.to_bits(), Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
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
