//! From a provider's error answer to a [`Fault`]: by status and typed body first, by the words of
//! its message only where these say no more.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use crate::catalog::Unit;
use crate::clock::Now;
use crate::provider::error_body;
use crate::provider::error_body::Said;
use crate::provider::error_rules;
use crate::provider::error_rules::Rule;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::QuotaSaid;
use crate::provider::fault::Scope;
use crate::provider::gemini::errors as google;
use crate::provider::quota_said;
use crate::provider::rate_limits::RateLimit;
use crate::provider::refusal;
use crate::provider::retry_hint::Hints;
use crate::window::Shape;
use crate::window::Window;

/// Reads an error answer of the provider of that name (any case; one that isn't known is read by
/// the rules that hold for all). An error of Google's form is read as Google's, whoever sends it.
pub fn classify(provider: &str, status: u16, headers: &HeaderMap, body: &[u8], now: Now) -> Fault {
    if let Some(said) = google::read(body, provider) {
        return google::fault(status, &said);
    }
    let provider = error_rules::plain(provider);
    let said = error_body::read(body);
    let message = said.message.to_ascii_lowercase();
    let rule = rule_for(&provider, status, &said, &message);
    let kind = rule.map_or_else(|| kind_of(status, &said, &message), |it| it.kind.clone());
    let reset = said.reset.as_deref();
    let hints = Hints { provider: &provider, status, headers, reset, message: &message };

    let words = said.message.trim();
    let mut fault = if words.is_empty() {
        Fault::new(kind, format!("HTTP {status}"))
    } else {
        Fault::new(kind, words)
    };
    fault.status = Some(status);
    fault.scope = rule.and_then(|it| it.scope).unwrap_or(fault.scope);
    let told = hints.retry_after(now);
    tell_quota(&mut fault, &said, rule, (told, hints.spent(now)));
    fault.retry_after = told.or_else(|| {
        let calendar = rule?.until?;
        Some(Window::new(Shape::Calendar(calendar)).resets_in(now))
    });
    fault.code = said.code.map(String::into_boxed_str);
    fault.param = said.param.map(String::into_boxed_str);
    fault
}

fn rule_for(provider: &str, status: u16, said: &Said, message: &str) -> Option<&'static Rule> {
    let codes = [said.code.as_deref(), said.kind.as_deref()].map(Option::unwrap_or_default);
    error_rules::of(provider).find(|it| it.fits(status, codes, message))
}

/// Reads an error that stands where an answer should: inside a 200, or as an event of a stream.
/// What it says of itself decides; without a word on the matter it is the provider's failure.
pub fn classify_inside_answer(provider: &str, error: &str, now: Now) -> Fault {
    let body: Value = serde_json::from_str(error).unwrap_or_default();
    let number = |key| {
        body.get(key).and_then(|it: &Value| match it {
            Value::Number(it) => it.as_u64(),
            Value::String(it) => it.parse().ok(),
            _ => None,
        })
    };
    let status = ["code", "http_code", "status_code", "status"]
        .into_iter()
        .filter_map(number)
        .find_map(|it| u16::try_from(it).ok().filter(|it| (400..600).contains(it)));
    let word = |key| body.get(key).and_then(Value::as_str);
    let meant = ["code", "type", "status"].into_iter().filter_map(word).find_map(status_of);
    let wrapped = serde_json::json!({ "error": body }).to_string();
    let meant = status.or(meant).unwrap_or(500);
    let mut fault = classify(provider, meant, &HeaderMap::new(), wrapped.as_bytes(), now);
    if matches!(fault.kind, FaultKind::BadRequest) {
        // The same request was accepted before, so it is this answer that failed, not the request.
        fault.kind = FaultKind::NotHere;
    }
    fault.status = status;
    fault
}

/// The status that goes with a code or type in words.
fn status_of(word: &str) -> Option<u16> {
    const WORDS: &[(&str, u16)] = &[
        ("authentication_error", 401),
        ("context_length_exceeded", 400),
        ("insufficient_quota", 429),
        ("invalid_api_key", 401),
        ("invalid_request_error", 400),
        ("model_not_found", 404),
        ("not_found_error", 404),
        ("permission_error", 403),
        ("rate_limit_error", 429),
        ("rate_limit_exceeded", 429),
        ("rate_limited", 429),
        ("too_many_requests", 429),
        ("unauthorized", 401),
    ];
    WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, it)| *it)
}

