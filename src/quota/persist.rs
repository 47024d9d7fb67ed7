//! What survives a restart. Names and storage are the store's business.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use crate::catalog::AccountId;
use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Ledger;
use crate::quota::account::State;
use crate::quota::book::Book;
use crate::quota::book::Counter;
use crate::quota::book::Learned;
use crate::quota::origin::FORMER;
use crate::quota::origin::NOBODY;
use crate::quota::origin::Part;
use crate::quota::origin::SavedUse;
use crate::quota::origin::User;
use crate::window::Owner;

/// All that a ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// What targets have used.
    pub uses: Vec<SavedUse>,
    /// What else is known of their windows.
    pub windows: Vec<SavedWindow>,
}

/// What is known of one window beside what targets have used of it. All times are milliseconds since
/// 1970.
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
    /// When units were used of which nobody says whose they are, and how many.
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
    pub fn snapshot(&self, now: Now) -> Saved {
        let mut saved = Saved::default();
        for account in self.accounts() {
            for book in account.lock().books() {
                book.save_uses(account.id, now, &mut saved.uses);
                for counter in &mut book.counters {
                    let it = counter.save(account.id, book.model, now);
                    if !it.entries.is_empty() || it.learned.is_some() || it.spent_until.is_some() {
                        saved.windows.push(it);
                    }
                }
            }
        }
        saved
    }

    /// Adds what an earlier process saved to what there is; after [`configure`](Self::configure).
    /// What has expired is left out, and a wall clock that was moved back in between frees nothing.
    /// What a target has used is counted where it draws its quota now.
    pub fn restore(&self, saved: Saved, now: Now) {
        let mut uses: HashMap<User, Vec<Part>> = HashMap::new();
        for SavedUse { user, unit, period, reset, entries, .. } in saved.uses {
            uses.entry(user).or_default().push(Part { unit, period, reset, entries });
        }
        for (user, parts) in uses {
            self.restore_uses(user, &parts, now);
        }
        for it in saved.windows {
            self.account(it.account).lock().restore(&it, now);
        }
    }

    fn restore_uses(&self, user: User, parts: &[Part], now: Now) {
        match user {
            User::Target(id) => {
                let homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(target) = homes.get(&id).cloned() else { return };
                drop(homes);
                if let Some(book) = target.account.lock().book(target.book) {
                    book.put(parts, target.owner, now);
                }
            }
            User::Former(account, model) => {
                let account = self.account(account);
                let mut state = account.lock();
                let place = state.book_of(model);
                if let Some(book) = state.book(place) {
                    book.put(parts, FORMER, now);
                }
            }
        }
    }
}

impl State {
    fn restore(&mut self, saved: &SavedWindow, now: Now) {
        let place = self.book_of(saved.model);
        let Some(book) = self.book(place) else { return };
        let SavedWindow { unit, period, reset, .. } = *saved;
        let part = Part { unit, period, reset, entries: saved.entries.clone() };
        // Where there is but one it can only be his.
        let owner = if book.owners.len() == 1 { Owner::ONLY } else { NOBODY };
        book.put(&[part], owner, now);
        let place = book.counter_of(unit, period, reset, now);
        if let Some(counter) = book.counters.get_mut(place) {
            counter.restore_told(saved, now);
        }
    }
}

impl Book {
    fn save_uses(&mut self, account: AccountId, now: Now, into: &mut Vec<SavedUse>) {
        let scope = if self.model.is_some() { QuotaScope::Model } else { QuotaScope::Account };
        for (place, target) in (0..).zip(self.owners.clone()) {
            let parts = self.parts(Owner(place), now).into_iter();
            into.extend(parts.map(|Part { unit, period, reset, entries }| SavedUse {
                user: User::Target(target),
                account,
                scope,
                unit,
                period,
                reset,
                entries,
            }));
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
            entries: self.window.snapshot(NOBODY, now),
            learned: self.learned(now).map(|it| (it.max, unix_ms(it.until))),
            spent_until: self.spent_until(now).map(unix_ms),
        }
    }

    fn restore_told(&mut self, saved: &SavedWindow, now: Now) {
        let monotonic = |unix_ms: u64| {
            let wait = Duration::from_millis(unix_ms.saturating_sub(now.unix_ms));
            now.monotonic.saturating_add(wait)
        };
        if let Some((max, until)) = saved.learned {
            self.learn(Learned { max, until: monotonic(until) }, now);
        }
        if let Some(until) = saved.spent_until {
            self.spend_until(monotonic(until), now);
        }
    }
}
