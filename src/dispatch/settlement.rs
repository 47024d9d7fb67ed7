//! Counting what a provider did not: answers without usage, and answers that were cut off.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::callers::Tab;
use crate::catalog::ModelId;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::keeping::Keeping;
use crate::dispatch::keeping::Kept;
use crate::dispatch::queue::Queue;
use crate::openai::ChatRequest;
use crate::openai::TokenUsage;
use crate::quota::Reservation;
use crate::usage::Spent;
use crate::usage::UsageBook;

/// Text kept of one answer to be counted, in bytes: some 16,000 tokens. What goes beyond it is taken to have as many
/// tokens to a byte: a longer answer without figures of its provider's is rarer than a provider that never stops.
const KEPT: usize = 64 * 1024;

/// Tokens by which text that came may exceed twice its provider's figure: the estimate of so short a text is rough.
const SLACK: u64 = 16;

/// With more than this many waiting they are settled by estimate. An exact count takes some
/// milliseconds.
const CROWD: usize = 64;

/// What has been passed on to a caller, for when nobody else counts it.
#[derive(Debug)]
pub(super) struct Delivered {
    kept: Kept,
    /// Bytes of what is not kept.
    beyond: usize,
}

/// The same, to be counted elsewhere.
pub(super) struct Text {
    kept: String,
    beyond: usize,
}

impl Delivered {
    pub(super) fn new(texts: &Keeping) -> Self {
        Self { kept: texts.text(KEPT), beyond: 0 }
    }

    pub(super) fn push(&mut self, text: &str) {
        let fits =
            (0..=self.kept.room().min(text.len())).rev().find(|it| text.is_char_boundary(*it));
        let (first, rest) = text.split_at_checked(fits.unwrap_or_default()).unwrap_or(("", text));
        // What comes behind a gap is not kept: it would be counted as one word with what is before it.
        let keeps = self.beyond == 0 && self.kept.push(first);
        self.beyond += if keeps { rest.len() } else { text.len() };
    }

    fn bytes(&self) -> usize {
        self.kept.text().len() + self.beyond
    }

    /// A copy: a caller that leaves while it is counted still pays for what it got.
    pub(super) fn text(&self) -> Text {
        Text { kept: self.kept.text().to_owned(), beyond: self.beyond }
    }
}

impl Text {
    fn tokens(&self) -> u64 {
        let counted = tokens::count(&self.kept);
        let (kept, beyond) = (self.kept.len() as u64, self.beyond as u64);
        let others = counted.saturating_mul(beyond).checked_div(kept);
        counted.saturating_add(others.unwrap_or_else(|| tokens::estimate(self.beyond)))
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
        let used = self.told().unwrap_or_else(|| {
            self.at_least(TokenUsage {
                prompt: self.rules.estimate(&self.request, 0),
                completion: tokens::estimate(self.delivered.bytes()),
            })
        });
        self.write(used);
    }

    /// What its provider said, unless most of the answer came later: some tell with the first event what there is by
    /// then.
    fn told(&self) -> Option<TokenUsage> {
        let came = tokens::estimate(self.delivered.bytes());
        self.reported.filter(|it| came <= it.completion.saturating_mul(2).saturating_add(SLACK))
    }

    /// What was counted here, or what its provider had told by then where that is more.
    fn at_least(&self, counted: TokenUsage) -> TokenUsage {
        let told = self.reported.unwrap_or_default();
        let prompt = if told.prompt > 0 { told.prompt } else { counted.prompt };
        TokenUsage { prompt, completion: counted.completion.max(told.completion) }
    }

    /// What was used, counted if need be. Was it counted here?
    async fn used(&self) -> (TokenUsage, bool) {
        if let Some(used) = self.told() {
            return (used, false);
        }
        let counted = count(Arc::clone(&self.request), self.delivered.text(), self.rules).await;
        (self.at_least(counted), true)
    }

    /// Leaves it to the one who does nothing else; settles by estimate when that one has too much to do.
    pub(super) fn leave_to(self, worker: &mpsc::Sender<Self>) {
        if let Err(full) = worker.try_send(self) {
            full.into_inner().estimate();
        }
    }

    fn write(self, used: TokenUsage) {
        let told = self.told();
        if let Some((estimate, reported)) = self.estimated_prompt.zip(told) {
            self.reservation.note_prompt(estimate, reported.prompt);
        }
        self.reservation.settle(used.total());
        let spent =
            Spent { prompt: used.prompt, completion: used.completion, estimated: told.is_none() };
        record(&self.usage, self.model, (spent, self.rest_of));
        if let Some(tab) = &self.tab {
            tab.record(spent);
        }
        self.queue.stir();
    }
}

/// A settlement that somebody waits for. When they leave before it is counted, it goes to the worker.
pub(super) struct Awaited<'a> {
    settlement: Option<Settlement>,
    worker: &'a mpsc::Sender<Settlement>,
}

impl<'a> Awaited<'a> {
    pub(super) fn new(settlement: Settlement, worker: &'a mpsc::Sender<Settlement>) -> Self {
        Self { settlement: Some(settlement), worker }
    }

    /// Counts what was used, settles the quota and writes it down. Was it counted here?
    pub(super) async fn settle(mut self) -> (TokenUsage, bool) {
        let Some(settlement) = &self.settlement else { return Default::default() };
        let (used, counted) = settlement.used().await;
        if let Some(settlement) = self.settlement.take() {
            settlement.write(used);
        }
        (used, counted)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(settlement) = self.settlement.take() {
            settlement.leave_to(self.worker);
        }
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
            let (used, _) = settlement.used().await;
            settlement.write(used);
        }
    }
}

/// Counts a request and the text of its answer, away from the threads that serve.
pub(super) async fn count(request: Arc<ChatRequest>, answer: Text, rules: Rules) -> TokenUsage {
    let counting = tokio::task::spawn_blocking(move || {
        let prompt = rules.count(&request);
        TokenUsage { prompt, completion: answer.tokens() }
    });
    counting.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_counts_as_densely_as_what_is() {
        let check = |pieces: &[String], expected: u64| {
            let mut delivered = Delivered::new(&Keeping::default());
            for piece in pieces {
                delivered.push(piece);
            }
            assert!(delivered.kept.text().len() <= KEPT);
            assert_eq!(delivered.bytes(), pieces.iter().map(String::len).sum::<usize>());
            let counted = delivered.text().tokens();
            assert!(counted.abs_diff(expected) <= expected / 50, "{counted}, not {expected}");
        };
        let word = || " hello".to_owned();
        check(&[word()], 1);
        check(&vec![word(); 10_000], 10_000);
        check(&vec![word(); 100_000], 100_000);
        check(&[word().repeat(100_000)], 100_000);
        check(&["é".repeat(KEPT), word()], tokens::count(&"é".repeat(KEPT)));
    }
}
