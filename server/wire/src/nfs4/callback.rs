//! CB_COMPOUND (RFC 8881 §20, RFC 7862 §16): what a server asks of a client over the back channel, in both
//! directions. When to ask is not known here.

use bytes::Bytes;

use super::attributes::Attributes;
use super::codec::OperationResult;
use super::data_ops::WriteResponse4;
use super::open_ops::OpenDelegation4;
use super::opnum::CbOpnum;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};

/// Bits of CB_RECALL_ANY's type mask.
pub const RCA4_TYPE_MASK_RDATA_DLG: u32 = 0;
pub const RCA4_TYPE_MASK_WDATA_DLG: u32 = 1;
pub const RCA4_TYPE_MASK_DIR_DLG: u32 = 2;
pub const RCA4_TYPE_MASK_FILE_LAYOUT: u32 = 3;
pub const RCA4_TYPE_MASK_BLK_LAYOUT: u32 = 4;
/// RFC 8435 §10.
pub const PNFS_FF_RCA4_TYPE_MASK_READ: u32 = 16;
pub const PNFS_FF_RCA4_TYPE_MASK_RW: u32 = 17;

/// Bits of a notification about devices.
pub const NOTIFY_DEVICEID4_CHANGE: u32 = 1;
pub const NOTIFY_DEVICEID4_DELETE: u32 = 2;

messages! {
    pub struct CbGetattr4Args {
        pub fh: Fh4 = FH_LIMIT,
        pub attr_request: Bitmap4,
    }

    pub struct CbGetattr4Ok {
        pub obj_attributes: Box<Attributes>,
    }

    pub struct CbRecall4Args {
        pub stateid: Stateid4,
        pub truncate: bool,
        pub fh: Fh4 = FH_LIMIT,
    }

    pub struct LayoutrecallFile4 {
        pub fh: Fh4 = FH_LIMIT,
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
    }

    pub struct CbLayoutrecall4Args {
        pub layout_type: Layouttype4,
        pub iomode: Layoutiomode4,
        pub changed: bool,
        pub recall: Layoutrecall4,
    }

    pub struct Notify4 {
        pub mask: Bitmap4,
        pub vals: Bytes = DATA_LIMIT,
    }

    pub struct CbNotify4Args {
        pub stateid: Stateid4,
        pub fh: Fh4 = FH_LIMIT,
        pub changes: Vec<Notify4> = LIST_LIMIT,
    }

    pub struct CbPushDeleg4Args {
        pub fh: Fh4 = FH_LIMIT,
        pub delegation: OpenDelegation4,
    }

    pub struct CbRecallAny4Args {
        pub objects_to_keep: u32,
        pub type_mask: Bitmap4,
    }

    pub struct CbRecallSlot4Args {
        pub target_highest_slotid: Slotid4,
    }

    pub struct ReferringCall4 {
        pub sequenceid: Sequenceid4,
        pub slotid: Slotid4,
    }

    pub struct ReferringCallList4 {
        pub sessionid: Sessionid4,
        pub referring_calls: Vec<ReferringCall4> = 1024,
    }

    pub struct CbSequence4Args {
        pub sessionid: Sessionid4,
        pub sequenceid: Sequenceid4,
        pub slotid: Slotid4,
        pub highest_slotid: Slotid4,
        pub cachethis: bool,
        pub referring_call_lists: Vec<ReferringCallList4> = 1024,
    }

    pub struct CbSequence4Ok {
        pub sessionid: Sessionid4,
        pub sequenceid: Sequenceid4,
        pub slotid: Slotid4,
        pub highest_slotid: Slotid4,
        pub target_highest_slotid: Slotid4,
    }

    pub struct CbWantsCancelled4Args {
        pub contended_wants_cancelled: bool,
        pub resourced_wants_cancelled: bool,
    }

    pub struct CbNotifyLock4Args {
        pub fh: Fh4 = FH_LIMIT,
        pub lock_owner: StateOwner4,
    }

    pub struct CbNotifyDeviceid4Args {
        pub changes: Vec<Notify4> = LIST_LIMIT,
    }

    pub struct CbOffload4Args {
        pub fh: Fh4 = FH_LIMIT,
        pub stateid: Stateid4,
        pub info: OffloadInfo4,
    }
}

