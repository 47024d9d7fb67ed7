//! Who can answer, and in what order: hard filters first, then the strategy's order, each
//! rejection with its reason.

mod eligible;
mod latency;
mod names;
mod needs;
mod order;
mod turns;
mod walk;
mod weights;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::catalog::Catalog;
use weights::Weights;

pub use eligible::{Eligible, JsonWay, eligible, holds, prompt_budget, ruled_out};
pub use latency::{Latencies, Measured};
pub use names::{Asked, META_MODELS, NoSuchModel, canonical, is_meta, permits, resolve};
pub use needs::Needs;
pub use order::Strategy;
pub use turns::Turns;
pub use walk::{Candidate, Gates, Rejected, Shut, Walk};

/// How providers and models are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Among providers.
    pub provider_strategy: Strategy,
    /// Among the models of one provider.
    pub model_strategy: Strategy,
}

/// One catalog with whose turn it is in it. Made anew with each catalog.
#[derive(Debug)]
pub struct Selector {
    /// The facts it selects from.
    pub catalog: Arc<Catalog>,
    params: Params,
    turns: Turns,
    weights: Weights,
}

impl Selector {
    /// A selector over `catalog` in which nobody has had a turn yet.
    pub fn new(catalog: Arc<Catalog>, params: Params) -> Self {
        let turns = Turns::new(&catalog);
        let weights = Weights::new(&catalog);
        Self { catalog, params, turns, weights }
    }
}
