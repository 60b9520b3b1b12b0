//! What the in-memory tree keeps of one node, and a folder's entries in the order of their cookies.
//!
//! Never here: what a call does with them.

use crate::Nanos;
use crate::content::Content;
use crate::tree::{FIRST_COOKIE, NodeChanges, NodeKind, NodeStat, SetTime};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a folder is said to take.
const FOLDER_BYTES: u64 = 4096;

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) atime: Nanos,
    pub(super) mtime: Nanos,
    pub(super) ctime: Nanos,
    pub(super) change: u64,
    pub(super) xattrs: BTreeMap<Bytes, Bytes>,
    /// Of the exclusive create that made it.
    pub(super) made_by: Option<[u8; 8]>,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Box<File>),
    Folder(Folder),
    Symlink(Bytes),
    Special(NodeKind, (u32, u32)),
}

#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// What a reader sees.
    pub(super) current: Content,
    /// What a restart can't take away.
    pub(super) durable: Content,
    /// Whether the two may differ.
    pub(super) unstable: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) parent: u64,
    names: BTreeMap<Bytes, (u64, u64)>,
    order: BTreeMap<u64, (Bytes, u64)>,
    next_cookie: u64,
}

impl Folder {
    pub(super) fn within(parent: u64) -> Self {
        Self {
            parent,
            names: BTreeMap::new(),
            order: BTreeMap::new(),
            next_cookie: FIRST_COOKIE,
        }
    }

    pub(super) fn get(&self, name: &Bytes) -> Option<u64> {
        self.names.get(name).map(|(_, fileid)| *fileid)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A name that is taken keeps its cookie.
    pub(super) fn put(&mut self, name: Bytes, fileid: u64) {
        let known = self.names.get(&name).map(|(cookie, _)| *cookie);
        let cookie = known.unwrap_or(self.next_cookie);
        self.next_cookie = self.next_cookie.max(cookie + 1);
        self.names.insert(name.clone(), (cookie, fileid));
        self.order.insert(cookie, (name, fileid));
    }

    pub(super) fn take(&mut self, name: &Bytes) {
        if let Some((cookie, _)) = self.names.remove(name) {
            self.order.remove(&cookie);
        }
    }

    /// Cookie, name and node of what comes behind a cookie.
    pub(super) fn behind(&self, cookie: u64) -> impl Iterator<Item = (u64, &Bytes, u64)> {
        let behind = self.order.range(cookie.saturating_add(1)..);
        behind.map(|(cookie, (name, fileid))| (*cookie, name, *fileid))
    }
}

impl Inode {
    pub(super) fn kind(&self) -> NodeKind {
        match &self.body {
            Body::File(_) => NodeKind::Regular,
            Body::Folder(_) => NodeKind::Folder,
            Body::Symlink(_) => NodeKind::Symlink,
            Body::Special(kind, _) => *kind,
        }
    }

    pub(super) fn stat(&self, fileid: u64) -> NodeStat {
        let (size, used, rdev) = match &self.body {
            Body::File(file) => (file.current.size(), file.current.used(), (0, 0)),
            Body::Folder(_) => (FOLDER_BYTES, FOLDER_BYTES, (0, 0)),
            Body::Symlink(target) => (target.len() as u64, 0, (0, 0)),
            Body::Special(_, rdev) => (0, 0, *rdev),
        };
        NodeStat {
            kind: self.kind(),
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            size,
            used,
            rdev,
            fileid,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            change: self.change,
        }
    }

    /// Everything but a size.
    pub(super) fn apply(&mut self, changes: &NodeChanges, now: Nanos) {
        let at = |time: SetTime| match time {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        self.mode = changes.mode.map_or(self.mode, |mode| mode & 0o7777);
        self.uid = changes.uid.unwrap_or(self.uid);
        self.gid = changes.gid.unwrap_or(self.gid);
        self.atime = changes.atime.map_or(self.atime, at);
        self.mtime = changes.mtime.map_or(self.mtime, at);
    }
}
