//! Requests as they go out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Now;
use crate::provider::Call;
use crate::provider::example::call;
use crate::provider::example::shelf;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::gemini::model::bare;
use crate::provider::gemini::request::translate;
use crate::provider::thoughts::Shelf;
use crate::provider::thoughts::Thoughts;

fn sent(call: &Call) -> Result<(Value, Vec<&'static str>), Fault> {
    let shelf = shelf(bare(&call.model));
    let (body, unmet) = translate(call, &shelf, Now::default())?;
    Ok((serde_json::from_slice(&body).unwrap(), unmet.dropped))
}

/// What becomes of a conversation with a model that adds nothing of its own.
fn check(messages: &Value, expected: &Value) {
    let (body, dropped) =
        sent(&call("gemini-2.0-flash", &json!({ "messages": messages }))).unwrap();
    assert_eq!(&body, expected, "{messages}");
    assert_eq!(dropped, [""; 0]);
}

fn user(text: &str) -> Value {
    json!({"role": "user", "parts": [{"text": text}]})
}

#[test]
fn turns() {
    check(&json!([{"role": "user", "content": "Hi"}]), &json!({"contents": [user("Hi")]}));
    check(
        &json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": ""}]},
            {"role": "assistant", "content": "c", "tool_calls": null},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": null, "refusal": "No."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "d", "name": "Ann"},
        ]),
        &json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
                {"role": "model", "parts": [{"text": "c"}, {"text": "No."}]},
                user("d"),
            ],
        }),
    );
    check(
        &json!([{"role": "system", "content": "Tell a joke."}]),
        &json!({"contents": [user("Tell a joke.")]}),
    );
    check(
        &json!([{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}]),
        &json!({"contents": [
            user("(The conversation goes on.)"),
            {"role": "model", "parts": [{"text": "Hi"}]},
            user("x"),
        ]}),
    );
}

#[test]
fn gemma_has_no_place_for_instructions() {
    let body = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]});
    let (body, _) = sent(&call("models/gemma-3-27b-it", &body)).unwrap();
    let parts = json!([{"text": "Be brief."}, {"text": "Hi"}]);
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": parts}]}));
}

#[test]
fn what_is_shown() {
    let shown = |part: Value| json!([{"role": "user", "content": [part]}]);
    let inline = |kind: &str, data: &str| {
        let part = json!({"inlineData": {"mimeType": kind, "data": data}});
        json!({"contents": [{"role": "user", "parts": [part]}]})
    };
    let image = |url: &str| shown(json!({"type": "image_url", "image_url": {"url": url}}));
    check(&image("data:image/png;base64,AAAA"), &inline("image/png", "AAAA"));
    check(&image("DATA:image/jpeg;charset=x;base64,//9="), &inline("image/jpeg", "//9="));
    check(
        &shown(json!({"type": "image_url", "image_url": "data:image/png;base64,AAAA"})),
        &inline("image/png", "AAAA"),
    );
    check(
        &shown(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        &inline("audio/wav", "AAAA"),
    );
    check(
        &shown(
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}),
        ),
        &inline("application/pdf", "AAAA"),
    );
    // As PHP writes JSON.
    let escaped = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,A\/A="}}]}]}"#;
    let escaped: Value = serde_json::from_str(escaped).unwrap();
    check(&escaped["messages"], &inline("image/png", "A/A="));
}

fn check_refused(body: &Value, kind: &FaultKind, part: &str) {
    let fault = sent(&call("gemini-2.5-flash", body)).expect_err("a refusal");
    assert_eq!(&fault.kind, kind, "{body}: {fault:?}");
    assert!(fault.message.contains(part), "{body}: {fault:?}");
}

