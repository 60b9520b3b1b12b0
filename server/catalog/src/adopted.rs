//! A filer's tree as it is taken into the namespace: directories that are not scanned yet, what is found
//! in them, and where each file is on the filer until it is removed there. Never a call to the filer.

use crate::catalog::Catalog;
use crate::codec::{ColdInode, Found, Reached, Record};
use crate::error::Error;
use crate::hot::{HotCounters, hot_time, packed};
use crate::inode::{DataStamp, FileKind, Inode, InodeId, LINKS_MAX, Timestamp, XattrTotals};
use crate::keys;
use crate::namespace::{checked, insert};
use crate::records::DeadObject;
use crate::tx::Tx;
use crate::view::{Guard, Reader, entry_of, misplaced};
use bytes::Bytes;
use layout::{DataServerId, Extent, ObjectId};

/// Rows that one transaction looks at, of those that are looked at without a filer.
const ROWS: usize = 256;

/// A directory of a filer whose names are not all in the catalog, and how far its listing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unscanned {
    pub server: DataServerId,
    pub directory: InodeId,
    /// The filer's own filehandle of it.
    pub handle: Bytes,
    /// 0: nothing was read.
    pub cookie: u64,
    pub verifier: [u8; 8],
}

/// A name on a filer, by the filehandle of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundName {
    pub folder: Bytes,
    pub name: Bytes,
}

/// Where a file is on its filer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    pub handle: Bytes,
    pub names: Vec<FoundName>,
}

/// What a filer has under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNode {
    pub name: Bytes,
    pub handle: Bytes,
    pub fileid: u64,
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Names that it has on the filer.
    pub nlink: u32,
    pub size: u64,
    pub used: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub rdev: (u32, u32),
    pub target: Option<Bytes>,
    /// Of a regular file: one object, which is the file on the filer.
    pub extents: Vec<Extent>,
    pub data_stamp: DataStamp,
}

/// How far the scan of a filer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanTotals {
    /// Directories that are known and not scanned.
    pub left: u64,
    /// Directories that were scanned.
    pub directories: u64,
    /// Everything else.
    pub files: u64,
    /// Of regular files.
    pub bytes: u64,
}

impl ScanTotals {
    fn of(value: Option<&Bytes>) -> Result<Self, Error> {
        match value.map_or((&[][..], &[][..]), |value| value.as_chunks::<8>()) {
            ([], []) => Ok(Self::default()),
            ([left, directories, files, bytes], []) => Ok(Self {
                left: u64::from_le_bytes(*left),
                directories: u64::from_le_bytes(*directories),
                files: u64::from_le_bytes(*files),
                bytes: u64::from_le_bytes(*bytes),
            }),
            _ => Err(Error::Corrupt(
                "the totals of a scan are not 32 bytes".into(),
            )),
        }
    }
}

/// What one page of a listing brings.
#[derive(Default)]
struct Step {
    /// Of the directory, and so of what is found in it.
    keeper: Option<DataServerId>,
    entries: i64,
    subdirectories: i64,
    inodes: i64,
    files: i64,
    bytes: i64,
}

impl Tx {
    /// Makes an empty directory the place of what a filer has in `handle`, with the attributes it has there.
    pub async fn adopt_root(
        &mut self,
        server: DataServerId,
        directory: InodeId,
        root: &FoundNode,
    ) -> Result<(), Error> {
        let mut cold = self.directory(directory).await?;
        let entries = self.rows(keys::entries(directory), 1, Guard::Conflict);
        if cold.inode.unscanned || !entries.await?.is_empty() {
            return Err(Error::NotEmpty);
        }
        cold.inode.mode = root.mode;
        cold.inode.uid = root.uid;
        cold.inode.gid = root.gid;
        cold.inode.unscanned = true;
        cold.inode.keeper = Some(server);
        self.touch_attributes(directory);
        self.store_inode(&cold.inode, cold.times_mark);
        self.reach(server, directory, root.handle.clone(), (0, [0; 8]));
        self.tally(server, [1, 0, 0, 0]);
        Ok(())
    }

