//! The in-memory tree and the wrapper that injects faults keep the contract of trees.

use async_trait::async_trait;
use backend::tree::conformance::Subject;
use backend::tree::{
    Caller, CreateHow, FaultyTree, Make, MemoryTree, NodeChanges, Tree, TreeErrorKind,
};
use backend::{Faults, Stability};
use bytes::Bytes;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

struct InMemory {
    memory: MemoryTree,
    front: Arc<dyn Tree>,
}

#[async_trait]
impl Subject for InMemory {
    fn tree(&self) -> Arc<dyn Tree> {
        self.front.clone()
    }

    async fn folder(&self) -> Bytes {
        let root = self.memory.root().await;
        root.expect("there is a root").handle
    }

    async fn restart(&self) -> bool {
        self.memory.restart();
        true
    }
}

fn behind(faults: Faults) -> (MemoryTree, FaultyTree) {
    let memory = MemoryTree::new("memory");
    let front = FaultyTree::new(Arc::new(memory.clone()), 7, faults, |_| {});
    (memory, front)
}

mod memory {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let memory = MemoryTree::new("memory");
        ready(InMemory {
            front: Arc::new(memory.clone()),
            memory,
        })
    }

    backend::tree_conformance_tests!(subject());
}

mod judging {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let memory = MemoryTree::new("memory").judging();
        ready(InMemory {
            front: Arc::new(memory.clone()),
            memory,
        })
    }

    backend::tree_conformance_tests!(subject());
}

mod short_transfers_and_delays {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let (memory, front) = behind(Faults {
            short: 500,
            delay: Duration::from_micros(50),
            ..Faults::default()
        });
        ready(InMemory {
            front: Arc::new(front),
            memory,
        })
    }

    backend::tree_conformance_tests!(subject());
}

const ALWAYS: u32 = 1000;

fn retries(kind: TreeErrorKind) -> bool {
    matches!(kind, TreeErrorKind::Retry { .. })
}

#[tokio::test]
async fn a_lost_reply_leaves_what_was_done_and_a_refusal_nothing() {
    let root = Caller::root();
    for (lost_replies, refused, done) in [(ALWAYS, 0, true), (0, ALWAYS, false)] {
        let (memory, front) = behind(Faults {
            lost_replies,
            refused,
            ..Faults::default()
        });
        let folder = memory.root().await.expect("there is a root").handle;
        let name = Bytes::from_static(b"name");
        let born = NodeChanges::default();
        let made = front.make(&root, &folder, &name, Make::Folder, &born).await;
        assert!(retries(made.expect_err("no reply comes").kind));
        assert_eq!(memory.lookup(&root, &folder, &name).await.is_ok(), done);
        assert_eq!(front.calls(), 1);
    }
}

#[tokio::test]
async fn a_tree_that_is_away_or_full_says_so_until_it_is_not() {
    let root = Caller::root();
    let (memory, front) = behind(Faults::default());
    let folder = memory.root().await.expect("there is a root").handle;
    let (name, born) = (Bytes::from_static(b"name"), NodeChanges::default());
    let create = async || {
        let how = CreateHow::Guarded;
        let made = front.create(&root, &folder, &name, how, &born).await;
        made.map_err(|error| error.kind)
    };
    front.set_away(true);
    assert!(create().await.is_err_and(retries));
    front.set_away(false);
    front.set_full(true);
    assert!(
        create()
            .await
            .is_err_and(|kind| kind == TreeErrorKind::Full)
    );
    front.set_full(false);
    create().await.expect("there is room again");
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_unstable_bytes_and_tells_by_the_verifier() {
    let root = Caller::root();
    let memory = MemoryTree::new("memory");
    let restarts = memory.clone();
    let front = FaultyTree::new(Arc::new(memory.clone()), 3, Faults::default(), move |_| {
        restarts.restart();
    });
    let folder = front.root().await.expect("there is a root").handle;
    let (name, born) = (Bytes::from_static(b"name"), NodeChanges::default());
    let how = CreateHow::Guarded;
    let made = front.create(&root, &folder, &name, how, &born).await;
    let handle = made.expect("a file is made").0.handle;
    let data = Bytes::from_static(b"unstable");
    let written = front.write(&root, &handle, 0, data, Stability::Unstable);
    let written = written.await.expect("it is written");
    front.set_faults(Faults {
        restarts: ALWAYS,
        ..Faults::default()
    });
    let committed = front.commit(&root, &handle).await.expect("a COMMIT");
    assert_ne!(committed, written.verifier);
    assert_eq!(front.stat(&root, &handle).await.expect("its stat").size, 0);
}
