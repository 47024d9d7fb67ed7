//! From Anthropic's message to OpenAI's completion.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::clock::Now;
use crate::openai::Completion;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::NAME;

/// Said in the place of an answer that was refused without a word.
const REFUSED: &str = "The model declined to answer.";

/// A whole answer, or the beginning of one.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
    stop_reason: Option<String>,
    #[serde(default)]
    pub(super) usage: Usage,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// One block of an answer. Types that are not known are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) thinking: String,
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Tokens. Later figures of a stream stand for the whole, so they replace earlier ones.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(rename = "input_tokens")]
    input: Option<u64>,
    #[serde(rename = "output_tokens")]
    output: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_written: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
}

impl Usage {
    /// Takes over what `later` tells.
    pub(super) fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_written = later.cache_written.or(self.cache_written);
        self.cache_read = later.cache_read.or(self.cache_read);
    }

    /// OpenAI's `usage`; `None` when nothing was told. Here cached tokens are no part of the input,
    /// there they are.
    pub(super) fn to_openai(self) -> Option<Value> {
        self.input.or(self.output)?;
        let cached = self.cache_read.unwrap_or(0);
        let written = self.cache_written.unwrap_or(0);
        let prompt = self.input.unwrap_or(0).saturating_add(cached).saturating_add(written);
        let completion = self.output.unwrap_or(0);
        Some(json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": cached, "cache_creation_tokens": written},
        }))
    }
}

/// OpenAI's word for why an answer ends.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`FaultKind::Unreadable`], or the error that stands in its place.
pub(super) fn completion(body: &[u8], now: Now) -> Result<Completion, Fault> {
    let message: Message<'_> = serde_json::from_slice(body).map_err(|it| unreadable(&it))?;
    if let Some(error) = message.error {
        return Err(classify_inside_answer(NAME, error.get(), now));
    }
    let finish = finish_reason(message.stop_reason.as_deref().unwrap_or_default());
    let mut answer = json!({
        "id": message.id,
        "object": "chat.completion",
        "created": now.unix_ms / 1_000,
        "model": message.model,
        "choices": [{
            "index": 0,
            "message": said(&message.content, finish),
            "finish_reason": finish,
        }],
    });
    if let (Some(usage), Some(answer)) = (message.usage.to_openai(), answer.as_object_mut()) {
        answer.insert("usage".to_owned(), usage);
    }
    Completion::parse(&Bytes::from(answer.to_string()))
        .map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))
}

/// OpenAI's message of the blocks.
fn said(blocks: &[Block<'_>], finish: &str) -> Value {
    let of = |kind: &'static str| blocks.iter().filter(move |it| it.kind == kind);
    let text: String = of("text").map(|it| it.text.as_str()).collect();
    let thoughts: String = of("thinking").map(|it| it.thinking.as_str()).collect();
    let calls: Vec<Value> = of("tool_use").map(call).collect();
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    if !thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), thoughts.into());
    }
    if text.is_empty() && finish == "content_filter" {
        message.insert("refusal".to_owned(), REFUSED.into());
    }
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    message.insert("content".to_owned(), content);
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Value::Object(message)
}

fn call(block: &Block<'_>) -> Value {
    let arguments = block.input.map_or("{}", RawValue::get);
    json!({
        "id": block.id,
        "type": "function",
        "function": {"name": block.name, "arguments": arguments},
    })
}

/// An answer that is not of the expected form.
pub(super) fn unreadable(fault: &serde_json::Error) -> Fault {
    Fault::new(FaultKind::Unreadable, fault.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(body: &str, expected: Value) {
        let read = completion(body.as_bytes(), NOW).unwrap();
        let shown = read.render("i", "m", 0, |_, _| None);
        let mut shown: Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!(
            (&shown["id"], &shown["model"], &shown["created"]),
            (&json!("i"), &json!("m"), &json!(7))
        );
        let mut choice = shown["choices"][0].take();
        assert_eq!(choice["message"]["role"], "assistant");
        choice["usage"] = shown["usage"].take();
        assert_eq!(choice, expected, "{body}");
    }

    fn usage(prompt: u64, completion: u64, cached: u64, written: u64) -> Value {
        json!({"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion, "prompt_tokens_details": {
                "cached_tokens": cached, "cache_creation_tokens": written}})
    }

    #[test]
    fn the_sample_is_read_whole() {
        let sample = include_str!("../../../tests/wire/anthropic/message.json");
        check(
            sample,
            json!({
                "index": 0, "finish_reason": "stop", "usage": usage(12, 6, 0, 0),
                "message": {"role": "assistant", "content": "Hello there."},
            }),
        );
        assert_eq!(
            completion(sample.as_bytes(), NOW).unwrap().id.as_deref(),
            Some("msg_01XFDUDYJgAACzvnptvVoYEL")
        );
    }

    #[test]
    fn calls_thoughts_and_cached_tokens_are_kept() {
        check(
            r#"{"content":[{"type":"thinking","thinking":"hm","signature":"s"},
                {"type":"redacted_thinking","data":"x"},
                {"type":"text","text":"Let "},{"type":"text","text":"me see."},
                {"type":"tool_use","id":"toolu_1","name":"f","input":{"big": 12345678901234567890123}},
                {"type":"tool_use","id":"toolu_2","name":"g","input":{}}],
               "stop_reason":"tool_use",
               "usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":30,
                        "cache_creation_input_tokens":400}}"#,
            json!({"index": 0, "finish_reason": "tool_calls", "usage": usage(431, 2, 30, 400),
                "message": {"role": "assistant", "content": "Let me see.",
                    "reasoning_content": "hm", "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {
                        "name": "f", "arguments": "{\"big\": 12345678901234567890123}"}},
                    {"id": "toolu_2", "type": "function", "function": {
                        "name": "g", "arguments": "{}"}}]}}),
        );
    }

    #[test]
    fn reasons_to_end_are_translated() {
        for (reason, expected) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("pause_turn", "stop"),
            ("max_tokens", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            ("new", "stop"),
        ] {
            assert_eq!(finish_reason(reason), expected);
        }
        check(
            r#"{"content":[],"stop_reason":"refusal"}"#,
            json!({"index": 0, "finish_reason": "content_filter", "usage": null,
                "message": {"role": "assistant", "content": "", "refusal": REFUSED}}),
        );
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let kind = |body: &str| completion(body.as_bytes(), NOW).unwrap_err().kind;
        assert_eq!(kind("<html>"), FaultKind::Unreadable);
        assert_eq!(kind("[]"), FaultKind::Unreadable);
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
        assert_eq!(kind(error), FaultKind::Busy);
        assert!(completion(b"{}", NOW).unwrap().is_empty());
    }
}
