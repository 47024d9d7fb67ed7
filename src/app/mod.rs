//! The composition root: the only room that names every concrete type.

mod descriptors;
mod discovery;
mod memory;
mod pace;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::Breakers;
use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Kind;
use crate::catalog::Period;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::catalog::Scale;
use crate::catalog::Unit;
use crate::clock::SharedClock;
use crate::clock::SystemClock;
use crate::config;
use crate::config::Config;
use crate::config::Settings;
use crate::context;
use crate::dispatch;
use crate::dispatch::Dispatcher;
use crate::dispatch::Pool;
use crate::normalize;
use crate::provider::ChatProvider;
use crate::provider::anthropic::AnthropicClient;
use crate::provider::gemini::GeminiClient;
use crate::provider::ollama::OllamaClient;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::quirks;
use crate::provider::transport::Transport;
use crate::quota::Ledger;
use crate::quota::TargetBooks;
use crate::select;
use crate::select::Latencies;
use crate::select::Selector;
use crate::select::Strategy;
use crate::server;
use crate::session;
use crate::session::Sessions;
use crate::sim;
use crate::sim::Chaos;
use crate::sim::SimServer;
use crate::status;
use crate::status::pace::Pace;
use crate::store::OpenError;
use crate::store::Saving;
use crate::telemetry::Metrics;
use crate::usage::UsageBook;

use discovery::Discovery;
use memory::remember;

/// How long running answers may take to finish once the gateway is told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// A gateway that is serving.
pub struct App {
    addr: SocketAddr,
    catalog: Arc<Catalog>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<usize>,
    tasks: TaskTracker,
    saving: Option<Saving>,
    sim: Option<SimServer>,
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
    /// Binds, opens the store, and begins to serve.
    ///
    /// # Errors
    /// [`StartError`] says what stood in the way; nothing is left running then.
    pub async fn start(mut config: Config, mut ids: IdBook) -> Result<Self, StartError> {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let (host, port) = (config.host.clone(), config.port);
        let listener = TcpListener::bind((host.as_str(), port))
            .await
            .map_err(|fault| StartError::Listen { host: host.clone(), port, fault })?;
        let addr =
            listener.local_addr().map_err(|fault| StartError::Listen { host, port, fault })?;
        let Parts { catalog, clients, transport, sim, chaos } =
            Parts::make(&mut config, addr.port(), &mut ids, &clock)?;
        let books = books(&config.settings);
        books.ledger.configure(target_books(&catalog));
        let shared_catalog = Arc::new(ArcSwap::new(Arc::clone(&catalog)));
        let saving = match &config.data_dir {
            Some(dir) => remember(dir, &books, &shared_catalog, &clock)?,
            None => None,
        };
        let selector = Selector::new(Arc::clone(&catalog), select_params(&config.settings));
        let known_clients = clients.clone();
        let pool = Pool { selector, clients };
        let (dispatcher, settlements) = Dispatcher::new(
            pool,
            books.clone(),
            Arc::clone(&clock),
            dispatch_params(&config.settings),
        );
        let views = status::Books {
            catalog: shared_catalog,
            ledger: books.ledger,
            breakers: books.breakers,
            usage: books.usage,
            metrics: books.metrics,
            pace: Arc::new(Pace::default()),
            clock,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(dispatch::run_settlements(settlements));
        let dispatcher = Arc::new(dispatcher);
        let shutdown = CancellationToken::new();
        let discovery = Discovery {
            dispatcher: Arc::clone(&dispatcher),
            catalog: Arc::clone(&views.catalog),
            ledger: Arc::clone(&views.ledger),
            clients: known_clients,
            params: select_params(&config.settings),
            transport,
            ids,
        };
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(discovery.run()));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(pace::watch(&views)));
        let params = descriptors::fit(server_params(&config));
        let router = server::router(params.clone(), dispatcher, Arc::new(views));
        let stopping = shutdown.clone();
        let serving = tasks
            .spawn(async move { server::serve(listener, router, &params, stopping, GRACE).await });
        Ok(Self { addr, catalog, shutdown, serving, tasks, saving, sim, chaos })
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

    /// What goes wrong in a demo with chaos.
    pub fn chaos(&self) -> Option<Chaos> {
        self.chaos
    }

