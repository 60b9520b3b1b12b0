//! A chunk's way from its keeper into memory, to whoever waits for it, and onto the disk.
//!
//! Never here: who asks.

use super::arriving::{End, Filling, Progress};
use super::{Failed, Held, Shared, Store};
use crate::disk::{self, Key};
use backend::{Error, ErrorKind};
use buffers::Buffer;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// One chunk's, by a task of its own.
pub struct Flight {
    shared: Arc<Shared>,
    object: Arc<Held>,
    key: Key,
    tell: watch::Sender<Progress>,
    /// What it brought stays in memory for a moment.
    stays: bool,
}

enum Arrived {
    Checked(Arc<File>),
    /// The bytes themselves were told piece by piece.
    Fetched {
        /// Of the buffers that they are in.
        capacity: u64,
        /// The buffer that their file ends with.
        end: Buffer,
        place: OwnedSemaphorePermit,
    },
}

impl Flight {
    pub fn new(
        shared: &Arc<Shared>,
        object: &Arc<Held>,
        index: u64,
        tell: watch::Sender<Progress>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            object: Arc::clone(object),
            key: object.key(index),
            tell,
            stays: false,
        }
    }

    pub async fn go(self, place: Option<OwnedSemaphorePermit>) {
        let arrived = {
            let arrival = self.arrive(place);
            tokio::pin!(arrival);
            let soon = tokio::time::timeout(self.shared.options.patience, &mut arrival).await;
            if let Ok(arrived) = soon {
                arrived
            } else {
                self.tell.send_modify(|now| now.end = Some(End::Slow));
                arrival.await
            }
        };
        let end = match arrived {
            Ok(Arrived::Fetched {
                capacity,
                end,
                place,
            }) => {
                self.keep(end).await;
                // Only now: a disk that is slower than the keeper holds up fetches, and fills no memory.
                drop(place);
                self.stay(capacity);
                return;
            }
            Ok(Arrived::Checked(file)) => End::OnDisk(file),
            Err(failed) => End::Failed(failed),
        };
        if matches!(end, End::Failed(Failed::Gone)) {
            // Nor after a restart, when what is here of it might be read again.
            self.object.end();
            let (store, id) = (Store(Arc::clone(&self.shared)), self.object.id);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.withdraw(id) {
                    tracing::warn!(%error, "a version that is gone can't be struck out");
                }
            });
        }
        self.tell.send_modify(|now| now.end = Some(end));
    }

    /// From the disk, where an earlier start left it whole; else from its keeper.
    async fn arrive(&self, place: Option<OwnedSemaphorePermit>) -> Result<Arrived, Failed> {
        let (shared, object, key) = (&self.shared, &self.object, self.key);
        let place = match place {
            Some(place) => place,
            None => Arc::clone(&shared.places)
                .acquire_owned()
                .await
                .map_err(|_| Failed::Later)?,
        };
        let length = object.chunk_length(key.index);
        if shared.index.lock().unchecked.contains(&key) {
            let shared = Arc::clone(shared);
            let checked = tokio::task::spawn_blocking(move || shared.check(&key, length));
            if let Ok(Some(file)) = checked.await {
                return Ok(Arrived::Checked(file));
            }
        }
        let keeper = shared
            .keepers
            .get(&object.offer.upstream)
            .ok_or(Failed::Gone)?;
        let end = disk::room_for_end(&shared.pool, length).await;
        let mut filling = Filling::of(length, &shared.pool, &self.tell).await;
        let capacity = filling.capacity();
        let start = key.index * object.chunk_bytes;
        let range = start..start + length;
        let fetch = keeper
            .upstream
            .fetch(&object.offer.version, range, &mut filling);
        let late = |_| {
            let after = Duration::from_secs(1);
            Err(Error::new(ErrorKind::Retry { after }, "no answer in time"))
        };
        let fetched = tokio::time::timeout(shared.options.deadline, fetch).await;
        let failed = match fetched.unwrap_or_else(late) {
            Ok(()) if filling.is_whole() => {
                keeper.demand.fetched_bytes.fetch_add(length, Relaxed);
                return Ok(Arrived::Fetched {
                    capacity,
                    end,
                    place,
                });
            }
            Ok(()) => Error::new(ErrorKind::Broken, "fewer bytes came than were asked for"),
            Err(error) => error,
        };
        shared.counters.failed_fetches.fetch_add(1, Relaxed);
        tracing::debug!(error = %failed, upstream = object.offer.upstream, "a chunk didn't come");
        Err(match failed.kind {
            ErrorKind::Retry { .. } => Failed::Later,
            ErrorKind::Gone => Failed::Gone,
            _ => Failed::Broken,
        })
    }

    /// Writes what was fetched. Where that fails it is fetched again once it is no longer in memory.
    async fn keep(&self, mut end: Buffer) {
        let (shared, object, key) = (Arc::clone(&self.shared), Arc::clone(&self.object), self.key);
        let pieces = self.tell.borrow().pieces().to_vec();
        let kept = tokio::task::spawn_blocking(move || {
            let length = object.chunk_length(key.index);
            if !shared.make_room(&key, disk::file_bytes(length)) {
                return;
            }
            match shared.folder.write(&key, &pieces, &mut end) {
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

    fn stay(mut self, capacity: u64) {
        self.stays = true;
        let mut index = self.shared.index.lock();
        for gone in index.recent.push(self.key, capacity) {
            index.flights.remove(&gone);
        }
    }
}

/// Also of one whose task dies: the next one who asks begins another.
impl Drop for Flight {
    fn drop(&mut self) {
        if !self.stays {
            self.shared.index.lock().flights.remove(&self.key);
        }
    }
}
