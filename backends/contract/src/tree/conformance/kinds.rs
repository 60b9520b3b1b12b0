//! Claims about what not every tree has: second names, symlinks, special files, extended attributes.
//!
//! Never here: plain files and folders.

use super::{Subject, Work, kind, pattern, text, unable};
use crate::Stability;
use crate::tree::{Make, NodeKind, TreeErrorKind, XattrHow};
use bytes::Bytes;

pub async fn a_second_name_is_the_same_file(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("first").await, work.subfolder("folder").await);
    let inside = work.inside(&folder);
    if !work.tree.abilities().hard_links {
        return unable(inside.link(&file, "second").await, "hard links");
    }
    inside.link(&file, "second").await.expect("a second name");
    let second = inside.found("second").await;
    assert_eq!(second.stat.fileid, file.stat.fileid);
    assert_eq!(work.stat(&file.handle).await.nlink, 2);
    work.write(&second, 0, &pattern(100, 1), Stability::Durable)
        .await;
    assert_eq!(work.read(&file, 0, 100).await, pattern(100, 1));
    work.removed("first").await;
    assert_eq!(work.stat(&second.handle).await.nlink, 1);
    assert_eq!(work.read(&second, 0, 100).await, pattern(100, 1));
    inside.removed("second").await;
    let lost = work.tree.stat(&work.caller, &second.handle).await;
    assert_eq!(kind(lost), TreeErrorKind::Gone);
}

pub async fn a_second_name_is_never_one_that_is_taken(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, other) = (work.file("file").await, work.file("other").await);
    let folder = work.subfolder("folder").await;
    if !work.tree.abilities().hard_links {
        return unable(work.link(&file, "other").await, "hard links");
    }
    for taken in ["other", "folder", "file"] {
        let refused = kind(work.link(&file, taken).await);
        assert_eq!(refused, TreeErrorKind::Exists, "{taken}");
    }
    assert_eq!(work.found("other").await.handle, other.handle);
    assert_eq!(work.stat(&file.handle).await.nlink, 1);
    let refused = kind(work.link(&folder, "second").await);
    let good = [
        TreeErrorKind::IsFolder,
        TreeErrorKind::NotOwner,
        TreeErrorKind::Invalid,
    ];
    assert!(
        good.contains(&refused),
        "a folder has one name: {refused:?}"
    );
    let refused = work.inside(&other).link(&file, "x").await;
    assert_eq!(kind(refused), TreeErrorKind::NotFolder);
}

pub async fn a_rename_of_one_name_to_another_of_the_same_file_changes_nothing(
    subject: &dyn Subject,
) {
    let work = Work::begin(subject).await;
    let file = work.file("first").await;
    let linked = work.link(&file, "second").await;
    if !work.tree.abilities().hard_links {
        return unable(linked, "hard links");
    }
    linked.expect("a second name");
    work.rename("first", "second")
        .await
        .expect("nothing happens");
    for name in ["first", "second"] {
        assert_eq!(work.found(name).await.stat.fileid, file.stat.fileid);
    }
    assert_eq!(work.stat(&file.handle).await.nlink, 2);
}

pub async fn a_symlink_keeps_its_target_byte_for_byte(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let not_one = work.tree.read_link(&work.caller, &file.handle).await;
    assert_eq!(kind(not_one), TreeErrorKind::Invalid);
    let targets = [
        text("file"),
        text("../a b/\u{e4}%2F"),
        Bytes::from(vec![b't'; 1000]),
        Bytes::from_static(b"/nowhere"),
    ];
    for (number, target) in targets.into_iter().enumerate() {
        let name = format!("link{number}");
        let made = work.make(&name, Make::Symlink(target.clone())).await;
        if !work.tree.abilities().symlinks {
            return unable(made, "symlinks");
        }
        let made = made.expect("a symlink can be made");
        assert_eq!(made.stat.kind, NodeKind::Symlink);
        assert_eq!(made.stat.size, target.len() as u64);
        let found = work.found(&name).await;
        assert_eq!(found.handle, made.handle, "a lookup doesn't follow it");
        let read = work.tree.read_link(&work.caller, &made.handle).await;
        assert_eq!(read.expect("its target"), target);
    }
    let odd = Bytes::from_static(b"\xff\xfe\n");
    match work.make("odd", Make::Symlink(odd.clone())).await {
        Ok(made) => {
            let read = work.tree.read_link(&work.caller, &made.handle).await;
            assert_eq!(read.expect("its target"), odd);
        }
        Err(error) => {
            assert_eq!(error.kind, TreeErrorKind::Invalid, "{error}");
            println!("skipped: this tree can't have the target {odd:?}, and says so");
        }
    }
    work.rename("link0", "moved").await.expect("it is renamed");
    work.removed("moved").await;
    work.found("file").await;
}

