//! What models thought before they called a tool, kept for clients that send back the call alone.
//!
//! Gemini 3 refuses its own calls without their thought signature, and Anthropic's models think on
//! after a tool's result only if their last thought comes back with its signature. OpenAI's shape
//! has no place for either, and most of its clients keep no more than that shape.
//!
//! A thought is found again only by the key and the model it came from: whether a signature is good
//! for another key of the same provider is documented nowhere, and for another model it isn't.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::clock::Now;

/// How long a thought is kept after it was last asked for. A tool loop asks again within seconds; an
/// hour holds the pause in which a person is asked whether a call may be made. Later the call is
/// replayed without, which costs some of the answer's quality and nothing else.
const KEPT: Duration = Duration::from_secs(3_600);
/// The most thoughts kept, and the bytes they may take in all; those asked for longest ago go first. Signatures have some KiB each,
/// thoughts written out up to some hundred.
const MOST: usize = 4_096;
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// What an entry takes beside its texts, about.
const OVERHEAD: usize = 256;

/// The thoughts of all models of one client.
pub(super) struct Thoughts {
    kept: Mutex<Kept>,
    /// With keys of its own, so that what stands for a secret says nothing of it.
    hasher: RandomState,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// The one that was not asked for longest first. A key stands here more than once; the entry's
    /// number tells which counts.
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    next: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    secret: u64,
    model: Arc<str>,
    call: Arc<str>,
}

struct Entry {
    number: u64,
    since: Duration,
    thought: Arc<str>,
}

impl Thoughts {
    /// None yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), hasher: RandomState::new() })
    }

    /// The shelf for what `model` thinks when it is asked with this key.
    pub(super) fn shelf(self: &Arc<Self>, secret: Option<&SecretString>, model: &str) -> Shelf {
        let secret = self.hasher.hash_one(secret.map(ExposeSecret::expose_secret));
        Shelf { thoughts: Arc::clone(self), secret, model: model.into() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the thoughts of one model under one key stand.
#[derive(Clone)]
pub(super) struct Shelf {
    thoughts: Arc<Thoughts>,
    secret: u64,
    model: Arc<str>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Shelf {
    /// The model whose thoughts stand here.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Keeps what led to the call of that id.
    pub(super) fn keep(&self, call: &str, thought: &str, now: Now) {
        self.thoughts.lock().keep(&self.key(call), thought.into(), now.monotonic);
    }

    /// What led to the call of that id, if it is still here.
    pub(super) fn find(&self, call: &str, now: Now) -> Option<Arc<str>> {
        self.thoughts.lock().find(&self.key(call), now.monotonic)
    }

    fn key(&self, call: &str) -> Key {
        Key { secret: self.secret, model: Arc::clone(&self.model), call: call.into() }
    }
}

impl Kept {
    fn keep(&mut self, key: &Key, thought: Arc<str>, now: Duration) {
        let size = size(key, &thought);
        if size > MOST_BYTES / 16 {
            return;
        }
        self.drop_old(now);
        self.bytes += size;
        let entry = Entry { number: 0, since: now, thought };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.bytes -= self::size(key, &before.thought);
        }
        self.renew(key, now);
        while self.entries.len() > MOST || self.bytes > MOST_BYTES {
            self.drop_oldest();
        }
    }

    fn find(&mut self, key: &Key, now: Duration) -> Option<Arc<str>> {
        self.drop_old(now);
        self.renew(key, now)
    }

    /// Puts the key's entry last in the order.
    fn renew(&mut self, key: &Key, now: Duration) -> Option<Arc<str>> {
        let entry = self.entries.get_mut(key)?;
        self.next += 1;
        entry.number = self.next;
        entry.since = now;
        let thought = Arc::clone(&entry.thought);
        self.order.push_back((self.next, key.clone()));
        if self.order.len() > 2 * self.entries.len() + 16 {
            let counts = |(number, key): &(u64, Key)| {
                self.entries.get(key).is_some_and(|it| it.number == *number)
            };
            self.order.retain(counts);
        }
        Some(thought)
    }

    fn drop_old(&mut self, now: Duration) {
        while let Some((number, key)) = self.order.front() {
            let entry = self.entries.get(key).filter(|it| it.number == *number);
            if entry.is_some_and(|it| now.saturating_sub(it.since) <= KEPT) {
                return;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((number, key)) = self.order.pop_front() else { return };
        if self.entries.get(&key).is_some_and(|it| it.number == number)
            && let Some(entry) = self.entries.remove(&key)
        {
            self.bytes -= size(&key, &entry.thought);
        }
    }
}

fn size(key: &Key, thought: &str) -> usize {
    // The model's name is shared.
    OVERHEAD + key.call.len() + thought.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now::default().plus(Duration::from_secs(seconds))
    }

    fn found(shelf: &Shelf, call: &str, seconds: u64) -> Option<String> {
        shelf.find(call, at(seconds)).map(|it| it.as_ref().to_owned())
    }

    #[test]
    fn a_thought_is_found_by_its_own_key_and_model_alone() {
        let thoughts = Thoughts::new();
        let (one, two) = (SecretString::from("k1"), SecretString::from("k2"));
        let shelf = thoughts.shelf(Some(&one), "m");
        shelf.keep("c", "t", at(0));
        assert_eq!(found(&thoughts.shelf(Some(&one), "m"), "c", 1).as_deref(), Some("t"));
        for other in [
            thoughts.shelf(Some(&two), "m"),
            thoughts.shelf(Some(&one), "m2"),
            thoughts.shelf(None, "m"),
            Thoughts::new().shelf(Some(&one), "m"),
        ] {
            assert_eq!(found(&other, "c", 1), None, "{other:?}");
        }
        assert_eq!(found(&shelf, "d", 1), None);
        assert!(!format!("{shelf:?}").contains("k1"));
    }

    #[test]
    fn it_is_kept_for_an_hour_since_it_was_asked_for_last() {
        let shelf = Thoughts::new().shelf(None, "m");
        shelf.keep("c", "old", at(0));
        shelf.keep("c", "new", at(1_800));
        shelf.keep("d", "other", at(1_900));
        assert_eq!(found(&shelf, "c", 5_400).as_deref(), Some("new"));
        assert_eq!(found(&shelf, "d", 5_501), None);
        assert_eq!(found(&shelf, "c", 9_000).as_deref(), Some("new"));
        assert_eq!(found(&shelf, "c", 12_601), None);
        let kept = shelf.thoughts.lock();
        assert_eq!((kept.entries.len(), kept.order.len(), kept.bytes), (0, 0, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large() {
        let shelf = Thoughts::new().shelf(None, "m");
        for nth in 0..MOST + 10 {
            shelf.keep(&format!("c{nth}"), "t", at(0));
        }
        assert_eq!(found(&shelf, "c9", 0), None);
        assert_eq!(found(&shelf, "c10", 0).as_deref(), Some("t"));
        let large = "x".repeat(900_000);
        for nth in 0..40 {
            shelf.keep(&format!("l{nth}"), &large, at(0));
        }
        assert!(shelf.thoughts.lock().bytes <= MOST_BYTES);
        assert!(found(&shelf, "l39", 0).is_some() && found(&shelf, "c4000", 0).is_none());
        shelf.keep("huge", &"x".repeat(MOST_BYTES / 16), at(0));
        assert_eq!(found(&shelf, "huge", 0), None);
        for _ in 0..3 * MOST {
            shelf.keep("same", "t", at(0));
            assert!(found(&shelf, "l39", 0).is_some());
        }
        let kept = shelf.thoughts.lock();
        assert!(kept.order.len() <= 2 * kept.entries.len() + 16);
    }
}
