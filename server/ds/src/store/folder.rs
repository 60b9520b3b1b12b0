//! The data server's folder: its identity, its secret, the highest term seen, and the paths below
//! it. Never an object's content.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::handle::{HandleKey, ObjectId};

const SECRET_BYTES: usize = 16;
/// Files on their way into the place of objects.
const SPARE: &str = "spare";

/// Why the folder can't be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {action} failed: {source}")]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error(
        "{path}: another data server serves this folder. Stop it first, or give this one a folder of its own."
    )]
    InUse { path: PathBuf },
    #[error(
        "{path}: the file system takes no user extended attributes, in which each object's owner is kept ({source}).\n\
         Use a folder on ext4, xfs, btrfs or zfs (xattr=sa); tmpfs has them since Linux 6.6."
    )]
    NoXattrs { path: PathBuf, source: io::Error },
    #[error(
        "{path}: {fault}. Restore the file from a backup: without it, filehandles given out earlier are lost."
    )]
    Damaged { path: PathBuf, fault: &'static str },
}

/// An open data server folder. One process at a time has it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    root: File,
    key: HandleKey,
    term: AtomicU64,
    /// Held while a higher term is made durable.
    term_change: Mutex<()>,
    /// Folders whose names are known to be on disk: nobody removes them while we serve.
    outer_durable: Bits,
    inner_durable: Bits,
    _lock: File,
}

/// A fixed number of bits, set once.
#[derive(Debug)]
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(count: usize) -> Self {
        Self((0..count / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn get(&self, at: usize) -> bool {
        self.0[at / 64].load(Ordering::Acquire) & 1 << (at % 64) != 0
    }

    fn set(&self, at: usize) {
        self.0[at / 64].fetch_or(1 << (at % 64), Ordering::AcqRel);
    }
}

impl Folder {
    /// Opens the folder, and makes it a data server's when it is none yet.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let fault = |action: &'static str| {
            move |source: io::Error| FolderError::Io {
                path: path.to_path_buf(),
                action,
                source,
            }
        };
        for below in ["data", SPARE] {
            std::fs::create_dir_all(path.join(below)).map_err(fault("creating the folder"))?;
        }
        let root = File::open(path).map_err(fault("opening the folder"))?;
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(fault("opening the lock file"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            if errno == Errno::WOULDBLOCK {
                FolderError::InUse {
                    path: path.to_path_buf(),
                }
            } else {
                fault("locking the folder")(errno.into())
            }
        })?;
        probe_xattrs(path, &lock)?;
        let key = HandleKey::new(secret(path)?);
        let term = stored_term(path)?;
        root.sync_all().map_err(fault("syncing the folder"))?;
        Ok(Self {
            path: path.to_path_buf(),
            root,
            key,
            term: AtomicU64::new(term),
            term_change: Mutex::new(()),
            outer_durable: Bits::new(1 << 8),
            inner_durable: Bits::new(1 << 16),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn root(&self) -> &File {
        &self.root
    }

    pub fn key(&self) -> &HandleKey {
        &self.key
    }

    /// Whether an order of `term` is to be obeyed. A term higher than any seen is on disk before
    /// the answer, so that no restart obeys an older metadata server again.
    pub fn admit_term(&self, term: u64) -> io::Result<bool> {
        let seen = self.term.load(Ordering::Acquire);
        if term <= seen {
            return Ok(term == seen);
        }
        let _changing = self.term_change.lock();
        let seen = self.term.load(Ordering::Acquire);
        if term > seen {
            replace(&self.path, "term", format!("{term}\n").as_bytes())?;
            self.root.sync_all()?;
            self.term.store(term, Ordering::Release);
        }
        Ok(term >= seen)
    }

    /// The highest term seen, without asking the disk.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    pub fn open_object(&self, id: ObjectId, flags: OFlags) -> io::Result<File> {
        self.open_file(object_path(id), flags)
    }

    fn open_file(&self, path: String, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.root, path, flags, mode)?.into())
    }

    pub fn unlink_object(&self, id: ObjectId) -> io::Result<()> {
        rustix::fs::unlinkat(&self.root, object_path(id), AtFlags::empty())?;
        self.sync_inner(id)
    }

    /// Makes an empty file that is to take the object's place.
    pub fn make_spare(&self, id: ObjectId) -> io::Result<File> {
        self.open_file(spare_path(id), OFlags::CREATE | OFlags::TRUNC)
    }

    /// Puts it there. Durable once the folder of the object is synced.
    pub fn use_spare(&self, id: ObjectId) -> io::Result<()> {
        let root = &self.root;
        Ok(rustix::fs::renameat(
            root,
            spare_path(id),
            root,
            object_path(id),
        )?)
    }

    pub fn drop_spare(&self, id: ObjectId) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::unlinkat(&self.root, spare_path(id), flags)?)
    }

    /// Removes what a crash left of those.
    pub fn clear_spare(&self) -> io::Result<()> {
        for left in std::fs::read_dir(self.path.join(SPARE))? {
            std::fs::remove_file(left?.path())?;
        }
        Ok(())
    }

    /// Makes the names durable in the folder that the object lies in.
    pub fn sync_inner(&self, id: ObjectId) -> io::Result<()> {
        let (xx, yy) = id.folders();
        self.open_folder(&inner_path(xx, yy))?.sync_all()
    }

    /// Makes `data/xx/yy`, and says whether it wasn't there. It is durable either way: one that is
    /// found may be left of a crash, or another thread's that isn't synced yet.
    pub fn make_inner(&self, xx: u8, yy: u8) -> io::Result<bool> {
        let bit = usize::from(xx) << 8 | usize::from(yy);
        if self.inner_durable.get(bit) {
            return Ok(false);
        }
        self.make_outer(xx)?;
        let made = self.make_folder(&inner_path(xx, yy), &outer_path(xx))?;
        self.inner_durable.set(bit);
        Ok(made)
    }

    /// Makes `data/xx` likewise.
    pub fn make_outer(&self, xx: u8) -> io::Result<bool> {
        if self.outer_durable.get(usize::from(xx)) {
            return Ok(false);
        }
        let made = self.make_folder(&outer_path(xx), "data")?;
        self.outer_durable.set(usize::from(xx));
        Ok(made)
    }

    fn make_folder(&self, path: &str, parent: &str) -> io::Result<bool> {
        let made = match rustix::fs::mkdirat(&self.root, path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        self.open_folder(parent)?.sync_all()?;
        Ok(made)
    }

    /// Opens a folder below the root; `.` is the root.
    pub fn open_folder(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.root, path, flags, Mode::empty())?.into())
    }

    /// Syncs the whole file system that the folder is on.
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    pub fn statvfs(&self) -> io::Result<rustix::fs::StatVfs> {
        Ok(rustix::fs::fstatvfs(&self.root)?)
    }
}

