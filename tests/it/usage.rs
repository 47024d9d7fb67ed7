//! `GET /v1/usage` against the providers' own books, when much goes wrong.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Answer, Fault, Flavour, Pace};
use serde_json::{Value, json};

use crate::support::{Gateway, SOON, Upstream, ask, with};

/// Requests, prompt tokens, completion tokens.
type Figures = [u64; 3];

fn figures(usage: &Value) -> Figures {
    ["requests", "prompt_tokens", "completion_tokens"]
        .map(|it| usage[it].as_u64().unwrap_or_else(|| panic!("{it}: {usage}")))
}

fn plus(one: Figures, other: Figures) -> Figures {
    [one[0] + other[0], one[1] + other[1], one[2] + other[2]]
}

/// What the provider of that name told of the answers it gave whole.
fn told(gateway: &Gateway, name: &str) -> Figures {
    let records = gateway.upstream(name).records();
    let answered = records.iter().filter(|it| it.fault.is_none());
    let told = answered.filter_map(|it| it.reported_usage);
    told.fold([0; 3], |sum, (prompt, completion)| plus(sum, [1, prompt, completion]))
}

const PROVIDERS: [(&str, Flavour); 8] = [
    ("Alpha", Flavour::OpenAi),
    ("Groq", Flavour::Groq),
    ("Mistral", Flavour::Mistral),
    ("Cerebras", Flavour::Cerebras),
    ("Gemini", Flavour::Gemini),
    ("Anthropic", Flavour::Anthropic),
    ("OllamaCloud", Flavour::Ollama),
    ("Cloudflare", Flavour::Cloudflare),
];

/// The `at`th request of many: of any length, whole or streamed; gives what its answer told.
async fn one_of_many(gateway: &Gateway, at: u64) -> Figures {
    let words = usize::try_from(at % 29 + 1).expect("it is small");
    let body = json!({
        "model": "auto",
        "messages": [{"role": "user", "content": "word ".repeat(words)}],
        "max_tokens": at % 41 + 5,
    });
    let usage = match at % 3 {
        0 => gateway.chat(&body).await.expect(200).json()["usage"].clone(),
        1 => {
            let body = with(body, json!({"stream_options": {"include_usage": true}}));
            let answer = gateway.stream(&body).await.expect_done();
            answer.events.last().expect("a chunk")["usage"].clone()
        }
        // It does not ask; what its answer used counts all the same.
        _ => {
            gateway.stream(&body).await.expect_done();
            return [0; 3];
        }
    };
    [
        1,
        usage["prompt_tokens"].as_u64().expect("told"),
        usage["completion_tokens"].as_u64().expect("told"),
    ]
}

#[tokio::test]
async fn a_thousand_mixed_requests_with_faults_are_counted_to_the_token() {
    let upstreams = PROVIDERS.map(|(name, flavour)| {
        let upstream = Upstream::new(name, flavour).model("m").model("n").key("k1").key("k2");
        upstream.simulated(|it| it.flaky = Some((0.15, 11)))
    });
    let settings = json!({"routing": {"max_retries": 50}});
    let gateway = Gateway::with(upstreams).settings(settings).start().await;
    let mut callers = [0; 3];
    for round in 0..10 {
        let asking = (0..100).map(|it| one_of_many(&gateway, round * 100 + it));
        callers = join_all(asking).await.into_iter().fold(callers, plus);
    }
    let usage = gateway.usage().await;
    let mut total = [0; 3];
    let mut failed = 0;
    for (name, _) in PROVIDERS {
        let mine = &usage["providers"][name];
        assert_eq!(figures(mine), told(&gateway, name), "{name}");
        assert_eq!(mine["estimated_requests"], 0, "{name}");
        let attempts = mine["requests"].as_u64().zip(mine["failed_attempts"].as_u64());
        let attempts = attempts.map(|(answered, failed)| answered + failed);
        assert_eq!(attempts, Some(gateway.reached(name)), "{name}: each call is in the books");
        failed += mine["failed_attempts"].as_u64().expect("a number");
        total = plus(total, figures(mine));
    }
    assert_eq!(total[0], 1_000);
    assert!(failed > 50, "{failed} calls failed");
    assert_eq!(figures(&usage["total"]), total);
    // Two thirds of the callers saw their own figures.
    assert_eq!(callers[0], 667);
    assert!(callers[1] < total[1] && callers[2] < total[2], "{callers:?} of {total:?}");
}

