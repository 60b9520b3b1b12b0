//! LAYOUTGET of a file on a server that clients don't reach: to read, at a data server that caches it, as it
//! is now. All else passes this server, for which the answer is LAYOUTUNAVAILABLE.
//!
//! State, gate: as ever. When the file changes, what it was is withdrawn at the cache before that is answered,
//! and the layout is recalled (`Server::recall_what_was`).
//! Linux: told STALE there, it asks for another layout, as it does after a recall.

use super::{PATIENCE, granted_while_open, one_data_server, reserve};
use crate::compound::Compound;
use crate::state::{GateMode, LayoutMode, LayoutRequest, Stateid};
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{Layoutget4Args, Layoutget4Ok, Nfsstat4};

fn through_this_server(why: impl Into<String>) -> Refusal {
    Refusal::client(Nfsstat4::Layoutunavailable, why.into())
}

pub(super) async fn layoutget(
    args: &Layoutget4Args,
    mode: LayoutMode,
    stateid: Stateid,
    cx: &mut Compound<'_>,
) -> Result<Layoutget4Ok, Refusal> {
    let (file, client) = (cx.file()?.clone(), cx.client()?);
    if mode == LayoutMode::Write {
        return Err(through_this_server(
            "clients don't write where the file lies",
        ));
    }
    // As for any file: who is alone inside may wait for this client.
    let entered = cx
        .server
        .enter_within(file.id, GateMode::Shared, PATIENCE)
        .await;
    let _inside = entered.map_err(|_| cx.server.state.lock().layout_kept_out(client, file.id))?;
    let inode = cx.server.catalog.inode(file.id).await?;
    if inode.kind != FileKind::Regular {
        return Err(Nfsstat4::WrongType.into());
    }
    let written = cx.server.writing.last_doubted(file.id);
    let cached = cx.server.objects.cached(&inode).await;
    // Through this server the client hears what is wrong.
    let cached = cached.map_err(|error| through_this_server(error.to_string()))?;
    let Some((server, direct)) = cached else {
        return Err(through_this_server("nobody caches the file as it is now"));
    };
    let device = cx.server.devices.read().id_of(server);
    let Some(device) = device.filter(|_| !cx.server.is_away(server)) else {
        return Err(through_this_server("the data server that caches is away"));
    };
    let body = one_data_server(device, direct, cx);
    if body.len() > (args.maxcount as usize).min(cx.room.saturating_sub(8)) {
        return Err(Nfsstat4::Toosmall.into());
    }
    let request = LayoutRequest {
        client,
        inode: file.id,
        stateid,
        mode,
        size_epoch: inode.size_epoch,
        servers: &[server],
        tag: file.export.number,
    };
    let reservation = reserve(&request, args.signal_layout_avail, cx)?;
    // From the reservation on, the recall that goes with a change or with another address reaches it.
    if cx.server.writing.last_doubted(file.id) != written || !cx.server.are_current(&[device]) {
        cx.server.state.lock().layout_rollback(reservation);
        return Err(Nfsstat4::Delay.into());
    }
    granted_while_open(reservation, body, cx)
}
