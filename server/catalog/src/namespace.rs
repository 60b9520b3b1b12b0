//! The namespace's rules: create, link, remove, rename, and the attributes of an inode. Each is part of
//! the caller's transaction. Never permission, never a wire word: the caller has checked.

use crate::codec::{Bucket, ColdInode, Named};
use crate::error::Error;
use crate::hot::{HotCounters, hot_time};
use crate::inode::{
    DataStamp, Entry, FileKind, Inode, InodeId, LINKS_MAX, NAME_MAX_BYTES, NewInode, RemoveWhat,
    Removed, Renamed, Timestamp, XattrTotals,
};
use crate::keepers::same_keeper;
use crate::keys;
use crate::tx::Tx;
use crate::view::{Guard, entry_of};
use bytes::Bytes;
use layout::DataServerId;
use std::collections::BTreeSet;

/// Directories between one and the root; a longer way must be a ring.
const DEPTH_MAX: u32 = 1 << 20;

pub(crate) fn checked(name: &[u8]) -> Result<(), Error> {
    if (1..=NAME_MAX_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(Error::NameTooLong)
    }
}

/// Data servers that hold objects of the inode.
pub(crate) fn servers(inode: &Inode) -> BTreeSet<DataServerId> {
    let mirrors = inode.extents.iter().flat_map(|extent| &extent.mirrors);
    mirrors
        .flat_map(|mirror| &mirror.stripes)
        .map(|object| object.server)
        .collect()
}

/// What is made in `parent` at a moment, with its change attribute.
pub(crate) fn newborn(
    new: NewInode,
    id: InodeId,
    (now, change): (Timestamp, u64),
    parent: &Inode,
) -> Inode {
    let is_directory = new.kind == FileKind::Directory;
    Inode {
        id,
        kind: new.kind,
        mode: new.mode,
        uid: new.uid,
        gid: new.gid,
        nlink: if is_directory { 2 } else { 1 },
        size: new.target.as_ref().map_or(0, |target| target.len() as u64),
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        change,
        rdev: new.rdev,
        target: new.target,
        parent: is_directory.then_some(parent.id),
        size_epoch: 0,
        extents: new.extents,
        entries: 0,
        create_verifier: new.create_verifier,
        birth_epoch: 0,
        unscanned: false,
        keeper: parent.keeper,
        data_stamp: DataStamp::default(),
        used: 0,
        acl: new.acl,
        label: new.label,
        xattrs: XattrTotals::default(),
    }
}

impl Tx {
    /// Makes an inode and its entry. Creates in one directory don't conflict with each other: of the
    /// directory only the cold half is read, and the hot half is merged into.
    pub async fn create(
        &mut self,
        directory: InodeId,
        name: &[u8],
        new: NewInode,
    ) -> Result<Inode, Error> {
        self.create_numbered(directory, name, new, None).await
    }

    /// The same for an inode that may have its number already.
    pub(crate) async fn create_numbered(
        &mut self,
        directory: InodeId,
        name: &[u8],
        new: NewInode,
        number: Option<u64>,
    ) -> Result<Inode, Error> {
        checked(name)?;
        let parent = self.scanned(directory).await?;
        let (key, hash, mut bucket) = self.bucket(directory, name).await?;
        if entry_of(&bucket, hash, name).is_some() {
            return Err(Error::Exists);
        }
        let is_directory = new.kind == FileKind::Directory;
        let id = InodeId {
            home: directory.number,
            number: match number {
                Some(number) => number,
                None => self.core.inode_number().await?,
            },
        };
        let change = self.next_change();
        let inode = newborn(new, id, (self.now, change), &parent);
        if is_directory {
            let counters = HotCounters {
                change,
                ..HotCounters::default()
            };
            self.set(keys::hot_counters(id), counters.to_bytes());
            let now = hot_time(self.now);
            self.max(keys::hot_time(id), now);
        }
        self.store_inode(&inode, hot_time(self.now));
        for server in servers(&inode) {
            self.set(keys::index(server, id), Bytes::new());
        }
        insert(&mut bucket, name, id, inode.kind)?;
        self.set_record(key, &bucket);
        self.touch(directory, 1, i64::from(is_directory));
        self.count(1, i64::from(is_directory));
        Ok(inode)
    }

