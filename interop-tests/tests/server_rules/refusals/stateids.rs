//! What a stateid is good for, tried with every operation that has one. Which those are, the page says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{CallbackAnswer, Client, OpenFile, StatusOf, delegated, putfh};
use wire::nfs4::*;

use super::Case;
use super::{case, denying, refused};
use crate::operations::{beyond, owed};
use crate::restart::{back, reclaim};
use crate::world::{World, at_last, until, watchful};

/// Where a copy may go to.
const NEIGHBOUR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2049);

/// The same operation with this stateid wherever it has one, and on a range where it has none yet.
fn with_stateid(mut op: ArgOp, stateid: Stateid4) -> ArgOp {
    match &mut op {
        ArgOp::Allocate(args) => args.stateid = stateid,
        ArgOp::Clone(args) => (args.src_stateid, args.dst_stateid) = (stateid, stateid),
        ArgOp::Copy(args) => (args.src_stateid, args.dst_stateid) = (stateid, stateid),
        ArgOp::Deallocate(args) => args.stateid = stateid,
        ArgOp::Delegreturn(args) => args.deleg_stateid = stateid,
        ArgOp::FreeStateid(args) => args.stateid = stateid,
        ArgOp::IoAdvise(args) => args.stateid = stateid,
        ArgOp::Layouterror(args) => args.stateid = stateid,
        ArgOp::Layoutget(args) => {
            args.stateid = stateid;
            args.iomode = Layoutiomode4::Read;
            args.maxcount = 4096;
        }
        ArgOp::CopyNotify(args) => {
            args.src_stateid = stateid;
            args.destination_server = Netloc4::Netaddr(Netaddr4::tcp(NEIGHBOUR));
        }
        ArgOp::Layoutreturn(args) => {
            args.reclaim = false;
            args.layoutreturn = Layoutreturn4::File(LayoutreturnFile4 {
                offset: 0,
                length: LENGTH_TO_EOF,
                stateid,
                body: bytes::Bytes::new(),
            });
        }
        ArgOp::Layoutstats(args) => args.stateid = stateid,
        ArgOp::OffloadCancel(args) => args.stateid = stateid,
        ArgOp::OffloadStatus(args) => args.stateid = stateid,
        ArgOp::Open(args) => args.claim = OpenClaim4::DelegCurFh(stateid),
        ArgOp::Read(args) => args.stateid = stateid,
        ArgOp::ReadPlus(args) => args.stateid = stateid,
        ArgOp::Seek(args) => args.stateid = stateid,
        ArgOp::Setattr(args) => {
            args.stateid = stateid;
            args.obj_attributes = Attributes {
                size: Some(0),
                ..Attributes::default()
            }
            .into();
        }
        ArgOp::Write(args) => args.stateid = stateid,
        ArgOp::WriteSame(args) => args.stateid = stateid,
        ArgOp::Lockt(_) | ArgOp::WantDelegation(_) => {}
        other => panic!("{other:?} has no stateid that is known here"),
    }
    op
}

/// On `fh`, which is saved too, with the stateid that `of` has for it.
fn cases(
    fh: &Fh4,
    status: Nfsstat4,
    owed: Vec<(Opnum, ArgOp)>,
    of: impl Fn(Opnum) -> Stateid4,
) -> Vec<Case> {
    let one = |(opnum, op)| {
        let ops = [putfh(fh), ArgOp::Savefh, with_stateid(op, of(opnum))];
        case(format!("{opnum:?}"), ops, status)
    };
    owed.into_iter().map(one).collect()
}

#[tokio::test]
async fn every_operation_refuses_a_stateid_that_nobody_gave() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let forged = Stateid4 {
        seqid: 1,
        other: [0x5a; 12],
    };
    let owed = owed(Nfsstat4::BadStateid)?;
    refused(&a, cases(&file.fh, Nfsstat4::BadStateid, owed, |_| forged)).await?;
    world.ends_without_leak().await
}

/// As it was before its last change; before the first comes the wrap (RFC 8881 §8.2.2).
fn earlier(stateid: Stateid4) -> Stateid4 {
    Stateid4 {
        seqid: match stateid.seqid - 1 {
            0 => u32::MAX,
            before => before,
        },
        ..stateid
    }
}

