//! From Ollama's answer to OpenAI's completion.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::openai::Completion;
use crate::openai::says_something;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::page::Choice;
use crate::provider::page::Head;
use crate::provider::page::Message;
use crate::provider::page::ToolCall;
use crate::provider::page::Usage;
use crate::provider::page::compact;
use crate::provider::page::unreadable;

use super::NAME;

/// A whole answer, or one line of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    model: Option<String>,
    #[serde(borrow)]
    pub(super) message: Option<Said<'a>>,
    #[serde(default)]
    pub(super) done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Said<'a> {
    pub(super) content: Option<String>,
    pub(super) thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    images: Option<&'a RawValue>,
}

impl<'a> Answer<'a> {
    /// Reads an answer or a line.
    ///
    /// # Errors
    /// [`Unreadable`](crate::provider::fault::FaultKind::Unreadable), or the error that stands in
    /// its place.
    pub(super) fn read(text: &'a [u8], now: Now) -> Result<Self, Fault> {
        let answer: Self = serde_json::from_slice(text).map_err(|it| unreadable(it.to_string()))?;
        match answer.error {
            Some(error) => Err(classify_inside_answer(NAME, error.get(), now)),
            None => Ok(answer),
        }
    }

    /// OpenAI's word for why it ends; `called`: did it call a tool?
    pub(super) fn finish_reason(&self, called: bool) -> &'static str {
        match self.done_reason.as_deref() {
            Some("length") => "length",
            _ if called => "tool_calls",
            _ => "stop",
        }
    }

    /// OpenAI's `usage`. `None` without the prompt's count, which is not told when the prompt was
    /// still in memory: half a figure would pass for a whole one.
    pub(super) fn usage(&self) -> Option<Usage> {
        Some(Usage::new(self.prompt_eval_count?, self.eval_count.unwrap_or(0), None))
    }
}

