//! Reading: one snapshot, seen alone by a [`Reader`], or through a transaction's own writes.
//! Never a write.

use crate::codec::{Bucket, ColdInode, Record};
use crate::core::Core;
use crate::error::Error;
use crate::hot::{HotCounters, hot_time, max_value, timestamp};
use crate::inode::{Counts, Entry, FileKind, Inode, InodeId};
use crate::keys::{self, InodePart};
use crate::overlay::{Overlay, Own};
use crate::store::{Direction, KeyRange, Page, Snapshot, StoreError, Version};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::OnceCell;

/// Rows that a scan asks for at once.
const SCAN_ROWS: usize = 1024;

/// Whether another's write to what is read makes the transaction conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    Conflict,
    Free,
}

/// One consistent view of what is committed. Taken at its first read. Cheap to make:
/// make a new one for each request, since an old one shows old data and may become unreadable.
pub struct Reader {
    pub(crate) core: Arc<Core>,
    snapshot: OnceCell<Arc<dyn Snapshot>>,
    /// Of a transaction.
    pub(crate) overlay: Option<Mutex<Overlay>>,
    /// The snapshot grew too old under the reads: a transaction begins again.
    too_old: AtomicBool,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Reader {
            core,
            snapshot: OnceCell::new(),
            overlay: None,
            too_old: AtomicBool::new(false),
        }
    }

    pub(crate) fn transactional(core: Arc<Core>) -> Self {
        Reader {
            core,
            snapshot: OnceCell::new(),
            overlay: Some(Mutex::default()),
            too_old: AtomicBool::new(false),
        }
    }

    async fn snapshot(&self) -> Result<&Arc<dyn Snapshot>, Error> {
        Ok(self
            .snapshot
            .get_or_try_init(|| self.core.store.snapshot())
            .await?)
    }

    fn noted(&self, error: StoreError) -> Error {
        if error == StoreError::TooOld {
            self.too_old.store(true, Ordering::Relaxed);
        }
        error.into()
    }

    pub(crate) fn is_too_old(&self) -> bool {
        self.too_old.load(Ordering::Relaxed)
    }

    /// Version that was read; `None` when nothing was.
    pub(crate) fn version(&self) -> Option<Version> {
        self.snapshot.get().map(|snapshot| snapshot.version())
    }

    pub(crate) async fn get(&self, key: &Bytes, guard: Guard) -> Result<Option<Bytes>, Error> {
        if let Some(overlay) = &self.overlay {
            let own = overlay.lock().read(key, guard);
            if let Own::Value(value) = own {
                return Ok(value);
            }
        }
        let below = self
            .snapshot()
            .await?
            .get(key)
            .await
            .map_err(|error| self.noted(error))?;
        Ok(match &self.overlay {
            None => below,
            Some(overlay) => overlay.lock().merged(key, below),
        })
    }

    pub(crate) async fn record<R: Record>(
        &self,
        key: &Bytes,
        guard: Guard,
    ) -> Result<Option<R>, Error> {
        match self.get(key, guard).await? {
            None => Ok(None),
            Some(bytes) => Ok(Some(R::decode(&bytes)?)),
        }
    }

    /// At most `limit` rows of the range, forward, and what is left of it.
    pub(crate) async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        guard: Guard,
    ) -> Result<Page, Error> {
        let page = self
            .snapshot()
            .await?
            .scan(range, Direction::Forward, limit)
            .await;
        let page = page.map_err(|error| self.noted(error))?;
        let Some(overlay) = &self.overlay else {
            return Ok(page);
        };
        Ok(overlay.lock().overlaid(range, page, limit, guard))
    }

    /// The first `limit` rows of a range, fewer only where it ends.
    pub(crate) async fn rows(
        &self,
        range: KeyRange,
        limit: usize,
        guard: Guard,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut rows = Vec::new();
        let mut rest = Some(range);
        while let Some(range) = rest.take_if(|_| rows.len() < limit) {
            let page = self
                .scan(&range, SCAN_ROWS.min(limit - rows.len()), guard)
                .await?;
            rows.extend(page.rows);
            rest = page.rest;
        }
        Ok(rows)
    }

    /// The last rows of a range, from its end on; of a snapshot alone, without a transaction's own writes.
    pub(crate) async fn last_rows(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let page = self
            .snapshot()
            .await?
            .scan(range, Direction::Backward, limit)
            .await;
        Ok(page.map_err(|error| self.noted(error))?.rows)
    }

    /// All rows of a range that is known to be short: intents, clients, data servers.
    pub(crate) async fn all(&self, range: KeyRange) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.rows(range, usize::MAX, Guard::Conflict).await
    }

    pub(crate) async fn cold(&self, id: InodeId) -> Result<ColdInode, Error> {
        let mut cold: ColdInode = self
            .record(&keys::inode(id), Guard::Conflict)
            .await?
            .ok_or(Error::Stale)?;
        cold.inode.id = id;
        Ok(cold)
    }

    pub(crate) async fn directory(&self, id: InodeId) -> Result<ColdInode, Error> {
        let cold = self.cold(id).await?;
        if cold.inode.kind == FileKind::Directory {
            Ok(cold)
        } else {
            Err(Error::NotDirectory)
        }
    }

    pub(crate) async fn with_hot(&self, cold: ColdInode) -> Result<Inode, Error> {
        if cold.inode.kind != FileKind::Directory {
            return Ok(cold.inode);
        }
        let counters = self
            .get(&keys::hot_counters(cold.inode.id), Guard::Free)
            .await?;
        let time = self
            .get(&keys::hot_time(cold.inode.id), Guard::Free)
            .await?;
        merged_directory(cold, counters.as_ref(), time.as_ref())
    }

    /// The inode; [`Error::Stale`] when it is gone.
    pub async fn inode(&self, id: InodeId) -> Result<Inode, Error> {
        let cold = self.cold(id).await?;
        self.with_hot(cold).await
    }

    pub(crate) async fn bucket(
        &self,
        directory: InodeId,
        name: &[u8],
    ) -> Result<(Bytes, u64, Bucket), Error> {
        let hash = self.core.names.of(name);
        let key = keys::entry(directory, hash);
        let bucket = self
            .record(&key, Guard::Conflict)
            .await?
            .unwrap_or_default();
        Ok((key, hash, bucket))
    }

    /// The entry of that name. Doesn't tell an absent directory from an empty one.
    pub async fn lookup(&self, directory: InodeId, name: &[u8]) -> Result<Option<Entry>, Error> {
        let (_, hash, bucket) = self.bucket(directory, name).await?;
        Ok(entry_of(&bucket, hash, name))
    }

    /// Entries with cookies above `after_cookie` (0: from the start), at most `limit`, and whether there
    /// are more. Entries made or removed meanwhile may be missed or seen; no other is, nor twice.
    pub async fn readdir(
        &self,
        directory: InodeId,
        after_cookie: u64,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), Error> {
        let limit = limit.max(1);
        let (first_hash, first_tiebreak) = keys::cookie_parts(after_cookie.saturating_add(1));
        let mut entries = Vec::with_capacity(limit.min(SCAN_ROWS));
        let mut rest = Some(keys::entries_from(directory, first_hash));
        while let Some(range) = rest {
            // One row more than is wanted tells whether there is more.
            let page = self
                .scan(&range, limit - entries.len() + 1, Guard::Free)
                .await?;
            for (key, value) in page.rows {
                let (_, hash) = keys::entry_parts(&key).ok_or_else(|| misplaced("an entry"))?;
                for named in Bucket::decode(&value)?.0 {
                    if hash == first_hash && named.tiebreak < first_tiebreak {
                        continue;
                    }
                    if entries.len() == limit {
                        return Ok((entries, true));
                    }
                    let cookie = keys::cookie(hash, named.tiebreak);
                    entries.push(Entry {
                        name: named.name,
                        id: named.id,
                        kind: named.kind,
                        cookie,
                    });
                }
            }
            rest = page.rest;
        }
        Ok((entries, false))
    }

    /// As [`Reader::readdir`], with each entry's inode. An inode that is gone though its entry is there
    /// can't be: both are of one snapshot.
    pub async fn readdir_plus(
        &self,
        directory: InodeId,
        after_cookie: u64,
        limit: usize,
    ) -> Result<(Vec<(Entry, Inode)>, bool), Error> {
        let (entries, more) = self.readdir(directory, after_cookie, limit).await?;
        let mut inodes = if after_cookie == 0 && !more {
            // The whole directory: its inodes lie side by side, unless it has lost or gained many by rename.
            self.inodes_of_home(directory, 2 * entries.len() + 16)
                .await?
        } else {
            HashMap::new()
        };
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let inode = match inodes.remove(&entry.id.number) {
                Some(inode) => inode,
                None => match self.inode(entry.id).await {
                    Err(Error::Stale) => {
                        return Err(Error::Corrupt(format!(
                            "an entry of {directory:?} names no inode"
                        )));
                    }
                    inode => inode?,
                },
            };
            rows.push((entry, inode));
        }
        Ok((rows, more))
    }

    /// Inodes born in a directory, at most about `limit`.
    async fn inodes_of_home(
        &self,
        home: InodeId,
        limit: usize,
    ) -> Result<HashMap<u64, Inode>, Error> {
        let mut inodes = HashMap::new();
        let page = self
            .scan(&keys::inodes_of_home(home.number), limit, Guard::Free)
            .await?;
        let mut rows = page.rows.into_iter().peekable();
        while let Some((key, value)) = rows.next() {
            let Some((id, InodePart::Cold)) = keys::inode_part(&key) else {
                continue;
            };
            let mut cold = ColdInode::decode(&value)?;
            cold.inode.id = id;
            if cold.inode.kind != FileKind::Directory {
                inodes.insert(id.number, cold.inode);
                continue;
            }
            let mut part = |wanted| {
                rows.next_if(|(key, _)| keys::inode_part(key) == Some((id, wanted)))
                    .map(|(_, value)| value)
            };
            let (counters, time) = (part(InodePart::Counters), part(InodePart::Time));
            // At the page's end the hot keys may be on the next: the caller reads this one by itself.
            if counters.is_some() && time.is_some() {
                inodes.insert(
                    id.number,
                    merged_directory(cold, counters.as_ref(), time.as_ref())?,
                );
            }
        }
        Ok(inodes)
    }

    /// Parent of a directory; `None` for the root.
    pub async fn parent_of(&self, directory: InodeId) -> Result<Option<InodeId>, Error> {
        Ok(self.directory(directory).await?.inode.parent)
    }

    /// Inodes without a name that nobody has reaped, in order, after `after`.
    pub async fn orphans(
        &self,
        after: Option<InodeId>,
        limit: usize,
    ) -> Result<Vec<InodeId>, Error> {
        let rows = self
            .rows(keys::orphans_after(after), limit, Guard::Free)
            .await?;
        rows.iter()
            .map(|(key, _)| keys::orphan_id(key).ok_or_else(|| misplaced("an orphan")))
            .collect()
    }

    pub async fn counts(&self) -> Result<Counts, Error> {
        let value = self
            .get(&Bytes::from_static(keys::COUNTS), Guard::Free)
            .await?;
        counts_of(value.as_ref())
    }
}

