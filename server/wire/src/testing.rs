//! What the tests of every message ask of it. Never here: a particular message.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use crate::xdr::{Decoder, Fault, Xdr, from_bytes, to_bytes};

/// A value survives the wire, and each truncation of it is named as such, with its place.
pub(crate) fn survives<T: Xdr + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let wire = to_bytes(value);
    prop_assert_eq!(wire.len() % 4, 0);
    let back = from_bytes::<T>(wire.clone());
    prop_assert_eq!(back.as_ref(), Ok(value));
    // Every cut of a short message, and a sample of a long one's.
    for cut in (0..wire.len()).step_by(1 + wire.len() / 512) {
        let fault = T::decode(&mut Decoder::new(wire.slice(..cut)));
        let Err(fault) = fault else {
            return Err(TestCaseError::fail(format!(
                "{cut} of {} bytes decode",
                wire.len()
            )));
        };
        let Fault::Truncated { missing } = fault.fault else {
            return Err(TestCaseError::fail(format!(
                "a cut at {cut} is called {fault}"
            )));
        };
        prop_assert!(fault.offset <= cut && missing > 0 && cut + missing <= wire.len());
    }
    Ok(())
}

/// Whatever the bytes, decoding ends, and what it accepts survives the wire.
pub(crate) fn bears<T: Xdr + PartialEq + Debug>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = T::decode(&mut Decoder::new(Bytes::copy_from_slice(bytes))) {
        prop_assert_eq!(from_bytes::<T>(to_bytes(&value)), Ok(value));
    }
    Ok(())
}
