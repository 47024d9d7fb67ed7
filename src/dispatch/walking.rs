//! Who is asked next, and what is taken for it.

use std::sync::Arc;

use crate::catalog::TargetView;
use crate::clock::Now;
use crate::dispatch::attempt::Attempt;
use crate::dispatch::demand::demand;
use crate::dispatch::demand::gates;
use crate::dispatch::journey::Travel;
use crate::dispatch::legs::Leg;
use crate::dispatch::waiting::bucket;
use crate::provider::SentMark;
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
        let others = self.others_in_line();
        let candidate = loop {
            let candidate = walk.next(&pool.selector, &gates, &mut self.rng)?;
            let target = pool.selector.catalog.target(candidate.target)?;
            let bucket = bucket(target.provider.id, target.model);
            // Who may be served by several leaves to the others what they can't do without.
            let spares = !candidate.affinity && others.want(bucket);
            if !(others.claim(bucket) || spares && walk.pass_over(candidate)) {
                break candidate;
            }
        };
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

    /// Takes what a call of `target` needs, and with it the request's turn in line. `None`: it has closed since it was
    /// chosen.
    pub(super) fn open(&mut self, target: &TargetView<'_>, leg: &Leg, now: Now) -> Option<Attempt> {
        let demand = demand(&self.core, &self.request, self.guide_bytes())(target.model);
        let early = self.pardons.now == Some(target.id);
        let alone = std::mem::take(&mut self.on_new_connection);
        let opened = Attempt::open(&self.core, target, (demand, early), &self.request, now);
        let mut attempt = opened.ok()?;
        attempt.tab.clone_from(&self.tab);
        attempt.progress = self.tab.as_ref().map(|_| Arc::clone(&self.progress));
        attempt.rest_of = self.rest_of;
        if alone {
            attempt.sent = SentMark::on_new_connection();
        }
        leg.sizes(&mut attempt);
        attempt.headroom = self.headroom(target.model);
        if let Some(place) = self.place.take() {
            place.served();
        }
        Some(attempt)
    }
}