/// Completes the period of a spent quota, and lists what the refusal says of it. `told` is how long
/// the provider asks to be left alone, `spent` what its headers show.
fn tell_quota(
    fault: &mut Fault,
    said: &Said,
    rule: Option<&Rule>,
    (told, spent): (Option<Duration>, Option<RateLimit>),
) {
    let words = quota_said::words(&said.message.to_ascii_lowercase());
    let limited = match &mut fault.kind {
        FaultKind::RateLimited(period) => {
            *period = period.or(words.period).or_else(|| Some(spent?.period));
            true
        }
        // Larger than a whole window: no wait helps, but the window's size is told.
        FaultKind::ContextTooLong if words.limit.is_some() => false,
        _ => return,
    };
    let period = match fault.kind {
        FaultKind::RateLimited(period) => period,
        _ => words.period,
    };
    let account_wide = fault.scope == Scope::Account;
    // What an account has in some other currency is told as requests.
    let currency = rule.filter(|it| it.scope == Some(Scope::Account)).map(|_| Unit::Requests);
    let unit = words.unit.or_else(|| Some(spent?.unit)).or(currency);
    let Some((unit, period)) = unit.zip(period) else { return };
    let remaining = words.remaining.or(said.remaining);
    fault.quota = Box::new([QuotaSaid {
        unit,
        period,
        limit: words.limit.or(said.limit),
        remaining,
        exhausted: limited && remaining.is_none_or(|it| it == 0),
        until: told.filter(|_| limited),
        account_wide,
    }]);
}

fn kind_of(status: u16, said: &Said, message: &str) -> FaultKind {
    let code = said.code.as_deref().unwrap_or_default();
    if (400..500).contains(&status) && is_gone(code) {
        return FaultKind::ModelGone;
    }
    match status {
        402 | 403 | 429 if refusal::speaks_of_money(message) => FaultKind::NoCredit,
        403 if said.is_page || speaks_of_place(message) => FaultKind::Barred,
        401 | 403 => FaultKind::KeyRejected,
        402 => FaultKind::NoCredit,
        404 | 410 => FaultKind::ModelGone,
        408 | 424 | 499 => FaultKind::Server,
        413 => FaultKind::ContextTooLong,
        429 if is_shared_capacity(code, message) => FaultKind::Busy,
        429 if message.contains("concurren") => FaultKind::TooManyInFlight,
        429 => FaultKind::RateLimited(None),
        400 | 422 => refusal::kind_of(said, message),
        400..500 => FaultKind::NotHere,
        529 => FaultKind::Busy,
        _ => FaultKind::Server,
    }
}

fn has(message: &str, words: &[&str]) -> bool {
    words.iter().any(|it| message.contains(it))
}

fn is_gone(code: &str) -> bool {
    const CODES: &[&str] = &[
        "model_decommissioned",
        "model_deprecated",
        "model_not_found",
        "model_not_supported",
        "invalid_model",
    ];
    CODES.contains(&code)
}

/// It is not the key that is refused, but where the call comes from.
fn speaks_of_place(message: &str) -> bool {
    has(message, &["country", "region", "territory", "location is not supported", "code: 1010"])
}

