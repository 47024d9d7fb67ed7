//! The client for Gemini's own API, `generateContent`.
//!
//! Nothing of it looks like OpenAI's: [`request`] writes the caller's request anew and [`answer`]
//! and [`stream`] write the answers as OpenAI would, so that the rest of the gateway knows no
//! difference.

mod answer;
pub(super) mod contents;
pub(super) mod errors;
#[cfg(any(test, fuzzing))]
pub(super) mod given;
mod members;
pub(super) mod model;
mod parts;
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

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Completion;
use crate::openai::Payload;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Unmet;
use crate::provider::Whole;
use crate::provider::conversation::not_here;
use crate::provider::event_stream::EventStream;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::check_is_stream;
use crate::provider::exchange::exchange;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::steps::chunks;
use crate::provider::thoughts::Shelf;
use crate::provider::thoughts::Thoughts;
use crate::provider::transport::Incoming;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

use stream::{Reading, Source};

/// By this name its errors are read.
const NAME: &str = "gemini";
/// In a header, not in the URL: URLs are logged on the way.
const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Google's Gemini API.
pub struct GeminiClient {
    /// What stands before `/models`.
    base: String,
    transport: Transport,
    clock: SharedClock,
    /// The thought signatures of calls, for clients that lose them.
    thoughts: Arc<Thoughts>,
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
        Ok(Self { base, transport, clock, thoughts: Thoughts::new() })
    }

    /// The HTTP request for `call`, and the members left out of it.
    fn outgoing(&self, call: &Call, shelf: &Shelf) -> Result<(Request<Payload>, Unmet), Fault> {
        let (body, unmet) = request::translate(call, shelf, self.clock.now())?;
        let stream = call.request.stream;
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let mut uri = format!("{}/models/", self.base);
        encode(shelf.model(), &mut uri);
        uri.extend([":", method]);
        let uri: Uri =
            uri.parse().map_err(|it| not_here(format!("the model's name can't be sent: {it}")))?;
        let mut request = post(&uri, body, if stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, KEY, "", secret)?;
        }
        Ok((request, unmet))
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
        let shelf = self.thoughts.shelf(call.secret.as_ref(), model::bare(&call.model));
        let outgoing = self.outgoing(&call, &shelf);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (request, unmet) = outgoing?;
            let answer = exchange(NAME, &transport, request, call.sent, &clock).await?;
            if call.request.stream {
                let reading = Reading::new(source(answer).await?, shelf, clock);
                return Ok(Reply::Stream(Pieces { chunks: chunks(reading), unmet }));
            }
            let completion = whole(&read_answer(answer.into_body()).await?, &shelf, clock.now())?;
            Ok(Reply::Whole(Box::new(Whole { completion, unmet })))
        })
    }
}

fn whole(body: &Bytes, shelf: &Shelf, now: Now) -> Result<Completion, Fault> {
    let response = answer::Response::parse(body)?;
    if response.error.is_some() {
        return Err(errors::classify_inside_answer(body, now));
    }
    response.completion(shelf, now)
}

async fn source(answer: Response<Incoming>) -> Result<Source, Fault> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if kind.is_some_and(|it| it.contains("json")) {
        return Ok(Source::of_json(&read_answer(answer.into_body()).await?));
    }
    check_is_stream(&answer, "event-stream")?;
    Ok(Source::Events(Box::new(EventStream::new(answer.into_body()))))
}
