//! Whose units are in a book, so that they go with their target when the configuration puts it
//! elsewhere: into a group of keys or out of one, under a bucket of all models or of its own, under
//! another way to reset.
//!
//! A target's units are those of its own calls, and of others that were noticed through them. They
//! are counted where the target draws its quota now, each at the latest time it can have been used:
//! a change may make them come back late, never early.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::AccountId;
use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::account::Account;
use crate::quota::book::Book;
use crate::quota::book::Counter;
use crate::quota::book::Learned;
use crate::quota::book::shape_of;
use crate::quota::target::Target;
use crate::window::Owner;

/// Units that nobody says whose they are.
pub(crate) const NOBODY: Owner = Owner(u32::MAX);
/// Units of targets that are no more, which the file goes on to tell of by itself.
pub(crate) const FORMER: Owner = Owner(u32::MAX - 1);

/// Who has used something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// One that is, or was while this process lives.
    Target(TargetId),
    /// One that is no more, of this account; with a model, where the count was that model's alone.
    Former(AccountId, Option<ModelId>),
}

/// What one target has used in one window. All times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedUse {
    /// Who.
    pub user: User,
    /// Of whose quota.
    pub account: AccountId,
    /// Of that for all models of the account together, or for each its own?
    pub scope: QuotaScope,
    /// What the window counts.
    pub unit: Unit,
    /// Over how long.
    pub period: Period,
    /// How it begins anew, as far as that matters for its period.
    pub reset: Reset,
    /// When units were used, and how many.
    pub entries: Vec<(u64, u64)>,
}

/// The units of one owner in one window.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) unit: Unit,
    pub(crate) period: Period,
    pub(crate) reset: Reset,
    pub(crate) entries: Vec<(u64, u64)>,
}

/// What a provider had said of a window.
struct Told {
    unit: Unit,
    period: Period,
    reset: Reset,
    learned: Option<Learned>,
    spent_until: Option<Duration>,
}

/// Has what `from` used counted where `to`, the same target as configured anew, draws its quota.
/// Calls under way keep there what they have reserved.
pub(crate) fn carry_over(from: &Target, to: &Target, now: Now) {
    if Arc::ptr_eq(&from.account, &to.account) && from.book == to.book {
        return;
    }
    let (parts, told) = take(&from.account, from, now);
    let mut state = to.account.lock();
    let Some(book) = state.book(to.book) else { return };
    book.put(&parts, to.owner, now);
    for it in told {
        book.put_told(&it, now);
    }
}

fn take(account: &Account, from: &Target, now: Now) -> (Vec<Part>, Vec<Told>) {
    let mut state = account.lock();
    let Some(book) = state.book(from.book) else { return (Vec::new(), Vec::new()) };
    let parts = book.parts(from.owner, now);
    let mut told = Vec::new();
    for it in &mut book.counters {
        it.window.remove(from.owner);
        let (learned, spent_until) = (it.told(now), it.spent_until(now));
        if learned.is_some() || spent_until.is_some() {
            let (unit, period, reset) = (it.unit, it.period, it.reset);
            told.push(Told { unit, period, reset, learned, spent_until });
        }
    }
    (parts, told)
}

impl Book {
    /// What `owner` has in each window.
    pub(crate) fn parts(&mut self, owner: Owner, now: Now) -> Vec<Part> {
        let parts = self.counters.iter_mut().map(|it| Part {
            unit: it.unit,
            period: it.period,
            reset: it.reset,
            entries: it.window.snapshot(owner, now),
        });
        parts.filter(|it| !it.entries.is_empty()).collect()
    }

    /// Adds `parts`, all of them `owner`'s, to the windows of their unit and length, or to new ones
    /// where there are none.
    pub(crate) fn put(&mut self, parts: &[Part], owner: Owner, now: Now) {
        for part in parts {
            let akin = |it: &Counter| (it.unit, it.period) == (part.unit, part.period);
            if !self.counters.iter().any(akin) {
                self.counter_of(part.unit, part.period, part.reset, now);
            }
        }
        for counter in &mut self.counters {
            counter.take_in(parts, owner, now);
        }
    }

    fn put_told(&mut self, told: &Told, now: Now) {
        let akin = |it: &Counter| (it.unit, it.period) == (told.unit, told.period);
        let place = self.counters.iter().position(akin);
        let place =
            place.unwrap_or_else(|| self.counter_of(told.unit, told.period, told.reset, now));
        let Some(counter) = self.counters.get_mut(place) else { return };
        let known = counter.told(now).map_or(u64::MAX, |it| it.max);
        if let Some(learned) = told.learned.filter(|it| it.max < known) {
            counter.learn(learned, now);
        }
        if let Some(until) = told.spent_until {
            counter.spend_until(until, now);
        }
    }
}

impl Counter {
    /// Adds what of `parts` is of its unit and length: as it is where it begins anew in the same way,
    /// else as of the latest time at which it can have been used.
    pub(crate) fn take_in(&mut self, parts: &[Part], owner: Owner, now: Now) {
        let akin = parts.iter().filter(|it| (it.unit, it.period) == (self.unit, self.period));
        // One that rolls knows best when units were used.
        let best = akin.min_by_key(|it| (it.reset != self.reset, it.reset != Reset::Rolling));
        let Some(part) = best else { return };
        let before = self.window.used(now);
        if part.reset == self.reset {
            self.window.restore(&part.entries, owner, now);
        } else {
            let shape = shape_of(part.period, part.reset);
            self.window.restore(&shape.at_the_latest(&part.entries, now), owner, now);
        }
        let added = self.window.used(now).saturating_sub(before);
        self.charged = self.charged.saturating_add(added);
    }

    /// What the provider has said of its limit, while it holds.
    fn told(&self, now: Now) -> Option<Learned> {
        self.learned.filter(|it| it.until > now.monotonic)
    }
}
