//! `settings.json`: one struct per section, with the defaults and ranges of its keys.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;

use super::address::Range;
use super::json::Json;
use super::reader::Document;
use super::reader::Object;
use super::rules::Choice;
use super::rules::Decimal;
use super::rules::Flag;
use super::rules::Rule;
use super::rules::Span;
use super::rules::Text;
use super::rules::Whole;

/// All settings, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Keeping a conversation where it is.
    pub session: Session,
    /// Making a long conversation fit.
    pub context: Context,
    /// Summing up what was left out.
    pub summarization: Summarization,
    /// Who is asked, how often and for how long.
    pub routing: Routing,
    /// Time-outs and bounds of HTTP.
    pub http: Http,
    /// Cleaning of answers.
    pub normalizer: Normalizer,
}

/// `session`: requests of one session go to one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Is it done at all? Default true.
    pub affinity_enabled: bool,
    /// The request header that names the session. Default `X-Session-ID`.
    pub id_header: HeaderName,
    /// How long an unused session is remembered: `ttl_hours`, 0.0001 to 8760, default 24.
    pub ttl: Duration,
    /// The most that are remembered, 1 to 1,000,000. Default 1000.
    pub max_sessions: usize,
    /// Is a model told that it takes a session over from another? Default false.
    pub handoff_note: bool,
}

/// How a conversation that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextMode {
    /// The last messages stay.
    Static,
    /// As many as fill a share of the model's context.
    Dynamic,
    /// The last messages stay, a summary stands for the rest.
    Reservoir,
    /// The mode that suits the conversation.
    Adaptive,
    /// It is not cut.
    Disabled,
}

/// When a conversation is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextApply {
    /// Only when it does not fit.
    WhenNeeded,
    /// Also when it is longer than what the mode keeps.
    Always,
}

/// `context`: making a conversation fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// Default `reservoir`.
    pub management_mode: ContextMode,
    /// Default `when_needed`.
    pub apply: ContextApply,
    /// Messages kept in static mode, 1 to 100,000. Default 10.
    pub static_recent_keep: usize,
    /// Share of the context to aim for in dynamic mode, 0.01 to 1. Default 0.8.
    pub dynamic_utilization_target: f64,
    /// Share of the context to use at least in dynamic mode, 0 to 1. Default 0.3.
    pub dynamic_min_utilization: f64,
    /// By how much dynamic mode may multiply what it keeps, 1 to 100. Default 1.5.
    pub dynamic_max_boost: f64,
    /// Messages kept in reservoir mode, 1 to 100,000. Default 15.
    pub reservoir_recent_keep: usize,
    /// Tokens the summary may have in reservoir mode, 0 to 100,000. Default 400.
    pub reservoir_summary_budget: u64,
    /// Tokens set aside for the answer of a request without `max_tokens`, 1 to 1,000,000.
    /// Default 1024.
    pub answer_reserve_tokens: u64,
}

/// `summarization`: the summary of what was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summarization {
    /// Default true.
    pub enabled: bool,
    /// Tokens a summary may have in adaptive mode, 1 to 100,000. Default 200.
    pub max_tokens: u64,
    /// How long it may take: `timeout_ms`, 1 to 600,000. Default 2000.
    pub timeout: Duration,
    /// Is the extractive summary the way out when another kind fails? There is no other kind.
    /// Default true.
    pub fallback_to_extractive: bool,
}

/// In which order candidates of the same rank are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// By lot.
    Random,
    /// By lot, in proportion to weight or quota left.
    Weighted,
}

/// `routing`: who is asked, how often and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Is the style guide added to routed requests? Default true.
    pub use_server_side_system_prompt: bool,
    /// Another text than the style guide's own, at most 2,000 bytes; empty = none.
    pub style_guide: Option<String>,
    /// Default `roundrobin`.
    pub provider_strategy: Strategy,
    /// Default `roundrobin`.
    pub model_strategy: Strategy,
    /// Are only providers asked that are known not to train on prompts? `privacy`: `any`, the
    /// default, or `no-training`.
    pub no_training: bool,
    /// Further attempts after the first, 0 to 100. Default 8.
    pub max_retries: u32,
    /// Is a stream that is cut continued on another provider? Default true.
    pub stream_continuation: bool,
    /// How long a request may wait for quota: 0 to 3600 seconds. Default 10.
    pub max_quota_wait: Duration,
    /// The whole request until its first byte: 0.01 to 86400 seconds. Default 120.
    pub deadline: Duration,
}

