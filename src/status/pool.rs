//! `GET /v1/status`: every provider with its keys and models, what is left and who is resting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::Scope;
use crate::breaker::Status;
use crate::catalog::Provider;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::quota::WindowView;
use crate::select::Measured;
use crate::status::Books;
use crate::telemetry::QuotaLeft;

/// The whole pool.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pool {
    /// The order in which providers and models are asked.
    pub routing: RoutingStatus,
    /// In the limits file's order.
    pub providers: Vec<ProviderStatus>,
}

/// The order in which providers and models are asked: `roundrobin`, `random` or `weighted`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoutingStatus {
    /// The same as `provider_strategy`.
    pub strategy: String,
    /// Among providers.
    pub provider_strategy: String,
    /// Among a provider's models.
    pub model_strategy: String,
}

/// One provider.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// Its name.
    pub id: String,
    /// Its own breaker; keys and models have theirs.
    pub circuit: CircuitStatus,
    /// Its keys, masked.
    pub keys: Vec<KeyStatus>,
    /// How its last answers went, all models together.
    pub recent: RecentStatus,
    /// How each model's last answers went; models that were never asked are left out.
    pub models: Vec<ModelStatus>,
    /// Each of its models with each of its keys.
    pub targets: Vec<TargetStatus>,
}

/// How a model's last answers went.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelStatus {
    /// The provider's name for the model.
    pub model: String,
    /// How they went.
    #[serde(flatten)]
    pub recent: RecentStatus,
}

/// Times of the last 128 answers of a model, and what went wrong in the last hour.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecentStatus {
    /// From the call to the end of the answer.
    pub latency_ms: Percentiles,
    /// From the call to the first token; of a whole answer, to its end.
    pub first_token_ms: Percentiles,
    /// How often each kind of fault was met.
    pub errors: BTreeMap<String, u64>,
}

/// Two points of a distribution; `null` while nothing was measured.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of all are below.
    pub p50: Option<u32>,
    /// Nineteen of twenty are below.
    pub p95: Option<u32>,
}

/// A breaker.
#[derive(Debug, Serialize, Deserialize)]
pub struct CircuitStatus {
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// What opened it.
    pub reason: Option<String>,
    /// Seconds until it lets a probe pass.
    pub retry_in_sec: Option<u64>,
}

/// One key.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its last characters.
    pub key: String,
    /// Its breaker.
    pub circuit: CircuitStatus,
}

/// One model with one key.
#[derive(Debug, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The provider's name for the model.
    pub model: String,
    /// The key's last characters.
    pub key: String,
    /// What is done with prompts: `no-training`, `trains`, `configurable`, `local` or `unknown`.
    pub privacy: String,
    /// Where that is known from.
    pub privacy_source: Option<String>,
    /// The day on which somebody last saw that its entry is true.
    pub last_verified: Option<String>,
    /// Seconds until it may be asked; 0 = now.
    pub cooldown_remaining_sec: u64,
    /// What has opened a breaker on its way.
    pub reason: Option<String>,
    /// Its limits and what is left of them.
    pub windows: Vec<WindowStatus>,
}

/// One limit.
#[derive(Debug, Serialize, Deserialize)]
pub struct WindowStatus {
    /// `requests` or `tokens`.
    pub unit: String,
    /// `second`, `minute`, `hour`, `day` or `month`.
    pub period: String,
    /// The limit of the limits file.
    pub configured: Option<u64>,
    /// The limit the provider told.
    pub learned: Option<u64>,
    /// Units used in the window.
    pub used: u64,
    /// Units left; `null` when no limit is known.
    pub left: Option<u64>,
    /// Seconds until the window is all free if nothing more is used.
    pub resets_in_sec: u64,
}

/// The pool as it is now.
pub(super) fn view(books: &Books) -> Pool {
    let now = books.clock.now();
    let catalog = books.catalog.load();
    let strategies = books.strategies.load();
    let (providers, models) =
        (strategies.provider_strategy.name(), strategies.model_strategy.name());
    let routing = RoutingStatus {
        strategy: providers.to_owned(),
        provider_strategy: providers.to_owned(),
        model_strategy: models.to_owned(),
    };
    Pool {
        routing,
        providers: catalog.providers().iter().map(|it| provider(books, it, now)).collect(),
    }
}

