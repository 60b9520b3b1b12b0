//! The store: versions by id, chunks by version, one fetch for all who wait for a chunk.
//!
//! Fetches run on a runtime of tokio; whoever waits for one may be on any executor.
//!
//! Never here: which chunks go (`shelf`), and what a chunk's file looks like (`disk`).

use crate::disk::{self, Folder, Key};
use crate::ledger::{Ledger, ObjectId, Offer};
use crate::shelf::Shelf;
use crate::streams::Streams;
use backend::upstream::Upstream;
use backend::{Error, ErrorKind};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Files of chunks that are kept open.
const OPEN_FILES: usize = 1024;

#[derive(Debug, Clone)]
pub struct Options {
    /// One store at a time has it.
    pub folder: PathBuf,
    /// What the chunks' files may take.
    pub bytes: u64,
    pub chunk_bytes: u32,
    /// Chunks fetched ahead of one stream at most.
    pub ahead: u32,
    /// Fetches that readers wait for, at a time; as many again are under way ahead of streams.
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
            fetches: 16,
            patience: Duration::from_secs(4),
            deadline: Duration::from_secs(30),
        }
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

/// A whole chunk; its bytes begin at 0.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Something that isn't of the chunk lies behind its bytes.
    OnDisk(Arc<File>),
    InMemory(Bytes),
}

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Chunks asked for that were here, and that were not.
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub fetched_bytes: AtomicU64,
    /// Given to readers: whoever takes a chunk's bytes counts them.
    pub read_bytes: AtomicU64,
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

#[derive(Debug, Clone)]
enum Progress {
    Waiting,
    /// It takes longer than anybody waits.
    Slow,
    Done(Result<Chunk, Failed>),
}

struct Index {
    shelf: Shelf<Key>,
    /// Left by an earlier start: to be checked before the first use.
    unchecked: HashSet<Key>,
    flights: HashMap<Key, watch::Receiver<Progress>>,
    objects: HashMap<ObjectId, Arc<Held>>,
}

