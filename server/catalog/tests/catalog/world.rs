//! Catalogs to test on, and calls that tests make one by one.

use bytes::Bytes;
use catalog::store::{Faults, MemoryStore};
use catalog::{
    Catalog, Done, Error, FileKind, Inode, InodeChange, InodeId, NewInode, Options, Reader,
    RemoveWhat, Removed, Renamed, SetXattr, Timestamp, XattrLimits, transact,
};
use parking_lot::RwLock;
use std::path::Path;
use std::sync::Arc;

pub const ROOT: InodeId = InodeId::ROOT;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 5 }
}

pub fn options() -> Options {
    Options::new([7; 16], at(1000))
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn run_on_threads<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

pub async fn in_memory() -> Arc<Catalog> {
    on(&MemoryStore::new()).await
}

pub async fn on(store: &MemoryStore) -> Arc<Catalog> {
    Catalog::with_store(Arc::new(store.clone()), options())
        .await
        .unwrap()
}

/// Held while a process is started: until it runs its own program it has every file of ours open, and so the lock of a
/// catalog that is dropped meanwhile.
pub static STARTING: RwLock<()> = RwLock::new(());

pub async fn in_folder(path: &Path) -> Arc<Catalog> {
    drop(STARTING.read());
    Catalog::open(path, options()).await.unwrap()
}

pub fn faults(seed: u64) -> Faults {
    Faults {
        seed,
        conflicts_per_mille: 150,
        unknowns_per_mille: 150,
        switch_tasks: true,
    }
}

pub fn file() -> NewInode {
    NewInode::plain(FileKind::Regular, 0o644, 1, 2)
}

pub fn folder() -> NewInode {
    NewInode::plain(FileKind::Directory, 0o755, 1, 2)
}

/// One operation, one transaction, at a time of its own.
pub struct Calls<'a> {
    pub catalog: &'a Catalog,
    pub now: Timestamp,
}

pub fn calls(catalog: &Catalog) -> Calls<'_> {
    Calls {
        catalog,
        now: at(2000),
    }
}

type Answer<T> = Result<Done<T>, Error>;

impl Calls<'_> {
    pub async fn create(&self, directory: InodeId, name: &str, new: NewInode) -> Answer<Inode> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.create(directory, name.as_bytes(), new.clone()).await
        })
    }

    pub async fn make(&self, directory: InodeId, name: &str, new: NewInode) -> InodeId {
        self.create(directory, name, new).await.unwrap().value.id
    }

    pub async fn link(&self, directory: InodeId, name: &str, id: InodeId) -> Answer<Inode> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.link(directory, name.as_bytes(), id).await
        })
    }

    pub async fn remove(
        &self,
        directory: InodeId,
        name: &str,
        what: RemoveWhat,
    ) -> Answer<Removed> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.remove(directory, name.as_bytes(), what).await
        })
    }

    pub async fn rename(&self, from: (InodeId, &str), to: (InodeId, &str)) -> Answer<Renamed> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.rename(from.0, from.1.as_bytes(), to.0, to.1.as_bytes())
                .await
        })
    }

    pub async fn xattr_set(
        &self,
        id: InodeId,
        name: &str,
        value: &[u8],
        how: SetXattr,
    ) -> Answer<InodeChange> {
        let (value, limits) = (Bytes::copy_from_slice(value), XattrLimits::default());
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.xattr_set(id, name.as_bytes(), &value, how, &limits)
                .await
        })
    }

    pub async fn xattr_remove(&self, id: InodeId, name: &str) -> Answer<InodeChange> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.xattr_remove(id, name.as_bytes()).await
        })
    }

    pub async fn put(&self, inode: &Inode) -> Answer<()> {
        transact!(self.catalog, self.now, |tx| -> Result<_, Error> {
            tx.put(inode).await
        })
    }
}

pub async fn names_in(reader: &Reader, directory: InodeId) -> Vec<String> {
    let (entries, more) = reader.readdir(directory, 0, 100_000).await.unwrap();
    assert!(!more);
    let mut names: Vec<_> = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
        .collect();
    names.sort();
    names
}

pub async fn assert_sound(catalog: &Catalog) {
    assert_eq!(catalog.check().await.unwrap(), Vec::<String>::new());
}
