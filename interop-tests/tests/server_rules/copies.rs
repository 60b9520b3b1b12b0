//! COPY, its offloaded form, and CLONE: RFC 7862 §4, §15.2, §15.8, §15.9, §15.13.

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, Failure, OpenFile, Reply, StatusOf, putfh};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::direct::Refused;
use crate::world::{MIB, World, until};

pub async fn filled(client: &Client, name: &str, bytes: u64, with: u8) -> Result<OpenFile> {
    let file = client.open_create(&client.root().await?, name).await?;
    for at in (0..bytes).step_by(256 << 10) {
        let piece = (256 << 10).min(bytes - at) as usize;
        client
            .write(&file.fh, file.stateid, at, vec![with; piece])
            .await?;
    }
    client.commit(&file.fh, 0, 0).await?;
    Ok(file)
}

/// The byte that a range consists of.
pub async fn all_of(client: &Client, file: &OpenFile, offset: u64, count: u32) -> Result<u8> {
    let mut found = None;
    let mut at = offset;
    while at < offset + u64::from(count) {
        let left = (offset + u64::from(count) - at).min(1 << 18) as u32;
        let read = client.read(&file.fh, file.stateid, at, left).await?;
        anyhow::ensure!(!read.data.is_empty(), "nothing at {at}");
        for byte in &read.data {
            anyhow::ensure!(*found.get_or_insert(*byte) == *byte, "bytes differ at {at}");
        }
        at += read.data.len() as u64;
    }
    found.context("an empty range")
}

pub fn copy_args(from: &OpenFile, to: &OpenFile, (src, dst, count): (u64, u64, u64)) -> Copy4Args {
    Copy4Args {
        src_stateid: from.stateid,
        dst_stateid: to.stateid,
        src_offset: src,
        dst_offset: dst,
        count,
        consecutive: true,
        synchronous: true,
        source_server: Vec::new(),
    }
}

async fn between(
    client: &Client,
    from: &OpenFile,
    to: &OpenFile,
    op: ArgOp,
) -> Result<Reply, Failure> {
    client
        .compound([putfh(&from.fh), ArgOp::Savefh, putfh(&to.fh), op])
        .await
}

pub async fn copy(
    client: &Client,
    from: &OpenFile,
    to: &OpenFile,
    args: Copy4Args,
) -> Result<WriteResponse4, Failure> {
    let reply = between(client, from, to, ArgOp::Copy(args)).await?;
    Ok(reply.ok()?.copy()?.response)
}

async fn clone(
    client: &Client,
    from: &OpenFile,
    to: &OpenFile,
    (src_offset, dst_offset, count): (u64, u64, u64),
) -> Result<Nfsstat4, Failure> {
    let args = Clone4Args {
        src_stateid: from.stateid,
        dst_stateid: to.stateid,
        src_offset,
        dst_offset,
        count,
    };
    Ok(between(client, from, to, ArgOp::Clone(args)).await?.status)
}

