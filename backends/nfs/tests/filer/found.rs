//! What a filer had before it became a data server: proven fit, its files removed where they are.

use crate::server::{Accident, EXPORT, Filer, Habits};
use backend::tree::{Caller, CreateHow, MemoryTree, NodeChanges, Tree};
use backend::{DataServer, FenceGrade, FoundObject};
use backend_nfs::{Address, NfsDataServer, Options, Proof, TrialIds};
use bytes::Bytes;
use layout::Owner;
use wire::nfs3::{Nfsstat3, Procedure};

async fn data_server(filer: &Filer) -> NfsDataServer {
    let address = Address {
        name: "toaster".to_owned(),
        host: filer.address.ip(),
        nfs_port: Some(filer.address.port()),
        mount_port: None,
        export: EXPORT.to_owned(),
    };
    let options = Options {
        has_files: true,
        ..Options::new(1)
    };
    let server = NfsDataServer::connect(address, options).await;
    server.expect("the export can be mounted")
}

async fn made(tree: &MemoryTree, name: &'static str) -> Bytes {
    let root = tree.root().await.expect("a root").handle;
    let (caller, name) = (Caller::root(), Bytes::from_static(name.as_bytes()));
    let (how, born) = (CreateHow::Guarded, NodeChanges::default());
    let made = tree.create(&caller, &root, &name, how, &born).await;
    made.expect("a file").0.handle
}

async fn names(tree: &MemoryTree) -> Vec<Bytes> {
    let root = tree.root().await.expect("a root").handle;
    let listed = tree.list(&Caller::root(), &root, 0, [0; 8], 100).await;
    let entries = listed.expect("a listing").entries;
    let mut names: Vec<Bytes> = entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

async fn found(tree: &MemoryTree, handle: &Bytes, at: &[&'static str]) -> FoundObject {
    let root = tree.root().await.expect("a root").handle;
    let stat = tree.stat(&Caller::root(), handle).await;
    FoundObject {
        handle: handle.clone(),
        fileid: stat.expect("it is there").fileid,
        names: at
            .iter()
            .map(|name| (root.clone(), Bytes::from_static(name.as_bytes())))
            .collect(),
    }
}

#[tokio::test]
async fn a_file_that_was_there_goes_under_all_its_names_and_no_other_goes() {
    let tree = MemoryTree::new("filer").judging();
    let (file, other) = (made(&tree, "one").await, made(&tree, "taken").await);
    let root = tree.root().await.expect("a root").handle;
    let two = Bytes::from_static(b"two");
    let linked = tree.link(&Caller::root(), &file, &root, &two).await;
    linked.expect("a second name");
    let filer = Filer::start(tree.clone(), Habits::default()).await;
    let server = data_server(&filer).await;
    let dead = found(&tree, &file, &["one", "two", "taken", "never"]).await;
    filer.plan(Procedure::Remove, Accident::ReplyLost);
    // Whoever got no answer asks again.
    while server.remove_found(&dead).await.is_err() {}
    assert_eq!(names(&tree).await, ["taken"]);
    server.remove_found(&dead).await.expect("it is gone");
    let dead = found(&tree, &other, &["taken"]).await;
    filer.plan(Procedure::Lookup, Accident::Refused(Nfsstat3::Io));
    assert!(server.remove_found(&dead).await.is_err(), "it may be there");
    server.remove_found(&dead).await.expect("it can be removed");
    assert_eq!(names(&tree).await, [""; 0]);
}

#[tokio::test]
async fn other_contents_lose_nothing_and_end_no_removal() {
    let tree = MemoryTree::new("filer").judging();
    let file = made(&tree, "one").await;
    let filer = Filer::start(tree.clone(), Habits::default()).await;
    let server = data_server(&filer).await;
    let dead = found(&tree, &file, &["one"]).await;
    let other = MemoryTree::new("other").judging();
    made(&other, "one").await;
    filer.show(other.clone());
    let removed = server.remove_found(&dead).await;
    assert!(removed.is_err(), "who knows what was removed?");
    assert_eq!(names(&other).await, ["one"]);
    filer.show(tree.clone());
    while server.remove_found(&dead).await.is_err() {}
    assert_eq!(names(&tree).await, [""; 0]);
}

#[tokio::test]
async fn what_is_made_there_lies_apart_from_what_was_there() {
    let tree = MemoryTree::new("filer").judging();
    made(&tree, "data").await;
    let filer = Filer::start(tree.clone(), Habits::default()).await;
    let server = data_server(&filer).await;
    let ids = TrialIds {
        before: Owner {
            uid: 70_001,
            gid: 70_002,
        },
        after: Owner {
            uid: 70_003,
            gid: 70_002,
        },
        reader_uid: 70_000,
    };
    let proof = server.prove_fence(1, ids).await.expect("it can be tried");
    assert_eq!(proof, Proof::Fit(FenceGrade::Windowed));
    assert_eq!(names(&tree).await, [".headrace-objects", "data"]);
}
