//! Who may, by mode bits, in an in-memory tree that judges its callers.
//!
//! Never here: what is done then.

use super::MemoryTree;
use super::node::Inode;
use super::state::Inner;
use crate::tree::{Caller, NodeChanges, NodeKind, Rights, SetTime, TreeError, TreeErrorKind};

pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
/// Of a folder: to look a name up.
pub(super) const ENTER: u32 = 1;
pub(super) const STICKY: u32 = 0o1000;

fn granted(inode: &Inode, caller: &Caller, bits: u32) -> bool {
    let of_group = inode.gid == caller.gid || caller.groups.contains(&inode.gid);
    let shift = match (inode.uid == caller.uid, of_group) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    caller.uid == 0 || inode.mode >> shift & bits == bits
}

impl MemoryTree {
    pub(super) fn may(
        &self,
        inner: &Inner,
        caller: &Caller,
        fileid: u64,
        bits: u32,
    ) -> Result<(), TreeError> {
        let inode = inner.nodes.get(&fileid).ok_or_else(|| self.gone())?;
        if !self.abilities.judges || granted(inode, caller, bits) {
            return Ok(());
        }
        self.refuse(TreeErrorKind::Denied, "its mode doesn't let the caller")
    }

    /// Whether the caller may take a name away from a folder, of which he may write.
    pub(super) fn may_take(
        &self,
        inner: &Inner,
        caller: &Caller,
        folder: u64,
        node: u64,
    ) -> Result<(), TreeError> {
        self.may(inner, caller, folder, WRITE | ENTER)?;
        let owned = [folder, node].into_iter().any(|fileid| {
            let inode = inner.nodes.get(&fileid);
            inode.is_some_and(|inode| inode.uid == caller.uid)
        });
        let sticky = inner
            .nodes
            .get(&folder)
            .is_some_and(|f| f.mode & STICKY != 0);
        if !self.abilities.judges || caller.uid == 0 || owned || !sticky {
            return Ok(());
        }
        self.refuse(TreeErrorKind::NotOwner, "the folder is sticky")
    }

    pub(super) fn may_set(
        &self,
        inner: &Inner,
        caller: &Caller,
        fileid: u64,
        changes: &NodeChanges,
    ) -> Result<(), TreeError> {
        let inode = inner.nodes.get(&fileid).ok_or_else(|| self.gone())?;
        if !self.abilities.judges || caller.uid == 0 {
            return Ok(());
        }
        let owns = inode.uid == caller.uid;
        let given = changes.uid.is_some_and(|uid| uid != inode.uid)
            || changes.gid.is_some_and(|gid| {
                gid != inode.gid && gid != caller.gid && !caller.groups.contains(&gid)
            });
        let dated = [changes.atime, changes.mtime]
            .into_iter()
            .any(|time| matches!(time, Some(SetTime::At(_))));
        let of_owner = changes.mode.is_some() || changes.gid.is_some() || dated;
        if given || (of_owner && !owns) {
            return self.refuse(TreeErrorKind::NotOwner, "the caller doesn't own it");
        }
        if changes.size.is_some() || (!owns && (changes.atime.or(changes.mtime)).is_some()) {
            return self.may(inner, caller, fileid, WRITE);
        }
        Ok(())
    }

    pub(super) fn judged(
        &self,
        inner: &Inner,
        caller: &Caller,
        fileid: u64,
    ) -> Result<Rights, TreeError> {
        let inode = inner.nodes.get(&fileid).ok_or_else(|| self.gone())?;
        let granted = |bits| granted(inode, caller, bits);
        let is_folder = inode.kind() == NodeKind::Folder;
        let executable = caller.uid != 0 || inode.mode & 0o111 != 0;
        Ok(Rights {
            read: granted(READ),
            lookup: is_folder && granted(ENTER),
            modify: granted(WRITE),
            extend: granted(WRITE),
            delete: is_folder && granted(WRITE | ENTER),
            execute: !is_folder && executable && granted(ENTER),
        })
    }
}
