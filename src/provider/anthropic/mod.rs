//! The client for Anthropic's Messages API.
//!
//! Source: docs.anthropic.com, {messages, messages-streaming, errors, rate-limits}, read 2026-11.

mod answer;
mod request;
mod stream;
mod turns;

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use hyper::body::Incoming;

use crate::clock::SharedClock;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::event_stream::EventStream;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::check_is_stream;
use crate::provider::exchange::exchange;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

/// By this name its errors are read.
const NAME: &str = "anthropic";
/// The version of the API that this client speaks.
const VERSION: &str = "2023-06-01";

/// Anthropic, or a server that speaks its Messages API.
pub struct AnthropicClient {
    messages: Uri,
    transport: Transport,
    clock: SharedClock,
}

impl AnthropicClient {
    /// A client for the API whose endpoint is `<base_url>/messages`; `base_url` ends in `/v1`.
    ///
    /// # Errors
    /// When `base_url` is no URL.
    pub fn new(
        base_url: &str,
        transport: Transport,
        clock: SharedClock,
    ) -> Result<Self, http::uri::InvalidUri> {
        let messages = format!("{}/messages", base_url.trim_end_matches('/')).parse()?;
        Ok(Self { messages, transport, clock })
    }

    fn outgoing(&self, call: &Call) -> Result<(http::Request<bytes::Bytes>, Dropped), Fault> {
        let (body, dropped) = request::translate(call)?;
        let accept = if call.request.stream { EVENTS } else { JSON };
        let mut request = post(&self.messages, body, accept);
        let version = HeaderName::from_static("anthropic-version");
        request.headers_mut().insert(version, HeaderValue::from_static(VERSION));
        if let Some(secret) = &call.secret {
            sign(&mut request, HeaderName::from_static("x-api-key"), "", secret)?;
        }
        Ok((request, dropped))
    }
}

type Dropped = Vec<&'static str>;

impl ChatProvider for AnthropicClient {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (request, dropped) = outgoing?;
            let answer = exchange(NAME, &transport, request, call.sent, &clock).await?;
            if call.request.stream {
                check_is_stream(&answer, "event-stream")?;
                return Ok(stream(answer.into_body(), dropped, clock));
            }
            let body = read_answer(answer.into_body()).await?;
            let completion = answer::completion(&body, clock.now())?;
            Ok(Reply::Whole(Box::new(Whole { completion, dropped })))
        })
    }
}

fn stream(body: Incoming, dropped: Dropped, clock: SharedClock) -> Reply {
    let reading = stream::Reading::new(EventStream::new(body), clock);
    let chunks = futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    });
    Reply::Stream(Pieces { chunks: chunks.boxed(), dropped })
}
