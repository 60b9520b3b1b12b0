//! A file under change, as its readers see it while it goes up: what wasn't written comes from the version in the
//! bucket that it rests on, whichever of ours that is by now, and never from somebody else's.

mod s3_server;
mod world;

use backend::tree::{Node, TreeErrorKind};
use s3_server::Fault;
use std::time::Duration;
use world::World;

/// The bucket has "0123456789", and the first byte is written anew.
async fn changed() -> (World, Node) {
    let world = World::with(|options| {
        options.attempts = 2;
        options.deadline = Duration::from_secs(5);
    })
    .await;
    world.server().put("file", "0123456789");
    let file = world.found("file").await;
    world.write(&file, 0, "x").await.expect("a WRITE");
    (world, file)
}

async fn asked(world: &World, line: &str) {
    while !world
        .server()
        .asked()
        .iter()
        .any(|asked| asked.starts_with(line))
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_reads_while_our_upload_lands_waits_for_its_end() {
    let (world, file) = changed().await;
    // It has landed, and who sent it up doesn't know that yet.
    let server = world.server();
    server.fail(2, "PUT", "/photos/file", Fault::AnswerLost);
    server.fail(1, "HEAD", "/photos/file", Fault::Silence);
    let commit = world.commit(&file);
    let read = async {
        asked(&world, "PUT /photos/file").await;
        while world.server().object("file").expect("it is there").body != "x123456789" {
            tokio::task::yield_now().await;
        }
        world.read(&file, 3, 4).await
    };
    let (_, read) = tokio::join!(commit, read);
    assert_eq!(read.expect("a READ").data, "3456");
}

#[tokio::test]
async fn who_reads_after_an_upload_whose_answer_was_lost_reads_what_it_brought() {
    let (world, file) = changed().await;
    let server = world.server();
    server.fail(usize::MAX, "PUT", "/photos/file", Fault::AnswerLost);
    server.fail(usize::MAX, "HEAD", "/photos/file", Fault::Refused(503, ""));
    let busy = world.commit(&file).await.expect_err("no answer comes");
    assert!(busy.is_passing(), "{busy}");
    server.recover();
    world.write(&file, 9, "+").await.expect("a WRITE");
    assert_eq!(world.whole(&file).await, b"x12345678+");
    world.commit(&file).await.expect("a COMMIT");
    assert_eq!(world.whole(&file).await, b"x12345678+");
    assert!(!world.options.state.join("lost").exists());
}

#[tokio::test]
async fn who_reads_what_somebody_else_overwrote_is_told_so_until_the_writer_is() {
    let (world, file) = changed().await;
    world.server().put("file", "theirs, and longer");
    let refused = world.read(&file, 3, 4).await.expect_err("another is there");
    assert_eq!(refused.kind, TreeErrorKind::Conflict);
    let lost = world.commit(&file).await.expect_err("somebody was faster");
    assert_eq!(lost.kind, TreeErrorKind::Conflict);
    assert_eq!(world.whole(&file).await, b"theirs, and longer");
}
