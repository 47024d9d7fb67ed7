//! What is told of a request when it is over: one line in the log, and a record of where it went
//! and why. Neither holds a word of what was asked or answered, nor of what a provider said.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::context::Fitted;
use crate::dispatch::Core;
use crate::dispatch::outcome::Progress;
use crate::openai::ApiError;
use crate::provider::fault::Fault;
use crate::quota::Bound;
use crate::quota::Left;
use crate::select::Rejected;
use crate::select::Shut;
use crate::trace::Call;
use crate::trace::Ending;
use crate::trace::Fate;
use crate::trace::Obstacle;
use crate::trace::Record;

/// What happened so far. It is told when it is dropped, so a request that nobody waits for any more
/// leaves a line too.
pub(super) struct Story {
    core: Arc<Core>,
    progress: Arc<Progress>,
    failures: String,
    /// Who answered or broke off, and why it was asked.
    target: String,
    reason: &'static str,
    /// What the log says of an error.
    why: String,
    /// Provider and model that were asked last.
    asked: (Arc<str>, Arc<str>),
    asked_at: Now,
    asked_target: Option<TargetId>,
    /// `None` once it is told.
    record: Option<Box<Record>>,
}

impl Story {
    pub(super) fn begin(core: &Arc<Core>, progress: &Arc<Progress>, record: Record) -> Self {
        Self {
            core: Arc::clone(core),
            progress: Arc::clone(progress),
            failures: String::new(),
            target: String::new(),
            reason: "",
            why: String::new(),
            asked: (Arc::default(), Arc::default()),
            asked_at: record.began,
            asked_target: None,
            record: Some(Box::new(record)),
        }
    }

