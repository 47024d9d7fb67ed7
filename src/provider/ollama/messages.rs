//! From a conversation to Ollama's messages.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::provider::conversation::Conversation;
use crate::provider::conversation::Media;
use crate::provider::conversation::MediaKind;
use crate::provider::conversation::NOT_CARRIED_OUT;
use crate::provider::conversation::Part;
use crate::provider::conversation::Place;
use crate::provider::conversation::Speaker;
use crate::provider::conversation::Turn;
use crate::provider::conversation::not_here;
use crate::provider::conversation::text_of;
use crate::provider::fault::Fault;

/// Tokens an image may take, and the marks around a message.
const IMAGE: u64 = 2_048;
const MESSAGE: u64 = 16;

/// One message.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    /// In base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Call<'a> {
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    arguments: Box<RawValue>,
}

/// Writes the messages: a turn's, and after it one for the result of each of its calls. There are
/// no ids here; results stand in the order of the calls.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for what it can't be shown.
pub(super) fn write(conversation: Conversation<'_>) -> Result<Vec<Message<'_>>, Fault> {
    let mut messages = Vec::with_capacity(conversation.turns.len());
    for turn in conversation.turns {
        let role = match turn.speaker {
            Speaker::System => "system",
            Speaker::Person => "user",
            Speaker::Model => "assistant",
        };
        let mut said = message(role, turn.parts)?;
        // What led to its calls a model is to see again; the rest it does without.
        if !turn.calls.is_empty() {
            said.thinking = turn.reasoning;
        }
        let mut results = Vec::with_capacity(turn.calls.len());
        for call in turn.calls {
            let unanswered = || vec![Part::Text(Cow::Borrowed(NOT_CARRIED_OUT))];
            let mut result = message("tool", call.result.unwrap_or_else(unanswered))?;
            result.tool_name = Some(call.name.clone());
            results.push(result);
            let function = Function { name: call.name, arguments: call.arguments };
            said.tool_calls.push(Call { function });
        }
        messages.push(said);
        messages.extend(results);
    }
    Ok(messages)
}

/// A message whose images stand beside its text.
fn message<'a>(role: &'static str, parts: Vec<Part<'a>>) -> Result<Message<'a>, Fault> {
    let content = text_of(&parts);
    let mut images = Vec::new();
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Media(Media { kind: MediaKind::Image, at: Place::Inline { data, .. } }) => {
                images.push(data);
            }
            Part::Media(Media { kind: MediaKind::Image, at: Place::Remote(_) }) => {
                return Err(not_here("Ollama fetches no images: send them as data URLs"));
            }
            Part::Media(_) => return Err(not_here("of media Ollama is shown images alone")),
        }
    }
    let (thinking, tool_calls, tool_name) = (String::new(), Vec::new(), None);
    Ok(Message { role, content, thinking, images, tool_calls, tool_name })
}

/// The most tokens that the conversation and so many bytes of tools are likely to have. Too large a
/// window costs memory, one that is too small the beginning of the conversation.
pub(super) fn tokens(conversation: &Conversation<'_>, tools: usize) -> u64 {
    let parts = |parts: &[Part<'_>]| -> u64 {
        let part = |it: &Part<'_>| match it {
            Part::Text(text) => third(text.len()),
            Part::Media(_) => IMAGE,
        };
        parts.iter().map(part).sum()
    };
    let turn = |it: &Turn<'_>| -> u64 {
        let calls = it.calls.iter().map(|it| {
            let written = third(it.name.len() + it.arguments.get().len());
            written + parts(it.result.as_deref().unwrap_or_default()) + MESSAGE
        });
        parts(&it.parts) + third(it.reasoning.len()) + calls.sum::<u64>() + MESSAGE
    };
    third(tools) + conversation.turns.iter().map(turn).sum::<u64>()
}

/// Tokens in so many bytes of text: four make one in English, three in most other languages.
fn third(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(3)).unwrap_or(u64::MAX)
}
