//! Which bytes of an object belong to its file: of a stripe, every so many units one.
//!
//! Never here: which object it is, anything that asks a data server.

use crate::Extent;
use std::ops::Range;

/// The share of one object: unit `index` of every `count`, from offset 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    unit: u32,
    count: u32,
    index: u32,
}

impl Stripe {
    /// Every byte: the object of a file that isn't striped.
    pub const WHOLE: Self = Self {
        unit: 0,
        count: 1,
        index: 0,
    };

    /// `None` unless it is a share: an index below the count, and a unit where there are several.
    pub fn new(unit: u32, count: u32, index: u32) -> Option<Self> {
        match (unit, count) {
            (_, 1) if index == 0 => Some(Self::WHOLE),
            (1.., 2..) if index < count => Some(Self { unit, count, index }),
            _ => None,
        }
    }

    /// Stripe number `index` of `extent`.
    pub fn of(extent: &Extent, index: usize) -> Self {
        let count = extent.stripe_count() as u32;
        Self::new(extent.stripe_unit, count, index as u32).unwrap_or(Self::WHOLE)
    }

    pub fn unit(self) -> u32 {
        self.unit
    }

    pub fn count(self) -> u32 {
        self.count
    }

    pub fn index(self) -> u32 {
        self.index
    }

    /// The next run of own bytes at or after `within.start`, cut at `within.end`.
    pub fn run(self, within: &Range<u64>) -> Option<Range<u64>> {
        let run = if self.count < 2 {
            within.clone()
        } else {
            let unit = u64::from(self.unit);
            let (number, own) = (within.start / unit, u64::from(self.index));
            let ahead = (own + u64::from(self.count) - number % u64::from(self.count))
                % u64::from(self.count);
            let begin = number.checked_add(ahead)?.checked_mul(unit)?;
            begin.max(within.start)..begin.saturating_add(unit).min(within.end)
        };
        (run.start < run.end).then_some(run)
    }

    /// Every run of own bytes in the range, in order.
    pub fn runs(self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut rest = within;
        std::iter::from_fn(move || {
            let run = self.run(&rest)?;
            rest.start = run.end;
            Some(run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe_of;
    use proptest::prelude::*;

    #[test]
    fn an_object_that_is_alone_owns_all_of_the_range() {
        assert_eq!(Stripe::WHOLE.run(&(5..u64::MAX)), Some(5..u64::MAX));
        assert_eq!(Stripe::WHOLE.run(&(5..5)), None);
    }

    #[test]
    fn a_share_that_is_none_is_told_apart() {
        assert_eq!(Stripe::new(4096, 4, 4), None);
        assert_eq!(Stripe::new(0, 4, 1), None);
        assert_eq!(Stripe::new(4096, 0, 0), None);
        assert_eq!(Stripe::new(0, 1, 0), Some(Stripe::WHOLE));
    }

    #[test]
    fn the_last_unit_of_64_bits_ends_where_offsets_end() {
        let stripe = Stripe::new(1 << 20, 2, 1).expect("a share");
        let last = u64::MAX - 10;
        assert_eq!(stripe.run(&(last..u64::MAX)), Some(last..u64::MAX));
        let other = Stripe::new(1 << 20, 2, 0).expect("a share");
        assert_eq!(other.run(&(last..u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn the_runs_of_all_stripes_tile_the_range_as_single_bytes_do(
            unit_log in 0u32..8, count in 2u32..6, start in 0u64..5000, length in 0u64..3000,
        ) {
            let unit = 1 << unit_log;
            let mut owners = vec![None; length as usize];
            for index in 0..count {
                let stripe = Stripe::new(unit, count, index).expect("a share");
                for run in stripe.runs(start..start + length) {
                    prop_assert!(run.start < run.end);
                    for byte in run {
                        let place = &mut owners[(byte - start) as usize];
                        prop_assert_eq!(place.replace(index as usize), None);
                    }
                }
            }
            for (at, owner) in owners.into_iter().enumerate() {
                prop_assert_eq!(owner, Some(stripe_of(unit, count as usize, start + at as u64)));
            }
        }
    }
}
