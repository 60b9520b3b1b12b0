//! What the metadata server knows of a transport connection: an identity, a peer, and a way back.

use crate::state::ClientId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use wire::rpc::Credential;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackChannelError {
    #[error("the connection is closed")]
    Closed,
    #[error("the client did not answer in time")]
    Timeout,
    #[error("the client's RPC layer refused the call")]
    Refused,
}

/// Calls of the server over a connection that the client opened (RFC 8881 §2.10.3.1).
pub trait BackChannel: Send + Sync + 'static {
    /// Sends one RPC call of the callback program `program` and gives the result's XDR. Ends
    /// within the implementation's deadline.
    fn call(
        &self,
        program: u32,
        procedure: u32,
        credential: Credential,
        arguments: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, BackChannelError>>;
}

pub struct Connection {
    /// Never reused while the server runs.
    pub id: u64,
    pub peer: SocketAddr,
    /// Where the peer reached this server.
    pub local: SocketAddr,
    pub back: Arc<dyn BackChannel>,
    client: OnceLock<ClientId>,
}

impl Connection {
    pub fn new(
        id: u64,
        (local, peer): (SocketAddr, SocketAddr),
        back: Arc<dyn BackChannel>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            local,
            back,
            client: OnceLock::new(),
        })
    }

    /// The first client whose session was used here: a connection serves one, whatever the protocol allows.
    pub fn client(&self) -> Option<u64> {
        self.client.get().map(|client| client.0)
    }

    pub(crate) fn used_by(&self, client: ClientId) {
        self.client.get_or_init(|| client);
    }
}
