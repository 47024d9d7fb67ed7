//! What a request is made of decides who is asked, and how; what a model refuses is not sent twice.

use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

fn body(gateway: &Gateway, provider: &str, at: usize) -> Value {
    serde_json::from_slice(&gateway.upstream(provider).records()[at].body).expect("JSON")
}

#[tokio::test]
async fn what_a_model_refused_is_not_sent_to_it_again() {
    let stranger = Upstream::new("Stranger", Flavour::Groq).model("m").model("other");
    let gateway = Gateway::with([stranger.key("k1").key("k2")]).start().await;
    let asked = |model: &str| with(ask(model), json!({"store": true, "seed": 7}));
    for (calls, stream) in [(2, false), (3, false), (4, true)] {
        let body = with(asked("m"), json!({"stream": stream}));
        let headers = if stream {
            gateway.stream(&body).await.expect_done().headers
        } else {
            gateway.chat(&body).await.expect(200).headers
        };
        // Both keys are spared it, and the caller is told each time.
        assert_eq!(gateway.reached("stranger"), calls);
        assert_eq!(headers["x-relay-warning"], "dropped=store");
    }
    let sent = body(&gateway, "stranger", 3);
    assert!(sent.get("store").is_none() && sent["seed"] == 7, "{sent}");
    // Another model may know it.
    gateway.chat(&asked("other")).await.expect(200);
    assert_eq!(gateway.reached("stranger"), 6);
    // Who does not send it is told nothing.
    let answer = gateway.chat(&ask("m")).await.expect(200);
    assert!(answer.headers.get("x-relay-warning").is_none());
}

#[tokio::test]
async fn more_members_may_be_refused_than_are_known() {
    let gateway = Gateway::with([Upstream::new("Stranger", Flavour::Groq).model("m")]);
    let gateway = gateway.start().await;
    let members = ["store", "verbosity", "safety_identifier", "moderation", "prompt_cache_key"];
    for most in [3, 5] {
        let mut asked = ask("m");
        for member in &members[..most] {
            asked[*member] = json!("x");
        }
        let answer = gateway.chat(&asked).await.expect(200);
        let warning = answer.header("x-relay-warning");
        for member in &members[..most] {
            assert!(warning.contains(member), "{warning}");
        }
    }
}

/// Providers with a model that sees images each: one that fetches them, and two that don't.
async fn seers() -> Gateway {
    let sees = |name: &str| {
        Upstream::new(name, Flavour::OpenAi).model_with("m", json!({"modality": "vision"}))
    };
    Gateway::with([sees("Cohere"), sees("Groq"), sees("Zai")]).start().await
}

fn showing(model: &str, urls: &[&str]) -> Value {
    let parts = urls.iter().map(|it| json!({"type": "image_url", "image_url": {"url": it}}));
    let content: Vec<Value> =
        [json!({"type": "text", "text": "what is it?"})].into_iter().chain(parts).collect();
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

#[tokio::test]
async fn an_image_by_https_goes_only_to_who_fetches_it() {
    let gateway = seers().await;
    let remote = "https://example.invalid/cat.png";
    for _ in 0..6 {
        gateway.chat(&showing("m", &[remote])).await.expect(200);
        gateway.chat(&showing("m", &["data:image/png;base64,AAAA"])).await.expect(200);
    }
    assert!(gateway.reached("cohere") > 0);
    for record in gateway.upstream("cohere").records() {
        assert!(!String::from_utf8_lossy(&record.body).contains(remote));
    }
    let error = gateway.chat(&showing("cohere/m", &[remote])).await.expect(400).error();
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("model_not_supported"), &json!("messages"))
    );
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("images by https URL"), "{message}");
}

#[tokio::test]
async fn images_beyond_a_models_bounds_go_elsewhere() {
    let gateway = seers().await;
    let small = "data:image/png;base64,AAAA";
    let large = format!("data:image/png;base64,{}", "A".repeat(4_100_000));
    for urls in [vec![small; 6], vec![large.as_str()]] {
        for _ in 0..4 {
            gateway.chat(&showing("m", &urls)).await.expect(200);
        }
        assert_eq!(gateway.reached("groq"), 0);
        let error = gateway.chat(&showing("groq/m", &urls)).await.expect(400).error();
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(&format!("{} images of", urls.len())), "{message}");
    }
    gateway.chat(&showing("groq/m", &[small; 5])).await.expect(200);
}

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

#[tokio::test]
async fn a_choice_of_tools_goes_only_to_who_heeds_it() {
    let plain = |name: &str| Upstream::new(name, Flavour::OpenAi).model("m");
    let gateway = Gateway::with([plain("Zai"), plain("Alpha")]).start().await;
    let one = json!({"type": "function", "function": {"name": "f"}});
    for choice in [json!("required"), one] {
        let asked = |model: &str| with(ask(model), json!({"tools": tool(), "tool_choice": choice}));
        for _ in 0..3 {
            gateway.chat(&asked("m")).await.expect(200);
        }
        let error = gateway.chat(&asked("zai/m")).await.expect(400).error();
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("model_not_supported"), &json!("tool_choice"))
        );
    }
    assert_eq!(gateway.reached("zai"), 0);
    for choice in ["auto", "none"] {
        let asked = json!({"tools": tool(), "tool_choice": choice});
        gateway.chat(&with(ask("zai/m"), asked)).await.expect(200);
    }
    assert!(body(&gateway, "zai", 0).get("tools").is_some());
    assert!(body(&gateway, "zai", 1).get("tools").is_none());
}

