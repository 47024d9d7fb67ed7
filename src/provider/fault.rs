//! What went wrong with a call, as data: what happened, and when the same may be asked again.

use std::time::Duration;

use secrecy::SecretString;

use crate::catalog::Period;
use crate::catalog::Unit;
use crate::provider::context_said;
use crate::provider::masking::struck;

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
    pub code: Option<Box<str>>,
    /// The member of the request it blames, where it names one.
    pub param: Option<Box<str>>,
    /// How long it asks to be left alone; at most [`retry_hint::LONGEST`].
    ///
    /// [`retry_hint::LONGEST`]: crate::provider::retry_hint::LONGEST
    pub retry_after: Option<Duration>,
    /// What it holds for.
    pub scope: Scope,
    /// The quotas it speaks of, as far as unit and period are told.
    pub quota: Box<[QuotaSaid]>,
}

/// What a fault holds for, and so who else need not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This request; the next may fare better.
    Request,
    /// This key with this model.
    Target,
    /// This key, whatever the model.
    Key,
    /// Every key and model of the key's account.
    Account,
    /// This model, whatever the key.
    Model,
    /// The whole provider.
    Provider,
}

/// What a refusal says of one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSaid {
    /// What it counts. A budget in some other currency (Cloudflare's neurons, money a month) is
    /// told as requests: none is left.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// Its size, where it is told.
    pub limit: Option<u64>,
    /// What is left of it, where that can be told.
    pub remaining: Option<u64>,
    /// Is nothing left? Not so where only this request was larger than what is.
    pub exhausted: bool,
    /// From now until it is whole again (or this request fits), where the provider tells it and
    /// can be believed; otherwise the window's own period and calendar hold.
    pub until: Option<Duration>,
    /// Do all models of the key's account share it?
    pub account_wide: bool,
}

/// Kinds of failed calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This key has used up this model's quota; the period where it is told.
    RateLimited(Option<Period>),
    /// The provider's capacity is short, whoever asks.
    Busy,
    /// As many calls are under way as may be; one fewer, and it would have been taken.
    TooManyInFlight,
    /// The key is not accepted.
    KeyRejected,
    /// The key may be good, but it can't be used: from this country, by this program, or before
    /// somebody has changed a setting of the account.
    Barred,
    /// The key is good but there is no money behind it.
    NoCredit,
    /// The provider has no such model, or not for this account.
    ModelGone,
    /// The conversation is too long for this model.
    ContextTooLong,
    /// The provider doesn't know members of the request: the names it may mean, the surest first.
    /// Which of them the request has is for others to see.
    FieldUnknown(Vec<String>),
    /// A request that any provider would refuse.
    BadRequest,
    /// A request that this provider refuses and another may take.
    NotHere,
    /// The provider failed: 5xx, or an error where an answer should be.
    Server,
    /// The answer could not be read.
    Unreadable,
    /// The answer, or one event of it, is longer than is read.
    TooLarge,
    /// The answer had nothing in it.
    Empty,
    /// The answer is not what its JSON schema says.
    OffSchema,
    /// JSON was asked for and there is none in the answer.
    NoJson,
    /// The answer broke off.
    Cut,
    /// It was to go on with an answer that broke off elsewhere, and said something else.
    Astray,
    /// No connection could be made.
    Connect,
    /// The connection was closed before a word of the answer had come.
    Unanswered,
    /// The same, and it was one that had been kept for a while: its end had given it up.
    Stale,
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
    /// Whatever could have come in what the request had left of its time, which was too little to tell.
    WhatWasLeft,
}

/// Longest message kept of a provider's error, in bytes.
const MESSAGE_BYTES: usize = 500;

impl FaultKind {
    /// What a fault of this kind holds for, unless its provider is known to mean otherwise.
    fn scope(&self) -> Scope {
        match self {
            Self::RateLimited(_) | Self::TooManyInFlight => Scope::Target,
            Self::KeyRejected => Scope::Key,
            Self::NoCredit => Scope::Account,
            Self::Busy | Self::ModelGone | Self::Server | Self::Timeout(_) => Scope::Model,
            Self::Connect | Self::Barred => Scope::Provider,
            Self::ContextTooLong
            | Self::FieldUnknown(_)
            | Self::BadRequest
            | Self::NotHere
            | Self::Unreadable
            | Self::TooLarge
            | Self::Empty
            | Self::OffSchema
            | Self::NoJson
            | Self::Cut
            | Self::Unanswered
            | Self::Stale
            | Self::Astray => Scope::Request,
        }
    }

