//! Where a chunk is: in memory or on its way there, on the disk, or off it again.
//!
//! Never here: what readers ask for.

use super::arriving::Progress;
use super::flight::Flight;
use super::{Failed, Held, Shared, Whereabouts};
use crate::disk::{self, Key};
use crate::ledger::ObjectId;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::{OwnedSemaphorePermit, watch};

impl Shared {
    fn now_millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub(super) fn look(&self, key: &Key) -> Whereabouts {
        let now = self.now_millis();
        let mut index = self.index.lock();
        let here = index.shelf.touch(key, now) && !index.unchecked.contains(key);
        if let Some(progress) = index.flights.get(key) {
            return Whereabouts::Memory(progress.clone());
        }
        if here {
            Whereabouts::Disk
        } else {
            Whereabouts::Keeper
        }
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
        let (tell, progress) = watch::channel(Progress::default());
        inner.flights.insert(key, progress.clone());
        drop(inner);
        let flight = Flight::new(self, object, index, tell);
        self.runtime.spawn(flight.go(place));
        Some((progress, false))
    }

    pub(super) fn check(&self, key: &Key, length: u64) -> Option<Arc<File>> {
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

    /// Whether there is any for a chunk so large. Until its file is written it counts as unchecked:
    /// nothing to be believed.
    pub(super) fn make_room(&self, key: &Key, bytes: u64) -> bool {
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
    pub(super) fn unlink(&self, key: &Key) {
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