/// 429 that says the model's pool is full, not that this key has had its share.
fn is_shared_capacity(code: &str, message: &str) -> bool {
    matches!(code, "queue_exceeded") || has(message, &["high traffic", "capacity exceeded"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::catalog::Period;
    use crate::provider::retry_hint::LONGEST;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 0 };

    fn check(status: u16, body: &str, expected: &FaultKind) -> Fault {
        let fault = classify("any", status, &HeaderMap::new(), body.as_bytes(), NOW);
        assert_eq!(&fault.kind, expected, "{status} {body}");
        fault
    }

    #[test]
    fn samples_of_three_dialects() {
        let day = check(
            429,
            r#"{"error":{"message":"Rate limit reached on requests per day (RPD): Limit 1000, Used 1000, Requested 1. Please try again in 1m26.4s. Need more tokens?","type":"requests","code":"rate_limit_exceeded"}}"#,
            &FaultKind::RateLimited(Some(Period::Day)),
        );
        assert_eq!(day.retry_after.map(|it| it.as_millis()), Some(86_400));
        check(
            429,
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#,
            &FaultKind::RateLimited(None),
        );
        check(
            429,
            r#"{"object":"error","message":"Service tier capacity exceeded for this model.","code":"3505"}"#,
            &FaultKind::Busy,
        );
        check(
            429,
            r#"{"message":"Requests per minute limit exceeded - too many requests sent.","type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}"#,
            &FaultKind::RateLimited(Some(Period::Minute)),
        );
        check(
            429,
            r#"{"error":{"message":"Too many concurrent requests","type":"rate_limit"}}"#,
            &FaultKind::TooManyInFlight,
        );
        check(401, r#"{"detail":"Unauthorized"}"#, &FaultKind::KeyRejected);
        check(404, r#"{"error":{"code":"model_not_found"}}"#, &FaultKind::ModelGone);
        check(
            400,
            r#"{"message":"Please reduce the length of the messages or completion.","code":"context_length_exceeded"}"#,
            &FaultKind::ContextTooLong,
        );
        check(503, "<html>bad gateway</html>", &FaultKind::Server);
        check(400, r#"[{"error":{"code":400,"message":"x"}}]"#, &FaultKind::BadRequest);
    }

    #[test]
    fn a_field_counts_as_unknown_only_when_the_body_says_so() {
        let unknown = |it: &str| FaultKind::FieldUnknown(vec![it.to_owned()]);
        check(
            422,
            r#"{"object":"Error","detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}],"type":"invalid_request_error","code":3001}"#,
            &unknown("seed"),
        );
        check(
            422,
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","user"],"msg":"Extra inputs are not permitted"}]}}"#,
            &unknown("user"),
        );
        check(
            400,
            r#"{"error":{"message":"property 'store' is unsupported, did you mean 'stop'?","type":"invalid_request_error"}}"#,
            &unknown("store"),
        );
        check(
            400,
            r#"{"message":"body.logit_bias: property 'body.logit_bias' is unsupported","type":"invalid_request_error","param":"validation_error","code":"wrong_api_format"}"#,
            &FaultKind::FieldUnknown(vec!["logit_bias".to_owned(), "validation_error".to_owned()]),
        );
        check(
            400,
            r#"{"error":{"message":"Unrecognized request argument supplied: logit_bias","type":"invalid_request_error","param":null,"code":null}}"#,
            &unknown("logit_bias"),
        );
        check(
            400,
            r#"{"error":"\"llama3.2\" does not support thinking"}"#,
            &unknown("reasoning_effort"),
        );
        let bad = check(
            400,
            r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error","param":"temperature"}}"#,
            &FaultKind::BadRequest,
        );
        assert_eq!(bad.param.as_deref(), Some("temperature"));
        check(
            400,
            r#"{"error":{"message":"max_tokens must be at least 1","param":"max_tokens"}}"#,
            &FaultKind::BadRequest,
        );
        check(
            400,
            r#"{"error":{"message":"max_tokens is too large: 9. This model supports at most 8","param":"max_tokens"}}"#,
            &FaultKind::NotHere,
        );
        check(
            422,
            r#"{"detail":[{"type":"less_than_equal","loc":["body","top_p"],"msg":"Input should be less than or equal to 1"}]}"#,
            &FaultKind::BadRequest,
        );
    }

    #[test]
    fn errors_inside_an_answer_are_never_the_callers() {
        let fault = classify_inside_answer(
            "any",
            r#"{"message":"Failed to call a function.","code":"tool_use_failed","status_code":400}"#,
            NOW,
        );
        assert_eq!(fault.kind, FaultKind::Unreadable);
        let fault = classify_inside_answer("any", r#"{"code":400,"message":"no"}"#, NOW);
        assert_eq!(fault.kind, FaultKind::NotHere);
        let fault = classify_inside_answer("any", r#"{"code":429,"message":"slow down"}"#, NOW);
        assert_eq!(fault.kind, FaultKind::RateLimited(None));
        for (body, expected) in [
            (r#"{"code":"rate_limit_exceeded","message":"x"}"#, FaultKind::RateLimited(None)),
            (r#"{"type":"rate_limit_error","message":"x"}"#, FaultKind::RateLimited(None)),
            (r#"{"message":"x","http_code":429}"#, FaultKind::RateLimited(None)),
            (r#"{"code":"context_length_exceeded","message":"x"}"#, FaultKind::ContextTooLong),
            (r#"{"code":"invalid_api_key","message":"x"}"#, FaultKind::KeyRejected),
            (r#"{"code":"model_not_found","message":"x"}"#, FaultKind::ModelGone),
            (r#"{"type":"invalid_request_error","message":"x"}"#, FaultKind::NotHere),
            (r#"{"type":"server_error","message":"x"}"#, FaultKind::Server),
        ] {
            assert_eq!(classify_inside_answer("any", body, NOW).kind, expected, "{body}");
        }
        let fault = classify_inside_answer("any", "\"overloaded\"", NOW);
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Server, "overloaded"));
    }

    const PROVIDERS: &[&str] = &[
        "anthropic",
        "cerebras",
        "cloudflare",
        "cohere",
        "deepseek",
        "elsewhere",
        "gemini",
        "groq",
        "huggingface",
        "mistral",
        "modelscope",
        "nvidia",
        "ollama",
        "openai",
        "opencodezen",
        "openrouter",
        "sambanova",
        "together",
        "zai",
        "",
    ];

    /// Bodies that come close to what is read, and others.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            ".{0,80}",
            "(limit |used |limited to |retry in |reset at |please wait |try again in )[0-9:. -]{0,20}[a-z]{0,2}",
            "[0-9,]{0,30} (requests|tokens) per (minute|day|86400s) \\((TPM|RPD)\\)",
        ];
        let value = prop_oneof![
            text.prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            Just(Value::Null),
            Just(serde_json::json!([{"loc": ["body", 1], "msg": "x", "quotaId": "PerDay"}])),
        ];
        let shaped =
            (value.clone(), value.clone(), value, 0..5_usize).prop_map(|(a, b, c, form)| {
                let inner = serde_json::json!({
                    "message": a, "code": b, "type": c, "status": c, "details": b, "retry_after": a,
                    "metadata": {"headers": {"X-RateLimit-Reset": b, "X-RateLimit-Limit": a}},
                });
                let shaped = match form {
                    0 => serde_json::json!({"error": inner}),
                    1 => serde_json::json!([{"error": inner}]),
                    2 => serde_json::json!({"errors": [inner]}),
                    3 => serde_json::json!({"error": a, "detail": b}),
                    _ => inner,
                };
                shaped.to_string().into_bytes()
            });
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), shaped]
    }

    fn headers() -> impl Strategy<Value = HeaderMap> {
        let name = prop_oneof![
            Just("retry-after"),
            Just("retry-after-ms"),
            Just("x-ratelimit-remaining-requests"),
            Just("x-ratelimit-reset-requests"),
            Just("anthropic-ratelimit-tokens-reset"),
        ];
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            any::<f64>().prop_map(|it| it.to_string().into_bytes()),
            any::<i64>().prop_map(|it| it.to_string().into_bytes()),
        ];
        let pair = (name, value).prop_filter_map("a value no header can hold", |(name, value)| {
            let name = http::HeaderName::from_static(name);
            Some((name, http::HeaderValue::from_bytes(&value).ok()?))
        });
        proptest::collection::vec(pair, 0..4).prop_map(HeaderMap::from_iter)
    }

    proptest! {
        #[test]
        fn whatever_comes_is_classified_within_bounds(
            provider in proptest::sample::select(PROVIDERS),
            status in 100..1_000_u16,
            headers in headers(),
            body in body(),
            unix_ms in any::<u64>(),
        ) {
            let now = Now { monotonic: Duration::ZERO, unix_ms };
            let fault = classify(provider, status, &headers, &body, now);
            prop_assert_eq!(fault.status, Some(status));
            prop_assert!(!fault.message.is_empty() && fault.message.len() <= 510);
            prop_assert!(fault.retry_after.is_none_or(|it| it <= LONGEST));
            prop_assert!(fault.quota.iter().all(|it| it.until.is_none_or(|it| it <= LONGEST)));
            let text = String::from_utf8_lossy(&body);
            let inside = classify_inside_answer(provider, &text, now);
            prop_assert!(inside.kind != FaultKind::BadRequest);
        }

        #[test]
        fn no_key_stays_in_a_fault(before in ".{0,600}", after in ".{0,40}") {
            const KEY: &str = "sk-ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            let text = format!("{before}{KEY}{after}");
            let error = serde_json::json!({"error": {"message": text, "code": text, "param": text}});
            let bodies = [error.to_string(), text];
            for body in bodies {
                let fault = classify("any", 400, &HeaderMap::new(), body.as_bytes(), NOW);
                let fault = fault.without(Some(&KEY.into()));
                prop_assert!(!format!("{fault:?}").contains("sk-AB"), "{fault:?}");
            }
        }
    }
}
