//! One simulated provider's state, and the handle tests and the demo hold on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::Now;
use crate::clock::SharedClock;

use super::fault::{Fault, FaultBoard};
use super::meter::{Breach, Gauge, Meter};
use super::record::{Record, Records, lock};
use super::spec::{Answer, ModelSpec, Pace, ProviderSpec};

/// Everything one provider knows.
pub(super) struct Provider {
    pub(super) spec: ProviderSpec,
    pub(super) faults: Mutex<FaultBoard>,
    pub(super) records: Arc<Records>,
    pub(super) manner: Mutex<Manner>,
    /// By key and model. Keys come from the spec, so there is an end to them.
    meters: Mutex<HashMap<(String, String), Meter>>,
    serial: AtomicU64,
    clock: SharedClock,
}

/// What may be changed while the server runs.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) answer: Answer,
    pub(super) chunk_chars: Option<usize>,
    pub(super) pace: Pace,
}

impl Provider {
    pub(super) fn new(
        spec: ProviderSpec,
        keep_records: usize,
        clock: SharedClock,
        stopping: CancellationToken,
    ) -> Self {
        let now = clock.now().monotonic;
        let unkeyed = [String::new()];
        let keys = if spec.keys.is_empty() { &unkeyed[..] } else { &spec.keys };
        let meter = |key: &String, model: &ModelSpec| {
            ((key.clone(), model.name.clone()), Meter::new(&model.limits, now))
        };
        let meters = keys
            .iter()
            .flat_map(|key| spec.models.iter().map(move |model| meter(key, model)))
            .collect();
        Self {
            faults: Mutex::new(FaultBoard {
                flaky: spec.flaky.map(|(rate, seed)| (rate, fastrand::Rng::with_seed(seed))),
                chaos: spec.chaos.map(|it| (it, spec.name.clone(), 0)),
                ..FaultBoard::default()
            }),
            records: Arc::new(Records::new(keep_records, Arc::clone(&clock), stopping)),
            manner: Mutex::new(Manner {
                answer: spec.answer.clone(),
                chunk_chars: spec.chunk_chars,
                pace: spec.pace,
            }),
            meters: Mutex::new(meters),
            serial: AtomicU64::new(1),
            spec,
            clock,
        }
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn accepts(&self, key: &str) -> bool {
        self.spec.keys.is_empty() || self.spec.keys.iter().any(|it| it == key)
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Admits and charges a request in one step, and shows where the limits then stand.
    pub(super) fn charge(
        &self,
        key: &str,
        model: &ModelSpec,
        prompt: u64,
        completion: u64,
    ) -> (Result<(), Breach>, Vec<Gauge>) {
        let key = if self.spec.keys.is_empty() { "" } else { key };
        let mut meters = lock(&self.meters);
        // Read under the lock: entries must be in the order of time.
        let now = self.now().monotonic;
        let Some(meter) = meters.get_mut(&(key.to_owned(), model.name.clone())) else {
            return (Ok(()), Vec::new());
        };
        (meter.admit(now, prompt, completion), meter.gauges(now))
    }

    /// State, limits and counters, for people.
    pub(super) fn describe(&self, base_url: &str) -> Value {
        let mut limits = Vec::new();
        {
            let mut meters = lock(&self.meters);
            let now = self.now().monotonic;
            for ((key, model), meter) in meters.iter_mut() {
                let key: String = key.chars().skip(key.chars().count().saturating_sub(4)).collect();
                limits.extend(meter.gauges(now).into_iter().map(|gauge| {
                    let line = json!({
                        "model": model, "key": key, "what": gauge.what.name(),
                        "window_seconds": gauge.window.as_secs(), "max": gauge.max,
                        "left": gauge.left,
                    });
                    (format!("{model} {key}"), line)
                }));
            }
        }
        // A map has no order that a reader could rely on; each meter's own order is kept.
        limits.sort_by(|(a, _), (b, _)| a.cmp(b));
        let limits: Vec<Value> = limits.into_iter().map(|(_, line)| line).collect();
        json!({
            "name": self.spec.name,
            "flavour": self.spec.flavour.name(),
            "base_url": base_url,
            "state": lock(&self.faults).describe(),
            "requests_reached": self.records.reached(),
            "requests_served": self.records.served(),
            "limits": limits,
        })
    }
}

/// A handle on a running simulated provider. Cheap to clone.
#[derive(Clone)]
pub struct SimProvider(pub(super) Arc<Provider>);

impl SimProvider {
    /// Its name in paths.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// Adds faults for the next requests, one each, before any other fault; with `model`, only
    /// for requests that name it.
    pub fn script(&self, model: Option<&str>, faults: Vec<Fault>) {
        let only = model.map(str::to_owned);
        let lines = faults.into_iter().map(|fault| (only.clone(), fault));
        lock(&self.0.faults).script.extend(lines);
    }

    /// Sets what every request meets once the script is used up, until it is cleared with `None`.
    pub fn set_fault(&self, fault: Option<Fault>) {
        lock(&self.0.faults).sticky = fault;
    }

    /// From now on this share of requests (0 to 1) fails before the first content, in a mixture
    /// of ways that is the same for the same seed.
    pub fn set_flaky(&self, rate: f64, seed: u64) {
        lock(&self.0.faults).flaky = Some((rate, fastrand::Rng::with_seed(seed)));
    }

    /// Healthy again: no script, no fault, no chaos, no flakiness.
    pub fn mend(&self) {
        *lock(&self.0.faults) = FaultBoard::default();
    }

    /// What it says from now on, and in content chunks of how many characters (`None` = words).
    /// A model with an answer of its own keeps that.
    pub fn set_answer(&self, answer: Answer, chunk_chars: Option<usize>) {
        let mut manner = lock(&self.0.manner);
        manner.answer = answer;
        manner.chunk_chars = chunk_chars;
    }

    /// How fast it talks from now on.
    pub fn set_pace(&self, pace: Pace) {
        lock(&self.0.manner).pace = pace;
    }

    /// The last chat requests that arrived, oldest first: as many as the server keeps, and their
    /// bodies together no more than 64 MiB.
    pub fn records(&self) -> Vec<Record> {
        self.0.records.all()
    }

    /// Chat requests that arrived, refused ones included, since the start or the last clear.
    pub fn count_reached(&self) -> u64 {
        self.0.records.reached()
    }

    /// Of those, how many got a whole and proper answer, its last byte handed to the connection.
    pub fn count_served(&self) -> u64 {
        self.0.records.served()
    }

    /// Forgets records and counts; limits and faults stay as they are.
    pub fn clear(&self) {
        self.0.records.clear();
    }

    /// Waits until `done` holds of the records, looking again whenever one changes; returns them,
    /// or `None` when it does not hold within `timeout`.
    pub async fn wait_for(
        &self,
        timeout: Duration,
        done: impl FnMut(&[Record]) -> bool,
    ) -> Option<Vec<Record>> {
        self.0.records.wait_for(timeout, done).await
    }
}
