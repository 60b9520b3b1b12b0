//! Courtesy, RFC 8881 §8.4.3: a client whose lease ran out keeps what it has until somebody else
//! wants it. Who must go for whom is decided here; what goes with a client is `client`'s.
//!
//! Confirmed → courtesy → confirmed again by its next request, or → lapsed. Its durable record
//! stays all the while, so that after a restart it reclaims like others; it goes before what
//! was the client's is given away (invariant 7).

use std::collections::BTreeSet;

use catalog::InodeId;

use super::client::Phase;
use super::lease::Lapsed;
use super::open::OpenRequest;
use super::share::Access;
use super::{ClientId, State, Time};

/// Clients let go at once, when room is wanted.
const AT_ONCE: usize = 64;

/// Clients out of their lease, by since when.
#[derive(Debug, Default)]
pub(super) struct Courtesy(BTreeSet<(Time, ClientId)>);

impl Courtesy {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn remove(&mut self, since: Time, client: ClientId) {
        self.0.remove(&(since, client));
    }
}

impl State {
    /// The client has shown that it lives: its lease begins anew, and courtesy ends.
    pub(super) fn renew(&mut self, now: Time, id: ClientId) {
        let Some(client) = self.clients.table.get_mut(&id) else {
            return;
        };
        client.renewed = client.renewed.max(now);
        if let Phase::Courtesy { since } = client.phase {
            client.phase = Phase::Confirmed;
            let lease_ends = client.renewed.plus(self.limits.lease);
            self.courtesy.remove(since, id);
            self.leases.forget(id, since.plus(self.limits.courtesy));
            self.leases.watch(id, lease_ends);
        }
    }

    /// The lease of a client ran out: whether it may keep what it has. One that holds nothing
    /// has no use of it, and one that has not completed its reclaims no right to it.
    pub(super) fn begin_courtesy(&mut self, now: Time, id: ClientId) -> bool {
        let deserves = !self.limits.courtesy.is_zero()
            && (self.opens.held_by(id) > 0 || self.grants.held_by(id) > 0);
        let Some(client) = self.clients.table.get_mut(&id) else {
            return false;
        };
        if !deserves || !client.reclaim.is_complete() {
            return false;
        }
        client.phase = Phase::Courtesy { since: now };
        self.courtesy.0.insert((now, id));
        self.leases.watch(id, now.plus(self.limits.courtesy));
        true
    }

    pub(super) fn is_courteous(&self, id: ClientId) -> bool {
        self.clients
            .table
            .get(&id)
            .is_some_and(|client| matches!(client.phase, Phase::Courtesy { .. }))
    }

    /// Whether the client's lease ran out: it is in nobody's way for long.
    fn is_past_its_lease(&self, id: ClientId) -> bool {
        self.is_courteous(id) || self.leases.lapsed.contains(&id)
    }

    /// Takes what these have, where all of them are past their lease. Whoever is let go stands in
    /// the way until its record is gone and `drop_client` was called. Empty: a live client is
    /// among them.
    fn let_go(&mut self, holders: &BTreeSet<ClientId>) -> Vec<Lapsed> {
        if !holders.iter().all(|id| self.is_past_its_lease(*id)) {
            return Vec::new();
        }
        holders
            .iter()
            .filter_map(|id| self.revoke_client(*id).or_else(|| self.lapsed(*id)))
            .collect()
    }

    /// An open was denied: whom to drop first, for it to pass.
    pub fn make_way_for_open(&mut self, request: &OpenRequest) -> Vec<Lapsed> {
        let holders = self.opens.in_the_way(request);
        self.let_go(&holders)
    }

    /// A lock was denied by what this client holds: whom to drop first, for it to pass.
    pub fn make_way_for_lock(&mut self, holder: ClientId) -> Vec<Lapsed> {
        self.let_go(&BTreeSet::from([holder]))
    }

    /// Whether what denies this access is on its way out, or is from now on.
    pub(super) fn make_way_for_io(&mut self, inode: InodeId, access: Access) -> bool {
        let holders = self.opens.deniers(inode, access);
        !self.let_go(&holders).is_empty()
    }

    /// Whether a limit that all clients share is reached, and room can be made.
    pub fn makes_room(&self) -> bool {
        let full = self.clients.table.len() >= self.limits.clients
            || self.opens.counts().1 >= self.limits.opens
            || self.grants.counts().0 >= self.limits.layouts
            || self.sessions.cached_reply_bytes >= self.limits.cached_reply_bytes;
        full && (self.courtesy.len() > 0 || !self.leases.lapsed.is_empty())
    }

    /// Lets those go that have been away for the longest, while room is wanted.
    pub(super) fn shed(&mut self) {
        if !self.makes_room() || !self.leases.lapsed.is_empty() {
            return;
        }
        let oldest: Vec<ClientId> = self.courtesy.0.iter().take(AT_ONCE).map(|c| c.1).collect();
        for id in oldest {
            self.revoke_client(id);
        }
    }
}

#[cfg(test)]
mod tests;
