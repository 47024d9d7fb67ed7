//! From OpenAI's request to Ollama's.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::Call;
use crate::provider::asked::Asked;
use crate::provider::conversation::Image;
use crate::provider::conversation::Message;
use crate::provider::conversation::Part;
use crate::provider::conversation::not_here;
use crate::provider::conversation::read;
use crate::provider::conversation::text_of;
use crate::provider::fault::Fault;

/// Members whose meaning is sent.
const TAKEN: &[&str] = &[
    "frequency_penalty",
    "keep_alive",
    "min_p",
    "options",
    "presence_penalty",
    "reasoning_effort",
    "repetition_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
];

/// Members with the same value under `options`.
const OPTIONS: &[(&str, &str)] = &[
    ("frequency_penalty", "frequency_penalty"),
    ("min_p", "min_p"),
    ("presence_penalty", "presence_penalty"),
    ("repetition_penalty", "repeat_penalty"),
    ("seed", "seed"),
    ("temperature", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
];

/// Room for an answer without a bound.
const ANSWER: u64 = 4_096;
/// Tokens an image may take, and the marks around a message.
const IMAGE: u64 = 2_048;
const MESSAGE: u64 = 16;
/// The smallest window asked for, and the largest: more than that fits no machine this is run on,
/// and a server bounds it by what the model was made for.
const WINDOWS: (u64, u64) = (8_192, 131_072);

/// The body for a call, and the members left out of it.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call) -> Result<(Bytes, Vec<&'static str>), Fault> {
    if call.request.n > 1 {
        return Err(not_here("Ollama gives one answer to a request, not n"));
    }
    let asked = Asked::of(call);
    if asked.get("functions").is_some_and(|it| it != "[]") {
        return Err(not_here("Ollama is not asked in the older form: use tools"));
    }
    let dropped = asked.dropped(TAKEN);
    let messages = read(asked.get("messages").unwrap_or("[]"))?;
    let mut body = Map::new();
    body.insert("model".to_owned(), Value::from(&*call.model));
    body.insert("stream".to_owned(), asked.stream().into());
    let tools = tools(&asked)?;
    let needed = tokens(&messages)
        .saturating_add(third(tools.map_or(0, str::len)))
        .saturating_add(asked.max_tokens().unwrap_or(ANSWER));
    body.insert("options".to_owned(), options(&asked, needed));
    let messages = messages.into_iter().map(message).collect::<Result<Value, _>>()?;
    body.insert("messages".to_owned(), messages);
    if let Some(tools) = tools.and_then(|it| serde_json::from_str(it).ok()) {
        body.insert("tools".to_owned(), tools);
    }
    if let Some(format) = format(&asked) {
        body.insert("format".to_owned(), format);
    }
    if let Some(think) = think(&asked, &call.model) {
        body.insert("think".to_owned(), think);
    }
    if let Some(keep_alive) = asked.value("keep_alive") {
        body.insert("keep_alive".to_owned(), keep_alive);
    }
    Ok((Value::from(body).to_string().into(), dropped))
}

fn options(asked: &Asked<'_>, needed: u64) -> Value {
    let mut options = Map::new();
    options.insert("num_ctx".to_owned(), window(needed).into());
    for (ours, theirs) in OPTIONS {
        if let Some(value) = asked.value(ours) {
            options.insert((*theirs).to_owned(), value);
        }
    }
    if let Some(most) = asked.max_tokens() {
        options.insert("num_predict".to_owned(), most.into());
    }
    let stops = asked.texts("stop");
    if !stops.is_empty() {
        options.insert("stop".to_owned(), stops.into());
    }
    // Who writes Ollama's own options knows best.
    if let Some(Value::Object(own)) = asked.value("options") {
        options.extend(own);
    }
    options.into()
}

/// The window that holds so many tokens. The server loads the model anew whenever the window
/// changes, so there are few sizes: each is twice the one before.
fn window(needed: u64) -> u64 {
    let (least, most) = WINDOWS;
    needed.clamp(least, most).next_power_of_two()
}

