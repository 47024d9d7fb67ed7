//! Tokens of text: cheap bounds and estimates, and the exact count where it is worth its cost.
//!
//! Counts are in `cl100k_base` tokens. The vocabulary takes 0.1 to 0.3 s and some tens of MiB to
//! load, so it is loaded by the first exact count and never at start.

/// More tokens than text of so many bytes can have: no token is shorter than a byte.
pub fn most(bytes: usize) -> u64 {
    bytes as u64
}

/// Tokens that text of so many bytes is likely to have. English has about four bytes a token; JSON
/// and code have fewer, which the quotes and braces around them make up for.
pub fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// The exact number of tokens in `text`. Takes about 1 ms for 13 KB; never call it on a thread that
/// serves requests.
pub fn count(text: &str) -> u64 {
    tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lie_within_their_bounds() {
        for text in ["", "a", "Hello, world!", "été 日本語 🦀", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert!(count(text) <= most(text.len()), "{text}");
        }
        assert_eq!(count("Hello, world!"), 4);
        assert_eq!(estimate(9), 3);
    }
}
