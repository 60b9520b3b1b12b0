//! One directory: its listing, page by page, each page one transaction.
//!
//! Never here: which directory is next.

use crate::scan::{Parts, Scan};
use backend::ObjectStat;
use backend::tree::{
    Caller, Listing, Node, NodeKind, NodeStat, TreeEntry, TreeError, TreeErrorKind,
};
use bytes::Bytes;
use catalog::{DataStamp, FileKind, FoundNode, NAME_MAX_BYTES, Timestamp, Unscanned, transact};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::Owner;

/// Entries that are asked for at once, and put into one transaction.
const PAGE: usize = 512;
/// Questions about single entries under way in one directory.
const ASKED_AT_ONCE: usize = 16;
/// Names of ours in an export's root begin so.
const OURS: &[u8] = b".headrace";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Stuck {
    #[error(transparent)]
    Filer(#[from] TreeError),
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}

/// Takes in all that is left of a directory.
pub(crate) async fn take_in(scan: &Scan, mut at: Unscanned) -> Result<(), Stuck> {
    let parts = &scan.parts;
    let mut page = list(parts, &at).await;
    loop {
        let listing = match page {
            Ok(listing) => listing,
            Err(error) => match error.kind {
                TreeErrorKind::BadCookie => {
                    transact!(parts.catalog, (parts.clock)(), |tx| -> Result<
                        (),
                        catalog::Error,
                    > {
                        tx.adopt_anew(&at).await
                    })?;
                    (at.cookie, at.verifier) = (0, [0; 8]);
                    page = list(parts, &at).await;
                    continue;
                }
                TreeErrorKind::Gone | TreeErrorKind::NoEntry | TreeErrorKind::NotFolder => {
                    tracing::warn!(
                        "filer {}: a directory went away while it was scanned: somebody else changes it",
                        parts.name
                    );
                    Listing {
                        entries: Vec::new(),
                        at_end: true,
                        verifier: at.verifier,
                    }
                }
                _ => return Err(error.into()),
            },
        };
        let last = listing.entries.last().map(|entry| entry.cookie);
        let next = match last {
            Some(cookie) if !listing.at_end => Some((cookie, listing.verifier)),
            _ => None,
        };
        let nodes = found(parts, &at, listing.entries).await?;
        let Some((cookie, verifier)) = next else {
            store(scan, &at, &nodes, None).await?;
            return Ok(());
        };
        // The filer lists on while this page is made durable.
        let ahead = Unscanned {
            cookie,
            verifier,
            ..at.clone()
        };
        let (stored, listed) = tokio::join!(store(scan, &at, &nodes, next), list(parts, &ahead));
        if !stored? {
            return Ok(());
        }
        (at, page) = (ahead, listed);
    }
}

async fn list(parts: &Parts, at: &Unscanned) -> Result<Listing, TreeError> {
    let (caller, tree) = (Caller::root(), &parts.tree);
    tree.list(&caller, &at.handle, at.cookie, at.verifier, PAGE)
        .await
}

async fn store(
    scan: &Scan,
    at: &Unscanned,
    nodes: &[FoundNode],
    next: Option<(u64, [u8; 8])>,
) -> Result<bool, Stuck> {
    // A filer may list more at once than was asked for.
    let mut rest = nodes;
    while rest.len() > PAGE {
        let (now, later) = rest.split_at(PAGE);
        let same = Some((at.cookie, at.verifier));
        if !step(scan, at, now, same).await? {
            return Ok(false);
        }
        rest = later;
    }
    step(scan, at, rest, next).await
}

async fn step(
    scan: &Scan,
    at: &Unscanned,
    nodes: &[FoundNode],
    next: Option<(u64, [u8; 8])>,
) -> Result<bool, Stuck> {
    let parts = &scan.parts;
    let done = transact!(parts.catalog, (parts.clock)(), |tx| -> Result<
        bool,
        catalog::Error,
    > {
        tx.adopt(at, nodes, next).await
    })?;
    scan.count().await?;
    Ok(done.value)
}

async fn found(
    parts: &Parts,
    at: &Unscanned,
    entries: Vec<TreeEntry>,
) -> Result<Vec<FoundNode>, TreeError> {
    let is_root = at.handle == parts.root;
    let ours = |name: &Bytes| parts.holds_ours && is_root && name.starts_with(OURS);
    let nodes: Vec<Option<FoundNode>> = stream::iter(entries)
        .map(|entry| async {
            if ours(&entry.name) || !can_be(parts, &entry.name) {
                return Ok(None);
            }
            one(parts, at, entry).await
        })
        .buffered(ASKED_AT_ONCE)
        .try_collect()
        .await?;
    Ok(nodes.into_iter().flatten().collect())
}

/// Whether a name can be one here.
fn can_be(parts: &Parts, name: &Bytes) -> bool {
    let odd = name.iter().any(|byte| matches!(byte, 0 | b'/'));
    let can = (1..=NAME_MAX_BYTES).contains(&name.len()) && !odd;
    if !can {
        let (filer, name) = (&parts.name, name.escape_ascii());
        tracing::warn!("filer {filer}: {name} can't be a name here, and is left out");
    }
    can
}

/// `None` where the name is gone.
async fn one(
    parts: &Parts,
    at: &Unscanned,
    entry: TreeEntry,
) -> Result<Option<FoundNode>, TreeError> {
    let caller = Caller::root();
    let node = match entry.node {
        Some(node) => node,
        None => match parts.tree.lookup(&caller, &at.handle, &entry.name).await {
            Ok(node) => node,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    let target = match node.stat.kind {
        NodeKind::Symlink => match parts.tree.read_link(&caller, &node.handle).await {
            Ok(target) => Some(target),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        },
        _ => None,
    };
    Ok(Some(parts.node(entry.name, node, target)))
}

fn is_gone(error: &TreeError) -> bool {
    matches!(error.kind, TreeErrorKind::Gone | TreeErrorKind::NoEntry)
}

impl Parts {
    pub(crate) fn node(&self, name: Bytes, node: Node, target: Option<Bytes>) -> FoundNode {
        let Node { handle, stat } = node;
        let (extents, data_stamp) = match stat.kind {
            NodeKind::Regular => {
                let as_object = (stat.mode, &object_stat(&stat));
                let (fileid, handle) = (stat.fileid, handle.clone());
                let (extent, stamp) = self.objects.found(self.server, fileid, handle, as_object);
                (vec![extent], stamp)
            }
            _ => (Vec::new(), DataStamp::default()),
        };
        FoundNode {
            name,
            handle,
            fileid: stat.fileid,
            kind: kind_of(stat.kind),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            nlink: stat.nlink,
            size: stat.size,
            used: stat.used,
            atime: time(stat.atime),
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            rdev: stat.rdev,
            target,
            extents,
            data_stamp,
        }
    }
}

fn object_stat(stat: &NodeStat) -> ObjectStat {
    ObjectStat {
        owner: Owner {
            uid: stat.uid,
            gid: stat.gid,
        },
        size: stat.size,
        used: stat.used,
        mtime: stat.mtime,
        ctime: stat.ctime,
        atime: stat.atime,
    }
}

fn kind_of(kind: NodeKind) -> FileKind {
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

fn time(at: backend::Nanos) -> Timestamp {
    Timestamp {
        seconds: at.div_euclid(1_000_000_000) as i64,
        nanos: at.rem_euclid(1_000_000_000) as u32,
    }
}
