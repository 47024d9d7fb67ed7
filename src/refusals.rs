//! Which members of a request a model has refused, so that the next request is spared the round
//! trip. Models learn new members: what was refused is forgotten after a day.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog::ModelId;
use crate::clock::Now;

/// How long a refusal is remembered.
const AGE: Duration = Duration::from_secs(24 * 3600);
/// Members remembered for one model; a newer one takes the place of the oldest.
const MEMBERS: usize = 16;
/// Models remembered; of more nothing is learned until others are forgotten.
const MODELS: usize = 4096;

/// What models have refused.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Is there anything to look up? Mostly there is not, and no lock is taken.
    any: AtomicBool,
    models: Mutex<HashMap<ModelId, Vec<Refusal>>>,
}

/// One member a model has refused.
#[derive(Debug)]
struct Refusal {
    member: Box<str>,
    /// On the monotonic clock.
    since: Duration,
}

impl Refusal {
    fn holds(&self, now: Now) -> bool {
        now.monotonic.saturating_sub(self.since) < AGE
    }
}

impl Refusals {
    /// `model` has refused `member`.
    pub fn learn(&self, model: ModelId, member: &str, now: Now) {
        let mut models = self.lock();
        if models.len() >= MODELS && !models.contains_key(&model) {
            models.retain(|_, known| known.iter().any(|it| it.holds(now)));
            if models.len() >= MODELS {
                return;
            }
        }
        let known = models.entry(model).or_default();
        known.retain(|it| *it.member != *member && it.holds(now));
        if known.len() >= MEMBERS {
            known.remove(0);
        }
        known.push(Refusal { member: member.into(), since: now.monotonic });
        self.any.store(true, Ordering::Release);
    }

    /// The members `model` has refused of those a request `brings`.
    pub fn of(&self, model: ModelId, now: Now, brings: impl Fn(&str) -> bool) -> Vec<String> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let members: Vec<String> = match self.lock().get(&model) {
            Some(known) => {
                let known = known.iter().filter(|it| it.holds(now));
                known.map(|it| it.member.to_string()).collect()
            }
            None => Vec::new(),
        };
        members.into_iter().filter(|it| brings(it)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ModelId, Vec<Refusal>>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_ms: 0 }
    }

    fn check(refusals: &Refusals, model: u32, now: u64, expected: &[&str]) {
        assert_eq!(refusals.of(ModelId(model), at(now), |_| true), expected);
    }

    #[test]
    fn a_refusal_holds_for_its_model_and_for_a_day() {
        let refusals = Refusals::default();
        check(&refusals, 1, 0, &[]);
        refusals.learn(ModelId(1), "seed", at(0));
        refusals.learn(ModelId(1), "user", at(100));
        check(&refusals, 1, 200, &["seed", "user"]);
        check(&refusals, 2, 200, &[]);
        assert_eq!(refusals.of(ModelId(1), at(200), |it| it == "user"), ["user"]);
        check(&refusals, 1, 24 * 3600, &["user"]);
        refusals.learn(ModelId(1), "user", at(24 * 3600));
        check(&refusals, 1, 24 * 3600 + 200, &["user"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let refusals = Refusals::default();
        for member in 0..100 {
            refusals.learn(ModelId(0), &format!("m{member}"), at(0));
        }
        let known = refusals.of(ModelId(0), at(0), |_| true);
        assert_eq!((known.len(), known.last().map(String::as_str)), (MEMBERS, Some("m99")));
        for model in 0..2 * MODELS {
            refusals.learn(ModelId(u32::try_from(model).unwrap()), "seed", at(0));
        }
        assert_eq!(refusals.lock().len(), MODELS);
        check(&refusals, 5000, 0, &[]);
        refusals.learn(ModelId(5000), "seed", at(24 * 3600));
        check(&refusals, 5000, 24 * 3600, &["seed"]);
    }
}
