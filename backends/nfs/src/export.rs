//! An existing NFSv3 export, shown as it is: the filer keeps names, attributes and bytes, and judges
//! each caller by itself.
//!
//! Never here: what clients hold of its files, and any cache of what the filer said.

use crate::failure::tree_failure;
use crate::server::Address;
use backend::tree::{Caller, NODE_MAX_BYTES, Node, TreeAbilities, TreeError, TreeErrorKind};
use begun::Begun;
use bytes::{BufMut, Bytes, BytesMut};
use nfs_client::mount::{MountError, nfs_port};
use nfs_client::{Backoff, Client};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use wire::nfs3::{
    FSF3_LINK, FSF3_SYMLINK, Fattr3, Fh3, Filename3, Fsinfo3resok, Ftype3, Nfsstat3,
    PAYLOAD_MAX_BYTES, Pathconf3resok,
};

mod begun;
mod listing;
mod making;
mod names;
mod stat;
mod tree;

/// As this server calls itself to the filer.
const MACHINE: &str = "headrace";
/// What NFSv4's clients have at most.
const NAME_MAX_BYTES: u32 = 255;
const LEAST_TRANSFER_BYTES: u32 = 512;
const AFTER_ABSENCE: Duration = Duration::from_secs(1);
/// Before it is seen whether other contents have given way to the old ones.
const REFUSED_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct ExportOptions {
    pub connections: NonZeroUsize,
    /// Of each call.
    pub deadline: Duration,
    /// Of a probe, which tells a filer that is away from one that is slow.
    pub probe_deadline: Duration,
    /// The longest wait before connecting again.
    pub reconnect_after: Duration,
    /// [`NfsExport::identity`] of an earlier start: another one is refused.
    pub known: Option<Bytes>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::MIN.saturating_add(3),
            deadline: Duration::from_secs(10),
            probe_deadline: Duration::from_secs(3),
            reconnect_after: Duration::from_secs(5),
            known: None,
        }
    }
}

impl ExportOptions {
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
}

/// Why an export can't be shown now.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("filer {name}: {source}")]
    Mount { name: String, source: MountError },
    #[error("filer {name}: {source}")]
    Nfs {
        name: String,
        source: nfs_client::Error,
    },
    #[error("filer {name}: {folder} in its export {export} is no folder")]
    NotFolder {
        name: String,
        export: String,
        folder: String,
    },
    #[error("{0}")]
    OtherContents(String),
}

impl ExportError {
    /// It is there, and refuses: to wait alone won't help.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Mount { source, .. } => matches!(source, MountError::Refused { .. }),
            Self::Nfs { source, .. } => source.status().is_some(),
            Self::NotFolder { .. } | Self::OtherContents(_) => true,
        }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Mount { .. } => true,
            Self::Nfs { source, .. } => {
                let failure = tree_failure("", source);
                failure.is_passing() || failure.kind == TreeErrorKind::Gone
            }
            Self::NotFolder { .. } | Self::OtherContents(_) => false,
        }
    }
}

/// The file system behind the export, as it is known again after a restart of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    fsid: u64,
    root: Fh3,
}

impl Identity {
    fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(8 + NODE_MAX_BYTES);
        bytes.put_u64(self.fsid);
        bytes.put_slice(self.root.bytes());
        bytes.freeze()
    }
}

/// Whether the filer still shows what it showed.
#[derive(Debug, Default)]
struct Standing {
    /// It was away, and may have come back as another.
    doubted: AtomicBool,
    /// What is said to each call until the old contents are back.
    refused: Mutex<Option<(String, Instant)>>,
}

pub struct NfsExport {
    address: Address,
    /// Below the export's root; empty: that root itself.
    folder: String,
    options: ExportOptions,
    client: Client,
    identity: Identity,
    abilities: TreeAbilities,
    standing: Standing,
    begun: Begun,
    /// What the next create's verifier is made of.
    next_create: AtomicU64,
    /// Found out by asking.
    lacks_readdirplus: AtomicBool,
    lacks_exclusive: AtomicBool,
}

fn root_caller() -> nfs_client::Caller {
    nfs_client::Caller::root(MACHINE)
}

