//! Names: each procedure that makes, finds, moves and takes them away, and each of its refusals.

use anyhow::{Context, Result};
use bytes::Bytes;
use nfs_client::{Client, Error};
use wire::nfs3::*;

use super::{Refused, create, mkdir, mode, mount_of, name, world};

async fn attributes(client: &Client, folder: &Fh3, entry: &str) -> Result<Fattr3> {
    let found = client.lookup(folder, &name(entry)).await?;
    found.obj_attributes.context("they are told")
}

#[tokio::test]
async fn what_nfsv3_makes_is_found_moved_and_taken_away() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o750).await?;
    let file = create(&client, &folder, "f").await?;
    let found = client.lookup(&folder, &name("f")).await?;
    assert_eq!(found.object, file);
    let told = found.obj_attributes.context("they are told")?;
    assert_eq!((told.ftype, told.mode, told.nlink), (Ftype3::Reg, 0o644, 1));
    let above = found.dir_attributes.context("they are told")?;
    assert_eq!((above.ftype, above.mode), (Ftype3::Dir, 0o750));
    let to = Nfspath3::new(Bytes::from_static(b"../d/f")).context("it is short")?;
    let made = client
        .symlink(&folder, &name("s"), Sattr3::default(), to.clone())
        .await?;
    let link = made.obj.context("it is told")?;
    assert_eq!(client.readlink(&link).await?.data, to);
    let device = Specdata3 { major: 1, minor: 3 };
    let nodes = [
        ("p", Mknoddata3::Fifo(mode(0o600)), Ftype3::Fifo),
        ("k", Mknoddata3::Sock(mode(0o600)), Ftype3::Sock),
        ("c", Mknoddata3::Chr(mode(0o600), device), Ftype3::Chr),
        ("b", Mknoddata3::Blk(mode(0o600), device), Ftype3::Blk),
    ];
    for (entry, what, ftype) in nodes {
        client.mknod(&folder, &name(entry), what).await?;
        let told = attributes(&client, &folder, entry).await?;
        assert_eq!((told.ftype, told.mode), (ftype, 0o600));
        if matches!(ftype, Ftype3::Chr | Ftype3::Blk) {
            assert_eq!(told.rdev, device);
        }
        client.remove(&folder, &name(entry)).await?;
    }
    let linked = client.link(&file, &root, &name("g")).await?;
    assert_eq!(linked.file_attributes.map(|told| told.nlink), Some(2));
    client
        .rename(&root, &name("g"), &folder, &name("h"))
        .await?;
    assert_eq!(client.lookup(&folder, &name("h")).await?.object, file);
    let renamed = client.lookup(&root, &name("g")).await;
    assert_eq!(renamed.refused(), Some(Nfsstat3::Noent));
    for entry in ["f", "h", "s"] {
        client.remove(&folder, &name(entry)).await?;
    }
    let gone = client.getattr(&file).await;
    assert_eq!(gone.refused(), Some(Nfsstat3::Stale));
    client.rmdir(&root, &name("d")).await?;
    let gone = client.lookup(&root, &name("d")).await;
    assert_eq!(gone.refused(), Some(Nfsstat3::Noent));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_folder_and_the_one_above_it_are_found_by_their_dots() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    let inner = mkdir(&client, &folder, "e", 0o755).await?;
    let found = async |at: &Fh3, entry| {
        let found = client.lookup(at, &name(entry)).await?;
        Ok::<_, Error>(found.object)
    };
    assert_eq!(found(&inner, ".").await?, inner);
    assert_eq!(found(&inner, "..").await?, folder);
    assert_eq!(found(&folder, "..").await?, root);
    assert_eq!(found(&root, "..").await?, root, "nothing is above it");
    let file = create(&client, &root, "f").await?;
    for entry in [".", "..", "x"] {
        let refused = client.lookup(&file, &name(entry)).await;
        assert_eq!(refused.refused(), Some(Nfsstat3::Notdir), "{entry}");
    }
    world.ends_without_leak().await
}

