//! A slab with generations, so that an index kept by a client outlives its entry harmlessly,
//! and the keyed hash maps of the state. Nothing here knows what it holds.

use std::collections::HashMap;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// Hashing keyed by the boot's seed: clients choose owner names, and must not choose collisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed(u64, u64);

impl Keyed {
    pub(super) fn new(seed: u64) -> Self {
        Keyed(seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// For lookups alone: its order of iteration must decide nothing.
pub(super) type Map<K, V> = HashMap<K, V, Keyed>;

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Entries by a dense index. An index is used again, its generation is not.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    /// Stateids carry the index in 28 bits.
    pub(super) const CAPACITY: usize = 1 << 28;

    pub(super) fn new() -> Self {
        Table {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= Self::CAPACITY
    }

    /// The index of the new entry. The caller has looked at `is_full`.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize].value = Some(value);
            return index;
        }
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            generation: 1,
            value: Some(value),
        });
        index
    }

    pub(super) fn generation(&self, index: u32) -> u32 {
        self.entries
            .get(index as usize)
            .map_or(0, |entry| entry.generation)
    }

    /// The entry at `index`, if it is still of that generation.
    pub(super) fn get(&self, index: u32, generation: u32) -> Option<&T> {
        let entry = self.entries.get(index as usize)?;
        (entry.generation == generation)
            .then_some(entry.value.as_ref())
            .flatten()
    }

    pub(super) fn at(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.value.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.value.as_mut()
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1).max(1);
        self.free.push(index);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_kept_too_long_does_not_find_the_next_entry() {
        let mut table = Table::new();
        let first = table.insert("first");
        let generation = table.generation(first);
        assert_eq!(table.get(first, generation), Some(&"first"));
        table.remove(first);
        let second = table.insert("second");
        assert_eq!(first, second, "the slab is dense");
        assert_eq!(table.get(first, generation), None);
        assert_eq!(table.len(), 1);
    }
}
