//! Opens and share reservations, RFC 8881 §9.7 to §9.10: OPEN, OPEN_DOWNGRADE and CLOSE as far as
//! they are memory. Names, permissions and files are elsewhere.
//!
//! An open is reserved before its transaction and confirmed after it: a reservation already
//! excludes others, so that two conflicting OPENs never both pass (invariant 3).

mod others;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::InodeId;

use super::delegation::Touch;
use super::lease::GraceRefusal;
use super::share::{Access, Bits, Deny, FileOpens, Pairs, READ, WRITE};
use super::stateid::{Parts, StateKind, check_seqid, next_seqid};
use super::table::{Keyed, Map, Table};
use super::{ClientId, State, Stateid, StateidRefusal};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    pub client: ClientId,
    /// `open_owner4.owner`.
    pub owner: Bytes,
    pub inode: InodeId,
    pub access: Access,
    pub deny: Deny,
    /// CLAIM_PREVIOUS.
    pub reclaim: bool,
    /// CLAIM_DELEGATE_CUR: the delegation by which the client has opened the file already.
    pub under: Option<Stateid>,
}

/// An open between its decision and its transaction. Confirm it or roll it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation excludes others until it is confirmed or rolled back"]
pub struct OpenReservation {
    client: ClientId,
    inode: InodeId,
    index: u32,
    generation: u32,
    serial: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    #[error("another open denies this, or has what this would deny")]
    ShareDenied,
    #[error("what is reclaimed is denied by another")]
    ReclaimConflict,
    #[error("what this would deny may still be going on, past this server, until a fence is done")]
    Fencing,
    #[error("there are as many opens as the limits allow")]
    TooMany,
    #[error("clients that are away are made to give room")]
    MakingRoom,
    #[error(transparent)]
    Grace(#[from] GraceRefusal),
    #[error("the client went while its open was being made")]
    ClientGone,
    #[error("a delegation of somebody else stands against this")]
    Delegated(Touch),
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DowngradeRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("no earlier opens together have exactly this access and deny")]
    NoSuchOpens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("byte-range locks are held under this open")]
    LocksHeld,
    #[error("another OPEN by the same owner is on its way")]
    Busy,
}

/// An open as others may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRef {
    pub inode: InodeId,
    pub client: ClientId,
    pub access: Access,
    pub deny: Deny,
    pub owner: Bytes,
    pub stateid: Stateid,
}

/// A file that was let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    pub inode: InodeId,
    /// Nobody holds the file any more: an orphan may be reaped.
    pub last: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    client: ClientId,
    inode: InodeId,
    owner: u32,
    seqid: u32,
    /// Confirmed. None: the open exists by reservations alone.
    pairs: Pairs,
    reservations: u16,
    /// Its user may not keep set-id bits of what is written.
    unprivileged: bool,
}

#[derive(Debug)]
struct OpenOwner {
    client: ClientId,
    name: Bytes,
    opens: u32,
}

#[derive(Debug, Default)]
struct ClientOpens {
    opens: BTreeSet<u32>,
    owners: usize,
}

#[derive(Debug)]
pub(super) struct Opens {
    epoch: u32,
    opens: Table<Open>,
    owners: Table<OpenOwner>,
    owner_by_name: Map<(ClientId, Bytes), u32>,
    files: Map<InodeId, FileOpens>,
    clients: BTreeMap<ClientId, ClientOpens>,
    /// By open and serial.
    reservations: BTreeMap<(u32, u64), Pairs>,
    last_serial: u64,
}

