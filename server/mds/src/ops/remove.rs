//! REMOVE, RFC 8881 §18.25.
//!
//! State: delegations of the file are recalled first, and those of the folder whose holders aren't told.
//! One of a removed folder that the remover had itself ends with the folder: no filehandle is left to return
//! it by.
//! Gate: the inode, exclusive, so that no OPEN finds a file whose last name is going.
//! Catalog: one transaction (entry, folder, link count or orphan). The objects of a file that
//! nobody holds go with it; otherwise with the last close, return or the end of grace.

use crate::compound::{Compound, Name, change_info, in_directory, may_take_away};
use crate::identity::Want;
use crate::state::{EntryChange, GateMode, Notices, OldEntry};
use crate::status::Refusal;
use catalog::{Entry, FileKind, Inode, InodeId, RemoveWhat, Removed, Tx, transact};
use wire::nfs4::{Nfsstat4, Remove4Args, Remove4Ok};

/// How often the name may come to mean another inode before the client is asked to come again.
const ATTEMPTS: usize = 8;

pub(crate) async fn remove(args: Remove4Args, cx: &mut Compound<'_>) -> Result<Remove4Ok, Refusal> {
    take_away(args, RemoveWhat::Any, cx).await
}

/// Whatever is of that kind.
pub(super) async fn take_away(
    args: Remove4Args,
    what: RemoveWhat,
    cx: &mut Compound<'_>,
) -> Result<Remove4Ok, Refusal> {
    let directory = cx.changeable_directory()?;
    let name = Name::checked(args.target)?;
    cx.server.scanned(directory.id).await?;
    let credential = cx.credential(&directory);
    for _ in 0..ATTEMPTS {
        let reader = cx.server.catalog.read();
        let parent = reader.inode(directory.id).await?;
        in_directory(&credential, &parent, Want::EXECUTE)?;
        let Some(entry) = reader.lookup(directory.id, &name).await? else {
            return Err(Nfsstat4::Noent.into());
        };
        of_kind(entry.kind, what)?;
        if cx.settings().exports.is_covered(entry.id) {
            return Err(Nfsstat4::Notempty.into());
        }
        match reader.inode(entry.id).await {
            // Who may not take it away recalls nothing.
            Ok(inode) => {
                not_a_root(&parent, &inode, cx)?;
                if entry.kind == FileKind::Directory {
                    cx.server.scanned(entry.id).await?;
                }
                may_take_away(&credential, &parent, &inode)?;
            }
            Err(catalog::Error::Stale) => continue,
            Err(error) => return Err(error.into()),
        }
        let entries = cx
            .server
            .entries_undelegated(directory.id, Notices::REMOVED, cx.client().ok())
            .await?;
        let _undelegated = cx.server.undelegated(entry.id, cx.client().ok()).await?;
        let _alone = cx.server.enter(entry.id, GateMode::Exclusive).await?;
        let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<
            Option<(Fate, EntryChange)>,
            Refusal,
        > {
            let parent = tx.inode(directory.id).await?;
            in_directory(&credential, &parent, Want::EXECUTE)?;
            let now = match tx.lookup(directory.id, &name).await? {
                Some(now) if now.id == entry.id => now,
                _ => return Ok(None),
            };
            let inode = tx.inode(entry.id).await?;
            not_a_root(&parent, &inode, cx)?;
            may_take_away(&credential, &parent, &inode)?;
            let removed = tx.remove(directory.id, &name, what).await?;
            let change = EntryChange::Removed(old(now));
            Ok(Some((fate(tx, &removed, cx).await?, change)))
        })?;
        if let Some((fate, change)) = &done.value {
            entries.tell(&done, change);
            fate.follow(cx);
            return Ok(Remove4Ok {
                cinfo: change_info(&done, directory.id),
            });
        }
    }
    Err(Nfsstat4::Delay.into())
}

/// Refuses the root of what a backend of the configuration keeps: it isn't empty, there is a file system in it.
fn not_a_root(parent: &Inode, entry: &Inode, cx: &Compound<'_>) -> Result<(), Refusal> {
    let another = entry.keeper.filter(|_| entry.kind == FileKind::Directory);
    let another = another.filter(|keeper| parent.keeper != Some(*keeper));
    if another.is_some_and(|keeper| cx.settings().keepers.contains(&keeper)) {
        return Err(Nfsstat4::Notempty.into());
    }
    Ok(())
}

/// Refuses an entry of the other kind.
pub(super) fn of_kind(kind: FileKind, what: RemoveWhat) -> Result<(), Refusal> {
    match (kind, what) {
        (FileKind::Directory, RemoveWhat::NotDirectory) => Err(Nfsstat4::Isdir.into()),
        (FileKind::Directory, _) | (_, RemoveWhat::Any | RemoveWhat::NotDirectory) => Ok(()),
        (_, RemoveWhat::Directory) => Err(Nfsstat4::Notdir.into()),
    }
}

/// An entry as it was, for those who are told of changes in its folder.
pub(super) fn old(entry: Entry) -> OldEntry {
    OldEntry {
        name: entry.name,
        cookie: entry.cookie,
    }
}

/// What becomes of an inode that lost a name.
pub(super) enum Fate {
    Named,
    /// A folder that is gone, and with it the delegation that its remover had.
    Folder(InodeId),
    /// Gone, and its objects with it.
    Reaped(InodeId),
    /// Held: the last holder to leave takes it along.
    Orphan(InodeId),
}

/// Decides, inside the transaction that took the name away, under the inode's gate.
pub(super) async fn fate(
    tx: &mut Tx,
    removed: &Removed,
    cx: &Compound<'_>,
) -> Result<Fate, Refusal> {
    let id = removed.inode.id;
    if removed.inode.kind == FileKind::Directory {
        return Ok(Fate::Folder(id));
    }
    if !removed.last_link {
        return Ok(Fate::Named);
    }
    if cx.server.must_outlive_its_names(id) {
        return Ok(Fate::Orphan(id));
    }
    tx.reap(id).await?;
    Ok(Fate::Reaped(id))
}

impl Fate {
    /// After the transaction is durable.
    pub fn follow(&self, cx: &Compound<'_>) {
        match self {
            Fate::Named => {}
            Fate::Folder(id) => cx.server.folder_is_gone(*id),
            Fate::Reaped(id) => cx.server.reaped(*id),
            Fate::Orphan(id) => cx.server.recall_orphan(*id),
        }
    }
}
