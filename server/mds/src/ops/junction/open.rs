//! OPEN in a junction, RFC 8881 §18.16.
//!
//! State: an open is reserved, so that it counts against others at once, then confirmed. Gate: shared
//! while it is reserved. Linux renames a file that it has open before it removes it, unless it is told
//! that the server keeps such files: a backend doesn't.

use super::{Place, held};
use crate::attributes::Changes;
use crate::compound::{Compound, File, Name};
use crate::exports::Access as ExportAccess;
use crate::identity::Want;
use crate::junction::inode_of;
use crate::ops::legacy::Made;
use crate::ops::lookup;
use crate::ops::open::delegation::Wish;
use crate::ops::open::make::existing as existing_file;
use crate::ops::open::{openable, shares};
use crate::state::{Access, ClientId, GateMode, OpenRequest, OpenReservation};
use crate::status::Refusal;
use backend::tree::{CreateHow, NodeChanges, TreeErrorKind};
use bytes::Bytes;
use catalog::FileKind;
use wire::nfs4::{
    Attr, Bitmap4, ChangeInfo4, Createhow4, Nfsstat4, OPEN4_RESULT_LOCKTYPE_POSIX,
    OPEN4_RESULT_MAY_NOTIFY_LOCK, Open4Args, Open4Ok, OpenClaim4, OpenNoneDelegation4, Openflag4,
};

/// How often a name may come and go while it is opened.
const ATTEMPTS: usize = 8;

/// What is to be opened, once names are resolved.
struct Target {
    file: File,
    cinfo: ChangeInfo4,
    attrset: Bitmap4,
    /// Made by this very OPEN: its creator needs no permission of its mode bits.
    created: bool,
    /// To be emptied before the open is answered.
    emptied: bool,
}

pub(super) async fn open(args: Open4Args, cx: &mut Compound<'_>) -> Result<Open4Ok, Refusal> {
    let client = cx.client()?;
    let (access, deny) = shares(&args)?;
    let wish = Wish::of(args.share_access, cx.minor)?;
    let reclaim = matches!(args.claim, OpenClaim4::Previous(_));
    if !reclaim {
        cx.server.state.lock().may_take_new(client)?;
    }
    for _ in 0..ATTEMPTS {
        let Some(target) = resolve(&args, cx).await? else {
            continue;
        };
        let place = Place::of(&target.file, cx).await?;
        let request = OpenRequest {
            client,
            // A slice would keep the whole record that it came in.
            owner: Bytes::copy_from_slice(&args.owner.owner),
            inode: target.file.id,
            access,
            deny,
            reclaim,
            under: None,
        };
        let reservation = reserve(request, &target, &place, cx).await?;
        if target.emptied
            && let Err(refusal) = empty(&target.file, &place, client, cx).await
        {
            cx.server.state.lock().open_rollback(reservation);
            return Err(refusal);
        }
        held(&target.file, cx);
        let (stateid, may_notify) = {
            let mut state = cx.server.state.lock();
            let stateid = state.open_confirm(reservation)?;
            (stateid, state.can_call_back(client))
        };
        cx.set_current(target.file);
        return Ok(Open4Ok {
            stateid: cx.set_stateid(stateid),
            cinfo: target.cinfo,
            rflags: OPEN4_RESULT_LOCKTYPE_POSIX
                | if may_notify {
                    OPEN4_RESULT_MAY_NOTIFY_LOCK
                } else {
                    0
                },
            attrset: target.attrset,
            delegation: wish.answer(&Err(OpenNoneDelegation4::NotSuppFtype)),
        });
    }
    Err(Nfsstat4::Delay.into())
}

/// CREATE of NFSv3: the same without an open.
pub(in crate::ops) async fn make(
    name: Bytes,
    how: &Createhow4,
    cx: &mut Compound<'_>,
) -> Result<Made, Refusal> {
    let client = cx.client()?;
    let folder = cx.file()?.clone();
    for _ in 0..ATTEMPTS {
        let Some(target) = create(&folder, name.clone(), how, cx).await? else {
            continue;
        };
        let place = Place::of(&target.file, cx).await?;
        if !target.created {
            existing_file(inode_of(target.file.id, &place.stat().await?).kind)?;
        }
        if target.emptied {
            empty(&target.file, &place, client, cx).await?;
        }
        return Ok(Made {
            file: target.file,
            cinfo: target.cinfo,
            created: target.created,
        });
    }
    Err(Nfsstat4::Delay.into())
}

async fn reserve(
    request: OpenRequest,
    target: &Target,
    place: &Place,
    cx: &Compound<'_>,
) -> Result<OpenReservation, Refusal> {
    let _inside = cx.server.enter(target.file.id, GateMode::Shared).await?;
    if !target.created && !request.reclaim {
        permitted(&target.file, place, request.access).await?;
    }
    let reserved = cx.server.reserve_open(request).await?;
    // Nobody has a delegation here that could stand against it.
    reserved.map_err(|_| Nfsstat4::Delay.into())
}

