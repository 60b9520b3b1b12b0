//! What holds of every operation alike, tried with each: its arguments, its place, and with what it may fail.
//! What one operation does is in the other files; docs/OPERATIONS.md says where.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use interop_tests::nfs41::rfc::{OPERATIONS, Operation};
use interop_tests::nfs41::{Client, ClientSetup, putfh, root_user, user};
use wire::nfs4::*;
use wire::xdr::{Decoder, Encoder};

use crate::operations_page;
use crate::world::World;

/// Statuses outside an operation's list that are given all the same. docs/OPERATIONS.md has the reasons.
pub const BEYOND: &[(Opnum, Nfsstat4)] = &[
    (Opnum::Putfh, Nfsstat4::Access),
    (Opnum::Putrootfh, Nfsstat4::Access),
    (Opnum::Putpubfh, Nfsstat4::Access),
    (Opnum::Remove, Nfsstat4::Perm),
    (Opnum::Rename, Nfsstat4::Perm),
    (Opnum::Rename, Nfsstat4::Isdir),
    (Opnum::Setattr, Nfsstat4::Isdir),
    (Opnum::Allocate, Nfsstat4::Locked),
    (Opnum::Clone, Nfsstat4::Locked),
    (Opnum::Deallocate, Nfsstat4::Locked),
    (Opnum::IoAdvise, Nfsstat4::Locked),
    (Opnum::Read, Nfsstat4::PartnerNoAuth),
    (Opnum::Seek, Nfsstat4::PartnerNoAuth),
];

/// The operation with the smallest arguments that can be decoded: zeros, or ones where zero is nothing.
fn smallest(row: &Operation) -> Result<ArgOp> {
    for fill in [0, 1] {
        let mut bytes = Encoder::new();
        // An empty tag, the minor version, one operation.
        for word in [0, 2, 1, row.op as u32] {
            bytes.u32(word);
        }
        for _ in 0..64 {
            bytes.u32(fill);
        }
        let mut input = Decoder::new(bytes.finish());
        let decoded = Compound4Args::decode_bounded(&mut input, 1)?.ops.pop();
        match decoded.context("one operation was encoded")? {
            ArgOp::Malformed { .. } => {}
            op => return Ok(sensible(op)),
        }
    }
    anyhow::bail!("neither zeros nor ones are arguments of {:?}", row.op)
}

/// With what is judged before the file is looked at made sensible.
fn sensible(mut op: ArgOp) -> ArgOp {
    match &mut op {
        ArgOp::Allocate(args) => args.length = 1,
        ArgOp::Deallocate(args) => args.length = 1,
        ArgOp::Lock(args) => args.length = 1,
        ArgOp::Lockt(args) => args.length = 1,
        ArgOp::Locku(args) => args.length = 1,
        ArgOp::Layoutstats(args) => args.layoutupdate.layout_type = LAYOUT4_FLEX_FILES,
        ArgOp::Getdeviceinfo(args) => args.layout_type = LAYOUT4_FLEX_FILES,
        ArgOp::WriteSame(args) => {
            args.adb.block_size = 8;
            args.adb.block_count = 1;
            args.adb.reloff_blocknum = u64::MAX;
        }
        ArgOp::Rename(args) => {
            args.oldname = "name".into();
            args.newname = "new".into();
        }
        ArgOp::Link(args) => args.newname = "new".into(),
        ArgOp::Open(args) => args.share_access = OPEN4_SHARE_ACCESS_READ,
        ArgOp::OpenDowngrade(args) => args.share_access = OPEN4_SHARE_ACCESS_READ,
        ArgOp::Create(args) => args.objname = "new".into(),
        ArgOp::Lookup(args) => args.objname = "name".into(),
        ArgOp::Remove(args) => args.target = "name".into(),
        ArgOp::Secinfo(args) => args.name = "name".into(),
        ArgOp::Getxattr(args) => args.name = "name".into(),
        ArgOp::Setxattr(args) => args.key = "name".into(),
        ArgOp::Removexattr(args) => args.name = "name".into(),
        ArgOp::Layoutget(args) => {
            args.layout_type = LAYOUT4_FLEX_FILES;
            args.length = u64::MAX;
        }
        ArgOp::Layoutcommit(args) => args.layoutupdate.layout_type = LAYOUT4_FLEX_FILES,
        ArgOp::Layoutreturn(args) => args.layout_type = LAYOUT4_FLEX_FILES,
        ArgOp::Getdevicelist(args) => args.layout_type = LAYOUT4_FLEX_FILES,
        _ => {}
    }
    op
}

fn all() -> Result<Vec<(&'static Operation, ArgOp)>> {
    let mut all = Vec::new();
    for row in OPERATIONS {
        // What stands in a request for a number that is none.
        if row.op != Opnum::Illegal {
            all.push((row, smallest(row)?));
        }
    }
    Ok(all)
}

