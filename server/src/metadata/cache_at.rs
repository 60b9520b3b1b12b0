//! A data server as the cache of what one backend keeps: versions are offered to it and withdrawn.
//!
//! Never here: which versions, and how it caches.

use anyhow::Context;
use async_trait::async_trait;
use backend::Nanos;
use backend::tree::Direct;
use backend::upstream::{ChunkCache, Demand, Version};
use bytes::Bytes;
use catalog::Catalog;
use layout::DataServerId;
use objects::Objects;
use std::sync::Arc;

/// A data server as the cache of one backend.
#[derive(Clone)]
pub struct CacheAt {
    objects: Arc<Objects>,
    server: DataServerId,
    backend: String,
}

impl CacheAt {
    pub fn new(objects: Arc<Objects>, server: DataServerId, backend: impl Into<String>) -> Self {
        Self {
            objects,
            server,
            backend: backend.into(),
        }
    }

    /// By that data server's name.
    pub(super) async fn find(
        catalog: &Catalog,
        objects: &Arc<Objects>,
        name: &str,
        backend: &str,
    ) -> anyhow::Result<Self> {
        let known = catalog.data_servers().await?;
        let record = known.iter().find(|record| record.name == name);
        let record =
            record.with_context(|| format!("backend {backend}: there is no data server {name}"))?;
        Ok(Self::new(Arc::clone(objects), record.id, backend))
    }

    pub(super) fn server(&self) -> DataServerId {
        self.server
    }

    /// The name of that data server.
    pub fn name(&self) -> String {
        self.objects.name_of(self.server).unwrap_or_default()
    }

    /// What readers have asked of this backend there.
    pub async fn demand(&self) -> Result<Demand, backend::Error> {
        let told = self.objects.demand(self.server, &self.backend).await;
        told.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: backend::Error) -> backend::Error {
        if error.kind != backend::ErrorKind::Unsupported {
            return error;
        }
        let name = self.name();
        let detail = format!(
            "data server {name} doesn't cache backend {backend}. It must be `headrace ds` with a \
             [[backend]] in its own configuration whose name is {backend}, too",
            backend = self.backend
        );
        backend::Error::new(error.kind, detail)
    }
}

#[async_trait]
impl ChunkCache for CacheAt {
    async fn offer(&self, version: &Version, mtime: Nanos) -> Result<Direct, backend::Error> {
        let (handle, reader) = self
            .objects
            .offer(self.server, &self.backend, version, mtime)
            .await
            .map_err(|error| self.explained(error))?;
        Ok(Direct {
            handle,
            reader,
            of_this_version: true,
        })
    }

    async fn withdraw(&self, handle: &Bytes) -> Result<(), backend::Error> {
        self.objects.withdraw(self.server, handle).await
    }
}
