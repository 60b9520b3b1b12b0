//! Arbitrary bytes as messages of NFSv4: nothing panics, and what decodes encodes to what decodes the same.
//! A few thousand inputs per run with `cargo test`; `cargo bolero test` goes on for as long as one likes.
//! `tests/__fuzz__` keeps inputs that are worth trying every time.

use std::fmt::Debug;

use bolero::check;
use bytes::Bytes;
use wire::nfs4::{
    ArgOp, Attributes, CbCompound4Args, CbCompound4Res, Compound4Args, Compound4Res, Fattr4, flex,
};
use wire::{Decoder, Encoder, Xdr, xdr};

const ITERATIONS: usize = 20_000;

/// The second decoding is compared, since a peer may send what we would write differently: padding that
/// is not zero, bitmaps with words that say nothing.
fn settles<T: Xdr + PartialEq + Debug>(input: &[u8]) {
    let Ok(value) = T::decode(&mut Decoder::new(Bytes::copy_from_slice(input))) else {
        return;
    };
    assert_eq!(xdr::from_bytes(xdr::to_bytes(&value)), Ok(value));
}

#[test]
fn any_bytes_as_a_request() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            let decode = |bytes: Bytes| Compound4Args::decode_bounded(&mut Decoder::new(bytes), 64);
            let Ok(args) = decode(Bytes::copy_from_slice(input)) else {
                return;
            };
            if args.ops.last().is_some_and(ArgOp::ends_decoding) {
                return;
            }
            let mut out = Encoder::new();
            args.encode(&mut out);
            assert_eq!(decode(out.finish()), Ok(args));
        });
}

#[test]
fn any_bytes_as_a_reply() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(settles::<Compound4Res>);
}

#[test]
fn any_bytes_as_a_callback() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            let _ = CbCompound4Args::decode(&mut Decoder::new(Bytes::copy_from_slice(input)));
            settles::<CbCompound4Res>(input);
        });
}

#[test]
fn any_bytes_as_attributes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            let _ = Fattr4::decode(&mut Decoder::new(Bytes::copy_from_slice(input)));
            settles::<Attributes>(input);
        });
}

#[test]
fn any_bytes_as_bodies_of_flexible_files() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            settles::<flex::Layout>(input);
            settles::<flex::DeviceAddr>(input);
            settles::<flex::LayoutReturn>(input);
            settles::<flex::LayoutUpdate>(input);
            if let Ok(layout) =
                flex::Layout::decode(&mut Decoder::new(Bytes::copy_from_slice(input)))
            {
                assert_eq!(xdr::to_bytes(&layout).len(), layout.encoded_len());
            }
        });
}
