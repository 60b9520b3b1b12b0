//! Claims about attributes, and about whom a tree lets do what. Never here: bytes.

use super::{GROUP, OWNER, STRANGER, Subject, Work, caller, kind, mode, pattern, text};
use crate::tree::{CreateHow, Make, NodeChanges, SetTime, TreeErrorKind, XattrHow};
use crate::{Nanos, Stability};

pub async fn mode_and_owner_can_be_set(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for node in [work.file("file").await, work.subfolder("folder").await] {
        let changes = NodeChanges {
            uid: Some(OWNER),
            gid: Some(GROUP),
            ..NodeChanges::default()
        };
        let set = work.set(&node, changes).await.expect("an owner is set");
        assert_eq!((set.uid, set.gid), (OWNER, GROUP));
        for bits in [0o1777, 0o4755, 0, 0o640] {
            let set = work.set(&node, mode(bits)).await.expect("a mode is set");
            assert_eq!(set.mode, bits);
            assert_eq!(work.stat(&node.handle).await.mode, bits);
        }
        let stat = work.stat(&node.handle).await;
        assert_eq!((stat.uid, stat.gid), (OWNER, GROUP), "the owner stays");
        let same = work.set(&node, NodeChanges::default()).await;
        assert_eq!(same.expect("nothing to set").mode, 0o640);
    }
}

pub async fn times_can_be_set(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let step = Nanos::from(work.tree.abilities().time_step_nanos.max(1));
    let (early, late) = (86_400_987_654_321, 1_600_000_000_123_456_789);
    for node in [work.file("file").await, work.subfolder("folder").await] {
        let born = node.stat.mtime;
        let changes = NodeChanges {
            atime: Some(SetTime::At(early)),
            mtime: Some(SetTime::At(late)),
            ..NodeChanges::default()
        };
        let set = work.set(&node, changes).await.expect("times are set");
        assert!((early - set.atime).abs() < step, "{}", set.atime);
        assert!((late - set.mtime).abs() < step, "{}", set.mtime);
        assert!(set.ctime >= born, "the ctime is the keeper's");
        let changes = NodeChanges {
            mtime: Some(SetTime::Now),
            ..NodeChanges::default()
        };
        let set = work.set(&node, changes).await.expect("a time is set");
        assert!((early - set.atime).abs() < step, "the atime stays");
        assert!(set.mtime >= born, "now isn't before its birth");
    }
}

pub async fn a_folder_has_no_length_to_set(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let folder = work.subfolder("folder").await;
    let refused = kind(work.set_size(&folder, 0).await);
    let good = [TreeErrorKind::IsFolder, TreeErrorKind::Invalid];
    assert!(good.contains(&refused), "{refused:?}");
}

pub async fn change_moves_with_each_change(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (file, folder) = (work.file("file").await, work.subfolder("folder").await);
    let inside = work.inside(&folder);
    let changes = async || {
        (
            work.stat(&file.handle).await.change,
            work.stat(&folder.handle).await.change,
        )
    };
    let mut is = changes().await;
    assert_eq!(changes().await, is, "it stays while nothing changes");
    let mut moves = async |what: &str, of_file: bool, of_folder: bool| {
        let now = changes().await;
        assert_eq!(now.0 != is.0, of_file, "the file's change after {what}");
        assert_eq!(now.1 != is.1, of_folder, "the folder's change after {what}");
        is = now;
        subject.tick().await;
    };
    subject.tick().await;
    work.write(&file, 0, &pattern(10, 1), Stability::Unstable)
        .await;
    moves("a write", true, false).await;
    work.set_size(&file, 3).await.expect("it is cut");
    moves("a cut", true, false).await;
    work.set(&file, mode(0o600)).await.expect("a mode is set");
    moves("a new mode", true, false).await;
    work.set(&folder, mode(0o700)).await.expect("a mode is set");
    moves("a folder's new mode", false, true).await;
    inside.file("new").await;
    moves("a create", false, true).await;
    inside.subfolder("newer").await;
    moves("a new folder", false, true).await;
    inside.rename("new", "old").await.expect("it is renamed");
    moves("a rename", false, true).await;
    inside.removed("old").await;
    moves("a removal", false, true).await;
    let abilities = work.tree.abilities();
    if abilities.hard_links {
        inside.link(&file, "second").await.expect("a second name");
        moves("a second name", true, true).await;
        inside.removed("second").await;
        moves("its removal", true, true).await;
    }
    if abilities.xattrs {
        work.tree
            .set_xattr(
                &work.caller,
                &file.handle,
                &text("name"),
                &text("value"),
                XattrHow::Either,
            )
            .await
            .expect("an attribute is set");
        moves("an extended attribute", true, false).await;
    }
    work.read(&file, 0, 3).await;
    inside.names(10).await;
    moves("a read and a listing", false, false).await;
}

pub async fn a_change_of_names_tells_the_folders_change(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let other = work.subfolder("other").await;
    let name = text("name");
    let told = async |handle, change: crate::tree::FolderChange, before: u64| {
        let now = work.stat(handle).await.change;
        assert!(
            change.before.is_none_or(|told| told == before),
            "{change:?}"
        );
        assert!(change.after.is_none_or(|told| told == now), "{change:?}");
        assert_ne!(before, now);
        subject.tick().await;
        now
    };
    let (tree, caller, folder) = (&work.tree, &work.caller, &work.folder);
    let before = work.stat(folder).await.change;
    subject.tick().await;
    let how = CreateHow::Guarded;
    let created = tree.create(caller, folder, &name, how, &mode(0o644)).await;
    let before = told(folder, created.expect("a file is made").1, before).await;
    let made = tree
        .make(caller, folder, &text("made"), Make::Folder, &mode(0o755))
        .await;
    let before = told(folder, made.expect("a folder is made").1, before).await;
    let others = work.stat(&other.handle).await.change;
    let moved = tree
        .rename(caller, (folder, &name), (&other.handle, &name))
        .await;
    let (from, to) = moved.expect("it moves");
    let others_now = work.stat(&other.handle).await.change;
    assert!(to.after.is_none_or(|told| told == others_now), "{to:?}");
    assert!(to.before.is_none_or(|told| told == others), "{to:?}");
    assert_ne!(others, others_now);
    let before = told(folder, from, before).await;
    let removed = work.remove("made").await;
    told(folder, removed.expect("it is removed"), before).await;
}

