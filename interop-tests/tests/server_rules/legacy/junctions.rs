//! What another server keeps, by NFSv3.

use std::sync::Arc;

use anyhow::{Context, Result};
use backend::tree::{Caller, MemoryTree, NodeChanges, Tree};
use backend::{DataServer, FenceGrade, MemoryServer};
use bytes::Bytes;
use headrace::metadata::{
    BackendSpec, GivenServer, GivenTree, JunctionSpec, Keeper, ManagedSpec, Storage,
};
use mds::Access;
use nfs_client::{Client, mount};
use wire::mount::Mountstat3;
use wire::nfs3::*;

use super::{
    Refused, client_of, create, fh4, mkdir, mode, mount_of, mounted, name, put, user, world_with,
};
use crate::world::{World, until};

async fn world(tree: &MemoryTree) -> Result<World> {
    let changes = NodeChanges {
        mode: Some(0o777),
        ..NodeChanges::default()
    };
    let root = tree.root().await?.handle;
    tree.set(&Caller::root(), &root, &changes).await?;
    world_with(|spec| {
        spec.backends = vec![BackendSpec {
            name: "shelf".into(),
            keeper: Keeper::Given(GivenTree(Arc::new(tree.clone()))),
            cache: None,
        }];
        spec.junctions = vec![JunctionSpec {
            path: "/d/shelf".into(),
            backend: "shelf".into(),
            folder: "/".into(),
            access: Access::ReadWrite,
        }];
    })
    .await
}

/// Everything that a user does, where the tree is.
async fn used(client: &Client, shelf: &Fh3) -> Result<()> {
    let folder = mkdir(client, shelf, "sub", 0o755).await?;
    let file = create(client, &folder, "f").await?;
    put(client, &file, 0, "hello").await?;
    let data = Bytes::from_static(b" there");
    let written = client.write(&file, 5, StableHow::Unstable, data).await?;
    let committed = client.commit(&file, 0, 0).await?;
    assert_eq!(committed.verf, written.verf);
    let read = client.read(&file, 0, 100).await?;
    assert_eq!((&read.data[..], read.eof), (&b"hello there"[..], true));
    client.setattr(&file, mode(0o600), None).await?;
    let told = client.getattr(&file).await?;
    assert_eq!((told.size, told.mode), (11, 0o600));
    let stale = Nfstime3 {
        nseconds: told.ctime.nseconds ^ 1,
        ..told.ctime
    };
    let guarded = client.setattr(&file, mode(0o644), Some(stale)).await;
    assert_eq!(guarded.refused(), Some(Nfsstat3::NotSync));
    client.setattr(&file, mode(0o644), Some(told.ctime)).await?;
    client
        .rename(&folder, &name("f"), shelf, &name("g"))
        .await?;
    client.link(&file, shelf, &name("h")).await?;
    let to = Nfspath3::new(Bytes::from_static(b"g")).context("it is short")?;
    let link = client
        .symlink(shelf, &name("s"), mode(0o777), to.clone())
        .await?;
    let link = link.obj.context("it is told")?;
    assert_eq!(client.readlink(&link).await?.data, to);
    assert_eq!(client.lookup(&folder, &name("..")).await?.object, *shelf);
    let page = client.readdirplus(shelf, 0, [0; 8], 8192, 8192).await?;
    assert!(page.reply.eof);
    assert_eq!(page.reply.entries.len(), 6);
    for entry in &page.reply.entries[2..] {
        let found = client.lookup(shelf, &entry.name).await?;
        assert_eq!(Some(&found.object), entry.name_handle.as_ref());
        assert_eq!(found.obj_attributes, entry.name_attributes);
    }
    let removed = client.remove(shelf, &name("sub")).await;
    assert_eq!(removed.refused(), Some(Nfsstat3::Isdir));
    let removed = client.rmdir(shelf, &name("g")).await;
    assert_eq!(removed.refused(), Some(Nfsstat3::Notdir));
    for how in [
        Createhow3::Guarded(mode(0o644)),
        Createhow3::Exclusive(*b"verifier"),
    ] {
        let made = client.create(shelf, &name("g"), how).await;
        assert_eq!(made.refused(), Some(Nfsstat3::Exist));
    }
    let emptied = Sattr3 {
        size: Some(0),
        ..Sattr3::default()
    };
    let how = Createhow3::Unchecked(emptied);
    let taken = client.create(shelf, &name("g"), how).await?;
    assert_eq!(taken.obj_attributes.map(|told| told.size), Some(0));
    let exclusive = || Createhow3::Exclusive(*b"verifier");
    let made = client.create(shelf, &name("e"), exclusive()).await?;
    let again = client.create(shelf, &name("e"), exclusive()).await?;
    assert_eq!(made.obj, again.obj);
    for entry in ["e", "g", "h", "s"] {
        client.remove(shelf, &name(entry)).await?;
    }
    client.rmdir(shelf, &name("sub")).await?;
    let gone = client.getattr(&file).await;
    assert_eq!(gone.refused(), Some(Nfsstat3::Stale));
    client.fsstat(shelf).await?;
    client.fsinfo(shelf).await?;
    client.pathconf(shelf).await?;
    Ok(())
}

