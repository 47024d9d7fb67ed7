//! A stream that is cut after its first content goes on elsewhere as if nothing had happened.

use relayfreellm::sim::{Answer, Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, Log, Setup, StreamAnswer, Upstream, ask, with};

const TEXT: &str = "The lighthouse keeper counted the ships by their lamps. Seven came before midnight, \
                    three after, and the last one \u{2014} a small, stubborn boat \u{2014} came with the \
                    morning.\n\n```text\nlamps: 11\n```\n\nHe wrote the number down and slept.";

/// Two that know the same text and say it from the beginning, whatever they are asked.
fn pair() -> Setup {
    let teller =
        |name| Upstream::plain(name).simulated(|it| it.answer = Answer::Fixed(TEXT.to_owned()));
    Gateway::with([teller("One"), teller("Two")])
}

/// As if nothing had happened: one id, one role, one end, one count.
fn check_seamless(answer: &StreamAnswer) {
    let chunks: Vec<&Value> = answer.events.iter().collect();
    let ids: Vec<&Value> = chunks.iter().map(|it| &it["id"]).collect();
    assert!(ids.windows(2).all(|it| it[0] == it[1]), "{ids:?}");
    let models: Vec<&Value> = chunks.iter().map(|it| &it["model"]).collect();
    assert!(models.windows(2).all(|it| it[0] == it[1]), "{models:?}");
    let roles = chunks.iter().filter(|it| !it["choices"][0]["delta"]["role"].is_null()).count();
    assert_eq!(roles, 1);
    assert_eq!(answer.finishes(0), ["stop"]);
    let usages = chunks.iter().filter(|it| it["usage"].is_object()).count();
    assert_eq!(usages, 1);
}

#[tokio::test]
async fn a_cut_stream_is_complete_and_exact() {
    for cut in [1, 2, 5, 9, 14, 20, 30] {
        for fault in
            [Fault::CutAfterChunks(cut), Fault::ErrorAfterChunks(cut), Fault::StallAfterChunks(cut)]
        {
            let settings = json!({"http": {"timeout_seconds": 0.3}});
            let gateway = pair().settings(settings).start().await;
            gateway.upstream("one").set_fault(Some(fault.clone()));
            let asked = json!({"stream_options": {"include_usage": true}});
            let answer = gateway.stream(&with(ask("m"), asked)).await.expect_done();
            assert_eq!(answer.said(), TEXT, "{fault:?}");
            check_seamless(&answer);
            if answer.header("x-relay-provider") == "One" {
                assert_eq!(answer.comments, [": continued by Two/m"]);
            }
        }
    }
}

#[tokio::test]
async fn the_same_target_goes_on_where_there_is_no_other() {
    let gateway = pair().start().await;
    gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(6)]);
    let log = Log::catch();
    let answer = gateway.stream(&ask("one/m")).await.expect_done();
    assert_eq!(answer.said(), TEXT);
    assert!(log.text().contains("One/m (failover)"), "{}", log.text());
    assert_eq!((gateway.reached("one"), gateway.reached("two")), (2, 0), "direct stays direct");
}

#[tokio::test]
async fn a_stream_cut_again_and_again_goes_on() {
    let gateway = pair().start().await;
    for name in ["one", "two"] {
        let cuts = [4, 11].map(Fault::CutAfterChunks);
        gateway.upstream(name).script(None, cuts.to_vec());
    }
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert_eq!(answer.said(), TEXT);
    let first = answer.header("x-relay-provider");
    let [a, b] = if first == "One" { ["Two/m", "One/m"] } else { ["One/m", "Two/m"] };
    let [comment] = &*answer.comments else { panic!("{:?}", answer.comments) };
    assert!(comment.starts_with(&format!(": continued by {a}, {b}")), "{comment}");
}

#[tokio::test]
async fn another_text_is_never_spliced_in() {
    let other = "Here is something else entirely, about gardens and rain, and nothing of it fits.";
    let other =
        Upstream::plain("Other").simulated(|it| it.answer = Answer::Fixed(other.to_owned()));
    let teller = Upstream::plain("One").simulated(|it| it.answer = Answer::Fixed(TEXT.to_owned()));
    let gateway = Gateway::with([teller, other]).start().await;
    gateway.upstream("one").set_fault(Some(Fault::CutAfterChunks(8)));
    // Whichever answers first, what comes is a piece of one text, and the error is honest.
    let answer = gateway.stream(&with(ask("m"), json!({"model_name": "m"}))).await;
    if answer.header("x-relay-provider") == "One" {
        assert!(!answer.done && answer.error().is_object(), "{:?}", answer.data);
        assert!(TEXT.starts_with(&answer.said()), "{}", answer.said());
        assert!(gateway.reached("other") > 0, "it was asked");
    }
}

