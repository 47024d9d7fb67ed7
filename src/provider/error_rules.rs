//! What providers' errors mean where the status alone misleads, as data: the same code or word
//! means money at one provider and patience at another.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11.

use crate::catalog::Period;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Scope;
use crate::window::Calendar;

/// One thing a provider is known to say.
#[derive(Debug)]
pub(super) struct Rule {
    /// The status it comes with; 0 = any, also inside an answer that began well.
    status: u16,
    /// How it is known.
    sign: Sign,
    /// What it means.
    pub(super) kind: FaultKind,
    /// What it holds for, where that is not what faults of the kind usually do.
    pub(super) scope: Option<Scope>,
    /// The boundary at which it ends, where that is known though the provider doesn't say.
    pub(super) until: Option<Calendar>,
}

/// How an error is known.
#[derive(Debug)]
enum Sign {
    /// By one of these codes, or types.
    Code(&'static [&'static str]),
    /// By words of its message, in lower case.
    Words(&'static str),
    /// By two such.
    Both(&'static str, &'static str),
    /// By its status alone.
    Status,
}

const fn rule(status: u16, sign: Sign, kind: FaultKind) -> Rule {
    Rule { status, sign, kind, scope: None, until: None }
}

impl Rule {
    const fn of(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    const fn of_account(mut self, until: Option<Calendar>) -> Self {
        self.scope = Some(Scope::Account);
        self.until = until;
        self
    }
}

use FaultKind::{
    Barred, Busy, ContextTooLong, KeyRejected, ModelGone, NoCredit, NotHere, RateLimited, Server,
    TooManyInFlight,
};
use Sign::{Both, Code, Status, Words};

const HOUR: FaultKind = RateLimited(Some(Period::Hour));
const DAY: FaultKind = RateLimited(Some(Period::Day));
const MIDNIGHT: Option<Calendar> = Some(Calendar::UtcDay);
const NEXT_MONTH: Option<Calendar> = Some(Calendar::UtcMonth);
const MONTH: FaultKind = RateLimited(Some(Period::Month));

const AI_HORDE: &[Rule] = &[
    // A bound of its own.
    rule(400, Words("max_tokens must be >= 16"), NotHere),
];

const ANTHROPIC: &[Rule] = &[
    rule(0, Words("credit balance is too low"), NoCredit),
    rule(0, Code(&["billing_error"]), NoCredit),
    rule(0, Words("prompt is too long"), ContextTooLong),
    rule(0, Words("exceed context limit"), ContextTooLong),
    rule(0, Code(&["overloaded_error"]), Busy),
    rule(429, Words("concurren"), TooManyInFlight),
    rule(0, Code(&["rate_limit_error"]), RateLimited(None)),
    rule(0, Code(&["authentication_error", "permission_error"]), KeyRejected),
    rule(0, Code(&["not_found_error"]), ModelGone),
    // It knows no member but its own, and is sent no other: nothing of the caller's is to blame.
    rule(400, Words("extra inputs are not permitted"), NotHere),
];

const CLOUDFLARE: &[Rule] = &[
    // "Used up your daily free allocation": 3036 in its documents, 4006 on the wire.
    rule(0, Code(&["4006", "3036"]), DAY).of_account(MIDNIGHT),
    rule(0, Code(&["3040"]), Busy),
    rule(0, Code(&["5007", "3042"]), ModelGone),
    // There, but not for this account.
    rule(0, Code(&["5016", "5018", "3041"]), ModelGone).of(Scope::Target),
    rule(0, Words("context window limit"), ContextTooLong),
    rule(0, Words("input too long"), ContextTooLong),
    // What one of its models can't take, another provider's may.
    rule(0, Code(&["5004", "5006", "3003", "3039", "5005", "5019"]), NotHere),
    rule(0, Code(&["3006"]), ContextTooLong),
    rule(0, Code(&["3007", "3008"]), Server),
    // Not this key's account, or none at all.
    rule(0, Code(&["7003", "10000", "3023"]), KeyRejected),
];

const COHERE: &[Rule] = &[
    rule(429, Words("calls / month"), MONTH).of_account(NEXT_MONTH),
    rule(429, Words("calls / minute"), RateLimited(Some(Period::Minute))),
    // The request was blocked.
    rule(498, Status, NotHere),
];

const DEEPSEEK: &[Rule] = &[
    // A turn that another provider thought up lacks the thoughts that this one wants back.
    rule(400, Words("must be passed back"), NotHere),
];

const GROQ: &[Rule] = &[
    // Flex capacity.
    rule(498, Status, Busy),
];

const HUGGING_FACE: &[Rule] =
    &[rule(402, Words("monthly included credits"), MONTH).of_account(NEXT_MONTH)];

const MISTRAL: &[Rule] = &[
    rule(0, Code(&["3505"]), Busy),
    rule(0, Code(&["1500"]), ModelGone),
    // Its rules for the order of messages and the ids of calls; others take them.
    rule(400, Code(&["3230", "3280"]), NotHere),
];

const MODEL_SCOPE: &[Rule] = &[
    // It says so of models that are retired.
    rule(429, Words("insufficient balance (1008)"), ModelGone),
    rule(401, Words("bind your alibaba"), Barred).of(Scope::Account),
];

const NVIDIA: &[Rule] = &[
    rule(400, Words("degraded"), Server),
    rule(400, Words("single tool-calls"), NotHere),
    rule(404, Words("not found for account"), ModelGone).of(Scope::Target),
    // "Worker local total request limit reached (33/32)": that model's worker is full.
    rule(0, Words("worker local total request limit"), TooManyInFlight).of(Scope::Model),
    rule(0, Words("resourceexhausted"), Busy),
];

const OLLAMA: &[Rule] = &[
    // The key is good; the model is not in its plan.
    rule(403, Words("requires a subscription"), ModelGone).of(Scope::Target),
    // No week is counted here: the day that is part of it is spent.
    rule(429, Words("weekly usage limit"), DAY).of_account(None),
    rule(429, Words("hourly usage limit"), HOUR).of_account(None),
    rule(429, Words("session usage limit"), HOUR).of_account(None),
    rule(429, Words("concurrent"), TooManyInFlight).of(Scope::Account),
];

const OPEN_AI: &[Rule] =
    &[rule(429, Code(&["insufficient_quota", "credit_balance_exhausted"]), NoCredit)];

const OPEN_CODE_ZEN: &[Rule] = &[
    // Not the key: the model is no longer given away.
    rule(401, Words("promotion has ended"), ModelGone),
    // What one address may ask, whatever the key.
    rule(429, Code(&["FreeUsageLimitError"]), RateLimited(None)).of(Scope::Provider),
];

const OPEN_ROUTER: &[Rule] = &[
    rule(429, Words("free-models-per-day"), DAY).of_account(MIDNIGHT),
    rule(429, Words("free-models-per-min"), RateLimited(Some(Period::Minute))).of_account(None),
    rule(429, Code(&["openrouter_in_flight_budget"]), TooManyInFlight).of(Scope::Account),
    // The host behind it is full, or has failed; this key has not had its share.
    rule(429, Words("provider returned error"), Busy),
    // This request asks for a longer answer than there is money for; another may not.
    rule(402, Words("fewer max_tokens"), NoCredit).of(Scope::Request),
    rule(403, Words("flagged"), NotHere),
    rule(403, Words("moderation"), NotHere),
    rule(404, Words("no endpoints found that support"), NotHere),
    // A setting of the account hides the model.
    rule(404, Words("data policy"), ModelGone).of(Scope::Target),
];

const SAMBA_NOVA: &[Rule] = &[
    rule(0, Code(&["queue_full"]), TooManyInFlight).of(Scope::Model),
    // Elsewhere this means money.
    rule(429, Code(&["insufficient_quota"]), RateLimited(None)),
];

const TOGETHER: &[Rule] = &[
    rule(0, Words("`max_new_tokens` must be"), ContextTooLong),
    // Its documents give this status to requests that are too long.
    rule(403, Both("tokens", "max"), ContextTooLong),
    rule(403, Both("tokens", "limit"), ContextTooLong),
    rule(403, Words("too long"), ContextTooLong),
];

const ZAI: &[Rule] = &[
    rule(0, Code(&["1000", "1001", "1002", "1003", "1004"]), KeyRejected),
    rule(0, Code(&["1110", "1111", "1112", "1121"]), KeyRejected),
    rule(0, Code(&["1113"]), NoCredit),
    rule(0, Code(&["1211", "1221"]), ModelGone),
    rule(0, Code(&["1220"]), ModelGone).of(Scope::Target),
    rule(0, Code(&["1234"]), Server),
    rule(0, Code(&["1261"]), ContextTooLong),
    rule(0, Code(&["1301"]), NotHere),
    rule(0, Code(&["1302"]), TooManyInFlight),
    rule(0, Code(&["1303"]), RateLimited(Some(Period::Minute))),
    rule(0, Code(&["1304"]), DAY),
    // The caps of a plan, and its rules of fair use.
    rule(0, Code(&["1308", "1313"]), DAY).of_account(None),
    rule(0, Code(&["1310"]), MONTH).of_account(None),
    rule(0, Code(&["1305", "1312"]), Busy),
];

const BY_PROVIDER: &[(&str, &[Rule])] = &[
    ("aihorde", AI_HORDE),
    ("anthropic", ANTHROPIC),
    ("cloudflare", CLOUDFLARE),
    ("cohere", COHERE),
    ("deepseek", DEEPSEEK),
    ("groq", GROQ),
    ("huggingface", HUGGING_FACE),
    ("mistral", MISTRAL),
    ("modelscope", MODEL_SCOPE),
    ("nvidia", NVIDIA),
    ("ollama", OLLAMA),
    ("openai", OPEN_AI),
    ("opencodezen", OPEN_CODE_ZEN),
    ("openrouter", OPEN_ROUTER),
    ("sambanova", SAMBA_NOVA),
    ("together", TOGETHER),
    ("zai", ZAI),
];

/// What is known of a provider by its [`plain`] name.
pub(super) fn of(provider: &str) -> impl Iterator<Item = &'static Rule> {
    BY_PROVIDER.iter().filter(move |(name, _)| *name == provider).flat_map(|(_, rules)| *rules)
}

