//! From Ollama's lines to OpenAI's chunks.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::ndjson::LineStream;

use super::answer::Answer;

/// A stream under way.
pub(super) struct Reading {
    lines: LineStream,
    clock: SharedClock,
    translator: Translator,
    ready: VecDeque<Chunk>,
    ended: bool,
}

impl Reading {
    pub(super) fn new(lines: LineStream, model: &str, clock: SharedClock) -> Self {
        let created = clock.now().unix_ms / 1_000;
        let translator = Translator { model: model.to_owned(), created, calls: 0 };
        Self { lines, clock, translator, ready: VecDeque::new(), ended: false }
    }

    /// The next chunk; `None` after the last line.
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

    /// Reads one line. Was it the last?
    async fn read(&mut self) -> Result<bool, Fault> {
        let Some(line) = self.lines.next().await? else {
            return Err(Fault::new(FaultKind::Cut, "closed without a line that says it is done"));
        };
        let answer = Answer::read(&line, self.clock.now()).map_err(|mut fault| {
            // What ends with the body is a line that was torn, not one that was written badly.
            if fault.kind == FaultKind::Unreadable && self.lines.is_over() {
                fault.kind = FaultKind::Cut;
            }
            fault
        })?;
        for value in self.translator.line(&answer) {
            let chunk = Chunk::parse(&Bytes::from(value.to_string()))
                .map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))?;
            self.ready.push_back(chunk);
        }
        Ok(answer.done)
    }
}

/// What must be remembered between two lines.
struct Translator {
    model: String,
    created: u64,
    /// Calls told so far.
    calls: u64,
}

impl Translator {
    /// The chunks for one line: thoughts, text and calls each in one of their own.
    fn line(&mut self, answer: &Answer<'_>) -> Vec<Value> {
        let mut told = Vec::new();
        if let Some(said) = &answer.message {
            for (member, text) in
                [("reasoning_content", &said.thinking), ("content", &said.content)]
            {
                if let Some(text) = text.as_ref().filter(|it| !it.is_empty()) {
                    told.push(self.chunk(&json!({"role": "assistant", member: text}), None));
                }
            }
            for mut call in said.calls() {
                // Here a call comes whole; there it says which one it is.
                if let Some(call) = call.as_object_mut() {
                    call.insert("index".to_owned(), self.calls.into());
                }
                self.calls += 1;
                told.push(self.chunk(&json!({"role": "assistant", "tool_calls": [call]}), None));
            }
        }
        if answer.done {
            let finish = answer.finish_reason(self.calls > 0);
            told.push(self.chunk(&json!({}), Some(finish)));
            if let Some(usage) = answer.usage() {
                let mut last = self.chunk(&json!({}), None);
                if let Some(last) = last.as_object_mut() {
                    last.insert("choices".to_owned(), json!([]));
                    last.insert("usage".to_owned(), usage);
                }
                told.push(last);
            }
        }
        told
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        json!({
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::clock::Now;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    /// What the lines become: text or the last choice's other delta, joined as they come, then the
    /// finish reason and the tokens; the fault where there is one.
    fn read(stream: &str) -> Result<(Vec<Value>, Value, Value), Fault> {
        let mut translator = Translator { model: "m".to_owned(), created: 7, calls: 0 };
        let (mut deltas, mut finish, mut usage) = (Vec::new(), Value::Null, Value::Null);
        for line in stream.lines() {
            for mut chunk in translator.line(&Answer::read(line.as_bytes(), NOW)?) {
                assert_eq!((&chunk["created"], &chunk["model"]), (&json!(7), &json!("m")));
                match chunk["choices"].get_mut(0) {
                    Some(it) if it["finish_reason"].is_null() => {
                        assert_eq!(it["delta"]["role"].take(), "assistant");
                        deltas.push(it["delta"].take());
                    }
                    Some(it) => finish = it["finish_reason"].take(),
                    None => usage = chunk["usage"]["total_tokens"].take(),
                }
            }
        }
        Ok((deltas, finish, usage))
    }

    fn says(member: &str, text: &str) -> Value {
        json!({"role": null, member: text})
    }

    #[test]
    fn the_samples_are_read_whole() {
        let (stop, tokens) = (json!("stop"), json!(31));
        assert_eq!(
            read(include_str!("../../../tests/wire/ollama/chat_stream.ndjson")).unwrap(),
            (
                vec![says("content", "Hello"), says("content", " there.")],
                stop.clone(),
                tokens.clone()
            )
        );
        assert_eq!(
            read(include_str!("../../../tests/wire/ollama/chat_stream_thinking.ndjson")).unwrap(),
            (
                vec![says("reasoning_content", "Greet back."), says("content", "Hello there.")],
                stop,
                tokens.clone()
            )
        );
        let called = include_str!("../../../tests/wire/ollama/chat_stream_tool_call.ndjson");
        let (mut deltas, finish, used) = read(called).unwrap();
        let mut call = deltas[0]["tool_calls"][0].take();
        assert!(call["id"].take().is_string());
        assert_eq!(
            (call, finish, used),
            (
                json!({"index": 0, "id": null, "type": "function", "function": {
                    "name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}}),
                json!("tool_calls"),
                tokens
            )
        );
        let fault = read(include_str!("../../../tests/wire/ollama/chat_stream_error.ndjson"));
        let fault = fault.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Server);
        assert!(fault.message.ends_with("unexpected EOF"), "{}", fault.message);
    }

    #[test]
    fn calls_are_numbered_over_lines() {
        let line = r#"{"message":{"tool_calls":[{"function":{"name":"f"}}]}}"#;
        let (deltas, ..) = read(&format!("{line}\n{line}\n")).unwrap();
        let index = |at: usize| deltas[at]["tool_calls"][0]["index"].clone();
        assert_eq!((index(0), index(1)), (json!(0), json!(1)));
    }
}
