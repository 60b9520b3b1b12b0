//! The store: versions by id, chunks by version, one fetch for all who wait for a chunk.
//!
//! Fetches run on a runtime of tokio; whoever waits for one may be on any executor.
//!
//! Never here: which chunks go (`shelf`), and what a chunk's file looks like (`disk`).

mod arriving;
mod flight;
mod flights;
mod recent;

use crate::disk::{self, Folder, Key};
use crate::ledger::{Ledger, ObjectId, Offer};
use crate::shelf::Shelf;
use crate::streams::{Ahead, Streams};
use arriving::Progress;
use backend::upstream::Upstream;
use buffers::Pool;
use bytes::Bytes;
use parking_lot::Mutex;
use recent::Recent;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Files of chunks that are kept open.
const OPEN_FILES: usize = 1024;
/// That a chunk's buffers may take besides its bytes.
const ODDS_BYTES: u64 = 512 << 10;
/// In memory, of chunks that came before and that readers are still being given.
const GIVEN_BYTES: u64 = 64 << 20;
/// Of all that may be held, one stream has this part at most ahead of it: less than newcomers have.
const AHEAD_SHARE: u64 = 16;

#[derive(Debug, Clone)]
pub struct Options {
    /// One store at a time has it.
    pub folder: PathBuf,
    /// What the chunks' files may take.
    pub bytes: u64,
    pub chunk_bytes: u32,
    /// Chunks fetched ahead of one stream, as a rule.
    pub ahead: u32,
    /// Fetched ahead where a reader is faster than the keeper: of one stream, and of all together at a time.
    pub ahead_bytes: u64,
    /// Of chunks that came a moment ago and stay in memory.
    pub recent_bytes: u64,
    /// Fetches that readers wait for, at a time.
    pub fetches: usize,
    /// Whoever waits longer is told to come again; the fetch goes on.
    pub patience: Duration,
    /// Of a fetch.
    pub deadline: Duration,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>, bytes: u64) -> Self {
        Self {
            folder: folder.into(),
            bytes,
            chunk_bytes: 4 << 20,
            ahead: 8,
            ahead_bytes: 128 << 20,
            recent_bytes: 128 << 20,
            fetches: 16,
            patience: Duration::from_secs(4),
            deadline: Duration::from_secs(30),
        }
    }

    fn ahead(&self) -> Ahead {
        let usual = u64::from(self.ahead);
        // What is fetched ahead must not go again before it is read.
        let bytes = self.ahead_bytes.min(self.bytes / AHEAD_SHARE);
        let most = bytes / u64::from(self.chunk_bytes);
        Ahead {
            usual,
            most: if usual == 0 { 0 } else { most.max(usual) },
        }
    }

    fn fetches_ahead(&self) -> usize {
        self.fetches.max(self.ahead().most as usize)
    }

    /// For every fetch that there may be, for what stays a moment, and for what readers are just being given.
    fn memory_bytes(&self) -> u64 {
        let fetches = (self.fetches + self.fetches_ahead()) as u64;
        fetches * (u64::from(self.chunk_bytes) + ODDS_BYTES) + self.recent_bytes + GIVEN_BYTES
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the cache's folder {folder} can't be used: {source}", folder = folder.display())]
pub struct OpenError {
    pub folder: PathBuf,
    pub source: io::Error,
}

/// Why there are no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The keeper is away or slow.
    Later,
    /// This version is no longer served.
    Gone,
    /// Broken, at the keeper or here.
    Broken,
}

/// A range of a chunk.
#[derive(Debug, Clone)]
pub enum Part {
    /// The chunk's file: its bytes begin at 0, and something that isn't of it lies behind them.
    OnDisk(Arc<File>),
    /// The range alone, one piece behind another.
    InMemory(Vec<Bytes>),
}

/// What was asked of one keeper's versions, since the start.
#[derive(Debug, Default)]
pub struct Demand {
    /// Chunks asked for that were here, and that were not.
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub fetched_bytes: AtomicU64,
    /// Given to readers: whoever takes a chunk's bytes counts them.
    pub read_bytes: AtomicU64,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub failed_fetches: AtomicU64,
    pub evictions: AtomicU64,
    /// Files that didn't fit their checksum.
    pub damaged: AtomicU64,
    /// Chunks that couldn't be written here.
    pub unwritten: AtomicU64,
}

/// A version that is served.
#[derive(Debug)]
pub struct Held {
    pub id: ObjectId,
    pub offer: Offer,
    pub demand: Arc<Demand>,
    chunk_bytes: u64,
    gone: AtomicBool,
    streams: Mutex<Streams>,
}

