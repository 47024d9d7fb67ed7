//! Journeys over scripted providers in virtual time: minutes of waiting pass in no time.

mod line;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::breaker::Breakers;
use crate::breaker::Scope;
use crate::callers::Callers;
use crate::callers::Terms;
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
use crate::catalog::ProviderId;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::clock::SharedClock;
use crate::clock::VirtualClock;
use crate::context;
use crate::dispatch::Books;
use crate::dispatch::Dispatcher;
use crate::dispatch::Params;
use crate::dispatch::Pool;
use crate::dispatch::Settlement;
use crate::dispatch::outcome::Answer;
use crate::dispatch::outcome::ChatCall;
use crate::dispatch::outcome::ChatService;
use crate::dispatch::outcome::Event;
use crate::dispatch::outcome::Failure;
use crate::dispatch::outcome::Requirements;
use crate::dispatch::outcome::Route;
use crate::dispatch::outcome::RouteReason;
use crate::dispatch::outcome::Who;
use crate::normalize;
use crate::openai::ChatRequest;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Unmet;
use crate::provider::Whole;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::quota::Ledger;
use crate::quota::TargetBooks;
use crate::select;
use crate::select::Latencies;
use crate::select::Selector;
use crate::session;
use crate::session::Sessions;
use crate::telemetry::Metrics;
use crate::usage::UsageBook;