#[test]
fn what_cannot_be_asked_here_is_refused_before_anything_is_sent() {
    let image = |url: &str| {
        json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": url}}]}]})
    };
    let elsewhere = FaultKind::NotHere;
    check_refused(
        &image("https://example.com/a.png"),
        &elsewhere,
        "fetches no URLs: send the image",
    );
    check_refused(&image("data:image/png,rawbytes"), &elsewhere, "base64");
    check_refused(&image("data:image/png;base64,"), &elsewhere, "holds nothing");
    check_refused(&image("data:"), &elsewhere, "base64");
    let with = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    check_refused(&with(json!({"n": 9})), &elsewhere, "8 answers");
    let json_mode = json!({"type": "json_object"});
    let both = json!({"tools": [{"function": {"name": "f"}}], "response_format": json_mode});
    let unknown = FaultKind::FieldUnknown(vec!["response_format".to_owned()]);
    check_refused(&with(both), &unknown, "beside tools");
    check_refused(
        &with(json!({"reasoning_effort": "lots"})),
        &FaultKind::BadRequest,
        "must be one of",
    );
    check_refused(&with(json!({"functions": [{"name": "f"}]})), &elsewhere, "older form");
    check_refused(&with(json!({"tools": [{"type": "web_search"}]})), &elsewhere, "functions alone");
    let custom = json!({"tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "allowed_tools"}});
    check_refused(&with(custom), &elsewhere, "tool_choice");
    check_refused(&with(json!({"tools": [3]})), &FaultKind::BadRequest, "tools can't be read");
    let video = json!({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]});
    check_refused(&video, &elsewhere, "video_url");
}

/// One call and its result, as the parts they become.
fn check_call(model: &str, made: &Value, result: &Value, expected: (&Value, &Value)) {
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": made["id"], "content": result},
    ]});
    let (body, _) = sent(&call(model, &body)).unwrap();
    let parts = (&body["contents"][1]["parts"], &body["contents"][2]["parts"]);
    assert_eq!(parts, (&json!([expected.0]), &json!([expected.1])), "{made} {result}");
}

#[test]
fn calls_and_results() {
    let result = json!({"functionResponse": {"name": "f", "response": {"result": "21"}}});
    let args = |written: &Value, args: &Value| {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": written}});
        let part = json!({"functionCall": {"name": "f", "args": args}});
        check_call("gemini-2.0-flash", &call, &json!("21"), (&part, &result));
    };
    args(&json!("{\"a\":1}"), &json!({"a": 1}));
    args(&json!("\"{\\\"a\\\":1}\""), &json!({"a": 1}));
    args(&json!({"a": 1}), &json!({"a": 1}));
    args(&json!(""), &json!({}));
    args(&Value::Null, &json!({}));
    args(&json!("{\"a\":"), &json!({"arguments": "{\"a\":"}));

    let call = json!({"id": "c1", "function": {"name": "f", "arguments": "{}"}});
    let part = json!({"functionCall": {"name": "f", "args": {}}});
    let response = |content: &Value, response: &Value| {
        let result = json!({"functionResponse": {"name": "f", "response": response}});
        check_call("gemini-2.0-flash", &call, content, (&part, &result));
    };
    response(&json!("{\"t\":21}"), &json!({"t": 21}));
    response(&json!("[21]"), &json!({"result": "[21]"}));
    response(&json!(""), &json!({"result": ""}));
    response(
        &json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        &json!({"result": "a\nb"}),
    );
}

