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
    let own = |object: &mut Value| {
        let object = object.as_object_mut().unwrap();
        object.entry("messages").or_insert(json!([{"role": "user", "content": "hi"}]));
        object.insert("model".to_owned(), json!("m"));
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
        model: "m".into(),
        secret: None,
        request: Arc::new(request),
        edits: RequestEdits { set: Vec::new(), leave_out },
        sent: SentMark::default(),
    };
    let (body, warned) = client.unwrap().body(&call);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, expected, "{provider} {asked}");
    assert_eq!(warned, dropped, "{provider} {asked}");
}

#[test]
fn each_provider_is_told_in_its_own_words() {
    let bound = || json!({"max_completion_tokens": 5});
    let old_bound = || json!({"max_tokens": 5});
    check("openai", bound(), &[], bound(), &[]);
    for provider in ["deepseek", "nvidia", "together", "cohere", "zai", "mistral"] {
        check(provider, bound(), &[], old_bound(), &[]);
    }
    check("MISTRAL", json!({"tool_choice": "required"}), &[], json!({"tool_choice": "any"}), &[]);
    check("mistral", json!({"tool_choice": "none"}), &[], json!({"tool_choice": "none"}), &[]);
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
