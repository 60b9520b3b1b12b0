//! All byte-range locks of one file in one tree, to find a conflict without looking at each.
//! It knows ranges and holders by number; whose they are is `lock`'s.
//!
//! A treap by first byte, each node with the furthest end below it, once for all locks and once
//! for write locks: a request asks for the one or the other.

use super::range::{LockKind, LockRange, Piece};

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    key: (u64, u32),
    last: u64,
    kind: LockKind,
    priority: u64,
    furthest: u64,
    furthest_write: Option<u64>,
    left: Link,
    right: Link,
}

impl Node {
    fn refresh(&mut self) {
        self.furthest = self.last;
        self.furthest_write = (self.kind == LockKind::Write).then_some(self.last);
        for child in [&self.left, &self.right].into_iter().flatten() {
            self.furthest = self.furthest.max(child.furthest);
            self.furthest_write = self.furthest_write.max(child.furthest_write);
        }
    }
}

/// The locks of a file, each with the number of its holder.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    root: Link,
    len: usize,
    inserted: u64,
}

impl Intervals {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One holder's pieces are disjoint: its first bytes are unique.
    pub(super) fn insert(&mut self, piece: Piece, holder: u32) {
        self.inserted = self.inserted.wrapping_add(1);
        let mut node = Box::new(Node {
            key: (piece.first, holder),
            last: piece.last,
            kind: piece.kind,
            priority: scatter(self.inserted),
            furthest: 0,
            furthest_write: None,
            left: None,
            right: None,
        });
        node.refresh();
        let (before, after) = split(self.root.take(), node.key);
        self.root = join(join(before, Some(node)), after);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, first: u64, holder: u32) {
        let (before, rest) = split(self.root.take(), (first, holder));
        let (found, after) = match holder.checked_add(1) {
            Some(next) => split(rest, (first, next)),
            None => split(rest, (first.saturating_add(1), 0)),
        };
        self.len -= usize::from(found.is_some());
        self.root = join(before, after);
    }

    /// The first lock of another holder that stands against `kind` on this range.
    pub(super) fn conflict(
        &self,
        range: LockRange,
        kind: LockKind,
        holder: Option<u32>,
    ) -> Option<(Piece, u32)> {
        conflict(self.root.as_deref(), range, kind, holder)
    }
}

fn conflict(
    node: Option<&Node>,
    range: LockRange,
    kind: LockKind,
    holder: Option<u32>,
) -> Option<(Piece, u32)> {
    let node = node?;
    let furthest = match kind {
        LockKind::Write => Some(node.furthest),
        LockKind::Read => node.furthest_write,
    };
    if furthest.is_none_or(|furthest| furthest < range.first) {
        return None;
    }
    if let Some(found) = conflict(node.left.as_deref(), range, kind, holder) {
        return Some(found);
    }
    let (first, owner) = node.key;
    if first > range.last {
        return None;
    }
    let excludes = kind == LockKind::Write || node.kind == LockKind::Write;
    if node.last >= range.first && excludes && Some(owner) != holder {
        let piece = Piece {
            first,
            last: node.last,
            kind: node.kind,
        };
        return Some((piece, owner));
    }
    conflict(node.right.as_deref(), range, kind, holder)
}

/// Nodes before the key, and the others.
fn split(link: Link, key: (u64, u32)) -> (Link, Link) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if node.key < key {
        let (before, after) = split(node.right.take(), key);
        node.right = before;
        node.refresh();
        (Some(node), after)
    } else {
        let (before, after) = split(node.left.take(), key);
        node.left = after;
        node.refresh();
        (before, Some(node))
    }
}

fn join(before: Link, after: Link) -> Link {
    match (before, after) {
        (None, link) | (link, None) => link,
        (Some(mut before), Some(mut after)) => {
            if before.priority > after.priority {
                before.right = join(before.right.take(), Some(after));
                before.refresh();
                Some(before)
            } else {
                after.left = join(Some(before), after.left.take());
                after.refresh();
                Some(after)
            }
        }
    }
}

/// SplitMix64: priorities without order and without ambient randomness.
fn scatter(count: u64) -> u64 {
    let mut word = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn depth(link: &Link) -> usize {
        link.as_ref()
            .map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    #[test]
    fn a_hundred_thousand_locks_in_order_stay_shallow() {
        let mut intervals = Intervals::default();
        for first in 0..100_000 {
            let piece = Piece {
                first: first * 2,
                last: first * 2,
                kind: LockKind::Write,
            };
            intervals.insert(piece, 1);
        }
        assert!(depth(&intervals.root) < 100);
        let gap = LockRange {
            first: 99_999,
            last: 99_999,
        };
        assert_eq!(intervals.conflict(gap, LockKind::Write, None), None);
    }

    proptest! {
        #[test]
        fn a_conflict_is_found_exactly_when_a_scan_finds_one(
            locks in prop::collection::vec((0u64..100, 0u64..20, any::<bool>(), 0u32..4), 0..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            asked in (0u64..100, 0u64..20, any::<bool>(), 0u32..5),
        ) {
            let kind = |write| if write { LockKind::Write } else { LockKind::Read };
            let mut intervals = Intervals::default();
            let mut list: Vec<(Piece, u32)> = Vec::new();
            for (first, more, write, holder) in locks {
                if list.iter().any(|(piece, known)| piece.first == first && *known == holder) {
                    continue;
                }
                let piece = Piece { first, last: first + more, kind: kind(write) };
                intervals.insert(piece, holder);
                list.push((piece, holder));
            }
            for index in gone {
                if !list.is_empty() {
                    let (piece, holder) = list.remove(index.index(list.len()));
                    intervals.remove(piece.first, holder);
                }
            }
            prop_assert_eq!(intervals.len(), list.len());
            let (first, more, write, holder) = asked;
            let range = LockRange { first, last: first + more };
            let against = |(piece, known): &(Piece, u32)| {
                *known != holder
                    && piece.first <= range.last
                    && range.first <= piece.last
                    && (write || piece.kind == LockKind::Write)
            };
            let found = intervals.conflict(range, kind(write), Some(holder));
            prop_assert_eq!(found.is_some(), list.iter().any(against));
            if let Some(found) = found {
                prop_assert!(against(&found) && list.contains(&found));
            }
        }
    }
}
