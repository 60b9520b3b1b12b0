//! The placement record of a file.

use bytes::Bytes;

/// Number of a data server in the catalog: given once, never reused, unlike its name or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataServerId(pub u32);

/// Name of a data object, unique over all data servers and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u128);

/// The synthetic owner that a data server checks (RFC 8435 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// One data object: one stripe of one mirror of one extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    pub server: DataServerId,
    pub object: ObjectId,
    /// NFSv3 filehandle on that data server, at most 64 bytes.
    pub handle: Bytes,
    /// Who may write it now. A fence gives it another.
    pub owner: Owner,
    /// Raised by each fence.
    pub generation: u32,
}

/// A whole copy of an extent, over one or more stripes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub stripes: Vec<ObjectRef>,
    /// Durable mark: this copy misses writes and serves no reader.
    pub stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentState {
    /// No object yet: bound by the first LAYOUTGET or proxy write.
    Unbound,
    Bound,
    /// Being moved or repaired: no new write grants.
    Frozen,
}

/// A range of a file and where it lies. Coarse: today one covers the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    /// `u64::MAX`: to the end of the file.
    pub length: u64,
    /// Bytes; a power of two. 0 where a mirror has one stripe (RFC 8435 §5.1).
    pub stripe_unit: u32,
    pub mirrors: Vec<Mirror>,
    pub state: ExtentState,
}
