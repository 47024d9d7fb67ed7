//! When may the provider be asked again? Headers first, then the body and text of its error, then
//! the resets of the windows it shows as spent.

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Now;
use crate::provider::rate_limits;
use crate::provider::rate_limits::RateLimit;

/// The longest hint that is believed. A provider that says more, a year for instance, has made a
/// mistake, and what it said is as good as nothing. So is a time in the past, or less than none.
pub const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Where a wait stands in the words of an error, as data: provider by provider, since the same
/// words may be followed by another form elsewhere.
struct Prose {
    /// Whose words; empty = anyone's.
    provider: &'static str,
    /// What comes before, in lower case.
    before: &'static str,
    form: Form,
}

enum Form {
    /// `7m12.5s`, or `5 minutes`
    GoDuration,
    /// `43200`, in seconds
    Seconds,
    /// `2026-08-02 10:30:00`, by a clock so many hours ahead of UTC
    LocalTime(i8),
}

const fn prose(provider: &'static str, before: &'static str, form: Form) -> Prose {
    Prose { provider, before, form }
}

/// Z.ai names no time zone. Beijing's is taken, where its maker is: should that be wrong, the next
/// call comes too early and is told so, which is better than hours too late.
const BEIJING: i8 = 8;

const PROSE: &[Prose] = &[
    prose("", "try again in ", Form::GoDuration),
    prose("", "retry in ", Form::GoDuration),
    prose("", "try again after ", Form::GoDuration),
    prose("", "retry after ", Form::GoDuration),
    prose("", "retry after ", Form::Seconds),
    prose("", "wait ", Form::GoDuration),
    prose("", "please wait ", Form::Seconds),
    prose("zai", "reset at ", Form::LocalTime(BEIJING)),
    prose("zai", "将在", Form::LocalTime(BEIJING)),
];

/// What one error says of the time, in the order in which it is believed.
#[derive(Clone, Copy)]
pub(super) struct Hints<'a> {
    /// In lower case, without blanks or marks.
    pub(super) provider: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    /// When the limit is whole again, as the body writes it.
    pub(super) reset: Option<&'a str>,
    /// Its words in lower case.
    pub(super) message: &'a str,
}

impl Hints<'_> {
    /// How long the provider asks to be left alone: `retry-after-ms`, `retry-after` (seconds, a
    /// date, or seconds since 1970), what the body tells, what its words tell, then the longest
    /// reset of a window that is spent. A form that makes no sense is passed over.
    pub(super) fn retry_after(&self, now: Now) -> Option<Duration> {
        let header = |name| text_of(self.headers, name);
        let ms = || header("retry-after-ms")?.parse().ok().and_then(|it: f64| seconds(it / 1e3));
        let known = |it: &Duration| *it <= LONGEST;
        ms().filter(known)
            .or_else(|| header("retry-after").and_then(|it| wait(it, now)).filter(known))
            .or_else(|| self.reset.and_then(|it| wait(it, now)).filter(known))
            .or_else(|| self.in_prose(now).filter(known))
            .or_else(|| self.spent(now).and_then(|it| it.resets_in))
    }

    /// Of the windows that the headers of a 429 show as spent, the one that is whole again last.
    /// With another refusal they have nothing to do.
    pub(super) fn spent(&self, now: Now) -> Option<RateLimit> {
        if self.status != 429 {
            return None;
        }
        let limits = rate_limits::read(self.provider, self.headers, now).into_iter();
        let known = |it: RateLimit| {
            let resets_in = it.resets_in.filter(|it| *it <= LONGEST);
            RateLimit { resets_in, ..it }
        };
        limits.filter(|it| it.remaining == 0).map(known).max_by_key(|it| it.resets_in)
    }

    fn in_prose(&self, now: Now) -> Option<Duration> {
        PROSE
            .iter()
            .filter(|it| it.provider.is_empty() || it.provider == self.provider)
            .find_map(|it| it.form.read(self.message.split_once(it.before)?.1, now))
    }
}

impl Form {
    fn read(&self, text: &str, now: Now) -> Option<Duration> {
        let plain = |it: char| it.is_ascii_alphanumeric() || it == '.';
        let word = text.split(|it| !plain(it)).next().unwrap_or_default().trim_end_matches('.');
        match self {
            Self::GoDuration => go_duration(word).or_else(|| in_words(text)),
            // A date begins with a number as well.
            Self::Seconds if text.get(word.len()..)?.starts_with(['-', ':', '/']) => None,
            Self::Seconds => word.parse().ok().and_then(seconds),
            Self::LocalTime(hours) => {
                let of_time = |it: &char| it.is_ascii_digit() || " -:".contains(*it);
                let written: String = text.trim_start().chars().take_while(of_time).collect();
                let local: jiff::civil::DateTime = written.trim().parse().ok()?;
                let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(*hours));
                until(local.to_zoned(zone).ok()?.timestamp(), now).filter(|it| !it.is_zero())
            }
        }
    }
}

/// "5 minutes", "1 hour".
fn in_words(text: &str) -> Option<Duration> {
    let mut words = text.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()?.trim_end_matches(|it: char| !it.is_ascii_alphabetic()) {
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        "day" | "days" => 86_400.0,
        _ => return None,
    };
    seconds(number * unit)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim)
}

