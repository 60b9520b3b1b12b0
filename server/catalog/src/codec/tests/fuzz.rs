//! Any bytes as a record: what stands on a disk may be anything.
//! `__fuzz__` keeps inputs that are worth trying every time.

use super::super::*;
use std::fmt::Debug;

const ITERATIONS: usize = 20_000;

/// Decoding ends, and what it accepts survives the disk.
fn bears<T: Record + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(T::decode(&value.encode()), Ok(value));
    }
}

fn as_any_record(bytes: &[u8]) {
    bears::<ColdInode>(bytes);
    bears::<Bucket>(bytes);
    bears::<DataServerRecord>(bytes);
    bears::<ClientRecord>(bytes);
    bears::<WriteIntent>(bytes);
    bears::<Order>(bytes);
    bears::<PoolEntry>(bytes);
}

#[test]
fn any_bytes_as_a_record() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            as_any_record(input);
            // Few random inputs have the version that is read.
            let versioned: Vec<u8> = std::iter::once(VERSION)
                .chain(input.iter().copied())
                .collect();
            as_any_record(&versioned);
        });
}
