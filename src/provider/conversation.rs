//! OpenAI's messages read into a form that the dialects which are not OpenAI's are written from.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// Instructions of the application.
    System(String),
    /// What the person says and shows.
    User(Vec<Part>),
    /// What the model said, and the calls it made.
    Assistant { text: String, calls: Vec<Call> },
    /// What a call gave.
    Result { id: String, name: String, parts: Vec<Part> },
}

/// One part of a message; its text is never empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Image(Image),
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Image {
    /// Here, in base64.
    Inline { media_type: String, data: String },
    /// At an `https` address.
    Remote(String),
}

/// A call to a tool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The id results name; made up where the caller's client has lost it.
    pub(super) id: String,
    pub(super) name: String,
    /// Always an object.
    pub(super) arguments: Value,
}

/// Reads the `messages` member. Each result follows the call it answers, or has no call.
///
/// # Errors
/// [`FaultKind::NotHere`] for what only OpenAI's own dialect can say.
pub(super) fn read(messages: &str) -> Result<Vec<Message>, Fault> {
    let messages: Vec<Written> = serde_json::from_str(messages)
        .map_err(|it| not_here(format!("a message has an unknown form: {it}")))?;
    let mut read = Vec::with_capacity(messages.len());
    let mut open: Vec<(String, String)> = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        let content = message.content.unwrap_or(Content::Text(String::new()));
        read.push(match message.role.as_str() {
            "system" | "developer" => Message::System(text_of(&parts(content)?)),
            "assistant" => {
                let mut text = text_of(&parts(content)?);
                if text.is_empty() {
                    text = message.refusal.unwrap_or_default();
                }
                let calls = calls(at, message.tool_calls, message.function_call);
                open = calls.iter().map(|it| (it.id.clone(), it.name.clone())).collect();
                Message::Assistant { text, calls }
            }
            "tool" | "function" => {
                let of = |(id, name): &(String, String)| match &message.tool_call_id {
                    Some(asked) => asked == id,
                    None => message.name.as_ref().is_none_or(|it| it == name),
                };
                let call = open.iter().position(of).map(|at| open.remove(at));
                let (id, name) = call.unwrap_or_else(|| {
                    (message.tool_call_id.unwrap_or_default(), message.name.unwrap_or_default())
                });
                Message::Result { id, name, parts: parts(content)? }
            }
            _ => Message::User(parts(content)?),
        });
    }
    Ok(read)
}

/// The text of the parts, joined by line ends.
pub(super) fn text_of(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|it| match it {
        Part::Text(text) => Some(text.as_str()),
        Part::Image(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// A refusal before anything is sent: another provider may take it.
pub(super) fn not_here(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::NotHere, message)
}

#[derive(Deserialize)]
struct Written {
    role: String,
    content: Option<Content>,
    refusal: Option<String>,
    tool_calls: Option<Vec<WrittenCall>>,
    function_call: Option<WrittenFunction>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<WrittenPart>),
}

#[derive(Deserialize)]
struct WrittenPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<ImageUrl>,
}

/// OpenAI writes an object, some clients the address alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum ImageUrl {
    Object { url: String },
    Text(String),
}

#[derive(Deserialize)]
struct WrittenCall {
    id: Option<String>,
    function: Option<WrittenFunction>,
}

#[derive(Deserialize)]
struct WrittenFunction {
    name: String,
    arguments: Option<Value>,
}

fn parts(content: Content) -> Result<Vec<Part>, Fault> {
    let written = match content {
        Content::Text(text) if text.is_empty() => return Ok(Vec::new()),
        Content::Text(text) => return Ok(vec![Part::Text(text)]),
        Content::Parts(written) => written,
    };
    let mut parts = Vec::with_capacity(written.len());
    for part in written {
        match (part.kind.as_str(), part.text.or(part.refusal), part.image_url) {
            ("text" | "refusal" | "input_text" | "output_text", text, _) => {
                parts.extend(text.filter(|it| !it.is_empty()).map(Part::Text));
            }
            ("image_url", _, Some(ImageUrl::Object { url } | ImageUrl::Text(url))) => {
                parts.push(Part::Image(image(url)?));
            }
            (kind, _, _) => return Err(not_here(format!("it takes no part of type {kind}"))),
        }
    }
    Ok(parts)
}

fn image(url: String) -> Result<Image, Fault> {
    let inline = || {
        let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
        // Parameters may stand between the type and the mark.
        let media_type = media_type.split(';').next().unwrap_or_default().to_ascii_lowercase();
        Some(Image::Inline { media_type, data: data.to_owned() })
    };
    match inline() {
        Some(image) => Ok(image),
        None if url.starts_with("https://") => Ok(Image::Remote(url)),
        None => Err(not_here("an image must be a base64 data URL or an https URL")),
    }
}

