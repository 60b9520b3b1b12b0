//! Clients: EXCHANGE_ID and DESTROY_CLIENTID, RFC 8881 §18.35 and §18.50, and the table behind
//! them. Sessions, leases and what a client holds live beside, each in its own module.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::lease::Reclaim;
use super::session::{CreateSessionRefusal, CreatedSession};
use super::table::{Keyed, Map};
use super::{ClientId, Dropped, SessionId, State, StateidRefusal, Time};

/// What a client says of itself (`nfs_impl_id4`): it tells which layouts its kernel can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    pub domain: Bytes,
    pub name: Bytes,
    pub date_seconds: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeId {
    /// `co_ownerid`.
    pub owner: Bytes,
    /// `co_verifier`: another one is another start of the client.
    pub verifier: [u8; 8],
    /// Who asks, as `ops` names it: flavor, uid, machine.
    pub principal: Bytes,
    /// `EXCHGID4_FLAG_UPD_CONFIRMED_REC_A`.
    pub update: bool,
    pub implementation: Option<Implementation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangedId {
    pub client: ClientId,
    /// The sequence that CREATE_SESSION must carry.
    pub sequence: u32,
    pub confirmed: bool,
    /// The confirmed client of another principal that held nothing and is gone: so must be its
    /// durable record before the answer.
    pub displaced: Option<ClientId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeIdRefusal {
    #[error("an update of a client that is not confirmed")]
    NoConfirmedRecord,
    #[error("an update by another start of the client")]
    VerifierDiffers,
    #[error("an update by another principal")]
    PrincipalDiffers,
    #[error("another principal holds state under this owner")]
    InUse,
    #[error("there are as many clients as the limits allow")]
    TooMany,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestroyClientRefusal {
    #[error("no such client")]
    Stale,
    #[error("the client still has sessions, opens, locks or delegations")]
    Busy,
}

/// What the durable record of a client is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecordView {
    pub owner: Bytes,
    pub verifier: [u8; 8],
    pub principal: Bytes,
    pub implementation: Option<Implementation>,
    pub reclaim_complete: bool,
    /// Whether a restart may let it reclaim: it has completed its reclaims, or was on record
    /// and has begun them. A record without this gives no right at the next boot: between its
    /// lapse and its return others may have been given what it held (RFC 8881 §8.4.2.1).
    pub reclaimable: bool,
    pub confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Known by EXCHANGE_ID alone; goes by itself after a lease.
    Unconfirmed,
    Confirmed,
    /// Its lease ran out, and nobody has wanted what it holds: honoured as before.
    Courtesy {
        since: Time,
    },
    /// Given up: nothing of it is honoured, and what it held still excludes others
    /// until its durable record is gone (invariants 2 and 7).
    Lapsed,
}

impl Phase {
    pub(super) fn is_live(self) -> bool {
        matches!(self, Phase::Confirmed | Phase::Courtesy { .. })
    }
}

/// The last CREATE_SESSION of a client and its answer (§18.36.4, phase 2).
#[derive(Debug)]
pub(super) struct CreateSlot {
    pub(super) last: u32,
    pub(super) answer: Option<Result<CreatedSession, CreateSessionRefusal>>,
}

/// That layouts were taken away, told to the client once (§2.10.6, `sr_status_flags`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    None,
    Due,
    /// Sent in the answers to these sequences of these slots; the next of any of them proves its
    /// arrival. A client that heard it on a high slot may never come to that slot again.
    Told(BTreeMap<(SessionId, u32), u32>),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) owner: Bytes,
    pub(super) verifier: [u8; 8],
    pub(super) principal: Bytes,
    pub(super) implementation: Option<Implementation>,
    pub(super) phase: Phase,
    pub(super) create: CreateSlot,
    pub(super) sessions: BTreeSet<SessionId>,
    /// Requests between `sequence` and `complete`: they keep the lease.
    pub(super) executing: u32,
    pub(super) reclaim: Reclaim,
    pub(super) renewed: Time,
    pub(super) notice: Notice,
    /// When it has been refused as often as it may be in a second.
    pub(super) refused_until: Time,
}

/// The records of one client owner: a confirmed one, and one that may replace it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OwnerRecords {
    pub(super) confirmed: Option<ClientId>,
    pub(super) unconfirmed: Option<ClientId>,
}

#[derive(Debug)]
pub(super) struct Clients {
    pub(super) table: BTreeMap<ClientId, Client>,
    by_owner: Map<Bytes, OwnerRecords>,
    /// Known by EXCHANGE_ID alone, by age: these make room for others.
    unconfirmed: BTreeSet<(Time, ClientId)>,
    epoch: u32,
    last: u32,
}

