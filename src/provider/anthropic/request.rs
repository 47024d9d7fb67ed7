//! From OpenAI's request to Anthropic's.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::openai::JsonMode;
use crate::provider::Call;
use crate::provider::asked::Asked;
use crate::provider::conversation::not_here;
use crate::provider::conversation::read;
use crate::provider::fault::Fault;

use super::turns::Conversation;
use super::turns::translate as turns_of;

/// Members whose meaning is sent. Its API knows no other and refuses every one it doesn't know.
const TAKEN: &[&str] =
    &["parallel_tool_calls", "reasoning_effort", "stop", "temperature", "top_k", "top_p", "user"];

/// The answer's bound is required here. OpenAI's default is "as long as it gets"; this holds a long
/// answer and is allowed by every model still served.
const DEFAULT_MAX_TOKENS: u64 = 4_096;
/// The most any model gives; what a chat window sends as "no bound" is more.
const MOST_TOKENS: u64 = 64_000;
/// The smallest budget for thinking.
const LEAST_BUDGET: u64 = 1_024;

/// The body for a call, and the members left out of it.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call) -> Result<(Bytes, Vec<&'static str>), Fault> {
    if call.request.n > 1 {
        return Err(not_here("Anthropic gives one answer to a request, not n"));
    }
    if call.request.json_mode != JsonMode::Off {
        return Err(not_here("Anthropic's JSON modes are not spoken by this gateway yet"));
    }
    let asked = Asked::of(call);
    if asked.get("functions").is_some_and(|it| it != "[]") {
        return Err(not_here("Anthropic is not asked in the older form: use tools"));
    }
    let mut dropped = asked.dropped(TAKEN);
    let conversation = turns_of(read(asked.get("messages").unwrap_or("[]"))?)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), Value::from(&*call.model));
    bounds(&asked, call, &conversation, &mut body, &mut dropped);
    tools(&asked, &conversation, &mut body)?;
    if !conversation.system.is_empty() {
        body.insert("system".to_owned(), conversation.system.into());
    }
    body.insert("messages".to_owned(), conversation.turns.into());
    match asked.text("user").map(|it| it.chars().count()) {
        None => {}
        Some(1..=256) => {
            body.insert("metadata".to_owned(), json!({ "user_id": asked.text("user") }));
        }
        Some(_) => dropped.push("user"),
    }
    if asked.stream() {
        body.insert("stream".to_owned(), true.into());
    }
    Ok((Value::from(body).to_string().into(), dropped))
}

/// How long the answer and the thinking may be, where it stops, and how it is drawn.
fn bounds(
    asked: &Asked<'_>,
    call: &Call,
    conversation: &Conversation,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) {
    let most = asked.max_tokens().unwrap_or(DEFAULT_MAX_TOKENS).min(MOST_TOKENS);
    let budget = budget(asked);
    let thinks = budget.is_some()
        && can_think(&call.model)
        && !forces_call(asked)
        && !conversation.ends_with_results;
    if let Some(budget) = budget.filter(|_| thinks) {
        // Thoughts count as answer here; what the caller bounds is the answer alone.
        let most = most.saturating_add(budget).min(MOST_TOKENS);
        body.insert("max_tokens".to_owned(), most.into());
        let thinking = json!({"type": "enabled", "budget_tokens": budget});
        body.insert("thinking".to_owned(), thinking);
        // While it thinks nothing may change how tokens are drawn.
        let fixed = ["temperature", "top_p", "top_k"];
        dropped.extend(fixed.into_iter().filter(|it| asked.get(it).is_some()));
    } else {
        body.insert("max_tokens".to_owned(), most.into());
        if budget.is_some() {
            dropped.push("reasoning_effort");
        }
        sampling(asked, body, dropped);
    }
    let mut stops = asked.texts("stop");
    let wanted = stops.len();
    stops.retain(|it| !it.trim().is_empty());
    if stops.len() < wanted {
        dropped.push("stop");
    }
    if !stops.is_empty() {
        body.insert("stop_sequences".to_owned(), stops.into());
    }
}

fn sampling(asked: &Asked<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<&'static str>) {
    let temperature = asked.number("temperature");
    if let Some(temperature) = temperature {
        // OpenAI's goes to 2.
        body.insert("temperature".to_owned(), temperature.clamp(0.0, 1.0).into());
    }
    match asked.number("top_p") {
        Some(top_p) if temperature.is_none() => {
            body.insert("top_p".to_owned(), top_p.into());
        }
        // Newer models refuse both together. 1 is no bound at all.
        Some(top_p) if top_p < 1.0 => dropped.push("top_p"),
        _ => {}
    }
    if let Some(top_k) = asked.value("top_k") {
        body.insert("top_k".to_owned(), top_k);
    }
}

