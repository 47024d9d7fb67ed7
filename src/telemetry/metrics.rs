//! Counters and gauges in Prometheus' text form.
//!
//! Labels are names from the configuration and fixed words: never a key, never a caller's text.
//! Their number is bounded by providers x models x outcomes.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustc_hash::FxHashMap;

/// Upper bounds of the time to the first token, in seconds: from a quick local model to a provider
/// that queues for minutes.
const FIRST_TOKEN_SECONDS: [f64; 12] =
    [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Known<Ending, Counter>,
    attempts: Known<Ending, Counter>,
    first_token: Known<Target, Histogram, fn() -> Histogram>,
    open_streams: Gauge,
    quota_left: Family<Quota, Gauge>,
    /// Held while the quota is filled in and written, so that no scrape sees another's half.
    scrape: Mutex<()>,
}

/// A name that is shared rather than copied into each label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name(Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        // The crate writes values as they are; the text form wants these three escaped.
        if !self.0.contains(['"', '\\', '\n']) {
            return (&*self.0).encode(encoder);
        }
        let escaped = self.0.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        escaped.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    provider: Name,
    model: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    provider: Name,
    model: Name,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Quota {
    provider: Name,
    model: Name,
    key: u64,
    unit: &'static str,
    period: &'static str,
}

/// The metrics of a family that were asked for before. The family finds them by a hash that no caller
/// can play with, which takes longer than all else that is done to count; these labels are names from
/// the configuration.
#[derive(Debug)]
struct Known<S, M, C = fn() -> M> {
    family: Family<S, M, C>,
    found: RwLock<FxHashMap<S, M>>,
}

impl<S: Clone + Eq + Hash, M: Clone, C: MetricConstructor<M>> Known<S, M, C> {
    fn get(&self, labels: &S) -> M {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = found.get(labels) {
            return metric.clone();
        }
        drop(found);
        let metric = self.family.get_or_create(labels).clone();
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        found.insert(labels.clone(), metric.clone());
        metric
    }
}

impl<S, M, C> From<Family<S, M, C>> for Known<S, M, C> {
    fn from(family: Family<S, M, C>) -> Self {
        Self { family, found: RwLock::default() }
    }
}

/// What is left of one limit.
#[derive(Clone, Debug)]
pub struct QuotaLeft {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model's name.
    pub model: Arc<str>,
    /// The key's place in the configuration, from 1: the key itself is nobody's business.
    pub key: u64,
    /// `requests` or `tokens`.
    pub unit: &'static str,
    /// `second`, `minute`, `hour`, `day` or `month`.
    pub period: &'static str,
    /// Units left.
    pub left: u64,
}

/// Counts as an open stream while it lives.
#[derive(Debug)]
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("relay");
        let requests: Family<Ending, Counter> = Family::default();
        registry.register(
            "requests",
            "Chat requests by who was asked last and how they ended",
            requests.clone(),
        );
        let attempts: Family<Ending, Counter> = Family::default();
        registry.register("attempts", "Upstream calls and how they ended", attempts.clone());
        let histogram: fn() -> Histogram = || Histogram::new(FIRST_TOKEN_SECONDS);
        let first_token = Family::new_with_constructor(histogram);
        registry.register(
            "first_token_seconds",
            "Time from an upstream call to its first content, or to a whole answer",
            first_token.clone(),
        );
        let open_streams = Gauge::default();
        registry.register("open_streams", "Streams under way", open_streams.clone());
        let quota_left = Family::default();
        registry.register(
            "quota_left",
            "Units left of each known limit; key is the key's place in the configuration",
            quota_left.clone(),
        );
        Self {
            registry,
            requests: requests.into(),
            attempts: attempts.into(),
            first_token: first_token.into(),
            open_streams,
            quota_left,
            scrape: Mutex::default(),
        }
    }

    /// A chat request has ended. `target` is the provider and model that were asked last; empty
    /// names when none was.
    pub fn request(&self, target: (&Arc<str>, &Arc<str>), outcome: &'static str) {
        self.requests.get(&ending(target, outcome)).inc();
    }

    /// An upstream call has ended.
    pub fn attempt(&self, target: (&Arc<str>, &Arc<str>), outcome: &'static str) {
        self.attempts.get(&ending(target, outcome)).inc();
    }

    /// An upstream call has given its first content.
    pub fn first_token(&self, (provider, model): (&Arc<str>, &Arc<str>), after: Duration) {
        let target =
            Target { provider: Name(Arc::clone(provider)), model: Name(Arc::clone(model)) };
        self.first_token.get(&target).observe(after.as_secs_f64());
    }

    /// A stream has begun.
    pub fn stream(&self) -> OpenStream {
        self.open_streams.inc();
        OpenStream(self.open_streams.clone())
    }

    /// Everything in Prometheus' text form, with `quota` as it is now.
    pub fn text(&self, quota: impl IntoIterator<Item = QuotaLeft>) -> String {
        let _scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.quota_left.clear();
        for it in quota {
            let labels = Quota {
                provider: Name(it.provider),
                model: Name(it.model),
                key: it.key,
                unit: it.unit,
                period: it.period,
            };
            let left = i64::try_from(it.left).unwrap_or(i64::MAX);
            self.quota_left.get_or_create(&labels).set(left);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn ending((provider, model): (&Arc<str>, &Arc<str>), outcome: &'static str) -> Ending {
    Ending { provider: Name(Arc::clone(provider)), model: Name(Arc::clone(model)), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let metrics = Metrics::new();
        let (provider, model): (Arc<str>, Arc<str>) = ("p".into(), "m\"x".into());
        metrics.request((&provider, &model), "answered");
        metrics.attempt((&provider, &model), "timeout");
        metrics.first_token((&provider, &model), Duration::from_millis(300));
        let open = metrics.stream();
        let left = QuotaLeft {
            provider: Arc::clone(&provider),
            model: Arc::clone(&model),
            key: 1,
            unit: "requests",
            period: "day",
            left: 7,
        };
        let text = metrics.text([left]);
        for line in [
            r#"relay_requests_total{provider="p",model="m\"x",outcome="answered"} 1"#,
            r#"relay_attempts_total{provider="p",model="m\"x",outcome="timeout"} 1"#,
            r#"relay_first_token_seconds_bucket{le="0.35",provider="p",model="m\"x"} 1"#,
            "relay_open_streams 1",
            r#"relay_quota_left{provider="p",model="m\"x",key="1",unit="requests",period="day"} 7"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        drop(open);
        let text = metrics.text([]);
        assert!(text.contains("relay_open_streams 0") && !text.contains("quota_left{"), "{text}");
    }
}
