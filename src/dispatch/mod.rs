//! The journey of one request: candidates in order, one attempt after another, until one answers.
//!
//! [`destination`] says where it may go, [`journey`] and [`walking`] walk, [`legs`] sorts the candidates by how
//! much of the conversation they take, [`fitting`] makes it fit the others, [`home`] keeps a session where it lives, [`waiting`] rests
//! and stands in the line of [`queue`], [`asking`] makes one call, [`attempt`] is what it leaves
//! in the books on every path, [`verdict`] says what a fault means for the rest, [`relay`] passes a stream on, by the time that [`alarm`] gives it, and
//! [`telling`] puts it into the caller's form, [`structured`] sees to JSON that was asked for,
//! [`continuation`] and [`joining`] go on with a stream that was cut, [`keeping`] bounds what is kept for that, [`learning`] takes in what an
//! answer says of quota, [`strict`] leaves a request and its answer as they are,
//! [`story`] and [`noting`] tell of it, [`key`] says what a virtual key allows and opens its tab, [`settlement`] counts what nobody else
//! has counted, [`exhausted`] says why nobody answered.

mod alarm;
mod asking;
mod attempt;
mod beside;
mod continuation;
mod demand;
mod destination;
mod exhausted;
mod fitting;
mod home;
mod joining;
mod journey;
mod keeping;
mod key;
mod learning;
mod legs;
mod noting;
pub mod outcome;
mod queue;
mod refit;
mod relay;
mod settlement;
mod spared;
mod story;
mod strict;
mod structured;
mod telling;
mod terms;
mod verdict;
mod waiting;
mod walking;
mod whole;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::breaker::Breakers;
use crate::catalog::ProviderId;
use crate::clock::SharedClock;
use crate::context;
use crate::normalize;
use crate::provider::ChatProvider;
use crate::quota::Ledger;
use crate::refusals::Refusals;
use crate::select::Latencies;
use crate::select::Selector;
use crate::session::Sessions;
use crate::telemetry::Metrics;
use crate::trace::Traces;
use crate::usage::UsageBook;

use keeping::Keeping;
use outcome::ChatCall;
use outcome::ChatService;
use outcome::Journey;
use outcome::Progress;
use queue::Queue;

pub use settlement::Settlement;
pub use settlement::run as run_settlements;

/// Settlements that may wait to be counted. Beyond it a call keeps the quota it reserved.
const SETTLEMENTS: usize = 4096;

/// Bounds of a journey.
#[derive(Clone, Debug)]
pub struct Params {
    /// Further attempts after the first.
    pub max_retries: u32,
    /// Longest wait for quota in one journey, all waits together.
    pub max_quota_wait: Duration,
    /// For the whole journey until the answer's first byte.
    pub deadline: Duration,
    /// One attempt's whole answer, or the silence between two events of a stream.
    pub timeout: Duration,
    /// Are streams that are cut after their first content continued elsewhere?
    pub stream_continuation: bool,
    /// A stream's first content.
    pub first_token_timeout: Duration,
    /// Are only providers asked that are known not to train on prompts?
    pub no_training: bool,
    /// How conversations are made to fit.
    pub context: context::Params,
    /// How answers are normalised.
    pub normalizer: normalize::Params,
    /// The gateway's own keys, which no error may show.
    pub own_keys: Vec<SecretString>,
}

/// What is swapped when the configuration is read anew: facts, order and clients belong together.
pub struct Pool {
    /// The catalog and whose turn it is in it.
    pub selector: Selector,
    /// A client for every provider of the catalog.
    pub clients: HashMap<ProviderId, Arc<dyn ChatProvider>>,
}

/// The books a journey writes in. They outlive every reload.
#[derive(Clone)]
pub struct Books {
    /// Quota.
    pub ledger: Arc<Ledger>,
    /// Who is well.
    pub breakers: Arc<Breakers>,
    /// Where sessions live.
    pub sessions: Arc<Sessions>,
    /// What was spent.
    pub usage: Arc<UsageBook>,
    /// How fast models are.
    pub latencies: Arc<Latencies>,
    /// What is counted for Prometheus.
    pub metrics: Arc<Metrics>,
    /// What happened to the last requests.
    pub traces: Arc<Traces>,
}

/// Answers chat requests from a pool of providers.
pub struct Dispatcher(ArcSwap<Core>);

/// What all journeys share that begin under the same settings.
struct Core {
    pool: ArcSwap<Pool>,
    books: Books,
    clock: SharedClock,
    params: Params,
    memory: Arc<context::Memory>,
    queue: Arc<Queue>,
    texts: Keeping,
    refusals: Arc<Refusals>,
    settlements: mpsc::Sender<Settlement>,
}

impl Dispatcher {
    /// A dispatcher, and the settlements of its journeys, for [`run_settlements`].
    pub fn new(
        pool: Pool,
        books: Books,
        clock: SharedClock,
        params: Params,
    ) -> (Self, mpsc::Receiver<Settlement>) {
        let (settlements, waiting) = mpsc::channel(SETTLEMENTS);
        let pool = ArcSwap::from_pointee(pool);
        let core = Core {
            pool,
            books,
            clock,
            params,
            memory: Arc::default(),
            queue: Arc::default(),
            texts: Keeping::default(),
            refusals: Arc::default(),
            settlements,
        };
        (Self(ArcSwap::from_pointee(core)), waiting)
    }

    /// Journeys that begin from now on use `pool`; those under way end in the one they know.
    pub fn replace(&self, pool: Pool) {
        self.0.load().pool.store(Arc::new(pool));
    }

    /// Journeys that begin from now on keep to `params`. To be called by one at a time, and not beside
    /// [`Self::replace`].
    pub fn configure(&self, params: Params) {
        let old = self.0.load();
        let core = Core {
            pool: ArcSwap::new(old.pool.load_full()),
            books: old.books.clone(),
            clock: Arc::clone(&old.clock),
            params,
            memory: Arc::clone(&old.memory),
            queue: Arc::clone(&old.queue),
            texts: old.texts.clone(),
            refusals: Arc::clone(&old.refusals),
            settlements: old.settlements.clone(),
        };
        self.0.store(Arc::new(core));
    }
}

impl ChatService for Dispatcher {
    fn begin(&self, call: ChatCall) -> Journey {
        let progress = Arc::new(Progress::default());
        let answer = journey::travel(self.0.load_full(), call, Arc::clone(&progress));
        Journey { progress, answer: Box::pin(answer) }
    }
}
