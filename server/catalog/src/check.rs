//! A whole scan that proves what every transaction promises: links, entries, parents, totals, the
//! reverse index, extended attributes, and the one place of each object. For tests and for an operator in doubt: it holds
//! a line for every inode in memory. Never repairs.

use crate::adopted::FoundName;
use crate::catalog::Catalog;
use crate::codec::{Bucket, ColdInode, Found, Reached, Record, XattrBucket, XattrValue};
use crate::error::Error;
use crate::hot::{HotCounters, max_value};
use crate::inode::{Counts, FileKind, Inode, InodeId, NAME_MAX_BYTES, XattrTotals};
use crate::keys::{self, InodePart, Kind};
use crate::namespace::servers;
use crate::records::{ClientRecord, DataServerRecord, DeadObject, Order, PoolEntry, WriteIntent};
use crate::store::KeyRange;
use crate::view::{Guard, counts_of};
use bytes::Bytes;
use layout::DataServerId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows read at once.
const ROWS: usize = 4096;

/// What an inode's record says, and what the rest of the catalog says of it.
struct Seen {
    inode: Inode,
    counters: Option<HotCounters>,
    has_time: bool,
    /// Names that point to it.
    names: u64,
    /// Names that its filer has, and that were not listed yet.
    unseen: u64,
    /// Directory of its last name.
    named_in: Option<u64>,
    is_orphan: bool,
    xattrs: XattrTotals,
    /// Of a directory.
    entries: u64,
    subdirectories: u64,
}

#[derive(Default)]
struct Scan {
    faults: Vec<String>,
    inodes: HashMap<u64, Seen>,
    /// Directory, name, inode and kind of each entry.
    entries: Vec<(u64, Bytes, InodeId, FileKind)>,
    orphans: Vec<InodeId>,
    writing: Vec<InodeId>,
    /// Extended attributes: inode, cookie and length of the value, by their names and by their values.
    xattr_names: BTreeMap<(InodeId, u64), (u64, u32)>,
    xattr_values: BTreeMap<(InodeId, u64), u32>,
    index: BTreeSet<(DataServerId, InodeId)>,
    data_servers: BTreeSet<DataServerId>,
    /// Those that are filers: new files of their trees lie elsewhere.
    filers: BTreeSet<DataServerId>,
    /// Files of filers, and who has further names or is said to.
    found: BTreeMap<DeadObject, Found>,
    further: BTreeSet<DeadObject>,
    unscanned: BTreeSet<InodeId>,
    /// Where each object was found.
    objects: BTreeMap<DeadObject, &'static str>,
    counts: Counts,
    dead_objects: u64,
    ceiling: u64,
}

impl Catalog {
    /// Every fault that a scan of the whole catalog finds, one line each; none in a sound catalog.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        let reader = self.read();
        let mut scan = Scan::default();
        // A letter of the alphabet begins every key.
        let mut rest = Some(KeyRange {
            start: Bytes::new(),
            end: Bytes::from_static(&[0xff]),
        });
        while let Some(range) = rest {
            let page = reader.scan(&range, ROWS, Guard::Free).await?;
            for (key, value) in &page.rows {
                if let Err(error) = scan.row(&self.core.names, key, value) {
                    scan.faults
                        .push(format!("key {}: {error}", key.escape_ascii()));
                }
            }
            rest = page.rest;
        }
        for server in &scan.data_servers {
            let totals = keys::scan_totals(*server);
            if reader.get(&totals, Guard::Free).await?.is_some() {
                scan.filers.insert(*server);
            }
        }
        Ok(scan.finish())
    }
}

