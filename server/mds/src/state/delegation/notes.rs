//! Notifications of a folder's entries, RFC 8881 §10.9 and §20.4: what each holder has yet to be told,
//! in the order in which it happened. Sending is elsewhere.
//!
//! Changes are noted after their commits, by requests that run side by side. The folder's change attribute
//! tells their order; a note is ripe once every change that was under way when it was made is over, for only
//! those may still bring an earlier one.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::InodeId;

use super::super::{ClientId, State, Time};
use super::{Delegation, DelegationId, DelegationRecall, Delegations, Phase};

/// Changes of entries that a client is told of: a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Notices(u8);

impl Notices {
    pub const NONE: Notices = Notices(0);
    pub const ADDED: Notices = Notices(1);
    pub const REMOVED: Notices = Notices(2);
    pub const RENAMED: Notices = Notices(4);

    #[must_use]
    pub const fn and(self, other: Notices) -> Notices {
        Notices(self.0 | other.0)
    }

    const fn cover(self, needed: Notices) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// An entry that is no more, and where READDIR showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldEntry {
    pub name: Bytes,
    pub cookie: u64,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryChange {
    Added {
        name: Bytes,
        /// What the name was before.
        replaced: Option<OldEntry>,
    },
    Removed(OldEntry),
    Renamed {
        from: OldEntry,
        to: Bytes,
        replaced: Option<OldEntry>,
    },
}

impl EntryChange {
    /// A name that nobody had.
    pub fn added(name: Bytes) -> Self {
        EntryChange::Added {
            name,
            replaced: None,
        }
    }

    /// What a holder must have asked for to be told of it.
    pub fn notices(&self) -> Notices {
        match self {
            EntryChange::Added { .. } => Notices::ADDED,
            EntryChange::Removed(_) => Notices::REMOVED,
            EntryChange::Renamed { .. } => Notices::RENAMED,
        }
    }
}

#[derive(Debug)]
struct Note {
    change: EntryChange,
    /// Ripe when no change with an earlier ticket is under way.
    waits_for: u64,
}

/// What one holder has yet to be told.
#[derive(Debug)]
pub(super) struct Notes {
    notices: Notices,
    /// By the folder's change attribute after it.
    queue: BTreeMap<u64, Note>,
    /// Somebody is telling.
    telling: bool,
}

impl Notes {
    pub fn of(notices: Notices) -> Option<Box<Notes>> {
        (notices != Notices::NONE).then(|| {
            Box::new(Notes {
                notices,
                queue: BTreeMap::new(),
                telling: false,
            })
        })
    }

    pub fn cover(&self, needed: Notices) -> bool {
        self.notices.cover(needed)
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    fn is_ripe(&self, first_under_way: u64) -> bool {
        let first = self.queue.first_key_value();
        first.is_some_and(|(_, note)| note.waits_for <= first_under_way)
    }
}

impl Delegations {
    /// The earliest ticket of a change that is under way.
    fn first_under_way(&self, inode: InodeId) -> u64 {
        let under_way = self.barred.get(&inode);
        let first = under_way.and_then(|tickets| tickets.first().copied());
        first.unwrap_or(self.next_ticket)
    }
}

impl State {
    /// Notes a change for every holder of the folder but its maker, who calls this while it is under way
    /// still. `after` is the folder's change attribute then. Holders of whom too much is noted are asked
    /// for their delegations instead.
    pub fn entries_changed(
        &mut self,
        now: Time,
        folder: InodeId,
        by: Option<ClientId>,
        after: u64,
        change: &EntryChange,
    ) -> Vec<DelegationRecall> {
        let waits_for = self.delegations.next_ticket;
        let mut overflown = Vec::new();
        for delegation in self.delegates(folder) {
            if Some(delegation.client) == by || delegation.leaving {
                continue;
            }
            let room = self.delegations.notes < self.limits.notes;
            let Some(notes) = self
                .delegations
                .table
                .at_mut(delegation.id.index)
                .and_then(|holding| holding.notes.as_mut())
                .filter(|notes| notes.cover(change.notices()))
            else {
                continue;
            };
            if !room || notes.len() >= self.limits.notes_per_delegation {
                overflown.push(delegation);
                continue;
            }
            let note = Note {
                change: change.clone(),
                waits_for,
            };
            notes.queue.insert(after, note);
            self.delegations.notes += 1;
        }
        overflown
            .into_iter()
            .filter_map(|delegation| self.delegation_ask_back(now, delegation))
            .collect()
    }

    /// Holders of the folder with something to be told, and nobody who is at it: the caller is, from now on.
    pub fn notes_due(&mut self, folder: InodeId) -> Vec<DelegationId> {
        if self.delegations.notes == 0 {
            return Vec::new();
        }
        let first_under_way = self.delegations.first_under_way(folder);
        let mut due = Vec::new();
        for delegation in self.delegates(folder) {
            let holding = self.delegations.table.at_mut(delegation.id.index);
            if let Some(notes) = holding.and_then(|holding| holding.notes.as_mut())
                && !notes.telling
                && notes.is_ripe(first_under_way)
            {
                notes.telling = true;
                due.push(delegation.id);
            }
        }
        due
    }

