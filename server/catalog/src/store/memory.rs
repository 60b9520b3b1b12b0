//! The engine of the tests: in memory, under the rules of a distributed one. Snapshots grow too old
//! after 5 s of its own clock, and by a seed transactions conflict or end unknown. Never on disk.

use super::batch::Operation;
use super::resolver::{Base, Resolver};
use super::{
    Direction, Durability, KeyRange, Outcome, PAGE_MAX_BYTES, Page, Snapshot, Store, StoreError,
    StoreStats, Transaction, Version, Watcher, batch_bucket,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long a snapshot and its transaction may live.
const TRANSACTION_AGE: Duration = Duration::from_secs(5);

/// What goes wrong by chance; the same seed gives the same faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub seed: u64,
    /// Of 1000 commits, so many conflict though nothing changed.
    pub conflicts_per_mille: u32,
    /// So many end unknown: half of them applied, half not.
    pub unknowns_per_mille: u32,
    /// Every read and commit lets other tasks run first.
    pub switch_tasks: bool,
}

#[derive(Default)]
struct Rows {
    /// Each key's values, oldest first; `None` is a deletion.
    values: BTreeMap<Bytes, Vec<(Version, Option<Bytes>)>>,
    resolver: Resolver,
    /// Of the last commit that had to be on the disk.
    synced: Version,
    faults: Faults,
    seed: u64,
    clock: Duration,
    crashed: bool,
    stats: StoreStats,
    watchers: Vec<Arc<dyn Watcher>>,
}

impl Rows {
    fn at(values: &[(Version, Option<Bytes>)], version: Version) -> Option<Bytes> {
        values
            .iter()
            .rev()
            .find(|(written, _)| *written <= version)
            .and_then(|(_, value)| value.clone())
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.random() % 1000 < u64::from(per_mille)
    }
}

/// The newest values, for the resolver.
struct Newest<'a>(&'a BTreeMap<Bytes, Vec<(Version, Option<Bytes>)>>);

impl Base for Newest<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .0
            .get(key)
            .and_then(|values| Rows::at(values, Version::MAX)))
    }

    fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, StoreError> {
        let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
        let rows = self.0.range::<Bytes, _>(bounds);
        Ok(rows
            .filter(|(_, values)| Rows::at(values, Version::MAX).is_some())
            .map(|(key, _)| key.clone())
            .collect())
    }
}

/// A store without a disk.
#[derive(Clone, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        MemoryStore::default()
    }

    pub fn with_faults(faults: Faults) -> Self {
        let store = MemoryStore::default();
        store.set_faults(faults);
        store
    }

    pub fn set_faults(&self, faults: Faults) {
        let mut rows = self.rows.lock();
        rows.faults = faults;
        rows.seed = faults.seed;
    }

    /// Moves the clock by which snapshots age.
    pub fn advance(&self, time: Duration) {
        self.rows.lock().clock += time;
    }

    /// The store as another process would find it after this one died: what was committed, without the last of what
    /// needed no sync, however much that is. From now on this one neither reads nor commits.
    #[must_use]
    pub fn crash(&self) -> MemoryStore {
        let mut rows = self.rows.lock();
        rows.crashed = true;
        let lost = rows.resolver.version() - rows.synced;
        let survives = rows.synced + rows.random() % (lost + 1);
        let mut values = rows.values.clone();
        for written in values.values_mut() {
            written.retain(|(version, _)| *version <= survives);
        }
        let survivor = Rows {
            values,
            resolver: Resolver::at(survives),
            synced: survives,
            faults: rows.faults,
            seed: rows.seed,
            clock: rows.clock,
            ..Rows::default()
        };
        MemoryStore {
            rows: Arc::new(Mutex::new(survivor)),
        }
    }

    /// Lets other tasks run, when the faults say so.
    async fn switch(&self) {
        if !self.rows.lock().faults.switch_tasks {
            return;
        }
        let mut waited = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

fn dead() -> StoreError {
    StoreError::Failed("the store has crashed".into())
}

struct MemorySnapshot {
    store: MemoryStore,
    version: Version,
    taken: Duration,
}

impl MemorySnapshot {
    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StoreError> {
        let rows = self.store.rows.lock();
        if rows.crashed {
            Err(dead())
        } else if rows.clock > self.taken + TRANSACTION_AGE {
            Err(StoreError::TooOld)
        } else {
            Ok(read(&rows))
        }
    }
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.switch().await;
        self.read(|rows| {
            rows.values
                .get(key)
                .and_then(|values| Rows::at(values, self.version))
        })
    }

    async fn multi_get(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.switch().await;
        self.read(|rows| {
            keys.iter()
                .map(|key| {
                    rows.values
                        .get(key)
                        .and_then(|values| Rows::at(values, self.version))
                })
                .collect()
        })
    }

    async fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.switch().await;
        if range.is_empty() {
            return Ok(Page {
                rows: Vec::new(),
                rest: None,
            });
        }
        self.read(|all| {
            let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
            let live = all
                .values
                .range::<Bytes, _>(bounds)
                .filter_map(|(key, values)| {
                    Rows::at(values, self.version).map(|value| (key.clone(), value))
                });
            match direction {
                Direction::Forward => page(live, range, direction, limit),
                Direction::Backward => page(live.rev(), range, direction, limit),
            }
        })
    }
}

