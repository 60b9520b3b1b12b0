//! What calls on a data object do. Bytes that are written, and how they get to the bucket, are as of a tree's file.
//!
//! Never here: errors as a data server's callers know them.

use super::kept::{Kept, Row};
use super::late::Late;
use crate::bucket::{Got, Object};
use crate::change::on_disk;
use crate::failure::come_again;
use crate::key::Kind;
use crate::meta;
use crate::mirror::{At, Mirror, gone};
use crate::spool::{Content, Spool, Turn};
use backend::tree::{TreeError, TreeErrorKind};
use backend::upstream::Version;
use backend::{Fetched, Nanos, ObjectStat};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use std::sync::Arc;

/// The key of an object below the bucket's prefix. The last digits are drawn at random, so that keys are spread
/// over 256 folders: a bucket's servers share the work by the beginnings of keys.
pub(super) fn key_of(object: ObjectId) -> String {
    format!("{:02x}/{object}", object.0 as u8)
}

fn broken(detail: String) -> TreeError {
    TreeError::new(TreeErrorKind::Broken, detail)
}

impl Mirror {
    pub(super) fn kept(&self) -> Result<&Kept, TreeError> {
        let kept = self.kept.as_ref();
        kept.ok_or_else(|| broken("a tree keeps no data objects".into()))
    }

    fn object_key(&self, object: ObjectId) -> String {
        format!("{}{}", self.prefix, key_of(object))
    }

    pub(crate) fn at_object(&self, kept: &Kept, id: u64) -> Result<Option<At>, TreeError> {
        Ok(kept.row(id)?.map(|row| At {
            id,
            kind: Kind::File,
            key: self.object_key(row.object),
        }))
    }

    /// Gives a spool back, which was taken for its turn alone, unless something waits in it.
    pub(crate) fn done(&self, spool: &Arc<Spool>, turn: &mut Turn) {
        if !turn.over && !spool.is_dirty() {
            self.close(spool, turn, None);
        }
    }

    pub(super) async fn make_object(
        self: &Arc<Self>,
        object: ObjectId,
        owner: Owner,
    ) -> Result<Bytes, TreeError> {
        let mirror = Arc::clone(self);
        let made = self.carried_out(Box::pin(async move {
            let kept = mirror.kept()?;
            loop {
                if mirror.awaited.has(object) {
                    return Err(come_again("an object of that id is still being removed"));
                }
                let (id, new) = kept.add(Row::new(object, owner)).await?;
                if new || mirror.empty_object(id, owner).await? {
                    return Ok(id);
                }
            }
        }));
        Ok(self.handle(made.await?))
    }

    /// Whether it is still there.
    async fn empty_object(&self, id: u64, owner: Owner) -> Result<bool, TreeError> {
        let (spool, mut turn) = self.spool(id).await?;
        self.withdraw(id).await?;
        let emptied = self.kept()?.change(id, move |row| {
            row.owner = owner;
            row.cut_or_grow(0);
        });
        let emptied = emptied.await?.is_some();
        drop(self.lost.take(id));
        self.close(&spool, &mut turn, None);
        Ok(emptied)
    }

    pub(super) fn stat_of_kept(&self, id: u64) -> Result<ObjectStat, TreeError> {
        // Looked at first: what it had is in the row by the time that it is closed.
        let spool = self.spools.lock().get(&id).cloned();
        let changed = spool.and_then(|spool| spool.object());
        let row = self.kept()?.row(id)?.ok_or_else(gone)?;
        let (size, mtime, ctime) = match &changed {
            Some(object) => (
                object.size,
                meta::mtime(&object.meta).unwrap_or(row.mtime.into()),
                meta::ctime(&object.meta).unwrap_or(row.ctime.into()),
            ),
            None => (row.size, row.mtime.into(), row.ctime.into()),
        };
        Ok(ObjectStat {
            owner: row.owner,
            size,
            used: size.next_multiple_of(512),
            mtime,
            ctime,
            atime: mtime,
        })
    }

    pub(super) async fn own_object(&self, id: u64, owner: Owner) -> Result<(), TreeError> {
        let changed = self.kept()?.change(id, move |row| {
            row.owner = owner;
            row.ctime = (meta::now() as u64).max(row.ctime + 1);
        });
        changed.await?.map(drop).ok_or_else(gone)
    }

