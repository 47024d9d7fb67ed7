//! What the contract says and the code does not do yet.

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
    assert_eq!(targets(&gateway, &body).await, ["Alpha/m"]);
    assert_eq!(gateway.reached("groq") + gateway.reached("cerebras"), 0, "ruled out beforehand");
}

#[tokio::test]
async fn a_session_waits_for_a_short_throttle_of_its_own_target() {
    let alpha = Upstream::plain("A").limits(json!({"requests_per_second": 1}));
    let gateway = Gateway::with([alpha, Upstream::plain("B")]).start().await;
    let (home, _) = in_session(&gateway).await;
    assert_eq!(home, "A/m");
    assert_eq!(in_session(&gateway).await, ("A/m".to_owned(), "affinity".to_owned()));
}
