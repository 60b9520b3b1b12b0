//! The embedded engine: fjall, behind one committer. A snapshot is handed out only of what is in the journal, and on the
//! disk as far as it has to be.
//! Never a rule about conflicts or merging: those are the resolver's.

use super::batch::{Batch, Operation};
use super::committer::{Committer, Counters, Outcomes, Waiting};
use super::failpoint::{Armed, Failpoint, Step};
use super::resolver::{ANSWERS, Base, Resolver};
use super::{
    Direction, Durability, KeyRange, Outcome, PAGE_MAX_BYTES, Page, Snapshot, Store, StoreError,
    StoreStats, Transaction, Version, Watcher,
};
use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Transactions that may wait for the committer; a caller beyond waits to get in.
const QUEUE_TRANSACTIONS: usize = 8192;

/// A start reads all journals again. They are kept until the tables of both keyspaces are written, of which one fills
/// up slowly; beyond this it is written as it is.
const JOURNALS_MAX_BYTES: u64 = 128 << 20;

#[derive(Debug, Clone)]
pub struct FjallOptions {
    /// Memory for blocks read from disk.
    pub cache_bytes: u64,
    pub failpoint: Option<Failpoint>,
}

impl Default for FjallOptions {
    fn default() -> Self {
        FjallOptions {
            cache_bytes: 256 << 20,
            failpoint: None,
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // It is what `map_err` gives.
fn failed(error: fjall::Error) -> StoreError {
    StoreError::Failed(format!("fjall: {error}"))
}

/// What is committed, at one version.
struct Committed {
    rows: Keyspace,
    snapshot: fjall::Snapshot,
    version: Version,
}

fn row(guard: Guard) -> Result<(Bytes, Bytes), StoreError> {
    let (key, value) = guard.into_inner().map_err(failed)?;
    Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
}

impl Committed {
    fn get_now(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.snapshot.get(&self.rows, key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }
}

#[async_trait]
impl Snapshot for Committed {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.get_now(key)
    }

    async fn multi_get(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        keys.iter().map(|key| self.get_now(key)).collect()
    }

    async fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = Page {
            rows: Vec::new(),
            rest: None,
        };
        if range.is_empty() {
            return Ok(page);
        }
        let mut rows = self
            .snapshot
            .range(&self.rows, range.start.as_ref()..range.end.as_ref());
        let mut bytes = 0;
        loop {
            let next = match direction {
                Direction::Forward => rows.next(),
                Direction::Backward => rows.next_back(),
            };
            let Some(guard) = next else { return Ok(page) };
            let (key, value) = row(guard)?;
            if page.rows.len() >= limit || bytes >= PAGE_MAX_BYTES {
                page.rest = Some(match direction {
                    Direction::Forward => KeyRange {
                        start: key,
                        end: range.end.clone(),
                    },
                    Direction::Backward => KeyRange {
                        start: range.start.clone(),
                        end: crate::keys::successor(&key),
                    },
                });
                return Ok(page);
            }
            bytes += key.len() + value.len();
            page.rows.push((key, value));
        }
    }
}

impl Base for Committed {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.get_now(key)
    }

    fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, StoreError> {
        let rows = self
            .snapshot
            .range(&self.rows, range.start.as_ref()..range.end.as_ref());
        rows.map(|guard| {
            guard
                .key()
                .map(|key| Bytes::copy_from_slice(&key))
                .map_err(failed)
        })
        .collect()
    }
}

/// The side of whoever commits: one at a time.
pub(crate) struct Disk {
    database: Database,
    rows: Keyspace,
    /// Answers of recent batches, keyed by version.
    batches: Keyspace,
    resolver: Resolver,
    /// Last version of each kept batch, and its transactions.
    kept: VecDeque<(Version, usize)>,
    kept_answers: usize,
    published: Arc<RwLock<Arc<Committed>>>,
    watcher: Arc<OnceLock<Arc<dyn Watcher>>>,
    /// Something is in the journal that no sync has made durable.
    unsynced: bool,
    /// After a write failed nothing is known of the journal's end: only a restart reads it again.
    broken: Option<String>,
    /// Still so when the next comes: the one before died on its way.
    under_way: bool,
}

impl Disk {
    /// Decides the transactions and makes them durable as far as is asked.
    pub(crate) fn commit<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a Transaction>,
        durability: Durability,
        armed: Option<&mut Armed>,
    ) -> Outcomes {
        if self.under_way {
            let died = "an earlier commit died on its way; restart the server";
            return Err(Ok(Outcome::Unknown(died.to_owned())));
        }
        self.under_way = true;
        let outcomes = self.commit_next(waiting, durability, armed);
        self.under_way = false;
        outcomes
    }

