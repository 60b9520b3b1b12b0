//! Byte-range locks, RFC 8881 §9 and §18.10 to §18.12, §18.38, §18.48: LOCK, LOCKT, LOCKU,
//! FREE_STATEID, TEST_STATEID. The ranges of one owner are in `range`, conflicts in `interval`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::InodeId;

use super::few::Few;
use super::interval::Intervals;
use super::lease::GraceRefusal;
use super::open::OpenRef;
use super::range::{LockKind, LockRange, Ranges};
use super::share::Access;
use super::stateid::{Parts, StateKind, check_seqid, next_seqid};
use super::table::{Keyed, Map, Table};
use super::waiter::Wanted;
use super::{ClientId, Limits, State, Stateid, StateidRefusal, Time};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    pub client: ClientId,
    pub inode: InodeId,
    pub range: LockRange,
    pub kind: LockKind,
    pub reclaim: bool,
    /// The client waits when it is denied, and is to be told of its turn (READW_LT, WRITEW_LT):
    /// through which export it knows the file.
    pub wait: Option<u32>,
    pub who: Locker,
}

/// `locker4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locker {
    /// The first lock of an owner on a file. One that has locks there already keeps its stateid.
    New {
        open: Stateid,
        owner: Bytes,
    },
    Existing {
        lock: Stateid,
    },
}