impl Held {
    /// Bytes that were read before this says so may not be given to anybody.
    pub fn is_gone(&self) -> bool {
        self.gone.load(std::sync::atomic::Ordering::Acquire)
    }

    fn end(&self) {
        self.gone.store(true, std::sync::atomic::Ordering::Release);
    }

    fn chunks(&self) -> u64 {
        self.offer.version.size.div_ceil(self.chunk_bytes)
    }

    fn key(&self, index: u64) -> Key {
        Key {
            object: self.id,
            index,
        }
    }

    /// What chunk `index` holds of the version.
    pub fn chunk_length(&self, index: u64) -> u64 {
        let start = index.saturating_mul(self.chunk_bytes);
        let left = self.offer.version.size.saturating_sub(start);
        left.min(self.chunk_bytes)
    }
}

struct Index {
    shelf: Shelf<Key>,
    /// Left by an earlier start: to be checked before the first use.
    unchecked: HashSet<Key>,
    /// Those on their way, and those that came a moment ago.
    flights: HashMap<Key, watch::Receiver<Progress>>,
    recent: Recent<Key>,
    objects: HashMap<ObjectId, Arc<Held>>,
}

enum Whereabouts {
    /// Or on its way there.
    Memory(watch::Receiver<Progress>),
    Disk,
    Keeper,
}

struct Keeper {
    upstream: Arc<dyn Upstream>,
    demand: Arc<Demand>,
}

struct Shared {
    options: Options,
    folder: Folder,
    keepers: HashMap<String, Keeper>,
    runtime: Handle,
    ledger: Mutex<Ledger>,
    index: Mutex<Index>,
    open: quick_cache::sync::Cache<Key, Arc<File>>,
    places: Arc<Semaphore>,
    places_ahead: Arc<Semaphore>,
    pool: Arc<Pool>,
    began: Instant,
    counters: Counters,
}

/// One that isn't there any more is asked for nothing.
fn demand_of(keepers: &HashMap<String, Keeper>, upstream: &str) -> Arc<Demand> {
    let keeper = keepers.get(upstream);
    keeper.map_or_else(Arc::default, |keeper| Arc::clone(&keeper.demand))
}

/// Clones are the same one.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

