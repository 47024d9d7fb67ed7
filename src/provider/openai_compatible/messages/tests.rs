use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::openai::ChatRequest;
use crate::provider::quirks;

use super::*;

/// The messages a model of `provider` is sent; `None` when they go as they stand.
fn written(provider: &str, model: &str, messages: &str, refused: &[&str]) -> Option<Rewritten> {
    let body = Bytes::from(format!(r#"{{"messages":{messages}}}"#));
    let request = ChatRequest::parse(&body).unwrap();
    let refused: Vec<String> = refused.iter().map(|it| (*it).to_owned()).collect();
    let quirks = quirks::of(provider);
    let rules = &quirks.policy(model).messages;
    let by = Rewriting {
        rules,
        traits: request.traits,
        refused: &refused,
        thinks: true,
        renews: true,
        signatures: None,
    };
    rewrite(messages, &by)
}

fn check_of(provider: &str, model: &str, messages: &Value, expected: &Value) {
    let sent = written(provider, model, &messages.to_string(), &[]);
    let sent = sent.map_or_else(|| messages.clone(), |it| it.messages.parse().unwrap());
    assert_eq!(&sent, expected, "{provider} {messages}");
}

fn check(provider: &str, messages: &Value, expected: &Value) {
    check_of(provider, "m", messages, expected);
}

fn check_stays(provider: &str, messages: &Value) {
    let sent = written(provider, "m", &messages.to_string(), &[]);
    assert!(sent.is_none(), "{provider} {messages}: {}", sent.unwrap().messages);
}

const ALL: &[&str] = &[
    "groq",
    "mistral",
    "cerebras",
    "deepseek",
    "cloudflare",
    "nvidia",
    "openrouter",
    "together",
    "sambanova",
    "huggingface",
    "cohere",
    "zai",
    "openai",
    "gemini",
    "ollama",
    "acme",
];

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

#[test]
fn a_plain_conversation_goes_as_it_stands() {
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "bye"},
    ]);
    for provider in ALL {
        check_stays(provider, &messages);
    }
}

#[test]
fn what_clients_send_for_no_calls_is_left_out() {
    for calls in [json!(null), json!([])] {
        for provider in ALL {
            check(
                provider,
                &json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": calls}, {"role": "user", "content": "c"}]),
                &json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
            );
        }
    }
}

#[test]
fn only_the_message_that_differs_is_written_anew() {
    let sent = written(
        "acme",
        "m",
        r#"[ {"role" : "user","content":"\u00e9", "odd":[1, 2]}, {"role":"assistant","content":"b","tool_calls":null}]"#,
        &[],
    );
    assert_eq!(
        sent.unwrap().messages,
        r#"[{"role" : "user","content":"\u00e9", "odd":[1, 2]},{"role":"assistant","content":"b"}]"#
    );
}

#[test]
fn only_openai_knows_developers() {
    let messages = json!([{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]);
    for provider in ALL.iter().filter(|it| **it != "openai") {
        check(
            provider,
            &messages,
            &json!([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]),
        );
    }
    check_stays("openai", &messages);
}

#[test]
fn content_becomes_a_string_where_it_must_be_one() {
    let image = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    let text = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    for provider in ["cloudflare", "cohere", "nvidia"] {
        check(
            provider,
            &json!([{"role": "user", "content": text}]),
            &json!([{"role": "user", "content": "a\nb"}]),
        );
        check(
            provider,
            &json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": null, "tool_calls": [call("c")]}, {"role": "assistant"}]),
            &json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call("c")]}, {"role": "assistant", "content": ""}]),
        );
        check(
            provider,
            &json!([{"role": "user", "content": image}]),
            &json!([{"role": "user", "content": image}]),
        );
    }
    check_stays("openai", &json!([{"role": "user", "content": text}]));
}

