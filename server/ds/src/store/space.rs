//! The bytes that objects take on disk, against the limit that the operator set.
//! Never looks at the file system's own limit; that answers ENOSPC by itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

/// Blocks of `stat`, in bytes.
pub const BLOCK_BYTES: u64 = 512;

#[derive(Debug)]
pub struct Space {
    capacity_bytes: Option<u64>,
    /// Signed: corrections of one object by concurrent writers may pass zero for a moment.
    used_bytes: AtomicI64,
}

/// Room promised to a write in flight. Given back when the write has ended and been counted.
#[derive(Debug)]
pub struct Promise<'a> {
    space: &'a Space,
    bytes: i64,
}

impl Space {
    /// Counts what lies below `data`, where a limit makes that matter.
    pub fn measure(data: &Path, capacity_bytes: Option<u64>) -> io::Result<Self> {
        let used = match capacity_bytes {
            Some(_) => allocated_below(data, 3)?,
            None => 0,
        };
        Ok(Self {
            capacity_bytes,
            used_bytes: AtomicI64::new(used as i64),
        })
    }

    pub fn capacity_bytes(&self) -> Option<u64> {
        self.capacity_bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Room for `bytes` more, or `None` when there isn't.
    pub fn promise(&self, bytes: u64) -> Option<Promise<'_>> {
        let Some(capacity) = self.capacity_bytes else {
            return Some(Promise {
                space: self,
                bytes: 0,
            });
        };
        let bytes = bytes as i64;
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let promise = Promise { space: self, bytes };
        (before + bytes <= capacity as i64).then_some(promise)
    }

    /// Counts a change of what an object takes.
    pub fn changed(&self, before_bytes: u64, after_bytes: u64) {
        if self.capacity_bytes.is_some() {
            let change = after_bytes as i64 - before_bytes as i64;
            self.used_bytes.fetch_add(change, Ordering::Relaxed);
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.space
            .used_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn allocated_below(folder: &Path, depth: usize) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            total += metadata.blocks() * BLOCK_BYTES;
        } else if metadata.is_dir() && depth > 1 {
            total += allocated_below(&entry.path(), depth - 1)?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_promised_is_not_promised_twice() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let space = Space::measure(dir.path(), Some(100)).expect("an empty folder is measured");
        let first = space.promise(60);
        assert!(first.is_some());
        assert!(space.promise(60).is_none());
        drop(first);
        assert!(space.promise(60).is_some());
        space.changed(0, 60);
        assert!(space.promise(60).is_none());
        assert_eq!(space.used_bytes(), 60);
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let space = Space::measure(dir.path(), None).expect("nothing is measured");
        assert!(space.promise(u64::MAX).is_some());
    }
}
