//! GETXATTR, RFC 8276 §8.4.1.
//!
//! State, gate: none. Catalog: reads the inode, the name and the value.
//! Linux: strips `user.` from names, asks for a value with room for 64 KiB, and caches it.

use super::location;
use crate::compound::Compound;
use crate::identity::{Want, may};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{FileKind, NAME_MAX_BYTES};
use wire::nfs4::{Getxattr4Args, Getxattr4Ok, Nfsstat4};

pub(crate) async fn getxattr(
    args: Getxattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Getxattr4Ok, Refusal> {
    let name = checked(args.name).map_err(there_is_none)?;
    let file = cx.file()?;
    if !may_read_xattrs(cx).await? {
        return Err(Nfsstat4::Access.into());
    }
    if let Some(value) = location::told(&name, file, cx).await? {
        return Ok(Getxattr4Ok { value });
    }
    let value = cx.server.catalog.read().xattr(file.id, &name).await?;
    Ok(Getxattr4Ok {
        value: value.ok_or(Nfsstat4::Noxattr)?,
    })
}

/// §8.4.5 has no BADCHAR here: a name that can't be set is one that isn't there.
fn there_is_none(refusal: Refusal) -> Refusal {
    match refusal.status {
        Nfsstat4::Badchar => Nfsstat4::Noxattr.into(),
        _ => refusal,
    }
}

/// Files and folders have them, as `user.` attributes on Linux do.
pub(super) fn has_xattrs(kind: FileKind) -> bool {
    matches!(kind, FileKind::Regular | FileKind::Directory)
}

/// By the right to read the file itself, as on a local file system.
pub(super) async fn may_read_xattrs(cx: &Compound<'_>) -> Result<bool, Refusal> {
    let file = cx.file()?;
    let inode = cx.inode().await?;
    if !has_xattrs(inode.kind) {
        return Err(Nfsstat4::WrongType.into());
    }
    Ok(file.export.is_pseudo() || may(&cx.credential(file), &inode, Want::READ))
}

/// Any bytes but NUL, as Linux has them: unlike the name of a file, `/` may be among them.
pub(super) fn checked(name: Bytes) -> Result<Bytes, Refusal> {
    match &name[..] {
        [] => Err(Nfsstat4::Inval.into()),
        bytes if bytes.len() > NAME_MAX_BYTES => Err(Nfsstat4::Nametoolong.into()),
        bytes if bytes.contains(&0) => Err(Nfsstat4::Badchar.into()),
        _ => Ok(name),
    }
}
