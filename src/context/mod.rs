//! Makes a conversation fit the model it is sent to, and counts its tokens.

pub mod tokens;
mod trim;

pub use trim::{TooLong, Trimmed, trim};

/// How history is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Most recent messages kept when history has to go.
    pub recent_keep: usize,
    /// May history be cut at all? If not, a conversation that fits nowhere is refused.
    pub enabled: bool,
    /// Tokens set aside for the answer when a request sets no `max_tokens`.
    pub answer_reserve: u64,
}
