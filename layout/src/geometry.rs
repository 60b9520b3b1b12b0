//! Which object holds which byte, and how long each object must be for a file's size to be seen.
//! Addressing is sparse: a byte has the same offset in its object as in the file (RFC 8435 §6).
//!
//! Never here: anything that asks a data server.

use crate::{Extent, ObjectRef};

/// A range of a file that lies in one stripe of one extent.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// `None` where no extent covers the range, or the extent has no object yet.
    extent: Option<&'a Extent>,
    /// Index of the extent in the file's list; of no meaning for a gap.
    pub extent_index: usize,
    pub stripe: usize,
    /// In the file, and in the objects alike.
    pub offset: u64,
    pub length: u64,
}

impl<'a> Segment<'a> {
    /// No object holds it: reads as zeros, and must be bound before a write.
    pub fn is_unbound(&self) -> bool {
        self.extent.is_none()
    }

    /// One object for each mirror that a write must reach. A stale copy is left to repair.
    pub fn copies(&self) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        let stripe = self.stripe;
        self.extent
            .into_iter()
            .flat_map(|extent| &extent.mirrors)
            .filter(|mirror| !mirror.stale)
            .filter_map(move |mirror| mirror.stripes.get(stripe))
    }

    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The stripe that holds the byte at `offset`, as the Linux client computes it.
pub fn stripe_of(stripe_unit: u32, stripe_count: usize, offset: u64) -> usize {
    if stripe_unit == 0 || stripe_count < 2 {
        return 0;
    }
    ((offset / u64::from(stripe_unit)) % stripe_count as u64) as usize
}

/// Splits a range of a file at stripe and extent borders, in the order of offsets, without gaps.
/// `extents` are in the order of offsets and don't overlap.
pub fn locate(extents: &[Extent], offset: u64, length: u64) -> Locate<'_> {
    Locate {
        extents,
        at: offset,
        end: offset.saturating_add(length),
    }
}

#[derive(Debug, Clone)]
pub struct Locate<'a> {
    extents: &'a [Extent],
    at: u64,
    end: u64,
}

impl<'a> Iterator for Locate<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        if self.at >= self.end {
            return None;
        }
        let offset = self.at;
        let next = self.extents.iter().position(|extent| extent.end() > offset);
        let (extent_index, extent) = match next {
            Some(index) if self.extents[index].offset <= offset => {
                (index, Some(&self.extents[index]))
            }
            Some(index) => (index, None),
            None => (self.extents.len(), None),
        };
        let border = match (extent, next) {
            (Some(extent), _) if extent.stripe_count() > 1 && extent.stripe_unit > 0 => {
                let unit = u64::from(extent.stripe_unit);
                (offset / unit + 1).saturating_mul(unit).min(extent.end())
            }
            (Some(extent), _) => extent.end(),
            (None, Some(index)) => self.extents[index].offset,
            (None, None) => u64::MAX,
        };
        let end = border.min(self.end);
        self.at = end;
        let bound = extent.filter(|extent| extent.is_bound());
        let stripe = bound.map_or(0, |extent| {
            stripe_of(extent.stripe_unit, extent.stripe_count(), offset)
        });
        Some(Segment {
            extent: bound,
            extent_index,
            stripe,
            offset,
            length: end - offset,
        })
    }
}

/// The size that each object of `extent` must have before anybody may see the file's size: a short
/// object makes an O_DIRECT reader see an end of file in the middle (invariant 8).
pub fn object_size_for(extent: &Extent, file_size: u64) -> u64 {
    if file_size <= extent.offset {
        0
    } else {
        file_size.min(extent.end())
    }
}

