//! Sessions and their connections, RFC 8881 §2.10, §18.33, §18.34, §18.36 and §18.37.
//! What runs in them is in `sequence` and `slot`, callbacks are in `callback`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use bytes::Bytes;

use super::callback::BackSlots;
use super::client::{Notice, Phase};
use super::lease::Reclaim;
use super::limits::Limits;
use super::sequence::{SequenceRefusal, SlotRef, SlotState};
use super::table::{Keyed, Map};
use super::{ClientId, ConnectionId, Dropped, SessionId, State, Time};

/// `channel_attrs4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    pub header_pad_bytes: u32,
    pub max_request_bytes: u32,
    pub max_response_bytes: u32,
    pub max_cached_bytes: u32,
    pub max_operations: u32,
    pub max_requests: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSession {
    pub client: ClientId,
    pub sequence: u32,
    pub principal: Bytes,
    pub connection: ConnectionId,
    pub fore: Channel,
    pub back: Channel,
    /// `CREATE_SESSION4_FLAG_CONN_BACK_CHAN`.
    pub back_channel: bool,
    /// Minor version of the COMPOUND that asks: Linux knows a session's callbacks by it, and
    /// refuses those of another with BADSESSION.
    pub minor: u32,
    pub callback_program: u32,
    /// `csa_sec_parms`, as `callbacks` wants it back.
    pub callback_security: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSession {
    pub session: SessionId,
    pub client: ClientId,
    pub sequence: u32,
    pub fore: Channel,
    pub back: Channel,
    pub back_channel: bool,
    /// The client has just been confirmed: its record must be durable before the answer, and
    /// the records in `supersedes` go in the same transaction.
    pub confirmed_now: bool,
    pub supersedes: Vec<u64>,
    /// This answers a retry: nothing has changed.
    pub replay: bool,
    /// What an earlier start of this client left.
    pub dropped: Option<Dropped>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateSessionRefusal {
    #[error("no such client")]
    StaleClientId,
    #[error("the sequence is neither the last nor the next")]
    Misordered,
    #[error("another principal owns this client")]
    InUse,
    #[error("the channel is too small for any compound")]
    TooSmall,
    #[error("the client has as many sessions as the limits allow")]
    TooMany,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestroySessionRefusal {
    #[error("no such session")]
    BadSession,
    #[error("requests of the session are still worked on")]
    Busy,
    #[error("neither the connection nor the principal is the session's")]
    NotBound,
}

/// `channel_dir_from_client4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindDirection {
    Fore,
    Back,
    ForeOrBoth,
    BackOrBoth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundDirection {
    Fore,
    Back,
    Both,
}

impl BoundDirection {
    fn carries_callbacks(self) -> bool {
        self != BoundDirection::Fore
    }
}

/// What `callbacks` and compounds may know of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    pub client: ClientId,
    pub fore: Channel,
    pub back: Channel,
    pub callback_program: u32,
    pub callback_security: Bytes,
    pub back_connections: Vec<ConnectionId>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: ClientId,
    pub(super) fore: Channel,
    pub(super) back: Channel,
    pub(super) minor: u32,
    pub(super) callback_program: u32,
    pub(super) callback_security: Bytes,
    pub(super) connections: BTreeMap<ConnectionId, BoundDirection>,
    pub(super) back_slots: BackSlots,
    pub(super) slots: Vec<SlotState>,
    pub(super) target_highest_slot: u32,
    /// Counts changes of the target, so that only a request sent after the client learned of a
    /// lower one gives slots back.
    pub(super) target_serial: u32,
}

impl Session {
    fn executing(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, state)| state.slot.is_executing())
            .map(|(index, _)| index as u32)
    }

    pub(super) fn back_connections(&self) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, direction)| direction.carries_callbacks())
            .map(|(connection, _)| *connection)
            .collect()
    }

    pub(super) fn has_back_connection(&self) -> bool {
        self.connections
            .values()
            .any(|direction| direction.carries_callbacks())
    }
}