/// Every word is one token to the tokenizer, and one chunk of a stream.
fn of_words(count: usize) -> Answer {
    Answer::Fixed("word ".repeat(count).trim_end().to_owned())
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

#[tokio::test]
async fn a_cancelled_stream_counts_once_with_what_was_sent() {
    let settings = json!({"normalizer": {"enabled": false}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(settings).start().await;
    let alpha = gateway.upstream("alpha");
    alpha.set_answer(of_words(1_000), None);
    alpha.set_pace(Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(4) });
    let cancelling = (0..20).map(|it| {
        let gateway = &gateway;
        async move {
            let mut stream = gateway.open(&ask("m"), &[]).await;
            stream.read_until(|text| text.matches("word").count() >= 40 + 3 * it).await;
        }
    });
    join_all(cancelling).await;
    let usage = gateway.counted(20).await;
    let records = alpha
        .wait_for(SOON, |it| it.iter().all(|it| it.client_gone_at.is_some()))
        .await
        .expect("all have hung up");
    assert_eq!(records.len(), 20);
    let sent: u64 = records.iter().map(|it| words(&it.sent_content)).sum();
    let [requests, prompt, completion] = figures(&usage);
    assert_eq!((requests, &usage["estimated_requests"]), (20, &json!(20)));
    assert!(completion.abs_diff(sent) * 10 <= sent, "{completion} counted, {sent} sent");
    // Five words and a question mark, and what the message costs around them.
    assert!((20 * 6..=20 * 16).contains(&prompt), "{prompt}");
}

#[tokio::test]
async fn what_gave_nothing_counts_nothing() {
    let settings = json!({"routing": {"max_retries": 0, "max_quota_wait_seconds": 0}});
    for fault in [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Status(401),
        Fault::RateLimited { retry_after: Some(Duration::from_secs(60)) },
        Fault::EmptyAnswer,
        Fault::Html,
        Fault::Garbage,
        Fault::Reset,
        Fault::ErrorIn200Stream,
        Fault::CutAfterChunks(0),
    ] {
        for stream in [false, true] {
            let gateway = Gateway::with([Upstream::plain("Alpha")]);
            let gateway = gateway.settings(settings.clone()).start().await;
            gateway.upstream("alpha").set_fault(Some(fault.clone()));
            let answer = gateway.chat(&with(ask("m"), json!({"stream": stream}))).await;
            assert!(answer.status >= 400, "{fault:?}: {answer:?}");
            let usage = gateway.usage().await;
            let mine = &usage["providers"]["Alpha"]["models"]["m"];
            assert_eq!(figures(mine), [0; 3], "{fault:?}: {usage}");
            assert_eq!(mine["failed_attempts"], 1, "{fault:?}");
            assert_eq!(figures(&usage["total"]), [0; 3], "{fault:?}");
        }
    }
}

/// Some tell with the first event what there is by then: nothing of the answer.
#[tokio::test]
async fn figures_from_before_the_answer_are_not_those_of_a_cut_one() {
    let settings = json!({"routing": {"stream_continuation": false}});
    let gateway = Gateway::with([Upstream::plain("One")]).settings(settings).start().await;
    let event = |text: &str, usage: Value| {
        let choices = json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]);
        format!("data: {}\n\n", json!({"id": "x", "choices": choices, "usage": usage}))
    };
    let told = json!({"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8});
    let words = (0..60).map(|_| event(" hello", Value::Null)).collect::<String>();
    let body = event("hello", told) + &words;
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    let fault = Fault::RawResponse { status: 200, headers, body: body.into() };
    gateway.upstream("one").set_fault(Some(fault));
    let answer = gateway.stream(&ask("one/m")).await;
    assert!(!answer.done && answer.said().len() > 300, "{}", answer.said());
    let usage = gateway.usage().await;
    assert_eq!(figures(&usage["total"]), [1, 7, 61]);
    assert_eq!(usage["total"]["estimated_requests"], 1);
}
