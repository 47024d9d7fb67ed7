//! The state machine of one scope in trouble.

use std::time::Duration;

use crate::breaker::State;
use crate::breaker::Status;
use crate::breaker::outcome::LONGEST_TOLD;
use crate::breaker::outcome::Reason;
use crate::breaker::outcome::Verdict;
use crate::catalog::ProviderId;
use crate::catalog::TargetId;
use crate::clock::Now;

/// A scope quiet for this long after its last cooldown starts afresh.
const FORGIVEN_AFTER: Duration = Duration::from_secs(3_600);

/// More doublings than any cooldown has.
const MAX_LEVEL: u32 = 16;

/// One scope's memory. Dropped when [`Self::is_healed`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Whose scope it is.
    provider: ProviderId,
    /// Weight of the run of strikes so far; a success ends it.
    strikes: u32,
    /// Cooldowns in a row: each doubles the next, each success after the probe's takes one away.
    level: u32,
    /// Monotonic time; `None` = closed, past = half-open.
    open_until: Option<Duration>,
    /// When it last opened or closed, in monotonic time.
    changed: Duration,
    reason: Reason,
    /// Who closed a connection without an answer last.
    silent: Option<TargetId>,
    /// The pass that is probing.
    probe: Option<u64>,
}

impl Cell {
    pub(crate) fn new(provider: ProviderId, reason: Reason) -> Self {
        Self {
            provider,
            strikes: 0,
            level: 0,
            open_until: None,
            changed: Duration::ZERO,
            reason,
            silent: None,
            probe: None,
        }
    }

    /// As an earlier process left it.
    pub(crate) fn reopened(self, level: u32, until: Duration, now: Now) -> Self {
        let most = match self.reason {
            Reason::Throttled | Reason::Overloaded => LONGEST_TOLD,
            reason => reason.cooldown().1,
        };
        let until = until.min(now.monotonic.saturating_add(most));
        let level = level.min(MAX_LEVEL);
        Self { level, open_until: Some(until), changed: now.monotonic, ..self }
    }

    pub(crate) fn provider(&self) -> ProviderId {
        self.provider
    }

    pub(crate) fn status(&self, now: Now) -> Status {
        let reason = (self.open_until.is_some() || self.level > 0).then_some(self.reason);
        match self.open_until {
            None => Status { state: State::Closed, until: None, reason },
            Some(until) if until > now.monotonic => {
                Status { state: State::Open, until: Some(until), reason }
            }
            Some(_) => Status { state: State::HalfOpen, until: None, reason },
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    pub(crate) fn open_until(&self) -> Option<Duration> {
        self.open_until
    }

    /// `target` has closed a connection without an answer: was it the last one to do so? Then this says
    /// nothing new of others.
    pub(crate) fn is_silent_again(&mut self, target: TargetId) -> bool {
        self.silent.replace(target) == Some(target)
    }

    /// Is a probe under way?
    pub(crate) fn is_probed(&self) -> bool {
        self.probe.is_some()
    }

    /// Nothing is left to remember.
    pub(crate) fn is_healed(&self) -> bool {
        self.open_until.is_none() && self.strikes == 0 && self.level == 0
    }

    /// Makes `pass` the probe of a breaker that is not closed. The caller has seen that it may pass
    /// and that there is no other.
    pub(crate) fn take_probe(&mut self, pass: u64) -> bool {
        let wanted = self.open_until.is_some();
        if wanted {
            self.probe = Some(pass);
        }
        wanted
    }

    /// Gives the probe's place back, if it is `pass` that has it. Opening takes it away, so a
    /// verdict from before that cannot close the breaker again.
    pub(crate) fn release_probe(&mut self, pass: u64) -> bool {
        let probing = self.probe == Some(pass);
        if probing {
            self.probe = None;
        }
        probing
    }

    /// A call has ended. While not closed, only the probe has a say, except that a throttle may
    /// last longer than thought: calls that began before it opened know nothing new.
    pub(crate) fn report(&mut self, verdict: Verdict, probing: bool, now: Now) {
        if let Verdict::Until(reason, until) = verdict {
            self.rest(reason, until, now);
            return;
        }
        if self.open_until.is_some() && !probing {
            return;
        }
        match verdict {
            Verdict::Good => self.succeed(now),
            Verdict::Bad(reason) => self.trip(reason, now),
            Verdict::Strike { reason, weight, limit } => {
                self.strikes = self.strikes.saturating_add(weight);
                // A probe has failed at the first plain fault; a slow one has not quite.
                if self.strikes >= limit || (probing && reason != Reason::Slow) {
                    self.trip(reason, now);
                }
            }
            Verdict::None | Verdict::Until(..) => {}
        }
    }

    fn succeed(&mut self, now: Now) {
        self.strikes = 0;
        self.silent = None;
        if self.open_until.take().is_some() {
            self.changed = now.monotonic;
        } else {
            self.level = self.level.saturating_sub(1);
        }
    }

    fn rest(&mut self, reason: Reason, until: Duration, now: Now) {
        let until = until.min(now.monotonic.saturating_add(LONGEST_TOLD));
        if self.open_until.is_none_or(|it| it < until) {
            self.open_until = Some(until);
            self.changed = now.monotonic;
            self.reason = reason;
            self.probe = None;
        }
    }

    fn trip(&mut self, reason: Reason, now: Now) {
        if now.monotonic.saturating_sub(self.changed) > self.forgiven_after() {
            self.level = 0;
        }
        if self.open_until.is_some_and(|it| it > now.monotonic) {
            // A probe before its time: the same cooldown once more. It had no chance to heal.
            self.level = self.level.saturating_sub(1);
        }
        let (first, most) = reason.cooldown();
        let cooldown = first.saturating_mul(2_u32.saturating_pow(self.level)).min(most);
        self.open_until = Some(now.monotonic.saturating_add(cooldown));
        self.level = self.level.saturating_add(1).min(MAX_LEVEL);
        self.changed = now.monotonic;
        self.reason = reason;
        self.strikes = 0;
        self.probe = None;
    }

    /// Counted from the last change: a cooldown may be longer than the usual patience.
    fn forgiven_after(&self) -> Duration {
        let (_, most) = self.reason.cooldown();
        match self.open_until {
            Some(until) => until.saturating_sub(self.changed).saturating_add(FORGIVEN_AFTER),
            None => FORGIVEN_AFTER.max(most),
        }
    }
}
