//! Objects made ahead of their files, so that a create never waits for a data server. The catalog
//! knows of each before it exists: after a crash none is leaked and none is used twice.
//!
//! Never here: the choice of servers.

use crate::member::{Desk, Health};
use crate::{Error, Objects};
use backend::ErrorKind;
use catalog::{DeadObject, PoolEntry};
use futures_util::stream::{self, StreamExt};
use layout::{DataServerId, ObjectId, ObjectRef, Owner};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const CREATES_AT_ONCE: usize = 8;
/// Objects of one reservation: one catalog transaction each way.
const BATCH: usize = 64;
pub(crate) const ATTEMPTS: u32 = 4;

/// Names for objects: the upper half never repeats, the lower can't be guessed.
pub(crate) struct Names {
    boot_epoch: u64,
    count: AtomicU64,
    random: RandomState,
}

impl Names {
    pub(crate) fn new(boot_epoch: u64) -> Self {
        Self {
            boot_epoch,
            count: AtomicU64::new(0),
            random: RandomState::new(),
        }
    }

    pub(crate) fn next(&self) -> ObjectId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let upper = self.boot_epoch << 40 | count;
        ObjectId(u128::from(upper) << 64 | u128::from(self.random.hash_one(upper)))
    }
}

#[derive(Default)]
pub(crate) struct Pool {
    ready: Mutex<HashMap<DataServerId, VecDeque<ObjectRef>>>,
    /// Taken for a file whose transaction ended nobody knows how.
    pub(crate) limbo: Mutex<Vec<ObjectRef>>,
    /// Wakes the refiller.
    pub(crate) low: Arc<Notify>,
}

impl Pool {
    /// One object of each server named, or none at all.
    pub(crate) fn take(&self, servers: &[DataServerId], low: usize) -> Option<Vec<ObjectRef>> {
        let mut ready = self.ready.lock();
        let mut taken: Vec<ObjectRef> = Vec::with_capacity(servers.len());
        for server in servers {
            let Some(object) = ready.get_mut(server).and_then(VecDeque::pop_front) else {
                for object in taken.drain(..) {
                    ready.entry(object.server).or_default().push_front(object);
                }
                self.low.notify_one();
                return None;
            };
            taken.push(object);
        }
        if servers
            .iter()
            .any(|server| ready.get(server).is_none_or(|objects| objects.len() < low))
        {
            self.low.notify_one();
        }
        Some(taken)
    }

    pub(crate) fn put(&self, objects: impl IntoIterator<Item = ObjectRef>) {
        let mut ready = self.ready.lock();
        for object in objects {
            ready.entry(object.server).or_default().push_back(object);
        }
    }

    pub(crate) fn ready_on(&self, server: DataServerId) -> usize {
        self.ready.lock().get(&server).map_or(0, VecDeque::len)
    }
}

impl Objects {
    /// Takes up what an earlier start left: pooled objects serve, reserved ones may or may not
    /// exist, and go.
    pub(crate) async fn recover_pool(&self) -> Result<(), Error> {
        let mut reserved = Vec::new();
        for entry in self.catalog.pool_list().await? {
            match entry {
                PoolEntry::Reserved { server, object } => {
                    reserved.push(DeadObject { server, object });
                }
                PoolEntry::Pooled(object) => self.pool.put([object]),
            }
        }
        for batch in reserved.chunks(BATCH) {
            self.catalog.pool_abandon(self.now(), batch).await?;
        }
        Ok(())
    }

