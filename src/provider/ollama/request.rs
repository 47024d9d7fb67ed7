//! From OpenAI's request to Ollama's.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::asked::Asked;
use crate::provider::asked::Choice;
use crate::provider::asked::Effort;
use crate::provider::asked::Format;
use crate::provider::asked::Function;
use crate::provider::conversation::Instructions;
use crate::provider::conversation::not_here;
use crate::provider::conversation::read;
use crate::provider::fault::Fault;

use super::messages::{Message, tokens, write};

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
/// The smallest window asked for, and the largest: more than that fits no machine this is run on,
/// and a server bounds it by what the model was made for.
const WINDOWS: (u64, u64) = (8_192, 131_072);

/// A chat request as it is written.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    options: Map<String, Value>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Wanted<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Think>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Value>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Offered<'a>,
}

#[derive(Serialize)]
struct Offered<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
}

/// The form of the answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Wanted<'a> {
    Mode(&'static str),
    Schema(&'a RawValue),
}

/// Most models think or don't; some think in three lengths.
#[derive(Serialize)]
#[serde(untagged)]
enum Think {
    Whether(bool),
    Level(&'static str),
}

/// The body for a call, and the members left out of it.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call) -> Result<(Bytes, Unmet), Fault> {
    if call.request.n > 1 {
        return Err(not_here("Ollama gives one answer to a request, not n"));
    }
    let asked = Asked::of(call);
    let unmet = Unmet { dropped: asked.dropped(TAKEN), ..Unmet::default() };
    let conversation = read(asked.messages(), Instructions::InPlace)?;
    let tools = tools(&asked)?;
    let offered = asked.get("tools").filter(|_| !tools.is_empty()).map_or(0, str::len);
    let needed =
        tokens(&conversation, offered).saturating_add(asked.max_tokens().unwrap_or(ANSWER));
    let body = Body {
        model: &call.model,
        stream: asked.stream(),
        options: options(&asked, needed),
        messages: write(conversation)?,
        tools,
        format: match asked.format()? {
            Format::Text => None,
            Format::Json => Some(Wanted::Mode("json")),
            Format::Schema(schema) => Some(Wanted::Schema(schema)),
        },
        think: asked.effort()?.map(|it| think(it, &call.model)),
        keep_alive: asked.value("keep_alive"),
    };
    let body = serde_json::to_vec(&body).map_err(|it| not_here(it.to_string()))?;
    Ok((body.into(), unmet))
}

fn options(asked: &Asked<'_>, needed: u64) -> Map<String, Value> {
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
    options
}

/// The window that holds so many tokens. The server loads the model anew whenever the window
/// changes, so there are few sizes: each is twice the one before.
fn window(needed: u64) -> u64 {
    let (least, most) = WINDOWS;
    needed.clamp(least, most).next_power_of_two()
}

/// The tools on offer. A server ignores `tool_choice`: what must not be called is not offered, and
/// what must be called is asked for elsewhere.
fn tools<'a>(asked: &Asked<'a>) -> Result<Vec<Tool<'a>>, Fault> {
    let functions = asked.functions()?;
    match asked.choice()? {
        Some(Choice::None) => return Ok(Vec::new()),
        Some(Choice::Any | Choice::Named(_)) if !functions.is_empty() => {
            return Err(not_here("Ollama can't be made to call a tool"));
        }
        _ => {}
    }
    let tool = |Function { name, description, parameters }: Function<'a>| Tool {
        kind: "function",
        function: Offered { name, description, parameters },
    };
    Ok(functions.into_iter().map(tool).collect())
}

/// `gpt-oss` always thinks, in three lengths.
fn think(effort: Effort, model: &str) -> Think {
    let graded = model.rsplit('/').next().is_some_and(|it| it.starts_with("gpt-oss"));
    match effort {
        _ if !graded => Think::Whether(effort > Effort::None),
        Effort::None | Effort::Minimal | Effort::Low => Think::Level("low"),
        Effort::Medium => Think::Level("medium"),
        Effort::High | Effort::ExtraHigh | Effort::Most => Think::Level("high"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::provider::example::call;
    use crate::provider::fault::FaultKind;

    use super::*;

    fn sent(model: &str, asked: &Value) -> Result<(Value, Vec<&'static str>), Fault> {
        let (body, unmet) = translate(&call(model, asked))?;
        Ok((serde_json::from_slice(&body).unwrap(), unmet.dropped))
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
