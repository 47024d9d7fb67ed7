//! Token figures as providers report them.

use super::json::JsonObject;
use super::reader::{Broken, Reader, read};

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

    /// Reads a `usage` object, and whether it has OpenAI's form. `None` unless it holds at least
    /// one of the two counts: some providers send an empty object or figures of another kind.
    pub(super) fn read(json: &str) -> Option<(Self, bool)> {
        let figures = Figures::of(json)?;
        let tokens = figures.tokens()?;
        Some((tokens, figures.are_in_openai_form(tokens)))
    }

    /// A provider's `usage` object with these figures, its other members as they are.
    pub(super) fn told_with(self, usage: &str) -> String {
        let mut usage = JsonObject::parse(usage).unwrap_or_default();
        self.tell(&mut usage);
        usage.to_string()
    }

    fn tell(self, usage: &mut JsonObject) {
        usage.set("prompt_tokens", self.prompt.to_string());
        usage.set("completion_tokens", self.completion.to_string());
        usage.set("total_tokens", self.total().to_string());
    }
}

/// A provider's `usage` object in OpenAI's form: whole numbers, an answer that holds its thinking,
/// cached and reasoning tokens with the details. Other members stay. `None` when it has that form
/// or holds no figures that could be believed.
pub(super) fn in_openai_form(source: &str) -> Option<String> {
    let figures = Figures::of(source)?;
    let tokens = figures.tokens()?;
    let hidden = tokens.completion.saturating_sub(figures.told_completion());
    let hidden = (hidden > 0).then(|| hidden.to_string());
    let thought = hidden.or(figures.reasoning.map(str::to_owned));
    let cached = figures.cached().map(str::to_owned);
    let details = [
        ("prompt_tokens_details", "cached_tokens", cached),
        ("completion_tokens_details", "reasoning_tokens", thought),
    ];
    let mut usage = JsonObject::parse(source).ok()?;
    tokens.tell(&mut usage);
    for (member, detail, count) in details {
        let Some(count) = count.filter(|it| is_digits(it)) else { continue };
        let mut inner = match usage.said(member) {
            None => JsonObject::default(),
            Some(inner) => JsonObject::parse(inner).ok()?,
        };
        if inner.get(detail).is_none_or(|it| it == "null") {
            inner.set(detail, count);
            usage.set(member, inner.to_string());
        }
    }
    usage.is_changed().then(|| usage.to_string())
}

/// More tokens than any model holds. Figures beyond it, or below zero, are a provider's mistake, and
/// believing one would block its token windows and spoil the sums for good.
const SANE: f64 = 1e7;

/// Counts may come as floats or as strings; other members of the object are of no concern here.
#[derive(Default)]
struct Figures<'a> {
    prompt: Option<&'a str>,
    completion: Option<&'a str>,
    total: Option<&'a str>,
    cache_hit: Option<&'a str>,
    cached: Option<&'a str>,
    reasoning: Option<&'a str>,
}

impl<'a> Figures<'a> {
    fn of(json: &'a str) -> Option<Self> {
        read(json, Self::read).ok()
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Broken> {
        let mut found = Self::default();
        reader.object(|it, key| {
            let value = it.raw()?;
            let place = match &*key {
                "prompt_tokens" => &mut found.prompt,
                "completion_tokens" => &mut found.completion,
                "total_tokens" => &mut found.total,
                // DeepSeek's name for the part of the prompt that was cached, and Moonshot's.
                "prompt_cache_hit_tokens" => &mut found.cache_hit,
                "cached_tokens" => &mut found.cached,
                "reasoning_tokens" => &mut found.reasoning,
                _ => return Ok(()),
            };
            *place = Some(value).filter(|it| *it != "null");
            Ok::<_, Broken>(())
        })?;
        Ok(found)
    }
}

impl Figures<'_> {
    fn are_in_openai_form(&self, tokens: TokenUsage) -> bool {
        let counts = [self.prompt, self.completion, self.total];
        counts.iter().all(|it| it.is_some_and(is_digits))
            && self.told_completion() == tokens.completion
            && self.cached().or(self.reasoning).is_none()
    }

    /// The answer's tokens as they are told.
    fn told_completion(&self) -> u64 {
        self.completion.and_then(figure).map_or(0, whole)
    }

    fn cached(&self) -> Option<&str> {
        self.cache_hit.or(self.cached)
    }

    fn tokens(&self) -> Option<TokenUsage> {
        let [prompt, completion, total] =
            [self.prompt, self.completion, self.total].map(|it| it.and_then(figure));
        if prompt.is_none() && completion.is_none() {
            return None;
        }
        let sane = |it: &f64| (0.0..=SANE).contains(it);
        if ![prompt, completion].iter().flatten().all(sane) {
            return None;
        }
        let (prompt, completion) = (prompt.map_or(0, whole), completion.map_or(0, whole));
        // Gemini's endpoint for OpenAI's clients counts its thinking in the total alone.
        let total = total.filter(|it| sane(it) && self.prompt.is_some()).map_or(0, whole);
        Some(TokenUsage { prompt, completion: completion.max(total.saturating_sub(prompt)) })
    }
}

fn figure(json: &str) -> Option<f64> {
    // A short whole number, as nearly all are, is read in a fraction of the time.
    if let Some(count) = Some(json).filter(|it| it.len() < 10).and_then(|it| it.parse::<u32>().ok())
    {
        return Some(count.into());
    }
    json.trim_matches('"').parse().ok().filter(|it: &f64| it.is_finite())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the figures are between 0 and 10 million"
)]
fn whole(count: f64) -> u64 {
    count.clamp(0.0, SANE) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: Option<(u64, u64)>) {
        let read = TokenUsage::read(source).map(|(it, _)| (it.prompt, it.completion));
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
        check(r#"{"prompt_tokens":"3","completion_tokens":null}"#, Some((3, 0)));
        check(r#"{"completion_tokens":3,"prompt_tokens":8,"total_tokens":52}"#, Some((8, 44)));
        check(r#"{"completion_tokens":3,"prompt_tokens":8,"total_tokens":9}"#, Some((8, 3)));
        check(r#"{"completion_tokens":3,"total_tokens":52}"#, Some((0, 3)));
    }

    fn check_form(source: &str, expected: Option<&str>) {
        let form = in_openai_form(source);
        assert_eq!(form.as_deref(), expected, "{source}");
        assert_eq!(form.and_then(|it| in_openai_form(&it)), None, "{source}: once is enough");
    }

    #[test]
    fn figures_take_openais_form() {
        check_form(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#, None);
        check_form(r#"{"kudos":12}"#, None);
        check_form("null", None);
        check_form(
            r#"{"prompt_tokens":3.0,"completion_tokens":"4","rate":1.50}"#,
            Some(r#"{"prompt_tokens":3,"completion_tokens":4,"rate":1.50,"total_tokens":7}"#),
        );
        check_form(
            r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_cache_hit_tokens":2,"reasoning_tokens":1}"#,
            Some(
                r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_cache_hit_tokens":2,"reasoning_tokens":1,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}"#,
            ),
        );
        check_form(
            r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":1},"prompt_cache_hit_tokens":2}"#,
            None,
        );
        check_form(
            r#"{"completion_tokens":3,"prompt_tokens":8,"total_tokens":52}"#,
            Some(
                r#"{"completion_tokens":44,"prompt_tokens":8,"total_tokens":52,"completion_tokens_details":{"reasoning_tokens":41}}"#,
            ),
        );
    }
}