/// The tokens it may think, if the caller wants it to.
fn budget(asked: &Asked<'_>) -> Option<u64> {
    match asked.text("reasoning_effort")?.as_str() {
        "none" => None,
        "minimal" | "low" => Some(LEAST_BUDGET),
        "medium" => Some(8_192),
        _ => Some(24_576),
    }
}

/// Its first three generations don't think, but for the last of them.
fn can_think(model: &str) -> bool {
    let old = model.starts_with("claude-3") || model.starts_with("claude-2");
    !old || model.starts_with("claude-3-7")
}

/// Must it call a tool? It can't think then.
fn forces_call(asked: &Asked<'_>) -> bool {
    asked.get("tools").is_some()
        && asked.value("tool_choice").is_some_and(|it| it != "auto" && it != "none")
}

fn tools(
    asked: &Asked<'_>,
    conversation: &Conversation,
    body: &mut Map<String, Value>,
) -> Result<(), Fault> {
    let tools = match asked.value("tools") {
        Some(Value::Array(tools)) => tools,
        _ => Vec::new(),
    };
    let declared = tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    if !declared.is_empty() {
        body.insert("tools".to_owned(), declared.into());
        if let Some(choice) = choice(asked)? {
            body.insert("tool_choice".to_owned(), choice);
        }
    } else if !conversation.called.is_empty() {
        // A conversation with calls in it must say of which tools.
        let mut names = conversation.called.clone();
        names.sort();
        names.dedup();
        let of = |it| json!({"name": it, "input_schema": {"type": "object"}});
        body.insert("tools".to_owned(), names.into_iter().map(of).collect());
        body.insert("tool_choice".to_owned(), json!({"type": "none"}));
    }
    Ok(())
}

fn tool(tool: &Value) -> Result<Value, Fault> {
    let function = tool.get("function");
    let name = function.and_then(|it| it.get("name")?.as_str());
    let Some(name) = name else { return Err(not_here("of tools it is given functions alone")) };
    let schema = function.and_then(|it| it.get("parameters")?.as_object());
    let mut schema = schema.cloned().unwrap_or_default();
    schema.entry("type").or_insert_with(|| "object".into());
    let mut tool = json!({"name": name, "input_schema": schema});
    let description = function.and_then(|it| it.get("description")).filter(|it| it.is_string());
    if let (Some(description), Some(tool)) = (description, tool.as_object_mut()) {
        tool.insert("description".to_owned(), description.clone());
    }
    Ok(tool)
}

