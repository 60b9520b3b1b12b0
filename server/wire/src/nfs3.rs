//! NFS version 3 (RFC 1813): arguments and results of its 22 procedures, one file per kind of
//! procedure.
//!
//! Never here: what a server or client does about a message.

mod attributes;
mod directory;
mod io;
mod names;
mod outcome;
mod status;
mod types;

pub use attributes::*;
pub use directory::*;
pub use io::*;
pub use names::*;
pub use outcome::{Failed, Outcome};
pub use status::Nfsstat3;
pub use types::*;

use crate::xdr_enum;

pub const PROGRAM: u32 = 100_003;
pub const VERSION: u32 = 3;

xdr_enum! {
    /// RFC 1813 §3.3
    pub enum Procedure {
        Null = 0,
        Getattr = 1,
        Setattr = 2,
        Lookup = 3,
        Access = 4,
        Readlink = 5,
        Read = 6,
        Write = 7,
        Create = 8,
        Mkdir = 9,
        Symlink = 10,
        Mknod = 11,
        Remove = 12,
        Rmdir = 13,
        Rename = 14,
        Link = 15,
        Readdir = 16,
        Readdirplus = 17,
        Fsstat = 18,
        Fsinfo = 19,
        Pathconf = 20,
        Commit = 21,
    }
}

#[cfg(test)]
mod tests;
