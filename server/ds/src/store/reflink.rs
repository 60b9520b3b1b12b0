//! FICLONERANGE, which no safe crate has: two files of one file system share their blocks.
//! Never decides which; offsets and lengths come checked.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::ioctl::{self, Setter};

/// Makes `length` bytes of `to` from `offset` on share their blocks with those of `from`. All three
/// numbers are multiples of the file system's block, and the length isn't 0.
pub fn share_blocks(
    from: &File,
    source_offset: u64,
    length: u64,
    to: &File,
    offset: u64,
) -> io::Result<()> {
    let range = libc::file_clone_range {
        src_fd: i64::from(from.as_raw_fd()),
        src_offset: source_offset,
        src_length: length,
        dest_offset: offset,
    };
    const FICLONERANGE: ioctl::Opcode = libc::FICLONERANGE as ioctl::Opcode;
    // SAFETY: FICLONERANGE reads a `file_clone_range` and nothing else, and writes no memory. Both
    // descriptors are open for as long as the files are borrowed, which is longer than the call.
    unsafe {
        ioctl::ioctl(
            to,
            Setter::<FICLONERANGE, libc::file_clone_range>::new(range),
        )
    }?;
    Ok(())
}
