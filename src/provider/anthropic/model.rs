//! What a model's name tells of how it wants to be asked.
//!
//! Source: docs.anthropic.com, models and extended thinking, from memory: uncertain. A name that is
//! not known is taken for that of a new model.

/// The most tokens of an answer, thoughts included, by the beginning of the name. What a chat
/// window sends as "no bound" is more, and would be refused.
const MOST_TOKENS: &[(&str, u64)] = &[
    ("claude-2", 4_096),
    ("claude-3-5", 8_192),
    ("claude-3-7", 64_000),
    ("claude-3", 4_096),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-2025", 32_000),
    ("", 64_000),
];

/// The most tokens the model gives.
pub(super) fn most_tokens(name: &str) -> u64 {
    MOST_TOKENS.iter().find(|(it, _)| name.starts_with(it)).map_or(u64::MAX, |(_, most)| *most)
}

/// Can it think? The first three generations can't, but for the last of them.
pub(super) fn can_think(name: &str) -> bool {
    let old = name.starts_with("claude-3") || name.starts_with("claude-2");
    !old || name.starts_with("claude-3-7")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_a_model_gives() {
        for (name, most, thinks) in [
            ("claude-3-haiku-20240307", 4_096, false),
            ("claude-3-5-haiku-latest", 8_192, false),
            ("claude-3-7-sonnet-20250219", 64_000, true),
            ("claude-opus-4-20250514", 32_000, true),
            ("claude-opus-4-1", 32_000, true),
            ("claude-sonnet-4-5-20250929", 64_000, true),
            ("something-new", 64_000, true),
        ] {
            assert_eq!((most_tokens(name), can_think(name)), (most, thinks), "{name}");
        }
    }
}
