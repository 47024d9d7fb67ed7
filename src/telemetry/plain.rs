//! What a log may hold of names that callers make up.

use std::borrow::Cow;

/// Names of models are shorter.
const LONGEST: usize = 80;
/// How keys begin, of this gateway and of providers.
const KEYS: [&str; 9] = ["sk-", "sk_", "gsk_", "csk-", "nvapi-", "AIza", "hf_", "xai-", "tgp_"];
/// A key has more characters than this.
const SHORT: usize = 11;

/// `name` as a log may hold it: itself if it could be the name of something. Other text, which may be a
/// prompt that has got into the wrong place, is not shown, and no key is.
pub fn plain(name: &str) -> Cow<'_, str> {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-._/:@+~".contains(&it);
    if name.len() > LONGEST || !name.bytes().all(is_plain) {
        return Cow::Borrowed("(not shown)");
    }
    let is_key = |it: &str| it.len() > SHORT && KEYS.iter().any(|key| it.starts_with(key));
    if !name.split(['/', ':', '@', '+']).any(is_key) {
        return Cow::Borrowed(name);
    }
    let parts = name.split_inclusive(['/', ':', '@', '+']);
    Cow::Owned(parts.map(|it| if is_key(it) { "[key]" } else { it }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_other_text_is_not() {
        let check = |name: &str, expected: &str| assert_eq!(plain(name), expected);
        check("auto", "auto");
        check("OpenRouter/deepseek/deepseek-r1:free", "OpenRouter/deepseek/deepseek-r1:free");
        check("@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct");
        check("/v1/sk-learn", "/v1/sk-learn");
        check("tell me of the sky", "(not shown)");
        check(&"a".repeat(81), "(not shown)");
        check("é", "(not shown)");
        check("sk-relay-0123456789", "[key]");
        check("/v1/models/sk-relay-0123456789", "/v1/models/[key]");
        check("groq/gsk_0123456789ab", "groq/[key]");
        check("", "");
    }
}
