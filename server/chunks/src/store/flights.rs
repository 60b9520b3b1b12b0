//! A chunk's way: from its keeper, to whoever waits for it, onto the disk, and off it again.
//!
//! Never here: what readers ask for.

use super::{Chunk, Failed, Held, Progress, Shared, Store};
use crate::disk::{self, Key};
use crate::ledger::ObjectId;
use backend::{Error, ErrorKind};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

impl Shared {
    fn now_millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Whether it is on disk and was checked.
    pub(super) fn is_ready(&self, key: &Key) -> bool {
        let now = self.now_millis();
        let mut index = self.index.lock();
        !index.unchecked.contains(key) && index.shelf.touch(key, now)
    }

    pub(super) fn is_here_or_coming(&self, key: &Key) -> bool {
        let index = self.index.lock();
        index.flights.contains_key(key)
            || (index.shelf.contains(key) && !index.unchecked.contains(key))
    }

    /// `None`: it isn't there any more.
    pub(super) async fn open_file(self: &Arc<Self>, key: Key) -> Result<Option<Arc<File>>, Failed> {
        if let Some(file) = self.open.get(&key) {
            return Ok(Some(file));
        }
        let shared = Arc::clone(self);
        let opened = self
            .runtime
            .spawn_blocking(move || shared.folder.open_chunk(&key))
            .await;
        match opened {
            Ok(Ok(file)) => {
                let file = Arc::new(file);
                self.open.insert(key, Arc::clone(&file));
                // Evicted meanwhile: it isn't kept open.
                if !self.index.lock().shelf.contains(&key) {
                    self.open.remove(&key);
                }
                Ok(Some(file))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a chunk can't be opened");
                Ok(None)
            }
            Err(_) => Err(Failed::Later),
        }
    }

