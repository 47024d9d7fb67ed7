//! What most gateways do, to compare with: everyone in turn, and whoever refuses is left alone for
//! as long as it asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use relayfreellm::catalog::Catalog;
use relayfreellm::openai::{ChatRequest, RequestEdits};
use relayfreellm::provider::{Call, ChatProvider, SentMark};
use tokio::time::Instant;

use super::provider::{Door, Simulated};
use super::scenario::Asking;

/// Rest of a target that does not say for how long.
const REST: Duration = Duration::from_secs(60);

/// Turns and cooldowns, nothing else.
pub(super) struct Naive(Arc<Inside>);

struct Inside {
    targets: Vec<Target>,
    next: AtomicUsize,
}

struct Target {
    door: Door,
    model: Arc<str>,
    secret: Option<secrecy::SecretString>,
    rests_until: Mutex<Option<Instant>>,
}

impl Naive {
    pub(super) fn new(catalog: &Catalog, providers: &[Arc<Simulated>]) -> Self {
        let targets =
            catalog.providers().iter().zip(providers).flat_map(|(provider, simulated)| {
                provider.models.iter().flat_map(move |model| {
                    provider.targets(model).map(|it| Target {
                        door: Door(Arc::clone(simulated)),
                        model: Arc::clone(&it.model.name),
                        secret: it.key.secret.clone(),
                        rests_until: Mutex::new(None),
                    })
                })
            });
        Self(Arc::new(Inside { targets: targets.collect(), next: AtomicUsize::new(0) }))
    }
}

impl Inside {
    async fn ask(&self, request: ChatRequest) -> Result<(), Option<Duration>> {
        let request = Arc::new(request);
        for _ in 0..self.targets.len() {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.targets.len();
            let target = &self.targets[turn];
            if target.rests_for().is_some() {
                continue;
            }
            let call = Call {
                model: Arc::clone(&target.model),
                secret: target.secret.clone(),
                request: Arc::clone(&request),
                edits: RequestEdits::default(),
                verbatim: false,
                sent: SentMark::default(),
            };
            match target.door.send(call).await {
                Ok(_) => return Ok(()),
                Err(fault) => target.rest(fault.retry_after.unwrap_or(REST)),
            }
        }
        Err(self.targets.iter().filter_map(Target::rests_for).min())
    }
}

impl Target {
    fn rests_for(&self) -> Option<Duration> {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|it| it - Instant::now()).filter(|it| !it.is_zero())
    }

    fn rest(&self, time: Duration) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + time);
    }
}

impl Asking for Naive {
    fn ask(&self, request: ChatRequest) -> BoxFuture<'static, Result<(), Option<Duration>>> {
        let inside = Arc::clone(&self.0);
        Box::pin(async move { inside.ask(request).await })
    }
}