#[tokio::test]
async fn a_refusal_names_everything_nobody_has() {
    let plain = Upstream::new("Alpha", Flavour::OpenAi)
        .model_with("blind", json!({"capabilities": {"n": false}}))
        .model_with(
            "seeing",
            json!({"modality": "vision", "capabilities": {"tools": false, "n": false}}),
        );
    let gateway = Gateway::with([plain]).start().await;
    let check = async |more: Value, expected: &str| {
        let asked = with(showing("auto", &["data:,"]), more);
        let message = gateway.chat(&asked).await.expect(400).error()["message"].clone();
        assert!(message.as_str().is_some_and(|it| it.contains(expected)), "{message}");
    };
    check(json!({"n": 2}), "takes n above 1.").await;
    // Each is to be had, but not together.
    check(json!({"tools": tool()}), "takes images and ").await;
    check(json!({"tools": tool()}), " and tools.").await;
}

#[tokio::test]
async fn a_conversation_from_elsewhere_is_taken_by_who_has_rules_for_it() {
    let id = "toolu_01A-long.one";
    let call = json!({"id": id, "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}});
    let asked = json!({"model": "m", "tools": tool(), "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "name": "Ann", "content": "hi"},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "name": "f", "content": "1"},
        {"role": "assistant", "content": "done", "tool_calls": null},
        {"role": "user", "content": "again"},
    ]});
    for (name, flavour) in [
        ("Groq", Flavour::Groq),
        ("Mistral", Flavour::Mistral),
        ("Cerebras", Flavour::Cerebras),
        ("Alpha", Flavour::OpenAi),
    ] {
        let gateway = Gateway::with([Upstream::new(name, flavour).model("m")]).start().await;
        gateway.chat(&asked).await.expect(200);
        assert_eq!(gateway.reached(name), 1, "{name}");
        let sent = body(&gateway, name, 0);
        let call = &sent["messages"][2]["tool_calls"][0];
        assert_eq!(call["id"], sent["messages"][3]["tool_call_id"], "{name}");
        assert_eq!(call["id"] == id, name != "Mistral", "{name}");
    }
}

#[tokio::test]
async fn sounds_and_files_go_to_models_known_to_take_them() {
    let vision = json!({"modality": "vision"});
    let audio = json!({"capabilities": {"audio": true}});
    let gateway = Gateway::with([
        Upstream::new("Alpha", Flavour::OpenAi).model_with("m", vision),
        Upstream::new("Beta", Flavour::OpenAi).model_with("m", audio),
    ]);
    let gateway = gateway.start().await;
    let body = |part: &Value| {
        let parts = json!([{"type": "text", "text": "What is it?"}, part]);
        json!({"model": "m", "messages": [{"role": "user", "content": parts}]})
    };
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    for _ in 0..4 {
        let answer = gateway.chat(&body(&sound)).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Beta");
    }
    let file = json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}});
    let error = gateway.chat(&body(&file)).await.expect(400).error();
    assert_eq!(error["param"], "messages", "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("messages with files"), "{message}");
}

#[tokio::test]
async fn a_bound_no_model_could_keep_is_lowered() {
    let small = Upstream::new("Alpha", Flavour::OpenAi)
        .model_with("m", json!({"max_context_length": 8000}))
        .model("unbounded");
    let gateway = Gateway::with([small]).start().await;
    for (at, (model, member, asked)) in [
        ("m", "max_tokens", 65_536),
        ("m", "max_completion_tokens", 65_536),
        ("m", "max_tokens", 500),
        ("unbounded", "max_tokens", 65_536),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.chat(&with(ask(model), json!({member: asked}))).await.expect(200);
        let sent = body(&gateway, "alpha", at)[member].as_u64().expect("a bound");
        let fits = if asked > 8_000 && model == "m" {
            (4_000..8_000).contains(&sent)
        } else {
            sent == asked
        };
        assert!(fits, "{model} {member} {asked}: {sent}");
    }
}

#[tokio::test]
async fn a_member_of_messages_is_left_out_like_any_other() {
    for flavour in [Flavour::Groq, Flavour::OpenAi] {
        let gateway = Gateway::with([Upstream::new("Stranger", flavour).model("m")]).start().await;
        let body = r#"{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"user","name"],"msg":"Extra inputs are not permitted"}]}"#;
        let refusal = Fault::RawResponse { status: 422, headers: Vec::new(), body: body.into() };
        if flavour == Flavour::OpenAi {
            gateway.upstream("stranger").script(None, vec![refusal]);
        }
        let messages = json!([{"role": "user", "name": "Ann", "content": "hi"}]);
        for calls in [2, 3] {
            let asked = json!({"model": "m", "messages": messages});
            let answer = gateway.chat(&asked).await.expect(200);
            assert_eq!(gateway.reached("stranger"), calls, "{flavour:?}");
            assert_eq!(answer.header("x-relay-warning"), "dropped=messages.name", "{flavour:?}");
        }
        assert!(body_of(&gateway)["messages"][0].get("name").is_none());
    }
}

fn body_of(gateway: &Gateway) -> Value {
    body(gateway, "stranger", 1)
}
