//! Telling clients that a data server's device changed or went (CB_NOTIFY_DEVICEID, RFC 8881 §20.12).

use crate::server::Server;
use crate::state::ClientId;
use layout::{DataServerId, Device, DeviceChange, DeviceId};
use std::sync::Arc;
use wire::nfs4::{Bitmap4, CbArgOp, CbNotifyDeviceid4Args, LAYOUT4_FLEX_FILES, Notify4};
use wire::xdr::Encoder;

/// NOTIFY_DEVICEID4_DELETE: a number of the bitmap.
const DELETE: u32 = 2;
/// Clients remembered for one device.
const WATCHERS_LIMIT: usize = 100_000;

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

    /// Takes over a data server's new address or sizes; `true` when clients get another deviceid.
    /// The layouts that name the old one are recalled, then the old one is deleted at the clients.
    pub fn change_device(self: &Arc<Self>, server: DataServerId, device: Device) -> bool {
        let change = self.devices.write().update(server, device);
        let DeviceChange::Minted { old: Some(old), .. } = change else {
            return false;
        };
        let orders = self
            .state
            .lock()
            .recall_server(self.clock.monotonic(), server);
        self.send_recalls(orders);
        let watching = self.device_watchers.lock().remove(&old).unwrap_or_default();
        for client in watching {
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                // A client that can't be told meets the address gone, and asks by itself.
                let _ = server.callback(client, deleted(old)).await;
            });
        }
        true
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
