//! What one request of a key runs up.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::callers::key::VirtualKey;
use crate::clock::Now;
use crate::quota::Denial;
use crate::quota::Slice;
use crate::usage::Spent;

/// One request of a key. All calls that it takes write on the same tab; it is settled when the last
/// of them lets go of it: with what was delivered, or not at all when nothing was.
#[derive(Debug)]
pub struct Tab {
    key: Arc<VirtualKey>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once it is settled.
    slice: Option<Slice>,
    spent: Option<Spent>,
}

impl Tab {
    /// Takes a request from the key's day, with as many tokens as it has, from those of the prompt
    /// to those that prompt and answer may have.
    ///
    /// # Errors
    /// [`Denial`] when one of its caps is in the way.
    pub fn open(
        key: &Arc<VirtualKey>,
        (prompt, whole): (u64, u64),
        now: Now,
    ) -> Result<Arc<Self>, Denial> {
        let slice = key.budget().reserve(prompt, whole, now)?;
        let state = Mutex::new(State { slice: Some(slice), spent: None });
        Ok(Arc::new(Self { key: Arc::clone(key), state }))
    }

    /// A call has delivered an answer, or a part of one.
    pub fn record(&self, spent: Spent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.spent.unwrap_or(Spent { prompt: 0, completion: 0, estimated: false });
        state.spent = Some(Spent {
            prompt: before.prompt.saturating_add(spent.prompt),
            completion: before.completion.saturating_add(spent.completion),
            estimated: before.estimated || spent.estimated,
        });
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Without an answer it is dropped, and gives everything back.
        if let (Some(slice), Some(spent)) = (state.slice.take(), state.spent) {
            slice.settle(spent.prompt.saturating_add(spent.completion));
            self.key.counts.record(spent);
        }
    }
}
