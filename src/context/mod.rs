//! Makes a conversation fit the model it is sent to, and counts its tokens.
//!
//! [`size`] says what each message costs, [`layout`] what may not be parted or dropped, [`plan`] how
//! much a mode keeps, [`fit()`] what stays, [`summary`] what stands for the rest. [`Memory`] spares
//! doing the same twice. [`style`] is what may be added to the caller's own instructions.

pub mod fit;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod kind;
mod layout;
mod lines;
mod memory;
mod middle;
pub mod plan;
pub mod size;
pub mod style;
pub mod summary;
pub mod tokens;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use fit::{Fitted, TooLong, fit};
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
pub use memory::Memory;
pub use plan::{Apply, Dynamic, Mode, Plan};
pub use size::{Rules, Size};
pub use style::Style;

/// How history is treated.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// By which rule history is cut.
    pub mode: Mode,
    /// When it is cut.
    pub apply: Apply,
    /// Most recent messages kept in static mode, and what dynamic mode starts from.
    pub static_keep: usize,
    /// How dynamic mode widens and narrows.
    pub dynamic: Dynamic,
    /// Most recent messages kept in reservoir mode, and what adaptive mode starts from.
    pub reservoir_keep: usize,
    /// Most tokens of the summary in reservoir mode; 0 = none.
    pub reservoir_summary: u64,
    /// The same in adaptive mode.
    pub adaptive_summary: u64,
    /// Longest time a summary may take.
    pub summary_timeout: std::time::Duration,
    /// Tokens set aside for the answer when a request sets no `max_tokens`.
    pub answer_reserve: u64,
    /// What is added to the caller's own instructions.
    pub style: Style,
}
