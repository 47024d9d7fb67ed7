//! The client for Gemini's own API, `generateContent`.
//!
//! Nothing of it looks like OpenAI's: [`request`] writes the caller's request anew and [`answer`]
//! and [`stream`] write the answers as OpenAI would, so that the rest of the gateway knows no
//! difference.

mod answer;
mod contents;
pub(super) mod errors;
mod members;
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

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Request, Response, Uri};
use hyper::body::Incoming;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Completion;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::classify::classify;
use crate::provider::event_stream::EventStream;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::check_is_stream;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
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
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let mut uri = format!("{}/models/", self.base);
        encode(model::bare(&call.model), &mut uri);
        uri.extend([":", method]);
        let uri: Uri =
            uri.parse().map_err(|it| not_here(format!("the model's name can't be sent: {it}")))?;
        let mut request = post(&uri, body, if stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, KEY, "", secret)?;
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
                return Err(classify("gemini", status, &head.headers, &body, clock.now()));
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
    if kind.is_some_and(|it| it.contains("json")) {
        return Ok(Source::of_json(&read_answer(answer.into_body()).await?));
    }
    check_is_stream(&answer, "event-stream")?;
    Ok(Source::Events(Box::new(EventStream::new(answer.into_body()))))
}
