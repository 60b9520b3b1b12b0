//! READ, WRITE and COMMIT through this server: RFC 8881 §18.22, §18.32, §18.3.
//!
//! State: the open or lock that allows it. Gate: shared, for a WRITE. Catalog: for the first WRITE of
//! a file its write intent; size and times when they are asked for, or at once for a stable WRITE.
//! Linux: comes this way without a layout driver, when a layout is refused, and now and then anyway.
//! DELAY it repeats for ever, on soft mounts too; EIO ends it, where the operator wants that.
//! The bytes go where a layout would have sent them, so that both ways see each other.

use super::copy_notify::reads_for_a_copy;
use crate::attributes::{MAX_FILE_BYTES, without_set_id};
use crate::compound::{Compound, File};
use crate::identity::{Credential, Want, may, owns};
use crate::server::Server;
use crate::state::{ClientId, GateMode, IoGrant, IoKind};
use crate::status::Refusal;
use crate::writing::Pen;
use backend::{Stability, Written};
use bytes::Bytes;
use catalog::{FileKind, Inode, InodeId};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    Commit4Ok, Nfsstat4, Read4Args, Read4Ok, StableHow4, Stateid4, Verifier4, Write4Args, Write4Ok,
};

/// Number, status, eof and length of a READ's result.
pub(super) const READ_AROUND_BYTES: usize = 16;

pub(super) fn regular(inode: &Inode) -> Result<(), Refusal> {
    match inode.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Nfsstat4::Isdir.into()),
        FileKind::Symlink => Err(Nfsstat4::Symlink.into()),
        _ => Err(Nfsstat4::WrongType.into()),
    }
}

/// By the open that the stateid names; for a special stateid by the mode bits; for a copy-notify stateid by
/// whoever gave it away.
pub(super) async fn allowed(
    stateid: Stateid4,
    kind: IoKind,
    file: &File,
    inode: &Inode,
    cx: &Compound<'_>,
) -> Result<(), Refusal> {
    let (client, stateid) = (cx.client()?, cx.resolve(stateid)?);
    if kind == IoKind::Read && reads_for_a_copy(stateid, file, cx)? {
        return Ok(());
    }
    let granted = cx
        .server
        .authorize_io(client, stateid, file.id, kind)
        .await?;
    match granted {
        IoGrant::Special => by_mode(kind, &cx.credential(file), inode, cx),
        _ => Ok(()),
    }
}

/// Of who has no open: by the mode bits. By NFSv3 nobody has one, and what a client has let its user open
/// goes on being read and written, whatever the mode (RFC 1813 §4.4): by its owner, and to be executed.
pub(super) fn by_mode(
    kind: IoKind,
    credential: &Credential,
    inode: &Inode,
    cx: &Compound<'_>,
) -> Result<(), Refusal> {
    let want = match kind {
        IoKind::Read => Want::READ,
        IoKind::Write => Want::WRITE,
    };
    let executes = || kind == IoKind::Read && may(credential, inode, Want::EXECUTE);
    let has_it_open = cx.legacy && (owns(credential, inode) || executes());
    if has_it_open || may(credential, inode, want) {
        Ok(())
    } else {
        Err(Nfsstat4::Access.into())
    }
}

/// The current file, if the holder of `stateid` may write that range of it.
pub(super) async fn writable(
    stateid: Stateid4,
    offset: u64,
    length: u64,
    cx: &Compound<'_>,
) -> Result<File, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    if offset
        .checked_add(length)
        .is_none_or(|end| end > MAX_FILE_BYTES)
    {
        return Err(Nfsstat4::Fbig.into());
    }
    let inode = cx.inode().await?;
    regular(&inode)?;
    allowed(stateid, IoKind::Write, &file, &inode, cx).await?;
    cx.server.not_pending(file.id)?;
    cx.server.writers_out(file.id, cx.client()?).await?;
    Ok(file)
}

/// Who writes through this server, once the operation itself is allowed.
#[derive(Clone)]
pub(super) struct Writer {
    pub server: Arc<Server>,
    pub client: ClientId,
    address: IpAddr,
    privileged: bool,
}

