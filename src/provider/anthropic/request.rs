//! From OpenAI's request to Anthropic's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::clock::Now;
use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::asked::Asked;
use crate::provider::asked::Choice;
use crate::provider::asked::Effort;
use crate::provider::asked::Format;
use crate::provider::asked::Function;
use crate::provider::asked::no_json_mode;
use crate::provider::conversation::Conversation;
use crate::provider::conversation::Instructions;
use crate::provider::conversation::Speaker;
use crate::provider::conversation::not_here;
use crate::provider::conversation::read;
use crate::provider::fault::Fault;
use crate::provider::thoughts::Shelf;

use super::model::{can_think, most_tokens};
use super::turns::{Turn, called, write};

/// Members whose meaning is sent. Its API knows no other and refuses every one it doesn't know.
const TAKEN: &[&str] =
    &["parallel_tool_calls", "reasoning_effort", "stop", "temperature", "top_k", "top_p", "user"];

/// The answer's bound is required here. OpenAI's default is "as long as it gets"; this holds a long
/// answer and is allowed by every model still served.
const DEFAULT_MAX_TOKENS: u64 = 4_096;
/// The smallest budget for thinking.
const LEAST_BUDGET: u64 = 1_024;
/// The longest name of a user, in characters.
const LONGEST_USER: usize = 256;

/// A request as it is written.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    system: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    /// The bound of the answer, how it is drawn, and what else is plain.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    input_schema: Cow<'a, RawValue>,
}

/// The body for a call, and the members left out of it. The `shelf` is that of the call's model.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call, shelf: &Shelf, now: Now) -> Result<(Bytes, Unmet), Fault> {
    if call.request.n > 1 {
        return Err(not_here("Anthropic gives one answer to a request, not n"));
    }
    let asked = Asked::of(call);
    if !matches!(asked.format()?, Format::Text) {
        return Err(no_json_mode("Anthropic has no JSON mode that this gateway speaks"));
    }
    let mut unmet = Unmet { dropped: asked.dropped(TAKEN), ..Unmet::default() };
    let conversation = read(asked.messages(), Instructions::Beside)?;
    let functions = asked.functions()?;
    let choice = asked.choice()?.filter(|_| !functions.is_empty());
    let thought = |id: &str| shelf.find(id, now);
    let budget = budget(asked.effort()?);
    let thinks = can_think(&call.model)
        && !matches!(choice, Some(Choice::Any | Choice::Named(_)))
        && may_think(&conversation, |id| thought(id).is_some());
    let mut more = Map::new();
    bounds(&asked, &call.model, budget.filter(|_| thinks), &mut more, &mut unmet);
    if budget.is_some() && !thinks {
        unmet.dropped.push("reasoning_effort");
    }
    stops(&asked, &mut more, &mut unmet);
    user(&asked, &mut more, &mut unmet);
    let (tools, tool_choice) = tools(&asked, functions, choice, &conversation)?;
    let thinks = budget.is_some() && thinks;
    let body = Body {
        model: &call.model,
        system: conversation.system.join("\n\n"),
        messages: write(conversation.turns, |call| thought(&call.id).filter(|_| thinks))?,
        tools,
        tool_choice,
        stream: asked.stream(),
        more,
    };
    let body = serde_json::to_vec(&body).map_err(|it| not_here(it.to_string()))?;
    Ok((body.into(), unmet))
}

/// May it think on? Not where it is to go on from its own words, and after the result of a call
/// only if the thought that led to the call is still there.
fn may_think(conversation: &Conversation<'_>, is_kept: impl Fn(&str) -> bool) -> bool {
    let ends_with_words = conversation
        .turns
        .last()
        .is_some_and(|it| it.speaker == Speaker::Model && it.calls.is_empty());
    let last = conversation.turns.iter().rfind(|it| it.speaker == Speaker::Model);
    let call = last.and_then(|it| it.calls.first());
    !ends_with_words && call.is_none_or(|it| is_kept(&it.id))
}

