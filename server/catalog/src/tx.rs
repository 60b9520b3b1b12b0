//! A transaction: a reader that also writes. Holds its writes until the commit; the rules about what
//! is written are in `namespace`, `xattrs`, `orphans`, `pool` and `intents`.

use crate::codec::Record;
use crate::core::Core;
use crate::error::Error;
use crate::hot::{HotCounters, hot_time, packed};
use crate::inode::{InodeChange, InodeId, Timestamp};
use crate::keys;
use crate::overlay::Overlay;
use crate::store::{Committed, Durability, KeyRange, Transaction};
use crate::view::Reader;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// One attempt of [`crate::transact!`]. It reads what a [`Reader`] reads, through its own writes.
pub struct Tx {
    reader: Reader,
    pub(crate) now: Timestamp,
    /// Directories whose change attribute moves.
    touched: BTreeMap<Bytes, InodeId>,
    /// Cleared before anything is written.
    clears: Vec<KeyRange>,
    durability: Durability,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Tx {
    pub(crate) fn new(core: Arc<Core>, now: Timestamp) -> Self {
        Tx {
            reader: Reader::transactional(core),
            now,
            touched: BTreeMap::new(),
            clears: Vec::new(),
            durability: Durability::Synced,
        }
    }

    /// The transaction is answered without a sync: a crash may take it back, and nothing that was committed before it.
    /// For what a start after the crash finds out anew.
    pub fn needs_no_sync(&mut self) {
        self.durability = Durability::Ordered;
    }

    /// The time that the transaction's changes bear.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A change attribute larger than any before.
    pub fn next_change(&self) -> u64 {
        self.core.next_change()
    }

    fn overlay(&mut self) -> &mut Overlay {
        self.reader
            .overlay
            .as_mut()
            .expect("a transaction's reader is made with an overlay")
            .get_mut()
    }

    pub(crate) fn set(&mut self, key: Bytes, value: Bytes) {
        self.overlay().set(key, value);
    }

    pub(crate) fn set_record<R: Record>(&mut self, key: Bytes, record: &R) {
        self.set(key, record.encode());
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.overlay().delete(key);
    }

    pub(crate) fn add(&mut self, key: Bytes, operand: Bytes) {
        self.overlay().add(key, operand);
    }

    pub(crate) fn max(&mut self, key: Bytes, operand: u64) {
        self.overlay().max(key, operand);
    }

    /// Deletes all of a range. The transaction's own reads don't see that: for what it reads no more.
    pub(crate) fn clear(&mut self, range: KeyRange) {
        self.clears.push(range);
    }

    /// Merges a change of a directory into its hot keys; `now` says whether its times move too.
    pub(crate) fn touch(&mut self, directory: InodeId, entries: i64, subdirectories: i64) {
        let counters = keys::hot_counters(directory);
        self.touched.insert(counters.clone(), directory);
        self.add(counters, packed([1, entries, subdirectories]));
        let now = hot_time(self.now);
        self.max(keys::hot_time(directory), now);
    }

    /// The same for entries that a filer had before: its times stay what they were there.
    pub(crate) fn grow(&mut self, directory: InodeId, entries: i64, subdirectories: i64) {
        let counters = keys::hot_counters(directory);
        self.touched.insert(counters.clone(), directory);
        self.add(counters, packed([1, entries, subdirectories]));
    }

    /// Moves the change attribute of a directory whose own attributes changed.
    pub(crate) fn touch_attributes(&mut self, directory: InodeId) {
        let counters = keys::hot_counters(directory);
        self.touched.insert(counters.clone(), directory);
        self.add(counters, packed([1, 0, 0]));
    }

    /// The directory is gone, and its change attribute with it.
    pub(crate) fn untouch(&mut self, directory: InodeId) {
        self.touched.remove(&keys::hot_counters(directory));
    }

    pub(crate) fn count(&mut self, inodes: i64, directories: i64) {
        self.add(
            Bytes::from_static(keys::COUNTS),
            packed([inodes, directories, 0]),
        );
    }

    /// Objects that came to the delete queue, or left it.
    pub(crate) fn count_dead(&mut self, objects: i64) {
        self.add(Bytes::from_static(keys::COUNTS), packed([0, 0, objects]));
    }

    /// The transaction as a value for the store, and what is needed to read its answer.
    pub(crate) fn finish(self) -> (Transaction, Touched) {
        let read_version = self.reader.version().unwrap_or(0);
        let idempotency = self.reader.core.idempotency_key();
        let overlay = self
            .reader
            .overlay
            .map(parking_lot::Mutex::into_inner)
            .unwrap_or_default();
        let transaction = Transaction {
            idempotency,
            read_version,
            reads: overlay.reads,
            read_ranges: overlay.read_ranges,
            clears: self.clears,
            writes: overlay.writes,
            durability: self.durability,
        };
        (transaction, Touched(self.touched))
    }
}

/// Hot keys of the directories that a transaction changed.
pub(crate) struct Touched(BTreeMap<Bytes, InodeId>);

impl Touched {
    pub(crate) fn changes(&self, committed: &Committed) -> Result<Vec<InodeChange>, Error> {
        let of_touched = committed
            .merged
            .iter()
            .filter_map(|merged| self.0.get(&merged.key).map(|id| (*id, merged)));
        of_touched
            .map(|(id, merged)| {
                let change =
                    |bytes: &Bytes| HotCounters::from_bytes(bytes).map(|counters| counters.change);
                Ok(InodeChange {
                    id,
                    before: merged.before.as_ref().map(change).transpose()?.unwrap_or(0),
                    after: change(&merged.after)?,
                })
            })
            .collect()
    }
}
