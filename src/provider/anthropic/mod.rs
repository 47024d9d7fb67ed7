//! The client for Anthropic's Messages API.
//!
//! Source: docs.anthropic.com, {messages, messages-streaming, errors, rate-limits}, read 2026-11.

mod answer;
#[cfg(any(test, fuzzing))]
pub(super) mod given;
mod model;
mod request;
mod stream;
mod turns;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Uri};

use crate::clock::SharedClock;
use crate::openai::Payload;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Unmet;
use crate::provider::Whole;
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
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

use stream::Reading;

/// By this name its errors are read.
const NAME: &str = "anthropic";
/// The version of the API that this client speaks.
const VERSION: &str = "2023-06-01";

/// Anthropic, or a server that speaks its Messages API.
pub struct AnthropicClient {
    messages: Uri,
    transport: Transport,
    clock: SharedClock,
    /// What models thought before their calls: they go on from it when the results come.
    thoughts: Arc<Thoughts>,
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
        Ok(Self { messages, transport, clock, thoughts: Thoughts::new() })
    }

    fn outgoing(&self, call: &Call, shelf: &Shelf) -> Result<(Request<Payload>, Unmet), Fault> {
        let (body, unmet) = request::translate(call, shelf, self.clock.now())?;
        let accept = if call.request.stream { EVENTS } else { JSON };
        let mut request = post(&self.messages, body, accept);
        let version = HeaderName::from_static("anthropic-version");
        request.headers_mut().insert(version, HeaderValue::from_static(VERSION));
        if let Some(secret) = &call.secret {
            sign(&mut request, HeaderName::from_static("x-api-key"), "", secret)?;
        }
        Ok((request, unmet))
    }
}

impl ChatProvider for AnthropicClient {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let shelf = self.thoughts.shelf(call.secret.as_ref(), &call.model);
        let outgoing = self.outgoing(&call, &shelf);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (request, unmet) = outgoing?;
            let answer = exchange(NAME, &transport, request, call.sent, &clock).await?;
            if call.request.stream {
                check_is_stream(&answer, "event-stream")?;
                let events = EventStream::new(answer.into_body());
                let chunks = chunks(Reading::new(events, shelf, clock));
                return Ok(Reply::Stream(Pieces { chunks, unmet }));
            }
            let body = read_answer(answer.into_body()).await?;
            let completion = answer::completion(&body, &shelf, clock.now())?;
            Ok(Reply::Whole(Box::new(Whole { completion, unmet })))
        })
    }
}
