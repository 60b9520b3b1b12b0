//! Delegations in a request's way (RFC 8881 §10.4): recalled, waited for a moment, and kept out until
//! the request is done. `state::delegation` decides, this waits.
//!
//! Nobody waits here inside a gate: the holder may have to pass it before it can return anything.

pub(crate) mod holder;
pub(crate) mod times;

use crate::server::Server;
use crate::state::{
    ClientId, Delegation, EntryChange, IoGrant, IoKind, IoRefusal, Notices, State, Stateid, Touch,
};
use crate::status::Refusal;
use catalog::{Done, InodeId};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::nfs4::Nfsstat4;

/// What a request waits at most for a delegation to come back before its client is told to come
/// again: a Linux client with nothing to flush returns it in less.
const PATIENCE: Duration = Duration::from_millis(500);

/// While it lives nobody else is given a delegation of the inode.
#[must_use = "delegations are kept out as long as this lives"]
pub(crate) struct Undelegated {
    server: Arc<Server>,
    inode: InodeId,
    by: Option<ClientId>,
    ticket: u64,
}

impl Undelegated {
    /// Has every holder of the folder told of a change that is durable by now, once this is dropped.
    pub(crate) fn tell<T>(&self, done: &Done<T>, change: &EntryChange) {
        // A rename of two names of one file: nothing happened.
        let Some(moved) = done.change_of(self.inode) else {
            return;
        };
        let now = self.server.clock.monotonic();
        let overflown =
            self.server
                .state
                .lock()
                .entries_changed(now, self.inode, self.by, moved.after, change);
        self.server.send_delegation_recalls(overflown);
    }
}

impl Drop for Undelegated {
    fn drop(&mut self) {
        let due = {
            let mut state = self.server.state.lock();
            state.delegations_unbar(self.inode, self.ticket);
            state.notes_due(self.inode)
        };
        self.server.send_notes(due);
    }
}

impl Server {
    /// Before `by` changes `id`: others have no delegation of it, and get none until the value
    /// returned is dropped. DELAY when one doesn't come back in a moment.
    pub(crate) async fn undelegated(
        self: &Arc<Self>,
        id: InodeId,
        by: Option<ClientId>,
    ) -> Result<Undelegated, Refusal> {
        self.barred_from(id, Touch::Change, by).await
    }

    /// The same before `by` changes entries of the folder `id`: who is told of such changes keeps his
    /// delegation.
    pub(crate) async fn entries_undelegated(
        self: &Arc<Self>,
        id: InodeId,
        told: Notices,
        by: Option<ClientId>,
    ) -> Result<Undelegated, Refusal> {
        self.barred_from(id, Touch::Entries(told), by).await
    }

    /// The same, if that needs no wait.
    pub(crate) fn entries_undelegated_now(
        self: &Arc<Self>,
        id: InodeId,
        told: Notices,
        by: Option<ClientId>,
    ) -> Option<Undelegated> {
        let mut state = self.state.lock();
        if state.delegation_stands_against(id, Touch::Entries(told), by) {
            return None;
        }
        Some(self.bar(&mut state, id, by))
    }

    fn bar(self: &Arc<Self>, state: &mut State, id: InodeId, by: Option<ClientId>) -> Undelegated {
        Undelegated {
            server: Arc::clone(self),
            inode: id,
            by,
            ticket: state.delegations_bar(id),
        }
    }

    async fn barred_from(
        self: &Arc<Self>,
        id: InodeId,
        touch: Touch,
        by: Option<ClientId>,
    ) -> Result<Undelegated, Refusal> {
        let barred = self.bar(&mut self.state.lock(), id, by);
        self.withdraw_delegations(id, touch, by).await?;
        Ok(barred)
    }

    /// Recalls what stands against this and waits a moment for it; DELAY when that isn't enough.
    pub(crate) async fn withdraw_delegations(
        self: &Arc<Self>,
        id: InodeId,
        touch: Touch,
        by: Option<ClientId>,
    ) -> Result<(), Refusal> {
        let withdrawn = async {
            loop {
                let changed = self.delegations_changed.notified();
                tokio::pin!(changed);
                // Armed before the look, so that no return falls between look and wait.
                changed.as_mut().enable();
                let orders = {
                    let mut state = self.state.lock();
                    if !state.delegation_stands_against(id, touch, by) {
                        return;
                    }
                    state.delegations_recall(self.clock.monotonic(), id, touch, by)
                };
                self.send_delegation_recalls(orders);
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, withdrawn)
            .await
            .map_err(|_| Refusal::client(Nfsstat4::Delay, "a delegation is being recalled"))
    }

    /// Judges a stateid for I/O; what a delegation of somebody else stands against waits for it.
    pub(crate) async fn authorize_io(
        self: &Arc<Self>,
        client: ClientId,
        stateid: Stateid,
        id: InodeId,
        kind: IoKind,
    ) -> Result<IoGrant, Refusal> {
        loop {
            let granted = self.state.lock().authorize_io(client, stateid, id, kind);
            match granted {
                Err(IoRefusal::Delegated(touch)) => {
                    self.withdraw_delegations(id, touch, Some(client)).await?;
                }
                granted => return Ok(granted?),
            }
        }
    }

    /// A folder was removed, whose delegations others have returned before.
    pub(crate) fn folder_is_gone(&self, id: InodeId) {
        self.state.lock().delegations_forget(id);
    }

    /// Delegations that are honoured no more: whoever waits for them may go on.
    pub(crate) fn delegations_revoked(self: &Arc<Self>, revoked: Vec<Delegation>) {
        if revoked.is_empty() {
            return;
        }
        for delegation in revoked {
            self.metrics.delegations_revoked.fetch_add(1, Relaxed);
            tracing::info!(
                client = delegation.client.0,
                inode = ?delegation.inode,
                "a delegation was not returned in time, and is revoked"
            );
            self.reap_if_free(delegation.inode);
        }
        self.delegations_changed.notify_waiters();
    }

    /// One that its holder doesn't have: so Linux says of what it was about to return when the server died, and
    /// reclaimed all the same.
    pub(crate) fn delegation_disowned(self: &Arc<Self>, disowned: Option<Delegation>) {
        let Some(delegation) = disowned else {
            return;
        };
        self.metrics.delegations_disowned.fetch_add(1, Relaxed);
        tracing::info!(
            client = delegation.client.0,
            inode = ?delegation.inode,
            "a delegation is forgotten: its client keeps saying that it has none"
        );
        self.delegations_changed.notify_waiters();
        self.reap_if_free(delegation.inode);
    }
}
