//! The tree of an assimilated filer as a file system of its own.

use anyhow::Result;
use backend::tree::{Caller, Make, NodeChanges, Tree};
use bytes::Bytes;
use interop_tests::nfs41::{StatusOf, name, putfh};
use wire::nfs4::*;

use crate::assimilated::{Shelf, is_scanned, spec, world};
use crate::copies::{copy, copy_args};
use crate::crossings::{SPACES, cloned, is_apart, root_stays, stays_apart};
use crate::world::{World, at_last, watchful};

#[tokio::test]
async fn an_assimilated_tree_is_another_file_system_with_the_filers_space() -> Result<()> {
    let shelf = Shelf::new().await?;
    let team = shelf.folder(&shelf.root, "team").await?;
    shelf.file(&team, "one", 0o644).await?;
    shelf.file(&team, "two", 0o644).await?;
    let root = Caller::root();
    let (soft, to) = (name("soft"), Make::Symlink(Bytes::from_static(b"team")));
    let born = NodeChanges::default();
    shelf
        .tree
        .make(&root, &shelf.root, &soft, to, &born)
        .await?;
    shelf.tree.set_capacity(1 << 40);
    let filer = shelf.served().await;
    let mut world = world(&filer).await?;
    is_scanned(&world).await?;
    let client = world.client("a").await?;
    let (outside, projects) = (client.walk("/d").await?, client.walk("/d/projects").await?);
    let team = client.walk("/d/projects/team").await?;
    let (one, soft) = (
        client.lookup(&team, "one").await?,
        client.lookup(&projects, "soft").await?,
    );
    // What is new lies elsewhere, and is of the same file system.
    let new = client.open_create(&team, "new").await?;
    world.to_write(&client, &new).await?.write(0, "x").await?;
    let lies = client.getxattr(&new.fh, "headrace.backend").await?;
    assert_eq!(lies, "ds0");
    let made = client.mkdir(&team, "made").await?;
    let inside = [&projects, &team, &one, &soft, &new.fh, &made];
    let here = client.open_create(&outside, "here").await?;
    is_apart(&client, &outside, "projects", &inside).await?;
    let (space, there) = (
        client.getattr(&team, &SPACES).await?,
        shelf.tree.space().await?,
    );
    assert_eq!(space.space_total, Some(there.total));
    let around = client.getattr(&outside, &SPACES).await?;
    let ours = world.running().objects.space();
    assert_eq!(
        around.space_total,
        Some(ours.total),
        "the filer isn't in it"
    );
    stays_apart(&client, (&outside, "here"), (&team, "one")).await?;
    client.mkdir(&outside, "d").await?;
    stays_apart(&client, (&outside, "d"), (&projects, "team")).await?;
    let clone = cloned(&client, &new, &here, 1).await;
    assert_eq!(clone.status(), Nfsstat4::Xdev);
    let all = copy_args(&new, &here, (0, 0, 1));
    assert_eq!(copy(&client, &new, &here, all).await?.count, 1);
    root_stays(&client, &outside, "projects").await?;
    // Without its backend the tree is as it was.
    world.stop().await?;
    world.spec_mut().assimilated.clear();
    world.begin().await?;
    let client = world.client("b").await?;
    is_apart(&client, &outside, "projects", &inside).await?;
    world.ends_sound().await
}

#[tokio::test]
async fn layouts_of_one_file_system_are_returned_and_no_others() -> Result<()> {
    let shelf = Shelf::new().await?;
    shelf.file(&shelf.root, "f", 0o644).await?;
    let filer = shelf.served().await;
    let world = world(&filer).await?;
    is_scanned(&world).await?;
    let client = world.client("a").await?;
    let (outside, projects) = (client.walk("/d").await?, client.walk("/d/projects").await?);
    let there = client.open_to_read(&projects, "f").await?;
    world.to_read(&client, &there).await?;
    let here = client.open_create(&outside, "f").await?;
    let held = world.to_write(&client, &here).await?;
    let returned = async |file: &Bytes| {
        let back = Layoutreturn4Args {
            reclaim: false,
            layout_type: LAYOUT4_FLEX_FILES,
            iomode: Layoutiomode4::Any,
            layoutreturn: Layoutreturn4::Fsid,
        };
        client.ok([putfh(file), ArgOp::Layoutreturn(back)]).await
    };
    assert_eq!(world.running().server.held().layouts, 2);
    returned(&projects).await?;
    assert_eq!(world.running().server.held().layouts, 1);
    held.write(0, "it goes on").await?;
    returned(&projects).await?;
    assert_eq!(world.running().server.held().layouts, 1);
    returned(&outside).await?;
    assert_eq!(world.running().server.held().layouts, 0);
    world.ends_sound().await
}

#[tokio::test]
async fn the_folder_of_a_filer_appears_as_the_file_system_that_it_is() -> Result<()> {
    let shelf = Shelf::new().await?;
    shelf.file(&shelf.root, "one", 0o644).await?;
    let filer = shelf.served().await;
    let mut away = spec(&filer);
    let port = std::mem::replace(&mut away.nfs.port, 1);
    let mut world = World::with(1, |world| {
        watchful(world);
        world.assimilated = vec![away];
    })
    .await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    client.mkdir(&root, "d").await?;
    let early = client.walk("/d/projects").await;
    assert!(early.is_err(), "its filer isn't there yet");
    world.stop().await?;
    world.spec_mut().assimilated[0].nfs.port = port;
    world.begin().await?;
    let client = world.client("b").await?;
    let outside = client.walk("/d").await?;
    let projects = at_last("the folder", &[Nfsstat4::Noent], async || {
        client.lookup(&outside, "projects").await
    })
    .await?;
    let told = async |file: &Bytes| client.getattr(file, &[Attr::Fsid]).await;
    assert_ne!(told(&projects).await?.fsid, told(&outside).await?.fsid);
    is_scanned(&world).await?;
    is_apart(&client, &outside, "projects", &[&projects]).await?;
    world.ends_sound().await
}
