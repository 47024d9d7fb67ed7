//! What the server knows of callers.

use std::sync::Arc;

use crate::callers::Callers;
use crate::clock::SharedClock;

/// Puts on the disk what must not be lost; says why where it can't. Blocks.
pub type SaveNow = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Who may call, and what it takes to change that.
#[derive(Clone)]
pub struct Desk {
    /// The virtual keys.
    pub callers: Arc<Callers>,
    /// The time.
    pub clock: SharedClock,
    /// `None` when nothing outlives the process.
    pub save_now: Option<SaveNow>,
}

#[cfg(test)]
impl Desk {
    /// Without keys.
    pub(super) fn empty() -> Self {
        let clock = Arc::new(crate::clock::SystemClock::start());
        Self { callers: Arc::default(), clock, save_now: None }
    }
}