impl Scan {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn row(&mut self, names: &keys::NameHash, key: &[u8], value: &Bytes) -> Result<(), Error> {
        let kind = keys::kind(key).ok_or_else(|| Error::Corrupt("of no known kind".into()))?;
        match kind {
            Kind::Inode(id, part) => self.inode(id, part, value)?,
            Kind::Entry(directory, hash) => self.bucket(names, directory, hash, value)?,
            Kind::Orphan(id) => self.orphans.push(id),
            Kind::Writing(id) => {
                if WriteIntent::decode(value)?.inode != id {
                    return Err(Error::Corrupt("a write intent of another inode".into()));
                }
                self.writing.push(id);
            }
            Kind::XattrName(id, hash) => self.xattr_names(names, id, hash, value)?,
            Kind::XattrValue(id, cookie) => {
                let value = XattrValue::decode(value)?.0;
                self.xattr_values.insert((id, cookie), value.len() as u32);
            }
            Kind::Index(server, id) => {
                self.index.insert((server, id));
            }
            Kind::Pool(object) => {
                let found = match PoolEntry::decode(value)? {
                    PoolEntry::Reserved { server, object } => DeadObject { server, object },
                    PoolEntry::Pooled(object) => DeadObject::from(&object),
                };
                if found != object {
                    return Err(Error::Corrupt("a pooled object under another's key".into()));
                }
                self.object(object, "in the pool");
            }
            Kind::Dead(object) => {
                self.dead_objects += 1;
                self.object(object, "in the delete queue");
            }
            Kind::Found(object) => drop(self.found.insert(object, Found::decode(value)?)),
            Kind::Linked(object) => drop(self.further.insert(object)),
            Kind::Further(object) => {
                FoundName::decode(value)?;
                self.further.insert(object);
            }
            Kind::Unscanned(_, id) => {
                Reached::decode(value)?;
                if !self.unscanned.insert(id) {
                    return Err(Error::Corrupt("a directory of two filers".into()));
                }
            }
            Kind::Order => drop(Order::decode(value)?),
            Kind::Client(id) => {
                if ClientRecord::decode(value)?.id != id {
                    return Err(Error::Corrupt("a client under another's key".into()));
                }
            }
            Kind::DataServer(id) => {
                if DataServerRecord::decode(value)?.id != id {
                    return Err(Error::Corrupt("a data server under another's key".into()));
                }
                self.data_servers.insert(id);
            }
            Kind::Number if key == keys::COUNTS => self.counts = counts_of(Some(value))?,
            Kind::Number if key == keys::INODE_CEILING => self.ceiling = max_value(Some(value))?,
            Kind::Number | Kind::Meta => {}
        }
        Ok(())
    }

    fn inode(&mut self, id: InodeId, part: InodePart, value: &Bytes) -> Result<(), Error> {
        // The cold half has the shortest key of the three and comes first.
        let seen = self
            .inodes
            .get_mut(&id.number)
            .filter(|seen| seen.inode.id == id);
        match (part, seen) {
            (InodePart::Cold, _) => {
                let mut inode = ColdInode::decode(value)?.inode;
                inode.id = id;
                for object in inode
                    .extents
                    .iter()
                    .flat_map(|extent| &extent.mirrors)
                    .flat_map(|mirror| &mirror.stripes)
                {
                    self.object(object.into(), "in an extent");
                }
                let seen = Seen {
                    inode,
                    counters: None,
                    has_time: false,
                    names: 0,
                    unseen: 0,
                    named_in: None,
                    is_orphan: false,
                    xattrs: XattrTotals::default(),
                    entries: 0,
                    subdirectories: 0,
                };
                if self.inodes.insert(id.number, seen).is_some() {
                    return Err(Error::Corrupt("a second inode of that number".into()));
                }
            }
            (InodePart::Counters, Some(seen)) => {
                seen.counters = Some(HotCounters::from_bytes(value)?);
            }
            (InodePart::Time, Some(seen)) => {
                max_value(Some(value))?;
                seen.has_time = true;
            }
            (_, None) => return Err(Error::Corrupt("the hot half of no inode".into())),
        }
        Ok(())
    }

    fn bucket(
        &mut self,
        names: &keys::NameHash,
        directory: u64,
        hash: u64,
        value: &Bytes,
    ) -> Result<(), Error> {
        let bucket = Bucket::decode(value)?.0;
        let tiebreaks: BTreeSet<u8> = bucket.iter().map(|named| named.tiebreak).collect();
        let fits =
            tiebreaks.len() == bucket.len() && tiebreaks.iter().all(|one| *one < keys::TIEBREAKS);
        if bucket.is_empty() || !fits {
            return Err(Error::Corrupt("names with wrong tiebreaks".into()));
        }
        for named in bucket {
            if names.of(&named.name) != hash
                || named.name.is_empty()
                || named.name.len() > NAME_MAX_BYTES
            {
                self.fault(format!(
                    "entry {:?} of directory {directory} is misplaced",
                    named.name
                ));
            }
            self.entries
                .push((directory, named.name, named.id, named.kind));
        }
        Ok(())
    }

