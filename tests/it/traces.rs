//! Every answer can be asked why it came from where it did, and tells no word of what was said.

use std::time::Duration;

use http::Method;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Upstream, ask, with};

const SECRET: &str = "the-cat-is-called-Maurice";

async fn trace_of(gateway: &Gateway, id: &str) -> Value {
    let answer = gateway.get(&format!("/v1/requests/{id}")).await.expect(200);
    assert!(!answer.text().contains("Maurice"), "{}", answer.text());
    answer.json()
}

fn candidates(trace: &Value) -> Vec<(&str, &str)> {
    let list = trace["candidates"].as_array().expect("a list");
    list.iter()
        .map(|it| (it["model"].as_str().expect("a name"), it["outcome"].as_str().expect("a word")))
        .collect()
}

fn question() -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": SECRET}]})
}

async fn asked(gateway: &Gateway, id: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("x-request-id", id)], headers].concat();
    gateway.chat_with(&question(), &headers).await
}

#[tokio::test]
async fn an_answer_says_how_it_came_to_be() {
    let limits = json!({"requests_per_day": 10, "tokens_per_day": 100_000});
    let upstreams = ["Alpha", "Beta", "Gamma"]
        .map(|it| Upstream::plain(it).limits(limits.clone()).key(&format!("sk-{it}-0123456789")));
    let gateway = Gateway::with(upstreams).start().await;
    gateway
        .upstream("alpha")
        .script(None, vec![Fault::RateLimited { retry_after: Some(Duration::from_secs(600)) }]);
    gateway.upstream("beta").script(None, vec![Fault::Status(500)]);
    asked(&gateway, "first", &[]).await.expect(200);
    let trace = trace_of(&gateway, "first").await;
    let expected =
        [("Alpha/m", "rate_limited"), ("Beta/m", "server_error"), ("Gamma/m", "answered")];
    assert_eq!(candidates(&trace), expected, "{trace}");
    assert_eq!((&trace["request_id"], &trace["model"]), (&json!("first"), &json!("auto")));
    assert_eq!((&trace["outcome"], &trace["stream"]), (&json!("answered"), &json!(false)));
    assert_eq!(trace["models"], json!({"known": 3, "eligible": 3, "ruled_out": 0}));
    assert!(trace["usage"]["prompt_tokens"].as_u64() > Some(0), "{trace}");
    assert!(trace["began_ms"].as_u64() > Some(1_700_000_000_000), "{trace}");
    let (limited, failed, answered) =
        (&trace["candidates"][0], &trace["candidates"][1], &trace["candidates"][2]);
    assert_eq!(
        (&limited["status"], &failed["status"], &answered["status"]),
        (&json!(429), &json!(500), &Value::Null)
    );
    assert_eq!(limited["key"], "…6789");
    for it in [failed, answered] {
        assert!(it["took_ms"].is_u64() && it["at_ms"].is_u64(), "{it}");
    }
    assert_eq!(answered["quota_before"]["requests"], 10);
    assert_eq!(answered["quota_after"]["requests"], 9);
    assert!(
        answered["quota_after"]["tokens"].as_u64() < answered["quota_before"]["tokens"].as_u64()
    );
    // A refusal gives back what was reserved.
    assert_eq!(failed["quota_after"]["requests"], 10);
    assert!(limited["at_ms"].as_u64() <= answered["at_ms"].as_u64());

    // The next request passes Alpha over, and says why.
    for _ in 0..3 {
        asked(&gateway, "next", &[]).await.expect(200);
        let trace = trace_of(&gateway, "next").await;
        let Some(alpha) = trace["candidates"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|it| it["model"] == "Alpha/m")
        else {
            continue;
        };
        assert_eq!(alpha["outcome"], "passed_over");
        assert!(alpha["reason"].as_str().is_some_and(|it| it.starts_with("breaker ")), "{alpha}");
        assert!(alpha["free_in_ms"].as_u64() > Some(500_000), "{alpha}");
        return;
    }
    panic!("Alpha was never looked at");
}

