use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

xdr_enum! {
    pub enum Colour {
        Red = 1,
        Blue = 7,
    }
}

xdr_opaque! {
    pub struct Label <= 8;
}

xdr_struct! {
    pub struct Thing {
        pub colour: Colour,
        pub label: Label,
        pub seal: [u8; 5],
        pub next: Option<u64>,
    }
}

fn fault_of<T: Xdr + std::fmt::Debug>(bytes: &[u8]) -> (usize, Fault) {
    let error = from_bytes::<T>(Bytes::copy_from_slice(bytes)).unwrap_err();
    (error.offset, error.fault)
}

#[test]
fn a_struct_is_its_fields_in_order_each_padded_to_four_bytes() {
    let thing = Thing {
        colour: Colour::Blue,
        label: Label::new("abcde").unwrap(),
        seal: *b"12345",
        next: Some(2),
    };
    let wire = to_bytes(&thing);
    assert_eq!(
        &wire[..],
        b"\0\0\0\x07\0\0\0\x05abcde\0\0\x0012345\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"
    );
    assert_eq!(from_bytes::<Thing>(wire), Ok(thing));
}

#[test]
fn an_opaque_is_a_slice_of_the_input() {
    let input = Bytes::from_static(b"\0\0\0\x04abcd");
    let label = from_bytes::<Label>(input.clone()).unwrap();
    assert_eq!(label.bytes(), "abcd");
    assert_eq!(label.into_bytes().as_ptr(), input[4..].as_ptr());
}

#[test]
fn an_opaque_over_its_limit_is_refused_at_its_length_word() {
    assert_eq!(
        fault_of::<(u32, Label)>(b"\0\0\0\0\0\0\0\x09abcdefghi\0\0\0"),
        (
            4,
            Fault::TooLong {
                what: "Label",
                length: 9,
                limit: 8
            }
        )
    );
    assert_eq!(Label::new("abcdefghi"), None);
}

#[test]
fn a_wrong_discriminant_is_reported_where_it_stands() {
    let wrong = Fault::BadDiscriminant {
        what: "Colour",
        value: 2,
    };
    assert_eq!(
        fault_of::<(u32, Colour)>(&[0, 0, 0, 0, 0, 0, 0, 2]),
        (4, wrong)
    );
    let wrong = Fault::BadDiscriminant {
        what: "bool",
        value: 2,
    };
    assert_eq!(
        fault_of::<(u32, bool)>(&[0, 0, 0, 0, 0, 0, 0, 2]),
        (4, wrong)
    );
}

#[test]
fn bytes_after_the_value_are_reported() {
    assert_eq!(fault_of::<u32>(&[0; 7]), (4, Fault::Trailing { count: 3 }));
}

#[test]
fn a_list_that_claims_more_than_it_holds_costs_nothing_and_is_truncated() {
    struct Items;
    impl std::fmt::Debug for Items {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Items")
        }
    }
    impl Xdr for Items {
        fn encode(&self, _: &mut Encoder) {}
        fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
            input.list::<u64>("items", 1 << 30).map(|_| Items)
        }
    }
    let claim = b"\x20\0\0\0\0\0\0\0\0\0\0\x01";
    assert_eq!(
        fault_of::<Items>(claim),
        (12, Fault::Truncated { missing: 8 })
    );
}

#[test]
fn a_large_payload_is_kept_by_reference_and_a_small_one_copied() {
    let large = Bytes::from(vec![7; BY_REFERENCE_BYTES + 1]);
    let mut out = Encoder::new();
    out.u32(1);
    out.payload(&Bytes::from_static(b"small"));
    out.payload(&large);
    out.u32(2);
    let parts = out.into_parts();
    assert_eq!(parts.len(), 3);
    assert_eq!(
        &parts[0][..],
        b"\0\0\0\x01\0\0\0\x05small\0\0\0\0\0\x08\x01"
    );
    assert_eq!(parts[1].as_ptr(), large.as_ptr());
    assert_eq!(&parts[2][..], b"\0\0\0\0\0\0\x02");
}

/// What an encoder is told to do.
#[derive(Debug, Clone)]
enum Step {
    Word(u32),
    Payload(usize),
    /// Overwrite the n-th word written by `Word`.
    Patch(usize, u32),
    /// Cut to this part (per mille) of what is written.
    Truncate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u32>().prop_map(Step::Word),
        3 => (0..3 * BY_REFERENCE_BYTES).prop_map(Step::Payload),
        2 => (any::<usize>(), any::<u32>()).prop_map(|(which, value)| Step::Patch(which, value)),
        1 => (0..1000_usize).prop_map(Step::Truncate),
    ]
}

proptest! {
    #[test]
    fn keeping_payloads_by_reference_doesnt_change_what_is_encoded(
        steps in prop::collection::vec(step(), 0..40)
    ) {
        let mut out = Encoder::new();
        let mut plain = BytesMut::new();
        let mut words = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Word(value) => {
                    words.push(out.len());
                    out.u32(value);
                    plain.put_u32(value);
                }
                Step::Payload(length) => {
                    let payload = Bytes::from(vec![index as u8; length]);
                    out.payload(&payload);
                    plain.put_u32(length as u32);
                    plain.put_slice(&payload);
                    plain.put_slice(padding(length));
                }
                Step::Patch(which, value) if !words.is_empty() => {
                    let offset = words[which % words.len()];
                    out.patch_u32(offset, value);
                    plain[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
                }
                Step::Patch(..) => {}
                Step::Truncate(per_mille) => {
                    let length = out.len() * per_mille / 1000;
                    out.truncate(length);
                    plain.truncate(length);
                    words.retain(|offset| offset + 4 <= length);
                }
            }
            prop_assert_eq!(out.len(), plain.len());
        }
        prop_assert_eq!(out.finish(), plain.freeze());
    }

    #[test]
    fn a_chain_comes_back_as_it_was(items in prop::collection::vec(any::<u64>(), 0..20)) {
        let mut out = Encoder::new();
        encode_chain(&items, &mut out);
        let mut input = Decoder::new(out.finish());
        prop_assert_eq!(decode_chain::<u64>(&mut input), Ok(items));
        prop_assert_eq!(input.finish(), Ok(()));
    }
}

impl<A: Xdr, B: Xdr> Xdr for (A, B) {
    fn encode(&self, out: &mut Encoder) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}
