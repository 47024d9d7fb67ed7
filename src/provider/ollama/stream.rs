//! From Ollama's lines to OpenAI's chunks.

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::ndjson::LineStream;
use crate::provider::page::Choice;
use crate::provider::page::Head;
use crate::provider::page::Message;
use crate::provider::steps::Step;
use crate::provider::steps::Steps;

use super::answer::Answer;

/// A stream under way.
pub(super) struct Reading {
    lines: LineStream,
    clock: SharedClock,
    translator: Translator,
}

impl Reading {
    pub(super) fn new(lines: LineStream, model: &str, clock: SharedClock) -> Self {
        let created = clock.now().unix_ms / 1_000;
        Self { lines, clock, translator: Translator::new(model, created) }
    }
}

impl Steps for Reading {
    async fn step(&mut self) -> Result<Step, Fault> {
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
        Ok(Step { chunks: self.translator.line(&answer)?, over: answer.done })
    }
}

/// What must be remembered between two lines.
struct Translator {
    head: Head,
    /// Calls told so far.
    calls: usize,
    /// Has the role been told?
    begun: bool,
}

impl Translator {
    fn new(model: &str, created: u64) -> Self {
        let head = Head { id: None, model: Some(model.to_owned()), created };
        Self { head, calls: 0, begun: false }
    }

    /// The chunks for one line: what it says, then why it ends, then what it took.
    fn line(&mut self, answer: &Answer<'_>) -> Result<Vec<Chunk>, Fault> {
        let mut told = Vec::new();
        if let Some(said) = &answer.message {
            let mut tool_calls = said.calls();
            for call in &mut tool_calls {
                // Here a call comes whole; there it says which one it is.
                call.index = Some(self.calls);
                self.calls += 1;
            }
            let text = said.content.as_ref().filter(|it| !it.is_empty());
            let delta = Message {
                content: text.map(|it| it.as_str().into()),
                reasoning_content: said.thinking.clone().unwrap_or_default(),
                tool_calls,
                content_parts: said.parts(),
                ..Message::default()
            };
            if delta.content.is_some()
                || !delta.reasoning_content.is_empty()
                || !delta.tool_calls.is_empty()
                || !delta.content_parts.is_empty()
            {
                let role = (!std::mem::replace(&mut self.begun, true)).then_some("assistant");
                told.push(self.head.chunk(vec![Choice::adding(Message { role, ..delta })], None)?);
            }
        }
        if answer.done {
            let finish_reason = Some(answer.finish_reason(self.calls > 0));
            let last = Choice { finish_reason, ..Choice::adding(Message::default()) };
            told.push(self.head.chunk(vec![last], None)?);
            let usage = answer.usage().map(|it| self.head.chunk(Vec::new(), Some(it)));
            told.extend(usage.transpose()?);
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::clock::Now;
    use crate::provider::example::shown;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 7_000 };

    /// What the lines become: text or the last choice's other delta, joined as they come, then the
    /// finish reason and the tokens; the fault where there is one.
    fn read(stream: &str) -> Result<(Vec<Value>, Value, Value), Fault> {
        let mut translator = Translator::new("m", 7);
        let (mut deltas, mut finish, mut usage) = (Vec::new(), Value::Null, Value::Null);
        for line in stream.lines() {
            for chunk in translator.line(&Answer::read(line.as_bytes(), NOW)?)? {
                let mut chunk = shown(&chunk);
                match chunk["choices"].get_mut(0) {
                    Some(it) if it["finish_reason"].is_null() => {
                        let begins = deltas.is_empty();
                        assert_eq!(
                            it["delta"].as_object_mut().unwrap().remove("role").is_some(),
                            begins
                        );
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
        json!({ member: text })
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
    fn images_are_passed_on() {
        let (deltas, ..) = read(r#"{"message":{"content":"","images":["AA"]}}"#).unwrap();
        assert_eq!(deltas, [json!({"content_parts": [{"images": ["AA"]}]})]);
    }

    #[test]
    fn calls_are_numbered_over_lines() {
        let line = r#"{"message":{"tool_calls":[{"function":{"name":"f"}}]}}"#;
        let (deltas, ..) = read(&format!("{line}\n{line}\n")).unwrap();
        let index = |at: usize| deltas[at]["tool_calls"][0]["index"].clone();
        assert_eq!((index(0), index(1)), (json!(0), json!(1)));
    }
}