#[test]
fn results_stand_in_the_order_of_their_calls() {
    let call =
        |id: Value, name: &str| json!({"id": id, "function": {"name": name, "arguments": "{}"}});
    let called = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let answered = |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"result": text}}});
    let expected = |first: &str, second: &str| {
        json!({"contents": [
            user("x"),
            {"role": "model", "parts": [{"text": "Let me see."}, called("f"), called("g")]},
            {"role": "user", "parts": [answered("f", first), answered("g", second), {"text": "Go on."}]},
        ]})
    };
    check(
        &json!([
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call(json!("c1"), "f"), call(json!("c2"), "g")]},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "user", "content": "Go on."},
        ]),
        &expected("1", "2"),
    );
    // Ids that a client has lost.
    check(
        &json!([
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call(Value::Null, "f"), call(Value::Null, "g")]},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "user", "content": "Go on."},
        ]),
        &expected("1", "2"),
    );
    // A call that nobody answered, and a result that nobody asked for.
    let unanswered = json!({"functionResponse": {"name": "f", "response": {
        "error": "(This call was not carried out.)"}}});
    check(
        &json!([
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call(json!("c1"), "f")]},
            {"role": "user", "content": "Never mind."},
            {"role": "tool", "tool_call_id": "c9", "content": "9"},
        ]),
        &json!({"contents": [
            user("x"),
            {"role": "model", "parts": [called("f")]},
            {"role": "user", "parts": [unanswered, {"text": "Never mind."}, {"text": "9"}]},
        ]}),
    );
    // OpenAI's older form.
    check(
        &json!([
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
        ]),
        &json!({"contents": [
            user("x"),
            {"role": "model", "parts": [called("f")]},
            {"role": "user", "parts": [answered("f", "1")]},
        ]}),
    );
}

/// The signature that a call's part is sent with, where `shelf` has kept some.
fn signature_of(shelf: &Shelf, seconds: u64, made: &Value) -> Value {
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": made["id"], "content": "21"},
    ]});
    let now = Now::default().plus(Duration::from_secs(seconds));
    let (body, _) = translate(&call(shelf.model(), &body), shelf, now).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["contents"][1]["parts"][0]["thoughtSignature"].clone()
}

const SKIP: &str = "skip_thought_signature_validator";

#[test]
fn signatures_are_replayed_or_stood_in_for() {
    let (third, second) = ("gemini-3.6-flash", "gemini-2.5-flash");
    let thoughts = Thoughts::new();
    let shelf = |model: &str| thoughts.shelf(Some(&"k1".to_owned().into()), model);
    shelf(third).keep("c1", "c2ln", Now::default());
    let made = |id: &str, extra: Value| json!({"id": id, "function": {"name": "f", "arguments": "{}"}, "extra_content": extra});
    let kept = |signature: &str, model: &str| json!({"google": {"thought_signature": signature, "model": model}});
    let check = |model: &str, made: &Value, expected: Value| {
        assert_eq!(signature_of(&shelf(model), 1, made), expected, "{model} {made}");
    };
    // Kept here, for this model and key alone.
    let lost = made("c1", Value::Null);
    check(third, &lost, json!("c2ln"));
    check("gemini-3-flash-preview", &lost, json!(SKIP));
    check(second, &lost, Value::Null);
    assert_eq!(signature_of(&thoughts.shelf(None, third), 1, &lost), SKIP);
    check(third, &made("c2", Value::Null), json!(SKIP));
    check("gemini-flash-latest", &made("c2", Value::Null), json!(SKIP));
    // Kept by the client.
    check(third, &made("c2", kept("b3du", third)), json!("b3du"));
    check(second, &made("c2", kept("b3du", second)), json!("b3du"));
    check(third, &made("c2", kept("b3du", second)), json!(SKIP));
    check(second, &made("c2", kept("b3du", third)), Value::Null);
    check(third, &made("c2", json!({"google": {"thought_signature": "b3du"}})), json!(SKIP));
    check(third, &made("c1", json!({"google": {"thought_signature": "b3du"}})), json!("c2ln"));
    assert_eq!(signature_of(&shelf(third), 4_000, &lost), SKIP);

    // Of calls made together only the first is signed; text keeps its own.
    let made = json!({"function": {"name": "f", "arguments": "{}"}});
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "Hm.", "tool_calls": [made, made],
         "extra_content": kept("dGV4dA==", third)},
    ]});
    let (body, _) = sent(&call(third, &body)).unwrap();
    let signed = |part: usize| body["contents"][1]["parts"][part].get("thoughtSignature").cloned();
    let expected = [Some("dGV4dA=="), Some(SKIP), None];
    assert_eq!([signed(0), signed(1), signed(2)], expected.map(|it| it.map(Value::from)));
    assert_eq!(body["contents"][2]["parts"].as_array().map(Vec::len), Some(2));
}