/// Refuses whom the file's keeper, or its mode bits, refuse.
async fn permitted(file: &File, place: &Place, access: Access) -> Result<(), Refusal> {
    let inode = inode_of(file.id, &place.stat().await?);
    if !place.can.judges || inode.kind != FileKind::Regular {
        return openable(&inode, access, &place.credential, file.export.access);
    }
    if access.writes() && file.export.access == ExportAccess::ReadOnly {
        return Err(Nfsstat4::Rofs.into());
    }
    let rights = place.tree().rights(&place.caller, &place.handle).await;
    let rights = place.heard(rights)?;
    // execve(2) over NFS opens for reading, with execute permission alone.
    let reads = !access.reads() || rights.read || (!access.writes() && rights.execute);
    let writes = !access.writes() || rights.modify;
    if reads && writes {
        Ok(())
    } else {
        Err(Nfsstat4::Access.into())
    }
}

/// O_TRUNC of a file that is there.
async fn empty(
    file: &File,
    place: &Place,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<(), Refusal> {
    permitted(file, place, Access::Write).await?;
    let denied = cx
        .server
        .state
        .lock()
        .share_conflict(file.id, Access::Write, Some(client));
    if denied {
        return Err(Nfsstat4::ShareDenied.into());
    }
    let changes = NodeChanges {
        size: Some(0),
        ..NodeChanges::default()
    };
    let set = place.tree().set(&place.caller, &place.handle, &changes);
    place.heard(set.await)?;
    Ok(())
}

/// `None`: the name came or went meanwhile, look again.
async fn resolve(args: &Open4Args, cx: &Compound<'_>) -> Result<Option<Target>, Refusal> {
    let current = cx.file()?.clone();
    match (&args.claim, &args.openhow) {
        (OpenClaim4::Null(name), Openflag4::NoCreate) => {
            let file = lookup::find(&current, name.clone(), cx).await?;
            Ok(Some(existing(file, &current, cx).await?))
        }
        (OpenClaim4::Null(name), Openflag4::Create(how)) => {
            create(&current, name.clone(), how, cx).await
        }
        (OpenClaim4::Fh | OpenClaim4::Previous(_), Openflag4::NoCreate) => {
            Ok(Some(existing(current.clone(), &current, cx).await?))
        }
        // None is ever given here.
        (OpenClaim4::DelegateCur(_) | OpenClaim4::DelegCurFh(_), Openflag4::NoCreate) => {
            Err(Nfsstat4::BadStateid.into())
        }
        (OpenClaim4::DelegatePrev(_) | OpenClaim4::DelegPrevFh, _) => Err(Nfsstat4::Notsupp.into()),
        (_, Openflag4::Create(_)) => Err(Nfsstat4::Inval.into()),
    }
}

async fn existing(file: File, parent: &File, cx: &Compound<'_>) -> Result<Target, Refusal> {
    let change = Place::of(parent, cx).await?.stat().await?.change;
    Ok(Target {
        file,
        cinfo: ChangeInfo4 {
            atomic: false,
            before: change,
            after: change,
        },
        attrset: Bitmap4::EMPTY,
        created: false,
        emptied: false,
    })
}

async fn create(
    folder: &File,
    name: Bytes,
    how: &Createhow4,
    cx: &Compound<'_>,
) -> Result<Option<Target>, Refusal> {
    let name = Name::checked(name)?;
    let (changes, exclusive) = match how {
        Createhow4::Unchecked(attrs) | Createhow4::Guarded(attrs) => {
            (Changes::of_new(attrs.clone(), cx).await?, None)
        }
        Createhow4::Exclusive(verifier) => (Changes::later(), Some(verifier.0)),
        Createhow4::Exclusive41(both) => {
            let changes = Changes::of_new(both.attrs.clone(), cx).await?;
            (changes, Some(both.verf.0))
        }
    };
    let place = Place::of(folder, cx).await?;
    if exclusive.is_none() {
        match lookup::find(folder, Bytes::clone(&name), cx).await {
            Ok(file) if matches!(how, Createhow4::Unchecked(_)) => {
                let mut target = existing(file, folder, cx).await?;
                // Of the attributes only a size counts, and of sizes only 0 (§18.16.3).
                if changes.size == Some(0) {
                    target.emptied = true;
                    target.attrset.set(Attr::Size);
                }
                return Ok(Some(target));
            }
            Ok(_) => return Err(Nfsstat4::Exist.into()),
            Err(refusal) if refusal.status == Nfsstat4::Noent => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Compound::changeable(folder)?;
    let parent = place.folder(folder, Want::ADD_FILE).await?;
    let born = place.born(FileKind::Regular, &changes, parent.as_ref());
    let create_how = exclusive.map_or(CreateHow::Guarded, CreateHow::Exclusive);
    let created = place
        .tree()
        .create(&place.caller, &place.handle, &name, create_how, &born)
        .await;
    let (node, change) = match created {
        // Somebody was faster: what is there by now is opened, if that is what was asked for.
        Err(error)
            if error.kind == TreeErrorKind::Exists && matches!(how, Createhow4::Unchecked(_)) =>
        {
            return Ok(None);
        }
        created => place.heard(created)?,
    };
    Ok(Some(Target {
        file: place.file(&node).await?,
        cinfo: place.change(change).await?,
        attrset: changes.asked,
        created: true,
        emptied: false,
    }))
}
