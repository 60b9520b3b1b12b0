//! Claims about names: made, found, taken, removed. Never here: moved ones.

use super::{Subject, Work, kind, mode, pattern, text};
use crate::Stability;
use crate::tree::{CreateHow, Make, NodeChanges, NodeKind, TreeErrorKind};
use bytes::Bytes;
use tokio::task::JoinSet;

pub async fn a_made_name_is_found_and_an_unmade_one_is_not(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    work.misses("file").await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    assert_eq!(work.found("file").await.handle, file.handle);
    assert_eq!(work.found("folder").await.handle, folder.handle);
    assert_eq!(file.stat.size, 0);
    assert_ne!(file.stat.fileid, folder.stat.fileid);
    work.misses("fil").await;
    work.misses("file2").await;
    work.inside(&folder).misses("file").await;
}

pub async fn a_taken_name_is_not_made_again(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    for name in ["file", "folder"] {
        for how in [CreateHow::Guarded, CreateHow::Exclusive(*b"nobody's")] {
            let refused = kind(work.create(name, how).await);
            assert_eq!(refused, TreeErrorKind::Exists, "{name} by {how:?}");
        }
        let refused = kind(work.make(name, Make::Folder).await);
        assert_eq!(refused, TreeErrorKind::Exists, "a folder {name}");
        if work.tree.abilities().symlinks {
            let link = Make::Symlink(text("target"));
            assert_eq!(kind(work.make(name, link).await), TreeErrorKind::Exists);
        }
    }
    assert_eq!(work.found("file").await.handle, file.handle);
    assert_eq!(work.found("folder").await.handle, folder.handle);
}

pub async fn an_unchecked_create_opens_what_is_there(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.create("file", CreateHow::Unchecked).await;
    let file = file.expect("what isn't there is made");
    work.write(&file, 0, &pattern(100, 1), Stability::Durable)
        .await;
    let create = async |size, name| {
        let born = NodeChanges {
            size,
            ..mode(0o600)
        };
        let how = CreateHow::Unchecked;
        let made = work
            .tree
            .create(&work.caller, &work.folder, &text(name), how, &born)
            .await;
        made.expect("what is there is opened").0
    };
    let opened = create(None, "file").await;
    assert_eq!(
        (opened.handle, opened.stat.size),
        (file.handle.clone(), 100)
    );
    assert_eq!(opened.stat.mode, 0o644, "its mode stays");
    let emptied = create(Some(0), "file").await;
    assert_eq!(
        (emptied.handle, emptied.stat.size),
        (file.handle.clone(), 0)
    );
    assert_eq!(work.stat(&file.handle).await.size, 0);

    let folder = work.subfolder("folder").await;
    let there = create(Some(0), "folder").await;
    assert_eq!(there.handle, folder.handle, "whatever it is");
    assert_eq!(there.stat.kind, NodeKind::Folder);
}

pub async fn an_exclusive_create_knows_its_own_retry(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let mine = CreateHow::Exclusive(*b"\0mine\xff\x01\x80");
    let made = work.create("file", mine).await.expect("it is made");
    let again = work.create("file", mine).await;
    let again = again.expect("the retry finds its own file");
    assert_eq!(again.handle, made.handle);
    assert_eq!(again.stat.mode, 0o644, "born as asked for");
    let others = CreateHow::Exclusive(*b"theirs!!");
    assert_eq!(
        kind(work.create("file", others).await),
        TreeErrorKind::Exists
    );
    assert_eq!(
        kind(work.create("file", CreateHow::Guarded).await),
        TreeErrorKind::Exists
    );
}

