//! `/v1/keys`, and `/v1/usage` of one key.

use serde::Deserialize;
use serde::Serialize;

use crate::callers::VirtualKey;
use crate::clock::Now;

/// One key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// What it is called: `key_` and twelve hex digits.
    pub id: String,
    /// For people.
    pub label: String,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// Does the keys file declare it?
    pub declared: bool,
    /// When it was made, in Unix seconds; `null` for one of the keys file.
    pub created_at: Option<u64>,
    /// When it ends, as RFC 3339 writes it.
    pub expires_at: Option<String>,
    /// Answers a day.
    pub daily_requests: Option<u64>,
    /// Tokens a day.
    pub daily_tokens: Option<u64>,
    /// The models its requests may name; `null` = any.
    pub models: Option<Vec<String>>,
    /// `no-training`, or `null`.
    pub privacy: Option<String>,
    /// Since midnight UTC, with what is reserved for requests under way.
    pub today: Today,
    /// Since it was made.
    pub total: Total,
}

/// What was used of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Today {
    /// Answers.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
}

/// What was used in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Answers.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Answers whose tokens were counted here.
    pub estimated_requests: u64,
}

/// A list as OpenAI writes one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyList {
    /// `list`.
    pub object: String,
    /// The keys, by label.
    pub data: Vec<KeyStatus>,
}

/// A key that was made just now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewKey {
    /// The key itself: it is told this once.
    pub key: String,
    /// What should be known about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// All else.
    #[serde(flatten)]
    pub status: KeyStatus,
}

/// What one key has used.
#[derive(Clone, Debug, Serialize)]
pub struct KeyUsage {
    /// As `/v1/usage` writes it for all.
    pub total: Total,
    /// Since midnight UTC.
    pub today: Today,
    /// The key.
    pub key: KeyStatus,
}

impl KeyStatus {
    /// How `key` is now.
    pub fn of(key: &VirtualKey, now: Now) -> Self {
        let (terms, total) = (&key.terms, key.total());
        let [requests, tokens] = key.budget().used(now);
        Self {
            id: key.id.to_string(),
            label: terms.label.to_string(),
            status: key.standing(now).as_str().to_owned(),
            declared: key.is_declared(),
            created_at: key.created_unix_ms.map(|it| it / 1_000),
            expires_at: terms.expires(),
            daily_requests: terms.daily_requests,
            daily_tokens: terms.daily_tokens,
            models: terms.models.as_ref().map(|it| it.iter().map(ToString::to_string).collect()),
            privacy: terms.privacy().map(str::to_owned),
            today: Today { requests, tokens },
            total: Total {
                requests: total.requests,
                prompt_tokens: total.prompt_tokens,
                completion_tokens: total.completion_tokens,
                estimated_requests: total.estimated_requests,
            },
        }
    }
}

impl KeyUsage {
    /// What `key` has used until now.
    pub fn of(key: &VirtualKey, now: Now) -> Self {
        let key = KeyStatus::of(key, now);
        Self { total: key.total, today: key.today, key }
    }
}
