//! The server as its operations share it: catalog, data servers, protocol state, settings.

use crate::clock::Clock;
use crate::connection::Connection;
use crate::exports::Exports;
use crate::faults::FaultLog;
use crate::filehandle::{HandleKey, Named};
use crate::gate::Waiters;
use crate::identity::Directory;
use crate::metrics::Metrics;
use crate::partner::{Partners, ServerCopy};
use crate::reports::{FileReport, Reports, ServerReport};
use crate::rounds::Rounds;
use crate::scanning::Scanning;
use crate::state::{ClientId, ConnectionId, Limits, State};
use crate::status::Refusal;
use crate::v3::Legacy;
use crate::writing::Writing;
use bytes::Bytes;
use catalog::{Catalog, Inode, InodeId};
use layout::{DataServerId, DeviceTable};
use objects::Objects;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

/// What can change while the server runs.
#[derive(Debug, Clone)]
pub struct Settings {
    pub exports: Exports,
    /// Who knows users and groups. A new one has forgotten every answer.
    pub directory: Arc<Directory>,
    /// Bytes; a power of two.
    pub stripe_unit: u32,
    /// How often clients report LAYOUTSTATS (`ffl_stats_collect_hint`), seconds.
    pub stats_seconds: u32,
    /// After how long I/O of a file whose data server is away fails; `None`: it waits.
    pub away_error: Option<Duration>,
    /// How long a recalled layout may stay out before it is fenced.
    pub recall_timeout: Duration,
    /// How long an operation waits for an inode's gate before it answers DELAY.
    pub gate_timeout: Duration,
    pub server_copy: ServerCopy,
    /// Backends of the configuration that keep file systems of this namespace: their roots stay.
    pub keepers: BTreeSet<DataServerId>,
}

/// Who this server is, the same over restarts (RFC 8881 §2.10.4).
#[derive(Debug, Clone)]
pub struct Identity {
    /// `so_major_id` and `eir_server_scope`: one per namespace.
    pub owner: Bytes,
    pub lease: Duration,
    /// First half of the namespace's fsid.
    pub fsid: u64,
}

/// Everything that a server is started with.
pub struct Parts {
    pub catalog: Arc<Catalog>,
    pub objects: Arc<Objects>,
    pub state: State,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
    pub identity: Identity,
    pub handle_key: HandleKey,
    pub devices: DeviceTable,
    pub partners: Arc<dyn Partners>,
    /// Whether older clients are answered by NFSv3 and MOUNT.
    pub nfsv3: bool,
}

pub struct Server {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) state: Mutex<State>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    /// The state's, for what never changes while it runs: read without its lock.
    pub(crate) limits: Limits,
    pub(crate) handle_key: HandleKey,
    pub(crate) gates: Waiters,
    pub(crate) writing: Writing,
    /// Files whose data servers are being asked for size and times.
    pub(crate) refreshing: Rounds<InodeId, Result<Arc<Inode>, Refusal>>,
    /// Handles of nodes of junctions that clients hold something of.
    pub(crate) nodes: Mutex<HashMap<InodeId, Bytes>>,
    pub(crate) reports: Reports,
    /// Absent where no filer's tree is taken in.
    pub(crate) scanning: OnceLock<Arc<dyn Scanning>>,
    pub(crate) asking: crate::recalls::Asking,
    pub(crate) connections: Mutex<HashMap<ConnectionId, Weak<Connection>>>,
    pub(crate) devices: RwLock<DeviceTable>,
    pub(crate) partners: Arc<dyn Partners>,
    /// A permit for each copy from another server.
    pub(crate) copies_between_servers: Arc<Semaphore>,
    /// Told whenever a copy that goes on was called off, or may have gone with its client.
    pub(crate) copies_called_off: Notify,
    /// Who asked to be told when a device changes or goes (RFC 8881 §20.12).
    pub(crate) device_watchers: Mutex<HashMap<layout::DeviceId, HashSet<ClientId>>>,
    /// Told whenever a layout came back or was fenced: whoever waits for a recall looks again.
    pub(crate) layouts_changed: Notify,
    pub(crate) fence_round: crate::fencing::Round,
    /// Clients whose lease ran out, while their end is under way.
    pub(crate) burials: Mutex<HashSet<ClientId>>,
    /// How far housekeeping came with files without names, and with write intents.
    pub(crate) orphans_seen: Mutex<Option<InodeId>>,
    pub(crate) intents_seen: Mutex<Option<InodeId>>,
    /// Told whenever a delegation came back or was revoked.
    pub(crate) delegations_changed: Notify,
    pub(crate) housekeeping: Notify,
    /// When housekeeping last began a round.
    pub(crate) last_round: AtomicU64,
    /// Work that outlives the request that caused it.
    pub(crate) tasks: TaskTracker,
    pub(crate) faults: FaultLog,
    settings: RwLock<Arc<Settings>>,
    /// What is kept for clients of NFSv3, where there may be any.
    pub(crate) legacy: Option<Legacy>,
    pub metrics: Metrics,
}

