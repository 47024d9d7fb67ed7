//! Names, filters and walks over small catalogs, in no time at all.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::breaker::Breakers;
use crate::breaker::Outcome;
use crate::breaker::Path;
use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::ImageLimits;
use crate::catalog::Key;
use crate::catalog::Kind;
use crate::catalog::Limit;
use crate::catalog::Model;
use crate::catalog::Period;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::openai::ChatRequest;
use crate::quota::AsOf;
use crate::quota::Demand;
use crate::quota::Ledger;
use crate::quota::Observation;
use crate::quota::TargetBooks;
use crate::select::Asked;
use crate::select::Gates;
use crate::select::Latencies;
use crate::select::Needs;
use crate::select::Params;
use crate::select::Selector;
use crate::select::Strategy;
use crate::select::eligible;
use crate::select::holds;
use crate::select::prompt_budget;
use crate::select::resolve;

/// A provider with `keys` keys and a model for each name, changed by `change`.
fn provider(
    ids: &mut IdBook,
    name: &str,
    keys: usize,
    models: &[&str],
    change: impl Fn(&mut Model),
) -> Provider {
    let keys: Vec<Key> = (0..keys)
        .map(|i| {
            let secret = format!("{name}-{i}");
            let (id, account) = (ids.key(name, &secret), ids.account(name, &secret));
            Key { id, account, secret: None, label: "…".into(), group: None }
        })
        .collect();
    let model = |model: &&str| {
        let id = ids.model(name, model);
        let mut it = Model {
            id,
            name: (*model).into(),
            routable: format!("{name}/{model}").into(),
            kind: "text".into(),
            scale: Scale::Medium,
            vision: false,
            limits: Vec::new(),
            scope: QuotaScope::Model,
            reset: Reset::Rolling,
            max_context: None,
            images: ImageLimits::default(),
            capabilities: HashMap::new(),
            weight: None,
            max_concurrent: None,
            failed_requests_count: false,
            reserves_max_tokens: false,
            privacy: Privacy::Unknown,
            privacy_source: None,
            last_verified: None,
            first_token_timeout: None,
            found: false,
            successor: None,
            targets: keys.iter().map(|key| ids.target(key.id, id)).collect(),
        };
        change(&mut it);
        it
    };
    let models = models.iter().map(model).collect();
    Provider {
        id: ids.provider(name),
        name: name.into(),
        kind: Kind::OpenAi,
        base_url: "http://localhost".into(),
        synonyms: if name == "Gamma" { &["NIM"] } else { &[] },
        privacy: Privacy::default(),
        keys,
        models,
    }
}

/// A pool with its books.
struct Bench {
    selector: Selector,
    ledger: Ledger,
    breakers: Arc<Breakers>,
    latencies: Latencies,
    rng: fastrand::Rng,
    now: Now,
}

/// What every request of these tests takes.
fn demand(_: &Model) -> Demand {
    Demand { requests: 1, tokens: 1 }
}

impl Bench {
    /// What a walk is made with.
    fn open(&mut self) -> (&Selector, Gates<'_>, &mut fastrand::Rng) {
        let gates = Gates {
            ledger: &self.ledger,
            breakers: &self.breakers,
            latencies: &self.latencies,
            demand: &demand,
            pardoned: None,
            now: self.now,
        };
        (&self.selector, gates, &mut self.rng)
    }

    fn new(
        providers: Vec<Provider>,
        provider_strategy: Strategy,
        model_strategy: Strategy,
    ) -> Self {
        let catalog = Arc::new(Catalog::new(providers));
        let ledger = Ledger::new();
        ledger.configure(catalog.targets().map(TargetBooks::from), Now::default());
        Self {
            selector: Selector::new(catalog, Params { provider_strategy, model_strategy }),
            ledger,
            breakers: Arc::new(Breakers::new()),
            latencies: Latencies::default(),
            rng: fastrand::Rng::with_seed(7),
            now: Now { monotonic: Duration::from_secs(1000), unix_ms: 1_795_176_000_000 },
        }
    }

