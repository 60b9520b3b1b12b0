//! Telling clients that a data server's device changed or went (CB_NOTIFY_DEVICEID, RFC 8881 §20.12).

use crate::callbacks::{CallbackFailure, RETRY};
use crate::server::Server;
use crate::state::{ClientId, GrantId, GrantPhase};
use futures_util::stream::{self, StreamExt};
use layout::{DataServerId, Device, DeviceId};
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::{Bitmap4, CbArgOp, CbNotifyDeviceid4Args, LAYOUT4_FLEX_FILES, Nfsstat4, Notify4};
use wire::xdr::Encoder;

/// NOTIFY_DEVICEID4_DELETE: a number of the bitmap.
const DELETE: u32 = 2;
/// Clients remembered for one device.
const WATCHERS_LIMIT: usize = 100_000;
/// Clients told at the same time, and how often each is tried.
const AT_ONCE: usize = 64;
const ATTEMPTS: u32 = 50;
/// Between looks whether the last layout is gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    pub(crate) fn tell_of_device(&self, client: ClientId, device: DeviceId) {
        let mut watchers = self.device_watchers.lock();
        let watching = watchers.entry(device).or_default();
        if watching.len() < WATCHERS_LIMIT {
            watching.insert(client);
        }
    }

    /// Takes up a device that was away at the start, with the generation that the catalog keeps.
    pub fn restore_device(&self, server: DataServerId, generation: u32, device: Device) {
        self.devices.write().restore(server, generation, device);
    }

    /// Takes over what is known of a data server now, with its generation, which is durable already.
    /// If that is another one, the layouts that name the old deviceid are recalled, and when none is
    /// left clients are told that it is gone.
    pub fn change_device(self: &Arc<Self>, server: DataServerId, generation: u32, device: Device) {
        let new = DeviceId::of(server, generation);
        let old = {
            let mut devices = self.devices.write();
            let old = devices.id_of(server);
            devices.restore(server, generation, device);
            old.filter(|old| *old != new)
        };
        let Some(old) = old else {
            return;
        };
        let orders = self
            .state
            .lock()
            .recall_server(self.clock.monotonic(), server);
        tracing::info!(
            data_server = server.0,
            layouts = orders.len(),
            "a data server's address or sizes changed: its layouts are recalled"
        );
        self.send_recalls(orders);
        let this = Arc::clone(self);
        self.tasks
            .spawn(async move { this.delete_device(server, old).await });
    }

    /// §20.12: not while the client has layouts that name it.
    async fn delete_device(self: &Arc<Self>, server: DataServerId, old: DeviceId) {
        let named: Vec<GrantId> = {
            let state = self.state.lock();
            let holders = state.holders_on(server).into_iter();
            holders
                .filter(|grant| grant.phase != GrantPhase::Held)
                .map(|grant| grant.id)
                .collect()
        };
        let gone = || !self.state.lock().any_left(&named);
        // A fence that waits for the data server takes its time.
        while self.layouts_until(PATIENCE, gone).await.is_err() {}
        let watching = self.device_watchers.lock().remove(&old).unwrap_or_default();
        stream::iter(watching)
            .for_each_concurrent(AT_ONCE, |client| self.tell_deleted(client, old))
            .await;
    }

    async fn tell_deleted(&self, client: ClientId, old: DeviceId) {
        for _ in 0..ATTEMPTS {
            match self.callback(client, deleted(old)).await {
                Ok(Nfsstat4::Delay) | Err(CallbackFailure::Unreachable) => {
                    tokio::time::sleep(RETRY).await;
                }
                // A client that can't be told meets the address gone, and asks by itself.
                Ok(_) | Err(CallbackFailure::Gone | CallbackFailure::TooLong) => return,
            }
        }
    }

    /// Whether layouts that name these deviceids may still leave.
    pub(crate) fn are_current(&self, devices: &[DeviceId]) -> bool {
        let table = self.devices.read();
        devices.iter().all(|id| table.device(*id).is_some())
    }
}

fn deleted(device: DeviceId) -> CbArgOp {
    let mut change = Encoder::new();
    change.u32(LAYOUT4_FLEX_FILES);
    change.fixed(&device.0);
    CbArgOp::NotifyDeviceid(CbNotifyDeviceid4Args {
        changes: vec![Notify4 {
            mask: Bitmap4::of(&[DELETE]),
            vals: change.finish(),
        }],
    })
}