/// What a scripted provider does with one call.
enum Act {
    /// Answers after so many seconds.
    Answer(u64),
    Fail(FaultKind),
    /// 429, to come back after so many milliseconds.
    Throttle(u64),
    /// The same, said after so many seconds.
    ThrottleLate(u64, u64),
    /// Takes the request and never answers.
    Hang,
    /// Never gets a connection.
    HangUnsent,
    Panic,
    /// These texts as a stream, each after so many seconds, then the end or a fault.
    Stream(Vec<(u64, &'static str)>, Option<FaultKind>),
}

/// Acts out its script, call by call, and answers when it is over.
struct Scripted(Mutex<VecDeque<Act>>, Mutex<usize>);

impl ChatProvider for Scripted {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        *self.1.lock().unwrap() += 1;
        let act = self.0.lock().unwrap().pop_front().unwrap_or(Act::Answer(0));
        Box::pin(async move {
            if !matches!(act, Act::HangUnsent) {
                call.sent.set();
            }
            match act {
                Act::Answer(seconds) => {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    let body = r#"{"id":"x","choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
                    let completion = Completion::parse(&Bytes::from_static(body.as_bytes()));
                    let completion = completion.unwrap();
                    Ok(Reply::Whole(Box::new(Whole { completion, unmet: Unmet::default() })))
                }
                Act::Fail(kind) => Err(Fault::new(kind, "as scripted")),
                Act::Throttle(ms) => Err(throttle(ms)),
                Act::ThrottleLate(seconds, ms) => {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    Err(throttle(ms))
                }
                Act::Hang | Act::HangUnsent => std::future::pending().await,
                Act::Panic => panic!("as scripted"),
                Act::Stream(texts, end) => Ok(Reply::Stream(pieces(texts, end))),
            }
        })
    }
}

fn throttle(ms: u64) -> Fault {
    let mut fault = Fault::new(FaultKind::RateLimited(None), "slow down");
    fault.retry_after = Some(Duration::from_millis(ms));
    fault
}

fn pieces(texts: Vec<(u64, &'static str)>, end: Option<FaultKind>) -> Pieces {
    let texts = futures::stream::iter(texts).then(|(seconds, text)| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let delta = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
        Ok(Chunk::parse(&Bytes::from(delta)).unwrap())
    });
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let stop = Chunk::parse(&Bytes::from_static(stop.as_bytes())).unwrap();
    let last = end.map_or(Ok(stop), |kind| Err(Fault::new(kind, "as scripted")));
    let chunks = texts.chain(futures::stream::iter([last])).boxed();
    Pieces { chunks, unmet: Unmet::default() }
}

/// A gateway's inside with scripted providers `p0`, `p1`, ... of one model `m` each.
struct Stage {
    dispatcher: Dispatcher,
    books: Books,
    actors: Vec<Arc<Scripted>>,
    catalog: Arc<Catalog>,
    clock: SharedClock,
    settlements: tokio::sync::mpsc::Receiver<Settlement>,
}

fn params() -> Params {
    Params {
        max_retries: 8,
        no_training: false,
        max_quota_wait: Duration::from_secs(10),
        stream_continuation: true,
        deadline: Duration::from_secs(120),
        timeout: Duration::from_secs(60),
        first_token_timeout: Duration::from_secs(30),
        context: context_params(),
        normalizer: normalize::Params { enabled: true },
        own_keys: Vec::new(),
    }
}

fn stage(scripts: Vec<Vec<Act>>, limits: &[Limit], params: Params) -> Stage {
    let mut ids = IdBook::default();
    let providers: Vec<Provider> =
        (0..scripts.len()).map(|i| provider(&mut ids, &format!("p{i}"), limits)).collect();
    let catalog = Arc::new(Catalog::new(providers));
    let clock: SharedClock = Arc::new(VirtualClock::starting_at(1_795_176_000_000));
    let sessions =
        session::Params { enabled: true, ttl: Duration::from_secs(3600), max_sessions: 10 };
    let books = Books {
        ledger: Arc::new(Ledger::new()),
        breakers: Arc::new(Breakers::new()),
        sessions: Arc::new(Sessions::new(sessions)),
        usage: Arc::new(UsageBook::new()),
        latencies: Arc::new(Latencies::default()),
        metrics: Arc::new(Metrics::new()),
        traces: Arc::default(),
    };
    books.ledger.configure(catalog.targets().map(TargetBooks::from), Now::default());
    let actors: Vec<Arc<Scripted>> = scripts
        .into_iter()
        .map(|it| Arc::new(Scripted(Mutex::new(it.into()), Mutex::new(0))))
        .collect();
    let clients: HashMap<ProviderId, Arc<dyn ChatProvider>> = catalog
        .providers()
        .iter()
        .zip(&actors)
        .map(|(provider, actor)| {
            let client: Arc<dyn ChatProvider> = Arc::<Scripted>::clone(actor);
            (provider.id, client)
        })
        .collect();
    let selector = Selector::new(Arc::clone(&catalog), select::Params::default());
    let pool = Pool { selector, clients };
    let (dispatcher, settlements) =
        Dispatcher::new(pool, books.clone(), Arc::clone(&clock), params);
    Stage { dispatcher, books, actors, catalog, clock, settlements }
}

fn provider(ids: &mut IdBook, name: &str, limits: &[Limit]) -> Provider {
    let (key, model) = (ids.key(name, "k"), ids.model(name, "m"));
    Provider {
        id: ids.provider(name),
        name: name.into(),
        kind: Kind::OpenAi,
        base_url: "http://localhost".into(),
        synonyms: &[],
        privacy: Privacy::default(),
        keys: vec![Key {
            id: key,
            account: ids.account(name, "k"),
            group: None,
            secret: None,
            label: "…".into(),
        }],
        models: vec![Model {
            id: model,
            name: "m".into(),
            routable: format!("{name}/m").into(),
            kind: "text".into(),
            scale: Scale::Medium,
            vision: false,
            limits: limits.to_vec(),
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
            targets: vec![ids.target(key, model)],
        }],
    }
}

fn context_params() -> context::Params {
    context::Params {
        mode: context::Mode::Static,
        apply: context::Apply::WhenNeeded,
        static_keep: 10,
        dynamic: context::Dynamic { target: 0.8, least: 0.3, most_boost: 1.5 },
        reservoir_keep: 15,
        reservoir_summary: 400,
        adaptive_summary: 200,
        summary_timeout: Duration::from_secs(2),
        answer_reserve: 1024,
        style: context::Style { enabled: false, guide: "".into(), handoff: false },
    }
}

fn call(members: &str) -> ChatCall {
    let body = format!(r#"{{{members}"messages":[{{"role":"user","content":"hello there"}}]}}"#);
    let request = ChatRequest::parse(&Bytes::from(body)).unwrap();
    ChatCall {
        request,
        session: None,
        style: None,
        normalize: true,
        who: Who::default(),
        request_id: "req_test".into(),
        key: None,
        requires: Requirements::default(),
    }
}

impl Stage {
    async fn ask(&self, members: &str) -> Result<Route, Failure> {
        match self.dispatcher.begin(call(members)).answer.await? {
            Answer::Whole { route, .. } | Answer::Stream { route, .. } => Ok(route),
        }
    }

    /// A stream's events, with its text and how it ended.
    async fn stream(&self) -> (String, Option<u16>) {
        let call = call(r#""stream":true,"#);
        let Ok(Answer::Stream { mut events, .. }) = self.dispatcher.begin(call).answer.await else {
            panic!("a stream was expected");
        };
        let mut text = String::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Comment(_)) => {}
                Ok(Event::Chunk(data)) => {
                    let chunk = Chunk::parse(&data).unwrap();
                    text.extend(chunk.choices.iter().map(|it| it.text.as_str()));
                }
                Err(error) => return (text, Some(error.status)),
            }
        }
        (text, None)
    }