    /// One word for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RateLimited(_) => "rate_limited",
            Self::Busy => "busy",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::KeyRejected => "key_rejected",
            Self::Barred => "barred",
            Self::NoCredit => "no_credit",
            Self::ModelGone => "model_gone",
            Self::ContextTooLong => "context_too_long",
            Self::FieldUnknown(_) => "field_unknown",
            Self::BadRequest => "bad_request",
            Self::NotHere => "not_here",
            Self::Server => "server_error",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::OffSchema => "off_schema",
            Self::NoJson => "no_json",
            Self::Cut => "cut",
            Self::Astray => "astray",
            Self::Connect => "connect",
            Self::Unanswered => "unanswered",
            Self::Stale => "stale_connection",
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
            scope: kind.scope(),
            kind,
            status: None,
            message,
            code: None,
            param: None,
            retry_after: None,
            quota: Box::default(),
        }
    }

    /// The same fault with `secret` struck out of whatever the provider said, also where it, or the
    /// end of a shortened message, shows a part of it.
    #[must_use]
    pub fn without(mut self, secret: Option<&SecretString>) -> Self {
        let struck = |text: &str| struck(text, secret, []);
        self.message = struck(&self.message).unwrap_or(self.message);
        for text in [&mut self.code, &mut self.param].into_iter().flatten() {
            if let Some(struck) = struck(text) {
                *text = struck.into_boxed_str();
            }
        }
        if let FaultKind::FieldUnknown(fields) = &mut self.kind {
            for field in fields {
                *field = struck(field).unwrap_or_else(|| std::mem::take(field));
            }
        }
        self
    }

    /// Tokens that the model holds, where it has refused a longer conversation and said how much that is.
    pub fn context(&self) -> Option<u64> {
        // Where a quota is told, that is what the conversation is too long for.
        let told = self.kind == FaultKind::ContextTooLong && self.quota.is_empty();
        told.then(|| context_said::bound(&self.message.to_ascii_lowercase())).flatten()
    }

    /// In a word or two, for logs and error texts.
    pub fn summary(&self) -> String {
        let what = match &self.kind {
            FaultKind::RateLimited(Some(period)) => {
                format!("rate limited ({})", period.name())
            }
            FaultKind::RateLimited(None) => "rate limited".to_owned(),
            FaultKind::Busy => "busy".to_owned(),
            FaultKind::TooManyInFlight => "too many calls in flight".to_owned(),
            FaultKind::KeyRejected => "key rejected".to_owned(),
            FaultKind::Barred => "barred".to_owned(),
            FaultKind::NoCredit => "no credit".to_owned(),
            FaultKind::ModelGone => "model gone".to_owned(),
            FaultKind::ContextTooLong => "context too long".to_owned(),
            // Its name may be anything: callers make up members.
            FaultKind::FieldUnknown(_) => "doesn't know a member".to_owned(),
            FaultKind::BadRequest | FaultKind::NotHere => "request refused".to_owned(),
            FaultKind::Server => "server error".to_owned(),
            FaultKind::Unreadable => "unreadable answer".to_owned(),
            FaultKind::TooLarge => format!("answer too large: {}", self.message),
            FaultKind::Empty => "empty answer".to_owned(),
            FaultKind::OffSchema => "answer did not fit the schema".to_owned(),
            FaultKind::NoJson => "no JSON in the answer".to_owned(),
            FaultKind::Cut => "connection broke off".to_owned(),
            FaultKind::Astray => "did not go on where the answer broke off".to_owned(),
            FaultKind::Connect => "no connection".to_owned(),
            FaultKind::Unanswered => "connection closed without an answer".to_owned(),
            FaultKind::Stale => "kept connection was closed".to_owned(),
            FaultKind::Timeout(Waited::FirstToken) => "first token too late".to_owned(),
            FaultKind::Timeout(Waited::NextEvent) => "stream fell silent".to_owned(),
            FaultKind::Timeout(Waited::Answer) => "timed out".to_owned(),
            FaultKind::Timeout(Waited::WhatWasLeft) => "asked too late".to_owned(),
        };
        match self.status {
            Some(status) => format!("{status} {what}"),
            None => what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        let secret = SecretString::from("sk-0123456789");
        let mut fault = Fault::new(FaultKind::FieldUnknown(vec![message.to_owned()]), message);
        fault.code = Some(message.into());
        let fault = fault.without(Some(&secret));
        assert_eq!(fault.message, expected);
        assert_eq!(fault.code.as_deref(), Some(expected));
        assert_eq!(fault.kind, FaultKind::FieldUnknown(vec![expected.to_owned()]));
    }

    #[test]
    fn a_key_is_struck_out_wherever_it_stands() {
        check("bad key sk-0123456789, or sk-0123456789", "bad key [key], or [key]");
        check("bad key sk-01234…", "bad key [key]…");
        check("bad key sk-01234", "bad key [key]");
        check("bad key sk-0…", "bad key sk-0…");
        check("no key", "no key");
        let long = format!("{}sk-0123456789", "x".repeat(MESSAGE_BYTES - 7));
        let secret = SecretString::from("sk-0123456789");
        let fault = Fault::new(FaultKind::Server, long).without(Some(&secret));
        assert!(fault.message.ends_with("x[key]…"), "{}", fault.message);
    }
}
