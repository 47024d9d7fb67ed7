//! Errors in each flavour's own words. The bodies are the files beside this one, with
//! `{{placeholders}}` filled in.

use std::time::Duration;

use crate::sim::meter::Breach;
use crate::sim::spec::Flavour;
use crate::sim::spec::What;

use super::headers::go_duration;
use super::quote;
use super::words::words;

/// Why a provider answers with an error.
#[derive(Clone, Debug)]
pub(in crate::sim) enum Problem {
    /// The bearer key is not one of its keys.
    Key(String),
    /// It has no such model.
    Model(String),
    /// The prompt has more tokens than the model holds.
    Context { tokens: u64, limit: u64 },
    /// A field it does not take, and the one that may have been meant.
    Field { field: String, near: Option<&'static str> },
    /// Something else is wrong with the request.
    Invalid(String),
    /// Gemini: no such name at this place.
    UnknownName { name: String, place: String },
    /// Mistral: the last message may not have this role.
    MessageOrder(String),
    /// Mistral: this tool call id has the wrong form.
    CallId(String),
    /// Groq: prompt and cap together exceed what a whole minute allows.
    TooLarge { model: String, max: u64, requested: u64 },
    /// A limit is used up.
    Limited { model: String, breach: Breach },
    /// A bare status.
    Status(u16),
}

/// A status and a JSON body.
pub(in crate::sim) type Refusal = (u16, String);

impl Problem {
    /// What a status means when nothing but the status is asked for.
    pub(in crate::sim) fn of_status(status: u16, model: &str, key: &str) -> Self {
        match status {
            401 => Self::Key(key.to_owned()),
            404 => Self::Model(model.to_owned()),
            429 => Self::Limited { model: model.to_owned(), breach: any_breach() },
            _ => Self::Status(status),
        }
    }

    /// The answer in that flavour's words.
    pub(in crate::sim) fn refusal(&self, flavour: Flavour) -> Refusal {
        let values = self.values();
        let (status, template) = match flavour {
            Flavour::OpenAi => self.openai(),
            Flavour::Groq => self.groq(),
            Flavour::Mistral => self.mistral(),
            Flavour::Cerebras => self.cerebras(),
            Flavour::Gemini => self.gemini(),
            Flavour::Anthropic => self.anthropic(),
            Flavour::Ollama => self.ollama(),
            Flavour::Cloudflare => self.cloudflare(),
            other => self.of(other),
        };
        (status, fill(template, &values))
    }

