//! From Anthropic's message to OpenAI's completion.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::openai::Completion;
use crate::openai::says_something;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::page::Choice;
use crate::provider::page::Head;
use crate::provider::page::Message as Said;
use crate::provider::page::PromptDetails;
use crate::provider::page::ToolCall;
use crate::provider::page::Usage as Told;
use crate::provider::page::compact;
use crate::provider::page::unreadable;
use crate::provider::thoughts::Shelf;

use super::NAME;

/// Said in the place of an answer that was refused without a word.
pub(super) const REFUSED: &str = "The model declined to answer.";

/// A whole answer, or the beginning of one.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    stop_reason: Option<String>,
    #[serde(default)]
    pub(super) usage: Usage,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// One block of an answer. Types that are not known are passed on as they came.
#[derive(Debug, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) thinking: String,
    #[serde(default)]
    pub(super) signature: String,
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
}

impl Block<'_> {
    /// Is it what the model thinks, be it readable or not?
    pub(super) fn is_thought(&self) -> bool {
        matches!(self.kind.as_str(), "thinking" | "redacted_thinking")
    }
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
    pub(super) fn to_openai(self) -> Option<Told> {
        self.input.or(self.output)?;
        let cached = self.cache_read.unwrap_or(0);
        let written = self.cache_written.unwrap_or(0);
        let prompt = self.input.unwrap_or(0).saturating_add(cached).saturating_add(written);
        Some(Told {
            prompt_tokens_details: Some(PromptDetails {
                cached_tokens: cached,
                cache_creation_tokens: Some(written),
            }),
            ..Told::new(prompt, self.output.unwrap_or(0), None)
        })
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

/// Reads a whole answer; what led to its calls is kept on the `shelf`.
///
/// # Errors
/// [`Unreadable`](crate::provider::fault::FaultKind::Unreadable), or the error that stands in its
/// place.
pub(super) fn completion(body: &[u8], shelf: &Shelf, now: Now) -> Result<Completion, Fault> {
    let message: Message<'_> =
        serde_json::from_slice(body).map_err(|it| unreadable(it.to_string()))?;
    if let Some(error) = message.error {
        return Err(classify_inside_answer(NAME, error.get(), now));
    }
    let finish = finish_reason(message.stop_reason.as_deref().unwrap_or_default());
    let (mut text, mut said, mut thoughts) = (String::new(), Said::default(), Vec::new());
    for raw in &message.content {
        let block: Block<'_> =
            serde_json::from_str(raw.get()).map_err(|it| unreadable(it.to_string()))?;
        match block.kind.as_str() {
            "text" => {
                text.push_str(&block.text);
                if says_something(block.citations.map(RawValue::get)) {
                    said.content_parts.push((*raw).to_owned());
                }
            }
            "tool_use" => {
                if said.tool_calls.is_empty() && !thoughts.is_empty() {
                    let thoughts = serde_json::to_string(&thoughts).unwrap_or_default();
                    shelf.keep(&block.id, &thoughts, now);
                }
                let arguments = block.input.map_or_else(|| "{}".to_owned(), |it| compact(it.get()));
                said.tool_calls.push(ToolCall::new(Some(block.id), block.name, arguments));
            }
            _ if block.is_thought() => {
                said.reasoning_content.push_str(&block.thinking);
                thoughts.push(raw);
            }
            _ => said.content_parts.push((*raw).to_owned()),
        }
    }
    if text.is_empty() && finish == "content_filter" {
        said.refusal = Some(REFUSED.to_owned());
    }
    let choice = Choice {
        message: Some(said.with_text(text)),
        finish_reason: Some(finish),
        ..Choice::default()
    };
    let head = Head { id: message.id, model: message.model, created: now.unix_ms / 1_000 };
    head.completion(vec![choice], message.usage.to_openai())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::provider::example::shelf;
    use crate::provider::fault::FaultKind;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(body: &str, expected: Value) {
        let read = completion(body.as_bytes(), &shelf("m"), NOW).unwrap();
        let shown = read.render("i", "m", 0, |_| None);
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
            completion(sample.as_bytes(), &shelf("m"), NOW).unwrap().id.as_deref(),
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
                        "name": "f", "arguments": "{\"big\":12345678901234567890123}"}},
                    {"id": "toolu_2", "type": "function", "function": {
                        "name": "g", "arguments": "{}"}}]}}),
        );
    }

    #[test]
    fn what_openai_has_no_member_for_is_passed_on() {
        let search =
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
        let cited = json!({"type": "text", "text": "so", "citations": [{"url": "u"}]});
        check(
            &json!({"content": [search, cited], "stop_reason": "end_turn"}).to_string(),
            json!({"index": 0, "finish_reason": "stop", "usage": null, "message": {
                "role": "assistant", "content": "so", "content_parts": [search, cited]}}),
        );
        let alone = json!({"content": [search], "stop_reason": "pause_turn"}).to_string();
        assert!(!completion(alone.as_bytes(), &shelf("m"), NOW).unwrap().is_empty());
    }

    #[test]
    fn what_led_to_the_first_call_is_kept_as_it_came() {
        let shelf = shelf("m");
        let body = br#"{"content":[{"type":"thinking","thinking":"hm","signature":"s"},
            {"type":"redacted_thinking","data":"x"},{"type":"text","text":"so"},
            {"type":"tool_use","id":"a","name":"f","input":{}},
            {"type":"thinking","thinking":"later"},
            {"type":"tool_use","id":"b","name":"f","input":{}}]}"#;
        completion(body, &shelf, NOW).unwrap();
        let kept = r#"[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"x"}]"#;
        assert_eq!((shelf.find("a", NOW).as_deref(), shelf.find("b", NOW)), (Some(kept), None));
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
                "message": {"role": "assistant", "content": null, "refusal": REFUSED}}),
        );
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let kind = |body: &str| completion(body.as_bytes(), &shelf("m"), NOW).unwrap_err().kind;
        assert_eq!(kind("<html>"), FaultKind::Unreadable);
        assert_eq!(kind("[]"), FaultKind::Unreadable);
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
        assert_eq!(kind(error), FaultKind::Busy);
        assert!(completion(b"{}", &shelf("m"), NOW).unwrap().is_empty());
    }
}
