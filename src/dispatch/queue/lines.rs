//! Who waits for what, and whose turn it is: the order of the lines, without locks or bells to wait at.
//!
//! A turn is a number, given out in order. Every key that waits has one, wherever it waits, and so has each
//! of its sessions; whoever was served gets a new one and stands behind all others. Requests are served by
//! their key's turn, then by their session's, then as they came.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::catalog::ModelId;
use crate::catalog::ProviderId;
use crate::dispatch::outcome::Who;

/// Requests of one session in one line; the next is told to come back.
pub(in crate::dispatch) const MOST_OF_SESSION: usize = 1_000;
/// Requests of one key, whatever their sessions, in all lines together.
pub(in crate::dispatch) const MOST_OF_KEY: usize = 4_000;

/// Requests that wait for the same.
type LineId = u64;
type Turn = u64;

/// Quota that requests may compete for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::dispatch) enum Bucket {
    /// One model's, with any of its keys.
    Model(ModelId),
    /// That which all models of a provider's accounts share.
    Accounts(ProviderId),
}

/// The buckets that a request may take from.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Choice {
    line: LineId,
    /// In order, each once.
    buckets: Arc<[Bucket]>,
}

/// Where a request stands among all that wait: the least is served first.
type Rank = (Turn, Turn, u64);

/// One request in line.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) choice: Choice,
    pub(super) who: Who,
    pub(super) number: u64,
}

/// All lines, and the turns of those in them. Nothing is kept of a key or session that does not wait.
#[derive(Debug, Default)]
pub(super) struct Lines {
    all: HashMap<LineId, Line>,
    keys: HashMap<u64, Key>,
    last_turn: Turn,
}

#[derive(Debug)]
struct Line {
    choice: Choice,
    keys: BTreeMap<Turn, KeyLine>,
}

/// One key's requests in one line.
#[derive(Debug, Default)]
struct KeyLine {
    key: u64,
    count: usize,
    sessions: BTreeMap<Turn, BTreeMap<u64, Arc<Notify>>>,
}

/// A key with requests in some lines.
#[derive(Debug)]
struct Key {
    turn: Turn,
    /// In all lines.
    count: usize,
    lines: BTreeSet<LineId>,
    sessions: HashMap<u64, Session>,
}

#[derive(Debug)]
struct Session {
    turn: Turn,
    lines: BTreeSet<LineId>,
}

/// What others wait for, as somebody sees it whose turn it is.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Others {
    ahead: Vec<Arc<[Bucket]>>,
    behind: Vec<Arc<[Bucket]>>,
}

impl Others {
    /// Has another one a right to the bucket first?
    pub(in crate::dispatch) fn claim(&self, bucket: Bucket) -> bool {
        Self::has(&self.ahead, bucket)
    }

    /// Would it serve another one who comes after?
    pub(in crate::dispatch) fn want(&self, bucket: Bucket) -> bool {
        Self::has(&self.behind, bucket)
    }

    fn has(lines: &[Arc<[Bucket]>], bucket: Bucket) -> bool {
        lines.iter().any(|it| it.binary_search(&bucket).is_ok())
    }
}

impl Choice {
    pub(in crate::dispatch) fn of(mut buckets: Vec<Bucket>) -> Self {
        buckets.sort_unstable();
        buckets.dedup();
        let mut hasher = DefaultHasher::new();
        buckets.hash(&mut hasher);
        Self { line: hasher.finish(), buckets: buckets.into() }
    }

    /// Does it share a bucket with `other`?
    fn overlaps(&self, other: &Self) -> bool {
        let fewer = self.buckets.len() < other.buckets.len();
        let (few, many) = if fewer { (self, other) } else { (other, self) };
        self.line == other.line
            || few.buckets.iter().any(|it| many.buckets.binary_search(it).is_ok())
    }
}

#[cfg(test)]
impl Choice {
    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }
}

impl Lines {
    pub(super) fn has(&self, choice: &Choice) -> bool {
        self.all.contains_key(&choice.line)
    }