impl Said<'_> {
    /// OpenAI's calls, under ids made here where there are none: they come back with the results.
    pub(super) fn calls(&self) -> Vec<ToolCall> {
        self.tool_calls.iter().flatten().filter_map(|it| call(it)).collect()
    }

    /// The images it made, for which OpenAI has no member.
    pub(super) fn parts(&self) -> Vec<Box<RawValue>> {
        let images = self.images.filter(|it| says_something(Some(it.get())));
        let part = images.map(|it| RawValue::from_string(format!(r#"{{"images":{}}}"#, it.get())));
        part.into_iter().flatten().collect()
    }
}

/// Members of a call that are none of its arguments.
const OF_CALL: &[&str] = &["id", "type", "index", "function", "name", "arguments"];

/// OpenAI's call. Some servers write a call's members beside `function` instead of in it, and some
/// the arguments' own members there.
fn call(written: &RawValue) -> Option<ToolCall> {
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    let outer: Members<'_> = serde_json::from_str(written.get()).ok()?;
    let inner: Members<'_> = outer
        .get("function")
        .and_then(|it| serde_json::from_str(it.get()).ok())
        .unwrap_or_default();
    let text = |it: &&RawValue| serde_json::from_str::<String>(it.get()).ok();
    let either = |key: &str| inner.get(key).or_else(|| outer.get(key));
    // Of a call written flat `function` may be the name alone.
    let name = either("name").and_then(text).or_else(|| outer.get("function").and_then(text))?;
    let flat = || {
        let beside = |key: &&String| !OF_CALL.contains(&key.as_str());
        let members = inner.iter().chain(&outer).filter(|(key, _)| beside(key));
        let members: Members<'_> = members.map(|(key, value)| (key.clone(), *value)).collect();
        serde_json::to_string(&members).unwrap_or_default()
    };
    let arguments = match either("arguments").filter(|it| it.get() != "null") {
        // A string that holds the object, or the object itself.
        Some(written) => text(written).unwrap_or_else(|| compact(written.get())),
        None => flat(),
    };
    let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
    Some(ToolCall::new(outer.get("id").and_then(text), name, arguments))
}

/// Reads a whole answer.
///
/// # Errors
/// [`Unreadable`](crate::provider::fault::FaultKind::Unreadable), or the error that stands in its
/// place.
pub(super) fn completion(body: &[u8], now: Now) -> Result<Completion, Fault> {
    let mut answer = Answer::read(body, now)?;
    let said = answer.message.take().unwrap_or_default();
    let message = Message {
        reasoning_content: said.thinking.clone().unwrap_or_default(),
        tool_calls: said.calls(),
        content_parts: said.parts(),
        ..Message::default()
    };
    let finish = answer.finish_reason(!message.tool_calls.is_empty());
    let choice = Choice {
        message: Some(message.with_text(said.content.unwrap_or_default())),
        finish_reason: Some(finish),
        ..Choice::default()
    };
    let usage = answer.usage();
    let head = Head { id: None, model: answer.model, created: now.unix_ms / 1_000 };
    head.completion(vec![choice], usage)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::provider::fault::FaultKind;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    fn read(body: &str) -> Value {
        let read = completion(body.as_bytes(), NOW).unwrap();
        serde_json::from_slice(&read.render("i", "m", 0, |_| None)).unwrap()
    }

    #[test]
    fn the_sample_is_read_whole() {
        let expected = json!({"id": "i", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello there."}}],
            "usage": {"prompt_tokens": 26, "completion_tokens": 5, "total_tokens": 31}});
        assert_eq!(read(include_str!("../../../tests/wire/ollama/chat.json")), expected);
    }

    #[test]
    fn arguments_become_a_string_whatever_their_form() {
        for call in [
            r#"{"function":{"name":"f","arguments":{"city":"Paris"}}}"#,
            r#"{"function":{"name":"f","arguments":"{\"city\":\"Paris\"}"}}"#,
            r#"{"name":"f","arguments":{"city":"Paris"}}"#,
            r#"{"type":"function","function":{"name":"f"},"city":"Paris"}"#,
            r#"{"function":{"name":"f","city":"Paris"}}"#,
            r#"{"function":"f","city":"Paris"}"#,
        ] {
            let body = format!(r#"{{"message":{{"tool_calls":[{call}]}},"done":true}}"#);
            let mut choice = read(&body)["choices"][0].take();
            assert_eq!(choice["finish_reason"], "tool_calls");
            assert_eq!(choice["message"]["content"], Value::Null, "{call}");
            let mut call = choice["message"]["tool_calls"][0].take();
            let id = call["id"].take();
            assert!(id.as_str().is_some_and(|it| it.starts_with("call_")), "{id}");
            let function = json!({"name": "f", "arguments": "{\"city\":\"Paris\"}"});
            assert_eq!(call, json!({"id": null, "type": "function", "function": function}));
        }
        let own = r#"{"message":{"tool_calls":[{"id":"x1","function":{"name":"f","arguments":""}},
            {"odd":1},3]}}"#;
        let mut calls = read(own)["choices"][0]["message"]["tool_calls"].take();
        assert_eq!(calls.as_array().map(Vec::len), Some(1));
        let call = calls[0].take();
        assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("x1"), &json!("{}")));
    }

    #[test]
    fn thoughts_and_ends_are_translated_and_half_a_figure_is_none() {
        let answer = read(
            r#"{"message":{"content":"x","thinking":"hm"},"done_reason":"length","eval_count":5}"#,
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["choices"][0]["message"]["reasoning_content"], "hm");
        assert!(answer.get("usage").is_none());
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let kind = |body: &str| completion(body.as_bytes(), NOW).unwrap_err().kind;
        assert_eq!(kind("<html>"), FaultKind::Unreadable);
        assert_eq!(kind(r#"{"error":"model runner has stopped"}"#), FaultKind::Server);
        assert!(completion(b"{}", NOW).unwrap().is_empty());
    }
}
