//! What others put into a bucket, as the mirror shows it.

mod s3_server;
mod world;

use backend::tree::{NodeKind, Tree, TreeErrorKind};
use bytes::Bytes;
use s3_server::Fault;
use std::collections::BTreeSet;
use world::World;

#[tokio::test]
async fn keys_of_others_are_files_in_folders() {
    let world = World::new().await;
    world.server().put("2024/summer/a.jpg", "aaaa");
    world.server().put("2024/b.jpg", "bb");
    let root = world.root().await;
    assert_eq!(world.names(&root, 10).await, ["2024"]);
    let folder = world.found("2024").await;
    assert_eq!(folder.stat.kind, NodeKind::Folder);
    assert_eq!(folder.stat.mode, 0o755);
    assert_eq!(world.names(&folder.handle, 1).await, ["b.jpg", "summer"]);
    let file = world.found("2024/summer/a.jpg").await;
    assert_eq!((file.stat.size, file.stat.mode), (4, 0o644));
    assert_eq!(world.whole(&file).await, b"aaaa");
}

#[tokio::test]
async fn below_a_prefix_nothing_else_is_shown() {
    let world = World::with(|options| options.prefix = "/team/a/".into()).await;
    world.server().put("team/b/secret", "no");
    world.server().put("team/a/mine", "yes");
    world.server().put("team/a/", "");
    let root = world.root().await;
    assert_eq!(world.names(&root, 10).await, ["mine"]);
    world.create(&root, "new").await.expect("it is made");
    assert!(world.server().object("team/a/new").is_some());
}

#[tokio::test]
async fn a_markers_attributes_are_its_folders() {
    let world = World::new().await;
    let meta = [
        ("mode", "16832"),
        ("uid", "7"),
        ("gid", "8"),
        ("mtime", "1700000000.5"),
    ];
    world.server().put_with("kept/", "", &meta);
    let root = world.root().await;
    assert_eq!(world.names(&root, 10).await, ["kept"]);
    let stat = world.found("kept").await.stat;
    assert_eq!((stat.mode, stat.uid, stat.gid), (0o700, 7, 8));
    let kept = world.found("kept").await.handle;
    assert!(world.names(&kept, 10).await.is_empty());
}

#[tokio::test]
async fn keys_that_cannot_be_paths_are_shown_and_found() {
    let world = World::new().await;
    let long = "l".repeat(700);
    let keys = [
        "a//b".to_owned(),
        "./x".into(),
        "../y".into(),
        "z/..".into(),
        "%=odd".into(),
        "both".into(),
        "both/inside".into(),
        "tab\tand\nline".into(),
        "plus+ space%20".into(),
        format!("{long}/{long}2"),
        format!("{long}x"),
    ];
    // Keys have 1024 bytes at most.
    let keys: Vec<&str> = keys
        .iter()
        .map(String::as_str)
        .filter(|key| key.len() <= 1024)
        .collect();
    for key in &keys {
        world.server().put(key, (*key).to_owned());
    }
    let mut found = BTreeSet::new();
    let mut folders = vec![(world.root().await, 0)];
    while let Some((folder, depth)) = folders.pop() {
        assert!(depth < 5);
        for name in world.names(&folder, 2).await {
            assert!(name.len() <= 255 && !["", ".", ".."].contains(&name.as_str()));
            let name = Bytes::from(name);
            let node = world.front.lookup(&world.caller, &folder, &name).await;
            let node = node.unwrap_or_else(|error| panic!("{name:?}: {error}"));
            match node.stat.kind {
                NodeKind::Folder => folders.push((node.handle, depth + 1)),
                _ => drop(found.insert(String::from_utf8(world.whole(&node).await).expect("text"))),
            }
        }
    }
    assert_eq!(found, keys.iter().map(|key| (*key).to_owned()).collect());
}

#[tokio::test]
async fn a_large_folder_is_listed_page_by_page() {
    let world = World::new().await;
    for number in 0..2500 {
        world.server().put(&format!("many/{number:05}"), "x");
    }
    for number in 0..50 {
        world.server().put(&format!("many/{number:05}/deep"), "x");
    }
    let many = world.found("many").await.handle;
    let names = world.names(&many, 700).await;
    assert_eq!(names.len(), 2550);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 2550);
}

