//! CREATE, RFC 8881 §18.4: folders, symbolic links, sockets, fifos and devices. Files come by OPEN.
//!
//! State: delegations of the folder whose holders aren't told are recalled first. Gate: none.
//! Catalog: one transaction (inode, entry, the folder's hot key).

use crate::attributes::Changes;
use crate::compound::{Compound, File, Name, change_info, in_directory};
use crate::identity::acl::{self, BirthMode};
use crate::identity::{Credential, Want};
use crate::state::{EntryChange, Notices};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{FileKind, Inode, NewInode, transact};
use std::sync::Arc;
use wire::nfs4::{Create4Args, Create4Ok, Createtype4, Nfsstat4};

pub(crate) async fn create(args: Create4Args, cx: &mut Compound<'_>) -> Result<Create4Ok, Refusal> {
    let directory = cx.changeable_directory()?;
    let credential = cx.credential(&directory);
    let Making { kind, rdev, target } = Making::of(args.objtype, &credential)?;
    let name = Name::checked(args.objname)?;
    let changes = Changes::of_new(args.createattrs, cx).await?;
    changes.fits(kind)?;
    if changes.size.is_some() {
        return Err(Nfsstat4::Inval.into());
    }
    cx.server.scanned(directory.id).await?;
    // Who may not add to it recalls nothing.
    in_directory(&credential, &*cx.inode().await?, Want::to_add(kind))?;
    let entries = cx
        .server
        .entries_undelegated(directory.id, Notices::ADDED, cx.client().ok())
        .await?;
    let done = transact!(cx.server.catalog, cx.now, |tx| -> Result<Inode, Refusal> {
        let parent = tx.inode(directory.id).await?;
        in_directory(&credential, &parent, Want::to_add(kind))?;
        let mut new = birth(kind, &changes, &credential, &parent);
        new.rdev = rdev;
        new.target = target.clone();
        let mut inode = tx.create(directory.id, &name, new).await?;
        if let Some(times) = changes.times() {
            times.apply(&credential, &mut inode, cx.now);
            tx.put(&inode).await?;
        }
        Ok(inode)
    })?;
    entries.tell(&done, &EntryChange::added(Bytes::clone(&name)));
    cx.set_current(File::new(done.value.id, directory.export));
    Ok(Create4Ok {
        cinfo: change_info(&done, directory.id),
        attrset: changes.asked,
    })
}

/// What is to be made.
pub(super) struct Making {
    pub kind: FileKind,
    /// Major and minor of a device.
    pub rdev: (u32, u32),
    /// Of a symbolic link.
    pub target: Option<Bytes>,
}

impl Making {
    pub fn of(objtype: Createtype4, credential: &Credential) -> Result<Self, Refusal> {
        let plain = |kind| (kind, (0, 0), None);
        let (kind, rdev, target) = match objtype {
            Createtype4::Dir => plain(FileKind::Directory),
            Createtype4::Sock => plain(FileKind::Socket),
            Createtype4::Fifo => plain(FileKind::Fifo),
            Createtype4::Blk(it) => (FileKind::Block, (it.specdata1, it.specdata2), None),
            Createtype4::Chr(it) => (FileKind::Character, (it.specdata1, it.specdata2), None),
            Createtype4::Lnk(target) if target.is_empty() || target.contains(&0) => {
                return Err(Nfsstat4::Inval.into());
            }
            Createtype4::Lnk(target) if target.len() > SYMLINK_MAX_BYTES => {
                return Err(Nfsstat4::Nametoolong.into());
            }
            Createtype4::Lnk(target) => (FileKind::Symlink, (0, 0), Some(target)),
            Createtype4::Other(_) => return Err(Nfsstat4::Badtype.into()),
        };
        // mknod(2) of a device is for the privileged alone.
        if matches!(kind, FileKind::Block | FileKind::Character) && !credential.is_root() {
            return Err(Nfsstat4::Perm.into());
        }
        Ok(Self { kind, rdev, target })
    }
}

/// `PATH_MAX` less its NUL: what `symlink(2)` takes.
const SYMLINK_MAX_BYTES: usize = 4095;

/// The mode that what is made is to have.
pub(super) fn mode_asked(kind: FileKind, changes: &Changes) -> BirthMode {
    match kind {
        FileKind::Directory => changes.birth_mode(0o755),
        // Nobody's rights. Linux sends the umask of who makes it, and has none but this on its own file systems.
        FileKind::Symlink => BirthMode::Said(0o777),
        _ => changes.birth_mode(0o644),
    }
}

/// A new inode's owner, mode and list (POSIX open, mkdir; RFC 8881 §6.4.3): in a set-group-id folder the
/// group is the folder's, and a new folder hands the bit on.
pub(super) fn birth(
    kind: FileKind,
    changes: &Changes,
    credential: &Credential,
    parent: &Inode,
) -> NewInode {
    let inherits = parent.mode & 0o2000 != 0;
    let is_directory = kind == FileKind::Directory;
    let asked = mode_asked(kind, changes);
    // A list that is given is taken as it is, and nothing inherited.
    let heir = kind != FileKind::Symlink && changes.acl.is_none();
    let inherited = parent.acl.as_deref().filter(|_| heir);
    let (mut mode, mut list) = acl::at_birth(inherited, asked, is_directory);
    if let Some(new) = &changes.acl {
        (mode, list) = acl::set(mode, new.aces.clone(), new.flags, is_directory);
    }
    let gid = if inherits { parent.gid } else { credential.gid };
    if inherits && is_directory {
        mode |= 0o2000;
    } else if mode & 0o2010 == 0o2010 && !credential.is_root() && !credential.in_group(gid) {
        mode &= !0o2000;
    }
    // Only root gives files away at birth; Linux sends an owner here for nobody else.
    let uid = changes
        .uid
        .filter(|_| credential.is_root())
        .unwrap_or(credential.uid);
    let gid = changes
        .gid
        .filter(|gid| credential.is_root() || credential.in_group(*gid))
        .unwrap_or(gid);
    NewInode {
        acl: list.map(Arc::new),
        label: changes.label.clone(),
        ..NewInode::plain(kind, mode, uid, gid)
    }
}
