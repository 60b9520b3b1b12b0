//! Records beside the namespace: data servers, clients, pooled objects, intents and orders, as plain
//! data. Never what is done about them: that is `objects` and the metadata server.

use crate::InodeId;
use bytes::Bytes;
use layout::{DataServerId, ObjectId, ObjectRef};

/// A data server as the catalog knows it. Its number is given once and never to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataServerRecord {
    pub id: DataServerId,
    pub name: String,
    /// Raised when the address or the export changes, so that clients get another device id.
    pub device_generation: u32,
    pub address: String,
    pub export: String,
    /// NFSv3 filehandle of the export's root.
    pub root_handle: Bytes,
}

/// A client that may reclaim after a restart (RFC 8881 §8.4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecord {
    pub id: u64,
    /// `co_ownerid`, 1024 bytes at most.
    pub owner: Bytes,
    pub verifier: [u8; 8],
    pub principal: Bytes,
    pub reclaim_complete: bool,
}

/// Durable note that clients may be writing a file straight to its data servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteIntent {
    pub inode: InodeId,
    pub size_epoch: u64,
    /// [`ClientRecord::id`] of each.
    pub clients: Vec<u64>,
}

/// Number of an order, rising in the order in which orders were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);

/// Work on a file's objects that must end, crash or not. Executed again at start: idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub inode: InodeId,
    pub kind: OrderKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderKind {
    /// Cut or extend every object to its part of `size`, then commit size and epoch.
    Truncate { size: u64, size_epoch: u64 },
    /// Give the objects these owners and generations: `objects` is what is to be.
    Fence { objects: Vec<ObjectRef> },
    /// Make every object long enough for the committed size again: what is left of a truncate that was given up.
    Restore,
}

/// An object that was made ahead, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolEntry {
    /// Its creation was announced and not confirmed: it may exist.
    Reserved {
        server: DataServerId,
        object: ObjectId,
    },
    /// It exists, empty, and belongs to no file.
    Pooled(ObjectRef),
}

/// An object to be removed from its data server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadObject {
    pub server: DataServerId,
    pub object: ObjectId,
}

impl From<&ObjectRef> for DeadObject {
    fn from(object: &ObjectRef) -> Self {
        DeadObject {
            server: object.server,
            object: object.object,
        }
    }
}
