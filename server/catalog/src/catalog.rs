//! The catalog itself: opening, totals, epochs. What can be read is in `view`, a transaction in `attempts`,
//! what can be written in the files that extend [`Tx`].

use crate::codec::{ColdInode, Record};
use crate::core::Core;
use crate::error::{Error, OpenError};
use crate::hot::{HotCounters, max_value};
use crate::inode::{Counts, DataStamp, Done, FileKind, Inode, InodeId, Timestamp, XattrTotals};
use crate::keys;
use crate::store::{
    Failpoint, FjallOptions, FjallStore, IdempotencyKey, Outcome, Store, StoreStats, Transaction,
    Write,
};
use crate::transact;
use crate::tx::Tx;
use crate::view::Reader;
use bytes::Bytes;
use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// Format of the keys and records as a whole. Records have versions of their own besides.
pub const FORMAT: u32 = 5;
/// A transaction gives up after losing so often.
pub(crate) const ATTEMPTS: u32 = 200;
/// The same for the transaction that opens the catalog.
const OPEN_ATTEMPTS: u32 = 100;

/// How a catalog is opened, and made if there is none.
#[derive(Debug, Clone)]
pub struct Options {
    /// Random; kept by a new catalog as the secret of its hash of names, ignored by one that exists.
    pub secret: [u8; 16],
    pub now: Timestamp,
    /// Of a new catalog's root directory.
    pub root_mode: u32,
    pub root_uid: u32,
    pub root_gid: u32,
    /// Memory for blocks read from disk.
    pub cache_bytes: u64,
    pub failpoint: Option<Failpoint>,
}

impl Options {
    pub fn new(secret: [u8; 16], now: Timestamp) -> Self {
        Options {
            secret,
            now,
            root_mode: 0o755,
            root_uid: 0,
            root_gid: 0,
            cache_bytes: FjallOptions::default().cache_bytes,
            failpoint: None,
        }
    }
}

/// A namespace and what goes with it, open in this process.
pub struct Catalog {
    pub(crate) core: Arc<Core>,
}

impl Catalog {
    /// Opens the catalog in a folder, or makes one there. One process at a time.
    pub async fn open(path: &Path, options: Options) -> Result<Arc<Catalog>, OpenError> {
        let folder = |source| OpenError::Folder {
            path: path.to_owned(),
            source,
        };
        // The catalog holds keys and everybody's names: its folder is its owner's alone.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(folder)?;
        let lock = File::create(path.join("lock")).map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        let engine = FjallOptions {
            cache_bytes: options.cache_bytes,
            failpoint: options.failpoint,
        };
        let store = FjallStore::open(&path.join("store"), &engine).map_err(Error::from)?;
        Self::start(Arc::new(store), options, Some(lock)).await
    }

    /// The catalog in a store that the caller brings.
    pub async fn with_store(
        store: Arc<dyn Store>,
        options: Options,
    ) -> Result<Arc<Catalog>, OpenError> {
        Self::start(store, options, None).await
    }

    async fn start(
        store: Arc<dyn Store>,
        options: Options,
        lock: Option<File>,
    ) -> Result<Arc<Catalog>, OpenError> {
        for attempt in 0..OPEN_ATTEMPTS {
            if let Some(boot) = boot(&store, &options, attempt).await? {
                let core = Core::new(store, lock, boot.secret, boot.epoch, boot.first_number);
                return Ok(Arc::new(Catalog {
                    core: Arc::new(core),
                }));
            }
        }
        Err(Error::Conflict {
            attempts: OPEN_ATTEMPTS,
        }
        .into())
    }

    /// A view of what is committed now.
    pub fn read(&self) -> Reader {
        Reader::new(self.core.clone())
    }

    /// The inode as it is now; [`Error::Stale`] when it is gone. What else is read is of another moment: who needs
    /// several things of one moment takes a [`Reader`].
    pub async fn inode(&self, id: InodeId) -> Result<Arc<Inode>, Error> {
        let cache = self.core.inodes.as_ref();
        if let Some(inode) = cache.and_then(|cache| cache.get(id)) {
            return Ok(inode);
        }
        let reader = self.read();
        let inode = Arc::new(reader.inode(id).await?);
        if let (Some(cache), Some(version)) = (cache, reader.version()) {
            cache.put(version, &inode);
        }
        Ok(inode)
    }

    /// [`Reader::counts`] of now.
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.read().counts().await
    }

    /// A transaction that only writes.
    pub(crate) async fn write(
        &self,
        now: Timestamp,
        body: impl Fn(&mut Tx) + Send,
    ) -> Result<(), Error> {
        let done: Result<Done<()>, Error> = transact!(self, now, |tx| -> Result<(), Error> {
            body(tx);
            Ok(())
        });
        done.map(drop)
    }

    /// A change attribute larger than any before, crash or not.
    pub fn next_change(&self) -> u64 {
        self.core.next_change()
    }

    /// Counts the starts of this catalog, from 1.
    pub fn boot_epoch(&self) -> u64 {
        self.core.boot_epoch
    }

    pub fn stats(&self) -> StoreStats {
        self.core.store.stats()
    }
}