/// The operations that the page says may answer `status` as others do: each that lists it, but those that have
/// a test of their own for it, or a reason why they never do.
pub fn owed(status: Nfsstat4) -> Result<Vec<(Opnum, ArgOp)>> {
    let owed = operations_page::alike(status);
    anyhow::ensure!(!owed.is_empty(), "nobody owes {status:?}");
    owed.into_iter()
        .map(|row| Ok((row.op, smallest(row)?)))
        .collect()
}

/// Those that answer it though it isn't in their list.
pub fn beyond(status: Nfsstat4) -> Result<Vec<(Opnum, ArgOp)>> {
    BEYOND
        .iter()
        .filter(|(_, known)| *known == status)
        .map(|(op, _)| {
            let row = Operation::of(*op).context("it is in the table")?;
            Ok((*op, smallest(row)?))
        })
        .collect()
}

/// One of each kind of object, by what it is.
async fn objects(client: &Client) -> Result<BTreeMap<&'static str, Fh4>> {
    let root = client.root().await?;
    let device = Specdata4 {
        specdata1: 1,
        specdata2: 2,
    };
    let kinds = [
        ("a folder", Createtype4::Dir),
        ("a link", Createtype4::Lnk("to".into())),
        ("a socket", Createtype4::Sock),
        ("a fifo", Createtype4::Fifo),
        ("a block device", Createtype4::Blk(device)),
        ("a character device", Createtype4::Chr(device)),
    ];
    let mut made = BTreeMap::new();
    for (kind, objtype) in kinds {
        made.insert(kind, client.create(&root, kind, objtype).await?);
    }
    made.insert("a file", client.open_create(&root, "a file").await?.fh);
    Ok(made)
}