pub async fn of_racing_exclusive_creates_one_wins(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for round in 0..8 {
        let name = format!("file{round}");
        let mut racers = JoinSet::new();
        for racer in 0..8u8 {
            let (tree, caller) = (work.tree.clone(), work.caller.clone());
            let (folder, name) = (work.folder.clone(), text(&name));
            racers.spawn(async move {
                let how = CreateHow::Exclusive([b'r', racer, 0, 0, 0, 0, 0, 1]);
                tree.create(&caller, &folder, &name, how, &mode(0o644))
                    .await
            });
        }
        let mut winners = Vec::new();
        while let Some(raced) = racers.join_next().await {
            match raced.expect("a racer ends well") {
                Ok((node, _)) => winners.push(node.handle),
                Err(error) => assert_eq!(error.kind, TreeErrorKind::Exists, "{error}"),
            }
        }
        assert_eq!(winners, [work.found(&name).await.handle]);
    }
}

pub async fn of_racing_folders_of_one_name_one_is_made(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let mut racers = JoinSet::new();
    for _ in 0..8 {
        let (tree, caller) = (work.tree.clone(), work.caller.clone());
        let folder = work.folder.clone();
        racers.spawn(async move {
            let name = text("folder");
            tree.make(&caller, &folder, &name, Make::Folder, &mode(0o755))
                .await
        });
    }
    let mut winners = Vec::new();
    while let Some(raced) = racers.join_next().await {
        match raced.expect("a racer ends well") {
            Ok((node, _)) => winners.push(node.handle),
            Err(error) => assert_eq!(error.kind, TreeErrorKind::Exists, "{error}"),
        }
    }
    assert_eq!(winners, [work.found("folder").await.handle]);
}

pub async fn what_is_born_has_the_attributes_asked_for(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let born = NodeChanges {
        mode: Some(0o4750),
        uid: Some(super::OWNER),
        gid: Some(super::GROUP),
        ..NodeChanges::default()
    };
    let hows = [
        CreateHow::Unchecked,
        CreateHow::Guarded,
        CreateHow::Exclusive(*b"verifier"),
    ];
    for (number, how) in hows.into_iter().enumerate() {
        let name = text(&format!("file{number}"));
        let made = work
            .tree
            .create(&work.caller, &work.folder, &name, how, &born)
            .await;
        let (made, _) = made.expect("a file can be made");
        let stat = work.stat(&made.handle).await;
        let is = (stat.mode, stat.uid, stat.gid, stat.nlink);
        assert_eq!(is, (0o4750, super::OWNER, super::GROUP, 1), "{how:?}");
    }
    let made = work
        .tree
        .make(
            &work.caller,
            &work.folder,
            &text("folder"),
            Make::Folder,
            &NodeChanges {
                mode: Some(0o1711),
                ..born
            },
        )
        .await;
    let (made, _) = made.expect("a folder can be made");
    let stat = work.stat(&made.handle).await;
    assert_eq!((stat.mode, stat.uid), (0o1711, super::OWNER));
    assert!(stat.mtime > 0 && stat.ctime > 0);
}

pub async fn a_removed_name_is_gone_and_so_is_its_handle(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    work.write(&file, 0, &pattern(8, 1), Stability::Durable)
        .await;
    for name in ["file", "folder"] {
        work.removed(name).await;
        work.misses(name).await;
        assert_eq!(kind(work.remove(name).await), TreeErrorKind::NoEntry);
    }
    let (tree, caller) = (&work.tree, &work.caller);
    for node in [&file, &folder] {
        assert_eq!(
            kind(tree.stat(caller, &node.handle).await),
            TreeErrorKind::Gone
        );
        let set = work.set(node, mode(0o600)).await;
        assert_eq!(kind(set), TreeErrorKind::Gone);
    }
    let handle = &file.handle;
    assert_eq!(
        kind(tree.read(caller, handle, 0, 8).await),
        TreeErrorKind::Gone
    );
    let write = tree.write(caller, handle, 0, pattern(8, 2), Stability::Unstable);
    assert_eq!(kind(write.await), TreeErrorKind::Gone);
    let lost = work.inside(&folder);
    assert_eq!(kind(lost.find("x").await), TreeErrorKind::Gone);
    assert_eq!(
        kind(lost.create("x", CreateHow::Guarded).await),
        TreeErrorKind::Gone
    );
    let again = work.file("file").await;
    assert_eq!(again.stat.size, 0, "the name can be used again");
    assert_eq!(
        kind(tree.stat(caller, handle).await),
        TreeErrorKind::Gone,
        "the old handle doesn't name the new file"
    );
}

