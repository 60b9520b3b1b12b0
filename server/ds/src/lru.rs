//! A map with an order of use: lookup, insertion and eviction in constant time.
//! Never evicts by itself; the owner says which entries may go.

use std::collections::HashMap;
use std::hash::Hash;

use slab::Slab;

#[derive(Debug)]
pub struct Lru<K, V> {
    index: HashMap<K, usize>,
    entries: Slab<Entry<K, V>>,
    newest: Option<usize>,
    oldest: Option<usize>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    newer: Option<usize>,
    older: Option<usize>,
}

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        Self {
            index: HashMap::new(),
            entries: Slab::new(),
            newest: None,
            oldest: None,
        }
    }
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks up, and counts as a use.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let at = *self.index.get(key)?;
        if self.newest != Some(at) {
            self.unlink(at);
            self.link_newest(at);
        }
        Some(&self.entries[at].value)
    }

    /// Adds an entry as the newest, and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let replaced = self.remove(&key);
        let at = self.entries.insert(Entry {
            key,
            value,
            newer: None,
            older: None,
        });
        self.index.insert(key, at);
        self.link_newest(at);
        replaced
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.index.remove(key)?;
        self.unlink(at);
        Some(self.entries.remove(at).value)
    }

    /// Takes out the oldest entry that `may_go`. Looks at `tries` at most; those that stay count as
    /// used, so that the next search starts elsewhere.
    pub fn evict(&mut self, tries: usize, may_go: impl Fn(&V) -> bool) -> Option<V> {
        for _ in 0..tries {
            let at = self.oldest?;
            let key = self.entries[at].key;
            if may_go(&self.entries[at].value) {
                return self.remove(&key);
            }
            self.unlink(at);
            self.link_newest(at);
        }
        None
    }

    fn unlink(&mut self, at: usize) {
        let (newer, older) = (self.entries[at].newer, self.entries[at].older);
        match newer {
            Some(newer) => self.entries[newer].older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.entries[older].newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: usize) {
        let before = self.newest.replace(at);
        self.entries[at].newer = None;
        self.entries[at].older = before;
        match before {
            Some(before) => self.entries[before].newer = Some(at),
            None => self.oldest = Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_entry_unused_for_longest_goes_first() {
        let mut lru = Lru::default();
        for key in 0..3 {
            lru.insert(key, key * 10);
        }
        assert_eq!(lru.get(&0), Some(&0));
        assert_eq!(lru.evict(3, |_| true), Some(10));
        assert_eq!(lru.evict(3, |value| *value != 20), Some(0));
        assert_eq!(lru.evict(3, |_| false), None);
        assert_eq!(lru.len(), 1);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(steps in proptest::collection::vec((0..4_u8, 0..6_u8), 0..200)) {
            let mut lru = Lru::default();
            let mut model: Vec<u8> = Vec::new();
            for (step, key) in steps {
                match step {
                    0 => {
                        lru.insert(key, key);
                        model.retain(|k| *k != key);
                        model.push(key);
                    }
                    1 => {
                        prop_assert_eq!(lru.get(&key).copied(), model.contains(&key).then_some(key));
                        if model.contains(&key) {
                            model.retain(|k| *k != key);
                            model.push(key);
                        }
                    }
                    2 => {
                        prop_assert_eq!(lru.remove(&key), model.contains(&key).then_some(key));
                        model.retain(|k| *k != key);
                    }
                    _ => {
                        let oldest = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(lru.evict(1, |_| true), oldest);
                    }
                }
                prop_assert_eq!(lru.len(), model.len());
            }
        }
    }
}