pub async fn a_write_moves_the_times(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    work.write(&file, 0, &pattern(10, 0), Stability::Durable)
        .await;
    let after = work.stat(&file.handle).await;
    assert!(after.mtime >= file.stat.mtime && after.ctime >= file.stat.ctime);
    assert!(after.mtime > 0 && after.ctime > 0);
}

pub async fn strangers_get_what_the_mode_gives(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    if !work.tree.abilities().judges {
        println!("skipped: this tree judges nobody");
        return;
    }
    let file = work.file("file").await;
    work.write(&file, 0, &pattern(8, 1), Stability::Durable)
        .await;
    let folder = work.subfolder("folder").await;
    for (node, bits) in [(&file, 0o640), (&folder, 0o750)] {
        let owned = NodeChanges {
            uid: Some(OWNER),
            gid: Some(GROUP),
            ..mode(bits)
        };
        work.set(node, owned).await.expect("an owner is set");
    }
    let mut member = caller(STRANGER, STRANGER);
    member.groups = [5, GROUP].into();
    let cases = [
        (caller(OWNER, STRANGER), true, true),
        (caller(STRANGER, GROUP), true, false),
        (member, true, false),
        (caller(STRANGER, STRANGER), false, false),
    ];
    let denied = TreeErrorKind::Denied;
    for (number, (who, reads, writes)) in cases.into_iter().enumerate() {
        let tree = &work.tree;
        let read = tree.read(&who, &file.handle, 0, 8).await;
        let data = pattern(8, 1);
        let write = tree
            .write(&who, &file.handle, 0, data, Stability::Unstable)
            .await;
        let listed = tree.list(&who, &folder.handle, 0, [0; 8], 10).await;
        let name = text(&format!("made{number}"));
        let how = CreateHow::Guarded;
        let made = tree
            .create(&who, &folder.handle, &name, how, &mode(0o644))
            .await;
        for (answer, may) in [
            (read.map(drop), reads),
            (write.map(drop), writes),
            (listed.map(drop), reads),
            (made.map(drop), writes),
        ] {
            match answer {
                Ok(()) => assert!(may, "{who:?} may not"),
                Err(error) => assert!(!may && error.kind == denied, "{who:?}: {error}"),
            }
        }
        let rights = tree.rights(&who, &file.handle).await.expect("its rights");
        assert_eq!((rights.read, rights.modify), (reads, writes), "{who:?}");
        assert!(!rights.execute);
        let rights = tree.rights(&who, &folder.handle).await.expect("its rights");
        let is = (rights.read, rights.lookup, rights.extend, rights.delete);
        assert_eq!(is, (reads, reads, writes, writes), "{who:?}");
    }
    let made = work.inside(&folder).found("made0").await;
    assert_eq!(made.stat.uid, OWNER, "it belongs to who made it");
}

pub async fn what_is_there_is_opened_in_a_folder_that_the_caller_may_not_write(
    subject: &dyn Subject,
) {
    let work = Work::begin(subject).await;
    if !work.tree.abilities().judges {
        println!("skipped: this tree judges nobody");
        return;
    }
    let folder = work.subfolder("folder").await;
    let inside = work.inside(&folder);
    let file = inside.file("file").await;
    work.set(&file, mode(0o666)).await.expect("a mode is set");
    let who = caller(STRANGER, STRANGER);
    let open = async |name: &str| {
        let (name, how) = (text(name), CreateHow::Unchecked);
        let made = work
            .tree
            .create(&who, &folder.handle, &name, how, &mode(0o600))
            .await;
        made.map(|(node, _)| node.handle)
    };
    assert_eq!(open("file").await.expect("it is there"), file.handle);
    assert_eq!(kind(open("new").await), TreeErrorKind::Denied);
    inside.misses("new").await;
}

pub async fn only_its_owner_changes_a_mode_and_root_an_owner(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    if !work.tree.abilities().judges {
        println!("skipped: this tree judges nobody");
        return;
    }
    let file = work.file("file").await;
    let owned = NodeChanges {
        uid: Some(OWNER),
        gid: Some(GROUP),
        ..mode(0o666)
    };
    work.set(&file, owned).await.expect("an owner is set");
    let (owner, stranger) = (caller(OWNER, GROUP), caller(STRANGER, STRANGER));
    let set = async |who, changes| work.tree.set(who, &file.handle, &changes).await;
    let refused = set(&stranger, mode(0o777)).await;
    assert_eq!(kind(refused), TreeErrorKind::NotOwner);
    let given = NodeChanges {
        uid: Some(STRANGER),
        ..NodeChanges::default()
    };
    for who in [&owner, &stranger] {
        let refused = kind(set(who, given).await);
        assert_eq!(refused, TreeErrorKind::NotOwner, "{who:?}");
    }
    let set = set(&owner, mode(0o600)).await.expect("a mode is set");
    assert_eq!((set.mode, set.uid), (0o600, OWNER));
}
