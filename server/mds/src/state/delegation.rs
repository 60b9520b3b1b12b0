//! Delegations, RFC 8881 §10.2, §10.4 and §10.9: the table of who may answer for a file or a folder
//! by itself. Giving is in `give`, taking away in `recall`; callbacks and messages are elsewhere.
//!
//! One delegation per client and inode; that of a folder reads. Held → Recalling → returned, or
//! → Revoked → freed by its client. One that is revoked stands in nobody's way.

mod give;
mod notes;
mod recall;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use catalog::{InodeId, Timestamp};

pub use give::{DelegationRequest, NoDelegation};
pub use notes::{EntryChange, Notices, OldEntry};
pub use recall::DelegationRecall;

use super::few::Few;
use super::open::Released;
use super::share::Access;
use notes::Notes;

use super::stateid::{Parts, StateKind, check_seqid};
use super::table::{Keyed, Map, Table};
use super::{ClientId, State, Stateid, StateidRefusal, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DelegationKind {
    /// Nobody else changes it.
    Read,
    /// Nobody else has it open.
    Write,
}

/// What somebody is about to do to a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// To look at it: only a delegation to write stands against that.
    Read,
    /// To change a folder's entries: whoever is told of it has nothing against that.
    Entries(Notices),
    /// To change its contents, attributes, names or entries.
    Change,
}

/// A delegation as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delegation {
    pub id: DelegationId,
    pub client: ClientId,
    pub inode: InodeId,
    pub kind: DelegationKind,
    /// The client says what the times are (RFC 9754).
    pub times: bool,
    /// The change attribute when it was given: from another one the holder tells a change.
    pub change: u64,
    /// The time of modification when it was given: its holder can't set an earlier one.
    pub modified: Timestamp,
    pub stateid: Stateid,
    /// Asked back.
    pub leaving: bool,
    /// The caller's own: through which export the client knows the file.
    pub tag: u32,
}

/// A delegation by number; a number of one that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelegationId {
    index: u32,
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Held,
    Recalling { deadline: Time },
    Revoked,
}

/// The seqid is always 1: nothing of a delegation changes while it is held.
const SEQID: u32 = 1;

#[derive(Debug)]
struct Holding {
    client: ClientId,
    inode: InodeId,
    kind: DelegationKind,
    times: bool,
    change: u64,
    modified: Timestamp,
    tag: u32,
    phase: Phase,
    /// Of a folder whose holder wants to be told of changes.
    notes: Option<Box<Notes>>,
}

