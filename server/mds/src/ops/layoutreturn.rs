//! LAYOUTRETURN, LAYOUTERROR, LAYOUTSTATS: RFC 8881 §18.44, RFC 7862 §15.6, §15.7, RFC 8435 §9 and §11.
//!
//! State: the layouts given back. The last writer's return settles the file in the background.
//! An error that a client reports is believed after a probe of our own; never a reason to fence.
//! Linux: returns lazily, sends errors in the return's body (6.1) or by LAYOUTERROR.

use crate::compound::Compound;
use crate::state::ReturnMode;
use crate::status::Refusal;
use layout::DeviceId;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    DeviceError4, LAYOUT4_FLEX_FILES, Layouterror4Args, Layoutiomode4, Layoutreturn4,
    Layoutreturn4Args, Layoutreturn4Ok, Layoutstats4Args, Nfsstat4, Stateid4, flex,
};

pub(crate) fn layoutreturn(
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
    match args.layoutreturn {
        Layoutreturn4::File(returned) => {
            let file = cx.file()?.clone();
            report(&returned.body, cx);
            if args.reclaim {
                // Of an earlier start: nothing is left of it here but what the body told (RFC 9737).
                cx.server.state.lock().may_reclaim(client)?;
                return Ok(Layoutreturn4Ok { stateid: None });
            }
            let stateid = cx.resolve(returned.stateid)?;
            let back = cx
                .server
                .state
                .lock()
                .layout_return(client, file.id, stateid, mode)?;
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
        // One file system: FSID and ALL are the same.
        Layoutreturn4::Fsid | Layoutreturn4::All => {
            let returned = cx.server.state.lock().layout_return_all(client);
            cx.server.layouts_changed.notify_waiters();
            for grant in returned {
                if grant.write {
                    cx.server.settle_later(grant.inode);
                }
                cx.server.reap_if_free(grant.inode);
            }
            Ok(Layoutreturn4Ok { stateid: None })
        }
    }
}

/// What a return's body tells of data servers. One that can't be read is no reason to keep the layout.
fn report(body: &bytes::Bytes, cx: &Compound<'_>) {
    if body.is_empty() {
        return;
    }
    let told: Result<flex::LayoutReturn, _> = wire::xdr::from_bytes(body.clone());
    match told {
        Ok(told) => told
            .ioerr_report
            .iter()
            .for_each(|report| suspect(&report.errors, cx)),
        Err(fault) => tracing::debug!(%fault, "a LAYOUTRETURN's report can't be read"),
    }
}

pub(crate) fn layouterror(args: &Layouterror4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let file = cx.file()?.clone();
    let client = cx.client()?;
    // They count also when the layout is gone by now: it is the data server that they are about.
    suspect(&args.errors, cx);
    if args.stateid != Stateid4::ANONYMOUS {
        let stateid = cx.resolve(args.stateid)?;
        let grant = cx.server.state.lock().layout_of(client, stateid)?;
        if grant.inode != file.id {
            return Err(Nfsstat4::BadStateid.into());
        }
    }
    Ok(())
}

fn suspect(errors: &[DeviceError4], cx: &Compound<'_>) {
    for error in errors {
        cx.server.metrics.layout_errors.fetch_add(1, Relaxed);
        let Some((data_server, _)) = DeviceId(error.deviceid.0).parse() else {
            continue;
        };
        tracing::debug!(data_server = data_server.0, status = ?error.status, "a client can't use a data server");
        let server = Arc::clone(cx.server);
        cx.server.tasks.spawn(async move {
            // Its health changes if the probe agrees, and housekeeping recalls its layouts.
            let _ = server.objects.probe_now(data_server).await;
        });
    }
}

pub(crate) fn layoutstats(_args: &Layoutstats4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    cx.file()?;
    cx.client()?;
    Ok(())
}
