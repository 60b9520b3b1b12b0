//! ALLOCATE and DEALLOCATE, RFC 7862 §15.1, §15.4.
//!
//! State: the open or lock that allows writing. Gate: shared, as a WRITE. Catalog: the write intent
//! before, size and times after.
//! Linux: `fallocate`, with `FALLOC_FL_PUNCH_HOLE` for the second; NOTSUPP ends its asking for good, so
//! that it is the answer only where a data server of the file can't.

use super::io::{Writer, writable};
use crate::compound::{Compound, File};
use crate::state::GateMode;
use crate::status::Refusal;
use wire::nfs4::{Allocate4Args, Deallocate4Args, Nfsstat4, Stateid4};

pub(crate) async fn allocate(args: &Allocate4Args, cx: &Compound<'_>) -> Result<(), Refusal> {
    let file = checked(args.stateid, args.offset, args.length, cx).await?;
    let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
    let writer = Writer::of(&file, cx)?;
    let inode = writer.bound(file.id).await?;
    cx.server
        .objects
        .allocate(&inode.extents, args.offset, args.length)
        .await?;
    writer.wrote_durably(&inode).await
}

pub(crate) async fn deallocate(args: &Deallocate4Args, cx: &Compound<'_>) -> Result<(), Refusal> {
    let file = checked(args.stateid, args.offset, args.length, cx).await?;
    let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
    let writer = Writer::of(&file, cx)?;
    let inode = writer.bound(file.id).await?;
    cx.server
        .objects
        .deallocate(&inode.extents, args.offset, args.length)
        .await?;
    writer.wrote_durably(&inode).await
}

async fn checked(
    stateid: Stateid4,
    offset: u64,
    length: u64,
    cx: &Compound<'_>,
) -> Result<File, Refusal> {
    // As fallocate(2): an empty range is no range.
    if length == 0 || offset.checked_add(length).is_none() {
        return Err(Nfsstat4::Inval.into());
    }
    writable(stateid, offset, length, cx).await
}
