//! What all of the tree's calls share: handles, the way to keys, what nodes look like.
//!
//! A folder is there if any key begins with its own; a key that equals it (the *marker*) is the folder
//! itself and carries its attributes. A folder has no version in a bucket, so its `change` is kept here:
//! it moves with each change made through this server, and when a look at the folder's names differs
//! from what was noted. Of a folder with more names than a page has, a look can't tell: there `change`
//! moves by itself once a while.
//!
//! Never here: a call of the tree.

use crate::bucket::{Bucket, Object, PAGE};
use crate::failure::{come_again, of_name, of_state};
use crate::ids::{Ids, IdsError, ROOT, Row};
use crate::key::{self, Asked, Kind, NameFault};
use crate::looked::Looked;
use crate::lost::Lost;
use crate::meta::{self, Attributes, Defaults, Metadata, TOKEN};
use crate::objects::{Awaited, Kept};
use crate::offered::Offered;
use crate::rename::Renames;
use crate::spool::{Fill, Spool};
use crate::untold::Untold;
use crate::uploads::Uploads;
use crate::work::{Work, died};
use backend::tree::{Node, NodeKind, NodeStat, TreeError, TreeErrorKind};
use backend::{Nanos, WriteVerifier};
use bytes::Bytes;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const HANDLE_VERSION: u8 = 1;
/// After this, a folder too large to be looked at whole counts as changed.
const LARGE_FOLDER_HOLDS: Duration = Duration::from_mins(1);
/// Of warnings that the bucket refuses this server.
const DENIAL_TOLD_EACH: Duration = Duration::from_mins(1);
/// ETags remembered, so that a read needs no look first.
pub(crate) const PINS: usize = 65_536;

pub(crate) struct Mirror {
    /// For work that goes on by itself.
    pub this: Weak<Self>,
    pub bucket: Bucket,
    /// Empty, or ends in a slash.
    pub prefix: String,
    pub ids: Arc<Ids>,
    /// Where it keeps data objects: what is known of each. A tree has none.
    pub kept: Option<Kept>,
    pub awaited: Awaited,
    pub defaults: Defaults,
    pub largest_file_bytes: u64,
    pub deadline: Duration,
    /// Why nothing can be written, where that is so.
    pub read_only: Option<String>,
    pub state: PathBuf,
    /// Of this start.
    pub verifier: WriteVerifier,
    /// Files under change, by id.
    pub spools: Mutex<HashMap<u64, Arc<Spool>>>,
    /// Versions that files under change began with which an earlier start lost.
    pub meant: Mutex<HashMap<u64, Arc<str>>>,
    pub fill: Arc<Fill>,
    /// That it may come to.
    pub spool_bytes: u64,
    /// Whether something is being sent up to make room.
    pub relieving: AtomicBool,
    pub lost: Lost,
    pub renames: Renames,
    pub uploads: Uploads,
    pub untold: Untold,
    /// When the operator was told last that the bucket refuses this server.
    pub denial_told: Mutex<Option<Instant>>,
    /// Held alone while a folder is renamed, shared by every other change.
    pub names: Arc<tokio::sync::RwLock<()>>,
    pub work: Work,
    /// The version of each file that anybody was told of last, or that was put here.
    pub pins: quick_cache::sync::Cache<u64, Arc<str>>,
    /// What clients read at a data server, where one caches.
    pub offered: Option<Offered>,
    pub looked: Arc<Looked>,
}

/// A node and where it lies.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub id: u64,
    pub kind: Kind,
    /// In the bucket; a folder's is empty or ends in a slash.
    pub key: String,
}

impl At {
    /// The key of what lies in this folder.
    pub fn inner(&self, kind: Kind, component: &str) -> String {
        let slash = if kind == Kind::Folder { "/" } else { "" };
        format!("{}{component}{slash}", self.key)
    }
}

/// What a look at a folder saw.
#[derive(Debug)]
pub(crate) struct Sight {
    pub marker: Option<Object>,
    /// Of its names; `None`: there are too many to look at.
    names: Option<u64>,
    newest: Nanos,
}

/// What a name was found to be.
#[derive(Debug)]
pub(crate) enum Found {
    File(Object),
    Folder(Sight),
}

impl Found {
    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Folder(_) => Kind::Folder,
        }
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish()
}

/// What a name adds to its folder's looks.
pub(crate) fn looks_of_name(kind: Kind, component: &str) -> u64 {
    hash(&[&[kind as u8 + 1], component.as_bytes()])
}

fn sorted(meta: &Metadata) -> Vec<&[u8]> {
    let mut pairs: Vec<_> = meta.iter().collect();
    pairs.sort();
    let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
    flat.map(String::as_bytes).collect()
}

