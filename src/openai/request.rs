//! A chat request: the caller's bytes, where its members stand, and the few facts routing needs.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::instruction::Place;
use super::media::{Images, Media, media_of};
use super::message::{self, Message, Role};
use super::payload::{JsonText, ObjectWriter, Payload, is_long};
use super::raw::{RawObject, says_something, span_of, string_of, text_of};
use super::reader::{Broken, MAX_DEPTH, Reader, why_broken};
use super::shape::{check_shape, nested_too_deep};
use super::traits::{Trait, Traits};

/// Members that speak to this gateway; they are never sent to a provider.
const OURS: &[&str] = &["model_type", "model_scale", "model_name"];

/// What the answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JsonMode {
    /// Plain text.
    #[default]
    Off,
    /// Some JSON object.
    Object,
    /// JSON that fits the request's schema.
    Schema,
}

/// Which tools the model is to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// It may choose: `auto`, or nothing said.
    #[default]
    Auto,
    /// None of them.
    None,
    /// At least one.
    Required,
    /// One that is named, or one of several that are.
    Function,
}

/// The filters a request may set beside the model's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Exact type, such as `text` or `coding`.
    pub model_type: Option<String>,
    /// `large`, `medium` or `small`.
    pub model_scale: Option<String>,
    /// Part of the model's name, in any case.
    pub model_name: Option<String>,
}

/// One member of the body: its key, and where its value stands.
#[derive(Clone, Debug)]
struct Member {
    key: Cow<'static, str>,
    value: Range<usize>,
}

/// A checked chat request.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    body: ByteString,
    members: Vec<Member>,
    instruction: Option<Place>,
    last_answer: Option<Range<usize>>,
    prompt_bytes: usize,
    /// The model asked for; `None` when the request names none.
    pub model: Option<String>,
    /// Is the answer to be streamed?
    pub stream: bool,
    /// Does the caller want a usage chunk at the end of the stream?
    pub include_usage: bool,
    /// Does it bring tools?
    pub has_tools: bool,
    /// The images its messages show.
    pub images: Images,
    /// What in its messages is no text.
    pub media: Media,
    /// What is out of the ordinary in its messages.
    pub traits: Traits,
    /// Which tools are to be called.
    pub tool_choice: ToolChoice,
    /// Must the answer be JSON?
    pub json_mode: JsonMode,
    /// Tokens the answer may have; `None` when the request sets no bound.
    pub max_tokens: Option<u64>,
    /// How many answers are wanted; at least 1.
    pub n: u64,
    /// Filters on the models.
    pub filters: Filters,
}

/// What to change in a request on its way to a provider.
#[derive(Clone, Debug, Default)]
pub struct RequestEdits {
    /// Members to set, as key and JSON text; those the request lacks are added. The text is shared by
    /// all copies: it may be a whole conversation.
    pub set: Vec<(&'static str, JsonText)>,
    /// Members to leave out.
    pub leave_out: Vec<String>,
    /// Are there fewer messages than the caller wrote, so that others are neighbours?
    pub cut: bool,
}

impl ChatRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// A 400 whose `param` names the member at fault.
    pub fn parse(body: &Bytes) -> Result<Self, ApiError> {
        let body = ByteString::try_from(body.clone()).map_err(|_| not_utf8(body))?;
        let found = Found::read(&body)?;
        let messages = found.messages()?;
        let traits = Traits::of(messages);
        let (media, images) = if traits.has(Trait::Parts) {
            media_of(body.as_bytes(), messages)
        } else {
            Default::default()
        };
        let last_answer = messages.iter().rfind(|it| it.role == Role::Assistant);
        let mut request = Self {
            last_answer: last_answer.map(|it| span_of(body.as_bytes(), it.json)),
            instruction: Place::in_list(found.member("messages"), messages),
            traits,
            images,
            media,
            members: found.places(&body),
            prompt_bytes: 0,
            model: None,
            stream: false,
            include_usage: false,
            has_tools: false,
            tool_choice: ToolChoice::Auto,
            json_mode: JsonMode::Off,
            max_tokens: None,
            n: 1,
            filters: Filters::default(),
            body,
        };
        request.read_facts()?;
        Ok(request)
    }

