//! Records of what was found on a filer.

use super::{Fields, Record, RecordError, Writer};
use crate::adopted::FoundName;
use crate::inode::InodeId;
use bytes::{BufMut, Bytes};

/// A file of a filer, by its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub inode: InodeId,
    pub handle: Bytes,
    /// Names that it has on the filer and that were not listed yet; the inode's links count them.
    pub unseen: u32,
    /// The name under which it was found first.
    pub first: FoundName,
}

/// How far the listing of a directory came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub handle: Bytes,
    pub cookie: u64,
    pub verifier: [u8; 8],
}

impl Record for FoundName {
    const NAME: &'static str = "a name on a filer";

    fn put(&self, to: &mut Writer) {
        to.bytes(&self.folder);
        to.bytes(&self.name);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(FoundName {
            folder: from.bytes("folder")?,
            name: from.bytes("name")?,
        })
    }
}

impl Record for Found {
    const NAME: &'static str = "a file of a filer";

    fn put(&self, to: &mut Writer) {
        to.inode_id(self.inode);
        to.bytes(&self.handle);
        to.number(self.unseen.into());
        self.first.put(to);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Found {
            inode: from.inode_id("inode")?,
            handle: from.bytes("handle")?,
            unseen: from.number_u32("unseen")?,
            first: FoundName::take(from)?,
        })
    }
}

impl Record for Reached {
    const NAME: &'static str = "a directory to scan";

    fn put(&self, to: &mut Writer) {
        to.bytes(&self.handle);
        to.number(self.cookie);
        to.0.put_slice(&self.verifier);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Reached {
            handle: from.bytes("handle")?,
            cookie: from.number("cookie")?,
            verifier: from.array("verifier")?,
        })
    }
}