pub fn outer_path(xx: u8) -> String {
    format!("data/{xx:02x}")
}

pub fn inner_path(xx: u8, yy: u8) -> String {
    format!("data/{xx:02x}/{yy:02x}")
}

fn object_path(id: ObjectId) -> String {
    let (xx, yy) = id.folders();
    format!("data/{xx:02x}/{yy:02x}/{id}")
}

fn spare_path(id: ObjectId) -> String {
    format!("{SPARE}/{id}")
}

fn probe_xattrs(path: &Path, file: &File) -> Result<(), FolderError> {
    rustix::fs::fsetxattr(file, "user.headrace.probe", b"1", XattrFlags::empty()).map_err(|errno| {
        FolderError::NoXattrs {
            path: path.to_path_buf(),
            source: errno.into(),
        }
    })
}

/// The handle secret: drawn once, kept for as long as the folder lives.
fn secret(path: &Path) -> Result<[u8; SECRET_BYTES], FolderError> {
    let file = path.join("secret");
    match std::fs::read(&file) {
        Ok(bytes) => bytes.try_into().map_err(|_| FolderError::Damaged {
            path: file,
            fault: "the handle secret isn't 16 bytes long",
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret: [u8; SECRET_BYTES] = rand::random();
            replace(path, "secret", &secret).map_err(|source| FolderError::Io {
                path: file,
                action: "keeping the handle secret",
                source,
            })?;
            Ok(secret)
        }
        Err(source) => Err(FolderError::Io {
            path: file,
            action: "reading the handle secret",
            source,
        }),
    }
}

fn stored_term(path: &Path) -> Result<u64, FolderError> {
    let file = path.join("term");
    let mut text = String::new();
    match File::open(&file).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => text.trim().parse().map_err(|_| FolderError::Damaged {
            path: file,
            fault: "the highest term seen is no number",
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(FolderError::Io {
            path: file,
            action: "reading the highest term seen",
            source,
        }),
    }
}

/// Replaces a small file whole: after a crash it is the old one or the new one.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_seen_is_remembered_over_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path()).expect("a fresh folder opens");
        assert!(folder.admit_term(0).expect("no term is current at first"));
        assert!(folder.admit_term(7).expect("a higher term is kept"));
        assert!(!folder.admit_term(6).expect("reading needs no disk"));
        drop(folder);
        let folder = Folder::open(dir.path()).expect("it opens again");
        assert_eq!(folder.term(), 7);
        assert!(!folder.admit_term(0).expect("reading needs no disk"));
    }

    #[test]
    fn the_secret_is_kept_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let handle = |folder: &Folder| folder.key().seal(crate::handle::Target::Root);
        let first = handle(&Folder::open(dir.path()).expect("a fresh folder opens"));
        let second = handle(&Folder::open(dir.path()).expect("it opens again"));
        assert_eq!(first, second);
        let mode = std::fs::metadata(dir.path().join("secret"))
            .expect("the secret is a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn two_servers_never_share_a_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let _first = Folder::open(dir.path()).expect("a fresh folder opens");
        assert!(matches!(
            Folder::open(dir.path()),
            Err(FolderError::InUse { .. })
        ));
    }

    #[test]
    fn a_damaged_secret_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("secret"), b"short").expect("a file is written");
        let error = Folder::open(dir.path()).expect_err("a damaged secret is refused");
        assert!(error.to_string().contains("secret"), "{error}");
    }
}
