//! The check of rights, pure: by mode bits (POSIX 4.5, File Access Permissions) for what has no list, which
//! is nearly everything, and by the list (RFC 8881 §6.2.1) otherwise.

use super::Credential;
use super::acl::{self, OWNERS, Verdict};
use catalog::{Ace, FileKind, Inode, Who};
use std::borrow::Cow;
use wire::nfs4::*;

/// What is wanted of a file: bits of an entry's mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want(u32);

impl Want {
    pub const READ: Want = Want(ACE4_READ_DATA);
    pub const WRITE: Want = Want(ACE4_WRITE_DATA | ACE4_APPEND_DATA);
    pub const EXECUTE: Want = Want(ACE4_EXECUTE);
    /// Adding a name of anything but a folder.
    pub const ADD_FILE: Want = Want(ACE4_WRITE_DATA | ACE4_EXECUTE);
    pub const ADD_SUBDIRECTORY: Want = Want(ACE4_APPEND_DATA | ACE4_EXECUTE);
    pub const WRITE_ATTRIBUTES: Want = Want(ACE4_WRITE_ATTRIBUTES);
    pub const WRITE_ACL: Want = Want(ACE4_WRITE_ACL);
    pub const WRITE_OWNER: Want = Want(ACE4_WRITE_OWNER);
    pub const READ_ACL: Want = Want(ACE4_READ_ACL);

    /// The right to add a name of such a thing.
    pub fn to_add(kind: FileKind) -> Want {
        match kind {
            FileKind::Directory => Want::ADD_SUBDIRECTORY,
            _ => Want::ADD_FILE,
        }
    }

    /// The bits of a mode's class that grant it.
    fn mode_bits(self) -> u32 {
        let bit = |mask, bit| if self.0 & mask != 0 { bit } else { 0 };
        bit(ACE4_READ_DATA, 4)
            | bit(ACE4_WRITE_DATA | ACE4_APPEND_DATA | ACE4_DELETE_CHILD, 2)
            | bit(ACE4_EXECUTE, 1)
    }
}

pub fn owns(credential: &Credential, inode: &Inode) -> bool {
    credential.is_root() || credential.uid == inode.uid
}

/// The entries that count for `inode` now; those of its mode if it has none of its own.
pub fn shown(inode: &Inode) -> Cow<'_, [Ace]> {
    let directory = inode.kind == FileKind::Directory;
    match inode.acl.as_deref() {
        None => Cow::Owned(acl::of_mode(inode.mode, directory)),
        Some(list) if list.masked => Cow::Owned(acl::under_mode(&list.aces, inode.mode, directory)),
        Some(list) => Cow::Borrowed(&list.aces),
    }
}

/// What is decided of `mask` for somebody who isn't privileged.
fn judge(credential: &Credential, inode: &Inode, mask: u32) -> Verdict {
    let owner = credential.uid == inode.uid;
    let mask = if owner { mask & !OWNERS } else { mask };
    acl::judge(&shown(inode), mask, |who| match who {
        Who::Owner => owner,
        Who::OwningGroup => credential.in_group(inode.gid),
        Who::Everyone => true,
        Who::User(uid) => credential.uid == uid,
        Who::Group(gid) => credential.in_group(gid),
    })
}

/// Whether all of `want` is granted. By mode bits the owner's class is final: an owner whose bits
/// refuse is refused, though group or other would grant.
pub fn may(credential: &Credential, inode: &Inode, want: Want) -> bool {
    if credential.is_root() {
        // Root reads and writes all, and searches every folder, but executes only what somebody may.
        let executes = want.0 & ACE4_EXECUTE != 0;
        return !executes || inode.kind == FileKind::Directory || is_executable(inode);
    }
    if inode.acl.is_some() || want.0 & !OF_MODE_BITS != 0 {
        return judge(credential, inode, want.0) == Verdict::Allowed;
    }
    let class = if credential.uid == inode.uid {
        inode.mode >> 6
    } else if credential.in_group(inode.gid) {
        inode.mode >> 3
    } else {
        inode.mode
    };
    let bits = want.mode_bits();
    class & bits == bits
}

/// What mode bits decide without a list.
const OF_MODE_BITS: u32 =
    ACE4_READ_DATA | ACE4_WRITE_DATA | ACE4_APPEND_DATA | ACE4_DELETE_CHILD | ACE4_EXECUTE;

fn is_executable(inode: &Inode) -> bool {
    let by_list = || {
        inode.acl.is_some()
            && shown(inode).iter().any(|ace| {
                ace.kind == catalog::AceKind::Allow
                    && ace.flags & ACE4_INHERIT_ONLY_ACE == 0
                    && ace.mask & ACE4_EXECUTE != 0
            })
    };
    inode.mode & 0o111 != 0 || by_list()
}

/// Whether size, owner, times and the like are hidden from the caller. Only an entry that denies hides them:
/// `stat` needs no right, and lists that say nothing of it are usual.
pub fn may_not_see(credential: &Credential, inode: &Inode) -> bool {
    inode.acl.is_some()
        && !credential.is_root()
        && judge(credential, inode, ACE4_READ_ATTRIBUTES) == Verdict::Denied
}

/// Whether a name may be taken away, and by what right (RFC 8881 §6.2.1.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeAway {
    Granted,
    /// Granted by the folder, whose sticky bit asks for an owner besides.
    Sticky,
    Refused,
}

pub fn may_take_away(credential: &Credential, directory: &Inode, entry: &Inode) -> TakeAway {
    if credential.is_root() {
        return TakeAway::Granted;
    }
    if !may(credential, directory, Want::EXECUTE) {
        return TakeAway::Refused;
    }
    let of_entry = match entry.acl {
        Some(_) => judge(credential, entry, ACE4_DELETE),
        None => Verdict::Silent,
    };
    if of_entry == Verdict::Allowed {
        return TakeAway::Granted;
    }
    let by_folder = may_empty(credential, directory, of_entry == Verdict::Silent);
    if !by_folder {
        TakeAway::Refused
    } else if directory.mode & 0o1000 == 0
        || credential.uid == directory.uid
        || credential.uid == entry.uid
    {
        TakeAway::Granted
    } else {
        TakeAway::Sticky
    }
}

/// Whether the folder's own rights let a name be taken away: where its list says nothing of that, and the
/// entry's neither, the right to add files is enough.
fn may_empty(credential: &Credential, directory: &Inode, entry_is_silent: bool) -> bool {
    if directory.acl.is_none() {
        return may(credential, directory, Want(ACE4_DELETE_CHILD));
    }
    match judge(credential, directory, ACE4_DELETE_CHILD) {
        Verdict::Allowed => true,
        Verdict::Denied => false,
        Verdict::Silent => {
            entry_is_silent && judge(credential, directory, ACE4_WRITE_DATA) == Verdict::Allowed
        }
    }
}

/// Whether names can be taken away in a folder, as far as it alone tells.
pub fn may_take_names(credential: &Credential, directory: &Inode) -> bool {
    may(credential, directory, Want::EXECUTE)
        && (credential.is_root() || may_empty(credential, directory, true))
}

#[cfg(test)]
mod tests;
