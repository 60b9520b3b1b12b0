//! What can go wrong in the catalog, in words of its own. Never an NFS status: the caller maps them.

use crate::store::StoreError;
use std::path::PathBuf;

/// Why a catalog call was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no such entry")]
    NotFound,
    #[error("an entry of that name exists")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("the directory is not empty")]
    NotEmpty,
    /// The inode is gone; its number is never given again.
    #[error("the inode is gone")]
    Stale,
    #[error("the inode has as many links as it can have")]
    TooManyLinks,
    #[error("a directory can't be moved below itself")]
    IntoItself,
    /// As between disks: neither a name nor an inode goes across.
    #[error("the inodes have different keepers")]
    OtherKeeper,
    #[error("the name is empty or longer than {} bytes", crate::NAME_MAX_BYTES)]
    NameTooLong,
    /// What a filer has there isn't all known yet: it will be.
    #[error("the directory is still being scanned")]
    Unscanned,
    #[error("no extended attribute of that name")]
    NoXattr,
    #[error("the inode has as many extended attributes as it can have")]
    XattrsFull,
    /// A record, or a transaction, larger than every engine takes.
    #[error("the {what} would take {bytes} bytes, and the catalog takes {limit}")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        limit: usize,
    },
    /// Others kept winning the race for the same records: the caller may try later.
    #[error("the transaction lost to others {attempts} times")]
    Conflict { attempts: u32 },
    /// Whether it was committed can't be learnt now: the engine failed under it.
    #[error("the outcome of the transaction is unknown: {0}")]
    Unknown(String),
    #[error("the catalog is corrupt: {0}")]
    Corrupt(String),
    #[error("the catalog's store failed: {0}")]
    Store(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            // The snapshot outlived the engine's window: reading again is all that it takes.
            StoreError::TooOld => Error::Conflict { attempts: 1 },
            StoreError::TooLarge { what, bytes, limit } => Error::TooLarge { what, bytes, limit },
            StoreError::Failed(detail) => Error::Store(detail),
        }
    }
}

/// Why a catalog can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the catalog in {} is in use by another process; two servers on one catalog would destroy it", path.display())]
    Locked { path: PathBuf },
    #[error(
        "the catalog has format {found}, and this program knows formats up to {known}: start a newer one"
    )]
    NewerFormat { found: u32, known: u32 },
    #[error(
        "the catalog has format {found}, of an older program, and this one reads format {known} alone: start with a new folder"
    )]
    OlderFormat { found: u32, known: u32 },
    #[error("the folder {} can't be used: {source}", path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Catalog(#[from] Error),
}