    /// `grow`: never shortens it.
    pub(super) async fn size_object(
        self: &Arc<Self>,
        id: u64,
        size: u64,
        grow: bool,
    ) -> Result<ObjectStat, TreeError> {
        if size > self.largest_file_bytes {
            return Err(self.too_large());
        }
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let (spool, mut turn) = mirror.spool(id).await?;
            let sized = mirror.size_in_turn(id, &spool, size, grow).await;
            mirror.done(&spool, &mut turn);
            sized?;
            mirror.stat_of_kept(id)
        }))
        .await
    }

    async fn size_in_turn(
        &self,
        id: u64,
        spool: &Arc<Spool>,
        size: u64,
        grow: bool,
    ) -> Result<(), TreeError> {
        let row = self.kept()?.row(id)?.ok_or_else(gone)?;
        if !(grow && row.size >= size) {
            self.withdraw(id).await?;
            let changed = self.kept()?.change(id, move |row| row.cut_or_grow(size));
            changed.await?.ok_or_else(gone)?;
        }
        // What waits to be sent up is cut too.
        let changed = spool.object().map(|object| object.size);
        if changed.is_some_and(|there| there < size || (there > size && !grow)) {
            let into = Arc::clone(spool);
            on_disk(move || into.set_size(size)).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_object(self: &Arc<Self>, object: ObjectId) -> Result<(), TreeError> {
        let Some(id) = self.kept()?.number(object)? else {
            return Ok(());
        };
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let (spool, mut turn) = mirror.spool(id).await?;
            let removed = mirror.remove_in_turn(id).await;
            match removed {
                Ok(()) => mirror.close(&spool, &mut turn, None),
                Err(_) => mirror.done(&spool, &mut turn),
            }
            removed
        }))
        .await
    }

    async fn remove_in_turn(self: &Arc<Self>, id: u64) -> Result<(), TreeError> {
        let kept = self.kept()?;
        let Some(row) = kept.row(id)? else {
            return Ok(());
        };
        self.withdraw(id).await?;
        let key = self.object_key(row.object);
        if row.begun {
            self.bucket.delete(&key).await?;
        }
        if row.begun && row.etag.is_empty() {
            let late = Late {
                object: row.object,
                key,
            };
            let bytes = late.to_bytes();
            let intent = self.store(move |ids| ids.add_intent(&bytes)).await?;
            self.delete_late(intent, late);
        }
        kept.forget(id).await?;
        drop(self.lost.take(id));
        Ok(())
    }

    /// Of an object that isn't under change. `None`: it was, or another version is there by now.
    pub(crate) async fn read_kept(
        &self,
        at: &At,
        offset: u64,
        count: u32,
    ) -> Result<Option<Fetched>, TreeError> {
        let row = self.kept()?.row(at.id)?.ok_or_else(gone)?;
        let end = offset.saturating_add(count.into()).min(row.size);
        if offset >= end {
            return Ok(Some(Fetched {
                data: Bytes::new(),
                at_end: offset >= row.size,
            }));
        }
        if offset >= row.base {
            return Ok(Some(Fetched {
                data: vec![0; (end - offset) as usize].into(),
                at_end: end == row.size,
            }));
        }
        let end = end.min(row.base);
        match self.bucket.get(&at.key, offset..end, Some(&row.etag)).await {
            Ok(Some(Got { data, etag, .. }))
                if etag == row.etag && data.len() as u64 == end - offset =>
            {
                Ok(Some(Fetched {
                    data,
                    at_end: end == row.size,
                }))
            }
            // Another version, or none, also of a server that doesn't honour the condition of a read.
            Ok(_) => self.look_again(at, &row.etag).await.map(|()| None),
            Err(error)
                if matches!(error.kind, TreeErrorKind::Conflict | TreeErrorKind::NoEntry) =>
            {
                self.look_again(at, &row.etag).await.map(|()| None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the version that the object rests on isn't there: it was replaced by our own hand meanwhile, or it can't
    /// be read any more.
    pub(crate) async fn look_again(&self, at: &At, etag: &str) -> Result<(), TreeError> {
        let mirror = self.this.upgrade().ok_or_else(gone)?;
        let (at, etag) = (at.clone(), etag.to_owned());
        self.carried_out(Box::pin(async move {
            let (spool, mut turn) = mirror.spool(at.id).await?;
            let looked = mirror.look_in_turn(&at, &spool, &etag).await;
            mirror.done(&spool, &mut turn);
            looked
        }))
        .await
    }

    /// The version that has all of the object's bytes. That it is offered is noted from now on.
    pub(crate) async fn noted_version(
        &self,
        at: &At,
    ) -> Result<Option<(Version, Nanos)>, TreeError> {
        let row = self.kept()?.row(at.id)?.ok_or_else(gone)?;
        let Some(version) = row.exact(&at.key) else {
            return Ok(None);
        };
        if !row.offered {
            let noted = self.kept()?.change(at.id, |row| row.offered = true).await?;
            noted.ok_or_else(gone)?;
        }
        Ok(Some((version, row.mtime.into())))
    }

    /// What clients may have been told to read of an object, by an earlier start as well.
    pub(crate) fn offered_before(&self, id: u64) -> Result<Option<Version>, TreeError> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let row = kept.row(id)?.filter(|row| row.offered);
        Ok(row.map(|row| row.known(&self.object_key(row.object))))
    }

    async fn look_in_turn(&self, at: &At, spool: &Arc<Spool>, etag: &str) -> Result<(), TreeError> {
        let kept = self.kept()?;
        let row = kept.row(at.id)?.ok_or_else(gone)?;
        let rests_on = spool.content().map(|content| content.object.etag);
        if rests_on.as_ref().unwrap_or(&row.etag) != etag {
            return Ok(());
        }
        let Some(there) = self.bucket.head(&at.key).await? else {
            return Err(broken(format!(
                "{}: {:?} isn't there any more, and not by this server's hand. Bring that key back as it was, or \
                 remove the file",
                self.bucket.who, at.key
            )));
        };
        if there.etag == etag {
            return Ok(());
        }
        if !self.came_late(at.id, &there)? {
            return Err(broken(format!(
                "{}: somebody else put another object in the place of {:?}, which is this server's alone. Bring the \
                 version {etag} back, or remove the file",
                self.bucket.who, at.key
            )));
        }
        self.withdraw(at.id).await?;
        let (arrived, put) = (there.etag.clone(), time_of(&there));
        kept.change(at.id, move |row| {
            row.whole = there.size;
            row.offered = false;
            row.base = row.base.min(there.size);
            row.etag = arrived;
            row.put = put;
            row.ctime = row.ctime.max(put);
        })
        .await?;
        spool.rest_on(there.etag);
        Ok(())
    }

    /// Whether a version is of our own hand and newer than the one that the object is known to have: an upload whose
    /// answer nobody got. Of what it brought nobody was told that it is safe, so it may count or not.
    pub(crate) fn came_late(&self, id: u64, there: &Object) -> Result<bool, TreeError> {
        let Some(kept) = &self.kept else {
            return Ok(false);
        };
        let row = kept.row(id)?.ok_or_else(gone)?;
        Ok(self.is_own(&there.meta) && time_of(there) > row.put)
    }

    /// Something may lie under the object's key from now on.
    pub(crate) async fn announce(&self, id: u64) -> Result<(), TreeError> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        if kept.row(id)?.ok_or_else(gone)?.begun {
            return Ok(());
        }
        let begun = kept.change(id, |row| row.begun = true).await?;
        begun.map(drop).ok_or_else(gone)
    }

    pub(crate) async fn note_arrival(
        &self,
        id: u64,
        content: &Content,
        etag: &str,
    ) -> Result<(), TreeError> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        if etag.is_empty() {
            let who = &self.bucket.who;
            return Err(broken(format!("{who} names no versions: no ETag came")));
        }
        let (object, etag) = (&content.object, etag.to_owned());
        let (size, ctime) = (object.size, time_of(object));
        let mtime = meta::mtime(&object.meta).map_or(ctime, |mtime| mtime as u64);
        let noted = kept.change(id, move |row| {
            row.etag = etag;
            row.put = ctime;
            (row.size, row.whole, row.base) = (size, size, size);
            row.offered = false;
            row.mtime = mtime;
            row.ctime = row.ctime.max(ctime);
        });
        noted.await?.map(drop).ok_or_else(gone)
    }
}

fn time_of(object: &Object) -> u64 {
    meta::ctime(&object.meta).map_or(0, |time| time as u64)
}
