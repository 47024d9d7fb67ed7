//! From Anthropic's events to OpenAI's chunks.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::classify::classify_inside_answer;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::NAME;
use super::answer::{Block, Message, Usage, finish_reason, unreadable};

/// A stream under way.
pub(super) struct Reading {
    events: EventStream,
    clock: SharedClock,
    translator: Translator,
    ready: VecDeque<Chunk>,
    ended: bool,
}

impl Reading {
    pub(super) fn new(events: EventStream, clock: SharedClock) -> Self {
        let translator =
            Translator { created: clock.now().unix_ms / 1_000, ..Translator::default() };
        Self { events, clock, translator, ready: VecDeque::new(), ended: false }
    }

    /// The next chunk; `None` after the end mark.
    pub(super) async fn next(&mut self) -> Option<Result<Chunk, Fault>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(chunk));
            }
            if self.ended {
                return None;
            }
            match self.read().await {
                Ok(over) => self.ended = over,
                Err(fault) => {
                    self.ended = true;
                    return Some(Err(fault));
                }
            }
        }
    }

    /// Reads one event. Was it the last?
    async fn read(&mut self) -> Result<bool, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed without an end mark");
        let (data, torn) = match self.events.next().await? {
            Next::Data(data) => (data, false),
            Next::Rest(data) => (data, true),
            Next::End => return Err(cut()),
        };
        let step = self.translator.event(&data);
        match step {
            Ok(Step::Tell(values)) => {
                for value in values {
                    let chunk = Chunk::parse(&Bytes::from(value.to_string()));
                    let fault = |it: crate::openai::Unreadable| {
                        Fault::new(FaultKind::Unreadable, it.to_string())
                    };
                    self.ready.push_back(chunk.map_err(fault)?);
                }
                Ok(false)
            }
            Ok(Step::End) => Ok(true),
            Ok(Step::Failed(error)) => Err(classify_inside_answer(NAME, &error, self.clock.now())),
            Err(_) if torn => Err(cut()),
            Err(fault) => Err(fault),
        }
    }
}

/// What one event means.
enum Step {
    /// These chunks; none for an event that tells nothing.
    Tell(Vec<Value>),
    /// The error, as JSON text.
    Failed(String),
    End,
}

/// The types of events that tell something. Pings, and whatever is added later, are passed over.
const TELLING: &[&str] = &[
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
];

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    delta: Option<Delta>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    partial_json: String,
    stop_reason: Option<String>,
}

/// What must be remembered between two events.
#[derive(Default)]
struct Translator {
    id: Option<String>,
    model: Option<String>,
    created: u64,
    usage: Usage,
    /// The call being written: its block, its place among the calls, and whether it has arguments.
    call: Option<(u64, u64, bool)>,
    calls: u64,
}

impl Translator {
    fn event(&mut self, data: &[u8]) -> Result<Step, Fault> {
        let Kind { kind } = serde_json::from_slice(data).map_err(|it| unreadable(&it))?;
        if !TELLING.contains(&kind.as_str()) {
            return Ok(Step::Tell(Vec::new()));
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|it| unreadable(&it))?;
        let delta = event.delta.unwrap_or_default();
        Ok(Step::Tell(match kind.as_str() {
            "message_start" => self.begin(event.message),
            "content_block_start" => {
                event.content_block.and_then(|it| self.open(event.index, &it)).into_iter().collect()
            }
            "content_block_delta" => self.delta(event.index, &delta).into_iter().collect(),
            "content_block_stop" => self.close(event.index).into_iter().collect(),
            "message_delta" => self.finish(delta.stop_reason.as_deref(), event.usage),
            "message_stop" => return Ok(Step::End),
            "error" => {
                return Ok(Step::Failed(event.error.map_or("null", RawValue::get).to_owned()));
            }
            _ => Vec::new(),
        }))
    }

    fn begin(&mut self, message: Option<Message<'_>>) -> Vec<Value> {
        let Some(message) = message else { return Vec::new() };
        self.id = message.id;
        self.model = message.model;
        self.usage.update(message.usage);
        vec![self.chunk(&json!({"role": "assistant", "content": ""}), None)]
    }

    fn open(&mut self, index: u64, block: &Block<'_>) -> Option<Value> {
        match block.kind.as_str() {
            "tool_use" => {
                let nth = self.calls;
                self.calls += 1;
                self.call = Some((index, nth, false));
                let function = json!({"name": block.name, "arguments": ""});
                let call =
                    json!({"index": nth, "id": block.id, "type": "function", "function": function});
                Some(self.chunk(&json!({ "tool_calls": [call] }), None))
            }
            "text" => self.says("content", &block.text),
            "thinking" => self.says("reasoning_content", &block.thinking),
            _ => None,
        }
    }

    fn delta(&mut self, index: u64, delta: &Delta) -> Option<Value> {
        if !delta.partial_json.is_empty() {
            let (block, nth, has_arguments) = self.call.as_mut()?;
            if *block != index {
                return None;
            }
            *has_arguments = true;
            let nth = *nth;
            return Some(self.arguments(nth, &delta.partial_json));
        }
        let text = self.says("content", &delta.text);
        text.or_else(|| self.says("reasoning_content", &delta.thinking))
    }

