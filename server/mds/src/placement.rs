//! Where new files go, and what the client that makes them can take.

use crate::server::Server;
use crate::state::{ClientId, ClientRecordView};
use crate::status::Refusal;
use crate::writing::Pen;
use catalog::{DataStamp, Inode, InodeId, transact};
use layout::{Capability, ClientKernel, DataServerId, Extent};
use objects::{Health, Making, Placement};
use std::net::IpAddr;
use std::sync::Arc;
use wire::nfs4::Nfsstat4;

/// What a client's kernel proved by the name in its EXCHANGE_ID; an unknown one gets no stripes,
/// since it would answer them with EIO.
pub(crate) fn capability(client: Option<&ClientRecordView>) -> Capability {
    let implementation = client.and_then(|client| client.implementation.as_ref());
    Capability::of(implementation.and_then(|it| ClientKernel::parse(&it.domain, &it.name)))
}

impl Server {
    fn stripes(&self, client: ClientId) -> bool {
        let known = self.state.lock().client_record(client);
        capability(known.as_ref()).stripes
    }

    /// Objects that are in no file yet, where this file's must lie.
    async fn objects_for(
        &self,
        inode: &Inode,
        client: ClientId,
        writer: IpAddr,
    ) -> Result<Placement, Refusal> {
        let making = Making {
            stripes: self.stripes(client),
            writer: Some(writer),
            keeper: inode.keeper,
        };
        Ok(self.objects.bind(making).await?)
    }

    /// Gives a file without objects its objects, and makes durable with them who is to write, if
    /// anybody. A size that it has already is padded to. The caller is inside the gate.
    pub(crate) async fn bind(
        &self,
        unbound: &Inode,
        (client, address): (ClientId, IpAddr),
        writer: Option<Pen>,
    ) -> Result<Arc<Inode>, Refusal> {
        let id = unbound.id;
        let placement = self.objects_for(unbound, client, address).await?;
        let stamp = if unbound.size > 0 {
            let extents = placement.extents();
            self.objects.pad(&extents, unbound.size).await?
        } else {
            DataStamp::default()
        };
        let bound = transact!(self.catalog, self.clock.wall(), |tx| -> Result<
            (bool, Inode),
            Refusal,
        > {
            let mut inode = tx.inode(id).await?;
            if !inode.extents.is_empty() {
                return Ok((false, inode));
            }
            placement.claim().take(tx).await?;
            inode.extents = placement.extents();
            inode.data_stamp = stamp;
            tx.put(&inode).await?;
            if let Some(pen) = writer {
                self.writing.note(tx, id, inode.size_epoch, pen);
            }
            Ok((true, inode))
        })?;
        let (ours, inode) = bound.value;
        if ours {
            placement.used();
            if let Some(pen) = writer {
                self.writing.add(id, pen);
            }
        } else {
            placement.unused();
        }
        Ok(Arc::new(inode))
    }

    /// Objects for a file that the client makes in `parent` and writes at once, if that needs no wait: else it gets them
    /// when it is written, and hears then what is wrong.
    pub(crate) async fn objects_ahead(
        &self,
        parent: &Inode,
        client: ClientId,
        writer: IpAddr,
    ) -> Option<Placement> {
        if !self.objects.take_new_files() || !self.objects.is_direct(parent) {
            return None;
        }
        self.objects_for(parent, client, writer).await.ok()
    }

    /// Whether a data server of these has been away for so long that nobody waits for it any more.
    pub(crate) fn is_given_up(&self, extents: &[Extent]) -> bool {
        let patience = self.settings().away_error;
        patience.is_some_and(|patience| self.objects.down_for(extents) >= patience)
    }

    /// The answer to I/O on a file: EIO instead of DELAY where its data server is given up.
    pub(crate) async fn answer_io<T>(
        &self,
        id: InodeId,
        answer: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match answer {
            Err(refusal) if refusal.status == Nfsstat4::Delay => {
                let inode = self.catalog.inode(id).await?;
                Err(if self.is_given_up(&inode.extents) {
                    Refusal::client(Nfsstat4::Io, "its data server has been away for too long")
                } else {
                    refusal
                })
            }
            answer => answer,
        }
    }

    pub(crate) fn is_away(&self, server: DataServerId) -> bool {
        self.objects.health().borrow().get(&server) == Some(&Health::Down)
    }
}
