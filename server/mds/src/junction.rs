//! A backend's own tree, as it is shown where a junction covers a folder: whose nodes are which files,
//! what is told of them, and what is counted. Nothing of the tree is in the catalog.
//!
//! Never here: operations (`ops::junction`), and a concrete backend.

use crate::compound::{Compound, File};
use crate::exports::ExportRule;
use crate::identity::Credential;
use crate::state::{RecallWhat, Time};
use crate::status::Refusal;
use backend::Nanos;
use backend::tree::{Caller, Node, NodeKind, NodeStat, Tree, TreeError};
use bytes::Bytes;
use catalog::{DataStamp, FileKind, Inode, InodeId, Timestamp, XattrTotals};
use layout::DataServerId;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use wire::nfs4::{Attr, Attributes, Bitmap4, ChangeAttrType4, LAYOUT4_FLEX_FILES, Nfstime4};

/// The shard of inode numbers that no catalog gives: those of nodes.
const OUTSIDE: u64 = 0xffff << 48;
/// How long a file that a client couldn't read directly is read through this server.
const REFUSED: Duration = Duration::from_mins(5);
/// Such files that are remembered.
const REFUSED_LIMIT: usize = 10_000;
/// Files whose versions are remembered.
const VERSIONS_LIMIT: usize = 100_000;
const SPACES: &[Attr] = &[Attr::SpaceAvail, Attr::SpaceFree, Attr::SpaceTotal];

/// Why a file isn't read directly from where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectRefusal {
    /// The backend has nothing that clients could read from, or not this file: root's, or unreadable for its owner.
    NotThere,
    /// A client tried, and was refused there.
    Denied,
    /// Writes go through this server.
    Write,
}

/// A version that clients read directly.
#[derive(Debug, Clone, Copy)]
struct Given {
    change: u64,
    /// A client was told there that it is no more.
    stale: bool,
}

/// What went which way.
#[derive(Debug, Default)]
pub struct JunctionCounters {
    pub layouts: AtomicU64,
    pub not_there: AtomicU64,
    pub denied: AtomicU64,
    pub writes_through: AtomicU64,
    pub read_bytes: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Calls of the backend that failed for good, and those that were told to come again.
    pub broken: AtomicU64,
    pub delayed: AtomicU64,
}

impl JunctionCounters {
    pub(crate) fn of(&self, why: DirectRefusal) -> &AtomicU64 {
        match why {
            DirectRefusal::NotThere => &self.not_there,
            DirectRefusal::Denied => &self.denied,
            DirectRefusal::Write => &self.writes_through,
        }
    }
}

struct Shared {
    backend: String,
    tree: Arc<dyn Tree>,
    /// Under which number clients know where the tree's files lie.
    data_server: Option<DataServerId>,
    root: Mutex<Option<Bytes>>,
    /// The root as it was told last: a listing of the folder above waits for no backend.
    seen: Mutex<Option<NodeStat>>,
    /// Since when files have been refused to clients that tried to read them directly.
    refused: Mutex<HashMap<InodeId, Time>>,
    /// The change of files of which clients read one version and no other.
    versions: Mutex<HashMap<InodeId, Given>>,
    counters: JunctionCounters,
}

/// One tree at one place. Clones are the same one.
#[derive(Clone)]
pub struct Junction(Arc<Shared>);

impl fmt::Debug for Junction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Junction({})", self.0.backend)
    }
}

impl PartialEq for Junction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Junction {}

impl Junction {
    /// `data_server`: what the tree's device is known by in the device table, where it has one.
    pub fn new(
        backend: impl Into<String>,
        tree: Arc<dyn Tree>,
        data_server: Option<DataServerId>,
    ) -> Self {
        Self(Arc::new(Shared {
            backend: backend.into(),
            tree,
            data_server,
            root: Mutex::default(),
            seen: Mutex::default(),
            refused: Mutex::default(),
            versions: Mutex::default(),
            counters: JunctionCounters::default(),
        }))
    }

    pub fn backend(&self) -> &str {
        &self.0.backend
    }

    pub fn tree(&self) -> &Arc<dyn Tree> {
        &self.0.tree
    }

    pub fn counters(&self) -> &JunctionCounters {
        &self.0.counters
    }

    pub(crate) fn data_server(&self) -> Option<DataServerId> {
        self.0.data_server
    }

    /// The handle of a file's node.
    pub(crate) async fn handle(&self, file: &File) -> Result<Bytes, TreeError> {
        match &file.node {
            Some(node) => Ok(node.clone()),
            None => self.root().await,
        }
    }

