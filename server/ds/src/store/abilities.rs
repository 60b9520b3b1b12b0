//! What the folder's file system can do beyond reading and writing: found out by trying, at the start.
//! Never an object.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use wire::ds::Abilities;

use super::folder::Folder;
use super::reflink::share_blocks;

/// Two of the largest blocks that file systems have.
const TRIAL_BYTES: usize = 128 << 10;

/// Tries everything on two files that are gone afterwards.
pub fn probe(folder: &Folder) -> io::Result<Abilities> {
    let files = [
        Trial::new(folder, "probe-1")?,
        Trial::new(folder, "probe-2")?,
    ];
    let [one, two] = files.each_ref().map(|trial| &trial.file);
    let block = folder.statvfs()?.f_frsize as u32;
    let can = |mode| match rustix::fs::fallocate(one, mode, 0, u64::from(block)) {
        // A full disk says nothing against the file system.
        Ok(()) | Err(Errno::NOSPC | Errno::DQUOT) => true,
        Err(_) => false,
    };
    let mut abilities = Abilities {
        sparse: can(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
        allocate: can(FallocateFlags::KEEP_SIZE),
        pull: true,
        clone_block_bytes: 0,
    };
    match one.write_all_at(&vec![1; TRIAL_BYTES], 0) {
        Ok(()) => {
            if share_blocks(one, 0, u64::from(block), two, u64::from(block)).is_ok() {
                abilities.clone_block_bytes = block;
            }
        }
        Err(error) => tracing::warn!(%error, "whether blocks can be shared couldn't be tried"),
    }
    Ok(abilities)
}

struct Trial<'a> {
    folder: &'a Folder,
    name: &'static str,
    file: File,
}

impl<'a> Trial<'a> {
    fn new(folder: &'a Folder, name: &'static str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(folder.root(), name, flags | OFlags::NOFOLLOW, mode)?;
        Ok(Self {
            folder,
            name,
            file: file.into(),
        })
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // One that stays is emptied and used again by the next start.
        let _ = rustix::fs::unlinkat(self.folder.root(), self.name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_probed_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path()).expect("a fresh folder opens");
        let before: Vec<_> = names(dir.path());
        let abilities = probe(&folder).expect("it can be tried");
        assert!(abilities.pull);
        assert_eq!(names(dir.path()), before);
    }

    fn names(path: &std::path::Path) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(path).expect("the folder can be listed");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry is readable").file_name())
            .collect();
        names.sort();
        names
    }
}
