//! Folders that a filer's tree is still being brought into: whoever wants something in one waits a moment until all
//! of its names are here, and is told to come again where that takes longer.
//!
//! Never here: the scan.

use crate::server::Server;
use crate::status::Refusal;
use catalog::{FileKind, InodeId};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::Nfsstat4;

/// A client that is told DELAY comes back after a tenth of a second at first, and up to 15 s later.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who brings filers' trees into the catalog.
pub trait Scanning: Send + Sync + 'static {
    /// Has this folder scanned before others, and ends when it is.
    fn wanted(&self, folder: InodeId) -> BoxFuture<'_, ()>;
}

impl Server {
    /// From now on folders are scanned when somebody asks for them. Once.
    pub fn scan_by(&self, scanning: Arc<dyn Scanning>) {
        let _ = self.scanning.set(scanning);
    }

    /// Awaits what makes `folder` the place of a filer's tree, while nobody answers for it by a delegation: its holders
    /// would not be told of the names that come. `None`: somebody does still, and was asked for it.
    pub async fn taken_over<T>(
        self: &Arc<Self>,
        folder: InodeId,
        taking: impl Future<Output = T>,
    ) -> Option<T> {
        let _barred = self.undelegated(folder, None).await.ok()?;
        Some(taking.await)
    }

    /// To be awaited before a name in `folder` is looked at: refuses while a name may be missing.
    pub(crate) async fn scanned(&self, folder: InodeId) -> Result<(), Refusal> {
        if !self.is_unscanned(folder).await? {
            return Ok(());
        }
        if let Some(scanning) = self.scanning.get() {
            let _ = tokio::time::timeout(PATIENCE, scanning.wanted(folder)).await;
        }
        if self.is_unscanned(folder).await? {
            return Err(Refusal::passing(
                Nfsstat4::Delay,
                "what the filer has in a folder isn't all known yet",
            ));
        }
        Ok(())
    }

    pub(crate) async fn is_unscanned(&self, folder: InodeId) -> Result<bool, Refusal> {
        let inode = self.catalog.inode(folder).await?;
        Ok(inode.kind == FileKind::Directory && inode.unscanned)
    }
}
