//! COPY from or to a junction, RFC 7862 §15.2: the bytes pass this server, and not the client.
//!
//! State: an open of each file. Gate, catalog: as READ and WRITE of either side.
//! Linux: takes a short count and asks for the rest; compares the verifier with that of the COMMIT behind it.

use super::{Place, io};
use crate::compound::{Compound, File};
use crate::junction::inode_of;
use crate::ops::copied_range::CopiedRange;
use crate::ops::io::{Writer, allowed, regular, writable};
use crate::state::IoKind;
use crate::status::Refusal;
use backend::{Fetched, Stability};
use bytes::Bytes;
use catalog::{Inode, InodeId};
use std::sync::Arc;
use wire::nfs4::{
    Copy4Args, Copy4Ok, CopyRequirements4, Nfsstat4, StableHow4, Verifier4, WriteResponse4,
};

/// What one COPY copies: a longer one is answered short, and asked for on.
const STRETCH_BYTES: u64 = 32 << 20;
const PIECE_BYTES: u64 = 1 << 20;

enum Source {
    Node(Place, Arc<Inode>),
    Catalog(Arc<Inode>),
}

enum Target {
    Node(Place),
    Catalog(Writer, InodeId),
}

pub(super) async fn copy(args: &Copy4Args, cx: &Compound<'_>) -> Result<Copy4Ok, Refusal> {
    if !args.source_server.is_empty() {
        return Err(Nfsstat4::OffloadDenied.into());
    }
    let (from, to) = (cx.saved_file()?.clone(), cx.file()?.clone());
    let source = Source::of(args, &from, cx).await?;
    let asked = (args.src_offset, args.dst_offset, args.count);
    let range = CopiedRange::of(asked, source.inode().size, from.id == to.id)?;
    let range = range.after(0, STRETCH_BYTES);
    let target = Target::of(args, &to, range.length, cx).await?;
    let mut copied = 0;
    while copied < range.length {
        let piece = (range.length - copied).min(PIECE_BYTES) as u32;
        let read = source.read(range.source_offset + copied, piece, cx).await?;
        if read.data.is_empty() {
            break;
        }
        let mut data = read.data;
        while !data.is_empty() {
            let written = target
                .write(range.target_offset + copied, data.clone())
                .await?;
            copied += u64::from(written);
            data = data.slice(written as usize..);
        }
    }
    let response = WriteResponse4 {
        callback_id: None,
        count: copied,
        committed: StableHow4::FileSync,
        writeverf: Verifier4(target.commit(cx).await?),
    };
    Ok(Copy4Ok {
        response,
        requirements: CopyRequirements4 {
            consecutive: true,
            synchronous: true,
        },
    })
}

impl Source {
    async fn of(args: &Copy4Args, file: &File, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let stateid = cx.saved_or(args.src_stateid)?;
        if file.export.junction.is_some() {
            let place = Place::of(file, cx).await?;
            io::allowed(stateid, IoKind::Read, file, &place, cx).await?;
            let inode = inode_of(file.id, &place.stat().await?);
            regular(&inode)?;
            return Ok(Self::Node(place, Arc::new(inode)));
        }
        let inode = cx.server.fresh_inode(file.id).await?;
        regular(&inode)?;
        allowed(stateid, IoKind::Read, file, &inode, cx).await?;
        cx.server.not_pending(file.id)?;
        Ok(Self::Catalog(inode))
    }

    fn inode(&self) -> &Inode {
        match self {
            Self::Node(_, inode) | Self::Catalog(inode) => inode,
        }
    }

    async fn read(&self, offset: u64, count: u32, cx: &Compound<'_>) -> Result<Fetched, Refusal> {
        match self {
            Self::Node(place, _) => {
                let count = count.min(place.can.read_bytes);
                let read = place
                    .tree()
                    .read(&place.caller, &place.handle, offset, count);
                place.heard(read.await)
            }
            Self::Catalog(inode) => {
                let read = cx
                    .server
                    .objects
                    .read(&inode.extents, inode.size, offset, count);
                Ok(read.await?)
            }
        }
    }
}

impl Target {
    async fn of(
        args: &Copy4Args,
        file: &File,
        length: u64,
        cx: &Compound<'_>,
    ) -> Result<Self, Refusal> {
        if file.export.junction.is_some() {
            let file = Compound::changeable(file)?;
            let place = Place::of(&file, cx).await?;
            regular(&inode_of(file.id, &place.stat().await?))?;
            io::allowed(args.dst_stateid, IoKind::Write, &file, &place, cx).await?;
            let end = args.dst_offset.checked_add(length);
            if end.is_none_or(|end| end > place.can.largest_file_bytes) {
                return Err(Nfsstat4::Fbig.into());
            }
            return Ok(Self::Node(place));
        }
        let file = writable(args.dst_stateid, args.dst_offset, length, cx).await?;
        Ok(Self::Catalog(Writer::of(&file, cx)?, file.id))
    }

    /// How much of it was written.
    async fn write(&self, offset: u64, data: Bytes) -> Result<u32, Refusal> {
        match self {
            Self::Node(place) => {
                let most = data.len().min(place.can.write_bytes as usize);
                let write = place.tree().write(
                    &place.caller,
                    &place.handle,
                    offset,
                    data.slice(..most),
                    // A copy of which a part was lost in between would have no word for it.
                    Stability::Durable,
                );
                Ok(place.heard(write.await)?.count)
            }
            Self::Catalog(writer, file) => {
                let written = writer.store(*file, offset, data, Stability::Durable);
                Ok(written.await?.count)
            }
        }
    }

    async fn commit(&self, cx: &Compound<'_>) -> Result<[u8; 8], Refusal> {
        match self {
            Self::Node(place) => {
                io::drop_set_id(place).await?;
                let commit = place.tree().commit(&place.caller, &place.handle);
                place.heard(commit.await)
            }
            Self::Catalog(_, file) => {
                let inode = cx.server.catalog.inode(*file).await?;
                Ok(cx.server.objects.commit(&inode.extents).await?)
            }
        }
    }
}
