//! Changing a file's size: durable order, exclusive gate, the other writers' layouts withdrawn,
//! every object cut, then size and epoch committed (DESIGN.md, "Size, times, change").

use crate::attributes::{Changes, without_set_id};
use crate::identity::Credential;
use crate::server::Server;
use crate::state::{ClientId, GateMode, RecallWhat};
use crate::status::Refusal;
use crate::writing::Suspicion;
use catalog::{FileKind, InodeId, transact};
use std::sync::Arc;
use wire::nfs4::Nfsstat4;

/// A size to give to a file.
pub(crate) struct Resize<'a> {
    pub size: u64,
    /// Keeps its layouts: what it wrote came before it asked.
    pub asker: Option<ClientId>,
    /// What changes together with the size, or not at all.
    pub changes: &'a Changes,
    pub credential: &'a Credential,
}

impl Server {
    /// Gives the regular file `id` another size, and whatever else was asked for with it. A set-id
    /// bit doesn't outlive a truncate by somebody without privilege. One that is refused for good
    /// doesn't come about later: where a data server is given up, what it was to do is forgotten.
    pub(crate) async fn truncate(
        self: &Arc<Self>,
        id: InodeId,
        asked: Resize<'_>,
    ) -> Result<(), Refusal> {
        let resized = self.resize(id, asked).await;
        let told = self.answer_io(id, resized).await;
        let refused = told.as_ref().is_err_and(|told| told.status == Nfsstat4::Io);
        if refused && self.objects.pending(id) {
            self.objects.give_up(id).await?;
        }
        told
    }

    async fn resize(self: &Arc<Self>, id: InodeId, asked: Resize<'_>) -> Result<(), Refusal> {
        let Resize {
            size,
            asker,
            changes,
            credential,
        } = asked;
        let _undelegated = self.undelegated(id, asker).await?;
        // Before the gate is closed, so that nobody is kept from size and layouts for as long as
        // clients take to write out what they have, which LAYOUTCOMMIT and GETATTR are part of.
        self.ask_back(id, RecallWhat::Writers, asker).await?;
        let _alone = self.enter(id, GateMode::Exclusive).await?;
        self.not_pending(id)?;
        // Those that were given a layout meanwhile.
        self.withdraw(id, RecallWhat::Writers, asker).await?;
        let doubt = self.writing.doubt(id);
        let inode = self.catalog.inode(id).await?;
        if inode.kind != FileKind::Regular {
            return Err(Nfsstat4::Inval.into());
        }
        // The last word on it: what is cut can't be given back.
        changes.permitted(credential, &inode)?;
        // Objects that nobody can have written since the size was committed already end there.
        let settled = inode.size == size && self.writing.suspicion(id) == Suspicion::Nobody;
        let truncating = if settled || inode.extents.is_empty() {
            None
        } else {
            Some(self.objects.truncate(&inode, size).await?)
        };
        let now = self.clock.wall();
        transact!(self.catalog, now, |tx| -> Result<(), Refusal> {
            let mut inode = tx.inode(id).await?;
            inode.size = size;
            inode.mtime = now;
            inode.ctime = now;
            inode.change = tx.next_change();
            if !credential.is_root() {
                inode.mode = without_set_id(inode.mode);
            }
            if changes.beside_size() {
                changes.apply(credential, &mut inode, now);
            }
            if let Some(truncating) = &truncating {
                inode.size_epoch = truncating.size_epoch();
                inode.data_stamp = truncating.stamp();
            }
            tx.put(&inode).await?;
            if let Some(truncating) = &truncating {
                truncating.order().finish(tx);
            }
            Ok(())
        })?;
        if let Some(truncating) = truncating {
            truncating.done();
            self.recall_what_was(&inode);
        }
        self.writing.settled(id, doubt);
        Ok(())
    }

    /// Refuses while an order on the file's objects, left by an error or a crash, is not carried out.
    pub(crate) fn not_pending(&self, id: InodeId) -> Result<(), Refusal> {
        Ok(self.objects.at_rest(id)?)
    }

    /// Makes size and times account for what is written up to now, before times are set by hand.
    pub(crate) async fn absorb_writes(self: &Arc<Self>, id: InodeId) -> Result<(), Refusal> {
        if self.writing.suspicion(id) == Suspicion::Nobody {
            return Ok(());
        }
        let _inside = self.enter(id, GateMode::Shared).await?;
        self.refresh(id).await?;
        Ok(())
    }
}
