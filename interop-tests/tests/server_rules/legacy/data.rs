//! Bytes and attributes: READ, WRITE, COMMIT, GETATTR, SETATTR, and what is told of file systems.

use anyhow::{Context, Result};
use bytes::Bytes;
use wire::nfs3::*;

use super::{Refused, create, mode, mount_of, name, put, world};

#[tokio::test]
async fn what_is_written_is_read_and_lies_on_data_servers() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    let data = Bytes::from(vec![7; 300_000]);
    let written = client
        .write(&file, 100, StableHow::Unstable, data.clone())
        .await?;
    assert_eq!(written.count, 300_000);
    assert_eq!(client.getattr(&file).await?.size, 300_100);
    let committed = client.commit(&file, 0, 0).await?;
    assert_eq!(committed.verf, written.verf, "nothing restarted");
    let after = committed.file_wcc.after.context("they are told")?;
    assert_eq!(after.size, 300_100);
    let read = client.read(&file, 0, 200).await?;
    assert_eq!(&read.data[..100], [0; 100]);
    assert_eq!((&read.data[100..], read.eof), (&data[..100], false));
    let end = client.read(&file, 300_000, 1000).await?;
    assert_eq!((end.data.len(), end.eof), (100, true));
    let beyond = client.read(&file, 1 << 40, 1000).await?;
    assert!(beyond.data.is_empty() && beyond.eof);
    assert_eq!(world.objects_of_files().await?, 1);
    let last = client
        .write(
            &file,
            u64::MAX - 1,
            StableHow::FileSync,
            Bytes::from_static(b"xx"),
        )
        .await;
    assert_eq!(last.refused(), Some(Nfsstat3::Fbig));
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_is_no_file_is_neither_read_nor_written() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let to = Nfspath3::new(Bytes::from_static(b"f")).context("it is short")?;
    let link = client.symlink(&root, &name("s"), mode(0o777), to).await?;
    let pipe = Mknoddata3::Fifo(mode(0o666));
    let pipe = client.mknod(&root, &name("p"), pipe).await?;
    let others = [
        (root.clone(), Nfsstat3::Isdir),
        (link.obj.context("it is told")?, Nfsstat3::Inval),
        (pipe.obj.context("it is told")?, Nfsstat3::Inval),
    ];
    for (other, status) in others {
        assert_eq!(client.read(&other, 0, 10).await.refused(), Some(status));
        let data = Bytes::from_static(b"x");
        let written = client.write(&other, 0, StableHow::FileSync, data).await;
        assert_eq!(written.refused(), Some(status));
        let committed = client.commit(&other, 0, 0).await;
        assert_eq!(committed.refused(), Some(status));
    }
    world.ends_without_leak().await
}

/// Nothing that was acknowledged as stable is lost, and who wrote unstably learns of a restart.
#[tokio::test]
async fn a_restart_of_the_metadata_server_loses_nothing_and_that_of_a_data_server_is_told()
-> Result<()> {
    let mut world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    put(&client, &file, 0, "stable").await?;
    let data = Bytes::from_static(b"unstable");
    let written = client.write(&file, 6, StableHow::Unstable, data).await?;
    world.crash_and_restart().await?;
    let (client, _) = mount_of(&world, 0).await?;
    let read = client.read(&file, 0, 100).await?;
    assert_eq!(&read.data[..], b"stableunstable");
    for number in 0..2 {
        world.stop_data_server(number).await?;
        world.start_data_server(number)?;
    }
    let committed = super::beside::at_last(async || client.commit(&file, 0, 0).await).await?;
    assert_ne!(committed.verf, written.verf);
    world.ends_without_leak().await
}

