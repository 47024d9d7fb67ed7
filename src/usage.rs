//! What was spent, by model.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;

use rustc_hash::FxHashMap;

use crate::catalog::ModelId;

/// The tokens of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
    /// Were they counted here, because the provider did not say?
    pub estimated: bool,
}

impl From<Spent> for Usage {
    /// One answer's.
    fn from(it: Spent) -> Self {
        Self {
            requests: 1,
            prompt_tokens: it.prompt,
            completion_tokens: it.completion,
            estimated_requests: u64::from(it.estimated),
            ..Self::default()
        }
    }
}

/// Totals since the beginning, over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Answers delivered, a cut or cancelled one included.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Answers whose tokens were counted here.
    pub estimated_requests: u64,
    /// Attempts that delivered nothing; in no other figure.
    pub failed_attempts: u64,
    /// Of the answers, those that went on with one that had broken off: to the caller both are one.
    pub continued: u64,
    /// Of these, those counted here like an earlier part of theirs.
    pub continued_estimated: u64,
}

impl Usage {
    /// Both added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            estimated_requests: self.estimated_requests.saturating_add(other.estimated_requests),
            failed_attempts: self.failed_attempts.saturating_add(other.failed_attempts),
            continued: self.continued.saturating_add(other.continued),
            continued_estimated: self.continued_estimated.saturating_add(other.continued_estimated),
        }
    }

    /// The same as callers see it: an answer that was gone on with is one.
    #[must_use]
    pub fn as_callers_see(self) -> Self {
        Self {
            requests: self.requests.saturating_sub(self.continued),
            estimated_requests: self.estimated_requests.saturating_sub(self.continued_estimated),
            continued: 0,
            continued_estimated: 0,
            ..self
        }
    }
}

/// The totals of every model that was ever asked. Figures of one model are always consistent.
#[derive(Debug, Default)]
pub struct UsageBook {
    cells: RwLock<FxHashMap<ModelId, Arc<Mutex<Usage>>>>,
}

impl UsageBook {
    /// Nothing spent.
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer was delivered.
    pub fn record(&self, model: ModelId, spent: Spent) {
        self.add(model, spent.into());
    }

    /// The rest of an answer was delivered that had broken off at another call. `estimated`: were the
    /// tokens of a part before it counted here?
    pub fn record_rest(&self, model: ModelId, spent: Spent, estimated: bool) {
        let continued_estimated = u64::from(estimated && spent.estimated);
        self.add(model, Usage { continued: 1, continued_estimated, ..spent.into() });
    }

    /// An attempt delivered nothing.
    pub fn failed(&self, model: ModelId) {
        self.add(model, Usage { failed_attempts: 1, ..Usage::default() });
    }

    /// Each model's totals, by id.
    pub fn view(&self) -> Vec<(ModelId, Usage)> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let mut view: Vec<_> = cells.iter().map(|(model, cell)| (*model, read(cell))).collect();
        view.sort_by_key(|(model, _)| *model);
        view
    }

    /// All models together, as callers see it.
    pub fn total(&self) -> Usage {
        let all = self.view().into_iter().fold(Usage::default(), |sum, (_, it)| sum.plus(it));
        all.as_callers_see()
    }

    /// Adds what an earlier process saved of its [`view`](Self::view).
    pub fn restore(&self, saved: impl IntoIterator<Item = (ModelId, Usage)>) {
        for (model, usage) in saved {
            self.add(model, usage);
        }
    }

    fn add(&self, model: ModelId, usage: Usage) {
        let cell = self.cell(model);
        let mut total = cell.lock().unwrap_or_else(PoisonError::into_inner);
        *total = total.plus(usage);
    }

    fn cell(&self, model: ModelId) -> Arc<Mutex<Usage>> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&model) {
            return Arc::clone(cell);
        }
        drop(cells);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(model).or_default())
    }
}

fn read(cell: &Mutex<Usage>) -> Usage {
    *cell.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPENT: Spent = Spent { prompt: 10, completion: 5, estimated: false };

    #[test]
    fn answers_and_failures_are_kept_apart() {
        let book = UsageBook::new();
        book.record(ModelId(2), SPENT);
        book.record(ModelId(1), Spent { estimated: true, ..SPENT });
        book.record(ModelId(1), SPENT);
        book.failed(ModelId(1));
        let one = Usage {
            requests: 2,
            prompt_tokens: 20,
            completion_tokens: 10,
            estimated_requests: 1,
            failed_attempts: 1,
            ..Usage::default()
        };
        let two =
            Usage { requests: 1, prompt_tokens: 10, completion_tokens: 5, ..Usage::default() };
        assert_eq!(book.view(), [(ModelId(1), one), (ModelId(2), two)]);
        assert_eq!(book.total(), one.plus(two));
    }

    #[test]
    fn an_answer_of_many_parts_is_one_to_its_caller() {
        let book = UsageBook::new();
        let guessed = Spent { estimated: true, ..SPENT };
        book.record(ModelId(1), guessed);
        book.record_rest(ModelId(2), guessed, true);
        book.record_rest(ModelId(1), SPENT, true);
        book.record(ModelId(1), SPENT);
        book.record_rest(ModelId(2), guessed, false);
        let each: Vec<_> = book.view().into_iter().map(|(_, it)| it.requests).collect();
        assert_eq!(each, [3, 2], "each of its calls delivered something");
        let total = book.total();
        assert_eq!((total.requests, total.estimated_requests), (2, 2));
        assert_eq!((total.prompt_tokens, total.completion_tokens), (50, 25));
        let restarted = UsageBook::new();
        restarted.restore(book.view());
        assert_eq!(restarted.total(), total);
    }

    #[test]
    fn a_restart_adds_to_what_has_happened_since() {
        let before = UsageBook::new();
        before.record(ModelId(1), SPENT);
        let after = UsageBook::new();
        after.record(ModelId(1), SPENT);
        after.restore(before.view());
        assert_eq!(after.total().prompt_tokens, 20);
    }

    #[test]
    fn threads_lose_nothing_and_sums_stop_at_the_top() {
        let book = UsageBook::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|model| book.record(ModelId(model % 3), SPENT)));
            }
        });
        assert_eq!(book.total().completion_tokens, 20_000);
        book.record(ModelId(0), Spent { prompt: u64::MAX, ..SPENT });
        assert_eq!(book.total().prompt_tokens, u64::MAX);
    }
}
