//! A tree in memory, for tests: names, attributes and bytes as a POSIX file system has them, and a
//! restart that loses what a real one may lose.
//!
//! Never here: faults that a healthy keeper doesn't have.

use super::{
    Caller, CreateHow, FolderChange, Listing, Make, Node, NodeChanges, NodeKind, NodeStat, Rights,
    Tree, TreeAbilities, TreeEntry, TreeError, TreeErrorKind, XattrHow, cannot,
};
use crate::{Fetched, Space, Stability, WriteVerifier, Written};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use judge::{ENTER, READ, WRITE};
use node::{Body, File, Folder, Inode};
use parking_lot::Mutex;
use state::Inner;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

mod judge;
mod names;
mod node;
mod state;

const ROOT: u64 = 1;
const XATTR_MAX_BYTES: usize = 64 << 10;
/// Of one symlink.
const TARGET_MAX_BYTES: usize = 4095;

/// Clones share one tree.
#[derive(Debug, Clone)]
pub struct MemoryTree {
    name: String,
    /// In each handle, so that another tree's is nobody's here.
    identity: u64,
    /// Zeros behind each handle.
    padding: usize,
    abilities: TreeAbilities,
    inner: Arc<Mutex<Inner>>,
}

impl MemoryTree {
    /// A root of mode 0755 that root owns, and nothing in it.
    pub fn new(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(name.as_bytes());
        let mut inner = Inner {
            nodes: BTreeMap::new(),
            next_fileid: ROOT,
            now: 1_000_000_000,
            changes: 0,
            starts: 1,
            capacity_bytes: 1 << 40,
        };
        let born = NodeChanges {
            mode: Some(0o755),
            ..NodeChanges::default()
        };
        let root = Body::Folder(Folder::within(ROOT));
        inner.bear(&Caller::root(), root, &born, None);
        Self {
            name: name.to_owned(),
            identity: hasher.finish(),
            padding: 0,
            abilities: TreeAbilities {
                judges: false,
                hard_links: true,
                symlinks: true,
                special_files: true,
                xattrs: true,
                read_bytes: 1 << 20,
                write_bytes: 1 << 20,
                largest_file_bytes: i64::MAX as u64,
                name_bytes: 255,
                links: 1000,
                time_step_nanos: 1,
            },
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Small transfers, so that a test of few bytes has several of them.
    #[must_use]
    pub fn with_transfer_bytes(mut self, bytes: u32) -> Self {
        self.abilities.read_bytes = bytes;
        self.abilities.write_bytes = bytes;
        self
    }

    /// Handles of another length than the 16 bytes that they need.
    #[must_use]
    pub fn with_handle_bytes(mut self, bytes: usize) -> Self {
        self.padding = bytes.saturating_sub(16);
        self
    }

    /// One that asks of each caller whether he may, by mode bits, as a filer does.
    #[must_use]
    pub fn judging(mut self) -> Self {
        self.abilities.judges = true;
        self
    }

    /// As a filer of NFSv3.
    #[must_use]
    pub fn without_xattrs(mut self) -> Self {
        self.abilities.xattrs = false;
        self
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.inner.lock().capacity_bytes = bytes;
    }

    /// A restart: the unstable writes are lost.
    pub fn restart(&self) {
        let mut inner = self.inner.lock();
        inner.starts += 1;
        let mut changes = inner.changes;
        for node in inner.nodes.values_mut() {
            if let Body::File(file) = &mut node.body
                && file.unstable
            {
                file.current = file.durable.clone();
                file.unstable = false;
                changes += 1;
                node.change = changes;
            }
        }
        inner.changes = changes;
    }

    fn error(&self, kind: TreeErrorKind, what: &str) -> TreeError {
        TreeError::new(kind, format!("tree {}: {what}", self.name))
    }

    fn refuse<T>(&self, kind: TreeErrorKind, what: &str) -> Result<T, TreeError> {
        Err(self.error(kind, what))
    }

    fn handle(&self, fileid: u64) -> Bytes {
        let mut handle = BytesMut::with_capacity(16);
        handle.put_u64(fileid);
        handle.put_u64(self.identity);
        handle.put_bytes(0, self.padding);
        handle.freeze()
    }

    fn node(&self, inner: &Inner, fileid: u64) -> Result<Node, TreeError> {
        let inode = inner.nodes.get(&fileid).ok_or_else(|| self.gone())?;
        Ok(Node {
            handle: self.handle(fileid),
            stat: inode.stat(fileid),
        })
    }

    fn gone(&self) -> TreeError {
        self.error(TreeErrorKind::Gone, "nothing has this handle")
    }

    /// A call's turn: the state, a tick later.
    fn turn<T>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, TreeError>,
    ) -> Result<T, TreeError> {
        let mut inner = self.inner.lock();
        inner.now += 1000;
        act(&mut inner)
    }

    /// The number of the node that a handle names.
    fn find(&self, inner: &Inner, handle: &Bytes) -> Result<u64, TreeError> {
        let ours = self.identity.to_be_bytes();
        let needed = handle.len().saturating_sub(self.padding);
        let fileid = match handle[..needed].split_at_checked(8) {
            Some((fileid, identity)) if *identity == ours => fileid.try_into().ok(),
            _ => None,
        };
        let fileid = fileid.map(u64::from_be_bytes);
        let there = fileid.filter(|fileid| inner.nodes.contains_key(fileid));
        there.ok_or_else(|| self.gone())
    }

    fn with<T>(
        &self,
        handle: &Bytes,
        act: impl FnOnce(&mut Inner, u64) -> Result<T, TreeError>,
    ) -> Result<T, TreeError> {
        self.turn(|inner| {
            let fileid = self.find(inner, handle)?;
            act(inner, fileid)
        })
    }

    fn inode<'a>(&self, inner: &'a mut Inner, fileid: u64) -> Result<&'a mut Inode, TreeError> {
        inner.nodes.get_mut(&fileid).ok_or_else(|| self.gone())
    }

    fn file<'a>(&self, inode: &'a mut Inode) -> Result<&'a mut File, TreeError> {
        match &mut inode.body {
            Body::File(file) => Ok(file),
            Body::Folder(_) => self.refuse(TreeErrorKind::IsFolder, "that is a folder"),
            _ => self.refuse(TreeErrorKind::Invalid, "that is no file"),
        }
    }

    fn checked(&self, name: &Bytes) -> Result<(), TreeError> {
        if name.len() > self.abilities.name_bytes as usize {
            return self.refuse(TreeErrorKind::NameTooLong, "the name is too long");
        }
        let odd = name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if odd || matches!(&name[..], b"" | b"." | b"..") {
            return self.refuse(TreeErrorKind::Invalid, "no node can have such a name");
        }
        Ok(())
    }

    fn resize(&self, inner: &mut Inner, fileid: u64, size: u64) -> Result<(), TreeError> {
        if size > self.abilities.largest_file_bytes {
            return self.refuse(TreeErrorKind::TooLarge, "no file can be so long");
        }
        let now = inner.now;
        let inode = self.inode(inner, fileid)?;
        let file = self.file(inode)?;
        file.current.set_size(size);
        file.durable.set_size(size);
        inode.mtime = now;
        Ok(())
    }
}

