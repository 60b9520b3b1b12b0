//! LAYOUTGET, RFC 8881 §18.43, with the flexible file layout of RFC 8435.
//!
//! State: the client's layout of the file, reserved, then confirmed; DELAY while a former writer isn't
//! fenced. Gate: the inode, shared.
//! Catalog: for RW the write intent, durable before the layout leaves; objects, where none are bound.
//! A file on a server that clients don't reach is `cached`'s.
//! Linux: asks with maxcount 4096 and, refused TOOSMALL, quietly goes through the server; takes one
//! whole extent; wants user and group as decimal strings; before 6.18 refuses more than one stripe.

mod cached;

use crate::compound::{Compound, File};
use crate::exports::Access as ExportAccess;
use crate::placement::capability;
use crate::state::{
    ClientId, GateMode, LayoutMode, LayoutRefusal, LayoutRequest, LayoutReservation, Stateid,
};
use crate::status::Refusal;
use crate::writing::Pen;
use backend::tree::Direct;
use bytes::Bytes;
use catalog::{FileKind, Inode};
use layout::{AsFound, DataServerId, DeviceId, NoOffer, ObjectRef};
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::{
    Deviceid4, LAYOUT4_FLEX_FILES, Layout4, LayoutContent4, Layoutget4Args, Layoutget4Ok,
    Layoutiomode4, Nfsstat4, Stateid4, flex,
};
use wire::xdr::to_bytes;

/// How long a LAYOUTGET waits for a truncate, unlink or fence that is under way.
const PATIENCE: Duration = Duration::from_millis(100);

/// What never passes, I/O through this server hears as it is.
fn through_this_server(refusal: Refusal) -> Refusal {
    match refusal.status {
        Nfsstat4::Io => Refusal {
            status: Nfsstat4::Layoutunavailable,
            ..refusal
        },
        _ => refusal,
    }
}

pub(crate) async fn layoutget(
    args: Layoutget4Args,
    cx: &mut Compound<'_>,
) -> Result<Layoutget4Ok, Refusal> {
    let file = cx.file()?.clone();
    let mode = checked(&args, &file)?;
    let client = cx.client()?;
    let stateid = cx.resolve(args.stateid)?;
    let inode = cx.server.catalog.inode(file.id).await?;
    if !cx.server.objects.is_direct(&inode) {
        return cached::layoutget(&args, mode, stateid, cx).await;
    }
    let at_rest = cx.server.not_pending(file.id);
    let at_rest = cx.server.answer_io(file.id, at_rest).await;
    at_rest.map_err(through_this_server)?;
    if inode.extents.is_empty() && !cx.server.objects.take_new_files() {
        // Not a matter of time: to be told to try later Linux would ask for ever (fact 8).
        return Err(Nfsstat4::Layoutunavailable.into());
    }
    cx.server.writers_out(file.id, client).await?;
    cx.server.owned(file.id, client, mode).await?;
    // Whoever is alone inside may be recalling this client's layout, and Linux answers no recall
    // while it waits for a LAYOUTGET.
    let entered = cx
        .server
        .enter_within(file.id, GateMode::Shared, PATIENCE)
        .await;
    let _inside = entered.map_err(|_| cx.server.state.lock().layout_kept_out(client, file.id))?;
    let pen = (mode == LayoutMode::Write).then_some(Pen::Client(client));
    let inode = cx
        .server
        .bound(file.id, (client, cx.connection.peer.ip()), pen)
        .await?;
    let limit = (args.maxcount as usize).min(cx.room.saturating_sub(8));
    let access = match mode {
        LayoutMode::Read => layout::Access::Read,
        LayoutMode::Write => layout::Access::ReadWrite,
    };
    let known = cx.server.state.lock().client_record(client);
    let offer = layout::grant(
        &inode.extents,
        args.offset,
        access,
        capability(known.as_ref()),
        limit,
    )
    .map_err(refused)?;
    let servers: Vec<DataServerId> = offer
        .mirrors
        .iter()
        .flat_map(|mirror| &mirror.stripes)
        .map(|object| object.server)
        .collect();
    if let Some(away) = servers.iter().find(|server| cx.server.is_away(**server)) {
        // To serve a dead server's handle again would be an endless storm of LAYOUTERRORs.
        tracing::debug!(data_server = away.0, "no layout while it is away");
        // Given up, I/O comes through this server and hears what is wrong.
        return Err(if cx.server.is_given_up(&inode.extents) {
            Nfsstat4::Layoutunavailable.into()
        } else {
            Nfsstat4::Delay.into()
        });
    }
    if cx.server.reports.is_lost(file.id) && cx.server.has_lost_objects(file.id).await {
        return Err(Refusal::client(
            Nfsstat4::Layoutunavailable,
            "a data server has lost an object of the file",
        ));
    }
    let (body, devices) = body(&offer, mode, cx)?;
    let request = LayoutRequest {
        client,
        inode: file.id,
        stateid,
        mode,
        size_epoch: inode.size_epoch,
        servers: &servers,
        tag: file.export.number,
    };
    let reservation = reserve(&request, args.signal_layout_avail, cx)?;
    if !cx.server.are_current(&devices) {
        // Another address since. From the reservation on, the recall that goes with one reaches us.
        cx.server.state.lock().layout_rollback(reservation);
        return Err(Nfsstat4::Delay.into());
    }
    if let Some(pen) = pen
        && let Err(refusal) = cx.server.intend(file.id, inode.size_epoch, pen).await
    {
        cx.server.state.lock().layout_rollback(reservation);
        return Err(refusal);
    }
    let (offset, length) = (offer.offset, offer.length);
    let stateid = confirmed(reservation, cx)?;
    let iomode = if mode == LayoutMode::Write {
        Layoutiomode4::Rw
    } else {
        Layoutiomode4::Read
    };
    Ok(Layoutget4Ok {
        return_on_close: false,
        stateid: cx.set_stateid(stateid),
        layout: vec![Layout4 {
            offset,
            length,
            iomode,
            content: LayoutContent4 {
                layout_type: LAYOUT4_FLEX_FILES,
                body,
            },
        }],
    })
}

