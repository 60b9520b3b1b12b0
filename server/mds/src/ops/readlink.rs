//! READLINK, RFC 8881 §18.24. Reads one inode. A target is any bytes, as `symlink(2)` took them.

use crate::compound::Compound;
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{Nfsstat4, Readlink4Ok};

pub(crate) async fn readlink(cx: &mut Compound<'_>) -> Result<Readlink4Ok, Refusal> {
    let inode = cx.inode().await?;
    match (inode.kind, inode.target.clone()) {
        (FileKind::Symlink, Some(link)) => Ok(Readlink4Ok { link }),
        _ => Err(Nfsstat4::WrongType.into()),
    }
}