impl Server {
    pub fn new(parts: Parts) -> Arc<Self> {
        let copies_between_servers = parts.state.limits().copies_between_servers;
        Arc::new(Self {
            catalog: parts.catalog,
            objects: parts.objects,
            limits: parts.state.limits().clone(),
            state: Mutex::new(parts.state),
            clock: parts.clock,
            identity: parts.identity,
            handle_key: parts.handle_key,
            gates: Waiters::default(),
            writing: Writing::default(),
            refreshing: Rounds::default(),
            nodes: Mutex::default(),
            reports: Reports::default(),
            scanning: OnceLock::new(),
            asking: crate::recalls::Asking::default(),
            connections: Mutex::default(),
            devices: RwLock::new(parts.devices),
            partners: parts.partners,
            copies_between_servers: Arc::new(Semaphore::new(copies_between_servers)),
            copies_called_off: Notify::new(),
            device_watchers: Mutex::default(),
            layouts_changed: Notify::new(),
            fence_round: crate::fencing::Round::default(),
            burials: Mutex::default(),
            orphans_seen: Mutex::default(),
            intents_seen: Mutex::default(),
            delegations_changed: Notify::new(),
            housekeeping: Notify::new(),
            last_round: AtomicU64::default(),
            tasks: TaskTracker::new(),
            faults: FaultLog::default(),
            settings: RwLock::new(Arc::new(parts.settings)),
            legacy: parts.nfsv3.then(Legacy::default),
            metrics: Metrics::default(),
        })
    }

    /// The filehandle by which a client knows a file that it holds something of.
    pub(crate) fn handle_of(&self, export: u32, id: InodeId) -> Bytes {
        let node = self.nodes.lock().get(&id).cloned();
        self.handle_key.seal(&Named { export, id, node })
    }

    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Takes effect for every request from now on.
    pub fn change_settings(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
    }

    /// What the protocol's state holds now.
    pub fn held(&self) -> crate::state::Metrics {
        self.state.lock().metrics()
    }

    /// What clients told of each data server.
    pub fn reports_of_servers(&self) -> Vec<(layout::DataServerId, ServerReport)> {
        self.reports.servers()
    }

    /// The `most` files that clients moved most bytes of, as far as they told.
    pub fn busiest_files(&self, most: usize) -> Vec<(InodeId, FileReport)> {
        self.reports.busiest(most)
    }

    pub fn connection_opened(&self, connection: &Arc<Connection>) {
        self.connections
            .lock()
            .insert(ConnectionId(connection.id), Arc::downgrade(connection));
    }

    pub fn connection_closed(&self, connection: &Connection) {
        self.connections.lock().remove(&ConnectionId(connection.id));
        self.state
            .lock()
            .connection_closed(ConnectionId(connection.id));
    }

    /// Ends when everything that requests left behind is done.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
