//! Where a conversation lives: its session's own target is preferred, waited for, and moved.

use std::time::Duration;

use crate::catalog::TargetId;
use crate::dispatch::exhausted;
use crate::dispatch::exhausted::Wait;
use crate::dispatch::journey::Travel;
use crate::dispatch::legs::Leg;
use crate::dispatch::verdict;
use crate::select::Candidate;
use crate::select::Eligible;
use crate::session::Pin;

/// Longest wait for a session's own target before the session moves.
const HOME_WAIT: Duration = Duration::from_secs(2);

impl Travel {
    /// A session whose own target is throttled for a moment waits for it: a provider's prompt cache
    /// is worth more than the wait.
    pub(super) async fn wait_for_home(&mut self, leg: &Leg) {
        if let Some(home) = self.home(&leg.eligible).filter(|_| self.attempts == 0) {
            self.wait_a_moment(home).await;
        }
    }

    /// The same for a throttle that its own request has just met there, once in a journey. Did it wait?
    pub(super) async fn stays_home(&mut self, leg: &Leg, candidate: Candidate) -> bool {
        let throttled = self.faults.last().is_some_and(|(_, it)| verdict::is_throttle(it));
        if !candidate.affinity || !throttled || self.stayed_home {
            return false;
        }
        let Some(home) = self.home(&leg.eligible) else { return false };
        self.stayed_home = self.wait_a_moment(home).await;
        self.stayed_home
    }

    /// Waits for a throttle there to end, if it does soon. Did it wait?
    async fn wait_a_moment(&mut self, home: (usize, usize)) -> bool {
        let patience = self.patience_left().min(HOME_WAIT);
        let Wait::For(rest) = exhausted::wait_for(self, home) else { return false };
        let waits = !rest.is_zero() && rest <= patience;
        if waits {
            let rest = rest + self.a_little_more();
            self.waited += rest;
            tokio::time::sleep(rest).await;
        }
        waits
    }

    pub(super) fn pin_of(&self, target: TargetId) -> Option<Pin> {
        let target = self.pool.selector.catalog.target(target)?;
        Some(Pin { provider: target.provider.id, model: target.model.id })
    }

    /// The place in the catalog where the session lives, if it is among `eligible`.
    pub(super) fn home(&self, eligible: &Eligible) -> Option<(usize, usize)> {
        let session = self.session.as_deref()?;
        let pin = self.core.books.sessions.get(session, self.core.clock.now())?;
        let providers = self.pool.selector.catalog.providers();
        eligible.iter().copied().find(|(p, m)| {
            let model = providers.get(*p).and_then(|it| it.models.get(*m));
            model.is_some_and(|it| it.id == pin.model)
        })
    }

    /// This target has answered, and the session stays there.
    pub(super) fn settle_down(&mut self, target: TargetId) {
        self.answered_by = Some(target);
        if let (Some(session), Some(pin)) = (&self.session, self.pin_of(target)) {
            self.core.books.sessions.pin(session, pin, self.core.clock.now());
        }
    }
}