#[tokio::test]
async fn a_copy_is_durable_and_grows_its_target() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 2 * MIB, 3).await?;
    let to = filled(&a, "to", MIB, 4).await?;
    let args = copy_args(&from, &to, (MIB, MIB / 2, MIB));
    let done = copy(&a, &from, &to, args).await?;
    assert_eq!((done.count, done.committed), (MIB, StableHow4::FileSync));
    // Fact 26.
    assert_eq!(done.writeverf, a.commit(&to.fh, 0, 0).await?);
    assert_eq!(a.size_of(&to.fh).await?, 3 * MIB / 2);
    assert_eq!(all_of(&a, &to, 0, 512 << 10).await?, 4);
    assert_eq!(all_of(&a, &to, MIB / 2, 1 << 20).await?, 3);
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_hole_at_the_end_of_a_file_is_copied_as_well() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 1000, 3).await?;
    a.truncate(&from.fh, from.stateid, MIB).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    let done = copy(&a, &from, &to, copy_args(&from, &to, (0, 0, 0))).await?;
    assert_eq!(done.count, MIB);
    assert_eq!(a.size_of(&to.fh).await?, MIB);
    assert_eq!(all_of(&a, &to, 0, 1000).await?, 3);
    assert_eq!(all_of(&a, &to, 1000, 1 << 19).await?, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_count_of_zero_copies_to_the_end_and_nothing_is_copied_from_past_it() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 1000, 3).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    let done = copy(&a, &from, &to, copy_args(&from, &to, (100, 0, 0))).await?;
    assert_eq!(done.count, 900);
    assert_eq!(a.size_of(&to.fh).await?, 900);
    for range in [(1001, 0, 0), (0, 0, 1001), (1000, 0, 1), (0, u64::MAX, 10)] {
        let refused = copy(&a, &from, &to, copy_args(&from, &to, range)).await;
        let expected = if range.1 == 0 {
            Nfsstat4::Inval
        } else {
            Nfsstat4::Fbig
        };
        assert_eq!(refused.map(|_| ()).status(), expected, "{range:?}");
    }
    let onto_itself = copy(&a, &from, &from, copy_args(&from, &from, (0, 10, 500))).await;
    assert_eq!(onto_itself.map(|_| ()).status(), Nfsstat4::Inval);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_long_copy_goes_on_and_tells_its_end_by_a_callback() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 6 * MIB, 5).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    let args = Copy4Args {
        synchronous: false,
        ..copy_args(&from, &to, (0, 0, 6 * MIB))
    };
    let begun = copy(&a, &from, &to, args).await?;
    let stateid = begun.callback_id.context("it goes on")?;
    let told = loop {
        if let CbArgOp::Offload(told) = a.callbacks.next().await? {
            break told;
        }
    };
    assert_eq!((told.stateid, &told.fh), (stateid, &to.fh));
    let OffloadInfo4::Ok(end) = told.info else {
        panic!("it failed: {told:?}")
    };
    assert_eq!((end.count, end.committed), (6 * MIB, StableHow4::FileSync));
    assert_eq!(all_of(&a, &to, 0, 6 << 20).await?, 5);
    // Who knows the end has no use for the stateid.
    let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
    until("the copy is forgotten", async || {
        let asked = a.compound([putfh(&to.fh), status.clone()]).await?;
        Ok(asked.status == Nfsstat4::BadStateid)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_copy_that_was_called_off_leaves_no_stateid_and_nobody_else_s_can_be() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.new_kernel("a").await?, world.client("b").await?);
    let from = filled(&a, "from", 6 * MIB, 5).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    // Nobody hears of an end: the stateid stays until it is called off.
    a.callbacks
        .answer_all(interop_tests::nfs41::CallbackAnswer::Silence);
    let args = Copy4Args {
        synchronous: false,
        ..copy_args(&from, &to, (0, 0, 6 * MIB))
    };
    let stateid = copy(&a, &from, &to, args).await?.callback_id;
    let stateid = stateid.context("it goes on")?;
    let cancel = ArgOp::OffloadCancel(OffloadCancel4Args { stateid });
    let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
    let strangers = b.compound([putfh(&to.fh), cancel.clone()]).await?;
    assert_eq!(strangers.status, Nfsstat4::BadStateid);
    let mut asked = a.ok([putfh(&to.fh), status.clone()]).await?;
    assert!(asked.offload_status()?.count <= 6 * MIB);
    a.ok([putfh(&to.fh), cancel]).await?;
    until("the copy is gone", async || {
        let asked = a.compound([putfh(&to.fh), status.clone()]).await?;
        Ok(asked.status == Nfsstat4::BadStateid)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_clone_is_the_whole_of_its_source_and_stays_what_it_was() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 2 * MIB, 6).await?;
    let to = filled(&a, "to", 3 * MIB, 7).await?;
    let before = a.change_of(&to.fh).await?;
    assert_eq!(clone(&a, &from, &to, (0, 0, 0)).await?, Nfsstat4::Ok);
    a.write(&from.fh, from.stateid, 0, vec![9; 1000]).await?;
    assert_eq!(a.size_of(&to.fh).await?, 3 * MIB);
    assert_eq!(all_of(&a, &to, 0, 2 << 20).await?, 6);
    assert_eq!(all_of(&a, &to, 2 * MIB, 1 << 20).await?, 7);
    assert!(a.change_of(&to.fh).await? > before);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_clone_of_a_part_keeps_what_is_around_it() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", MIB, 6).await?;
    let to = filled(&a, "to", MIB, 7).await?;
    let part = (256 << 10, 512 << 10, 128 << 10);
    assert_eq!(clone(&a, &from, &to, part).await?, Nfsstat4::Ok);
    assert_eq!(all_of(&a, &to, 0, 512 << 10).await?, 7);
    assert_eq!(all_of(&a, &to, 512 << 10, 128 << 10).await?, 6);
    assert_eq!(all_of(&a, &to, 640 << 10, 384 << 10).await?, 7);
    assert_eq!(a.size_of(&to.fh).await?, MIB);
    // Of one file onto another part of it, too.
    assert_eq!(
        clone(&a, &to, &to, (512 << 10, 0, 128 << 10)).await?,
        Nfsstat4::Ok
    );
    assert_eq!(all_of(&a, &to, 0, 128 << 10).await?, 6);
    let onto_itself = clone(&a, &to, &to, (0, 1, 128 << 10)).await?;
    assert_eq!(onto_itself, Nfsstat4::Inval);
    assert_eq!(clone(&a, &from, &to, (MIB, 0, 1)).await?, Nfsstat4::Inval);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_of_the_target_writes_nothing_into_a_clone() -> Result<()> {
    // Its objects are others now; the old ones go.
    let world = World::with(2, |spec| {
        spec.limits.recall = std::time::Duration::from_millis(200);
    })
    .await?;
    let (a, b) = (world.new_kernel("a").await?, world.new_kernel("b").await?);
    let from = filled(&a, "from", MIB, 6).await?;
    let to = filled(&a, "to", MIB, 7).await?;
    let other = b.open(&b.root().await?, "to").await?;
    let held = world.to_write(&b, &other).await?;
    held.write(0, vec![8; 100]).await?;
    b.callbacks
        .answer_all(interop_tests::nfs41::CallbackAnswer::Silence);
    assert_eq!(clone(&a, &from, &to, (0, 0, 0)).await?, Nfsstat4::Ok);
    let late = held.write(0, "late").await.refused();
    assert!(
        matches!(late, Some(Nfsstat3::Acces | Nfsstat3::Stale)),
        "{late:?}"
    );
    assert_eq!(all_of(&a, &to, 0, 1 << 20).await?, 6);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_clone_is_there_after_a_crash() -> Result<()> {
    let mut world = World::with(2, |spec| {
        spec.limits.grace = std::time::Duration::from_secs(1);
        spec.limits.lease = std::time::Duration::from_secs(1);
    })
    .await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", MIB, 6).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    assert_eq!(clone(&a, &from, &to, (0, 0, 0)).await?, Nfsstat4::Ok);
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    let same = crate::world::at_last("an open after grace", &[Nfsstat4::Grace], async || {
        b.open(&b.root().await?, "to").await
    })
    .await?;
    assert_eq!(all_of(&b, &same, 0, 1 << 20).await?, 6);
    world.ends_without_leak().await
}