/// The most tokens the messages are likely to have. Too large a window costs memory, one that is
/// too small the beginning of the conversation.
fn tokens(messages: &[Message]) -> u64 {
    let parts = |parts: &[Part]| -> u64 {
        let part = |it: &Part| match it {
            Part::Text(text) => third(text.len()),
            Part::Image(_) => IMAGE,
        };
        parts.iter().map(part).sum()
    };
    let message = |it: &Message| match it {
        Message::System(text) => third(text.len()),
        Message::User(it) | Message::Result { parts: it, .. } => parts(it),
        Message::Assistant { text, calls } => {
            let call = |it: &crate::provider::conversation::Call| {
                third(it.name.len() + it.arguments.to_string().len())
            };
            third(text.len()) + calls.iter().map(call).sum::<u64>()
        }
    };
    messages.iter().map(|it| message(it) + MESSAGE).sum()
}

/// Tokens in so many bytes of text: four make one in English, three in most other languages.
fn third(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(3)).unwrap_or(u64::MAX)
}

fn message(message: Message) -> Result<Value, Fault> {
    Ok(match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(parts) => shown(json!({"role": "user", "content": text_of(&parts)}), &parts)?,
        Message::Assistant { text, calls } if calls.is_empty() => {
            json!({"role": "assistant", "content": text})
        }
        Message::Assistant { text, calls } => {
            let call = |it: crate::provider::conversation::Call| json!({"function": {"name": it.name, "arguments": it.arguments}});
            let calls: Value = calls.into_iter().map(call).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        Message::Result { name, parts, .. } => {
            let result = json!({"role": "tool", "tool_name": name, "content": text_of(&parts)});
            shown(result, &parts)?
        }
    })
}

/// The message with its images, which stand beside the text.
fn shown(mut message: Value, parts: &[Part]) -> Result<Value, Fault> {
    let mut images = Vec::new();
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Image(Image::Inline { data, .. }) => images.push(Value::from(data.as_str())),
            Part::Image(Image::Remote(_)) => {
                return Err(not_here("Ollama fetches no images: send them as data URLs"));
            }
        }
    }
    if let (false, Some(message)) = (images.is_empty(), message.as_object_mut()) {
        message.insert("images".to_owned(), images.into());
    }
    Ok(message)
}

/// The tools as they are written, for the form is the same; `None` when there are none to call.
fn tools<'a>(asked: &Asked<'a>) -> Result<Option<&'a str>, Fault> {
    let tools = asked.get("tools").filter(|it| !it.trim_matches(['[', ']', ' ']).is_empty());
    match asked.value("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => Ok(None),
        Some(choice) if tools.is_some() && choice != "auto" => {
            Err(not_here("Ollama can't be made to call a tool"))
        }
        _ => Ok(tools),
    }
}

fn format(asked: &Asked<'_>) -> Option<Value> {
    let format = asked.value("response_format")?;
    match format.get("type")?.as_str()? {
        "json_object" => Some("json".into()),
        "json_schema" => {
            let schema = format.pointer("/json_schema/schema").filter(|it| it.is_object());
            Some(schema.cloned().unwrap_or_else(|| "json".into()))
        }
        _ => None,
    }
}

