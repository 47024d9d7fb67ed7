//! Limits hold whatever the concurrency, and what callers are told about them is true.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::sim::{Fault, Pace, What};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, Gateway, SOON, Upstream, ask, streamed, with};

const MINUTE: Duration = Duration::from_secs(60);

/// No waiting for quota, so that a refusal is seen at once.
fn impatient() -> Value {
    json!({"routing": {"max_quota_wait_seconds": 0}})
}

/// So many requests at once.
async fn at_once(gateway: &Gateway, count: usize, body: &Value) -> Vec<Answer> {
    join_all((0..count).map(|_| gateway.chat(body))).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|it| it.status == status).count()
}

/// Requests that reached a provider, by key.
fn by_key(gateway: &Gateway, name: &str) -> BTreeMap<String, u64> {
    let mut by_key = BTreeMap::new();
    for record in gateway.upstream(name).records() {
        *by_key.entry(record.key).or_default() += 1;
    }
    by_key
}

#[tokio::test]
async fn of_500_at_once_exactly_30_reach_a_provider_that_allows_30() {
    // The provider counts for itself too, and would refuse the 31st.
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 30}));
    let tight = tight.simulated(|it| {
        let model = it.models.remove(0);
        it.models.push(model.limit(What::Requests, MINUTE, 30));
    });
    let gateway = Gateway::with([tight, Upstream::plain("Wide")]).start().await;
    let answers = at_once(&gateway, 500, &ask("m")).await;
    assert_eq!(count(&answers, 200), 500);
    assert_eq!(gateway.reached("tight"), 30);
    assert_eq!(gateway.reached("wide"), 470);
    let refused = gateway.upstream("tight").records().iter().any(|it| it.status != Some(200));
    assert!(!refused, "the gateway counts, not the provider");
}

#[tokio::test]
async fn of_500_at_once_without_another_provider_470_get_an_honest_429() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 30}));
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let answers = at_once(&gateway, 500, &ask("m")).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (30, 470));
    assert_eq!(gateway.reached("tight"), 30);
    for answer in answers.iter().filter(|it| it.status == 429) {
        let error = answer.error();
        assert_eq!(error["code"], "all_providers_exhausted", "{error}");
        let ms = error["retry_after_ms"].as_u64().expect("milliseconds");
        assert!((50_000..=61_000).contains(&ms), "{ms}");
        assert_eq!(answer.header("retry-after"), ms.div_ceil(1000).to_string());
        assert_eq!(error["suggestions"][0]["model"], "Tight/m", "{error}");
    }
}

#[tokio::test]
async fn callers_that_hang_up_never_overdraw_a_window() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 30}));
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let tight = gateway.upstream("tight");
    tight.set_fault(Some(Fault::Hang));
    let body = ask("m");
    let sockets = join_all((0..60).map(|_| gateway.chat_on_socket(&body))).await;
    assert!(tight.wait_for(SOON, |it| it.len() == 30).await.is_some());
    drop(sockets);
    let gone = tight.wait_for(SOON, |it| it.iter().all(|it| it.client_gone_at.is_some())).await;
    assert!(gone.is_some());
    tight.mend();
    let answers = at_once(&gateway, 40, &body).await;
    assert_eq!(count(&answers, 429), 40, "what was written is spent");
    assert_eq!(gateway.reached("tight"), 30);
}

#[tokio::test]
async fn after_the_retry_after_it_works() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_second": 5}));
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    for _ in 0..2 {
        let answers = at_once(&gateway, 9, &ask("m")).await;
        assert_eq!((count(&answers, 200), count(&answers, 429)), (5, 4));
        let refused = answers.iter().filter(|it| it.status == 429);
        let waits = refused.map(|it| it.error()["retry_after_ms"].as_u64().expect("a number"));
        // All five were charged within a moment: when the last of them is back, all are. Each is kept
        // 40 ms longer than the provider keeps it.
        let longest = waits.max().expect("a refusal");
        assert!((1..=1_050).contains(&longest), "{longest}");
        tokio::time::sleep(Duration::from_millis(longest + 50)).await;
    }
}

#[tokio::test]
async fn a_limit_for_a_second_is_waited_for() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_second": 2}));
    let gateway = Gateway::with([tight]).start().await;
    let begun = Instant::now();
    let answers = at_once(&gateway, 4, &ask("m")).await;
    assert_eq!(count(&answers, 200), 4);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    for answer in answers {
        assert_eq!(answer.header("x-relay-attempts"), "1", "waiting for quota is no attempt");
    }
}

#[tokio::test]
async fn every_key_has_its_own_quota() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 10}));
    let tight = tight.key("k1").key("k2").key("k3");
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let answers = at_once(&gateway, 60, &ask("m")).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (30, 30));
    let expected = ["k1", "k2", "k3"].map(|it| (it.to_owned(), 10));
    assert_eq!(by_key(&gateway, "tight"), BTreeMap::from(expected));
}

