//! One request's way through the candidates: best first, found only as far as they are needed.
//!
//! Providers take turns, so that a failover tries another provider before the same one's next
//! model. A provider's models are ranked when the walk first reaches it, and stand in a heap that is
//! popped lazily: with a thousand models, most requests rank those of one provider alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use crate::breaker::Blocked;
use crate::breaker::Breakers;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::Denial;
use crate::quota::Ledger;
use crate::select::Selector;
use crate::select::eligible::Eligible;
use crate::select::latency::Latencies;
use crate::select::names::Asked;
use crate::select::order::Rank;
use crate::select::order::Strategy;

/// What decides, at this moment, whether a candidate may be asked.
pub struct Gates<'a> {
    /// Has it quota left?
    pub ledger: &'a Ledger,
    /// Is it well?
    pub breakers: &'a Breakers,
    /// How fast has it been?
    pub latencies: &'a Latencies,
    /// What the request would take of a model's quota.
    pub demand: &'a dyn Fn(&Model) -> Demand,
    /// Of all that faults have shut, the one that may be asked all the same.
    pub pardoned: Option<TargetId>,
    /// The time.
    pub now: Now,
}

/// A target to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub target: TargetId,
    /// Is it where the session lives?
    pub affinity: bool,
}

/// A target that could answer but not now.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Who.
    pub target: TargetId,
    /// Why not.
    pub shut: Shut,
}

/// Why a target may not be asked now.
#[derive(Clone, Debug)]
pub enum Shut {
    /// Its quota is spent.
    Quota(Denial),
    /// Its breaker is open.
    Breaker(Blocked),
}

/// A (provider, model, key) place in the catalog.
type Spot = (usize, usize, usize);

/// Candidates that take turns as one: a provider's models, or all models when one order spans all.
#[derive(Debug)]
struct Slot {
    /// Where its models stand among those that are eligible.
    places: Range<usize>,
    /// What they weigh, where the provider was drawn by that; else nothing.
    weights: Vec<f64>,
    /// Those not reached yet; `None` until the first is asked for.
    models: Option<BinaryHeap<Reverse<(Rank, usize, usize)>>>,
    /// Keys of the model that was reached last.
    keys: VecDeque<Spot>,
    /// Keys of models that were blamed: tried when nothing else is left here.
    last: VecDeque<Spot>,
}

/// How often a walk starts over when other requests take the turns it saw.
const RESTARTS: u32 = 8;

/// A walk through the candidates of one request.
#[derive(Debug)]
pub struct Walk {
    eligible: Eligible,
    asked: Asked,
    preferred: VecDeque<Spot>,
    slots: VecDeque<Slot>,
    /// Handed out already; bounded by the attempts a request may make.
    tried: Vec<TargetId>,
    /// Passed over; they come after all others.
    aside: VecDeque<TargetId>,
    restarts: u32,
    /// Everyone passed over so far, with the reason.
    pub rejected: Vec<Rejected>,
}

impl Selector {
    /// Begins a walk. `home` is the (provider, model) place where the session lives: it goes first.
    pub fn walk(
        &self,
        (asked, eligible): (&Asked, Eligible),
        home: Option<(usize, usize)>,
        gates: &Gates<'_>,
        rng: &mut fastrand::Rng,
    ) -> Walk {
        let slots = self.slots(asked, &eligible, gates, rng);
        let preferred = home.filter(|it| eligible.contains(it));
        let preferred = preferred.map(|it| self.keys_by_turn(it, gates)).unwrap_or_default();
        let asked = asked.clone();
        Walk {
            eligible,
            asked,
            preferred,
            slots,
            tried: Vec::new(),
            aside: VecDeque::new(),
            restarts: RESTARTS,
            rejected: Vec::new(),
        }
    }

