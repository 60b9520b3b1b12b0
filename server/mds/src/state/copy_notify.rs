//! Copy-notify stateids, RFC 7862 §15.3: a client lets another server read a file for it, in the right of
//! an open, a lock or a delegation of its own. Which servers may is not known here.
//!
//! One lives as long as the stateid that it came of, and ends a lease after it was given or last read by. What
//! it came of is looked up at each use, so that nothing has to be told when that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use catalog::InodeId;

use super::share::Access;
use super::stateid::{Parts, StateKind, check_seqid};
use super::table::{Keyed, Table};
use super::{ClientId, State, Stateid, StateidRefusal, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyNotifyRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the file is not open for reading")]
    OpenMode,
    #[error("there are as many as the limits allow")]
    TooMany,
}

/// Why another server doesn't read by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartnerRefusal {
    /// What it came of, or its client, is gone; or it is of another file.
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("it has ended, was called off, or never was")]
    NotAuthorized,
}

#[derive(Debug)]
struct CopyNotify {
    client: ClientId,
    inode: InodeId,
    /// Whatever the seqid of it is by now.
    of: Stateid,
    /// In the place of a generation: nobody guesses a stateid that its bearer alone is to have.
    secret: u32,
    ends: Time,
    /// Under which time it stands in `due`: reading moves its end alone.
    looked_at: Time,
}

#[derive(Debug)]
pub(super) struct CopyNotifies {
    epoch: u32,
    keyed: Keyed,
    given: u64,
    table: Table<CopyNotify>,
    clients: BTreeMap<ClientId, BTreeSet<u32>>,
    /// By when each is to be looked at.
    due: BTreeSet<(Time, u32)>,
}

/// What such a stateid names never changes its rights.
const SEQID: u32 = 1;

impl CopyNotifies {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        CopyNotifies {
            epoch,
            keyed,
            given: 0,
            table: Table::new(),
            clients: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn held_by(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, BTreeSet::len)
    }

    fn find(&self, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        self.table
            .at(parts.index)
            .filter(|notify| {
                parts.kind == StateKind::CopyNotify && notify.secret == parts.generation
            })
            .ok_or(StateidRefusal::Bad)?;
        check_seqid(stateid.seqid, SEQID)?;
        Ok(parts.index)
    }

    fn add(&mut self, client: ClientId, inode: InodeId, of: Stateid, ends: Time) -> Stateid {
        self.given += 1;
        let secret = self.keyed.hash_one(("copy notify", self.given)) as u32;
        let index = self.table.insert(CopyNotify {
            client,
            inode,
            of,
            secret,
            ends,
            looked_at: ends,
        });
        self.clients.entry(client).or_default().insert(index);
        self.due.insert((ends, index));
        let parts = Parts {
            kind: StateKind::CopyNotify,
            index,
            generation: secret,
        };
        Stateid::compose(self.epoch, parts, SEQID)
    }

    fn remove(&mut self, index: u32) {
        let Some(notify) = self.table.remove(index) else {
            return;
        };
        self.due.remove(&(notify.looked_at, index));
        if let Some(held) = self.clients.get_mut(&notify.client) {
            held.remove(&index);
            if held.is_empty() {
                self.clients.remove(&notify.client);
            }
        }
    }

    pub(super) fn drop_client(&mut self, client: ClientId) {
        for index in self.clients.get(&client).cloned().unwrap_or_default() {
            self.remove(index);
        }
    }

    /// Drops what has ended.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some(first @ (due, index)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&first);
            match self.table.at_mut(index) {
                Some(notify) if notify.ends > now => {
                    notify.looked_at = notify.ends;
                    self.due.insert((notify.ends, index));
                }
                _ => self.remove(index),
            }
        }
    }
}

impl State {
    /// COPY_NOTIFY, §15.3: of a stateid that lets `client` read `inode`.
    pub fn copy_notify(
        &mut self,
        now: Time,
        client: ClientId,
        of: Stateid,
        inode: InodeId,
    ) -> Result<Stateid, CopyNotifyRefusal> {
        if of.special().is_some() {
            // §15.3.3: of an open or a lock, never of nothing.
            return Err(StateidRefusal::Bad.into());
        }
        if !self.lets_read(client, of, inode)? {
            return Err(CopyNotifyRefusal::OpenMode);
        }
        self.copy_notifies.expire(now);
        if self.copy_notifies.len() >= self.limits.copy_notifies
            || self.copy_notifies.held_by(client) >= self.limits.copy_notifies_per_client
        {
            return Err(CopyNotifyRefusal::TooMany);
        }
        let of = Stateid { seqid: 0, ..of };
        let ends = now.plus(self.limits.lease);
        Ok(self.copy_notifies.add(client, inode, of, ends))
    }

