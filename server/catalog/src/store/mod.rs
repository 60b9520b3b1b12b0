//! The engine under the catalog: ordered keys, snapshots, and transactions that are validated against
//! what they read. Shaped so that a distributed engine fits; never a word about files.

mod batch;
mod committer;
pub mod failpoint;
mod fjall_store;
mod memory;
mod resolver;

pub use batch::{Batch, Operation};
pub use failpoint::{Failpoint, Step};
pub use fjall_store::{FjallOptions, FjallStore};
pub use memory::{Faults, MemoryStore};
pub(crate) use resolver::{add, merge};

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Limits of the narrowest engine that is to fit: every transaction keeps to them on every engine.
pub const KEY_MAX_BYTES: usize = 10_000;
pub const VALUE_MAX_BYTES: usize = 100_000;
pub const TRANSACTION_MAX_BYTES: usize = 10_000_000;
/// A page of a scan ends after about so many bytes, whatever rows were asked for.
pub const PAGE_MAX_BYTES: usize = 1 << 20;

/// Position in the one order of all commits.
pub type Version = u64;

/// Names one attempt to commit, so that asking again can't apply it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(pub u128);

/// Keys from `start` up to and without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: Bytes,
}

impl KeyRange {
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_ref() <= key && key < self.end.as_ref()
    }

    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Rows of a scan, in its direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<(Bytes, Bytes)>,
    /// What is left to scan, in the same direction; `None` at the end.
    pub rest: Option<KeyRange>,
}

/// What a transaction does to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Set(Bytes),
    Delete,
    /// Adds a little-endian number as wide as the operand, wrapping; an absent key is 0. Fields packed
    /// in one number add up independently as long as each stays in its own range.
    Add(Bytes),
    /// Keeps the larger; the value is 8 bytes, little-endian; an absent key is 0.
    Max(u64),
    /// Sets the commit's version, 8 bytes, big-endian.
    Stamp,
}

/// What a transaction's answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on the disk.
    #[default]
    Synced,
    /// It will be before anything committed later is: for what is found out anew after a crash.
    Ordered,
}

/// A whole transaction, as a value: `clears` come before `writes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub idempotency: IdempotencyKey,
    /// Version of the snapshot that was read.
    pub read_version: Version,
    /// Keys and ranges that must not have changed since. What was read without conflict isn't here.
    pub reads: BTreeSet<Bytes>,
    pub read_ranges: Vec<KeyRange>,
    pub clears: Vec<KeyRange>,
    pub writes: BTreeMap<Bytes, Write>,
    pub durability: Durability,
}

impl Transaction {
    /// One that writes and depends on nothing.
    pub fn blind(idempotency: IdempotencyKey) -> Self {
        Transaction {
            idempotency,
            read_version: 0,
            reads: BTreeSet::new(),
            read_ranges: Vec::new(),
            clears: Vec::new(),
            writes: BTreeMap::new(),
            durability: Durability::Synced,
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.clears.is_empty() && self.writes.is_empty()
    }

    /// Bytes that it sends to the engine.
    pub fn size_bytes(&self) -> usize {
        let ranges = self
            .read_ranges
            .iter()
            .chain(&self.clears)
            .map(|range| range.start.len() + range.end.len());
        let reads = self.reads.iter().map(Bytes::len);
        let writes = self.writes.iter().map(|(key, write)| {
            key.len()
                + match write {
                    Write::Set(value) | Write::Add(value) => value.len(),
                    Write::Max(_) | Write::Stamp => 8,
                    Write::Delete => 0,
                }
        });
        ranges.sum::<usize>() + reads.sum::<usize>() + writes.sum::<usize>()
    }

    /// Refuses what some engine would.
    pub fn check_limits(&self) -> Result<(), StoreError> {
        let within = |what, bytes, limit| {
            if bytes <= limit {
                Ok(())
            } else {
                Err(StoreError::TooLarge { what, bytes, limit })
            }
        };
        for (key, write) in &self.writes {
            within("key", key.len(), KEY_MAX_BYTES)?;
            if let Write::Set(value) | Write::Add(value) = write {
                within("record", value.len(), VALUE_MAX_BYTES)?;
            }
        }
        within("transaction", self.size_bytes(), TRANSACTION_MAX_BYTES)
    }
}

/// Value of a key with [`Write::Add`] or [`Write::Max`], right before and right after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    pub key: Bytes,
    pub before: Option<Bytes>,
    pub after: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub merged: Vec<Merged>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As durable as it was to be.
    Committed(Committed),
    /// Nothing happened: something that was read has changed, or was read too long ago.
    Conflict,
    /// It may have been committed. The same transaction, sent again, is answered and not repeated.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the snapshot is older than the engine keeps")]
    TooOld,
    #[error("the {what} has {bytes} bytes, and the limit is {limit}")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        limit: usize,
    },
    #[error("{0}")]
    Failed(String),
}

/// Upper bounds of the counts of transactions in a batch.
pub const BATCH_BOUNDS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/// Which count of [`StoreStats::batch_sizes`] a batch belongs to.
pub(crate) fn batch_bucket(transactions: u64) -> usize {
    BATCH_BOUNDS.partition_point(|bound| *bound < transactions)
}

/// What the engine has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Transactions committed.
    pub commits: u64,
    /// What they were written in.
    pub batches: u64,
    /// Batches that were synced: not those in which nothing had to be.
    pub syncs: u64,
    /// Batches by how many transactions they held: one count per bound of [`BATCH_BOUNDS`], and one
    /// for the larger.
    pub batch_sizes: [u64; BATCH_BOUNDS.len() + 1],
    pub conflicts: u64,
    /// Bytes on disk; 0 where there is none.
    pub disk_bytes: u64,
}

/// What was committed at one version.
#[async_trait]
pub trait Snapshot: Send + Sync {
    fn version(&self) -> Version;

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Values in the order of the keys.
    async fn multi_get(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// At most `limit` rows and about [`PAGE_MAX_BYTES`].
    async fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Page, StoreError>;
}

/// Who keeps something of what was read.
pub trait Watcher: Send + Sync {
    /// The value of `key` is another one from `version` on.
    fn changes(&self, key: &[u8], version: Version);
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Tells `watcher` of each change from now on, whoever makes it, before anybody can read it. False: this engine
    /// can't, and nothing may be kept.
    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool;

    /// Of everything acknowledged before the call. What isn't durable in it becomes so before whatever is committed
    /// on the strength of it.
    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError>;

    /// Answers when the transaction is as durable as it is to be, or surely isn't, or nobody can tell.
    async fn commit(&self, transaction: Arc<Transaction>) -> Result<Outcome, StoreError>;

    /// Takes in what lies at keys that nobody ever wrote, in their order, past whatever commits. It is on the disk when
    /// this returns, and seen by whoever reads what is committed later; a crash before may leave a part of it. Works
    /// as long as it takes, where it is called.
    fn ingest(
        &self,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>>,
    ) -> Result<(), StoreError>;

    fn stats(&self) -> StoreStats;
}
