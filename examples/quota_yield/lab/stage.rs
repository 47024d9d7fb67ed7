//! The gateway's inside as `app` puts it together, without sockets and without a disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use relayfreellm::breaker::Breakers;
use relayfreellm::catalog::{Catalog, ProviderId};
use relayfreellm::clock::SharedClock;
use relayfreellm::dispatch::outcome::{ChatCall, ChatService, Requirements, Who};
use relayfreellm::dispatch::{Books, Dispatcher, Params, Pool, Settlement};
use relayfreellm::openai::ChatRequest;
use relayfreellm::provider::ChatProvider;
use relayfreellm::quota::{Ledger, TargetBooks};
use relayfreellm::select::{Latencies, Selector, Strategy};
use relayfreellm::session::{self, Sessions};
use relayfreellm::telemetry::Metrics;
use relayfreellm::usage::UsageBook;
use relayfreellm::{context, normalize, select};
use tokio::sync::mpsc::Receiver;

use super::provider::{Door, Simulated};
use super::scenario::Asking;

/// The gateway's journeys over these providers.
pub(super) struct Stage {
    dispatcher: Dispatcher,
    /// Nothing comes here: every answer tells its usage and nobody hangs up.
    _settlements: Receiver<Settlement>,
}

impl Stage {
    pub(super) fn new(
        catalog: Catalog,
        providers: &[Arc<Simulated>],
        clock: &SharedClock,
        (strategy, max_quota_wait): (Strategy, Duration),
    ) -> Self {
        let catalog = Arc::new(catalog);
        let params = select::Params { provider_strategy: strategy, model_strategy: strategy };
        let doors = catalog.providers().iter().zip(providers).map(|(provider, simulated)| {
            let door: Arc<dyn ChatProvider> = Arc::new(Door(Arc::clone(simulated)));
            (provider.id, door)
        });
        let clients: HashMap<ProviderId, Arc<dyn ChatProvider>> = doors.collect();
        let books = books(&catalog, clock);
        let pool = Pool { selector: Selector::new(catalog, params), clients };
        let params = Params { max_quota_wait, ..journeys() };
        let (dispatcher, settlements) = Dispatcher::new(pool, books, Arc::clone(clock), params);
        Self { dispatcher, _settlements: settlements }
    }
}

/// The books of a gateway that begins.
pub(crate) fn books(catalog: &Catalog, clock: &SharedClock) -> Books {
    let ledger = Arc::new(Ledger::new());
    let targets = catalog.targets().map(TargetBooks::from);
    ledger.configure(targets, clock.now());
    let sessions =
        session::Params { enabled: true, ttl: Duration::from_secs(3_600), max_sessions: 10 };
    Books {
        ledger,
        breakers: Arc::new(Breakers::new()),
        sessions: Arc::new(Sessions::new(sessions)),
        usage: Arc::new(UsageBook::new()),
        latencies: Arc::new(Latencies::default()),
        metrics: Arc::new(Metrics::new()),
        traces: Arc::default(),
    }
}

/// The settings' defaults.
pub(crate) fn journeys() -> Params {
    Params {
        max_retries: 8,
        no_training: false,
        max_quota_wait: Duration::from_secs(10),
        deadline: Duration::from_secs(120),
        timeout: Duration::from_secs(60),
        first_token_timeout: Duration::from_secs(30),
        context: context::Params {
            mode: context::Mode::Static,
            apply: context::Apply::WhenNeeded,
            static_keep: 10,
            dynamic: context::Dynamic { target: 0.8, least: 0.3, most_boost: 1.5 },
            reservoir_keep: 15,
            reservoir_summary: 400,
            adaptive_summary: 200,
            summary_timeout: Duration::from_secs(2),
            answer_reserve: 1_024,
            style: context::Style { enabled: false, guide: "".into(), handoff: false },
        },
        normalizer: normalize::Params { enabled: true },
        own_keys: Vec::new(),
        stream_continuation: true,
    }
}

impl Asking for Stage {
    fn ask(&self, request: ChatRequest) -> BoxFuture<'static, Result<(), Option<Duration>>> {
        let call = ChatCall {
            request,
            session: None,
            style: None,
            who: Who::default(),
            request_id: "req_day".into(),
            normalize: true,
            key: None,
            requires: Requirements::default(),
        };
        let answer = self.dispatcher.begin(call).answer;
        Box::pin(async move {
            match answer.await {
                Ok(_) => Ok(()),
                Err(failure) => Err(failure.error.retry_after),
            }
        })
    }
}
