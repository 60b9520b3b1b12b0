//! Leases and grace, RFC 8881 §8.3 and §8.4: when a client has been silent too long, and who may
//! reclaim after a restart. What is dropped with a client is told by `client`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::client::Phase;
use super::{ClientId, Dropped, State, Time};

/// So long after the last reclaim grace goes on: more than from one look at it to the next.
const LINGERS: Duration = Duration::from_secs(3);

/// A client on durable record when the server started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedClient {
    /// Key of the durable record: the client's id in the boot that wrote it.
    pub record: u64,
    pub owner: Bytes,
    pub principal: Bytes,
}

/// Where a client stands with its reclaims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// Not on record: it has nothing to reclaim and must still say RECLAIM_COMPLETE (§18.51.3).
    None,
    /// On record, by that record.
    Recorded(u64),
    Complete,
}

impl Reclaim {
    pub(super) fn is_complete(self) -> bool {
        self == Reclaim::Complete
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GraceRefusal {
    #[error("only reclaims are admitted until grace ends")]
    InGrace,
    #[error("grace is over")]
    NoGrace,
    #[error("the client is not on record, or has completed its reclaims")]
    NotOnRecord,
    #[error("the client has not yet said RECLAIM_COMPLETE")]
    NotComplete,
    #[error("no such client")]
    UnknownClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReclaimCompleteRefusal {
    #[error("the client has completed its reclaims before")]
    AlreadyComplete,
    /// Its record is among those being removed: put back too early, it would go with them.
    #[error("grace is ending")]
    GraceEnding,
    #[error("no such client")]
    UnknownClient,
}

/// A client whose lease ran out, and whose durable record must now go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapsed {
    pub client: ClientId,
    pub owner: Bytes,
}

/// Grace has nothing left to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraceEnd {
    /// Records of clients that did not come back or did not complete their reclaims: to be
    /// removed before `end_grace`.
    pub lapsed_records: Vec<u64>,
}

/// Deadlines by time. A renewal touches nothing here: a deadline that comes up is compared with
/// the client's own, and put back.
#[derive(Debug)]
pub(super) struct Leases {
    due: BTreeSet<(Time, ClientId)>,
    /// Lapsed, and not yet dropped.
    pub(super) lapsed: BTreeSet<ClientId>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Leases {
            due: BTreeSet::new(),
            lapsed: BTreeSet::new(),
        }
    }

    pub(super) fn watch(&mut self, client: ClientId, deadline: Time) {
        self.due.insert((deadline, client));
    }

    pub(super) fn forget(&mut self, client: ClientId, deadline: Time) {
        self.due.remove(&(deadline, client));
    }

