//! An NFSv3 server as a data server: ours, with its exact fence, or any other that lets the metadata
//! server be root.
//!
//! Never here: policy. What a person wants to know of a stranger is `headrace check`'s to try.

use crate::failure::failure;
use crate::place::{Tree, name};
use crate::ranges::abilities;
use crate::stat::stat_of;
use async_trait::async_trait;
use backend::upstream::{Demand, Version};
use backend::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, FoundObject, Nanos,
    ObjectStat, Origin, RangeAbilities, Seek, Sought, Space, Stability, WriteVerifier, Written,
};
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use nfs_client::mount::{MountError, nfs_port};
use nfs_client::{Backoff, Caller, Client};
use parking_lot::RwLock;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;
use wire::nfs3::{Createhow3, Fh3, Nfsstat3, PAYLOAD_MAX_BYTES, Sattr3, StableHow};

/// Who may write, who may read: the owner, and its group.
pub(crate) const OBJECT_MODE: u32 = 0o640;
/// A name in the root that only our own data server knows, without its being there.
pub(crate) const MARK: &str = ".headrace";
/// Where objects are made in an export that has files of its own.
const OWN_FOLDER: &str = ".headrace-objects";
/// Rounds of a padding that racing writers disturb.
const EXTEND_ROUNDS: u32 = 32;

/// Where a data server is.
#[derive(Debug, Clone)]
pub struct Address {
    /// For people.
    pub name: String,
    pub host: IpAddr,
    /// Without it the port mapper is asked.
    pub nfs_port: Option<u16>,
    /// MOUNT's; without it NFS's is tried where that is given, as on our own, else the port mapper asked.
    pub mount_port: Option<u16>,
    pub export: String,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// The metadata server's term: orders of an older one are refused by our own data server.
    pub term: u64,
    pub connections: NonZeroUsize,
    /// Of each call.
    pub deadline: Duration,
    /// Of a probe, which tells a server that is away from one that is slow.
    pub probe_deadline: Duration,
    /// The longest wait before connecting again.
    pub reconnect_after: Duration,
    /// It has files of its own, which stay where they are: objects that are made there lie in
    /// [`OWN_FOLDER`].
    pub has_files: bool,
    /// What the operator knows better than a proof: `Replace` where clients of the data server's own
    /// host bypass its permission check (LOCALIO).
    pub fence: Option<FenceGrade>,
}

impl Options {
    pub fn new(term: u64) -> Self {
        Self {
            term,
            connections: NonZeroUsize::MIN.saturating_add(1),
            deadline: Duration::from_secs(10),
            probe_deadline: Duration::from_secs(3),
            reconnect_after: Duration::from_secs(5),
            has_files: false,
            fence: None,
        }
    }

    fn client(&self) -> nfs_client::Options {
        nfs_client::Options {
            connections: self.connections,
            deadline: self.deadline,
            dial_deadline: self.probe_deadline,
            backoff: Backoff {
                longest: self.reconnect_after,
                ..Backoff::default()
            },
            ..nfs_client::Options::default()
        }
    }

    fn caller(&self) -> Caller {
        Caller::root(&format!("headrace-mds/{}", self.term))
    }
}

/// Why a data server can't be used now.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("data server {name}: {source}")]
    Mount { name: String, source: MountError },
    #[error("data server {name}: {source}")]
    Nfs {
        name: String,
        source: nfs_client::Error,
    },
}

impl ConnectError {
    /// It is there, and refuses: to wait alone won't help.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Mount { source, .. } => matches!(source, MountError::Refused { .. }),
            Self::Nfs { source, .. } => source.status().is_some(),
        }
    }
}

pub struct NfsDataServer {
    pub(crate) address: Address,
    pub(crate) options: Options,
    pub(crate) client: Client,
    root: RwLock<Fh3>,
    tree: Tree,
    pub(crate) capabilities: RwLock<Capabilities>,
}

