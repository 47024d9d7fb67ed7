//! What a key allows, and what may be asked for it.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::clock::Now;

/// What a key allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// For people.
    pub label: Arc<str>,
    /// Answers a day; `None` = no bound.
    pub daily_requests: Option<u64>,
    /// Tokens a day, of prompts and answers together; `None` = no bound.
    pub daily_tokens: Option<u64>,
    /// The models a request may name, as [`Draft::check`] was told to write them; `None` = any.
    pub models: Option<Vec<Arc<str>>>,
    /// From when on it is no longer taken, in milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
    /// Its requests go only to providers that are known not to train on prompts.
    pub no_training: bool,
}

/// What is asked for a key, by whatever way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// For people, 1 to 128 characters.
    #[serde(default)]
    pub label: String,
    /// Answers a day, from 1 on.
    #[serde(default, alias = "dailyRequestCap")]
    pub daily_requests: Option<u64>,
    /// Tokens a day, from 1 on.
    #[serde(default, alias = "dailyTokenCap")]
    pub daily_tokens: Option<u64>,
    /// Names of models; an empty list allows any, as none does.
    #[serde(default, alias = "allowedModels")]
    pub models: Option<Vec<String>>,
    /// A date (its beginning in UTC is meant) or a time as RFC 3339 writes it.
    #[serde(default, alias = "expires_at", alias = "expiresAt")]
    pub expires: Option<String>,
    /// `no-training`, or nothing.
    #[serde(default)]
    pub privacy: Option<String>,
}

/// Something in a draft that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The member of [`Draft`].
    pub field: &'static str,
    /// What stands there.
    pub got: String,
    /// What should.
    pub wanted: String,
}

const LONGEST_LABEL: usize = 128;
const MOST_MODELS: usize = 1_000;
/// Far beyond any real cap, and exact in a double.
const MOST: u64 = 1_000_000_000_000_000;

impl Draft {
    /// What it comes to. `known` writes a model's name in its one form, or gives the closest names there
    /// are.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(
        &self,
        now: Now,
        known: &dyn Fn(&str) -> Result<String, Vec<String>>,
    ) -> Result<Terms, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |field, got: &str, wanted: String| {
            problems.push(Problem { field, got: got.to_owned(), wanted });
        };
        if !is_label(&self.label) {
            let got =
                if self.label.is_empty() { "nothing".to_owned() } else { quoted(&self.label) };
            let wanted = format!(
                "1 to {LONGEST_LABEL} characters without control characters, or blanks at the ends"
            );
            problem("label", &got, wanted);
        }
        for (field, cap) in
            [("daily_requests", self.daily_requests), ("daily_tokens", self.daily_tokens)]
        {
            if let Some(cap) = cap.filter(|it| !(1..=MOST).contains(it)) {
                problem(
                    field,
                    &cap.to_string(),
                    format!("a whole number from 1 to {MOST}, or none for no cap"),
                );
            }
        }
        let mut models = Vec::new();
        let asked = self.models.as_deref().unwrap_or_default();
        if asked.len() > MOST_MODELS {
            problem(
                "models",
                &format!("{} of them", asked.len()),
                format!("{MOST_MODELS} at most"),
            );
        }
        for name in asked.iter().take(MOST_MODELS) {
            match known(name) {
                Ok(name) if models.iter().any(|it: &Arc<str>| **it == *name) => {}
                Ok(name) => models.push(name.into()),
                Err(closest) => {
                    let wanted = format!("the name of a model; closest: {}", closest.join(", "));
                    problem("models", &quoted(name), wanted);
                }
            }
        }
        let expires = self.expires.as_deref();
        let expires_unix_ms = expires.and_then(unix_ms);
        match (expires, expires_unix_ms) {
            (Some(text), None) => problem("expires", &quoted(text), EXPIRES.to_owned()),
            (Some(text), Some(time)) if time <= now.unix_ms => {
                problem("expires", &format!("{}, which is past", quoted(text)), EXPIRES.to_owned());
            }
            _ => {}
        }
        if let Some(other) = self.privacy.as_deref().filter(|it| *it != NO_TRAINING) {
            problem("privacy", &quoted(other), format!("\"{NO_TRAINING}\", or nothing"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Terms {
            label: self.label.as_str().into(),
            daily_requests: self.daily_requests,
            daily_tokens: self.daily_tokens,
            models: Some(models).filter(|it| !it.is_empty()),
            expires_unix_ms,
            no_training: self.privacy.is_some(),
        })
    }
}