fn choice(asked: &Asked<'_>) -> Result<Option<Value>, Fault> {
    let wanted = asked.value("tool_choice");
    let named = wanted.as_ref().and_then(|it| it.pointer("/function/name")?.as_str());
    let mut choice = match (wanted.as_ref().map(Value::as_str), named) {
        (None, _) => None,
        (Some(Some("none")), _) => return Ok(Some(json!({"type": "none"}))),
        (Some(Some("auto")), _) => Some(json!({"type": "auto"})),
        (Some(Some("required" | "any")), _) => Some(json!({"type": "any"})),
        (Some(None), Some(name)) => Some(json!({"type": "tool", "name": name})),
        _ => return Err(not_here("Anthropic has no such tool_choice")),
    };
    if asked.get("parallel_tool_calls") == Some("false") {
        let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
        if let Some(choice) = choice.as_object_mut() {
            choice.insert("disable_parallel_tool_use".to_owned(), true.into());
        }
    }
    Ok(choice)
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

    /// What goes out beside the model and the one message.
    #[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
    fn check(asked: Value, expected: Value, dropped: &[&str]) {
        let (mut body, left_out) = sent("claude-sonnet-4-5", &asked).unwrap();
        let body_members = body.as_object_mut().unwrap();
        assert_eq!(body_members.remove("model").unwrap(), "claude-sonnet-4-5");
        assert!(body_members.remove("messages").is_some());
        assert_eq!((body, left_out.as_slice()), (expected, dropped), "{asked}");
    }

    #[test]
    fn members_are_translated() {
        let bound = |more: Value| {
            let mut all = json!({"max_tokens": 4096});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        check(json!({}), bound(json!({})), &[]);
        check(json!({"max_tokens": 7}), json!({"max_tokens": 7}), &[]);
        check(json!({"max_completion_tokens": 7}), json!({"max_tokens": 7}), &[]);
        check(json!({"max_tokens": 999_999}), json!({"max_tokens": 64_000}), &[]);
        check(json!({"temperature": 1.7}), bound(json!({"temperature": 1.0})), &[]);
        check(json!({"top_p": 0.5, "top_k": 9}), bound(json!({"top_p": 0.5, "top_k": 9})), &[]);
        check(
            json!({"temperature": 0.2, "top_p": 0.5}),
            bound(json!({"temperature": 0.2})),
            &["top_p"],
        );
        check(json!({"stop": "x"}), bound(json!({"stop_sequences": ["x"]})), &[]);
        check(json!({"stop": ["x", "\n"]}), bound(json!({"stop_sequences": ["x"]})), &["stop"]);
        check(json!({"user": "u"}), bound(json!({"metadata": {"user_id": "u"}})), &[]);
        check(json!({"stream": true}), bound(json!({"stream": true})), &[]);
        check(
            json!({"seed": 1, "logprobs": true, "stream_options": {}, "store": true, "odd": 1,
                   "response_format": {"type": "text"}, "n": 1, "logit_bias": null}),
            bound(json!({})),
            &["logprobs", "seed", "unknown_fields"],
        );
    }

    #[test]
    fn it_thinks_only_when_asked_and_when_it_may() {
        let effort = |it: &str| json!({"reasoning_effort": it, "max_tokens": 100});
        let bound = json!({"max_tokens": 100});
        check(effort("none"), bound.clone(), &[]);
        let thinks = |most: u64, budget: u64| {
            let thinking = json!({"type": "enabled", "budget_tokens": budget});
            json!({"max_tokens": most, "thinking": thinking})
        };
        check(effort("low"), thinks(1_124, 1_024), &[]);
        check(effort("high"), thinks(24_676, 24_576), &[]);
        check(
            json!({"reasoning_effort": "medium", "max_tokens": 64_000, "temperature": 1}),
            thinks(64_000, 8_192),
            &["temperature"],
        );
        let left_out = |model, more: Value| {
            let mut asked = effort("high");
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (body, dropped) = sent(model, &asked).unwrap();
            assert!(body.get("thinking").is_none(), "{asked}");
            assert_eq!(dropped, ["reasoning_effort"]);
        };
        left_out("claude-3-5-haiku-latest", json!({}));
        let tools = json!([{"function": {"name": "f"}}]);
        left_out("claude-opus-4-1", json!({"tools": tools, "tool_choice": "required"}));
        // The thoughts that led to the call are gone with the caller's client.
        let results = json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}]});
        left_out("claude-opus-4-1", results);
    }

    #[test]
    fn tools_are_translated() {
        let tools = json!([{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {}}, "strict": true}},
            {"type": "function", "function": {"name": "g"}}]);
        let declared = json!([{"name": "f", "description": "d",
            "input_schema": {"type": "object", "properties": {}}},
            {"name": "g", "input_schema": {"type": "object"}}]);
        for (choice, parallel, expected) in [
            (json!(null), json!(null), json!(null)),
            (json!("auto"), json!(true), json!({"type": "auto"})),
            (json!("required"), json!(null), json!({"type": "any"})),
            (json!("none"), json!(false), json!({"type": "none"})),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                json!(null),
                json!({"type": "tool", "name": "f"}),
            ),
            (json!(null), json!(false), json!({"type": "auto", "disable_parallel_tool_use": true})),
        ] {
            let asked =
                json!({"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel});
            let (body, dropped) = sent("m", &asked).unwrap();
            assert_eq!((&body["tools"], &body["tool_choice"]), (&declared, &expected), "{asked}");
            assert!(dropped.is_empty());
        }
    }

    #[test]
    fn calls_in_a_conversation_without_tools_name_theirs() {
        let asked = json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}]});
        let (body, _) = sent("m", &asked).unwrap();
        assert_eq!(body["tools"], json!([{"name": "f", "input_schema": {"type": "object"}}]));
        assert_eq!(body["tool_choice"], json!({"type": "none"}));
    }

    #[test]
    fn what_it_cannot_do_goes_elsewhere() {
        for asked in [
            json!({"n": 2}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"functions": [{"name": "f"}]}),
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            json!({"tools": [{"function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools"}}),
        ] {
            assert_eq!(sent("m", &asked).unwrap_err().kind, FaultKind::NotHere, "{asked}");
        }
    }
}
