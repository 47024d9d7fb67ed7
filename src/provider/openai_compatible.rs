//! The client for every provider that speaks OpenAI's chat completions.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::ChatRequest;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::JsonMode;
use crate::openai::RequestEdits;
use crate::openai::json_string;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::Whole;
use crate::provider::classify::classify_inside_answer;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::check_is_stream;
use crate::provider::exchange::exchange;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::plain_content::plain_content;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Schema;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

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
        let mut request = post(&self.chat, body, if call.request.stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, AUTHORIZATION, "Bearer ", secret)?;
        }
        Ok((request, dropped))
    }

    fn body(&self, call: &Call) -> (Bytes, Vec<&'static str>) {
        let asked = &call.request;
        let has = |key| asked.member(key).is_some();
        // What this provider has refused before, under either name.
        let refused = |key: &str| call.edits.leave_out.iter().any(|it| it == key);
        let mut edits = call.edits.clone();
        edits.set.push(("model", json_string(&call.model)));
        let dropped: Vec<_> = self.quirks.drops.iter().copied().filter(|it| has(it)).collect();
        let omitted = self.quirks.omits.iter().copied().filter(|it| has(it));
        edits.leave_out.extend(dropped.iter().copied().chain(omitted).map(str::to_owned));
        for (ours, theirs) in self.quirks.renames {
            let Some(value) = asked.member(ours) else { continue };
            edits.leave_out.push((*ours).to_owned());
            if !has(theirs) && !refused(ours) {
                edits.set.push((theirs, value.to_owned()));
            }
        }
        self.translate(asked, &mut edits);
        // Usage is always asked for: quota is settled with it, wanted by the caller or not.
        if asked.stream && !self.quirks.no_stream_options {
            edits.set.push(("stream_options", asked.stream_options_with_usage()));
        }
        edits.set.retain(|(key, _)| !refused(key));
        (asked.render(&edits), dropped)
    }

    /// Puts members into the provider's own words.
    fn translate(&self, asked: &ChatRequest, edits: &mut RequestEdits) {
        for (member, ours, theirs) in self.quirks.values {
            if asked.member(member) == Some(ours) {
                edits.set.push((member, (*theirs).to_owned()));
            }
        }
        let sent = |key: &str| !edits.leave_out.iter().any(|it| it == key);
        let effort = asked.member("reasoning_effort").filter(|_| sent("reasoning_effort"));
        let effort = effort.and_then(|it| match self.quirks.effort {
            Effort::Plain => None,
            Effort::Nested => Some(("reasoning", format!(r#"{{"effort":{it}}}"#))),
            Effort::OnOrOff if it == "\"none\"" => {
                Some(("thinking", r#"{"type":"disabled"}"#.to_owned()))
            }
            Effort::OnOrOff => Some(("thinking", r#"{"type":"enabled"}"#.to_owned())),
        });
        if let Some((member, value)) = effort {
            edits.leave_out.push("reasoning_effort".to_owned());
            // Who writes the provider's own member knows best.
            if asked.member(member).is_none() {
                edits.set.push((member, value));
            }
        }
        if asked.json_mode == JsonMode::Off {
            // What is left is `text`, the default, which not everyone knows by this name.
            edits.leave_out.push("response_format".to_owned());
        }
        let format = asked.member("response_format");
        let schema = format.filter(|_| self.quirks.schema == Schema::GuidedJson);
        if let Some(schema) = schema.and_then(schema_of) {
            edits.leave_out.push("response_format".to_owned());
            edits.set.push(("guided_json", schema.get().to_owned()));
        }
        if self.quirks.plain_content {
            let edited = edits.set.iter().position(|(key, _)| *key == "messages");
            let messages = match edited.and_then(|at| edits.set.get(at)) {
                Some((_, messages)) => Some(messages.as_str()),
                None => asked.member("messages"),
            };
            if let Some(plain) = messages.and_then(plain_content) {
                edits.set.retain(|(key, _)| *key != "messages");
                edits.set.push(("messages", plain));
            }
        }
        if let Some(most) = self.quirks.max_tokens.filter(|_| asked.max_tokens.is_none()) {
            edits.set.push(("max_tokens", most.to_string()));
        }
    }
}

/// The schema in a `response_format` that holds one.
fn schema_of(format: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow)]
        json_schema: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
    }
    serde_json::from_str::<Format<'_>>(format).ok().map(|it| it.json_schema.schema)
}

impl ChatProvider for OpenAiCompatible {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let outgoing = self.outgoing(&call);
        let transport = self.transport.clone();
        let clock = Arc::clone(&self.clock);
        let name = self.quirks.name;
        Box::pin(async move {
            let (request, dropped) = outgoing?;
            let answer = exchange(name, &transport, request, call.sent, &clock).await?;
            if call.request.stream {
                return stream(name, answer, dropped, clock);
            }
            whole(name, answer, dropped, clock.now()).await
        })
    }
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
    check_is_stream(&answer, "event-stream")?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use serde_json::json;

    use crate::clock::Clock;
    use crate::provider::SentMark;
    use crate::provider::quirks;
    use crate::provider::sse::SseReader;

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Now {
            Now { monotonic: Duration::ZERO, unix_ms: 0 }
        }
    }

    /// What goes out for `asked` beside the model, the one message and `left_out`.
    fn check(provider: &str, asked: Value, left_out: &[&str], expected: Value, dropped: &[&str]) {
        let own = |object: &mut Value| {
            let object = object.as_object_mut().unwrap();
            object.entry("messages").or_insert(json!([{"role": "user", "content": "hi"}]));
            object.insert("model".to_owned(), json!("m"));
        };
        let (mut asked, mut expected) = (asked, expected);
        own(&mut asked);
        own(&mut expected);
        let request = ChatRequest::parse(&Bytes::from(asked.to_string())).unwrap();
        let client = OpenAiCompatible::new(
            "http://localhost/v1",
            quirks::of(provider),
            Transport::default(),
            Arc::new(Still),
        );
        let leave_out = left_out.iter().map(|it| (*it).to_owned()).collect();
        let call = Call {
            model: "m".into(),
            secret: None,
            request: Arc::new(request),
            edits: RequestEdits { set: Vec::new(), leave_out },
            sent: SentMark::default(),
        };
        let (body, warned) = client.unwrap().body(&call);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, expected, "{provider} {asked}");
        assert_eq!(warned, dropped, "{provider} {asked}");
    }

    #[test]
    fn each_provider_is_told_in_its_own_words() {
        let bound = || json!({"max_completion_tokens": 5});
        let old_bound = || json!({"max_tokens": 5});
        check("openai", bound(), &[], bound(), &[]);
        for provider in ["deepseek", "nvidia", "together", "cohere", "zai", "mistral"] {
            check(provider, bound(), &[], old_bound(), &[]);
        }
        check(
            "MISTRAL",
            json!({"tool_choice": "required"}),
            &[],
            json!({"tool_choice": "any"}),
            &[],
        );
        check("mistral", json!({"tool_choice": "none"}), &[], json!({"tool_choice": "none"}), &[]);
        check("mistral", json!({"seed": 7}), &[], json!({"random_seed": 7}), &[]);
        check("groq", json!({"logprobs": true, "seed": 1}), &[], json!({"seed": 1}), &["logprobs"]);
        check("zai", json!({"user": "u"}), &[], json!({"user_id": "u"}), &[]);
        let effort = |it: &str| json!({"reasoning_effort": it});
        check("openai", effort("low"), &[], effort("low"), &[]);
        check("openrouter", effort("low"), &[], json!({"reasoning": {"effort": "low"}}), &[]);
        check("zai", effort("none"), &[], json!({"thinking": {"type": "disabled"}}), &[]);
        check("zai", effort("high"), &[], json!({"thinking": {"type": "enabled"}}), &[]);
        check("cohere", effort("high"), &[], json!({}), &["reasoning_effort"]);
        check(
            "openrouter",
            json!({"reasoning_effort": "low", "reasoning": {"max_tokens": 9}}),
            &[],
            json!({"reasoning": {"max_tokens": 9}}),
            &[],
        );
    }

    #[test]
    fn formats_are_told_in_its_own_words() {
        let format = json!({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object"}}}});
        check("openai", format.clone(), &[], format.clone(), &[]);
        check("nvidia", format, &[], json!({"guided_json": {"type": "object"}}), &[]);
        let object = json!({"response_format": {"type": "json_object"}});
        check("nvidia", object.clone(), &[], object, &[]);
        check("openai", json!({"response_format": {"type": "text"}}), &[], json!({}), &[]);
    }

    #[test]
    fn what_was_refused_is_not_sent_under_either_name() {
        check("mistral", json!({"seed": 7}), &["random_seed"], json!({}), &[]);
        check("mistral", json!({"seed": 7}), &["seed"], json!({}), &[]);
        check("openai", json!({"stream": true}), &["stream_options"], json!({"stream": true}), &[]);
        check("openrouter", json!({"reasoning_effort": "low"}), &["reasoning"], json!({}), &[]);
    }

    #[test]
    fn cloudflare_gets_strings_and_a_bound() {
        let parts = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        check("cloudflare", json!({"messages": parts}), &[], json!({"max_tokens": 4096}), &[]);
        check("cloudflare", json!({"max_tokens": 9}), &[], json!({"max_tokens": 9}), &[]);
        check(
            "cloudflare",
            json!({"max_completion_tokens": 9, "parallel_tool_calls": true}),
            &[],
            json!({"max_completion_tokens": 9}),
            &["parallel_tool_calls"],
        );
    }

    macro_rules! wire {
        ($($name:literal => $expected:expr),* $(,)?) => {
            [$((
                $name,
                &include_bytes!(concat!("../../tests/wire/", $name))[..],
                $expected,
            )),*]
        };
    }

    #[test]
    fn whole_samples_are_read() {
        for (name, body, tokens) in wire! {
            "cloudflare/completion.json" => (70, 20),
            "cohere/compat_completion.json" => (5, 3),
            "deepseek/completion.json" => (10, 32),
            "deepseek/completion_keepalive_blank_lines.json" => (10, 32),
            "huggingface/completion.json" => (71, 20),
            "nvidia/completion.json" => (71, 19),
            "openai/completion.json" => (12, 9),
            "openrouter/completion.json" => (14, 20),
            "sambanova/completion.json" => (43, 4),
            "together/completion.json" => (15, 4),
            "zai/completion.json" => (8, 265),
        } {
            let answer = Completion::parse(&Bytes::from_static(body)).unwrap();
            let usage = answer.usage.map(|it| (it.prompt, it.completion));
            let text = answer.counted().next();
            assert_eq!((usage, text), (Some(tokens), Some("Hello there.")), "{name}");
        }
        let error = include_bytes!("../../tests/wire/openrouter/error_in_200.json");
        let answer = Completion::parse(&Bytes::from_static(error)).unwrap();
        let fault = classify_inside_answer("openrouter", &answer.error.unwrap(), Still.now());
        assert_eq!((fault.kind, fault.status), (FaultKind::Server, Some(502)));
    }

    #[test]
    fn streamed_samples_are_read() {
        for (name, stream, expected) in wire! {
            "cloudflare/stream.sse" => ("Hello there.", "stop", Some((70, 20))),
            "deepseek/stream.sse" => ("Hello there.", "stop", Some((10, 32))),
            "deepseek/stream_tool_call.sse" => ("", "tool_calls", Some((10, 32))),
            "nvidia/stream.sse" => ("Hello there.", "stop", Some((71, 19))),
            "openai/stream_include_usage.sse" => ("Hello there.", "stop", Some((12, 9))),
            "openai/stream_tool_call.sse" => ("", "tool_calls", None),
            "openrouter/stream.sse" => ("Hello there.", "stop", Some((14, 20))),
            "openrouter/stream_tool_call.sse" => ("", "tool_calls", None),
            "sambanova/stream.sse" => ("Hello there.", "stop", Some((43, 4))),
            "zai/stream.sse" => ("Hello there.", "stop", Some((8, 265))),
        } {
            let mut events = SseReader::new(1 << 16);
            events.feed(Bytes::from_static(stream));
            let (mut text, mut finish, mut usage, mut done) = (String::new(), None, None, false);
            while let Some(event) = events.next_event().unwrap() {
                if event.data == "[DONE]" {
                    done = true;
                    continue;
                }
                let chunk = Chunk::parse(&event.data).unwrap();
                usage = chunk.usage.or(usage);
                for choice in chunk.choices {
                    assert_eq!(choice.index, 0, "{name}");
                    text.push_str(&choice.text);
                    finish = choice.finish.or(finish);
                }
            }
            let usage = usage.map(|it| (it.prompt, it.completion));
            let read = (text.as_str(), finish.as_deref().unwrap_or_default(), usage);
            assert_eq!((read, done), (expected, true), "{name}");
        }
    }
}
