//! One upstream call, as one owned value that ends in the books on every path.
//!
//! Quota, breaker and usage are written by [`Attempt::succeed`], [`Attempt::fail`] or, when it is
//! dropped (the caller hung up, a panic), by its `Drop`. None of them can be forgotten, because
//! nothing else holds the reservation and the breaker's pass.

use std::sync::Arc;
use std::time::Duration;

use crate::breaker::Outcome;
use crate::breaker::Pass;
use crate::breaker::Path;
use crate::catalog::ModelId;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::dispatch::Core;
use crate::dispatch::settlement;
use crate::dispatch::settlement::Delivered;
use crate::dispatch::settlement::Settlement;
use crate::dispatch::verdict;
use crate::openai::ChatRequest;
use crate::openai::TokenUsage;
use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::quota::Demand;
use crate::quota::Reservation;
use crate::select::Shut;
use crate::telemetry::OpenStream;
use crate::usage::Spent;

/// One call under way.
pub(super) struct Attempt {
    core: Arc<Core>,
    open: Option<Open>,
    request: Arc<ChatRequest>,
    model: ModelId,
    /// Provider and model, for the counters.
    names: (Arc<str>, Arc<str>),
    failed_requests_count: bool,
    /// Set by the client as the request goes out.
    pub(super) sent: SentMark,
    /// When it began.
    pub(super) started: Now,
    /// Text passed on to the caller so far.
    pub(super) delivered: Delivered,
    /// Has anything been passed on to the caller?
    pub(super) begun: bool,
    /// What the provider has said it used so far.
    pub(super) usage: Option<TokenUsage>,
}

/// What has to be given back.
struct Open {
    reservation: Reservation,
    /// `None` once a probe has told how it went.
    pass: Option<Pass>,
    path: Path,
}

impl Attempt {
    /// Takes the quota and the breaker's leave, both or neither.
    pub(super) fn open(
        core: &Arc<Core>,
        target: &TargetView<'_>,
        demand: Demand,
        request: &Arc<ChatRequest>,
    ) -> Result<Self, Shut> {
        let now = core.clock.now();
        let path = Path::from(target);
        let pass = core.books.breakers.enter(&path, now).map_err(Shut::Breaker)?;
        let reservation = core.books.ledger.reserve(target.id, demand, now).map_err(Shut::Quota)?;
        Ok(Self {
            core: Arc::clone(core),
            open: Some(Open { reservation, pass: Some(pass), path }),
            request: Arc::clone(request),
            model: target.model.id,
            names: (Arc::clone(&target.provider.name), Arc::clone(&target.model.name)),
            failed_requests_count: target.model.failed_requests_count,
            sent: SentMark::default(),
            started: now,
            delivered: Delivered::default(),
            begun: false,
            usage: None,
        })
    }

    /// The first content has come: the answer has begun.
    pub(super) fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            let waited = self.core.clock.now().monotonic.saturating_sub(self.started.monotonic);
            self.core.books.latencies.observe(self.model, waited);
            self.core.books.metrics.first_token((&self.names.0, &self.names.1), waited);
            // A probe keeps all others waiting; what it was to find out is known now. Anyone
            // else's verdict waits for the end, or streams that are always cut would look well.
            if let Some(Open { pass, .. }) = &mut self.open
                && pass.as_ref().is_some_and(Pass::is_probe)
                && let Some(probe) = pass.take()
            {
                probe.report(Outcome::Success, self.core.clock.now());
            }
        }
    }

    /// Counts as an open stream.
    pub(super) fn stream(&self) -> OpenStream {
        self.core.books.metrics.stream()
    }

    /// Since it began.
    pub(super) fn age(&self) -> Duration {
        self.core.clock.now().monotonic.saturating_sub(self.started.monotonic)
    }

    /// The answer is complete. What it used is the provider's figure, or counted here when the
    /// provider gave none; either way it is in the books when this returns.
    pub(super) async fn succeed(mut self) -> TokenUsage {
        let (usage, estimated) = if let Some(usage) = self.usage {
            (usage, false)
        } else {
            let request = Arc::clone(&self.request);
            // A copy: a caller that leaves while this is counted still pays for what it got.
            (settlement::count(request, self.delivered.clone()).await, true)
        };
        let now = self.core.clock.now();
        if let Some(Open { reservation, pass, .. }) = self.open.take() {
            reservation.mark_sent();
            reservation.settle(Some(usage.total()));
            if let Some(pass) = pass {
                pass.report(Outcome::Success, now);
            }
            let spent = Spent { prompt: usage.prompt, completion: usage.completion, estimated };
            self.core.books.usage.record(self.model, spent);
            self.ended("answered");
        }
        usage
    }

    fn ended(&self, outcome: &'static str) {
        self.core.books.metrics.attempt((&self.names.0, &self.names.1), outcome);
    }

    /// The call failed before anything of it was delivered.
    pub(super) fn fail(mut self, fault: &Fault) {
        let Some(reservation) = self.close_on(fault) else { return };
        match (verdict::quota(fault), self.usage) {
            (verdict::Quota::Spent, Some(usage)) => reservation.settle(Some(usage.total())),
            // Ends as its own drop says: spent when it was sent, given back when it was not.
            (verdict::Quota::Spent, None) => drop(reservation),
            (verdict::Quota::Refused, _) => reservation.failed(self.failed_requests_count),
        }
    }

    /// Tells everyone but the ledger.
    fn close_on(&mut self, fault: &Fault) -> Option<Reservation> {
        let now = self.core.clock.now();
        self.core.books.usage.failed(self.model);
        self.ended(fault.kind.label());
        let Open { reservation, pass, path } = self.open.take()?;
        let pass = pass.or_else(|| self.core.books.breakers.enter(&path, now).ok());
        if let Some(pass) = pass {
            pass.report(verdict::outcome(fault, now), now);
        }
        if self.sent.is_set() {
            reservation.mark_sent();
        }
        Some(reservation)
    }

    /// The answer broke off after it had begun: what was delivered counts, and is in the books
    /// when this returns.
    pub(super) async fn break_off(mut self, fault: &Fault) -> TokenUsage {
        match self.close_on(fault) {
            Some(reservation) => self.settlement(reservation).settle().await,
            None => TokenUsage::default(),
        }
    }

    /// A call that delivered something counts with what it delivered. Counting tokens takes
    /// longer than a drop may, so it is left to the one who does nothing else.
    fn settle_later(&mut self, reservation: Reservation) {
        let settlement = self.settlement(reservation);
        if let Err(full) = self.core.settlements.try_send(settlement) {
            full.into_inner().estimate();
        }
    }

    fn settlement(&mut self, reservation: Reservation) -> Settlement {
        Settlement {
            reservation,
            usage: Arc::clone(&self.core.books.usage),
            queue: Arc::clone(&self.core.queue),
            model: self.model,
            request: Arc::clone(&self.request),
            delivered: std::mem::take(&mut self.delivered),
            reported: self.usage,
        }
    }
}

impl Drop for Attempt {
    /// The caller has gone, or something panicked, unless all is told already. Before the request
    /// was written nothing has happened; after it, the provider counts it and so do we.
    fn drop(&mut self) {
        if let Some(Open { reservation, pass, .. }) = self.open.take() {
            self.ended("abandoned");
            // Unreported, a pass gives back its place as a probe and says nothing.
            drop(pass);
            if self.sent.is_set() {
                reservation.mark_sent();
                self.settle_later(reservation);
            }
        }
        self.core.queue.stir();
    }
}
