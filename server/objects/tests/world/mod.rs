//! What the tests of objects stand on: data servers in memory behind injected faults, a catalog in
//! memory, and a crash that leaves both as another process would find them.

#![allow(dead_code, reason = "each test file uses its own part")]

use backend::{DataServer, Faults, Faulty, FenceGrade, MemoryServer, Rack, Stability};
use bytes::Bytes;
use catalog::store::MemoryStore;
use catalog::{Catalog, FileKind, Inode, InodeId, NewInode, PoolEntry, Timestamp};
use layout::{DataServerId, Extent, ObjectId};
use objects::{Error, Holds, Making, Member, Objects, Options, OwnerRange, Place, Placement};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const PAGE: u64 = 4096;

/// By a client whose files lie on several data servers.
pub const STRIPED: Making = Making {
    stripes: true,
    writer: None,
    keeper: None,
};

/// Bytes none of which is zero.
pub fn pattern(length: u64, salt: u8) -> Vec<u8> {
    (0..length)
        .map(|at| ((at % 251) as u8 | 1) ^ (salt & 0xfe))
        .collect()
}

pub fn at(extents: &[Extent], offset: u64) -> Place<'_> {
    Place { extents, offset }
}

pub fn on_and_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub struct DataServers {
    pub memory: Vec<MemoryServer>,
    pub front: Vec<Arc<Faulty>>,
}

pub struct World {
    pub servers: Arc<DataServers>,
    pub options: Options,
    pub store: MemoryStore,
    pub catalog: Arc<Catalog>,
    pub objects: Arc<Objects>,
}

pub fn now() -> Timestamp {
    static SECONDS: AtomicU64 = AtomicU64::new(2000);
    Timestamp {
        seconds: SECONDS.fetch_add(1, Ordering::Relaxed) as i64,
        nanos: 0,
    }
}

pub fn options() -> Options {
    let owners = OwnerRange::new(70_000, 1000).expect("a sound range");
    Options {
        pool_low: 2,
        pool_high: 4,
        spread: 4,
        stripe_unit: 4096,
        reserve_bytes: 0,
        ..Options::new(owners, Arc::new(now))
    }
}

pub async fn world(servers: usize) -> World {
    world_of(servers, FenceGrade::Exact, options(), Faults::default(), 1).await
}

pub async fn world_of(
    servers: usize,
    fence: FenceGrade,
    options: Options,
    faults: Faults,
    seed: u64,
) -> World {
    let strangers = (1..=servers).map(|n| MemoryServer::new(&format!("ds{n}"), fence));
    world_on(strangers.collect(), options, faults, seed).await
}

/// Data servers that can do everything with ranges, and fetch from each other.
pub async fn world_of_ours(servers: usize, options: Options, faults: Faults, seed: u64) -> World {
    let rack = Rack::default();
    let ours = (1..=servers)
        .map(|n| MemoryServer::new(&format!("ds{n}"), FenceGrade::Exact).in_rack(&rack));
    world_on(ours.collect(), options, faults, seed).await
}

pub async fn world_on(
    memory: Vec<MemoryServer>,
    options: Options,
    faults: Faults,
    seed: u64,
) -> World {
    let front = memory
        .iter()
        .enumerate()
        .map(|(n, server)| {
            let again = server.clone();
            let restart = move |seed| again.restart(seed);
            Arc::new(Faulty::new(
                Arc::new(server.clone()),
                seed * 100 + n as u64,
                faults,
                restart,
            ))
        })
        .collect();
    let servers = Arc::new(DataServers { memory, front });
    let store = MemoryStore::new();
    let (catalog, objects) = boot(&servers, &store, &options).await;
    World {
        servers,
        options,
        store,
        catalog,
        objects,
    }
}