    fn slots(
        &self,
        asked: &Asked,
        eligible: &Eligible,
        gates: &Gates<'_>,
        rng: &mut fastrand::Rng,
    ) -> VecDeque<Slot> {
        if spans_all(asked) {
            return [Slot::new(0..eligible.len(), Vec::new())].into();
        }
        let strategy = self.params.provider_strategy;
        let mut slots: Vec<(Rank, Slot)> = Vec::new();
        let mut from = 0;
        for models in eligible.chunk_by(|a, b| a.0 == b.0) {
            let places = from..from + models.len();
            from = places.end;
            let weights = match strategy {
                Strategy::Weighted => self.weights.of(models, (&self.catalog, eligible), gates),
                Strategy::RoundRobin | Strategy::Random => Vec::new(),
            };
            let turn = models.first().map_or(0, |(p, _)| self.turns.provider(*p));
            let rank = strategy.rank(turn, weights.iter().sum(), rng);
            slots.push((rank, Slot::new(places, weights)));
        }
        slots.sort_by_key(|(rank, _)| *rank);
        slots.into_iter().map(|(_, it)| it).collect()
    }

    /// The models of `slot` in the order in which they are to be asked.
    fn ranked(
        &self,
        slot: &Slot,
        (asked, eligible): (&Asked, &Eligible),
        gates: &Gates<'_>,
        rng: &mut fastrand::Rng,
    ) -> BinaryHeap<Reverse<(Rank, usize, usize)>> {
        let places = eligible.get(slot.places.clone()).unwrap_or_default();
        let strategy = self.params.model_strategy;
        let mut ranked = Vec::with_capacity(places.len());
        let models = places.iter().filter_map(|&(p, m)| Some((p, m, self.at(p, m)?.1)));
        let turn = |p, m| self.turns.model(p, m);
        match asked {
            Asked::Fast => {
                let averages = gates.latencies.averages();
                ranked.extend(
                    models
                        .map(|(p, m, it)| (Rank::fast(averages.seconds(it.id), turn(p, m)), p, m)),
                );
            }
            Asked::Smart => {
                ranked.extend(models.map(|(p, m, it)| (Rank::smart(it, turn(p, m)), p, m)));
            }
            _ => {
                let weights = match strategy {
                    Strategy::Weighted if slot.weights.is_empty() => {
                        &self.weights.of(places, (&self.catalog, eligible), gates)
                    }
                    _ => &slot.weights,
                };
                let weights = weights.iter().copied().chain(std::iter::repeat(1.0));
                ranked.extend(
                    places
                        .iter()
                        .zip(weights)
                        .map(|(&(p, m), weight)| (strategy.rank(turn(p, m), weight, rng), p, m)),
                );
            }
        }
        ranked.into_iter().map(Reverse).collect::<Vec<_>>().into()
    }

    /// Whoever has waited longest first; keys that somebody else uses too after the others.
    fn keys_by_turn(&self, (p, m): (usize, usize), gates: &Gates<'_>) -> VecDeque<Spot> {
        let targets = self.at(p, m).map_or(&[][..], |(_, it)| it.targets.as_slice());
        let mut spots: Vec<Spot> = (0..targets.len()).map(|k| (p, m, k)).collect();
        if spots.len() > 1 {
            let elsewhere = |it| gates.ledger.is_used_elsewhere(it, gates.now);
            spots.sort_by_cached_key(|(_, _, k)| {
                (targets.get(*k).copied().is_some_and(elsewhere), self.turns.key(p, *k))
            });
        }
        spots.into()
    }

    fn at(&self, p: usize, m: usize) -> Option<(&Provider, &Model)> {
        let provider = self.catalog.providers().get(p)?;
        Some((provider, provider.models.get(m)?))
    }
}

/// Does one order span all models, whoever has them?
fn spans_all(asked: &Asked) -> bool {
    matches!(asked, Asked::Fast | Asked::Smart)
}

