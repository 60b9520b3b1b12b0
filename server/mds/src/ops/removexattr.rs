//! REMOVEXATTR, RFC 8276 §8.4.4.
//!
//! State: delegations of others are recalled first. Gate: none. Catalog: one transaction (inode, name, value).

use super::getxattr::checked;
use super::location::not_reserved;
use super::setxattr::may_write_xattrs;
use crate::compound::{Compound, change_of_itself};
use crate::status::Refusal;
use catalog::{InodeChange, transact};
use wire::nfs4::{Removexattr4Args, Removexattr4Ok};

pub(crate) async fn removexattr(
    args: Removexattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Removexattr4Ok, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let name = checked(args.name)?;
    not_reserved(&name)?;
    let credential = cx.credential(&file);
    // Who may not change it recalls nothing.
    may_write_xattrs(&credential, &*cx.inode().await?)?;
    let _undelegated = cx.server.undelegated(file.id, cx.client().ok()).await?;
    let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<
        InodeChange,
        Refusal,
    > {
        may_write_xattrs(&credential, &tx.inode(file.id).await?)?;
        Ok(tx.xattr_remove(file.id, &name).await?)
    })?;
    Ok(Removexattr4Ok {
        info: change_of_itself(&done),
    })
}
