//! Objects made ahead of the files that will take them. An object is announced before it is made, so
//! that a crash between the two leaves no object that nobody knows.

use crate::catalog::Catalog;
use crate::codec::Record;
use crate::error::Error;
use crate::inode::Timestamp;
use crate::keys;
use crate::records::{DeadObject, PoolEntry};
use crate::tx::Tx;
use crate::view::{Guard, Reader};
use bytes::Bytes;
use layout::{DataServerId, ObjectId, ObjectRef};

impl Tx {
    /// Takes an object out of the pool for an extent that this transaction writes. [`Error::NotFound`]
    /// when it isn't there: somebody else has taken it.
    pub async fn pool_take(&mut self, object: &ObjectRef) -> Result<(), Error> {
        let key = keys::pool(object.server, object.object);
        match self.record(&key, Guard::Conflict).await? {
            Some(PoolEntry::Pooled(_)) => {
                self.delete(key);
                Ok(())
            }
            Some(PoolEntry::Reserved { .. }) | None => Err(Error::NotFound),
        }
    }

    /// Moves objects from the pool, made or only announced, to the delete queue.
    pub fn pool_abandon(&mut self, objects: &[DeadObject]) {
        for object in objects {
            self.delete(keys::pool(object.server, object.object));
            self.set(keys::dead(*object), Bytes::new());
        }
        self.count_dead(objects.len() as i64);
    }
}

impl Reader {
    /// The whole pool.
    pub async fn pool_list(&self) -> Result<Vec<PoolEntry>, Error> {
        let rows = self.rows(keys::all_pool(), usize::MAX, Guard::Free).await?;
        rows.iter()
            .map(|(_, value)| Ok(PoolEntry::decode(value)?))
            .collect()
    }
}

impl Catalog {
    /// Announces objects, durably, before they are made.
    pub async fn pool_reserve(
        &self,
        now: Timestamp,
        objects: &[(DataServerId, ObjectId)],
    ) -> Result<(), Error> {
        self.write(now, |tx| {
            for &(server, object) in objects {
                tx.set_record(
                    keys::pool(server, object),
                    &PoolEntry::Reserved { server, object },
                );
            }
        })
        .await
    }

    /// Notes that announced objects have been made.
    pub async fn pool_fill(&self, now: Timestamp, objects: &[ObjectRef]) -> Result<(), Error> {
        self.write(now, |tx| {
            for object in objects {
                let key = keys::pool(object.server, object.object);
                tx.set_record(key, &PoolEntry::Pooled(object.clone()));
            }
        })
        .await
    }

    /// [`Tx::pool_abandon`] in a transaction of its own.
    pub async fn pool_abandon(&self, now: Timestamp, objects: &[DeadObject]) -> Result<(), Error> {
        self.write(now, |tx| tx.pool_abandon(objects)).await
    }

    /// [`Reader::pool_list`] of now.
    pub async fn pool_list(&self) -> Result<Vec<PoolEntry>, Error> {
        self.read().pool_list().await
    }
}
