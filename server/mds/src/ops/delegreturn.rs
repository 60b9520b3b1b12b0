//! DELEGRETURN, RFC 8881 §18.6. (DELEGPURGE answers NOTSUPP, §18.5.3: no delegation outlives its client.)
//!
//! State: the delegation. The last hold on a file without names lets its objects go.
//! Linux: sends SETATTR with the delegated times, and LAYOUTRETURN, in the same COMPOUND before.

use crate::compound::Compound;
use crate::status::Refusal;
use wire::nfs4::{Delegreturn4Args, Stateid4};

pub(crate) fn delegreturn(args: &Delegreturn4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let file = cx.file()?.clone();
    let (client, stateid) = (cx.client()?, cx.resolve(args.deleg_stateid)?);
    let returned = cx
        .server
        .state
        .lock()
        .delegation_return(client, file.id, stateid)?;
    cx.server.delegations_changed.notify_waiters();
    if returned.last {
        cx.server.reap_if_free(file.id);
    }
    cx.stateid = Some(Stateid4::INVALID);
    Ok(())
}
