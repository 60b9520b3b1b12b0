//! Clients of both versions on the same files: what one holds is respected by the other, and what one did is
//! seen by the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use interop_tests::nfs41::{OpenFile, StatusOf, recalled};
use nfs_client::Error;
use wire::nfs3::*;
use wire::nfs4::{
    self, CbArgOp, Layoutiomode4, Layoutrecall4, Nfsstat4, OPEN4_SHARE_ACCESS_BOTH,
    OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_BOTH, Openflag4, Stateid4,
};

use super::{Refused, create, fh3, fh4, mkdir, mode, mount_of, mounted, name, put, user, world};
use crate::world::{PATIENCE, until};

/// What `ask` gives, asked again as a client does that is told to come later.
pub async fn at_last<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.status() == Some(Nfsstat3::Jukebox) => {
                ensure!(Instant::now() < deadline, "later, for ever");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return Ok(answer?),
        }
    }
}

#[tokio::test]
async fn both_versions_see_one_namespace_and_call_its_files_alike() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let new = world.client("new").await?;
    assert_eq!(fh4(&root), new.root().await?);
    let folder = mkdir(&old, &root, "d", 0o755).await?;
    let file = create(&old, &folder, "f").await?;
    assert_eq!(new.walk("/d/f").await?, fh4(&file));
    put(&old, &file, 0, "by the old").await?;
    let opened = new.open(&fh4(&folder), "f").await?;
    let read = new.read(&opened.fh, opened.stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"by the old");
    let change = new.change_of(&opened.fh).await?;
    let data = Bytes::from_static(b"and more");
    old.write(&file, 10, StableHow::Unstable, data).await?;
    assert!(new.change_of(&opened.fh).await? > change);
    assert_eq!(new.size_of(&opened.fh).await?, 18);
    new.write(&opened.fh, opened.stateid, 0, "BY").await?;
    assert_eq!(&old.read(&file, 0, 4).await?.data[..], b"BY t");
    new.close(&opened).await?;
    new.rename((&fh4(&folder), "f"), (&fh4(&root), "g")).await?;
    assert_eq!(old.lookup(&root, &name("g")).await?.object, file);
    let told = new.getattr(&fh4(&file), &[nfs4::Attr::Fileid]).await?;
    assert_eq!(told.fileid, Some(old.getattr(&file).await?.fileid));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_waits_for_a_delegation_to_come_back() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let file = create(&old, &root, "f").await?;
    put(&old, &file, 0, "before").await?;
    let new = world.client("new").await?;
    let top = fh4(&root);
    let (_, delegation) = new
        .open_delegated(&top, "f", OPEN4_SHARE_ACCESS_READ)
        .await?;
    // Readers aren't concerned.
    old.read(&file, 0, 10).await?;
    let refused = old
        .write(&file, 0, StableHow::FileSync, Bytes::from_static(b"x"))
        .await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Jukebox));
    let recall = recalled(&new).await?;
    assert_eq!((recall.stateid, &recall.fh), (delegation, &fh4(&file)));
    for (what, answer) in [
        (
            "SETATTR",
            old.setattr(&file, mode(0o600), None).await.refused(),
        ),
        ("REMOVE", old.remove(&root, &name("f")).await.refused()),
        ("LINK", old.link(&file, &root, &name("g")).await.refused()),
        (
            "RENAME",
            old.rename(&root, &name("f"), &root, &name("g"))
                .await
                .refused(),
        ),
    ] {
        assert_eq!(answer, Some(Nfsstat3::Jukebox), "{what}");
    }
    new.delegreturn(&fh4(&file), delegation).await?;
    at_last(async || {
        let data = Bytes::from_static(b"after!");
        old.write(&file, 0, StableHow::FileSync, data).await
    })
    .await?;
    assert_eq!(&old.read(&file, 0, 10).await?.data[..], b"after!");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_reader_waits_for_whoever_may_be_writing_by_a_delegation() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let file = create(&old, &root, "f").await?;
    let new = world.client("new").await?;
    let (opened, delegation) = new
        .open_delegated(&fh4(&root), "f", OPEN4_SHARE_ACCESS_BOTH)
        .await?;
    assert_eq!(
        old.read(&file, 0, 10).await.refused(),
        Some(Nfsstat3::Jukebox)
    );
    recalled(&new).await?;
    new.write(&fh4(&file), opened.stateid, 0, "kept back")
        .await?;
    new.delegreturn(&fh4(&file), delegation).await?;
    let read = at_last(async || old.read(&file, 0, 10).await).await?;
    assert_eq!(&read.data[..], b"kept back");
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_an_open_denies_is_denied_to_nfsv3() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let file = create(&old, &root, "f").await?;
    let new = world.client("new").await?;
    let mut args = new.open_args("f", Openflag4::NoCreate);
    args.share_deny = OPEN4_SHARE_DENY_BOTH;
    let opened: OpenFile = new.open_with(&fh4(&root), args).await?;
    let data = || Bytes::from_static(b"x");
    let refused = old.write(&file, 0, StableHow::FileSync, data()).await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Acces));
    let refused = old.read(&file, 0, 10).await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Acces));
    let sized = Sattr3 {
        size: Some(0),
        ..Sattr3::default()
    };
    let refused = old.setattr(&file, sized, None).await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Acces));
    let how = Createhow3::Unchecked(sized);
    let refused = old.create(&root, &name("f"), how).await;
    assert_eq!(refused.refused(), Some(Nfsstat3::Acces));
    new.close(&opened).await?;
    old.write(&file, 0, StableHow::FileSync, data()).await?;
    world.ends_without_leak().await
}

