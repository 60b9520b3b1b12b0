//! Changes of a node that is there: bytes, size, attributes, extended attributes.
//!
//! Bytes go to the file's spool; a durable write, a COMMIT and a new size send it up before they answer.
//! An upload goes on when its caller's deadline has passed, and the next COMMIT waits for it.
//! Attributes of a file that isn't under change are replaced by a copy of the object onto itself, pinned
//! to the version that was looked at.
//!
//! Never here: names.

use crate::bucket::{If, Object};
use crate::failure::{come_again, of_disk};
use crate::key::Kind;
use crate::meta::{self, Metadata, TOKEN};
use crate::mirror::{At, Mirror, gone, looks_of_marker, says_something};
use crate::parts;
use crate::spool::{Spool, Turn, later_than};
use crate::uploads::Upload;
use crate::work::died;
use backend::tree::{NodeChanges, NodeKind, NodeStat, TreeError, TreeErrorKind, Unsent};
use backend::{Stability, Written};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Of one WRITE.
pub(crate) const WRITE_BYTES: u32 = 1 << 20;
/// Tries against others who change the same object, before the caller is asked to come again.
const TRIES: usize = 4;
const COPIES_AT_ONCE: usize = 4;
/// Files under change: each has a descriptor.
const SPOOLS_MOST: usize = 1024;
/// Of the parts by which a large object is copied where it is.
const COPY_PART_BYTES: u64 = 1 << 30;

impl Mirror {
    /// The file's spool, and the right to change it.
    pub(crate) async fn spool(
        &self,
        id: u64,
    ) -> Result<(Arc<Spool>, OwnedMutexGuard<Turn>), TreeError> {
        loop {
            let spool = {
                let mut spools = self.spools.lock();
                let path = self.state.join("spool").join(id.to_string());
                let spool = spools
                    .entry(id)
                    .or_insert_with(|| Arc::new(Spool::new(id, path, Arc::clone(&self.fill))));
                Arc::clone(spool)
            };
            let turn = Arc::clone(&spool.turn).lock_owned().await;
            if !turn.over {
                return Ok((spool, turn));
            }
        }
    }

    /// The spool, begun with the version that is in the bucket. `meant`: the one that is to be changed.
    async fn begun(
        &self,
        at: &At,
        meant: Option<Arc<str>>,
    ) -> Result<(Arc<Spool>, OwnedMutexGuard<Turn>), TreeError> {
        if at.kind == Kind::Folder {
            return Err(TreeError::new(
                TreeErrorKind::IsFolder,
                "a folder has no bytes",
            ));
        }
        let (spool, mut turn) = self.spool(at.id).await?;
        if spool.is_begun() {
            return Ok((spool, turn));
        }
        let begun = match self.begin(at, &spool, meant).await {
            // Nobody reads what was, once somebody has been told that he wrote.
            Ok(()) => self.withdraw(at.id).await,
            Err(error) => Err(error),
        };
        match begun {
            Ok(()) => Ok((spool, turn)),
            Err(error) => {
                self.close(&spool, &mut turn, None);
                Err(error)
            }
        }
    }

    /// The version that a writer means: the one that an earlier start had begun to change and lost, which clients send
    /// again; else the one that was seen last.
    fn meant_by(&self, id: u64) -> Option<Arc<str>> {
        let lost = self.meant.lock().get(&id).cloned();
        lost.or_else(|| self.pins.get(&id))
    }

    async fn begin(
        &self,
        at: &At,
        spool: &Arc<Spool>,
        meant: Option<Arc<str>>,
    ) -> Result<(), TreeError> {
        if let Some(kept) = &self.kept {
            let row = kept.row(at.id)?.ok_or_else(gone)?;
            let (into, token) = (Arc::clone(spool), self.token());
            return on_disk(move || into.open(row.version(), row.base, token)).await;
        }
        let object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
        let kind = meta::attributes(&object.meta, &self.defaults, false).kind;
        if kind != NodeKind::Regular {
            return Err(TreeError::new(TreeErrorKind::Invalid, "not a regular file"));
        }
        let is_ours = self.is_own(&object.meta);
        let another = meant.filter(|meant| !is_ours && **meant != *object.etag);
        let (spool, token) = (Arc::clone(spool), self.token());
        on_disk(move || match another {
            None => spool.begin(object, token),
            Some(meant) => spool.begin_in_vain(object, &meant),
        })
        .await
    }

