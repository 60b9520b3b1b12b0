//! What is asked of a folder that is a file system of its own within the namespace.

use anyhow::{Context, Result};
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, putfh};
use wire::nfs4::*;

pub const SPACES: [Attr; 3] = [Attr::SpaceTotal, Attr::SpaceFree, Attr::FilesTotal];

const ASKED: [Attr; 3] = [Attr::Fsid, Attr::Fileid, Attr::MountedOnFileid];

/// All of `inside` are of one file system that begins at `called` in `outside`, by GETATTR and by READDIR.
pub async fn is_apart(
    client: &Client,
    outside: &Bytes,
    called: &str,
    inside: &[&Bytes],
) -> Result<()> {
    let around = client.getattr(outside, &ASKED).await?;
    let root = client.lookup(outside, called).await?;
    let told = client.getattr(&root, &ASKED).await?;
    assert_ne!(around.fsid, told.fsid);
    assert_eq!(told.mounted_on_fileid, told.fileid, "it covers nothing");
    for file in inside {
        assert_eq!(client.getattr(file, &ASKED).await?.fsid, told.fsid);
    }
    let entries = client.readdir(outside, &ASKED).await?;
    for entry in entries {
        let is_root = entry.name == called.as_bytes();
        let fsid = if is_root { told.fsid } else { around.fsid };
        assert_eq!(entry.attrs.fsid, fsid, "{:?}", entry.name);
        let number = is_root.then_some(told.fileid);
        assert!(number.is_none_or(|number| entry.attrs.mounted_on_fileid == number));
    }
    for entry in client.readdir(&root, &ASKED).await? {
        assert_eq!(entry.attrs.fsid, told.fsid, "{:?}", entry.name);
    }
    let up = client
        .ok([putfh(&root), ArgOp::Lookupp, ArgOp::Getfh])
        .await?
        .getfh()?;
    assert_eq!(up.object, *outside);
    Ok(())
}

/// Neither goes where the other is, by no name.
pub async fn stays_apart(
    client: &Client,
    one: (&Bytes, &str),
    other: (&Bytes, &str),
) -> Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        for called in ["new", to.1] {
            let across = client.rename(from, (to.0, called)).await;
            assert_eq!(across.status(), Nfsstat4::Xdev, "{from:?} to {called}");
        }
        let asked = [Attr::Type];
        let file = client.lookup(from.0, from.1).await?;
        let kind = client.getattr(&file, &asked).await?.file_type;
        if kind.context("it is told")? == Ftype4::Reg {
            let across = client.link(&file, to.0, "linked").await;
            assert_eq!(across.status(), Nfsstat4::Xdev);
        }
    }
    Ok(())
}

/// As a mount point's.
pub async fn root_stays(client: &Client, outside: &Bytes, called: &str) -> Result<()> {
    let removed = client.remove(outside, called).await;
    assert_eq!(removed.status(), Nfsstat4::Notempty);
    let moved = client
        .rename((outside, called), (outside, "elsewhere"))
        .await;
    assert_eq!(moved.status(), Nfsstat4::Xdev);
    client.mkdir(outside, "in-its-way").await?;
    let replaced = client
        .rename((outside, "in-its-way"), (outside, called))
        .await;
    assert_eq!(replaced.status(), Nfsstat4::Xdev);
    client.remove(outside, "in-its-way").await?;
    Ok(())
}

/// CLONE of the first bytes.
pub async fn cloned(
    client: &Client,
    source: &OpenFile,
    target: &OpenFile,
    count: u64,
) -> Result<(), Failure> {
    let clone = Clone4Args {
        src_stateid: source.stateid,
        dst_stateid: target.stateid,
        src_offset: 0,
        dst_offset: 0,
        count,
    };
    let both = [putfh(&source.fh), ArgOp::Savefh, putfh(&target.fh)];
    let ops = both.into_iter().chain([ArgOp::Clone(clone)]);
    client.ok(ops).await.map(drop)
}