/// A provider's name as it stands here: `OpenCode Zen` is `opencodezen`.
pub(super) fn plain(provider: &str) -> String {
    let letters = provider.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|it| it.to_ascii_lowercase()).collect()
}

impl Rule {
    /// Does it speak of this error? `message` is in lower case.
    pub(super) fn fits(&self, status: u16, codes: [&str; 2], message: &str) -> bool {
        (self.status == 0 || self.status == status)
            && match self.sign {
                Code(known) => codes.iter().any(|it| known.contains(it)),
                Words(words) => message.contains(words),
                Both(one, other) => message.contains(one) && message.contains(other),
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
    use crate::provider::fault::Fault;

    use super::*;

    /// 2026-08-01 16:00:00 UTC, when the samples were taken.
    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_785_600_000_000 };
    /// From then to 00:00 UTC.
    const TO_MIDNIGHT: u64 = 8 * 3_600;

    const MINUTE: FaultKind = RateLimited(Some(Period::Minute));

    struct Expected {
        kind: FaultKind,
        scope: Scope,
        seconds: Option<u64>,
    }

    fn says(kind: FaultKind) -> Expected {
        Expected { scope: Fault::new(kind.clone(), "").scope, kind, seconds: None }
    }

    fn at(kind: FaultKind, scope: Scope) -> Expected {
        Expected { scope, ..says(kind) }
    }

    fn of_account(kind: FaultKind, seconds: Option<u64>) -> Expected {
        Expected { scope: Scope::Account, kind, seconds }
    }

    fn check(provider: &str, status: u16, headers: &[(&str, &str)], body: &str, wanted: &Expected) {
        let header = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        let fault = classify(provider, status, &headers, body.as_bytes(), NOW);
        assert_eq!(fault.kind, wanted.kind, "{provider} {status} {body}");
        assert_eq!(fault.scope, wanted.scope, "{provider} {status} {body}");
        let seconds = fault.retry_after.map(|it| it.as_secs());
        assert_eq!(seconds, wanted.seconds, "{provider} {status} {body}");
        assert!(!fault.message.is_empty());
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
        check("sambanova", 429, &windows("0", "19"), samba, &after(MINUTE, 60));
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
            (5018, 403, at(ModelGone, Scope::Target)),
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
            ("1302", 429, TooManyInFlight),
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
            ("nvidia", 503, "ResourceExhausted: no more", Busy),
            ("together", 403, "Forbidden", KeyRejected),
            ("together", 403, "The access token is invalid", KeyRejected),
            ("together", 403, "9 tokens are above the limit of 8", ContextTooLong),
            ("cloudflare", 400, "AiError: input too long", ContextTooLong),
            ("AI Horde", 400, "max_tokens must be >= 16", NotHere),
            ("opencode-zen", 401, "Free promotion has ended for it", ModelGone),
            ("OpenCode Zen", 401, "Invalid API key.", KeyRejected),
            ("openai", 403, "Country, region, or territory not supported", Barred),
            ("elsewhere", 429, "Insufficient balance", NoCredit),
            ("elsewhere", 499, "cancelled", Server),
            ("cohere", 498, "blocked", NotHere),
            ("anthropic", 400, "seed: Extra inputs are not permitted", NotHere),
        ] {
            check(provider, status, &[], &error(text), &says(wanted));
        }
        let worker = error("ResourceExhausted: Worker local total request limit reached (33/32)");
        check("nvidia", 429, &[], &worker, &at(TooManyInFlight, Scope::Model));
        let hourly = r#"{"error":"you have reached your hourly usage limit"}"#;
        check("ollama", 429, &[], hourly, &of_account(HOUR, None));
        let zai = r#"{"error":{"code":"1310","message":"Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-08-03 00:00:00"}}"#;
        check("Z.ai", 429, &[], zai, &of_account(MONTH, Some(86_400)));
        let page = "<html><title>Access denied</title>error code: 1010</html>";
        check("routeway", 403, &[], page, &says(Barred));
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