impl NfsExport {
    /// Mounts, walks to `folder` (names between slashes; empty: the export's root), and learns what
    /// the file system can do.
    pub async fn connect(
        address: Address,
        folder: &str,
        options: ExportOptions,
    ) -> Result<Self, ExportError> {
        let mounted = |source| ExportError::Mount {
            name: address.name.clone(),
            source,
        };
        let refused = |source| ExportError::Nfs {
            name: address.name.clone(),
            source,
        };
        let port = match address.nfs_port {
            Some(port) => port,
            None => nfs_port(address.host, &options.client())
                .await
                .map_err(mounted)?,
        };
        let client = Client::new(
            SocketAddr::new(address.host, port),
            root_caller(),
            &options.client(),
        );
        let (identity, _) = find(&address, folder, &options, &client).await?;
        if let Some(known) = &options.known
            && *known != identity.to_bytes()
        {
            let what = "it is not the file system that was there before";
            return Err(ExportError::OtherContents(other_contents(
                &address, folder, what,
            )));
        }
        let facts = client.fsinfo(&identity.root).await.map_err(refused)?;
        let limits = client.pathconf(&identity.root).await.map_err(refused)?;
        client.fsstat(&identity.root).await.map_err(refused)?;
        Ok(Self {
            abilities: abilities(&facts, &limits),
            folder: folder.to_owned(),
            address,
            options,
            client,
            identity,
            standing: Standing::default(),
            begun: Begun::default(),
            next_create: AtomicU64::new(moment()),
            lacks_readdirplus: AtomicBool::new(false),
            lacks_exclusive: AtomicBool::new(false),
        })
    }

    /// What the file system is known again by: give it as [`ExportOptions::known`] after a restart.
    pub fn identity(&self) -> Bytes {
        self.identity.to_bytes()
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.client.server()
    }

    fn error(&self, kind: TreeErrorKind, what: &str) -> TreeError {
        TreeError::new(kind, format!("filer {}: {what}", self.address.name))
    }

    fn nonsense(&self, what: &str) -> TreeError {
        self.error(TreeErrorKind::Broken, what)
    }

    fn handle(&self, handle: &Bytes) -> Result<Fh3, TreeError> {
        Fh3::new(handle.clone()).ok_or_else(|| {
            let what = format!("a filehandle of {} bytes is nobody's", handle.len());
            self.error(TreeErrorKind::Gone, &what)
        })
    }

    /// A name that NFSv3 can carry and means one entry.
    fn name(&self, name: &Bytes) -> Result<Filename3, TreeError> {
        if name.len() > self.abilities.name_bytes as usize {
            let limit = self.abilities.name_bytes;
            let what = format!("its names have at most {limit} bytes, not {}", name.len());
            return Err(self.error(TreeErrorKind::NameTooLong, &what));
        }
        let odd = name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if odd || matches!(&name[..], b"" | b"." | b"..") {
            let what = "no file can have such a name";
            return Err(self.error(TreeErrorKind::Invalid, what));
        }
        Filename3::new(name.clone()).ok_or_else(|| {
            let what = "NFSv3 has no names of such a length";
            self.error(TreeErrorKind::NameTooLong, what)
        })
    }

    /// The filer, called as the caller, once it is known to be the one that it was.
    async fn asked_by(&self, caller: &Caller) -> Result<Client, TreeError> {
        let refused = self.standing.refused.lock().clone();
        if let Some((why, since)) = &refused
            && since.elapsed() < REFUSED_FOR
        {
            return Err(TreeError::new(TreeErrorKind::Broken, why.clone()));
        }
        if refused.is_some() || self.standing.doubted.load(Ordering::SeqCst) {
            self.recognise().await?;
        }
        let caller = nfs_client::Caller::sys(MACHINE, caller.uid, caller.gid, &caller.groups);
        Ok(self.client.as_caller(caller))
    }

    /// An answer, or what its failure means.
    async fn told<T>(&self, answer: Result<T, nfs_client::Error>) -> Result<T, TreeError> {
        match answer {
            Ok(said) => Ok(said),
            Err(error) => Err(self.failed(&error).await),
        }
    }

    async fn failed(&self, error: &nfs_client::Error) -> TreeError {
        let failure = tree_failure(&self.address.name, error);
        match failure.kind {
            // A handle is gone with its node, or all are with the file system.
            TreeErrorKind::Gone => match self.recognise().await {
                Ok(_) => failure,
                Err(unknown) => unknown,
            },
            TreeErrorKind::Retry { .. } if error.status().is_none() => {
                self.standing.doubted.store(true, Ordering::SeqCst);
                failure
            }
            _ => failure,
        }
    }

    /// Sees that the root is what it was, and answers with its attributes.
    async fn recognise(&self) -> Result<Fattr3, TreeError> {
        let patient = self.client.within(self.options.probe_deadline);
        match patient.getattr(&self.identity.root).await {
            Ok(root) if root.fsid == self.identity.fsid => {
                self.welcome();
                Ok(root)
            }
            Ok(root) => Err(self.refuse(&format!(
                "its file system is {:x} and was {:x}",
                root.fsid, self.identity.fsid
            ))),
            Err(error) if is_lost(&error) => Err(self.mount_again(&patient).await),
            Err(error) => Err(tree_failure(&self.address.name, &error)),
        }
    }