    pub(crate) fn too_large(&self) -> TreeError {
        TreeError::new(
            TreeErrorKind::TooLarge,
            format!("a file has {} bytes at most here", self.largest_file_bytes),
        )
    }

    pub(crate) async fn write(
        self: &Arc<Self>,
        at: At,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        self.writable()?;
        let data = data.slice(..data.len().min(WRITE_BYTES as usize));
        let count = data.len() as u32;
        let fits = offset
            .checked_add(u64::from(count))
            .is_some_and(|end| end <= self.largest_file_bytes);
        if !fits {
            return Err(self.too_large());
        }
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            let (spool, mut turn) = mirror.with_room(&at, u64::from(count)).await?;
            if count != 0 {
                let into = Arc::clone(&spool);
                on_disk(move || into.write(offset, &data)).await?;
            }
            let durable = stability == Stability::Durable;
            if durable || !spool.is_dirty() {
                mirror.upload(&spool, &mut turn).await?;
            }
            Ok(Written {
                count,
                durable,
                verifier: mirror.verifier,
            })
        }))
        .await
    }

    /// The file's spool, begun, once `count` bytes more fit into this host's share of the disk. What fills it goes up:
    /// the file itself as far as it was written, so that one may be larger than the share; else who waits longest.
    async fn with_room(
        self: &Arc<Self>,
        at: &At,
        count: u64,
    ) -> Result<(Arc<Spool>, OwnedMutexGuard<Turn>), TreeError> {
        loop {
            // Of what was seen last: with the bytes of another version these would be mixed.
            let meant = self.meant_by(at.id);
            let (spool, mut turn) = self.begun(at, meant).await?;
            if self.has_room(count) {
                return Ok((spool, turn));
            }
            if spool.is_dirty() {
                self.upload(&spool, &mut turn).await?;
                continue;
            }
            let Some(oldest) = self.longest_unsent() else {
                return Ok((spool, turn));
            };
            self.close(&spool, &mut turn, None);
            if !self.relieving.swap(true, Relaxed) {
                let mirror = Arc::clone(self);
                self.task(async move {
                    let _names = mirror.names.read().await;
                    let settled = mirror.settle_later(oldest).await;
                    mirror.relieving.store(false, Relaxed);
                    settled
                });
            }
            return Err(come_again(
                "the share of this host's disk for what is written is full, and is being sent up",
            ));
        }
    }

    fn has_room(&self, count: u64) -> bool {
        self.fill.bytes().saturating_add(count) <= self.spool_bytes
            && self.spools.lock().len() <= SPOOLS_MOST
    }

    pub(crate) fn unsent(&self) -> Unsent {
        let spools = self.spools.lock();
        let waiting = spools.values().filter_map(|spool| spool.unsent());
        let now = meta::now();
        waiting.fold(Unsent::default(), |all, (bytes, since)| {
            let waits = Duration::from_nanos(now.saturating_sub(since).max(0) as u64);
            Unsent {
                files: all.files + 1,
                bytes: all.bytes + bytes,
                oldest: all.oldest.max(waits),
            }
        })
    }

    fn longest_unsent(&self) -> Option<u64> {
        let spools = self.spools.lock();
        let waiting = spools.values().filter_map(|spool| {
            let (_, since) = spool.unsent()?;
            Some((since, spool.id))
        });
        waiting.min().map(|(_, id)| id)
    }

    /// Sends up what nobody has asked for yet. Who is at it, and whoever lost it, is told by his COMMIT.
    async fn settle_later(&self, id: u64) -> Result<(), TreeError> {
        let spool = self.spools.lock().get(&id).cloned();
        let Some(spool) = spool else {
            return Ok(());
        };
        let mut turn = spool.turn.lock().await;
        let sent = self.upload(&spool, &mut turn).await;
        if let Err(error) = &sent {
            tracing::warn!("a file that waits to be sent up can't be: {error}");
        }
        sent
    }

    pub(crate) async fn commit(self: &Arc<Self>, at: At) -> Result<(), TreeError> {
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            mirror.settle(at.id).await
        }))
        .await
    }

    /// Sends up what is under change of a file. The caller keeps folders from being renamed meanwhile.
    pub(crate) async fn settle(&self, id: u64) -> Result<(), TreeError> {
        let spool = self.spools.lock().get(&id).cloned();
        let settled = match spool {
            None => Ok(()),
            Some(spool) => {
                let mut turn = spool.turn.lock().await;
                self.upload(&spool, &mut turn).await
            }
        };
        match self.lost.take(id) {
            None => settled,
            Some(lost) => Err(lost),
        }
    }

    pub(crate) async fn set(
        self: &Arc<Self>,
        at: At,
        changes: NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        self.writable()?;
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            if at.kind == Kind::Folder {
                if changes.size.is_some() {
                    return Err(TreeError::new(
                        TreeErrorKind::IsFolder,
                        "a folder has no size",
                    ));
                }
                let defaults = mirror.defaults;
                mirror
                    .set_folder(&at, |meta, modified| {
                        meta::apply(meta, &changes, &defaults, true, modified);
                        Ok(())
                    })
                    .await?;
                return mirror.stat_of(&at).await;
            }
            mirror.set_file(&at, &changes).await?;
            mirror.stat_of(&at).await
        }))
        .await
    }

    pub(crate) async fn set_file(&self, at: &At, changes: &NodeChanges) -> Result<(), TreeError> {
        let Some(size) = changes.size else {
            let defaults = self.defaults;
            return self
                .set_meta(at, |meta, modified| {
                    meta::apply(meta, changes, &defaults, false, modified);
                    Ok(())
                })
                .await;
        };
        if size > self.largest_file_bytes {
            return Err(self.too_large());
        }
        // Nothing is mixed with what is cut to nothing.
        let meant = (size > 0).then(|| self.meant.lock().get(&at.id).cloned());
        let (spool, mut turn) = self.begun(at, meant.flatten()).await?;
        let into = Arc::clone(&spool);
        on_disk(move || into.set_size(size)).await?;
        spool.set_meta(|meta| {
            let written = meta::mtime(meta).unwrap_or_default();
            meta::apply(meta, changes, &self.defaults, false, written);
        });
        self.upload(&spool, &mut turn).await
    }

    /// Changes a file's metadata alone. `apply` is given the time of the version, for what doesn't say.
    pub(crate) async fn set_meta(
        &self,
        at: &At,
        apply: impl Fn(&mut Metadata, backend::Nanos) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let (spool, mut turn) = self.spool(at.id).await?;
        let set = self.set_meta_in_turn(at, &spool, &mut turn, apply).await;
        self.done(&spool, &mut turn);
        set
    }

    async fn set_meta_in_turn(
        &self,
        at: &At,
        spool: &Arc<Spool>,
        turn: &mut Turn,
        apply: impl Fn(&mut Metadata, backend::Nanos) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        if let Some(object) = spool.object() {
            let mut meta = object.meta;
            apply(&mut meta, object.modified)?;
            spool.set_meta(|there| *there = meta);
            return self.upload(spool, turn).await;
        }
        for _ in 0..TRIES {
            let mut object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
            let ctime = later_than(&object.meta);
            apply(&mut object.meta, object.modified)?;
            meta::put_ctime(&mut object.meta, ctime);
            object.meta.insert(TOKEN.into(), self.token());
            match self.replace_meta(&at.key, &object).await {
                Ok(etag) => {
                    self.pins.insert(at.id, etag.as_str().into());
                    return Ok(());
                }
                // Not about bytes: what was asked holds of the other version as well.
                Err(error) if error.kind == TreeErrorKind::Conflict => {
                    let there = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
                    if there.meta.get(TOKEN) == object.meta.get(TOKEN) {
                        self.pins.insert(at.id, there.etag.as_str().into());
                        return Ok(());
                    }
                }
                Err(error) if error.kind == TreeErrorKind::NoEntry => return Err(gone()),
                Err(error) => return Err(error),
            }
        }
        Err(come_again(format!("{:?} changes all the time", at.key)))
    }

    async fn replace_meta(&self, key: &str, object: &Object) -> Result<String, TreeError> {
        if object.size <= parts::COPY_BYTES {
            let replace = Some((&object.meta, &object.dress));
            return self.bucket.copy(key, &object.etag, key, replace).await;
        }
        self.copy_large(key, object, key, If::Same(&object.etag))
            .await
    }

    /// A copy of more than one request can copy, with the object's metadata as given.
    pub(crate) async fn copy_large(
        &self,
        from: &str,
        object: &Object,
        to: &str,
        condition: If<'_>,
    ) -> Result<String, TreeError> {
        let upload = Upload::begin(self, to, &object.meta, &object.dress).await?;
        let part_bytes = parts::part_bytes(object.size, COPY_PART_BYTES);
        let (id, source) = (&upload.id, (from, object.etag.as_str()));
        let parts = parts::cut(object.size, part_bytes)
            .map(|(number, range)| self.bucket.copy_part(to, id, number, source, range));
        let sent: Result<Vec<_>, TreeError> = stream::iter(parts)
            .buffer_unordered(COPIES_AT_ONCE)
            .try_collect()
            .await;
        upload.end(self, to, sent, condition).await
    }

    /// Changes a folder's attributes, which makes its marker if it has none.
    pub(crate) async fn set_folder(
        &self,
        at: &At,
        apply: impl Fn(&mut Metadata, backend::Nanos) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        if at.key.is_empty() {
            return Err(TreeError::new(
                TreeErrorKind::Unsupported,
                "a whole bucket's own attributes have no place in it",
            ));
        }
        for _ in 0..TRIES {
            let stat = self.stat_of(at).await?;
            let marker = self.bucket.head(&at.key).await?;
            let was = looks_of_marker(marker.as_ref().map(|marker| &marker.meta));
            let mut meta = self.folder_meta(at.id, marker.as_ref())?.into_owned();
            // What is shown now stays so, where it isn't what is asked for.
            meta::put_times(&mut meta, stat.mtime, stat.ctime);
            apply(&mut meta, stat.mtime)?;
            meta::put_ctime(&mut meta, meta::now().max(stat.ctime + 1));
            let condition = match &marker {
                None => If::Absent,
                Some(marker) => If::Same(&marker.etag),
            };
            match self.put_marker(&at.key, meta.clone(), condition).await {
                Ok(()) => {
                    let there = match marker {
                        // A bucket that kept what it said before keeps this too.
                        Some(before) if says_something(&before.meta) => Some(Object {
                            meta: meta.clone(),
                            ..before
                        }),
                        _ => self.bucket.head(&at.key).await?,
                    };
                    self.keep_folder_meta(at.id, &meta, there.as_ref()).await?;
                    let looks = was ^ looks_of_marker(there.as_ref().map(|there| &there.meta));
                    let id = at.id;
                    self.store(move |ids| ids.touch(id, false, looks)).await?;
                    return Ok(());
                }
                Err(error) if error.kind == TreeErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(come_again(format!("{:?} changes all the time", at.key)))
    }
}

pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, TreeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| died(&error))?
        .map_err(|error| of_disk("the spool", &error))
}
