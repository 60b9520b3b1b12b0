//! Slots of a session's fore channel, RFC 8881 §2.10.6.1: the guard of exactly-once execution
//! (invariant 1). One slot at a time; which session it is of, and the budget, is `session`'s.

use bytes::Bytes;

use super::sequence::{SequenceAnswer, SequenceRefusal};

/// The answer kept in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CachedReply {
    /// The whole reply, as it went out.
    Whole(Bytes),
    /// Only what SEQUENCE itself answered: the client asked for no more.
    SequenceAlone(SequenceAnswer),
}

impl CachedReply {
    fn len(&self) -> usize {
        match self {
            CachedReply::Whole(reply) => reply.len(),
            CachedReply::SequenceAlone(_) => 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing to replay: new, or given back by the client.
    Idle { last: u32 },
    Executing {
        sequence: u32,
        digest: u64,
        cache_this: bool,
        answer: SequenceAnswer,
    },
    Replied {
        sequence: u32,
        digest: u64,
        reply: CachedReply,
    },
    /// The client came down below this slot. Coming back it may go on or start anew.
    Retired { last: u32 },
}

/// What to do with a request on a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    Execute,
    Replay(CachedReply),
    Refuse(SequenceRefusal),
}

impl Slot {
    pub(super) const NEW: Slot = Slot::Idle { last: 0 };

    /// Judges a request without changing the slot.
    pub(super) fn admit(&self, sequence: u32, digest: u64) -> Admission {
        let last = self.last();
        if sequence == last.wrapping_add(1) {
            return match self {
                // A next request before the answer to this one: the client gave up on it.
                Slot::Executing { .. } => Admission::Refuse(SequenceRefusal::Misordered),
                _ => Admission::Execute,
            };
        }
        if matches!(self, Slot::Retired { .. }) && sequence == 1 {
            return Admission::Execute;
        }
        if sequence != last {
            return Admission::Refuse(SequenceRefusal::Misordered);
        }
        match self {
            Slot::Idle { .. } | Slot::Retired { .. } => {
                Admission::Refuse(SequenceRefusal::Misordered)
            }
            Slot::Executing { digest: known, .. } | Slot::Replied { digest: known, .. }
                if *known != digest =>
            {
                Admission::Refuse(SequenceRefusal::FalseRetry)
            }
            Slot::Executing { .. } => Admission::Refuse(SequenceRefusal::InProgress),
            Slot::Replied { reply, .. } => Admission::Replay(reply.clone()),
        }
    }

    pub(super) fn begin(
        &mut self,
        sequence: u32,
        digest: u64,
        cache_this: bool,
        answer: SequenceAnswer,
    ) {
        *self = Slot::Executing {
            sequence,
            digest,
            cache_this,
            answer,
        };
    }

    /// Keeps the answer to the request that executes; false when it is not this one.
    pub(super) fn finish(&mut self, done: u32, reply: Bytes, most_bytes: usize) -> bool {
        let Slot::Executing {
            sequence,
            digest,
            cache_this,
            answer,
        } = *self
        else {
            return false;
        };
        if sequence != done {
            return false;
        }
        let reply = if cache_this && reply.len() <= most_bytes {
            CachedReply::Whole(reply)
        } else {
            CachedReply::SequenceAlone(answer)
        };
        *self = Slot::Replied {
            sequence,
            digest,
            reply,
        };
        true
    }

    /// The client has said that it gave the slot back.
    pub(super) fn retire(&mut self) {
        if !self.is_executing() {
            *self = Slot::Retired { last: self.last() };
        }
    }

    pub(super) fn last(&self) -> u32 {
        match self {
            Slot::Idle { last } | Slot::Retired { last } => *last,
            Slot::Executing { sequence, .. } | Slot::Replied { sequence, .. } => *sequence,
        }
    }

    pub(super) fn is_executing(&self) -> bool {
        matches!(self, Slot::Executing { .. })
    }