    /// A member's JSON text; `None` when it is absent or `null`.
    pub fn member(&self, key: &str) -> Option<&str> {
        let span = &self.members.iter().find(|it| &*it.key == key)?.value;
        self.body.get(span.clone()).filter(|it| *it != "null")
    }

    /// The messages' JSON text, shared with the body.
    pub(super) fn messages_json(&self) -> ByteString {
        self.member("messages").map_or(ByteString::from_static("[]"), |it| self.body.slice_ref(it))
    }

    /// The schema in its `response_format`, as JSON text; `None` when there is none.
    pub fn schema_json(&self) -> Option<&str> {
        let format: SchemaFormat<'_> =
            serde_json::from_str(self.member("response_format")?).ok()?;
        format.json_schema?.schema.map(RawValue::get)
    }

    /// The names of the members the body has, in its order; those that are `null` too.
    pub fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|it| &*it.key)
    }

    /// The conversation.
    pub fn messages(&self) -> Vec<Message<'_>> {
        // `parse` has read every one of them, so nothing is lost here.
        listed(&mut Reader::of(self.member("messages").unwrap_or("[]"))).unwrap_or_default()
    }

    /// The assistant's last message, as JSON text.
    pub fn last_answer(&self) -> Option<&str> {
        self.body.get(self.last_answer.clone()?)
    }

    /// Does the body have this member, or one of its messages beside those all messages may have? As
    /// `null` too: who doesn't know a member refuses it whatever its value.
    pub fn brings(&self, key: &str) -> bool {
        let with_it = |it: &Message<'_>| {
            let object = serde_json::from_str::<RawObject<'_>>(it.json).ok();
            object.is_some_and(|it| it.get(key).is_some())
        };
        let common = ["role", "content", "tool_calls", "tool_call_id"].contains(&key);
        let odd = [Trait::Name, Trait::Reasoning, Trait::Extra];
        self.member_names().any(|it| it == key)
            || (!common && self.traits.has_any(&odd) && self.messages().iter().any(with_it))
    }

    /// Where the caller's own instructions can be added to.
    pub(super) fn instruction(&self) -> Option<Place> {
        self.instruction
    }

    /// How many bytes the messages, the tools and the answer's schema take, but for what is no text
    /// ([`media`](Self::media)): an upper bound for their tokens.
    pub fn prompt_bytes(&self) -> usize {
        self.prompt_bytes
    }

    /// The caller's `stream_options` with usage asked for.
    pub fn stream_options_with_usage(&self) -> String {
        let asked = self.member("stream_options").and_then(|it| serde_json::from_str(it).ok());
        let RawObject(members) = asked.unwrap_or(RawObject(Vec::new()));
        let mut out = ObjectWriter::with_capacity(64);
        out.key("include_usage");
        out.copy("true");
        for (key, value) in members.iter().filter(|(key, _)| key != "include_usage") {
            out.key(key);
            out.copy(value.get());
        }
        String::from_utf8(out.end().joined().into()).unwrap_or_default()
    }

    /// The body with the edits made and this gateway's own members left out.
    pub fn render(&self, edits: &RequestEdits) -> Payload {
        let copied = |bytes: usize| if is_long(bytes) { 0 } else { bytes };
        let kept: usize =
            self.members.iter().map(|it| it.key.len() + copied(it.value.len()) + 4).sum();
        let added: usize = edits.set.iter().map(|(key, json)| key.len() + json.copied() + 4).sum();
        let mut out = ObjectWriter::with_capacity(kept + added);
        for Member { key, value } in &self.members {
            let edited = edits.set.iter().any(|(it, _)| **it == **key);
            let gone = edits.leave_out.iter().any(|it| **it == **key);
            if edited || gone || OURS.contains(&&**key) {
                continue;
            }
            // Keys that stand in the body with escapes are written anew; both mean the same.
            out.key(key);
            out.part(&self.body, self.body.get(value.clone()).unwrap_or_default());
        }
        for (key, json) in &edits.set {
            out.key(key);
            out.value(json);
        }
        out.end()
    }

    fn read_facts(&mut self) -> Result<(), ApiError> {
        let said = self.said();
        let model = string("model", said.model)?;
        let filters = Filters {
            model_type: string("model_type", said.model_type)?,
            model_scale: string("model_scale", said.model_scale)?,
            model_name: string("model_name", said.model_name)?,
        };
        let max_tokens = match whole("max_completion_tokens", said.max_completion_tokens)? {
            None => whole("max_tokens", said.max_tokens)?,
            some => some,
        };
        let n = whole("n", said.n)?.unwrap_or(1);
        let json_mode = said.response_format.map_or(Ok(JsonMode::Off), read_json_mode)?;
        let include_usage = said.stream_options.map_or(Ok(false), read_include_usage)?;
        let prompt_bytes = said.prompt_bytes(self.media, json_mode);
        let stream = said.stream == Some("true");
        let has_tools = says_something(said.tools) || says_something(said.functions);
        let tool_choice = read_tool_choice(said.tool_choice);
        self.stream = stream;
        self.include_usage = include_usage;
        self.has_tools = has_tools;
        self.model = model;
        self.filters = filters;
        self.tool_choice = tool_choice;
        self.max_tokens = max_tokens;
        self.n = n;
        self.json_mode = json_mode;
        self.prompt_bytes = prompt_bytes;
        Ok(())
    }

    /// The members that say what routing needs.
    fn said(&self) -> Said<'_> {
        let mut said = Said::default();
        for Member { key, value } in &self.members {
            let place = match &**key {
                "model" => &mut said.model,
                "messages" => &mut said.messages,
                "stream" => &mut said.stream,
                "stream_options" => &mut said.stream_options,
                "max_tokens" => &mut said.max_tokens,
                "max_completion_tokens" => &mut said.max_completion_tokens,
                "n" => &mut said.n,
                "tools" => &mut said.tools,
                "functions" => &mut said.functions,
                "tool_choice" => &mut said.tool_choice,
                "response_format" => &mut said.response_format,
                "model_type" => &mut said.model_type,
                "model_scale" => &mut said.model_scale,
                "model_name" => &mut said.model_name,
                _ => continue,
            };
            *place = self.body.get(value.clone()).filter(|it| *it != "null");
        }
        said
    }
}

