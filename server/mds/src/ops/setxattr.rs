//! SETXATTR, RFC 8276 §8.4.2.
//!
//! State: delegations of others are recalled first. Gate: none. Catalog: one transaction (inode, name, value), in
//! which it is decided whether the attribute was there, and whether it changes.
//! Linux: `setxattr(2)` with XATTR_CREATE or XATTR_REPLACE comes as the option of that name.

use super::getxattr::{checked, has_xattrs};
use super::location::not_reserved;
use crate::compound::{Compound, change_of_itself};
use crate::identity::{Credential, Want, may, owns};
use crate::status::Refusal;
use catalog::{FileKind, Inode, InodeChange, SetXattr, XattrLimits, transact};
use wire::nfs4::{Nfsstat4, Setxattr4Args, Setxattr4Ok, SetxattrOption4};

pub(crate) async fn setxattr(
    args: Setxattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Setxattr4Ok, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let name = checked(args.key)?;
    not_reserved(&name)?;
    let limits = &cx.server.limits;
    if args.value.len() > limits.xattr_value_bytes as usize {
        return Err(Nfsstat4::Xattr2big.into());
    }
    let limits = XattrLimits {
        value_bytes: limits.xattr_value_bytes,
        count: limits.xattrs_per_file,
        total_bytes: limits.xattr_bytes_per_file,
    };
    let how = match args.option {
        SetxattrOption4::Either => SetXattr::Either,
        SetxattrOption4::Create => SetXattr::Create,
        SetxattrOption4::Replace => SetXattr::Replace,
    };
    let credential = cx.credential(&file);
    // Who may not change it recalls nothing.
    may_write_xattrs(&credential, &*cx.inode().await?)?;
    let _undelegated = cx.server.undelegated(file.id, cx.client().ok()).await?;
    let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<
        InodeChange,
        Refusal,
    > {
        let inode = tx.inode(file.id).await?;
        may_write_xattrs(&credential, &inode)?;
        // §8.4.2.3: the same value again leaves caches as they are.
        if how != SetXattr::Create && tx.xattr(file.id, &name).await?.as_ref() == Some(&args.value)
        {
            return Ok(InodeChange {
                id: file.id,
                before: inode.change,
                after: inode.change,
            });
        }
        Ok(tx
            .xattr_set(file.id, &name, &args.value, how, &limits)
            .await?)
    })?;
    Ok(Setxattr4Ok {
        info: change_of_itself(&done),
    })
}

/// By the right to write the file itself, as on a local file system.
pub(super) fn may_write_xattrs(credential: &Credential, inode: &Inode) -> Result<(), Refusal> {
    if !has_xattrs(inode.kind) {
        return Err(Nfsstat4::WrongType.into());
    }
    // xattr(7): in a folder like /tmp everybody may make files, and nobody else's mark on it.
    let sticky = inode.kind == FileKind::Directory && inode.mode & 0o1000 != 0;
    if sticky && !owns(credential, inode) {
        return Err(Nfsstat4::Perm.into());
    }
    if may(credential, inode, Want::WRITE) {
        Ok(())
    } else {
        Err(Nfsstat4::Access.into())
    }
}