    fn openai(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("openai/error_401.json")),
            Self::Model(_) => (404, include_str!("openai/error_404_model.json")),
            Self::Context { .. } => (400, include_str!("openai/error_400_context_length.json")),
            Self::Field { .. } => (400, include_str!("openai/error_400_field.json")),
            Self::Invalid(_)
            | Self::UnknownName { .. }
            | Self::MessageOrder(_)
            | Self::CallId(_) => (400, include_str!("openai/error_400.json")),
            Self::TooLarge { .. } | Self::Limited { .. } => {
                (429, include_str!("openai/error_429.json"))
            }
            Self::Status(status) => (*status, include_str!("openai/error_other.json")),
        }
    }

    fn groq(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("groq/error_401.json")),
            Self::Model(_) => (404, include_str!("groq/error_404_model.json")),
            Self::Context { .. } => (400, include_str!("groq/error_400_context_length.json")),
            Self::Field { .. } => (400, include_str!("groq/error_400_field.json")),
            Self::Invalid(_)
            | Self::UnknownName { .. }
            | Self::MessageOrder(_)
            | Self::CallId(_) => (400, include_str!("groq/error_400.json")),
            Self::TooLarge { .. } => (413, include_str!("groq/error_413.json")),
            Self::Limited { .. } => (429, include_str!("groq/error_429.json")),
            Self::Status(status) => (*status, include_str!("groq/error_other.json")),
        }
    }

    fn mistral(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("mistral/error_401.json")),
            Self::Model(_) => (400, include_str!("mistral/error_400_invalid_model.json")),
            Self::Context { .. } => (400, include_str!("mistral/error_400_context_length.json")),
            Self::Field { .. } => (422, include_str!("mistral/error_422_extra_forbidden.json")),
            Self::Invalid(_) | Self::UnknownName { .. } => {
                (400, include_str!("mistral/error_400.json"))
            }
            Self::MessageOrder(_) => (400, include_str!("mistral/error_400_message_order.json")),
            Self::CallId(_) => (400, include_str!("mistral/error_400_tool_call_id.json")),
            Self::TooLarge { .. } | Self::Limited { .. } => {
                (429, include_str!("mistral/error_429.json"))
            }
            Self::Status(status) => (*status, include_str!("mistral/error_other.json")),
        }
    }

    fn cerebras(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("cerebras/error_401.json")),
            Self::Model(_) => (404, include_str!("cerebras/error_404_model.json")),
            Self::Context { .. } => (400, include_str!("cerebras/error_400_context_length.json")),
            Self::Field { .. } => (400, include_str!("cerebras/error_400_field.json")),
            Self::Invalid(_)
            | Self::UnknownName { .. }
            | Self::MessageOrder(_)
            | Self::CallId(_) => (400, include_str!("cerebras/error_400.json")),
            Self::Limited { breach: Breach { what: What::Requests, .. }, .. } => {
                (429, include_str!("cerebras/error_429_requests.json"))
            }
            Self::TooLarge { .. } | Self::Limited { .. } => {
                (429, include_str!("cerebras/error_429_tokens.json"))
            }
            Self::Status(status) => (*status, include_str!("cerebras/error_other.json")),
        }
    }

    fn gemini(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (400, include_str!("gemini/error_400_invalid_key.json")),
            Self::Model(_) => (404, include_str!("gemini/error_404_model.json")),
            Self::Context { .. } => (400, include_str!("gemini/error_400_context_length.json")),
            Self::Field { .. } | Self::UnknownName { .. } => {
                (400, include_str!("gemini/error_400_unknown_name.json"))
            }
            Self::Invalid(_) | Self::MessageOrder(_) | Self::CallId(_) => {
                (400, include_str!("gemini/error_400.json"))
            }
            Self::TooLarge { .. } | Self::Limited { .. } => {
                (429, include_str!("gemini/error_429.json"))
            }
            Self::Status(status) => (*status, include_str!("gemini/error_other.json")),
        }
    }

    fn anthropic(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("anthropic/error_401.json")),
            Self::Model(_) => (404, include_str!("anthropic/error_404_model.json")),
            Self::Context { .. } => (400, include_str!("anthropic/error_400_context_length.json")),
            Self::Field { .. } => (400, include_str!("anthropic/error_400_field.json")),
            Self::Limited { .. } | Self::TooLarge { .. } => {
                (429, include_str!("anthropic/error_429.json"))
            }
            Self::Status(529) => (529, include_str!("anthropic/error_529.json")),
            Self::Status(status) => (*status, include_str!("anthropic/error_other.json")),
            _ => (400, include_str!("anthropic/error_400.json")),
        }
    }

    fn ollama(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("ollama/error_401.json")),
            Self::Model(_) => (404, include_str!("ollama/error_404_model.json")),
            Self::Limited { .. } | Self::TooLarge { .. } => {
                (429, include_str!("ollama/error_429.json"))
            }
            Self::Status(status) => (*status, include_str!("ollama/error_other.json")),
            _ => (400, include_str!("ollama/error_400.json")),
        }
    }

    fn cloudflare(&self) -> (u16, &'static str) {
        match self {
            Self::Key(_) => (401, include_str!("cloudflare/error_401.json")),
            Self::Model(_) => (400, include_str!("cloudflare/error_400_no_such_model.json")),
            Self::Context { .. } => (400, include_str!("cloudflare/error_400_context_length.json")),
            Self::Field { .. } => (400, include_str!("cloudflare/error_400_field.json")),
            Self::Limited { breach, .. } if breach.window >= Duration::from_secs(86_400) => {
                (429, include_str!("cloudflare/error_429_day.json"))
            }
            Self::Limited { .. } | Self::TooLarge { .. } => {
                (429, include_str!("cloudflare/error_429_capacity.json"))
            }
            Self::Status(status) => (*status, include_str!("cloudflare/error_other.json")),
            _ => (400, include_str!("cloudflare/error_400.json")),
        }
    }

    /// In the words of a flavour whose words are a table.
    fn of(&self, flavour: Flavour) -> (u16, &'static str) {
        let words = words(flavour);
        match self {
            Self::Key(_) => words.key,
            Self::Model(_) => words.model,
            Self::Context { .. } => words.context,
            Self::Field { .. } => words.field,
            Self::Limited { .. } | Self::TooLarge { .. } => words.limited,
            Self::Status(status) => (*status, words.other),
            Self::Invalid(_)
            | Self::UnknownName { .. }
            | Self::MessageOrder(_)
            | Self::CallId(_) => words.invalid,
        }
    }

    /// What the placeholders of any template for this problem stand for.
    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Key(key) => vec![("key", key.chars().take(8).collect())],
            Self::Model(model) => vec![("model", model.clone())],
            Self::Context { tokens, limit } => {
                vec![("tokens", tokens.to_string()), ("limit", limit.to_string())]
            }
            Self::Field { field, near } => {
                let hint = near.map(|near| format!(", did you mean '{near}'?"));
                vec![
                    ("field", field.clone()),
                    ("hint", hint.unwrap_or_default()),
                    ("place", "generation_config".to_owned()),
                ]
            }
            Self::UnknownName { name, place } => vec![
                ("field", name.clone()),
                ("place", place.clone()),
                ("detail", format!("unknown name {name} at {place}")),
            ],
            Self::Invalid(detail) => vec![("detail", detail.clone())],
            Self::MessageOrder(role) => vec![("role", role.clone())],
            Self::CallId(id) => vec![("id", id.clone())],
            Self::TooLarge { model, max, requested } => vec![
                ("model", model.clone()),
                ("max", max.to_string()),
                ("requested", requested.to_string()),
            ],
            Self::Limited { model, breach } => limited(model, breach),
            Self::Status(status) => {
                let class =
                    if *status >= 500 { "internal_server_error" } else { "invalid_request_error" };
                let known = http::StatusCode::from_u16(*status).ok();
                let reason = known.and_then(|it| it.canonical_reason()).unwrap_or("Error");
                vec![
                    ("status", status.to_string()),
                    ("reason", reason.to_owned()),
                    ("class", class.to_owned()),
                    ("rpc_status", rpc_status(*status).to_owned()),
                ]
            }
        }
    }
}

