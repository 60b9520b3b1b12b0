//! Every message of NFSv4 over the wire and back, and damaged messages.

use bytes::Bytes;
use proptest::prelude::*;

use super::sample::{Sample, SampleOf, Source, over_the_wire};
use super::*;
use crate::xdr::{Decoder, Encoder, Fault, Xdr, from_bytes, to_bytes};

fn all_operations() -> impl Iterator<Item = Opnum> {
    (0..=u32::from(u8::MAX)).filter_map(Opnum::from_u32)
}

fn all_callbacks() -> impl Iterator<Item = CbOpnum> {
    (0..=u32::from(u8::MAX)).filter_map(CbOpnum::from_u32)
}

fn sources() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..600)
}

fn encoded(args: &Compound4Args) -> Bytes {
    let mut out = Encoder::new();
    args.encode(&mut out);
    out.finish()
}

fn decoded(bytes: Bytes, max_ops: usize) -> (Compound4Args, Decoder) {
    let mut input = Decoder::new(bytes);
    let args = Compound4Args::decode_bounded(&mut input, max_ops).expect("the head is whole");
    (args, input)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_of_any_operation_comes_back_as_it_went(bytes in sources()) {
        for op in all_operations() {
            let mut source = Source::new(bytes.clone());
            let ops = vec![ArgOp::sample_of(op, &mut source), ArgOp::sample_of(op, &mut source)];
            let sent = Compound4Args { tag: Bytes::from_static(b"tag"), ..Compound4Args::new(2, ops) };
            let (came, rest) = decoded(encoded(&sent), 8);
            prop_assert_eq!(&came, &sent);
            prop_assert_eq!(came.finish(&rest), Ok(()));
            prop_assert_eq!(came.ops[0].opnum(), op);
        }
    }

    #[test]
    fn a_result_of_any_operation_comes_back_as_it_went(bytes in sources()) {
        for op in all_operations() {
            let result = ResOp::sample_of(op, &mut Source::new(bytes.clone()));
            let sent = Compound4Res { status: result.status(), tag: Bytes::new(), results: vec![result] };
            prop_assert_eq!(&over_the_wire(&sent), &sent);
            prop_assert_eq!(sent.results[0].opnum(), op);
        }
    }

    #[test]
    fn a_callback_comes_back_as_it_went(bytes in sources()) {
        for op in all_callbacks() {
            let mut source = Source::new(bytes.clone());
            let ops = vec![CbArgOp::sample_of(op, &mut source)];
            let sent = CbCompound4Args { tag: Bytes::new(), minorversion: 1, callback_ident: 0, ops };
            prop_assert_eq!(&over_the_wire(&sent), &sent);
            let results = vec![CbResOp::sample_of(op, &mut source)];
            let sent = CbCompound4Res { status: results[0].status(), tag: Bytes::new(), results };
            prop_assert_eq!(&over_the_wire(&sent), &sent);
        }
    }

    #[test]
    fn bodies_of_flexible_files_come_back_as_they_went(bytes in sources()) {
        let mut source = Source::new(bytes);
        let layout = flex::Layout::sample(&mut source);
        prop_assert_eq!(to_bytes(&layout).len(), layout.encoded_len());
        prop_assert_eq!(&over_the_wire(&layout), &layout);
        let device = flex::DeviceAddr::sample(&mut source);
        prop_assert_eq!(&over_the_wire(&device), &device);
        let returned = flex::LayoutReturn::sample(&mut source);
        prop_assert_eq!(&over_the_wire(&returned), &returned);
        let update = flex::LayoutUpdate::sample(&mut source);
        prop_assert_eq!(&over_the_wire(&update), &update);
        let hint = flex::LayoutHint::sample(&mut source);
        prop_assert_eq!(&over_the_wire(&hint), &hint);
    }

    #[test]
    fn a_damaged_request_is_told_and_never_panics(bytes in sources(), at in any::<usize>(), byte in any::<u8>()) {
        for op in all_operations() {
            let ops = vec![ArgOp::sample_of(op, &mut Source::new(bytes.clone()))];
            let whole = encoded(&Compound4Args::new(1, ops));
            let mut damaged = whole.to_vec();
            let at = 12 + at % (whole.len() - 12);
            damaged[at] = byte;
            decoded(damaged.into(), 4);
            let (cut, _) = decoded(whole.slice(..at), 4);
            prop_assert!(cut.ops.len() == 1 && cut.ops[0].ends_decoding(), "{cut:?}");
        }
    }

    #[test]
    fn a_damaged_reply_never_panics(bytes in sources(), at in any::<usize>(), byte in any::<u8>()) {
        for op in all_operations() {
            let results = vec![ResOp::sample_of(op, &mut Source::new(bytes.clone()))];
            let whole = to_bytes(&Compound4Res { status: Nfsstat4::Ok, tag: Bytes::new(), results });
            let mut damaged = whole.to_vec();
            let at = at % whole.len();
            damaged[at] = byte;
            let _ = from_bytes::<Compound4Res>(damaged.into());
            prop_assert!(from_bytes::<Compound4Res>(whole.slice(..at)).is_err());
        }
    }

    #[test]
    fn a_universal_address_leads_back_to_its_socket(host in any::<std::net::IpAddr>(), port in any::<u16>()) {
        let address = std::net::SocketAddr::new(host, port);
        prop_assert_eq!(Netaddr4::tcp(address).to_socket_addr(), Some(address));
    }
}

