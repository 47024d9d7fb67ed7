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
use crate::callers::Tab;
use crate::catalog::ModelId;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::Core;
use crate::dispatch::fitting::rules;
use crate::dispatch::learning;
use crate::dispatch::outcome::Progress;
use crate::dispatch::settlement;
use crate::dispatch::settlement::Awaited;
use crate::dispatch::settlement::Delivered;
use crate::dispatch::settlement::Settlement;
use crate::dispatch::verdict;
use crate::openai::ChatRequest;
use crate::openai::TokenUsage;
use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::quota::AsOf;
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
    reserves_max_tokens: bool,
    /// How the provider counts what is not text.
    rules: Rules,
    /// What the key that was shown runs up, if one was.
    pub(super) tab: Option<Arc<Tab>>,
    /// Where it is told that this gateway, and not the caller, ends the answer; for the tab.
    pub(super) progress: Option<Arc<Progress>>,
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
    /// Tokens its prompt was thought to have, while a comparison with the real ones says something
    /// of the model.
    pub(super) estimated_prompt: Option<u64>,
    /// Tokens of its prompt as they were counted, if they were.
    pub(super) counted_prompt: Option<u64>,
    /// It goes on with an answer that broke off: were a part's tokens counted here before?
    pub(super) rest_of: Option<bool>,
    /// The session whose window follows what it really uses, and the tokens its prompt may have.
    pub(super) headroom: Option<(Arc<str>, u64)>,
}

/// What has to be given back.
struct Open {
    reservation: Reservation,
    /// `None` once a probe has told how it went.
    pass: Option<Pass>,
    path: Path,
}

impl Attempt {
    /// Takes the quota and the breaker's leave, both or neither. `early`: as a probe, though faults
    /// have opened the breaker.
    pub(super) fn open(
        core: &Arc<Core>,
        target: &TargetView<'_>,
        (demand, early): (Demand, bool),
        request: &Arc<ChatRequest>,
        now: Now,
    ) -> Result<Self, Shut> {
        let path = Path::from(target);
        let breakers = &core.books.breakers;
        let pass =
            if early { breakers.enter_early(&path, now) } else { breakers.enter(&path, now) };
        let pass = pass.map_err(Shut::Breaker)?;
        let reservation = core.books.ledger.reserve(target.id, demand, now).map_err(Shut::Quota)?;
        let estimated = tokens::estimate(request.prompt_bytes());
        Ok(Self {
            core: Arc::clone(core),
            open: Some(Open { reservation, pass: Some(pass), path }),
            request: Arc::clone(request),
            model: target.model.id,
            names: (Arc::clone(&target.provider.name), Arc::clone(&target.model.name)),
            failed_requests_count: target.model.failed_requests_count,
            reserves_max_tokens: target.model.reserves_max_tokens,
            rules: rules(target.provider.kind),
            tab: None,
            progress: None,
            sent: SentMark::default(),
            started: now,
            delivered: Delivered::new(&core.texts),
            begun: false,
            usage: None,
            estimated_prompt: Some(estimated).filter(|_| request.media.is_none()),
            counted_prompt: None,
            rest_of: None,
            headroom: None,
        })
    }

    /// The first content has come: the answer has begun.
    pub(super) fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            let waited = self.age();
            self.core.books.latencies.observe(self.model, waited);
            self.core.books.metrics.first_token((&self.names.0, &self.names.1), waited);
            if self.request.stream
                && let Some(Open { path, reservation, .. }) = &self.open
            {
                self.hear_limits(path.target, &self.as_of(reservation));
            }
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

    /// Tells the ledger what the head of the answer said of limits. A stream's is told when it
    /// begins; that of a whole answer speaks of the call's own tokens too, and so has to wait until
    /// these are settled.
    fn hear_limits(&self, target: TargetId, as_of: &AsOf) {
        let limits = self.sent.limits();
        if !limits.is_empty() {
            let ledger = &self.core.books.ledger;
            learning::headers(ledger, target, (limits, as_of), self.core.clock.now());
        }
    }

    /// The moment that what the head said is of; of no use when it said nothing.
    fn as_of(&self, reservation: &Reservation) -> AsOf {
        if self.sent.limits().is_empty() { AsOf::default() } else { reservation.as_of() }
    }

    /// The same for the figures of a whole answer, which speak of the call's own tokens: those it
    /// used, unless the provider holds its bound against it.
    fn as_of_used(&self, reservation: &Reservation, usage: TokenUsage) -> AsOf {
        if self.sent.limits().is_empty() || self.request.stream || self.reserves_max_tokens {
            return self.as_of(reservation);
        }
        reservation.as_of_used(usage.total())
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
        if let Some(usage) = self.usage {
            self.succeed_with(usage);
            return usage;
        }
        let request = Arc::clone(&self.request);
        let usage = settlement::count(request, self.delivered.text(), self.rules).await;
        self.book(usage, true);
        usage
    }

    /// The same with the provider's figure, at once.
    pub(super) fn succeed_with(mut self, usage: TokenUsage) {
        self.book(usage, false);
    }

