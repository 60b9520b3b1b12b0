//! Bringing size, mtime and change up to what the data servers hold (DESIGN.md, "settle"): fence
//! what did not return, ask every object, pad, commit, clear the write intent.
//!
//! The objects are the truth about a file's size: every truncate reaches them before it is
//! answered, so that the largest of them ends where the last write since then ended (invariant 6).

use crate::attributes::without_set_id;
use crate::faults::Met;
use crate::gate::MOMENT;
use crate::server::Server;
use crate::state::GateMode;
use crate::status::Refusal;
use crate::writing::Suspicion;
use catalog::{FileKind, Inode, InodeId, transact};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::Nfsstat4;

/// How often a refresh starts over because a truncate or fence overtook it.
const ATTEMPTS: usize = 8;

impl Server {
    /// The inode with size and times as the data servers know them, committed first. The caller is
    /// inside the gate: a pad must not race a truncate.
    ///
    /// One round after another, shared by those who ask: a state committed after a newer one would tell of a write that
    /// nobody did, and undo times that were set by hand since.
    pub(crate) async fn refresh(self: &Arc<Self>, id: InodeId) -> Result<Arc<Inode>, Refusal> {
        let server = Arc::clone(self);
        let round = async move { server.refresh_in_turn(id).await };
        self.refreshing.share(id, round).await
    }

    async fn refresh_in_turn(&self, id: InodeId) -> Result<Arc<Inode>, Refusal> {
        for _ in 0..ATTEMPTS {
            let doubt = self.writing.doubt(id);
            let inode = self.catalog.inode(id).await?;
            if inode.kind != FileKind::Regular || inode.extents.is_empty() {
                self.writing.settled(id, doubt);
                return Ok(inode);
            }
            let observed = self.objects.observe(&inode.extents).await?;
            let written = observed.is_written_since(&inode);
            if !written && !doubt.told && observed.used == inode.used {
                self.writing.settled(id, doubt);
                return Ok(inode);
            }
            let size = observed.size.max(inode.size);
            // Invariant 8: a size that anyone can see is backed by every object.
            let is_backed = observed.is_padded && observed.size == size;
            let stamp = if written && !is_backed {
                self.objects.pad(&inode.extents, size).await?
            } else {
                observed.stamp
            };
            // By whose right it was written isn't told: Linux commits in that of whoever opened the file first.
            let loses_set_id = written
                && inode.mode != without_set_id(inode.mode)
                && self.state.lock().is_open_to_write_without_privilege(id);
            let now = self.clock.wall();
            let done = transact!(self.catalog, now, |tx| -> Result<Option<Inode>, Refusal> {
                let mut current = tx.inode(id).await?;
                if current.size_epoch != inode.size_epoch || current.extents != inode.extents {
                    return Ok(None);
                }
                if tx.intent_get(id).await?.is_some() {
                    // What a crash takes back of this, the next start asks for again (invariant 6).
                    tx.needs_no_sync();
                }
                current.size = current.size.max(size);
                current.used = observed.used;
                current.data_stamp = stamp;
                if written {
                    current.mtime = now;
                    current.ctime = now;
                }
                if loses_set_id {
                    current.mode = without_set_id(current.mode);
                }
                // Who says that it wrote did: a data server with a coarse clock dates two writes alike. The times stay
                // as they are then, for they may have been set by hand since.
                if written || doubt.told {
                    current.change = tx.next_change();
                }
                tx.put(&current).await?;
                Ok(Some(current))
            })?;
            if let Some(settled) = done.value {
                self.writing.settled(id, doubt);
                return Ok(Arc::new(settled));
            }
        }
        Err(Nfsstat4::Delay.into())
    }

    /// A regular file's inode as fresh as a reader may expect it: asked of the data servers when
    /// anybody may be writing there, the reader too. Linux has sent what one of its processes wrote
    /// and not yet committed it when another opens the file, and believes the size that it is told
    /// then (fact 40). While a truncate or fence holds the gate the catalog's
    /// answer stands, as if the question had come before it.
    pub(crate) async fn fresh_inode(self: &Arc<Self>, id: InodeId) -> Result<Arc<Inode>, Refusal> {
        let inode = self.catalog.inode(id).await?;
        if inode.kind != FileKind::Regular {
            return Ok(inode);
        }
        let ask = match self.writing.suspicion(id) {
            Suspicion::Nobody => false,
            Suspicion::Unsettled => true,
            Suspicion::Holders => self.state.lock().has_rw_holder(id, None),
        };
        if ask {
            Box::pin(self.asked_inode(inode)).await
        } else {
            Ok(inode)
        }
    }

    async fn asked_inode(self: &Arc<Self>, inode: Arc<Inode>) -> Result<Arc<Inode>, Refusal> {
        let id = inode.id;
        // Who clears an intent or reaps is out in a moment: a size committed before the question was
        // asked must be in the answer (invariant 9).
        match self.enter_within(id, GateMode::Shared, MOMENT).await {
            Ok(_inside) => match self.refresh(id).await {
                // An object is lost: what is known of the file is what is left of it, and it can be
                // looked at and removed. Its bytes can't be had, which READ finds out by itself.
                Err(refusal) if refusal.status == Nfsstat4::Io => Ok(inode),
                Err(_) if self.is_given_up(&inode.extents) => Ok(inode),
                refreshed => refreshed,
            },
            Err(_) => Ok(inode),
        }
    }

    /// Settles `id` in the background and clears its intent.
    pub(crate) fn settle_later(self: &Arc<Self>, id: InodeId) {
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(refusal) = server.settle(id).await
                && refusal.status != Nfsstat4::Stale
                && refusal.status != Nfsstat4::Delay
                // What is lost is told once, by that.
                && !(refusal.status == Nfsstat4::Io && server.has_lost_objects(id).await)
            {
                server.fault(Met::Settle, &refusal);
            }
        });
    }

    /// Asks, pads, commits; clears the intent when nobody holds a write layout any more.
    pub(crate) async fn settle(self: &Arc<Self>, id: InodeId) -> Result<(), Refusal> {
        match self.writing.suspicion(id) {
            Suspicion::Nobody => return Ok(()),
            Suspicion::Holders | Suspicion::Unsettled => {}
        }
        {
            let _inside = self.enter(id, GateMode::Shared).await?;
            match self.refresh(id).await {
                Ok(_) => {}
                Err(refusal) if refusal.status == Nfsstat4::Stale => {
                    self.writing.forget(id);
                    return Ok(());
                }
                Err(refusal) => return Err(refusal),
            }
        }
        self.metrics.settled.fetch_add(1, Relaxed);
        self.clear_intent(id).await
    }
}