impl Clients {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Clients {
            table: BTreeMap::new(),
            by_owner: Map::with_hasher(keyed),
            unconfirmed: BTreeSet::new(),
            epoch,
            last: 0,
        }
    }

    pub(super) fn records(&self, owner: &Bytes) -> OwnerRecords {
        self.by_owner.get(owner).copied().unwrap_or_default()
    }

    /// A client whose state is honoured.
    pub(super) fn live(&self, id: ClientId) -> Option<&Client> {
        self.table.get(&id).filter(|client| client.phase.is_live())
    }

    pub(super) fn live_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.table
            .get_mut(&id)
            .filter(|client| client.phase.is_live())
    }

    fn add_unconfirmed(&mut self, request: ExchangeId, now: Time) -> ClientId {
        self.last = self.last.wrapping_add(1);
        // The epoch tells a client id of an earlier boot, as it does for stateids.
        let id = ClientId((u64::from(self.epoch) << 32) | u64::from(self.last));
        self.by_owner
            .entry(request.owner.clone())
            .or_default()
            .unconfirmed = Some(id);
        self.unconfirmed.insert((now, id));
        self.table.insert(
            id,
            Client {
                owner: request.owner,
                verifier: request.verifier,
                principal: request.principal,
                implementation: request.implementation,
                phase: Phase::Unconfirmed,
                create: CreateSlot {
                    last: 0,
                    answer: None,
                },
                sessions: BTreeSet::new(),
                executing: 0,
                reclaim: Reclaim::None,
                renewed: now,
                notice: Notice::None,
                refused_until: Time::ZERO,
            },
        );
        id
    }

    /// Makes the client the confirmed one of its owner.
    pub(super) fn confirm(&mut self, id: ClientId) {
        if let Some(client) = self.table.get_mut(&id) {
            client.phase = Phase::Confirmed;
            self.unconfirmed.remove(&(client.renewed, id));
            let records = self.by_owner.entry(client.owner.clone()).or_default();
            records.confirmed = Some(id);
            records.unconfirmed = None;
        }
    }

    /// The owner may come again as a new client; the record itself stays.
    pub(super) fn detach(&mut self, id: ClientId) {
        let Some(client) = self.table.get(&id) else {
            return;
        };
        if let Some(records) = self.by_owner.get_mut(&client.owner) {
            if records.confirmed == Some(id) {
                records.confirmed = None;
            }
            if records.unconfirmed == Some(id) {
                records.unconfirmed = None;
            }
            if records.confirmed.is_none() && records.unconfirmed.is_none() {
                self.by_owner.remove(&client.owner);
            }
        }
    }

    pub(super) fn remove(&mut self, id: ClientId) -> Option<Client> {
        self.detach(id);
        let client = self.table.remove(&id)?;
        self.unconfirmed.remove(&(client.renewed, id));
        Some(client)
    }
}

impl State {
    /// EXCHANGE_ID. The cases are those of §18.35.4, in its order of flags and records.
    pub fn exchange_id(
        &mut self,
        now: Time,
        request: ExchangeId,
    ) -> Result<ExchangedId, ExchangeIdRefusal> {
        // A lease that ran out protects an owner from nobody (§18.35.4, client collision).
        let known = self.clients.records(&request.owner).confirmed;
        let collides = known.and_then(|id| self.clients.table.get(&id));
        if let (Some(id), Some(client)) = (known, collides)
            && client.principal != request.principal
            && !request.update
            && self.is_courteous(id)
        {
            self.revoke_client(id);
        }
        let records = self.clients.records(&request.owner);
        let confirmed = records
            .confirmed
            .and_then(|id| Some((id, self.clients.table.get_mut(&id)?)));
        let mut displaced = None;
        match (request.update, confirmed) {
            (true, None) => return Err(ExchangeIdRefusal::NoConfirmedRecord),
            (true, Some((id, client))) => {
                if client.principal != request.principal {
                    return Err(ExchangeIdRefusal::PrincipalDiffers);
                }
                if client.verifier != request.verifier {
                    return Err(ExchangeIdRefusal::VerifierDiffers);
                }
                client.implementation = request.implementation;
                return Ok(ExchangedId {
                    client: id,
                    sequence: client.create.last.wrapping_add(1),
                    confirmed: true,
                    displaced: None,
                });
            }
            (false, Some((id, client))) if client.principal == request.principal => {
                if client.verifier == request.verifier {
                    return Ok(ExchangedId {
                        client: id,
                        sequence: client.create.last.wrapping_add(1),
                        confirmed: true,
                        displaced: None,
                    });
                }
                // The client restarted. What it held goes when the new record is confirmed, so
                // that a request replayed from before the restart does no harm.
            }
            (false, Some((id, _))) => {
                // A chance collision: another principal may take over only what holds nothing,
                // and that goes at once.
                if self.holds_anything(id) {
                    return Err(ExchangeIdRefusal::InUse);
                }
                self.forget_client(id);
                displaced = Some(id);
            }
            (false, None) => {}
        }
        if let Some(replaced) = records.unconfirmed {
            self.forget_unconfirmed(replaced);
        }
        if self.clients.table.len() >= self.limits.clients {
            // Whoever asks without end for ids that he never uses pushes out his own, not others (§18.35.4: an
            // unconfirmed record may go at any time).
            let oldest = self.clients.unconfirmed.first().copied();
            let (_, oldest) = oldest.ok_or(ExchangeIdRefusal::TooMany)?;
            self.forget_unconfirmed(oldest);
        }
        let client = self.clients.add_unconfirmed(request, now);
        self.leases.watch(client, now.plus(self.limits.lease));
        Ok(ExchangedId {
            client,
            sequence: 1,
            confirmed: false,
            displaced,
        })
    }