/// What a start found or made.
struct Boot {
    secret: [u8; 16],
    epoch: u64,
    first_number: u64,
}

/// Makes the catalog if there is none, and raises its boot epoch; `None` when it must be tried again.
async fn boot(
    store: &Arc<dyn Store>,
    options: &Options,
    attempt: u32,
) -> Result<Option<Boot>, OpenError> {
    let static_key = Bytes::from_static;
    let snapshot = store.snapshot().await.map_err(Error::from)?;
    let read = async |key: &'static [u8]| snapshot.get(key).await.map_err(Error::from);
    let number = |bytes: Option<Bytes>| max_value(bytes.as_ref());
    // The top bit keeps these apart from the keys of transactions, which begin with an epoch; the version
    // from those of other starts, since a start that committed has raised it.
    let key = 1_u128 << 127 | u128::from(snapshot.version()) << 32 | u128::from(attempt);
    let mut transaction = Transaction::blind(IdempotencyKey(key));
    transaction.read_version = snapshot.version();
    for key in [keys::FORMAT, keys::BOOT_EPOCH] {
        transaction.reads.insert(static_key(key));
    }
    let mut secret = options.secret;
    let first_number;
    if let Some(format) = read(keys::FORMAT).await? {
        let corrupt = || Error::Corrupt("the catalog's format is not a number".into());
        let found = u32::from_be_bytes(*format.as_array().ok_or_else(corrupt)?);
        if found < FORMAT {
            return Err(OpenError::OlderFormat {
                found,
                known: FORMAT,
            });
        }
        if found > FORMAT {
            return Err(OpenError::NewerFormat {
                found,
                known: FORMAT,
            });
        }
        let stored = read(keys::SECRET).await?;
        let corrupt = || Error::Corrupt("the secret of the hash of names is lost".into());
        secret = *stored
            .as_deref()
            .and_then(<[u8]>::as_array)
            .ok_or_else(corrupt)?;
        first_number = number(read(keys::INODE_CEILING).await?)?;
    } else {
        first_number = InodeId::ROOT.number + 1;
        let writes = &mut transaction.writes;
        writes.insert(
            static_key(keys::FORMAT),
            Write::Set(Bytes::copy_from_slice(&FORMAT.to_be_bytes())),
        );
        writes.insert(
            static_key(keys::SECRET),
            Write::Set(Bytes::copy_from_slice(&secret)),
        );
        writes.insert(static_key(keys::INODE_CEILING), Write::Max(first_number));
        writes.insert(
            static_key(keys::COUNTS),
            Write::Set(crate::hot::packed([1, 1, 0])),
        );
        let root = ColdInode {
            inode: root(options),
            times_mark: 0,
        };
        writes.insert(keys::inode(InodeId::ROOT), Write::Set(root.encode()));
        let counters = HotCounters {
            change: 1,
            ..HotCounters::default()
        };
        writes.insert(
            keys::hot_counters(InodeId::ROOT),
            Write::Set(counters.to_bytes()),
        );
        writes.insert(
            keys::hot_time(InodeId::ROOT),
            Write::Max(crate::hot::hot_time(options.now)),
        );
    }
    let epoch = number(read(keys::BOOT_EPOCH).await?)? + 1;
    transaction
        .writes
        .insert(static_key(keys::BOOT_EPOCH), Write::Max(epoch));
    match store
        .commit(Arc::new(transaction))
        .await
        .map_err(Error::from)?
    {
        Outcome::Committed(_) => Ok(Some(Boot {
            secret,
            epoch,
            first_number,
        })),
        Outcome::Conflict | Outcome::Unknown(_) => Ok(None),
    }
}

pub(crate) fn root(options: &Options) -> Inode {
    Inode {
        id: InodeId::ROOT,
        kind: FileKind::Directory,
        mode: options.root_mode,
        uid: options.root_uid,
        gid: options.root_gid,
        nlink: 2,
        size: 0,
        atime: options.now,
        mtime: options.now,
        ctime: options.now,
        btime: options.now,
        change: 0,
        rdev: (0, 0),
        target: None,
        parent: None,
        size_epoch: 0,
        extents: Vec::new(),
        entries: 0,
        create_verifier: None,
        birth_epoch: 0,
        unscanned: false,
        keeper: None,
        data_stamp: DataStamp::default(),
        used: 0,
        acl: None,
        label: None,
        xattrs: XattrTotals::default(),
    }
}