#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) table: Map<SessionId, Session>,
    by_connection: BTreeMap<ConnectionId, BTreeSet<SessionId>>,
    keyed: Keyed,
    epoch: u32,
    last: u32,
    pub(super) cached_reply_bytes: usize,
    /// How much requests gave their clients, ever.
    pub(super) given: u64,
}

impl Sessions {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Sessions {
            table: Map::with_hasher(keyed),
            by_connection: BTreeMap::new(),
            keyed,
            epoch,
            last: 0,
            cached_reply_bytes: 0,
            given: 0,
        }
    }

    /// An id that cannot be guessed from another: whoever knows it may use the session.
    fn next_id(&mut self) -> SessionId {
        self.last = self.last.wrapping_add(1);
        let place = (u64::from(self.epoch) << 32) | u64::from(self.last);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&place.to_be_bytes());
        id[8..].copy_from_slice(&self.keyed.hash_one(("session", place)).to_be_bytes());
        SessionId(id)
    }

    pub(super) fn associate(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        direction: BoundDirection,
    ) {
        if let Some(session) = self.table.get_mut(&id) {
            session.connections.insert(connection, direction);
            self.by_connection.entry(connection).or_default().insert(id);
        }
    }
}

/// Least sizes that let SEQUENCE, PUTFH and one small operation through.
const LEAST_REQUEST_BYTES: u32 = 256;
const LEAST_RESPONSE_BYTES: u32 = 256;
const LEAST_OPERATIONS: u32 = 2;

fn negotiate_fore(asked: &Channel, limits: &Limits) -> Option<Channel> {
    let channel = Channel {
        header_pad_bytes: 0,
        max_request_bytes: asked.max_request_bytes.min(limits.request_bytes),
        max_response_bytes: asked.max_response_bytes.min(limits.response_bytes),
        max_cached_bytes: asked.max_cached_bytes.min(limits.cached_response_bytes),
        max_operations: asked.max_operations.min(limits.operations),
        max_requests: asked.max_requests.clamp(1, limits.slots.max(1)),
    };
    (channel.max_request_bytes >= LEAST_REQUEST_BYTES
        && channel.max_response_bytes >= LEAST_RESPONSE_BYTES
        && channel.max_operations >= LEAST_OPERATIONS)
        .then_some(channel)
}

/// Least sizes of a back channel: CB_SEQUENCE and one recall, whose filehandle is ours.
const LEAST_CALLBACK_BYTES: u32 = 256;
const LEAST_CALLBACK_OPERATIONS: u32 = 2;

/// No slots or no operations are no back channel, for a client that wants none.
fn negotiate_back(asked: &Channel, limits: &Limits) -> Option<Channel> {
    let channel = Channel {
        header_pad_bytes: 0,
        max_requests: asked.max_requests.min(limits.callback_slots),
        ..*asked
    };
    let none = channel.max_requests == 0 || channel.max_operations == 0;
    (none
        || channel.max_request_bytes >= LEAST_CALLBACK_BYTES
            && channel.max_response_bytes >= LEAST_CALLBACK_BYTES
            && channel.max_operations >= LEAST_CALLBACK_OPERATIONS)
        .then_some(channel)
}