#[tokio::test]
async fn streams_failures_and_hangups_leave_a_trace() {
    let gateway = Gateway::with([Upstream::plain("Alpha"), Upstream::plain("Beta")]).start().await;
    let id = |id| [("x-request-id", id)];
    gateway.open(&question(), &id("stream")).await.finish().await.expect_done();
    let trace = trace_of(&gateway, "stream").await;
    assert_eq!((&trace["outcome"], &trace["stream"]), (&json!("answered"), &json!(true)));
    assert_eq!(candidates(&trace).len(), 1);

    // Cut and continued: both are there.
    gateway.upstream("alpha").script(None, vec![Fault::CutAfterChunks(3)]);
    gateway.upstream("beta").script(None, vec![Fault::CutAfterChunks(3)]);
    let stream = gateway.open(&question(), &id("cut")).await.finish().await;
    let trace = trace_of(&gateway, "cut").await;
    assert!(candidates(&trace).len() >= 2, "{trace}");
    assert!(candidates(&trace).iter().any(|it| it.1 == "cut"), "{trace}");
    assert_eq!(trace["outcome"] == "broken", !stream.done);

    for name in ["alpha", "beta"] {
        gateway.upstream(name).set_fault(Some(Fault::Status(503)));
    }
    let status = asked(&gateway, "failed", &[]).await.status;
    let trace = trace_of(&gateway, "failed").await;
    assert_eq!((&trace["outcome"], &trace["status"]), (&json!("failed"), &json!(status)));
    assert!(trace["code"].is_string(), "{trace}");

    for name in ["alpha", "beta"] {
        gateway.upstream(name).mend();
        gateway.upstream(name).set_fault(Some(Fault::StallAfterChunks(3)));
    }
    tell_reset(&gateway).await;
    let mut stream = gateway.open(&question(), &id("gone")).await;
    stream.read_some().await;
    drop(stream);
    let seen = async {
        loop {
            let answer = gateway.get("/v1/requests/gone").await;
            if answer.status == 200 {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let trace = tokio::time::timeout(Duration::from_secs(20), seen).await.expect("a trace");
    assert_eq!(trace["outcome"], "abandoned");
    assert_eq!(candidates(&trace)[0].1, "unfinished");
}

async fn tell_reset(gateway: &Gateway) {
    for name in ["alpha", "beta"] {
        let path = format!("/v1/status/providers/{name}/reset");
        gateway.send(gateway.request(Method::POST, &path, &[], "")).await.expect(200);
    }
}

#[tokio::test]
async fn a_provider_that_repeats_the_prompt_does_not_get_it_into_the_trace() {
    let gateway = Gateway::plain().await;
    let body = format!(r#"{{"error":{{"message":"I will not read {SECRET}","code":"{SECRET}"}}}}"#);
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    gateway.upstream("alpha").set_fault(Some(Fault::RawResponse {
        status: 400,
        headers,
        body: body.into(),
    }));
    asked(&gateway, "echo", &[]).await.expect(400);
    let trace = trace_of(&gateway, "echo").await;
    assert_eq!((&trace["outcome"], &trace["status"]), (&json!("failed"), &json!(400)));
}

#[tokio::test]
async fn context_and_normaliser_say_what_they_did() {
    let gateway =
        Gateway::with([Upstream::new("Alpha", Flavour::OpenAi)
            .model_with("m", json!({"max_context_length": 600}))])
        .start()
        .await;
    gateway
        .upstream("alpha")
        .set_answer(relayfreellm::sim::Answer::Fixed("Certainly! It is blue.".to_owned()), Some(4));
    let turns = (0..80).map(|at| json!({"role": if at % 2 == 0 { "user" } else { "assistant" }, "content": format!("turn {at} of a long conversation")}));
    let turns: Vec<Value> = turns.chain([json!({"role": "user", "content": "last"})]).collect();
    let long = with(ask("m"), json!({"messages": turns}));
    for (at, body) in [&long, &with(long.clone(), json!({"stream": true}))].into_iter().enumerate()
    {
        let id = format!("long-{at}");
        gateway.chat_with(body, &[("x-request-id", &id)]).await.expect(200);
        let trace = trace_of(&gateway, &id).await;
        assert!(trace["context"].as_str().is_some_and(|it| it.contains("dropped=")), "{trace}");
        assert_eq!(trace["normalizer"], json!({"mode": "text", "changed": true}));
    }
    gateway
        .chat_with(&ask("Alpha/m"), &[("x-request-id", "strict"), ("x-relay-strict", "true")])
        .await
        .expect(200);
    let trace = trace_of(&gateway, "strict").await;
    assert_eq!(trace["normalizer"], json!({"mode": "off", "changed": false}));
    assert_eq!((&trace["strict"], &trace["context"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn the_header_says_it_in_a_line() {
    let gateway = Gateway::with([Upstream::plain("Alpha"), Upstream::plain("Beta")]).start().await;
    gateway.upstream("alpha").script(None, vec![Fault::Status(500)]);
    let wish = [("x-relay-trace", "true")];
    let answer = asked(&gateway, "a", &wish).await.expect(200);
    let said = answer.header("x-relay-trace").to_owned();
    assert!(said.starts_with("eligible=2/2; passed=0; tried=Alpha/m:server_error@"), "{said}");
    assert!(said.contains("ms,Beta/m:answered@"), "{said}");
    assert_eq!(asked(&gateway, "b", &[]).await.header("x-relay-trace"), "");
    assert_eq!(
        asked(&gateway, "b", &[("x-relay-trace", "false")]).await.header("x-relay-trace"),
        ""
    );
    let stream = gateway.open(&question(), &wish).await.finish().await.expect_done();
    assert!(stream.header("x-relay-trace").contains(":answering@"), "{:?}", stream.headers);
    for name in ["alpha", "beta"] {
        gateway.upstream(name).set_fault(Some(Fault::Status(500)));
    }
    let failed = asked(&gateway, "c", &wish).await.expect(503);
    assert!(failed.header("x-relay-trace").contains(":server_error@"), "{:?}", failed.headers);
    // Many attempts with long names stay a header.
    let long = "n".repeat(200);
    let many = Upstream::new("Many", Flavour::OpenAi);
    let many = (0..9).fold(many, |it, at| it.model(&format!("{long}{at}")));
    let gateway = Gateway::with([many]).start().await;
    gateway.upstream("many").set_fault(Some(Fault::Status(500)));
    let failed = asked(&gateway, "d", &wish).await;
    let said = failed.header("x-relay-trace");
    assert!(said.len() <= 512 && said.ends_with(",..."), "{said}");
}

#[tokio::test]
async fn a_thousand_are_remembered() {
    let gateway = Gateway::plain().await;
    for at in 0..1_001 {
        let name = if at % 100 == 0 { "m" } else { "nobody/has-this" };
        gateway.chat_with(&ask(name), &[("x-request-id", &format!("r{at}"))]).await;
    }
    assert_eq!(
        gateway.get("/v1/requests/r0").await.expect(404).error()["code"],
        "request_not_found"
    );
    assert_eq!(trace_of(&gateway, "r1").await["code"], "model_not_found");
    assert_eq!(trace_of(&gateway, "r1000").await["outcome"], "answered");
    gateway.get("/v1/requests/").await.expect(404);
    gateway.get("/v1/requests/%ff").await.expect(404);
}

#[tokio::test]
async fn a_virtual_key_sees_its_own_requests_alone() {
    let gateway = Gateway::with([Upstream::plain("Alpha")])
        .variable("RELAY_API_KEY", "the-master-key")
        .start()
        .await;
    let master = ("authorization", "Bearer the-master-key");
    let mut keys = Vec::new();
    for label in ["one", "two"] {
        let body = json!({"label": label}).to_string();
        let made = gateway
            .send(gateway.request(Method::POST, "/v1/keys", &[master], body))
            .await
            .expect(201)
            .json();
        keys.push(format!("Bearer {}", made["key"].as_str().expect("a key")));
    }
    let (one, two) = (("authorization", keys[0].as_str()), ("authorization", keys[1].as_str()));
    asked(&gateway, "mine", &[one]).await.expect(200);
    let get = |key| gateway.send(gateway.request(Method::GET, "/v1/requests/mine", &[key], ""));
    assert_eq!(get(one).await.expect(200).json()["outcome"], "answered");
    get(two).await.expect(404);
    get(master).await.expect(200);
    asked(&gateway, "owners", &[master]).await.expect(200);
    gateway.send(gateway.request(Method::GET, "/v1/requests/owners", &[one], "")).await.expect(404);
}

#[tokio::test]
async fn who_could_not_answer_is_named_with_what_it_lacks() {
    let gateway = Gateway::with([
        Upstream::plain("Alpha").entry(json!({"privacy": "no-training"})),
        Upstream::plain("Beta"),
        Upstream::new("Gamma", Flavour::OpenAi)
            .model_with("m", json!({"capabilities": {"tools": false}}))
            .entry(json!({"privacy": "no-training"})),
    ])
    .start()
    .await;
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f",
        "parameters": {"type": "object"}}}]});
    let headers = [("x-relay-privacy", "no-training"), ("x-relay-trace", "true")];
    let ask_as = async |id: &str, body: Value| {
        let headers = [&headers[..], &[("x-request-id", id)]].concat();
        gateway.chat_with(&body, &headers).await
    };
    let answer = ask_as("r1", with(question(), tools)).await.expect(200);
    let said = answer.header("x-relay-trace");
    assert!(
        said.starts_with("eligible=1/3; passed=0; ruled_out=privacy:1,tools:1; tried="),
        "{said}"
    );
    let trace = trace_of(&gateway, "r1").await;
    let reasons =
        json!([{"model": "Beta/m", "reason": "privacy"}, {"model": "Gamma/m", "reason": "tools"}]);
    assert_eq!(trace["ruled_out"], reasons);
    // Also where it ends before anybody is asked.
    let body = with(question(), json!({"model": "Beta/m"}));
    ask_as("r2", body).await.expect(400);
    let trace = trace_of(&gateway, "r2").await;
    assert_eq!(trace["models"], json!({"known": 3, "eligible": 0, "ruled_out": 1}));
    assert_eq!(trace["ruled_out"], json!([{"model": "Beta/m", "reason": "privacy"}]));
}
