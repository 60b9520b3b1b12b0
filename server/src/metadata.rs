//! The metadata server, put together: catalog, data servers, protocol state, sockets.
//! Never here: what any of them does.

mod accounts;
mod assimilated;
mod cache_at;
mod census;
mod comeback;
mod data_servers;
mod exports;
mod junctions;
mod late_tree;
mod managed;
mod partners;
mod stand_in;

pub use accounts::{AccountsSource, IdentitySpec};
pub use assimilated::{Assimilated, AssimilatedShown, AssimilatedSpec};
pub use cache_at::CacheAt;
pub use census::{Absence, Census};
pub use data_servers::{DataServerSpec, Watch};
pub use exports::{ExportSpec, ReferralSpec};
pub use junctions::{
    BackendSpec, Backends, GivenTree, JunctionSpec, Keeper, NfsSpec, S3Spec, Shown,
};
pub use managed::{GivenServer, Managed, ManagedShown, ManagedSpec, Storage};

use crate::clock::{SystemClock, wall};
use crate::net::{self, Listeners};
use anyhow::Context;
use assimilated::record_name;
use bytes::Bytes;
use catalog::{Catalog, Options as CatalogOptions, failpoint::Failpoint};
use data_servers::Registry;
use exports::Places;
use layout::DataServerId;
use mds::state::{Boot, Limits, RecordedClient, State};
use mds::{Clock, HandleKey, Identity, Parts, Server, ServerCopy, Settings};
use objects::{Objects, OwnerRange};
use rand::Rng;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Within the state folder: one for each backend that must keep something on this host.
pub const BACKENDS: &str = "backends";

/// How long a graceful stop waits: for requests that wait for a bucket or a filer, for work in the background once the
/// last of them was answered, and for what backends have under way then.
const DRAIN: Duration = Duration::from_secs(10);

/// Everything that a metadata server needs to be told, from a file or from a command line.
#[derive(Debug, Clone)]
pub struct Spec {
    pub listen: Vec<SocketAddr>,
    pub state_dir: PathBuf,
    pub limits: Limits,
    pub net: net::Limits,
    pub data_servers: Vec<DataServerSpec>,
    pub watch: Watch,
    pub exports: Vec<ExportSpec>,
    pub referrals: Vec<ReferralSpec>,
    pub backends: Vec<BackendSpec>,
    pub junctions: Vec<JunctionSpec>,
    /// Filers whose trees become part of this server's own.
    pub assimilated: Vec<AssimilatedSpec>,
    /// Buckets that hold files of this server's own.
    pub managed: Vec<ManagedSpec>,
    pub identity: IdentitySpec,
    /// Bytes; a power of two.
    pub stripe_unit: u32,
    /// Data servers of a new file whose creator can stripe.
    pub stripe_count: u32,
    /// New files lie on the writer's own machine where a data server with room is there.
    pub local_first: bool,
    /// Between which servers COPY goes.
    pub server_copy: ServerCopy,
    /// Older clients are served too, by NFSv3 and MOUNT.
    pub nfsv3: bool,
    pub ids: (u32, u32),
    pub stats_seconds: u32,
    /// After how long I/O of a file whose data server is away fails; `None`: it waits.
    pub away_error: Option<Duration>,
    /// Owner and mode of the root of a new namespace.
    pub root_mode: u32,
    /// Memory for blocks of the catalog.
    pub catalog_cache_bytes: Option<u64>,
}

/// A metadata server that serves.
pub struct Running {
    pub server: Arc<Server>,
    pub catalog: Arc<Catalog>,
    pub objects: Arc<Objects>,
    /// Which data servers are in service.
    pub census: Arc<Census>,
    /// What other servers keep, and where it is shown.
    pub backends: Arc<Backends>,
    /// What is taken over from other servers.
    pub assimilated: Arc<Assimilated>,
    /// What holds files of this server's own.
    pub managed: Arc<Managed>,
    pub addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    house: JoinHandle<()>,
    arrivals: JoinHandle<()>,
    comebacks: JoinHandle<()>,
}

/// Secrets of the namespace, made with it and kept in its catalog.
async fn secret<const N: usize>(catalog: &Catalog, name: &[u8]) -> anyhow::Result<[u8; N]> {
    if let Some(kept) = catalog.meta_get(name).await? {
        return <[u8; N]>::try_from(&kept[..])
            .ok()
            .context("a secret in the catalog has another length than it was made with");
    }
    let mut made = [0; N];
    rand::rng().fill(&mut made[..]);
    catalog
        .meta_put(wall(), name, Bytes::copy_from_slice(&made))
        .await?;
    Ok(made)
}

