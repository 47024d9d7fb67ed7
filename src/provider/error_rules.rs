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
    of_account(
        429,
        Words("free-models-per-min"),
        RateLimited(Some(Period::Minute)),
        None,
    ),
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
                Sign::Code(known) => codes.iter().any(|it| known.contains(it)),
                Sign::Words(words) => message.contains(words),
                Sign::Status => true,
            }
    }
}