/// What becomes of members beside the messages.
fn check_members(model: &str, members: &Value, expected: &Value, dropped: &[&str]) {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let (mut body, left) = sent(&call(model, &body)).unwrap();
    body.as_object_mut().unwrap().remove("contents");
    assert_eq!((&body, &left[..]), (expected, dropped), "{model} {members}");
}

#[test]
fn numbers_and_names() {
    let config = |members: Value, expected: Value, dropped: &[&str]| {
        let expected = json!({ "generationConfig": expected });
        check_members("gemini-2.0-flash", &members, &expected, dropped);
    };
    config(
        json!({"temperature": 0.7, "top_p": 0.9, "top_k": 40, "max_tokens": 5, "seed": 7, "n": 3,
               "presence_penalty": 0.1, "frequency_penalty": -0.1, "stop": "END"}),
        json!({"temperature": 0.7, "topP": 0.9, "topK": 40, "maxOutputTokens": 5, "seed": 7,
               "candidateCount": 3, "presencePenalty": 0.1, "frequencyPenalty": -0.1,
               "stopSequences": ["END"]}),
        &[],
    );
    config(
        json!({"max_completion_tokens": 100_000, "max_tokens": 5}),
        json!({"maxOutputTokens": 65_536}),
        &[],
    );
    config(
        json!({"stop": ["1", "", "2", "3", "4", "5", "6"], "seed": 99_999_999_999_u64}),
        json!({"stopSequences": ["1", "2", "3", "4", "5"]}),
        &["seed", "stop"],
    );
    let nothing = |model: &str, members: Value, dropped: &[&str]| {
        check_members(model, &members, &json!({}), dropped);
    };
    let flash = "gemini-2.0-flash";
    nothing(flash, json!({"temperature": null, "stop": [], "n": 1, "stream": false}), &[]);
    nothing(flash, json!({"store": true, "metadata": {}, "service_tier": "auto"}), &[]);
    nothing(
        flash,
        json!({"user": "u", "logit_bias": {}, "logprobs": true, "top_logprobs": 2, "min_p": 0.1}),
        &["logit_bias", "logprobs", "min_p", "top_logprobs", "user"],
    );
    nothing(flash, json!({"whatever": 1, "extra_body": {}}), &["unknown_fields"]);
    nothing(flash, json!({"reasoning_effort": "high"}), &["reasoning_effort"]);
    nothing(flash, json!({"reasoning_effort": "none", "response_format": {"type": "text"}}), &[]);
}

#[test]
fn thinking_is_short_unless_it_is_asked_for() {
    let check = |model: &str, effort: &str, thinking: Value| {
        let members =
            if effort.is_empty() { json!({}) } else { json!({"reasoning_effort": effort}) };
        let expected = json!({"generationConfig": {"thinkingConfig": thinking}});
        check_members(model, &members, &expected, &[]);
    };
    let budget = |tokens: u32| json!({"thinkingBudget": tokens});
    let shown_budget = |tokens: u32| json!({"thinkingBudget": tokens, "includeThoughts": true});
    let level = |word: &str| json!({"thinkingLevel": word});
    let shown_level = |word: &str| json!({"thinkingLevel": word, "includeThoughts": true});
    check("gemini-2.5-flash", "", budget(0));
    check("models/gemini-2.5-flash-lite", "none", budget(0));
    check("gemini-2.5-flash", "low", shown_budget(1_024));
    check("gemini-2.5-flash", "xhigh", shown_budget(24_576));
    check("gemini-2.5-pro", "", budget(128));
    check("gemini-2.5-pro", "none", budget(128));
    check("gemini-2.5-pro", "medium", shown_budget(8_192));
    check("gemini-3.6-flash", "", level("low"));
    check("gemini-3.6-flash", "none", level("minimal"));
    check("gemini-3.6-flash", "medium", shown_level("medium"));
    check("gemini-3-pro-preview", "medium", shown_level("high"));
    check("gemini-3.1-pro", "minimal", shown_level("low"));
    check("gemini-3.1-pro", "max", shown_level("high"));
}

