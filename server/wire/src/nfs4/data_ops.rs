//! Operations on a file's bytes: READ, WRITE, COMMIT (RFC 8881 §18), and what RFC 7862 adds.
//! Payloads are slices of the message, never copies.

use bytes::Bytes;

use super::codec::OperationError;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

messages! {
    pub struct Read4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub count: u32,
    }

    pub struct Read4Ok {
        pub eof: bool,
        pub data: Bytes = DATA_LIMIT,
    }

    pub struct Write4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub stable: StableHow4,
        pub data: Bytes = DATA_LIMIT,
    }

    pub struct Write4Ok {
        pub count: u32,
        pub committed: StableHow4,
        pub writeverf: Verifier4,
    }

    pub struct Commit4Args {
        pub offset: u64,
        pub count: u32,
    }

    pub struct Commit4Ok {
        pub writeverf: Verifier4,
    }

    pub struct Allocate4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub length: u64,
    }

    pub struct Deallocate4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub length: u64,
    }

    pub struct Copy4Args {
        pub src_stateid: Stateid4,
        pub dst_stateid: Stateid4,
        pub src_offset: u64,
        pub dst_offset: u64,
        pub count: u64,
        pub consecutive: bool,
        pub synchronous: bool,
        pub source_server: Vec<Netloc4> = 1024,
    }

    pub struct CopyRequirements4 {
        pub consecutive: bool,
        pub synchronous: bool,
    }

    pub struct WriteResponse4 {
        /// Names the copy that goes on after this answer.
        pub callback_id: Option<Stateid4>,
        pub count: u64,
        pub committed: StableHow4,
        pub writeverf: Verifier4,
    }

    pub struct Copy4Ok {
        pub response: WriteResponse4,
        pub requirements: CopyRequirements4,
    }

    pub struct CopyNotify4Args {
        pub src_stateid: Stateid4,
        pub destination_server: Netloc4,
    }

    pub struct CopyNotify4Ok {
        pub lease_time: Nfstime4,
        pub stateid: Stateid4,
        pub source_server: Vec<Netloc4> = 1024,
    }

    pub struct IoAdvise4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub count: u64,
        pub hints: Bitmap4,
    }

    pub struct IoAdvise4Ok {
        pub hints: Bitmap4,
    }

    pub struct OffloadCancel4Args {
        pub stateid: Stateid4,
    }

    pub struct OffloadStatus4Args {
        pub stateid: Stateid4,
    }

    pub struct OffloadStatus4Ok {
        pub count: u64,
        pub complete: Option<Nfsstat4>,
    }

    pub struct ReadPlus4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub count: u32,
    }

    pub struct ReadPlus4Ok {
        pub eof: bool,
        pub contents: Vec<ReadPlusContent> = LIST_LIMIT,
    }

    pub struct Data4 {
        pub offset: u64,
        pub data: Bytes = DATA_LIMIT,
    }

    pub struct DataInfo4 {
        pub offset: u64,
        pub length: u64,
    }

    pub struct Seek4Args {
        pub stateid: Stateid4,
        pub offset: u64,
        pub what: DataContent4,
    }

    pub struct Seek4Ok {
        pub eof: bool,
        pub offset: u64,
    }

    pub struct WriteSame4Args {
        pub stateid: Stateid4,
        pub stable: StableHow4,
        pub adb: AppDataBlock4,
    }

    pub struct AppDataBlock4 {
        pub offset: u64,
        pub block_size: u64,
        pub block_count: u64,
        pub reloff_blocknum: u64,
        pub block_num: u32,
        pub reloff_pattern: u64,
        pub pattern: Bytes = DATA_LIMIT,
    }

    pub struct WriteSame4Ok {
        pub response: WriteResponse4,
    }

    pub struct Clone4Args {
        pub src_stateid: Stateid4,
        pub dst_stateid: Stateid4,
        pub src_offset: u64,
        pub dst_offset: u64,
        pub count: u64,
    }
}

xdr_enum! {
    pub enum DataContent4 {
        Data = 0,
        Hole = 1,
    }
}

unions! {
    pub enum ReadPlusContent {
        Data(data: Data4) = 0,
        Hole(hole: DataInfo4) = 1,
    }

    /// Where a server is (RFC 7862 §4.1.2).
    pub enum Netloc4 {
        Name(name: Bytes = OPAQUE_LIMIT) = 1,
        Url(url: Bytes = OPAQUE_LIMIT) = 2,
        Netaddr(addr: Netaddr4) = 3,
    }
}

/// COPY says what it could do when it can't do what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copy4Error {
    OffloadNoReqs(CopyRequirements4),
    Status(Nfsstat4),
}

impl OperationError for Copy4Error {
    fn status(&self) -> Nfsstat4 {
        match self {
            Self::OffloadNoReqs(_) => Nfsstat4::OffloadNoReqs,
            Self::Status(status) => *status,
        }
    }

    fn from_status(status: Nfsstat4) -> Self {
        match status {
            Nfsstat4::OffloadNoReqs => Self::OffloadNoReqs(CopyRequirements4 {
                consecutive: true,
                synchronous: true,
            }),
            status => Self::Status(status),
        }
    }

    fn encode_rest(&self, out: &mut Encoder) {
        if let Self::OffloadNoReqs(requirements) = self {
            requirements.encode(out);
        }
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        match status {
            Nfsstat4::OffloadNoReqs => CopyRequirements4::decode(input).map(Self::OffloadNoReqs),
            status => Ok(Self::Status(status)),
        }
    }
}
