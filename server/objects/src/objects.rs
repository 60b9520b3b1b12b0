//! What all the rest shares: the catalog, the data servers, and the tasks in the background.
//!
//! Never here: a particular thing that is done to objects.

use crate::member::{Desk, Health, Holds, Member};
use crate::owner::OwnerRange;
use crate::pool::{Names, Pool, REFILL_PAUSE};
use crate::turns::Turns;
use crate::{Error, deletion, orders};
use backend::tree::Direct;
use backend::upstream::{Demand, Version};
use backend::{Capabilities, Nanos, Space};
use bytes::Bytes;
use catalog::{Catalog, Inode, InodeId, Timestamp};
use futures_util::future::join_all;
use layout::{DataServerId, Extent, ObjectId, ObjectRef, Owner};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// How objects are kept.
#[derive(Clone)]
pub struct Options {
    pub owners: OwnerRange,
    /// Objects made ahead on each data server: more are made below `low`, up to `high`.
    pub pool_low: usize,
    pub pool_high: usize,
    /// Data servers of a new file whose creator can stripe.
    pub spread: u32,
    pub copies: u32,
    /// Bytes; a power of two.
    pub stripe_unit: u32,
    /// New files lie on the writer's own machine where a data server with room is there.
    pub local_first: bool,
    /// A data server with less free space takes no new file.
    pub reserve_bytes: u64,
    /// Calls under way on one data server; further ones wait.
    pub calls_max: usize,
    pub probe_interval: Duration,
    /// A suspect is probed again after this.
    pub suspect_interval: Duration,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Options {
    pub fn new(owners: OwnerRange, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            owners,
            pool_low: 64,
            pool_high: 192,
            spread: 1,
            copies: 1,
            stripe_unit: 1 << 20,
            local_first: false,
            reserve_bytes: 64 << 20,
            calls_max: 256,
            probe_interval: Duration::from_secs(5),
            suspect_interval: Duration::from_millis(500),
            clock,
        }
    }
}

/// The objects of a namespace. Stopped or dropped at any moment: what was under way is found again at
/// the next start.
pub struct Objects {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) options: Options,
    pub(crate) pool: Pool,
    pub(crate) names: Names,
    pub(crate) turns: Arc<Turns>,
    /// Files with an order that is not carried out, and why.
    pub(crate) pending: Mutex<HashMap<InodeId, Error>>,
    pub(crate) orders_left: Arc<Notify>,
    /// Seeds of placement.
    pub(crate) placements: AtomicU64,
    /// It was told that no data server takes new files.
    pub(crate) nowhere: AtomicBool,
    desks: RwLock<Arc<BTreeMap<DataServerId, Arc<Desk>>>>,
    health: watch::Sender<Arc<BTreeMap<DataServerId, Health>>>,
    changed: watch::Sender<()>,
    tasks: Mutex<Vec<AbortHandle>>,
    weak: Weak<Objects>,
}

const PROBE_PAUSE_LEAST: Duration = Duration::from_millis(50);

impl Objects {
    /// Probes the data servers, takes up what an earlier start left undone, and begins to work in the
    /// background. A data server that is away holds up nothing but what needs it.
    pub async fn start(
        catalog: Arc<Catalog>,
        members: Vec<Member>,
        options: Options,
    ) -> Result<Arc<Self>, Error> {
        let (changed, _) = watch::channel(());
        let (health, _) = watch::channel(Arc::default());
        let names = Names::new(catalog.boot_epoch());
        let placements = AtomicU64::new(catalog.boot_epoch() << 32);
        let objects = Arc::new_cyclic(|weak| Self {
            catalog,
            options,
            pool: Pool::default(),
            names,
            turns: Arc::default(),
            pending: Mutex::default(),
            orders_left: Arc::default(),
            placements,
            nowhere: AtomicBool::new(false),
            desks: RwLock::default(),
            health,
            changed,
            tasks: Mutex::default(),
            weak: weak.clone(),
        });
        objects.watch_health();
        let attached: Vec<_> = members
            .into_iter()
            .map(|member| objects.attach(member))
            .collect();
        join_all(attached).await;
        objects.recover_orders().await?;
        objects.recover_pool().await?;
        objects.carry_out_all().await;
        objects.work();
        Ok(objects)
    }

    /// Takes a data server into service, or one with another address in its place.
    pub async fn attach(&self, member: Member) -> Health {
        let desk = Arc::new(Desk::new(
            member,
            self.options.reserve_bytes,
            self.options.calls_max,
            self.changed.clone(),
        ));
        let health = if desk.member.absent {
            desk.health()
        } else {
            desk.probe().await
        };
        {
            let mut desks = self.desks.write();
            let mut more = BTreeMap::clone(&desks);
            more.insert(desk.id(), desk.clone());
            *desks = Arc::new(more);
        }
        self.tell_health();
        self.changed.send_replace(());
        if !desk.member.absent {
            self.keep_probing(&desk);
            self.keep_burying(&desk);
        }
        health
    }

