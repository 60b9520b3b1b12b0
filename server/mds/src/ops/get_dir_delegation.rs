//! GET_DIR_DELEGATION, RFC 8881 §18.39.
//!
//! State: a delegation to read the folder. Whoever else changes the folder's attributes waits until it came
//! back, and who changes an entry as well, unless the holder asked to be told of such changes (§10.9.1).
//! Attributes are never told: each client asks for those itself.
//! Linux 7.2 asks with each GETATTR of a folder, without notifications, and fails `ls` on any error:
//! what can't be given is UNAVAIL.

use crate::compound::Compound;
use crate::state::{DelegationKind, DelegationRequest, Notices};
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{
    Bitmap4, DirDelegation4, GetDirDelegation4Args, GetDirDelegation4Ok, NOTIFY4_ADD_ENTRY,
    NOTIFY4_CHANGE_COOKIE_VERIFIER, NOTIFY4_REMOVE_ENTRY, NOTIFY4_RENAME_ENTRY, Nfsstat4,
    Verifier4,
};

pub(crate) async fn get_dir_delegation(
    args: GetDirDelegation4Args,
    cx: &mut Compound<'_>,
) -> Result<GetDirDelegation4Ok, Refusal> {
    let folder = cx.file()?.clone();
    let inode = cx.inode().await?;
    if inode.kind != FileKind::Directory {
        return Err(Nfsstat4::Notdir.into());
    }
    let client = cx.client()?;
    // Nobody is told of the names that a scan finds.
    if !folder.export.delegations.folders || inode.unscanned {
        return Ok(GetDirDelegation4Ok::Unavail(false));
    }
    let notification = args.notification_types.intersection(OFFERED);
    let request = DelegationRequest {
        client,
        inode: folder.id,
        kind: DelegationKind::Read,
        times: false,
        change: inode.change,
        modified: inode.mtime,
        tag: folder.export.number,
        reclaim: false,
        notices: notices(notification),
        unasked: false,
    };
    let given = {
        let mut state = cx.server.state.lock();
        let given = state.delegate(cx.time, request);
        if let Ok(delegation) = &given {
            cx.gave(&mut state, delegation.stateid);
        }
        given
    };
    // No want is kept: nobody will be told when there is one to be had.
    let Ok(given) = given else {
        return Ok(GetDirDelegation4Ok::Unavail(false));
    };
    // A removal that was done between the look and the grant has not seen this one.
    if let Err(error) = cx.inode().await {
        cx.server.folder_is_gone(folder.id);
        return Err(error);
    }
    cx.server.delegation_given(&given);
    Ok(GetDirDelegation4Ok::Ok(DirDelegation4 {
        // Cookies never get stale: the verifier is READDIR's, which is constant.
        cookieverf: Verifier4::default(),
        stateid: given.stateid.into(),
        notification,
        child_attributes: Bitmap4::EMPTY,
        dir_attributes: Bitmap4::EMPTY,
    }))
}

/// What there is to be told. That the cookie verifier changed is promised easily: it never does.
const OFFERED: Bitmap4 = Bitmap4::of(&[
    NOTIFY4_ADD_ENTRY,
    NOTIFY4_REMOVE_ENTRY,
    NOTIFY4_RENAME_ENTRY,
    NOTIFY4_CHANGE_COOKIE_VERIFIER,
]);

fn notices(granted: Bitmap4) -> Notices {
    let of_entries = [
        (NOTIFY4_ADD_ENTRY, Notices::ADDED),
        (NOTIFY4_REMOVE_ENTRY, Notices::REMOVED),
        (NOTIFY4_RENAME_ENTRY, Notices::RENAMED),
    ];
    let granted = of_entries.iter().filter(|(bit, _)| granted.contains(*bit));
    granted.fold(Notices::NONE, |all, (_, notices)| all.and(*notices))
}
