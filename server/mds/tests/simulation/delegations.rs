//! The model server's part of delegations: giving, taking back, opening under them, and changes that
//! must wait for them.

use std::collections::VecDeque;

use catalog::Timestamp;
use mds::state::*;

use crate::folder::Owed;
use crate::oracle::Oracle;
use crate::server::{Server, Work};
use crate::{Answer, Check, Packet, Refused, Sabotage, inode};

impl Server {
    pub(super) fn give_delegation(
        &mut self,
        now: Time,
        (client, file): (ClientId, usize),
        write: bool,
        reclaim: bool,
        notices: Notices,
        oracle: &mut Oracle,
    ) -> Result<Answer, String> {
        let asked = DelegationRequest {
            client,
            inode: inode(file),
            kind: if write {
                DelegationKind::Write
            } else {
                DelegationKind::Read
            },
            times: false,
            change: 0,
            modified: Timestamp::default(),
            tag: 0,
            reclaim,
            notices,
            unasked: false,
        };
        match self.state.delegate(now, asked) {
            Ok(given) => {
                self.count(if reclaim {
                    "delegations reclaimed"
                } else {
                    "delegations"
                });
                let owed = (notices != Notices::NONE).then(VecDeque::new);
                oracle.delegated(client, file, given.stateid, write, owed)?;
                Ok(Answer::Stateid(given.stateid))
            }
            Err(NoDelegation::Grace(GraceRefusal::InGrace | GraceRefusal::NotComplete)) => {
                Ok(Answer::Refused(Refused::Later))
            }
            Err(_) => Ok(Answer::Refused(Refused::Denied)),
        }
    }

    pub(super) fn return_delegation(
        &mut self,
        (client, file): (ClientId, usize),
        stateid: Stateid,
        oracle: &mut Oracle,
    ) -> Answer {
        match self.state.delegation_return(client, inode(file), stateid) {
            Ok(_) => oracle.undelegated(stateid),
            Err(StateidRefusal::DelegationRevoked) => {
                // The client takes notice.
                if self.state.free_stateid(client, stateid).is_ok() {
                    self.count("revoked delegations freed");
                    oracle.undelegated(stateid);
                }
            }
            Err(_) => return Answer::Refused(Refused::Stateid),
        }
        Answer::Done
    }

    pub(super) fn recall_delegations(
        &mut self,
        now: Time,
        file: usize,
        touch: Touch,
        client: ClientId,
        net: &mut Vec<Packet>,
    ) {
        let orders = self
            .state
            .delegations_recall(now, inode(file), touch, Some(client));
        for order in orders {
            self.count("delegation recalls");
            net.push(Packet::RecallDelegation {
                client: order.delegation.client,
                file,
                delegation: order.delegation,
            });
        }
    }

    /// Nobody else has a delegation, and gets none until `changed`; otherwise they are recalled.
    pub(super) fn before_change(
        &mut self,
        now: Time,
        file: usize,
        client: ClientId,
        net: &mut Vec<Packet>,
    ) -> bool {
        if self.sabotage == Sabotage::ChangeUnderDelegations {
            return true;
        }
        if self
            .state
            .delegation_stands_against(inode(file), Touch::Change, Some(client))
        {
            self.recall_delegations(now, file, Touch::Change, client, net);
            return false;
        }
        let ticket = self.state.delegations_bar(inode(file));
        self.tickets.entry(file).or_default().push(ticket);
        true
    }

    pub(super) fn after_change(&mut self, file: usize) {
        if let Some(ticket) = self.tickets.get_mut(&file).and_then(Vec::pop) {
            self.state.delegations_unbar(inode(file), ticket);
        }
    }

    /// SETATTR of anything: a transaction, with an await in front of it.
    pub(super) fn change(
        &mut self,
        now: Time,
        work: &Work,
        (client, file): (ClientId, usize),
        oracle: &Oracle,
        net: &mut Vec<Packet>,
    ) -> Result<Result<Work, Answer>, String> {
        if matches!(work, Work::Start) {
            return Ok(if self.before_change(now, file, client, net) {
                Ok(Work::Change)
            } else {
                Err(Answer::Refused(Refused::Later))
            });
        }
        self.count("changes");
        oracle.changed(client, file)?;
        self.after_change(file);
        Ok(Err(Answer::Done))
    }

