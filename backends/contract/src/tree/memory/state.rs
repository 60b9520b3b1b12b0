//! All that the in-memory tree holds, and the clock and counters of its changes.
//!
//! Never here: names.

use super::node::{Body, Inode};
use crate::tree::{Caller, NodeChanges};
use crate::{Nanos, WriteVerifier};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) nodes: BTreeMap<u64, Inode>,
    pub(super) next_fileid: u64,
    /// Ticks with each call, in place of a clock.
    pub(super) now: Nanos,
    pub(super) changes: u64,
    pub(super) starts: u64,
    pub(super) capacity_bytes: u64,
}

impl Inner {
    pub(super) fn bear(
        &mut self,
        caller: &Caller,
        body: Body,
        born: &NodeChanges,
        made_by: Option<[u8; 8]>,
    ) -> u64 {
        let fileid = self.next_fileid;
        self.next_fileid += 1;
        self.changes += 1;
        let (mode, nlink) = match &body {
            Body::File(_) | Body::Special(..) => (0o644, 1),
            Body::Folder(_) => (0o755, 2),
            Body::Symlink(_) => (0o777, 1),
        };
        let mut inode = Inode {
            body,
            mode,
            uid: caller.uid,
            gid: caller.gid,
            nlink,
            atime: self.now,
            mtime: self.now,
            ctime: self.now,
            change: self.changes,
            xattrs: BTreeMap::new(),
            made_by,
        };
        inode.apply(born, self.now);
        self.nodes.insert(fileid, inode);
        fileid
    }

    /// Moves a node's change and ctime, and its mtime where its content changed.
    pub(super) fn touch(&mut self, fileid: u64, content: bool) -> u64 {
        self.changes += 1;
        if let Some(inode) = self.nodes.get_mut(&fileid) {
            inode.change = self.changes;
            inode.ctime = self.now;
            if content {
                inode.mtime = self.now;
            }
        }
        self.changes
    }

    pub(super) fn used(&self) -> u64 {
        let files = self.nodes.values().map(|inode| match &inode.body {
            Body::File(file) => file.current.used(),
            _ => 0,
        });
        files.sum()
    }

    pub(super) fn verifier(&self) -> WriteVerifier {
        self.starts.to_be_bytes()
    }
}
