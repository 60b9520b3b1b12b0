//! The mirror keeps the contract of trees: over a server in memory, or over the one that
//! `HEADRACE_S3_ENDPOINT` names; and over one that keeps no attributes of folders.

mod s3_server;
mod world;

use async_trait::async_trait;
use backend::tree::Tree;
use backend::tree::conformance::Subject;
use bytes::Bytes;
use std::sync::Arc;
use world::World;

#[async_trait]
impl Subject for World {
    fn tree(&self) -> Arc<dyn Tree> {
        self.front.clone()
    }

    async fn folder(&self) -> Bytes {
        self.root().await
    }

    async fn restart(&self) -> bool {
        World::restart(self).await.expect("it is attached again");
        true
    }
}

backend::tree_conformance_tests!(World::any());

mod bare_markers {
    use super::World;

    backend::tree_conformance_tests!(World::with_bare_markers());
}
