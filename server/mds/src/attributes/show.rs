//! The values of a file's attributes, as GETATTR, READDIR and VERIFY tell them.

use super::absent::locations;
use super::{Known, MAX_FILE_BYTES, SEEN_BY_RIGHT, set_of};
use crate::compound::{Compound, File};
use crate::identity::{Want, acl, entries_of, may, may_not_see};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{Ace, AceKind, FileKind, Inode, Timestamp, Who};
use wire::nfs4::*;

/// Inodes that `df -i` shows as possible: the catalog has no table that could be full, its disk bounds it.
const MAX_FILES: u64 = 1 << 48;
const COUNTS: &[Attr] = &[Attr::FilesAvail, Attr::FilesFree, Attr::FilesTotal];

fn time(at: Timestamp) -> Nfstime4 {
    Nfstime4 {
        seconds: at.seconds,
        nseconds: at.nanos,
    }
}

pub(crate) fn file_type(kind: FileKind) -> Ftype4 {
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
    /// Those of `inode` that `asked` names and that there are, as clients are shown them.
    pub async fn attributes(
        &self,
        file: &File,
        inode: &Inode,
        asked: Bitmap4,
    ) -> Result<Box<Attributes>, Refusal> {
        let mut shown = self.numbered_attributes(file, inode, asked).await?;
        if !self.legacy {
            self.put_names(&mut shown).await;
        }
        Ok(shown)
    }

    /// The same, with owners and groups as numbers.
    pub async fn numbered_attributes(
        &self,
        file: &File,
        inode: &Inode,
        asked: Bitmap4,
    ) -> Result<Box<Attributes>, Refusal> {
        let asked = self.readable(file, asked)?;
        if file.export.elsewhere.is_some() {
            return self.absent_attributes(file, inode, asked);
        }
        self.seen(file, inode, asked)?;
        // In its place from the start: it is large, and goes through many hands.
        let mut shown = Box::<Attributes>::default();
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
        if let Some(junction) = &file.export.junction {
            Box::pin(junction.correct(&mut shown, asked, file, inode)).await?;
        }
        Ok(shown)
    }

    /// Refuses what the inode's list hides from the caller. Most have none, and nothing to hide.
    fn seen(&self, file: &File, inode: &Inode, asked: Bitmap4) -> Result<(), Refusal> {
        if inode.acl.is_none() || file.export.is_pseudo() {
            return Ok(());
        }
        let credential = self.credential(file);
        let asks_for = |attributes: &[Attr]| !asked.intersection(set_of(attributes)).is_empty();
        let hidden = asks_for(SEEN_BY_RIGHT) && may_not_see(&credential, inode)
            || asks_for(&[Attr::Acl, Attr::Dacl]) && !may(&credential, inode, Want::READ_ACL);
        if hidden {
            return Err(Nfsstat4::Access.into());
        }
        Ok(())
    }

    fn show(&self, shown: &mut Attributes, attribute: Attr, file: &File, inode: &Inode) {
        let limits = || self.server.state.lock().limits().clone();
        let space = || match inode.keeper {
            Some(keeper) => self.server.objects.space_of(keeper),
            None => self.server.objects.space(),
        };
        let known = || -> Known { self.known_attributes(file) };
        match attribute {
            Attr::SupportedAttrs => shown.supported_attrs = Some(known().supported()),
            Attr::Type => shown.file_type = Some(file_type(inode.kind)),
            Attr::FhExpireType => shown.fh_expire_type = Some(FH4_PERSISTENT),
            Attr::Change => shown.change = Some(inode.change),
            Attr::Size => shown.size = Some(size(inode)),
            Attr::LinkSupport => shown.link_support = Some(true),
            Attr::SymlinkSupport => shown.symlink_support = Some(true),
            Attr::NamedAttr => shown.named_attr = Some(false),
            Attr::Fsid => shown.fsid = Some(self.fsid_of(file, inode)),
            Attr::FsLocations => shown.fs_locations = Some(Box::new(locations(&file.export))),
            Attr::UniqueHandles => shown.unique_handles = Some(true),
            Attr::LeaseTime => shown.lease_time = Some(self.server.identity.lease.as_secs() as u32),
            Attr::RdattrError => shown.rdattr_error = Some(Nfsstat4::Ok),
            Attr::Acl => {
                let aces = entries_of(inode);
                shown.acl = Some(
                    aces.iter()
                        .map(|ace| on_wire(ace, !ACE4_INHERITED_ACE))
                        .collect(),
                );
            }
            Attr::Dacl => {
                let aces = entries_of(inode);
                shown.dacl = Some(Box::new(Nfsacl41 {
                    flag: inode
                        .acl
                        .as_ref()
                        .map_or(acl::OF_MODE_FLAGS, |list| list.flags),
                    aces: aces.iter().map(|ace| on_wire(ace, u32::MAX)).collect(),
                }));
            }
            Attr::Aclsupport => {
                shown.aclsupport = Some(ACL4_SUPPORT_ALLOW_ACL | ACL4_SUPPORT_DENY_ACL);
            }
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
                shown.suppattr_exclcreat = Some(known().settable_at_exclusive_create());
            }
            Attr::FsCharsetCap => shown.fs_charset_cap = Some(FSCHARSET_CAP4_CONTAINS_NON_UTF8),
            Attr::ChangeAttrType => shown.change_attr_type = Some(ChangeAttrType4::IsMonotonicIncr),
            Attr::XattrSupport => shown.xattr_support = Some(true),
            Attr::OpenArguments => {
                shown.open_arguments = Some(Box::new(crate::ops::open_arguments()));
            }
            Attr::SecLabel => {
                shown.sec_label = inode.label.as_ref().map(|label| {
                    Box::new(SecLabel4 {
                        lfs: label.format,
                        pi: label.policy,
                        data: label.data.clone(),
                    })
                });
            }
            _ => {}
        }
    }
}

fn on_wire(ace: &Ace, flags: u32) -> Nfsace4 {
    let who = match ace.who {
        Who::Owner => Bytes::from_static(acl::OWNER),
        Who::OwningGroup => Bytes::from_static(acl::GROUP),
        Who::Everyone => Bytes::from_static(acl::EVERYONE),
        Who::User(id) | Who::Group(id) => Bytes::from(id.to_string()),
    };
    Nfsace4 {
        acetype: match ace.kind {
            AceKind::Allow => ACE4_ACCESS_ALLOWED_ACE_TYPE,
            AceKind::Deny => ACE4_ACCESS_DENIED_ACE_TYPE,
        },
        flag: ace.flags & flags,
        access_mask: ace.mask,
        who,
    }
}

/// Payload that fits a message of `message_bytes`, beside the COMPOUND around it: a power of two,
/// as Linux rounds down anyway.
fn io_bytes(message_bytes: u32) -> u32 {
    const AROUND: u32 = 1024;
    1 << message_bytes.saturating_sub(AROUND).max(1).ilog2()
}
