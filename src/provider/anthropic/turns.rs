//! From a conversation to Anthropic's turns.
//!
//! Anthropic wants every call answered at the start of the turn that follows it, ids of letters,
//! digits and hyphens that stand for one call alone, and nothing after the model's last word but a
//! letter.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::provider::conversation::Call;
use crate::provider::conversation::Conversation;
use crate::provider::conversation::Media;
use crate::provider::conversation::MediaKind;
use crate::provider::conversation::NOT_CARRIED_OUT;
use crate::provider::conversation::Part;
use crate::provider::conversation::Place;
use crate::provider::conversation::Speaker;
use crate::provider::conversation::Turn as Said;
use crate::provider::conversation::not_here;
use crate::provider::conversation::text_of;
use crate::provider::fault::Fault;

/// The image types it takes, the most images in a request, and the most bytes of one.
/// Source: docs.anthropic.com, vision, read 2026-11.
const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];
const MOST_IMAGES: usize = 100;
const MOST_IMAGE_BYTES: usize = 5 * 1024 * 1024;

/// One turn as it is written.
#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: String,
        name: Cow<'a, str>,
        input: Box<RawValue>,
    },
    ToolResult {
        tool_use_id: String,
        content: Content<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    /// A block as it once came.
    #[serde(untagged)]
    Thought(Box<RawValue>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source<'a> {
    Base64 { media_type: String, data: Cow<'a, str> },
    Url { url: Cow<'a, str> },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Blocks(Vec<Block<'a>>),
}

/// Writes the turns. `thought` finds the blocks, a JSON list, that the model thought before a call;
/// they are put before what it said.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for what it can't be shown.
pub(super) fn write<'a>(
    conversation: Vec<Said<'a>>,
    thought: impl Fn(&Call<'a>) -> Option<Arc<str>>,
) -> Result<Vec<Turn<'a>>, Fault> {
    let mut writer = Writer::default();
    for turn in conversation {
        match turn.speaker {
            Speaker::Model => writer.model(turn, &thought)?,
            Speaker::System | Speaker::Person => {
                let blocks = writer.blocks(turn.parts)?;
                writer.say("user", blocks);
            }
        }
    }
    if let Some(last) = writer.turns.last_mut().filter(|it| it.role == "assistant") {
        trim_end(last);
    }
    Ok(writer.turns)
}

/// The names of the tools that were called, each once.
pub(super) fn called<'a>(conversation: &Conversation<'a>) -> Vec<Cow<'a, str>> {
    let calls = conversation.turns.iter().flat_map(|it| &it.calls);
    let mut names: Vec<_> = calls.map(|it| it.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[derive(Default)]
struct Writer<'a> {
    turns: Vec<Turn<'a>>,
    ids: HashSet<String>,
    images: usize,
}

