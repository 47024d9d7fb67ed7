//! What each provider is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serde_json::json;

use crate::clock::Clock;
use crate::clock::Now;
use crate::openai::ChatRequest;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::SentMark;
use crate::provider::Unmet;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::quirks;
use crate::provider::transport::Transport;

struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now { monotonic: Duration::ZERO, unix_ms: 0 }
    }
}

/// What goes out for `asked` beside the model, the one message and `left_out`.
fn check(provider: &str, asked: Value, left_out: &[&str], expected: Value, dropped: &[&str]) {
    check_of((provider, "m"), asked, left_out, expected, dropped);
}

/// The same for a model by its name; what is expected need not name the default bound of those that
/// have one.
fn check_of(
    (provider, model): (&str, &str),
    asked: Value,
    left_out: &[&str],
    expected: Value,
    dropped: &[&str],
) {
    let own = |object: &mut Value| {
        let object = object.as_object_mut().unwrap();
        object.entry("messages").or_insert(json!([{"role": "user", "content": "hi"}]));
        object.insert("model".to_owned(), json!(model));
    };
    let (mut asked, mut expected) = (asked, expected);
    own(&mut asked);
    own(&mut expected);
    let request = ChatRequest::parse(&Bytes::from(asked.to_string())).unwrap();
    let client = OpenAiCompatible::new(
        "http://localhost/v1",
        quirks::of(provider),
        Transport::default(),
        Arc::new(Still),
    );
    let leave_out = left_out.iter().map(|it| (*it).to_owned()).collect();
    let call = Call {
        model: model.into(),
        secret: None,
        request: Arc::new(request),
        edits: RequestEdits { leave_out, ..RequestEdits::default() },
        verbatim: false,
        sent: SentMark::default(),
    };
    let (body, unmet) = client.unwrap().body(&call);
    let mut body: Value = serde_json::from_slice(&body.joined()).unwrap();
    if ["cerebras", "cloudflare"].contains(&provider) && expected.get("max_tokens").is_none() {
        let bound = body.as_object_mut().unwrap().remove("max_tokens");
        let set = ["max_tokens", "max_completion_tokens"].iter().any(|it| asked.get(it).is_some());
        assert_eq!(bound, (!set).then(|| json!(4096)), "{provider} {asked}");
    }
    assert_eq!(body, expected, "{provider} {model} {asked}");
    let mut warned = unmet.dropped;
    warned.sort_unstable();
    let mut dropped = dropped.to_vec();
    dropped.sort_unstable();
    assert_eq!(warned, dropped, "{provider} {asked}");
}

#[test]
fn bounds_that_are_lowered_are_told() {
    let lowered = |provider: &str, asked: &str| {
        let request = ChatRequest::parse(&Bytes::from(asked.to_owned())).unwrap();
        let client = OpenAiCompatible::new(
            "http://localhost/v1",
            quirks::of(provider),
            Transport::default(),
            Arc::new(Still),
        );
        let call = Call {
            model: "m".into(),
            secret: None,
            request: Arc::new(request),
            edits: RequestEdits::default(),
            verbatim: false,
            sent: SentMark::default(),
        };
        client.unwrap().body(&call).1.lowered
    };
    let hot = r#"{"messages":[{"role":"user","content":"hi"}],"temperature":1.9}"#;
    assert_eq!(lowered("mistral", hot), ["temperature"]);
    assert_eq!(lowered("openai", hot), [""; 0]);
    assert_eq!(lowered("mistral", &hot.replace("1.9", "1.5")), [""; 0]);
}

