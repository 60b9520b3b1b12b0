//! Filers whose trees are taken into the catalog: each is a data server, and is scanned in the background,
//! from the time when it is there.
//!
//! Never here: the scan, and what is asked of a filer.

use super::data_servers::DataServerSpec;
use super::exports;
use super::junctions::NfsSpec;
use super::stand_in::StandIn;
use crate::clock::wall;
use adopt::{BeginError, Parts, Progress, Scan, ScanState};
use anyhow::Context;
use backend::tree::Tree;
use bytes::{BufMut, Bytes, BytesMut};
use catalog::{Catalog, InodeId, ScanTotals};
use futures_util::future::BoxFuture;
use layout::DataServerId;
use mds::{Scanning, Server};
use objects::{Health, Holds, Member, Objects};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Between tries to reach a filer.
const AGAIN: Duration = Duration::from_secs(1);

/// A `[[backend]]` in the mode `assimilated`, with its `[[junction]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssimilatedSpec {
    /// Of the backend.
    pub name: String,
    pub nfs: NfsSpec,
    /// Where it appears. From the first scan on it is a folder like any other, and may be moved.
    pub path: String,
    /// Within the backend; "/" is all of it.
    pub folder: String,
}

impl AssimilatedSpec {
    /// No data server's name of the configuration has a space.
    pub fn data_server(&self, ids: (u32, u32)) -> DataServerSpec {
        DataServerSpec {
            name: record_name(&self.name),
            host: self.nfs.host.clone(),
            port: self.nfs.port,
            mount_port: self.nfs.mount_port,
            export: self.nfs.export.clone(),
            weight: 0,
            client_host: None,
            read_bytes: None,
            write_bytes: None,
            moves_to_fence: false,
            has_files: true,
            ids,
        }
    }
}

pub fn record_name(backend: &str) -> String {
    format!("backend {backend}")
}

/// By which the catalog knows what was assimilated, and from where.
fn mark_key(backend: &str) -> Vec<u8> {
    format!("assimilated {backend}").into_bytes()
}

/// What is assimilated: the folder of the export, and what the file system is known again by.
struct Mark {
    folder: String,
    identity: Bytes,
}

impl Mark {
    fn of(bytes: &Bytes) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(Self {
            folder: String::from_utf8(bytes[..end].to_vec()).ok()?,
            identity: bytes.slice(end + 1..),
        })
    }

    fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_slice(self.folder.as_bytes());
        bytes.put_u8(0);
        bytes.put_slice(&self.identity);
        bytes.freeze()
    }
}

/// Sees that nothing that was assimilated is taken for something else. Gives those that aren't in the configuration any
/// more: what lies there waits.
pub async fn compare(
    catalog: &Catalog,
    specs: &[AssimilatedSpec],
    others: impl Iterator<Item = &str>,
) -> anyhow::Result<Vec<Member>> {
    let mut left = Vec::new();
    for other in others {
        anyhow::ensure!(
            catalog.meta_get(&mark_key(other)).await?.is_none(),
            "backend {other} is assimilated: its files are in the catalog, and can't be shown as they are \
             by a backend of the same name. Give it `mode = \"assimilated\"` again, or another name"
        );
    }
    for record in catalog.data_servers().await? {
        let Some(name) = record.name.strip_prefix("backend ") else {
            continue;
        };
        let known = specs.iter().any(|spec| spec.name == name);
        if !known && catalog.meta_get(&mark_key(name)).await?.is_some() {
            tracing::warn!(
                "backend {name} was assimilated and is not in the configuration: its files are shown, and wait \
                 until it is there again"
            );
            left.push(Member {
                cached_at: None,
                id: record.id,
                name: record.name.clone(),
                server: Arc::new(StandIn {
                    name: record.name.clone(),
                    direct: true,
                }),
                holds: Holds::Found,
                weight: 0,
                hosts: Vec::new(),
                absent: true,
            });
        }
    }
    Ok(left)
}

/// How a filer that is assimilated does.
pub struct AssimilatedShown {
    pub spec: AssimilatedSpec,
    /// Why its scan hasn't begun.
    pub absence: Option<String>,
    pub progress: Option<Progress>,
}

impl AssimilatedShown {
    /// In a word, and why.
    pub fn state(&self) -> (&'static str, Option<String>) {
        match self.progress.as_ref().map(|progress| &progress.state) {
            None => ("waiting", self.absence.clone()),
            Some(ScanState::Scanning) => ("scanning", None),
            Some(ScanState::Paused) => ("paused", None),
            Some(ScanState::Done) => ("done", None),
            Some(ScanState::Held(why)) => ("held", Some(why.clone())),
        }
    }

    pub fn totals(&self) -> ScanTotals {
        self.progress
            .as_ref()
            .map(|progress| progress.totals)
            .unwrap_or_default()
    }
}

/// All of them.
pub struct Assimilated {
    catalog: Arc<Catalog>,
    each: Vec<One>,
}

struct One {
    at: Arc<At>,
    working: AbortHandle,
}

/// One of them.
struct At {
    spec: AssimilatedSpec,
    /// As a data server.
    number: DataServerId,
    server: Weak<Server>,
    catalog: Arc<Catalog>,
    objects: Arc<Objects>,
    absence: Mutex<Option<String>>,
    scan: watch::Sender<Option<Arc<Scan>>>,
}