/// Most models think or don't; `gpt-oss` always does, in three lengths.
fn think(asked: &Asked<'_>, model: &str) -> Option<Value> {
    let effort = asked.text("reasoning_effort")?;
    let graded = model.rsplit('/').next().is_some_and(|it| it.starts_with("gpt-oss"));
    Some(match effort.as_str() {
        "none" | "minimal" | "low" if graded => "low".into(),
        "medium" if graded => "medium".into(),
        _ if graded => "high".into(),
        effort => (effort != "none").into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::openai::ChatRequest;
    use crate::openai::RequestEdits;
    use crate::provider::SentMark;
    use crate::provider::fault::FaultKind;

    use super::*;

    fn sent(model: &str, asked: &Value) -> Result<(Value, Vec<&'static str>), Fault> {
        let mut asked = asked.clone();
        let hi = json!([{"role": "user", "content": "hi"}]);
        asked.as_object_mut().unwrap().entry("messages").or_insert(hi);
        let request = ChatRequest::parse(&Bytes::from(asked.to_string())).unwrap();
        let call = Call {
            model: model.into(),
            secret: None,
            request: Arc::new(request),
            edits: RequestEdits::default(),
            sent: SentMark::default(),
        };
        let (body, dropped) = translate(&call)?;
        Ok((serde_json::from_slice(&body).unwrap(), dropped))
    }

    /// What stands at `path` of the body.
    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(asked: Value, path: &str, expected: Value) {
        let (body, _) = sent("m", &asked).unwrap();
        assert_eq!(body.pointer(path).unwrap_or(&Value::Null), &expected, "{asked}");
    }

    #[test]
    fn members_are_translated() {
        let (body, dropped) = sent("m", &json!({"user": "u", "logprobs": true, "odd": 1})).unwrap();
        assert_eq!(
            body,
            json!({"model": "m", "stream": false, "options": {"num_ctx": 8192},
                "messages": [{"role": "user", "content": "hi"}]})
        );
        assert_eq!(dropped, ["logprobs", "user", "unknown_fields"]);
        check(json!({"stream": true}), "/stream", json!(true));
        check(
            json!({"temperature": 2, "seed": 7, "stop": "x", "max_tokens": 9, "top_p": null,
                "repetition_penalty": 1.1, "options": {"mirostat": 1, "num_ctx": 512}}),
            "/options",
            json!({"temperature": 2, "seed": 7, "stop": ["x"], "num_predict": 9,
                "repeat_penalty": 1.1, "mirostat": 1, "num_ctx": 512}),
        );
        check(json!({"keep_alive": "5m"}), "/keep_alive", json!("5m"));
        check(json!({"response_format": {"type": "json_object"}}), "/format", json!("json"));
        let schema = json!({"type": "object"});
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        check(json!({"response_format": format}), "/format", schema);
        check(json!({"response_format": {"type": "text"}}), "/format", Value::Null);
    }

    #[test]
    fn the_window_holds_question_and_answer() {
        for (needed, expected) in
            [(0, 8_192), (8_192, 8_192), (8_193, 16_384), (100_000, 131_072), (u64::MAX, 131_072)]
        {
            assert_eq!(window(needed), expected);
        }
        let long = "word ".repeat(10_000);
        let asked = json!({"messages": [{"role": "user", "content": long}], "max_tokens": 8_000});
        check(asked, "/options/num_ctx", json!(32_768));
        check(json!({"max_tokens": 30_000}), "/options/num_ctx", json!(32_768));
    }

    #[test]
    fn thinking_is_asked_for_in_the_models_own_way() {
        for (model, effort, expected) in [
            ("qwen3:8b", "none", json!(false)),
            ("qwen3:8b", "low", json!(true)),
            ("gpt-oss:20b", "none", json!("low")),
            ("someone/gpt-oss:20b", "medium", json!("medium")),
            ("gpt-oss:20b", "xhigh", json!("high")),
        ] {
            let (body, dropped) = sent(model, &json!({"reasoning_effort": effort})).unwrap();
            assert_eq!(body["think"], expected, "{model} {effort}");
            assert!(dropped.is_empty());
        }
        check(json!({}), "/think", Value::Null);
    }

    #[test]
    fn messages_are_translated() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
        check(
            json!({"messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what"}, image]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "21"},
            ]}),
            "/messages",
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "what", "images": ["AA"]},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"function": {"name": "f", "arguments": {"x": 1}}}]},
                {"role": "tool", "tool_name": "f", "content": "21"},
            ]),
        );
    }

    #[test]
    fn tools_are_offered_unless_none_may_be_called() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        check(json!({"tools": tools}), "/tools", tools.clone());
        check(json!({"tools": tools, "tool_choice": "auto"}), "/tools", tools.clone());
        check(json!({"tools": tools, "tool_choice": "none"}), "/tools", Value::Null);
        check(json!({"tools": []}), "/tools", Value::Null);
        let (_, dropped) =
            sent("m", &json!({"tools": tools, "parallel_tool_calls": false})).unwrap();
        assert_eq!(dropped, ["parallel_tool_calls"]);
    }

    #[test]
    fn what_it_cannot_do_goes_elsewhere() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        for asked in [
            json!({"n": 2}),
            json!({"functions": [{"name": "f"}]}),
            json!({"tools": tools, "tool_choice": "required"}),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}),
        ] {
            assert_eq!(sent("m", &asked).unwrap_err().kind, FaultKind::NotHere, "{asked}");
        }
    }
}
