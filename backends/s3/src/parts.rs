//! How a file is cut into parts for its upload, and how long each may take.
//!
//! Never here: requests.

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use std::ops::Range;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Of a small file's parts, and the most that goes up by a single PUT.
pub(crate) const PART_BYTES: u64 = 16 * MIB;
const PARTS: u64 = 10_000;
/// The least that a part other than the last can have, and the most.
const LEAST_PART_BYTES: u64 = 5 * MIB;
const MOST_PART_BYTES: u64 = 5 << 30;
/// The most that is copied by one request.
pub(crate) const COPY_BYTES: u64 = 5 << 30;
/// The most that an object can have.
pub(crate) const OBJECT_BYTES: u64 = 5 << 40;
/// Slower than this is no way to a bucket.
const LEAST_BYTES_A_SECOND: u64 = MIB;
const GRACE: Duration = Duration::from_secs(30);

/// Bytes of each part but the last. `least`: where more than the usual is wanted, as by a copy.
pub(crate) fn part_bytes(size: u64, least: u64) -> u64 {
    let fit = size.div_ceil(PARTS).div_ceil(MIB) * MIB;
    fit.max(least).clamp(LEAST_PART_BYTES, MOST_PART_BYTES)
}

/// The parts' numbers and ranges.
pub(crate) fn cut(size: u64, part: u64) -> impl Iterator<Item = (i32, Range<u64>)> {
    (0..size.div_ceil(part)).map(move |at| {
        let start = at * part;
        (at as i32 + 1, start..(start + part).min(size))
    })
}

/// A request that moves so many bytes has its own deadline: it isn't a call that somebody waits for.
pub(crate) fn patience(bytes: u64) -> Builder {
    let whole = GRACE + Duration::from_secs(bytes / LEAST_BYTES_A_SECOND);
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(whole * 3)
        .operation_attempt_timeout(whole)
        .build();
    Builder::new().timeout_config(timeouts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_file_fits_into_the_parts_that_there_may_be(size in 1..=OBJECT_BYTES) {
            let part = part_bytes(size, PART_BYTES);
            prop_assert!((LEAST_PART_BYTES..=MOST_PART_BYTES).contains(&part));
            prop_assert!(size.div_ceil(part) <= PARTS);
        }

        #[test]
        fn parts_follow_each_other_up_to_the_end(size in 1..1_000_000_000u64) {
            let part = part_bytes(size, PART_BYTES);
            let mut reached = 0;
            for (at, (number, range)) in cut(size, part).enumerate() {
                prop_assert_eq!(number as usize, at + 1);
                prop_assert_eq!(range.start, reached);
                prop_assert!(range.end > range.start);
                reached = range.end;
            }
            prop_assert_eq!(reached, size);
        }
    }

    #[test]
    fn the_largest_file_has_parts_of_less_than_a_gibibyte() {
        assert_eq!(part_bytes(OBJECT_BYTES, PART_BYTES), 525 * MIB);
    }
}
