//! OFFLOAD_STATUS and OFFLOAD_CANCEL, RFC 7862 §15.9, §15.8.
//!
//! State: the copy that the stateid of an asynchronous COPY names; a copy-notify stateid is called off alike.
//! Linux: cancels when the program that copies is killed, and asks when no callback comes; after a copy
//! between servers that failed it calls off the source's stateid.

use crate::compound::Compound;
use crate::status::{Refusal, offload_status};
use wire::nfs4::{OffloadCancel4Args, OffloadStatus4Args, OffloadStatus4Ok};

pub(crate) fn status(
    args: &OffloadStatus4Args,
    cx: &Compound<'_>,
) -> Result<OffloadStatus4Ok, Refusal> {
    cx.file()?;
    let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
    let view = cx.server.state.lock().offload_status(client, stateid)?;
    Ok(OffloadStatus4Ok {
        count: view.copied,
        complete: view.end.map(offload_status),
    })
}

pub(crate) fn cancel(args: &OffloadCancel4Args, cx: &Compound<'_>) -> Result<(), Refusal> {
    cx.file()?;
    let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
    let mut state = cx.server.state.lock();
    if state.copy_notify_cancel(client, stateid).is_err() {
        state.offload_cancel(client, stateid)?;
        cx.server.copies_called_off.notify_waiters();
    }
    Ok(())
}
