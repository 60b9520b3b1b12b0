//! OPEN, RFC 8881 §18.16.
//!
//! State: an open is reserved (it counts against others at once), then confirmed, and with it a
//! delegation may be given; those of others that stand against it are recalled before. Gate: the inode,
//! shared, while the reservation is made, so that no last unlink passes in between.
//! Catalog: for a create, one transaction (inode, entry, folder; where a LAYOUTGET to write follows, objects from the
//! pool and the write intent too), in `create`.
//! Linux: LAYOUTGET rides in the same COMPOUND; `O_TRUNC` of an existing file comes as an UNCHECKED
//! create with size 0; `open(O_CREAT|O_RDWR, 0444)` succeeds for who made the file.

mod create;
pub(crate) mod delegation;
pub(super) mod make;

use self::create::create;
use self::delegation::{Ground, Wish};
use super::lookup;
use crate::attributes::Changes;
use crate::compound::{Compound, File};
use crate::exports::Access as ExportAccess;
use crate::identity::{Credential, Want, may, owns};
use crate::state::{
    Access, ClientId, DelegationKind, Deny, GateMode, OpenRequest, OpenReservation, Stateid,
};
use crate::status::Refusal;
use crate::truncate::Resize;
use bytes::Bytes;
use catalog::{FileKind, Inode};
use std::sync::Arc;
use wire::nfs4::{
    Bitmap4, ChangeInfo4, Nfsstat4, OPEN4_RESULT_LOCKTYPE_POSIX, OPEN4_RESULT_MAY_NOTIFY_LOCK,
    OPEN4_RESULT_NO_OPEN_STATEID, OPEN4_RESULT_PRESERVE_UNLINKED, OPEN4_SHARE_ACCESS_BOTH,
    Open4Args, Open4Ok, OpenClaim4, OpenNoneDelegation4, Openflag4, Stateid4,
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
    let wish = Wish::of(args.share_access, cx.minor)?;
    let reclaim = matches!(args.claim, OpenClaim4::Previous(_));
    let under = delegation_claimed(&args.claim, cx)?;
    if !reclaim && under.is_none() {
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
            under,
        };
        let Some((reservation, mut inode)) = reserve(request, &target, &args.claim, cx).await?
        else {
            continue;
        };
        if let Some(size) = target.truncate_to {
            match truncated(file.id, size, client, &cx.credential(&file), cx).await {
                Ok(cut) => inode = cut,
                Err(refusal) => {
                    cx.server.state.lock().open_rollback(reservation);
                    cx.server.reap_if_free(file.id);
                    return Err(refusal);
                }
            }
        }
        let ground = match &args.claim {
            OpenClaim4::Previous(kind) => Ground::reclaimed(*kind),
            // Somebody of an earlier start may still be writing.
            _ if under.is_some() || cx.server.writing.has_former(file.id) => None,
            _ => Some(wish.ground(access, &inode, &cx.credential(&file))),
        };
        let ground = ground.unwrap_or(Ground::No(OpenNoneDelegation4::Contention(false)));
        let mut rflags = OPEN4_RESULT_LOCKTYPE_POSIX | OPEN4_RESULT_PRESERVE_UNLINKED;
        let unprivileged = access.writes() && !cx.credential(&file).is_root();
        let (opened, given, may_notify) = {
            let mut state = cx.server.state.lock();
            let stateid = state.open_confirm(reservation)?;
            if unprivileged {
                state.open_without_privilege(client, stateid)?;
            }
            let given = wish.grant(ground, client, &file, &inode, cx, &mut state);
            // RFC 9754 §4: a delegation that covers the open stands for it, if it is the owner's first.
            let needless = wish.no_open
                && given.as_ref().is_ok_and(|delegation| {
                    delegation.kind == DelegationKind::Write || !access.writes()
                })
                && (stateid.seqid, deny) == (1, Deny::None)
                && state.close(client, stateid, file.id).is_ok();
            (
                (!needless).then_some(stateid),
                given,
                state.can_call_back(client),
            )
        };
        if may_notify {
            rflags |= OPEN4_RESULT_MAY_NOTIFY_LOCK;
        }
        cx.server.after_delegation(client, file.id, &given);
        if matches!(&args.claim, OpenClaim4::Previous(kind) if Ground::reclaimed(*kind).is_some()) {
            cx.server.reclaimed_delegation(&given);
        }
        cx.set_current(file);
        let stateid = match (opened, &given) {
            (None, Ok(delegation)) => {
                rflags |= OPEN4_RESULT_NO_OPEN_STATEID;
                // The operations behind it in the COMPOUND go by the delegation.
                cx.set_stateid(delegation.stateid);
                Stateid4::ANONYMOUS
            }
            (opened, _) => cx.set_stateid(opened.ok_or(Nfsstat4::Serverfault)?),
        };
        return Ok(Open4Ok {
            stateid,
            cinfo: target.cinfo,
            rflags,
            attrset: target.attrset,
            delegation: wish.answer(&given),
        });
    }
    Err(Nfsstat4::Delay.into())
}