    /// Puts a request behind the others of its session. `false`: there are too many of them.
    pub(super) fn join(&mut self, ticket: &Ticket, bell: Arc<Notify>) -> bool {
        let Ticket { choice, who, number } = ticket;
        if self.is_full(choice, *who) {
            return false;
        }
        let turns = &mut self.last_turn;
        let mut next = || {
            *turns += 1;
            *turns
        };
        let key = self.keys.entry(who.key).or_insert_with(|| Key {
            turn: next(),
            count: 0,
            lines: BTreeSet::new(),
            sessions: HashMap::new(),
        });
        let session = key
            .sessions
            .entry(who.session)
            .or_insert_with(|| Session { turn: next(), lines: BTreeSet::new() });
        key.count += 1;
        key.lines.insert(choice.line);
        session.lines.insert(choice.line);
        let new = || Line { choice: choice.clone(), keys: BTreeMap::new() };
        let line = self.all.entry(choice.line).or_insert_with(new);
        let mine = line.keys.entry(key.turn).or_default();
        mine.key = who.key;
        mine.count += 1;
        mine.sessions.entry(session.turn).or_default().insert(*number, bell);
        true
    }

    fn is_full(&self, choice: &Choice, who: Who) -> bool {
        let key = self.keys.get(&who.key);
        let session = self.key_line(choice, who).and_then(|(key, mine)| {
            key.sessions.get(&who.session).and_then(|it| mine.sessions.get(&it.turn))
        });
        key.is_some_and(|it| it.count >= MOST_OF_KEY)
            || session.is_some_and(|it| it.len() >= MOST_OF_SESSION)
    }

    fn key_line(&self, choice: &Choice, who: Who) -> Option<(&Key, &KeyLine)> {
        let key = self.keys.get(&who.key)?;
        let mine = self.all.get(&choice.line)?.keys.get(&key.turn)?;
        Some((key, mine))
    }

    /// Takes a request out; `served`: that was its key's turn, and its session's. `false`: it was not
    /// there.
    pub(super) fn leave(&mut self, ticket: &Ticket, served: bool) -> bool {
        let found = self.take_out(ticket).is_some();
        if found && served {
            self.end_turn(ticket.who);
        }
        found
    }

    fn take_out(&mut self, Ticket { choice, who, number }: &Ticket) -> Option<()> {
        let key = self.keys.get_mut(&who.key)?;
        let session = key.sessions.get_mut(&who.session)?;
        let line = self.all.get_mut(&choice.line)?;
        let mine = line.keys.get_mut(&key.turn)?;
        let waiters = mine.sessions.get_mut(&session.turn)?;
        waiters.remove(number)?;
        (mine.count, key.count) = (mine.count.saturating_sub(1), key.count.saturating_sub(1));
        if waiters.is_empty() {
            mine.sessions.remove(&session.turn);
            session.lines.remove(&choice.line);
        }
        if mine.sessions.is_empty() {
            line.keys.remove(&key.turn);
            key.lines.remove(&choice.line);
        }
        if line.keys.is_empty() {
            self.all.remove(&choice.line);
        }
        if session.lines.is_empty() {
            key.sessions.remove(&who.session);
        }
        if key.lines.is_empty() {
            self.keys.remove(&who.key);
        }
        Some(())
    }

    /// What else the key and the session have in any line stands behind all others now.
    fn end_turn(&mut self, who: Who) {
        let Some(key) = self.keys.get_mut(&who.key) else { return };
        let (mine, its) = (self.last_turn + 1, self.last_turn + 2);
        self.last_turn = its;
        let before = std::mem::replace(&mut key.turn, mine);
        let session = key.sessions.get_mut(&who.session);
        let its_before = session.map(|it| std::mem::replace(&mut it.turn, its));
        for line in &key.lines {
            let Some(line) = self.all.get_mut(line) else { continue };
            let Some(mut all) = line.keys.remove(&before) else { continue };
            if let Some(waiters) = its_before.and_then(|it| all.sessions.remove(&it)) {
                all.sessions.insert(its, waiters);
            }
            line.keys.insert(mine, all);
        }
    }

