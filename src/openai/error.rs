//! Errors as OpenAI writes them.

use std::time::Duration;

use serde::Serialize;

/// An error to be sent to a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's `type`: its SDKs and users tell errors apart by status first and by this second.
    pub kind: &'static str,
    /// What is wrong and what is wanted.
    pub message: String,
    /// The member of the request at fault.
    pub param: Option<String>,
    /// OpenAI's `code`.
    pub code: Option<String>,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
    /// What few errors have. Boxed to keep the others small.
    pub more: Option<Box<More>>,
}

/// What an error has beside the usual members.
#[derive(Clone, Debug, PartialEq)]
pub enum More {
    /// What the pool looks like, when every candidate has failed.
    Exhaustion(Exhaustion),
    /// The body to be sent in place of the one that is written here.
    Verbatim(Verbatim),
    /// What the log says in place of the message, where that repeats words of others.
    Logged(Box<str>),
}

/// A provider's own error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbatim {
    /// `Content-Type`; empty when the provider gave none.
    pub content_type: String,
    /// The body, without any key.
    pub body: String,
}

/// Why nothing could answer, provider by provider, and what will be free when.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Exhaustion {
    /// One entry for each provider that could have served the request.
    pub providers: Vec<ProviderState>,
    /// Models of the pool that will be available, soonest first.
    pub suggestions: Vec<Suggestion>,
}

/// One provider's part in an exhausted pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProviderState {
    /// The provider's name.
    pub id: String,
    /// Milliseconds until it may be asked again; `null` when that is not known.
    pub retry_after_ms: Option<u64>,
    /// Keys that are not out.
    pub keys_available: usize,
    /// `closed`, `open` or `half-open`.
    pub circuit_state: &'static str,
}

/// A model to ask for instead, or later.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// `<provider>/<model>`.
    pub model: String,
    /// Milliseconds until it is available; 0 = now.
    pub available_in_ms: u64,
}

impl ApiError {
    /// An error with a status, OpenAI's type and a message.
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
            more: None,
        }
    }

    /// A 400 that is the caller's to mend.
    pub fn invalid(message: impl Into<String>, param: Option<&str>) -> Self {
        Self { param: param.map(str::to_owned), ..Self::new(400, "invalid_request_error", message) }
    }

    /// The same error with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same error with the member at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error with the time after which to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same error, of which the log says this: the message repeats what the caller, or a provider,
    /// has written.
    #[must_use]
    pub fn logged_as(mut self, text: impl Into<Box<str>>) -> Self {
        self.more = Some(Box::new(More::Logged(text.into())));
        self
    }

    /// What the log may say of it.
    pub fn for_the_log(&self) -> &str {
        match self.more.as_deref() {
            Some(More::Logged(text)) => text,
            Some(More::Exhaustion(_) | More::Verbatim(_)) | None => &self.message,
        }
    }

    /// `Retry-After` in whole seconds, rounded up: one that is too short earns another refusal.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|it| it.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }

    /// The provider's own error, where it is passed on as it came.
    pub fn verbatim(&self) -> Option<&Verbatim> {
        match self.more.as_deref() {
            Some(More::Verbatim(it)) => Some(it),
            Some(More::Exhaustion(_) | More::Logged(_)) | None => None,
        }
    }

    /// The body: `{"error":{...}}`.
    pub fn to_json(&self, request_id: &str) -> String {
        let (providers, suggestions) = match self.more.as_deref() {
            Some(More::Exhaustion(it)) => (Some(&it.providers), Some(&it.suggestions)),
            Some(More::Verbatim(_) | More::Logged(_)) | None => (None, None),
        };
        let body = Body {
            message: &self.message,
            kind: self.kind,
            param: self.param.as_deref(),
            code: self.code.as_deref(),
            request_id,
            retry_after_ms: self.retry_after.map(|it| it.as_millis()),
            providers,
            suggestions,
        };
        serde_json::to_string(&Envelope { error: body }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    providers: Option<&'a Vec<ProviderState>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestions: Option<&'a Vec<Suggestion>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_openais() {
        let error = ApiError::invalid("n must be 1.", Some("n"));
        assert_eq!(
            error.to_json("req_1"),
            r#"{"error":{"message":"n must be 1.","type":"invalid_request_error","param":"n","code":null,"request_id":"req_1"}}"#
        );
    }

    #[test]
    fn retry_after_is_never_too_short() {
        let seconds = |ms| {
            let error = ApiError::new(429, "rate_limit_error", "");
            error.with_retry_after(Duration::from_millis(ms)).retry_after_seconds()
        };
        assert_eq!(
            [seconds(0), seconds(1), seconds(1000), seconds(1001)],
            [Some(0), Some(1), Some(1), Some(2)]
        );
    }
}
