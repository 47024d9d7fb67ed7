//! Connections to providers: one pooled HTTP client for all of them, with TLS, proxies and bounds.
//!
//! hyper's client gives each connection a task of its own and speaks to it through channels, which
//! costs a short request a sixth of all its instructions. All that is needed here is one request at a
//! time with a body that is known, over HTTP/1.1, and an answer that is read by who has asked:
//! [`connection`] sends and reads, [`head`] and [`framing`] know the wire, [`pool`] keeps what can be
//! used again, [`dialer`] makes what is missing.

mod body;
mod connection;
mod dialer;
mod framing;
mod head;
mod pool;
mod stream;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};

use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::transport::connection::Connection;
use crate::provider::transport::connection::Origin;
use crate::provider::transport::dialer::Dialer;
use crate::provider::transport::dialer::Failure;
use crate::provider::transport::pool::Pool;

pub use body::Incoming;

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
    /// A client. Certificates are read when the first https connection is made, not before.
    pub fn new(network: &Network) -> Self {
        Self { dialer: Arc::new(Dialer::new(network)), pool: Arc::default() }
    }

    /// Sends a request and waits for the head of the answer. `sent` is set when it begins to go out:
    /// until then nothing has reached the provider.
    ///
    /// # Errors
    /// [`FaultKind::Connect`] when no connection could be made, [`FaultKind::Cut`] when it broke
    /// before the head had arrived.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        sent: SentMark,
    ) -> Result<Response<Incoming>, Fault> {
        let mut connection = self
            .connection(request.uri())
            .await
            .map_err(|it| Fault::new(FaultKind::Connect, causes(it.as_ref())))?;
        let head = head::written(&request);
        sent.set();
        let head = connection.exchange(head, request.into_body()).await;
        let head = head.map_err(|it| Fault::new(FaultKind::Cut, causes(&it)))?;
        let keeper = head.keeps.then(|| Arc::clone(&self.pool));
        let mut answer = Response::new(Incoming::new(connection, head.framing, keeper));
        (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
        Ok(answer)
    }

    /// One that leads to the host of `uri`, kept or new.
    async fn connection(&self, uri: &Uri) -> Result<Box<Connection>, Failure> {
        let authority = uri.authority().ok_or("the address names no host")?.as_str();
        let secure = uri.scheme_str() == Some("https");
        if let Some(kept) = self.pool.take(secure, authority) {
            return Ok(kept);
        }
        let origin = Origin { secure, authority: authority.to_owned() };
        // Boxed: it is large, and seldom needed.
        let stream = Box::pin(self.dialer.dial(uri)).await?;
        Ok(Box::new(Connection::new(stream, origin)))
    }
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

fn cut(fault: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Cut, causes(fault))
}

/// An error with what caused it: the outermost often says little.
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
