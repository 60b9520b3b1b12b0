//! The back channel (RFC 8881 §2.10.3.1, §20): one callback behind its CB_SEQUENCE, recalls of
//! layouts, and word to those who wait for a lock.

use crate::server::Server;
use crate::state::{
    CallbackOutcome, CallbackRefusal, CallbackSlot, ClientId, ConnectionId, LayoutMode, LockNotice,
    RecallOrder,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::Xdr;
use wire::nfs4::{
    Bitmap4, CB_COMPOUND, CallbackSecParms4, CbArgOp, CbCompound4Args, CbCompound4Res,
    CbLayoutrecall4Args, CbNotifyLock4Args, CbRecallAny4Args, CbSequence4Args, Clientid4,
    LAYOUT4_FLEX_FILES, Layoutiomode4, Layoutrecall4, LayoutrecallFile4, Nfsstat4, Sessionid4,
    StateOwner4, Stateid4,
};
use wire::rpc::{AuthSys, Credential, Gids, MachineName};
use wire::xdr::{Decoder, Encoder};

/// Between two tries of a callback that found no path, no slot, or a client that asked for time.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallbackFailure {
    /// No way to the client now.
    Unreachable,
    /// The client is gone: so is all that a callback could ask of it.
    Gone,
}

impl Server {
    /// Sends `operation` to `client`; gives the status with which it was answered.
    pub(crate) async fn callback(
        &self,
        client: ClientId,
        operation: CbArgOp,
    ) -> Result<Nfsstat4, CallbackFailure> {
        let slot = match self.state.lock().callback_begin(client) {
            Ok(slot) => slot,
            Err(CallbackRefusal::UnknownClient) => return Err(CallbackFailure::Gone),
            Err(CallbackRefusal::NoPath | CallbackRefusal::Busy) => {
                return Err(CallbackFailure::Unreachable);
            }
        };
        let answer = match self.connection_of(&slot) {
            Some(connection) => {
                let arguments = request(&slot, operation);
                connection
                    .back
                    .call(
                        slot.callback_program,
                        CB_COMPOUND,
                        identity(&slot),
                        arguments,
                    )
                    .await
                    .ok()
            }
            None => None,
        };
        let (outcome, status) = judge(answer);
        self.state.lock().callback_end(&slot, outcome);
        status.ok_or(CallbackFailure::Unreachable)
    }

    fn connection_of(&self, slot: &CallbackSlot) -> Option<Arc<crate::Connection>> {
        let connections = self.connections.lock();
        slot.connections
            .iter()
            .find_map(|id: &ConnectionId| connections.get(id)?.upgrade())
    }

    /// Sends each recall in the background, again and again until the client has taken notice or
    /// the recall is over.
    pub(crate) fn send_recalls(self: &Arc<Self>, orders: Vec<RecallOrder>) {
        for order in orders {
            self.metrics.recalls.fetch_add(1, Relaxed);
            let server = Arc::clone(self);
            self.tasks
                .spawn(async move { server.send_recall(order).await });
        }
        self.wake_housekeeping();
    }