#[tokio::test]
async fn keys_of_one_group_share_their_quota() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 10}));
    let tight = tight.grouped_key("acct", "k1").grouped_key("acct", "k2").key("k3");
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let answers = at_once(&gateway, 60, &ask("m")).await;
    assert_eq!(count(&answers, 200), 20);
    let used = by_key(&gateway, "tight");
    assert_eq!(used["k3"], 10, "{used:?}");
    let grouped = |key: &str| used.get(key).copied().unwrap_or_default();
    assert_eq!(grouped("k1") + grouped("k2"), 10, "{used:?}");
}

#[tokio::test]
async fn models_share_one_bucket_when_the_account_is_what_counts() {
    for (scope, expected) in [("account", 10), ("model", 20)] {
        let limits = json!({"requests_per_minute": 10});
        let tight = Upstream::plain("Tight").limits(limits.clone()).model("n").limits(limits);
        let tight = tight.entry(json!({"quota_scope": scope}));
        let gateway = Gateway::with([tight]).settings(impatient()).start().await;
        let answers = at_once(&gateway, 40, &ask("auto")).await;
        assert_eq!(count(&answers, 200), expected, "{scope}");
    }
}

#[tokio::test]
async fn all_windows_hold_at_once() {
    let limits = json!({"requests_per_minute": 10, "requests_per_hour": 4, "requests_per_day": 7});
    let tight = Upstream::plain("Tight").limits(limits);
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let answers = at_once(&gateway, 20, &ask("m")).await;
    assert_eq!(count(&answers, 200), 4);
    let refused = answers.iter().find(|it| it.status == 429).expect("a refusal");
    let ms = refused.error()["retry_after_ms"].as_u64().expect("a number");
    assert!((3_500_000..=3_700_000).contains(&ms), "{ms}");
}

#[tokio::test]
async fn minus_one_is_no_limit() {
    let limits = json!({"requests_per_minute": -1, "tokens_per_minute": -1});
    let gateway = Gateway::with([Upstream::plain("Wide").limits(limits)]).start().await;
    assert_eq!(count(&at_once(&gateway, 100, &ask("m")).await, 200), 100);
}

#[tokio::test]
async fn tokens_are_reserved_before_the_call_and_settled_after_it() {
    let pace = Pace { first_token: Duration::from_millis(300), per_chunk: Duration::ZERO };
    let tight = Upstream::plain("Tight").limits(json!({"tokens_per_minute": 3000}));
    let tight = tight.entry(json!({"reserves_max_tokens": true})).simulated(|it| it.pace = pace);
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let body = with(ask("m"), json!({"max_tokens": 900}));
    // Each may take 900 and its prompt: three fit into 3000, four do not.
    let answers = at_once(&gateway, 10, &body).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (3, 7));
    // Of what was reserved most was not used, and came back.
    gateway.upstream("tight").set_pace(Pace::default());
    gateway.chat(&body).await.expect(200);
    gateway.chat(&body).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_takes_two_at_once_gets_two() {
    let slow = Pace { first_token: Duration::from_millis(300), per_chunk: Duration::ZERO };
    let tight = Upstream::plain("Tight").entry(json!({"max_concurrent": 2}));
    let tight = tight.simulated(|it| it.pace = slow);
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let answers = at_once(&gateway, 6, &ask("m")).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (2, 4));
    gateway.chat(&ask("m")).await.expect(200);
}

#[tokio::test]
async fn a_stream_keeps_its_place_until_its_end() {
    let slow = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(50) };
    let tight = Upstream::plain("Tight").entry(json!({"max_concurrent": 1}));
    let tight = tight.simulated(|it| it.pace = slow);
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    let mut stream = gateway.open(&streamed(ask("m")), &[]).await;
    stream.read_until(|it| it.contains("data:")).await;
    gateway.chat(&ask("m")).await.expect(429);
    stream.finish().await.expect_done();
    gateway.chat(&ask("m")).await.expect(200);
}

#[tokio::test]
async fn one_waits_for_a_place_at_a_provider_that_takes_one_at_once() {
    let tight = Upstream::plain("Tight").entry(json!({"max_concurrent": 1}));
    let gateway = Gateway::with([tight]).start().await;
    let answers = at_once(&gateway, 5, &ask("m")).await;
    assert_eq!(count(&answers, 200), 5);
}

#[tokio::test]
async fn a_refused_call_gives_its_quota_back_unless_the_provider_counts_it() {
    for (counted, expected) in [(false, 2), (true, 1)] {
        let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 2}));
        let tight = tight.entry(json!({"failed_requests_count": counted}));
        let settings = json!({"routing": {"max_quota_wait_seconds": 0, "max_retries": 0}});
        let gateway = Gateway::with([tight]).settings(settings).start().await;
        gateway.upstream("tight").script(None, vec![Fault::Status(500)]);
        gateway.chat(&ask("m")).await.expect(503);
        let mut answered = 0;
        for _ in 0..3 {
            answered += usize::from(gateway.chat(&ask("m")).await.status == 200);
        }
        assert_eq!(answered, expected, "failed_requests_count: {counted}");
    }
}