/// How long the answer and the thinking may be, and how it is drawn.
fn bounds(
    asked: &Asked<'_>,
    model: &str,
    budget: Option<u64>,
    more: &mut Map<String, Value>,
    unmet: &mut Unmet,
) {
    let most = asked.max_tokens().unwrap_or(DEFAULT_MAX_TOKENS);
    // Thoughts count as answer here; what the caller bounds is the answer alone.
    let most = most.saturating_add(budget.unwrap_or(0)).min(most_tokens(model));
    more.insert("max_tokens".to_owned(), most.into());
    if let Some(budget) = budget {
        let thinking = json!({"type": "enabled", "budget_tokens": budget});
        more.insert("thinking".to_owned(), thinking);
        // While it thinks nothing may change how tokens are drawn.
        let fixed = ["temperature", "top_p", "top_k"];
        unmet.dropped.extend(fixed.into_iter().filter(|it| asked.get(it).is_some()));
        return;
    }
    let temperature = asked.number("temperature");
    if let Some(temperature) = temperature {
        // OpenAI's goes to 2.
        if temperature > 1.0 {
            unmet.lowered.push("temperature");
        }
        more.insert("temperature".to_owned(), temperature.clamp(0.0, 1.0).into());
    }
    match asked.number("top_p") {
        Some(top_p) if temperature.is_none() => {
            more.insert("top_p".to_owned(), top_p.into());
        }
        // Newer models refuse both together. 1 is no bound at all.
        Some(top_p) if top_p < 1.0 => unmet.dropped.push("top_p"),
        _ => {}
    }
    if let Some(top_k) = asked.value("top_k") {
        more.insert("top_k".to_owned(), top_k);
    }
}

/// The tokens it may think, if the caller wants it to.
fn budget(effort: Option<Effort>) -> Option<u64> {
    match effort? {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some(LEAST_BUDGET),
        Effort::Medium => Some(8_192),
        Effort::High | Effort::ExtraHigh | Effort::Most => Some(24_576),
    }
}

fn stops(asked: &Asked<'_>, more: &mut Map<String, Value>, unmet: &mut Unmet) {
    let mut stops = asked.texts("stop");
    let wanted = stops.len();
    stops.retain(|it| !it.trim().is_empty());
    if stops.len() < wanted {
        unmet.dropped.push("stop");
    }
    if !stops.is_empty() {
        more.insert("stop_sequences".to_owned(), stops.into());
    }
}

fn user(asked: &Asked<'_>, more: &mut Map<String, Value>, unmet: &mut Unmet) {
    match asked.text("user") {
        None => {}
        Some(user) if (1..=LONGEST_USER).contains(&user.chars().count()) => {
            more.insert("metadata".to_owned(), json!({ "user_id": user }));
        }
        Some(_) => unmet.dropped.push("user"),
    }
}

/// The tools on offer and which of them may be called.
fn tools<'a>(
    asked: &Asked<'a>,
    functions: Vec<Function<'a>>,
    choice: Option<Choice>,
    conversation: &Conversation<'a>,
) -> Result<(Vec<Tool<'a>>, Option<Value>), Fault> {
    if !functions.is_empty() {
        let tools = functions.into_iter().map(tool).collect::<Result<_, _>>()?;
        return Ok((tools, chosen(choice, asked.one_call_at_a_time())));
    }
    // A conversation with calls in it must say of which tools.
    let called = called(conversation).into_iter();
    let of = |name| tool(Function { name, description: None, parameters: None });
    let tools: Vec<_> = called.map(of).collect::<Result<_, _>>()?;
    let choice = (!tools.is_empty()).then(|| json!({"type": "none"}));
    Ok((tools, choice))
}

