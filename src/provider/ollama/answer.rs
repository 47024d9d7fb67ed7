//! From Ollama's answer to OpenAI's completion.

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
    tool_calls: Option<Vec<Call<'a>>>,
}

/// A call; some servers write its members beside `function`, not in it.
#[derive(Debug, Deserialize)]
struct Call<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> Answer<'a> {
    /// Reads an answer or a line.
    ///
    /// # Errors
    /// [`FaultKind::Unreadable`], or the error that stands in its place.
    pub(super) fn read(text: &'a [u8], now: Now) -> Result<Self, Fault> {
        let answer: Self = serde_json::from_slice(text)
            .map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
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
    pub(super) fn usage(&self) -> Option<Value> {
        let (prompt, completion) = (self.prompt_eval_count?, self.eval_count.unwrap_or(0));
        Some(json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
        }))
    }
}

impl Said<'_> {
    /// OpenAI's calls, under ids made here where there are none: they come back with the results.
    pub(super) fn calls(&self) -> Vec<Value> {
        self.tool_calls.iter().flatten().filter_map(Call::to_openai).collect()
    }
}

impl Call<'_> {
    fn to_openai(&self) -> Option<Value> {
        let inner = self.function.as_ref();
        let name = inner.and_then(|it| it.name.as_ref()).or(self.name.as_ref())?;
        let arguments = inner.and_then(|it| it.arguments).or(self.arguments);
        let arguments = match arguments.map(RawValue::get) {
            None | Some("null") => "{}".to_owned(),
            // A string that holds the object, or the object itself.
            Some(text) => serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()),
        };
        let own = self.id.clone().filter(|it| !it.is_empty());
        let id = own.unwrap_or_else(|| format!("call_{:016x}", fastrand::u64(..)));
        Some(json!({
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`FaultKind::Unreadable`], or the error that stands in its place.
pub(super) fn completion(body: &[u8], now: Now) -> Result<Completion, Fault> {
    let answer = Answer::read(body, now)?;
    let said = answer.message.as_ref();
    let calls = said.map(Said::calls).unwrap_or_default();
    let finish = answer.finish_reason(!calls.is_empty());
    let text = said.and_then(|it| it.content.clone()).unwrap_or_default();
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    if let Some(thoughts) = said.and_then(|it| it.thinking.clone()).filter(|it| !it.is_empty()) {
        message.insert("reasoning_content".to_owned(), thoughts.into());
    }
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    message.insert("content".to_owned(), content);
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    let mut completion = json!({
        "object": "chat.completion",
        "created": now.unix_ms / 1_000,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    });
    if let (Some(usage), Some(completion)) = (answer.usage(), completion.as_object_mut()) {
        completion.insert("usage".to_owned(), usage);
    }
    Completion::parse(&Bytes::from(completion.to_string()))
        .map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    fn read(body: &str) -> Value {
        let read = completion(body.as_bytes(), NOW).unwrap();
        serde_json::from_slice(&read.render("i", "m", 0, |_, _| None)).unwrap()
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
        ] {
            let body = format!(r#"{{"message":{{"tool_calls":[{call}]}},"done":true}}"#);
            let mut choice = read(&body)["choices"][0].take();
            assert_eq!(choice["finish_reason"], "tool_calls");
            assert_eq!(choice["message"]["content"], Value::Null);
            let mut call = choice["message"]["tool_calls"][0].take();
            let id = call["id"].take();
            assert!(id.as_str().is_some_and(|it| it.starts_with("call_")), "{id}");
            let function = json!({"name": "f", "arguments": "{\"city\":\"Paris\"}"});
            assert_eq!(call, json!({"id": null, "type": "function", "function": function}));
        }
        let own = r#"{"message":{"tool_calls":[{"id":"x1","function":{"name":"f"}}]}}"#;
        let call = read(own)["choices"][0]["message"]["tool_calls"][0].take();
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
