//! Callbacks about delegations: CB_RECALL, CB_GETATTR, CB_RECALL_ANY (RFC 8881 §20.2, §20.1, §20.6).
//! Whether one is due, and what becomes of an answer, is decided elsewhere.

use super::{CallbackFailure, RETRY};
use crate::delegations::holder::{Told, timestamp};
use crate::server::Server;
use crate::state::{About, ClientId, Delegation, DelegationRecall};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::nfs4::{
    Attr, Attributes, Bitmap4, CbArgOp, CbGetattr4Args, CbRecall4Args, CbRecallAny4Args, CbResOp,
    Nfsstat4,
};

/// How often a client may say that it has no such delegation. It says so at first of one whose
/// grant is still on its way to it; after that it is believed.
const DENIALS: u32 = 20;

/// How long a holder may take to say what a file is like before the delegation is recalled.
const ANSWER: Duration = Duration::from_secs(1);

impl Server {
    /// Sends each recall in the background, again and again until the client has taken notice or the
    /// delegation is gone.
    pub(crate) fn send_delegation_recalls(self: &Arc<Self>, orders: Vec<DelegationRecall>) {
        if orders.is_empty() {
            return;
        }
        for order in orders {
            self.metrics.delegations_recalled.fetch_add(1, Relaxed);
            let server = Arc::clone(self);
            self.tasks
                .spawn(async move { server.send_delegation_recall(order).await });
        }
        self.wake_housekeeping();
    }

    async fn send_delegation_recall(self: &Arc<Self>, order: DelegationRecall) {
        let delegation = order.delegation;
        let mut denials = 0;
        while self.clock.monotonic() < order.deadline
            && self.state.lock().is_delegated(delegation.id)
        {
            let recall = CbArgOp::Recall(CbRecall4Args {
                stateid: delegation.stateid.into(),
                truncate: false,
                fh: self.handle_of_delegation(&delegation),
            });
            match self.callback(delegation.client, recall).await {
                // It returns it by DELEGRETURN: Linux first opens here what it opened by itself.
                Ok(Nfsstat4::Ok) | Err(CallbackFailure::Gone) => return,
                Ok(Nfsstat4::BadStateid | Nfsstat4::Badhandle) => denials += 1,
                Ok(_) | Err(CallbackFailure::Unreachable | CallbackFailure::TooLong) => {}
            }
            if denials >= DENIALS {
                let disowned = self.state.lock().delegation_disowned(delegation.id);
                return self.delegation_disowned(disowned);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Asks a client to return delegations until it has no more than `keep`, of its own choice.
    pub(crate) fn recall_any_delegations(self: &Arc<Self>, client: ClientId, keep: usize) {
        /// RCA4_TYPE_MASK_RDATA_DLG, _WDATA_DLG and _DIR_DLG.
        const DELEGATIONS: Bitmap4 = Bitmap4::of(&[0, 1, 2]);
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let ask = CbRecallAny4Args {
                objects_to_keep: keep as u32,
                type_mask: DELEGATIONS,
            };
            let _ = server.callback(client, CbArgOp::RecallAny(ask)).await;
        });
    }

    /// CB_GETATTR. `None`: no answer in time, or none that is of use.
    pub(crate) async fn ask_holder(self: &Arc<Self>, holder: Delegation) -> Option<Told> {
        self.metrics.delegates_asked.fetch_add(1, Relaxed);
        let server = Arc::clone(self);
        // A task of its own: its slot of the back channel is given back also when nobody waits.
        let asking = tokio::spawn(async move { server.told_by(&holder).await });
        tokio::time::timeout(ANSWER, asking).await.ok()?.ok()?
    }

    async fn told_by(&self, holder: &Delegation) -> Option<Told> {
        let mut attr_request: Bitmap4 = [Attr::Change, Attr::Size].into_iter().collect();
        if holder.times {
            attr_request.set(Attr::TimeDelegAccess);
            attr_request.set(Attr::TimeDelegModify);
        }
        let until = self.clock.monotonic().plus(ANSWER);
        while self.clock.monotonic() < until {
            let ask = CbArgOp::Getattr(CbGetattr4Args {
                fh: self.handle_of_delegation(holder),
                attr_request,
            });
            let about = About::Stateid(holder.stateid);
            match self.called_back(holder.client, ask, about).await {
                Ok(answer) => match answer.results.get(1)? {
                    CbResOp::Getattr(Ok(told)) => return read(&told.obj_attributes),
                    // It asks for time, or is asked before its OPEN was answered.
                    CbResOp::Getattr(Err(
                        Nfsstat4::Delay | Nfsstat4::BadStateid | Nfsstat4::Badhandle,
                    )) => {}
                    _ => return None,
                },
                Err(CallbackFailure::Gone | CallbackFailure::TooLong) => return None,
                // Every slot is taken, or there is no path now.
                Err(CallbackFailure::Unreachable) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
        None
    }

    pub(super) fn handle_of_delegation(&self, delegation: &Delegation) -> Bytes {
        self.handle_of(delegation.tag, delegation.inode)
    }
}

fn read(told: &Attributes) -> Option<Told> {
    Some(Told {
        change: told.change?,
        size: told.size?,
        accessed: told.time_deleg_access.and_then(timestamp),
        modified: told.time_deleg_modify.and_then(timestamp),
    })
}
