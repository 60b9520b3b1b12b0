//! A client that others wrote: the crate nfs-rs, by NFSv4.1 and 4.2. It asks for layouts of files alone, which
//! there are none of, so that all its bytes pass the metadata server. Data servers that others wrote are in
//! `stranger`.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::TryStreamExt;
use interop_tests::nfs41::StatusOf;
use nfs_rs::{
    Mount, Nfs4ErrorCode, NfsError, OPEN_BOTH, SeekContent, parse_url_and_mount, write_all,
};
use wire::nfs4::{LockType4, Nfsstat4};

use crate::world::World;

async fn mounted(world: &World, version: &str) -> Result<Box<dyn Mount>> {
    let (host, port) = (world.address.ip(), world.address.port());
    let url = format!("nfs://{host}/?version={version}&nfsport={port}&noresvport=true&uid=0&gid=0");
    parse_url_and_mount(&url).await.context(url)
}

async fn names(mount: &dyn Mount, folder: &str) -> Result<Vec<String>> {
    let entries = mount.readdirplus_path(folder).await?;
    let mut names: Vec<String> = entries
        .map_ok(|entry| entry.file_name)
        .try_collect()
        .await?;
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

async fn read(mount: &dyn Mount, path: &str, most: u32) -> Result<Bytes> {
    let opened = mount.open_path(path, nfs_rs::OPEN_READ).await?;
    let bytes = mount.read(opened.fh.clone(), 0, most).await?;
    mount.close(opened.fh).await?;
    Ok(bytes)
}

#[tokio::test]
async fn a_foreign_client_creates_writes_reads_lists_renames_and_removes() -> Result<()> {
    let world = World::start().await?;
    for version in ["4.1", "4.2"] {
        let mount = mounted(&world, version).await?;
        mount.mkdir_path("d", 0o755).await?;
        let created = mount.create_path("d/f", Some(0o640)).await?;
        let pattern: Bytes = (0..300_000_u32).map(|at| (at / 977) as u8).collect();
        write_all(&*mount, created.fh.clone(), 0, pattern.clone()).await?;
        mount.commit(created.fh.clone(), 0, 0).await?;
        mount.close(created.fh.clone()).await?;
        let attributes = mount.getattr_path("d/f").await?;
        assert_eq!(attributes.filesize, 300_000, "{version}");
        assert_eq!(attributes.file_mode & 0o7777, 0o640, "{version}");
        assert!(
            read(&*mount, "d/f", 1000).await? == pattern[..1000],
            "{version}"
        );
        mount.symlink_path("f", "d/s").await?;
        assert_eq!(mount.readlink_path("d/s").await?, "f");
        assert_eq!(mount.link_path("d/f", "d/h").await?.nlink, 2, "{version}");
        mount.rename_path("d/f", "d/g").await?;
        assert_eq!(names(&*mount, "d").await?, ["g", "h", "s"], "{version}");
        let gone = mount.getattr_path("d/f").await;
        assert!(
            matches!(gone, Err(NfsError::Nfs4(Nfs4ErrorCode::NFS4ERR_NOENT))),
            "{version}: {gone:?}"
        );
        for name in ["d/g", "d/h", "d/s"] {
            mount.remove_path(name).await?;
        }
        mount.rmdir_path("d").await?;
        assert!(names(&*mount, "/").await?.is_empty(), "{version}");
        mount.umount().await?;
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_foreign_client_lists_a_large_folder_each_name_once() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut made = Vec::new();
    for number in 0..700 {
        let name = format!("a-name-of-some-length-{number:04}");
        a.mkdir(&root, &name).await?;
        made.push(name);
    }
    let mount = mounted(&world, "4.2").await?;
    assert_eq!(names(&*mount, "/").await?, made);
    mount.umount().await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn locks_of_a_foreign_client_and_of_ours_keep_each_other_out() -> Result<()> {
    let world = World::start().await?;
    let mount = mounted(&world, "4.1").await?;
    let opened = mount
        .create_path_stateful_with_access("f", Some(0o666), OPEN_BOTH)
        .await?;
    let held = mount.lock_open_stateful(&opened, WRITE_LOCK, 0, 10).await?;
    let other = mounted(&world, "4.2").await?;
    let theirs = other.open_path_stateful("f", OPEN_BOTH).await?;
    let refused = other.lock_open_stateful(&theirs, WRITE_LOCK, 5, 10).await;
    // It skips over LOCK4denied, and so can't say which lock is in the way.
    assert!(
        matches!(&refused, Err(NfsError::Nfs4(Nfs4ErrorCode::NFS4ERR_DENIED))),
        "{refused:?}"
    );
    let ours = world.client("ours").await?;
    let root = ours.root().await?;
    let file = ours.open(&root, "f").await?;
    let write = LockType4::WriteLt;
    assert_eq!(
        ours.lock(&file, "o", write, (5, 10)).await.status(),
        Nfsstat4::Denied
    );
    mount.unlock_stateful(held).await?;
    let lock = ours.lock(&file, "o", write, (5, 10)).await?;
    let refused = other.lock_open_stateful(&theirs, WRITE_LOCK, 5, 10).await;
    assert!(
        matches!(&refused, Err(NfsError::Nfs4(Nfs4ErrorCode::NFS4ERR_DENIED))),
        "{refused:?}"
    );
    ours.unlock(&file, lock, (5, 10)).await?;
    let held = other.lock_open_stateful(&theirs, WRITE_LOCK, 5, 10).await?;
    other.unlock_stateful(held).await?;
    mount.close_stateful(opened).await?;
    other.close_stateful(theirs).await?;
    ours.close(&file).await?;
    mount.umount().await?;
    other.umount().await?;
    world.ends_without_leak().await
}

/// `WRITE_LT`, RFC 8881 §3.3.
const WRITE_LOCK: u32 = 2;

#[tokio::test]
async fn what_4_2_adds_works_for_a_foreign_client() -> Result<()> {
    let world = World::start().await?;
    let mount = mounted(&world, "4.2").await?;
    let from = mount
        .create_path_stateful_with_access("from", Some(0o644), OPEN_BOTH)
        .await?;
    let to = mount
        .create_path_stateful_with_access("to", Some(0o644), OPEN_BOTH)
        .await?;
    let (source, target) = (from.object.fh.clone(), to.object.fh.clone());
    let pattern = Bytes::from(vec![7; 100_000]);
    write_all(&*mount, source.clone(), 0, pattern.clone()).await?;
    mount
        .setxattr(source.clone(), "color", Bytes::from_static(b"blue"))
        .await?;
    assert_eq!(mount.getxattr(source.clone(), "color").await?, "blue");
    assert_eq!(mount.listxattr(source.clone()).await?, ["color"]);
    mount.removexattr(source.clone(), "color").await?;
    let copied = mount
        .copy_range(source.clone(), target.clone(), 0, 0, 100_000)
        .await?;
    assert_eq!(copied.count, 100_000);
    assert!(mount.read(target.clone(), 0, 100_000).await? == pattern);
    mount
        .clone_range(source.clone(), target.clone(), 0, 200_000, 100_000)
        .await?;
    let hole = mount
        .seek_content(target.clone(), 0, SeekContent::Hole)
        .await?;
    assert!((100_000..=200_000).contains(&hole.offset), "{hole:?}");
    mount.allocate(target.clone(), 0, 400_000).await?;
    assert_eq!(mount.getattr(target).await?.filesize, 400_000);
    mount.close_stateful(from).await?;
    mount.close_stateful(to).await?;
    mount.umount().await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_foreign_client_that_speaks_4_0_or_3_is_refused_in_words() -> Result<()> {
    let world = World::start().await?;
    // By NFSv3 it asks the MOUNT program first, which isn't there: PROG_UNAVAIL in its own words.
    for (version, why) in [
        ("3", "service unavailable"),
        ("4.0", "minor version mismatch"),
    ] {
        let (host, port) = (world.address.ip(), world.address.port());
        let url = format!(
            "nfs://{host}/?version={version}&nfsport={port}&mountport={port}&noresvport=true"
        );
        let refused = parse_url_and_mount(&url)
            .await
            .err()
            .context("it was not refused")?;
        let said = refused.to_string();
        assert!(said.contains(why), "{version}: {said}");
    }
    world.ends_without_leak().await
}
