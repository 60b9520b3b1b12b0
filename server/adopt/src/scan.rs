//! The order in which directories are scanned: those that somebody waits for, then the youngest. What is
//! known of a directory is in the catalog; here is only which of them are under way.
//!
//! Never here: what is in a directory.

use crate::folder::{self, Stuck};
use backend::tree::{Tree, TreeErrorKind};
use bytes::Bytes;
use catalog::{Catalog, FileKind, InodeId, NewInode, ScanTotals, Timestamp, Unscanned, transact};
use layout::DataServerId;
use objects::Objects;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Directories under way.
const AT_ONCE: usize = 32;
/// The same, where somebody waits for the further ones.
const AT_ONCE_URGENT: usize = 64;
/// Directories read from the catalog at once.
const BATCH: usize = 256;
/// Directories that somebody waits for; further ones come in their turn.
const URGENT_MAX: usize = 4096;
/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What a scan works with.
pub struct Parts {
    /// Of the backend, for people.
    pub name: String,
    pub catalog: Arc<Catalog>,
    pub objects: Arc<Objects>,
    pub tree: Arc<dyn Tree>,
    /// The filehandle of what is scanned.
    pub root: Bytes,
    /// That is the root of an export, where this server keeps things of its own.
    pub holds_ours: bool,
    /// The filer as a data server.
    pub server: DataServerId,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanState {
    Scanning,
    Paused,
    Done,
    /// It goes on when that has passed.
    Held(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub state: ScanState,
    pub totals: ScanTotals,
}

/// The scan of one filer. What it has done is durable: dropped at any moment, the next one goes on.
pub struct Scan {
    pub(crate) parts: Parts,
    totals: Mutex<ScanTotals>,
    paused: AtomicBool,
    done: AtomicBool,
    trouble: Mutex<Option<String>>,
    urgent: Mutex<VecDeque<InodeId>>,
    wake: Notify,
    /// Told whenever a directory is scanned.
    scanned: Notify,
}

impl Scan {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            totals: Mutex::default(),
            paused: AtomicBool::new(false),
            done: AtomicBool::new(false),
            trouble: Mutex::default(),
            urgent: Mutex::default(),
            wake: Notify::new(),
            scanned: Notify::new(),
        })
    }

    /// Directories that nobody waits for wait.
    pub fn pause(&self) {
        self.paused.store(true, SeqCst);
    }

    pub fn resume(&self) {
        self.paused.store(false, SeqCst);
        self.wake.notify_one();
    }

    pub fn progress(&self) -> Progress {
        let state = if self.done.load(SeqCst) {
            ScanState::Done
        } else if self.paused.load(SeqCst) {
            ScanState::Paused
        } else {
            match self.trouble.lock().clone() {
                Some(why) => ScanState::Held(why),
                None => ScanState::Scanning,
            }
        };
        Progress {
            state,
            totals: *self.totals.lock(),
        }
    }

    pub(crate) async fn count(&self) -> Result<ScanTotals, catalog::Error> {
        let reader = self.parts.catalog.read();
        let totals = reader.scan_totals(self.parts.server).await?;
        *self.totals.lock() = totals;
        Ok(totals)
    }

    /// Makes `name` in `above`, which is empty or isn't there yet, the place of the filer's tree; `mark` is remembered
    /// with it.
    pub async fn begin(
        &self,
        (above, name): (InodeId, &str),
        mark: (&[u8], &Bytes),
    ) -> Result<(), BeginError> {
        let parts = &self.parts;
        let root = parts.tree.root().await?;
        let root = parts.node(Bytes::new(), root, None);
        transact!(parts.catalog, (parts.clock)(), |tx| -> Result<
            (),
            catalog::Error,
        > {
            let there = tx.lookup(above, name.as_bytes()).await?;
            // Nobody sees it before it is what it will be: to its clients a folder is of one file system for ever.
            let place = if let Some(entry) = there {
                entry.id
            } else {
                let new = NewInode::plain(FileKind::Directory, 0o755, 0, 0);
                tx.create(above, name.as_bytes(), new).await?.id
            };
            tx.adopt_root(parts.server, place, &root).await?;
            tx.meta_put(mark.0, mark.1.clone());
            Ok(())
        })?;
        Ok(())
    }

    /// Sees to it that a directory is scanned soon, and ends when it is. One of another filer, or none
    /// that is to be scanned: ends at once.
    pub async fn wanted(&self, directory: InodeId) -> Result<(), catalog::Error> {
        let (catalog, server) = (&self.parts.catalog, self.parts.server);
        loop {
            let mut scanned = std::pin::pin!(self.scanned.notified());
            scanned.as_mut().enable();
            let reader = catalog.read();
            if reader.unscanned_one(server, directory).await?.is_none() {
                return Ok(());
            }
            {
                let mut urgent = self.urgent.lock();
                if urgent.len() < URGENT_MAX && !urgent.contains(&directory) {
                    urgent.push_back(directory);
                }
            }
            self.wake.notify_one();
            scanned.await;
        }
    }

    /// Scans until nothing is left.
    pub async fn run(self: Arc<Self>) {
        let mut under_way = JoinSet::new();
        let mut taken: HashSet<InodeId> = HashSet::new();
        let mut background: VecDeque<Unscanned> = VecDeque::new();
        loop {
            let filled = self.fill(&mut under_way, &mut taken, &mut background).await;
            let ended = match filled {
                Ok(true) if under_way.is_empty() => self.end().await.map(|()| true),
                filled => filled.map(|_| false),
            };
            match ended {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    self.held(&error.to_string()).await;
                    continue;
                }
            }
            tokio::select! {
                Some(ended) = under_way.join_next() => {
                    if let Ok(directory) = ended {
                        taken.remove(&directory);
                    }
                    self.scanned.notify_waiters();
                }
                () = self.wake.notified() => {}
            }
        }
    }

    /// Begins with as many directories as may be under way. Says whether nothing is left to begin with.
    async fn fill(
        self: &Arc<Self>,
        under_way: &mut JoinSet<InodeId>,
        taken: &mut HashSet<InodeId>,
        background: &mut VecDeque<Unscanned>,
    ) -> Result<bool, catalog::Error> {
        let (catalog, server) = (&self.parts.catalog, self.parts.server);
        while under_way.len() < AT_ONCE_URGENT {
            let Some(directory) = self.urgent.lock().pop_front() else {
                break;
            };
            if taken.contains(&directory) {
                continue;
            }
            if let Some(at) = catalog.read().unscanned_one(server, directory).await? {
                self.begin_with(at, under_way, taken);
            }
        }
        if self.paused.load(SeqCst) {
            return Ok(false);
        }
        while under_way.len() < AT_ONCE {
            let Some(at) = background.pop_front() else {
                // Those under way are among the youngest.
                let limit = BATCH + taken.len();
                let left = catalog.read().unscanned(server, None, limit).await?;
                let left = left.into_iter().filter(|at| !taken.contains(&at.directory));
                background.extend(left);
                if background.is_empty() {
                    return Ok(true);
                }
                continue;
            };
            // It may have been scanned since for somebody who waited.
            let now = catalog.read().unscanned_one(server, at.directory).await?;
            if let Some(at) = now.filter(|at| !taken.contains(&at.directory)) {
                self.begin_with(at, under_way, taken);
            }
        }
        Ok(false)
    }

    fn begin_with(
        self: &Arc<Self>,
        at: Unscanned,
        under_way: &mut JoinSet<InodeId>,
        taken: &mut HashSet<InodeId>,
    ) {
        taken.insert(at.directory);
        let scan = Arc::clone(self);
        under_way.spawn(async move {
            let directory = at.directory;
            match folder::take_in(&scan, at).await {
                Ok(()) => *scan.trouble.lock() = None,
                Err(error) => {
                    if let Stuck::Filer(error) = &error
                        && let TreeErrorKind::Retry { .. } = error.kind
                    {
                        tracing::debug!("filer {}: the scan waits: {error}", scan.parts.name);
                    }
                    scan.held(&error.to_string()).await;
                }
            }
            directory
        });
    }

    /// A while after a failure, so that nothing is asked in a hurry what will not be answered.
    async fn held(&self, why: &str) {
        let news = {
            let mut trouble = self.trouble.lock();
            let news = trouble.as_deref() != Some(why);
            *trouble = Some(why.to_owned());
            news
        };
        if news {
            tracing::warn!(
                "the scan of backend {} can't go on yet: {why}",
                self.parts.name
            );
        }
        tokio::time::sleep(AGAIN).await;
    }

    async fn end(&self) -> Result<(), catalog::Error> {
        let parts = &self.parts;
        parts
            .catalog
            .end_scan((parts.clock)(), parts.server)
            .await?;
        let totals = self.count().await?;
        self.done.store(true, SeqCst);
        tracing::info!(
            "backend {} is scanned: {} directories, {} files, {} bytes",
            parts.name,
            totals.directories,
            totals.files,
            totals.bytes
        );
        Ok(())
    }
}

/// Why a folder can't become the place of a filer's tree.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Filer(#[from] backend::tree::TreeError),
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}
