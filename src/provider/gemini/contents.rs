//! From OpenAI's messages to Gemini's turns.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::model::Model;
use super::wire::{Content, FunctionCall, FunctionResponse, InlineData, Part, Role};

/// Stands for the thought signature of a call that another model made, or whose signature the
/// caller's client has lost. Source: ai.google.dev/gemini-api/docs/thought-signatures.
const SKIP_SIGNATURE: &str = "skip_thought_signature_validator";

/// Said by the person where a conversation begins with the model: the first turn must be theirs.
const BEFORE_MODEL: &str = "(The conversation goes on.)";

/// JSON nested deeper than this is sent as a string: the API bounds the depth of objects.
const DEEPEST_OBJECT: usize = 48;

/// A conversation in Gemini's form.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    /// What stands beside the turns; empty for a model that takes nothing there.
    pub(super) system: Vec<Part<'a>>,
    /// The turns: the person's first, and the two speakers in turn.
    pub(super) contents: Vec<Content<'a>>,
}

/// Translates the `messages` member.
///
/// # Errors
/// [`FaultKind::NotHere`] for what this API can't take.
pub(super) fn translate<'a>(messages: &'a str, model: &Model) -> Result<Conversation<'a>, Fault> {
    let messages: Vec<Message<'a>> = serde_json::from_str(messages)
        .map_err(|it| not_here(format!("a message has an unknown form: {it}")))?;
    let mut writer = Writer::new(model);
    for message in messages {
        writer.message(message)?;
    }
    writer.finish()
}

/// A refusal before anything is sent: another provider may take it.
pub(super) fn not_here(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::NotHere, message)
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    /// A call in OpenAI's older form.
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
    tool_call_id: Option<String>,
    name: Option<String>,
    refusal: Option<String>,
    extra_content: Option<ExtraContent>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    extra_content: Option<ExtraContent>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Where Google's own OpenAI-compatible endpoint keeps the signature.
#[derive(Deserialize)]
struct ExtraContent {
    google: Option<GoogleExtra>,
}

#[derive(Deserialize)]
struct GoogleExtra {
    thought_signature: Option<String>,
}

fn signature<'a>(extra: Option<ExtraContent>) -> Option<Cow<'a, str>> {
    let signature = extra?.google?.thought_signature?;
    (!signature.is_empty()).then_some(Cow::Owned(signature))
}

/// One part of a message whose content is a list.
#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    input_audio: Option<Audio<'a>>,
    #[serde(borrow)]
    file: Option<File<'a>>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    format: String,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    file_data: Cow<'a, str>,
}

/// A call of the model's last turn.
struct OpenCall<'a> {
    id: Option<String>,
    name: Cow<'a, str>,
    answered: bool,
}

struct Writer<'a, 'm> {
    model: &'m Model,
    done: Conversation<'a>,
    calls: Vec<OpenCall<'a>>,
    /// Results waiting for the end of their turn, each with its call's place: results carry no
    /// ids here, so they have to stand in the calls' order.
    results: Vec<(usize, Part<'a>)>,
    /// What results show beside text.
    shown: Vec<Part<'a>>,
}

impl<'a, 'm> Writer<'a, 'm> {
    fn new(model: &'m Model) -> Self {
        Self {
            model,
            done: Conversation::default(),
            calls: Vec::new(),
            results: Vec::new(),
            shown: Vec::new(),
        }
    }

    fn message(&mut self, message: Message<'a>) -> Result<(), Fault> {
        if matches!(&*message.role, "tool" | "function") {
            return self.result(message);
        }
        self.end_results();
        match &*message.role {
            "system" | "developer" => {
                let parts = parts(message.content)?;
                self.done.system.extend(parts.into_iter().filter(|it| it.text.is_some()));
            }
            "assistant" => self.assistant(message)?,
            _ => {
                let parts = parts(message.content)?;
                self.say(Role::User, parts);
            }
        }
        Ok(())
    }

