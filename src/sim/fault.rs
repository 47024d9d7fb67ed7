//! What can be made to go wrong, and when.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::chaos::Chaos;

/// One way for a request to go wrong.
///
/// "Content chunk" means a delta with text or a piece of a tool call. A request that did not ask
/// for a stream meets the nearest thing a whole body can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing is wrong: a gap in a script.
    Healthy,
    /// 429 in the flavour's words, with `Retry-After` or without.
    RateLimited {
        /// Rounded up to whole seconds on the wire.
        retry_after: Option<Duration>,
    },
    /// This status with the flavour's body for it.
    Status(u16),
    /// These very bytes.
    RawResponse {
        /// Below 200 or above 599 is sent as 500.
        status: u16,
        /// Pairs that are no valid header are left out.
        headers: Vec<(String, String)>,
        /// Sent as it is.
        body: Bytes,
    },
    /// The request is read and never answered.
    Hang,
    /// Healthy, but later than the provider's pace says.
    SlowFirstToken(Duration),
    /// The connection ends after so many content chunks; a whole body ends half way.
    CutAfterChunks(usize),
    /// The connection ends after so many bytes of a body, or before its last one: anywhere, be it
    /// within a character.
    CutAfterBytes(usize),
    /// Silence after so many content chunks, the connection open; a whole body stops half way.
    StallAfterChunks(usize),
    /// Silence after so many bytes of a body, or before its last one, the connection open.
    StallAfterBytes(usize),
    /// 200 with a body, or stream events, that are no JSON.
    Garbage,
    /// 200 with a web page.
    Html,
    /// 200 with nothing said.
    EmptyAnswer,
    /// The connection is reset (TCP RST) before any byte of an answer.
    Reset,
    /// The connection is closed in order before any byte of an answer, on every path but control.
    Down,
    /// 200, then an error event before any content; a whole body holds an error object.
    ErrorIn200Stream,
    /// An error event after so many content chunks, then the end; whole as above.
    ErrorAfterChunks(usize),
    /// The stream ends in order with neither finish reason nor `[DONE]`; a whole body is half a
    /// JSON text.
    NoDone,
    /// Healthy, with no usage figures anywhere.
    NoUsage,
    /// Healthy in form, but one content string has at least so many bytes; made as it is read.
    HugeBody(u64),
    /// Response headers, 1 KiB a millisecond, without end.
    NeverEndingHeaders,
}

/// The faults that have a name, for control over HTTP.
const KINDS: &[(&str, Fault)] = &[
    ("500", Fault::Status(500)),
    ("503", Fault::Status(503)),
    ("401", Fault::Status(401)),
    ("429", Fault::RateLimited { retry_after: Some(Duration::from_secs(30)) }),
    ("hang", Fault::Hang),
    ("slow", Fault::SlowFirstToken(Duration::from_secs(5))),
    ("cut", Fault::CutAfterChunks(5)),
    ("stall", Fault::StallAfterChunks(5)),
    ("garbage", Fault::Garbage),
    ("html", Fault::Html),
    ("empty", Fault::EmptyAnswer),
    ("error", Fault::ErrorIn200Stream),
    ("reset", Fault::Reset),
    ("down", Fault::Down),
];

impl Fault {
    /// The names [`Fault::from_kind`] knows.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }

    /// The fault of that name.
    pub fn from_kind(kind: &str) -> Option<Self> {
        KINDS.iter().find(|(name, _)| *name == kind).map(|(_, fault)| fault.clone())
    }

    /// Its name where it has one, else a description.
    pub fn describe(&self) -> String {
        match KINDS.iter().find(|(_, fault)| fault == self) {
            Some((name, _)) => (*name).to_owned(),
            None => format!("{self:?}"),
        }
    }

    /// Does a caller still get the answer it asked for?
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, Self::Healthy | Self::SlowFirstToken(_) | Self::NoUsage | Self::HugeBody(_))
    }
}

/// What a flaky provider does, all before the first content. A hang is not among them: it would
/// make a demo wait for a time-out.
const FLAKY: &[Fault] = &[
    Fault::Status(500),
    Fault::Status(503),
    Fault::Reset,
    Fault::ErrorIn200Stream,
    Fault::EmptyAnswer,
    Fault::CutAfterChunks(0),
];

/// Decides which fault the next request meets.
#[derive(Debug, Default)]
pub(super) struct FaultBoard {
    pub(super) script: VecDeque<(Option<String>, Fault)>,
    pub(super) sticky: Option<Fault>,
    pub(super) flaky: Option<(f64, fastrand::Rng)>,
    /// With whose it is, and how many requests it has seen.
    pub(super) chaos: Option<(Chaos, String, u64)>,
}

impl FaultBoard {
    /// The script first, then the sticky fault, then chaos, then chance.
    pub(super) fn draw(&mut self, model: &str) -> Option<Fault> {
        let matches =
            |(only, _): &(Option<String>, Fault)| only.as_deref().is_none_or(|only| only == model);
        if let Some(at) = self.script.iter().position(matches) {
            return self.script.remove(at).map(|(_, fault)| fault);
        }
        if self.sticky.is_some() {
            return self.sticky.clone();
        }
        if let Some((chaos, provider, number)) = &mut self.chaos {
            *number += 1;
            if let Some(fault) = chaos.draw(provider, *number) {
                return Some(fault);
            }
        }
        let (rate, rng) = self.flaky.as_mut()?;
        if rng.f64() < *rate { rng.choice(FLAKY).cloned() } else { None }
    }

    /// One line on what is in force.
    pub(super) fn describe(&self) -> String {
        match (&self.sticky, &self.chaos, &self.flaky) {
            (Some(fault), ..) => format!("fault: {}", fault.describe()),
            (None, Some((chaos, ..)), _) => {
                format!("chaos: {:.0}% of requests meet a fault", chaos.rate * 100.0)
            }
            (None, None, Some((rate, _))) => {
                format!("flaky: {:.0}% of requests fail", rate * 100.0)
            }
            (None, None, None) if !self.script.is_empty() => {
                format!("script: {} to come", self.script.len())
            }
            (None, None, None) => "healthy".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_used_up_before_the_sticky_fault_and_only_by_its_model() {
        let mut board = FaultBoard::default();
        board.script.push_back((Some("a".to_owned()), Fault::Hang));
        board.script.push_back((None, Fault::Html));
        board.sticky = Some(Fault::Down);
        let drawn: Vec<_> = ["b", "b", "a", "a"].map(|model| board.draw(model)).to_vec();
        let want = [Fault::Html, Fault::Down, Fault::Hang, Fault::Down].map(Some).to_vec();
        assert_eq!(drawn, want);
    }

    #[test]
    fn flakiness_is_repeatable_and_near_its_rate() {
        let run = || {
            let mut board = FaultBoard {
                flaky: Some((0.3, fastrand::Rng::with_seed(7))),
                ..FaultBoard::default()
            };
            (0..1_000).map(|_| board.draw("m")).collect::<Vec<_>>()
        };
        let first = run();
        assert_eq!(first, run());
        let failed = first.iter().flatten().count();
        assert!((250..350).contains(&failed), "{failed} of 1000");
        for kind in FLAKY {
            assert!(first.contains(&Some(kind.clone())), "{kind:?} never drawn");
        }
    }

    #[test]
    fn every_kind_reads_back_as_its_own_name() {
        for kind in Fault::kinds() {
            assert_eq!(Fault::from_kind(kind).unwrap().describe(), kind);
        }
        assert_eq!(Fault::from_kind("explode"), None);
    }
}