/// `LOCK4denied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedLock {
    pub range: LockRange,
    pub kind: LockKind,
    pub client: ClientId,
    pub owner: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockRefusal {
    #[error("another owner holds a lock in this range")]
    Denied(DeniedLock),
    #[error("what is reclaimed is another's")]
    ReclaimConflict,
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the file is not open for this kind of lock")]
    OpenMode,
    #[error("a client that lost its lock may still be writing, until its fence is done")]
    Fencing,
    #[error("there are as many locks as the limits allow")]
    TooMany,
    #[error(transparent)]
    Grace(#[from] GraceRefusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnlockRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the range would come apart into more locks than the limits allow")]
    TooMany,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FreeRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the stateid still stands for something")]
    LocksHeld,
}

/// What one lock-owner has on one file.
#[derive(Debug)]
struct LockState {
    client: ClientId,
    inode: InodeId,
    owner: u32,
    /// The open it was last taken under: it goes when that is closed.
    open: u32,
    seqid: u32,
    ranges: Ranges,
}

#[derive(Debug)]
struct LockOwner {
    client: ClientId,
    name: Bytes,
    states: u32,
}

#[derive(Debug, Default)]
struct FileLocks {
    all: Intervals,
    by_owner: Few<u32, u32>,
}

#[derive(Debug, Default)]
struct ClientLocks {
    states: BTreeSet<u32>,
    locks: usize,
}

#[derive(Debug)]
pub(super) struct Locks {
    epoch: u32,
    states: Table<LockState>,
    owners: Table<LockOwner>,
    owner_by_name: Map<(ClientId, Bytes), u32>,
    files: Map<InodeId, FileLocks>,
    clients: BTreeMap<ClientId, ClientLocks>,
    /// By open and state.
    under: BTreeSet<(u32, u32)>,
    locks: usize,
}

impl Locks {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Locks {
            epoch,
            states: Table::new(),
            owners: Table::new(),
            owner_by_name: Map::with_hasher(keyed),
            files: Map::with_hasher(keyed),
            clients: BTreeMap::new(),
            under: BTreeSet::new(),
            locks: 0,
        }
    }

    /// States and locks.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.states.len(), self.locks)
    }

    pub(super) fn held_by(&self, client: ClientId) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |held| held.states.len())
    }

    fn under(&self, open: u32) -> impl Iterator<Item = u32> + '_ {
        self.under
            .range((open, 0)..=(open, u32::MAX))
            .map(|(_, state)| *state)
    }

    pub(super) fn are_held_under(&self, open: u32) -> bool {
        self.under(open).any(|index| {
            self.states
                .at(index)
                .is_some_and(|state| !state.ranges.is_empty())
        })
    }

    /// The open is closed: the stateids of owners who hold nothing go with it.
    pub(super) fn close(&mut self, open: u32) {
        let indices: Vec<u32> = self.under(open).collect();
        for index in indices {
            self.remove(index);
        }
    }

    pub(super) fn drop_client(&mut self, client: ClientId) {
        let indices: Vec<u32> = self
            .clients
            .get(&client)
            .map(|held| held.states.iter().copied().collect())
            .unwrap_or_default();
        for index in indices {
            self.set(index, LockRange::ALL, None);
            self.remove(index);
        }
    }

    fn find(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        if parts.kind != StateKind::Lock {
            return Err(StateidRefusal::Bad);
        }
        let state = self
            .states
            .get(parts.index, parts.generation)
            .filter(|state| state.client == client)
            .ok_or(StateidRefusal::Bad)?;
        check_seqid(stateid.seqid, state.seqid)?;
        Ok(parts.index)
    }

    /// The open behind a lock stateid.
    pub(super) fn open_behind(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<u32, StateidRefusal> {
        let index = self.find(client, stateid)?;
        let state = self.states.at(index).ok_or(StateidRefusal::Bad)?;
        Ok(state.open)
    }

    fn stateid(&self, index: u32) -> Option<Stateid> {
        let state = self.states.at(index)?;
        let parts = Parts {
            kind: StateKind::Lock,
            index,
            generation: self.states.generation(index),
        };
        Some(Stateid::compose(self.epoch, parts, state.seqid))
    }

    fn state_of(&self, client: ClientId, owner: &[u8], inode: InodeId) -> Option<u32> {
        let key = (client, Bytes::copy_from_slice(owner));
        let owner = self.owner_by_name.get(&key)?;
        self.files.get(&inode)?.by_owner.get(owner).copied()
    }

    fn conflict(
        &self,
        inode: InodeId,
        range: LockRange,
        kind: LockKind,
        own: Option<u32>,
    ) -> Option<DeniedLock> {
        let file = self.files.get(&inode)?;
        let (piece, holder) = file.all.conflict(range, kind, own)?;
        let state = self.states.at(holder)?;
        Some(DeniedLock {
            range: LockRange {
                first: piece.first,
                last: piece.last,
            },
            kind: piece.kind,
            client: state.client,
            owner: self.owners.at(state.owner)?.name.clone(),
        })
    }

    /// The lock in the way of somebody who waits.
    pub(super) fn stands_against(&self, wanted: &Wanted) -> Option<DeniedLock> {
        let own = self.state_of(wanted.client, &wanted.owner, wanted.inode);
        self.conflict(wanted.inode, wanted.range, wanted.kind, own)
    }

    /// Whether a change may add as many pieces as it can: two.
    fn has_room(&self, client: ClientId, inode: InodeId, limits: &Limits) -> bool {
        let on_file = self.files.get(&inode).map_or(0, |file| file.all.len());
        let of_client = self.clients.get(&client).map_or(0, |held| held.locks);
        on_file + 2 <= limits.locks_per_file && of_client + 2 <= limits.locks_per_client
    }

    /// Sets a range of a state and keeps tree and counters in step.
    fn set(&mut self, index: u32, range: LockRange, kind: Option<LockKind>) {
        let Some(state) = self.states.at_mut(index) else {
            return;
        };
        let change = state.ranges.set(range, kind);
        if let Some(file) = self.files.get_mut(&state.inode) {
            for piece in &change.removed {
                file.all.remove(piece.first, index);
            }
            for piece in &change.added {
                file.all.insert(*piece, index);
            }
        }
        self.locks = self.locks + change.added.len() - change.removed.len();
        if let Some(held) = self.clients.get_mut(&state.client) {
            held.locks = held.locks + change.added.len() - change.removed.len();
        }
    }

    fn add(&mut self, client: ClientId, owner: Bytes, inode: InodeId, open: u32) -> u32 {
        let key = (client, owner);
        let owner = if let Some(owner) = self.owner_by_name.get(&key) {
            *owner
        } else {
            let owner = self.owners.insert(LockOwner {
                client,
                name: key.1.clone(),
                states: 0,
            });
            self.owner_by_name.insert(key, owner);
            owner
        };
        if let Some(owner) = self.owners.at_mut(owner) {
            owner.states += 1;
        }
        let index = self.states.insert(LockState {
            client,
            inode,
            owner,
            open,
            seqid: 0,
            ranges: Ranges::default(),
        });
        self.files
            .entry(inode)
            .or_default()
            .by_owner
            .insert(owner, index);
        self.clients.entry(client).or_default().states.insert(index);
        self.under.insert((open, index));
        index
    }

    /// Removes a state that holds nothing.
    fn remove(&mut self, index: u32) {
        let Some(state) = self.states.remove(index) else {
            return;
        };
        self.under.remove(&(state.open, index));
        if let Some(file) = self.files.get_mut(&state.inode) {
            file.by_owner.remove(&state.owner);
            if file.by_owner.is_empty() {
                self.files.remove(&state.inode);
            }
        }
        if let Some(held) = self.clients.get_mut(&state.client) {
            held.states.remove(&index);
            if held.states.is_empty() {
                self.clients.remove(&state.client);
            }
        }
        let gone = self.owners.at_mut(state.owner).is_some_and(|owner| {
            owner.states -= 1;
            owner.states == 0
        });
        if gone && let Some(owner) = self.owners.remove(state.owner) {
            self.owner_by_name.remove(&(owner.client, owner.name));
        }
    }

    fn move_under(&mut self, index: u32, open: u32) {
        if let Some(state) = self.states.at_mut(index) {
            self.under.remove(&(state.open, index));
            state.open = open;
            self.under.insert((open, index));
        }
    }

    fn bump(&mut self, index: u32) -> Option<Stateid> {
        let state = self.states.at_mut(index)?;
        state.seqid = next_seqid(state.seqid);
        self.stateid(index)
    }
}

