//! Attributes as NFS shows them (RFC 8881 §5), and the changes that a client asks for.

use crate::compound::{Compound, File};
use crate::identity::{Credential, Want, may, owns};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{FileKind, Inode, Timestamp};
use wire::nfs4::{
    Attr, Attributes, Bitmap4, ChangeAttrType4, FH4_PERSISTENT, FSCHARSET_CAP4_CONTAINS_NON_UTF8,
    Fattr4, Fsid4, Ftype4, LAYOUT4_FLEX_FILES, Nfsstat4, Nfstime4, Settime4, Specdata4,
};

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
    Attr::FsLayoutTypes,
    Attr::LayoutTypes,
    Attr::LayoutBlksize,
    Attr::SuppattrExclcreat,
    Attr::FsCharsetCap,
];

/// Of NFSv4.2 alone (RFC 7862 §12, RFC 8276 §8.2).
const READABLE_SINCE_2: &[Attr] = &[Attr::ChangeAttrType, Attr::XattrSupport];

const SETTABLE: &[Attr] = &[
    Attr::Size,
    Attr::Mode,
    Attr::Owner,
    Attr::OwnerGroup,
    Attr::TimeAccessSet,
    Attr::TimeModifySet,
];

fn set_of(attributes: &[Attr]) -> Bitmap4 {
    attributes.iter().copied().collect()
}

pub(crate) fn readable(minor: u32) -> Bitmap4 {
    if minor >= 2 {
        set_of(READABLE).union(set_of(READABLE_SINCE_2))
    } else {
        set_of(READABLE)
    }
}

fn supported(minor: u32) -> Bitmap4 {
    readable(minor).union(set_of(SETTABLE))
}

/// EXCLUSIVE4_1 may set whatever SETATTR may: the verifier has a record of its own.
fn settable_at_exclusive_create() -> Bitmap4 {
    set_of(SETTABLE)
}

fn time(at: Timestamp) -> Nfstime4 {
    Nfstime4 {
        seconds: at.seconds,
        nseconds: at.nanos,
    }
}

fn file_type(kind: FileKind) -> Ftype4 {
    match kind {
        FileKind::Regular => Ftype4::Reg,
        FileKind::Directory => Ftype4::Dir,
        FileKind::Symlink => Ftype4::Lnk,
        FileKind::Block => Ftype4::Blk,
        FileKind::Character => Ftype4::Chr,
        FileKind::Fifo => Ftype4::Fifo,
        FileKind::Socket => Ftype4::Sock,
    }
}

/// What the data servers said when size and times were last settled; a folder takes a block.
fn space_used(inode: &Inode) -> u64 {
    match inode.kind {
        FileKind::Regular => inode.used,
        FileKind::Directory => 4096,
        _ => 0,
    }
}

fn size(inode: &Inode) -> u64 {
    match inode.kind {
        FileKind::Directory => 4096,
        FileKind::Symlink => inode
            .target
            .as_ref()
            .map_or(0, |target| target.len() as u64),
        _ => inode.size,
    }
}

