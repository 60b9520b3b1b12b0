//! From `[[data_server]]` to members that objects live on: numbers kept by name, devices with the
//! generation that clients know, and patience with a server that is away or unfit at the start.

use super::census::{Absence, Census};
use super::stand_in::StandIn;
use crate::clock::wall;
use anyhow::Context;
use backend::{DataServer, FenceGrade};
use backend_nfs::{Address, NfsDataServer, Options, Proof, TRIAL_OBJECTS, TrialIds};
use bytes::Bytes;
use catalog::{Catalog, DataServerRecord};
use layout::{DataServerId, Device, DeviceTable, ObjectId};
use mds::Server;
use objects::{Holds, Member, Objects, OwnerRange};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;

#[derive(Debug, Clone)]
pub struct DataServerSpec {
    /// Stays with the data: a server that moves to another address keeps its name.
    pub name: String,
    pub host: String,
    pub port: u16,
    pub mount_port: Option<u16>,
    pub export: String,
    pub weight: u32,
    /// The machine that it runs on, where that has other addresses than the one it is reached at.
    pub client_host: Option<String>,
    /// What clients are told to send at most, where that is less than the server takes.
    pub read_bytes: Option<u32>,
    pub write_bytes: Option<u32>,
    /// Writers are kept out by new objects: what it checks can be gone past (LOCALIO).
    pub moves_to_fence: bool,
    /// It has files of its own that are in the catalog: no other file system takes its place.
    pub has_files: bool,
    /// Ids for the proof of its fence.
    pub ids: (u32, u32),
}

impl fmt::Display for DataServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            host,
            port,
            export,
            ..
        } = self;
        if host.contains(':') {
            write!(f, "data server {name} ([{host}]:{port}{export})")
        } else {
            write!(f, "data server {name} ({host}:{port}{export})")
        }
    }
}

/// How soon a data server is taken for away, and for back.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// Between looks at each.
    pub look_every: Duration,
    /// What it may take to answer.
    pub answer_within: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(5),
            answer_within: Duration::from_secs(10),
        }
    }
}

impl Watch {
    /// One that failed is looked at again sooner.
    pub(super) fn again_after(&self) -> Duration {
        self.look_every / 10
    }

    /// Tells one that is away from one that is slow.
    fn look_within(&self) -> Duration {
        self.answer_within * 3 / 10
    }

    /// Between tries to take in one that never was there.
    fn wait_for_missing(&self) -> Duration {
        self.look_every / ROUNDS_OF_UNFIT
    }
}

/// What was found at the start.
pub struct Reached {
    pub members: Vec<Member>,
    pub devices: DeviceTable,
    pub missing: Vec<Missing>,
    /// Those that were there.
    pub known: Vec<(DataServerId, DataServerSpec)>,
}

/// A data server that isn't in service, and what was told of it last.
pub struct Missing {
    id: DataServerId,
    spec: DataServerSpec,
    told: Absence,
}

/// What data servers are taken in with.
#[derive(Clone)]
pub struct Registry {
    pub catalog: Arc<Catalog>,
    pub census: Arc<Census>,
    /// Of the namespace, for the marks on strangers' exports.
    pub namespace: u64,
    /// Every data server of the configuration.
    pub configured: Arc<Vec<(DataServerId, String)>>,
    pub watch: Watch,
}

/// An unfit one is tried again in every so many rounds: each trial makes and removes an object there.
const ROUNDS_OF_UNFIT: u32 = 5;

/// Gives every entry its number, which stays with its name.
pub async fn number(
    catalog: &Catalog,
    specs: &[DataServerSpec],
) -> anyhow::Result<Vec<DataServerRecord>> {
    let mut known = catalog.data_servers().await?;
    let mut numbered = Vec::new();
    for spec in specs {
        if let Some(record) = known.iter().find(|record| record.name == spec.name) {
            numbered.push(record.clone());
            continue;
        }
        let id = DataServerId(known.iter().map(|record| record.id.0).max().unwrap_or(0) + 1);
        let record = DataServerRecord {
            id,
            name: spec.name.clone(),
            device_generation: 0,
            address: String::new(),
            export: spec.export.clone(),
            root_handle: Bytes::new(),
        };
        catalog.put_data_server(wall(), &record).await?;
        known.push(record.clone());
        numbered.push(record);
    }
    Ok(numbered)
}

