//! What the metadata server remembers between requests: clients, sessions, opens, locks,
//! layouts, delegations, gates. Pure data under one short lock: no clock, no randomness, no awaits, no wire
//! encoding, no status codes.
//!
//! Time comes in as an argument and secrets come from the boot's seed, so that a simulation can
//! replay any history. Refusals are named by their cause; `status` turns them into NFS.

mod callback;
mod client;
mod copy_notify;
mod courtesy;
mod coverage;
mod delegation;
mod few;
#[cfg(test)]
mod fixture;
mod gate;
mod grant;
mod interval;
mod io;
mod layouts;
mod lease;
mod limits;
mod lock;
mod offload;
mod open;
mod range;
mod recall;
mod referring;
mod refused;
mod sequence;
mod session;
mod share;
mod slot;
mod stateid;
mod table;
mod waiter;

use std::time::Duration;

use bytes::Bytes;
use catalog::InodeId;

pub use callback::{CallbackOutcome, CallbackRefusal, CallbackSlot};
pub use client::{
    ClientRecordView, DestroyClientRefusal, ExchangeId, ExchangeIdRefusal, ExchangedId,
    Implementation,
};
pub use copy_notify::{CopyNotifyRefusal, PartnerRefusal};
pub use coverage::Span;
pub use delegation::{
    Delegation, DelegationId, DelegationKind, DelegationRecall, DelegationRequest, EntryChange,
    NoDelegation, Notices, OldEntry, Touch,
};
pub use gate::{GateAnswer, GateMode};
pub use grant::{
    Grant, GrantId, GrantPhase, LayoutMode, LayoutRefusal, LayoutRequest, LayoutReservation,
    ReturnMode, Returned,
};
pub use io::{IoGrant, IoKind, IoRefusal};
pub use lease::{GraceEnd, GraceRefusal, Lapsed, ReclaimCompleteRefusal, RecordedClient};
pub use limits::Limits;
pub use lock::{DeniedLock, FreeRefusal, LockRefusal, LockRequest, Locker, UnlockRefusal};
pub use offload::{OffloadFault, OffloadRefusal, OffloadView};
pub use open::{
    CloseRefusal, DowngradeRefusal, OpenRef, OpenRefusal, OpenRequest, OpenReservation, Released,
};
pub use range::{LockKind, LockRange};
pub use recall::{RecallOrder, RecallWhat};
pub use referring::About;
pub use sequence::{
    Admitted, SequenceAnswer, SequenceRefusal, SequenceRequest, Sequenced, SlotRef, status_flags,
};
pub use session::{
    BindDirection, BoundDirection, Channel, CreateSession, CreateSessionRefusal, CreatedSession,
    DestroySessionRefusal, SessionInfo,
};
pub use share::{Access, Deny};
pub use stateid::{SpecialStateid, Stateid, StateidRefusal};
pub use waiter::LockNotice;

/// Monotonic nanoseconds since some start of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

impl Time {
    pub const ZERO: Time = Time(0);

    #[must_use]
    pub fn plus(self, duration: Duration) -> Time {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }

    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `clientid4`: the boot's epoch in the high half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

impl ClientId {
    /// All who come by NFSv3: they hold nothing that outlives a call. Clients are numbered from 1 on.
    pub const LEGACY: ClientId = ClientId(0);

    /// The half that tells clients of one boot apart.
    fn short(self) -> u32 {
        self.0 as u32
    }
}

/// `sessionid4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

/// A transport connection, as the caller numbers them; never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One who waits at a gate or is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a start of the server brings with it.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Raised by each start: stateids and client ids of an earlier one are told by it.
    pub epoch: u32,
    /// Random, and secret: session ids come from it.
    pub seed: u64,
    pub now: Time,
    /// Who may reclaim. Grace waits for them.
    pub on_record: Vec<RecordedClient>,
}

/// What went with a client, for the caller to clean up after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub client: ClientId,
    pub owner: Bytes,
    /// Files it had open: orphans to reap where nobody else holds them.
    pub closed: Vec<InodeId>,
    /// Layouts it did not return, being fenced now. `fenced` ends each.
    pub grants: Vec<Grant>,
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    pub clients: usize,
    /// Of them, those whose lease ran out and that keep what they have until somebody wants it.
    pub courtesy_clients: usize,
    pub sessions: usize,
    pub cached_reply_bytes: usize,
    pub open_owners: usize,
    pub opens: usize,
    pub lock_states: usize,
    pub locks: usize,
    pub lock_waiters: usize,
    pub layouts: usize,
    pub recalls: usize,
    pub fences: usize,
    /// Also those that are revoked and not freed.
    pub delegations: usize,
    pub delegation_recalls: usize,
    pub gates: usize,
    pub copies: usize,
    pub copy_notifies: usize,
}

/// All of it. Every change is a method call, complete when it returns.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    clients: client::Clients,
    sessions: session::Sessions,
    leases: lease::Leases,
    courtesy: courtesy::Courtesy,
    grace: lease::Grace,
    opens: open::Opens,
    locks: lock::Locks,
    waiters: waiter::Waiters,
    grants: grant::Grants,
    offloads: offload::Offloads,
    copy_notifies: copy_notify::CopyNotifies,
    delegations: delegation::Delegations,
    gates: gate::Gates,
}

impl State {
    pub fn new(limits: Limits, boot: Boot) -> Self {
        let keyed = table::Keyed::new(boot.seed);
        State {
            clients: client::Clients::new(boot.epoch, keyed),
            sessions: session::Sessions::new(boot.epoch, keyed),
            leases: lease::Leases::new(),
            courtesy: courtesy::Courtesy::default(),
            grace: lease::Grace::new(boot.now, limits.grace, boot.on_record),
            opens: open::Opens::new(boot.epoch, keyed),
            locks: lock::Locks::new(boot.epoch, keyed),
            waiters: waiter::Waiters::new(keyed),
            grants: grant::Grants::new(boot.epoch, keyed),
            offloads: offload::Offloads::new(boot.epoch, keyed),
            copy_notifies: copy_notify::CopyNotifies::new(boot.epoch, keyed),
            delegations: delegation::Delegations::new(boot.epoch, keyed),
            gates: gate::Gates::new(keyed),
            limits,
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn metrics(&self) -> Metrics {
        let (lock_states, locks) = self.locks.counts();
        let (layouts, recalls, fences) = self.grants.counts();
        let (open_owners, opens) = self.opens.counts();
        let (delegations, delegation_recalls) = self.delegations.counts();
        Metrics {
            clients: self.clients.table.len(),
            courtesy_clients: self.courtesy.len(),
            sessions: self.sessions.table.len(),
            cached_reply_bytes: self.sessions.cached_reply_bytes,
            open_owners,
            opens,
            lock_states,
            locks,
            lock_waiters: self.waiters.len(),
            layouts,
            recalls,
            fences,
            delegations,
            delegation_recalls,
            gates: self.gates.len(),
            copies: self.offloads.len(),
            copy_notifies: self.copy_notifies.len(),
        }
    }

    /// Whether anybody holds the file: an open (also one being made), a layout or a delegation. An
    /// unlinked file that nobody holds may be reaped.
    pub fn file_is_held(&self, inode: InodeId) -> bool {
        self.opens.is_open(inode) || self.grants.is_held(inode) || self.delegations.is_held(inode)
    }
}