    /// DESTROY_CLIENTID. Layouts alone do not make a client busy: Linux forgets them silently,
    /// and a refusal costs its unmount ten seconds. They are fenced and settled instead.
    pub fn destroy_client(&mut self, id: ClientId) -> Result<Vec<Dropped>, DestroyClientRefusal> {
        let Some(client) = self.clients.table.get(&id) else {
            return Err(DestroyClientRefusal::Stale);
        };
        match client.phase {
            Phase::Lapsed => return Err(DestroyClientRefusal::Stale),
            Phase::Unconfirmed => {
                self.forget_unconfirmed(id);
                return Ok(Vec::new());
            }
            Phase::Confirmed | Phase::Courtesy { .. } => {}
        }
        if !client.sessions.is_empty()
            || self.opens.held_by(id) > 0
            || self.locks.held_by(id) > 0
            || self.delegations.held_by(id) > 0
        {
            return Err(DestroyClientRefusal::Busy);
        }
        Ok(self.forget_client(id).into_iter().collect())
    }

    /// Its deadline with it, which nothing has moved: endless EXCHANGE_IDs leave nothing behind.
    fn forget_unconfirmed(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(id) {
            let deadline = client.renewed.plus(self.limits.lease);
            self.leases.forget(id, deadline);
        }
    }

    /// What to write into the durable record, and what the client's kernel is.
    pub fn client_record(&self, id: ClientId) -> Option<ClientRecordView> {
        let client = self.clients.table.get(&id)?;
        Some(ClientRecordView {
            owner: client.owner.clone(),
            verifier: client.verifier,
            principal: client.principal.clone(),
            implementation: client.implementation.clone(),
            reclaim_complete: client.reclaim.is_complete(),
            reclaimable: client.reclaim != Reclaim::None,
            confirmed: client.phase.is_live(),
        })
    }

    /// Every confirmed client.
    pub fn clients(&self) -> Vec<ClientId> {
        self.clients
            .table
            .iter()
            .filter(|(_, client)| client.phase.is_live())
            .map(|(id, _)| *id)
            .collect()
    }

    pub fn sessions_of(&self, id: ClientId) -> Vec<SessionId> {
        self.clients
            .table
            .get(&id)
            .map(|client| client.sessions.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Invariant 2: of a client that lapsed nothing is honoured, whatever it still excludes.
    pub(super) fn honour(&self, id: ClientId) -> Result<(), StateidRefusal> {
        self.clients
            .live(id)
            .map(drop)
            .ok_or(StateidRefusal::Expired)
    }

    pub(super) fn holds_anything(&self, id: ClientId) -> bool {
        self.clients
            .table
            .get(&id)
            .is_some_and(|client| !client.sessions.is_empty())
            || self.opens.held_by(id) > 0
            || self.locks.held_by(id) > 0
            || self.grants.held_by(id) > 0
            || self.delegations.held_by(id) > 0
    }

    /// Drops the client with all that it holds. Its layouts stay, to be fenced.
    pub(super) fn forget_client(&mut self, id: ClientId) -> Option<Dropped> {
        let sessions = self.sessions_of(id);
        for session in sessions {
            self.drop_session(session);
        }
        let client = self.clients.remove(id)?;
        if let Phase::Courtesy { since } = client.phase {
            self.courtesy.remove(since, id);
        }
        self.leases.lapsed.remove(&id);
        self.waiters.drop_client(id);
        self.offloads.drop_client(id);
        self.copy_notifies.drop_client(id);
        self.locks.drop_client(id);
        let mut closed = self.opens.drop_client(id);
        closed.extend(self.delegations.drop_client(id));
        let grants = self.grants.drop_client(id);
        self.grace.forget(id);
        Some(Dropped {
            client: id,
            owner: client.owner,
            closed,
            grants,
        })
    }
}

#[cfg(test)]
mod tests;
