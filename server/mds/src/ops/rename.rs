//! RENAME, RFC 8881 §18.26: from the saved folder to the current one.
//!
//! State: delegations of what is moved or replaced are recalled first, and those of both folders whose holders
//! aren't told.
//! Gate: the replaced inode, exclusive, so that no OPEN finds a file whose last name is going.
//! Catalog: one transaction (two entries, up to three parents' hot keys, one unlinked inode). It refuses what leads
//! from one keeper's file system to another's, and so do we before anything is recalled.
//! Linux: `mv -f a b` of two hard links of one inode is OK, and nothing happens (§18.26.3).

use super::remove::{Fate, fate, old};
use crate::compound::{Compound, File, Name, change_info, in_directory, may_take_away};
use crate::delegations::Undelegated;
use crate::identity::{Credential, Want, may};
use crate::state::{EntryChange, GateMode, Notices, OldEntry};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{Done, FileKind, InodeId, Tx, transact};
use wire::nfs4::{Nfsstat4, Rename4Args, Rename4Ok};

const ATTEMPTS: usize = 8;

pub(crate) async fn rename(args: Rename4Args, cx: &mut Compound<'_>) -> Result<Rename4Ok, Refusal> {
    let from = Compound::changeable(cx.saved_file()?)?;
    let to = cx.changeable_directory()?;
    if from.export.number != to.export.number {
        return Err(Nfsstat4::Xdev.into());
    }
    let (oldname, newname) = (Name::checked(args.oldname)?, Name::checked(args.newname)?);
    cx.server.scanned(from.id).await?;
    cx.server.scanned(to.id).await?;
    let credential = cx.credential(&from);
    let client = cx.client().ok();
    for _ in 0..ATTEMPTS {
        let reader = cx.server.catalog.read();
        let source = reader.inode(from.id).await?;
        in_directory(&credential, &source, Want::EXECUTE)?;
        let target = reader.inode(to.id).await?;
        in_directory(&credential, &target, Want::EXECUTE)?;
        if source.keeper != target.keeper {
            return Err(Nfsstat4::Xdev.into());
        }
        let entry = reader.lookup(from.id, &oldname).await?;
        let entry = entry.ok_or(Nfsstat4::Noent)?;
        match reader.inode(entry.id).await {
            // Who may not move it recalls nothing.
            Ok(inode) => {
                // The root of another file system (§18.26.3).
                if inode.keeper != source.keeper {
                    return Err(Nfsstat4::Xdev.into());
                }
                may_take_away(&credential, &source, &inode)?;
                in_directory(&credential, &target, Want::to_add(inode.kind))?;
            }
            Err(catalog::Error::Stale) => continue,
            Err(error) => return Err(error.into()),
        }
        let (moved, replaced) = (entry.id, reader.lookup(to.id, &newname).await?);
        let replaced = replaced.map(|entry| entry.id);
        if let Some(replaced) = replaced.filter(|replaced| *replaced != moved) {
            cx.server.scanned(replaced).await?;
        }
        // The root of another file system (§18.26.3).
        let exports = &cx.settings().exports;
        if exports.is_covered(moved) || replaced.is_some_and(|id| exports.is_covered(id)) {
            return Err(Nfsstat4::Xdev.into());
        }
        let folders = Folders::undelegated(&from, &to, cx).await?;
        let _moved = cx.server.undelegated(moved, client).await?;
        let _replaced = match replaced {
            Some(inode) => Some(cx.server.undelegated(inode, client).await?),
            None => None,
        };
        let _alone = match replaced {
            Some(inode) => Some(cx.server.enter(inode, GateMode::Exclusive).await?),
            None => None,
        };
        let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<
            Option<(Fate, Entries)>,
            Refusal,
        > {
            let Some(entries) = permitted(
                tx,
                &credential,
                (&from, &oldname),
                (&to, &newname),
                (moved, replaced),
            )
            .await?
            else {
                return Ok(None);
            };
            let renamed = tx.rename(from.id, &oldname, to.id, &newname).await?;
            let fate = match &renamed.replaced {
                Some(replaced) => fate(tx, replaced, cx).await?,
                None => Fate::Named,
            };
            Ok(Some((fate, entries)))
        })?;
        if let Some((fate, entries)) = &done.value {
            folders.tell(&done, entries, &newname);
            fate.follow(cx);
            return Ok(Rename4Ok {
                source_cinfo: change_info(&done, from.id),
                target_cinfo: change_info(&done, to.id),
            });
        }
    }
    Err(Nfsstat4::Delay.into())
}

