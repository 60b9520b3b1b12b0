//! Why something about data objects did not succeed. Never an NFS status.

use layout::{DataServerId, NoPlace};

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    #[error(transparent)]
    Server(#[from] backend::Error),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("no data server of the configuration takes new files")]
    Nowhere,
    #[error("data server {} is in a file's placement and not in the configuration", .0.0)]
    UnknownServer(DataServerId),
    /// The range has no object yet: bind one first.
    #[error("the file has no data object yet")]
    Unbound,
    /// An earlier truncate or fence of this file waits for a data server to come back.
    #[error("an earlier change of the file's objects is not done yet")]
    Pending,
    #[error("every copy of the range has missed writes")]
    NoCopy,
    /// Blocks are shared within one data server alone.
    #[error("the files don't lie on the same data servers in the same way")]
    Apart,
    #[error("blocks are shared from multiples of {block} bytes on")]
    Unaligned { block: u32 },
    #[error("the range ends past the largest offset")]
    TooLarge,
    #[error("{0}")]
    Setup(String),
}

impl Error {
    /// A data server that is there doesn't have the object.
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::Server(error) if error.kind == backend::ErrorKind::Gone)
    }

    /// Whether a data server has spoken, or nobody knows it: waiting doesn't change that.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Error::Server(error) => !matches!(
                error.kind,
                backend::ErrorKind::Retry { .. } | backend::ErrorKind::Fenced
            ),
            Error::UnknownServer(_) => true,
            _ => false,
        }
    }
}
