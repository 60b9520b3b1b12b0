//! Objects by id: opened, created and removed on disk, and kept open while they are used.
//! Never judges who may do so, and never moves an object's bytes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::folder::Folder;
use super::space::{BLOCK_BYTES, Space};
use crate::gate::Gate;
use crate::handle::ObjectId;
use crate::lru::Lru;
use crate::record::{self, Record};
use crate::syncs::Syncs;
use crate::verifier::Verifier;

const SHARDS: usize = 16;
/// Entries looked at for one that may go: those in use stay.
const EVICTION_TRIES: usize = 8;

/// An open object. All requests on one id share one of these, and so its gate.
#[derive(Debug)]
pub struct Object {
    pub id: ObjectId,
    pub gate: Gate,
    pub syncs: Syncs,
    pub file: Arc<File>,
    record: Mutex<Record>,
    removed: AtomicBool,
    /// Has unstable writes that no sync has followed.
    unsynced: AtomicBool,
    allocated_bytes: AtomicU64,
}

impl Object {
    pub fn record(&self) -> Record {
        *self.record.lock()
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn wrote_unstable(&self) {
        self.unsynced.store(true, Ordering::Release);
    }

    /// To be called before the sync begins: a write that ends during it may have missed it.
    pub fn sync_begins(&self) {
        self.unsynced.store(false, Ordering::Release);
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&*self.file)?)
    }

    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.load(Ordering::Relaxed)
    }

    /// Counts what the object takes now.
    pub fn account(&self, stat: &Stat, space: &Space) {
        let now = stat.st_blocks as u64 * BLOCK_BYTES;
        let before = self.allocated_bytes.swap(now, Ordering::Relaxed);
        space.changed(before, now);
    }

    /// Writes a record durably. The caller holds the gate alone.
    ///
    /// The new record counts even where the sync fails: a fence that may be on disk is a fence.
    pub fn set_record(&self, record: Record) -> io::Result<()> {
        write_record(&self.file, &record)?;
        *self.record.lock() = record;
        self.file.sync_all()
    }

    /// Gives a file of the same object the record that counts now.
    pub fn put_record_into(&self, file: &File) -> io::Result<()> {
        write_record(file, &self.record())
    }

    pub fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Acquire)
    }
}

/// The attributes of an object to be created.
#[derive(Debug, Clone, Copy)]
pub struct Create {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    pub term: u64,
    pub verifier: [u8; 8],
}

#[derive(Debug)]
pub enum Created {
    New(Arc<Object>),
    Existing(Arc<Object>),
}

#[derive(Debug)]
pub struct Objects {
    folder: Arc<Folder>,
    space: Arc<Space>,
    verifier: Arc<Verifier>,
    shards: [Mutex<Lru<ObjectId, Arc<Object>>>; SHARDS],
    shard_limit: usize,
    /// Creation and removal of one id take turns.
    turns: [Mutex<()>; 64],
    /// So do batches: one that fails takes away nothing that another one has answered for.
    batches: Mutex<()>,
}

impl Objects {
    pub fn new(
        folder: Arc<Folder>,
        space: Arc<Space>,
        verifier: Arc<Verifier>,
        open_limit: usize,
    ) -> Self {
        Self {
            folder,
            space,
            verifier,
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_limit: open_limit.div_ceil(SHARDS).max(1),
            turns: std::array::from_fn(|_| Mutex::new(())),
            batches: Mutex::new(()),
        }
    }

    /// The object, if it is open already. Never blocks on the disk.
    pub fn cached(&self, id: ObjectId) -> Option<Arc<Object>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// The object, opened if need be. `None` when there is none.
    pub fn load(&self, id: ObjectId) -> io::Result<Option<Arc<Object>>> {
        if let Some(object) = self.cached(id) {
            return Ok(Some(object));
        }
        // In turn with a removal: a file opened before it must not be kept after it.
        let _turn = self.turn(id).lock();
        self.open(id)
    }

