//! A chunk's file: its bytes, and at the file's end a note of which chunk they are, how many, and their checksum.
//! Written past the page cache, which is left to what is read again; renamed into place when it is written, and never
//! synced: what a crash tore doesn't fit its note.
//!
//! Never here: which chunks are wanted.

use crate::ledger::ObjectId;
use buffers::{Buffer, PAGE_BYTES, Pool};
use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"hrchunk2";
/// Magic, object, index, length, checksum of the bytes, checksum of the note.
const NOTE_BYTES: usize = 8 + 16 + 8 + 8 + 4 + 4;
/// Read at a time, where a chunk is checked.
const CHECKED_BYTES: usize = 1 << 20;
const UNFINISHED: &str = "part";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub object: ObjectId,
    pub index: u64,
}

/// What a chunk of so many bytes takes: whole pages, as a file must have that is written past the page cache.
pub fn file_bytes(length: u64) -> u64 {
    (length + NOTE_BYTES as u64).next_multiple_of(PAGE_BYTES as u64)
}

/// How many of a chunk's last bytes are written together with its note.
fn odd_bytes(length: u64) -> usize {
    (length % PAGE_BYTES as u64) as usize
}

/// Room for the end of a chunk's file: the bytes that fill no page, and the note.
pub async fn room_for_end(pool: &Arc<Pool>, length: u64) -> Buffer {
    let whole_pages = length - odd_bytes(length) as u64;
    pool.acquire((file_bytes(length) - whole_pages) as usize)
        .await
}

/// The folder of all chunks.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn place(&self, key: &Key) -> (PathBuf, String) {
        let folder = self.0.join(format!("{:02x}", key.object.0[0]));
        (folder, format!("{}-{:x}", key.object, key.index))
    }

    /// The chunks that were left here, and what their files take. What is no chunk is removed.
    pub fn scan(&self) -> io::Result<Vec<(Key, u64)>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.0)? {
            for entry in fs::read_dir(folder?.path())? {
                let entry = entry?;
                match parse(&entry.file_name().to_string_lossy()) {
                    Some(key) => {
                        let there = unless_gone(entry.metadata())?;
                        found.extend(there.map(|there| (key, there.len())));
                    }
                    None => {
                        unless_gone(fs::remove_file(entry.path()))?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Writes the chunk, in place of what is there; every piece but the last is whole pages of a [`Pool`], and `end` is
    /// what [`room_for_end`] gave. Opened for reading by way of the page cache.
    pub fn write(&self, key: &Key, pieces: &[Bytes], end: &mut Buffer) -> io::Result<File> {
        let (folder, name) = self.place(key);
        let path = folder.join(&name);
        let unfinished = path.with_extension(UNFINISHED);
        let file = match create(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&folder)?;
                create(&unfinished)?
            }
            created => created?,
        };
        let parts = laid_out(key, pieces, end);
        let written = write_all(&file, &parts)
            .and_then(|()| end_direct(&file))
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            // Whatever is in the way, its space is wanted back; a start removes it as well.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Ok(file)
    }

    pub fn open_chunk(&self, key: &Key) -> io::Result<File> {
        let (folder, name) = self.place(key);
        File::open(folder.join(name))
    }

    pub fn remove(&self, key: &Key) -> io::Result<()> {
        let (folder, name) = self.place(key);
        unless_gone(fs::remove_file(folder.join(name)))?;
        Ok(())
    }
}

/// `None` where somebody removed it: a store of this process that ends, or a person who wants the space.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Past the page cache, where the file system can.
fn create(path: &Path) -> io::Result<File> {
    let create = |flags: OFlags| {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
    };
    match create(OFlags::DIRECT) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => create(OFlags::empty()),
        created => created,
    }
}

/// From now on it is read and written by way of the page cache.
fn end_direct(file: &File) -> io::Result<()> {
    Ok(fcntl_setfl(file, fcntl_getfl(file)? - OFlags::DIRECT)?)
}

/// The chunk's file from its beginning to its end.
fn laid_out<'a>(key: &Key, pieces: &'a [Bytes], end: &'a mut Buffer) -> Vec<&'a [u8]> {
    let sum = |sum, piece: &Bytes| crc32c::crc32c_append(sum, piece);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let note = note(key, length as u64, pieces.iter().fold(0, sum));
    let odd = odd_bytes(length as u64);
    let mut parts: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
    let room = end.bytes_mut();
    room.fill(0);
    if let Some(last) = parts.last_mut() {
        let (whole, rest) = last.split_at(last.len() - odd);
        room[..odd].copy_from_slice(rest);
        *last = whole;
    }
    let at = room.len() - NOTE_BYTES;
    room[at..].copy_from_slice(&note);
    parts.push(end.bytes());
    parts
}

