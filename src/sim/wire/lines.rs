//! Answers as Ollama writes them: one object, or lines of them.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::sim::answer::Call;
use crate::sim::answer::Draft;

use super::completion::Page;
use super::stream::{Event, Role};

/// The answer as one object.
pub(super) fn whole(page: &Page, draft: &Draft) -> String {
    let mut message = json!({"role": "assistant", "content": draft.text});
    if let Some(message) = message.as_object_mut() {
        if let Some(thought) = &draft.reasoning {
            message.insert("thinking".to_owned(), thought.as_str().into());
        }
        if !draft.calls.is_empty() {
            let calls: Value = draft.calls.iter().map(call).collect();
            message.insert("tool_calls".to_owned(), calls);
        }
    }
    ending(page, draft, &message).to_string()
}

/// The answer line by line.
pub(super) fn events(page: &Page, draft: &Draft, pieces: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut tell = |role, message: Value, text: &str| {
        let line = line(page, &message);
        events.push(event(role, &line, text));
    };
    if let Some(thought) = &draft.reasoning {
        let message = json!({"role": "assistant", "content": "", "thinking": thought});
        tell(Role::Thought, message, "");
    }
    for piece in pieces {
        tell(Role::Content, json!({"role": "assistant", "content": piece}), piece);
    }
    for it in &draft.calls {
        let message = json!({"role": "assistant", "content": "", "tool_calls": [call(it)]});
        tell(Role::Content, message, "");
    }
    let last = ending(page, draft, &json!({"role": "assistant", "content": ""}));
    let last = Event { usage: page.tells_usage(), ..event(Role::Ending, &last, "") };
    events.push(last);
    events
}

fn event(role: Role, line: &Value, text: &str) -> Event {
    Event { role, bytes: format!("{line}\n").into(), text: text.to_owned(), usage: false }
}

/// Arguments are an object here, and there is no id.
fn call(call: &Call) -> Value {
    let arguments: Option<Box<RawValue>> = serde_json::from_str(&call.arguments).ok();
    json!({"function": {"name": call.name, "arguments": arguments}})
}

fn line(page: &Page, message: &Value) -> Value {
    json!({
        "model": page.model,
        "created_at": "2026-08-01T16:00:00.123456Z",
        "message": message,
        "done": false,
    })
}

fn ending(page: &Page, draft: &Draft, message: &Value) -> Value {
    let mut line = line(page, message);
    if let Some(line) = line.as_object_mut() {
        let reason = if draft.finish == "length" { "length" } else { "stop" };
        line.insert("done".to_owned(), true.into());
        line.insert("done_reason".to_owned(), reason.into());
        line.insert("total_duration".to_owned(), 5_191_566_416_u64.into());
        if page.tells_usage() {
            line.insert("prompt_eval_count".to_owned(), draft.usage.prompt.into());
            line.insert("eval_count".to_owned(), draft.usage.completion.into());
        }
    }
    line
}
