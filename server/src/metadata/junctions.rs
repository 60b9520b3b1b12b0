//! From `[[backend]]` and `[[junction]]` to trees in the namespace: reached in the background, kept over
//! a reload where nothing of them changed, given up when they are taken out.
//!
//! Never here: what a tree is asked.

use super::cache_at::CacheAt;
use super::data_servers::address_of;
use super::late_tree::LateTree;
use crate::clock::wall;
use crate::observe::Latency;
use anyhow::Context;
use backend::tree::{Tree, TreeAbilities};
use backend_nfs::{Address, ExportOptions, NfsExport};
use backend_s3::{Attached, Defaults, S3Mirror, Writers};
use bytes::Bytes;
use catalog::{Catalog, DataServerRecord};
use futures_util::future::join_all;
use layout::{DataServerId, Device};
use mds::{Access, Junction, Server};
use objects::Objects;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Between tries to reach a backend that is away.
const AGAIN: Duration = Duration::from_secs(5);

/// An entry of `[[backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSpec {
    pub name: String,
    pub keeper: Keeper,
    /// The name of a data server that keeps chunks of it for readers.
    pub cache: Option<String>,
}

/// Who keeps a backend's files.
#[derive(Clone, PartialEq, Eq)]
pub enum Keeper {
    /// An existing export of an NFSv3 server.
    Nfs(NfsSpec),
    /// A bucket of S3.
    S3(S3Spec),
    /// A tree that the caller brings.
    Given(GivenTree),
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keeper::Nfs(spec) => spec.fmt(f),
            Keeper::S3(spec) => spec.fmt(f),
            Keeper::Given(_) => f.write_str("a given tree"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfsSpec {
    pub host: String,
    pub port: u16,
    pub mount_port: Option<u16>,
    pub export: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Spec {
    pub bucket: String,
    /// What the keys begin with that are shown.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether anybody else writes there.
    pub others_write: bool,
    /// Of this host's disk, for what is written and not sent up; without it, a share of it.
    pub spool_bytes: Option<u64>,
    /// Owner and group of what says nothing of them.
    pub owner: (u32, u32),
}

/// Equal where it is the very same.
#[derive(Clone)]
pub struct GivenTree(pub Arc<dyn Tree>);

impl PartialEq for GivenTree {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for GivenTree {}

/// An entry of `[[junction]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JunctionSpec {
    /// Absolute, below an export.
    pub path: String,
    /// The name of a backend.
    pub backend: String,
    /// Within the backend; "/" is all of it.
    pub folder: String,
    pub access: Access,
}

/// Every tree that is shown somewhere.
pub struct Backends {
    catalog: Arc<Catalog>,
    /// The data servers, of which some may cache.
    objects: Arc<Objects>,
    state_dir: PathBuf,
    /// After how long calls of a backend that is away fail; `None`: they wait.
    away_error: Option<Duration>,
    /// Whom devices are told to, once it is there.
    server: watch::Sender<Option<Weak<Server>>>,
    /// By the path of their junctions.
    kept: Mutex<HashMap<String, Arc<Kept>>>,
}

struct Kept {
    spec: JunctionSpec,
    backend: BackendSpec,
    tree: Arc<LateTree>,
    junction: Junction,
    cache: Option<CacheAt>,
    reaching: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.reaching.abort();
    }
}

/// How a tree at a junction does.
pub struct Shown {
    pub spec: JunctionSpec,
    pub junction: Junction,
    /// Who keeps its files.
    pub keeper: Keeper,
    /// Why its backend isn't there.
    pub absence: Option<Arc<str>>,
    /// How long the backend's calls took.
    pub calls: Latency,
    /// Who keeps chunks of it for readers.
    pub cache: Option<CacheAt>,
}

impl Backends {
    /// `state_dir`: for what backends must keep on this host.
    pub fn new(
        catalog: Arc<Catalog>,
        objects: Arc<Objects>,
        state_dir: PathBuf,
        away_error: Option<Duration>,
    ) -> Self {
        Self {
            catalog,
            objects,
            state_dir,
            away_error,
            server: watch::Sender::new(None),
            kept: Mutex::default(),
        }
    }

    /// From now on devices are told to clients.
    pub fn serve(&self, server: &Arc<Server>) {
        self.server.send_replace(Some(Arc::downgrade(server)));
    }

    /// The trees of `junctions`. Those that stay are the same as before, and the others are let go.
    pub async fn resolve(
        &self,
        backends: &[BackendSpec],
        junctions: &[JunctionSpec],
    ) -> anyhow::Result<Vec<(JunctionSpec, Junction)>> {
        let mut next = HashMap::new();
        let mut resolved = Vec::new();
        for spec in junctions {
            let backend = backends.iter().find(|backend| backend.name == spec.backend);
            let backend = backend.with_context(|| {
                format!(
                    "junction {}: there is no backend {}",
                    spec.path, spec.backend
                )
            })?;
            let before = self.kept.lock().get(&spec.path).cloned();
            let same =
                |kept: &Arc<Kept>| kept.backend == *backend && kept.spec.folder == spec.folder;
            let kept = match before.filter(same) {
                Some(kept) => kept,
                None => Arc::new(self.begin(backend, spec).await?),
            };
            resolved.push((spec.clone(), kept.junction.clone()));
            next.insert(spec.path.clone(), kept);
        }
        *self.kept.lock() = next;
        Ok(resolved)
    }

    pub fn shown(&self) -> Vec<Shown> {
        let kept = self.kept.lock();
        let mut shown: Vec<Shown> = kept
            .values()
            .map(|kept| Shown {
                spec: kept.spec.clone(),
                junction: kept.junction.clone(),
                keeper: kept.backend.keeper.clone(),
                absence: kept.tree.absence(),
                calls: kept.tree.latency(),
                cache: kept.cache.clone(),
            })
            .collect();
        shown.sort_by(|a, b| a.spec.path.cmp(&b.spec.path));
        shown
    }

    /// What they have under way comes to its end, for so long, or is ended.
    pub(super) async fn finish(&self, patience: Duration) {
        let kept: Vec<Arc<Kept>> = self.kept.lock().values().cloned().collect();
        let finished = kept.iter().map(|kept| {
            kept.reaching.abort();
            kept.tree.finish(patience)
        });
        join_all(finished).await;
    }

    async fn begin(&self, backend: &BackendSpec, spec: &JunctionSpec) -> anyhow::Result<Kept> {
        let cache = match &backend.cache {
            Some(name) => {
                let (catalog, objects) = (&self.catalog, &self.objects);
                Some(CacheAt::find(catalog, objects, name, &backend.name).await?)
            }
            None => None,
        };
        let number = match &cache {
            Some(cache) => cache.server(),
            None => number(&self.catalog, &backend.name).await?.id,
        };
        let tree = Arc::new(LateTree::new(
            &backend.name,
            backend.keeper.expected_abilities(),
            self.away_error,
        ));
        let shown = Arc::clone(&tree) as Arc<dyn Tree>;
        let junction = Junction::new(backend.name.clone(), shown, Some(number));
        let reach = Reach {
            backend: backend.clone(),
            folder: spec.folder.clone(),
            tree: Arc::clone(&tree),
            catalog: Arc::clone(&self.catalog),
            state_dir: self.state_dir.clone(),
            server: self.server.subscribe(),
            number,
            cache: cache.clone(),
        };
        Ok(Kept {
            spec: spec.clone(),
            backend: backend.clone(),
            tree,
            junction,
            cache,
            reaching: tokio::spawn(reach.run()).abort_handle(),
        })
    }
}

/// Reaches for one tree until it is there.
struct Reach {
    backend: BackendSpec,
    folder: String,
    tree: Arc<LateTree>,
    catalog: Arc<Catalog>,
    state_dir: PathBuf,
    server: watch::Receiver<Option<Weak<Server>>>,
    number: DataServerId,
    cache: Option<CacheAt>,
}

impl Reach {
    async fn run(mut self) {
        let mut told = String::new();
        loop {
            let why = match self.reach().await {
                Ok(tree) => match self.take_in(&tree).await {
                    Ok(()) => {
                        if !told.is_empty() {
                            tracing::info!("backend {} is there", self.backend.name);
                        }
                        self.tree.arrive(tree);
                        return;
                    }
                    Err(error) => format!("{error:#}"),
                },
                Err(error) => format!("{error:#}"),
            };
            self.tree.stays_away(&why);
            if why != told {
                tracing::warn!("backend {} can't be used yet: {why}", self.backend.name);
                told = why;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn reach(&self) -> anyhow::Result<Arc<dyn Tree>> {
        match &self.backend.keeper {
            Keeper::Nfs(spec) => self.reach_export(spec).await,
            Keeper::S3(spec) => {
                let state = self.state_dir.join(self.folder_of_state());
                let (mirror, found) = spec.attach(&self.folder, state, self.cache.clone()).await?;
                if let Some(why) = found.read_only {
                    tracing::warn!("backend {} is read-only: {why}", self.backend.name);
                }
                Ok(Arc::new(mirror))
            }
            Keeper::Given(given) => {
                anyhow::ensure!(self.folder == "/", "a given tree is shown as a whole");
                Ok(Arc::clone(&given.0))
            }
        }
    }

    /// Where ids and files under change are kept, of this bucket at this folder.
    fn folder_of_state(&self) -> String {
        let name = &self.backend.name;
        match self.folder.trim_matches('/') {
            "" => name.clone(),
            // No name of a backend has a `%` in it.
            folder => format!("{name}%{}", folder.replace('%', "%25").replace('/', "%2F")),
        }
    }

    /// The same file system as at the first time: filehandles of another one would name other files.
    async fn reach_export(&self, spec: &NfsSpec) -> anyhow::Result<Arc<dyn Tree>> {
        let key = format!(
            "backend {} {} {} {}",
            self.backend.name, spec.host, spec.export, self.folder
        );
        let known = self.catalog.meta_get(key.as_bytes()).await?;
        let export = spec
            .connect(&self.backend.name, &self.folder, known)
            .await?;
        self.catalog
            .meta_put(wall(), key.as_bytes(), export.identity())
            .await?;
        Ok(Arc::new(export))
    }

    /// Makes its device known, under which clients read its files by themselves.
    async fn take_in(&mut self, tree: &Arc<dyn Tree>) -> anyhow::Result<()> {
        let Some(device) = tree.device() else {
            return Ok(());
        };
        self.server.wait_for(Option::is_some).await?;
        let server = self.server.borrow().clone();
        let Some(server) = server.as_ref().and_then(Weak::upgrade) else {
            return Ok(());
        };
        let record = self.catalog.read().data_server(self.number).await?;
        let mut record = record.context("its record is gone")?;
        let described = described(&device);
        // Clients keep what they know under a deviceid: it changes with any of these (fact 4).
        if record.address != described || record.device_generation == 0 {
            record.device_generation += 1;
            record.address = described;
            self.catalog.put_data_server(wall(), &record).await?;
        }
        server.change_device(record.id, record.device_generation, device);
        Ok(())
    }
}

fn described(device: &Device) -> String {
    let addresses: Vec<String> = device.addresses.iter().map(ToString::to_string).collect();
    format!(
        "{} {} {}",
        addresses.join(","),
        device.read_bytes,
        device.write_bytes
    )
}

/// The number by which clients know where a backend's files lie. No data server's name has a space.
pub(super) async fn number(catalog: &Catalog, backend: &str) -> anyhow::Result<DataServerRecord> {
    let known = catalog.data_servers().await?;
    let name = format!("backend {backend}");
    if let Some(record) = known.iter().find(|record| record.name == name) {
        return Ok(record.clone());
    }
    let highest = known.iter().map(|record| record.id.0).max().unwrap_or(0);
    let record = DataServerRecord {
        id: DataServerId(highest + 1),
        name,
        device_generation: 0,
        address: String::new(),
        export: String::new(),
        root_handle: Bytes::new(),
    };
    catalog.put_data_server(wall(), &record).await?;
    Ok(record)
}

impl NfsSpec {
    /// `known`: what it must be known again by.
    pub(crate) async fn connect(
        &self,
        name: &str,
        folder: &str,
        known: Option<Bytes>,
    ) -> anyhow::Result<NfsExport> {
        let address = address_of(&self.host, self.port).await?;
        let place = Address {
            name: name.to_owned(),
            host: address.ip(),
            nfs_port: Some(self.port),
            mount_port: self.mount_port,
            export: self.export.clone(),
        };
        let options = ExportOptions {
            known,
            ..ExportOptions::default()
        };
        let folder = folder.trim_start_matches('/');
        Ok(NfsExport::connect(place, folder, options).await?)
    }
}

impl S3Spec {
    /// `state` is this server's alone.
    pub(crate) async fn attach(
        &self,
        folder: &str,
        state: PathBuf,
        cache: Option<CacheAt>,
    ) -> anyhow::Result<(S3Mirror, Attached)> {
        let options = backend_s3::Options {
            cache: cache.map(|cache| Arc::new(cache) as _),
            ..self.options(folder, state)
        };
        Ok(S3Mirror::attach(options).await?)
    }

    pub(crate) fn options(&self, folder: &str, state: PathBuf) -> backend_s3::Options {
        backend_s3::Options {
            prefix: format!(
                "{}/{}",
                self.prefix.trim_matches('/'),
                folder.trim_matches('/')
            ),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            // As most servers want it that aren't AWS.
            path_style: self.endpoint.is_some(),
            writers: if self.others_write {
                Writers::Several
            } else {
                Writers::One
            },
            spool_bytes: self.spool_bytes,
            defaults: Defaults {
                uid: self.owner.0,
                gid: self.owner.1,
                ..Defaults::default()
            },
            ..backend_s3::Options::new(&self.bucket, state)
        }
    }
}

impl Keeper {
    /// Where it is, for people.
    pub fn place(&self, folder: &str) -> String {
        let inner = if folder == "/" { "" } else { folder };
        match self {
            Keeper::Nfs(NfsSpec {
                host, port, export, ..
            }) if host.contains(':') => format!("[{host}]:{port}{export}{inner}"),
            Keeper::Nfs(NfsSpec {
                host, port, export, ..
            }) => format!("{host}:{port}{export}{inner}"),
            Keeper::S3(spec) => {
                let at = spec.endpoint.as_deref().unwrap_or("AWS");
                format!("{} at {at}{inner}", spec.bucket)
            }
            Keeper::Given(_) => format!("in this process{inner}"),
        }
    }

    /// Until it is there.
    fn expected_abilities(&self) -> TreeAbilities {
        match self {
            Keeper::Nfs(_) => TreeAbilities {
                judges: true,
                hard_links: true,
                symlinks: true,
                special_files: true,
                xattrs: false,
                read_bytes: 1 << 20,
                write_bytes: 1 << 20,
                largest_file_bytes: i64::MAX as u64,
                name_bytes: 255,
                links: 32_000,
                time_step_nanos: 1,
            },
            Keeper::S3(_) => TreeAbilities {
                judges: false,
                hard_links: false,
                symlinks: true,
                special_files: false,
                xattrs: true,
                read_bytes: 1 << 20,
                write_bytes: 1 << 20,
                largest_file_bytes: 5 << 40,
                name_bytes: 255,
                links: 1,
                time_step_nanos: 1,
            },
            Keeper::Given(given) => given.0.abilities(),
        }
    }
}
