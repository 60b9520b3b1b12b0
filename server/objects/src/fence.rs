//! Keeping a writer out of objects: by a new owner where the data server can, by a new object where
//! only that helps.
//!
//! Never here: the record of it in the catalog, except where a new object takes an old one's place.

use crate::member::Desk;
use crate::pool::ATTEMPTS;
use crate::proxy::{commit_object, read_object, write_object};
use crate::{Error, Objects};
use backend::{ErrorKind, FenceGrade, Stability};
use catalog::{DeadObject, InodeId};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::{Extent, ObjectId, ObjectRef};
use std::sync::Arc;

const CALLS_AT_ONCE: usize = 16;
const COPY_BYTES: u64 = 1 << 20;

impl Objects {
    /// Whether a fence of these puts new objects in the place of some: then nobody may write the old
    /// ones meanwhile, this server included, or read them afterwards.
    pub fn fence_moves(&self, extents: &[Extent]) -> Result<bool, Error> {
        for object in extents.iter().flat_map(Extent::objects) {
            if self.desk(object.server)?.capabilities().fence == FenceGrade::Replace {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives each object the owner in `targets`.
    pub(crate) async fn change_owners(&self, targets: &[ObjectRef]) -> Result<(), Error> {
        let mut asked = Vec::new();
        for target in targets {
            asked.push((self.desk(target.server)?, target.clone()));
        }
        stream::iter(asked)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(CALLS_AT_ONCE, |(desk, target)| async move {
                let answer = desk
                    .insist(ATTEMPTS, || {
                        desk.server().fence(&target.handle, target.owner)
                    })
                    .await;
                match answer {
                    Ok(()) => Ok(()),
                    // Nobody writes into what isn't there.
                    Err(error) if error.kind == ErrorKind::Gone => Ok(()),
                    Err(error) => Err(error.into()),
                }
            })
            .await
    }

    /// Copies the object to a new one and puts that in its place. The old handle dies with the old
    /// object; what its writer still sends is lost, which is what a fence is for.
    pub(crate) async fn replace(&self, inode: InodeId, old: &ObjectRef) -> Result<(), Error> {
        let desk = self.desk(old.server)?;
        let name = [DeadObject {
            server: old.server,
            object: self.names.next(),
        }];
        // Announced only: after a crash it is discarded, whatever it holds by then.
        self.catalog
            .pool_reserve(self.now(), &[(name[0].server, name[0].object)])
            .await?;
        let new = match self.twin(&desk, old, name[0].object).await {
            Ok(new) => new,
            Err(error) => {
                self.catalog.pool_abandon(self.now(), &name).await?;
                self.nudge_deletes();
                return Err(error);
            }
        };
        catalog::transact!(self.catalog, self.now(), |tx| -> Result<(), Error> {
            let mut current = tx.inode(inode).await?;
            for object in current.extents.iter_mut().flat_map(Extent::objects_mut) {
                if object.object == old.object {
                    *object = new.clone();
                }
            }
            // Out of the pool's records, where it was only announced, and into no other queue.
            tx.pool_abandon(&name);
            tx.delete_done(&name);
            tx.delete_later(std::slice::from_ref(old));
            tx.put(&current).await?;
            Ok(())
        })?;
        self.nudge_deletes();
        Ok(())
    }
}

impl Objects {
    /// A new object with the bytes of `old`.
    async fn twin(
        &self,
        desk: &Arc<Desk>,
        old: &ObjectRef,
        object: ObjectId,
    ) -> Result<ObjectRef, Error> {
        let owner = self.options.owners.owner(object, 0);
        let handle = desk
            .insist(ATTEMPTS, || desk.server().create(object, owner))
            .await?;
        let new = ObjectRef {
            server: old.server,
            object,
            handle,
            owner,
            generation: 0,
        };
        copy(desk, old, &new).await?;
        Ok(new)
    }
}

/// Every byte, holes left as holes; durable on return.
async fn copy(desk: &Arc<Desk>, old: &ObjectRef, new: &ObjectRef) -> Result<(), Error> {
    let size = desk
        .insist(ATTEMPTS, || desk.server().stat(&old.handle))
        .await?
        .size;
    let mut offset = 0;
    while offset < size {
        let length = COPY_BYTES.min(size - offset);
        let data = read_object(desk, old, offset, length as usize).await?;
        if data.iter().any(|byte| *byte != 0) {
            write_object(desk, new, offset, data, Stability::Durable).await?;
        }
        offset += length;
    }
    desk.insist(ATTEMPTS, || desk.server().set_size(&new.handle, size))
        .await?;
    commit_object(desk, new).await?;
    Ok(())
}
