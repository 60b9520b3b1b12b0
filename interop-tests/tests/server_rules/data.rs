//! Bytes, sizes and times, whichever way they go: invariants 6, 8 and 9.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, OpenFile, putfh};
use wire::nfs4::*;

use crate::world::{MIB, World, until, watchful};

#[tokio::test]
async fn a_layoutcommit_moves_size_mtime_and_change() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let asked = [Attr::Size, Attr::Change, Attr::TimeModify];
    let before = a.getattr(&file.fh, &asked).await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![1; 5000]).await?;
    assert_eq!(
        a.layoutcommit(&file.fh, held.stateid, Some(4999)).await?,
        Some(5000)
    );
    let after = a.getattr(&file.fh, &asked).await?;
    assert_eq!(after.size, Some(5000));
    assert!(
        after.change > before.change && after.time_modify > before.time_modify,
        "{before:?} {after:?}"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn racing_layoutcommits_keep_the_largest_end() -> Result<()> {
    // Fact 21, invariant 6.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let (mine, other) = (a.open_create(&root, "f").await?, b.open(&root, "f").await?);
    let (first, second) = (
        world.to_write(&a, &mine).await?,
        world.to_write(&b, &other).await?,
    );
    first.write(0, vec![1; 100_000]).await?;
    second.write(0, vec![2; 10]).await?;
    let (one, two) = tokio::join!(
        a.layoutcommit(&mine.fh, first.stateid, Some(99_999)),
        b.layoutcommit(&other.fh, second.stateid, Some(9)),
    );
    one?;
    two?;
    assert_eq!(
        (a.size_of(&mine.fh).await?, b.size_of(&mine.fh).await?),
        (100_000, 100_000)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn another_client_sees_the_size_while_the_file_is_being_written() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let empty = b.change_of(&file.fh).await?;
    held.write(0, vec![1; 77]).await?;
    assert_eq!(b.size_of(&file.fh).await?, 77);
    assert!(
        b.change_of(&file.fh).await? > empty,
        "a cache of before must not survive"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_that_could_be_written_and_was_not_keeps_its_times() -> Result<()> {
    // Its object is younger than the file where it came from a pool or was bound at the first layout.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let asked = [Attr::Change, Attr::TimeModify, Attr::TimeMetadata];
    let before = b.getattr(&file.fh, &asked).await?;
    let held = world.to_write(&a, &file).await?;
    assert_eq!(b.getattr(&file.fh, &asked).await?, before);
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    assert_eq!(b.getattr(&file.fh, &asked).await?, before);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_writer_is_told_its_own_size_before_it_commits_by_getattr_and_by_readdir() -> Result<()> {
    // Fact 40: another process of the same client opens or lists it, and its kernel believes what it is told.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![1; 77]).await?;
    let listed = a.readdir(&root, &[Attr::Size]).await?;
    assert_eq!((listed.len(), listed[0].attrs.size), (1, Some(77)));
    held.write(77, vec![1; 23]).await?;
    assert_eq!(a.size_of(&file.fh).await?, 100);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_is_told_of_though_another_data_server_is_ahead_of_its_time() -> Result<()> {
    // Each has its own clock: the newest time of all objects may stand still while one is written.
    let world = World::start().await?;
    let (a, b) = (world.new_kernel("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let unit = held.layout.stripe_unit;
    held.write(0, vec![1; 2 * unit as usize]).await?;
    world.date_written_objects(0, SystemTime::now() + Duration::from_hours(1))?;
    let mut before = b.change_of(&file.fh).await?;
    for offset in [0, unit] {
        held.write(offset, vec![2; 100]).await?;
        let after = b.change_of(&file.fh).await?;
        assert!(after > before, "a cache of before must not survive");
        assert_eq!(
            b.change_of(&file.fh).await?,
            after,
            "nothing moves by being looked at"
        );
        before = after;
        world.date_written_objects(0, SystemTime::now() + Duration::from_hours(2))?;
        before = before.max(b.change_of(&file.fh).await?);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_second_write_within_one_tick_of_a_data_server_is_told_of() -> Result<()> {
    // File systems of older kernels give all writes of one tick, up to 10 ms, one mtime.
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let tick = SystemTime::now();
    held.write(0, vec![1; 1000]).await?;
    world.date_written_objects(0, tick)?;
    let before = b.change_of(&file.fh).await?;
    held.write(0, vec![2; 1000]).await?;
    world.date_written_objects(0, tick)?;
    a.layoutcommit(&file.fh, held.stateid, Some(999)).await?;
    let committed = b.change_of(&file.fh).await?;
    assert!(committed > before, "written past the server");
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    let before = b.change_of(&file.fh).await?;
    let other = b.open(&b.root().await?, "f").await?;
    write_unstable(&b, &other, vec![3; 1000]).await?;
    world.date_written_objects(0, tick)?;
    assert!(
        b.change_of(&file.fh).await? > before,
        "written through the server"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_was_written_directly_is_read_through_the_server_and_the_other_way_round() -> Result<()>
{
    // Fact 20, invariant 9, on stripes.
    let world = World::start().await?;
    let (a, b) = (world.new_kernel("a").await?, world.new_kernel("b").await?);
    let root = a.root().await?;
    let (mine, other) = (a.open_create(&root, "f").await?, b.open(&root, "f").await?);
    let held = world.to_write(&a, &mine).await?;
    let pattern: Vec<u8> = (0..300_000_u32).map(|at| (at / 977) as u8).collect();
    held.write(0, pattern.clone()).await?;
    let read = b.read(&other.fh, other.stateid, 0, 400_000).await?;
    assert!(read.eof && read.data == pattern);
    b.write(&other.fh, other.stateid, 150_000, vec![0xaa; 100_000])
        .await?;
    let direct = held.read(0, 300_000).await?;
    assert!(direct[150_000..250_000].iter().all(|byte| *byte == 0xaa));
    assert!(direct[..150_000] == pattern[..150_000] && direct[250_000..] == pattern[250_000..]);
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_object_is_never_shorter_than_the_size_that_anyone_sees() -> Result<()> {
    // Invariant 8: a reader with O_DIRECT would see an end of file in the middle.
    let world = World::start().await?;
    let (a, b) = (world.new_kernel("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let end = 3 * held.layout.stripe_unit + 17;
    held.write(end - 1, "x").await?;
    assert_eq!(b.size_of(&file.fh).await?, end);
    let sizes: Vec<u64> = held
        .objects()
        .await?
        .iter()
        .map(|object| object.size)
        .collect();
    assert_eq!(sizes, vec![end; sizes.len()]);
    let read = held.read(0, end).await?;
    assert!(read.len() as u64 == end && read[..end as usize - 1].iter().all(|byte| *byte == 0));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_read_through_the_server_ends_where_the_file_ends() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.write(&file.fh, file.stateid, 0, "ten bytes!").await?;
    let read = async |offset, count| -> Result<(usize, bool), Failure> {
        let read = a.read(&file.fh, file.stateid, offset, count).await?;
        Ok((read.data.len(), read.eof))
    };
    assert_eq!(read(0, 5).await?, (5, false));
    assert_eq!(read(5, 5).await?, (5, true));
    assert_eq!(read(5, 100).await?, (5, true));
    assert_eq!(read(10, 1).await?, (0, true));
    assert_eq!(read(u64::MAX, 1).await?, (0, true));
    assert_eq!(read(0, 0).await?, (0, false));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_far_out_leaves_a_hole_of_zeroes() -> Result<()> {
    // Sparse files of 8 TiB, past every 32-bit offset (fact 11).
    let world = World::start().await?;
    let (a, b) = (world.new_kernel("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let far = (8 << 40) - 5;
    world.to_write(&a, &file).await?.write(far, "12345").await?;
    let same = b.open(&root, "f").await?;
    assert_eq!(b.size_of(&same.fh).await?, 8 << 40);
    let read = b.read(&same.fh, same.stateid, far - 3, 100).await?;
    assert_eq!((&read.data[..], read.eof), (&b"\0\0\x0012345"[..], true));
    world.ends_without_leak().await
}

async fn write_unstable(
    client: &Client,
    file: &OpenFile,
    data: impl Into<Bytes>,
) -> Result<Write4Ok, Failure> {
    let args = Write4Args {
        stateid: file.stateid,
        offset: 0,
        stable: StableHow4::Unstable,
        data: data.into(),
    };
    let ops = [putfh(&file.fh), ArgOp::Write(args)];
    client.ok(ops).await?.write()
}

#[tokio::test]
async fn an_unstable_write_is_committed_under_one_verifier_until_a_data_server_restarts()
-> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let written = write_unstable(&a, &file, "unstable").await?;
    assert_eq!(written.committed, StableHow4::Unstable);
    assert_eq!(a.commit(&file.fh, 0, 0).await?, written.writeverf);
    assert_eq!(a.size_of(&file.fh).await?, 8);
    let before = write_unstable(&a, &file, "unstable").await?.writeverf;
    world.stop_data_server(0).await?;
    world.start_data_server(0)?;
    until("COMMIT succeeds on the new data server", async || {
        Ok(a.commit(&file.fh, 0, 0).await.is_ok())
    })
    .await?;
    assert_ne!(
        a.commit(&file.fh, 0, 0).await?,
        before,
        "what was lost with the data server must be sent again"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_keeps_times_set_after_it_was_written() -> Result<()> {
    // tar and cp -p write, then set the time, then close.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "data").await?;
    let then = Nfstime4 {
        seconds: 1_000_000_000,
        nseconds: 5,
    };
    let times = Attributes {
        time_modify_set: Some(Settime4::ClientTime(then)),
        ..Attributes::default()
    };
    a.setattr(&file.fh, file.stateid, times).await?;
    a.layoutcommit(&file.fh, held.stateid, Some(3)).await?;
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    a.close(&file).await?;
    assert_eq!(
        a.getattr(&file.fh, &[Attr::TimeModify]).await?.time_modify,
        Some(then)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_space_a_file_takes_is_told_without_its_holes() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.write(&file.fh, file.stateid, 100 * MIB, vec![1; 8192])
        .await?;
    let used = a
        .getattr(&file.fh, &[Attr::SpaceUsed])
        .await?
        .space_used
        .unwrap_or(0);
    assert!((8192..MIB).contains(&used), "{used}");
    world.ends_without_leak().await
}
