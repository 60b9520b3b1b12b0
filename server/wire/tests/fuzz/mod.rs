#![allow(
    dead_code,
    reason = "each test file is a crate of its own and uses a part"
)]

//! What every fuzz target of the older protocols asks of a decoder. Never here: a target.

use std::fmt::Debug;

use bytes::Bytes;
use wire::xdr::{from_bytes, to_bytes};
use wire::{Decoder, Xdr};

pub const ITERATIONS: usize = 20_000;

/// Whatever the bytes, decoding ends; what it accepts survives the wire, in as many bytes.
pub fn bears<T: Xdr + PartialEq + Debug>(bytes: &[u8]) {
    let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
    let Ok(value) = T::decode(&mut input) else {
        return;
    };
    let wire = to_bytes(&value);
    assert_eq!(wire.len(), input.offset(), "{value:?}");
    assert_eq!(from_bytes::<T>(wire), Ok(value));
}

/// Random bytes seldom get past a first length or discriminant. This spreads each byte to a word of
/// XDR, small numbers most of the time, so that they reach what comes after.
pub fn as_small_words(bytes: &[u8]) -> Vec<u8> {
    let word = |byte: &u8| match byte {
        0..0x60 => u32::from(byte % 3),
        0x60..0xf0 => u32::from(byte - 0x60) % 32,
        _ => u32::from(*byte) << 24 | 0x00a1_b2c3,
    };
    bytes
        .iter()
        .flat_map(|byte| word(byte).to_be_bytes())
        .collect()
}

/// A choice, and the bytes to try: as they are, and spread to words.
pub fn each_form(input: &[u8], target: impl Fn(u8, &[u8])) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    target(*choice, bytes);
    target(*choice, &as_small_words(bytes));
}
