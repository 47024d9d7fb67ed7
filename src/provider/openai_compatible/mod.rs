//! The client for every provider that speaks OpenAI's chat completions.

mod bare_verdict;
#[cfg(any(test, fuzzing))]
pub(super) mod given;
mod incoming;
mod members;
mod messages;
mod outgoing;
#[cfg(test)]
mod tests;
mod tool_words;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Uri;

use crate::clock::SharedClock;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Reply;
use crate::provider::exchange::exchange;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::incoming::Asked;
use crate::provider::openai_compatible::incoming::stream;
use crate::provider::openai_compatible::incoming::whole;
use crate::provider::quirks::Quirks;
use crate::provider::thoughts::Thoughts;
use crate::provider::transport::Transport;

/// One OpenAI-compatible provider.
pub struct OpenAiCompatible {
    chat: Uri,
    quirks: Quirks,
    transport: Transport,
    clock: SharedClock,
    /// The signatures of calls, for clients that lose them.
    thoughts: Arc<Thoughts>,
}

impl OpenAiCompatible {
    /// A client for the provider whose chat endpoint is `<base_url>/chat/completions`.
    ///
    /// # Errors
    /// When `base_url` is no URL.
    pub fn new(
        base_url: &str,
        quirks: Quirks,
        transport: Transport,
        clock: SharedClock,
    ) -> Result<Self, http::uri::InvalidUri> {
        let chat = format!("{}/chat/completions", base_url.trim_end_matches('/')).parse()?;
        Ok(Self { chat, quirks, transport, clock, thoughts: Thoughts::new() })
    }
}

impl ChatProvider for OpenAiCompatible {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        let name = self.quirks.name;
        let shelf = self.shelf(&call);
        Box::pin(async move {
            let (request, unmet) = outgoing?;
            let asked = Asked::new(name, &call, shelf);
            let answer = exchange(name, &transport, request, call.sent, &clock).await?;
            let reply = if call.request.stream {
                stream(asked, answer, unmet, clock).await?
            } else {
                whole(&asked, answer, unmet, clock.now()).await?
            };
            if call.verbatim { Ok(reply) } else { bare_verdict::refuse(name, reply) }
        })
    }
}
