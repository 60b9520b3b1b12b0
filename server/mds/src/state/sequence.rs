//! SEQUENCE, RFC 8881 §18.46: admission of a request to its slot, the end of its execution, and
//! the memory that cached replies take. One slot's own rules are in `slot`.

use bytes::Bytes;

use super::client::Notice;
use super::referring::Given;
use super::session::{BoundDirection, Session};
use super::slot::{Admission, CachedReply, Slot};
use super::{ClientId, ConnectionId, SessionId, State, Time};

/// `sr_status_flags` (§18.46.1). The others are never true here: sessions do not outlive a
/// restart, filesystems do not move, and the lease of a client with a session has not run out.
pub mod status_flags {
    pub const CB_PATH_DOWN: u32 = 0x0000_0001;
    pub const RECALLABLE_STATE_REVOKED: u32 = 0x0000_0040;
    pub const CB_PATH_DOWN_SESSION: u32 = 0x0000_0200;
    pub const BACKCHANNEL_FAULT: u32 = 0x0000_0400;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRequest {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub slot: u32,
    pub sequence: u32,
    pub highest_slot: u32,
    pub cache_this: bool,
    /// Of the whole request with its principal, to tell a false retry.
    pub digest: u64,
    /// What the whole message and its COMPOUND come to.
    pub request_bytes: usize,
    pub operations: usize,
    /// What the reply comes to with no other result in it.
    pub reply_bytes: usize,
}

/// What SEQUENCE answers besides the echo of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceAnswer {
    pub highest_slot: u32,
    pub target_highest_slot: u32,
    pub status_flags: u32,
}

