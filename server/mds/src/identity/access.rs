//! The check of mode bits (POSIX 4.5, File Access Permissions), pure.

use super::Credential;
use catalog::{FileKind, Inode};

/// What is wanted of a file: a set of the mode's three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want(u32);

impl Want {
    pub const READ: Want = Want(0o4);
    pub const WRITE: Want = Want(0o2);
    pub const EXECUTE: Want = Want(0o1);
    /// Adding or removing a name.
    pub const CHANGE_ENTRIES: Want = Want(0o3);
}

pub fn owns(credential: &Credential, inode: &Inode) -> bool {
    credential.is_root() || credential.uid == inode.uid
}

/// Whether the mode bits grant all of `want`. The owner's class is final: an owner whose bits
/// refuse is refused, though group or other would grant.
pub fn may(credential: &Credential, inode: &Inode, want: Want) -> bool {
    if credential.is_root() {
        // Root reads and writes all, and searches every folder, but executes only what somebody may.
        let executes = want.0 & Want::EXECUTE.0 != 0;
        return !executes || inode.kind == FileKind::Directory || inode.mode & 0o111 != 0;
    }
    let class = if credential.uid == inode.uid {
        inode.mode >> 6
    } else if credential.in_group(inode.gid) {
        inode.mode >> 3
    } else {
        inode.mode
    };
    class & want.0 == want.0
}