#[async_trait]
impl Tree for MemoryTree {
    fn abilities(&self) -> TreeAbilities {
        self.abilities.clone()
    }

    async fn root(&self) -> Result<Node, TreeError> {
        self.turn(|inner| self.node(inner, ROOT))
    }

    async fn stat(&self, _caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        self.with(handle, |inner, fileid| Ok(self.node(inner, fileid)?.stat))
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        if !self.abilities.judges {
            return cannot("judge callers");
        }
        self.with(handle, |inner, fileid| self.judged(inner, caller, fileid))
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        self.with(folder, |inner, folder| {
            let found = self.at(inner, folder, name)?;
            self.may(inner, caller, folder, ENTER)?;
            self.node(inner, found.ok_or_else(|| self.no_entry())?)
        })
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        self.with(folder, |inner, folder| {
            let parent = self.folder(inner, folder)?.parent;
            self.may(inner, caller, folder, ENTER)?;
            self.node(inner, parent)
        })
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        _verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        self.with(folder, |inner, folder| {
            self.may(inner, caller, folder, READ)?;
            let mut rest = self.folder(inner, folder)?.behind(after).peekable();
            let mut entries = Vec::new();
            while entries.len() < most.max(1)
                && let Some((cookie, name, fileid)) = rest.next()
            {
                let node = self.node(inner, fileid).ok();
                entries.push(TreeEntry {
                    name: name.clone(),
                    cookie,
                    fileid: Some(fileid),
                    kind: node.as_ref().map(|node| node.stat.kind),
                    node,
                });
            }
            Ok(Listing {
                at_end: rest.peek().is_none(),
                entries,
                verifier: self.identity.to_be_bytes(),
            })
        })
    }

