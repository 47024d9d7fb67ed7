//! Answers as Anthropic writes them: a message made of blocks, whole or event by event.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::sim::answer::Call;
use crate::sim::answer::Draft;

use super::completion::Page;
use super::stream::{Event, Role, split_chars};

/// The answer as one message.
pub(super) fn whole(page: &Page, draft: &Draft) -> String {
    let mut blocks = Vec::new();
    if let Some(thought) = &draft.reasoning {
        blocks.push(json!({"type": "thinking", "thinking": thought, "signature": "c2lt"}));
    }
    if !draft.text.is_empty() {
        blocks.push(json!({"type": "text", "text": draft.text}));
    }
    for (at, call) in draft.calls.iter().enumerate() {
        let input: Option<Box<RawValue>> = serde_json::from_str(&call.arguments).ok();
        blocks.push(json!({
            "type": "tool_use", "id": id(page, at), "name": call.name, "input": input,
        }));
    }
    let mut message = head(page, &blocks);
    if let Some(message) = message.as_object_mut() {
        message.insert("stop_reason".to_owned(), stop_reason(draft).into());
        let used = usage(draft, draft.usage.completion);
        message.insert("usage".to_owned(), told(page, used));
    }
    message.to_string()
}

fn head(page: &Page, content: &[Value]) -> Value {
    json!({
        "id": format!("msg_{:024x}", page.serial),
        "type": "message",
        "role": "assistant",
        "model": page.model,
        "content": content,
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn id(page: &Page, at: usize) -> String {
    format!("toolu_{:024x}", page.serial * 64 + at as u64)
}

fn usage(draft: &Draft, output: u64) -> Value {
    json!({
        "input_tokens": draft.usage.prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// Figures that are not to be told are left out.
fn told(page: &Page, usage: Value) -> Value {
    if page.tells_usage() { usage } else { json!({}) }
}

fn stop_reason(draft: &Draft) -> &'static str {
    match draft.finish {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        _ => "end_turn",
    }
}

/// The answer event by event.
pub(super) fn events(page: &Page, draft: &Draft, pieces: &[&str]) -> Vec<Event> {
    let mut writer = Writer { events: Vec::new(), blocks: 0 };
    let mut message = head(page, &[]);
    if let Some(message) = message.as_object_mut() {
        message.insert("usage".to_owned(), told(page, usage(draft, 1)));
    }
    writer.tell(Role::Opening, "message_start", json!({ "message": message }));
    writer.tell(Role::Opening, "ping", json!({}));
    if let Some(thought) = &draft.reasoning {
        let delta = |it: &str| json!({"type": "thinking_delta", "thinking": it});
        let block = json!({"type": "thinking", "thinking": ""});
        writer.block(Role::Thought, &block, [(delta(thought), String::new())]);
    }
    if !pieces.is_empty() {
        let deltas =
            pieces.iter().map(|it| (json!({"type": "text_delta", "text": it}), (*it).to_owned()));
        writer.block(Role::Content, &json!({"type": "text", "text": ""}), deltas);
    }
    for (at, call) in draft.calls.iter().enumerate() {
        writer.call(&id(page, at), call);
    }
    let mut ending = json!({
        "delta": {"stop_reason": stop_reason(draft), "stop_sequence": null},
    });
    if let Some(ending) = ending.as_object_mut() {
        let output = json!({"output_tokens": draft.usage.completion});
        ending.insert("usage".to_owned(), told(page, output));
    }
    writer.tell(Role::Ending, "message_delta", ending);
    if let Some(last) = writer.events.last_mut() {
        last.usage = page.tells_usage();
    }
    writer.tell(Role::Ending, "message_stop", json!({}));
    writer.events
}

struct Writer {
    events: Vec<Event>,
    blocks: u64,
}

impl Writer {
    fn tell(&mut self, role: Role, kind: &str, mut data: Value) {
        if let Some(data) = data.as_object_mut() {
            data.insert("type".to_owned(), kind.into());
        }
        let bytes = format!("event: {kind}\ndata: {data}\n\n").into();
        self.events.push(Event { role, bytes, text: String::new(), usage: false });
    }

    /// One block: each delta with the answer's text in it.
    fn block(
        &mut self,
        role: Role,
        block: &Value,
        deltas: impl IntoIterator<Item = (Value, String)>,
    ) {
        let index = self.blocks;
        self.blocks += 1;
        // A beginning without a delta says nothing yet.
        let opening = if role == Role::Content { Role::Opening } else { role };
        let start = json!({"index": index, "content_block": block});
        self.tell(opening, "content_block_start", start);
        for (delta, text) in deltas {
            self.tell(role, "content_block_delta", json!({"index": index, "delta": delta}));
            if let Some(last) = self.events.last_mut() {
                last.text = text;
            }
        }
        self.tell(Role::Ending, "content_block_stop", json!({ "index": index }));
    }

    fn call(&mut self, id: &str, call: &Call) {
        let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
        let delta =
            |it: &str| (json!({"type": "input_json_delta", "partial_json": it}), String::new());
        let fragments = std::iter::once("").chain(split_chars(&call.arguments, 8));
        self.block(Role::Content, &block, fragments.map(delta));
    }
}
