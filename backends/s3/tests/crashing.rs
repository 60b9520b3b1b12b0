//! What a death leaves of changes that were under way: made good by the next start, or told to whoever comes again.

mod s3_server;
mod world;

use backend::Stability;
use backend::tree::{NodeChanges, Tree, TreeErrorKind};
use bytes::Bytes;
use s3_server::Fault;
use world::World;

const LARGE_BYTES: usize = 20 << 20;

#[tokio::test]
async fn a_crash_in_the_middle_of_a_folders_rename_is_made_good() {
    let world = World::with(|options| options.attempts = 1).await;
    for number in 0..20 {
        world
            .server()
            .put(&format!("old/{number:02}"), format!("{number}"));
    }
    let file = world.found("old/03").await;
    let root = world.root().await;
    let folder = world.found("old").await;
    for part in ["/photos/new/1", "/photos?delete"] {
        world.server().fail(usize::MAX, "PUT", part, Fault::Silence);
        world
            .server()
            .fail(usize::MAX, "POST", part, Fault::Silence);
    }
    let rename = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        world.rename((&root, "old"), (&root, "new")),
    );
    assert!(rename.await.is_err(), "it isn't done");
    world.server().recover();
    world.restart().await.expect("it is attached again");
    // Changes wait until it is done.
    world.create(&root, "next").await.expect("it is made");
    let keys = world.server().keys();
    assert_eq!(
        keys.iter().filter(|key| key.starts_with("new/")).count(),
        20
    );
    assert!(!keys.iter().any(|key| key.starts_with("old/")), "{keys:?}");
    assert_eq!(world.found("new").await.handle, folder.handle);
    assert_eq!(world.found("new/03").await.handle, file.handle);
    assert_eq!(world.whole(&file).await, b"3");
}

#[tokio::test]
async fn what_was_not_committed_is_gone_after_a_crash_and_the_verifier_tells() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "safe").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    let data = Bytes::from_static(b"lost");
    let unstable = Stability::Unstable;
    let (caller, handle) = (&world.caller, &file.handle);
    let before = world
        .front
        .write(caller, handle, 0, data.clone(), unstable)
        .await;
    let attached = world.restart().await.expect("it is attached again");
    assert_eq!(attached.discarded, 1);
    assert_eq!(world.whole(&file).await, b"safe");
    let after = world.front.write(caller, handle, 0, data, unstable).await;
    let (before, after) = (before.expect("a WRITE"), after.expect("a WRITE"));
    assert_ne!(before.verifier, after.verifier);
}

#[tokio::test]
async fn a_death_amid_the_keeping_of_what_lost_leaves_all_of_it_or_nothing() {
    let world = World::new().await;
    let lost = world.options.state.join("lost");
    for (name, file) in [
        (".1-7", "content"),
        (".2-7", "what.txt"),
        ("3-7", "content"),
    ] {
        std::fs::create_dir_all(lost.join(name)).expect("a folder");
        std::fs::write(lost.join(name).join(file), name).expect("a file");
    }
    world.restart().await.expect("it is attached again");
    let kept = std::fs::read_dir(&lost).expect("the folder is there");
    let mut kept: Vec<_> = kept
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    kept.sort();
    assert_eq!(kept, ["1-7", "3-7"]);
    let content = std::fs::read_to_string(lost.join("1-7/content"));
    assert_eq!(content.expect("the bytes"), ".1-7");
}

fn spooled(world: &World) -> usize {
    let spool = std::fs::read_dir(world.options.state.join("spool"));
    spool.expect("the folder is there").count()
}

#[tokio::test]
async fn what_is_sent_again_after_a_crash_is_not_mixed_with_a_version_that_came_meanwhile() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "a version").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    world.write(&file, 2, "VERS").await.expect("a WRITE");
    world.server().put("file", "another, and longer");
    world.restart().await.expect("it is attached again");
    // Somebody looks; the writer doesn't.
    assert_eq!(world.whole(&file).await, b"another, and longer");
    world.write(&file, 2, "VERS").await.expect("a WRITE");
    let refused = world.commit(&file).await.expect_err("it lost");
    assert_eq!(refused.kind, TreeErrorKind::Conflict);
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "another, and longer");

    world.whole(&file).await;
    world.write(&file, 0, "A").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "Another, and longer");
    assert_eq!(spooled(&world), 0);
}

#[tokio::test]
async fn what_is_sent_again_is_known_though_attributes_were_changed_and_it_died_again() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "mine").await.expect("a WRITE");
    world.restart().await.expect("it is attached again");
    let changes = NodeChanges {
        mode: Some(0o600),
        ..NodeChanges::default()
    };
    let set = world.front.set(&world.caller, &file.handle, &changes).await;
    set.expect("a mode is set");
    world.restart().await.expect("it is attached again");
    world.server().put("file", "another's");
    world.whole(&file).await;
    world.write(&file, 0, "mine").await.expect("a WRITE");
    let refused = world.commit(&file).await.expect_err("it lost");
    assert_eq!(refused.kind, TreeErrorKind::Conflict);
    assert_eq!(spooled(&world), 0);
}

#[tokio::test]
async fn what_is_sent_again_after_a_crash_goes_into_the_version_that_it_was_meant_for() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    let gone = world.create(&root, "gone").await.expect("it is made");
    for file in [&file, &gone] {
        world.write(file, 0, "unsafe").await.expect("a WRITE");
    }
    world.restart().await.expect("it is attached again");
    world.remove(&root, "gone").await.expect("it is removed");
    world.restart().await.expect("it is attached again");
    world.write(&file, 0, "unsafe").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "unsafe");
    assert_eq!(spooled(&world), 0);
}

#[tokio::test]
async fn an_upload_that_a_crash_left_is_aborted() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world
        .write(&file, 0, vec![7; LARGE_BYTES])
        .await
        .expect("WRITEs");
    world
        .server()
        .fail(usize::MAX, "PUT", "partNumber", Fault::Silence);
    let commit = tokio::time::timeout(std::time::Duration::from_secs(1), world.commit(&file));
    assert!(commit.await.is_err(), "it isn't done");
    assert_eq!(world.server().uploads(), 1);
    world.server().recover();
    let attached = world.restart().await.expect("it is attached again");
    assert_eq!(attached.aborted, 1);
    assert_eq!(world.server().uploads(), 0);
}
