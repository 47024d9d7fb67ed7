//! What the headers of an answer, good or bad, say of its key's limits.
//!
//! Each provider has names of its own, and the same name means a minute here and a day there, so
//! the names are a table by provider. Sources: the providers' documentation and error reports,
//! gathered 2026-11; what nobody could confirm is marked.

use std::time::Duration;

use http::HeaderMap;

use crate::catalog::Period;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::provider::retry_hint;

/// One window as a provider sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What it counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// Its size, where it is told.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: u64,
    /// Until it is whole again, where that is told.
    pub resets_in: Option<Duration>,
    /// Does it fill up bit by bit until then, or all at once?
    pub refills_evenly: bool,
}

/// The headers of one window.
#[derive(Debug)]
struct Form {
    unit: Unit,
    /// `None`: a minute or a day, as its reset is near or far.
    period: Option<Period>,
    limit: &'static str,
    remaining: &'static str,
    /// Empty where none is sent.
    reset: &'static str,
    refills_evenly: bool,
}

const fn form(unit: Unit, period: Period, [limit, remaining, reset]: [&'static str; 3]) -> Form {
    Form { unit, period: Some(period), limit, remaining, reset, refills_evenly: false }
}

/// `x-ratelimit-limit-<what>`, and so on.
macro_rules! named {
    ($what:literal) => {
        [
            concat!("x-ratelimit-limit-", $what),
            concat!("x-ratelimit-remaining-", $what),
            concat!("x-ratelimit-reset-", $what),
        ]
    };
}

macro_rules! anthropic {
    ($what:literal) => {
        [
            concat!("anthropic-ratelimit-", $what, "-limit"),
            concat!("anthropic-ratelimit-", $what, "-remaining"),
            concat!("anthropic-ratelimit-", $what, "-reset"),
        ]
    };
}

/// The reset of 30 used of 14,400 a day is 3 minutes: the time to fill what is missing.
const GROQ: &[Form] = &[
    Form { refills_evenly: true, ..form(Unit::Requests, Period::Day, named!("requests")) },
    Form { refills_evenly: true, ..form(Unit::Tokens, Period::Minute, named!("tokens")) },
];
const OPENAI: &[Form] = &[
    Form { refills_evenly: true, ..form(Unit::Requests, Period::Minute, named!("requests")) },
    Form { refills_evenly: true, ..form(Unit::Tokens, Period::Minute, named!("tokens")) },
];
const CEREBRAS: &[Form] = &[
    form(Unit::Requests, Period::Day, named!("requests-day")),
    form(Unit::Tokens, Period::Minute, named!("tokens-minute")),
];
const MISTRAL: &[Form] = &[
    form(Unit::Requests, Period::Minute, named!("req-minute")),
    form(Unit::Tokens, Period::Minute, named!("tokens-minute")),
];
const SAMBANOVA: &[Form] = &[
    form(Unit::Requests, Period::Minute, named!("requests")),
    form(Unit::Requests, Period::Day, named!("requests-day")),
];
/// Sent with some refusals only; the free models' day and minute go by the same names.
const OPENROUTER: &[Form] = &[Form {
    period: None,
    ..form(
        Unit::Requests,
        Period::Minute,
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    )
}];
/// Uncertain: counted by the second, as its resets of one second suggest.
const TOGETHER: &[Form] = &[
    form(
        Unit::Requests,
        Period::Second,
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ),
    form(Unit::Tokens, Period::Second, ["x-tokenlimit-limit", "x-tokenlimit-remaining", ""]),
];
/// Uncertain.
const COHERE: &[Form] = &[form(
    Unit::Requests,
    Period::Minute,
    ["x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining", ""],
)];
const ANTHROPIC_REQUESTS: Form = form(Unit::Requests, Period::Minute, anthropic!("requests"));
const ANTHROPIC_INPUT: Form = form(Unit::Tokens, Period::Minute, anthropic!("input-tokens"));
const ANTHROPIC_OUTPUT: Form = form(Unit::Tokens, Period::Minute, anthropic!("output-tokens"));
/// Sent by some keys in the place of the two above: the tightest of all that hold.
const ANTHROPIC_TOKENS: Form = form(Unit::Tokens, Period::Minute, anthropic!("tokens"));
/// For those not known by name: OpenAI's names, and those that say their period.
const OTHERS: &[Form] = &[
    Form { period: None, ..form(Unit::Requests, Period::Minute, named!("requests")) },
    Form { period: None, ..form(Unit::Tokens, Period::Minute, named!("tokens")) },
    form(Unit::Requests, Period::Minute, named!("requests-minute")),
    form(Unit::Tokens, Period::Minute, named!("tokens-minute")),
    form(Unit::Requests, Period::Day, named!("requests-day")),
    form(Unit::Tokens, Period::Day, named!("tokens-day")),
];

/// What the names of all these headers begin with.
const NAMES_BEGIN: [&str; 4] = ["x-ratelimit-", "x-tokenlimit-", "x-trial-", "anthropic-rate"];

/// The windows that `headers` of the provider of that name (in lower case) speak of. One that is
/// not known by name is taken to write as OpenAI does.
pub fn read(provider: &str, headers: &HeaderMap, now: Now) -> Vec<RateLimit> {
    // Looking for each of the names costs more than seeing that there are none.
    let may_tell = |it: &str| NAMES_BEGIN.iter().any(|begins| it.starts_with(begins));
    if !headers.keys().any(|it| may_tell(it.as_str())) {
        return Vec::new();
    }
    let forms = match provider {
        "groq" => GROQ,
        "openai" => OPENAI,
        "cerebras" => CEREBRAS,
        "mistral" => MISTRAL,
        "sambanova" => SAMBANOVA,
        "openrouter" => OPENROUTER,
        "together" => TOGETHER,
        "cohere" => COHERE,
        "anthropic" => return anthropic(headers, now),
        // These send none.
        "gemini" | "nvidia" | "ollama" | "cloudflare" | "deepseek" | "huggingface" | "zai" => &[],
        _ => OTHERS,
    };
    forms.iter().filter_map(|it| it.read(headers, now)).collect()
}

/// A call needs room for its prompt and for its answer; the ledger counts both as one. So of the
/// two limits what is left is their sum, unless one of them is spent.
fn anthropic(headers: &HeaderMap, now: Now) -> Vec<RateLimit> {
    let read = |form: &Form| form.read(headers, now);
    let both = || {
        let (input, output) = match (read(&ANTHROPIC_INPUT), read(&ANTHROPIC_OUTPUT)) {
            (Some(input), Some(output)) => (input, output),
            (input, output) => return input.or(output),
        };
        if let Some(spent) = [input, output].into_iter().find(|it| it.remaining == 0) {
            return Some(RateLimit { limit: None, ..spent });
        }
        Some(RateLimit {
            limit: input.limit.zip(output.limit).map(|(a, b)| a.saturating_add(b)),
            remaining: input.remaining.saturating_add(output.remaining),
            resets_in: input.resets_in.max(output.resets_in),
            ..input
        })
    };
    let tokens = read(&ANTHROPIC_TOKENS).or_else(both);
    read(&ANTHROPIC_REQUESTS).into_iter().chain(tokens).collect()
}

impl Form {
    /// What remains decides: without it the others say nothing that holds now.
    fn read(&self, headers: &HeaderMap, now: Now) -> Option<RateLimit> {
        let remaining = number(headers, self.remaining)?;
        let reset = Some(self.reset).filter(|it| !it.is_empty());
        let reset = reset.and_then(|it| headers.get(it)?.to_str().ok());
        let resets_in = reset.and_then(|it| retry_hint::wait(it.trim(), now));
        let near = resets_in.is_none_or(|it| it <= Period::Minute.rolling());
        let by_reset = if near { Period::Minute } else { Period::Day };
        Some(RateLimit {
            unit: self.unit,
            period: self.period.unwrap_or(by_reset),
            limit: number(headers, self.limit),
            remaining,
            resets_in,
            refills_evenly: self.refills_evenly,
        })
    }
}

/// A whole number; one below zero means none left, and a fraction of a unit is of no use.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let digits = text.split('.').next().unwrap_or_default();
    if digits.starts_with('-') {
        return digits.parse::<i64>().ok().map(|_| 0);
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::HeaderValue;

    use super::*;

    /// 2026-08-01 16:00:00 UTC.
    const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_785_600_000_000 };

    const REQUESTS: Unit = Unit::Requests;
    const TOKENS: Unit = Unit::Tokens;
    const MINUTE: Period = Period::Minute;
    const DAY: Period = Period::Day;

    /// (unit, period, limit, remaining, reset in milliseconds)
    type Seen = (Unit, Period, Option<u64>, u64, Option<u128>);

    fn check(provider: &str, headers: &[(&'static str, &'static str)], expected: &[Seen]) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect();
        let seen: Vec<Seen> = read(provider, &headers, NOW)
            .into_iter()
            .map(|it| {
                let reset = it.resets_in.map(|it| it.as_millis());
                (it.unit, it.period, it.limit, it.remaining, reset)
            })
            .collect();
        assert_eq!(seen, expected, "{provider} {headers:?}");
    }

    /// What Groq sends; OpenAI and many others use the same names.
    const PLAIN: &[(&str, &str)] = &[
        ("x-ratelimit-limit-requests", "1000"),
        ("x-ratelimit-limit-tokens", "8000"),
        ("x-ratelimit-remaining-requests", "999"),
        ("x-ratelimit-remaining-tokens", "7903"),
        ("x-ratelimit-reset-requests", "1m26.4s"),
        ("x-ratelimit-reset-tokens", "727.5ms"),
    ];

    #[test]
    fn the_same_names_mean_a_day_here_and_a_minute_there() {
        let check_plain = |provider, period| {
            let requests = (REQUESTS, period, Some(1_000), 999, Some(86_400));
            let tokens = (TOKENS, MINUTE, Some(8_000), 7_903, Some(727));
            check(provider, PLAIN, &[requests, tokens]);
        };
        check_plain("groq", DAY);
        check_plain("openai", MINUTE);
        // 86 s is too long for a minute.
        check_plain("", DAY);
        check("nvidia", PLAIN, &[]);
        check("groq", &[], &[]);
    }

    #[test]
    fn samples_of_those_with_names_for_their_periods() {
        check(
            "cerebras",
            &[
                ("x-ratelimit-limit-requests-day", "2400"),
                ("x-ratelimit-limit-tokens-minute", "30000"),
                ("x-ratelimit-remaining-requests-day", "2399"),
                ("x-ratelimit-remaining-tokens-minute", "29840"),
                ("x-ratelimit-reset-requests-day", "33011.382867813110"),
                ("x-ratelimit-reset-tokens-minute", "11.382867813110352"),
            ],
            &[
                (REQUESTS, DAY, Some(2_400), 2_399, Some(33_011_382)),
                (TOKENS, MINUTE, Some(30_000), 29_840, Some(11_382)),
            ],
        );
        check(
            "mistral",
            &[
                ("x-ratelimit-limit-tokens-minute", "500000"),
                ("x-ratelimit-remaining-tokens-minute", "499948"),
                ("x-ratelimit-tokens-query-cost", "52"),
                ("x-ratelimit-limit-req-minute", "60"),
                ("x-ratelimit-remaining-req-minute", "0"),
            ],
            &[
                (REQUESTS, MINUTE, Some(60), 0, None),
                (TOKENS, MINUTE, Some(500_000), 499_948, None),
            ],
        );
        check(
            "sambanova",
            &[
                ("x-ratelimit-limit-requests", "20"),
                ("x-ratelimit-remaining-requests", "19"),
                ("x-ratelimit-reset-requests", "1785600060"),
                ("x-ratelimit-limit-requests-day", "20"),
                ("x-ratelimit-remaining-requests-day", "0"),
                ("x-ratelimit-reset-requests-day", "4h17m"),
            ],
            &[
                (REQUESTS, MINUTE, Some(20), 19, Some(60_000)),
                (REQUESTS, DAY, Some(20), 0, Some(15_420_000)),
            ],
        );
    }

    #[test]
    fn samples_of_those_without() {
        let openrouter = |reset| {
            [
                ("x-ratelimit-limit", "50"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", reset),
            ]
        };
        let day = (REQUESTS, DAY, Some(50), 0, Some(28_800_000));
        check("openrouter", &openrouter("1785628800000"), &[day]);
        let minute = (REQUESTS, MINUTE, Some(50), 0, Some(60_000));
        check("openrouter", &openrouter("1785600060000"), &[minute]);
        check(
            "together",
            &[
                ("x-ratelimit-limit", "10"),
                ("x-ratelimit-remaining", "9"),
                ("x-ratelimit-reset", "1"),
                ("x-tokenlimit-limit", "30000"),
                ("x-tokenlimit-remaining", "29980"),
            ],
            &[
                (REQUESTS, Period::Second, Some(10), 9, Some(1_000)),
                (TOKENS, Period::Second, Some(30_000), 29_980, None),
            ],
        );
        // Of the refusal only the reset is sent.
        check("together", &[("x-ratelimit-reset", "1")], &[]);
        check(
            "cohere",
            &[("x-trial-endpoint-call-limit", "20"), ("x-trial-endpoint-call-remaining", "19")],
            &[(REQUESTS, MINUTE, Some(20), 19, None)],
        );
    }

    #[test]
    fn prompt_and_answer_are_one_window() {
        let headers = |output| {
            [
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "49"),
                ("anthropic-ratelimit-requests-reset", "2026-08-01T16:00:01Z"),
                ("anthropic-ratelimit-input-tokens-limit", "30000"),
                ("anthropic-ratelimit-input-tokens-remaining", "29000"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-08-01T16:00:02Z"),
                ("anthropic-ratelimit-output-tokens-limit", "8000"),
                ("anthropic-ratelimit-output-tokens-remaining", output),
                ("anthropic-ratelimit-output-tokens-reset", "2026-08-01T16:00:09Z"),
            ]
        };
        let requests = (REQUESTS, MINUTE, Some(50), 49, Some(1_000));
        let both = (TOKENS, MINUTE, Some(38_000), 36_000, Some(9_000));
        check("anthropic", &headers("7000"), &[requests, both]);
        check("anthropic", &headers("0"), &[requests, (TOKENS, MINUTE, None, 0, Some(9_000))]);
        let one = [
            ("anthropic-ratelimit-tokens-limit", "40000"),
            ("anthropic-ratelimit-tokens-remaining", "39000"),
        ];
        check("anthropic", &one, &[(TOKENS, MINUTE, Some(40_000), 39_000, None)]);
    }

    #[test]
    fn nonsense_is_not_believed() {
        let left = |value| [("x-ratelimit-remaining-requests", value)];
        for value in ["", "many", "99999999999999999999999", "-", "1e9"] {
            check("openai", &left(value), &[]);
        }
        check("openai", &left("-5"), &[(REQUESTS, MINUTE, None, 0, None)]);
        check("openai", &left("12.9"), &[(REQUESTS, MINUTE, None, 12, None)]);
    }
}
