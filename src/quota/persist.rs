//! What survives a restart. Names and storage are the store's business.

use std::sync::PoisonError;
use std::time::Duration;

use crate::catalog::AccountId;
use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::Reset;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Ledger;
use crate::quota::book::Counter;
use crate::quota::book::Learned;

/// One window with all it holds. All times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWindow {
    /// Whose it is.
    pub account: AccountId,
    /// Which model's; `None` = shared by all models of the account.
    pub model: Option<ModelId>,
    /// What it counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// How it begins anew, as far as that matters for its period.
    pub reset: Reset,
    /// When units were used, and how many.
    pub entries: Vec<(u64, u64)>,
    /// The limit the provider told, and until when it is trusted.
    pub learned: Option<(u64, u64)>,
    /// Until when the provider said that nothing is left.
    pub spent_until: Option<u64>,
}

/// How many tokens a model makes of one that is estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedRatio {
    /// Whose tokenizer.
    pub model: ModelId,
    /// Real tokens over estimated ones; what is out of bounds is taken for the nearest.
    pub ratio: f64,
}

impl Ledger {
    /// The ratios of all models whose answers have shown one, in a stable order.
    pub fn ratios(&self) -> Vec<SavedRatio> {
        let ratios = self.ratios.lock().unwrap_or_else(PoisonError::into_inner);
        let learned = ratios.iter().filter_map(|(model, ratio)| {
            ratio.learned().map(|ratio| SavedRatio { model: *model, ratio })
        });
        let mut learned: Vec<_> = learned.collect();
        learned.sort_by_key(|it| it.model);
        learned
    }

    /// Takes over what an earlier process saved of its [`ratios`](Self::ratios).
    pub fn restore_ratios(&self, saved: impl IntoIterator<Item = SavedRatio>) {
        let mut ratios = self.ratios.lock().unwrap_or_else(PoisonError::into_inner);
        for it in saved {
            ratios.entry(it.model).or_default().restore(it.ratio);
        }
    }

    /// All windows that hold anything. Open reservations are in it as if they were used: a crash
    /// must not free what was under way.
    pub fn snapshot(&self, now: Now) -> Vec<SavedWindow> {
        let mut saved = Vec::new();
        for account in self.accounts() {
            for book in account.lock().books() {
                for counter in &mut book.counters {
                    let it = counter.save(account.id, book.model, now);
                    if !it.entries.is_empty() || it.learned.is_some() || it.spent_until.is_some() {
                        saved.push(it);
                    }
                }
            }
        }
        saved
    }

    /// Adds what an earlier process saved to what there is; before or after
    /// [`configure`](Self::configure). What has expired is left out, and a wall clock that was
    /// moved back in between frees nothing.
    pub fn restore(&self, saved: impl IntoIterator<Item = SavedWindow>, now: Now) {
        for it in saved {
            let account = self.account(it.account);
            let mut state = account.lock();
            let place = state.book_of(it.model);
            let Some(book) = state.book(place) else { continue };
            let place = book.counter_of(it.unit, it.period, it.reset);
            if let Some(counter) = book.counters.get_mut(place) {
                counter.restore(&it, now);
            }
        }
    }
}

impl Counter {
    fn save(&mut self, account: AccountId, model: Option<ModelId>, now: Now) -> SavedWindow {
        let unix_ms = |time: Duration| {
            let wait = time.saturating_sub(now.monotonic).as_millis();
            now.unix_ms.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
        };
        SavedWindow {
            account,
            model,
            unit: self.unit,
            period: self.period,
            reset: self.reset,
            entries: self.window.snapshot(now),
            learned: self.learned(now).map(|it| (it.max, unix_ms(it.until))),
            spent_until: self.spent_until(now).map(unix_ms),
        }
    }

    fn restore(&mut self, saved: &SavedWindow, now: Now) {
        let monotonic = |unix_ms: u64| {
            let wait = Duration::from_millis(unix_ms.saturating_sub(now.unix_ms));
            now.monotonic.saturating_add(wait)
        };
        let before = self.window.used(now);
        self.window.restore(&saved.entries, now);
        let restored = self.window.used(now).saturating_sub(before);
        self.charged = self.charged.saturating_add(restored);
        if let Some((max, until)) = saved.learned {
            self.learn(Learned { max, until: monotonic(until) }, now);
        }
        if let Some(until) = saved.spent_until {
            self.spend_until(monotonic(until), now);
        }
    }
}