impl Compound<'_> {
    /// Those of `inode` that `asked` names and that there are.
    pub async fn attributes(
        &self,
        file: &File,
        inode: &Inode,
        asked: Bitmap4,
    ) -> Result<Attributes, Refusal> {
        let asked = asked.intersection(readable(self.minor));
        let mut shown = Attributes::default();
        for attribute in asked.difference(set_of(COUNTS)).attributes() {
            self.show(&mut shown, attribute, file, inode);
        }
        if !asked.intersection(set_of(COUNTS)).is_empty() {
            let free = MAX_FILES.saturating_sub(self.server.catalog.counts().await?.inodes);
            shown.files_avail = Some(free);
            shown.files_free = Some(free);
            shown.files_total = Some(MAX_FILES);
            shown.retain(asked);
        }
        Ok(shown)
    }

    fn show(&self, shown: &mut Attributes, attribute: Attr, file: &File, inode: &Inode) {
        let limits = || self.server.state.lock().limits().clone();
        let space = || self.server.objects.space();
        match attribute {
            Attr::SupportedAttrs => shown.supported_attrs = Some(supported(self.minor)),
            Attr::Type => shown.file_type = Some(file_type(inode.kind)),
            Attr::FhExpireType => shown.fh_expire_type = Some(FH4_PERSISTENT),
            Attr::Change => shown.change = Some(inode.change),
            Attr::Size => shown.size = Some(size(inode)),
            Attr::LinkSupport => shown.link_support = Some(true),
            Attr::SymlinkSupport => shown.symlink_support = Some(true),
            Attr::NamedAttr => shown.named_attr = Some(false),
            Attr::Fsid => {
                shown.fsid = Some(Fsid4 {
                    major: self.server.identity.fsid,
                    minor: 0,
                });
            }
            Attr::UniqueHandles => shown.unique_handles = Some(true),
            Attr::LeaseTime => shown.lease_time = Some(self.server.identity.lease.as_secs() as u32),
            Attr::RdattrError => shown.rdattr_error = Some(Nfsstat4::Ok),
            Attr::Aclsupport => shown.aclsupport = Some(0),
            Attr::Cansettime => shown.cansettime = Some(true),
            Attr::CaseInsensitive => shown.case_insensitive = Some(false),
            Attr::CasePreserving => shown.case_preserving = Some(true),
            Attr::ChownRestricted => shown.chown_restricted = Some(true),
            Attr::Filehandle => shown.filehandle = Some(self.handle_of(file)),
            Attr::Fileid => shown.fileid = Some(inode.id.number),
            Attr::MountedOnFileid => shown.mounted_on_fileid = Some(inode.id.number),
            Attr::Homogeneous => shown.homogeneous = Some(true),
            Attr::Maxfilesize => shown.maxfilesize = Some(MAX_FILE_BYTES),
            Attr::Maxlink => shown.maxlink = Some(catalog::LINKS_MAX),
            Attr::Maxname => shown.maxname = Some(catalog::NAME_MAX_BYTES as u32),
            // What a READ or WRITE through the server can carry in one reply or request.
            Attr::Maxread => shown.maxread = Some(u64::from(io_bytes(limits().response_bytes))),
            Attr::Maxwrite => shown.maxwrite = Some(u64::from(io_bytes(limits().request_bytes))),
            Attr::Mode => shown.mode = Some(inode.mode),
            Attr::NoTrunc => shown.no_trunc = Some(true),
            Attr::Numlinks => shown.numlinks = Some(inode.nlink),
            // RFC 8881 §5.9: numeric strings, which Linux takes and gives over AUTH_SYS.
            Attr::Owner => shown.owner = Some(Bytes::from(inode.uid.to_string())),
            Attr::OwnerGroup => shown.owner_group = Some(Bytes::from(inode.gid.to_string())),
            Attr::Rawdev => {
                shown.rawdev = Some(Specdata4 {
                    specdata1: inode.rdev.0,
                    specdata2: inode.rdev.1,
                });
            }
            Attr::SpaceAvail => shown.space_avail = Some(space().free),
            Attr::SpaceFree => shown.space_free = Some(space().free),
            Attr::SpaceTotal => shown.space_total = Some(space().total),
            Attr::SpaceUsed => shown.space_used = Some(space_used(inode)),
            Attr::TimeAccess => shown.time_access = Some(time(inode.atime)),
            Attr::TimeCreate => shown.time_create = Some(time(inode.btime)),
            Attr::TimeDelta => {
                shown.time_delta = Some(Nfstime4 {
                    seconds: 0,
                    nseconds: 1,
                });
            }
            Attr::TimeMetadata => shown.time_metadata = Some(time(inode.ctime)),
            Attr::TimeModify => shown.time_modify = Some(time(inode.mtime)),
            Attr::FsLayoutTypes => shown.fs_layout_types = Some(vec![LAYOUT4_FLEX_FILES]),
            Attr::LayoutTypes => shown.layout_types = Some(vec![LAYOUT4_FLEX_FILES]),
            Attr::LayoutBlksize => shown.layout_blksize = Some(self.server.settings().stripe_unit),
            Attr::SuppattrExclcreat => {
                shown.suppattr_exclcreat = Some(settable_at_exclusive_create());
            }
            Attr::FsCharsetCap => shown.fs_charset_cap = Some(FSCHARSET_CAP4_CONTAINS_NON_UTF8),
            Attr::ChangeAttrType => shown.change_attr_type = Some(ChangeAttrType4::IsMonotonicIncr),
            Attr::XattrSupport => shown.xattr_support = Some(false),
            _ => {}
        }
    }
}

/// Inodes that `df -i` shows as possible: the catalog has no table that could be full, its disk bounds it.
const MAX_FILES: u64 = 1 << 48;
const COUNTS: &[Attr] = &[Attr::FilesAvail, Attr::FilesFree, Attr::FilesTotal];

/// Payload that fits a message of `message_bytes`, beside the COMPOUND around it: a power of two,
/// as Linux rounds down anyway.
fn io_bytes(message_bytes: u32) -> u32 {
    const AROUND: u32 = 1024;
    1 << message_bytes.saturating_sub(AROUND).max(1).ilog2()
}

/// A time as SETATTR gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTime {
    Now,
    At(Timestamp),
}

impl NewTime {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            NewTime::Now => now,
            NewTime::At(time) => time,
        }
    }
}

/// What a client wants changed, checked for sense but not yet for permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<NewTime>,
    pub mtime: Option<NewTime>,
    /// As the answer's bitmap names them.
    pub asked: Bitmap4,
}

