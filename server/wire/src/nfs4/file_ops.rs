//! Operations on filehandles, names and attributes: RFC 8881 §18, and extended attributes of RFC 8276.
//! Opens and locks are in `open_ops`, data in `data_ops`, sessions in `session_ops`, layouts in `layout_ops`.

use bytes::Bytes;

use super::attributes::{Attributes, Fattr4};
use super::codec::{Opaques, OperationError, decode_opaques, encode_opaques};
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

pub const ACCESS4_READ: u32 = 0x01;
pub const ACCESS4_LOOKUP: u32 = 0x02;
pub const ACCESS4_MODIFY: u32 = 0x04;
pub const ACCESS4_EXTEND: u32 = 0x08;
pub const ACCESS4_DELETE: u32 = 0x10;
pub const ACCESS4_EXECUTE: u32 = 0x20;
/// RFC 8276 §8.5.
pub const ACCESS4_XAREAD: u32 = 0x40;
pub const ACCESS4_XAWRITE: u32 = 0x80;
pub const ACCESS4_XALIST: u32 = 0x100;

messages! {
    pub struct Access4Args {
        pub access: u32,
    }

    pub struct Access4Ok {
        pub supported: u32,
        pub access: u32,
    }

    pub struct Create4Args {
        pub objtype: Createtype4,
        pub objname: Component4 = NAME_LIMIT,
        pub createattrs: Fattr4,
    }

    pub struct Create4Ok {
        pub cinfo: ChangeInfo4,
        pub attrset: Bitmap4,
    }

    pub struct Getattr4Args {
        pub attr_request: Bitmap4,
    }

    pub struct Getattr4Ok {
        pub obj_attributes: Box<Attributes>,
    }

    pub struct Getfh4Ok {
        pub object: Fh4 = FH_LIMIT,
    }

    pub struct Link4Args {
        pub newname: Component4 = NAME_LIMIT,
    }

    pub struct Link4Ok {
        pub cinfo: ChangeInfo4,
    }

    pub struct Lookup4Args {
        pub objname: Component4 = NAME_LIMIT,
    }

    pub struct Nverify4Args {
        pub obj_attributes: Fattr4,
    }

    pub struct Verify4Args {
        pub obj_attributes: Fattr4,
    }

    pub struct Openattr4Args {
        pub createdir: bool,
    }

    pub struct Putfh4Args {
        pub object: Fh4 = FH_LIMIT,
    }

    pub struct Readdir4Args {
        pub cookie: u64,
        pub cookieverf: Verifier4,
        pub dircount: u32,
        pub maxcount: u32,
        pub attr_request: Bitmap4,
    }

    pub struct Readlink4Ok {
        pub link: Bytes = PATH_LIMIT,
    }

    pub struct Remove4Args {
        pub target: Component4 = NAME_LIMIT,
    }

    pub struct Remove4Ok {
        pub cinfo: ChangeInfo4,
    }

    pub struct Rename4Args {
        pub oldname: Component4 = NAME_LIMIT,
        pub newname: Component4 = NAME_LIMIT,
    }

    pub struct Rename4Ok {
        pub source_cinfo: ChangeInfo4,
        pub target_cinfo: ChangeInfo4,
    }

    pub struct Secinfo4Args {
        pub name: Component4 = NAME_LIMIT,
    }

    pub struct RpcsecGssInfo {
        pub oid: Bytes = OPAQUE_LIMIT,
        pub qop: u32,
        pub service: RpcGssSvc,
    }

    /// Answer of SECINFO and of SECINFO_NO_NAME.
    pub struct Secinfo4Ok {
        pub flavors: Vec<SecinfoFlavor4> = 64,
    }

    pub struct SecinfoNoName4Args {
        pub style: SecinfoStyle4,
    }

    pub struct Setattr4Args {
        pub stateid: Stateid4,
        pub obj_attributes: Fattr4,
    }

    pub struct Setattr4Ok {
        pub attrsset: Bitmap4,
    }

    pub struct Getxattr4Args {
        pub name: Bytes = NAME_LIMIT,
    }

    pub struct Getxattr4Ok {
        pub value: Bytes = DATA_LIMIT,
    }

    pub struct Setxattr4Args {
        pub option: SetxattrOption4,
        pub key: Bytes = NAME_LIMIT,
        pub value: Bytes = DATA_LIMIT,
    }

    pub struct Setxattr4Ok {
        pub info: ChangeInfo4,
    }

    pub struct Listxattrs4Args {
        pub cookie: u64,
        pub maxcount: u32,
    }

    pub struct Removexattr4Args {
        pub name: Bytes = NAME_LIMIT,
    }

    pub struct Removexattr4Ok {
        pub info: ChangeInfo4,
    }
}

xdr_enum! {
    pub enum SecinfoStyle4 {
        CurrentFh = 0,
        Parent = 1,
    }
}

xdr_enum! {
    pub enum RpcGssSvc {
        None = 1,
        Integrity = 2,
        Privacy = 3,
    }
}

xdr_enum! {
    pub enum SetxattrOption4 {
        Either = 0,
        Create = 1,
        Replace = 2,
    }
}