    async fn root(&self) -> Result<Bytes, TreeError> {
        if let Some(root) = self.0.root.lock().clone() {
            return Ok(root);
        }
        let root = self.0.tree.root().await?.handle;
        *self.0.root.lock() = Some(root.clone());
        Ok(root)
    }

    /// The file that a node is, for a client of `export`.
    pub(crate) async fn file(
        &self,
        node: &Node,
        export: &Arc<ExportRule>,
    ) -> Result<File, TreeError> {
        if self.root().await? == node.handle {
            return Ok(File::new(export.root, Arc::clone(export)));
        }
        Ok(File {
            id: id_of(export.number, node),
            export: Arc::clone(export),
            node: Some(node.handle.clone()),
        })
    }

    /// As the caller of `cx` may see it.
    pub(crate) async fn inode(
        &self,
        file: &File,
        cx: &Compound<'_>,
    ) -> Result<Arc<Inode>, Refusal> {
        let handle = self.handle(file).await?;
        let stat = self.0.tree.stat(&self.caller(file, cx), &handle).await?;
        self.saw(file.id, stat.change, cx);
        if file.node.is_none() {
            *self.0.seen.lock() = Some(stat);
        }
        Ok(Arc::new(inode_of(file.id, &stat)))
    }

    /// What covers `folder`, as far as is known without asking.
    pub(crate) fn covering(&self, folder: Inode) -> Inode {
        match &*self.0.seen.lock() {
            Some(stat) => inode_of(folder.id, stat),
            None => folder,
        }
    }

    /// In whose name the backend is asked: his own where it judges by itself.
    pub(crate) fn caller(&self, file: &File, cx: &Compound<'_>) -> Caller {
        if self.0.tree.abilities().judges {
            caller_of(&cx.credential(file))
        } else {
            Caller::root()
        }
    }

    /// From now on a client reads this version, and will read no other by what it is given. `false`:
    /// that was tried, and it isn't to be had there.
    pub(crate) fn give_version(&self, file: InodeId, change: u64) -> bool {
        let mut versions = self.0.versions.lock();
        if versions.len() >= VERSIONS_LIMIT {
            // What they read by gives nothing after a change: that they aren't called costs them time.
            versions.clear();
        }
        let stale = false;
        match versions.insert(file, Given { change, stale }) {
            Some(before) if before.stale && before.change == change => {
                versions.remove(&file);
                false
            }
            _ => true,
        }
    }

    /// A client couldn't read it where it lies, since it is stale there. Whether that says anything of
    /// a next try: of one version it may just be that another has taken its place.
    pub(crate) fn stale_there(&self, file: InodeId) -> bool {
        if let Some(given) = self.0.versions.lock().get_mut(&file) {
            given.stale = true;
        }
        self.0.tree.device().is_some()
    }

    /// Layouts of another version than was seen now are called back.
    pub(crate) fn saw(&self, file: InodeId, change: u64, cx: &Compound<'_>) {
        {
            let mut versions = self.0.versions.lock();
            if versions
                .get(&file)
                .is_none_or(|given| given.change == change)
            {
                return;
            }
            versions.remove(&file);
        }
        let now = cx.server.clock.monotonic();
        let orders = cx
            .server
            .state
            .lock()
            .recall(now, file, RecallWhat::All, None);
        cx.server.send_recalls(orders);
    }

    /// A client couldn't read it where it lies.
    pub(crate) fn refuse_direct(&self, file: InodeId, now: Time) {
        let mut refused = self.0.refused.lock();
        if refused.len() >= REFUSED_LIMIT {
            refused.retain(|_, since| now.since(*since) < REFUSED);
            if refused.len() >= REFUSED_LIMIT {
                refused.clear();
            }
        }
        refused.insert(file, now);
    }

    pub(crate) fn refuses_direct(&self, file: InodeId, now: Time) -> bool {
        let refused = self.0.refused.lock();
        refused
            .get(&file)
            .is_some_and(|since| now.since(*since) < REFUSED)
    }

