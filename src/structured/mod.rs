//! Structured output: what a request wants its answer to be, how a model without a JSON mode is told
//! so, and whether an answer is it.
//!
//! Nothing is ever fetched: a schema that refers to anything outside itself is refused.

mod bounds;
mod instruction;
mod schema;

pub use instruction::{INSTRUCTION_BYTES, instruct};
pub use schema::Schema;
