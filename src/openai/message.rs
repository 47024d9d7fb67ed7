//! One message of a conversation, as a light view on the request's bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::{RawObject, says_something, string_of, text_of};
use super::reader::{Broken, Reader, read};
use super::traits::{Trait, Traits};

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
    pub(super) content: Option<&'a str>,
    tool_calls: Option<&'a str>,
    pub(super) answers: Option<&'a str>,
    pub(super) traits: Traits,
}

/// Members of an answer that only who gave it can make use of; OpenAI's own clients send them back.
pub const ECHOED: [&str; 2] = ["extra_content", "reasoning_details"];

/// The members of a message that matter here, and what can be told from the rest.
#[derive(Default)]
struct Members<'a> {
    role: Option<&'a str>,
    content: Option<&'a str>,
    tool_calls: Option<&'a str>,
    function_call: Option<&'a str>,
    tool_call_id: Option<&'a str>,
    traits: Traits,
}

impl<'a> Members<'a> {
    fn take(&mut self, key: &str, value: &'a str) {
        match key {
            "role" => self.role = Some(value),
            "content" => self.content = Some(value),
            "tool_calls" => self.tool_calls = Some(value),
            "tool_call_id" => self.tool_call_id = Some(value),
            "function_call" if value != "null" => self.function_call = Some(value),
            "name" => self.traits.add_if(Trait::Name, true),
            "reasoning" | "reasoning_content" => self.traits.add_if(Trait::Reasoning, true),
            _ => {
                self.traits.add_if(Trait::Extra, true);
                self.traits.add_if(Trait::Echoed, ECHOED.contains(&key));
            }
        }
    }
}

/// What is wrong with a message.
pub(super) enum Fault {
    /// It is no JSON.
    Broken,
    /// The member's path below it, and what is wanted.
    Member(&'static str, String),
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// One part of a message whose content is a list.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input_audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) file: Option<&'a RawValue>,
}

/// Where an image is; some write the address alone.
#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

impl<'a> Message<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let fault = |member, message: &str| Fault::Member(member, message.to_owned());
        if reader.peek() != Some(b'{') {
            let _text = reader.raw()?;
            return Err(fault("", "must be an object with a role and content"));
        }
        let mut members = Members::default();
        let (json, ()) = reader.raw_of(|it| {
            it.object(|it, key| {
                members.take(&key, it.raw()?);
                Ok::<_, Broken>(())
            })
        })?;
        let role = members.role.and_then(text_of);
        let role = role
            .as_deref()
            .and_then(Role::parse)
            .ok_or_else(|| fault(".role", &format!("must be one of {}", Role::NAMES)))?;
        let content = members.content.filter(|it| *it != "null");
        if content.is_some_and(|it| !it.starts_with(['"', '['])) {
            return Err(fault(".content", "must be a string, a list of parts or null"));
        }
        let mut traits = members.traits;
        let calls = members.tool_calls.filter(|it| *it != "null");
        if calls.is_some_and(|it| !it.starts_with('[')) {
            return Err(fault(".tool_calls", "must be a list or null"));
        }
        let void = members.tool_calls.is_some() && !says_something(calls);
        traits.add_if(Trait::VoidCalls, void);
        let tool_calls = calls.or(members.function_call);
        let says_nothing = !says_something(content) && !says_something(tool_calls);
        traits.add_if(Trait::EmptyTurn, role == Role::Assistant && says_nothing);
        traits.add_if(Trait::NoContent, content.is_none());
        traits.add_if(Trait::Parts, content.is_some_and(|it| it.starts_with('[')));
        if let Some(calls) = calls.filter(|it| says_something(Some(it))) {
            read_calls(calls, &mut traits);
        }
        let older = members.function_call.is_some() || role == Role::Function;
        traits.add_if(Trait::OlderCalls, older);
        if role == Role::Tool {
            traits.add_if(Trait::Calls, true);
            traits.add_if(Trait::LostIds, !says_something(members.tool_call_id));
        }
        let answers = members.tool_call_id;
        Ok(Self { role, json, content, tool_calls, answers, traits })
    }

    /// The messages of a list as JSON text; none where it can't be read.
    pub fn list(json: &'a str) -> Vec<Self> {
        let mut messages = Vec::new();
        let all = read(json, |it| {
            it.list(|it| {
                let message = it.raw()?;
                messages.extend(Self::read(&mut Reader::of(message)).ok());
                Ok(())
            })
        });
        if all.is_ok() { messages } else { Vec::new() }
    }

    /// Does the assistant call tools in this message?
    pub fn calls_tools(&self) -> bool {
        says_something(self.tool_calls)
    }

    /// The calls in this message, as JSON text.
    pub fn calls_json(&self) -> Option<&'a str> {
        self.tool_calls.filter(|it| says_something(Some(it)))
    }

    /// The text of the message, text parts joined by line ends; empty when it has none.
    pub fn text(&self) -> Cow<'a, str> {
        let Some(content) = self.content else { return Cow::Borrowed("") };
        if let Some(text) = text_of(content) {
            return text;
        }
        let parts = self.parts();
        Cow::Owned(parts.iter().filter_map(|it| it.text.as_deref()).collect::<Vec<_>>().join("\n"))
    }

    /// Where the images it shows are: `https` or `data:` URLs, as the caller wrote them.
    pub fn image_urls(&self) -> Vec<Cow<'a, str>> {
        let parts = self.parts().into_iter().filter(|it| it.kind == "image_url");
        let urls = parts.map(|it| {
            let place = it.image_url?;
            let url = || serde_json::from_str(place.get()).ok().map(|it: ImageUrl<'a>| it.url);
            string_of(place).or_else(url)
        });
        urls.map(Option::unwrap_or_default).collect()
    }

    pub(super) fn parts(&self) -> Vec<Part<'a>> {
        let list = self.content.filter(|it| it.starts_with('['));
        list.and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default()
    }
}

/// What is odd in the calls of a turn.
fn read_calls(calls: &str, traits: &mut Traits) {
    let calls: Vec<RawObject<'_>> = serde_json::from_str(calls).unwrap_or_default();
    traits.add_if(Trait::Calls, true);
    traits.add_if(Trait::ParallelCalls, calls.len() > 1);
    for call in &calls {
        traits.add_if(Trait::LostIds, !says_something(call.get("id").map(RawValue::get)));
        let plain = ["id", "type", "function"];
        let mut odd = call.0.iter().any(|(key, _)| !plain.contains(&&**key));
        odd |= call.get("type").is_none();
        let function = call.get("function").and_then(|it| serde_json::from_str(it.get()).ok());
        let arguments = function.as_ref().and_then(|it: &RawObject<'_>| it.get("arguments"));
        let has_arguments =
            arguments.is_some_and(|it| it.get().starts_with('"') && says_something(Some(it.get())));
        odd |= function.is_some() && !has_arguments;
        traits.add_if(Trait::OddCalls, odd);
    }
}