#[test]
fn members_of_messages_go_where_they_are_refused() {
    let messages = json!([
        {"role": "user", "name": "Ann", "content": "a"},
        {"role": "assistant", "content": "b", "refusal": null, "annotations": [], "audio": null, "function_call": null, "reasoning_content": "hm"},
        {"role": "user", "content": "c"},
    ]);
    let bare = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]);
    for provider in ["groq", "mistral"] {
        let sent = written(provider, "m", &messages.to_string(), &[]).unwrap();
        assert!(sent.names_lost, "{provider}");
        let sent: Value = sent.messages.parse().unwrap();
        let sent = sent.to_string().replace(r#","function_call":null"#, "");
        assert_eq!(sent, bare.to_string(), "{provider}");
    }
    // A tool's name stands with its call.
    let tool = r#"[{"role":"tool","tool_call_id":"123456789","name":"f","content":"1"}]"#;
    assert!(!written("groq", "m", tool, &[]).unwrap().names_lost);
}

#[test]
fn a_member_that_was_refused_before_is_left_out_of_messages_too() {
    let messages = r#"[{"role":"user","name":"Ann","content":"a"},{"role":"assistant","content":"b","reasoning_content":"c"}]"#;
    let sent = written("acme", "m", messages, &["name"]).unwrap();
    assert!(sent.names_lost);
    assert_eq!(
        sent.messages,
        r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"c"}]"#
    );
    let sent = written("acme", "m", messages, &["reasoning_content", "role"]).unwrap();
    assert_eq!(
        sent.messages,
        r#"[{"role":"user","name":"Ann","content":"a"},{"role":"assistant","content":"b"}]"#
    );
}

#[test]
fn reasoning_goes_where_it_is_wanted() {
    let messages = |member: &str| json!([{"role": "assistant", "content": "b", member: "hm"}, {"role": "user", "content": "c"}]);
    let none = json!([{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]);
    for member in ["reasoning_content", "reasoning"] {
        for provider in ["mistral", "cerebras", "cloudflare", "cohere", "openai", "deepseek"] {
            check(provider, &messages(member), &none);
        }
        check_of("groq", "llama-3.3-70b-versatile", &messages(member), &none);
        check_of("groq", "openai/gpt-oss-20b", &messages(member), &messages("reasoning"));
        check("openrouter", &messages(member), &messages("reasoning"));
        check_stays("zai", &messages(member));
    }
}

#[test]
fn deepseek_gets_the_reasoning_of_turns_that_made_calls() {
    let exchange = |own: Value| {
        let mut turn = json!({"role": "assistant", "content": "", "tool_calls": [call("c")]});
        turn.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        json!([{"role": "user", "content": "a"}, turn, {"role": "tool", "tool_call_id": "c", "content": "1"}])
    };
    let kept = exchange(json!({"reasoning_content": "hm"}));
    check("deepseek", &kept, &kept);
    check("deepseek", &exchange(json!({"reasoning": "hm"})), &kept);
    check("deepseek", &exchange(json!({})), &exchange(json!({"reasoning_content": ""})));
    let off = Rewriting {
        rules: &quirks::of("deepseek").usual.messages,
        traits: ChatRequest::parse(&json!({"messages": kept}).to_string().into()).unwrap().traits,
        refused: &[],
        thinks: false,
        renews: true,
        signatures: None,
    };
    let sent: Value = rewrite(&kept.to_string(), &off).unwrap().messages.parse().unwrap();
    assert_eq!(sent, exchange(json!({})));
}

#[test]
fn what_a_provider_signed_goes_back_to_it_alone() {
    let said = |more: Value| {
        let mut turn = json!({"role": "assistant", "content": "b"});
        turn.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([{"role": "user", "content": "a"}, turn, {"role": "user", "content": "c"}])
    };
    let details = json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]});
    let extra = json!({"extra_content": {"google": {"thought_signature": "s", "model": "m"}}});
    for provider in ALL {
        let own = if *provider == "openrouter" { details.clone() } else { json!({}) };
        check(provider, &said(details.clone()), &said(own));
        check(provider, &said(extra.clone()), &said(json!({})));
    }
}

