//! The hot half of a directory: counters and time into which transactions merge blindly, so that
//! creates in one directory don't conflict. Never read with conflict.

use crate::Error;
use crate::inode::Timestamp;
use bytes::Bytes;

/// Change, entries and subdirectories of a directory, packed in one little-endian number of 24 bytes:
/// one add moves all three, and each stays exact as long as it is within its own 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HotCounters {
    pub change: u64,
    pub entries: u64,
    pub subdirectories: u64,
}

impl HotCounters {
    pub(crate) fn to_bytes(self) -> Bytes {
        let fields = [self.change, self.entries, self.subdirectories];
        fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect::<Vec<u8>>()
            .into()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (fields, rest) = bytes.as_chunks::<8>();
        match (fields, rest) {
            ([change, entries, subdirectories], []) => Ok(HotCounters {
                change: u64::from_le_bytes(*change),
                entries: u64::from_le_bytes(*entries),
                subdirectories: u64::from_le_bytes(*subdirectories),
            }),
            _ => Err(Error::Corrupt(
                "the counters of a directory are not 24 bytes".into(),
            )),
        }
    }
}

/// Operand that moves each field by its own signed amount: the borrow of a field that sinks runs
/// through those above it and meets the carry of the sum there.
pub(crate) fn packed<const N: usize>(deltas: [i64; N]) -> Bytes {
    let mut borrow = 0_i128;
    let mut bytes = Vec::with_capacity(N * 8);
    for delta in deltas {
        let sum = i128::from(delta) + borrow;
        bytes.extend_from_slice(&(sum as u64).to_le_bytes());
        borrow = sum >> 64;
    }
    bytes.into()
}

/// Nanoseconds since 1970 of a directory's last change, in the order of time; what lies before 1970
/// or after 2554 is cut, since it comes from a clock and not from a client.
pub(crate) fn hot_time(time: Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(time.nanos))
}

pub(crate) fn timestamp(hot_time: u64) -> Timestamp {
    Timestamp {
        seconds: (hot_time / 1_000_000_000) as i64,
        nanos: (hot_time % 1_000_000_000) as u32,
    }
}

/// Value of a max key; an absent one is 0.
pub(crate) fn max_value(bytes: Option<&Bytes>) -> Result<u64, Error> {
    let Some(bytes) = bytes else { return Ok(0) };
    let bytes = bytes
        .as_array()
        .ok_or_else(|| Error::Corrupt("a number is not 8 bytes".into()))?;
    Ok(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_counter_moves_by_its_own_amount(
            steps in proptest::collection::vec((0..1000_i64, -1000..1000_i64, -1000..1000_i64), 1..50)
        ) {
            let mut expected = [1_i64 << 40, 1 << 20, 1 << 20];
            let mut value = packed(expected);
            for (change, entries, subdirectories) in steps {
                let deltas = [change, entries, subdirectories];
                value = crate::store::merge(Some(&value), &Write::Add(packed(deltas)));
                for (sum, delta) in expected.iter_mut().zip(deltas) {
                    *sum += delta;
                }
            }
            let counters = HotCounters::from_bytes(&value).unwrap();
            let found = [counters.change, counters.entries, counters.subdirectories];
            prop_assert_eq!(found, expected.map(|field| field as u64));
        }
    }
}