/// The two names as they were.
struct Entries {
    moved: OldEntry,
    replaced: Option<OldEntry>,
}

/// The folders of a rename, of which nobody has a delegation but who is told of it.
enum Folders {
    One(Undelegated),
    Two { from: Undelegated, to: Undelegated },
}

impl Folders {
    async fn undelegated(from: &File, to: &File, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let client = cx.client().ok();
        let folder = |id, told| cx.server.entries_undelegated(id, told, client);
        if from.id == to.id {
            return Ok(Folders::One(folder(from.id, Notices::RENAMED).await?));
        }
        Ok(Folders::Two {
            from: folder(from.id, Notices::REMOVED).await?,
            to: folder(to.id, Notices::ADDED).await?,
        })
    }

    fn tell<T>(&self, done: &Done<T>, entries: &Entries, newname: &Name) {
        let (from, replaced) = (entries.moved.clone(), entries.replaced.clone());
        let name = Bytes::clone(newname);
        match self {
            Folders::One(folder) => {
                let to = name;
                folder.tell(done, &EntryChange::Renamed { from, to, replaced });
            }
            Folders::Two { from: source, to } => {
                source.tell(done, &EntryChange::Removed(from));
                to.tell(done, &EntryChange::Added { name, replaced });
            }
        }
    }
}

/// Refuses what the caller may not do; `None` when a name no longer means what it did: `moved`,
/// `replaced`, whose delegations are out of the way and whose gate we hold.
async fn permitted(
    tx: &mut Tx,
    credential: &Credential,
    (from, oldname): (&File, &Name),
    (to, newname): (&File, &Name),
    (moved, replaced): (InodeId, Option<InodeId>),
) -> Result<Option<Entries>, Refusal> {
    let source = tx.inode(from.id).await?;
    in_directory(credential, &source, Want::EXECUTE)?;
    let target = tx.inode(to.id).await?;
    let entry = tx.lookup(from.id, oldname).await?.ok_or(Nfsstat4::Noent)?;
    if entry.id != moved {
        return Ok(None);
    }
    let moved = tx.inode(entry.id).await?;
    may_take_away(credential, &source, &moved)?;
    in_directory(credential, &target, Want::to_add(moved.kind))?;
    // A folder that changes its parent has its ".." rewritten.
    if moved.kind == FileKind::Directory
        && from.id != to.id
        && !may(credential, &moved, Want::WRITE)
    {
        return Err(Nfsstat4::Access.into());
    }
    let now = tx.lookup(to.id, newname).await?;
    if now.as_ref().map(|entry| entry.id) != replaced {
        return Ok(None);
    }
    if let Some(now) = &now
        && now.id != entry.id
    {
        may_take_away(credential, &target, &tx.inode(now.id).await?)?;
        // Both folders, or neither: the errors that POSIX gives, which Linux passes on.
        let clash = (
            moved.kind == FileKind::Directory,
            now.kind == FileKind::Directory,
        );
        match clash {
            (true, false) => return Err(Nfsstat4::Notdir.into()),
            (false, true) => return Err(Nfsstat4::Isdir.into()),
            _ => {}
        }
    }
    Ok(Some(Entries {
        moved: old(entry),
        replaced: now.map(old),
    }))
}