/// `createtype4`: what CREATE makes, with what that kind needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Createtype4 {
    Lnk(Bytes),
    Blk(Specdata4),
    Chr(Specdata4),
    Sock,
    Fifo,
    Dir,
    /// A type that CREATE does not make: BADTYPE.
    Other(Ftype4),
}

impl Createtype4 {
    pub fn ftype(&self) -> Ftype4 {
        match self {
            Self::Lnk(_) => Ftype4::Lnk,
            Self::Blk(_) => Ftype4::Blk,
            Self::Chr(_) => Ftype4::Chr,
            Self::Sock => Ftype4::Sock,
            Self::Fifo => Ftype4::Fifo,
            Self::Dir => Ftype4::Dir,
            Self::Other(ftype) => *ftype,
        }
    }
}

impl Xdr for Createtype4 {
    fn encode(&self, out: &mut Encoder) {
        self.ftype().encode(out);
        match self {
            Self::Lnk(link) => out.opaque(link),
            Self::Blk(device) | Self::Chr(device) => device.encode(out),
            Self::Sock | Self::Fifo | Self::Dir | Self::Other(_) => {}
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match Ftype4::decode(input)? {
            Ftype4::Lnk => Self::Lnk(input.opaque("linkdata", PATH_LIMIT)?),
            Ftype4::Blk => Self::Blk(Specdata4::decode(input)?),
            Ftype4::Chr => Self::Chr(Specdata4::decode(input)?),
            Ftype4::Sock => Self::Sock,
            Ftype4::Fifo => Self::Fifo,
            Ftype4::Dir => Self::Dir,
            other => Self::Other(other),
        })
    }
}

/// A security flavor of SECINFO; only RPCSEC_GSS says more than its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecinfoFlavor4 {
    Gss(RpcsecGssInfo),
    Flavor(u32),
}

pub const RPCSEC_GSS: u32 = 6;

impl Xdr for SecinfoFlavor4 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Gss(info) => {
                out.u32(RPCSEC_GSS);
                info.encode(out);
            }
            Self::Flavor(flavor) => out.u32(*flavor),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match input.u32()? {
            RPCSEC_GSS => RpcsecGssInfo::decode(input).map(Self::Gss),
            flavor => Ok(Self::Flavor(flavor)),
        }
    }
}

/// One entry of READDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry4 {
    pub cookie: u64,
    pub name: Component4,
    pub attrs: Box<Attributes>,
}

impl Entry4 {
    /// Appends the entry with the word that says that there is one. To keep within `maxcount`, compare
    /// `out.len()` before and after, and truncate.
    pub fn encode(&self, out: &mut Encoder) {
        out.bool(true);
        out.u64(self.cookie);
        out.opaque(&self.name);
        self.attrs.encode(out);
    }

    /// What `dircount` counts: cookie and name (RFC 8881 §18.23.3).
    pub fn dircount_len(&self) -> usize {
        8 + 4 + self.name.len().next_multiple_of(4)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readdir4Ok {
    pub cookieverf: Verifier4,
    pub entries: Vec<Entry4>,
    pub eof: bool,
}

impl Readdir4Ok {
    /// Bytes of the answer without entries, which `maxcount` counts too: verifier, end of list, eof.
    pub const EMPTY_LEN: usize = 8 + 4 + 4;

    /// Bytes on the wire.
    pub fn encoded_len(&self) -> usize {
        let mut out = Encoder::new();
        self.encode(&mut out);
        out.len()
    }
}

impl Xdr for Readdir4Ok {
    fn encode(&self, out: &mut Encoder) {
        self.cookieverf.encode(out);
        for entry in &self.entries {
            entry.encode(out);
        }
        out.bool(false);
        out.bool(self.eof);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let cookieverf = Verifier4::decode(input)?;
        let mut entries = Vec::new();
        while input.bool()? {
            let cookie = input.u64()?;
            let name = input.opaque("name", NAME_LIMIT)?;
            entries.push(Entry4 {
                cookie,
                name,
                attrs: Box::new(Attributes::decode(input)?),
            });
        }
        Ok(Self {
            cookieverf,
            entries,
            eof: input.bool()?,
        })
    }
}

/// SETATTR says which attributes were set even when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setattr4Error {
    pub status: Nfsstat4,
    pub attrsset: Bitmap4,
}

impl OperationError for Setattr4Error {
    fn status(&self) -> Nfsstat4 {
        self.status
    }

    fn from_status(status: Nfsstat4) -> Self {
        Self {
            status,
            attrsset: Bitmap4::EMPTY,
        }
    }

    fn encode_rest(&self, out: &mut Encoder) {
        self.attrsset.encode(out);
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            status,
            attrsset: Bitmap4::decode(input)?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listxattrs4Ok {
    pub cookie: u64,
    pub names: Vec<Bytes>,
    pub eof: bool,
}

impl Xdr for Listxattrs4Ok {
    fn encode(&self, out: &mut Encoder) {
        out.u64(self.cookie);
        encode_opaques(&self.names, out);
        out.bool(self.eof);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let cookie = input.u64()?;
        let names = decode_opaques(
            input,
            "names",
            Opaques {
                count: LIST_LIMIT,
                each: NAME_LIMIT,
            },
        )?;
        Ok(Self {
            cookie,
            names,
            eof: input.bool()?,
        })
    }
}