impl Assimilated {
    pub async fn start(
        catalog: &Arc<Catalog>,
        objects: &Arc<Objects>,
        server: &Arc<Server>,
        specs: &[AssimilatedSpec],
    ) -> anyhow::Result<Arc<Self>> {
        let records = catalog.data_servers().await?;
        let mut each = Vec::new();
        for spec in specs {
            let name = record_name(&spec.name);
            let record = records.iter().find(|record| record.name == name);
            let at = Arc::new(At {
                spec: spec.clone(),
                number: record.context("an assimilated backend has no number")?.id,
                server: Arc::downgrade(server),
                catalog: Arc::clone(catalog),
                objects: Arc::clone(objects),
                absence: Mutex::default(),
                scan: watch::Sender::new(None),
            });
            let working = tokio::spawn(Arc::clone(&at).work()).abort_handle();
            each.push(One { at, working });
        }
        let catalog = Arc::clone(catalog);
        Ok(Arc::new(Self { catalog, each }))
    }

    pub fn shown(&self) -> Vec<AssimilatedShown> {
        let shown = self.each.iter().map(|One { at, .. }| AssimilatedShown {
            spec: at.spec.clone(),
            absence: at.absence.lock().clone(),
            progress: at.scan.borrow().as_ref().map(|scan| scan.progress()),
        });
        shown.collect()
    }

    /// Stops the scan of a backend, or lets it go on. `false`: there is no such one.
    pub fn pause(&self, backend: &str, pause: bool) -> bool {
        let found = self.each.iter().find(|one| one.at.spec.name == backend);
        let scan = found.and_then(|one| one.at.scan.borrow().clone());
        let Some(scan) = scan else {
            return false;
        };
        if pause {
            scan.pause();
        } else {
            scan.resume();
        }
        true
    }

    /// The scans end where they stand, and go on at the next start.
    pub fn stop(&self) {
        for one in &self.each {
            one.working.abort();
        }
    }
}

impl Drop for Assimilated {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Scanning for Assimilated {
    fn wanted(&self, folder: InodeId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for One { at, .. } in &self.each {
                let row = self.catalog.read().unscanned_one(at.number, folder).await;
                if !matches!(row, Ok(Some(_))) {
                    continue;
                }
                let mut there = at.scan.subscribe();
                let Ok(scan) = there
                    .wait_for(Option::is_some)
                    .await
                    .map(|scan| scan.clone())
                else {
                    return;
                };
                if let Some(scan) = scan
                    && let Err(error) = scan.wanted(folder).await
                {
                    tracing::debug!("a folder of backend {}: {error}", at.spec.name);
                }
            }
        })
    }
}

impl At {
    async fn work(self: Arc<Self>) {
        loop {
            match self.bring_up().await {
                Ok(scan) => {
                    *self.absence.lock() = None;
                    self.scan.send_replace(Some(Arc::clone(&scan)));
                    scan.run().await;
                    return;
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    let news = self.absence.lock().replace(why.clone()) != Some(why.clone());
                    if news {
                        let name = &self.spec.name;
                        tracing::warn!("backend {name} can't be scanned yet: {why}");
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn bring_up(&self) -> anyhow::Result<Arc<Scan>> {
        let health = self.objects.health().borrow().get(&self.number).copied();
        anyhow::ensure!(
            matches!(health, Some(Health::Up | Health::Full)),
            "it isn't in service as a data server"
        );
        let key = mark_key(&self.spec.name);
        let known = self.catalog.meta_get(&key).await?;
        let known = match &known {
            Some(bytes) => Some(Mark::of(bytes).context("what was assimilated isn't legible")?),
            None => None,
        };
        if let Some(known) = &known {
            anyhow::ensure!(
                known.folder == self.spec.folder,
                "its folder {} is assimilated, not {}: set `folder` as it was, or add another backend",
                known.folder,
                self.spec.folder
            );
        }
        let identity = known.as_ref().map(|known| known.identity.clone());
        let (nfs, folder) = (&self.spec.nfs, &self.spec.folder);
        let tree = nfs.connect(&self.spec.name, folder, identity).await?;
        let mark = Mark {
            folder: folder.clone(),
            identity: tree.identity(),
        };
        let scan = Scan::new(Parts {
            name: self.spec.name.clone(),
            catalog: Arc::clone(&self.catalog),
            objects: Arc::clone(&self.objects),
            root: tree.root().await?.handle,
            tree: Arc::new(tree),
            holds_ours: folder == "/",
            server: self.number,
            clock: Arc::new(wall),
        });
        if known.is_none() {
            let (above, name) = self
                .spec
                .path
                .rsplit_once('/')
                .context("a path is absolute")?;
            let walk = exports::walk(&self.catalog, "junction", above).await?;
            let above = walk.last().copied().unwrap_or(InodeId::ROOT);
            let there = self.catalog.read().lookup(above, name.as_bytes()).await?;
            let changed = there.map_or(above, |entry| entry.id);
            let server = self.server.upgrade().context("the server stops")?;
            let mark = mark.to_bytes();
            let begun = server.taken_over(changed, scan.begin((above, name), (&key, &mark)));
            let begun = begun
                .await
                .context("a client has its folder by a delegation");
            begun?.map_err(|error| match error {
                BeginError::Catalog(catalog::Error::NotEmpty) => anyhow::anyhow!(
                    "{} isn't empty: what is in it would lie among the filer's files. Move it away, or name \
                     another folder",
                    self.spec.path
                ),
                error => error.into(),
            })?;
        }
        Ok(scan)
    }
}
