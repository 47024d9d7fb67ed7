//! How many tokens a model holds, from the words of its refusal of a longer conversation: "This model's
//! maximum context length is 8192 tokens", "210000 tokens > 200000 maximum".

/// A model that holds less, or more, is none.
const PLAUSIBLE: std::ops::RangeInclusive<u64> = 256..=100_000_000;

/// What stands before the number. In lower case, the surest first.
/// Sources: the providers' documentation and error reports, gathered 2026-11.
const BEFORE: &[&str] = &[
    // OpenAI, DeepSeek, OpenRouter, vLLM; SGLang.
    "maximum context length is ",
    "maximum context length of ",
    // xAI.
    "maximum prompt length is ",
    // Cloudflare.
    "context window limit (",
    "context window of ",
    // llama.cpp.
    "context size (",
    // Gemini.
    "number of tokens allowed (",
    // Text Generation Inference, Together.
    "`max_new_tokens` must be <= ",
    // Cohere.
    "limit for this model is ",
    "cannot exceed ",
    // Cerebras.
    "while limit is ",
    "model's limit of ",
    "context limit of ",
];

/// What stands behind it.
const BEHIND: &[&str] = &[
    // Mistral.
    " maximum context length",
    // Anthropic.
    " maximum",
];

/// The tokens that the model holds by this `message`, which is in lower case.
pub(super) fn bound(message: &str) -> Option<u64> {
    let after = |mark: &&str| number_at_start(message.split_once(mark)?.1);
    let before = |mark: &&str| number_at_end(message.split_once(mark)?.0);
    let told = BEFORE.iter().filter_map(after).chain(BEHIND.iter().filter_map(before));
    told.into_iter().find(|it| PLAUSIBLE.contains(it))
}

fn number_at_start(text: &str) -> Option<u64> {
    let end = text.find(|it: char| !(it.is_ascii_digit() || it == ',')).unwrap_or(text.len());
    number(text.get(..end)?)
}

fn number_at_end(text: &str) -> Option<u64> {
    number(text.rsplit(|it: char| !(it.is_ascii_digit() || it == ',')).next()?)
}

fn number(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: Option<u64>) {
        assert_eq!(bound(&message.to_ascii_lowercase()), expected, "{message}");
    }

    #[test]
    fn the_bound_is_found_in_what_providers_write() {
        check(
            "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens (122942 in the messages, 8192 in the completion).",
            Some(131_072),
        );
        check(
            "This endpoint's maximum context length is 262,144 tokens. However, you requested about 264433 tokens",
            Some(262_144),
        );
        check("prompt is too long: 210000 tokens > 200000 maximum", Some(200_000));
        check(
            "Prompt contains 140012 tokens and 0 draft tokens, too large for model with 131072 maximum context length",
            Some(131_072),
        );
        check(
            "Please reduce the length of the messages or completion. Current length is 69553 while limit is 65536",
            Some(65_536),
        );
        check(
            "AiError: The estimated number of input and maximum output tokens (32102) exceeded this model context window limit (24000).",
            Some(24_000),
        );
        check(
            "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
            Some(1_048_576),
        );
        check(
            "too many tokens: size limit exceeded by 4812 tokens. The limit for this model is 256000 tokens.",
            Some(256_000),
        );
        check(
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000",
            Some(4_097),
        );
        check(
            "request (5012 tokens) exceeds the available context size (4096 tokens), try increasing it",
            Some(4_096),
        );
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        check("Please reduce the length of the messages or completion.", None);
        check("Prompt exceeds max length", None);
        check("prompt too long; exceeded max context length by 3 tokens", None);
        check("This model's maximum context length is 0 tokens", None);
        check("maximum context length is 99999999999999999999999 tokens", None);
        check("", None);
    }
}
