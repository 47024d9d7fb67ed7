//! Providers that fail in every way, and callers that don't notice.

use std::collections::BTreeMap;
use std::io::Write as _;

use futures::StreamExt as _;
use futures::stream;
use http::Request;
use http::Uri;
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

fn provider(name: &str, flavour: Flavour) -> Upstream {
    let provider = Upstream::new(name, flavour).model("m");
    match flavour {
        // What is known as Ollama takes no key.
        Flavour::Ollama => provider.entry(json!({"kind": "ollama"})),
        _ => provider,
    }
}

/// A provider that knows what all others know, and goes on in this way with what they began.
fn reciter(name: &str, flavour: Flavour, way: Continuing) -> Upstream {
    provider(name, flavour).simulated(|it| it.answer = Answer::Recited(way))
}

/// Those that fail, one of every wire and some dialects.
const FAULTY: [(&str, Flavour); 7] = [
    ("Alpha", Flavour::OpenAi),
    ("Groq", Flavour::Groq),
    ("Mistral", Flavour::Mistral),
    ("Cerebras", Flavour::Cerebras),
    ("Gemini", Flavour::Gemini),
    ("Anthropic", Flavour::Anthropic),
    ("Llama", Flavour::Ollama),
];
/// Keys of each of them. Breakers bench a key with its model after three faults in a row; with many keys
/// most requests still go to providers that fail.
const KEYS: usize = 12;

