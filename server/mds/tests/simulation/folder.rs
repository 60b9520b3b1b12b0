//! A folder in the model: changes of its entries, of which holders of its delegation are told, or which wait until
//! these have given it back.

use std::collections::VecDeque;

use bytes::Bytes;
use mds::state::*;

use crate::delegations::Delegated;
use crate::oracle::Oracle;
use crate::server::{Server, Work};
use crate::{Answer, Check, FOLDER, Packet, Refused, Rng, Sabotage, inode};

/// All that a client can ask to be told of.
pub const EVERY_NOTICE: Notices = Notices::ADDED.and(Notices::REMOVED).and(Notices::RENAMED);

/// Changes told at once.
const AT_ONCE: usize = 2;

impl Server {
    /// CREATE or REMOVE in the folder: a transaction, with an await in front of it and one behind.
    pub(super) fn change_entry(
        &mut self,
        now: Time,
        work: &Work,
        (client, added): (ClientId, bool),
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Result<Result<Work, Answer>, String> {
        let id = inode(FOLDER);
        match work {
            Work::Entry(ticket) => {
                self.entry_changes += 1;
                oracle.entry_changed(client, self.entry_changes)?;
                if self.sabotage == Sabotage::TellInAnyOrder {
                    self.state.delegations_unbar(id, *ticket);
                }
                Ok(Ok(Work::EntryChanged(*ticket, self.entry_changes)))
            }
            Work::EntryChanged(ticket, after) => {
                let name = Bytes::from(after.to_string());
                let change = if added {
                    EntryChange::added(name)
                } else {
                    EntryChange::Removed(OldEntry { name, cookie: 3 })
                };
                let overflown = if self.sabotage == Sabotage::TellNothing {
                    Vec::new()
                } else {
                    self.state
                        .entries_changed(now, id, Some(client), *after, &change)
                };
                if !overflown.is_empty() {
                    self.count("holders with too much to be told");
                }
                self.ask_back(overflown, oracle, net);
                self.state.delegations_unbar(id, *ticket);
                for holder in self.state.notes_due(id) {
                    self.push(Work::Tell(holder), None);
                }
                self.count("changes of entries");
                Ok(Err(Answer::Done))
            }
            _ => {
                let touch = Touch::Entries(if added {
                    Notices::ADDED
                } else {
                    Notices::REMOVED
                });
                if self
                    .state
                    .delegation_stands_against(id, touch, Some(client))
                {
                    let orders = self.state.delegations_recall(now, id, touch, Some(client));
                    self.ask_back(orders, oracle, net);
                    return Ok(Err(Answer::Refused(Refused::Later)));
                }
                Ok(Ok(Work::Entry(self.state.delegations_bar(id))))
            }
        }
    }

    fn ask_back(
        &mut self,
        orders: Vec<DelegationRecall>,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) {
        for order in orders {
            self.count("folders asked back");
            oracle.asked_back(order.delegation.stateid);
            net.push(Packet::RecallDelegation {
                client: order.delegation.client,
                file: FOLDER,
                delegation: order.delegation,
            });
        }
    }

    /// Some of what a holder has yet to be told; now and then it can't be reached.
    pub(super) fn tell_holder(
        &mut self,
        now: Time,
        holder: DelegationId,
        rng: &mut Rng,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Result<Option<Work>, String> {
        let Some((delegation, changes)) = self.state.notes_take(holder, AT_ONCE) else {
            return Ok(None);
        };
        for change in &changes {
            self.count("changes told");
            oracle.told(delegation.stateid, change)?;
        }
        if rng.percent(5) {
            self.count("word of changes lost");
            let order = self.state.notes_lost(now, holder);
            self.ask_back(order.into_iter().collect(), oracle, net);
        }
        Ok(Some(Work::Tell(holder)))
    }

    /// While nothing of the folder is under way, nobody has anything to be told.
    pub fn check_word(&self, oracle: &Oracle) -> Check {
        match oracle.untold() {
            Some(held) if !self.folder_is_busy() => Err(format!(
                "invariant 3: {held:?} was neither told of a change nor asked for the folder"
            )),
            _ => Ok(()),
        }
    }
}

/// Changes that the holder of a folder must be told of, as long as it isn't asked back; `None`: it asked for none.
pub type Owed = Option<VecDeque<u64>>;

impl Oracle {
    /// A change by `client` is durable.
    fn entry_changed(&mut self, client: ClientId, change: u64) -> Check {
        let others = self
            .delegations
            .values_mut()
            .filter(|held| held.file == FOLDER && held.client != client && !held.revoked);
        for held in others {
            match &mut held.owed {
                Some(owed) if !held.leaving => owed.push_back(change),
                Some(_) => {}
                None => {
                    return Err(format!(
                        "invariant 3: {client:?} changes the folder, which {held:?} has"
                    ));
                }
            }
        }
        Ok(())
    }

    fn asked_back(&mut self, stateid: Stateid) {
        if let Some(held) = self.delegations.get_mut(&stateid.other) {
            held.leaving = true;
        }
    }

    fn told(&mut self, stateid: Stateid, change: &EntryChange) -> Check {
        let (EntryChange::Added { name, .. }
        | EntryChange::Removed(OldEntry { name, .. })
        | EntryChange::Renamed { to: name, .. }) = change;
        let told = String::from_utf8_lossy(name).parse().ok();
        let held = self.delegations.get_mut(&stateid.other);
        let owed = held.and_then(|held| held.owed.as_mut());
        let next = owed.and_then(VecDeque::pop_front);
        if next == told {
            Ok(())
        } else {
            Err(format!(
                "invariant 3: {stateid:?} was told of change {told:?} of the folder, and the next was {next:?}"
            ))
        }
    }

    fn untold(&self) -> Option<&Delegated> {
        let owed = |held: &&Delegated| held.owed.as_ref().is_some_and(|owed| !owed.is_empty());
        self.delegations
            .values()
            .filter(|held| !held.revoked && !held.leaving)
            .find(owed)
    }
}