    fn pop_due(&mut self, now: Time) -> Option<ClientId> {
        let first = self.due.first().copied()?;
        (first.0 <= now).then(|| {
            self.due.remove(&first);
            first.1
        })
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.due.first().map(|(time, _)| *time)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GracePhase {
    /// Reclaims are admitted, nothing else.
    Open,
    /// Nothing is admitted: lapsed records are being removed, write intents settled.
    Closing,
    Over,
}

#[derive(Debug)]
struct Awaited {
    record: u64,
    principal: Bytes,
    /// The client that came back as this one.
    back: Option<ClientId>,
}

/// The grace period of this boot.
#[derive(Debug)]
pub(super) struct Grace {
    phase: GracePhase,
    /// Its end, which reclaims put off as far as `latest`.
    until: Time,
    latest: Time,
    /// Since it was last looked at.
    reclaimed: bool,
    awaited: BTreeMap<Bytes, Awaited>,
    lapsed_records: BTreeSet<u64>,
}

impl Grace {
    pub(super) fn new(now: Time, length: Duration, on_record: Vec<RecordedClient>) -> Self {
        let until = now.plus(length);
        Grace {
            phase: GracePhase::Open,
            until,
            latest: until.plus(length),
            reclaimed: false,
            awaited: on_record
                .into_iter()
                .map(|client| {
                    let awaited = Awaited {
                        record: client.record,
                        principal: client.principal,
                        back: None,
                    };
                    (client.owner, awaited)
                })
                .collect(),
            lapsed_records: BTreeSet::new(),
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        (self.phase == GracePhase::Open).then_some(self.until)
    }

    /// Whoever is taking things back is not cut off half way, but not waited for without end.
    fn put_off(&mut self, now: Time) {
        if std::mem::take(&mut self.reclaimed) {
            self.until = self.until.max(now.plus(LINGERS).min(self.latest));
        }
    }

    /// A client has been confirmed: whether it is one of those awaited. The principal counts,
    /// or an owner name overheard would be enough to take another's opens.
    pub(super) fn greet(&mut self, owner: &Bytes, principal: &Bytes, client: ClientId) -> Reclaim {
        match self.awaited.get_mut(owner) {
            Some(awaited) if self.phase == GracePhase::Open && awaited.principal == *principal => {
                awaited.back = Some(client);
                Reclaim::Recorded(awaited.record)
            }
            _ => Reclaim::None,
        }
    }

    fn completed(&mut self, owner: &Bytes, client: ClientId) {
        if self
            .awaited
            .get(owner)
            .is_some_and(|awaited| awaited.back == Some(client))
        {
            self.awaited.remove(owner);
        }
    }

    /// The client went: nobody waits for it any more. Its own record goes with it, and the one
    /// of the earlier boot went when it was confirmed.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.awaited
            .retain(|_, awaited| awaited.back != Some(client));
    }
}

impl State {
    /// Whether non-reclaims are refused.
    pub fn in_grace(&self) -> bool {
        self.grace.phase != GracePhase::Over
    }

    /// Closes grace when its time is over, and nobody is in the middle of reclaims, or everybody on
    /// record has completed. From then on
    /// reclaims are refused as well; the caller removes the records listed, settles every write
    /// intent, and calls `end_grace` (invariant 7). Until then it is told again.
    pub fn grace_due(&mut self, now: Time) -> Option<GraceEnd> {
        self.grace.put_off(now);
        match self.grace.phase {
            GracePhase::Over => return None,
            GracePhase::Open if now < self.grace.until && !self.grace.awaited.is_empty() => {
                return None;
            }
            GracePhase::Open => {
                self.grace.phase = GracePhase::Closing;
                // One who came back and has not completed keeps what it reclaimed, and can
                // reclaim no more, now or after a further restart: others may be given the
                // rest. RECLAIM_COMPLETE puts it on record again.
                for awaited in std::mem::take(&mut self.grace.awaited).into_values() {
                    let record = awaited.back.map_or(awaited.record, |client| client.0);
                    self.grace.lapsed_records.insert(record);
                    if let Some(client) = awaited.back
                        && let Some(client) = self.clients.table.get_mut(&client)
                    {
                        client.reclaim = Reclaim::None;
                    }
                }
            }
            GracePhase::Closing => {}
        }
        Some(GraceEnd {
            lapsed_records: self.grace.lapsed_records.iter().copied().collect(),
        })
    }

    pub fn end_grace(&mut self) {
        self.grace.phase = GracePhase::Over;
        self.grace.lapsed_records = BTreeSet::new();
    }

    /// Whether this client may reclaim what it held before the restart.
    pub fn may_reclaim(&self, client: ClientId) -> Result<(), GraceRefusal> {
        let client = self
            .clients
            .live(client)
            .ok_or(GraceRefusal::UnknownClient)?;
        match (self.grace.phase, client.reclaim) {
            (GracePhase::Open, Reclaim::Recorded(_)) => Ok(()),
            (_, Reclaim::Complete) | (GracePhase::Closing | GracePhase::Over, _) => {
                Err(GraceRefusal::NoGrace)
            }
            (GracePhase::Open, Reclaim::None) => Err(GraceRefusal::NotOnRecord),
        }
    }

    /// Whether this client may take an open, lock or layout that is no reclaim.
    pub fn may_take_new(&self, client: ClientId) -> Result<(), GraceRefusal> {
        let client = self
            .clients
            .live(client)
            .ok_or(GraceRefusal::UnknownClient)?;
        if self.in_grace() {
            Err(GraceRefusal::InGrace)
        } else if client.reclaim.is_complete() {
            Ok(())
        } else {
            Err(GraceRefusal::NotComplete)
        }
    }

    pub(super) fn admit(&mut self, client: ClientId, reclaim: bool) -> Result<(), GraceRefusal> {
        if reclaim {
            self.may_reclaim(client)?;
            self.grace.reclaimed = true;
            Ok(())
        } else {
            self.may_take_new(client)
        }
    }

    /// RECLAIM_COMPLETE, §18.51.
    pub fn reclaim_complete(&mut self, id: ClientId) -> Result<(), ReclaimCompleteRefusal> {
        let client = self
            .clients
            .live_mut(id)
            .ok_or(ReclaimCompleteRefusal::UnknownClient)?;
        if client.reclaim.is_complete() {
            return Err(ReclaimCompleteRefusal::AlreadyComplete);
        }
        if self.grace.lapsed_records.contains(&id.0) {
            return Err(ReclaimCompleteRefusal::GraceEnding);
        }
        client.reclaim = Reclaim::Complete;
        self.grace.completed(&client.owner, id);
        Ok(())
    }

    /// Finds the clients whose lease ran out and that are shown no courtesy, or no longer. Nothing
    /// of them is honoured from here on, but what they held still excludes others: the caller removes each durable record first, and then
    /// calls `drop_client`, so that after a crash nobody reclaims what another was given. A
    /// client is listed again until it is dropped.
    pub fn lapse(&mut self, now: Time) -> Vec<Lapsed> {
        while let Some(id) = self.leases.pop_due(now) {
            let Some(client) = self.clients.table.get(&id) else {
                continue;
            };
            let phase = client.phase;
            let deadline = if let Phase::Courtesy { since } = phase {
                since.plus(self.limits.courtesy)
            } else if client.executing > 0 {
                // A request being worked on is no silence (§8.3).
                now.plus(self.limits.lease)
            } else {
                client.renewed.plus(self.limits.lease)
            };
            match phase {
                Phase::Lapsed => {}
                _ if deadline > now => self.leases.watch(id, deadline),
                Phase::Unconfirmed => {
                    self.clients.remove(id);
                }
                Phase::Confirmed if self.begin_courtesy(now, id) => {}
                Phase::Confirmed | Phase::Courtesy { .. } => {
                    self.revoke_client(id);
                }
            }
        }
        self.copy_notifies.expire(now);
        self.shed();
        let lapsed = self.leases.lapsed.iter();
        lapsed.filter_map(|id| self.lapsed(*id)).collect()
    }

    pub(super) fn lapsed(&self, client: ClientId) -> Option<Lapsed> {
        if !self.leases.lapsed.contains(&client) {
            return None;
        }
        let owner = self.clients.table.get(&client)?.owner.clone();
        Some(Lapsed { client, owner })
    }

    /// Takes everything from a client, as `lapse` does for a silent one.
    pub fn revoke_client(&mut self, id: ClientId) -> Option<Lapsed> {
        let client = self.clients.live_mut(id)?;
        let before = std::mem::replace(&mut client.phase, Phase::Lapsed);
        let owner = client.owner.clone();
        if let Phase::Courtesy { since } = before {
            self.courtesy.remove(since, id);
        }
        for session in self.sessions_of(id) {
            self.drop_session(session);
        }
        self.clients.detach(id);
        self.leases.lapsed.insert(id);
        Some(Lapsed { client: id, owner })
    }

    /// Drops a lapsed client, once its durable record is gone.
    pub fn drop_client(&mut self, id: ClientId) -> Option<Dropped> {
        let client = self.clients.table.get(&id)?;
        (client.phase == Phase::Lapsed)
            .then(|| self.forget_client(id))
            .flatten()
    }

    /// When `lapse`, `overdue`, `delegations_overdue` or `grace_due` next have something to look at.
    pub fn next_deadline(&self) -> Option<Time> {
        [
            self.leases.next(),
            self.grants.next_deadline(),
            self.delegations.next_deadline(),
            self.grace.next(),
            self.waiters.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
