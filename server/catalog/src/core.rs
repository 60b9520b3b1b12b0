//! What every reader and transaction of one catalog shares: the store, the hash of names, and the two
//! counters whose values are never given twice. Never a record of the namespace.

use crate::cache::InodeCache;
use crate::error::Error;
use crate::keys::{self, NameHash};
use crate::store::{Durability, IdempotencyKey, Outcome, Store, Transaction, Watcher, Write};
use bytes::Bytes;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Inode numbers made durable at once; a crash loses as many at most.
const NUMBERS_STEP: u64 = 1 << 16;
/// Numbers of one shard.
const NUMBERS_END: u64 = 1 << 48;
/// Change attributes of one boot epoch.
const CHANGES_BITS: u32 = 40;
/// How often an unknown outcome is asked for again.
const UNKNOWN_ATTEMPTS: u32 = 16;

pub(crate) struct Core {
    pub store: Arc<dyn Store>,
    pub names: NameHash,
    pub boot_epoch: u64,
    /// Absent where the engine doesn't tell of changes.
    pub inodes: Option<Arc<InodeCache>>,
    changes: AtomicU64,
    /// The next boot begins after all changes of this epoch.
    durable_epoch: AtomicU64,
    attempts: AtomicU64,
    numbers: AtomicU64,
    numbers_ceiling: AtomicU64,
    raising: tokio::sync::Mutex<()>,
    /// Keeps other processes out as long as anybody here uses the store: declared after it, dropped after it.
    _lock: Option<File>,
}

impl Core {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lock: Option<File>,
        secret: [u8; 16],
        boot_epoch: u64,
        first_number: u64,
    ) -> Self {
        let inodes = Arc::new(InodeCache::new());
        let told = store.watch(Arc::clone(&inodes) as Arc<dyn Watcher>);
        Core {
            store,
            inodes: told.then_some(inodes),
            names: NameHash::new(secret),
            boot_epoch,
            changes: AtomicU64::new(boot_epoch << CHANGES_BITS),
            durable_epoch: AtomicU64::new(boot_epoch),
            attempts: AtomicU64::new(0),
            numbers: AtomicU64::new(first_number),
            numbers_ceiling: AtomicU64::new(first_number),
            raising: tokio::sync::Mutex::new(()),
            _lock: lock,
        }
    }

    /// Larger than any before, crash or not: the epoch of this boot is in the high bits.
    pub(crate) fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Names an attempt to commit; the boot epoch keeps it apart from those before a restart.
    pub(crate) fn idempotency_key(&self) -> IdempotencyKey {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        IdempotencyKey(u128::from(self.boot_epoch) << 64 | u128::from(attempt))
    }

    /// The epoch that must be on disk before changes run into the next one; asked for half an epoch ahead.
    fn epoch_to_raise(&self) -> Option<u64> {
        let ahead = self
            .changes
            .load(Ordering::Relaxed)
            .saturating_add(1 << (CHANGES_BITS - 1));
        let needed = ahead >> CHANGES_BITS;
        (needed > self.durable_epoch.load(Ordering::Relaxed)).then_some(needed)
    }

    /// Commits, asking again while nobody knows.
    pub(crate) async fn commit(&self, mut transaction: Transaction) -> Result<Outcome, Error> {
        let epoch = self.epoch_to_raise();
        if let Some(epoch) = epoch {
            transaction
                .writes
                .insert(Bytes::from_static(keys::BOOT_EPOCH), Write::Max(epoch));
            transaction.durability = Durability::Synced;
        }
        let transaction = Arc::new(transaction);
        let mut outcome = self.store.commit(transaction.clone()).await?;
        for _ in 1..UNKNOWN_ATTEMPTS {
            if !matches!(outcome, Outcome::Unknown(_)) {
                break;
            }
            outcome = self.store.commit(transaction.clone()).await?;
        }
        if let (Some(epoch), Outcome::Committed(_)) = (epoch, &outcome) {
            self.durable_epoch.fetch_max(epoch, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    /// A number for a new inode. Numbers of transactions that fail are lost.
    pub(crate) async fn inode_number(&self) -> Result<u64, Error> {
        loop {
            let ceiling = self.numbers_ceiling.load(Ordering::Acquire);
            let taken = self
                .numbers
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                    (next < ceiling).then_some(next + 1)
                });
            if let Ok(number) = taken {
                return Ok(number);
            }
            let _raising = self.raising.lock().await;
            if self.numbers_ceiling.load(Ordering::Acquire) != ceiling {
                continue;
            }
            let raised = self.raise_ceiling(ceiling, NUMBERS_STEP).await?;
            self.numbers_ceiling.store(raised, Ordering::Release);
        }
    }

    /// The first of `count` numbers in a row, which nobody else is given. Those that were made durable and not given
    /// yet are lost.
    pub(crate) async fn inode_numbers(&self, count: u64) -> Result<u64, Error> {
        let _raising = self.raising.lock().await;
        let first = self.numbers_ceiling.load(Ordering::Acquire);
        let raised = self.raise_ceiling(first, count).await?;
        // In this order: whoever takes a number in between finds none below the old ceiling.
        self.numbers.store(raised, Ordering::Relaxed);
        self.numbers_ceiling.store(raised, Ordering::Release);
        Ok(first)
    }

    /// Makes `more` numbers durable; the caller holds `raising`.
    async fn raise_ceiling(&self, ceiling: u64, more: u64) -> Result<u64, Error> {
        let raised = ceiling.saturating_add(more);
        if raised > NUMBERS_END {
            return Err(Error::Store("the shard has no inode numbers left".into()));
        }
        loop {
            let mut transaction = Transaction::blind(self.idempotency_key());
            transaction
                .writes
                .insert(Bytes::from_static(keys::INODE_CEILING), Write::Max(raised));
            match self.commit(transaction).await? {
                Outcome::Committed(_) => return Ok(raised),
                // Nothing was read: an injected conflict, to be tried again.
                Outcome::Conflict => {}
                Outcome::Unknown(why) => return Err(Error::Unknown(why)),
            }
        }
    }
}
