//! The trait, and the words that it uses.

use crate::ranges::{self, Origin, RangeAbilities, Seek, Sought};
use crate::tree::Direct;
use crate::upstream::{Demand, Version};
use async_trait::async_trait;
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use std::ops::Range;
use std::time::Duration;

/// How surely a fence keeps the fenced client's bytes out of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceGrade {
    /// No fence: no write grants are given on such a server.
    None,
    /// Only a new object with a new handle keeps a stale writer out.
    Replace,
    /// The owner changes, but a WRITE already past its check may land late.
    Windowed,
    /// When the fence answers, no earlier WRITE is under way and none can start.
    Exact,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub fence: FenceGrade,
    /// Whether layouts can name it: clients reach its objects themselves, by NFSv3, with the handle and
    /// the owner's ids. Where they can't, all bytes pass the caller, who knows of no writer but himself:
    /// an owner is remembered and keeps nobody out, and a fence is [`FenceGrade::Exact`].
    pub direct: bool,
    /// Largest READ and WRITE, bytes, as the server's FSINFO says.
    pub read_bytes: u32,
    pub write_bytes: u32,
    pub largest_object_bytes: u64,
    pub ranges: RangeAbilities,
}

/// Nanoseconds since 1970.
pub type Nanos = i128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectStat {
    pub owner: Owner,
    pub size: u64,
    /// Bytes on disk.
    pub used: u64,
    pub mtime: Nanos,
    pub ctime: Nanos,
    pub atime: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub free: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    Unstable,
    Durable,
}

/// Changes when the server may have lost unstable writes.
pub type WriteVerifier = [u8; 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub count: u32,
    pub durable: bool,
    pub verifier: WriteVerifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Busy or away: the same call may succeed after the given time.
    Retry { after: Duration },
    /// The object isn't there, or its handle is no longer valid.
    Gone,
    /// The caller's owner is not the object's: it was fenced.
    Fenced,
    /// No space, or over quota.
    Full,
    /// No object of the server can be so long.
    TooLarge,
    /// The server can't do that, ever.
    Unsupported,
    /// Broken: I/O error, nonsense in a reply.
    Broken,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    pub kind: ErrorKind,
    /// For people: what was asked of whom, and what it said.
    pub detail: String,
}

impl Error {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, ErrorKind::Retry { .. })
    }
}

/// A file that a server had before it became a data server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    pub handle: Bytes,
    /// The server's own number of it.
    pub fileid: u64,
    /// Each name, behind the filehandle of its folder.
    pub names: Vec<(Bytes, Bytes)>,
}

/// The answer of a READ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub data: Bytes,
    /// Nothing lies past `data`.
    pub at_end: bool,
}

