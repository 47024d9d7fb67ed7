//! What a model's name tells of how it wants to be asked.
//!
//! Source: ai.google.dev/gemini-api/docs (thinking, thought-signatures, structured-output), read
//! 2026-11. Names that follow no known pattern get nothing that only some models take.

/// How a model's thinking is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Thinking {
    /// It takes no word on it.
    Fixed,
    /// In tokens, within these bounds.
    Budget {
        /// The smallest budget it takes: 0 where it can be turned off.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// In words.
    Level {
        /// The lowest word it knows.
        lowest: &'static str,
        /// Does it know `medium`?
        medium: bool,
    },
}

/// When a model gives JSON alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Json {
    /// It has no such mode.
    Never,
    /// Only while it has no functions to call.
    WithoutTools,
    /// Whenever it is asked to.
    Always,
}

/// One model, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Model {
    /// How its thinking is bounded.
    pub(in crate::provider) thinking: Thinking,
    /// Does it take instructions beside the conversation?
    pub(in crate::provider) takes_instruction: bool,
    /// Does it refuse replayed calls that lack a thought signature?
    pub(in crate::provider) wants_signatures: bool,
    /// When it gives JSON alone.
    pub(in crate::provider) json: Json,
    /// Does it take penalties?
    pub(in crate::provider) takes_penalties: bool,
}

impl Model {
    /// What `name` (without `models/`) tells.
    pub(in crate::provider) fn of(name: &str) -> Self {
        let version = name.strip_prefix("gemini-");
        let generation = version.and_then(generation);
        let third = generation.is_some_and(|it| it >= 3);
        Self {
            thinking: thinking_of(name, third),
            takes_instruction: !name.starts_with("gemma"),
            // A name without a number (`gemini-flash-latest`) is that of a new one.
            wants_signatures: version.is_some() && generation.is_none_or(|it| it >= 3),
            json: match third {
                true => Json::Always,
                false if name.starts_with("gemma-3") => Json::Never,
                false => Json::WithoutTools,
            },
            takes_penalties: !third,
        }
    }
}

/// The model's own name: `models/` before it says only what it is.
pub(in crate::provider) fn bare(name: &str) -> &str {
    name.strip_prefix("models/").unwrap_or(name)
}

/// The number before the first point or hyphen.
fn generation(version: &str) -> Option<u32> {
    version.split(['.', '-']).next()?.parse().ok()
}

fn thinking_of(name: &str, third: bool) -> Thinking {
    let has = |part: &str| name.contains(part);
    if has("image") || has("tts") || has("audio") {
        Thinking::Fixed
    } else if third && has("pro") {
        // The first Pro of its generation knows two words only.
        Thinking::Level { lowest: "low", medium: !name.starts_with("gemini-3-") }
    } else if third {
        Thinking::Level { lowest: "minimal", medium: true }
    } else if name.starts_with("gemini-2.5-pro") {
        Thinking::Budget { least: 128, most: 32_768 }
    } else if name.starts_with("gemini-2.5-flash") {
        Thinking::Budget { least: 0, most: 24_576 }
    } else {
        Thinking::Fixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_how_a_model_thinks() {
        let level = |lowest, medium| Thinking::Level { lowest, medium };
        for (name, expected) in [
            ("gemini-2.5-flash", Thinking::Budget { least: 0, most: 24_576 }),
            ("gemini-2.5-flash-lite", Thinking::Budget { least: 0, most: 24_576 }),
            ("gemini-2.5-flash-image", Thinking::Fixed),
            ("gemini-2.5-pro", Thinking::Budget { least: 128, most: 32_768 }),
            ("gemini-2.0-flash", Thinking::Fixed),
            ("gemini-3-pro-preview", level("low", false)),
            ("gemini-3.1-pro", level("low", true)),
            ("gemini-3-flash-preview", level("minimal", true)),
            ("gemini-3.6-flash", level("minimal", true)),
            ("gemini-10-flash", level("minimal", true)),
            ("gemini-flash-latest", Thinking::Fixed),
            ("gemma-4-31b-it", Thinking::Fixed),
            ("", Thinking::Fixed),
        ] {
            assert_eq!(Model::of(name).thinking, expected, "{name}");
        }
    }

    #[test]
    fn the_third_generation_has_rules_of_its_own() {
        let rules = |name| {
            let it = Model::of(bare(name));
            (it.takes_instruction, it.wants_signatures, it.json, it.takes_penalties)
        };
        assert_eq!(rules("models/gemini-3.6-flash"), (true, true, Json::Always, false));
        assert_eq!(rules("gemini-flash-latest"), (true, true, Json::WithoutTools, true));
        assert_eq!(rules("gemini-2.5-flash"), (true, false, Json::WithoutTools, true));
        assert_eq!(rules("models/gemma-3-27b-it"), (false, false, Json::Never, true));
    }
}
