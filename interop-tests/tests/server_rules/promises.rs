//! What docs/SEMANTICS.md lets a program rely on, where no rule of the protocol alone says so.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{StatusOf, putfh, user};
use wire::nfs4::*;

use crate::world::{World, at_last, watchful};

#[tokio::test]
async fn a_listing_shows_the_size_of_a_file_that_is_being_written() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![1; 5000]).await?;
    let listed = b.readdir(&root, &[Attr::Size]).await?;
    assert_eq!(listed[0].attrs.size, Some(5000));
    world.ends_without_leak().await
}

#[tokio::test]
async fn reading_does_not_move_atime_and_setting_it_does() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.write(&file.fh, file.stateid, 0, "read me").await?;
    let born = a.getattr(&file.fh, &[Attr::TimeAccess]).await?.time_access;
    assert!(born.is_some());
    a.read(&file.fh, file.stateid, 0, 7).await?;
    world.to_read(&a, &file).await?.read(0, 7).await?;
    let read = a.getattr(&file.fh, &[Attr::TimeAccess]).await?.time_access;
    assert_eq!(read, born);
    let wanted = Nfstime4 {
        seconds: 1_000_000_000,
        nseconds: 123_456_789,
    };
    let set = Attributes {
        time_access_set: Some(Settime4::ClientTime(wanted)),
        ..Attributes::default()
    };
    a.setattr(&file.fh, Stateid4::ANONYMOUS, set).await?;
    let told = a.getattr(&file.fh, &[Attr::TimeAccess]).await?.time_access;
    assert_eq!(told, Some(wanted));
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_time_of_birth_is_told_and_stays() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let of_file = async || {
        let told = a.getattr(&file.fh, &[Attr::TimeCreate, Attr::TimeModify]);
        let told = told.await?;
        anyhow::Ok((told.time_create, told.time_modify))
    };
    let (born, made) = of_file().await?;
    assert!(born.is_some() && born == made, "{born:?} {made:?}");
    a.write(&file.fh, file.stateid, 0, "older now").await?;
    a.rename((&root, "f"), (&root, "g")).await?;
    let (still, changed) = of_file().await?;
    assert_eq!(still, born);
    assert_ne!(changed, made);
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_has_a_file_open_keeps_it_whatever_becomes_of_its_mode() -> Result<()> {
    const ALICE: u32 = 1001;
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let open = async |owner: &str| {
        let mut args = a.open_args("f", Openflag4::NoCreate);
        args.owner.owner = Bytes::copy_from_slice(owner.as_bytes());
        let ops = [putfh(&root), ArgOp::Open(args), ArgOp::Getfh];
        a.compound_as(user(ALICE, ALICE), ops).await
    };
    let mode = |mode| Attributes {
        mode: Some(mode),
        ..Attributes::default()
    };
    a.setattr(&file.fh, Stateid4::ANONYMOUS, mode(0o666))
        .await?;
    let mine = open("before").await?.ok()?.open()?.stateid;
    a.setattr(&file.fh, Stateid4::ANONYMOUS, mode(0)).await?;
    assert_eq!(open("after").await?.status, Nfsstat4::Access);
    let write = Write4Args {
        stateid: mine,
        offset: 0,
        stable: StableHow4::FileSync,
        data: Bytes::from_static(b"still mine"),
    };
    let read = Read4Args {
        stateid: mine,
        offset: 0,
        count: 100,
    };
    for op in [ArgOp::Write(write), ArgOp::Read(read)] {
        let ops = [putfh(&file.fh), op];
        let answer = a.compound_as(user(ALICE, ALICE), ops).await?;
        assert_eq!(answer.status, Nfsstat4::Ok, "{answer:?}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_symbolic_link_has_up_to_4095_bytes() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let longest = "x".repeat(4095);
    let link = a.symlink(&root, "long", &longest).await?;
    assert_eq!(&a.readlink(&link).await?[..], longest.as_bytes());
    let longer = a.symlink(&root, "longer", &"x".repeat(4096)).await;
    assert_eq!(longer.map(|_| ()).status(), Nfsstat4::Nametoolong);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_data_server_that_lost_its_disk_lost_its_files_and_no_others() -> Result<()> {
    let mut world = World::with(2, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut files = Vec::new();
    // Of an old kernel each lies on one data server; both get some.
    for number in 0..8 {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        let text = format!("content of {number}");
        a.write(&file.fh, file.stateid, 0, text.clone()).await?;
        files.push((file, text));
    }
    world.stop_data_server(0).await?;
    world.lose_disk_of_data_server(0)?;
    world.start_data_server(0)?;
    let (mut whole, mut lost) = (0, 0);
    for (file, text) in &files {
        let read = at_last("an answer", &[Nfsstat4::Delay], async || {
            Ok(a.read(&file.fh, file.stateid, 0, 100).await)
        });
        match read.await? {
            Ok(read) => {
                assert_eq!(&read.data[..], text.as_bytes(), "never other bytes");
                whole += 1;
            }
            Err(refused) => {
                assert_ne!(Err::<(), _>(refused).status(), Nfsstat4::Serverfault);
                lost += 1;
            }
        }
    }
    assert!(whole > 0 && lost > 0, "{whole} whole, {lost} lost");
    Ok(())
}

#[tokio::test]
async fn a_file_that_gets_its_objects_late_has_them_as_long_as_its_size() -> Result<()> {
    // Invariant 8: without a data server a file can be made and lengthened, not written.
    const SIZE: u64 = 100_000;
    let mut world = World::with(2, |spec| {
        watchful(spec);
        spec.limits.grace = Duration::from_mins(5);
    })
    .await?;
    world.stop().await?;
    world.stop_data_server(0).await?;
    world.stop_data_server(1).await?;
    world.begin().await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.truncate(&file.fh, file.stateid, SIZE).await?;
    assert_eq!(world.objects_of_files().await?, 0);
    assert_eq!(a.size_of(&file.fh).await?, SIZE);
    world.start_data_server(0)?;
    world.start_data_server(1)?;
    let held = world.to_write_at_last(&a, &file).await?;
    let objects = held.objects().await?;
    let longest = objects.iter().map(|object| object.size).max();
    assert_eq!(longest, Some(SIZE), "{objects:?}");
    let read = a.read(&file.fh, file.stateid, 0, 200_000).await?;
    assert!(read.eof && read.data.iter().all(|byte| *byte == 0));
    assert_eq!(read.data.len() as u64, SIZE);
    world.ends_without_leak().await
}
