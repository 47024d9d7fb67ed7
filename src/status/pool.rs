//! `GET /v1/status`: every provider with its keys and models, what is left and who is resting.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::Scope;
use crate::breaker::Status;
use crate::catalog::Provider;
use crate::catalog::TargetView;
use crate::clock::Now;
use crate::quota::WindowView;
use crate::status::Books;
use crate::telemetry::QuotaLeft;

/// The whole pool.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pool {
    /// In the limits file's order.
    pub providers: Vec<ProviderStatus>,
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
    /// Each of its models with each of its keys.
    pub targets: Vec<TargetStatus>,
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
    Pool { providers: catalog.providers().iter().map(|it| provider(books, it, now)).collect() }
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
    ProviderStatus {
        id: provider.name.to_string(),
        circuit: state(Scope::Provider(provider.id)),
        keys: keys.collect(),
        targets: targets.map(|it| target(books, &it, now)).collect(),
    }
}

fn target(books: &Books, it: &TargetView<'_>, now: Now) -> TargetStatus {
    let blocked = books.breakers.check(&it.into(), now).err();
    let cooldown = blocked.map(|it| it.until.saturating_sub(now.monotonic));
    TargetStatus {
        model: it.model.name.to_string(),
        key: it.key.label.to_string(),
        privacy: it.model.privacy.name().to_owned(),
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