    pub(super) fn cached_bytes(&self) -> usize {
        match self {
            Slot::Replied { reply, .. } => reply.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: SequenceAnswer = SequenceAnswer {
        highest_slot: 7,
        target_highest_slot: 7,
        status_flags: 0,
    };

    fn run(slot: &mut Slot, sequence: u32, reply: &'static [u8]) {
        assert_eq!(slot.admit(sequence, 1), Admission::Execute);
        slot.begin(sequence, 1, true, ANSWER);
        assert!(slot.finish(sequence, Bytes::from_static(reply), 100));
    }

    #[test]
    fn a_retry_gets_the_first_answer() {
        let mut slot = Slot::NEW;
        run(&mut slot, 1, b"first");
        assert_eq!(
            slot.admit(1, 1),
            Admission::Replay(CachedReply::Whole(Bytes::from_static(b"first")))
        );
    }

    #[test]
    fn a_retry_with_other_contents_is_told_so() {
        let mut slot = Slot::NEW;
        run(&mut slot, 1, b"first");
        assert_eq!(
            slot.admit(1, 2),
            Admission::Refuse(SequenceRefusal::FalseRetry)
        );
    }

    #[test]
    fn a_retry_while_the_first_is_worked_on_waits() {
        let mut slot = Slot::NEW;
        slot.begin(1, 1, true, ANSWER);
        assert_eq!(
            slot.admit(1, 1),
            Admission::Refuse(SequenceRefusal::InProgress)
        );
        assert_eq!(
            slot.admit(2, 1),
            Admission::Refuse(SequenceRefusal::Misordered)
        );
    }

    #[test]
    fn the_first_sequence_of_a_slot_is_one_and_it_wraps_to_zero() {
        let slot = Slot::NEW;
        assert_eq!(
            slot.admit(0, 1),
            Admission::Refuse(SequenceRefusal::Misordered)
        );
        assert_eq!(
            slot.admit(2, 1),
            Admission::Refuse(SequenceRefusal::Misordered)
        );
        let slot = Slot::Idle { last: u32::MAX };
        assert_eq!(slot.admit(0, 1), Admission::Execute);
    }

    #[test]
    fn a_reply_that_was_not_to_be_cached_is_never_executed_again() {
        let mut slot = Slot::NEW;
        slot.begin(1, 1, false, ANSWER);
        assert!(slot.finish(1, Bytes::from_static(b"large"), 100));
        assert_eq!(
            slot.admit(1, 1),
            Admission::Replay(CachedReply::SequenceAlone(ANSWER))
        );
    }

    #[test]
    fn a_slot_given_back_may_go_on_or_start_anew() {
        let mut slot = Slot::NEW;
        run(&mut slot, 1, b"");
        run(&mut slot, 2, b"");
        slot.retire();
        assert_eq!(slot.admit(1, 1), Admission::Execute);
        assert_eq!(slot.admit(3, 1), Admission::Execute);
        assert_eq!(
            slot.admit(2, 1),
            Admission::Refuse(SequenceRefusal::Misordered)
        );
    }

    proptest! {
        /// Requests come in any order, twice, late: each sequence executes at most once, in
        /// order, and a retry of the last one gets its own answer.
        #[test]
        fn each_sequence_executes_at_most_once(
            requests in prop::collection::vec((0u32..12, any::<bool>()), 1..200)
        ) {
            let mut slot = Slot::NEW;
            let mut executed = Vec::new();
            for (sequence, finishes_late) in requests {
                match slot.admit(sequence, u64::from(sequence)) {
                    Admission::Execute => {
                        executed.push(sequence);
                        slot.begin(sequence, u64::from(sequence), true, ANSWER);
                    }
                    Admission::Replay(CachedReply::Whole(reply)) => {
                        prop_assert_eq!(&reply[..], &sequence.to_be_bytes()[..]);
                        prop_assert_eq!(executed.last(), Some(&sequence));
                    }
                    Admission::Replay(CachedReply::SequenceAlone(_)) => {
                        prop_assert!(false, "every reply was to be cached");
                    }
                    Admission::Refuse(_) => {}
                }
                if !finishes_late {
                    let last = slot.last();
                    slot.finish(last, Bytes::copy_from_slice(&last.to_be_bytes()), 100);
                }
            }
            let in_order: Vec<u32> = (1..).take(executed.len()).collect();
            prop_assert_eq!(executed, in_order);
        }
    }
}