pub async fn special_files_are_what_they_were_made(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let kinds = [
        (Make::Fifo, NodeKind::Fifo, (0, 0)),
        (Make::Socket, NodeKind::Socket, (0, 0)),
        (Make::Block(7, 300), NodeKind::Block, (7, 300)),
        (Make::Character(1, 3), NodeKind::Character, (1, 3)),
    ];
    for (number, (what, is, rdev)) in kinds.into_iter().enumerate() {
        let name = format!("special{number}");
        let made = work.make(&name, what).await;
        if !work.tree.abilities().special_files {
            unable(made, "special files");
            continue;
        }
        made.expect("a special file can be made");
        let found = work.found(&name).await;
        assert_eq!(found.stat.kind, is);
        if matches!(is, NodeKind::Block | NodeKind::Character) {
            assert_eq!(found.stat.rdev, rdev);
        }
        work.removed(&name).await;
    }
}

pub async fn extended_attributes_are_kept_apart_from_the_bytes(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    let (tree, caller) = (&work.tree, &work.caller);
    let set = async |handle: &Bytes, name: &str, value: &Bytes, how| {
        tree.set_xattr(caller, handle, &text(name), value, how)
            .await
    };
    let (first, second) = (pattern(300, 1), Bytes::new());
    if !tree.abilities().xattrs {
        unable(
            set(&file.handle, "name", &first, XattrHow::Either).await,
            "xattrs",
        );
        unable(tree.xattrs(caller, &file.handle).await, "xattrs");
        return unable(
            tree.xattr(caller, &file.handle, &text("name")).await,
            "xattrs",
        );
    }
    for node in [file, folder] {
        let handle = &node.handle;
        let get = async |name: &str| tree.xattr(caller, handle, &text(name)).await;
        assert_eq!(kind(get("name").await), TreeErrorKind::NoEntry);
        let replaced = set(handle, "name", &first, XattrHow::Replace).await;
        assert_eq!(kind(replaced), TreeErrorKind::NoEntry);
        set(handle, "name", &first, XattrHow::Create)
            .await
            .expect("it is created");
        assert_eq!(get("name").await.expect("its value"), first);
        let created = set(handle, "name", &second, XattrHow::Create).await;
        assert_eq!(kind(created), TreeErrorKind::Exists);
        set(handle, "name", &second, XattrHow::Replace)
            .await
            .expect("it is replaced");
        assert_eq!(get("name").await.expect("its value"), second);
        set(handle, "other", &first, XattrHow::Either)
            .await
            .expect("it is set");
        let mut names = tree.xattrs(caller, handle).await.expect("their names");
        names.sort();
        assert_eq!(names, [text("name"), text("other")]);
        assert_eq!(work.stat(handle).await.size, node.stat.size);
        tree.remove_xattr(caller, handle, &text("name"))
            .await
            .expect("it is removed");
        let again = tree.remove_xattr(caller, handle, &text("name")).await;
        assert_eq!(kind(again), TreeErrorKind::NoEntry);
        let names = tree.xattrs(caller, handle).await.expect("their names");
        assert_eq!(names, [text("other")]);
    }
}

pub async fn only_files_have_bytes(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let folder = work.subfolder("folder").await;
    let (tree, caller) = (&work.tree, &work.caller);
    let mut nodes = vec![(folder, TreeErrorKind::IsFolder)];
    if tree.abilities().symlinks {
        let link = work.make("link", Make::Symlink(text("target"))).await;
        nodes.push((link.expect("a symlink"), TreeErrorKind::Invalid));
    }
    for (node, refused) in nodes {
        let read = tree.read(caller, &node.handle, 0, 8).await;
        assert_eq!(kind(read), refused);
        let data = pattern(8, 1);
        let written = tree.write(caller, &node.handle, 0, data, Stability::Durable);
        assert_eq!(kind(written.await), refused);
    }
}
