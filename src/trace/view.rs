//! A record as people and programs read it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::quota::Left;
use crate::trace::Call;
use crate::trace::Candidate;
use crate::trace::Ending;
use crate::trace::Fate;
use crate::trace::Record;

/// The longest summary, in bytes: headers are bounded everywhere.
const SUMMARY_BYTES: usize = 480;

/// Reasons that a summary names.
const MOST_REASONS: usize = 4;

#[derive(Serialize)]
struct Document<'a> {
    request_id: &'a str,
    model: &'a str,
    stream: bool,
    strict: bool,
    no_training: bool,
    /// Unix time.
    began_ms: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    waited_ms: u64,
    models: Models,
    ruled_out: Vec<RuledOut<'a>>,
    candidates: Vec<Entry<'a>>,
    candidates_left_out: usize,
    context: Option<&'a str>,
    normalizer: Normalizer,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Serialize)]
struct Models {
    known: usize,
    eligible: usize,
    ruled_out: usize,
}

#[derive(Serialize)]
struct RuledOut<'a> {
    model: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Normalizer {
    mode: &'static str,
    changed: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    model: &'a str,
    key: &'a str,
    at_ms: u64,
    outcome: &'static str,
    #[serde(flatten)]
    passed_over: Option<PassedOver>,
    #[serde(flatten)]
    asked: Option<Asked>,
}

#[derive(Serialize)]
struct PassedOver {
    reason: String,
    free_in_ms: Option<u64>,
}

#[derive(Serialize)]
struct Asked {
    first_token_ms: Option<u64>,
    took_ms: Option<u64>,
    status: Option<u16>,
    quota_before: Quota,
    quota_after: Option<Quota>,
}

/// What is left in the tightest window of each unit; `null` where no limit is known.
#[derive(Serialize)]
struct Quota {
    requests: Option<u64>,
    tokens: Option<u64>,
}

impl From<Left> for Quota {
    fn from(it: Left) -> Self {
        Self { requests: it.requests, tokens: it.tokens }
    }
}

impl Record {
    /// As `GET /v1/requests/{id}` gives it.
    pub(super) fn to_json(&self) -> String {
        let (status, code) = match &self.ending {
            Ending::Failed(status, code) => (Some(*status), code.as_deref()),
            Ending::Cut(why) => (None, Some(*why)),
            Ending::Abandoned | Ending::Answered(..) | Ending::Broken => (None, None),
        };
        let usage = match self.ending {
            Ending::Answered(prompt_tokens, completion_tokens) => {
                Some(Usage { prompt_tokens, completion_tokens })
            }
            Ending::Abandoned | Ending::Failed(..) | Ending::Broken | Ending::Cut(_) => None,
        };
        let document = Document {
            request_id: &self.request_id,
            model: &self.requested,
            stream: self.stream,
            strict: self.strict,
            no_training: self.no_training,
            began_ms: self.began.unix_ms,
            outcome: self.ending.outcome(),
            status,
            code,
            usage,
            waited_ms: millis(self.waited),
            models: Models {
                known: self.eligible.1,
                eligible: self.eligible.0,
                ruled_out: self.ruled_out.1,
            },
            ruled_out: self
                .ruled_out
                .0
                .iter()
                .map(|(model, reason)| RuledOut { model, reason })
                .collect(),
            candidates: self.candidates.iter().map(entry).collect(),
            candidates_left_out: self.unremembered,
            context: self.context.as_deref(),
            normalizer: Normalizer { mode: self.normalizer.0, changed: self.normalizer.1 },
        };
        // Strings, numbers and fixed keys: writing them can't fail.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// In a line for a header: `eligible=4/9; passed=2; tried=Groq/m:rate_limited@12ms,…`.
    pub fn summary(&self) -> String {
        let (eligible, known) = self.eligible;
        let passed = self.candidates.iter().filter(|it| matches!(it.fate, Fate::PassedOver(_)));
        let mut out = format!("eligible={eligible}/{known}; passed={}", passed.count());
        self.count_reasons(&mut out);
        let mut separator = "; tried=";
        for it in &self.candidates {
            let Fate::Asked(call) = &it.fate else { continue };
            if out.len() + it.model.len() > SUMMARY_BYTES - 60 {
                out.push_str(",...");
                break;
            }
            let took = call.took.or(call.first_token).map_or(0, millis);
            let word = match (call.took, call.first_token) {
                (None, Some(_)) => "answering",
                _ => outcome(call),
            };
            // Writing to a string cannot fail.
            let _ = write!(out, "{separator}{}:{word}@{took}ms", it.model);
            separator = ",";
        }
        if !self.waited.is_zero() {
            let _ = write!(out, "; waited={}ms", millis(self.waited));
        }
        out
    }
}

impl Record {
    /// Why models were ruled out: `; ruled_out=privacy:3,tools:1`.
    fn count_reasons(&self, out: &mut String) {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for (_, reason) in &self.ruled_out.0 {
            match counts.iter_mut().find(|(it, _)| it == reason) {
                Some((_, count)) => *count += 1,
                None => counts.push((reason, 1)),
            }
        }
        for (at, (reason, count)) in counts.iter().take(MOST_REASONS).enumerate() {
            let separator = if at == 0 { "; ruled_out=" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(out, "{separator}{}:{count}", reason.replace(' ', "_"));
        }
    }
}

impl Ending {
    /// In a word.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Cut(_) => "cut",
            Self::Answered(..) => "answered",
            Self::Failed(..) => "failed",
            Self::Broken => "broken",
        }
    }
}

fn entry(it: &Candidate) -> Entry<'_> {
    let (passed_over, asked, outcome) = match &it.fate {
        Fate::PassedOver(shut) => {
            let mut reason = format!("{} {}", shut.what, shut.which);
            if !shut.period.is_empty() {
                reason = format!("{reason} per {}", shut.period);
            }
            let free_in_ms = shut.until.map(|it_is| millis(it_is.saturating_sub(it.at)));
            let reason = reason.trim_end().to_owned();
            (Some(PassedOver { reason, free_in_ms }), None, "passed_over")
        }
        Fate::Asked(call) => {
            let asked = Asked {
                first_token_ms: call.first_token.map(millis),
                took_ms: call.took.map(millis),
                status: call.fault.and_then(|(_, status)| status),
                quota_before: call.before.into(),
                quota_after: call.after.map(Quota::from),
            };
            (None, Some(asked), outcome(call))
        }
    };
    let at_ms = millis(it.at);
    Entry { model: &it.model, key: &it.key, at_ms, outcome, passed_over, asked }
}

/// What a call came to, in a word.
fn outcome(call: &Call) -> &'static str {
    match (call.fault, call.took) {
        (Some((fault, _)), _) => fault,
        (None, Some(_)) => "answered",
        (None, None) => "unfinished",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
