//! What a provider allows: how much of what, how often, and when it begins anew.

use std::time::Duration;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Upstream requests.
    Requests,
    /// Prompt and completion tokens together.
    Tokens,
}

impl Unit {
    /// As written in the limits file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// How long a limit's window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day; see [`Reset`] for where it begins.
    Day,
    /// One month: 30 days when rolling, the calendar's (UTC) otherwise.
    Month,
}

impl Period {
    /// As written in the limits file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window's length when it rolls. A rolling month is 30 days.
    pub fn rolling(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
        })
    }
}

/// When day and month windows begin anew. Shorter windows always roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Reset {
    /// Each unit comes back one period after it was used.
    #[default]
    Rolling,
    /// Days begin at midnight UTC, months on the first at midnight UTC.
    UtcDay,
    /// Days begin at midnight in Los Angeles (daylight saving included), months on the first UTC.
    PacificDay,
    /// Days roll; months begin on the first at midnight UTC.
    Month,
}

/// One upper bound: at most `max` units a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// The most that may be used in one window.
    pub max: u64,
}

/// Do a provider's models share one bucket?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QuotaScope {
    /// Each model of a key has its own.
    #[default]
    Model,
    /// All models of an account draw on the same.
    Account,
}
