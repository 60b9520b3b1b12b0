//! READ, WRITE and COMMIT (RFC 1813 §3.3.6, §3.3.7, §3.3.21), with their payloads by reference or
//! apart from their heads. Never here: other procedures.

use bytes::Bytes;

use super::{Fh3, Outcome, PostOpAttr, WccData, Writeverf3};
use crate::xdr::{DecodeError, Decoder, Encoder, Fault, Xdr};
use crate::{xdr_enum, xdr_struct};

/// The largest payload of a READ or WRITE that is decoded; what a server offers in FSINFO is less.
pub const PAYLOAD_MAX_BYTES: usize = 16 << 20;

xdr_struct! {
    pub struct Read3args {
        pub file: Fh3,
        pub offset: u64,
        pub count: u32,
    }
}

/// `READ3resok`; its `count` is the length of `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read3resok {
    pub file_attributes: PostOpAttr,
    pub eof: bool,
    pub data: Bytes,
}

pub type Read3res = Outcome<Read3resok, PostOpAttr>;

impl Xdr for Read3resok {
    fn encode(&self, out: &mut Encoder) {
        self.file_attributes.encode(out);
        out.u32(self.data.len() as u32);
        out.bool(self.eof);
        out.payload(&self.data);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let file_attributes = PostOpAttr::decode(input)?;
        let count_at = input.offset();
        let count = input.u32()?;
        let eof = input.bool()?;
        let data = input.opaque("READ data", PAYLOAD_MAX_BYTES)?;
        same_length(input, count_at, count, data.len())?;
        Ok(Self {
            file_attributes,
            eof,
            data,
        })
    }
}

/// A successful READ's result up to its data, for a server that sends the data from elsewhere:
/// `count` bytes and [`padding`](crate::xdr::padding) are to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read3head {
    pub file_attributes: PostOpAttr,
    pub count: u32,
    pub eof: bool,
}

impl Read3head {
    /// Bytes of the longest head.
    pub const MAX_BYTES: usize = 4 + 4 + 84 + 4 + 4 + 4;

    /// Status NFS3_OK, and all of the result that comes before the data.
    pub fn encode_result(&self, out: &mut Encoder) {
        out.u32(0);
        self.file_attributes.encode(out);
        out.u32(self.count);
        out.bool(self.eof);
        out.u32(self.count);
    }
}

xdr_enum! {
    /// `stable_how`: what is on disk when the answer leaves. Ordered from least to most.
    pub enum StableHow {
        Unstable = 0,
        DataSync = 1,
        FileSync = 2,
    }
}

/// `WRITE3args`; its `count` is the length of `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write3args {
    pub file: Fh3,
    pub offset: u64,
    pub stable: StableHow,
    pub data: Bytes,
}

impl Xdr for Write3args {
    fn encode(&self, out: &mut Encoder) {
        Write3head {
            file: self.file.clone(),
            offset: self.offset,
            count: self.data.len() as u32,
            stable: self.stable,
        }
        .encode_fields(out);
        out.payload(&self.data);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let (head, count_at) = Write3head::decode_fields(input)?;
        let data = input.opaque("WRITE data", PAYLOAD_MAX_BYTES)?;
        same_length(input, count_at, head.count, data.len())?;
        Ok(Self {
            file: head.file,
            offset: head.offset,
            stable: head.stable,
            data,
        })
    }
}

/// A WRITE's arguments up to its data: decoded first by a server that then receives the `count`
/// bytes of data where it wants them. [`padding`](crate::xdr::padding) follows the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write3head {
    pub file: Fh3,
    pub offset: u64,
    pub count: u32,
    pub stable: StableHow,
}

impl Write3head {
    /// Bytes of the longest head.
    pub const MAX_BYTES: usize = 4 + Fh3::LIMIT_BYTES + 8 + 4 + 4 + 4;

    fn encode_fields(&self, out: &mut Encoder) {
        self.file.encode(out);
        out.u64(self.offset);
        out.u32(self.count);
        self.stable.encode(out);
    }

    fn decode_fields(input: &mut Decoder) -> Result<(Self, usize), DecodeError> {
        let file = Fh3::decode(input)?;
        let offset = input.u64()?;
        let count_at = input.offset();
        let count = input.u32()?;
        let stable = StableHow::decode(input)?;
        Ok((
            Self {
                file,
                offset,
                count,
                stable,
            },
            count_at,
        ))
    }
}

/// The head, and the length word of the data, which must say the same as `count`.
impl Xdr for Write3head {
    fn encode(&self, out: &mut Encoder) {
        self.encode_fields(out);
        out.u32(self.count);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let (head, count_at) = Self::decode_fields(input)?;
        let length = input.length("WRITE data", PAYLOAD_MAX_BYTES)?;
        same_length(input, count_at, head.count, length)?;
        Ok(head)
    }
}

fn same_length(input: &Decoder, at: usize, count: u32, length: usize) -> Result<(), DecodeError> {
    if count as usize == length {
        return Ok(());
    }
    Err(input.fail_at(
        at,
        Fault::Invalid("count differs from the length of the data"),
    ))
}

xdr_struct! {
    pub struct Write3resok {
        pub file_wcc: WccData,
        pub count: u32,
        pub committed: StableHow,
        pub verf: Writeverf3,
    }
}

pub type Write3res = Outcome<Write3resok, WccData>;

xdr_struct! {
    pub struct Commit3args {
        pub file: Fh3,
        pub offset: u64,
        /// 0: from `offset` to the end of the file.
        pub count: u32,
    }
}

xdr_struct! {
    pub struct Commit3resok {
        pub file_wcc: WccData,
        pub verf: Writeverf3,
    }
}

pub type Commit3res = Outcome<Commit3resok, WccData>;
