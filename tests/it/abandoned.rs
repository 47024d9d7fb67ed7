//! A caller that leaves at any moment at all: a journey is dropped at each of its awaits in turn,
//! and after each the books hold what the providers got, and the next caller is served.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use relayfreellm::catalog::{Catalog, Limit, Period, QuotaScope, Reset, Unit};
use relayfreellm::clock::{SharedClock, VirtualClock};
use relayfreellm::dispatch::outcome::{Answer, ChatCall, ChatService, Failure, Requirements, Who};
use relayfreellm::dispatch::{Dispatcher, Pool, run_settlements};
use relayfreellm::openai::{ChatRequest, Chunk, Completion};
use relayfreellm::provider::fault::{Fault, FaultKind};
use relayfreellm::provider::{Call, ChatProvider, Pieces, Reply, Unmet, Whole};
use relayfreellm::quota::Ledger;
use relayfreellm::select;
use relayfreellm::select::Selector;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::quota_yield::lab;
use crate::quota_yield::lab::pool::House;
use crate::quota_yield::lab::stage::{books, journeys};

/// A provider that takes its time at every step, and counts what it got.
struct Slow {
    fails: bool,
    got: Arc<AtomicU64>,
}

impl ChatProvider for Slow {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let (fails, got) = (self.fails, Arc::clone(&self.got));
        Box::pin(async move {
            yield_now().await;
            call.sent.set();
            got.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
            yield_now().await;
            if fails {
                return Err(Fault::new(FaultKind::Server, "as it is"));
            }
            Ok(if call.request.stream { Reply::Stream(pieces()) } else { whole() })
        })
    }
}

fn whole() -> Reply {
    let body = r#"{"id":"x","choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let completion = Completion::parse(&Bytes::from_static(body.as_bytes())).expect("an answer");
    Reply::Whole(Box::new(Whole { completion, unmet: Unmet::default() }))
}

fn pieces() -> Pieces {
    let chunks = [
        r#"{"choices":[{"index":0,"delta":{"content":"It"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":" is."}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ];
    let chunks = futures::stream::iter(chunks).then(|it| async move {
        yield_now().await;
        Ok(Chunk::parse(&Bytes::from_static(it.as_bytes())).expect("a chunk"))
    });
    Pieces { chunks: chunks.boxed(), unmet: Unmet::default() }
}

/// A gateway's inside over a provider that fails and one that does not, asked in this order. Both
/// count every request, and let one at a time in.
struct Stage {
    dispatcher: Dispatcher,
    ledger: Arc<Ledger>,
    catalog: Arc<Catalog>,
    clock: SharedClock,
    /// What each provider got.
    got: [Arc<AtomicU64>; 2],
    settlements: TaskTracker,
}

impl Stage {
    fn new(limits: &[Limit]) -> Self {
        let houses = ["Alpha", "Beta"].map(|name| house(name, limits)).into();
        let catalog = Arc::new(lab::Pool { name: "twins".to_owned(), houses }.catalog());
        let clock: SharedClock = Arc::new(VirtualClock::starting_at(1_795_176_000_000));
        let books = books(&catalog, &clock);
        let ledger = Arc::clone(&books.ledger);
        let got: [Arc<AtomicU64>; 2] = Default::default();
        let clients = catalog.providers().iter().zip([true, false]).zip(&got);
        let clients = clients.map(|((it, fails), got)| {
            let client: Arc<dyn ChatProvider> = Arc::new(Slow { fails, got: Arc::clone(got) });
            (it.id, client)
        });
        let clients: HashMap<_, _> = clients.collect();
        let selector = Selector::new(Arc::clone(&catalog), select::Params::default());
        let pool = Pool { selector, clients };
        let (dispatcher, waiting) = Dispatcher::new(pool, books, Arc::clone(&clock), journeys());
        let settlements = TaskTracker::new();
        settlements.spawn(run_settlements(waiting));
        Self { dispatcher, ledger, catalog, clock, got, settlements }
    }

    /// Asks and reads the answer to its end.
    async fn ask(&self, stream: bool) -> Result<(), Failure> {
        let body =
            format!(r#"{{"stream":{stream},"messages":[{{"role":"user","content":"Is it?"}}]}}"#);
        let request = ChatRequest::parse(&Bytes::from(body)).expect("a good request");
        let call = ChatCall {
            request,
            session: None,
            style: None,
            who: Who::default(),
            request_id: "req_left".into(),
            normalize: true,
            key: None,
            requires: Requirements::default(),
        };
        if let Answer::Stream { mut events, .. } = self.dispatcher.begin(call).answer.await? {
            while let Some(event) = events.next().await {
                event.map_err(|error| Failure { error: Box::new(error), route: None })?;
            }
        }
        Ok(())
    }

    /// Asks and leaves after so many polls. Was the answer complete by then?
    async fn leave_after(&self, polls: usize, stream: bool) -> bool {
        let mut asking = pin!(self.ask(stream));
        for _ in 0..polls {
            if futures::poll!(asking.as_mut()).is_ready() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        false
    }

    /// Requests that the ledger has charged to a provider.
    fn charged(&self, provider: usize) -> u64 {
        let target = self.catalog.providers()[provider].models[0].targets[0];
        let windows = self.ledger.view(target, self.clock.now());
        let hour = windows.iter().find(|it| (it.unit, it.period) == (Unit::Requests, Period::Hour));
        hour.expect("a window").used
    }

    /// The ledger knows of what the providers got, no more and no less.
    fn check_books(&self, about: &str) {
        for (place, got) in self.got.iter().enumerate() {
            let got = got.load(Ordering::Relaxed);
            assert_eq!(self.charged(place), got, "provider {place}, {about}");
        }
    }
}

fn house(name: &'static str, limits: &[Limit]) -> House {
    House {
        name,
        keys: 1,
        models: 1,
        limits: limits.to_vec(),
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        reserves: false,
        refusals_count: true,
        max_concurrent: Some(1),
        bytes_per_token: 4.0,
    }
}

/// Drops a request at once, after one poll, after two, and so on until it is answered; each time
/// after so many others were. Gives how many drops there were.
async fn leave_everywhere(limits: &[Limit], stream: bool, before: usize) -> usize {
    for polls in 0.. {
        let stage = Stage::new(limits);
        for _ in 0..before {
            stage.ask(false).await.expect("an answer");
        }
        let complete = stage.leave_after(polls, stream).await;
        let about = format!("left after {polls} polls, stream: {stream}, {before} before");
        // Long enough for what is counted after the fact, which needs a thread.
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.check_books(&about);
        let next = stage.ask(stream).await;
        assert!(next.is_ok(), "the next caller, {about}: {:?}", next.err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.check_books(&about);
        stage.settlements.close();
        if complete {
            return polls;
        }
    }
    unreachable!("it is answered in the end")
}

const fn requests(period: Period, max: u64) -> Limit {
    Limit { unit: Unit::Requests, period, max }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_caller_leaves_the_books_hold_what_was_sent() {
    let limits = [requests(Period::Hour, 100), requests(Period::Second, 100)];
    for stream in [false, true] {
        let drops = leave_everywhere(&limits, stream, 0).await;
        assert!(drops > 4, "{drops} awaits are too few for a failover");
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_waiting_caller_leaves_the_next_one_moves_up() {
    let limits = [requests(Period::Hour, 100), requests(Period::Second, 1)];
    let drops = leave_everywhere(&limits, false, 1).await;
    assert!(drops > 10, "{drops} polls are too few for a second's wait");
}