#[test]
fn gemini_gets_its_signatures_and_no_others() {
    let thoughts = crate::provider::thoughts::Thoughts::new();
    let shelf = |model: &str| thoughts.shelf(None, model);
    let now = crate::clock::Now::default();
    shelf("gemini-3-pro").keep("kept", "own", now);
    let google = |signature: &str, model: Option<&str>| {
        let mut google = json!({"thought_signature": signature});
        if let Some(model) = model {
            google["model"] = model.into();
        }
        json!({ "google": google })
    };
    let check = |model: &str, id: &str, extra: Option<Value>, expected: Option<&str>| {
        let mut first = call(id);
        if let Some(extra) = extra {
            first["extra_content"] = extra;
        }
        let messages = json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [first, call("second")]},
            {"role": "tool", "tool_call_id": id, "content": "1"},
            {"role": "tool", "tool_call_id": "second", "content": "1"}]);
        let body = json!({ "messages": messages }).to_string();
        let quirks = quirks::of("gemini");
        let signatures = Signatures { shelf: shelf(model), now };
        let by = Rewriting {
            rules: &quirks.policy(model).messages,
            traits: ChatRequest::parse(&body.into()).unwrap().traits,
            refused: &[],
            thinks: true,
            renews: true,
            signatures: Some(&signatures),
        };
        let sent = rewrite(&messages.to_string(), &by);
        let sent: Value = sent.map_or(messages, |it| it.messages.parse().unwrap());
        let calls = &sent[1]["tool_calls"];
        let expected = expected.map(|it| google(it, None));
        assert_eq!(calls[0].get("extra_content"), expected.as_ref(), "{model} {id}");
        assert_eq!(calls[1].get("extra_content"), None, "{model} {id}");
    };
    let (third, second) = ("gemini-3-pro", "gemini-2.5-flash");
    let skip = Some("skip_thought_signature_validator");
    check(third, "c", Some(google("s", Some(third))), Some("s"));
    check(third, "c", Some(google("s", Some(second))), skip);
    check(third, "c", Some(google("s", None)), skip);
    check(third, "kept", None, Some("own"));
    check(third, "c", None, skip);
    check(second, "kept", None, None);
    check(second, "c", Some(google("s", Some(third))), None);
    check(second, "c", Some(google("s", Some(second))), Some("s"));
}

#[test]
fn calls_in_the_older_form_are_put_into_the_newer() {
    let older = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\":1}"}},
        {"role": "function", "name": "f", "content": "1"},
    ]);
    for provider in ALL {
        let sent = written(provider, "m", &older.to_string(), &[]).unwrap().messages;
        let sent: Value = sent.parse().unwrap();
        let call = &sent[1]["tool_calls"][0];
        assert_eq!(call["function"], older[1]["function_call"], "{provider}");
        assert_eq!((&call["type"], &sent[2]["role"]), (&json!("function"), &json!("tool")));
        assert!(call["id"].as_str().is_some_and(|it| !it.is_empty()), "{provider}");
        assert_eq!(call["id"], sent[2]["tool_call_id"], "{provider}");
        assert_eq!(sent[1].get("function_call"), None, "{provider}");
    }
    // Where functions are offered in the older form, it stays.
    let by = Rewriting {
        rules: &quirks::of("openai").usual.messages,
        traits: ChatRequest::parse(&json!({"messages": older}).to_string().into()).unwrap().traits,
        refused: &[],
        thinks: true,
        renews: false,
        signatures: None,
    };
    let sent = rewrite(&older.to_string(), &by);
    assert!(sent.is_none_or(|it| it.messages.parse::<Value>().unwrap() == older));
}

