//! Making connections: name look-up, TCP, proxies and TLS, within one time.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::provider::connection::Watched;
use crate::provider::transport::Network;

/// Time for name look-up, TCP, proxy and TLS together.
const CONNECT: Duration = Duration::from_secs(10);

/// The bytes of a connection, with TLS around them or without.
pub(super) type Stream = MaybeHttpsStream<TokioIo<Watched>>;
pub(super) type Failure = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Watched>, Failure>> + Send>>;

/// Makes connections, within [`CONNECT`] from name look-up to the end of the TLS handshake.
pub(super) struct Dialer {
    tcp: TcpDialer,
    tls: OnceLock<HttpsConnector<TcpDialer>>,
    cert_file: Option<PathBuf>,
}

impl Dialer {
    pub(super) fn new(network: &Network) -> Self {
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
            tls: OnceLock::new(),
            cert_file: network.cert_file.clone(),
        }
    }

    /// A connection to the host of `uri`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn dial(&self, uri: &Uri) -> Result<Stream, Failure> {
        let connecting = async {
            if uri.scheme_str() == Some("https") {
                return self.tls().call(uri.clone()).await;
            }
            let tcp = self.tcp.http.clone().call(uri.clone()).await?;
            Ok(MaybeHttpsStream::Http(watched(tcp)))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in 10 s");
        tokio::time::timeout(CONNECT, connecting).await.map_err(|_| late())?
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
fn trusting(file: &Path) -> Option<rustls::ClientConfig> {
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

/// The TCP part of an https connection: straight, or through the proxy the environment names.
#[derive(Clone)]
struct TcpDialer {
    http: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for TcpDialer {
    type Response = TokioIo<Watched>;
    type Error = Failure;
    type Future = Connecting;

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