    /// What is known so far, to be added to.
    pub(super) fn record(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// The record in a line for a header.
    pub(super) fn summary(&self) -> Option<String> {
        self.record.as_deref().map(Record::summary)
    }

    /// A target is being asked, of whose quota so much was left.
    pub(super) fn asks(&mut self, target: &TargetView<'_>, before: Left, now: Now) {
        self.asked = (Arc::clone(&target.provider.name), Arc::clone(&target.model.name));
        (self.asked_at, self.asked_target) = (now, Some(target.id));
        if let Some(record) = &mut self.record {
            let call = Call { first_token: None, took: None, fault: None, before, after: None };
            record.note(&target.model.routable, &target.key.label, Fate::Asked(call), now);
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, target: &str, fault: &Fault, after: Duration) {
        if !self.failures.is_empty() {
            self.failures.push_str(", ");
        }
        // Writing to a string cannot fail.
        let _ =
            write!(self.failures, "{target}: {} after {} ms", fault.summary(), after.as_millis());
        if let Some(record) = &mut self.record {
            if let Some(call) = record.last_call() {
                (call.took, call.fault) = (Some(after), Some((fault.kind.label(), fault.status)));
            }
            tracing::debug!(
                request_id = &*record.request_id,
                target,
                fault = fault.summary(),
                "attempt failed"
            );
        }
    }

    /// History was cut.
    pub(super) fn cut(&self, fitted: &Fitted) {
        let Fitted { gone, cut, tokens, summary_tokens, .. } = fitted;
        if let Some(record) = &self.record {
            tracing::debug!(
                request_id = &*record.request_id,
                dropped = ?gone,
                without_middle = ?cut,
                tokens,
                summary_tokens,
                "history cut"
            );
        }
    }

    /// The call made last is in the books.
    pub(super) fn settled(&mut self) {
        let Some(target) = self.asked_target.take() else { return };
        let now = self.core.clock.now();
        let after = self.core.books.ledger.left(target, now);
        if let Some(call) = self.record.as_deref_mut().and_then(Record::last_call) {
            let took = now.monotonic.saturating_sub(self.asked_at.monotonic);
            call.took = call.took.or(Some(took));
            call.after = Some(after);
        }
    }

    /// The call made last is answering; its answer is a stream.
    pub(super) fn answers(&mut self) {
        let now = self.core.clock.now();
        let waited = now.monotonic.saturating_sub(self.asked_at.monotonic);
        if let Some(call) = self.record.as_deref_mut().and_then(Record::last_call) {
            call.first_token = Some(waited);
        }
    }

    /// Candidates were not asked.
    pub(super) fn passed_over(&mut self, catalog: &Catalog, rejected: &[Rejected]) {
        let now = self.core.clock.now();
        let Some(record) = &mut self.record else { return };
        for Rejected { target, shut } in rejected {
            let Some(it) = catalog.target(*target) else { continue };
            tracing::debug!(
                request_id = &*record.request_id,
                target = &*it.model.routable,
                reason = ?shut,
                "passed over"
            );
            let fate = Fate::PassedOver(obstacle(shut, record.began));
            record.note(&it.model.routable, &it.key.label, fate, now);
        }
    }

    /// An answer was given whole, and is in the books.
    pub(super) fn answered(&mut self, target: String, reason: &'static str, tokens: (u64, u64)) {
        self.settled();
        (self.target, self.reason) = (target, reason);
        if let Some(record) = &mut self.record {
            record.ending = Ending::Answered(tokens.0, tokens.1);
        }
    }

    /// The normaliser is done: has it changed anything?
    pub(super) fn normalized(&mut self, changed: bool) {
        if let Some(record) = &mut self.record {
            record.normalizer.1 = changed;
        }
    }

    /// The caller got an error.
    pub(super) fn refused(&mut self, error: &ApiError) {
        let Some(record) = &mut self.record else { return };
        // A provider may repeat in its error what it was asked.
        let foreign =
            error.verbatim().is_some() || error.status == 400 && record.last_call().is_some();
        self.why = if foreign {
            "the provider refused it".to_owned()
        } else {
            error.for_the_log().to_owned()
        };
        record.ending = Ending::Failed(error.status, error.code.clone().filter(|_| !foreign));
    }

    /// A stream that had begun broke off, and is in the books.
    pub(super) fn broke(&mut self, target: String, fault: &Fault) {
        self.settled();
        (self.target, self.why) = (target, fault.summary());
        if let Some(record) = &mut self.record {
            if let Some(call) = record.last_call() {
                call.fault = Some((fault.kind.label(), fault.status));
            }
            record.ending = Ending::Broken;
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        if let (Ending::Abandoned, Some(why)) = (&record.ending, self.progress.cut()) {
            record.ending = Ending::Cut(why);
        }
        let books = &self.core.books;
        books.metrics.request((&self.asked.0, &self.asked.1), record.ending.outcome());
        let ms = record.since(self.core.clock.now()).as_millis();
        let kind = if record.stream { "stream" } else { "answer" };
        let (request_id, requested) = (&*record.request_id, &*record.requested);
        let (target, reason, why) = (&self.target, self.reason, &self.why);
        let tried = if self.failures.is_empty() {
            String::new()
        } else {
            format!(" | tried {}", self.failures)
        };
        match &record.ending {
            Ending::Answered(prompt, completion) => tracing::info!(
                request_id,
                "{requested} -> {target} ({reason}) | {kind} in {ms} ms, {prompt}+{completion} tokens{tried}"
            ),
            Ending::Failed(status, _) => {
                tracing::warn!(request_id, "{requested} -> {status} | after {ms} ms: {why}{tried}");
            }
            Ending::Broken => tracing::warn!(
                request_id,
                "{requested} -> {target} | broke off after {ms} ms: {why}{tried}"
            ),
            Ending::Cut(why) => tracing::warn!(
                request_id,
                "{requested} -> cut by the gateway: {why} | {kind} dropped after {ms} ms{tried}"
            ),
            Ending::Abandoned => tracing::info!(
                request_id,
                "{requested} -> caller hung up | {kind} dropped after {ms} ms{tried}"
            ),
        }
        books.traces.keep(record);
    }
}

fn obstacle(shut: &Shut, began: Now) -> Obstacle {
    let since = |time: Duration| time.saturating_sub(began.monotonic);
    match shut {
        Shut::Breaker(it) => Obstacle {
            what: "breaker",
            which: it.reason.as_str(),
            period: "",
            until: Some(since(it.until)),
        },
        Shut::Quota(it) => {
            let (what, which, period) = match it.bound {
                Bound::Window { unit, period } => ("quota", unit.name(), period.name()),
                Bound::Concurrency => ("concurrency", "", ""),
                Bound::NotConfigured => ("not_configured", "", ""),
            };
            Obstacle { what, which, period, until: it.free.time().map(since) }
        }
    }
}
