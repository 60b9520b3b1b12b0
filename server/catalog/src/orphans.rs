//! The end of a file: from its last name to the queue of objects to delete. Never a call to a data server.

use crate::catalog::Catalog;
use crate::error::Error;
use crate::inode::{FileKind, InodeId, Timestamp};
use crate::keys;
use crate::records::DeadObject;
use crate::tx::Tx;
use crate::view::{Guard, misplaced};
use crate::{Reader, transact};
use bytes::Bytes;
use layout::{DataServerId, ObjectRef};

impl Tx {
    /// Ends an orphan: its objects go to the delete queue, its record and write intent go. `false` when
    /// there is nothing to end, because it is gone already or has a name.
    pub async fn reap(&mut self, id: InodeId) -> Result<bool, Error> {
        let inode = match self.cold(id).await {
            Ok(cold) => cold.inode,
            Err(Error::Stale) => return Ok(false),
            Err(error) => return Err(error),
        };
        if inode.kind == FileKind::Directory || inode.nlink > 0 {
            return Ok(false);
        }
        self.forget_xattrs(&inode);
        let mirrors = inode.extents.into_iter().flat_map(|extent| extent.mirrors);
        let objects: Vec<ObjectRef> = mirrors.flat_map(|mirror| mirror.stripes).collect();
        for object in &objects {
            self.delete(keys::index(object.server, id));
        }
        self.delete_later(&objects);
        self.delete(keys::inode(id));
        self.delete(keys::orphan(id));
        self.delete(keys::writing(id));
        self.count(-1, 0);
        Ok(true)
    }

    /// Puts objects on the delete queue. The caller takes them from the inode in the same transaction.
    pub fn delete_later(&mut self, objects: &[ObjectRef]) {
        for object in objects {
            self.set(keys::dead(object.into()), Bytes::new());
        }
        self.count_dead(objects.len() as i64);
    }

    /// Takes objects off the delete queue: their data servers have removed them.
    pub fn delete_done(&mut self, objects: &[DeadObject]) {
        for object in objects {
            self.delete(keys::dead(*object));
            self.forget_found(*object);
        }
        self.count_dead(-(objects.len() as i64));
    }
}

impl Reader {
    /// Objects to delete, in order, after `after`.
    pub async fn delete_queue(
        &self,
        after: Option<DeadObject>,
        limit: usize,
    ) -> Result<Vec<DeadObject>, Error> {
        let mut range = keys::all_dead();
        if let Some(after) = after {
            range.start = keys::successor(&keys::dead(after));
        }
        let rows = self.rows(range, limit, Guard::Free).await?;
        rows.iter()
            .map(|(key, _)| keys::dead_object(key).ok_or_else(|| misplaced("a dead object")))
            .collect()
    }

    /// Inodes with objects on a data server, in order, after `after`.
    pub async fn extents_on(
        &self,
        server: DataServerId,
        after: Option<InodeId>,
        limit: usize,
    ) -> Result<Vec<InodeId>, Error> {
        let rows = self
            .rows(keys::index_of(server, after), limit, Guard::Free)
            .await?;
        let id = |(key, _): &(Bytes, Bytes)| keys::index_parts(key).map(|(_, id)| id);
        rows.iter()
            .map(|row| id(row).ok_or_else(|| misplaced("a row of the reverse index")))
            .collect()
    }
}

impl Catalog {
    /// [`Tx::reap`] in a transaction of its own.
    pub async fn reap(&self, now: Timestamp, id: InodeId) -> Result<bool, Error> {
        let done: Result<_, Error> =
            transact!(self, now, |tx| -> Result<bool, Error> { tx.reap(id).await });
        Ok(done?.value)
    }

    /// [`Reader::orphans`] of now.
    pub async fn orphans(
        &self,
        after: Option<InodeId>,
        limit: usize,
    ) -> Result<Vec<InodeId>, Error> {
        self.read().orphans(after, limit).await
    }

    /// [`Reader::delete_queue`] of now.
    pub async fn delete_queue(
        &self,
        after: Option<DeadObject>,
        limit: usize,
    ) -> Result<Vec<DeadObject>, Error> {
        self.read().delete_queue(after, limit).await
    }

    /// [`Tx::delete_done`] in a transaction of its own.
    pub async fn delete_done(&self, now: Timestamp, objects: &[DeadObject]) -> Result<(), Error> {
        self.write(now, |tx| tx.delete_done(objects)).await
    }

    /// [`Reader::extents_on`] of now.
    pub async fn extents_on(
        &self,
        server: DataServerId,
        after: Option<InodeId>,
        limit: usize,
    ) -> Result<Vec<InodeId>, Error> {
        self.read().extents_on(server, after, limit).await
    }
}