/// Whether a marker tells anything of its folder.
pub(crate) fn says_something(meta: &Metadata) -> bool {
    meta.keys().any(|key| key != TOKEN)
}

/// What a marker adds to its folder's looks: nothing if it says nothing.
pub(crate) fn looks_of_marker(marker: Option<&Metadata>) -> u64 {
    let Some(meta) = marker else { return 0 };
    if !says_something(meta) {
        return 0;
    }
    let mut meta = meta.clone();
    meta.remove(TOKEN);
    hash(&sorted(&meta))
}

/// A file's change. A version that this server put is known by its token, whose metadata says when it
/// last changed: so the change is the same before and after the upload.
pub(crate) fn change_of(object: &Object) -> u64 {
    let mut parts = sorted(&object.meta);
    let modified = object.modified.to_be_bytes();
    if !object.meta.contains_key(TOKEN) {
        parts.extend([object.etag.as_bytes(), modified.as_slice()]);
    }
    hash(&parts)
}

/// The SDK takes a key of blanks alone for none.
pub(crate) fn is_blank(key: &str) -> bool {
    key.trim().is_empty()
}

pub(crate) fn gone() -> TreeError {
    TreeError::new(TreeErrorKind::Gone, "it isn't there any more")
}

pub(crate) fn no_entry() -> TreeError {
    TreeError::new(TreeErrorKind::NoEntry, "there is no such name")
}