    /// What the holder is to be told next, at most `most` changes in order. `None`: nothing, and the caller is
    /// done with it.
    pub fn notes_take(
        &mut self,
        id: DelegationId,
        most: usize,
    ) -> Option<(Delegation, Vec<EntryChange>)> {
        let index = self.delegations.by_id(id)?;
        let delegation = self.delegations.view(index)?;
        let first_under_way = self.delegations.first_under_way(delegation.inode);
        let holding = self.delegations.table.at_mut(index)?;
        let is_held = holding.phase == Phase::Held;
        let notes = holding.notes.as_mut()?;
        let mut taken = Vec::new();
        while is_held && taken.len() < most && notes.is_ripe(first_under_way) {
            let first = notes.queue.pop_first();
            taken.extend(first.map(|(_, note)| note.change));
        }
        if taken.is_empty() {
            notes.telling = false;
            return None;
        }
        self.delegations.notes -= taken.len();
        Some((delegation, taken))
    }

    /// The holder couldn't be told, and must give the delegation back.
    pub fn notes_lost(&mut self, now: Time, id: DelegationId) -> Option<DelegationRecall> {
        let index = self.delegations.by_id(id)?;
        let delegation = self.delegations.view(index)?;
        if delegation.leaving {
            return None;
        }
        self.delegation_ask_back(now, delegation)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{FILE, open_for_business, ready};
    use super::super::{DelegationKind, DelegationRequest, Touch};
    use super::*;
    use crate::state::Limits;

    const ALL: Notices = Notices::ADDED.and(Notices::REMOVED).and(Notices::RENAMED);

    fn asked(client: ClientId, notices: Notices) -> DelegationRequest {
        DelegationRequest {
            client,
            inode: FILE,
            kind: DelegationKind::Read,
            times: false,
            change: 1,
            modified: catalog::Timestamp::default(),
            tag: 0,
            reclaim: false,
            notices,
            unasked: false,
        }
    }

    fn added(name: &'static str) -> EntryChange {
        EntryChange::added(Bytes::from_static(name.as_bytes()))
    }

    fn removed(name: &'static str) -> EntryChange {
        EntryChange::Removed(OldEntry {
            name: Bytes::from_static(name.as_bytes()),
            cookie: 7,
        })
    }

    #[test]
    fn who_is_told_of_a_change_is_not_asked_for_his_delegation() {
        let mut state = open_for_business(Limits::default());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let adds = asked(a, Notices::ADDED);
        state.delegate(Time::ZERO, adds).expect("nobody is there");
        let stands = |state: &State, touch| state.delegation_stands_against(FILE, touch, Some(b));
        assert!(!stands(&state, Touch::Entries(Notices::ADDED)));
        assert!(stands(&state, Touch::Entries(Notices::REMOVED)));
        assert!(stands(&state, Touch::Change));
        let touch = Touch::Entries(Notices::ADDED);
        assert_eq!(state.delegations_recall(Time::ZERO, FILE, touch, None), []);
        let touch = Touch::Entries(Notices::REMOVED);
        let recalled = state.delegations_recall(Time::ZERO, FILE, touch, Some(b));
        assert_eq!(recalled.len(), 1);
        assert!(stands(&state, Touch::Entries(Notices::ADDED)), "it leaves");
    }

    #[test]
    fn changes_are_told_in_the_order_of_their_commits_whoever_notes_them_first() {
        let mut state = open_for_business(Limits::default());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let held = state
            .delegate(Time::ZERO, asked(a, ALL))
            .expect("nobody is there");
        let note = |state: &mut State, after, change: &EntryChange| {
            let over = state.entries_changed(Time::ZERO, FILE, Some(b), after, change);
            assert_eq!(over, []);
        };
        let making = state.delegations_bar(FILE);
        let taking_away = state.delegations_bar(FILE);
        // The second change is noted first.
        note(&mut state, 3, &removed("f"));
        state.delegations_unbar(FILE, taking_away);
        assert_eq!(state.notes_due(FILE), [], "an earlier one may come");
        let later = state.delegations_bar(FILE);
        note(&mut state, 2, &added("f"));
        state.delegations_unbar(FILE, making);
        assert_eq!(state.notes_due(FILE), [], "this one may be earlier still");
        state.delegations_unbar(FILE, later);
        assert_eq!(state.notes_due(FILE), [held.id]);
        assert_eq!(state.notes_due(FILE), [], "somebody is at it");
        let told = state.notes_take(held.id, 10).expect("two changes").1;
        assert_eq!(told, [added("f"), removed("f")]);
        assert!(state.notes_take(held.id, 10).is_none());
        // What begins after a change was noted doesn't hold it up.
        let first = state.delegations_bar(FILE);
        note(&mut state, 4, &added("g"));
        let _second = state.delegations_bar(FILE);
        state.delegations_unbar(FILE, first);
        assert_eq!(state.notes_due(FILE), [held.id]);
    }

    #[test]
    fn who_changes_it_is_not_told_and_who_is_too_slow_loses_his_delegation() {
        let mut state = open_for_business(Limits {
            notes_per_delegation: 2,
            ..Limits::default()
        });
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        for client in [a, b] {
            let given = state.delegate(Time::ZERO, asked(client, ALL));
            given.expect("readers share");
        }
        let mut over = Vec::new();
        for after in 2..5 {
            over.extend(state.entries_changed(Time::ZERO, FILE, Some(b), after, &added("f")));
        }
        let clients: Vec<_> = over.iter().map(|order| order.delegation.client).collect();
        assert_eq!(clients, [a]);
        assert_eq!(state.delegations.notes, 2);
        state.delegations_forget(FILE);
        assert_eq!(state.delegations.notes, 0, "notes go with their delegation");
    }
}
