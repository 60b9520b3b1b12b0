//! LAYOUTGET in a junction, RFC 8881 §18.43: a file that its owner may read at the filer is read there,
//! by the filer's own filehandle and in its owner's name, once OPEN has found that the client may; one
//! of a bucket at a data server that caches it, as the version that is there now.
//! Linux: LAYOUTUNAVAILABLE sends it through this server; an ACCES of the filer comes here as LAYOUTERROR,
//! and so does a STALE of another version, after which it asks for a new layout.

use super::{Place, held};
use crate::compound::Compound;
use crate::junction::DirectRefusal;
use crate::ops::layoutget::{checked, granted_while_open, one_data_server, reserve};
use crate::state::{GateMode, LayoutMode, LayoutRequest};
use crate::status::Refusal;
use backend::tree::NodeKind;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{Layoutget4Args, Layoutget4Ok, Nfsstat4};

pub(super) async fn layoutget(
    args: &Layoutget4Args,
    cx: &mut Compound<'_>,
) -> Result<Layoutget4Ok, Refusal> {
    let file = cx.file()?.clone();
    let mode = checked(args, &file)?;
    let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
    let place = Place::of(&file, cx).await?;
    let through = |why: DirectRefusal| {
        place.junction.counters().of(why).fetch_add(1, Relaxed);
        Refusal::from(Nfsstat4::Layoutunavailable)
    };
    if mode == LayoutMode::Write {
        return Err(through(DirectRefusal::Write));
    }
    if place.junction.refuses_direct(file.id, cx.time) {
        return Err(through(DirectRefusal::Denied));
    }
    let stat = place.stat().await?;
    if stat.kind != NodeKind::Regular {
        return Err(Nfsstat4::WrongType.into());
    }
    place.junction.saw(file.id, stat.change, cx);
    let direct = place.heard(place.tree().direct(&place.handle, &stat).await)?;
    let (Some(server), Some(direct)) = (place.junction.data_server(), direct) else {
        return Err(through(DirectRefusal::NotThere));
    };
    let Some(device) = cx.server.devices.read().id_of(server) else {
        return Err(through(DirectRefusal::NotThere));
    };
    let of_this_version = direct.of_this_version;
    let body = one_data_server(device, direct, cx);
    let limit = (args.maxcount as usize).min(cx.room.saturating_sub(8));
    if body.len() > limit {
        return Err(Nfsstat4::Toosmall.into());
    }
    let _inside = cx.server.enter(file.id, GateMode::Shared).await?;
    let request = LayoutRequest {
        client,
        inode: file.id,
        stateid,
        mode,
        size_epoch: 0,
        servers: &[server],
        tag: file.export.number,
    };
    held(&file, cx);
    if of_this_version && !place.junction.give_version(file.id, stat.change) {
        place.junction.refuse_direct(file.id, cx.time);
        return Err(through(DirectRefusal::Denied));
    }
    let reservation = reserve(&request, args.signal_layout_avail, cx)?;
    let granted = granted_while_open(reservation, body, cx)?;
    place.junction.counters().layouts.fetch_add(1, Relaxed);
    Ok(granted)
}
