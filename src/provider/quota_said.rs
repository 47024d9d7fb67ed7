//! Which quotas a refusal speaks of, from its words: "on tokens per minute (TPM): Limit 8000, Used
//! 7430", "limited to 20 API calls / minute", "50 requests per minute".

use crate::catalog::Period;
use crate::catalog::Unit;

/// What the words of a refusal tell of a quota; anything may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) unit: Option<Unit>,
    pub(super) period: Option<Period>,
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
}

/// Reads `message`, which is in lower case.
pub(super) fn words(message: &str) -> Words {
    let limit = number_after(message, "limit ")
        .or_else(|| number_after(message, "limited to "))
        .or_else(|| number_before(message));
    let used = number_after(message, "used ");
    Words {
        unit: unit_of(message),
        period: period_of(message),
        limit,
        remaining: limit.zip(used).map(|(limit, used)| limit.saturating_sub(used)),
    }
}

/// Groq and OpenAI write `(RPD)`, Cerebras "per day", Cohere "/ month", Azure "per 86400s". What
/// stands in brackets goes first: Groq's advertisement in the same message has "today" and "tokens".
const PERIODS: &[(Period, &[&str])] = &[
    (Period::Day, &["(rpd)", "(tpd)"]),
    (Period::Hour, &["(rph)", "(tph)"]),
    (Period::Minute, &["(rpm)", "(tpm)"]),
    (
        Period::Day,
        &["per day", "per-day", "perday", "/ day", "/day", "daily", "per 86400s", "per 1 day"],
    ),
    (Period::Day, &["today's", "for today", "limit today", "quota today", "used up today"]),
    (Period::Month, &["per month", "/ month", "/month", "monthly"]),
    (Period::Hour, &["per hour", "/ hour", "/hour", "hourly", "per 3600s", "per 1 hour"]),
    (
        Period::Minute,
        &[
            "per minute",
            "per min",
            "per-min",
            "perminute",
            "/ minute",
            "/min",
            "per 60s",
            "per 1 min",
        ],
    ),
    (Period::Second, &["per second", "/ second", "per 1s", "per 1 second"]),
];

const UNITS: &[(Unit, &[&str])] = &[
    (Unit::Requests, &["(rpd)", "(rph)", "(rpm)"]),
    (Unit::Tokens, &["(tpd)", "(tph)", "(tpm)"]),
    (Unit::Tokens, &["tokens per", "tokens /", "tokens/", "token limit", "too many tokens"]),
    (Unit::Requests, &["request", "api calls", "call limit", "free-models-per"]),
];

fn period_of(message: &str) -> Option<Period> {
    found(PERIODS, message)
}

fn unit_of(message: &str) -> Option<Unit> {
    found(UNITS, message)
}

fn found<T: Copy>(table: &[(T, &[&str])], message: &str) -> Option<T> {
    table.iter().find(|(_, words)| words.iter().any(|it| message.contains(it))).map(|it| it.0)
}

/// "Limit 8000," and "limited to 1,000 API": the number that follows `mark`.
fn number_after(message: &str, mark: &str) -> Option<u64> {
    message.split(mark).skip(1).find_map(|it| {
        let end = it.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(it.len());
        number(it.get(..end)?)
    })
}

/// "50 requests per minute", "30,000 input tokens per minute", "50 per 86400s": the number before
/// "per", with nothing but the unit's name between.
fn number_before(message: &str) -> Option<u64> {
    const UNITS: &[&str] = &["api", "calls", "input", "output", "requests", "tokens"];
    let before = message.split(" per ").next().filter(|it| it.len() < message.len())?;
    number(before.rsplit(' ').find(|it| !UNITS.contains(it))?)
}

fn number(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|it| *it != ',').collect();
    let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        message: &str,
        quota: Option<(Unit, Period)>,
        limit: Option<u64>,
        remaining: Option<u64>,
    ) {
        let found = words(&message.to_ascii_lowercase());
        assert_eq!(found.unit.zip(found.period), quota, "{message}");
        assert_eq!((found.limit, found.remaining), (limit, remaining), "{message}");
    }

    #[test]
    fn what_providers_write() {
        use Period::{Day, Hour, Minute, Month};
        use Unit::{Requests, Tokens};
        check(
            "Rate limit reached for model `x` on tokens per minute (TPM): Limit 8000, Used 7430, Requested 1200. Please try again in 4.725s. Need more tokens? Upgrade to Dev Tier today",
            Some((Tokens, Minute)),
            Some(8_000),
            Some(570),
        );
        check(
            "on requests per day (RPD): Limit 1000, Used 1000, Requested 1. Need more tokens?",
            Some((Requests, Day)),
            Some(1_000),
            Some(0),
        );
        check(
            "Request too large on tokens per minute (TPM): Limit 8000, Requested 14137, please",
            Some((Tokens, Minute)),
            Some(8_000),
            None,
        );
        check("Tokens per day limit exceeded - too many", Some((Tokens, Day)), None, None);
        check("Requests per hour limit exceeded", Some((Requests, Hour)), None, None);
        check(
            "You are using a Trial key, which is limited to 1000 API calls / month. You can",
            Some((Requests, Month)),
            Some(1_000),
            None,
        );
        check(
            "would exceed the rate limit for your organization of 30,000 input tokens per minute.",
            Some((Tokens, Minute)),
            Some(30_000),
            None,
        );
        check("organization of 50 requests per minute.", Some((Requests, Minute)), Some(50), None);
        check(
            "The daily call limit of this API has been reached.",
            Some((Requests, Day)),
            None,
            None,
        );
        check("Rate limit exceeded: free-models-per-day. ", Some((Requests, Day)), None, None);
    }

    #[test]
    fn periods_in_other_words() {
        let check = |message: &str, period, limit| {
            let found = words(&message.to_ascii_lowercase());
            assert_eq!((found.period, found.limit), (period, limit), "{message}");
        };
        // As a library that many small hosts use writes it.
        check("Rate limit exceeded: 5 per 1 minute", Some(Period::Minute), Some(5));
        check("Rate limit exceeded: 200 per 1 hour", Some(Period::Hour), Some(200));
        check("Rate limit exceeded: 50 per 1 day", Some(Period::Day), Some(50));
        check("Rate limit exceeded: 1 per 1 second", Some(Period::Second), Some(1));
        check("You have exceeded today's quota for model x", Some(Period::Day), None);
        check("Free quota exhausted for today.", Some(Period::Day), None);
        check("You have used up your limit today", Some(Period::Day), None);
        // An advertisement.
        check("Rate limit reached. Upgrade to Dev Tier today", None, None);
    }

    #[test]
    fn what_is_not_said_is_not_made_up() {
        check("Rate limit exceeded", None, None, None);
        check("", None, None, None);
        check("per  per ", None, None, None);
        check("limit ,,, used 99999999999999999999999", None, None, None);
        let azure = words("rate limit of 50 per 86400s exceeded for userbymodelbyday.");
        assert_eq!((azure.unit, azure.period, azure.limit), (None, Some(Period::Day), Some(50)));
    }
}