/// The JSON text of what routing looks at; `None` for what is absent or `null`.
#[derive(Default)]
struct Said<'a> {
    model: Option<&'a str>,
    messages: Option<&'a str>,
    stream: Option<&'a str>,
    stream_options: Option<&'a str>,
    max_tokens: Option<&'a str>,
    max_completion_tokens: Option<&'a str>,
    n: Option<&'a str>,
    tools: Option<&'a str>,
    functions: Option<&'a str>,
    tool_choice: Option<&'a str>,
    response_format: Option<&'a str>,
    model_type: Option<&'a str>,
    model_scale: Option<&'a str>,
    model_name: Option<&'a str>,
}

impl Said<'_> {
    fn prompt_bytes(&self, media: Media, mode: JsonMode) -> usize {
        let length = |it: Option<&str>| it.map_or(0, str::len);
        let said = length(self.messages) + length(self.tools) + length(self.functions);
        let said = said.saturating_sub(usize::try_from(media.bytes).unwrap_or(usize::MAX));
        match mode {
            JsonMode::Off => said,
            JsonMode::Object | JsonMode::Schema => said + length(self.response_format),
        }
    }
}

/// A member that is text; text that is not Unicode (half a surrogate pair) is refused.
fn string(key: &str, json: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(json) = json else { return Ok(None) };
    let text = text_of(json).map(Cow::into_owned);
    text.map(Some).ok_or_else(|| {
        ApiError::invalid(format!("{key} must be a string of Unicode text."), Some(key))
    })
}

fn read_include_usage(text: &str) -> Result<bool, ApiError> {
    let options: StreamOptions = serde_json::from_str(text).map_err(|_| {
        let message = "stream_options.include_usage must be true or false.";
        ApiError::invalid(message, Some("stream_options.include_usage"))
    })?;
    Ok(options.include_usage.unwrap_or(false))
}

fn read_tool_choice(said: Option<&str>) -> ToolChoice {
    match said {
        None | Some("\"auto\"") => ToolChoice::Auto,
        Some("\"none\"") => ToolChoice::None,
        Some(other) if other.starts_with('"') => ToolChoice::Required,
        Some(_) => ToolChoice::Function,
    }
}