unions! {
    pub enum Layoutrecall4 {
        File(layout: LayoutrecallFile4) = 1,
        Fsid(fsid: Fsid4) = 2,
        All = 3,
    }
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OffloadInfo4 {
    Ok(WriteResponse4),
    Failed { status: Nfsstat4, bytes_copied: u64 },
}

impl Xdr for OffloadInfo4 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Ok(response) => {
                Nfsstat4::Ok.encode(out);
                response.encode(out);
            }
            Self::Failed {
                status,
                bytes_copied,
            } => {
                status.encode(out);
                out.u64(*bytes_copied);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match Nfsstat4::decode(input)? {
            Nfsstat4::Ok => Self::Ok(WriteResponse4::decode(input)?),
            status => Self::Failed {
                status,
                bytes_copied: input.u64()?,
            },
        })
    }
}

/// One row per callback operation: `Name(args: Arguments) -> Result of it`.
macro_rules! callbacks {
    ($($op:ident(args: $args:ty) -> $result:ty;)*) => {
        /// One operation of a callback.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum CbArgOp {
            $($op($args),)*
            /// A number that is no callback. Always the last.
            Illegal(u32),
            /// Arguments that are no XDR of the callback. Always the last.
            Malformed { op: CbOpnum, fault: DecodeError },
        }

        impl CbArgOp {
            pub fn opnum(&self) -> CbOpnum {
                match self {
                    $(Self::$op(_) => CbOpnum::$op,)*
                    Self::Illegal(_) => CbOpnum::Illegal,
                    Self::Malformed { op, .. } => *op,
                }
            }

            pub fn encode(&self, out: &mut Encoder) {
                match self {
                    $(Self::$op(args) => {
                        CbOpnum::$op.encode(out);
                        args.encode(out);
                    })*
                    Self::Illegal(number) => out.u32(*number),
                    Self::Malformed { op, .. } => op.encode(out),
                }
            }

            fn decode_arguments(op: CbOpnum, input: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(match op {
                    $(CbOpnum::$op => Self::$op(<$args>::decode(input)?),)*
                    CbOpnum::Illegal => Self::Illegal(CbOpnum::Illegal as u32),
                })
            }
        }

        #[cfg(test)]
        impl super::sample::SampleOf<CbOpnum> for CbArgOp {
            fn sample_of(op: CbOpnum, source: &mut super::sample::Source) -> Self {
                match op {
                    $(CbOpnum::$op => Self::$op(super::sample::Sample::sample(source)),)*
                    CbOpnum::Illegal => Self::Illegal(2),
                }
            }
        }

        #[cfg(test)]
        impl super::sample::SampleOf<CbOpnum> for CbResOp {
            fn sample_of(op: CbOpnum, source: &mut super::sample::Source) -> Self {
                match op {
                    $(CbOpnum::$op => Self::$op(super::sample::Sample::sample(source)),)*
                    CbOpnum::Illegal => Self::Illegal(Err(Nfsstat4::OpIllegal)),
                }
            }
        }

        /// One operation of a callback's reply.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum CbResOp {
            $($op($result),)*
            Illegal(Result<(), Nfsstat4>),
        }

        impl CbResOp {
            pub fn opnum(&self) -> CbOpnum {
                match self {
                    $(Self::$op(_) => CbOpnum::$op,)*
                    Self::Illegal(_) => CbOpnum::Illegal,
                }
            }

            pub fn status(&self) -> Nfsstat4 {
                match self {
                    $(Self::$op(result) => result.status(),)*
                    Self::Illegal(result) => result.status(),
                }
            }

            pub fn failed(op: CbOpnum, status: Nfsstat4) -> Self {
                match op {
                    $(CbOpnum::$op => Self::$op(OperationResult::failed(status)),)*
                    CbOpnum::Illegal => Self::Illegal(Err(status)),
                }
            }
        }

        impl Xdr for CbResOp {
            fn encode(&self, out: &mut Encoder) {
                self.opnum().encode(out);
                match self {
                    $(Self::$op(result) => result.encode_result(out),)*
                    Self::Illegal(result) => result.encode_result(out),
                }
            }

            fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(match CbOpnum::decode(input)? {
                    $(CbOpnum::$op => Self::$op(OperationResult::decode_result(input)?),)*
                    CbOpnum::Illegal => Self::Illegal(OperationResult::decode_result(input)?),
                })
            }
        }
    };
}