/// The end of what was written, from the sizes that the data servers report. An object that is
/// longer than its extent holds nothing of the file there.
pub fn written_end<'a>(sizes: impl IntoIterator<Item = (&'a Extent, u64)>) -> u64 {
    sizes
        .into_iter()
        .filter(|(extent, size)| *size > extent.offset)
        .map(|(extent, size)| size.min(extent.end()))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataServerId, ExtentState, Mirror, ObjectId, Owner, Unsound};
    use bytes::Bytes;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn object(server: u32) -> ObjectRef {
        ObjectRef {
            server: DataServerId(server),
            object: ObjectId(u128::from(server)),
            handle: Bytes::from_static(b"handle"),
            owner: Owner { uid: 1, gid: 1 },
            generation: 0,
        }
    }

    fn extent(offset: u64, length: u64, stripe_unit: u32, stripes: u32, copies: u32) -> Extent {
        let mirrors = (0..copies)
            .map(|copy| Mirror {
                stripes: (0..stripes).map(|s| object(copy * 100 + s)).collect(),
                stale: false,
            })
            .collect();
        Extent {
            offset,
            length,
            stripe_unit,
            mirrors,
            state: ExtentState::Bound,
        }
    }

    #[test]
    fn the_byte_past_4_gib_lies_where_the_64_bit_offset_says() {
        let file = [extent(0, u64::MAX, 1 << 20, 4, 1)];
        let at = 5 * GIB + 3 * (1 << 20) + 17;
        let segment = locate(&file, at, 1)
            .next()
            .expect("one byte is one segment");
        assert_eq!(segment.stripe, 3);
        assert_eq!(segment.offset, at);
    }

    #[test]
    fn a_kernel_that_truncates_the_offset_to_32_bits_finds_the_same_stripe() {
        for offset in [
            4 * GIB,
            4 * GIB + (3 << 20),
            9 * GIB - 1,
            8192 * GIB + (1 << 20),
        ] {
            assert_eq!(
                stripe_of(1 << 20, 4, offset),
                stripe_of(1 << 20, 4, u64::from(offset as u32))
            );
        }
    }

    #[test]
    fn one_stripe_is_one_segment_however_long() {
        let file = [extent(0, u64::MAX, 0, 1, 2)];
        let segments: Vec<_> = locate(&file, 7, 8192 * GIB).collect();
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].copies().count(), 2);
    }

    #[test]
    fn a_stale_copy_gets_no_write_and_serves_no_read() {
        let mut file = [extent(0, u64::MAX, 0, 1, 2)];
        file[0].mirrors[0].stale = true;
        let segment = locate(&file, 0, 1).next().expect("one byte is one segment");
        assert_eq!(
            segment.copies().map(|o| o.server.0).collect::<Vec<_>>(),
            [100]
        );
    }

    #[test]
    fn a_range_that_no_extent_covers_is_a_gap() {
        let file = [extent(0, GIB, 0, 1, 1), extent(2 * GIB, u64::MAX, 0, 1, 1)];
        let kinds: Vec<_> = locate(&file, 0, 3 * GIB)
            .map(|segment| (segment.offset, segment.is_unbound()))
            .collect();
        assert_eq!(kinds, [(0, false), (GIB, true), (2 * GIB, false)]);
    }

    #[test]
    fn unsound_extents_are_told_apart() {
        assert_eq!(
            extent(0, u64::MAX, 3 << 20, 2, 1).check(),
            Err(Unsound::StripeUnit(3 << 20))
        );
        assert_eq!(
            extent(0, u64::MAX, 1 << 20, 3, 1).check(),
            Err(Unsound::StripeCount(3))
        );
        assert_eq!(
            extent(0, u64::MAX, 1 << 20, 1, 1).check(),
            Err(Unsound::UnitOfOneStripe(1 << 20))
        );
        assert_eq!(extent(0, u64::MAX, 1 << 20, 4, 2).check(), Ok(()));
        assert_eq!(Extent::unbound().check(), Ok(()));
    }

    #[test]
    fn an_object_past_its_extent_adds_nothing_to_the_size() {
        let first = extent(0, GIB, 0, 1, 1);
        let second = extent(GIB, u64::MAX, 0, 1, 1);
        assert_eq!(written_end([(&first, 5 * GIB), (&second, 0)]), GIB);
        assert_eq!(written_end([(&first, GIB), (&second, GIB + 1)]), GIB + 1);
    }

    proptest! {
        #[test]
        fn segments_tile_the_range_and_agree_with_each_byte(
            unit_log in 12u32..24, stripes_log in 0u32..5, copies in 1u32..4,
            offset in 0u64..(16 * GIB), length in 0u64..(64 << 20),
            border in prop::option::of(1u64..16),
        ) {
            let stripes = 1 << stripes_log;
            let unit = if stripes == 1 { 0 } else { 1 << unit_log };
            let file = match border {
                Some(gib) => vec![
                    extent(0, gib * GIB, unit, stripes, copies),
                    extent(gib * GIB, u64::MAX, 0, 1, copies),
                ],
                None => vec![extent(0, u64::MAX, unit, stripes, copies)],
            };
            let length = length.min(u64::from(unit.max(4096)) * 200);
            let mut at = offset;
            for segment in locate(&file, offset, length) {
                prop_assert_eq!(segment.offset, at);
                prop_assert!(segment.length > 0);
                prop_assert_eq!(segment.copies().count(), copies as usize);
                let holder = &file[segment.extent_index];
                for byte in [segment.offset, segment.end() - 1] {
                    prop_assert!(holder.offset <= byte && byte < holder.end());
                    prop_assert_eq!(stripe_of(holder.stripe_unit, holder.stripe_count(), byte), segment.stripe);
                }
                at = segment.end();
            }
            prop_assert_eq!(at, offset + length);
        }

        #[test]
        fn padding_every_object_makes_exactly_the_size_visible(size in 0u64..(16 * GIB), border in 1u64..16) {
            let file = [extent(0, border * GIB, 1 << 20, 4, 1), extent(border * GIB, u64::MAX, 0, 1, 1)];
            let sizes = file.iter().map(|extent| (extent, object_size_for(extent, size)));
            prop_assert_eq!(written_end(sizes), size);
        }
    }
}
