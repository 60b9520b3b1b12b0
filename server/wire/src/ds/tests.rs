use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::nfs3::Nfsstat3;
use crate::testing::{bears, survives};
use crate::xdr::{from_bytes, to_bytes};

fn handle() -> impl Strategy<Value = Fh3> {
    prop::collection::vec(any::<u8>(), 0..=64)
        .prop_map(|bytes| Fh3::new(Bytes::from(bytes)).unwrap())
}

fn span() -> impl Strategy<Value = Span> {
    (any::<u64>(), any::<u64>()).prop_map(|(begin, end)| Span { begin, end })
}

fn share() -> impl Strategy<Value = Share> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(unit, count, index)| Share {
        unit,
        count,
        index,
    })
}

fn outcome<T: std::fmt::Debug>(
    ok: impl Strategy<Value = T>,
) -> impl Strategy<Value = Outcome<T, ()>> {
    let statuses = vec![Nfsstat3::Stale, Nfsstat3::Nospc, Nfsstat3::Notsupp];
    prop_oneof![
        ok.prop_map(Ok),
        prop::sample::select(statuses).prop_map(|status| Err(status.into())),
    ]
}

proptest! {
    #[test]
    fn a_question_survives_the_wire(object in handle(), source in handle(), span in span(), share in share(), offset: u64) {
        for what in [What::Data, What::Hole] {
            survives(&SeekArgs { object: object.clone(), within: span, share, what })?;
        }
        survives(&AllocateArgs { object: object.clone(), span, share })?;
        survives(&DeallocateArgs { object: object.clone(), span })?;
        survives(&CloneArgs { source, source_offset: offset, object, span })?;
    }

    #[test]
    fn an_order_to_fetch_survives_the_wire(
        ip: std::net::IpAddr, port: u16, source in handle(), object in handle(), offsets: (u64, u64), ids: (u32, u32),
        length: u32,
    ) {
        survives(&PullArgs {
            origin: Address(SocketAddr::new(ip, port)),
            source,
            source_offset: offsets.0,
            uid: ids.0,
            gid: ids.1,
            object,
            offset: offsets.1,
            length,
        })?;
    }

    #[test]
    fn an_offer_survives_the_wire(
        names: [Vec<u8>; 3], size: u64, time: (u32, u32), ids: (u32, u32), object in handle(),
    ) {
        let [backend, key, etag] = names.map(|name| Foreign::new(name).unwrap());
        let mtime = Nfstime3 { seconds: time.0, nseconds: time.1 };
        survives(&OfferArgs { backend, key, etag, size, mtime, uid: ids.0, gid: ids.1 })?;
        survives(&WithdrawArgs { object: object.clone() })?;
        survives::<OfferRes>(&Ok(Offered { object }))?;
        survives::<WithdrawRes>(&Ok(()))?;
    }

    #[test]
    fn a_demand_survives_the_wire(name: Vec<u8>, told: [u64; 6]) {
        survives(&DemandArgs { backend: Foreign::new(name).unwrap() })?;
        let [hits, misses, fetched_bytes, read_bytes, held_bytes, limit_bytes] = told;
        survives::<DemandRes>(&Ok(Demand { hits, misses, fetched_bytes, read_bytes, held_bytes, limit_bytes }))?;
    }

    #[test]
    fn an_order_to_make_objects_survives_the_wire(
        mode: u32, ids in prop::collection::vec(any::<([u8; 16], u32, u32)>(), 0..=MAKE_MAX),
        handles in prop::collection::vec(handle(), 0..8),
    ) {
        let objects = ids.into_iter().map(|(id, uid, gid)| NewObject { id, uid, gid }).collect();
        survives(&MakeArgs { mode, objects })?;
        survives::<MakeRes>(&Ok(Made { handles }))?;
    }

    #[test]
    fn an_answer_survives_the_wire(
        sparse: bool, allocate: bool, pull: bool, clone_block_bytes: u32, offset: u64, count: u32, verf: [u8; 8],
    ) {
        survives::<AbilitiesRes>(&Ok(Abilities { sparse, allocate, pull, clone_block_bytes }))?;
        for verdict in [Verdict::Found, Verdict::NotBefore, Verdict::Nowhere] {
            survives::<SeekRes>(&Ok(SeekOk { verdict, offset }))?;
        }
        survives::<ReachedRes>(&Ok(Reached { offset }))?;
        survives::<PullRes>(&Ok(Pulled { count, verf }))?;
    }

    #[test]
    fn a_refusal_survives_the_wire(answer in outcome(any::<u64>().prop_map(|offset| Reached { offset }))) {
        survives::<ReachedRes>(&answer)?;
    }

    #[test]
    fn any_bytes_are_a_message_or_a_fault(bytes: Vec<u8>) {
        bears::<SeekArgs>(&bytes)?;
        bears::<AllocateArgs>(&bytes)?;
        bears::<DeallocateArgs>(&bytes)?;
        bears::<CloneArgs>(&bytes)?;
        bears::<PullArgs>(&bytes)?;
        bears::<MakeArgs>(&bytes)?;
        bears::<MakeRes>(&bytes)?;
        bears::<SeekRes>(&bytes)?;
        bears::<ReachedRes>(&bytes)?;
        bears::<PullRes>(&bytes)?;
        bears::<AbilitiesRes>(&bytes)?;
    }
}

#[test]
fn the_program_has_a_number_that_is_free_for_users() {
    assert!((0x2000_0000..0x4000_0000).contains(&PROGRAM));
}

#[test]
fn a_port_that_is_none_and_a_family_that_is_none_are_refused() {
    let words = |words: [u32; 3]| Bytes::from(words.map(u32::to_be_bytes).concat());
    assert!(from_bytes::<Address>(words([4, 0x7f00_0001, 65_536])).is_err());
    assert!(from_bytes::<Address>(words([5, 0x7f00_0001, 1])).is_err());
    let loopback = Address("127.0.0.1:2049".parse().unwrap());
    assert_eq!(to_bytes(&loopback), words([4, 0x7f00_0001, 2049]));
}
