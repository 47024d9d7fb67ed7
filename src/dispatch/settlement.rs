//! Counting what a provider did not: answers without usage, and answers that were cut off.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::callers::Tab;
use crate::catalog::ModelId;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::queue::Queue;
use crate::openai::ChatRequest;
use crate::openai::TokenUsage;
use crate::quota::Reservation;
use crate::usage::Spent;
use crate::usage::UsageBook;

/// Text kept to be counted, in bytes. What goes beyond it is estimated as it passes: an answer of a
/// million tokens is rarer than a provider that never stops.
const KEPT: usize = 4 * 1024 * 1024;

/// With more than this many waiting they are settled by estimate. An exact count takes some
/// milliseconds.
const CROWD: usize = 64;

/// What has been passed on to a caller, for when nobody else counts it.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivered {
    text: String,
    /// Tokens of what is not kept.
    beyond: u64,
}

impl Delivered {
    pub(super) fn push(&mut self, text: &str) {
        if self.text.len() + text.len() <= KEPT {
            self.text.push_str(text);
        } else {
            self.beyond += tokens::estimate(text.len());
        }
    }
}

/// A call that ended without saying what it used.
pub struct Settlement {
    pub(super) reservation: Reservation,
    pub(super) usage: Arc<UsageBook>,
    pub(super) tab: Option<Arc<Tab>>,
    pub(super) queue: Arc<Queue>,
    pub(super) model: ModelId,
    pub(super) request: Arc<ChatRequest>,
    pub(super) delivered: Delivered,
    pub(super) reported: Option<TokenUsage>,
    pub(super) estimated_prompt: Option<u64>,
    /// As an attempt has it.
    pub(super) rest_of: Option<bool>,
    /// How the provider counts what is not text.
    pub(super) rules: Rules,
}

impl Settlement {
    /// Settles by estimate, at once: for when there is no time to count.
    pub(super) fn estimate(self) {
        let estimated = TokenUsage {
            prompt: self.rules.estimate(&self.request, 0),
            completion: tokens::estimate(self.delivered.text.len()) + self.delivered.beyond,
        };
        let used = self.reported.unwrap_or(estimated);
        self.write(used);
    }

    /// Counts what was used, settles the quota and writes it down.
    pub(super) async fn settle(self) -> TokenUsage {
        let used = match self.reported {
            Some(used) => used,
            None => count(Arc::clone(&self.request), self.delivered.clone(), self.rules).await,
        };
        self.write(used);
        used
    }

    fn write(self, used: TokenUsage) {
        if let Some((estimate, reported)) = self.estimated_prompt.zip(self.reported) {
            self.reservation.note_prompt(estimate, reported.prompt);
        }
        self.reservation.settle(used.total());
        let spent = Spent {
            prompt: used.prompt,
            completion: used.completion,
            estimated: self.reported.is_none(),
        };
        record(&self.usage, self.model, (spent, self.rest_of));
        if let Some(tab) = &self.tab {
            tab.record(spent);
        }
        self.queue.stir();
    }
}

/// Writes down what a call has delivered: an answer, or the rest of one.
pub(super) fn record(book: &UsageBook, model: ModelId, (spent, rest_of): (Spent, Option<bool>)) {
    match rest_of {
        None => book.record(model, spent),
        Some(estimated) => book.record_rest(model, spent, estimated),
    }
}

/// Settles what comes in, until every sender is gone.
pub async fn run(mut waiting: mpsc::Receiver<Settlement>) {
    while let Some(settlement) = waiting.recv().await {
        // A crowd that hangs up at once must not keep the figures, or a stop, waiting for minutes.
        if waiting.len() > CROWD {
            settlement.estimate();
        } else {
            settlement.settle().await;
        }
    }
}

/// Counts a request and the text of its answer, away from the threads that serve.
pub(super) async fn count(
    request: Arc<ChatRequest>,
    answer: Delivered,
    rules: Rules,
) -> TokenUsage {
    let counting = tokio::task::spawn_blocking(move || {
        let prompt = rules.count(&request);
        TokenUsage { prompt, completion: tokens::count(&answer.text) + answer.beyond }
    });
    counting.await.unwrap_or_default()
}
