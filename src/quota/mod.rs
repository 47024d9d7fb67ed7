//! The ledger: what may be spent on each target, reserved before a call and settled after it.
//!
//! Every window a request falls into (requests and tokens, by second, minute, hour, day and month)
//! is checked and charged at once under the lock of one account; there is no global lock. The
//! [`Reservation`] that comes back is a guard: however a call ends, also by a panic, the charge is
//! settled or given back.

mod account;
mod book;
mod budget;
mod contexts;
mod denial;
mod hints;
mod inferred;
mod origin;
mod persist;
mod ratio;
mod reservation;
mod target;
mod views;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::catalog::AccountId;
use crate::catalog::Limit;
use crate::catalog::ModelId;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::account::Account;
use crate::quota::contexts::Contexts;
use crate::quota::origin::carry_over;
use crate::quota::ratio::Ratio;
use crate::quota::target::Target;

pub use crate::quota::book::kept_for;
pub use crate::quota::budget::Budget;
pub use crate::quota::budget::Slice;
pub use crate::quota::contexts::ToldContext;
pub use crate::quota::denial::Bound;
pub use crate::quota::denial::Denial;
pub use crate::quota::denial::FreeAt;
pub use crate::quota::hints::Observation;
pub use crate::quota::hints::Refusal;
pub use crate::quota::origin::SavedUse;
pub use crate::quota::origin::User;
pub use crate::quota::persist::Saved;
pub use crate::quota::persist::SavedRatio;
pub use crate::quota::persist::SavedWindow;
pub use crate::quota::reservation::AsOf;
pub use crate::quota::reservation::Reservation;
pub use crate::quota::views::Left;
pub use crate::quota::views::WindowView;

/// What one request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Demand {
    /// Upstream requests, normally one.
    pub requests: u64,
    /// Tokens of prompt and answer together, estimated.
    pub tokens: u64,
}

impl Demand {
    fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
        }
    }
}

/// What a target may spend, as the catalog says.
#[derive(Clone, Debug)]
pub struct TargetBooks {
    /// Who it is.
    pub target: TargetId,
    /// Whose quota it draws on.
    pub account: AccountId,
    /// Its model.
    pub model: ModelId,
    /// Its own upper bounds. Under one account targets may share a count and yet each hold it
    /// against a bound of its own.
    pub limits: Vec<Limit>,
    /// Is the count shared by all models of the account?
    pub scope: QuotaScope,
    /// When day and month windows begin.
    pub reset: Reset,
    /// Reservations that may be open at once; `None` = no bound.
    pub max_concurrent: Option<u32>,
}

impl From<TargetView<'_>> for TargetBooks {
    fn from(it: TargetView<'_>) -> Self {
        Self {
            target: it.id,
            account: it.key.account,
            model: it.model.id,
            limits: it.model.limits.clone(),
            scope: it.model.scope,
            reset: it.model.reset,
            max_concurrent: it.model.max_concurrent,
        }
    }
}

/// All accounts' windows.
#[derive(Debug, Default)]
pub struct Ledger {
    targets: ArcSwap<FxHashMap<TargetId, Arc<Target>>>,
    /// Accounts stay when a reload takes their targets away: their counts hold when they return.
    accounts: Mutex<HashMap<AccountId, Arc<Account>>>,
    ratios: Mutex<HashMap<ModelId, Arc<Ratio>>>,
    /// Every target there ever was as it was configured last: where its units are.
    homes: Mutex<FxHashMap<TargetId, Arc<Target>>>,
    contexts: Contexts,
}

impl Ledger {
    /// A ledger without targets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `books` the targets there are. Counts, open reservations and what was learned stay, also
    /// where a target's account, scope or reset is another than before: see [`origin`]. A window of
    /// a unit or length that was not counted before begins empty.
    pub fn configure(&self, books: impl IntoIterator<Item = TargetBooks>, now: Now) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ratios = self.ratios.lock().unwrap_or_else(PoisonError::into_inner);
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = books.into_iter().map(|it| {
            let account = accounts.entry(it.account).or_insert_with(|| Account::new(it.account));
            let ratio = ratios.entry(it.model).or_default();
            let id = it.target;
            let target = Arc::new(Target::new(it, Arc::clone(account), Arc::clone(ratio), now));
            if let Some(before) = homes.insert(id, Arc::clone(&target)) {
                carry_over(&before, &target, now);
            }
            (id, target)
        });
        let targets: FxHashMap<_, _> = targets.collect();
        self.targets.store(Arc::new(targets));
    }

    /// Takes `demand` from every window of `target` at once, or nothing.
    pub fn reserve(
        &self,
        target: TargetId,
        demand: Demand,
        now: Now,
    ) -> Result<Reservation, Denial> {
        let target = self.target(target).ok_or(Denial::NOT_CONFIGURED)?;
        let mut state = target.account.lock();
        state.check(&target, demand, now)?;
        let marks = state.open(&target, demand, now);
        drop(state);
        Ok(Reservation::new(target, demand, marks))
    }

    /// Would [`Self::reserve`] succeed now? Takes nothing.
    pub fn peek(&self, target: TargetId, demand: Demand, now: Now) -> Result<(), Denial> {
        let target = self.target(target).ok_or(Denial::NOT_CONFIGURED)?;
        target.account.lock().check(&target, demand, now)
    }

    /// May more than `count` requests be let in by all `targets` together until `within` has passed? `false`
    /// only where it is certain: configured windows of requests bound every one of them, and all that
    /// comes back by then, with what calls under way may give back, is no more.
    pub fn may_let_in(
        &self,
        targets: impl Iterator<Item = TargetId>,
        count: u64,
        (within, now): (Duration, Now),
    ) -> bool {
        let mut buckets: FxHashMap<(AccountId, usize), u64> = FxHashMap::default();
        let mut all: u64 = 0;
        for target in targets.filter_map(|it| self.target(it)) {
            let Some(most) = target.account.lock().most_within(&target, within, now) else {
                return true;
            };
            // Targets of one bucket may each hold it against a bound of its own.
            let known = buckets.entry((target.account.id, target.book)).or_default();
            all = all.saturating_add(most.saturating_sub(*known));
            *known = most.max(*known);
            if all > count {
                return true;
            }
        }
        false
    }

    /// `estimated` tokens of a prompt in those that the target's model counts, as far as its
    /// answers have shown.
    pub fn tokens(&self, target: TargetId, estimated: u64) -> u64 {
        self.targets.load().get(&target).map_or(estimated, |it| it.ratio.of(estimated))
    }

    /// The provider has refused a call of `target` because too many were under way. From now on no
    /// more are than those that are, its own reservation closed; one more each ten seconds, and any
    /// number after ten minutes. `false`: there are none, so the bound is not one that holds here.
    pub fn crowded(&self, target: TargetId, now: Now) -> bool {
        self.target(target).is_some_and(|it| it.account.lock().crowded(&it, now))
    }

    fn target(&self, target: TargetId) -> Option<Arc<Target>> {
        self.targets.load().get(&target).cloned()
    }

    fn account(&self, id: AccountId) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(id).or_insert_with(|| Account::new(id)))
    }

    fn accounts(&self) -> Vec<Arc<Account>> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