    fn book(&mut self, usage: TokenUsage, estimated: bool) {
        let now = self.core.clock.now();
        if let Some(Open { reservation, pass, path }) = self.open.take() {
            reservation.mark_sent();
            if let Some(estimate) = self.estimated_prompt.filter(|_| !estimated) {
                reservation.note_prompt(estimate, usage.prompt);
            }
            let as_of = self.as_of_used(&reservation, usage);
            reservation.settle(usage.total());
            if !self.request.stream {
                self.hear_limits(path.target, &as_of);
            }
            if let Some(pass) = pass {
                pass.report(Outcome::Success, now);
            }
            let spent = Spent { prompt: usage.prompt, completion: usage.completion, estimated };
            settlement::record(&self.core.books.usage, self.model, (spent, self.rest_of));
            let took = now.monotonic.saturating_sub(self.started.monotonic);
            self.core.books.latencies.ended(self.model, took);
            if let Some(tab) = &self.tab {
                tab.record(spent);
            }
            if let Some(counted) = self.counted_prompt.filter(|_| !estimated) {
                self.core.memory.learn(self.model, counted, usage.prompt);
            }
            if let Some((session, headroom)) = &self.headroom {
                let dynamic = &self.core.params.context.dynamic;
                self.core.memory.settled(session, (usage.prompt, *headroom), dynamic);
            }
            self.ended("answered");
        }
    }

    fn ended(&self, outcome: &'static str) {
        self.core.books.metrics.attempt((&self.names.0, &self.names.1), outcome);
    }

    /// The call failed before anything of it was delivered.
    pub(super) fn fail(mut self, fault: &Fault) {
        let Some(Open { reservation, pass, path }) = self.close() else { return };
        let as_of = reservation.as_of();
        match (verdict::quota(fault), self.usage) {
            (verdict::Quota::Spent, Some(usage)) => reservation.settle(usage.total()),
            // Ends as its own drop says: spent when it was sent, given back when it was not.
            (verdict::Quota::Spent, None) => drop(reservation),
            (verdict::Quota::Refused, _) => reservation.failed(self.failed_requests_count),
        }
        self.tell(fault, pass, (&path, &as_of));
    }

    /// The answer broke off after it had begun: what was delivered counts, and is in the books
    /// when this returns, or soon after this is dropped. Was it counted here?
    pub(super) async fn break_off(mut self, fault: &Fault) -> (TokenUsage, bool) {
        let Some(Open { reservation, pass, path }) = self.close() else {
            return (TokenUsage::default(), false);
        };
        self.tell(fault, pass, (&path, &reservation.as_of()));
        let settlement = self.settlement(reservation);
        Awaited::new(settlement, &self.core.settlements).settle().await
    }

    fn close(&mut self) -> Option<Open> {
        let open = self.open.take()?;
        if self.sent.is_set() {
            open.reservation.mark_sent();
        }
        Some(open)
    }

    /// Tells everyone of a fault: what it says of quota to the ledger, the rest to the breakers,
    /// which stay open for as long as the ledger says that nothing is left.
    fn tell(&self, fault: &Fault, pass: Option<Pass>, (path, as_of): (&Path, &AsOf)) {
        let Core { books, clock, .. } = &*self.core;
        let now = clock.now();
        // What broke off after it had begun is an answer, as far as it went.
        if !self.begun {
            books.usage.failed(self.model);
        }
        books.latencies.failed(self.model, fault.kind.label(), now);
        self.ended(fault.kind.label());
        if let Some(tokens) = fault.context() {
            books.ledger.learn_context(self.model, tokens, now);
        }
        let limits = if self.begun { &[] } else { self.sent.limits() };
        learning::headers(&books.ledger, path.target, (limits, as_of), now);
        let spent = learning::refusal(&books.ledger, path.target, (fault, limits, as_of), now);
        let pass = pass.or_else(|| books.breakers.enter(path, now).ok());
        let outcome = match fault.kind {
            // Fewer at once is enough, where that leaves any.
            FaultKind::TooManyInFlight if books.ledger.crowded(path.target, now) => {
                Outcome::Neutral
            }
            _ => verdict::outcome(fault, now).lasting_until(spent),
        };
        if let Some(pass) = pass {
            pass.report(outcome, now);
        }
    }

    /// A call that delivered something counts with what it delivered. Counting tokens takes
    /// longer than a drop may, so it is left to the one who does nothing else.
    fn settle_later(&mut self, reservation: Reservation) {
        self.settlement(reservation).leave_to(&self.core.settlements);
    }

    fn settlement(&mut self, reservation: Reservation) -> Settlement {
        Settlement {
            reservation,
            usage: Arc::clone(&self.core.books.usage),
            tab: self.tab.clone(),
            queue: Arc::clone(&self.core.queue),
            model: self.model,
            request: Arc::clone(&self.request),
            delivered: std::mem::replace(&mut self.delivered, Delivered::new(&self.core.texts)),
            reported: self.usage,
            estimated_prompt: self.estimated_prompt,
            rest_of: self.rest_of,
            rules: self.rules,
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
            // Of what this gateway has cut off before a word of it was passed on nobody has had anything.
            let cut = self.progress.as_ref().is_some_and(|it| it.cut().is_some());
            if cut && !self.begun {
                self.tab = None;
            }
            if self.sent.is_set() {
                reservation.mark_sent();
                self.settle_later(reservation);
            }
        }
        self.core.queue.stir();
    }
}