/// `http`: time-outs and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// One attempt's whole answer, or the silence between two stream events: 0.01 to 86400
    /// seconds. Default 60.
    pub timeout: Duration,
    /// The wait for the first token: 0.01 to 86400 seconds. Default 30.
    pub first_token_timeout: Duration,
    /// The longest request body, 1024 bytes to 1 GiB. Default 20 MiB.
    pub max_body_bytes: usize,
    /// Requests under way at once, 1 to 1,000,000. Default 10000.
    pub max_concurrent_requests: usize,
    /// Proxies whose `X-Forwarded-For` is believed: addresses with the bits that count. Default none.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    /// Web origins that may call, in lower case, e.g. `http://localhost:3000`. Default none.
    pub allowed_origins: Vec<String>,
}

/// `normalizer`: cleaning of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalizer {
    /// Default true.
    pub enabled: bool,
}

const MODES: Choice<ContextMode> = Choice(&[
    ("static", ContextMode::Static),
    ("dynamic", ContextMode::Dynamic),
    ("reservoir", ContextMode::Reservoir),
    ("adaptive", ContextMode::Adaptive),
    ("disabled", ContextMode::Disabled),
]);

const APPLY: Choice<ContextApply> =
    Choice(&[("when_needed", ContextApply::WhenNeeded), ("always", ContextApply::Always)]);

const STRATEGIES: Choice<Strategy> = Choice(&[
    ("roundrobin", Strategy::RoundRobin),
    ("random", Strategy::Random),
    ("weighted", Strategy::Weighted),
    ("weight", Strategy::Weighted),
]);

const GUIDE: Text = Text { wanted: "a text of at most 2000 bytes", fits: |it| it.len() <= 2_000 };

/// A day, in seconds: longer waits are mistakes.
const TIMEOUT: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;

/// Reads the settings file; what is faulty has its default.
pub(super) fn read(document: &Document<'_>, json: &Json, notes: &mut Vec<String>) -> Settings {
    let mut root = document.root(json);
    let settings = Settings {
        session: session(root.section("session")),
        context: context(root.section("context")),
        summarization: summarization(root.section("summarization")),
        routing: routing(root.section("routing"), notes),
        http: http(root.section("http")),
        normalizer: normalizer(root.section("normalizer")),
    };
    root.finish();
    settings
}

fn session(mut it: Object<'_>) -> Session {
    let usual = HeaderName::from_static("x-session-id");
    let read = Session {
        affinity_enabled: it.or("affinity_enabled", &Flag, true),
        id_header: it.or("id_header", &SessionHeader, usual),
        ttl: it.or("ttl_hours", &Span::hours(0.0001..=8_760.0), Duration::from_secs(86_400)),
        max_sessions: count(&mut it, "max_sessions", 1..=1_000_000, 1_000),
        handoff_note: it.or("handoff_note", &Flag, false),
    };
    it.finish();
    read
}

fn context(mut it: Object<'_>) -> Context {
    let read = Context {
        management_mode: it.or("management_mode", &MODES, ContextMode::Reservoir),
        apply: it.or("apply", &APPLY, ContextApply::WhenNeeded),
        static_recent_keep: count(&mut it, "static_recent_keep", 1..=100_000, 10),
        dynamic_utilization_target: it.or("dynamic_utilization_target", &Decimal(0.01..=1.0), 0.8),
        dynamic_min_utilization: it.or("dynamic_min_utilization", &Decimal(0.0..=1.0), 0.3),
        dynamic_max_boost: it.or("dynamic_max_boost", &Decimal(1.0..=100.0), 1.5),
        reservoir_recent_keep: count(&mut it, "reservoir_recent_keep", 1..=100_000, 15),
        reservoir_summary_budget: it.or("reservoir_summary_budget", &Whole(0..=100_000), 400),
        answer_reserve_tokens: it.or("answer_reserve_tokens", &Whole(1..=1_000_000), 1_024),
    };
    it.finish();
    read
}

fn summarization(mut it: Object<'_>) -> Summarization {
    it.optional("mode", &Choice(&[("extractive", ())]));
    let timeout = Span { unit: Duration::from_millis(1), range: 1.0..=600_000.0 };
    let read = Summarization {
        enabled: it.or("enabled", &Flag, true),
        max_tokens: it.or("max_tokens", &Whole(1..=100_000), 200),
        timeout: it.or("timeout_ms", &timeout, Duration::from_secs(2)),
        fallback_to_extractive: it.or("fallback_to_extractive", &Flag, true),
    };
    it.finish();
    read
}