impl Opens {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Opens {
            epoch,
            opens: Table::new(),
            owners: Table::new(),
            owner_by_name: Map::with_hasher(keyed),
            files: Map::with_hasher(keyed),
            clients: BTreeMap::new(),
            reservations: BTreeMap::new(),
            last_serial: 0,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Owners and opens.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.owners.len(), self.opens.len())
    }

    pub(super) fn held_by(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |held| held.opens.len())
    }

    pub(super) fn is_open(&self, inode: InodeId) -> bool {
        self.files.contains_key(&inode)
    }

    /// The bits that an open holds, reservations included.
    fn bits(&self, index: u32) -> Bits {
        let Some(open) = self.opens.at(index) else {
            return Bits::default();
        };
        let mut pairs = open.pairs;
        if open.reservations > 0 {
            for reserved in self
                .reservations
                .range((index, 0)..=(index, u64::MAX))
                .map(|(_, reserved)| *reserved)
            {
                pairs = pairs.with(reserved);
            }
        }
        pairs.union()
    }

    /// Counts the open anew after a change of its pairs or reservations; removes it when nothing
    /// of it is left.
    fn recount(&mut self, index: u32, before: Bits) {
        let after = self.bits(index);
        let Some(open) = self.opens.at(index) else {
            return;
        };
        if let Some(file) = self.files.get_mut(&open.inode) {
            file.count(before, false);
            file.count(after, true);
        }
        if open.pairs == Pairs::default() && open.reservations == 0 {
            self.remove(index);
        }
    }

    /// Removes an open that counts for nothing.
    fn remove(&mut self, index: u32) {
        let Some(open) = self.opens.remove(index) else {
            return;
        };
        if let Some(file) = self.files.get_mut(&open.inode) {
            file.by_owner.remove(&(open.client.short(), open.owner));
            if file.by_owner.is_empty() {
                self.files.remove(&open.inode);
            }
        }
        let mut owner_gone = false;
        if let Some(owner) = self.owners.at_mut(open.owner) {
            owner.opens -= 1;
            owner_gone = owner.opens == 0;
        }
        if owner_gone && let Some(owner) = self.owners.remove(open.owner) {
            self.owner_by_name.remove(&(owner.client, owner.name));
        }
        if let Some(held) = self.clients.get_mut(&open.client) {
            held.opens.remove(&index);
            held.owners -= usize::from(owner_gone);
            if held.opens.is_empty() {
                self.clients.remove(&open.client);
            }
        }
    }

    /// Everything that a client has open.
    pub(super) fn drop_client(&mut self, client: ClientId) -> Vec<InodeId> {
        let Some(held) = self.clients.get(&client) else {
            return Vec::new();
        };
        let indices: Vec<u32> = held.opens.iter().copied().collect();
        let mut closed = Vec::with_capacity(indices.len());
        for index in indices {
            let before = self.bits(index);
            while let Some((key, _)) = self
                .reservations
                .range((index, 0)..=(index, u64::MAX))
                .next()
            {
                let key = *key;
                self.reservations.remove(&key);
            }
            if let Some(open) = self.opens.at_mut(index) {
                open.pairs = Pairs::default();
                open.reservations = 0;
                closed.push(open.inode);
            }
            self.recount(index, before);
        }
        closed
    }

    /// The open that a client's stateid names.
    pub(super) fn find(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        if parts.kind != StateKind::Open {
            return Err(StateidRefusal::Bad);
        }
        let open = self
            .opens
            .get(parts.index, parts.generation)
            .filter(|open| open.client == client && open.pairs != Pairs::default())
            .ok_or(StateidRefusal::Bad)?;
        check_seqid(stateid.seqid, open.seqid)?;
        Ok(parts.index)
    }

    pub(super) fn view(&self, index: u32) -> Option<OpenRef> {
        let open = self.opens.at(index)?;
        let bits = open.pairs.union();
        Some(OpenRef {
            inode: open.inode,
            client: open.client,
            access: Access::from_bits(u32::from(bits.access))?,
            deny: Deny::from_bits(u32::from(bits.deny))?,
            owner: self.owners.at(open.owner)?.name.clone(),
            stateid: self.stateid(index)?,
        })
    }

    fn stateid(&self, index: u32) -> Option<Stateid> {
        let open = self.opens.at(index)?;
        let parts = Parts {
            kind: StateKind::Open,
            index,
            generation: self.opens.generation(index),
        };
        Some(Stateid::compose(self.epoch, parts, open.seqid))
    }

    /// Whether a client has the file open for this.
    pub(super) fn client_may(&self, client: ClientId, inode: InodeId, access: Access) -> bool {
        let short = client.short();
        self.files.get(&inode).is_some_and(|file| {
            file.by_owner
                .range((short, 0)..=(short, u32::MAX))
                .filter_map(|(_, index)| self.opens.at(*index))
                .any(|open| open.pairs.union().access & access as u8 == access as u8)
        })
    }

    /// Clients with an open that stands against this one.
    pub(super) fn in_the_way(&self, request: &OpenRequest) -> BTreeSet<ClientId> {
        let own = self
            .owner_by_name
            .get(&(request.client, request.owner.clone()));
        self.holders(request.inode, |open, bits| {
            let other = open.client != request.client || Some(&open.owner) != own;
            other
                && (request.access as u8 & bits.deny != 0 || request.deny as u8 & bits.access != 0)
        })
    }

    /// Clients with an open that denies this access.
    pub(super) fn deniers(&self, inode: InodeId, access: Access) -> BTreeSet<ClientId> {
        self.holders(inode, |_, bits| bits.deny & access as u8 != 0)
    }

    fn holders(&self, inode: InodeId, counts: impl Fn(&Open, Bits) -> bool) -> BTreeSet<ClientId> {
        let opens = self.files.get(&inode).into_iter();
        opens
            .flat_map(|file| file.by_owner.values())
            .filter_map(|index| Some((self.opens.at(*index)?, self.bits(*index))))
            .filter(|(open, bits)| counts(open, *bits))
            .map(|(open, _)| open.client)
            .collect()
    }

    fn has(&self, client: ClientId, inode: InodeId) -> bool {
        let short = client.short();
        self.files.get(&inode).is_some_and(|file| {
            let mut own = file.by_owner.range((short, 0)..=(short, u32::MAX));
            own.next().is_some()
        })
    }

    fn reserve(
        &mut self,
        request: OpenRequest,
        limits: &super::Limits,
    ) -> Result<OpenReservation, OpenRefusal> {
        let OpenRequest {
            client,
            owner,
            inode,
            access,
            deny,
            ..
        } = request;
        let asked = Pairs::one(access, deny);
        let known_owner = self.owner_by_name.get(&(client, owner.clone())).copied();
        let known_open = known_owner.and_then(|owner| {
            self.files
                .get(&inode)?
                .by_owner
                .get(&(client.short(), owner))
                .copied()
        });
        let before = known_open.map_or(Bits::default(), |index| self.bits(index));
        if self
            .files
            .get(&inode)
            .is_some_and(|file| file.conflicts(before, asked.union()))
        {
            return Err(OpenRefusal::ShareDenied);
        }
        let index = if let Some(index) = known_open {
            index
        } else {
            let held = self.clients.get(&client);
            if self.opens.len() >= limits.opens
                || self.opens.is_full()
                || held.is_some_and(|held| held.opens.len() >= limits.opens_per_client)
                || (known_owner.is_none()
                    && held.is_some_and(|held| held.owners >= limits.open_owners_per_client))
            {
                return Err(OpenRefusal::TooMany);
            }
            self.add(client, owner, known_owner, inode)
        };
        self.last_serial += 1;
        let serial = self.last_serial;
        self.reservations.insert((index, serial), asked);
        if let Some(open) = self.opens.at_mut(index) {
            open.reservations += 1;
        }
        self.recount(index, before);
        Ok(OpenReservation {
            client,
            inode,
            index,
            generation: self.opens.generation(index),
            serial,
        })
    }

    fn add(
        &mut self,
        client: ClientId,
        name: Bytes,
        known_owner: Option<u32>,
        inode: InodeId,
    ) -> u32 {
        let held = self.clients.entry(client).or_default();
        let owner = known_owner.unwrap_or_else(|| {
            held.owners += 1;
            let owner = self.owners.insert(OpenOwner {
                client,
                name: name.clone(),
                opens: 0,
            });
            self.owner_by_name.insert((client, name), owner);
            owner
        });
        if let Some(owner) = self.owners.at_mut(owner) {
            owner.opens += 1;
        }
        let index = self.opens.insert(Open {
            client,
            inode,
            owner,
            seqid: 0,
            pairs: Pairs::default(),
            reservations: 0,
            unprivileged: false,
        });
        held.opens.insert(index);
        self.files
            .entry(inode)
            .or_default()
            .by_owner
            .insert((client.short(), owner), index);
        index
    }

    /// Takes the reservation off its open: what it asked for, if the open still is.
    fn redeem(&mut self, reservation: &OpenReservation) -> Option<(Pairs, Bits)> {
        self.opens.get(reservation.index, reservation.generation)?;
        let before = self.bits(reservation.index);
        let asked = self
            .reservations
            .remove(&(reservation.index, reservation.serial))?;
        let open = self.opens.at_mut(reservation.index)?;
        open.reservations -= 1;
        Some((asked, before))
    }
}

