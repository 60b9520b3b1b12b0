//! Names in the in-memory tree: what they stand for, and how they come, go and move.
//!
//! Never here: what a node is.

use super::MemoryTree;
use super::node::{Body, Folder};
use super::state::Inner;
use crate::tree::{Caller, FolderChange, NodeKind, TreeError, TreeErrorKind};
use bytes::Bytes;

impl MemoryTree {
    pub(super) fn folder<'a>(
        &self,
        inner: &'a Inner,
        fileid: u64,
    ) -> Result<&'a Folder, TreeError> {
        match inner.nodes.get(&fileid).map(|inode| &inode.body) {
            Some(Body::Folder(folder)) => Ok(folder),
            Some(_) => self.refuse(TreeErrorKind::NotFolder, "that is no folder"),
            None => Err(self.gone()),
        }
    }

    pub(super) fn folder_mut<'a>(
        &self,
        inner: &'a mut Inner,
        fileid: u64,
    ) -> Result<&'a mut Folder, TreeError> {
        match inner.nodes.get_mut(&fileid).map(|inode| &mut inode.body) {
            Some(Body::Folder(folder)) => Ok(folder),
            Some(_) => self.refuse(TreeErrorKind::NotFolder, "that is no folder"),
            None => Err(self.gone()),
        }
    }

    /// What a name stands for, if it is taken.
    pub(super) fn at(
        &self,
        inner: &Inner,
        folder: u64,
        name: &Bytes,
    ) -> Result<Option<u64>, TreeError> {
        let entries = self.folder(inner, folder)?;
        self.checked(name)?;
        Ok(entries.get(name))
    }

    /// A new node under a name that is free.
    pub(super) fn enter(
        &self,
        inner: &mut Inner,
        folder: u64,
        name: &Bytes,
        fileid: u64,
    ) -> Result<FolderChange, TreeError> {
        let is_folder = matches!(
            inner.nodes.get(&fileid).map(|inode| &inode.body),
            Some(Body::Folder(_))
        );
        self.folder_mut(inner, folder)?.put(name.clone(), fileid);
        let inode = self.inode(inner, folder)?;
        inode.nlink += u32::from(is_folder);
        let before = inode.change;
        Ok(FolderChange {
            before: Some(before),
            after: Some(inner.touch(folder, true)),
        })
    }

    /// Takes a name from a folder, and what it stood for if that was its last.
    pub(super) fn leave(
        &self,
        inner: &mut Inner,
        folder: u64,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let entries = self.folder_mut(inner, folder)?;
        let fileid = entries.get(name).ok_or_else(|| self.no_entry())?;
        entries.take(name);
        let inode = self.inode(inner, folder)?;
        let before = inode.change;
        let after = inner.touch(folder, true);
        let lost = self.inode(inner, fileid)?;
        lost.nlink -= 1;
        if lost.kind() == NodeKind::Folder {
            self.inode(inner, folder)?.nlink -= 1;
            inner.nodes.remove(&fileid);
        } else if lost.nlink == 0 {
            inner.nodes.remove(&fileid);
        } else {
            inner.touch(fileid, false);
        }
        Ok(FolderChange {
            before: Some(before),
            after: Some(after),
        })
    }

    pub(super) fn no_entry(&self) -> TreeError {
        self.error(TreeErrorKind::NoEntry, "there is no such name")
    }

    /// Whether a folder lies in another, or is it.
    fn lies_in(&self, inner: &Inner, folder: u64, within: u64) -> Result<bool, TreeError> {
        let mut at = folder;
        while at != within {
            let parent = self.folder(inner, at)?.parent;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
        Ok(true)
    }

    pub(super) fn move_name(
        &self,
        inner: &mut Inner,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        let (from_folder, to_folder) = (self.find(inner, from.0)?, self.find(inner, to.0)?);
        let moved = self.at(inner, from_folder, from.1)?;
        let there = self.at(inner, to_folder, to.1)?;
        let moved = moved.ok_or_else(|| self.no_entry())?;
        self.may_take(inner, caller, from_folder, moved)?;
        self.may_take(inner, caller, to_folder, there.unwrap_or(moved))?;
        let is_folder = self.is_folder(inner, moved)?;
        let before = [
            self.inode(inner, from_folder)?.change,
            self.inode(inner, to_folder)?.change,
        ];
        // Two names of one file: nothing happens (rename(2)).
        if there == Some(moved) {
            return Ok(Self::since(inner, before, [from_folder, to_folder]));
        }
        if is_folder && self.lies_in(inner, to_folder, moved)? {
            return self.refuse(TreeErrorKind::Invalid, "a folder can't lie in itself");
        }
        if let Some(there) = there {
            self.may_replace(inner, is_folder, there)?;
            self.leave(inner, to_folder, to.1)?;
        }
        self.folder_mut(inner, from_folder)?.take(from.1);
        self.folder_mut(inner, to_folder)?.put(to.1.clone(), moved);
        if let Body::Folder(folder) = &mut self.inode(inner, moved)?.body {
            folder.parent = to_folder;
        }
        if is_folder {
            self.inode(inner, from_folder)?.nlink -= 1;
            self.inode(inner, to_folder)?.nlink += 1;
        }
        inner.touch(moved, false);
        inner.touch(from_folder, true);
        if to_folder != from_folder {
            inner.touch(to_folder, true);
        }
        Ok(Self::since(inner, before, [from_folder, to_folder]))
    }

    fn is_folder(&self, inner: &mut Inner, fileid: u64) -> Result<bool, TreeError> {
        Ok(matches!(self.inode(inner, fileid)?.body, Body::Folder(_)))
    }

    fn may_replace(&self, inner: &mut Inner, by_folder: bool, there: u64) -> Result<(), TreeError> {
        match (&self.inode(inner, there)?.body, by_folder) {
            (Body::Folder(_), false) => {
                self.refuse(TreeErrorKind::IsFolder, "a folder has the new name")
            }
            (Body::Folder(entries), true) if !entries.is_empty() => {
                self.refuse(TreeErrorKind::NotEmpty, "a full folder has the new name")
            }
            (Body::Folder(_), true) => Ok(()),
            (_, true) => self.refuse(TreeErrorKind::NotFolder, "no folder has the new name"),
            (_, false) => Ok(()),
        }
    }

    fn since(inner: &Inner, before: [u64; 2], folders: [u64; 2]) -> (FolderChange, FolderChange) {
        let change = |at: usize| FolderChange {
            before: Some(before[at]),
            after: inner.nodes.get(&folders[at]).map(|inode| inode.change),
        };
        (change(0), change(1))
    }
}
