//! A backend's tree that may not have been reached yet: until then every call is told to come again, so
//! that a backend that is away is no reason not to serve everything else.

use async_trait::async_trait;
use backend::tree::*;
use backend::{Fetched, Space, Stability, WriteVerifier, Written};
use bytes::Bytes;
use layout::Device;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What a call waits for a backend that is being reached.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum Standing {
    /// Why it isn't there.
    Absent(Arc<str>),
    There(Arc<dyn Tree>),
}

pub struct LateTree {
    name: String,
    /// What it is taken to be until it is there.
    expected: TreeAbilities,
    standing: watch::Sender<Standing>,
}

impl LateTree {
    pub fn new(name: &str, expected: TreeAbilities) -> Self {
        let absent = Standing::Absent("it is being reached".into());
        Self {
            name: name.to_owned(),
            expected,
            standing: watch::Sender::new(absent),
        }
    }

    pub fn arrive(&self, tree: Arc<dyn Tree>) {
        self.standing.send_replace(Standing::There(tree));
    }

    pub fn stays_away(&self, why: &str) {
        self.standing.send_replace(Standing::Absent(why.into()));
    }

    /// Why it isn't there, or `None`.
    pub fn absence(&self) -> Option<Arc<str>> {
        match &*self.standing.borrow() {
            Standing::Absent(why) => Some(Arc::clone(why)),
            Standing::There(_) => None,
        }
    }

    fn now(&self) -> Option<Arc<dyn Tree>> {
        match &*self.standing.borrow() {
            Standing::Absent(_) => None,
            Standing::There(tree) => Some(Arc::clone(tree)),
        }
    }

    async fn there(&self) -> Result<Arc<dyn Tree>, TreeError> {
        if let Some(tree) = self.now() {
            return Ok(tree);
        }
        let mut standing = self.standing.subscribe();
        let arrived = standing.wait_for(|now| matches!(now, Standing::There(_)));
        // Whether it came or the time is over shows in what is there now.
        let _ = tokio::time::timeout(PATIENCE, arrived).await;
        self.now().ok_or_else(|| {
            let why = self.absence().unwrap_or_default();
            TreeError::new(
                TreeErrorKind::Retry { after: PATIENCE },
                format!("backend {} is away: {why}", self.name),
            )
        })
    }
}

#[async_trait]
impl Tree for LateTree {
    fn abilities(&self) -> TreeAbilities {
        self.now()
            .map_or_else(|| self.expected.clone(), |tree| tree.abilities())
    }

    async fn root(&self) -> Result<Node, TreeError> {
        self.there().await?.root().await
    }

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        self.there().await?.stat(caller, handle).await
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        self.there().await?.rights(caller, handle).await
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        self.there().await?.lookup(caller, folder, name).await
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        self.there().await?.parent(caller, folder).await
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let tree = self.there().await?;
        tree.list(caller, folder, after, verifier, most).await
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        self.there().await?.read_link(caller, handle).await
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        self.there()
            .await?
            .read(caller, handle, offset, count)
            .await
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let tree = self.there().await?;
        tree.write(caller, handle, offset, data, stability).await
    }

    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        self.there().await?.commit(caller, handle).await
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let tree = self.there().await?;
        tree.create(caller, folder, name, how, born).await
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let tree = self.there().await?;
        tree.make(caller, folder, name, what, born).await
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.there().await?.remove(caller, folder, name).await
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        self.there().await?.rename(caller, from, to).await
    }

    async fn link(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.there().await?.link(caller, handle, folder, name).await
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        self.there().await?.set(caller, handle, changes).await
    }

    async fn space(&self) -> Result<Space, TreeError> {
        self.there().await?.space().await
    }

    async fn xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        self.there().await?.xattr(caller, handle, name).await
    }

    async fn xattrs(&self, caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        self.there().await?.xattrs(caller, handle).await
    }

    async fn set_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        let tree = self.there().await?;
        tree.set_xattr(caller, handle, name, value, how).await
    }

    async fn remove_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        self.there().await?.remove_xattr(caller, handle, name).await
    }

    fn device(&self) -> Option<Device> {
        self.now()?.device()
    }

    fn direct(&self, handle: &Bytes, stat: &NodeStat) -> Option<Direct> {
        self.now()?.direct(handle, stat)
    }
}
