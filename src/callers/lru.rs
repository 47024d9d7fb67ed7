//! A bounded memory that forgets what was unused for longest.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::Hash;

/// At most so many values, by key.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    most: usize,
    values: HashMap<K, Held<V>>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, K>,
    /// Uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    used: u64,
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    /// `most`: from 1 on.
    pub(super) fn new(most: usize) -> Self {
        Self { most, values: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    /// The value of `key`, which is now the one used last; a new one where there is none.
    pub(super) fn of(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        let used = self.uses;
        if let Some(held) = self.values.get(&key) {
            self.order.remove(&held.used);
        } else if self.values.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.order.insert(used, key.clone());
        let held = self.values.entry(key).or_insert_with(|| Held { value: new(), used });
        held.used = used;
        &mut held.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unused_for_longest_is_forgotten() {
        let mut lru = Lru::new(2);
        let mut check = |key: &str, expected: u32| {
            let value = lru.of(key.to_owned(), || 0);
            *value += 1;
            assert_eq!(*value, expected, "{key}");
            assert!(lru.values.len() <= 2 && lru.order.len() == lru.values.len());
        };
        check("a", 1);
        check("b", 1);
        check("a", 2);
        check("c", 1);
        check("a", 3);
        check("b", 1);
        check("c", 1);
    }
}
