//! Inodes, entries, and what the namespace's calls take and give, as plain data.
//! Never how they are stored (`keys`, `codec`), never rules about them (`namespace`).

use crate::acl::{Acl, Label};
use bytes::Bytes;
use layout::{DataServerId, Extent};
use std::sync::Arc;

/// Longest name of an entry, bytes.
pub const NAME_MAX_BYTES: usize = 255;
/// Links that an inode can have, and subdirectories a directory.
pub const LINKS_MAX: u32 = 1 << 31;

/// Identity of an inode, for ever: numbers are not given twice.
///
/// `home` is the number of the directory in which it was born, whatever became of that directory:
/// the inodes of one directory lie side by side. The top 16 bits of `number` are the shard's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId {
    pub home: u64,
    pub number: u64,
}

impl InodeId {
    pub const ROOT: InodeId = InodeId { home: 1, number: 1 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Block,
    Character,
    Fifo,
    Socket,
}

/// Since 1970, UTC. `nanos` is below 10⁹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanos: u32,
}

/// A file, directory or other object of the namespace, as a reader sees it: for a directory the
/// counters that concurrent creates merge into are already in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    pub id: InodeId,
    pub kind: FileKind,
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// A directory has 2 and one for each subdirectory.
    pub nlink: u32,
    pub size: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// The change attribute: a value once sent is never sent for another state, crash or not.
    pub change: u64,
    /// Major and minor of a device.
    pub rdev: (u32, u32),
    /// Of a symbolic link.
    pub target: Option<Bytes>,
    /// Of a directory; the root has none.
    pub parent: Option<InodeId>,
    /// Raised by each truncate.
    pub size_epoch: u64,
    pub extents: Vec<Extent>,
    /// Entries of a directory.
    pub entries: u64,
    /// Of an exclusive create (RFC 8881 §18.16.3), to recognize its retry.
    pub create_verifier: Option<[u8; 8]>,
    /// Snapshot epoch in which the record was made.
    pub birth_epoch: u64,
    /// The state of its data objects that size, mtime and change already account for.
    pub data_stamp: DataStamp,
    /// Bytes that its data objects take on disk, as of the last time they were asked.
    pub used: u64,
    /// Most have none: the mode says it all.
    pub acl: Option<Arc<Acl>>,
    pub label: Option<Label>,
    pub xattrs: XattrTotals,
    /// Of a directory: a filer's, whose names are not all here. Nobody looks into it or changes it.
    pub unscanned: bool,
    /// Whose file system it is of, if that is one of its own: of the data server that files made in it lie on, or of
    /// the filer whose tree it was part of.
    pub keeper: Option<DataServerId>,
}

/// A state of a file's data objects, by their times and sizes: another one after each write. 0 while they hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataStamp(pub u64);

/// What an inode's extended attributes come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XattrTotals {
    pub count: u32,
    /// Names and values.
    pub bytes: u64,
}

/// What a create gives; times and the change attribute come from the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInode {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: (u32, u32),
    pub target: Option<Bytes>,
    pub create_verifier: Option<[u8; 8]>,
    pub extents: Vec<Extent>,
    pub acl: Option<Arc<Acl>>,
    pub label: Option<Label>,
}

impl NewInode {
    /// An inode with nothing but owner and mode.
    pub fn plain(kind: FileKind, mode: u32, uid: u32, gid: u32) -> Self {
        NewInode {
            kind,
            mode,
            uid,
            gid,
            rdev: (0, 0),
            target: None,
            create_verifier: None,
            extents: Vec::new(),
            acl: None,
            label: None,
        }
    }
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Bytes,
    pub id: InodeId,
    pub kind: FileKind,
    /// Position in READDIR: at least 3, below 2⁶³; the entry keeps it as long as it lives.
    pub cookie: u64,
}

/// What a caller of `remove` is ready to see removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveWhat {
    Any,
    Directory,
    NotDirectory,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// As it is after the removal.
    pub inode: Inode,
    /// No name is left: a directory is gone, anything else waits for [`crate::Tx::reap`].
    pub last_link: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub moved: Entry,
    /// What the new name was before.
    pub replaced: Option<Removed>,
    /// Both names are links of one inode: nothing happened (RFC 8881 §18.26.3).
    pub same_file: bool,
}

/// Change attribute of an inode right before and right after a transaction, in the order of commits:
/// nothing came between (`change_info4.atomic`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeChange {
    pub id: InodeId,
    pub before: u64,
    pub after: u64,
}

/// Outcome of a committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    pub value: T,
    /// Version of the store's commit; 0 when nothing was written.
    pub version: u64,
    /// Every directory whose change attribute the transaction moved.
    pub directories: Vec<InodeChange>,
}

impl<T> Done<T> {
    /// Before and after of `directory`, if the transaction changed it.
    pub fn change_of(&self, directory: InodeId) -> Option<InodeChange> {
        self.directories
            .iter()
            .copied()
            .find(|change| change.id == directory)
    }
}

/// Totals for FSSTAT-like attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All inodes, directories and orphans too.
    pub inodes: u64,
    pub directories: u64,
    /// Objects in the delete queue.
    pub dead_objects: u64,
}