impl Mirror {
    /// Ends by the deadline; what was begun in a task of its own goes on.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, TreeError> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(done) => {
                if let Err(error) = &done {
                    self.warn_of_denial(error);
                }
                done
            }
            Err(_) => Err(come_again(format!(
                "{}: no answer in time",
                self.bucket.who
            ))),
        }
    }

    /// The caller is told that he may not, and can do nothing about it: it is this server that may not.
    fn warn_of_denial(&self, error: &TreeError) {
        if error.kind != TreeErrorKind::Denied {
            return;
        }
        let mut told = self.denial_told.lock();
        if told.is_none_or(|told| told.elapsed() >= DENIAL_TOLD_EACH) {
            *told = Some(Instant::now());
            tracing::warn!("{error}");
        }
    }

    /// A change of the local store, off the runtime's own threads.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ids) -> Result<T, IdsError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let ids = Arc::clone(&self.ids);
        let done = tokio::task::spawn_blocking(move || work(&ids)).await;
        done.map_err(|error| died(&error))?
            .map_err(|error| of_state(&error))
    }

    pub(crate) fn writable(&self) -> Result<(), TreeError> {
        match &self.read_only {
            None => Ok(()),
            Some(why) => Err(TreeError::new(TreeErrorKind::ReadOnly, why.clone())),
        }
    }

    pub(crate) fn handle(&self, id: u64) -> Bytes {
        let mut handle = vec![HANDLE_VERSION];
        handle.extend_from_slice(&self.ids.nonce.to_be_bytes());
        handle.extend_from_slice(&id.to_be_bytes());
        handle.into()
    }

    fn id(&self, handle: &[u8]) -> Option<u64> {
        let rest = handle.strip_prefix(&[HANDLE_VERSION])?;
        let id = rest.strip_prefix(&self.ids.nonce.to_be_bytes())?;
        Some(u64::from_be_bytes(id.try_into().ok()?))
    }

    pub(crate) fn at(&self, handle: &[u8]) -> Result<At, TreeError> {
        let id = self.id(handle).ok_or_else(gone)?;
        self.at_id(id)?.ok_or_else(gone)
    }

    pub(crate) fn at_id(&self, id: u64) -> Result<Option<At>, TreeError> {
        if let Some(kept) = &self.kept {
            return self.at_object(kept, id);
        }
        let path = self.ids.path(id).map_err(|error| of_state(&error))?;
        Ok(path.map(|(kind, path)| At {
            id,
            kind,
            key: format!("{}{path}", self.prefix),
        }))
    }

    pub(crate) fn folder(&self, handle: &[u8]) -> Result<At, TreeError> {
        let at = self.at(handle)?;
        match at.kind {
            Kind::Folder => Ok(at),
            Kind::File => Err(TreeError::new(TreeErrorKind::NotFolder, "not a folder")),
        }
    }

    /// Whether any key begins with a folder's.
    pub(crate) async fn folder_is_there(&self, key: &str) -> Result<bool, TreeError> {
        if key == self.prefix {
            return Ok(true);
        }
        let page = self.bucket.list(key, false, None, None, 1).await?;
        Ok(!page.keys.is_empty())
    }

    /// A look at a folder; `None`: it isn't there.
    pub(crate) async fn sight(&self, key: &str) -> Result<Option<Sight>, TreeError> {
        let marker = async {
            match key {
                "" => Ok(None),
                key => self.bucket.head(key).await,
            }
        };
        let page = self.bucket.list(key, true, None, None, PAGE);
        let (marker, page) = futures_util::try_join!(marker, page)?;
        let mut names = 0;
        let mut newest = marker.as_ref().map_or(0, |marker| marker.modified);
        let mut any = false;
        for listed in &page.keys {
            newest = newest.max(listed.modified);
            if let Some(component) = listed.key.strip_prefix(key).filter(|name| !name.is_empty()) {
                any = true;
                names ^= looks_of_name(Kind::File, component);
            }
        }
        for name in &page.prefixes {
            let component = name
                .strip_prefix(key)
                .and_then(|name| name.strip_suffix('/'));
            if let Some(component) = component {
                any = true;
                names ^= looks_of_name(Kind::Folder, component);
            }
        }
        if !any && marker.is_none() && key != self.prefix {
            return Ok(None);
        }
        Ok(Some(Sight {
            marker,
            names: page.next.is_none().then_some(names),
            newest,
        }))
    }

    /// What a name of a folder is.
    pub(crate) async fn seek(
        &self,
        folder: &At,
        name: &[u8],
    ) -> Result<Option<(String, Found)>, TreeError> {
        match key::ask(name) {
            Ok(Asked::Either(component)) => {
                let found = self.seek_component(folder, &component, false).await?;
                Ok(found.map(|found| (component, found)))
            }
            Ok(Asked::Shaded(component)) => {
                let found = self.seek_component(folder, &component, true).await?;
                Ok(found.map(|found| (component, found)))
            }
            Ok(Asked::Long {
                kind,
                start,
                digits,
            }) => self.seek_long(folder, kind, &start, &digits).await,
            Err(NameFault::Nothing) => Ok(None),
            Err(fault) => Err(of_name(fault)),
        }
    }

    pub(crate) async fn seek_component(
        &self,
        folder: &At,
        component: &str,
        shaded: bool,
    ) -> Result<Option<Found>, TreeError> {
        let as_folder = folder.inner(Kind::Folder, component);
        let as_file = folder.inner(Kind::File, component);
        if as_folder.len() > key::KEY_BYTES {
            return Ok(None);
        }
        let object = async {
            // An empty component's key is the folder's own marker.
            match component {
                "" => Ok(None),
                _ if is_blank(&as_file) => Ok(None),
                _ => self.bucket.head(&as_file).await,
            }
        };
        let (sight, object) = futures_util::try_join!(self.sight(&as_folder), object)?;
        Ok(match (sight, object) {
            (Some(_), Some(object)) if shaded => Some(Found::File(object)),
            (Some(sight), _) if !shaded => Some(Found::Folder(sight)),
            (None, Some(object)) if !shaded => Some(Found::File(object)),
            _ => None,
        })
    }

    async fn seek_long(
        &self,
        folder: &At,
        kind: Kind,
        start: &str,
        digits: &str,
    ) -> Result<Option<(String, Found)>, TreeError> {
        let begin = folder.inner(Kind::File, start);
        let mut next = None;
        loop {
            let page = self.bucket.list(&begin, true, None, next, PAGE).await?;
            let keys = page
                .keys
                .iter()
                .map(|listed| (Kind::File, listed.key.as_str()));
            let prefixes = page.prefixes.iter().map(|prefix| {
                let folder = prefix.strip_suffix('/').unwrap_or(prefix);
                (Kind::Folder, folder)
            });
            for (one, key) in keys.chain(prefixes) {
                let component = key.strip_prefix(&folder.key).unwrap_or_default();
                if one != kind || !key::is_long(kind, component, digits) {
                    continue;
                }
                let inner = folder.inner(kind, component);
                let found = match kind {
                    Kind::File => self.bucket.head(&inner).await?.map(Found::File),
                    Kind::Folder => self.sight(&inner).await?.map(Found::Folder),
                };
                return Ok(found.map(|found| (component.to_owned(), found)));
            }
            next = page.next;
            if next.is_none() {
                return Ok(None);
            }
        }
    }

    /// The node of what was found by that component.
    pub(crate) async fn node(
        &self,
        folder: u64,
        component: String,
        found: Found,
    ) -> Result<Node, TreeError> {
        let wanted = (found.kind(), component);
        let assigned = self.store(move |ids| ids.assign(folder, &[wanted])).await?;
        let (id, _) = assigned[0];
        let stat = match found {
            Found::File(object) => self.stat_of_file(id, &object).await?,
            Found::Folder(sight) => self.stat_of_folder(id, &sight).await?,
        };
        Ok(Node {
            handle: self.handle(id),
            stat,
        })
    }

    pub(crate) async fn stat_of(&self, at: &At) -> Result<NodeStat, TreeError> {
        match at.kind {
            Kind::Folder => {
                let sight = self.sight(&at.key).await?.ok_or_else(gone)?;
                self.stat_of_folder(at.id, &sight).await
            }
            Kind::File => {
                if let Some(object) = self.under_change(at.id) {
                    return Ok(self.stat_of_object(at.id, &object));
                }
                let object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
                self.stat_of_file(at.id, &object).await
            }
        }
    }

    /// A file under change, as it is to be.
    pub(crate) fn under_change(&self, id: u64) -> Option<Object> {
        let spool = self.spools.lock().get(&id).cloned()?;
        spool.object()
    }

    /// `object`: as it lies in the bucket.
    pub(crate) async fn stat_of_file(
        &self,
        id: u64,
        object: &Object,
    ) -> Result<NodeStat, TreeError> {
        if let Some(object) = self.under_change(id) {
            return Ok(self.stat_of_object(id, &object));
        }
        self.pins.insert(id, object.etag.as_str().into());
        self.seen(id, &object.etag).await?;
        self.compare_looks(id, object)?;
        Ok(self.stat_of_object(id, object))
    }

    pub(crate) fn stat_of_object(&self, id: u64, object: &Object) -> NodeStat {
        let read = meta::attributes(&object.meta, &self.defaults, false);
        let mtime = read.mtime.unwrap_or(object.modified);
        let ctime = read.ctime.unwrap_or(object.modified.max(mtime));
        let is_content = matches!(read.kind, NodeKind::Regular | NodeKind::Symlink);
        let size = if is_content { object.size } else { 0 };
        stat(id, &read, size, (mtime, ctime), change_of(object))
    }

    pub(crate) async fn stat_of_folder(
        &self,
        id: u64,
        sight: &Sight,
    ) -> Result<NodeStat, TreeError> {
        let row = self.ids.row(id).map_err(|error| of_state(&error))?;
        let row = row.ok_or_else(gone)?;
        let row = self.look(id, row, sight).await?;
        let said = self.folder_meta(id, sight.marker.as_ref())?;
        let read = meta::attributes(&said, &self.defaults, true);
        let named = Nanos::from(row.named);
        let told = read.ctime.or(read.mtime);
        // A marker tells the time that its folder was given, until names change again.
        let mtime = read
            .mtime
            .filter(|_| told.is_some_and(|told| told >= named))
            .unwrap_or(named);
        let ctime = Nanos::from(row.changed).max(read.ctime.unwrap_or(0));
        Ok(stat(id, &read, 0, (mtime, ctime), row.changed))
    }

    /// The row, after what was seen has been noted in it.
    async fn look(&self, id: u64, row: Row, sight: &Sight) -> Result<Row, TreeError> {
        let marker = looks_of_marker(sight.marker.as_ref().map(|marker| &marker.meta));
        let holds = meta::now() - LARGE_FOLDER_HOLDS.as_nanos() as Nanos;
        let looks = match sight.names {
            Some(names) => names ^ marker,
            None if row.changed != 0 && Nanos::from(row.changed) > holds => row.looks,
            // Another than before.
            None => !row.looks,
        };
        if row.changed != 0 && row.looks == looks {
            return Ok(row);
        }
        let since = u64::try_from(sight.newest).unwrap_or(0);
        self.store(move |ids| ids.look(id, &row, looks, since))
            .await?
            .ok_or_else(gone)
    }

    /// Notes a change of a folder's names by our own hand.
    pub(crate) async fn touch(
        &self,
        folder: u64,
        looks: u64,
    ) -> Result<backend::tree::FolderChange, TreeError> {
        let touched = self
            .store(move |ids| ids.touch(folder, true, looks))
            .await?;
        Ok(backend::tree::FolderChange {
            before: touched.map(|(before, _)| before),
            after: touched.map(|(_, after)| after),
        })
    }

    pub(crate) async fn root_node(&self) -> Result<Node, TreeError> {
        let sight = self.sight(&self.prefix).await?.ok_or_else(gone)?;
        Ok(Node {
            handle: self.handle(ROOT),
            stat: self.stat_of_folder(ROOT, &sight).await?,
        })
    }
}

fn stat(
    id: u64,
    read: &Attributes,
    size: u64,
    (mtime, ctime): (Nanos, Nanos),
    change: u64,
) -> NodeStat {
    NodeStat {
        kind: read.kind,
        mode: read.mode,
        nlink: if read.kind == NodeKind::Folder { 2 } else { 1 },
        uid: read.uid,
        gid: read.gid,
        size,
        used: size.next_multiple_of(512),
        rdev: read.rdev,
        fileid: id,
        atime: read.atime.unwrap_or(mtime),
        mtime,
        ctime,
        change,
    }
}