pub async fn a_full_folder_is_not_removed(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let folder = work.subfolder("folder").await;
    let inside = work.inside(&folder);
    inside.file("file").await;
    assert_eq!(kind(work.remove("folder").await), TreeErrorKind::NotEmpty);
    inside.removed("file").await;
    inside.subfolder("subfolder").await;
    assert_eq!(kind(work.remove("folder").await), TreeErrorKind::NotEmpty);
    inside.removed("subfolder").await;
    work.removed("folder").await;
}

pub async fn odd_names_are_kept_byte_for_byte_or_refused(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let plain: [&[u8]; 18] = [
        b" ",
        b"a b ",
        b" lead",
        b"back\\slash",
        b"100%",
        b"%2F",
        b"a+b&c=d",
        b"<xml>'\"",
        b"-rf",
        b"...",
        b".hidden",
        b"trailing.",
        b"colon:star*?",
        b"#;|$`!",
        "\u{e4}\u{20ac}\u{1f30a}".as_bytes(),
        "a\u{308}".as_bytes(),
        b"~",
        b"@",
    ];
    // Some keepers can't have these. They must say so.
    let hard: [&[u8]; 5] = [
        b"new\nline",
        b"tab\there",
        b"\x01\x7f",
        b"\xff\xfe",
        b"\xc3(",
    ];
    let names = plain.iter().map(|name| (*name, true));
    let mut kept = Vec::new();
    for (name, must) in names.chain(hard.iter().map(|name| (*name, false))) {
        let name = Bytes::from_static(name);
        let how = CreateHow::Guarded;
        let made = work
            .tree
            .create(&work.caller, &work.folder, &name, how, &mode(0o644))
            .await;
        match made {
            Ok((node, _)) => {
                let found = work.tree.lookup(&work.caller, &work.folder, &name).await;
                assert_eq!(found.expect("it is found").handle, node.handle);
                kept.push(name);
            }
            Err(error) => {
                assert!(!must, "{name:?} is a good name: {error}");
                assert_eq!(error.kind, TreeErrorKind::Invalid, "{error}");
                println!("skipped: this tree can't have the name {name:?}, and says so");
            }
        }
    }
    kept.sort();
    let mut listed = work.names(5).await;
    listed.sort();
    assert_eq!(listed, kept);
    for name in &kept {
        let moved = [&name[..], b"x"].concat().into();
        let (from, to) = ((&work.folder, name), (&work.folder, &moved));
        let renamed = work.tree.rename(&work.caller, from, to).await;
        renamed.expect("an odd name can be renamed");
        let removed = work.tree.remove(&work.caller, &work.folder, &moved).await;
        removed.expect("an odd name can be removed");
    }
    assert!(work.names(5).await.is_empty());
}

pub async fn names_that_differ_little_are_different_names(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let names = [
        "file", "File", "FILE", "file ", "file.", "\u{e4}", "a\u{308}",
    ];
    let mut handles = Vec::new();
    for name in names {
        handles.push(work.file(name).await.handle);
    }
    for (name, handle) in names.into_iter().zip(&handles) {
        assert_eq!(work.found(name).await.handle, *handle, "{name:?}");
    }
    work.removed("file").await;
    work.found("File").await;
}

pub async fn the_longest_name_is_kept_and_a_longer_one_refused(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let longest = work.tree.abilities().name_bytes as usize;
    assert!(longest >= 255, "names have at least 255 bytes");
    let name = "n".repeat(longest);
    let file = work.file(&name).await;
    assert_eq!(work.found(&name).await.handle, file.handle);
    assert_eq!(work.names(1).await, [text(&name)]);
    let longer = "n".repeat(longest + 1);
    let too_long = TreeErrorKind::NameTooLong;
    assert_eq!(kind(work.find(&longer).await), too_long);
    assert_eq!(
        kind(work.create(&longer, CreateHow::Guarded).await),
        too_long
    );
    assert_eq!(kind(work.make(&longer, Make::Folder).await), too_long);
    assert_eq!(kind(work.rename(&name, &longer).await), too_long);
    assert_eq!(kind(work.remove(&longer).await), too_long);
    work.removed(&name).await;
}

