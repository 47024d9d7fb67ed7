//! The composition root: the only room that names every concrete type.

mod demo;
mod descriptors;
mod discovery;
mod fixed;
mod kept;
mod key_mark;
mod keys;
mod live;
mod memory;
mod metronome;
mod pace;
mod params;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::Breakers;
use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Kind;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::clock::SharedClock;
use crate::clock::SystemClock;
use crate::config;
use crate::config::Config;
use crate::config::Settings;
use crate::dispatch;
use crate::dispatch::Dispatcher;
use crate::dispatch::Pool;
use crate::provider::ChatProvider;
use crate::provider::anthropic::AnthropicClient;
use crate::provider::gemini::GeminiClient;
use crate::provider::ollama::OllamaClient;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::quirks;
use crate::provider::transport::Transport;
use crate::quota::Ledger;
use crate::quota::TargetBooks;
use crate::select::Latencies;
use crate::select::Selector;
use crate::server;
use crate::server::Control;
use crate::server::Reloaded;
use crate::server::Stop;
use crate::session;
use crate::session::Sessions;
use crate::sim::Chaos;
use crate::sim::SimServer;
use crate::status;
use crate::status::pace::Pace;
use crate::store::Saving;
use crate::telemetry::Metrics;
use crate::usage::UsageBook;

use demo::demo_catalog;
use demo::start_sim;
use discovery::Discovery;
use fixed::Fixed;
use kept::KeptOrder;
use key_mark::KeyMark;
use keys::desk;
use keys::tell_of_keys;
use keys::warn_of_weak_keys;
use keys::with_names_of;
use live::Live;
use live::State;
use memory::remember;
use params::dispatch_params;
use params::select_params;
use params::server_params;

pub use crate::store::OpenError;
pub use keys::StoredKeys;
pub use live::Reread;

/// How long running answers may take to finish once the gateway is told to stop.
pub const GRACE: Duration = Duration::from_secs(30);

/// A gateway that is serving.
pub struct App {
    addr: SocketAddr,
    catalog: Arc<Catalog>,
    stop: Stop,
    serving: tokio::task::JoinHandle<usize>,
    tasks: TaskTracker,
    live: Arc<Live>,
    saving: Option<Saving>,
    sim: Option<SimServer>,
    asks_for_key: bool,
    chaos: Option<Chaos>,
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("can't listen on {host}:{port}: {fault}; choose another with --host and --port")]
    Listen {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// What the system said.
        fault: std::io::Error,
    },
    /// The simulated providers can't listen.
    #[error("can't start the simulated providers: {0}")]
    Simulation(std::io::Error),
    /// The data directory is not for this process.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A provider's URL can't be used.
    #[error("{provider}: {fault}")]
    Url {
        /// Whose.
        provider: String,
        /// What is wrong with it.
        fault: http::uri::InvalidUri,
    },
}

