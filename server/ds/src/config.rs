//! What a data server is told at start: plain data with defaults, no parsing.
//! Never reads files, the environment or clocks.

use backend::upstream::Upstream;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An address range, as `10.0.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix_bits: u8,
}

impl Network {
    /// The range that holds one address alone.
    pub fn host(address: IpAddr) -> Self {
        let prefix_bits = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            prefix_bits,
        }
    }

    /// Whether `peer` lies in the range. An IPv4 peer seen through an IPv6 socket counts as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address.to_canonical(), peer.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(peer)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix_bits));
                let differing = net.to_bits() ^ peer.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(peer)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix_bits));
                let differing = net.to_bits() ^ peer.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// io_uring where the kernel grants it, otherwise threads.
    #[default]
    Auto,
    /// io_uring, or a refusal to start.
    IoUring,
    Threads,
}

/// Keepers of objects whose chunks are cached here, by the name that the metadata server has for them.
#[derive(Clone)]
pub struct Cache {
    pub upstreams: HashMap<String, Arc<dyn Upstream>>,
    /// What the chunks may take on disk. `None`: a tenth of the file system.
    pub bytes: Option<u64>,
    pub chunk_bytes: u32,
}

impl Cache {
    pub fn new(upstreams: HashMap<String, Arc<dyn Upstream>>) -> Self {
        Self {
            upstreams,
            bytes: None,
            chunk_bytes: 4 << 20,
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.upstreams.keys().collect();
        names.sort();
        f.debug_struct("Cache")
            .field("upstreams", &names)
            .field("bytes", &self.bytes)
            .field("chunk_bytes", &self.chunk_bytes)
            .finish()
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Where NFSv3 and MOUNT are served, both on each address. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// The folder that holds the objects. Its file system must have user extended attributes.
    pub folder: PathBuf,
    /// The path that MNT names.
    pub export: String,
    /// From where uid 0 is the metadata server. Everybody else's root is squashed to 65534.
    pub mds: Vec<Network>,
    pub engine: EngineChoice,
    /// Threads that own a ring each (io_uring), or that watch sockets (threads).
    pub rings: usize,
    /// Threads for what may block: opening, creating, fencing; all file I/O without io_uring.
    pub workers: usize,
    /// Largest READ and WRITE, a multiple of 4096.
    pub transfer_bytes: u32,
    /// Bound on the payload bytes in flight over all connections.
    pub buffer_bytes: usize,
    /// Bound on what one connection may have in flight.
    pub connection_bytes: usize,
    /// Bound on requests in flight over all connections.
    pub max_requests: usize,
    /// Connections beyond this are closed as they come.
    pub max_connections: usize,
    /// Open object files kept between requests.
    pub open_objects: usize,
    /// Bytes that objects may take on disk: beyond it, NFS3ERR_NOSPC.
    pub capacity_bytes: Option<u64>,
    /// Chunks of what others keep, in the same folder.
    pub cache: Option<Cache>,
    /// The write verifier of this start. `None` draws one.
    pub write_verifier: Option<u64>,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// A record must arrive whole within this time of its first byte.
    pub record_timeout: Duration,
    /// A peer that takes no reply for this long is cut off.
    pub send_timeout: Duration,
    /// How long a stop waits for requests in flight before it cuts the connections.
    pub stop_timeout: Duration,
}

impl Config {
    /// A server of `folder` on a free loopback port, whose only metadata server is on loopback too.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: vec![SocketAddr::new(loopback, 0)],
            folder: folder.into(),
            export: "/headrace".into(),
            mds: vec![Network::host(loopback)],
            engine: EngineChoice::Auto,
            rings: cores.div_ceil(2).clamp(1, 8),
            workers: (cores * 4).clamp(8, 64),
            transfer_bytes: 1 << 20,
            buffer_bytes: 256 << 20,
            connection_bytes: 32 << 20,
            max_requests: 65_536,
            max_connections: 16_384,
            open_objects: 4096,
            capacity_bytes: None,
            cache: None,
            write_verifier: None,
            idle_timeout: Duration::from_mins(10),
            record_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_mins(1),
            stop_timeout: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str, prefix_bits: u8) -> Network {
        Network {
            address: text.parse().expect("an address"),
            prefix_bits,
        }
    }

    #[test]
    fn a_network_holds_its_own_addresses_alone() {
        let net = network("10.1.2.0", 24);
        assert!(net.contains("10.1.2.255".parse().expect("an address")));
        assert!(!net.contains("10.1.3.0".parse().expect("an address")));
        assert!(network("0.0.0.0", 0).contains("9.9.9.9".parse().expect("an address")));
        assert!(network("fd00::", 8).contains("fd12::1".parse().expect("an address")));
        assert!(!network("fd00::", 8).contains("10.1.2.3".parse().expect("an address")));
    }

    #[test]
    fn an_ipv4_peer_behind_an_ipv6_socket_is_the_same_peer() {
        let peer = "::ffff:10.1.2.3".parse().expect("an address");
        assert!(network("10.1.2.3", 32).contains(peer));
    }
}