impl State {
    /// Claims an open for the time of its transaction.
    pub fn open_reserve(&mut self, request: OpenRequest) -> Result<OpenReservation, OpenRefusal> {
        let (client, inode, reclaim) = (request.client, request.inode, request.reclaim);
        if let Some(delegation) = request.under {
            self.open_under(client, inode, request.access, delegation)?;
        } else {
            self.admit(client, reclaim)?;
            self.open_undelegated(client, inode, request.access, request.deny)?;
        }
        let excludes = request.deny != Deny::None && !reclaim;
        if excludes && self.writer_lingers(inode, Some(client)) {
            return Err(OpenRefusal::Fencing);
        }
        match self.opens.reserve(request, &self.limits) {
            Err(OpenRefusal::ShareDenied) if reclaim => Err(OpenRefusal::ReclaimConflict),
            Err(OpenRefusal::TooMany) if self.makes_room() => Err(OpenRefusal::MakingRoom),
            answer => answer,
        }
    }

    /// The transaction is durable: the open stands.
    pub fn open_confirm(&mut self, reservation: OpenReservation) -> Result<Stateid, OpenRefusal> {
        if self.clients.live(reservation.client).is_none() {
            self.open_rollback(reservation);
            return Err(OpenRefusal::ClientGone);
        }
        let index = reservation.index;
        let (asked, before) = self
            .opens
            .redeem(&reservation)
            .ok_or(OpenRefusal::ClientGone)?;
        if let Some(open) = self.opens.opens.at_mut(index) {
            open.pairs = open.pairs.with(asked);
            open.seqid = next_seqid(open.seqid);
        }
        self.opens.recount(index, before);
        self.opens.stateid(index).ok_or(OpenRefusal::ClientGone)
    }