fn tool(function: Function<'_>) -> Result<Tool<'_>, Fault> {
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    let schema = function
        .parameters
        .and_then(|it| Some((it, serde_json::from_str::<Members<'_>>(it.get()).ok()?)));
    let input_schema = match schema {
        Some((schema, members)) if members.contains_key("type") => Cow::Borrowed(schema),
        // A type is required, and it can be no other.
        schema => {
            let mut members = schema.map(|(_, members)| members).unwrap_or_default();
            let object = to_raw_value("object").map_err(|it| not_here(it.to_string()))?;
            members.insert("type".to_owned(), &object);
            Cow::Owned(to_raw_value(&members).map_err(|it| not_here(it.to_string()))?)
        }
    };
    Ok(Tool { name: function.name, description: function.description, input_schema })
}

fn chosen(choice: Option<Choice>, one_at_a_time: bool) -> Option<Value> {
    let mut chosen = match choice {
        None if one_at_a_time => json!({"type": "auto"}),
        None => return None,
        Some(Choice::None) => return Some(json!({"type": "none"})),
        Some(Choice::Auto) => json!({"type": "auto"}),
        Some(Choice::Any) => json!({"type": "any"}),
        Some(Choice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if let Some(chosen) = chosen.as_object_mut().filter(|_| one_at_a_time) {
        chosen.insert("disable_parallel_tool_use".to_owned(), true.into());
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use crate::provider::example::call;
    use crate::provider::example::shelf;
    use crate::provider::fault::FaultKind;

    use super::*;

    fn sent(model: &str, asked: &Value) -> Result<(Value, Vec<&'static str>), Fault> {
        let (body, unmet) = translate(&call(model, asked), &shelf(model), Now::default())?;
        Ok((serde_json::from_slice(&body).unwrap(), unmet.dropped))
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
    fn it_thinks_on_after_a_result_when_its_thought_is_kept() {
        let step = |id: &str| {
            [
                json!({"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "f"}}]}),
                json!({"role": "tool", "tool_call_id": id, "content": "x"}),
            ]
        };
        let thought = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}]);
        let shelf = shelf("m");
        shelf.keep("b", &thought.to_string(), Now::default());
        let sent = |ids: &[&str], effort: &str, last: Option<Value>| {
            let steps = ids.iter().flat_map(|it| step(it)).chain(last);
            let asked = json!({"messages": steps.collect::<Vec<_>>(), "reasoning_effort": effort});
            let (body, unmet) = translate(&call("m", &asked), &shelf, Now::default()).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let thoughts: Vec<Value> = body["messages"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| it["role"] == "assistant")
                .map(|it| it["content"][0]["type"].clone())
                .collect();
            (body["thinking"]["type"] == "enabled", thoughts, unmet.dropped)
        };
        let (said, used) = (json!("thinking"), json!("tool_use"));
        let (with, without) = (vec![used.clone(), said.clone()], vec![used.clone(), used.clone()]);
        assert_eq!(sent(&["a", "b"], "low", None), (true, with.clone(), vec![]));
        let person = json!({"role": "user", "content": "quick"});
        assert_eq!(sent(&["a", "b"], "low", Some(person)), (true, with, vec![]));
        assert_eq!(sent(&["a", "b"], "none", None), (false, without.clone(), vec![]));
        let (lost, dropped) = (vec![used.clone(), used], vec!["reasoning_effort"]);
        assert_eq!(sent(&["b", "a"], "low", None), (false, lost, dropped.clone()));
        // It can't think in the midst of its own words.
        let words = json!({"role": "assistant", "content": "So"});
        let (thinks, _, left_out) = sent(&["b"], "low", Some(words));
        assert_eq!((thinks, left_out), (false, dropped));
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
        let mut instructed =
            call("m", &json!({"response_format": {"type": "json_object"}, "seed": 1}));
        instructed.edits.leave_out.push("response_format".to_owned());
        assert!(translate(&instructed, &shelf("m"), Now::default()).is_ok());
        instructed.edits.leave_out.clear();
        let fault = translate(&instructed, &shelf("m"), Now::default()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::FieldUnknown(vec!["response_format".to_owned()]));
        for asked in [
            json!({"n": 2}),
            json!({"functions": [{"name": "f"}]}),
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            json!({"tools": [{"function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools"}}),
        ] {
            assert_eq!(sent("m", &asked).unwrap_err().kind, FaultKind::NotHere, "{asked}");
        }
    }
}