impl App {
    /// Binds, opens the store, and begins to serve. `reread` reads the configuration anew when it is
    /// told to.
    ///
    /// # Errors
    /// [`StartError`] says what stood in the way; nothing is left running then.
    pub async fn start(
        mut config: Config,
        mut ids: IdBook,
        reread: Reread,
    ) -> Result<Self, StartError> {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let (host, port) = (config.host.clone(), config.port);
        let listener = TcpListener::bind((host.as_str(), port))
            .await
            .map_err(|fault| StartError::Listen { host: host.clone(), port, fault })?;
        let addr =
            listener.local_addr().map_err(|fault| StartError::Listen { host, port, fault })?;
        let params = descriptors::fit(server_params(&config));
        let sockets = Arc::clone(&params.sockets);
        let Parts { catalog, clients, transport, sim, chaos } =
            Parts::make(&mut config, addr.port(), sockets, &mut ids, &clock)?;
        let books = books(&config.settings);
        books.ledger.configure(catalog.targets().map(TargetBooks::from), clock.now());
        let shared_catalog = Arc::new(ArcSwap::new(Arc::clone(&catalog)));
        let callers = Arc::new(Callers::new());
        let saving = match &config.data_dir {
            Some(dir) => remember(dir, (&books, &callers), &shared_catalog, &clock)?,
            None => None,
        };
        callers.declare(with_names_of(&catalog, std::mem::take(&mut config.virtual_keys)));
        let key_mark = config.data_dir.as_deref().map(KeyMark::in_directory).map(Arc::new);
        warn_of_weak_keys(&config);
        tell_of_keys(&callers, key_mark.as_deref(), config.master_key.is_some());
        let desk = desk(&callers, &clock, (saving.as_ref(), key_mark.as_ref()));
        let kept = saving.as_ref().and(config.data_dir.as_deref()).map(KeptOrder::in_directory);
        let order = kept.as_ref().and_then(KeptOrder::read);
        let order = kept::told(order, select_params(&config.settings));
        let selector = Selector::new(Arc::clone(&catalog), order);
        let fixed = Fixed::of(&config);
        let pool = Pool { selector, clients: clients.clone() };
        let (dispatcher, settlements) = Dispatcher::new(
            pool,
            books.clone(),
            Arc::clone(&clock),
            dispatch_params(&config.settings, &fixed.own_keys()),
        );
        let live = Arc::new(Live {
            dispatcher: Arc::new(dispatcher),
            books,
            callers,
            catalog: shared_catalog,
            strategies: Arc::new(ArcSwap::from_pointee(order)),
            transport,
            clock,
            reread,
            kept,
            fixed,
            key_mark,
            state: Mutex::new(State { ids, clients, config }),
        });
        let views = views(&live);
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(dispatch::run_settlements(settlements));
        let discovery = Discovery { live: Arc::clone(&live) };
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(discovery.run()));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(pace::watch(&views)));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(metronome::tick()));
        let chat = Arc::clone(&live.dispatcher);
        let control: Arc<dyn Control> = Arc::<Live>::clone(&live);
        let front = server::front(params.clone(), (desk, control), chat, Arc::new(views));
        let stop = Stop { asked: shutdown, hurried: CancellationToken::new(), grace: GRACE };
        let stopping = stop.clone();
        let asks_for_key = params.master_key.is_some();
        let serving =
            tasks.spawn(async move { server::serve(listener, front, &params, stopping).await });
        Ok(Self { addr, catalog, stop, serving, tasks, live, saving, sim, asks_for_key, chaos })
    }

    /// Reads the configuration anew and puts it in force, but for what takes a restart. Counts,
    /// cooldowns and requests under way stay.
    ///
    /// # Errors
    /// All that is wrong with it, a line each; then nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let live = Arc::clone(&self.live);
        let reloading = tokio::task::spawn_blocking(move || live.reload());
        reloading.await.unwrap_or_else(|_| Err(vec!["a mistake of the gateway".to_owned()]))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whom it asks.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Where the simulated providers of a demo listen.
    pub fn sim_addr(&self) -> Option<SocketAddr> {
        self.sim.as_ref().map(SimServer::addr)
    }

    /// Does it ask its callers for a master key?
    pub fn asks_for_key(&self) -> bool {
        self.asks_for_key
    }

    /// What goes wrong in a demo with chaos.
    pub fn chaos(&self) -> Option<Chaos> {
        self.chaos
    }

    /// Once cancelled, a [`stop`](Self::stop) under way waits for no running answer any more.
    pub fn hurried(&self) -> CancellationToken {
        self.stop.hurried.clone()
    }

    /// Stops accepting, lets running answers finish ([`GRACE`] at most), saves, and says how many
    /// connections had to be cut.
    pub async fn stop(self) -> usize {
        self.stop.asked.cancel();
        let cut = self.serving.await.unwrap_or(0);
        drop(self.live);
        // With the last connection the dispatcher is gone, and so the settlements come to an end.
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(saving) = self.saving {
            // The last save waits for the disk. If it panics, the log says so.
            tokio::task::spawn_blocking(|| saving.stop()).await.ok();
        }
        if let Some(sim) = self.sim {
            sim.stop().await;
        }
        cut
    }
}

