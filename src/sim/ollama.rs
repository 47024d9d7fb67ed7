//! The Ollama flavour's own way in. It is written in Go: a member of the wrong type is refused, one
//! of an unknown name is not noticed. A prompt that is longer than the window is cut without a word.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::chat::json as json_response;
use super::request::{Ask, Thoughts};
use super::spec::{ModelSpec, ProviderSpec};
use super::wire::headers::Headers;
use super::wire::problem::Problem;

/// The window of a request that asks for none.
const DEFAULT_WINDOW: u64 = 4_096;

/// Reads a request to `/api/chat`, or says what is wrong with it.
pub(super) fn read(body: &[u8]) -> Result<Ask, Problem> {
    let invalid = |it: String| Problem::Invalid(it);
    let request: Map<String, Value> =
        serde_json::from_slice(body).map_err(|it| invalid(it.to_string()))?;
    let none = Value::Null;
    let get = |key: &str| request.get(key).unwrap_or(&none);
    let format = match get("format") {
        Value::Null => Value::Null,
        it if it == "json" => json!({"type": "json_object"}),
        it @ Value::Object(_) => json!({"type": "json_schema", "json_schema": {"schema": it}}),
        _ => return Err(invalid("invalid format: expected \"json\" or a JSON schema".to_owned())),
    };
    let messages = get("messages").as_array().map_or(&[][..], Vec::as_slice);
    let messages = messages.iter().map(message).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let options = get("options");
    // Unless told otherwise it streams.
    let stream = get("stream").as_bool().unwrap_or(true);
    let mut retold = json!({
        "model": get("model"),
        "stream": stream,
        "messages": messages,
        "tools": get("tools"),
        "response_format": format,
        "max_tokens": options.get("num_predict"),
        "stop": options.get("stop"),
    });
    if let Some(retold) = retold.as_object_mut() {
        retold.retain(|_, it| !it.is_null());
    }
    let mut ask = Ask::parse(retold.to_string().as_bytes()).map_err(invalid)?;
    let window = options.get("num_ctx").and_then(Value::as_u64).unwrap_or(DEFAULT_WINDOW);
    ask.prompt_tokens = ask.prompt_tokens.min(window);
    let think = request.get("think").filter(|it| !it.is_null()).cloned();
    ask.fields = request.into_iter().filter(|(_, it)| !it.is_null()).map(|(key, _)| key).collect();
    match think {
        Some(Value::Bool(false)) => ask.thoughts = Thoughts::Off,
        Some(_) => ask.fields.push(THINKS.to_owned()),
        None => {}
    }
    Ok(ask)
}

/// Stands among the fields of a request that asks for thoughts.
const THINKS: &str = "think: true";

/// A model that doesn't think can't be asked to.
pub(super) fn refusal(ask: &Ask, model: Option<&ModelSpec>) -> Option<Problem> {
    let asked = ask.fields.iter().any(|it| it == THINKS);
    let thinks = model.is_none_or(|it| it.reasoning);
    (asked && !thinks)
        .then(|| Problem::Invalid(format!("\"{}\" does not support thinking", ask.model)))
}

/// Answers `POST /api/show`.
pub(super) async fn show(spec: &ProviderSpec, request: Request<Incoming>) -> Response<Body> {
    let body = Limited::new(request.into_body(), 1_024).collect().await;
    let body: Option<Value> = body.ok().and_then(|it| serde_json::from_slice(&it.to_bytes()).ok());
    let name = body.as_ref().and_then(|it| it.get("model")?.as_str()).unwrap_or_default();
    let Some(model) = spec.models.iter().find(|it| it.name == name) else {
        let (status, body) = Problem::Model(name.to_owned()).refusal(spec.flavour);
        return json_response(status, &Headers::new(), body);
    };
    let mut capabilities = vec!["completion", "tools"];
    capabilities.extend(model.reasoning.then_some("thinking"));
    let shown = json!({
        "details": {"family": "sim"},
        "model_info": {
            "general.architecture": "sim", "sim.context_length": model.context.unwrap_or(131_072),
        },
        "capabilities": capabilities,
    });
    json_response(200, &Headers::new(), shown.to_string())
}

