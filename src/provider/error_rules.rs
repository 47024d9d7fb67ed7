//! What providers' errors mean where the status alone misleads, as data: the same code or word
//! means money at one provider and patience at another.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11.

use crate::catalog::Period;
use crate::provider::fault::FaultKind;
use crate::window::Calendar;

/// One thing a provider is known to say.
#[derive(Debug)]
pub(super) struct Rule {
    /// The status it comes with; 0 = any, also inside an answer that began well.
    pub(super) status: u16,
    /// How it is known.
    pub(super) sign: Sign,
    /// What it means.
    pub(super) kind: FaultKind,
    /// Does it hold for every model of the key's account?
    pub(super) account_wide: bool,
    /// The boundary at which it ends, where that is known though the provider doesn't say.
    pub(super) until: Option<Calendar>,
}

/// How an error is known.
#[derive(Debug)]
pub(super) enum Sign {
    /// By one of these codes, or types.
    Code(&'static [&'static str]),
    /// By words of its message, in lower case.
    Words(&'static str),
    /// By its status alone.
    Status,
}

const fn rule(status: u16, sign: Sign, kind: FaultKind) -> Rule {
    Rule { status, sign, kind, account_wide: false, until: None }
}

const fn of_account(status: u16, sign: Sign, kind: FaultKind, until: Option<Calendar>) -> Rule {
    Rule { status, sign, kind, account_wide: true, until }
}

use FaultKind::{
    Busy, ContextTooLong, KeyRejected, ModelGone, NoCredit, NotHere, RateLimited, Server,
};
use Sign::{Code, Status, Words};

const DAY: FaultKind = RateLimited(Some(Period::Day));
const MIDNIGHT: Option<Calendar> = Some(Calendar::UtcDay);
const NEXT_MONTH: Option<Calendar> = Some(Calendar::UtcMonth);
const MONTH: FaultKind = RateLimited(Some(Period::Month));

const ANTHROPIC: &[Rule] = &[
    rule(0, Words("credit balance is too low"), NoCredit),
    rule(0, Code(&["billing_error"]), NoCredit),
    rule(0, Words("prompt is too long"), ContextTooLong),
    rule(0, Words("exceed context limit"), ContextTooLong),
    rule(0, Code(&["overloaded_error"]), Busy),
    rule(0, Code(&["rate_limit_error"]), RateLimited(None)),
    rule(0, Code(&["authentication_error", "permission_error"]), KeyRejected),
    rule(0, Code(&["not_found_error"]), ModelGone),
    // It knows no member but its own, and is sent no other: nothing of the caller's is to blame.
    rule(400, Words("extra inputs are not permitted"), NotHere),
];

const CLOUDFLARE: &[Rule] = &[
    // "Used up your daily free allocation": 3036 in its documents, 4006 on the wire.
    of_account(0, Code(&["4006", "3036"]), DAY, MIDNIGHT),
    rule(0, Code(&["3040"]), Busy),
    rule(0, Code(&["5007", "3042", "5016", "5018", "3041"]), ModelGone),
    rule(0, Words("context window limit"), ContextTooLong),
    // What one of its models can't take, another provider's may.
    rule(0, Code(&["5004", "5006", "3003", "3039", "5005", "5019"]), NotHere),
    rule(0, Code(&["3006"]), ContextTooLong),
    rule(0, Code(&["3007", "3008"]), Server),
    // Not this key's account, or none at all.
    rule(0, Code(&["7003", "10000", "3023"]), KeyRejected),
];

const COHERE: &[Rule] = &[
    of_account(429, Words("calls / month"), MONTH, NEXT_MONTH),
    rule(429, Words("calls / minute"), RateLimited(Some(Period::Minute))),
];

const GROQ: &[Rule] = &[rule(498, Status, Busy)];

const HUGGING_FACE: &[Rule] = &[
    of_account(402, Words("monthly included credits"), MONTH, NEXT_MONTH),
    rule(400, Code(&["model_not_supported"]), ModelGone),
];

const NVIDIA: &[Rule] = &[
    rule(400, Words("degraded"), Server),
    rule(400, Words("single tool-calls"), NotHere),
    rule(0, Words("resourceexhausted"), Busy),
];

const OLLAMA: &[Rule] = &[
    // The key is good; the model is not in its plan.
    rule(403, Words("requires a subscription"), ModelGone),
    of_account(429, Words("weekly usage limit"), DAY, None),
    of_account(429, Words("hourly usage limit"), RateLimited(Some(Period::Hour)), None),
    of_account(429, Words("session usage limit"), RateLimited(Some(Period::Hour)), None),
    rule(429, Words("concurrent"), Busy),
];

