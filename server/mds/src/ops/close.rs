//! CLOSE and OPEN_DOWNGRADE, RFC 8881 §18.2, §18.18.
//!
//! State: the open. The last close of a file without names lets its objects go.

use crate::compound::Compound;
use crate::state::{Access, Deny};
use crate::status::Refusal;
use wire::nfs4::{
    Close4Args, Close4Ok, Nfsstat4, OPEN4_SHARE_ACCESS_BOTH, OpenDowngrade4Args, OpenDowngrade4Ok,
    Stateid4,
};

pub(crate) fn close(args: &Close4Args, cx: &mut Compound<'_>) -> Result<Close4Ok, Refusal> {
    let file = cx.file()?.clone();
    let stateid = cx.resolve(args.open_stateid)?;
    let client = cx.client()?;
    let released = cx.server.state.lock().close(client, stateid, file.id)?;
    cx.server.tell_lock_waiters(file.id);
    if released.last {
        cx.server.reap_if_free(file.id);
    }
    // RFC 8881 §18.2.4: nothing is left that a stateid could name.
    cx.stateid = Some(Stateid4::INVALID);
    Ok(Close4Ok {
        open_stateid: Stateid4::INVALID,
    })
}

pub(crate) fn open_downgrade(
    args: &OpenDowngrade4Args,
    cx: &mut Compound<'_>,
) -> Result<OpenDowngrade4Ok, Refusal> {
    let file = cx.file()?.id;
    let stateid = cx.resolve(args.open_stateid)?;
    // Want bits mean nothing here (§18.18.3).
    let access =
        Access::from_bits(args.share_access & OPEN4_SHARE_ACCESS_BOTH).ok_or(Nfsstat4::Inval)?;
    let deny = Deny::from_bits(args.share_deny).ok_or(Nfsstat4::Inval)?;
    let client = cx.client()?;
    let stateid = cx
        .server
        .state
        .lock()
        .open_downgrade(client, stateid, file, access, deny)?;
    Ok(OpenDowngrade4Ok {
        open_stateid: cx.set_stateid(stateid),
    })
}
