//! The accept loop, and the end of it.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::params::Params;
use super::socket::{Patience, Socket};

/// The largest head of a request, in bytes; also what a connection buffers in each direction.
const MAX_HEAD: usize = 64 * 1024;

/// How long to wait when the system has no socket to give: some will be closed meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves `router` on `listener` until `shutdown`; then takes no new connections, lets what is
/// under way finish within `grace`, and cuts the rest. Gives the number of connections cut.
///
/// axum's own `serve` sets no limit on the time a head may take, nor on connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    params: &Params,
    shutdown: CancellationToken,
    grace: Duration,
) -> usize {
    let server = Server::new(router, params, shutdown);
    server.accept_all(&listener).await;
    // From here on the system refuses connections.
    drop(listener);
    server.connections.close();
    if timeout(grace, server.connections.wait()).await.is_ok() {
        return 0;
    }
    let cut = server.connections.len();
    server.cut.cancel();
    server.connections.wait().await;
    cut
}

struct Server {
    http: http1::Builder,
    router: Router,
    patience: Patience,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    fn new(router: Router, params: &Params, shutdown: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(params.header_timeout)
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD);
        let places = params.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            http,
            router,
            patience: Patience { write: params.write_timeout, linger: params.linger },
            places: Arc::new(Semaphore::new(places)),
            connections: TaskTracker::new(),
            shutdown,
            cut: CancellationToken::new(),
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => self.spawn(stream, place),
                    Err(fault) if is_callers(&fault) => {}
                    Err(fault) => {
                        tracing::warn!(error = %fault, "can't accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Without this the last packet of an answer may wait for the caller's acknowledgement.
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(error = %fault, "can't set TCP_NODELAY");
        }
        let (http, router, patience) = (self.http.clone(), self.router.clone(), self.patience);
        let (shutdown, cut) = (self.shutdown.clone(), self.cut.clone());
        self.connections.spawn(async move {
            let connection = pin!(converse(&http, stream, router, patience, shutdown));
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
}

/// Serves one connection to its end; after `shutdown` that is the end of the answer under way.
async fn converse(
    http: &http1::Builder,
    stream: TcpStream,
    router: Router,
    patience: Patience,
    shutdown: CancellationToken,
) {
    let refused = Arc::new(AtomicBool::new(false));
    let socket = Socket::new(stream, patience, Arc::clone(&refused));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, refused) = (router.clone(), Arc::clone(&refused));
        async move {
            let Ok(response) = router.oneshot(request).await;
            let status = response.status();
            let refuses = status.is_client_error() || status.is_server_error();
            refused.store(refuses, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(error = %fault, "a connection ended early");
    }
}

/// Is it about the connection that was to be accepted, and not about this machine?
fn is_callers(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_sockets_is_not_the_callers() {
        let check =
            |code, expected| assert_eq!(is_callers(&io::Error::from_raw_os_error(code)), expected);
        // Linux's ECONNABORTED and EINTR; EMFILE, ENFILE and ENOMEM.
        check(103, true);
        check(4, true);
        check(24, false);
        check(23, false);
        check(12, false);
    }
}
