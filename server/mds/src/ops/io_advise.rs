//! IO_ADVISE, RFC 7862 §15.5.
//!
//! State: any open or lock of the file. Gate, catalog: none. The data servers' page caches see the
//! reads themselves: no hint is heeded, and the answer names none.

use super::io::{allowed, regular};
use crate::compound::Compound;
use crate::state::IoKind;
use crate::status::Refusal;
use wire::nfs4::{Bitmap4, IoAdvise4Args, IoAdvise4Ok, Nfsstat4};

pub(crate) async fn io_advise(
    args: &IoAdvise4Args,
    cx: &Compound<'_>,
) -> Result<IoAdvise4Ok, Refusal> {
    let inode = cx.inode().await?;
    regular(&inode)?;
    allowed(args.stateid, IoKind::Read, cx.file()?, &inode, cx).await?;
    if args.offset.checked_add(args.count).is_none() {
        return Err(Nfsstat4::Inval.into());
    }
    Ok(IoAdvise4Ok {
        hints: Bitmap4::EMPTY,
    })
}
