//! The listener, and which path leads where.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;

use super::body::{Body, Cut};
use super::chat::{chat, json};
use super::cloudflare;
use super::connection::{Afterwards, LastAct, serve};
use super::control;
use super::fault::Fault;
use super::gemini;
use super::gemini::Target;
use super::ollama;
use super::provider::{Provider, SimProvider};
use super::record::lock;
use super::spec::{Flavour, SimConfig};
use super::wire::headers::Headers;
use super::wire::models;

/// All providers of one server.
pub(super) struct House {
    pub(super) addr: SocketAddr,
    pub(super) providers: Vec<SimProvider>,
}

impl House {
    pub(super) fn base_url(&self, name: &str) -> String {
        let flavour = self.provider(name).map_or(Flavour::OpenAi, |it| it.0.spec.flavour);
        let url = format!("http://{}/{name}/{}", self.addr, flavour.version());
        url.trim_end_matches('/').to_owned()
    }

    fn provider(&self, name: &str) -> Option<&SimProvider> {
        self.providers.iter().rev().find(|provider| provider.name() == name)
    }
}

/// A running server of simulated providers. Dropping it ends it without waiting.
pub struct SimServer {
    house: Arc<House>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl SimServer {
    /// Listens at `addr` (port 0 = any free one) and serves. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(config: SimConfig, addr: SocketAddr, clock: &SharedClock) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        // Tests connect by the hundred at once; a full queue would cost them seconds.
        let listener = socket.listen(4_096)?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let keep = config.keep_records;
        let provider = |spec| {
            SimProvider(Arc::new(Provider::new(spec, keep, Arc::clone(clock), stopping.clone())))
        };
        let providers = config.providers.into_iter().map(provider).collect();
        let house = Arc::new(House { addr: listener.local_addr()?, providers });
        tasks.spawn(accept(listener, Arc::clone(&house), tasks.clone(), stopping.clone()));
        Ok(Self { house, tasks, stopping })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.house.addr
    }

    /// The base URL of the provider of that name: what stands before `/chat/completions`, or
    /// before `/models` for a Gemini one, before `/messages` for an Anthropic one, the root for an
    /// Ollama one.
    pub fn base_url(&self, name: &str) -> String {
        self.house.base_url(&name.to_lowercase())
    }

    /// The provider of that name, in any case.
    pub fn provider(&self, name: &str) -> Option<SimProvider> {
        self.house.provider(&name.to_lowercase()).cloned()
    }

    /// Closes the listener and every connection, and waits until they are gone.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    house: Arc<House>,
    tasks: TaskTracker,
    stopping: CancellationToken,
) {
    let accepting = async {
        loop {
            // Out of descriptors or a caller gone already: the next one may fare better.
            let Ok((socket, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let _unsupported = socket.set_nodelay(true);
            let connection = serve(Arc::clone(&house), socket);
            let stopping = stopping.clone();
            tasks.spawn(async move { stopping.run_until_cancelled(connection).await });
        }
    };
    let _never: Option<()> = stopping.run_until_cancelled(accepting).await;
}

/// Sends a request where its path says.
pub(super) async fn route(
    house: Arc<House>,
    request: Request<Incoming>,
    afterwards: Afterwards,
) -> Result<Response<Body>, Cut> {
    let path = request.uri().path().to_owned();
    if path == "/" {
        return Ok(control::list(&house, &request));
    }
    let (name, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    let Some(provider) = house.provider(name).cloned() else {
        return Ok(control::error(404, "there is no such provider; GET / lists them"));
    };
    if matches!(rest, "fault" | "mend") {
        return Ok(control::turn(&provider, rest, request).await);
    }
    let down = lock(&provider.0.faults).sticky == Some(Fault::Down);
    let flavour = provider.0.spec.flavour;
    let (is_chat, target) = match flavour {
        Flavour::Gemini => {
            let target = Target::parse(rest, request.uri().query());
            (target.is_some(), target)
        }
        flavour => (rest == chat_path(flavour), None),
    };
    let models = models_path(flavour);
    if let Flavour::Cloudflare = provider.0.spec.flavour
        && let Some(stray) = cloudflare::stray(rest)
    {
        return Ok(stray);
    }
    match *request.method() {
        Method::POST if is_chat => chat(provider.0, request, target, afterwards).await,
        _ if down => {
            afterwards.set(LastAct::Close);
            Err(Cut)
        }
        Method::GET if rest == models => {
            let spec = &provider.0.spec;
            let created = provider.0.now().unix_ms / 1_000;
            let body = models::list(spec.flavour, &spec.models, created);
            Ok(json(200, &Headers::new(), body))
        }
        Method::POST if provider.0.spec.flavour == Flavour::Ollama && rest == "api/show" => {
            Ok(ollama::show(&provider.0.spec, request).await)
        }
        _ if is_chat || rest == models => Ok(control::error(405, "wrong method")),
        _ => Ok(control::error(404, "there is no such path")),
    }
}

/// Where each flavour is asked, behind the provider's name.
fn chat_path(flavour: Flavour) -> String {
    match flavour {
        Flavour::Anthropic => "v1/messages".to_owned(),
        Flavour::Ollama => "api/chat".to_owned(),
        _ => under(flavour.version(), "chat/completions"),
    }
}

/// Where each flavour lists its models.
fn models_path(flavour: Flavour) -> String {
    match flavour {
        Flavour::Gemini => gemini::MODELS.to_owned(),
        Flavour::Ollama => "api/tags".to_owned(),
        Flavour::Cloudflare => "client/v4/accounts/sim/ai/models/search".to_owned(),
        _ => under(flavour.version(), "models"),
    }
}

fn under(base: &str, path: &str) -> String {
    format!("{base}/{path}").trim_start_matches('/').to_owned()
}
