//! Objects that somebody else keeps and replaces as wholes: where bytes of one version come from, and
//! who keeps chunks of it near its readers.
//!
//! Never here: names as a user sees them, what of it is kept and for how long.

use crate::tree::Direct;
use crate::{Error, ErrorKind, Nanos};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One version of an object. Its bytes never change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    pub key: String,
    pub etag: String,
    pub size: u64,
}

/// Where the bytes of a fetch go, in their order, as they come.
pub trait Sink: Send {
    /// Refuses what is more than was asked for.
    fn put(&mut self, piece: &[u8]) -> Result<(), Error>;
}

/// The keeper of the objects.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// All bytes of a range that ends within the version, and of no other version: readers see each as soon as it is
    /// put. A fetch that fails may have put the first of them.
    /// [`ErrorKind::Gone`]: it isn't there any more, also where another one took its place.
    async fn fetch(
        &self,
        version: &Version,
        range: Range<u64>,
        into: &mut dyn Sink,
    ) -> Result<(), Error>;
}

/// What readers asked of one keeper's objects where chunks of them are kept, since that server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Chunks that were there, and that had to be fetched.
    pub hits: u64,
    pub misses: u64,
    pub fetched_bytes: u64,
    pub read_bytes: u64,
    /// What chunks of all keepers take there, and may take.
    pub held_bytes: u64,
    pub limit_bytes: u64,
}

impl Demand {
    /// Bytes that weren't asked of the keeper since they were kept; what was fetched ahead in vain counts against it.
    pub fn saved_bytes(&self) -> u64 {
        self.read_bytes.saturating_sub(self.fetched_bytes)
    }
}

/// A data server that keeps chunks of objects, as the metadata server asks it.
#[async_trait]
pub trait ChunkCache: Send + Sync + 'static {
    /// How clients read this version there. Of one key it serves one version: an earlier one is
    /// withdrawn by that.
    async fn offer(&self, version: &Version, mtime: Nanos) -> Result<Direct, Error>;

    /// Once it has answered, nothing more is read by this handle.
    async fn withdraw(&self, handle: &Bytes) -> Result<(), Error>;
}

/// Objects in memory, for tests: it counts fetches, holds them up, refuses them. Clones are the same one.
#[derive(Clone)]
pub struct MemoryUpstream(Arc<Shelves>);

struct Shelves {
    inner: Mutex<Inner>,
    open: watch::Sender<bool>,
    stopped_after: watch::Sender<Option<usize>>,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<String, (String, Bytes)>,
    versions: u64,
    fetches: u64,
    refusals: u32,
    breaks: bool,
}

impl Default for MemoryUpstream {
    fn default() -> Self {
        Self(Arc::new(Shelves {
            inner: Mutex::default(),
            open: watch::Sender::new(true),
            stopped_after: watch::Sender::new(None),
        }))
    }
}

impl MemoryUpstream {
    /// Puts an object, in place of what the key had.
    pub fn put(&self, key: &str, data: impl Into<Bytes>) -> Version {
        let data = data.into();
        let mut inner = self.0.inner.lock();
        inner.versions += 1;
        let version = Version {
            key: key.to_owned(),
            etag: format!("\"{}\"", inner.versions),
            size: data.len() as u64,
        };
        inner
            .objects
            .insert(key.to_owned(), (version.etag.clone(), data));
        version
    }

    pub fn remove(&self, key: &str) {
        self.0.inner.lock().objects.remove(key);
    }

    /// That were begun.
    pub fn fetches(&self) -> u64 {
        self.0.inner.lock().fetches
    }

    /// The next ones are told to come again.
    pub fn refuse(&self, count: u32) {
        self.0.inner.lock().refusals = count;
    }

    /// Fetches wait until it is opened again.
    pub fn hold(&self, held: bool) {
        self.0.open.send_replace(!held);
    }

    /// Fetches give so many bytes, and the rest when this is taken back.
    pub fn stop_after(&self, bytes: Option<usize>) {
        self.0.stopped_after.send_replace(bytes);
    }

    /// The next fetch breaks off where it is stopped, and otherwise at its end.
    pub fn break_off(&self) {
        self.0.inner.lock().breaks = true;
    }

    fn part_of(&self, version: &Version, range: Range<u64>) -> Result<Bytes, Error> {
        let mut inner = self.0.inner.lock();
        if inner.refusals > 0 {
            inner.refusals -= 1;
            return Err(busy("it is busy"));
        }
        let gone = || Error::new(ErrorKind::Gone, "this version isn't there any more");
        let (etag, data) = inner.objects.get(&version.key).ok_or_else(gone)?;
        if *etag != version.etag || data.len() as u64 != version.size || range.end > version.size {
            return Err(gone());
        }
        Ok(data.slice(range.start as usize..range.end as usize))
    }
}

#[async_trait]
impl Upstream for MemoryUpstream {
    async fn fetch(
        &self,
        version: &Version,
        range: Range<u64>,
        into: &mut dyn Sink,
    ) -> Result<(), Error> {
        self.0.inner.lock().fetches += 1;
        // The senders are this object's own.
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
        let data = self.part_of(version, range)?;
        let stopped = *self.0.stopped_after.borrow();
        let (first, rest) = data.split_at(stopped.unwrap_or(data.len()).min(data.len()));
        into.put(first)?;
        let mut stopped = self.0.stopped_after.subscribe();
        let _ = stopped
            .wait_for(|after| rest.is_empty() || after.is_none())
            .await;
        if std::mem::take(&mut self.0.inner.lock().breaks) {
            return Err(busy("the answer broke off"));
        }
        into.put(rest)
    }
}

fn busy(why: &str) -> Error {
    let after = Duration::from_millis(1);
    Error::new(ErrorKind::Retry { after }, why)
}
