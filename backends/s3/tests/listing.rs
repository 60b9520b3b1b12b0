//! What a listing says of each file, and what it asks the bucket for that.

mod s3_server;
mod world;

use backend::tree::{NodeKind, Tree};
use std::time::Duration;
use world::World;

const FILES: usize = 20;
const OLD: Duration = Duration::from_mins(1);
/// As s3fs writes modes.
const MODES: [(&str, u32); 2] = [("33188", 0o644), ("33152", 0o600)];

fn key(number: usize) -> String {
    format!("d/{number:02}")
}

/// A folder of files that were put so long ago.
async fn folder(ago: Duration) -> World {
    let world = World::new().await;
    for number in 0..FILES {
        let server = world.server();
        server.put_with(&key(number), "bytes", &[("mode", MODES[0].0)]);
        server.age(&key(number), ago);
    }
    world
}

/// The modes of its files, and how many of them were looked at for that.
async fn listed(world: &World) -> (Vec<u32>, usize) {
    let folder = world.found("d").await.handle;
    let before = world.server().asked().len();
    let page = world.front.list(&world.caller, &folder, 0, [0; 8], 100);
    let page = page.await.expect("a page");
    let nodes = page.entries.iter().filter_map(|entry| entry.node.as_ref());
    let asked = world.server().asked();
    let looks = asked[before..].iter();
    (
        nodes.map(|node| node.stat.mode).collect(),
        looks.filter(|line| line.starts_with("HEAD ")).count(),
    )
}

#[tokio::test]
async fn an_object_is_looked_at_once_for_all_listings_and_restarts() {
    let world = folder(OLD).await;
    let modes = vec![MODES[0].1; FILES];
    assert_eq!(listed(&world).await, (modes.clone(), FILES));
    assert_eq!(listed(&world).await, (modes.clone(), 0));
    world.restart().await.expect("it is attached again");
    assert_eq!(listed(&world).await, (modes, 0));
}

#[tokio::test]
async fn a_listing_shows_another_version_though_it_has_the_same_bytes() {
    let world = folder(OLD).await;
    listed(&world).await;
    let server = world.server();
    server.put_with(&key(3), "bytes", &[("mode", MODES[1].0)]);
    let (modes, looks) = listed(&world).await;
    assert_eq!((modes[3], modes[4], looks), (MODES[1].1, MODES[0].1, 1));
}

#[tokio::test]
async fn what_may_be_another_version_by_the_same_time_is_looked_at_again() {
    let world = folder(Duration::ZERO).await;
    listed(&world).await;
    world.server().say_otherwise(&key(3), "mode", MODES[1].0);
    let (modes, looks) = listed(&world).await;
    assert_eq!((modes[3], looks), (MODES[1].1, FILES));
}

#[tokio::test]
async fn a_server_that_moves_no_time_with_the_metadata_is_found_out_by_a_look() {
    let world = folder(OLD).await;
    listed(&world).await;
    world.server().say_otherwise(&key(3), "mode", MODES[1].0);
    assert_eq!(world.found(&key(3)).await.stat.mode, MODES[1].1);
    assert_eq!(listed(&world).await.0[3], MODES[1].1);
}

#[tokio::test]
async fn names_alone_are_listed_without_a_look_at_any_object() {
    let world = folder(OLD).await;
    let folder = world.found("d").await.handle;
    let server = world.server();
    // Larger than any symlink's target, and below a folder.
    server.put_with("d/large", vec![1; 4096], &[]);
    server.put_with("d/inner/file", "bytes", &[]);
    let before = world.server().asked().len();
    let page = world
        .front
        .list_names(&world.caller, &folder, 0, [0; 8], 100);
    let page = page.await.expect("a page");
    assert!(page.at_end && page.entries.len() == FILES + 2);
    let kind = |name: &str| {
        let mut entries = page.entries.iter();
        entries.find(|entry| entry.name == name).map(|e| e.kind)
    };
    assert_eq!(kind("large"), Some(Some(NodeKind::Regular)));
    assert_eq!(kind("inner"), Some(Some(NodeKind::Folder)));
    assert_eq!(
        kind(key(3).strip_prefix("d/").expect("its name")),
        Some(None)
    );
    let asked = world.server().asked().split_off(before);
    assert_eq!(asked.len(), 1, "{asked:?}");
    for entry in page.entries {
        let name = String::from_utf8(entry.name.to_vec()).expect("it is text");
        let found = world.found(&format!("d/{name}")).await;
        assert_eq!(entry.fileid, Some(found.stat.fileid));
    }
}