/// What is left of every limit that is known.
pub(super) fn quota_left(books: &Books) -> Vec<QuotaLeft> {
    let now = books.clock.now();
    let catalog = books.catalog.load();
    let mut all = Vec::new();
    for it in catalog.targets().filter(|it| it.model.successor.is_none()) {
        let place = it.provider.keys.iter().position(|key| key.id == it.key.id).unwrap_or(0);
        for window in books.ledger.view(it.id, now) {
            let Some(left) = window.left else { continue };
            all.push(QuotaLeft {
                provider: Arc::clone(&it.provider.name),
                model: Arc::clone(&it.model.name),
                key: place as u64 + 1,
                unit: window.unit.name(),
                period: window.period.name(),
                left,
            });
        }
    }
    all
}

fn provider(books: &Books, provider: &Provider, now: Now) -> ProviderStatus {
    let state = |scope| circuit(books.breakers.state(scope, now), now);
    let keys = provider
        .keys
        .iter()
        .map(|it| KeyStatus { key: it.label.to_string(), circuit: state(Scope::Key(it.id)) });
    let models = provider.models.iter().filter(|it| it.successor.is_none());
    let targets = models.flat_map(|model| provider.targets(model));
    let (recent, models) = recent(books, provider, now);
    ProviderStatus {
        id: provider.name.to_string(),
        circuit: state(Scope::Provider(provider.id)),
        keys: keys.collect(),
        recent,
        models,
        targets: targets.map(|it| target(books, &it, now)).collect(),
    }
}

fn recent(books: &Books, provider: &Provider, now: Now) -> (RecentStatus, Vec<ModelStatus>) {
    let mut all = Measured::default();
    let mut models = Vec::new();
    for model in &provider.models {
        let mut mine = Measured::default();
        books.latencies.add_to(&mut mine, model.id, now);
        if mine == Measured::default() {
            continue;
        }
        books.latencies.add_to(&mut all, model.id, now);
        models.push(ModelStatus { model: model.name.to_string(), recent: mine.into() });
    }
    (all.into(), models)
}

impl From<Measured> for RecentStatus {
    fn from(it: Measured) -> Self {
        let mut errors = BTreeMap::new();
        for fault in it.faults {
            *errors.entry(fault.to_owned()).or_default() += 1;
        }
        Self {
            latency_ms: Percentiles::of(it.whole),
            first_token_ms: Percentiles::of(it.first_token),
            errors,
        }
    }
}

impl Percentiles {
    /// By the nearest rank.
    fn of(mut values: Vec<u32>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied()
        };
        Self { p50: at(50), p95: at(95) }
    }
}

fn target(books: &Books, it: &TargetView<'_>, now: Now) -> TargetStatus {
    let blocked = books.breakers.check(&it.into(), now).err();
    let cooldown = blocked.map(|it| it.until.saturating_sub(now.monotonic));
    TargetStatus {
        model: it.model.name.to_string(),
        key: it.key.label.to_string(),
        privacy: it.model.privacy.name().to_owned(),
        privacy_source: it.model.privacy_source.as_deref().map(str::to_owned),
        last_verified: it.model.last_verified.as_deref().map(str::to_owned),
        cooldown_remaining_sec: cooldown.map_or(0, seconds),
        reason: blocked.map(|it| it.reason.as_str().to_owned()),
        windows: books.ledger.view(it.id, now).into_iter().map(window).collect(),
    }
}

fn window(it: WindowView) -> WindowStatus {
    WindowStatus {
        unit: it.unit.name().to_owned(),
        period: it.period.name().to_owned(),
        configured: it.configured,
        learned: it.learned,
        used: it.used,
        left: it.left,
        resets_in_sec: seconds(it.resets_in),
    }
}

fn circuit(status: Status, now: Now) -> CircuitStatus {
    CircuitStatus {
        state: status.state.as_str().to_owned(),
        reason: status.reason.map(|it| it.as_str().to_owned()),
        retry_in_sec: status.until.map(|it| seconds(it.saturating_sub(now.monotonic))),
    }
}

/// Whole seconds, rounded up: a rest is never said to be shorter than it is.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let check = |values: &[u32], p50, p95| {
            assert_eq!(Percentiles::of(values.to_vec()), Percentiles { p50, p95 }, "{values:?}");
        };
        check(&[], None, None);
        check(&[7], Some(7), Some(7));
        check(&[9, 1], Some(1), Some(9));
        let hundred: Vec<u32> = (1..=100).rev().collect();
        check(&hundred, Some(50), Some(95));
    }
}
