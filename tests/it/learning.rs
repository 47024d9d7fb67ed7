//! What providers say of their limits, in headers and in refusals, is known from then on.

use std::time::Duration;

use bytes::Bytes;
use relayfreellm::sim::{Fault, Flavour, LimitSpec, What};
use relayfreellm::window::{Calendar, Shape, Window};
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, streamed};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A gateway that waits for nothing, in front of this provider.
async fn impatient(upstreams: impl IntoIterator<Item = Upstream>) -> Gateway {
    let settings = json!({"routing": {"max_quota_wait_seconds": 0}});
    Gateway::with(upstreams).settings(settings).start().await
}

/// The same provider with a limit of its own, of which somebody else has used a part.
fn strict(upstream: Upstream, (what, window): (What, Duration), max: u64, used: u64) -> Upstream {
    let spent = Some((used, window));
    upstream.simulated(|it| it.models[0].limits.push(LimitSpec { what, window, max, spent }))
}

/// The window of that unit and period of the provider's first target.
async fn window(gateway: &Gateway, unit: &str, period: &str) -> Value {
    let status = gateway.get("/v1/status").await.expect(200).json();
    let targets = status["providers"][0]["targets"].as_array().expect("targets").clone();
    let windows = targets[0]["windows"].as_array().expect("windows").clone();
    let found = windows.iter().find(|it| it["unit"] == unit && it["period"] == period);
    found.cloned().unwrap_or_else(|| panic!("no {unit} a {period} in {status}"))
}

/// A response of exactly this form.
fn raw(status: u16, body: impl Into<Bytes>) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::RawResponse { status, headers, body: body.into() }
}

#[tokio::test]
async fn a_lower_limit_than_the_configured_one_is_kept_without_a_refusal() {
    for limits in [json!({"requests_per_minute": 30}), json!({})] {
        for stream in [false, true] {
            let tight = Upstream::plain("Tight").limits(limits.clone());
            let gateway = impatient([strict(tight, (What::Requests, MINUTE), 5, 0)]).await;
            let mut answered = 0;
            for _ in 0..8 {
                let answer = if stream {
                    gateway.post(streamed(ask("m")).to_string()).await
                } else {
                    gateway.chat(&ask("m")).await
                };
                answered += u64::from(answer.status == 200);
            }
            assert_eq!((answered, gateway.reached("tight")), (5, 5), "stream: {stream}");
            let window = window(&gateway, "requests", "minute").await;
            assert_eq!(window["configured"], limits["requests_per_minute"]);
            assert_eq!((&window["learned"], &window["left"]), (&json!(5), &json!(0)));
        }
    }
}

#[tokio::test]
async fn another_program_with_the_same_key_is_noticed() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 10}));
    let gateway = impatient([strict(tight, (What::Requests, MINUTE), 10, 6)]).await;
    let mut answered = 0;
    for _ in 0..8 {
        answered += u64::from(gateway.chat(&ask("m")).await.status == 200);
    }
    assert_eq!((answered, gateway.reached("tight")), (4, 4));
    assert_eq!(window(&gateway, "requests", "minute").await["used"], 10);
}

#[tokio::test]
async fn tokens_are_held_against_what_the_provider_counts() {
    let tight = Upstream::plain("Tight").limits(json!({"tokens_per_minute": 100_000}));
    let gateway = impatient([strict(tight, (What::Tokens, MINUTE), 100_000, 0)]).await;
    for _ in 0..4 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    let used = gateway.counted(4).await;
    let counted = used["prompt_tokens"].as_u64().zip(used["completion_tokens"].as_u64());
    let counted = counted.map(|(prompt, completion)| prompt + completion).expect("numbers");
    // What the calls cost more or less than was thought is nobody else's use.
    assert_eq!(window(&gateway, "tokens", "minute").await["used"], counted);
}

