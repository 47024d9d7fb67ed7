//! All virtual keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::callers::PREFIX;
use crate::callers::counts::Counts;
use crate::callers::counts::SavedCounts;
use crate::callers::key::Digest;
use crate::callers::key::Standing;
use crate::callers::key::VirtualKey;
use crate::callers::key::hex;
use crate::callers::terms::Terms;
use crate::clock::Now;

/// Keys there may be, those that are no longer taken included.
const MOST: usize = 100_000;

/// A key that a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The key itself, hashed.
    pub digest: Digest,
    /// What it allows.
    pub terms: Arc<Terms>,
}

/// A key that was made here, as it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedKey {
    /// The key itself, hashed.
    pub digest: Digest,
    /// What it allows.
    pub terms: Arc<Terms>,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// When it was taken back.
    pub revoked_unix_ms: Option<u64>,
}

/// No key more can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A file declares the key, so it can only be taken back there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsDeclared;

/// Several keys have this label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// Their ids.
    pub ids: Vec<String>,
}

type Keys = HashMap<Digest, Arc<VirtualKey>>;

/// All virtual keys: those that were made here, also when they are no longer taken, and those that a
/// file declares.
#[derive(Debug, Default)]
pub struct Callers {
    keys: RwLock<Keys>,
    /// What keys have used, also those that no file declares any more.
    counts: Mutex<HashMap<Digest, Arc<Counts>>>,
    /// Is it known that there have been keys which are not among these any more?
    had_others: AtomicBool,
}

