//! One upstream call of a journey: what is sent, how long it is waited for, and who makes of the reply what
//! the caller gets.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::TryStreamExt as _;

use crate::catalog::TargetView;
use crate::dispatch::attempt::Attempt;
use crate::dispatch::journey::Travel;
use crate::dispatch::legs::Leg;
use crate::dispatch::outcome::Route;
use crate::dispatch::relay;
use crate::dispatch::verdict;
use crate::dispatch::whole;
use crate::dispatch::whole::Begun;
use crate::dispatch::whole::Left;
use crate::dispatch::whole::Unanswered;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::Reply;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::select::Candidate;

impl Travel {
    /// One upstream call. `Err(None)`: the target closed between being chosen and being asked.
    pub(super) async fn attempt(
        &mut self,
        candidate: Candidate,
        edits: &RequestEdits,
        leg: &Leg,
        left_out: &[String],
    ) -> Result<Begun, Option<Fault>> {
        let pool = Arc::clone(&self.pool);
        let Some(target) = pool.selector.catalog.target(candidate.target) else { return Err(None) };
        let Some(client) = pool.clients.get(&target.provider.id) else { return Err(None) };
        let now = self.core.clock.now();
        let before = self.core.books.ledger.left(target.id, now);
        let Some(attempt) = self.open(&target, leg, now) else { return Err(None) };
        self.attempts += 1;
        self.commit_to(target.provider.id);
        let mut route = self.route(&target, candidate.affinity, leg);
        self.set_out(&route);
        if let Some(story) = &mut self.story {
            story.asks(&target, before, now);
        }
        let way = self.json_way(target.model, edits);
        let edits = self.handed_over(target.model.id, self.edits_for(way, target.model, edits));
        let bounded = Self::bounded(&edits);
        let call = Call {
            model: Arc::clone(&target.model.name),
            secret: target.key.secret.clone(),
            request: Arc::clone(&self.request),
            edits,
            verbatim: self.requires.strict,
            sent: attempt.sent.clone(),
        };
        let sent = attempt.sent.clone();
        let (limit, waited) = self.patience(&target);
        let deadline = tokio::time::Instant::now() + limit;
        let late = || Fault::new(FaultKind::Timeout(waited), format!("nothing for {limit:?}"));
        let reply = tokio::time::timeout_at(deadline, client.send(call)).await;
        let secret = target.key.secret.clone();
        let reply = reply.unwrap_or_else(|_| Err(late())).map_err(|it| it.without(secret.as_ref()));
        let answer = match reply {
            Ok(Reply::Whole(reply)) => {
                route.warnings.extend(self.unmet(&reply.unmet, bounded, left_out));
                whole::answer(attempt, reply, route, self.whole_terms(&target, way)).await
            }
            Ok(Reply::Stream(mut pieces)) => {
                // A provider may repeat the key in an error at any point of the stream.
                let without = move |it: Fault| it.without(secret.as_ref());
                pieces.chunks = pieces.chunks.map_err(without).boxed();
                route.warnings.extend(self.unmet(&pieces.unmet, bounded, left_out));
                let terms = self.stream_terms((&target, way), deadline, late());
                Box::pin(relay::begin(attempt, pieces, route, terms)).await
            }
            Err(fault) => Err(Unanswered::call(Some(attempt), fault)),
        };
        match answer {
            Ok(begun) => {
                self.settle_down(target.id);
                Ok(begun)
            }
            Err(unanswered) => {
                if !sent.is_set() && verdict::speaks_of_request(&unanswered.fault) {
                    // It was known beforehand: nobody was asked.
                    self.attempts = self.attempts.saturating_sub(1);
                }
                let fault = self.close(&target, unanswered);
                self.hear_out(&target, &sent, &fault);
                Err(Some(fault))
            }
        }
    }

    /// Keeps the route for whoever has to tell of it before there is an answer.
    fn set_out(&mut self, route: &Route) {
        if self.request.stream {
            self.progress.set(route.clone());
        }
        self.last_route = Some(route.clone());
    }

    /// Ends a call that gave no answer, in the log and in the books.
    fn close(&mut self, target: &TargetView<'_>, unanswered: Unanswered) -> Fault {
        if let Some(story) = &mut self.story {
            let age = unanswered.attempt().map(Attempt::age).unwrap_or_default();
            story.failed(&target.model.routable, &unanswered.fault, age);
        }
        let Unanswered { fault, left } = unanswered;
        match left {
            Left::Call(None) => {}
            Left::Call(Some(attempt)) => attempt.fail(&fault),
            Left::Spare(spare) => self.keep_spare(spare, fault.clone()),
        }
        if let Some(story) = &mut self.story {
            story.settled();
        }
        fault
    }
}
