//! When may the provider be asked again? Headers first, then the body and text of its error, then
//! the resets of the windows it shows as spent.

use std::time::Duration;

use http::HeaderMap;

use crate::catalog::Period;
use crate::clock::Now;

/// Hints beyond this are taken as this: a provider that says "in a year" has made a mistake.
pub const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Rate-limit headers that come in pairs of what remains and when it is whole again, and the
/// period where the name tells it.
const WINDOWS: &[(&str, &str, Option<Period>)] = &[
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day", Some(Period::Day)),
    (
        "x-ratelimit-remaining-tokens-minute",
        "x-ratelimit-reset-tokens-minute",
        Some(Period::Minute),
    ),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", None),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", None),
    ("x-ratelimit-remaining", "x-ratelimit-reset", None),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", None),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", None),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", None),
    (
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
        None,
    ),
];

/// A window that the headers of a refusal show as spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Until it is whole again, where that can be read.
    pub resets_in: Option<Duration>,
    /// Its length, where the header's name tells it.
    pub period: Option<Period>,
}

/// Reads `retry-after-ms`, `retry-after` (seconds or an HTTP date), then the `reset` that the body
/// told, then "try again in 7m12.5s", then the longest reset of a window that is spent.
pub fn retry_after(
    headers: &HeaderMap,
    reset: Option<&str>,
    message: &str,
    now: Now,
) -> Option<Duration> {
    let ms = text_of(headers, "retry-after-ms").and_then(|it| it.parse::<f64>().ok());
    ms.and_then(|it| seconds(it / 1000.0))
        .or_else(|| text_of(headers, "retry-after").and_then(|it| seconds_or_date(it, now)))
        .or_else(|| reset.and_then(|it| moment_or_span(it, now)))
        .or_else(|| in_prose(message))
        .or_else(|| spent(headers, now).and_then(|it| it.resets_in))
        .map(|it| it.min(LONGEST))
}

/// Of the windows that the headers show as spent, the one that is whole again last.
pub fn spent(headers: &HeaderMap, now: Now) -> Option<Spent> {
    let spent = WINDOWS.iter().filter_map(|(remaining, reset, period)| {
        let left: f64 = text_of(headers, remaining)?.parse().ok()?;
        let resets_in = text_of(headers, reset).and_then(|it| moment_or_span(it, now));
        (left <= 0.0).then_some(Spent { resets_in, period: *period })
    });
    spent.max_by_key(|it| it.resets_in)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim)
}

/// A reset in any form seen: seconds, a Go duration, RFC 3339, seconds or milliseconds since 1970.
fn moment_or_span(text: &str, now: Now) -> Option<Duration> {
    // No reset is a year away, and no clock stands in the seventies.
    const YEAR_SECONDS: f64 = 366.0 * 86_400.0;
    const IN_MILLISECONDS: f64 = 1e11;
    let from_now = |unix_ms: u64| Duration::from_millis(unix_ms.saturating_sub(now.unix_ms));
    if let Ok(number) = text.parse::<f64>() {
        let unix = if number < IN_MILLISECONDS { seconds(number) } else { seconds(number / 1e3) }?;
        if number < YEAR_SECONDS {
            return Some(unix);
        }
        return Some(from_now(u64::try_from(unix.as_millis()).ok()?));
    }
    let moment = || {
        let moment: jiff::Timestamp = text.parse().ok()?;
        Some(from_now(u64::try_from(moment.as_millisecond()).ok()?))
    };
    go_duration(text).or_else(moment)
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok()
}

fn seconds_or_date(text: &str, now: Now) -> Option<Duration> {
    if let Ok(value) = text.parse::<f64>() {
        return seconds(value);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    // A date that has passed means now.
    let left = u64::try_from(date).ok()?.saturating_sub(now.unix_ms);
    Some(Duration::from_millis(left))
}

/// "Please try again in 4.725s": Groq and OpenAI write the wait into the message.
fn in_prose(message: &str) -> Option<Duration> {
    const MARK: &str = "try again in ";
    let at = message.find(MARK)? + MARK.len();
    let text: String = message
        .get(at..)?
        .chars()
        .take_while(|it| it.is_ascii_alphanumeric() || *it == '.')
        .collect();
    go_duration(text.trim_end_matches('.'))
}

/// A duration as Go writes it: `1h2m3.4s`, `727.5ms`.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let value: f64 = rest.get(..digits)?.parse().ok()?;
        let unit_and_on = rest.get(digits..)?;
        let end = unit_and_on.find(|it: char| it.is_ascii_digit()).unwrap_or(unit_and_on.len());
        total += value
            * match unit_and_on.get(..end)? {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = unit_and_on.get(end..)?;
    }
    (!text.is_empty()).then(|| seconds(total)).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-20 12:00:00 UTC.
    const NOON: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_795_176_000_000 };

    fn check(headers: &[(&'static str, &str)], message: &str, expected_ms: Option<u128>) {
        let headers =
            headers.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_str(v).unwrap()));
        let hint = retry_after(&headers.collect(), None, message, NOON);
        assert_eq!(hint.map(|it| it.as_millis()), expected_ms, "{message}");
    }

    #[test]
    fn every_form_of_hint() {
        check(&[("retry-after", "12")], "", Some(12_000));
        check(&[("retry-after", "0.5")], "", Some(500));
        check(&[("retry-after-ms", "250"), ("retry-after", "12")], "", Some(250));
        check(&[("retry-after", "Fri, 20 Nov 2026 12:00:30 GMT")], "", Some(30_000));
        check(&[("retry-after", "Fri, 20 Nov 2026 11:00:00 GMT")], "", Some(0));
        check(&[], "Please try again in 4.725s. Need more?", Some(4_725));
        check(&[], "Please try again in 1m26.4s.", Some(86_400));
        check(&[], "try again in 200ms", Some(200));
        check(&[], "try again in 1h2m3s", Some(3_723_000));
        check(&[("retry-after", "99999999999")], "", Some(LONGEST.as_millis()));
    }

    #[test]
    fn a_reset_is_read_in_every_form() {
        for (text, expected_ms) in [
            ("11.5", Some(11_500)),
            ("2m59.5s", Some(179_500)),
            ("2026-11-20T12:00:02Z", Some(2_000)),
            ("2026-11-20T11:00:00Z", Some(0)),
            ("1795176060", Some(60_000)),
            ("1795176060000", Some(60_000)),
            ("-1", None),
            ("inf", None),
            ("tomorrow", None),
        ] {
            let read = retry_after(&HeaderMap::new(), Some(text), "", NOON);
            assert_eq!(read.map(|it| it.as_millis()), expected_ms, "{text}");
        }
    }

    #[test]
    fn only_spent_windows_are_waited_for() {
        let tokens = |left| {
            [
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-20T12:00:01Z"),
                ("anthropic-ratelimit-input-tokens-remaining", left),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-20T12:00:02Z"),
            ]
        };
        check(&tokens("0"), "", Some(2_000));
        check(&tokens("7"), "", Some(1_000));
        check(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "9")], "", None);
        let day = [("x-ratelimit-remaining-requests-day", "0")]
            .map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_static(v)));
        let found = spent(&day.into_iter().collect(), NOON);
        assert_eq!(found, Some(Spent { resets_in: None, period: Some(Period::Day) }));
    }

    #[test]
    fn nonsense_is_no_hint() {
        check(&[], "", None);
        check(&[], "try again in a while", None);
        check(&[], "try again in ", None);
        check(&[("retry-after", "-5")], "", None);
        check(&[("retry-after", "NaN")], "", None);
        check(&[("retry-after", "soon")], "", None);
    }
}
