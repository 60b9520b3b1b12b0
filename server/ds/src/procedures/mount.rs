//! MOUNT version 3 (RFC 1813 appendix I): the root handle, for the metadata server's addresses.
//! Never keeps a list of who mounted; clients of a layout have no need of MOUNT.

use wire::mount::{Dirpath, Exportnode, Exports, Mountlist, Mountres3, Mountres3ok, Mountstat3};

use crate::call::MountRequest;
use crate::engine::Engine;
use crate::handle::Target;
use crate::reply::Reply;
use crate::service::Context;

pub fn answer<E: Engine>(xid: u32, request: &MountRequest, cx: &Context<'_, E>) -> Reply {
    match request {
        MountRequest::Null | MountRequest::Umnt => Reply::plain(xid, &()),
        MountRequest::Mnt(path) => Reply::plain(xid, &mnt(path, cx)),
        MountRequest::Dump => Reply::plain(xid, &Mountlist::default()),
        MountRequest::Export => Reply::plain(xid, &exports(cx)),
    }
}

/// MNT. Judged by address alone: some callers mount under their user's credential.
fn mnt<E: Engine>(path: &Dirpath, cx: &Context<'_, E>) -> Mountres3 {
    let named = path.bytes().strip_suffix(b"/").unwrap_or(path.bytes());
    let export = cx.service.export.trim_end_matches('/');
    if named != export.as_bytes() {
        return Err(Mountstat3::Noent);
    }
    if !cx.service.mds.iter().any(|net| net.contains(cx.peer)) {
        return Err(Mountstat3::Acces);
    }
    Ok(Mountres3ok {
        fhandle: cx.handle(Target::Root),
        auth_flavors: vec![wire::rpc::AUTH_SYS],
    })
}

fn exports<E: Engine>(cx: &Context<'_, E>) -> Exports {
    let dir = Dirpath::new(cx.service.export.clone().into_bytes()).unwrap_or_default();
    Exports(vec![Exportnode {
        dir,
        groups: Vec::new(),
    }])
}