#[test]
fn each_provider_is_told_in_its_own_words() {
    let bound = || json!({"max_completion_tokens": 5});
    let old_bound = || json!({"max_tokens": 5});
    check("openai", bound(), &[], bound(), &[]);
    for provider in ["deepseek", "nvidia", "together", "cohere", "zai", "mistral"] {
        check(provider, bound(), &[], old_bound(), &[]);
    }
    check("mistral", json!({"seed": 7}), &[], json!({"random_seed": 7}), &[]);
    check("groq", json!({"logprobs": true, "seed": 1}), &[], json!({"seed": 1}), &["logprobs"]);
    check("zai", json!({"user": "u"}), &[], json!({"user_id": "u"}), &[]);
    let effort = |it: &str| json!({"reasoning_effort": it});
    check("openai", effort("low"), &[], effort("low"), &[]);
    check("openrouter", effort("low"), &[], json!({"reasoning": {"effort": "low"}}), &[]);
    check("zai", effort("none"), &[], json!({"thinking": {"type": "disabled"}}), &[]);
    check("zai", effort("high"), &[], json!({"thinking": {"type": "enabled"}}), &[]);
    check("cohere", effort("high"), &[], json!({}), &["reasoning_effort"]);
    check(
        "openrouter",
        json!({"reasoning_effort": "low", "reasoning": {"max_tokens": 9}}),
        &[],
        json!({"reasoning": {"max_tokens": 9}}),
        &[],
    );
}

#[test]
fn formats_are_told_in_its_own_words() {
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"type": "object"}}}});
    check("openai", format.clone(), &[], format.clone(), &[]);
    check("nvidia", format, &[], json!({"guided_json": {"type": "object"}}), &[]);
    let object = json!({"response_format": {"type": "json_object"}});
    check("nvidia", object.clone(), &[], object, &[]);
    check("openai", json!({"response_format": {"type": "text"}}), &[], json!({}), &[]);
}

#[test]
fn what_was_refused_is_not_sent_under_either_name() {
    check("mistral", json!({"seed": 7}), &["random_seed"], json!({}), &[]);
    check("mistral", json!({"seed": 7}), &["seed"], json!({}), &[]);
    check("openai", json!({"stream": true}), &["stream_options"], json!({"stream": true}), &[]);
    check("openrouter", json!({"reasoning_effort": "low"}), &["reasoning"], json!({}), &[]);
}

#[test]
fn cloudflare_gets_strings_and_a_bound() {
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
    check("cloudflare", json!({"messages": parts}), &[], json!({"max_tokens": 4096}), &[]);
    check("cloudflare", json!({"max_tokens": 9}), &[], json!({"max_tokens": 9}), &[]);
    check(
        "cloudflare",
        json!({"max_completion_tokens": 9, "parallel_tool_calls": true}),
        &[],
        json!({"max_completion_tokens": 9}),
        &["parallel_tool_calls"],
    );
}

/// A tool, for requests that choose one.
fn tools(choice: &Value) -> Value {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    match choice {
        Value::Null => json!({"tools": [tool]}),
        choice => json!({"tools": [tool], "tool_choice": choice}),
    }
}

