//! What is remembered from one request to the next, all of it bounded: sizes of messages, digests of
//! history that was summed up, how well the conversations of sessions have
//! filled their models, and how models count.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::Hash;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::context::plan::Dynamic;
use crate::context::plan::float;
use crate::context::plan::share;
use crate::context::size::Size;
use crate::context::summary::Digest;
use crate::openai::Message;

/// Sizes remembered in each of two generations. One takes about 50 bytes.
const SIZES: usize = 32 * 1024;
/// Digests remembered in each of two generations. One takes some tens of KiB at the default budget;
/// those of larger budgets are fewer, see [`DIGEST_BYTES`].
const DIGESTS: usize = 64;
/// Bytes of all digests in one generation.
const DIGEST_BYTES: usize = 16 * 1024 * 1024;
/// Sessions remembered in each of two generations.
const SESSIONS: usize = 4 * 1024;
/// Models remembered in each of two generations.
const MODELS: usize = 4 * 1024;
/// The most by which a model's own tokens may outnumber those counted here; what seems to be more is
/// something else that the provider puts into the prompt.
const MOST_RATIO: f64 = 2.0;
/// How much one prompt moves a model's ratio.
const RATIO_WEIGHT: f64 = 0.2;

/// What a text is known by. Two with the same one do not occur: it has 128 bits, by keys that are
/// drawn anew with each start.
pub(super) type Fingerprint = (u64, u64);

/// What is remembered. Every operation takes constant time.
#[derive(Debug, Default)]
pub struct Memory {
    keys: (RandomState, RandomState),
    sizes: Mutex<Recent<Fingerprint, Size>>,
    digests: Mutex<Recent<Fingerprint, Arc<Digest>>>,
    boosts: Mutex<Recent<Fingerprint, f64>>,
    ratios: Mutex<Recent<Fingerprint, f64>>,
}

/// The most recently used entries: when as many new ones have come as there may be, those that were
/// not used meanwhile go.
#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Bytes of the young ones, as far as they are told.
    bytes: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), bytes: 0 }
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn put(&mut self, key: K, value: V, (most, bytes): (usize, usize)) {
        self.bytes += bytes;
        self.young.insert(key, value);
        if self.young.len() >= most || self.bytes > DIGEST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
    }
}

impl Memory {
    pub(super) fn fingerprint(&self, what: impl Hash) -> Fingerprint {
        (self.keys.0.hash_one(&what), self.keys.1.hash_one(&what))
    }

    /// The size of a message, counted unless it was before.
    pub fn size(&self, message: &Message<'_>) -> Size {
        let key = self.fingerprint(message.json);
        if let Some(known) = lock(&self.sizes).get(&key) {
            return known;
        }
        let size = Size::of(message);
        lock(&self.sizes).put(key, size, (SIZES, 0));
        size
    }

    pub(super) fn digest(&self, key: &Fingerprint) -> Option<Arc<Digest>> {
        lock(&self.digests).get(key)
    }

    pub(super) fn keep_digest(&self, key: Fingerprint, digest: Arc<Digest>) {
        let bytes = digest.bytes();
        lock(&self.digests).put(key, digest, (DIGESTS, bytes));
    }

    /// The part of `budget` that may be filled with tokens as they are counted here, by what the
    /// model's own figures have shown. Never more than the budget.
    pub fn counted(&self, model: impl Hash, budget: u64) -> u64 {
        let ratio = lock(&self.ratios).get(&self.fingerprint(model)).unwrap_or(1.0);
        if ratio <= 1.0 { budget } else { share(budget, 1.0 / ratio) }
    }

    /// A prompt of so many tokens as they are `counted` here really had so many for the model.
    pub fn learn(&self, model: impl Hash, counted: u64, real: u64) {
        if counted == 0 || real == 0 {
            return;
        }
        let key = self.fingerprint(model);
        let sample = (float(real) / float(counted)).clamp(1.0 / MOST_RATIO, MOST_RATIO);
        let mut ratios = lock(&self.ratios);
        let ratio = ratios.get(&key).unwrap_or(1.0);
        ratios.put(key, ratio + (sample - ratio) * RATIO_WEIGHT, (MODELS, 0));
    }

    /// By how much the window of a session is wider (or narrower) than the settings say, in dynamic
    /// mode; 1 for one that nothing is known of.
    pub fn boost(&self, session: &str) -> f64 {
        lock(&self.boosts).get(&self.fingerprint(session)).unwrap_or(1.0)
    }

    /// An answer of a session has been settled: its prompt took `used` tokens of the `headroom` it
    /// had.
    pub fn settled(&self, session: &str, (used, headroom): (u64, u64), dynamic: &Dynamic) {
        let key = self.fingerprint(session);
        let mut boosts = lock(&self.boosts);
        let next = dynamic.next(boosts.get(&key).unwrap_or(1.0), used, headroom);
        boosts.put(key, next, (SESSIONS, 0));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_counts_more_gets_less() {
        let memory = Memory::default();
        assert_eq!(memory.counted(1, 1_000), 1_000);
        (0..50).for_each(|_| memory.learn(1, 1_000, 1_250));
        assert!((799..=801).contains(&memory.counted(1, 1_000)), "{}", memory.counted(1, 1_000));
        (0..50).for_each(|_| memory.learn(2, 1_000, 500));
        assert_eq!(memory.counted(2, 1_000), 1_000);
        (0..50).for_each(|_| memory.learn(3, 10, 10_000));
        assert!((500..=501).contains(&memory.counted(3, 1_000)));
        memory.learn(3, 0, 5);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut recent: Recent<u32, u32> = Recent::default();
        for i in 0..100 {
            recent.put(i, i, (10, 0));
            if let Some(used) = recent.get(&0) {
                recent.put(0, used, (10, 0));
            }
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!((recent.get(&0), recent.get(&50)), (Some(0), None));
        let mut heavy: Recent<u32, u32> = Recent::default();
        (0..100).for_each(|i| heavy.put(i, i, (1_000, DIGEST_BYTES / 4)));
        assert!(heavy.young.len() + heavy.old.len() <= 10);
    }
}
