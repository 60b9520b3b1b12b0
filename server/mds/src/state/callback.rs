//! The server's own slots on back channels, RFC 8881 §2.10.6.1 and §20.9: which session, slot
//! and sequence a callback goes out with. The sending itself is not here.

use bytes::Bytes;

use super::sequence::SlotRef;
use super::{About, ClientId, ConnectionId, SessionId, State};

/// A slot of a back channel, taken until `callback_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackSlot {
    pub session: SessionId,
    pub slot: u32,
    pub sequence: u32,
    pub highest_slot: u32,
    /// Requests to whose replies the callback comes second.
    pub referring: Vec<SlotRef>,
    pub connections: Vec<ConnectionId>,
    pub minor: u32,
    pub callback_program: u32,
    pub callback_security: Bytes,
    pub max_request_bytes: u32,
    pub max_response_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefusal {
    #[error("no connection of the client carries callbacks")]
    NoPath,
    #[error("every callback slot is taken")]
    Busy,
    #[error("no such client")]
    UnknownClient,
}

/// What became of a callback, as far as its slot is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackOutcome {
    /// CB_SEQUENCE was answered OK, whatever the operations after it said.
    Answered,
    /// CB_SEQUENCE itself was refused: the sequence was not used.
    NotTaken,
    /// The client had this sequence already (RETRY_UNCACHED_REP or a false retry): an earlier
    /// callback without an answer had arrived after all.
    AlreadyTaken,
    /// The client expects another sequence: the slot is given up.
    Misordered,
    /// No answer: the same sequence goes out again, and the channel counts as faulty until an
    /// answer comes or a connection is bound.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackSlot {
    Free { next: u32 },
    Taken { sequence: u32 },
    GivenUp,
}

/// The slots of one session's back channel.
#[derive(Debug)]
pub(super) struct BackSlots {
    slots: Vec<BackSlot>,
    faulty: bool,
}

impl BackSlots {
    pub(super) fn new(count: u32) -> Self {
        BackSlots {
            slots: vec![BackSlot::Free { next: 1 }; count as usize],
            faulty: false,
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.faulty
            || (!self.slots.is_empty() && self.slots.iter().all(|slot| *slot == BackSlot::GivenUp))
    }

    pub(super) fn mend(&mut self) {
        self.faulty = false;
    }

    fn take(&mut self) -> Option<(u32, u32)> {
        let (index, slot, next) = self
            .slots
            .iter_mut()
            .enumerate()
            .find_map(|(index, slot)| match *slot {
                BackSlot::Free { next } => Some((index, slot, next)),
                _ => None,
            })?;
        *slot = BackSlot::Taken { sequence: next };
        Some((index as u32, next))
    }

    fn highest_taken(&self) -> u32 {
        self.slots
            .iter()
            .rposition(|slot| matches!(slot, BackSlot::Taken { .. }))
            .unwrap_or(0) as u32
    }

    fn end(&mut self, index: u32, sequence: u32, outcome: CallbackOutcome) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if *slot != (BackSlot::Taken { sequence }) {
            return;
        }
        *slot = match outcome {
            CallbackOutcome::Answered | CallbackOutcome::AlreadyTaken => BackSlot::Free {
                next: sequence.wrapping_add(1),
            },
            CallbackOutcome::NotTaken | CallbackOutcome::Lost => BackSlot::Free { next: sequence },
            CallbackOutcome::Misordered => BackSlot::GivenUp,
        };
        match outcome {
            CallbackOutcome::Answered => self.faulty = false,
            CallbackOutcome::Lost => self.faulty = true,
            _ => {}
        }
    }
}

impl State {
    /// Takes a slot for one callback to the client.
    pub fn callback_begin(
        &mut self,
        id: ClientId,
        about: About,
    ) -> Result<CallbackSlot, CallbackRefusal> {
        let referring = self.referring(id, about);
        let client = self
            .clients
            .live(id)
            .ok_or(CallbackRefusal::UnknownClient)?;
        let mut refusal = CallbackRefusal::NoPath;
        for session_id in &client.sessions {
            let Some(session) = self.sessions.table.get_mut(session_id) else {
                continue;
            };
            let connections = session.back_connections();
            if connections.is_empty() {
                continue;
            }
            let Some((slot, sequence)) = session.back_slots.take() else {
                refusal = CallbackRefusal::Busy;
                continue;
            };
            return Ok(CallbackSlot {
                session: *session_id,
                slot,
                sequence,
                highest_slot: session.back_slots.highest_taken(),
                referring,
                connections,
                minor: session.minor,
                callback_program: session.callback_program,
                callback_security: session.callback_security.clone(),
                max_request_bytes: session.back.max_request_bytes,
                max_response_bytes: session.back.max_response_bytes,
            });
        }
        Err(refusal)
    }

    /// Gives the slot back with what became of it.
    pub fn callback_end(&mut self, slot: &CallbackSlot, outcome: CallbackOutcome) {
        if let Some(session) = self.sessions.table.get_mut(&slot.session) {
            session.back_slots.end(slot.slot, slot.sequence, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_without_an_answer_goes_out_again_with_its_sequence() {
        let mut slots = BackSlots::new(1);
        assert_eq!(slots.take(), Some((0, 1)));
        assert_eq!(slots.take(), None);
        slots.end(0, 1, CallbackOutcome::Lost);
        assert!(slots.is_faulty());
        assert_eq!(slots.take(), Some((0, 1)));
        slots.end(0, 1, CallbackOutcome::AlreadyTaken);
        assert_eq!(slots.take(), Some((0, 2)));
        slots.end(0, 2, CallbackOutcome::Answered);
        assert!(!slots.is_faulty());
    }

    #[test]
    fn a_slot_out_of_step_is_given_up_and_the_channel_told_faulty() {
        let mut slots = BackSlots::new(1);
        slots.take();
        slots.end(0, 1, CallbackOutcome::Misordered);
        assert_eq!(slots.take(), None);
        assert!(slots.is_faulty());
    }
}