async fn truncated(
    id: catalog::InodeId,
    size: u64,
    client: ClientId,
    credential: &Credential,
    cx: &Compound<'_>,
) -> Result<Arc<Inode>, Refusal> {
    let asked = Resize {
        size,
        asker: Some(client),
        changes: &Changes::default(),
        credential,
    };
    cx.server.truncate(id, asked).await?;
    Ok(cx.server.catalog.inode(id).await?)
}

/// The delegation under which the client has opened the file already.
fn delegation_claimed(claim: &OpenClaim4, cx: &Compound<'_>) -> Result<Option<Stateid>, Refusal> {
    match claim {
        OpenClaim4::DelegateCur(info) => cx.resolve(info.delegate_stateid).map(Some),
        OpenClaim4::DelegCurFh(stateid) => cx.resolve(*stateid).map(Some),
        _ => Ok(None),
    }
}

/// Reserves the open, once nobody holds a delegation against it. `None`: the name was removed since,
/// and its file with it.
async fn reserve(
    request: OpenRequest,
    target: &Target,
    claim: &OpenClaim4,
    cx: &Compound<'_>,
) -> Result<Option<(OpenReservation, Arc<Inode>)>, Refusal> {
    let (file, client) = (&target.file, request.client);
    let credential = cx.credential(file);
    loop {
        let touch = {
            let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
            let inode = match cx.server.catalog.inode(file.id).await {
                Ok(inode) => inode,
                Err(catalog::Error::Stale) if matches!(claim, OpenClaim4::Null(_)) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            // Under a delegation the client has asked by ACCESS, and the owner may since have
            // taken the right away: what is open stays open.
            let opened = request.under.is_some() && owns(&credential, &inode);
            if !target.created && !request.reclaim && !opened {
                openable(&inode, request.access, &credential, file.export.access)?;
            }
            match cx.server.reserve_open(request.clone()).await {
                // Who was in the way is out, and may still write until he is fenced: that takes the gate.
                Err(refusal)
                    if refusal.status == Nfsstat4::Delay
                        && request.deny != Deny::None
                        && cx.server.writer_lingers(file.id, client) =>
                {
                    None
                }
                reserved => match reserved? {
                    Ok(reservation) => return Ok(Some((reservation, inode))),
                    Err(touch) => Some(touch),
                },
            }
        };
        let Some(touch) = touch else {
            cx.server.writers_out(file.id, client).await?;
            continue;
        };
        // Outside the gate: the holder may have to pass it.
        cx.server
            .withdraw_delegations(file.id, touch, Some(client))
            .await?;
    }
}

pub(super) fn shares(args: &Open4Args) -> Result<(Access, Deny), Refusal> {
    let access = Access::from_bits(args.share_access & OPEN4_SHARE_ACCESS_BOTH);
    let deny = Deny::from_bits(args.share_deny);
    Ok((access.ok_or(Nfsstat4::Inval)?, deny.ok_or(Nfsstat4::Inval)?))
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
        (
            OpenClaim4::Fh | OpenClaim4::Previous(_) | OpenClaim4::DelegCurFh(_),
            Openflag4::NoCreate,
        ) => {
            let inode = cx.inode().await?;
            Ok(Some(existing(current, &inode)))
        }
        (OpenClaim4::DelegateCur(info), Openflag4::NoCreate) => {
            let parent = cx.inode().await?;
            let file = lookup::find(&current, info.file.clone(), cx).await?;
            Ok(Some(existing(file, &parent)))
        }
        // No delegation outlives its client here.
        (OpenClaim4::DelegatePrev(_) | OpenClaim4::DelegPrevFh, _) => Err(Nfsstat4::Notsupp.into()),
        (_, Openflag4::Create(_)) => Err(Nfsstat4::Inval.into()),
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

pub(super) fn openable(
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