impl Store {
    /// Takes up what an earlier start left. `upstreams`: keepers by name, which calls on `runtime`.
    pub fn open(
        options: Options,
        upstreams: HashMap<String, Arc<dyn Upstream>>,
        runtime: Handle,
    ) -> Result<Self, OpenError> {
        let fault = |source| OpenError {
            folder: options.folder.clone(),
            source,
        };
        fs::create_dir_all(&options.folder).map_err(fault)?;
        let ledger = Ledger::open(&options.folder.join("offers")).map_err(fault)?;
        let folder = Folder::open(options.folder.join("chunks")).map_err(fault)?;
        let keepers: HashMap<_, _> = upstreams
            .into_iter()
            .map(|(name, upstream)| {
                let demand = Arc::default();
                (name, Keeper { upstream, demand })
            })
            .collect();
        let held = |(id, offer): (ObjectId, &Offer)| {
            let held = Held {
                id,
                demand: demand_of(&keepers, &offer.upstream),
                offer: offer.clone(),
                chunk_bytes: u64::from(options.chunk_bytes),
                gone: AtomicBool::new(false),
                streams: Mutex::default(),
            };
            (id, Arc::new(held))
        };
        let objects: HashMap<_, _> = ledger.live().map(held).collect();
        let mut index = Index {
            shelf: Shelf::new(options.bytes),
            unchecked: HashSet::new(),
            flights: HashMap::new(),
            recent: Recent::new(options.recent_bytes),
            objects,
        };
        for (key, bytes) in folder.scan().map_err(fault)? {
            let wanted = index
                .objects
                .get(&key.object)
                .is_some_and(|held| bytes == disk::file_bytes(held.chunk_length(key.index)));
            let out = if wanted {
                index.shelf.insert(key, bytes, 0)
            } else {
                None
            };
            match out {
                Some(out) => {
                    index.unchecked.insert(key);
                    for gone in out {
                        index.unchecked.remove(&gone);
                        folder.remove(&gone).map_err(fault)?;
                    }
                }
                None => folder.remove(&key).map_err(fault)?,
            }
        }
        let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        Ok(Self(Arc::new(Shared {
            places: places(options.fetches),
            places_ahead: places(options.fetches_ahead()),
            pool: Pool::new(options.memory_bytes() as usize),
            folder,
            keepers,
            runtime,
            ledger: Mutex::new(ledger),
            index: Mutex::new(index),
            open: quick_cache::sync::Cache::new(OPEN_FILES),
            began: Instant::now(),
            counters: Counters::default(),
            options,
        })))
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Of each keeper.
    pub fn demands(&self) -> impl Iterator<Item = &Demand> {
        self.0.keepers.values().map(|keeper| &*keeper.demand)
    }

    pub fn demand(&self, upstream: &str) -> Option<&Demand> {
        Some(&self.0.keepers.get(upstream)?.demand)
    }

    /// What the chunks' files take.
    pub fn held_bytes(&self) -> u64 {
        self.0.index.lock().shelf.held()
    }

    /// What they may take.
    pub fn limit_bytes(&self) -> u64 {
        self.0.options.bytes
    }

    pub fn chunk_bytes(&self) -> u64 {
        u64::from(self.0.options.chunk_bytes)
    }

    /// Whether there is a keeper of this name.
    pub fn knows(&self, upstream: &str) -> bool {
        self.0.keepers.contains_key(upstream)
    }

    /// Serves a version from now on, and no other one of its key. Blocks on the disk; durable on return.
    pub fn offer(&self, offer: Offer) -> io::Result<Arc<Held>> {
        let shared = &self.0;
        // Held over both, so that the two don't tell different stories.
        let mut ledger = shared.ledger.lock();
        let taken = ledger.offer(offer.clone())?;
        let held = {
            let mut index = shared.index.lock();
            let held = index.objects.entry(taken.id).or_insert_with(|| {
                Arc::new(Held {
                    id: taken.id,
                    demand: demand_of(&shared.keepers, &offer.upstream),
                    offer,
                    chunk_bytes: u64::from(shared.options.chunk_bytes),
                    gone: AtomicBool::new(false),
                    streams: Mutex::default(),
                })
            });
            Arc::clone(held)
        };
        for gone in taken.withdrawn {
            shared.end(gone);
        }
        Ok(held)
    }

    /// No more of this version once it has returned. Blocks on the disk; durable on return.
    pub fn withdraw(&self, id: ObjectId) -> io::Result<()> {
        let mut ledger = self.0.ledger.lock();
        // First of all for who reads now: if the note then fails, nothing was promised.
        self.0.end(id);
        ledger.withdraw(id)?;
        Ok(())
    }

    pub fn object(&self, id: ObjectId) -> Option<Arc<Held>> {
        self.0.index.lock().objects.get(&id).cloned()
    }

    /// A range of a chunk, fetched if need be; and those that a stream will want next are begun.
    pub async fn part(
        &self,
        object: &Arc<Held>,
        index: u64,
        range: Range<u64>,
    ) -> Result<Part, Failed> {
        let shared = &self.0;
        let key = object.key(index);
        let mut progress = loop {
            if object.is_gone() {
                return Err(Failed::Gone);
            }
            match shared.look(&key) {
                Whereabouts::Memory(progress) => break progress,
                Whereabouts::Disk => {
                    if let Some(file) = shared.open_file(key).await? {
                        object.demand.hits.fetch_add(1, Relaxed);
                        self.go_ahead(object, index, false);
                        return Ok(Part::OnDisk(file));
                    }
                    // Somebody took it away: it is fetched again.
                    shared.forget(&key);
                }
                Whereabouts::Keeper => {
                    if let Some((progress, joined)) = shared.flight(object, index, None) {
                        if !joined {
                            object.demand.misses.fetch_add(1, Relaxed);
                        }
                        break progress;
                    }
                }
            }
        };
        let late = !progress.borrow().can_answer(&range);
        if !late {
            object.demand.hits.fetch_add(1, Relaxed);
        }
        self.go_ahead(object, index, late);
        match progress.wait_for(|now| now.can_answer(&range)).await {
            Ok(progress) => progress.answer(&range),
            Err(_) => Err(Failed::Later),
        }
    }

    /// A file turned out not to hold what it should.
    pub fn damaged(&self, object: &Held, index: u64) {
        self.0.counters.damaged.fetch_add(1, Relaxed);
        self.0.discard(&object.key(index));
    }

    /// `late`: its reader waits for the chunk.
    fn go_ahead(&self, object: &Arc<Held>, index: u64, late: bool) {
        let shared = &self.0;
        let ahead = shared.options.ahead();
        let ahead = object.streams.lock().step(index, late, ahead);
        for next in ahead.start..ahead.end.min(object.chunks()) {
            if shared.is_here_or_coming(&object.key(next)) {
                continue;
            }
            let places = Arc::clone(&shared.places_ahead);
            let Ok(place) = places.try_acquire_owned() else {
                return;
            };
            shared.flight(object, next, Some(place));
        }
    }
}
