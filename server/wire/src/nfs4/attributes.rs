//! The attributes of files and file systems: their numbers, one value of each, and `fattr4` in both
//! directions. Which of them a server has, and may be set, is not known here.

use bytes::Bytes;

use super::attribute_types::*;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Fault, Xdr};

/// Bytes that the values of one file's attributes may fill.
const VALUES_LIMIT: usize = 4 << 20;
const ACES_LIMIT: usize = 4096;
const LAYOUT_TYPES_LIMIT: usize = 64;

/// One row per attribute: `Name = number, field: type`.
macro_rules! attributes {
    ($($attr:ident = $number:literal, $field:ident : $type:ty $(= $limit:expr)?;)*) => {
        crate::xdr_enum! {
            /// The number of an attribute.
            pub enum Attr { $($attr = $number),* }
        }

        impl Attr {
            pub const ALL: &[Self] = &[$(Self::$attr),*];

            /// The name in the RFC.
            pub fn name(self) -> &'static str {
                match self { $(Self::$attr => stringify!($field)),* }
            }
        }

        /// Values of attributes: those that are there.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Attributes { $(pub $field: Option<$type>),* }

        impl Attributes {
            pub fn mask(&self) -> Bitmap4 {
                let mut mask = Bitmap4::EMPTY;
                $(if self.$field.is_some() { mask.set(Attr::$attr); })*
                mask
            }

            /// Keeps the values that `wanted` names.
            pub fn retain(&mut self, wanted: Bitmap4) {
                $(if !wanted.contains(Attr::$attr) { self.$field = None; })*
            }

            fn encode_values(&self, out: &mut Encoder) {
                $(if let Some(value) = &self.$field { field!(encode value, out $(, $limit)?); })*
            }

            fn decode_values(mask: Bitmap4, input: &mut Decoder) -> Result<Self, DecodeError> {
                let mut values = Self::default();
                $(if mask.contains(Attr::$attr) {
                    values.$field = Some(field!(decode $type, input, stringify!($field) $(, $limit)?));
                })*
                Ok(values)
            }
        }

        #[cfg(test)]
        impl super::sample::Sample for Attributes {
            fn sample(source: &mut super::sample::Source) -> Self {
                let mut values = Self::default();
                $(if source.one_in(8) {
                    values.$field = Some(field!(sample $type, source $(, $limit)?));
                })*
                values
            }
        }
    };
}

attributes! {
    SupportedAttrs = 0, supported_attrs: Bitmap4;
    Type = 1, file_type: Ftype4;
    FhExpireType = 2, fh_expire_type: u32;
    Change = 3, change: Changeid4;
    Size = 4, size: u64;
    LinkSupport = 5, link_support: bool;
    SymlinkSupport = 6, symlink_support: bool;
    NamedAttr = 7, named_attr: bool;
    Fsid = 8, fsid: Fsid4;
    UniqueHandles = 9, unique_handles: bool;
    LeaseTime = 10, lease_time: u32;
    RdattrError = 11, rdattr_error: Nfsstat4;
    Acl = 12, acl: Vec<Nfsace4> = ACES_LIMIT;
    Aclsupport = 13, aclsupport: u32;
    Archive = 14, archive: bool;
    Cansettime = 15, cansettime: bool;
    CaseInsensitive = 16, case_insensitive: bool;
    CasePreserving = 17, case_preserving: bool;
    ChownRestricted = 18, chown_restricted: bool;
    Filehandle = 19, filehandle: Fh4 = FH_LIMIT;
    Fileid = 20, fileid: u64;
    FilesAvail = 21, files_avail: u64;
    FilesFree = 22, files_free: u64;
    FilesTotal = 23, files_total: u64;
    FsLocations = 24, fs_locations: Box<FsLocations4>;
    Hidden = 25, hidden: bool;
    Homogeneous = 26, homogeneous: bool;
    Maxfilesize = 27, maxfilesize: u64;
    Maxlink = 28, maxlink: u32;
    Maxname = 29, maxname: u32;
    Maxread = 30, maxread: u64;
    Maxwrite = 31, maxwrite: u64;
    Mimetype = 32, mimetype: Bytes = OPAQUE_LIMIT;
    Mode = 33, mode: u32;
    NoTrunc = 34, no_trunc: bool;
    Numlinks = 35, numlinks: u32;
    Owner = 36, owner: Bytes = OPAQUE_LIMIT;
    OwnerGroup = 37, owner_group: Bytes = OPAQUE_LIMIT;
    QuotaAvailHard = 38, quota_avail_hard: u64;
    QuotaAvailSoft = 39, quota_avail_soft: u64;
    QuotaUsed = 40, quota_used: u64;
    Rawdev = 41, rawdev: Specdata4;
    SpaceAvail = 42, space_avail: u64;
    SpaceFree = 43, space_free: u64;
    SpaceTotal = 44, space_total: u64;
    SpaceUsed = 45, space_used: u64;
    System = 46, system: bool;
    TimeAccess = 47, time_access: Nfstime4;
    TimeAccessSet = 48, time_access_set: Settime4;
    TimeBackup = 49, time_backup: Nfstime4;
    TimeCreate = 50, time_create: Nfstime4;
    TimeDelta = 51, time_delta: Nfstime4;
    TimeMetadata = 52, time_metadata: Nfstime4;
    TimeModify = 53, time_modify: Nfstime4;
    TimeModifySet = 54, time_modify_set: Settime4;
    MountedOnFileid = 55, mounted_on_fileid: u64;
    DirNotifDelay = 56, dir_notif_delay: Nfstime4;
    DirentNotifDelay = 57, dirent_notif_delay: Nfstime4;
    Dacl = 58, dacl: Box<Nfsacl41>;
    Sacl = 59, sacl: Box<Nfsacl41>;
    ChangePolicy = 60, change_policy: ChangePolicy4;
    FsStatus = 61, fs_status: Box<Fs4Status>;
    FsLayoutTypes = 62, fs_layout_types: Vec<Layouttype4> = LAYOUT_TYPES_LIMIT;
    LayoutHint = 63, layout_hint: Box<Layouthint4>;
    LayoutTypes = 64, layout_types: Vec<Layouttype4> = LAYOUT_TYPES_LIMIT;
    LayoutBlksize = 65, layout_blksize: u32;
    LayoutAlignment = 66, layout_alignment: u32;
    FsLocationsInfo = 67, fs_locations_info: Box<FsLocationsInfo4>;
    Mdsthreshold = 68, mdsthreshold: Box<Mdsthreshold4>;
    RetentionGet = 69, retention_get: Box<RetentionGet4>;
    RetentionSet = 70, retention_set: Box<RetentionSet4>;
    RetentevtGet = 71, retentevt_get: Box<RetentionGet4>;
    RetentevtSet = 72, retentevt_set: Box<RetentionSet4>;
    RetentionHold = 73, retention_hold: u64;
    ModeSetMasked = 74, mode_set_masked: ModeMasked4;
    SuppattrExclcreat = 75, suppattr_exclcreat: Bitmap4;
    FsCharsetCap = 76, fs_charset_cap: u32;
    CloneBlksize = 77, clone_blksize: u32;
    SpaceFreed = 78, space_freed: u64;
    ChangeAttrType = 79, change_attr_type: ChangeAttrType4;
    SecLabel = 80, sec_label: Box<SecLabel4>;
    ModeUmask = 81, mode_umask: ModeUmask4;
    XattrSupport = 82, xattr_support: bool;
    Offline = 83, offline: bool;
    TimeDelegAccess = 84, time_deleg_access: Nfstime4;
    TimeDelegModify = 85, time_deleg_modify: Nfstime4;
    OpenArguments = 86, open_arguments: Box<OpenArguments4>;
}

