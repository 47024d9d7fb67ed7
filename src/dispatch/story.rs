//! The one line a request leaves in the log: where it went and why.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::clock::Now;
use crate::clock::SharedClock;
use crate::context::Fitted;
use crate::provider::fault::Fault;
use crate::select::Rejected;
use crate::telemetry::Metrics;

/// What happened so far. The line is written when it is dropped, so a request that nobody waits
/// for any more leaves one too.
pub(super) struct Story {
    clock: SharedClock,
    started: Now,
    request_id: Arc<str>,
    requested: Arc<str>,
    stream: bool,
    failures: String,
    ending: Ending,
    metrics: Arc<Metrics>,
    /// Provider and model that were asked last.
    asked: (Arc<str>, Arc<str>),
}

/// How it ended.
enum Ending {
    Open,
    Answered { target: String, reason: &'static str, tokens: (u64, u64) },
    Failed { status: u16, why: String },
    Broken { target: String, why: String },
}

impl Ending {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Open => "abandoned",
            Self::Answered { .. } => "answered",
            Self::Failed { .. } => "failed",
            Self::Broken { .. } => "broken",
        }
    }
}

impl Story {
    pub(super) fn begin(
        (clock, metrics): (&SharedClock, &Arc<Metrics>),
        request_id: Arc<str>,
        requested: Arc<str>,
        stream: bool,
    ) -> Self {
        Self {
            clock: Arc::clone(clock),
            started: clock.now(),
            request_id,
            requested,
            stream,
            failures: String::new(),
            ending: Ending::Open,
            metrics: Arc::clone(metrics),
            asked: ("".into(), "".into()),
        }
    }

    /// A target is being asked.
    pub(super) fn asks(&mut self, provider: &Arc<str>, model: &Arc<str>) {
        self.asked = (Arc::clone(provider), Arc::clone(model));
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, target: &str, fault: &Fault, after: Duration) {
        if !self.failures.is_empty() {
            self.failures.push_str(", ");
        }
        // Writing to a string cannot fail.
        let _ =
            write!(self.failures, "{target}: {} after {} ms", fault.summary(), after.as_millis());
        tracing::debug!(request = %self.request_id, target, fault = %fault.message, "attempt failed");
    }

    /// History was cut.
    pub(super) fn cut(&self, fitted: &Fitted) {
        let Fitted { gone, cut, tokens, summary_tokens, .. } = fitted;
        tracing::debug!(request = %self.request_id, dropped = ?gone, without_middle = ?cut, tokens, summary_tokens, "history cut");
    }

    /// Candidates were not asked: for those who want to know why.
    pub(super) fn passed_over(&self, catalog: &Catalog, rejected: &[Rejected]) {
        for Rejected { target, shut } in rejected {
            let name = catalog.target(*target).map(|it| Arc::clone(&it.model.routable));
            let name = name.as_deref().unwrap_or_default();
            tracing::debug!(request = %self.request_id, target = name, reason = ?shut, "passed over");
        }
    }

    /// An answer was given whole.
    pub(super) fn answered(&mut self, target: String, reason: &'static str, tokens: (u64, u64)) {
        self.ending = Ending::Answered { target, reason, tokens };
    }

    /// The caller got an error.
    pub(super) fn refused(&mut self, status: u16, why: &str) {
        self.ending = Ending::Failed { status, why: why.to_owned() };
    }

    /// A stream that had begun broke off.
    pub(super) fn broke(&mut self, target: String, why: String) {
        self.ending = Ending::Broken { target, why };
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.metrics.request((&self.asked.0, &self.asked.1), self.ending.outcome());
        let ms = self.clock.now().monotonic.saturating_sub(self.started.monotonic).as_millis();
        let kind = if self.stream { "stream" } else { "answer" };
        let (id, requested) = (&self.request_id, &self.requested);
        let tried = if self.failures.is_empty() {
            String::new()
        } else {
            format!(" | tried {}", self.failures)
        };
        match &self.ending {
            Ending::Answered { target, reason, tokens: (prompt, completion) } => tracing::info!(
                "{requested} -> {target} ({reason}) | {kind} in {ms} ms, {prompt}+{completion} tokens{tried} | {id}"
            ),
            Ending::Failed { status, why } => {
                tracing::warn!("{requested} -> {status} | after {ms} ms: {why}{tried} | {id}");
            }
            Ending::Broken { target, why } => {
                tracing::warn!(
                    "{requested} -> {target} | broke off after {ms} ms: {why}{tried} | {id}"
                );
            }
            Ending::Open => tracing::info!(
                "{requested} -> caller hung up | {kind} dropped after {ms} ms{tried} | {id}"
            ),
        }
    }
}
