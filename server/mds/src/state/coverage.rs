//! Ranges of a file, gathered: whether what came back piece by piece is the whole. Memory is bounded:
//! what would take more is not gathered.

/// Bytes from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: u64,
    last: u64,
}

impl Span {
    pub const WHOLE: Span = Span {
        first: 0,
        last: u64::MAX,
    };

    /// From the wire (RFC 8881 §18.44.3): a length of all ones means to the end of the file; `None`
    /// for a length of zero, and for a sum beyond 64 bits.
    pub fn new(offset: u64, length: u64) -> Option<Span> {
        let last = match length {
            0 => return None,
            u64::MAX => u64::MAX,
            _ => offset.checked_add(length)? - 1,
        };
        Some(Span {
            first: offset,
            last,
        })
    }
}

/// Pieces that don't touch, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage(Vec<Span>);

const PIECES_MAX: usize = 64;

impl Coverage {
    pub(super) fn add(&mut self, span: Span) {
        let mut merged = span;
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        for piece in &self.0 {
            let apart = piece.last.saturating_add(1) < merged.first
                || merged.last.saturating_add(1) < piece.first;
            if apart {
                rest.push(*piece);
            } else {
                merged.first = merged.first.min(piece.first);
                merged.last = merged.last.max(piece.last);
            }
        }
        if rest.len() < PIECES_MAX {
            let place = rest.partition_point(|piece| piece.first < merged.first);
            rest.insert(place, merged);
            self.0 = rest;
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.0 == [Span::WHOLE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_make_a_whole_in_any_order() {
        let (low, high) = (Span::new(0, 1 << 30), Span::new(1 << 30, u64::MAX));
        let mut coverage = Coverage::default();
        coverage.add(high.expect("to the end"));
        assert!(!coverage.is_whole());
        coverage.add(low.expect("a range"));
        assert!(coverage.is_whole());
    }

    #[test]
    fn an_empty_range_and_one_beyond_64_bits_are_none() {
        assert_eq!(Span::new(5, 0), None);
        assert_eq!(Span::new(u64::MAX, 2), None);
        assert_eq!(Span::new(0, u64::MAX), Some(Span::WHOLE));
    }

    #[test]
    fn ever_more_pieces_take_no_more_memory() {
        let mut coverage = Coverage::default();
        for piece in 0..10_000 {
            coverage.add(Span::new(piece * 10, 1).expect("a byte"));
        }
        assert_eq!(coverage.0.len(), PIECES_MAX);
        coverage.add(Span::WHOLE);
        assert!(coverage.is_whole());
    }

    proptest! {
        #[test]
        fn pieces_cover_what_their_bytes_cover(spans in prop::collection::vec((0u64..64, 1u64..20), 0..30)) {
            let mut coverage = Coverage::default();
            let mut bytes = [false; 100];
            for (offset, length) in spans {
                coverage.add(Span::new(offset, length).expect("small"));
                bytes[offset as usize..(offset + length) as usize].fill(true);
            }
            for (at, covered) in bytes.iter().enumerate() {
                let inside = coverage.0.iter().any(|piece| (piece.first..=piece.last).contains(&(at as u64)));
                prop_assert_eq!(inside, *covered);
            }
            prop_assert!(coverage.0.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
        }
    }
}
