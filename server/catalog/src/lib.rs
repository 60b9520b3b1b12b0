//! The catalog: names, inodes, extents, and what must be remembered of work under way, in transactions
//! that are durable when they answer (those that need no sync: before any later one). It lives on any ordered store
//! with optimistic transactions ([`store`]); it knows no wire protocol, no clock and no randomness of its own.
//!
//! - [`Catalog`]: open, [`transact!`], [`Catalog::read`].
//! - [`Tx`]: what a transaction can write. [`Reader`]: what both can read.
//! - `inode`, `records`: the plain data that goes in and out.

mod acl;
mod adopted;
mod attempts;
mod bulk;
mod cache;
mod catalog;
mod check;
mod codec;
mod core;
mod error;
mod hot;
mod inode;
mod intents;
mod keepers;
mod keys;
mod namespace;
mod orphans;
mod overlay;
mod pool;
mod records;
pub mod store;
mod tx;
mod view;
mod xattrs;

pub use acl::{Ace, AceKind, Acl, Label, Who};
pub use adopted::{FoundFile, FoundName, FoundNode, ScanTotals, Unscanned};
pub use attempts::Attempts;
pub use bulk::{BulkFiles, BulkFolder};
pub use catalog::{Catalog, FORMAT, Options};
pub use error::{Error, OpenError};
pub use inode::{
    Counts, DataStamp, Done, Entry, FileKind, Inode, InodeChange, InodeId, LINKS_MAX,
    NAME_MAX_BYTES, NewInode, RemoveWhat, Removed, Renamed, Timestamp, XattrTotals,
};
pub use records::{
    ClientRecord, DataServerRecord, DeadObject, Order, OrderId, OrderKind, PoolEntry, WriteIntent,
};
pub use store::failpoint;
pub use tx::Tx;
pub use view::Reader;
pub use xattrs::{SetXattr, Xattr, XattrLimits};