#[test]
fn every_operation_fails_with_the_status_it_was_given() {
    for op in all_operations() {
        let failed = ResOp::failed(op, Nfsstat4::Notsupp);
        assert_eq!((failed.opnum(), failed.status()), (op, Nfsstat4::Notsupp));
        assert_eq!(over_the_wire(&failed), failed);
    }
}

#[test]
fn a_refused_setattr_still_says_which_attributes_were_set() {
    let failed = to_bytes(&ResOp::failed(Opnum::Setattr, Nfsstat4::Perm));
    assert_eq!(failed[..], [0, 0, 0, 34, 0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn operations_beyond_the_limit_are_counted_and_not_decoded() {
    let sent = Compound4Args::new(1, vec![ArgOp::Getfh; 20]);
    let (came, rest) = decoded(encoded(&sent), 8);
    assert_eq!((came.ops.len(), came.ops_claimed), (8, 20));
    assert!(came.finish(&rest).is_err());
}

#[test]
fn a_count_without_operations_behind_it_costs_no_memory() {
    let mut out = Encoder::new();
    out.opaque(b"");
    out.u32(1);
    out.u32(u32::MAX);
    let (came, _) = decoded(out.finish(), usize::MAX);
    assert!(matches!(
        came.ops[..],
        [ArgOp::Malformed {
            op: Opnum::Illegal,
            ..
        }]
    ));
}

#[test]
fn operations_before_an_unknown_one_are_kept() {
    let (came, _) = decoded(
        encoded(&Compound4Args::new(
            1,
            vec![ArgOp::Putrootfh, ArgOp::Illegal(76), ArgOp::Getfh],
        )),
        8,
    );
    assert_eq!(came.ops, [ArgOp::Putrootfh, ArgOp::Illegal(76)]);
    assert_eq!(came.ops_claimed, 3);
}

#[test]
fn operations_before_a_malformed_one_are_kept() {
    let mut out = Encoder::new();
    Compound4Args {
        ops_claimed: 2,
        ..Compound4Args::new(1, vec![ArgOp::Putrootfh])
    }
    .encode(&mut out);
    Opnum::Putfh.encode(&mut out);
    out.opaque(&[7; 129]);
    let (came, _) = decoded(out.finish(), 8);
    let [
        ArgOp::Putrootfh,
        ArgOp::Malformed {
            op: Opnum::Putfh,
            fault,
        },
    ] = &came.ops[..]
    else {
        panic!("{came:?}");
    };
    assert_eq!(
        fault.fault,
        Fault::TooLong {
            what: "object",
            length: 129,
            limit: 128
        }
    );
}

#[test]
fn an_attribute_nobody_knows_is_told_apart_from_values_that_are_no_xdr() {
    let unknown = RawFattr4 {
        attrmask: vec![0, 0, 0, 4],
        attr_vals: Bytes::from_static(&[0; 4]),
    };
    assert!(matches!(
        from_bytes(to_bytes(&unknown)),
        Ok(Fattr4::Unsupported { attr: 98, .. })
    ));
    let short = RawFattr4 {
        attrmask: vec![1 << 4],
        attr_vals: Bytes::from_static(&[0; 4]),
    };
    assert!(matches!(
        from_bytes(to_bytes(&short)),
        Ok(Fattr4::Malformed { .. })
    ));
    let long = RawFattr4 {
        attrmask: vec![1 << 4],
        attr_vals: Bytes::from_static(&[0; 12]),
    };
    assert!(matches!(
        from_bytes(to_bytes(&long)),
        Ok(Fattr4::Malformed { .. })
    ));
}

#[test]
fn attributes_go_in_the_order_of_their_numbers() {
    let attributes = Attributes {
        mode: Some(0o640),
        size: Some(5),
        ..Attributes::default()
    };
    let expected = [
        [0, 0, 0, 2],    // two words of mask
        [0, 0, 0, 0x10], // size is 4
        [0, 0, 0, 2],    // mode is 33
        [0, 0, 0, 12],   // bytes of values
        [0, 0, 0, 0],
        [0, 0, 0, 5],
        [0, 0, 0x01, 0xa0], // 0640
    ];
    assert_eq!(to_bytes(&attributes), expected.concat());
}

#[test]
fn every_attribute_has_the_number_of_its_place() {
    let numbers: Vec<u32> = Attr::ALL.iter().map(|&attr| attr.into()).collect();
    assert_eq!(numbers, (0..=86).collect::<Vec<u32>>());
    assert_eq!(Bitmap4::all_attributes().len(), 87);
}

#[test]
fn a_bitmap_drops_words_that_are_zero_and_bits_that_mean_nothing() {
    assert_eq!(to_bytes(&Bitmap4::EMPTY)[..], [0; 4]);
    assert_eq!(to_bytes(&Bitmap4::of(&[33])).len(), 12);
    let long = [
        [0, 0, 0, 5],
        [0, 0, 0, 1],
        [0; 4],
        [0; 4],
        [0xff; 4],
        [0xff; 4],
    ]
    .concat();
    assert_eq!(from_bytes::<Bitmap4>(long.into()), Ok(Bitmap4::of(&[0])));
}

#[test]
fn a_readdir_entry_knows_what_it_adds_to_the_answer() {
    let attrs = Attributes {
        fileid: Some(9),
        ..Attributes::default()
    };
    let entry = Entry4 {
        cookie: 3,
        name: Bytes::from_static(b"name1"),
        attrs: Box::new(attrs),
    };
    assert_eq!(entry.dircount_len(), 8 + 4 + 8);
    let mut listing = Readdir4Ok {
        cookieverf: Verifier4::default(),
        entries: Vec::new(),
        eof: true,
    };
    assert_eq!(listing.encoded_len(), Readdir4Ok::EMPTY_LEN);
    let mut alone = Encoder::new();
    entry.encode(&mut alone);
    listing.entries.push(entry);
    assert_eq!(listing.encoded_len(), Readdir4Ok::EMPTY_LEN + alone.len());
}

#[test]
fn an_address_with_a_port_out_of_range_is_none() {
    let address = |netid: &'static str, uaddr: &'static str| Netaddr4 {
        netid: netid.into(),
        uaddr: uaddr.into(),
    };
    assert_eq!(
        address("tcp", "10.0.0.1.8.1").to_socket_addr(),
        "10.0.0.1:2049".parse().ok()
    );
    assert_eq!(
        address("tcp6", "::1.8.1").to_socket_addr(),
        "[::1]:2049".parse().ok()
    );
    assert_eq!(address("tcp", "10.0.0.1.256.1").to_socket_addr(), None);
    assert_eq!(address("tcp", "::1.8.1").to_socket_addr(), None);
    assert_eq!(address("smtp", "10.0.0.1.8.1").to_socket_addr(), None);
    assert_eq!(address("tcp", "").to_socket_addr(), None);
}