impl Callers {
    /// Without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is there none, and was there none? From the first one on a caller has to show one, and that
    /// does not end because the last was taken back.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty() && !self.had_others.load(Ordering::Acquire)
    }

    /// There have been keys, whether or not there are any now.
    pub fn had_others(&self) {
        self.had_others.store(true, Ordering::Release);
    }

    /// The key that was shown, whatever its standing.
    pub fn find(&self, shown: &[u8]) -> Option<Arc<VirtualKey>> {
        let digest = Digest::of(shown);
        self.read().get(&digest).cloned()
    }

    /// Makes a key of 160 random bits: the key itself, which nobody can show again, and what is known of
    /// it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn issue(
        &self,
        terms: Terms,
        random: [u8; 20],
        now: Now,
    ) -> Result<(String, Arc<VirtualKey>), Full> {
        let secret = format!("{PREFIX}{}", hex(&random));
        let digest = Digest::of(secret.as_bytes());
        let mut keys = self.write();
        if keys.len() >= MOST {
            let forgotten = make_room(&mut keys, now)?;
            self.lock_counts().remove(&forgotten);
        }
        let key = VirtualKey::new(self.counts_of(digest), digest, Arc::new(terms));
        let key = Arc::new(key.made(now.unix_ms));
        keys.insert(digest, Arc::clone(&key));
        Ok((secret, key))
    }

    /// Undoes [`issue`](Self::issue) for a key that could not be kept.
    pub fn withdraw(&self, key: &VirtualKey) {
        self.write().remove(&key.digest);
        self.lock_counts().remove(&key.digest);
    }

    /// Takes a key back. Requests under way go on.
    ///
    /// # Errors
    /// [`IsDeclared`].
    pub fn revoke(&self, key: &VirtualKey, now: Now) -> Result<(), IsDeclared> {
        if key.is_declared() {
            return Err(IsDeclared);
        }
        key.revoke(now.unix_ms);
        Ok(())
    }

    /// All of them, by label.
    pub fn list(&self) -> Vec<Arc<VirtualKey>> {
        let mut list: Vec<_> = self.read().values().cloned().collect();
        list.sort_by(|a, b| {
            let place = |it: &VirtualKey| (it.created_unix_ms, it.digest);
            a.terms.label.cmp(&b.terms.label).then_with(|| place(a).cmp(&place(b)))
        });
        list
    }

    /// The key of this id, or the one key of this label. Of several, the one that is still taken.
    ///
    /// # Errors
    /// [`Ambiguous`].
    pub fn named(&self, name: &str, now: Now) -> Result<Option<Arc<VirtualKey>>, Ambiguous> {
        let mut found: Vec<Arc<VirtualKey>> = Vec::new();
        for key in self.read().values() {
            if *key.id == *name {
                return Ok(Some(Arc::clone(key)));
            }
            if *key.terms.label == *name {
                found.push(Arc::clone(key));
            }
        }
        let good = |it: &&Arc<VirtualKey>| it.standing(now) == Standing::Good;
        match (found.as_slice(), found.iter().filter(good).collect::<Vec<_>>().as_slice()) {
            ([], _) => Ok(None),
            ([only], _) => Ok(Some(Arc::clone(only))),
            (_, [only]) => Ok(Some(Arc::clone(only))),
            _ => {
                let mut ids: Vec<String> = found.iter().map(|it| it.id.to_string()).collect();
                ids.sort();
                Err(Ambiguous { ids })
            }
        }
    }

    /// Makes these the keys that a file declares. What a key has used stays, whatever it allows
    /// from now on, and also while it is not declared.
    pub fn declare(&self, declared: impl IntoIterator<Item = Declared>) {
        let declared: Vec<_> = declared
            .into_iter()
            .map(|it| (it.digest, VirtualKey::new(self.counts_of(it.digest), it.digest, it.terms)))
            .collect();
        let mut keys = self.write();
        let before = keys.len();
        keys.retain(|_, it| !it.is_declared());
        if keys.len() < before {
            self.had_others();
        }
        for (digest, key) in declared {
            // A file can't take the place of a key that was made here.
            keys.entry(digest).or_insert_with(|| Arc::new(key));
        }
    }

    /// The keys that were made here, and what all keys have used.
    pub fn snapshot(&self, now: Now) -> (Vec<SavedKey>, Vec<SavedCounts>) {
        let save = |it: &VirtualKey| {
            Some(SavedKey {
                digest: it.digest,
                terms: Arc::clone(&it.terms),
                created_unix_ms: it.created_unix_ms?,
                revoked_unix_ms: it.revoked_unix_ms(),
            })
        };
        let keys = self.read().values().filter_map(|it| save(it)).collect();
        let counts: Vec<_> = self.lock_counts().values().cloned().collect();
        (keys, counts.iter().filter_map(|it| it.save(now)).collect())
    }

    /// Adds what an earlier process saved.
    pub fn restore(&self, (saved, counts): (Vec<SavedKey>, Vec<SavedCounts>), now: Now) {
        for it in &counts {
            self.counts_of(it.digest).restore(it, now);
        }
        let mut keys = self.write();
        for it in saved {
            let key = VirtualKey::new(self.counts_of(it.digest), it.digest, it.terms);
            let key = key.made(it.created_unix_ms);
            if let Some(time) = it.revoked_unix_ms {
                key.revoke(time);
            }
            keys.entry(it.digest).or_insert_with(|| Arc::new(key));
        }
    }

    fn counts_of(&self, digest: Digest) -> Arc<Counts> {
        let mut counts = self.lock_counts();
        Arc::clone(counts.entry(digest).or_insert_with(|| Counts::new(digest)))
    }

    fn lock_counts(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Counts>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the oldest key that is no longer taken.
fn make_room(keys: &mut Keys, now: Now) -> Result<Digest, Full> {
    let done = keys.values().filter(|it| !it.is_declared() && it.standing(now) != Standing::Good);
    let oldest = done.min_by_key(|it| it.created_unix_ms).map(|it| it.digest).ok_or(Full)?;
    keys.remove(&oldest);
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::callers::tab::Tab;
    use crate::usage::Spent;

    const NOW: Now = Now { monotonic: Duration::from_secs(5), unix_ms: 1_780_000_000_000 };
    const SPENT: Spent = Spent { prompt: 20, completion: 10, estimated: true };

    fn terms(label: &str, requests: u64) -> Terms {
        Terms {
            label: label.into(),
            daily_requests: Some(requests),
            daily_tokens: None,
            models: None,
            expires_unix_ms: Some(NOW.unix_ms + 1_000),
            no_training: false,
        }
    }

    fn declared(key: &str, requests: u64) -> Declared {
        Declared {
            digest: Digest::of(key.as_bytes()),
            terms: Arc::new(terms("declared", requests)),
        }
    }

    fn answered(key: &Arc<VirtualKey>) -> bool {
        let tab = Tab::open(key, (10, 1_000), NOW);
        tab.inspect(|it| it.record(SPENT)).is_ok()
    }

    #[test]
    fn a_key_is_found_by_itself_alone() {
        let callers = Callers::new();
        assert!(callers.is_empty());
        let (secret, key) = callers.issue(terms("a", 1), [7; 20], NOW).unwrap();
        assert_eq!(secret, format!("sk-relay-{}", "07".repeat(20)));
        assert_eq!(callers.find(secret.as_bytes()).unwrap().id, key.id);
        for wrong in [&secret[..secret.len() - 1], "", &secret.to_uppercase(), &key.id] {
            assert!(callers.find(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_eq!(key.standing(NOW), Standing::Good);
        assert_eq!(key.standing(NOW.plus(Duration::from_secs(1))), Standing::Expired);
        callers.revoke(&key, NOW).unwrap();
        assert_eq!(key.standing(NOW), Standing::Revoked);
        assert!(!callers.is_empty());
    }

    #[test]
    fn what_delivers_nothing_costs_nothing() {
        let callers = Callers::new();
        let (_, key) = callers.issue(terms("a", 2), [7; 20], NOW).unwrap();
        let tab = Tab::open(&key, (10, 1_000), NOW).unwrap();
        assert_eq!(key.budget().used(NOW), [1, 1_000]);
        drop(tab);
        assert_eq!(key.budget().used(NOW), [0, 0]);
        assert_eq!(key.total().requests, 0);
        // Two calls of one request.
        let tab = Tab::open(&key, (10, 1_000), NOW).unwrap();
        tab.record(SPENT);
        tab.record(Spent { estimated: false, ..SPENT });
        drop(tab);
        assert_eq!(key.budget().used(NOW), [1, 60]);
        let total = key.total();
        assert_eq!((total.requests, total.estimated_requests), (1, 1));
        assert_eq!((total.prompt_tokens, total.completion_tokens), (40, 20));
        assert!(answered(&key));
        assert!(!answered(&key));
    }

    #[test]
    fn counts_stay_when_a_file_declares_anew() {
        let callers = Callers::new();
        callers.declare([declared("sk-freellm-a", 2)]);
        let key = callers.find(b"sk-freellm-a").unwrap();
        assert!(answered(&key) && answered(&key) && !answered(&key));
        assert_eq!(callers.revoke(&key, NOW), Err(IsDeclared));
        callers.declare([]);
        assert!(callers.find(b"sk-freellm-a").is_none());
        callers.declare([declared("sk-freellm-a", 3)]);
        let key = callers.find(b"sk-freellm-a").unwrap();
        assert!(answered(&key) && !answered(&key));
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let before = Callers::new();
        let (secret, key) = before.issue(terms("a", 3), [7; 20], NOW).unwrap();
        let (gone, revoked) = before.issue(terms("b", 3), [8; 20], NOW).unwrap();
        before.declare([declared("sk-freellm-a", 2)]);
        let open = Tab::open(&key, (10, 10), NOW).unwrap();
        assert!(answered(&key) && answered(&before.find(b"sk-freellm-a").unwrap()));
        before.revoke(&revoked, NOW).unwrap();

        let after = Callers::new();
        after.restore(before.snapshot(NOW), NOW);
        after.declare([declared("sk-freellm-a", 2)]);
        drop(open);
        let key = after.find(secret.as_bytes()).unwrap();
        assert_eq!(key.terms.label, terms("a", 3).label);
        assert_eq!(key.total().requests, 1);
        // What was under way has come to nothing.
        assert!(answered(&key) && answered(&key) && !answered(&key));
        assert_eq!(after.find(gone.as_bytes()).unwrap().standing(NOW), Standing::Revoked);
        let declared = after.find(b"sk-freellm-a").unwrap();
        assert!(answered(&declared) && !answered(&declared));
    }

    #[test]
    fn a_key_is_named_by_id_or_by_label() {
        let callers = Callers::new();
        let make = |label, byte| callers.issue(terms(label, 1), [byte; 20], NOW).unwrap().1;
        let (a, b, other) = (make("a", 1), make("b", 2), make("b", 3));
        let check = |name: &str, expected: Option<&Arc<VirtualKey>>| {
            let found = callers.named(name, NOW).unwrap();
            assert_eq!(found.map(|it| Arc::clone(&it.id)), expected.map(|it| Arc::clone(&it.id)));
        };
        check("a", Some(&a));
        check(&b.id, Some(&b));
        check("c", None);
        assert_eq!(callers.named("b", NOW).unwrap_err().ids.len(), 2);
        callers.revoke(&b, NOW).unwrap();
        check("b", Some(&other));
    }

    #[test]
    fn room_is_made_by_forgetting_what_is_no_longer_taken() {
        let callers = Callers::new();
        let (secret, old) = callers.issue(terms("old", 1), [1; 20], NOW).unwrap();
        let mut keys: Keys = std::mem::take(&mut *callers.write());
        assert_eq!(make_room(&mut keys, NOW), Err(Full));
        callers.revoke(&old, NOW).unwrap();
        assert_eq!(make_room(&mut keys, NOW), Ok(Digest::of(secret.as_bytes())));
        assert!(keys.is_empty() && callers.find(secret.as_bytes()).is_none());
    }

    #[test]
    fn it_is_remembered_that_there_were_keys() {
        let callers = Callers::new();
        callers.declare([]);
        assert!(callers.is_empty());
        callers.declare([declared("a", 1)]);
        assert!(!callers.is_empty());
        callers.declare([]);
        assert!(!callers.is_empty() && callers.list().is_empty());
        let callers = Callers::new();
        callers.had_others();
        assert!(!callers.is_empty());
    }

    #[test]
    fn a_file_does_not_revive_a_key_that_was_made_here() {
        let callers = Callers::new();
        let (secret, key) = callers.issue(terms("a", 1), [7; 20], NOW).unwrap();
        callers.revoke(&key, NOW).unwrap();
        callers.declare([declared(&secret, 5)]);
        assert_eq!(callers.find(secret.as_bytes()).unwrap().standing(NOW), Standing::Revoked);
        callers.declare([]);
        assert!(callers.find(secret.as_bytes()).is_some());
    }
}
