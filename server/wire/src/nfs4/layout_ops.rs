//! pNFS operations (RFC 8881 §18.40 to §18.44, RFC 7862 §15.6 and §15.7).
//! Bodies of a layout type stay opaque here; those of flexible files are in `flex`.

use bytes::Bytes;

use super::codec::OperationError;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder};

messages! {
    pub struct DeviceAddr4 {
        pub layout_type: Layouttype4,
        pub addr_body: Bytes = DATA_LIMIT,
    }

    pub struct Getdeviceinfo4Args {
        pub device_id: Deviceid4,
        pub layout_type: Layouttype4,
        pub maxcount: u32,
        pub notify_types: Bitmap4,
    }

    pub struct Getdeviceinfo4Ok {
        pub device_addr: DeviceAddr4,
        pub notification: Bitmap4,
    }

    pub struct Getdevicelist4Args {
        pub layout_type: Layouttype4,
        pub maxdevices: u32,
        pub cookie: u64,
        pub cookieverf: Verifier4,
    }

    pub struct Getdevicelist4Ok {
        pub cookie: u64,
        pub cookieverf: Verifier4,
        pub deviceid_list: Vec<Deviceid4> = LIST_LIMIT,
        pub eof: bool,
    }

    /// Body of a LAYOUTCOMMIT or LAYOUTSTATS.
    pub struct Layoutupdate4 {
        pub layout_type: Layouttype4,
        pub body: Bytes = DATA_LIMIT,
    }

    pub struct Layoutcommit4Args {
        pub offset: u64,
        pub length: u64,
        pub reclaim: bool,
        pub stateid: Stateid4,
        /// Offset of the last byte written.
        pub last_write_offset: Option<u64>,
        pub time_modify: Option<Nfstime4>,
        pub layoutupdate: Layoutupdate4,
    }

    pub struct Layoutcommit4Ok {
        pub newsize: Option<u64>,
    }

    pub struct Layoutget4Args {
        pub signal_layout_avail: bool,
        pub layout_type: Layouttype4,
        pub iomode: Layoutiomode4,
        pub offset: u64,
        pub length: u64,
        pub minlength: u64,
        pub stateid: Stateid4,
        pub maxcount: u32,
    }

    pub struct LayoutContent4 {
        pub layout_type: Layouttype4,
        pub body: Bytes = DATA_LIMIT,
    }

    pub struct Layout4 {
        pub offset: u64,
        pub length: u64,
        pub iomode: Layoutiomode4,
        pub content: LayoutContent4,
    }

    pub struct Layoutget4Ok {
        pub return_on_close: bool,
        pub stateid: Stateid4,
        pub layout: Vec<Layout4> = LIST_LIMIT,
    }

    pub struct LayoutreturnFile4 {
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
        pub body: Bytes = DATA_LIMIT,
    }

    pub struct Layoutreturn4Args {
        pub reclaim: bool,
        pub layout_type: Layouttype4,
        pub iomode: Layoutiomode4,
        pub layoutreturn: Layoutreturn4,
    }

    pub struct Layoutreturn4Ok {
        /// Missing when nothing of the layout is left.
        pub stateid: Option<Stateid4>,
    }

    pub struct Layouterror4Args {
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
        pub errors: Vec<DeviceError4> = LIST_LIMIT,
    }

    pub struct Layoutstats4Args {
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
        pub read: IoInfo4,
        pub write: IoInfo4,
        pub deviceid: Deviceid4,
        pub layoutupdate: Layoutupdate4,
    }
}

unions! {
    pub enum Layoutreturn4 {
        File(layout: LayoutreturnFile4) = 1,
        Fsid = 2,
        All = 3,
    }
}

/// GETDEVICEINFO says how much room the address needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Getdeviceinfo4Error {
    Toosmall { mincount: u32 },
    Status(Nfsstat4),
}

impl OperationError for Getdeviceinfo4Error {
    fn status(&self) -> Nfsstat4 {
        match self {
            Self::Toosmall { .. } => Nfsstat4::Toosmall,
            Self::Status(status) => *status,
        }
    }

    fn from_status(status: Nfsstat4) -> Self {
        match status {
            Nfsstat4::Toosmall => Self::Toosmall { mincount: 0 },
            status => Self::Status(status),
        }
    }

    fn encode_rest(&self, out: &mut Encoder) {
        if let Self::Toosmall { mincount } = self {
            out.u32(*mincount);
        }
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        match status {
            Nfsstat4::Toosmall => Ok(Self::Toosmall {
                mincount: input.u32()?,
            }),
            status => Ok(Self::Status(status)),
        }
    }
}

/// LAYOUTGET says whether a callback will tell when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layoutget4Error {
    TryLater { will_signal_layout_avail: bool },
    Status(Nfsstat4),
}

impl OperationError for Layoutget4Error {
    fn status(&self) -> Nfsstat4 {
        match self {
            Self::TryLater { .. } => Nfsstat4::Layouttrylater,
            Self::Status(status) => *status,
        }
    }

    fn from_status(status: Nfsstat4) -> Self {
        match status {
            Nfsstat4::Layouttrylater => Self::TryLater {
                will_signal_layout_avail: false,
            },
            status => Self::Status(status),
        }
    }

    fn encode_rest(&self, out: &mut Encoder) {
        if let Self::TryLater {
            will_signal_layout_avail,
        } = self
        {
            out.bool(*will_signal_layout_avail);
        }
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        match status {
            Nfsstat4::Layouttrylater => Ok(Self::TryLater {
                will_signal_layout_avail: input.bool()?,
            }),
            status => Ok(Self::Status(status)),
        }
    }
}
