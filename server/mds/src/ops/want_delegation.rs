//! WANT_DELEGATION, RFC 8881 §18.49: a delegation without an open.
//!
//! State: the delegation. Gate, catalog: none; the file is read once, for its rights.
//! What can't be given now is refused for good: wants are not kept, so nothing is promised.

use super::open::delegation::{Ground, Wish};
use crate::compound::Compound;
use crate::identity::{Want, may};
use crate::state::DelegationKind;
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{
    DelegClaim4, Nfsstat4, OpenDelegation4, OpenNoneDelegation4, WantDelegation4Args,
    WantDelegation4Ok,
};

pub(crate) async fn want_delegation(
    args: WantDelegation4Args,
    cx: &mut Compound<'_>,
) -> Result<WantDelegation4Ok, Refusal> {
    let file = cx.file()?.clone();
    let wish = Wish::of(args.want, cx.minor)?;
    let inode = cx.inode().await?;
    match inode.kind {
        FileKind::Regular => {}
        FileKind::Directory => {
            return Ok(WantDelegation4Ok {
                delegation: OpenDelegation4::NoneExt(OpenNoneDelegation4::IsDir),
            });
        }
        _ => return Err(Nfsstat4::WrongType.into()),
    }
    let client = cx.client()?;
    let credential = cx.credential(&file);
    let ground = match args.claim {
        DelegClaim4::Fh => {
            cx.server.state.lock().may_take_new(client)?;
            let kind = wish.explicit()?;
            if cx.server.writing.has_former(file.id) {
                return Err(Nfsstat4::Delay.into());
            }
            let reads = may(&credential, &inode, Want::READ);
            let writes = may(&credential, &inode, Want::WRITE);
            match kind {
                // ACCESS is no error of this operation (§15.2).
                _ if !reads => Ground::No(OpenNoneDelegation4::Resource(false)),
                Some(DelegationKind::Write) if !writes => {
                    Ground::No(OpenNoneDelegation4::Resource(false))
                }
                Some(kind) => Ground::Asked(kind),
                None if writes => Ground::Asked(DelegationKind::Write),
                None => Ground::Asked(DelegationKind::Read),
            }
        }
        DelegClaim4::Previous(kind) => {
            cx.server.state.lock().may_reclaim(client)?;
            Ground::reclaimed(kind).ok_or(Nfsstat4::Inval)?
        }
        // No delegation outlives its client here.
        DelegClaim4::DelegPrevFh => return Err(Nfsstat4::Notsupp.into()),
    };
    let given = {
        let mut state = cx.server.state.lock();
        wish.grant(ground, client, &file, &inode, cx, &mut state)
    };
    cx.server.after_delegation(client, file.id, &given);
    let delegation = wish.answer(&given);
    if let Ok(given) = &given {
        cx.set_stateid(given.stateid);
    }
    // Here the client has asked, so that it is always told why there is none.
    Ok(WantDelegation4Ok { delegation })
}