    /// The fetch that is under way, or a new one; whether somebody else began it. `None`: the chunk has come since
    /// it was looked for.
    pub(super) fn flight(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> Option<(watch::Receiver<Progress>, bool)> {
        let key = object.key(index);
        let mut inner = self.index.lock();
        if let Some(progress) = inner.flights.get(&key) {
            return Some((progress.clone(), true));
        }
        if inner.shelf.contains(&key) && !inner.unchecked.contains(&key) {
            return None;
        }
        let (tell, progress) = watch::channel(Progress::Waiting);
        inner.flights.insert(key, progress.clone());
        drop(inner);
        let landing = Landing {
            shared: Arc::clone(self),
            key,
        };
        let object = Arc::clone(object);
        self.runtime.spawn(async move {
            let shared = Arc::clone(&landing.shared);
            shared.fly(&object, index, place, &tell).await;
            drop(landing);
        });
        Some((progress, false))
    }

    async fn fly(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
        tell: &watch::Sender<Progress>,
    ) {
        let arrival = self.arrive(object, index, place);
        tokio::pin!(arrival);
        let soon = tokio::time::timeout(self.options.patience, &mut arrival).await;
        let arrived = if let Ok(arrived) = soon {
            arrived
        } else {
            tell.send_replace(Progress::Slow);
            arrival.await
        };
        let bytes = match &arrived {
            Ok(Chunk::InMemory(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        if matches!(arrived, Err(Failed::Gone)) {
            // Nor after a restart, when what is here of it might be read again.
            object.end();
            let (store, id) = (Store(Arc::clone(self)), object.id);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.withdraw(id) {
                    tracing::warn!(%error, "a version that is gone can't be struck out");
                }
            });
        }
        tell.send_replace(Progress::Done(arrived));
        // Those who come while it is written are answered from memory.
        if let Some(bytes) = bytes {
            self.keep(object, index, bytes).await;
        }
    }

    /// From the disk, where an earlier start left it whole; else from its keeper.
    async fn arrive(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Chunk, Failed> {
        let _place = match place {
            Some(place) => place,
            None => Arc::clone(&self.places)
                .acquire_owned()
                .await
                .map_err(|_| Failed::Later)?,
        };
        let (key, length) = (object.key(index), object.chunk_length(index));
        if self.index.lock().unchecked.contains(&key) {
            let shared = Arc::clone(self);
            let checked = tokio::task::spawn_blocking(move || shared.check(&key, length));
            if let Ok(Some(file)) = checked.await {
                return Ok(Chunk::OnDisk(file));
            }
        }
        let keeper = self
            .keepers
            .get(&object.offer.upstream)
            .ok_or(Failed::Gone)?;
        let start = index * object.chunk_bytes;
        let fetch = keeper
            .upstream
            .fetch(&object.offer.version, start..start + length);
        let late = |_| {
            let after = Duration::from_secs(1);
            Err(Error::new(ErrorKind::Retry { after }, "no answer in time"))
        };
        let fetched = tokio::time::timeout(self.options.deadline, fetch).await;
        let failed = match fetched.unwrap_or_else(late) {
            Ok(bytes) if bytes.len() as u64 == length => {
                keeper.demand.fetched_bytes.fetch_add(length, Relaxed);
                return Ok(Chunk::InMemory(bytes));
            }
            Ok(_) => Error::new(
                ErrorKind::Broken,
                "another number of bytes came than was asked for",
            ),
            Err(error) => error,
        };
        self.counters.failed_fetches.fetch_add(1, Relaxed);
        tracing::debug!(error = %failed, upstream = object.offer.upstream, "a chunk didn't come");
        Err(match failed.kind {
            ErrorKind::Retry { .. } => Failed::Later,
            ErrorKind::Gone => Failed::Gone,
            _ => Failed::Broken,
        })
    }

    fn check(&self, key: &Key, length: u64) -> Option<Arc<File>> {
        let found = self
            .folder
            .open_chunk(key)
            .and_then(|file| Ok(disk::fits(&file, key, length)?.then_some(file)));
        if let Ok(Some(file)) = found {
            self.index.lock().unchecked.remove(key);
            let file = Arc::new(file);
            self.open.insert(*key, Arc::clone(&file));
            return Some(file);
        }
        self.counters.damaged.fetch_add(1, Relaxed);
        self.discard(key);
        None
    }

    /// Writes what was fetched. Where that fails it is fetched again for the next one.
    async fn keep(self: &Arc<Self>, object: &Arc<Held>, index: u64, bytes: Bytes) {
        let shared = Arc::clone(self);
        let object = Arc::clone(object);
        let kept = tokio::task::spawn_blocking(move || {
            let key = object.key(index);
            if !shared.make_room(&key, disk::file_bytes(bytes.len() as u64)) {
                return;
            }
            match shared.folder.write(&key, &bytes) {
                Ok(file) => {
                    shared.open.insert(key, Arc::new(file));
                    let still_wanted = {
                        let mut index = shared.index.lock();
                        index.unchecked.remove(&key);
                        index.shelf.contains(&key)
                    };
                    if !still_wanted {
                        shared.unlink(&key);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a chunk can't be kept");
                    shared.forget(&key);
                    shared.counters.unwritten.fetch_add(1, Relaxed);
                }
            }
            // Withdrawn meanwhile: whoever did that may have looked before it was here.
            if object.is_gone() {
                shared.discard(&key);
            }
        });
        if kept.await.is_err() {
            tracing::error!("the writing of a chunk died");
        }
    }

    /// Whether there is any for a chunk so large. Until its file is written it counts as unchecked:
    /// nothing to be believed.
    fn make_room(&self, key: &Key, bytes: u64) -> bool {
        let now = self.now_millis();
        let mut index = self.index.lock();
        let Some(out) = index.shelf.insert(*key, bytes, now) else {
            return false;
        };
        index.unchecked.insert(*key);
        for gone in &out {
            index.unchecked.remove(gone);
        }
        drop(index);
        for gone in out {
            self.counters.evictions.fetch_add(1, Relaxed);
            self.unlink(&gone);
        }
        true
    }

    pub(super) fn forget(&self, key: &Key) {
        let mut index = self.index.lock();
        index.shelf.remove(key);
        index.unchecked.remove(key);
        drop(index);
        self.open.remove(key);
    }

    /// Who reads it at this moment has the file open, and reads on.
    fn unlink(&self, key: &Key) {
        self.open.remove(key);
        if let Err(error) = self.folder.remove(key) {
            tracing::warn!(%error, "a chunk can't be removed");
        }
    }

    pub(super) fn discard(&self, key: &Key) {
        self.forget(key);
        self.unlink(key);
    }

    /// Ends a version, and gives back what its chunks took.
    pub(super) fn end(self: &Arc<Self>, id: ObjectId) {
        let Some(held) = self.index.lock().objects.remove(&id) else {
            return;
        };
        held.end();
        let shared = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            for index in 0..held.chunks() {
                let key = held.key(index);
                if shared.index.lock().shelf.contains(&key) {
                    shared.discard(&key);
                }
            }
        });
    }
}

/// Ends a flight, also one whose task dies: the next one who asks begins another.
struct Landing {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.index.lock().flights.remove(&self.key);
    }
}
