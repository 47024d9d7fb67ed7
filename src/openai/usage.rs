//! Token figures as providers report them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::object;

/// What one answer used, in the provider's own tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer, reasoning included.
    pub completion: u64,
}

impl TokenUsage {
    /// Prompt and answer together.
    pub fn total(self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }

    /// Both added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_add(other.prompt),
            completion: self.completion.saturating_add(other.completion),
        }
    }

    /// OpenAI's `usage` object.
    pub fn to_json(self) -> String {
        format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{}}}"#,
            self.prompt,
            self.completion,
            self.total()
        )
    }

    /// Reads a `usage` object. `None` unless it holds at least one of the two counts: some
    /// providers send an empty object or figures of another kind.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let figures: Figures = object(raw.get()).ok()?;
        if figures.prompt_tokens.is_none() && figures.completion_tokens.is_none() {
            return None;
        }
        let sane = |it: &f64| (0.0..=SANE).contains(it);
        if ![figures.prompt_tokens, figures.completion_tokens].iter().flatten().all(sane) {
            return None;
        }
        Some(Self {
            prompt: whole(figures.prompt_tokens),
            completion: whole(figures.completion_tokens),
        })
    }
}

/// More tokens than any model holds. Figures beyond it, or below zero, are a provider's mistake, and
/// believing one would block its token windows and spoil the sums for good.
const SANE: f64 = 1e7;

/// Counts may come as floats; other members of the object are of no concern here.
#[derive(Deserialize)]
struct Figures {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the figures are between 0 and 10 million"
)]
fn whole(count: Option<f64>) -> u64 {
    count.unwrap_or_default().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: Option<(u64, u64)>) {
        let raw: &RawValue = serde_json::from_str(source).unwrap();
        let read = TokenUsage::read(raw).map(|it| (it.prompt, it.completion));
        assert_eq!(read, expected, "{source}");
    }

    #[test]
    fn figures_are_read_in_every_form_seen() {
        check(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#, Some((3, 4)));
        check(r#"{"prompt_tokens":3.0,"total_time":0.1,"completion_tokens":4}"#, Some((3, 4)));
        check(r#"{"prompt_tokens":3}"#, Some((3, 0)));
        check(r#"{"prompt_tokens":-3}"#, None);
        check(r#"{"prompt_tokens":18446744073709551615,"completion_tokens":1}"#, None);
        check("{}", None);
        check("null", None);
        check(r#"{"kudos":12}"#, None);
        check(r#"{"prompt_tokens":"three"}"#, None);
    }
}
