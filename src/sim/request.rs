//! Reading a chat request, with this room's own eyes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// A chat request as far as a simulated provider cares.
#[derive(Debug, Default)]
pub(super) struct Ask {
    /// Every top-level field whose value is not null, by name, in the order of the alphabet.
    pub(super) fields: Vec<String>,
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// `Some` when a stream is asked for.
    pub(super) stream: Option<StreamOptions>,
    /// The most tokens the answer may have.
    pub(super) cap: Option<u64>,
    pub(super) n: u64,
    pub(super) logprobs: bool,
    pub(super) stop: Vec<String>,
    /// `Some` when the request has the field, be it empty.
    pub(super) tools: Option<Vec<Tool>>,
    pub(super) tool_choice: ToolChoice,
    pub(super) format: Format,
    /// A schema in NVIDIA's own member.
    pub(super) guided_json: Option<Value>,
    pub(super) parallel_calls: bool,
    pub(super) thoughts: Thoughts,
    /// By this room's counting: a token for four bytes, four a message, 256 an image.
    pub(super) prompt_tokens: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) role: String,
    content: Option<Content>,
    #[serde(default)]
    pub(super) prefix: bool,
    tool_calls: Option<Vec<Value>>,
    pub(super) tool_call_id: Option<String>,
    /// Members this room has no use for.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
    image_url: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    pub(super) function: Function,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Value,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    None,
    Named(String),
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Format {
    #[default]
    Text,
    Object,
    Schema(Value),
}

/// What becomes of a reasoning model's thoughts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Thoughts {
    #[default]
    Shown,
    /// They are paid for and not shown.
    Hidden,
    /// There are none.
    Off,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Ask {
    /// Reads a body; the error says what is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let raw: BTreeMap<String, &RawValue> =
            serde_json::from_slice(body).map_err(|fault| format!("invalid JSON: {fault}"))?;
        let fields = Fields(raw);
        let messages: Vec<Message> = fields.read("messages")?.unwrap_or_default();
        if messages.is_empty() {
            return Err("messages: at least one is required".to_owned());
        }
        let tool_bytes = fields.0.get("tools").map_or(0, |raw| raw.get().len());
        let stop = match fields.read("stop")? {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Many(texts)) => texts,
        };
        let cap = fields.read("max_completion_tokens")?.or(fields.read("max_tokens")?);
        let options: Option<StreamOptions> = fields.read("stream_options")?;
        let streams = fields.read("stream")?.unwrap_or(false);
        Ok(Self {
            model: fields.read("model")?.ok_or("model: field required")?,
            prompt_tokens: messages.iter().map(Message::tokens).sum::<u64>() + quarter(tool_bytes),
            messages,
            stream: streams.then(|| options.unwrap_or_default()),
            cap,
            n: fields.read("n")?.unwrap_or(1),
            logprobs: fields.read("logprobs")?.unwrap_or_default(),
            stop,
            tools: fields.read("tools")?,
            tool_choice: tool_choice(fields.read("tool_choice")?.as_ref()),
            format: format(fields.read("response_format")?),
            guided_json: fields.read("guided_json")?,
            parallel_calls: fields.read("parallel_tool_calls")?.unwrap_or(true),
            thoughts: fields.thoughts()?,
            fields: fields.names(),
        })
    }

    /// Has it this top-level field, with a value other than null?
    pub(super) fn asks_for(&self, field: &str) -> bool {
        self.fields.iter().any(|it| it == field)
    }

    /// Is this word, in lower case, in any message?
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.messages.iter().any(|it| it.text().to_lowercase().contains(word))
    }

    /// The text of the last user message; empty when there is none.
    pub(super) fn question(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == "user");
        last.map(Message::text).unwrap_or_default()
    }

    /// What may say how to answer: system messages, and the last user message.
    pub(super) fn instructions(&self) -> impl Iterator<Item = String> {
        let system =
            self.messages.iter().filter(|it| it.role == "system" || it.role == "developer");
        system.map(Message::text).chain(std::iter::once_with(|| self.question()))
    }

    /// The results a conversation ends with, one tool's after the other.
    pub(super) fn tool_results(&self) -> Option<String> {
        let turns = self.messages.iter().rev();
        let mut results: Vec<String> =
            turns.take_while(|it| it.role == "tool").map(Message::text).collect();
        results.reverse();
        (!results.is_empty()).then(|| results.join(" and "))
    }

    /// How many times the model has called tools since the user last spoke.
    pub(super) fn steps_taken(&self) -> usize {
        let since = self.messages.iter().rev().take_while(|it| it.role != "user");
        since.filter(|it| it.makes_calls()).count()
    }

    /// Where the images of the last user message are, or they themselves.
    pub(super) fn images(&self) -> Vec<&str> {
        let last = self.messages.iter().rev().find(|message| message.role == "user");
        last.map(|it| it.images().collect()).unwrap_or_default()
    }
}

impl Message {
    /// Its text parts together.
    pub(super) fn text(&self) -> String {
        self.texts().join(" ")
    }

