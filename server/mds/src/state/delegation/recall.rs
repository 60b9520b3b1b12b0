//! Taking delegations away, RFC 8881 §10.4.5 and §10.4.6: recall, deadline, revocation, and the rest
//! that a file gets afterwards. The callbacks themselves happen elsewhere.

use catalog::InodeId;

use super::super::lock::FreeRefusal;
use super::super::{ClientId, State, Stateid, StateidRefusal, Time};
use super::{Delegation, DelegationId, Delegations, Phase, Touch};

/// One CB_RECALL to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelegationRecall {
    pub delegation: Delegation,
    /// After it `delegations_overdue` revokes.
    pub deadline: Time,
}

impl Delegations {
    /// Whether the file was contended for lately.
    pub(super) fn rests(&self, inode: InodeId, now: Time) -> bool {
        self.resting.get(&inode).is_some_and(|until| *until > now)
    }

    fn rest(&mut self, inode: InodeId, until: Time, most: usize) {
        if let Some(before) = self.resting.insert(inode, until) {
            self.resting_until.remove(&(before, inode));
        }
        self.resting_until.insert((until, inode));
        while self.resting_until.len() > most {
            if let Some((_, first)) = self.resting_until.pop_first() {
                self.resting.remove(&first);
            }
        }
    }

    fn wake(&mut self, now: Time) {
        while let Some((until, inode)) = self.resting_until.first().copied() {
            if until > now {
                break;
            }
            self.resting_until.remove(&(until, inode));
            self.resting.remove(&inode);
        }
    }

    fn revoke(&mut self, index: u32) -> Option<Delegation> {
        let revoked = self.view(index)?;
        self.detach(index);
        let holding = self.table.at_mut(index)?;
        holding.phase = Phase::Revoked;
        *self.revoked.entry(holding.client).or_default() += 1;
        Some(revoked)
    }
}

impl State {
    /// Whether somebody else than `by` holds a delegation against this.
    pub fn delegation_stands_against(
        &self,
        inode: InodeId,
        touch: Touch,
        by: Option<ClientId>,
    ) -> bool {
        self.delegations.stands_against(inode, touch, by)
    }

    /// Recalls the delegations that stand against this from everybody but `except`. Those recalled
    /// before are not ordered again. The file rests from delegations for a while.
    pub fn delegations_recall(
        &mut self,
        now: Time,
        inode: InodeId,
        touch: Touch,
        except: Option<ClientId>,
    ) -> Vec<DelegationRecall> {
        let mut orders = Vec::new();
        for delegation in self.delegates(inode) {
            let holding = self.delegations.table.at(delegation.id.index);
            let stands = holding.is_some_and(|holding| holding.stands_against(touch));
            if stands && !delegation.leaving && Some(delegation.client) != except {
                orders.extend(self.delegation_ask_back(now, delegation));
            }
        }
        if !orders.is_empty() {
            self.delegations.wake(now);
            let until = now.plus(self.limits.delegation_rest);
            self.delegations
                .rest(inode, until, self.limits.contended_files);
        }
        orders
    }

    pub(super) fn delegation_ask_back(
        &mut self,
        now: Time,
        delegation: Delegation,
    ) -> Option<DelegationRecall> {
        // One past its lease is not waited for (§8.4.3).
        let deadline = if self.is_courteous(delegation.client) {
            now
        } else {
            now.plus(self.limits.delegation_recall)
        };
        let index = delegation.id.index;
        let holding = self.delegations.table.at_mut(index)?;
        holding.phase = Phase::Recalling { deadline };
        self.delegations.deadlines.insert((deadline, index));
        Some(DelegationRecall {
            delegation,
            deadline,
        })
    }

    /// Whether this recall has not been answered by a return yet.
    pub fn is_delegated(&self, id: DelegationId) -> bool {
        self.delegations
            .by_id(id)
            .and_then(|index| self.delegations.table.at(index))
            .is_some_and(|holding| holding.phase != Phase::Revoked)
    }

    /// Recalls whose time is over: revoked now.
    pub fn delegations_overdue(&mut self, now: Time) -> Vec<Delegation> {
        let mut revoked = Vec::new();
        while let Some((_, index)) = self
            .delegations
            .deadlines
            .first()
            .copied()
            .filter(|(deadline, _)| *deadline <= now)
        {
            revoked.extend(self.delegations.revoke(index));
        }
        revoked
    }

    /// One that its holder says it doesn't have. It isn't kept as revoked: a client frees only what it knows of, and
    /// until then SEQ4_STATUS_RECALLABLE_STATE_REVOKED would make Linux test all its stateids after every request.
    pub fn delegation_disowned(&mut self, id: DelegationId) -> Option<Delegation> {
        let index = self.delegations.by_id(id)?;
        let disowned = self.delegations.view(index)?;
        if self.delegations.table.at(index)?.phase == Phase::Revoked {
            return None;
        }
        self.delegations.remove(index);
        Some(disowned)
    }

    /// FREE_STATEID of a delegation, §18.38: the client takes notice that it was revoked.
    pub(in crate::state) fn delegation_free(
        &mut self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<(), FreeRefusal> {
        let index = self.delegations.named(client, stateid)?;
        let holding = self
            .delegations
            .table
            .at(index)
            .ok_or(StateidRefusal::Bad)?;
        if holding.phase != Phase::Revoked {
            return Err(FreeRefusal::LocksHeld);
        }
        self.delegations.remove(index);
        Ok(())
    }

    /// Somebody is about to change this inode: no delegation is given until `delegations_unbar` of the
    /// ticket returned.
    pub fn delegations_bar(&mut self, inode: InodeId) -> u64 {
        let ticket = self.delegations.next_ticket;
        self.delegations.next_ticket += 1;
        let under_way = self.delegations.barred.entry(inode).or_default();
        under_way.insert(ticket);
        ticket
    }

    pub fn delegations_unbar(&mut self, inode: InodeId, ticket: u64) {
        if let Some(under_way) = self.delegations.barred.get_mut(&inode) {
            under_way.remove(&ticket);
            if under_way.is_empty() {
                self.delegations.barred.remove(&inode);
            }
        }
    }
}