/// A truncate takes layouts to write away, so that nothing of before it comes back.
#[tokio::test]
async fn a_truncate_withdraws_the_layouts_of_others() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let new = world.client("new").await?;
    let opened = new.open_create(&fh4(&root), "f").await?;
    let file = fh3(&opened.fh)?;
    new.layoutget(&opened.fh, opened.stateid, Layoutiomode4::Rw)
        .await?;
    // Both write while it is out: the one directly, the other through the server.
    put(&old, &file, 0, "0123456789").await?;
    let sized = Sattr3 {
        size: Some(4),
        ..Sattr3::default()
    };
    let cutting = at_last(async || old.setattr(&file, sized, None).await);
    let returning = async {
        let CbArgOp::Layoutrecall(recall) = new.callbacks.next().await? else {
            anyhow::bail!("it is asked back")
        };
        let Layoutrecall4::File(asked) = recall.recall else {
            anyhow::bail!("of a file: {recall:?}")
        };
        new.layoutreturn(&asked.fh, asked.stateid, Layoutiomode4::Rw)
            .await?;
        Ok(())
    };
    let (cut, returned) = tokio::join!(cutting, returning);
    cut?;
    returned?;
    assert_eq!(new.size_of(&opened.fh).await?, 4);
    new.close(&opened).await?;
    world.ends_without_leak().await
}

/// While clients of NFSv4 may take back what they had, nobody gets what could stand against that.
#[tokio::test]
async fn in_grace_nfsv3_waits_as_everybody_does() -> Result<()> {
    let mut world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let file = create(&old, &root, "f").await?;
    let new = world.client("new").await?;
    new.open(&fh4(&root), "f").await?;
    world.crash_and_restart().await?;
    let old = super::client_of(&world, user(0));
    let data = Bytes::from_static(b"x");
    let answers = [
        old.read(&file, 0, 10).await.refused(),
        old.write(&file, 0, StableHow::FileSync, data.clone())
            .await
            .refused(),
        old.create(&root, &name("g"), Createhow3::Guarded(mode(0o644)))
            .await
            .refused(),
    ];
    assert_eq!(answers, [Some(Nfsstat3::Jukebox); 3]);
    // Names and attributes are nobody's to take back.
    old.getattr(&file).await?;
    mounted(&world, "/", &user(0)).await?;
    mkdir(&old, &root, "d", 0o755).await?;
    world.let_pass(Duration::from_mins(10));
    at_last(async || old.write(&file, 0, StableHow::FileSync, data.clone()).await).await?;
    world.ends_without_leak().await
}

/// A file that an open of NFSv4 holds is removed by its name, and stays for the holder.
#[tokio::test]
async fn what_is_removed_stays_for_whoever_has_it_open() -> Result<()> {
    let world = world().await?;
    let (old, root) = mount_of(&world, 0).await?;
    let new = world.client("new").await?;
    let opened = new.open_create(&fh4(&root), "f").await?;
    new.write(&opened.fh, opened.stateid, 0, "still").await?;
    old.remove(&root, &name("f")).await?;
    let read = new.read(&opened.fh, opened.stateid, 0, 10).await?;
    assert_eq!(&read.data[..], b"still");
    new.close(&opened).await?;
    until("it goes with its last holder", async || {
        let gone = new.read(&opened.fh, Stateid4::ANONYMOUS, 0, 10).await;
        Ok(gone.status() == Nfsstat4::Stale)
    })
    .await?;
    world.ends_without_leak().await
}
