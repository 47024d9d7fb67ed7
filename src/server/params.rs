//! What can be set about the server.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use secrecy::SecretString;
use tokio::sync::Semaphore;

/// Settings of the server. The defaults are those of the program.
#[derive(Clone, Debug)]
pub struct Params {
    /// The key callers of `/v1` must show; `None` = any or none will do.
    pub master_key: Option<SecretString>,
    /// With no master key: take requests whatever their `Host` and `Origin`.
    pub insecure: bool,
    /// Origins (`scheme://host[:port]`) whose web pages may use the gateway.
    pub allowed_origins: Vec<String>,
    /// The header in which callers name their session.
    pub session_header: HeaderName,
    /// The largest body taken, in bytes.
    pub max_body_bytes: usize,
    /// What all bodies being read or answered may take together, in bytes.
    pub max_body_memory: usize,
    /// Chat requests under way at once; one more is told to come back.
    pub max_concurrent_requests: usize,
    /// Connections open at once. A few more are told so, whatever they ask but for `/health` and
    /// `/metrics`; those beyond are closed.
    pub max_connections: usize,
    /// Sockets the process may still open: each connection takes one, and each chat request another
    /// for its call to a provider.
    pub sockets: Arc<Semaphore>,
    /// How long a connection may take for the head of a request.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a whole body may take to arrive.
    pub body_timeout: Duration,
    /// How long a caller may leave what is written to it unread.
    pub write_timeout: Duration,
    /// The longest silence of a stream: a comment is sent before it is over.
    pub keep_alive: Duration,
    /// How long a stream's headers wait for its first content.
    pub hold_headers: Duration,
    /// How long a connection that is closed on a refusal still takes in, and throws away, what the
    /// caller is sending. Without it the caller would see a reset in place of the refusal.
    pub linger: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            master_key: None,
            insecure: false,
            allowed_origins: Vec::new(),
            session_header: HeaderName::from_static("x-session-id"),
            max_body_bytes: 20 * 1024 * 1024,
            max_body_memory: 1 << 30,
            max_concurrent_requests: 10_000,
            max_connections: 20_000,
            sockets: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
            hold_headers: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}