/// A wait in any form seen: seconds, a Go duration, RFC 3339, an HTTP date, seconds or milliseconds
/// since 1970. A moment that has passed means now.
pub(super) fn wait(text: &str, now: Now) -> Option<Duration> {
    // No wait is a year long, and no clock stands in the seventies.
    const YEAR_SECONDS: f64 = 366.0 * 86_400.0;
    const IN_MILLISECONDS: f64 = 1e11;
    if let Ok(number) = text.parse::<f64>() {
        let told = if number < IN_MILLISECONDS { seconds(number) } else { seconds(number / 1e3) }?;
        if number < YEAR_SECONDS {
            return Some(told);
        }
        let unix_ms = u64::try_from(told.as_millis()).ok()?;
        return Some(Duration::from_millis(unix_ms.saturating_sub(now.unix_ms)));
    }
    let timestamp = || text.parse().ok().and_then(|it| until(it, now));
    let date = || until(jiff::fmt::rfc2822::parse(text).ok()?.timestamp(), now);
    go_duration(text).or_else(timestamp).or_else(date)
}

fn until(moment: jiff::Timestamp, now: Now) -> Option<Duration> {
    let unix_ms = u64::try_from(moment.as_millisecond()).ok()?;
    Some(Duration::from_millis(unix_ms.saturating_sub(now.unix_ms)))
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok()
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
    use crate::catalog::Period;
    use crate::catalog::Unit;

    /// 2026-11-20 12:00:00 UTC.
    const NOON: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_795_176_000_000 };

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        headers.iter().map(pair).collect()
    }

    fn check(headers: &[(&'static str, &str)], message: &str, expected_ms: Option<u128>) {
        check_of("any", headers, message, expected_ms);
    }

    fn check_of(
        provider: &str,
        headers: &[(&'static str, &str)],
        message: &str,
        expected_ms: Option<u128>,
    ) {
        let hints = Hints { provider, status: 429, headers: &map(headers), reset: None, message };
        let told = hints.retry_after(NOON).map(|it| it.as_millis());
        assert_eq!(told, expected_ms, "{headers:?} {message}");
    }

    #[test]
    fn every_form_of_header() {
        check(&[("retry-after", "12")], "", Some(12_000));
        check(&[("retry-after", "0.5")], "", Some(500));
        check(&[("retry-after-ms", "250"), ("retry-after", "12")], "", Some(250));
        check(&[("retry-after", "Fri, 20 Nov 2026 12:00:30 GMT")], "", Some(30_000));
        check(&[("retry-after", "Fri, 20 Nov 2026 11:00:00 GMT")], "", Some(0));
        check(&[("retry-after", "1795176060")], "", Some(60_000));
        check(&[("retry-after", "30s")], "", Some(30_000));
    }

    #[test]
    fn every_form_of_prose() {
        check(&[], "please try again in 4.725s. need more?", Some(4_725));
        check(&[], "please try again in 1m26.4s.", Some(86_400));
        check(&[], "try again in 200ms", Some(200));
        check(&[], "try again in 1h2m3s", Some(3_723_000));
        check(&[], "try again in 5 minutes.", Some(300_000));
        check(&[], "please retry in 38.912345678s.", Some(38_912));
        check(&[], "please wait 43200 seconds before retrying.", Some(43_200_000));
        check(&[], "please wait 90 before retrying.", Some(90_000));
        check(&[], "rate limit. please retry after 15 seconds", Some(15_000));
        check(&[], "retry after 15.", Some(15_000));
        check(&[], "retry after 2026-11-21", None);
        check(&[], "retry after 2 min", Some(120_000));
        check(&[], "please try again after 20s", Some(20_000));
        check(&[], "rate limited, wait 12 seconds before retrying", Some(12_000));
        check(&[], "please wait and retry in 3s", Some(3_000));
        let zai = "usage limit reached for 5 hour. your limit will reset at 2026-11-20 22:30:00";
        check_of("zai", &[], zai, Some(9_000_000));
        check_of("zai", &[], "您的限额将在 2026-11-20 22:30:00 重置", Some(9_000_000));
        check_of("zai", &[], "your limit will reset at 2026-11-20 12:00:00", None);
        check_of("elsewhere", &[], zai, None);
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
            let headers = HeaderMap::new();
            let hints = Hints {
                provider: "any",
                status: 400,
                headers: &headers,
                reset: Some(text),
                message: "",
            };
            assert_eq!(hints.retry_after(NOON).map(|it| it.as_millis()), expected_ms, "{text}");
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
        check_of("anthropic", &tokens("0"), "", Some(2_000));
        check_of("anthropic", &tokens("7"), "", Some(1_000));
        check(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "9")], "", None);
    }

    #[test]
    fn the_same_header_means_another_period_elsewhere() {
        let spent = |provider, name| {
            let headers = map(&[(name, "0")]);
            let hints =
                Hints { provider, status: 429, headers: &headers, reset: None, message: "" };
            hints.spent(NOON).map(|it| (it.unit, it.period))
        };
        let requests = "x-ratelimit-remaining-requests";
        assert_eq!(spent("groq", requests), Some((Unit::Requests, Period::Day)));
        assert_eq!(spent("sambanova", requests), Some((Unit::Requests, Period::Minute)));
        assert_eq!(spent("any", requests), Some((Unit::Requests, Period::Minute)));
        let day = "x-ratelimit-remaining-requests-day";
        assert_eq!(spent("any", day), Some((Unit::Requests, Period::Day)));
        let minute = "x-ratelimit-remaining-req-minute";
        assert_eq!(spent("mistral", minute), Some((Unit::Requests, Period::Minute)));
    }

    #[test]
    fn nonsense_is_no_hint() {
        check(&[], "", None);
        check(&[], "try again in a while", None);
        check(&[], "try again in ", None);
        check(&[("retry-after", "-5")], "", None);
        check(&[("retry-after", "NaN")], "", None);
        check(&[("retry-after", "soon")], "", None);
        check(&[("retry-after", "99999999999")], "", None);
        check(&[("retry-after", "31000000")], "", None);
        // The next best is taken.
        check(&[("retry-after", "31000000")], "try again in 2s", Some(2_000));
    }
}