    fn commit_next<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a Transaction>,
        durability: Durability,
        armed: Option<&mut Armed>,
    ) -> Outcomes {
        if let Some(broken) = &self.broken {
            // An earlier attempt of the same transaction may be in the journal.
            return Err(Ok(Outcome::Unknown(broken.clone())));
        }
        let base = self.published.read().clone();
        let resolved = match self.resolver.resolve(waiting, base.as_ref()) {
            Ok(resolved) => resolved,
            Err(error) => {
                self.broken = Some(format!(
                    "an earlier read failed: {error}; restart the server"
                ));
                return Err(Err(error));
            }
        };
        drop(base);
        if resolved.batch.answers.is_empty() {
            return Ok(resolved.outcomes);
        }
        if let Err(error) = self.write(&resolved.batch, durability, armed) {
            let broken = format!("writing the journal failed: {error}; restart the server");
            tracing::error!("the catalog can't be written any more: {broken}");
            self.broken = Some(broken.clone());
            return Err(Ok(Outcome::Unknown(broken)));
        }
        self.tell_watcher(&resolved.batch);
        *self.published.write() = self.at(resolved.batch.version);
        Ok(resolved.outcomes)
    }

    fn tell_watcher(&self, batch: &Batch) {
        let Some(watcher) = self.watcher.get() else {
            return;
        };
        for operation in &batch.operations {
            let (Operation::Set(key, _) | Operation::Delete(key)) = operation;
            watcher.changes(key, batch.version);
        }
    }

    /// Lets go of tables that only the last commit's snapshot needs: merging goes through several sets of them.
    fn look_anew(&self) {
        let version = self.published.read().version;
        *self.published.write() = self.at(version);
    }

    fn at(&self, version: Version) -> Arc<Committed> {
        Arc::new(Committed {
            rows: self.rows.clone(),
            snapshot: self.database.snapshot(),
            version,
        })
    }

    fn write(
        &mut self,
        batch: &Batch,
        durability: Durability,
        mut armed: Option<&mut Armed>,
    ) -> fjall::Result<()> {
        if let Some(armed) = &mut armed {
            armed.pass(Step::BeforeWrite);
        }
        let synced = durability == Durability::Synced;
        let split = armed.filter(|armed| synced && armed.wants(Step::BeforeSync));
        let mode = if synced && split.is_none() {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        let mut writes = self.database.batch().durability(Some(mode));
        for operation in &batch.operations {
            match operation {
                Operation::Set(key, value) => {
                    writes.insert(&self.rows, key.as_ref(), value.as_ref());
                }
                Operation::Delete(key) => writes.remove(&self.rows, key.as_ref()),
            }
        }
        let answers = batch.answers_only().to_bytes();
        writes.insert(&self.batches, batch.version.to_be_bytes(), answers.as_ref());
        self.kept.push_back((batch.version, batch.answers.len()));
        self.kept_answers += batch.answers.len();
        while let Some(&(version, count)) = self.kept.front() {
            if self.kept_answers - count < ANSWERS {
                break;
            }
            self.kept.pop_front();
            self.kept_answers -= count;
            writes.remove(&self.batches, version.to_be_bytes());
        }
        writes.commit()?;
        if let Some(armed) = split {
            armed.pass(Step::BeforeSync);
            self.database.persist(PersistMode::SyncData)?;
        }
        // A sync is of the whole journal.
        self.unsynced = !synced;
        Ok(())
    }

    /// Makes durable what needed no sync of its own: a stop loses nothing.
    pub(crate) fn close(&mut self) {
        if self.unsynced
            && self.broken.is_none()
            && let Err(error) = self.database.persist(PersistMode::SyncAll)
        {
            tracing::error!(%error, "the catalog couldn't be synced at the stop");
        }
    }
}

/// A catalog's store in a folder of this machine.
pub struct FjallStore {
    queue: Option<mpsc::Sender<Waiting>>,
    published: Arc<RwLock<Arc<Committed>>>,
    watcher: Arc<OnceLock<Arc<dyn Watcher>>>,
    counters: Arc<Counters>,
    database: Database,
    disk: Arc<Mutex<Disk>>,
    /// What needs no sync is committed by its caller where nobody else commits: handing it to the committer and
    /// being woken takes longer. Not where each step is to pass the failpoint.
    at_hand: bool,
    committer: Mutex<Option<JoinHandle<()>>>,
}

fn io_failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}

fn is_empty(path: &Path) -> Result<bool, StoreError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_failed(path, &error)),
    }
}

/// Makes an empty store elsewhere, and then puts it in its place whole: fjall refuses for ever what it was killed in
/// the making of.
fn make(path: &Path) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_failed(&new, &error)),
        _ => {}
    }
    let (database, rows, batches) = keyspaces(&new, 0)?;
    database.persist(PersistMode::SyncAll).map_err(failed)?;
    drop((rows, batches, database));
    std::fs::rename(&new, path).map_err(|error| io_failed(path, &error))?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| io_failed(parent, &error))
}

/// The database with what is committed, and with the last transactions' answers.
fn keyspaces(path: &Path, cache_bytes: u64) -> Result<(Database, Keyspace, Keyspace), StoreError> {
    let database = Database::builder(path)
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNALS_MAX_BYTES)
        .open()
        .map_err(failed)?;
    let keyspace = |name| {
        database
            .keyspace(name, KeyspaceCreateOptions::default)
            .map_err(failed)
    };
    let (rows, batches) = (keyspace("rows")?, keyspace("batches")?);
    Ok((database, rows, batches))
}

