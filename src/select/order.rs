//! The strategies: each gives every candidate a rank, and the lowest rank goes first.

use crate::catalog::Model;
use crate::catalog::Scale;

/// How candidates are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Whoever has waited longest.
    #[default]
    RoundRobin,
    /// By lot, all alike.
    Random,
    /// By lot, in proportion to weight or to the quota that is left.
    Weighted,
}

impl Strategy {
    /// As the settings write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::Random => "random",
            Self::Weighted => "weighted",
        }
    }

    /// The strategy of that name, under which it is known here or elsewhere.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "roundrobin" | "round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "weighted" | "weight" => Self::Weighted,
            _ => return None,
        })
    }

    /// A rank for a candidate that had its last turn at `turn` and weighs `weight`.
    pub(super) fn rank(self, turn: u64, weight: f64, rng: &mut fastrand::Rng) -> Rank {
        match self {
            Self::RoundRobin => Rank(0.0, turn),
            Self::Random => Rank(rng.f64(), turn),
            // The lowest of exponential draws falls to each in proportion to its weight
            // (Efraimidis and Spirakis), and the rest come in a fair order too.
            Self::Weighted => Rank(-(1.0 - rng.f64()).ln() / weight.max(1e-9), turn),
        }
    }
}

/// A place in the order; ties go to whoever has waited longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rank(f64, u64);

impl Rank {
    /// The fastest first. Models never measured come first of all, so that they get measured.
    pub(super) fn fast(seconds: Option<f64>, turn: u64) -> Self {
        Self(seconds.unwrap_or(-1.0), turn)
    }

    /// The most capable first: by scale, then by the length of the context.
    pub(super) fn smart(model: &Model, turn: u64) -> Self {
        let scale = match model.scale {
            Scale::Large => 0.0,
            Scale::Medium => 1.0,
            Scale::Small => 2.0,
        };
        // A longer context never outweighs a step of scale.
        #[expect(clippy::cast_precision_loss, reason = "only the order of magnitude matters")]
        let context = model.max_context.unwrap_or(0).min(1 << 30) as f64;
        Self(scale - context / f64::from(1 << 30) / 2.0, turn)
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}