/// The providers as configured, with a client for each.
pub struct Parts {
    /// The facts.
    pub catalog: Arc<Catalog>,
    /// One client a provider.
    pub clients: HashMap<ProviderId, Arc<dyn ChatProvider>>,
    /// What the clients reach their providers with.
    pub transport: Transport,
    /// The simulated providers, when it is a demo; they live as long as this.
    pub sim: Option<SimServer>,
    /// What goes wrong with them on purpose.
    pub chaos: Option<Chaos>,
}

impl Parts {
    /// Makes the clients, and for a demo the providers themselves: beside `port`. `sockets` are those
    /// that the process may still open.
    ///
    /// # Errors
    /// [`StartError::Simulation`] and [`StartError::Url`].
    pub fn make(
        config: &mut Config,
        port: u16,
        sockets: Arc<Semaphore>,
        ids: &mut IdBook,
        clock: &SharedClock,
    ) -> Result<Self, StartError> {
        let mut sim = None;
        let seeded = |it: config::Chaos| Chaos {
            rate: it.rate,
            seed: it.seed.unwrap_or_else(|| fastrand::u64(..)),
        };
        let chaos = config.chaos.map(seeded);
        if config.demo {
            let server = start_sim(port, chaos, clock).map_err(StartError::Simulation)?;
            config.catalog = demo_catalog(&server, ids);
            sim = Some(server);
        }
        let catalog = Arc::new(std::mem::take(&mut config.catalog));
        let transport = Transport::new(&config.network, sockets);
        let clients = clients(&catalog, &transport, clock)?;
        Ok(Self { catalog, clients, transport, sim, chaos })
    }
}

fn views(live: &Live) -> status::Books {
    let books = &live.books;
    status::Books {
        catalog: Arc::clone(&live.catalog),
        ledger: Arc::clone(&books.ledger),
        breakers: Arc::clone(&books.breakers),
        usage: Arc::clone(&books.usage),
        metrics: Arc::clone(&books.metrics),
        latencies: Arc::clone(&books.latencies),
        traces: Arc::clone(&books.traces),
        strategies: Arc::clone(&live.strategies),
        pace: Arc::new(Pace::default()),
        clock: Arc::clone(&live.clock),
    }
}

fn books(settings: &Settings) -> dispatch::Books {
    let sessions = session::Params {
        enabled: settings.session.affinity_enabled,
        ttl: settings.session.ttl,
        max_sessions: settings.session.max_sessions,
    };
    dispatch::Books {
        ledger: Arc::new(Ledger::new()),
        breakers: Arc::new(Breakers::new()),
        sessions: Arc::new(Sessions::new(sessions)),
        usage: Arc::new(UsageBook::new()),
        latencies: Arc::new(Latencies::default()),
        metrics: Arc::new(Metrics::new()),
        traces: Arc::default(),
    }
}

fn clients(
    catalog: &Catalog,
    transport: &Transport,
    clock: &SharedClock,
) -> Result<HashMap<ProviderId, Arc<dyn ChatProvider>>, StartError> {
    let mut clients: HashMap<ProviderId, Arc<dyn ChatProvider>> = HashMap::new();
    for provider in catalog.providers() {
        let client = client(provider, transport.clone(), Arc::clone(clock))
            .map_err(|fault| StartError::Url { provider: provider.name.to_string(), fault })?;
        clients.insert(provider.id, client);
    }
    Ok(clients)
}

fn client(
    provider: &Provider,
    transport: Transport,
    clock: SharedClock,
) -> Result<Arc<dyn ChatProvider>, http::uri::InvalidUri> {
    let url = &*provider.base_url;
    Ok(match provider.kind {
        Kind::OpenAi | Kind::Cloudflare => {
            let quirks = quirks::of_kind(provider.kind, &provider.name);
            Arc::new(OpenAiCompatible::new(url, quirks, transport, clock)?)
        }
        Kind::Gemini => Arc::new(GeminiClient::new(url, transport, clock)?),
        Kind::Ollama => Arc::new(OllamaClient::new(url, transport, clock)?),
        Kind::Anthropic => Arc::new(AnthropicClient::new(url, transport, clock)?),
    })
}
