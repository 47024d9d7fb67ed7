//! Choosing a target among 1,000 models with 3 keys each. The goal is under 50 µs.
//!
//! `cargo bench --bench select`

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use relayfreellm::breaker::Breakers;
use relayfreellm::catalog::{
    Catalog, IdBook, ImageLimits, Key, Kind, Limit, Model, Period, Privacy, Provider, QuotaScope,
    Reset, Scale, Unit,
};
use relayfreellm::clock::Now;
use relayfreellm::openai::ChatRequest;
use relayfreellm::quota::{Demand, Ledger, TargetBooks};
use relayfreellm::select::{Asked, Gates, Latencies, Needs, Params, Selector, Strategy, eligible};

const PROVIDERS: usize = 20;
const MODELS: usize = 50;
const KEYS: usize = 3;

fn catalog() -> Catalog {
    let mut ids = IdBook::default();
    let providers = (0..PROVIDERS).map(|p| {
        let name = format!("provider-{p}");
        let keys: Vec<Key> = (0..KEYS)
            .map(|k| {
                let secret = format!("{name}-{k}");
                Key {
                    id: ids.key(&name, &secret),
                    account: ids.account(&name, &secret),
                    group: None,
                    secret: None,
                    label: "…".into(),
                }
            })
            .collect();
        let limit = |unit, period, max| Limit { unit, period, max };
        let models = (0..MODELS).map(|m| {
            let model = format!("model-{m}");
            let id = ids.model(&name, &model);
            Model {
                id,
                name: model.as_str().into(),
                routable: format!("{name}/{model}").into(),
                kind: "text".into(),
                scale: Scale::Medium,
                vision: false,
                limits: vec![
                    limit(Unit::Requests, Period::Minute, 30),
                    limit(Unit::Requests, Period::Day, 1000),
                    limit(Unit::Tokens, Period::Minute, 8000),
                ],
                scope: QuotaScope::Model,
                reset: Reset::Rolling,
                max_context: Some(131_072),
                images: ImageLimits::default(),
                capabilities: HashMap::new(),
                weight: None,
                max_concurrent: None,
                failed_requests_count: false,
                reserves_max_tokens: false,
                privacy: Privacy::Unknown,
                privacy_source: None,
                last_verified: None,
                found: false,
                first_token_timeout: None,
                successor: None,
                targets: keys.iter().map(|key| ids.target(key.id, id)).collect(),
            }
        });
        let models = models.collect();
        Provider {
            id: ids.provider(&name),
            name: name.as_str().into(),
            kind: Kind::OpenAi,
            base_url: "http://localhost".into(),
            synonyms: &[],
            privacy: Privacy::default(),
            keys,
            models,
        }
    });
    Catalog::new(providers.collect())
}

fn books(catalog: &Catalog) -> impl Iterator<Item = TargetBooks> + '_ {
    catalog.targets().map(TargetBooks::from)
}

#[expect(clippy::expect_used, reason = "a benchmark may stop")]
fn select(c: &mut Criterion) {
    let catalog = Arc::new(catalog());
    let ledger = Ledger::new();
    ledger.configure(books(&catalog), Now::default());
    let (breakers, latencies) = (Breakers::new(), Latencies::default());
    let body = br#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let request = ChatRequest::parse(&body.as_slice().into()).expect("a good request");
    let mut rng = fastrand::Rng::with_seed(1);
    for (name, strategy) in [
        ("round robin", Strategy::RoundRobin),
        ("random", Strategy::Random),
        ("weighted", Strategy::Weighted),
    ] {
        let params = Params { provider_strategy: strategy, model_strategy: strategy };
        let selector = Selector::new(Arc::clone(&catalog), params);
        let demand = |_: &Model| Demand { requests: 1, tokens: 100 };
        let gates = Gates {
            ledger: &ledger,
            breakers: &breakers,
            latencies: &latencies,
            demand: &demand,
            pardoned: None,
            now: Now::default(),
        };
        c.bench_function(&format!("select 1,000 models x 3 keys, {name}"), |b| {
            b.iter(|| {
                let all = eligible(&catalog, &Asked::Any, &Needs::of(&request)).expect("models");
                let mut walk = selector.walk((&Asked::Any, all), None, &gates, &mut rng);
                black_box(walk.next(&selector, &gates, &mut rng))
            });
        });
    }
}

criterion_group!(benches, select);
criterion_main!(benches);