impl NfsDataServer {
    /// Mounts, and learns what server it is. A stranger's fence counts as none until
    /// [`NfsDataServer::prove_fence`] has seen it.
    pub async fn connect(address: Address, options: Options) -> Result<Self, ConnectError> {
        let mounted = |source| ConnectError::Mount {
            name: address.name.clone(),
            source,
        };
        let refused = |source| ConnectError::Nfs {
            name: address.name.clone(),
            source,
        };
        let root = mount(&address, &options).await.map_err(mounted)?;
        let port = match address.nfs_port {
            Some(port) => port,
            None => nfs_port(address.host, &options.client())
                .await
                .map_err(mounted)?,
        };
        let client = Client::new(
            SocketAddr::new(address.host, port),
            options.caller(),
            &options.client(),
        );
        let facts = client.fsinfo(&root).await.map_err(refused)?;
        let base = if options.has_files {
            OWN_FOLDER
        } else {
            "data"
        };
        let ours = match client.lookup(&root, &name(MARK)).await {
            Ok(_) => true,
            Err(error) if error.status().is_some() => false,
            Err(error) => return Err(refused(error)),
        };
        let largest = PAYLOAD_MAX_BYTES as u32;
        let grade = if ours {
            FenceGrade::Exact
        } else {
            FenceGrade::None
        };
        let capabilities = Capabilities {
            fence: options.fence.unwrap_or(grade),
            direct: true,
            read_bytes: facts.rtmax.clamp(512, largest),
            write_bytes: facts.wtmax.clamp(512, largest),
            largest_object_bytes: facts.maxfilesize.min(i64::MAX as u64),
            ranges: if ours {
                abilities(&client).await.map_err(refused)?
            } else {
                RangeAbilities::default()
            },
        };
        Ok(Self {
            address,
            options,
            client,
            root: RwLock::new(root),
            tree: if ours {
                Tree::Flat
            } else {
                Tree::folders(base)
            },
            capabilities: RwLock::new(capabilities),
        })
    }

    /// Whether it is a data server of Headrace.
    pub fn is_ours(&self) -> bool {
        matches!(self.tree, Tree::Flat)
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.client.server()
    }

    /// As the export's mount gave it.
    pub fn root_handle(&self) -> Bytes {
        self.root.read().clone().into_bytes()
    }

    pub(crate) fn error(&self, error: &nfs_client::Error) -> Error {
        failure(&self.address.name, error)
    }

    pub(crate) fn root(&self) -> Fh3 {
        self.root.read().clone()
    }

    pub(crate) fn nonsense(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Broken,
            format!("data server {}: {what}", self.address.name),
        )
    }

    pub(crate) fn handle(&self, handle: &Bytes) -> Result<Fh3, Error> {
        handle_of(&self.address.name, handle)
    }

    /// The export was made anew, or another file system is mounted there: asks for its root again.
    async fn remount(&self) -> Result<(), Error> {
        self.tree.forget();
        let mounted = mount(&self.address, &self.options).await;
        let root = mounted.map_err(|error| {
            let kind = ErrorKind::Retry {
                after: Duration::from_secs(1),
            };
            Error::new(kind, format!("data server {}: {error}", self.address.name))
        })?;
        *self.root.write() = root;
        Ok(())
    }

    async fn make(&self, object: ObjectId, owner: Owner) -> Result<Bytes, nfs_client::Error> {
        let root = self.root();
        let folder = self
            .tree
            .folder(&self.client, &root, object, true)
            .await?
            .unwrap_or(root);
        let name = name(&object.to_string());
        let wanted = Sattr3 {
            mode: Some(OBJECT_MODE),
            uid: Some(owner.uid),
            gid: Some(owner.gid),
            size: Some(0),
            ..Sattr3::default()
        };
        let made = self
            .client
            .create(&folder, &name, Createhow3::Unchecked(wanted))
            .await?;
        let handle = match made.obj {
            Some(handle) => handle,
            None => self.client.lookup(&folder, &name).await?.object,
        };
        // UNCHECKED leaves the owner of a file that was there, and some servers that of a new one.
        let is = match made.obj_attributes {
            Some(attributes) => attributes,
            None => self.client.getattr(&handle).await?,
        };
        if (is.uid, is.gid, is.size, is.mode & 0o7777) != (owner.uid, owner.gid, 0, OBJECT_MODE) {
            self.client.setattr(&handle, wanted, None).await?;
        }
        Ok(handle.into_bytes())
    }

    async fn unmake(&self, object: ObjectId) -> Result<(), nfs_client::Error> {
        let root = self.root();
        let Some(folder) = self.tree.folder(&self.client, &root, object, false).await? else {
            return Ok(());
        };
        match self
            .client
            .remove(&folder, &name(&object.to_string()))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(Nfsstat3::Noent) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn change_owner(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        let wanted = Sattr3 {
            mode: Some(OBJECT_MODE),
            uid: Some(owner.uid),
            gid: Some(owner.gid),
            ..Sattr3::default()
        };
        let handle = self.handle(handle)?;
        self.client
            .setattr(&handle, wanted, None)
            .await
            .map_err(|e| self.error(&e))?;
        Ok(())
    }
}

