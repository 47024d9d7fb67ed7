//! Rate-limit headers in each flavour's own names and units.

use std::time::Duration;

use crate::sim::meter::Gauge;
use crate::sim::spec::Flavour;
use crate::sim::spec::What;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Header names are lower case.
pub(in crate::sim) type Headers = Vec<(&'static str, String)>;

/// What a reply says about its limits. A limit the real headers have no place for is not shown.
/// `cost` is the request's prompt and completion tokens together.
pub(in crate::sim) fn rate_limits(flavour: Flavour, gauges: &[Gauge], cost: u64) -> Headers {
    let mut headers = Headers::new();
    match flavour {
        Flavour::OpenAi => {
            show(&mut headers, find(gauges, What::Requests, MINUTE), &REQUESTS, go_duration);
            show(&mut headers, find(gauges, What::Tokens, MINUTE), &TOKENS, go_duration);
        }
        Flavour::Anthropic => {
            let requests = find(gauges, What::Requests, MINUTE);
            let tokens = find(gauges, What::Tokens, MINUTE);
            for (gauge, [limit, remaining]) in
                [(requests, ANTHROPIC_REQUESTS), (tokens, ANTHROPIC_TOKENS)]
            {
                let Some(gauge) = gauge else { continue };
                headers.push((limit, gauge.max.to_string()));
                headers.push((remaining, gauge.left.to_string()));
            }
        }
        Flavour::Groq => {
            show(&mut headers, find(gauges, What::Requests, DAY), &REQUESTS, go_duration);
            show(&mut headers, find(gauges, What::Tokens, MINUTE), &TOKENS, go_duration);
        }
        Flavour::Cerebras => {
            show(&mut headers, find(gauges, What::Requests, DAY), &REQUESTS_DAY, fraction);
            show(&mut headers, find(gauges, What::Tokens, MINUTE), &TOKENS_MINUTE, fraction);
        }
        Flavour::Mistral => {
            if let Some(gauge) = find(gauges, What::Tokens, MINUTE) {
                headers.push(("x-ratelimit-limit-tokens-minute", gauge.max.to_string()));
                headers.push(("x-ratelimit-remaining-tokens-minute", gauge.left.to_string()));
                headers.push(("x-ratelimit-tokens-query-cost", cost.to_string()));
            }
            if let Some(gauge) = find(gauges, What::Requests, MINUTE) {
                headers.push(("x-ratelimit-limit-req-minute", gauge.max.to_string()));
                headers.push(("x-ratelimit-remaining-req-minute", gauge.left.to_string()));
            }
        }
        Flavour::SambaNova => {
            show(&mut headers, find(gauges, What::Requests, MINUTE), &REQUESTS, whole_seconds);
            show(&mut headers, find(gauges, What::Requests, DAY), &REQUESTS_DAY, whole_seconds);
        }
        // They say nothing of their limits until one is met, and then in the body.
        _ => {}
    }
    headers
}

/// The names for limit, remaining and reset.
type Names = [&'static str; 3];

/// The real one also tells the reset, as a date.
const ANTHROPIC_REQUESTS: [&str; 2] =
    ["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"];
const ANTHROPIC_TOKENS: [&str; 2] =
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"];
const REQUESTS: Names =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: Names =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const REQUESTS_DAY: Names = [
    "x-ratelimit-limit-requests-day",
    "x-ratelimit-remaining-requests-day",
    "x-ratelimit-reset-requests-day",
];
const TOKENS_MINUTE: Names = [
    "x-ratelimit-limit-tokens-minute",
    "x-ratelimit-remaining-tokens-minute",
    "x-ratelimit-reset-tokens-minute",
];

fn find(gauges: &[Gauge], what: What, window: Duration) -> Option<&Gauge> {
    gauges.iter().find(|gauge| gauge.what == what && gauge.window == window)
}

fn show(
    headers: &mut Headers,
    gauge: Option<&Gauge>,
    [limit, remaining, reset]: &Names,
    write: fn(Duration) -> String,
) {
    if let Some(gauge) = gauge {
        headers.push((limit, gauge.max.to_string()));
        headers.push((remaining, gauge.left.to_string()));
        headers.push((reset, write(gauge.reset)));
    }
}

/// `Retry-After` as flavours send it: whole seconds, never early. OpenAI adds milliseconds; some
/// send none.
pub(in crate::sim) fn retry_after(flavour: Flavour, wait: Duration) -> Headers {
    const SILENT: &[Flavour] = &[
        Flavour::Gemini,
        Flavour::GeminiCompat,
        Flavour::Ollama,
        Flavour::OllamaCompat,
        Flavour::Cloudflare,
        Flavour::Nvidia,
        Flavour::Cohere,
        Flavour::Zai,
    ];
    if SILENT.contains(&flavour) {
        return Headers::new();
    }
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let mut headers = vec![("retry-after", seconds.to_string())];
    if flavour == Flavour::OpenAi {
        headers.push(("retry-after-ms", wait.as_nanos().div_ceil(1_000_000).to_string()));
    }
    headers
}

/// As Go prints durations, to a tenth of a millisecond: `727.5ms`, `7.66s`, `2m59.56s`, `1h0m3s`.
pub(super) fn go_duration(span: Duration) -> String {
    let micros = span.as_micros().div_ceil(100) * 100;
    if micros < 1_000_000 {
        return format!("{}ms", decimal(micros, 1_000));
    }
    let (minutes, rest) = (micros / 60_000_000, micros % 60_000_000);
    let seconds = decimal(rest, 1_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let digits = usize::try_from(unit.ilog10()).unwrap_or(0);
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds, never too few.
fn whole_seconds(span: Duration) -> String {
    span.as_millis().div_ceil(1_000).to_string()
}

/// Seconds with twelve decimals, as Cerebras writes them.
fn fraction(span: Duration) -> String {
    format!("{}.{:09}000", span.as_secs(), span.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(millis: f64, want: &str) {
        assert_eq!(go_duration(Duration::from_secs_f64(millis / 1_000.0)), want);
    }

    #[test]
    fn durations_read_as_go_writes_them() {
        check(0.0, "0ms");
        check(727.5, "727.5ms");
        check(7_660.0, "7.66s");
        check(86_400.0, "1m26.4s");
        check(179_560.0, "2m59.56s");
        check(360_000.0, "6m0s");
        check(3_603_000.0, "1h0m3s");
    }

    #[test]
    fn a_wait_is_never_written_too_short() {
        let wait = Duration::from_micros(4_000_001);
        let want = [("retry-after", "5".to_owned()), ("retry-after-ms", "4001".to_owned())];
        assert_eq!(retry_after(Flavour::OpenAi, wait), want);
        assert_eq!(retry_after(Flavour::Groq, Duration::from_secs(4))[0].1, "4");
    }

    #[test]
    fn each_flavour_has_its_own_names() {
        let gauge = |what, window| Gauge { what, window, max: 10, left: 9, reset: MINUTE };
        let gauges = [gauge(What::Requests, DAY), gauge(What::Tokens, MINUTE)];
        let shown = |flavour| rate_limits(flavour, &gauges, 3);
        assert_eq!(shown(Flavour::Groq).len(), 6);
        assert_eq!(shown(Flavour::OpenAi).len(), 3);
        assert_eq!(shown(Flavour::Mistral)[2], ("x-ratelimit-tokens-query-cost", "3".to_owned()));
        let reset = ("x-ratelimit-reset-requests-day", "60.000000000000".to_owned());
        assert!(shown(Flavour::Cerebras).contains(&reset));
    }
}
