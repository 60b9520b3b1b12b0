//! LAYOUTRETURN, RFC 8881 §18.44, with the flexible file body of RFC 8435 §9.
//!
//! State: the layouts given back, whole or in parts. Gate: none. Catalog: none now; the last writer's
//! return settles the file in the background. Never a reason to fence.
//! Linux: returns lazily, sends errors and statistics in the return's body.

use super::layouterror::suspect;
use super::layoutstats::count;
use crate::compound::{Compound, File};
use crate::junction::is_node;
use crate::state::{ClientId, ReturnMode, Span};
use crate::status::Refusal;
use catalog::InodeId;
use std::collections::BTreeSet;
use wire::nfs4::{
    LAYOUT4_FLEX_FILES, Layoutiomode4, Layoutreturn4, Layoutreturn4Args, Layoutreturn4Ok, Nfsstat4,
    flex,
};

pub(crate) async fn layoutreturn(
    args: Layoutreturn4Args,
    cx: &mut Compound<'_>,
) -> Result<Layoutreturn4Ok, Refusal> {
    if args.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    let client = cx.client()?;
    let mode = match args.iomode {
        Layoutiomode4::Read => ReturnMode::Read,
        Layoutiomode4::Rw => ReturnMode::Write,
        Layoutiomode4::Any => ReturnMode::Any,
    };
    if args.reclaim && !matches!(args.layoutreturn, Layoutreturn4::File(_)) {
        return Err(Nfsstat4::Inval.into());
    }
    match args.layoutreturn {
        Layoutreturn4::File(returned) => {
            let file = cx.file()?.clone();
            let span = Span::new(returned.offset, returned.length).ok_or(Nfsstat4::Inval)?;
            report(&returned.body, &file, cx).await?;
            if args.reclaim {
                // Of an earlier start: nothing is left of it here but what the body told (RFC 9737).
                cx.server.state.lock().may_reclaim(client)?;
                return Ok(Layoutreturn4Ok { stateid: None });
            }
            let stateid = cx.resolve(returned.stateid)?;
            let back = {
                let mut state = cx.server.state.lock();
                let back = state.layout_return(client, file.id, stateid, mode, span)?;
                if let Some(left) = back.stateid {
                    cx.gave(&mut state, left);
                }
                if back.was_writer {
                    // What it wrote and never told of shows at once, and not only when that is settled.
                    cx.server.writing.unsettle(file.id);
                }
                back
            };
            cx.server.layouts_changed.notify_waiters();
            if back.was_writer {
                cx.server.settle_later(file.id);
            }
            if !back.held {
                cx.server.reap_if_free(file.id);
            }
            let stateid = back.stateid.map(|stateid| cx.set_stateid(stateid));
            Ok(Layoutreturn4Ok { stateid })
        }
        Layoutreturn4::Fsid => {
            let here = of_file_system(cx.file()?, client, cx).await?;
            Ok(everything(client, mode, |inode| here.contains(&inode), cx))
        }
        Layoutreturn4::All => Ok(everything(client, mode, |_| true, cx)),
    }
}

/// Files that a client has layouts of, in the file system that `file` is in. Of those in junctions nothing says in
/// which: what is laid out there is to be read, and given back with any of them.
async fn of_file_system(
    file: &File,
    client: ClientId,
    cx: &Compound<'_>,
) -> Result<BTreeSet<InodeId>, Refusal> {
    let held = cx.server.state.lock().files_held_by(client);
    let in_junction = file.export.junction.is_some();
    let keeper = cx.inode().await?.keeper;
    let mut here = BTreeSet::new();
    for inode in held {
        let is_here = if is_node(inode) {
            in_junction
        } else {
            // What is gone is of no file system, and goes with any.
            !in_junction
                && match cx.server.catalog.inode(inode).await {
                    Ok(held) => held.keeper == keeper,
                    Err(catalog::Error::Stale) => true,
                    Err(error) => return Err(error.into()),
                }
        };
        if is_here {
            here.insert(inode);
        }
    }
    Ok(here)
}

fn everything(
    client: ClientId,
    mode: ReturnMode,
    of: impl Fn(InodeId) -> bool,
    cx: &Compound<'_>,
) -> Layoutreturn4Ok {
    let returned = {
        let mut state = cx.server.state.lock();
        let returned = state.layout_return_all(client, mode, of);
        for grant in returned.iter().filter(|grant| grant.write) {
            cx.server.writing.unsettle(grant.inode);
        }
        returned
    };
    cx.server.layouts_changed.notify_waiters();
    for grant in returned {
        if grant.write {
            cx.server.settle_later(grant.inode);
        }
        cx.server.reap_if_free(grant.inode);
    }
    Layoutreturn4Ok { stateid: None }
}

/// What a return's body tells of data servers. One that can't be read is no reason to keep the layout.
async fn report(body: &bytes::Bytes, file: &File, cx: &Compound<'_>) -> Result<(), Refusal> {
    if body.is_empty() {
        return Ok(());
    }
    let told: Result<flex::LayoutReturn, _> = wire::xdr::from_bytes(body.clone());
    match told {
        Ok(told) => {
            let errors = told.ioerr_report.iter().flat_map(|report| &report.errors);
            suspect(errors, file, cx).await;
            for report in &told.iostats_report {
                let (read, write) = (&report.read, &report.write);
                count(
                    report.deviceid,
                    (read, write),
                    &report.layoutupdate,
                    file,
                    cx,
                )?;
            }
        }
        Err(fault) => tracing::debug!(%fault, "a LAYOUTRETURN's report can't be read"),
    }
    Ok(())
}
