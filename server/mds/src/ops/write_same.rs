//! WRITE_SAME, RFC 7862 §15.12: blocks that hold one pattern and their number.
//!
//! State: the open or lock that allows writing. Gate: shared. Catalog: as for a durable WRITE.
//! Linux: never sends it.

use super::io::{Writer, writable};
use crate::compound::Compound;
use crate::state::GateMode;
use crate::status::Refusal;
use backend::Stability;
use bytes::{BufMut, Bytes, BytesMut};
use wire::nfs4::{
    AppDataBlock4, Nfsstat4, StableHow4, Verifier4, WriteResponse4, WriteSame4Args, WriteSame4Ok,
};

/// What one call writes at most; the count of the answer says where to go on.
const MOST_BYTES: u64 = 16 << 20;
const PIECE_BYTES: u64 = 1 << 20;
/// `adb_reloff_blocknum` of blocks that don't hold their number (§8.1).
const NO_NUMBER: u64 = u64::MAX;

pub(crate) async fn write_same(
    args: &WriteSame4Args,
    cx: &Compound<'_>,
) -> Result<WriteSame4Ok, Refusal> {
    let blocks = &args.adb;
    let count = writable_blocks(blocks)?;
    let whole = count * blocks.block_size;
    let file = writable(args.stateid, blocks.offset, whole, cx).await?;
    let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
    let writer = Writer::of(&file, cx)?;
    let inode = writer.bound(file.id).await?;
    let at_once = (PIECE_BYTES / blocks.block_size).max(1);
    let mut done = 0;
    while done < count {
        let now = at_once.min(count - done);
        let mut offset = blocks.offset + done * blocks.block_size;
        let mut data = blocks_of(blocks, done, now);
        while !data.is_empty() {
            let written = cx
                .server
                .objects
                .write(&inode.extents, offset, data.clone(), Stability::Durable)
                .await?;
            if written.count == 0 {
                return Err(Refusal::server(Nfsstat4::Io, "a data server takes no byte"));
            }
            offset += u64::from(written.count);
            data = data.slice(written.count as usize..);
        }
        done += now;
    }
    let verifier = cx.server.objects.commit(&inode.extents).await?;
    writer.wrote_durably(&inode).await?;
    Ok(WriteSame4Ok {
        response: WriteResponse4 {
            callback_id: None,
            count: whole,
            committed: StableHow4::FileSync,
            writeverf: Verifier4(verifier),
        },
    })
}

/// How many blocks are written now, whole ones.
fn writable_blocks(blocks: &AppDataBlock4) -> Result<u64, Refusal> {
    let fits = |at: u64, bytes: u64| {
        at.checked_add(bytes)
            .is_some_and(|end| end <= blocks.block_size)
    };
    let numbered = blocks.reloff_blocknum != NO_NUMBER;
    if blocks.block_size == 0
        || blocks.block_size > MOST_BYTES
        || (numbered && !fits(blocks.reloff_blocknum, 4))
        || !fits(blocks.reloff_pattern, blocks.pattern.len() as u64)
    {
        return Err(Nfsstat4::Inval.into());
    }
    Ok(blocks.block_count.min(MOST_BYTES / blocks.block_size))
}

fn blocks_of(blocks: &AppDataBlock4, first: u64, count: u64) -> Bytes {
    let size = blocks.block_size as usize;
    let mut data = BytesMut::with_capacity(size * count as usize);
    for index in first..first + count {
        let start = data.len();
        data.put_bytes(0, size);
        let block = &mut data[start..];
        let at = blocks.reloff_pattern as usize;
        block[at..at + blocks.pattern.len()].copy_from_slice(&blocks.pattern);
        if blocks.reloff_blocknum != NO_NUMBER {
            let at = blocks.reloff_blocknum as usize;
            let number = blocks.block_num.wrapping_add(index as u32);
            block[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
    }
    data.freeze()
}
