//! Large objects that are cut to nothing: an empty file takes the place of the old one, whose blocks a thread gives
//! back. A file system takes 0.1 ms and more for each extent, and whoever cuts waits. Never whether it may be cut.

#![allow(unsafe_code)]

use std::fs::{File, FileTimes};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::Stat;
use rustix::io::DupFlags;

use super::folder::Folder;
use super::objects::Object;
use super::space::{BLOCK_BYTES, Space};

/// From here on another file costs less than what its extents take, where they are small.
const LARGE_BYTES: u64 = 8 << 20;
/// Files that may wait; who cuts one more waits for it.
const FILES_WAITING: usize = 1024;

/// What is cut off, until its blocks are given back.
#[derive(Debug)]
struct Old {
    _file: File,
    bytes: u64,
}

#[derive(Debug)]
struct Counts {
    space: Arc<Space>,
    waiting_bytes: AtomicU64,
}

impl Counts {
    fn comes(&self, bytes: u64) {
        self.space.changed(0, bytes);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn goes(&self, old: Old) {
        let bytes = old.bytes;
        drop(old);
        self.space.changed(bytes, 0);
        // Last: nothing waits any more, so all of it is counted.
        self.waiting_bytes.fetch_sub(bytes, Ordering::Release);
    }
}

/// Cuts objects to nothing. Its thread ends when it goes.
#[derive(Debug)]
pub struct Cuts {
    folder: Arc<Folder>,
    counts: Arc<Counts>,
    queue: SyncSender<Old>,
}

impl Cuts {
    pub fn start(folder: Arc<Folder>, space: Arc<Space>) -> io::Result<Self> {
        folder.clear_spare()?;
        let counts = Arc::new(Counts {
            space,
            waiting_bytes: AtomicU64::new(0),
        });
        let (queue, olds) = sync_channel(FILES_WAITING);
        let counting = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("ds-cut".into())
            .spawn(move || give_back(&olds, &counting))?;
        Ok(Self {
            folder,
            counts,
            queue,
        })
    }

    /// Bytes that no object has any more and that the file system doesn't have back yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.counts.waiting_bytes.load(Ordering::Acquire)
    }

    /// Takes all bytes from the object, and says whether that is durable already. The caller holds its gate alone.
    pub fn empty(&self, object: &Object) -> io::Result<bool> {
        let stat = object.stat()?;
        let bytes = stat.st_blocks as u64 * BLOCK_BYTES;
        if bytes >= LARGE_BYTES {
            let spare = self.spare(object, &stat);
            match spare.and_then(|new| self.put_in_place(object, &new, bytes)) {
                Ok(()) => {
                    self.folder.sync_inner(object.id)?;
                    return Ok(true);
                }
                // Where the disk is full, say: who cuts may be about to make room.
                Err(error) => tracing::debug!(%error, "a large object is cut where it is"),
            }
        }
        object.file.set_len(0)?;
        Ok(false)
    }

    /// An empty file with the object's record, on the disk.
    fn spare(&self, object: &Object, stat: &Stat) -> io::Result<File> {
        let seconds = stat.st_atime.try_into().unwrap_or(0);
        let accessed = UNIX_EPOCH + Duration::new(seconds, stat.st_atime_nsec as u32);
        let times = FileTimes::new().set_accessed(accessed);
        let new = self.folder.make_spare(object.id)?;
        let made = object
            .put_record_into(&new)
            .and_then(|()| new.set_times(times))
            .and_then(|()| new.sync_all());
        if let Err(error) = made {
            self.folder.drop_spare(object.id)?;
            return Err(error);
        }
        Ok(new)
    }

    /// Leaves everything as it was where it fails.
    fn put_in_place(&self, object: &Object, new: &File, bytes: u64) -> io::Result<()> {
        let old = object.file.try_clone()?;
        switch(&object.file, new)?;
        if let Err(error) = self.folder.use_spare(object.id) {
            switch(&object.file, &old)?;
            self.folder.drop_spare(object.id)?;
            return Err(error);
        }
        self.counts.comes(bytes);
        let queued = self.queue.try_send(Old { _file: old, bytes });
        if let Err(TrySendError::Full(old) | TrySendError::Disconnected(old)) = queued {
            self.counts.goes(old);
        }
        Ok(())
    }
}

/// Lets the descriptor of `file` be one of what `new` is open on. The caller has seen to it that nobody uses it.
fn switch(file: &File, new: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and isn't closed here: it only names another open
    // file afterwards, as whoever has the object is to find.
    let mut fd = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(file.as_raw_fd()) });
    Ok(rustix::io::dup3(new, &mut fd, DupFlags::CLOEXEC)?)
}

