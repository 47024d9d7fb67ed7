//! A 400 or 422 in whatever words it comes: what can be left out is, what only one provider says moves
//! on, and what is the caller's goes back.

use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

fn refusal(status: u16, body: impl Into<String>) -> Fault {
    Fault::RawResponse { status, headers: Vec::new(), body: body.into().into() }
}

fn error(message: &str) -> Fault {
    refusal(400, json!({"error": {"message": message, "type": "x"}}).to_string())
}

/// One provider nobody knows, which refuses the first request like this.
async fn stranger(first: Fault) -> Gateway {
    let gateway = Gateway::with([Upstream::plain("Stranger")]).start().await;
    gateway.upstream("stranger").script(None, vec![first]);
    gateway
}

fn sent(gateway: &Gateway, provider: &str) -> Vec<Value> {
    let records = gateway.upstream(provider).records();
    records.iter().map(|it| serde_json::from_slice(&it.body).expect("JSON")).collect()
}

#[tokio::test]
async fn all_that_is_named_is_left_out_at_once_and_remembered() {
    for fault in [
        error("Unrecognized request arguments supplied: seed, user"),
        error("Additional properties are not allowed ('seed', 'user' were unexpected)"),
        refusal(
            422,
            json!({"message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}, {'type': 'extra_forbidden', 'loc': ('body', 'user'), 'msg': 'Extra inputs are not permitted'}]"}).to_string(),
        ),
        refusal(
            422,
            r#"{"detail":[{"loc":["body","seed"],"msg":"extra fields not permitted","type":"value_error.extra"},{"loc":["body","user"],"msg":"extra fields not permitted","type":"value_error.extra"}]}"#,
        ),
    ] {
        let gateway = stranger(fault.clone()).await;
        let body = with(ask("m"), json!({"seed": 7, "user": "u", "top_p": 0.5}));
        for calls in [2, 3] {
            let answer = gateway.chat(&body).await.expect(200);
            assert_eq!(gateway.reached("stranger"), calls, "{fault:?}");
            assert_eq!(answer.header("x-relay-warning"), "dropped=seed,user");
        }
        for it in &sent(&gateway, "stranger")[1..] {
            assert!(it.get("seed").is_none() && it.get("user").is_none() && it["top_p"] == 0.5);
        }
    }
}

#[tokio::test]
async fn a_code_or_a_null_member_is_enough() {
    let coded = json!({"error": {"message": "Not with this model.", "code": "unsupported_parameter", "param": "seed"}});
    for (fault, seed, warning) in [
        (refusal(400, coded.to_string()), json!(7), "dropped=seed"),
        (error("`seed` is not supported with this model"), json!(7), "dropped=seed"),
        (error("Unknown field: seed"), Value::Null, ""),
    ] {
        let gateway = stranger(fault).await;
        for calls in [2, 3] {
            let answer = gateway.chat(&with(ask("m"), json!({ "seed": seed }))).await.expect(200);
            assert_eq!(gateway.reached("stranger"), calls);
            let told = answer.headers.get("x-relay-warning");
            assert_eq!(told.map_or("", |it| it.to_str().expect("text")), warning);
        }
    }
}

#[tokio::test]
async fn a_member_of_a_message_is_found_by_its_place() {
    for value in [json!({"a": 1}), Value::Null] {
        let fault = json!({"error": {"message": "Unknown parameter: 'messages[1].odd'.", "code": "unknown_parameter", "param": "messages[1].odd"}});
        let gateway = stranger(refusal(400, fault.to_string())).await;
        let body = json!({"model": "m", "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "ho", "odd": value},
            {"role": "user", "content": "and?"},
        ]});
        gateway.chat(&body).await.expect(200);
        let sent = sent(&gateway, "stranger");
        let has = |at: usize| sent[at]["messages"].to_string().contains("\"odd\"");
        assert!(sent.len() == 2 && has(0) && !has(1), "{sent:?}");
    }
}

