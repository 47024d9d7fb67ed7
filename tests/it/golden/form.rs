//! Is it what OpenAI's own clients expect? What is wrong is listed in words.

use std::collections::BTreeMap;

use serde_json::Value;

const FINISHES: &[&str] = &["stop", "length", "tool_calls", "content_filter", "function_call"];

/// What is wrong with a whole answer.
pub(super) fn of_answer(answer: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for choice in choices(answer) {
        let message = &choice["message"];
        let mut expect = |it: bool, what: &str| {
            if !it {
                wrong.push(what.to_owned());
            }
        };
        expect(choice["index"].is_u64(), "a choice without an index");
        expect(message["role"] == "assistant", "a message without a role");
        expect(message["content"].is_string() || message["content"].is_null(), "odd content");
        expect(message.get("reasoning").is_none(), "reasoning under another name");
        expect(is_finish(&choice["finish_reason"]), "an unknown finish_reason");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let named = call["type"] == "function" && call["function"]["name"].is_string();
            expect(named && call["id"].is_string(), "a call without id, type or name");
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            expect(is_object(arguments), "arguments that are no JSON object");
        }
    }
    wrong.extend(of_usage(&answer["usage"]));
    wrong
}

/// What is wrong with a stream that ended well; its usage was asked for.
pub(super) fn of_stream(chunks: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ended = false;
    let mut calls: BTreeMap<u64, String> = BTreeMap::new();
    for (at, choice) in chunks.iter().flat_map(choices).enumerate() {
        let delta = &choice["delta"];
        let mut expect = |it: bool, what: &str| {
            if !it {
                wrong.push(what.to_owned());
            }
        };
        expect(choice["index"].is_u64(), "a choice without an index");
        expect(at > 0 || delta["role"] == "assistant", "no role in the first delta");
        expect(delta.get("reasoning").is_none(), "reasoning under another name");
        expect(!ended, "a choice goes on after its finish_reason");
        if !choice["finish_reason"].is_null() {
            ended = true;
            expect(is_finish(&choice["finish_reason"]), "an unknown finish_reason");
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64();
            expect(index.is_some(), "a call without an index");
            let function = &call["function"];
            let index = index.unwrap_or_default();
            let named = call["id"].is_string() && function["name"].is_string();
            if !calls.contains_key(&index) {
                expect(
                    named && call["type"] == "function",
                    "a call begins without id, type or name",
                );
            }
            let arguments = function["arguments"].as_str();
            expect(arguments.is_some() || named, "arguments that are no string");
            calls.entry(index).or_default().push_str(arguments.unwrap_or_default());
        }
    }
    if !ended {
        wrong.push("no finish_reason".to_owned());
    }
    if !calls.values().all(|it| is_object(it)) {
        wrong.push("arguments that are no JSON object".to_owned());
    }
    let (last, before) = chunks.split_last().expect("a chunk");
    if !choices(last).is_empty() || before.iter().any(|it| it["usage"].is_object()) {
        wrong.push("usage elsewhere than in a last chunk of its own".to_owned());
    }
    wrong.extend(of_usage(&last["usage"]));
    wrong
}

fn of_usage(usage: &Value) -> Option<String> {
    let number = |it: &str| usage[it].is_u64();
    let whole = number("prompt_tokens") && number("completion_tokens") && number("total_tokens");
    (!whole).then(|| "no usage".to_owned())
}

fn choices(of: &Value) -> &[Value] {
    of["choices"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_finish(reason: &Value) -> bool {
    reason.as_str().is_some_and(|it| FINISHES.contains(&it))
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<Value>(arguments).is_ok_and(|it| it.is_object())
}
