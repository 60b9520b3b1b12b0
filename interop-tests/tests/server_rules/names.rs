//! Names: LOOKUP, CREATE, REMOVE, RENAME, LINK, READLINK. RFC 8881 §18.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, StatusOf, name, putfh};
use wire::nfs4::*;

use crate::world::World;

async fn lookup(client: &Client, directory: &Fh4, entry: &[u8]) -> Result<Nfsstat4, Failure> {
    let args = Lookup4Args {
        objname: entry.to_vec().into(),
    };
    Ok(client
        .compound([putfh(directory), ArgOp::Lookup(args)])
        .await?
        .status)
}

#[tokio::test]
async fn names_are_bytes_up_to_255_and_what_no_name_is_is_refused() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let long = "x".repeat(255);
    let fh = a.mkdir(&root, &long).await?;
    assert_eq!(a.lookup(&root, &long).await?, fh);
    assert_eq!(
        lookup(&a, &root, "x".repeat(256).as_bytes()).await?,
        Nfsstat4::Nametoolong
    );
    for (entry, status) in [
        (&b""[..], Nfsstat4::Inval),
        (b".", Nfsstat4::Badname),
        (b"..", Nfsstat4::Badname),
        (b"a/b", Nfsstat4::Badchar),
        (b"\xff\xfe", Nfsstat4::Noent),
        (b"X", Nfsstat4::Noent),
    ] {
        assert_eq!(
            lookup(&a, &root, entry).await?,
            status,
            "{}",
            entry.escape_ascii()
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_kind_of_file_is_made_and_told() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let device = Specdata4 {
        specdata1: 8,
        specdata2: 17,
    };
    let kinds = [
        ("dir", Createtype4::Dir, Ftype4::Dir),
        ("lnk", Createtype4::Lnk(name("to/where")), Ftype4::Lnk),
        ("blk", Createtype4::Blk(device), Ftype4::Blk),
        ("chr", Createtype4::Chr(device), Ftype4::Chr),
        ("sock", Createtype4::Sock, Ftype4::Sock),
        ("fifo", Createtype4::Fifo, Ftype4::Fifo),
    ];
    for (entry, kind, told) in kinds {
        let fh = a.create(&root, entry, kind.clone()).await?;
        let attributes = a
            .getattr(&fh, &[Attr::Type, Attr::Rawdev, Attr::Numlinks])
            .await?;
        assert_eq!(attributes.file_type, Some(told));
        if matches!(kind, Createtype4::Blk(_) | Createtype4::Chr(_)) {
            assert_eq!(attributes.rawdev, Some(device));
        }
        assert_eq!(a.create(&root, entry, kind).await.status(), Nfsstat4::Exist);
    }
    let regular = a
        .create(&root, "reg", Createtype4::Other(Ftype4::Reg))
        .await;
    assert_eq!(regular.status(), Nfsstat4::Badtype);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_link_is_read_and_nothing_else_is() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let target = "t".repeat(4095);
    let link = a.symlink(&root, "l", &target).await?;
    assert_eq!(&a.readlink(&link).await?[..], target.as_bytes());
    assert_eq!(a.readlink(&root).await.status(), Nfsstat4::WrongType);
    assert_eq!(lookup(&a, &link, b"x").await?, Nfsstat4::Symlink);
    world.ends_without_leak().await
}

/// As on the file systems of Linux: else `rsync -p` finds each link changed that it copies from there.
#[tokio::test]
async fn a_link_is_open_to_all_whatever_the_umask_of_its_maker() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let masked = Attributes {
        mode_umask: Some(ModeUmask4 {
            mode: 0o777,
            umask: 0o022,
        }),
        ..Attributes::default()
    };
    let make = Create4Args {
        objtype: Createtype4::Lnk(Bytes::from_static(b"target")),
        objname: name("l"),
        createattrs: masked.into(),
    };
    let mut made = a
        .ok([putfh(&root), ArgOp::Create(make), ArgOp::Getfh])
        .await?;
    let link = made.getfh()?.object;
    assert_eq!(a.getattr(&link, &[Attr::Mode]).await?.mode, Some(0o777));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_lookup_in_what_is_no_folder_says_notdir_and_lookupp_leads_up() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    let file = a.open_create(&directory, "f").await?;
    assert_eq!(lookup(&a, &file.fh, b"x").await?, Nfsstat4::Notdir);
    let mut up = a
        .ok([putfh(&directory), ArgOp::Lookupp, ArgOp::Getfh])
        .await?;
    assert_eq!(up.getfh()?.object, root);
    assert_eq!(
        a.compound([putfh(&root), ArgOp::Lookupp]).await?.status,
        Nfsstat4::Noent
    );
    assert_eq!(
        a.compound([putfh(&file.fh), ArgOp::Lookupp]).await?.status,
        Nfsstat4::Notdir
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_folder_goes_only_when_it_is_empty() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    a.mkdir(&directory, "sub").await?;
    assert_eq!(a.remove(&root, "d").await.status(), Nfsstat4::Notempty);
    a.remove(&directory, "sub").await?;
    a.remove(&root, "d").await?;
    assert_eq!(a.remove(&root, "d").await.status(), Nfsstat4::Noent);
    assert_eq!(a.mkdir(&directory, "late").await.status(), Nfsstat4::Stale);
    world.ends_without_leak().await
}

#[tokio::test]
async fn changes_of_a_folder_are_told_before_and_after() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.mkdir(&root, "d").await?;
    let before = a.change_of(&root).await?;
    let told = a.remove(&root, "d").await?;
    let after = a.change_of(&root).await?;
    assert!(
        told.atomic && (told.before, told.after) == (before, after) && before < after,
        "{told:?} {before} {after}"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_rename_replaces_what_it_may_and_nothing_else() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let (full, empty) = (
        a.mkdir(&root, "full").await?,
        a.mkdir(&root, "empty").await?,
    );
    let inner = a.mkdir(&full, "inner").await?;
    let file = a.open_create(&root, "file").await?;
    let rename = async |old, new| {
        anyhow::Ok(
            a.rename((&root, old), (&root, new))
                .await
                .map(|_| ())
                .status(),
        )
    };
    assert_eq!(rename("none", "new").await?, Nfsstat4::Noent);
    assert!(matches!(
        rename("empty", "full").await?,
        Nfsstat4::Exist | Nfsstat4::Notempty
    ));
    assert!(matches!(
        rename("file", "empty").await?,
        Nfsstat4::Exist | Nfsstat4::Isdir
    ));
    assert!(matches!(
        rename("empty", "file").await?,
        Nfsstat4::Exist | Nfsstat4::Notdir
    ));
    assert_eq!(rename("file", "file").await?, Nfsstat4::Ok);
    assert_eq!(
        a.rename((&root, "full"), (&inner, "below"))
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Inval
    );
    a.rename((&root, "empty"), (&full, "moved")).await?;
    assert_eq!(a.walk("/full/moved").await?, empty);
    a.rename((&full, "inner"), (&full, "moved")).await?;
    assert_eq!(a.walk("/full/moved").await?, inner);
    assert_eq!(a.lookup(&root, "file").await?, file.fh);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_rename_between_two_names_of_one_file_does_nothing() -> Result<()> {
    // RFC 8881 §18.26.3.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.link(&file.fh, &root, "g").await?;
    a.rename((&root, "f"), (&root, "g")).await?;
    assert_eq!(
        (a.lookup(&root, "f").await?, a.lookup(&root, "g").await?),
        (file.fh.clone(), file.fh.clone())
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_hard_link_counts_and_keeps_the_file() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "kept").await?;
    a.link(&file.fh, &directory, "g").await?;
    assert_eq!(
        a.link(&file.fh, &directory, "g").await.status(),
        Nfsstat4::Exist
    );
    assert_eq!(
        a.link(&directory, &root, "e").await.status(),
        Nfsstat4::Isdir
    );
    a.close(&file).await?;
    a.remove(&root, "f").await?;
    let same = a.open(&directory, "g").await?;
    assert_eq!(same.fh, file.fh);
    assert_eq!(
        a.getattr(&same.fh, &[Attr::Numlinks]).await?.numlinks,
        Some(1)
    );
    assert_eq!(
        &a.read(&same.fh, same.stateid, 0, 9).await?.data[..],
        b"kept"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn filehandles_that_nobody_gave_are_bad_and_those_of_removed_files_stale() -> Result<()> {
    // Fact 26.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    let mut forged = directory.to_vec();
    forged[10] ^= 1;
    for handle in [forged, vec![7; 29], vec![1], Vec::new()] {
        assert_eq!(
            a.compound([putfh(&handle.into())]).await?.status,
            Nfsstat4::Badhandle
        );
    }
    a.remove(&root, "d").await?;
    assert_eq!(
        a.getattr(&directory, &[Attr::Type]).await.status(),
        Nfsstat4::Stale
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_folder_of_mode_01000_is_an_ordinary_one() -> Result<()> {
    // Fact 29: a peer takes it for a referral.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    a.setattr(
        &directory,
        Stateid4::ANONYMOUS,
        Attributes {
            mode: Some(0o1000),
            ..Attributes::default()
        },
    )
    .await?;
    a.mkdir(&directory, "sub").await?;
    assert_eq!(a.walk("/d/sub").await.status(), Nfsstat4::Ok);
    assert_eq!(a.readdir(&directory, &[Attr::Fileid]).await?.len(), 1);
    world.ends_without_leak().await
}