    /// What the tree has otherwise than the catalog.
    pub(crate) async fn correct(
        &self,
        shown: &mut Attributes,
        asked: Bitmap4,
        file: &File,
        inode: &Inode,
    ) -> Result<(), TreeError> {
        let can = self.0.tree.abilities();
        let least = |of: &mut Option<u64>, most: u64| {
            *of = of.map(|now| now.min(most));
        };
        if shown.fileid.is_some() {
            shown.fileid = Some(inode.id.home);
        }
        if shown.mounted_on_fileid.is_some() {
            // Of the root: the folder that it covers.
            shown.mounted_on_fileid = Some(match file.node {
                Some(_) => inode.id.home,
                None => file.id.number,
            });
        }
        if shown.space_used.is_some() {
            shown.space_used = Some(inode.used);
        }
        if shown.size.is_some() {
            shown.size = Some(inode.size);
        }
        shown.link_support = shown.link_support.map(|_| can.hard_links);
        shown.symlink_support = shown.symlink_support.map(|_| can.symlinks);
        least(&mut shown.maxfilesize, can.largest_file_bytes);
        least(&mut shown.maxread, u64::from(can.read_bytes));
        least(&mut shown.maxwrite, u64::from(can.write_bytes));
        shown.maxlink = shown.maxlink.map(|_| can.links);
        shown.maxname = shown.maxname.map(|_| can.name_bytes);
        shown.time_delta = shown.time_delta.map(|_| Nfstime4 {
            seconds: i64::from(can.time_step_nanos / 1_000_000_000),
            nseconds: can.time_step_nanos % 1_000_000_000,
        });
        // By the times of its keeper, and whatever else tells of a change.
        shown.change_attr_type = shown.change_attr_type.map(|_| ChangeAttrType4::IsUndefined);
        let layouts = || match self.0.data_server {
            Some(_) => vec![LAYOUT4_FLEX_FILES],
            None => Vec::new(),
        };
        shown.fs_layout_types = shown.fs_layout_types.take().map(|_| layouts());
        shown.layout_types = shown.layout_types.take().map(|_| layouts());
        if SPACES.iter().any(|attribute| asked.contains(*attribute)) {
            let space = self.0.tree.space().await?;
            shown.space_avail = shown.space_avail.map(|_| space.free);
            shown.space_free = shown.space_free.map(|_| space.free);
            shown.space_total = shown.space_total.map(|_| space.total);
        }
        Ok(())
    }
}

pub(crate) fn caller_of(credential: &Credential) -> Caller {
    Caller {
        uid: credential.uid,
        gid: credential.gid,
        groups: credential.groups.clone().into(),
    }
}

/// Opens, locks and layouts are held of this. The handle is in it: a fileid may be given again.
fn id_of(export: u32, node: &Node) -> InodeId {
    InodeId {
        home: node.stat.fileid,
        number: number_of(export, &node.handle),
    }
}

/// The half of a node's id that its handle says.
pub(crate) fn number_of(export: u32, handle: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u32(export);
    hasher.write(handle);
    OUTSIDE | hasher.finish() >> 16
}

/// Whether the catalog knows nothing of it.
pub(crate) fn is_node(id: InodeId) -> bool {
    id.number & OUTSIDE == OUTSIDE
}

pub(crate) fn nanos(at: Timestamp) -> Nanos {
    Nanos::from(at.seconds) * 1_000_000_000 + Nanos::from(at.nanos)
}

fn timestamp(at: Nanos) -> Timestamp {
    Timestamp {
        seconds: at.div_euclid(1_000_000_000) as i64,
        nanos: at.rem_euclid(1_000_000_000) as u32,
    }
}

pub(crate) fn file_kind(kind: NodeKind) -> FileKind {
    match kind {
        NodeKind::Regular => FileKind::Regular,
        NodeKind::Folder => FileKind::Directory,
        NodeKind::Symlink => FileKind::Symlink,
        NodeKind::Block => FileKind::Block,
        NodeKind::Character => FileKind::Character,
        NodeKind::Fifo => FileKind::Fifo,
        NodeKind::Socket => FileKind::Socket,
    }
}

/// A node as operations look at inodes. Its `home` is the fileid that the keeper gave.
pub(crate) fn inode_of(id: InodeId, stat: &NodeStat) -> Inode {
    Inode {
        id: InodeId {
            home: stat.fileid,
            number: id.number,
        },
        kind: file_kind(stat.kind),
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        nlink: stat.nlink,
        size: stat.size,
        atime: timestamp(stat.atime),
        mtime: timestamp(stat.mtime),
        ctime: timestamp(stat.ctime),
        btime: Timestamp::default(),
        change: stat.change,
        rdev: stat.rdev,
        target: None,
        parent: None,
        size_epoch: 0,
        extents: Vec::new(),
        entries: 0,
        create_verifier: None,
        birth_epoch: 0,
        unscanned: false,
        keeper: None,
        data_stamp: DataStamp::default(),
        used: stat.used,
        acl: None,
        label: None,
        xattrs: XattrTotals::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_comes_back_as_it_went(seconds in -1_000_000_000_000_i64..1_000_000_000_000, nanos in 0..1_000_000_000_u32) {
            let at = Timestamp { seconds, nanos };
            prop_assert_eq!(timestamp(super::nanos(at)), at);
        }
    }
}
