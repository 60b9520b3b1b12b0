//! Attributes of folders in a bucket whose markers keep no metadata, as SeaweedFS's don't.

mod s3_server;
mod world;

use backend::Nanos;
use backend::tree::{Make, Node, NodeChanges, SetTime, Tree, XattrHow};
use bytes::Bytes;
use world::World;

const LONG_AGO: Nanos = 1_000_000_000_123_456_789;
static COLOR: Bytes = Bytes::from_static(b"color");

async fn made(world: &World) -> Node {
    let root = world.root().await;
    let born = NodeChanges {
        mode: Some(0o750),
        uid: Some(7),
        gid: Some(8),
        ..NodeChanges::default()
    };
    let name = Bytes::from_static(b"folder");
    let made = world
        .front
        .make(&world.caller, &root, &name, Make::Folder, &born);
    made.await.expect("it is made").0
}

async fn set(world: &World, folder: &Node, changes: NodeChanges) {
    let set = world.front.set(&world.caller, &folder.handle, &changes);
    set.await.expect("it is set");
}

#[tokio::test]
async fn a_folder_keeps_its_attributes_though_its_marker_says_nothing() {
    let world = World::with_bare_markers().await;
    let stat = made(&world).await.stat;
    assert_eq!((stat.mode, stat.uid, stat.gid), (0o750, 7, 8));
    let marker = world.server().object("below/folder/").expect("a marker");
    assert!(marker.meta.is_empty(), "{:?}", marker.meta);

    let folder = world.found("folder").await;
    let mode = NodeChanges {
        mode: Some(0o700),
        ..NodeChanges::default()
    };
    set(&world, &folder, mode).await;
    let how = XattrHow::Either;
    let blue = Bytes::from_static(b"blue");
    let caller = &world.caller;
    let named = world
        .front
        .set_xattr(caller, &folder.handle, &COLOR, &blue, how);
    named.await.expect("an attribute is set");

    let inner = world.make_folder(&folder.handle, "inner").await;
    set(
        &world,
        &inner.expect("it is made"),
        NodeChanges {
            mode: Some(0o711),
            ..NodeChanges::default()
        },
    )
    .await;
    set(
        &world,
        &folder,
        NodeChanges {
            mtime: Some(SetTime::At(LONG_AGO)),
            ..NodeChanges::default()
        },
    )
    .await;
    let root = world.root().await;
    world
        .rename((&root, "folder"), (&root, "renamed"))
        .await
        .expect("it is renamed");
    world.restart().await.expect("it is attached again");
    let there = world.found("renamed").await;
    assert_eq!(there.handle, folder.handle);
    let stat = &there.stat;
    assert_eq!((stat.mode, stat.uid, stat.gid), (0o700, 7, 8));
    assert_eq!(stat.mtime, LONG_AGO, "its names are what they were");
    let named = world.front.xattr(caller, &there.handle, &COLOR).await;
    assert_eq!(named.expect("it is there"), blue);

    assert_eq!(world.found("renamed/inner").await.stat.mode, 0o711);

    world.create(&there.handle, "in").await.expect("it is made");
    let stat = world.found("renamed").await.stat;
    assert!(stat.mtime > LONG_AGO && stat.mode == 0o700);
}

#[tokio::test]
async fn what_was_kept_of_a_folder_goes_with_it() {
    let world = World::with_bare_markers().await;
    let (root, name) = (world.root().await, Bytes::from_static(b"folder"));
    let before = made(&world).await;
    let gone = world.front.remove(&world.caller, &root, &name).await;
    gone.expect("it is removed");
    world.server().put("below/folder/of-another", "x");
    let after = world.found("folder").await;
    assert_ne!(after.handle, before.handle);
    assert_eq!((after.stat.mode, after.stat.uid), (0o755, 0));
}

#[tokio::test]
async fn a_marker_that_says_something_is_believed() {
    let world = World::with_bare_markers().await;
    made(&world).await;
    let another = [("mode", "16832"), ("uid", "5"), ("gid", "6")];
    world.server().put_with("below/folder/", "", &another);
    let stat = world.found("folder").await.stat;
    assert_eq!((stat.mode, stat.uid, stat.gid), (0o700, 5, 6));
}