    fn xattr_names(
        &mut self,
        names: &keys::NameHash,
        id: InodeId,
        hash: u64,
        value: &Bytes,
    ) -> Result<(), Error> {
        let bucket = XattrBucket::decode(value)?.0;
        let empty = bucket.is_empty();
        for named in bucket {
            let fits = named.tiebreak < keys::TIEBREAKS && names.of(&named.name) == hash;
            let cookie = keys::cookie(hash, named.tiebreak);
            let found = (named.name.len() as u64, named.bytes);
            if self.xattr_names.insert((id, cookie), found).is_some() || !fits {
                self.fault(format!(
                    "the extended attribute {:?} is misplaced",
                    named.name
                ));
            }
        }
        if empty {
            return Err(Error::Corrupt("no name of an extended attribute".into()));
        }
        Ok(())
    }

    fn object(&mut self, object: DeadObject, place: &'static str) {
        if let Some(other) = self.objects.insert(object, place) {
            self.fault(format!("{object:?} is {place} and {other}"));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.check_entries();
        for id in std::mem::take(&mut self.orphans) {
            match self
                .inodes
                .get_mut(&id.number)
                .filter(|seen| seen.inode.id == id)
            {
                Some(seen) => seen.is_orphan = true,
                None => self.fault(format!("orphan {id:?} is no inode")),
            }
        }
        for id in std::mem::take(&mut self.writing) {
            if self
                .inodes
                .get(&id.number)
                .is_none_or(|seen| seen.inode.id != id)
            {
                self.fault(format!("a write intent of {id:?}, which is no inode"));
            }
        }
        self.check_xattrs();
        self.check_found();
        self.check_keepers();
        self.check_inodes();
        self.check_paths();
        self.faults
    }

    fn check_entries(&mut self) {
        for (directory, name, id, kind) in std::mem::take(&mut self.entries) {
            let mut keeper = None;
            match self.inodes.get_mut(&directory) {
                Some(parent) if parent.inode.kind == FileKind::Directory => {
                    keeper = parent.inode.keeper;
                    parent.entries += 1;
                    parent.subdirectories += u64::from(kind == FileKind::Directory);
                }
                _ => self.fault(format!(
                    "entry {name:?} is in {directory}, which is no directory"
                )),
            }
            match self
                .inodes
                .get_mut(&id.number)
                .filter(|seen| seen.inode.id == id)
            {
                Some(child) if child.inode.kind == kind => {
                    child.names += 1;
                    child.named_in = Some(directory);
                    // Another keeper's has a root of its own, which is a directory.
                    let begins = kind == FileKind::Directory && child.inode.keeper.is_some();
                    if child.inode.keeper != keeper && !begins {
                        self.fault(format!(
                            "entry {name:?} of {directory} leads to another keeper's"
                        ));
                    }
                }
                Some(_) => self.fault(format!(
                    "entry {name:?} of {directory} says {kind:?}, its inode not"
                )),
                None => self.fault(format!("entry {name:?} of {directory} names no inode")),
            }
        }
    }

    /// Each name has a value of its length, each value a name, and each an inode.
    fn check_xattrs(&mut self) {
        let mut values = std::mem::take(&mut self.xattr_values);
        for ((id, cookie), (name_bytes, bytes)) in std::mem::take(&mut self.xattr_names) {
            if values.remove(&(id, cookie)) != Some(bytes) {
                self.fault(format!("an extended attribute of {id:?} lacks its value"));
            }
            match self
                .inodes
                .get_mut(&id.number)
                .filter(|seen| seen.inode.id == id)
            {
                Some(seen) => {
                    seen.xattrs.count += 1;
                    seen.xattrs.bytes += name_bytes + u64::from(bytes);
                }
                None => self.fault(format!(
                    "an extended attribute of {id:?}, which is no inode"
                )),
            }
        }
        for (id, _) in values.into_keys() {
            self.fault(format!("a value without a name among {id:?}'s"));
        }
    }

    /// Each file of a filer is an object, of a file or to be removed, and is known by its place there.
    fn check_found(&mut self) {
        for (object, found) in std::mem::take(&mut self.found) {
            let seen = self.inodes.get_mut(&found.inode.number);
            if let Some(seen) = seen.filter(|seen| seen.inode.id == found.inode) {
                seen.unseen += u64::from(found.unseen);
            }
            match self.objects.get(&object) {
                Some(_) => drop(self.further.remove(&object)),
                None => self.fault(format!("{object:?} is on a filer, and no object")),
            }
        }
        for object in std::mem::take(&mut self.further) {
            self.fault(format!("{object:?} has further names, and no first"));
        }
        let has_row = std::mem::take(&mut self.unscanned);
        let flagged = self.inodes.values().filter(|seen| seen.inode.unscanned);
        let flagged: BTreeSet<InodeId> = flagged.map(|seen| seen.inode.id).collect();
        for id in has_row.symmetric_difference(&flagged) {
            self.fault(format!("whether {id:?} is scanned is said in two ways"));
        }
    }

    /// Each keeper is a data server, and what it keeps lies there and nowhere else, but for what is new in a filer's
    /// tree.
    fn check_keepers(&mut self) {
        let mut faults = Vec::new();
        for seen in self.inodes.values() {
            let inode = &seen.inode;
            let Some(keeper) = inode.keeper else {
                continue;
            };
            if !self.data_servers.contains(&keeper) {
                faults.push(format!(
                    "{:?} is kept by {keeper:?}, which is none",
                    inode.id
                ));
            }
            let elsewhere = servers(inode).iter().any(|server| *server != keeper);
            if elsewhere && !self.filers.contains(&keeper) {
                faults.push(format!(
                    "{:?} is kept by {keeper:?}, and lies elsewhere",
                    inode.id
                ));
            }
        }
        self.faults.append(&mut faults);
    }

    fn check_inodes(&mut self) {
        let mut faults = Vec::new();
        let mut expected_index = BTreeSet::new();
        let mut counts = Counts {
            dead_objects: self.dead_objects,
            ..Counts::default()
        };
        for seen in self.inodes.values() {
            let inode = &seen.inode;
            let id = inode.id;
            counts.inodes += 1;
            if id.number >= self.ceiling {
                faults.push(format!("{id:?} has a number that was not given yet"));
            }
            if seen.xattrs != inode.xattrs {
                let (counted, found) = (inode.xattrs, seen.xattrs);
                faults.push(format!("{id:?} counts {counted:?}, has {found:?}"));
            }
            for object in inode
                .extents
                .iter()
                .flat_map(|extent| &extent.mirrors)
                .flat_map(|mirror| &mirror.stripes)
            {
                expected_index.insert((object.server, id));
            }
            if inode.kind == FileKind::Directory {
                counts.directories += 1;
                let wanted_names = u64::from(id != InodeId::ROOT);
                if seen.names != wanted_names {
                    faults.push(format!("directory {id:?} has {} names", seen.names));
                }
                if inode.parent.map(|parent| parent.number) != seen.named_in {
                    faults.push(format!("directory {id:?} has parent {:?}", inode.parent));
                }
                let found = seen
                    .counters
                    .map(|counters| (counters.entries, counters.subdirectories));
                if found != Some((seen.entries, seen.subdirectories)) || !seen.has_time {
                    faults.push(format!(
                        "directory {id:?} counts {found:?}, has {:?}",
                        (seen.entries, seen.subdirectories)
                    ));
                }
            } else {
                if u64::from(inode.nlink) != seen.names + seen.unseen {
                    faults.push(format!(
                        "{id:?} counts {} links, has {}",
                        inode.nlink, seen.names
                    ));
                }
                if seen.is_orphan != (inode.nlink == 0) {
                    faults.push(format!(
                        "{id:?} has {} links, orphan: {}",
                        inode.nlink, seen.is_orphan
                    ));
                }
                if seen.counters.is_some() || seen.has_time {
                    faults.push(format!("{id:?} is no directory and has counters"));
                }
            }
        }
        if counts != self.counts {
            faults.push(format!("totals are {:?}, found {counts:?}", self.counts));
        }
        for (server, id) in expected_index.symmetric_difference(&self.index) {
            faults.push(format!(
                "the reverse index is wrong about {server:?} and {id:?}"
            ));
        }
        self.faults.append(&mut faults);
    }

    /// Every directory leads to the root: none hangs in a ring of its own.
    fn check_paths(&mut self) {
        let parent_of = |number: u64| self.inodes.get(&number).and_then(|seen| seen.inode.parent);
        let mut faults = Vec::new();
        let mut sound = BTreeSet::from([InodeId::ROOT.number]);
        for seen in self
            .inodes
            .values()
            .filter(|seen| seen.inode.kind == FileKind::Directory)
        {
            let mut way = BTreeSet::new();
            let mut at = seen.inode.id.number;
            while !sound.contains(&at) {
                let parent = parent_of(at).filter(|_| way.insert(at));
                let Some(parent) = parent else {
                    faults.push(format!(
                        "directory {:?} doesn't lead to the root",
                        seen.inode.id
                    ));
                    break;
                };
                at = parent.number;
            }
            if sound.contains(&at) {
                sound.extend(way);
            }
        }
        self.faults.append(&mut faults);
    }
}