    /// The client says that it has no such delegation.
    pub(super) fn disowned(&mut self, boot: u32, delegation: &Delegation, oracle: &mut Oracle) {
        if boot == self.boot && self.state.delegation_disowned(delegation.id).is_some() {
            self.count("disowned delegations");
            oracle.undelegated(delegation.stateid);
        }
    }

    pub(super) fn revoke_overdue(&mut self, now: Time, oracle: &mut Oracle) {
        for revoked in self.state.delegations_overdue(now) {
            self.count("revocations");
            oracle.revoked(revoked.stateid);
        }
    }
}

/// A delegation that left the server.
#[derive(Debug, Clone)]
pub struct Delegated {
    pub client: ClientId,
    pub file: usize,
    write: bool,
    pub revoked: bool,
    /// Of the folder: asked back.
    pub leaving: bool,
    pub owed: Owed,
}

impl Oracle {
    pub fn delegated(
        &mut self,
        client: ClientId,
        file: usize,
        stateid: Stateid,
        write: bool,
        owed: Owed,
    ) -> Check {
        for other in self.delegates(file, client) {
            if write || other.write {
                return Err(format!(
                    "invariant 3: {client:?} is given file {file}, which {other:?} has"
                ));
            }
        }
        if let Some(open) = self.open_against(client, file, write) {
            return Err(format!(
                "invariant 3: {client:?} is given file {file} against {open}"
            ));
        }
        self.delegations.insert(
            stateid.other,
            Delegated {
                client,
                file,
                write,
                revoked: false,
                leaving: false,
                owed,
            },
        );
        Ok(())
    }

    fn delegates(&self, file: usize, except: ClientId) -> impl Iterator<Item = &Delegated> {
        self.delegations
            .values()
            .filter(move |held| held.file == file && held.client != except && !held.revoked)
    }

    /// An open by `client` stands: no delegation of somebody else may.
    pub fn opened_undelegated(
        &self,
        client: ClientId,
        file: usize,
        access: Access,
        deny: Deny,
    ) -> Check {
        let changes = access.writes() || deny as u8 & Deny::Read as u8 != 0;
        match self
            .delegates(file, client)
            .find(|held| held.write || changes)
        {
            Some(held) => Err(format!(
                "invariant 3: {client:?} opens file {file}, which {held:?} has"
            )),
            None => Ok(()),
        }
    }

    pub fn changed(&self, client: ClientId, file: usize) -> Check {
        match self.delegates(file, client).next() {
            Some(held) => Err(format!(
                "invariant 3: {client:?} changes file {file}, which {held:?} has"
            )),
            None => Ok(()),
        }
    }

    pub fn undelegated(&mut self, stateid: Stateid) {
        self.delegations.remove(&stateid.other);
    }

    pub fn revoked(&mut self, stateid: Stateid) {
        if let Some(held) = self.delegations.get_mut(&stateid.other) {
            held.revoked = true;
        }
    }

    /// A delegation of a live client is honoured, one that was revoked is named so.
    pub fn check_a_delegation(&self, state: &State, place: usize) -> Check {
        let Some((other, held)) = self.delegations.iter().nth(place) else {
            return Ok(());
        };
        let stateid = Stateid {
            seqid: 0,
            other: *other,
        };
        let expected = if self.has_lapsed(held.client) {
            Err(StateidRefusal::Expired)
        } else if held.revoked {
            Err(StateidRefusal::DelegationRevoked)
        } else {
            Ok(())
        };
        let tested = state.test_stateid(held.client, stateid);
        if tested == expected {
            Ok(())
        } else {
            Err(format!(
                "invariant 2: {held:?} is {tested:?}, not {expected:?}"
            ))
        }
    }
}