fn give_back(olds: &Receiver<Old>, counts: &Counts) {
    for old in olds {
        counts.goes(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::objects::tests::{CREATE, ID};
    use crate::store::{Created, Objects};
    use crate::verifier::Verifier;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    struct Store {
        objects: Objects,
        cuts: Cuts,
        space: Arc<Space>,
    }

    fn store(dir: &Path) -> Store {
        let folder = Arc::new(Folder::open(dir).expect("the folder opens"));
        let space = Space::measure(&dir.join("data"), Some(1 << 40)).expect("it is measured");
        let space = Arc::new(space);
        let verifier = Arc::new(Verifier::new(1));
        Store {
            objects: Objects::new(Arc::clone(&folder), Arc::clone(&space), verifier, 16),
            cuts: Cuts::start(folder, Arc::clone(&space)).expect("a thread starts"),
            space,
        }
    }

    /// An object with that many bytes, and its file's path.
    fn object(store: &Store, dir: &Path, bytes: u64) -> (Arc<Object>, PathBuf) {
        let created = store.objects.create(ID, CREATE).expect("it is created");
        let (Created::New(object) | Created::Existing(object)) = created;
        let data = vec![7; bytes as usize];
        object.file.write_all_at(&data, 0).expect("it is written");
        object.file.sync_all().expect("it is synced");
        let stat = object.stat().expect("it is there");
        object.account(&stat, &store.space);
        (object, dir.join("data/03/03").join(ID.to_string()))
    }

    fn inode(path: &Path) -> u64 {
        std::fs::metadata(path).expect("a file is there").ino()
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_mins(1), "{what}");
            std::thread::yield_now();
        }
    }

    fn is_cut_where_it_is(store: &Store, object: &Object, path: &Path) {
        let first = inode(path);
        assert!(!store.cuts.empty(object).expect("it is cut"), "not synced");
        assert_eq!(inode(path), first);
        let stat = object.stat().expect("it is there");
        assert_eq!((stat.st_ino, stat.st_size), (first, 0));
    }

    #[test]
    fn a_large_object_cut_to_nothing_is_the_same_object_with_another_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let before = store(dir.path());
        let (object, path) = object(&before, dir.path(), LARGE_BYTES);
        let (record, accessed) = (
            object.record(),
            object.stat().expect("it is there").st_atime,
        );
        let first = inode(&path);
        assert!(before.cuts.empty(&object).expect("it is cut"), "durable");
        assert_ne!(inode(&path), first);
        let stat = object.stat().expect("it is there");
        assert_eq!((stat.st_size, stat.st_atime), (0, accessed));
        object.account(&stat, &before.space);
        until("its blocks are given back", || {
            before.cuts.waiting_bytes() == 0
        });
        assert!(before.space.used_bytes() < LARGE_BYTES / 2);
        object.file.write_all_at(b"anew", 0).expect("it is written");
        drop((object, before));

        let after = store(dir.path());
        let loaded = after.objects.load(ID).expect("it can be opened");
        let loaded = loaded.expect("it is there");
        assert_eq!(loaded.record(), record);
        let mut read = [0; 4];
        loaded.file.read_exact_at(&mut read, 0).expect("it is read");
        assert_eq!(&read, b"anew");
    }

    #[test]
    fn a_small_object_is_cut_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = store(dir.path());
        let (object, path) = object(&store, dir.path(), 4096);
        is_cut_where_it_is(&store, &object, &path);
    }

    #[test]
    fn where_no_other_file_can_be_made_a_large_object_is_cut_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = store(dir.path());
        let (object, path) = object(&store, dir.path(), LARGE_BYTES);
        std::fs::remove_dir(dir.path().join("spare")).expect("it is empty");
        is_cut_where_it_is(&store, &object, &path);
    }

    #[test]
    fn where_no_other_file_can_take_its_place_a_large_object_is_cut_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = store(dir.path());
        let (object, path) = object(&store, dir.path(), LARGE_BYTES);
        // A folder in its place: no file can be renamed to that.
        let aside = dir.path().join("aside");
        std::fs::rename(&path, &aside).expect("it is put aside");
        std::fs::create_dir(&path).expect("a folder is made");
        is_cut_where_it_is(&store, &object, &aside);
        let spare = std::fs::read_dir(dir.path().join("spare")).expect("it is listed");
        assert_eq!(spare.count(), 0);
    }

    #[test]
    fn what_a_crash_left_on_its_way_is_removed_by_the_next_start() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        drop(store(dir.path()));
        let left = dir.path().join("spare").join(ID.to_string());
        std::fs::write(&left, b"left").expect("it is left");
        drop(store(dir.path()));
        assert!(!left.exists());
    }
}
