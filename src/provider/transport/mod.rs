//! Connections to providers: one pooled HTTP/1.1 client for all of them, with TLS, proxies and bounds.
//!
//! [`connection`] is hyper's, without a task of its own: who waits for an answer, or reads its body,
//! moves it. [`pool`] keeps what can be used again, [`dialer`] makes what is missing.

mod connection;
mod dialer;
mod incoming;
mod inline_waker;
mod pool;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use tokio::sync::Semaphore;

use crate::openai::Payload;
use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::transport::connection::Connection;
use crate::provider::transport::connection::MarkedBody;
use crate::provider::transport::connection::Origin;
use crate::provider::transport::dialer::Dialer;
use crate::provider::transport::dialer::Failure;
use crate::provider::transport::pool::Pool;

pub use incoming::Incoming;

/// Longest whole answer taken, in bytes. A text answer of 128,000 tokens has about half a MiB.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Longest error body read, in bytes.
const ERROR_BYTES: usize = 64 * 1024;
/// An error body that isn't there after this is done without.
const ERROR_WAIT: Duration = Duration::from_secs(2);

/// The pooled client. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Transport {
    dialer: Arc<Dialer>,
    pool: Arc<Pool>,
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
    /// A client. Certificates are read when the first https connection is made, not before. Of `sockets`,
    /// those that the process may still open, up to a fifth are kept open between requests.
    pub fn new(network: &Network, sockets: Arc<Semaphore>) -> Self {
        Self { dialer: Arc::new(Dialer::new(network)), pool: Arc::new(Pool::new(sockets)) }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`FaultKind::Connect`] when no connection could be made, [`FaultKind::Unanswered`] when it was
    /// closed before the head had arrived, [`FaultKind::Stale`] when that was one that had been kept
    /// since an earlier answer, [`FaultKind::Cut`] when what came was no head.
    pub async fn send(
        &self,
        request: Request<Payload>,
        sent: SentMark,
    ) -> Result<Response<Incoming>, Fault> {
        let body = sent.clone();
        let mut request = request.map(|data| MarkedBody::new(data, body));
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = std::mem::replace(request.uri_mut(), path.into());
        loop {
            let mut connection = self.connection(&uri, &sent).await?;
            let host = &connection.origin.host;
            request.headers_mut().entry(HOST).or_insert_with(|| host.clone());
            let was_kept = connection.pulse.has_answered();
            let mut fault = match connection.exchange(request).await {
                Ok(answer) => return Ok(self.begun(connection, answer, &sent)),
                Err(fault) => fault,
            };
            match fault.take_message() {
                // It was closed while it was kept.
                Some(unsent) if was_kept => request = unsent,
                _ => return Err(fault_of(&fault.into_error(), was_kept)),
            }
        }
    }

    fn begun(
        &self,
        connection: Box<Connection>,
        answer: Response<hyper::body::Incoming>,
        sent: &SentMark,
    ) -> Response<Incoming> {
        connection.pulse.answers();
        sent.hear_pulse(connection.pulse.clone());
        let keeper = (!sent.is_on_new_connection()).then(|| Arc::clone(&self.pool));
        answer.map(|body| Incoming::new(body, connection, keeper))
    }

    /// A connection to the host of `uri`, kept or new.
    async fn connection(&self, uri: &Uri, sent: &SentMark) -> Result<Box<Connection>, Fault> {
        if !sent.is_on_new_connection()
            && let Some(authority) = uri.authority()
            && let Some(kept) = self.pool.take(is_secure(uri), authority.as_str())
        {
            return Ok(kept);
        }
        // Boxed: it is large, and seldom needed.
        let made = Box::pin(self.make(uri)).await;
        made.map_err(|it| Fault::new(FaultKind::Connect, causes(it.as_ref())))
    }

    async fn make(&self, uri: &Uri) -> Result<Box<Connection>, Failure> {
        let origin = origin(uri)?;
        let stream = self.dialer.dial(uri).await?;
        Ok(Box::new(Connection::new(stream, origin).await?))
    }
}

fn is_secure(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

fn origin(uri: &Uri) -> Result<Origin, Failure> {
    let authority = uri.authority().ok_or("the URL names no host")?;
    let secure = is_secure(uri);
    let usual = if secure { 443 } else { 80 };
    let host = match authority.port_u16().filter(|it| *it != usual) {
        Some(port) => HeaderValue::try_from(format!("{}:{port}", authority.host())),
        None => HeaderValue::from_str(authority.host()),
    };
    Ok(Origin { secure, authority: authority.as_str().to_owned(), host: host? })
}

fn fault_of(error: &hyper::Error, was_kept: bool) -> Fault {
    let kind = match (was_closed(error), was_kept) {
        (false, _) => FaultKind::Cut,
        (true, true) => FaultKind::Stale,
        (true, false) => FaultKind::Unanswered,
    };
    Fault::new(kind, causes(error))
}

/// Was the connection closed by its other end, in an orderly way or not?
fn was_closed(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut cause = Some(error);
    while let Some(it) = cause {
        let closed = |it: &hyper::Error| {
            // One that was closed before anything could be sent has no other cause.
            let unsent =
                it.is_canceled() && !it.source().is_some_and(<dyn Error>::is::<hyper::Error>);
            it.is_incomplete_message() || it.is_closed() || unsent
        };
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
    /// Reaches everyone straight, trusts the system's certificates, and knows of no bound for sockets.
    fn default() -> Self {
        Self::new(&Network::default(), Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
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
        while let Ok(Some(data)) = body.next().await {
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
            Self::Upstream(body) => body.next().await.map_err(|it| cut(&it)),
            #[cfg(any(test, fuzzing))]
            Self::Given(pieces) => Ok(futures::StreamExt::next(pieces).await),
        }
    }

    /// All that matters has been read. Unlike dropping it, this keeps the connection where the body
    /// ends here.
    pub fn leave(self) {
        match self {
            Self::Upstream(body) => body.leave(),
            #[cfg(any(test, fuzzing))]
            Self::Given(_) => {}
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
    if usize::try_from(body.least()).unwrap_or(usize::MAX) > most {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(data) = body.next().await.map_err(|it| cut(&it))? {
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

fn cut(fault: &hyper::Error) -> Fault {
    Fault::new(FaultKind::Cut, causes(fault))
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