    /// Gives an inode that isn't a directory another name.
    pub async fn link(
        &mut self,
        directory: InodeId,
        name: &[u8],
        id: InodeId,
    ) -> Result<Inode, Error> {
        checked(name)?;
        let parent = self.scanned(directory).await?;
        let (key, hash, mut bucket) = self.bucket(directory, name).await?;
        if entry_of(&bucket, hash, name).is_some() {
            return Err(Error::Exists);
        }
        let mut inode = self.cold(id).await?.inode;
        if inode.kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        same_keeper(&parent, &inode)?;
        // An orphan is on its way out: a new name would be of an inode that may be reaped.
        if inode.nlink == 0 {
            return Err(Error::Stale);
        }
        if inode.nlink >= LINKS_MAX {
            return Err(Error::TooManyLinks);
        }
        inode.nlink += 1;
        self.restamp(&mut inode);
        self.store_inode(&inode, 0);
        insert(&mut bucket, name, id, inode.kind)?;
        self.set_record(key, &bucket);
        self.touch(directory, 1, 0);
        Ok(inode)
    }

    /// Removes a name. An empty directory goes with it; anything else without a name left becomes an
    /// orphan until [`Tx::reap`].
    pub async fn remove(
        &mut self,
        directory: InodeId,
        name: &[u8],
        what: RemoveWhat,
    ) -> Result<Removed, Error> {
        checked(name)?;
        self.scanned(directory).await?;
        let (_, hash, bucket) = self.bucket(directory, name).await?;
        let entry = entry_of(&bucket, hash, name).ok_or(Error::NotFound)?;
        match (entry.kind == FileKind::Directory, what) {
            (true, RemoveWhat::NotDirectory) => return Err(Error::IsDirectory),
            (false, RemoveWhat::Directory) => return Err(Error::NotDirectory),
            _ => {}
        }
        let removed = self.unlink(&entry).await?;
        self.take_name(directory, name).await?;
        self.touch(directory, -1, -i64::from(entry.kind == FileKind::Directory));
        Ok(removed)
    }

    /// Moves a name, replacing what the new one was. All of it is of one keeper.
    pub async fn rename(
        &mut self,
        from_directory: InodeId,
        from: &[u8],
        to_directory: InodeId,
        to: &[u8],
    ) -> Result<Renamed, Error> {
        checked(from)?;
        checked(to)?;
        let source_in = self.scanned(from_directory).await?;
        same_keeper(&source_in, &self.scanned(to_directory).await?)?;
        let (_, hash, bucket) = self.bucket(from_directory, from).await?;
        let source = entry_of(&bucket, hash, from).ok_or(Error::NotFound)?;
        let (_, hash, bucket) = self.bucket(to_directory, to).await?;
        let target = entry_of(&bucket, hash, to);
        if let Some(target) = target.clone().filter(|target| target.id == source.id) {
            return Ok(Renamed {
                moved: target,
                replaced: None,
                same_file: true,
            });
        }
        for entry in [Some(&source), target.as_ref()].into_iter().flatten() {
            self.of_keeper(&source_in, entry.id).await?;
        }
        let is_directory = source.kind == FileKind::Directory;
        if is_directory && from_directory != to_directory {
            self.not_below(source.id, to_directory).await?;
        }
        let replaced = match &target {
            None => None,
            Some(target) => Some(self.replace(&source, target, to_directory, to).await?),
        };
        self.take_name(from_directory, from).await?;
        let (key, hash, mut bucket) = self.bucket(to_directory, to).await?;
        insert(&mut bucket, to, source.id, source.kind)?;
        let moved = entry_of(&bucket, hash, to).ok_or(Error::NotFound)?;
        self.set_record(key, &bucket);
        let subdirectories = i64::from(is_directory);
        self.touch(from_directory, -1, -subdirectories);
        self.touch(to_directory, 1, subdirectories);
        let mut cold = self.cold(source.id).await?;
        if is_directory {
            cold.inode.parent = Some(to_directory);
            cold.inode.ctime = self.now;
            self.set_record(keys::inode(source.id), &cold);
            self.touch_attributes(source.id);
        } else {
            self.restamp(&mut cold.inode);
            self.store_inode(&cold.inode, 0);
        }
        Ok(Renamed {
            moved,
            replaced,
            same_file: false,
        })
    }