    /// Ends the work in the background, where it stands.
    pub fn stop(&self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.weak.clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    pub(crate) fn desk(&self, server: DataServerId) -> Result<Arc<Desk>, Error> {
        self.desks
            .read()
            .get(&server)
            .cloned()
            .ok_or(Error::UnknownServer(server))
    }

    pub(crate) fn desks(&self) -> Vec<Arc<Desk>> {
        self.desks.read().values().cloned().collect()
    }

    /// Who reads an object and can't write it: for READ layouts.
    pub fn reader(&self, object: &ObjectRef) -> Owner {
        Owner {
            uid: self.options.owners.reader_uid(),
            gid: object.owner.gid,
        }
    }

    /// Whether a data server runs on the machine that has this address.
    pub fn is_beside(&self, server: DataServerId, address: IpAddr) -> bool {
        let desk = self.desk(server);
        desk.is_ok_and(|desk| desk.member.hosts.contains(&address))
    }

    /// Every data server's health, and each change of it.
    pub fn health(&self) -> watch::Receiver<Arc<BTreeMap<DataServerId, Health>>> {
        self.health.subscribe()
    }

    /// Asks a data server now, as a client that reports an error wants to know.
    pub async fn probe_now(&self, server: DataServerId) -> Result<Health, Error> {
        let desk = self.desk(server)?;
        if desk.member.absent {
            return Ok(desk.health());
        }
        let mut health = desk.probe().await;
        if health == Health::Suspect {
            health = desk.probe().await;
        }
        self.tell_health();
        Ok(health)
    }

    /// The longest time that one of these objects' data servers has been down.
    pub fn down_for(&self, extents: &[Extent]) -> Duration {
        let servers = extents.iter().flat_map(Extent::objects);
        servers
            .filter_map(|object| Some(self.desk(object.server).ok()?.down_for()))
            .max()
            .unwrap_or(Duration::ZERO)
    }

    pub fn capabilities(&self, server: DataServerId) -> Result<Capabilities, Error> {
        Ok(self.desk(server)?.capabilities())
    }

    /// Has a data server serve what `backend` keeps ([`backend::DataServer::offer`]); its handle, and
    /// whose ids read it.
    pub async fn offer(
        &self,
        server: DataServerId,
        backend: &str,
        version: &Version,
        mtime: Nanos,
    ) -> Result<(Bytes, Owner), backend::Error> {
        let desk = self.desk_of(server)?;
        let owners = &self.options.owners;
        let reader = Owner {
            uid: owners.reader_uid(),
            ..owners.owner(ObjectId(u128::from(server.0)), 0)
        };
        let ask = || desk.server().offer(backend, version, mtime, reader);
        Ok((desk.ask(ask).await?, reader))
    }

    /// How clients read a file on a server that they don't reach, and on which data server
    /// ([`backend::DataServer::cached`]); `None`: not at all.
    pub async fn cached(
        &self,
        inode: &Inode,
    ) -> Result<Option<(DataServerId, Direct)>, backend::Error> {
        let mut objects = inode.extents.iter().flat_map(Extent::objects);
        let (Some(object), None) = (objects.next(), objects.next()) else {
            return Ok(None);
        };
        let desk = self.desk_of(object.server)?;
        let Some(at) = desk.member.cached_at else {
            return Ok(None);
        };
        let direct = desk.ask(|| desk.server().cached(&object.handle)).await?;
        Ok(direct.map(|direct| (at, direct)))
    }

    /// [`backend::DataServer::withdraw`]
    pub async fn withdraw(
        &self,
        server: DataServerId,
        handle: &Bytes,
    ) -> Result<(), backend::Error> {
        let desk = self.desk_of(server)?;
        desk.ask(|| desk.server().withdraw(handle)).await
    }

    /// [`backend::DataServer::demand`]
    pub async fn demand(
        &self,
        server: DataServerId,
        backend: &str,
    ) -> Result<Demand, backend::Error> {
        let desk = self.desk_of(server)?;
        desk.ask(|| desk.server().demand(backend)).await
    }

    fn desk_of(&self, server: DataServerId) -> Result<Arc<Desk>, backend::Error> {
        self.desk(server).map_err(|error| {
            backend::Error::new(backend::ErrorKind::Unsupported, error.to_string())
        })
    }

    /// As the configuration calls it.
    pub fn name_of(&self, server: DataServerId) -> Option<String> {
        Some(self.desk(server).ok()?.member.name.clone())
    }

    /// Space of one data server, as of its last answer.
    pub fn space_of(&self, server: DataServerId) -> Space {
        self.desk(server)
            .map_or(Space { total: 0, free: 0 }, |desk| desk.space())
    }

    /// All data servers together that take any file, as far as they told.
    pub fn space(&self) -> Space {
        let copies = u64::from(self.options.copies.max(1));
        let all = self.desks().into_iter();
        let all = all.filter(|desk| desk.member.holds == Holds::Any);
        let all = all.map(|desk| desk.space());
        let sum = all.fold(Space { total: 0, free: 0 }, |sum, space| Space {
            total: sum.total.saturating_add(space.total),
            free: sum.free.saturating_add(space.free),
        });
        Space {
            total: sum.total / copies,
            free: sum.free / copies,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task).abort_handle());
    }