    /// Stops accepting, lets running answers finish (30 s at most), saves, and says how many
    /// connections had to be cut.
    pub async fn stop(self) -> usize {
        self.shutdown.cancel();
        let cut = self.serving.await.unwrap_or(0);
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
    /// Makes the clients, and for a demo the providers themselves: beside `port`.
    ///
    /// # Errors
    /// [`StartError::Simulation`] and [`StartError::Url`].
    pub fn make(
        config: &mut Config,
        port: u16,
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
        let transport = Transport::new(&config.network);
        let clients = clients(&catalog, &transport, clock)?;
        Ok(Self { catalog, clients, transport, sim, chaos })
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
    }
}

fn target_books(catalog: &Catalog) -> Vec<TargetBooks> {
    let books = catalog.targets().map(|it| TargetBooks {
        target: it.id,
        account: it.key.account,
        model: it.model.id,
        limits: it.model.limits.clone(),
        scope: it.model.scope,
        reset: it.model.reset,
        max_concurrent: it.model.max_concurrent,
    });
    books.collect()
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

fn select_params(settings: &Settings) -> select::Params {
    let strategy = |it| match it {
        config::Strategy::RoundRobin => Strategy::RoundRobin,
        config::Strategy::Random => Strategy::Random,
        config::Strategy::Weighted => Strategy::Weighted,
    };
    select::Params {
        provider_strategy: strategy(settings.routing.provider_strategy),
        model_strategy: strategy(settings.routing.model_strategy),
    }
}

fn dispatch_params(settings: &Settings) -> dispatch::Params {
    dispatch::Params {
        max_retries: settings.routing.max_retries,
        max_quota_wait: settings.routing.max_quota_wait,
        stream_continuation: settings.routing.stream_continuation,
        deadline: settings.routing.deadline,
        timeout: settings.http.timeout,
        first_token_timeout: settings.http.first_token_timeout,
        context: context_params(settings),
        normalizer: normalize::Params { enabled: settings.normalizer.enabled },
    }
}

fn context_params(settings: &Settings) -> context::Params {
    let (context, summary) = (&settings.context, &settings.summarization);
    let summed = |tokens| if summary.enabled { tokens } else { 0 };
    let guide = settings.routing.style_guide.as_deref().unwrap_or(context::style::GUIDE);
    context::Params {
        mode: match context.management_mode {
            config::ContextMode::Static => context::Mode::Static,
            config::ContextMode::Dynamic => context::Mode::Dynamic,
            config::ContextMode::Reservoir => context::Mode::Reservoir,
            config::ContextMode::Adaptive => context::Mode::Adaptive,
            config::ContextMode::Disabled => context::Mode::Disabled,
        },
        apply: match context.apply {
            config::ContextApply::WhenNeeded => context::Apply::WhenNeeded,
            config::ContextApply::Always => context::Apply::Always,
        },
        static_keep: context.static_recent_keep,
        dynamic: context::Dynamic {
            target: context.dynamic_utilization_target,
            least: context.dynamic_min_utilization,
            most_boost: context.dynamic_max_boost,
        },
        reservoir_keep: context.reservoir_recent_keep,
        reservoir_summary: summed(context.reservoir_summary_budget),
        adaptive_summary: summed(summary.max_tokens),
        summary_timeout: summary.timeout,
        answer_reserve: context.answer_reserve_tokens,
        style: context::Style {
            enabled: settings.routing.use_server_side_system_prompt,
            guide: guide.trim().into(),
            handoff: settings.session.handoff_note,
        },
    }
}

fn server_params(config: &Config) -> server::Params {
    let http = &config.settings.http;
    server::Params {
        master_key: config.master_key.clone(),
        insecure: config.insecure,
        allowed_origins: http.allowed_origins.clone(),
        session_header: config.settings.session.id_header.clone(),
        max_body_bytes: http.max_body_bytes,
        max_concurrent_requests: http.max_concurrent_requests,
        ..server::Params::default()
    }
}

/// Starts the demo's providers beside the gateway: on the next port, so that the README can name
/// it, or on any when that one is taken.
fn start_sim(
    gateway_port: u16,
    chaos: Option<Chaos>,
    clock: &SharedClock,
) -> std::io::Result<SimServer> {
    let mut cast = sim::demo();
    cast.providers.iter_mut().for_each(|it| it.chaos = chaos);
    let start =
        |port| SimServer::start(cast.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)), clock);
    start(gateway_port.wrapping_add(1)).or_else(|_| start(0))
}

fn demo_catalog(server: &SimServer, ids: &mut IdBook) -> Catalog {
    let units = [(Unit::Requests, "requests"), (Unit::Tokens, "tokens")];
    let periods = [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month];
    let limit = |it: &sim::DemoLimit| {
        let all = units.iter().flat_map(|unit| periods.iter().map(move |period| (unit, *period)));
        all.into_iter()
            .find(|((_, unit), period)| it.key == format!("{unit}_per_{}", period.name()))
            .map(|((unit, _), period)| (*unit, period, it.max))
    };
    let model = |it: &sim::DemoModel| config::DemoModel {
        name: it.name.to_owned(),
        kind: it.kind.to_owned(),
        scale: Scale::parse(it.scale).unwrap_or(Scale::Medium),
        vision: false,
        max_context: Some(it.max_context),
        limits: it.limits.iter().filter_map(limit).collect(),
    };
    let entries: Vec<config::DemoEntry> = sim::demo_providers()
        .iter()
        .map(|it| config::DemoEntry {
            name: it.name.to_owned(),
            base_url: server.base_url(it.name),
            key: it.key.to_owned(),
            models: it.models.iter().map(model).collect(),
        })
        .collect();
    config::demo_catalog(&entries, ids)
}
