//! A client's view of a data server: what the ids of a layout let it do there.
//!
//! Never here: what the metadata server may do.

use crate::failure::failure;
use crate::server::{NfsDataServer, handle_of};
use backend::{Error, Fetched};
use bytes::Bytes;
use layout::Owner;
use nfs_client::{Caller, Client};
use wire::nfs3::StableHow;

/// What a client with the ids of a layout may do.
pub struct ClientView {
    name: String,
    client: Client,
}

impl ClientView {
    pub async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let file = handle_of(&self.name, handle)?;
        let got = self
            .client
            .read(&file, offset, count)
            .await
            .map_err(|e| failure(&self.name, &e))?;
        Ok(Fetched {
            data: got.data,
            at_end: got.eof,
        })
    }

    pub async fn write(&self, handle: &Bytes, offset: u64, data: Bytes) -> Result<(), Error> {
        let file = handle_of(&self.name, handle)?;
        let said = self
            .client
            .write(&file, offset, StableHow::Unstable, data)
            .await;
        said.map(drop).map_err(|e| failure(&self.name, &e))
    }
}

impl NfsDataServer {
    /// A client's view: the same server, called with the ids of a layout, from a port of its own.
    pub fn as_client(&self, ids: Owner) -> ClientView {
        let caller = Caller::sys("client", ids.uid, ids.gid, &[]);
        ClientView {
            name: self.address.name.clone(),
            client: self.client.as_caller(caller),
        }
    }
}
