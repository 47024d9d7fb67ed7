//! What the contract says and the code does not do yet.

use relayfreellm::sim::{Answer, Fault, Flavour};
use serde_json::{Value, json};

use crate::secrets::{KEY, Log, all_of_the_answer, check_clean, gateway};
use crate::support::{Gateway, Upstream, ask, with};

#[tokio::test]
async fn several_unknown_members_are_left_out_one_by_one() {
    let gateway = Gateway::with([Upstream::new("Stranger", Flavour::Groq).model("m")]);
    let gateway = gateway.start().await;
    let body = with(ask("m"), json!({"store": true, "safety_identifier": "x"}));
    let answer = gateway.chat(&body).await.expect(200);
    let warning = answer.header("x-relay-warning");
    for member in ["store", "safety_identifier"] {
        assert!(warning.contains(member), "{warning}");
    }
}

#[tokio::test]
async fn several_choices_go_to_providers_that_can_give_them() {
    let gateway = Gateway::with([
        Upstream::new("Groq", Flavour::Groq).model("m"),
        Upstream::new("Cerebras", Flavour::Cerebras).model("m"),
        Upstream::plain("Alpha"),
    ]);
    let gateway = gateway.start().await;
    let body = with(ask("m"), json!({"n": 2}));
    for _ in 0..6 {
        let answer = gateway.chat(&body).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Alpha");
    }
    assert_eq!(gateway.reached("groq") + gateway.reached("cerebras"), 0, "ruled out beforehand");
}

#[tokio::test]
async fn a_session_waits_for_a_short_throttle_of_its_own_target() {
    let alpha = Upstream::plain("A").limits(json!({"requests_per_second": 1}));
    let gateway = Gateway::with([alpha, Upstream::plain("B")]).start().await;
    let session = [("x-session-id", "s-1")];
    for reason in ["meta", "affinity", "affinity"] {
        let answer = gateway.chat_with(&ask("auto"), &session).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "A");
        assert_eq!(answer.header("x-relay-route-reason"), reason);
    }
}

/// Cerebras writes `"param":"validation_error"` and `property 'body.logit_bias' is unsupported`;
/// OpenAI writes `Unrecognized request argument supplied: logit_bias` and names no `param`.
#[tokio::test]
async fn a_member_a_provider_does_not_know_is_found_in_its_own_words() {
    for flavour in [Flavour::Cerebras, Flavour::OpenAi] {
        let stranger = Upstream::new("Stranger", flavour).model("m");
        let stranger = stranger.simulated(|it| it.models[0].refuses.push("logit_bias".to_owned()));
        let gateway = Gateway::with([stranger]).start().await;
        let body = with(ask("m"), json!({"logit_bias": {"50256": -100}}));
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status, 200, "{flavour:?}: {answer:?}");
        assert_eq!(answer.header("x-relay-warning"), "dropped=logit_bias", "{flavour:?}");
        let records = gateway.upstream("stranger").records();
        assert_eq!(records.len(), 2, "{flavour:?}");
        let sent: Value = serde_json::from_slice(&records[1].body).expect("JSON");
        assert!(sent.get("logit_bias").is_none(), "{flavour:?}");
    }
}

#[tokio::test]
async fn a_cut_stream_is_in_the_figures_when_its_last_byte_has_been_sent() {
    let gateway = Gateway::plain().await;
    gateway.upstream("alpha").set_fault(Some(Fault::CutAfterChunks(3)));
    assert!(!gateway.stream(&ask("alpha/m")).await.done);
    assert_eq!(gateway.usage().await["total"]["requests"], 1);
}

/// An error of this status that repeats the key wherever an error may.
fn echo(status: u16) -> Fault {
    let error = json!({"error": {
        "message": format!("Incorrect API key provided: {KEY} (Bearer {KEY}). Unknown name '{KEY}'"),
        "type": KEY, "param": KEY, "code": KEY,
    }});
    let headers = vec![
        ("x-echo".to_owned(), KEY.to_owned()),
        ("www-authenticate".to_owned(), KEY.to_owned()),
    ];
    Fault::RawResponse { status, headers, body: error.to_string().into() }
}

#[tokio::test]
async fn a_provider_that_repeats_the_key_is_not_repeated_to_the_caller() {
    for status in [200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503] {
        for stream in [false, true] {
            let gateway = gateway().await;
            gateway.upstream("alpha").set_fault(Some(echo(status)));
            let body = with(ask("m"), json!({"stream": stream}));
            let answer = all_of_the_answer(&gateway, &body).await;
            check_clean(&format!("the answer after {status}"), &answer);
        }
    }
}

#[tokio::test]
async fn a_provider_that_repeats_the_key_is_not_repeated_in_the_log() {
    for status in [200, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503] {
        let (log, _guard) = Log::catch();
        let gateway = gateway().await;
        gateway.upstream("alpha").set_fault(Some(echo(status)));
        all_of_the_answer(&gateway, &ask("m")).await;
        let text = log.text();
        assert!(text.contains("Alpha/m"), "the log was caught");
        let ours: Vec<_> = text.lines().filter(|it| it.contains("relayfreellm")).collect();
        check_clean(&format!("the log after {status}"), &ours.join("\n"));
    }
}

#[tokio::test]
async fn text_held_back_for_the_normaliser_is_no_content_yet() {
    let gateway = Gateway::with([Upstream::plain("Bad"), Upstream::plain("Good")]);
    let gateway = gateway.start().await;
    let bad = gateway.upstream("bad");
    bad.set_answer(Answer::Fixed("Sure! The sky is blue.".to_owned()), Some(4));
    bad.set_fault(Some(Fault::CutAfterChunks(1)));
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert_eq!(answer.header("x-relay-provider"), "Good");
}
