//! What goes into a journey and what comes out of it: all that the server knows of dispatch.

use std::sync::Arc;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::callers::VirtualKey;
use crate::openai::ApiError;
use crate::openai::ChatRequest;

/// Something that answers chat requests.
pub trait ChatService: Send + Sync + 'static {
    /// Begins a journey. Nothing happens until the returned future is polled; dropping it, or the
    /// stream it gave, ends the journey and drops the upstream call.
    fn begin(&self, call: ChatCall) -> Journey;
}

/// One chat request with what its headers say.
#[derive(Clone, Debug)]
pub struct ChatCall {
    /// The checked body.
    pub request: ChatRequest,
    /// The caller's session, if it named one.
    pub session: Option<String>,
    /// Does the caller want the style guide? `None` when it says nothing of it.
    pub style: Option<bool>,
    /// May the answer's text be normalised?
    pub normalize: bool,
    /// Who asks, for taking turns when quota is short.
    pub who: Who,
    /// Under which id it is logged.
    pub request_id: Arc<str>,
    /// The virtual key that was shown, if it was one: what it allows, and who pays.
    pub key: Option<Arc<VirtualKey>>,
    /// What the providers asked have to be like, whoever wants that.
    pub requires: Requirements,
}

/// Who asks, in numbers that tell nothing of them. When quota is short keys take turns, and so do the
/// sessions of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Who {
    /// The key that was shown; without one, the address.
    pub key: u64,
    /// The session, if it has one.
    pub session: u64,
}

/// What a request asks of every provider it goes to, and of this gateway on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The provider is known not to train on prompts.
    pub no_training: bool,
    /// One provider is asked for exactly what the request says, and its answer or error comes back
    /// as it is.
    pub strict: bool,
    /// The answer says in a header how it came to be.
    pub trace: bool,
}

/// A journey under way.
pub struct Journey {
    /// What is being tried now: for the headers of a stream that stays silent for long.
    pub progress: Arc<Progress>,
    /// The beginning of the answer. A whole answer is complete; a stream has its first content.
    pub answer: BoxFuture<'static, Result<Answer, Failure>>,
}

/// The beginning of an answer.
pub enum Answer {
    /// A whole answer.
    Whole {
        /// How it came to be.
        route: Route,
        /// OpenAI's `chat.completion`.
        body: Bytes,
    },
    /// A streamed answer that has begun.
    Stream {
        /// How it came to be.
        route: Route,
        /// Its events.
        events: Events,
    },
}

/// The events of a stream. After the last one the stream is complete and `[DONE]` is due; an error
/// ends it and is sent as its last event.
pub type Events = BoxStream<'static, Result<Event, ApiError>>;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data: one `chat.completion.chunk`.
    Chunk(Bytes),
    /// A comment for people who read the stream; clients skip it.
    Comment(String),
}

/// A journey that ended without an answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the caller is told. Boxed to keep the good path's results small.
    pub error: Box<ApiError>,
    /// What was tried last; `None` when no provider was asked.
    pub route: Option<Route>,
}

/// How an answer came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The provider's name as the limits file writes it.
    pub provider: Arc<str>,
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// The model as the request named it; `meta-model` when it named none.
    pub requested: Arc<str>,
    /// Why this one.
    pub reason: RouteReason,
    /// Calls made, this one included.
    pub attempts: u32,
    /// What was done to the history, as `X-Relay-Context` says it.
    pub context: Option<String>,
    /// What was asked for and not done, as `X-Relay-Warning` says it.
    pub warnings: Vec<String>,
    /// The provider's own id for the answer.
    pub upstream_id: Option<String>,
}

/// Why a target was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteReason {
    /// The request names provider and model.
    Direct,
    /// The strategy's choice.
    Meta,
    /// The session lives there.
    Affinity,
    /// Another was asked before and failed.
    Failover,
}

impl RouteReason {
    /// As `X-Relay-Route-Reason` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Meta => "meta",
            Self::Affinity => "affinity",
            Self::Failover => "failover",
        }
    }
}

/// What a journey is trying now.
#[derive(Debug, Default)]
pub struct Progress {
    route: Mutex<Option<Route>>,
    trace: OnceLock<String>,
    cut: OnceLock<&'static str>,
}

impl Progress {
    /// Says what is being tried.
    pub fn set(&self, route: Route) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = Some(route);
    }

    /// What is being tried; `None` before the first attempt.
    pub fn get(&self) -> Option<Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says in a line what was tried until the answer began.
    pub fn tell_trace(&self, trace: Option<String>) {
        if let Some(trace) = trace {
            self.trace.set(trace).ok();
        }
    }

    /// Whoever drops the answer before its end does so for this reason. Not said when it is the caller who
    /// goes.
    pub fn tell_cut(&self, why: &'static str) {
        self.cut.set(why).ok();
    }

    /// Why this gateway has dropped the answer; `None` when the caller has gone.
    pub fn cut(&self) -> Option<&'static str> {
        self.cut.get().copied()
    }

    /// That line, where it was asked for and the answer has begun.
    pub fn trace(&self) -> Option<&str> {
        self.trace.get().map(String::as_str)
    }
}
