//! Other servers as a destination of a copy sees them (RFC 7862 §4.6): one file each, to be read with a
//! copy-notify stateid. How they are spoken to is the binary's business.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::{Nfsstat4, Stateid4};
use wire::rpc::Credential;

/// Between which servers COPY goes. What names nobody is off.
#[derive(Debug, Clone)]
pub struct ServerCopy {
    /// Who may be named by COPY_NOTIFY, and read for it.
    pub destinations: Vec<IpNet>,
    /// Where this server reads what it is to copy.
    pub sources: Vec<IpNet>,
    /// Where a destination is told to come to; empty: where the client came to.
    pub addresses: Vec<SocketAddr>,
    /// How long a source may take to answer, and to give a megabyte.
    pub patience: Duration,
}

impl ServerCopy {
    pub const PATIENCE: Duration = Duration::from_secs(15);

    /// Neither from nor to any other server.
    pub fn off() -> Self {
        Self {
            destinations: Vec::new(),
            sources: Vec::new(),
            addresses: Vec::new(),
            patience: Self::PATIENCE,
        }
    }

    pub(crate) fn is_destination(&self, address: IpAddr) -> bool {
        holds(&self.destinations, address)
    }

    pub(crate) fn is_source(&self, address: IpAddr) -> bool {
        holds(&self.sources, address)
    }
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// A file of another server, and in whose right it is read.
#[derive(Debug, Clone)]
pub struct PartnerFile {
    pub server: SocketAddr,
    pub fh: Bytes,
    pub stateid: Stateid4,
    /// Where the copy begins: the first look is there.
    pub offset: u64,
    pub caller: Credential,
    /// For each step.
    pub patience: Duration,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum PartnerFault {
    #[error("the source can't be reached, or gave no answer in time: {0}")]
    Away(String),
    #[error("the source can't be read from by NFSv4.2: {0}")]
    Unfit(String),
    #[error("the source refused with {0:?}")]
    Refused(Nfsstat4),
    #[error("what the source answered makes no sense: {0}")]
    Nonsense(String),
}

/// What a READ gave.
#[derive(Debug, Clone)]
pub struct PartnerData {
    pub data: Bytes,
    pub at_end: bool,
}

/// Whoever can speak to other servers.
pub trait Partners: Send + Sync + 'static {
    /// As a client of its own: found, asked for its size, and for the right to read.
    fn open(&self, file: PartnerFile) -> BoxFuture<'_, Result<Arc<dyn Partner>, PartnerFault>>;
}

/// A file that was found.
pub trait Partner: Send + Sync + 'static {
    fn size(&self) -> u64;

    /// The most that one READ gives.
    fn read_bytes(&self) -> u32;

    /// The first data in the range, as far as it goes; all of the range where the other server can't tell
    /// holes. Empty where there is none: at the range's end, or before it where the file ends.
    fn data(&self, within: Range<u64>) -> BoxFuture<'_, Result<Range<u64>, PartnerFault>>;

    /// At least a byte, unless the file ends there; never more than `count`.
    fn read(&self, offset: u64, count: u32) -> BoxFuture<'_, Result<PartnerData, PartnerFault>>;

    /// Leaves the other server as if nobody had come, as far as it listens.
    fn close(&self) -> BoxFuture<'_, ()>;
}