#[tokio::test]
async fn what_lies_in_a_backend_is_read_and_changed_by_nfsv3() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = client.lookup(&root, &name("d")).await?.object;
    let shelf = client.lookup(&folder, &name("shelf")).await?;
    used(&client, &shelf.object).await?;
    // Another file system, by which Linux mounts it below the one around it.
    let told = shelf.obj_attributes.context("they are told")?;
    let around = client.getattr(&folder).await?;
    assert_ne!(told.fsid, around.fsid);
    let above = client.lookup(&shelf.object, &name("..")).await?.object;
    assert_eq!(above, folder);
    let page = client.readdirplus(&folder, 2, [0; 8], 4096, 4096).await?;
    let entry = &page.reply.entries[0];
    let listed = entry.name_attributes.context("they are told")?;
    assert_eq!(listed.fsid, told.fsid);
    assert_ne!(entry.fileid, told.fileid, "the folder that it covers");
    // It can be mounted by itself, and nothing is moved across its border.
    let caller = user(0);
    assert_eq!(mounted(&world, "/d/shelf", &caller).await?, shelf.object);
    create(&client, &folder, "f").await?;
    let across = client
        .rename(&folder, &name("f"), &shelf.object, &name("f"))
        .await;
    assert_eq!(across.refused(), Some(Nfsstat3::Xdev));
    let covered = client.rmdir(&folder, &name("shelf")).await;
    assert_eq!(covered.refused(), Some(Nfsstat3::Notempty));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_managed_folder_is_another_file_system_by_nfsv3() -> Result<()> {
    let lake = MemoryServer::new("lake", FenceGrade::Exact).indirect();
    let world = world_with(|spec| {
        spec.managed = vec![ManagedSpec {
            name: "lake".into(),
            storage: Storage::Given(GivenServer(Arc::new(lake.clone()))),
            cache: None,
            path: "/d/lake".into(),
        }];
    })
    .await?;
    until("the bucket is there", async || {
        let shown = world.running().managed.shown();
        Ok(shown.iter().all(|one| one.state().0 == "up"))
    })
    .await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = client.lookup(&root, &name("d")).await?.object;
    let found = client.lookup(&folder, &name("lake")).await?;
    used(&client, &found.object).await?;
    let told = found.obj_attributes.context("they are told")?;
    let around = client.getattr(&folder).await?;
    assert_ne!(told.fsid, around.fsid);
    let file = create(&client, &found.object, "f").await?;
    assert_eq!(client.getattr(&file).await?.fsid, told.fsid);
    let page = client.readdirplus(&folder, 2, [0; 8], 4096, 4096).await?;
    let entry = &page.reply.entries[0];
    assert_eq!(
        entry.name_attributes.context("they are told")?.fsid,
        told.fsid
    );
    assert_eq!(entry.name_handle.as_ref(), Some(&found.object));
    assert_eq!(mounted(&world, "/d/lake", &user(0)).await?, found.object);
    let above = client.lookup(&found.object, &name("..")).await?.object;
    assert_eq!(above, folder);
    let space = lake.space().await?;
    assert_eq!(client.fsstat(&file).await?.tbytes, space.total);
    let ours = world.running().objects.space();
    assert_eq!(client.fsstat(&folder).await?.tbytes, ours.total);
    let across = client
        .rename(&found.object, &name("f"), &folder, &name("f"))
        .await;
    assert_eq!(across.refused(), Some(Nfsstat3::Xdev));
    let across = client.link(&file, &folder, &name("f")).await;
    assert_eq!(across.refused(), Some(Nfsstat3::Xdev));
    let removed = client.rmdir(&folder, &name("lake")).await;
    assert_eq!(removed.refused(), Some(Nfsstat3::Notempty));
    let moved = client
        .rename(&folder, &name("lake"), &folder, &name("pond"))
        .await;
    assert_eq!(moved.refused(), Some(Nfsstat3::Xdev));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_tree_that_judges_is_asked_in_the_callers_name() -> Result<()> {
    let tree = MemoryTree::new("shelf").judging();
    let world = world(&tree).await?;
    let shelf = mounted(&world, "/d/shelf", &user(1001)).await?;
    let owner = client_of(&world, user(1001));
    used(&owner, &shelf).await?;
    let file = create(&owner, &shelf, "f").await?;
    owner.setattr(&file, mode(0o600), None).await?;
    assert_eq!(owner.getattr(&file).await?.uid, 1001);
    let stranger = client_of(&world, user(1002));
    let read = stranger.read(&file, 0, 10).await;
    assert_eq!(read.refused(), Some(Nfsstat3::Acces));
    let granted = stranger.access(&file, 0x3f).await?.access;
    assert_eq!(granted, 0);
    let changed = stranger.setattr(&file, mode(0o666), None).await;
    assert_eq!(changed.refused(), Some(Nfsstat3::Perm));
    world.ends_without_leak().await
}

/// A filer's handle may have 64 bytes, and so has all that a client of NFSv3 may be told.
#[tokio::test]
async fn a_node_whose_handle_is_long_has_a_shorter_one_by_nfsv3() -> Result<()> {
    let tree = MemoryTree::new("shelf").with_handle_bytes(44);
    let world = world(&tree).await?;
    let (client, _) = mount_of(&world, 0).await?;
    let shelf = mounted(&world, "/d/shelf", &user(0)).await?;
    used(&client, &shelf).await?;
    let file = create(&client, &shelf, "f").await?;
    put(&client, &file, 0, "one file").await?;
    // By NFSv4 it has its own, and is the same file.
    let new = world.client("new").await?;
    let by4 = new.walk("/d/shelf/f").await?;
    assert_ne!(by4, fh4(&file));
    let opened = new.open(&new.walk("/d/shelf").await?, "f").await?;
    let read = new.read(&by4, opened.stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"one file");
    let read = new.read(&fh4(&file), opened.stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"one file");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_node_that_nfsv3_has_no_handle_for_is_listed_and_said_to_be_elsewhere() -> Result<()> {
    let tree = MemoryTree::new("shelf").with_handle_bytes(64);
    let world = world(&tree).await?;
    let (client, root) = mount_of(&world, 0).await?;
    // The junction's own root is known without it.
    let shelf = mounted(&world, "/d/shelf", &user(0)).await?;
    let new = world.client("new").await?;
    new.open_create(&fh4(&shelf), "f").await?;
    new.mkdir(&fh4(&shelf), "e").await?;
    let page = client.readdirplus(&shelf, 2, [0; 8], 4096, 4096).await?;
    assert_eq!(page.reply.entries.len(), 2);
    for entry in &page.reply.entries {
        assert_eq!(entry.name_handle, None);
        let found = client.lookup(&shelf, &entry.name).await;
        assert_eq!(found.refused(), Some(Nfsstat3::Remote));
    }
    let made = client
        .create(&shelf, &name("g"), Createhow3::Guarded(mode(0o644)))
        .await?;
    assert_eq!(made.obj, None);
    client.remove(&shelf, &name("g")).await?;
    let refused = mounted(&world, "/d/shelf/e", &user(0)).await;
    assert!(matches!(
        refused,
        Err(mount::MountError::Refused {
            status: Mountstat3::Notsupp,
            ..
        })
    ));
    client.getattr(&root).await?;
    world.ends_without_leak().await
}