    /// The transaction failed: as if the open had never been asked for.
    #[expect(clippy::needless_pass_by_value, reason = "the reservation is spent")]
    pub fn open_rollback(&mut self, reservation: OpenReservation) -> Released {
        if let Some((_, before)) = self.opens.redeem(&reservation) {
            self.opens.recount(reservation.index, before);
        }
        Released {
            inode: reservation.inode,
            last: !self.file_is_held(reservation.inode),
        }
    }

    /// The open that a stateid names.
    pub fn open_of(&self, client: ClientId, stateid: Stateid) -> Result<OpenRef, StateidRefusal> {
        self.honour(client)?;
        let index = self.opens.find(client, stateid)?;
        self.opens.view(index).ok_or(StateidRefusal::Bad)
    }

    /// OPEN_DOWNGRADE, §18.18.
    pub fn open_downgrade(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        inode: InodeId,
        access: Access,
        deny: Deny,
    ) -> Result<Stateid, DowngradeRefusal> {
        self.honour(client)?;
        let index = self.opens.find(client, stateid)?;
        let asked = Pairs::one(access, deny).union();
        let before = self.opens.bits(index);
        let open = self.opens.opens.at_mut(index).ok_or(StateidRefusal::Bad)?;
        if open.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        let kept = open.pairs.within(asked);
        if kept.union() != asked {
            return Err(DowngradeRefusal::NoSuchOpens);
        }
        open.pairs = kept;
        open.seqid = next_seqid(open.seqid);
        self.opens.recount(index, before);
        Ok(self.opens.stateid(index).ok_or(StateidRefusal::Bad)?)
    }

    /// CLOSE, §18.2.
    pub fn close(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        inode: InodeId,
    ) -> Result<Released, CloseRefusal> {
        self.honour(client)?;
        let index = self.opens.find(client, stateid)?;
        let open = self.opens.opens.at_mut(index).ok_or(StateidRefusal::Bad)?;
        if open.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        if open.reservations > 0 {
            return Err(CloseRefusal::Busy);
        }
        if self.locks.are_held_under(index) {
            return Err(CloseRefusal::LocksHeld);
        }
        self.locks.close(index);
        let before = self.opens.bits(index);
        if let Some(open) = self.opens.opens.at_mut(index) {
            open.pairs = Pairs::default();
        }
        self.opens.recount(index, before);
        if !self.opens.has(client, inode) {
            self.waiters.drop_file_of(client, inode);
        }
        Ok(Released {
            inode,
            last: !self.file_is_held(inode),
        })
    }

    /// Whether an open of anybody but `except` denies this access: for I/O that has no open, and
    /// for truncation by name.
    pub fn share_conflict(&self, inode: InodeId, access: Access, except: Option<ClientId>) -> bool {
        let Some(file) = self.opens.files.get(&inode) else {
            return false;
        };
        let asked = access as u8;
        let denied = (asked & READ != 0 && file.deny_read > 0)
            || (asked & WRITE != 0 && file.deny_write > 0);
        denied
            && file.by_owner.values().any(|index| {
                self.opens.opens.at(*index).is_some_and(|open| {
                    Some(open.client) != except && self.opens.bits(*index).deny & asked != 0
                })
            })
    }
}

#[cfg(test)]
mod tests;