    /// The caller has the id's turn.
    fn open(&self, id: ObjectId) -> io::Result<Option<Arc<Object>>> {
        if let Some(object) = self.cached(id) {
            return Ok(Some(object));
        }
        let file = match self.folder.open_object(id, OFlags::empty()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match read_record(&file)? {
            Some(record) => self.keep(id, file, record).map(Some),
            None => Ok(None),
        }
    }

    /// Creates the object, durably, unless it is there.
    pub fn create(&self, id: ObjectId, create: Create) -> io::Result<Created> {
        let _turn = self.turn(id).lock();
        if let Some(object) = self.open(id)? {
            return Ok(Created::Existing(object));
        }
        let (file, record) = self.put(id, create)?;
        file.sync_all()?;
        self.folder.sync_inner(id)?;
        let object = self.keep(id, file, record)?;
        self.space.changed(0, object.allocated_bytes());
        Ok(Created::New(object))
    }

    /// Creates objects that nobody has used yet, all of them durably: each file is synced, and each folder once. What
    /// an earlier try of the same made is taken as it is.
    pub fn create_all(&self, creates: &[(ObjectId, Create)]) -> io::Result<Vec<Arc<Object>>> {
        let _alone = self.batches.lock();
        let mut new = Vec::with_capacity(creates.len());
        let done = self.put_all(creates, &mut new);
        if done.is_err() {
            // A sync that failed is told of once: the next try must not find what this one left. What was there before
            // stays: this may be a call that came late, and a client may have it by now.
            for object in &new {
                if let Err(error) = self.remove(object) {
                    tracing::debug!(%error, "what is left of a batch can't be removed");
                }
            }
        }
        done
    }

    /// All objects, in their order; and those that weren't there, also where it fails.
    fn put_all(
        &self,
        creates: &[(ObjectId, Create)],
        new: &mut Vec<Arc<Object>>,
    ) -> io::Result<Vec<Arc<Object>>> {
        let mut made = Vec::with_capacity(creates.len());
        for &(id, create) in creates {
            let _turn = self.turn(id).lock();
            if let Some(object) = self.open(id)? {
                let is = object.record();
                let same = (is.mode, is.uid, is.gid) == (create.mode, create.uid, create.gid);
                if !same || object.stat()?.st_size != 0 {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                made.push(object);
                continue;
            }
            let (file, record) = self.put(id, create)?;
            let object = self.keep(id, file, record)?;
            self.space.changed(0, object.allocated_bytes());
            new.push(Arc::clone(&object));
            made.push(object);
        }
        for object in &made {
            object.file.sync_all()?;
        }
        let mut synced = None;
        for object in &made {
            let folder = object.id.folders();
            if synced.replace(folder) != Some(folder) {
                self.folder.sync_inner(object.id)?;
            }
        }
        Ok(made)
    }

    /// A new file with its record, not synced. The caller has the id's turn.
    fn put(&self, id: ObjectId, create: Create) -> io::Result<(File, Record)> {
        let (xx, yy) = id.folders();
        self.folder.make_inner(xx, yy)?;
        let file = self.folder.open_object(id, OFlags::CREATE)?;
        // What a crash left of an earlier creation has no record yet, and might have a size.
        file.set_len(0)?;
        file.set_len(create.size_bytes)?;
        let record = Record {
            mode: create.mode,
            uid: create.uid,
            gid: create.gid,
            generation: 1,
            term: create.term,
            incarnation: rand::random(),
            create_verifier: create.verifier,
        };
        write_record(&file, &record)?;
        Ok((file, record))
    }

    /// Removes the object, durably. The caller holds its gate alone.
    pub fn remove(&self, object: &Object) -> io::Result<()> {
        let _turn = self.turn(object.id).lock();
        if object.is_removed() {
            return Ok(());
        }
        self.folder.unlink_object(object.id)?;
        object.removed.store(true, Ordering::Release);
        self.shard(object.id).lock().remove(&object.id);
        self.space.changed(object.allocated_bytes(), 0);
        Ok(())
    }

    /// Open objects, at this moment.
    pub fn open_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn keep(&self, id: ObjectId, file: File, record: Record) -> io::Result<Arc<Object>> {
        let stat = rustix::fs::fstat(&file)?;
        let object = Arc::new(Object {
            id,
            gate: Gate::default(),
            syncs: Syncs::default(),
            file: Arc::new(file),
            record: Mutex::new(record),
            removed: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            allocated_bytes: AtomicU64::new(stat.st_blocks as u64 * BLOCK_BYTES),
        });
        let evicted = {
            let mut shard = self.shard(id).lock();
            if let Some(earlier) = shard.get(&id) {
                return Ok(Arc::clone(earlier));
            }
            let full = shard.len() >= self.shard_limit;
            // Nobody can get hold of an entry without the shard's lock, so one that only the table
            // refers to has nothing in flight.
            let evicted = full
                .then(|| shard.evict(EVICTION_TRIES, |kept| Arc::strong_count(kept) == 1))
                .flatten();
            shard.insert(id, Arc::clone(&object));
            evicted
        };
        if let Some(evicted) = evicted {
            settle_before_closing(&evicted, &self.verifier);
        }
        Ok(object)
    }

    fn shard(&self, id: ObjectId) -> &Mutex<Lru<ObjectId, Arc<Object>>> {
        &self.shards[usize::from(id.0[15] ^ id.0[0]) % SHARDS]
    }

    fn turn(&self, id: ObjectId) -> &Mutex<()> {
        &self.turns[usize::from(id.0[15] ^ id.0[1]) % self.turns.len()]
    }
}

/// A file closed with unstable writes in it could lose the report of their failure: the kernel may
/// forget it with the inode, and a later COMMIT would succeed. So they are synced while the file is
/// open, and a failure changes the verifier.
fn settle_before_closing(object: &Object, verifier: &Verifier) {
    if object.is_unsynced() && object.file.sync_data().is_err() {
        verifier.writes_lost();
    }
}

fn read_record(file: &File) -> io::Result<Option<Record>> {
    let mut bytes = [0; 256];
    match rustix::fs::fgetxattr(file, record::ATTRIBUTE, &mut bytes[..]) {
        Ok(length) => match Record::decode(&bytes[..length]) {
            Ok(record) => Ok(Some(record)),
            Err(fault) => Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
        },
        // Created, and then the power went before its record was written: it never was.
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn write_record(file: &File, record: &Record) -> io::Result<()> {
    let bytes = record.encode();
    Ok(rustix::fs::fsetxattr(
        file,
        record::ATTRIBUTE,
        &bytes,
        XattrFlags::empty(),
    )?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const ID: ObjectId = ObjectId([3; 16]);
    pub const CREATE: Create = Create {
        mode: 0o640,
        uid: 1,
        gid: 2,
        size_bytes: 0,
        term: 0,
        verifier: [0; 8],
    };

    struct Store {
        dir: tempfile::TempDir,
        objects: Objects,
    }

    fn store() -> Store {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Arc::new(Folder::open(dir.path()).expect("a fresh folder opens"));
        let space = Space::measure(dir.path(), None).expect("nothing is measured");
        let objects = Objects::new(folder, Arc::new(space), Arc::new(Verifier::new(1)), 16);
        Store { dir, objects }
    }

    fn path(store: &Store) -> std::path::PathBuf {
        let folder = store.dir.path().join("data/03/03");
        std::fs::create_dir_all(&folder).expect("a folder is made");
        folder.join(ID.to_string())
    }

    #[test]
    fn what_a_crash_left_of_a_creation_is_no_object_and_is_created_afresh() {
        let store = store();
        std::fs::write(path(&store), b"left over").expect("a file is left");
        assert!(store.objects.load(ID).expect("it is looked for").is_none());
        let created = store.objects.create(ID, CREATE).expect("it is created");
        let Created::New(object) = created else {
            panic!("nothing was there before");
        };
        assert_eq!(object.stat().expect("it is there").st_size, 0);
    }

    fn ids(count: u8) -> Vec<(ObjectId, Create)> {
        let id = |number| {
            let mut id = [3; 16];
            id[15] = number;
            ObjectId(id)
        };
        (0..count).map(|number| (id(number), CREATE)).collect()
    }

    #[test]
    fn a_batch_that_was_made_is_made_again_until_somebody_uses_it() {
        let store = store();
        let first = store.objects.create_all(&ids(5)).expect("all are made");
        let again = store.objects.create_all(&ids(7)).expect("two more are");
        let records = |objects: &[Arc<Object>]| -> Vec<_> {
            objects
                .iter()
                .take(5)
                .map(|object| object.record())
                .collect()
        };
        assert_eq!(records(&first), records(&again));
        first[2].file.set_len(1).expect("it is written");
        // As a call that comes late: none of what others may use by now goes with its failure.
        let used = store.objects.create_all(&ids(8));
        assert_eq!(used.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        for (id, _) in ids(7) {
            assert!(store.objects.open(id).expect("it is opened").is_some());
        }
    }

    #[test]
    fn a_batch_that_breaks_half_way_leaves_none_of_it() {
        let store = store();
        let mut ids = ids(5);
        // Where its folder belongs lies a file.
        ids[3].0.0[6] = 4;
        std::fs::create_dir_all(store.dir.path().join("data/03")).expect("a folder is made");
        std::fs::write(store.dir.path().join("data/03/04"), b"").expect("a file is made");
        assert!(store.objects.create_all(&ids).is_err());
        for (id, _) in ids {
            let left = store.dir.path().join("data/03/03").join(id.to_string());
            assert!(!left.exists());
            assert!(store.objects.cached(id).is_none());
        }
    }

    #[test]
    fn an_object_whose_record_is_damaged_is_neither_served_nor_replaced() {
        let store = store();
        let file = File::create(path(&store)).expect("a file is made");
        rustix::fs::fsetxattr(&file, record::ATTRIBUTE, b"damaged", XattrFlags::empty())
            .expect("an attribute is set");
        assert!(store.objects.load(ID).is_err());
        assert!(store.objects.create(ID, CREATE).is_err());
    }

    #[test]
    fn a_record_survives_its_object_s_closing() {
        let store = store();
        let created = store.objects.create(ID, CREATE).expect("it is created");
        let (Created::New(object) | Created::Existing(object)) = created;
        let record = Record {
            uid: 9,
            generation: 2,
            ..object.record()
        };
        object.set_record(record).expect("it is written");
        let other = Objects::new(
            Arc::clone(&store.objects.folder),
            Arc::clone(&store.objects.space),
            Arc::clone(&store.objects.verifier),
            16,
        );
        let loaded = other.load(ID).expect("it opens").expect("it is there");
        assert_eq!(loaded.record(), record);
    }

    #[test]
    fn a_removed_object_is_gone_for_who_holds_it_and_for_who_looks() {
        let store = store();
        let created = store.objects.create(ID, CREATE).expect("it is created");
        let (Created::New(object) | Created::Existing(object)) = created;
        store.objects.remove(&object).expect("it is removed");
        assert!(object.is_removed());
        assert!(store.objects.load(ID).expect("it is looked for").is_none());
        assert!(!path(&store).exists());
    }
}
