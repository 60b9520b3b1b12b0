//! LINK, RFC 8881 §18.9: a further name for the saved filehandle in the current folder.
//!
//! State: delegations of the file are recalled first, and those of the folder whose holders aren't told. Gate: none.
//! Catalog: one transaction (entry, link count, the folder's hot key).

use crate::compound::{Compound, Name, change_info, in_path};
use crate::identity::Want;
use crate::state::{EntryChange, Notices};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{FileKind, transact};
use wire::nfs4::{Link4Args, Link4Ok, Nfsstat4};

pub(crate) async fn link(args: Link4Args, cx: &mut Compound<'_>) -> Result<Link4Ok, Refusal> {
    let source = cx.saved_file()?.clone();
    let directory = cx.changeable_directory()?;
    if source.export.number != directory.export.number {
        return Err(Nfsstat4::Xdev.into());
    }
    let name = Name::checked(args.newname)?;
    let credential = cx.credential(&directory);
    cx.server.scanned(directory.id).await?;
    // Who may not add to it recalls nothing.
    let folder = cx.inode().await?;
    in_path(&credential, &folder, Want::ADD_FILE)?;
    if cx.server.catalog.inode(source.id).await?.keeper != folder.keeper {
        return Err(Nfsstat4::Xdev.into());
    }
    let entries = cx
        .server
        .entries_undelegated(directory.id, Notices::ADDED, cx.client().ok())
        .await?;
    let _attributes = cx.server.undelegated(source.id, cx.client().ok()).await?;
    let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<(), Refusal> {
        let inode = tx.inode(source.id).await?;
        if inode.kind == FileKind::Directory {
            return Err(Nfsstat4::Isdir.into());
        }
        in_path(&credential, &tx.inode(directory.id).await?, Want::ADD_FILE)?;
        tx.link(directory.id, &name, source.id).await?;
        Ok(())
    })?;
    entries.tell(&done, &EntryChange::added(Bytes::clone(&name)));
    Ok(Link4Ok {
        cinfo: change_info(&done, directory.id),
    })
}
