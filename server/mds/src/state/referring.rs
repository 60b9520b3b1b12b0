//! Referring calls, RFC 8881 §2.10.6.3: requests that gave or changed what a callback is about, and whose replies the
//! client may not have yet. Told of them, it waits for those replies before it looks at the callback.

use super::sequence::SlotRef;
use super::{ClientId, SessionId, State, Stateid};

/// Named in one callback at most, the latest first: Linux takes a page for the whole of it.
const NAMED_MAX: usize = 8;

/// What a callback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Whatever seqid it has by now.
    Stateid(Stateid),
    /// Every layout of the client.
    Layouts,
    /// Nothing that a request gave.
    Nothing,
}

impl About {
    fn covers(self, given: [u8; 12]) -> bool {
        match self {
            About::Stateid(stateid) => stateid.other == given,
            About::Layouts => Stateid::is_of_layout(given),
            About::Nothing => false,
        }
    }
}

/// What the last request of a slot gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    other: [u8; 12],
    /// Of all that was given, to tell the latest.
    turn: u64,
}

impl State {
    /// The request on `slot` gives `stateid`, or another seqid of it: to be said under the lock that gives it, so that
    /// no callback comes in between.
    pub fn gave(&mut self, slot: SlotRef, stateid: Stateid) {
        self.sessions.given += 1;
        let turn = self.sessions.given;
        let Some(session) = self.sessions.table.get_mut(&slot.session) else {
            return;
        };
        let Some(state) = session.slots.get_mut(slot.slot as usize) else {
            return;
        };
        if state.slot.last() == slot.sequence {
            state.gave.push(Given {
                other: stateid.other,
                turn,
            });
        }
    }

    /// A reply is known to have arrived once the next request came on its slot, or the slot was given back.
    pub(super) fn referring(&self, client: ClientId, about: About) -> Vec<SlotRef> {
        if about == About::Nothing {
            return Vec::new();
        }
        let Some(client) = self.clients.live(client) else {
            return Vec::new();
        };
        let mut calls: Vec<(u64, SlotRef)> = Vec::new();
        for id in &client.sessions {
            calls.extend(self.referring_in(*id, about));
        }
        calls.sort_unstable_by_key(|(turn, _)| std::cmp::Reverse(*turn));
        calls.truncate(NAMED_MAX);
        calls.into_iter().map(|(_, call)| call).collect()
    }

    fn referring_in(
        &self,
        id: SessionId,
        about: About,
    ) -> impl Iterator<Item = (u64, SlotRef)> + '_ {
        let slots = self
            .sessions
            .table
            .get(&id)
            .into_iter()
            .flat_map(|session| &session.slots);
        slots.zip(0..).filter_map(move |(state, slot)| {
            let given = state.gave.iter().rev();
            let latest = given.clone().find(|given| about.covers(given.other))?;
            let call = SlotRef {
                session: id,
                slot,
                sequence: state.slot.last(),
            };
            Some((latest.turn, call))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::super::{
        Access, ConnectionId, Deny, LayoutMode, Limits, SequenceRequest, Sequenced, Time,
    };
    use super::*;
    use bytes::Bytes;

    fn begin(state: &mut State, session: SessionId, slot: u32, sequence: u32) -> SlotRef {
        let request = SequenceRequest {
            connection: ConnectionId(1),
            session,
            slot,
            sequence,
            highest_slot: slot,
            cache_this: false,
            digest: 1,
            request_bytes: 100,
            operations: 4,
            reply_bytes: 84,
        };
        let Ok(Sequenced::Execute(admitted)) = state.sequence(Time::ZERO, request) else {
            panic!("slot {slot} does not execute {sequence}");
        };
        admitted.slot
    }

    #[test]
    fn a_call_is_named_until_the_next_comes_on_its_slot() {
        let mut state = open_for_business(Limits::default());
        let (client, session) = join(&mut state, "a");
        let call = begin(&mut state, session, 3, 1);
        let copy = state.offload_begin(client).expect("room for a copy");
        state.gave(call, copy);
        let about = About::Stateid(Stateid { seqid: 9, ..copy });
        assert_eq!(state.referring(client, about), [call]);
        state.complete(Time::ZERO, call, Bytes::new());
        assert_eq!(state.referring(client, about), [call]);
        begin(&mut state, session, 2, 1);
        assert_eq!(state.referring(client, about), [call]);
        begin(&mut state, session, 3, 2);
        assert_eq!(state.referring(client, about), []);
    }

    #[test]
    fn a_callback_about_all_layouts_names_calls_that_gave_layouts_alone() {
        let mut state = open_for_business(Limits::default());
        let (client, session) = join(&mut state, "a");
        state.reclaim_complete(client).expect("its first");
        let copies = begin(&mut state, session, 0, 1);
        let copy = state.offload_begin(client).expect("room for a copy");
        state.gave(copies, copy);
        let gets = begin(&mut state, session, 1, 1);
        let opened = open(&mut state, client, Access::Both, Deny::None).expect("nobody else's");
        let reserved = layout(&mut state, client, opened, LayoutMode::Read).expect("nobody else's");
        let given = state
            .layout_confirm(reserved)
            .expect("nothing came between");
        state.gave(gets, given);
        assert_eq!(state.referring(client, About::Layouts), [gets]);
        assert_eq!(state.referring(client, About::Stateid(copy)), [copies]);
        assert_eq!(state.referring(client, About::Nothing), []);
    }

    #[test]
    fn of_many_calls_the_latest_are_named() {
        let mut state = open_for_business(Limits::default());
        let (client, session) = join(&mut state, "a");
        let copy = state.offload_begin(client).expect("room for a copy");
        let calls: Vec<SlotRef> = (0..12)
            .map(|slot| {
                let call = begin(&mut state, session, slot, 1);
                state.gave(call, copy);
                call
            })
            .collect();
        let mut latest = calls[12 - NAMED_MAX..].to_vec();
        latest.reverse();
        assert_eq!(state.referring(client, About::Stateid(copy)), latest);
    }
}
