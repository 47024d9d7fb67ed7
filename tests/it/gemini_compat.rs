//! Gemini's endpoint in OpenAI's form: the signatures of its calls outlive clients that drop them.

use relayfreellm::sim::Flavour;
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, with};

const MODELS: [&str; 2] = ["gemini-3.1-pro", "gemini-3-flash"];

fn ask(model: &str, more: &[Value]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "hi"})];
    messages.extend_from_slice(more);
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"x": {"type": "string"}}}}});
    json!({"model": format!("Gemini/{model}"), "tools": [tool], "messages": messages})
}

#[tokio::test]
async fn a_call_is_replayed_with_the_signature_of_its_own_model() {
    let upstream = Upstream::new("Gemini", Flavour::GeminiCompat).entry(json!({"kind": "openai"}));
    let upstream = MODELS.iter().fold(upstream, |it, model| it.model(model));
    let gateway = Gateway::with([upstream]).start().await;
    for stream in [false, true] {
        let asked = with(ask(MODELS[0], &[]), json!({"stream": stream}));
        let mut call = if stream {
            let answer = gateway.stream(&asked).await;
            let deltas = answer.events.iter().map(|it| &it["choices"][0]["delta"]["tool_calls"][0]);
            let mut call = deltas.into_iter().find(|it| it.is_object()).expect("a call").clone();
            call.as_object_mut().expect("a call").remove("index");
            call
        } else {
            gateway.chat(&asked).await.expect(200).json()["choices"][0]["message"]["tool_calls"][0]
                .clone()
        };
        let extra = call.as_object_mut().expect("a call").remove("extra_content");
        let signature = extra.expect("signed")["google"]["thought_signature"].clone();
        let turn = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "1"});
        for (model, expected) in
            [(MODELS[0], signature), (MODELS[1], json!("skip_thought_signature_validator"))]
        {
            gateway.chat(&ask(model, &[turn.clone(), result.clone()])).await.expect(200);
            let record = gateway.upstream("gemini").records().pop().expect("a request");
            let sent: Value = serde_json::from_slice(&record.body).expect("JSON");
            let extra = &sent["messages"][1]["tool_calls"][0]["extra_content"];
            assert_eq!(extra, &json!({"google": {"thought_signature": expected}}), "{model}");
        }
    }
}
