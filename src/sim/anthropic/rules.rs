//! What the Messages API refuses, in its own words.

use serde_json::{Map, Value};

use crate::sim::wire::problem::Problem;

/// The members it knows; every other is refused.
const MEMBERS: &[&str] = &[
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// The list a value is; empty when it is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A block's type.
pub(super) fn kind(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The first rule a request breaks.
pub(super) fn check(request: &Map<String, Value>) -> Result<(), Problem> {
    if let Some(field) = request.keys().find(|it| !MEMBERS.contains(&it.as_str())) {
        return Err(Problem::Field { field: field.clone(), near: None });
    }
    let broken = required(request)
        .or_else(|| sampling(request))
        .or_else(|| tools(request))
        .or_else(|| conversation(request));
    broken.map_or(Ok(()), |it| Err(Problem::Invalid(it)))
}

fn required(request: &Map<String, Value>) -> Option<String> {
    let max_tokens = request.get("max_tokens");
    match max_tokens.map(Value::as_u64) {
        None => return Some("max_tokens: Field required".to_owned()),
        Some(None | Some(0)) => {
            return Some("max_tokens: Input should be greater than or equal to 1".to_owned());
        }
        Some(Some(_)) => {}
    }
    let text = |key: &str| request.get(key).is_none_or(Value::is_string);
    if !text("system") {
        return Some("system: Input should be a valid string".to_owned());
    }
    let metadata = request.get("metadata").and_then(Value::as_object);
    let odd = metadata.and_then(|it| it.keys().find(|key| *key != "user_id"));
    odd.map(|it| format!("metadata.{it}: Extra inputs are not permitted"))
}

fn sampling(request: &Map<String, Value>) -> Option<String> {
    let number = |key: &str| request.get(key).and_then(Value::as_f64);
    if number("temperature").is_some_and(|it| !(0.0..=1.0).contains(&it)) {
        return Some("temperature: range: 0..1".to_owned());
    }
    if number("temperature").is_some() && number("top_p").is_some() {
        return Some(
            "`temperature` and `top_p` cannot both be specified for this model.".to_owned(),
        );
    }
    let stops = request.get("stop_sequences").map(list).unwrap_or_default();
    if stops.iter().any(|it| it.as_str().is_none_or(|it| it.trim().is_empty())) {
        return Some("stop_sequences: each must contain non-whitespace".to_owned());
    }
    let thinking = request.get("thinking").filter(|it| kind(it) == "enabled")?;
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64).unwrap_or(0);
    let most = request.get("max_tokens").and_then(Value::as_u64).unwrap_or(0);
    if budget < 1_024 {
        return Some("thinking.enabled.budget_tokens: must be at least 1024".to_owned());
    }
    if budget >= most {
        return Some("`max_tokens` must be greater than `thinking.budget_tokens`.".to_owned());
    }
    if number("temperature").is_some_and(|it| it < 1.0) || request.contains_key("top_k") {
        return Some("`temperature` may only be set to 1 when thinking is enabled.".to_owned());
    }
    let forced = request.get("tool_choice").is_some_and(|it| matches!(kind(it), "any" | "tool"));
    forced.then(|| "Thinking may not be enabled when tool_choice forces tool use.".to_owned())
}

fn tools(request: &Map<String, Value>) -> Option<String> {
    const OF_TOOL: &[&str] = &["name", "description", "input_schema", "type", "cache_control"];
    let tools = request.get("tools").map(list).unwrap_or_default();
    for (at, tool) in tools.iter().enumerate() {
        let odd = tool.as_object()?.keys().find(|it| !OF_TOOL.contains(&it.as_str()));
        if let Some(odd) = odd {
            return Some(format!("tools.{at}.custom.{odd}: Extra inputs are not permitted"));
        }
        let object = tool.pointer("/input_schema/type").and_then(Value::as_str) == Some("object");
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
        if !object || !proper(name) {
            return Some(format!("tools.{at}.custom.input_schema.type: Field required"));
        }
    }
    let choice = request.get("tool_choice")?;
    if tools.is_empty() {
        return Some("tool_choice may only be specified while providing tools.".to_owned());
    }
    let known = matches!(kind(choice), "auto" | "any" | "tool" | "none");
    (!known).then(|| "tool_choice: Input tag does not match any of the expected tags".to_owned())
}

/// As names and ids are to be written.
fn proper(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    !name.is_empty() && name.len() <= 128 && name.bytes().all(plain)
}

fn conversation(request: &Map<String, Value>) -> Option<String> {
    let turns = request.get("messages").map(list).unwrap_or_default();
    if turns.is_empty() {
        return Some("messages: at least one message is required".to_owned());
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let by_model = match turn.get("role").and_then(Value::as_str) {
            Some("user") => false,
            Some("assistant") if at > 0 => true,
            Some("assistant") => return Some("messages: first message must be a user's".into()),
            role => {
                let role = role.unwrap_or_default();
                return Some(format!(
                    "messages: Unexpected role \"{role}\". Allowed roles are \
                                     \"user\" or \"assistant\"."
                ));
            }
        };
        let Some(content) = turn.get("content").filter(|it| it.is_string() || it.is_array()) else {
            return Some(format!("messages.{at}.content: Input should be a valid list"));
        };
        let blocks = list(content);
        let fault = blocks.iter().find_map(|it| block(it, by_model)).map(str::to_owned);
        if content.as_str() == Some("") || content.is_array() && blocks.is_empty() {
            return Some(format!("messages.{at}: all messages must have non-empty content"));
        }
        if let Some(fault) = fault.or_else(|| results(blocks, &mut open)) {
            return Some(format!("messages.{at}: {fault}"));
        }
        let calls = blocks.iter().filter(|it| kind(it) == "tool_use");
        open.extend(calls.filter_map(|it| it.get("id")?.as_str()));
    }
    if !open.is_empty() {
        return Some(unanswered(&open));
    }
    let all = turns.iter().filter_map(|it| it.get("content")).flat_map(list);
    if all.into_iter().any(|it| kind(it) == "tool_use") && !request.contains_key("tools") {
        return Some("Requests which include `tool_use` blocks must define tools.".to_owned());
    }
    ending(turns, request.contains_key("thinking"))
}

/// Checks that the results a turn begins with are those that `open` calls wait for.
fn results(blocks: &[Value], open: &mut Vec<&str>) -> Option<String> {
    let first = blocks.iter().take_while(|it| kind(it) == "tool_result").count();
    for (at, result) in blocks.iter().enumerate().filter(|(_, it)| kind(it) == "tool_result") {
        let id = result.get("tool_use_id").and_then(Value::as_str).unwrap_or_default();
        match open.iter().position(|it| *it == id) {
            Some(found) if at < first => {
                open.remove(found);
            }
            _ => {
                return Some(format!(
                    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                     `tool_result` block must have a corresponding `tool_use` block in the \
                     previous message."
                ));
            }
        }
    }
    (!open.is_empty()).then(|| unanswered(open))
}

fn unanswered(open: &[&str]) -> String {
    format!(
        "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
         `tool_use` block must have a corresponding `tool_result` block in the next message.",
        open.join(", ")
    )
}

fn block(block: &Value, by_model: bool) -> Option<&'static str> {
    let text = |path: &str| block.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match kind(block) {
        "text" if text("/text").trim().is_empty() => {
            Some("text content blocks must contain non-whitespace text")
        }
        "tool_use" if !by_model => Some("`tool_use` blocks can only be in `assistant` messages"),
        "tool_use" if !proper(text("/id")) || !proper(text("/name")) => {
            Some("tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        }
        "tool_use" if !block.get("input").is_some_and(Value::is_object) => {
            Some("tool_use.input: Input should be a valid dictionary")
        }
        "tool_result" if by_model => Some("`tool_result` blocks can only be in `user` messages"),
        "image" => match (text("/source/type"), text("/source/media_type")) {
            ("base64", "image/jpeg" | "image/png" | "image/gif" | "image/webp") => None,
            ("url", _) if text("/source/url").starts_with("https://") => None,
            _ => Some("image.source: Input tag does not match any of the expected tags"),
        },
        "text" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking" => None,
        _ => Some("Input tag does not match any of the expected tags"),
    }
}

/// What may not stand at the end.
fn ending(turns: &[Value], thinks: bool) -> Option<String> {
    let content = turns.last()?.get("content")?;
    if turns.last()?.get("role")? == "assistant" {
        let text = content.as_str().or_else(|| list(content).last()?.get("text")?.as_str());
        let spaced = text.is_some_and(|it| it.ends_with(char::is_whitespace));
        return spaced.then(|| {
            "messages: final assistant content cannot end with trailing whitespace".to_owned()
        });
    }
    let answers = list(content).iter().any(|it| kind(it) == "tool_result");
    let before = turns.iter().rev().nth(1).and_then(|it| it.get("content"));
    let thought = before
        .map(list)
        .and_then(<[Value]>::first)
        .is_some_and(|it| matches!(kind(it), "thinking" | "redacted_thinking"));
    (thinks && answers && !thought).then(|| {
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is \
         enabled, a final `assistant` message must start with a thinking block."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check_is(request: Value, refused: Option<&str>) {
        let mut all = json!({"model": "m", "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}]});
        all.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        all.as_object_mut().unwrap().retain(|_, it| !it.is_null());
        let said = check(all.as_object().unwrap()).err().map(|it| match it {
            Problem::Invalid(words) => words,
            Problem::Field { field, .. } => field,
            other => format!("{other:?}"),
        });
        match (&said, refused) {
            (Some(said), Some(part)) if said.contains(part) => {}
            (None, None) => {}
            _ => panic!("{request}: {said:?}"),
        }
    }

    #[test]
    fn members_are_checked() {
        check_is(json!({}), None);
        check_is(json!({"max_tokens": null}), Some("max_tokens: Field required"));
        check_is(json!({"seed": 1}), Some("seed"));
        check_is(json!({"temperature": 1.2}), Some("temperature"));
        check_is(json!({"temperature": 1, "top_p": 0.1}), Some("both"));
        check_is(json!({"stop_sequences": ["\n"]}), Some("whitespace"));
        check_is(json!({"metadata": {"user": "x"}}), Some("metadata.user"));
        let thinking = |budget| json!({"type": "enabled", "budget_tokens": budget});
        check_is(json!({"max_tokens": 2_000, "thinking": thinking(1_024)}), None);
        check_is(json!({"max_tokens": 2_000, "thinking": thinking(100)}), Some("1024"));
        check_is(json!({"max_tokens": 1_000, "thinking": thinking(1_024)}), Some("greater"));
        check_is(json!({"tools": [{"name": "f"}]}), Some("input_schema"));
        check_is(json!({"tool_choice": {"type": "auto"}}), Some("while providing tools"));
    }

    #[test]
    fn conversations_are_checked() {
        let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "a", "content": "x"});
        let said = json!({"type": "text", "text": "x"});
        let user = |content: Value| json!({"role": "user", "content": content});
        let model = |content: Value| json!({"role": "assistant", "content": content});
        let turns = |it: &[Value]| json!({"messages": it, "tools": tools});
        let hi = || user(json!("hi"));
        check_is(turns(&[hi(), model(json!([call])), user(json!([result, said]))]), None);
        let late = turns(&[hi(), model(json!([call])), user(json!([said, result]))]);
        check_is(late, Some("unexpected `tool_use_id`"));
        check_is(turns(&[hi(), model(json!([call])), hi()]), Some("without `tool_result`"));
        check_is(turns(&[user(json!([result]))]), Some("unexpected `tool_use_id`"));
        check_is(turns(&[model(json!("x"))]), Some("first message"));
        check_is(turns(&[json!({"role": "system", "content": "x"})]), Some("Unexpected role"));
        check_is(turns(&[user(json!([]))]), Some("non-empty"));
        check_is(turns(&[hi(), model(json!("x "))]), Some("trailing whitespace"));
        let untooled = [hi(), model(json!([call])), user(json!([result]))];
        check_is(json!({"messages": untooled}), Some("must define tools"));
    }
}