    /// Takes in what a filer listed of a directory from where `at` stands, up to `next`, or to its end. Names
    /// that are there are passed over: a directory may have to be listed anew. `false`: it was done already.
    pub async fn adopt(
        &mut self,
        at: &Unscanned,
        nodes: &[FoundNode],
        next: Option<(u64, [u8; 8])>,
    ) -> Result<bool, Error> {
        let key = keys::unscanned(at.server, at.directory);
        let reached: Option<Reached> = self.record(&key, Guard::Conflict).await?;
        let stands = |reached: Reached| (reached.cookie, reached.verifier);
        if reached.map(stands) != Some((at.cookie, at.verifier)) {
            return Ok(false);
        }
        let mut step = Step {
            keeper: self.directory(at.directory).await?.inode.keeper,
            ..Step::default()
        };
        for node in nodes {
            self.take_in(at, node, &mut step).await?;
        }
        if step.entries > 0 {
            self.grow(at.directory, step.entries, step.subdirectories);
            self.count(step.inodes, step.subdirectories);
        }
        let ended = i64::from(next.is_none());
        if let Some(next) = next {
            self.reach(at.server, at.directory, at.handle.clone(), next);
        } else {
            self.delete(key);
            let mut cold = self.directory(at.directory).await?;
            cold.inode.unscanned = false;
            self.touch_attributes(at.directory);
            self.store_inode(&cold.inode, cold.times_mark);
        }
        let left = step.subdirectories - ended;
        self.tally(at.server, [left, ended, step.files, step.bytes]);
        Ok(true)
    }

    /// The listing of a directory begins anew: its cookies are of no use any more.
    pub async fn adopt_anew(&mut self, at: &Unscanned) -> Result<(), Error> {
        let key = keys::unscanned(at.server, at.directory);
        if self
            .record::<Reached>(&key, Guard::Conflict)
            .await?
            .is_some()
        {
            self.reach(at.server, at.directory, at.handle.clone(), (0, [0; 8]));
        }
        Ok(())
    }

    async fn take_in(
        &mut self,
        at: &Unscanned,
        node: &FoundNode,
        step: &mut Step,
    ) -> Result<(), Error> {
        checked(&node.name)?;
        let (key, hash, mut bucket) = self.bucket(at.directory, &node.name).await?;
        if entry_of(&bucket, hash, &node.name).is_some() {
            return Ok(());
        }
        let object = DeadObject {
            server: at.server,
            object: ObjectId::found(at.server, node.fileid),
        };
        let place = FoundName {
            folder: at.handle.clone(),
            name: node.name.clone(),
        };
        let is_file = node.kind == FileKind::Regular;
        let is_directory = node.kind == FileKind::Directory;
        let known: Option<Found> = if is_file {
            self.record(&keys::found(object), Guard::Conflict).await?
        } else {
            None
        };
        let id = if let Some(known) = known {
            match self.name_again(object, known, place).await? {
                Some(id) => id,
                None => return Ok(()),
            }
        } else {
            step.inodes += 1;
            if is_file {
                step.bytes = step.bytes.saturating_add_unsigned(node.size);
            }
            let keeper = step.keeper;
            self.make_found(at, (node, keeper), (object, place)).await?
        };
        insert(&mut bucket, &node.name, id, node.kind)?;
        self.set_record(key, &bucket);
        step.entries += 1;
        step.subdirectories += i64::from(is_directory);
        step.files += i64::from(!is_directory);
        Ok(())
    }

