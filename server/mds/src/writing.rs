//! Which files may be written behind the server's back, straight to their data servers: the write
//! intents of the catalog, in memory. An intent is durable before a write grant leaves, and is
//! cleared once nobody can write any more and size and times are settled.

use crate::server::Server;
use crate::state::{ClientId, GateMode};
use crate::status::Refusal;
use catalog::{InodeId, WriteIntent, transact};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Writers {
    /// Clients of this start that hold or held a write layout, and [`PROXY`].
    clients: Vec<u64>,
    /// Clients of an earlier start: they hold no layout that this server knows, and may still write.
    former: Vec<u64>,
    /// Bytes may have been written that size and times don't show yet.
    unsettled: bool,
}

/// In the place of a client: this server itself, writing for clients without layouts.
const PROXY: u64 = 0;

#[derive(Default)]
pub(crate) struct Writing(Mutex<HashMap<InodeId, Writers>>);

/// Who might be writing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    Nobody,
    /// Holders that the state knows; what they wrote and committed is settled.
    Holders,
    /// Size and times must be asked for before they are told.
    Unsettled,
}

impl Writing {
    /// Takes over the intents that an earlier start left.
    pub fn recall(&self, intents: Vec<WriteIntent>) {
        let mut writing = self.0.lock();
        for intent in intents {
            writing.insert(
                intent.inode,
                Writers {
                    clients: Vec::new(),
                    former: intent.clients,
                    unsettled: true,
                },
            );
        }
    }

    pub fn suspicion(&self, inode: InodeId) -> Suspicion {
        match self.0.lock().get(&inode) {
            None => Suspicion::Nobody,
            Some(writers) if writers.unsettled => Suspicion::Unsettled,
            Some(_) => Suspicion::Holders,
        }
    }

    /// Whether clients of an earlier start may still write: they must be fenced before anything
    /// that excludes writers.
    pub fn has_former(&self, inode: InodeId) -> bool {
        self.0
            .lock()
            .get(&inode)
            .is_some_and(|writers| !writers.former.is_empty())
    }

    pub fn former(&self) -> Vec<InodeId> {
        let writing = self.0.lock();
        writing
            .iter()
            .filter(|(_, writers)| !writers.former.is_empty())
            .map(|(inode, _)| *inode)
            .collect()
    }

    /// At most `limit` files that nobody writes any more, by `free`, and whose intent still stands.
    pub fn idle(&self, limit: usize, free: impl Fn(InodeId) -> bool) -> Vec<InodeId> {
        let candidates: Vec<InodeId> = self.0.lock().keys().copied().collect();
        candidates
            .into_iter()
            .filter(|inode| free(*inode))
            .take(limit)
            .collect()
    }

    pub fn fenced_former(&self, inode: InodeId) {
        if let Some(writers) = self.0.lock().get_mut(&inode) {
            writers.former.clear();
        }
    }

    pub fn unsettle(&self, inode: InodeId) {
        if let Some(writers) = self.0.lock().get_mut(&inode) {
            writers.unsettled = true;
        }
    }

    pub fn settled(&self, inode: InodeId) {
        if let Some(writers) = self.0.lock().get_mut(&inode) {
            writers.unsettled = !writers.former.is_empty();
        }
    }

    pub fn forget(&self, inode: InodeId) {
        self.0.lock().remove(&inode);
    }

    fn covers(&self, inode: InodeId, client: u64) -> bool {
        self.0
            .lock()
            .get(&inode)
            .is_some_and(|writers| writers.clients.contains(&client))
    }

    /// The clients that the durable intent must name once `client` is added.
    fn with(&self, inode: InodeId, client: u64) -> Vec<u64> {
        let writing = self.0.lock();
        let known = writing.get(&inode);
        let earlier = known
            .into_iter()
            .flat_map(|writers| writers.clients.iter().chain(&writers.former));
        let mut clients: Vec<u64> = earlier.copied().filter(|known| *known != client).collect();
        clients.push(client);
        clients
    }

    fn add(&self, inode: InodeId, client: u64) {
        let mut writing = self.0.lock();
        let writers = writing.entry(inode).or_default();
        if !writers.clients.contains(&client) {
            writers.clients.push(client);
        }
        writers.unsettled |= client == PROXY;
    }
}

impl Server {
    /// Makes durable that `client` may write `inode` from now on. The caller is inside the gate.
    pub(crate) async fn intend_write(
        &self,
        inode: InodeId,
        size_epoch: u64,
        client: ClientId,
    ) -> Result<(), Refusal> {
        self.intend(inode, size_epoch, client.0).await
    }

    /// The same for a write through this server.
    pub(crate) async fn intend_proxy_write(
        &self,
        inode: InodeId,
        size_epoch: u64,
    ) -> Result<(), Refusal> {
        self.intend(inode, size_epoch, PROXY).await?;
        self.writing.unsettle(inode);
        Ok(())
    }

    async fn intend(&self, inode: InodeId, size_epoch: u64, client: u64) -> Result<(), Refusal> {
        if self.writing.covers(inode, client) {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                // Read inside the attempt: another client's intent may have come meanwhile.
                let clients = self.writing.with(inode, client);
                tx.intent_put(&WriteIntent {
                    inode,
                    size_epoch,
                    clients,
                });
                Ok(())
            }
        )?;
        self.writing.add(inode, client);
        Ok(())
    }

    /// Clears the intent when nobody can write `inode` any more and its size is settled; otherwise
    /// leaves it, and the next return or expiry tries again.
    pub(crate) async fn clear_intent(self: &Arc<Self>, inode: InodeId) -> Result<(), Refusal> {
        let needless = || {
            self.state.lock().has_rw_holder(inode, None)
                || self.writing.suspicion(inode) != Suspicion::Holders
        };
        // Every return comes here: only one that can clear keeps others out for it.
        if needless() {
            return Ok(());
        }
        let _alone = self.enter(inode, GateMode::Exclusive).await?;
        if needless() {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                tx.intent_clear(inode);
                Ok(())
            }
        )?;
        self.writing.forget(inode);
        Ok(())
    }
}