    fn calls(&self, provider: usize) -> usize {
        *self.actors[provider].1.lock().unwrap()
    }

    /// Requests charged to a provider's quota.
    fn used(&self, provider: usize) -> u64 {
        let target = self.catalog.providers()[provider].models[0].targets[0];
        let windows = self.books.ledger.view(target, self.clock.now());
        windows.iter().find(|it| it.unit == Unit::Requests).map_or(0, |it| it.used)
    }

    fn seconds(&self) -> u64 {
        self.clock.now().monotonic.as_secs()
    }
}

fn a_minute(max: u64) -> Limit {
    Limit { unit: Unit::Requests, period: Period::Minute, max }
}

#[tokio::test(start_paused = true)]
async fn a_fault_moves_to_the_next_and_is_told_in_the_route() {
    for kind in [
        FaultKind::Server,
        FaultKind::Unreadable,
        FaultKind::Empty,
        FaultKind::OffSchema,
        FaultKind::NoJson,
        FaultKind::Cut,
        FaultKind::Connect,
        FaultKind::Unanswered,
        FaultKind::KeyRejected,
        FaultKind::ModelGone,
        FaultKind::ContextTooLong,
        FaultKind::NotHere,
        FaultKind::RateLimited(None),
        FaultKind::Busy,
    ] {
        let stage = stage(vec![vec![Act::Fail(kind.clone())], vec![]], &[], params());
        let route = stage.ask("").await.unwrap();
        assert_eq!((&*route.provider, route.attempts), ("p1", 2), "{kind:?}");
        assert_eq!(route.reason, RouteReason::Failover);
    }
}

