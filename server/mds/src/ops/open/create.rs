//! What OPEN does with a name that it may make.
//!
//! Catalog: one transaction looks at the folder, the name and the caller's rights, and makes the file. What has to be
//! known before it, where somebody holds a delegation of the folder or objects are to be had, is looked at twice.

use super::{Target, existing, openable};
use crate::attributes::Changes;
use crate::compound::{Compound, File, Name, change_info, in_directory, in_path};
use crate::identity::{Credential, Want};
use crate::ops::create::birth;
use crate::state::{Access, ClientId, EntryChange, GateMode, Notices};
use crate::status::Refusal;
use crate::writing::Pen;
use bytes::Bytes;
use catalog::{FileKind, Inode, InodeId, Reader, transact};
use std::sync::Arc;
use wire::nfs4::{Createhow4, Nfsstat4};

/// `None`: the name changed its meaning meanwhile, look again.
pub(super) async fn create(
    directory: &File,
    name: Bytes,
    how: &Createhow4,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<Option<Target>, Refusal> {
    let name = Name::checked(name)?;
    // What lies there besides the way to exports is for nobody's eyes.
    if directory.export.is_pseudo() {
        return Err(Nfsstat4::Rofs.into());
    }
    let (changes, verifier) = match how {
        Createhow4::Unchecked(attrs) | Createhow4::Guarded(attrs) => {
            (Changes::of_new(attrs.clone(), cx).await?, None)
        }
        Createhow4::Exclusive(verifier) => (Changes::later(), Some(verifier.0)),
        Createhow4::Exclusive41(both) => (
            Changes::of_new(both.attrs.clone(), cx).await?,
            Some(both.verf.0),
        ),
    };
    changes.fits(FileKind::Regular)?;
    let credential = cx.credential(directory);
    let (server, told) = (cx.server, Notices::ADDED);
    let mut entries = server.entries_undelegated_now(directory.id, told, Some(client));
    let mut ahead = None;
    if entries.is_none() || cx.lays_out_to_write {
        // Who may not add to it recalls nothing, and takes no objects.
        let parent = match free(&server.catalog.read(), directory, &name, &credential).await? {
            Ok(parent) => parent,
            Err(why) => {
                return why
                    .answer(directory, (how, verifier), &changes, client, cx)
                    .await;
            }
        };
        if cx.lays_out_to_write {
            let writer = cx.connection.peer.ip();
            ahead = server.objects_ahead(&parent, client, writer).await;
        }
    }
    let entries = match entries.take() {
        Some(entries) => entries,
        None => {
            server
                .entries_undelegated(directory.id, told, Some(client))
                .await?
        }
    };
    let pen = Pen::Client(client);
    let mut inside = None;
    let done = transact!(server.catalog, cx.now, |tx| -> Result<
        Result<Inode, NotFree>,
        Refusal,
    > {
        let parent = match free(tx, directory, &name, &credential).await? {
            Ok(parent) => parent,
            Err(why) => return Ok(Err(why)),
        };
        let mut new = birth(FileKind::Regular, &changes, &credential, &parent);
        new.create_verifier = verifier;
        if let Some(placement) = &ahead {
            placement.claim().take(tx).await?;
            new.extents = placement.extents();
        }
        let mut inode = tx.create(directory.id, &name, new).await?;
        if ahead.is_some() {
            // Nobody clears the intent before it is known here.
            inside = Some(server.enter(inode.id, GateMode::Shared).await?);
            server.writing.note(tx, inode.id, inode.size_epoch, pen);
        }
        if let Some(times) = changes.times() {
            times.apply(&credential, &mut inode, cx.now);
            tx.put(&inode).await?;
        }
        Ok(Ok(inode))
    })?;
    let inode = match &done.value {
        Ok(inode) => inode,
        Err(why) => {
            if let Some(placement) = ahead {
                placement.unused();
            }
            drop(entries);
            return why
                .answer(directory, (how, verifier), &changes, client, cx)
                .await;
        }
    };
    if let Some(placement) = ahead {
        placement.used();
        server.writing.add(inode.id, pen);
    }
    drop(inside);
    entries.tell(&done, &EntryChange::added(Bytes::clone(&name)));
    Ok(Some(Target {
        file: File::new(inode.id, Arc::clone(&directory.export)),
        cinfo: change_info(&done, directory.id),
        attrset: changes.asked,
        created: true,
        truncate_to: changes.size.filter(|size| *size > 0),
    }))
}

/// Why a name can't be made.
enum NotFree {
    /// It is this file's; with the folder.
    Taken(InodeId, Box<Inode>),
    /// What the filer has in the folder isn't known yet.
    Unscanned,
}

/// The folder, where the name is free in it and to be made by that caller.
async fn free(
    reader: &Reader,
    directory: &File,
    name: &Name,
    credential: &Credential,
) -> Result<Result<Inode, NotFree>, Refusal> {
    let parent = reader.inode(directory.id).await?;
    in_path(credential, &parent, Want::EXECUTE)?;
    if parent.unscanned {
        return Ok(Err(NotFree::Unscanned));
    }
    if let Some(entry) = reader.lookup(directory.id, name).await? {
        return Ok(Err(NotFree::Taken(entry.id, Box::new(parent))));
    }
    Compound::changeable(directory)?;
    in_directory(credential, &parent, Want::ADD_FILE)?;
    Ok(Ok(parent))
}

impl NotFree {
    async fn answer(
        &self,
        directory: &File,
        how: (&Createhow4, Option<[u8; 8]>),
        changes: &Changes,
        client: ClientId,
        cx: &Compound<'_>,
    ) -> Result<Option<Target>, Refusal> {
        match self {
            Self::Taken(id, parent) => {
                let file = File::new(*id, Arc::clone(&directory.export));
                taken(file, parent, how, changes, client, cx).await
            }
            Self::Unscanned => {
                cx.server.scanned(directory.id).await?;
                Ok(None)
            }
        }
    }
}

/// A create of a name that is there.
async fn taken(
    file: File,
    parent: &Inode,
    (how, verifier): (&Createhow4, Option<[u8; 8]>),
    changes: &Changes,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<Option<Target>, Refusal> {
    let mut target = existing(file, parent);
    match how {
        Createhow4::Unchecked(_) => {
            // Of the attributes only a size counts, and of sizes only 0 (RFC 8881 §18.16.3).
            target.truncate_to = changes.size.filter(|size| *size == 0);
            if target.truncate_to.is_some() {
                let inode = cx.server.catalog.inode(target.file.id).await?;
                openable(
                    &inode,
                    Access::Write,
                    &cx.credential(&target.file),
                    target.file.export.access,
                )?;
                let denied = cx.server.state.lock().share_conflict(
                    target.file.id,
                    Access::Write,
                    Some(client),
                );
                if denied {
                    return Err(Nfsstat4::ShareDenied.into());
                }
                target.attrset.set(wire::nfs4::Attr::Size);
            }
            Ok(Some(target))
        }
        Createhow4::Guarded(_) => Err(Nfsstat4::Exist.into()),
        Createhow4::Exclusive(_) | Createhow4::Exclusive41(_) => {
            let inode = match cx.server.catalog.inode(target.file.id).await {
                Ok(inode) => inode,
                Err(catalog::Error::Stale) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // A retry of the create that made it, after a restart lost the reply.
            if inode.create_verifier.is_some() && inode.create_verifier == verifier {
                target.created = true;
                target.attrset = changes.asked;
                return Ok(Some(target));
            }
            Err(Nfsstat4::Exist.into())
        }
    }
}