impl State {
    /// CREATE_SESSION, §18.36.4. Confirms the client where it was not.
    pub fn create_session(
        &mut self,
        now: Time,
        request: CreateSession,
    ) -> Result<CreatedSession, CreateSessionRefusal> {
        let client = self
            .clients
            .table
            .get(&request.client)
            .filter(|client| client.phase != Phase::Lapsed)
            .ok_or(CreateSessionRefusal::StaleClientId)?;
        if request.sequence == client.create.last
            && let Some(answer) = &client.create.answer
        {
            return answer.clone().map(|created| CreatedSession {
                replay: true,
                ..created
            });
        }
        if request.sequence != client.create.last.wrapping_add(1) {
            return Err(CreateSessionRefusal::Misordered);
        }
        // Channels that nobody could use are a fault of the arguments, told before the sequence counts.
        let fore =
            negotiate_fore(&request.fore, &self.limits).ok_or(CreateSessionRefusal::TooSmall)?;
        let back =
            negotiate_back(&request.back, &self.limits).ok_or(CreateSessionRefusal::TooSmall)?;
        // A client told to come later comes with the same sequence.
        if client.sessions.len() >= self.limits.sessions_per_client {
            return Err(CreateSessionRefusal::TooMany);
        }
        let id = request.client;
        let sequence = request.sequence;
        let answer = self.create_session_once(now, request, fore, back);
        if let Some(client) = self.clients.table.get_mut(&id) {
            client.create.last = sequence;
            client.create.answer = Some(answer.clone().map(|created| CreatedSession {
                dropped: None,
                ..created
            }));
        }
        answer
    }

    fn create_session_once(
        &mut self,
        now: Time,
        request: CreateSession,
        fore: Channel,
        back: Channel,
    ) -> Result<CreatedSession, CreateSessionRefusal> {
        let client = self
            .clients
            .table
            .get(&request.client)
            .ok_or(CreateSessionRefusal::StaleClientId)?;
        let confirmed_now = client.phase == Phase::Unconfirmed;
        if confirmed_now && client.principal != request.principal {
            return Err(CreateSessionRefusal::InUse);
        }
        let (owner, principal) = (client.owner.clone(), client.principal.clone());
        let mut dropped = None;
        let mut supersedes = Vec::new();
        if confirmed_now {
            if let Some(earlier) = self.clients.records(&owner).confirmed {
                // Of the same principal: EXCHANGE_ID removes another's, or refuses.
                dropped = self.forget_client(earlier);
                supersedes.push(earlier.0);
            }
            self.clients.confirm(request.client);
            let reclaim = self.grace.greet(&owner, &principal, request.client);
            if let Reclaim::Recorded(record) = reclaim {
                supersedes.push(record);
            }
            if let Some(client) = self.clients.table.get_mut(&request.client) {
                client.reclaim = reclaim;
            }
        }

        let session = self.sessions.next_id();
        // Callbacks ride the connection that asked for them, where the client has slots for one.
        let back_channel = request.back_channel && back.max_requests > 0 && back.max_operations > 0;
        self.sessions.table.insert(
            session,
            Session {
                client: request.client,
                fore,
                back,
                minor: request.minor,
                callback_program: request.callback_program,
                callback_security: request.callback_security,
                connections: BTreeMap::new(),
                back_slots: BackSlots::new(back.max_requests),
                slots: Vec::new(),
                target_highest_slot: fore.max_requests - 1,
                target_serial: 0,
            },
        );
        let direction = if back_channel {
            BoundDirection::Both
        } else {
            BoundDirection::Fore
        };
        self.sessions
            .associate(session, request.connection, direction);
        if let Some(client) = self.clients.table.get_mut(&request.client) {
            client.sessions.insert(session);
        }
        self.renew(now, request.client);
        Ok(CreatedSession {
            session,
            client: request.client,
            sequence: request.sequence,
            fore,
            back,
            back_channel,
            confirmed_now,
            supersedes,
            replay: false,
            dropped,
        })
    }

    /// DESTROY_SESSION, §18.37. `own_slot` is the request's own, when it is sent within the
    /// session that it destroys.
    pub fn destroy_session(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        principal: &[u8],
        own_slot: Option<SlotRef>,
    ) -> Result<(), DestroySessionRefusal> {
        let session = self
            .sessions
            .table
            .get(&id)
            .ok_or(DestroySessionRefusal::BadSession)?;
        let known_principal = self
            .clients
            .table
            .get(&session.client)
            .is_some_and(|client| client.principal == principal);
        if !session.connections.contains_key(&connection) && !known_principal {
            return Err(DestroySessionRefusal::NotBound);
        }
        let own = own_slot.filter(|own| own.session == id).map(|own| own.slot);
        if session.executing().any(|slot| Some(slot) != own) {
            return Err(DestroySessionRefusal::Busy);
        }
        self.drop_session(id);
        Ok(())
    }