#[tokio::test]
async fn the_quota_view_counts_what_is_shared_once() {
    let day = json!({"requests_per_day": 10});
    let shared = Upstream::plain("Shared").limits(day.clone()).model("n").limits(day.clone());
    let shared =
        shared.grouped_key("acct", "sk-one-11111111").grouped_key("acct", "sk-two-22222222");
    let own = Upstream::plain("Own").limits(day).key("sk-own-33333333");
    let gateway = Gateway::with([shared, own, Upstream::plain("Open")]).start().await;
    gateway.chat(&ask("shared/m")).await.expect(200);
    gateway.chat(&ask("open/m")).await.expect(200);

    let quota = gateway.get("/v1/quota").await.expect(200).json();
    // Two models of one account, however many keys it has, and one of the other.
    assert_eq!(quota["pool"]["requests"]["now"], 9 + 10 + 10, "{quota}");
    assert_eq!(quota["pool"]["requests"]["unknown"], 1, "{quota}");
    assert_eq!(quota["pool"]["tokens"], json!({"now": 0, "today": 0, "unknown": 4}), "{quota}");
    assert_eq!(quota["pool"]["runs_out_in_sec"], Value::Null, "{quota}");
    let keys = quota["providers"][0]["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    for key in keys {
        let model = &key["models"][0];
        assert_eq!((&model["model"], &model["state"]), (&json!("m"), &json!("ready")), "{quota}");
        let window = &model["windows"][0];
        assert_eq!(window["limit"], 10, "{quota}");
        assert_eq!((&window["used"], &window["left"]), (&json!(1), &json!(9)), "{quota}");
        assert!(window["resets_at"].as_u64() > Some(1_700_000_000), "{quota}");
    }
    assert_eq!(quota["providers"][2]["keys"][0]["models"][0]["windows"], json!([]), "{quota}");
    assert!(!quota.to_string().contains("sk-one"), "a key is masked: {quota}");
}

#[tokio::test]
async fn the_quota_view_says_what_is_spent_and_since_when_it_is_not() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_hour": 1}));
    let gateway = Gateway::with([tight]).settings(impatient()).start().await;
    gateway.chat(&ask("tight/m")).await.expect(200);
    let quota = gateway.get("/v1/quota").await.expect(200).json();
    let model = &quota["providers"][0]["keys"][0]["models"][0];
    assert_eq!((&model["state"], &model["reason"]), (&json!("spent"), &json!("requests per hour")));
    let back = model["available_in_sec"].as_u64().expect("known");
    assert!((3_590..=3_601).contains(&back), "{quota}");
    assert_eq!(quota["pool"]["requests"]["now"], 0, "{quota}");
}

#[tokio::test]
async fn the_quota_view_says_that_a_pool_has_run_out_also_when_nobody_asks() {
    let day = Upstream::plain("Day").limits(json!({"requests_per_day": 1}));
    let day = day.entry(json!({"reset": "utc_day"}));
    let gateway = Gateway::with([day]).settings(impatient()).start().await;
    let pool = gateway.get("/v1/quota").await.expect(200).json()["pool"].clone();
    assert_eq!(pool["requests"], json!({"now": 1, "today": 1, "unknown": 0}), "{pool}");
    gateway.chat(&ask("day/m")).await.expect(200);
    let pool = gateway.get("/v1/quota").await.expect(200).json()["pool"].clone();
    assert_eq!(pool["requests"], json!({"now": 0, "today": 0, "unknown": 0}), "{pool}");
    assert_eq!(pool["runs_out_in_sec"], 0, "{pool}");
}

#[tokio::test]
async fn the_quota_view_does_not_count_on_keys_that_rest_all_day_nor_on_windows_of_unknown_size() {
    let rejected = Upstream::plain("Rejected").limits(json!({"requests_per_day": 10}));
    let gone = Upstream::plain("Gone");
    let gateway = Gateway::with([rejected, gone]).settings(impatient()).start().await;
    let said = |text: &str| Fault::RawResponse {
        status: 429,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({"error": {"message": text}}).to_string().into(),
    };
    let long = "Rate limit reached on requests per hour. Please try again in 59m.";
    gateway.upstream("gone").script(None, vec![said(long)]);
    gateway.chat(&ask("gone/m")).await.expect(429);
    let month = "You have reached 10 requests per month. Please try again in 700h.";
    gateway.upstream("rejected").script(None, vec![said(month)]);
    gateway.chat(&ask("rejected/m")).await.expect(429);

    let quota = gateway.get("/v1/quota").await.expect(200).json();
    // Of what rests for a month nothing is left today; how much the other has, nobody knows.
    assert_eq!(quota["pool"]["requests"], json!({"now": 0, "today": 0, "unknown": 1}), "{quota}");
    assert_eq!(quota["pool"]["runs_out_in_sec"], Value::Null, "{quota}");
    let gone = &quota["providers"][1]["keys"][0]["models"][0];
    assert_eq!(
        (&gone["windows"][0]["limit"], &gone["windows"][0]["left"]),
        (&Value::Null, &json!(0))
    );
}
