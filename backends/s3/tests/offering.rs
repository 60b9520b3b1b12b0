//! Versions of a tree's files that a data server caches: whoever has been told of another one, or that he wrote,
//! reads the old one nowhere, whichever start of the server offered it.

mod s3_server;
mod shelf;
mod world;

use backend::tree::{Direct, Node, NodeChanges, Tree, TreeError};
use shelf::Shelf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use world::World;

const OLD: &str = "0123456789";

async fn lake() -> (World, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    let cache = shelf.clone();
    let world = World::with(|options| options.cache = Some(cache)).await;
    (world, shelf)
}

async fn offered(world: &World, node: &Node) -> Option<Direct> {
    let direct = world.front.direct(&node.handle, &node.stat).await;
    direct.unwrap_or_else(|error| panic!("{error}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Write,
    Cut,
    /// By somebody else.
    Overwrite,
    /// After it got another name.
    RenameAndWrite,
}

const CHANGES: [Change; 4] = [
    Change::Write,
    Change::Cut,
    Change::Overwrite,
    Change::RenameAndWrite,
];

impl Change {
    async fn on(self, world: &World, file: &Node) -> Result<(), TreeError> {
        match self {
            Self::Write | Self::RenameAndWrite => world.write(file, 3, "x").await,
            Self::Cut => {
                let changes = NodeChanges {
                    size: Some(5),
                    ..NodeChanges::default()
                };
                let cut = world.front.set(&world.caller, &file.handle, &changes);
                cut.await.map(drop)
            }
            Self::Overwrite => {
                world.server().put("a", "new");
                let stat = world.front.stat(&world.caller, &file.handle);
                stat.await.map(|stat| assert_eq!(stat.size, 3))
            }
        }
    }
}

#[tokio::test]
async fn what_was_offered_is_withdrawn_before_a_change_of_it_is_told() {
    for change in CHANGES {
        for dies in [false, true] {
            let (world, shelf) = lake().await;
            world.server().put("a", OLD);
            let file = world.found("a").await;
            let direct = offered(&world, &file).await.expect("it is cached");
            if change == Change::RenameAndWrite {
                let root = world.root().await;
                let renamed = world.rename((&root, "a"), (&root, "b")).await;
                renamed.expect("it is renamed");
            }
            if dies {
                world.restart().await.expect("it is attached again");
            }
            shelf.away.store(true, SeqCst);
            let waits = change.on(&world, &file).await;
            assert!(waits.is_err_and(|error| error.is_passing()), "{change:?}");
            assert!(shelf.serves(&direct).is_some(), "{change:?}");
            shelf.away.store(false, SeqCst);
            change.on(&world, &file).await.expect("it is changed");
            assert_eq!(shelf.serves(&direct), None, "{change:?}, {dies}");
        }
    }
}

#[tokio::test]
async fn a_version_that_is_as_it_was_stays_cached_over_a_restart() {
    let (world, shelf) = lake().await;
    world.server().put("a", OLD);
    let file = world.found("a").await;
    let direct = offered(&world, &file).await;
    world.restart().await.expect("it is attached again");
    world.found("a").await;
    assert_eq!(offered(&world, &file).await, direct);
    let served = shelf.serves(&direct.expect("it is cached"));
    assert_eq!(served.expect("it is served").size, OLD.len() as u64);
}

#[tokio::test]
async fn what_is_cached_of_a_file_that_is_gone_is_withdrawn_by_this_start_or_the_next() {
    for dies in [false, true] {
        let (world, shelf) = lake().await;
        world.server().put("d/a", OLD);
        let file = world.found("d/a").await;
        let direct = offered(&world, &file).await.expect("it is cached");
        shelf.away.store(true, SeqCst);
        let folder = world.found("d").await.handle;
        world.remove(&folder, "a").await.expect("it is removed");
        if dies {
            world.restart().await.expect("it is attached again");
        }
        shelf.away.store(false, SeqCst);
        let withdrawn = async {
            while shelf.serves(&direct).is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let withdrawn = tokio::time::timeout(Duration::from_secs(30), withdrawn).await;
        assert!(withdrawn.is_ok(), "{dies}");
    }
}

#[tokio::test]
async fn what_the_data_server_does_not_take_is_not_waited_for_when_it_changes() {
    let (world, shelf) = lake().await;
    world.server().put("a", OLD);
    let file = world.found("a").await;
    shelf.away.store(true, SeqCst);
    assert_eq!(offered(&world, &file).await, None);
    world.write(&file, 0, "x").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    world.restart().await.expect("it is attached again");
    world.write(&file, 0, "y").await.expect("a WRITE");
}