impl<'a> Writer<'a> {
    fn model(
        &mut self,
        turn: Said<'a>,
        thought: impl Fn(&Call<'a>) -> Option<Arc<str>>,
    ) -> Result<(), Fault> {
        let thought = turn.calls.first().and_then(thought);
        let thoughts: Vec<Box<RawValue>> =
            thought.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default();
        let mut blocks: Vec<_> = thoughts.into_iter().map(Block::Thought).collect();
        blocks.extend(self.blocks(turn.parts)?);
        let mut results = Vec::with_capacity(turn.calls.len());
        for call in turn.calls {
            let id = self.unused(&call.id);
            results.push(self.result(id.clone(), call.result)?);
            blocks.push(Block::ToolUse { id, name: call.name, input: call.arguments });
        }
        self.say("assistant", blocks);
        self.say("user", results);
        Ok(())
    }

    fn result(&mut self, id: String, result: Option<Vec<Part<'a>>>) -> Result<Block<'a>, Fault> {
        let is_error = result.is_none();
        let content = match result {
            None => Content::Text(NOT_CARRIED_OUT.to_owned()),
            Some(parts) if parts.iter().any(|it| matches!(it, Part::Media(_))) => {
                Content::Blocks(self.blocks(parts)?)
            }
            Some(parts) => Content::Text(text_of(&parts)),
        };
        Ok(Block::ToolResult { tool_use_id: id, content, is_error })
    }

    /// Adds to the last turn if the same one speaks.
    fn say(&mut self, role: &'static str, content: Vec<Block<'a>>) {
        if content.is_empty() {
            return;
        }
        match self.turns.last_mut().filter(|it| it.role == role) {
            Some(last) => last.content.extend(content),
            None => self.turns.push(Turn { role, content }),
        }
    }

    fn blocks(&mut self, parts: Vec<Part<'a>>) -> Result<Vec<Block<'a>>, Fault> {
        parts.into_iter().map(|it| self.block(it)).collect()
    }

    fn block(&mut self, part: Part<'a>) -> Result<Block<'a>, Fault> {
        let at = match part {
            Part::Text(text) => return Ok(Block::Text { text }),
            Part::Media(Media { kind: MediaKind::Image, at }) => at,
            Part::Media(_) => return Err(not_here("of media Anthropic is shown images alone")),
        };
        self.images += 1;
        if self.images > MOST_IMAGES {
            return Err(not_here(format!("Anthropic sees {MOST_IMAGES} images at most")));
        }
        let source = match at {
            Place::Remote(url) => Source::Url { url },
            Place::Inline { media_type, .. } if !IMAGES.contains(&media_type.as_str()) => {
                return Err(not_here(format!("Anthropic sees no images of type {media_type}")));
            }
            Place::Inline { data, .. } if data.len() > MOST_IMAGE_BYTES => {
                return Err(not_here("Anthropic sees no image above 5 MiB"));
            }
            Place::Inline { media_type, data } => Source::Base64 { media_type, data },
        };
        Ok(Block::Image { source })
    }

    /// The id as it may be written, other than those before it. Other providers' hold points and
    /// colons, and some clients number the calls of every turn anew.
    fn unused(&mut self, id: &str) -> String {
        let proper = |it: char| if it.is_ascii_alphanumeric() || it == '-' { it } else { '_' };
        let id: String = id.chars().map(proper).collect();
        let mut unused = id.clone();
        let mut nth = self.ids.len();
        while !self.ids.insert(unused.clone()) {
            unused = format!("{id}_{nth}");
            nth += 1;
        }
        unused
    }
}

/// The model's last turn, which it is to go on from, may not end with white space.
fn trim_end(turn: &mut Turn<'_>) {
    if let Some(Block::Text { text }) = turn.content.last_mut() {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::provider::conversation::Instructions;
    use crate::provider::conversation::read;
    use crate::provider::fault::FaultKind;

    use super::*;

    fn written(messages: &Value) -> Result<Value, Fault> {
        let messages = messages.to_string();
        let conversation = read(&messages, Instructions::Beside)?;
        Ok(serde_json::to_value(write(conversation.turns, |_| None)?).unwrap())
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(messages: Value, turns: Value) {
        assert_eq!(written(&messages).unwrap(), turns, "{messages}");
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn used(id: &str, name: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": name, "input": {}})
    }

    fn gave(id: &str, content: &Value) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": content})
    }

    #[test]
    fn the_last_word_of_the_model_is_no_white_space() {
        check(
            json!([{"role": "user", "content": "one"}, {"role": "user", "content": "two"},
                {"role": "assistant", "content": "so \n"}]),
            json!([{"role": "user", "content": [text("one"), text("two")]},
                {"role": "assistant", "content": [text("so")]}]),
        );
    }

    #[test]
    fn results_come_first_and_every_call_has_one() {
        let calls = json!([
            {"id": "functions.f:0", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "function": {"name": "g", "arguments": "{}"}},
        ]);
        let mut missing = gave("b", &json!(NOT_CARRIED_OUT));
        missing["is_error"] = true.into();
        check(
            json!([
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "well", "tool_calls": calls},
                {"role": "tool", "tool_call_id": "functions.f:0", "content": "21"},
                {"role": "user", "content": "and?"},
                {"role": "tool", "tool_call_id": "gone", "content": "late"},
            ]),
            json!([
                {"role": "user", "content": [text("go")]},
                {"role": "assistant", "content": [text("well"), used("functions_f_0", "f"),
                    used("b", "g")]},
                {"role": "user", "content": [gave("functions_f_0", &json!("21")), missing,
                    text("and?"), text("late")]},
            ]),
        );
    }

    #[test]
    fn no_two_calls_share_an_id() {
        let call = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "f"}}]});
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
        let step = |id: &str| {
            [
                json!({"role": "assistant", "content": [used(id, "f")]}),
                json!({"role": "user", "content": [gave(id, &json!("x"))]}),
            ]
        };
        let written =
            written(&json!([{"role": "user", "content": "go"}, call("a.1"), result("a.1"),
            call("a_1"), result("a_1"), call("a.1"), result("a.1")]))
            .unwrap();
        let steps = ["a_1", "a_1_1", "a_1_2"].map(step).concat();
        assert_eq!(written.as_array().unwrap()[1..], steps);
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
            json!([
                {"role": "user", "content": [shown, {"type": "image", "source": {
                    "type": "url", "url": "https://example.com/a"}}]},
                {"role": "assistant", "content": [used("a", "f")]},
                {"role": "user", "content": [gave("a", &json!([shown]))]},
            ]),
        );
    }

    #[test]
    fn what_it_is_not_shown_goes_elsewhere() {
        let image = |kind: &str, data: &str| json!({"type": "image_url", "image_url": format!("data:{kind};base64,{data}")});
        let sound = json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}});
        let large = "A".repeat(MOST_IMAGE_BYTES + 1);
        let many = vec![image("image/png", "AA"); MOST_IMAGES + 1];
        for parts in [
            json!([image("image/svg+xml", "AA")]),
            json!([image("image/png", &large)]),
            json!(many),
            json!([sound]),
        ] {
            let fault = written(&json!([{"role": "user", "content": parts}])).unwrap_err();
            assert_eq!(fault.kind, FaultKind::NotHere);
        }
    }
}
