//! Affinity: which provider and model a conversation lives with.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::catalog::ModelId;
use crate::catalog::ProviderId;
use crate::clock::Now;

/// Longest session id that is remembered, in bytes: a caller's own, and the id of its key before it.
pub const MAX_ID_BYTES: usize = 256 + 32;

/// How affinity works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Off: nothing is remembered.
    pub enabled: bool,
    /// A session is forgotten when it has not been used for this long.
    pub ttl: Duration,
    /// Sessions remembered at once; beyond that the least recently used one is forgotten.
    pub max_sessions: usize,
}

/// Where a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The provider.
    pub provider: ProviderId,
    /// Its model.
    pub model: ModelId,
}

/// A session as it survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// As the caller sent it.
    pub id: String,
    /// Where it lives.
    pub pin: Pin,
    /// When it was last used, in milliseconds since 1970.
    pub used_unix_ms: u64,
}

/// All sessions. Every operation takes constant time, spread over calls.
#[derive(Debug)]
pub struct Sessions {
    params: Params,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<Arc<str>, Session>,
    /// One ticket for each use, oldest first. A ticket is void when the session was used again
    /// since; void tickets are dropped when they come to the front or outnumber the others.
    tickets: VecDeque<(Arc<str>, u64)>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Session {
    pin: Pin,
    ticket: u64,
    /// Monotonic time.
    expires: Duration,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(params: Params) -> Self {
        Self { params, state: Mutex::default() }
    }

    /// Where session `id` lives. Asking counts as use.
    pub fn get(&self, id: &str, now: Now) -> Option<Pin> {
        let mut state = self.state(id)?;
        state.drop_expired(now);
        let pin = state.live(id, now)?;
        state.put(id, pin, self.expiry(now));
        state.compact();
        Some(pin)
    }

    /// Says that session `id` lives at `pin` from now on.
    pub fn pin(&self, id: &str, pin: Pin, now: Now) {
        if let Some(mut state) = self.state(id) {
            state.drop_expired(now);
            state.put(id, pin, self.expiry(now));
            state.shrink(self.params.max_sessions);
            state.compact();
        }
    }

    /// Where session `id` lives: where it did, or else at `pin`. So first requests of one session
    /// that arrive together agree.
    pub fn pin_if_absent(&self, id: &str, pin: Pin, now: Now) -> Pin {
        let Some(mut state) = self.state(id) else { return pin };
        state.drop_expired(now);
        let pin = state.live(id, now).unwrap_or(pin);
        state.put(id, pin, self.expiry(now));
        state.shrink(self.params.max_sessions);
        state.compact();
        pin
    }

    /// Sessions remembered, those that have expired since the last use of any left out.
    pub fn len(&self, now: Now) -> usize {
        let mut state = self.lock();
        state.drop_expired(now);
        state.sessions.len()
    }

    /// Is none remembered?
    pub fn is_empty(&self, now: Now) -> bool {
        self.len(now) == 0
    }

    /// All sessions, least recently used first.
    pub fn snapshot(&self, now: Now) -> Vec<SavedSession> {
        let mut state = self.lock();
        state.drop_expired(now);
        let live = state.tickets.iter().filter_map(|(id, ticket)| {
            let session = state.sessions.get(id).filter(|it| it.ticket == *ticket)?;
            let age = self.expiry(now).saturating_sub(session.expires).as_millis();
            let age = u64::try_from(age).unwrap_or(u64::MAX);
            let used_unix_ms = now.unix_ms.saturating_sub(age);
            Some(SavedSession { id: String::from(&**id), pin: session.pin, used_unix_ms })
        });
        live.collect()
    }

    /// Adds what an earlier process saved, in the order it was saved in; sessions known by now
    /// stay as they are. A time in the future (the wall clock was moved back) counts as now.
    pub fn restore(&self, saved: impl IntoIterator<Item = SavedSession>, now: Now) {
        for it in saved {
            let age = Duration::from_millis(now.unix_ms.saturating_sub(it.used_unix_ms));
            let Some(rest) = self.params.ttl.checked_sub(age).filter(|it| !it.is_zero()) else {
                continue;
            };
            let Some(mut state) = self.state(&it.id) else { continue };
            if !state.sessions.contains_key(it.id.as_str()) {
                state.put(&it.id, it.pin, now.monotonic.saturating_add(rest));
                state.shrink(self.params.max_sessions);
                state.compact();
            }
        }
    }

    /// `None` when nothing is to be remembered of `id`.
    fn state(&self, id: &str) -> Option<MutexGuard<'_, State>> {
        let wanted = self.params.enabled && self.params.max_sessions > 0;
        (wanted && id.len() <= MAX_ID_BYTES).then(|| self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiry(&self, now: Now) -> Duration {
        now.monotonic.saturating_add(self.params.ttl)
    }
}

impl State {
    /// A session that has expired may still be here: restored ones stand behind others that live
    /// longer.
    fn live(&self, id: &str, now: Now) -> Option<Pin> {
        self.sessions.get(id).filter(|it| it.expires > now.monotonic).map(|it| it.pin)
    }

    fn put(&mut self, id: &str, pin: Pin, expires: Duration) {
        let id = match self.sessions.get_key_value(id) {
            Some((id, _)) => Arc::clone(id),
            None => Arc::from(id),
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.push_back((Arc::clone(&id), ticket));
        self.sessions.insert(id, Session { pin, ticket, expires });
    }

    /// With one time to live for all, the least recently used session expires first.
    fn drop_expired(&mut self, now: Now) {
        self.drop_while(|_, session| session.expires <= now.monotonic);
    }

    fn shrink(&mut self, max: usize) {
        self.drop_while(|sessions, _| sessions > max);
    }

    /// Forgets sessions, least recently used first, while `unwanted(sessions, oldest)`.
    fn drop_while(&mut self, unwanted: impl Fn(usize, &Session) -> bool) {
        while let Some((id, ticket)) = self.tickets.front() {
            let session = self.sessions.get(id).filter(|it| it.ticket == *ticket);
            if let Some(session) = session {
                if !unwanted(self.sessions.len(), session) {
                    return;
                }
                self.sessions.remove(id);
            }
            self.tickets.pop_front();
        }
    }

    /// Keeps void tickets fewer than sessions (and a few), at a cost of O(1) for each.
    fn compact(&mut self) {
        if self.tickets.len() > 2 * self.sessions.len() + 16 {
            let sessions = &self.sessions;
            self.tickets.retain(|(id, ticket)| {
                sessions.get(id).is_some_and(|session| session.ticket == *ticket)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(max_sessions: usize) -> Sessions {
        Sessions::new(Params { enabled: true, ttl: Duration::from_secs(100), max_sessions })
    }

    fn pin(number: u32) -> Pin {
        Pin { provider: ProviderId(number), model: ModelId(number) }
    }

    fn at(secs: u64) -> Now {
        Now { monotonic: Duration::ZERO, unix_ms: 1_000_000 }.plus(Duration::from_secs(secs))
    }

    #[test]
    fn a_session_moves_and_stays() {
        let sessions = sessions(10);
        assert_eq!(sessions.get("a", at(0)), None);
        sessions.pin("a", pin(1), at(0));
        assert_eq!(sessions.pin_if_absent("a", pin(2), at(0)), pin(1));
        sessions.pin("a", pin(3), at(0));
        assert_eq!(sessions.get("a", at(0)), Some(pin(3)));
    }

    #[test]
    fn use_puts_off_the_end() {
        let sessions = sessions(10);
        sessions.pin("a", pin(1), at(0));
        sessions.pin("b", pin(2), at(0));
        assert_eq!(sessions.get("a", at(99)), Some(pin(1)));
        assert_eq!(sessions.get("b", at(100)), None);
        assert_eq!(sessions.len(at(198)), 1);
        assert_eq!(sessions.get("a", at(199)), None);
        assert!(sessions.is_empty(at(199)));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let sessions = sessions(2);
        sessions.pin("a", pin(1), at(0));
        sessions.pin("b", pin(2), at(1));
        sessions.get("a", at(2));
        sessions.pin("c", pin(3), at(3));
        assert_eq!(sessions.get("b", at(3)), None);
        assert_eq!(sessions.get("a", at(3)), Some(pin(1)));
        assert_eq!(sessions.get("c", at(3)), Some(pin(3)));
    }

    #[test]
    fn nothing_is_remembered_when_off_or_too_long() {
        let check = |params: Params, id: &str, remembered: bool| {
            let sessions = Sessions::new(params);
            assert_eq!(sessions.pin_if_absent(id, pin(1), at(0)), pin(1));
            assert_eq!(sessions.get(id, at(0)).is_some(), remembered, "{params:?}");
        };
        let params = Params { enabled: true, ttl: Duration::from_secs(1), max_sessions: 1 };
        check(params, &"ü".repeat(144), true);
        check(params, &"x".repeat(289), false);
        check(Params { enabled: false, ..params }, "a", false);
        check(Params { max_sessions: 0, ..params }, "a", false);
        check(Params { ttl: Duration::ZERO, ..params }, "a", false);
    }

    #[test]
    fn memory_is_bounded() {
        let sessions = sessions(50);
        for turn in 0..10_000_u64 {
            sessions.pin(&format!("{}", turn % 200), pin(1), at(turn / 1_000));
            sessions.get(&format!("{}", turn % 7), at(turn / 1_000));
        }
        let tickets = |sessions: &Sessions| sessions.lock().tickets.len();
        assert!(sessions.lock().sessions.len() <= 50 && tickets(&sessions) <= 116);

        // One that is never used again stands before all tickets of the other.
        let sessions = self::sessions(50);
        sessions.pin("a", pin(1), at(0));
        sessions.pin("b", pin(1), at(0));
        (0..1_000).for_each(|_| assert!(sessions.get("b", at(1)).is_some()));
        assert!(tickets(&sessions) <= 20, "{}", tickets(&sessions));
    }

    #[test]
    fn a_restart_keeps_order_and_age() {
        let before = sessions(10);
        before.pin("a", pin(1), at(0));
        before.pin("b", pin(2), at(10));
        before.pin("c", pin(3), at(20));
        before.get("a", at(30));
        let saved = before.snapshot(at(40));
        let ids: Vec<&str> = saved.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "a"]);

        let after = sessions(2);
        let start = Now { monotonic: Duration::ZERO, unix_ms: at(115).unix_ms };
        after.restore(saved.clone(), start);
        assert_eq!(after.len(start), 2);
        assert_eq!(after.len(start.plus(Duration::from_secs(4))), 2);
        assert_eq!(after.len(start.plus(Duration::from_secs(5))), 1);
        assert_eq!(after.get("a", start.plus(Duration::from_secs(14))), Some(pin(1)));

        let early = sessions(10);
        early.restore(saved, at(0));
        assert_eq!(early.len(at(99)), 3);
        assert_eq!(early.len(at(100)), 0);
    }

    #[test]
    fn a_restored_session_expires_also_behind_younger_ones() {
        let sessions = sessions(10);
        sessions.pin("young", pin(1), at(60));
        let old = SavedSession { id: String::from("old"), pin: pin(2), used_unix_ms: 1_000_000 };
        sessions.restore([old], at(60));
        assert_eq!(sessions.snapshot(at(99)).len(), 2);
        assert_eq!(sessions.get("old", at(100)), None);
        assert_eq!(sessions.pin_if_absent("old", pin(3), at(100)), pin(3));
    }
}
