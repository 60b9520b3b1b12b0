//! Chunks that came a moment ago and are still in memory: what was fetched ahead is read from there, and by others who
//! read the same. The first to come is the first to go.
//!
//! Pure.

use std::collections::VecDeque;

#[derive(Debug)]
pub struct Recent<K> {
    most: u64,
    held: u64,
    order: VecDeque<(K, u64)>,
}

impl<K> Recent<K> {
    /// Never holds more than `most` bytes.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            held: 0,
            order: VecDeque::new(),
        }
    }

    /// A newcomer; those that go for it, perhaps itself.
    pub fn push(&mut self, key: K, bytes: u64) -> Vec<K> {
        self.order.push_back((key, bytes));
        self.held += bytes;
        let mut gone = Vec::new();
        while self.held > self.most
            && let Some((key, bytes)) = self.order.pop_front()
        {
            self.held -= bytes;
            gone.push(key);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_come_goes_first_and_what_is_too_large_goes_at_once() {
        let mut recent = Recent::new(10);
        assert!(recent.push('a', 4).is_empty());
        assert!(recent.push('b', 6).is_empty());
        assert_eq!(recent.push('c', 5), ['a', 'b']);
        assert_eq!(recent.push('d', 11), ['c', 'd']);
        assert!(recent.push('e', 10).is_empty());
    }
}