    /// The first `n` targets of one request's walk.
    fn walk(&mut self, asked: &Asked, home: Option<(usize, usize)>, n: usize) -> Vec<TargetId> {
        self.walk_past((asked, home, n), |_| false)
    }

    /// The same for a request that would rather not go to some.
    fn walk_past(
        &mut self,
        (asked, home, n): (&Asked, Option<(usize, usize)>, usize),
        rather_not: impl Fn(TargetId) -> bool,
    ) -> Vec<TargetId> {
        let (selector, gates, rng) = self.open();
        let needs = Needs::of(&request(""));
        let all = eligible(&selector.catalog, asked, &needs).unwrap();
        let mut walk = selector.walk((asked, all), home, &gates, rng);
        let next = || loop {
            let it = walk.next(selector, &gates, rng)?;
            if !(rather_not(it.target) && walk.pass_over(it)) {
                break Some(it.target);
            }
        };
        std::iter::from_fn(next).take(n).collect()
    }

    fn first(&mut self, asked: &Asked) -> Option<TargetId> {
        self.walk(asked, None, 1).first().copied()
    }

    /// How often each target comes first in `n` requests, under its routable name.
    fn count(&mut self, asked: &Asked, n: usize) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for _ in 0..n {
            if let Some(target) = self.first(asked) {
                *counts.entry(self.name(target)).or_insert(0) += 1;
            }
        }
        counts
    }

    fn name(&self, target: TargetId) -> String {
        self.selector.catalog.target(target).unwrap().model.routable.to_string()
    }

    fn path(&self, target: TargetId) -> Path {
        let it = self.selector.catalog.target(target).unwrap();
        Path { provider: it.provider.id, key: it.key.id, model: it.model.id, target }
    }
}

