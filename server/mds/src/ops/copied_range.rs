//! What COPY and CLONE are to copy of one file to another, RFC 7862 §15.2.3 and §15.13.3.

use crate::attributes::MAX_FILE_BYTES;
use wire::nfs4::Nfsstat4;

/// From where, to where, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopiedRange {
    pub source_offset: u64,
    pub target_offset: u64,
    pub length: u64,
}

impl CopiedRange {
    /// Nothing is copied from past the end, and a count of 0 means up to there.
    pub fn of(
        (source_offset, target_offset, count): (u64, u64, u64),
        source_bytes: u64,
        within_one_file: bool,
    ) -> Result<Self, Nfsstat4> {
        let rest = source_bytes
            .checked_sub(source_offset)
            .ok_or(Nfsstat4::Inval)?;
        let length = if count == 0 { rest } else { count };
        let overlaps = source_offset.abs_diff(target_offset) < length;
        if length > rest || (within_one_file && overlaps) {
            return Err(Nfsstat4::Inval);
        }
        match target_offset.checked_add(length) {
            Some(end) if end <= MAX_FILE_BYTES => Ok(Self {
                source_offset,
                target_offset,
                length,
            }),
            _ => Err(Nfsstat4::Fbig),
        }
    }

    /// What is left after `copied`, `most` of it.
    pub fn after(self, copied: u64, most: u64) -> Self {
        Self {
            source_offset: self.source_offset + copied,
            target_offset: self.target_offset + copied,
            length: (self.length - copied).min(most),
        }
    }

    pub fn target_end(self) -> u64 {
        self.target_offset + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_its_source_and_keeps_off_itself() {
        let range = |asked, within| CopiedRange::of(asked, 100, within);
        assert_eq!(range((40, 7, 0), false).map(|range| range.length), Ok(60));
        assert_eq!(range((40, 7, 61), false), Err(Nfsstat4::Inval));
        assert_eq!(range((101, 7, 0), false), Err(Nfsstat4::Inval));
        assert_eq!(range((100, 7, 0), true).map(|range| range.length), Ok(0));
        assert_eq!(range((0, 49, 50), true), Err(Nfsstat4::Inval));
        assert_eq!(
            range((0, 50, 50), true).map(CopiedRange::target_end),
            Ok(100)
        );
        let far = MAX_FILE_BYTES - 9;
        assert_eq!(range((0, far, 10), false), Err(Nfsstat4::Fbig));
        assert_eq!(range((0, u64::MAX, 10), false), Err(Nfsstat4::Fbig));
        assert!(range((0, far, 9), false).is_ok());
    }

    #[test]
    fn what_is_left_comes_after_what_was_copied() {
        let whole = CopiedRange::of((10, 20, 50), 100, false).expect("a range");
        let rest = whole.after(30, 15);
        let expected = CopiedRange {
            source_offset: 40,
            target_offset: 50,
            length: 15,
        };
        assert_eq!((rest, whole.after(50, 15).length), (expected, 0));
    }
}