async fn boot(
    servers: &DataServers,
    store: &MemoryStore,
    options: &Options,
) -> (Arc<Catalog>, Arc<Objects>) {
    let how = catalog::Options::new([7; 16], now());
    let catalog = Catalog::with_store(Arc::new(store.clone()), how)
        .await
        .expect("the catalog opens");
    let members = servers
        .front
        .iter()
        .enumerate()
        .map(|(n, server)| Member {
            cached_at: None,
            id: DataServerId(n as u32 + 1),
            name: format!("ds{}", n + 1),
            server: server.clone() as Arc<dyn DataServer>,
            holds: Holds::Any,
            weight: 1,
            hosts: Vec::new(),
            absent: false,
        })
        .collect();
    let objects = Objects::start(catalog.clone(), members, options.clone())
        .await
        .expect("objects start");
    (catalog, objects)
}

impl World {
    /// The metadata server dies and another start finds what was durable.
    pub async fn crash(self) -> World {
        let Self {
            servers,
            options,
            store,
            catalog,
            objects,
        } = self;
        let store = store.crash();
        objects.stop();
        // The tasks are gone once they were scheduled again.
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop((catalog, objects));
        let (catalog, objects) = boot(&servers, &store, &options).await;
        World {
            servers,
            options,
            store,
            catalog,
            objects,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.servers
            .front
            .iter()
            .for_each(|server| server.set_faults(faults));
    }

    pub async fn pool_is_full(&self) {
        let wanted = self.options.pool_high * self.servers.front.len();
        self.until("the pool is full", async || {
            let pool = self
                .catalog
                .pool_list()
                .await
                .expect("the pool can be listed");
            pool.iter()
                .filter(|entry| matches!(entry, PoolEntry::Pooled(_)))
                .count()
                >= wanted
        })
        .await;
    }

    /// Virtual time passes until it is so.
    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        for _ in 0..2000 {
            if so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never came about that {what}");
    }

    /// As a create does it: objects and entry in one transaction.
    pub async fn create(&self, name: &str) -> Inode {
        create(&self.catalog, &self.objects, name)
            .await
            .expect("a file can be made")
    }

    /// On the servers of another file, in its order.
    pub async fn create_like(&self, name: &str, like: &Inode) -> Inode {
        let placement = self.objects.bind_like(&like.extents).await;
        create_on(&self.catalog, placement.expect("it finds its place"), name)
            .await
            .expect("a file can be made")
    }

    /// As the metadata server makes a size visible.
    pub async fn set_size(&self, inode: &Inode, size: u64) {
        let current = self.inode(inode.id).await;
        let size = current.size.max(size);
        self.objects
            .pad(&current.extents, size)
            .await
            .expect("padding succeeds");
        catalog::transact!(self.catalog, now(), |tx| -> Result<(), catalog::Error> {
            let mut inode = tx.inode(inode.id).await?;
            inode.size = size;
            tx.put(&inode).await
        })
        .expect("the size can be committed");
    }

    pub async fn inode(&self, id: InodeId) -> Inode {
        self.catalog
            .read()
            .inode(id)
            .await
            .expect("the inode is there")
    }

    pub async fn lookup(&self, name: &str) -> Option<Inode> {
        let reader = self.catalog.read();
        let entry = reader
            .lookup(InodeId::ROOT, name.as_bytes())
            .await
            .expect("the root can be read")?;
        Some(reader.inode(entry.id).await.expect("an entry has an inode"))
    }

    /// Writes through the proxy, durably, and settles size as the metadata server would.
    pub async fn write(&self, inode: &Inode, offset: u64, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        let end = offset + data.len() as u64;
        self.objects
            .write(&inode.extents, offset, data, Stability::Durable)
            .await
            .expect("a write succeeds");
        self.set_size(inode, end).await;
    }

    pub async fn read_all(&self, id: InodeId) -> Vec<u8> {
        let inode = self.inode(id).await;
        let count = inode.size as u32 + 10;
        let got = self
            .objects
            .read(&inode.extents, inode.size, 0, count)
            .await
            .expect("a read succeeds");
        assert!(got.at_end);
        got.data.to_vec()
    }

    /// The catalog is sound, and the data servers hold exactly what it knows.
    pub async fn nothing_leaks(&self) {
        self.set_faults(Faults::default());
        while !self.all_is_known().await {}
    }

    /// Fails where something isn't; `false` where the pool was filled meanwhile, so that nothing can be said.
    async fn all_is_known(&self) -> bool {
        self.until(
            "nothing is left to delete, reserve or carry out",
            async || {
                let dead = self
                    .catalog
                    .delete_queue(None, 10)
                    .await
                    .expect("the queue can be read");
                let orders = self.catalog.orders().await.expect("orders can be read");
                let pool = self
                    .catalog
                    .pool_list()
                    .await
                    .expect("the pool can be read");
                let reserved = pool
                    .iter()
                    .any(|entry| matches!(entry, PoolEntry::Reserved { .. }));
                dead.is_empty() && orders.is_empty() && !reserved
            },
        )
        .await;
        assert_eq!(
            self.catalog
                .check()
                .await
                .expect("the catalog can be scanned"),
            Vec::<String>::new()
        );
        let listed = async || {
            let pool = self.catalog.pool_list().await;
            pool.expect("the pool can be listed")
        };
        let pool = listed().await;
        let mut known = BTreeSet::new();
        for entry in &pool {
            if let PoolEntry::Pooled(object) = entry {
                known.insert((object.server, object.object));
            }
        }
        let reader = self.catalog.read();
        let (entries, _) = reader
            .readdir(InodeId::ROOT, 0, 10_000)
            .await
            .expect("the root can be read");
        for entry in entries {
            let inode = reader.inode(entry.id).await.expect("an entry has an inode");
            for object in inode.extents.iter().flat_map(Extent::objects) {
                assert!(
                    known.insert((object.server, object.object)),
                    "an object has one place"
                );
            }
        }
        let held: BTreeSet<(DataServerId, ObjectId)> = self
            .servers
            .memory
            .iter()
            .enumerate()
            .flat_map(|(n, server)| {
                server
                    .list()
                    .into_iter()
                    .map(move |id| (DataServerId(n as u32 + 1), id))
            })
            .collect();
        if listed().await != pool {
            return false;
        }
        assert_eq!(held, known, "the data servers hold what the catalog knows");
        true
    }
}

pub async fn create(catalog: &Catalog, objects: &Arc<Objects>, name: &str) -> Result<Inode, Error> {
    let placement = objects.bind(STRIPED).await?;
    create_on(catalog, placement, name).await
}

async fn create_on(catalog: &Catalog, placement: Placement, name: &str) -> Result<Inode, Error> {
    let claim = placement.claim();
    let new = NewInode {
        extents: placement.extents(),
        ..NewInode::plain(FileKind::Regular, 0o644, 1, 1)
    };
    let made = catalog::transact!(catalog, now(), |tx| -> Result<Inode, catalog::Error> {
        claim.take(tx).await?;
        tx.create(InodeId::ROOT, name.as_bytes(), new.clone()).await
    });
    match made {
        Ok(done) => {
            placement.used();
            Ok(done.value)
        }
        Err(catalog::Error::Exists) => {
            placement.unused();
            Err(catalog::Error::Exists.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// As a truncate does it.
pub async fn truncate(
    catalog: &Catalog,
    objects: &Arc<Objects>,
    id: InodeId,
    size: u64,
) -> Result<(), Error> {
    if objects.pending(id) {
        return Err(Error::Pending);
    }
    let inode = catalog.read().inode(id).await?;
    let truncating = objects.truncate(&inode, size).await?;
    let order = truncating.order();
    let (size, epoch, stamp) = (
        truncating.size(),
        truncating.size_epoch(),
        truncating.stamp(),
    );
    catalog::transact!(catalog, now(), |tx| -> Result<(), Error> {
        let mut inode = tx.inode(id).await?;
        inode.size = size;
        inode.size_epoch = epoch;
        inode.data_stamp = stamp;
        tx.put(&inode).await?;
        order.finish(tx);
        Ok(())
    })?;
    truncating.done();
    Ok(())
}

pub fn objects_of(extents: &[Extent]) -> impl Iterator<Item = layout::ObjectRef> {
    extents.iter().flat_map(Extent::objects).cloned()
}
