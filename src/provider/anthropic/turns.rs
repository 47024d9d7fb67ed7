//! From OpenAI's messages to Anthropic's turns.
//!
//! Anthropic wants the person to begin, every call answered at the start of the turn that follows
//! it, no block of text empty, and nothing after the model's last word but a letter.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::provider::conversation::Call;
use crate::provider::conversation::Image;
use crate::provider::conversation::Message;
use crate::provider::conversation::Part;
use crate::provider::conversation::not_here;
use crate::provider::conversation::text_of;
use crate::provider::fault::Fault;

/// Said by the person where a conversation begins with the model.
const BEFORE_MODEL: &str = "(The conversation goes on.)";
/// The result of a call that the caller never answered: it was interrupted.
const NOT_CARRIED_OUT: &str = "(This call was not carried out.)";
/// The image types it takes.
const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

/// A conversation in Anthropic's form.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// What stands beside the turns.
    pub(super) system: String,
    /// The turns, the two speakers alternating.
    pub(super) turns: Vec<Value>,
    /// The names of the tools that were called.
    pub(super) called: Vec<String>,
    /// Does it end with the results of calls?
    pub(super) ends_with_results: bool,
}

/// Writes the turns.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for an image of a type it can't see.
pub(super) fn translate(messages: Vec<Message>) -> Result<Conversation, Fault> {
    let mut writer = Writer::default();
    for message in messages {
        writer.message(message)?;
    }
    Ok(writer.finish())
}

#[derive(Default)]
struct Writer {
    system: Vec<String>,
    turns: Vec<Turn>,
    /// Ids of the calls that wait for a result, in their order.
    open: Vec<String>,
    called: Vec<String>,
}

struct Turn {
    of_model: bool,
    /// Results, which stand first.
    results: Vec<Value>,
    blocks: Vec<Value>,
}

impl Writer {
    fn message(&mut self, message: Message) -> Result<(), Fault> {
        match message {
            Message::System(text) => self.system.extend(Some(text).filter(|it| !it.is_empty())),
            Message::User(parts) => {
                let blocks = parts.iter().map(block).collect::<Result<Vec<_>, _>>()?;
                self.close_calls();
                self.turn(false).blocks.extend(blocks);
            }
            Message::Assistant { text, calls } => {
                self.close_calls();
                self.assistant(&text, calls);
            }
            Message::Result { id, parts, .. } => self.result(&id, &parts)?,
        }
        Ok(())
    }

    fn assistant(&mut self, text: &str, calls: Vec<Call>) {
        if !text.trim().is_empty() {
            self.turn(true).blocks.push(json!({"type": "text", "text": text}));
        }
        let mut ids = HashSet::new();
        for call in calls {
            let id = proper_id(&call.id);
            // A second call under one id could not be answered.
            if ids.insert(id.clone()) {
                self.called.push(call.name.clone());
                let block = json!({
                    "type": "tool_use", "id": id, "name": call.name, "input": call.arguments,
                });
                self.turn(true).blocks.push(block);
                self.open.push(id);
            }
        }
    }

    fn result(&mut self, id: &str, parts: &[Part]) -> Result<(), Fault> {
        let id = proper_id(id);
        let Some(at) = self.open.iter().position(|it| *it == id) else {
            // Its call is gone: what it gave is still worth knowing.
            let blocks = parts.iter().map(block).collect::<Result<Vec<_>, _>>()?;
            self.turn(false).blocks.extend(blocks);
            return Ok(());
        };
        self.open.remove(at);
        let shows_images = parts.iter().any(|it| matches!(it, Part::Image(_)));
        let content = if shows_images {
            parts.iter().map(block).collect::<Result<Value, _>>()?
        } else {
            Value::from(text_of(parts))
        };
        let block = json!({"type": "tool_result", "tool_use_id": id, "content": content});
        self.turn(false).results.push(block);
        Ok(())
    }

    /// Answers the calls that nobody did.
    fn close_calls(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.turn(false).results.push(json!({
                "type": "tool_result", "tool_use_id": id, "content": NOT_CARRIED_OUT,
                "is_error": true,
            }));
        }
    }

    /// The speaker's turn: the last one if it is theirs, or else a new one.
    fn turn(&mut self, of_model: bool) -> &mut Turn {
        if self.turns.last().is_none_or(|it| it.of_model != of_model) {
            self.turns.push(Turn { of_model, results: Vec::new(), blocks: Vec::new() });
        }
        let at = self.turns.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "there is one, made just above if need be")]
        &mut self.turns[at]
    }

    fn finish(mut self) -> Conversation {
        self.close_calls();
        self.turns.retain(|it| !(it.results.is_empty() && it.blocks.is_empty()));
        self.merge();
        let mut system = self.system.join("\n\n");
        if self.turns.first().is_none_or(|it| it.of_model) {
            // Instructions alone are a request like any other; there must be one turn.
            let text = if self.turns.is_empty() && !system.is_empty() {
                std::mem::take(&mut system)
            } else {
                BEFORE_MODEL.to_owned()
            };
            let blocks = vec![json!({"type": "text", "text": text})];
            self.turns.insert(0, Turn { of_model: false, results: Vec::new(), blocks });
        }
        let ends_with_results = self.turns.last().is_some_and(|it| !it.results.is_empty());
        if let Some(last) = self.turns.last_mut().filter(|it| it.of_model) {
            trim_end(last);
        }
        let turns = self.turns.into_iter().map(Turn::written).collect();
        Conversation { system, turns, called: self.called, ends_with_results }
    }

    /// Joins turns of one speaker that an empty one stood between.
    fn merge(&mut self) {
        let mut merged: Vec<Turn> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.drain(..) {
            match merged.last_mut().filter(|it| it.of_model == turn.of_model) {
                Some(last) => {
                    last.results.extend(turn.results);
                    last.blocks.extend(turn.blocks);
                }
                None => merged.push(turn),
            }
        }
        self.turns = merged;
    }
}