#[test]
fn a_body_that_needs_no_change_passes_byte_for_byte() {
    let body = br#"{"zeta":{"x" : 1.50e3, "y":"\u00e9"}, "messages":[{"role":"user","content":"hi","odd":[1, 2]}],"temperature":0.70,"big":12345678901234567890123,"model":"any"}"#;
    let sent = |stream: bool| {
        let start = if stream { &br#"{"stream":true,"#[..] } else { &b"{"[..] };
        let body = [start, &body[1..]].concat();
        let call = Call {
            model: "m".into(),
            secret: None,
            request: Arc::new(ChatRequest::parse(&Bytes::from(body)).unwrap()),
            edits: RequestEdits::default(),
            verbatim: false,
            sent: SentMark::default(),
        };
        let client = OpenAiCompatible::new(
            "http://localhost/v1",
            quirks::of("acme"),
            Transport::default(),
            Arc::new(Still),
        );
        let (body, unmet) = client.unwrap().body(&call);
        (body.joined(), unmet)
    };
    let kept = r#""zeta":{"x" : 1.50e3, "y":"\u00e9"},"messages":[{"role":"user","content":"hi","odd":[1, 2]}],"temperature":0.70,"big":12345678901234567890123,"model":"m""#;
    assert_eq!(sent(false), (format!("{{{kept}}}").into(), Unmet::default()));
    let streamed = format!(r#"{{"stream":true,{kept},"stream_options":{{"include_usage":true}}}}"#);
    assert_eq!(sent(true), (streamed.into(), Unmet::default()));
}

#[test]
fn what_is_refused_is_left_out_and_told() {
    let logs = json!({"logprobs": true, "top_logprobs": 2, "logit_bias": {"1": 1}});
    let names = ["logit_bias", "logprobs", "top_logprobs"];
    for provider in ["groq", "mistral", "cerebras", "cloudflare", "cohere", "sambanova", "ollama"] {
        check(provider, logs.clone(), &[], json!({}), &names);
    }
    for provider in ["openai", "openrouter", "together", "deepseek", "acme"] {
        check(provider, logs.clone(), &[], logs.clone(), &[]);
    }
    let rest = json!({"store": true, "metadata": {"a": "b"}, "service_tier": "auto", "prediction": {"type": "content"}});
    for provider in ["groq", "mistral"] {
        check(
            provider,
            rest.clone(),
            &[],
            json!({}),
            &["metadata", "prediction", "service_tier", "store"],
        );
    }
    let kept = json!({"prediction": {"type": "content"}});
    check("cerebras", rest.clone(), &[], kept, &["metadata", "service_tier", "store"]);
    check("openai", rest.clone(), &[], rest, &[]);
    let penalties = json!({"frequency_penalty": 0.5, "presence_penalty": 0.5});
    check(
        "cerebras",
        penalties.clone(),
        &[],
        json!({}),
        &["frequency_penalty", "presence_penalty"],
    );
    check("groq", penalties.clone(), &[], penalties, &[]);
    check(
        "mistral",
        json!({"user": "u", "top_k": 3, "odd": 1}),
        &[],
        json!({}),
        &["unknown_fields", "top_k", "user"],
    );
    check("acme", json!({"user": "u", "odd": 1}), &[], json!({"user": "u", "odd": 1}), &[]);
}

#[test]
fn what_asks_for_the_default_is_left_out_in_silence() {
    let defaults = json!({
        "logprobs": false, "logit_bias": null, "user": "", "store": false, "metadata": {}, "frequency_penalty": 0,
        "presence_penalty": 0.0, "n": 1, "response_format": {"type": "text"}, "stream_options": null, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": true,
    });
    check("cerebras", defaults.clone(), &[], json!({"user": ""}), &[]);
    check(
        "mistral",
        defaults,
        &[],
        json!({"frequency_penalty": 0, "presence_penalty": 0.0, "n": 1}),
        &[],
    );
    check("openai", json!({"tools": null, "tool_choice": "none"}), &[], json!({}), &[]);
}

#[test]
fn tools_are_chosen_in_its_own_words() {
    let chosen = |provider: &str, choice: Value, expected: &Value| {
        check(provider, tools(&choice), &[], tools(expected), &[]);
    };
    chosen("MISTRAL", json!("required"), &json!("any"));
    chosen("mistral", json!("none"), &json!("none"));
    chosen("cohere", json!("required"), &json!("REQUIRED"));
    chosen("cohere", json!("none"), &json!("NONE"));
    chosen("cohere", json!("auto"), &Value::Null);
    chosen("zai", json!("auto"), &json!("auto"));
    for provider in ["zai", "ollama"] {
        check(provider, tools(&json!("none")), &[], json!({}), &[]);
    }
    let mut single = tools(&Value::Null);
    single["parallel_tool_calls"] = json!(false);
    let llama = ("nvidia", "meta/llama-3.3-70b-instruct");
    check_of(llama, tools(&Value::Null), &[], single.clone(), &[]);
    let mut many = single.clone();
    many["parallel_tool_calls"] = json!(true);
    check_of(llama, many, &[], single, &["parallel_tool_calls"]);
    check_of(("nvidia", "openai/gpt-oss-120b"), tools(&Value::Null), &[], tools(&Value::Null), &[]);
    let strict = |it: Value| json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": it}}]});
    let schema = strict(json!({"type": "object", "additionalProperties": false, "$schema": "x"}));
    check("cohere", schema.clone(), &[], strict(json!({"type": "object"})), &[]);
    check("groq", schema.clone(), &[], schema, &[]);
}

#[test]
fn models_of_one_provider_differ() {
    let effort = |it: &str| json!({"reasoning_effort": it});
    let dropped = &["reasoning_effort"][..];
    for (at, asked, expected) in [
        (("groq", "openai/gpt-oss-120b"), "xhigh", Some("high")),
        (("groq", "openai/gpt-oss-120b"), "none", Some("low")),
        (("groq", "qwen/qwen3.6-27b"), "none", Some("none")),
        (("groq", "qwen/qwen3.6-27b"), "medium", Some("default")),
        (("groq", "llama-3.3-70b-versatile"), "low", None),
        (("mistral", "mistral-small-latest"), "medium", Some("high")),
        (("mistral", "mistral-small-2603"), "low", Some("none")),
        (("mistral", "mistral-large-latest"), "low", None),
        (("cerebras", "gpt-oss-120b"), "minimal", Some("low")),
        (("cerebras", "zai-glm-4.7"), "high", None),
        (("sambanova", "gpt-oss-120b"), "max", Some("high")),
        (("deepseek", "deepseek-v4-pro"), "high", Some("high")),
        (("deepseek", "deepseek-chat"), "high", None),
        (("openai", "gpt-5-mini"), "minimal", Some("minimal")),
        (("openai", "gpt-4o"), "low", None),
    ] {
        let gone = if expected.is_none() { dropped } else { &[] };
        let expected = expected.map_or_else(|| json!({}), effort);
        check_of(at, effort(asked), &[], expected, gone);
    }
    check("deepseek", effort("none"), &[], json!({"thinking": {"type": "disabled"}}), &[]);
    let template = |it: Value| json!({"chat_template_kwargs": it});
    let at = ("nvidia", "nvidia/nemotron-3-nano-30b-a3b");
    check_of(at, effort("none"), &[], template(json!({"enable_thinking": false})), &[]);
    let at = ("nvidia", "deepseek-ai/deepseek-v4-flash");
    check_of(at, effort("low"), &[], template(json!({"thinking": true})), &[]);
    let schema = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}});
    check_of(at, schema.clone(), &[], schema, &[]);
}