    /// The inode of what is found for the first time, without its name.
    async fn make_found(
        &mut self,
        at: &Unscanned,
        (node, keeper): (&FoundNode, Option<DataServerId>),
        (object, first): (DeadObject, FoundName),
    ) -> Result<InodeId, Error> {
        let inode = Inode {
            keeper,
            ..self.inode_of(at.directory, node).await?
        };
        self.store_inode(&inode, hot_time(inode.mtime));
        match node.kind {
            FileKind::Regular => {
                let found = Found {
                    inode: inode.id,
                    handle: node.handle.clone(),
                    unseen: inode.nlink - 1,
                    first,
                };
                self.set_record(keys::found(object), &found);
                self.set(keys::index(at.server, inode.id), Bytes::new());
                if found.unseen > 0 {
                    self.set(keys::linked(object), Bytes::new());
                }
            }
            FileKind::Directory => {
                let counters = HotCounters {
                    change: inode.change,
                    ..HotCounters::default()
                };
                self.set(keys::hot_counters(inode.id), counters.to_bytes());
                self.max(keys::hot_time(inode.id), hot_time(inode.mtime));
                self.reach(at.server, inode.id, node.handle.clone(), (0, [0; 8]));
            }
            _ => {}
        }
        Ok(inode.id)
    }

    /// A further name of a file that was found under another; `None` where that file is on its way out.
    async fn name_again(
        &mut self,
        object: DeadObject,
        mut known: Found,
        place: FoundName,
    ) -> Result<Option<InodeId>, Error> {
        let mut inode = match self.cold(known.inode).await {
            Ok(cold) if cold.inode.nlink > 0 => cold.inode,
            Ok(_) | Err(Error::Stale) => return Ok(None),
            Err(error) => return Err(error),
        };
        if known.unseen > 0 {
            known.unseen -= 1;
        } else {
            // It has got another name since its first was listed.
            inode.nlink = inode.nlink.saturating_add(1).min(LINKS_MAX);
            self.restamp(&mut inode);
            self.store_inode(&inode, 0);
        }
        let number = self.next_change();
        self.set_record(keys::further(object, number), &place);
        self.set_record(keys::found(object), &known);
        Ok(Some(known.inode))
    }

    async fn inode_of(&self, directory: InodeId, node: &FoundNode) -> Result<Inode, Error> {
        let is_directory = node.kind == FileKind::Directory;
        let nlink = match node.kind {
            FileKind::Directory => 2,
            FileKind::Regular => node.nlink.clamp(1, LINKS_MAX),
            // Of these each name becomes one of its own.
            _ => 1,
        };
        Ok(Inode {
            id: InodeId {
                home: directory.number,
                number: self.core.inode_number().await?,
            },
            kind: node.kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            nlink,
            size: node.target.as_ref().map_or(node.size, |to| to.len() as u64),
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            btime: node.mtime.min(node.ctime),
            change: self.next_change(),
            rdev: node.rdev,
            target: node.target.clone(),
            parent: is_directory.then_some(directory),
            size_epoch: 0,
            extents: node.extents.clone(),
            entries: 0,
            create_verifier: None,
            birth_epoch: 0,
            data_stamp: node.data_stamp,
            used: node.used,
            acl: None,
            label: None,
            xattrs: XattrTotals::default(),
            unscanned: is_directory,
            keeper: None,
        })
    }

    fn reach(
        &mut self,
        server: DataServerId,
        directory: InodeId,
        handle: Bytes,
        (cookie, verifier): (u64, [u8; 8]),
    ) {
        let reached = Reached {
            handle,
            cookie,
            verifier,
        };
        self.set_record(keys::unscanned(server, directory), &reached);
    }

    fn tally(&mut self, server: DataServerId, deltas: [i64; 4]) {
        self.add(keys::scan_totals(server), packed(deltas));
    }

    /// Forgets where files were that their filer has removed.
    pub(crate) fn forget_found(&mut self, object: DeadObject) {
        if object.object.is_found() {
            self.delete(keys::found(object));
            self.delete(keys::linked(object));
            self.clear(keys::all_further(object));
        }
    }
}