    fn assistant(&mut self, message: Message<'a>) -> Result<(), Fault> {
        let mut said = parts(message.content)?;
        said.extend(message.refusal.filter(|it| !it.is_empty()).map(Part::text));
        if let (Some(last), Some(signature)) = (said.last_mut(), signature(message.extra_content)) {
            last.thought_signature = Some(signature);
        }
        let older = message.function_call.map(|it| (None, it, None));
        let calls = message.tool_calls.into_iter().flatten();
        let calls = calls.filter_map(|it| Some((it.id, it.function?, signature(it.extra_content))));
        self.calls.clear();
        for (id, function, mut signature) in calls.chain(older) {
            // Of calls made together only the first is signed.
            if self.calls.is_empty() && self.model.wants_signatures {
                signature = signature.or(Some(Cow::Borrowed(SKIP_SIGNATURE)));
            }
            self.calls.push(OpenCall { id, name: function.name.clone(), answered: false });
            let args = arguments(function.arguments);
            said.push(Part {
                function_call: Some(FunctionCall { name: function.name, args }),
                thought_signature: signature,
                ..Part::default()
            });
        }
        self.say(Role::Model, said);
        Ok(())
    }

    fn result(&mut self, message: Message<'a>) -> Result<(), Fault> {
        let id = message.tool_call_id.filter(|it| !it.is_empty());
        let name = message.name;
        let matches = |it: &OpenCall<'_>| match (&id, &name) {
            (Some(id), _) => it.id.as_deref() == Some(id),
            (None, Some(name)) => !it.answered && it.name == *name,
            (None, None) => !it.answered,
        };
        let place = self.calls.iter().position(matches);
        let (Some(place), Some(call)) = (place, place.and_then(|it| self.calls.get_mut(it))) else {
            return Err(not_here("a tool result belongs to no call of the turn before it"));
        };
        call.answered = true;
        let name = call.name.clone();
        let (texts, shown): (Vec<_>, Vec<_>) =
            parts(message.content)?.into_iter().partition(|it| it.text.is_some());
        let texts: Vec<_> = texts.into_iter().filter_map(|it| it.text).collect();
        let response = response(&texts.join("\n"));
        self.shown.extend(shown);
        let part = Part {
            function_response: Some(FunctionResponse { name, response }),
            ..Part::default()
        };
        self.results.push((place, part));
        Ok(())
    }

    fn end_results(&mut self) {
        let mut results = std::mem::take(&mut self.results);
        results.sort_by_key(|(place, _)| *place);
        let shown = std::mem::take(&mut self.shown);
        self.say(Role::User, results.into_iter().map(|(_, it)| it).chain(shown).collect());
    }

    /// Adds to the last turn if the same one speaks. A turn with nothing in it is refused, so it
    /// is left out.
    fn say(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if parts.is_empty() {
            return;
        }
        match self.done.contents.last_mut().filter(|it| it.role == role) {
            Some(last) => last.parts.extend(parts),
            None => self.done.contents.push(Content { role, parts }),
        }
    }

    fn finish(mut self) -> Result<Conversation<'a>, Fault> {
        self.end_results();
        let Conversation { mut system, mut contents } = self.done;
        if contents.first().is_some_and(|it| it.role == Role::Model) {
            contents.insert(0, Content { role: Role::User, parts: vec![Part::text(BEFORE_MODEL)] });
        }
        // A conversation of instructions alone is one to carry out.
        if !system.is_empty() && (contents.is_empty() || !self.model.takes_instruction) {
            let told = std::mem::take(&mut system);
            match contents.first_mut() {
                Some(first) => drop(first.parts.splice(0..0, told)),
                None => contents.push(Content { role: Role::User, parts: told }),
            }
        }
        if contents.is_empty() {
            return Err(not_here("no message says anything"));
        }
        Ok(Conversation { system, contents })
    }
}

/// What a message says; nothing for what is empty, which would be refused.
fn parts(content: Option<&RawValue>) -> Result<Vec<Part<'_>>, Fault> {
    let Some(content) = content else { return Ok(Vec::new()) };
    if let Some(text) = string_of(content) {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let list: Vec<ContentPart<'_>> = serde_json::from_str(content.get())
        .map_err(|it| not_here(format!("a part of a message has an unknown form: {it}")))?;
    list.into_iter().filter_map(|it| part(it).transpose()).collect()
}