fn may_lock(open: &OpenRef, kind: LockKind) -> bool {
    match kind {
        LockKind::Read => open.access.reads(),
        LockKind::Write => open.access.writes(),
    }
}

impl State {
    /// LOCK, §18.10.
    pub fn lock(&mut self, now: Time, request: LockRequest) -> Result<Stateid, LockRefusal> {
        let LockRequest {
            client,
            inode,
            range,
            kind,
            reclaim,
            wait,
            who,
        } = request;
        self.honour(client)?;
        // The stateid first: a client that lost its state must learn it, not wait for grace.
        let (open, known, owner) = match who {
            Locker::New { open, owner } => {
                let open = self.opens.find(client, open)?;
                let known = self.locks.state_of(client, &owner, inode);
                (open, known, owner)
            }
            Locker::Existing { lock } => {
                let index = self.locks.find(client, lock)?;
                let state = self.locks.states.at(index).ok_or(StateidRefusal::Bad)?;
                if state.inode != inode {
                    return Err(StateidRefusal::Bad.into());
                }
                let owner = self.locks.owners.at(state.owner);
                let name = owner.map(|owner| owner.name.clone()).unwrap_or_default();
                (state.open, Some(index), name)
            }
        };
        let behind = self.opens.view(open).ok_or(StateidRefusal::Bad)?;
        if behind.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        if !may_lock(&behind, kind) {
            return Err(LockRefusal::OpenMode);
        }
        self.admit(client, reclaim)?;
        if !reclaim && self.writer_lingers(inode, Some(client)) {
            return Err(LockRefusal::Fencing);
        }
        let wanted = Wanted {
            client,
            inode,
            owner: owner.clone(),
            range,
            kind,
        };
        let held = self.locks.conflict(inode, range, kind, known);
        if reclaim && held.is_some() {
            return Err(LockRefusal::ReclaimConflict);
        }
        if let Some(denied) = held.or_else(|| self.waiters.in_turn(&wanted)) {
            if let Some(tag) = wait
                && self.can_call_back(client)
            {
                self.waiters.wait(now, wanted, tag, &self.limits);
            }
            return Err(LockRefusal::Denied(denied));
        }
        if !self.locks.has_room(client, inode, &self.limits) {
            return Err(LockRefusal::TooMany);
        }
        let index = if let Some(index) = known {
            self.locks.move_under(index, open);
            index
        } else {
            if self.locks.held_by(client) >= self.limits.lock_states_per_client
                || self.locks.states.is_full()
            {
                return Err(LockRefusal::TooMany);
            }
            self.locks.add(client, owner, inode, open)
        };
        self.locks.set(index, range, Some(kind));
        self.waiters.served(&wanted);
        Ok(self.locks.bump(index).ok_or(StateidRefusal::Bad)?)
    }