impl Turn {
    fn written(self) -> Value {
        let role = if self.of_model { "assistant" } else { "user" };
        let mut blocks = self.results;
        blocks.extend(self.blocks);
        json!({"role": role, "content": blocks})
    }
}

/// The model's last turn, which it is to go on from, may not end with white space.
fn trim_end(turn: &mut Turn) {
    if let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|it| it.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

fn block(part: &Part) -> Result<Value, Fault> {
    let source = match part {
        Part::Text(text) => return Ok(json!({"type": "text", "text": text})),
        Part::Image(Image::Remote(url)) => json!({"type": "url", "url": url}),
        Part::Image(Image::Inline { media_type, data })
            if IMAGES.contains(&media_type.as_str()) =>
        {
            json!({"type": "base64", "media_type": media_type, "data": data})
        }
        Part::Image(Image::Inline { media_type, .. }) => {
            return Err(not_here(format!("it takes no images of type {media_type}")));
        }
    };
    Ok(json!({"type": "image", "source": source}))
}

/// Other providers' ids hold points and colons, which are refused here.
fn proper_id(id: &str) -> String {
    let proper = |it: char| if it.is_ascii_alphanumeric() || it == '-' { it } else { '_' };
    id.chars().map(proper).collect()
}

#[cfg(test)]
mod tests {
    use crate::provider::conversation::read;

    use super::*;

    fn translated(messages: &Value) -> Conversation {
        translate(read(&messages.to_string()).unwrap()).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(messages: Value, system: &str, turns: Value) {
        let got = translated(&messages);
        assert_eq!((got.system.as_str(), Value::from(got.turns)), (system, turns), "{messages}");
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn instructions_stand_beside_and_speakers_alternate() {
        check(
            json!([
                {"role": "system", "content": "a"}, {"role": "user", "content": "one"},
                {"role": "user", "content": "two"}, {"role": "assistant", "content": ""},
                {"role": "user", "content": "three"}, {"role": "developer", "content": "b"},
                {"role": "assistant", "content": "so \n"},
            ]),
            "a\n\nb",
            json!([
                {"role": "user", "content": [text("one"), text("two"), text("three")]},
                {"role": "assistant", "content": [text("so")]},
            ]),
        );
    }

    #[test]
    fn the_person_begins_and_there_is_a_turn() {
        let first = |it: &str| json!([{"role": "user", "content": [text(it)]}]);
        check(json!([{"role": "system", "content": "a"}]), "", first("a"));
        check(json!([{"role": "user", "content": ""}]), "", first(BEFORE_MODEL));
        let got = translated(&json!([{"role": "assistant", "content": "hi"}]));
        assert_eq!(got.turns[0]["content"][0]["text"], BEFORE_MODEL);
        assert_eq!(got.turns[1]["role"], "assistant");
    }

    #[test]
    fn results_come_first_and_every_call_has_one() {
        let calls = json!([
            {"id": "functions.f:0", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "function": {"name": "g", "arguments": "{}"}},
        ]);
        let messages = json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "well", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "21"},
            {"role": "user", "content": "and?"},
            {"role": "tool", "tool_call_id": "gone", "content": "late"},
        ]);
        check(
            messages.clone(),
            "",
            json!([
                {"role": "user", "content": [text("go")]},
                {"role": "assistant", "content": [text("well"),
                    {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "functions_f_0", "content": "21"},
                    {"type": "tool_result", "tool_use_id": "b", "content": NOT_CARRIED_OUT,
                     "is_error": true},
                    text("and?"), text("late")]},
            ]),
        );
        assert_eq!(translated(&messages).called, ["f", "g"]);
    }

    #[test]
    fn images_are_shown() {
        let png = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
        let far = json!({"type": "image_url", "image_url": {"url": "https://example.com/a"}});
        let shown = json!({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": "AA"}});
        check(
            json!([
                {"role": "user", "content": [png, far]},
                {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
                {"role": "tool", "tool_call_id": "a", "content": [png]},
            ]),
            "",
            json!([
                {"role": "user", "content": [shown, {"type": "image", "source": {
                    "type": "url", "url": "https://example.com/a"}}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [shown]}]},
            ]),
        );
        let svg = r#"[{"role":"user","content":[{"type":"image_url","image_url":"data:image/svg+xml;base64,AA"}]}]"#;
        assert!(translate(read(svg).unwrap()).is_err());
    }
}
