//! A key's cap holds exactly, and who is refused is told when to come back.

use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Answer as SimAnswer, Pace};
use serde_json::json;

use crate::support::{ask, with};
use crate::virtual_keys::{chat, make, plain, today};

#[tokio::test]
async fn a_cap_of_tokens_holds_exactly_where_the_caller_bounds_the_answer() {
    let gateway = plain().start().await;
    let alpha = gateway.upstream("alpha");
    alpha.set_answer(SimAnswer::Fixed("word ".repeat(5_000)), None);
    alpha.set_pace(Pace { first_token: Duration::from_millis(1_500), ..Pace::default() });
    let (key, id) = make(&gateway, json!({"daily_tokens": 12_000})).await;
    let body = with(ask("m"), json!({"max_tokens": 4_000}));
    let answers = join_all((0..30).map(|_| chat(&gateway, &key, &body))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 200);
    assert_eq!((passed.len(), refused.len()), (2, 28));
    for it in refused {
        assert_eq!(
            (it.status, it.error()["code"].as_str()),
            (429, Some("virtual_key_cap_reached"))
        );
        // What is in the way is under way.
        assert_eq!(it.header("retry-after"), "1", "{}", it.text());
        assert!(it.text().contains("under way"), "{}", it.text());
    }
    let (requests, tokens) = today(&gateway, &id).await;
    assert!(requests == 2 && tokens <= 12_000, "{tokens}");
    // What is left is left to whoever asks for no more.
    alpha.set_pace(Pace::default());
    chat(&gateway, &key, &body).await.expect(429);
    let body = with(ask("m"), json!({"max_tokens": 2_000}));
    chat(&gateway, &key, &body).await.expect(200);
    let (_, tokens) = today(&gateway, &id).await;
    assert!(tokens <= 12_000, "{tokens}");
}

#[tokio::test]
async fn an_answer_that_no_day_has_room_for_is_no_matter_of_waiting() {
    let gateway = plain().start().await;
    let (key, _) = make(&gateway, json!({"daily_tokens": 1_000})).await;
    for more in [json!({"max_tokens": 1_000}), json!({"max_tokens": 300, "n": 4})] {
        let refused = chat(&gateway, &key, &with(ask("m"), more)).await.expect(400);
        assert_eq!(refused.error()["code"], "virtual_key_cap_exceeded");
        assert_eq!(refused.error()["param"], "max_tokens");
    }
    chat(&gateway, &key, &with(ask("m"), json!({"max_tokens": 500}))).await.expect(200);
    assert_eq!(gateway.reached("alpha"), 1);
}

#[tokio::test]
async fn who_is_refused_for_a_spent_cap_is_sent_to_midnight() {
    let gateway = plain().start().await;
    let pace = Pace { first_token: Duration::from_secs(1), ..Pace::default() };
    gateway.upstream("alpha").set_pace(pace);
    let (key, _) = make(&gateway, json!({"daily_requests": 1})).await;
    let body = ask("m");
    let both = join_all((0..2).map(|_| chat(&gateway, &key, &body))).await;
    let refused = both.iter().find(|it| it.status == 429).expect("one is refused");
    assert_eq!(refused.header("retry-after"), "1");
    let refused = chat(&gateway, &key, &body).await.expect(429);
    assert!(refused.text().contains("midnight UTC"), "{}", refused.text());
}