fn routing(mut it: Object<'_>, notes: &mut Vec<String>) -> Routing {
    if it.optional("global_provider_lock", &Flag) == Some(true) {
        notes.push(
            "settings: routing.global_provider_lock has no effect: quota is reserved before each \
             call, so providers need no lock"
                .to_owned(),
        );
    }
    let wait = Span::seconds(0.0..=3_600.0);
    let read = Routing {
        use_server_side_system_prompt: it.or("use_server_side_system_prompt", &Flag, true),
        style_guide: it.optional("style_guide", &GUIDE),
        provider_strategy: it.or("provider_strategy", &STRATEGIES, Strategy::RoundRobin),
        model_strategy: it.or("model_strategy", &STRATEGIES, Strategy::RoundRobin),
        no_training: it.or("privacy", &Choice(&[("any", false), ("no-training", true)]), false),
        max_retries: count(&mut it, "max_retries", 0..=100, 8),
        stream_continuation: it.or("stream_continuation", &Flag, true),
        max_quota_wait: it.or("max_quota_wait_seconds", &wait, Duration::from_secs(10)),
        deadline: it.or("deadline_seconds", &Span::seconds(TIMEOUT), Duration::from_secs(120)),
    };
    it.finish();
    read
}

fn http(mut it: Object<'_>) -> Http {
    let time = Span::seconds(TIMEOUT);
    let read = Http {
        timeout: it.or("timeout_seconds", &time, Duration::from_secs(60)),
        first_token_timeout: it.or("first_token_timeout_seconds", &time, Duration::from_secs(30)),
        max_body_bytes: count(&mut it, "max_body_bytes", 1_024..=1 << 30, 20 << 20),
        max_concurrent_requests: count(&mut it, "max_concurrent_requests", 1..=1_000_000, 10_000),
        allowed_origins: it.elements("allowed_origins", &ORIGIN),
        trusted_proxies: it.elements("trusted_proxies", &Range),
    };
    it.finish();
    read.with_plain_origins()
}

impl Http {
    /// Browsers send an origin in lower case and without a slash at its end.
    fn with_plain_origins(mut self) -> Self {
        for origin in &mut self.allowed_origins {
            *origin = origin.trim_end_matches('/').to_ascii_lowercase();
        }
        self
    }
}

fn normalizer(mut it: Object<'_>) -> Normalizer {
    let read = Normalizer { enabled: it.or("enabled", &Flag, true) };
    it.finish();
    read
}

/// A whole number of things that are counted in memory.
fn count<T: TryFrom<u64>>(
    it: &mut Object<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: T,
) -> T {
    it.optional(key, &Whole(range)).and_then(|it| T::try_from(it).ok()).unwrap_or(default)
}

/// A header that may name a session: not one that has a meaning of its own.
struct SessionHeader;

impl Rule for SessionHeader {
    type Value = HeaderName;

    fn wanted(&self) -> String {
        "the name of a request header such as \"X-Session-ID\", not one with a meaning of its own"
            .to_owned()
    }

    fn read(&self, json: &Json) -> Option<HeaderName> {
        const TAKEN: [HeaderName; 7] = [
            http::header::AUTHORIZATION,
            http::header::CONNECTION,
            http::header::CONTENT_LENGTH,
            http::header::CONTENT_TYPE,
            http::header::COOKIE,
            http::header::HOST,
            http::header::TRANSFER_ENCODING,
        ];
        let Json::Text(it) = json else { return None };
        HeaderName::from_bytes(it.as_bytes()).ok().filter(|it| !TAKEN.contains(it))
    }
}

