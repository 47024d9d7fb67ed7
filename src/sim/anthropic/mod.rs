//! The Anthropic flavour's own way in: a key in a header of its own, and a body that is not
//! OpenAI's.

mod rules;

use hyper::HeaderMap;
use serde_json::{Map, Value, json};

use super::request::{Ask, Thoughts};
use super::wire::problem::Problem;

/// The key a request brings.
pub(super) fn key(headers: &HeaderMap) -> String {
    headers.get("x-api-key").and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
}

/// Reads a request to `/v1/messages`, or says what is wrong with it.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Ask, Problem> {
    let invalid = |it: String| Problem::Invalid(it);
    if !headers.contains_key("anthropic-version") {
        return Err(invalid("anthropic-version: header is required".to_owned()));
    }
    let request: Map<String, Value> =
        serde_json::from_slice(body).map_err(|it| invalid(format!("invalid JSON: {it}")))?;
    rules::check(&request)?;
    let mut ask = Ask::parse(retold(&request).to_string().as_bytes()).map_err(invalid)?;
    if !request.contains_key("thinking") {
        ask.thoughts = Thoughts::Off;
    }
    ask.fields = request.into_iter().map(|(key, _)| key).collect();
    Ok(ask)
}

/// The request as the rest of this room reads requests.
fn retold(request: &Map<String, Value>) -> Value {
    let get = |key: &str| request.get(key).unwrap_or(&Value::Null);
    let mut messages = Vec::new();
    if let Some(system) = request.get("system") {
        messages.push(json!({"role": "system", "content": system}));
    }
    for turn in rules::list(get("messages")) {
        retell(turn, &mut messages);
    }
    let tools: Vec<Value> = rules::list(get("tools"))
        .iter()
        .map(|it| {
            json!({"function": {"name": it.get("name"), "parameters": it.get("input_schema")}})
        })
        .collect();
    let choice = match get("tool_choice").get("type").and_then(Value::as_str) {
        Some("none") => json!("none"),
        Some("tool") => json!({"function": {"name": get("tool_choice").get("name")}}),
        _ => Value::Null,
    };
    let single = get("tool_choice").get("disable_parallel_tool_use").and_then(Value::as_bool);
    let parallel = !single.unwrap_or(false);
    json!({
        "model": get("model"),
        "stream": get("stream"),
        "messages": messages,
        "tools": (!tools.is_empty()).then_some(tools),
        "tool_choice": choice,
        "parallel_tool_calls": parallel,
        "max_tokens": get("max_tokens"),
        "stop": get("stop_sequences"),
    })
}

fn retell(turn: &Value, messages: &mut Vec<Value>) {
    let content = turn.get("content").cloned().unwrap_or_default();
    let Value::Array(blocks) = content else {
        messages.push(json!({"role": turn.get("role"), "content": content}));
        return;
    };
    let of = |kind: &'static str| blocks.iter().filter(move |it| rules::kind(it) == kind);
    for result in of("tool_result") {
        messages.push(json!({"role": "tool", "tool_call_id": result.get("tool_use_id"),
            "content": result.get("content")}));
    }
    let calls: Vec<Value> = of("tool_use").map(|it| json!({"id": it.get("id")})).collect();
    let shown: Vec<Value> = blocks
        .iter()
        .filter(|it| matches!(rules::kind(it), "text" | "image"))
        .map(|it| match rules::kind(it) {
            "image" => json!({"image_url": shown(it)}),
            _ => json!({"text": it.get("text")}),
        })
        .collect();
    if !(shown.is_empty() && calls.is_empty()) {
        messages.push(json!({"role": turn.get("role"), "content": shown, "tool_calls": calls}));
    }
}

/// Where an image is, or it itself.
fn shown(block: &Value) -> String {
    let text = |path| block.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match text("/source/type") {
        "url" => text("/source/url").to_owned(),
        _ => format!("data:{};base64,{}", text("/source/media_type"), text("/source/data")),
    }
}
