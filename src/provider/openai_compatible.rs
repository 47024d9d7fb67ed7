//! The client for every provider that speaks OpenAI's chat completions.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::response::Parts;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use secrecy::ExposeSecret;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::json_string;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::classify::classify;
use crate::provider::classify::classify_inside_answer;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::quirks::Quirks;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;
use crate::provider::transport::read_error;

/// One OpenAI-compatible provider.
pub struct OpenAiCompatible {
    chat: Uri,
    quirks: Quirks,
    transport: Transport,
    clock: SharedClock,
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
        Ok(Self { chat, quirks, transport, clock })
    }

    /// The HTTP request for `call`, and the members left out of it.
    fn outgoing(&self, call: &Call) -> Result<(Request<Bytes>, Vec<&'static str>), Fault> {
        let (body, dropped) = self.body(call);
        let mut request = Request::post(self.chat.clone()).body(body).map_err(unsendable)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if call.request.stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let agent = concat!("relayfreellm/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(secret) = &call.secret {
            let bearer = format!("Bearer {}", secret.expose_secret());
            let mut bearer = HeaderValue::try_from(bearer).map_err(unsendable)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok((request, dropped))
    }

    fn body(&self, call: &Call) -> (Bytes, Vec<&'static str>) {
        let asked = &call.request;
        let has = |key| asked.member(key).is_some();
        let mut edits = call.edits.clone();
        edits.set.push(("model", json_string(&call.model)));
        let dropped: Vec<_> = self.quirks.drops.iter().copied().filter(|it| has(it)).collect();
        let omitted = self.quirks.omits.iter().copied().filter(|it| has(it));
        edits.leave_out.extend(dropped.iter().copied().chain(omitted).map(str::to_owned));
        for (ours, theirs) in self.quirks.renames {
            let Some(value) = asked.member(ours) else { continue };
            edits.leave_out.push((*ours).to_owned());
            if !has(theirs) {
                edits.set.push((theirs, value.to_owned()));
            }
        }
        // Usage is always asked for: quota is settled with it, wanted by the caller or not.
        let refused = edits.leave_out.iter().any(|it| it == "stream_options");
        if asked.stream && !self.quirks.no_stream_options && !refused {
            edits.set.push(("stream_options", asked.stream_options_with_usage()));
        }
        (asked.render(&edits), dropped)
    }
}

fn unsendable(fault: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::NotHere, format!("the request can't be sent: {fault}"))
}

impl ChatProvider for OpenAiCompatible {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        let name = self.quirks.name;
        Box::pin(async move {
            let (request, dropped) = outgoing?;
            let answer = transport.send(request, call.sent).await?;
            let (head, body) = answer.into_parts();
            if !head.status.is_success() {
                let body = read_error(body).await;
                return Err(refusal(name, &head, &body, clock.now()));
            }
            let answer = Response::from_parts(head, body);
            if call.request.stream {
                return stream(name, answer, dropped, clock);
            }
            whole(name, answer, dropped, clock.now()).await
        })
    }
}

fn refusal(provider: &str, head: &Parts, body: &[u8], now: Now) -> Fault {
    let status = head.status.as_u16();
    if (300..400).contains(&status) {
        let mut fault = Fault::new(FaultKind::Unreadable, "a redirect, which is not followed");
        fault.status = Some(status);
        return fault;
    }
    classify(provider, status, &head.headers, body, now)
}

async fn whole(
    provider: &str,
    answer: Response<Incoming>,
    dropped: Vec<&'static str>,
    now: Now,
) -> Result<Reply, Fault> {
    let body = read_answer(answer.into_body()).await?;
    let completion =
        Completion::parse(&body).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
    if let Some(error) = &completion.error {
        return Err(classify_inside_answer(provider, error, now));
    }
    Ok(Reply::Whole(Box::new(Whole { completion, dropped })))
}

fn stream(
    provider: &'static str,
    answer: Response<Incoming>,
    dropped: Vec<&'static str>,
    clock: SharedClock,
) -> Result<Reply, Fault> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if let Some(kind) = kind.filter(|it| !it.contains("event-stream")) {
        let message = format!("a stream was asked for and {kind} came");
        return Err(Fault::new(FaultKind::Unreadable, message));
    }
    let reading = Reading {
        provider,
        events: EventStream::new(answer.into_body()),
        clock,
        finished: false,
        ended: false,
    };
    let chunks = futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    });
    Ok(Reply::Stream(Pieces { chunks: chunks.boxed(), dropped }))
}

/// A stream under way.
struct Reading {
    provider: &'static str,
    events: EventStream,
    clock: SharedClock,
    /// Has a choice said why it ends? Some providers close after it without an end mark.
    finished: bool,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Chunk, Fault>> {
        if self.ended {
            return None;
        }
        let next = self.read().await.transpose();
        if !matches!(next, Some(Ok(_))) {
            self.ended = true;
        }
        next
    }

    async fn read(&mut self) -> Result<Option<Chunk>, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed without an end mark");
        match self.events.next().await? {
            Next::Data(data) | Next::Rest(data) if data.trim_ascii() == b"[DONE]" => Ok(None),
            Next::Data(data) => self.chunk(&data).map(Some),
            // What can't be read here is a line that was torn, not one that was written badly.
            Next::Rest(data) => match self.chunk(&data) {
                Err(it) if it.kind == FaultKind::Unreadable => Err(cut()),
                read => read.map(Some),
            },
            Next::End if self.finished => Ok(None),
            Next::End => Err(cut()),
        }
    }

    fn chunk(&mut self, data: &Bytes) -> Result<Chunk, Fault> {
        let chunk =
            Chunk::parse(data).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
        if let Some(error) = &chunk.error {
            return Err(classify_inside_answer(self.provider, error, self.clock.now()));
        }
        self.finished |= chunk.choices.iter().any(|it| it.finish.is_some());
        Ok(chunk)
    }
}
