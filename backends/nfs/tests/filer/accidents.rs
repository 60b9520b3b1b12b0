//! Lost replies of calls that change names: nobody is told that he failed where he didn't, nor that he
//! did what somebody else did.

use crate::server::{Accident, Habits};
use crate::{Shown, impatient, shown, shown_to};
use backend::tree::{
    Caller, CreateHow, FolderChange, Make, Node, NodeChanges, Tree, TreeError, TreeErrorKind,
};
use bytes::Bytes;
use std::sync::Arc;
use wire::nfs3::{Nfsstat3, Procedure};

const USER: u32 = 70_001;
const OTHER: u32 = 70_002;

fn caller(uid: u32) -> Caller {
    Caller {
        uid,
        gid: uid,
        groups: Arc::default(),
    }
}

fn text(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn mode(mode: u32) -> NodeChanges {
    NodeChanges {
        mode: Some(mode),
        ..NodeChanges::default()
    }
}

/// A user at work in a folder that anybody may write.
struct Desk {
    shown: Shown,
    folder: Bytes,
    user: Caller,
}

impl Desk {
    async fn at(shown: Shown) -> Self {
        let (root, tree) = (Caller::root(), shown.filer.tree());
        let top = tree.root().await.expect("there is a root").handle;
        let made = tree
            .make(&root, &top, &text("desk"), Make::Folder, &mode(0o777))
            .await;
        Self {
            folder: made.expect("a folder is made").0.handle,
            user: caller(USER),
            shown,
        }
    }

    fn plan(&self, procedure: Procedure, accident: Accident) {
        self.shown.filer.plan(procedure, accident);
    }

    async fn create(&self, name: &str, how: CreateHow) -> Result<Node, TreeError> {
        let export = &self.shown.export;
        let made = export
            .create(&self.user, &self.folder, &text(name), how, &mode(0o640))
            .await;
        Ok(made?.0)
    }

    async fn make(&self, name: &str, what: Make) -> Result<Node, TreeError> {
        let export = &self.shown.export;
        let made = export
            .make(&self.user, &self.folder, &text(name), what, &mode(0o755))
            .await;
        Ok(made?.0)
    }

    async fn remove(&self, name: &str) -> Result<FolderChange, TreeError> {
        let export = &self.shown.export;
        export.remove(&self.user, &self.folder, &text(name)).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        let (from, to) = (text(from), text(to));
        let (from, to) = ((&self.folder, &from), (&self.folder, &to));
        let renamed = self.shown.export.rename(&self.user, from, to).await;
        renamed.map(drop)
    }

    async fn link(&self, file: &Node, name: &str) -> Result<FolderChange, TreeError> {
        let export = &self.shown.export;
        export
            .link(&self.user, &file.handle, &self.folder, &text(name))
            .await
    }

    /// What the filer itself has under the name.
    async fn kept(&self, name: &str) -> Option<Node> {
        let tree = self.shown.filer.tree();
        let found = tree.lookup(&self.user, &self.folder, &text(name)).await;
        found.ok()
    }
}

fn retries(error: &TreeError) -> bool {
    error.is_passing()
}

#[tokio::test]
async fn a_change_of_names_whose_reply_is_lost_is_told_as_done() {
    let desk = Desk::at(shown(Habits::default()).await).await;
    let lost = |procedure| desk.plan(procedure, Accident::ReplyLost);

    lost(Procedure::Mkdir);
    let made = desk.make("folder", Make::Folder).await;
    let made = made.expect("the folder is the caller's own");
    assert_eq!(made.handle, desk.kept("folder").await.expect("made").handle);

    lost(Procedure::Symlink);
    let link = Make::Symlink(text("pid 17 on host a"));
    desk.make("link", link)
        .await
        .expect("the symlink is the caller's own");

    lost(Procedure::Create);
    let how = CreateHow::Guarded;
    let file = desk.create("file", how).await.expect("the file is his own");
    assert_eq!((file.stat.mode, file.stat.uid), (0o640, USER));

    lost(Procedure::Link);
    desk.link(&file, "second").await.expect("the name is there");

    lost(Procedure::Rename);
    desk.rename("second", "third")
        .await
        .expect("the file has moved");
    assert!(desk.kept("second").await.is_none());

    lost(Procedure::Remove);
    desk.remove("third").await.expect("the name is gone");

    lost(Procedure::Rmdir);
    desk.remove("folder").await.expect("the folder is gone");
    assert!(desk.kept("folder").await.is_none());
    assert!(desk.kept("file").await.is_some());
    assert!(desk.shown.filer.nothing_is_planned());
}

#[tokio::test]
async fn a_change_of_names_that_was_not_heard_is_made_again() {
    let desk = Desk::at(shown(Habits::default()).await).await;
    let unheard = |procedure| desk.plan(procedure, Accident::Unheard);
    unheard(Procedure::Mkdir);
    desk.make("folder", Make::Folder).await.expect("it is made");
    unheard(Procedure::Create);
    let file = desk.create("file", CreateHow::Guarded).await;
    let file = file.expect("it is made");
    unheard(Procedure::Link);
    desk.link(&file, "second").await.expect("it is linked");
    unheard(Procedure::Rename);
    desk.rename("second", "third").await.expect("it is renamed");
    unheard(Procedure::Remove);
    desk.remove("third").await.expect("it is removed");
    unheard(Procedure::Rmdir);
    desk.remove("folder").await.expect("it is removed");
    assert!(desk.kept("third").await.is_none());
    assert!(desk.kept("folder").await.is_none());
    assert!(desk.shown.filer.nothing_is_planned());
}

#[tokio::test]
async fn who_asks_again_after_an_absence_is_told_of_his_own_success() {
    let desk = Desk::at(shown_to(Habits::default(), impatient()).await).await;
    let leaves = |procedure| desk.plan(procedure, Accident::LeavesAfter);
    let back = || desk.shown.filer.set_away(false);
    let file = desk.create("first", CreateHow::Guarded).await;
    let file = file.expect("it is made");

    leaves(Procedure::Mkdir);
    for _ in 0..3 {
        let made = desk.make("folder", Make::Folder).await;
        assert!(retries(&made.expect_err("the filer is away")));
    }
    back();
    desk.make("folder", Make::Folder)
        .await
        .expect("it was his own");
    let again = desk.make("folder", Make::Folder).await;
    let again = again.expect_err("it is there already");
    assert_eq!(again.kind, TreeErrorKind::Exists, "told once");

    leaves(Procedure::Create);
    let made = desk.create("file", CreateHow::Guarded).await;
    assert!(retries(&made.expect_err("the filer is away")));
    back();
    let made = desk.create("file", CreateHow::Guarded).await;
    assert_eq!(made.expect("it was his own").stat.mode, 0o640);
    let again = desk.create("file", CreateHow::Guarded).await;
    let again = again.expect_err("it is there already");
    assert_eq!(again.kind, TreeErrorKind::Exists, "told once");

    leaves(Procedure::Link);
    let linked = desk.link(&file, "second").await;
    assert!(retries(&linked.expect_err("the filer is away")));
    back();
    desk.link(&file, "second").await.expect("it was his own");

    leaves(Procedure::Rename);
    let renamed = desk.rename("second", "third").await;
    assert!(retries(&renamed.expect_err("the filer is away")));
    back();
    desk.rename("second", "third")
        .await
        .expect("it was his own");

    leaves(Procedure::Remove);
    let removed = desk.remove("third").await;
    assert!(retries(&removed.expect_err("the filer is away")));
    back();
    desk.remove("third").await.expect("it was his own");
    let again = desk.remove("third").await;
    let again = again.expect_err("it is gone already");
    assert_eq!(again.kind, TreeErrorKind::NoEntry, "told once");
}

#[tokio::test]
async fn what_somebody_else_made_meanwhile_is_not_taken_for_ones_own() {
    let desk = Desk::at(shown(Habits::default()).await).await;
    let other = || Accident::Overtaken(caller(OTHER));
    let refused = |made: Result<Node, TreeError>| {
        let refused = made.expect_err("it is somebody else's");
        assert_eq!(refused.kind, TreeErrorKind::Exists, "{refused}");
    };
    desk.plan(Procedure::Mkdir, other());
    refused(desk.make("folder", Make::Folder).await);
    desk.plan(Procedure::Symlink, other());
    refused(desk.make("link", Make::Symlink(text("mine"))).await);
    desk.plan(Procedure::Mknod, other());
    refused(desk.make("fifo", Make::Fifo).await);
    for name in ["folder", "link", "fifo"] {
        let kept = desk.kept(name).await.expect("the other's stays");
        assert_eq!(kept.stat.uid, OTHER, "{name}");
    }
}

#[tokio::test]
async fn an_exclusive_create_is_told_again_however_late_its_reply_is_lost() {
    let desk = Desk::at(shown(Habits::default()).await).await;
    let how = CreateHow::Exclusive(*b"verifier");
    desk.plan(Procedure::Create, Accident::ReplyLost);
    desk.plan(Procedure::Setattr, Accident::ReplyLost);
    let made = desk.create("file", how).await.expect("it is made");
    let again = desk.create("file", how).await.expect("it is his own");
    assert_eq!(made.handle, again.handle);
    let tree = desk.shown.filer.tree();
    let removed = tree.remove(&desk.user, &desk.folder, &text("file")).await;
    removed.expect("somebody removes it");
    let other = caller(OTHER);
    let born = mode(0o600);
    let replaced = tree
        .create(
            &other,
            &desk.folder,
            &text("file"),
            CreateHow::Guarded,
            &born,
        )
        .await;
    replaced.expect("somebody makes another");
    let late = desk.create("file", how).await.expect_err("not his own");
    assert_eq!(late.kind, TreeErrorKind::Exists);
}

#[tokio::test]
async fn an_exclusive_create_that_cannot_be_finished_leaves_nothing_behind() {
    let desk = Desk::at(shown(Habits::default()).await).await;
    desk.plan(Procedure::Setattr, Accident::Refused(Nfsstat3::Dquot));
    let refused = desk.create("file", CreateHow::Guarded).await;
    let refused = refused.expect_err("over quota");
    assert_eq!(refused.kind, TreeErrorKind::OverQuota);
    assert!(desk.kept("file").await.is_none());
}

#[tokio::test]
async fn a_folder_whose_mode_could_not_be_set_is_finished_by_who_asks_again() {
    let habits = Habits {
        ignores_modes: true,
        ..Habits::default()
    };
    let desk = Desk::at(shown(habits).await).await;
    desk.plan(Procedure::Setattr, Accident::Refused(Nfsstat3::Jukebox));
    let made = desk.make("folder", Make::Folder).await;
    assert!(retries(&made.expect_err("the filer is busy")));
    let made = desk.make("folder", Make::Folder).await;
    assert_eq!(made.expect("it is his own").stat.mode, 0o755);
}

#[tokio::test]
async fn a_rename_that_never_ran_does_not_stand_in_the_way_of_the_next() {
    let desk = Desk::at(shown_to(Habits::default(), impatient()).await).await;
    let how = CreateHow::Guarded;
    desk.create("old", how).await.expect("it is made");
    desk.plan(Procedure::Rename, Accident::LeavesBefore);
    let renamed = desk.rename("old", "new").await;
    assert!(retries(&renamed.expect_err("the filer is away")));
    desk.shown.filer.set_away(false);
    desk.remove("old").await.expect("it is removed instead");
    let another = desk.create("old", how).await.expect("another is made");
    desk.rename("old", "new")
        .await
        .expect("that one is renamed");
    let kept = desk.kept("new").await.expect("it has the new name");
    assert_eq!(kept.handle, another.handle);
}