fn write_all(file: &File, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    let mut offset = 0;
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(rustix::io::Errno::INTR) => {}
            // A disk whose blocks are larger than a page.
            Err(rustix::io::Errno::INVAL) if fcntl_getfl(file)?.contains(OFlags::DIRECT) => {
                end_direct(file)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether the file holds that chunk, whole and undamaged.
pub fn fits(file: &File, key: &Key, length: u64) -> io::Result<bool> {
    if file.metadata()?.len() != file_bytes(length) {
        return Ok(false);
    }
    let mut sum = 0;
    let mut piece = vec![0; CHECKED_BYTES.min(length as usize)];
    let mut offset = 0;
    while offset < length {
        let count = piece.len().min((length - offset) as usize);
        file.read_exact_at(&mut piece[..count], offset)?;
        sum = crc32c::crc32c_append(sum, &piece[..count]);
        offset += count as u64;
    }
    let mut found = [0; NOTE_BYTES];
    file.read_exact_at(&mut found, file_bytes(length) - NOTE_BYTES as u64)?;
    Ok(found == note(key, length, sum))
}

fn note(key: &Key, length: u64, sum: u32) -> [u8; NOTE_BYTES] {
    let mut note = [0; NOTE_BYTES];
    note[..8].copy_from_slice(&MAGIC);
    note[8..24].copy_from_slice(&key.object.0);
    note[24..32].copy_from_slice(&key.index.to_be_bytes());
    note[32..40].copy_from_slice(&length.to_be_bytes());
    note[40..44].copy_from_slice(&sum.to_be_bytes());
    let own = crc32c::crc32c(&note[..44]);
    note[44..].copy_from_slice(&own.to_be_bytes());
    note
}

fn parse(name: &str) -> Option<Key> {
    let (object, index) = name.split_once('-')?;
    let key = Key {
        object: ObjectId::parse(object)?,
        index: u64::from_str_radix(index, 16).ok()?,
    };
    // Spelled as we spell it.
    (format!("{}-{:x}", key.object, key.index) == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        object: ObjectId([7; 16]),
        index: 0x1f,
    };

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path().join("chunks")).expect("it is made");
        (dir, folder)
    }

    /// In pieces of as many bytes.
    async fn write(folder: &Folder, bytes: &[u8], piece: usize) -> File {
        let pool = Pool::new(8 << 20);
        let mut pieces = Vec::new();
        for part in bytes.chunks(piece) {
            let mut buffer = pool.acquire(part.len()).await;
            buffer.bytes_mut().copy_from_slice(part);
            pieces.push(Bytes::from_owner(buffer));
        }
        let mut end = room_for_end(&pool, bytes.len() as u64).await;
        folder
            .write(&KEY, &pieces, &mut end)
            .expect("it is written")
    }

    #[tokio::test]
    async fn a_chunk_fits_as_it_was_written_and_under_no_other_name() {
        let (_dir, folder) = folder();
        let file = write(&folder, b"some bytes", 4096).await;
        assert!(fits(&file, &KEY, 10).expect("it is read"));
        assert!(!fits(&file, &Key { index: 1, ..KEY }, 10).expect("it is read"));
        assert!(!fits(&file, &KEY, 9).expect("it is read"));
        let found = folder.scan().expect("it is looked through");
        assert_eq!(found, [(KEY, file_bytes(10))]);
    }

    #[tokio::test]
    async fn a_chunk_of_any_length_is_read_as_it_was_written() {
        let (_dir, folder) = folder();
        for length in [1, 4047, 4048, 4049, 4096, 8191, 12288, 300_000, 1 << 20] {
            let bytes: Vec<u8> = (0..length).map(|at| ((at * 31) >> 3) as u8).collect();
            let file = write(&folder, &bytes, 64 << 10).await;
            assert!(fits(&file, &KEY, length as u64).expect("it is read"));
            let mut read = vec![0; length];
            file.read_exact_at(&mut read, 0).expect("it is read");
            assert!(read == bytes, "{length} bytes");
            let found = folder.scan().expect("it is looked through");
            assert_eq!(found, [(KEY, file_bytes(length as u64))]);
        }
    }

    #[tokio::test]
    async fn one_turned_bit_and_a_torn_end_are_found() {
        let (_dir, folder) = folder();
        let file = write(&folder, &[5; 4096], 4096).await;
        file.write_all_at(&[4], 1000).expect("a bit is turned");
        assert!(!fits(&file, &KEY, 4096).expect("it is read"));
        file.write_all_at(&[5], 1000).expect("it is turned back");
        assert!(fits(&file, &KEY, 4096).expect("it is read"));
        file.set_len(4096).expect("it is cut");
        file.set_len(file_bytes(4096))
            .expect("zeros come in its place");
        assert!(!fits(&file, &KEY, 4096).expect("it is read"));
    }

    #[tokio::test]
    async fn what_was_not_finished_is_gone_after_a_start() {
        let (dir, folder) = folder();
        write(&folder, b"whole", 4096).await;
        let inner = dir.path().join("chunks/07");
        fs::write(inner.join("half.part"), b"ha").expect("it is left");
        assert_eq!(folder.scan().expect("it is looked through").len(), 1);
        assert_eq!(fs::read_dir(inner).expect("it is there").count(), 1);
    }
}