async fn mount(address: &Address, options: &Options) -> Result<Fh3, MountError> {
    crate::place::mount(address, &options.caller(), &options.client()).await
}

pub(crate) fn is_lost(error: &nfs_client::Error) -> bool {
    matches!(error.status(), Some(Nfsstat3::Stale | Nfsstat3::Badhandle))
}

pub(crate) fn handle_of(server: &str, handle: &Bytes) -> Result<Fh3, Error> {
    Fh3::new(handle.clone()).ok_or_else(|| {
        let detail = format!(
            "data server {server}: a filehandle of {} bytes is nobody's",
            handle.len()
        );
        Error::new(ErrorKind::Gone, detail)
    })
}

#[async_trait]
impl DataServer for NfsDataServer {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.read().clone()
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        let made = match self.make(object, owner).await {
            Err(error) if is_lost(&error) => {
                self.remount().await?;
                self.make(object, owner).await
            }
            made => made,
        };
        made.map_err(|error| self.error(&error))
    }

    async fn create_all(&self, objects: &[(ObjectId, Owner)]) -> Result<Vec<Bytes>, Error> {
        self.make_all(objects).await
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        let attributes = self
            .client
            .getattr(&self.handle(handle)?)
            .await
            .map_err(|e| self.error(&e))?;
        Ok(stat_of(&attributes))
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let file = self.handle(handle)?;
        let wanted = Sattr3 {
            size: Some(size),
            ..Sattr3::default()
        };
        let changed = self
            .client
            .setattr(&file, wanted, None)
            .await
            .map_err(|e| self.error(&e))?;
        match changed.after {
            Some(attributes) => Ok(stat_of(&attributes)),
            None => self.stat(handle).await,
        }
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let file = self.handle(handle)?;
        for _ in 0..EXTEND_ROUNDS {
            let is = self
                .client
                .getattr(&file)
                .await
                .map_err(|e| self.error(&e))?;
            if is.size >= size {
                return Ok(stat_of(&is));
            }
            // Refused if anybody wrote meanwhile: an unguarded SETATTR could cut what was written.
            let wanted = Sattr3 {
                size: Some(size),
                ..Sattr3::default()
            };
            match self.client.setattr(&file, wanted, Some(is.ctime)).await {
                Ok(changed) => {
                    if let Some(attributes) = changed.after {
                        return Ok(stat_of(&attributes));
                    }
                }
                Err(error) if error.status() == Some(Nfsstat3::NotSync) => {}
                // The next round's GETATTR tells what became of it.
                Err(error) if error.may_have_run() => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
        let kind = ErrorKind::Retry {
            after: Duration::from_millis(50),
        };
        Err(Error::new(
            kind,
            format!(
                "data server {}: writers keep disturbing a padding",
                self.address.name
            ),
        ))
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        if self.capabilities().fence < FenceGrade::Windowed {
            let detail = format!(
                "data server {} can't keep a writer out of an object",
                self.address.name
            );
            return Err(Error::new(ErrorKind::Unsupported, detail));
        }
        self.change_owner(handle, owner).await
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let count = count.min(self.capabilities().read_bytes);
        let got = self
            .client
            .read(&self.handle(handle)?, offset, count)
            .await
            .map_err(|e| self.error(&e))?;
        if got.data.len() > count as usize {
            return Err(self.nonsense("READ gave more than was asked for"));
        }
        if got.data.is_empty() && !got.eof && count > 0 {
            return Err(self.nonsense("READ gave nothing before the end"));
        }
        Ok(Fetched {
            data: got.data,
            at_end: got.eof,
        })
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let limit = self.capabilities().write_bytes as usize;
        let data = data.slice(..data.len().min(limit));
        let length = data.len();
        let stable = match stability {
            Stability::Unstable => StableHow::Unstable,
            Stability::Durable => StableHow::FileSync,
        };
        let file = self.handle(handle)?;
        let said = self
            .client
            .write(&file, offset, stable, data)
            .await
            .map_err(|e| self.error(&e))?;
        if said.count as usize > length || (said.count == 0 && length > 0) {
            return Err(self.nonsense("WRITE took a wrong number of bytes"));
        }
        let durable = said.committed > StableHow::Unstable;
        if stability == Stability::Durable && !durable {
            return Err(self.nonsense("a FILE_SYNC WRITE was answered UNSTABLE"));
        }
        Ok(Written {
            count: said.count,
            durable,
            verifier: said.verf,
        })
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        let said = self
            .client
            .commit(&self.handle(handle)?, 0, 0)
            .await
            .map_err(|e| self.error(&e))?;
        Ok(said.verf)
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        let gone = match self.unmake(object).await {
            Err(error) if is_lost(&error) => {
                self.remount().await?;
                self.unmake(object).await
            }
            gone => gone,
        };
        gone.map_err(|error| self.error(&error))
    }

    async fn remove_found(&self, file: &FoundObject) -> Result<(), Error> {
        for (folder, name) in &file.names {
            self.take_away(folder, name, file).await?;
        }
        Ok(())
    }

    async fn space(&self) -> Result<Space, Error> {
        let patient = self.client.within(self.options.probe_deadline);
        let said = match patient.fsstat(&self.root()).await {
            Err(error) if is_lost(&error) => {
                self.remount().await?;
                patient.fsstat(&self.root()).await
            }
            said => said,
        };
        let said = said.map_err(|error| self.error(&error))?;
        Ok(Space {
            total: said.tbytes,
            free: said.abytes.min(said.tbytes),
        })
    }

    async fn seek(
        &self,
        handle: &Bytes,
        within: Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        self.find(handle, within, stripe, what).await
    }

    async fn deallocate(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        self.punch(handle, range).await
    }

    async fn allocate(
        &self,
        handle: &Bytes,
        range: Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        self.set_aside(handle, range, stripe).await
    }

    async fn clone_range(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        self.share_blocks(source, source_offset, handle, range)
            .await
    }

    fn origin(&self, handle: &Bytes, owner: Owner) -> Option<Origin> {
        self.reached_at(handle, owner)
    }

    async fn pull(
        &self,
        origin: &Origin,
        origin_offset: u64,
        handle: &Bytes,
        offset: u64,
        length: u32,
    ) -> Result<Written, Error> {
        self.fetch(origin, origin_offset, handle, offset, length)
            .await
    }

    async fn offer(
        &self,
        backend: &str,
        version: &Version,
        mtime: Nanos,
        reader: Owner,
    ) -> Result<Bytes, Error> {
        self.have_cached(backend, version, mtime, reader).await
    }

    async fn withdraw(&self, handle: &Bytes) -> Result<(), Error> {
        self.no_longer_cached(handle).await
    }

    async fn demand(&self, backend: &str) -> Result<Demand, Error> {
        self.cache_demand(backend).await
    }
}
