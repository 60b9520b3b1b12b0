//! Giving a delegation: who may have one, and when it would do no good (RFC 8881 §10.4).
//!
//! It is decided under the state's lock, at once with the open that asks for it: no open that
//! would conflict, and nobody who is about to change the file, falls in between (invariant 3).

use catalog::{InodeId, Timestamp};

use super::super::lease::GraceRefusal;
use super::super::share::{Access, Deny};
use super::super::{ClientId, Limits, OpenRefusal, State, Stateid, StateidRefusal, Time};
use super::{Delegation, DelegationKind, Holding, Notes, Notices, Phase, Touch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelegationRequest {
    pub client: ClientId,
    pub inode: InodeId,
    pub kind: DelegationKind,
    /// With delegated times (RFC 9754).
    pub times: bool,
    /// The file's change attribute.
    pub change: u64,
    /// And its time of modification.
    pub modified: Timestamp,
    /// Kept for the callback.
    pub tag: u32,
    /// It had one before the server restarted.
    pub reclaim: bool,
    /// Of a folder: which changes of its entries the client is told of, so that they recall nothing.
    pub notices: Notices,
    /// The client didn't ask for one, it comes with an open: not before the file is opened again.
    pub unasked: bool,
}

/// Why none is given. The open that asked is none the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDelegation {
    #[error("somebody else uses the file, or did lately")]
    Contended,
    #[error("somebody else may still write by a layout that it keeps")]
    LayoutOut,
    #[error("there are as many delegations as the limits allow")]
    TooMany,
    /// Most files are read once: each delegation would cost a return, or whoever removes them a recall.
    #[error("the client hasn't opened the file before")]
    FirstOpen,
    #[error("there is no way to call the client back")]
    NoCallbackPath,
    /// To give it again could cross its return on the wire: the client would count on nothing.
    #[error("the client has it already")]
    Held,
    #[error("the client reads by a delegation already")]
    Upgrade,
    #[error("the client writes by a delegation already")]
    Downgrade,
    #[error(transparent)]
    Grace(#[from] GraceRefusal),
}

impl Limits {
    /// From how many on a holder is asked to return some of its own choice.
    fn plenty(most: usize) -> usize {
        most - most / 16
    }
}

impl State {
    /// Gives a delegation if it can't do harm and is likely to last.
    pub fn delegate(
        &mut self,
        now: Time,
        request: DelegationRequest,
    ) -> Result<Delegation, NoDelegation> {
        let DelegationRequest {
            client,
            inode,
            kind,
            ..
        } = request;
        self.admit(client, request.reclaim)?;
        if let Some(known) = self
            .delegations
            .index_of(client, inode)
            .and_then(|index| self.delegations.view(index))
        {
            return Err(match (known.kind, kind) {
                _ if known.leaving => NoDelegation::Contended,
                (DelegationKind::Read, DelegationKind::Write) => NoDelegation::Upgrade,
                (DelegationKind::Write, DelegationKind::Read) => NoDelegation::Downgrade,
                _ => NoDelegation::Held,
            });
        }
        let touch = match kind {
            DelegationKind::Read => Touch::Read,
            DelegationKind::Write => Touch::Change,
        };
        if self.delegations.stands_against(inode, touch, Some(client))
            || self.opens.stand_against(inode, kind, client)
            || self.delegations.barred.contains_key(&inode)
            || self.gates.is_claimed(inode)
            || (!request.reclaim && self.delegations.rests(inode, now))
        {
            return Err(NoDelegation::Contended);
        }
        if self.has_rw_holder(inode, Some(client)) {
            return Err(NoDelegation::LayoutOut);
        }
        if !self.answers_callbacks(client) {
            return Err(NoDelegation::NoCallbackPath);
        }
        let of_client = self
            .delegations
            .clients
            .get(&client)
            .map_or(0, std::collections::BTreeSet::len);
        if of_client >= self.limits.delegations_per_client
            || self.delegations.table.len() >= self.limits.delegations
            || self.delegations.table.is_full()
        {
            return Err(NoDelegation::TooMany);
        }
        let most = self.limits.delegation_trials;
        if request.unasked
            && kind == DelegationKind::Read
            && !self.delegations.comes_back(client, inode, most)
        {
            return Err(NoDelegation::FirstOpen);
        }
        let index = self.delegations.add(Holding {
            client,
            inode,
            kind,
            times: request.times,
            change: request.change,
            modified: request.modified,
            tag: request.tag,
            phase: Phase::Held,
            notes: Notes::of(request.notices),
        });
        self.delegations.view(index).ok_or(NoDelegation::TooMany)
    }

    /// Clients to be asked for some of their delegations, of their own choice, after one was given
    /// to `client`: when its limit or the whole table's is near. How many each may keep.
    pub fn delegations_to_spare(&self, client: ClientId) -> Vec<(ClientId, usize)> {
        let held = |client| self.delegations.held_by(client);
        // Once each time the mark is passed, not at each grant beyond it.
        if self.delegations.table.len() == Limits::plenty(self.limits.delegations) {
            let holders = self.delegations.clients.keys();
            return holders.map(|client| (*client, held(*client) / 2)).collect();
        }
        if held(client) == Limits::plenty(self.limits.delegations_per_client) {
            return vec![(client, self.limits.delegations_per_client / 2)];
        }
        Vec::new()
    }

    /// Whether nothing but layouts to write, which others keep without an open, is in the way of a
    /// delegation to read.
    pub fn is_kept_by_layouts_alone(&self, now: Time, inode: InodeId, client: ClientId) -> bool {
        self.has_rw_holder(inode, Some(client))
            && !self.opens.others_write_or_deny_read(client, inode)
            && !self.delegations.rests(inode, now)
    }

    /// Refuses an open that a delegation of somebody else stands against.
    pub(in crate::state) fn open_undelegated(
        &self,
        client: ClientId,
        inode: InodeId,
        access: Access,
        deny: Deny,
    ) -> Result<(), OpenRefusal> {
        // Who reads by a delegation opens to read without asking: a denial of that is a change.
        let denies_read = deny as u8 & Deny::Read as u8 != 0;
        let touch = if access.writes() || denies_read {
            Touch::Change
        } else {
            Touch::Read
        };
        if self.delegations.stands_against(inode, touch, Some(client)) {
            Err(OpenRefusal::Delegated(touch))
        } else {
            Ok(())
        }
    }

    /// CLAIM_DELEGATE_CUR: an open that the client has made by itself. It is admitted also while the
    /// delegation is recalled, and in grace: the delegation has kept others out all the while.
    pub(in crate::state) fn open_under(
        &self,
        client: ClientId,
        inode: InodeId,
        access: Access,
        stateid: Stateid,
    ) -> Result<(), StateidRefusal> {
        if self.delegation_for(client, stateid, inode, access)? {
            Ok(())
        } else {
            Err(StateidRefusal::Bad)
        }
    }

    /// Whether there is a way to call the client, and it answered when it was called last.
    fn answers_callbacks(&self, client: ClientId) -> bool {
        self.clients.live(client).is_some_and(|client| {
            client.sessions.iter().any(|id| {
                self.sessions.table.get(id).is_some_and(|session| {
                    session.has_back_connection() && !session.back_slots.is_faulty()
                })
            })
        })
    }
}

impl super::Delegations {
    /// Whether the client has opened the file before, as far as that is remembered; it is from now on.
    fn comes_back(&mut self, client: ClientId, inode: InodeId, most: usize) -> bool {
        if most == 0 || self.tried.contains(&(client, inode)) {
            return true;
        }
        self.tried.insert((client, inode));
        self.tries.push_back((client, inode));
        while self.tries.len() > most {
            if let Some(first) = self.tries.pop_front() {
                self.tried.remove(&first);
            }
        }
        false
    }
}

impl super::super::open::Opens {
    /// Whether anybody else has the file open against such a delegation, or is about to.
    fn stand_against(&self, inode: InodeId, kind: DelegationKind, client: ClientId) -> bool {
        match kind {
            DelegationKind::Write => self.others_have_open(client, inode),
            DelegationKind::Read => self.others_write_or_deny_read(client, inode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::covers;
    use super::*;

    #[test]
    fn a_delegation_to_read_opens_nothing_for_writing() {
        assert!(covers(DelegationKind::Read, Access::Read));
        assert!(!covers(DelegationKind::Read, Access::Both));
        assert!(covers(DelegationKind::Write, Access::Both));
    }

    #[test]
    fn the_mark_lies_before_the_limit() {
        assert_eq!(Limits::plenty(160), 150);
        assert_eq!(Limits::plenty(1), 1);
    }
}
