//! One message of a conversation, as a light view on the request's bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::{json_string, says_something, span_of, string_of};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// The same under its newer name.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
    /// The result of a call in OpenAI's older form.
    Function,
}

impl Role {
    /// Every role's name in requests.
    pub const NAMES: &str = "system, developer, user, assistant, tool, function";

    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "system" => Self::System,
            "developer" => Self::Developer,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            "function" => Self::Function,
            _ => return None,
        })
    }

    /// Is this an instruction rather than a turn of the conversation?
    pub fn instructs(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }

    /// Is this the result of a call the assistant made?
    pub fn answers_call(self) -> bool {
        matches!(self, Self::Tool | Self::Function)
    }
}

/// One message; the text stays where it stands in the body.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// The whole message as JSON text.
    pub json: &'a str,
    content: Option<&'a RawValue>,
    tool_calls: Option<&'a RawValue>,
}

/// The members of a message that matter here.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "super::raw::raw")]
    role: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "super::raw::raw")]
    content: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "super::raw::raw")]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "super::raw::raw")]
    function_call: Option<&'a RawValue>,
}

/// What is wrong with a message: the member's path below it, and what is wanted.
pub(super) struct Fault {
    pub(super) member: &'static str,
    pub(super) message: String,
}

/// One part of a message whose content is a list.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

impl<'a> Message<'a> {
    pub(super) fn read(json: &'a RawValue) -> Result<Self, Fault> {
        let fault = |member, message: &str| Fault { member, message: message.to_owned() };
        if !json.get().starts_with('{') {
            return Err(fault("", "must be an object with a role and content"));
        }
        let members: Members<'a> = serde_json::from_str(json.get())
            .map_err(|it| Fault { member: "", message: format!("can't be read: {it}") })?;
        let role = members.role.and_then(string_of);
        let role = role
            .as_deref()
            .and_then(Role::parse)
            .ok_or_else(|| fault(".role", &format!("must be one of {}", Role::NAMES)))?;
        let content = members.content.filter(|it| it.get() != "null");
        if content.is_some_and(|it| !it.get().starts_with(['"', '['])) {
            return Err(fault(".content", "must be a string, a list of parts or null"));
        }
        let calls = members.tool_calls.filter(|it| it.get() != "null");
        if calls.is_some_and(|it| !it.get().starts_with('[')) {
            return Err(fault(".tool_calls", "must be a list or null"));
        }
        let tool_calls = calls.or(members.function_call);
        Ok(Self { role, json: json.get(), content, tool_calls })
    }

    /// The messages of a list as JSON text; none where it can't be read.
    pub fn list(json: &'a str) -> Vec<Self> {
        let raw: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
        raw.into_iter().filter_map(|it| Self::read(it).ok()).collect()
    }

    /// The message as JSON text with `more` at the end of what it says, on lines of its own; `None`
    /// when it has no content that could be added to.
    pub fn with_more_text(&self, more: &str) -> Option<String> {
        let content = self.content?;
        let longer = match string_of(content) {
            Some(text) if text.is_empty() => json_string(more),
            Some(text) => json_string(&format!("{text}\n\n{more}")),
            None => {
                let parts = content.get().strip_suffix(']')?.trim_ascii_end();
                let comma = if parts == "[" { "" } else { "," };
                let more = json_string(more);
                format!(r#"{parts}{comma}{{"type":"text","text":{more}}}]"#)
            }
        };
        let span = span_of(self.json.as_bytes(), content.get());
        let (before, after) = (self.json.get(..span.start)?, self.json.get(span.end..)?);
        Some([before, &longer, after].concat())
    }

    /// Does the assistant call tools in this message?
    pub fn calls_tools(&self) -> bool {
        says_something(self.tool_calls)
    }

    /// The calls in this message, as JSON text.
    pub fn calls_json(&self) -> Option<&'a str> {
        self.tool_calls.filter(|it| says_something(Some(it))).map(RawValue::get)
    }

    /// The text of the message, text parts joined by line ends; empty when it has none.
    pub fn text(&self) -> Cow<'a, str> {
        let Some(content) = self.content else { return Cow::Borrowed("") };
        if let Some(text) = string_of(content) {
            return text;
        }
        let parts = self.parts();
        Cow::Owned(parts.iter().filter_map(|it| it.text.as_deref()).collect::<Vec<_>>().join("\n"))
    }

    /// Does it show an image?
    pub fn shows_image(&self) -> bool {
        self.parts().iter().any(|it| it.kind == "image_url")
    }

    fn parts(&self) -> Vec<Part<'a>> {
        let list = self.content.filter(|it| it.get().starts_with('['));
        list.and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default()
    }
}