#[test]
fn values_stay_within_its_bounds() {
    check("zai", json!({"temperature": 1.7}), &[], json!({"temperature": 1}), &[]);
    check("mistral", json!({"temperature": 1.7}), &[], json!({"temperature": 1.5}), &[]);
    check("mistral", json!({"temperature": 0.7}), &[], json!({"temperature": 0.7}), &[]);
    check("zai", json!({"max_tokens": 65536}), &[], json!({"max_tokens": 32768}), &[]);
    let newer = json!({"max_completion_tokens": 65536});
    check("zai", newer.clone(), &[], json!({"max_tokens": 32768}), &[]);
    check("acme", newer.clone(), &[], newer.clone(), &[]);
    check_of(("openai", "gpt-4o-mini"), newer, &[], json!({"max_completion_tokens": 16384}), &[]);
    check("zai", json!({"stop": ["a"]}), &[], json!({"stop": "a"}), &[]);
    check("zai", json!({"stop": ["a", "b"]}), &[], json!({"stop": "a"}), &["stop"]);
    check("zai", json!({"stop": []}), &[], json!({}), &[]);
    check("openai", json!({"stop": ["a", "b"]}), &[], json!({"stop": ["a", "b"]}), &[]);
    let five = json!({"stop": ["a", "b", "c", "d", "e"]});
    check("openai", five, &[], json!({"stop": ["a", "b", "c", "d"]}), &["stop"]);
    check("cerebras", json!({"max_tokens": 9}), &[], json!({"max_tokens": 9}), &[]);
    check("cerebras", json!({}), &[], json!({"max_tokens": 4096}), &[]);
}