callbacks! {
    Getattr(args: CbGetattr4Args) -> Result<CbGetattr4Ok, Nfsstat4>;
    Recall(args: CbRecall4Args) -> Result<(), Nfsstat4>;
    Layoutrecall(args: CbLayoutrecall4Args) -> Result<(), Nfsstat4>;
    Notify(args: CbNotify4Args) -> Result<(), Nfsstat4>;
    PushDeleg(args: CbPushDeleg4Args) -> Result<(), Nfsstat4>;
    RecallAny(args: CbRecallAny4Args) -> Result<(), Nfsstat4>;
    RecallableObjAvail(args: CbRecallAny4Args) -> Result<(), Nfsstat4>;
    RecallSlot(args: CbRecallSlot4Args) -> Result<(), Nfsstat4>;
    Sequence(args: CbSequence4Args) -> Result<CbSequence4Ok, Nfsstat4>;
    WantsCancelled(args: CbWantsCancelled4Args) -> Result<(), Nfsstat4>;
    NotifyLock(args: CbNotifyLock4Args) -> Result<(), Nfsstat4>;
    NotifyDeviceid(args: CbNotifyDeviceid4Args) -> Result<(), Nfsstat4>;
    Offload(args: CbOffload4Args) -> Result<(), Nfsstat4>;
}

impl CbArgOp {
    fn decode(input: &mut Decoder) -> Self {
        let number = match input.u32() {
            Ok(number) => number,
            Err(fault) => {
                return Self::Malformed {
                    op: CbOpnum::Illegal,
                    fault,
                };
            }
        };
        let Some(op) = CbOpnum::from_u32(number) else {
            return Self::Illegal(number);
        };
        Self::decode_arguments(op, input).unwrap_or_else(|fault| Self::Malformed { op, fault })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CbCompound4Args {
    pub tag: Bytes,
    pub minorversion: u32,
    /// Of NFSv4.0; zero here.
    pub callback_ident: u32,
    pub ops: Vec<CbArgOp>,
}

/// More operations than a server has reason to send.
const CB_OPS_LIMIT: usize = 64;

impl Xdr for CbCompound4Args {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.tag);
        out.u32(self.minorversion);
        out.u32(self.callback_ident);
        out.u32(self.ops.len() as u32);
        for op in &self.ops {
            op.encode(out);
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let tag = input.opaque("tag", TAG_LIMIT)?;
        let minorversion = input.u32()?;
        let callback_ident = input.u32()?;
        let count = input.length("argarray", CB_OPS_LIMIT)?;
        let mut ops = Vec::new();
        for _ in 0..count {
            let op = CbArgOp::decode(input);
            let ends = matches!(op, CbArgOp::Illegal(_) | CbArgOp::Malformed { .. });
            ops.push(op);
            if ends {
                // Where the operation ends isn't known, so that what follows is nobody's.
                input.rest();
                break;
            }
        }
        Ok(Self {
            tag,
            minorversion,
            callback_ident,
            ops,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CbCompound4Res {
    pub status: Nfsstat4,
    pub tag: Bytes,
    pub results: Vec<CbResOp>,
}

impl Xdr for CbCompound4Res {
    fn encode(&self, out: &mut Encoder) {
        self.status.encode(out);
        out.opaque(&self.tag);
        out.list(&self.results);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            status: Nfsstat4::decode(input)?,
            tag: input.opaque("tag", TAG_LIMIT)?,
            results: super::codec::Bounded::decode_bounded(input, "resarray", CB_OPS_LIMIT)?,
        })
    }
}