impl From<Attr> for u32 {
    fn from(attr: Attr) -> Self {
        attr as u32
    }
}

impl Bitmap4 {
    /// Every attribute that has a value here.
    pub fn all_attributes() -> Self {
        Attr::ALL.iter().copied().collect()
    }

    /// The attributes in this bitmap that have a number here.
    pub fn attributes(self) -> impl Iterator<Item = Attr> {
        self.iter().filter_map(Attr::from_u32)
    }
}

impl Xdr for Attributes {
    fn encode(&self, out: &mut Encoder) {
        self.mask().encode(out);
        let length_at = out.len();
        out.u32(0);
        self.encode_values(out);
        out.patch_u32(length_at, (out.len() - length_at - 4) as u32);
    }

    /// For values that a server sent: an attribute without a number here is an error, as its length is unknown.
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match Fattr4::decode(input)? {
            Fattr4::Known(attributes) => Ok(*attributes),
            Fattr4::Unsupported { .. } => {
                Err(input.fail(Fault::Invalid("fattr4 has an unknown attribute")))
            }
            Fattr4::Malformed { fault, .. } => Err(fault),
        }
    }
}

/// Attributes that a client sent to be set or compared. What is wrong with them is told in place, since the
/// operations before them run all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fattr4 {
    Known(Box<Attributes>),
    /// Names an attribute without a number here: ATTRNOTSUPP.
    Unsupported {
        attr: u32,
        raw: RawFattr4,
    },
    /// The values are no XDR of the attributes named: BADXDR.
    Malformed {
        fault: DecodeError,
        raw: RawFattr4,
    },
}

messages! {
    /// A `fattr4` as it came.
    pub struct RawFattr4 {
        pub attrmask: Vec<u32> = BITMAP_WORDS_LIMIT,
        pub attr_vals: Bytes = VALUES_LIMIT,
    }
}

impl Fattr4 {
    /// Sets nothing.
    pub fn empty() -> Self {
        Self::from(Attributes::default())
    }
}

impl From<Attributes> for Fattr4 {
    fn from(attributes: Attributes) -> Self {
        Self::Known(Box::new(attributes))
    }
}

impl Xdr for Fattr4 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Known(attributes) => attributes.encode(out),
            Self::Unsupported { raw, .. } | Self::Malformed { raw, .. } => raw.encode(out),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let raw = RawFattr4::decode(input)?;
        let values_at = input.offset() - raw.attr_vals.len().next_multiple_of(4);
        let unsupported = raw.bits().find(|&bit| Attr::from_u32(bit).is_none());
        if let Some(attr) = unsupported {
            return Ok(Self::Unsupported { attr, raw });
        }
        let mask = raw.bits().collect();
        let mut values = Decoder::new(raw.attr_vals.clone());
        Ok(
            match Attributes::decode_values(mask, &mut values)
                .and_then(|all| values.finish().map(|()| all))
            {
                Ok(attributes) => Self::from(attributes),
                Err(DecodeError { offset, fault }) => Self::Malformed {
                    fault: DecodeError {
                        offset: values_at + offset,
                        fault,
                    },
                    raw,
                },
            },
        )
    }
}

impl RawFattr4 {
    /// The numbers of the attributes, in ascending order.
    fn bits(&self) -> impl Iterator<Item = u32> {
        self.attrmask.iter().enumerate().flat_map(|(at, &word)| {
            (0..32)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| at as u32 * 32 + bit)
        })
    }
}
