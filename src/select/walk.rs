//! One request's way through the candidates: best first, found only as far as they are needed.
//!
//! Providers take turns, so that a failover tries another provider before the same one's next
//! model. Within a provider the models stand in a heap that is popped lazily: with a thousand
//! models, choosing the first costs one pass over them and no sorting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::breaker::Blocked;
use crate::breaker::Breakers;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::catalog::QuotaScope;
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
#[derive(Debug, Default)]
struct Slot {
    rank: Option<Rank>,
    /// Of all its models together.
    weight: f64,
    models: BinaryHeap<Reverse<(Rank, usize, usize)>>,
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
        let mut slots: Vec<(usize, Slot)> = Vec::new();
        let spans_all = matches!(asked, Asked::Fast | Asked::Smart);
        let weighs = !spans_all && self.params.weighs();
        let mut sharing = (usize::MAX, 1.0);
        for &(p, m) in eligible {
            let Some((_, model)) = self.at(p, m) else { continue };
            let turn = self.turns.model(p, m);
            let mut weight = 1.0;
            if weighs {
                weight = self.weights.of((p, m), model, eligible.len(), gates);
                if sharing.0 != p {
                    sharing = (p, self.sharing(eligible, p));
                }
                if shares(model) {
                    weight /= sharing.1;
                }
            }
            let rank = match asked {
                Asked::Fast => Rank::fast(gates.latencies.seconds(model.id), turn),
                Asked::Smart => Rank::smart(model, turn),
                _ => self.params.model_strategy.rank(turn, weight, rng),
            };
            if slots.last().is_none_or(|(at, _)| !spans_all && *at != p) {
                slots.push((p, Slot::default()));
            }
            if let Some((_, slot)) = slots.last_mut() {
                slot.weight += weight;
                slot.models.push(Reverse((rank, p, m)));
            }
        }
        for (p, slot) in &mut slots {
            let turn = self.turns.provider(*p);
            slot.rank = Some(self.params.provider_strategy.rank(turn, slot.weight, rng));
        }
        slots.sort_by_key(|(_, it)| it.rank);
        slots.into_iter().map(|(_, it)| it).collect()
    }

    /// How many of provider `p`'s models that may answer draw on their account's one bucket.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn sharing(&self, eligible: &Eligible, p: usize) -> f64 {
        let from = eligible.partition_point(|it| it.0 < p);
        let mine = eligible.iter().skip(from).take_while(|it| it.0 == p);
        let models = mine.filter_map(|(p, m)| self.at(*p, *m));
        models.filter(|(_, it)| shares(it)).count() as f64
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

/// Is its quota that of all models of the account? Then its weight, unless given, is too.
fn shares(model: &Model) -> bool {
    model.scope == QuotaScope::Account && model.weight.is_none()
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
            let Some(spot) = slot.next(selector, gates) else { continue };
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
        None
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
    fn next(&mut self, selector: &Selector, gates: &Gates<'_>) -> Option<Spot> {
        if self.keys.is_empty()
            && let Some(Reverse((_, p, m))) = self.models.pop()
        {
            self.keys = selector.keys_by_turn((p, m), gates);
        }
        self.keys.pop_front().or_else(|| self.last.pop_front())
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