#[tokio::test]
async fn the_same_header_is_a_day_at_one_provider_and_a_minute_at_another() {
    for (name, flavour, length, period) in
        [("Groq", Flavour::Groq, DAY, "day"), ("OpenAI", Flavour::OpenAi, MINUTE, "minute")]
    {
        let upstream = Upstream::new(name, flavour).model("m");
        let gateway = impatient([strict(upstream, (What::Requests, length), 900, 0)]).await;
        gateway.chat(&ask("m")).await.expect(200);
        let window = window(&gateway, "requests", period).await;
        assert_eq!((&window["learned"], &window["left"]), (&json!(900), &json!(899)), "{name}");
    }
}

#[tokio::test]
async fn a_spent_day_is_believed_over_its_short_hint_and_the_other_key_serves() {
    let body = include_bytes!("../wire/gemini/error_429_day.json");
    let gemini = Upstream::new("Gemini", Flavour::Gemini).key("k1").key("k2").model("m");
    let gemini = gemini.entry(json!({"reset": "pacific_day"}));
    let gateway = impatient([gemini]).await;
    let upstream = gateway.upstream("gemini");
    upstream.script(None, vec![raw(429, body.as_slice())]);
    for _ in 0..5 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    let keys: Vec<String> = upstream.records().into_iter().map(|it| it.key).collect();
    assert_eq!(keys.len(), 6);
    assert!(keys[1..].iter().all(|it| *it != keys[0]), "{keys:?}");

    // With both keys spent the caller is told the truth.
    upstream.script(None, vec![raw(429, body.as_slice())]);
    let midnight = Window::new(Shape::Calendar(Calendar::PacificDay)).resets_in(gateway.now());
    let error = gateway.chat(&ask("m")).await.expect(429).error();
    let told = error["retry_after_ms"].as_u64().expect("a number");
    let expected = u64::try_from(midnight.as_millis()).expect("a day");
    assert!(told.abs_diff(expected) < 30_000, "{told} instead of {expected}");
    let window = window(&gateway, "requests", "day").await;
    assert_eq!((&window["learned"], &window["left"]), (&json!(20), &json!(0)));
}

#[tokio::test]
async fn a_quota_of_the_account_is_spent_for_all_its_keys_and_models_at_once() {
    for (group, asked) in [(Some("acct"), 1), (None, 2)] {
        let mut router = Upstream::new("OpenRouter", Flavour::OpenAi).model("m").model("other");
        for key in ["k1", "k2"] {
            router = match group {
                Some(group) => router.grouped_key(group, key),
                None => router.key(key),
            };
        }
        let router = router.entry(json!({"quota_scope": "account", "reset": "utc_day"}));
        let gateway = impatient([router]).await;
        let reset = gateway.now().unix_ms + 3_600_000;
        let body = json!({"error": {
            "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more",
            "code": 429,
            "metadata": {
                "headers": {
                    "X-RateLimit-Limit": "50",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": reset.to_string(),
                },
                "limit_source": "openrouter_free_tier_daily",
            },
        }});
        let refusals = std::iter::repeat_n(raw(429, body.to_string()), 2).collect();
        gateway.upstream("openrouter").script(None, refusals);
        let error = gateway.chat(&ask("m")).await.expect(429).error();
        let told = error["retry_after_ms"].as_u64().expect("a number");
        assert!((3_590_000..=3_600_000).contains(&told), "{told}");
        assert_eq!(gateway.reached("openrouter"), asked, "{group:?}");
        gateway.chat(&ask("other")).await.expect(429);
        assert_eq!(gateway.reached("openrouter"), asked, "{group:?}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_word_teaches_a_bound_that_is_shown() {
    let tight = Upstream::plain("Tight").limits(json!({"requests_per_minute": 30}));
    let gateway = impatient([tight]).await;
    for _ in 0..3 {
        gateway.chat(&ask("m")).await.expect(200);
    }
    let refusal = raw(429, json!({"status": 429, "title": "Too Many Requests"}).to_string());
    gateway.upstream("tight").script(None, vec![refusal]);
    gateway.chat(&ask("m")).await.expect(429);
    let window = window(&gateway, "requests", "minute").await;
    let figures = (&window["configured"], &window["learned"], &window["left"]);
    assert_eq!(figures, (&json!(30), &json!(3), &json!(0)));
}