#[test]
fn geminis_models_think_little_unless_they_are_told() {
    let check = |model: &str, asked: Value, expected: Option<&str>| {
        let mut sent = asked.clone();
        if let Some(effort) = expected {
            sent["reasoning_effort"] = effort.into();
        }
        check_of(("gemini", model), asked, &[], sent, &[]);
    };
    check("gemini-2.5-flash", json!({}), Some("none"));
    check("gemini-2.5-flash-image", json!({}), None);
    check("gemini-2.5-pro", json!({}), Some("low"));
    check("gemini-2.5-pro", json!({"reasoning_effort": "none"}), Some("low"));
    check("gemini-2.5-pro", json!({"reasoning_effort": "high"}), Some("high"));
    check("gemini-2.5-flash", json!({"reasoning_effort": "high"}), Some("high"));
    check("gemini-2.0-flash", json!({}), None);
    check("gemini-2.5-flash", json!({"extra_body": {"google": {}}}), None);
    let refused = &["reasoning_effort"];
    check_of(("gemini", "gemini-2.5-flash"), json!({}), refused, json!({}), &[]);
}

#[test]
fn ai_hordes_workers_get_what_they_take() {
    let asked = json!({"max_tokens": 1, "stop": "x", "seed": 1, "top_p": 0.5});
    let sent = json!({"max_tokens": 16, "stop": ["x"], "top_p": 0.5});
    check("aihorde", asked, &[], sent, &["max_tokens", "seed"]);
    let asked = json!({"max_completion_tokens": 20, "stop": ["x", "y"]});
    check("aihorde", asked, &[], json!({"max_tokens": 20, "stop": ["x", "y"]}), &[]);
}

#[test]
fn openais_models_that_think_want_the_newer_bound_and_no_temperature() {
    for model in ["o3-mini", "gpt-5.1", "gpt-5-nano"] {
        let asked = json!({"max_tokens": 7, "temperature": 0.2, "top_p": 1, "seed": 1});
        let sent = json!({"max_completion_tokens": 7, "seed": 1});
        check_of(("openai", model), asked, &[], sent, &["temperature"]);
    }
    let asked = json!({"max_tokens": 7, "temperature": 0.2});
    check_of(("openai", "gpt-5-chat-latest"), asked.clone(), &[], asked, &[]);
}

#[test]
fn a_bound_refused_under_one_name_goes_by_the_other() {
    let (old, new) = (json!({"max_tokens": 7}), json!({"max_completion_tokens": 7}));
    check("acme", old.clone(), &["max_tokens"], new.clone(), &[]);
    check("acme", new.clone(), &["max_completion_tokens"], old, &[]);
    check("acme", new, &["max_completion_tokens", "max_tokens"], json!({}), &[]);
}

#[test]
fn of_two_bounds_the_newer_goes_out_where_one_alone_is_taken() {
    let both = json!({"max_tokens": 7, "max_completion_tokens": 9});
    check("mistral", both.clone(), &[], json!({"max_tokens": 9}), &[]);
    check("acme", both.clone(), &["max_completion_tokens"], json!({"max_tokens": 9}), &[]);
    check("acme", both.clone(), &["max_tokens"], json!({"max_completion_tokens": 9}), &[]);
    let newer = json!({"max_completion_tokens": 9});
    check_of(("openai", "o3"), both.clone(), &[], newer, &[]);
    check("acme", both.clone(), &[], both, &[]);
}

#[test]
fn top_logprobs_go_with_logprobs() {
    let asked = json!({"logprobs": true, "top_logprobs": 2});
    check("acme", asked, &["logprobs"], json!({}), &["top_logprobs"]);
}

#[test]
fn an_empty_word_may_say_something() {
    let search = json!({"web_search_options": {}, "logit_bias": {}});
    check("groq", search, &[], json!({}), &["web_search_options"]);
}

#[test]
fn names_of_people_are_told_when_they_go() {
    let messages = json!([{"role": "user", "name": "Ann", "content": "hi"}]);
    let bare = json!([{"role": "user", "content": "hi"}]);
    let asked = json!({"messages": messages});
    check("groq", asked.clone(), &[], json!({"messages": bare}), &["messages.name"]);
    check("acme", asked.clone(), &[], asked.clone(), &[]);
    check("acme", asked, &["name"], json!({"messages": bare}), &["messages.name"]);
}
