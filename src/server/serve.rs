//! The accept loop, and the end of it.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Front;
use super::arrival::Arrival;
use super::bell::unless;
use super::ending::{Ending, Stop};
use super::errors::{overloaded, refuse};
use super::idle::HeadTimer;
use super::params::Params;
use super::request_id::RequestId;
use super::socket::{Patience, Signs, Socket};

/// The largest head of a request, in bytes; also what a connection buffers in each direction.
const MAX_HEAD: usize = 64 * 1024;

/// How long to wait when the system has no socket to give: some will be closed meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How long before the end of its grace an answer is told of it.
const LEAVE: Duration = Duration::from_millis(500);

/// Connections beyond the bound that are told so at once.
pub const CROWD: usize = 256;
/// How long each of them may stay.
const CROWD_STAYS: Duration = Duration::from_secs(5);

/// Serves `front` on `listener` until it is to `stop`; then takes no new connections, lets what is
/// under way finish within the grace, and cuts the rest. Gives the number of connections cut.
///
/// axum's own `serve` sets no limit on the time a head may take, nor on connections.
pub async fn serve(listener: TcpListener, front: Front, params: &Params, stop: Stop) -> usize {
    let server = Server::new(front, params, stop.asked);
    server.accept_all(&listener).await;
    // From here on the system refuses connections.
    drop(listener);
    server.connections.close();
    // Callers are told shortly before the end, so that what they are told still goes out.
    let leave = (stop.grace / 4).min(LEAVE);
    let quiet = timeout(stop.grace.saturating_sub(leave), server.connections.wait());
    if let Some(Ok(())) = stop.hurried.run_until_cancelled(quiet).await {
        return 0;
    }
    server.ending.announce();
    if timeout(leave, server.connections.wait()).await.is_ok() {
        return server.ending.counted();
    }
    let cut = server.connections.len() + server.ending.counted();
    server.cut.cancel();
    server.connections.wait().await;
    cut
}

struct Server {
    http: http1::Builder,
    front: Arc<Front>,
    patience: Patience,
    head_timer: HeadTimer,
    places: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    crowd: Arc<Semaphore>,
    connections: TaskTracker,
    shutdown: CancellationToken,
    ending: Ending,
    cut: CancellationToken,
}

impl Server {
    fn new(front: Front, params: &Params, shutdown: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.header_read_timeout(params.header_timeout)
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD);
        let places = params.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            http,
            front: Arc::new(front),
            patience: Patience { write: params.write_timeout, linger: params.linger },
            head_timer: HeadTimer {
                read: Arc::default(),
                head: params.header_timeout,
                idle: params.idle_timeout,
            },
            places: Arc::new(Semaphore::new(places)),
            sockets: Arc::clone(&params.sockets),
            crowd: Arc::new(Semaphore::new(CROWD)),
            connections: TaskTracker::new(),
            shutdown,
            ending: Ending::default(),
            cut: CancellationToken::new(),
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => self.take_in(stream, peer.ip().to_canonical()),
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

    /// A caller is never left waiting outside: it could not even ask how the gateway is.
    fn take_in(&self, stream: TcpStream, peer: IpAddr) {
        let one = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        if let Some(place) = one(&self.places).zip(one(&self.sockets)) {
            self.spawn((stream, peer), place, false);
        } else if let Some(place) = one(&self.crowd) {
            self.spawn((stream, peer), place, true);
        }
    }

    fn spawn(
        &self,
        (stream, peer): (TcpStream, IpAddr),
        place: impl Send + 'static,
        crowded: bool,
    ) {
        // Without this the last packet of an answer may wait for the caller's acknowledgement.
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(error = %fault, "can't set TCP_NODELAY");
        }
        let mut http = self.http.clone();
        let timer = HeadTimer { read: Arc::default(), ..self.head_timer.clone() };
        let read = Arc::clone(&timer.read);
        http.timer(timer).keep_alive(!crowded);
        let refused = Arc::new(AtomicBool::new(false));
        let unread = Arc::new(AtomicBool::new(false));
        let signs = Signs { refused: Arc::clone(&refused), unread: Arc::clone(&unread), read };
        let socket = Socket::new(stream, self.patience, signs);
        let arrival = Arrival { unread, peer, ending: self.ending.clone() };
        let front = Arc::clone(&self.front);
        let callee = Arc::new(Callee { front, arrival, refused, crowded });
        let (shutdown, cut) = (self.shutdown.clone(), self.cut.clone());
        self.connections.spawn(async move {
            let stays = async {
                if crowded { sleep(CROWD_STAYS).await } else { std::future::pending().await }
            };
            let ends = pin!(async {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = stays => {}
                }
            });
            let connection = pin!(converse(&http, socket, callee, shutdown));
            unless(connection, ends).await;
            drop(place);
        });
    }
}

/// Serves one connection to its end; after `shutdown` that is the end of the answer under way.
async fn converse(
    http: &http1::Builder,
    socket: Socket,
    callee: Arc<Callee>,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request| {
        let callee = Arc::clone(&callee);
        async move { Ok::<_, Infallible>(callee.answer(request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = unless(connection.as_mut(), pin!(shutdown.cancelled())).await;
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(fault) = ended {
        tracing::debug!(error = %fault, "a connection ended early");
    }
}

/// Whom a connection speaks to.
struct Callee {
    front: Arc<Front>,
    arrival: Arrival,
    /// Was the last answer a refusal?
    refused: Arc<AtomicBool>,
    /// Is it one connection too many?
    crowded: bool,
}

impl Callee {
    async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let response = if self.crowded && !WATCHED.contains(&request.uri().path()) {
            let id = RequestId::of(request.headers());
            let mut response = refuse(&overloaded(), &id);
            id.stamp(response.headers_mut());
            response
        } else {
            self.front.admit(&self.arrival, request).await
        };
        let status = response.status();
        let refuses = status.is_client_error() || status.is_server_error();
        // Whose time is up is not waited for, also not to take in the answer.
        let lingers = refuses && !self.arrival.ending.is_now();
        self.refused.store(lingers, Ordering::Relaxed);
        response
    }
}

/// What is answered however many come.
const WATCHED: [&str; 2] = ["/health", "/metrics"];

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