#[tokio::test]
async fn no_operation_fails_with_what_is_no_error_of_its_own() -> Result<()> {
    // RFC 8881 §15.2, on each kind of object, for root and for a stranger.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let objects = objects(&a).await?;
    let mut wrong = Vec::new();
    for (kind, fh) in &objects {
        for (row, op) in all()? {
            for credential in [root_user(), user(1000, 1000)] {
                let ops = [putfh(fh), ArgOp::Savefh, op.clone()];
                let reply = a.compound_as(credential, ops).await?;
                let known = BEYOND.contains(&(row.op, reply.status));
                if !row.may_answer(reply.status) && !known {
                    wrong.push((row.op, kind, reply.status));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_is_not_there_says_notsupp_and_nothing_else() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let here = operations_page::here();
    let mut wrong = Vec::new();
    for (row, op) in all()? {
        let ops = [putfh(&file.fh), ArgOp::Savefh, op];
        let status = a.compound(ops).await?.status;
        // Of ranges a data server may have to say that it can't.
        let ranges = (Opnum::Allocate..=Opnum::Clone).contains(&row.op);
        let is_here = here.get(&row.op) == Some(&true);
        if !(is_here && ranges) && is_here == (status == Nfsstat4::Notsupp) {
            wrong.push((row.op, status));
        }
    }
    assert!(wrong.is_empty(), "the page says otherwise: {wrong:#?}");
    world.ends_without_leak().await
}

/// Sends `before` and one operation at a time, and tells all that answered otherwise.
async fn all_answer(
    client: &Client,
    status: Nfsstat4,
    before: &[ArgOp],
    ops: Vec<(Opnum, ArgOp)>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for (opnum, op) in ops {
        let ops = before.iter().cloned().chain([op]);
        let reply = client.compound(ops).await?;
        if reply.statuses().last() != Some(&(opnum, status)) {
            wrong.push((opnum, reply.statuses()));
        }
    }
    assert!(wrong.is_empty(), "not {status:?}: {wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn every_operation_on_a_file_asks_for_one() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let mut ops = owed(Nfsstat4::Nofilehandle)?;
    for (_, op) in &mut ops {
        if let ArgOp::ReclaimComplete(args) = op {
            args.one_fs = true;
        }
    }
    all_answer(&a, Nfsstat4::Nofilehandle, &[], ops).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_in_a_file_system_that_is_elsewhere_is_told_so() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.referrals = vec![crate::referrals::referral("/d/gone")];
    })
    .await?;
    let a = world.client("a").await?;
    let folder = a.walk("/d").await?;
    let lookup = ArgOp::Lookup(Lookup4Args {
        objname: "gone".into(),
    });
    let of_a_folder = || Attributes {
        file_type: Some(Ftype4::Dir),
        ..Attributes::default()
    };
    let mut ops = owed(Nfsstat4::Moved)?;
    for (_, op) in &mut ops {
        match op {
            ArgOp::Getattr(args) => args.attr_request = of_a_folder().mask(),
            ArgOp::Verify(args) => args.obj_attributes = of_a_folder().into(),
            ArgOp::Nverify(args) => args.obj_attributes = of_a_folder().into(),
            _ => {}
        }
    }
    all_answer(&a, Nfsstat4::Moved, &[putfh(&folder), lookup], ops).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_that_went_meanwhile_is_stale_when_its_handle_is_restored() -> Result<()> {
    // RFC 8881 §4.2.3: PUTFH and RESTOREFH are the only ways to an operation on it.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let gone = a.mkdir(&root, "gone").await?;
    let remove = ArgOp::Remove(Remove4Args {
        target: "gone".into(),
    });
    let ops = [
        putfh(&gone),
        ArgOp::Savefh,
        putfh(&root),
        remove,
        ArgOp::Restorefh,
    ];
    let reply = a.compound(ops).await?;
    assert_eq!(
        reply.statuses().last(),
        Some(&(Opnum::Restorefh, Nfsstat4::Stale))
    );
    assert_eq!(a.compound([putfh(&gone)]).await?.status, Nfsstat4::Stale);
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_whose_saved_file_went_meanwhile_is_stale() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let other = a.open_create(&root, "other").await?;
    for (opnum, mut op) in owed(Nfsstat4::Stale)? {
        // A folder for RENAME, and a file that nobody holds for the rest.
        let gone = if opnum == Opnum::Rename {
            a.mkdir(&root, "gone").await?
        } else {
            let gone = a.open_create(&root, "gone").await?;
            a.close(&gone).await?;
            gone.fh
        };
        let remove = ArgOp::Remove(Remove4Args {
            target: "gone".into(),
        });
        let mut ops = vec![putfh(&gone), ArgOp::Savefh, putfh(&root), remove];
        match &mut op {
            ArgOp::Clone(args) => args.dst_stateid = other.stateid,
            ArgOp::Copy(args) => args.dst_stateid = other.stateid,
            _ => {}
        }
        if matches!(opnum, Opnum::Clone | Opnum::Copy) {
            ops.push(putfh(&other.fh));
        }
        ops.push(op);
        let reply = a.compound(ops).await?;
        assert_eq!(reply.statuses().last(), Some(&(opnum, Nfsstat4::Stale)));
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_cut_short_is_bad_xdr() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let fault = || {
        Decoder::new(bytes::Bytes::new())
            .u32()
            .expect_err("nothing is there")
    };
    let mut ops = owed(Nfsstat4::Badxdr)?;
    for (opnum, op) in &mut ops {
        let mut whole = Encoder::new();
        op.encode(&mut whole);
        assert!(whole.len() > 4, "{opnum:?} has no arguments");
        *op = ArgOp::Malformed {
            op: *opnum,
            fault: fault(),
        };
    }
    all_answer(&a, Nfsstat4::Badxdr, &[ArgOp::Putrootfh], ops).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_but_six_needs_a_session() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let connection = a.connect().await?;
    for (opnum, op) in owed(Nfsstat4::OpNotInSession)? {
        let alone = Compound4Args::new(2, vec![op]);
        let reply = connection.compound(root_user(), &alone).await?;
        assert_eq!(reply.status, Nfsstat4::OpNotInSession, "{opnum:?}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_sent_again_that_was_not_to_be_kept_is_told_so() -> Result<()> {
    // RFC 8881 §2.10.6.1.3.
    let world = World::start().await?;
    let a = world.client("a").await?;
    for (opnum, op) in owed(Nfsstat4::RetryUncachedRep)? {
        let mut sequence = a.next_sequence(0);
        sequence.cachethis = false;
        let request = a.request(sequence, [op]);
        a.send(&request).await?;
        let again = a.send(&request).await?;
        assert_eq!(
            again.statuses().last(),
            Some(&(opnum, Nfsstat4::RetryUncachedRep)),
            "{opnum:?}"
        );
    }
    world.ends_without_leak().await
}

/// A tag that leaves a reply with SEQUENCE in it four bytes short of `most`.
fn tag_that_fills(most: u32) -> bytes::Bytes {
    // Record mark, RPC header, status, length of the tag, count of results, SEQUENCE.
    const AROUND: usize = 4 + 24 + 4 + 4 + 4 + 44;
    vec![b't'; most as usize - AROUND - 4].into()
}

#[tokio::test]
async fn every_operation_whose_result_has_no_room_is_not_done() -> Result<()> {
    // RFC 8881 §2.10.6.4: told before anything happens that nobody would hear of.
    let world = World::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxresponsesize = 1024;
    setup.fore.maxresponsesize_cached = 1024;
    let whole = setup.clone().mount(world.address).await?;
    setup.owner.ownerid = "b".into();
    setup.fore.maxresponsesize = 2048;
    let kept = setup.mount(world.address).await?;
    let mut wrong = Vec::new();
    for (client, ops, status) in [
        (&whole, owed(Nfsstat4::RepTooBig)?, Nfsstat4::RepTooBig),
        (
            &kept,
            owed(Nfsstat4::RepTooBigToCache)?,
            Nfsstat4::RepTooBigToCache,
        ),
    ] {
        for (opnum, op) in ops {
            let mut request = client.request(client.next_sequence(0), [op]);
            request.tag = tag_that_fills(1024);
            let reply = client.send(&request).await?;
            if reply.statuses().last() != Some(&(opnum, status)) {
                wrong.push((opnum, reply.statuses()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.ends_without_leak().await
}
