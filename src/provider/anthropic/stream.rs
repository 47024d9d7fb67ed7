//! From Anthropic's events to OpenAI's chunks.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::JsonObject;
use crate::provider::classify::classify_inside_answer;
use crate::provider::event_stream::EventStream;
use crate::provider::event_stream::Next;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::page::Choice;
use crate::provider::page::Head;
use crate::provider::page::Message as Said;
use crate::provider::page::ToolCall;
use crate::provider::page::compact;
use crate::provider::page::unreadable;
use crate::provider::steps::Step;
use crate::provider::steps::Steps;
use crate::provider::thoughts::Shelf;

use super::NAME;
use super::answer::{Block, Message, REFUSED, Usage, finish_reason};

/// A stream under way.
pub(super) struct Reading {
    events: EventStream,
    clock: SharedClock,
    translator: Translator,
}

impl Reading {
    pub(super) fn new(events: EventStream, shelf: Shelf, clock: SharedClock) -> Self {
        let translator = Translator::new(shelf, clock.now().unix_ms / 1_000);
        Self { events, clock, translator }
    }
}

impl Steps for Reading {
    async fn step(&mut self) -> Result<Step, Fault> {
        let cut = || Fault::new(FaultKind::Cut, "closed without an end mark");
        let (data, torn) = match self.events.next().await? {
            Next::Data(data) => (data, false),
            Next::Rest(data) => (data, true),
            Next::End => return Err(cut()),
        };
        match self.translator.event(&data, self.clock.now()) {
            Ok(Meaning::Tells(chunks)) => Ok(Step { chunks, over: false }),
            Ok(Meaning::Ends) => Ok(Step { chunks: Vec::new(), over: true }),
            Ok(Meaning::Failed(error)) => {
                Err(classify_inside_answer(NAME, &error, self.clock.now()))
            }
            Err(_) if torn => Err(cut()),
            Err(fault) => Err(fault),
        }
    }
}

/// What one event means.
enum Meaning {
    /// These chunks; none for an event that tells nothing.
    Tells(Vec<Chunk>),
    /// The error, as JSON text.
    Failed(String),
    Ends,
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
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    partial_json: String,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
    stop_reason: Option<String>,
}

/// A block of thought as it is to be sent back.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thought {
    Thinking {
        thinking: String,
        signature: String,
    },
    /// One that nobody but the model can read.
    #[serde(untagged)]
    Redacted(Box<RawValue>),
}

/// The most bytes of thought followed, and of a block nobody here knows; more is not kept.
const MOST_THOUGHT: usize = 512 * 1024;

/// A block under way that is neither text nor thought nor a call of the caller's tools.
struct Other {
    index: u64,
    begun: JsonObject,
    /// Its input, which comes in pieces.
    input: String,
}

impl Other {
    fn add(&mut self, piece: &str) -> Result<(), Fault> {
        if self.input.len() + piece.len() > MOST_THOUGHT {
            return Err(unreadable("a block longer than any model writes"));
        }
        self.input.push_str(piece);
        Ok(())
    }

    fn whole(mut self) -> String {
        if serde_json::from_str::<IgnoredAny>(&self.input).is_ok() {
            self.begun.set("input", self.input);
        }
        self.begun.to_string()
    }
}

/// What must be remembered between two events.
struct Translator {
    shelf: Shelf,
    head: Head,
    usage: Usage,
    /// The call being written: its block, and whether it has arguments.
    call: Option<(u64, bool)>,
    /// A block of a kind OpenAI has no member for, kept until it ends.
    other: Option<Other>,
    /// Calls begun so far.
    calls: usize,
    /// Has it said anything a caller can use?
    spoken: bool,
    /// What was thought before the first call.
    thoughts: Vec<Thought>,
    thought_bytes: usize,
}

impl Translator {
    fn new(shelf: Shelf, created: u64) -> Self {
        Self {
            shelf,
            head: Head { created, ..Head::default() },
            usage: Usage::default(),
            call: None,
            other: None,
            calls: 0,
            spoken: false,
            thoughts: Vec::new(),
            thought_bytes: 0,
        }
    }

