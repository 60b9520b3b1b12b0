//! GETDEVICEINFO and GETDEVICELIST, RFC 8881 §18.40, §18.41, RFC 8435 §4.
//!
//! State, catalog: the device table alone.
//! Linux: uses the first version and the first address list; `maxcount` 0 asks for notifications alone.

use crate::compound::Compound;
use crate::status::Refusal;
use bytes::Bytes;
use layout::{Device, DeviceId, universal_address};
use wire::nfs4::{
    Bitmap4, DeviceAddr4, Deviceid4, Getdeviceinfo4Args, Getdeviceinfo4Error, Getdeviceinfo4Ok,
    Getdevicelist4Args, Getdevicelist4Ok, LAYOUT4_FLEX_FILES, Netaddr4, Nfsstat4, Verifier4, flex,
};
use wire::xdr::to_bytes;

/// NOTIFY_DEVICEID4_CHANGE and NOTIFY_DEVICEID4_DELETE.
const NOTIFICATIONS: Bitmap4 = Bitmap4::of(&[1, 2]);
/// `device_addr4` around its body, and the notification bitmap.
const AROUND_BYTES: usize = 8 + 8;

pub(crate) enum Failure {
    Refused(Refusal),
    TooSmall { mincount: u32 },
}

impl<R: Into<Refusal>> From<R> for Failure {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl Failure {
    pub fn into_wire(self, told: impl FnOnce(&Refusal) -> Nfsstat4) -> Getdeviceinfo4Error {
        match self {
            Failure::Refused(refusal) => Getdeviceinfo4Error::Status(told(&refusal)),
            Failure::TooSmall { mincount } => Getdeviceinfo4Error::Toosmall { mincount },
        }
    }
}

pub(crate) fn getdeviceinfo(
    args: &Getdeviceinfo4Args,
    cx: &mut Compound<'_>,
) -> Result<Getdeviceinfo4Ok, Failure> {
    if args.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    let client = cx.client()?;
    let id = DeviceId(args.device_id.0);
    let Some(body) = cx.server.devices.read().device(id).map(address) else {
        return Err(Nfsstat4::Noent.into());
    };
    let notification = args.notify_types.intersection(NOTIFICATIONS);
    let needed = body.len() + AROUND_BYTES + notification.encoded_len();
    let body = match args.maxcount as usize {
        0 => Bytes::new(),
        most if most < needed || cx.room < needed => {
            return Err(Failure::TooSmall {
                mincount: needed as u32,
            });
        }
        _ => body,
    };
    if !notification.is_empty() {
        cx.server.tell_of_device(client, id);
    }
    Ok(Getdeviceinfo4Ok {
        device_addr: DeviceAddr4 {
            layout_type: LAYOUT4_FLEX_FILES,
            addr_body: body,
        },
        notification,
    })
}

fn address(device: &Device) -> Bytes {
    let netaddrs = device
        .addresses
        .iter()
        .map(|address| {
            let (netid, uaddr) = universal_address(*address);
            Netaddr4 {
                netid: Bytes::from_static(netid.as_bytes()),
                uaddr: Bytes::from(uaddr),
            }
        })
        .collect();
    // One version, loosely coupled: with tight coupling Linux ignores the synthetic ids.
    let versions = vec![flex::DeviceVersion {
        version: 3,
        minorversion: 0,
        rsize: device.read_bytes,
        wsize: device.write_bytes,
        tightly_coupled: false,
    }];
    to_bytes(&flex::DeviceAddr { netaddrs, versions })
}

pub(crate) fn getdevicelist(
    args: &Getdevicelist4Args,
    cx: &mut Compound<'_>,
) -> Result<Getdevicelist4Ok, Refusal> {
    if args.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    cx.file()?;
    let devices = cx.server.devices.read();
    let mut deviceid_list: Vec<Deviceid4> =
        devices.iter().map(|(id, _, _)| Deviceid4(id.0)).collect();
    deviceid_list.sort_unstable();
    let (start, most) = (args.cookie as usize, args.maxdevices as usize);
    let listed: Vec<Deviceid4> = deviceid_list
        .iter()
        .copied()
        .skip(start)
        .take(most)
        .collect();
    let cookie = (start + listed.len()) as u64;
    let eof = cookie as usize >= deviceid_list.len();
    Ok(Getdevicelist4Ok {
        cookie,
        cookieverf: Verifier4::default(),
        deviceid_list: listed,
        eof,
    })
}
