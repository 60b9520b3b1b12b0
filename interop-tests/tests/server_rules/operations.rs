//! What holds of every operation alike, tried with each: its arguments, its place, and with what it may fail.
//! What one operation does is in the other files; docs/OPERATIONS.md says where.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use interop_tests::nfs41::rfc::{OPERATIONS, Operation};
use interop_tests::nfs41::{Client, putfh, root_user, user};
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

#[tokio::test]
async fn every_operation_on_a_file_asks_for_one() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let mut wrong = Vec::new();
    for (row, op) in all()?.into_iter().filter(|(row, _)| row.on_file) {
        let status = a.compound([op]).await?.status;
        // Those of RFC 7862 may look at their arguments first.
        let ranges = (Opnum::Allocate..=Opnum::Clone).contains(&row.op);
        let judged_first = ranges && status == Nfsstat4::Inval;
        if !judged_first && !matches!(status, Nfsstat4::Nofilehandle | Nfsstat4::Notsupp) {
            wrong.push((row.op, status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
async fn every_operation_cut_short_is_bad_xdr() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let fault = || {
        Decoder::new(bytes::Bytes::new())
            .u32()
            .expect_err("nothing is there")
    };
    for (row, op) in all()? {
        let mut whole = Encoder::new();
        op.encode(&mut whole);
        if whole.len() == 4 {
            // It has no arguments.
            continue;
        }
        let cut = ArgOp::Malformed {
            op: row.op,
            fault: fault(),
        };
        let reply = a.compound([ArgOp::Putrootfh, cut]).await?;
        assert_eq!(
            reply.statuses().last(),
            Some(&(row.op, Nfsstat4::Badxdr)),
            "{:?}",
            row.op
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_but_six_needs_a_session() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let connection = a.connect().await?;
    let without = [
        Opnum::Sequence,
        Opnum::ExchangeId,
        Opnum::CreateSession,
        Opnum::DestroySession,
        Opnum::DestroyClientid,
        Opnum::BindConnToSession,
    ];
    for (row, op) in all()? {
        if !without.contains(&row.op) {
            let alone = Compound4Args::new(2, vec![op]);
            let reply = connection.compound(root_user(), &alone).await?;
            assert_eq!(reply.status, Nfsstat4::OpNotInSession, "{:?}", row.op);
        }
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_sent_again_that_was_not_to_be_kept_is_told_so() -> Result<()> {
    // RFC 8881 §2.10.6.1.3.
    let world = World::start().await?;
    let a = world.client("a").await?;
    for (row, op) in all()? {
        let mut sequence = a.next_sequence(0);
        sequence.cachethis = false;
        let request = a.request(sequence, [op]);
        a.send(&request).await?;
        let again = a.send(&request).await?;
        assert_eq!(
            again.statuses().last(),
            Some(&(row.op, Nfsstat4::RetryUncachedRep)),
            "{:?}",
            row.op
        );
    }
    world.ends_without_leak().await
}
