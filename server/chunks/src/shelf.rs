//! Which chunks are kept and which go: three queues, so that what is read once doesn't push out what
//! is read again and again. Newcomers wait in a small queue; who is asked for there again moves to the
//! main one, and so does who comes back soon after it went.
//!
//! Pure: bytes are numbers here, and time is an argument. Never here: files.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Another use of an entry counts after so long: a stream reads one chunk by many READs.
const ANOTHER_USE_MILLIS: u64 = 2000;
const USES_COUNTED: u8 = 3;
/// Of all bytes, those that newcomers have.
const NEWCOMERS: u64 = 10;
/// Keys remembered that went, besides as many as there are entries.
const GONE_LEAST: usize = 1024;

#[derive(Debug)]
struct Entry {
    bytes: u64,
    uses: u8,
    used_millis: u64,
    main: bool,
    /// Tells this entry's place in a queue from one that it had before.
    turn: u64,
}

#[derive(Debug)]
pub struct Shelf<K> {
    most: u64,
    held: u64,
    small_bytes: u64,
    entries: HashMap<K, Entry>,
    small: VecDeque<(K, u64)>,
    main: VecDeque<(K, u64)>,
    gone: VecDeque<K>,
    gone_set: HashSet<K>,
    turns: u64,
}

impl<K: Copy + Eq + Hash> Shelf<K> {
    /// Never holds more than `most` bytes.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            held: 0,
            small_bytes: 0,
            entries: HashMap::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            gone: VecDeque::new(),
            gone_set: HashSet::new(),
            turns: 0,
        }
    }

    pub fn held(&self) -> u64 {
        self.held
    }

    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Notes a use; whether it is there.
    pub fn touch(&mut self, key: &K, now_millis: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if now_millis.saturating_sub(entry.used_millis) >= ANOTHER_USE_MILLIS {
            entry.used_millis = now_millis;
            entry.uses = (entry.uses + 1).min(USES_COUNTED);
        }
        true
    }

    /// Takes it in, and gives who had to go for it; `None`: it is larger than all there is.
    pub fn insert(&mut self, key: K, bytes: u64, now_millis: u64) -> Option<Vec<K>> {
        if bytes > self.most {
            return None;
        }
        self.remove(&key);
        let mut out = Vec::new();
        while self.held + bytes > self.most {
            out.extend(self.evict());
        }
        let main = self.gone_set.contains(&key);
        self.turns += 1;
        let entry = Entry {
            bytes,
            uses: 0,
            used_millis: now_millis,
            main,
            turn: self.turns,
        };
        self.entries.insert(key, entry);
        self.held += bytes;
        if main {
            self.main.push_back((key, self.turns));
        } else {
            self.small_bytes += bytes;
            self.small.push_back((key, self.turns));
        }
        self.tidy();
        Some(out)
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.held -= entry.bytes;
        if !entry.main {
            self.small_bytes -= entry.bytes;
        }
        true
    }

    /// One step: somebody goes, or moves up.
    fn evict(&mut self) -> Option<K> {
        let from_small = self.small_bytes > self.most / NEWCOMERS || self.main.is_empty();
        let queue = if from_small {
            &mut self.small
        } else {
            &mut self.main
        };
        let (key, turn) = queue.pop_front()?;
        let entry = self
            .entries
            .get_mut(&key)
            .filter(|entry| entry.turn == turn)?;
        if entry.uses > 0 {
            if from_small {
                entry.uses = 0;
                entry.main = true;
                self.small_bytes -= entry.bytes;
            } else {
                entry.uses -= 1;
            }
            self.main.push_back((key, turn));
            return None;
        }
        self.remove(&key);
        if self.gone_set.insert(key) {
            self.gone.push_back(key);
        }
        while self.gone.len() > self.entries.len() + GONE_LEAST {
            if let Some(forgotten) = self.gone.pop_front() {
                self.gone_set.remove(&forgotten);
            }
        }
        Some(key)
    }

    /// Places of those who left by themselves don't pile up.
    fn tidy(&mut self) {
        let entries = &self.entries;
        let stands = |(key, turn): &(K, u64)| entries.get(key).is_some_and(|e| e.turn == *turn);
        if self.small.len() + self.main.len() > 2 * entries.len() + GONE_LEAST {
            self.small.retain(stands);
            self.main.retain(stands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LATER: u64 = ANOTHER_USE_MILLIS;

    #[test]
    fn a_scan_does_not_push_out_what_is_read_again_and_again() {
        let mut shelf = Shelf::new(100);
        let mut now = 0;
        for hot in 0..50_u32 {
            shelf.insert(hot, 1, now);
        }
        now += LATER;
        for hot in 0..50 {
            assert!(shelf.touch(&hot, now));
        }
        for scanned in 1000..5000 {
            shelf.insert(scanned, 1, now);
            // The scan reads each chunk by several READs.
            shelf.touch(&scanned, now);
            shelf.touch(&scanned, now);
        }
        assert_eq!((0..50).filter(|hot| shelf.contains(hot)).count(), 50);
    }

    #[test]
    fn what_is_larger_than_all_there_is_is_not_taken() {
        let mut shelf = Shelf::new(10);
        assert_eq!(shelf.insert(1, 10, 0), Some(vec![]));
        assert_eq!(shelf.insert(2, 11, 0), None);
        assert!(shelf.contains(&1));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_and_knows_who_is_there(
            most in 1_u64..64,
            steps in prop::collection::vec((0_u8..3, 0_u16..40, 1_u64..12, 0_u64..3000), 0..400),
        ) {
            let mut shelf = Shelf::new(most);
            let mut there = HashMap::new();
            let mut now = 0;
            for (what, key, bytes, later) in steps {
                now += later;
                match what {
                    0 => match shelf.insert(key, bytes, now) {
                        Some(out) => {
                            there.insert(key, bytes);
                            for gone in out {
                                prop_assert!(gone != key);
                                prop_assert!(there.remove(&gone).is_some());
                            }
                        }
                        None => prop_assert!(bytes > most),
                    },
                    1 => prop_assert_eq!(shelf.touch(&key, now), there.contains_key(&key)),
                    _ => prop_assert_eq!(shelf.remove(&key), there.remove(&key).is_some()),
                }
                prop_assert_eq!(shelf.held(), there.values().sum::<u64>());
                prop_assert!(shelf.held() <= most);
                prop_assert!(there.keys().all(|key| shelf.contains(key)));
            }
        }
    }
}
