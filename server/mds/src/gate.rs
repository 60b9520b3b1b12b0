//! Waiting at an inode's gate: `state::gate` decides who is inside, this wakes them.
//!
//! A pass is held over awaits; it is given back when dropped, also when a request dies.

use crate::server::Server;
use crate::state::{GateAnswer, GateMode, Ticket};
use crate::status::Refusal;
use catalog::InodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::nfs4::Nfsstat4;

/// What those wait at most whom the holder may be waiting for: longer than a transaction takes,
/// much shorter than a recall.
pub(crate) const MOMENT: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<Ticket, oneshot::Sender<()>>>);

impl Waiters {
    fn wake(&self, tickets: Vec<Ticket>) {
        let mut waiting = self.0.lock();
        for ticket in tickets {
            if let Some(waiter) = waiting.remove(&ticket) {
                // A waiter that gave up meanwhile gives the pass back by itself.
                let _ = waiter.send(());
            }
        }
    }
}

/// The right to be inside one inode's gate.
pub(crate) struct Pass {
    server: Arc<Server>,
    inode: InodeId,
    ticket: Ticket,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let woken = self.server.state.lock().gate_leave(self.inode, self.ticket);
        self.server.gates.0.lock().remove(&self.ticket);
        self.server.gates.wake(woken);
    }
}

impl Server {
    /// Enters the gate of `inode`, waiting a bounded time; DELAY when that isn't enough.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        inode: InodeId,
        mode: GateMode,
    ) -> Result<Pass, Refusal> {
        let patience = self.settings().gate_timeout;
        self.enter_within(inode, mode, patience).await
    }

    /// Enters the gates of two files, once where both are one; in one order, so that two who come
    /// crosswise never wait for each other.
    pub(crate) async fn enter_both(
        self: &Arc<Self>,
        one: InodeId,
        other: InodeId,
        mode: GateMode,
    ) -> Result<(Pass, Option<Pass>), Refusal> {
        let first = self.enter(one.min(other), mode).await?;
        let second = if one == other {
            None
        } else {
            Some(self.enter(one.max(other), mode).await?)
        };
        Ok((first, second))
    }

    /// As [`Server::enter`], with a patience of its own.
    pub(crate) async fn enter_within(
        self: &Arc<Self>,
        inode: InodeId,
        mode: GateMode,
        patience: Duration,
    ) -> Result<Pass, Refusal> {
        let (inside, mut called) = oneshot::channel();
        let (answer, ticket) = {
            let mut state = self.state.lock();
            let ticket = state.next_ticket();
            self.gates.0.lock().insert(ticket, inside);
            (state.gate_request(inode, mode, ticket), ticket)
        };
        if answer == GateAnswer::Full {
            // It has no place to give back.
            self.gates.0.lock().remove(&ticket);
            return Err(Nfsstat4::Delay.into());
        }
        // From here on a drop gives the place in the queue back.
        let pass = Pass {
            server: Arc::clone(self),
            inode,
            ticket,
        };
        if answer == GateAnswer::Entered {
            return Ok(pass);
        }
        match tokio::time::timeout(patience, &mut called).await {
            Ok(Ok(())) => Ok(pass),
            _ => Err(Nfsstat4::Delay.into()),
        }
    }
}
