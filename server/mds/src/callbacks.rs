//! The back channel (RFC 8881 §2.10.3.1, §20): one callback behind its CB_SEQUENCE, and word to
//! those who wait for a lock.

mod delegation;
mod notify;

use crate::server::Server;
use crate::state::{
    About, CallbackOutcome, CallbackRefusal, CallbackSlot, ClientId, ConnectionId, LockNotice,
    SlotRef,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use wire::Xdr;
use wire::nfs4::{
    CB_COMPOUND, CallbackSecParms4, CbArgOp, CbCompound4Args, CbCompound4Res, CbNotifyLock4Args,
    CbSequence4Args, Clientid4, Layoutrecall4, Nfsstat4, ReferringCall4, ReferringCallList4,
    Sessionid4, StateOwner4,
};
use wire::rpc::{AuthSys, Credential, Gids, MachineName};
use wire::xdr::{Decoder, Encoder};

/// Between two tries of a callback that found no path, no slot, or a client that asked for time.
pub(crate) const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallbackFailure {
    /// No way to the client now.
    Unreachable,
    /// The client is gone: so is all that a callback could ask of it.
    Gone,
    /// Longer than the client's back channel takes (`ca_maxrequestsize`, RFC 8881 §18.36.3).
    TooLong,
}

impl Server {
    /// Sends `operation` to `client`; gives the status with which it was answered.
    pub(crate) async fn callback(
        &self,
        client: ClientId,
        operation: CbArgOp,
    ) -> Result<Nfsstat4, CallbackFailure> {
        let about = about(&operation);
        let answer = self.called_back(client, operation, about).await?;
        Ok(answer
            .results
            .get(1)
            .map_or(answer.status, wire::nfs4::CbResOp::status))
    }

    /// The same; gives the whole answer, whose first result is that of CB_SEQUENCE.
    async fn called_back(
        &self,
        client: ClientId,
        operation: CbArgOp,
        about: About,
    ) -> Result<CbCompound4Res, CallbackFailure> {
        let slot = match self.state.lock().callback_begin(client, about) {
            Ok(slot) => slot,
            Err(CallbackRefusal::UnknownClient) => return Err(CallbackFailure::Gone),
            Err(CallbackRefusal::NoPath | CallbackRefusal::Busy) => {
                return Err(CallbackFailure::Unreachable);
            }
        };
        let credential = identity(&slot);
        let too_long = |arguments: &Bytes| {
            request_bytes(&credential, arguments) > slot.max_request_bytes as usize
        };
        let mut arguments = request(&slot, &slot.referring, operation.clone());
        if too_long(&arguments) && !slot.referring.is_empty() {
            // A back channel that takes little: an answer too early is asked for again.
            arguments = request(&slot, &[], operation);
        }
        if too_long(&arguments) {
            let unused = CallbackOutcome::NotTaken;
            self.state.lock().callback_end(&slot, unused);
            return Err(CallbackFailure::TooLong);
        }
        let answer = match self.connection_of(&slot) {
            Some(connection) => {
                let back = &connection.back;
                back.call(slot.callback_program, CB_COMPOUND, credential, arguments)
                    .await
                    .ok()
            }
            None => None,
        };
        let (outcome, answer) = judge(answer);
        self.state.lock().callback_end(&slot, outcome);
        answer.ok_or(CallbackFailure::Unreachable)
    }

    fn connection_of(&self, slot: &CallbackSlot) -> Option<Arc<crate::Connection>> {
        let connections = self.connections.lock();
        slot.connections
            .iter()
            .find_map(|id: &ConnectionId| connections.get(id)?.upgrade())
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
        CbArgOp::NotifyLock(CbNotifyLock4Args {
            fh: self.handle_of(notice.tag, notice.inode),
            lock_owner: StateOwner4 {
                clientid: Clientid4(notice.client.0),
                owner: notice.owner.clone(),
            },
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

/// What a callback is about, where it says so itself: CB_GETATTR doesn't.
fn about(operation: &CbArgOp) -> About {
    match operation {
        CbArgOp::Recall(args) => About::Stateid(args.stateid.into()),
        CbArgOp::Notify(args) => About::Stateid(args.stateid.into()),
        CbArgOp::Offload(args) => About::Stateid(args.stateid.into()),
        CbArgOp::Layoutrecall(args) => match &args.recall {
            Layoutrecall4::File(file) => About::Stateid(file.stateid.into()),
            Layoutrecall4::Fsid(_) | Layoutrecall4::All => About::Layouts,
        },
        _ => About::Nothing,
    }
}

/// One list for each session (RFC 8881 §20.9.3).
fn referring(calls: &[SlotRef]) -> Vec<ReferringCallList4> {
    let mut lists: Vec<ReferringCallList4> = Vec::new();
    for call in calls {
        let sessionid = Sessionid4(call.session.0);
        let named = ReferringCall4 {
            sequenceid: call.sequence,
            slotid: call.slot,
        };
        match lists.iter_mut().find(|list| list.sessionid == sessionid) {
            Some(list) => list.referring_calls.push(named),
            None => lists.push(ReferringCallList4 {
                sessionid,
                referring_calls: vec![named],
            }),
        }
    }
    lists
}

fn request(slot: &CallbackSlot, calls: &[SlotRef], operation: CbArgOp) -> Bytes {
    let sequence = CbArgOp::Sequence(CbSequence4Args {
        sessionid: Sessionid4(slot.session.0),
        sequenceid: slot.sequence,
        slotid: slot.slot,
        highest_slotid: slot.highest_slot,
        cachethis: false,
        referring_call_lists: referring(calls),
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

/// Of a callback as the client counts it, its RPC header included.
fn request_bytes(credential: &Credential, arguments: &Bytes) -> usize {
    /// From the xid to the procedure, and a verifier of AUTH_NONE.
    const FIXED: usize = 24 + 8;
    let mut out = Encoder::new();
    credential.encode(&mut out);
    FIXED + out.len() + arguments.len()
}

/// What the answer means for the callback's slot; the answer itself if CB_SEQUENCE went well.
fn judge(answer: Option<Bytes>) -> (CallbackOutcome, Option<CbCompound4Res>) {
    let Some(answer) =
        answer.and_then(|bytes| CbCompound4Res::decode(&mut Decoder::new(bytes)).ok())
    else {
        return (CallbackOutcome::Lost, None);
    };
    match answer.results.first().map(wire::nfs4::CbResOp::status) {
        Some(Nfsstat4::Ok) => (CallbackOutcome::Answered, Some(answer)),
        Some(Nfsstat4::RetryUncachedRep | Nfsstat4::SeqFalseRetry) => {
            (CallbackOutcome::AlreadyTaken, None)
        }
        Some(Nfsstat4::SeqMisordered) => (CallbackOutcome::Misordered, None),
        Some(_) | None => (CallbackOutcome::NotTaken, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SessionId;

    #[test]
    fn calls_that_a_callback_refers_to_are_listed_by_session() {
        let call = |session, slot| SlotRef {
            session: SessionId([session; 16]),
            slot,
            sequence: 7,
        };
        let lists = referring(&[call(1, 0), call(2, 5), call(1, 3)]);
        let told: Vec<_> = lists
            .iter()
            .map(|list| {
                let slots = list.referring_calls.iter().map(|call| call.slotid);
                (list.sessionid.0[0], slots.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(told, [(1, vec![0, 3]), (2, vec![5])]);
    }
}