fn read_json_mode(text: &str) -> Result<JsonMode, ApiError> {
    let RawObject(members) = serde_json::from_str(text)
        .map_err(|it| ApiError::invalid(it.to_string(), Some("response_format")))?;
    let kind = members.iter().find(|(key, _)| key == "type").and_then(|(_, it)| string_of(it));
    match kind.as_deref() {
        Some("json_object") => Ok(JsonMode::Object),
        Some("json_schema") => match serde_json::from_str::<SchemaFormat<'_>>(text) {
            Ok(SchemaFormat { json_schema: Some(_) }) => Ok(JsonMode::Schema),
            _ => Err(ApiError::invalid(
                "response_format.json_schema must be an object with a name and a schema.",
                Some("response_format.json_schema"),
            )),
        },
        Some("text") => Ok(JsonMode::Off),
        _ => Err(ApiError::invalid(
            "response_format.type must be text, json_object or json_schema.",
            Some("response_format.type"),
        )),
    }
}

fn whole(key: &str, text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => {
            let message = format!("{key} must be a whole number of at least 1.");
            Err(ApiError::invalid(message, Some(key)))
        }
    }
}

/// What a body holds, as slices of it.
#[derive(Default)]
struct Found<'a> {
    members: Vec<(Cow<'static, str>, &'a str)>,
    messages: Vec<Message<'a>>,
}

/// Why a body can't be read.
enum Fault {
    Broken,
    Refused(ApiError),
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl<'a> Found<'a> {
    fn read(text: &'a str) -> Result<Self, ApiError> {
        let mut found = Self { members: Vec::with_capacity(8), ..Self::default() };
        let mut reader = Reader::of(text);
        let read = reader.object(|it, key| found.take(&key, it));
        match read.and_then(|()| Ok(reader.end()?)) {
            Ok(()) => Ok(found),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Broken) if nested_too_deep(text.as_bytes()) => {
                let message = format!("The body is nested more than {MAX_DEPTH} levels deep.");
                Err(ApiError::invalid(message, None))
            }
            Err(Fault::Broken) => {
                let why = why_broken(text);
                let message =
                    format!("The body must be a JSON object that OpenAI would take: {why}.");
                Err(ApiError::invalid(message, None))
            }
        }
    }

    fn take(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        let first = reader.peek().filter(|it| !b"}],:".contains(it)).ok_or(Broken)?;
        let known = check_shape(key, first).map_err(Fault::Refused)?;
        let value = if known == Some("messages") && first == b'[' {
            let (json, messages) = reader.raw_of(listed)?;
            self.messages = messages;
            json
        } else {
            reader.raw()?
        };
        // Of two members with one key the last counts, as in every JSON reader.
        if let Some(member) = self.members.iter_mut().find(|(it, _)| it == key) {
            member.1 = value;
        } else {
            let key = known.map_or_else(|| Cow::Owned(key.to_owned()), Cow::Borrowed);
            self.members.push((key, value));
        }
        Ok(())
    }

    /// A member's JSON text, `null` where it is absent.
    fn member(&self, key: &str) -> &'a str {
        self.members.iter().find(|(it, _)| it == key).map_or("null", |(_, it)| *it)
    }

    fn messages(&self) -> Result<&[Message<'a>], ApiError> {
        let message = match self.member("messages") {
            "null" => "messages is missing: it must hold at least one message.",
            _ if self.messages.is_empty() => "messages must hold at least one message.",
            _ => return Ok(&self.messages),
        };
        Err(ApiError::invalid(message, Some("messages")))
    }

    fn places(&self, body: &str) -> Vec<Member> {
        let place = |it: &str| span_of(body.as_bytes(), it);
        let members = self.members.iter();
        members.map(|(key, it)| Member { key: key.clone(), value: place(it) }).collect()
    }
}

/// The messages of a list.
fn listed<'a>(reader: &mut Reader<'a>) -> Result<Vec<Message<'a>>, Fault> {
    let mut messages = Vec::new();
    reader.list(|it| {
        let message = Message::read(it).map_err(|fault| match fault {
            message::Fault::Broken => Fault::Broken,
            message::Fault::Member(member, wanted) => {
                let param = format!("messages[{}]{member}", messages.len());
                Fault::Refused(ApiError::invalid(format!("{param} {wanted}."), Some(&param)))
            }
        })?;
        messages.push(message);
        Ok::<_, Fault>(())
    })?;
    Ok(messages)
}