fn calls(at: usize, calls: Option<Vec<WrittenCall>>, older: Option<WrittenFunction>) -> Vec<Call> {
    let older = older.map(|it| WrittenCall { id: None, function: Some(it) });
    let written = calls.unwrap_or_default().into_iter().chain(older);
    let call = |(nth, call): (usize, WrittenCall)| {
        let function = call.function?;
        let id = call.id.filter(|it| !it.is_empty()).unwrap_or_else(|| format!("call_{at}_{nth}"));
        Some(Call { id, name: function.name, arguments: arguments(function.arguments) })
    };
    written.enumerate().filter_map(call).collect()
}

/// The arguments as an object. They are written as JSON in a string, by some clients twice over,
/// by some as the object itself.
fn arguments(written: Option<Value>) -> Value {
    let mut value = written.unwrap_or_default();
    for _ in 0..2 {
        let Value::String(text) = &value else { break };
        if text.trim().is_empty() {
            return json!({});
        }
        match serde_json::from_str(text) {
            Ok(inner) => value = inner,
            Err(_) => break,
        }
    }
    match value {
        Value::Object(_) => value,
        Value::Null => json!({}),
        // A model wrote what is no object; it is to see what it wrote.
        other => json!({ "arguments": other }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<Part> {
        vec![Part::Text(text.to_owned())]
    }

    fn call(id: &str, name: &str, arguments: Value) -> Call {
        Call { id: id.to_owned(), name: name.to_owned(), arguments }
    }

    fn result(id: &str, name: &str, said: &str) -> Message {
        Message::Result { id: id.to_owned(), name: name.to_owned(), parts: text(said) }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(messages: Value, expected: &[Message]) {
        assert_eq!(read(&messages.to_string()).unwrap(), expected, "{messages}");
    }

    #[test]
    fn every_form_of_content_is_read() {
        check(
            json!([
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what"},
                    {"type": "image_url", "image_url": {"url": "data:image/PNG;x=1;base64,AAA="}},
                    {"type": "image_url", "image_url": "https://example.com/a.png"},
                    {"type": "text", "text": ""}]},
                {"role": "assistant", "content": null, "refusal": "no"},
                {"role": "user"},
            ]),
            &[
                Message::System("be brief".to_owned()),
                Message::User(vec![
                    Part::Text("what".to_owned()),
                    Part::Image(Image::Inline {
                        media_type: "image/png".to_owned(),
                        data: "AAA=".to_owned(),
                    }),
                    Part::Image(Image::Remote("https://example.com/a.png".to_owned())),
                ]),
                Message::Assistant { text: "no".to_owned(), calls: Vec::new() },
                Message::User(Vec::new()),
            ],
        );
    }

    #[test]
    fn results_find_their_calls() {
        check(
            json!([
                {"role": "assistant", "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"function": {"name": "g", "arguments": {"y": 2}}}]},
                {"role": "tool", "tool_call_id": "a", "content": "one"},
                {"role": "tool", "content": "two"},
                {"role": "assistant", "function_call": {"name": "h", "arguments": ""}},
                {"role": "function", "name": "h", "content": "three"},
                {"role": "tool", "tool_call_id": "z", "content": "lost"},
            ]),
            &[
                Message::Assistant {
                    text: String::new(),
                    calls: vec![
                        call("a", "f", json!({"x": 1})),
                        call("call_0_1", "g", json!({"y": 2})),
                    ],
                },
                result("a", "f", "one"),
                result("call_0_1", "g", "two"),
                Message::Assistant {
                    text: String::new(),
                    calls: vec![call("call_3_0", "h", json!({}))],
                },
                result("call_3_0", "h", "three"),
                result("z", "", "lost"),
            ],
        );
    }

    #[test]
    fn arguments_are_always_an_object() {
        for (written, expected) in [
            (json!("{\"a\":1}"), json!({"a": 1})),
            (json!("\"{\\\"a\\\":1}\""), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 1})),
            (json!(""), json!({})),
            (json!(null), json!({})),
            (json!("{\"a\":"), json!({"arguments": "{\"a\":"})),
            (json!("[1]"), json!({"arguments": [1]})),
        ] {
            assert_eq!(arguments(Some(written.clone())), expected, "{written}");
        }
    }

    #[test]
    fn what_no_other_dialect_says_goes_elsewhere() {
        for part in [
            json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
            json!({"type": "file", "file": {"file_id": "f"}}),
            json!({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}),
            json!({"type": "image_url", "image_url": {"url": "data:image/png,AAA"}}),
        ] {
            let messages = json!([{"role": "user", "content": [part]}]).to_string();
            let fault = read(&messages).expect_err(&messages);
            assert_eq!(fault.kind, FaultKind::NotHere);
        }
    }
}
