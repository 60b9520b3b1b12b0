//! Backends that keep objects of this namespace alone: each is a data server, and files lie there that are
//! made in its folder.
//!
//! Never here: how a backend keeps an object, and which files lie on it.

use super::assimilated::record_name;
use super::cache_at::CacheAt;
use super::exports;
use super::junctions::{S3Spec, number};
use super::stand_in::StandIn;
use crate::clock::wall;
use anyhow::Context;
use backend::DataServer;
use backend::tree::Unsent;
use backend_s3::S3Objects;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catalog::{Catalog, Error, InodeId, transact};
use futures_util::future::join_all;
use layout::DataServerId;
use objects::{Health, Holds, Member, Objects};
use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Between tries to reach a backend, or to give it its folder.
const AGAIN: Duration = Duration::from_secs(1);

/// A `[[backend]]` in the mode `managed`, with its `[[junction]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedSpec {
    /// Of the backend.
    pub name: String,
    pub storage: Storage,
    /// The name of the data server that caches it for readers.
    pub cache: Option<String>,
    /// Where its folder is made. From then on it is one like any other, and may be moved.
    pub path: String,
}

/// What objects lie in.
#[derive(Clone, PartialEq, Eq)]
pub enum Storage {
    S3(S3Spec),
    /// A data server that the caller brings.
    Given(GivenServer),
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::S3(spec) => spec.fmt(f),
            Storage::Given(_) => f.write_str("a given data server"),
        }
    }
}

/// Equal where it is the very same.
#[derive(Clone)]
pub struct GivenServer(pub Arc<dyn DataServer>);

impl PartialEq for GivenServer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for GivenServer {}

impl Storage {
    /// Where it is, for people. Never with credentials: none are in a configuration.
    pub fn place(&self) -> String {
        match self {
            Storage::S3(spec) => format!("{}/{}", spec.bucket, spec.prefix.trim_matches('/')),
            Storage::Given(_) => String::new(),
        }
    }

    async fn reach(
        &self,
        name: &str,
        state: &Path,
        cache: Option<CacheAt>,
    ) -> anyhow::Result<Reached> {
        match self {
            Storage::S3(spec) => {
                let options = backend_s3::Options {
                    cache: cache.map(|cache| Arc::new(cache) as _),
                    ..spec.options("/", state.to_owned())
                };
                let (objects, found) = S3Objects::attach(options).await?;
                if let Some(why) = found.read_only {
                    tracing::warn!("backend {name} is read-only: {why}");
                }
                let objects = Arc::new(objects);
                Ok(Reached {
                    server: Arc::clone(&objects) as _,
                    bucket: Some(objects),
                })
            }
            Storage::Given(given) => {
                given.0.space().await?;
                Ok(Reached {
                    server: Arc::clone(&given.0),
                    bucket: None,
                })
            }
        }
    }
}

struct Reached {
    server: Arc<dyn DataServer>,
    bucket: Option<Arc<S3Objects>>,
}

/// By which the catalog knows a managed backend's folder.
fn folder_key(backend: &str) -> Vec<u8> {
    format!("managed {backend}").into_bytes()
}

/// By which it knows where the backend's objects lie.
fn place_key(backend: &str) -> Vec<u8> {
    format!("managed place {backend}").into_bytes()
}

/// The folder that was made a backend's, and where that was.
struct Mark {
    folder: InodeId,
    path: String,
}

impl Mark {
    fn of(mut bytes: &[u8]) -> Option<Self> {
        let folder = InodeId {
            home: bytes.try_get_u64().ok()?,
            number: bytes.try_get_u64().ok()?,
        };
        let path = String::from_utf8(bytes.to_vec()).ok()?;
        Some(Self { folder, path })
    }

    fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u64(self.folder.home);
        bytes.put_u64(self.folder.number);
        bytes.put_slice(self.path.as_bytes());
        bytes.freeze()
    }
}

fn stands_in(id: DataServerId, backend: &str) -> Member {
    let name = record_name(backend);
    Member {
        cached_at: None,
        id,
        name: name.clone(),
        server: Arc::new(StandIn {
            name,
            direct: false,
        }),
        holds: Holds::Kept,
        weight: 0,
        hosts: Vec::new(),
        absent: true,
    }
}

