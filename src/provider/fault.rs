//! What went wrong with a call, as data: what happened, and when the same may be asked again.

use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::catalog::Period;

/// A failed call.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// The provider's HTTP status; `None` when it gave none.
    pub status: Option<u16>,
    /// The provider's own words, shortened, or ours where it had none. Never holds a key.
    pub message: String,
    /// The provider's error code, where it gave one.
    pub code: Option<String>,
    /// The member of the request it blames, where it names one.
    pub param: Option<String>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Does it hold for every model of the key's account?
    pub account_wide: bool,
}

/// Kinds of failed calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This key has used up this model's quota; the period where it is told.
    RateLimited(Option<Period>),
    /// The provider's capacity is short, whoever asks.
    Busy,
    /// The key is not accepted.
    KeyRejected,
    /// The key is good but there is no money behind it.
    NoCredit,
    /// The provider has no such model, or not for this account.
    ModelGone,
    /// The conversation is too long for this model.
    ContextTooLong,
    /// The provider doesn't know this member of the request.
    FieldUnknown(String),
    /// A request that any provider would refuse.
    BadRequest,
    /// A request that this provider refuses and another may take.
    NotHere,
    /// The provider failed: 5xx, or an error where an answer should be.
    Server,
    /// The answer could not be read.
    Unreadable,
    /// The answer had nothing in it.
    Empty,
    /// The answer is not what its JSON schema says.
    OffSchema,
    /// JSON was asked for and there is none in the answer.
    NoJson,
    /// The answer broke off.
    Cut,
    /// No connection could be made.
    Connect,
    /// It took too long.
    Timeout(Waited),
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The first token of a stream.
    FirstToken,
    /// The next event of a stream.
    NextEvent,
    /// The whole answer.
    Answer,
}

/// Longest message kept of a provider's error, in bytes.
const MESSAGE_BYTES: usize = 500;

impl FaultKind {
    /// One word for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RateLimited(_) => "rate_limited",
            Self::Busy => "busy",
            Self::KeyRejected => "key_rejected",
            Self::NoCredit => "no_credit",
            Self::ModelGone => "model_gone",
            Self::ContextTooLong => "context_too_long",
            Self::FieldUnknown(_) => "field_unknown",
            Self::BadRequest => "bad_request",
            Self::NotHere => "not_here",
            Self::Server => "server_error",
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::OffSchema => "off_schema",
            Self::NoJson => "no_json",
            Self::Cut => "cut",
            Self::Connect => "connect",
            Self::Timeout(_) => "timeout",
        }
    }
}

impl Fault {
    /// A fault with no more than its kind and a message.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES {
            let end = (0..=MESSAGE_BYTES).rev().find(|it| message.is_char_boundary(*it));
            message.truncate(end.unwrap_or(0));
            message.push('…');
        }
        Self {
            kind,
            status: None,
            message,
            code: None,
            param: None,
            retry_after: None,
            account_wide: false,
        }
    }

    /// The same fault with `secret` struck out of whatever the provider said.
    #[must_use]
    pub fn without(mut self, secret: Option<&SecretString>) -> Self {
        let Some(secret) = secret.map(ExposeSecret::expose_secret).filter(|it| !it.is_empty())
        else {
            return self;
        };
        let strike = |text: &mut String| {
            if text.contains(secret) {
                *text = text.replace(secret, "[key]");
            }
        };
        strike(&mut self.message);
        [&mut self.code, &mut self.param].into_iter().flatten().for_each(strike);
        if let FaultKind::FieldUnknown(field) = &mut self.kind {
            strike(field);
        }
        self
    }

    /// In a word or two, for logs and error texts.
    pub fn summary(&self) -> String {
        let what = match &self.kind {
            FaultKind::RateLimited(Some(period)) => {
                format!("rate limited ({})", period.name())
            }
            FaultKind::RateLimited(None) => "rate limited".to_owned(),
            FaultKind::Busy => "busy".to_owned(),
            FaultKind::KeyRejected => "key rejected".to_owned(),
            FaultKind::NoCredit => "no credit".to_owned(),
            FaultKind::ModelGone => "model gone".to_owned(),
            FaultKind::ContextTooLong => "context too long".to_owned(),
            FaultKind::FieldUnknown(field) => format!("doesn't know {field}"),
            FaultKind::BadRequest | FaultKind::NotHere => "request refused".to_owned(),
            FaultKind::Server => "server error".to_owned(),
            FaultKind::Unreadable => "unreadable answer".to_owned(),
            FaultKind::Empty => "empty answer".to_owned(),
            FaultKind::OffSchema => "answer did not fit the schema".to_owned(),
            FaultKind::NoJson => "no JSON in the answer".to_owned(),
            FaultKind::Cut => "connection broke off".to_owned(),
            FaultKind::Connect => "no connection".to_owned(),
            FaultKind::Timeout(Waited::FirstToken) => "first token too late".to_owned(),
            FaultKind::Timeout(Waited::NextEvent) => "stream fell silent".to_owned(),
            FaultKind::Timeout(Waited::Answer) => "timed out".to_owned(),
        };
        match self.status {
            Some(status) => format!("{status} {what}"),
            None => what,
        }
    }
}
