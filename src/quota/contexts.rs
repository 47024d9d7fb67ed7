//! How many tokens models hold, as their providers have told it in refusing more. Where a limits file
//! says nothing of a model, or too much, this is what its conversations are made to fit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::catalog::ModelId;
use crate::clock::Now;
use crate::quota::Ledger;

/// For so long what was told is believed: a week. A provider may give its model more room, and finding
/// that out costs one refusal.
const BELIEVED_MS: u64 = 7 * 86_400_000;

/// What was told of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldContext {
    /// Which model.
    pub model: ModelId,
    /// Tokens it holds, prompt and answer together.
    pub tokens: u64,
    /// Until when that is believed, in Unix milliseconds.
    pub until_unix_ms: u64,
}

impl ToldContext {
    /// What was told by a clock that was wrong is not believed for years after it is set right.
    fn is_believed(&self, now: Now) -> bool {
        let told_at = self.until_unix_ms.saturating_sub(BELIEVED_MS);
        told_at <= now.unix_ms.saturating_add(BELIEVED_MS) && now.unix_ms < self.until_unix_ms
    }
}

/// What was told of all models.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// Is there anything? Mostly not, and every request asks for every model.
    any: AtomicBool,
    told: Mutex<HashMap<ModelId, ToldContext>>,
}

impl Contexts {
    fn lock(&self) -> MutexGuard<'_, HashMap<ModelId, ToldContext>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, told: ToldContext) {
        self.lock().insert(told.model, told);
        self.any.store(true, Ordering::Relaxed);
    }
}

impl Ledger {
    /// The provider has refused a conversation because `model` holds no more than so many tokens.
    pub fn learn_context(&self, model: ModelId, tokens: u64, now: Now) {
        let until_unix_ms = now.unix_ms.saturating_add(BELIEVED_MS);
        self.contexts.put(ToldContext { model, tokens, until_unix_ms });
    }

    /// The tokens that `model` holds, if its provider has told it.
    pub fn context(&self, model: ModelId, now: Now) -> Option<u64> {
        if !self.contexts.any.load(Ordering::Relaxed) {
            return None;
        }
        let told = self.contexts.lock().get(&model).copied();
        told.filter(|it| it.is_believed(now)).map(|it| it.tokens)
    }

    /// All that is still believed, in a stable order.
    pub fn contexts(&self, now: Now) -> Vec<ToldContext> {
        let told = self.contexts.lock();
        let mut told: Vec<ToldContext> =
            told.values().filter(|it| it.is_believed(now)).copied().collect();
        told.sort_by_key(|it| it.model);
        told
    }

    /// Takes over what an earlier process saved of its [`contexts`](Self::contexts).
    pub fn restore_contexts(&self, saved: impl IntoIterator<Item = ToldContext>) {
        saved.into_iter().for_each(|it| self.contexts.put(it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_believed_for_a_week() {
        let at = |unix_ms| Now { unix_ms, ..Now::default() };
        let (ledger, model, other) = (Ledger::new(), ModelId(1), ModelId(2));
        assert_eq!(ledger.context(model, at(5)), None);
        ledger.learn_context(model, 8_192, at(5));
        assert_eq!(ledger.context(model, at(5)), Some(8_192));
        assert_eq!(ledger.context(other, at(5)), None);
        ledger.learn_context(model, 4_096, at(10));
        assert_eq!(ledger.context(model, at(9 + BELIEVED_MS)), Some(4_096));
        assert_eq!(ledger.context(model, at(10 + BELIEVED_MS)), None);
        let again = Ledger::new();
        again.restore_contexts(ledger.contexts(at(20)));
        assert_eq!(again.context(model, at(20)), Some(4_096));
        assert_eq!(ledger.contexts(at(10 + BELIEVED_MS)), []);
        // The clock is set back by a little, and by years.
        ledger.learn_context(model, 2_048, at(9 * BELIEVED_MS));
        assert_eq!(ledger.context(model, at(8 * BELIEVED_MS)), Some(2_048));
        assert_eq!(ledger.context(model, at(8 * BELIEVED_MS - 1)), None);
    }
}