const ORIGIN: Text = Text {
    wanted: "a web origin such as \"http://localhost:3000\": scheme, host, port if unusual, no path",
    fits: |text| {
        let Some((scheme, rest)) = text.split_once("://") else { return false };
        let host = rest.trim_end_matches('/');
        let in_scheme = |it: u8| it.is_ascii_alphanumeric() || b"+-.".contains(&it);
        let in_host = |it: u8| it.is_ascii_graphic() && !b"/?#@*\\".contains(&it);
        let whole = !scheme.is_empty() && !host.is_empty() && rest.len() <= host.len() + 1;
        whole && scheme.bytes().all(in_scheme) && host.bytes().all(in_host)
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Variable;
    use crate::config::faults::Faults;

    fn check(json: &str, variable: Option<(&'static str, &str)>, wanted: Result<&str, &[&str]>) {
        let json = Json::parse(json.as_bytes()).unwrap();
        let faults = Faults::default();
        let overrides: Vec<_> = variable
            .into_iter()
            .map(|(path, value)| {
                let (name, place) = ("VARIABLE".to_owned(), "environment".to_owned());
                (path, Variable { name, value: value.to_owned(), place })
            })
            .collect();
        let document = Document { place: "s.json", overrides: &overrides, faults: &faults };
        let settings = read(&document, &json, &mut Vec::new());
        let faults: Vec<_> = faults.into_list().iter().map(ToString::to_string).collect();
        match wanted {
            Ok(part) => {
                assert_eq!(faults, [""; 0]);
                let got = format!("{settings:?}");
                assert!(got.contains(part), "{part} is not in {got}");
            }
            Err(wanted) => assert_eq!(faults, wanted),
        }
    }

    #[test]
    fn the_built_in_file_says_the_defaults() {
        let faults = Faults::default();
        let document = Document { place: "s.json", overrides: &[], faults: &faults };
        let mut notes = Vec::new();
        let file = Json::parse(include_bytes!("../../settings.json")).unwrap();
        let written = read(&document, &file, &mut notes);
        assert_eq!(written, read(&document, &Json::Object(Vec::new()), &mut notes));
        assert_eq!(faults.into_list(), []);
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn values_are_taken() {
        check(r#"{"session": {"ttl_hours": 0.5}}"#, None, Ok("ttl: 1800s"));
        check(r#"{"session": {"id_header": "X-Chat"}}"#, None, Ok("id_header: \"x-chat\""));
        check(r#"{"routing": {"model_strategy": "weight"}}"#, None, Ok("model_strategy: Weighted"));
        check(
            r#"{"http": {"allowed_origins": ["HTTP://LocalHost:3000/", "app://x"]}}"#,
            None,
            Ok(r#"allowed_origins: ["http://localhost:3000", "app://x"]"#),
        );
    }

    #[test]
    fn a_variable_beats_the_file() {
        let file = r#"{"session": {"ttl_hours": 2}}"#;
        check(file, Some(("session.ttl_hours", "1")), Ok("ttl: 3600s"));
        check("{}", Some(("session.affinity_enabled", "off")), Ok("affinity_enabled: false"));
        check(
            r#"{"session": {"ttl_hours": -2}}"#,
            Some(("session.ttl_hours", "soon")),
            Err(&[
                "s.json: session.ttl_hours: got -2; wanted a number from 0.0001 to 8760",
                "environment: VARIABLE: got \"soon\"; wanted a number from 0.0001 to 8760",
            ]),
        );
    }

    #[test]
    fn what_is_out_of_range_is_a_fault() {
        let origin = "wanted a web origin such as \"http://localhost:3000\": scheme, host, port \
                      if unusual, no path";
        for (json, wanted) in [
            (
                r#"{"routing": {"max_retries": -1}}"#,
                "routing.max_retries: got -1; wanted a whole number from 0 to 100".to_owned(),
            ),
            (
                r#"{"routing": {"provider_strategy": "best"}}"#,
                "routing.provider_strategy: got \"best\"; wanted \"roundrobin\", \"random\", \
                 \"weighted\" or \"weight\""
                    .to_owned(),
            ),
            (
                r#"{"summarization": {"mode": "magic"}}"#,
                "summarization.mode: got \"magic\"; wanted \"extractive\"".to_owned(),
            ),
            (
                r#"{"session": {"id_header": "Authorization"}}"#,
                "session.id_header: got \"Authorization\"; wanted the name of a request header \
                 such as \"X-Session-ID\", not one with a meaning of its own"
                    .to_owned(),
            ),
            (
                r#"{"http": {"allowed_origins": ["http://a", "*"]}}"#,
                format!("http.allowed_origins[1]: got \"*\"; {origin}"),
            ),
            (
                r#"{"http": {"allowed_origins": ["http://a/b"]}}"#,
                format!("http.allowed_origins[0]: got \"http://a/b\"; {origin}"),
            ),
            (
                r#"{"https": {}}"#,
                "https: got an unknown key; wanted a known key (did you mean \"http\"?)".to_owned(),
            ),
        ] {
            check(json, None, Err(&[&format!("s.json: {wanted}")]));
        }
    }
}