    /// Makes `count` new objects on one server: announced, made, confirmed. What fails stays announced
    /// until it is discarded.
    pub(crate) async fn make(
        &self,
        desk: &Arc<Desk>,
        count: usize,
    ) -> Result<Vec<ObjectRef>, Error> {
        let names: Vec<(DataServerId, ObjectId)> =
            (0..count).map(|_| (desk.id(), self.names.next())).collect();
        self.catalog.pool_reserve(self.now(), &names).await?;
        let owned: Vec<(ObjectId, Owner)> = names
            .iter()
            .map(|&(_, object)| (object, self.options.owners.owner(object, 0)))
            .collect();
        let (made, failure) = made_at_once(desk, &owned).await;
        let failed: Vec<DeadObject> = names
            .iter()
            .filter(|(_, name)| made.iter().all(|object: &ObjectRef| object.object != *name))
            .map(|&(server, object)| DeadObject { server, object })
            .collect();
        if !made.is_empty() {
            self.catalog.pool_fill(self.now(), &made).await?;
        }
        if !failed.is_empty() {
            self.catalog.pool_abandon(self.now(), &failed).await?;
            self.nudge_deletes();
        }
        match failure {
            Some(error) if made.is_empty() => Err(error.into()),
            _ => Ok(made),
        }
    }

    /// One round of the refiller; says whether every pool is as full as it should be.
    pub(crate) async fn refill(&self) -> bool {
        let limbo = std::mem::take(&mut *self.pool.limbo.lock());
        for object in limbo {
            if let Err(error) = self.resolve_limbo(object.clone()).await {
                tracing::debug!("an object of the pool can't be cleaned up yet: {error}");
                self.pool.limbo.lock().push(object);
            }
        }
        let mut full = self.pool.limbo.lock().is_empty();
        for desk in self.desks() {
            if desk.member.weight == 0 || desk.health() != Health::Up {
                continue;
            }
            let have = self.pool.ready_on(desk.id());
            if have >= self.options.pool_low && have > 0 {
                continue;
            }
            let missing = self.options.pool_high.saturating_sub(have).min(BATCH);
            if missing == 0 {
                continue;
            }
            match self.make(&desk, missing).await {
                Ok(made) => {
                    full &= have + made.len() >= self.options.pool_high;
                    self.pool.put(made);
                }
                Err(error) => {
                    full = false;
                    tracing::debug!(
                        "no objects in advance on data server {}: {error}",
                        desk.member.name
                    );
                }
            }
        }
        full
    }

    /// The transaction that was to use it ended unknown: either the object has left the pool, or it
    /// leaves it here, for the delete queue, and the transaction can't succeed any more.
    async fn resolve_limbo(&self, object: ObjectRef) -> Result<(), Error> {
        let gone = catalog::transact!(self.catalog, self.now(), |tx| -> Result<(), Error> {
            tx.pool_take(&object).await?;
            tx.delete_later(std::slice::from_ref(&object));
            Ok(())
        });
        match gone {
            Ok(_) => {
                self.nudge_deletes();
                Ok(())
            }
            Err(Error::Catalog(catalog::Error::NotFound)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What was made of `wanted`, and why not all.
async fn made_at_once(
    desk: &Arc<Desk>,
    wanted: &[(ObjectId, Owner)],
) -> (Vec<ObjectRef>, Option<backend::Error>) {
    let made = |(object, owner), handle| ObjectRef {
        server: desk.id(),
        object,
        handle,
        owner,
        generation: 0,
    };
    let all = desk.insist(ATTEMPTS, || desk.server().create_all(wanted));
    match all.await {
        Ok(handles) => {
            let each = wanted.iter().zip(handles);
            return (each.map(|(new, handle)| made(*new, handle)).collect(), None);
        }
        Err(error) if error.kind == ErrorKind::Unsupported => {}
        Err(error) => return (Vec::new(), Some(error)),
    }
    let answers: Vec<_> = stream::iter(wanted.to_vec())
        .map(|(object, owner)| async move {
            let create = desk.insist(ATTEMPTS, || desk.server().create(object, owner));
            Ok(((object, owner), create.await?))
        })
        .buffer_unordered(CREATES_AT_ONCE)
        .collect()
        .await;
    let mut objects = Vec::new();
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok((new, handle)) => objects.push(made(new, handle)),
            Err(error) => failure = Some(error),
        }
    }
    (objects, failure)
}

/// Between rounds that could not fill the pool.
pub(crate) const REFILL_PAUSE: Duration = Duration::from_millis(500);
