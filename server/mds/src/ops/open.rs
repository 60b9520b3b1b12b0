//! OPEN, RFC 8881 §18.16.
//!
//! State: an open is reserved (it counts against others at once), then confirmed. Gate: the inode,
//! shared, while the reservation is made, so that no last unlink passes in between.
//! Catalog: for a create, one transaction (inode, entry, folder, objects from the pool).
//! Linux: LAYOUTGET rides in the same COMPOUND; `O_TRUNC` of an existing file comes as an UNCHECKED
//! create with size 0; `open(O_CREAT|O_RDWR, 0444)` succeeds for who made the file.

use super::create::birth;
use super::lookup;
use crate::attributes::Changes;
use crate::compound::{Compound, File, Name, change_info, in_directory, in_path};
use crate::exports::Access as ExportAccess;
use crate::identity::{Credential, Want, may};
use crate::state::{Access, ClientId, Deny, GateMode, OpenRequest};
use crate::status::Refusal;
use crate::truncate::Resize;
use bytes::Bytes;
use catalog::{FileKind, Inode, transact};
use objects::Placement;
use std::sync::Arc;
use wire::nfs4::{
    Bitmap4, ChangeInfo4, Createhow4, Nfsstat4, OPEN4_RESULT_LOCKTYPE_POSIX,
    OPEN4_RESULT_MAY_NOTIFY_LOCK, OPEN4_RESULT_PRESERVE_UNLINKED, OPEN4_SHARE_ACCESS_BOTH,
    OPEN4_SHARE_ACCESS_WANT_CANCEL, OPEN4_SHARE_ACCESS_WANT_DELEG_MASK,
    OPEN4_SHARE_ACCESS_WANT_NO_DELEG, OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE, Open4Args, Open4Ok,
    OpenClaim4, OpenDelegation4, OpenNoneDelegation4, Openflag4,
};

/// How often a name may come to mean another file while it is opened.
const ATTEMPTS: usize = 8;

/// What is to be opened, once names are resolved.
struct Target {
    file: File,
    cinfo: ChangeInfo4,
    attrset: Bitmap4,
    /// Made by this very OPEN: its creator needs no permission of its mode bits.
    created: bool,
    /// Size to give it before the open is answered.
    truncate_to: Option<u64>,
}

