//! The client for Ollama's own API: local servers and its cloud.
//!
//! Not its OpenAI-compatible one, which can't set the window: a conversation that is longer than
//! the server's default is cut there without a word. Source: ollama/ollama docs/api.md, read
//! 2026-11.

mod answer;
mod discovery;
#[cfg(any(test, fuzzing))]
pub(super) mod given;
mod messages;
mod request;
mod stream;

pub use discovery::{DiscoveredModel, discover};

use std::sync::Arc;

use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, Uri};

use crate::clock::SharedClock;
use crate::openai::Payload;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Unmet;
use crate::provider::Whole;
use crate::provider::exchange::JSON;
use crate::provider::exchange::check_is_stream;
use crate::provider::exchange::exchange;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::ndjson::LineStream;
use crate::provider::steps::chunks;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

/// By this name its errors are read.
const NAME: &str = "ollama";

/// One Ollama server.
pub struct OllamaClient {
    chat: Uri,
    transport: Transport,
    clock: SharedClock,
}

impl OllamaClient {
    /// A client for the server at `base_url`, its root: `http://localhost:11434`.
    ///
    /// # Errors
    /// When `base_url` is no URL.
    pub fn new(
        base_url: &str,
        transport: Transport,
        clock: SharedClock,
    ) -> Result<Self, http::uri::InvalidUri> {
        let chat = format!("{}/api/chat", base_url.trim_end_matches('/')).parse()?;
        Ok(Self { chat, transport, clock })
    }

    fn outgoing(&self, call: &Call) -> Result<(Request<Payload>, Unmet), Fault> {
        let (body, unmet) = request::translate(call)?;
        let mut request = post(&self.chat, body, JSON);
        if let Some(secret) = &call.secret {
            sign(&mut request, AUTHORIZATION, "Bearer ", secret)?;
        }
        Ok((request, unmet))
    }
}

impl ChatProvider for OllamaClient {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (request, unmet) = outgoing?;
            let answer = exchange(NAME, &transport, request, call.sent, &clock).await?;
            if call.request.stream {
                // `application/x-ndjson`; a proxy may call it plain JSON.
                check_is_stream(&answer, "json")?;
                let lines = LineStream::new(answer.into_body());
                let reading = stream::Reading::new(lines, &call.model, clock);
                return Ok(Reply::Stream(Pieces { chunks: chunks(reading), unmet }));
            }
            let body = read_answer(answer.into_body()).await?;
            let completion = answer::completion(&body, clock.now())?;
            Ok(Reply::Whole(Box::new(Whole { completion, unmet })))
        })
    }
}