    pub(super) fn drop_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.table.remove(&id) else {
            return;
        };
        for connection in session.connections.keys() {
            if let Some(sessions) = self.sessions.by_connection.get_mut(connection) {
                sessions.remove(&id);
                if sessions.is_empty() {
                    self.sessions.by_connection.remove(connection);
                }
            }
        }
        let cached: usize = session
            .slots
            .iter()
            .map(|state| state.slot.cached_bytes())
            .sum();
        self.sessions.cached_reply_bytes -= cached;
        if let Some(client) = self.clients.table.get_mut(&session.client) {
            client.sessions.remove(&id);
            let executing = session.executing().count() as u32;
            client.executing = client.executing.saturating_sub(executing);
            if let Notice::Told(told) = &mut client.notice {
                told.retain(|(session, _), _| *session != id);
                if told.is_empty() {
                    client.notice = Notice::Due;
                }
            }
        }
    }

    /// BIND_CONN_TO_SESSION, §18.34. A connection carries callbacks whenever it may.
    pub fn bind_connection(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        asked: BindDirection,
    ) -> Result<BoundDirection, SequenceRefusal> {
        let session = self
            .sessions
            .table
            .get_mut(&id)
            .ok_or(SequenceRefusal::BadSession)?;
        let bound = session.connections.get(&connection).copied();
        if bound.is_none() && session.connections.len() >= self.limits.connections_per_session {
            return Err(SequenceRefusal::TooManyConnections);
        }
        // "Demanding changes" (§18.34.3); what leaves the choice to the server may widen it.
        let differs = match (bound, asked) {
            (Some(bound), BindDirection::Fore) => bound != BoundDirection::Fore,
            (Some(bound), BindDirection::Back) => bound != BoundDirection::Back,
            _ => false,
        };
        if differs {
            return Err(SequenceRefusal::ChannelsDiffer);
        }
        let direction = match asked {
            BindDirection::Fore => BoundDirection::Fore,
            BindDirection::Back => BoundDirection::Back,
            BindDirection::ForeOrBoth | BindDirection::BackOrBoth => BoundDirection::Both,
        };
        if direction.carries_callbacks() {
            session.back_slots.mend();
        }
        self.sessions.associate(id, connection, direction);
        Ok(direction)
    }

    /// BACKCHANNEL_CTL, §18.33.
    pub fn backchannel_control(
        &mut self,
        id: SessionId,
        callback_program: u32,
        callback_security: Bytes,
    ) -> Result<(), SequenceRefusal> {
        let session = self
            .sessions
            .table
            .get_mut(&id)
            .ok_or(SequenceRefusal::BadSession)?;
        session.callback_program = callback_program;
        session.callback_security = callback_security;
        Ok(())
    }

    /// A connection is gone; the sessions bound to it are told, and stay.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<SessionId> {
        let sessions = self
            .sessions
            .by_connection
            .remove(&connection)
            .unwrap_or_default();
        for id in &sessions {
            if let Some(session) = self.sessions.table.get_mut(id) {
                session.connections.remove(&connection);
            }
        }
        sessions.into_iter().collect()
    }

    pub fn session_info(&self, id: SessionId) -> Option<SessionInfo> {
        let session = self.sessions.table.get(&id)?;
        Some(SessionInfo {
            client: session.client,
            fore: session.fore,
            back: session.back,
            callback_program: session.callback_program,
            callback_security: session.callback_security.clone(),
            back_connections: session.back_connections(),
        })
    }
}
