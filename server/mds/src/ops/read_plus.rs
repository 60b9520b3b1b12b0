//! READ_PLUS, RFC 7862 §15.10.
//!
//! State: the open or lock that allows reading. Gate, catalog: none.
//! Linux: asks where its kernel was built for it, and falls back to READ after NOTSUPP.

use super::io::{allowed, regular};
use crate::compound::Compound;
use crate::state::IoKind;
use crate::status::Refusal;
use backend::Seek;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{Data4, DataInfo4, ReadPlus4Args, ReadPlus4Ok, ReadPlusContent};

/// Number, status, end of file and count of a result.
const AROUND_BYTES: usize = 16;
/// Kind, offset and length of a piece, and the padding of its data.
const PIECE_BYTES: usize = 20;
/// A file of tiny holes is not worth a question for each.
const PIECES_MAX: usize = 32;

pub(crate) async fn read_plus(
    args: &ReadPlus4Args,
    cx: &Compound<'_>,
) -> Result<ReadPlus4Ok, Refusal> {
    let file = cx.file()?;
    let inode = cx.server.fresh_inode(file.id).await?;
    regular(&inode)?;
    allowed(args.stateid, IoKind::Read, file, &inode, cx).await?;
    cx.server.not_pending(file.id)?;
    let end = args
        .offset
        .saturating_add(u64::from(args.count))
        .min(inode.size);
    let mut room = cx.room.saturating_sub(AROUND_BYTES);
    let mut contents = Vec::new();
    let mut at = args.offset;
    let objects = &cx.server.objects;
    while at < end && contents.len() < PIECES_MAX && room > PIECE_BYTES {
        room -= PIECE_BYTES;
        let data = objects.seek(&inode.extents, end, at, Seek::Data).await?;
        let data = data.unwrap_or(end);
        if data > at {
            contents.push(ReadPlusContent::Hole(DataInfo4 {
                offset: at,
                length: data - at,
            }));
            at = data;
            continue;
        }
        let hole = objects.seek(&inode.extents, end, at, Seek::Hole).await?;
        let length = (hole.unwrap_or(end) - at).min(room as u64);
        let fetched = objects
            .read(&inode.extents, inode.size, at, length as u32)
            .await?;
        if fetched.data.is_empty() {
            break;
        }
        room = room.saturating_sub(fetched.data.len());
        cx.server
            .metrics
            .proxy_read_bytes
            .fetch_add(fetched.data.len() as u64, Relaxed);
        let offset = at;
        at += fetched.data.len() as u64;
        contents.push(ReadPlusContent::Data(Data4 {
            offset,
            data: fetched.data,
        }));
    }
    Ok(ReadPlus4Ok {
        eof: at >= inode.size,
        contents,
    })
}
