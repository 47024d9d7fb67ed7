//! Who is asked next.

use std::sync::Arc;

use crate::clock::Now;
use crate::dispatch::demand::demand;
use crate::dispatch::demand::gates;
use crate::dispatch::journey::Travel;
use crate::dispatch::legs::Leg;
use crate::select::Candidate;
use crate::select::Gates;
use crate::select::Walk;

impl Travel {
    /// A walk through the candidates of a leg as things stand `now`.
    pub(super) fn walk(&mut self, leg: &Leg, now: Now) -> Walk {
        let home = self.home(&leg.eligible);
        let demand = demand(&self.core, &self.request, self.guide_bytes());
        let gates = Gates { pardoned: self.pardons.now, ..gates(&self.core, &demand, now) };
        let selector = &self.pool.selector;
        let mut walk =
            selector.walk((&self.asked, leg.eligible.clone()), home, &gates, &mut self.rng);
        walk.skip(&self.out);
        walk
    }

    /// The next to be asked; `None` when nobody is left.
    pub(super) fn next_candidate(
        &mut self,
        walk: &mut Walk,
        leg: &Leg,
        now: Now,
    ) -> Option<Candidate> {
        let pool = Arc::clone(&self.pool);
        let core = Arc::clone(&self.core);
        let request = Arc::clone(&self.request);
        let demand = demand(&core, &request, self.guide_bytes());
        let gates = Gates { pardoned: self.pardons.now, ..gates(&core, &demand, now) };
        let candidate = walk.next(&pool.selector, &gates, &mut self.rng)?;
        let (Some(session), 0, false) = (&self.session, self.attempts, candidate.affinity) else {
            return Some(candidate);
        };
        // Of several first requests of one session the first to come here decides for all.
        let pin = self.pin_of(candidate.target)?;
        if core.books.sessions.pin_if_absent(session, pin, now) == pin {
            return Some(candidate);
        }
        *walk = self.walk(leg, now);
        walk.next(&pool.selector, &gates, &mut self.rng)
    }
}