/// Reaches for each of them once. Fails on what no waiting mends: two entries that are one server.
pub async fn reach(
    registry: &Registry,
    specs: &[DataServerSpec],
    records: Vec<DataServerRecord>,
) -> anyhow::Result<Reached> {
    let mut reached = Reached {
        members: Vec::new(),
        devices: DeviceTable::default(),
        missing: Vec::new(),
        known: Vec::new(),
    };
    for (spec, record) in specs.iter().zip(records) {
        let hosts = hosts_of(spec).await;
        match registry.take_in(record.id, spec).await {
            Ok(server) => {
                let (record, device) = identify(&registry.catalog, record, spec, &server).await?;
                reached
                    .devices
                    .restore(record.id, record.device_generation, device);
                reached
                    .members
                    .push(member(record.id, spec, hosts, Some(server)));
                reached.known.push((record.id, spec.clone()));
            }
            Err(NotTaken::Twin(twin)) => anyhow::bail!(
                "data servers {twin} and {} are one and the same ({}:{}): every write would go there twice; remove one of them",
                spec.name,
                spec.host,
                spec.port
            ),
            Err(why) => {
                let told = registry.leave_out(record.id, spec, &why);
                reached.members.push(member(record.id, spec, hosts, None));
                reached.missing.push(Missing {
                    id: record.id,
                    spec: spec.clone(),
                    told,
                });
            }
        }
    }
    Ok(reached)
}

/// Why a data server isn't taken into service.
pub(super) enum NotTaken {
    Away(anyhow::Error),
    Unfit(String),
    /// It is the data server of this name.
    Twin(String),
}

impl From<backend::Error> for NotTaken {
    fn from(error: backend::Error) -> Self {
        if error.is_passing() {
            Self::Away(error.into())
        } else {
            Self::Unfit(error.detail)
        }
    }
}

impl Registry {
    /// Mounts it, tries its fence, and sees that it is no other entry's.
    pub(super) async fn take_in(
        &self,
        id: DataServerId,
        spec: &DataServerSpec,
    ) -> Result<NfsDataServer, NotTaken> {
        let host = address_of(&spec.host, spec.port)
            .await
            .map_err(NotTaken::Away)?
            .ip();
        let address = Address {
            name: spec.name.clone(),
            host,
            nfs_port: Some(spec.port),
            mount_port: spec.mount_port,
            export: spec.export.clone(),
        };
        let options = Options {
            fence: spec.moves_to_fence.then_some(FenceGrade::Replace),
            deadline: self.watch.answer_within,
            probe_deadline: self.watch.look_within(),
            reconnect_after: self.watch.look_every,
            has_files: spec.has_files,
            ..Options::new(self.catalog.boot_epoch())
        };
        let server = NfsDataServer::connect(address, options)
            .await
            .map_err(|error| {
                if error.is_refusal() {
                    NotTaken::Unfit(error.to_string())
                } else {
                    NotTaken::Away(error.into())
                }
            })?;
        if spec.has_files {
            self.known_again(id, &server).await?;
        }
        let owners = OwnerRange::new(spec.ids.0, spec.ids.1)
            .map_err(|error| NotTaken::Unfit(error.to_string()))?;
        let trial = ObjectId(u128::from(TRIAL_OBJECTS) << 64);
        let ids = TrialIds {
            before: owners.owner(trial, 0),
            after: owners.owner(trial, 1),
            reader_uid: owners.reader_uid(),
        };
        if let Proof::Unfit(why) = server.prove_fence(rand::random(), ids).await? {
            return Err(NotTaken::Unfit(why));
        }
        let others: Vec<u32> = self
            .configured
            .iter()
            .filter(|(other, _)| *other != id)
            .map(|(other, _)| other.0)
            .collect();
        if let Some(twin) = server.claim(self.namespace, id.0, &others).await? {
            return Err(NotTaken::Twin(self.name_of(DataServerId(twin))));
        }
        match self
            .census
            .serve(id, server.root_handle(), server.is_ours())
        {
            Ok(()) => Ok(server),
            Err(twin) => Err(NotTaken::Twin(self.name_of(twin))),
        }
    }

