//! From `[[data_server]]` to members that objects live on: numbers kept by name, devices with the
//! generation that clients know, and patience with a server that is away at the start.

use crate::clock::wall;
use anyhow::Context;
use async_trait::async_trait;
use backend::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, ObjectStat, Origin,
    RangeAbilities, Seek, Sought, Space, Stability, WriteVerifier, Written,
};
use backend_nfs::{Address, NfsDataServer, Options};
use bytes::Bytes;
use catalog::{Catalog, DataServerRecord};
use layout::{DataServerId, Device, DeviceTable, ObjectId, Owner, Stripe};
use mds::Server;
use objects::{Member, Objects, OwnerRange};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
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
    /// The machine on which clients run beside it.
    pub client_host: Option<String>,
    /// What clients are told to send at most, where that is less than the server takes.
    pub read_bytes: Option<u32>,
    pub write_bytes: Option<u32>,
    /// Ids for the proof of its fence.
    pub ids: (u32, u32),
}

/// What was found at the start.
pub struct Reached {
    pub members: Vec<Member>,
    pub devices: DeviceTable,
    pub missing: Vec<Missing>,
}

/// A data server that was away.
#[derive(Clone)]
pub struct Missing {
    id: DataServerId,
    spec: DataServerSpec,
}

const RETRY: Duration = Duration::from_secs(1);

pub async fn reach(catalog: &Arc<Catalog>, specs: &[DataServerSpec]) -> anyhow::Result<Reached> {
    let mut reached = Reached {
        members: Vec::new(),
        devices: DeviceTable::default(),
        missing: Vec::new(),
    };
    let mut known = catalog.data_servers().await?;
    let mut roots: Vec<(SocketAddr, Bytes, String)> = Vec::new();
    for spec in specs {
        let record = if let Some(record) = known.iter().find(|record| record.name == spec.name) {
            record.clone()
        } else {
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
            record
        };
        match connect(spec, catalog.boot_epoch()).await {
            Ok(server) => {
                let place = (server.socket_address(), server.root_handle());
                if let Some((_, _, twin)) = roots
                    .iter()
                    .find(|(address, root, _)| (*address, root) == (place.0, &place.1))
                {
                    anyhow::bail!(
                        "data servers {twin} and {} are one and the same ({}): every write would go there twice; remove one of them",
                        spec.name,
                        place.0
                    );
                }
                roots.push((place.0, place.1, spec.name.clone()));
                let (record, device) = identify(catalog, record, spec, &server).await?;
                reached
                    .devices
                    .restore(record.id, record.device_generation, device);
                reached
                    .members
                    .push(member(record.id, spec, Arc::new(server)).await);
            }
            Err(error) => {
                tracing::warn!(
                    "data server {} is away: {error:#}; its files wait until it is there",
                    spec.name
                );
                reached.members.push(
                    member(
                        record.id,
                        spec,
                        Arc::new(Away {
                            name: spec.name.clone(),
                        }),
                    )
                    .await,
                );
                reached.missing.push(Missing {
                    id: record.id,
                    spec: spec.clone(),
                });
            }
        }
    }
    Ok(reached)
}

async fn connect(spec: &DataServerSpec, term: u64) -> anyhow::Result<NfsDataServer> {
    let host = address_of(&spec.host, spec.port).await?.ip();
    let address = Address {
        name: spec.name.clone(),
        host,
        nfs_port: Some(spec.port),
        mount_port: spec.mount_port,
        export: spec.export.clone(),
    };
    let server = NfsDataServer::connect(address, Options::new(term)).await?;
    let owners = OwnerRange::new(spec.ids.0, spec.ids.1)?;
    let trial = ObjectId(u128::MAX);
    let grade = server
        .prove_fence(owners.owner(trial, 0), owners.owner(trial, 1))
        .await?;
    anyhow::ensure!(
        grade != FenceGrade::None,
        "an owner of before isn't refused there, so that no client can be kept out; `headrace check` says why"
    );
    Ok(server)
}

async fn address_of(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    lookup_host((host, port))
        .await?
        .next()
        .with_context(|| format!("{host} has no address"))
}

