//! Values of the attributes that are more than a number or a string (RFC 8881 §5, RFC 7862 §12, RFC 8275,
//! RFC 9754). `attributes` has the table of attributes itself.

use bytes::Bytes;

use super::codec::{Opaques, decode_opaques, encode_opaques};
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

pub const FH4_PERSISTENT: u32 = 0;
pub const FH4_NOEXPIRE_WITH_OPEN: u32 = 1;
pub const FH4_VOLATILE_ANY: u32 = 2;
pub const FH4_VOL_MIGRATION: u32 = 4;
pub const FH4_VOL_RENAME: u32 = 8;

pub const ACL4_SUPPORT_ALLOW_ACL: u32 = 1;
pub const ACL4_SUPPORT_DENY_ACL: u32 = 2;

pub const ACE4_ACCESS_ALLOWED_ACE_TYPE: u32 = 0;
pub const ACE4_ACCESS_DENIED_ACE_TYPE: u32 = 1;
pub const ACE4_SYSTEM_AUDIT_ACE_TYPE: u32 = 2;
pub const ACE4_SYSTEM_ALARM_ACE_TYPE: u32 = 3;

/// Of a folder: LIST_DIRECTORY.
pub const ACE4_READ_DATA: u32 = 0x1;
/// Of a folder: ADD_FILE.
pub const ACE4_WRITE_DATA: u32 = 0x2;
/// Of a folder: ADD_SUBDIRECTORY.
pub const ACE4_APPEND_DATA: u32 = 0x4;
pub const ACE4_READ_NAMED_ATTRS: u32 = 0x8;
pub const ACE4_WRITE_NAMED_ATTRS: u32 = 0x10;
pub const ACE4_EXECUTE: u32 = 0x20;
pub const ACE4_DELETE_CHILD: u32 = 0x40;
pub const ACE4_READ_ATTRIBUTES: u32 = 0x80;
pub const ACE4_WRITE_ATTRIBUTES: u32 = 0x100;
pub const ACE4_WRITE_RETENTION: u32 = 0x200;
pub const ACE4_WRITE_RETENTION_HOLD: u32 = 0x400;
pub const ACE4_DELETE: u32 = 0x1_0000;
pub const ACE4_READ_ACL: u32 = 0x2_0000;
pub const ACE4_WRITE_ACL: u32 = 0x4_0000;
pub const ACE4_WRITE_OWNER: u32 = 0x8_0000;
pub const ACE4_SYNCHRONIZE: u32 = 0x10_0000;

pub const ACE4_FILE_INHERIT_ACE: u32 = 0x1;
pub const ACE4_DIRECTORY_INHERIT_ACE: u32 = 0x2;
pub const ACE4_NO_PROPAGATE_INHERIT_ACE: u32 = 0x4;
pub const ACE4_INHERIT_ONLY_ACE: u32 = 0x8;
pub const ACE4_SUCCESSFUL_ACCESS_ACE_FLAG: u32 = 0x10;
pub const ACE4_FAILED_ACCESS_ACE_FLAG: u32 = 0x20;
pub const ACE4_IDENTIFIER_GROUP: u32 = 0x40;
pub const ACE4_INHERITED_ACE: u32 = 0x80;

pub const ACL4_AUTO_INHERIT: u32 = 0x1;
pub const ACL4_PROTECTED: u32 = 0x2;
pub const ACL4_DEFAULTED: u32 = 0x4;

pub const FSCHARSET_CAP4_CONTAINS_NON_UTF8: u32 = 1;
pub const FSCHARSET_CAP4_ALLOWS_ONLY_UTF8: u32 = 2;

xdr_enum! {
    pub enum ChangeAttrType4 {
        IsMonotonicIncr = 0,
        IsVersionCounter = 1,
        IsVersionCounterNopnfs = 2,
        IsTimeMetadata = 3,
        IsUndefined = 4,
    }
}

unions! {
    pub enum Settime4 {
        ServerTime = 0,
        ClientTime(time: Nfstime4) = 1,
    }
}

/// Names from the root down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pathname4(pub Vec<Component4>);

impl Xdr for Pathname4 {
    fn encode(&self, out: &mut Encoder) {
        encode_opaques(&self.0, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        decode_opaques(
            input,
            "pathname4",
            Opaques {
                count: 4096,
                each: NAME_LIMIT,
            },
        )
        .map(Self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsLocation4 {
    pub server: Vec<Bytes>,
    pub rootpath: Pathname4,
}

impl Xdr for FsLocation4 {
    fn encode(&self, out: &mut Encoder) {
        encode_opaques(&self.server, out);
        self.rootpath.encode(out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            server: decode_opaques(
                input,
                "server",
                Opaques {
                    count: 1024,
                    each: OPAQUE_LIMIT,
                },
            )?,
            rootpath: Pathname4::decode(input)?,
        })
    }
}

messages! {
    pub struct FsLocations4 {
        pub fs_root: Pathname4,
        pub locations: Vec<FsLocation4> = 1024,
    }

    pub struct FsLocationsInfo4 {
        pub flags: u32,
        pub valid_for: i32,
        pub fs_root: Pathname4,
        pub items: Vec<FsLocationsItem4> = 1024,
    }

    pub struct FsLocationsItem4 {
        pub entries: Vec<FsLocationsServer4> = 1024,
        pub rootpath: Pathname4,
    }

    pub struct FsLocationsServer4 {
        pub currency: i32,
        pub info: Bytes = OPAQUE_LIMIT,
        pub server: Bytes = OPAQUE_LIMIT,
    }

    pub struct Nfsacl41 {
        pub flag: u32,
        pub aces: Vec<Nfsace4> = 4096,
    }

    pub struct ChangePolicy4 {
        pub major: u64,
        pub minor: u64,
    }

    pub struct Fs4Status {
        pub absent: bool,
        /// STATUS4_FIXED = 1 to STATUS4_REFERRAL = 5.
        pub status_type: u32,
        pub source: Bytes = OPAQUE_LIMIT,
        pub current: Bytes = OPAQUE_LIMIT,
        pub age: i32,
        pub version: Nfstime4,
    }

    pub struct Layouthint4 {
        pub layout_type: Layouttype4,
        pub body: Bytes = 65_536,
    }

    pub struct ThresholdItem4 {
        pub layout_type: Layouttype4,
        /// TH4_READ_SIZE = 0, TH4_WRITE_SIZE, TH4_READ_IOSIZE, TH4_WRITE_IOSIZE.
        pub hintset: Bitmap4,
        pub hintlist: Bytes = OPAQUE_LIMIT,
    }

    pub struct Mdsthreshold4 {
        pub hints: Vec<ThresholdItem4> = 64,
    }

    pub struct RetentionGet4 {
        pub duration: u64,
        pub begin_time: Option<Nfstime4>,
    }

    pub struct RetentionSet4 {
        pub enable: bool,
        pub duration: Option<u64>,
    }

    pub struct ModeMasked4 {
        pub value_to_set: u32,
        pub mask_bits: u32,
    }

    pub struct ModeUmask4 {
        pub mode: u32,
        pub umask: u32,
    }

    pub struct SecLabel4 {
        pub lfs: u32,
        pub pi: u32,
        pub data: Bytes = 65_536,
    }

    /// What OPEN may ask of this server (RFC 9754): bit numbers of the values of its arguments.
    pub struct OpenArguments4 {
        pub share_access: Bitmap4,
        pub share_deny: Bitmap4,
        pub share_access_want: Bitmap4,
        pub open_claim: Bitmap4,
        pub create_mode: Bitmap4,
    }
}
