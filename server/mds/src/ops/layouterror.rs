//! LAYOUTERROR, RFC 7862 §15.6, RFC 8435 §9.1.
//!
//! State: the layout named, which may be gone by now. Gate: none. Catalog: reads the file's objects.
//! An error is believed after a look of our own: at the data server, and where the client's handle was
//! refused, at the file's objects there. What is lost is told LAYOUTUNAVAILABLE from then on: the same
//! handle again would be an endless storm (fact 18).
//! Linux: sends these before it returns the layout and asks for another.

use crate::compound::{Compound, File};
use crate::server::Server;
use crate::status::Refusal;
use catalog::InodeId;
use layout::{DataServerId, DeviceId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::nfs4::{DeviceError4, Layouterror4Args, Nfsstat4, Stateid4};

/// What a client waits for a look at its file's objects.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn layouterror(
    args: &Layouterror4Args,
    cx: &mut Compound<'_>,
) -> Result<(), Refusal> {
    let file = cx.file()?.clone();
    let client = cx.client()?;
    // They count also when the layout is gone by now: it is the data server that they are about.
    suspect(&args.errors, &file, cx).await;
    if args.stateid != Stateid4::ANONYMOUS {
        let stateid = cx.resolve(args.stateid)?;
        let grant = cx.server.state.lock().layout_of(client, stateid)?;
        if grant.inode != file.id {
            return Err(Nfsstat4::BadStateid.into());
        }
    }
    Ok(())
}

/// Looks after what a client can't use, each thing once, however often it is told.
pub(super) async fn suspect(
    errors: impl IntoIterator<Item = &DeviceError4>,
    file: &File,
    cx: &Compound<'_>,
) {
    if let Some(junction) = &file.export.junction {
        let mut statuses = errors.into_iter().map(|error| error.status).peekable();
        if statuses.peek().is_some() {
            cx.server.metrics.layout_errors.fetch_add(1, Relaxed);
        }
        if statuses.any(|status| status != Nfsstat4::Stale || junction.stale_there(file.id)) {
            junction.refuse_direct(file.id, cx.time);
        }
        return;
    }
    let mut servers = BTreeSet::new();
    let mut handle_refused = false;
    for error in errors {
        cx.server.metrics.layout_errors.fetch_add(1, Relaxed);
        let Some((data_server, _)) = DeviceId(error.deviceid.0).parse() else {
            continue;
        };
        // A number that was never given is a made-up id.
        if !cx.server.is_known(data_server) {
            continue;
        }
        cx.server.reports.error(data_server, file.id, error.status);
        handle_refused |= matches!(error.status, Nfsstat4::Stale | Nfsstat4::Badhandle);
        if servers.insert(data_server) {
            tracing::debug!(data_server = data_server.0, status = ?error.status, "a client can't use a data server");
        }
    }
    for server in servers {
        cx.server.probe_soon(server);
    }
    if handle_refused {
        // What takes longer goes on behind the answer.
        let _ = tokio::time::timeout(LOOK, cx.server.check_objects(file.id)).await;
    }
}

impl Server {
    pub(super) fn is_known(&self, server: DataServerId) -> bool {
        self.objects.health().borrow().contains_key(&server)
    }

    /// Its health changes if the probe agrees, and housekeeping recalls its layouts.
    fn probe_soon(self: &Arc<Self>, server: DataServerId) {
        if !self.reports.begin_probe(server) {
            return;
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            // An unknown one is nothing to probe.
            let _ = this.objects.probe_now(server).await;
            this.reports.end_probe(server);
        });
    }

    async fn check_objects(self: &Arc<Self>, file: InodeId) {
        if !self.reports.begin_check(file) {
            return;
        }
        let this = Arc::clone(self);
        let checked = self.tasks.spawn(async move {
            this.has_lost_objects(file).await;
            this.reports.end_check(file);
        });
        // Only a panic ends it otherwise, and has told of itself.
        let _ = checked.await;
    }

    /// Whether a data server that is there has lost what it had of the file. One that is away hasn't.
    pub(crate) async fn has_lost_objects(&self, file: InodeId) -> bool {
        let Ok(inode) = self.catalog.inode(file).await else {
            self.reports.found(file);
            return false;
        };
        match self.objects.observe(&inode.extents).await {
            Err(error) if error.is_gone() => {
                if self.reports.lost(file) {
                    tracing::error!(inode = ?file, "data of a file is lost, and reads of it fail: {error}");
                }
                true
            }
            Err(_) => false,
            Ok(_) => {
                self.reports.found(file);
                false
            }
        }
    }
}