fn part(part: ContentPart<'_>) -> Result<Option<Part<'_>>, Fault> {
    let text = |text: Cow<'_, str>| (!text.is_empty()).then(|| Part::text(text.into_owned()));
    let data = match (&*part.kind, part.image_url, part.input_audio, part.file) {
        ("text" | "input_text", ..) => {
            return Ok((!part.text.is_empty()).then(|| Part::text(part.text)));
        }
        ("refusal", ..) => return Ok(text(part.refusal.unwrap_or_default().into())),
        ("image_url", Some(image), ..) => inline(url_of(image), "image")?,
        ("input_audio", _, Some(audio), _) => {
            InlineData { mime_type: format!("audio/{}", audio.format).into(), data: audio.data }
        }
        ("file", .., Some(file)) => inline(file.file_data, "file")?,
        (kind, ..) => return Err(not_here(format!("Gemini takes no part of type {kind:?}"))),
    };
    Ok(Some(Part { inline_data: Some(data), ..Part::default() }))
}

/// The URL of an image, which some clients send bare.
fn url_of(image: &RawValue) -> Cow<'_, str> {
    let bare = string_of(image);
    bare.or_else(|| Some(serde_json::from_str::<ImageUrl<'_>>(image.get()).ok()?.url))
        .unwrap_or_default()
}

/// The data a `data:` URL holds.
fn inline<'a>(url: Cow<'a, str>, what: &str) -> Result<InlineData<'a>, Fault> {
    if !url.get(..5).is_some_and(|it| it.eq_ignore_ascii_case("data:")) {
        return Err(not_here(format!(
            "Gemini fetches no URLs: the {what} must be sent as a data: URL"
        )));
    }
    let comma = url.find(',').unwrap_or(url.len());
    let head = url.get(5..comma).unwrap_or_default();
    let Some(kind) = head.strip_suffix(";base64") else {
        return Err(not_here(format!("the {what}'s data: URL must be in base64")));
    };
    let kind = kind.split(';').next().unwrap_or_default();
    if kind.is_empty() || comma + 1 >= url.len() {
        return Err(not_here(format!(
            "the {what}'s data: URL names no media type or holds nothing"
        )));
    }
    let mime_type = Cow::Owned(kind.to_owned());
    // Data of many megabytes is not copied where the caller's bytes can be used.
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(url.get(comma + 1..).unwrap_or_default()),
        Cow::Owned(url) => Cow::Owned(url.get(comma + 1..).unwrap_or_default().to_owned()),
    };
    Ok(InlineData { mime_type, data })
}

/// A call's arguments as an object. They come as a string, from careless clients as an object or
/// as a string in a string.
fn arguments(raw: Option<&RawValue>) -> Box<RawValue> {
    let Some(raw) = raw else { return empty() };
    let mut text = string_of(raw).unwrap_or(Cow::Borrowed(raw.get())).into_owned();
    if let Ok(inner) = serde_json::from_str::<String>(&text) {
        text = inner;
    }
    if text.trim().is_empty() {
        return empty();
    }
    object_of(&text)
        .or_else(|| to_raw_value(&json!({ "arguments": text })).ok())
        .unwrap_or_default()
}

/// A result as an object: one in JSON as it is, anything else as the member `result`.
fn response(text: &str) -> Box<RawValue> {
    object_of(text).or_else(|| to_raw_value(&json!({ "result": text })).ok()).unwrap_or_default()
}

fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// The object that `text` holds, if it is one the API can take.
fn object_of(text: &str) -> Option<Box<RawValue>> {
    let text = text.trim();
    let fits = text.starts_with('{') && depth(text) <= DEEPEST_OBJECT;
    // Reading a raw value checks it without following it into the depths.
    fits.then(|| serde_json::from_str::<Box<RawValue>>(text).ok()).flatten()
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The string a raw value holds, not copied unless it is written with escapes.
fn string_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|it| it.0)
}