/// A server of data objects. Every call is idempotent, so that a caller whose answer was lost calls
/// again; every call ends, by an answer or by [`ErrorKind::Retry`], within the implementation's deadline.
#[async_trait]
pub trait DataServer: Send + Sync + 'static {
    fn capabilities(&self) -> Capabilities;

    /// Makes the object, empty, owned by `owner`, mode 0640; an object of that id that is there
    /// already is made to be so, and may keep its handle. Durable on return. Returns its filehandle,
    /// at most 64 bytes, which stays valid over restarts until the object is removed.
    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error>;

    /// The same of many objects that nobody has used yet, in their order. Where it fails, any of them may be there.
    /// [`ErrorKind::Unsupported`] where each is to be made by itself.
    async fn create_all(&self, _objects: &[(ObjectId, Owner)]) -> Result<Vec<Bytes>, Error> {
        Err(ranges::cannot("make many objects at once"))
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error>;

    /// Cuts or extends (sparse). Durable on return. Answers with what the object is then.
    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error>;

    /// Makes the object at least `size` long (sparse), and never shortens it, whoever writes
    /// meanwhile. Durable on return. Answers with what the object is then.
    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error>;

    /// Gives the object a new owner, to the grade that the capabilities name. Durable on return.
    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error>;

    /// At most `count` bytes, and at least one unless the offset is at or past the end. Fewer than
    /// asked for means the end only where `at_end` says so.
    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error>;

    /// Writes at least one byte of what isn't empty; the count says how many.
    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error>;

    /// Makes earlier unstable writes durable; they are lost if the verifier differs from theirs.
    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error>;

    /// Removes the object; `Ok` when it isn't there.
    async fn remove(&self, object: ObjectId) -> Result<(), Error>;

    /// Removes a file that was there before its server became a data server, under each of its names that
    /// is still one; `Ok` when none is.
    async fn remove_found(&self, _file: &FoundObject) -> Result<(), Error> {
        Err(ranges::cannot("remove what it had before"))
    }

    /// Also the probe: it answers only if the server can reach its storage.
    async fn space(&self) -> Result<Space, Error>;

    /// The first byte of `within`, of those that `stripe` owns, that is data, or that is a hole; past
    /// the object's end all is hole. A server that can't tell calls everything data.
    async fn seek(
        &self,
        handle: &Bytes,
        within: Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        ranges::seek_by_size(self, handle, within, stripe, what).await
    }

    /// Makes a beginning of the range read as zeros, and gives its space back where the server can;
    /// answers with the offset that it reached, past `range.start` unless the range is empty. Never
    /// changes the size. Durable on return where the server is `sparse`, else after a COMMIT.
    async fn deallocate(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        ranges::deallocate_by_zeros(self, handle, range).await
    }

    /// Sets space aside for what `stripe` owns of a beginning of the range, so that writes there find
    /// it; answers with the offset that it reached. Changes neither content nor size. Durable on
    /// return. [`ErrorKind::Full`] may leave a part set aside.
    async fn allocate(
        &self,
        _handle: &Bytes,
        _range: Range<u64>,
        _stripe: Stripe,
    ) -> Result<u64, Error> {
        Err(ranges::cannot("set space aside"))
    }

    /// Makes a beginning of `range` what `source`, an object of the same server, holds from
    /// `source_offset` on, holes included, by sharing its blocks; grows the object up to there.
    /// Answers with the offset that it reached in `range`. Both offsets are multiples of
    /// `clone_block_bytes`, and `source` holds as many bytes. Durable on return.
    async fn clone_range(
        &self,
        _source: &Bytes,
        _source_offset: u64,
        _handle: &Bytes,
        _range: Range<u64>,
    ) -> Result<u64, Error> {
        Err(ranges::cannot("share blocks"))
    }

    /// How servers that can [`DataServer::pull`] read an object of this one; `None` where they can't.
    fn origin(&self, _handle: &Bytes, _owner: Owner) -> Option<Origin> {
        None
    }

    /// Has the server fetch `length` bytes from `origin`, or at least one, and write them: as
    /// [`DataServer::write`], unstable. Bytes past the origin's end count as zeros.
    /// [`ErrorKind::Unsupported`] where it can't read there.
    async fn pull(
        &self,
        _origin: &Origin,
        _origin_offset: u64,
        _handle: &Bytes,
        _offset: u64,
        _length: u32,
    ) -> Result<Written, Error> {
        Err(ranges::cannot("fetch bytes"))
    }

    /// How clients read the object as it is now at a server that caches what this one keeps, where they can't
    /// reach it here; `None`: not at all. Before a change of the object is answered, nothing more is read by
    /// that, and it is asked for anew.
    async fn cached(&self, _handle: &Bytes) -> Result<Option<Direct>, Error> {
        Ok(None)
    }

    /// Serves a version that `backend` keeps to who has the reader's ids, from a cache of its own, and
    /// no other version of the key any more. Durable on return. Returns a filehandle.
    async fn offer(
        &self,
        _backend: &str,
        _version: &Version,
        _mtime: Nanos,
        _reader: Owner,
    ) -> Result<Bytes, Error> {
        Err(ranges::cannot("cache what others keep"))
    }

    /// Nothing more is read by a handle that was offered, once this has answered. Durable on return.
    async fn withdraw(&self, _handle: &Bytes) -> Result<(), Error> {
        Err(ranges::cannot("cache what others keep"))
    }

    /// How much it is asked for what `backend` keeps. [`ErrorKind::Unsupported`]: it doesn't cache that.
    async fn demand(&self, _backend: &str) -> Result<Demand, Error> {
        Err(ranges::cannot("cache what others keep"))
    }
}
