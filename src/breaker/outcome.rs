//! How a call went, and what that says about each of its scopes.

use std::time::Duration;

use crate::breaker::Scope;

/// How a call went, seen from the provider's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered. For a stream: its first content has come.
    Success,
    /// It asked to be left alone (429) until this monotonic time.
    Throttled {
        /// When it may be asked again.
        until: Duration,
    },
    /// The same for everything the key may ask: a quota that all models of the account share.
    AccountThrottled {
        /// When it may be asked again.
        until: Duration,
    },
    /// It asked to be left alone (429), and nobody knows for how long.
    ThrottledUntold,
    /// The same for everything the key may ask.
    AccountThrottledUntold,
    /// It is too busy, or down, and said until when (503 with a hint).
    Overloaded {
        /// When it may be asked again.
        until: Duration,
    },
    /// It refused the key (401, 403).
    KeyRejected,
    /// It has the model, but not for this key.
    ModelWithheld,
    /// It does not have the model (404).
    ModelGone,
    /// It failed (5xx, time-out, unreadable or empty answer).
    Fault,
    /// It could not be connected to.
    ConnectFault,
    /// It closed the connection without an answer.
    Unanswered,
    /// Its first token came too late.
    Slow,
    /// It says nothing of the provider: the caller's own fault, or abandoned.
    Neutral,
}

/// The longest rest that a provider may ask for.
pub(crate) const LONGEST_TOLD: Duration = Duration::from_secs(31 * 86_400);

/// What opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// This key's quota is spent.
    Throttled,
    /// The provider has too much to do.
    Overloaded,
    /// The key was refused.
    KeyRejected,
    /// The model is gone.
    ModelGone,
    /// Too many failures in a row.
    Faults,
    /// Too many failed connections in a row.
    Unreachable,
    /// Too many slow answers in a row.
    Slow,
}

impl Reason {
    /// All of them, for those that read names back.
    pub const ALL: [Self; 7] = [
        Self::Throttled,
        Self::Overloaded,
        Self::KeyRejected,
        Self::ModelGone,
        Self::Faults,
        Self::Unreachable,
        Self::Slow,
    ];

    /// Has something failed, rather than told us to stay away or for somebody to mend it? Then it
    /// may work again any moment.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Faults | Self::Unreachable | Self::Slow)
    }

    /// A short name for views and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Overloaded => "overloaded",
            Self::KeyRejected => "key_rejected",
            Self::ModelGone => "model_gone",
            Self::Faults => "faults",
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
        }
    }

    /// How long a breaker stays open the first time for this reason, and at most; each time in a
    /// row doubles it. A provider that says how long itself is believed up to [`LONGEST_TOLD`].
    pub(crate) fn cooldown(self) -> (Duration, Duration) {
        let (first, most) = match self {
            Self::Throttled | Self::Overloaded => (2, 120),
            Self::KeyRejected => (300, 6 * 3_600),
            Self::ModelGone => (3_600, 3_600),
            Self::Faults | Self::Slow => (10, 300),
            Self::Unreachable => (5, 120),
        };
        (Duration::from_secs(first), Duration::from_secs(most))
    }
}

/// What an outcome means for one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works.
    Good,
    /// Nothing.
    None,
    /// Open until this monotonic time.
    Until(Reason, Duration),
    /// Open at once, for longer each time.
    Bad(Reason),
    /// One of a run that opens it: `weight` of `limit`.
    Strike {
        /// What the run is made of.
        reason: Reason,
        /// How much this one adds.
        weight: u32,
        /// How much opens it.
        limit: u32,
    },
}

impl Outcome {
    /// The same; a throttle lasts until that monotonic time, where it is known, and not as long as
    /// is usual.
    #[must_use]
    pub fn lasting_until(self, time: Option<Duration>) -> Self {
        match self {
            Self::Throttled { until } => Self::Throttled { until: time.unwrap_or(until) },
            Self::AccountThrottled { until } => {
                Self::AccountThrottled { until: time.unwrap_or(until) }
            }
            Self::ThrottledUntold => time.map_or(self, |until| Self::Throttled { until }),
            Self::AccountThrottledUntold => {
                time.map_or(self, |until| Self::AccountThrottled { until })
            }
            other => other,
        }
    }

    pub(crate) fn verdict(self, scope: Scope) -> Verdict {
        match (self, scope) {
            (Self::ConnectFault, Scope::Provider(_)) => {
                Verdict::Strike { reason: Reason::Unreachable, weight: 1, limit: 2 }
            }
            (Self::Unanswered, Scope::Provider(_)) => {
                Verdict::Strike { reason: Reason::Unreachable, weight: 1, limit: 3 }
            }
            (Self::Neutral | Self::ConnectFault, _) => Verdict::None,
            // A provider's breaker is about reaching it, and all the rest begins with that.
            (_, Scope::Provider(_)) | (Self::Success, _) => Verdict::Good,
            (Self::Throttled { until }, Scope::Target(_))
            | (Self::AccountThrottled { until }, Scope::Key(_)) => {
                Verdict::Until(Reason::Throttled, until)
            }
            (Self::Overloaded { until }, Scope::Target(_)) => {
                Verdict::Until(Reason::Overloaded, until)
            }
            (Self::ThrottledUntold, Scope::Target(_))
            | (Self::AccountThrottledUntold, Scope::Key(_)) => Verdict::Bad(Reason::Throttled),
            (Self::KeyRejected, Scope::Key(_)) => Verdict::Bad(Reason::KeyRejected),
            (Self::ModelGone, Scope::Model(_)) | (Self::ModelWithheld, Scope::Target(_)) => {
                Verdict::Bad(Reason::ModelGone)
            }
            (Self::Fault | Self::Unanswered, Scope::Target(_)) => {
                Verdict::Strike { reason: Reason::Faults, weight: 2, limit: 6 }
            }
            (Self::Slow, Scope::Target(_)) => {
                Verdict::Strike { reason: Reason::Slow, weight: 1, limit: 6 }
            }
            (
                Self::Throttled { .. }
                | Self::AccountThrottled { .. }
                | Self::ThrottledUntold
                | Self::AccountThrottledUntold
                | Self::Overloaded { .. }
                | Self::KeyRejected
                | Self::ModelWithheld
                | Self::ModelGone
                | Self::Fault
                | Self::Unanswered
                | Self::Slow,
                _,
            ) => Verdict::None,
        }
    }
}
