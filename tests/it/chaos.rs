//! Providers that fail in every way, and callers that don't notice.

use std::collections::BTreeMap;
use std::io::Write as _;

use futures::StreamExt as _;
use futures::stream;
use http::Request;
use relayfreellm::config;
use relayfreellm::sim::{Answer, Chaos, Continuing, Fault, Flavour, recital};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Gateway, Setup, StreamAnswer, Upstream, streamed, with};

/// Requests under way at once.
const AT_ONCE: usize = 50;

fn question(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

/// A provider that knows what all others know, and goes on in this way with what they began.
fn reciter(name: &str, flavour: Flavour, way: Continuing) -> Upstream {
    let provider = Upstream::new(name, flavour).model("m");
    provider.simulated(|it| it.answer = Answer::Recited(way))
}

/// Four providers with chaos and one without, all with quota.
fn pool(chaos: Chaos) -> Setup {
    let names = [
        ("Alpha", Flavour::OpenAi),
        ("Groq", Flavour::Groq),
        ("Mistral", Flavour::Mistral),
        ("Cerebras", Flavour::Cerebras),
    ];
    let way = Continuing::Any(chaos.seed);
    let faulty = names
        .map(|(name, flavour)| reciter(name, flavour, way).simulated(|it| it.chaos = Some(chaos)));
    let healthy = reciter("Healthy", Flavour::OpenAi, way);
    // A stall is to cost a second here, not half a minute.
    let settings = json!({"http": {"timeout_seconds": 1, "first_token_timeout_seconds": 1}});
    Gateway::with(faulty.into_iter().chain([healthy])).settings(settings)
}

/// How one request of a soak ended, in a word; the same word for all that went well.
async fn one(gateway: &Gateway, number: u64) -> String {
    let text = format!("Tell me of number {number}.");
    let (body, expected) = (question(&text), recital(&text));
    if number.is_multiple_of(2) {
        let answer = gateway.chat(&body).await;
        return match answer.status {
            200 if answer.said() == expected => "whole: exact".to_owned(),
            200 => format!("whole: other text: {:?}", answer.said()),
            status => format!("whole: {status}: {}", answer.text()),
        };
    }
    let answer = gateway.chat(&streamed(body)).await;
    if answer.status != 200 {
        return format!("streamed: {}: {}", answer.status, answer.text());
    }
    let answer = StreamAnswer::read(answer.headers.clone(), answer.text());
    match verdict(&answer, &expected) {
        Ok(()) if answer.comments.iter().any(|it| it.contains("continued")) => {
            "streamed: exact, continued".to_owned()
        }
        Ok(()) => "streamed: exact".to_owned(),
        Err(fault) => format!("streamed: {fault}"),
    }
}

/// Is it whole, exact and in the form of one answer?
fn verdict(answer: &StreamAnswer, expected: &str) -> Result<(), String> {
    if !answer.done || !answer.error().is_null() {
        return Err(format!("ended with {}", answer.error()));
    }
    if answer.said() != expected {
        return Err(format!("other text: {:?} for {expected:?}", answer.said()));
    }
    let roles = answer.events.iter().filter(|it| !it["choices"][0]["delta"]["role"].is_null());
    if (roles.count(), answer.finishes(0)) != (1, vec!["stop"]) {
        return Err(format!("not one answer: {:?}", answer.data));
    }
    Ok(())
}

/// A size for this test that its caller may set.
fn number(variable: &str, usual: u64) -> u64 {
    let set = config::process_environment(variable);
    set.map_or(usual, |it| it.parse().expect("a number"))
}

/// Figures, for whoever has set a size.
fn tell(figures: &str) {
    if ["CHAOS_REQUESTS", "CHAOS_STEP"].iter().any(|it| config::process_environment(it).is_some()) {
        writeln!(std::io::stdout(), "{figures}").expect("an open output");
    }
}

/// `CHAOS_REQUESTS` and `CHAOS_SEED` make it larger and another one; see docs/BENCHMARKS.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_notices_that_a_third_of_all_calls_fail() {
    let requests = number("CHAOS_REQUESTS", 400);
    let chaos = Chaos { rate: 0.3, seed: number("CHAOS_SEED", 6) };
    let gateway = pool(chaos).start().await;
    let began = Instant::now();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = stream::iter(0..requests)
        .map(|number| {
            let gateway = &gateway;
            async move { one(gateway, number).await }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(end) = all.next().await {
        *ends.entry(end).or_default() += 1;
    }
    tell(&format!("{requests} requests, {chaos:?}, {:?}:\n{ends:#?}", began.elapsed()));
    for name in ["alpha", "groq", "mistral", "cerebras", "healthy"] {
        let upstream = gateway.upstream(name);
        tell(&format!(
            "{name}: {} calls, {} answered",
            upstream.count_reached(),
            upstream.count_served()
        ));
    }
    let bad: Vec<_> = ends.keys().filter(|it| !it.contains("exact")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(
        ends.contains_key("streamed: exact, continued"),
        "nothing was ever continued: {ends:?}"
    );
}

/// Every way to go on with a text that somebody else began.
const WAYS: [Continuing; 5] = [
    Continuing::Exactly,
    Continuing::Restarts,
    Continuing::Repeats,
    Continuing::DropsSpace,
    Continuing::ChangesCase,
];

/// Two providers, of which the first is the one to be cut.
async fn pair(way: Continuing) -> Gateway {
    let shape = |it: Upstream| it.simulated(|it| it.chunk_chars = Some(40));
    let pair = ["One", "Two"].map(|name| shape(reciter(name, Flavour::OpenAi, way)));
    Gateway::with(pair).start().await
}

/// The bytes of what the first provider sends for `body`.
async fn length(gateway: &Gateway, body: &Value) -> usize {
    let usage = json!({"stream_options": {"include_usage": true}});
    let body = with(streamed(body.clone()), usage).to_string();
    let url = format!("{}/chat/completions", gateway.upstream_url("one"));
    let request = Request::post(url).header("authorization", "Bearer key-of-One");
    gateway.send(request.body(body.into()).expect("a request")).await.expect(200).body.len()
}

/// Cuts `body`'s stream after `from` bytes, and after every `step` more; gives how many answers were
/// complete, and how many ended with an honest error. `check` says whether one is exact.
async fn cut_everywhere(
    gateway: &Gateway,
    body: &Value,
    (from, step): (usize, usize),
    check: impl Fn(&StreamAnswer) -> bool,
) -> (u64, u64) {
    let one = gateway.upstream("one");
    let (mut complete, mut honest) = (0, 0);
    for (tries, offset) in (from..length(gateway, body).await).step_by(step).enumerate() {
        if tries % 2 == 0 {
            // A whole answer now and then, or it would soon not be asked any more.
            gateway.chat(&with(body.clone(), json!({"model": "one/m"}))).await.expect(200);
        }
        one.clear();
        one.script(None, vec![Fault::CutAfterBytes(offset)]);
        let answer = loop {
            let answer = gateway.stream(body).await;
            if one.count_reached() > 0 {
                break answer;
            }
        };
        if answer.done {
            assert!(check(&answer), "cut after {offset}: {:?}", answer.data);
            complete += 1;
        } else {
            let code = &answer.error()["code"];
            assert_eq!(code, "stream_interrupted", "cut after {offset}: {:?}", answer.data);
            honest += 1;
        }
    }
    (complete, honest)
}

/// Together the ways are tried at every third offset; with `CHAOS_STEP=1` each of them is at every one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_stream_is_cut_it_is_exact() {
    let step = usize::try_from(number("CHAOS_STEP", 15)).expect("a small number");
    let tries = WAYS.into_iter().enumerate().map(|(from, way)| async move {
        let gateway = pair(way).await;
        let text = "Tell me of the sea.";
        let exact = |it: &StreamAnswer| verdict(it, &recital(text)).is_ok();
        let found = cut_everywhere(&gateway, &question(text), (3 * from % step, step), exact).await;
        tell(&format!("{way:?}: (exact, honest error) = {found:?}"));
        assert_eq!(found.1, 0, "{way:?} can always be gone on with");
    });
    futures::future::join_all(tries).await;
}

#[tokio::test]
async fn wherever_a_tool_call_is_cut_its_arguments_are_exact_or_the_error_is_honest() {
    let woven = ["One", "Two"].map(Upstream::plain);
    let gateway = Gateway::with(woven).start().await;
    let parameters = json!({"type": "object", "required": ["city", "why"],
        "properties": {"city": {"type": "string"}, "why": {"type": "string"}}});
    let tool = json!({"type": "function", "function": {"name": "map", "parameters": parameters}});
    let body = with(question("Where is Zürich?"), json!({"tools": [tool]}));
    let exact = |it: &StreamAnswer| {
        let deltas = it.events.iter().filter_map(|it| it["choices"][0]["delta"].as_object());
        let calls = deltas.filter_map(|it| it.get("tool_calls"));
        let arguments: String =
            calls.filter_map(|it| it[0]["function"]["arguments"].as_str()).collect();
        let called: Value = serde_json::from_str(&arguments).unwrap_or_default();
        called == json!({"city": "Zürich", "why": "Zürich"}) && it.finishes(0) == ["tool_calls"]
    };
    let (complete, honest) = cut_everywhere(&gateway, &body, (0, 3), exact).await;
    assert!(complete > 0 && honest > 0, "{complete} {honest}");
}
