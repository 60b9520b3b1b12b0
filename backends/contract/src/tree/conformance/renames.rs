//! Claims about names that move. Never here: how they come and go.

use super::{Subject, Work, kind, pattern};
use crate::Stability;
use crate::tree::TreeErrorKind;

pub async fn a_rename_keeps_the_handle_and_the_bytes(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    work.write(&file, 0, &pattern(5000, 1), Stability::Unstable)
        .await;
    work.rename("file", "moved").await.expect("it is renamed");
    work.misses("file").await;
    let inside = work.inside(&folder);
    work.move_to("moved", &inside, "deep")
        .await
        .expect("it moves to another folder");
    work.misses("moved").await;
    assert_eq!(inside.found("deep").await.handle, file.handle);
    let stat = work.stat(&file.handle).await;
    assert_eq!((stat.fileid, stat.size), (file.stat.fileid, 5000));
    assert_eq!(work.read(&file, 0, 5000).await, pattern(5000, 1));
    // Written by the handle that it had under its old name.
    work.write(&file, 0, &pattern(10, 2), Stability::Durable)
        .await;
    let deep = inside.found("deep").await;
    assert_eq!(work.read(&deep, 0, 10).await, pattern(10, 2));
}

pub async fn a_renamed_folder_takes_along_what_is_in_it(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (old, other) = (work.subfolder("old").await, work.subfolder("other").await);
    let child = work.inside(&old).subfolder("child").await;
    let file = work.inside(&child).file("file").await;
    let other = work.inside(&other);
    work.move_to("old", &other, "new")
        .await
        .expect("a folder moves");
    let moved = other.found("new").await;
    assert_eq!(moved.handle, old.handle);
    let parent = work.tree.parent(&work.caller, &old.handle).await;
    assert_eq!(parent.expect("it lies in another").handle, other.folder);
    let child_found = work.inside(&moved).found("child").await;
    assert_eq!(child_found.handle, child.handle);
    assert_eq!(work.inside(&child).found("file").await.handle, file.handle);
    assert_eq!(work.names(10).await, [super::text("other")]);
}

pub async fn a_rename_replaces_a_file(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (new, old) = (work.file("new").await, work.file("file").await);
    work.rename("new", "file").await.expect("it is replaced");
    work.misses("new").await;
    assert_eq!(work.found("file").await.handle, new.handle);
    let lost = work.tree.stat(&work.caller, &old.handle).await;
    assert_eq!(kind(lost), TreeErrorKind::Gone);
}

pub async fn a_rename_replaces_an_empty_folder_and_never_a_full_one(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (new, empty) = (work.subfolder("new").await, work.subfolder("empty").await);
    work.rename("new", "empty").await.expect("it is replaced");
    assert_eq!(work.found("empty").await.handle, new.handle);
    let lost = work.tree.stat(&work.caller, &empty.handle).await;
    assert_eq!(kind(lost), TreeErrorKind::Gone);

    let full = work.subfolder("full").await;
    work.inside(&full).file("file").await;
    let refused = kind(work.rename("empty", "full").await);
    // rename(2) lets it be either.
    assert!(
        matches!(refused, TreeErrorKind::NotEmpty | TreeErrorKind::Exists),
        "{refused:?}"
    );
    work.found("empty").await;
    work.inside(&work.found("full").await).found("file").await;
}

pub async fn a_rename_never_replaces_another_kind(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    let refused = kind(work.rename("file", "folder").await);
    assert!(
        matches!(refused, TreeErrorKind::Exists | TreeErrorKind::IsFolder),
        "{refused:?}"
    );
    let refused = kind(work.rename("folder", "file").await);
    assert!(
        matches!(refused, TreeErrorKind::Exists | TreeErrorKind::NotFolder),
        "{refused:?}"
    );
    assert_eq!(work.found("file").await.handle, file.handle);
    assert_eq!(work.found("folder").await.handle, folder.handle);
}

pub async fn a_folder_never_moves_into_itself(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let folder = work.subfolder("folder").await;
    let inside = work.inside(&folder);
    let child = inside.subfolder("child").await;
    for within in [&inside, &work.inside(&child)] {
        let moved = work.move_to("folder", within, "x").await;
        assert_eq!(kind(moved), TreeErrorKind::Invalid);
    }
    work.found("folder").await;
    inside.found("child").await;
}

pub async fn a_rename_to_its_own_name_changes_nothing(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    work.inside(&folder).file("inside").await;
    for (name, node) in [("file", file), ("folder", folder)] {
        work.rename(name, name).await.expect("nothing happens");
        assert_eq!(work.found(name).await.handle, node.handle);
    }
}

pub async fn a_rename_of_nothing_is_refused(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let refused = work.rename("nothing", "file").await;
    assert_eq!(kind(refused), TreeErrorKind::NoEntry);
    assert_eq!(work.found("file").await.handle, file.handle);
    let folder = work.subfolder("folder").await;
    work.removed("folder").await;
    let refused = work.move_to("file", &work.inside(&folder), "x").await;
    assert_eq!(kind(refused), TreeErrorKind::Gone);
    work.found("file").await;
}
