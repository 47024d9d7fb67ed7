//! Their wire: turns a request into a provider's dialect and its answer back into OpenAI's.
//!
//! Each provider is a [`ChatProvider`]. Most speak OpenAI's own dialect and differ in a few quirks
//! ([`quirks`]); one client serves them all.

pub mod anthropic;
mod asked;
pub mod classify;
pub mod connection;
mod context_said;
mod conversation;
mod error_body;
mod error_rules;
pub mod event_stream;
#[cfg(test)]
mod example;
mod exchange;
pub mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gemini;
pub mod masking;
pub mod ndjson;
pub mod ollama;
pub mod openai_compatible;
mod page;
pub mod quirks;
mod quota_said;
pub mod rate_limits;
mod refusal;
pub mod registry;
pub mod retry_hint;
pub mod sse;
mod steps;
mod thoughts;
pub mod transport;
mod unknown_members;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::HeaderValue;
use secrecy::SecretString;

use crate::openai::ChatRequest;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::RequestEdits;
use crate::provider::connection::Pulse;
use crate::provider::fault::Fault;
use crate::provider::rate_limits::RateLimit;

/// One provider that can be asked for a chat completion.
///
/// Dropping the returned future, or the stream it gave, drops the call: the connection is closed
/// and the provider sees it at once.
pub trait ChatProvider: Send + Sync + 'static {
    /// Asks for one answer. Time-outs, the connection's aside, are the caller's affair.
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>>;
}

/// One call of one model with one key.
#[derive(Clone, Debug)]
pub struct Call {
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// The key; `None` for a provider that wants none.
    pub secret: Option<SecretString>,
    /// What the caller asked.
    pub request: Arc<ChatRequest>,
    /// Changes this gateway makes to it, whatever the provider.
    pub edits: RequestEdits,
    /// Is the answer's text to stay as it comes, with whatever tags are in it?
    pub verbatim: bool,
    /// Set once the request begins to go out: from then on the provider may count it. Holds what
    /// the answer's headers say of limits, too.
    pub sent: SentMark,
}

/// Says whether a request has begun to be written to the provider, and what the head of its answer
/// said of limits: what has to be known of a call however it ends, also when nobody waits for it.
#[derive(Clone, Debug, Default)]
pub struct SentMark(Arc<Sent>);

#[derive(Debug, Default)]
struct Sent {
    /// Is it to go out on a connection of its own?
    alone: bool,
    written: AtomicBool,
    pulse: OnceLock<Pulse>,
    limits: OnceLock<Vec<RateLimit>>,
    refusal: OnceLock<ErrorBody>,
}

/// A provider's error as it came, bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// Its `Content-Type`, where it has one.
    pub content_type: Option<HeaderValue>,
    /// What it says. It may hold the key the provider was asked with.
    pub body: Bytes,
}

impl SentMark {
    /// For a request that is to go out on a connection nobody has used before.
    pub fn on_new_connection() -> Self {
        Self(Arc::new(Sent { alone: true, ..Sent::default() }))
    }

    /// Is it to go out on such a connection?
    pub fn is_on_new_connection(&self) -> bool {
        self.0.alone
    }

    /// The head of the answer has come by this connection.
    pub(crate) fn hear_pulse(&self, pulse: Pulse) {
        self.0.pulse.set(pulse).ok();
    }

    /// Bytes that have come by the answer's connection so far, whatever they say; 0 before its head.
    pub fn bytes_read(&self) -> u64 {
        self.0.pulse.get().map_or(0, Pulse::read)
    }

    /// The request is being written.
    pub fn set(&self) {
        self.0.written.store(true, Ordering::Release);
    }

    /// Has any of it been written?
    pub fn is_set(&self) -> bool {
        self.0.written.load(Ordering::Acquire)
    }

    /// The head of the answer has come. A call has one answer: a second is not heard.
    pub fn hear(&self, limits: Vec<RateLimit>) {
        if !limits.is_empty() {
            self.0.limits.set(limits).ok();
        }
    }

    /// The provider has refused in these words.
    pub fn hear_refusal(&self, said: ErrorBody) {
        self.0.refusal.set(said).ok();
    }

    /// The words in which the provider has refused, if it has.
    pub fn refusal(&self) -> Option<&ErrorBody> {
        self.0.refusal.get()
    }

    /// What the head of the answer said of limits; nothing until it has come.
    pub fn limits(&self) -> &[RateLimit] {
        self.0.limits.get().map_or(&[], Vec::as_slice)
    }
}

/// Members of a request that a provider was not sent as the caller wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmet {
    /// Left out: the provider can't take them.
    pub dropped: Vec<&'static str>,
    /// Lowered to the most the provider takes.
    pub lowered: Vec<&'static str>,
}

/// What a provider gave.
pub enum Reply {
    /// The whole answer. Boxed: it is large, and a stream is not.
    Whole(Box<Whole>),
    /// The answer in pieces.
    Stream(Pieces),
}

/// A whole answer and what came with it.
#[derive(Debug)]
pub struct Whole {
    /// The answer in OpenAI's form.
    pub completion: Completion,
    /// What was asked for and not passed on.
    pub unmet: Unmet,
}

/// A streamed answer and what came with it.
pub struct Pieces {
    /// The answer's chunks. It ends after the provider's end mark; a stream that is cut ends with
    /// a [`Fault`].
    pub chunks: BoxStream<'static, Result<Chunk, Fault>>,
    /// What was asked for and not passed on.
    pub unmet: Unmet,
}