impl FjallStore {
    /// Opens or makes the store. The caller has made sure that no other process has it open.
    pub fn open(path: &Path, options: &FjallOptions) -> Result<FjallStore, StoreError> {
        if is_empty(path)? {
            make(path)?;
        }
        let (database, rows, batches) = keyspaces(path, options.cache_bytes)?;
        let mut recent = Vec::new();
        for guard in batches.iter() {
            let (_, value) = row(guard)?;
            recent.push(
                Batch::from_bytes(&value).map_err(|error| StoreError::Failed(error.to_string()))?,
            );
        }
        let version = recent.last().map_or(0, |batch| batch.version);
        let mut resolver = Resolver::at(version);
        let mut kept = VecDeque::new();
        for batch in recent {
            kept.push_back((batch.version, batch.answers.len()));
            for (key, committed) in batch.answers {
                resolver.remember(key, committed);
            }
        }
        // What a crash left in the journal unsynced is visible now: it must not be lost by the next.
        database.persist(PersistMode::SyncAll).map_err(failed)?;
        let published = Arc::new(RwLock::new(Arc::new(Committed {
            rows: rows.clone(),
            snapshot: database.snapshot(),
            version: resolver.version(),
        })));
        let watcher = Arc::default();
        let disk = Arc::new(Mutex::new(Disk {
            database: database.clone(),
            rows,
            batches,
            resolver,
            kept_answers: kept.iter().map(|(_, count)| count).sum(),
            kept,
            published: published.clone(),
            watcher: Arc::clone(&watcher),
            unsynced: false,
            broken: None,
            under_way: false,
        }));
        let (queue, receiver) = mpsc::channel(QUEUE_TRANSACTIONS);
        let counters = Arc::new(Counters::default());
        let committer = Committer {
            disk: Arc::clone(&disk),
            queue: receiver,
            counters: counters.clone(),
            failpoint: options.failpoint,
        };
        let thread = std::thread::Builder::new()
            .name("catalog-commit".into())
            .spawn(move || committer.run())
            .map_err(|error| StoreError::Failed(format!("no thread for the committer: {error}")))?;
        Ok(FjallStore {
            queue: Some(queue),
            published,
            watcher,
            counters,
            database,
            disk,
            at_hand: options.failpoint.is_none(),
            committer: Mutex::new(Some(thread)),
        })
    }
}

impl FjallStore {
    /// None where the transaction has to go to the committer.
    fn commit_at_hand(&self, transaction: &Transaction) -> Option<Result<Outcome, StoreError>> {
        if transaction.durability == Durability::Synced || !self.at_hand {
            return None;
        }
        let mut disk = self.disk.try_lock()?;
        let outcomes = disk.commit(std::iter::once(transaction), Durability::Ordered, None);
        drop(disk);
        self.counters.count(&outcomes, Durability::Ordered);
        match outcomes {
            Ok(outcomes) => outcomes.into_iter().next().map(Ok),
            Err(failure) => Some(failure),
        }
    }
}

#[async_trait]
impl Store for FjallStore {
    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.watcher.set(watcher).is_ok()
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        Ok(self.published.read().clone())
    }

    async fn commit(&self, transaction: Arc<Transaction>) -> Result<Outcome, StoreError> {
        transaction.check_limits()?;
        if let Some(outcome) = self.commit_at_hand(&transaction) {
            return outcome;
        }
        let (answer, answered) = oneshot::channel();
        let closed = || StoreError::Failed("the store is closed".into());
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue
            .send(Waiting {
                transaction,
                answer,
            })
            .await
            .map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| {
            Ok(Outcome::Unknown(
                "the committer died; restart the server".into(),
            ))
        })
    }

    fn ingest(
        &self,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>>,
    ) -> Result<(), StoreError> {
        let keyspace = self.published.read().rows.clone();
        let mut into = keyspace.start_ingestion().map_err(failed)?;
        for row in rows {
            let (key, value) = row?;
            into.write(key.as_ref(), value.as_ref()).map_err(failed)?;
        }
        into.finish().map_err(failed)?;
        self.disk.lock().look_anew();
        // What comes in is in tables that are made for soon being merged, with one filter each, too large to be read
        // for a key; those of the last level have theirs in parts.
        keyspace.major_compact().map_err(failed)
    }

    fn stats(&self) -> StoreStats {
        let counters = &self.counters;
        StoreStats {
            commits: counters.commits.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            batch_sizes: std::array::from_fn(|at| counters.batch_sizes[at].load(Ordering::Relaxed)),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
            disk_bytes: self.database.disk_space().unwrap_or(0),
        }
    }
}

impl Drop for FjallStore {
    /// Waits for what is queued: whoever opens the folder next finds it closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.committer.lock().take() {
            // A committer that panicked has said so; its waiters were told Unknown.
            let _ = thread.join();
        }
    }
}
