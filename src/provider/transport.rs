//! Connections to providers: one pooled HTTP client for all of them, with TLS, proxies and bounds.

use std::error::Error;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Extensions, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::Service;

use crate::provider::SentMark;
use crate::provider::connection::{Pulse, Watched};
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// Time for name look-up, TCP, proxy and TLS together.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Providers close theirs after 60 to 120 s.
const IDLE: Duration = Duration::from_secs(55);
/// Unused connections kept per host.
const IDLE_PER_HOST: usize = 64;
/// Longest whole answer taken, in bytes. A text answer of 128,000 tokens has about half a MiB.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Longest error body read, in bytes.
const ERROR_BYTES: usize = 64 * 1024;
/// An error body that isn't there after this is done without.
const ERROR_WAIT: Duration = Duration::from_secs(2);

/// The pooled client. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Transport {
    client: Client<Dialer, MarkedBody>,
    /// Keeps no connection: each request gets one of its own.
    keepless: Client<Dialer, MarkedBody>,
}

/// How providers on the internet are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The proxy for https, as `HTTPS_PROXY` or `ALL_PROXY` writes it; `None` = straight.
    pub proxy: Option<String>,
    /// Hosts that are reached straight, as `NO_PROXY` writes them.
    pub no_proxy: Option<String>,
    /// The certificates to trust, in place of the system's.
    pub cert_file: Option<PathBuf>,
}

impl Transport {
    /// A client. Certificates are read when the first https connection is made, not before.
    pub fn new(network: &Network) -> Self {
        let dialer = Dialer::new(network);
        let keeping = |most| {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(most)
                .build(dialer.clone())
        };
        Self { client: keeping(IDLE_PER_HOST), keepless: keeping(0) }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`FaultKind::Connect`] when no connection could be made, [`FaultKind::Unanswered`] when it was
    /// closed before the head had arrived, [`FaultKind::Stale`] when that was one that had been kept
    /// since an earlier answer, [`FaultKind::Cut`] when what came was no head.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        sent: SentMark,
    ) -> Result<Response<Incoming>, Fault> {
        let client = if sent.is_on_new_connection() { &self.keepless } else { &self.client };
        let body = sent.clone();
        let request = request.map(|data| MarkedBody { data: Some(data), sent: body });
        let answer = client.request(request).await.map_err(|it| fault_of(&it))?;
        if let Some(pulse) = answer.extensions().get::<Pulse>() {
            pulse.answers();
            sent.hear_pulse(pulse.clone());
        }
        Ok(answer)
    }
}

fn fault_of(error: &legacy::Error) -> Fault {
    let was_kept = || {
        let mut known = Extensions::new();
        error.connect_info().inspect(|it| it.get_extras(&mut known));
        known.get::<Pulse>().is_some_and(Pulse::has_answered)
    };
    let kind = match () {
        () if error.is_connect() => FaultKind::Connect,
        () if !was_closed(error) => FaultKind::Cut,
        () if was_kept() => FaultKind::Stale,
        () => FaultKind::Unanswered,
    };
    Fault::new(kind, causes(error))
}

/// Was the connection closed by its other end, in an orderly way or not?
fn was_closed(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut cause = Some(error);
    while let Some(it) = cause {
        let closed = |it: &hyper::Error| it.is_incomplete_message() || it.is_closed();
        let broken = |it: &io::Error| {
            matches!(it.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        };
        if it.downcast_ref().is_some_and(closed) || it.downcast_ref().is_some_and(broken) {
            return true;
        }
        cause = it.source();
    }
    false
}

impl Default for Transport {
    /// Reaches everyone straight and trusts the system's certificates.
    fn default() -> Self {
        Self::new(&Network::default())
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`FaultKind::Cut`] when it breaks off, [`FaultKind::TooLarge`] when it is too large.
pub async fn read_answer(body: Incoming) -> Result<Bytes, Fault> {
    read(body, ANSWER_BYTES).await
}

/// Reads an error body as far as it comes soon and is not too long.
pub async fn read_error(mut body: Incoming) -> Bytes {
    let mut all = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let room = ERROR_BYTES.saturating_sub(all.len());
            all.extend_from_slice(data.get(..room).unwrap_or(&data));
            if all.len() >= ERROR_BYTES {
                break;
            }
        }
    };
    // What has come until then is better than nothing.
    tokio::time::timeout(ERROR_WAIT, reading).await.ok();
    all.freeze()
}