    /// Refuses a filer with other contents than it had: its filehandles would name other files.
    async fn known_again(&self, id: DataServerId, server: &NfsDataServer) -> Result<(), NotTaken> {
        if server.is_ours() {
            let why = "it is a data server of Headrace, whose files have no names of their own";
            return Err(NotTaken::Unfit(why.to_owned()));
        }
        let record = self.catalog.read().data_server(id).await;
        let record = record.map_err(|error| NotTaken::Away(error.into()))?;
        let before = record.map(|record| record.root_handle).unwrap_or_default();
        if !before.is_empty() && before != server.root_handle() {
            return Err(NotTaken::Unfit(
                "it shows another file system than the one that was assimilated: bring that one back"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn name_of(&self, id: DataServerId) -> String {
        let known = self.configured.iter().find(|(known, _)| *known == id);
        known.map_or_else(|| id.0.to_string(), |(_, name)| name.clone())
    }

    /// One line, with the way out.
    fn leave_out(&self, id: DataServerId, spec: &DataServerSpec, why: &NotTaken) -> Absence {
        let absence = why.absence();
        self.census.absent(id, absence);
        match why {
            NotTaken::Away(error) => tracing::warn!(
                "{spec} is away, and its files wait until it is there: {error:#}. Is it running, does a firewall let this host through?"
            ),
            NotTaken::Unfit(why) => tracing::warn!(
                "{spec} isn't fit, and its files wait until it is: {why}. Export it to this host alone with no_root_squash (`headrace ds`: name this host in its `mds`); `headrace check` tries it and says more"
            ),
            NotTaken::Twin(twin) => tracing::warn!(
                "{spec} is the data server {twin} under another address, and is left out: every write would go there twice. Remove one of them"
            ),
        }
        absence
    }
}

impl NotTaken {
    fn absence(&self) -> Absence {
        match self {
            Self::Away(_) => Absence::Away,
            Self::Unfit(_) | Self::Twin(_) => Absence::Unfit,
        }
    }
}

pub(super) async fn address_of(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    lookup_host((host, port))
        .await
        .with_context(|| format!("the name {host} can't be resolved"))?
        .next()
        .with_context(|| format!("the name {host} has no address"))
}

/// Addresses of the machine that a data server runs on: those of `host`, or its own.
pub(super) async fn hosts_of(spec: &DataServerSpec) -> Vec<IpAddr> {
    let (host, named) = match &spec.client_host {
        Some(host) => (host, true),
        None => (&spec.host, false),
    };
    match lookup_host((host.as_str(), 0)).await {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(error) => {
            // Its own address is told where it is needed.
            if named {
                tracing::warn!(
                    "{spec}: the `host` {host} can't be resolved ({error}), so that no client is taken to run there. Name a machine that this host knows, or leave `host` out"
                );
            }
            Vec::new()
        }
    }
}

/// The device that clients are told, with a new generation where something of it changed.
pub(super) async fn identify(
    catalog: &Catalog,
    mut record: DataServerRecord,
    spec: &DataServerSpec,
    server: &NfsDataServer,
) -> anyhow::Result<(DataServerRecord, Device)> {
    let can = server.capabilities();
    let device = Device {
        addresses: vec![server.socket_address()],
        read_bytes: spec.read_bytes.unwrap_or(u32::MAX).min(can.read_bytes),
        write_bytes: spec.write_bytes.unwrap_or(u32::MAX).min(can.write_bytes),
    };
    // Clients keep what they know under a deviceid: it changes with any of these (fact 4).
    let described = format!(
        "{} {} {}",
        server.socket_address(),
        device.read_bytes,
        device.write_bytes
    );
    if record.address != described || record.export != spec.export || record.device_generation == 0
    {
        record.device_generation += 1;
        record.address = described;
        record.export.clone_from(&spec.export);
    }
    record.root_handle = server.root_handle();
    catalog.put_data_server(wall(), &record).await?;
    Ok((record, device))
}

pub(super) fn member(
    id: DataServerId,
    spec: &DataServerSpec,
    hosts: Vec<IpAddr>,
    server: Option<NfsDataServer>,
) -> Member {
    let absent = server.is_none();
    let server: Arc<dyn DataServer> = match server {
        Some(server) => Arc::new(server),
        None => Arc::new(StandIn {
            name: spec.name.clone(),
            direct: true,
        }),
    };
    Member {
        cached_at: None,
        id,
        name: spec.name.clone(),
        server,
        holds: if spec.has_files {
            Holds::Found
        } else {
            Holds::Any
        },
        weight: spec.weight,
        hosts,
        absent,
    }
}

/// Takes in the data servers that were away or unfit, as they come.
pub async fn await_missing(
    registry: Registry,
    objects: Arc<Objects>,
    server: Arc<Server>,
    mut missing: Vec<Missing>,
) {
    let mut round: u32 = 0;
    while !missing.is_empty() {
        tokio::time::sleep(registry.watch.wait_for_missing()).await;
        round = round.wrapping_add(1);
        let mut still = Vec::new();
        for mut one in missing {
            let passed_over = one.told == Absence::Unfit && !round.is_multiple_of(ROUNDS_OF_UNFIT);
            if passed_over || !registry.arrive(&objects, &server, &mut one).await {
                still.push(one);
            }
        }
        missing = still;
    }
}

impl Registry {
    /// Says whether it is there now; tells why not where that is news.
    async fn arrive(&self, objects: &Objects, server: &Arc<Server>, one: &mut Missing) -> bool {
        let found = match self.take_in(one.id, &one.spec).await {
            Ok(found) => found,
            Err(why) => {
                if why.absence() != one.told {
                    one.told = self.leave_out(one.id, &one.spec, &why);
                }
                return false;
            }
        };
        let record = match self.catalog.read().data_server(one.id).await {
            Ok(Some(record)) => identify(&self.catalog, record, &one.spec, &found).await,
            Ok(None) => Err(anyhow::anyhow!("its record is gone")),
            Err(error) => Err(error.into()),
        };
        let (record, device) = match record {
            Ok(identified) => identified,
            Err(error) => {
                tracing::debug!("{} can't be taken in yet: {error:#}", one.spec);
                return false;
            }
        };
        server.restore_device(record.id, record.device_generation, device);
        let hosts = hosts_of(&one.spec).await;
        objects
            .attach(member(record.id, &one.spec, hosts, Some(found)))
            .await;
        tracing::info!("{} is there", one.spec);
        true
    }
}