pub(crate) fn counts_of(value: Option<&Bytes>) -> Result<Counts, Error> {
    match value.map_or((&[][..], &[][..]), |value| value.as_chunks::<8>()) {
        ([], []) => Ok(Counts::default()),
        ([inodes, directories, dead_objects], []) => Ok(Counts {
            inodes: u64::from_le_bytes(*inodes),
            directories: u64::from_le_bytes(*directories),
            dead_objects: u64::from_le_bytes(*dead_objects),
        }),
        _ => Err(Error::Corrupt("the totals are not 24 bytes".into())),
    }
}

pub(crate) fn misplaced(what: &str) -> Error {
    Error::Corrupt(format!("{what} has a key that is none"))
}

pub(crate) fn entry_of(bucket: &Bucket, hash: u64, name: &[u8]) -> Option<Entry> {
    let named = bucket.0.iter().find(|named| named.name == name)?;
    let cookie = keys::cookie(hash, named.tiebreak);
    Some(Entry {
        name: named.name.clone(),
        id: named.id,
        kind: named.kind,
        cookie,
    })
}

/// A directory as readers see it.
pub(crate) fn merged_directory(
    cold: ColdInode,
    counters: Option<&Bytes>,
    time: Option<&Bytes>,
) -> Result<Inode, Error> {
    let counters = counters.ok_or_else(|| Error::Corrupt("a directory without counters".into()))?;
    let counters = HotCounters::from_bytes(counters)?;
    let last_change = max_value(time)?;
    let mut inode = cold.inode;
    inode.change = counters.change;
    inode.entries = counters.entries;
    inode.nlink = u32::try_from(counters.subdirectories.saturating_add(2)).unwrap_or(u32::MAX);
    if last_change > cold.times_mark {
        inode.mtime = timestamp(last_change);
    }
    if last_change > hot_time(inode.ctime) {
        inode.ctime = timestamp(last_change);
    }
    Ok(inode)
}
