//! Every record survives its bytes, and no bytes do harm.

mod fuzz;

use super::*;
use crate::acl::{Ace, AceKind, Acl, Label, Who};
use crate::adopted::FoundName;
use crate::inode::{DataStamp, Inode, XattrTotals};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn id() -> impl Strategy<Value = InodeId> {
    (any::<u64>(), any::<u64>()).prop_map(|(home, number)| InodeId { home, number })
}

fn kind() -> impl Strategy<Value = FileKind> {
    proptest::sample::select(vec![
        FileKind::Regular,
        FileKind::Directory,
        FileKind::Symlink,
        FileKind::Block,
        FileKind::Character,
        FileKind::Fifo,
        FileKind::Socket,
    ])
}

fn object() -> impl Strategy<Value = ObjectRef> {
    let ids = (
        any::<u32>(),
        any::<u128>(),
        any::<(u32, u32)>(),
        any::<u32>(),
    );
    (ids, bytes(64)).prop_map(
        |((server, object, (uid, gid), generation), handle)| ObjectRef {
            server: DataServerId(server),
            object: ObjectId(object),
            handle,
            owner: Owner { uid, gid },
            generation,
        },
    )
}

fn extent() -> impl Strategy<Value = Extent> {
    let states = vec![
        ExtentState::Unbound,
        ExtentState::Bound,
        ExtentState::Frozen,
    ];
    let mirror =
        (vec(object(), 0..3), any::<bool>()).prop_map(|(stripes, stale)| Mirror { stripes, stale });
    let numbers = any::<(u64, u64, u32)>();
    (numbers, vec(mirror, 0..3), proptest::sample::select(states)).prop_map(
        |((offset, length, stripe_unit), mirrors, state)| Extent {
            offset,
            length,
            stripe_unit,
            mirrors,
            state,
        },
    )
}

fn acl() -> impl Strategy<Value = Acl> {
    let who = prop_oneof![
        Just(Who::Owner),
        Just(Who::OwningGroup),
        Just(Who::Everyone),
        any::<u32>().prop_map(Who::User),
        any::<u32>().prop_map(Who::Group),
    ];
    let kind = prop_oneof![Just(AceKind::Allow), Just(AceKind::Deny)];
    let ace = (kind, any::<(u32, u32)>(), who).prop_map(|(kind, (flags, mask), who)| Ace {
        kind,
        flags,
        mask,
        who,
    });
    (any::<(u32, bool)>(), vec(ace, 0..4)).prop_map(|((flags, masked), aces)| Acl {
        flags,
        masked,
        aces,
    })
}

fn label() -> impl Strategy<Value = Label> {
    (any::<(u32, u32)>(), bytes(30)).prop_map(|((format, policy), data)| Label {
        format,
        policy,
        data,
    })
}

fn xattrs() -> impl Strategy<Value = XattrBucket> {
    let named =
        (bytes(20), any::<u8>(), any::<u32>()).prop_map(|(name, tiebreak, bytes)| XattrNamed {
            name,
            tiebreak,
            bytes,
        });
    vec(named, 0..3).prop_map(XattrBucket)
}

fn cold_inode() -> impl Strategy<Value = ColdInode> {
    let times = (time(), time(), time(), time());
    let numbers = any::<(
        (u32, u32, u32, u32),
        (u64, u64, u64, u64),
        (u32, u32),
        (u64, u64),
    )>();
    let rest = (
        option::of(bytes(40)),
        option::of(id()),
        option::of(any::<[u8; 8]>()),
        (any::<(u64, bool)>(), option::of(any::<u32>())),
        option::of(acl()),
        option::of(label()),
    );
    (kind(), times, numbers, vec(extent(), 0..3), rest).prop_map(
        |(kind, (atime, mtime, ctime, btime), numbers, extents, rest)| {
            let (
                (mode, uid, gid, nlink),
                (size, change, size_epoch, birth_epoch),
                rdev,
                (data_stamp, used),
            ) = numbers;
            let (target, parent, create_verifier, stood, acl, label) = rest;
            let ((times_mark, unscanned), keeper) = stood;
            let unscanned = unscanned && kind == FileKind::Directory;
            let inode = Inode {
                id: InodeId { home: 0, number: 0 },
                kind,
                mode,
                uid,
                gid,
                nlink,
                size,
                atime,
                mtime,
                ctime,
                btime,
                change,
                rdev,
                target,
                parent,
                size_epoch,
                extents,
                entries: 0,
                create_verifier,
                birth_epoch,
                unscanned,
                keeper: keeper.map(DataServerId),
                data_stamp: DataStamp(data_stamp),
                used,
                acl: acl.map(Arc::new),
                label,
                xattrs: XattrTotals {
                    count: nlink,
                    bytes: size,
                },
            };
            ColdInode { inode, times_mark }
        },
    )
}