impl Writer {
    pub fn of(file: &File, cx: &Compound<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            server: Arc::clone(cx.server),
            client: cx.client()?,
            address: cx.connection.peer.ip(),
            privileged: cx.credential(file).is_root(),
        })
    }

    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// The inode with its objects, its write intent durable. The caller is inside the gate.
    pub async fn bound(&self, file: InodeId) -> Result<Arc<Inode>, Refusal> {
        if self.server.writer_lingers(file, self.client) {
            // What it still writes directly would undo this (invariant 5).
            return Err(Nfsstat4::Delay.into());
        }
        let by = (self.client, self.address);
        let pen = Pen::ThisServer;
        let inode = self.server.bound(file, by, Some(pen)).await?;
        self.server.intend(file, inode.size_epoch, pen).await?;
        self.server.writing.unsettle(file);
        Ok(inode)
    }

    /// A WRITE, by the objects that a layout would have named.
    pub async fn store(
        &self,
        file: InodeId,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Refusal> {
        let _inside = self.server.enter(file, GateMode::Shared).await?;
        let inode = self.bound(file).await?;
        let written = self
            .server
            .objects
            .write(&inode.extents, offset, data, stability)
            .await?;
        self.server
            .metrics
            .proxy_written_bytes
            .fetch_add(u64::from(written.count), Relaxed);
        if written.durable {
            // FILE_SYNC means the size as well (§18.32.3).
            self.wrote_durably(&inode).await?;
        } else {
            self.wrote(&inode).await?;
        }
        Ok(written)
    }

    /// Bytes are on their way to the disks: size and times must be asked for.
    pub async fn wrote(&self, inode: &Inode) -> Result<(), Refusal> {
        self.server.writing.wrote(inode.id);
        self.server.recall_what_was(inode);
        if !self.privileged && inode.mode != without_set_id(inode.mode) {
            let now = self.server.clock.wall();
            self.server.drop_set_id(inode.id, now).await?;
        }
        Ok(())
    }

    /// Bytes are durable: size, times and change account for them.
    pub async fn wrote_durably(&self, inode: &Inode) -> Result<(), Refusal> {
        self.wrote(inode).await?;
        self.server.refresh(inode.id).await?;
        Ok(())
    }
}

pub(crate) async fn read(args: &Read4Args, cx: &mut Compound<'_>) -> Result<Read4Ok, Refusal> {
    let file = cx.file()?.clone();
    let fetched = fetch(args, file.clone(), cx).await;
    cx.server.answer_io(file.id, fetched).await
}

async fn fetch(args: &Read4Args, file: File, cx: &Compound<'_>) -> Result<Read4Ok, Refusal> {
    // Asked of the data servers whenever somebody may be writing there, the asker included: what it
    // wrote past us counts for what it reads through us.
    let inode = cx.server.fresh_inode(file.id).await?;
    regular(&inode)?;
    allowed(args.stateid, IoKind::Read, &file, &inode, cx).await?;
    cx.server.not_pending(file.id)?;
    let count = (args.count as usize).min(cx.room.saturating_sub(READ_AROUND_BYTES)) as u32;
    if args.offset >= inode.size || count == 0 {
        return Ok(Read4Ok {
            eof: args.offset >= inode.size,
            data: Bytes::new(),
        });
    }
    let fetched = cx
        .server
        .objects
        .read(&inode.extents, inode.size, args.offset, count);
    let fetched = match fetched.await {
        Err(error) if error.is_gone() && cx.inode().await?.extents != inode.extents => {
            // A fence put new objects in the place of these meanwhile.
            return Err(Nfsstat4::Delay.into());
        }
        fetched => fetched?,
    };
    cx.server
        .metrics
        .proxy_read_bytes
        .fetch_add(fetched.data.len() as u64, Relaxed);
    Ok(Read4Ok {
        eof: fetched.at_end,
        data: fetched.data,
    })
}

pub(crate) async fn write(args: Write4Args, cx: &mut Compound<'_>) -> Result<Write4Ok, Refusal> {
    let file = writable(args.stateid, args.offset, args.data.len() as u64, cx).await?;
    // A special stateid has no open that would keep delegations out.
    let _undelegated = cx.server.undelegated(file.id, Some(cx.client()?)).await?;
    let stored = store(args, &file, cx).await;
    cx.server.answer_io(file.id, stored).await
}

async fn store(args: Write4Args, file: &File, cx: &Compound<'_>) -> Result<Write4Ok, Refusal> {
    let stability = match args.stable {
        StableHow4::Unstable => Stability::Unstable,
        StableHow4::DataSync | StableHow4::FileSync => Stability::Durable,
    };
    let written = Writer::of(file, cx)?
        .store(file.id, args.offset, args.data, stability)
        .await?;
    let committed = if written.durable {
        StableHow4::FileSync
    } else {
        StableHow4::Unstable
    };
    Ok(Write4Ok {
        count: written.count,
        committed,
        writeverf: Verifier4(written.verifier),
    })
}

/// Of the whole file, whatever range was asked for.
pub(crate) async fn commit(cx: &mut Compound<'_>) -> Result<Commit4Ok, Refusal> {
    let file = cx.file()?.clone();
    let synced = sync(&file, cx).await;
    cx.server.answer_io(file.id, synced).await
}

async fn sync(file: &File, cx: &Compound<'_>) -> Result<Commit4Ok, Refusal> {
    let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
    let inode = cx.inode().await?;
    regular(&inode)?;
    cx.server.not_pending(file.id)?;
    let verifier = cx.server.objects.commit(&inode.extents).await?;
    cx.server.refresh(file.id).await?;
    Ok(Commit4Ok {
        writeverf: Verifier4(verifier),
    })
}
