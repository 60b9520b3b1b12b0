//! Inodes as they were read last, decoded, so that a look at one costs neither the engine nor the codec.
//!
//! None is shown that is older than what was acknowledged: the engine tells of each key that changes before the change
//! can be read, and what was read at an earlier version doesn't count from then on. Never part of a snapshot.

use crate::inode::{Inode, InodeId};
use crate::keys;
use crate::store::{Version, Watcher};
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kept at most: some 64 MB of files with a few objects each.
const INODES: usize = 1 << 17;
/// Inodes share these: a change of one lets the others of its place be read again.
const PLACES: usize = 1 << 16;

pub(crate) struct InodeCache {
    inodes: Cache<InodeId, (Version, Arc<Inode>)>,
    /// By place: the version up to which what was read is out of date.
    changed: Box<[AtomicU64]>,
}

impl InodeCache {
    pub(crate) fn new() -> Self {
        InodeCache {
            inodes: Cache::new(INODES),
            changed: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn changed(&self, id: InodeId) -> &AtomicU64 {
        // Numbers are given in turn: neighbours lie in different places.
        &self.changed[(id.number ^ id.home.rotate_left(7)) as usize % PLACES]
    }

    pub(crate) fn get(&self, id: InodeId) -> Option<Arc<Inode>> {
        let (version, inode) = self.inodes.get(&id)?;
        (version >= self.changed(id).load(Ordering::Acquire)).then_some(inode)
    }

    /// Keeps what was read at `version`.
    pub(crate) fn put(&self, version: Version, inode: &Arc<Inode>) {
        if version >= self.changed(inode.id).load(Ordering::Acquire) {
            self.inodes.insert(inode.id, (version, Arc::clone(inode)));
        }
    }
}

impl Watcher for InodeCache {
    fn changes(&self, key: &[u8], version: Version) {
        if let Some((id, _)) = keys::inode_part(key) {
            self.changed(id).fetch_max(version, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn inode(mode: u32) -> Arc<Inode> {
        let now = crate::Timestamp {
            seconds: 1,
            nanos: 0,
        };
        let mut inode = crate::catalog::root(&Options::new([0; 16], now));
        inode.mode = mode;
        Arc::new(inode)
    }

    fn seen(cache: &InodeCache) -> Option<u32> {
        cache.get(InodeId::ROOT).map(|inode| inode.mode)
    }

    #[test]
    fn what_was_read_before_a_change_is_not_shown_after_it_however_late_it_comes() {
        let cache = InodeCache::new();
        cache.put(4, &inode(0o700));
        assert_eq!(seen(&cache), Some(0o700));
        cache.changes(&keys::inode(InodeId::ROOT), 5);
        assert_eq!(seen(&cache), None);
        // Of a reader that took its snapshot before.
        cache.put(4, &inode(0o700));
        assert_eq!(seen(&cache), None);
        cache.put(5, &inode(0o755));
        assert_eq!(seen(&cache), Some(0o755));
    }

    #[test]
    fn a_folder_s_counters_are_part_of_it() {
        let cache = InodeCache::new();
        cache.put(1, &inode(0o700));
        cache.changes(&keys::hot_counters(InodeId::ROOT), 2);
        assert_eq!(seen(&cache), None);
    }
}