/// Those that hold files, as long as they aren't reached: the files wait. Sees that nothing that is managed is
/// taken for something else.
pub async fn members(
    catalog: &Catalog,
    specs: &[ManagedSpec],
    others: impl Iterator<Item = &str>,
) -> anyhow::Result<Vec<Member>> {
    for other in others {
        anyhow::ensure!(
            catalog.meta_get(&folder_key(other)).await?.is_none(),
            "backend {other} is managed: it holds files of this namespace, and can't be shown as it is by a \
             backend of the same name. Give it `mode = \"managed\"` again, or another name"
        );
    }
    let mut members = Vec::new();
    for spec in specs {
        let record = number(catalog, &spec.name).await?;
        members.push(stands_in(record.id, &spec.name));
    }
    for record in catalog.data_servers().await? {
        let Some(name) = record.name.strip_prefix("backend ") else {
            continue;
        };
        let known = specs.iter().any(|spec| spec.name == name);
        if !known && catalog.meta_get(&folder_key(name)).await?.is_some() {
            tracing::warn!(
                "backend {name} was managed and is not in the configuration: its files are shown, and wait \
                 until it is there again"
            );
            members.push(stands_in(record.id, name));
        }
    }
    Ok(members)
}

/// How a managed backend does.
pub struct ManagedShown {
    pub spec: ManagedSpec,
    /// Why it isn't in service.
    pub absence: Option<String>,
    /// Why it has no folder yet.
    pub homeless: Option<String>,
    pub health: Health,
    /// What was written and isn't there.
    pub unsent: Unsent,
    /// Who caches it for readers.
    pub cache: Option<CacheAt>,
}

impl ManagedShown {
    /// In a word, and why.
    pub fn state(&self) -> (&'static str, Option<String>) {
        match (&self.homeless, &self.absence, self.health) {
            (Some(why), ..) => ("held", Some(why.clone())),
            (None, Some(why), _) => ("away", Some(why.clone())),
            (None, None, Health::Down) => ("away", None),
            (None, None, Health::Full) => ("full", None),
            (None, None, Health::Up | Health::Suspect) => ("up", None),
        }
    }
}

/// All of them.
pub struct Managed {
    objects: Arc<Objects>,
    each: Vec<One>,
}

struct One {
    at: Arc<At>,
    working: AbortHandle,
}

/// One of them.
struct At {
    spec: ManagedSpec,
    /// As a data server.
    number: DataServerId,
    catalog: Arc<Catalog>,
    objects: Arc<Objects>,
    /// What it must keep on this host.
    state_dir: PathBuf,
    absence: Mutex<Option<String>>,
    homeless: Mutex<Option<String>>,
    /// Once it is there.
    bucket: Mutex<Option<Arc<S3Objects>>>,
    cache: Mutex<Option<CacheAt>>,
}

impl Managed {
    /// Gives each its folder where that can be, before anybody makes files there, and reaches for them in the
    /// background.
    pub async fn start(
        catalog: &Arc<Catalog>,
        objects: &Arc<Objects>,
        state_dir: &Path,
        specs: &[ManagedSpec],
    ) -> anyhow::Result<Arc<Self>> {
        let mut each = Vec::new();
        for spec in specs {
            let at = Arc::new(At {
                spec: spec.clone(),
                number: number(catalog, &spec.name).await?.id,
                catalog: Arc::clone(catalog),
                objects: Arc::clone(objects),
                state_dir: state_dir.join(&spec.name),
                absence: Mutex::new(Some("it is being reached".to_owned())),
                homeless: Mutex::default(),
                bucket: Mutex::default(),
                cache: Mutex::default(),
            });
            at.is_housed().await;
            let working = tokio::spawn(Arc::clone(&at).work()).abort_handle();
            each.push(One { at, working });
        }
        let objects = Arc::clone(objects);
        Ok(Arc::new(Self { objects, each }))
    }

    pub fn shown(&self) -> Vec<ManagedShown> {
        let health = self.objects.health().borrow().clone();
        let shown = self.each.iter().map(|One { at, .. }| ManagedShown {
            spec: at.spec.clone(),
            absence: at.absence.lock().clone(),
            homeless: at.homeless.lock().clone(),
            health: health.get(&at.number).copied().unwrap_or(Health::Down),
            unsent: at.unsent(),
            cache: at.cache.lock().clone(),
        });
        shown.collect()
    }