/// As headers and requests write it.
const NO_TRAINING: &str = "no-training";
const EXPIRES: &str = "a date to come, such as 2030-12-31 or 2030-12-31T12:00:00Z";

impl Terms {
    /// Its privacy, in the word it is asked for with.
    pub fn privacy(&self) -> Option<&'static str> {
        self.no_training.then_some(NO_TRAINING)
    }

    /// When it ends, as RFC 3339 writes it.
    pub fn expires(&self) -> Option<String> {
        self.expires_unix_ms.and_then(date_time)
    }
}

/// Milliseconds since 1970 as RFC 3339 writes them, in UTC; `None` when they are beyond the year 9999.
pub(super) fn date_time(unix_ms: u64) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(time.to_string())
}

fn unix_ms(text: &str) -> Option<u64> {
    let time: Timestamp = match text.parse() {
        Ok(time) => time,
        Err(_) => text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    // What was before 1970 is past, whenever it was.
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

fn is_label(text: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text
}

/// In quotation marks, escaped and cut to a readable length.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-28T20:26:40Z.
    const NOW: Now = Now { monotonic: std::time::Duration::ZERO, unix_ms: 1_780_000_000_000 };

    fn known(name: &str) -> Result<String, Vec<String>> {
        match name {
            "auto" | "meta-model" => Ok("meta-model".to_owned()),
            "groq/m" | "Groq/m" => Ok("Groq/m".to_owned()),
            _ => Err(vec!["Groq/m".to_owned()]),
        }
    }

    fn read(json: &str) -> Result<Terms, Vec<String>> {
        let draft: Draft = serde_json::from_str(json).unwrap();
        let told = |it: Problem| format!("{}: {}", it.field, it.got);
        draft.check(NOW, &known).map_err(|it| it.into_iter().map(told).collect())
    }

    #[test]
    fn terms_are_read_under_either_name() {
        let terms = read(
            r#"{"label": "a b", "dailyRequestCap": 5, "daily_tokens": 7, "expiresAt":
            "2030-01-02T03:04:05+01:00", "allowedModels": ["auto", "groq/m", "meta-model"],
            "privacy": "no-training"}"#,
        );
        let terms = terms.unwrap();
        assert_eq!((terms.daily_requests, terms.daily_tokens), (Some(5), Some(7)));
        assert_eq!(terms.models, Some(vec!["meta-model".into(), "Groq/m".into()]));
        assert_eq!(terms.expires().as_deref(), Some("2030-01-02T02:04:05Z"));
        assert!(terms.no_training);
        let plain = read(r#"{"label": "é", "models": [], "expires": "2030-01-02"}"#).unwrap();
        assert_eq!(plain.expires().as_deref(), Some("2030-01-02T00:00:00Z"));
        assert_eq!((plain.models, plain.no_training), (None, false));
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let check = |json: &str, expected: &[&str]| {
            assert_eq!(read(json).unwrap_err(), expected, "{json}");
        };
        check("{}", &["label: nothing"]);
        check(r#"{"label": "a\u0007"}"#, &[r#"label: "a\u{7}""#]);
        check(r#"{"label": " a"}"#, &[r#"label: " a""#]);
        check(
            &format!(r#"{{"label": "{}"}}"#, "a".repeat(129)),
            &[&format!("label: {:?}", "a".repeat(60))],
        );
        check(
            r#"{"label": "a", "daily_requests": 0, "daily_tokens": 0, "models": ["x", "auto", ""],
            "expires": "2026-05-28", "privacy": "none"}"#,
            &[
                "daily_requests: 0",
                "daily_tokens: 0",
                r#"models: "x""#,
                r#"models: """#,
                r#"expires: "2026-05-28", which is past"#,
                r#"privacy: "none""#,
            ],
        );
        for date in ["soon", "2026-13-01", "1/1/2030", ""] {
            check(
                &format!(r#"{{"label": "a", "expires": {date:?}}}"#),
                &[&format!("expires: {date:?}")],
            );
        }
        for date in ["1969-01-01", "2026-05-28T20:26:40Z", "0001-01-01"] {
            assert!(read(&format!(r#"{{"label": "a", "expires": {date:?}}}"#)).is_err(), "{date}");
        }
        assert!(serde_json::from_str::<Draft>(r#"{"label": "a", "colour": 1}"#).is_err());
        assert!(serde_json::from_str::<Draft>(r#"{"label": "a", "daily_tokens": -1}"#).is_err());
    }
}
