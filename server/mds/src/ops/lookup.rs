//! LOOKUP and LOOKUPP, RFC 8881 §18.13, §18.14.
//!
//! State, gate: none. Catalog: reads the folder and the entry. In the pseudo file system only the
//! way to exports that admit the client is found. A referral is entered: what comes next is MOVED.

use crate::compound::{Compound, File, Name, in_path};
use crate::identity::Want;
use crate::status::Refusal;
use catalog::{FileKind, InodeId};
use std::sync::Arc;
use wire::nfs4::{Lookup4Args, Nfsstat4};

pub(crate) async fn lookup(args: Lookup4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let found = find(cx.file()?, args.objname, cx).await?;
    cx.set_current(found);
    Ok(())
}

/// The file that `name` names in `directory`, as the caller may see it.
pub(super) async fn find(
    directory: &File,
    name: bytes::Bytes,
    cx: &Compound<'_>,
) -> Result<File, Refusal> {
    let name = Name::checked(name)?;
    if directory.export.is_pseudo() {
        let settings = cx.server.settings();
        let step = settings
            .exports
            .step(directory.id, &name, cx.connection.peer.ip())
            .ok_or(Nfsstat4::Noent)?;
        cx.enter(&step.export).await?;
        return Ok(File::new(step.id, Arc::clone(&step.export)));
    }
    if let Some(junction) = &directory.export.junction {
        return Box::pin(super::junction::lookup(junction, directory, &name, cx)).await;
    }
    cx.server.scanned(directory.id).await?;
    let folder = cx.server.catalog.inode(directory.id).await?;
    in_path(&cx.credential(directory), &folder, Want::EXECUTE)?;
    let reader = cx.server.catalog.read();
    let entry = reader
        .lookup(directory.id, &name)
        .await?
        .ok_or(Nfsstat4::Noent)?;
    let export = cx.settings().exports.beyond(&directory.export, entry.id);
    Ok(File::new(entry.id, export))
}

pub(crate) async fn lookupp(cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let file = cx.file()?;
    if file.export.junction.is_some() {
        let parent = Box::pin(super::junction::parent(file, cx)).await?;
        cx.set_current(parent);
        return Ok(());
    }
    let inode = cx.inode().await?;
    match inode.kind {
        FileKind::Directory => {}
        FileKind::Symlink => return Err(Nfsstat4::Symlink.into()),
        _ => return Err(Nfsstat4::Notdir.into()),
    }
    if file.id == InodeId::ROOT {
        return Err(Nfsstat4::Noent.into());
    }
    if !file.export.is_pseudo() {
        in_path(&cx.credential(file), &inode, Want::EXECUTE)?;
    }
    let parent = inode.parent.ok_or(Nfsstat4::Noent)?;
    // Above an export's root lies the pseudo file system.
    let leaves = file.id == file.export.root;
    let export = if leaves {
        Arc::clone(
            cx.server
                .settings()
                .exports
                .by_number(crate::exports::ExportRule::PSEUDO)
                .ok_or(Nfsstat4::Noent)?,
        )
    } else {
        Arc::clone(&file.export)
    };
    cx.set_current(File::new(parent, export));
    Ok(())
}