    /// What they have under way comes to its end, for so long, or is ended.
    pub(super) async fn finish(&self, patience: Duration) {
        let buckets = self.each.iter().filter_map(|One { at, working }| {
            working.abort();
            at.bucket.lock().clone()
        });
        let buckets: Vec<_> = buckets.collect();
        join_all(buckets.iter().map(|bucket| bucket.finish(patience))).await;
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        for one in &self.each {
            one.working.abort();
        }
    }
}

impl At {
    fn unsent(&self) -> Unsent {
        let bucket = self.bucket.lock();
        bucket
            .as_ref()
            .map(|bucket| bucket.unsent())
            .unwrap_or_default()
    }

    async fn work(self: Arc<Self>) {
        loop {
            // Each of them, whatever the other lacks.
            let (housed, reached) = (self.is_housed().await, self.is_reached().await);
            if housed && reached {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn tell(&self, place: &Mutex<Option<String>>, what: &str, answer: anyhow::Result<()>) -> bool {
        let why = answer.err().map(|error| format!("{error:#}"));
        let mut known = place.lock();
        if let Some(why) = why.as_ref().filter(|why| known.as_ref() != Some(why)) {
            tracing::warn!("backend {} {what}: {why}", self.spec.name);
        }
        *known = why;
        known.is_none()
    }

    async fn is_housed(&self) -> bool {
        let housed = self.house().await;
        self.tell(&self.homeless, "has no folder yet", housed)
    }

    async fn is_reached(&self) -> bool {
        if self.absence.lock().is_none() {
            return true;
        }
        let reached = self.reach().await;
        self.tell(&self.absence, "can't be used yet", reached)
    }

    /// Has the files of its folder lie there. One that it has by that path already is found again by what it is,
    /// wherever clients moved it.
    async fn house(&self) -> anyhow::Result<()> {
        let key = folder_key(&self.spec.name);
        if let Some(known) = self.catalog.meta_get(&key).await? {
            let known = Mark::of(&known).context("which folder it has isn't legible")?;
            let folder = self.catalog.read().inode(known.folder).await;
            if known.path == self.spec.path && folder.is_ok() {
                return Ok(());
            }
        }
        let path = &self.spec.path;
        let walk = exports::walk(&self.catalog, "junction", path).await?;
        let mark = Mark {
            folder: *walk.last().context("a junction is below the root")?,
            path: path.clone(),
        };
        let kept = transact!(self.catalog, wall(), |tx| -> Result<(), Error> {
            tx.keep(mark.folder, self.number).await?;
            tx.meta_put(&key, mark.to_bytes());
            Ok(())
        });
        if matches!(kept, Err(Error::NotEmpty)) {
            anyhow::bail!(
                "{path} isn't empty: what is in it lies on the data servers. Move it away, or name another folder"
            );
        }
        kept?;
        Ok(())
    }

    async fn reach(&self) -> anyhow::Result<()> {
        let (key, place) = (place_key(&self.spec.name), self.spec.storage.place());
        let known = self.catalog.meta_get(&key).await?;
        if let Some(known) = &known {
            anyhow::ensure!(
                *known == place,
                "its files lie in {}, not in {place}: set it as it was, or add another backend",
                String::from_utf8_lossy(known)
            );
        }
        let name = &self.spec.name;
        let cache = match &self.spec.cache {
            Some(at) => Some(CacheAt::find(&self.catalog, &self.objects, at, name).await?),
            None => None,
        };
        let cached_at = cache.as_ref().map(CacheAt::server);
        let storage = &self.spec.storage;
        let reached = storage.reach(name, &self.state_dir, cache.clone()).await?;
        if known.is_none() {
            self.catalog.meta_put(wall(), &key, place.into()).await?;
        }
        let served = Member {
            server: reached.server,
            cached_at,
            absent: false,
            ..stands_in(self.number, &self.spec.name)
        };
        *self.bucket.lock() = reached.bucket;
        *self.cache.lock() = cache;
        self.objects.attach(served).await;
        tracing::info!("backend {} is there", self.spec.name);
        Ok(())
    }
}
