//! A namespace that is there already, and what is asked of whoever keeps it: a filer's export, a
//! bucket. Its names and attributes are its own; this server shows them, and remembers nothing of them.
//!
//! Never here: who may come (exports), and what a client holds of its files (opens, locks, layouts).

use crate::{Fetched, Nanos, Space, Stability, WriteVerifier, Written};
use async_trait::async_trait;
use bytes::Bytes;
use layout::{Device, Owner};
use std::sync::Arc;
use std::time::Duration;

pub mod conformance;
mod faulty;
mod memory;

pub use faulty::FaultyTree;
pub use memory::MemoryTree;

/// Bytes that a node's handle can have: what is left of a filehandle of NFSv4 beside our own part.
pub const NODE_MAX_BYTES: usize = 64;
/// The smallest cookie of an entry: 0 begins a listing, 1 and 2 are "." and ".." (RFC 8881 §18.23.3).
pub const FIRST_COOKIE: u64 = 3;

/// On whose behalf something is asked, as an export squashed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
}

impl Caller {
    pub fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: Arc::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    Regular,
    Folder,
    Symlink,
    Block,
    Character,
    Fifo,
    Socket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStat {
    pub kind: NodeKind,
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Bytes that it takes.
    pub used: u64,
    /// Major and minor of a device.
    pub rdev: (u32, u32),
    /// Two names of one file have the same, and no other file of the tree has it.
    pub fileid: u64,
    pub atime: Nanos,
    pub mtime: Nanos,
    pub ctime: Nanos,
    /// Another value after each change of content, names or attributes; of a keeper that has nothing
    /// but times, as far as its clock tells.
    pub change: u64,
}

/// A file, folder or other object of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Names it for ever, over restarts of either side; at most [`NODE_MAX_BYTES`].
    pub handle: Bytes,
    pub stat: NodeStat,
}

/// Changes that their keeper hasn't got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsent {
    pub files: u64,
    pub bytes: u64,
    /// How long the oldest of them has been waiting.
    pub oldest: Duration,
}

/// What a tree can do, beyond what all can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeAbilities {
    /// It asks of each caller by itself whether he may (a filer). Otherwise the server judges by mode
    /// bits, and calls as root.
    pub judges: bool,
    pub hard_links: bool,
    pub symlinks: bool,
    /// Sockets, fifos and devices.
    pub special_files: bool,
    pub xattrs: bool,
    /// Largest READ and WRITE, bytes.
    pub read_bytes: u32,
    pub write_bytes: u32,
    pub largest_file_bytes: u64,
    pub name_bytes: u32,
    pub links: u32,
    /// What times are rounded to.
    pub time_step_nanos: u32,
}

/// What a caller may do with a node; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    pub read: bool,
    /// Into a folder.
    pub lookup: bool,
    /// Of a folder: any change of names.
    pub modify: bool,
    /// Of a folder: new names.
    pub extend: bool,
    /// Names of a folder.
    pub delete: bool,
    /// Of what isn't a folder.
    pub execute: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// By the clock of the tree's keeper.
    Now,
    At(Nanos),
}

/// Attributes to set. Of a new node: those that it is born with; owner and group are the caller's
/// where they aren't named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeChanges {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

/// How a file is created where the name may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateHow {
    /// What is there is answered as it is, of whatever kind; only a size of 0 is applied to a file.
    Unchecked,
    /// [`TreeErrorKind::Exists`] where the name is taken.
    Guarded,
    /// As `Guarded`, but a file made by the same verifier is this caller's own retry.
    Exclusive([u8; 8]),
}

/// What a new node other than a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    Folder,
    /// And what it points to.
    Symlink(Bytes),
    Fifo,
    Socket,
    Block(u32, u32),
    Character(u32, u32),
}

/// A folder's `change` around a change of its names, as far as the keeper told; somebody else's may lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderChange {
    pub before: Option<u64>,
    pub after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub name: Bytes,
    /// At least [`FIRST_COOKIE`]. To go on behind this entry.
    pub cookie: u64,
    /// Of its node, where the keeper knows it without a look.
    pub fileid: Option<u64>,
    /// The same.
    pub kind: Option<NodeKind>,
    /// `None` where the keeper had it not at hand, or it is gone.
    pub node: Option<Node>,
}

/// A part of a folder, in the folder's own order; "." and ".." are never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<TreeEntry>,
    pub at_end: bool,
    /// To be given back with a cookie of this listing.
    pub verifier: [u8; 8],
}

/// A new value of an extended attribute, where one may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrHow {
    Either,
    /// [`TreeErrorKind::Exists`] where one is there.
    Create,
    /// [`TreeErrorKind::NoEntry`] where none is.
    Replace,
}

