//! A chunk's file: its bytes, and behind them a note of which chunk they are, how many, and their
//! checksum. Renamed into place when it is written, and never synced: what a crash tore doesn't fit
//! its note.
//!
//! Never here: which chunks are wanted.

use crate::ledger::ObjectId;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"hrchunk1";
/// Magic, object, index, length, checksum of the bytes, checksum of the note.
const NOTE_BYTES: usize = 8 + 16 + 8 + 8 + 4 + 4;
const PIECE_BYTES: usize = 1 << 20;
const UNFINISHED: &str = "part";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub object: ObjectId,
    pub index: u64,
}

/// What a chunk of so many bytes takes.
pub fn file_bytes(length: u64) -> u64 {
    length + NOTE_BYTES as u64
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

    /// Writes the chunk, in place of what is there. Opened for reading, if that was possible.
    pub fn write(&self, key: &Key, bytes: &[u8]) -> io::Result<File> {
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
        let note = note(key, bytes.len() as u64, crc32c::crc32c(bytes));
        let written = file
            .write_all_at(bytes, 0)
            .and_then(|()| file.write_all_at(&note, bytes.len() as u64))
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

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// Whether the file holds that chunk, whole and undamaged.
pub fn fits(file: &File, key: &Key, length: u64) -> io::Result<bool> {
    if file.metadata()?.len() != file_bytes(length) {
        return Ok(false);
    }
    let mut sum = 0;
    let mut piece = vec![0; PIECE_BYTES.min(length as usize)];
    let mut offset = 0;
    while offset < length {
        let count = piece.len().min((length - offset) as usize);
        file.read_exact_at(&mut piece[..count], offset)?;
        sum = crc32c::crc32c_append(sum, &piece[..count]);
        offset += count as u64;
    }
    let mut found = [0; NOTE_BYTES];
    file.read_exact_at(&mut found, length)?;
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

    #[test]
    fn a_chunk_fits_as_it_was_written_and_under_no_other_name() {
        let (_dir, folder) = folder();
        let file = folder.write(&KEY, b"some bytes").expect("it is written");
        assert!(fits(&file, &KEY, 10).expect("it is read"));
        assert!(!fits(&file, &Key { index: 1, ..KEY }, 10).expect("it is read"));
        assert!(!fits(&file, &KEY, 9).expect("it is read"));
        let found = folder.scan().expect("it is looked through");
        assert_eq!(found, [(KEY, file_bytes(10))]);
    }

    #[test]
    fn one_turned_bit_and_a_torn_end_are_found() {
        let (_dir, folder) = folder();
        let file = folder.write(&KEY, &[5; 4096]).expect("it is written");
        file.write_all_at(&[4], 1000).expect("a bit is turned");
        assert!(!fits(&file, &KEY, 4096).expect("it is read"));
        file.write_all_at(&[5], 1000).expect("it is turned back");
        assert!(fits(&file, &KEY, 4096).expect("it is read"));
        file.set_len(4096).expect("it is cut");
        file.set_len(file_bytes(4096))
            .expect("zeros come in its place");
        assert!(!fits(&file, &KEY, 4096).expect("it is read"));
    }

    #[test]
    fn what_was_not_finished_is_gone_after_a_start() {
        let (dir, folder) = folder();
        folder.write(&KEY, b"whole").expect("it is written");
        let inner = dir.path().join("chunks/07");
        fs::write(inner.join("half.part"), b"ha").expect("it is left");
        assert_eq!(folder.scan().expect("it is looked through").len(), 1);
        assert_eq!(fs::read_dir(inner).expect("it is there").count(), 1);
    }
}