    /// Whoever brought a change about finds it told when it goes on, which the task that waits for changes may be late for.
    fn tell_health(&self) {
        self.health.send_if_modified(|known| {
            let of = |desk: &Arc<Desk>| (desk.id(), desk.health());
            let now: BTreeMap<_, _> = self.desks().iter().map(of).collect();
            let modified = **known != now;
            *known = Arc::new(now);
            modified
        });
    }

    fn watch_health(&self) {
        let mut changed = self.changed.subscribe();
        let objects = self.weak();
        self.spawn(async move {
            while changed.changed().await.is_ok() {
                let Some(objects) = objects.upgrade() else {
                    return;
                };
                objects.tell_health();
                objects.pool.low.notify_one();
            }
        });
    }

    /// Whether this desk still serves: another may have taken its place.
    fn serves(&self, desk: &Arc<Desk>) -> bool {
        self.desks
            .read()
            .get(&desk.id())
            .is_some_and(|current| Arc::ptr_eq(current, desk))
    }

    fn keep_probing(&self, desk: &Arc<Desk>) {
        let (objects, desk) = (self.weak(), desk.clone());
        let (calm, alarmed) = (self.options.probe_interval, self.options.suspect_interval);
        self.spawn(async move {
            let mut pause = calm;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = desk.doubt.notified(), if desk.health() != Health::Down => {}
                }
                if objects
                    .upgrade()
                    .is_none_or(|objects| !objects.serves(&desk))
                {
                    return;
                }
                let was = desk.health();
                if desk.probe().await == Health::Suspect {
                    tokio::time::sleep(alarmed).await;
                    desk.probe().await;
                }
                let is = desk.health();
                // One that stays down is looked at less and less often.
                pause = match (was, is) {
                    (_, Health::Up | Health::Full) => calm,
                    (Health::Down, Health::Down) => (pause * 2).min(calm),
                    _ => alarmed,
                };
                if was == Health::Down && is != Health::Down {
                    desk.graves.notify_one();
                    if let Some(objects) = objects.upgrade() {
                        objects.orders_left.notify_one();
                        objects.pool.low.notify_one();
                    }
                }
                // Calls that fail while probes succeed must not make a storm of probes.
                tokio::time::sleep(PROBE_PAUSE_LEAST).await;
            }
        });
    }

    fn keep_burying(&self, desk: &Arc<Desk>) {
        let (objects, desk) = (self.weak(), desk.clone());
        self.spawn(async move {
            loop {
                let Some(here) = objects.upgrade().filter(|objects| objects.serves(&desk)) else {
                    return;
                };
                if let Err(error) = here.bury(&desk).await {
                    tracing::debug!(
                        "data server {} keeps dead objects for now: {error}",
                        desk.member.name
                    );
                }
                drop(here);
                tokio::select! {
                    () = tokio::time::sleep(deletion::PAUSE) => {}
                    () = desk.graves.notified() => {}
                }
            }
        });
    }

    fn work(&self) {
        let (objects, low) = (self.weak(), self.pool.low.clone());
        self.spawn(async move {
            loop {
                let Some(here) = objects.upgrade() else {
                    return;
                };
                let full = here.refill().await;
                drop(here);
                if full {
                    low.notified().await;
                } else {
                    let _ = tokio::time::timeout(REFILL_PAUSE, low.notified()).await;
                }
            }
        });
        let (objects, left) = (self.weak(), self.orders_left.clone());
        self.spawn(async move {
            loop {
                let Some(here) = objects.upgrade() else {
                    return;
                };
                let done = here.carry_out_all().await;
                drop(here);
                if done {
                    left.notified().await;
                } else {
                    let _ = tokio::time::timeout(orders::PAUSE, left.notified()).await;
                }
            }
        });
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.stop();
    }
}
