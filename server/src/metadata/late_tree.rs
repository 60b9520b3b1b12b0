//! A backend's tree that may not have been reached yet, or has gone away: calls are told to come again, so
//! that a backend that is away is no reason not to serve everything else. Where the operator wants it, they
//! fail after a while.

use crate::observe::Latency;
use async_trait::async_trait;
use backend::tree::*;
use backend::{Fetched, Space, Stability, WriteVerifier, Written};
use bytes::Bytes;
use layout::Device;
use mds::LATENCY_BOUNDS_MICROS;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a call waits for a backend that is being reached.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum Standing {
    /// Why it isn't there.
    Absent(Arc<str>),
    There(Arc<dyn Tree>),
}

/// Calls of a tree by the time that they took.
#[derive(Default)]
struct Calls {
    /// One for each bound, and the rest.
    buckets: [AtomicU64; LATENCY_BOUNDS_MICROS.len() + 1],
    micros: AtomicU64,
}

/// A call under way.
struct Call<'a> {
    tree: Arc<dyn Tree>,
    of: &'a LateTree,
    begun: Instant,
}

impl Call<'_> {
    fn ended<T>(&self, answer: Result<T, TreeError>) -> Result<T, TreeError> {
        let calls = &self.of.calls;
        let micros = self.begun.elapsed().as_micros() as u64;
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        calls.buckets[bucket].fetch_add(1, Relaxed);
        calls.micros.fetch_add(micros, Relaxed);
        self.of.heard(answer)
    }
}

pub struct LateTree {
    name: String,
    /// What it is taken to be until it is there.
    expected: TreeAbilities,
    standing: watch::Sender<Standing>,
    calls: Calls,
    /// After how long without another answer than "come again" calls fail; `None`: they never do.
    away_error: Option<Duration>,
    /// Since when there was no other.
    away_since: Mutex<Option<Instant>>,
}

impl LateTree {
    pub fn new(name: &str, expected: TreeAbilities, away_error: Option<Duration>) -> Self {
        let absent = Standing::Absent("it is being reached".into());
        Self {
            name: name.to_owned(),
            expected,
            standing: watch::Sender::new(absent),
            calls: Calls::default(),
            away_error,
            away_since: Mutex::default(),
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

    /// How long its calls took.
    pub fn latency(&self) -> Latency {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        Latency {
            bounds_micros: LATENCY_BOUNDS_MICROS.to_vec(),
            counts: self.calls.buckets.iter().map(count).collect(),
            total_micros: count(&self.calls.micros),
        }
    }

    fn now(&self) -> Option<Arc<dyn Tree>> {
        match &*self.standing.borrow() {
            Standing::Absent(_) => None,
            Standing::There(tree) => Some(Arc::clone(tree)),
        }
    }

    async fn call(&self) -> Result<Call<'_>, TreeError> {
        Ok(Call {
            tree: self.there().await?,
            of: self,
            begun: Instant::now(),
        })
    }

    async fn there(&self) -> Result<Arc<dyn Tree>, TreeError> {
        if let Some(tree) = self.now() {
            return Ok(tree);
        }
        let mut standing = self.standing.subscribe();
        let arrived = standing.wait_for(|now| matches!(now, Standing::There(_)));
        // Whether it came or the time is over shows in what is there now.
        let _ = tokio::time::timeout(PATIENCE, arrived).await;
        let there = self.now().ok_or_else(|| {
            let why = self.absence().unwrap_or_default();
            TreeError::new(
                TreeErrorKind::Retry { after: PATIENCE },
                format!("backend {} is away: {why}", self.name),
            )
        });
        match there {
            Ok(tree) => Ok(tree),
            Err(away) => self.heard(Err(away)),
        }
    }

    /// An answer as it is given on: one to come again for too long is an error.
    fn heard<T>(&self, answer: Result<T, TreeError>) -> Result<T, TreeError> {
        let mut since = self.away_since.lock();
        let Err(
            ref away @ TreeError {
                kind: TreeErrorKind::Retry { .. },
                ..
            },
        ) = answer
        else {
            *since = None;
            return answer;
        };
        let away_for = since.get_or_insert_with(Instant::now).elapsed();
        match self.away_error {
            Some(longest) if away_for > longest => Err(TreeError::new(
                TreeErrorKind::Broken,
                format!("for {} s: {}", away_for.as_secs(), away.detail),
            )),
            _ => answer,
        }
    }
}

#[async_trait]
impl Tree for LateTree {
    fn abilities(&self) -> TreeAbilities {
        self.now()
            .map_or_else(|| self.expected.clone(), |tree| tree.abilities())
    }

