//! Reading a `generateContent` request.

use serde_json::{Value, json};

use crate::sim::request::Ask;
use crate::sim::request::Thoughts;
use crate::sim::wire::problem::Problem;

use super::Target;
use super::rules;
use super::shape;

/// Reads a body, or says what is wrong with it.
pub(in crate::sim) fn read(body: &[u8], target: &Target) -> Result<Ask, Problem> {
    let malformed =
        |it: serde_json::Error| Problem::Invalid(format!("Invalid JSON payload received. {it}"));
    let request: Value = serde_json::from_slice(body).map_err(malformed)?;
    let empty = serde_json::Map::new();
    let members = request.as_object().unwrap_or(&empty);
    if let Some(problem) = shape::unknown_name(members) {
        return Err(problem);
    }
    if let Some(words) = rules::broken(&request, &target.model) {
        return Err(Problem::Invalid(words));
    }
    let config = request.get("generationConfig").and_then(Value::as_object).unwrap_or(&empty);
    let mut ask =
        Ask::parse(retold(&request, target).to_string().as_bytes()).map_err(Problem::Invalid)?;
    ask.fields = members.keys().chain(config.keys()).cloned().collect();
    let thinking = config.get("thinkingConfig");
    let budget = thinking.and_then(|it| it.get("thinkingBudget"));
    let shown = thinking.and_then(|it| it.get("includeThoughts"));
    ask.thoughts = match (budget, shown) {
        (Some(budget), _) if *budget == 0 => Thoughts::Off,
        (_, Some(Value::Bool(true))) => Thoughts::Shown,
        _ => Thoughts::Hidden,
    };
    Ok(ask)
}

/// The request as the rest of this room reads requests.
fn retold(request: &Value, target: &Target) -> Value {
    let config = request.get("generationConfig");
    let of_config = |key| config.and_then(|it| it.get(key)).unwrap_or(&Value::Null);
    let parts = |it: &Value| it.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut messages: Vec<Value> = Vec::new();
    if let Some(system) = request.get("systemInstruction") {
        messages.push(json!({"role": "system", "content": content(&parts(system))}));
    }
    let contents = request.get("contents").and_then(Value::as_array);
    for turn in contents.into_iter().flatten() {
        turn_of(&parts(turn), turn.get("role") == Some(&json!("model")), &mut messages);
    }
    let functions = request.pointer("/tools/0/functionDeclarations").and_then(Value::as_array);
    let tools = functions.map(|it| {
        it.iter()
            .map(|it| {
                let schema = lower(it.get("parameters").cloned().unwrap_or_default());
                json!({"function": {"name": it.get("name"), "parameters": schema}})
            })
            .collect::<Vec<_>>()
    });
    let format = match (of_config("responseMimeType").as_str(), of_config("responseSchema")) {
        (Some("application/json"), Value::Null) => json!({"type": "json_object"}),
        (Some("application/json"), schema) => {
            json!({"type": "json_schema", "json_schema": {"schema": lower(schema.clone())}})
        }
        _ => Value::Null,
    };
    json!({
        "model": target.model,
        "stream": target.stream,
        "messages": messages,
        "tools": tools,
        "tool_choice": choice(request),
        "response_format": format,
        "max_tokens": of_config("maxOutputTokens"),
        "stop": of_config("stopSequences"),
        "n": of_config("candidateCount"),
    })
}

fn turn_of(parts: &[Value], by_model: bool, messages: &mut Vec<Value>) {
    if by_model {
        let calls: Vec<&Value> = parts.iter().filter_map(|it| it.get("functionCall")).collect();
        let calls = (!calls.is_empty()).then_some(calls);
        messages.push(json!({"role": "assistant", "content": content(parts), "tool_calls": calls}));
        return;
    }
    for response in parts.iter().filter_map(|it| it.pointer("/functionResponse/response")) {
        let text = response.get("result").and_then(Value::as_str).map(str::to_owned);
        let text = text.unwrap_or_else(|| response.to_string());
        messages.push(json!({"role": "tool", "content": text}));
    }
    let said = content(parts);
    if !said.is_empty() {
        messages.push(json!({"role": "user", "content": said}));
    }
}

/// Texts and, without any text, everything else that is shown.
fn content(parts: &[Value]) -> Vec<Value> {
    let one = |it: &Value| match (it.get("text"), it.get("inlineData")) {
        (Some(text), _) => Some(json!({"type": "text", "text": text})),
        (_, Some(blob)) => Some(json!({"type": "image_url", "image_url": shown(blob)})),
        _ => None,
    };
    parts.iter().filter_map(one).collect()
}

fn shown(blob: &Value) -> String {
    let text = |key| blob.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("data:{};base64,{}", text("mimeType"), text("data"))
}

fn choice(request: &Value) -> Value {
    let config = request.pointer("/toolConfig/functionCallingConfig");
    let mode = config.and_then(|it| it.get("mode")).and_then(Value::as_str);
    let named = config.and_then(|it| it.pointer("/allowedFunctionNames/0"));
    match (mode, named) {
        (Some("NONE"), _) => json!("none"),
        (_, Some(name)) => json!({"function": {"name": name}}),
        _ => Value::Null,
    }
}

/// A schema with its types in lower case.
fn lower(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                *value = match value.take() {
                    Value::String(kind) if key == "type" => kind.to_lowercase().into(),
                    other => lower(other),
                };
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|it| *it = lower(it.take())),
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Result<Ask, Problem> {
        let target = Target { model: "gemini-2.5-flash".to_owned(), stream: true };
        read(body.to_string().as_bytes(), &target)
    }

    #[test]
    fn a_request_is_read_as_one_of_this_rooms() {
        let read = ask(&json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Weather?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "f", "response": {"result": "21 degrees"}}}]},
            ],
            "generationConfig": {"maxOutputTokens": 7, "thinkingConfig": {"thinkingBudget": 0}},
        }))
        .unwrap();
        assert_eq!((read.model.as_str(), read.cap, read.n), ("gemini-2.5-flash", Some(7), 1));
        assert_eq!(read.tool_results().as_deref(), Some("21 degrees"));
        assert_eq!((read.stream.is_some(), read.thoughts), (true, Thoughts::Off));
        assert!(read.fields.iter().any(|it| it == "maxOutputTokens"), "{:?}", read.fields);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert!(matches!(ask(&json!([])), Err(Problem::Invalid(it)) if it.contains("contents")));
        let unknown = ask(&json!({"messages": []}));
        assert!(matches!(unknown, Err(Problem::UnknownName { name, .. }) if name == "messages"));
    }
}
