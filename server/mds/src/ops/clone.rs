//! CLONE, RFC 7862 §15.13.
//!
//! State: an open of each file. Gate: both files, exclusive: nobody writes to the source, and the
//! target's layouts come back, since its objects change. Catalog: one transaction puts objects with the
//! new content in the place of the target's, so that others, and a crash, see all of it or nothing.
//! Linux: `cp --reflink`; NOTSUPP ends its asking for good, XDEV makes `--reflink=auto` copy.

use super::copied_range::CopiedRange;
use super::io::{Writer, allowed, regular, writable};
use crate::attributes::without_set_id;
use crate::compound::Compound;
use crate::server::Server;
use crate::state::{GateMode, IoKind, RecallWhat};
use crate::status::Refusal;
use catalog::{DataStamp, Inode, InodeId, transact};
use layout::{Extent, ObjectRef};
use objects::{Error, Place, Placement};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use wire::nfs4::{Clone4Args, Nfsstat4};

/// What is copied at most, both files held, where blocks can't be shared.
const COPY_BYTES: u64 = 256 << 20;

/// The new content of the target: a range of the source, and around it what was there.
struct Content {
    from: Arc<Inode>,
    to: Arc<Inode>,
    source_offset: u64,
    range: Range<u64>,
}

pub(crate) async fn clone(args: &Clone4Args, cx: &Compound<'_>) -> Result<(), Refusal> {
    let server = cx.server;
    let source = cx.saved_file()?.clone();
    let inode = server.catalog.inode(source.id).await?;
    regular(&inode)?;
    if inode.keeper != cx.inode().await?.keeper {
        return Err(Nfsstat4::Xdev.into());
    }
    let from = cx.saved_or(args.src_stateid)?;
    allowed(from, IoKind::Read, &source, &inode, cx).await?;
    let target = writable(args.dst_stateid, args.dst_offset, args.count, cx).await?;
    let writer = Writer::of(&target, cx)?;
    let _alone = server
        .enter_both(source.id, target.id, GateMode::Exclusive)
        .await?;
    server.not_pending(source.id)?;
    server.not_pending(target.id)?;
    if source.id != target.id {
        // What the asker wrote through its layout came before it asked.
        server
            .withdraw(source.id, RecallWhat::Writers, Some(writer.client))
            .await?;
    }
    server.withdraw(target.id, RecallWhat::All, None).await?;
    let content = Content::of(args, server, source.id, target.id).await?;
    if content.range.is_empty() {
        return Ok(());
    }
    let placement = content.build(server).await?;
    content.take_effect(server, placement, &writer).await
}

impl Content {
    async fn of(
        args: &Clone4Args,
        server: &Arc<Server>,
        source: InodeId,
        target: InodeId,
    ) -> Result<Self, Refusal> {
        let from = server.refresh(source).await?;
        let to = server.refresh(target).await?;
        let asked = (args.src_offset, args.dst_offset, args.count);
        let range = CopiedRange::of(asked, from.size, source == target)?;
        Ok(Self {
            from,
            to,
            source_offset: range.source_offset,
            range: range.target_offset..range.target_end(),
        })
    }

    fn size(&self) -> u64 {
        self.to.size.max(self.range.end)
    }

    /// Objects where blocks can be shared.
    async fn place(&self, server: &Server) -> Result<Placement, Refusal> {
        let is_bound = |inode: &&Arc<Inode>| inode.extents.iter().any(Extent::is_bound);
        let like = [&self.from, &self.to].into_iter().find(is_bound);
        let like = like.map_or(&[][..], |like| &like.extents);
        Ok(server.objects.bind_like(like).await?)
    }

    /// Objects with all of the new content, durable, that no file has yet.
    async fn build(&self, server: &Server) -> Result<Placement, Refusal> {
        let placement = self.place(server).await?;
        let new = placement.extents();
        let kept = |range: Range<u64>| (&self.to, range.start, range);
        let pieces = [
            kept(0..self.range.start.min(self.to.size)),
            (&self.from, self.source_offset, self.range.clone()),
            kept(self.range.end.min(self.to.size)..self.to.size),
        ];
        for (inode, offset, range) in pieces {
            let held = inode.extents.iter().any(Extent::is_bound);
            if held && !range.is_empty() {
                bring(server, inode, offset, &new, range).await?;
            }
        }
        if new.iter().any(Extent::is_bound) {
            server.objects.pad(&new, self.size()).await?;
        }
        Ok(placement)
    }

    /// Puts the objects in the place of the target's.
    async fn take_effect(
        &self,
        server: &Arc<Server>,
        placement: Placement,
        writer: &Writer,
    ) -> Result<(), Refusal> {
        let extents = placement.extents();
        let doubt = server.writing.doubt(self.to.id);
        let observed = if extents.iter().any(Extent::is_bound) {
            let observed = server.objects.observe(&extents).await?;
            (observed.stamp, observed.used)
        } else {
            (DataStamp::default(), 0)
        };
        let now = server.clock.wall();
        let id = self.to.id;
        let done = transact!(server.catalog, now, |tx| -> Result<bool, Refusal> {
            let mut inode = tx.inode(id).await?;
            if inode.extents != self.to.extents || inode.size_epoch != self.to.size_epoch {
                return Ok(false);
            }
            placement.claim().take(tx).await?;
            let old = inode.extents.iter().flat_map(Extent::objects);
            let old: Vec<ObjectRef> = old.cloned().collect();
            tx.delete_later(&old);
            inode.extents.clone_from(&extents);
            inode.size = self.size();
            (inode.data_stamp, inode.used) = observed;
            inode.mtime = now;
            inode.ctime = now;
            inode.change = tx.next_change();
            if !writer.is_privileged() {
                inode.mode = without_set_id(inode.mode);
            }
            tx.put(&inode).await?;
            Ok(true)
        })?;
        if !done.value {
            placement.unused();
            return Err(Nfsstat4::Delay.into());
        }
        placement.used();
        server.writing.settled(id, doubt);
        server.settle_later(id);
        server.objects.nudge_deletes();
        Ok(())
    }
}

/// Makes `range` of the new objects what `inode` holds from `offset` on: by sharing blocks, or by a copy
/// that is short enough.
async fn bring(
    server: &Server,
    inode: &Inode,
    offset: u64,
    new: &[Extent],
    range: Range<u64>,
) -> Result<(), Refusal> {
    let from = Place {
        extents: &inode.extents,
        offset,
    };
    let to = Place {
        extents: new,
        offset: range.start,
    };
    let length = range.end - range.start;
    match server.objects.clone_range(from, to, length).await {
        Err(Error::Apart | Error::Unaligned { .. }) if length <= COPY_BYTES => {
            let copied = server
                .objects
                .copy_range(from, inode.size, to, length, |_| ControlFlow::Continue(()))
                .await?;
            if copied < length {
                return Err(Refusal::server(Nfsstat4::Io, "a copy ended early"));
            }
            Ok(())
        }
        shared => Ok(shared?),
    }
}