/// Where there are too many layouts, some are asked back, and the client is told later if it wants that.
pub(super) fn reserve(
    request: &LayoutRequest<'_>,
    signal_layout_avail: bool,
    cx: &Compound<'_>,
) -> Result<LayoutReservation, Refusal> {
    let reserved = cx.server.state.lock().layout_reserve(request);
    let full = match &reserved {
        Err(LayoutRefusal::TooMany) => Some(Some(request.client)),
        Err(LayoutRefusal::Full) => Some(None),
        _ => None,
    };
    if let Some(at_its_limit) = full {
        cx.server.make_room_for_layouts(at_its_limit);
        if signal_layout_avail {
            cx.server.tell_when_layouts_are_there(request.client);
        }
    }
    Ok(reserved?)
}

pub(super) fn checked(args: &Layoutget4Args, file: &File) -> Result<LayoutMode, Refusal> {
    if args.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    let mode = match args.iomode {
        Layoutiomode4::Read => LayoutMode::Read,
        Layoutiomode4::Rw => LayoutMode::Write,
        Layoutiomode4::Any => return Err(Nfsstat4::Badiomode.into()),
    };
    // §18.43.3: length u64::MAX is "to the end"; else the range must not wrap.
    let wraps = |length: u64| length != u64::MAX && args.offset.checked_add(length).is_none();
    if args.length == 0
        || args.length < args.minlength
        || wraps(args.length)
        || wraps(args.minlength)
    {
        return Err(Nfsstat4::Inval.into());
    }
    if mode == LayoutMode::Write && file.export.access == ExportAccess::ReadOnly {
        return Err(Nfsstat4::Access.into());
    }
    Ok(mode)
}

/// What can't change by waiting is LAYOUTUNAVAILABLE: LAYOUTTRYLATER would be asked for ever.
fn refused(why: NoOffer) -> Refusal {
    let status = match why {
        NoOffer::Unbound | NoOffer::Stripes | NoOffer::ManyExtents => Nfsstat4::Layoutunavailable,
        NoOffer::TooLarge(_) => Nfsstat4::Toosmall,
        NoOffer::Frozen | NoOffer::Stale => Nfsstat4::Layouttrylater,
    };
    Refusal::client(status, why.to_string())
}

/// A layout of what is read at one data server, by a handle that is good for that alone.
pub(super) fn one_data_server(device: DeviceId, direct: Direct, cx: &Compound<'_>) -> Bytes {
    let data_server = flex::DataServer {
        deviceid: Deviceid4(device.0),
        efficiency: 0,
        stateid: Stateid4::ANONYMOUS,
        fh_vers: vec![direct.handle],
        user: Bytes::from(direct.reader.uid.to_string()),
        group: Bytes::from(direct.reader.gid.to_string()),
    };
    to_bytes(&flex::Layout {
        stripe_unit: 0,
        mirrors: vec![flex::Mirror {
            data_servers: vec![data_server],
        }],
        flags: 0,
        stats_collect_hint: cx.server.settings().stats_seconds,
    })
}

/// Grants a whole file to be read by `body`, for as long as the client has it open: the next open is judged anew,
/// and what is read once isn't held for ever.
pub(super) fn granted_while_open(
    reservation: LayoutReservation,
    body: Bytes,
    cx: &mut Compound<'_>,
) -> Result<Layoutget4Ok, Refusal> {
    let stateid = confirmed(reservation, cx)?;
    Ok(Layoutget4Ok {
        return_on_close: true,
        stateid: cx.set_stateid(stateid),
        layout: vec![Layout4 {
            offset: 0,
            length: u64::MAX,
            iomode: Layoutiomode4::Read,
            content: LayoutContent4 {
                layout_type: LAYOUT4_FLEX_FILES,
                body,
            },
        }],
    })
}

