//! Read-only views for people and scripts over catalog, quota, breakers and usage.

pub mod keys;
mod models;
pub mod pace;
pub mod pool;
pub mod quota;
mod usage;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::breaker::Breakers;
use crate::catalog::Catalog;
use crate::clock::SharedClock;
use crate::quota::Ledger;
use crate::select;
use crate::select::Latencies;
use crate::status::pace::Pace;
use crate::telemetry::Metrics;
use crate::trace::Traces;
use crate::usage::UsageBook;

/// The documents the server gives out, as JSON text.
pub trait Views: Send + Sync + 'static {
    /// `GET /v1/models`, with its `?type=` and `?scale=` filters.
    fn models(&self, kind: Option<&str>, scale: Option<&str>) -> String;
    /// `GET /v1/models/{id}`; `None` when there is no such model.
    fn model(&self, id: &str) -> Option<String>;
    /// A model's name in its one form.
    ///
    /// # Errors
    /// The closest names, when there is no such model.
    fn known_model(&self, name: &str) -> Result<String, Vec<String>>;
    /// `GET /v1/usage`.
    fn usage(&self) -> String;
    /// `GET /v1/status`.
    fn status(&self) -> String;
    /// `GET /v1/requests/{id}`, of those that came with the virtual key `key`, where there is one;
    /// `None` when there is no such request.
    fn request(&self, id: &str, key: Option<&str>) -> Option<String>;
    /// `GET /v1/quota`.
    fn quota(&self) -> String;
    /// `GET /metrics`.
    fn metrics(&self) -> String;
    /// `GET /health`.
    fn health(&self) -> String;
}

/// The views over the books of this process.
pub struct Books {
    /// The facts, as the last reload left them.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Quota.
    pub ledger: Arc<Ledger>,
    /// Who is well.
    pub breakers: Arc<Breakers>,
    /// What was spent.
    pub usage: Arc<UsageBook>,
    /// What is counted for Prometheus.
    pub metrics: Arc<Metrics>,
    /// How fast models are.
    pub latencies: Arc<Latencies>,
    /// What happened to the last requests.
    pub traces: Arc<Traces>,
    /// The order in force.
    pub strategies: Arc<ArcSwap<select::Params>>,
    /// How fast it is being spent.
    pub pace: Arc<Pace>,
    /// The time.
    pub clock: SharedClock,
}

impl Views for Books {
    fn models(&self, kind: Option<&str>, scale: Option<&str>) -> String {
        json(&models::list(self, kind, scale))
    }

    fn model(&self, id: &str) -> Option<String> {
        models::one(self, id).map(|it| json(&it))
    }

    fn known_model(&self, name: &str) -> Result<String, Vec<String>> {
        select::canonical(&self.catalog.load(), name).map_err(|it| it.closest)
    }

    fn usage(&self) -> String {
        json(&usage::view(self))
    }

    fn status(&self) -> String {
        json(&pool::view(self))
    }

    fn request(&self, id: &str, key: Option<&str>) -> Option<String> {
        self.traces.find(id, key)
    }

    fn quota(&self) -> String {
        json(&quota::view(self))
    }

    fn metrics(&self) -> String {
        self.metrics.text(pool::quota_left(self))
    }

    fn health(&self) -> String {
        let catalog = self.catalog.load();
        let models = catalog.models().filter(|(_, it)| it.successor.is_none()).count();
        json(&Health {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.clock.now().monotonic.as_secs(),
            providers: catalog.providers().len(),
            models,
        })
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    providers: usize,
    models: usize,
}

/// These documents hold strings, numbers and maps with string keys, so writing them cannot fail.
fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}
