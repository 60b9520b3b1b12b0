//! MOUNT version 3 (RFC 1813 appendix I): the way from a path to its filehandle, walked in the caller's name, and
//! who mounted what, as far as clients say. Nothing rests on that: each call is judged by itself.

use super::call::{Call, ask};
use super::names::find;
use super::{arguments, status};
use crate::exports::ExportRule;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use wire::mount::*;
use wire::nfs3::Nfsstat3;
use wire::rpc::AUTH_SYS;
use wire::xdr::{Decoder, Encoder};
use wire::{DecodeError, Xdr};

/// Mounts that are remembered; those that were there longest go first.
const MOUNTS_MAX: usize = 1024;

pub(super) fn name(procedure: Procedure) -> &'static str {
    match procedure {
        Procedure::Null => "NULL",
        Procedure::Mnt => "MNT",
        Procedure::Dump => "DUMP",
        Procedure::Umnt => "UMNT",
        Procedure::Umntall => "UMNTALL",
        Procedure::Export => "EXPORT",
    }
}

/// Who mounted which path since the server started.
#[derive(Default)]
pub(super) struct Mounts(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// By host and path: the order in which they came.
    mounts: BTreeMap<(IpAddr, Bytes), u64>,
    last: u64,
}

impl Mounts {
    fn add(&self, host: IpAddr, path: &[u8]) {
        let mut remembered = self.0.lock();
        remembered.last += 1;
        let now = remembered.last;
        // A slice would keep the whole record that it came in.
        let path = Bytes::copy_from_slice(path);
        remembered.mounts.insert((host, path), now);
        if remembered.mounts.len() > MOUNTS_MAX {
            let oldest = remembered.mounts.iter().min_by_key(|(_, came)| **came);
            if let Some(oldest) = oldest.map(|(mount, _)| mount.clone()) {
                remembered.mounts.remove(&oldest);
            }
        }
    }

    fn remove(&self, host: IpAddr, path: &Bytes) {
        self.0.lock().mounts.remove(&(host, path.clone()));
    }

    fn remove_all_of(&self, host: IpAddr) {
        self.0.lock().mounts.retain(|(of, _), _| *of != host);
    }

    fn list(&self) -> Mountlist {
        let body = |(host, path): &(IpAddr, Bytes)| {
            Some(Mountbody {
                hostname: Name::new(host.to_string())?,
                directory: Dirpath::new(path.clone())?,
            })
        };
        Mountlist(self.0.lock().mounts.keys().filter_map(body).collect())
    }
}

/// Runs the call and appends its result.
pub(super) async fn answer(
    procedure: Procedure,
    input: Decoder,
    call: &mut Call<'_>,
    mounts: &Mounts,
    out: &mut Encoder,
) -> Result<(), DecodeError> {
    let host = call.cx.connection.peer.ip().to_canonical();
    match procedure {
        Procedure::Null => {}
        Procedure::Mnt => {
            let path: Dirpath = arguments(input)?;
            let mounted = mnt(path.bytes(), call).await;
            if mounted.is_ok() {
                mounts.add(host, path.bytes());
            }
            mounted.map_err(status::of_mount).encode(out);
        }
        Procedure::Dump => {
            arguments::<()>(input)?;
            // Who uses it is for those who may use it themselves.
            if exported(call).is_empty() {
                Mountlist::default().encode(out);
            } else {
                mounts.list().encode(out);
            }
        }
        Procedure::Umnt => {
            let path: Dirpath = arguments(input)?;
            mounts.remove(host, path.bytes());
        }
        Procedure::Umntall => {
            arguments::<()>(input)?;
            mounts.remove_all_of(host);
        }
        Procedure::Export => {
            arguments::<()>(input)?;
            let exports = exported(call);
            Exports(exports.iter().filter_map(|rule| node(rule)).collect()).encode(out);
        }
    }
    Ok(())
}

/// MNT, §5.2.1: a folder of an export, or of the way to one.
async fn mnt(path: &Bytes, call: &mut Call<'_>) -> Result<Mountres3ok, Nfsstat3> {
    let walked = walk(path, call).await;
    // The way to an export shows itself to its clients alone; whoever names it is told that he isn't one.
    if matches!(walked, Err(Nfsstat3::Noent)) && is_others(path, call) {
        return Err(Nfsstat3::Acces);
    }
    walked?;
    call.in_folder().await?;
    Ok(Mountres3ok {
        fhandle: call.handle(&call.here()?).ok_or(Nfsstat3::Remote)?,
        auth_flavors: vec![AUTH_SYS],
    })
}

async fn walk(path: &Bytes, call: &mut Call<'_>) -> Result<(), Nfsstat3> {
    if !path.starts_with(b"/") {
        return Err(Nfsstat3::Inval);
    }
    ask!(call, Putrootfh).map_err(status::of)?;
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(Nfsstat3::Inval),
            name => {
                find(path.slice_ref(name), call).await?;
            }
        }
    }
    Ok(())
}

/// Whether the path is, or lies in, an export whose client the caller isn't.
fn is_others(path: &[u8], call: &Call<'_>) -> bool {
    let client = call.cx.connection.peer.ip();
    let Ok(path) = std::str::from_utf8(path) else {
        return false;
    };
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let path: String = names.flat_map(|name| ["/", name]).collect();
    let settings = call.cx.settings();
    settings
        .exports
        .all()
        .any(|rule| (rule.path == path || rule.holds(&path)) && !rule.admits(client))
}

/// What the caller may mount: as the way to exports shows them.
fn exported(call: &Call<'_>) -> Vec<Arc<ExportRule>> {
    let client = call.cx.connection.peer.ip();
    let settings = call.cx.settings();
    let all = settings.exports.all();
    let mut exports: Vec<_> = all
        .filter(|rule| rule.elsewhere.is_none() && rule.admits(client))
        .cloned()
        .collect();
    exports.sort_by(|one, other| one.path.cmp(&other.path));
    exports
}

fn node(rule: &ExportRule) -> Option<Exportnode> {
    let groups = rule.clients.iter();
    Some(Exportnode {
        dir: Dirpath::new(rule.path.clone())?,
        groups: groups
            .filter_map(|network| Name::new(network.to_string()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_mounts_stays_bounded() {
        let mounts = Mounts::default();
        let host: IpAddr = "10.0.0.1".parse().unwrap();
        for number in 0..2 * MOUNTS_MAX {
            mounts.add(host, format!("/{number}").as_bytes());
        }
        let list = mounts.list().0;
        assert_eq!(list.len(), MOUNTS_MAX);
        let last = format!("/{}", 2 * MOUNTS_MAX - 1);
        let newest = |mount: &Mountbody| mount.directory.bytes() == last.as_bytes();
        assert!(list.iter().any(newest));
        mounts.remove_all_of(host);
        assert_eq!(mounts.list(), Mountlist::default());
    }
}