fn limited(model: &str, breach: &Breach) -> Vec<(&'static str, String)> {
    let (period, short, letter) = match breach.window.as_secs() {
        0..=1 => ("second", "sec", 'S'),
        2..=60 => ("minute", "min", 'M'),
        61..=3_600 => ("hour", "hour", 'H'),
        _ => ("day", "day", 'D'),
    };
    let unit = match breach.what {
        What::Requests => 'R',
        What::Tokens => 'T',
    };
    let mut values = vec![
        ("model", model.to_owned()),
        ("what", breach.what.name().to_owned()),
        ("period", period.to_owned()),
        ("short_period", short.to_owned()),
        ("bucket", format!("{unit}P{letter}")),
        ("max", breach.max.to_string()),
        ("used", breach.used.to_string()),
        ("requested", breach.requested.to_string()),
        ("wait", go_duration(breach.wait)),
    ];
    values.extend(quota(breach));
    values
}

/// Gemini's names for a limit, and its hint, which is short even where the day has to pass.
fn quota(breach: &Breach) -> [(&'static str, String); 4] {
    let daily = breach.window > Duration::from_secs(3_600);
    let period = if daily { "PerDay" } else { "PerMinute" };
    let (metric, id) = match breach.what {
        What::Requests => ("requests", format!("GenerateRequests{period}PerProjectPerModel")),
        What::Tokens => {
            ("input_token_count", format!("GenerateContentInputTokensPerModel{period}"))
        }
    };
    let hint = if daily { Duration::from_nanos(36_429_760_048) } else { breach.wait };
    [
        ("quota_metric", format!("generate_content_free_tier_{metric}")),
        ("quota_id", format!("{id}-FreeTier")),
        ("hint", format!("{}.{:09}", hint.as_secs(), hint.subsec_nanos())),
        ("hint_seconds", hint.as_secs().to_string()),
    ]
}

/// The name Google's APIs have for a status.
fn rpc_status(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// Stands for a limit where a fault, not the meter, refuses a request.
pub(in crate::sim) fn any_breach() -> Breach {
    Breach {
        what: What::Requests,
        window: Duration::from_secs(60),
        max: 30,
        used: 30,
        requested: 1,
        wait: Duration::from_secs(2),
    }
}

/// Puts the values, escaped for JSON strings, in the places of their `{{names}}`.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut pieces = template.split("{{");
    filled.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        let value = values.iter().find(|(known, _)| *known == name);
        let quoted = value.map(|(_, value)| quote(value)).unwrap_or_default();
        filled.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_json_with_no_place_left_open_in_every_flavour() {
        let model = || "weird \"model\"".to_owned();
        let problems = [
            Problem::Key("sk-wrong".to_owned()),
            Problem::Model(model()),
            Problem::Context { tokens: 10, limit: 5 },
            Problem::Field { field: "store".to_owned(), near: Some("stop") },
            Problem::Invalid("bad".to_owned()),
            Problem::UnknownName { name: "const".to_owned(), place: "tools[0]".to_owned() },
            Problem::MessageOrder("assistant".to_owned()),
            Problem::CallId("call_1".to_owned()),
            Problem::TooLarge { model: model(), max: 8_000, requested: 9_000 },
            Problem::Limited { model: model(), breach: any_breach() },
            Problem::Status(503),
        ];
        for flavour in Flavour::ALL {
            for problem in &problems {
                let (status, body) = problem.refusal(*flavour);
                assert!((400..600).contains(&status));
                let read = serde_json::from_str::<serde_json::Value>(&body);
                assert!(read.is_ok() && !body.contains("{{"), "{flavour:?} {problem:?}: {body}");
            }
        }
    }

    #[test]
    fn the_words_are_the_providers_own() {
        let day = Breach {
            window: Duration::from_secs(86_400),
            max: 1_000,
            used: 1_000,
            wait: Duration::from_millis(86_400),
            ..any_breach()
        };
        let limited = Problem::Limited { model: "openai/gpt-oss-120b".to_owned(), breach: day };
        let (status, body) = limited.refusal(Flavour::Groq);
        assert_eq!(status, 429);
        let want = "on requests per day (RPD): Limit 1000, Used 1000, Requested 1. \
                    Please try again in 1m26.4s.";
        assert!(body.contains(want), "{body}");
        let field = Problem::Field { field: "store".to_owned(), near: Some("stop") };
        let want = "property 'store' is unsupported, did you mean 'stop'?";
        assert!(field.refusal(Flavour::Groq).1.contains(want));
        assert_eq!(field.refusal(Flavour::Mistral).0, 422);
    }
}