    /// Does this request come first in its line?
    pub(super) fn is_first(&self, ticket: &Ticket) -> bool {
        let first = self.all.get(&ticket.choice.line).and_then(Line::first);
        first.is_some_and(|((_, _, number), _)| number == ticket.number)
    }

    fn rank(&self, Ticket { who, number, .. }: &Ticket) -> Option<Rank> {
        let key = self.keys.get(&who.key)?;
        Some((key.turn, key.sessions.get(&who.session)?.turn, *number))
    }

    /// What those who come first in other lines wait for; before a request that stands in no line (`None`) all of
    /// them have a right to it.
    pub(super) fn others(&self, ticket: Option<&Ticket>) -> Others {
        let (mine, rank) = (ticket.map(|it| it.choice.line), ticket.and_then(|it| self.rank(it)));
        let mut others = Others::default();
        for (_, line) in self.all.iter().filter(|(id, _)| mine != Some(**id)) {
            let first = line.first().map(|(it, _)| it);
            let before = rank.is_none_or(|mine| first.is_some_and(|it| it < mine));
            let side = if before { &mut others.ahead } else { &mut others.behind };
            side.push(Arc::clone(&line.choice.buckets));
        }
        others
    }

    /// At least so many others of its line are served before a request, if all of them stay: keys have
    /// as many turns before its own, and one more where theirs comes first; the same holds for the
    /// sessions of a key. Who also waits in another line may have its turns there, and is not counted.
    /// `number`: its own, if it stands in line; without, one that would come now.
    pub(super) fn before(&self, choice: &Choice, who: Who, number: Option<u64>) -> u64 {
        let Some(line) = self.all.get(&choice.line) else { return 0 };
        let mine = self.key_line(choice, who);
        let turns = mine.map_or(0, |(key, mine)| {
            let turn = key.sessions.get(&who.session).map(|it| it.turn);
            let own = turn.and_then(|it| mine.sessions.get(&it));
            let own = own.map_or(0, |it| number.map_or(it.len(), |mine| it.range(..mine).count()));
            let others = mine.sessions.iter().filter(|(it, _)| Some(**it) != turn);
            let had = |(it, waiters): (&Turn, &BTreeMap<_, _>)| {
                waiters.len().min(own + usize::from(turn.is_none_or(|turn| *it < turn)))
            };
            own + if key.lines.len() == 1 { others.map(had).sum() } else { 0 }
        });
        let turn = mine.map(|(key, _)| key.turn);
        let only_here = |it: &KeyLine| {
            it.key != who.key && self.keys.get(&it.key).is_some_and(|key| key.lines.len() == 1)
        };
        let others = line.keys.iter().filter(|(_, it)| only_here(it));
        let had = |(it, key): (&Turn, &KeyLine)| {
            key.count.min(turns + usize::from(turn.is_none_or(|turn| *it < turn)))
        };
        u64::try_from(others.map(had).sum::<usize>() + turns).unwrap_or(u64::MAX)
    }

    /// Rings for those who come first in the lines that compete with `choice`, or in all.
    pub(super) fn ring(&self, choice: Option<&Choice>) {
        let concerns = |it: &&Line| choice.is_none_or(|choice| choice.overlaps(&it.choice));
        for line in self.all.values().filter(concerns) {
            if let Some((_, bell)) = line.first() {
                bell.notify_one();
            }
        }
    }

    /// Does nobody wait, and is nothing kept of anybody?
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.keys.is_empty()
    }
}

impl Line {
    fn first(&self) -> Option<(Rank, &Notify)> {
        let (turn, key) = self.keys.first_key_value()?;
        let (session, waiters) = key.sessions.first_key_value()?;
        let (number, bell) = waiters.first_key_value()?;
        Some(((*turn, *session, *number), bell))
    }
}
