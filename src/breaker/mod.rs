//! Breakers: may this target be asked, and how did it go?
//!
//! Trouble belongs to a scope: a provider cannot be reached, a key is refused, a model is gone, a
//! target throttles or fails. Each scope has a breaker of its own, closed until trouble opens it,
//! half-open once its time is up (one probe may pass), closed again when the probe succeeds. Only
//! scopes that have had trouble are remembered; the others cost one atomic read.

mod cell;
mod outcome;
mod pass;
mod persist;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::breaker::cell::Cell;
use crate::catalog::KeyId;
use crate::catalog::ModelId;
use crate::catalog::ProviderId;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::clock::Now;

pub use crate::breaker::outcome::Outcome;
pub use crate::breaker::outcome::Reason;
pub use crate::breaker::pass::Pass;
pub use crate::breaker::persist::SavedBreaker;

/// Providers are spread over this many locks, so that trouble at one does not slow the others.
const SHARDS: usize = 16;

/// How long after now a caller is told to come back when a probe is under way: it may end any
/// moment.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// What a breaker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every call to a provider.
    Provider(ProviderId),
    /// Every call with a key.
    Key(KeyId),
    /// Every call for a model.
    Model(ModelId),
    /// Calls for one model with one key.
    Target(TargetId),
}

/// All scopes a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The provider asked.
    pub provider: ProviderId,
    /// The key used.
    pub key: KeyId,
    /// The model wanted.
    pub model: ModelId,
    /// All three.
    pub target: TargetId,
}

impl From<&TargetView<'_>> for Path {
    fn from(it: &TargetView<'_>) -> Self {
        Self { provider: it.provider.id, key: it.key.id, model: it.model.id, target: it.id }
    }
}

impl Path {
    /// Widest first.
    fn scopes(&self) -> [Scope; 4] {
        [
            Scope::Provider(self.provider),
            Scope::Key(self.key),
            Scope::Model(self.model),
            Scope::Target(self.target),
        ]
    }
}

/// A breaker's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Calls pass.
    #[default]
    Closed,
    /// No call passes.
    Open,
    /// One call at a time passes, as a probe.
    HalfOpen,
}

impl State {
    /// `closed`, `open` or `half-open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A breaker as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// Its position.
    pub state: State,
    /// Monotonic time at which an open one becomes half-open.
    pub until: Option<Duration>,
    /// What last opened it, while it is not healed.
    pub reason: Option<Reason>,
}

/// A call may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The breaker in the way; of several the one that opens last.
    pub scope: Scope,
    /// Monotonic time at which asking again makes sense.
    pub until: Duration,
    /// What opened it.
    pub reason: Reason,
    /// Open, or half-open with its probe under way.
    pub state: State,
    /// Is a probe under way?
    pub probed: bool,
}

/// All breakers.
#[derive(Debug, Default)]
pub struct Breakers {
    shards: [Shard; SHARDS],
    next_pass: AtomicU64,
}

/// The breakers of some providers. All scopes of one call are in one shard.
#[derive(Debug, Default)]
struct Shard {
    /// How many cells there are, readable without the lock.
    troubled: AtomicUsize,
    cells: Mutex<HashMap<Scope, Cell>>,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cells, or `None` when there are none.
    fn lock_if_troubled(&self) -> Option<MutexGuard<'_, HashMap<Scope, Cell>>> {
        (self.troubled.load(Ordering::Acquire) > 0).then(|| self.lock())
    }

    fn count(&self, cells: &HashMap<Scope, Cell>) {
        self.troubled.store(cells.len(), Ordering::Release);
    }
}

impl Breakers {
    /// All closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Would [`Self::enter`] let this call pass now? Takes nothing.
    pub fn check(&self, path: &Path, now: Now) -> Result<(), Blocked> {
        let cells = self.shard(path.provider).and_then(Shard::lock_if_troubled);
        cells.map_or(Ok(()), |it| blocked(&it, path, now).map_or(Ok(()), Err))
    }

    /// Lets a call pass, as the one probe of each of its scopes that is half-open.
    pub fn enter(self: &Arc<Self>, path: &Path, now: Now) -> Result<Pass, Blocked> {
        self.enter_unless(path, now, blocked)
    }

    /// The same, and a scope that faults have opened takes it as its probe before its time: for
    /// when nobody else is left to ask.
    pub fn enter_early(self: &Arc<Self>, path: &Path, now: Now) -> Result<Pass, Blocked> {
        self.enter_unless(path, now, |cells, path, now| chance(cells, path, now).err())
    }

