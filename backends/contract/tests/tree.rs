//! The in-memory tree keeps the contract of trees.

use async_trait::async_trait;
use backend::tree::conformance::Subject;
use backend::tree::{MemoryTree, Tree};
use bytes::Bytes;
use std::future::{Ready, ready};
use std::sync::Arc;

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