    /// Whether a client's stateid lets it read the file by itself.
    fn lets_read(
        &self,
        client: ClientId,
        of: Stateid,
        inode: InodeId,
    ) -> Result<bool, StateidRefusal> {
        if of.parts(self.opens.epoch())?.kind == StateKind::Delegation {
            return self.delegation_for(client, of, inode, Access::Read);
        }
        let open = self.open_behind(client, of)?;
        if open.inode == inode {
            Ok(open.access.reads())
        } else {
            Err(StateidRefusal::Bad)
        }
    }

    /// A READ by whoever bears such a stateid; `None` when it is of another kind. From the first on it may
    /// go on as long as no lease passes between two.
    pub fn copy_notify_read(
        &mut self,
        now: Time,
        stateid: Stateid,
        inode: InodeId,
    ) -> Option<Result<(), PartnerRefusal>> {
        let parts = stateid.parts(self.opens.epoch()).ok()?;
        (parts.kind == StateKind::CopyNotify).then(|| self.partner_reads(now, stateid, inode))
    }

    fn partner_reads(
        &mut self,
        now: Time,
        stateid: Stateid,
        inode: InodeId,
    ) -> Result<(), PartnerRefusal> {
        let found = self.copy_notifies.find(stateid);
        let index = found.map_err(|_| PartnerRefusal::NotAuthorized)?;
        let notify = self.copy_notifies.table.at(index);
        let notify = notify.ok_or(PartnerRefusal::NotAuthorized)?;
        if notify.ends <= now {
            return Err(PartnerRefusal::NotAuthorized);
        }
        if notify.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        if !self.lets_read(notify.client, notify.of, inode)? {
            return Err(StateidRefusal::Bad.into());
        }
        let ends = now.plus(self.limits.lease);
        if let Some(notify) = self.copy_notifies.table.at_mut(index) {
            notify.ends = ends;
        }
        Ok(())
    }

