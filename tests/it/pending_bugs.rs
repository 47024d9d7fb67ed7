//! What the contract says and the code does not do yet.

use relayfreellm::sim::{Answer, Fault, Flavour};
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

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
async fn text_held_back_for_the_normaliser_is_no_content_yet() {
    let gateway = Gateway::with([Upstream::plain("Bad"), Upstream::plain("Good")]);
    let gateway = gateway.start().await;
    let bad = gateway.upstream("bad");
    bad.set_answer(Answer::Fixed("Sure! The sky is blue.".to_owned()), Some(4));
    bad.set_fault(Some(Fault::CutAfterChunks(1)));
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert_eq!(answer.header("x-relay-provider"), "Good");
}