    /// A call without arguments has an object all the same.
    fn close(&mut self, index: u64) -> Option<Value> {
        let (_, nth, has_arguments) = self.call.take_if(|(block, _, _)| *block == index)?;
        (!has_arguments).then(|| self.arguments(nth, "{}"))
    }

    fn finish(&mut self, stop_reason: Option<&str>, usage: Option<Usage>) -> Vec<Value> {
        self.usage.update(usage.unwrap_or_default());
        let Some(reason) = stop_reason else { return Vec::new() };
        let mut told = vec![self.chunk(&json!({}), Some(finish_reason(reason)))];
        if let Some(usage) = self.usage.to_openai() {
            let mut last = self.chunk(&json!({}), None);
            if let Some(last) = last.as_object_mut() {
                last.insert("choices".to_owned(), json!([]));
                last.insert("usage".to_owned(), usage);
            }
            told.push(last);
        }
        told
    }

    fn says(&self, member: &str, text: &str) -> Option<Value> {
        (!text.is_empty()).then(|| self.chunk(&json!({ member: text }), None))
    }

    fn arguments(&self, nth: u64, fragment: &str) -> Value {
        let call = json!({"index": nth, "function": {"arguments": fragment}});
        self.chunk(&json!({ "tool_calls": [call] }), None)
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the events of a stream become: each delta with its finish reason, then the usage, then
    /// how it ends.
    fn read(stream: &str) -> (Vec<(Value, Value)>, Option<Value>, &'static str) {
        let mut translator = Translator::default();
        let (mut deltas, mut usage) = (Vec::new(), None);
        for data in stream.lines().filter_map(|it| it.strip_prefix("data: ")) {
            let chunks = match translator.event(data.as_bytes()).unwrap() {
                Step::Tell(chunks) => chunks,
                Step::Failed(_) => return (deltas, usage, "failed"),
                Step::End => return (deltas, usage, "whole"),
            };
            for mut chunk in chunks {
                assert_eq!(
                    (&chunk["id"], &chunk["object"]),
                    (&json!("msg_01"), &json!("chat.completion.chunk"))
                );
                match chunk["choices"].get_mut(0) {
                    Some(it) => deltas.push((it["delta"].take(), it["finish_reason"].take())),
                    None => usage = Some(chunk["usage"].take()),
                }
            }
        }
        (deltas, usage, "cut")
    }

    fn usage(completion: u64) -> Value {
        json!({"prompt_tokens": 12, "completion_tokens": completion,
            "total_tokens": 12 + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 0}})
    }

    fn open(delta: Value) -> (Value, Value) {
        (delta, Value::Null)
    }

    #[test]
    fn the_samples_are_read_whole() {
        let begins = open(json!({"role": "assistant", "content": ""}));
        assert_eq!(
            read(include_str!("../../../tests/wire/anthropic/stream.sse")),
            (
                vec![
                    begins.clone(),
                    open(json!({"content": "Hello there."})),
                    (json!({}), json!("stop")),
                ],
                Some(usage(6)),
                "whole"
            )
        );
        let call = json!([{"index": 0, "id": "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
            "type": "function", "function": {"name": "get_weather", "arguments": ""}}]);
        let arguments = json!([{"index": 0, "function": {"arguments": "{\"city\":\"Paris\"}"}}]);
        assert_eq!(
            read(include_str!("../../../tests/wire/anthropic/stream_tool_use.sse")),
            (
                vec![
                    begins.clone(),
                    open(json!({"tool_calls": call})),
                    open(json!({"tool_calls": arguments})),
                    (json!({}), json!("tool_calls")),
                ],
                Some(usage(40)),
                "whole"
            )
        );
        let broken = read(include_str!("../../../tests/wire/anthropic/stream_error_mid.sse"));
        assert_eq!(broken, (vec![begins], None, "failed"));
    }

    #[test]
    fn calls_have_their_own_numbers_and_always_arguments() {
        let (deltas, _, _) = read(
            r#"data: {"type":"message_start","message":{"id":"msg_01"}}
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}
data: {"type":"content_block_stop","index":0}
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}
data: {"type":"content_block_stop","index":1}
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"b","name":"g","input":{}}}
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\""}}
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":":1}"}}
data: {"type":"content_block_stop","index":2}
data: {"type":"something_new","index":{"odd":true}}
"#,
        );
        let seen: Vec<Value> = deltas.into_iter().map(|(delta, _)| delta).collect();
        assert_eq!(seen[1], json!({"reasoning_content": "hm"}));
        let call = |at: usize| &seen[at]["tool_calls"][0];
        assert_eq!((&call(2)["index"], &call(2)["id"]), (&json!(0), &json!("a")));
        assert_eq!(call(3), &json!({"index": 0, "function": {"arguments": "{}"}}));
        assert_eq!((&call(4)["index"], &call(4)["id"]), (&json!(1), &json!("b")));
        assert_eq!(call(6), &json!({"index": 1, "function": {"arguments": ":1}"}}));
        assert_eq!(seen.len(), 7);
    }
}