    /// A root that is not valid any more: the file system may be away for a moment (a filer that
    /// starts), or another was put in its place.
    async fn mount_again(&self, client: &Client) -> TreeError {
        let passing = TreeErrorKind::Retry {
            after: AFTER_ABSENCE,
        };
        let found = find(&self.address, &self.folder, &self.options, client).await;
        match found {
            Ok((identity, _)) if identity == self.identity => {
                self.welcome();
                self.error(passing, "its file system was away for a moment")
            }
            Ok(_) => self.refuse("its root is another one than it was"),
            Err(error) if error.is_passing() => TreeError::new(passing, error.to_string()),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn welcome(&self) {
        self.standing.doubted.store(false, Ordering::SeqCst);
        *self.standing.refused.lock() = None;
    }

    fn refuse(&self, what: &str) -> TreeError {
        let why = other_contents(&self.address, &self.folder, what);
        *self.standing.refused.lock() = Some((why.clone(), Instant::now()));
        TreeError::new(TreeErrorKind::Broken, why)
    }

    fn node(&self, handle: Fh3, attributes: &Fattr3) -> Node {
        Node {
            handle: handle.into_bytes(),
            stat: stat::stat_of(attributes, self.identity.fsid),
        }
    }

    async fn attributes(
        &self,
        client: &Client,
        handle: &Fh3,
        told: Option<Fattr3>,
    ) -> Result<Fattr3, TreeError> {
        match told {
            Some(attributes) => Ok(attributes),
            None => self.told(client.getattr(handle).await).await,
        }
    }

    /// What a name stands for; `None` where it stands for nothing.
    async fn seek(
        &self,
        client: &Client,
        folder: &Fh3,
        name: &Filename3,
    ) -> Result<Option<Node>, TreeError> {
        let found = match client.lookup(folder, name).await {
            Ok(found) => found,
            Err(error) if error.status() == Some(Nfsstat3::Noent) => return Ok(None),
            Err(error) => return Err(self.failed(&error).await),
        };
        match self
            .attributes(client, &found.object, found.obj_attributes)
            .await
        {
            Ok(attributes) => Ok(Some(self.node(found.object, &attributes))),
            // Removed between the two questions.
            Err(error) if error.kind == TreeErrorKind::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Nanoseconds of the clock: no two starts begin with the same one.
fn moment() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn is_lost(error: &nfs_client::Error) -> bool {
    matches!(error.status(), Some(Nfsstat3::Stale | Nfsstat3::Badhandle))
}

fn other_contents(address: &Address, folder: &str, what: &str) -> String {
    let within = if folder.is_empty() {
        String::new()
    } else {
        format!(" (folder {folder})")
    };
    format!(
        "filer {} shows other contents under {}{within} than it did: {what}. Nothing is asked of it \
         until the old contents are back. If the new ones are meant, take this export out of the \
         configuration and add them as another one, which clients mount anew",
        address.name, address.export
    )
}

fn abilities(facts: &Fsinfo3resok, limits: &Pathconf3resok) -> TreeAbilities {
    let transfer = |bytes: u32| bytes.clamp(LEAST_TRANSFER_BYTES, PAYLOAD_MAX_BYTES as u32);
    let largest = match facts.maxfilesize {
        0 => i64::MAX as u64,
        bytes => bytes.min(i64::MAX as u64),
    };
    let step =
        u64::from(facts.time_delta.seconds) * 1_000_000_000 + u64::from(facts.time_delta.nseconds);
    TreeAbilities {
        judges: true,
        hard_links: facts.properties & FSF3_LINK != 0,
        symlinks: facts.properties & FSF3_SYMLINK != 0,
        special_files: true,
        xattrs: false,
        read_bytes: transfer(facts.rtmax),
        write_bytes: transfer(facts.wtmax),
        largest_file_bytes: largest,
        name_bytes: match limits.name_max {
            0 => NAME_MAX_BYTES,
            bytes => bytes.min(NAME_MAX_BYTES),
        },
        links: limits.linkmax.max(1),
        time_step_nanos: u32::try_from(step.max(1)).unwrap_or(u32::MAX),
    }
}

async fn mount(address: &Address, options: &ExportOptions) -> Result<Fh3, MountError> {
    crate::place::mount(address, &root_caller(), &options.client()).await
}

/// The root of what is shown, and its attributes.
async fn find(
    address: &Address,
    folder: &str,
    options: &ExportOptions,
    client: &Client,
) -> Result<(Identity, Fattr3), ExportError> {
    let refused = |source| ExportError::Nfs {
        name: address.name.clone(),
        source,
    };
    let mounted = mount(address, options).await;
    let mut root = mounted.map_err(|source| ExportError::Mount {
        name: address.name.clone(),
        source,
    })?;
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        let name = crate::place::name(part);
        root = client.lookup(&root, &name).await.map_err(refused)?.object;
    }
    let attributes = client.getattr(&root).await.map_err(refused)?;
    if attributes.ftype != Ftype3::Dir {
        return Err(ExportError::NotFolder {
            name: address.name.clone(),
            export: address.export.clone(),
            folder: folder.to_owned(),
        });
    }
    let fsid = attributes.fsid;
    Ok((Identity { fsid, root }, attributes))
}
