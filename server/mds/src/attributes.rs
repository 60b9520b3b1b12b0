//! Attributes as NFS shows them (RFC 8881 §5), and the changes that a client asks for.

mod absent;
mod changes;
mod show;

pub(crate) use changes::{Changes, without_set_id};
pub(crate) use show::file_type;

use crate::compound::{Compound, File};
use crate::status::Refusal;
use wire::nfs4::{Attr, Bitmap4, Nfsstat4};

/// Largest file: what Linux can address.
pub(crate) const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// What GETATTR answers. docs/SEMANTICS.md says why each other attribute is absent.
const READABLE: &[Attr] = &[
    Attr::SupportedAttrs,
    Attr::Type,
    Attr::FhExpireType,
    Attr::Change,
    Attr::Size,
    Attr::LinkSupport,
    Attr::SymlinkSupport,
    Attr::NamedAttr,
    Attr::Fsid,
    Attr::UniqueHandles,
    Attr::LeaseTime,
    Attr::RdattrError,
    Attr::Acl,
    Attr::Aclsupport,
    Attr::Cansettime,
    Attr::CaseInsensitive,
    Attr::CasePreserving,
    Attr::ChownRestricted,
    Attr::Filehandle,
    Attr::Fileid,
    Attr::FilesAvail,
    Attr::FilesFree,
    Attr::FilesTotal,
    Attr::FsLocations,
    Attr::Homogeneous,
    Attr::Maxfilesize,
    Attr::Maxlink,
    Attr::Maxname,
    Attr::Maxread,
    Attr::Maxwrite,
    Attr::Mode,
    Attr::NoTrunc,
    Attr::Numlinks,
    Attr::Owner,
    Attr::OwnerGroup,
    Attr::Rawdev,
    Attr::SpaceAvail,
    Attr::SpaceFree,
    Attr::SpaceTotal,
    Attr::SpaceUsed,
    Attr::TimeAccess,
    Attr::TimeCreate,
    Attr::TimeDelta,
    Attr::TimeMetadata,
    Attr::TimeModify,
    Attr::MountedOnFileid,
    Attr::Dacl,
    Attr::FsLayoutTypes,
    Attr::LayoutTypes,
    Attr::LayoutBlksize,
    Attr::SuppattrExclcreat,
    Attr::FsCharsetCap,
];

/// Of NFSv4.2 alone (RFC 7862 §12, RFC 8276 §8.2, RFC 9754 §3).
const READABLE_SINCE_2: &[Attr] = &[
    Attr::ChangeAttrType,
    Attr::XattrSupport,
    Attr::OpenArguments,
];

/// Set by the holder of a delegation alone (RFC 9754 §5): `delegations::times`.
const DELEGATED_SINCE_2: &[Attr] = &[Attr::TimeDelegAccess, Attr::TimeDelegModify];

const SETTABLE: &[Attr] = &[
    Attr::Acl,
    Attr::Dacl,
    Attr::Size,
    Attr::Mode,
    Attr::ModeSetMasked,
    Attr::Owner,
    Attr::OwnerGroup,
    Attr::TimeAccessSet,
    Attr::TimeModifySet,
];

/// Of NFSv4.2 alone (RFC 8275).
const SETTABLE_SINCE_2: &[Attr] = &[Attr::ModeUmask];

/// Of files in the catalog alone.
const CATALOGS_OWN: &[Attr] = &[
    Attr::Acl,
    Attr::Aclsupport,
    Attr::Dacl,
    Attr::FilesAvail,
    Attr::FilesFree,
    Attr::FilesTotal,
    Attr::SecLabel,
    Attr::TimeCreate,
];

/// Can be set and not asked for: INVAL (RFC 8881 §5.5, RFC 8275 §4, RFC 9754 §5).
const SET_ONLY: &[Attr] = &[
    Attr::TimeAccessSet,
    Attr::TimeModifySet,
    Attr::ModeSetMasked,
    Attr::ModeUmask,
    Attr::TimeDelegAccess,
    Attr::TimeDelegModify,
];

/// Of one file, and not for everybody's eyes where an entry denies READ_ATTRIBUTES. What tells the file and
/// its file system apart is always told: without it a client can't so much as say what it may not see.
const SEEN_BY_RIGHT: &[Attr] = &[
    Attr::Size,
    Attr::Mode,
    Attr::Numlinks,
    Attr::Owner,
    Attr::OwnerGroup,
    Attr::Rawdev,
    Attr::SpaceUsed,
    Attr::TimeAccess,
    Attr::TimeCreate,
    Attr::TimeMetadata,
    Attr::TimeModify,
];

fn set_of(attributes: &[Attr]) -> Bitmap4 {
    attributes.iter().copied().collect()
}

/// What a client can ask for: by its minor version, and by what is switched on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub minor: u32,
    /// Security labels change what a client with SELinux makes of every file: only where they are wanted.
    pub labels: bool,
    /// Of a backend's own tree, which has neither lists nor labels, and no times of birth.
    pub in_tree: bool,
}

impl Known {
    pub fn readable(self) -> Bitmap4 {
        self.narrowed(self.all_readable())
    }

    fn settable(self) -> Bitmap4 {
        self.narrowed(self.all_settable())
    }

    fn narrowed(self, all: Bitmap4) -> Bitmap4 {
        if self.in_tree {
            all.difference(set_of(CATALOGS_OWN))
        } else {
            all
        }
    }

    fn all_readable(self) -> Bitmap4 {
        let mut all = set_of(READABLE);
        if self.minor >= 2 {
            all = all.union(set_of(READABLE_SINCE_2));
            if self.labels {
                all.set(Attr::SecLabel);
            }
        }
        all
    }

    fn all_settable(self) -> Bitmap4 {
        let mut all = set_of(SETTABLE);
        if self.minor >= 2 {
            all = all.union(set_of(SETTABLE_SINCE_2));
            if self.labels {
                all.set(Attr::SecLabel);
            }
        }
        all
    }

    fn supported(self) -> Bitmap4 {
        let known = self.readable().union(self.settable());
        if self.minor >= 2 && !self.in_tree {
            known.union(set_of(DELEGATED_SINCE_2))
        } else {
            known
        }
    }

    /// EXCLUSIVE4_1 may set whatever a create may: the verifier has a record of its own.
    fn settable_at_exclusive_create(self) -> Bitmap4 {
        self.settable().difference(set_of(&[Attr::ModeSetMasked]))
    }
}

impl Compound<'_> {
    pub fn known_attributes(&self, file: &File) -> Known {
        Known {
            minor: self.minor,
            labels: self.server.limits.label_bytes > 0,
            in_tree: file.export.junction.is_some(),
        }
    }

    /// Those of `asked` that there are to read of `file`.
    pub fn readable(&self, file: &File, asked: Bitmap4) -> Result<Bitmap4, Refusal> {
        let known = self.known_attributes(file);
        // Of a later minor version it isn't there at all.
        let set_only = set_of(SET_ONLY).intersection(known.supported());
        if asked.intersection(set_only).is_empty() {
            Ok(asked.intersection(known.readable()))
        } else {
            Err(Nfsstat4::Inval.into())
        }
    }
}
