//! How fast models have been, and how often they failed: a moving average of the time to the first
//! token, which decides, and the last measurements, which people look at.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::catalog::ModelId;
use crate::clock::Now;

/// Weight of the newest measurement. At 0.2 the last ten calls make up nine tenths of the figure.
const NEWEST: f64 = 0.2;
/// Measurements of each kind that are kept of one model.
const KEPT: usize = 128;
/// How long a fault counts as recent.
const RECENT_SECONDS: u32 = 3_600;

/// Measured times. Bounded by the number of models.
#[derive(Debug, Default)]
pub struct Latencies(RwLock<Speeds>);

#[derive(Debug, Default)]
struct Speeds {
    models: FxHashMap<ModelId, Speed>,
    /// The words for faults that were ever used: there are few.
    words: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Speed {
    average: Option<f64>,
    first_token: VecDeque<u32>,
    whole: VecDeque<u32>,
    /// Monotonic seconds, and the place of the word: there may be very many of these.
    faults: VecDeque<(u32, u8)>,
}

/// How fast each model is, on the average.
pub(super) struct Averages<'a>(RwLockReadGuard<'a, Speeds>);

/// The last measurements of one model or of several.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Measured {
    /// Milliseconds to the first token.
    pub first_token: Vec<u32>,
    /// Milliseconds to the end of the answer.
    pub whole: Vec<u32>,
    /// What went wrong in the last hour, in a word each.
    pub faults: Vec<&'static str>,
}

impl Latencies {
    /// Takes in the time to a first token.
    pub fn observe(&self, model: ModelId, first_token: Duration) {
        let newest = first_token.as_secs_f64();
        let mut all = self.write();
        let speed = all.models.entry(model).or_default();
        let average = speed.average.unwrap_or(newest);
        speed.average = Some(average + NEWEST * (newest - average));
        keep(&mut speed.first_token, millis(first_token));
    }

    /// Takes in the time to the end of an answer.
    pub fn ended(&self, model: ModelId, whole: Duration) {
        keep(&mut self.write().models.entry(model).or_default().whole, millis(whole));
    }

    /// A call has failed with this, in a word.
    pub fn failed(&self, model: ModelId, fault: &'static str, now: Now) {
        let mut all = self.write();
        let place = all.words.iter().position(|it| *it == fault).unwrap_or_else(|| {
            all.words.push(fault);
            all.words.len() - 1
        });
        let place = u8::try_from(place).unwrap_or(u8::MAX);
        keep(&mut all.models.entry(model).or_default().faults, (seconds(now), place));
    }

    /// The averages as they are now. Nothing is taken in while this is held.
    pub(super) fn averages(&self) -> Averages<'_> {
        Averages(self.read())
    }

    /// The last measurements of `model`, added to `measured`.
    pub fn add_to(&self, measured: &mut Measured, model: ModelId, now: Now) {
        let all = self.read();
        let Some(speed) = all.models.get(&model) else { return };
        measured.first_token.extend(&speed.first_token);
        measured.whole.extend(&speed.whole);
        let now = seconds(now);
        let recent = speed.faults.iter().filter(|it| now.saturating_sub(it.0) < RECENT_SECONDS);
        measured.faults.extend(recent.filter_map(|it| all.words.get(usize::from(it.1)).copied()));
    }

    fn read(&self) -> RwLockReadGuard<'_, Speeds> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Speeds> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Averages<'_> {
    /// Seconds to the first token; `None` for a model that was never measured.
    pub(super) fn seconds(&self, model: ModelId) -> Option<f64> {
        self.0.models.get(&model)?.average
    }
}

fn keep<T>(kept: &mut VecDeque<T>, newest: T) {
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(newest);
}

fn seconds(now: Now) -> u32 {
    u32::try_from(now.monotonic.as_secs()).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_is_measured() {
        let all = Latencies::default();
        assert_eq!(all.averages().seconds(ModelId(1)), None);
        all.observe(ModelId(1), Duration::from_secs(1));
        assert_eq!(all.averages().seconds(ModelId(1)), Some(1.0));
        for _ in 0..20 {
            all.observe(ModelId(1), Duration::from_secs(3));
        }
        assert!(all.averages().seconds(ModelId(1)).is_some_and(|it| (2.9..3.0).contains(&it)));
    }

    #[test]
    fn the_last_measurements_and_the_last_hours_faults_are_kept() {
        let all = Latencies::default();
        let at = |seconds| Now { monotonic: Duration::from_secs(seconds), unix_ms: 0 };
        for ms in 0..200 {
            all.ended(ModelId(1), Duration::from_millis(ms));
        }
        all.failed(ModelId(1), "server", at(0));
        all.failed(ModelId(1), "busy", at(100));
        assert_eq!(all.averages().seconds(ModelId(1)), None);
        let mut measured = Measured::default();
        all.add_to(&mut measured, ModelId(1), at(3_600));
        assert_eq!((measured.whole.len(), measured.whole.first()), (KEPT, Some(&72)));
        assert_eq!(measured.faults, ["busy"]);
    }
}
