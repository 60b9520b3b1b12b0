//! COPY_NOTIFY, RFC 7862 §15.3: the source of a copy between servers.
//!
//! State: a copy-notify stateid, of an open, lock or delegation that reads. Gate, catalog: none.
//! Linux: asks before each COPY to another server of more than two READs, and copies by itself after any
//! refusal; NOTSUPP ends its asking for as long as the mount is there. It calls the stateid off only when
//! the copy failed.

use super::io::regular;
use crate::compound::{Compound, File};
use crate::state::Stateid;
use crate::status::Refusal;
use std::net::SocketAddr;
use wire::nfs4::{CopyNotify4Args, CopyNotify4Ok, Netaddr4, Netloc4, Nfsstat4, Nfstime4};

/// Of this server, told at most.
pub(super) const ADDRESSES_MAX: usize = 8;

pub(crate) async fn copy_notify(
    args: &CopyNotify4Args,
    cx: &Compound<'_>,
) -> Result<CopyNotify4Ok, Refusal> {
    let file = cx.file()?;
    let settings = cx.settings();
    let rules = &settings.server_copy;
    if rules.destinations.is_empty() {
        return Err(Nfsstat4::Notsupp.into());
    }
    regular(&*cx.inode().await?)?;
    let (client, of) = (cx.client()?, cx.resolve(args.src_stateid)?);
    match address(&args.destination_server) {
        Some(destination) if rules.is_destination(destination.ip()) => {}
        _ => {
            let reason = "the destination of a copy isn't among [server_copy] destinations";
            return Err(Refusal::client(Nfsstat4::Access, reason));
        }
    }
    cx.server.not_pending(file.id)?;
    let given = cx
        .server
        .state
        .lock()
        .copy_notify(cx.time, client, of, file.id)?;
    let told = match &rules.addresses[..] {
        [] => vec![cx.connection.local],
        addresses => addresses.iter().copied().take(ADDRESSES_MAX).collect(),
    };
    Ok(CopyNotify4Ok {
        lease_time: Nfstime4 {
            seconds: cx.server.identity.lease.as_secs() as i64,
            nseconds: 0,
        },
        stateid: given.into(),
        source_server: told
            .into_iter()
            .map(|address| Netloc4::Netaddr(Netaddr4::tcp(address)))
            .collect(),
    })
}

/// Names and URLs lead anywhere: an address alone can be held against a list.
pub(super) fn address(location: &Netloc4) -> Option<SocketAddr> {
    match location {
        Netloc4::Netaddr(address) => address.to_socket_addr(),
        Netloc4::Name(_) | Netloc4::Url(_) => None,
    }
}

/// Whether the caller reads `file` as the destination of a copy: then the right of whoever sent it
/// counts, and not its own.
pub(super) fn reads_for_a_copy(
    stateid: Stateid,
    file: &File,
    cx: &Compound<'_>,
) -> Result<bool, Refusal> {
    let server = cx.server;
    let read = server
        .state
        .lock()
        .copy_notify_read(cx.time, stateid, file.id);
    let Some(read) = read else {
        return Ok(false);
    };
    if !server
        .settings()
        .server_copy
        .is_destination(cx.connection.peer.ip())
    {
        return Err(Nfsstat4::Access.into());
    }
    read?;
    Ok(true)
}