    async fn root(&self) -> Result<Node, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.root().await)
    }

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.stat(caller, handle).await)
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.rights(caller, handle).await)
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.lookup(caller, folder, name).await)
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.parent(caller, folder).await)
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.list(caller, folder, after, verifier, most).await)
    }

    async fn list_names(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let call = self.call().await?;
        let listed = call
            .tree
            .list_names(caller, folder, after, verifier, most)
            .await;
        call.ended(listed)
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.read_link(caller, handle).await)
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.read(caller, handle, offset, count).await)
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let call = self.call().await?;
        call.ended(
            call.tree
                .write(caller, handle, offset, data, stability)
                .await,
        )
    }

    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.commit(caller, handle).await)
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.create(caller, folder, name, how, born).await)
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.make(caller, folder, name, what, born).await)
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.remove(caller, folder, name).await)
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.rename(caller, from, to).await)
    }

    async fn link(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.link(caller, handle, folder, name).await)
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.set(caller, handle, changes).await)
    }

    async fn space(&self) -> Result<Space, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.space().await)
    }

    async fn xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.xattr(caller, handle, name).await)
    }

    async fn xattrs(&self, caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.xattrs(caller, handle).await)
    }

    async fn set_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.set_xattr(caller, handle, name, value, how).await)
    }

    async fn remove_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        let call = self.call().await?;
        call.ended(call.tree.remove_xattr(caller, handle, name).await)
    }

    fn unsent(&self) -> Unsent {
        self.now().map(|tree| tree.unsent()).unwrap_or_default()
    }

    async fn finish(&self, patience: Duration) {
        if let Some(tree) = self.now() {
            tree.finish(patience).await;
        }
    }

    fn device(&self) -> Option<Device> {
        self.now()?.device()
    }

    async fn direct(&self, handle: &Bytes, stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        match self.now() {
            Some(tree) => tree.direct(handle, stat).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind<T: std::fmt::Debug>(answer: Result<T, TreeError>) -> TreeErrorKind {
        answer.expect_err("it is away").kind
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_away_for_too_long_fails_and_is_waited_for_again_once_it_was_there() {
        let tree: Arc<dyn Tree> = Arc::new(MemoryTree::new("filer"));
        let longest = Duration::from_secs(30);
        let late = LateTree::new("filer", tree.abilities(), Some(longest));
        assert!(matches!(
            kind(late.root().await),
            TreeErrorKind::Retry { .. }
        ));
        tokio::time::advance(longest).await;
        assert_eq!(kind(late.root().await), TreeErrorKind::Broken);
        late.arrive(Arc::clone(&tree));
        let root = late.root().await.expect("it is there");
        late.stays_away("connection refused");
        assert!(matches!(
            kind(late.root().await),
            TreeErrorKind::Retry { .. }
        ));
        tokio::time::advance(longest).await;
        let gone = late.stat(&Caller::root(), &root.handle).await;
        let error = gone.expect_err("it is away");
        assert_eq!(error.kind, TreeErrorKind::Broken);
        assert!(error.detail.contains("connection refused"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_said_it_is_waited_for_as_long_as_it_takes() {
        let tree = MemoryTree::new("filer");
        let late = LateTree::new("filer", tree.abilities(), None);
        assert!(matches!(
            kind(late.root().await),
            TreeErrorKind::Retry { .. }
        ));
        tokio::time::advance(Duration::from_hours(100)).await;
        assert!(matches!(
            kind(late.root().await),
            TreeErrorKind::Retry { .. }
        ));
    }
}
