//! What the parts of a candidate say, in OpenAI's members.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::fault::Fault;
use crate::provider::page::Extra;
use crate::provider::page::Message;
use crate::provider::page::ToolCall;
use crate::provider::page::compact;
use crate::provider::page::unreadable;

use super::members::Members;

/// What a candidate says.
#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    parts: Vec<&'a RawValue>,
}

/// The members of a part that are put into OpenAI's own.
const TOLD: &[&str] = &["text", "thought", "thoughtSignature", "functionCall"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(default)]
    thought: bool,
    thought_signature: Option<String>,
    #[serde(borrow)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    /// Absent as a rule.
    id: Option<String>,
    name: String,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

/// The text of a candidate's parts, and what else they say. `first` is the number of its first
/// call where calls are numbered.
///
/// # Errors
/// When a part can't be read.
pub(super) fn said<'a>(
    content: Option<Content<'a>>,
    first: Option<usize>,
) -> Result<(Cow<'a, str>, Message), Fault> {
    let mut text: Cow<'a, str> = Cow::Borrowed("");
    let mut message = Message::default();
    for raw in content.map(|it| it.parts).unwrap_or_default() {
        let broken = |it: serde_json::Error| unreadable(it.to_string());
        let part: Part<'a> = serde_json::from_str(raw.get()).map_err(broken)?;
        let Members(members) = serde_json::from_str(raw.get()).map_err(broken)?;
        // An image it made, code it ran: whatever OpenAI has no member for.
        if members.iter().any(|(key, _)| !TOLD.contains(&key.as_str())) {
            message.content_parts.push(raw.to_owned());
        }
        if let Some(call) = part.function_call {
            let index = first.map(|it| it + message.tool_calls.len());
            message.tool_calls.push(tool_call(call, index, part.thought_signature));
            continue;
        }
        if part.thought_signature.is_some() {
            message.extra_content = Extra::signed(part.thought_signature);
        }
        if part.thought {
            message.reasoning_content.push_str(&part.text);
        } else if text.is_empty() {
            text = part.text;
        } else {
            text.to_mut().push_str(&part.text);
        }
    }
    Ok((text, message))
}

fn tool_call(call: FunctionCall<'_>, index: Option<usize>, signature: Option<String>) -> ToolCall {
    let object = call.args.filter(|it| it.get().starts_with('{'));
    let arguments = object.map_or_else(|| "{}".to_owned(), |it| compact(it.get()));
    ToolCall {
        index,
        extra_content: Extra::signed(signature.filter(|it| !it.is_empty())),
        ..ToolCall::new(call.id, call.name, arguments)
    }
}