    /// Stores the attributes, size, extents and times of an inode that is there. Its kind, links, parent,
    /// birth, keeper and extended attributes are others' to change and stay, and what was scanned of it.
    /// The change attribute of a directory moves by itself; of anything else it is the caller's, from
    /// [`Tx::next_change`].
    ///
    /// `inode` comes from a read of this same transaction: what others changed since would be undone.
    pub async fn put(&mut self, inode: &Inode) -> Result<(), Error> {
        let old = self.cold(inode.id).await?;
        let mut new = ColdInode {
            inode: inode.clone(),
            times_mark: old.times_mark,
        };
        new.inode.kind = old.inode.kind;
        new.inode.nlink = old.inode.nlink;
        new.inode.parent = old.inode.parent;
        new.inode.btime = old.inode.btime;
        new.inode.birth_epoch = old.inode.birth_epoch;
        new.inode.xattrs = old.inode.xattrs;
        new.inode.unscanned = old.inode.unscanned;
        new.inode.keeper = old.inode.keeper;
        let (before, after) = (servers(&old.inode), servers(&new.inode));
        for gone in before.difference(&after) {
            self.delete(keys::index(*gone, inode.id));
        }
        for come in after.difference(&before) {
            self.set(keys::index(*come, inode.id), Bytes::new());
        }
        if old.inode.kind == FileKind::Directory {
            let seen = self.with_hot(old.clone()).await?;
            if inode.mtime == seen.mtime {
                // Not set by hand: it goes on following the entries.
                new.inode.mtime = old.inode.mtime;
            } else {
                let time = self.get(&keys::hot_time(inode.id), Guard::Free).await?;
                new.times_mark = crate::hot::max_value(time.as_ref())?.max(hot_time(self.now));
            }
            self.touch_attributes(inode.id);
        }
        self.store_inode(&new.inode, new.times_mark);
        Ok(())
    }

    pub(crate) fn store_inode(&mut self, inode: &Inode, times_mark: u64) {
        let mut cold = ColdInode {
            inode: inode.clone(),
            times_mark,
        };
        if inode.kind == FileKind::Directory {
            cold.inode.change = 0;
        }
        self.set_record(keys::inode(inode.id), &cold);
    }

    pub(crate) fn restamp(&self, inode: &mut Inode) {
        inode.ctime = self.now;
        inode.change = self.next_change();
    }

    /// Takes one link from the inode of an entry.
    async fn unlink(&mut self, entry: &Entry) -> Result<Removed, Error> {
        let cold = self.cold(entry.id).await.map_err(|error| match error {
            Error::Stale => Error::Corrupt(format!("the entry {:?} names no inode", entry.name)),
            other => other,
        })?;
        let mut inode = self.with_hot(cold).await?;
        if inode.kind == FileKind::Directory {
            if inode.unscanned {
                return Err(Error::Unscanned);
            }
            // Reading the range makes a create that comes meanwhile conflict, and deleting the cold
            // half does so to a create that read it.
            if !self
                .rows(keys::entries(inode.id), 1, Guard::Conflict)
                .await?
                .is_empty()
            {
                return Err(Error::NotEmpty);
            }
            for key in [
                keys::inode(inode.id),
                keys::hot_counters(inode.id),
                keys::hot_time(inode.id),
            ] {
                self.delete(key);
            }
            self.forget_xattrs(&inode);
            self.untouch(inode.id);
            self.count(-1, -1);
            inode.nlink = 0;
            return Ok(Removed {
                inode,
                last_link: true,
            });
        }
        inode.nlink = inode
            .nlink
            .checked_sub(1)
            .ok_or_else(|| Error::Corrupt(format!("the entry {:?} names an orphan", entry.name)))?;
        self.restamp(&mut inode);
        self.store_inode(&inode, 0);
        let last_link = inode.nlink == 0;
        if last_link {
            self.set(keys::orphan(inode.id), Bytes::new());
        }
        Ok(Removed { inode, last_link })
    }