const OPEN_AI: &[Rule] =
    &[rule(429, Code(&["insufficient_quota", "credit_balance_exhausted"]), NoCredit)];

const OPEN_ROUTER: &[Rule] = &[
    of_account(429, Words("free-models-per-day"), DAY, MIDNIGHT),
    of_account(429, Words("free-models-per-min"), RateLimited(Some(Period::Minute)), None),
    rule(429, Code(&["openrouter_in_flight_budget"]), Busy),
    // The host behind it is full, or has failed; this key has not had its share.
    rule(429, Words("provider returned error"), Busy),
    // This request asks for a longer answer than there is money for; another may not.
    rule(402, Words("fewer max_tokens"), NotHere),
    rule(403, Words("flagged"), NotHere),
    rule(403, Words("moderation"), NotHere),
    rule(404, Words("no endpoints found that support"), NotHere),
];

const TOGETHER: &[Rule] = &[
    rule(0, Words("`max_new_tokens` must be"), ContextTooLong),
    // Its documents give this status to requests that are too long; bad keys get 401.
    rule(403, Status, ContextTooLong),
];

const ZAI: &[Rule] = &[
    rule(0, Code(&["1000", "1001", "1002", "1003", "1004"]), KeyRejected),
    rule(0, Code(&["1110", "1111", "1112", "1121"]), KeyRejected),
    rule(0, Code(&["1113"]), NoCredit),
    rule(0, Code(&["1211", "1220", "1221"]), ModelGone),
    rule(0, Code(&["1234"]), Server),
    rule(0, Code(&["1261"]), ContextTooLong),
    rule(0, Code(&["1301"]), NotHere),
    rule(0, Code(&["1302"]), RateLimited(None)),
    rule(0, Code(&["1303"]), RateLimited(Some(Period::Minute))),
    rule(0, Code(&["1304", "1308", "1313"]), DAY),
    rule(0, Code(&["1310"]), MONTH),
    rule(0, Code(&["1305", "1312"]), Busy),
];

/// What is known of a provider by its name, in any case.
pub(super) fn of(provider: &str) -> &'static [Rule] {
    match provider.to_ascii_lowercase().as_str() {
        "anthropic" => ANTHROPIC,
        "cloudflare" => CLOUDFLARE,
        "cohere" => COHERE,
        "groq" => GROQ,
        "huggingface" => HUGGING_FACE,
        "nvidia" => NVIDIA,
        "ollama" => OLLAMA,
        "openai" => OPEN_AI,
        "openrouter" => OPEN_ROUTER,
        "together" => TOGETHER,
        "zai" => ZAI,
        _ => &[],
    }
}