#[tokio::test]
async fn a_cookie_outlives_a_restart_and_an_unknown_one_is_refused() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.server().put(name, "x");
    }
    let root = world.root().await;
    let page = world.front.list(&world.caller, &root, 0, [0; 8], 1).await;
    let page = page.expect("a page");
    world.restart().await.expect("it is attached again");
    let (cookie, verifier) = (page.entries[0].cookie, page.verifier);
    let rest = world
        .front
        .list(&world.caller, &root, cookie, verifier, 10)
        .await;
    let rest = rest.expect("the rest");
    assert_eq!(rest.entries.len(), 2);
    for (cookie, verifier) in [(cookie + 1_000_000, verifier), (cookie, [7; 8])] {
        let refused = world
            .front
            .list(&world.caller, &root, cookie, verifier, 10)
            .await;
        let refused = refused.expect_err("it was never given").kind;
        assert_eq!(refused, TreeErrorKind::BadCookie);
    }
}

#[tokio::test]
async fn a_read_shows_one_version_or_the_other() {
    let world = World::new().await;
    world.server().put("file", vec![1; 100_000]);
    let file = world.found("file").await;
    let read = world.read(&file, 0, 1000).await.expect("a READ");
    assert_eq!(read.data, vec![1; 1000]);
    world.server().put("file", vec![2; 50_000]);
    let read = world.read(&file, 1000, 1000).await.expect("a READ");
    assert_eq!(read.data, vec![2; 1000]);
    let stat = world.front.stat(&world.caller, &file.handle).await;
    let stat = stat.expect("it is there");
    assert_ne!(stat.change, file.stat.change);
    assert_eq!(stat.size, 50_000);
    let pinned = world.server().asked();
    assert!(
        pinned
            .iter()
            .any(|line| line.starts_with("GET /photos/file"))
    );
    world.server().delete("file");
    let gone = world.read(&file, 0, 10).await.expect_err("it is gone");
    assert_eq!(gone.kind, TreeErrorKind::Gone);
}

#[tokio::test]
async fn names_that_others_put_move_their_folders_change() {
    let world = World::new().await;
    world.server().put("d/a", "x");
    let before = world.found("d").await.stat.change;
    assert_eq!(world.found("d").await.stat.change, before);
    world.server().put("d/b", "x");
    let after = world.found("d").await.stat.change;
    assert_ne!(after, before);
    world.server().delete("d/b");
    assert_ne!(world.found("d").await.stat.change, after);
}

#[tokio::test]
async fn faults_that_pass_are_not_seen() {
    let world = World::new().await;
    world.server().put("file", vec![3; 10_000]);
    let file = world.found("file").await;
    for fault in [
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(500, "InternalError"),
    ] {
        world.server().fail(2, "GET", "/photos/file", fault);
        let read = world.read(&file, 0, 100).await.expect("a READ");
        assert_eq!(read.data, vec![3; 100]);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_taken_for_the_whole() {
    let world = World::new().await;
    world.server().put("file", vec![3; 10_000]);
    let file = world.found("file").await;
    world.server().fail(1, "GET", "/photos/file", Fault::Half);
    match world.read(&file, 0, 10_000).await {
        Ok(read) => assert!(read.data == vec![3; 10_000]),
        Err(error) => assert!(error.is_passing(), "{error}"),
    }
    assert!(world.whole(&file).await == vec![3; 10_000]);
}

#[tokio::test]
async fn a_server_that_is_silent_ends_the_call_by_its_deadline() {
    let world = World::with(|options| {
        options.deadline = std::time::Duration::from_millis(300);
    })
    .await;
    world.server().put("file", "x");
    let file = world.found("file").await;
    world
        .server()
        .fail(100, "GET", "/photos/file", Fault::Silence);
    let late = world.read(&file, 0, 10).await.expect_err("nobody answers");
    assert!(late.is_passing(), "{late}");
}

#[tokio::test]
async fn what_does_not_pass_is_said_in_words() {
    let world = World::new().await;
    world.server().put("file", "x");
    let file = world.found("file").await;
    for (status, code, words) in [
        (400, "ExpiredToken", "credentials have expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "AccessDenied", "policy"),
        (301, "PermanentRedirect", "another region"),
        (404, "NoSuchBucket", "no such bucket"),
    ] {
        world
            .server()
            .fail(1, "GET", "/photos/file", Fault::Refused(status, code));
        let refused = world.read(&file, 0, 10).await.expect_err("it is refused");
        assert!(!refused.is_passing(), "{refused}");
        assert!(refused.detail.contains(words), "{refused}");
        assert!(
            refused.detail.contains("bucket photos at http://"),
            "{refused}"
        );
    }
}