impl Changes {
    pub fn from_wire(fattr: Fattr4) -> Result<Self, Refusal> {
        let asked = match fattr {
            Fattr4::Known(asked) => asked,
            Fattr4::Unsupported { .. } => return Err(Nfsstat4::Attrnotsupp.into()),
            Fattr4::Malformed { .. } => return Err(Nfsstat4::Badxdr.into()),
        };
        let mask = asked.mask();
        if !mask.difference(set_of(SETTABLE)).is_empty() {
            // RFC 8881 §5.5: an attribute that can only be read is INVAL, one that isn't there ATTRNOTSUPP.
            let known = mask.difference(supported(2)).is_empty();
            return Err(if known {
                Nfsstat4::Inval
            } else {
                Nfsstat4::Attrnotsupp
            }
            .into());
        }
        if asked.size.is_some_and(|size| size > MAX_FILE_BYTES) {
            return Err(Nfsstat4::Fbig.into());
        }
        if asked.mode.is_some_and(|mode| mode & !0o7777 != 0) {
            return Err(Nfsstat4::Inval.into());
        }
        Ok(Self {
            size: asked.size,
            mode: asked.mode,
            uid: asked.owner.as_deref().map(identity).transpose()?,
            gid: asked.owner_group.as_deref().map(identity).transpose()?,
            atime: asked.time_access_set.as_ref().map(new_time).transpose()?,
            mtime: asked.time_modify_set.as_ref().map(new_time).transpose()?,
            asked: mask,
        })
    }

    /// Whether anything beside the size is to change.
    pub fn beside_size(&self) -> bool {
        Self {
            size: None,
            asked: Bitmap4::EMPTY,
            ..self.clone()
        } != Self::default()
    }

    /// Refuses what the caller may not change (POSIX chmod, chown, utimensat; truncate is judged by its stateid).
    pub fn permitted(&self, credential: &Credential, inode: &Inode) -> Result<(), Refusal> {
        let owner = owns(credential, inode);
        if self.mode.is_some() && !owner {
            return Err(Nfsstat4::Perm.into());
        }
        if self.uid.is_some_and(|uid| uid != inode.uid) && !credential.is_root() {
            return Err(Nfsstat4::Perm.into());
        }
        if self.gid.is_some_and(|gid| gid != inode.gid)
            && !credential.is_root()
            && !(owner && self.gid.is_some_and(|gid| credential.in_group(gid)))
        {
            return Err(Nfsstat4::Perm.into());
        }
        // chown(f, same, same) by somebody else is refused as well.
        if (self.uid.is_some() || self.gid.is_some()) && !owner {
            return Err(Nfsstat4::Perm.into());
        }
        let times = [self.atime, self.mtime];
        if times
            .iter()
            .any(|time| matches!(time, Some(NewTime::At(_))))
            && !owner
        {
            return Err(Nfsstat4::Perm.into());
        }
        if times.contains(&Some(NewTime::Now)) && !owner && !may(credential, inode, Want::WRITE) {
            return Err(Nfsstat4::Access.into());
        }
        Ok(())
    }

    /// Applies all but the size.
    pub fn apply(&self, credential: &Credential, inode: &mut Inode, now: Timestamp) {
        let owner_changes = self.uid.is_some() || self.gid.is_some();
        inode.uid = self.uid.unwrap_or(inode.uid);
        inode.gid = self.gid.unwrap_or(inode.gid);
        // A changed owner must not inherit the old one's set-id bits; Linux leaves that to the server.
        let runnable = inode.mode & 0o111 != 0;
        if owner_changes && inode.kind == FileKind::Regular && (runnable || !credential.is_root()) {
            inode.mode = without_set_id(inode.mode);
        }
        if let Some(mode) = self.mode {
            let foreign_group = inode.kind != FileKind::Directory
                && !credential.is_root()
                && !credential.in_group(inode.gid);
            // POSIX chmod: who isn't in the file's group can't lend that group out.
            inode.mode = if foreign_group { mode & !0o2000 } else { mode };
        }
        inode.atime = self.atime.map_or(inode.atime, |time| time.at(now));
        inode.mtime = self.mtime.map_or(inode.mtime, |time| time.at(now));
        inode.ctime = now;
    }
}

/// A mode after its file was written or given away by somebody without privilege.
pub(crate) fn without_set_id(mode: u32) -> u32 {
    // Set-group-id without group execute once meant mandatory locking: Linux leaves it.
    if mode & 0o010 != 0 {
        mode & !0o6000
    } else {
        mode & !0o4000
    }
}

fn identity(name: &[u8]) -> Result<u32, Refusal> {
    let number = std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok());
    match number {
        // (uid_t)-1 is no id: chown(2) takes it for "leave as it is".
        None | Some(u32::MAX) => Err(Nfsstat4::Badowner.into()),
        Some(id) => Ok(id),
    }
}

fn new_time(time: &Settime4) -> Result<NewTime, Refusal> {
    match time {
        Settime4::ServerTime => Ok(NewTime::Now),
        Settime4::ClientTime(time) if time.nseconds >= 1_000_000_000 => Err(Nfsstat4::Inval.into()),
        Settime4::ClientTime(time) => Ok(NewTime::At(Timestamp {
            seconds: time.seconds,
            nanos: time.nseconds,
        })),
    }
}