#[test]
fn calls_without_arguments_have_an_empty_object() {
    let turn = |function: Value| {
        json!([{"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefgh1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "1"}])
    };
    let sent = turn(json!({"name": "f", "arguments": "{}"}));
    for function in [
        json!({"name": "f"}),
        json!({"name": "f", "arguments": ""}),
        json!({"name": "f", "arguments": null}),
        json!({"name": "f", "arguments": {}}),
    ] {
        check("groq", &turn(function.clone()), &sent);
        check("acme", &turn(function), &sent);
    }
}

#[test]
fn a_name_stays_with_what_its_bearer_alone_has_said() {
    let said = |name: Option<&str>, text: &str| match name {
        Some(name) => json!({"role": "user", "name": name, "content": text}),
        None => json!({"role": "user", "content": text}),
    };
    for (one, two, expected) in [
        (Some("Ann"), Some("Ann"), Some("Ann")),
        (Some("Ann"), Some("Bob"), None),
        (Some("Ann"), None, None),
        (None, Some("Bob"), None),
    ] {
        let messages = json!([said(one, "a"), said(two, "b")]);
        let sent = written("nvidia", "mistralai/m", &messages.to_string(), &[]).unwrap();
        assert_eq!(sent.messages.parse::<Value>().unwrap(), json!([said(expected, "a\n\nb")]));
        assert_eq!(sent.names_lost, expected.is_none(), "{one:?} {two:?}");
    }
}

#[test]
fn turns_are_merged_where_they_must_take_turns() {
    let systems = json!([
        {"role": "system", "content": "a"}, {"role": "user", "content": "b"},
        {"role": "developer", "content": [{"type": "text", "text": "c"}]}, {"role": "user", "content": "d"},
    ]);
    let first = json!([{"role": "system", "content": "a\n\nc"}, {"role": "user", "content": "b"}, {"role": "user", "content": "d"}]);
    check("nvidia", &systems, &first);
    check_of(
        "nvidia",
        "google/gemma-4-31b-it",
        &json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"},
            {"role": "assistant", "content": null, "tool_calls": [call("x")]}, {"role": "tool", "tool_call_id": "x", "content": "1"},
            {"role": "tool", "tool_call_id": "y", "content": "2"}]),
        &json!([{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c", "tool_calls": [call("x")]},
            {"role": "tool", "tool_call_id": "x", "content": "1"}, {"role": "tool", "tool_call_id": "y", "content": "2"}]),
    );
    check_of(
        "nvidia",
        "google/gemma-4-31b-it",
        &json!([{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]),
        &json!([{"role": "system", "content": "s"}, {"role": "user", "content": "(The conversation goes on.)"},
            {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]),
    );
    check_stays(
        "groq",
        &json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
    );
    check_stays(
        "groq",
        &json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]),
    );
}

#[test]
fn empty_turns_go_where_they_are_refused() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null}, {"role": "user", "content": "b"}]);
    check(
        "mistral",
        &messages,
        &json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
    );
    check_stays("openai", &messages);
}

#[test]
fn a_turn_to_go_on_with_is_marked() {
    let messages = |turn: Value| json!([{"role": "user", "content": "a"}, turn]);
    let turn = json!({"role": "assistant", "content": "b"});
    let marked = json!({"role": "assistant", "content": "b", "prefix": true});
    check("mistral", &messages(turn.clone()), &messages(marked.clone()));
    check("mistral", &messages(marked.clone()), &messages(marked));
    check_stays("groq", &messages(turn));
}

#[test]
fn an_assistant_speaks_between_a_result_and_the_user() {
    let system = json!({"role": "system", "content": "s"});
    let called = json!({"role": "assistant", "content": "", "tool_calls": [call("abcdefghi")]});
    let result = json!({"role": "tool", "tool_call_id": "abcdefghi", "content": "r"});
    let user = json!({"role": "user", "content": "u"});
    let bridge = json!({"role": "assistant", "content": "OK."});
    let asked = json!([system, called, result, user]);
    check("mistral", &asked, &json!([system, called, result, bridge, user]));
    check_stays("openai", &asked);
    check_stays("mistral", &json!([system, user, called, result]));
}

#[test]
fn calls_get_ids_and_openais_form() {
    let messages = |ids: [Value; 2], results: [Value; 2]| {
        let f = |id: &Value, name: &str| json!({"id": id, "function": {"name": name, "arguments": {"x": 1}}, "index": 0, "extra_content": {"google": {}}});
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [f(&ids[0], "f"), f(&ids[1], "g")]},
            {"role": "tool", "tool_call_id": results[0], "name": "g", "content": "1"},
            {"role": "tool", "tool_call_id": results[1], "content": "2"},
        ])
    };
    let sent = |ids, results| -> Value {
        written("acme", "m", &messages(ids, results).to_string(), &[])
            .unwrap()
            .messages
            .parse()
            .unwrap()
    };
    let named = [json!("a"), json!("b")];
    let whole = sent(named.clone(), [json!("b"), json!("a")]);
    let call = json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}, "index": 0, "type": "function"});
    assert_eq!(whole[1]["tool_calls"][0], call);
    for (ids, results) in [
        ([json!(null), json!("")], [json!(null), json!("")]),
        // The client has made up ids of its own.
        ([json!(null), json!(null)], [json!("mine-2"), json!("mine-1")]),
    ] {
        let sent = sent(ids, results);
        let id = |at: usize| sent[1]["tool_calls"][at]["id"].as_str().unwrap().to_owned();
        assert!(id(0).starts_with("call_") && id(0) != id(1), "{sent}");
        assert_eq!(
            (sent[2]["tool_call_id"].as_str(), sent[3]["tool_call_id"].as_str()),
            (Some(&*id(1)), Some(&*id(0)))
        );
    }
    // Whoever refuses what it does not know gets no more than there must be.
    let strict = written("groq", "m", &messages(named.clone(), named).to_string(), &[]).unwrap();
    assert!(!strict.messages.contains("index") && !strict.messages.contains("extra_content"));
}