struct Shared {
    options: Options,
    folder: Folder,
    upstreams: HashMap<String, Arc<dyn Upstream>>,
    runtime: Handle,
    ledger: Mutex<Ledger>,
    index: Mutex<Index>,
    open: quick_cache::sync::Cache<Key, Arc<File>>,
    places: Arc<Semaphore>,
    places_ahead: Arc<Semaphore>,
    began: Instant,
    counters: Counters,
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
        let held = |(id, offer): (ObjectId, &Offer)| {
            let held = Held {
                id,
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
            places_ahead: places(options.fetches),
            folder,
            upstreams,
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

    /// What the chunks' files take.
    pub fn held_bytes(&self) -> u64 {
        self.0.index.lock().shelf.held()
    }

    pub fn chunk_bytes(&self) -> u64 {
        u64::from(self.0.options.chunk_bytes)
    }

    /// Whether there is a keeper of this name.
    pub fn knows(&self, upstream: &str) -> bool {
        self.0.upstreams.contains_key(upstream)
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

    /// The chunk, fetched if need be; and those that a stream will want next are begun.
    pub async fn chunk(&self, object: &Arc<Held>, index: u64) -> Result<Chunk, Failed> {
        let shared = &self.0;
        let key = object.key(index);
        let mut progress = loop {
            if object.is_gone() {
                return Err(Failed::Gone);
            }
            if !shared.is_ready(&key) {
                let (progress, joined) = shared.flight(object, index, None);
                if !joined {
                    shared.counters.misses.fetch_add(1, Relaxed);
                }
                break progress;
            }
            if let Some(file) = shared.open_file(key).await? {
                shared.counters.hits.fetch_add(1, Relaxed);
                self.go_ahead(object, index);
                return Ok(Chunk::OnDisk(file));
            }
            // Somebody took it away: it is fetched again.
            shared.forget(&key);
        };
        self.go_ahead(object, index);
        match progress
            .wait_for(|now| !matches!(now, Progress::Waiting))
            .await
            .as_deref()
        {
            Ok(Progress::Done(done)) => done.clone(),
            Ok(Progress::Slow | Progress::Waiting) | Err(_) => Err(Failed::Later),
        }
    }

    /// A file turned out not to hold what it should.
    pub fn damaged(&self, object: &Held, index: u64) {
        self.0.counters.damaged.fetch_add(1, Relaxed);
        self.0.discard(&object.key(index));
    }

    fn go_ahead(&self, object: &Arc<Held>, index: u64) {
        let shared = &self.0;
        let most = u64::from(shared.options.ahead);
        let ahead = object.streams.lock().step(index, most);
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

impl Shared {
    fn now_millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Whether it is on disk and was checked.
    fn is_ready(&self, key: &Key) -> bool {
        let now = self.now_millis();
        let mut index = self.index.lock();
        !index.unchecked.contains(key) && index.shelf.touch(key, now)
    }

    fn is_here_or_coming(&self, key: &Key) -> bool {
        let index = self.index.lock();
        index.flights.contains_key(key)
            || (index.shelf.contains(key) && !index.unchecked.contains(key))
    }

    /// `None`: it isn't there any more.
    async fn open_file(self: &Arc<Self>, key: Key) -> Result<Option<Arc<File>>, Failed> {
        if let Some(file) = self.open.get(&key) {
            return Ok(Some(file));
        }
        let shared = Arc::clone(self);
        let opened = self
            .runtime
            .spawn_blocking(move || shared.folder.open_chunk(&key))
            .await;
        match opened {
            Ok(Ok(file)) => {
                let file = Arc::new(file);
                self.open.insert(key, Arc::clone(&file));
                // Evicted meanwhile: it isn't kept open.
                if !self.index.lock().shelf.contains(&key) {
                    self.open.remove(&key);
                }
                Ok(Some(file))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a chunk can't be opened");
                Ok(None)
            }
            Err(_) => Err(Failed::Later),
        }
    }

    /// The fetch that is under way, or a new one; whether somebody else began it.
    fn flight(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> (watch::Receiver<Progress>, bool) {
        let key = object.key(index);
        let mut inner = self.index.lock();
        if let Some(progress) = inner.flights.get(&key) {
            return (progress.clone(), true);
        }
        let (tell, progress) = watch::channel(Progress::Waiting);
        inner.flights.insert(key, progress.clone());
        drop(inner);
        let landing = Landing {
            shared: Arc::clone(self),
            key,
        };
        let object = Arc::clone(object);
        self.runtime.spawn(async move {
            let shared = Arc::clone(&landing.shared);
            shared.fly(&object, index, place, &tell).await;
            drop(landing);
        });
        (progress, false)
    }

    async fn fly(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
        tell: &watch::Sender<Progress>,
    ) {
        let arrival = self.arrive(object, index, place);
        tokio::pin!(arrival);
        let soon = tokio::time::timeout(self.options.patience, &mut arrival).await;
        let arrived = if let Ok(arrived) = soon {
            arrived
        } else {
            tell.send_replace(Progress::Slow);
            arrival.await
        };
        let bytes = match &arrived {
            Ok(Chunk::InMemory(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        if matches!(arrived, Err(Failed::Gone)) {
            // Nor after a restart, when what is here of it might be read again.
            object.end();
            let (store, id) = (Store(Arc::clone(self)), object.id);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.withdraw(id) {
                    tracing::warn!(%error, "a version that is gone can't be struck out");
                }
            });
        }
        tell.send_replace(Progress::Done(arrived));
        // Those who come while it is written are answered from memory.
        if let Some(bytes) = bytes {
            self.keep(object, index, bytes).await;
        }
    }

    /// From the disk, where an earlier start left it whole; else from its keeper.
    async fn arrive(
        self: &Arc<Self>,
        object: &Arc<Held>,
        index: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Chunk, Failed> {
        let _place = match place {
            Some(place) => place,
            None => Arc::clone(&self.places)
                .acquire_owned()
                .await
                .map_err(|_| Failed::Later)?,
        };
        let (key, length) = (object.key(index), object.chunk_length(index));
        if self.index.lock().unchecked.contains(&key) {
            let shared = Arc::clone(self);
            let checked = tokio::task::spawn_blocking(move || shared.check(&key, length));
            if let Ok(Some(file)) = checked.await {
                return Ok(Chunk::OnDisk(file));
            }
        }
        let upstream = self
            .upstreams
            .get(&object.offer.upstream)
            .ok_or(Failed::Gone)?;
        let start = index * object.chunk_bytes;
        let fetch = upstream.fetch(&object.offer.version, start..start + length);
        let late = |_| {
            let after = Duration::from_secs(1);
            Err(Error::new(ErrorKind::Retry { after }, "no answer in time"))
        };
        let fetched = tokio::time::timeout(self.options.deadline, fetch).await;
        let failed = match fetched.unwrap_or_else(late) {
            Ok(bytes) if bytes.len() as u64 == length => {
                self.counters.fetched_bytes.fetch_add(length, Relaxed);
                return Ok(Chunk::InMemory(bytes));
            }
            Ok(_) => Error::new(
                ErrorKind::Broken,
                "another number of bytes came than was asked for",
            ),
            Err(error) => error,
        };
        self.counters.failed_fetches.fetch_add(1, Relaxed);
        tracing::debug!(error = %failed, upstream = object.offer.upstream, "a chunk didn't come");
        Err(match failed.kind {
            ErrorKind::Retry { .. } => Failed::Later,
            ErrorKind::Gone => Failed::Gone,
            _ => Failed::Broken,
        })
    }

    fn check(&self, key: &Key, length: u64) -> Option<Arc<File>> {
        let found = self
            .folder
            .open_chunk(key)
            .and_then(|file| Ok(disk::fits(&file, key, length)?.then_some(file)));
        if let Ok(Some(file)) = found {
            self.index.lock().unchecked.remove(key);
            let file = Arc::new(file);
            self.open.insert(*key, Arc::clone(&file));
            return Some(file);
        }
        self.counters.damaged.fetch_add(1, Relaxed);
        self.discard(key);
        None
    }

    /// Writes what was fetched. Where that fails it is fetched again for the next one.
    async fn keep(self: &Arc<Self>, object: &Arc<Held>, index: u64, bytes: Bytes) {
        let shared = Arc::clone(self);
        let object = Arc::clone(object);
        let kept = tokio::task::spawn_blocking(move || {
            let key = object.key(index);
            if !shared.make_room(&key, disk::file_bytes(bytes.len() as u64)) {
                return;
            }
            match shared.folder.write(&key, &bytes) {
                Ok(file) => {
                    shared.open.insert(key, Arc::new(file));
                    let still_wanted = {
                        let mut index = shared.index.lock();
                        index.unchecked.remove(&key);
                        index.shelf.contains(&key)
                    };
                    if !still_wanted {
                        shared.unlink(&key);
                    }
                }
                Err(error) => {
                    shared.counters.unwritten.fetch_add(1, Relaxed);
                    tracing::warn!(%error, "a chunk can't be kept");
                    shared.forget(&key);
                }
            }
            // Withdrawn meanwhile: whoever did that may have looked before it was here.
            if object.is_gone() {
                shared.discard(&key);
            }
        });
        if kept.await.is_err() {
            tracing::error!("the writing of a chunk died");
        }
    }

    /// Whether there is any for a chunk so large. Until its file is written it counts as unchecked:
    /// nothing to be believed.
    fn make_room(&self, key: &Key, bytes: u64) -> bool {
        let now = self.now_millis();
        let mut index = self.index.lock();
        let Some(out) = index.shelf.insert(*key, bytes, now) else {
            return false;
        };
        index.unchecked.insert(*key);
        for gone in &out {
            index.unchecked.remove(gone);
        }
        drop(index);
        for gone in out {
            self.counters.evictions.fetch_add(1, Relaxed);
            self.unlink(&gone);
        }
        true
    }

    fn forget(&self, key: &Key) {
        let mut index = self.index.lock();
        index.shelf.remove(key);
        index.unchecked.remove(key);
        drop(index);
        self.open.remove(key);
    }

    /// Who reads it at this moment has the file open, and reads on.
    fn unlink(&self, key: &Key) {
        self.open.remove(key);
        if let Err(error) = self.folder.remove(key) {
            tracing::warn!(%error, "a chunk can't be removed");
        }
    }

    fn discard(&self, key: &Key) {
        self.forget(key);
        self.unlink(key);
    }

    /// Ends a version, and gives back what its chunks took.
    fn end(self: &Arc<Self>, id: ObjectId) {
        let Some(held) = self.index.lock().objects.remove(&id) else {
            return;
        };
        held.end();
        let shared = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            for index in 0..held.chunks() {
                let key = held.key(index);
                if shared.index.lock().shelf.contains(&key) {
                    shared.discard(&key);
                }
            }
        });
    }
}

/// Ends a flight, also one whose task dies: the next one who asks begins another.
struct Landing {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.index.lock().flights.remove(&self.key);
    }
}