#[tokio::test]
async fn tool_calls_and_json_are_never_spliced() {
    let tools = json!({"tools": [{"type": "function", "function": {"name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}],
        "tool_choice": "required"});
    let json_mode = json!({"response_format": {"type": "json_object"}});
    for asked in [tools, json_mode] {
        let gateway = Gateway::with([Upstream::plain("One"), Upstream::plain("Two")]).start().await;
        gateway.upstream("one").set_fault(Some(Fault::CutAfterChunks(2)));
        let answer = gateway.stream(&with(ask("one/m"), asked.clone())).await;
        assert!(!answer.done && answer.error().is_object(), "{asked}: {:?}", answer.data);
        assert_eq!(gateway.reached("one"), 1, "{asked}");
    }
}

#[tokio::test]
async fn white_space_before_the_text_does_not_come_twice() {
    let text = format!("\n\n{TEXT}");
    for cut in [1, 2, 3] {
        let tellers = ["One", "Two"].map(|name| {
            Upstream::plain(name).simulated(|it| {
                it.answer = Answer::Fixed(text.clone());
                it.chunk_chars = Some(1);
            })
        });
        let as_it_is = json!({"normalizer": {"enabled": false}});
        let gateway = Gateway::with(tellers).settings(as_it_is).start().await;
        gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(cut)]);
        let asked = json!({"stream_options": {"include_usage": true}});
        let answer = gateway.stream(&with(ask("one/m"), asked)).await.expect_done();
        assert_eq!(answer.said(), text, "{cut}");
        check_seamless(&answer);
    }
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let settings = json!({"routing": {"stream_continuation": false}});
    let gateway = pair().settings(settings).start().await;
    gateway.upstream("one").set_fault(Some(Fault::CutAfterChunks(5)));
    let answer = gateway.stream(&ask("one/m")).await;
    assert!(!answer.done && answer.error().is_object());
    assert_eq!(gateway.reached("one"), 1);
}

#[tokio::test]
async fn the_next_model_is_shown_what_was_sent() {
    let gateway = pair().start().await;
    gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(15)]);
    let answer = gateway.stream(&with(ask("one/m"), json!({"max_tokens": 500}))).await;
    answer.expect_done();
    let asked = gateway.upstream("one").records().pop().expect("a second call");
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let messages = body["messages"].as_array().expect("messages");
    let roles: Vec<&str> = messages.iter().filter_map(|it| it["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let shown = messages[1]["content"].as_str().expect("text");
    assert!(TEXT.starts_with(shown) && shown.len() > 20, "{shown}");
    let told = messages[2]["content"].as_str().expect("text");
    let cue = TEXT[shown.len()..].trim_start().split('\n').next().unwrap_or_default();
    let cue: String = cue.chars().take(10).collect();
    assert!(told.contains(&cue), "{cue}: {told}");
    assert!(body["max_tokens"].as_u64() < Some(700), "{body}");
}

#[tokio::test]
async fn a_bound_on_the_answer_holds_over_the_seam() {
    for (most, finish, length) in
        [(30, "length", 90..200), (200, "stop", TEXT.len()..TEXT.len() + 1)]
    {
        let gateway = pair().start().await;
        gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(6)]);
        let asked = json!({"max_tokens": most, "stream_options": {"include_usage": true}});
        let answer = gateway.stream(&with(ask("one/m"), asked)).await.expect_done();
        assert_eq!(gateway.reached("one"), 2);
        assert_eq!(answer.finishes(0), [finish], "{most}");
        let said = answer.said();
        assert!(TEXT.starts_with(&said) && length.contains(&said.len()), "{most}: {said}");
        assert!(answer.events.last().expect("a usage chunk")["usage"].is_object(), "{most}");
    }
}

#[tokio::test]
async fn what_all_have_used_is_told_as_one_sum_and_kept_as_what_it_was() {
    let gateway = pair().start().await;
    for name in ["one", "two"] {
        gateway.upstream(name).script(None, vec![Fault::CutAfterChunks(20)]);
    }
    let asked = json!({"model": "one/m", "stream_options": {"include_usage": true}});
    let answer = gateway.stream(&with(ask("m"), asked)).await.expect_done();
    let told = answer.events.last().expect("a usage chunk")["usage"].clone();
    let last = gateway.upstream("one").records().pop().expect("two calls").reported_usage;
    let (prompt, completion) = last.expect("figures of the second");
    assert!(told["prompt_tokens"].as_u64() > Some(prompt), "{told}");
    assert!(told["completion_tokens"].as_u64() > Some(completion), "{told}");
    let usage = gateway.usage().await;
    let [one, two] = ["One", "Two"].map(|it| usage["providers"][it]["requests"].as_u64());
    assert_eq!(one.zip(two).map(|(one, two)| one + two), Some(2), "each call has delivered a part");
    let usage = &usage["total"];
    assert_eq!((&usage["requests"], &usage["estimated_requests"]), (&json!(1), &json!(1)));
    assert_eq!(usage["failed_attempts"], 0, "neither has delivered nothing");
    for it in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(usage[it], told[it], "{usage} {told}");
    }
}

/// Some providers tell their figures with the last chunk, asked or not.
#[tokio::test]
async fn who_did_not_ask_for_figures_gets_those_of_the_whole_answer() {
    let teller = |name| {
        Upstream::new(name, Flavour::Mistral)
            .model("m")
            .simulated(|it| it.answer = Answer::Fixed(TEXT.to_owned()))
    };
    let gateway = Gateway::with([teller("One"), teller("Two")]).start().await;
    gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(9)]);
    let answer = gateway.stream(&ask("one/m")).await.expect_done();
    assert_eq!(answer.said(), TEXT);
    check_seamless(&answer);
    let told = answer.events.iter().find(|it| it["usage"].is_object()).expect("figures");
    let usage = &gateway.usage().await["total"];
    for it in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(usage[it], told["usage"][it], "{usage} {told}");
    }
}

/// The cut uses up what `Two` allows in a minute: it goes on where there is quota, and no window is
/// overdrawn.
#[tokio::test]
async fn whoever_goes_on_needs_quota_like_any_other() {
    let teller =
        |name| Upstream::plain(name).simulated(|it| it.answer = Answer::Fixed(TEXT.to_owned()));
    let two = teller("Two").limits(json!({"requests_per_minute": 1}));
    let gateway = Gateway::with([teller("One"), two]).start().await;
    gateway.chat(&ask("two/m")).await.expect(200);
    gateway.upstream("one").script(None, vec![Fault::CutAfterChunks(9)]);
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert_eq!(answer.said(), TEXT);
    assert_eq!(answer.comments, [": continued by One/m"]);
    assert_eq!((gateway.reached("one"), gateway.reached("two")), (2, 1));
}