async fn delegation(client: &Client, fh: &Fh4, want: u32) -> Result<Stateid4> {
    let given = client.want_delegation(fh, want, DelegClaim4::Fh).await?;
    let given = delegated(&given);
    Ok(given.ok_or_else(|| anyhow::anyhow!("no delegation"))?.0)
}

#[tokio::test]
async fn every_operation_refuses_a_stateid_that_has_moved_on() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.lock(&file, "l", LockType4::ReadLt, (0, 10)).await?;
    let lock = a.lock(&file, "l", LockType4::ReadLt, (20, 10)).await?;
    let open = a.open(&root, "f").await?.stateid;
    let read = OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    let delegation = delegation(&a, &file.fh, read).await?;
    let owed = owed(Nfsstat4::OldStateid)?;
    let old = cases(&file.fh, Nfsstat4::OldStateid, owed, |opnum| {
        earlier(match opnum {
            Opnum::Delegreturn | Opnum::Open => delegation,
            Opnum::FreeStateid => lock,
            _ => open,
        })
    });
    refused(&a, old).await?;
    a.delegreturn(&file.fh, delegation).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_under_a_delegation_is_told_that_it_was_revoked() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.delegation_recall = Duration::from_millis(300);
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.close(&file).await?;
    let write = OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG;
    let revoked = delegation(&a, &file.fh, write).await?;
    at_last("an open of another", &[Nfsstat4::Delay], async || {
        b.open(&root, "f").await
    })
    .await?;
    let owed = owed(Nfsstat4::DelegRevoked)?;
    let told = cases(&file.fh, Nfsstat4::DelegRevoked, owed, |_| revoked);
    refused(&a, told).await?;
    a.free_stateid(revoked).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_on_a_layout_is_told_that_it_was_revoked() -> Result<()> {
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.limits.recall = Duration::from_millis(200);
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::Delay));
    let same = b.open(&root, "f").await?;
    // Nobody can be fenced there now.
    world.stop_data_server(0).await?;
    let cut = b.truncate(&same.fh, same.stateid, 0).await;
    assert_eq!(cut.status(), Nfsstat4::Delay);
    until("the layout is revoked", async || {
        b.root().await?;
        Ok(a.test_stateids(&[held.stateid]).await? == [Nfsstat4::AdminRevoked])
    })
    .await?;
    let owed = owed(Nfsstat4::AdminRevoked)?;
    let told = cases(&file.fh, Nfsstat4::AdminRevoked, owed, |_| held.stateid);
    refused(&a, told).await
}

#[tokio::test]
async fn every_operation_that_takes_something_new_waits_for_the_end_of_grace() -> Result<()> {
    let mut world = World::with(1, |spec| {
        spec.limits.grace = Duration::from_hours(1);
        spec.limits.lease = Duration::from_hours(1);
    })
    .await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    world.restart().await?;
    let a = back(&world, "a").await?;
    let OpenFile { stateid: mine, .. } = reclaim(&a, &file.fh).await?;
    let mut owed = owed(Nfsstat4::Grace)?;
    for (_, op) in &mut owed {
        if let ArgOp::WantDelegation(args) = op {
            args.want = OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
            args.claim = DelegClaim4::Fh;
        }
    }
    let new = cases(&file.fh, Nfsstat4::Grace, owed, |opnum| match opnum {
        Opnum::Layoutget => mine,
        _ => Stateid4::ANONYMOUS,
    });
    refused(&a, new).await
}

#[tokio::test]
async fn every_operation_on_data_heeds_what_another_ones_open_denies() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let denying = denying(&a, &root, access).await?;
    let mut owed = owed(Nfsstat4::Locked)?;
    owed.extend(beyond(Nfsstat4::Locked)?);
    let denied = cases(&denying.fh, Nfsstat4::Locked, owed, |_| Stateid4::ANONYMOUS);
    refused(&b, denied).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_that_writes_needs_an_open_that_writes() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let made = a.open_create(&root, "f").await?;
    a.close(&made).await?;
    let reader = a.open_to_read(&root, "f").await?;
    let owed = owed(Nfsstat4::Openmode)?;
    let not_open = cases(&reader.fh, Nfsstat4::Openmode, owed, |_| reader.stateid);
    refused(&a, not_open).await?;
    world.ends_without_leak().await
}
