//! Which filer is shown, as whom it is asked, and what is said when it refuses.

use crate::server::{Accident, EXPORT, Habits};
use crate::{address, impatient, shown, shown_to};
use backend::tree::{
    Caller, CreateHow, Direct, Make, MemoryTree, Node, NodeChanges, Tree, TreeErrorKind,
};
use backend_nfs::{ExportError, ExportOptions, NfsExport};
use bytes::Bytes;
use layout::Owner;
use std::sync::Arc;
use wire::nfs3::{Nfsstat3, Procedure};

fn text(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn born(mode: u32, uid: u32) -> NodeChanges {
    NodeChanges {
        mode: Some(mode),
        uid: Some(uid),
        gid: Some(uid),
        ..NodeChanges::default()
    }
}

async fn put(tree: &dyn Tree, name: &str, born: &NodeChanges) -> Node {
    let (root, how) = (Caller::root(), CreateHow::Guarded);
    let top = tree.root().await.expect("there is a root").handle;
    let made = tree.create(&root, &top, &text(name), how, born).await;
    made.expect("a file is made").0
}

#[tokio::test]
async fn a_restarted_filer_is_known_again_with_all_handles() {
    let shown = shown_to(Habits::default(), impatient()).await;
    let file = put(&*shown.export, "file", &born(0o644, 5)).await;
    shown.filer.set_away(true);
    let away = shown.export.stat(&Caller::root(), &file.handle).await;
    let away = away.expect_err("the filer is away");
    assert!(away.is_passing(), "{away}");
    assert!(away.detail.contains("toaster"), "{away}");
    shown.filer.restart();
    shown.filer.set_away(false);
    let stat = shown.export.stat(&Caller::root(), &file.handle).await;
    assert_eq!(stat.expect("it is back").fileid, file.stat.fileid);
}

#[tokio::test]
async fn other_contents_are_refused_until_the_old_ones_are_back() {
    let shown = shown(Habits::default()).await;
    let (export, root) = (&shown.export, Caller::root());
    let file = put(&**export, "file", &born(0o644, 5)).await;
    let old = shown.filer.tree();
    shown.filer.show(MemoryTree::new("another").judging());
    for _ in 0..2 {
        let refused = export.stat(&root, &file.handle).await;
        let refused = refused.expect_err("these are others");
        assert_eq!(refused.kind, TreeErrorKind::Broken, "{refused}");
        for word in ["toaster", EXPORT, "other contents", "configuration"] {
            assert!(refused.detail.contains(word), "{refused}");
        }
    }
    assert!(export.root().await.is_err());
    shown.filer.show(old);
    export.root().await.expect("the old ones are back");
    export.stat(&root, &file.handle).await.expect("so is this");
}

#[tokio::test]
async fn a_root_of_the_same_handle_in_another_file_system_is_noticed_after_an_absence() {
    let shown = shown_to(Habits::default(), impatient()).await;
    let (export, root) = (&shown.export, Caller::root());
    let file = put(&**export, "file", &born(0o644, 5)).await;
    shown.filer.set_away(true);
    assert!(export.stat(&root, &file.handle).await.is_err());
    shown.filer.set_fsid(0xbad);
    shown.filer.set_away(false);
    let refused = export.stat(&root, &file.handle).await;
    let refused = refused.expect_err("these are others");
    assert_eq!(refused.kind, TreeErrorKind::Broken, "{refused}");
    assert!(refused.detail.contains("bad and was f5"), "{refused}");
}

#[tokio::test]
async fn an_identity_of_an_earlier_start_is_compared() {
    let shown = shown(Habits::default()).await;
    let known = |known: Bytes| ExportOptions {
        known: Some(known),
        ..ExportOptions::default()
    };
    let connect = async |options| NfsExport::connect(address(&shown.filer), "", options).await;
    let same = connect(known(shown.export.identity())).await;
    same.expect("it is known again");
    let other = connect(known(text("of an earlier start"))).await;
    let Err(error) = other else {
        panic!("another one was taken for it");
    };
    assert!(matches!(error, ExportError::OtherContents(_)), "{error}");
    assert!(error.is_refusal());
}

#[tokio::test]
async fn an_export_that_is_not_there_is_a_refusal_that_names_it() {
    let shown = shown(Habits::default()).await;
    let mut wrong = address(&shown.filer);
    wrong.export = "/nowhere".to_owned();
    let refused = NfsExport::connect(wrong, "", ExportOptions::default()).await;
    let Err(error) = refused else {
        panic!("it was mounted");
    };
    assert!(error.is_refusal());
    let words = error.to_string();
    assert!(
        words.contains("toaster") && words.contains("/nowhere"),
        "{words}"
    );
}

#[tokio::test]
async fn a_folder_within_the_export_is_shown_alone() {
    let shown = shown(Habits::default()).await;
    let (tree, root) = (shown.filer.tree(), Caller::root());
    let mut at = tree.root().await.expect("there is a root").handle;
    for name in ["a", "b"] {
        let folder = born(0o755, 0);
        let made = tree
            .make(&root, &at, &text(name), Make::Folder, &folder)
            .await;
        at = made.expect("a folder is made").0.handle;
    }
    let connect = async |folder| {
        NfsExport::connect(address(&shown.filer), folder, ExportOptions::default()).await
    };
    let export = connect("/a/b/").await.expect("the folder is there");
    let top = export.root().await.expect("there is a root");
    assert_eq!(top.handle, at);
    let parent = export.parent(&root, &at).await.expect("the root's");
    assert_eq!(parent.handle, at, "nothing above it is shown");
    assert_ne!(export.identity(), shown.export.identity());
    put(&export, "file", &born(0o644, 0)).await;
    let file = connect("a/b/file").await;
    assert!(matches!(file, Err(ExportError::NotFolder { .. })));
    assert!(connect("a/c").await.is_err_and(|error| error.is_refusal()));
}

#[tokio::test]
async fn root_is_what_the_filer_makes_of_it() {
    let habits = Habits {
        squashes_root: true,
        ..Habits::default()
    };
    let shown = shown(habits).await;
    let (export, root) = (&shown.export, Caller::root());
    let top = export.root().await.expect("it can be mounted").handle;
    let (name, how) = (text("file"), CreateHow::Guarded);
    let made = export
        .create(&root, &top, &name, how, &born(0o644, 0))
        .await;
    let refused = made.expect_err("root is nobody there");
    assert_eq!(refused.kind, TreeErrorKind::Denied, "{refused}");
    for word in ["toaster", "CREATE", "ACCES"] {
        assert!(refused.detail.contains(word), "{refused}");
    }
}

#[tokio::test]
async fn the_first_sixteen_groups_count() {
    let shown = shown(Habits::default()).await;
    let file = born(0o040, 9000);
    let file = put(&shown.filer.tree(), "file", &file).await;
    for (groups, may) in [(16, true), (17, false)] {
        let mut numbers: Vec<u32> = (0..groups - 1).map(|at| 100 + at).collect();
        numbers.push(9000);
        let who = Caller {
            uid: 7,
            gid: 7,
            groups: numbers.into(),
        };
        let read = shown.export.read(&who, &file.handle, 0, 1).await;
        assert_eq!(read.is_ok(), may, "group number {groups}");
    }
}

#[tokio::test]
async fn refusals_of_the_filer_keep_their_meaning() {
    let shown = shown(Habits::default()).await;
    let (export, root) = (&shown.export, Caller::root());
    let top = export.root().await.expect("there is a root").handle;
    let cases = [
        (Nfsstat3::Rofs, TreeErrorKind::ReadOnly),
        (Nfsstat3::Nospc, TreeErrorKind::Full),
        (Nfsstat3::Dquot, TreeErrorKind::OverQuota),
        (Nfsstat3::Acces, TreeErrorKind::Denied),
        (Nfsstat3::Perm, TreeErrorKind::NotOwner),
        (Nfsstat3::Fbig, TreeErrorKind::TooLarge),
        (Nfsstat3::Io, TreeErrorKind::Broken),
        (Nfsstat3::Serverfault, TreeErrorKind::Broken),
        (Nfsstat3::Stale, TreeErrorKind::Gone),
    ];
    let changes = NodeChanges {
        mode: Some(0o755),
        ..NodeChanges::default()
    };
    for (status, kind) in cases {
        shown
            .filer
            .plan(Procedure::Setattr, Accident::Refused(status));
        let refused = export.set(&root, &top, &changes).await;
        let refused = refused.expect_err("it was refused");
        assert_eq!(refused.kind, kind, "{refused}");
        assert!(refused.detail.contains(status.name()), "{refused}");
    }
    let busy = Accident::Refused(Nfsstat3::Jukebox);
    shown.filer.plan(Procedure::Getattr, busy);
    let refused = export.stat(&root, &top).await;
    assert!(refused.is_err_and(|error| error.is_passing()));
    let lost = Accident::Refused(Nfsstat3::BadCookie);
    shown.filer.plan(Procedure::Readdirplus, lost);
    let refused = export.list(&root, &top, 77, [1; 8], 10).await;
    let refused = refused.expect_err("the cookie is of no use");
    assert_eq!(refused.kind, TreeErrorKind::BadCookie);
}

#[tokio::test]
async fn high_cookies_are_kept_and_one_that_nfsv4_cannot_show_is_refused() {
    let list = async |shown: &crate::Shown, after| {
        let root = shown.export.root().await.expect("there is a root");
        let caller = Caller::root();
        shown
            .export
            .list(&caller, &root.handle, after, [7; 8], 1000)
            .await
    };
    let habits = |cookies_above| Habits {
        cookies_above,
        ..Habits::default()
    };
    let high = shown(habits(1 << 63)).await;
    for name in ["a", "b", "c"] {
        put(&*high.export, name, &born(0o644, 0)).await;
    }
    let whole = list(&high, 0).await.expect("they are listed").entries;
    let rest = list(&high, whole[0].cookie).await.expect("it goes on");
    assert_eq!(rest.entries, whole[1..]);

    let over = shown(habits(u64::MAX - 4)).await;
    put(&*over.export, "a", &born(0o644, 0)).await;
    let refused = list(&over, 0).await.expect_err("it can't be shown");
    assert_eq!(refused.kind, TreeErrorKind::Broken, "{refused}");
    assert!(refused.detail.contains("cookie"), "{refused}");
}

async fn directly(tree: &dyn Tree, node: &Node) -> Option<Direct> {
    let direct = tree.direct(&node.handle, &node.stat).await;
    direct.expect("it is told")
}

#[tokio::test]
async fn clients_read_directly_what_the_owner_may_read() {
    let shown = shown(Habits::default()).await;
    let export = &shown.export;
    let device = export.device().expect("there is one");
    assert_eq!(device.addresses, [shown.filer.address]);
    assert_eq!(device.read_bytes, export.abilities().read_bytes);
    let owned = put(&**export, "owned", &born(0o640, 7)).await;
    let direct = directly(&**export, &owned).await;
    let direct = direct.expect("its owner reads it");
    assert_eq!(direct.reader, Owner { uid: 7, gid: 7 });
    assert_eq!(direct.handle, owned.handle);
    let roots = put(&**export, "roots", &born(0o644, 0)).await;
    assert!(directly(&**export, &roots).await.is_none());
    let hidden = put(&**export, "hidden", &born(0o240, 7)).await;
    assert!(directly(&**export, &hidden).await.is_none());
    let root = export.root().await.expect("there is a root");
    assert!(directly(&**export, &root).await.is_none());
}

#[tokio::test]
async fn a_filer_that_is_away_and_back_serves_many_at_once() {
    let shown = shown(Habits::default()).await;
    let file = put(&*shown.export, "file", &born(0o644, 5)).await;
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (export, handle) = (Arc::clone(&shown.export), file.handle.clone());
        askers.spawn(async move { export.stat(&Caller::root(), &handle).await });
    }
    shown.filer.restart();
    while let Some(asked) = askers.join_next().await {
        let stat = asked.expect("an asker ends well");
        assert_eq!(stat.expect("it is served").fileid, file.stat.fileid);
    }
}