    /// One of the client's own.
    pub(super) fn copy_notify_of(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<u32, StateidRefusal> {
        self.honour(client)?;
        let index = self.copy_notifies.find(stateid)?;
        let notify = self.copy_notifies.table.at(index);
        notify
            .filter(|notify| notify.client == client)
            .map(|_| index)
            .ok_or(StateidRefusal::Bad)
    }

    /// OFFLOAD_CANCEL at the source, §15.8: who gave it takes it back.
    pub fn copy_notify_cancel(
        &mut self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<(), StateidRefusal> {
        let index = self.copy_notify_of(client, stateid)?;
        self.copy_notifies.remove(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture::*;
    use super::super::*;

    const OTHER: InodeId = InodeId {
        home: 1,
        number: 11,
    };
    const LEASE: Duration = Duration::from_secs(90);
    const REFUSED: Option<Result<(), PartnerRefusal>> = Some(Err(PartnerRefusal::NotAuthorized));

    const BAD: Option<Result<(), PartnerRefusal>> =
        Some(Err(PartnerRefusal::Stateid(StateidRefusal::Bad)));

    #[test]
    fn another_server_reads_that_file_alone_while_it_is_open() {
        let mut state = open_for_business(Limits::default());
        let a = ready(&mut state, "a");
        let file = open(&mut state, a, Access::Read, Deny::None).unwrap();
        let notify = state.copy_notify(Time::ZERO, a, file, FILE).unwrap();
        assert_eq!(
            state.copy_notify_read(Time::ZERO, notify, FILE),
            Some(Ok(()))
        );
        assert_eq!(state.copy_notify_read(Time::ZERO, notify, OTHER), BAD);
        assert_eq!(state.copy_notify_read(Time::ZERO, file, FILE), None);
        state.close(a, file, FILE).unwrap();
        assert_eq!(state.copy_notify_read(Time::ZERO, notify, FILE), BAD);
    }

    #[test]
    fn a_stateid_that_does_not_let_its_client_read_lets_no_other() {
        let mut state = open_for_business(Limits::default());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let file = open(&mut state, a, Access::Write, Deny::None).unwrap();
        let asked = |state: &mut State, client, stateid, inode| {
            state
                .copy_notify(Time::ZERO, client, stateid, inode)
                .unwrap_err()
        };
        assert_eq!(
            asked(&mut state, a, file, FILE),
            CopyNotifyRefusal::OpenMode
        );
        let bad = CopyNotifyRefusal::Stateid(StateidRefusal::Bad);
        assert_eq!(asked(&mut state, a, file, OTHER), bad);
        assert_eq!(asked(&mut state, b, file, FILE), bad);
        assert_eq!(asked(&mut state, a, Stateid::ANONYMOUS, FILE), bad);
        let read = open(&mut state, b, Access::Read, Deny::None).unwrap();
        let notify = state.copy_notify(Time::ZERO, b, read, FILE).unwrap();
        assert_eq!(asked(&mut state, b, notify, FILE), bad);
    }

    #[test]
    fn it_ends_a_lease_after_it_was_last_read_by() {
        let mut state = open_for_business(Limits::default());
        let a = ready(&mut state, "a");
        let file = open(&mut state, a, Access::Both, Deny::None).unwrap();
        let notify = state.copy_notify(Time::ZERO, a, file, FILE).unwrap();
        let mut now = Time::ZERO;
        for _ in 0..5 {
            now = now.plus(LEASE * 2 / 3);
            assert_eq!(state.copy_notify_read(now, notify, FILE), Some(Ok(())));
            state.copy_notifies.expire(now);
        }
        now = now.plus(LEASE);
        assert_eq!(state.copy_notify_read(now, notify, FILE), REFUSED);
        state.copy_notifies.expire(now);
        assert_eq!(state.copy_notifies.len(), 0);
        assert_eq!(state.copy_notify_read(now, notify, FILE), REFUSED);
    }

    #[test]
    fn who_gave_it_takes_it_back_and_nobody_else() {
        let mut state = open_for_business(Limits::default());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let file = open(&mut state, a, Access::Read, Deny::None).unwrap();
        let notify = state.copy_notify(Time::ZERO, a, file, FILE).unwrap();
        assert_eq!(
            state.copy_notify_cancel(b, notify),
            Err(StateidRefusal::Bad)
        );
        assert_eq!(state.test_stateid(a, notify), Ok(()));
        assert_eq!(state.copy_notify_cancel(a, notify), Ok(()));
        assert_eq!(state.copy_notify_read(Time::ZERO, notify, FILE), REFUSED);
        assert_eq!(
            state.copy_notify_cancel(a, notify),
            Err(StateidRefusal::Bad)
        );
    }

    #[test]
    fn the_number_of_them_is_bounded_and_they_go_with_their_client() {
        let mut state = open_for_business(Limits {
            copy_notifies_per_client: 2,
            copy_notifies: 3,
            ..Limits::default()
        });
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let of_a = open(&mut state, a, Access::Read, Deny::None).unwrap();
        let of_b = open(&mut state, b, Access::Read, Deny::None).unwrap();
        let give = |state: &mut State, now, client, of| state.copy_notify(now, client, of, FILE);
        for _ in 0..2 {
            give(&mut state, Time::ZERO, a, of_a).unwrap();
        }
        let full = Err(CopyNotifyRefusal::TooMany);
        assert_eq!(give(&mut state, Time::ZERO, a, of_a), full);
        let last = give(&mut state, Time::ZERO, b, of_b).unwrap();
        assert_eq!(give(&mut state, Time::ZERO, b, of_b), full);
        state.forget_client(b);
        assert_eq!(
            state.copy_notify_read(Time::ZERO, last, FILE),
            REFUSED,
            "its client is gone"
        );
        // Those that ended make room.
        let later = Time::ZERO.plus(LEASE);
        assert!(give(&mut state, later, a, of_a).is_ok());
        assert_eq!(state.copy_notifies.len(), 1);
    }

    #[test]
    fn stateids_are_not_guessed_from_one_another() {
        let mut state = open_for_business(Limits::default());
        let a = ready(&mut state, "a");
        let file = open(&mut state, a, Access::Read, Deny::None).unwrap();
        let mut one = state.copy_notify(Time::ZERO, a, file, FILE).unwrap();
        let two = state.copy_notify(Time::ZERO, a, file, FILE).unwrap();
        let secret = |stateid: Stateid| stateid.other[8..].to_vec();
        assert_ne!(secret(one), secret(two));
        one.other[11] ^= 1;
        assert_eq!(state.copy_notify_read(Time::ZERO, one, FILE), REFUSED);
    }
}