    fn enter_unless(
        self: &Arc<Self>,
        path: &Path,
        now: Now,
        blocked: impl FnOnce(&HashMap<Scope, Cell>, &Path, Now) -> Option<Blocked>,
    ) -> Result<Pass, Blocked> {
        let serial = self.next_pass.fetch_add(1, Ordering::Relaxed);
        let mut probing = false;
        if let Some(mut cells) = self.shard(path.provider).and_then(Shard::lock_if_troubled) {
            if let Some(blocked) = blocked(&cells, path, now) {
                return Err(blocked);
            }
            for scope in path.scopes() {
                if let Some(cell) = cells.get_mut(&scope) {
                    probing |= cell.take_probe(serial);
                }
            }
        }
        Ok(Pass::new(Arc::clone(self), *path, serial, probing))
    }

    /// Would [`Self::enter_early`] let this call pass now? Takes nothing.
    ///
    /// # Errors
    /// The breaker in the way: one that faults have not opened, or one whose probe is under way.
    pub fn check_early(&self, path: &Path, now: Now) -> Result<(), Blocked> {
        let cells = self.shard(path.provider).and_then(Shard::lock_if_troubled);
        cells.map_or(Ok(()), |it| chance(&it, path, now))
    }

    /// How long until this call may pass; `None` when it may now.
    pub fn cooldown(&self, path: &Path, now: Now) -> Option<Duration> {
        self.check(path, now).err().map(|it| it.until.saturating_sub(now.monotonic))
    }

    /// One breaker's position.
    pub fn state(&self, scope: Scope, now: Now) -> Status {
        let cells = self.shards.iter().filter_map(Shard::lock_if_troubled);
        let mut found = cells.filter_map(|it| it.get(&scope).map(|cell| cell.status(now)));
        found.next().unwrap_or_default()
    }

    /// Closes every breaker of `provider`, and says how many were not closed. Calls under way tell
    /// how they went all the same.
    pub fn reset(&self, provider: ProviderId, now: Now) -> usize {
        let Some(shard) = self.shard(provider) else { return 0 };
        let Some(mut cells) = shard.lock_if_troubled() else { return 0 };
        let mine = |it: &Cell| it.provider() == provider;
        let shut = |it: &&Cell| mine(it) && it.status(now).state != State::Closed;
        let count = cells.values().filter(shut).count();
        cells.retain(|_, it| !mine(it));
        shard.count(&cells);
        count
    }

    fn shard(&self, provider: ProviderId) -> Option<&Shard> {
        let place = usize::try_from(provider.0).unwrap_or(0) % SHARDS;
        self.shards.get(place)
    }
}

/// The breaker that keeps this call from passing for longest.
fn blocked(cells: &HashMap<Scope, Cell>, path: &Path, now: Now) -> Option<Blocked> {
    in_the_way(cells, path, now).map(|(it, _)| it).max_by_key(|it| it.until)
}

/// May this call pass as a probe although breakers are open? Not before a time that a provider
/// has told, nor with a key or for a model that somebody has to see to, nor beside another probe.
fn chance(cells: &HashMap<Scope, Cell>, path: &Path, now: Now) -> Result<(), Blocked> {
    let firm = in_the_way(cells, path, now).filter_map(|(blocked, cell)| match cell.is_probed() {
        true => Some(blocked.under_probe(now)),
        false if blocked.reason.is_fault() => None,
        false => Some(blocked),
    });
    firm.max_by_key(|it| it.until).map_or(Ok(()), Err)
}

/// The breakers that keep this call from passing.
fn in_the_way<'a>(
    cells: &'a HashMap<Scope, Cell>,
    path: &Path,
    now: Now,
) -> impl Iterator<Item = (Blocked, &'a Cell)> {
    path.scopes().into_iter().filter_map(move |scope| {
        let cell = cells.get(&scope)?;
        let status = cell.status(now);
        let blocked = Blocked {
            scope,
            until: status.until.unwrap_or_default(),
            reason: cell.reason(),
            state: status.state,
            probed: cell.is_probed(),
        };
        match status.state {
            State::Open => Some((blocked, cell)),
            State::HalfOpen if cell.is_probed() => Some((blocked.under_probe(now), cell)),
            State::Closed | State::HalfOpen => None,
        }
    })
}

impl Blocked {
    /// The same, told by when the probe under way may have ended.
    fn under_probe(self, now: Now) -> Self {
        Self { until: now.monotonic.saturating_add(PROBE_PATIENCE), ..self }
    }
}

#[cfg(test)]
mod tests;