    /// LOCKT, §18.11.
    pub fn lock_test(
        &self,
        client: ClientId,
        inode: InodeId,
        range: LockRange,
        kind: LockKind,
        owner: &[u8],
    ) -> Option<DeniedLock> {
        let own = self.locks.state_of(client, owner, inode);
        self.locks.conflict(inode, range, kind, own)
    }

    /// LOCKU, §18.12. The stateid stays, also when it holds nothing more.
    pub fn unlock(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        inode: InodeId,
        range: LockRange,
    ) -> Result<Stateid, UnlockRefusal> {
        self.honour(client)?;
        let index = self.locks.find(client, stateid)?;
        let state = self.locks.states.at(index).ok_or(StateidRefusal::Bad)?;
        if state.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        if range != LockRange::ALL && !self.locks.has_room(client, inode, &self.limits) {
            return Err(UnlockRefusal::TooMany);
        }
        self.locks.set(index, range, None);
        Ok(self.locks.bump(index).ok_or(StateidRefusal::Bad)?)
    }

    /// TEST_STATEID, §18.48: one of its stateids.
    pub fn test_stateid(&self, client: ClientId, stateid: Stateid) -> Result<(), StateidRefusal> {
        self.honour(client)?;
        match stateid.parts(self.opens.epoch())?.kind {
            StateKind::Open => self.opens.find(client, stateid).map(drop),
            StateKind::Lock => self.locks.find(client, stateid).map(drop),
            StateKind::Layout => self.layout_of(client, stateid).map(drop),
            StateKind::Offload => self.offload_status(client, stateid).map(drop),
            StateKind::Delegation => self.delegation_of(client, stateid).map(drop),
            StateKind::CopyNotify => self.copy_notify_of(client, stateid).map(drop),
        }
    }

    /// FREE_STATEID, §18.38: a lock stateid that holds nothing can be freed, and what was revoked:
    /// so its client says that it knows. What was revoked is out of its hands already.
    pub fn free_stateid(&mut self, client: ClientId, stateid: Stateid) -> Result<(), FreeRefusal> {
        self.honour(client)?;
        let parts = stateid.parts(self.opens.epoch())?;
        if parts.kind == StateKind::Delegation {
            return self.delegation_free(client, stateid);
        }
        match self.test_stateid(client, stateid) {
            Err(StateidRefusal::Revoked) => return Ok(()),
            tested => tested?,
        }
        let is_idle_lock = parts.kind == StateKind::Lock
            && self
                .locks
                .states
                .at(parts.index)
                .is_some_and(|state| state.ranges.is_empty());
        if !is_idle_lock {
            return Err(FreeRefusal::LocksHeld);
        }
        self.locks.remove(parts.index);
        Ok(())
    }

    /// The open that an open or lock stateid stands on.
    pub fn open_behind(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<OpenRef, StateidRefusal> {
        self.honour(client)?;
        let index = match stateid.parts(self.opens.epoch())?.kind {
            StateKind::Open => self.opens.find(client, stateid)?,
            StateKind::Lock => self.locks.open_behind(client, stateid)?,
            StateKind::Layout
            | StateKind::Offload
            | StateKind::Delegation
            | StateKind::CopyNotify => {
                return Err(StateidRefusal::Bad);
            }
        };
        self.opens.view(index).ok_or(StateidRefusal::Bad)
    }

    /// Whether a client has the file open for this, by any owner.
    pub fn client_has_open(&self, client: ClientId, inode: InodeId, access: Access) -> bool {
        self.opens.client_may(client, inode, access)
    }
}

#[cfg(test)]
mod tests;