impl Holding {
    /// Whether it is in the way of somebody else who does this.
    fn stands_against(&self, touch: Touch) -> bool {
        match touch {
            Touch::Read => self.kind == DelegationKind::Write,
            Touch::Change => true,
            Touch::Entries(needed) => {
                let told = self.notes.as_ref().is_some_and(|notes| notes.cover(needed));
                !told || self.phase != Phase::Held
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Delegations {
    epoch: u32,
    table: Table<Holding>,
    /// By client. A delegation to write is alone.
    files: Map<InodeId, Few<u32, u32>>,
    clients: BTreeMap<ClientId, BTreeSet<u32>>,
    deadlines: BTreeSet<(Time, u32)>,
    revoked: BTreeMap<ClientId, u32>,
    /// Where somebody is about to change something: the tickets of those who are.
    barred: Map<InodeId, BTreeSet<u64>>,
    next_ticket: u64,
    /// Changes of which somebody has yet to be told.
    notes: usize,
    /// Recalled lately: none is given until then.
    resting: Map<InodeId, Time>,
    resting_until: BTreeSet<(Time, InodeId)>,
    /// Who has opened what to read without being given it, the earliest first.
    tried: HashSet<(ClientId, InodeId), Keyed>,
    tries: VecDeque<(ClientId, InodeId)>,
}

impl Delegations {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Delegations {
            epoch,
            table: Table::new(),
            files: Map::with_hasher(keyed),
            clients: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            revoked: BTreeMap::new(),
            barred: Map::with_hasher(keyed),
            next_ticket: 0,
            notes: 0,
            resting: Map::with_hasher(keyed),
            resting_until: BTreeSet::new(),
            tried: HashSet::with_hasher(keyed),
            tries: VecDeque::new(),
        }
    }

    /// Delegations (also revoked ones), and recalls.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.deadlines.len())
    }

    /// Those of a client that are honoured.
    pub(super) fn held_by(&self, client: ClientId) -> usize {
        let all = self.clients.get(&client).map_or(0, BTreeSet::len);
        all - self.revoked(client)
    }

    pub(super) fn revoked(&self, client: ClientId) -> usize {
        self.revoked.get(&client).map_or(0, |count| *count as usize)
    }

    pub(super) fn is_held(&self, inode: InodeId) -> bool {
        self.files.contains_key(&inode)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether somebody else than `by` holds a delegation against this.
    pub(super) fn stands_against(
        &self,
        inode: InodeId,
        touch: Touch,
        by: Option<ClientId>,
    ) -> bool {
        let Some(file) = self.files.get(&inode) else {
            return false;
        };
        let own = by.is_some_and(|client| file.get(&client.short()).is_some());
        match touch {
            Touch::Change => file.len() > usize::from(own),
            Touch::Read => !own && self.writer(file).is_some(),
            Touch::Entries(_) => file
                .iter()
                .filter(|(client, _)| by.map(ClientId::short) != Some(**client))
                .filter_map(|(_, index)| self.table.at(*index))
                .any(|holding| holding.stands_against(touch)),
        }
    }

    fn writer(&self, file: &Few<u32, u32>) -> Option<u32> {
        let (_, index) = file.first()?;
        let holding = self.table.at(*index)?;
        (holding.kind == DelegationKind::Write).then_some(*index)
    }

    fn index_of(&self, client: ClientId, inode: InodeId) -> Option<u32> {
        self.files.get(&inode)?.get(&client.short()).copied()
    }

    fn by_id(&self, id: DelegationId) -> Option<u32> {
        self.table.get(id.index, id.generation).map(|_| id.index)
    }

    pub(super) fn view(&self, index: u32) -> Option<Delegation> {
        let holding = self.table.at(index)?;
        let id = DelegationId {
            index,
            generation: self.table.generation(index),
        };
        let parts = Parts {
            kind: StateKind::Delegation,
            index,
            generation: id.generation,
        };
        Some(Delegation {
            id,
            client: holding.client,
            inode: holding.inode,
            kind: holding.kind,
            times: holding.times,
            change: holding.change,
            modified: holding.modified,
            stateid: Stateid::compose(self.epoch, parts, SEQID),
            leaving: holding.phase != Phase::Held,
            tag: holding.tag,
        })
    }

    /// The entry that a client's stateid names, whatever its phase.
    fn named(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        if parts.kind != StateKind::Delegation {
            return Err(StateidRefusal::Bad);
        }
        self.table
            .get(parts.index, parts.generation)
            .filter(|holding| holding.client == client)
            .ok_or(StateidRefusal::Bad)?;
        check_seqid(stateid.seqid, SEQID)?;
        Ok(parts.index)
    }

    /// The delegation that a client's stateid names, while it is honoured.
    pub(super) fn find(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let index = self.named(client, stateid)?;
        let holding = self.table.at(index).ok_or(StateidRefusal::Bad)?;
        if holding.phase == Phase::Revoked {
            return Err(StateidRefusal::DelegationRevoked);
        }
        Ok(index)
    }

    /// Whether a client's delegation allows this by itself.
    pub(super) fn client_may(&self, client: ClientId, inode: InodeId, access: Access) -> bool {
        self.index_of(client, inode)
            .and_then(|index| self.table.at(index))
            .is_some_and(|holding| covers(holding.kind, access))
    }

    fn add(&mut self, holding: Holding) -> u32 {
        let (client, inode) = (holding.client, holding.inode);
        let index = self.table.insert(holding);
        let file = self.files.entry(inode).or_default();
        file.insert(client.short(), index);
        self.clients.entry(client).or_default().insert(index);
        index
    }

    /// Takes an entry off its file: it stands against nobody any more.
    fn detach(&mut self, index: u32) {
        let Some(holding) = self.table.at(index) else {
            return;
        };
        if let Phase::Recalling { deadline } = holding.phase {
            self.deadlines.remove(&(deadline, index));
        }
        if let Some(file) = self.files.get_mut(&holding.inode)
            && file.get(&holding.client.short()) == Some(&index)
        {
            file.remove(&holding.client.short());
            if file.is_empty() {
                self.files.remove(&holding.inode);
            }
        }
    }

    fn remove(&mut self, index: u32) -> Option<InodeId> {
        self.detach(index);
        let holding = self.table.remove(index)?;
        self.notes -= holding.notes.as_ref().map_or(0, |notes| notes.len());
        if let Some(indices) = self.clients.get_mut(&holding.client) {
            indices.remove(&index);
            if indices.is_empty() {
                self.clients.remove(&holding.client);
            }
        }
        if holding.phase == Phase::Revoked
            && let Some(count) = self.revoked.get_mut(&holding.client)
        {
            *count -= 1;
            if *count == 0 {
                self.revoked.remove(&holding.client);
            }
        }
        Some(holding.inode)
    }

    /// Everything of a client that is gone: the files that it let go of.
    pub(super) fn drop_client(&mut self, client: ClientId) -> Vec<InodeId> {
        let indices: Vec<u32> = self
            .clients
            .get(&client)
            .map(|indices| indices.iter().copied().collect())
            .unwrap_or_default();
        indices
            .into_iter()
            .filter_map(|index| self.remove(index))
            .collect()
    }
}

fn covers(kind: DelegationKind, access: Access) -> bool {
    kind == DelegationKind::Write || access == Access::Read
}

impl State {
    /// The delegation that a stateid names, while it is honoured.
    pub fn delegation_of(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<Delegation, StateidRefusal> {
        self.honour(client)?;
        let index = self.delegations.find(client, stateid)?;
        self.delegations.view(index).ok_or(StateidRefusal::Bad)
    }

    /// The delegation of `inode`, to be named by its holder for this access.
    pub(super) fn delegation_for(
        &self,
        client: ClientId,
        stateid: Stateid,
        inode: InodeId,
        access: Access,
    ) -> Result<bool, StateidRefusal> {
        let delegation = self.delegation_of(client, stateid)?;
        if delegation.inode != inode {
            return Err(StateidRefusal::Bad);
        }
        Ok(covers(delegation.kind, access))
    }

    /// DELEGRETURN, §18.6.
    pub fn delegation_return(
        &mut self,
        client: ClientId,
        inode: InodeId,
        stateid: Stateid,
    ) -> Result<Released, StateidRefusal> {
        let delegation = self.delegation_of(client, stateid)?;
        if delegation.inode != inode {
            return Err(StateidRefusal::Bad);
        }
        self.delegations.remove(delegation.id.index);
        Ok(Released {
            inode,
            last: !self.file_is_held(inode),
        })
    }

    /// The inode is gone, and no client can name it any more to return what it holds of it.
    pub fn delegations_forget(&mut self, inode: InodeId) {
        for delegation in self.delegates(inode) {
            self.delegations.remove(delegation.id.index);
        }
    }

    /// The delegation to write a file, if somebody else than `asker` holds it.
    pub fn writing_delegate(&self, inode: InodeId, asker: Option<ClientId>) -> Option<Delegation> {
        let file = self.delegations.files.get(&inode)?;
        let index = self.delegations.writer(file)?;
        self.delegations
            .view(index)
            .filter(|delegation| Some(delegation.client) != asker)
    }

    /// Every delegation of an inode that stands.
    pub fn delegates(&self, inode: InodeId) -> Vec<Delegation> {
        let file = self.delegations.files.get(&inode);
        file.into_iter()
            .flat_map(Few::values)
            .filter_map(|index| self.delegations.view(*index))
            .collect()
    }
}

#[cfg(test)]
mod tests;
