//! The byte ranges that one lock-owner holds on one file: POSIX split, merge and upgrade.
//! Whether others stand against it is decided in `lock`, before.

use super::few::Few;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    Read,
    Write,
}

/// Bytes from `first` to `last`, both included, so that the end of a 64-bit file has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockRange {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl LockRange {
    pub const ALL: LockRange = LockRange {
        first: 0,
        last: u64::MAX,
    };

    /// From the wire (RFC 8881 §18.10.3): a length of all ones means to the end of the file;
    /// `None` for a length of zero, and for a sum beyond 64 bits.
    pub fn new(offset: u64, length: u64) -> Option<LockRange> {
        let last = match length {
            0 => return None,
            u64::MAX => u64::MAX,
            _ => offset.checked_add(length)? - 1,
        };
        Some(LockRange {
            first: offset,
            last,
        })
    }

    pub(super) fn covers(self, other: LockRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub(super) fn overlaps(self, other: LockRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    pub fn offset(&self) -> u64 {
        self.first
    }

    /// As on the wire: all ones for a range to the end of the file.
    pub fn length(&self) -> u64 {
        if self.last == u64::MAX {
            u64::MAX
        } else {
            self.last - self.first + 1
        }
    }
}

/// One held piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) kind: LockKind,
}

/// What a change took away and put in.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) removed: Vec<Piece>,
    pub(super) added: Vec<Piece>,
}

/// Disjoint pieces; neighbours of one kind are one piece.
#[derive(Debug, Default)]
pub(super) struct Ranges(Few<u64, (u64, LockKind)>);

impl Ranges {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.0.iter().map(|(first, (last, kind))| Piece {
            first: *first,
            last: *last,
            kind: *kind,
        })
    }

    /// Sets the range to a kind, or to nothing.
    pub(super) fn set(&mut self, range: LockRange, kind: Option<LockKind>) -> Change {
        let mut change = Change::default();
        let mut merged = range;
        let touched = self.touching(range);
        for piece in touched {
            let same = Some(piece.kind) == kind;
            let overlaps = piece.first <= range.last && range.first <= piece.last;
            if !same && !overlaps {
                continue;
            }
            self.0.remove(&piece.first);
            change.removed.push(piece);
            if same {
                merged.first = merged.first.min(piece.first);
                merged.last = merged.last.max(piece.last);
                continue;
            }
            if piece.first < range.first {
                change.added.push(Piece {
                    last: range.first - 1,
                    ..piece
                });
            }
            if piece.last > range.last {
                change.added.push(Piece {
                    first: range.last + 1,
                    ..piece
                });
            }
        }
        if let Some(kind) = kind {
            change.added.push(Piece {
                first: merged.first,
                last: merged.last,
                kind,
            });
        }
        for piece in &change.added {
            self.0.insert(piece.first, (piece.last, piece.kind));
        }
        change
    }

    /// The pieces that overlap the range or lie right beside it.
    fn touching(&self, range: LockRange) -> Vec<Piece> {
        let from = self
            .0
            .range(..range.first)
            .next_back()
            .filter(|(_, (last, _))| *last >= range.first.saturating_sub(1))
            .map_or(range.first, |(first, _)| *first);
        self.0
            .range(from..=range.last.saturating_add(1))
            .map(|(first, (last, kind))| Piece {
                first: *first,
                last: *last,
                kind: *kind,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, last: u64) -> LockRange {
        LockRange { first, last }
    }

    fn held(ranges: &Ranges) -> Vec<(u64, u64, LockKind)> {
        ranges
            .pieces()
            .map(|piece| (piece.first, piece.last, piece.kind))
            .collect()
    }

    #[test]
    fn unlocking_the_middle_leaves_both_sides() {
        let mut ranges = Ranges::default();
        ranges.set(range(0, 99), Some(LockKind::Write));
        ranges.set(range(40, 59), None);
        assert_eq!(
            held(&ranges),
            [(0, 39, LockKind::Write), (60, 99, LockKind::Write)]
        );
    }

    #[test]
    fn neighbours_of_one_kind_become_one_lock() {
        let mut ranges = Ranges::default();
        ranges.set(range(0, 9), Some(LockKind::Read));
        ranges.set(range(20, 29), Some(LockKind::Read));
        ranges.set(range(10, 19), Some(LockKind::Read));
        assert_eq!(held(&ranges), [(0, 29, LockKind::Read)]);
    }

    #[test]
    fn a_lock_may_reach_the_last_byte_of_64_bits() {
        let mut ranges = Ranges::default();
        let all = LockRange::new(5, u64::MAX).unwrap();
        ranges.set(all, Some(LockKind::Write));
        ranges.set(range(u64::MAX, u64::MAX), None);
        assert_eq!(held(&ranges), [(5, u64::MAX - 1, LockKind::Write)]);
        assert_eq!(all.length(), u64::MAX);
    }

    #[test]
    fn a_length_of_zero_or_beyond_64_bits_is_no_range() {
        assert_eq!(LockRange::new(7, 0), None);
        assert_eq!(LockRange::new(u64::MAX, 2), None);
        assert_eq!(LockRange::new(u64::MAX, 1), None, "the sum counts");
        let end = range(u64::MAX - 1, u64::MAX - 1);
        assert_eq!(LockRange::new(u64::MAX - 1, 1), Some(end));
        let last = range(u64::MAX, u64::MAX);
        assert_eq!(LockRange::new(u64::MAX, u64::MAX), Some(last));
    }

    proptest! {
        /// Against an array with a byte for each byte.
        #[test]
        fn ranges_hold_what_a_byte_map_holds(
            steps in prop::collection::vec((0u64..64, 1u64..64, 0u8..3), 1..60)
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [None; 128];
            for (first, length, kind) in steps {
                let kind = match kind {
                    0 => None,
                    1 => Some(LockKind::Read),
                    _ => Some(LockKind::Write),
                };
                let before = ranges.len();
                let change = ranges.set(range(first, first + length - 1), kind);
                prop_assert_eq!(before + change.added.len() - change.removed.len(), ranges.len());
                for byte in &mut bytes[first as usize..(first + length) as usize] {
                    *byte = kind;
                }
                let mut seen = [None; 128];
                let mut previous: Option<Piece> = None;
                for piece in ranges.pieces() {
                    if let Some(previous) = previous {
                        prop_assert!(previous.last < piece.first);
                        prop_assert!(previous.last + 1 < piece.first || previous.kind != piece.kind);
                    }
                    for byte in &mut seen[piece.first as usize..=piece.last as usize] {
                        *byte = Some(piece.kind);
                    }
                    previous = Some(piece);
                }
                prop_assert_eq!(seen, bytes);
            }
        }
    }
}
