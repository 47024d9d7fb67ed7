//! The client for Gemini's own API, `generateContent`.
//!
//! Nothing of it looks like OpenAI's: [`request`] writes the caller's request anew and [`answer`]
//! and [`stream`] write the answers as OpenAI would, so that the rest of the gateway knows no
//! difference.

mod answer;
mod contents;
mod errors;
mod model;
mod page;
mod request;
mod schema;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use secrecy::ExposeSecret;

use bytes::Bytes;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Completion;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::event_stream::EventStream;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;
use crate::provider::transport::read_error;

use contents::not_here;
use stream::Source;

/// In a header, not in the URL: URLs are logged on the way.
const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Google's Gemini API.
pub struct GeminiClient {
    /// What stands before `/models`.
    base: String,
    transport: Transport,
    clock: SharedClock,
}

impl GeminiClient {
    /// The API below `base_url`, which ends in its version (`…/v1beta`).
    ///
    /// # Errors
    /// When `base_url` is no URL.
    pub fn new(
        base_url: &str,
        transport: Transport,
        clock: SharedClock,
    ) -> Result<Self, http::uri::InvalidUri> {
        let base = base_url.trim_end_matches('/').to_owned();
        format!("{base}/models").parse::<Uri>()?;
        Ok(Self { base, transport, clock })
    }

    /// The HTTP request for `call`, and the members left out of it.
    fn outgoing(&self, call: &Call) -> Result<(Request<Bytes>, Vec<&'static str>), Fault> {
        let (body, dropped) = request::translate(call)?;
        let stream = call.request.stream;
        let method =
            if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let mut uri = format!("{}/models/", self.base);
        encode(model::bare(&call.model), &mut uri);
        uri.extend([":", method]);
        let unsendable = |it: http::Error| not_here(format!("the request can't be sent: {it}"));
        let mut request = Request::post(uri).body(body).map_err(unsendable)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let agent = concat!("relayfreellm/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(secret) = &call.secret {
            let mut key = HeaderValue::try_from(secret.expose_secret())
                .map_err(|_| not_here("the key can't stand in a header"))?;
            key.set_sensitive(true);
            headers.insert(KEY, key);
        }
        Ok((request, dropped))
    }
}

/// Writes a model's name into a path; the slashes in it stay.
fn encode(name: &str, into: &mut String) {
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'@' => {
                into.push(char::from(byte));
            }
            // Writing into a string does not fail.
            _ => write!(into, "%{byte:02X}").unwrap_or_default(),
        }
    }
}

impl ChatProvider for GeminiClient {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (request, dropped) = outgoing?;
            let answer = transport.send(request, call.sent).await?;
            let (head, body) = answer.into_parts();
            if !head.status.is_success() {
                let status = head.status.as_u16();
                let body = read_error(body).await;
                if head.status.is_redirection() {
                    let words = "a redirect, which is not followed";
                    let mut fault = Fault::new(FaultKind::Unreadable, words);
                    fault.status = Some(status);
                    return Err(fault);
                }
                return Err(errors::classify(status, &head.headers, &body, clock.now()));
            }
            let answer = Response::from_parts(head, body);
            if call.request.stream {
                let chunks = stream::chunks(source(answer).await?, clock);
                return Ok(Reply::Stream(Pieces { chunks, dropped }));
            }
            whole(&read_answer(answer.into_body()).await?, dropped, clock.now())
        })
    }
}

fn whole(body: &Bytes, dropped: Vec<&'static str>, now: Now) -> Result<Reply, Fault> {
    let response = answer::Response::parse(body)?;
    if response.error.is_some() {
        return Err(errors::classify_inside_answer(body, now));
    }
    let completion = response.completion(now.unix_ms / 1_000)?;
    let completion = Completion::parse(&completion.into())
        .map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
    Ok(Reply::Whole(Box::new(Whole { completion, dropped })))
}

async fn source(answer: Response<Incoming>) -> Result<Source, Fault> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match kind {
        Some(kind) if kind.contains("json") => {
            Ok(Source::of_json(&read_answer(answer.into_body()).await?))
        }
        Some(kind) if !kind.contains("event-stream") => {
            let message = format!("a stream was asked for and {kind} came");
            Err(Fault::new(FaultKind::Unreadable, message))
        }
        _ => Ok(Source::Events(Box::new(EventStream::new(answer.into_body())))),
    }
}
