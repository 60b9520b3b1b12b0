//! Faults in front of any tree, by seed. Never here: which faults there are.

use super::{
    Caller, CreateHow, Direct, FolderChange, Listing, Make, Node, NodeChanges, NodeStat, Rights,
    Tree, TreeAbilities, TreeError, Unsent, XattrHow,
};
use crate::fate::{Fate, Fates, Faults};
use crate::{Fetched, Space, Stability, WriteVerifier, Written};
use async_trait::async_trait;
use bytes::Bytes;
use layout::Device;
use std::sync::Arc;

pub struct FaultyTree {
    inner: Arc<dyn Tree>,
    fates: Fates,
}

impl FaultyTree {
    /// `restart` is what [`Faults::restarts`] does, given a seed.
    pub fn new(
        inner: Arc<dyn Tree>,
        seed: u64,
        faults: Faults,
        restart: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            fates: Fates::new(seed, faults, Box::new(restart)),
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.fates.set_faults(faults);
    }

    /// No call gets an answer until it is back.
    pub fn set_away(&self, away: bool) {
        self.fates.set_away(away);
    }

    /// Writes and new names find no space.
    pub fn set_full(&self, full: bool) {
        self.fates.set_full(full);
    }

    /// Calls that came in, refused ones included.
    pub fn calls(&self) -> u64 {
        self.fates.calls()
    }

    fn reply<T>(&self, fate: &Fate, answer: Result<T, TreeError>) -> Result<T, TreeError> {
        self.fates.replies(fate)?;
        answer
    }
}

#[async_trait]
impl Tree for FaultyTree {
    fn abilities(&self) -> TreeAbilities {
        self.inner.abilities()
    }

    async fn root(&self) -> Result<Node, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.root().await;
        self.reply(&fate, answer)
    }

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.stat(caller, handle).await;
        self.reply(&fate, answer)
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.rights(caller, handle).await;
        self.reply(&fate, answer)
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.lookup(caller, folder, name).await;
        self.reply(&fate, answer)
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.parent(caller, folder).await;
        self.reply(&fate, answer)
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let fate = self.fates.next().await?;
        let most = fate.of(most as u64) as usize;
        let answer = self.inner.list(caller, folder, after, verifier, most).await;
        self.reply(&fate, answer)
    }

    async fn list_names(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let fate = self.fates.next().await?;
        let most = fate.of(most as u64) as usize;
        let answer = self
            .inner
            .list_names(caller, folder, after, verifier, most)
            .await;
        self.reply(&fate, answer)
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.read_link(caller, handle).await;
        self.reply(&fate, answer)
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        let fate = self.fates.next().await?;
        let count = fate.of(u64::from(count)) as u32;
        let answer = self.inner.read(caller, handle, offset, count).await;
        self.reply(&fate, answer)
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let data = data.slice(..fate.of(data.len() as u64) as usize);
        let answer = self
            .inner
            .write(caller, handle, offset, data, stability)
            .await;
        self.reply(&fate, answer)
    }

    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.commit(caller, handle).await;
        self.reply(&fate, answer)
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self.inner.create(caller, folder, name, how, born).await;
        self.reply(&fate, answer)
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self.inner.make(caller, folder, name, what, born).await;
        self.reply(&fate, answer)
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.remove(caller, folder, name).await;
        self.reply(&fate, answer)
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.rename(caller, from, to).await;
        self.reply(&fate, answer)
    }

    async fn link(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self.inner.link(caller, handle, folder, name).await;
        self.reply(&fate, answer)
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.set(caller, handle, changes).await;
        self.reply(&fate, answer)
    }

    fn unsent(&self) -> Unsent {
        self.inner.unsent()
    }

    async fn space(&self) -> Result<Space, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.space().await;
        self.reply(&fate, answer)
    }

    async fn xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.xattr(caller, handle, name).await;
        self.reply(&fate, answer)
    }

    async fn xattrs(&self, caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.xattrs(caller, handle).await;
        self.reply(&fate, answer)
    }

    async fn set_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self.inner.set_xattr(caller, handle, name, value, how).await;
        self.reply(&fate, answer)
    }

    async fn remove_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        let fate = self.fates.next().await?;
        let answer = self.inner.remove_xattr(caller, handle, name).await;
        self.reply(&fate, answer)
    }

    fn device(&self) -> Option<Device> {
        self.inner.device()
    }

    async fn direct(&self, handle: &Bytes, stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        self.inner.direct(handle, stat).await
    }
}