    /// Removes what stands in a rename's way.
    async fn replace(
        &mut self,
        source: &Entry,
        target: &Entry,
        directory: InodeId,
        name: &[u8],
    ) -> Result<Removed, Error> {
        let is_directory = target.kind == FileKind::Directory;
        match (source.kind == FileKind::Directory, is_directory) {
            (true, false) => return Err(Error::NotDirectory),
            (false, true) => return Err(Error::IsDirectory),
            _ => {}
        }
        let removed = self.unlink(target).await?;
        self.take_name(directory, name).await?;
        self.touch(directory, -1, -i64::from(is_directory));
        Ok(removed)
    }

    /// Refuses a directory of which a name may be missing.
    async fn scanned(&self, directory: InodeId) -> Result<Inode, Error> {
        let inode = self.directory(directory).await?.inode;
        if inode.unscanned {
            Err(Error::Unscanned)
        } else {
            Ok(inode)
        }
    }

    async fn take_name(&mut self, directory: InodeId, name: &[u8]) -> Result<(), Error> {
        let (key, _, mut bucket) = self.bucket(directory, name).await?;
        bucket.0.retain(|named| named.name != name);
        if bucket.0.is_empty() {
            self.delete(key);
        } else {
            self.set_record(key, &bucket);
        }
        Ok(())
    }

    /// Refuses to move a directory to a place below itself. Every directory on the way to the root is
    /// read, so that of two renames that would close a ring together one conflicts.
    async fn not_below(&self, moved: InodeId, place: InodeId) -> Result<(), Error> {
        let mut at = place;
        for _ in 0..DEPTH_MAX {
            if at == moved {
                return Err(Error::IntoItself);
            }
            match self.parent_of(at).await? {
                Some(parent) => at = parent,
                None => return Ok(()),
            }
        }
        Err(Error::Corrupt(format!(
            "no way leads from {place:?} to the root"
        )))
    }
}

/// Puts a name that isn't there into its bucket.
pub(crate) fn insert(
    bucket: &mut Bucket,
    name: &[u8],
    id: InodeId,
    kind: FileKind,
) -> Result<(), Error> {
    let is_free = |tiebreak: &u8| bucket.0.iter().all(|named| named.tiebreak != *tiebreak);
    let tiebreak = (0..keys::TIEBREAKS)
        .find(is_free)
        .ok_or_else(|| Error::Store("three names of one directory have the same hash".into()))?;
    bucket.0.push(Named {
        name: Bytes::copy_from_slice(name),
        id,
        kind,
        tiebreak,
    });
    bucket.0.sort_by_key(|named| named.tiebreak);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_hash_live_side_by_side_and_keep_their_cookies() {
        let id = |number| InodeId { home: 1, number };
        let mut bucket = Bucket::default();
        insert(&mut bucket, b"a", id(2), FileKind::Regular).unwrap();
        insert(&mut bucket, b"b", id(3), FileKind::Directory).unwrap();
        let of = |bucket: &Bucket, name: &[u8]| entry_of(bucket, 100, name).unwrap();
        assert_eq!(
            (of(&bucket, b"a").cookie, of(&bucket, b"b").cookie),
            (200, 201)
        );
        assert!(matches!(
            insert(&mut bucket, b"c", id(4), FileKind::Regular),
            Err(Error::Store(_))
        ));
        bucket.0.retain(|named| named.name != "a");
        assert_eq!(of(&bucket, b"b").cookie, 201);
        insert(&mut bucket, b"c", id(4), FileKind::Regular).unwrap();
        assert_eq!(
            (of(&bucket, b"c").cookie, of(&bucket, b"b").cookie),
            (200, 201)
        );
    }
}