impl Reader {
    /// At most `limit` directories of a filer that are not scanned, the youngest behind `before` first: what a scan
    /// has found it takes up soon, so that little waits.
    pub async fn unscanned(
        &self,
        server: DataServerId,
        before: Option<InodeId>,
        limit: usize,
    ) -> Result<Vec<Unscanned>, Error> {
        let mut range = keys::all_unscanned(server);
        if let Some(before) = before {
            range.end = keys::unscanned(server, before);
        }
        let rows = self.last_rows(&range, limit).await?;
        let each = rows.iter().map(|(key, value)| {
            let (server, directory) =
                keys::unscanned_parts(key).ok_or_else(|| misplaced("a directory to scan"))?;
            Ok(unscanned(server, directory, Reached::decode(value)?))
        });
        each.collect()
    }

    pub async fn unscanned_one(
        &self,
        server: DataServerId,
        directory: InodeId,
    ) -> Result<Option<Unscanned>, Error> {
        let key = keys::unscanned(server, directory);
        let reached = self.record(&key, Guard::Conflict).await?;
        Ok(reached.map(|reached| unscanned(server, directory, reached)))
    }

    pub async fn scan_totals(&self, server: DataServerId) -> Result<ScanTotals, Error> {
        let value = self.get(&keys::scan_totals(server), Guard::Free).await?;
        ScanTotals::of(value.as_ref())
    }

    /// Where the file is that an object is; `None` of one that was made here.
    pub async fn found(&self, object: DeadObject) -> Result<Option<FoundFile>, Error> {
        if !object.object.is_found() {
            return Ok(None);
        }
        let found: Option<Found> = self.record(&keys::found(object), Guard::Free).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let mut names = vec![found.first];
        let range = keys::all_further(object);
        for (_, value) in self.rows(range, usize::MAX, Guard::Free).await? {
            names.push(FoundName::decode(&value)?);
        }
        Ok(Some(FoundFile {
            handle: found.handle,
            names,
        }))
    }
}

fn unscanned(server: DataServerId, directory: InodeId, reached: Reached) -> Unscanned {
    Unscanned {
        server,
        directory,
        handle: reached.handle,
        cookie: reached.cookie,
        verifier: reached.verifier,
    }
}

impl Catalog {
    /// After the last directory of a filer: names that no directory had lie outside of what was scanned, and
    /// count no more.
    pub async fn end_scan(&self, now: Timestamp, server: DataServerId) -> Result<(), Error> {
        loop {
            let done = crate::transact!(self, now, |tx| -> Result<bool, Error> {
                let rows = tx
                    .rows(keys::linked_of(server), ROWS, Guard::Conflict)
                    .await?;
                for (key, _) in &rows {
                    let object = keys::linked_object(key).ok_or_else(|| misplaced("a link"))?;
                    tx.forget_unseen(object).await?;
                    tx.delete(key.clone());
                }
                Ok(rows.is_empty())
            })?;
            if done.value {
                return Ok(());
            }
        }
    }
}

impl Tx {
    async fn forget_unseen(&mut self, object: DeadObject) -> Result<(), Error> {
        let key = keys::found(object);
        let Some(mut found) = self.record::<Found>(&key, Guard::Conflict).await? else {
            return Ok(());
        };
        let unseen = std::mem::take(&mut found.unseen);
        self.set_record(key, &found);
        let cold: Option<ColdInode> = match self.cold(found.inode).await {
            Ok(cold) => Some(cold),
            Err(Error::Stale) => None,
            Err(error) => return Err(error),
        };
        if let Some(cold) = cold.filter(|_| unseen > 0) {
            let mut inode = cold.inode;
            inode.nlink = inode.nlink.saturating_sub(unseen);
            self.restamp(&mut inode);
            self.store_inode(&inode, 0);
            if inode.nlink == 0 {
                self.set(keys::orphan(inode.id), Bytes::new());
            }
        }
        Ok(())
    }
}