fn not_utf8(body: &[u8]) -> ApiError {
    let at = std::str::from_utf8(body).map_or_else(|it| it.valid_up_to(), str::len);
    ApiError::invalid(format!("The body must be UTF-8: the byte at {at} is not."), None)
}

/// A `response_format` as far as its schema goes.
#[derive(serde::Deserialize)]
struct SchemaFormat<'a> {
    #[serde(borrow, default)]
    json_schema: Option<NamedSchema<'a>>,
}

#[derive(serde::Deserialize)]
struct NamedSchema<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatRequest, ApiError> {
        ChatRequest::parse(&Bytes::copy_from_slice(body.as_bytes()))
    }

    fn check_refused(body: &str, param: Option<&str>, part: &str) {
        let fault = parse(body).expect_err(body);
        assert_eq!(fault.status, 400, "{body}");
        assert_eq!(fault.param.as_deref(), param, "{body}: {}", fault.message);
        assert!(fault.message.contains(part), "{body}: {}", fault.message);
    }

    #[test]
    fn bad_bodies_name_what_is_wrong() {
        let hello = r#""messages":[{"role":"user","content":"hi"}]"#;
        check_refused("", None, "JSON object");
        check_refused("[]", None, "JSON object");
        check_refused("{", None, "JSON object");
        check_refused(r#"{"messages":"#, None, "JSON object");
        check_refused("{}", Some("messages"), "missing");
        check_refused(r#"{"messages":null}"#, Some("messages"), "missing");
        check_refused(r#"{"messages":[]}"#, Some("messages"), "at least one");
        check_refused(r#"{"messages":"hi"}"#, Some("messages"), "list of messages");
        check_refused(r#"{"messages":["hi"]}"#, Some("messages[0]"), "object");
        check_refused(r#"{"messages":[{"content":"x"}]}"#, Some("messages[0].role"), "system");
        check_refused(
            r#"{"messages":[{"role":"user"},{"role":"robot"}]}"#,
            Some("messages[1].role"),
            "one of",
        );
        check_refused(
            r#"{"messages":[{"role":"user","content":7}]}"#,
            Some("messages[0].content"),
            "string",
        );
        check_refused(
            r#"{"messages":[{"role":"assistant","tool_calls":{}}]}"#,
            Some("messages[0].tool_calls"),
            "list",
        );
        for (member, param) in [
            (r#""model":1"#, "model"),
            (r#""stream":"yes""#, "stream"),
            (r#""temperature":"hot""#, "temperature"),
            (r#""max_tokens":0"#, "max_tokens"),
            (r#""max_tokens":1.5"#, "max_tokens"),
            (r#""max_completion_tokens":-1"#, "max_completion_tokens"),
            (r#""n":0"#, "n"),
            (r#""tools":{}"#, "tools"),
            (r#""stop":5"#, "stop"),
            (r#""model_scale":3"#, "model_scale"),
            (r#""response_format":{"type":"yaml"}"#, "response_format.type"),
            (r#""response_format":"json""#, "response_format"),
            (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
            (
                r#""response_format":{"type":"json_schema","json_schema":3}"#,
                "response_format.json_schema",
            ),
            (r#""model":"\ud800""#, "model"),
            (r#""stream_options":{"include_usage":"yes"}"#, "stream_options.include_usage"),
        ] {
            check_refused(&format!("{{{member},{hello}}}"), Some(param), param);
        }
        let deep = format!(r#"{{"x":{}1{},{hello}}}"#, "[".repeat(200), "]".repeat(200));
        check_refused(&deep, None, "levels deep");
        let fault = ChatRequest::parse(&Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err();
        assert!(fault.message.contains("UTF-8"), "{}", fault.message);
    }

    #[test]
    fn brackets_in_text_are_not_depth() {
        let body =
            format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "[\\\"".repeat(500));
        assert!(parse(&body).is_ok());
    }

    #[test]
    fn what_nobody_knows_passes_byte_for_byte() {
        let request = parse(
            r#"{"model":"a","zeta":{"x" : 1.50e3, "y":"\u00e9"}, "model_type":"text","messages":[{"role":"user","content":"hi","odd":[1, 2]}],"big":12345678901234567890123}"#,
        )
        .unwrap();
        let edits = RequestEdits {
            set: vec![("model", "\"b\"".into()), ("stream", "true".into())],
            leave_out: vec!["gone".into()],
            cut: false,
        };
        assert_eq!(
            request.render(&edits).joined(),
            r#"{"zeta":{"x" : 1.50e3, "y":"\u00e9"},"messages":[{"role":"user","content":"hi","odd":[1, 2]}],"big":12345678901234567890123,"model":"b","stream":true}"#
        );
    }

    #[test]
    fn facts_are_read() {
        let request = parse(
            r#"{"model":"x/y","stream":true,"stream_options":{"include_usage":true},"n":2,
            "max_tokens":5,"max_completion_tokens":7,"tools":[{"type":"function"}],
            "response_format":{"type":"json_schema","json_schema":{}},"model_name":"oss","messages":[
            {"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"what"},
            {"type":"image_url","image_url":{"url":"data:,"}},{"type":"text","text":"is it"}]}]}"#,
        )
        .unwrap();
        assert_eq!(request.model.as_deref(), Some("x/y"));
        assert!(request.stream && request.include_usage && request.has_tools);
        assert_eq!(request.images, Images { count: 1, remote: false, largest: 6, inline: 6 });
        assert_eq!((request.max_tokens, request.n), (Some(7), 2));
        assert_eq!(request.json_mode, JsonMode::Schema);
        assert_eq!(request.filters.model_name.as_deref(), Some("oss"));
        assert_eq!(request.messages()[1].text(), "what\nis it");
    }

    #[test]
    fn what_is_no_text_is_counted_apart() {
        let size = |part: &str| {
            let body =
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},PART]}]}"#;
            let request = parse(&body.replace("PART", part)).unwrap();
            (request.prompt_bytes(), request.media)
        };
        let letters = "A".repeat(1_000_000);
        for (part, images, attached) in [
            (r#"{"type":"image_url","image_url":{"url":"data:image\/png;base64,DATA"}}"#, 1, 0),
            (r#"{"type":"image_url","image_url":"data:image/png;base64,DATA"}"#, 1, 0),
            (r#"{"type":"input_audio","input_audio":{"data":"DATA","format":"wav"}}"#, 0, 1),
            (r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,DATA"}}"#, 0, 1),
        ] {
            let (bytes, media) = size(&part.replace("DATA", &letters));
            assert!(bytes < 150, "{part}: {bytes}");
            let found = (media.full, media.sounds + media.files, media.attached > 1_000_000);
            assert_eq!(found, (images, attached, attached > 0), "{part}");
        }
        assert!(size(r#"{"type":"text","text":"the word \"file\""}"#).1.is_none());
    }

    #[test]
    fn usage_is_asked_for_beside_what_the_caller_asks() {
        let check = |options: &str, expected: &str| {
            let request =
                parse(&format!(r#"{{{options}"messages":[{{"role":"user","content":"x"}}]}}"#));
            assert_eq!(request.unwrap().stream_options_with_usage(), expected);
        };
        check("", r#"{"include_usage":true}"#);
        check(r#""stream_options":null,"#, r#"{"include_usage":true}"#);
        check(
            r#""stream_options":{"include_usage":false,"include_obfuscation":false},"#,
            r#"{"include_usage":true,"include_obfuscation":false}"#,
        );
    }

    #[test]
    fn what_sdks_send_for_not_given_is_taken() {
        let request = parse(
            r#"{"model":null,"tools":[],"stream":null,"stop":null,"messages":[{"role":"user","content":"the word \"image_url\""},
            {"role":"assistant","content":null,"tool_calls":null}]}"#,
        )
        .unwrap();
        assert!(request.model.is_none() && !request.has_tools && request.images.count == 0);
        assert!(!request.messages()[1].calls_tools());
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let request =
            parse(r#"{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}"#)
                .unwrap();
        assert_eq!(request.model.as_deref(), Some("b"));
        assert!(
            request
                .render(&RequestEdits::default())
                .joined()
                .starts_with(br#"{"model":"b","messages""#)
        );
    }
}
