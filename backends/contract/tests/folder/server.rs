//! The worked example of docs/ARCHITECTURE.md: a folder of the metadata server's own host as a data server. No client
//! reaches it, so that all bytes pass the metadata server, and nobody is to be kept out.

use async_trait::async_trait;
use backend::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, Nanos, ObjectStat,
    RangeAbilities, Space, Stability, WriteVerifier, Written,
};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use parking_lot::RwLock;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const TRANSFER_BYTES: u32 = 1 << 20;
/// As ext4 has it.
const LARGEST_BYTES: u64 = 1 << 43;

/// What is known of an object beside its bytes: `incarnation uid gid`, in a file of its own.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// Tells an object from an earlier one of its id.
    incarnation: u64,
    owner: Owner,
}

impl Note {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self {
            incarnation: words.next()?.parse().ok()?,
            owner: Owner {
                uid: words.next()?.parse().ok()?,
                gid: words.next()?.parse().ok()?,
            },
        })
    }
}

struct Shelf {
    folder: PathBuf,
    verifier: AtomicU64,
    /// Held alone by whoever changes a size: a padding must not cut what is written beside it.
    sizes: RwLock<()>,
}

#[derive(Clone)]
pub struct FolderServer(Arc<Shelf>);

impl FolderServer {
    /// One server at a time has the folder.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let server = Self(Arc::new(Shelf {
            folder,
            verifier: AtomicU64::new(0),
            sizes: RwLock::new(()),
        }));
        server.begin();
        Ok(server)
    }

    /// As each start does: unstable writes of an earlier one may be lost.
    pub fn begin(&self) {
        self.0.verifier.store(drawn(), SeqCst);
    }

    /// Files are slow: never on a thread that others' requests wait for.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shelf = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
        done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Broken, "the file operation died")))
    }
}

/// Another one each time.
fn drawn() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed();
    now.map_or(0, |now| now.as_nanos() as u64)
}

fn failed(error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::Gone,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::FileTooLarge => ErrorKind::TooLarge,
        _ => ErrorKind::Broken,
    };
    Error::new(kind, format!("the folder of objects: {error}"))
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "no object is as long as that")
}

impl Shelf {
    fn bytes_of(&self, object: ObjectId) -> PathBuf {
        self.folder.join(format!("{:032x}", object.0))
    }

    fn note_of(&self, object: ObjectId) -> PathBuf {
        self.bytes_of(object).with_extension("note")
    }

    fn read_note(&self, object: ObjectId) -> io::Result<Note> {
        let text = fs::read_to_string(self.note_of(object))?;
        Note::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Durable, and whole or not there.
    fn write_note(&self, object: ObjectId, note: Note) -> io::Result<()> {
        let path = self.note_of(object);
        let beside = path.with_extension("part");
        let Note { incarnation, owner } = note;
        let mut file = File::create(&beside)?;
        writeln!(file, "{incarnation} {} {}", owner.uid, owner.gid)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        self.sync()
    }

    /// Which names the folder has.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// What a handle names, if it is still there.
    fn found(&self, handle: &Bytes) -> Result<(ObjectId, Note), Error> {
        let gone = || Error::new(ErrorKind::Gone, "no object has this handle");
        let (id, incarnation) = parse(handle).ok_or_else(gone)?;
        let note = self.read_note(id).map_err(|error| failed(&error))?;
        if note.incarnation == incarnation {
            Ok((id, note))
        } else {
            Err(gone())
        }
    }

    fn opened(&self, handle: &Bytes) -> Result<File, Error> {
        let (id, _) = self.found(handle)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.bytes_of(id));
        file.map_err(|error| failed(&error))
    }

    fn create(&self, object: ObjectId, owner: Owner) -> io::Result<Bytes> {
        let known = match self.read_note(object) {
            Ok(note) => Some(note.incarnation),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let _alone = self.sizes.write();
        File::create(self.bytes_of(object))?.sync_all()?;
        let incarnation = known.unwrap_or_else(drawn);
        self.write_note(object, Note { incarnation, owner })?;
        Ok(handle_of(object, incarnation))
    }

    fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        let (id, note) = self.found(handle)?;
        let there = fs::metadata(self.bytes_of(id)).map_err(|error| failed(&error))?;
        let time =
            |seconds: i64, nanos: i64| Nanos::from(seconds) * 1_000_000_000 + Nanos::from(nanos);
        Ok(ObjectStat {
            owner: note.owner,
            size: there.len(),
            used: there.blocks() * 512,
            mtime: time(there.mtime(), there.mtime_nsec()),
            ctime: time(there.ctime(), there.ctime_nsec()),
            atime: time(there.atime(), there.atime_nsec()),
        })
    }