fn confirmed(reservation: LayoutReservation, cx: &mut Compound<'_>) -> Result<Stateid, Refusal> {
    let mut state = cx.server.state.lock();
    let stateid = state.layout_confirm(reservation)?;
    cx.gave(&mut state, stateid);
    Ok(stateid)
}

/// Of a whole mirror: Linux reads the one with the highest (RFC 8435 §5.1), and ranks it by any of its
/// data servers.
fn efficiency(stripes: &[ObjectRef], cx: &Compound<'_>) -> u32 {
    let peer = cx.connection.peer.ip();
    let is_beside = |object: &ObjectRef| cx.server.objects.is_beside(object.server, peer);
    u32::from(stripes.iter().all(is_beside))
}

/// What the layout says, and the devices that it names.
fn body(
    offer: &layout::Grant<'_>,
    mode: LayoutMode,
    cx: &Compound<'_>,
) -> Result<(Bytes, Vec<DeviceId>), Refusal> {
    let devices = cx.server.devices.read();
    let mut named = Vec::new();
    let mut data_server = |object: &ObjectRef, efficiency| -> Result<flex::DataServer, Refusal> {
        // Not reached since this start: it is awaited, and the client waits with us.
        let Some(deviceid) = devices.id_of(object.server) else {
            return Err(Refusal::client(
                Nfsstat4::Delay,
                "a data server has not been reached yet",
            ));
        };
        named.push(deviceid);
        if let Some(found) = object.owner.found()
            && (mode == LayoutMode::Write || found == AsFound::Closed)
        {
            return Err(Nfsstat4::Delay.into());
        }
        // A reader's uid never owns: it can't write (RFC 8435 §2.2).
        let owner = match mode {
            LayoutMode::Write => object.owner,
            LayoutMode::Read => cx.server.objects.reader(object),
        };
        Ok(flex::DataServer {
            deviceid: Deviceid4(deviceid.0),
            efficiency,
            stateid: Stateid4::ANONYMOUS,
            fh_vers: vec![object.handle.clone()],
            user: Bytes::from(owner.uid.to_string()),
            group: Bytes::from(owner.gid.to_string()),
        })
    };
    let mut mirrors = Vec::with_capacity(offer.mirrors.len());
    for mirror in &offer.mirrors {
        let efficiency = efficiency(&mirror.stripes, cx);
        let data_servers = mirror
            .stripes
            .iter()
            .map(|object| data_server(object, efficiency))
            .collect::<Result<_, _>>()?;
        mirrors.push(flex::Mirror { data_servers });
    }
    let body = to_bytes(&flex::Layout {
        stripe_unit: u64::from(offer.stripe_unit),
        mirrors,
        // LAYOUTCOMMIT stays on: an append under a lock needs the size.
        flags: 0,
        stats_collect_hint: cx.server.settings().stats_seconds,
    });
    Ok((body, named))
}

/// Whether a layout has no ids that its server takes, before the file has an owner of ours.
fn lacks_owner(inode: &Inode, mode: LayoutMode) -> bool {
    let objects = inode.extents.iter().flat_map(layout::Extent::objects);
    objects
        .filter_map(|object| object.owner.found())
        .any(|found| mode == LayoutMode::Write || found == AsFound::Closed)
}

impl crate::Server {
    /// Gives a file that a filer had before an owner that a layout can carry, if it needs one. The caller isn't inside
    /// the gate.
    async fn owned(
        self: &Arc<Self>,
        id: catalog::InodeId,
        client: ClientId,
        mode: LayoutMode,
    ) -> Result<(), Refusal> {
        let is_fine =
            async || Ok::<_, Refusal>(!lacks_owner(&*self.catalog.inode(id).await?, mode));
        if is_fine().await? {
            return Ok(());
        }
        let alone = self.enter_within(id, GateMode::Exclusive, PATIENCE).await;
        let _alone = alone.map_err(|_| self.state.lock().layout_kept_out(client, id))?;
        if is_fine().await? {
            return Ok(());
        }
        let inode = self.catalog.inode(id).await?;
        self.objects.fence(&inode).await?;
        Ok(())
    }

    /// The inode of a regular file with objects, which it is given now if it has none: then who is to
    /// write is durable already. The caller is inside the gate.
    pub(crate) async fn bound(
        &self,
        id: catalog::InodeId,
        by: (ClientId, std::net::IpAddr),
        writer: Option<Pen>,
    ) -> Result<Arc<Inode>, Refusal> {
        let inode = self.catalog.inode(id).await?;
        match inode.kind {
            FileKind::Regular => {}
            _ => return Err(Nfsstat4::WrongType.into()),
        }
        if !inode.extents.is_empty() {
            return Ok(inode);
        }
        self.bind(&inode, by, writer).await
    }
}