/// The device that clients are told, with a new generation where something of it changed.
async fn identify(
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

async fn member(id: DataServerId, spec: &DataServerSpec, server: Arc<dyn DataServer>) -> Member {
    let host: Option<IpAddr> = match &spec.client_host {
        Some(host) => address_of(host, 0).await.ok().map(|address| address.ip()),
        None => address_of(&spec.host, spec.port)
            .await
            .ok()
            .map(|address| address.ip()),
    };
    Member {
        id,
        name: spec.name.clone(),
        server,
        weight: spec.weight,
        host,
    }
}

/// Takes in the data servers that were away, as they come.
pub async fn await_missing(
    catalog: Arc<Catalog>,
    objects: Arc<Objects>,
    server: Arc<Server>,
    mut missing: Vec<Missing>,
) {
    while !missing.is_empty() {
        tokio::time::sleep(RETRY).await;
        let mut still = Vec::new();
        for one in missing {
            if let Err(error) = arrive(&catalog, &objects, &server, &one).await {
                tracing::debug!("data server {} is still away: {error:#}", one.spec.name);
                still.push(one);
            }
        }
        missing = still;
    }
}

async fn arrive(
    catalog: &Catalog,
    objects: &Objects,
    server: &Arc<Server>,
    one: &Missing,
) -> anyhow::Result<()> {
    let found = connect(&one.spec, catalog.boot_epoch()).await?;
    let record = catalog
        .data_servers()
        .await?
        .into_iter()
        .find(|record| record.id == one.id)
        .context("its record is gone")?;
    let (record, device) = identify(catalog, record, &one.spec, &found).await?;
    server.restore_device(record.id, record.device_generation, device);
    objects
        .attach(member(record.id, &one.spec, Arc::new(found)).await)
        .await;
    tracing::info!("data server {} is there", one.spec.name);
    Ok(())
}

/// Stands in for a data server that could not be reached at the start: what needs it waits.
struct Away {
    name: String,
}

impl Away {
    fn error(&self) -> Error {
        Error {
            kind: ErrorKind::Retry { after: RETRY },
            detail: format!("data server {} is away", self.name),
        }
    }
}

#[async_trait]
impl DataServer for Away {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fence: FenceGrade::None,
            read_bytes: 1 << 20,
            write_bytes: 1 << 20,
            largest_object_bytes: i64::MAX as u64,
            // What it can is seen when it is there; until then nothing is refused for good.
            ranges: RangeAbilities {
                sparse: true,
                reserve: true,
                clone_block_bytes: Some(1),
                pull: true,
            },
        }
    }
    async fn create(&self, _: ObjectId, _: Owner) -> Result<Bytes, Error> {
        Err(self.error())
    }
    async fn stat(&self, _: &Bytes) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn set_size(&self, _: &Bytes, _: u64) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn extend(&self, _: &Bytes, _: u64) -> Result<ObjectStat, Error> {
        Err(self.error())
    }
    async fn fence(&self, _: &Bytes, _: Owner) -> Result<(), Error> {
        Err(self.error())
    }
    async fn read(&self, _: &Bytes, _: u64, _: u32) -> Result<Fetched, Error> {
        Err(self.error())
    }
    async fn write(&self, _: &Bytes, _: u64, _: Bytes, _: Stability) -> Result<Written, Error> {
        Err(self.error())
    }
    async fn commit(&self, _: &Bytes) -> Result<WriteVerifier, Error> {
        Err(self.error())
    }
    async fn remove(&self, _: ObjectId) -> Result<(), Error> {
        Err(self.error())
    }
    async fn space(&self) -> Result<Space, Error> {
        Err(self.error())
    }
    async fn seek(&self, _: &Bytes, _: Range<u64>, _: Stripe, _: Seek) -> Result<Sought, Error> {
        Err(self.error())
    }
    async fn deallocate(&self, _: &Bytes, _: Range<u64>) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn allocate(&self, _: &Bytes, _: Range<u64>, _: Stripe) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn clone_range(&self, _: &Bytes, _: u64, _: &Bytes, _: Range<u64>) -> Result<u64, Error> {
        Err(self.error())
    }
    async fn pull(&self, _: &Origin, _: u64, _: &Bytes, _: u64, _: u32) -> Result<Written, Error> {
        Err(self.error())
    }
}