impl Rule {
    /// Does it speak of this error? `message` is in lower case.
    pub(super) fn fits(&self, status: u16, codes: [&str; 2], message: &str) -> bool {
        (self.status == 0 || self.status == status)
            && match self.sign {
                Code(known) => codes.iter().any(|it| known.contains(it)),
                Words(words) => message.contains(words),
                Status => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use http::HeaderName;
    use http::HeaderValue;

    use crate::clock::Now;
    use crate::provider::classify::classify;
    use crate::provider::classify::classify_inside_answer;
    use crate::provider::fault::Scope;

    use super::*;

    /// 2026-08-01 16:00:00 UTC, when the samples were taken.
    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_785_600_000_000 };
    /// From then to 00:00 UTC.
    const TO_MIDNIGHT: u64 = 8 * 3_600;
    /// From then to the first of September.
    const TO_SEPTEMBER: u64 = 30 * 86_400 + TO_MIDNIGHT;

    const MINUTE: FaultKind = RateLimited(Some(Period::Minute));

    struct Expected {
        kind: FaultKind,
        account_wide: bool,
        seconds: Option<u64>,
    }

    fn says(kind: FaultKind) -> Expected {
        Expected { kind, account_wide: false, seconds: None }
    }

    fn of_account(kind: FaultKind, seconds: Option<u64>) -> Expected {
        Expected { kind, account_wide: true, seconds }
    }

    fn check(provider: &str, status: u16, headers: &[(&str, &str)], body: &str, wanted: &Expected) {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        let fault = classify(provider, status, &headers, body.as_bytes(), NOW);
        assert_eq!(fault.kind, wanted.kind, "{provider} {status} {body}");
        assert_eq!(
            fault.scope == Scope::Account,
            wanted.account_wide,
            "{provider} {status} {body}"
        );
        let seconds = fault.retry_after.map(|it| it.as_secs());
        assert_eq!(seconds, wanted.seconds, "{provider} {status} {body}");
        assert!(!fault.message.is_empty());
    }

    #[test]
    fn samples_of_every_provider() {
        macro_rules! samples {
            ($($name:literal $file:literal $status:literal => $wanted:expr),* $(,)?) => {
                [$((
                    $name,
                    include_str!(concat!("../../tests/wire/", $name, "/", $file, ".json")),
                    $status,
                    $wanted,
                )),*]
            };
        }
        for (provider, body, status, wanted) in samples! {
            "anthropic" "error_400_context_length" 400 => says(ContextTooLong),
            "anthropic" "error_400_credit" 400 => says(NoCredit),
            "anthropic" "error_401" 401 => says(KeyRejected),
            "anthropic" "error_529" 529 => says(Busy),
            "cloudflare" "error_400_bad_input" 400 => says(NotHere),
            "cloudflare" "error_400_no_such_model" 400 => says(ModelGone),
            "cloudflare" "error_401" 401 => says(KeyRejected),
            "cloudflare" "error_404_account" 404 => says(KeyRejected),
            "cloudflare" "error_405_models" 405 => says(NotHere),
            "cloudflare" "error_429_day" 429 => of_account(DAY, Some(TO_MIDNIGHT)),
            "cohere" "error_401" 401 => says(KeyRejected),
            "cohere" "error_429_minute" 429 => says(MINUTE),
            "cohere" "error_429_month" 429 => of_account(MONTH, Some(TO_SEPTEMBER)),
            "deepseek" "error_400_context_length" 400 => says(ContextTooLong),
            "deepseek" "error_401" 401 => says(KeyRejected),
            "deepseek" "error_402" 402 => says(NoCredit),
            "huggingface" "error_401" 401 => says(KeyRejected),
            "huggingface" "error_402" 402 => of_account(MONTH, Some(TO_SEPTEMBER)),
            "nvidia" "error_400_degraded" 400 => says(Server),
            "nvidia" "error_400_single_tool" 400 => says(NotHere),
            "nvidia" "error_404_function" 404 => says(ModelGone),
            "nvidia" "error_410_eol" 410 => says(ModelGone),
            "nvidia" "error_429" 429 => says(RateLimited(None)),
            "ollama" "error_403_subscription_cloud" 403 => says(ModelGone),
            "ollama" "error_404_model" 404 => says(ModelGone),
            "ollama" "error_429_weekly_cloud" 429 => of_account(DAY, None),
            "openai" "error_400_context_length" 400 => says(ContextTooLong),
            "openai" "error_400_max_tokens" 400 =>
                says(FaultKind::FieldUnknown("max_tokens".to_owned())),
            "openai" "error_401" 401 => says(KeyRejected),
            "openai" "error_429_quota" 429 => says(NoCredit),
            "openrouter" "error_400_context_length" 400 => says(ContextTooLong),
            "openrouter" "error_401" 401 => says(KeyRejected),
            "openrouter" "error_402" 402 => says(NotHere),
            "openrouter" "error_404_data_policy" 404 => says(ModelGone),
            "openrouter" "error_404_no_endpoints" 404 => says(NotHere),
            "openrouter" "error_429_day" 429 => of_account(DAY, Some(TO_MIDNIGHT)),
            "openrouter" "error_429_minute" 429 => of_account(MINUTE, Some(60)),
            "openrouter" "error_429_upstream" 429 => says(Busy),
            "sambanova" "error_400_context_length" 400 => says(ContextTooLong),
            "sambanova" "error_400_invalid_param" 400 => says(FaultKind::BadRequest),
            "sambanova" "error_401" 401 => says(KeyRejected),
            "sambanova" "error_402" 402 => says(NoCredit),
            "sambanova" "error_410_deprecated" 410 => says(ModelGone),
            "sambanova" "error_429_queue_full" 429 => says(Busy),
            "together" "error_401" 401 => says(KeyRejected),
            "together" "error_422_context_length" 422 => says(ContextTooLong),
            "zai" "error_400_context_length" 400 => says(ContextTooLong),
            "zai" "error_401" 401 => says(KeyRejected),
            "zai" "error_429_balance" 429 => says(NoCredit),
            "zai" "error_429_concurrency" 429 => says(RateLimited(None)),
            "zai" "error_429_day" 429 => says(DAY),
            "zai" "error_429_overloaded" 429 => says(Busy),
            "zai" "error_429_rate_cn" 429 => says(RateLimited(None)),
        } {
            check(provider, status, &[], body, &wanted);
        }
    }

    #[test]
    fn headers_say_what_a_body_leaves_out() {
        let after = |kind, seconds| Expected { seconds: Some(seconds), ..says(kind) };
        check(
            "anthropic",
            429,
            &[("retry-after", "31"), ("anthropic-ratelimit-requests-remaining", "0")],
            include_str!("../../tests/wire/anthropic/error_429.json"),
            &after(MINUTE, 31),
        );
        check(
            "anthropic",
            429,
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-08-01T16:00:01Z"),
                ("anthropic-ratelimit-input-tokens-remaining", "29000"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-08-01T16:00:02Z"),
            ],
            include_str!("../../tests/wire/anthropic/error_429.json"),
            &after(MINUTE, 1),
        );
        let samba = include_str!("../../tests/wire/sambanova/error_429_minute.json");
        let windows = |minute, day| {
            [
                ("x-ratelimit-remaining-requests", minute),
                ("x-ratelimit-reset-requests", "1785600060"),
                ("x-ratelimit-remaining-requests-day", day),
                ("x-ratelimit-reset-requests-day", "1785628800"),
            ]
        };
        check("sambanova", 429, &windows("0", "19"), samba, &after(RateLimited(None), 60));
        check("sambanova", 429, &windows("19", "0"), samba, &after(DAY, TO_MIDNIGHT));
        check(
            "openai",
            429,
            &[("retry-after", "20"), ("retry-after-ms", "20000")],
            include_str!("../../tests/wire/openai/error_429_minute.json"),
            &after(MINUTE, 20),
        );
    }

    #[test]
    fn what_else_they_are_known_to_say() {
        let flat = |code: u32| format!(r#"{{"success":false,"errors":[{{"code":{code}}}]}}"#);
        for (code, status, wanted) in [
            (3036, 429, of_account(DAY, Some(TO_MIDNIGHT))),
            (3040, 429, says(Busy)),
            (5004, 400, says(NotHere)),
            (3042, 404, says(ModelGone)),
            (5018, 403, says(ModelGone)),
            (3023, 403, says(KeyRejected)),
            (10000, 403, says(KeyRejected)),
            (3006, 413, says(ContextTooLong)),
            (3007, 408, says(Server)),
        ] {
            check("cloudflare", status, &[], &flat(code), &wanted);
        }
        for (code, status, wanted) in [
            ("1211", 400, ModelGone),
            ("1113", 434, NoCredit),
            ("1121", 435, KeyRejected),
            ("1301", 400, NotHere),
            ("1310", 429, MONTH),
            ("1312", 429, Busy),
            ("1214", 400, FaultKind::BadRequest),
        ] {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#);
            check("zai", status, &[], &body, &says(wanted));
        }
        let error = |text: &str| format!(r#"{{"error":{{"message":"{text}"}}}}"#);
        for (provider, status, text, wanted) in [
            ("openrouter", 403, "Your input was flagged", NotHere),
            ("openrouter", 402, "Insufficient credits", NoCredit),
            ("together", 403, "too long", ContextTooLong),
            ("groq", 498, "flex capacity", Busy),
            ("nvidia", 429, "ResourceExhausted: Worker local total request limit", Busy),
            ("anthropic", 400, "seed: Extra inputs are not permitted", NotHere),
        ] {
            check(provider, status, &[], &error(text), &says(wanted));
        }
        let hourly = r#"{"error":"you have reached your hourly usage limit"}"#;
        let hour = RateLimited(Some(Period::Hour));
        check("ollama", 429, &[], hourly, &of_account(hour, None));
    }

    #[test]
    fn the_same_words_mean_another_thing_elsewhere() {
        let quota = include_str!("../../tests/wire/openai/error_429_quota.json");
        check("OpenAI", 429, &[], quota, &says(NoCredit));
        check("sambanova", 429, &[], quota, &says(RateLimited(None)));
        check("elsewhere", 429, &[], quota, &says(RateLimited(None)));
    }

    #[test]
    fn inside_an_answer_the_type_decides() {
        let kind = |provider, error| classify_inside_answer(provider, error, NOW).kind;
        let overloaded = r#"{"type":"overloaded_error","message":"Overloaded"}"#;
        assert_eq!(kind("anthropic", overloaded), Busy);
        assert_eq!(kind("elsewhere", overloaded), Server);
        let upstream = r#"{"message":"Provider returned error","code":502}"#;
        assert_eq!(kind("openrouter", upstream), Server);
    }
}
