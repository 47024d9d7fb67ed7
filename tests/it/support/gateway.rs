//! A whole gateway in this process, configured from files as a user would, in front of simulated
//! providers; both on ports of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use relayfreellm::app::{App, Reread};
use relayfreellm::catalog::IdBook;
use relayfreellm::clock::{Now, SharedClock, SystemClock};
use relayfreellm::config::{self, FileChoice, Flags};
use relayfreellm::sim::{ProviderSpec, SimConfig, SimProvider, SimServer};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Upstream;

/// Nothing in these tests takes longer unless something is broken.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What a gateway is started with.
pub(crate) struct Setup {
    upstreams: Vec<Upstream>,
    settings: Value,
    environment: HashMap<String, String>,
    urls: HashMap<String, String>,
    data_dir: PathBuf,
}

impl Setup {
    /// The content of `settings.json`.
    pub(crate) fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// One more environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Another place for the provider of that name than the simulated one.
    pub(crate) fn url(mut self, provider: &str, url: &str) -> Self {
        self.urls.insert(provider.to_lowercase(), url.to_owned());
        self
    }

    /// Where quota and usage are kept; nowhere unless this is called.
    pub(crate) fn data_dir(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.data_dir);
        self
    }

    /// Starts the providers, writes the files, and starts the gateway from them.
    pub(crate) async fn start(self) -> Gateway {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let upstreams: Vec<_> = self.upstreams.into_iter().map(Upstream::finished).collect();
        let sim = simulate(upstreams.iter().map(|it| it.spec.clone()).collect(), &clock);

        let mut environment = self.environment;
        let mut entries = Vec::new();
        for upstream in &upstreams {
            let own = self.urls.get(&upstream.spec.name);
            let url = own.cloned().unwrap_or_else(|| sim.base_url(&upstream.spec.name));
            entries.push(upstream.limits_entry(&url));
            environment.extend([upstream.variable()]);
        }
        let dir = TempDir::new().expect("a directory");
        let mut flags = flags(&dir, &self.settings, &json!({"providers": entries}));
        flags.data_dir = Some(self.data_dir);
        Gateway::serve(&flags, &environment, (sim, clock), dir).await
    }
}

/// Starts simulated providers on a port of their own.
pub(crate) fn simulate(specs: Vec<ProviderSpec>, clock: &SharedClock) -> SimServer {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    SimServer::start(SimConfig::new(specs), anywhere, clock).expect("a port")
}

/// Flags that point at files with this content, and at nothing else on this machine.
fn flags(dir: &TempDir, settings: &Value, limits: &Value) -> Flags {
    let file = |name: &str, content: &Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, content.to_string()).expect("a writable directory");
        FileChoice::named(path)
    };
    Flags {
        port: Some(0),
        settings: file("settings.json", settings),
        limits: file("limits.json", limits),
        env_file: FileChoice::usual(dir.path().join(".env")),
        ..Flags::default()
    }
}

/// A gateway that serves, and its providers.
pub(crate) struct Gateway {
    addr: SocketAddr,
    app: App,
    sim: SimServer,
    clock: SharedClock,
    client: Client<HttpConnector, Full<Bytes>>,
    dir: TempDir,
}

impl Gateway {
    /// A gateway in front of these providers, in this order.
    pub(crate) fn with(upstreams: impl IntoIterator<Item = Upstream>) -> Setup {
        Setup {
            upstreams: upstreams.into_iter().collect(),
            settings: json!({}),
            environment: HashMap::new(),
            urls: HashMap::new(),
            data_dir: "none".into(),
        }
    }

    /// A gateway in front of one plain provider, `Alpha`, with one model, `m`.
    pub(crate) async fn plain() -> Self {
        Self::with([Upstream::plain("Alpha")]).start().await
    }

    /// A gateway without any file, in front of these providers. `variables` gives the environment;
    /// it is asked when the providers listen.
    pub(crate) async fn without_files(
        specs: Vec<ProviderSpec>,
        variables: impl FnOnce(&SimServer) -> Vec<(String, String)>,
    ) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let sim = simulate(specs, &clock);
        let environment = variables(&sim).into_iter().collect();
        let dir = TempDir::new().expect("a directory");
        let missing = |name: &str| FileChoice::usual(dir.path().join(name));
        let flags = Flags {
            port: Some(0),
            settings: missing("settings.json"),
            limits: missing("limits.json"),
            env_file: missing(".env"),
            data_dir: Some("none".into()),
            ..Flags::default()
        };
        Self::serve(&flags, &environment, (sim, clock), dir).await
    }

    async fn serve(
        flags: &Flags,
        environment: &HashMap<String, String>,
        (sim, clock): (SimServer, SharedClock),
        dir: TempDir,
    ) -> Self {
        let mut ids = IdBook::default();
        let config = config::load(flags, &|name| environment.get(name).cloned(), &mut ids);
        let config = config.unwrap_or_else(|refusal| panic!("{refusal}"));
        let (flags, variables) = (flags.clone(), environment.clone());
        let reread: Reread =
            Arc::new(move |ids| config::load(&flags, &|name| variables.get(name).cloned(), ids));
        let app = App::start(config, ids, reread).await.expect("a gateway");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { addr: app.addr(), app, sim, clock, client, dir }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes its settings or limits file, `settings.json` or `limits.json`.
    pub(crate) fn rewrite(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        let mut content = serde_json::from_str(&text).expect("JSON");
        change(&mut content);
        std::fs::write(&path, content.to_string()).expect("a writable directory");
    }

    /// The simulated provider of that name.
    pub(crate) fn upstream(&self, name: &str) -> SimProvider {
        self.sim.provider(name).expect("a provider of that name")
    }

    /// Where the provider of that name is asked: what stands before `/chat/completions`.
    pub(crate) fn upstream_url(&self, name: &str) -> String {
        self.sim.base_url(name)
    }

    /// How many requests reached the provider of that name.
    pub(crate) fn reached(&self, name: &str) -> u64 {
        self.upstream(name).count_reached()
    }

    /// The client with which requests are sent.
    pub(crate) fn client(&self) -> &Client<HttpConnector, Full<Bytes>> {
        &self.client
    }

    /// The time by the providers' clock.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Stops it; gives the number of connections that had to be cut. The providers go on.
    pub(crate) async fn stop(self) -> (usize, SimServer) {
        (self.app.stop().await, self.sim)
    }
}
