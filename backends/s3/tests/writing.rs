//! What is written through the mirror, as others find it in the bucket, also when things go wrong.

mod s3_server;
mod world;

use backend::tree::{Node, NodeChanges, Tree, TreeErrorKind, Unsent};
use backend_s3::Records;
use s3_server::Fault;
use world::World;

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn unstable_bytes_are_read_here_and_committed_ones_lie_in_the_bucket() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "hello").await.expect("a WRITE");
    assert_eq!(world.whole(&file).await, b"hello");
    let there = world.server().object("file").expect("it was made");
    assert!(there.body.is_empty());
    let unsent = world.front.unsent();
    assert_eq!((unsent.files, unsent.bytes), (1, 5));
    world.commit(&file).await.expect("a COMMIT");
    assert_eq!(world.front.unsent(), Unsent::default());
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "hello");
    assert_eq!(there.meta["mode"], (0o100644).to_string());
}

#[tokio::test]
async fn a_commit_alone_is_no_change() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "hello").await.expect("a WRITE");
    let before = world.found("file").await.stat;
    world.commit(&file).await.expect("a COMMIT");
    assert_eq!(world.found("file").await.stat, before);
}

#[tokio::test]
async fn a_large_file_goes_up_in_parts_and_a_write_into_it_moves_one() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "large").await.expect("it is made");
    let mut whole = pattern(40 * MIB + 5);
    world.write(&file, 0, whole.clone()).await.expect("WRITEs");
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("large").expect("it is there");
    assert!(
        there.body == whole && there.etag.ends_with("-3\""),
        "{}",
        there.etag
    );
    assert_eq!(world.server().uploads(), 0);

    let asked = world.server().asked().len();
    world
        .write(&file, 17 * MIB as u64, "changed")
        .await
        .expect("a WRITE");
    whole[17 * MIB..17 * MIB + 7].copy_from_slice(b"changed");
    // Read before it is sent up: of both the spool and the bucket.
    assert!(world.whole(&file).await == whole);
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("large").expect("it is there");
    assert!(there.body == whole);
    let asked = world.server().asked().split_off(asked);
    let parts = asked.iter().filter(|line| line.contains("partNumber"));
    assert_eq!(parts.count(), 3, "two are copied where they are");
    assert_eq!(world.whole(&file).await.len(), whole.len());
}

#[tokio::test]
async fn a_size_is_cut_and_grown_in_the_bucket() {
    let world = World::new().await;
    world.server().put("file", "0123456789");
    let file = world.found("file").await;
    for (size, is) in [(4, &b"0123"[..]), (6, b"0123\0\0")] {
        let changes = NodeChanges {
            size: Some(size),
            ..NodeChanges::default()
        };
        let set = world.front.set(&world.caller, &file.handle, &changes).await;
        assert_eq!(set.expect("a size is set").size, size);
        assert_eq!(world.server().object("file").expect("it is there").body, is);
    }
}

#[tokio::test]
async fn a_change_of_mode_keeps_what_others_said_of_the_object() {
    let world = World::new().await;
    world.server().put_with(
        "file",
        "bytes",
        &[("camera", "m6"), ("mtime", "1600000000.25")],
    );
    let file = world.found("file").await;
    let changes = NodeChanges {
        mode: Some(0o600),
        ..NodeChanges::default()
    };
    let set = world.front.set(&world.caller, &file.handle, &changes).await;
    let set = set.expect("a mode is set");
    assert_eq!((set.mode, set.mtime), (0o600, 1_600_000_000_250_000_000));
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.meta["camera"], "m6");
    assert_eq!(there.body, "bytes");
}

#[tokio::test]
async fn the_loser_of_a_conflict_is_told_and_his_bytes_are_kept() {
    let world = World::new().await;
    world.server().put("file", "first");
    let file = world.found("file").await;
    world.write(&file, 0, "mine!").await.expect("a WRITE");
    world.server().put("file", "theirs");
    let lost = world.commit(&file).await.expect_err("somebody was faster");
    assert_eq!(lost.kind, TreeErrorKind::Conflict);
    assert_eq!(
        world.server().object("file").expect("it is there").body,
        "theirs"
    );
    assert_eq!(world.whole(&file).await, b"theirs");
    let kept = std::fs::read_dir(world.options.state.join("lost")).expect("a folder");
    let kept: Vec<_> = kept.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(kept.len(), 1);
    assert!(
        lost.detail.contains(&kept[0].display().to_string()),
        "{lost}"
    );
    assert_eq!(
        std::fs::read(kept[0].join("content")).expect("the bytes"),
        b"mine!"
    );
}