/// The body of an answer, to be read piece by piece. Dropping it closes the connection.
pub enum AnswerBody {
    /// A provider's.
    Upstream(Incoming),
    /// Pieces that are there already.
    #[cfg(any(test, fuzzing))]
    Given(futures::stream::BoxStream<'static, Bytes>),
}

impl AnswerBody {
    /// The next piece, which may be empty; `None` when the body is over.
    ///
    /// # Errors
    /// [`FaultKind::Cut`] when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Upstream(body) => match body.frame().await {
                Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
                Some(Err(it)) => Err(Fault::new(FaultKind::Cut, causes(&it))),
                None => Ok(None),
            },
            #[cfg(any(test, fuzzing))]
            Self::Given(pieces) => Ok(futures::StreamExt::next(pieces).await),
        }
    }
}

impl From<Incoming> for AnswerBody {
    fn from(body: Incoming) -> Self {
        Self::Upstream(body)
    }
}

async fn read(mut body: Incoming, most: usize) -> Result<Bytes, Fault> {
    let too_large = || Fault::new(FaultKind::TooLarge, format!("more than {most} bytes"));
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > most {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|it| Fault::new(FaultKind::Cut, causes(&it)))?;
        let Ok(data) = frame.into_data() else { continue };
        // Most answers are one piece: it is passed on without a copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
        if all.len() > most {
            return Err(too_large());
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// An error with what caused it: hyper's own words say little.
pub fn causes(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(it) = cause {
        let more = it.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = it.source();
    }
    text
}

/// A request body that says when it is first asked for: hyper asks once a connection stands and
/// the head is on its way, so until then nothing has reached the provider.
struct MarkedBody {
    data: Option<Bytes>,
    sent: SentMark,
}

impl Body for MarkedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.sent.set();
        Poll::Ready(self.data.take().map(|it| Ok(Frame::data(it))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |it| it.len() as u64))
    }
}

type Connection = MaybeHttpsStream<TokioIo<Watched>>;
type Failure = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// Makes connections, within [`CONNECT`] from name look-up to the end of the TLS handshake.
#[derive(Clone)]
struct Dialer {
    tcp: TcpDialer,
    tls: Arc<OnceLock<HttpsConnector<TcpDialer>>>,
    cert_file: Option<PathBuf>,
}

impl Dialer {
    fn new(network: &Network) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let mut proxies = Matcher::builder();
        if let Some(proxy) = &network.proxy {
            proxies = proxies.https(proxy.clone());
        }
        if let Some(straight) = &network.no_proxy {
            proxies = proxies.no(straight.clone());
        }
        Self {
            tcp: TcpDialer { http, proxies: Arc::new(proxies.build()) },
            tls: Arc::new(OnceLock::new()),
            cert_file: network.cert_file.clone(),
        }
    }

    fn tls(&self) -> HttpsConnector<TcpDialer> {
        let make = || {
            let tcp = self.tcp.clone();
            if let Some(config) = self.cert_file.as_deref().and_then(trusting) {
                let builder = HttpsConnectorBuilder::new().with_tls_config(config);
                return builder.https_only().enable_http1().wrap_connector(tcp);
            }
            // A small container may hold no certificates; the built-in ones serve then.
            match HttpsConnectorBuilder::new().with_native_roots() {
                Ok(builder) => builder.https_only().enable_http1().wrap_connector(tcp),
                Err(_) => HttpsConnectorBuilder::new()
                    .with_webpki_roots()
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp),
            }
        };
        self.tls.get_or_init(make).clone()
    }
}

/// TLS that trusts the certificates in `file` and no others. `None`, with a warning, when there are
/// none in it.
fn trusting(file: &std::path::Path) -> Option<rustls::ClientConfig> {
    let found = rustls_native_certs::load_certs_from_paths(Some(file), None);
    let mut roots = rustls::RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        let file = file.display();
        tracing::warn!("SSL_CERT_FILE {file} holds no certificate; the system's are trusted");
        return None;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    let builder = versions.with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Service<Uri> for Dialer {
    type Response = Connection;
    type Error = Failure;
    type Future = Connecting<Connection>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting: Connecting<Connection> = if uri.scheme_str() == Some("https") {
            self.tls().call(uri)
        } else {
            let mut http = self.tcp.http.clone();
            Box::pin(async move { Ok(MaybeHttpsStream::Http(watched(http.call(uri).await?))) })
        };
        Box::pin(async move {
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in 10 s");
            tokio::time::timeout(CONNECT, connecting).await.map_err(|_| late())?
        })
    }
}

/// The TCP part of an https connection: straight, or through the proxy the environment names.
#[derive(Clone)]
struct TcpDialer {
    http: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for TcpDialer {
    type Response = TokioIo<Watched>;
    type Error = Failure;
    type Future = Connecting<TokioIo<Watched>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut http = self.http.clone();
        let Some(proxy) = self.proxies.intercept(&uri) else {
            return Box::pin(async move { Ok(watched(http.call(uri).await?)) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move { Ok(watched(tunnel.call(uri).await?)) })
    }
}

fn watched(stream: TokioIo<TcpStream>) -> TokioIo<Watched> {
    TokioIo::new(Watched::new(stream.into_inner()))
}