fn survives<R: Record + PartialEq + std::fmt::Debug>(record: &R) -> Result<(), TestCaseError> {
    let bytes = record.encode();
    let back = R::decode(&bytes);
    prop_assert_eq!(back.as_ref(), Ok(record));
    for cut in 0..bytes.len() {
        prop_assert!(R::decode(&bytes[..cut]).is_err());
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    prop_assert!(R::decode(&longer).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn an_inode_survives_its_bytes(cold in cold_inode()) {
        survives(&cold)?;
    }

    #[test]
    fn names_survive_their_bytes(names in vec((bytes(255), id(), kind(), 0..2_u8), 0..3)) {
        let named = |(name, id, kind, tiebreak)| Named { name, id, kind, tiebreak };
        survives(&Bucket(names.into_iter().map(named).collect()))?;
    }

    #[test]
    fn extended_attributes_survive_their_bytes(names in xattrs(), value in bytes(999)) {
        survives(&names)?;
        survives(&XattrValue(value))?;
    }

    #[test]
    fn a_data_server_survives_its_bytes(
        id: u32, name: String, device_generation: u32, address: String, export: String, root_handle in bytes(64)
    ) {
        let id = DataServerId(id);
        survives(&DataServerRecord { id, name, device_generation, address, export, root_handle })?;
    }

    #[test]
    fn a_client_survives_its_bytes(
        id: u64, owner in bytes(99), verifier: [u8; 8], principal in bytes(9), reclaim_complete: bool
    ) {
        survives(&ClientRecord { id, owner, verifier, principal, reclaim_complete })?;
    }

    #[test]
    fn a_write_intent_survives_its_bytes(inode in id(), size_epoch: u64, clients: Vec<u64>) {
        survives(&WriteIntent { inode, size_epoch, clients })?;
    }

    #[test]
    fn an_order_survives_its_bytes(inode in id(), size: u64, size_epoch: u64, objects in vec(object(), 0..4)) {
        for kind in [
            OrderKind::Truncate { size, size_epoch },
            OrderKind::Fence { objects: objects.clone() },
            OrderKind::Restore,
        ] {
            survives(&Order { inode, kind })?;
        }
    }

    #[test]
    fn what_was_found_on_a_filer_survives_its_bytes(
        inode in id(), handles in vec(bytes(64), 3), name in bytes(255), unseen: u32, cookie: u64, verifier: [u8; 8]
    ) {
        let place = FoundName { folder: handles[0].clone(), name };
        survives(&place)?;
        survives(&Found { inode, handle: handles[1].clone(), unseen, first: place })?;
        survives(&Reached { handle: handles[2].clone(), cookie, verifier })?;
    }

    #[test]
    fn a_pool_entry_survives_its_bytes(object in object()) {
        survives(&PoolEntry::Reserved { server: object.server, object: object.object })?;
        survives(&PoolEntry::Pooled(object))?;
    }

    #[test]
    fn any_bytes_as_a_record_do_no_harm(bytes: Vec<u8>) {
        let mut bytes = bytes;
        bytes.insert(0, VERSION);
        let _ = ColdInode::decode(&bytes);
        let _ = Bucket::decode(&bytes);
        let _ = XattrBucket::decode(&bytes);
        let _ = Order::decode(&bytes);
        let _ = DataServerRecord::decode(&bytes);
        let _ = ClientRecord::decode(&bytes);
        let _ = crate::store::Batch::from_bytes(&bytes);
    }
}

#[test]
fn a_record_of_a_newer_version_is_refused_in_words() {
    let mut bytes = Bucket::default().encode().to_vec();
    bytes[0] = VERSION + 1;
    assert_eq!(
        Bucket::decode(&bytes).unwrap_err().to_string(),
        "a directory entry has version 2, and this program knows versions up to 1"
    );
}