#[tokio::test]
async fn no_object_is_of_two_versions_though_another_is_put_between_a_cut_and_a_write() {
    let world = World::new().await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "before").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    let cut = NodeChanges {
        size: Some(0),
        ..NodeChanges::default()
    };
    let cut = world.front.set(&world.caller, &file.handle, &cut).await;
    cut.expect("it is cut");
    world.server().put("file", "theirs, and longer");
    world.write(&file, 0, "mine!").await.expect("a WRITE");
    let lost = world.commit(&file).await.expect_err("somebody was faster");
    assert_eq!(lost.kind, TreeErrorKind::Conflict);
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "theirs, and longer");
    let kept = std::fs::read_dir(world.options.state.join("lost")).expect("a folder");
    let kept: Vec<_> = kept.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(kept.len(), 1);
    let content = std::fs::read(kept[0].join("content")).expect("the bytes");
    assert_eq!(content, b"mine!");
    // Whoever has seen theirs writes into it.
    let file = world.found("file").await;
    world.write(&file, 0, "mine is").await.expect("a WRITE");
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("file").expect("it is there");
    assert_eq!(there.body, "mine is and longer");
}

#[tokio::test]
async fn a_large_loser_is_told_as_well_and_leaves_no_upload() {
    let world = World::new().await;
    world.server().put("file", "first");
    let file = world.found("file").await;
    world
        .write(&file, 0, pattern(20 * MIB))
        .await
        .expect("WRITEs");
    world.server().put("file", "theirs");
    let lost = world.commit(&file).await.expect_err("somebody was faster");
    assert_eq!(lost.kind, TreeErrorKind::Conflict);
    assert_eq!(world.server().uploads(), 0);
    assert_eq!(
        world.server().object("file").expect("it is there").body,
        "theirs"
    );
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_no_conflict_with_itself() {
    let world = World::new().await;
    let root = world.root().await;
    world
        .server()
        .fail(1, "PUT", "/photos/made", Fault::AnswerLost);
    let file = world.create(&root, "made").await.expect("it is made");
    world.write(&file, 0, "bytes").await.expect("a WRITE");
    world
        .server()
        .fail(1, "PUT", "/photos/made", Fault::AnswerLost);
    world.commit(&file).await.expect("a COMMIT");
    assert_eq!(
        world.server().object("made").expect("it is there").body,
        "bytes"
    );
    world
        .write(&file, 0, pattern(20 * MIB))
        .await
        .expect("WRITEs");
    world
        .server()
        .fail(1, "POST", "uploadId", Fault::AnswerLost);
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("made").expect("it is there");
    assert!(there.body == pattern(20 * MIB));
}

/// The bucket has what was sent, and each answer is lost until nobody tries any more.
async fn sent_and_unanswered(world: &World, file: &Node) {
    let server = world.server();
    server.fail(usize::MAX, "PUT", "/photos/file", Fault::AnswerLost);
    server.fail(usize::MAX, "HEAD", "/photos/file", Fault::Refused(503, ""));
    let busy = world.commit(file).await.expect_err("no answer comes");
    assert!(busy.is_passing(), "{busy}");
    server.recover();
}

#[tokio::test]
async fn what_was_written_after_an_upload_whose_answer_was_lost_is_sent_up_as_well() {
    let world = World::with(|options| options.attempts = 2).await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world.write(&file, 0, "one").await.expect("a WRITE");
    sent_and_unanswered(&world, &file).await;
    assert_eq!(
        world.server().object("file").expect("it is there").body,
        "one"
    );
    // As long as what was sent, and longer.
    for later in ["two", "longer"] {
        world.write(&file, 0, later).await.expect("a WRITE");
        sent_and_unanswered(&world, &file).await;
        world.write(&file, 1, "+").await.expect("a WRITE");
        world.commit(&file).await.expect("a COMMIT");
        let there = world.server().object("file").expect("it is there");
        assert_eq!(there.body, later.replacen(&later[1..2], "+", 1));
    }
    assert!(!world.options.state.join("lost").exists());
}

async fn uploads_become(world: &World, count: usize) {
    let wait = async {
        while world.server().uploads() != count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
    waited.expect("what was begun is aborted");
}

#[tokio::test]
async fn an_upload_whose_beginning_was_not_answered_is_aborted() {
    let world = World::with(|options| options.attempts = 2).await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    let large = pattern(20 * MIB);
    world.write(&file, 0, large.clone()).await.expect("WRITEs");
    world.server().fail(1, "POST", "uploads", Fault::AnswerLost);
    world.commit(&file).await.expect("a COMMIT");
    assert!(world.server().object("file").expect("it is there").body == large);
    uploads_become(&world, 0).await;
    // Nor over a crash; and who else uploads the file is left alone.
    world.server().begin_upload("file");
    world.write(&file, 0, "changed").await.expect("a WRITE");
    world
        .server()
        .fail(usize::MAX, "POST", "uploads", Fault::AnswerLost);
    let busy = world.commit(&file).await.expect_err("no answer comes");
    assert!(busy.is_passing(), "{busy}");
    world.server().recover();
    world.restart().await.expect("it is attached again");
    uploads_become(&world, 1).await;
}

#[tokio::test]
async fn a_name_is_taken_away_once_though_the_answer_was_lost() {
    let world = World::with(|options| options.attempts = 1).await;
    let root = world.root().await;
    world.create(&root, "file").await.expect("it is made");
    world
        .server()
        .fail(1, "DELETE", "/photos/file", Fault::AnswerLost);
    let mut removed = world.remove(&root, "file").await;
    while removed
        .as_ref()
        .is_err_and(backend::tree::TreeError::is_passing)
    {
        removed = world.remove(&root, "file").await;
    }
    removed.expect("it is removed");
    let gone = world.remove(&root, "file").await.expect_err("it is gone");
    assert_eq!(gone.kind, TreeErrorKind::NoEntry);
}

#[tokio::test]
async fn a_folder_is_made_once_though_the_answer_was_lost() {
    let world = World::with(|options| options.attempts = 1).await;
    let root = world.root().await;
    world
        .server()
        .fail(1, "PUT", "/photos/d/", Fault::AnswerLost);
    let mut made = world.make_folder(&root, "d").await;
    while made
        .as_ref()
        .is_err_and(backend::tree::TreeError::is_passing)
    {
        made = world.make_folder(&root, "d").await;
    }
    made.expect("it is made");
    let taken = world
        .make_folder(&root, "d")
        .await
        .expect_err("it is there");
    assert_eq!(taken.kind, TreeErrorKind::Exists);
}

#[tokio::test]
async fn what_others_took_away_is_forgotten_once_it_is_missed() {
    let world = World::new().await;
    world.server().put("d/other", "x");
    world.server().put("d/file", "x");
    let before = world.found("d/file").await.handle;
    let forgotten = async {
        loop {
            world.server().delete("d/file");
            let missed = world.find("d/file").await.expect_err("it is gone");
            assert_eq!(missed.kind, TreeErrorKind::NoEntry);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            world.server().put("d/file", "x");
            if world.found("d/file").await.handle != before {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), forgotten).await;
    waited.expect("another of its name is another file");
    world.front.stop().await;
    let records = Records::of(&world.options.state).expect("it isn't attached");
    assert_eq!(records.files, ["d/file"]);
    assert_eq!(records.folders, ["", "d/"]);
    assert_eq!(records.astray + records.under_way + records.spooled, 0);
}

#[tokio::test]
async fn an_upload_that_fails_is_tried_again_by_the_next_commit() {
    let world = World::with(|options| options.attempts = 1).await;
    let root = world.root().await;
    let file = world.create(&root, "file").await.expect("it is made");
    world
        .write(&file, 0, pattern(20 * MIB))
        .await
        .expect("WRITEs");
    world
        .server()
        .fail(1, "PUT", "partNumber=2", Fault::Refused(503, "SlowDown"));
    let busy = world.commit(&file).await.expect_err("it is busy");
    assert!(busy.is_passing(), "{busy}");
    assert_eq!(world.server().uploads(), 0);
    assert!(world.whole(&file).await == pattern(20 * MIB));
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("file").expect("it is there");
    assert!(there.body == pattern(20 * MIB));
}

#[tokio::test]
async fn a_folder_stays_when_its_last_name_goes() {
    let world = World::new().await;
    world.server().put("d/only", "x");
    let folder = world.found("d").await.handle;
    world.remove(&folder, "only").await.expect("it is removed");
    assert!(world.names(&folder, 10).await.is_empty());
    let root = world.root().await;
    world.remove(&root, "d").await.expect("it is removed");
    assert!(world.server().keys().is_empty());
}

#[tokio::test]
async fn a_renamed_folder_takes_its_keys_and_open_files_along() {
    let world = World::new().await;
    for number in 0..1100 {
        world
            .server()
            .put(&format!("old/in/{number:04}"), format!("{number}"));
    }
    let file = world.found("old/in/0007").await;
    world.write(&file, 0, "changed").await.expect("a WRITE");
    let root = world.root().await;
    world
        .rename((&root, "old"), (&root, "new"))
        .await
        .expect("it is renamed");
    assert_eq!(world.names(&root, 10).await, ["new"]);
    let keys = world.server().keys();
    assert_eq!(
        keys.iter().filter(|key| key.starts_with("new/in/")).count(),
        1100
    );
    assert!(!keys.iter().any(|key| key.starts_with("old/")));
    assert_eq!(world.whole(&file).await, b"changed");
    assert_eq!(world.found("new/in/0007").await.handle, file.handle);
    assert_eq!(
        world
            .server()
            .object("new/in/0007")
            .expect("it is there")
            .body,
        "changed"
    );
}

/// As a client writes that is told to come again.
async fn write_at_last(world: &World, file: &Node, offset: u64, data: Vec<u8>) {
    loop {
        match world.write(file, offset, data.clone()).await {
            Ok(()) => return,
            Err(error) if matches!(error.kind, TreeErrorKind::Retry { .. }) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_file_larger_than_the_share_of_the_disk_goes_up_while_it_is_written() {
    const SHARE: u64 = 24 << 20;
    let world = World::with(|options| options.spool_bytes = Some(SHARE)).await;
    let root = world.root().await;
    let file = world.create(&root, "large").await.expect("it is made");
    let whole = pattern(70 * MIB + 3);
    for (number, piece) in whole.chunks(MIB).enumerate() {
        write_at_last(&world, &file, (number * MIB) as u64, piece.to_vec()).await;
        assert!(world.front.unsent().bytes <= SHARE);
    }
    world.commit(&file).await.expect("a COMMIT");
    let there = world.server().object("large").expect("it is there");
    assert!(there.body == whole);
    assert_eq!(world.server().uploads(), 0);
}

#[tokio::test]
async fn who_waits_longest_goes_up_where_the_share_of_the_disk_is_full() {
    let world = World::with(|options| options.spool_bytes = Some(3 << 20)).await;
    let root = world.root().await;
    let mut files = Vec::new();
    for name in ["first", "second", "third", "fourth"] {
        let file = world.create(&root, name).await.expect("it is made");
        write_at_last(&world, &file, 0, pattern(MIB)).await;
        files.push(file);
    }
    let there = |name| world.server().object(name).expect("it was made").body;
    assert!(there("first") == pattern(MIB));
    assert!(there("third").is_empty());
    for file in &files {
        world.commit(file).await.expect("a COMMIT");
    }
    assert!(there("fourth") == pattern(MIB));
    assert_eq!(world.front.unsent(), Unsent::default());
}

#[tokio::test]
async fn who_is_sent_up_to_make_room_and_loses_is_told_by_his_commit() {
    let world = World::with(|options| options.spool_bytes = Some(1 << 20)).await;
    let root = world.root().await;
    let mine = world.create(&root, "mine").await.expect("it is made");
    write_at_last(&world, &mine, 0, pattern(MIB)).await;
    world.server().put("mine", "another's");
    let other = world.create(&root, "other").await.expect("it is made");
    write_at_last(&world, &other, 0, pattern(MIB)).await;
    let refused = world.commit(&mine).await.expect_err("it lost");
    assert_eq!(refused.kind, TreeErrorKind::Conflict);
    assert_eq!(
        world.server().object("mine").expect("it is there").body,
        "another's"
    );
}