    /// Asks a client that holds as many layouts as it may to give some back, of its own choice.
    pub(crate) fn recall_any(self: &Arc<Self>, client: ClientId) {
        /// RCA4_TYPE_MASK_FF_LAYOUT_MIN and _MAX (RFC 8435 §11): read and RW layouts.
        const FLEX_LAYOUTS: Bitmap4 = Bitmap4::of(&[16, 17]);
        let keep = self.state.lock().limits().layouts_per_client / 2;
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let ask = CbRecallAny4Args {
                objects_to_keep: keep as u32,
                type_mask: FLEX_LAYOUTS,
            };
            let _ = server.callback(client, CbArgOp::RecallAny(ask)).await;
        });
    }

    /// Something of a file was unlocked: whoever waits for it first is told, in the background.
    pub(crate) fn tell_lock_waiters(self: &Arc<Self>, file: catalog::InodeId) {
        let turns = self.state.lock().lock_turns(self.clock.monotonic(), file);
        self.send_lock_notices(turns);
    }

    pub(crate) fn send_lock_notices(self: &Arc<Self>, notices: Vec<LockNotice>) {
        if notices.is_empty() {
            return;
        }
        for notice in notices {
            let server = Arc::clone(self);
            self.tasks
                .spawn(async move { server.send_lock_notice(notice).await });
        }
        self.wake_housekeeping();
    }

    /// CB_NOTIFY_LOCK, §20.11. Who can't be told loses the turn at once.
    async fn send_lock_notice(self: &Arc<Self>, notice: LockNotice) {
        while self.state.lock().has_lock_turn(&notice) {
            let told = self
                .callback(notice.client, self.lock_notice(&notice))
                .await;
            match told {
                Ok(Nfsstat4::Ok) => return,
                Err(CallbackFailure::Unreachable)
                    if self.state.lock().can_call_back(notice.client) =>
                {
                    tokio::time::sleep(RETRY).await;
                }
                Ok(Nfsstat4::Delay) => tokio::time::sleep(RETRY).await,
                Ok(_) | Err(_) => {
                    let now = self.clock.monotonic();
                    let next = self.state.lock().lock_turn_lost(now, &notice);
                    return self.send_lock_notices(next);
                }
            }
        }
    }

    fn lock_notice(&self, notice: &LockNotice) -> CbArgOp {
        let file = crate::filehandle::Named {
            export: notice.tag,
            id: notice.inode,
        };
        CbArgOp::NotifyLock(CbNotifyLock4Args {
            fh: self.handle_key.seal(file),
            lock_owner: StateOwner4 {
                clientid: Clientid4(notice.client.0),
                owner: notice.owner.clone(),
            },
        })
    }

    async fn send_recall(self: &Arc<Self>, order: RecallOrder) {
        while self.clock.monotonic() < order.deadline {
            match self.callback(order.client, self.recall_of(&order)).await {
                // It returns the layout by LAYOUTRETURN, soon: Linux first ends the I/O under way.
                Ok(Nfsstat4::Ok) => return,
                Ok(Nfsstat4::NomatchingLayout) => return self.unknown_to_client(&order).await,
                Err(CallbackFailure::Gone) => return,
                // DELAY, or no path now: while it lasts the deadline draws near.
                Ok(_) | Err(CallbackFailure::Unreachable) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// The client says that it has no such layout. Linux says so as well of one that it doesn't have
    /// yet, its LAYOUTGET's reply being on its way, and would write with it: only a fence makes it true.
    async fn unknown_to_client(self: &Arc<Self>, order: &RecallOrder) {
        let inode = self.catalog.read().inode(order.inode).await;
        // The objects of a file without names go, whoever may write them.
        let goes = inode.is_ok_and(|inode| inode.nlink == 0);
        if order.mode == LayoutMode::Write && !goes {
            let fencing = self.state.lock().begin_fence(order.grant);
            self.end_by_force(fencing.into_iter().collect()).await;
        } else {
            self.state.lock().recall_forgotten(order.grant);
            self.layouts_changed.notify_waiters();
            self.settle_later(order.inode);
            self.reap_if_free(order.inode);
        }
    }

    fn recall_of(&self, order: &RecallOrder) -> CbArgOp {
        let file = crate::filehandle::Named {
            export: order.tag,
            id: order.inode,
        };
        CbArgOp::Layoutrecall(CbLayoutrecall4Args {
            layout_type: LAYOUT4_FLEX_FILES,
            iomode: Layoutiomode4::Any,
            changed: false,
            recall: Layoutrecall4::File(LayoutrecallFile4 {
                fh: self.handle_key.seal(file),
                offset: 0,
                length: u64::MAX,
                stateid: Stateid4 {
                    seqid: order.stateid.seqid,
                    other: order.stateid.other,
                },
            }),
        })
    }
}

/// As whom the client wants to be called (RFC 8881 §2.10.8.3): what CREATE_SESSION said.
fn identity(slot: &CallbackSlot) -> Credential {
    match wire::xdr::from_bytes(slot.callback_security.clone()) {
        Ok(CallbackSecParms4::Sys(sys)) => Credential::Sys(AuthSys {
            stamp: sys.stamp,
            machine: MachineName::default(),
            uid: sys.uid,
            gid: sys.gid,
            gids: Gids::first(sys.gids),
        }),
        _ => Credential::None,
    }
}

fn request(slot: &CallbackSlot, operation: CbArgOp) -> Bytes {
    let sequence = CbArgOp::Sequence(CbSequence4Args {
        sessionid: Sessionid4(slot.session.0),
        sequenceid: slot.sequence,
        slotid: slot.slot,
        highest_slotid: slot.highest_slot,
        cachethis: false,
        referring_call_lists: Vec::new(),
    });
    let compound = CbCompound4Args {
        tag: Bytes::new(),
        minorversion: slot.minor,
        callback_ident: 0,
        ops: vec![sequence, operation],
    };
    let mut out = Encoder::new();
    compound.encode(&mut out);
    out.finish()
}

/// What the answer means for the callback's slot, and the status of the operation behind CB_SEQUENCE.
fn judge(answer: Option<Bytes>) -> (CallbackOutcome, Option<Nfsstat4>) {
    let Some(answer) =
        answer.and_then(|bytes| CbCompound4Res::decode(&mut Decoder::new(bytes)).ok())
    else {
        return (CallbackOutcome::Lost, None);
    };
    let status = |at: usize| answer.results.get(at).map(wire::nfs4::CbResOp::status);
    match status(0) {
        Some(Nfsstat4::Ok) => (CallbackOutcome::Answered, status(1).or(Some(answer.status))),
        Some(Nfsstat4::RetryUncachedRep | Nfsstat4::SeqFalseRetry) => {
            (CallbackOutcome::AlreadyTaken, None)
        }
        Some(Nfsstat4::SeqMisordered) => (CallbackOutcome::Misordered, None),
        Some(_) | None => (CallbackOutcome::NotTaken, None),
    }
}