#[test]
fn ids_fit_or_are_mapped() {
    let messages = |ids: [&str; 2]| {
        json!([
            {"role": "assistant", "content": "", "tool_calls": [call(ids[0]), call(ids[1])]},
            {"role": "tool", "tool_call_id": ids[1], "content": "1"},
            {"role": "tool", "tool_call_id": ids[0], "content": "2"},
        ])
    };
    let fit = messages(["ABCdef123", "000000000"]);
    check("mistral", &fit, &fit);
    let long = "x".repeat(41);
    check("openai", &messages(["x", "y"]), &messages(["x", "y"]));
    let sent = written("openai", "m", &messages([&long, "y"]).to_string(), &[]).unwrap();
    assert!(!sent.messages.contains(&long));
}

/// The ids of calls and of results, in order.
fn ids_in(messages: &Value) -> (Vec<String>, Vec<String>) {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for message in messages.as_array().unwrap() {
        calls.extend(
            message["tool_calls"].as_array().into_iter().flatten().map(|it| text(&it["id"])),
        );
        results.extend(message.get("tool_call_id").map(text));
    }
    (calls, results)
}

proptest! {
    #[test]
    fn mistrals_ids_are_nine_characters_and_tell_calls_apart(
        ids in prop::collection::hash_set("[A-Za-z0-9_.:-]{1,40}|[A-Za-z0-9]{9}", 1..12),
    ) {
        let ids: Vec<String> = ids.into_iter().collect();
        let turn = json!({"role": "assistant", "content": "", "tool_calls": ids.iter().map(|it| call(it)).collect::<Vec<_>>()});
        let mut messages = vec![turn];
        for id in ids.iter().rev() {
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "1"}));
        }
        let messages = Value::from(messages);
        let sent = || match written("mistral", "m", &messages.to_string(), &[]) {
            Some(it) => it.messages.parse().unwrap(),
            None => messages.clone(),
        };
        let (calls, mut results) = ids_in(&sent());
        prop_assert_eq!((&calls, &results), (&ids_in(&sent()).0, &ids_in(&sent()).1));
        results.reverse();
        prop_assert_eq!(&calls, &results);
        let mut mapped = HashMap::new();
        for (own, sent) in ids.iter().zip(&calls) {
            prop_assert!(sent.len() == 9 && sent.bytes().all(|it| it.is_ascii_alphanumeric()));
            prop_assert!(mapped.insert(sent.clone(), own).is_none(), "two calls have the id {}", sent);
            if own.len() == 9 && own.bytes().all(|it| it.is_ascii_alphanumeric()) {
                prop_assert_eq!(own, sent);
            }
        }
    }

    #[test]
    fn whatever_the_messages_the_rewriting_is_json(
        contents in prop::collection::vec(prop::option::of(".{0,12}"), 1..6),
        roles in prop::collection::vec(prop::sample::select(vec!["system", "developer", "user", "assistant", "tool"]), 6),
        provider in prop::sample::select(ALL.to_vec()),
    ) {
        let messages: Vec<Value> = contents.iter().zip(&roles)
            .map(|(content, role)| json!({"role": role, "content": content, "tool_calls": null}))
            .collect();
        if let Some(sent) = written(provider, "google/gemma-4", &Value::from(messages).to_string(), &[]) {
            let sent: Result<Vec<Value>, _> = serde_json::from_str(&sent.messages);
            prop_assert!(sent.is_ok());
        }
    }
}