pub(crate) async fn open(args: Open4Args, cx: &mut Compound<'_>) -> Result<Open4Ok, Refusal> {
    let client = cx.client()?;
    let (access, deny) = shares(&args)?;
    let reclaim = matches!(args.claim, OpenClaim4::Previous(_));
    if !reclaim {
        cx.server.state.lock().may_take_new(client)?;
    }
    for _ in 0..ATTEMPTS {
        let Some(target) = resolve(&args, client, cx).await? else {
            continue;
        };
        let file = target.file.clone();
        if deny != Deny::None && !reclaim {
            cx.server.writers_out(file.id, client).await?;
        }
        let request = OpenRequest {
            client,
            // A slice would keep the whole record that it came in.
            owner: Bytes::copy_from_slice(&args.owner.owner),
            inode: file.id,
            access,
            deny,
            reclaim,
        };
        let reserved = {
            let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
            let inode = match cx.server.catalog.read().inode(file.id).await {
                Ok(inode) => inode,
                // The name was removed since, and its file with it.
                Err(catalog::Error::Stale) if matches!(args.claim, OpenClaim4::Null(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            if !target.created && !reclaim {
                openable(&inode, access, &cx.credential(&file), file.export.access)?;
            }
            cx.server.reserve_open(request).await
        };
        let reservation = match reserved {
            // Who was in the way is out, and may still write until he is fenced: that takes the gate.
            Err(refusal)
                if refusal.status == Nfsstat4::Delay
                    && deny != Deny::None
                    && cx.server.writer_lingers(file.id, client) =>
            {
                cx.server.writers_out(file.id, client).await?;
                continue;
            }
            reserved => reserved?,
        };
        if let Some(size) = target.truncate_to {
            let asked = Resize {
                size,
                asker: Some(client),
                changes: &Changes::default(),
                credential: &cx.credential(&file),
            };
            if let Err(refusal) = cx.server.truncate(file.id, asked).await {
                cx.server.state.lock().open_rollback(reservation);
                cx.server.reap_if_free(file.id);
                return Err(refusal);
            }
        }
        let (stateid, may_notify) = {
            let mut state = cx.server.state.lock();
            let stateid = state.open_confirm(reservation)?;
            (stateid, state.can_call_back(client))
        };
        let notify = if may_notify {
            OPEN4_RESULT_MAY_NOTIFY_LOCK
        } else {
            0
        };
        cx.set_current(file);
        return Ok(Open4Ok {
            stateid: cx.set_stateid(stateid),
            cinfo: target.cinfo,
            rflags: OPEN4_RESULT_LOCKTYPE_POSIX | OPEN4_RESULT_PRESERVE_UNLINKED | notify,
            attrset: target.attrset,
            delegation: no_delegation(args.share_access),
        });
    }
    Err(Nfsstat4::Delay.into())
}

fn shares(args: &Open4Args) -> Result<(Access, Deny), Refusal> {
    let access = Access::from_bits(args.share_access & OPEN4_SHARE_ACCESS_BOTH);
    let deny = Deny::from_bits(args.share_deny);
    Ok((access.ok_or(Nfsstat4::Inval)?, deny.ok_or(Nfsstat4::Inval)?))
}

/// A client that said what it wants is told why it gets none (RFC 8881 §18.16.3).
fn no_delegation(share_access: u32) -> OpenDelegation4 {
    match share_access & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK {
        OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE => OpenDelegation4::None,
        OPEN4_SHARE_ACCESS_WANT_NO_DELEG => {
            OpenDelegation4::NoneExt(OpenNoneDelegation4::NotWanted)
        }
        OPEN4_SHARE_ACCESS_WANT_CANCEL => OpenDelegation4::NoneExt(OpenNoneDelegation4::Cancelled),
        _ => OpenDelegation4::NoneExt(OpenNoneDelegation4::Resource(false)),
    }
}

/// `None`: the name changed its meaning meanwhile, look again.
async fn resolve(
    args: &Open4Args,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<Option<Target>, Refusal> {
    let current = cx.file()?.clone();
    match (&args.claim, &args.openhow) {
        (OpenClaim4::Null(name), Openflag4::NoCreate) => {
            let parent = cx.inode().await?;
            let file = lookup::find(&current, name.clone(), cx).await?;
            Ok(Some(existing(file, &parent)))
        }
        (OpenClaim4::Null(name), Openflag4::Create(how)) => {
            create(&current, name.clone(), how, client, cx).await
        }
        (OpenClaim4::Fh | OpenClaim4::Previous(_), Openflag4::NoCreate) => {
            let inode = cx.inode().await?;
            Ok(Some(existing(current, &inode)))
        }
        (OpenClaim4::Fh | OpenClaim4::Previous(_), Openflag4::Create(_)) => {
            Err(Nfsstat4::Inval.into())
        }
        // Claims of delegations, which are not given: none can be valid.
        (OpenClaim4::DelegateCur(_) | OpenClaim4::DelegCurFh(_), _) => {
            Err(Nfsstat4::BadStateid.into())
        }
        (OpenClaim4::DelegatePrev(_) | OpenClaim4::DelegPrevFh, _) => Err(Nfsstat4::Notsupp.into()),
    }
}

fn existing(file: File, parent: &Inode) -> Target {
    let cinfo = ChangeInfo4 {
        atomic: true,
        before: parent.change,
        after: parent.change,
    };
    Target {
        file,
        cinfo,
        attrset: Bitmap4::EMPTY,
        created: false,
        truncate_to: None,
    }
}

fn openable(
    inode: &Inode,
    access: Access,
    credential: &Credential,
    export: ExportAccess,
) -> Result<(), Refusal> {
    match inode.kind {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Nfsstat4::Isdir.into()),
        FileKind::Symlink => return Err(Nfsstat4::Symlink.into()),
        _ => return Err(Nfsstat4::WrongType.into()),
    }
    if access.writes() && export == ExportAccess::ReadOnly {
        return Err(Nfsstat4::Rofs.into());
    }
    // execve(2) over NFS opens for reading, with execute permission alone.
    let reads = !access.reads()
        || may(credential, inode, Want::READ)
        || (!access.writes() && may(credential, inode, Want::EXECUTE));
    let writes = !access.writes() || may(credential, inode, Want::WRITE);
    if reads && writes {
        Ok(())
    } else {
        Err(Nfsstat4::Access.into())
    }
}

async fn create(
    directory: &File,
    name: Bytes,
    how: &Createhow4,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<Option<Target>, Refusal> {
    let name = Name::checked(name)?;
    let (fattr, verifier) = match how {
        Createhow4::Unchecked(attrs) | Createhow4::Guarded(attrs) => (attrs.clone(), None),
        Createhow4::Exclusive(verifier) => (wire::nfs4::Fattr4::empty(), Some(verifier.0)),
        Createhow4::Exclusive41(both) => (both.attrs.clone(), Some(both.verf.0)),
    };
    let changes = Changes::of_new(fattr, cx)?;
    changes.fits(FileKind::Regular)?;
    let credential = cx.credential(directory);
    let reader = cx.server.catalog.read();
    let parent = reader.inode(directory.id).await?;
    in_path(&credential, &parent, Want::EXECUTE)?;
    if let Some(entry) = reader.lookup(directory.id, &name).await? {
        let file = File {
            id: entry.id,
            export: Arc::clone(&directory.export),
        };
        return taken(file, &parent, (how, verifier), &changes, client, cx).await;
    }
    Compound::changeable(directory)?;
    let placement = cx.server.pooled(client, cx.connection.peer.ip());
    let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<
        Option<Inode>,
        Refusal,
    > {
        let parent = tx.inode(directory.id).await?;
        in_directory(&credential, &parent, Want::ADD_FILE)?;
        if tx.lookup(directory.id, &name).await?.is_some() {
            return Ok(None);
        }
        let mut new = birth(FileKind::Regular, &changes, &credential, &parent);
        new.create_verifier = verifier;
        if let Some(placement) = &placement {
            new.extents = placement.extents();
            placement.claim().take(tx).await?;
        }
        let mut inode = tx.create(directory.id, &name, new).await?;
        if let Some(times) = changes.times() {
            times.apply(&credential, &mut inode, cx.now);
            tx.put(&inode).await?;
        }
        Ok(Some(inode))
    })?;
    // A refused or unknown outcome drops the placement: its objects are looked after behind our back.
    let Some(inode) = &done.value else {
        placement.map(Placement::unused).unwrap_or_default();
        return Ok(None);
    };
    placement.map(Placement::used).unwrap_or_default();
    Ok(Some(Target {
        file: File {
            id: inode.id,
            export: Arc::clone(&directory.export),
        },
        cinfo: change_info(&done, directory.id),
        attrset: changes.asked,
        created: true,
        truncate_to: changes.size.filter(|size| *size > 0),
    }))
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
                let inode = cx.server.catalog.read().inode(target.file.id).await?;
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
            let inode = match cx.server.catalog.read().inode(target.file.id).await {
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
