//! A refusal with its remedy: which bound, and when it will give way.

use std::time::Duration;

use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Unit;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A window is spent, or too small for the demand.
    Window {
        /// What it counts.
        unit: Unit,
        /// Over how long.
        period: Period,
    },
    /// As many reservations are open as may be.
    Concurrency,
    /// No such target: a reload has taken it away.
    NotConfigured,
}

/// When a demand will fit, if nothing else is taken in the meantime. Ordered by how late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FreeAt {
    /// When some open reservation ends; nobody can say when.
    Unknown,
    /// At this monotonic time.
    At(Duration),
    /// Never: the demand is larger than the whole window.
    Never,
}

impl FreeAt {
    /// The monotonic time, where it is known.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::At(time) => Some(time),
            Self::Unknown | Self::Never => None,
        }
    }
}

/// Why a demand was refused: of all bounds in the way, the one that gives way last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The bound.
    pub bound: Bound,
    /// When it gives way.
    pub free: FreeAt,
    /// Whose bound it is; concurrency is always the target's own.
    pub scope: QuotaScope,
}

impl Denial {
    pub(crate) const NOT_CONFIGURED: Self =
        Self { bound: Bound::NotConfigured, free: FreeAt::Never, scope: QuotaScope::Model };
}