/// One message as the rest of this room reads them.
fn message(message: &Value) -> Result<Value, String> {
    let mismatch = |got: &str, field: &str, want: &str| {
        format!(
            "json: cannot unmarshal {got} into Go struct field ChatRequest.messages.{field} \
                 of type {want}"
        )
    };
    let content = message.get("content").unwrap_or(&Value::Null);
    if content.is_array() || content.is_object() {
        return Err(mismatch("array", "content", "string"));
    }
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        if !call.pointer("/function/arguments").is_some_and(Value::is_object) {
            let want = "api.ToolCallFunctionArguments";
            return Err(mismatch("string", "tool_calls.function.arguments", want));
        }
    }
    let images = message.get("images").and_then(Value::as_array);
    for image in images.into_iter().flatten() {
        let data = image.as_str().unwrap_or_default();
        let base64 = |it: u8| it.is_ascii_alphanumeric() || b"+/=".contains(&it);
        if let Some(at) = data.bytes().position(|it| !base64(it)) {
            return Err(format!("illegal base64 data at input byte {at}"));
        }
    }
    let data = |it: &Value| format!("data:;base64,{}", it.as_str().unwrap_or_default());
    let shown = |it| json!({"type": "image_url", "image_url": data(it)});
    let shown = images.into_iter().flatten().map(shown);
    let text = (content != "").then(|| json!({"type": "text", "text": content}));
    let parts: Vec<Value> = text.into_iter().chain(shown).collect();
    Ok(json!({"role": message.get("role"), "content": parts, "tool_calls": calls}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(request: &Value) -> Result<Ask, String> {
        read(request.to_string().as_bytes()).map_err(|it| format!("{it:?}"))
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn hi(more: Value) -> Value {
        let mut all = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    #[test]
    fn a_request_is_read_as_one_of_this_rooms() {
        let ask = read_of(&hi(json!({"options": {"num_predict": 7}, "odd": 1}))).unwrap();
        assert_eq!((ask.stream.is_some(), ask.cap), (true, Some(7)));
        assert_eq!(ask.question(), "hi");
        assert!(read_of(&hi(json!({"stream": false}))).unwrap().stream.is_none());
    }

    #[test]
    fn a_prompt_is_cut_to_the_window() {
        let long = json!([{"role": "user", "content": "x".repeat(100_000)}]);
        let tokens = |options: Value| {
            read_of(&hi(json!({"messages": long, "options": options}))).unwrap().prompt_tokens
        };
        assert_eq!(tokens(json!({})), 4_096);
        assert_eq!(tokens(json!({"num_ctx": 32_768})), 25_004);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let message = |it: Value| hi(json!({"messages": [it]}));
        for (request, part) in [
            (message(json!({"role": "user", "content": [{"type": "text"}]})), "cannot unmarshal"),
            (
                message(json!({"role": "assistant", "tool_calls": [
                    {"function": {"name": "f", "arguments": "{}"}}]})),
                "arguments",
            ),
            (message(json!({"role": "user", "images": ["data:image/png;base64,AA"]})), "base64"),
            (hi(json!({"format": "yaml"})), "invalid format"),
        ] {
            let fault = read_of(&request).unwrap_err();
            assert!(fault.contains(part), "{request}: {fault}");
        }
        let plain = ModelSpec::new("m");
        let thinks = ModelSpec { reasoning: true, ..ModelSpec::new("m") };
        let ask = read_of(&hi(json!({"think": "low"}))).unwrap();
        assert!(refusal(&ask, Some(&plain)).is_some() && refusal(&ask, Some(&thinks)).is_none());
        let ask = read_of(&hi(json!({"think": false}))).unwrap();
        assert!(refusal(&ask, Some(&plain)).is_none());
    }
}