/// Many that fail and one that doesn't, all with quota.
fn pool(chaos: Chaos) -> Setup {
    let way = Continuing::Any(chaos.seed);
    let faulty = FAULTY.map(|(name, flavour)| {
        let provider = reciter(name, flavour, way).simulated(|it| it.chaos = Some(chaos));
        (0..KEYS).fold(provider, |it, number| it.key(&format!("key{number}of{name}")))
    });
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
        return Err(format!("ended with {} after {:?}", answer.error(), answer.said()));
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
    for (name, _) in FAULTY.into_iter().chain([("Healthy", Flavour::OpenAi)]) {
        let upstream = gateway.upstream(&name.to_lowercase());
        tell(&format!(
            "{name}: {} calls, {} answered",
            upstream.count_reached(),
            upstream.count_served()
        ));
    }
    let bad: Vec<_> = ends.keys().filter(|it| !it.contains("exact")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let continued = ends.get("streamed: exact, continued").copied().unwrap_or_default();
    assert!(continued >= requests / 100, "hardly anything was ever continued: {ends:?}");
    let healthy = gateway.reached("healthy");
    assert!(healthy < requests / 2, "the one without faults took {healthy} of {requests}");
}

/// Every way to go on with a text that somebody else began.
const WAYS: [Continuing; 5] = [
    Continuing::Exactly,
    Continuing::Restarts,
    Continuing::Repeats,
    Continuing::DropsSpace,
    Continuing::ChangesCase,
];

/// The wires; each has its own way to tell a text.
const WIRES: [(&str, Flavour); 4] = [
    ("One", Flavour::OpenAi),
    ("Gemini", Flavour::Gemini),
    ("Anthropic", Flavour::Anthropic),
    ("Llama", Flavour::Ollama),
];

/// The bytes of what the provider `first` sends for `body`: what it was asked is asked once more.
async fn length(gateway: &Gateway, first: &str, body: &Value) -> usize {
    let direct = with(body.clone(), json!({"model": format!("{first}/m")}));
    gateway.stream(&direct).await.expect_done();
    let asked = gateway.upstream(first).records().pop().expect("a record");
    let base: Uri = gateway.upstream_url(first).parse().expect("an address");
    let url = format!("http://{}{}", base.authority().expect("a host"), asked.path);
    let mut request = Request::post(url);
    for (name, value) in asked.headers.iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    let request = request.body(asked.body.into()).expect("a request");
    gateway.send(request).await.expect(200).body.len()
}

/// What came of streams that were cut.
#[derive(Debug, Default)]
struct Ends {
    complete: u64,
    /// Of these, how many went on after their first content.
    continued: u64,
    honest_errors: u64,
}

/// Cuts the stream that `first` answers `body` with after `from` bytes, and after every `step` more.
/// `check` says whether an answer is exact.
async fn cut_everywhere(
    (gateway, first): (&Gateway, &str),
    body: &Value,
    (from, step): (usize, usize),
    check: impl Fn(&StreamAnswer) -> bool,
) -> Ends {
    let one = gateway.upstream(first);
    let direct = with(body.clone(), json!({"model": format!("{first}/m")}));
    let mut ends = Ends::default();
    for (tries, offset) in (from..length(gateway, first, body).await).step_by(step).enumerate() {
        if tries % 2 == 0 {
            // A whole answer now and then, or it would soon not be asked any more.
            gateway.chat(&direct).await.expect(200);
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
            ends.complete += 1;
            ends.continued += u64::from(answer.comments.iter().any(|it| it.contains("continued")));
        } else {
            let code = &answer.error()["code"];
            assert_eq!(code, "stream_interrupted", "cut after {offset}: {:?}", answer.data);
            ends.honest_errors += 1;
        }
    }
    ends
}

/// The step between two cuts: every byte is tried with `CHAOS_STEP=1`.
fn step(usual: u64) -> usize {
    usize::try_from(number("CHAOS_STEP", usual)).expect("a small number")
}

/// Cuts a recital told by `first` everywhere; another provider goes on in this way.
async fn cut_a_recital(first: (&str, Flavour), way: Continuing, offsets: (usize, usize)) {
    let shape = |it: Upstream| it.simulated(|it| it.chunk_chars = Some(40));
    let pair = [first, ("Two", Flavour::OpenAi)].map(|(name, it)| shape(reciter(name, it, way)));
    let gateway = Gateway::with(pair).start().await;
    let text = "Tell me of the sea.";
    let exact = |it: &StreamAnswer| verdict(it, &recital(text)).is_ok();
    let name = first.0.to_lowercase();
    let ends = cut_everywhere((&gateway, &name), &question(text), offsets, exact).await;
    tell(&format!("{name}, {way:?}: {ends:?}"));
    assert_eq!(ends.honest_errors, 0, "{way:?} can always be gone on with");
    assert!(ends.continued > 0, "{name}, {way:?}: {ends:?}");
}

/// Together the ways are tried at every sixth offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_stream_is_cut_it_is_exact() {
    let step = step(30);
    let tries = WAYS.into_iter().enumerate();
    let tries = tries.map(|(from, way)| cut_a_recital(WIRES[0], way, (6 * from % step, step)));
    futures::future::join_all(tries).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_wire_a_cut_stream_came_by_it_is_exact() {
    let tries = WIRES.into_iter().skip(1);
    let tries = tries.map(|it| cut_a_recital(it, Continuing::Any(6), (0, step(37))));
    futures::future::join_all(tries).await;
}

/// Cuts a tool call of `first` everywhere.
async fn cut_a_tool_call(first: (&str, Flavour), step: usize) {
    let pair = [first, ("Two", Flavour::OpenAi)].map(|(name, it)| provider(name, it));
    let gateway = Gateway::with(pair).start().await;
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
    let name = first.0.to_lowercase();
    let ends = cut_everywhere((&gateway, &name), &body, (0, step), exact).await;
    tell(&format!("{name}, a tool call: {ends:?}"));
    assert!(ends.complete > 0 && ends.continued == 0, "{name}: {ends:?}");
    // Where arguments come in pieces some cuts must fall between them.
    assert!(ends.honest_errors > 0 || first.1 != Flavour::OpenAi, "{name}: {ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_tool_call_is_cut_its_arguments_are_exact_or_the_error_is_honest() {
    futures::future::join_all(WIRES.map(|it| cut_a_tool_call(it, step(7)))).await;
}
