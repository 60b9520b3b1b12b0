//! Making a TCP connection to a server. Never here: what is said over it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::options::{Options, SourcePort};

/// Where privileged ports are taken from: below 512 live well-known services.
const PRIVILEGED_PORTS: std::ops::Range<u16> = 665..1024;

/// Connects again and again, from the same port where it can: a server's duplicate request cache
/// knows a caller by it.
pub(crate) struct Dialer {
    server: SocketAddr,
    options: Options,
    port: Option<u16>,
}

impl Dialer {
    pub(crate) fn new(server: SocketAddr, options: Options) -> Self {
        Self {
            server,
            options,
            port: None,
        }
    }

    pub(crate) async fn dial(&mut self) -> io::Result<TcpStream> {
        let deadline = self.options.dial_deadline;
        let stream = timeout(deadline, self.connect()).await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {deadline:?}"),
            )
        })??;
        self.port = Some(stream.local_addr()?.port());
        stream.set_nodelay(true)?;
        let idle = self.options.dead_peer_after / 2;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(idle / 2);
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(self.options.dead_peer_after))?;
        Ok(stream)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        if let Some(port) = self.port {
            match self.connect_from(port).await {
                Err(fault) if taken(&fault) => {}
                result => return result,
            }
        }
        if self.options.source_port == SourcePort::Any {
            return self.connect_from(0).await;
        }
        let count = PRIVILEGED_PORTS.len() as u64;
        let start = random_u64() % count;
        for step in 0..count {
            let port = PRIVILEGED_PORTS.start + ((start + step) % count) as u16;
            match self.connect_from(port).await {
                Err(fault) if taken(&fault) => {}
                Err(fault) if fault.kind() == io::ErrorKind::PermissionDenied => break,
                result => return result,
            }
        }
        self.connect_from(0).await
    }

    async fn connect_from(&self, port: u16) -> io::Result<TcpStream> {
        let (socket, any) = match self.server {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        if port != 0 {
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(any, port))?;
        }
        socket.connect(self.server).await
    }
}

/// The port is another's, or the connection from it is not forgotten yet: another port may do.
fn taken(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// For spreading ports and xids, not for secrets.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}
