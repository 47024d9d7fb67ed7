//! Cases that were once got wrong, and belong to no other topic.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Flavour};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::support::{Gateway, SOON, Upstream, ask, run, stranger, with};

/// Cloudflare leaves `index` out of a stream's choices. OpenAI's SDKs file every delta under it.
#[tokio::test]
async fn every_choice_of_a_stream_has_its_index() {
    let upstream = Upstream::new("Cloudflare", Flavour::Cloudflare).model("m");
    let gateway = Gateway::with([upstream]).start().await;
    let answer = gateway.stream(&ask("m")).await.expect_done();
    for event in &answer.events {
        for choice in event["choices"].as_array().expect("choices") {
            assert_eq!(choice["index"], 0, "{event}");
        }
    }
}

/// One scrape clears the gauges of quota while another writes them out, so that it sees a part.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scrapes_at_once_see_all_of_it() {
    let many = (0..1_000).fold(Upstream::new("Many", Flavour::OpenAi), |it, at| {
        it.model(&format!("m{at}")).limits(json!({"requests_per_minute": 5}))
    });
    let gateway = Arc::new(Gateway::with([many]).start().await);
    let tasks = TaskTracker::new();
    let scraping = (0..4).map(|_| {
        let gateway = Arc::clone(&gateway);
        tasks.spawn(async move {
            for _ in 0..100 {
                let answer = gateway.get("/metrics").await.expect(200);
                assert_eq!(answer.text().matches("relay_quota_left{").count(), 1_000);
            }
        })
    });
    for scraped in join_all(scraping).await {
        scraped.expect("all of it");
    }
}

/// A blind model is suggested to a request with an image: it would be refused there with 400.
#[tokio::test]
async fn what_could_never_take_the_request_is_not_suggested() {
    let eyes = json!({"modality": "vision"});
    let alpha = Upstream::new("Alpha", Flavour::OpenAi).model_with("sees", eyes.clone());
    let gamma = Upstream::new("Gamma", Flavour::OpenAi).model_with("sees-too", eyes);
    let gateway = Gateway::with([alpha, Upstream::plain("Blind"), gamma]);
    let settings = json!({"routing": {"max_quota_wait_seconds": 0}});
    let gateway = gateway.settings(settings).start().await;
    let rest = Fault::RateLimited { retry_after: Some(Duration::from_secs(30)) };
    gateway.upstream("alpha").script(None, vec![rest]);
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]});
    let error = gateway.chat(&with(ask("alpha/sees"), image)).await.expect(429).error();
    let suggestions = error["suggestions"].as_array().expect("suggestions");
    let models: Vec<&Value> = suggestions.iter().map(|it| &it["model"]).collect();
    assert_eq!(models, ["Gamma/sees-too", "Alpha/sees"], "{error}");
}

/// A local server is configured and not there, and `check` says "0 passed, 0 failed" and exits
/// with 0: its models are found by asking it, so it has none.
#[test]
fn check_fails_for_a_local_server_that_is_not_there() {
    let dir = TempDir::new().expect("a directory");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("an address"));
    drop(nobody);
    let (code, text) = run(dir.path(), &["check"], &[("OLLAMA_BASE_URL", &url)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.lines().any(|it| it.starts_with("FAIL") && it.contains("Ollama")), "{text}");
}

/// A local server's names are taken as they come: one that is told twice is on the list twice, an
/// empty one is a model `Ollama/`, and ten kilobytes are a name. The limits file takes 1 to 256
/// printable ASCII characters without blanks at the ends, each name once.
#[tokio::test]
async fn only_what_could_be_a_name_is_discovered() {
    let long = "x".repeat(10_000);
    let names = ["fine:1b", "fine:1b", "", " ", "a\nb", "\u{0}", long.as_str(), "last:1b"];
    let models: Vec<Value> = names.iter().map(|it| json!({"name": it, "model": it})).collect();
    let body = json!({"models": models}).to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let url = stranger((head + &body).into_bytes(), false).await;
    let upstreams = [Upstream::plain("Groq"), Upstream::new("Ollama", Flavour::Ollama)];
    let gateway = Gateway::with(upstreams).url("ollama", &url).start().await;
    let local = async || -> Vec<String> {
        let list = gateway.get("/v1/models").await.json();
        let entries = list["data"].as_array().expect("a list").iter();
        let mine = entries.filter(|it| it["owned_by"] == "Ollama");
        mine.map(|it| it["id"].as_str().expect("an id").to_owned()).collect()
    };
    let looking = async {
        while !local().await.contains(&"Ollama/last:1b".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("they are found");
    assert_eq!(local().await, ["Ollama/fine:1b", "Ollama/last:1b"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let dir = TempDir::new().expect("a directory");
    let (mut program, addr) = crate::support::Program::demo_without_log(dir.path());
    let body = r#"{"model":"nvidia/meta/llama-3.3-70b-instruct","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = crate::support::call(&addr, "POST /v1/chat/completions", body);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("finish_reason"), "{answer}");
    let answer = crate::support::call(&addr, "POST /v1/chat/completions", "{}");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(program.terminate().success());
}

#[tokio::test]
async fn what_a_model_refuses_is_not_sent_to_its_other_keys() {
    let too_long = json!({"error": {"message": "too long", "code": "context_length_exceeded"}});
    let refusal =
        Fault::RawResponse { status: 400, headers: Vec::new(), body: too_long.to_string().into() };
    let alpha = Upstream::plain("Alpha").key("key-one-0001").key("key-two-0002");
    let gateway = Gateway::with([alpha]).start().await;
    gateway.upstream("alpha").set_fault(Some(refusal));
    let answer = gateway.chat(&ask("m")).await.expect(400);
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert_eq!(gateway.reached("alpha"), 1);
}

#[tokio::test]
async fn calls_and_reasoning_count_where_the_provider_tells_no_usage() {
    let words = "word ".repeat(200);
    let message = json!({"role": "assistant", "content": null, "reasoning_content": words,
        "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": json!({"text": words}).to_string()}}]});
    let body =
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let answer = Fault::RawResponse {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into(),
    };
    let gateway = Gateway::plain().await;
    gateway.upstream("alpha").set_fault(Some(answer));
    let answer = gateway.chat(&ask("alpha/m")).await.expect(200);
    assert_eq!(answer.json()["object"], "chat.completion");
    let total = gateway.usage().await["total"].clone();
    assert_eq!(total["estimated_requests"], 1);
    assert!((400..600).contains(&total["completion_tokens"].as_u64().expect("a count")), "{total}");
}
