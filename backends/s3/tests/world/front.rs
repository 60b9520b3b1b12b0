//! A tree that stays while the mirror behind it is stopped and started.
//!
//! Never here: anything but passing on.

use async_trait::async_trait;
use backend::tree::{
    Caller, CreateHow, Direct, FolderChange, Listing, Make, Node, NodeChanges, NodeStat, Rights,
    Tree, TreeAbilities, TreeError, Unsent, XattrHow,
};
use backend::{Fetched, Space, Stability, WriteVerifier, Written};
use backend_s3::S3Mirror;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;

pub struct Front(RwLock<Option<Arc<S3Mirror>>>);

impl Front {
    pub fn of(mirror: S3Mirror) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Some(Arc::new(mirror)))))
    }

    pub async fn stop(&self) {
        let mirror = self.0.write().take().and_then(Arc::into_inner);
        mirror.expect("nobody calls it any more").stop().await;
    }

    pub fn start(&self, mirror: S3Mirror) {
        *self.0.write() = Some(Arc::new(mirror));
    }

    fn mirror(&self) -> Arc<S3Mirror> {
        let mirror = self.0.read().clone();
        mirror.expect("the mirror is attached")
    }
}

#[async_trait]
impl Tree for Front {
    fn abilities(&self) -> TreeAbilities {
        self.mirror().abilities()
    }

    async fn root(&self) -> Result<Node, TreeError> {
        self.mirror().root().await
    }

    async fn space(&self) -> Result<Space, TreeError> {
        self.mirror().space().await
    }

    fn unsent(&self) -> Unsent {
        self.mirror().unsent()
    }

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        self.mirror().stat(caller, handle).await
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        self.mirror().rights(caller, handle).await
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        self.mirror().lookup(caller, folder, name).await
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        self.mirror().parent(caller, folder).await
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        self.mirror()
            .list(caller, folder, after, verifier, most)
            .await
    }

    async fn list_names(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        self.mirror()
            .list_names(caller, folder, after, verifier, most)
            .await
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        self.mirror().read_link(caller, handle).await
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        self.mirror().read(caller, handle, offset, count).await
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        self.mirror()
            .write(caller, handle, offset, data, stability)
            .await
    }

    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        self.mirror().commit(caller, handle).await
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.mirror().create(caller, folder, name, how, born).await
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.mirror().make(caller, folder, name, what, born).await
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.mirror().remove(caller, folder, name).await
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        self.mirror().rename(caller, from, to).await
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        self.mirror().set(caller, handle, changes).await
    }

    async fn xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        self.mirror().xattr(caller, handle, name).await
    }

    async fn xattrs(&self, caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        self.mirror().xattrs(caller, handle).await
    }

    async fn set_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        self.mirror()
            .set_xattr(caller, handle, name, value, how)
            .await
    }

    async fn remove_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        self.mirror().remove_xattr(caller, handle, name).await
    }

    async fn direct(&self, handle: &Bytes, stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        self.mirror().direct(handle, stat).await
    }
}