fn page(
    live: impl Iterator<Item = (Bytes, Bytes)>,
    range: &KeyRange,
    direction: Direction,
    limit: usize,
) -> Page {
    let mut rows = Vec::new();
    let mut bytes = 0;
    for (key, value) in live {
        if rows.len() >= limit || bytes >= PAGE_MAX_BYTES {
            let rest = match direction {
                Direction::Forward => KeyRange {
                    start: key,
                    end: range.end.clone(),
                },
                Direction::Backward => KeyRange {
                    start: range.start.clone(),
                    end: crate::keys::successor(&key),
                },
            };
            return Page {
                rows,
                rest: Some(rest),
            };
        }
        bytes += key.len() + value.len();
        rows.push((key, value));
    }
    Page { rows, rest: None }
}

#[async_trait]
impl Store for MemoryStore {
    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.rows.lock().watchers.push(watcher);
        true
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.switch().await;
        let rows = self.rows.lock();
        if rows.crashed {
            return Err(dead());
        }
        let (version, taken) = (rows.resolver.version(), rows.clock);
        drop(rows);
        Ok(Arc::new(MemorySnapshot {
            store: self.clone(),
            version,
            taken,
        }))
    }

    async fn commit(&self, transaction: Arc<Transaction>) -> Result<Outcome, StoreError> {
        transaction.check_limits()?;
        self.switch().await;
        let mut guard = self.rows.lock();
        let rows = &mut *guard;
        if rows.crashed {
            return Ok(Outcome::Unknown("the store has crashed".into()));
        }
        let (conflicts, unknowns) = (
            rows.faults.conflicts_per_mille,
            rows.faults.unknowns_per_mille,
        );
        // A conflict means that nothing happened, of an earlier attempt too.
        let is_first = !rows.resolver.has_answered(transaction.idempotency);
        if is_first && rows.chance(conflicts) {
            rows.stats.conflicts += 1;
            return Ok(Outcome::Conflict);
        }
        let unknown = rows.chance(unknowns);
        if unknown && rows.chance(500) {
            return Ok(Outcome::Unknown("injected, not applied".into()));
        }
        let resolved = rows
            .resolver
            .resolve(std::iter::once(transaction.as_ref()), &Newest(&rows.values))?;
        for operation in resolved.batch.operations {
            let (key, value) = match operation {
                Operation::Set(key, value) => (key, Some(value)),
                Operation::Delete(key) => (key, None),
            };
            for watcher in &rows.watchers {
                watcher.changes(&key, resolved.batch.version);
            }
            rows.values
                .entry(key)
                .or_default()
                .push((resolved.batch.version, value));
        }
        let outcome = resolved
            .outcomes
            .into_iter()
            .next()
            .unwrap_or(Outcome::Conflict);
        match &outcome {
            Outcome::Committed(committed) => {
                if transaction.durability == Durability::Synced {
                    rows.synced = rows.synced.max(committed.version);
                    rows.stats.syncs += 1;
                }
                rows.stats.commits += 1;
                rows.stats.batches += 1;
                rows.stats.batch_sizes[batch_bucket(1)] += 1;
            }
            _ => rows.stats.conflicts += 1,
        }
        Ok(if unknown {
            Outcome::Unknown("injected, applied".into())
        } else {
            outcome
        })
    }

    fn ingest(
        &self,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>>,
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let mut state = self.rows.lock();
        if state.crashed {
            return Err(dead());
        }
        let version = state.synced;
        for (key, value) in rows {
            state.values.insert(key, vec![(version, Some(value))]);
        }
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.rows.lock().stats
    }
}