#[tokio::test]
async fn what_only_one_provider_says_moves_on() {
    let relayed = |raw: &str| {
        json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "X"}}}).to_string()
    };
    for (status, body) in [
        (400, relayed("no such thing")),
        (400, relayed(r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#)),
        (422, r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000","error_type":"validation"}"#.to_owned()),
        (400, r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#.to_owned()),
        (400, r#"{"error":{"message":"input is too long"}}"#.to_owned()),
        (400, r#"{"error":{"message":"Model m not found"}}"#.to_owned()),
        (400, r#"{"error":{"message":"Your credit balance is too low"}}"#.to_owned()),
        (400, r#"{"detail":"max_tokens must be >= 16"}"#.to_owned()),
        (400, r#"{"success":false,"errors":[{"code":8001,"message":"AiError: input too long"}]}"#.to_owned()),
        (400, "<html><h1>400 Bad Request</h1></html>".to_owned()),
        (400, String::new()),
        (400, r#"{"error":{"message":"Something is wrong"}}"#.to_owned()),
    ] {
        let gateway = Gateway::with([Upstream::plain("Bad"), Upstream::plain("Good")]);
        let gateway = gateway.start().await;
        gateway.upstream("bad").set_fault(Some(refusal(status, body.clone())));
        let answer = gateway.chat(&ask("m")).await.expect(200);
        let came = (answer.header("x-relay-provider"), answer.header("x-relay-attempts"));
        assert_eq!(came, ("Good", "2"), "{body}");
    }
}

#[tokio::test]
async fn what_two_providers_say_is_the_callers() {
    let names = ["Bad", "Worse", "Good"];
    let gateway = Gateway::with(names.map(Upstream::plain)).start().await;
    for name in ["bad", "worse"] {
        gateway.upstream(name).set_fault(Some(error("Something is wrong")));
    }
    let answer = gateway.chat(&ask("m")).await.expect(400);
    assert_eq!(answer.error()["message"], "Something is wrong");
    assert_eq!((answer.header("x-relay-attempts"), gateway.reached("good")), ("2", 0));
    // Where nobody else is left to ask, one is enough.
    let alone = gateway.chat(&ask("bad/m")).await.expect(400);
    assert_eq!(alone.error()["message"], "Something is wrong");
}

#[tokio::test]
async fn what_the_gateway_adds_is_taken_back() {
    let gateway = stranger(error("Unrecognized request argument supplied: stream_options")).await;
    for calls in [2, 3] {
        let answer = gateway.stream(&ask("m")).await.expect_done();
        assert!(answer.headers.get("x-relay-warning").is_none());
        assert_eq!(gateway.reached("stranger"), calls);
    }
    assert!(sent(&gateway, "stranger")[2].get("stream_options").is_none());

    let gemini = Upstream::new("Gemini", Flavour::Gemini).model("gemini-2.5-flash");
    let gateway = Gateway::with([gemini]).start().await;
    let body = json!({"error": {"code": 400, "message": "Thinking is not enabled for models/gemini-2.5-flash", "status": "INVALID_ARGUMENT"}});
    gateway.upstream("gemini").script(None, vec![refusal(400, body.to_string())]);
    for calls in [2, 3] {
        let answer = gateway.chat(&ask("gemini-2.5-flash")).await.expect(200);
        assert!(answer.headers.get("x-relay-warning").is_none());
        assert_eq!(gateway.reached("gemini"), calls);
    }
    let sent = sent(&gateway, "gemini");
    assert!(sent[0]["generationConfig"].get("thinkingConfig").is_some());
    assert!(sent[2]["generationConfig"].get("thinkingConfig").is_none());
}

#[tokio::test]
async fn one_of_two_penalties_is_left_out_where_neither_is_named() {
    let gemini = Upstream::new("Gemini", Flavour::Gemini).model("gemini-2.5-flash");
    let gateway = Gateway::with([gemini]).start().await;
    let body = json!({"error": {"code": 400, "message": "Penalty is not enabled for models/gemini-2.5-flash", "status": "INVALID_ARGUMENT"}});
    gateway.upstream("gemini").script(None, vec![refusal(400, body.to_string())]);
    let asked = with(ask("gemini-2.5-flash"), json!({"presence_penalty": 0.5}));
    let answer = gateway.chat(&asked).await.expect(200);
    assert_eq!(answer.header("x-relay-warning"), "dropped=presence_penalty");
}

#[tokio::test]
async fn a_schema_that_is_refused_by_its_value_is_put_into_words() {
    let schema = json!({"type": "object", "required": ["a"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let body = with(ask("m"), json!({ "response_format": format }));
    for (provider, message) in [
        ("Stranger", "This model does not support response format `json_schema`."),
        ("Stranger", "This response_format type is unavailable now"),
        ("Nvidia", "Unknown field: guided_json"),
    ] {
        let says = |text: &str| relayfreellm::sim::Answer::Fixed(text.to_owned());
        let upstream = Upstream::plain(provider).simulated(|it| it.answer = says("{\"a\":1}"));
        let gateway = Gateway::with([upstream]).start().await;
        let name = provider.to_ascii_lowercase();
        gateway.upstream(&name).script(None, vec![error(message)]);
        for calls in [2, 3] {
            let answer = gateway.chat(&body).await.expect(200);
            assert_eq!(answer.said(), "{\"a\":1}");
            assert_eq!(gateway.reached(&name), calls, "{message}");
        }
        let last = sent(&gateway, &name).remove(2);
        assert!(last.get("response_format").is_none() && last.get("guided_json").is_none());
        assert!(last["messages"].to_string().contains("required"), "{last}");
    }
}

#[tokio::test]
async fn the_pair_of_logprobs_goes_together() {
    let gateway = stranger(error("'logprobs' is not supported with this model")).await;
    let body = with(ask("m"), json!({"logprobs": true, "top_logprobs": 2}));
    for calls in [2, 3] {
        let answer = gateway.chat(&body).await.expect(200);
        assert_eq!(gateway.reached("stranger"), calls);
        let warning = answer.header("x-relay-warning");
        assert!(warning.contains("logprobs") && warning.contains("top_logprobs"), "{warning}");
    }
    assert!(sent(&gateway, "stranger")[1].get("top_logprobs").is_none());
}

#[tokio::test]
async fn what_changes_nothing_can_be_left_out() {
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (member, value, status) in [
        ("n", json!(1), 200),
        ("n", json!(2), 400),
        ("tool_choice", json!("auto"), 200),
        ("tool_choice", json!("required"), 400),
        ("stream", json!(false), 200),
    ] {
        let gateway =
            stranger(error(&format!("Unrecognized request argument supplied: {member}"))).await;
        let mut body = with(ask("m"), json!({ "tools": tool }));
        body[member] = value;
        let answer = gateway.chat(&body).await.expect(status);
        assert!(answer.headers.get("x-relay-warning").is_none(), "{member}");
        let calls = if status == 200 { 2 } else { 1 };
        assert_eq!(gateway.reached("stranger"), calls, "{member}");
        if member == "n" && status == 200 {
            // It is remembered, and still not left out where it means something.
            gateway.chat(&with(ask("m"), json!({"n": 1}))).await.expect(200);
            gateway.chat(&with(ask("m"), json!({"n": 2}))).await.expect(200);
            let sent = sent(&gateway, "stranger");
            assert_eq!((sent[2].get("n"), &sent[3]["n"]), (None, &json!(2)));
        }
    }
}

#[tokio::test]
async fn a_mode_that_is_known_to_be_missing_costs_no_attempt() {
    let gemini = Upstream::new("Gemini", Flavour::Gemini).model("gemma-3-27b-it");
    let gemini =
        gemini.simulated(|it| it.answer = relayfreellm::sim::Answer::Fixed("{}".to_owned()));
    let gateway = Gateway::with([gemini]).start().await;
    let body = with(ask("gemma-3-27b-it"), json!({"response_format": {"type": "json_object"}}));
    let answer = gateway.chat(&body).await.expect(200);
    assert_eq!((answer.header("x-relay-attempts"), gateway.reached("gemini")), ("1", 1));
}

#[tokio::test]
async fn an_event_that_is_too_long_is_called_so() {
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(json!({
        "routing": {"max_retries": 0}
    }));
    let gateway = gateway.start().await;
    gateway.upstream("alpha").set_fault(Some(Fault::HugeBody(2 << 20)));
    let answer = gateway.chat(&with(ask("m"), json!({"stream": true}))).await;
    assert!(answer.text().contains("larger than 1048576 bytes"), "{}", answer.text());
}