/// Backends of the configuration that keep file systems of this namespace.
async fn keepers_of(catalog: &Catalog, spec: &Spec) -> anyhow::Result<BTreeSet<DataServerId>> {
    let filers = spec.assimilated.iter().map(|filer| &filer.name);
    let names = filers.chain(spec.managed.iter().map(|bucket| &bucket.name));
    let names: BTreeSet<String> = names.map(|name| record_name(name)).collect();
    let records = catalog.data_servers().await?.into_iter();
    let keepers = records.filter(|record| names.contains(&record.name));
    Ok(keepers.map(|record| record.id).collect())
}

impl Running {
    /// Opens the namespace, reaches for the data servers, and serves. Listens before anything that
    /// takes time, so that two servers on one address are told at once.
    pub async fn start(spec: Spec, failpoint: Option<Failpoint>) -> anyhow::Result<Self> {
        Self::start_by(Arc::new(SystemClock::new()), spec, failpoint).await
    }

    /// As [`Running::start`], with leases and grace by a clock that the caller brings.
    pub async fn start_by(
        clock: Arc<dyn Clock>,
        spec: Spec,
        failpoint: Option<Failpoint>,
    ) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&spec.listen)?;
        let addresses = listeners.addresses();
        let mut options = CatalogOptions::new(rand::rng().random(), wall());
        options.root_mode = spec.root_mode;
        options.failpoint = failpoint;
        options.cache_bytes = spec.catalog_cache_bytes.unwrap_or(options.cache_bytes);
        let catalog = Catalog::open(&spec.state_dir.join("catalog"), options).await?;
        let handle_key = HandleKey(secret(&catalog, b"handle-key").await?);
        let identity: [u8; 16] = secret(&catalog, b"identity").await?;
        let fsid = u64::from_be_bytes(identity[..8].try_into().context("eight of sixteen bytes")?);
        let shown = || spec.backends.iter().map(|backend| backend.name.as_str());
        let adopted = spec.assimilated.iter().map(|filer| filer.name.as_str());
        let keepers = spec.managed.iter().map(|keeper| keeper.name.as_str());
        let left =
            assimilated::compare(&catalog, &spec.assimilated, shown().chain(keepers)).await?;
        let filers = spec.assimilated.iter();
        let filers = filers.map(|filer| filer.data_server(spec.ids));
        let mut data_servers = spec.data_servers.clone();
        data_servers.extend(filers);
        let records = data_servers::number(&catalog, &data_servers).await?;
        let registry = Registry {
            catalog: Arc::clone(&catalog),
            census: Arc::default(),
            watch: spec.watch,
            namespace: fsid,
            configured: Arc::new(
                records
                    .iter()
                    .map(|record| (record.id, record.name.clone()))
                    .collect(),
            ),
        };
        let mut members = data_servers::reach(&registry, &data_servers, records).await?;
        members.members.extend(left);
        let managed = managed::members(&catalog, &spec.managed, shown().chain(adopted)).await?;
        members.members.extend(managed);
        let objects = Objects::start(
            Arc::clone(&catalog),
            members.members.clone(),
            objects::Options {
                spread: spec.stripe_count,
                stripe_unit: spec.stripe_unit,
                local_first: spec.local_first,
                probe_interval: spec.watch.look_every,
                suspect_interval: spec.watch.again_after(),
                ..objects::Options::new(OwnerRange::new(spec.ids.0, spec.ids.1)?, Arc::new(wall))
            },
        )
        .await?;
        let state_of_backends = spec.state_dir.join(BACKENDS);
        let managed = Managed::start(&catalog, &objects, &state_of_backends, &spec.managed).await?;
        let backends = Arc::new(Backends::new(
            Arc::clone(&catalog),
            Arc::clone(&objects),
            state_of_backends,
            spec.away_error,
        ));
        let places = Places {
            exports: &spec.exports,
            referrals: &spec.referrals,
            junctions: &backends.resolve(&spec.backends, &spec.junctions).await?,
        };
        let on_record = catalog.clients().await?;
        let state = State::new(
            spec.limits.clone(),
            Boot {
                epoch: catalog.boot_epoch() as u32,
                seed: rand::rng().random(),
                now: clock.monotonic(),
                on_record: on_record
                    .into_iter()
                    .filter(|record| record.reclaim_complete)
                    .map(|record| RecordedClient {
                        record: record.id,
                        owner: record.owner,
                        principal: record.principal,
                    })
                    .collect(),
            },
        );
        let server = Server::new(Parts {
            objects: Arc::clone(&objects),
            state,
            clock,
            settings: Settings {
                exports: exports::resolve(&catalog, places).await?,
                directory: spec.identity.directory(),
                stripe_unit: spec.stripe_unit,
                stats_seconds: spec.stats_seconds,
                away_error: spec.away_error,
                recall_timeout: spec.limits.recall,
                gate_timeout: spec.limits.recall + Duration::from_secs(5),
                server_copy: spec.server_copy.clone(),
                keepers: keepers_of(&catalog, &spec).await?,
            },
            identity: Identity {
                owner: Bytes::from(format!("headrace-{:032x}", u128::from_be_bytes(identity))),
                lease: spec.limits.lease,
                fsid: fsid >> 1,
            },
            handle_key,
            devices: members.devices.clone(),
            partners: Arc::new(partners::Neighbours),
            nfsv3: spec.nfsv3,
            catalog: Arc::clone(&catalog),
        });
        backends.serve(&server);
        let assimilated =
            Assimilated::start(&catalog, &objects, &server, &spec.assimilated).await?;
        server.scan_by(Arc::clone(&assimilated) as Arc<dyn mds::Scanning>);
        server.recover().await?;
        let house = tokio::spawn(Arc::clone(&server).keep_house());
        let census = Arc::clone(&registry.census);
        let arrivals = tokio::spawn(data_servers::await_missing(
            registry.clone(),
            Arc::clone(&objects),
            Arc::clone(&server),
            members.missing,
        ));
        let comebacks = tokio::spawn(comeback::watch(
            registry,
            Arc::clone(&objects),
            Arc::clone(&server),
            members.known,
        ));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(net::serve(
            listeners,
            Arc::clone(&server),
            spec.net,
            stop.clone(),
        ));
        Ok(Self {
            server,
            catalog,
            objects,
            census,
            backends,
            assimilated,
            managed,
            addresses,
            stop,
            serving,
            house,
            arrivals,
            comebacks,
        })
    }

    /// Other users and groups, from now on; what was known of them is forgotten.
    pub fn change_identity(&self, identity: &IdentitySpec) {
        self.server.change_settings(Settings {
            directory: identity.directory(),
            ..Settings::clone(&self.server.settings())
        });
    }

    /// Other servers to copy from and to, from now on.
    pub fn change_server_copy(&self, server_copy: ServerCopy) {
        self.server.change_settings(Settings {
            server_copy,
            ..Settings::clone(&self.server.settings())
        });
    }

    /// Other exports, referrals and junctions, from now on.
    pub async fn change_exports(
        &self,
        exports: &[ExportSpec],
        referrals: &[ReferralSpec],
        (backends, junctions): (&[BackendSpec], &[JunctionSpec]),
    ) -> anyhow::Result<()> {
        let places = Places {
            exports,
            referrals,
            junctions: &self.backends.resolve(backends, junctions).await?,
        };
        let exports = exports::resolve(&self.catalog, places).await?;
        let settings = Settings {
            exports,
            ..Settings::clone(&self.server.settings())
        };
        self.server.change_settings(settings);
        Ok(())
    }

    /// Takes no more requests, ends those under way, and what they left to do.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.assimilated.stop();
        let answered = tokio::time::timeout(DRAIN, &mut self.serving).await;
        let served = if let Ok(served) = answered {
            served
        } else {
            tracing::info!("requests that wait for what others keep are told to come again");
            self.finish(Duration::ZERO).await;
            (&mut self.serving).await
        };
        if let Err(error) = served {
            tracing::error!(%error, "a connection's task died");
        }
        if tokio::time::timeout(DRAIN, self.server.drained())
            .await
            .is_err()
        {
            tracing::info!("what is left to do in the background is done at the next start");
        }
        self.objects.stop();
        self.finish(DRAIN).await;
        self.house.abort();
        self.arrivals.abort();
        self.comebacks.abort();
    }

    /// What backends have under way comes to its end, for so long, or is ended.
    async fn finish(&self, patience: Duration) {
        tokio::join!(
            self.managed.finish(patience),
            self.backends.finish(patience)
        );
    }
}