    async fn list_names(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let mut listed = self.list(caller, folder, after, verifier, most).await?;
        for entry in &mut listed.entries {
            entry.node = None;
            // As a keeper that tells folders from what else there is, and no more.
            entry.kind = entry.kind.filter(|kind| *kind == NodeKind::Folder);
        }
        Ok(listed)
    }

    async fn read_link(&self, _caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        self.with(handle, |inner, fileid| {
            match &self.inode(inner, fileid)?.body {
                Body::Symlink(target) => Ok(target.clone()),
                _ => self.refuse(TreeErrorKind::Invalid, "that is no symlink"),
            }
        })
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        let count = count.min(self.abilities.read_bytes);
        self.with(handle, |inner, fileid| {
            self.may(inner, caller, fileid, READ)?;
            let inode = self.inode(inner, fileid)?;
            let content = &self.file(inode)?.current;
            let data = Bytes::from(content.read(offset, count));
            let at_end = offset.saturating_add(data.len() as u64) >= content.size();
            Ok(Fetched { data, at_end })
        })
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let data = data.slice(..data.len().min(self.abilities.write_bytes as usize));
        let end = offset.checked_add(data.len() as u64);
        let end = end.filter(|end| *end <= self.abilities.largest_file_bytes);
        self.with(handle, |inner, fileid| {
            let free = inner.capacity_bytes.saturating_sub(inner.used());
            self.may(inner, caller, fileid, WRITE)?;
            let inode = self.inode(inner, fileid)?;
            let file = self.file(inode)?;
            let Some(end) = end else {
                return self.refuse(TreeErrorKind::TooLarge, "no file can be so long");
            };
            if free < file.current.needs(&(offset..end)) {
                return self.refuse(TreeErrorKind::Full, "there is no space");
            }
            file.current.write(offset, &data);
            let durable = stability == Stability::Durable;
            if durable {
                file.durable.write(offset, &data);
            } else {
                file.unstable = true;
            }
            if !data.is_empty() {
                inner.touch(fileid, true);
            }
            Ok(Written {
                count: data.len() as u32,
                durable,
                verifier: inner.verifier(),
            })
        })
    }

    async fn commit(&self, _caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        self.with(handle, |inner, fileid| {
            let inode = self.inode(inner, fileid)?;
            let file = self.file(inode)?;
            file.durable = file.current.clone();
            file.unstable = false;
            Ok(inner.verifier())
        })
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.with(folder, |inner, folder| {
            let taken = self.at(inner, folder, name)?;
            self.may(inner, caller, folder, ENTER)?;
            if let Some(there) = taken {
                let inode = self.inode(inner, there)?;
                let is_file = matches!(inode.body, Body::File(_));
                match how {
                    CreateHow::Unchecked if is_file && born.size == Some(0) => {
                        self.may(inner, caller, there, WRITE)?;
                        self.resize(inner, there, 0)?;
                        inner.touch(there, true);
                    }
                    CreateHow::Unchecked => {}
                    CreateHow::Exclusive(verifier) if inode.made_by == Some(verifier) => {}
                    _ => return self.refuse(TreeErrorKind::Exists, "the name is taken"),
                }
                let change = Some(self.inode(inner, folder)?.change);
                let unchanged = FolderChange {
                    before: change,
                    after: change,
                };
                return Ok((self.node(inner, there)?, unchanged));
            }
            self.may(inner, caller, folder, WRITE)?;
            let made_by = match how {
                CreateHow::Exclusive(verifier) => Some(verifier),
                _ => None,
            };
            let mut file = File::default();
            let size = born.size.unwrap_or(0);
            if size > self.abilities.largest_file_bytes {
                return self.refuse(TreeErrorKind::TooLarge, "no file can be so long");
            }
            file.current.set_size(size);
            file.durable.set_size(size);
            let fileid = inner.bear(caller, Body::File(Box::new(file)), born, made_by);
            let change = self.enter(inner, folder, name, fileid)?;
            Ok((self.node(inner, fileid)?, change))
        })
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.with(folder, |inner, folder| {
            if self.at(inner, folder, name)?.is_some() {
                return self.refuse(TreeErrorKind::Exists, "the name is taken");
            }
            self.may(inner, caller, folder, WRITE | ENTER)?;
            let body = match what {
                Make::Folder => Body::Folder(Folder::within(folder)),
                Make::Symlink(target) if target.is_empty() => {
                    return self.refuse(TreeErrorKind::Invalid, "a symlink points to something");
                }
                Make::Symlink(target) if target.len() > TARGET_MAX_BYTES => {
                    return self.refuse(TreeErrorKind::NameTooLong, "the target is too long");
                }
                Make::Symlink(target) => Body::Symlink(target),
                Make::Fifo => Body::Special(NodeKind::Fifo, (0, 0)),
                Make::Socket => Body::Special(NodeKind::Socket, (0, 0)),
                Make::Block(major, minor) => Body::Special(NodeKind::Block, (major, minor)),
                Make::Character(major, minor) => Body::Special(NodeKind::Character, (major, minor)),
            };
            let fileid = inner.bear(caller, body, born, None);
            let change = self.enter(inner, folder, name, fileid)?;
            Ok((self.node(inner, fileid)?, change))
        })
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.with(folder, |inner, folder| {
            let there = self.at(inner, folder, name)?;
            let there = there.ok_or_else(|| self.no_entry())?;
            self.may_take(inner, caller, folder, there)?;
            if let Body::Folder(entries) = &self.inode(inner, there)?.body
                && !entries.is_empty()
            {
                return self.refuse(TreeErrorKind::NotEmpty, "the folder isn't empty");
            }
            self.leave(inner, folder, name)
        })
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        self.turn(|inner| self.move_name(inner, caller, from, to))
    }