/// The slot that a request occupies until `complete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotRef {
    pub session: SessionId,
    pub slot: u32,
    pub sequence: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    pub client: ClientId,
    pub slot: SlotRef,
    pub answer: SequenceAnswer,
    pub cache_this: bool,
    pub max_response_bytes: u32,
    pub max_cached_bytes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sequenced {
    Execute(Admitted),
    /// The whole reply of the first time.
    Replay(Bytes),
    /// Answer SEQUENCE with this, and the operation after it with RETRY_UNCACHED_REP.
    Uncached(SequenceAnswer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceRefusal {
    #[error("no such session")]
    BadSession,
    #[error("the request is larger than the session's may be")]
    RequestTooBig,
    #[error("the reply would be larger than the session's may be with SEQUENCE's result alone")]
    ReplyTooBig,
    #[error("the session keeps no reply that has as much as SEQUENCE's result in it")]
    ReplyTooBigToKeep,
    #[error("the request has more operations than the session's may have")]
    TooManyOperations,
    #[error("the connection carries other channels of the session already")]
    ChannelsDiffer,
    #[error("the slot is beyond the session's")]
    BadSlot,
    #[error("the highest slot is beyond the session's")]
    BadHighSlot,
    #[error("the sequence is neither the slot's last nor its next")]
    Misordered,
    #[error("a retry with other contents")]
    FalseRetry,
    #[error("the first of these requests is still worked on")]
    InProgress,
    #[error("the session is bound to as many connections as the limits allow")]
    TooManyConnections,
    #[error("cached replies take all the memory they may")]
    MemoryShort,
}

#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) slot: Slot,
    /// The target's serial in the last answer on this slot.
    pub(super) told: u32,
    /// What the request that is on it gave its client.
    pub(super) gave: Vec<Given>,
}

impl State {
    /// SEQUENCE, §18.46. Renews the lease, and takes the slot unless this is a retry.
    pub fn sequence(
        &mut self,
        now: Time,
        request: SequenceRequest,
    ) -> Result<Sequenced, SequenceRefusal> {
        let share = self.share_of_a_session();
        let least = self.limits.slots_under_pressure.max(1);
        let memory_short = self.sessions.cached_reply_bytes >= self.limits.cached_reply_bytes_hard;
        let session = self
            .sessions
            .table
            .get_mut(&request.session)
            .ok_or(SequenceRefusal::BadSession)?;
        // A SEQUENCE that fails leaves slot and lease as they are (§18.46.3): judged before both.
        if request.request_bytes > session.fore.max_request_bytes as usize {
            return Err(SequenceRefusal::RequestTooBig);
        }
        if request.operations > session.fore.max_operations as usize {
            return Err(SequenceRefusal::TooManyOperations);
        }
        // The client's tag comes back, however long it is.
        if request.reply_bytes > session.fore.max_response_bytes as usize {
            return Err(SequenceRefusal::ReplyTooBig);
        }
        if request.cache_this && request.reply_bytes > session.fore.max_cached_bytes as usize {
            return Err(SequenceRefusal::ReplyTooBigToKeep);
        }
        if request.slot >= session.fore.max_requests {
            return Err(SequenceRefusal::BadSlot);
        }
        if request.highest_slot >= session.fore.max_requests {
            return Err(SequenceRefusal::BadHighSlot);
        }
        let new_connection = !session.connections.contains_key(&request.connection);
        if new_connection && session.connections.len() >= self.limits.connections_per_session {
            return Err(SequenceRefusal::TooManyConnections);
        }

        let admission = session
            .slots
            .get(request.slot as usize)
            .map_or(&Slot::NEW, |state| &state.slot)
            .admit(request.sequence, request.digest);
        let client_id = session.client;
        let sequenced = match admission {
            Admission::Refuse(refusal) => return Err(refusal),
            Admission::Replay(CachedReply::Whole(reply)) => Sequenced::Replay(reply),
            Admission::Replay(CachedReply::SequenceAlone(answer)) => Sequenced::Uncached(answer),
            Admission::Execute => {
                while session.slots.len() <= request.slot as usize {
                    session.slots.push(SlotState {
                        slot: Slot::NEW,
                        told: session.target_serial,
                        gave: Vec::new(),
                    });
                }
                let index = request.slot as usize;
                // Nothing may be forgotten to make room: a slot that has a reply lets go of it
                // for the next one, and others wait.
                if memory_short
                    && request.cache_this
                    && session.slots[index].slot.cached_bytes() == 0
                {
                    return Err(SequenceRefusal::MemoryShort);
                }
                let freed = session.give_back(&request);
                let slots = session.slots_within(share).max(least);
                let target = slots.min(session.fore.max_requests) - 1;
                if target != session.target_highest_slot {
                    session.target_highest_slot = target;
                    session.target_serial = session.target_serial.wrapping_add(1);
                }
                let highest_slot = session.fore.max_requests - 1;
                let state = &mut session.slots[index];
                let replaced = state.slot.cached_bytes();
                state.told = session.target_serial;
                self.sessions.cached_reply_bytes -= freed + replaced;

                let slot = SlotRef {
                    session: request.session,
                    slot: request.slot,
                    sequence: request.sequence,
                };
                let answer = SequenceAnswer {
                    highest_slot,
                    target_highest_slot: target,
                    status_flags: self.status_flags(slot, client_id),
                };
                self.occupy(slot, &request, answer)
                    .ok_or(SequenceRefusal::BadSession)?
            }
        };
        if new_connection {
            self.sessions
                .associate(request.session, request.connection, BoundDirection::Fore);
        }
        self.renew(now, client_id);
        Ok(sequenced)
    }

    /// Bytes of kept replies that each session may take: all alike, and none once they are used up.
    fn share_of_a_session(&self) -> usize {
        if self.sessions.cached_reply_bytes >= self.limits.cached_reply_bytes {
            return 0;
        }
        self.limits.cached_reply_bytes / self.sessions.table.len().max(1)
    }

    fn occupy(
        &mut self,
        slot: SlotRef,
        request: &SequenceRequest,
        answer: SequenceAnswer,
    ) -> Option<Sequenced> {
        let session = self.sessions.table.get_mut(&slot.session)?;
        let state = session.slots.get_mut(slot.slot as usize)?;
        state.gave.clear();
        state
            .slot
            .begin(request.sequence, request.digest, request.cache_this, answer);
        if let Some(client) = self.clients.table.get_mut(&session.client) {
            client.executing += 1;
        }
        Some(Sequenced::Execute(Admitted {
            client: session.client,
            slot,
            answer,
            cache_this: request.cache_this,
            max_response_bytes: session.fore.max_response_bytes,
            max_cached_bytes: session.fore.max_cached_bytes,
        }))
    }

    /// Ends the execution that `sequence` began and keeps its reply. A session that went in
    /// between has nothing to keep it in.
    pub fn complete(&mut self, now: Time, done: SlotRef, reply: Bytes) {
        let Some(session) = self.sessions.table.get_mut(&done.session) else {
            return;
        };
        let most_bytes = session.fore.max_cached_bytes as usize;
        let Some(state) = session.slots.get_mut(done.slot as usize) else {
            return;
        };
        if !state.slot.finish(done.sequence, reply, most_bytes) {
            return;
        }
        self.sessions.cached_reply_bytes += state.slot.cached_bytes();
        if let Some(client) = self.clients.table.get_mut(&session.client) {
            client.executing = client.executing.saturating_sub(1);
            client.renewed = client.renewed.max(now);
        }
    }

    /// `sr_status_flags` of an answer on `slot`, and what it proves about the one before.
    fn status_flags(&mut self, slot: SlotRef, client: ClientId) -> u32 {
        let mut flags = 0;
        let revoked = self.delegations.revoked(client) > 0;
        if let Some(session) = self.sessions.table.get(&slot.session) {
            if session.back_slots.is_faulty() {
                flags |= status_flags::BACKCHANNEL_FAULT;
            }
            if session.back.max_requests > 0 && !session.has_back_connection() {
                flags |= status_flags::CB_PATH_DOWN_SESSION;
            }
        }
        if let Some(client) = self.clients.table.get_mut(&client) {
            let path_up = client.sessions.iter().any(|id| {
                self.sessions
                    .table
                    .get(id)
                    .is_some_and(Session::has_back_connection)
            });
            if !path_up {
                flags |= status_flags::CB_PATH_DOWN;
            }
            let place = (slot.session, slot.slot);
            if let Notice::Told(told) = &client.notice
                && told
                    .get(&place)
                    .is_some_and(|sequence| *sequence != slot.sequence)
            {
                client.notice = Notice::None;
            }
            // Linux gives up all its layouts each time it sees this, and never frees their
            // stateids: raised until one answer with it is known to have arrived.
            // A revoked delegation shows until its client frees it (§18.46.3).
            if client.notice != Notice::None || revoked {
                flags |= status_flags::RECALLABLE_STATE_REVOKED;
            }
            match &mut client.notice {
                Notice::None => {}
                Notice::Due => {
                    client.notice = Notice::Told([(place, slot.sequence)].into());
                }
                Notice::Told(told) => {
                    told.insert(place, slot.sequence);
                }
            }
        }
        flags
    }
}

impl Session {
    /// Slots whose replies fit these bytes, each as large as it may be. In powers of two, so that
    /// not every client that comes or goes moves the target of all.
    fn slots_within(&self, bytes: usize) -> u32 {
        let slots = bytes / (self.fore.max_cached_bytes as usize).max(1);
        slots
            .checked_ilog2()
            .map_or(0, |power| 1u32.checked_shl(power).unwrap_or(u32::MAX))
    }

    /// Slots that the client came down from, once it knows of the lower target: bytes freed.
    fn give_back(&mut self, request: &SequenceRequest) -> usize {
        let index = request.slot as usize;
        let knows = self.slots[index].told == self.target_serial && self.target_serial > 0;
        if !knows || request.highest_slot > self.target_highest_slot {
            return 0;
        }
        let mut freed = 0;
        for state in self
            .slots
            .iter_mut()
            .skip(request.highest_slot as usize + 1)
        {
            freed += state.slot.cached_bytes();
            state.slot.retire();
            if !state.slot.is_executing() {
                state.gave.clear();
            }
        }
        freed
    }
}

#[cfg(test)]
mod tests;