    fn event(&mut self, data: &[u8], now: Now) -> Result<Meaning, Fault> {
        let broken = |it: serde_json::Error| unreadable(it.to_string());
        let Kind { kind } = serde_json::from_slice(data).map_err(broken)?;
        if !TELLING.contains(&kind.as_str()) {
            return Ok(Meaning::Tells(Vec::new()));
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(broken)?;
        let delta = event.delta.unwrap_or_default();
        let said = match kind.as_str() {
            "message_start" => event.message.map(|it| self.begin(it)),
            "content_block_start" => match event.content_block {
                Some(raw) => self.open(event.index, raw, now)?,
                None => None,
            },
            "content_block_delta" => self.delta(event.index, delta)?,
            "content_block_stop" => self.close(event.index)?,
            "message_delta" => return self.finish(delta.stop_reason.as_deref(), event.usage),
            "message_stop" => return Ok(Meaning::Ends),
            _ => {
                return Ok(Meaning::Failed(event.error.map_or("null", RawValue::get).to_owned()));
            }
        };
        let chunk = said.map(|it| self.head.chunk(vec![Choice::adding(it)], None));
        Ok(Meaning::Tells(chunk.transpose()?.into_iter().collect()))
    }

    fn begin(&mut self, message: Message<'_>) -> Said {
        self.head.id = message.id;
        self.head.model = message.model;
        self.usage.update(message.usage);
        Said::default().with_text(String::new())
    }

    fn open(&mut self, index: u64, raw: &RawValue, now: Now) -> Result<Option<Said>, Fault> {
        let block: Block<'_> =
            serde_json::from_str(raw.get()).map_err(|it| unreadable(it.to_string()))?;
        Ok(match block.kind.as_str() {
            "tool_use" => Some(self.call(index, block, now)),
            "text" => self.text(block.text),
            "thinking" => {
                let thinking = block.thinking.clone();
                self.think(Thought::Thinking { thinking, signature: block.signature }, raw);
                thought(block.thinking)
            }
            _ if block.is_thought() => {
                self.think(Thought::Redacted(raw.to_owned()), raw);
                None
            }
            _ => {
                let begun =
                    JsonObject::parse(raw.get()).map_err(|it| unreadable(it.to_string()))?;
                self.other = Some(Other { index, begun, input: String::new() });
                None
            }
        })
    }

    fn call(&mut self, index: u64, block: Block<'_>, now: Now) -> Said {
        if self.calls == 0 && !self.thoughts.is_empty() {
            let thoughts = serde_json::to_string(&self.thoughts).unwrap_or_default();
            self.shelf.keep(&block.id, &thoughts, now);
            self.thoughts.clear();
        }
        let input = block.input.map(|it| compact(it.get())).filter(|it| it != "{}");
        let arguments = input.unwrap_or_default();
        self.call = Some((index, !arguments.is_empty()));
        let call = ToolCall::new(Some(block.id), block.name, arguments);
        let call = ToolCall { index: Some(self.calls), ..call };
        self.calls += 1;
        self.spoken = true;
        Said { tool_calls: vec![call], ..Said::default() }
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>) -> Result<Option<Said>, Fault> {
        if let Some(citation) = delta.citation {
            let part = format!(r#"{{"type":"citations_delta","citation":{}}}"#, citation.get());
            return self.part(part).map(Some);
        }
        if let Some(other) = self.other.as_mut().filter(|it| it.index == index) {
            return other.add(&delta.partial_json).map(|()| None);
        }
        Ok(self.said(index, delta))
    }

    fn said(&mut self, index: u64, delta: Delta<'_>) -> Option<Said> {
        if !delta.partial_json.is_empty() {
            let (_, has_arguments) = self.call.as_mut().filter(|(block, _)| *block == index)?;
            *has_arguments = true;
            return self.arguments(delta.partial_json);
        }
        self.thought_bytes += delta.thinking.len() + delta.signature.len();
        if self.thought_bytes > MOST_THOUGHT {
            self.thoughts.clear();
        }
        if let Some(Thought::Thinking { thinking, signature }) = self.thoughts.last_mut() {
            thinking.push_str(&delta.thinking);
            signature.push_str(&delta.signature);
        }
        self.text(delta.text).or_else(|| thought(delta.thinking))
    }

    /// A call without arguments has an object all the same.
    fn close(&mut self, index: u64) -> Result<Option<Said>, Fault> {
        if let Some(other) = self.other.take_if(|it| it.index == index) {
            return self.part(other.whole()).map(Some);
        }
        let call = self.call.take_if(|(block, _)| *block == index);
        let empty = call.is_some_and(|(_, has_arguments)| !has_arguments);
        Ok(if empty { self.arguments("{}".to_owned()) } else { None })
    }

    /// What OpenAI has no member for, as JSON text.
    fn part(&mut self, json: String) -> Result<Said, Fault> {
        self.spoken = true;
        let part = RawValue::from_string(json).map_err(|it| unreadable(it.to_string()))?;
        Ok(Said { content_parts: vec![part], ..Said::default() })
    }

    fn finish(
        &mut self,
        stop_reason: Option<&str>,
        usage: Option<Usage>,
    ) -> Result<Meaning, Fault> {
        self.usage.update(usage.unwrap_or_default());
        let Some(reason) = stop_reason else { return Ok(Meaning::Tells(Vec::new())) };
        let finish = finish_reason(reason);
        let refused = finish == "content_filter" && !self.spoken;
        let refusal = refused.then(|| REFUSED.to_owned());
        let last = Choice::adding(Said { refusal, ..Said::default() });
        let last = Choice { finish_reason: Some(finish), ..last };
        let mut told = vec![self.head.chunk(vec![last], None)?];
        if let Some(usage) = self.usage.to_openai() {
            told.push(self.head.chunk(Vec::new(), Some(usage))?);
        }
        Ok(Meaning::Tells(told))
    }

    fn think(&mut self, thought: Thought, raw: &RawValue) {
        self.thought_bytes += raw.get().len();
        if self.calls == 0 && self.thought_bytes <= MOST_THOUGHT {
            self.thoughts.push(thought);
        }
    }

    fn text(&mut self, text: String) -> Option<Said> {
        self.spoken |= !text.is_empty();
        (!text.is_empty()).then(|| Said { content: Some(text.into()), ..Said::default() })
    }

    fn arguments(&self, fragment: String) -> Option<Said> {
        let index = self.calls.checked_sub(1)?;
        Some(Said { tool_calls: vec![ToolCall::more(index, fragment)], ..Said::default() })
    }
}

fn thought(text: String) -> Option<Said> {
    (!text.is_empty()).then(|| Said { reasoning_content: text, ..Said::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::provider::example::shelf;
    use crate::provider::example::shown;

    use super::*;

    /// What the events of a stream become: each delta with its finish reason, then the usage, then
    /// how it ends.
    fn read(stream: &str) -> (Vec<(Value, Value)>, Option<Value>, &'static str) {
        let mut translator = Translator::new(shelf("m"), 7);
        let (mut deltas, mut usage) = (Vec::new(), None);
        for data in stream.lines().filter_map(|it| it.strip_prefix("data: ")) {
            let chunks = match translator.event(data.as_bytes(), Now::default()).unwrap() {
                Meaning::Tells(chunks) => chunks,
                Meaning::Failed(_) => return (deltas, usage, "failed"),
                Meaning::Ends => return (deltas, usage, "whole"),
            };
            for chunk in chunks {
                assert_eq!(chunk.id().as_deref(), Some("msg_01"));
                let mut chunk = shown(&chunk);
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

    #[test]
    fn what_openai_has_no_member_for_is_passed_on() {
        let (deltas, _, _) = read(
            r#"data: {"type":"message_start","message":{"id":"msg_01"}}
data: {"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"1}"}}
data: {"type":"content_block_stop","index":0}
data: {"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","content":[1]}}
data: {"type":"content_block_stop","index":1}
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}
data: {"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"url":"u"}}}
"#,
        );
        let parts: Vec<&Value> = deltas[1..].iter().map(|(it, _)| &it["content_parts"]).collect();
        let used = json!([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}]);
        let found = json!([{"type": "web_search_tool_result", "content": [1]}]);
        let cited = json!([{"type": "citations_delta", "citation": {"url": "u"}}]);
        assert_eq!(parts, [&used, &found, &cited]);
    }

    fn event(event: &Value) -> String {
        format!("data: {event}\n")
    }

    fn begun(index: u64, block: &Value) -> String {
        event(&json!({"type": "content_block_start", "index": index, "content_block": block}))
    }

    fn added(index: u64, delta: &Value) -> String {
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    fn kept(events: &[String]) -> Option<Value> {
        let mut translator = Translator::new(shelf("m"), 7);
        for data in events.iter().filter_map(|it| it.strip_prefix("data: ")) {
            translator.event(data.trim().as_bytes(), Now::default()).unwrap();
        }
        let kept = translator.shelf.find("a", Now::default());
        kept.map(|it| serde_json::from_str(&it).unwrap())
    }

    #[test]
    fn what_led_to_a_call_is_kept() {
        let call = begun(3, &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}}));
        let redacted = json!({"type": "redacted_thinking", "data": "x"});
        let mut events = vec![
            begun(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
            added(0, &json!({"type": "thinking_delta", "thinking": "h"})),
            added(0, &json!({"type": "thinking_delta", "thinking": "m"})),
            added(0, &json!({"type": "signature_delta", "signature": "s"})),
            begun(1, &redacted),
            begun(2, &json!({"type": "text", "text": ""})),
            added(2, &json!({"type": "text_delta", "text": "so"})),
        ];
        assert_eq!(kept(&events), None);
        events.push(call.clone());
        let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
        assert_eq!(kept(&events), Some(json!([thinking, redacted])));
        // What is too long is not kept cut.
        let much = "x".repeat(MOST_THOUGHT);
        events.insert(2, added(0, &json!({"type": "thinking_delta", "thinking": much})));
        assert_eq!(kept(&events), None);
    }

    #[test]
    fn a_refusal_without_a_word_is_put_in_words() {
        let end = event(&json!({"type": "message_delta", "delta": {"stop_reason": "refusal"}}));
        let start = event(&json!({"type": "message_start", "message": {"id": "msg_01"}}));
        let (deltas, ..) = read(&format!("{start}{end}"));
        assert_eq!(deltas[1], (json!({"refusal": REFUSED}), json!("content_filter")));
        let words = begun(0, &json!({"type": "text", "text": "Well"}));
        let (deltas, ..) = read(&format!("{start}{words}{end}"));
        assert_eq!(deltas[2], (json!({}), json!("content_filter")));
    }
}