    async fn link(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.with(handle, |inner, fileid| {
            let folder = self.find(inner, folder)?;
            let taken = self.at(inner, folder, name)?.is_some();
            self.may(inner, caller, folder, WRITE | ENTER)?;
            let inode = self.inode(inner, fileid)?;
            if inode.kind() == NodeKind::Folder {
                return self.refuse(TreeErrorKind::IsFolder, "a folder has one name");
            }
            if taken {
                return self.refuse(TreeErrorKind::Exists, "the name is taken");
            }
            if inode.nlink >= self.abilities.links {
                return self.refuse(TreeErrorKind::TooManyLinks, "it has too many names");
            }
            inode.nlink += 1;
            inner.touch(fileid, false);
            self.enter(inner, folder, name, fileid)
        })
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        self.with(handle, |inner, fileid| {
            self.may_set(inner, caller, fileid, changes)?;
            if let Some(size) = changes.size {
                self.resize(inner, fileid, size)?;
            }
            let now = inner.now;
            self.inode(inner, fileid)?.apply(changes, now);
            if *changes != NodeChanges::default() {
                inner.touch(fileid, false);
            }
            Ok(self.node(inner, fileid)?.stat)
        })
    }

    async fn space(&self) -> Result<Space, TreeError> {
        let inner = self.inner.lock();
        Ok(Space {
            total: inner.capacity_bytes,
            free: inner.capacity_bytes.saturating_sub(inner.used()),
        })
    }

    async fn xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        self.with(handle, |inner, fileid| {
            self.may(inner, caller, fileid, READ)?;
            let value = self.inode(inner, fileid)?.xattrs.get(name).cloned();
            value.ok_or_else(|| self.no_entry())
        })
    }

    async fn xattrs(&self, caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        self.with(handle, |inner, fileid| {
            self.may(inner, caller, fileid, READ)?;
            Ok(self.inode(inner, fileid)?.xattrs.keys().cloned().collect())
        })
    }

    async fn set_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        self.with(handle, |inner, fileid| {
            self.checked(name)?;
            self.may(inner, caller, fileid, WRITE)?;
            if value.len() > XATTR_MAX_BYTES {
                return self.refuse(TreeErrorKind::TooLarge, "the value is too long");
            }
            let xattrs = &mut self.inode(inner, fileid)?.xattrs;
            match (how, xattrs.contains_key(name)) {
                (XattrHow::Create, true) => {
                    return self.refuse(TreeErrorKind::Exists, "the attribute is there");
                }
                (XattrHow::Replace, false) => return Err(self.no_entry()),
                _ => {}
            }
            xattrs.insert(name.clone(), value.clone());
            inner.touch(fileid, false);
            Ok(())
        })
    }

    async fn remove_xattr(
        &self,
        caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        self.with(handle, |inner, fileid| {
            self.may(inner, caller, fileid, WRITE)?;
            let taken = self.inode(inner, fileid)?.xattrs.remove(name);
            taken.ok_or_else(|| self.no_entry())?;
            inner.touch(fileid, false);
            Ok(())
        })
    }
}
