//! The wires: each flavour's headers, answers and errors as the real provider writes them.

mod blocks;
pub(super) mod candidates;
pub(super) mod completion;
pub(super) mod headers;
mod lines;
pub(super) mod models;
pub(super) mod problem;
pub(super) mod stream;
mod words;

/// `text` as a JSON string, quotes included.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