pub async fn names_that_nothing_can_have_are_refused(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    work.file("file").await;
    for name in ["", ".", "..", "a/b", "/", "nul\0nul"] {
        let refused = TreeErrorKind::Invalid;
        assert_eq!(kind(work.find(name).await), refused, "{name:?}");
        let created = work.create(name, CreateHow::Unchecked).await;
        assert_eq!(kind(created), refused, "{name:?}");
        let made = work.make(name, Make::Folder).await;
        assert_eq!(kind(made), refused, "{name:?}");
        assert_eq!(kind(work.rename("file", name).await), refused, "{name:?}");
        assert_eq!(kind(work.remove(name).await), refused, "{name:?}");
    }
    work.found("file").await;
}

pub async fn deep_folders_know_what_they_lie_in(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let root = work.tree.root().await.expect("there is a root");
    let parent = async |folder: &Bytes| {
        let parent = work.tree.parent(&work.caller, folder).await;
        parent.expect("a folder lies in another").handle
    };
    assert_eq!(parent(&root.handle).await, root.handle);
    let mut path = vec![work.folder.clone()];
    let mut at = work.inside(&root);
    at.folder = work.folder.clone();
    for depth in 0..32 {
        let next = at.subfolder(&format!("level{depth}")).await;
        at = at.inside(&next);
        path.push(next.handle);
    }
    while let Some(folder) = path.pop() {
        if let Some(within) = path.last() {
            assert_eq!(parent(&folder).await, *within);
        }
    }
    let file = work.file("file").await;
    let asked = work.tree.parent(&work.caller, &file.handle).await;
    assert_eq!(kind(asked), TreeErrorKind::NotFolder);
}

pub async fn names_lie_in_folders_alone(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let inside = work.inside(&file);
    let refused = TreeErrorKind::NotFolder;
    assert_eq!(kind(inside.find("x").await), refused);
    assert_eq!(kind(inside.create("x", CreateHow::Guarded).await), refused);
    assert_eq!(kind(inside.make("x", Make::Folder).await), refused);
    assert_eq!(kind(inside.remove("x").await), refused);
    assert_eq!(kind(work.move_to("file", &inside, "x").await), refused);
    let listed = work.tree.list(&work.caller, &file.handle, 0, [0; 8], 10);
    assert_eq!(kind(listed.await), refused);
}

pub async fn a_handle_that_nobody_made_is_gone(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for handle in [Bytes::from_static(&[7; 64]), Bytes::from_static(b"short")] {
        let stat = work.tree.stat(&work.caller, &handle).await;
        assert_eq!(kind(stat), TreeErrorKind::Gone);
        let read = work.tree.read(&work.caller, &handle, 0, 1).await;
        assert_eq!(kind(read), TreeErrorKind::Gone);
        let found = work.tree.lookup(&work.caller, &handle, &text("x")).await;
        assert_eq!(kind(found), TreeErrorKind::Gone);
    }
}

pub async fn names_and_handles_survive_a_restart(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let folder = work.subfolder("folder").await;
    let inside = work.inside(&folder);
    let file = inside.file("file").await;
    inside.file("removed").await;
    inside.removed("removed").await;
    inside.file("old").await;
    inside.rename("old", "new").await.expect("it is renamed");
    work.set(&file, mode(0o400)).await.expect("a mode is set");
    if !subject.restart().await {
        println!("skipped: this test can't restart the keeper");
        return;
    }
    assert_eq!(work.found("folder").await.handle, folder.handle);
    assert_eq!(inside.found("file").await.handle, file.handle);
    assert_eq!(work.stat(&file.handle).await.mode, 0o400);
    let mut names = inside.names(10).await;
    names.sort();
    assert_eq!(names, [text("file"), text("new")]);
}
