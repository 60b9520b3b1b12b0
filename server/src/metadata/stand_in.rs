//! What stands for a data server that isn't in service yet: it can nothing, and says so.
//!
//! Never here: why it isn't.

use async_trait::async_trait;
use backend::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, ObjectStat, Origin,
    RangeAbilities, Seek, Sought, Space, Stability, WriteVerifier, Written,
};
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use std::ops::Range;
use std::time::Duration;

const RETRY: Duration = Duration::from_secs(1);

/// Stands in for a data server that is not in service yet: what needs it waits.
pub(super) struct StandIn {
    pub(super) name: String,
    /// Whether clients will reach it.
    pub(super) direct: bool,
}

impl StandIn {
    fn error(&self) -> Error {
        Error {
            kind: ErrorKind::Retry { after: RETRY },
            detail: format!("data server {} is not in service", self.name),
        }
    }
}

#[async_trait]
impl DataServer for StandIn {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fence: FenceGrade::None,
            direct: self.direct,
            read_bytes: 1 << 20,
            write_bytes: 1 << 20,
            largest_object_bytes: i64::MAX as u64,
            // What it can is seen when it is there; until then nothing is refused for good.
            ranges: RangeAbilities {
                sparse: true,
                reserve: true,
                clone_block_bytes: Some(1),
                pull: true,
            },
        }
    }
    async fn create(&self, _: ObjectId, _: Owner) -> Result<Bytes, Error> {
        Err(self.error())
    }
    async fn stat(&self, _: &Bytes) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn set_size(&self, _: &Bytes, _: u64) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn extend(&self, _: &Bytes, _: u64) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn fence(&self, _: &Bytes, _: Owner) -> Result<(), Error> {
        Err(self.error())
    }
    async fn read(&self, _: &Bytes, _: u64, _: u32) -> Result<Fetched, Error> {
        Err(self.error())
    }
    async fn write(&self, _: &Bytes, _: u64, _: Bytes, _: Stability) -> Result<Written, Error> {
        Err(self.error())
    }
    async fn commit(&self, _: &Bytes) -> Result<WriteVerifier, Error> {
        Err(self.error())
    }
    async fn remove(&self, _: ObjectId) -> Result<(), Error> {
        Err(self.error())
    }
    async fn space(&self) -> Result<Space, Error> {
        Err(self.error())
    }
    async fn seek(&self, _: &Bytes, _: Range<u64>, _: Stripe, _: Seek) -> Result<Sought, Error> {
        Err(self.error())
    }
    async fn deallocate(&self, _: &Bytes, _: Range<u64>) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn allocate(&self, _: &Bytes, _: Range<u64>, _: Stripe) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn clone_range(&self, _: &Bytes, _: u64, _: &Bytes, _: Range<u64>) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn pull(&self, _: &Origin, _: u64, _: &Bytes, _: u64, _: u32) -> Result<Written, Error> {
        Err(self.error())
    }
}