impl Walk {
    /// The next target that may be asked now; `None` when no more is left. Whoever is passed over
    /// is added to [`Walk::rejected`].
    pub fn next(
        &mut self,
        selector: &Selector,
        gates: &Gates<'_>,
        rng: &mut fastrand::Rng,
    ) -> Option<Candidate> {
        while let Some(spot) = self.preferred.pop_front() {
            if let Some(target) = self.open(selector, spot, gates) {
                // The rest of its keys stay in the slots, should this one fail. A turn lost to
                // another request matters little here: the session has no choice.
                self.preferred.clear();
                selector.turns.take(spot, selector.turns.provider(spot.0));
                self.tried.push(target);
                return Some(Candidate { target, affinity: true });
            }
        }
        while let Some(mut slot) = self.slots.pop_front() {
            let Some(spot) = self.next_of(&mut slot, selector, gates, rng) else { continue };
            let seen = selector.turns.provider(spot.0);
            let first = self.rejected.is_empty();
            let open = self.open(selector, spot, gates);
            let Some(target) = open else {
                self.slots.push_front(slot);
                continue;
            };
            if !selector.turns.take(spot, seen) && first && self.restarts > 0 {
                self.restarts -= 1;
                self.slots = selector.slots(&self.asked, &self.eligible, gates, rng);
                continue;
            }
            self.slots.push_back(slot);
            self.tried.push(target);
            return Some(Candidate { target, affinity: false });
        }
        while let Some(target) = self.aside.pop_front() {
            if !self.tried.contains(&target) {
                self.tried.push(target);
                return Some(Candidate { target, affinity: false });
            }
        }
        None
    }

    /// Another one is to be asked before the one that was handed out last. `false`: there is no other.
    pub fn pass_over(&mut self, candidate: Candidate) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        self.tried.retain(|it| *it != candidate.target);
        self.aside.push_back(candidate.target);
        true
    }

    /// Leaves `targets` out of the rest of the walk.
    pub fn skip(&mut self, targets: &[TargetId]) {
        self.tried.extend_from_slice(targets);
    }

    /// The model asked last is at fault, not its key: its other keys go to the end of the line.
    pub fn blame_model(&mut self) {
        if let Some(slot) = self.slots.back_mut() {
            let keys = std::mem::take(&mut slot.keys);
            slot.last.extend(keys);
        }
    }

    /// The next key of `slot`: of the model that was reached last, else of the next.
    fn next_of(
        &self,
        slot: &mut Slot,
        selector: &Selector,
        gates: &Gates<'_>,
        rng: &mut fastrand::Rng,
    ) -> Option<Spot> {
        if slot.keys.is_empty() {
            let mut models = match slot.models.take() {
                Some(models) => models,
                None => selector.ranked(slot, (&self.asked, &self.eligible), gates, rng),
            };
            if let Some(Reverse((_, p, m))) = models.pop() {
                slot.keys = selector.keys_by_turn((p, m), gates);
            }
            slot.models = Some(models);
        }
        slot.keys.pop_front().or_else(|| slot.last.pop_front())
    }

    fn open(
        &mut self,
        selector: &Selector,
        (p, m, k): Spot,
        gates: &Gates<'_>,
    ) -> Option<TargetId> {
        let (provider, model) = selector.at(p, m)?;
        let (target, key) = (*model.targets.get(k)?, provider.keys.get(k)?);
        if self.tried.contains(&target) {
            return None;
        }
        let view = TargetView { id: target, provider, model, key };
        match gates.check(&view) {
            Ok(()) => Some(target),
            Err(shut) => {
                self.rejected.push(Rejected { target, shut });
                None
            }
        }
    }
}

impl Slot {
    fn new(places: Range<usize>, weights: Vec<f64>) -> Self {
        Self { places, weights, models: None, keys: VecDeque::new(), last: VecDeque::new() }
    }
}

impl Gates<'_> {
    /// May `target` be asked now?
    pub fn check(&self, target: &TargetView<'_>) -> Result<(), Shut> {
        let path = target.into();
        let breakers = if self.pardoned == Some(target.id) {
            self.breakers.check_early(&path, self.now)
        } else {
            self.breakers.check(&path, self.now)
        };
        breakers.map_err(Shut::Breaker)?;
        self.ledger.peek(target.id, (self.demand)(target.model), self.now).map_err(Shut::Quota)
    }
}