#[tokio::test(start_paused = true)]
async fn what_two_call_the_callers_fault_comes_back_and_nobody_else_is_asked() {
    let refuses = || vec![Act::Fail(FaultKind::BadRequest)];
    let two = stage(vec![refuses(), refuses(), vec![]], &[], params());
    let failure = two.ask("").await.unwrap_err();
    assert_eq!((failure.error.status, two.calls(1), two.calls(2)), (400, 1, 0));
    assert_eq!(two.used(0), 0);
    let one = stage(vec![refuses(), vec![]], &[], params());
    assert_eq!(one.ask("").await.unwrap().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lone_provider_is_asked_again_after_a_passing_fault() {
    let script = vec![Act::Fail(FaultKind::Server), Act::Fail(FaultKind::Cut)];
    let lone = stage(vec![script], &[], params());
    assert_eq!(lone.ask("").await.unwrap().attempts, 3);
    let mut strict = params();
    strict.max_retries = 1;
    let script = vec![Act::Fail(FaultKind::Server), Act::Fail(FaultKind::Cut)];
    let lone = stage(vec![script], &[], strict);
    let failure = lone.ask("").await.unwrap_err();
    assert_eq!((failure.error.status, lone.calls(0)), (503, 2));
    assert_eq!(failure.error.code.as_deref(), Some("all_providers_failed"));
}

#[tokio::test(start_paused = true)]
async fn quota_is_waited_for_as_long_as_the_settings_say() {
    let second = Limit { unit: Unit::Requests, period: Period::Second, max: 1 };
    let stage = stage(vec![vec![]], &[second], params());
    for _ in 0..5 {
        assert_eq!(stage.ask("").await.unwrap().attempts, 1);
    }
    assert!((4..6).contains(&stage.seconds()), "{}", stage.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_gave_no_json_is_not_waited_for() {
    let second = Limit { unit: Unit::Requests, period: Period::Second, max: 1 };
    let any = r#""response_format":{"type":"json_object"},"#;
    let by_schema = r#""response_format":{"type":"json_schema","json_schema":{}},"#;
    let lone = stage(vec![vec![]], &[second], params());
    assert_eq!(lone.ask(any).await.unwrap().warnings, ["json-missing"]);
    let lone = stage(vec![vec![]], &[second], params());
    let error = lone.ask(by_schema).await.unwrap_err().error;
    assert_eq!((error.status, error.code.as_deref()), (503, Some("all_providers_failed")));
    assert_eq!((lone.seconds(), lone.calls(0), lone.used(0)), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn quota_beyond_the_wait_is_a_429_with_the_true_time() {
    let stage = stage(vec![vec![]], &[a_minute(1)], params());
    stage.ask("").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let failure = stage.ask("").await.unwrap_err();
    let error = failure.error;
    // The unit is kept a quarter of a second longer than the provider keeps it.
    assert_eq!(error.retry_after, Some(Duration::from_millis(40_250)));
    assert_eq!((error.status, error.retry_after_seconds()), (429, Some(41)));
    assert_eq!(error.code.as_deref(), Some("all_providers_exhausted"));
    tokio::time::sleep(error.retry_after.unwrap()).await;
    stage.ask("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_waited_for_and_is_no_fault() {
    let stage = stage(vec![vec![Act::Throttle(3_000)]], &[], params());
    let route = stage.ask("").await.unwrap();
    assert_eq!((route.attempts, stage.seconds()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn who_was_throttled_goes_on_when_another_has_found_the_provider_well() {
    let throttles = || (0..4).map(|_| Act::ThrottleLate(1, 1_000));
    let answers = (0..4).map(|_| Act::Answer(1));
    let lone = stage(vec![throttles().chain(answers).collect()], &[], params());
    for answer in futures::future::join_all((0..4).map(|_| lone.ask(""))).await {
        answer.unwrap();
    }
    assert!(lone.seconds() <= 5, "{}", lone.seconds());
}

#[tokio::test(start_paused = true)]
async fn where_all_were_throttled_it_is_a_429_though_the_time_of_one_is_over() {
    let throttled = || vec![Act::ThrottleLate(1, 300)];
    let few = Params { max_retries: 1, ..params() };
    let stage = stage(vec![throttled(), throttled()], &[], few);
    let error = stage.ask("").await.unwrap_err().error;
    assert_eq!((error.status, error.code.as_deref()), (429, Some("all_providers_exhausted")));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_without_a_time_is_waited_for_longer_each_time() {
    let untold = || Act::Fail(FaultKind::RateLimited(None));
    let stage = stage(vec![vec![untold(), untold()]], &[], params());
    let route = stage.ask("").await.unwrap();
    assert_eq!((route.attempts, stage.seconds()), (3, 2 + 4));
}

#[tokio::test(start_paused = true)]
async fn when_all_time_out_it_is_a_504_within_the_deadline() {
    let mut short = params();
    short.deadline = Duration::from_secs(70);
    let stage = stage(vec![vec![Act::Hang], vec![Act::Hang]], &[], short);
    let failure = stage.ask("").await.unwrap_err();
    assert_eq!((failure.error.status, stage.seconds()), (504, 70));
}

/// Whoever is asked with a second left, after the one before has taken nine of ten, is not slow.
#[tokio::test(start_paused = true)]
async fn who_is_asked_too_late_to_answer_is_not_to_blame() {
    let mut short = params();
    short.deadline = Duration::from_secs(10);
    let slow = |seconds| (0..4).map(|_| Act::ThrottleLate(seconds, 1_000)).collect();
    for (taken, opens) in [(9, false), (3, true)] {
        let late = (0..4).map(|_| Act::Hang).collect();
        let stage = stage(vec![slow(taken), late], &[], short.clone());
        let target = stage.catalog.providers()[1].models[0].targets[0];
        for call in 1..=4 {
            stage.ask("").await.unwrap_err();
            assert_eq!((stage.calls(0), stage.calls(1)), (call, call));
            let now = stage.clock.now();
            let open = stage.books.breakers.state(Scope::Target(target), now).until.is_some();
            assert_eq!(open, opens && call >= 3, "after {call}, with {taken} s taken");
            if open {
                break;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_token_moves_on_and_a_silent_stream_breaks_off() {
    let slow = vec![Act::Stream(vec![(40, "late")], None)];
    let stuck = vec![Act::Stream(vec![(1, "be"), (99, "never")], None)];
    let first = stage(vec![slow, stuck], &[], params());
    assert_eq!(first.stream().await, ("be".to_owned(), Some(502)));
    assert_eq!(first.seconds(), 30 + 1 + 60);
}

#[tokio::test(start_paused = true)]
async fn events_without_content_keep_a_stream_alive_for_a_while_and_not_for_ever() {
    let empty = |times: usize| (0..times).map(|_| (50, ""));
    // A model that thinks for long between two words.
    let slow = [(1, "be")].into_iter().chain(empty(3)).chain([(20, " patient")]);
    let stage = stage(vec![vec![Act::Stream(slow.collect(), None)]], &[], params());
    assert_eq!(stage.stream().await, ("be patient".to_owned(), None));
    let hollow = [(1, "be")].into_iter().chain(empty(100));
    let stage = self::stage(
        vec![vec![Act::Stream(hollow.collect(), None)]],
        &[],
        Params { stream_continuation: false, ..params() },
    );
    assert_eq!(stage.stream().await, ("be".to_owned(), Some(502)));
    assert_eq!(stage.seconds(), 1 + 3 * 60);
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_no_fault_and_the_same_is_asked_again() {
    let stage = stage(vec![vec![Act::Fail(FaultKind::Stale)], vec![]], &[a_minute(9)], params());
    let route = stage.ask("").await.unwrap();
    assert_eq!((&*route.provider, route.attempts), ("p0", 2));
    // Nobody knows whether the provider has read the first.
    assert_eq!((stage.used(0), stage.calls(1)), (2, 0));
    let target = stage.catalog.targets().next().expect("one");
    let state = stage.books.breakers.state(Scope::Target(target.id), stage.clock.now());
    assert_eq!(state, crate::breaker::Status::default());
}

#[tokio::test(start_paused = true)]
async fn before_the_first_content_a_broken_stream_is_invisible_after_it_is_not() {
    let early = vec![Act::Stream(vec![], Some(FaultKind::Cut))];
    let late = vec![Act::Stream(vec![(0, "one "), (0, "two")], Some(FaultKind::Cut))];
    let stage = stage(vec![early, late], &[], params());
    assert_eq!(stage.stream().await, ("one two".to_owned(), Some(502)));
}

#[tokio::test(start_paused = true)]
async fn who_began_another_text_is_not_asked_to_go_on_again() {
    let text = "The harbour lies between two hills, and every morning the boats go out early.";
    let cut = || Act::Stream(vec![(0, text)], Some(FaultKind::Cut));
    let other = || Act::Stream(vec![(0, "Bananas are yellow and grow in bunches.")], None);
    let script = |act: &dyn Fn() -> Act| (0..9).map(|_| act()).collect();
    let stage = stage(vec![script(&cut), script(&other)], &[], params());
    assert_eq!(stage.stream().await, (text.to_owned(), Some(502)));
    assert_eq!(stage.calls(1), 1);
    assert!(stage.calls(0) > 1, "who broke off may go on");
}

#[tokio::test(start_paused = true)]
async fn text_that_is_held_back_has_not_been_said() {
    let cut = vec![Act::Stream(vec![(0, "Su"), (0, "re!")], Some(FaultKind::Cut))];
    let whole = vec![Act::Stream(vec![(0, "Su"), (0, "re!")], None)];
    let stage = stage(vec![cut, whole], &[], params());
    assert_eq!(stage.stream().await, ("Sure!".to_owned(), None));
    assert_eq!((stage.calls(0), stage.calls(1)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_usage_is_counted_before_it_ends() {
    let stage =
        stage(vec![vec![Act::Stream(vec![(0, "Hello, "), (0, "world!")], None)]], &[], params());
    assert_eq!(stage.stream().await, ("Hello, world!".to_owned(), None));
    let total = stage.books.usage.total();
    assert_eq!((total.requests, total.completion_tokens, total.estimated_requests), (1, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_pays_only_for_what_was_sent() {
    let stage = stage(vec![vec![Act::HangUnsent, Act::Hang]], &[a_minute(9)], params());
    for (used, settled) in [(0, 0), (1, 1)] {
        let mut journey = stage.dispatcher.begin(call(""));
        let waiting = tokio::time::timeout(Duration::from_secs(5), &mut journey.answer).await;
        assert!(waiting.is_err());
        drop(journey);
        assert_eq!((stage.used(0), stage.settlements.len()), (used, settled));
    }
    // Nobody settles what waits here, so it counts as reserved; the runner does the rest.
    let Stage { dispatcher, settlements, books, .. } = stage;
    drop(dispatcher);
    super::run_settlements(settlements).await;
    assert_eq!(books.usage.total().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_a_broken_stream_is_counted_pays_for_it() {
    let cut = vec![Act::Stream(vec![(0, "Hello")], Some(FaultKind::Cut))];
    let stage = stage(vec![cut], &[a_minute(9)], params());
    let journey = stage.dispatcher.begin(call(r#""stream":true,"#));
    let Ok(Answer::Stream { mut events, .. }) = journey.answer.await else {
        panic!("a stream was expected");
    };
    // It is counted by a thread of its own, of which the poll after the cut sees no end, as a rule.
    while let Poll::Ready(Some(_)) = futures::poll!(events.next()) {}
    drop(events);
    let Stage { dispatcher, settlements, books, .. } = stage;
    drop(dispatcher);
    super::run_settlements(settlements).await;
    let total = books.usage.total();
    assert_eq!((total.requests, total.completion_tokens), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_pay_for_what_a_stop_has_cut_off() {
    for (stops, requests) in [(false, 1), (true, 0)] {
        let stage = stage(vec![vec![Act::Hang]], &[a_minute(9)], params());
        let terms = Terms {
            label: "a".into(),
            daily_requests: Some(5),
            daily_tokens: None,
            models: None,
            expires_unix_ms: None,
            no_training: false,
        };
        let callers = Callers::new();
        let (_, key) = callers.issue(terms, [7; 20], stage.clock.now()).unwrap();
        let asked = ChatCall { key: Some(Arc::clone(&key)), ..call("") };
        let mut journey = stage.dispatcher.begin(asked);
        assert!(futures::poll!(&mut journey.answer).is_pending());
        if stops {
            journey.progress.tell_cut("the gateway stops");
        }
        drop(journey);
        // The provider counts it all the same.
        assert_eq!((stage.used(0), stage.settlements.len()), (1, 1));
        let Stage { dispatcher, settlements, clock, .. } = stage;
        drop(dispatcher);
        super::run_settlements(settlements).await;
        assert_eq!(key.total().requests, requests);
        assert_eq!(key.budget().used(clock.now())[0], requests);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_gateway_drops_is_told_as_its_own_doing() {
    for (why, outcome) in [(None, "abandoned"), (Some("the gateway stops"), "cut")] {
        let stage = stage(vec![vec![Act::Hang]], &[], params());
        let mut journey = stage.dispatcher.begin(call(""));
        assert!(futures::poll!(&mut journey.answer).is_pending());
        if let Some(why) = why {
            journey.progress.tell_cut(why);
        }
        drop(journey);
        let told = stage.books.traces.find("req_test", None).expect("a record");
        assert!(told.contains(&format!(r#""outcome":"{outcome}""#)), "{told}");
        assert_eq!(told.contains("the gateway stops"), why.is_some(), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_leaves_is_counted_to_the_last() {
    // More than may wait to be counted.
    let crowd = super::SETTLEMENTS + 50;
    let hang = (0..crowd).map(|_| Act::Hang).collect();
    let stage = stage(vec![hang], &[], params());
    for _ in 0..crowd {
        let mut journey = stage.dispatcher.begin(call(""));
        assert!(futures::poll!(&mut journey.answer).is_pending());
    }
    let Stage { dispatcher, settlements, books, .. } = stage;
    drop(dispatcher);
    super::run_settlements(settlements).await;
    let total = books.usage.total();
    assert_eq!((total.requests, total.estimated_requests), (crowd as u64, crowd as u64));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_client_leaves_the_books_in_order() {
    let stage = stage(vec![vec![Act::Panic, Act::Answer(0)]], &[a_minute(9)], params());
    let journey = stage.dispatcher.begin(call(""));
    let caught = std::panic::AssertUnwindSafe(journey.answer);
    assert!(futures::FutureExt::catch_unwind(caught).await.is_err());
    // The request had been written, so the provider counts it and so do we: once.
    assert_eq!((stage.used(0), stage.settlements.len()), (1, 1));
    stage.ask("").await.unwrap();
    assert_eq!(stage.used(0), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_and_moves_with_its_answers() {
    let stage = stage(vec![vec![], vec![]], &[], params());
    let ask = || async {
        let mut call = call("");
        call.session = Some("s".to_owned());
        match stage.dispatcher.begin(call).answer.await.unwrap() {
            Answer::Whole { route, .. } => (route.provider.to_string(), route.reason),
            Answer::Stream { .. } => panic!("not a stream"),
        }
    };
    let (home, reason) = ask().await;
    assert_eq!(reason, RouteReason::Meta);
    for _ in 0..3 {
        assert_eq!(ask().await, (home.clone(), RouteReason::Affinity));
    }
    let actor = usize::from(home != "p0");
    stage.actors[actor].0.lock().unwrap().push_back(Act::Fail(FaultKind::KeyRejected));
    let (moved, reason) = ask().await;
    assert!(moved != home && reason == RouteReason::Failover);
    assert_eq!(ask().await, (moved, RouteReason::Affinity));
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_a_moment_where_it_lives_and_no_longer() {
    for (rest, moves) in [(1_000, false), (3_000, true)] {
        let stage = stage(vec![vec![], vec![]], &[], params());
        let ask = || async {
            let call = ChatCall { session: Some("s".to_owned()), ..call("") };
            match stage.dispatcher.begin(call).answer.await.unwrap() {
                Answer::Whole { route, .. } => (route.provider.to_string(), route.attempts),
                Answer::Stream { .. } => panic!("not a stream"),
            }
        };
        let (home, _) = ask().await;
        let actor = usize::from(home != "p0");
        stage.actors[actor].0.lock().unwrap().push_back(Act::Throttle(rest));
        let (answered, attempts) = ask().await;
        assert_eq!((answered != home, attempts), (moves, 2));
        assert_eq!(stage.seconds(), u64::from(!moves));
    }
}

/// The wait for where it lives is a part of all that is waited, and no more comes on top.
#[tokio::test(start_paused = true)]
async fn a_session_that_has_waited_in_line_waits_no_longer_than_any() {
    let short = Params { max_quota_wait: Duration::from_millis(4_500), ..params() };
    let stage = stage(vec![vec![], vec![]], &[], short);
    let ask = || async {
        let call = ChatCall { session: Some("s".to_owned()), ..call("") };
        match stage.dispatcher.begin(call).answer.await.unwrap() {
            Answer::Whole { route, .. } => route.provider.to_string(),
            Answer::Stream { .. } => panic!("not a stream"),
        }
    };
    let home = ask().await;
    for (name, rest) in [("p0", 4_000), ("p1", 4_000)] {
        let rest = if name == home { rest + 1_500 } else { rest };
        let actor = usize::from(name == "p1");
        stage.actors[actor].0.lock().unwrap().push_back(Act::Throttle(rest));
        let throttled = stage.dispatcher.begin(call(&format!(r#""model":"{name}/m","#))).answer;
        tokio::time::timeout(Duration::from_millis(1), throttled).await.ok();
    }
    assert_ne!(ask().await, home, "it moves rather than wait for {:?}", stage.clock.now());
    assert_eq!(stage.seconds(), 4);
}

#[tokio::test(start_paused = true)]
async fn estimates_come_closer_to_what_a_model_really_counts() {
    let stage = stage(vec![vec![]], &[], params());
    let target = stage.catalog.targets().next().expect("one").id;
    let tokens = || stage.books.ledger.tokens(target, 1_000);
    assert_eq!(tokens(), 1_000);
    // Each answer says 3 where ten and more were estimated.
    for _ in 0..50 {
        stage.ask("").await.unwrap();
    }
    assert!((400..950).contains(&tokens()), "{}", tokens());
    // Pictures are not counted by their bytes, and so teach nothing.
    let before = tokens();
    let picture = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}]}"#;
    let mut asked = call("");
    asked.request = ChatRequest::parse(&Bytes::from_static(picture.as_bytes())).unwrap();
    assert_eq!(asked.request.images.count, 1);
    stage.dispatcher.begin(asked).answer.await.err();
    assert_eq!(tokens(), before);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_comes_back_by_itself_when_a_probe_is_answered() {
    let refused = || Act::Fail(FaultKind::KeyRejected);
    let stage = stage(vec![vec![refused(), refused()]], &[], params());
    let ask = async |after: u64| {
        tokio::time::sleep(Duration::from_secs(after)).await;
        (stage.ask("").await.is_ok(), stage.calls(0))
    };
    assert_eq!(ask(0).await, (false, 1));
    assert_eq!(ask(299).await, (false, 1));
    assert_eq!(ask(2).await, (false, 2), "one real request in all finds out");
    assert_eq!(ask(599).await, (false, 2), "then it rests for twice as long");
    assert_eq!(ask(2).await, (true, 3));
    assert_eq!(ask(0).await, (true, 4));
}