fn request(members: &str) -> ChatRequest {
    let body = format!(r#"{{{members}"messages":[{{"role":"user","content":"hi"}}]}}"#);
    ChatRequest::parse(&Bytes::from(body)).unwrap()
}

fn three_providers() -> Vec<Provider> {
    let mut ids = IdBook::default();
    vec![
        provider(&mut ids, "Alpha", 1, &["a1", "a2"], |_| ()),
        provider(&mut ids, "Beta", 2, &["b1", "openai/x"], |_| ()),
        provider(&mut ids, "Gamma", 1, &["openai/x"], |_| ()),
    ]
}

#[test]
fn who_is_passed_over_comes_after_all_others() {
    for strategy in [Strategy::RoundRobin, Strategy::Random, Strategy::Weighted] {
        let mut bench = Bench::new(three_providers(), strategy, strategy);
        let all: BTreeSet<TargetId> = bench.walk(&Asked::Any, None, 99).into_iter().collect();
        assert_eq!(all.len(), 7);
        for last in &all {
            let order = bench.walk_past((&Asked::Any, None, 99), |it| it == *last);
            assert_eq!((order.len(), order.last()), (7, Some(last)), "{strategy:?}");
            let order = bench.walk_past((&Asked::Any, None, 99), |it| it != *last);
            assert_eq!((order.len(), order.first()), (7, Some(last)), "{strategy:?}");
            assert_eq!(order.into_iter().collect::<BTreeSet<_>>(), all, "{strategy:?}");
        }
    }
}

#[test]
fn a_model_that_is_blamed_comes_last_among_those_that_were_passed_over() {
    let mut ids = IdBook::default();
    let pool = vec![provider(&mut ids, "Alpha", 3, &["a1", "a2"], |_| ())];
    let mut bench = Bench::new(pool, Strategy::RoundRobin, Strategy::RoundRobin);
    let (selector, gates, rng) = bench.open();
    let all = eligible(&selector.catalog, &Asked::Any, &Needs::of(&request(""))).unwrap();
    let mut walk = selector.walk((&Asked::Any, all), None, &gates, rng);
    let mut order = Vec::new();
    while let Some(it) = walk.next(selector, &gates, rng) {
        if !walk.pass_over(it) {
            order.push(it.target);
            walk.blame_model();
        }
    }
    let models: Vec<String> = order.into_iter().map(|it| bench.name(it)).collect();
    assert_eq!(models.len(), 6);
    assert_ne!(models[0], models[1], "the other model is asked before the keys of the first");
}

#[test]
fn names_stand_for_what_the_contract_says() {
    let catalog = Catalog::new(three_providers());
    let direct = |provider: &str, model: &str| Asked::Direct {
        provider: provider.into(),
        model: model.into(),
        instead_of: None,
    };
    let check = |name: Option<&str>, expected: &Asked| {
        assert_eq!(resolve(&catalog, name).as_ref(), Ok(expected), "{name:?}");
    };
    for any in ["meta-model", "auto", "free", "relay", "freerelay-auto"] {
        check(Some(any), &Asked::Any);
    }
    check(None, &Asked::Any);
    check(Some("free-fast"), &Asked::Fast);
    check(Some("free-smart"), &Asked::Smart);
    check(Some("Alpha/a1"), &direct("Alpha", "a1"));
    check(Some("ALPHA/a1"), &direct("Alpha", "a1"));
    check(Some("beta/openai/x"), &direct("Beta", "openai/x"));
    check(Some("nim/openai/x"), &direct("Gamma", "openai/x"));
    check(Some("openai/x"), &Asked::Named("openai/x".into()));
    check(Some("a2"), &Asked::Named("a2".into()));
}

#[test]
fn unknown_names_come_with_the_closest() {
    let catalog = Catalog::new(three_providers());
    let closest = |name: &str| resolve(&catalog, Some(name)).unwrap_err().closest;
    assert_eq!(closest("alpha/a3").first().map(String::as_str), Some("Alpha/a1"));
    assert_eq!(closest("meta-modle").first().map(String::as_str), Some("meta-model"));
    // Names are exact: neither case nor a part will do.
    for name in ["A1", "openai", "/", "", "Alpha/", "/a1", "a1 ", "Älpha/a1", &"x/".repeat(9000)] {
        assert!(!closest(name).is_empty(), "{name}");
    }
}

#[test]
fn a_retired_name_goes_to_its_successor() {
    let mut ids = IdBook::default();
    let old = provider(&mut ids, "Alpha", 1, &["new", "old"], |it| {
        if &*it.name == "old" {
            it.successor = Some("new".into());
        }
    });
    let mut bench = Bench::new(vec![old], Strategy::RoundRobin, Strategy::RoundRobin);
    for name in ["alpha/old", "old"] {
        let asked = resolve(&bench.selector.catalog, Some(name)).unwrap();
        let Asked::Direct { model, instead_of, .. } = &asked else { panic!("{asked:?}") };
        assert_eq!((&**model, instead_of.as_deref()), ("new", Some("Alpha/old")));
    }
    let counts = bench.count(&Asked::Any, 10);
    assert_eq!(counts, HashMap::from([("Alpha/new".to_owned(), 10)]));
}

#[test]
fn a_retired_name_that_two_providers_share_goes_to_one_successor() {
    let mut ids = IdBook::default();
    let retired = |it: &mut Model| {
        if &*it.name == "old" {
            it.successor = Some("new".into());
        }
    };
    let pool = ["Alpha", "Beta"].map(|it| provider(&mut ids, it, 1, &["new", "old"], retired));
    let mut bench = Bench::new(pool.into(), Strategy::RoundRobin, Strategy::RoundRobin);
    let asked = resolve(&bench.selector.catalog, Some("old")).unwrap();
    let first = bench.first(&asked).unwrap();
    assert_eq!(bench.name(first), "Alpha/new");
}

#[test]
fn a_key_that_somebody_else_uses_is_asked_when_no_other_has_quota() {
    let mut ids = IdBook::default();
    let alpha = provider(&mut ids, "Alpha", 3, &["m"], |it| {
        it.limits = vec![Limit { unit: Unit::Requests, period: Period::Minute, max: 10 }];
    });
    let keys = alpha.models[0].targets.clone();
    let mut bench = Bench::new(vec![alpha], Strategy::RoundRobin, Strategy::RoundRobin);
    let told = Observation {
        unit: Unit::Requests,
        period: Period::Minute,
        limit: Some(10),
        remaining: Some(8),
        reset_at: None,
        refills_evenly: false,
        account_wide: false,
    };
    bench.ledger.learn(keys[1], told, &AsOf::default(), bench.now);
    for _ in 0..2 {
        assert_eq!(bench.walk(&Asked::Any, None, 3), [0, 2, 1].map(|it| keys[it]));
    }
    let ten = Demand { requests: 10, tokens: 0 };
    for key in [0, 2] {
        bench.ledger.reserve(keys[key], ten, bench.now).unwrap().settle(0);
    }
    assert_eq!(bench.first(&Asked::Any), Some(keys[1]));
    // Ten minutes after it was noticed last it is one like the others.
    bench.now = bench.now.plus(Duration::from_secs(600));
    let firsts: Vec<_> = (0..3).filter_map(|_| bench.first(&Asked::Any)).collect();
    assert!(keys.iter().all(|it| firsts.contains(it)), "{firsts:?}");
}

#[test]
fn filters_name_what_leaves_nothing() {
    let mut ids = IdBook::default();
    let alpha = provider(&mut ids, "Alpha", 1, &["text", "coder", "eyes"], |it| match &*it.name {
        "coder" => {
            it.kind = "coding".into();
            it.capabilities.insert("tools".to_owned(), false);
        }
        "eyes" => (it.vision, it.scale) = (true, Scale::Large),
        _ => {}
    });
    let catalog = Catalog::new(vec![alpha]);
    let check = |members: &str, expected: Result<&[&str], &str>| {
        let found = eligible(&catalog, &Asked::Any, &Needs::of(&request(members)));
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let models = &catalog.providers()[0].models;
                let names: Vec<_> = found.iter().map(|(_, m)| &*models[*m].name).collect();
                assert_eq!(names, expected, "{members}");
            }
            (Err(error), Err(param)) => {
                assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{members}");
            }
            (found, _) => panic!("{members}: {found:?}"),
        }
    };
    check("", Ok(&["text", "coder", "eyes"]));
    check(r#""model_type":"Coding","#, Ok(&["coder"]));
    check(r#""model_type":"poetry","#, Err("model_type"));
    check(r#""model_scale":"large","#, Ok(&["eyes"]));
    check(r#""model_scale":"huge","#, Err("model_scale"));
    check(r#""model_name":"CODE","#, Ok(&["coder"]));
    check(r#""model_name":"gpt","#, Err("model_name"));
    check(r#""model_type":"coding","model_scale":"large","#, Err("model_scale"));
    check(r#""tools":[{"type":"function"}],"#, Ok(&["text", "eyes"]));
    check(r#""model_type":"coding","tools":[{}],"#, Err("tools"));
}

#[test]
fn budgets_leave_room_for_the_answer() {
    let mut ids = IdBook::default();
    let mut check = |bounds: [Option<u64>; 3], max: Option<u64>, expected| {
        let [context, window, told] = bounds;
        let limit = |max| Limit { unit: Unit::Tokens, period: Period::Minute, max };
        let it = provider(&mut ids, "A", 1, &["a"], |it| {
            it.max_context = context;
            it.limits = window.map(limit).into_iter().collect();
        });
        let holds = holds(&it.models[0], told);
        assert_eq!(holds.map(|it| prompt_budget(it, max, 1024)), expected);
    };
    check([None, None, None], Some(5), None);
    check([Some(8000), None, None], None, Some(8000 - 1024));
    check([Some(1000), None, None], None, Some(750));
    check([Some(8000), Some(6000), None], Some(100), Some(5900));
    check([Some(8000), Some(6000), Some(5000)], Some(100), Some(4900));
    check([None, None, Some(5000)], Some(100), Some(4900));
    check([Some(8000), None, None], Some(100_000), Some(4000));
}

#[test]
fn round_robin_is_exactly_fair() {
    let mut bench = Bench::new(three_providers(), Strategy::RoundRobin, Strategy::RoundRobin);
    let counts = bench.count(&Asked::Any, 60);
    let expected = [("Alpha/a1", 10), ("Alpha/a2", 10), ("Beta/b1", 10), ("Beta/openai/x", 10)];
    for (name, n) in expected {
        assert_eq!(counts.get(name), Some(&n), "{name} of {counts:?}");
    }
    assert_eq!(counts.get("Gamma/openai/x"), Some(&20));
}

#[test]
fn round_robin_is_fair_between_threads() {
    let bench = Bench::new(three_providers(), Strategy::RoundRobin, Strategy::RoundRobin);
    let bench = std::sync::Mutex::new(bench);
    // Walks of different requests overlap: each is begun before the others have chosen.
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..30 {
        let mut bench = bench.lock().unwrap();
        let bench = &mut *bench;
        let (selector, gates, rng) = bench.open();
        let all = eligible(&selector.catalog, &Asked::Any, &Needs::of(&request(""))).unwrap();
        let mut walks: Vec<_> =
            (0..3).map(|_| selector.walk((&Asked::Any, all.clone()), None, &gates, rng)).collect();
        for walk in &mut walks {
            let target = walk.next(selector, &gates, rng).unwrap().target;
            let it = selector.catalog.target(target).unwrap();
            *counts.entry(it.provider.name.to_string()).or_default() += 1;
        }
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [30, 30, 30], "{counts:?}");
}

#[test]
fn a_failover_tries_another_provider_first() {
    let mut bench = Bench::new(three_providers(), Strategy::RoundRobin, Strategy::RoundRobin);
    let names: Vec<String> =
        bench.walk(&Asked::Any, None, 99).into_iter().map(|it| bench.name(it)).collect();
    let providers: Vec<&str> = names.iter().map(|it| it.split('/').next().unwrap()).collect();
    assert_eq!(providers, ["Alpha", "Beta", "Gamma", "Alpha", "Beta", "Beta", "Beta"]);
}

#[test]
fn random_covers_all_and_weighted_follows_its_weights() {
    let mut random = Bench::new(three_providers(), Strategy::Random, Strategy::Random);
    assert_eq!(random.count(&Asked::Any, 500).len(), 5);

    let mut ids = IdBook::default();
    let weighted = provider(&mut ids, "Alpha", 1, &["one", "three"], |it| {
        it.weight = Some(if &*it.name == "three" { 3.0 } else { 1.0 });
    });
    let mut bench = Bench::new(vec![weighted], Strategy::RoundRobin, Strategy::Weighted);
    let n = 4000;
    let three = bench.count(&Asked::Any, n)["Alpha/three"];
    // 3 sigma of a binomial with p = 3/4.
    let (mean, sigma) = (3000.0, (4000.0_f64 * 0.75 * 0.25).sqrt());
    let three = f64::from(u32::try_from(three).unwrap());
    assert!((three - mean).abs() < 3.0 * sigma, "{three}");
}

#[test]
fn a_bucket_that_models_or_keys_share_weighs_once() {
    let minute = |max| vec![Limit { unit: Unit::Requests, period: Period::Minute, max }];
    let check = |change: fn(&mut Provider), keys| {
        let mut ids = IdBook::default();
        let mut shared = provider(&mut ids, "Alpha", keys, &["a", "b", "c"], |it| {
            (it.limits, it.scope) = (minute(600), QuotaScope::Account);
        });
        change(&mut shared);
        let alone = provider(&mut ids, "Beta", 1, &["d"], |it| it.limits = minute(600));
        let pool = vec![shared, alone];
        let mut bench = Bench::new(pool, Strategy::Weighted, Strategy::Weighted);
        let counts = bench.count(&Asked::Any, 2_000);
        // 4 sigma of a binomial with p = 1/2.
        assert!((910..1_090).contains(&counts["Beta/d"]), "{counts:?}");
    };
    check(|_| {}, 1);
    let one_account = |it: &mut Provider| {
        let account = it.keys[0].account;
        it.keys.iter_mut().for_each(|key| key.account = account);
    };
    check(one_account, 3);
}

#[test]
fn fast_explores_then_prefers_the_fastest_and_smart_the_largest() {
    let mut ids = IdBook::default();
    let alpha = provider(&mut ids, "Alpha", 1, &["a", "b"], |it| {
        if &*it.name == "b" {
            (it.scale, it.max_context) = (Scale::Large, Some(1000));
        }
    });
    let beta = provider(&mut ids, "Beta", 1, &["c"], |it| {
        (it.scale, it.max_context) = (Scale::Large, Some(200_000));
    });
    let mut bench = Bench::new(vec![alpha, beta], Strategy::RoundRobin, Strategy::RoundRobin);
    let names = |bench: &mut Bench, asked: &Asked| -> Vec<String> {
        bench.walk(asked, None, 9).into_iter().map(|it| bench.name(it)).collect()
    };
    assert_eq!(names(&mut bench, &Asked::Smart), ["Beta/c", "Alpha/b", "Alpha/a"]);
    let id = |bench: &Bench, p: usize, m: usize| bench.selector.catalog.providers()[p].models[m].id;
    bench.latencies.observe(id(&bench, 0, 0), Duration::from_millis(300));
    bench.latencies.observe(id(&bench, 0, 1), Duration::from_millis(100));
    assert_eq!(names(&mut bench, &Asked::Fast), ["Beta/c", "Alpha/b", "Alpha/a"]);
    bench.latencies.observe(id(&bench, 1, 0), Duration::from_millis(200));
    assert_eq!(names(&mut bench, &Asked::Fast), ["Alpha/b", "Beta/c", "Alpha/a"]);
}

#[test]
fn the_sessions_home_goes_first_while_it_can() {
    let mut bench = Bench::new(three_providers(), Strategy::RoundRobin, Strategy::RoundRobin);
    for _ in 0..4 {
        let walked = bench.walk(&Asked::Any, Some((2, 0)), 9);
        assert_eq!(bench.name(walked[0]), "Gamma/openai/x");
        // It is not offered a second time.
        assert_eq!(walked.iter().filter(|it| **it == walked[0]).count(), 1);
        assert_eq!(walked.len(), 7);
    }
    let home = bench.walk(&Asked::Any, Some((2, 0)), 1)[0];
    let pass = bench.breakers.enter(&bench.path(home), bench.now).unwrap();
    let until = bench.now.monotonic + Duration::from_secs(5);
    pass.report(Outcome::Throttled { until }, bench.now);
    assert_ne!(bench.walk(&Asked::Any, Some((2, 0)), 1)[0], home);
}

#[test]
fn spent_quota_and_open_breakers_are_passed_over() {
    let mut ids = IdBook::default();
    let limited = provider(&mut ids, "Alpha", 2, &["a"], |it| {
        it.limits = vec![Limit { unit: Unit::Requests, period: Period::Minute, max: 1 }];
    });
    let mut bench = Bench::new(vec![limited], Strategy::RoundRobin, Strategy::RoundRobin);
    let mut held = Vec::new();
    for _ in 0..2 {
        let target = bench.first(&Asked::Any).unwrap();
        let demand = Demand { requests: 1, tokens: 0 };
        held.push(bench.ledger.reserve(target, demand, bench.now).unwrap());
    }
    assert_eq!(bench.first(&Asked::Any), None);
    held.pop();
    assert!(bench.first(&Asked::Any).is_some());
}

proptest! {
    #[test]
    fn resolving_any_name_is_safe(name in ".{0,300}") {
        let catalog = Catalog::new(three_providers());
        if let Err(it) = resolve(&catalog, Some(&name)) {
            prop_assert!(it.closest.len() <= 5);
        }
    }
}
