//! SEEK, RFC 7862 §15.11.
//!
//! State: the open or lock that allows reading. Gate, catalog: none.
//! Linux: `lseek(SEEK_DATA)` is ENXIO when the answer says end of file.

use super::io::{allowed, regular};
use crate::compound::Compound;
use crate::state::IoKind;
use crate::status::Refusal;
use backend::Seek;
use wire::nfs4::{DataContent4, Nfsstat4, Seek4Args, Seek4Ok};

pub(crate) async fn seek(args: &Seek4Args, cx: &Compound<'_>) -> Result<Seek4Ok, Refusal> {
    let file = cx.file()?;
    let inode = cx.server.fresh_inode(file.id).await?;
    regular(&inode)?;
    allowed(args.stateid, IoKind::Read, file, &inode, cx).await?;
    cx.server.not_pending(file.id)?;
    if args.offset >= inode.size {
        return Err(Nfsstat4::Nxio.into());
    }
    let what = match args.what {
        DataContent4::Data => Seek::Data,
        DataContent4::Hole => Seek::Hole,
    };
    let found = cx
        .server
        .objects
        .seek(&inode.extents, inode.size, args.offset, what)
        .await?;
    // Nothing found is no error (§15.11.3), and the end of the file is a hole.
    let offset = found.unwrap_or(inode.size);
    Ok(Seek4Ok {
        eof: offset >= inode.size,
        offset,
    })
}
