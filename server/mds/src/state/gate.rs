//! The gate of each inode: who may be between its decision and its transaction.
//! Plain data: the one who waits is a ticket, and waking it is the caller's.
//!
//! Shared for opens and grants; exclusive for truncate, fence, copy-on-write, last unlink, move.
//! First come, first in: a shared request behind a waiting exclusive one waits with it.

use std::collections::{BTreeSet, VecDeque};

use catalog::InodeId;

use super::table::{Keyed, Map};
use super::{State, Ticket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateMode {
    Shared,
    Exclusive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateAnswer {
    Entered,
    /// `gate_leave` or `gate_cancel` of another will name this ticket.
    Queued,
    /// Too many wait already: come later.
    Full,
}

/// Exists only while somebody is inside.
#[derive(Debug)]
struct Gate {
    /// Of the tickets inside: one, if exclusive.
    mode: GateMode,
    inside: BTreeSet<Ticket>,
    queue: VecDeque<(Ticket, GateMode)>,
}

impl Gate {
    fn admit_next(&mut self) -> Vec<Ticket> {
        let mut admitted = Vec::new();
        while let Some(&(ticket, mode)) = self.queue.front() {
            let fits = self.inside.is_empty()
                || (self.mode == GateMode::Shared && mode == GateMode::Shared);
            if !fits {
                break;
            }
            self.queue.pop_front();
            self.mode = mode;
            self.inside.insert(ticket);
            admitted.push(ticket);
        }
        admitted
    }
}

#[derive(Debug)]
pub(super) struct Gates {
    gates: Map<InodeId, Gate>,
    last: u64,
}

impl Gates {
    pub(super) fn new(keyed: Keyed) -> Self {
        Gates {
            gates: Map::with_hasher(keyed),
            last: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.gates.len()
    }

    /// Whether an exclusive ticket is inside or waits.
    pub(super) fn is_claimed(&self, inode: InodeId) -> bool {
        self.gates.get(&inode).is_some_and(|gate| {
            gate.mode == GateMode::Exclusive
                || gate
                    .queue
                    .iter()
                    .any(|(_, mode)| *mode == GateMode::Exclusive)
        })
    }
}

impl State {
    /// A ticket that nobody has.
    pub fn next_ticket(&mut self) -> Ticket {
        self.gates.last += 1;
        Ticket(self.gates.last)
    }

    /// Asks to enter. The one who entered must leave, the one who queued must leave or cancel.
    pub fn gate_request(&mut self, inode: InodeId, mode: GateMode, ticket: Ticket) -> GateAnswer {
        let most = self.limits.gate_queue;
        let Some(gate) = self.gates.gates.get_mut(&inode) else {
            self.gates.gates.insert(
                inode,
                Gate {
                    mode,
                    inside: BTreeSet::from([ticket]),
                    queue: VecDeque::new(),
                },
            );
            return GateAnswer::Entered;
        };
        if gate.queue.is_empty() && gate.mode == GateMode::Shared && mode == GateMode::Shared {
            gate.inside.insert(ticket);
            GateAnswer::Entered
        } else if gate.queue.len() >= most {
            GateAnswer::Full
        } else {
            gate.queue.push_back((ticket, mode));
            GateAnswer::Queued
        }
    }

    /// Leaves, from inside or from the queue. The tickets returned are inside now.
    pub fn gate_leave(&mut self, inode: InodeId, ticket: Ticket) -> Vec<Ticket> {
        let Some(gate) = self.gates.gates.get_mut(&inode) else {
            return Vec::new();
        };
        if !gate.inside.remove(&ticket) {
            gate.queue.retain(|(queued, _)| *queued != ticket);
        }
        let admitted = gate.admit_next();
        if gate.inside.is_empty() {
            self.gates.gates.remove(&inode);
        }
        admitted
    }

    /// Gives up waiting. The same as leaving, also when the ticket was let in meanwhile.
    pub fn gate_cancel(&mut self, inode: InodeId, ticket: Ticket) -> Vec<Ticket> {
        self.gate_leave(inode, ticket)
    }

    /// Whether somebody is inside exclusively, or waits to be.
    pub fn gate_is_claimed(&self, inode: InodeId) -> bool {
        self.gates.is_claimed(inode)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Boot, Limits, Time};
    use super::*;
    use GateAnswer::{Entered, Full, Queued};
    use GateMode::{Exclusive, Shared};

    const FILE: InodeId = InodeId { home: 1, number: 2 };

    fn state() -> State {
        State::new(
            Limits {
                gate_queue: 3,
                ..Limits::default()
            },
            Boot {
                epoch: 1,
                seed: 1,
                now: Time::ZERO,
                on_record: Vec::new(),
            },
        )
    }

    #[test]
    fn an_exclusive_ticket_waits_for_the_shared_ones_and_later_ones_wait_for_it() {
        let mut state = state();
        assert_eq!(state.gate_request(FILE, Shared, Ticket(1)), Entered);
        assert_eq!(state.gate_request(FILE, Shared, Ticket(2)), Entered);
        assert_eq!(state.gate_request(FILE, Exclusive, Ticket(3)), Queued);
        assert_eq!(state.gate_request(FILE, Shared, Ticket(4)), Queued);
        assert_eq!(state.gate_request(FILE, Shared, Ticket(5)), Queued);
        assert_eq!(state.gate_request(FILE, Shared, Ticket(6)), Full);
        assert!(state.gate_leave(FILE, Ticket(1)).is_empty());
        assert_eq!(state.gate_leave(FILE, Ticket(2)), [Ticket(3)]);
        assert_eq!(state.gate_leave(FILE, Ticket(3)), [Ticket(4), Ticket(5)]);
        state.gate_leave(FILE, Ticket(4));
        state.gate_leave(FILE, Ticket(5));
        assert_eq!(state.metrics().gates, 0, "an idle gate takes no memory");
    }

    #[test]
    fn giving_up_lets_those_behind_in() {
        let mut state = state();
        state.gate_request(FILE, Shared, Ticket(1));
        state.gate_request(FILE, Exclusive, Ticket(2));
        state.gate_request(FILE, Shared, Ticket(3));
        assert_eq!(state.gate_cancel(FILE, Ticket(2)), [Ticket(3)]);
    }
}