/// How clients read a file from where it lies, past this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// Of NFSv3.
    pub handle: Bytes,
    /// Ids that may read it there.
    pub reader: Owner,
    /// It names the file as it is now: after a change it gives nothing, and another is to be asked for.
    pub of_this_version: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeErrorKind {
    /// Busy or away: the same call may succeed after the given time.
    Retry {
        after: Duration,
    },
    /// The handle's node isn't there any more.
    Gone,
    /// No such name.
    NoEntry,
    /// The name is taken.
    Exists,
    /// The caller may not (EACCES).
    Denied,
    /// Only its owner or root may (EPERM).
    NotOwner,
    NotFolder,
    IsFolder,
    NotEmpty,
    /// The keeper takes no changes.
    ReadOnly,
    NameTooLong,
    /// A name or value that the keeper can't have.
    Invalid,
    TooManyLinks,
    /// The two are of different file systems (EXDEV).
    OtherDevice,
    Full,
    OverQuota,
    TooLarge,
    /// Somebody else changed it meanwhile, behind this server: the change was not made.
    Conflict,
    /// The cookie is of no use any more; the listing begins anew.
    BadCookie,
    /// The keeper can't do that, ever.
    Unsupported,
    /// Broken: I/O error, nonsense in a reply.
    Broken,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct TreeError {
    pub kind: TreeErrorKind,
    /// For people: what was asked of whom, and what it said.
    pub detail: String,
}

impl TreeError {
    pub fn new(kind: TreeErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, TreeErrorKind::Retry { .. })
    }
}

fn cannot<T>(what: &str) -> Result<T, TreeError> {
    Err(TreeError::new(
        TreeErrorKind::Unsupported,
        format!("the backend can't {what}"),
    ))
}

/// The keeper of a namespace. Every call ends, by an answer or by [`TreeErrorKind::Retry`], within the
/// implementation's deadline; one that is dropped is given up, and may have been carried out.
///
/// A call on a name that ran and whose answer was lost may be repeated by the implementation, if it
/// can tell its own success from somebody else's (so that a retried `mkdir` isn't [`TreeErrorKind::Exists`]).
#[async_trait]
pub trait Tree: Send + Sync + 'static {
    fn abilities(&self) -> TreeAbilities;

    /// The folder that everything lies in. Also the probe: it answers only if the keeper can be reached.
    async fn root(&self) -> Result<Node, TreeError>;

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError>;

    /// Only of a tree that judges.
    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError>;

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError>;

    /// The folder that a folder lies in; the root is its own.
    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError>;

    /// What comes behind `after` (0: from the start), about `most` entries, at least one unless at the end.
    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError>;

    /// The same for who needs names, cookies, fileids and, where they are at hand, kinds: a keeper that would have to
    /// ask for each node leaves them away.
    async fn list_names(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        self.list(caller, folder, after, verifier, most).await
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError>;

    /// At most `count` bytes, and at least one unless the offset is at or past the end. Fewer than
    /// asked for means the end only where `at_end` says so. Never bytes of two versions in one answer.
    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError>;

    /// Writes at least one byte of what isn't empty; the count says how many.
    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError>;

    /// Makes earlier unstable writes durable; they are lost if the verifier differs from theirs.
    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError>;

    /// A regular file. Durable on return.
    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError>;

    /// Anything else. Durable on return.
    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError>;

    /// Takes a name away, of a file or of an empty folder. Durable on return.
    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError>;

    /// As rename(2): what has the new name is replaced, if it is of the same kind and not a full
    /// folder. Handles stay what they were. The changes are those of the old and the new folder.
    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError>;

    async fn link(
        &self,
        _caller: &Caller,
        _handle: &Bytes,
        _folder: &Bytes,
        _name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        cannot("give a file a second name")
    }

    /// Durable on return. Answers with what it is then.
    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError>;

    async fn space(&self) -> Result<Space, TreeError>;

    /// What callers wrote and was not promised to outlive this process: it waits here for a COMMIT.
    fn unsent(&self) -> Unsent {
        Unsent::default()
    }

    /// Before the end: what was asked for may go on for so long, and then ends where it is. Calls may be refused
    /// after that.
    async fn finish(&self, _patience: Duration) {}

    async fn xattr(
        &self,
        _caller: &Caller,
        _handle: &Bytes,
        _name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        cannot("keep extended attributes")
    }

    async fn xattrs(&self, _caller: &Caller, _handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        cannot("keep extended attributes")
    }

    async fn set_xattr(
        &self,
        _caller: &Caller,
        _handle: &Bytes,
        _name: &Bytes,
        _value: &Bytes,
        _how: XattrHow,
    ) -> Result<(), TreeError> {
        cannot("keep extended attributes")
    }

    async fn remove_xattr(
        &self,
        _caller: &Caller,
        _handle: &Bytes,
        _name: &Bytes,
    ) -> Result<(), TreeError> {
        cannot("keep extended attributes")
    }

    /// Where clients read this tree's files by themselves, if they can.
    fn device(&self) -> Option<Device> {
        None
    }

    /// How they read this one; `None`: through the server.
    async fn direct(&self, _handle: &Bytes, _stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        Ok(None)
    }
}