#[tokio::test]
async fn attributes_are_set_one_by_one_and_on_condition() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    put(&client, &file, 0, "0123456789").await?;
    let at = Nfstime3 {
        seconds: 981_173_106,
        nseconds: 123_456_789,
    };
    let wanted = Sattr3 {
        mode: Some(0o100_4755),
        uid: Some(1001),
        gid: Some(1002),
        size: Some(4),
        atime: SetTime::ToServerTime,
        mtime: SetTime::ToClientTime(at),
    };
    let wcc = client.setattr(&file, wanted, None).await?;
    let told = client.getattr(&file).await?;
    assert_eq!((wcc.before, wcc.after), (None, Some(told)));
    assert_eq!((told.mode, told.uid, told.gid), (0o4755, 1001, 1002));
    assert_eq!((told.size, told.mtime), (4, at));
    assert!(told.atime > at);
    // Only if nobody changed it.
    let stale = Nfstime3 {
        nseconds: told.ctime.nseconds ^ 1,
        ..told.ctime
    };
    for wanted in [mode(0o600), size(2)] {
        let refused = client.setattr(&file, wanted, Some(stale)).await;
        assert_eq!(refused.refused(), Some(Nfsstat3::NotSync));
    }
    assert_eq!(client.getattr(&file).await?, told);
    client.setattr(&file, size(2), Some(told.ctime)).await?;
    let now = client.getattr(&file).await?;
    assert_eq!(now.size, 2);
    client.setattr(&file, mode(0o600), Some(now.ctime)).await?;
    assert_eq!(client.getattr(&file).await?.mode, 0o600);
    for (wanted, status) in [
        (size(1 << 63), Nfsstat3::Fbig),
        (
            Sattr3 {
                uid: Some(u32::MAX),
                ..Sattr3::default()
            },
            Nfsstat3::Inval,
        ),
        (
            Sattr3 {
                mtime: SetTime::ToClientTime(Nfstime3 {
                    seconds: 1,
                    nseconds: 1_000_000_000,
                }),
                ..Sattr3::default()
            },
            Nfsstat3::Inval,
        ),
    ] {
        let refused = client.setattr(&file, wanted, None).await;
        assert_eq!(refused.refused(), Some(status));
    }
    let refused = client.setattr(&root, size(0), None).await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Isdir));
    world.ends_without_leak().await
}

fn size(size: u64) -> Sattr3 {
    Sattr3 {
        size: Some(size),
        ..Sattr3::default()
    }
}

#[tokio::test]
async fn what_is_told_of_the_file_system_is_what_holds() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let info = client.fsinfo(&root).await?;
    let file = create(&client, &root, "f").await?;
    let most = Bytes::from(vec![1; info.wtmax as usize]);
    let written = client
        .write(&file, 0, StableHow::Unstable, most.clone())
        .await?;
    assert_eq!(written.count, info.wtmax);
    let read = client.read(&file, 0, info.rtmax).await?;
    assert_eq!(read.data.len(), most.len().min(info.rtmax as usize));
    assert_eq!(info.maxfilesize, i64::MAX as u64);
    let all = FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME;
    assert_eq!(info.properties, all);
    let conf = client.pathconf(&root).await?;
    assert_eq!(conf.name_max, 255);
    assert!(conf.no_trunc && conf.chown_restricted && conf.case_preserving);
    assert!(!conf.case_insensitive);
    create(&client, &root, &"y".repeat(conf.name_max as usize)).await?;
    let space = client.fsstat(&root).await?;
    assert!(space.tbytes > 0 && space.fbytes <= space.tbytes);
    assert!(space.tfiles > space.ffiles && space.afiles == space.ffiles);
    let told = space.obj_attributes.context("they are told")?;
    assert_eq!(told.fsid, client.getattr(&file).await?.fsid);
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_58_a_read_by_nfsv3_never_tells_attributes() -> Result<()> {
    let mut world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    let told = async || anyhow::Ok(client.read(&file, 0, 10).await?.file_attributes);
    assert_eq!(told().await?, None, "of what nobody ever wrote");
    put(&client, &file, 0, "hello").await?;
    assert_eq!(told().await?, None, "of what may still be written");
    world.restart().await?;
    assert_eq!(told().await?, None, "of what is settled");
    world.ends_without_leak().await
}