/// Every way to be refused that a name has.
#[tokio::test]
async fn each_refusal_of_a_name_is_told_in_words_of_nfsv3() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    let file = create(&client, &folder, "f").await?;
    let to = Nfspath3::new(Bytes::from_static(b"f")).context("it is short")?;
    let link = client
        .symlink(&folder, &name("s"), Sattr3::default(), to.clone())
        .await?
        .obj
        .context("it is told")?;
    let guarded = || Createhow3::Guarded(mode(0o644));
    let long = "x".repeat(256);
    use Nfsstat3::*;
    let refused = |answer: Option<Nfsstat3>, status, what: &str| {
        assert_eq!(answer, Some(status), "{what}");
    };
    for (entry, status) in [
        ("f", Exist),
        ("", Inval),
        (".", Inval),
        ("..", Inval),
        ("a/b", Inval),
        ("a\0b", Inval),
        (&*long, Nametoolong),
    ] {
        let made = client.create(&folder, &name(entry), guarded()).await;
        refused(made.refused(), status, entry);
        let made = client.mkdir(&folder, &name(entry), mode(0o755)).await;
        refused(made.refused(), status, entry);
        let made = client
            .symlink(&folder, &name(entry), mode(0o777), to.clone())
            .await;
        refused(made.refused(), status, entry);
        let made = client
            .mknod(&folder, &name(entry), Mknoddata3::Fifo(mode(0o600)))
            .await;
        refused(made.refused(), status, entry);
        let made = client.link(&file, &folder, &name(entry)).await;
        refused(made.refused(), status, entry);
        if status != Exist {
            let removed = client.remove(&folder, &name(entry)).await;
            refused(removed.refused(), status, entry);
            let removed = client.rmdir(&folder, &name(entry)).await;
            refused(removed.refused(), status, entry);
            let moved = client
                .rename(&folder, &name("f"), &folder, &name(entry))
                .await;
            refused(moved.refused(), status, entry);
        }
    }
    for at in [&file, &link] {
        let made = client.create(at, &name("x"), guarded()).await;
        refused(made.refused(), Notdir, "CREATE");
        let made = client.mkdir(at, &name("x"), mode(0o755)).await;
        refused(made.refused(), Notdir, "MKDIR");
        let found = client.lookup(at, &name("x")).await;
        refused(found.refused(), Notdir, "LOOKUP");
        let removed = client.remove(at, &name("x")).await;
        refused(removed.refused(), Notdir, "REMOVE");
        let listed = client.readdir(at, 0, [0; 8], 4096).await;
        refused(listed.refused(), Notdir, "READDIR");
        let linked = client.link(&file, at, &name("x")).await;
        refused(linked.refused(), Notdir, "LINK");
    }
    let answers = [
        (
            client.remove(&root, &name("d")).await.refused(),
            Isdir,
            "REMOVE of a folder",
        ),
        (
            client.rmdir(&folder, &name("f")).await.refused(),
            Notdir,
            "RMDIR of a file",
        ),
        (
            client.rmdir(&root, &name("d")).await.refused(),
            Notempty,
            "RMDIR of a folder with entries",
        ),
        (
            client.remove(&folder, &name("x")).await.refused(),
            Noent,
            "REMOVE of nothing",
        ),
        (
            client
                .rename(&folder, &name("x"), &root, &name("y"))
                .await
                .refused(),
            Noent,
            "RENAME of nothing",
        ),
        (
            client
                .rename(&root, &name("d"), &folder, &name("in"))
                .await
                .refused(),
            Inval,
            "RENAME of a folder into itself",
        ),
        (
            client
                .rename(&folder, &name("f"), &root, &name("d"))
                .await
                .refused(),
            Isdir,
            "RENAME of a file over a folder",
        ),
        (
            client.readlink(&file).await.refused(),
            Inval,
            "READLINK of a file",
        ),
        (
            client
                .mknod(&folder, &name("x"), Mknoddata3::Other(NotMknod::Reg))
                .await
                .refused(),
            Badtype,
            "MKNOD of a file",
        ),
        (
            client.link(&folder, &root, &name("x")).await.refused(),
            Isdir,
            "LINK of a folder",
        ),
    ];
    for (answer, status, what) in answers {
        refused(answer, status, what);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_unchecked_create_takes_what_is_there_and_sets_its_size_alone() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    super::put(&client, &file, 0, "0123456789").await?;
    let unchecked = async |wanted| {
        let how = Createhow3::Unchecked(wanted);
        client.create(&root, &name("f"), how).await
    };
    let taken = unchecked(mode(0o600)).await?;
    assert_eq!(taken.obj, Some(file.clone()));
    let told = taken.obj_attributes.context("they are told")?;
    assert_eq!((told.size, told.mode), (10, 0o644));
    for size in [4, 0] {
        let wanted = Sattr3 {
            size: Some(size),
            ..mode(0o600)
        };
        let told = unchecked(wanted).await?.obj_attributes;
        assert_eq!(told.map(|told| told.size), Some(size));
    }
    let how = Createhow3::Guarded(mode(0o600));
    let guarded = client.create(&root, &name("f"), how).await;
    assert_eq!(guarded.refused(), Some(Nfsstat3::Exist));
    mkdir(&client, &root, "d", 0o755).await?;
    let how = Createhow3::Unchecked(mode(0o600));
    let taken = client.create(&root, &name("d"), how).await;
    assert_eq!(taken.refused(), Some(Nfsstat3::Isdir));
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_exclusive_create_is_known_again_by_its_verifier_also_after_a_restart() -> Result<()> {
    let mut world = world().await?;
    let (client, root) = mount_of(&world, 1001).await?;
    let exclusive = |verifier| Createhow3::Exclusive(verifier);
    let made = client
        .create(&root, &name("f"), exclusive(*b"mine now"))
        .await?;
    let file = made.obj.context("it is told")?;
    let told = made.obj_attributes.context("they are told")?;
    assert_eq!((told.uid, told.mode), (1001, 0), "nobody else's yet");
    let theirs = client
        .create(&root, &name("f"), exclusive(*b"somebody"))
        .await;
    assert_eq!(theirs.refused(), Some(Nfsstat3::Exist));
    world.crash_and_restart().await?;
    let (client, root) = mount_of(&world, 1001).await?;
    let again = client
        .create(&root, &name("f"), exclusive(*b"mine now"))
        .await?;
    assert_eq!(again.obj, Some(file.clone()));
    client.setattr(&file, mode(0o640), None).await?;
    super::put(&client, &file, 0, "hello").await?;
    assert_eq!(client.getattr(&file).await?.size, 5);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_change_of_names_tells_what_its_folder_was_like_before() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    let mut before = WccAttr::from(&client.getattr(&folder).await?);
    let mut changed = async |wcc: WccData, what| {
        assert_eq!(wcc.before, Some(before), "{what}");
        let now = client.getattr(&folder).await?;
        assert_eq!(wcc.after, Some(now), "{what}");
        let after = WccAttr::from(&now);
        assert_ne!(before, after, "{what}: it can be told by its times");
        before = after;
        anyhow::Ok(())
    };
    let how = Createhow3::Guarded(mode(0o644));
    let made = client.create(&folder, &name("f"), how).await?;
    changed(made.dir_wcc, "CREATE").await?;
    let made = client.mkdir(&folder, &name("e"), mode(0o755)).await?;
    changed(made.dir_wcc, "MKDIR").await?;
    let file = client.lookup(&folder, &name("f")).await?.object;
    let linked = client.link(&file, &folder, &name("g")).await?;
    changed(linked.linkdir_wcc, "LINK").await?;
    let moved = client
        .rename(&folder, &name("g"), &folder, &name("h"))
        .await?;
    assert_eq!(moved.fromdir_wcc, moved.todir_wcc);
    changed(moved.todir_wcc, "RENAME").await?;
    let removed = client.remove(&folder, &name("h")).await?;
    changed(removed, "REMOVE").await?;
    let removed = client.rmdir(&folder, &name("e")).await?;
    changed(removed, "RMDIR").await?;
    world.ends_without_leak().await
}