    /// Its text parts.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![text],
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect()
            }
        }
    }

    /// Is its content a string, or a list because it shows something?
    pub(super) fn is_plain(&self) -> bool {
        match &self.content {
            None => false,
            Some(Content::Text(_)) => true,
            Some(Content::Parts(parts)) => parts.iter().any(|it| it.text.is_none()),
        }
    }

    /// Is its content a list although it shows nothing?
    pub(super) fn is_list_of_text(&self) -> bool {
        self.content.is_some() && !self.is_plain()
    }

    /// The URLs of its images.
    pub(super) fn images(&self) -> impl Iterator<Item = &str> {
        let parts = match &self.content {
            Some(Content::Parts(parts)) => parts.as_slice(),
            _ => &[],
        };
        parts.iter().filter_map(move |it| match &it.image_url {
            Some(Value::String(url)) => Some(url.as_str()),
            Some(it) => it.get("url")?.as_str(),
            None => None,
        })
    }

    /// Does it say or show nothing at all?
    pub(super) fn is_empty(&self) -> bool {
        self.text().is_empty() && self.images().next().is_none() && !self.makes_calls()
    }

    pub(super) fn makes_calls(&self) -> bool {
        self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }

    /// Has it this member, with a value other than null?
    pub(super) fn has(&self, member: &str) -> bool {
        self.others.get(member).is_some_and(|it| !it.is_null())
    }

    /// The ids of the tool calls it makes.
    pub(super) fn call_ids(&self) -> impl Iterator<Item = &str> {
        self.tool_calls.iter().flatten().filter_map(|call| call.get("id")?.as_str())
    }

    fn tokens(&self) -> u64 {
        let content: u64 = match &self.content {
            None => 0,
            Some(Content::Text(text)) => quarter(text.len()),
            Some(Content::Parts(parts)) => parts
                .iter()
                .map(|it| it.text.as_ref().map_or(256, |text| quarter(text.len())))
                .sum(),
        };
        let calls: u64 =
            self.tool_calls.iter().flatten().map(|call| quarter(call.to_string().len())).sum();
        4 + content + calls
    }
}

/// The raw top-level fields.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl Fields<'_> {
    /// The field's value; `None` when absent or null.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|fault| format!("{name}: {fault}"))
    }

    /// Thoughts are shown unless they are switched off, in whichever way.
    fn thoughts(&self) -> Result<Thoughts, String> {
        let effort: Option<Value> = self.read("reasoning_effort")?;
        let nested: Option<Value> = self.read("reasoning")?;
        let thinking: Option<Value> = self.read("thinking")?;
        let none = |it: Option<&Value>| it.is_some_and(|it| it == "none");
        let off = none(effort.as_ref())
            || none(nested.as_ref().and_then(|it| it.get("effort")))
            || thinking.as_ref().and_then(|it| it.get("type")).is_some_and(|it| it == "disabled");
        Ok(if off { Thoughts::Off } else { Thoughts::Shown })
    }

    fn names(self) -> Vec<String> {
        self.0.into_iter().filter(|(_, raw)| raw.get() != "null").map(|(name, _)| name).collect()
    }
}

fn tool_choice(value: Option<&Value>) -> ToolChoice {
    match value {
        Some(Value::String(word)) if word == "none" => ToolChoice::None,
        Some(Value::Object(choice)) => choice
            .get("function")
            .and_then(|function| function.get("name")?.as_str())
            .map_or(ToolChoice::Auto, |name| ToolChoice::Named(name.to_owned())),
        _ => ToolChoice::Auto,
    }
}

fn format(value: Option<Value>) -> Format {
    let Some(mut value) = value else { return Format::Text };
    match value.get("type").and_then(Value::as_str) {
        Some("json_object") => Format::Object,
        Some("json_schema") => Format::Schema(
            value.pointer_mut("/json_schema/schema").map(Value::take).unwrap_or_default(),
        ),
        _ => Format::Text,
    }
}

/// Tokens in so many bytes, by this room's counting.
pub(super) fn quarter(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_may_be_text_parts_or_null() {
        let body = br#"{"model":"m","messages":[
            {"role":"user","content":[{"type":"text","text":"Why"},{"type":"image_url"},
                                      {"type":"text","text":"not?"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1"}]},
            {"role":"tool","tool_call_id":"c1","content":"42"}]}"#;
        let ask = Ask::parse(body).unwrap();
        assert_eq!(ask.question(), "Why not?");
        assert_eq!(ask.tool_results().as_deref(), Some("42"));
        assert_eq!(ask.messages[1].call_ids().collect::<Vec<_>>(), ["c1"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, want) in [
            ("{", "invalid JSON"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"messages":[{"role":"user","content":"x"}]}"#, "model"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":"two"}"#, "n:"),
        ] {
            let fault = Ask::parse(body.as_bytes()).unwrap_err();
            assert!(fault.starts_with(want), "{body}: {fault}");
        }
    }
}