#[test]
fn tools_and_how_they_are_chosen() {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "Does.", "strict": true,
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}}});
    let bare = json!({"type": "function", "function": {"name": "g", "description": "", "parameters": {"type": "object", "properties": {}}}});
    let declared = json!([{"functionDeclarations": [
        {"name": "f", "description": "Does.",
         "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        {"name": "g"},
    ]}]);
    let check = |choice: Value, calling: Option<Value>| {
        let members = json!({"tools": [tool, bare], "tool_choice": choice});
        let mut expected = json!({ "tools": declared });
        if let Some(calling) = calling {
            expected["toolConfig"] = json!({ "functionCallingConfig": calling });
        }
        check_members("gemini-2.0-flash", &members, &expected, &[]);
    };
    check(Value::Null, None);
    check(json!("auto"), Some(json!({"mode": "AUTO"})));
    check(json!("none"), Some(json!({"mode": "NONE"})));
    check(json!("required"), Some(json!({"mode": "ANY"})));
    check(
        json!({"type": "function", "function": {"name": "f"}}),
        Some(json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
    );
    let flash = "gemini-2.0-flash";
    check_members(flash, &json!({"tools": [], "tool_choice": "auto"}), &json!({}), &[]);
    check_members(
        flash,
        &json!({"tools": [bare], "parallel_tool_calls": false}),
        &json!({"tools": [{"functionDeclarations": [{"name": "g"}]}]}),
        &["parallel_tool_calls"],
    );
}

#[test]
fn answers_in_json() {
    let flash = "gemini-2.0-flash";
    let json_mime = json!({"responseMimeType": "application/json"});
    check_members(
        flash,
        &json!({"response_format": {"type": "json_object"}}),
        &json!({ "generationConfig": json_mime }),
        &[],
    );
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true,
        "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}});
    let schema =
        json!({"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]});
    check_members(
        flash,
        &json!({ "response_format": format }),
        &json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}}),
        &[],
    );
    let tools = json!([{"type": "function", "function": {"name": "g"}}]);
    check_members(
        "gemini-3.6-flash",
        &json!({"tools": tools, "response_format": {"type": "json_object"}}),
        &json!({
            "tools": [{"functionDeclarations": [{"name": "g"}]}],
            "generationConfig": {"responseMimeType": "application/json", "thinkingConfig": {"thinkingLevel": "low"}},
        }),
        &[],
    );
}

#[test]
fn edits_are_made() {
    let body = json!({"messages": [{"role": "user", "content": "long ago"}], "seed": 7, "user": "u",
        "reasoning_effort": "low"});
    let mut call = call("gemini-2.5-flash", &body);
    call.edits
        .set
        .push(("messages", json!([{"role": "user", "content": "now"}]).to_string().into()));
    call.edits.set.push(("max_tokens", "9".into()));
    call.edits.leave_out = ["seed", "user", "reasoning_effort"].map(str::to_owned).to_vec();
    let (body, dropped) = sent(&call).unwrap();
    let expected = json!({"contents": [user("now")], "generationConfig": {"maxOutputTokens": 9}});
    assert_eq!((body, dropped), (expected, vec![]));
}

#[test]
fn penalties_go_where_they_are_taken() {
    let thinking = json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}});
    check_members(
        "gemini-3.6-flash",
        &json!({"presence_penalty": 0.1, "frequency_penalty": 0.2}),
        &thinking,
        &["presence_penalty", "frequency_penalty"],
    );
}