    /// `cut`: also to fewer bytes.
    fn resize(&self, handle: &Bytes, size: u64, cut: bool) -> Result<ObjectStat, Error> {
        if size > LARGEST_BYTES {
            return Err(too_large());
        }
        let file = self.opened(handle)?;
        let resized = || -> io::Result<()> {
            let _alone = self.sizes.write();
            if cut || file.metadata()?.len() < size {
                file.set_len(size)?;
            }
            file.sync_all()
        };
        resized().map_err(|error| failed(&error))?;
        self.stat(handle)
    }

    fn remove(&self, object: ObjectId) -> io::Result<()> {
        // First: what has no note isn't there for anybody.
        for path in [self.note_of(object), self.bytes_of(object)] {
            unless_gone(&path)?;
        }
        self.sync()
    }
}

fn unless_gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn handle_of(object: ObjectId, incarnation: u64) -> Bytes {
    let (id, incarnation) = (object.0.to_be_bytes(), incarnation.to_be_bytes());
    [&id[..], &incarnation].concat().into()
}

fn parse(handle: &Bytes) -> Option<(ObjectId, u64)> {
    let (id, incarnation) = handle.split_at_checked(16)?;
    let id = u128::from_be_bytes(id.try_into().ok()?);
    let incarnation = u64::from_be_bytes(incarnation.try_into().ok()?);
    Some((ObjectId(id), incarnation))
}

#[async_trait]
impl DataServer for FolderServer {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fence: FenceGrade::Exact,
            direct: false,
            read_bytes: TRANSFER_BYTES,
            write_bytes: TRANSFER_BYTES,
            largest_object_bytes: LARGEST_BYTES,
            ranges: RangeAbilities::default(),
        }
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        self.blocking(move |shelf| shelf.create(object, owner).map_err(|error| failed(&error)))
            .await
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| shelf.stat(&handle)).await
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| shelf.resize(&handle, size, true))
            .await
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| shelf.resize(&handle, size, false))
            .await
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| {
            let (id, note) = shelf.found(&handle)?;
            let noted = shelf.write_note(id, Note { owner, ..note });
            noted.map_err(|error| failed(&error))
        })
        .await
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| {
            let file = shelf.opened(&handle)?;
            let read = || -> io::Result<Fetched> {
                let size = file.metadata()?.len();
                let left = size.saturating_sub(offset);
                let mut data = vec![0; left.min(count.min(TRANSFER_BYTES).into()) as usize];
                file.read_exact_at(&mut data, offset)?;
                let at_end = offset.saturating_add(data.len() as u64) >= size;
                Ok(Fetched {
                    data: data.into(),
                    at_end,
                })
            };
            // Cut meanwhile, it is asked again.
            read().map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::new(
                    ErrorKind::Retry {
                        after: std::time::Duration::ZERO,
                    },
                    "the object was cut meanwhile",
                ),
                _ => failed(&error),
            })
        })
        .await
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let handle = handle.clone();
        let data = data.slice(..data.len().min(TRANSFER_BYTES as usize));
        self.blocking(move |shelf| {
            // Before the bytes: what they are lost with has a later one.
            let verifier = shelf.verifier.load(SeqCst).to_be_bytes();
            let end = offset.checked_add(data.len() as u64);
            if end.is_none_or(|end| end > LARGEST_BYTES) {
                return Err(too_large());
            }
            let file = shelf.opened(&handle)?;
            let durable = stability == Stability::Durable;
            let written = || -> io::Result<()> {
                let _beside_others = shelf.sizes.read();
                file.write_all_at(&data, offset)?;
                if durable { file.sync_data() } else { Ok(()) }
            };
            written().map_err(|error| failed(&error))?;
            Ok(Written {
                count: data.len() as u32,
                durable,
                verifier,
            })
        })
        .await
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        let handle = handle.clone();
        self.blocking(move |shelf| {
            let verifier = shelf.verifier.load(SeqCst).to_be_bytes();
            let synced = shelf.opened(&handle)?.sync_data();
            synced.map_err(|error| {
                // The kernel tells of lost pages once: whoever else wrote is to send again.
                shelf.verifier.store(drawn(), SeqCst);
                failed(&error)
            })?;
            Ok(verifier)
        })
        .await
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        self.blocking(move |shelf| shelf.remove(object).map_err(|error| failed(&error)))
            .await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.blocking(|shelf| {
            let told = rustix::fs::statvfs(&shelf.folder);
            let told = told.map_err(|error| failed(&error.into()))?;
            Ok(Space {
                total: told.f_blocks * told.f_frsize,
                free: told.f_bavail * told.f_frsize,
            })
        })
        .await
    }
}
